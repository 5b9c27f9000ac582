//! Virtual routers: two masters of one, and orderly take-overs, which are none.
//!
//! The advertisements are made by hand, and sent by two hosts on a switch.

use std::net::Ipv6Addr;

use super::*;

pub const SCENARIOS: &[Scenario] = &[
    (
        "two-masters",
        "two_masters_of_the_gateway",
        two_masters_of_the_gateway,
    ),
    (
        "two-masters",
        "two_masters_of_each_protocol",
        two_masters_of_each_protocol,
    ),
    (
        "two-masters",
        "this_host_is_one_of_two_masters",
        this_host_is_one_of_two_masters,
    ),
];

/// Take-overs of every kind.
pub const HEALTHY: &[Scenario] = &[("", "healthy_take_over_of_a_virtual_router", take_over)];

/// A kind of advertisement: protocol and number as the doctor names them, destination, IP protocol and TTL,
/// and the message of a router with a priority.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    to: (&'static str, u8, u8),
    message: fn(u8) -> Vec<u8>,
}

const GATEWAY: [u8; 4] = [10, 0, 0, 254];
const GATEWAY6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe];

/// A UDP datagram without a checksum.
fn datagram(port: u16, message: &[u8]) -> Vec<u8> {
    let mut all = [port.to_be_bytes(), port.to_be_bytes()].concat();
    all.extend_from_slice(&(8 + message.len() as u16).to_be_bytes());
    all.extend_from_slice(&[0, 0]);
    all.extend_from_slice(message);
    all
}

/// Every second, with its authentication data.
fn vrrp2(priority: u8) -> Vec<u8> {
    [&[0x21, 51, priority, 1, 0, 1, 0, 0][..], &GATEWAY, &[0; 8]].concat()
}

/// Every 200 ms.
fn vrrp3(priority: u8) -> Vec<u8> {
    [&[0x31, 52, priority, 1, 0, 20, 0, 0][..], &GATEWAY].concat()
}

fn vrrp3_ipv6(priority: u8) -> Vec<u8> {
    [&[0x31, 53, priority, 1, 0, 20, 0, 0][..], &GATEWAY6].concat()
}

fn carp(skew: u8) -> Vec<u8> {
    [&[0x21, 54, skew, 7, 0, 1, 0, 0][..], &[0; 28]].concat()
}

/// Version 1: a hello of an active router, every second.
fn hsrp1(priority: u8) -> Vec<u8> {
    let head = [0, 0, 16, 1, 3, priority, 55, 0];
    datagram(1985, &[&head[..], b"cisco\0\0\0", &GATEWAY].concat())
}

/// A group state TLV of an active router, every half second.
fn hsrp2_of(family: u8, group: u16, priority: u8) -> Vec<u8> {
    let mut message = vec![1, 40, 2, 0, 6, family];
    message.extend_from_slice(&group.to_be_bytes());
    message.extend_from_slice(&[2, 0, 0, 0, 0, 1]);
    for number in [u32::from(priority), 500, 1500] {
        message.extend_from_slice(&number.to_be_bytes());
    }
    match family {
        4 => message.extend_from_slice(&GATEWAY),
        _ => message.extend_from_slice(&GATEWAY6),
    }
    message.resize(42, 0);
    message
}

fn hsrp2(priority: u8) -> Vec<u8> {
    datagram(1985, &hsrp2_of(4, 560, priority))
}

fn hsrp2_ipv6(priority: u8) -> Vec<u8> {
    datagram(2029, &hsrp2_of(6, 570, priority))
}

const fn kind(name: &'static str, to: (&'static str, u8, u8), message: fn(u8) -> Vec<u8>) -> Kind {
    Kind { name, to, message }
}

const KINDS: [Kind; 7] = [
    kind("VRRP 51", ("224.0.0.18", 112, 255), vrrp2),
    kind("VRRP 52", ("224.0.0.18", 112, 255), vrrp3),
    kind("VRRP 53 for IPv6", ("ff02::12", 112, 255), vrrp3_ipv6),
    kind("CARP 54", ("224.0.0.18", 112, 255), carp),
    kind("HSRP 55", ("224.0.0.2", 17, 1), hsrp1),
    kind("HSRP 560", ("224.0.0.102", 17, 1), hsrp2),
    kind("HSRP 570 for IPv6", ("ff02::66", 17, 255), hsrp2_ipv6),
];

/// An advertisement of a router, whose address ends in `last`, in its frame.
fn frame(host: &Host, kind: Kind, last: u8, priority: u8) -> Vec<u8> {
    let message = (kind.message)(priority);
    let (group, protocol, ttl) = kind.to;
    let mut frame = if group.contains(':') {
        let ends = [format!("fe80::{last}"), group.to_owned()];
        let [source, to]: [Ipv6Addr; 2] = ends.map(|text| text.parse().unwrap());
        let mut packet = vec![0x60, 0, 0, 0, 0, message.len() as u8, protocol, ttl];
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&to.octets());
        packet.extend_from_slice(&message);
        ethernet(mac_of(group), 0x86dd, &packet)
    } else {
        let addresses = (
            format!("10.0.0.{last}").parse().unwrap(),
            group.parse().unwrap(),
        );
        let packet = ipv4(addresses, (protocol, ttl), (0, 0), &[], &message);
        ethernet(mac_of(group), 0x0800, &packet)
    };
    frame[6..12].copy_from_slice(&host.mac("e0").unwrap());
    frame
}

/// Sends an advertisement five times a second until the result is dropped.
fn advertise(host: &Host, kind: Kind, last: u8, priority: u8) -> Background {
    let frame = frame(host, kind, last, priority);
    send_frames(host, "e0", move |number| {
        if number > 0 {
            std::thread::sleep(std::time::Duration::from_millis(190));
        }
        frame.clone()
    })
}

/// Waits until the doctor names a virtual router.
fn until_seen(h: &Host, service: &Service, name: &str) {
    let met = wait_until(PATIENCE, || {
        let output = h.run(|| service.netsonde(&["-v", "doctor", "--duration", "100ms"]));
        String::from_utf8_lossy(&output.stdout).contains(&format!("{name} on e0"))
    });
    assert!(met, "{name}");
}

fn two_masters_of_the_gateway() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    let _one = advertise(&g, KINDS[0], 252, 100);
    until_seen(&h, &service, "VRRP 51");
    doctor(&h, &service).healthy();
    let _other = advertise(&o, KINDS[0], 253, 90);
    let report = until_found(&h, &service, "two-masters");
    report.fault("two-masters");
    report.proved();
    let summary = report.findings[0]["summary"].as_str().unwrap();
    let words = "VRRP 51 (10.0.0.254), this host's gateway, on e0 has two masters: 10.0.0.252 \
        (priority 100) and 10.0.0.253 (priority 90)";
    assert_eq!(summary, words);
    let output = service.netsonde(&["neighbors"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("two masters: VRRP 51 (10.0.0.254)"),
        "{text}"
    );
    let of_another = service.netsonde(&["neighbors", "10.0.0.3"]);
    let text = String::from_utf8_lossy(&of_another.stdout).into_owned();
    assert!(!text.contains("two masters"), "{text}");
    Ok(())
}

/// Nobody's gateway: a warning each, for this host.
fn two_masters_of_each_protocol() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    for family in ["-4", "-6"] {
        inside(&h, "ip", &[family, "route", "del", "default"]);
    }
    h.route("0.0.0.0/0", "10.0.0.3")?;
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    for kind in KINDS {
        let _one = advertise(&g, kind, 252, 200);
        let _other = advertise(&o, kind, 253, 20);
        let mut last = None;
        let met = wait_until(PATIENCE, || {
            let report = doctor(&h, &service);
            let is_met = report.findings.iter().any(|one| {
                let summary = one["summary"].to_string();
                [kind.name, " 200)", " 20)"]
                    .iter()
                    .all(|word| summary.contains(word))
            });
            last = Some(report);
            is_met
        });
        let report = last.unwrap();
        assert!(met, "{}: {}", kind.name, report.text);
        let is_warning = |one: &serde_json::Value| one["severity"] == "warning";
        assert!(report.findings.iter().all(is_warning), "{}", report.text);
        let logged = || {
            let text = service.ask(&["events", "two_masters"]);
            text.contains(&format!("two masters of {}:", kind.name))
        };
        assert!(wait_until(PATIENCE, logged), "{}", service.ask(&["events"]));
    }
    Ok(())
}

fn this_host_is_one_of_two_masters() -> Outcome {
    let Switched { h, g: _g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    let _own = advertise(&h, KINDS[3], 1, 0);
    let _other = advertise(&o, KINDS[3], 3, 100);
    let report = until_found(&h, &service, "two-masters");
    report.fault("two-masters");
    let words = "10.0.0.1 (advskew 0, this host) and 10.0.0.3 (advskew 100)";
    assert!(report.text.contains(words), "{}", report.text);
    Ok(())
}

/// The master resigns or dies, or a higher priority takes over; the former master's last advertisement
/// crosses with the first one of the next.
fn take_over() -> Outcome {
    let Switched { h, g, o, b: _b } = switched();
    let service = Service::start(&h, &[]);
    links::until_healthy(&h, &service);
    for kind in KINDS {
        for _ in 0..2 {
            let one = advertise(&g, kind, 252, 100);
            assert!(wait_until(PATIENCE, || one.count() > 2));
            drop(one);
            send_frame(&o, "e0", &frame(&o, kind, 253, 150));
            send_frame(&g, "e0", &frame(&g, kind, 252, 100));
            let other = advertise(&o, kind, 253, 150);
            assert!(wait_until(PATIENCE, || other.count() > 2));
            drop(other);
            if kind.name.starts_with("VRRP") {
                send_frame(&o, "e0", &frame(&o, kind, 253, 0));
            } else {
                // Three intervals, after which the other one takes over, and a margin.
                std::thread::sleep(std::time::Duration::from_millis(3700));
            }
        }
    }
    until_seen(&h, &service, "VRRP 51");
    doctor(&h, &service).healthy();
    let events = service.ask(&["events"]);
    assert!(!events.contains("two masters"), "{events}");
    Ok(())
}
