//! Decoding, on frames made by hand: a table of what is to be read, and no panic on anything.
#![allow(missing_docs, clippy::unwrap_used)]

use netsonde_core::wire::cursor::sum;
use netsonde_core::wire::{
    Checksum, DeliveryScope, Frame, LinkType, Packet, ProblemKind, decode, details,
};
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
    rtp.push(0x47);
    rtp.resize(12 + 188, 0);
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
            "VXLAN 42: 10.0.0.1 > 10.0.0.2 echo request id 7 seq 3, 0 bytes",
            over(17, TO, udp(50_000, 4789, &vxlan)),
        ),
        (
            "RTP type 33 seq 9 time 256 ssrc 0x00000005, 188 bytes",
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
        let details = details::details(&packet) + &details::link_header(&packet.frame);
        prop_assert!(packet.summary.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{:?}", packet.summary);
        prop_assert!(details.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{details:?}");
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
        let details = details::details(&packet) + &details::link_header(&packet.frame);
        prop_assert!(packet.summary.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{:?}", packet.summary);
        prop_assert!(details.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{details:?}");
    }
}

/// An IPv6 packet with a routing header of this type, and UDP whose checksum has this destination.
fn routed(header: &[u8], destination: &str, last: &str) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let from = address("2001:db8::1");
    let mut message = udp(4000, 5000, b"hello");
    let pseudo = sum(&address(last), sum(&from, 17 + message.len() as u32));
    let checksum = !(sum(&message, pseudo) as u16);
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&((header.len() + message.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&[43, 64]);
    packet.extend_from_slice(&from);
    packet.extend_from_slice(&address(destination));
    packet.extend_from_slice(header);
    packet.extend_from_slice(&message);
    packet
}

/// RFC 8200, section 8.1: the pseudo-header has the final destination, in whatever place each type of
/// routing header keeps it.
#[test]
fn checksums_cover_the_final_destination_of_a_source_route() {
    let (hop, last) = ("2001:db8::99", "2001:db8::2");
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let header = |kind: u8, left: u8, fixed: [u8; 4], list: &[&str]| {
        let mut bytes = vec![17, (list.len() * 2) as u8, kind, left];
        bytes.extend_from_slice(&fixed);
        bytes.extend(list.iter().flat_map(|address| octets(address)));
        bytes
    };
    // RPL with addresses that share 15 bytes with the destination: two of one byte, and six of padding.
    let rpl = vec![17, 1, 3, 2, 0xff, 0x60, 0, 0, 0x55, 2, 0, 0, 0, 0, 0, 0];
    for (name, header, destination) in [
        ("type 0", header(0, 2, [0; 4], &["2001:db8::55", last]), hop),
        ("mobile", header(2, 1, [0; 4], &[last]), hop),
        ("segments", header(4, 1, [1, 0, 0, 0], &[last, hop]), hop),
        ("arrived", header(4, 0, [1, 0, 0, 0], &[last, hop]), last),
        ("arrived, type 0", header(0, 0, [0; 4], &[hop]), last),
        ("rpl", rpl, hop),
    ] {
        let packet = routed(&header, destination, last);
        let seen = read(LinkType::RawIp, &packet);
        assert_eq!((seen.bad_checksum, &seen.problem), (None, &None), "{name}");
        let wrong = routed(&header, destination, "2001:db8::3");
        let seen = read(LinkType::RawIp, &wrong);
        assert_eq!(seen.bad_checksum, Some("udp"), "{name}");
        // The packet's own destination does not change.
        assert_eq!(
            seen.network.unwrap().destination.to_string(),
            destination,
            "{name}"
        );
    }
    // The lengths of messages do not contain the headers before them.
    let segments = header(4, 1, [1, 0, 0, 0], &[last, hop]);
    let packet = routed(&segments, hop, last);
    let seen = read(LinkType::RawIp, &packet);
    assert_eq!(seen.summary, "5 bytes");
    assert!(details::details(&seen).contains("(correct)"));
    let mut tcp = packet.clone();
    tcp[40] = 6;
    tcp.truncate(80);
    tcp.extend_from_slice(&[
        0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 100, 0, 0, 0, 0,
    ]);
    tcp[5] = 60;
    let seen = read(LinkType::RawIp, &tcp);
    assert_eq!(seen.summary, "SYN seq 1 win 100");
    assert_eq!(seen.bad_checksum, Some("tcp"));
    // Where the final destination is not known, no checksum is called wrong.
    let unknown = routed(&header(5, 1, [0; 4], &[hop]), hop, last);
    assert_eq!(read(LinkType::RawIp, &unknown).bad_checksum, None);
}

#[test]
fn checksums_cover_the_home_address_of_a_mobile_host() {
    // Pad of four bytes, then the home address option.
    let mut header = vec![17, 2, 1, 2, 0, 0, 201, 16];
    header.extend_from_slice(
        &"2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    let mut packet = routed(&header, "2001:db8::2", "2001:db8::2");
    packet[6] = 60;
    assert_eq!(read(LinkType::RawIp, &packet).bad_checksum, Some("udp"));
    let source: [u8; 16] = packet[8..24].try_into().unwrap();
    let home: [u8; 16] = packet[48..64].try_into().unwrap();
    packet[8..24].copy_from_slice(&home);
    packet[48..64].copy_from_slice(&source);
    assert_eq!(read(LinkType::RawIp, &packet).bad_checksum, None);
}

/// TCP has the final destination of an IPv4 source route in its pseudo-header, Linux's UDP the next hop.
#[test]
fn checksums_cover_either_end_of_an_ipv4_source_route() {
    for (kind, pointer, to, right) in [
        (131, 4, [10, 0, 0, 2], true),
        (137, 4, [10, 0, 0, 2], true),
        (131, 4, [10, 0, 0, 9], true),
        (131, 4, [10, 0, 0, 3], false),
        (131, 8, [10, 0, 0, 9], true),
        (131, 8, [10, 0, 0, 2], false),
    ] {
        let mut message = udp(4000, 5000, b"hello");
        let pseudo = sum(&to, sum(&[10, 0, 0, 1], 17 + message.len() as u32));
        let checksum = !(sum(&message, pseudo) as u16);
        message[6..8].copy_from_slice(&checksum.to_be_bytes());
        let mut packet = vec![
            0x47,
            0,
            0,
            28 + message.len() as u8,
            0,
            7,
            0,
            0,
            9,
            17,
            0,
            0,
        ];
        packet.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 9]);
        packet.extend_from_slice(&[kind, 7, pointer, 10, 0, 0, 2, 0]);
        let checksum = !(sum(&packet, 0) as u16);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend_from_slice(&message);
        let expected = (!right).then_some("udp");
        let seen = read(LinkType::RawIp, &packet);
        assert_eq!(seen.bad_checksum, expected, "{kind} {pointer} {to:?}");
    }
}

/// Messages with lists, which a short capture cuts anywhere.
fn lists() -> Vec<(&'static str, Vec<u8>)> {
    let over = |protocol: u8, to: [u8; 4], message: Vec<u8>| {
        ethernet(0x0800, &ipv4(protocol, to, &message))
    };
    let group = |last: u16| {
        let mut record = vec![4, 0, 0, 0, 0xff, 0x1e];
        record.extend_from_slice(&[0; 12]);
        record.extend_from_slice(&last.to_be_bytes());
        record
    };
    let mut mld2 = vec![143, 0, 0, 0, 0, 0, 0, 2];
    mld2.extend(group(1).into_iter().chain(group(2)));
    let mut query = vec![0x11, 100, 0, 0, 239, 1, 1, 1, 2, 125, 0, 10];
    query.extend((0..10).flat_map(|last| [10, 0, 0, last]));
    let mut join = vec![0x23, 0, 0, 0, 1, 0, 10, 0, 0, 254, 0, 5, 0, 210];
    for last in 0..5 {
        join.extend_from_slice(&[1, 0, 0, 32, 239, 1, 1, last, 0, 1, 0, 0]);
        join.extend_from_slice(&[1, 0, 4, 32, 10, 0, 0, 9]);
    }
    let mut vrrp = vec![0x31, 5, 200, 3, 0, 100, 0, 0];
    vrrp.extend((1..4).flat_map(|last| [10, 0, 0, last]));
    let mut dns = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 6, 0, 0, 0, 0];
    dns.extend_from_slice(b"\x01a\x00\x00\x01\x00\x01");
    for last in 1..7 {
        dns.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, last]);
    }
    let mut dhcp = vec![2, 1, 6, 0, 0, 0, 0, 9];
    dhcp.resize(236, 0);
    dhcp.extend_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, 2, 54, 4, 10, 0, 0, 1]);
    dhcp.extend_from_slice(&[12, 0, 51, 4, 0, 0, 0, 60, 12, 1, b'h', 255]);
    let hello = vec![
        0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105, 0, 19, 0, 4, 0, 0, 0, 1, 0, 20, 0, 4, 0, 0, 0, 9,
    ];
    let syn = vec![
        0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 2, 0, 100, 0, 0, 0, 0, 2, 4, 5, 180, 4, 2, 8,
        10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    let mut gre = vec![0x20, 0, 8, 0, 0, 0, 0, 7];
    gre.extend_from_slice(&ipv4(1, TO, &summed(vec![8, 0, 0, 0, 0, 7, 0, 3])));
    let mut first = ipv4(17, TO, &udp(7, 9, &[0; 20]));
    first[6] = 0x20;
    let mut lacp = vec![
        1, 1, 1, 20, 0, 1, 2, 0, 0, 0, 0, 1, 0, 5, 0, 1, 0, 2, 0, 0, 0, 0,
    ];
    lacp.extend_from_slice(&[
        2, 20, 0, 1, 2, 0, 0, 0, 0, 2, 0, 5, 0, 1, 0, 2, 0x3d, 0, 0, 0,
    ]);
    let lldp = vec![
        2, 7, 4, 2, 0, 0, 0, 0, 9, 4, 3, 5, b'p', b'1', 8, 0, 10, 0, 0, 0,
    ];
    let quoting = {
        let mut error = vec![11, 0, 0, 0, 0, 0, 0, 0];
        error.extend_from_slice(&ipv4(17, TO, &udp(7, 9, &[0; 20])));
        summed(error)
    };
    vec![
        ("MLDv2 report", mld(mld2)),
        ("IGMPv3 query", over(2, [239, 1, 1, 1], summed(query))),
        ("PIM join/prune", over(103, [224, 0, 0, 13], summed(join))),
        ("PIM hello", over(103, [224, 0, 0, 13], summed(hello))),
        ("VRRP", over(112, [224, 0, 0, 18], vrrp)),
        ("DNS", over(17, TO, udp(53, 4000, &dns))),
        ("DHCP", over(17, TO, udp(67, 68, &dhcp))),
        ("TCP", over(6, TO, syn)),
        ("GRE", over(47, TO, gre.clone())),
        ("tunnel", over(4, TO, gre[8..].to_vec())),
        ("fragment", ethernet(0x0800, &first)),
        ("LACP", ethernet(0x8809, &lacp)),
        ("LLDP", ethernet(0x88cc, &lldp)),
        ("ICMP error", over(1, TO, quoting)),
    ]
}

/// Whether an item, a bracket or a conjunction in a summary has nothing in it. An empty set of sources in
/// braces is a fact.
fn has_empty_item(summary: &str) -> bool {
    let marks = [' ', ':', ';', ','];
    summary.starts_with(marks)
        || summary.ends_with(marks)
        || [
            ": ;", ": ,", ", ,", "; ;", ",,", ";;", "[]", "()", ": and ", "  ",
        ]
        .iter()
        .any(|part| summary.contains(part))
}

#[test]
fn cut_lists_have_no_empty_item() {
    for (name, frame) in lists().into_iter().chain(samples()) {
        for end in 0..=frame.len() {
            let packet = decode(&Frame {
                link: LinkType::Ethernet,
                bytes: &frame[..end],
                original_length: frame.len() as u32,
                checksum: Checksum::Unknown,
            });
            let summary = &packet.summary;
            assert!(!has_empty_item(summary), "{name} at {end}: {summary:?}");
            if name != "MLDv2 report" {
                continue;
            }
            // Two records of 20 bytes each, from byte 70 on.
            let expected = match end {
                ..70 => continue,
                70..90 => "MLDv2 report: 2 records, cut off",
                90..110 => "MLDv2 report: ff1e::1 to exclude {} (join); and 1 more",
                _ => "MLDv2 report: ff1e::1 to exclude {} (join); ff1e::2 to exclude {} (join)",
            };
            assert_eq!(summary, expected, "at {end}");
        }
    }
}

#[test]
fn cut_lists_say_what_is_missing() {
    let at = |name: &str, cut: usize| {
        let all = lists();
        let (_, frame) = all.iter().find(|(known, _)| *known == name).unwrap();
        let packet = decode(&Frame {
            link: LinkType::Ethernet,
            bytes: &frame[..frame.len() - cut],
            original_length: frame.len() as u32,
            checksum: Checksum::Unknown,
        });
        packet.summary
    };
    let sources = |shown: u8| {
        let shown: Vec<String> = (0..shown).map(|last| format!("10.0.0.{last}")).collect();
        shown.join(", ")
    };
    let query = "IGMPv3 query for 239.1.1.1, max response 10000 ms, robustness 2, interval 125 s";
    assert_eq!(
        at("IGMPv3 query", 0),
        format!("{query}, sources {} and 2 more", sources(8))
    );
    assert_eq!(
        at("IGMPv3 query", 33),
        format!("{query}, sources 10.0.0.0 and 9 more")
    );
    assert_eq!(
        at("IGMPv3 query", 40),
        format!("{query}, 10 sources, cut off")
    );
    assert!(at("PIM join/prune", 0).ends_with("; and 2 more groups"));
    assert!(at("VRRP", 1).ends_with(", 10.0.0.1, 10.0.0.2 and 1 more"));
    assert!(
        at("DNS", 40).ends_with("A a 10.0.0.3 and 3 more"),
        "{}",
        at("DNS", 40)
    );
    assert_eq!(
        at("DHCP", 2),
        "DHCP offer 0x00000009 for 00:00:00:00:00:00, server 10.0.0.1, lease 60 s"
    );
    assert!(
        at("TCP", 3).ends_with("[mss 1460, sack ok]"),
        "{}",
        at("TCP", 3)
    );
    assert_eq!(
        at("PIM hello", 3),
        "PIM hello, hold time 105 s, DR priority 1"
    );
    assert_eq!(at("GRE", 28), "GRE key 0x7");
    assert_eq!(at("tunnel", 28), "tunnel");
    assert_eq!(at("fragment", 28), "first fragment, id 0x7");
}

#[test]
fn details_complete_the_summary() {
    let of = |name: &str| {
        let all = lists();
        let (_, frame) = all.iter().find(|(known, _)| *known == name).unwrap();
        details::details(&read(LinkType::Ethernet, frame))
    };
    let syn = of("TCP");
    assert!(syn.starts_with("ip ttl 1, tos 0x00, id 7, flags [none], offset 0, proto tcp (6), length 60, checksum 0x"), "{syn}");
    assert!(
        syn.contains("options [mss 1460, sack ok, timestamp 1 echo 0, nop, wscale 7]"),
        "{syn}"
    );
    assert!(syn.contains("checksum 0x0000 (wrong)"), "{syn}");
    assert!(
        of("MLDv2 report").contains("extensions [hop-by-hop]; icmp6 type 143, code 0, checksum 0x")
    );
    assert!(
        of("MLDv2 report").contains("(correct); 2 records [ff1e::1 to exclude {} (join), ff1e::2")
    );
    assert!(of("IGMPv3 query").contains("S flag clear, sources [10.0.0.0, 10.0.0.1"));
    let (_, arp) = &samples()[0];
    assert_eq!(
        details::details(&read(LinkType::Ethernet, arp)),
        "arp operation 1, sender 10.0.0.1 (02:00:00:00:00:01), target 10.0.0.2 (00:00:00:00:00:00); 42 bytes"
    );
    let frame = Frame {
        link: LinkType::Ethernet,
        bytes: arp,
        original_length: arp.len() as u32,
        checksum: Checksum::Unknown,
    };
    assert_eq!(
        details::link_header(&frame),
        "02:00:00:00:00:01 > 01:00:5e:00:00:01, ethertype ARP (0x0806), length 42"
    );
}

/// Numbers that repeat in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
    }
}

fn of_ports(from: u16, to: u16, payload: &[u8]) -> &'static str {
    let frame = ethernet(0x0800, &ipv4(17, TO, &udp(from, to, payload)));
    read(LinkType::Ethernet, &frame).protocol()
}

/// Messages of protocols whose first two bits are those of RTP's version.
fn like_rtp(numbers: &mut Numbers) -> Vec<(&'static str, Vec<u8>)> {
    // A FINS command or response through up to seven networks, with any memory behind it.
    let area = numbers.next() as usize % 400;
    let command = [
        (1, 1),
        (1, 2),
        (2, 1),
        (4, 1),
        (5, 1),
        (6, 1),
        (7, 1),
        (0x23, 1),
    ];
    let (main, sub) = command[numbers.next() as usize % command.len()];
    let mut fins = vec![0x80, 0, [2, 7][area % 2]];
    fins.extend((0..7).map(|_| numbers.next() as u8));
    fins.extend([main, sub]);
    fins.extend((0..area).map(|_| numbers.next() as u8));
    // A full frame of IAX2: call numbers, a time in milliseconds, counters, type and subclass.
    let call = numbers.next() as u16 & 0x7fff;
    let mut iax2 = (0x8000 | call).to_be_bytes().to_vec();
    iax2.extend((numbers.next() as u16 & 0x7fff).to_be_bytes());
    iax2.extend((numbers.next() as u32 % 14_400_000).to_be_bytes());
    iax2.extend([numbers.next() as u8, numbers.next() as u8]);
    iax2.extend([1 + numbers.next() as u8 % 12, numbers.next() as u8 % 0x40]);
    iax2.resize(12 + numbers.next() as usize % 200, 0x2a);
    // Control packets of SRT: type, reserved or its own, time, socket.
    let kind = numbers.next() as u16 % 9;
    let mut srt = (0x8000 | kind).to_be_bytes().to_vec();
    srt.extend([0, 0, 0, 0, 0, 0]);
    srt.extend((0..8).map(|_| numbers.next() as u8));
    srt.resize(16 + 4 * (numbers.next() as usize % 60), 0);
    // A request of memcached over UDP: identifier, number and count of datagrams, reserved.
    let mut memcached = vec![0x80, numbers.next() as u8, 0, 0, 0, 1, 0, 0];
    memcached.extend(b"get a_key_of_some_length\r\n");
    // Acknowledgments that are missing, in RakNet: a count, then ranges.
    let mut raknet = vec![0xa0, 0, 1 + numbers.next() as u8 % 9];
    raknet.resize(4 + 7 * usize::from(raknet[2]), 0);
    vec![
        ("fins", fins),
        ("iax2", iax2),
        ("srt", srt),
        ("memcached", memcached),
        ("raknet", raknet),
    ]
}

#[test]
fn other_protocols_are_not_rtp() {
    let mut numbers = Numbers(1);
    for round in 0..20_000u16 {
        for (name, message) in like_rtp(&mut numbers) {
            let to = 10_000 + 2 * (round % 20_000);
            let protocol = of_ports(40_000, to, &message);
            assert_ne!(protocol, "rtp", "{name} {message:02x?}");
        }
    }
    let fins = [
        0x80, 0, 2, 0, 1, 0, 0, 2, 0, 7, 1, 1, 0x82, 0, 100, 0, 0, 10,
    ];
    assert_eq!(of_ports(9600, 9600, &fins), "fins");
    let iax2 = [0x80, 1, 0, 0, 0, 0, 0, 3, 0, 0, 6, 1, 11, 2, 0, 2];
    assert_eq!(of_ports(4569, 4569, &iax2), "iax2");
    // Anything at all, as encrypted payloads are: one in a thousand begins like a type that has no form of its own.
    let mut payload = [0; 200];
    let mut guessed = 0;
    for _ in 0..100_000 {
        numbers.fill(&mut payload);
        guessed += u32::from(of_ports(40_000, 40_002, &payload) == "rtp");
    }
    assert!(guessed < 150, "{guessed}");
}

#[test]
fn streams_of_each_payload_type_are_rtp() {
    let mut numbers = Numbers(2);
    // Payload type and length: G.711 of 20 and 30 ms, GSM, G.722, G.729 with comfort noise, MPEG transport, H.264.
    let types = [
        (0u8, 160),
        (8, 160),
        (0, 240),
        (3, 33),
        (9, 160),
        (18, 20),
        (18, 22),
        (33, 7 * 188),
        (96, 1000),
        (0x80 | 111, 80),
    ];
    let (mut all, mut known) = (0, 0);
    for _ in 0..2000 {
        for (kind, length) in types {
            let mut message = vec![0; 12 + length];
            numbers.fill(&mut message);
            (message[0], message[1]) = (0x80, kind);
            if kind == 33 {
                message[12] = 0x47;
            }
            all += 1;
            known += u32::from(of_ports(16_384, 30_000, &message) == "rtp");
        }
    }
    // Random numbers may look like the fields of another protocol.
    assert!(known * 1000 >= all * 995, "{known} of {all}");
}

/// A datagram of SERVER to all of WORKGROUP, as Windows announces itself.
#[test]
fn nbdgm_names_both_ends() {
    let name = |text: &str| {
        let padded = format!("{text:<15}\u{1d}");
        let letters = padded
            .bytes()
            .flat_map(|byte| [b'A' + (byte >> 4), b'A' + (byte & 15)]);
        [&[32][..], &letters.collect::<Vec<u8>>(), &[0]].concat()
    };
    let names = [name("SERVER"), name("WORKGROUP")].concat();
    let mut message = vec![0x11, 2, 0, 7, 10, 0, 0, 1, 0, 138];
    message.extend(((names.len() + 4) as u16).to_be_bytes());
    message.extend([0, 0]);
    message.extend(&names);
    message.extend(b"\xffSMB");
    let frame = ethernet(0x0800, &ipv4(17, TO, &udp(138, 138, &message)));
    let packet = read(LinkType::Ethernet, &frame);
    assert_eq!(packet.protocol(), "nbdgm");
    let expected = "NetBIOS datagram to a group SERVER > WORKGROUP, 72 bytes";
    assert_eq!(packet.summary, expected);
    // A length beyond the datagram is no NetBIOS.
    message[10] = 1;
    assert_eq!(of_ports(138, 138, &message), "udp");
}

/// Syslog ends its messages as it likes: with a zero byte, too.
#[test]
fn syslog_may_end_with_a_zero_byte() {
    let message = b"<5>Sep 12 19:16:12 host program: text\0";
    let frame = ethernet(0x0800, &ipv4(17, TO, &udp(40_000, 514, message)));
    let packet = read(LinkType::Ethernet, &frame);
    assert_eq!(packet.protocol(), "syslog");
    assert_eq!(packet.summary, "<5>Sep 12 19:16:12 host program: text");
}

/// HSRP has hellos, and advertisements of 16 bytes; anything else on its port is not named.
#[test]
fn hsrp_is_checked_by_content() {
    let hello = [
        &[0, 0, 16, 3, 10, 120, 1, 0],
        &b"cisco\0\0\0"[..],
        &[10, 0, 0, 9],
    ]
    .concat();
    let advertisement = [0, 3, 0, 1, 0, 10, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(of_ports(1985, 1985, &hello), "hsrp");
    assert_eq!(of_ports(1985, 1985, &advertisement), "hsrp");
    assert_eq!(of_ports(1985, 1985, b"a text of another service"), "udp");
    assert_eq!(of_ports(520, 520, &[2, 2, 0, 0]), "rip");
    assert_eq!(of_ports(520, 520, b"a text of another service"), "udp");
}
