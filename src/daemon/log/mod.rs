//! SHELL. The log of the service, for keeper and engine: to the journal with fields of its own when
//! standard error is the journal, else a line an event to standard error. It keeps three promises, which
//! is why it is no ready-made one:
//!
//! - It never waits. A journal or a reader that has stopped costs lines, never packets; how many is told
//!   by the next line that gets through, and by `netsonde status`.
//! - Nothing from the wire or from a client reaches a terminal or the journal as it came ([`mod@line`]).
//! - What comes again and again is held back and summed up, each kind of line by itself ([`limit`]).
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the subscriber that all events go to |
//! | `line` | an event as text and as fields, escaped |
//! | `limit` | how many lines of a kind are let through |
//! | `outlet` | the journal's socket, standard error |

pub mod limit;
pub mod line;
pub mod outlet;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use limit::{Key, Limiter};
use line::Line;
use outlet::Outlet;

/// Where the journal takes datagrams of fields.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Target of events that say who was given packets and who was refused: with a larger limit of their
/// own, one for each user, and marked in the journal by `NETSONDE_AUDIT=1`.
pub const AUDIT: &str = "netsonde::audit";

/// What is not in the log, since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that were held back by the limits, and summed up.
    pub held_back: u64,
    /// Lines that neither journal nor standard error took in time.
    pub lost: u64,
}

/// Where events become lines. There are no spans in this program, so they are not kept.
#[derive(Debug)]
pub struct Log {
    process: &'static str,
    started: Instant,
    limiter: Mutex<Limiter>,
    outlet: Mutex<Outlet>,
    held_back: AtomicU64,
    lost: AtomicU64,
    /// Of those that were lost, how many no line has told of.
    untold: AtomicU64,
}

/// What the locks guard is right after every statement, and the log of a panic must not panic.
fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// The log of a process, named `keeper` or `engine`.
    pub fn new(outlet: Outlet, process: &'static str) -> Log {
        Log {
            process,
            started: Instant::now(),
            limiter: Mutex::new(Limiter::default()),
            outlet: Mutex::new(outlet),
            held_back: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// What is not in the log.
    pub fn counts(&self) -> Counts {
        Counts {
            held_back: self.held_back.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Tells what was held back in windows that are over, and what was lost. Meant to be called about
    /// once a second.
    pub fn sum_up(&self) {
        self.sum_up_after(self.started.elapsed());
    }

    fn sum_up_after(&self, now: Duration) {
        // Nothing is formatted or sent under the lock: a value's own code may log.
        let ended = lock(&self.limiter).ended(now);
        for summary in ended {
            self.send(&Line::of_summary(&summary));
        }
        if self.untold.load(Ordering::Relaxed) > 0 {
            let line = Line::plain(Level::WARN, "the log goes on");
            // That it can't go on yet is not one more line that is lost.
            let _ = self.try_send(&line);
        }
    }

    /// The same at the end, also for windows that are not over.
    pub fn end(&self) {
        self.sum_up_after(Duration::MAX);
    }

    /// One of the lines that a process ends with: whatever the limits are.
    fn refuse(&self, prefix: &str, why: &str) {
        let line = Line::plain(Level::ERROR, why);
        if !lock(&self.outlet).refuse(&line, self.process, prefix) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, line: &Line) {
        if !self.try_send(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn try_send(&self, line: &Line) -> bool {
        let untold = self.untold.load(Ordering::Relaxed);
        let through = lock(&self.outlet).send(line, self.process, untold);
        if through {
            self.untold.fetch_sub(untold, Ordering::Relaxed);
        }
        through
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let key = Key::of(event);
        let admitted = lock(&self.limiter).admit(&key, event.metadata(), self.started.elapsed());
        // What the window before held back comes before this window's first line.
        if let Some(summary) = admitted.before {
            self.send(&Line::of_summary(&summary));
        }
        let line = Line::of(event);
        if admitted.passes {
            self.send(&line);
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            // Where it stands now tells more than where it began, and that is in the log.
            lock(&self.limiter).remember(&key, line.message);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// Opens the log of this process and makes it the one that all events go to. To be called first: the
/// engine's sandbox lets nothing be opened later.
pub fn start(process: &'static str) {
    let log = LOG.get_or_init(|| Arc::new(Log::new(Outlet::find(Path::new(JOURNAL)), process)));
    // Fails if there is one already, which then is this one.
    let _ = tracing::subscriber::set_global_default(log.clone());
    // The usual hook writes what it was given to standard error as it is, and may wait there.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// What is not in the log of this process; zero before [`start`].
pub fn counts() -> Counts {
    LOG.get().map(|log| log.counts()).unwrap_or_default()
}

/// Tells what was held back and lost; see [`Log::sum_up`].
pub fn sum_up() {
    if let Some(log) = LOG.get() {
        log.sum_up();
    }
}

/// Tells what was held back, at the end of the process.
pub fn end() {
    if let Some(log) = LOG.get() {
        log.end();
    }
}

/// Says why the process ends: on standard error as a command does, without time and level, with `prefix`
/// before it. One line, whatever is in it.
pub fn refuse(prefix: &str, why: &str) {
    if let Some(log) = LOG.get() {
        log.refuse(prefix, why);
    }
}
