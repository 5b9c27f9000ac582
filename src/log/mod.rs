//! SHELL. The log of the service, for keeper and engine: to the journal with fields of its own if
//! standard error is the journal, else one line per event to standard error. It is not a ready-made
//! one, because it keeps three promises:
//!
//! - It never blocks. A journal or a reader that has stopped costs lines, never packets; their
//!   number is reported by the next line that gets through, and by `netsonde status`.
//! - Nothing from the wire or from a client reaches a terminal or the journal unescaped
//!   ([`mod@line`]).
//! - Repeated lines are suppressed and summed up, each kind of line separately ([`limit`]).
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the subscriber that receives all events |
//! | `line` | an event as text and as fields, escaped |
//! | `limit` | rate limits per kind of line |
//! | `outlet` | destinations: the journal's socket, standard error |

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

/// Socket on which the journal receives datagrams of fields.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Target of audit events: who was given packets, and who was refused. They have a higher limit,
/// one per user, and are marked in the journal by `NETSONDE_AUDIT=1`.
pub const AUDIT: &str = "netsonde::audit";

/// Lines missing in the log since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines suppressed by the limits, and summed up.
    pub held_back: u64,
    /// Lines that neither journal nor standard error accepted in time.
    pub lost: u64,
}

/// The subscriber that turns events into lines. This program has no spans, so they are ignored.
#[derive(Debug)]
pub struct Log {
    process: &'static str,
    started: Instant,
    limiter: Mutex<Limiter>,
    outlet: Mutex<Outlet>,
    held_back: AtomicU64,
    lost: AtomicU64,
    /// Number of lost lines not yet reported.
    untold: AtomicU64,
}

/// The guarded state is consistent after every statement, and the log of a panic must not panic.
fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Creates the log of a process, named `keeper` or `engine`.
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

    /// Returns the number of missing lines.
    pub fn counts(&self) -> Counts {
        Counts {
            held_back: self.held_back.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Reports lines suppressed in windows that are over, and lost lines. To be called about once
    /// per second.
    pub fn sum_up(&self) {
        self.sum_up_after(self.started.elapsed());
    }

    fn sum_up_after(&self, now: Duration) {
        // Nothing is formatted or sent under the lock: the formatting code of a value may log.
        let ended = lock(&self.limiter).ended(now);
        for summary in ended {
            self.send(&Line::of_summary(&summary));
        }
        if self.untold.load(Ordering::Relaxed) > 0 {
            let line = Line::plain(Level::WARN, "logging resumed");
            // That it cannot continue yet is not one more lost line.
            let _ = self.try_send(&line);
        }
    }

    /// The same at the end of the process, also for windows that are not over.
    pub fn end(&self) {
        self.sum_up_after(Duration::MAX);
    }

    /// Logs one of the last lines of a process, regardless of the limits.
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
        // The summary of the previous window precedes the first line of this one.
        if let Some(summary) = admitted.before {
            self.send(&Line::of_summary(&summary));
        }
        let line = Line::of(event);
        if admitted.passes {
            self.send(&line);
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            // The latest state is more useful than the first, which is in the log.
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

/// Opens the log of this process and makes it the global one. Must be called first: the engine's
/// sandbox allows nothing to be opened later.
pub fn start(process: &'static str) {
    let log = LOG.get_or_init(|| Arc::new(Log::new(Outlet::find(Path::new(JOURNAL)), process)));
    // Fails if there is one already, which is then this one.
    let _ = tracing::subscriber::set_global_default(log.clone());
    // The default hook writes to standard error unescaped, and may block there.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// Returns the number of missing lines of this process; zero before [`start`].
pub fn counts() -> Counts {
    LOG.get().map(|log| log.counts()).unwrap_or_default()
}

/// Reports suppressed and lost lines; see [`Log::sum_up`].
pub fn sum_up() {
    if let Some(log) = LOG.get() {
        log.sum_up();
    }
}

/// Reports suppressed lines at the end of the process.
pub fn end() {
    if let Some(log) = LOG.get() {
        log.end();
    }
}

/// Prints why the process ends: on standard error as a command does, without time and level, after
/// `prefix`. One line, whatever the text contains.
pub fn refuse(prefix: &str, why: &str) {
    if let Some(log) = LOG.get() {
        log.refuse(prefix, why);
    }
}
