//! PURE. Length of the headers of a packet: addressing and network control messages, without the
//! payload of users. Callers without payload permission see only this part.

use crate::multicast::test_packet;
use crate::wire::LinkType;
use crate::wire::glance::{Glance, ethertype, ip_protocol};

/// Bytes of a fixed RTP header (RFC 3550, section 5.1).
const RTP: usize = 12;
/// Bytes of the header of an MPEG transport packet, with the two following bytes that indicate whether
/// its counter restarts (ISO/IEC 13818-1, 2.4.3).
const MPEG_TS: usize = 6;
/// Bytes of an ICMP header, and of the data that an error quotes after the IP header (RFC 792).
const ICMP: usize = 8;
/// Bytes of the header of a PIM register, with its flags (RFC 7761, section 4.9.3).
const PIM: usize = 8;

/// Returns the number of bytes of a captured frame that are headers, at most `bytes.len()`. Messages of
/// link and group management (ARP, neighbor discovery, LLDP, spanning tree, IGMP, MLD, PIM) count as
/// headers entirely, except for the packet that a PIM register carries.
pub fn length(link: LinkType, bytes: &[u8], seen: &Glance) -> usize {
    let ends = match seen.ethertype {
        ethertype::IPV4 | ethertype::IPV6 => ip(bytes, seen),
        ethertype::ARP | ethertype::LLDP | ethertype::SLOW_PROTOCOLS | ethertype::CFM => {
            bytes.len()
        }
        // IEEE 802.2: 42 42 is spanning tree.
        kind if kind < ethertype::FIRST && link == LinkType::Ethernet => {
            if bytes.get(seen.network..seen.network + 2) == Some(&[0x42, 0x42]) {
                bytes.len()
            } else {
                seen.network
            }
        }
        _ => seen.network,
    };
    ends.min(bytes.len())
}

/// Returns the end of the IP header, without extension headers.
fn header_ends(bytes: &[u8], at: usize) -> usize {
    let first = bytes.get(at).copied().unwrap_or(0);
    match first >> 4 {
        4 => at + usize::from(first & 15).max(5) * 4,
        6 => at + 40,
        _ => at,
    }
}

fn ip(bytes: &[u8], seen: &Glance) -> usize {
    let at = seen.transport;
    // A later fragment, or too many extension headers.
    if at == 0 {
        return header_ends(bytes, seen.network);
    }
    match seen.ip_protocol {
        // A register carries a packet of a user (RFC 7761, section 4.9.3).
        ip_protocol::PIM if bytes.get(at).is_some_and(|first| first & 0x0f == 1) => {
            quoted(bytes, at + PIM)
        }
        ip_protocol::IGMP | ip_protocol::PIM => bytes.len(),
        ip_protocol::ICMPV6 if matches!(seen.icmp_type, 130..=137 | 143 | 151..=153) => bytes.len(),
        ip_protocol::ICMP if matches!(seen.icmp_type, 3 | 5 | 11 | 12) => quoted(bytes, at + ICMP),
        ip_protocol::ICMPV6 if seen.icmp_type < 128 => quoted(bytes, at + ICMP),
        ip_protocol::TCP => {
            let words = bytes.get(at + 12).map_or(5, |byte| byte >> 4);
            at + usize::from(words).max(5) * 4
        }
        ip_protocol::UDP => at + 8 + stream(bytes, seen),
        _ => at + ICMP,
    }
}

/// Returns the end of the IP header quoted in an ICMP error or a PIM register, and of the first bytes after it.
fn quoted(bytes: &[u8], at: usize) -> usize {
    header_ends(bytes, at) + ICMP
}

/// Returns the length of the sequence-numbered header of a multicast stream, without its content.
fn stream(bytes: &[u8], seen: &Glance) -> usize {
    let to_group = seen
        .ip_addresses(bytes)
        .is_some_and(|(_, to)| to.is_multicast());
    let payload = bytes.get(seen.transport + 8..).unwrap_or_default();
    if !to_group {
        return 0;
    }
    // Ports below 1024 are assigned to services; streams use other ports (RFC 6335, section 6).
    if test_packet::read(payload).is_some() {
        test_packet::LENGTH
    } else if seen.destination_port < 1024 || payload.is_empty() {
        0
    } else if payload[0] == 0x47 {
        MPEG_TS
    } else if payload[0] >> 6 == 2 && payload.len() > RTP {
        let inside = RTP + usize::from(payload[0] & 15) * 4;
        if payload.get(inside) == Some(&0x47) {
            inside + MPEG_TS
        } else {
            RTP
        }
    } else {
        0
    }
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
    }

    #[test]
    fn the_packet_in_a_register_is_cut() {
        let mut frame = udp([239, 1, 1, 1], 5000, b"");
        let inner = udp([239, 1, 1, 1], 5000, b"secret, secret, secret").split_off(14);
        frame.truncate(34);
        frame[23] = 103;
        // A hello is headers entirely.
        for (kind, expected) in [(0x20, 42 + inner.len()), (0x21, 42 + 20 + 8)] {
            let mut register = frame.clone();
            register.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
            register.extend(&inner);
            assert_eq!(kept(&register), expected);
        }
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
