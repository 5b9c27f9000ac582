//! PURE. Tests of the rules whose findings no virtual network can have, on evidence that is written down.

use std::collections::{BTreeMap, HashMap};

use super::evidence::{Drop, Evidence, Interface, Lengths};
use super::{Diagnosis, diagnose};
use crate::diagnose::evidence::{BeforeAfter, Link};
use crate::diagnose::{Certainty, Severity, Verdict};
use crate::host::counters::Counters;
use crate::host::drops::{Layer, NeighborTable, find_counter};
use crate::protocol::inventory::Neighbors;
use crate::protocol::multicast::Queriers;
use crate::protocol::service::{Ring, Sandbox, Status};

/// A host with one link, on which nothing happens.
fn quiet() -> Evidence {
    let status = || Status {
        rings: vec![Ring::default()],
        sandbox: Some(Sandbox {
            seccomp: "enforced".into(),
            landlock: "enforced".into(),
            violation: "kill".into(),
        }),
        ..Status::default()
    };
    let e0 = Interface {
        link: Link {
            ifindex: 2,
            name: "e0".into(),
            flags: 0x1_1043,
            mtu: 1500,
            ..Link::default()
        },
        duplex: Some("full".into()),
        speed: Some(1000),
        addresses: vec![],
        packets: (1000, 1000),
    };
    Evidence {
        only: Some("e0".into()),
        now_ns: 1_000_000_000_000,
        window_ns: 2_000_000_000,
        clock_step_ns: 20_000,
        links: vec![e0],
        routes: vec![],
        sysctls: BTreeMap::from([
            ("net/ipv4/ip_forward".into(), 0),
            ("net/ipv4/ip_default_ttl".into(), 64),
            ("net/ipv4/igmp_max_memberships".into(), 20),
        ]),
        counters: BeforeAfter::<Counters>::default(),
        drops: vec![],
        squeezed: 0,
        tables: vec![NeighborTable {
            name: "arp_cache".into(),
            entries: 20,
            max_entries: 1024,
            ..NeighborTable::default()
        }],
        kernel_neighbours: vec![],
        holders: vec![],
        igmp_versions: HashMap::new(),
        filters: vec![],
        status: BeforeAfter {
            before: status(),
            after: status(),
        },
        neighbors: Ok(Neighbors::default()),
        queriers: Ok(Queriers::default()),
        multicast: Err("there is no record".into()),
        lengths: Ok(Lengths::default()),
        probes: Ok(vec![]),
    }
}

fn drop_of(layer: Layer, counter: &str, subject: &str, count: u64) -> Drop {
    Drop {
        counter: find_counter(layer, counter).unwrap(),
        subject: subject.into(),
        count,
        owner: None,
    }
}

/// Exactly this finding; what it says.
fn only(diagnosis: &Diagnosis, id: &str, severity: Severity, certainty: Certainty) -> String {
    let ids: Vec<&str> = diagnosis.findings.iter().map(|one| one.id).collect();
    assert_eq!(ids, [id]);
    let found = &diagnosis.findings[0];
    assert_eq!((found.severity, found.certainty), (severity, certainty));
    found.summary.clone()
}

/// What could not be looked at is not well, and no finding either.
#[test]
fn a_quiet_host_and_one_that_cannot_be_looked_at() {
    let told = diagnose(&quiet());
    assert_eq!(
        (told.findings, told.verdict),
        (vec![], Verdict::Undetermined)
    );
    let open: Vec<&str> = (told.checks.iter())
        .filter(|check| check.state == "not_made")
        .map(|check| check.check.as_str())
        .collect();
    assert_eq!(open, ["multicast: queriers"]);
}

#[test]
fn errors_few_and_many() {
    let mut all = quiet();
    all.drops = vec![drop_of(Layer::Device, "rx_crc_errors", "e0", 5)];
    let said = only(
        &diagnose(&all),
        "link-errors",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(
        said.contains("5 errors in 2.0 s and 2000 packets without errors"),
        "{said}"
    );
    all.drops = vec![drop_of(Layer::Device, "rx_crc_errors", "e0", 50)];
    let told = diagnose(&all);
    only(&told, "link-errors", Severity::Fault, Certainty::Proved);
    assert_eq!(told.verdict, Verdict::Fault);
    // Of another interface nothing was asked.
    all.drops = vec![drop_of(Layer::Device, "rx_crc_errors", "e1", 50)];
    assert!(diagnose(&all).findings.is_empty());
}

#[test]
fn half_duplex_alone_and_with_its_harm() {
    let mut all = quiet();
    all.links[0].duplex = Some("half".into());
    all.links[0].speed = Some(100);
    let said = only(
        &diagnose(&all),
        "half-duplex",
        Severity::Warning,
        Certainty::Consistent,
    );
    assert!(said.contains("half duplex at 100 Mbit/s"), "{said}");
    // Its errors follow from it.
    all.drops = vec![drop_of(Layer::Device, "collisions", "e0", 50)];
    let told = diagnose(&all);
    only(&told, "half-duplex", Severity::Fault, Certainty::Proved);
}

#[test]
fn a_table_that_is_full_or_nearly() {
    let mut all = quiet();
    all.tables[0].entries = 1000;
    let table = "neighbour-table-full";
    only(&diagnose(&all), table, Severity::Warning, Certainty::Proved);
    all.drops = vec![drop_of(Layer::Neighbour, "table_fulls", "arp_cache", 7)];
    let said = only(&diagnose(&all), table, Severity::Fault, Certainty::Proved);
    assert!(said.contains("7 neighbors did not fit"), "{said}");
}

#[test]
fn a_backlog_that_overflows() {
    let mut all = quiet();
    all.squeezed = 9;
    assert!(diagnose(&all).findings.is_empty());
    all.drops = vec![drop_of(Layer::Backlog, "dropped", "all CPUs", 12)];
    let told = diagnose(&all);
    only(&told, "backlog-drops", Severity::Warning, Certainty::Proved);
    let squeezed = told.findings[0].evidence[1].text.clone();
    assert_eq!(squeezed, "softnet_stat: time_squeeze +9");
}

#[test]
fn rings_that_overflow() {
    let mut all = quiet();
    all.status.before.rings[0].drops = 3;
    all.status.after.rings[0].drops = 3;
    assert!(diagnose(&all).findings.is_empty());
    all.status.after.rings[0].drops = 10;
    let said = only(
        &diagnose(&all),
        "service-drops",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(said.contains("dropped 7 packets"), "{said}");
}

#[test]
fn a_clock_that_jumps() {
    let mut all = quiet();
    all.clock_step_ns = -3_600_000_000_000;
    let said = only(
        &diagnose(&all),
        "clock-stepped",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(said.contains("-3600.000 s"), "{said}");
}

/// The fault of a link is told, and not what follows from it there.
#[test]
fn a_cause_covers_what_is_not_worse() {
    let mut all = quiet();
    all.links[0].duplex = Some("half".into());
    all.drops = vec![
        drop_of(Layer::Device, "rx_crc_errors", "e0", 50),
        drop_of(Layer::Device, "tx_dropped", "e0", 50),
    ];
    let ids: Vec<&str> = diagnose(&all).findings.iter().map(|one| one.id).collect();
    assert_eq!(ids, ["half-duplex", "link-drops"]);
}
