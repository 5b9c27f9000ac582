//! `netsonde ping` to targets that this host's own configuration makes unreachable: for each route type,
//! rule action, address state and neighbor entry that ip(8) can make, the fate, the error number and the
//! words, on a real kernel.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use netsonde::lab::{self, BridgeOptions, Host, traffic, wait_until};
use support::ping::{PingReport, ping};
use support::{PATIENCE, Service, Test, firewall, inside, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "refused_by_routes_and_rules",
                refused_by_routes_and_rules as Test,
            ),
            ("sources_that_cannot_be_used", sources_that_cannot_be_used),
            (
                "addresses_in_duplicate_address_detection",
                addresses_in_duplicate_address_detection,
            ),
            ("links_that_nothing_crosses", links_that_nothing_crosses),
            (
                "neighbor_entries_that_the_wire_contradicts",
                neighbor_entries_that_the_wire_contradicts,
            ),
            ("answers_by_proxy", answers_by_proxy),
            ("conflicts_are_in_the_summary", conflicts_are_in_the_summary),
        ],
        4,
    )
}

/// A row: ip(8) commands that make the cause, arguments of ping, fate, error number, words, and ip(8)
/// commands that remove the cause. Commands are separated by semicolons.
struct Row(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

fn ip(host: &Host, commands: &str) {
    for command in commands
        .split(';')
        .map(str::trim)
        .filter(|one| !one.is_empty())
    {
        let words: Vec<&str> = command.split_whitespace().collect();
        inside(host, "ip", &words);
    }
}

fn probe(service: &Service, arguments: &str) -> PingReport {
    let mut all = vec!["-c", "2", "-i", "0.05", "-W", "0.3"];
    all.extend(arguments.split_whitespace());
    ping(service, &all)
}

/// Builds each row on the host and requires its fate, error number and words.
fn run(host: &Host, service: &Service, rows: &[Row]) {
    let mut wrong = String::new();
    for Row(make, arguments, fate, errno, words, undo) in rows {
        ip(host, make);
        let report = probe(service, arguments);
        let first = &report.probes[0];
        let seen = first["last_seen"].as_str().unwrap_or_default();
        let expected = if errno.is_empty() {
            (*words).to_owned()
        } else {
            format!("{errno}: {words}")
        };
        let is_right = report.fates() == [*fate; 2]
            && first["errno"].as_str().unwrap_or_default() == *errno
            && (report.probes.iter()).all(|one| one["last_seen"].as_str() == Some(&expected));
        if !is_right {
            wrong.push_str(&format!(
                "ip {make}\n  ping {arguments}\n  expected {fate}: {expected}\n  got      {}: {seen}\n",
                first["fate"].as_str().unwrap_or_default()
            ));
        }
        ip(host, undo);
    }
    assert!(wrong.is_empty(), "{wrong}{}", service.log());
}

#[rustfmt::skip]
const ROUTES_AND_RULES: &[Row] = &[
    // No route at all.
    Row("", "10.9.3.1", "not_sent", "ENETUNREACH", "no route to the target", ""),
    Row("", "fd09::1", "not_sent", "ENETUNREACH", "no route to the target", ""),
    // Routes of each type that refuses, in the main table.
    Row("route add blackhole 10.9.3.0/24", "10.9.3.1", "not_sent", "EINVAL",
        "blackhole route 10.9.3.0/24 (table main)", "route del blackhole 10.9.3.0/24"),
    Row("route add prohibit 10.9.3.0/24", "10.9.3.1", "not_sent", "EACCES",
        "prohibit route 10.9.3.0/24 (table main)", "route del prohibit 10.9.3.0/24"),
    Row("route add unreachable 10.9.3.1/32", "10.9.3.1", "not_sent", "EHOSTUNREACH",
        "unreachable route 10.9.3.1 (table main)", "route del unreachable 10.9.3.1/32"),
    Row("route add throw 10.9.3.0/24", "10.9.3.1", "not_sent", "ENETUNREACH",
        "throw route 10.9.3.0/24 (table main)", "route del throw 10.9.3.0/24"),
    Row("-6 route add blackhole fd09::/64", "fd09::1", "not_sent", "EINVAL",
        "blackhole route fd09::/64 (table main)", "-6 route del blackhole fd09::/64"),
    Row("-6 route add prohibit fd09::/64", "fd09::1", "not_sent", "EACCES",
        "prohibit route fd09::/64 (table main)", "-6 route del prohibit fd09::/64"),
    Row("-6 route add unreachable fd09::1/128", "fd09::1", "not_sent", "EHOSTUNREACH",
        "unreachable route fd09::1 (table main)", "-6 route del unreachable fd09::1/128"),
    Row("-6 route add throw fd09::/64", "fd09::1", "not_sent", "ENETUNREACH",
        "throw route fd09::/64 (table main)", "-6 route del throw fd09::/64"),
    // As default routes, where a more specific one has gone.
    Row("route add blackhole default", "10.9.3.1", "not_sent", "EINVAL",
        "blackhole route default (table main)", "route del blackhole default"),
    Row("-6 route add unreachable default metric 4096", "fd09::1", "not_sent", "EHOSTUNREACH",
        "unreachable route default (table main)", "-6 route del unreachable default metric 4096"),
    // A demanded interface: IPv4 takes a failed lookup for a target on the link, IPv6 does not.
    Row("route add blackhole 10.9.3.0/24", "-I e0 10.9.3.1", "unresolved", "",
        "10.9.3.1 does not answer ARP on e0, asked once", "route del blackhole 10.9.3.0/24"),
    Row("-6 route add blackhole fd09::/64", "-I e0 fd09::1", "not_sent", "ENETUNREACH",
        "no route to the target by e0", "-6 route del blackhole fd09::/64"),
    // A next hop object of ip-nexthop(8).
    Row("nexthop add id 7 blackhole; route add 10.9.3.0/24 nhid 7", "10.9.3.1", "not_sent", "EINVAL",
        "no blackhole route or rule covers it: consistent with a route to the blackhole next hop 7 (ip nexthop)",
        "route del 10.9.3.0/24; nexthop del id 7"),
    Row("-6 nexthop add id 8 blackhole; -6 route add fd09::/64 nhid 8", "fd09::1", "not_sent", "EINVAL",
        "no blackhole route or rule covers it: consistent with a route to the blackhole next hop 8 (ip nexthop)",
        "-6 route del fd09::/64; nexthop del id 8"),
    // A longer prefix counts, also when the shorter one refuses otherwise.
    Row("route add unreachable 10.9.0.0/16; route add blackhole 10.9.3.0/24", "10.9.3.1", "not_sent",
        "EINVAL", "blackhole route 10.9.3.0/24 (table main)",
        "route del unreachable 10.9.0.0/16; route del blackhole 10.9.3.0/24"),
    Row("route add unreachable 10.9.0.0/16; route add blackhole 10.9.3.0/24", "10.9.4.1", "not_sent",
        "EHOSTUNREACH", "unreachable route 10.9.0.0/16 (table main)",
        "route del unreachable 10.9.0.0/16; route del blackhole 10.9.3.0/24"),
    // In tables that a rule leads to.
    Row("route add prohibit 10.9.3.0/24 table 7; rule add pref 100 to 10.9.0.0/16 lookup 7", "10.9.3.1",
        "not_sent", "EACCES",
        "prohibit route 10.9.3.0/24 (table 7), found by rule 100: from all to 10.9.0.0/16 lookup 7",
        "rule del pref 100; route flush table 7"),
    Row("route add blackhole default table 7; rule add pref 100 tos 0x10 lookup 7", "-Q 0x10 10.9.3.1",
        "not_sent", "EINVAL",
        "blackhole route default (table 7), found by rule 100: from all tos 0x10 lookup 7",
        "rule del pref 100; route flush table 7"),
    Row("route add throw 10.9.3.0/24 table 7; route add blackhole 10.9.0.0/16; rule add pref 100 lookup 7",
        "10.9.3.1", "not_sent", "EINVAL", "blackhole route 10.9.0.0/16 (table main)",
        "rule del pref 100; route flush table 7; route del blackhole 10.9.0.0/16"),
    Row("-6 route add blackhole default table 7; -6 rule add pref 100 from fd00::1 lookup 7",
        "-I fd00::1 fd09::1", "not_sent", "EINVAL",
        "blackhole route default (table 7), found by rule 100: from fd00::1 lookup 7",
        "-6 rule del pref 100; -6 route flush table 7"),
    // Rules that refuse.
    Row("rule add pref 100 to 10.9.0.0/16 blackhole", "10.9.3.1", "not_sent", "EINVAL",
        "rule 100: from all to 10.9.0.0/16 blackhole", "rule del pref 100"),
    Row("rule add pref 100 to 10.9.0.0/16 prohibit", "10.9.3.1", "not_sent", "EACCES",
        "rule 100: from all to 10.9.0.0/16 prohibit", "rule del pref 100"),
    Row("rule add pref 100 to 10.9.0.0/16 unreachable", "10.9.3.1", "not_sent", "ENETUNREACH",
        "rule 100: from all to 10.9.0.0/16 unreachable", "rule del pref 100"),
    Row("-6 rule add pref 100 to fd09::/16 blackhole", "fd09::1", "not_sent", "EINVAL",
        "rule 100: from all to fd09::/16 blackhole", "-6 rule del pref 100"),
    Row("-6 rule add pref 100 to fd09::/16 prohibit", "fd09::1", "not_sent", "EACCES",
        "rule 100: from all to fd09::/16 prohibit", "-6 rule del pref 100"),
    Row("-6 rule add pref 100 to fd09::/16 unreachable", "fd09::1", "not_sent", "ENETUNREACH",
        "rule 100: from all to fd09::/16 unreachable", "-6 rule del pref 100"),
    Row("rule add pref 100 from 10.0.0.1 ipproto icmp prohibit", "-I 10.0.0.1 10.0.0.2", "not_sent",
        "EACCES", "rule 100: from 10.0.0.1 ipproto icmp prohibit", "rule del pref 100"),
    Row("rule add pref 100 not fwmark 0x7 blackhole", "10.0.0.2", "not_sent", "EINVAL",
        "rule 100: not from all fwmark 0x7/0xffffffff blackhole", "rule del pref 100"),
    Row("rule add pref 100 iif lo to 10.9.3.1 prohibit", "10.9.3.1", "not_sent", "EACCES",
        "rule 100: from all to 10.9.3.1 iif lo prohibit", "rule del pref 100"),
    Row("rule add pref 150 to 10.9.0.0/16 prohibit; rule add pref 200 to 10.9.0.0/16 blackhole; \
         rule add pref 100 goto 200", "10.9.3.1", "not_sent", "EINVAL",
        "rule 200: from all to 10.9.0.0/16 blackhole", "rule del pref 100; rule del pref 150; rule del pref 200"),
    // A broadcast route, which is no address of an own network; without -b it is refused.
    Row("route add broadcast 10.50.0.255 dev e0", "-b 10.50.0.255", "unanswered", "",
        "sent on e0; no reply or error received", "route del broadcast 10.50.0.255 dev e0"),
    // Sizes.
    Row("route add 10.9.0.0/16 via 10.0.0.2 mtu 1300", "-M do -s 1400 10.9.0.1", "not_sent", "EMSGSIZE",
        "its packet of 1428 bytes is larger than the MTU 1300 of the route 10.9.0.0/16 (table main), and \
         must not be fragmented", "route del 10.9.0.0/16"),
    Row("", "-M do -s 1600 10.0.0.2", "not_sent", "EMSGSIZE",
        "its packet of 1628 bytes is larger than the MTU 1500 of e0, and must not be fragmented", ""),
    Row("", "-M do -s 1600 fd00::2", "not_sent", "EMSGSIZE",
        "its packet of 1648 bytes is larger than the MTU 1500 of e0, and must not be fragmented", ""),
    // After all of this the network is as it was.
    Row("", "10.9.3.1", "not_sent", "ENETUNREACH", "no route to the target", ""),
];

fn refused_by_routes_and_rules() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "fd00::2"]).only("replied", 1);
    run(&a, &service, ROUTES_AND_RULES);
    for target in ["10.0.0.2", "fd00::2"] {
        let report = probe(&service, target);
        report.only("replied", 2);
        // A send that failed with EINVAL did not cost the time stamps of the kernel.
        assert!(
            report.probes.iter().all(|one| one["queue_ns"].is_u64()),
            "{}",
            report.text
        );
    }
    Ok(())
}

#[rustfmt::skip]
const SOURCES: &[Row] = &[
    Row("", "-I 10.99.0.1 10.0.0.2", "not_sent", "ENETUNREACH",
        "10.99.0.1 is not an address of this host", ""),
    Row("", "-I fd99::1 fd00::2", "not_sent", "EINVAL", "fd99::1 is not an address of this host", ""),
    Row("", "-I 224.0.0.1 10.0.0.2", "not_sent", "EINVAL", "224.0.0.1 cannot be a source address", ""),
    Row("link add d0 type veth peer name p0; link set d0 addrgenmode none; link set d0 up; link set p0 up",
        "fe80::2%d0", "not_sent", "ENETUNREACH", "d0 has no IPv6 address", "link del d0"),
    Row("link add d1 type veth peer name p1", "-I d1 10.0.0.2", "not_sent", "ENETUNREACH",
        "d1 is administratively down", ""),
    Row("", "fe80::2%d1", "not_sent", "ENETUNREACH", "d1 is administratively down", "link del d1"),
    // Own addresses whose network is gone with the interface.
    Row("link add d2 type veth peer name p2; addr add 10.2.0.1/24 dev d2", "10.2.0.9", "not_sent",
        "ENETUNREACH",
        "no route to 10.2.0.9: it is in the network of 10.2.0.1 on d2, which is administratively down",
        ""),
    // The kernel accepts their addresses as sources all the same; the reply finds no way back.
    Row("", "-I 10.2.0.1 10.0.0.2", "unanswered", "", "sent on e0; no reply or error received", "link del d2"),
];

fn sources_that_cannot_be_used() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    run(&a, &service, SOURCES);
    Ok(())
}

/// The state of fe80::5 and fd05::5 lasts for the test: duplicate address detection sends a hundred requests.
/// p2 has fe80::6 before e2 wants it.
fn addresses_in_duplicate_address_detection() -> Outcome {
    let (a, _b) = pair();
    ip(
        &a,
        "link add e1 type veth peer name p1; link set e1 addrgenmode none; link set p1 addrgenmode none",
    );
    ip(
        &a,
        "link add e2 type veth peer name p2; link set e2 addrgenmode none; link set p2 addrgenmode none",
    );
    a.sysctl("net/ipv6/conf/e1/dad_transmits", "100")?;
    ip(
        &a,
        "link set e1 up; link set p1 up; link set e2 up; link set p2 up",
    );
    ip(&a, "addr add fe80::5/64 dev e1; addr add fd05::5/64 dev e1");
    ip(
        &a,
        "addr add fe80::6/64 dev p2 nodad; addr add fe80::6/64 dev e2",
    );
    let has_failed = || {
        let list = ["-6", "addr", "show", "dev", "e2", "dadfailed"];
        let output = a
            .run(|| support::program("ip").args(list).output())
            .unwrap();
        String::from_utf8_lossy(&output.stdout).contains("fe80::6")
    };
    assert!(wait_until(PATIENCE, has_failed));
    let service = Service::start(&a, &[]);
    let tentative = "is tentative: duplicate address detection is not over";
    let failed = "is dadfailed: duplicate address detection found another host with it";
    for (arguments, errno, words) in [
        (
            "fe80::2%e1",
            "EADDRNOTAVAIL",
            format!("fe80::5 on e1 {tentative}"),
        ),
        (
            "-I fd05::5 fd05::9",
            "EINVAL",
            format!("fd05::5 on e1 {tentative}"),
        ),
        (
            "fe80::2%e2",
            "EADDRNOTAVAIL",
            format!("fe80::6 on e2 {failed}"),
        ),
    ] {
        let report = probe(&service, arguments);
        assert_eq!(
            report.only("not_sent", 2),
            format!("{errno}: {words}"),
            "{}",
            report.text
        );
    }
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b
///   a  e1 10.1.0.1 ---------- 10.1.0.2 e1  b: down, later dormant on a's side
/// ```
fn links_that_nothing_crosses() -> Outcome {
    let (a, b) = pair();
    lab::veth(&a, "e1", &b, "e1")?;
    for (host, v4, v6) in [
        (&a, "10.1.0.1/24", "fd01::1/64"),
        (&b, "10.1.0.2/24", "fd01::2/64"),
    ] {
        host.address("e1", v4)?;
        host.address("e1", v6)?;
    }
    let service = Service::start(&a, &[]);
    for target in ["10.1.0.2", "fd01::2"] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
    }
    b.down("e1")?;
    // The kernel delays these changes by up to a second (net/core/link_watch.c).
    let is_in = |words: &str| {
        wait_until(PATIENCE, || {
            let list = ["link", "show", "e1"];
            let output = a
                .run(|| support::program("ip").args(list).output())
                .unwrap();
            String::from_utf8_lossy(&output.stdout).contains(words)
        })
    };
    assert!(is_in("NO-CARRIER"));
    for target in ["10.1.0.2", "10.1.0.9", "fd01::2"] {
        let report = ping(&service, &["-c", "2", "-i", "0.05", "-W", "0.5", target]);
        for one in &report.probes {
            let seen = one["last_seen"].as_str().unwrap();
            assert!(seen.starts_with("e1 has no carrier; "), "{}", report.text);
        }
        assert_eq!(report.code, 1);
    }
    probe(&service, "10.0.0.2").only("replied", 2);
    // Up again, but waiting for somebody who lets it go on.
    b.up("e1")?;
    ip(
        &a,
        "link set e1 mode dormant; link set e1 down; link set e1 up",
    );
    assert!(is_in("state DORMANT"));
    let report = probe(&service, "10.1.0.9");
    let seen = report.only("unresolved", 2);
    assert!(
        seen.starts_with("e1 is dormant (it waits for an event"),
        "{}",
        report.text
    );
    ip(&a, "link set e1 down");
    assert_eq!(
        probe(&service, "10.1.0.2").only("not_sent", 2),
        "ENETUNREACH: no route to 10.1.0.2: it is in the network of 10.1.0.1 on e1, which is \
         administratively down"
    );
    Ok(())
}

fn mac(host: &Host, interface: &str) -> String {
    host.mac(interface)
        .unwrap()
        .map(|byte| format!("{byte:02x}"))
        .join(":")
}

fn neighbor_entries_that_the_wire_contradicts() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let right = mac(&b, "e0");
    let unanswered = "sent on e0; no reply or error received";
    let wrong = "02:aa:aa:aa:aa:aa";
    for (target, icmp, protocol) in [
        ("10.0.0.2", "icmp type echo-request", "ARP"),
        ("fd00::2", "icmpv6 type echo-request", "neighbor discovery"),
    ] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        for (state, shown) in [
            ("permanent", "PERMANENT"),
            ("noarp", "NOARP"),
            ("reachable", "REACHABLE"),
            ("stale", "DELAY"),
        ] {
            ip(
                &a,
                &format!("neigh replace {target} lladdr {wrong} dev e0 nud {state}"),
            );
            assert_eq!(
                probe(&service, target).only("unanswered", 2),
                format!(
                    "{unanswered}; neighbor entry of {target} on e0 is {wrong} ({shown}), but {target} \
                     answers {protocol} as {right}"
                )
            );
        }
        // A right entry is not worth a word, whatever else is the cause.
        ip(
            &a,
            &format!("neigh replace {target} lladdr {right} dev e0 nud permanent"),
        );
        probe(&service, target).only("replied", 2);
        firewall(&b, "input", &format!("{icmp} drop"));
        assert_eq!(probe(&service, target).only("unanswered", 2), unanswered);
        firewall(&b, "", "");
        ip(&a, &format!("neigh del {target} dev e0"));
    }
    // An incomplete or failed entry is the fate `unresolved`, also if it was made by hand.
    for state in ["incomplete", "failed"] {
        ip(&a, &format!("neigh replace 10.0.0.9 dev e0 nud {state}"));
        let report = probe(&service, "10.0.0.9");
        let seen = report.only("unresolved", 2);
        assert!(
            seen.starts_with("10.0.0.9 does not answer ARP on e0"),
            "{}",
            report.text
        );
    }
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b: answers for 10.0.0.48/28, which is behind x0
/// ```
fn answers_by_proxy() -> Outcome {
    let (a, b) = pair();
    ip(
        &b,
        "link add x0 type veth peer name y0; link set x0 up; link set y0 up",
    );
    ip(&b, "route add 10.0.0.48/28 dev x0");
    b.sysctl("net/ipv4/ip_forward", "1")?;
    b.sysctl("net/ipv4/conf/e0/proxy_arp", "1")?;
    b.sysctl("net/ipv4/neigh/e0/proxy_delay", "0")?;
    let service = Service::start(&a, &[]);
    let router = mac(&b, "e0");
    let proxied = |also: &str| {
        format!(
            "sent on e0; no reply or error received; ARP for 10.0.0.50 was answered by {router}, {also}: \
             consistent with proxy ARP, or with a host of several addresses"
        )
    };
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    assert_eq!(
        probe(&service, "10.0.0.50").only("unanswered", 2),
        proxied("which answers for another address as well")
    );
    // Now the router asks by itself, and so shows its address.
    ip(&b, "neigh flush dev e0");
    let answered = b.run(|| traffic::ping("10.0.0.1".parse().unwrap(), Duration::from_secs(5)))?;
    assert!(answered.is_some());
    assert!(wait_until(PATIENCE, || {
        let report = probe(&service, "10.0.0.50");
        report.only("unanswered", 2) == proxied("whose own address is 10.0.0.2")
    }));
    // Its own address, and a host that is there, are no proxy's.
    firewall(&b, "input", "icmp type echo-request drop");
    assert_eq!(
        probe(&service, "10.0.0.2").only("unanswered", 2),
        "sent on e0; no reply or error received"
    );
    Ok(())
}

/// ```text
///   a 10.0.0.1, netsonded --+
///   b 10.0.0.2 -------------+-- br0 (switch)
///   c 10.0.0.2 -------------+
/// ```
fn conflicts_are_in_the_summary() -> Outcome {
    let switch = Host::new("switch")?;
    let options = BridgeOptions {
        snooping: false,
        querier: false,
        ..BridgeOptions::default()
    };
    lab::bridge(&switch, "br0", options)?;
    let mut hosts = Vec::new();
    for (name, address) in [
        ("a", "10.0.0.1/24"),
        ("b", "10.0.0.2/24"),
        ("c", "10.0.0.2/24"),
    ] {
        let host = Host::new(name)?;
        lab::veth(&host, "e0", &switch, name)?;
        lab::bridge_port(&switch, "br0", name)?;
        host.address("e0", address)?;
        hosts.push(host);
    }
    let [a, b, c] = &hosts[..] else {
        return Err("three hosts".into());
    };
    let service = Service::start(a, &[]);
    let (one, other) = (mac(b, "e0"), mac(c, "e0"));
    let (first, second) = if one < other {
        (one, other)
    } else {
        (other, one)
    };
    let words = format!("address conflict: {first} and {second} both claim 10.0.0.2 on e0");
    assert!(wait_until(PATIENCE, || {
        ip(a, "neigh flush dev e0");
        let report = ping(&service, &["-c", "2", "-i", "0.05", "-W", "1", "10.0.0.2"]);
        report.summaries[0]["remarks"]
            == serde_json::json!([{"id": "address-conflict", "text": words}])
    }));
    let text = String::from_utf8(service.netsonde(&["ping", "-c", "1", "10.0.0.2"]).stdout)?;
    assert!(
        text.lines().last().is_some_and(|line| line == words),
        "{text}"
    );
    let text = String::from_utf8(service.netsonde(&["ping", "10.0.0.0/30"]).stdout)?;
    let below = format!("  10.0.0.2: {words}");
    assert!(text.lines().any(|line| line == below), "{text}");
    let report = ping(&service, &["-c", "1", "-W", "1", "10.0.0.1"]);
    assert!(report.summaries[0]["remarks"].is_null(), "{}", report.text);
    Ok(())
}
