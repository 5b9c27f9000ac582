//! Decoding, on frames made by hand: a table of what is to be read, and no panic on anything.
#![allow(missing_docs, clippy::unwrap_used)]

use netsonde_core::wire::cursor::sum;
use netsonde_core::wire::{Checksum, DeliveryScope, Frame, LinkType, Packet, ProblemKind, decode};
use proptest::prelude::*;

fn read(link: LinkType, bytes: &[u8]) -> Packet<'_> {
    decode(&Frame {
        link,
        bytes,
        original_length: bytes.len() as u32,
        checksum: Checksum::Unknown,
    })
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x01, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 1];
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn ipv4(protocol: u8, to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 7, 0, 0, 1, protocol, 0, 0, 10, 0, 0, 1]);
    packet.extend_from_slice(&to);
    let checksum = !(sum(&packet, 0) as u16);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// A message whose checksum stands at bytes 2 and 3 and covers nothing else.
fn summed(mut message: Vec<u8>) -> Vec<u8> {
    let checksum = !(sum(&message, 0) as u16);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// ICMPv6 behind a hop-by-hop header with router alert, as MLD is sent.
fn mld(mut message: Vec<u8>) -> Vec<u8> {
    let from = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let to = "ff02::16".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let pseudo = sum(&to, sum(&from, 58 + message.len() as u32));
    let checksum = !(sum(&message, pseudo) as u16);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(8 + message.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&from);
    packet.extend_from_slice(&to);
    packet.extend_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
    packet.extend_from_slice(&message);
    ethernet(0x86dd, &packet)
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend_from_slice(&source.to_be_bytes());
    message.extend_from_slice(&destination.to_be_bytes());
    message.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(payload);
    message
}

const TO: [u8; 4] = [10, 0, 0, 2];

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let over = |protocol: u8, to: [u8; 4], message: Vec<u8>| {
        ethernet(0x0800, &ipv4(protocol, to, &message))
    };
    let all_systems = [224, 0, 0, 1];
    let reports = [224, 0, 0, 22];
    let mut quoted = vec![11, 0, 0, 0, 0, 0, 0, 0];
    quoted.extend_from_slice(&ipv4(1, [10, 9, 0, 1], &[8, 0, 0, 0, 0, 7, 0, 3]));
    let mut dns = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 7];
    dns.extend_from_slice(b"example\x03org\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x5d\xb8\xd8\x22");
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 42, 0];
    vxlan.extend_from_slice(&over(1, TO, summed(vec![8, 0, 0, 0, 0, 7, 0, 3])));
    let mut lldp = vec![
        2, 7, 4, 2, 0, 0, 0, 0, 9, 4, 3, 5, b'p', b'1', 6, 2, 0, 120, 10, 2, b's', b'w',
    ];
    lldp.extend_from_slice(&[0, 0]);
    let group = "ff1e::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut mld2 = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
    mld2.extend_from_slice(&group);
    let mut mld1 = vec![132, 0, 0, 0, 0, 0, 0, 0];
    mld1.extend_from_slice(&group);
    let mut rtp = vec![0x80, 33, 0, 9, 0, 0, 1, 0, 0, 0, 0, 5];
    rtp.extend_from_slice(&[0; 16]);
    vec![
        (
            "who has 10.0.0.2? tell 10.0.0.1",
            ethernet(
                0x0806,
                &[
                    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0,
                    0, 2,
                ],
            ),
        ),
        (
            "echo request id 7 seq 3, 0 bytes",
            over(1, TO, summed(vec![8, 0, 0, 0, 0, 7, 0, 3])),
        ),
        (
            "time exceeded in transit for 10.0.0.1 > 10.9.0.1 echo request id 7 seq 3",
            over(1, TO, summed(quoted)),
        ),
        (
            "IGMPv1 general query, max response 10000 ms",
            over(2, all_systems, summed(vec![0x11, 0, 0, 0, 0, 0, 0, 0])),
        ),
        (
            "IGMPv2 query for 239.1.1.1, max response 1000 ms",
            over(2, all_systems, summed(vec![0x11, 10, 0, 0, 239, 1, 1, 1])),
        ),
        (
            "IGMPv3 general query, max response 10000 ms, robustness 2, interval 125 s",
            over(
                2,
                all_systems,
                summed(vec![0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]),
            ),
        ),
        (
            "IGMPv2 report: 239.1.1.1 (member)",
            over(2, TO, summed(vec![0x16, 0, 0, 0, 239, 1, 1, 1])),
        ),
        (
            "IGMPv2 leave: 239.1.1.1",
            over(2, TO, summed(vec![0x17, 0, 0, 0, 239, 1, 1, 1])),
        ),
        (
            "IGMPv3 report: 239.1.1.1 to exclude {} (join)",
            over(
                2,
                reports,
                summed(vec![0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 1, 1]),
            ),
        ),
        (
            "IGMPv3 report: 232.1.1.1 allow {10.0.0.9}",
            over(
                2,
                reports,
                summed(vec![
                    0x22, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 1, 232, 1, 1, 1, 10, 0, 0, 9,
                ]),
            ),
        ),
        ("MLDv2 report: ff1e::1 to exclude {} (join)", mld(mld2)),
        ("MLDv1 done: ff1e::1 (leave)", mld([mld1, vec![]].concat())),
        (
            "PIM hello, hold time 105 s, DR priority 1",
            over(
                103,
                [224, 0, 0, 13],
                summed(vec![
                    0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105, 0, 19, 0, 4, 0, 0, 0, 1,
                ]),
            ),
        ),
        (
            "DNS reply 0x1234 A example.org? A example.org 93.184.216.34",
            over(17, TO, udp(53, 4000, &dns)),
        ),
        (
            "NTPv4 client, stratum 0",
            over(
                17,
                TO,
                udp(
                    123,
                    123,
                    &[0x23; 1]
                        .iter()
                        .copied()
                        .chain([0; 47])
                        .collect::<Vec<u8>>(),
                ),
            ),
        ),
        (
            "VXLAN 42: echo request id 7 seq 3, 0 bytes",
            over(17, TO, udp(50_000, 4789, &vxlan)),
        ),
        (
            "RTP type 33 seq 9 time 256 ssrc 0x00000005, 16 bytes",
            over(17, [239, 1, 1, 1], udp(5004, 5004, &rtp)),
        ),
        (
            "VRRPv3 advertisement, router 5, priority 200, every 1000 ms, 10.0.0.254",
            over(
                112,
                [224, 0, 0, 18],
                vec![0x31, 5, 200, 1, 0, 100, 0, 0, 10, 0, 0, 254],
            ),
        ),
        (
            "LLDP, chassis 02:00:00:00:00:09, port p1, hold time 120 s, name sw",
            ethernet(0x88cc, &lldp),
        ),
        (
            "SYN seq 1 win 100 [mss 1460]",
            over(
                6,
                TO,
                vec![
                    0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0, 100, 0, 0, 0, 0, 2, 4, 5, 180,
                ],
            ),
        ),
    ]
}

#[test]
fn every_sample_is_identified() {
    for (summary, frame) in samples() {
        let packet = read(LinkType::Ethernet, &frame);
        assert_eq!(packet.summary, summary);
        assert_eq!(packet.problem, None, "{summary}");
        if packet.protocol() != "tcp" {
            assert_eq!(packet.bad_checksum, None, "{summary}");
        }
    }
}

#[test]
fn a_wrong_checksum_is_told_unless_hardware_was_to_fill_it_in() {
    let mut frame = ethernet(0x0800, &ipv4(1, TO, &summed(vec![8, 0, 0, 0, 0, 7, 0, 3])));
    *frame.last_mut().unwrap() ^= 1;
    assert_eq!(read(LinkType::Ethernet, &frame).bad_checksum, Some("icmp"));
    let offloaded = Frame {
        link: LinkType::Ethernet,
        bytes: &frame,
        original_length: frame.len() as u32,
        checksum: Checksum::NotReady,
    };
    assert_eq!(decode(&offloaded).bad_checksum, None);
}

#[test]
fn problem_kinds_are_distinguished() {
    let whole = ethernet(0x0800, &ipv4(17, TO, &udp(7, 9, &[0; 20])));
    let cut = decode(&Frame {
        link: LinkType::Ethernet,
        bytes: &whole[..30],
        original_length: whole.len() as u32,
        checksum: Checksum::Unknown,
    });
    assert_eq!(cut.problem.unwrap().kind, ProblemKind::Truncated);
    let mut short = whole.clone();
    short[14] = 0x43;
    let problem = read(LinkType::Ethernet, &short).problem.unwrap();
    assert_eq!(
        (problem.kind, problem.layer, problem.offset),
        (ProblemKind::Malformed, "ip", 14)
    );
    assert!(problem.reason.contains("12"), "{problem}");
    let strange = ethernet(0x0800, &ipv4(200, TO, &[0; 20]));
    assert_eq!(
        read(LinkType::Ethernet, &strange).problem.unwrap().kind,
        ProblemKind::Unknown
    );
}

#[test]
fn casts_and_tags() {
    let inner = ipv4(17, [239, 1, 1, 1], &udp(7, 5001, &[0; 20]));
    let mut tagged = vec![0, 100, 0x81, 0, 0, 7, 8, 0];
    tagged.extend_from_slice(&inner);
    let frame = ethernet(0x88a8, &tagged);
    let packet = read(LinkType::Ethernet, &frame);
    assert_eq!(packet.vlans, [100, 7]);
    assert_eq!(packet.cast(), Some(DeliveryScope::Multicast));
    assert_eq!(packet.ports, Some((7, 5001)));
    let raw = ipv4(17, [255; 4], &udp(7, 9, &[]));
    assert_eq!(
        read(LinkType::RawIp, &raw).cast(),
        Some(DeliveryScope::Broadcast)
    );
}

#[test]
fn truncated_samples_do_not_panic() {
    for (_, frame) in samples() {
        for link in 0..8 {
            for end in 0..frame.len() {
                let packet = decode(&Frame {
                    link: LinkType::from_u8(link),
                    bytes: &frame[..end],
                    original_length: frame.len() as u32,
                    checksum: Checksum::Unknown,
                });
                if link == 1 && end < 34 {
                    let kind = packet.problem.map(|problem| problem.kind);
                    assert!(
                        kind.is_none() || kind == Some(ProblemKind::Truncated),
                        "{kind:?} at {end}"
                    );
                }
            }
        }
    }
}

/// A name that points at itself, and one of 255 labels.
#[test]
fn dns_names_terminate() {
    let mut loops = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1];
    let frame = ethernet(0x0800, &ipv4(17, TO, &udp(4000, 53, &loops)));
    assert!(read(LinkType::Ethernet, &frame).problem.is_some());
    loops.truncate(12);
    loops.extend((0..255).flat_map(|_| [1, b'a']));
    loops.extend_from_slice(&[0, 0, 1, 0, 1]);
    let frame = ethernet(0x0800, &ipv4(17, TO, &udp(4000, 53, &loops)));
    assert!(read(LinkType::Ethernet, &frame).problem.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_do_not_panic(link in 0..8u8, bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0..4000u32) {
        let packet = decode(&Frame {
            link: LinkType::from_u8(link),
            bytes: &bytes,
            original_length: length.max(bytes.len() as u32),
            checksum: Checksum::Unknown,
        });
        prop_assert!(packet.summary.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{:?}", packet.summary);
    }

    #[test]
    fn mutated_samples_do_not_panic(
        which in 0..20usize,
        changes in prop::collection::vec((0..200usize, any::<u8>()), 1..8),
    ) {
        let mut samples = samples();
        let count = samples.len();
        let frame = &mut samples[which % count].1;
        for (at, value) in changes {
            let length = frame.len();
            frame[at % length] = value;
        }
        let packet = read(LinkType::Ethernet, frame);
        prop_assert!(packet.summary.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{:?}", packet.summary);
    }
}
