//! PURE. Failure modes of drops above the device: those counters of `netsonde drops` that mean a lack of
//! resources on this host.

use super::evidence::{Drop, HostEvidence};
use super::links::MAX_FINDINGS;
use super::{CheckOutcome, HostMode, gateways};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::{Certainty, FindingDraft, Text, socket};
use crate::host::drops::Layer;
use crate::text::counted;

/// Counters of local causes: a lack of resources, or rejections that should not happen. Invalid
/// packets from other hosts increase the rest; `netsonde drops` shows them all.
fn is_own_fault(drop: &Drop) -> bool {
    match drop.counter.layer {
        // Backlogs, devices, sockets and neighbors have failure modes of their own.
        Layer::Device | Layer::Socket | Layer::Backlog | Layer::Neighbor => false,
        Layer::Conntrack => drop.counter.name != "insert_failed",
        Layer::Queue => true,
        Layer::Ip => matches!(
            drop.counter.name,
            "IpInDiscards"
                | "Ip6InDiscards"
                | "IpReasmFails"
                | "Ip6ReasmFails"
                | "TcpExtIPReversePathFilter"
        ),
        Layer::Udp => matches!(drop.counter.name, "UdpSndbufErrors" | "UdpMemErrors"),
        Layer::Tcp => matches!(
            drop.counter.name,
            "TcpExtListenOverflows"
                | "TcpExtListenDrops"
                | "TcpExtTCPBacklogDrop"
                | "TcpExtTCPRcvQDrop"
                | "TcpExtTCPOFODrop"
                | "TcpExtTCPReqQFullDrop"
        ),
        Layer::Icmp => false,
    }
}

pub fn check_counters(all: &HostEvidence) -> CheckOutcome {
    let above = all
        .drops
        .iter()
        .filter(|drop| !matches!(drop.counter.layer, Layer::Device | Layer::Socket));
    let parts: Vec<String> = above
        .take(MAX_FINDINGS)
        .map(|drop| format!("{} +{}", drop.counter.name, drop.count))
        .collect();
    let what = if parts.is_empty() {
        "none".into()
    } else {
        list(parts)
    };
    CheckOutcome::Done(format!("{what} in {}", seconds(all.window_ns)))
}

pub static DROPS_GROW: HostMode = HostMode {
    text: Text {
        id: "drops-grow",
        title: "this host drops packets",
        symptoms: "Loss, retransmissions, connections that are refused or slow to establish.",
        cause: "A queue, a table or a buffer of this host is full, or a rule or setting rejects \
            packets.",
        proof: "A drop counter of the kernel increases.",
        fix: "`netsonde drops` explains each counter; as root, `netsonde drops --reasons` shows \
            the kernel's drop reasons.",
    },
    implies: &[],
    rule: |all| {
        let wanted = all.drops.iter().filter(|drop| is_own_fault(drop));
        let wanted = wanted.filter(|drop| match drop.counter.layer {
            Layer::Queue => all
                .interfaces()
                .any(|one| drop.subject.starts_with(&format!("{} ", one.name()))),
            // Reported with the gateway whose replies it drops.
            _ => drop.counter.name != "TcpExtIPReversePathFilter" || !gateways::is_filtered(all),
        });
        wanted
            .take(MAX_FINDINGS)
            .map(|drop| {
                let summary = format!(
                    "{} +{} in {} ({}): {}",
                    drop.counter.name,
                    drop.count,
                    seconds(all.window_ns),
                    drop.subject,
                    drop.counter.means
                );
                // A full queue slows TCP down, as intended.
                let found = if drop.counter.layer == Layer::Queue {
                    FindingDraft::note(Certainty::Proved, summary)
                } else {
                    FindingDraft::warning(Certainty::Proved, summary)
                };
                found
                    .fix(
                        "netsonde drops; as root, netsonde drops --reasons shows the kernel's drop \
                            reasons",
                    )
                    .with_evidence(
                        "counters",
                        format!(
                            "{} {} +{}",
                            drop.counter.layer.name(),
                            drop.counter.name,
                            drop.count
                        ),
                    )
                    .on_host()
            })
            .collect()
    },
};

pub fn check_backlog(all: &HostEvidence) -> CheckOutcome {
    let dropped = backlog(all).map_or(0, |drop| drop.count);
    CheckOutcome::Done(format!(
        "{dropped} dropped, {} time squeezes in {} (all CPUs)",
        all.squeezed,
        seconds(all.window_ns)
    ))
}

fn backlog(all: &HostEvidence) -> Option<&Drop> {
    all.drops
        .iter()
        .find(|drop| drop.counter.layer == Layer::Backlog && drop.counter.name == "dropped")
}

pub static BACKLOG_DROPS: HostMode = HostMode {
    text: Text {
        id: "backlog-drops",
        title: "the CPUs' backlog queues overflow",
        symptoms: "Loss under load that no device or socket counts.",
        cause: "One CPU receives more packets than it can process: all interrupts go to it, or a \
            burst exceeds net.core.netdev_max_backlog.",
        proof: "The second column of /proc/net/softnet_stat (dropped) increases; the third \
            (time_squeeze, the CPU had to stop with packets left) increases with it.",
        fix: "Spread the work (RPS, more queues, irqbalance); raise net.core.netdev_max_backlog.",
    },
    implies: &[],
    rule: |all| {
        let Some(drop) = backlog(all) else {
            return vec![];
        };
        vec![
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "the CPUs' backlog queues dropped {} in {}",
                    counted(drop.count, "packet"),
                    seconds(all.window_ns)
                ),
            )
            .fix(
                "spread the work over CPUs (/sys/class/net/IF/queues/rx-*/rps_cpus, irqbalance), \
                    or sysctl net.core.netdev_max_backlog=10000",
            )
            .with_evidence("counters", format!("softnet_stat: dropped +{}", drop.count))
            .with_evidence(
                "counters",
                format!("softnet_stat: time_squeeze +{}", all.squeezed),
            )
            .on_host(),
        ]
    },
};

pub fn check_sockets(all: &HostEvidence) -> CheckOutcome {
    let dropped = sockets(all).map(|drop| drop.count).sum::<u64>();
    CheckOutcome::Done(format!(
        "{dropped} dropped at full UDP sockets in {}",
        seconds(all.window_ns),
        dropped = counted(dropped, "packet")
    ))
}

fn sockets(all: &HostEvidence) -> impl Iterator<Item = &Drop> {
    // Raw sockets receive a copy of other programs' packets, and their programs often do not read
    // it.
    all.drops
        .iter()
        .filter(|drop| drop.counter.layer == Layer::Socket && drop.subject.starts_with("udp"))
}

/// Returns whether full buffers are the only reason for which UDP sockets dropped packets meanwhile. Their own
/// counters also count bad checksums and filtered packets.
fn only_full_buffers(all: &HostEvidence) -> bool {
    let moved = |name: &str| all.counters.after.moved(&all.counters.before, name);
    ["Udp", "Udp6"].iter().all(|family| {
        moved(&format!("{family}InErrors")) == moved(&format!("{family}RcvbufErrors"))
    })
}

pub static RECEIVE_BUFFER_OVERRUN: HostMode = HostMode {
    text: socket::RECEIVE_BUFFER_OVERRUN.text(),
    implies: &[],
    rule: |all| {
        sockets(all)
            .take(MAX_FINDINGS)
            .map(|drop| {
                let certainty = match only_full_buffers(all) {
                    true => Certainty::Proved,
                    false => Certainty::Consistent,
                };
                FindingDraft::warning(
                    certainty,
                    format!(
                        "the socket {} dropped {} in {}: its receive buffer is full",
                        drop.subject,
                        counted(drop.count, "packet"),
                        seconds(all.window_ns)
                    ),
                )
                .fix(
                    "make its program read faster, or give it a larger buffer (SO_RCVBUF, sysctl \
                        net.core.rmem_max)",
                )
                .with_evidence("socket", format!("drops +{}", drop.count))
                .on_host()
            })
            .collect()
    },
};
