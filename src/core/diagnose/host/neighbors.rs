//! PURE. Failure modes of the kernel's neighbor tables: full, wrong, or mostly failed entries.

use std::net::IpAddr;

use super::evidence::HostEvidence;
use super::links::MAX_FINDINGS;
use super::{CheckOutcome, HostMode};
use crate::diagnose::case::seconds;
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::host::drops::Layer;
use crate::neighbors::mac;
use crate::protocol::inventory::{self, KernelNeighbor};
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

/// Age beyond which a claim no longer contradicts an entry: the device may have been replaced since.
const CLAIM_VALID_NS: u64 = 3600 * 1_000_000_000;
/// Minimum age of a claim that contradicts an entry that the kernel maintains. It ignores a change within a
/// second of the last one (net.ipv4.neigh.*.locktime), and the service reads packets a moment later.
const CLAIM_SETTLED_NS: u64 = 2_000_000_000;

/// An entry of the kernel whose MAC address differs from that of the station that claims the address.
struct WrongEntry<'a> {
    entry: &'a KernelNeighbor,
    address: IpAddr,
    /// MAC address in the entry.
    known: &'a str,
    /// Station that claims the address.
    claimant: &'a inventory::Neighbor,
    claim: &'a inventory::Address,
}

fn is_static(entry: &KernelNeighbor) -> bool {
    entry.state == "PERMANENT"
}

/// Returns the entries that the wire contradicts, without addresses in conflict, which have a finding of
/// their own, and without virtual routers, whose routers also use their own MAC addresses.
fn wrong_entries(all: &HostEvidence) -> Vec<WrongEntry<'_>> {
    let Ok(reply) = &all.neighbors else {
        return vec![];
    };
    let wrong = reply.kernel.iter().filter_map(|entry| {
        let known = entry.mac.as_deref()?;
        let address: IpAddr = entry.address.parse().ok()?;
        // A neighbor in another state has just confirmed the entry, or is being asked.
        let is_settled = is_static(entry) || entry.state == "STALE";
        let is_disputed = reply.findings.iter().any(|one| {
            one.kind == "conflict"
                && one.current
                && one.interface == entry.interface
                && one.address == entry.address
        });
        let mine = mac::parse(known)?;
        if !is_settled || is_disputed || !mac::is_station(mine) || !all.is_wanted(&entry.interface)
        {
            return None;
        }
        let claims = reply
            .neighbors
            .iter()
            .filter(|station| station.interface == entry.interface)
            .flat_map(|station| station.addresses.iter().map(move |one| (station, one)))
            .filter(|(_, one)| one.claims > 0 && one.address.parse() == Ok(address));
        if claims.clone().any(|(station, _)| station.mac == known) {
            return None;
        }
        let (claimant, claim) = claims.min_by_key(|(_, one)| all.ago_ns(&one.last))?;
        let ago_ns = all.ago_ns(&claim.last);
        let is_lasting = is_static(entry) || ago_ns >= CLAIM_SETTLED_NS;
        let is_virtual = claimant.shared.is_some() != mac::shared(mine).is_some();
        let is_wrong = is_lasting && ago_ns < CLAIM_VALID_NS && !is_virtual;
        (is_wrong && !answers(all, &entry.interface, address)).then_some(WrongEntry {
            entry,
            address,
            known,
            claimant,
            claim,
        })
    });
    wrong.take(MAX_FINDINGS).collect()
}

/// Returns whether a probe of this diagnosis to the address was answered: then its entry works.
fn answers(all: &HostEvidence, interface: &str, address: IpAddr) -> bool {
    let probed = all.probes.iter().flatten();
    probed
        .filter(|one| one.gateway == address && one.interface == interface)
        .any(|one| one.answered() > 0)
}

pub fn check_entries(all: &HostEvidence) -> CheckOutcome {
    let Ok(reply) = &all.neighbors else {
        return CheckOutcome::Skipped(reply_error(all));
    };
    let known = reply
        .kernel
        .iter()
        .filter(|entry| entry.mac.is_some() && all.is_wanted(&entry.interface));
    let (fixed, learned): (Vec<_>, Vec<_>) = known.partition(|entry| is_static(entry));
    CheckOutcome::Done(format!(
        "{} learned, {} static, {} contradicted by the wire",
        learned.len(),
        fixed.len(),
        wrong_entries(all).len()
    ))
}

fn reply_error(all: &HostEvidence) -> String {
    all.neighbors.as_ref().err().cloned().unwrap_or_default()
}

pub static NEIGHBOR_ENTRY_WRONG: HostMode = HostMode {
    text: Text {
        id: "neighbour-entry-wrong",
        title: "a neighbor entry has another MAC address than the wire shows",
        symptoms: "One host, or everything behind a gateway, is unreachable from this host, while \
            other hosts reach it.",
        cause: "A static entry was made for a device that has been replaced, or with a typing \
            error; or the address moved, and the kernel did not accept the news.",
        proof: "The kernel's entry and the claims of the address on the wire (ARP, neighbor \
            discovery) name different MAC addresses, the claim is newer than anything from the \
            entry's MAC address, and no probe to the address was answered. It is only consistent \
            if the entry's MAC address was seen since.",
        fix: "ip neigh del ADDRESS dev IF; the kernel then asks. If the entry is right, another \
            host claims the address.",
    },
    implies: &["gateway-moved", "gateway-silent", "gateway-unresolved"],
    rule: |all| {
        wrong_entries(all)
            .into_iter()
            .map(|wrong| {
                let (name, address) = (&wrong.entry.interface, wrong.address);
                let stations = all.neighbors.iter().flat_map(|reply| &reply.neighbors);
                let holder = stations
                    .into_iter()
                    .find(|station| station.mac == wrong.known && station.interface == *name);
                let is_present = holder
                    .is_some_and(|station| all.ago_ns(&station.last) <= all.ago_ns(&wrong.claim.last));
                let certainty = if is_present {
                    Certainty::Consistent
                } else {
                    Certainty::Proved
                };
                let is_gateway = all.gateways().contains(&(address, name));
                let (what, kind) = match (is_gateway, is_static(wrong.entry)) {
                    (true, true) => ("the gateway ", "static"),
                    (true, false) => ("the gateway ", "stale"),
                    (false, true) => ("", "static"),
                    (false, false) => ("", "stale"),
                };
                let ago = seconds(all.ago_ns(&wrong.claim.last));
                FindingDraft::fault_or_warning(
                    is_gateway,
                    certainty,
                    format!(
                        "the {kind} neighbor entry of {what}{address} on {name} has the MAC address \
                            {}, but {} claims {address} on the wire",
                        wrong.known, wrong.claimant.mac
                    ),
                )
                .fix(format!(
                    "ip neigh del {address} dev {name}, so that the kernel asks; if the entry is \
                        right, find {} in the switch's table",
                    wrong.claimant.mac
                ))
                .with_evidence(
                    "kernel",
                    format!("{address} lladdr {} {}", wrong.known, wrong.entry.state),
                )
                .with_evidence(
                    "wire",
                    format!("{}: last claim of {address} {ago} ago", wrong.claimant.mac),
                )
                .with_evidence(
                    "wire",
                    match holder {
                        Some(station) => format!(
                            "{}: last packet {} ago",
                            wrong.known,
                            seconds(all.ago_ns(&station.last))
                        ),
                        None => format!("{}: no packet seen on {name}", wrong.known),
                    },
                )
                .on(name)
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
