//! `netsonde mcast doctor`: a scenario for each failure mode, on a real kernel, which requires exactly that
//! finding, and healthy networks, which must have none.
//!
//! ```text
//!   s (source) e0 10.0.0.1 ---------- 10.0.0.2 e0 r (receiver, netsonded)
//!
//!   s  10.0.0.1 --+
//!   r  10.0.0.2 --+-- b br0 (switch, snooping)
//!   r2 10.0.0.3 --+
//!
//!   s  10.0.0.1 ---- 10.0.0.254 ms m mr 10.1.0.254 ---- 10.1.0.2 r      (m routes multicast)
//! ```
//!
//! The scenario that the test made is the judge; whether packets arrive is counted at a real receiver. The
//! table of both kinds is `tests/SCENARIOS.md`.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::ExitCode;

use netsonde::lab::{self, BridgeOptions, Host, bridge, bridge_port, wait_until};
use support::Service;
use support::mcast::*;
use support::{firewall, inside};

#[path = "doctor/client.rs"]
mod client;
#[path = "doctor/healthy.rs"]
mod healthy;
#[path = "doctor/link.rs"]
mod link;
#[path = "doctor/protocol.rs"]
mod protocol;
#[path = "doctor/receiver.rs"]
mod receiver;
#[path = "doctor/routing.rs"]
mod routing;
#[path = "doctor/table.rs"]
mod table;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A scenario: the finding that it must have, and what it is called.
pub type Scenario = (&'static str, &'static str, support::Test);

/// Set for a process that does nothing but hold a raw socket of IGMP, as a routing daemon does.
const HOLD_IGMP: &str = "NETSONDE_TEST_HOLDS_IGMP";

fn main() -> ExitCode {
    if std::env::var_os(HOLD_IGMP).is_some() {
        let igmp = Some(socket2::Protocol::from(2));
        let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, igmp);
        println!("{held:?}");
        loop {
            std::thread::park();
        }
    }
    let families = [
        receiver::SCENARIOS,
        protocol::SCENARIOS,
        link::SCENARIOS,
        routing::SCENARIOS,
        healthy::SCENARIOS,
    ];
    let mut tests: Vec<(&'static str, support::Test)> = families
        .iter()
        .flat_map(|family| family.iter().map(|(_, name, test)| (*name, *test)))
        .collect();
    tests.extend(client::TESTS);
    tests.push(("table_is_up_to_date", table::table_is_up_to_date));
    support::main_with(&tests, 8)
}

/// `e0` and addresses for both families, the same on every host.
fn address(host: &Host, interface: &str, network: u8, number: u8) {
    host.address(interface, &format!("10.{network}.0.{number}/24"))
        .unwrap();
    host.address(interface, &format!("fd00:{network}::{number}/64"))
        .unwrap();
}

/// T1:
/// ```text
///   s e0 10.0.0.1 ---------- 10.0.0.2 e0 r
/// ```
struct Pair {
    s: Host,
    r: Host,
}

fn pair() -> Pair {
    let (s, r) = (Host::new("s").unwrap(), Host::new("r").unwrap());
    lab::veth(&s, "e0", &r, "e0").unwrap();
    address(&s, "e0", 0, 1);
    address(&r, "e0", 0, 2);
    Pair { s, r }
}

/// T1b: a second link.
/// ```text
///   s e0 10.0.0.1 ---------- 10.0.0.2 e0 r
///   s e1 10.1.0.1 ---------- 10.1.0.2 e1 r
/// ```
fn two_links() -> Pair {
    let pair = pair();
    lab::veth(&pair.s, "e1", &pair.r, "e1").unwrap();
    address(&pair.s, "e1", 1, 1);
    address(&pair.r, "e1", 1, 2);
    pair
}

/// T2: a snooping switch, whose memberships last four seconds.
/// ```text
///   s  10.0.0.1 ---ps-+
///   r  10.0.0.2 ---pr-+-- b br0
///   r2 10.0.0.3 ---p2-+
/// ```
struct Switched {
    s: Host,
    r: Host,
    r2: Host,
    b: Host,
}

fn switched() -> Switched {
    let b = Host::new("b").unwrap();
    let options = BridgeOptions {
        snooping: true,
        querier: false,
        ..BridgeOptions::default()
    };
    bridge(&b, "br0", options).unwrap();
    let host = |name: &str, port: &str, number: u8| {
        let host = Host::new(name).unwrap();
        lab::veth(&host, "e0", &b, port).unwrap();
        bridge_port(&b, "br0", port).unwrap();
        address(&host, "e0", 0, number);
        host
    };
    let (s, r, r2) = (host("s", "ps", 1), host("r", "pr", 2), host("r2", "p2", 3));
    set_bridge(&b, "mcast_membership_interval 400");
    Switched { s, r, r2, b }
}

fn set_bridge(host: &Host, settings: &str) {
    let mut words = vec!["link", "set", "br0", "type", "bridge"];
    words.extend(settings.split(' '));
    inside(host, "ip", &words);
}

/// T3: a router.
/// ```text
///   s 10.0.0.1 ---- 10.0.0.254 ms m mr 10.1.0.254 ---- 10.1.0.2 r
/// ```
struct Routed {
    s: Host,
    m: Host,
    r: Host,
}

fn routed() -> Routed {
    let (s, m, r) = (
        Host::new("s").unwrap(),
        Host::new("m").unwrap(),
        Host::new("r").unwrap(),
    );
    lab::veth(&s, "e0", &m, "ms").unwrap();
    lab::veth(&r, "e0", &m, "mr").unwrap();
    address(&s, "e0", 0, 1);
    address(&m, "ms", 0, 254);
    address(&m, "mr", 1, 254);
    address(&r, "e0", 1, 2);
    m.sysctl("net/ipv4/ip_forward", "1").unwrap();
    for interface in ["all", "ms", "mr"] {
        m.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")
            .unwrap();
    }
    s.route("0.0.0.0/0", "10.0.0.254").unwrap();
    r.route("0.0.0.0/0", "10.1.0.254").unwrap();
    Routed { s, m, r }
}

/// Waits until the record of a service shows what `netsonde mcast COMMAND` prints.
fn until_shown(service: &Service, command: &str, words: &str) {
    let mut last = String::new();
    let met = wait_until(support::PATIENCE, || {
        last = service.ask(&["-v", "mcast", command]);
        last.contains(words)
    });
    assert!(met, "{command} never shows {words}:\n{last}");
}

/// Port of the scenarios, with the group.
fn channel() -> String {
    format!("{GROUP}:{PORT}")
}
