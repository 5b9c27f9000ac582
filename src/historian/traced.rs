//! SHELL. The part of the state that is about paths: which are looked at, those that have changed, and those that are traced
//! because a target went down.

use std::collections::BTreeMap;

use netsonde_core::probe::Transport;
use netsonde_core::protocol::history::{Event, OutageTrace, TracedPath};
use netsonde_core::protocol::time;
use netsonde_core::protocol::trace::Options;
use netsonde_core::trace::path::outage_words;
use netsonde_history::book::Kind as OutageKind;
use netsonde_history::paths::{Change, Job, Target, network};
use netsonde_history::shared::Cause;
use netsonde_history::state::Hold;

use super::paths::{
    FORMER, Group, KNOWN, MAX_KEPT, MAX_TRACES_A_MINUTE, Owner, Recent, SHARED_NS, TRACED, TRACES,
    TraceOf, Wanted,
};
use super::run::{Done, Found};
use super::state::{Held, Historian};
use super::tracer::{Tracer, options};
use crate::linux::{reason, wall_ns};

/// Traces of outages at a time: one for each thread.
const MAX_TRACES: usize = 2;
/// Outages that wait for their trace, and how long in nanoseconds.
const MAX_WAITING: usize = 256;
const MAX_WAIT_NS: u64 = 60_000_000_000;
/// Outages that share a trace while it is made.
const MAX_SHARING: usize = 256;
/// Targets of an outage that ended whose paths are looked at then.
const MAX_SOON: usize = 16;
const MINUTE_NS: u64 = 60_000_000_000;

impl Historian {
    /// Returns the name under which the path to a target is remembered: its network, and the options of its monitor that
    /// lead another way.
    pub(super) fn path_key(&self, series: u32) -> Option<String> {
        let target = self.targets.get(&series)?;
        let spec = &self.monitors.get(&target.monitor)?.spec;
        let mut key = network(target.address.as_deref()?)?;
        if let Some(interface) = &spec.interface {
            key.push_str(&format!(" dev {interface}"));
        }
        if let Some(source) = &spec.source {
            key.push_str(&format!(" from {source}"));
        }
        if spec.dscp != 0 {
            key.push_str(&format!(" dscp {}", spec.dscp));
        }
        Some(key)
    }

    /// Returns what the monitor of a target sends.
    pub(super) fn transport_of(&self, series: u32) -> Transport {
        let target = self.targets.get(&series);
        let known = target.and_then(|target| self.monitors.get(&target.monitor));
        known.map_or(Transport::Echo, |known| known.spec.transport)
    }

    /// Returns options of probes that take the way of those of a target's monitor, by echo requests.
    fn path_options(&self, series: u32) -> Options {
        let target = self.targets.get(&series);
        let known = target.and_then(|target| self.monitors.get(&target.monitor));
        let Some(spec) = known.map(|known| &known.spec) else {
            return options(None, None, None);
        };
        options(
            spec.interface.clone(),
            spec.source.map(|source| source.to_string()),
            (spec.dscp != 0).then_some(spec.dscp << 2),
        )
    }

    /// Traces paths, or no longer, as is configured now; each is looked at once in an interval in nanoseconds.
    pub fn set_tracing(&mut self, is_wanted: bool, interval_ns: u64) {
        let tracing = &mut self.tracing;
        if is_wanted != tracing.tracer.is_some() {
            let tracer = is_wanted.then(|| Tracer::start(&self.socket, &self.reports));
            tracing.tracer = match tracer.transpose() {
                Ok(tracer) => tracer,
                Err(error) => {
                    tracing::error!("paths are not traced: {}", reason(&error));
                    None
                }
            };
            tracing.orders.clear();
            tracing.waiting.clear();
        }
        tracing.paths.restart(interval_ns, wall_ns());
        self.group_paths();
    }

    /// Says which networks have targets: after monitors or addresses have changed.
    pub(super) fn group_paths(&mut self) {
        if self.tracing.tracer.is_none() {
            return;
        }
        let mut all: BTreeMap<String, Target> = BTreeMap::new();
        let held = |hold: Option<Held>| hold.is_some_and(|held| held.hold == Hold::Paused);
        let monitors = self.monitors.values().filter(|known| !held(known.held));
        for series in monitors.flat_map(|known| &known.series) {
            let (Some(key), Some(target)) = (self.path_key(*series), self.targets.get(series))
            else {
                continue;
            };
            let address = target.address.clone().unwrap_or_default();
            let series = *series;
            // The target whose path is known stays the one that is traced; otherwise the first one is.
            let is_former = self.tracing.paths.is_known(&key, &address);
            let first = all.entry(key).or_insert_with(|| Target {
                series,
                address: address.clone(),
            });
            if is_former {
                *first = Target { series, address };
            }
        }
        self.tracing.paths.set_networks(all, wall_ns());
    }

    /// Once a second: looks at the paths whose turn it is.
    pub(super) fn follow_paths(&mut self, now_ns: u64) {
        if self.tracing.tracer.is_none() {
            return;
        }
        for (key, target, job) in self.tracing.paths.due(now_ns) {
            let options = self.path_options(target.series);
            let address = target.address.clone();
            let owner = Owner::Network(key, target);
            self.tracing.order(&address, options, job, owner);
        }
        self.trace_waiting(now_ns);
    }

    /// Takes what a thread has found.
    pub(super) fn path_done(&mut self, done: Done) {
        let now_ns = wall_ns();
        self.tracing.probes += done.probes;
        match self.tracing.orders.remove(&done.number) {
            Some(Owner::Network(key, target)) => {
                self.network_done(&key, &target, done.found, now_ns)
            }
            Some(Owner::Outages(group, _)) => self.outages_done(group, done.found, now_ns),
            None => {}
        }
        self.trace_waiting(now_ns);
    }

    fn network_done(&mut self, key: &str, target: &Target, found: Found, now_ns: u64) {
        let paths = &mut self.tracing.paths;
        match found {
            Found::Looked(answers) => paths.looked(key, &answers, now_ns),
            Found::Traced {
                answers,
                is_reached,
                ..
            } => {
                let change = paths.traced(key, &target.address, &answers, is_reached, now_ns);
                if let Some(change) = change {
                    self.log_change(key, target, change);
                }
            }
            Found::Failed(words) => {
                tracing::debug!(key, "path not traced: {words}");
                paths.failed(key, now_ns);
            }
        }
    }

    fn log_change(&mut self, key: &str, target: &Target, change: Change) {
        let text = format!("path to {key} changed: {}", change.words);
        if change.is_suppressed {
            tracing::debug!("{text}");
            return;
        }
        tracing::info!(target = target.address, "{text}");
        let event = Event {
            time: time(change.time_ns),
            kind: "path_changed".into(),
            severity: "notice".into(),
            interface: None,
            subject: target.address.clone(),
            text,
            before: Some(Box::new(change.before)),
            after: Some(Box::new(change.after)),
        };
        self.log_event(change.time_ns, event);
    }

    /// Has the path of an outage traced that began.
    pub(super) fn trace_outage(&mut self, id: u64) {
        if self.tracing.tracer.is_none() {
            return;
        }
        let Some(outage) = self.book.outage(id) else {
            return;
        };
        if outage.kind == OutageKind::Degraded {
            return;
        }
        let Some(series) = outage.members.keys().next().copied() else {
            return;
        };
        let address = self
            .targets
            .get(&series)
            .and_then(|target| target.address.clone());
        let (Some(key), Some(target)) = (self.path_key(series), address) else {
            return;
        };
        let wanted = Wanted {
            outage: id,
            target,
            begin_ns: outage.begin_ns(),
        };
        let stays_here = match &outage.cause {
            Cause::NextHopUnresolved { .. }
            | Cause::InterfaceDown { .. }
            | Cause::NoRoute { .. }
            | Cause::SourceGone { .. } => true,
            Cause::DroppedHere { is_outbound, .. } => *is_outbound,
            _ => false,
        };
        match stays_here {
            true => {
                let words = "not traced: no probe leaves this host";
                let kind = (&key[..], self.transport_of(series));
                self.keep_trace(kind, &[wanted], None, words);
            }
            false => self.want_trace(key, series, wanted),
        }
    }

    /// Has an outage share a trace of its network, or wait for one.
    fn want_trace(&mut self, key: String, series: u32, wanted: Wanted) {
        let now_ns = wall_ns();
        let transport = self.transport_of(series);
        let kind = (&key[..], transport);
        if let Some(recent) = self.tracing.recent(kind, wanted.begin_ns, now_ns) {
            let number = recent.number;
            self.keep_number(number, &[wanted]);
            return;
        }
        let running = self.tracing.orders.values_mut();
        let running = running.filter_map(|owner| match owner {
            Owner::Outages(group, since_ns) if *since_ns >= wanted.begin_ns => Some(group),
            _ => None,
        });
        let mut all = running.chain(&mut self.tracing.waiting);
        let same = all.find(|group| group.kind() == kind && group.all.len() < MAX_SHARING);
        if let Some(group) = same {
            group.all.push(wanted);
        } else if self.tracing.waiting.len() >= MAX_WAITING {
            self.tracing.untraced += 1;
        } else {
            let group = Group {
                key,
                transport,
                series,
                asked_ns: now_ns,
                all: vec![wanted],
            };
            self.tracing.waiting.push_back(group);
            // Of many at once only the first ones begin now, so that others can share what these show.
            if self.tracing.waiting.len() == 1 {
                self.trace_waiting(now_ns);
            }
        }
    }

    /// An outage has ended: the paths of its targets may be others.
    pub(super) fn untrace_outage(&mut self, id: u64) {
        let Some(outage) = self.book.outage(id) else {
            return;
        };
        let members: Vec<u32> = outage.members.keys().take(MAX_SOON).copied().collect();
        for series in members {
            self.look_soon(series);
        }
    }

    /// Has the path to a target looked at soon.
    pub(super) fn look_soon(&mut self, series: u32) {
        if let Some(key) = self.path_key(series) {
            self.tracing.paths.soon(&key, wall_ns());
        }
    }

    /// Begins traces of outages that wait, as far as the limits allow, or shares one.
    fn trace_waiting(&mut self, now_ns: u64) {
        let begun = &mut self.tracing.begun;
        while begun
            .front()
            .is_some_and(|at| now_ns.abs_diff(*at) > MINUTE_NS)
        {
            begun.pop_front();
        }
        let recent = &mut self.tracing.recent;
        while (recent.front()).is_some_and(|one| now_ns.abs_diff(one.since_ns) > 2 * SHARED_NS) {
            recent.pop_front();
        }
        let is_of_outages = |owner: &&Owner| matches!(owner, Owner::Outages(..));
        let mut running = self.tracing.orders.values().filter(is_of_outages).count();
        for group in std::mem::take(&mut self.tracing.waiting) {
            if let Some(shared) = self.tracing.shared(&group) {
                let (path, has_left) = (shared.path.clone(), shared.has_left);
                self.keep_found(&group, path, has_left);
            } else if running < MAX_TRACES && self.tracing.begun.len() < MAX_TRACES_A_MINUTE {
                running += 1;
                self.tracing.begun.push_back(now_ns);
                let target = group.target();
                let options = Options {
                    transport: Some(group.transport.name().into()),
                    port: group.transport.port(),
                    ..self.path_options(group.series)
                };
                let owner = Owner::Outages(group, now_ns);
                self.tracing.order(&target, options, Job::Trace, owner);
            } else if now_ns.abs_diff(group.asked_ns) > MAX_WAIT_NS {
                self.tracing.untraced += group.all.len() as u64;
                let words = "not traced: too many outages at a time";
                self.keep_trace(group.kind(), &group.all, None, words);
            } else {
                self.tracing.waiting.push_back(group);
            }
        }
    }

    fn outages_done(&mut self, group: Group, found: Found, now_ns: u64) {
        match found {
            Found::Traced {
                since_ns,
                hops,
                is_reached,
                has_left,
                ..
            } => {
                let path = TracedPath {
                    target: group.target(),
                    since: time(since_ns),
                    until: time(now_ns),
                    reached: is_reached,
                    hops,
                };
                let number = self.keep_found(&group, path.clone(), has_left);
                // If another way was taken, it is a change of the path, too.
                self.tracing.paths.soon(&group.key, now_ns);
                self.tracing.recent.push_back(Recent {
                    key: group.key,
                    transport: group.transport,
                    path,
                    has_left,
                    since_ns,
                    number,
                });
            }
            Found::Looked(_) => {}
            Found::Failed(words) => {
                let words = format!("not traced: {words}");
                self.keep_trace(group.kind(), &group.all, None, &words);
            }
        }
    }

    /// Keeps a trace of outages that share it. Returns its number.
    fn keep_found(&mut self, group: &Group, path: TracedPath, has_left: bool) -> u64 {
        let begin_ns = group.all.first().map_or(0, |one| one.begin_ns);
        let before = self.tracing.paths.at(&group.key, begin_ns);
        let before = before.map(|(path, _)| path.traced());
        let words = match has_left {
            true => outage_words(before.as_ref(), &path, group.transport),
            false => "no probe of the trace left this host".into(),
        };
        self.keep_trace(group.kind(), &group.all, Some(path), &words)
    }

    fn keep_trace(
        &mut self,
        (key, transport): (&str, Transport),
        all: &[Wanted],
        during: Option<TracedPath>,
        words: &str,
    ) -> u64 {
        let Some(first) = all.first() else {
            return 0;
        };
        let before = self.tracing.paths.at(key, first.begin_ns);
        let target = during.as_ref().map_or(&first.target, |path| &path.target);
        let trace = OutageTrace {
            target: target.clone(),
            transport: transport.port().map(|_| transport.name().into()),
            port: transport.port(),
            before: before.map(|(path, _)| path.traced()),
            during,
            words: words.into(),
        };
        let number = self.tracing.kept.back().map_or(1, |last| last + 1);
        self.tracing.kept.push_back(number);
        (self.keeper).set(format!("{TRACED}{number}"), Some(&trace));
        self.keep_number(number, all);
        while self.tracing.kept.len() > MAX_KEPT {
            let oldest = self.tracing.kept.pop_front().unwrap_or(0);
            (self.keeper).set(format!("{TRACED}{oldest}"), None::<&()>);
        }
        number
    }

    /// Keeps the number of the trace of some outages.
    fn keep_number(&self, number: u64, all: &[Wanted]) {
        for one in all {
            let of = TraceOf(number, one.target.clone());
            (self.keeper).set(format!("{TRACES}{}", one.outage), Some(&of));
        }
    }

    /// Passes paths that have changed to the disk.
    pub(super) fn write_paths(&mut self) {
        let (known, former) = self.tracing.paths.take_changes();
        for (key, path) in known {
            self.keeper.set(format!("{KNOWN}{key}"), path.as_ref());
        }
        for (key, all) in former {
            self.keeper.set(format!("{FORMER}{key}"), all.as_ref());
        }
    }
}
