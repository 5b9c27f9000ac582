//! SHELL. Replies to `Ping`: events and statistics of a run, as the protocol has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::daemon::engine::links::Links;
use netsonde_core::probe::fate::{describe_errno, describe_error};
use netsonde_core::probe::run::{Event, Responder, TargetStats};
use netsonde_core::probe::sight::Quoted;
use netsonde_core::probe::statistics::Durations;
use netsonde_core::probe::{Fate, Run, Target};
use netsonde_core::protocol::ping as reply;
use netsonde_core::protocol::time;
use netsonde_core::wire::cursor::Mac;

/// Returns a function from an interface index to the interface's name, or to the index as text.
pub(super) fn interface_names(links: &Links) -> impl Fn(u32) -> String {
    move |index| {
        links
            .get(index)
            .map_or_else(|| index.to_string(), |link| link.name.clone())
    }
}

pub(super) fn target_text(target: &Target, name: impl Fn(u32) -> String) -> String {
    match target.scope {
        0 => target.address.to_string(),
        scope => format!("{}%{}", target.address, name(scope)),
    }
}

/// Returns an event of a run.
pub(super) fn probe(event: &Event, target: &Target, name: impl Fn(u32) -> String) -> reply::Probe {
    reply::Probe {
        target: target_text(target, name),
        seq: event.sequence,
        time: time(event.time_ns),
        fate: event.fate.name().into(),
        instead_of: event.replaces_fate.map(|fate| fate.name().into()),
        duplicate: event.duplicate.then_some(true),
        from: event.from.map(|from| from.to_string()),
        ttl: event.ttl,
        rtt_ns: event.rtt_ns,
        wire_rtt_ns: event.wire_rtt_ns,
        resolve_ns: event.resolve_ns,
        queue_ns: event.queue_ns,
        wake_ns: event.wake_ns,
        error: event.error.map(error),
        reset: event.is_reset.then_some(true),
        errno: event.errno.map(|errno| describe_errno(errno).0.into()),
        last_seen: event.last_seen.clone(),
        fragmented: event.is_fragmented.then_some(true),
        interface: event.way.as_ref().map(|way| way.interface.clone()),
        next_hop: (event.way.as_ref()).and_then(|way| Some(way.next_hop?.to_string())),
        link: (event.way.as_ref()).and_then(|way| Some(way.link_problem?.to_owned())),
        hop: event.way.as_ref().and_then(|way| way.hop_problem.clone()),
        is_final: (!event.duplicate).then_some(!event.fate.may_change()),
    }
}

/// Returns an ICMP error with its source.
pub(in crate::daemon::engine::service) fn error(
    (from, quoted): (IpAddr, Quoted),
) -> reply::IcmpError {
    reply::IcmpError {
        kind: quoted.kind,
        code: quoted.code,
        from: from.to_string(),
        meaning: describe_error(&quoted),
        mtu: quoted.mtu,
    }
}

/// Returns the remarks about a target; `None` if there are none.
fn remarks(target: &Target, stats: &TargetStats) -> Option<Vec<reply::Remark>> {
    let all: Vec<reply::Remark> = (stats.remarks(target).into_iter())
        .map(|remark| reply::Remark {
            id: remark.id.into(),
            text: remark.text,
        })
        .collect();
    (!all.is_empty()).then_some(all)
}

fn distribution(durations: &Durations) -> Option<reply::Distribution> {
    durations.figures().map(|figures| reply::Distribution {
        min: figures.min,
        mean: figures.mean,
        p50: figures.p50,
        p90: figures.p90,
        p99: figures.p99,
        max: figures.max,
        stddev: figures.stddev,
    })
}

/// Returns a loss in percent, rounded to four decimal places.
fn loss_percent(sent: u64, received: u64) -> f64 {
    if sent == 0 {
        0.0
    } else {
        let percent = sent.saturating_sub(received) as f64 * 100.0 / sent as f64;
        (percent * 1e4).round() / 1e4
    }
}

/// Returns the counts of fates that occurred, by name.
fn fates(counts: &[u32; 9]) -> BTreeMap<String, u64> {
    Fate::ALL
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(fate, count)| (fate.name().into(), u64::from(*count)))
        .collect()
}

/// Returns the statistics of a target.
pub(super) fn summary(
    target: &Target,
    stats: &TargetStats,
    name: impl Fn(u32) -> String,
) -> reply::Summary {
    let (sent, received) = (u64::from(stats.sent()), u64::from(stats.received()));
    let more = stats.more.as_deref();
    let percent = |part: f64| (part * 1e6).round() / 1e4;
    reply::Summary {
        target: target_text(target, name),
        sent,
        received,
        loss_percent: loss_percent(sent, received),
        fates: fates(&stats.fates),
        duplicates: stats.duplicates.into(),
        late: stats.fates[Fate::Late as usize].into(),
        reordered: stats.reordered.into(),
        rtt_ns: distribution(&stats.rtt),
        wire_rtt_ns: distribution(&stats.wire),
        jitter_ns: stats.jitter.ns(stats.rtt.count()),
        windows: more
            .and_then(|more| more.windows.loss())
            .map(|loss| reply::LossWindows {
                last_10s_percent: percent(loss.last_10s),
                last_60s_percent: percent(loss.last_60s),
                worst_10s_percent: percent(loss.worst_10s),
            }),
        responders: target.is_group.then(|| {
            let all = more.map(|more| &more.responders);
            (all.into_iter().flatten())
                // A reply seen only on the wire was not delivered.
                .filter(|(_, responder)| responder.replies > 0)
                .map(|(address, responder)| responder_reply(*address, responder, sent))
                .collect()
        }),
        responders_left_out: more
            .map(|more| more.responders_left_out)
            .filter(|count| *count > 0),
        rtt_ewma_ns: stats.ewma.ns(),
        remarks: remarks(target, stats),
    }
}

/// Shorter than a summary: a table of many targets shows no more.
pub(super) fn row(
    target: &Target,
    stats: &TargetStats,
    name: impl Fn(u32) -> String,
) -> reply::TargetRow {
    let (sent, received) = (stats.sent(), stats.received());
    reply::TargetRow {
        target: target_text(target, name),
        sent: sent.into(),
        received: received.into(),
        fates: (received < sent).then(|| fates(&stats.fates)),
        rtt_ns: stats.rtt.median(),
        wire_rtt_ns: stats.wire.median(),
        remarks: remarks(target, stats),
    }
}

fn responder_reply(address: IpAddr, responder: &Responder, sent: u64) -> reply::Responder {
    reply::Responder {
        address: address.to_string(),
        mac: responder.mac.map(|mac| Mac(mac).to_string()),
        replies: responder.replies,
        duplicates: responder.duplicates,
        loss_percent: loss_percent(sent, responder.replies),
        rtt_ns: distribution(&responder.rtt),
    }
}

/// Returns the statistics of all targets together.
pub(super) fn total(run: &Run) -> reply::Total {
    let mut all = [0u32; 9];
    let mut total = reply::Total {
        targets: run.targets.len() as u64,
        forged: run.forged,
        stray: run.stray,
        events_dropped: run.events_dropped,
        duration_ns: crate::linux::monotonic_ns() - run.started_ns(),
        ..reply::Total::default()
    };
    for stats in &run.stats {
        for (sum, count) in all.iter_mut().zip(stats.fates) {
            *sum += count;
        }
        total.answered += u64::from(stats.received() > 0);
        total.sent += u64::from(stats.sent());
        total.received += u64::from(stats.received());
        total.duplicates += u64::from(stats.duplicates);
        total.reordered += u64::from(stats.reordered);
    }
    total.late = all[Fate::Late as usize].into();
    total.fates = fates(&all);
    total.loss_percent = loss_percent(total.sent, total.received);
    total
}
