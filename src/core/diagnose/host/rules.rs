//! PURE. Tests of rules whose findings do not occur on virtual networks, on constructed evidence.

use std::collections::{BTreeMap, HashMap};

use super::evidence::{Drop, HostEvidence, Interface, Lengths};
use super::sample::Repeats;
use super::{HostDiagnosis, diagnose};
use crate::diagnose::evidence::{BeforeAfter, Link};
use crate::diagnose::{Certainty, Severity, Verdict};
use crate::host::counters::Counters;
use crate::host::drops::{Layer, NeighborTable, find_counter};
use crate::protocol::history::StatusReply;
use crate::protocol::inventory::Neighbors;
use crate::protocol::multicast::Queriers;
use crate::protocol::service::{Ring, Sandbox, Status};

/// Returns the evidence of a host with one link and no traffic.
fn quiet() -> HostEvidence {
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
    HostEvidence {
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
        kernel_neighbors: vec![],
        holders: vec![],
        igmp_versions: HashMap::new(),
        filters: vec![],
        status: BeforeAfter {
            before: status(),
            after: status(),
        },
        historian: Ok(None),
        neighbors: Ok(Neighbors::default()),
        queriers: Ok(Queriers::default()),
        multicast: Err("there is no record".into()),
        lengths: Ok(Lengths::default()),
        repeats: Ok(Repeats::default()),
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

/// Asserts that this is the only finding, and returns its summary.
fn only(diagnosis: &HostDiagnosis, id: &str, severity: Severity, certainty: Certainty) -> String {
    let ids: Vec<&str> = diagnosis.findings.iter().map(|one| one.id).collect();
    assert_eq!(ids, [id]);
    let found = &diagnosis.findings[0];
    assert_eq!((found.severity, found.certainty), (severity, certainty));
    found.summary.clone()
}

#[test]
fn problems_of_the_historian_are_reported() {
    let mut all = quiet();
    all.historian = Err("it does not answer".into());
    let words = only(
        &diagnose(&all),
        "historian-silent",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(words.contains("no outage is noticed"), "{words}");
    let status = StatusReply {
        started: "1970-01-01T00:00:01Z".into(),
        connected: true,
        problems: vec!["the disk is full".into()],
        ..StatusReply::default()
    };
    all.historian = Ok(Some(status.clone()));
    let words = only(
        &diagnose(&all),
        "historian-trouble",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(words.ends_with("reports: the disk is full"), "{words}");

    // A day is short, and of a historian that has just started nothing is known.
    all.now_ns = 7_200_000_000_000;
    let short = |lasts_ns: u64, started: &str| {
        let status = StatusReply {
            started: started.into(),
            connected: true,
            lasts_ns: Some(lasts_ns),
            targets: 10_000,
            budget: 1 << 30,
            ..StatusReply::default()
        };
        Ok(Some(status))
    };
    let day_ns = 24 * 3_600_000_000_000;
    all.historian = short(3 * day_ns, "1970-01-01T00:00:01Z");
    let words = only(
        &diagnose(&all),
        "history-short",
        Severity::Note,
        Certainty::Proved,
    );
    let expected = "1024 MiB, has room for every probe of 10000 targets for 3 days, not for 7 days";
    assert!(words.ends_with(expected), "{words}");
    for healthy in [
        short(3 * day_ns, "1970-01-01T01:59:00Z"),
        short(8 * day_ns, "1970-01-01T00:00:01Z"),
    ] {
        all.historian = healthy;
        assert_eq!(diagnose(&all).findings, []);
    }
}

/// A skipped check makes the verdict undetermined, and is not a finding.
#[test]
fn skipped_checks_make_the_verdict_undetermined() {
    let diagnosis = diagnose(&quiet());
    assert_eq!(
        (diagnosis.findings, diagnosis.verdict),
        (vec![], Verdict::Undetermined)
    );
    let skipped: Vec<&str> = diagnosis
        .checks
        .iter()
        .filter(|check| check.state == "not_made")
        .map(|check| check.check.as_str())
        .collect();
    assert_eq!(skipped, ["multicast: queriers"]);
}

#[test]
fn link_errors_are_graded_by_rate() {
    let mut all = quiet();
    all.drops = vec![drop_of(Layer::Device, "rx_crc_errors", "e0", 5)];
    let summary = only(
        &diagnose(&all),
        "link-errors",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(
        summary.contains("5 errors in 2.0 s and 2000 packets without errors"),
        "{summary}"
    );
    all.drops = vec![drop_of(Layer::Device, "rx_crc_errors", "e0", 50)];
    let diagnosis = diagnose(&all);
    only(
        &diagnosis,
        "link-errors",
        Severity::Fault,
        Certainty::Proved,
    );
    assert_eq!(diagnosis.verdict, Verdict::Fault);
    // Another interface is not diagnosed.
    all.drops = vec![drop_of(Layer::Device, "rx_crc_errors", "e1", 50)];
    assert!(diagnose(&all).findings.is_empty());
}

#[test]
fn half_duplex_with_errors_is_a_fault() {
    let mut all = quiet();
    all.links[0].duplex = Some("half".into());
    all.links[0].speed = Some(100);
    let summary = only(
        &diagnose(&all),
        "half-duplex",
        Severity::Warning,
        Certainty::Consistent,
    );
    assert!(summary.contains("half duplex at 100 Mbit/s"), "{summary}");
    // The errors follow from half duplex.
    all.drops = vec![drop_of(Layer::Device, "collisions", "e0", 50)];
    let diagnosis = diagnose(&all);
    only(
        &diagnosis,
        "half-duplex",
        Severity::Fault,
        Certainty::Proved,
    );
}

#[test]
fn full_neighbor_table_is_a_fault() {
    let mut all = quiet();
    all.tables[0].entries = 1000;
    let table = "neighbour-table-full";
    only(&diagnose(&all), table, Severity::Warning, Certainty::Proved);
    all.drops = vec![drop_of(Layer::Neighbor, "table_fulls", "arp_cache", 7)];
    let summary = only(&diagnose(&all), table, Severity::Fault, Certainty::Proved);
    assert!(summary.contains("7 neighbors did not fit"), "{summary}");
}

#[test]
fn backlog_drops_are_reported() {
    let mut all = quiet();
    all.squeezed = 9;
    assert!(diagnose(&all).findings.is_empty());
    all.drops = vec![drop_of(Layer::Backlog, "dropped", "all CPUs", 12)];
    let diagnosis = diagnose(&all);
    only(
        &diagnosis,
        "backlog-drops",
        Severity::Warning,
        Certainty::Proved,
    );
    let squeezed = diagnosis.findings[0].evidence[1].text.clone();
    assert_eq!(squeezed, "softnet_stat: time_squeeze +9");
}

#[test]
fn ring_drops_are_reported() {
    let mut all = quiet();
    all.status.before.rings[0].drops = 3;
    all.status.after.rings[0].drops = 3;
    assert!(diagnose(&all).findings.is_empty());
    all.status.after.rings[0].drops = 10;
    let summary = only(
        &diagnose(&all),
        "service-drops",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(summary.contains("dropped 7 packets"), "{summary}");
}

#[test]
fn clock_steps_are_reported() {
    let mut all = quiet();
    all.clock_step_ns = -3_600_000_000_000;
    let summary = only(
        &diagnose(&all),
        "clock-stepped",
        Severity::Warning,
        Certainty::Proved,
    );
    assert!(summary.contains("-3600.000 s"), "{summary}");
}

/// A finding that follows from another on the same link is not reported, unless it is more severe.
#[test]
fn implied_findings_are_not_reported() {
    let mut all = quiet();
    all.links[0].duplex = Some("half".into());
    all.drops = vec![
        drop_of(Layer::Device, "rx_crc_errors", "e0", 50),
        drop_of(Layer::Device, "tx_dropped", "e0", 50),
    ];
    let ids: Vec<&str> = diagnose(&all).findings.iter().map(|one| one.id).collect();
    assert_eq!(ids, ["half-duplex", "link-drops"]);
}
