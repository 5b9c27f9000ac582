//! SHELL. The thread that owns what is on disk: probes, events, counters and the table of small values. A disk that does not answer
//! holds up this thread and those who read from it, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netsonde_core::protocol::history::Event;
use netsonde_history::chunk::Entry;
use netsonde_history::counters::{Minute, decode, encode};
use netsonde_history::disk::Disk;
use netsonde_history::packets::Packets;
use netsonde_history::store::{Compaction, Counters, Error, Options, Store};
use netsonde_history::table::{Table, json};
use serde::Serialize;

use crate::linux::wall_ns;

/// Interval of writing to the journal: what a power cut loses at most, with the second that a batch takes.
const FLUSH: Duration = Duration::from_secs(5);
/// Entries that may wait for a disk that does not answer: 100 s of 10,000 targets at 1 s, 48 MB.
const MAX_WAITING: usize = 1_000_000;
/// Time over which the steps of compaction are spread, so that they are not felt: at once those of an hour would take as
/// much of the processor as half an hour of probes. The next hour has its own.
const COMPACT_TIME: Duration = Duration::from_secs(2700);
/// Pause behind some steps: the least lets readers and probes come first, and the most is that of few series.
const COMPACT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
/// Steps in a row, a few milliseconds each: what they read and use is in the caches then.
const COMPACT_STEPS: u32 = 8;
/// Time in nanoseconds after which an operation of the disk is a problem: no disk that is well takes so long.
const STALLED_NS: u64 = 5_000_000_000;
/// Time that a reader waits for a disk that has not answered for so long.
const STALLED_WAIT: Duration = Duration::from_millis(500);
/// Name of the table's file.
const TABLE: &str = "table";
/// Entries in one piece of memory while they wait: pieces do not move when more come, and are given back to the kernel.
const BLOCK: usize = 4096;
/// Entries from which they are stored before it is time to write.
const MANY: usize = 100_000;
/// Requests of readers that may wait.
const MAX_QUERIES: usize = 64;

/// A probe or a gap of a series, with the interval of its probes in nanoseconds.
pub type Line = (u32, u64, Entry);

type Query = Box<dyn FnOnce(&mut Opened) + Send>;

/// What the thread owns.
pub struct Opened {
    /// Probes.
    pub store: Store<Disk>,
    /// Logged events, as lines of JSON: the same files as packets.
    pub events: Packets<Disk>,
    /// Events that are not on disk yet, with their times in nanoseconds since 1970.
    pub pending: Vec<(u64, Event)>,
    /// Minutes of counters, an hour in a record: the same files again, of a day each.
    hours: Packets<Disk>,
    /// Minutes that are in the table until their hour is written, by their end in nanoseconds since 1970.
    minutes: BTreeMap<u64, Minute>,
    damaged_chunks: u64,
    lost_minutes: u64,
    table: Table<Disk>,
    /// Directories of events and of counters, which are made again when they were removed.
    directories: [PathBuf; 2],
}

/// Key of a minute in the table.
const MINUTE: &str = "minute/";
/// Room of counters in their files.
const COUNTERS: u32 = 1;
/// Budget of counters in bytes: a year of six busy interfaces, or of an ordinary host's for some years.
pub const COUNTER_BYTES: u64 = 64 << 20;
/// Minutes of a record. Alone, each would have as many bytes around it as in it.
const MINUTES_A_CHUNK: usize = 60;
/// Minutes in the table while their hour cannot be written: a day's. Older ones are lost, and counted.
const MAX_MINUTES: usize = 1440;
const DAY_NS: u64 = 86_400_000_000_000;

/// Room of events in their files.
pub const EVENTS: u32 = 1;
/// Budget of events in bytes: years of an ordinary host's.
const EVENT_BYTES: u64 = 64 << 20;
/// Events that may wait for a disk that does not answer.
const MAX_EVENTS: usize = 100_000;

/// What waits for the disk.
#[derive(Default)]
struct Waiting {
    /// In blocks of [`BLOCK`].
    lines: Vec<Vec<Line>>,
    /// Changes of the table by key, the last of each as JSON; null removes.
    changes: BTreeMap<String, String>,
    /// Events with their times in nanoseconds since 1970.
    events: Vec<(u64, Event)>,
    minutes: Vec<Minute>,
    queries: VecDeque<Query>,
    is_ending: bool,
}

/// Figures of the store, for the status.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Bytes of the table.
    pub table_bytes: u64,
    /// Bytes of events.
    pub event_bytes: u64,
    /// Bytes and number of the files of counters, and the time of the oldest in nanoseconds since 1970.
    pub counter_files: (u64, usize, Option<u64>),
    /// Minutes of counters that were lost because they could not be written.
    pub lost_minutes: u64,
    /// Files and bytes of each tier.
    pub tiers: Vec<(&'static str, usize, u64)>,
    /// Counters of what could not be kept.
    pub counters: Counters,
    /// Lines of the table that were damaged.
    pub damaged_lines: u64,
    /// How long every probe is kept within the budget, in nanoseconds.
    pub kept_ns: Option<u64>,
    /// The last error, until a write succeeds.
    pub problem: Option<String>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    figures: Mutex<Figures>,
    /// Begin of the clock below.
    started: Instant,
    /// Nanoseconds since then at which the running operation of the disk began; 0 if there is none. Not since 1970: a
    /// clock that is set is no disk that does not answer.
    busy_since: AtomicU64,
    refused: AtomicU64,
    lost_events: AtomicU64,
    lost_minutes: AtomicU64,
    entries: AtomicUsize,
}

impl Shared {
    /// Nanoseconds since the start, at least 1.
    fn running_ns(&self) -> u64 {
        self.started.elapsed().as_nanos().max(1) as u64
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handle of the thread.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

/// The thread, which ends after everything is written.
pub struct Running {
    keeper: Keeper,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Opens what is in a directory, and starts the thread. Returns the table as it is for the start.
///
/// # Errors
///
/// The directory is another process's, has another version, or cannot be read.
pub fn start(directory: &Path, options: Options) -> Result<(Running, Table<Disk>), Error> {
    let known = Table::open(Disk::new(directory), TABLE)?;
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        wake: Condvar::new(),
        figures: Mutex::default(),
        started: Instant::now(),
        busy_since: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        lost_events: AtomicU64::new(0),
        lost_minutes: AtomicU64::new(0),
        entries: AtomicUsize::new(0),
    });
    let keeper = Keeper {
        shared: shared.clone(),
    };
    let (opened, is_open) = std::sync::mpsc::sync_channel(1);
    let path = directory.to_owned();
    let run = move || match Opened::open(&path, options) {
        Ok(mut all) => {
            describe(&shared, &all, None);
            let _ = opened.send(Ok(()));
            work(&shared, &mut all);
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    };
    let failed = |error| Error::Io {
        operation: "start a thread for",
        path: directory.display().to_string(),
        error,
    };
    let thread = std::thread::Builder::new().name("disk".into()).spawn(run);
    let thread = thread.map_err(failed)?;
    let is_open = is_open.recv();
    is_open.map_err(|_| failed(std::io::ErrorKind::BrokenPipe.into()))??;
    let running = Running {
        keeper,
        thread: Some(thread),
    };
    Ok((running, known))
}

fn key_of(minute: u64) -> String {
    format!("{MINUTE}{minute:020}")
}

/// Creates a directory if it is not there.
fn create(directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(|error| Error::Io {
        operation: "create",
        path: directory.display().to_string(),
        error,
    })
}

impl Opened {
    fn open(path: &Path, options: Options) -> Result<Opened, Error> {
        let of_events = Options {
            budget_bytes: EVENT_BYTES,
            ..options
        };
        let of_counters = Options {
            budget_bytes: COUNTER_BYTES,
            file_ns: DAY_NS,
            ..options
        };
        let (directory, hours) = (path.join("events"), path.join("counters"));
        create(&directory)?;
        create(&hours)?;
        let mut opened = Opened {
            store: Store::open(Disk::new(path), options)?,
            events: Packets::open(Disk::new(&directory), of_events)?,
            pending: Vec::new(),
            hours: Packets::open(Disk::new(&hours), of_counters)?,
            minutes: BTreeMap::new(),
            damaged_chunks: 0,
            lost_minutes: 0,
            table: Table::open(Disk::new(path), TABLE)?,
            directories: [directory, hours],
        };
        opened.read_minutes()?;
        Ok(opened)
    }

    /// Reads the minutes that are in the table. After a crash their hour may be written already.
    fn read_minutes(&mut self) -> Result<(), Error> {
        let last = self.hours.last(COUNTERS)?;
        let written = last
            .and_then(|(_, chunk)| decode(&chunk))
            .unwrap_or_default();
        let all = self.table.all::<Minute>(MINUTE);
        let all: Vec<(String, Minute)> = all.map(|(key, one)| (key.to_owned(), one)).collect();
        for (key, minute) in all {
            let is_it = |one: &Minute| (one.from_ns, one.to_ns) == (minute.from_ns, minute.to_ns);
            match (key.parse::<u64>(), written.iter().any(is_it)) {
                (Ok(number), false) => {
                    self.minutes.insert(number, minute);
                }
                _ => self.table.set(&format!("{MINUTE}{key}"), json(&None::<()>)),
            }
        }
        Ok(())
    }

    /// Takes a minute.
    fn count(&mut self, minute: Minute) {
        // A clock that was set back makes no minute replace another one.
        let mut number = minute.to_ns;
        while self.minutes.contains_key(&number) {
            number += 1;
        }
        self.table.set(&key_of(number), json(&minute));
        self.minutes.insert(number, minute);
        while self.minutes.len() > MAX_MINUTES
            && let Some((number, _)) = self.minutes.pop_first()
        {
            self.table.set(&key_of(number), json(&None::<()>));
            self.lost_minutes += 1;
        }
    }

    /// Writes an hour of minutes, if there is one.
    fn write_minutes(&mut self, now_ns: u64) -> Result<(), Error> {
        while self.minutes.len() >= MINUTES_A_CHUNK {
            let part: Vec<(u64, Minute)> = (self.minutes.iter().take(MINUTES_A_CHUNK))
                .map(|(number, minute)| (*number, minute.clone()))
                .collect();
            let minutes: Vec<Minute> = part.iter().map(|(_, minute)| minute.clone()).collect();
            let from_ns = minutes.iter().map(|minute| minute.from_ns).min();
            let to_ns = minutes.iter().map(|minute| minute.to_ns).max();
            let times = (from_ns.unwrap_or(0), to_ns.unwrap_or(0));
            let count = minutes.len() as u32;
            self.hours
                .append(COUNTERS, count, times, &encode(&minutes), now_ns)?;
            self.hours.sync(now_ns)?;
            for (number, _) in part {
                self.minutes.remove(&number);
                self.table.set(&key_of(number), json(&None::<()>));
            }
        }
        Ok(())
    }

    /// Returns a value of the table.
    pub fn value<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.table.get(key)
    }

    /// Calls `visit` with the minutes of counters that overlap a time, both ends included, those on disk first.
    ///
    /// # Errors
    ///
    /// The file system refuses to read. Damaged records are counted and skipped.
    pub fn read_counters(
        &mut self,
        from_ns: u64,
        to_ns: u64,
        mut visit: impl FnMut(Minute),
    ) -> Result<(), Error> {
        let is_wanted = |minute: &Minute| minute.from_ns <= to_ns && minute.to_ns >= from_ns;
        let mut damaged = 0;
        self.hours
            .read(COUNTERS, from_ns, to_ns, |_, chunk| match decode(chunk) {
                Some(minutes) => minutes.into_iter().filter(is_wanted).for_each(&mut visit),
                None => damaged += 1,
            })?;
        self.damaged_chunks += damaged;
        let waiting = self.minutes.values().filter(|minute| is_wanted(minute));
        waiting.cloned().for_each(visit);
        Ok(())
    }

    fn log(&mut self, now_ns: u64) -> Result<(), Error> {
        let mut lines = Vec::new();
        for (_, event) in &self.pending {
            // An event is strings, which JSON has all of.
            let _ = serde_json::to_writer(&mut lines, event);
            lines.push(b'\n');
        }
        let times = || self.pending.iter().map(|(time_ns, _)| *time_ns);
        if let (Some(first), Some(last)) = (times().min(), times().max()) {
            let count = self.pending.len() as u32;
            self.events
                .append(EVENTS, count, (first, last), &lines, now_ns)?;
        }
        self.events.sync(now_ns)
    }

    /// Writes everything. What is not written is still in memory. Directories that were removed are created again.
    fn flush(&mut self) -> Result<(), Error> {
        for directory in &self.directories {
            create(directory)?;
        }
        let now_ns = wall_ns();
        // Which outage a probe belongs to is useless without the probe: probes first.
        self.store.flush(now_ns)?;
        self.log(now_ns)?;
        self.pending.clear();
        // A minute leaves the table when its hour is on the disk.
        self.write_minutes(now_ns)?;
        self.table.flush()?;
        Ok(())
    }
}

fn describe(shared: &Shared, all: &Opened, problem: Option<String>) {
    use netsonde_history::segment::Tier;
    let store = &all.store;
    let tier = |tier: Tier| {
        let (files, bytes) = store.tier_size(tier);
        (tier.name(), files, bytes)
    };
    *lock(&shared.figures) = Figures {
        journal_bytes: store.journal_bytes().unwrap_or(0),
        table_bytes: all.table.bytes(),
        event_bytes: all.events.bytes(),
        tiers: Tier::HISTORY.map(tier).into(),
        counters: *store.counters(),
        counter_files: (all.hours.bytes(), all.hours.files(), all.hours.oldest_ns()),
        lost_minutes: all.lost_minutes,
        damaged_lines: all.table.counters().damaged
            + all.hours.counters().damaged
            + all.damaged_chunks,
        kept_ns: store.estimate().map(|estimate| estimate.kept_ns),
        problem,
    };
}

/// Stores entries series by series, each in its order: what is touched once for all probes of some seconds is touched
/// once, instead of once for each.
fn store(store: &mut Store<Disk>, lines: &[Vec<Line>]) {
    let mut order: Vec<(u32, u32, u32)> = Vec::new();
    for (at, block) in lines.iter().enumerate() {
        let places = block.iter().enumerate();
        order.extend(places.map(|(place, (series, ..))| (*series, at as u32, place as u32)));
    }
    order.sort_unstable();
    for (_, at, place) in order {
        let (series, interval_ns, entry) = &lines[at as usize][place as usize];
        store.push(*series, *interval_ns, entry);
    }
}

/// Returns the pause behind some steps of runs through all series.
fn compact_pause(series: usize, runs: usize) -> Duration {
    let (least, most) = COMPACT_PAUSE;
    let steps = u32::try_from(series.saturating_mul(runs.max(1))).unwrap_or(u32::MAX);
    (COMPACT_TIME * COMPACT_STEPS / steps.max(1)).clamp(least, most)
}

/// Does some steps of compaction, and ends early if somebody waits. Returns whether there is more to do.
fn compact(shared: &Shared, store: &mut Store<Disk>) -> bool {
    for _ in 0..COMPACT_STEPS {
        match store.compact(wall_ns()) {
            Ok(Compaction::More) => {}
            Ok(Compaction::Done) => return false,
            Err(error) => {
                tracing::warn!("{error}");
                return false;
            }
        }
        let waiting = lock(&shared.waiting);
        if waiting.is_ending || !waiting.queries.is_empty() {
            break;
        }
    }
    true
}

fn work(shared: &Shared, all: &mut Opened) {
    let mut due = Instant::now() + FLUSH;
    let mut compacts = true;
    let mut is_failing = false;
    loop {
        let mut waiting = lock(&shared.waiting);
        let has_work = |waiting: &Waiting| {
            let is_much = waiting.lines.len() > MANY / BLOCK;
            waiting.is_ending || !waiting.queries.is_empty() || is_much
        };
        if !has_work(&waiting) {
            let left = due.saturating_duration_since(Instant::now());
            let wait = match compacts {
                true => {
                    compact_pause(all.store.series(), all.store.merges_due(wall_ns())).min(left)
                }
                false => left,
            };
            let waited = shared.wake.wait_timeout(waiting, wait);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let lines = std::mem::take(&mut waiting.lines);
        let changes = std::mem::take(&mut waiting.changes);
        all.pending.append(&mut waiting.events);
        let minutes = std::mem::take(&mut waiting.minutes);
        let query = waiting.queries.pop_front();
        let is_ending = waiting.is_ending;
        drop(waiting);
        let count = lines.iter().map(Vec::len).sum();
        shared.entries.fetch_sub(count, Ordering::Relaxed);
        shared
            .busy_since
            .store(shared.running_ns(), Ordering::Relaxed);
        store(&mut all.store, &lines);
        drop(lines);
        for (key, value) in changes {
            all.table.set(&key, value);
        }
        for minute in minutes {
            all.count(minute);
        }
        if let Some(query) = query {
            query(all);
        }
        if Instant::now() >= due || is_ending {
            due = Instant::now() + FLUSH;
            let problem = all.flush().err().map(|error| error.to_string());
            match &problem {
                Some(problem) => tracing::warn!("{problem}"),
                None if is_failing => tracing::info!("the disk can be written again"),
                None => {}
            }
            is_failing = problem.is_some();
            let excess = all.pending.len().saturating_sub(MAX_EVENTS);
            all.pending.drain(..excess);
            shared
                .lost_events
                .fetch_add(excess as u64, Ordering::Relaxed);
            compacts = problem.is_none();
            describe(shared, all, problem);
        } else if compacts {
            compacts = compact(shared, &mut all.store);
        }
        shared.busy_since.store(0, Ordering::Relaxed);
        if is_ending && lock(&shared.waiting).queries.is_empty() {
            return;
        }
    }
}

impl Keeper {
    /// Stores probes and gaps. Returns false if too many wait for the disk: they are counted, and not kept. Takes them
    /// all in either case.
    pub fn push(&self, lines: &mut Vec<Line>) -> bool {
        let count = lines.len();
        if self.shared.entries.load(Ordering::Relaxed) + count > MAX_WAITING {
            self.shared
                .refused
                .fetch_add(count as u64, Ordering::Relaxed);
            lines.clear();
            return false;
        }
        self.shared.entries.fetch_add(count, Ordering::Relaxed);
        let mut waiting = lock(&self.shared.waiting);
        for line in lines.drain(..) {
            match waiting.lines.last_mut() {
                Some(block) if block.len() < BLOCK => block.push(line),
                _ => {
                    let mut block = Vec::with_capacity(BLOCK);
                    block.push(line);
                    waiting.lines.push(block);
                }
            }
        }
        true
    }

    /// Sets a value of the table; `None` removes it.
    pub fn set(&self, key: String, value: Option<&impl Serialize>) {
        let value = json(&value);
        // By key, so that a disk that does not answer costs one value of each.
        lock(&self.shared.waiting).changes.insert(key, value);
    }

    /// Logs an event.
    pub fn log(&self, time_ns: u64, event: Event) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.events.len() < MAX_EVENTS {
            waiting.events.push((time_ns, event));
        } else {
            self.shared.lost_events.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stores what this host's counters have counted in a minute.
    pub fn count(&self, minute: Minute) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.minutes.len() < MAX_MINUTES {
            waiting.minutes.push(minute);
        } else {
            self.shared.lost_minutes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of minutes of counters that were lost because the disk did not answer or refused, and the
    /// limit.
    pub fn lost_minutes(&self) -> (u64, u64) {
        let waiting = self.shared.lost_minutes.load(Ordering::Relaxed);
        let refused = lock(&self.shared.figures).lost_minutes;
        (waiting + refused, MAX_MINUTES as u64)
    }

    /// Returns the number of events that were lost because the disk did not answer, and the limit.
    pub fn lost_events(&self) -> (u64, u64) {
        (
            self.shared.lost_events.load(Ordering::Relaxed),
            MAX_EVENTS as u64,
        )
    }

    /// Reads from the store. `None` if the disk does not answer in time, or too many readers wait. If it has not answered
    /// for a while, nobody waits for long.
    pub async fn query<T: Send + 'static>(
        &self,
        within: Duration,
        read: impl FnOnce(&mut Opened) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        {
            let mut waiting = lock(&self.shared.waiting);
            if waiting.queries.len() >= MAX_QUERIES {
                return None;
            }
            waiting.queries.push_back(Box::new(move |all| {
                // A reader that has given up needs nothing read.
                if !answer.is_closed() {
                    let _ = answer.send(read(all));
                }
            }));
        }
        self.shared.wake.notify_one();
        let within = match self.stalled() {
            Some(_) => within.min(STALLED_WAIT),
            None => within,
        };
        tokio::time::timeout(within, answered).await.ok()?.ok()
    }

    /// Returns the figures of the store.
    pub fn figures(&self) -> Figures {
        let mut figures = lock(&self.shared.figures).clone();
        if let Some(words) = self.stalled() {
            figures.problem = Some(words);
        }
        figures
    }

    /// Returns in words how long the disk has not answered, if that is longer than it should take.
    pub fn stalled(&self) -> Option<String> {
        let since_ns = self.shared.busy_since.load(Ordering::Relaxed);
        let busy_ns = self.shared.running_ns().saturating_sub(since_ns);
        let seconds = busy_ns / 1_000_000_000;
        (since_ns != 0 && busy_ns > STALLED_NS)
            .then(|| format!("the disk has not answered for {seconds} s"))
    }

    /// Returns the number of entries that were not kept because the disk did not answer, and the limit.
    pub fn refused(&self) -> (u64, u64) {
        let refused = self.shared.refused.load(Ordering::Relaxed);
        (refused, MAX_WAITING as u64)
    }
}

impl Running {
    /// Returns a handle.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// Writes everything, and ends the thread.
    pub fn end(mut self) {
        lock(&self.keeper.shared.waiting).is_ending = true;
        self.keeper.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsonde_core::host::drops::Layer;
    use netsonde_history::counters::{Key, MINUTE_NS};

    const START: u64 = 1_800_000_000_000_000_000;

    fn minute(number: u64) -> Minute {
        let key = Key {
            layer: Layer::Device,
            subject: "e0".into(),
            name: "rx_missed_errors".into(),
        };
        Minute {
            from_ns: START + number * MINUTE_NS,
            to_ns: START + (number + 1) * MINUTE_NS,
            moved: [(key, number)].into(),
            ..Minute::default()
        }
    }

    fn open(path: &Path, seed: u64) -> Opened {
        let options = Options {
            seed,
            ..Options::default()
        };
        Opened::open(path, options).unwrap()
    }

    fn numbers(all: &mut Opened, from: u64, to: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let (from_ns, to_ns) = (START + from * MINUTE_NS + 1, START + to * MINUTE_NS - 1);
        let collect = |one: Minute| found.extend(one.moved.values().copied());
        all.read_counters(from_ns, to_ns, collect).unwrap();
        found
    }

    #[test]
    fn minutes_are_there_once_across_restarts_and_crashes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut written = 0;
        // 37 minutes at a time, so that hours end in the midst, dropped without an end.
        for round in 0..10 {
            let mut all = open(path, round);
            assert_eq!(
                numbers(&mut all, 0, written),
                (0..written).collect::<Vec<u64>>()
            );
            for number in written..written + 37 {
                all.count(minute(number));
            }
            all.flush().unwrap();
            written += 37;
        }
        // A crash after an hour was written, before the table knew.
        let mut all = open(path, 10);
        let table = std::fs::read(path.join(TABLE)).unwrap();
        let next = (written / 60 + 1) * 60;
        for number in written..next {
            all.count(minute(number));
        }
        all.table.flush().unwrap();
        let before = std::fs::read(path.join(TABLE)).unwrap();
        assert!(before.len() > table.len());
        all.flush().unwrap();
        drop(all);
        std::fs::write(path.join(TABLE), before).unwrap();
        let mut all = open(path, 11);
        assert_eq!(numbers(&mut all, 0, next), (0..next).collect::<Vec<u64>>());
        assert!(all.minutes.is_empty());
        assert_eq!(numbers(&mut all, 50, 70), (50..70).collect::<Vec<u64>>());
        assert!(numbers(&mut all, next, next + 100).is_empty());
    }

    #[test]
    fn a_damaged_byte_costs_an_hour_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let mut all = open(directory.path(), 1);
        for number in 0..300 {
            all.count(minute(number));
            all.flush().unwrap();
        }
        drop(all);
        let files = std::fs::read_dir(directory.path().join("counters")).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let file = files.filter(|path| path.extension().is_some_and(|end| end == "seg"));
        let file = file
            .max_by_key(|path| path.metadata().unwrap().len())
            .unwrap();
        let bytes = std::fs::read(&file).unwrap();
        // Not the two heads.
        for at in (128..bytes.len()).step_by(bytes.len() / 40) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            std::fs::write(&file, &wrong).unwrap();
            let mut all = open(directory.path(), 2 + at as u64);
            let found = numbers(&mut all, 0, 300);
            assert!(found.len() >= 240, "{at}: {} minutes", found.len());
            let mut once = found.clone();
            once.dedup();
            assert_eq!(once, found);
        }
    }

    #[test]
    fn clocks_that_were_set_back_replace_no_minute_and_a_refusing_disk_keeps_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let mut all = open(directory.path(), 1);
        all.count(minute(1));
        all.count(minute(1));
        assert_eq!(numbers(&mut all, 1, 2), [1, 1]);
        for number in 2..MAX_MINUTES as u64 + 10 {
            all.count(minute(number));
        }
        assert_eq!(all.minutes.len(), MAX_MINUTES);
        assert_eq!(all.lost_minutes, 10);
    }
}
