//! SHELL. Values that both diagnoses take from the status of the service.

use std::collections::BTreeMap;

use netsonde_core::diagnose::evidence::Listened;
use netsonde_core::protocol::service::Status;

/// Returns the time since which a store is complete, in nanoseconds since 1970: its oldest packet, if it
/// has evicted packets, else the start of the service or of an older record.
pub fn record_begins(status: &Status, name: &str) -> u64 {
    let started = time_ns(&status.started).unwrap_or(0);
    let Some(store) = status.recorder.iter().find(|store| store.store == name) else {
        return started;
    };
    let oldest = store.oldest.as_deref().and_then(time_ns);
    match oldest {
        Some(oldest) if store.evicted > 0 => oldest,
        Some(oldest) => oldest.min(started),
        None => started,
    }
}

pub use crate::client::render::style::time_ns;

/// Returns the process IDs of netsonde itself, whose sockets belong to no application.
pub fn own_pids(status: &Status) -> [u32; 3] {
    [status.keeper_pid, status.engine.pid, std::process::id()]
}

/// Returns the packets that all rings have dropped since the service started.
pub fn ring_drops(status: &Status) -> u64 {
    status.rings.iter().map(|ring| ring.drops).sum()
}

/// Returns the packets that were counted and not stored since the record began.
pub fn thinned(status: &Status) -> u64 {
    let stores = status.recorder.iter();
    stores.map(|store| store.thinned.unwrap_or(0)).sum()
}

/// Returns the IGMP and ICMPv6 counts of the service, by interface.
pub fn listened(status: &Status) -> BTreeMap<u32, Listened> {
    status
        .interfaces
        .iter()
        .map(|one| {
            let counts = one.listened;
            let listened = Listened {
                igmp_wire: counts.igmp_wire,
                igmp_heard: counts.igmp_heard,
                icmp6_wire: counts.icmp6_wire,
                icmp6_heard: counts.icmp6_heard,
            };
            (one.ifindex, listened)
        })
        .collect()
}
