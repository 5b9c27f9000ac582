//! PURE. Modes of drops above the device: which of the counters that `netsonde drops` shows mean that this
//! host has too little of something.

use super::evidence::{Drop, Evidence, counted};
use super::links::MOST_TOLD;
use super::{Look, Mode, gateways};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::{Certainty, Found, Text, socket};
use crate::host::drops::Layer;

/// Counters that say that this host itself is short of something or refuses what it should not. What others
/// send wrongly moves the rest; `netsonde drops` shows them all.
fn is_own_fault(drop: &Drop) -> bool {
    match drop.counter.layer {
        // A backlog has a mode of its own, as have devices, sockets and neighbours.
        Layer::Device | Layer::Socket | Layer::Backlog | Layer::Neighbour => false,
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

pub fn look_counters(all: &Evidence) -> Look {
    let above = (all.drops.iter())
        .filter(|drop| !matches!(drop.counter.layer, Layer::Device | Layer::Socket));
    let told: Vec<String> = above
        .take(MOST_TOLD)
        .map(|drop| format!("{} +{}", drop.counter.name, drop.count))
        .collect();
    let what = if told.is_empty() {
        "none".into()
    } else {
        list(told)
    };
    Look::Seen(format!("{what} in {}", seconds(all.window_ns)))
}

pub static DROPS_GROW: Mode = Mode {
    text: Text {
        id: "drops-grow",
        title: "this host drops packets",
        seen: "Loss, retransmissions, connections that are refused or slow to establish.",
        cause: "A queue, a table or a buffer of this host is full, or a rule or setting rejects \
            packets.",
        proof: "A drop counter of the kernel increases.",
        fix: "`netsonde drops` explains each counter; as root, `netsonde drops --reasons` shows \
            the kernel's drop reasons.",
    },
    covers: &[],
    rule: |all| {
        let wanted = all.drops.iter().filter(|drop| is_own_fault(drop));
        let wanted = wanted.filter(|drop| match drop.counter.layer {
            Layer::Queue => all
                .interfaces()
                .any(|one| drop.subject.starts_with(&format!("{} ", one.name()))),
            // Told with the gateway whose answers it takes.
            _ => drop.counter.name != "TcpExtIPReversePathFilter" || !gateways::is_filtered(all),
        });
        wanted
            .take(MOST_TOLD)
            .map(|drop| {
                let summary = format!(
                    "{} +{} in {} ({}): {}",
                    drop.counter.name,
                    drop.count,
                    seconds(all.window_ns),
                    drop.subject,
                    drop.counter.means
                );
                // A queue that is full holds TCP back, as it is meant to.
                let found = if drop.counter.layer == Layer::Queue {
                    Found::note(Certainty::Proved, summary)
                } else {
                    Found::warning(Certainty::Proved, summary)
                };
                found
                    .fix(
                        "netsonde drops; as root, netsonde drops --reasons shows the kernel's \
                            drop reasons",
                    )
                    .because(
                        "counters",
                        format!(
                            "{} {} +{}",
                            drop.counter.layer.name(),
                            drop.counter.name,
                            drop.count
                        ),
                    )
                    .of_the_host()
            })
            .collect()
    },
};

pub fn look_backlog(all: &Evidence) -> Look {
    let dropped = backlog(all).map_or(0, |drop| drop.count);
    Look::Seen(format!(
        "{dropped} dropped, {} time squeezes in {} (all CPUs)",
        all.squeezed,
        seconds(all.window_ns)
    ))
}

fn backlog(all: &Evidence) -> Option<&Drop> {
    (all.drops.iter())
        .find(|drop| drop.counter.layer == Layer::Backlog && drop.counter.name == "dropped")
}

pub static BACKLOG_DROPS: Mode = Mode {
    text: Text {
        id: "backlog-drops",
        title: "the CPUs' backlog queues overflow",
        seen: "Loss under load that no device or socket counts.",
        cause: "One CPU receives more packets than it can process: all interrupts go to it, or a \
            burst exceeds net.core.netdev_max_backlog.",
        proof: "The second column of /proc/net/softnet_stat (dropped) increases; the third \
            (time_squeeze, the CPU had to stop with packets left) increases with it.",
        fix: "Spread the work (RPS, more queues, irqbalance); raise net.core.netdev_max_backlog.",
    },
    covers: &[],
    rule: |all| {
        let Some(drop) = backlog(all) else {
            return vec![];
        };
        vec![
            Found::warning(
                Certainty::Proved,
                format!(
                    "the CPUs' backlog queues dropped {} in {}",
                    counted(drop.count, "packet"),
                    seconds(all.window_ns)
                ),
            )
            .fix(
                "spread the work over CPUs (/sys/class/net/IF/queues/rx-*/rps_cpus, \
                    irqbalance), or sysctl net.core.netdev_max_backlog=10000",
            )
            .because("counters", format!("softnet_stat: dropped +{}", drop.count))
            .because(
                "counters",
                format!("softnet_stat: time_squeeze +{}", all.squeezed),
            )
            .of_the_host(),
        ]
    },
};

pub fn look_sockets(all: &Evidence) -> Look {
    let dropped = sockets(all).map(|drop| drop.count).sum::<u64>();
    Look::Seen(format!(
        "{dropped} packets dropped at full UDP sockets in {}",
        seconds(all.window_ns)
    ))
}

fn sockets(all: &Evidence) -> impl Iterator<Item = &Drop> {
    // Raw sockets get a copy of what others use, and their programs often do not read it.
    (all.drops.iter())
        .filter(|drop| drop.counter.layer == Layer::Socket && drop.subject.starts_with("udp"))
}

pub static RECEIVE_BUFFER_OVERRUN: Mode = Mode {
    text: socket::RECEIVE_BUFFER_OVERRUN.text(),
    covers: &[],
    rule: |all| {
        (sockets(all).take(MOST_TOLD))
            .map(|drop| {
                Found::warning(
                    Certainty::Proved,
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
                .because("socket", format!("drops +{}", drop.count))
                .of_the_host()
            })
            .collect()
    },
};
