//! PURE. Modes of the neighbour tables: full, or full of the dead.

use super::evidence::Evidence;
use super::{Look, Mode};
use crate::diagnose::{Certainty, Found, Text};
use crate::host::drops::Layer;

/// With less room than a tenth the next burst fills it.
const NEARLY_PERCENT: u64 = 90;
/// So many that do not answer on one interface are no chance.
const MANY: usize = 16;

pub fn look_tables(all: &Evidence) -> Look {
    let told: Vec<String> = (all.tables.iter())
        .map(|table| format!("{} {} of {}", table.name, table.entries, table.max_entries))
        .collect();
    match told.len() {
        0 => Look::NotMade("the kernel tells nothing of its neighbour tables".into()),
        _ => Look::Seen(told.join(", ")),
    }
}

pub static NEIGHBOUR_TABLE_FULL: Mode = Mode {
    text: Text {
        id: "neighbour-table-full",
        title: "the kernel has no room for more neighbours",
        seen: "New hosts are not reached, those that talk already are: \"neighbour: arp_cache: \
            neighbor table overflow!\" in dmesg.",
        cause: "More hosts on the links than gc_thresh3 allows (1024 by default), or a scan of \
            a large network. All network namespaces share the table.",
        proof: "The counter table_fulls grows, or the number of entries is near the limit.",
        fix: "sysctl net.ipv4.neigh.default.gc_thresh3 (and net.ipv6...) to twice the hosts of \
            the links; find who scans.",
    },
    covers: &["neighbours-failed"],
    rule: |all| {
        (all.tables.iter())
            .filter_map(|table| {
                let full = (all.drops.iter()).find(|drop| {
                    drop.counter.layer == Layer::Neighbour
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
                    "the table {} has {} of {} entries",
                    table.name, table.entries, table.max_entries
                );
                let found = match full {
                    Some(drop) => Found::fault(
                        Certainty::Proved,
                        format!("{summary}, and {} neighbours found no room", drop.count),
                    )
                    .because("counters", format!("table_fulls +{}", drop.count)),
                    None if is_near => Found::warning(Certainty::Proved, summary),
                    None => return None,
                };
                Some(
                    found
                        .fix(format!(
                            "sysctl net.{family}.neigh.default.gc_thresh3={} gc_thresh2={}; \
                                find who scans (netsonde talkers)",
                            table.max_entries * 4,
                            table.max_entries * 2
                        ))
                        .because("kernel", format!("gc_thresh3 {}", table.max_entries))
                        .of_the_host(),
                )
            })
            .collect()
    },
};

pub fn look_failed(all: &Evidence) -> Look {
    let wanted = (all.kernel_neighbours.iter()).filter(|one| all.is_wanted(&one.interface));
    let failed = wanted.clone().filter(|one| is_dead(one.state)).count();
    Look::Seen(format!(
        "{} neighbours, {failed} of them do not answer",
        wanted.count()
    ))
}

fn is_dead(state: &str) -> bool {
    state == "FAILED" || state == "INCOMPLETE"
}

pub static NEIGHBOURS_FAILED: Mode = Mode {
    text: Text {
        id: "neighbours-failed",
        title: "many neighbours do not answer",
        seen: "Connections to many hosts of the link time out.",
        cause: "Something on this host scans the network; or the hosts are gone, or behind a \
            switch or VLAN that has gone.",
        proof: "The kernel's table of neighbours: more failed entries than others.",
        fix: "`netsonde talkers` and `ss` show who asks; else look at the switch.",
    },
    covers: &[],
    rule: |all| {
        (all.interfaces())
            .filter_map(|one| {
                let here = (all.kernel_neighbours.iter())
                    .filter(|neighbour| neighbour.interface == one.name());
                let (dead, alive): (Vec<_>, Vec<_>) =
                    here.partition(|neighbour| is_dead(neighbour.state));
                if dead.len() < MANY || dead.len() <= alive.len() {
                    return None;
                }
                Some(
                    Found::note(
                        Certainty::Consistent,
                        format!(
                            "{} addresses on {} do not answer this host, {} do: something here \
                                scans, or they have gone",
                            dead.len(),
                            one.name(),
                            alive.len()
                        ),
                    )
                    .fix(
                        "netsonde watch --proto arp --proto nd shows who is asked for, \
                        netsonde sockets who asks",
                    )
                    .because(
                        "kernel",
                        format!("such as {} {}", dead[0].address, dead[0].state),
                    )
                    .on(one.name()),
                )
            })
            .collect()
    },
};
