//! PURE. ICMP errors that other traffic to a target has drawn: those in the record from before a trace.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::protocol::time;
use crate::wire::glance::ip_protocol;
use crate::wire::segment::{Segment, WireError};

/// Maximum number of different errors that are kept: more than the routers of a path report of a target. Of further
/// ones the one that was seen longest ago is left out, and counted.
const MAX_KINDS: usize = 64;
/// Bytes of a TCP segment without data and options, as probes along a connection are. What such an acknowledgment of the
/// connection itself would draw, its data draws, too.
const BARE_SEGMENT: u16 = 20;
/// Bytes of a quoted packet by which copies are recognized: an IPv6 header with the ports and eight bytes more.
const COPY_BYTES: usize = 56;
/// Time within which the same error is a copy, in nanoseconds: a bridge shows it on its port and on itself.
const COPY_NS: u64 = 10_000_000;

/// An ICMP error that was seen on the wire, with what it quotes.
#[derive(Clone, Copy, Debug)]
pub struct SeenError<'a> {
    /// Wall-clock time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its sender.
    pub from: IpAddr,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// MTU that it reports.
    pub mtu: Option<u32>,
    /// The quoted packet, from its IP header on.
    pub quoted: &'a [u8],
}

/// Errors of one kind that packets of one kind drew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drawn {
    /// Time of the last one.
    pub time: String,
    /// Time of the first one.
    pub first_time: String,
    /// Number.
    pub count: u64,
    /// Their sender.
    pub from: IpAddr,
    /// ICMP type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Type and code in words.
    pub meaning: String,
    /// MTU that they report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Protocol of the packets that drew them: `tcp`, `udp`, or its number.
    pub protocol: String,
    /// Source of the last one of these.
    pub source: IpAddr,
    /// Its source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Their destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
}

/// What errors have in common that are shown as one: sender, type, code, MTU, protocol and destination port.
type Key = (IpAddr, u8, u8, Option<u32>, u8, Option<u16>);

#[derive(Debug)]
struct Entry {
    first_ns: u64,
    last_ns: u64,
    count: u64,
    source: (IpAddr, Option<u16>),
    /// Start of the last quoted packet.
    quoted: Vec<u8>,
}

/// Collects the errors that packets to a target drew.
#[derive(Debug)]
pub struct DrawnErrors {
    target: IpAddr,
    /// Source ports of this service's own probes, by protocol.
    own: [Vec<u16>; 2],
    entries: BTreeMap<Key, Entry>,
    left_out: u64,
}

/// Length of what follows the IP header in bytes, by the lengths in it.
fn length(packet: &[u8]) -> Option<u16> {
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    match packet.first()? >> 4 {
        4 => word(2)?.checked_sub(u16::from(packet[0] & 0x0f) * 4),
        _ => word(4),
    }
}

/// Addresses and protocol of a packet, from its IP header on.
fn header(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8)> {
    match packet.first()? >> 4 {
        4 => {
            let address =
                |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
            Some((address(12)?.into(), address(16)?.into(), *packet.get(9)?))
        }
        6 => {
            let address =
                |at: usize| -> Option<[u8; 16]> { packet.get(at..at + 16)?.try_into().ok() };
            Some((address(8)?.into(), address(24)?.into(), *packet.get(6)?))
        }
        _ => None,
    }
}

impl DrawnErrors {
    /// Collects errors about packets to `target`. `tcp` and `udp`: source ports of this service's probes, which are
    /// left out.
    pub fn new(target: IpAddr, tcp: Vec<u16>, udp: Vec<u16>) -> DrawnErrors {
        DrawnErrors {
            target,
            own: [tcp, udp],
            entries: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// Takes an error. Those that echo requests drew are left out: they are probes, not traffic.
    pub fn see(&mut self, seen: &SeenError<'_>) {
        let Some((source, destination, mut protocol)) = header(seen.quoted) else {
            return;
        };
        if destination != self.target || matches!(protocol, ip_protocol::ICMP | ip_protocol::ICMPV6)
        {
            return;
        }
        let segment = Segment::read(seen.quoted);
        let length = length(seen.quoted);
        let (mut source_port, mut port) = (None, None);
        if let Some(segment) = segment {
            let own = &self.own[usize::from(!segment.is_tcp)];
            // Probes along a connection have its port, and a quote may end behind eight bytes.
            let is_bare = segment.is_tcp && length == Some(BARE_SEGMENT);
            if own.contains(&segment.source.1) || is_bare {
                return;
            }
            (source_port, port) = (Some(segment.source.1), Some(segment.destination.1));
            protocol = match segment.is_tcp {
                true => ip_protocol::TCP,
                false => ip_protocol::UDP,
            };
        }
        let key = (seen.from, seen.kind, seen.code, seen.mtu, protocol, port);
        let quoted = &seen.quoted[..seen.quoted.len().min(COPY_BYTES)];
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            first_ns: seen.time_ns,
            last_ns: 0,
            count: 0,
            source: (source, source_port),
            quoted: Vec::new(),
        });
        let is_copy = seen.time_ns.abs_diff(entry.last_ns) < COPY_NS && entry.quoted == quoted;
        if is_copy {
            return;
        }
        entry.first_ns = entry.first_ns.min(seen.time_ns);
        entry.last_ns = entry.last_ns.max(seen.time_ns);
        entry.count += 1;
        entry.source = (source, source_port);
        entry.quoted.clear();
        entry.quoted.extend_from_slice(quoted);
        if self.entries.len() > MAX_KINDS {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last_ns);
            if let Some((key, count)) = oldest.map(|(key, entry)| (*key, entry.count)) {
                self.entries.remove(&key);
                self.left_out += count;
            }
        }
    }

    /// Returns the errors, the newest first, and the number of those that were left out because of the limit.
    pub fn done(self) -> (Vec<Drawn>, u64) {
        let mut all: Vec<(Key, Entry)> = self.entries.into_iter().collect();
        all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.last_ns));
        let drawn = |(key, entry): (Key, Entry)| {
            let (from, kind, code, mtu, protocol, destination_port) = key;
            Drawn {
                time: time(entry.last_ns),
                first_time: time(entry.first_ns),
                count: entry.count,
                from,
                kind,
                code,
                meaning: WireError::new(from, kind, code).meaning,
                mtu,
                protocol: match protocol {
                    ip_protocol::TCP => "tcp".into(),
                    ip_protocol::UDP => "udp".into(),
                    other => other.to_string(),
                },
                source: entry.source.0,
                source_port: entry.source.1,
                destination_port,
            }
        };
        (all.into_iter().map(drawn).collect(), self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, to: [u8; 4], ports: (u16, u16), number: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 60, 0, number, 0, 0, 1, protocol, 0, 0];
        packet.extend([10, 0, 0, 1]);
        packet.extend(to);
        packet.extend(ports.0.to_be_bytes());
        packet.extend(ports.1.to_be_bytes());
        packet.extend([0; 4]);
        packet
    }

    fn seen(time_ns: u64, kind: u8, quoted: &[u8]) -> SeenError<'_> {
        SeenError {
            time_ns,
            from: [10, 9, 0, 1].into(),
            kind,
            code: 0,
            mtu: None,
            quoted,
        }
    }

    #[test]
    fn errors_are_those_of_others_to_the_target() {
        let target = [10, 0, 0, 7];
        let mut errors = DrawnErrors::new(target.into(), vec![4000], vec![5000]);
        let all = [
            packet(6, target, (4001, 443), 1),
            packet(6, target, (4002, 443), 2),
            // Own probes, an echo request, another target.
            packet(6, target, (4000, 443), 3),
            packet(17, target, (5000, 33_434), 4),
            packet(1, target, (0, 0), 5),
            packet(6, [10, 0, 0, 8], (4001, 443), 6),
            // The port of the other protocol.
            packet(17, target, (4000, 53), 7),
            packet(50, target, (1, 1), 8),
        ];
        let mut all = all.to_vec();
        // A probe along a connection.
        let mut bare = packet(6, target, (4001, 443), 9);
        bare[3] = 40;
        all.push(bare);
        for (at, packet) in all.iter().enumerate() {
            let at = (at as u64 + 1) * 1_000_000_000;
            errors.see(&seen(at, 11, packet));
            // The port of a bridge.
            errors.see(&seen(at + 1_000, 11, packet));
            // Cut anywhere.
            for end in 0..packet.len() {
                DrawnErrors::new(target.into(), vec![], vec![]).see(&seen(at, 11, &packet[..end]));
            }
        }
        let (drawn, left_out) = errors.done();
        let shown: Vec<_> = (drawn.iter())
            .map(|one| (one.protocol.as_str(), one.destination_port, one.count))
            .collect();
        assert_eq!(
            shown,
            [("50", None, 1), ("udp", Some(53), 1), ("tcp", Some(443), 2)]
        );
        assert_eq!((drawn[2].source_port, left_out), (Some(4002), 0));
        assert!(drawn[2].first_time < drawn[2].time);
    }

    #[test]
    fn the_oldest_kind_is_left_out() {
        let target = [10, 0, 0, 7];
        let mut errors = DrawnErrors::new(target.into(), vec![], vec![]);
        for port in 0..MAX_KINDS as u16 + 3 {
            let packet = packet(6, target, (4001, port), 1);
            errors.see(&seen(u64::from(port + 1) * 1_000_000_000, 11, &packet));
        }
        let (drawn, left_out) = errors.done();
        assert_eq!((drawn.len(), left_out), (MAX_KINDS, 3));
        assert_eq!(drawn[MAX_KINDS - 1].destination_port, Some(3));
    }
}
