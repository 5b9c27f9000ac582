//! `netsonde doctor`: a scenario for each failure mode of a host, on a real kernel, which requires exactly
//! that finding, and healthy hosts, which must have none.
//!
//! ```text
//!   h  e0 10.0.0.1, netsonded ---------- 10.0.0.254 e0  g (gateway of h)
//!
//!   h  e0 10.0.0.1, netsonded --+
//!   g  e0 10.0.0.254 -----------+-- b br0 (switch)
//!   o  e0 10.0.0.3 -------------+
//! ```
//!
//! The scenario that the test made is the judge. The table of both kinds is in `tests/SCENARIOS.md`.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::ExitCode;

use netsonde::lab::{self, BridgeOptions, Host, bridge, bridge_port, wait_until};
use support::mcast::*;
use support::ping::ping;
use support::{PATIENCE, Service, StopOnDrop};
use support::{firewall, inside};

#[path = "host_doctor/addresses.rs"]
mod addresses;
#[path = "host_doctor/gateways.rs"]
mod gateways;
#[path = "host_doctor/healthy.rs"]
mod healthy;
#[path = "host_doctor/links.rs"]
mod links;
#[path = "host_doctor/loops.rs"]
mod loops;
#[path = "support/monitored.rs"]
mod monitored;
#[path = "host_doctor/multicast.rs"]
mod multicast;
#[path = "host_doctor/settings.rs"]
mod settings;
#[path = "host_doctor/table.rs"]
mod table;
#[path = "host_doctor/virtual_routers.rs"]
mod virtual_routers;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A scenario: the finding that it must have, and what it is called.
pub type Scenario = (&'static str, &'static str, support::Test);

fn main() -> ExitCode {
    let families = [
        links::SCENARIOS,
        addresses::SCENARIOS,
        gateways::SCENARIOS,
        loops::SCENARIOS,
        multicast::SCENARIOS,
        settings::SCENARIOS,
        virtual_routers::SCENARIOS,
        virtual_routers::HEALTHY,
        healthy::SCENARIOS,
    ];
    let mut tests: Vec<(&'static str, support::Test)> = families
        .iter()
        .flat_map(|family| family.iter().map(|(_, name, test)| (*name, *test)))
        .collect();
    tests.extend(loops::TESTS);
    tests.push(("table_is_up_to_date", table::table_is_up_to_date));
    support::main_with(&tests, 8)
}

/// ```text
///   h  e0 10.0.0.1 fd00:0::1 ---------- 10.0.0.254 fd00:0::fe e0  g (gateway of h)
/// ```
struct Net {
    h: Host,
    g: Host,
}

fn net() -> Net {
    let (h, g) = (Host::new("h").unwrap(), Host::new("g").unwrap());
    lab::veth(&h, "e0", &g, "e0").unwrap();
    addresses(&h, "e0", 0, 1);
    gateway_addresses(&g, "e0", 0);
    routes(&h, 0);
    Net { h, g }
}

/// Addresses of both families.
fn addresses(host: &Host, interface: &str, network: u8, number: u8) {
    host.address(interface, &format!("10.{network}.0.{number}/24"))
        .unwrap();
    host.address(interface, &format!("fd00:{network}::{number}/64"))
        .unwrap();
}

fn gateway_addresses(host: &Host, interface: &str, network: u8) {
    host.address(interface, &format!("10.{network}.0.254/24"))
        .unwrap();
    host.address(interface, &format!("fd00:{network}::fe/64"))
        .unwrap();
}

/// Default routes of both families.
fn routes(host: &Host, network: u8) {
    host.route("0.0.0.0/0", &format!("10.{network}.0.254"))
        .unwrap();
    host.route("::/0", &format!("fd00:{network}::fe")).unwrap();
}

/// A switch between, with a third station.
/// ```text
///   h  e0 10.0.0.1   fd00:0::1 ---ph-+
///   g  e0 10.0.0.254 fd00:0::fe --pg-+-- b br0
///   o  e0 10.0.0.3   fd00:0::3 ---po-+
/// ```
struct Switched {
    h: Host,
    g: Host,
    o: Host,
    b: Host,
}

fn switched() -> Switched {
    let b = Host::new("b").unwrap();
    bridge(&b, "br0", BridgeOptions::default()).unwrap();
    let host = |name: &str, port: &str| {
        let host = Host::new(name).unwrap();
        lab::veth(&host, "e0", &b, port).unwrap();
        bridge_port(&b, "br0", port).unwrap();
        host
    };
    let (h, g, o) = (host("h", "ph"), host("g", "pg"), host("o", "po"));
    addresses(&h, "e0", 0, 1);
    gateway_addresses(&g, "e0", 0);
    addresses(&o, "e0", 0, 3);
    routes(&h, 0);
    Switched { h, g, o, b }
}

/// Asks the doctor, with a window that is long enough for what goes on all the time.
fn doctor(host: &Host, service: &Service) -> Diagnosis {
    doctor_of_host(host, service, &["--duration", "700ms"])
}

/// Asks until the doctor finds something, which takes the kernel or the service a moment to know.
fn until_found(host: &Host, service: &Service, id: &str) -> Diagnosis {
    let mut last = None;
    let met = wait_until(PATIENCE, || {
        let report = doctor(host, service);
        let found = report.ids().contains(&id);
        last = Some(report);
        found
    });
    let last = last.unwrap();
    assert!(met, "{id}: {}", last.text);
    last
}

/// Waits until the record of a service shows what `netsonde mcast COMMAND` prints.
fn until_shown(service: &Service, command: &str, words: &str) {
    let mut last = String::new();
    let met = wait_until(PATIENCE, || {
        last = service.ask(&["-v", "mcast", command]);
        last.contains(words)
    });
    assert!(met, "{command} never shows {words}:\n{last}");
}
