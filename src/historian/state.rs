//! SHELL. The state of the historian: monitors, their targets and runs, the book of outages. It belongs to one thread;
//! runs, resolver and disk have their own, and are talked to through channels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use netsonde_core::monitor::{MAX_MONITORS, Spec, Subject};
use netsonde_core::probe::Fate;
use netsonde_core::protocol::history::{Event, Monitor};
use netsonde_core::protocol::ping::{Options, Probe};
use netsonde_history::book::{Book, Loss, News, Outage, Tracked};
use netsonde_history::chunk::{Entry, Gap, GapReason, Probe as Stored};
use netsonde_history::disk::Disk;
use netsonde_history::state::{Hold, Rule, State};
use netsonde_history::store::MAX_SERIES;
use netsonde_history::table::Table;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};

use super::cause;
use super::disk::{Keeper, Line};
use super::run::{self, Report, Run};
use crate::linux::wall_ns;

/// Runs at a time: netsonded admits 32 of one user by default, and a user of this group may want some.
const MAX_RUNS: usize = 24;
/// Runs of monitors with the same options before they are joined.
const MAX_RUNS_OF_ONE_KIND: usize = 4;
/// Results of a target that may wait for an earlier one: a lost probe is known when its time limit is over.
const MAX_WAITING: usize = 256;
/// Words of lost probes that are remembered for each target.
const MAX_WORDS: usize = 32;
/// Changes that a watcher may be behind.
pub const WATCHED: usize = 4096;

/// Until when a monitor is paused or in maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which of the two.
    pub hold: Hold,
    /// End in nanoseconds since 1970; `None` until it is resumed.
    pub until_ns: Option<u64>,
}

/// A monitor with its targets.
#[derive(Clone, Debug)]
pub struct Configured {
    /// As it was given.
    pub monitor: Monitor,
    /// Checked.
    pub spec: Spec,
    /// Whether it is held.
    pub held: Option<Held>,
    /// Numbers of its targets, in their order.
    pub series: Vec<u32>,
}

/// A target of a monitor.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the monitor.
    pub monitor: String,
    /// As it was given.
    pub subject: Subject,
    /// Its address; `None` while a name is not resolved.
    pub address: Option<String>,
    /// Why a name is not resolved.
    pub unresolved: Option<String>,
    /// Send time of its last probe in the store, in nanoseconds since 1970.
    last_ns: u64,
    /// Why the next probe may be far behind the last one.
    gap: Option<GapReason>,
    /// Send times and words of the last lost probes.
    pub words: Vec<(u64, String)>,
}

impl Target {
    /// Returns the name that it was given as, if it is one.
    pub fn host(&self) -> Option<String> {
        match &self.subject {
            Subject::Name(name) => Some(name.clone()),
            Subject::Address(_) => None,
        }
    }
}

/// Options of a run: targets with the same ones share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    interval_ns: u64,
    timeout_ns: u64,
    size: u32,
    dscp: u8,
    dont_fragment: bool,
    source: Option<String>,
    interface: Option<String>,
}

impl Kind {
    fn of(spec: &Spec) -> Kind {
        Kind {
            interval_ns: spec.interval_ns,
            timeout_ns: spec.timeout_ns,
            size: spec.size,
            dscp: spec.dscp,
            dont_fragment: spec.dont_fragment,
            source: spec.source.map(|source| source.to_string()),
            interface: spec.interface.clone(),
        }
    }

    fn options(&self) -> Options {
        Options {
            interval_ns: Some(self.interval_ns),
            timeout_ns: Some(self.timeout_ns),
            size: Some(self.size),
            tos: (self.dscp != 0).then_some(self.dscp << 2),
            pmtu_discovery: self.dont_fragment.then(|| "do".into()),
            interface: self.interface.clone(),
            source: self.source.clone(),
            ..Options::default()
        }
    }
}

/// Results of one address in a run, brought into the order of sending.
#[derive(Debug, Default)]
struct Slot {
    series: Vec<u32>,
    next: u32,
    waiting: BTreeMap<u32, Probe>,
}

struct Group {
    kind: Kind,
    slots: HashMap<String, Slot>,
    run: Run,
}

/// What watchers are told.
#[derive(Clone, Debug)]
pub enum Told {
    /// A target has another state.
    Target(u32),
    /// An outage began, ended or changed.
    Outage(u64),
    /// An event was logged.
    Event(Event),
}

/// What the historian could not do, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Probes with results.
    pub probes: u64,
    /// Results that netsonded dropped, or that came too late to be put in order.
    pub dropped: u64,
    /// Probes that were not stored, because too many wait for the disk.
    pub not_stored: u64,
    /// Targets that are not probed, because there are too many runs.
    pub left_out: u64,
}

/// The state.
pub struct Historian {
    /// Path of netsonded's control socket.
    pub socket: PathBuf,
    /// The thread of the disk.
    pub keeper: Keeper,
    /// The outages.
    pub book: Book,
    /// Monitors by name.
    pub monitors: BTreeMap<String, Configured>,
    /// Targets by number.
    pub targets: HashMap<u32, Target>,
    /// Numbers by monitor and subject.
    keys: HashMap<String, u32>,
    next_series: u32,
    groups: BTreeMap<u64, Group>,
    next_run: u64,
    reports: mpsc::Sender<Report>,
    /// Why netsonded does not answer, in words; `None` while all runs have begun.
    pub away: Option<String>,
    /// What is wrong in monitors.toml.
    pub problems: Vec<String>,
    /// What was counted.
    pub counters: Counters,
    /// To those who watch.
    pub told: broadcast::Sender<Told>,
    lines: Vec<Line>,
}

fn key(monitor: &str, subject: &Subject) -> String {
    match subject {
        Subject::Address(address) => format!("{monitor} {address}"),
        Subject::Name(name) => format!("{monitor} name:{name}"),
    }
}

/// Errors of a change of monitors, in words.
#[derive(Debug)]
pub enum Refused {
    /// There is no such monitor.
    Unknown,
    /// It is invalid, or cannot be changed.
    Bad(String),
}

impl Historian {
    /// Opens the state with what was kept.
    pub fn new(
        socket: PathBuf,
        keeper: Keeper,
        table: &Table<Disk>,
        reports: mpsc::Sender<Report>,
    ) -> Historian {
        let outages = table.all::<Outage>("outage/").map(|(_, outage)| outage);
        let tracked = table.all::<Tracked>("target/");
        let tracked = tracked.filter_map(|(series, tracked)| Some((series.parse().ok()?, tracked)));
        let keys: HashMap<String, u32> = table
            .all::<u32>("series/")
            .map(|(key, series)| (key.to_owned(), series))
            .collect();
        let (told, _) = broadcast::channel(WATCHED);
        let mut historian = Historian {
            socket,
            keeper,
            book: Book::restore(outages, tracked),
            monitors: BTreeMap::new(),
            targets: HashMap::new(),
            next_series: keys.values().max().map_or(1, |last| last + 1),
            keys,
            groups: BTreeMap::new(),
            next_run: 1,
            reports,
            away: Some("no monitor yet".into()),
            problems: Vec::new(),
            counters: Counters::default(),
            told,
            lines: Vec::new(),
        };
        for (_, monitor) in table.all::<Monitor>("monitor/") {
            // Valid when it was added; a newer version may think otherwise.
            if let Err(Refused::Bad(why)) = historian.add(monitor.clone()) {
                historian
                    .problems
                    .push(format!("monitor {}: {why}", monitor.name));
            }
        }
        for (name, held) in table.all::<Held>("held/") {
            if let Some(known) = historian.monitors.get_mut(name) {
                known.held = Some(held);
            }
        }
        historian
    }

    /// Takes the monitors of the file, instead of those that it had.
    pub fn set_file(&mut self, monitors: Vec<Monitor>, problems: Vec<String>) {
        let is_of_file = |known: &Configured| known.monitor.origin.as_deref() == Some("file");
        let former: Vec<String> = (self.monitors.iter())
            .filter(|(name, known)| {
                is_of_file(known) && !monitors.iter().any(|one| one.name == **name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in former {
            self.drop_monitor(&name);
        }
        self.problems = problems;
        for monitor in monitors {
            let name = monitor.name.clone();
            let is_other = (self.monitors.get(&name)).is_none_or(|known| known.monitor != monitor);
            if is_other && let Err(Refused::Bad(why)) = self.add(monitor) {
                self.problems.push(format!("monitor {name}: {why}"));
            }
        }
    }

    /// Adds a monitor, or replaces the one of its name.
    fn add(&mut self, monitor: Monitor) -> Result<usize, Refused> {
        let spec =
            Spec::check(&monitor).map_err(|(key, what)| Refused::Bad(format!("{key}: {what}")))?;
        let is_new = !self.monitors.contains_key(&spec.name);
        if is_new && self.monitors.len() >= MAX_MONITORS {
            return Err(Refused::Bad(format!(
                "there are {MAX_MONITORS} monitors already"
            )));
        }
        let former = self
            .monitors
            .get(&spec.name)
            .map_or(0, |known| known.series.len());
        if self.targets.len() - former + spec.subjects.len() > MAX_SERIES {
            return Err(Refused::Bad(format!(
                "more than {MAX_SERIES} targets in all"
            )));
        }
        let held = self.monitors.get(&spec.name).and_then(|known| known.held);
        self.drop_monitor(&spec.name);
        let rule = Rule {
            lost: spec.lost,
            of: spec.of,
            ..Rule::new(spec.interval_ns, spec.timeout_ns)
        };
        let mut series = Vec::with_capacity(spec.subjects.len());
        for subject in &spec.subjects {
            let key = key(&spec.name, subject);
            let number = match self.keys.get(&key) {
                Some(number) => *number,
                None => {
                    let number = self.next_series;
                    self.next_series += 1;
                    self.keeper.set(format!("series/{key}"), number.into());
                    self.keys.insert(key, number);
                    number
                }
            };
            if self.targets.contains_key(&number) {
                // The same target twice.
                continue;
            }
            self.book.track(number, rule);
            let last_ns = self.book.state(number).map_or(0, |(_, _, last_ns)| last_ns);
            let target = Target {
                monitor: spec.name.clone(),
                subject: subject.clone(),
                address: match subject {
                    Subject::Address(address) => Some(address.clone()),
                    Subject::Name(_) => None,
                },
                unresolved: None,
                last_ns,
                gap: Some(GapReason::Stopped),
                words: Vec::new(),
            };
            self.targets.insert(number, target);
            series.push(number);
        }
        let count = series.len();
        let configured = Configured {
            monitor,
            spec: spec.clone(),
            held,
            series,
        };
        self.monitors.insert(spec.name, configured);
        Ok(count)
    }

    fn drop_monitor(&mut self, name: &str) {
        if let Some(known) = self.monitors.remove(name) {
            for series in known.series {
                self.targets.remove(&series);
            }
        }
    }

    /// Forgets what belongs to no monitor any more: after monitors were changed.
    pub fn settle(&mut self) {
        let orphans: Vec<u32> = self
            .book
            .series()
            .filter(|series| !self.targets.contains_key(series))
            .collect();
        for series in orphans {
            let news = self.book.forget(series, wall_ns());
            self.tell(news);
        }
        let held: Vec<(u32, Option<Hold>)> = (self.monitors.values())
            .flat_map(|known| {
                known
                    .series
                    .iter()
                    .map(|series| (*series, known.held.map(|held| held.hold)))
            })
            .collect();
        for (series, hold) in held {
            let news = self.book.hold(series, hold, wall_ns());
            if let (Some(Hold::Paused), Some(target)) = (hold, self.targets.get_mut(&series)) {
                target.gap = Some(GapReason::Paused);
            }
            self.tell(news);
        }
        self.regroup();
    }

    /// Adds a monitor on request.
    ///
    /// # Errors
    ///
    /// It is invalid, is there already and not to be replaced, or belongs to the file.
    pub fn add_on_request(&mut self, monitor: Monitor, replace: bool) -> Result<usize, Refused> {
        let name = monitor.name.clone();
        match self
            .monitors
            .get(&name)
            .map(|known| known.monitor.origin.as_deref())
        {
            Some(Some("file")) => {
                return Err(Refused::Bad(
                    "it is in monitors.toml: change it there".into(),
                ));
            }
            Some(_) if !replace => {
                return Err(Refused::Bad(
                    "there is one of this name: use --replace".into(),
                ));
            }
            _ => {}
        }
        let monitor = Monitor {
            origin: Some("command".into()),
            ..monitor
        };
        let count = self.add(monitor.clone())?;
        self.keeper.set(
            format!("monitor/{name}"),
            serde_json::to_value(&monitor).unwrap_or_default(),
        );
        self.settle();
        Ok(count)
    }

    /// Removes a monitor on request.
    ///
    /// # Errors
    ///
    /// There is none of this name, or it belongs to the file.
    pub fn remove(&mut self, name: &str) -> Result<(), Refused> {
        let known = self.monitors.get(name).ok_or(Refused::Unknown)?;
        if known.monitor.origin.as_deref() == Some("file") {
            return Err(Refused::Bad(
                "it is in monitors.toml: remove it there".into(),
            ));
        }
        self.drop_monitor(name);
        self.keeper.set(format!("monitor/{name}"), Value::Null);
        self.keeper.set(format!("held/{name}"), Value::Null);
        self.settle();
        Ok(())
    }

    /// Pauses a monitor, begins maintenance, or ends either.
    ///
    /// # Errors
    ///
    /// There is no monitor of this name.
    pub fn hold(&mut self, name: &str, held: Option<Held>) -> Result<(), Refused> {
        let known = self.monitors.get_mut(name).ok_or(Refused::Unknown)?;
        known.held = held;
        let value = held.map_or(Value::Null, |held| {
            serde_json::to_value(held).unwrap_or_default()
        });
        self.keeper.set(format!("held/{name}"), value);
        self.settle();
        Ok(())
    }

    /// Returns the names to be resolved.
    pub fn names(&self) -> BTreeSet<String> {
        let names = self
            .targets
            .values()
            .filter_map(|target| match &target.subject {
                Subject::Name(name) => Some(name.clone()),
                Subject::Address(_) => None,
            });
        names.collect()
    }

    /// Takes the address of a name, or why there is none. An address that was known stays until there is another.
    pub fn resolved(&mut self, name: &str, found: Result<String, String>) {
        let mut changed = Vec::new();
        for target in self.targets.values_mut() {
            if !matches!(&target.subject, Subject::Name(known) if known == name) {
                continue;
            }
            match &found {
                Ok(address) => {
                    target.unresolved = None;
                    let former = target.address.replace(address.clone());
                    if former.as_ref() != Some(address) {
                        changed.push((target.monitor.clone(), former));
                    }
                }
                Err(why) => target.unresolved = Some(why.clone()),
            }
        }
        for (monitor, former) in &changed {
            let (address, former) = (found.as_ref().map_or("", |found| found), former.as_deref());
            if let Some(former) = former {
                let text = format!("{name} is {address} now, was {former}");
                self.log("target-address-changed", "notice", monitor, text);
            }
        }
        if !changed.is_empty() {
            self.regroup();
        }
    }

    /// Starts and ends runs, so that each target is in one that has its options.
    fn regroup(&mut self) {
        let mut wanted: BTreeMap<Kind, BTreeMap<String, Vec<u32>>> = BTreeMap::new();
        for known in self.monitors.values() {
            if known.held.is_some_and(|held| held.hold == Hold::Paused) {
                continue;
            }
            let kind = wanted.entry(Kind::of(&known.spec)).or_default();
            for series in &known.series {
                if let Some(address) = self
                    .targets
                    .get(series)
                    .and_then(|target| target.address.clone())
                {
                    kind.entry(address).or_default().push(*series);
                }
            }
        }
        let mut kept: BTreeMap<Kind, usize> = BTreeMap::new();
        let groups = std::mem::take(&mut self.groups);
        let mut spare = Vec::new();
        for (number, mut group) in groups {
            let all = wanted.get_mut(&group.kind);
            let is_whole = all
                .as_ref()
                .is_some_and(|all| group.slots.keys().all(|address| all.contains_key(address)));
            let count = kept.entry(group.kind.clone()).or_default();
            if !is_whole || *count >= MAX_RUNS_OF_ONE_KIND {
                continue;
            }
            *count += 1;
            if let Some(all) = all {
                for (address, slot) in &mut group.slots {
                    slot.series = all.remove(address).unwrap_or_default();
                }
            }
            spare.push((number, group));
        }
        // More of one kind than there may be: all of them anew, in one.
        for (kind, count) in kept {
            let has_more = wanted.get(&kind).is_some_and(|all| !all.is_empty());
            if count < MAX_RUNS_OF_ONE_KIND || !has_more {
                continue;
            }
            let (joined, rest): (Vec<_>, Vec<_>) =
                spare.into_iter().partition(|(_, group)| group.kind == kind);
            spare = rest;
            for (_, group) in joined {
                for (address, slot) in group.slots {
                    wanted
                        .entry(kind.clone())
                        .or_default()
                        .insert(address, slot.series);
                }
            }
        }
        self.groups = spare.into_iter().collect();
        self.counters.left_out = 0;
        for (kind, all) in wanted {
            if !all.is_empty() {
                self.start_run(kind, all);
            }
        }
    }

    fn start_run(&mut self, kind: Kind, all: BTreeMap<String, Vec<u32>>) {
        let count: usize = all.values().map(Vec::len).sum();
        let started = (self.groups.len() < MAX_RUNS).then(|| {
            let targets = all.keys().cloned().collect();
            run::start(
                self.next_run,
                &self.socket,
                targets,
                kind.options(),
                self.reports.clone(),
            )
        });
        let Some(Ok(run)) = started else {
            self.counters.left_out += count as u64;
            return;
        };
        self.next_run += 1;
        let slots = all.into_iter().map(|(address, series)| {
            let slot = Slot {
                series,
                next: 1,
                ..Slot::default()
            };
            (address, slot)
        });
        let group = Group {
            kind,
            slots: slots.collect(),
            run,
        };
        self.groups.insert(group.run.number, group);
    }

    /// Processes what a run reports.
    pub fn report(&mut self, report: Report) {
        match report {
            Report::Began { run } => {
                let Some(group) = self.groups.get_mut(&run) else {
                    return;
                };
                for slot in group.slots.values_mut() {
                    slot.next = 1;
                    slot.waiting.clear();
                }
                self.away = None;
            }
            Report::Away { run, words } => {
                if self.groups.contains_key(&run) {
                    if self.away.is_none() {
                        tracing::warn!("not measured: {words}");
                    }
                    self.away = Some(words);
                }
            }
            Report::Probes { run, probes } => self.probes(run, probes),
        }
        self.store();
    }

    fn probes(&mut self, run: u64, probes: Vec<Probe>) {
        let mut ready = Vec::new();
        let Some(group) = self.groups.get_mut(&run) else {
            return;
        };
        let interval_ns = group.kind.interval_ns;
        for probe in probes {
            // What is said of a probe again, when it is late or answered twice, changes no history.
            if probe.duplicate == Some(true) || probe.instead_of.is_some() {
                continue;
            }
            let Some(slot) = group.slots.get_mut(&probe.target) else {
                continue;
            };
            if probe.seq < slot.next {
                self.counters.dropped += 1;
                continue;
            }
            slot.waiting.insert(probe.seq, probe);
            if slot.waiting.len() > MAX_WAITING
                && let Some(first) = slot.waiting.keys().next().copied()
            {
                self.counters.dropped += u64::from(first - slot.next);
                slot.next = first;
            }
            while let Some(probe) = slot.waiting.remove(&slot.next) {
                slot.next += 1;
                ready.push((slot.series.clone(), probe));
            }
        }
        for (all, probe) in ready {
            let fate = Fate::ALL.into_iter().find(|fate| fate.name() == probe.fate);
            let time = probe.time.parse::<jiff::Timestamp>();
            let (Some(fate), Ok(time)) = (fate, time) else {
                continue;
            };
            let sent_ns = u64::try_from(time.as_nanosecond()).unwrap_or(0);
            for series in all {
                let lost = !matches!(fate, Fate::Replied | Fate::Late | Fate::Corrupted);
                let loss = lost.then(|| cause::loss(series, &probe));
                let stored = Stored {
                    sent_ns,
                    fate,
                    wire_ns: probe.wire_rtt_ns,
                    total_ns: probe.rtt_ns,
                };
                self.result(series, interval_ns, stored, loss);
            }
        }
    }

    /// Takes the result of a probe, in the order of sending.
    fn result(&mut self, series: u32, interval_ns: u64, probe: Stored, loss: Option<Loss>) {
        let Some(target) = self.targets.get_mut(&series) else {
            return;
        };
        self.counters.probes += 1;
        let reason = target.gap.take();
        let since_ns = probe.sent_ns.saturating_sub(target.last_ns);
        if target.last_ns > 0 && since_ns > interval_ns + interval_ns / 2 {
            let gap = Gap {
                begin_ns: target.last_ns + interval_ns,
                length_ns: since_ns - interval_ns,
                reason: reason.unwrap_or(GapReason::Dropped),
            };
            self.lines.push((series, interval_ns, Entry::Gap(gap)));
        }
        target.last_ns = probe.sent_ns;
        if let Some(loss) = &loss {
            target.words.push((probe.sent_ns, loss.words.clone()));
            if target.words.len() > MAX_WORDS {
                target.words.remove(0);
            }
        }
        self.lines.push((series, interval_ns, Entry::Probe(probe)));
        let news = self.book.result(series, probe.sent_ns, probe.fate, loss);
        self.tell(news);
    }

    /// Passes what is new to the disk.
    fn store(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let count = lines.len() as u64;
        if count > 0 && !self.keeper.push(lines) {
            self.counters.not_stored += count;
        }
    }

    /// Once a second: what was not measured is unknown, holds end, and what has changed is written.
    pub fn tick(&mut self) {
        let now_ns = wall_ns();
        let news = self.book.tick(now_ns);
        self.tell(news);
        let over = |held: &Held| held.until_ns.is_some_and(|until_ns| until_ns <= now_ns);
        let ended: Vec<String> = (self.monitors.iter())
            .filter(|(_, known)| known.held.as_ref().is_some_and(over))
            .map(|(name, _)| name.clone())
            .collect();
        for name in ended {
            let _ = self.hold(&name, None);
        }
        self.write_changes();
    }

    /// Passes outages and states that have changed to the disk.
    pub fn write_changes(&mut self) {
        let (outages, targets) = self.book.take_changes();
        for (id, outage) in outages {
            let value = outage.map_or(Value::Null, |outage| {
                serde_json::to_value(outage).unwrap_or_default()
            });
            self.keeper.set(format!("outage/{id}"), value);
        }
        for (series, tracked) in targets {
            let value = tracked.map_or(Value::Null, |tracked| {
                serde_json::to_value(tracked).unwrap_or_default()
            });
            self.keeper.set(format!("target/{series}"), value);
        }
    }

    /// Nothing was measured for a while, for a reason that concerns all targets.
    pub fn interrupted(&mut self, reason: GapReason) {
        let all: Vec<(u32, u64)> = self
            .targets
            .iter()
            .map(|(series, target)| (*series, target.last_ns))
            .collect();
        for (series, last_ns) in all {
            if let Some(target) = self.targets.get_mut(&series) {
                target.gap = Some(reason);
                if reason == GapReason::ClockStep {
                    // Times before it say nothing of times behind.
                    target.last_ns = 0;
                }
            }
            let news = self.book.gap(series, last_ns);
            self.tell(news);
        }
    }

    fn tell(&mut self, news: Vec<News>) {
        for one in news {
            match one {
                News::State(series, state, _) => {
                    let _ = self.told.send(Told::Target(series));
                    self.log_state(series, state);
                }
                News::Began(id) => {
                    let _ = self.told.send(Told::Outage(id));
                    self.log_outage(id, "outage-began", "began");
                }
                News::Ended(id) => {
                    let _ = self.told.send(Told::Outage(id));
                    self.log_outage(id, "outage-ended", "ended");
                }
                News::Changed(id) | News::PartOf(_, id) => {
                    let _ = self.told.send(Told::Outage(id));
                }
                News::Suspect(..) | News::Cleared(_) => {}
            }
        }
    }

    fn log_state(&self, series: u32, state: State) {
        let Some(target) = self.targets.get(&series) else {
            return;
        };
        let (monitor, address) = (&target.monitor, target.address.as_deref());
        tracing::debug!(monitor, target = address, state = state.name(), "state");
    }

    fn log_outage(&mut self, id: u64, kind: &str, what: &str) {
        let Some(outage) = self.book.outage(id) else {
            return;
        };
        let targets = outage.members.len();
        let first = outage
            .members
            .keys()
            .next()
            .and_then(|series| self.targets.get(series));
        let subject = first.map(|target| target.address.clone().unwrap_or_default());
        let subject = subject.unwrap_or_default();
        let of = match targets {
            0 | 1 => subject.clone(),
            more => format!("{more} targets"),
        };
        let words = cause::words(&outage.cause, &outage.words);
        tracing::info!(
            outage = id,
            targets,
            cause = cause::name(&outage.cause),
            "outage {what}: {of}: {words}"
        );
        self.log(
            kind,
            if what == "began" { "warning" } else { "notice" },
            &subject,
            format!("outage {id} of {of} {what}: {words}"),
        );
    }

    /// Logs an event.
    pub fn log(&mut self, kind: &str, severity: &str, subject: &str, text: String) {
        let event = Event {
            time: netsonde_core::protocol::time(wall_ns()),
            kind: kind.into(),
            severity: severity.into(),
            interface: None,
            subject: subject.into(),
            text,
        };
        let _ = self.told.send(Told::Event(event.clone()));
        self.keeper.log(wall_ns(), event);
    }

    /// Finds the targets that an address, a name or a monitor stands for.
    pub fn find(&self, text: &str) -> Vec<u32> {
        if let Some(known) = self.monitors.get(text) {
            return known.series.clone();
        }
        let is_it = |target: &Target| {
            let is_name = matches!(&target.subject, Subject::Name(name) if name == text);
            is_name || target.address.as_deref() == Some(text)
        };
        let found = self.targets.iter().filter(|(_, target)| is_it(target));
        let mut found: Vec<u32> = found.map(|(series, _)| *series).collect();
        found.sort_unstable();
        found
    }
}
