//! PURE. Selection and decoding of the frames that the multicast trackers process.

use super::{Key, ObservedMessage, StreamPacket, Trackers, names};
use crate::wire::glance::{Glance, ethertype, ip_protocol};
use crate::wire::{Frame, LinkType, Packet, decode};

/// Returns whether the trackers need this untagged frame. Runs for every packet.
#[inline]
pub fn is_tracked(seen: &Glance, bytes: &[u8]) -> bool {
    match seen.ip_protocol {
        ip_protocol::IGMP | ip_protocol::PIM => true,
        // MLD (RFC 2710, RFC 3810) and multicast router discovery (RFC 4286).
        ip_protocol::ICMPV6 => {
            matches!(seen.icmp_type, 130..=132 | 143 | 151..=153) && seen.transport != 0
        }
        ip_protocol::UDP => is_to_group(seen, bytes),
        _ => false,
    }
}

/// Returns whether the destination is a group and the ports are present.
#[inline]
fn is_to_group(seen: &Glance, bytes: &[u8]) -> bool {
    // Offset of the destination address (RFC 791, RFC 8200).
    let (at, mask, group) = if seen.ethertype == ethertype::IPV4 {
        (16, 0xf0, 0xe0)
    } else {
        (24, 0xff, 0xff)
    };
    let first = bytes.get(seen.network + at);
    first.is_some_and(|first| first & mask == group) && seen.transport != 0 && seen.vlan.is_none()
}

impl Trackers {
    /// Processes a frame seen on an interface. A tagged frame belongs to another link and is seen
    /// again, untagged, on the interface of its VLAN.
    pub fn observe_frame(
        &mut self,
        frame: &Frame<'_>,
        seen: &Glance,
        ifindex: u32,
        time_ns: u64,
        outbound: bool,
    ) {
        if !is_tracked(seen, frame.bytes) {
            return;
        }
        if seen.ip_protocol == ip_protocol::UDP {
            if let Some((key, packet)) = stream_packet(frame, seen, ifindex, time_ns, outbound) {
                self.streams.observe(key, &packet);
            }
            return;
        }
        self.observe_management(&decode(frame), ifindex, time_ns, outbound);
    }

    /// Processes the IGMP, MLD and PIM messages of a decoded frame.
    pub fn observe_management(
        &mut self,
        decoded: &Packet<'_>,
        ifindex: u32,
        time_ns: u64,
        outbound: bool,
    ) {
        let Some(network) = decoded.network.filter(|_| decoded.vlans.is_empty()) else {
            return;
        };
        // Receivers drop messages with a wrong checksum.
        if decoded.bad_checksum.is_some() || decoded.problem.is_some() {
            return;
        }
        for meaning in &decoded.meanings {
            self.observe(&ObservedMessage {
                time_ns,
                ifindex,
                outbound,
                source: network.source,
                meaning,
            });
        }
    }
}

/// Returns the stream and packet of a UDP frame to a group; `None` for other frames.
pub fn stream_packet<'a>(
    frame: &Frame<'a>,
    seen: &Glance,
    ifindex: u32,
    time_ns: u64,
    outbound: bool,
) -> Option<(Key, StreamPacket<'a>)> {
    if seen.ip_protocol != ip_protocol::UDP || !is_to_group(seen, frame.bytes) {
        return None;
    }
    let (source, group) = seen.ip_addresses(frame.bytes)?;
    let header = |at: usize| frame.bytes.get(seen.network + at).copied().unwrap_or(0);
    let is_ethernet = frame.link == LinkType::Ethernet;
    let length = frame.bytes.get(seen.transport + 4..seen.transport + 6);
    let key = Key {
        ifindex,
        group,
        port: seen.destination_port,
        source,
        source_port: seen.source_port,
    };
    let packet = StreamPacket {
        time_ns,
        outbound,
        ttl: header(if group.is_ipv4() { 8 } else { 7 }),
        right_mac: is_ethernet.then(|| frame.bytes.get(..6) == Some(&names::mac(group)[..])),
        length: length.map_or(0, |length| {
            u32::from(u16::from_be_bytes([length[0], length[1]])).saturating_sub(8)
        }),
        payload: frame.bytes.get(seen.transport + 8..).unwrap_or_default(),
    };
    Some((key, packet))
}
