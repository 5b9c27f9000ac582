//! SHELL. The thread that owns what is on disk: probes and the table of small values. A disk that does not answer
//! holds up this thread and those who read from it, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netsonde_core::protocol::history::Event;
use netsonde_history::chunk::Entry;
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
/// Pause between two steps of compaction, so that readers and probes come first.
const COMPACT_PAUSE: Duration = Duration::from_millis(20);
/// Time in nanoseconds after which an operation of the disk is a problem: no disk that is well takes so long.
const STALLED_NS: u64 = 5_000_000_000;
/// Time that a reader waits for a disk that has not answered for so long.
const STALLED_WAIT: Duration = Duration::from_millis(500);
/// Name of the table's file.
const TABLE: &str = "table";
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
    table: Table<Disk>,
    /// Directory of events.
    of_events: PathBuf,
}

/// Room of events in their files.
pub const EVENTS: u32 = 1;
/// Budget of events in bytes: years of an ordinary host's.
const EVENT_BYTES: u64 = 64 << 20;
/// Events that may wait for a disk that does not answer.
const MAX_EVENTS: usize = 100_000;

/// What waits for the disk.
#[derive(Default)]
struct Waiting {
    lines: Vec<Line>,
    /// Changes of the table by key, the last of each; null removes.
    /// Values as JSON, by key.
    changes: BTreeMap<String, String>,
    /// Events with their times in nanoseconds since 1970.
    events: Vec<(u64, Event)>,
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
        let directory = path.join("events");
        create(&directory)?;
        Ok(Opened {
            store: Store::open(Disk::new(path), options)?,
            events: Packets::open(Disk::new(&directory), of_events)?,
            pending: Vec::new(),
            table: Table::open(Disk::new(path), TABLE)?,
            of_events: directory,
        })
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
        create(&self.of_events)?;
        let now_ns = wall_ns();
        // Which outage a probe belongs to is useless without the probe: probes first.
        self.store.flush(now_ns)?;
        self.log(now_ns)?;
        self.pending.clear();
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
        damaged_lines: all.table.counters().damaged,
        kept_ns: store.estimate().map(|estimate| estimate.kept_ns),
        problem,
    };
}

fn work(shared: &Shared, all: &mut Opened) {
    let mut due = Instant::now() + FLUSH;
    let mut compacts = true;
    let mut is_failing = false;
    loop {
        let mut waiting = lock(&shared.waiting);
        let has_work = |waiting: &Waiting| {
            waiting.is_ending || !waiting.queries.is_empty() || waiting.lines.len() > 10_000
        };
        if !has_work(&waiting) {
            let wait = match compacts {
                true => COMPACT_PAUSE.min(due.saturating_duration_since(Instant::now())),
                false => due.saturating_duration_since(Instant::now()),
            };
            let waited = shared.wake.wait_timeout(waiting, wait);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let lines = std::mem::take(&mut waiting.lines);
        let changes = std::mem::take(&mut waiting.changes);
        all.pending.append(&mut waiting.events);
        let query = waiting.queries.pop_front();
        let is_ending = waiting.is_ending;
        drop(waiting);
        shared.entries.fetch_sub(lines.len(), Ordering::Relaxed);
        shared
            .busy_since
            .store(shared.running_ns(), Ordering::Relaxed);
        for (series, interval_ns, entry) in &lines {
            all.store.push(*series, *interval_ns, entry);
        }
        for (key, value) in changes {
            all.table.set(&key, value);
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
            compacts = match all.store.compact(wall_ns()) {
                Ok(Compaction::More) => true,
                Ok(Compaction::Done) => false,
                Err(error) => {
                    tracing::warn!("{error}");
                    false
                }
            };
        }
        shared.busy_since.store(0, Ordering::Relaxed);
        if is_ending && lock(&shared.waiting).queries.is_empty() {
            return;
        }
    }
}

impl Keeper {
    /// Stores probes and gaps. Returns false if too many wait for the disk: they are counted, and not kept.
    pub fn push(&self, lines: Vec<Line>) -> bool {
        let count = lines.len();
        if self.shared.entries.load(Ordering::Relaxed) + count > MAX_WAITING {
            self.shared
                .refused
                .fetch_add(count as u64, Ordering::Relaxed);
            return false;
        }
        self.shared.entries.fetch_add(count, Ordering::Relaxed);
        let mut waiting = lock(&self.shared.waiting);
        if waiting.lines.is_empty() {
            waiting.lines = lines;
        } else {
            waiting.lines.extend(lines);
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
