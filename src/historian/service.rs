//! SHELL. The methods of `io.netsonde.History`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use netsonde_core::config::Permissions;
use netsonde_core::config::permission::Tier;
use netsonde_core::host::drops::find_counter;
use netsonde_core::probe::Fate;
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::{HISTORY, history as reply, time};
use netsonde_history::book::{Kind, Outage};
use netsonde_history::chunk::fate_number;
use netsonde_history::counters::{self, Key, MINUTE_NS, Steps};
use netsonde_history::histogram::{Histogram, Step};
use netsonde_history::recurrence;
use netsonde_history::state::{Hold, State, is_lost};
use netsonde_history::store::{Error, Point};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;

use super::cause;
use super::disk::{COUNTER_BYTES, EVENTS, Opened};
use super::paths::{TRACED, TRACES, TraceOf};
use super::record::{KeepError, OpenError, Record};
use super::second::rows as rows_of;
use super::state::{Held, Historian, Refused, Told, WATCHED};
use crate::linux::wall_ns;
use crate::log::AUDIT;
use crate::varlink::server::memory::Memory;
use crate::varlink::server::{Clients, Failure, Interface, Peer, Replies, Service, parameters};

/// Targets in one reply.
const TARGETS_A_REPLY: usize = 1000;
/// Targets up to which losses of the last hour and day are read: for each of them the disk is asked.
const MAX_WINDOWS: usize = 200;
/// Maximum number of points of a history.
const MAX_POINTS: u64 = 10_000;
/// Points of a history whose step is not given.
const USUAL_POINTS: u64 = 60;
/// Maximum number of outages or events in a reply, and the number if none is given.
const ROWS: (u64, u64) = (1000, 100);
/// Counters in a reply, about 150 bytes each.
const MAX_COUNTERS: usize = 50_000;
/// Targets that are listed with an outage; all of them are in `Outage`.
const MAX_LISTED: usize = 20;
/// Time that readers wait for the disk.
const DISK_WAIT: Duration = Duration::from_secs(20);
/// Estimated memory of a target, an outage and a point in a reply.
const ROW_BYTES: u64 = 1024;
const SECOND_NS: u64 = 1_000_000_000;

/// The service.
pub struct History {
    /// State.
    pub historian: Rc<RefCell<Historian>>,
    /// Who may what; replaced when the configuration is read again.
    pub permissions: Rc<RefCell<Permissions>>,
    /// Memory of clients.
    pub memory: Memory,
    /// Connections.
    pub clients: Rc<RefCell<Clients>>,
    /// Start of the process in nanoseconds since 1970.
    pub started_ns: u64,
    /// Budget of the store in bytes.
    pub budget: Rc<RefCell<u64>>,
}

const INTERFACES: &[Interface] = &[Interface {
    name: "io.netsonde.History",
    description: HISTORY,
}];

fn error(name: &str, parameters: serde_json::Value) -> Failure {
    Failure::error(&format!("io.netsonde.History.{name}"), parameters)
}

fn no_such_monitor(name: &str) -> Failure {
    error("NoSuchMonitor", json!({ "name": name }))
}

fn refused(name: &str) -> impl FnOnce(Refused) -> Failure {
    move |refused| match refused {
        Refused::Unknown => no_such_monitor(name),
        Refused::Bad(reason) => error("BadMonitor", json!({ "name": name, "reason": reason })),
    }
}

fn unavailable(reason: impl Into<String>) -> Failure {
    Failure::error(
        "io.netsonde.Service.Unavailable",
        json!({ "reason": reason.into() }),
    )
}

fn not_kept(failed: KeepError) -> Failure {
    match failed {
        KeepError::NotKept(reason) => error("NotKept", json!({ "reason": reason })),
        other => error("NoSuchPackets", json!({ "reason": other.to_string() })),
    }
}

fn not_opened(error: OpenError) -> Failure {
    match error {
        OpenError::NoSuchStore(_) => Failure::invalid_parameter(&error.to_string()),
        _ => unavailable(error.to_string()),
    }
}

/// Does what may wait for the disk, or for netsonded, on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| unavailable("it could not be done: see the log"))
}

/// Returns the tier that a method requires, and whether it sends packets.
fn required_tier(method: &str) -> Option<(Tier, bool)> {
    match method.strip_prefix("io.netsonde.History.")? {
        "Status" => Some((Tier::Status, false)),
        "AddMonitor" | "RemoveMonitor" | "Pause" | "Resume" => Some((Tier::Probe, true)),
        "Discard" => Some((Tier::Payload, true)),
        "Monitors" | "Outages" | "Outage" | "History" | "At" | "Events" | "Counters" | "Keep"
        | "Kept"
        // Packets without payload; more is decided by the content that is asked for.
        | "Watch" | "Packets" | "Record" | "Path" => Some((Tier::Probe, false)),
        _ => None,
    }
}

fn distribution(histogram: &Histogram) -> Option<reply::Distribution> {
    let quantile = |share| histogram.quantile_ns(share);
    Some(reply::Distribution {
        min: histogram.min_ns()?,
        p50: quantile(0.5)?,
        p90: quantile(0.9)?,
        p99: quantile(0.99)?,
        max: histogram.max_ns()?,
    })
}

fn fates(counts: impl Fn(Fate) -> u64) -> BTreeMap<String, u64> {
    let all = Fate::ALL
        .into_iter()
        .map(|fate| (fate.name().to_owned(), counts(fate)));
    all.filter(|(_, count)| *count > 0).collect()
}

/// The same of an outage: the answers that ended it are none of its probes.
fn lost(counts: impl Fn(Fate) -> u64) -> BTreeMap<String, u64> {
    fates(|fate| {
        if fate == Fate::Replied {
            0
        } else {
            counts(fate)
        }
    })
}

fn point(step: &Step, step_ns: u64) -> reply::Point {
    let gaps: Vec<String> = step
        .gap_reasons()
        .map(|reason| reason.name().to_owned())
        .collect();
    reply::Point {
        time: time(step.start_ns),
        step_ns,
        sent: step.sent(),
        received: step.count(Fate::Replied),
        fates: fates(|fate| step.count(fate)),
        rtt_ns: distribution(&step.total),
        wire_rtt_ns: distribution(&step.wire),
        gaps: (!gaps.is_empty()).then_some(gaps),
    }
}

fn window(step: &Step) -> Option<reply::Window> {
    let (sent, received) = (step.sent(), step.count(Fate::Replied));
    (sent > 0).then(|| reply::Window {
        sent,
        received,
        loss_percent: (sent - received) as f64 * 100.0 / sent as f64,
        wire_rtt_p99_ns: step.wire.quantile_ns(0.99),
    })
}

fn some_time(ns: u64) -> Option<String> {
    (ns > 0).then(|| time(ns))
}

impl Historian {
    fn name_of(&self, series: u32) -> (String, String) {
        let known = self.targets.get(&series);
        known.map_or_else(Default::default, |target| {
            let address = target.address.clone();
            (
                target.monitor.clone(),
                address.unwrap_or_else(|| target.host().unwrap_or_default()),
            )
        })
    }

    /// Returns the interval of the probes of a target in nanoseconds; a second if it has no monitor any more.
    fn interval_ns(&self, series: u32) -> u64 {
        let target = self.targets.get(&series);
        let monitor = target.and_then(|target| self.monitors.get(&target.monitor));
        monitor.map_or(SECOND_NS, |known| known.spec.interval_ns)
    }

    fn row(&self, series: u32) -> Option<reply::Target> {
        let target = self.targets.get(&series)?;
        let configured = self.monitors.get(&target.monitor)?;
        let (state, since_ns, last_ns) = self.book.state(series)?;
        let words = self.book.words(series).map(str::to_owned);
        let (name, address) = self.name_of(series);
        let (tcp, udp) = configured.spec.transport.ports();
        Some(reply::Target {
            name,
            target: address,
            host: target.host(),
            tcp,
            udp,
            state: match configured.held {
                Some(Held {
                    hold: Hold::Paused, ..
                }) => State::Paused.name().into(),
                _ => state.name().into(),
            },
            since: some_time(since_ns),
            interval_ns: configured.spec.interval_ns,
            last: some_time(last_ns),
            outage: self.book.outage_of(series),
            words: target.unresolved.clone().or(words),
            ..reply::Target::default()
        })
    }

    fn affected(&self, outage: &Outage) -> Vec<reply::Affected> {
        let all = outage.members.iter().map(|(series, member)| {
            let (name, target) = self.name_of(*series);
            let (tcp, udp) = self.transport_of(*series).ports();
            let own = &member.outage;
            reply::Affected {
                name,
                target,
                tcp,
                udp,
                begin: time(own.begin_ns),
                end: own.end_ns.map(time),
                duration_ns: own.duration_ns,
                fates: lost(|fate| own.fates[usize::from(fate_number(fate))].into()),
                times: own.times.into(),
                gaps: own.gaps.into(),
                first: member.first.clone(),
            }
        });
        all.collect()
    }

    /// Says when earlier outages of the same cause and targets recurred.
    fn recurrence(&self, outage: &Outage) -> Option<reply::Recurrence> {
        let is_same = |other: &&Outage| {
            other.id <= outage.id
                && other.kind == outage.kind
                && other.cause == outage.cause
                && other
                    .members
                    .keys()
                    .any(|series| outage.members.contains_key(series))
        };
        let mut begins: Vec<u64> = self
            .book
            .outages()
            .rev()
            .filter(is_same)
            .take(recurrence::MAX_EVENTS)
            .map(Outage::begin_ns)
            .collect();
        begins.sort_unstable();
        let first = outage.members.keys().next();
        let resolution_ns = first.map_or(SECOND_NS, |series| self.interval_ns(*series));
        let found = recurrence::find(&begins, resolution_ns)?;
        Some(reply::Recurrence {
            count: found.count as u64,
            since: time(found.since_ns),
            period_ns: found.period_ns,
            deviation_ns: found.deviation_ns,
            chance: found.chance,
            words: found.words(),
        })
    }

    fn outage_reply(&self, outage: &Outage) -> reply::Outage {
        let counts = outage.fates();
        let targets = outage
            .members
            .keys()
            .take(MAX_LISTED)
            .map(|series| self.name_of(*series).1);
        let left_out =
            outage.members.len().saturating_sub(MAX_LISTED) as u64 + u64::from(outage.left_out);
        let mut ports = outage
            .members
            .keys()
            .map(|series| self.transport_of(*series).ports());
        let first = ports.next().unwrap_or_default();
        let (tcp, udp) = match ports.all(|other| other == first) {
            true => first,
            false => (None, None),
        };
        let mut words = cause::words(&outage.cause, &outage.words);
        if outage.times() > 1 {
            words = format!("flapping, {} times: {words}", outage.times());
        }
        reply::Outage {
            id: outage.id,
            kind: match outage.kind {
                Kind::Outage => "outage".into(),
                Kind::Degraded => "degraded".into(),
            },
            begin: time(outage.begin_ns()),
            end: outage.end_ns().map(time),
            duration_ns: outage.duration_ns(),
            targets: targets.collect(),
            tcp,
            udp,
            targets_left_out: (left_out > 0).then_some(left_out),
            fates: lost(|fate| counts[usize::from(fate_number(fate))]),
            cause: cause::name(&outage.cause).into(),
            words,
            flapping: (outage.times() > 1).then(|| outage.times().into()),
            load: outage.load.clone(),
            recurrence: self.recurrence(outage),
            evidence: (outage.evidence).and_then(|pin| self.record.evidences().evidence(pin)),
            ..reply::Outage::default()
        }
    }
}

impl Service for History {
    fn interfaces(&self) -> &'static [Interface] {
        INTERFACES
    }

    async fn call(
        &self,
        peer: &Peer,
        method: &str,
        raw: Option<&RawValue>,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let (tier, sends) =
            required_tier(method).ok_or_else(|| Failure::method_not_found(method))?;
        self.authorize(peer, method, tier, sends)?;
        match method
            .strip_prefix("io.netsonde.History.")
            .unwrap_or_default()
        {
            "Status" => replies.last(&self.status()).await,
            "Monitors" => self.monitors(peer, parameters(raw)?, replies).await,
            "AddMonitor" => {
                let call: reply::AddMonitorCall = parameters(raw)?;
                let name = call.monitor.name.clone();
                let replace = call.replace == Some(true);
                let added = self
                    .historian
                    .borrow_mut()
                    .add_on_request(call.monitor, replace);
                let targets = added.map_err(refused(&name))? as u64;
                self.audit(peer, method, &name);
                replies.last(&reply::AddMonitorReply { targets }).await
            }
            "RemoveMonitor" => {
                let call: reply::RemoveMonitorCall = parameters(raw)?;
                let removed = self.historian.borrow_mut().remove(&call.name);
                removed.map_err(refused(&call.name))?;
                self.audit(peer, method, &call.name);
                replies.last(&json!({})).await
            }
            "Pause" => {
                let call: reply::PauseCall = parameters(raw)?;
                let held = Held {
                    hold: match call.maintenance {
                        Some(true) => Hold::Maintenance,
                        _ => Hold::Paused,
                    },
                    until_ns: call.duration_ns.map(|ns| wall_ns().saturating_add(ns)),
                };
                let paused = self.historian.borrow_mut().hold(&call.name, Some(held));
                paused.map_err(refused(&call.name))?;
                self.audit(peer, method, &call.name);
                replies.last(&json!({})).await
            }
            "Resume" => {
                let call: reply::ResumeCall = parameters(raw)?;
                let resumed = self.historian.borrow_mut().hold(&call.name, None);
                resumed.map_err(refused(&call.name))?;
                self.audit(peer, method, &call.name);
                replies.last(&json!({})).await
            }
            "Outages" => self.outages(peer, parameters(raw)?, replies).await,
            "Outage" => {
                let call: reply::OutageCall = parameters(raw)?;
                let found = self.outage(call.id).await;
                let outage =
                    found.ok_or_else(|| error("NoSuchOutage", json!({ "id": call.id })))?;
                replies.last(&reply::OutageReply { outage }).await
            }
            "History" => self.history(peer, parameters(raw)?, replies).await,
            "At" => self.at(parameters(raw)?, replies).await,
            "Path" => {
                let found = self.path(&parameters(raw)?)?;
                replies.last(&found).await
            }
            "Events" => self.events(peer, parameters(raw)?, replies).await,
            "Counters" => self.counters(peer, parameters(raw)?, replies).await,
            "Watch" => self.watch(replies).await,
            "Keep" => self.keep(peer, parameters(raw)?, replies).await,
            "Kept" => {
                let kept = self.record().keeps().list();
                replies.last(&reply::KeptReply { kept }).await
            }
            "Discard" => {
                let call: reply::DiscardCall = parameters(raw)?;
                let record = self.record();
                let discarded = blocking(move || record.keeps().discard(call.id)).await?;
                discarded.map_err(not_kept)?;
                self.audit(peer, method, &call.id.to_string());
                replies.last(&json!({})).await
            }
            "Packets" => self.packets(peer, parameters(raw)?, replies).await,
            "Record" => {
                let mut call: reply::RecordCall = parameters(raw)?;
                let content = self.content(peer, method, call.content, "record")?;
                call.content = Some(content);
                let (record, user) = (self.record(), peer.user());
                let opened = blocking(move || record.open(&call, user)).await?;
                let (pipe, opened) = opened.map_err(not_opened)?;
                let reply = reply::RecordReply {
                    fd: Some(0),
                    content: Some(content),
                    ..opened
                };
                replies.last_with(&reply, pipe).await
            }
            _ => Err(Failure::method_not_found(method)),
        }
    }

    fn listener_failed(&self) {}
}

impl History {
    fn authorize(&self, peer: &Peer, method: &str, tier: Tier, sends: bool) -> Result<(), Failure> {
        let permissions = self.permissions.borrow();
        if permissions.allows(peer.caller(), tier, sends) {
            return Ok(());
        }
        let (uid, pid) = (peer.uid, peer.pid);
        let name = tier.name();
        tracing::warn!(target: AUDIT, uid, pid, method, tier = name, "refused");
        Err(Failure::error(
            "io.netsonde.Service.PermissionDenied",
            json!({ "method": method, "tier": name, "may": permissions.granted_to(tier) }),
        ))
    }

    /// Decides how much of packets a caller gets. Payload is granted by name, and logged.
    fn content(
        &self,
        peer: &Peer,
        method: &str,
        wanted: Option<Content>,
        subject: &str,
    ) -> Result<Content, Failure> {
        let may_all = (self.permissions.borrow()).allows(peer.caller(), Tier::Payload, false);
        let content = Content::of_request(wanted, may_all);
        if content == Content::Whole {
            self.authorize(peer, method, Tier::Payload, false)?;
            self.audit(peer, method, subject);
        }
        Ok(content)
    }

    fn audit(&self, peer: &Peer, method: &str, subject: &str) {
        let (uid, pid) = (peer.uid, peer.pid);
        tracing::info!(target: AUDIT, uid, pid, method, subject, "granted");
    }

    fn record(&self) -> Arc<Record> {
        self.historian.borrow().record.clone()
    }

    async fn keep(
        &self,
        peer: &Peer,
        call: reply::KeepCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let record = self.record();
        let user = nix::unistd::User::from_uid(peer.uid.into()).ok().flatten();
        let user = user.map_or_else(|| peer.uid.to_string(), |user| user.name);
        let kept = blocking(move || {
            record
                .keeps()
                .keep(call.last_ns, call.note.as_deref(), &user)
        });
        let kept = kept.await?.map_err(not_kept)?;
        replies.last(&reply::KeepReply { kept }).await
    }

    async fn packets(
        &self,
        peer: &Peer,
        call: reply::PacketsCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let subject = call.outage.or(call.kept).unwrap_or(0).to_string();
        let method = "io.netsonde.History.Packets";
        let content = self.content(peer, method, call.content, &subject)?;
        let record = self.record();
        let opened = match (call.outage, call.kept) {
            (Some(id), None) => {
                let evidence = {
                    let historian = self.historian.borrow();
                    let outage = historian.book.outage(id);
                    let outage =
                        outage.ok_or_else(|| error("NoSuchOutage", json!({ "id": id })))?;
                    outage.evidence.ok_or_else(|| {
                        let reason = format!("no packets were kept of outage {id}");
                        error("NoSuchPackets", json!({ "reason": reason }))
                    })?
                };
                blocking(move || record.evidences().open(evidence)).await?
            }
            (None, Some(id)) => blocking(move || record.keeps().open(id)).await?,
            _ => return Err(Failure::invalid_parameter("outage or kept")),
        };
        let (mut file, packets) = opened.map_err(not_kept)?;
        if content == Content::Headers {
            let read = self.record().headers_of(file, peer.user());
            file = read.map_err(not_opened)?;
        }
        let reply = reply::PacketsReply {
            fd: Some(0),
            packets: Some(packets),
            content: Some(content),
        };
        replies.last_with(&reply, file).await
    }

    /// Reads from the disk, which may not answer.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Opened) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let keeper = self.historian.borrow().keeper.clone();
        let answer = keeper.query(DISK_WAIT, read).await;
        let answer = answer.ok_or_else(|| {
            let problem = keeper.figures().problem;
            unavailable(
                problem.unwrap_or_else(|| "the disk does not answer: too many readers".into()),
            )
        })?;
        answer.map_err(|error| unavailable(error.to_string()))
    }

    /// Finds the one target that a text stands for.
    fn one(&self, text: &str) -> Result<u32, Failure> {
        let found = self.historian.borrow().find(text);
        match found[..] {
            [one] => Ok(one),
            _ => Err(error(
                "NoSuchTarget",
                json!({ "target": text, "matches": found.len() }),
            )),
        }
    }

    async fn monitors(
        &self,
        peer: &Peer,
        call: reply::MonitorsCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let (monitors, mut series) = {
            let historian = self.historian.borrow();
            if let Some(name) = &call.name
                && !historian.monitors.contains_key(name)
            {
                return Err(no_such_monitor(name));
            }
            let is_wanted = |known: &&super::state::Configured| {
                call.name
                    .as_ref()
                    .is_none_or(|name| *name == known.spec.name)
                    && call
                        .tag
                        .as_ref()
                        .is_none_or(|tag| known.spec.tags.contains(tag))
            };
            let wanted: Vec<_> = historian.monitors.values().filter(is_wanted).collect();
            let monitors: Vec<reply::Monitor> =
                wanted.iter().map(|known| known.monitor.clone()).collect();
            let series: Vec<u32> = wanted
                .iter()
                .flat_map(|known| known.series.iter().copied())
                .collect();
            (monitors, series)
        };
        let _memory = self
            .memory
            .reserve(peer.user(), TARGETS_A_REPLY as u64 * ROW_BYTES)?;
        let with_windows = series.len() <= MAX_WINDOWS;
        let mut monitors = Some(monitors);
        loop {
            let rest = series.split_off(series.len().min(TARGETS_A_REPLY));
            let part = std::mem::replace(&mut series, rest);
            let mut targets: Vec<reply::Target> = {
                let historian = self.historian.borrow();
                part.iter()
                    .filter_map(|series| historian.row(*series))
                    .collect()
            };
            if with_windows {
                self.add_windows(&part, &mut targets).await;
            }
            let goes_on = !series.is_empty() && replies.wants_more();
            let reply = reply::MonitorsReply {
                monitors: monitors.take(),
                targets,
                left_out: (!series.is_empty() && !goes_on).then_some(series.len() as u64),
            };
            if !goes_on {
                return replies.last(&reply).await;
            }
            replies.next(&reply).await?;
        }
    }

    /// Adds losses of the last minute, hour and day; they are left out while the disk does not answer.
    async fn add_windows(&self, series: &[u32], targets: &mut [reply::Target]) {
        let now_ns = wall_ns();
        let asked = series.to_vec();
        let read = move |all: &mut Opened| {
            let span = |all: &mut Opened, series, seconds: u64| {
                let from_ns = now_ns.saturating_sub(seconds * SECOND_NS);
                all.store.span(series, from_ns, now_ns)
            };
            let each = asked.iter().map(|series| {
                Ok([
                    span(all, *series, 60)?,
                    span(all, *series, 3600)?,
                    span(all, *series, 86_400)?,
                ])
            });
            each.collect::<Result<Vec<[Step; 3]>, Error>>()
        };
        if let Ok(found) = self.read(read).await {
            for (target, [minute, hour, day]) in targets.iter_mut().zip(found) {
                target.last_minute = window(&minute);
                target.last_hour = window(&hour);
                target.last_day = window(&day);
            }
        }
    }

    async fn outages(
        &self,
        peer: &Peer,
        call: reply::OutagesCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let limit = rows(call.limit)?;
        let _memory = self.memory.reserve(peer.user(), limit * ROW_BYTES)?;
        let reply = {
            let historian = self.historian.borrow();
            let series = match &call.target {
                Some(text) => {
                    let found = historian.find(text);
                    if found.is_empty() {
                        return Err(error(
                            "NoSuchTarget",
                            json!({ "target": text, "matches": 0 }),
                        ));
                    }
                    Some(found)
                }
                None => None,
            };
            let since_ns = call.since_ns.unwrap_or(0);
            let until_ns = call.until_ns.unwrap_or(u64::MAX);
            let is_wanted = |outage: &&Outage| {
                outage.begin_ns() <= until_ns
                    && outage.end_ns().is_none_or(|end_ns| end_ns >= since_ns)
                    && (series.as_ref())
                        .is_none_or(|all| all.iter().any(|one| outage.members.contains_key(one)))
            };
            let all: Vec<&Outage> = historian.book.outages().filter(is_wanted).collect();
            let left_out = all.len().saturating_sub(limit as usize);
            let shown = all[left_out..]
                .iter()
                .map(|outage| historian.outage_reply(outage));
            reply::OutagesReply {
                outages: shown.collect(),
                left_out: left_out as u64,
            }
        };
        replies.last(&reply).await
    }

    async fn outage(&self, id: u64) -> Option<reply::Outage> {
        let (mut reply, begin_ns, end_ns, pin) = {
            let historian = self.historian.borrow();
            let outage = historian.book.outage(id)?;
            let mut reply = historian.outage_reply(outage);
            reply.targets = outage
                .members
                .keys()
                .map(|series| historian.name_of(*series).1)
                .collect();
            reply.targets_left_out = (outage.left_out > 0).then_some(outage.left_out.into());
            reply.affected = Some(historian.affected(outage));
            let pin = outage.evidence;
            (reply, outage.begin_ns(), outage.end_ns(), pin)
        };
        // What else was logged about the time of its begin.
        let (from_ns, to_ns) = (
            begin_ns.saturating_sub(60 * SECOND_NS),
            end_ns.unwrap_or(u64::MAX).min(begin_ns + 60 * SECOND_NS),
        );
        let events = self.read_events(from_ns, to_ns).await.unwrap_or_default();
        let events: Vec<reply::Event> = events
            .into_iter()
            .filter(|event| !event.kind.starts_with("outage_"))
            .collect();
        reply.events = (!events.is_empty()).then_some(events);
        // It may have begun as several, each with its trace.
        let parts: Vec<String> = {
            let historian = self.historian.borrow();
            let parts = historian.book.parts(reply.id).take(MAX_LISTED);
            parts.map(|id| format!("{TRACES}{id}")).collect()
        };
        let read = move |all: &mut Opened| {
            let each = parts.iter().filter_map(|key| {
                let TraceOf(number, target) = all.value(key)?;
                let mut trace: reply::OutageTrace = all.value(&format!("{TRACED}{number}"))?;
                if trace.target != target && trace.during.is_some() {
                    trace.words = format!("{}; traced to {}", trace.words, trace.target);
                }
                trace.target = target;
                Some(trace)
            });
            Ok(each.collect::<Vec<reply::OutageTrace>>())
        };
        let traces = self.read(read).await.unwrap_or_default();
        reply.traces = (!traces.is_empty()).then_some(traces);
        if let Some(pin) = pin {
            // Not on the thread of the state: the evidence may be on its way to the disk.
            let record = self.record();
            let read = move || record.evidences().surroundings(pin);
            let found = blocking(read).await.unwrap_or_default();
            let mut paths = found.paths;
            // Evidence may be shared with targets that had no part in this outage.
            if (paths.iter()).any(|path| reply.targets.contains(&path.target)) {
                paths.retain(|path| reply.targets.contains(&path.target));
            }
            reply.paths = (!paths.is_empty()).then_some(paths);
            if let Some((from, to)) = found.counted {
                reply.counters = Some(found.counters);
                (reply.counters_from, reply.counters_to) = (Some(from), Some(to));
            }
        }
        Some(reply)
    }

    async fn history(
        &self,
        peer: &Peer,
        call: reply::HistoryCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let series = self.one(&call.target)?;
        let span = steps(call.since_ns, call.until_ns, call.step_ns)?;
        let Span {
            since_ns,
            until_ns,
            step_ns,
        } = span;
        let length_ns = span.length_ns();
        let _memory = self
            .memory
            .reserve(peer.user(), (length_ns / step_ns + 1) * ROW_BYTES)?;
        let found: Vec<Point> = self
            .read(move |all| all.store.points(series, since_ns, until_ns, step_ns))
            .await?;
        let mut whole = Step {
            start_ns: since_ns,
            ..Step::default()
        };
        for point in &found {
            whole.merge(&point.step);
        }
        whole.start_ns = since_ns;
        let (name, target) = self.historian.borrow().name_of(series);
        let reply = reply::HistoryReply {
            name,
            target,
            points: found
                .iter()
                .map(|found| point(&found.step, found.step_ns))
                .collect(),
            span: point(&whole, length_ns),
        };
        replies.last(&reply).await
    }

    /// Finds the path to an address as it was known at a time.
    fn path(&self, call: &reply::PathCall) -> Result<reply::PathReply, Failure> {
        let no_such_path = |reason: String| {
            error(
                "NoSuchPath",
                json!({ "target": call.target, "reason": reason }),
            )
        };
        let historian = self.historian.borrow();
        let paths = &historian.tracing.paths;
        let time_ns = call.time_ns.unwrap_or_else(wall_ns);
        let key = historian.tracing.find(&call.target);
        let key = key.ok_or_else(|| {
            let reason = match historian.tracing.status() {
                Some(_) => "no monitor has a target of its network, or its path is not known yet",
                None => "no monitor had a target of its network, and history.paths is off",
            };
            no_such_path(reason.into())
        })?;
        let found = paths.at(&key, time_ns);
        let (path, later) = found.ok_or_else(|| {
            let first = paths.first_ns(&key).map_or(String::new(), time);
            no_such_path(format!("the first path that is known is of {first}"))
        })?;
        Ok(reply::PathReply {
            path: path.traced(),
            later: later.iter().map(|path| path.traced()).collect(),
            network: key,
        })
    }

    async fn at(&self, call: reply::AtCall, replies: &mut Replies<'_>) -> Result<(), Failure> {
        let series = self.one(&call.target)?;
        let time_ns = call.time_ns;
        let probe = self.read(move |all| all.store.at(series, time_ns)).await?;
        let reply = {
            let historian = self.historian.borrow();
            let (name, target) = historian.name_of(series);
            let outage = historian.book.outages().find(|outage| {
                let member = outage.members.get(&series).map(|member| &member.outage);
                member.is_some_and(|own| {
                    own.begin_ns <= time_ns && own.end_ns.is_none_or(|end_ns| time_ns < end_ns)
                })
            });
            let first = outage.and_then(|outage| outage.members.get(&series)?.first.clone());
            let interval_ns = historian.interval_ns(series);
            let probe = probe.map(|probe| {
                let lost = is_lost(probe.fate);
                // Send times in the store are exact to a 250th of the interval.
                let own = historian.targets.get(&series).and_then(|target| {
                    let near = |at: &u64| at.abs_diff(probe.sent_ns) <= interval_ns / 125;
                    target
                        .words
                        .iter()
                        .find(|(at, _)| near(at))
                        .map(|(_, words)| words.to_string())
                });
                reply::Probe {
                    time: time(probe.sent_ns),
                    fate: probe.fate.name().into(),
                    rtt_ns: probe.total_ns,
                    wire_rtt_ns: probe.wire_ns,
                    words: if lost { own.or(first) } else { None },
                }
            });
            let is_measured = probe.is_some();
            reply::AtReply {
                name,
                target,
                probe,
                state: match (outage.is_some(), is_measured) {
                    (true, _) => State::Down.name().into(),
                    (false, true) => State::Up.name().into(),
                    (false, false) => State::Unknown.name().into(),
                },
                outage: outage.map(|outage| outage.id),
            }
        };
        replies.last(&reply).await
    }

    async fn read_events(&self, from_ns: u64, to_ns: u64) -> Result<Vec<reply::Event>, Failure> {
        self.read(move |all| {
            let mut found = Vec::new();
            all.events.read(EVENTS, from_ns, to_ns, |_, lines| {
                for line in lines
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                {
                    if let Ok(event) = serde_json::from_slice::<reply::Event>(line) {
                        found.push(event);
                    }
                }
            })?;
            found.extend(all.pending.iter().map(|(_, event)| event.clone()));
            let (from, to) = (time(from_ns), time(to_ns));
            found.retain(|event| event.time >= from && event.time <= to);
            Ok(found)
        })
        .await
    }

    async fn events(
        &self,
        peer: &Peer,
        call: reply::EventsCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let limit = rows(call.limit)?;
        let _memory = self.memory.reserve(peer.user(), limit * ROW_BYTES)?;
        let rank = |severity: &str| {
            ["info", "notice", "warning"]
                .iter()
                .position(|one| *one == severity)
        };
        let least = match &call.severity {
            Some(severity) => {
                Some(rank(severity).ok_or_else(|| Failure::invalid_parameter("severity"))?)
            }
            None => None,
        };
        let (since_ns, until_ns) = (
            call.since_ns.unwrap_or(0),
            call.until_ns.unwrap_or_else(wall_ns),
        );
        let mut events = self.read_events(since_ns, until_ns).await?;
        events.retain(|event| {
            (call.interface.is_none() || event.interface == call.interface)
                && call
                    .kinds
                    .as_ref()
                    .is_none_or(|kinds| kinds.contains(&event.kind))
                && rank(&event.severity) >= least
        });
        let left_out = events.len().saturating_sub(limit as usize);
        events.drain(..left_out);
        let reply = reply::EventsReply {
            events,
            left_out: left_out as u64,
        };
        replies.last(&reply).await
    }

    async fn counters(
        &self,
        peer: &Peer,
        call: reply::CountersCall,
        replies: &mut Replies<'_>,
    ) -> Result<(), Failure> {
        let span = steps(call.since_ns, call.until_ns, call.step_ns)?;
        let step_ns = span.step_ns.max(MINUTE_NS);
        let _memory = self
            .memory
            .reserve(peer.user(), (span.length_ns() / step_ns + 1) * ROW_BYTES)?;
        let is_wanted = {
            let (interface, of_drops) = (call.interface, call.drops == Some(true));
            move |key: &Key| {
                let is_of = |name: &String| {
                    let rest = key.subject.strip_prefix(&name[..]);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
                };
                (!of_drops || find_counter(key.layer, &key.name).is_some())
                    && interface.as_ref().is_none_or(is_of)
            }
        };
        let found = self
            .read(move |all| {
                let mut steps = Steps::new(step_ns);
                all.read_counters(span.since_ns, span.until_ns, |mut minute| {
                    minute.moved.retain(|key, _| is_wanted(key));
                    steps.add(&minute);
                })?;
                Ok(steps.end())
            })
            .await?;
        let point = |point: &counters::Point| reply::CounterPoint {
            time: time(point.time_ns),
            step_ns: point.step_ns,
            measured_ns: point.measured_ns,
            counters: rows_of(&point.sum),
            started: (!point.sum.started.is_empty())
                .then(|| point.sum.started.iter().cloned().collect()),
            left_out: (point.sum.left_out > 0).then_some(point.sum.left_out),
        };
        let mut points: Vec<reply::CounterPoint> = Vec::new();
        let mut count = 0;
        for one in found.iter().rev() {
            let one = point(one);
            count += one.counters.len();
            if count > MAX_COUNTERS {
                break;
            }
            points.push(one);
        }
        points.reverse();
        let left_out = (found.len() - points.len()) as u64;
        replies
            .last(&reply::CountersReply { points, left_out })
            .await
    }

    async fn watch(&self, replies: &mut Replies<'_>) -> Result<(), Failure> {
        replies.require_more()?;
        let mut told = self.historian.borrow().told.subscribe();
        let first = reply::WatchReply {
            version: Some(env!("CARGO_PKG_VERSION").into()),
            ..reply::WatchReply::default()
        };
        replies.next(&first).await?;
        loop {
            let mut reply = reply::WatchReply::default();
            match told.recv().await {
                Ok(Told::Target(series)) => reply.target = self.historian.borrow().row(series),
                Ok(Told::Outage(id)) => {
                    let historian = self.historian.borrow();
                    reply.outage = historian
                        .book
                        .outage(id)
                        .map(|outage| historian.outage_reply(outage));
                }
                Ok(Told::Event(event)) => reply.event = Some(event),
                Err(RecvError::Lagged(lost)) => reply.lost = Some(lost),
                Err(RecvError::Closed) => return Ok(()),
            }
            replies.next(&reply).await?;
        }
    }

    fn status(&self) -> reply::StatusReply {
        let historian = self.historian.borrow();
        let figures = historian.keeper.figures();
        let counters = &historian.counters;
        let limit = |name: &str, most: u64, reached: u64, words: &str| reply::Limit {
            name: name.into(),
            most,
            reached,
            words: words.into(),
        };
        let (refused, most_waiting) = historian.keeper.refused();
        let (lost_events, most_events) = historian.keeper.lost_events();
        let (lost_minutes, most_minutes) = historian.keeper.lost_minutes();
        let mut parts: Vec<reply::Part> = (figures.tiers.iter())
            .map(|(name, files, bytes)| reply::Part {
                name: (*name).into(),
                bytes: *bytes,
                files: *files as u64,
                ..reply::Part::default()
            })
            .collect();
        for (name, bytes) in [
            ("journal", figures.journal_bytes),
            ("table", figures.table_bytes),
            ("events", figures.event_bytes),
        ] {
            parts.push(reply::Part {
                name: name.into(),
                bytes,
                ..reply::Part::default()
            });
        }
        let (bytes, files, oldest_ns) = figures.counter_files;
        parts.push(reply::Part {
            name: "counters".into(),
            bytes,
            budget: Some(COUNTER_BYTES),
            files: files as u64,
            oldest: oldest_ns.map(time),
        });
        parts.extend(historian.record.parts());
        let clients = self.clients.borrow().counts();
        let mut problems = historian.problems.clone();
        problems.extend(figures.problem.clone());
        problems.extend(historian.record.problems());
        let damaged = figures.damaged_lines + figures.counters.damaged;
        if damaged > 0 {
            problems.push(format!(
                "{damaged} damaged places were found in the files: what they had is lost"
            ));
        }
        problems.extend(historian.stretched());
        if counters.left_out > 0 {
            problems.push(format!(
                "{} targets are not probed: too many runs",
                counters.left_out
            ));
        }
        let lasting = historian
            .book
            .outages()
            .filter(|outage| outage.end_ns().is_none());
        reply::StatusReply {
            version: env!("CARGO_PKG_VERSION").into(),
            time: time(wall_ns()),
            started: time(self.started_ns),
            connected: historian.away.is_none(),
            words: historian.away.clone(),
            monitors: historian.monitors.len() as u64,
            targets: historian.targets.len() as u64,
            probes: counters.probes,
            outages: historian.book.outages().count() as u64,
            lasting: lasting.count() as u64,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            budget: *self.budget.borrow(),
            written_bytes: written_bytes(),
            lasts_ns: figures.kept_ns,
            paths: historian.tracing.status(),
            parts,
            limits: [
                limit(
                    "entries that wait for the disk",
                    most_waiting,
                    refused,
                    "probes are not kept, and declared as a gap",
                ),
                limit(
                    "events that wait for the disk",
                    most_events,
                    lost_events,
                    "the oldest are lost",
                ),
                limit(
                    "minutes of counters that wait for the disk",
                    most_minutes,
                    lost_minutes,
                    "the oldest are lost",
                ),
                limit(
                    "results in order",
                    256,
                    counters.dropped,
                    "results of netsonded that were lost or too late",
                ),
                limit(
                    "changes that a watcher is behind",
                    WATCHED as u64,
                    0,
                    "told as lost",
                ),
                limit(
                    "clients",
                    clients.limit,
                    0,
                    "refused with TooManyConnections",
                ),
                limit(
                    "outages",
                    netsonde_history::book::MAX_OUTAGES as u64,
                    historian.book.dropped,
                    "the oldest are dropped",
                ),
                limit(
                    "entries in memory",
                    4_000_000,
                    figures.counters.refused_entries,
                    "probes are not kept, and declared as a gap",
                ),
            ]
            .into_iter()
            .chain(
                historian
                    .tracing
                    .limits()
                    .map(|(name, most, reached, words)| limit(name, most, reached, words)),
            )
            .chain(historian.record.limits())
            .collect(),
            problems,
        }
    }
}

/// Returns how many rows a reply may have.
fn rows(asked: Option<u64>) -> Result<u64, Failure> {
    let limit = asked.unwrap_or(ROWS.1);
    match (1..=ROWS.0).contains(&limit) {
        true => Ok(limit),
        false => Err(Failure::invalid_parameter("limit")),
    }
}

/// A time in steps.
struct Span {
    since_ns: u64,
    until_ns: u64,
    step_ns: u64,
}

impl Span {
    fn length_ns(&self) -> u64 {
        self.until_ns - self.since_ns
    }
}

/// Returns the time and the steps of a call: the last hour, and about sixty, if it does not say.
fn steps(since: Option<u64>, until: Option<u64>, step: Option<u64>) -> Result<Span, Failure> {
    let now_ns = wall_ns();
    let until_ns = until.unwrap_or(now_ns).min(now_ns + SECOND_NS);
    let since_ns = since.unwrap_or(until_ns.saturating_sub(3600 * SECOND_NS));
    if since_ns >= until_ns {
        return Err(Failure::invalid_parameter("since_ns: it is after until_ns"));
    }
    let length_ns = until_ns - since_ns;
    let step_ns = step.unwrap_or_else(|| round_step(length_ns / USUAL_POINTS));
    if step_ns == 0 || length_ns / step_ns > MAX_POINTS {
        return Err(Failure::invalid_parameter(&format!(
            "step_ns: more than {MAX_POINTS} points"
        )));
    }
    Ok(Span {
        since_ns,
        until_ns,
        step_ns,
    })
}

/// Rounds a step up to one that people use.
fn round_step(ns: u64) -> u64 {
    const STEPS: [u64; 15] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 21_600, 86_400,
    ];
    let steps = STEPS.map(|seconds| seconds * SECOND_NS);
    steps.into_iter().find(|step| *step >= ns).unwrap_or(ns)
}

/// Bytes that this process caused to be written to disk (proc_pid_io(5)).
fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}
