//! SHELL. The state of the historian: monitors, their targets and runs, the book of outages. It belongs to one thread;
//! runs, resolver and disk have their own, and are talked to through channels.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use netsonde_core::monitor::{MAX_MONITORS, Spec, Subject};
use netsonde_core::probe::Fate;
use netsonde_core::probe::Transport;
use netsonde_core::probe::packed::Entry as Packed;
use netsonde_core::protocol::history::{Event, Monitor, PathChange};
use netsonde_core::protocol::inventory::{MAX_PATHS, Path, PathsCall};
use netsonde_core::protocol::ping::{Options, Probe};
use netsonde_history::book::{Book, Kind as OutageKind, Loss, News, Outage, Tracked};
use netsonde_history::chunk::{Entry, GapReason, Probe as Stored};
use netsonde_history::degraded::Reason;
use netsonde_history::disk::Disk;
use netsonde_history::load::Loads;
use netsonde_history::shared::Cause;
use netsonde_history::state::{Hold, Rule, State, is_lost};
use netsonde_history::store::MAX_SERIES;
use netsonde_history::table::Table;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use super::around::Around;
use super::cause;
use super::clock::gap_between;
use super::disk::{Keeper, Line};
use super::paths::{TRACES, Tracing};
use super::record::{Record, Way};
use super::run::{self, Report, Run};
use super::second::{Looked, Second};
use crate::linux::wall_ns;

/// Runs at a time: netsonded admits 32 of one user by default, and a user of this group may want some.
const MAX_RUNS: usize = 24;
/// Runs of monitors with the same options before they are joined.
const MAX_RUNS_OF_ONE_KIND: usize = 4;
/// Time in nanoseconds behind its time limit for which a late reply changes the fate of a probe in the store.
/// With the second of a batch and the 5 s of the journal, a power cut loses at most ten.
const REVISION_NS: u64 = 3_000_000_000;
/// Targets of an outage up to which its losses are compared with the load of interfaces, and outages that are looked
/// through each minute for those that last.
const MAX_COMPARED: usize = 16;
const MAX_LASTING: usize = 256;
/// Interval in nanoseconds of writing outages that only have more lost probes: one of 10,000 targets takes 3 MB. After a
/// kill they are counted again from the states of the targets.
const GROWN_NS: u64 = 60_000_000_000;
/// More than any result is held, in nanoseconds.
const MAX_HELD_NS: u64 = 15_000_000_000;
/// Results of a target that are held: 13 s at the shortest interval.
const MAX_HELD: usize = 256;
/// Results whose memory is kept from one report to the next.
const MAX_LINES: usize = 16_384;
/// Time in nanoseconds within which targets that are lost share their evidence.
const PIN_SHARED_NS: u64 = 15_000_000_000;
/// Time in nanoseconds for which a target that is suspected is either cleared, or has an outage.
const PIN_KEPT_NS: u64 = 300_000_000_000;
/// Words of lost probes that are remembered for each target.
const MAX_WORDS: usize = 32;
/// Key of the time of the last event of netsonded's log.
pub const LAST_EVENT: &str = "events/last";
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
    pub words: Vec<(u64, Rc<str>)>,
    /// Send time of the first lost probe of each second with any, the latest last.
    lost: VecDeque<u64>,
    /// Why it was worse than its own history when it was compared last.
    worse: Option<Reason>,
    /// Results that are not in the store yet, because the first of them may still change: until when.
    held: VecDeque<(u64, Line)>,
}

fn stored(entry: &Packed) -> Stored {
    Stored {
        sent_ns: entry.sent_ns,
        fate: entry.fate,
        wire_ns: entry.wire_rtt_ns.map(u64::from),
        total_ns: entry.rtt_ns.map(u64::from),
    }
}

impl Target {
    /// Passes on a result; behind others that are held, or if it may change until a time, it is held.
    fn pass(&mut self, until_ns: u64, line: Line, lines: &mut Vec<Line>) {
        if self.held.is_empty() && until_ns == 0 {
            lines.push(line);
        } else {
            self.held.push_back((until_ns, line));
        }
    }

    /// Passes on what is held, as far as its fates are final.
    fn release(&mut self, now_ns: u64, lines: &mut Vec<Line>) {
        while let Some((until_ns, _)) = self.held.front() {
            // A clock that was set does not hold anything for ever.
            let is_held = (now_ns..now_ns + MAX_HELD_NS).contains(until_ns);
            if is_held && self.held.len() < MAX_HELD {
                return;
            }
            lines.extend(self.held.pop_front().map(|(_, line)| line));
        }
        if self.held.capacity() > 0 {
            self.held = VecDeque::new();
        }
    }

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
    transport: Transport,
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
            transport: spec.transport,
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
            transport: Some(self.transport.name().into()),
            port: self.transport.port(),
            size: Some(self.size),
            tos: (self.dscp != 0).then_some(self.dscp << 2),
            packed: Some(true),
            pmtu_discovery: self.dont_fragment.then(|| "do".into()),
            interface: self.interface.clone(),
            source: self.source.clone(),
            ..Options::default()
        }
    }
}

/// One address of a run.
#[derive(Debug, Default)]
struct Slot {
    series: Vec<u32>,
    /// Sequence number of its next probe.
    next: u32,
    /// What was seen of lost probes whose fate was not processed yet, by sequence number, in their order.
    rows: VecDeque<(u32, Loss)>,
}

struct Group {
    kind: Kind,
    /// By address, in the order of their text.
    slots: Vec<(String, Slot)>,
    /// Addresses in the order of netsonded's slots.
    order: Vec<Option<usize>>,
    /// Time between two probes of a target in nanoseconds, if it is longer than was asked for.
    stretched_ns: Option<u64>,
    run: Run,
}

impl Group {
    /// Returns the place of an address among the slots.
    fn find(&self, address: &str) -> Option<usize> {
        let found = self
            .slots
            .binary_search_by(|(known, _)| (**known).cmp(address));
        found.ok()
    }
}

/// Words of lost probes, of which thousands are the same when many targets have one trouble.
#[derive(Default)]
struct Words {
    latest: VecDeque<Rc<str>>,
}

impl Words {
    /// Number of texts that are remembered: as many as there are troubles at a time.
    const MAX: usize = 16;

    /// Returns the text in the memory of an equal one that was used lately.
    fn shared(&mut self, text: &str) -> Rc<str> {
        let known = self.latest.iter().position(|known| **known == *text);
        if let Some(at) = known {
            return self.latest[at].clone();
        }
        let text: Rc<str> = text.into();
        if self.latest.len() == Words::MAX {
            self.latest.pop_back();
        }
        self.latest.push_front(text.clone());
        text
    }
}

/// Result of a comparison of a target with its own history. Times are in nanoseconds since 1970.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Number of the target.
    pub series: u32,
    /// Begin of the present that was compared.
    pub since_ns: u64,
    /// First probe of the change if there is one, otherwise as `since_ns`.
    pub turned_ns: u64,
    /// Why it is worse, also in words; `None` if it is not.
    pub reason: Option<(Reason, String)>,
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
    /// Packets on disk.
    pub record: Arc<Record>,
    /// Evidence that is collected, by its number, which is its begin; and the targets that are suspected.
    pins: BTreeMap<u64, BTreeSet<u32>>,
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
    words: Words,
    loads: Loads,
    /// This host, second by second.
    around: Around,
    /// Paths through the network.
    pub tracing: Tracing,
    /// To the thread that asks for the ways to targets, and what it had no time for yet.
    wanted: SyncSender<Vec<Looked>>,
    unsent: Option<Vec<Looked>>,
    /// Time in nanoseconds since 1970 at which growing outages were written.
    grown_ns: u64,
    next_run: u64,
    pub(super) reports: mpsc::Sender<Report>,
    /// Why netsonded does not answer, in words; `None` while all runs have begun.
    pub away: Option<String>,
    /// What is wrong in monitors.toml.
    pub problems: Vec<String>,
    /// What was counted.
    pub counters: Counters,
    /// To those who watch.
    pub told: broadcast::Sender<Told>,
    lines: Vec<Line>,
    /// Targets with results that are held.
    holding: BTreeSet<u32>,
    /// Outages whose begin is logged with the next tick, when it is known who else has them.
    unlogged: BTreeSet<u64>,
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
        record: Arc<Record>,
        table: &Table<Disk>,
        reports: mpsc::Sender<Report>,
        wanted: SyncSender<Vec<Looked>>,
        tracing: Tracing,
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
            record,
            pins: BTreeMap::new(),
            book: Book::restore(outages, tracked),
            monitors: BTreeMap::new(),
            targets: HashMap::new(),
            next_series: keys.values().max().map_or(1, |last| last + 1),
            keys,
            groups: BTreeMap::new(),
            words: Words::default(),
            loads: Loads::default(),
            around: Around::default(),
            tracing,
            wanted,
            unsent: None,
            grown_ns: 0,
            next_run: 1,
            reports,
            away: Some("no monitor yet".into()),
            problems: Vec::new(),
            counters: Counters::default(),
            told,
            lines: Vec::new(),
            holding: BTreeSet::new(),
            unlogged: BTreeSet::new(),
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

    /// Targets whose state is not known since the last end of this process, with the time of the last probe that
    /// their state knows, in nanoseconds since 1970; 0 if there is none.
    pub fn unread(&self) -> Vec<(u32, u64)> {
        let all = self.targets.keys().map(|series| {
            let last_ns = self
                .book
                .state(*series)
                .map_or(0, |(_, _, last_ns)| last_ns);
            (*series, last_ns)
        });
        all.collect()
    }

    /// Takes probes of the store that a state does not know: those before a kill. `stored_ns` is the time of the last one
    /// that is there: from then on a gap is declared, also if the state knows later ones.
    pub fn replay(&mut self, series: u32, stored_ns: Option<u64>, probes: &[(u64, Fate)]) {
        for (sent_ns, fate) in probes {
            // What was seen of them is in the outages, as far as it was written.
            let news = self.book.result(series, *sent_ns, *fate, None);
            self.tell(news);
        }
        if let (Some(stored_ns), Some(target)) = (stored_ns, self.targets.get_mut(&series)) {
            target.last_ns = stored_ns;
        }
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
                    self.keeper.set(format!("series/{key}"), Some(&number));
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
                lost: VecDeque::new(),
                worse: None,
                held: VecDeque::new(),
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
        self.keeper.set(format!("monitor/{name}"), Some(&monitor));
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
        self.keeper.set(format!("monitor/{name}"), None::<&()>);
        self.keeper.set(format!("held/{name}"), None::<&()>);
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
        self.keeper.set(format!("held/{name}"), held.as_ref());
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
                self.log("target_address_changed", "notice", monitor, text);
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
            let is_whole = all.as_ref().is_some_and(|all| {
                group
                    .slots
                    .iter()
                    .all(|(address, _)| all.contains_key(address))
            });
            let count = kept.entry(group.kind.clone()).or_default();
            if !is_whole || *count >= MAX_RUNS_OF_ONE_KIND {
                continue;
            }
            *count += 1;
            if let Some(all) = all {
                for (address, slot) in &mut group.slots {
                    slot.series = all.remove(&*address).unwrap_or_default();
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
        self.group_paths();
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
            order: Vec::new(),
            stretched_ns: None,
            run,
        };
        self.groups.insert(group.run.number, group);
    }

    /// Returns the monitors whose targets are probed less often than was asked for, in words.
    pub fn stretched(&self) -> impl Iterator<Item = String> {
        self.groups.values().filter_map(|group| {
            let (slots, kind) = (group.slots.len(), &group.kind);
            let seconds = |ns: u64| ns as f64 / 1e9;
            let (real, asked) = (seconds(group.stretched_ns?), seconds(kind.interval_ns));
            Some(format!(
                "{slots} targets are probed every {real:.3} s instead of {asked} s: ping.rate in netsonde.toml permits \
                 no more"
            ))
        })
    }

    /// Processes what a run reports.
    pub fn report(&mut self, report: Report) {
        match report {
            Report::Began {
                run,
                slots,
                stretched_ns,
            } => {
                let Some(group) = self.groups.get_mut(&run) else {
                    return;
                };
                group.stretched_ns = stretched_ns;
                group.order = slots.iter().map(|address| group.find(address)).collect();
                for (_, slot) in &mut group.slots {
                    slot.next = 1;
                    slot.rows.clear();
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
            Report::Fates { run, rows, entries } => self.fates(run, rows, &entries),
            Report::Load(interfaces) => self.loaded(interfaces),
            Report::Counted(second) => self.counted(second),
            Report::Paths(time_ns, paths) => self.looked(time_ns, paths),
            Report::Path(done) => self.path_done(done),
        }
        self.store();
    }

    fn fates(&mut self, run: u64, rows: Vec<Probe>, entries: &[Packed]) {
        // Taken out, since a result may change everything else.
        let Some(mut group) = self.groups.remove(&run) else {
            return;
        };
        for row in rows {
            // A further reply changes no history.
            let at = group.find(&row.target);
            let Some(at) = at.filter(|_| row.duplicate != Some(true)) else {
                continue;
            };
            let slot = &mut group.slots[at].1;
            if row.instead_of.is_some() {
                // Another entry says so of the probe; here is why.
                for series in slot.series.clone() {
                    self.explained(series, &row);
                }
            } else {
                let first = slot.series.first().copied().unwrap_or_default();
                // One that waited in the host has its words after later ones that were not sent.
                let at = slot.rows.partition_point(|(seq, _)| *seq < row.seq);
                slot.rows.insert(at, (row.seq, cause::loss(first, &row)));
                if slot.rows.len() > MAX_WORDS {
                    slot.rows.pop_front();
                }
            }
        }
        let now_ns = wall_ns();
        for entry in entries {
            let Some(Some(at)) = group.order.get(entry.slot as usize) else {
                continue;
            };
            let slot = &mut group.slots[*at].1;
            if entry.is_revised {
                for series in &slot.series {
                    self.revised(*series, entry);
                }
                continue;
            }
            let skipped = entry.sequence.saturating_sub(slot.next);
            self.counters.dropped += u64::from(skipped);
            slot.next = entry.sequence + 1;
            let reason = match skipped {
                0 => GapReason::NoService,
                _ => GapReason::Dropped,
            };
            // Fates come in the order of sending, so that what is before has none.
            while (slot.rows.front()).is_some_and(|(sequence, _)| *sequence < entry.sequence) {
                slot.rows.pop_front();
            }
            let loss = match slot.rows.front() {
                Some((sequence, _)) if *sequence == entry.sequence => slot.rows.pop_front(),
                _ => None,
            };
            let loss = loss.map(|(_, loss)| loss);
            for series in &slot.series {
                let mut loss = loss.clone();
                if let Some(Loss {
                    cause: Cause::Own { series: own },
                    ..
                }) = &mut loss
                {
                    *own = *series;
                }
                self.result((*series, &group.kind), (entry, loss), reason, now_ns);
            }
            if slot.rows.is_empty() {
                slot.rows = VecDeque::new();
            }
        }
        self.groups.insert(run, group);
    }

    /// An error came after the time limit of a probe.
    fn explained(&mut self, series: u32, row: &Probe) {
        let sent = row.time.parse::<jiff::Timestamp>();
        let sent_ns = sent
            .ok()
            .and_then(|sent| u64::try_from(sent.as_nanosecond()).ok());
        if let (Some(sent_ns), "refused") = (sent_ns, row.fate.as_str()) {
            let news = self.book.explain(series, sent_ns, cause::loss(series, row));
            self.tell(news);
        }
    }

    /// A probe that was thought lost was answered after its time limit, or an error came.
    fn revised(&mut self, series: u32, entry: &Packed) {
        let Some(target) = self.targets.get_mut(&series) else {
            return;
        };
        let held = target.held.iter_mut().rev();
        for (_, line) in held {
            if let Entry::Probe(probe) = &mut line.2
                && probe.sent_ns == entry.sent_ns
            {
                *probe = stored(entry);
                return;
            }
        }
        self.counters.dropped += 1;
    }

    /// Takes the result of a probe, in the order of sending. `reason`: why it may be far behind the one before, if nothing
    /// else is known.
    fn result(
        &mut self,
        (series, kind): (u32, &Kind),
        (entry, seen): (&Packed, Option<Loss>),
        reason: GapReason,
        now_ns: u64,
    ) {
        let Some(target) = self.targets.get_mut(&series) else {
            return;
        };
        let interval_ns = kind.interval_ns;
        let probe = stored(entry);
        self.counters.probes += 1;
        let reason = match target.gap.take() {
            // The run went on while the historian was stopped, and no result of it is missing.
            Some(GapReason::Stopped) if reason == GapReason::NoService && entry.sequence > 1 => {
                reason
            }
            known => known.unwrap_or(reason),
        };
        if let Some(gap) = gap_between(target.last_ns, probe.sent_ns, interval_ns, reason) {
            let line = (series, interval_ns, Entry::Gap(gap));
            target.pass(0, line, &mut self.lines);
        }
        target.last_ns = probe.sent_ns;
        let is_lost = is_lost(probe.fate);
        // Its words were lost, or more were lost at once than are remembered.
        let without = || Loss {
            cause: Cause::Own { series },
            words: probe.fate.name().replace('_', " "),
        };
        let loss = is_lost.then(|| seen.unwrap_or_else(without));
        if let Some(loss) = &loss {
            let words = self.words.shared(&loss.words);
            if target.words.len() >= MAX_WORDS {
                target.words.remove(0);
            }
            target.words.push((probe.sent_ns, words));
            let second = probe.sent_ns / 1_000_000_000;
            if target
                .lost
                .back()
                .is_none_or(|at| at / 1_000_000_000 != second)
            {
                if target.lost.len() >= MAX_WORDS {
                    target.lost.pop_front();
                }
                target.lost.push_back(probe.sent_ns);
            }
        }
        let until_ns = match probe.fate.may_change() {
            true => probe.sent_ns + kind.timeout_ns + REVISION_NS,
            false => 0,
        };
        let line = (series, interval_ns, Entry::Probe(probe));
        target.pass(until_ns, line, &mut self.lines);
        target.release(now_ns, &mut self.lines);
        if !target.held.is_empty() {
            self.holding.insert(series);
        }
        let news = self.book.result(series, probe.sent_ns, probe.fate, loss);
        self.tell(news);
    }

    /// Passes on what is held of all targets, as far as its fates are final.
    fn release(&mut self, now_ns: u64) {
        let (targets, lines) = (&mut self.targets, &mut self.lines);
        self.holding.retain(|series| {
            let Some(target) = targets.get_mut(series) else {
                return false;
            };
            target.release(now_ns, lines);
            !target.held.is_empty()
        });
    }

    /// Passes on all that is held, before an orderly end.
    pub fn release_all(&mut self) {
        for target in self.targets.values_mut() {
            self.lines
                .extend(target.held.drain(..).map(|(_, line)| line));
        }
        self.store();
        if let Some(minute) = self.around.end() {
            self.keeper.count(minute);
        }
    }

    /// Passes what is new to the disk.
    fn store(&mut self) {
        let count = self.lines.len() as u64;
        if count > 0 && !self.keeper.push(&mut self.lines) {
            self.counters.not_stored += count;
        }
        // A trouble of many targets releases many at once, and then none.
        self.lines.shrink_to(MAX_LINES);
    }

    /// Once a second: what was not measured is unknown, holds end, and what has changed is written.
    pub fn tick(&mut self) {
        let now_ns = wall_ns();
        let news = self.book.tick(now_ns);
        self.tell(news);
        self.log_begins();
        while let Some(first) = self.pins.first_entry()
            && first.key().abs_diff(now_ns) > PIN_KEPT_NS
        {
            first.remove();
        }
        self.release(now_ns);
        self.store();
        self.look(now_ns);
        self.follow_paths(now_ns);
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
        let now_ns = wall_ns();
        if now_ns.abs_diff(self.grown_ns) >= GROWN_NS {
            self.grown_ns = now_ns;
            let lasting = self.book.outages().rev().take(MAX_LASTING);
            let lasting = lasting.filter(|outage| outage.end_ns().is_none());
            for id in lasting.map(|outage| outage.id).collect::<Vec<_>>() {
                self.compare_load(id);
            }
            self.book.mark_grown();
        }
        let (outages, targets) = self.book.take_changes();
        for (id, outage) in outages {
            self.keeper.set(format!("outage/{id}"), outage.as_ref());
            if outage.is_none() {
                self.keeper.set(format!("{TRACES}{id}"), None::<&()>);
            }
        }
        self.write_paths();
        for (series, tracked) in targets {
            self.keeper
                .set(format!("target/{series}"), tracked.as_ref());
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
                // The log has its own events about these.
                News::Began(id) | News::Ended(id) if self.is_degraded(id) => {
                    self.compare_load(id);
                    let _ = self.told.send(Told::Outage(id));
                }
                News::Began(id) => {
                    let _ = self.told.send(Told::Outage(id));
                    self.unlogged.insert(id);
                    self.trace_outage(id);
                }
                News::Ended(id) => {
                    self.compare_load(id);
                    self.untrace_outage(id);
                    let _ = self.told.send(Told::Outage(id));
                    self.log_begins();
                    self.log_outage(id, "outage_ended", "ended");
                }
                News::Changed(id) | News::PartOf(_, id) => {
                    let _ = self.told.send(Told::Outage(id));
                }
                News::Suspect(series, sent_ns) => self.pin(series, sent_ns),
                News::Cleared(series) => self.unpin(series),
            }
        }
    }

    /// Compares the last losses of an outage with the load of interfaces. What has a cause of this host or its link
    /// is not compared, nor are those of many targets.
    fn compare_load(&mut self, id: u64) {
        let Some(outage) = self.book.outage(id) else {
            return;
        };
        let is_open = matches!(outage.cause, Cause::Own { .. } | Cause::DroppedHere { .. });
        if !is_open || outage.members.len() > MAX_COMPARED {
            return;
        }
        let targets = outage.members.keys();
        let lost = targets.filter_map(|series| Some(&self.targets.get(series)?.lost));
        let lost: Vec<u64> = lost.flatten().copied().collect();
        if let Some(words) = self.loads.explain(&lost) {
            self.book.set_load(id, words);
        }
    }

    /// Takes the number of bytes that each interface has carried until now.
    fn loaded(&mut self, interfaces: Vec<(String, u64)>) {
        let now_ns = wall_ns();
        for (name, bytes) in interfaces {
            self.loads.add(&name, now_ns, bytes);
        }
    }

    /// Takes the counters of this host.
    fn counted(&mut self, second: Second) {
        for minute in self.around.counted(second) {
            self.keeper.count(minute);
        }
    }

    /// Takes the ways to some targets at a time in nanoseconds since 1970.
    fn looked(&mut self, time_ns: u64, paths: Vec<(u32, Path)>) {
        for (series, path) in paths {
            let before = self.around.way(series, u64::MAX);
            let is_other = before.is_some_and(|before| {
                (before.gateway, before.interface) != (path.gateway.clone(), path.interface.clone())
            });
            self.around.looked(series, time_ns, path);
            if is_other {
                self.look_soon(series);
            }
        }
    }

    /// Returns the call that asks for the way of a target's probes, without the target, and its address.
    fn path_call(&self, series: u32) -> Option<(PathsCall, String)> {
        let target = self.targets.get(&series)?;
        let spec = &self.monitors.get(&target.monitor)?.spec;
        let call = PathsCall {
            targets: Vec::new(),
            interface: spec.interface.clone(),
            source: spec.source.map(|source| source.to_string()),
            tos: (spec.dscp != 0).then_some(spec.dscp << 2),
        };
        Some((call, target.address.clone()?))
    }

    /// Asks for the ways to the targets whose turn it is.
    fn look(&mut self, now_ns: u64) {
        let calls = match self.unsent.take() {
            Some(calls) => calls,
            None => {
                let all = self.targets.keys().copied();
                let due = self.around.due(now_ns, self.targets.len(), all);
                let mut calls: Vec<Looked> = Vec::new();
                for series in due {
                    let Some((kind, address)) = self.path_call(series) else {
                        continue;
                    };
                    let is_same = |(_, call): &&mut Looked| {
                        let targets = &call.targets;
                        targets.len() < MAX_PATHS
                            && (&call.interface, &call.source, call.tos)
                                == (&kind.interface, &kind.source, kind.tos)
                    };
                    match calls.iter_mut().find(is_same) {
                        Some((all, call)) => {
                            all.push(series);
                            call.targets.push(address);
                        }
                        None => {
                            let targets = vec![address];
                            calls.push((vec![series], PathsCall { targets, ..kind }));
                        }
                    }
                }
                calls
            }
        };
        // It is asking for others, or there is no service.
        if !calls.is_empty()
            && let Err(TrySendError::Full(calls)) = self.wanted.try_send(calls)
        {
            self.unsent = Some(calls);
        }
    }

    fn is_degraded(&self, id: u64) -> bool {
        let outage = self.book.outage(id);
        outage.is_some_and(|outage| outage.kind == OutageKind::Degraded)
    }

    fn log_state(&self, series: u32, state: State) {
        let Some(target) = self.targets.get(&series) else {
            return;
        };
        let (monitor, address) = (&target.monitor, target.address.as_deref());
        tracing::debug!(monitor, target = address, state = state.name(), "state");
    }

    /// Collects the packets of the time about the first lost probe of a target: at once, since an outage that
    /// follows is known only after seconds. Targets that are lost at about the same time share them.
    fn pin(&mut self, series: u32, sent_ns: u64) {
        let near = sent_ns.saturating_sub(PIN_SHARED_NS)..=sent_ns.saturating_add(PIN_SHARED_NS);
        let known = self.pins.range(near).next().map(|(pin, _)| *pin);
        let pin = match known {
            Some(pin) => pin,
            None => {
                let address = self
                    .targets
                    .get(&series)
                    .and_then(|target| target.address.clone());
                let host = address.and_then(|text| text.split('%').next()?.parse().ok());
                let hosts: Vec<IpAddr> = host.into_iter().collect();
                let before = self.around.before(sent_ns);
                if !(self.record.evidences()).pin(sent_ns, sent_ns, &hosts, before) {
                    return;
                }
                sent_ns
            }
        };
        self.add_way(pin, series, sent_ns);
        self.pins.entry(pin).or_default().insert(series);
        self.book.attach(series, pin);
    }

    /// Adds the way to a target to evidence that is being collected.
    fn add_way(&self, pin: u64, series: u32, sent_ns: u64) {
        let Some((kind, address)) = self.path_call(series) else {
            return;
        };
        let change = PathChange {
            target: address.clone(),
            before: self.around.way(series, sent_ns),
            ..PathChange::default()
        };
        let way = Way {
            call: PathsCall {
                targets: vec![address],
                ..kind
            },
            change,
            is_asked: false,
        };
        self.record.evidences().add_way(pin, way);
    }

    /// A target answers again, and no outage followed.
    fn unpin(&mut self, series: u32) {
        let is_its = |suspected: &BTreeSet<u32>| suspected.contains(&series);
        let found = self
            .pins
            .iter()
            .rev()
            .find(|(_, suspected)| is_its(suspected));
        let Some(pin) = found.map(|(pin, _)| *pin) else {
            return;
        };
        let is_empty = self.pins.get_mut(&pin).is_some_and(|suspected| {
            suspected.remove(&series);
            suspected.is_empty()
        });
        if is_empty {
            self.pins.remove(&pin);
            if !self
                .book
                .outages()
                .rev()
                .any(|outage| outage.evidence == Some(pin))
            {
                self.record.evidences().unpin(pin);
            }
        }
    }

    fn log_begins(&mut self) {
        for id in std::mem::take(&mut self.unlogged) {
            if self.book.outages().any(|outage| outage.id == id) {
                self.log_outage(id, "outage_began", "began");
            }
        }
    }

    fn log_outage(&mut self, id: u64, kind: &str, what: &str) {
        let Some(outage) = self.book.outage(id) else {
            return;
        };
        let targets = outage.members.len();
        let first = outage.members.keys().next().copied().unwrap_or_default();
        let subject = (self.targets.get(&first)).and_then(|target| target.address.clone());
        let subject = subject.unwrap_or_default();
        let of = match targets {
            0 | 1 => self.transport_of(first).endpoint(&subject),
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

    /// Returns the next targets from a number on, each with the interval of its probes in nanoseconds, and why it was
    /// worse than its own history before.
    pub fn after(&self, first: u32, count: usize) -> Vec<(u32, u64, Option<Reason>)> {
        let interval_of = |target: &Target| {
            let known = self.monitors.get(&target.monitor);
            known.map_or(0, |known| known.spec.interval_ns)
        };
        let mut all: Vec<_> = (self.targets.iter())
            .filter(|(series, _)| **series >= first)
            .map(|(series, target)| (*series, interval_of(target), target.worse))
            .collect();
        all.sort_unstable_by_key(|(series, ..)| *series);
        all.truncate(count);
        all
    }

    /// Takes the result of a comparison of a target with its own history.
    pub fn compared(&mut self, compared: Compared) {
        let Compared {
            series,
            since_ns,
            turned_ns,
            reason,
        } = compared;
        let (reason, words) = reason.unzip();
        let state = self.book.state(series).map(|(state, ..)| state);
        let turned = match (state, &words) {
            (Some(State::Up), Some(_)) => Some("target_degraded"),
            (Some(State::Degraded), None) => Some("target_restored"),
            _ => None,
        };
        if let Some(target) = self.targets.get_mut(&series) {
            target.worse = reason;
        }
        if let (Some(kind), Some(target)) = (turned, self.targets.get(&series)) {
            let (monitor, address) = (target.monitor.clone(), target.address.clone());
            let address = address.unwrap_or_default();
            let text = match &words {
                Some(words) => format!("{monitor} {address} answers worse than before: {words}"),
                None => format!("{monitor} {address} answers as before"),
            };
            tracing::info!("{text}");
            self.log(kind, "notice", &address, text);
            if words.is_some() {
                self.pin(series, turned_ns);
            }
        }
        let at_ns = match turned {
            Some(_) => turned_ns,
            None => since_ns,
        };
        let news = self.book.degraded(series, words, at_ns);
        self.tell(news);
    }

    /// Takes an event of netsonded's log.
    pub fn logged(&mut self, time_ns: u64, event: Event) {
        self.keeper.set(LAST_EVENT.into(), Some(&time_ns));
        let _ = self.told.send(Told::Event(event.clone()));
        self.keeper.log(time_ns, event);
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
            ..Event::default()
        };
        self.log_event(wall_ns(), event);
    }

    /// Logs an event of a time in nanoseconds since 1970.
    pub(super) fn log_event(&mut self, time_ns: u64, event: Event) {
        let _ = self.told.send(Told::Event(event.clone()));
        self.keeper.log(time_ns, event);
    }

    /// Finds the targets that an address, an address with a port, a name or a monitor stands for.
    pub fn find(&self, text: &str) -> Vec<u32> {
        if let Some(known) = self.monitors.get(text) {
            return known.series.clone();
        }
        let is_it = |series: u32, target: &Target| {
            let is_name = matches!(&target.subject, Subject::Name(name) if name == text);
            let address = target.address.as_deref();
            let is_endpoint = |address: &str| self.transport_of(series).endpoint(address) == text;
            // Each endpoint is longer than its address.
            let is_longer = |address: &&str| text.len() > address.len() && text.contains(':');
            is_name || address == Some(text) || address.filter(is_longer).is_some_and(is_endpoint)
        };
        let found = (self.targets.iter()).filter(|(series, target)| is_it(**series, target));
        let mut found: Vec<u32> = found.map(|(series, _)| *series).collect();
        found.sort_unstable();
        found
    }
}
