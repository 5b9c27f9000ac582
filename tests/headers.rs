//! What callers without payload permission get of a packet: random packets of each protocol, each with bytes
//! that are somebody's payload or padding. Changing any of these bytes changes nothing of what they get,
//! neither in bytes nor in decoded text. The test states by itself where payload is: by what it puts there.
#![allow(missing_docs, clippy::unwrap_used)]

use netsonde_core::recorder::blocks::{self, Block};
use netsonde_core::recorder::pcapng::{Counts, Writer, packet_id};
use netsonde_core::recorder::{Store, headers};
use netsonde_core::wire::glance::glance;
use netsonde_core::wire::{Checksum, Direction, Frame, LinkType, decode};

/// A packet under construction, from its end to its start: each header is put before what it carries.
#[derive(Clone, Default)]
struct Built {
    bytes: Vec<u8>,
    /// Whether each byte is payload.
    secret: Vec<bool>,
}

impl Built {
    fn payload(bytes: Vec<u8>) -> Built {
        Built {
            secret: vec![true; bytes.len()],
            bytes,
        }
    }

    fn header(bytes: &[u8]) -> Built {
        Built {
            secret: vec![false; bytes.len()],
            bytes: bytes.to_vec(),
        }
    }

    /// Appends another part.
    fn then(mut self, other: Built) -> Built {
        self.bytes.extend(other.bytes);
        self.secret.extend(other.secret);
        self
    }

    /// Puts a header before it.
    fn behind(self, header: &[u8]) -> Built {
        Built::header(header).then(self)
    }

    fn len(&self) -> u16 {
        self.bytes.len() as u16
    }
}

/// Random numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 24) as u8).collect()
    }

    fn secret(&mut self) -> Built {
        let length = 1 + self.next() as usize % 40;
        Built::payload(self.bytes(length))
    }

    fn of(&mut self, most: u64) -> u64 {
        self.next() % (most + 1)
    }
}

const GROUP4: [u8; 4] = [239, 1, 2, 3];
const HOST4: [u8; 4] = [10, 0, 0, 2];

fn ipv4_with(protocol: u8, to: [u8; 4], fragment: u16, inside: Built) -> Built {
    let total = (20 + inside.len()).to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 7, fragment[0], fragment[1]];
    header.extend([64, protocol, 0, 0, 10, 0, 0, 1]);
    header.extend(to);
    inside.behind(&header)
}

fn ipv4(protocol: u8, inside: Built) -> Built {
    ipv4_with(protocol, HOST4, 0, inside)
}

fn ipv6(next: u8, inside: Built) -> Built {
    let length = inside.len().to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, length[0], length[1], next, 255];
    header.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    inside.behind(&header)
}

fn ethernet(kind: u16, inside: Built) -> Built {
    let mut header = vec![1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 1];
    header.extend(kind.to_be_bytes());
    inside.behind(&header)
}

fn udp(from: u16, to: u16, inside: Built) -> Built {
    let mut header = from.to_be_bytes().to_vec();
    header.extend(to.to_be_bytes());
    header.extend((8 + inside.len()).to_be_bytes());
    header.extend([0, 0]);
    inside.behind(&header)
}

fn tcp(random: &mut Random, inside: Built) -> Built {
    let options = random.of(3) as usize * 4;
    let mut header = vec![0x12, 0x34, 0, 80, 0, 0, 0, 9, 0, 0, 0, 8];
    header.extend([(5 + options as u8 / 4) << 4, 0x18, 1, 0, 0, 0, 0, 0]);
    header.extend(vec![1; options]);
    inside.behind(&header)
}

/// A packet of a user in some transport, as tunnels and errors carry it.
fn packet_of_a_user(random: &mut Random) -> Built {
    let secret = random.secret();
    match random.of(5) {
        0 => ipv4(17, udp(4000, 5000, secret)),
        1 => {
            let inside = tcp(random, secret);
            ipv4(6, inside)
        }
        2 => ipv4(1, secret.behind(&[8, 0, 0, 0, 0, 1, 0, 2])),
        3 => ipv6(17, udp(4000, 53, secret)),
        // A protocol that is not known, and a later fragment.
        4 => ipv4(253, secret),
        _ => ipv4_with(17, HOST4, 0x0010, secret),
    }
}

fn pim(kind: u8, inside: Built) -> Built {
    ipv4_with(
        103,
        [224, 0, 0, 13],
        0,
        inside.behind(&[0x20 | kind, 0, 0, 0]),
    )
}

/// A packet of each protocol by its number; `None` behind the last.
fn example(number: usize, random: &mut Random) -> Option<(&'static str, Built)> {
    // What lies between the end of a message and that of the frame or of the IP packet.
    let rest = random.secret();
    let secret = random.secret();
    let count = random.of(3) as u8;
    let addresses = Built::header(&random.bytes(usize::from(count) * 4));
    Some(match number {
        0 => (
            "udp",
            ethernet(0x0800, ipv4(17, udp(4000, 5000, secret))).then(rest),
        ),
        1 => {
            let inside = tcp(random, secret);
            ("tcp", ethernet(0x0800, ipv4(6, inside)).then(rest))
        }
        2 => {
            let mut message = vec![0, 1, 8, 0, 6, 4, 0, 1];
            message.extend(random.bytes(20));
            ("arp", ethernet(0x0806, rest.behind(&message)))
        }
        3 => (
            "echo",
            ethernet(0x0800, ipv4(1, secret.behind(&[8, 0, 0, 0, 0, 1, 0, 2]))),
        ),
        4 => {
            let quoted = packet_of_a_user(random);
            let kind = [3, 4, 5, 11, 12][random.of(4) as usize];
            let error = quoted.behind(&[kind, 0, 0, 0, 0, 0, 0, 0]);
            ("icmp error", ethernet(0x0800, ipv4(1, error)).then(rest))
        }
        5 => {
            let quoted = packet_of_a_user(random);
            let error = quoted.behind(&[1 + random.of(3) as u8, 0, 0, 0, 0, 0, 0, 0]);
            ("icmp6 error", ethernet(0x86dd, ipv6(58, error)).then(rest))
        }
        6 => {
            let inside = packet_of_a_user(random);
            let register = inside.behind(&[0, 0, 0, 0]);
            (
                "pim register",
                ethernet(0x0800, pim(1, register)).then(rest),
            )
        }
        7 => {
            let hello = Built::header(&[0, 1, 0, 2, 0, 105, 0, 20, 0, 4, 1, 2, 3, 4]);
            ("pim hello", ethernet(0x0800, pim(0, hello)).then(rest))
        }
        8 => {
            let mut join = vec![1, 0, 10, 0, 0, 9, 0, 1, 0, 210, 1, 0, 0, 32, 239, 1, 1, 1];
            join.extend([0, 1, 0, 0, 1, 0, 4, 32, 10, 0, 0, 1]);
            ("pim join", ethernet(0x0800, pim(3, rest.behind(&join))))
        }
        9 => {
            let mut assert = vec![1, 0, 0, 32, 239, 1, 1, 1, 1, 0, 10, 0, 0, 1];
            assert.extend([0, 0, 0, 1, 0, 0, 0, 2]);
            ("pim assert", ethernet(0x0800, pim(5, rest.behind(&assert))))
        }
        10 => ("pim bootstrap", ethernet(0x0800, pim(4, secret))),
        11 => {
            let query = addresses.behind(&[0x11, 10, 0, 0, 239, 1, 1, 1, 2, 125, 0, count]);
            ("igmpv3 query", ethernet(0x0800, ipv4(2, query.then(rest))))
        }
        12 => {
            // With auxiliary data in the only record.
            let record = addresses.behind(&[4, 1, 0, count, 239, 1, 1, 1]);
            let report = record.then(Built::payload(random.bytes(4))).then(rest);
            let report = report.behind(&[0x22, 0, 0, 0, 0, 0, 0, 1]);
            ("igmpv3 report", ethernet(0x0800, ipv4(2, report)))
        }
        13 => {
            let leave = rest.behind(&[0x17, 0, 0, 0, 239, 1, 1, 1]);
            ("igmp leave", ethernet(0x0800, ipv4(2, leave)))
        }
        14 => {
            let mut report = vec![131, 0, 0, 0, 0, 0, 0, 0];
            report.extend(random.bytes(16));
            ("mld", ethernet(0x86dd, ipv6(58, rest.behind(&report))))
        }
        15 => {
            let mut report = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 1];
            report.extend(random.bytes(32));
            (
                "mldv2 report",
                ethernet(0x86dd, ipv6(58, rest.behind(&report))),
            )
        }
        16 => {
            let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
            solicitation.extend(random.bytes(16));
            solicitation.extend([1, 1, 2, 0, 0, 0, 0, 1]);
            // An option without length ends the message.
            solicitation.extend([9, 0]);
            let end = solicitation.len() - 2;
            let mut built = Built::header(&solicitation).then(rest);
            built.secret[end..].fill(true);
            built.bytes[end + 1] = 0;
            // The length itself is what ends it.
            built.secret[end + 1] = false;
            ("nd", ethernet(0x86dd, ipv6(58, built)))
        }
        17 => {
            let mut redirect = vec![137, 0, 0, 0, 0, 0, 0, 0];
            redirect.extend(random.bytes(32));
            redirect.extend([4, 20, 0, 0, 0, 0, 0, 0]);
            let quoted = packet_of_a_user(random);
            (
                "nd redirect",
                ethernet(0x86dd, ipv6(58, quoted.behind(&redirect)).then(rest)),
            )
        }
        18 => {
            let protocol = [253, 254, 3, 99, 200, 61][random.of(5) as usize];
            ("unknown protocol", ethernet(0x0800, ipv4(protocol, secret)))
        }
        19 => (
            "unknown protocol over ipv6",
            ethernet(0x86dd, ipv6(253, secret)),
        ),
        20 => ("unknown ethertype", ethernet(0x88b5, secret)),
        21 => {
            let fragment = ipv4_with(17, HOST4, 0x2010, secret);
            ("later fragment", ethernet(0x0800, fragment).then(rest))
        }
        22 => {
            let fragment = ipv6(44, secret.behind(&[17, 0, 0, 0x51, 0, 0, 0, 9]));
            ("later fragment over ipv6", ethernet(0x86dd, fragment))
        }
        23 => (
            "ip in ip",
            ethernet(0x0800, ipv4(4, packet_of_a_user(random))).then(rest),
        ),
        24 => {
            let inside = packet_of_a_user(random);
            let kind: u16 = if inside.bytes[0] >> 4 == 4 {
                0x0800
            } else {
                0x86dd
            };
            let key = random.of(1) as u16;
            let mut header = (key << 13).to_be_bytes().to_vec();
            header.extend(kind.to_be_bytes());
            header.extend(vec![7; usize::from(key) * 4]);
            (
                "gre",
                ethernet(0x0800, ipv4(47, inside.behind(&header))).then(rest),
            )
        }
        25 => {
            let frame = ethernet(0x0800, ipv4(17, udp(1, 2, secret)));
            let gre = frame.behind(&[0, 0, 0x65, 0x58]);
            (
                "ethernet in gre",
                ethernet(0x0800, ipv4(47, gre)).then(rest),
            )
        }
        26 => {
            let gre = secret.behind(&[0, 0, 0x88, 0xb5]);
            ("unknown in gre", ethernet(0x0800, ipv4(47, gre)))
        }
        27 => {
            let port = [4789, 2152, 6081, 53, 67, 443, 4739, 3784][random.of(7) as usize];
            (
                "tunnels and services in udp",
                ethernet(0x0800, ipv4(17, udp(4000, port, secret))),
            )
        }
        28 => {
            let inside = packet_of_a_user(random).behind(&[0, 1, 0x21, 64]);
            ("mpls", ethernet(0x8847, inside))
        }
        29 => (
            "pseudowire",
            ethernet(0x8847, {
                let mut secret = secret;
                secret.bytes[0] = 0;
                secret.secret[0] = false;
                // The first four bits tell that it is none of IP.
                secret.behind(&[0, 1, 0x21, 64])
            }),
        ),
        30 => {
            let inside = ipv4(17, udp(1, 2, secret)).behind(&[0, 0x21]);
            let length = inside.len().to_be_bytes();
            let session = inside.behind(&[0x11, 0, 0, 9, length[0], length[1]]);
            ("pppoe", ethernet(0x8864, session).then(rest))
        }
        31 => {
            let inside = secret.behind(&[0xc0, 0x23]);
            let length = inside.len().to_be_bytes();
            let session = inside.behind(&[0x11, 0, 0, 9, length[0], length[1]]);
            ("password in ppp", ethernet(0x8864, session).then(rest))
        }
        32 => {
            let tags = secret.behind(&[0x11, 9, 0, 0, 0, 40]);
            ("pppoe discovery", ethernet(0x8863, tags))
        }
        33 => {
            let mut message = vec![2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 3, 5, 101, 48, 6, 2, 0, 120];
            message.extend([0, 0]);
            ("lldp", ethernet(0x88cc, rest.behind(&message)))
        }
        34 => {
            let mut message = vec![1, 1, 1, 20];
            message.extend(random.bytes(18));
            message.extend([2, 20]);
            message.extend(random.bytes(18));
            message.extend([3, 16]);
            message.extend(random.bytes(14));
            message.extend([0, 0]);
            ("lacp", ethernet(0x8809, rest.behind(&message)))
        }
        35 => {
            let mut message = vec![0x42, 0x42, 3, 0, 0, 2, 2];
            message.extend(random.bytes(32));
            let length = message.len() as u16;
            ("rstp", ethernet(length, rest.behind(&message)))
        }
        36 => {
            let message = secret.behind(&[0xe0, 0xe0, 3]);
            ("llc", ethernet(message.len(), message).then(rest))
        }
        37 => {
            let message = secret.behind(&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0]);
            ("snap", ethernet(message.len(), message).then(rest))
        }
        38 => ("cfm", ethernet(0x8902, secret.behind(&[0x20, 3, 0, 4]))),
        39 => ("eapol", ethernet(0x888e, secret.behind(&[2, 0, 0, 30]))),
        40 => {
            let advert = addresses.behind(&[0x21, 5, 100, count, 0, 1, 0, 0]);
            ("vrrp", ethernet(0x0800, ipv4(112, advert.then(rest))))
        }
        41 => {
            let mut hello = vec![2, 1, 0, 44, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
            hello.truncate(16);
            ("ospf", ethernet(0x0800, ipv4(89, secret.behind(&hello))))
        }
        42 => (
            "esp",
            ethernet(0x0800, ipv4(50, secret.behind(&[0, 0, 0, 1, 0, 0, 0, 2]))),
        ),
        43 => {
            let header = [0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0];
            ("sctp", ethernet(0x0800, ipv4(132, secret.behind(&header))))
        }
        44 => {
            let names = udp(5353, 5353, secret);
            (
                "mdns",
                ethernet(0x0800, ipv4_with(17, [224, 0, 0, 251], 0, names)),
            )
        }
        45 => {
            // The first byte tells the format, and belongs to the header.
            let mut rtp = vec![0x80, random.of(127) as u8];
            rtp.extend(random.bytes(10));
            if rtp[1] & 0x7f == 33 {
                rtp[1] = 34;
            }
            let stream = udp(5004, 5004, secret.behind(&rtp));
            (
                "rtp",
                ethernet(0x0800, ipv4_with(17, GROUP4, 0, stream)).then(rest),
            )
        }
        46 => {
            let mut rtp = vec![0x80, 33];
            rtp.extend(random.bytes(16));
            let stream = udp(5004, 5004, secret.behind(&rtp));
            (
                "mpeg in rtp",
                ethernet(0x0800, ipv4_with(17, GROUP4, 0, stream)),
            )
        }
        47 => {
            let stream = udp(5004, 5004, secret.behind(&[0x47, 1, 2, 3, 4, 5]));
            ("mpeg", ethernet(0x0800, ipv4_with(17, GROUP4, 0, stream)))
        }
        48 => {
            let first = [0x00, 0x20, 0x6f, 0xff][random.of(3) as usize];
            let stream = udp(5004, 5004, secret.behind(&[first]));
            (
                "another stream",
                ethernet(0x0800, ipv4_with(17, GROUP4, 0, stream)),
            )
        }
        49 => {
            let stream = udp(5004, 5004, secret.behind(b"netsonX"));
            (
                "almost a test packet",
                ethernet(0x0800, ipv4_with(17, GROUP4, 0, stream)),
            )
        }
        50 => {
            let inside = ipv4(17, udp(1, 2, secret));
            let tagged = inside.behind(&[0, 7, 0x81, 0, 0, 9, 8, 0]);
            ("vlans", ethernet(0x88a8, tagged).then(rest))
        }
        51 => {
            let options = ipv6(
                0,
                udp(4000, 5000, secret).behind(&[17, 0, 1, 4, 0, 0, 0, 0]),
            );
            ("hop-by-hop options", ethernet(0x86dd, options).then(rest))
        }
        _ => return None,
    })
}

/// The bytes that a caller without payload permission gets, and what is decoded from them.
fn given(bytes: &[u8]) -> (Vec<u8>, String) {
    let link = LinkType::Ethernet;
    let kept = headers::length(link, bytes, &glance(link, bytes));
    let packet = decode(&Frame {
        link,
        bytes: &bytes[..kept],
        original_length: bytes.len() as u32,
        checksum: Checksum::Valid,
    });
    let text = format!(
        "{:?} {} {:?} {:?} {:?} {:?} {:?}",
        packet.protocols,
        packet.summary,
        packet.meanings,
        packet.inner,
        packet.problem,
        packet.server_name,
        packet.bad_checksum,
    );
    (bytes[..kept].to_vec(), text)
}

/// The block of a whole packet, as it is on disk.
fn on_disk(bytes: &[u8], checksum: Checksum) -> Vec<u8> {
    let mut writer = Writer::default();
    let counts = Counts {
        missing: 2,
        stands_for: 64,
        id: Some(packet_id(Store::Bulk, 7)),
    };
    let length = bytes.len() as u32;
    let way = Direction::ToUs;
    writer.packet_with(3, 5, bytes, length, way, checksum, counts, &["gap".into()]);
    writer.buffer
}

/// The block that a caller without payload permission gets of one that is on disk.
fn given_from_disk(block: &[u8]) -> Vec<u8> {
    let Some(Block::Packet(packet)) = blocks::next(&mut &*block).unwrap() else {
        panic!("no packet");
    };
    let mut cut = Vec::new();
    let missing = packet.dropped();
    packet.write_headers(LinkType::Ethernet, &mut cut, 3, |_, _| true, missing, &[]);
    cut
}

/// From disk the same is given as from memory, whether whole packets are there or headers.
#[test]
fn disk_and_memory_give_the_same() {
    let mut random = Random(11);
    for number in 0.. {
        let Some((name, built)) = example(number, &mut random) else {
            break;
        };
        let bytes = &built.bytes;
        let kept = headers::length(
            LinkType::Ethernet,
            bytes,
            &glance(LinkType::Ethernet, bytes),
        );
        for checksum in [Checksum::Unknown, Checksum::NotReady, Checksum::Valid] {
            let state = headers::checksum(&Frame {
                link: LinkType::Ethernet,
                bytes,
                original_length: bytes.len() as u32,
                checksum,
            });
            let cut = given_from_disk(&on_disk(bytes, checksum));
            let Some(Block::Packet(packet)) = blocks::next(&mut &*cut).unwrap() else {
                panic!("{name}: no packet");
            };
            assert_eq!(packet.bytes, &bytes[..kept], "{name}");
            assert_eq!(packet.original_length as usize, bytes.len(), "{name}");
            assert_eq!(packet.id(), Some((Store::Bulk, 7)));
            assert_eq!(packet.dropped(), 2);
            // All else is as the service writes it.
            let mut same = on_disk(&bytes[..kept], state);
            same[24..28].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            let options = |block: &[u8]| -> Vec<(u16, Vec<u8>)> {
                let Some(Block::Packet(packet)) = blocks::next(&mut &*block).unwrap() else {
                    panic!("{name}: no packet");
                };
                let mut all: Vec<(u16, Vec<u8>)> = (packet.options())
                    .map(|(code, value)| (code, value.to_vec()))
                    .collect();
                all.sort();
                all
            };
            assert_eq!(options(&cut), options(&same), "{name}");
            assert_eq!(cut.len(), same.len(), "{name}");
            // Headers of headers are these headers.
            assert_eq!(given_from_disk(&cut), cut, "{name}");
        }
    }
}

#[test]
fn payload_has_no_influence_on_what_is_given() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut kinds = 0;
    for number in 0.. {
        if example(number, &mut random).is_none() {
            break;
        }
        kinds += 1;
        for _ in 0..40 {
            let (name, built) = example(number, &mut random).unwrap();
            let before = given(&built.bytes);
            let from_disk = given_from_disk(&on_disk(&built.bytes, Checksum::Valid));
            for at in (0..built.bytes.len()).filter(|at| built.secret[*at]) {
                // Values that begin other formats, too.
                for value in [!built.bytes[at], 0, 0x45, 0x47, 0x60, 0x80, b'n'] {
                    let mut changed = built.bytes.clone();
                    changed[at] = value;
                    let after = given(&changed);
                    assert_eq!(
                        before, after,
                        "{name}: byte {at} of {:02x?} is payload, and {value:#04x} shows",
                        built.bytes
                    );
                    let after = given_from_disk(&on_disk(&changed, Checksum::Valid));
                    assert_eq!(from_disk, after, "{name}: byte {at} shows from disk");
                }
            }
        }
    }
    assert_eq!(kinds, 52);
}

/// Headers are given as far as they go: what a doctor needs is not cut.
#[test]
fn headers_are_given_whole() {
    let mut random = Random(7);
    for number in 0.. {
        let Some((name, built)) = example(number, &mut random) else {
            break;
        };
        let headers = built.secret.iter().position(|secret| *secret);
        let (bytes, _) = given(&built.bytes);
        let headers = headers.unwrap_or(built.bytes.len());
        // Of a pseudowire the first byte is not: only that it is no IP packet.
        let least = if name == "pseudowire" || name == "nd" {
            headers - 1
        } else {
            headers
        };
        let is_quoted_tcp = name.contains("error") || name == "nd redirect";
        assert!(
            bytes.len() >= least || (is_quoted_tcp && bytes.len() >= 14 + 20 + 8 + 20),
            "{name}: {} of {headers} bytes",
            bytes.len()
        );
    }
}
