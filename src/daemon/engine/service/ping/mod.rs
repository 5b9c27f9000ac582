//! SHELL. `io.netsonde.Ping`: checks requests against permissions and limits, and reports the
//! events of runs.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the calls `Ping`, `Progress` and `Stop` |
//! | `targets` | the call `Targets`; addresses, ranges and interfaces |
//! | `options` | options of a run, checked against limits and permissions |
//! | `conflicts` | address conflicts of targets |
//! | `packed` | the pipe for packed fates |
//! | `reply` | events and statistics, as the protocol has them |

mod conflicts;
pub(super) mod options;
mod packed;
pub(super) mod reply;
pub(super) mod targets;

use std::cell::RefCell;

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::daemon::engine::Shared;
use crate::daemon::engine::prober::ActiveRun;
use crate::daemon::engine::state::EngineState;
use crate::linux::reason;
use crate::varlink::server::memory::Exceeded;
use crate::varlink::server::{Failure, Peer, Replies};
use netsonde_core::probe::Run;
use netsonde_core::probe::run::Event;
use netsonde_core::protocol::ping::{
    PingCall, PingReply, Probe, ProgressCall, ProgressReply, StopCall,
};

use conflicts::Conflicts;
use packed::FateWriter;
pub use targets::{TargetLists, add_targets};

/// Maximum number of summaries per reply.
const MAX_SUMMARIES: usize = 512;
/// Maximum number of targets whose summaries `Progress` returns: more than a person follows.
const MAX_PROGRESS: usize = 16;
/// Maximum number of targets per reply, where their slots are told.
const MAX_SLOTS: usize = 512;
/// Maximum number of events per reply.
pub(super) const MAX_EVENTS: usize = 512;

fn not_permitted(what: &str, limit: String) -> Failure {
    Failure::error(
        "io.netsonde.Ping.NotPermitted",
        json!({ "what": what, "limit": limit }),
    )
}

fn limit_reached(limit: &str, max: u64) -> Failure {
    Failure::error(
        "io.netsonde.Ping.LimitReached",
        json!({ "limit": limit, "most": max }),
    )
}

fn no_memory(exceeded: Exceeded) -> Failure {
    limit_reached(exceeded.limit, exceeded.most)
}

fn unavailable(reason: &str) -> Failure {
    Failure::error(
        "io.netsonde.Service.Unavailable",
        json!({ "reason": reason }),
    )
}

fn bad_target(target: &str, reason: impl Into<String>) -> Failure {
    Failure::error(
        "io.netsonde.Ping.BadTarget",
        json!({ "target": target, "reason": reason.into() }),
    )
}

fn no_such_list(list: u64) -> Failure {
    Failure::error("io.netsonde.Ping.NoSuchList", json!({ "list": list }))
}

/// Returns the run of this number, if it is one of the caller's.
fn own_run<'a>(
    engine: &'a mut EngineState,
    peer: &Peer,
    number: u64,
) -> Result<&'a mut Run, Failure> {
    let privileged = engine.access.permissions.is_privileged(peer.caller());
    engine
        .prober
        .runs
        .get_mut(&number)
        .filter(|active| active.owner == peer.user() || privileged)
        .map(|active| &mut active.run)
        .ok_or_else(|| Failure::error("io.netsonde.Ping.NoSuchRun", json!({ "run": number })))
}

/// Answers `Progress`.
pub fn progress(
    engine: &Shared,
    peer: &Peer,
    call: ProgressCall,
) -> Result<ProgressReply, Failure> {
    let mut engine = engine.borrow_mut();
    let engine = &mut *engine;
    own_run(engine, peer, call.run)?;
    let run = &engine.prober.runs[&call.run].run;
    let name = reply::interface_names(&engine.links);
    let summaries = (run.targets.len() <= MAX_PROGRESS).then(|| {
        let each = run.targets.iter().zip(&run.stats);
        each.map(|(target, stats)| reply::summary(target, stats, &name))
            .collect()
    });
    Ok(ProgressReply {
        summaries,
        total: reply::total(run),
    })
}

/// Answers `Stop`.
pub fn stop(engine: &Shared, peer: &Peer, call: StopCall) -> Result<(), Failure> {
    let mut engine = engine.borrow_mut();
    own_run(&mut engine, peer, call.run)?.stop();
    engine.prober.wake.notify_one();
    Ok(())
}

/// Stops the run when its call ends, in whatever way.
pub(super) struct RunGuard<'a> {
    pub(super) engine: &'a Shared,
    pub(super) number: u64,
}

impl RunGuard<'_> {
    pub(super) fn end(self) -> Option<ActiveRun> {
        self.engine.borrow_mut().prober.end(self.number)
    }
}

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        self.engine.borrow_mut().prober.end(self.number);
    }
}

/// Answers `Ping`: the run's number, its events as they come, and statistics at its end.
pub async fn ping(
    engine: &Shared,
    lists: &RefCell<TargetLists>,
    peer: &Peer,
    call: PingCall,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    replies.require_more()?;
    let targets = targets::take_targets(engine, lists, peer, &call)?;
    // The names of targets are not kept while the run lasts.
    let options = call.options.unwrap_or_default();
    let rows = options.rows == Some(true);
    let quiet = options.quiet == Some(true);
    let is_packed = options.packed == Some(true);
    if is_packed && peer.machine.is_some() {
        return Err(unavailable(
            "packed fates need a descriptor, which cannot be passed to another machine",
        ));
    }
    let memory = engine.borrow().memory.clone();
    let bytes = if is_packed { packed::BYTES } else { 0 };
    let _pipe = memory.reserve(peer.user(), bytes).map_err(no_memory)?;
    let pipe = is_packed.then(FateWriter::open).transpose();
    let pipe = pipe.map_err(|error| unavailable(&reason(&error)))?;
    let number = options::start(&mut engine.borrow_mut(), peer, options, None, targets)?;
    let guard = RunGuard { engine, number };
    let started = {
        let engine = engine.borrow();
        let run = &engine.prober.runs[&number].run;
        PingReply {
            run: Some(number),
            id: Some(run.id),
            targets: Some(run.targets.len() as u64),
            interval_ns: run.settings.stretched_ns(run.targets.len() as u64),
            fd: pipe.as_ref().map(|_| 0),
            ..PingReply::default()
        }
    };
    let mut fates = match pipe {
        None => {
            replies.next(&started).await?;
            None
        }
        Some((theirs, fates)) => {
            replies.first(&started, theirs).await?;
            report_slots(engine, number, replies).await?;
            Some(fates)
        }
    };
    let told = Notify::new();
    tokio::select! {
        reported = report_events(engine, number, &told, replies) => reported?,
        () = follow(&mut fates, engine, number, &told) => {
            return Err(unavailable("the pipe for the packed fates was closed"));
        }
    }
    // With its memory, until all is reported.
    let Some(mut ended) = guard.end() else {
        return Err(Failure::Gone);
    };
    let lost = match fates {
        Some(fates) => Some(fates.finish(&mut ended.run).await),
        None => None,
    };
    let run = &ended.run;
    if !quiet {
        tracing::debug!(run = number, "ping ended");
    }
    report_targets(engine, run, rows, replies).await?;
    let total = PingReply {
        total: Some(reply::total(run)),
        lost,
        ..PingReply::default()
    };
    replies.last(&total).await
}

/// Writes packed fates, if they are wanted, until their reader is gone.
async fn follow(fates: &mut Option<FateWriter>, engine: &Shared, number: u64, told: &Notify) {
    match fates {
        Some(fates) => fates.follow(engine, number, told).await,
        None => std::future::pending().await,
    }
}

/// Sends the targets of a run in the order of their slots.
async fn report_slots(
    engine: &Shared,
    number: u64,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    let mut first = 0;
    loop {
        let slots: Vec<String> = {
            let engine = engine.borrow();
            let Some(active) = engine.prober.runs.get(&number) else {
                return Err(Failure::Gone);
            };
            let name = reply::interface_names(&engine.links);
            let targets = active.run.targets.iter().skip(first).take(MAX_SLOTS);
            targets
                .map(|target| reply::target_text(target, &name))
                .collect()
        };
        if slots.is_empty() {
            return Ok(());
        }
        first += slots.len();
        let slots = PingReply {
            slots: Some(slots),
            ..PingReply::default()
        };
        replies.next(&slots).await?;
    }
}

/// Sends the events of a run until it is over. `told` follows each of these replies.
async fn report_events(
    engine: &Shared,
    number: u64,
    told: &Notify,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    let events_ready = engine.borrow().prober.runs[&number].events_ready.clone();
    loop {
        let Some((probes, is_over)) = drain_events(&mut engine.borrow_mut(), number) else {
            return Err(Failure::Gone);
        };
        if !probes.is_empty() {
            let probes = PingReply {
                probes: Some(probes),
                ..PingReply::default()
            };
            replies.next(&probes).await?;
            told.notify_one();
        } else if !is_over {
            events_ready.notified().await;
        }
        if is_over {
            return Ok(());
        }
    }
}

/// Removes pending events of a run. Returns them, and whether they were the last. `None` if the run
/// does not exist.
fn drain_events(engine: &mut EngineState, number: u64) -> Option<(Vec<Probe>, bool)> {
    let active = engine.prober.runs.get_mut(&number)?;
    let run = &mut active.run;
    let count = run.events.len().min(MAX_EVENTS);
    let events: Vec<Event> = run.events.drain(..count).collect();
    let probes = events
        .iter()
        .map(|event| {
            let target = &run.targets[event.target as usize];
            reply::probe(event, target, reply::interface_names(&engine.links))
        })
        .collect();
    let is_last = active.is_over && run.events.is_empty();
    active.release_event_room();
    Some((probes, is_last))
}

/// Sends the statistics of each target, as short `rows` or as summaries.
async fn report_targets(
    engine: &Shared,
    run: &Run,
    rows: bool,
    replies: &mut Replies<'_>,
) -> Result<(), Failure> {
    let conflicts = Conflicts::collect(&engine.borrow());
    let parts = run.targets.chunks(MAX_SUMMARIES);
    for (targets, stats) in parts.zip(run.stats.chunks(MAX_SUMMARIES)) {
        let part = {
            let engine = engine.borrow();
            let name = reply::interface_names(&engine.links);
            let each = targets.iter().zip(stats);
            let mut part = PingReply::default();
            if rows {
                let rows = each.map(|(target, stats)| {
                    let mut row = reply::row(target, stats, &name);
                    conflicts.add_remarks(&mut row.remarks, target, &name);
                    row
                });
                part.rows = Some(rows.collect());
            } else {
                let summaries = each.map(|(target, stats)| {
                    let mut summary = reply::summary(target, stats, &name);
                    conflicts.add_remarks(&mut summary.remarks, target, &name);
                    summary
                });
                part.summaries = Some(summaries.collect());
            }
            part
        };
        replies.next(&part).await?;
        yield_now().await;
    }
    Ok(())
}
