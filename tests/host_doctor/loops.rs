//! Packets that come again and again, and busy links on which none does.

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    ("multicast-loop", "mdns_repeaters", mdns_repeaters),
    ("multicast-loop", "routers_in_a_circle", routers_in_a_circle),
    ("broadcast-storm", "arp_storm", arp_storm),
];

/// A real circle breaks more than a single finding says.
pub const TESTS: &[(&str, support::Test)] = &[("switches_in_a_circle", switches_in_a_circle)];

/// Number of frames that are sent every ten milliseconds: some four hundred per second. The service decodes
/// a thousand messages with names per second.
const BURST: u64 = 4;

/// Sends frames at a high rate until the result is dropped.
pub fn flood(
    host: &Host,
    interface: &str,
    mut make: impl FnMut(u64) -> Vec<u8> + Send + 'static,
) -> Background {
    let mut port = host.port(interface).unwrap();
    let mut number = 0;
    Background::counting(move || {
        std::thread::sleep(Duration::from_millis(10));
        (0..BURST).all(|_| {
            number += 1;
            port.write_all(&make(number)).is_ok()
        })
    })
}

/// An mDNS message with the right checksum.
pub fn mdns(from: &str, (id, ttl): (u16, u8), payload: &[u8]) -> Vec<u8> {
    let (from, to): (Ipv4Addr, Ipv4Addr) = (from.parse().unwrap(), "224.0.0.251".parse().unwrap());
    let mut datagram = Vec::new();
    let length = 8 + payload.len() as u16;
    for word in [5353, 5353, length, 0] {
        datagram.extend_from_slice(&u16::to_be_bytes(word));
    }
    datagram.extend_from_slice(payload);
    let mut covered = [from.octets(), to.octets()].concat();
    covered.extend_from_slice(&[0, 17]);
    covered.extend_from_slice(&length.to_be_bytes());
    covered.extend_from_slice(&datagram);
    covered.resize(covered.len().next_multiple_of(2), 0);
    let words = covered.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    datagram[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let packet = ipv4((from, to), (17, ttl), (id, 0), &[], &datagram);
    ethernet(mac_of("224.0.0.251"), 0x0800, &packet)
}

/// Two repeaters answer each other, each with packets of its own.
fn mdns_repeaters() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    let repeat = |host: &Host, from: &'static str| {
        flood(host, "e0", move |number| {
            mdns(from, (number as u16, 255), b"the same question")
        })
    };
    let _loop = [repeat(&g, "10.0.0.254"), repeat(&o, "10.0.0.3")];
    std::thread::sleep(Duration::from_millis(300));
    let report = doctor(&h, &service);
    report.healthy_but("warning", "multicast-loop");
    let finding = report.findings[0].to_string();
    for words in ["10.0.0.3", "10.0.0.254", "224.0.0.251 port 5353"] {
        assert!(finding.contains(words), "{finding}");
    }
    assert_eq!(report.findings[0]["certainty"], "consistent");
    Ok(())
}

/// One packet, which goes round until its TTL ends.
fn routers_in_a_circle() -> Outcome {
    let Switched { h, g, o: _o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    let _loop = flood(&g, "e0", |number| {
        mdns("10.9.9.9", (7, 255 - (number % 250) as u8), b"going round")
    });
    std::thread::sleep(Duration::from_millis(300));
    let report = doctor(&h, &service);
    report.healthy_but("warning", "multicast-loop");
    report.proved();
    assert!(
        report.text.contains("until their TTL ends"),
        "{}",
        report.text
    );
    Ok(())
}

/// One ARP request, byte for byte.
fn arp_storm() -> Outcome {
    let Switched { h, g: _g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    let _loop = flood(&o, "e0", |_| arp_request("10.0.0.3", "10.0.0.77"));
    std::thread::sleep(Duration::from_millis(300));
    let report = doctor(&h, &service);
    report.healthy_but("warning", "broadcast-storm");
    assert!(report.text.contains("ARP"), "{}", report.text);
    Ok(())
}

/// Two bridges with two cables and no spanning tree, and one frame. The circle is limited by what a queue lets
/// through, or it would take the whole machine.
/// ```text
///   h e0 ---ph-+-- b br0 --x1----y1-- c br0
///   g e0 ---pg-+          --x2----y2--
/// ```
fn switches_in_a_circle() -> Outcome {
    let Switched { h, g: _g, o, b } = switched();
    let c = Host::new("c")?;
    bridge(&c, "br0", BridgeOptions::default())?;
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    for (here, there) in [("x1", "y1"), ("x2", "y2")] {
        lab::veth(&b, here, &c, there)?;
        let limit = "root tbf rate 800kbit burst 2kb latency 50ms";
        let mut words = vec!["qdisc", "add", "dev", here];
        words.extend(limit.split(' '));
        inside(&b, "tc", &words);
        bridge_port(&b, "br0", here)?;
        bridge_port(&c, "br0", there)?;
    }
    // A frame now and then, until the ports forward.
    let mut port = o.port("e0")?;
    let _frames = Background::counting(move || {
        std::thread::sleep(Duration::from_millis(200));
        let frame = arp_request("10.0.0.3", "10.0.0.77");
        port.write_all(&frame).is_ok()
    });
    until_found(&h, &service, "broadcast-storm");
    // The circle ends before the hosts do.
    inside(&b, "ip", &["link", "del", "x2"]);
    Ok(())
}
