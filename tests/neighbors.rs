//! `netsonde neighbors` on real ARP, neighbor discovery and announcements, with conflicts, failovers and
//! floods.
//!
//! ```text
//!   a 10.0.0.1, netsonded --+
//!   b 10.0.0.2 -------------+-- br0 10.0.0.254 (switch)
//!   c 10.0.0.3 -------------+
//! ```
//!
//! The judges are the kernels' own addresses and the forwarding table of the bridge.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use netsonde::lab::messages::ipv4;
use netsonde::lab::{self, BridgeOptions, Host, bridge_port, traffic, wait_until};
use netsonde_core::wire::cursor::Mac;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use support::inside;
use support::link::{Link, link};
use support::mcast::send_frame;
use support::{PATIENCE, Service, Test, entry, number};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "all_hosts_of_a_link_are_found",
                all_hosts_of_a_link_are_found as Test,
            ),
            ("two_hosts_with_one_address", two_hosts_with_one_address),
            (
                "first_double_answer_is_a_conflict",
                first_double_answer_is_a_conflict,
            ),
            (
                "host_with_two_interfaces_is_not_a_conflict",
                host_with_two_interfaces_is_not_a_conflict,
            ),
            ("a_scan_is_summed_up", a_scan_is_summed_up),
            ("proxy_arp_is_a_role", proxy_arp_is_a_role),
            (
                "proxy_of_absent_hosts_is_consistent",
                proxy_of_absent_hosts_is_consistent,
            ),
            (
                "host_with_several_addresses_is_not_a_proxy",
                host_with_several_addresses_is_not_a_proxy,
            ),
            ("failover_is_not_a_conflict", failover_is_not_a_conflict),
            (
                "claimed_own_address_is_reported",
                claimed_own_address_is_reported,
            ),
            (
                "duplicate_address_detection_is_reported",
                duplicate_address_detection_is_reported,
            ),
            (
                "router_addresses_are_one_neighbor",
                router_addresses_are_one_neighbor,
            ),
            (
                "floods_evict_no_known_neighbor",
                floods_evict_no_known_neighbor,
            ),
            (
                "new_engine_restores_neighbors",
                new_engine_restores_neighbors,
            ),
        ],
        4,
    )
}

fn mac(host: &Host, interface: &str) -> String {
    Mac(host.mac(interface).unwrap()).to_string()
}

/// What is told, and the exit status.
fn ask(service: &Service, who: &[&str]) -> (Value, i32) {
    let mut words = vec!["--json", "neighbors", "-I", "e0"];
    words.extend_from_slice(who);
    let output = service.netsonde(&words);
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {printed}\n{}", service.log()));
    (report, output.status.code().unwrap())
}

fn neighbor(report: &Value, mac: &str) -> Value {
    entry(&report["neighbors"], "mac", mac)
}

fn has(list: &Value, word: &str) -> bool {
    list.as_array()
        .is_some_and(|all| all.iter().any(|one| one == word))
}

fn addresses(neighbor: &Value) -> Vec<String> {
    let all = neighbor["addresses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.iter()
        .map(|one| one["address"].as_str().unwrap().to_owned())
        .collect()
}

fn finding(report: &Value, kind: &str, address: &str) -> Value {
    let all = report["findings"].as_array().unwrap();
    let found = all
        .iter()
        .find(|one| one["kind"] == kind && one["address"] == address);
    found.cloned().unwrap_or(Value::Null)
}

fn until(what: &str, service: &Service, mut condition: impl FnMut(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let met = wait_until(PATIENCE, || {
        last = ask(service, &[]).0;
        condition(&last)
    });
    assert!(met, "{what}: {last:#}");
    last
}

fn ping(from: &Host, to: &str) -> bool {
    let to: IpAddr = to.parse().unwrap();
    matches!(
        from.run(|| traffic::ping(to, Duration::from_secs(2))),
        Ok(Some(_))
    )
}

/// Asks anew who has an address, by a datagram to it.
fn resolve(from: &Host, to: &str) {
    inside(from, "ip", &["neigh", "flush", "to", to]);
    from.run(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", (to, 9)))
        .unwrap();
}

fn frame(to: [u8; 6], from: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

const ALL: [u8; 6] = [0xff; 6];

fn arp(operation: u8, (mac, sender): ([u8; 6], [u8; 4]), target: [u8; 4]) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend_from_slice(&mac);
    body.extend_from_slice(&sender);
    body.extend_from_slice(&[0; 6]);
    body.extend_from_slice(&target);
    frame(ALL, mac, 0x0806, &body)
}

/// A UDP datagram in its frame, without a checksum (RFC 768).
fn udp(
    mac: [u8; 6],
    (from, to): (&str, &str),
    ports: (u16, u16),
    ttl: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut datagram = ports.0.to_be_bytes().to_vec();
    datagram.extend_from_slice(&ports.1.to_be_bytes());
    datagram.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    let addresses: (Ipv4Addr, Ipv4Addr) = (from.parse().unwrap(), to.parse().unwrap());
    frame(
        ALL,
        mac,
        0x0800,
        &ipv4(addresses, (17, ttl), (0, 0), &[], &datagram),
    )
}

/// An mDNS reply: `b.local` has this address.
fn mdns(address: [u8; 4]) -> Vec<u8> {
    let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    message.extend_from_slice(b"\x01b\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04");
    message.extend_from_slice(&address);
    message
}

/// A DHCP discovery of a client that tells its name, with a control character in it.
fn dhcp(mac: [u8; 6]) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[0] = 1;
    message[28..34].copy_from_slice(&mac);
    message.extend_from_slice(&[
        0x63, 0x82, 0x53, 0x63, 53, 1, 1, 12, 5, b'h', b'o', b's', 0x1b, b'c', 255,
    ]);
    message
}

fn lldp(name: &[u8]) -> Vec<u8> {
    let mut tlvs = Vec::new();
    for (kind, value) in [
        (1u16, &b"\x04\x02\0\0\0\0\x77"[..]),
        (2, b"\x05p1"),
        (3, &[0, 120]),
        (5, name),
        (7, &[0, 4, 0, 4]),
        (0, &[]),
    ] {
        tlvs.extend_from_slice(&(kind << 9 | value.len() as u16).to_be_bytes());
        tlvs.extend_from_slice(value);
    }
    tlvs
}

fn all_hosts_of_a_link_are_found() -> Outcome {
    let Link { a, b, c, switch } = link(BridgeOptions::default())?;
    a.route("0.0.0.0/0", "10.0.0.254")?;
    let service = Service::start(&a, &[]);
    let (of_a, of_b, of_c, of_switch) = (
        mac(&a, "e0"),
        mac(&b, "e0"),
        mac(&c, "e0"),
        mac(&switch, "br0"),
    );
    assert!(ping(&a, "10.0.0.2") && ping(&b, "10.0.0.254") && ping(&a, "10.0.0.254"));
    // c is only heard by IPv6: nobody asks it anything by IPv4.
    c.run(|| UdpSocket::bind("[::]:0")?.send_to(b"hello", ("fd00::1", 9)))?;
    // What kernels send for these themselves.
    let group: Ipv4Addr = "239.1.1.1".parse()?;
    let _member = b.run(|| traffic::join(group, Ipv4Addr::new(10, 0, 0, 2)))?;
    inside(
        &switch,
        "ip",
        &[
            "link",
            "set",
            "br0",
            "type",
            "bridge",
            "mcast_snooping",
            "1",
            "mcast_query_use_ifaddr",
            "1",
            "mcast_startup_query_interval",
            "100",
            "mcast_querier",
            "1",
        ],
    );
    let mac_b = b.mac("e0")?;
    send_frame(
        &b,
        "e0",
        &udp(
            mac_b,
            ("10.0.0.2", "224.0.0.251"),
            (5353, 5353),
            255,
            &mdns([10, 0, 0, 2]),
        ),
    );
    // A name for the address of another is not b's.
    let foreign = [&mdns([10, 0, 0, 9])[..13], b"x", &mdns([10, 0, 0, 9])[14..]].concat();
    send_frame(
        &b,
        "e0",
        &udp(
            mac_b,
            ("10.0.0.2", "224.0.0.251"),
            (5353, 5353),
            255,
            &foreign,
        ),
    );
    let mac_c = c.mac("e0")?;
    send_frame(
        &c,
        "e0",
        &udp(
            mac_c,
            ("0.0.0.0", "255.255.255.255"),
            (68, 67),
            64,
            &dhcp(mac_c),
        ),
    );
    // LLDP ends at a bridge: from the port that leads to a.
    let port = switch.mac("p1")?;
    let to = [1, 0x80, 0xc2, 0, 0, 0x0e];
    send_frame(
        &switch,
        "p1",
        &frame(to, port, 0x88cc, &lldp(b"core-switch")),
    );
    let of_port = Mac(port).to_string();
    let report = until("all are heard", &service, |report| {
        let b = neighbor(report, &of_b);
        let c = neighbor(report, &of_c);
        has(&b["heard_by"], "arp")
            && has(&b["heard_by"], "mdns")
            && has(&b["heard_by"], "igmp")
            && addresses(&b).contains(&"10.0.0.2".to_owned())
            && has(&c["heard_by"], "nd")
            && has(&c["heard_by"], "mld")
            && has(&c["heard_by"], "dhcp")
            && addresses(&c).contains(&"fd00::3".to_owned())
            && addresses(&c)
                .iter()
                .any(|address| address.starts_with("fe80:"))
            && has(&neighbor(report, &of_switch)["roles"], "IGMP querier")
            && has(&neighbor(report, &of_switch)["roles"], "gateway")
            && has(&neighbor(report, &of_port)["roles"], "bridge")
            && entry(&report["kernel"], "address", "10.0.0.2")["mac"] == of_b
    });
    let names = |mac: &str| neighbor(&report, mac)["names"].clone();
    assert_eq!(names(&of_b).as_array().unwrap().len(), 1, "{report:#}");
    assert_eq!(
        (&names(&of_b)[0]["name"], &names(&of_b)[0]["by"]),
        (&"b.local".into(), &"mdns".into())
    );
    assert_eq!(names(&of_c)[0]["name"], "hos\\x1bc");
    assert_eq!(names(&of_port)[0]["name"], "core-switch");
    // Nobody else, no address twice, and not this host.
    let all = report["neighbors"].as_array().unwrap();
    let known = [&of_b, &of_c, &of_switch, &of_port];
    for one in all {
        assert!(known.iter().any(|mac| **mac == one["mac"]), "{one:#}");
    }
    assert!(neighbor(&report, &of_a).is_null());
    assert_eq!(report["findings"], serde_json::json!([]));
    // One of them, by whatever it is known.
    for who in ["10.0.0.2", &of_b, &of_b.replace(':', "-"), "b.local", "B"] {
        let (one, code) = ask(&service, &[who]);
        let macs: Vec<&Value> = one["neighbors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["mac"])
            .collect();
        assert_eq!((macs, code), (vec![&Value::from(of_b.clone())], 0), "{who}");
    }
    let text = service.ask(&["-v", "neighbors"]);
    let line = text
        .lines()
        .find(|line| line.starts_with("10.0.0.2 "))
        .unwrap_or_default();
    for word in [&of_b[..], "b.local (mdns)", "local"] {
        assert!(line.contains(word), "{word}: {text}");
    }
    assert!(
        text.contains("gateway") && text.contains("core-switch (lldp)"),
        "{text}"
    );
    assert_eq!(
        service.netsonde(&["neighbors", "-I", "nope"]).status.code(),
        Some(2)
    );
    Ok(())
}

/// Waits for the conflict of two hosts over an address, which `a` asks for.
fn conflict_over(service: &Service, a: &Host, address: &str) -> Value {
    until("both claim it", service, |report| {
        resolve(a, address);
        let found = finding(report, "conflict", address);
        found["current"] == true && found["both_answered"].as_u64() > Some(0)
    })
}

fn two_hosts_with_one_address() -> Outcome {
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    let (of_b, of_c) = (mac(&b, "e0"), mac(&c, "e0"));
    b.address("e0", "10.0.0.9/24")?;
    resolve(&a, "10.0.0.9");
    until("b has it", &service, |report| {
        addresses(&neighbor(report, &of_b)).contains(&"10.0.0.9".to_owned())
    });
    assert_eq!(ask(&service, &[]).1, 0);
    c.address("e0", "10.0.0.9/24")?;
    let report = conflict_over(&service, &a, "10.0.0.9");
    let found = finding(&report, "conflict", "10.0.0.9");
    let mut between = [of_b.clone(), of_c.clone()];
    between.sort();
    assert_eq!(found["between"], serde_json::json!(between));
    for mac in &between {
        let claimant = entry(&found["claimants"], "mac", mac);
        assert!(number(&claimant["answers"]) > 0, "{found:#}");
    }
    let output = service.netsonde(&["neighbors"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with(&format!(
            "conflict: 10.0.0.9 on e0 is claimed by {}",
            between[0]
        )) && text.contains("both answered the same request")
            && text.contains("fix: give one of them another address"),
        "{text}"
    );
    // Who asks for another one is not told of it as a fault.
    let (other, _) = ask(&service, &["10.0.0.254"]);
    assert_eq!(other["findings"], serde_json::json!([]));
    assert_eq!(ask(&service, &["10.0.0.9"]).1, 1);
    // The same by IPv6.
    for host in [&b, &c] {
        host.address("e0", "fd00::9/64")?;
    }
    until("both claim it", &service, |report| {
        inside(&a, "ip", &["neigh", "flush", "to", "fd00::9"]);
        let _ = a.run(|| UdpSocket::bind("[::]:0")?.send_to(b"hello", ("fd00::9", 9)));
        finding(report, "conflict", "fd00::9")["current"] == true
    });
    Ok(())
}

/// Nobody has heard of the address before: the service is fresh, and asks once.
fn first_double_answer_is_a_conflict() -> Outcome {
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let mut between = [mac(&b, "e0"), mac(&c, "e0")];
    between.sort();
    for host in [&b, &c] {
        host.sysctl("net/ipv6/conf/e0/accept_dad", "0")?;
    }
    let service = Service::start(&a, &[]);
    for address in ["10.0.0.9", "fd00::9"] {
        for host in [&b, &c] {
            let bits = if address.contains(':') { 64 } else { 24 };
            let with_bits = format!("{address}/{bits}");
            let add = ["address", "add", &with_bits, "dev", "e0", "nodad"];
            let add = if bits == 24 { &add[..5] } else { &add[..] };
            inside(host, "ip", add);
        }
        assert!(finding(&ask(&service, &[]).0, "conflict", address).is_null());
        service.netsonde(&["ping", "-c", "1", "-W", "1", address]);
        let report = until("both answers are known", &service, |report| {
            finding(report, "conflict", address)["both_answered"] == 1
        });
        let found = finding(&report, "conflict", address);
        assert_eq!(found["between"], serde_json::json!(between));
        assert_eq!(found["current"], true);
        assert_eq!(found["returned"], 0);
        for mac in &between {
            let claimant = entry(&found["claimants"], "mac", mac);
            let counts = [&claimant["claims"], &claimant["answers"]].map(number);
            assert_eq!(counts, [1, 1], "{found:#}");
        }
        // From the second answer on.
        let first = |mac| entry(&found["claimants"], "mac", mac)["first"].to_string();
        let second = between.iter().map(|mac| first(mac)).max().unwrap();
        assert_eq!(found["since"].to_string(), second, "{found:#}");
        assert!(finding(&report, "moved", address).is_null());
        assert_eq!(ask(&service, &[address]).1, 1);
    }
    let output = service.netsonde(&["neighbors"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 claim: 1 answer, last"), "{text}");
    assert!(!text.contains("perhaps one host"), "{text}");
    let logged = || {
        service
            .ask(&["events", "address_conflict"])
            .matches("is claimed by")
            .count()
    };
    assert!(wait_until(PATIENCE, || logged() == 2));
    Ok(())
}

/// As Linux does by default, it answers on either for the addresses of both: two MACs have each of them, and
/// the text says what that may be.
fn host_with_two_interfaces_is_not_a_conflict() -> Outcome {
    let Link { a, c, switch, .. } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    lab::veth(&c, "e1", &switch, "p5")?;
    bridge_port(&switch, "br0", "p5")?;
    c.address("e1", "10.0.0.5/24")?;
    for setting in ["all", "e0", "e1"] {
        c.sysctl(&format!("net/ipv4/conf/{setting}/rp_filter"), "0")?;
    }
    for address in ["10.0.0.3", "10.0.0.5"] {
        let report = conflict_over(&service, &a, address);
        let found = finding(&report, "conflict", address);
        for interface in ["e0", "e1"] {
            assert!(has(&found["between"], &mac(&c, interface)), "{found:#}");
        }
    }
    let output = service.netsonde(&["neighbors"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("perhaps one host with two interfaces"),
        "{text}"
    );
    Ok(())
}

/// Hosts in the order of their addresses, and of those that do not answer the number and the range.
fn a_scan_is_summed_up() -> Outcome {
    let Link {
        a,
        b: _b,
        c: _c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    let hosts = [2, 3, 254].map(|last| format!("10.0.0.{last}"));
    let absent: Vec<String> = (100..120).map(|last| format!("10.0.0.{last}")).collect();
    let mut arguments = vec!["ping", "-c", "1", "-W", "0.2"];
    arguments.extend(hosts.iter().chain(&absent).map(String::as_str));
    service.netsonde(&arguments);
    let text = service.ask(&["neighbors"]);
    let line =
        "20 addresses from 10.0.0.100 to 10.0.0.119 on e0 do not answer this host; -v lists them";
    assert_eq!(text.matches("not answer").count(), 1, "{text}");
    assert!(text.contains(line), "{text}");
    let places: Vec<usize> = hosts
        .iter()
        .map(|host| text.find(&format!("\n{host} ")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
    let text = service.ask(&["-v", "neighbors"]);
    assert_eq!(
        text.matches("does not answer this host").count(),
        20,
        "{text}"
    );
    Ok(())
}

/// ```text
///   a 10.0.0.1, netsonded ---- 10.0.0.254 proxy ---- 10.0.0.5, fd00::5 far
/// ```
/// The proxy answers for what it reaches on its other side.
fn proxied() -> Result<(Host, Host, Host), Box<dyn std::error::Error>> {
    let (a, proxy, far) = (Host::new("a")?, Host::new("proxy")?, Host::new("far")?);
    lab::veth(&a, "e0", &proxy, "e0")?;
    lab::veth(&proxy, "e1", &far, "e0")?;
    for (host, address) in [
        (&a, "10.0.0.1/24"),
        (&a, "fd00::1/64"),
        (&proxy, "10.0.0.254/24"),
        (&proxy, "fd00::fe/64"),
        (&far, "10.0.0.5/24"),
        (&far, "fd00::5/64"),
    ] {
        host.address("e0", address)?;
    }
    for setting in [
        "ipv4/ip_forward",
        "ipv6/conf/all/forwarding",
        "ipv4/conf/e0/proxy_arp",
        "ipv4/conf/e1/proxy_arp",
        "ipv6/conf/e0/proxy_ndp",
        "ipv6/conf/e1/proxy_ndp",
    ] {
        proxy.sysctl(&format!("net/{setting}"), "1")?;
    }
    inside(&proxy, "ip", &["route", "add", "10.0.0.0/28", "dev", "e1"]);
    inside(&proxy, "ip", &["route", "add", "10.0.0.1/32", "dev", "e0"]);
    inside(&proxy, "ip", &["route", "add", "fd00::5/128", "dev", "e1"]);
    for (target, interface) in [("fd00::5", "e0"), ("fd00::1", "e1")] {
        let entry = ["neigh", "add", "proxy", target, "dev", interface];
        inside(&proxy, "ip", &entry);
    }
    Ok((a, proxy, far))
}

fn proxy_arp_is_a_role() -> Outcome {
    let (a, proxy, _far) = proxied()?;
    let service = Service::start(&a, &[]);
    let of_proxy = mac(&proxy, "e0");
    let report = until("both are answered for", &service, |report| {
        ping(&a, "10.0.0.254");
        ping(&a, "10.0.0.5");
        // Its port is closed, and it says so.
        let _ = a.run(|| UdpSocket::bind("[::]:0")?.send_to(b"hello", ("fd00::5", 9)));
        neighbor(report, &of_proxy)["proxy_for"]
            .as_array()
            .map(Vec::len)
            == Some(2)
    });
    let one = neighbor(&report, &of_proxy);
    assert_eq!(one["proxy_for"], serde_json::json!(["10.0.0.5", "fd00::5"]));
    assert!(has(&one["roles"], "proxy ARP"), "{one:#}");
    let text = service.ask(&["neighbors"]);
    assert!(text.contains("proxy ARP for 10.0.0.5 fd00::5"), "{text}");
    Ok(())
}

fn proxy_of_absent_hosts_is_consistent() -> Outcome {
    let (a, proxy, _far) = proxied()?;
    let service = Service::start(&a, &[]);
    let of_proxy = mac(&proxy, "e0");
    let absent = [8, 9, 10, 11].map(|last| format!("10.0.0.{last}"));
    let report = until("all are answered for", &service, |report| {
        absent.iter().for_each(|address| resolve(&a, address));
        has(
            &neighbor(report, &of_proxy)["roles"],
            "proxy ARP (consistent)",
        )
    });
    assert_eq!(
        neighbor(&report, &of_proxy)["proxy_for"],
        serde_json::json!(absent)
    );
    Ok(())
}

fn host_with_several_addresses_is_not_a_proxy() -> Outcome {
    let Link {
        a,
        b,
        c: _c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    let addresses_of_b: Vec<String> = (20..26).map(|last| format!("10.0.0.{last}")).collect();
    for address in &addresses_of_b {
        b.address("e0", &format!("{address}/24"))?;
    }
    let of_b = mac(&b, "e0");
    let report = until("all are known", &service, |report| {
        addresses_of_b.iter().for_each(|address| {
            ping(&a, address);
        });
        addresses(&neighbor(report, &of_b)).len() >= addresses_of_b.len()
    });
    let one = neighbor(&report, &of_b);
    assert!(
        one["proxy_for"].is_null() && !one["roles"].to_string().contains("proxy"),
        "{one:#}"
    );
    Ok(())
}

fn announce(host: &Host, address: [u8; 4]) {
    let mac = host.mac("e0").unwrap();
    send_frame(host, "e0", &arp(1, (mac, address), address));
}

fn failover_is_not_a_conflict() -> Outcome {
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    let (of_b, of_c) = (mac(&b, "e0"), mac(&c, "e0"));
    let address = "10.0.0.9";
    b.address("e0", "10.0.0.9/32")?;
    resolve(&a, address);
    until("b has it", &service, |report| {
        addresses(&neighbor(report, &of_b)).contains(&address.to_owned())
    });
    // To c and back again, as a standby does it: it takes the address, and says so.
    for (times, from, to, (from_mac, to_mac)) in
        [(1, &b, &c, (&of_b, &of_c)), (2, &c, &b, (&of_c, &of_b))]
    {
        inside(from, "ip", &["address", "del", "10.0.0.9/32", "dev", "e0"]);
        to.address("e0", "10.0.0.9/32")?;
        announce(to, [10, 0, 0, 9]);
        resolve(&a, address);
        let report = until("it has moved", &service, |report| {
            let found = finding(report, "moved", address);
            found["times"] == times
                && number(&entry(&found["claimants"], "mac", to_mac)["answers"]) > 0
        });
        let found = finding(&report, "moved", address);
        assert_eq!(
            (&found["from"], &found["to"], &found["announced"]),
            (
                &from_mac.as_str().into(),
                &to_mac.as_str().into(),
                &true.into()
            ),
            "{found:#}"
        );
        assert!(finding(&report, "conflict", address).is_null());
        // It is the address of one.
        assert!(addresses(&neighbor(&report, to_mac)).contains(&address.to_owned()));
        assert!(!addresses(&neighbor(&report, from_mac)).contains(&address.to_owned()));
    }
    let output = service.netsonde(&["neighbors"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("moved: 10.0.0.9 on e0 from") && text.contains("it has moved 2 times"),
        "{text}"
    );
    Ok(())
}

fn claimed_own_address_is_reported() -> Outcome {
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    assert!(ping(&a, "10.0.0.2"));
    until("b is known", &service, |report| {
        !neighbor(report, &mac(&b, "e0")).is_null()
    });
    let mac_c = c.mac("e0")?;
    send_frame(&c, "e0", &arp(1, (mac_c, [10, 0, 0, 1]), [10, 0, 0, 2]));
    let report = until("the claim is told", &service, |report| {
        finding(report, "conflict", "10.0.0.1")["current"] == true
    });
    let found = finding(&report, "conflict", "10.0.0.1");
    assert_eq!(found["own"], true);
    assert!(has(&found["between"], &mac(&a, "e0")) && has(&found["between"], &mac(&c, "e0")));
    let output = service.netsonde(&["neighbors"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("10.0.0.1, an address of this host,"),
        "{text}"
    );
    Ok(())
}

fn duplicate_address_detection_is_reported() -> Outcome {
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    let (of_a, of_b, of_c) = (mac(&a, "e0"), mac(&b, "e0"), mac(&c, "e0"));
    // RFC 4862, by two kernels.
    b.address("e0", "fd00::99/64")?;
    inside(&c, "ip", &["address", "add", "fd00::99/64", "dev", "e0"]);
    let report = until("IPv6", &service, |report| {
        finding(report, "duplicate", "fd00::99")["answered"] == true
    });
    let found = finding(&report, "duplicate", "fd00::99");
    assert_eq!(
        (&found["prober"], &found["by"]),
        (&of_c.clone().into(), &of_b.clone().into())
    );
    let failed = || {
        let shown = c.run(|| {
            support::program("ip")
                .args(["-6", "address", "show", "dev", "e0"])
                .output()
        });
        String::from_utf8_lossy(&shown.unwrap().stdout).contains("dadfailed")
    };
    assert!(wait_until(PATIENCE, failed), "the kernel says the same");
    // RFC 5227: c probes for what this host has, whose answer is seen, and for what b has, whose answer
    // goes to c alone.
    assert!(ping(&a, "10.0.0.2"));
    until("b is known", &service, |report| {
        addresses(&neighbor(report, &of_b)).contains(&"10.0.0.2".to_owned())
    });
    let mac_c = c.mac("e0")?;
    for target in [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 50]] {
        send_frame(&c, "e0", &arp(1, (mac_c, [0; 4]), target));
    }
    let report = until("IPv4", &service, |report| {
        !finding(report, "duplicate", "10.0.0.1").is_null()
            && !finding(report, "duplicate", "10.0.0.2").is_null()
    });
    for (address, holder, answered) in [("10.0.0.1", &of_a, true), ("10.0.0.2", &of_b, false)] {
        let found = finding(&report, "duplicate", address);
        assert_eq!(
            (&found["prober"], &found["by"], &found["answered"]),
            (
                &of_c.clone().into(),
                &holder.clone().into(),
                &answered.into()
            )
        );
    }
    // What is free is no finding; and none of these is a conflict.
    assert!(finding(&report, "duplicate", "10.0.0.50").is_null());
    let output = service.netsonde(&["neighbors"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("probed for 10.") && text.contains("already has it and answered"),
        "{text}"
    );
    Ok(())
}

/// ```text
///   a 10.0.0.1, netsonded ---- 10.0.0.254 router 10.1.0.254 ---- far 10.1.0.2 and thousands more
/// ```
fn router_addresses_are_one_neighbor() -> Outcome {
    const SOURCES: u64 = 5000;
    let (a, router, far) = (Host::new("a")?, Host::new("router")?, Host::new("far")?);
    lab::veth(&a, "e0", &router, "e0")?;
    lab::veth(&far, "e0", &router, "e1")?;
    a.address("e0", "10.0.0.1/24")?;
    router.address("e0", "10.0.0.254/24")?;
    router.address("e1", "10.1.0.254/24")?;
    far.address("e0", "10.1.0.2/24")?;
    for setting in ["ip_forward", "conf/e1/rp_filter", "conf/all/rp_filter"] {
        router.sysctl(
            &format!("net/ipv4/{setting}"),
            if setting == "ip_forward" { "1" } else { "0" },
        )?;
    }
    let service = Service::start(&a, &[]);
    let (to, from) = (router.mac("e1")?, far.mac("e0")?);
    let of_router = mac(&router, "e0");
    let send = |first: u64| {
        far.run(|| {
            traffic::frames("e0", SOURCES, Some(20_000), |number, frame| {
                let [.., x, y] = (first + number).to_be_bytes();
                let source = format!("10.77.{x}.{y}");
                *frame = udp(from, (&source, "10.0.0.1"), (5000, 5000), 64, b"from afar");
                frame[..6].copy_from_slice(&to);
            })
        })
        .unwrap();
    };
    // Seen to forward more than once: once a second is looked at it.
    let mut first = 0;
    let report = until("it is a router", &service, |report| {
        send(first);
        first += SOURCES;
        has(&neighbor(report, &of_router)["roles"], "router (forwards)")
    });
    let all = report["neighbors"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{report:#}");
    assert!(
        !addresses(&all[0])
            .iter()
            .any(|address| address.starts_with("10.77.")),
        "{report:#}"
    );
    let packets = number(&entry(&service.status()["interfaces"], "interface", "e0")["packets"]);
    assert!(packets > SOURCES, "{packets}");
    Ok(())
}

/// Memory of the engine that is its own, in KiB.
fn memory(service: &Service) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", service.engine())).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// CPU time of the engine, in nanoseconds.
fn cpu_ns(service: &Service) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", service.engine())).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn processed(service: &Service) -> u64 {
    let rings = service.status()["rings"].clone();
    rings
        .as_array()
        .unwrap()
        .iter()
        .map(|ring| number(&ring["processed"]))
        .sum()
}

/// Sends frames, and tells what each that was taken in cost the engine, in nanoseconds.
fn cost(
    service: &Service,
    from: &Host,
    count: u64,
    make: impl FnMut(u64, &mut Vec<u8>) + Send,
) -> f64 {
    let (cpu, before) = (cpu_ns(service), processed(service));
    from.run(|| traffic::frames("e0", count, Some(200_000), make))
        .unwrap();
    let mut last = 0;
    wait_until(PATIENCE, || {
        let now = processed(service);
        std::mem::replace(&mut last, now) == now
    });
    (cpu_ns(service) - cpu) as f64 / (processed(service) - before).max(1) as f64
}

/// More hosts than there is room for, half by ARP and half by what they send.
fn floods_evict_no_known_neighbor() -> Outcome {
    const PACKETS: u64 = if cfg!(debug_assertions) {
        300_000
    } else {
        10_000_000
    };
    let Link { a, b, c, switch } = link(BridgeOptions::default())?;
    a.route("0.0.0.0/0", "10.0.0.254")?;
    // Who floods. The bridge itself need not remember all that comes from there.
    let d = Host::new("d")?;
    lab::veth(&d, "e0", &switch, "p4")?;
    bridge_port(&switch, "br0", "p4")?;
    inside(
        &switch,
        "bridge",
        &["link", "set", "dev", "p4", "learning", "off"],
    );
    let service = Service::start(&a, &[]);
    let (of_b, of_c, of_switch) = (mac(&b, "e0"), mac(&c, "e0"), mac(&switch, "br0"));
    for host in [&b, &c] {
        host.address("e0", "10.0.0.9/24")?;
    }
    assert!(ping(&a, "10.0.0.254"));
    conflict_over(&service, &a, "10.0.0.9");
    // The same packets of one host first: what they cost without anything new in them.
    let mut template = Vec::new();
    let mac_d = d.mac("e0")?;
    let mut make = |number: u64, frame: &mut Vec<u8>, random: bool| {
        // A multiplication by an odd number hits each number once.
        let mixed = if random {
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        } else {
            7
        };
        let [p, q, r, s, t, u, v, w] = mixed.to_be_bytes();
        let sender = if random {
            [2, p, q, r, s, number as u8]
        } else {
            mac_d
        };
        // Half of those on the link's own networks, and never an address that somebody has.
        let ip = match (random, t & 1) {
            (false, _) => [10, 0, 0, 4],
            (true, 0) => [10, 0, 0, 16 + u % 200],
            (true, _) => [11 + t % 100, u, v, w],
        };
        if number.is_multiple_of(2) {
            *frame = arp(1, (sender, ip), [10, 0, 0, 240]);
        } else {
            if template.is_empty() {
                template = udp(sender, ("10.0.0.2", "10.0.0.1"), (5000, 5000), 64, &[0; 18]);
            }
            frame.clone_from(&template);
            frame[6..12].copy_from_slice(&sender);
            frame[26..30].copy_from_slice(&ip);
        }
    };
    let known = cost(&service, &d, PACKETS / 10, |number, frame| {
        make(number, frame, false)
    });
    let before = memory(&service);
    // Meanwhile gateway and conflict are as they are, whoever asks.
    let flooding = cost(&service, &d, PACKETS, |number, frame| {
        make(number, frame, true)
    });
    let status = service.status();
    let grown = memory(&service).saturating_sub(before);
    println!(
        "{PACKETS} packets of hosts that nobody knows: {flooding:.0} ns CPU each, {known:.0} ns of one that is \
         known, {:.2} times; {grown} KiB more",
        flooding / known
    );
    assert!(grown < 16 * 1024, "{grown} KiB more");
    for name in ["neighbors", "neighbor addresses"] {
        let limit = entry(&status["limits"], "name", name);
        assert!(number(&limit["hits"]) > PACKETS / 10, "{limit}");
    }
    let (report, code) = ask(&service, &[]);
    assert_eq!(code, 1);
    let conflict = finding(&report, "conflict", "10.0.0.9");
    assert!(
        conflict["current"] == true
            && has(&conflict["between"], &of_b)
            && has(&conflict["between"], &of_c),
        "{conflict:#}"
    );
    assert!(finding(&report, "conflict", "10.0.0.254").is_null());
    let gateway = neighbor(&report, &of_switch);
    assert!(
        has(&gateway["roles"], "gateway") && addresses(&gateway).contains(&"10.0.0.254".to_owned()),
        "{gateway:#}"
    );
    let limit = number(&entry(&status["limits"], "name", "neighbors")["limit"]);
    assert!((report["neighbors"].as_array().unwrap().len() as u64) <= limit);
    Ok(())
}

fn new_engine_restores_neighbors() -> Outcome {
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = link(BridgeOptions::default())?;
    let service = Service::start(&a, &[]);
    let (of_b, of_c) = (mac(&b, "e0"), mac(&c, "e0"));
    for host in [&b, &c] {
        host.address("e0", "10.0.0.9/24")?;
    }
    conflict_over(&service, &a, "10.0.0.9");
    let mac_b = b.mac("e0")?;
    send_frame(
        &b,
        "e0",
        &udp(
            mac_b,
            ("10.0.0.2", "224.0.0.251"),
            (5353, 5353),
            255,
            &mdns([10, 0, 0, 2]),
        ),
    );
    let before = until("b has a name", &service, |report| {
        neighbor(report, &of_b)["names"][0]["name"] == "b.local"
    });
    let engine = service.engine();
    kill(engine, Signal::SIGKILL)?;
    let again = || {
        service
            .try_status()
            .is_some_and(|status| status["engine"]["pid"].as_i64() != Some(engine.as_raw().into()))
    };
    assert!(wait_until(PATIENCE, again));
    let (report, code) = ask(&service, &[]);
    assert_eq!(code, 1);
    for (mac, name) in [(&of_b, "b.local"), (&of_c, "")] {
        let (was, is) = (neighbor(&before, mac), neighbor(&report, mac));
        assert_eq!(is["first"], was["first"], "{is:#}");
        assert_eq!(is["names"][0]["name"].as_str().unwrap_or(""), name);
        assert!(addresses(&is).contains(&"10.0.0.9".to_owned()), "{is:#}");
    }
    let conflict = finding(&report, "conflict", "10.0.0.9");
    assert!(has(&conflict["between"], &of_b) && has(&conflict["between"], &of_c));
    Ok(())
}
