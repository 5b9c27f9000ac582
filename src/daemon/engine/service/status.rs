//! SHELL. `Status`: health of the service, complete and consistent.

use crate::daemon::channel::handover::{
    JOIN_FAILURES_AT, REFUSED_PROBES_AT, STARTS_AT, UNLOGGED_AT,
};
use crate::daemon::engine::state::EngineState;
use crate::linux::wall_ns;
use crate::log;
use crate::varlink::server::Peer;
use netsonde_core::config::permission::Tier;
use netsonde_core::multicast::{Groups, Queriers, Routers, Streams};
use netsonde_core::neighbors::Neighbors;
use netsonde_core::neighbors::virtual_router::VirtualRouters;
use netsonde_core::protocol::service as reply;
use netsonde_core::protocol::time;
use netsonde_core::recorder::interfaces::{InterfaceSlot, State};
use netsonde_core::recorder::layout::{EVENT_SLOTS, GAP_SLOTS, INTERFACE_SLOTS};
use netsonde_core::recorder::{Gap, GapKind, Recorder, Store, StoreCounts, thin};
use netsonde_core::talkers::SKETCH_KEYS;

/// Maximum number of gaps listed individually, the newest ones.
const MOST_GAPS: usize = 128;

/// Data of the control server.
pub struct Serving {
    /// Connections.
    pub clients: reply::Clients,
    /// Kinds of sockets that it listens on.
    pub listening: Vec<String>,
    /// Counters of its limits.
    pub limits: Vec<reply::Limit>,
}

/// Returns the reply.
pub fn status(engine: &EngineState, peer: &Peer, serving: Serving) -> reply::Status {
    let now = wall_ns();
    let recorder = &engine.recording.recorder;
    let (gaps, gaps_total) = gaps(engine, now);
    let mut limits = serving.limits;
    limits.extend(own_limits(engine));
    reply::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        time: time(now),
        started: time(engine.keeper.header.keeper_started_ns),
        uptime_ns: now.saturating_sub(engine.keeper.header.keeper_started_ns),
        keeper_pid: engine.keeper.header.keeper_pid,
        engine: reply::Engine {
            pid: std::process::id(),
            starts: engine.recording.keeper_counter(STARTS_AT),
            started: time(engine.started_ns),
            uptime_ns: engine.started.elapsed().as_nanos() as u64,
        },
        recorder_bytes: engine.keeper.header.recorder_bytes,
        promiscuous: engine.links.iter().any(|link| link.promiscuity > 0),
        rings: rings(engine),
        recorder: Store::ALL
            .map(|store| store_of(recorder, engine, store))
            .to_vec(),
        interfaces: recorder
            .interfaces()
            .iter()
            .map(|(_, slot)| interface(slot))
            .filter(|interface| interface.state != "gone" || interface.packets > 0)
            .collect(),
        gaps,
        gaps_total,
        clients: serving.clients,
        limits,
        may: Tier::ALL
            .into_iter()
            .filter(|tier| {
                engine
                    .access
                    .permissions
                    .allows(peer.caller(), *tier, false)
            })
            .map(|tier| tier.name().to_owned())
            .collect(),
        listening: serving.listening,
        sandbox: engine.sandbox.map(|sandbox| reply::Sandbox {
            seccomp: sandbox.seccomp.to_string(),
            landlock: sandbox.landlock.to_string(),
            violation: engine.config.sandbox.violation.name().into(),
        }),
        sockets: engine.monitor.own_sockets.clone(),
        network: engine.monitor.network.clone(),
        former: by_store(recorder.interfaces().released()),
    }
}

fn rings(engine: &EngineState) -> Vec<reply::Ring> {
    ["control", "bulk"]
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let sums = engine.recording.ring_sums(at);
            reply::Ring {
                name: (*name).into(),
                packets: sums.packets,
                drops: sums.drops,
                freezes: sums.freezes,
                processed: engine.recording.recorder.ring(at).processed,
                capacity_bytes: engine.recording.ring_capacity(at) as u64,
            }
        })
        .collect()
}

fn store_of<M>(recorder: &Recorder<M>, engine: &EngineState, store: Store) -> reply::Store
where
    M: std::ops::DerefMut<Target = [u8]>,
{
    let state = recorder.state(store);
    reply::Store {
        store: store.name().into(),
        capacity_bytes: state.capacity_bytes,
        used_bytes: state.used_bytes,
        packets: state.recorded - state.evicted,
        recorded: state.recorded,
        evicted: state.evicted,
        evicted_bytes: state.evicted_bytes,
        snap_bytes: engine.config.recorder.snap.bytes()[store as usize].into(),
        oldest: state.oldest_ns.map(time),
        newest: state.newest_ns.map(time),
        seen: Some(state.seen),
        thinned: Some(state.thinned),
        target_ns: Some(engine.config.recorder.retention.ns()[store as usize])
            .filter(|target_ns| *target_ns > 0),
    }
}

/// Returns the counts of an interface, without stores that had no packet of it.
fn by_store(counts: &[StoreCounts; 7]) -> Vec<reply::StoreCounts> {
    let all = Store::ALL.into_iter().zip(counts);
    all.filter(|(_, counts)| **counts != StoreCounts::default())
        .map(|(store, counts)| reply::StoreCounts {
            store: store.name().into(),
            seen: counts.seen,
            recorded: counts.recorded,
            evicted: counts.evicted,
            thinned: counts.thinned,
        })
        .collect()
}

/// Returns the name of an interface's state.
fn state(slot: &InterfaceSlot) -> &'static str {
    match slot.state() {
        State::Up => "up",
        State::Down => "down",
        State::Gone => "gone",
        State::Free => "unknown",
    }
}

/// Returns the counts of both vantage points.
pub fn listened(slot: &InterfaceSlot) -> reply::ListenerCounts {
    let ([icmp_wire, icmp6_wire, igmp_wire], [icmp_heard, icmp6_heard, igmp_heard]) =
        (slot.wire, slot.heard);
    reply::ListenerCounts {
        icmp_wire,
        icmp_heard,
        icmp6_wire,
        icmp6_heard,
        igmp_wire,
        igmp_heard,
    }
}

fn interface(slot: &InterfaceSlot) -> reply::InterfaceCounts {
    reply::InterfaceCounts {
        interface: slot.name(),
        ifindex: slot.ifindex,
        state: state(slot).into(),
        recording: slot.recorded != 0,
        packets: slot.packets_in + slot.packets_out,
        bytes: slot.bytes_in + slot.bytes_out,
        packets_out: slot.packets_out,
        bytes_out: slot.bytes_out,
        skipped: slot.skipped,
        listened: listened(slot),
        stores: by_store(&slot.stores),
    }
}

/// Describes a gap.
pub fn gap<M>(recorder: &Recorder<M>, gap: &Gap) -> reply::Gap
where
    M: std::ops::DerefMut<Target = [u8]>,
{
    let subject = if gap.slot != u16::MAX {
        let slot = recorder.interfaces().get(gap.slot, gap.generation);
        Some(slot.map_or_else(|| "a deleted interface".into(), InterfaceSlot::name))
    } else if gap.kind == GapKind::RingDrop as u8 || gap.kind == GapKind::Quarantined as u8 {
        Some(if gap.ring == 0 {
            "control ring".into()
        } else {
            "bulk ring".into()
        })
    } else {
        None
    };
    reply::Gap {
        kind: GapKind::name(gap.kind).into(),
        from: time(gap.from_ns),
        to: time(gap.to_ns),
        count: gap.count,
        subject,
        open: None,
    }
}

/// Returns the newest gaps, oldest first, and the number of all. An interface that is down now is a
/// gap that has not ended; so are drops of a ring that may go on.
fn gaps(engine: &EngineState, now: u64) -> (Vec<reply::Gap>, u64) {
    let recorder = &engine.recording.recorder;
    let (total, lost, lost_count) = recorder.gap_totals();
    let mut all: Vec<reply::Gap> = Vec::new();
    let kept = recorder.gaps(0);
    let left_out = kept.len().saturating_sub(MOST_GAPS);
    if lost + left_out as u64 > 0 {
        let counts: u64 = kept.iter().take(left_out).map(|gap| gap.count).sum();
        all.push(reply::Gap {
            kind: "gaps_lost".into(),
            from: time(recorder.created_ns()),
            to: kept
                .get(left_out)
                .map_or_else(|| time(now), |gap| time(gap.from_ns)),
            count: lost_count + counts,
            subject: Some(format!("{} older gaps, summed up", lost + left_out as u64)),
            open: None,
        });
    }
    all.extend(kept.iter().skip(left_out).map(|found| gap(recorder, found)));
    for ring in all.iter_mut().rev().take(recorder.open_gaps().count()) {
        ring.open = Some(true);
    }
    let mut open = 0;
    for (_, slot) in recorder.interfaces().iter() {
        if slot.state() == State::Down && slot.recorded != 0 {
            all.push(reply::Gap {
                kind: GapKind::name(GapKind::InterfaceDown as u8).into(),
                from: time(slot.changed_ns),
                to: time(now),
                count: 0,
                subject: Some(slot.name()),
                open: Some(true),
            });
            open += 1;
        }
    }
    (all, total + open)
}

/// Returns the limits of everything but the control server, with the number of times that each was
/// reached.
pub fn own_limits(engine: &EngineState) -> Vec<reply::Limit> {
    let mut all = Vec::from(service_limits(engine));
    all.extend(multicast_limits(engine));
    all.extend(inventory_limits(engine));
    let clients = engine.memory.limits();
    all.extend(clients.map(|(name, max, hits)| limit(name, max, hits)));
    let probing = engine.prober.limits();
    all.extend(probing.map(|(name, max, hits)| limit(name, max, hits)));
    all
}

fn limit(name: &str, limit: u64, hits: u64) -> reply::Limit {
    reply::Limit {
        name: name.into(),
        limit,
        hits,
    }
}

/// Returns the limits of recording, channels and queues.
fn service_limits(engine: &EngineState) -> [reply::Limit; 13] {
    let recording = &engine.recording;
    let recorder = &recording.recorder;
    let slots_missing = recorder.interfaces().overflows + recording.packets_without_slot;
    let uncounted = (0..2).map(|at| recorder.ring(at).uncounted).sum();
    let log::Counts { held_back, lost } = log::counts();
    let unlogged = held_back + lost + recording.keeper_counter(UNLOGGED_AT);
    [
        limit("interfaces", INTERFACE_SLOTS as u64, slots_missing),
        limit(
            "requests refused for lack of permission",
            0,
            engine.access.denials,
        ),
        limit(
            "talkers of a second",
            SKETCH_KEYS as u64,
            recording.talkers.evicted,
        ),
        limit(
            "conversations while thinning",
            thin::CONVERSATIONS as u64,
            recording.thinner.displaced(),
        ),
        limit("declared gaps", GAP_SLOTS as u64, recorder.gap_totals().1),
        limit(
            "listener queue",
            1 << 20,
            engine.listener_overflows.iter().sum(),
        ),
        limit(
            "memberships not joined",
            0,
            recording.keeper_counter(JOIN_FAILURES_AT),
        ),
        limit("netlink queue", 4 << 20, engine.links.resyncs),
        limit("requests to the keeper", 0, engine.keeper.requests_dropped),
        limit(
            "probes by TCP and UDP that the keeper sends a second",
            engine.config.ping.rate,
            recording.keeper_counter(REFUSED_PROBES_AT),
        ),
        limit("slow packet readers", 0, engine.readers_disconnected),
        limit(
            "packets missing from counters after a keeper crash",
            0,
            uncounted,
        ),
        limit("log lines", log::limit::LINES.into(), unlogged),
    ]
}

/// Returns the limits of the multicast trackers.
fn multicast_limits(engine: &EngineState) -> [reply::Limit; 4] {
    let trackers = &engine.recording.multicast;
    [
        limit(
            "multicast memberships",
            Groups::MOST as u64,
            trackers.groups.overflows,
        ),
        limit(
            "multicast queriers",
            Queriers::MOST as u64,
            trackers.queriers.overflows,
        ),
        limit(
            "multicast routers",
            Routers::MOST as u64,
            trackers.routers.overflows,
        ),
        limit(
            "multicast streams",
            Streams::MOST as u64,
            trackers.streams.overflows,
        ),
    ]
}

/// Returns the limits of the neighbor table and of the event log.
fn inventory_limits(engine: &EngineState) -> [reply::Limit; 6] {
    let counters = engine.recording.neighbors.limits;
    let (_, evicted) = engine.recording.recorder.event_totals();
    [
        limit("neighbors", Neighbors::MAX_HOSTS as u64, counters.hosts),
        limit(
            "neighbor addresses",
            Neighbors::MAX_ADDRESSES as u64,
            counters.addresses,
        ),
        limit(
            "neighbor names read per second",
            Neighbors::DECODED_PER_SECOND.into(),
            counters.undecoded,
        ),
        limit(
            "virtual routers per interface",
            VirtualRouters::MAX_PER_LINK as u64,
            counters.virtual_routers,
        ),
        limit("events", EVENT_SLOTS as u64, evicted),
        limit(
            "neighbor changes and events logged one by one",
            0,
            counters.events + engine.monitor.detector.suppressed(),
        ),
    ]
}
