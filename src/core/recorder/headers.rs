//! PURE. Length of the headers of a packet: addressing and network control messages, without the
//! payload of users. Callers without payload permission see only this part.
//!
//! Each function takes the bytes from its header on, up to the end that the header around it states, so
//! that padding behind a message belongs to none. It returns how many of them are headers, and decides by
//! those alone: no byte that is left out has an influence on what is given.

use std::net::IpAddr;

use crate::multicast::test_packet;
use crate::wire::glance::{Glance, ethertype, ip_protocol};
use crate::wire::{Checksum, Frame, LinkType, decode};

/// Bytes of a fixed RTP header (RFC 3550, section 5.1).
const RTP: usize = 12;
/// RTP payload type of MPEG transport streams (RFC 3551, section 6).
const RTP_MPEG_TS: u8 = 33;
/// Bytes of the header of an MPEG transport packet, with the two following bytes that indicate whether
/// its counter restarts (ISO/IEC 13818-1, 2.4.3).
const MPEG_TS: usize = 6;
/// Bytes of an ICMP header, and of the data that an error quotes after the IP header (RFC 792).
const ICMP: usize = 8;
/// Maximum nesting of tunnels, as in [`crate::wire::decode`].
const MAX_DEPTH: usize = 4;
/// Maximum number of IPv6 extension headers (RFC 8200 allows each once, one of them twice).
const MAX_EXTENSION_HEADERS: usize = 16;
/// Maximum number of MPLS labels. Networks use up to about ten.
const MAX_LABELS: usize = 16;
/// UDP ports whose multicast messages have no header that numbers them: SSDP, WS-Discovery, mDNS, LLMNR.
const NAME_PORTS: [u16; 4] = [1900, 3702, 5353, 5355];

/// Comment at the beginning of packets without payload.
pub const NOTE: &str = "netsonde: headers only, payload omitted";

/// Returns the state of the checksum of a packet, which a reader of its headers cannot verify.
pub fn checksum(whole: &Frame<'_>) -> Checksum {
    match whole.checksum {
        Checksum::Unknown if decode(whole).bad_checksum.is_some() => Checksum::Bad,
        known => known,
    }
}

/// Returns the number of bytes of a captured frame that are headers, at most `bytes.len()`. Messages of
/// link and group management (ARP, neighbor discovery, LLDP, spanning tree, IGMP, MLD, PIM) count as
/// headers, up to their end and without the packets that they carry. Of protocols that are not known,
/// nothing does.
pub fn length(link: LinkType, bytes: &[u8], seen: &Glance) -> usize {
    let inside = bytes.get(seen.network..).unwrap_or_default();
    let within = match seen.ethertype {
        length if length < ethertype::FIRST => match link {
            LinkType::Ethernet => llc(until(inside, length.into())),
            _ => 0,
        },
        kind => by_ethertype(kind, inside, 0),
    };
    (seen.network + within).min(bytes.len())
}

fn until(bytes: &[u8], end: usize) -> &[u8] {
    &bytes[..end.min(bytes.len())]
}

fn from(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

fn byte(bytes: &[u8], at: usize) -> usize {
    bytes.get(at).copied().unwrap_or(0).into()
}

fn be16(bytes: &[u8], at: usize) -> usize {
    byte(bytes, at) << 8 | byte(bytes, at + 1)
}

fn by_ethertype(kind: u16, bytes: &[u8], depth: usize) -> usize {
    let length = match kind {
        ethertype::IPV4 | ethertype::IPV6 => ip(bytes, depth),
        ethertype::ARP | 0x8035 => arp(bytes),
        ethertype::LLDP => lldp(bytes),
        ethertype::SLOW_PROTOCOLS => slow(bytes),
        // Level, version, kind, flags, offset of the first TLV (IEEE 802.1Q, 21.4).
        ethertype::CFM => 4,
        // Version, kind, length (IEEE 802.1X, 11.3).
        ethertype::EAPOL => 4,
        ethertype::MPLS | ethertype::MPLS_UPSTREAM => mpls(bytes, depth),
        // Version, code, session, length (RFC 2516, section 4).
        ethertype::PPPOE_DISCOVERY => 6,
        ethertype::PPPOE_SESSION => pppoe(bytes, depth),
        _ => 0,
    };
    length.min(bytes.len())
}

/// IEEE 802.2, with the header of SNAP, and spanning tree.
fn llc(bytes: &[u8]) -> usize {
    let length = match bytes {
        [0x42, 0x42, 3, bpdu @ ..] => 3 + spanning_tree(bpdu),
        [0xaa, 0xaa, 3, ..] => 8,
        _ => 3,
    };
    length.min(bytes.len())
}

/// A bridge protocol data unit (IEEE 802.1Q, 14.4).
fn spanning_tree(bytes: &[u8]) -> usize {
    match (byte(bytes, 2), byte(bytes, 3)) {
        (_, 0x80) => 4,
        (_, 0x00) => 35,
        // The parameters of multiple spanning trees follow, with their length.
        (3.., 0x02) => 38 + be16(bytes, 36),
        (_, 0x02) => 36,
        _ => 4,
    }
}

/// Hardware and protocol address of both ends, with the lengths that the header states (RFC 826).
fn arp(bytes: &[u8]) -> usize {
    match (byte(bytes, 4), byte(bytes, 5)) {
        // InfiniBand has the longest hardware addresses (RFC 4391), IPv6 the longest others.
        (hardware @ ..=20, protocol @ ..=16) => 8 + 2 * (hardware + protocol),
        _ => 8,
    }
}

/// TLVs up to the one that ends the message (IEEE 802.1AB, 8.2).
fn lldp(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at + 2 <= bytes.len() {
        let head = be16(bytes, at);
        at += 2 + (head & 0x1ff);
        if head >> 9 == 0 {
            break;
        }
    }
    at
}

/// LACP and markers: TLVs whose length includes their header (IEEE 802.1AX, 6.4.2). Of others the subtype.
fn slow(bytes: &[u8]) -> usize {
    if !matches!(bytes.first(), Some(1 | 2)) {
        return 1;
    }
    let mut at = 2;
    while byte(bytes, at) != 0 && byte(bytes, at + 1) >= 2 {
        at += byte(bytes, at + 1);
    }
    at + 2
}

fn mpls(bytes: &[u8], depth: usize) -> usize {
    let bottom = (0..MAX_LABELS).find(|label| byte(bytes, label * 4 + 2) & 1 == 1);
    let Some(bottom) = bottom else {
        return MAX_LABELS * 4;
    };
    let at = (bottom + 1) * 4;
    at + ip(from(bytes, at), depth + 1)
}

/// PPPoE and PPP, whose protocol has one byte or two (RFC 1661, section 2).
fn pppoe(bytes: &[u8], depth: usize) -> usize {
    let bytes = until(bytes, 6 + be16(bytes, 4));
    let (protocol, at) = match byte(bytes, 6) {
        short if short & 1 == 1 => (short, 7),
        _ => (be16(bytes, 6), 8),
    };
    let inside = from(bytes, at);
    at + match protocol {
        0x21 | 0x57 => ip(inside, depth),
        0x281 | 0x283 => mpls(inside, depth),
        _ => 0,
    }
}

/// An Ethernet frame within a tunnel.
fn bridged(bytes: &[u8], depth: usize) -> usize {
    let mut at = 12;
    while matches!(be16(bytes, at) as u16, ethertype::VLAN | ethertype::QINQ) {
        at += 4;
    }
    let kind = be16(bytes, at) as u16;
    at += 2;
    at + by_ethertype(kind, from(bytes, at), depth)
}

/// What an upper-layer message needs from the headers around it.
#[derive(Clone, Copy)]
struct Around {
    /// Destination of the IP header.
    to: IpAddr,
    /// Nesting of tunnels.
    depth: usize,
}

/// An IP packet of either version, up to the end that its header states.
fn ip(bytes: &[u8], depth: usize) -> usize {
    let length = match bytes.first().map(|first| first >> 4) {
        Some(_) if depth > MAX_DEPTH => 0,
        Some(4) => ipv4(bytes, depth),
        Some(6) => ipv6(bytes, depth),
        _ => 0,
    };
    length.min(bytes.len())
}

fn ipv4(bytes: &[u8], depth: usize) -> usize {
    let header = (byte(bytes, 0) & 15).max(5) * 4;
    let total = be16(bytes, 2);
    // Aggregated packets (TSO, GRO, BIG TCP) may have length 0.
    let packet = if total == 0 {
        bytes
    } else {
        until(bytes, total)
    };
    let is_later_fragment = be16(bytes, 6) & 0x1fff != 0;
    let to = bytes
        .get(16..20)
        .and_then(|to| <[u8; 4]>::try_from(to).ok());
    match to {
        Some(to) if !is_later_fragment => {
            let to = IpAddr::from(to);
            header + upper(bytes[9], from(packet, header), Around { to, depth })
        }
        _ => header,
    }
}

fn ipv6(bytes: &[u8], depth: usize) -> usize {
    let to = bytes
        .get(24..40)
        .and_then(|to| <[u8; 16]>::try_from(to).ok());
    let Some(to) = to.map(IpAddr::from) else {
        return 40;
    };
    // 0 is a jumbogram (RFC 2675), or an aggregated packet.
    let packet = match be16(bytes, 4) {
        0 => bytes,
        payload => until(bytes, 40 + payload),
    };
    let (mut next, mut at) = (bytes[6], 40);
    for _ in 0..MAX_EXTENSION_HEADERS {
        let header = from(packet, at);
        let length = match next {
            ip_protocol::HOP_BY_HOP | ip_protocol::ROUTING | ip_protocol::DESTINATION_OPTIONS => {
                (byte(header, 1) + 1) * 8
            }
            ip_protocol::AH => (byte(header, 1) + 2) * 4,
            ip_protocol::FRAGMENT if be16(header, 2) & 0xfff8 != 0 => return at + 8,
            ip_protocol::FRAGMENT => 8,
            _ => return at + upper(next, header, Around { to, depth }),
        };
        if header.is_empty() {
            return at;
        }
        next = header[0];
        at += length;
    }
    at
}

/// The message after an IP header, up to the end of the packet.
fn upper(protocol: u8, bytes: &[u8], around: Around) -> usize {
    let is_ipv6 = around.to.is_ipv6();
    let length = match protocol {
        ip_protocol::TCP => (byte(bytes, 12) >> 4).max(5) * 4,
        ip_protocol::UDP => 8 + stream(bytes, around.to),
        ip_protocol::ICMP => icmp(bytes, around.depth),
        ip_protocol::ICMPV6 => icmpv6(bytes, around.depth),
        ip_protocol::IGMP => igmp(bytes),
        ip_protocol::PIM => pim(bytes, around.depth),
        // RFC 9568, section 5.1: what follows the addresses in version 2 may be a password.
        ip_protocol::VRRP => 8 + byte(bytes, 3) * if is_ipv6 { 16 } else { 4 },
        // Up to the kind of the authentication, which follows and may be a password (RFC 2328, A.3.1).
        ip_protocol::OSPF => 16,
        ip_protocol::EIGRP => 20,
        ip_protocol::SCTP => 12,
        // IP in IP (RFC 2003, RFC 4213).
        4 | 41 => ip(bytes, around.depth + 1),
        47 => gre(bytes, around.depth),
        // Association and number (RFC 4303, section 2).
        50 => 8,
        ip_protocol::AH => 12,
        // Session, or ports and length.
        115 => 4,
        136 => 8,
        // Ports, offset, checksum, kind, number (RFC 4340, section 5.1).
        33 => 12,
        _ => 0,
    };
    length.min(bytes.len())
}

/// GRE with its optional fields (RFC 2784, RFC 2890, RFC 2637) and the headers of what it carries.
fn gre(bytes: &[u8], depth: usize) -> usize {
    let flags = be16(bytes, 0);
    let optional = [0xc000, 0x2000, 0x1000];
    let mut at = 4 + 4 * optional.iter().filter(|bits| flags & **bits != 0).count();
    if flags & 7 == 1 {
        // Of version 1, whose packets are PPP.
        return at + if flags & 0x80 != 0 { 4 } else { 0 };
    }
    let inside = from(bytes, at);
    at += match be16(bytes, 2) as u16 {
        ethertype::IPV4 | ethertype::IPV6 => ip(inside, depth + 1),
        // Transparent Ethernet bridging.
        0x6558 if depth < MAX_DEPTH => bridged(inside, depth + 1),
        _ => 0,
    };
    at
}

/// An IP header quoted in a control message, and the first bytes after it.
fn quoted(bytes: &[u8]) -> usize {
    // Without what that packet may carry or quote in turn.
    let whole = ip(bytes, MAX_DEPTH);
    let header = match bytes.first().map(|first| first >> 4) {
        Some(4) => (byte(bytes, 0) & 15).max(5) * 4,
        Some(6) => 40,
        _ => 0,
    };
    whole.min(header + ICMP)
}

fn icmp(bytes: &[u8], depth: usize) -> usize {
    match byte(bytes, 0) {
        3 | 4 | 5 | 11 | 12 if depth < MAX_DEPTH => ICMP + quoted(from(bytes, ICMP)),
        0 | 3 | 4 | 5 | 8..=18 | 42 | 43 => ICMP,
        _ => 4,
    }
}

fn icmpv6(bytes: &[u8], depth: usize) -> usize {
    match byte(bytes, 0) {
        1..=4 if depth < MAX_DEPTH => ICMP + quoted(from(bytes, ICMP)),
        1..=4 | 128 | 129 | 138..=142 => ICMP,
        // A query of version 2 has the fields of one of version 1, and others (RFC 9777, section 5.1).
        130 if bytes.len() >= 28 => 28 + 16 * be16(bytes, 26),
        130..=132 => 24,
        133 => discovery(bytes, 8),
        134 => discovery(bytes, 16),
        135 | 136 => discovery(bytes, 24),
        137 => discovery(bytes, 40),
        143 => reports(bytes, 16),
        // Multicast router discovery (RFC 4286).
        151 => 8,
        _ => 4,
    }
}

/// Options of neighbor discovery (RFC 4861, section 4.6), up to the first that is invalid.
fn discovery(bytes: &[u8], mut at: usize) -> usize {
    while at + 2 <= bytes.len() && byte(bytes, at + 1) > 0 {
        if byte(bytes, at) == 4 {
            // The packet that is redirected.
            return at + 8 + quoted(from(bytes, at + 8));
        }
        at += byte(bytes, at + 1) * 8;
    }
    at
}

/// Group records of IGMPv3 and MLDv2 reports, whose addresses have `address` bytes (RFC 9776, section 4.2;
/// RFC 9777, section 5.2), up to auxiliary data, which no protocol defines.
fn reports(bytes: &[u8], address: usize) -> usize {
    let mut at = 8;
    for _ in 0..be16(bytes, 6) {
        if at + 4 > bytes.len() {
            break;
        }
        let (auxiliary, sources) = (byte(bytes, at + 1), be16(bytes, at + 2));
        at += 4 + address * (1 + sources);
        if auxiliary > 0 {
            break;
        }
    }
    at
}

fn igmp(bytes: &[u8]) -> usize {
    match byte(bytes, 0) {
        // Version 3 has more fields (RFC 9776, section 4.1).
        0x11 if bytes.len() >= 12 => 12 + 4 * be16(bytes, 10),
        0x22 => reports(bytes, 4),
        0x11..=0x17 | 0x1e | 0x1f | 0x30..=0x32 => 8,
        _ => 4,
    }
}

/// PIM version 2 (RFC 7761, section 4.9).
fn pim(bytes: &[u8], depth: usize) -> usize {
    if byte(bytes, 0) >> 4 != 2 {
        return 4;
    }
    let address = |at: usize| match byte(bytes, at) {
        1 => 4,
        2 => 16,
        _ => 0,
    };
    let (unicast, encoded) = (|at| at + 2 + address(at), |at| at + 4 + address(at));
    match byte(bytes, 0) & 15 {
        0 => {
            let mut at = 4;
            while at + 4 <= bytes.len() {
                at += 4 + be16(bytes, at + 2);
            }
            at
        }
        // The packet of a user, who sends it to the group.
        1 => 8 + ip(from(bytes, 8), depth + 1),
        2 => unicast(encoded(4)),
        3 | 6 | 7 => {
            let start = unicast(4);
            let mut at = start + 4;
            for _ in 0..byte(bytes, start + 1) {
                if at >= bytes.len() {
                    break;
                }
                at = encoded(at);
                let sources = be16(bytes, at) + be16(bytes, at + 2);
                at += 4;
                for _ in 0..sources {
                    if at >= bytes.len() {
                        break;
                    }
                    at = encoded(at);
                }
            }
            at
        }
        5 => unicast(encoded(4)) + 8,
        _ => 4,
    }
}

/// Returns the length of the sequence-numbered header of a multicast stream after the UDP header, without its
/// content. The first byte tells the format, and is part of the header for all streams.
fn stream(datagram: &[u8], to: IpAddr) -> usize {
    let is_local_control = matches!(to, IpAddr::V4(v4) if v4.octets()[..3] == [224, 0, 0]);
    let port = be16(datagram, 2) as u16;
    let message = until(
        datagram,
        match be16(datagram, 4) {
            0 => datagram.len(),
            length => length,
        },
    );
    let payload = from(message, 8);
    // Ports below 1024 are assigned to services; streams use other ports (RFC 6335, section 6).
    if !to.is_multicast() || is_local_control || port < 1024 || NAME_PORTS.contains(&port) {
        return 0;
    }
    match payload.first() {
        None => 0,
        Some(0x47) => MPEG_TS,
        // One byte less would be another answer for a packet that is already cut to its headers.
        Some(first) if first >> 6 == 2 && payload.len() >= RTP => {
            let is_transport = payload[1] & 0x7f == RTP_MPEG_TS;
            if is_transport {
                RTP + usize::from(first & 15) * 4 + MPEG_TS
            } else {
                RTP
            }
        }
        Some(_) => test_packet::header_length(payload),
    }
    .min(payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::glance::glance;

    fn udp(to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(((28 + payload.len()) as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 8, 17, 0, 0, 10, 0, 0, 1]);
        frame.extend(to);
        frame.extend(4000u16.to_be_bytes());
        frame.extend(port.to_be_bytes());
        frame.extend(((8 + payload.len()) as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    fn kept(frame: &[u8]) -> usize {
        let link = LinkType::Ethernet;
        length(link, frame, &glance(link, frame))
    }

    #[test]
    fn payload_is_left_out_and_numbers_of_streams_are_not() {
        let secret = b"\x80ecret, secret, secret";
        assert_eq!(kept(&udp([10, 0, 0, 2], 5000, secret)), 42);
        assert_eq!(
            kept(&udp([224, 0, 0, 251], 5353, b"secret, secret, secret")),
            42
        );
        assert_eq!(kept(&udp([239, 1, 1, 1], 5000, secret)), 42 + RTP);
        assert_eq!(kept(&udp([239, 1, 1, 1], 5000, b"Gsecret")), 42 + MPEG_TS);
        assert_eq!(kept(&udp([239, 1, 1, 1], 5000, b"other")), 42 + 1);
    }

    #[test]
    fn never_more_than_there_is() {
        let mut state = 1u32;
        for size in 0..200usize {
            let mut frame = udp([239, 1, 1, 1], 5000, &vec![0x80; size]);
            for round in 0..64 {
                for byte in &mut frame[12..] {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if round > 0 && state >> 29 == 0 {
                        *byte = (state >> 8) as u8;
                    }
                }
                for link in [LinkType::Ethernet, LinkType::RawIp] {
                    for cut in [size, frame.len()] {
                        let bytes = &frame[..cut.min(frame.len())];
                        assert!(length(link, bytes, &glance(link, bytes)) <= bytes.len());
                    }
                }
            }
        }
    }
}
