//! PURE. Counts equal packets to groups and to all hosts in a sample of the record.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::wire::glance::{Glance, ethertype, glance, ip_protocol};
use crate::wire::{Checksum, Frame, LinkType};

/// Maximum number of different packets counted: those of a busy link within two seconds.
const MAX_KEYS: usize = 16_384;
/// Maximum number of different packets returned, those that came most often.
const MAX_REPEATS: usize = 64;
/// Minimum time to which a rate may refer: shorter samples are of a link that is too busy for this check.
const MIN_SPAN_NS: u64 = 200_000_000;

/// A packet to a group or to all hosts that was seen more than once.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat {
    /// Name of the interface.
    pub interface: String,
    /// Whether this host sent it.
    pub outbound: bool,
    /// Source: an IP address, or a MAC address.
    pub source: String,
    /// Destination, with the UDP port if there is one: a group, or "all hosts".
    pub destination: String,
    /// Protocol: "UDP", "ARP", an EtherType.
    pub protocol: String,
    /// Length of the frame on the wire, in bytes.
    pub length: u32,
    /// Whether the frame is addressed to all hosts of the link.
    pub is_broadcast: bool,
    /// Whether the equality includes the content: by its bytes or its checksum. Otherwise only the
    /// addresses, the ports and the length are known to be equal.
    pub is_exact: bool,
    /// Whether all had the same identification in the IP header, other than 0: it is one packet.
    pub is_one_packet: bool,
    /// Lowest and highest TTL or hop limit; `None` without an IP header.
    pub ttl: Option<(u8, u8)>,
    /// Number of packets.
    pub count: u64,
    /// Number of packets per second.
    pub rate: u64,
}

/// Packets to groups and to all hosts within the window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repeats {
    /// Number of packets examined.
    pub examined: u64,
    /// Number of packets not counted because of the limits.
    pub left_out: u64,
    /// Packets that were seen more than once, the most frequent first.
    pub repeats: Vec<Repeat>,
}

impl Repeats {
    /// Adds those of another sample.
    pub fn merge(&mut self, other: Repeats) {
        self.examined += other.examined;
        self.left_out += other.left_out;
        self.repeats.extend(other.repeats);
        self.repeats.sort_by_key(|one| std::cmp::Reverse(one.rate));
        self.repeats.truncate(MAX_REPEATS);
    }
}

/// Counts equal packets.
#[derive(Default)]
pub struct Sampler {
    counts: HashMap<(String, bool, u64), (Repeat, u16)>,
    hasher: foldhash::fast::FixedState,
    examined: u64,
    left_out: u64,
    times: Option<(u64, u64)>,
}

impl Sampler {
    /// Adds a packet, at a time in nanoseconds since 1970. Only Ethernet frames to groups and to all hosts
    /// count.
    pub fn see(&mut self, frame: &Frame<'_>, interface: &str, outbound: bool, time_ns: u64) {
        let (from, to) = self.times.unwrap_or((time_ns, time_ns));
        self.times = Some((from.min(time_ns), to.max(time_ns)));
        let Some(first) = frame.bytes.first() else {
            return;
        };
        let seen = glance(frame.link, frame.bytes);
        // A tagged frame appears again on the interface of its VLAN.
        if frame.link != LinkType::Ethernet || first & 1 == 0 || seen.vlan.is_some() {
            return;
        }
        self.examined += 1;
        let (content, id) = content(frame, &seen);
        let mut hasher = self.hasher.build_hasher();
        for part in content {
            hasher.write(part);
        }
        hasher.write_u32(frame.original_length);
        let key = (interface.to_owned(), outbound, hasher.finish());
        let ttl = ttl(frame.bytes, &seen);
        if let Some((repeat, first_id)) = self.counts.get_mut(&key) {
            repeat.count += 1;
            repeat.is_one_packet &= id == *first_id;
            if let (Some((low, high)), Some(ttl)) = (&mut repeat.ttl, ttl) {
                *low = ttl.min(*low);
                *high = ttl.max(*high);
            }
            return;
        }
        if self.counts.len() >= MAX_KEYS {
            self.left_out += 1;
            return;
        }
        let mut repeat = describe(frame, &seen);
        repeat.interface = interface.to_owned();
        repeat.outbound = outbound;
        repeat.is_one_packet = id != 0;
        repeat.ttl = ttl.map(|ttl| (ttl, ttl));
        self.counts.insert(key, (repeat, id));
    }

    /// Returns what was seen more than once. The sample ends at `to_ns`, or with its last packet if it
    /// `is_cut`.
    pub fn finish(self, window_ns: u64, is_cut: bool) -> Repeats {
        let seen_ns = self.times.map_or(0, |(from, to)| to - from);
        let span_ns = if is_cut { seen_ns } else { window_ns };
        let mut repeats: Vec<Repeat> = self
            .counts
            .into_values()
            .map(|(repeat, _)| repeat)
            .filter(|repeat| repeat.count > 1 && span_ns >= MIN_SPAN_NS)
            .collect();
        for repeat in &mut repeats {
            repeat.rate = repeat.count * 1_000_000_000 / span_ns.max(1);
        }
        repeats.sort_by_key(|one| std::cmp::Reverse(one.count));
        repeats.truncate(MAX_REPEATS);
        Repeats {
            examined: self.examined,
            left_out: self.left_out,
            repeats,
        }
    }
}

/// Returns the bytes that copies of a packet have in common, whatever routers and repeaters change: without
/// TTL, header checksum and identification. And the identification; 0 if there is none.
fn content<'a>(frame: &Frame<'a>, seen: &Glance) -> (Vec<&'a [u8]>, u16) {
    let ip = frame.bytes.get(seen.network..).unwrap_or_default();
    let part = |from: usize, to: usize| ip.get(from..to.min(ip.len())).unwrap_or_default();
    match seen.ethertype {
        ethertype::IPV4 => {
            let id = part(4, 6);
            let id = u16::from_be_bytes(id.try_into().unwrap_or_default());
            let all = vec![part(2, 4), part(6, 8), part(9, 10), part(12, ip.len())];
            (all, id)
        }
        ethertype::IPV6 => (vec![part(4, 7), part(8, ip.len())], 0),
        _ => (vec![frame.bytes], 0),
    }
}

/// Returns the TTL or hop limit.
fn ttl(bytes: &[u8], seen: &Glance) -> Option<u8> {
    let at = match seen.ethertype {
        ethertype::IPV4 => 8,
        ethertype::IPV6 => 7,
        _ => return None,
    };
    bytes.get(seen.network + at).copied()
}

fn mac(bytes: &[u8], at: usize) -> String {
    let bytes = bytes.get(at..at + 6).unwrap_or_default();
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

/// Describes a packet that was seen once.
fn describe(frame: &Frame<'_>, seen: &Glance) -> Repeat {
    let bytes = frame.bytes;
    let is_broadcast = bytes.get(..6) == Some(&[0xff; 6]);
    let mut source = mac(bytes, 6);
    let mut destination = match is_broadcast {
        true => "all hosts".into(),
        false => mac(bytes, 0),
    };
    let mut protocol = match seen.ethertype {
        ethertype::ARP => "ARP".into(),
        other => format!("EtherType {other:#06x}"),
    };
    if let Some((from, to)) = seen.ip_addresses(bytes) {
        (source, protocol) = (from.to_string(), "IP".into());
        destination = to.to_string();
        if seen.ip_protocol == ip_protocol::UDP && seen.transport != 0 {
            protocol = "UDP".into();
            destination = format!("{to} port {}", seen.destination_port);
        }
    }
    Repeat {
        interface: String::new(),
        outbound: false,
        source,
        destination,
        protocol,
        length: frame.original_length,
        is_broadcast,
        is_exact: is_exact(frame, seen),
        is_one_packet: false,
        ttl: None,
        count: 1,
        rate: 0,
    }
}

/// Returns whether the captured bytes determine the content: they are all there, or a UDP checksum covers
/// the rest.
fn is_exact(frame: &Frame<'_>, seen: &Glance) -> bool {
    if frame.bytes.len() >= frame.original_length as usize {
        return true;
    }
    if seen.ip_protocol != ip_protocol::UDP || seen.transport == 0 {
        return false;
    }
    let checksum = frame.bytes.get(seen.transport + 6..seen.transport + 8);
    frame.checksum != Checksum::NotReady && checksum.is_some_and(|sum| sum != [0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet to 239.1.1.1, of which the headers are captured.
    fn frame(checksum: u16, ttl: u8) -> Vec<u8> {
        let mut bytes = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1, 8, 0];
        bytes.extend_from_slice(&[0x45, 0, 0, 228, 0, 0, 0, 0, ttl, 17, 0, 0]);
        bytes.extend_from_slice(&[10, 0, 0, 1, 239, 1, 1, 1]);
        bytes.extend_from_slice(&[0x13, 0x88, 0x13, 0x88, 0, 208]);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn sample(state: Checksum, checksums: impl Iterator<Item = u16>, is_cut: bool) -> Repeats {
        let mut sampler = Sampler::default();
        for (number, checksum) in checksums.enumerate() {
            let bytes = frame(checksum, 5);
            let frame = Frame {
                link: LinkType::Ethernet,
                bytes: &bytes,
                original_length: 242,
                checksum: state,
            };
            sampler.see(&frame, "e0", false, 1_000_000 * number as u64);
        }
        sampler.finish(2_000_000_000, is_cut)
    }

    #[test]
    fn equal_packets_are_counted_and_a_stream_has_none() {
        let same = || std::iter::repeat_n(7, 1000);
        let found = sample(Checksum::Valid, same(), false);
        assert_eq!((found.examined, found.repeats.len()), (1000, 1));
        assert_eq!((found.repeats[0].count, found.repeats[0].rate), (1000, 500));
        assert!(found.repeats[0].is_exact);
        // A checksum that hardware completes says nothing of the content.
        let partial = sample(Checksum::NotReady, same(), false);
        assert!(!partial.repeats[0].is_exact);
        let stream = sample(
            Checksum::Valid,
            (0..1000).map(|number| number as u16),
            false,
        );
        assert_eq!(stream.repeats, []);
    }

    /// A sample that ended early has the rate of its own time, if that is long enough.
    #[test]
    fn cut_samples_have_their_own_time() {
        let same = |count| std::iter::repeat_n(7, count);
        let found = sample(Checksum::Valid, same(501), true);
        assert_eq!(found.repeats[0].rate, 1002);
        assert_eq!(sample(Checksum::Valid, same(150), true).repeats, []);
    }

    #[test]
    fn different_packets_are_limited() {
        let mut sampler = Sampler::default();
        for number in 0..MAX_KEYS + 10 {
            let mut bytes = frame(number as u16, 5);
            bytes[27] = (number >> 16) as u8;
            let frame = Frame {
                link: LinkType::Ethernet,
                bytes: &bytes,
                original_length: 242,
                checksum: Checksum::Valid,
            };
            sampler.see(&frame, "e0", false, 0);
        }
        assert_eq!(sampler.finish(2_000_000_000, false).left_out, 10);
    }
}
