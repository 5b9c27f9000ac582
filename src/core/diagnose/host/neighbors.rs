//! PURE. Failure modes of the kernel's neighbor tables: full, or mostly failed entries.

use super::evidence::HostEvidence;
use super::{CheckOutcome, HostMode};
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::host::drops::Layer;
use crate::text::counted;

/// Free share of the table below which the next burst fills it: one tenth.
const NEARLY_PERCENT: u64 = 90;
/// Number of unresolved neighbors on one interface that is not accidental.
const MANY: usize = 16;

pub fn check_tables(all: &HostEvidence) -> CheckOutcome {
    let parts: Vec<String> = all
        .tables
        .iter()
        .map(|table| format!("{} {} of {}", table.name, table.entries, table.max_entries))
        .collect();
    match parts.len() {
        0 => CheckOutcome::Skipped("the kernel does not report its neighbor tables".into()),
        _ => CheckOutcome::Done(parts.join(", ")),
    }
}

pub static NEIGHBOR_TABLE_FULL: HostMode = HostMode {
    text: Text {
        id: "neighbour-table-full",
        title: "the kernel's neighbor table is full",
        symptoms: "New hosts cannot be reached, known ones can: \"neighbour: arp_cache: neighbor \
            table overflow!\" in dmesg.",
        cause: "More hosts on the links than gc_thresh3 allows (1024 by default), or a scan of a \
            large network. All network namespaces share the table.",
        proof: "The counter table_fulls increases, or the number of entries is near the limit.",
        fix: "sysctl net.ipv4.neigh.default.gc_thresh3 (and net.ipv6...) to twice the number of \
            hosts; find the source of the scan.",
    },
    implies: &["neighbours-failed"],
    rule: |all| {
        all.tables
            .iter()
            .filter_map(|table| {
                let full = all.drops.iter().find(|drop| {
                    drop.counter.layer == Layer::Neighbor
                        && drop.counter.name == "table_fulls"
                        && drop.subject == table.name
                });
                let is_near = table.max_entries > 0
                    && table.entries * 100 >= table.max_entries * NEARLY_PERCENT;
                let family = if table.name == "arp_cache" {
                    "ipv4"
                } else {
                    "ipv6"
                };
                let summary = format!(
                    "the table {} has {} of {}",
                    table.name,
                    table.entries,
                    counted(table.max_entries, "entry")
                );
                let found = match full {
                    Some(drop) => FindingDraft::fault(
                        Certainty::Proved,
                        format!(
                            "{summary}, and {} did not fit",
                            counted(drop.count, "neighbor")
                        ),
                    )
                    .with_evidence("counters", format!("table_fulls +{}", drop.count)),
                    None if is_near => FindingDraft::warning(Certainty::Proved, summary),
                    None => return None,
                };
                Some(
                    found
                        .fix(format!(
                            "sysctl net.{family}.neigh.default.gc_thresh3={} gc_thresh2={}; find \
                                the source of the scan (netsonde talkers)",
                            table.max_entries * 4,
                            table.max_entries * 2
                        ))
                        .with_evidence("kernel", format!("gc_thresh3 {}", table.max_entries))
                        .on_host(),
                )
            })
            .collect()
    },
};

pub fn check_failed(all: &HostEvidence) -> CheckOutcome {
    let wanted = all
        .kernel_neighbors
        .iter()
        .filter(|one| all.is_wanted(&one.interface));
    let failed = wanted.clone().filter(|one| is_failed(one.state)).count();
    CheckOutcome::Done(format!(
        "{}, {failed} of them do not answer",
        counted(wanted.count(), "neighbor")
    ))
}

/// Returns whether a neighbor in this state does not answer.
fn is_failed(state: &str) -> bool {
    state == "FAILED" || state == "INCOMPLETE"
}

pub static NEIGHBORS_FAILED: HostMode = HostMode {
    text: Text {
        id: "neighbours-failed",
        title: "many neighbors do not answer",
        symptoms: "Connections to many hosts of the link time out.",
        cause: "A program on this host scans the network; or the hosts are gone, or behind a \
            failed switch or VLAN.",
        proof: "The kernel's neighbor table: more failed entries than others.",
        fix: "`netsonde talkers` and `ss` show which program connects; otherwise check the \
            switch.",
    },
    implies: &[],
    rule: |all| {
        all.interfaces()
            .filter_map(|one| {
                let here = all
                    .kernel_neighbors
                    .iter()
                    .filter(|neighbor| neighbor.interface == one.name());
                let (failed, reachable): (Vec<_>, Vec<_>) =
                    here.partition(|neighbor| is_failed(neighbor.state));
                if failed.len() < MANY || failed.len() <= reachable.len() {
                    return None;
                }
                Some(
                    FindingDraft::note(
                        Certainty::Consistent,
                        format!(
                            "{} on {} do not answer this host, {} do: a program on this \
                                host scans the network, or the hosts are gone",
                            counted(failed.len(), "address"),
                            one.name(),
                            reachable.len()
                        ),
                    )
                    .fix(
                        "netsonde watch --proto arp --proto nd shows the addresses, netsonde \
                            sockets the program",
                    )
                    .with_evidence(
                        "kernel",
                        format!("for example {} {}", failed[0].address, failed[0].state),
                    )
                    .on(one.name()),
                )
            })
            .collect()
    },
};
