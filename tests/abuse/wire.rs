//! The wire: W1 to W17. Frames go out of b as they are, and a's service has to keep each of them, say what is wrong
//! with it, and go on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use netsonde::lab::messages::{Q2, Q3, QueryParams, ethernet, igmp, ipv4, query};
use netsonde::lab::{self, BridgeOptions, Host, bridge, bridge_port, traffic, wait_until};
use netsonde_core::wire::cursor::sum;
use serde_json::Value;

use super::Outcome;
use super::watch::{Watch, settled, store, sum as total};
use crate::support::ping::ping;
use crate::support::{PATIENCE, Service, StopOnDrop, Test, entry, number, pair};

pub const TESTS: &[(&str, Test)] = &[
    ("wrong_header_lengths", wrong_header_lengths as Test),
    ("nested_vlan_tags", nested_vlan_tags),
    (
        "extension_headers_without_end",
        extension_headers_without_end,
    ),
    ("fragment_flood", fragment_flood),
    ("forged_errors_are_ignored", forged_errors_are_ignored),
    ("reply_flood_during_a_ping", reply_flood_during_a_ping),
    ("oversized_report_counts", oversized_report_counts),
    ("malformed_queries", malformed_queries),
    ("neighbor_flood", neighbor_flood),
    ("mac_address_flood", mac_address_flood),
    (
        "checksums_that_hardware_was_to_fill_in",
        checksums_that_hardware_was_to_fill_in,
    ),
    ("dns_compression_loops", dns_compression_loops),
    ("oversized_and_runt_frames", oversized_and_runt_frames),
    (
        "tun_interface_has_no_link_layer",
        tun_interface_has_no_link_layer,
    ),
    (
        "bridged_frame_is_recorded_per_port",
        bridged_frame_is_recorded_per_port,
    ),
    ("stamps_of_1970_and_2106", stamps_of_1970_and_2106),
];

/// Bulk is kept whole, too.
const WHOLE: &str = "[recorder.snap]\nbulk = 2048\n";

/// By this source address frames of the tests are known.
const SOURCE: &str = "02:00:00:00:00:55";
const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Nobody's; not a's, so that a's kernel has nothing to answer.
const TO: [u8; 6] = [2, 0, 0, 0, 0, 0x66];

/// Sends frames out of b's e0, and waits until all that came to a's are taken in. How many the rings had no
/// room for.
fn inject(
    service: &Service,
    b: &Host,
    count: u64,
    pace: u64,
    mut make: impl FnMut(u64) -> Vec<u8> + Send,
) -> u64 {
    let of = |status: &Value| {
        (
            total(&status["rings"], "processed"),
            total(&status["rings"], "drops"),
        )
    };
    let before = of(&service.status());
    let sent = b
        .run(|| {
            traffic::frames("e0", count, Some(pace), |number, frame| {
                *frame = make(number)
            })
        })
        .unwrap();
    assert_eq!(sent.packets, count);
    let status = service.until("all is taken in", |status| {
        let now = of(status);
        settled(status) && now.0 + now.1 >= before.0 + before.1 + count
    });
    of(&status).1 - before.1
}

/// The frames of the test as the client shows them; none of it commands a terminal.
fn shown(service: &Service, arguments: &[&str]) -> Vec<Value> {
    let text = service.ask(&[&["watch", "--last", "all", "--color", "never"], arguments].concat());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    let packets = service.packets(arguments).into_iter();
    packets
        .filter(|packet| packet["link_source"] == SOURCE)
        .collect()
}

/// Injects frames, one each, and returns what is shown of them, in order.
fn each(service: &Service, b: &Host, frames: &[Vec<u8>]) -> Vec<Value> {
    let dropped = inject(service, b, frames.len() as u64, 20_000, |number| {
        frames[number as usize].clone()
    });
    assert_eq!(dropped, 0, "a few hundred frames fit into the ring");
    let mut shown = shown(service, &[]);
    // The kernel's filter may take a header that lies for another port's, and so give the packet to the other ring
    // than its store is filled from: then it stands up to 20 ms from its place.
    shown.sort_by_key(|packet| packet["time"].as_str().unwrap().to_owned());
    assert_eq!(shown.len(), frames.len(), "each is kept once");
    shown
}

fn kind(packet: &Value) -> &str {
    packet["problem"]["kind"].as_str().unwrap_or("none")
}

/// How many of each.
fn tally<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut counts = std::collections::BTreeMap::<&str, u32>::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    serde_json::json!(counts).to_string()
}

/// UDP between a and b without a checksum, to a port.
fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 4000u16.to_be_bytes().to_vec();
    datagram.extend_from_slice(&port.to_be_bytes());
    datagram.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4((B, A), (protocol, 64), (7, 0), &[], payload)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[next, 64]);
    packet.extend_from_slice(&"fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(&"fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(payload);
    packet
}

/// W2.
fn wrong_header_lengths() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&a, WHOLE, &[]);
    let watch = Watch::begin("W2", &service);
    let (mut frames, mut expected) = (vec![], vec![]);
    let whole = packet(17, &udp(9, &[0; 40]));
    let length = whole.len() as u16;
    for words in 0..16u8 {
        for total in [
            0,
            1,
            19,
            20,
            u16::from(words) * 4,
            length,
            length + 1,
            65_535,
        ] {
            let mut bytes = whole.clone();
            bytes[0] = 0x40 | words;
            bytes[2..4].copy_from_slice(&total.to_be_bytes());
            frames.push(ethernet(TO, 0x0800, &bytes));
            let header = u16::from(words) * 4;
            let lies = words < 5 || (total != 0 && total < header) || total > length;
            expected.push((words, total, lies));
        }
    }
    let shown = each(&service, &b, &frames);
    for (packet, (words, total, lies)) in shown.iter().zip(&expected) {
        if *lies {
            assert_eq!(
                kind(packet),
                "malformed",
                "IHL {words} total {total}: {packet}"
            );
            assert_eq!(packet["problem"]["layer"], "ip", "{packet}");
        }
        // A length of 0 is what segmentation leaves: what is there counts.
        if (*words, *total) == (5, 0) {
            assert_eq!(
                (kind(packet), &packet["destination_port"]),
                ("none", &9.into()),
                "{packet}"
            );
        }
    }
    let figures = tally(shown.iter().map(kind));
    watch.end(&service, &format!("{} headers: {figures}", shown.len()));
    Ok(())
}

/// W3.
fn nested_vlan_tags() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&a, WHOLE, &[]);
    let watch = Watch::begin("W3", &service);
    let (mut frames, mut depths) = (vec![], vec![]);
    for kinds in [
        &[0x8100u16][..],
        &[0x88a8],
        &[0x88a8, 0x8100],
        &[0x9100, 0x8100, 0x88a8],
    ] {
        for depth in 0..=64u16 {
            let mut body = vec![];
            let kind_of = |at: u16| kinds[usize::from(at) % kinds.len()];
            for at in 0..depth {
                // Priority 5; the innermost is a priority tag, which names no VLAN.
                let tag = 0xa000 | if at + 1 == depth { 0 } else { 100 + at };
                body.extend_from_slice(&tag.to_be_bytes());
                let next = if at + 1 == depth {
                    0x0800
                } else {
                    kind_of(at + 1)
                };
                body.extend_from_slice(&next.to_be_bytes());
            }
            body.extend_from_slice(&packet(17, &udp(9, &[0; 20])));
            frames.push(ethernet(
                TO,
                if depth == 0 { 0x0800 } else { kind_of(0) },
                &body,
            ));
            depths.push(usize::from(depth));
        }
    }
    let shown = each(&service, &b, &frames);
    for (packet, depth) in shown.iter().zip(&depths) {
        let tags = packet["protocols"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| *one == "vlan")
            .count();
        assert_eq!(tags, *depth.min(&8), "{depth}: {packet}");
        if *depth <= 8 {
            assert_eq!(
                (kind(packet), &packet["destination_port"]),
                ("none", &9.into()),
                "{depth}: {packet}"
            );
        } else {
            assert_eq!(packet["problem"]["layer"], "vlan", "{depth}: {packet}");
        }
        if *depth > 1 {
            assert_eq!(
                packet["vlan"], 100,
                "the outermost is back in its place: {packet}"
            );
        }
        let length = 14 + 4 * depth + 48;
        assert_eq!(packet["length_bytes"], length, "{depth}: {packet}");
    }
    watch.end(
        &service,
        &format!(
            "{} frames with 0 to 64 tags: {}",
            shown.len(),
            tally(shown.iter().map(kind))
        ),
    );
    Ok(())
}

/// W4.
fn extension_headers_without_end() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&a, WHOLE, &[]);
    let watch = Watch::begin("W4", &service);
    let inner = udp(9, &[0; 20]);
    // Each is eight bytes, followed by a header of this kind.
    let chain = |kinds: &[u8]| {
        let mut bytes = vec![];
        for (at, _) in kinds.iter().enumerate() {
            let next = kinds.get(at + 1).copied().unwrap_or(17);
            bytes.extend_from_slice(&[next, 0, 1, 4, 0, 0, 0, 0]);
        }
        bytes.extend_from_slice(&inner);
        ethernet(
            TO,
            0x86dd,
            &ipv6(kinds.first().copied().unwrap_or(17), &bytes),
        )
    };
    let mut frames = vec![];
    let counts = [0, 1, 8, 15, 16, 17, 100, 170];
    for count in counts {
        frames.push(chain(&vec![60; count]));
        frames.push(chain(&vec![0; count]));
        frames.push(chain(&vec![43; count]));
    }
    let plain = frames.len();
    frames.push(chain(&[60, 0, 43]));
    // A hop-by-hop header of options without length, one that is longer than the packet, AH, ESP, a jumbogram.
    frames.push(ethernet(
        TO,
        0x86dd,
        &ipv6(
            0,
            &[[17, 0, 5, 0, 5, 0, 5, 0].to_vec(), inner.clone()].concat(),
        ),
    ));
    frames.push(ethernet(TO, 0x86dd, &ipv6(0, &[17, 255, 1, 4, 0, 0, 0, 0])));
    frames.push(ethernet(
        TO,
        0x86dd,
        &ipv6(51, &[17, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
    ));
    frames.push(ethernet(TO, 0x86dd, &ipv6(50, &[0; 24])));
    let mut jumbo = ipv6(
        0,
        &[[17, 0, 0xc2, 4, 0, 1, 0, 0].to_vec(), inner.clone()].concat(),
    );
    jumbo[4..6].fill(0);
    frames.push(ethernet(TO, 0x86dd, &jumbo));
    let shown = each(&service, &b, &frames);
    for (at, packet) in shown[..plain].iter().enumerate() {
        let count = counts[at / 3];
        if count <= 15 {
            assert_eq!(
                (kind(packet), &packet["destination_port"]),
                ("none", &9.into()),
                "{count}: {packet}"
            );
        } else if count > 16 {
            assert_ne!(kind(packet), "none", "{count}: {packet}");
        }
    }
    watch.end(
        &service,
        &format!(
            "{} chains of 0 to 170 headers: {}",
            shown.len(),
            tally(shown.iter().map(kind))
        ),
    );
    Ok(())
}

/// W5. Nothing is put together here, so nothing is kept for it.
fn fragment_flood() -> Outcome {
    const MANY: u64 = 60_000;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("W5", &service);
    let before = watch.engine().memory;
    let bytes = udp(9, &[0; 56]);
    let fragment = move |number: u64| {
        // First ones of datagrams that never end, later ones that overlap, the last byte of the longest one
        // there is (and beyond), a tiny first one.
        let (at, more, length) = match number % 5 {
            0 => (0, 0x2000, 64),
            1 => (3, 0x2000, 64),
            2 => (8189, 0, 64),
            3 => (8191, 0x2000, 64),
            _ => (0, 0x2000, 8),
        };
        let id = number as u16;
        let from = Ipv4Addr::from(0x0a00_0100 + (number >> 16) as u32);
        ethernet(
            TO,
            0x0800,
            &ipv4((from, A), (17, 64), (id, at | more), &[], &bytes[..length]),
        )
    };
    let dropped = inject(&service, &b, MANY, 30_000, fragment);
    let most = watch.engine().memory;
    assert!(most < before + 4096, "{before} KiB, then {most} KiB");
    let some = shown(&service, &["-c", "1000"]);
    // A later fragment has no ports.
    assert!(some.iter().all(|packet| {
        let later = packet["summary"]
            .as_str()
            .unwrap()
            .starts_with("fragment of");
        later == packet["destination_port"].is_null()
    }));
    watch.end(
        &service,
        &format!("{MANY} fragments, {dropped} dropped by the ring, {before} -> {most} KiB"),
    );
    Ok(())
}

/// W6. b sees the requests, and quotes them as they were not. (One that is quoted with its cookie has been seen, and
/// an error for it is believed, also with another target, as routers quote that translate addresses.)
fn forged_errors_are_ignored() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    b.sysctl("net/ipv4/icmp_echo_ignore_all", "1")?;
    let watch = Watch::begin("W6", &service);
    let mut port = b.port("e0")?;
    let stop = AtomicBool::new(false);
    let mut forged = 0;
    let json_report = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut room = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok(length) = port.read(&mut room) else {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    continue;
                };
                let request = &room[..length];
                if length != 98 || request[12..14] != [8, 0] || request[34] != 8 {
                    continue;
                }
                let of = |change: &dyn Fn(&mut Vec<u8>)| {
                    let mut quoted = request[14..].to_vec();
                    change(&mut quoted);
                    quoted
                };
                // The cookie, kind, identifier, number, protocol wrong; cut before the number;
                // nothing; noise; an error within an error.
                let quotes = [
                    of(&|quoted| quoted[32] ^= 1),
                    of(&|quoted| quoted[20] = 0),
                    of(&|quoted| quoted[24] ^= 0x40),
                    of(&|quoted| quoted[26] ^= 0x40),
                    of(&|quoted| quoted[9] = 17),
                    of(&|quoted| quoted[0] = 0x4f),
                    of(&|quoted| quoted.truncate(26)),
                    of(&|quoted| quoted.truncate(20)),
                    of(&|quoted| quoted.truncate(7)),
                    of(&|quoted| quoted.clear()),
                    of(&|quoted| quoted.fill(0xff)),
                    of(&|quoted| {
                        *quoted = ipv4(
                            (A, B),
                            (1, 64),
                            (0, 0),
                            &[],
                            &[[3, 1, 0, 0, 0, 0, 0, 0].to_vec(), quoted.clone()].concat(),
                        )
                    }),
                ];
                let mut back = vec![];
                for (at, quote) in quotes.iter().enumerate() {
                    let mut message = vec![[3, 11, 12, 4][at % 4], 1, 0, 0, 0, 0, 0, 0];
                    message.extend_from_slice(quote);
                    let check = !(sum(&message, 0) as u16);
                    message[2..4].copy_from_slice(&check.to_be_bytes());
                    let mut frame = request[6..12].to_vec();
                    frame.extend_from_slice(&[2, 0, 0, 0, 0, 0x55, 8, 0]);
                    frame.extend_from_slice(&packet(1, &message));
                    back.push(frame);
                }
                for frame in &back {
                    let _ = port.write(frame);
                    forged += 1;
                }
            }
        });
        let _stop = StopOnDrop(&stop);
        ping(&service, &["-c", "20", "-i", "0.05", "-W", "1", "10.0.0.2"])
    });
    assert_eq!(
        json_report.fates(),
        ["unanswered"; 20],
        "{}",
        json_report.text
    );
    assert!(forged >= 20 * 12, "{forged}");
    watch.end(&service, &format!("{forged} forged errors for 20 probes, all of them still unanswered; counted as forged: {}", json_report.total["forged"]));
    Ok(())
}

/// Packets that the kernel dropped before any socket, on all processors (softnet_stat, second column).
fn dropped_early() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let of = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(of).sum()
}

/// W8.
fn reply_flood_during_a_ping() -> Outcome {
    const MANY: u64 = 150_000;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    let watch = Watch::begin("W8", &service);
    let early = dropped_early();
    let (json_report, sent) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            b.run(|| {
                traffic::raw_ipv4(A, 1, MANY, None, |number, packet| {
                    // Replies, and errors that quote nobody's request.
                    *packet = traffic::echo_request(number as u16, (number >> 16) as u16, &[0; 56]);
                    packet[0] = [0, 3][number as usize % 2];
                    packet[2..4].fill(0);
                    let check = !(sum(packet, 0) as u16);
                    packet[2..4].copy_from_slice(&check.to_be_bytes());
                })
            })
        });
        let json_report = ping(&service, &["-c", "60", "-i", "0.02", "-W", "5", "10.0.0.2"]);
        (json_report, flood.join().unwrap())
    });
    let sent = sent?;
    let lost = json_report
        .fates()
        .iter()
        .filter(|fate| **fate != "replied")
        .count() as u64;
    // What the kernel dropped before any socket was the flood's doing, and is not netsonde's.
    let early = dropped_early() - early;
    assert!(
        lost <= early,
        "{lost} of 60 lost, {early} dropped early: {}",
        json_report.text
    );
    let status = watch.end(
        &service,
        &format!(
            "{MANY} replies and errors of nobody at {:.0} a second: {lost} of 60 probes lost, {early} packets dropped by softnet",
            sent.rate()
        ),
    );
    let queue = entry(&status["limits"], "name", "listener queue");
    println!("W8: {queue}, rings {}", status["rings"]);
    Ok(())
}

/// W9. The flood of groups is `group_floods_keep_known_groups` of tests/mcast.rs.
fn oversized_report_counts() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&a, WHOLE, &[]);
    let watch = Watch::begin("W9", &service);
    let record = |kind: u8, auxiliary: u8, sources: u16, group: &[u8], there: usize| {
        let mut bytes = vec![kind, auxiliary];
        bytes.extend_from_slice(&sources.to_be_bytes());
        bytes.extend_from_slice(group);
        bytes.resize(bytes.len() + there * group.len(), 7);
        bytes
    };
    let group = [239, 9, 9, 9];
    let report = |records: u16, body: Vec<u8>| {
        let mut message = vec![0x22, 0, 0, 0, 0, 0];
        message.extend_from_slice(&records.to_be_bytes());
        message.extend_from_slice(&body);
        let mut frame = igmp("10.0.0.2", "224.0.0.22", 1, message);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x55]);
        frame
    };
    let group6 = "ff15::9:9".parse::<std::net::Ipv6Addr>()?.octets();
    let report6 = |records: u16, body: Vec<u8>| {
        let mut message = vec![143, 0, 0, 0, 0, 0];
        message.extend_from_slice(&records.to_be_bytes());
        message.extend_from_slice(&body);
        let (from, to) = ("fe80::5", "ff02::16");
        let of = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let pseudo = sum(&of(to), sum(&of(from), 58 + message.len() as u32));
        let check = !(sum(&message, pseudo) as u16);
        message[2..4].copy_from_slice(&check.to_be_bytes());
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend_from_slice(&(8 + message.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 1]);
        packet.extend_from_slice(&of(from));
        packet.extend_from_slice(&of(to));
        packet.extend_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
        packet.extend_from_slice(&message);
        ethernet([0x33, 0x33, 0, 0, 0, 0x16], 0x86dd, &packet)
    };
    let frames = vec![
        report(65_535, record(4, 0, 0, &group, 5)),
        report(1, record(4, 0, 65_535, &group, 5)),
        report(1, record(4, 255, 0, &group, 0)),
        report(2, record(4, 0, 0x4001, &group, 1)),
        report(1, vec![4]),
        report(1, vec![]),
        report6(65_535, record(4, 0, 0, &group6, 2)),
        report6(1, record(4, 0, 65_535, &group6, 2)),
        report6(1, record(4, 255, 0, &group6, 0)),
        report6(1, vec![4]),
    ];
    let shown = each(&service, &b, &frames);
    for packet in &shown {
        assert_ne!(kind(packet), "none", "{packet}");
    }
    let groups = service.ask(&["--json", "mcast", "groups"]);
    assert!(
        !groups.contains("239.9.9.9") && !groups.contains("ff15::9:9"),
        "{groups}"
    );
    watch.end(
        &service,
        &format!(
            "{} reports of up to 65,535 records: {}, none became a membership",
            shown.len(),
            tally(shown.iter().map(kind))
        ),
    );
    Ok(())
}

/// W10. Hosts follow strange queries, so they are shown; that the doctor says so of them is `suspicious_igmp_query`
/// of tests/doctor.rs.
fn malformed_queries() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("W10", &service);
    let mark = |mut frame: Vec<u8>| {
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x55]);
        frame
    };
    let checksum = |mut frame: Vec<u8>| {
        let last = frame.len() - 1;
        frame[last] ^= 1;
        mark(frame)
    };
    // A query without router alert, to one host.
    let mut message = vec![0x11, 5, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0];
    let check = !(sum(&message, 0) as u16);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let from = Ipv4Addr::new(10, 0, 0, 3);
    let unicast = ethernet(TO, 0x0800, &ipv4((from, A), (2, 1), (0, 0), &[], &message));
    let longer = QueryParams {
        max_response: 255,
        interval: 255,
        ..Q3
    };
    let frames = vec![
        // Not believed: a wrong checksum.
        checksum(query("10.0.0.4", None, Q3, 1)),
        mark(query("0.0.0.0", None, Q2, 1)),
        mark(query("192.0.2.66", None, longer, 64)),
        unicast,
    ];
    let shown = each(&service, &b, &frames);
    assert_eq!(shown[0]["bad_checksum"], "igmp", "{}", shown[0]);
    let json_report: Value = serde_json::from_str(&service.ask(&["--json", "mcast", "queriers"]))?;
    let standing =
        |address: &str| entry(&json_report["queriers"], "address", address)["standing"].clone();
    assert!(standing("10.0.0.4").is_null(), "{json_report}");
    // RFC 3376, section 6.6.2 elects the lowest address; none is no address to be elected by.
    assert_ne!(standing("0.0.0.0"), "elected", "{json_report}");
    watch.end(&service, &format!("one with a wrong checksum not believed, one without an address not elected; of 4 senders {} are shown", json_report["queriers"].as_array().unwrap().len()));
    Ok(())
}

/// W11.
fn neighbor_flood() -> Outcome {
    const MANY: u64 = 100_000;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    let watch = Watch::begin("W11", &service);
    let before = watch.engine().memory;
    let mac = a.mac("e0")?;
    let early = dropped_early();
    let (json_report, dropped) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            inject(&service, &b, MANY, 20_000, |number| {
                let [_, _, _, w, x, y, z, _] = number.wrapping_mul(0x9e37_79b9_7f4a).to_be_bytes();
                if number % 2 == 0 {
                    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 2, 2, w, x, y, z, 1, 10, x, y, z];
                    arp.extend_from_slice(&mac);
                    arp.extend_from_slice(&A.octets());
                    return ethernet(mac, 0x0806, &arp);
                }
                // A neighbour advertisement for an address that nobody asked for.
                let mut target = "fd00::1:0:0"
                    .parse::<std::net::Ipv6Addr>()
                    .unwrap()
                    .octets();
                target[12..16].copy_from_slice(&[w, x, y, z]);
                let to = "fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
                let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
                message.extend_from_slice(&target);
                message.extend_from_slice(&[2, 1, 2, w, x, y, z, 1]);
                let pseudo = sum(&to, sum(&target, 58 + message.len() as u32));
                let check = !(sum(&message, pseudo) as u16);
                message[2..4].copy_from_slice(&check.to_be_bytes());
                let mut packet = vec![0x60, 0, 0, 0, 0, message.len() as u8, 58, 255];
                packet.extend_from_slice(&target);
                packet.extend_from_slice(&to);
                packet.extend_from_slice(&message);
                ethernet(mac, 0x86dd, &packet)
            })
        });
        let json_report = ping(&service, &["-c", "60", "-i", "0.05", "-W", "5", "10.0.0.2"]);
        (json_report, flood.join().unwrap())
    });
    let early = dropped_early() - early;
    let lost = json_report
        .fates()
        .iter()
        .filter(|fate| **fate != "replied")
        .count() as u64;
    assert!(
        lost <= early,
        "{lost} lost, {early} dropped early: {}",
        json_report.text
    );
    let most = watch.engine().memory;
    // What the tables may fill: talkers 7 MiB, neighbours 2 MiB of newcomers on one link; and a rest.
    assert!(most < before + 12 * 1024, "{before} KiB, then {most} KiB");
    watch.end(&service, &format!("{MANY} told addresses that nobody asked for, {dropped} dropped by the ring; {lost} of 60 probes lost"));
    Ok(())
}

/// W12. There is no table of these, so nothing to fill; the record's `link` store holds what it holds.
fn mac_address_flood() -> Outcome {
    const MANY: u64 = 50_000;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("W12", &service);
    let before = watch.engine().memory;
    let [lldp, cdp] = [[1, 0x80, 0xc2, 0, 0, 0x0e], [1, 0, 0x0c, 0xcc, 0xcc, 0xcc]];
    let dropped = inject(&service, &b, MANY, 20_000, |number| {
        let [.., x, y, z] = number.to_be_bytes();
        if number % 2 == 0 {
            let mut body = vec![
                2, 7, 4, 2, 0, 0, x, y, z, 4, 3, 5, b'p', z, 6, 2, 0, 120, 10, 6,
            ];
            body.extend_from_slice(b"\x1b[31m\x07");
            body.extend_from_slice(&[0, 0]);
            // One length of many is wrong, by anything.
            let at = [1, 10, 14, 18][usize::from(x ^ y) % 4];
            body[at] = body[at].wrapping_add(z);
            return ethernet(lldp, 0x88cc, &body);
        }
        let mut body = vec![
            0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0, 2, 180, 0, 0, 0, 1, 0, z, b's', x, y, 0, 2, z, x,
        ];
        body.resize(60, y);
        let mut frame = ethernet(cdp, body.len() as u16, &body);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x55]);
        frame
    });
    let most = watch.engine().memory;
    assert!(most < before + 4096, "{before} KiB, then {most} KiB");
    let some = shown(&service, &["--store", "link", "-c", "20000"]);
    // What the store has room for at its target of ten minutes, of which the rest is a sample.
    assert!(some.len() > 2_000, "{}", some.len());
    let status = watch.end(
        &service,
        &format!(
            "{MANY} neighbours, {dropped} dropped by the ring: {}",
            tally(some.iter().map(kind))
        ),
    );
    println!(
        "W12: link store {}",
        entry(&status["recorder"], "store", "link")
    );
    Ok(())
}

/// W13. What the kernel leaves to hardware is not wrong; what is wrong is told.
fn checksums_that_hardware_was_to_fill_in() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("W13", &service);
    // A veth hands packets over as they are: without the checksum that nobody has filled in.
    b.run(|| -> std::io::Result<()> {
        let socket = UdpSocket::bind("10.0.0.2:4001")?;
        for _ in 0..20 {
            let _ = socket.send_to(b"partial", "10.0.0.1:9");
        }
        Ok(())
    })?;
    let mut wrong = udp(9, b"wrong");
    wrong[6..8].copy_from_slice(&[0x12, 0x34]);
    let mut header = packet(17, &udp(9, b"header"));
    header[10] ^= 1;
    let mut icmp = traffic::echo_request(1, 1, b"icmp");
    icmp[2] ^= 1;
    let frames =
        [packet(17, &wrong), header, packet(1, &icmp)].map(|body| ethernet(TO, 0x0800, &body));
    let shown = each(&service, &b, &frames);
    let json_report: Vec<&str> = shown
        .iter()
        .map(|packet| packet["bad_checksum"].as_str().unwrap_or("none"))
        .collect();
    assert_eq!(json_report, ["udp", "ip", "icmp"]);
    let all = service.packets(&["--port", "4001"]);
    assert!(all.len() >= 20, "{}", all.len());
    assert!(
        all.iter().all(|packet| packet["bad_checksum"].is_null()),
        "{all:?}"
    );
    watch.end(
        &service,
        &format!(
            "{} packets with partial checksums not blamed, 3 wrong ones named",
            all.len()
        ),
    );
    Ok(())
}

/// W14.
fn dns_compression_loops() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&a, WHOLE, &[]);
    let watch = Watch::begin("W14", &service);
    let head = |questions: u8| vec![0, 1, 0x81, 0x80, 0, questions, 0, 0, 0, 0, 0, 0];
    let ask = |name: &[u8]| [head(1), name.to_vec(), vec![0, 1, 0, 1]].concat();
    let many: Vec<u8> = (0..255).flat_map(|_| [1, b'a']).chain([0]).collect();
    let long: Vec<u8> = (0..20)
        .flat_map(|_| [vec![63], vec![b'b'; 63]].concat())
        .chain([0])
        .collect();
    // Pointers from one to the next, each two bytes on.
    let chain: Vec<u8> = (0..200u16)
        .flat_map(|at| (0xc000 | (14 + 2 * at)).to_be_bytes())
        .collect();
    let questions = [
        ask(&[0xc0, 12]),
        ask(&[0xc0, 14, 0xc0, 12]),
        ask(&[1, b'a', 0xc0, 12]),
        ask(&[0xff, 0xff]),
        ask(&many),
        ask(&long),
        ask(&chain),
        ask(b"\x08\x1b[2J\x07\n\r\x00\x00"),
        ask(b"\x04\xff\xfe\xc2\x9b\x00"),
        ask(&[0x40, 0x80]),
        head(255),
        [
            &[
                0, 1, 0x81, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ][..],
            &[0; 40],
        ]
        .concat(),
    ];
    let mut frames = vec![];
    for question in &questions {
        for port in [53, 5353, 5355, 137] {
            frames.push(ethernet(TO, 0x0800, &packet(17, &udp(port, question))));
        }
    }
    // DHCP with options that lie, and a host name for a terminal.
    for options in [
        &b"\x0c\x08\x1b[31mx\x07\n\xff"[..],
        b"\x0c\xff",
        b"\x35",
        b"\x35\x00\x00\x0c\x00\x37\xff\x01",
    ] {
        let mut dhcp = vec![1, 1, 6, 0];
        dhcp.resize(236, 0);
        dhcp.extend_from_slice(&[99, 130, 83, 99]);
        dhcp.extend_from_slice(options);
        frames.push(ethernet(TO, 0x0800, &packet(17, &udp(67, &dhcp))));
    }
    let shown = each(&service, &b, &frames);
    // NetBIOS names are not read.
    let circles = shown[..12]
        .iter()
        .filter(|packet| packet["destination_port"] != 137);
    for packet in circles {
        assert_eq!(kind(packet), "malformed", "{packet}");
    }
    let longest = shown
        .iter()
        .map(|packet| packet["summary"].as_str().unwrap().len())
        .max();
    assert!(longest < Some(2000), "{longest:?}");
    watch.end(
        &service,
        &format!(
            "{} messages: {}, the longest line {} bytes",
            shown.len(),
            tally(shown.iter().map(kind)),
            longest.unwrap_or(0)
        ),
    );
    Ok(())
}

/// W15.
fn oversized_and_runt_frames() -> Outcome {
    const BYTES: usize = 8 << 20;
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let watch = Watch::begin("W15", &service);
    let listener = a.run(|| TcpListener::bind("10.0.0.1:6000"))?;
    let sender = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            b.run(|| -> std::io::Result<()> {
                let mut stream = TcpStream::connect(SocketAddr::from((A, 6000)))?;
                stream.write_all(&vec![b'x'; BYTES])
            })
        });
        let (mut stream, _) = listener.accept()?;
        let read = std::io::copy(&mut stream, &mut std::io::sink())?;
        assert_eq!(read as usize, BYTES);
        sender.join().unwrap()
    });
    sender?;
    service.until("all is taken in", settled);
    let packets = service.packets(&["--port", "6000", "--direction", "in"]);
    let lengths: Vec<u64> = packets
        .iter()
        .map(|packet| number(&packet["length_bytes"]))
        .collect();
    let (longest, sum): (u64, u64) = (*lengths.iter().max().unwrap(), lengths.iter().sum());
    // What this host handed over is counted as it was: more bytes than frames of 1,514 could hold.
    assert!(longest > 1514 * 4, "{longest}");
    let status = service.status();
    let missing = store(&status, "bulk", "evicted") + store(&status, "bulk", "thinned");
    if missing == 0 && total(&status["rings"], "drops") == 0 {
        assert!(sum >= BYTES as u64, "{sum}");
    }
    assert!(
        packets.iter().all(|packet| kind(packet) != "malformed"),
        "{packets:?}"
    );
    // An Ethernet header and nothing behind it, or a byte; headers that end too soon. (The kernel itself drops a
    // VLAN tag of that kind.)
    let mut runts: Vec<Vec<u8>> = [0x0800u16, 0x86dd, 0x0806, 0x88cc, 0x0000, 0x0005]
        .iter()
        .flat_map(|kind| [ethernet(TO, *kind, &[]), ethernet(TO, *kind, &[0x45])])
        .collect();
    let whole = packet(17, &udp(9, &[]));
    runts.extend((1..28).map(|end| ethernet(TO, 0x0800, &whole[..end])));
    let of_tcp = packet(6, &[0; 20]);
    runts.extend((20..40).map(|end| ethernet(TO, 0x0800, &of_tcp[..end])));
    let whole = ipv6(17, &udp(9, &[]));
    runts.extend((1..48).map(|end| ethernet(TO, 0x86dd, &whole[..end])));
    let of_mld = ipv6(0, &[]);
    runts.push(ethernet(TO, 0x86dd, &of_mld));
    let shown = each(&service, &b, &runts);
    // All but those of LLDP, which may be empty.
    let named = shown
        .iter()
        .filter(|packet| matches!(kind(packet), "truncated" | "malformed"));
    assert!(named.count() >= shown.len() - 1, "{shown:?}");
    watch.end(
        &service,
        &format!(
            "{} frames of up to {longest} bytes hold {sum} of {BYTES} bytes; {} runts: {}",
            packets.len(),
            shown.len(),
            tally(shown.iter().map(kind))
        ),
    );
    Ok(())
}

/// W15. A tunnel device in user space: packets begin with the IP header.
fn tun_interface_has_no_link_layer() -> Outcome {
    // linux/if_tun.h.
    const SET: libc::c_ulong = 0x4004_54ca;
    const TUN_WITHOUT_HEADER: i16 = 0x1001;
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    // The device is made where this is opened.
    let opened = a.run(|| {
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
    });
    let Ok(mut tun) = opened else {
        crate::support::skip_here("there is no /dev/net/tun, or not for this user");
    };
    let made = a.run(|| {
        let mut request = [0u8; 40];
        request[..2].copy_from_slice(b"t0");
        request[16..18].copy_from_slice(&TUN_WITHOUT_HEADER.to_ne_bytes());
        // SAFETY: the request has the size of struct ifreq and lives over the call.
        unsafe { libc::ioctl(tun.as_raw_fd(), SET as _, request.as_ptr()) }
    });
    if made != 0 {
        crate::support::skip_here("no tunnel device can be made here");
    }
    a.address("t0", "10.7.0.1/24")?;
    service.until("it is seen", |status| {
        entry(&status["interfaces"], "interface", "t0")["state"] == "up"
    });
    let watch = Watch::begin("W15", &service);
    let of = |bytes: Vec<u8>| bytes;
    let (from, to) = (Ipv4Addr::new(10, 7, 0, 2), Ipv4Addr::new(10, 7, 0, 1));
    let good = ipv4((from, to), (17, 64), (7, 0), &[], &udp(9, b"tunnel"));
    // One byte; nothing but a version; a whole one; a version that is none is not taken by the device.
    for bytes in [
        of(vec![0x45]),
        vec![0x60, 0, 0],
        good[..19].to_vec(),
        good.clone(),
    ] {
        tun.write_all(&bytes)?;
    }
    let shown = || service.packets(&["-I", "t0", "--direction", "in"]);
    assert!(wait_until(PATIENCE, || shown().len() >= 4), "{:?}", shown());
    let packets = shown();
    let whole = packets
        .iter()
        .find(|packet| packet["destination_port"] == 9)
        .unwrap();
    assert_eq!(
        (kind(whole), &whole["length_bytes"]),
        ("none", &good.len().into()),
        "{whole}"
    );
    assert!(whole["link_source"].is_null(), "{whole}");
    let cut = packets
        .iter()
        .filter(|packet| kind(packet) != "none")
        .count();
    assert!(cut >= 3, "{packets:?}");
    watch.end(
        &service,
        &format!(
            "{} packets without a link header, {cut} of them cut",
            packets.len()
        ),
    );
    Ok(())
}

/// W16.
fn bridged_frame_is_recorded_per_port() -> Outcome {
    const MANY: u64 = 50;
    let (s, m, r) = (Host::new("s")?, Host::new("m")?, Host::new("r")?);
    bridge(&m, "br0", BridgeOptions::default())?;
    for (host, port) in [(&s, "p1"), (&r, "p2")] {
        lab::veth(host, "e0", &m, port)?;
        bridge_port(&m, "br0", port)?;
    }
    m.address("br0", "10.0.0.254/24")?;
    s.address("e0", "10.0.0.1/24")?;
    r.address("e0", "10.0.0.2/24")?;
    let service = Service::start(&m, &[]);
    // The ports forward.
    let reaches = || {
        s.run(|| traffic::ping(B.into(), std::time::Duration::from_millis(200)))
            .is_ok_and(|rtt| rtt.is_some())
    };
    assert!(wait_until(PATIENCE, reaches));
    let watch = Watch::begin("W16", &service);
    let send = |host: &Host, interface: &str, port: u16| {
        let frame = ethernet(
            [0xff; 6],
            0x0800,
            &ipv4(
                (A, Ipv4Addr::BROADCAST),
                (17, 1),
                (7, 0),
                &[],
                &udp(port, b"all"),
            ),
        );
        host.run(|| traffic::frames(interface, MANY, Some(5000), |_, to| to.clone_from(&frame)))
    };
    send(&s, "e0", 7001)?;
    send(&m, "br0", 7002)?;
    let count = |port: &str, interface: &str, direction: &str| {
        service
            .packets(&["--port", port, "-I", interface, "--direction", direction])
            .len() as u64
    };
    service.until("all is taken in", |status| {
        settled(status) && count("7002", "p2", "out") >= MANY && count("7001", "p2", "out") >= MANY
    });
    // By each vantage point once, in its direction; what came from s does not go back there.
    let mut figures = vec![];
    for (port, interface, direction, expected) in [
        ("7001", "p1", "in", MANY),
        ("7001", "p1", "out", 0),
        ("7001", "br0", "in", MANY),
        ("7001", "br0", "out", 0),
        ("7001", "p2", "in", 0),
        ("7001", "p2", "out", MANY),
        ("7002", "br0", "out", MANY),
        ("7002", "br0", "in", 0),
        ("7002", "p1", "out", MANY),
        ("7002", "p2", "out", MANY),
        ("7002", "p1", "in", 0),
        ("7002", "p2", "in", 0),
    ] {
        let found = count(port, interface, direction);
        assert_eq!(found, expected, "{port} {interface} {direction}");
        if found > 0 {
            figures.push(format!("{interface} {direction} {found}"));
        }
    }
    watch.end(
        &service,
        &format!(
            "{MANY} broadcasts through a bridge and {MANY} of its own: {}",
            figures.join(", ")
        ),
    );
    Ok(())
}

/// W17. The service takes the kernel's stamps of software, so nothing of the wire says what time it is; a capture
/// file does.
fn stamps_of_1970_and_2106() -> Outcome {
    let directory = crate::support::folder()?;
    let path = directory.path().join("times.pcap");
    let mut file = vec![];
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    let times = [
        (0u32, 0u32),
        (u32::MAX, 999_999),
        (1, 0),
        (0x7fff_ffff, 0),
        (0x8000_0000, 0),
        (5, u32::MAX),
        (0, 0),
    ];
    for (number, (seconds, fraction)) in times.iter().enumerate() {
        let frame = ethernet(TO, 0x0800, &packet(17, &udp(9000 + number as u16, b"when")));
        for word in [*seconds, *fraction, frame.len() as u32, frame.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&frame);
    }
    std::fs::write(&path, file)?;
    let ask = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_netsonde"))
            .args(arguments)
            .arg(&path)
            .output()?;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(std::io::Error::other(printed))
        }
    };
    let text = ask(&["--json", "watch", "--read"])?;
    let ports: Vec<u64> = text
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["destination_port"].as_u64()
        })
        .collect();
    assert_eq!(
        ports,
        (9000..9000 + times.len() as u64).collect::<Vec<_>>(),
        "in the order of the file:\n{text}"
    );
    let lines = ask(&["watch", "--read"])?.lines().count();
    assert_eq!(lines, times.len());
    // And written anew, they are what they were.
    let again = directory.path().join("again.pcapng");
    ask(&["capture", "-w", again.to_str().unwrap(), "--read"])?;
    println!(
        "W17: {} packets from 1970 to 2106, in the order of the file",
        times.len()
    );
    Ok(())
}
