//! SHELL. Rate limits of the log, per kind of line. A kind is a place in the source; for audit
//! events a place and a user, so that no user can hide the actions of another behind a flood.

use std::collections::HashMap;
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// Length of a window, which begins with its first line. Ten seconds are short enough for a timely
/// summary, and long enough that a persistent fault costs little.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Maximum number of lines of a kind per window: the beginning of a storm line by line, then two
/// lines per second, which a person can still follow.
pub const LINES: u32 = 20;
/// Maximum number of lines of all kinds per window, except errors and audit events. A client can
/// choose what is logged, but not how much.
pub const LINES_OF_ALL: u32 = 100;
/// The same for errors, so that other lines do not use up their share. With two processes the sum
/// stays below the journal's own limit for a unit (10,000 lines in 30 s by default), beyond which
/// it would drop lines regardless of their content.
pub const ERRORS_OF_ALL: u32 = 100;
/// Maximum number of audit lines of a kind and a user per window: more than requests made by hand.
pub const AUDITS: u32 = 200;
/// Maximum number of kinds. The source has about fifty places; the rest is for users in the audit.
/// Further ones share the window of their place, whoever the user is.
pub const KINDS: usize = 512;

/// A kind of line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    place: Identifier,
    uid: Option<u64>,
}

impl Key {
    /// Returns the kind of an event.
    pub fn of(event: &Event<'_>) -> Key {
        let mut uid = Uid(None);
        if event.metadata().target() == super::AUDIT {
            event.record(&mut uid);
        }
        Key {
            place: event.metadata().callsite(),
            uid: uid.0,
        }
    }
}

/// Searches for the field `uid`.
struct Uid(Option<u64>);

impl Visit for Uid {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "uid" {
            self.0 = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Suppressed lines of a kind.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Number of lines.
    pub count: u64,
    /// Their place in the source.
    pub place: &'static Metadata<'static>,
    /// The last of them.
    pub last: String,
}

/// Decision of the limiter.
#[derive(Debug)]
pub struct Admitted {
    /// Whether the line may be logged.
    pub passes: bool,
    /// Lines suppressed in the previous window, if this line begins a new one.
    pub before: Option<Summary>,
}

#[derive(Debug, Default)]
struct Window {
    since: Duration,
    lines: u32,
}

impl Window {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= WINDOW
    }

    /// Counts a line, if the limit allows it.
    fn take(&mut self, max: u32) -> bool {
        let room = self.lines < max;
        self.lines += u32::from(room);
        room
    }
}

#[derive(Debug)]
struct Kind {
    window: Window,
    held_back: u64,
    place: &'static Metadata<'static>,
    last: String,
}

impl Kind {
    fn summary(&mut self) -> Option<Summary> {
        let count = std::mem::take(&mut self.held_back);
        (count > 0).then(|| Summary {
            count,
            place: self.place,
            last: std::mem::take(&mut self.last),
        })
    }
}

/// All windows. Times are relative to an arbitrary moment.
#[derive(Debug, Default)]
pub struct Limiter {
    kinds: HashMap<Key, Kind>,
    all: Window,
    errors: Window,
}

impl Limiter {
    /// Decides whether a line of this kind may be logged now.
    pub fn admit(
        &mut self,
        key: &Key,
        place: &'static Metadata<'static>,
        now: Duration,
    ) -> Admitted {
        let key = self.shared_if_full(key);
        let kind = self.kinds.entry(key).or_insert_with(|| Kind {
            window: Window {
                since: now,
                lines: 0,
            },
            held_back: 0,
            place,
            last: String::new(),
        });
        let begin = |window: &mut Window| {
            let over = window.is_over(now);
            if over {
                *window = Window {
                    since: now,
                    lines: 0,
                };
            }
            over
        };
        let before = begin(&mut kind.window).then(|| kind.summary()).flatten();
        let passes = if place.target() == super::AUDIT {
            // No common limit: one user's actions must never hide another's.
            kind.window.take(AUDITS)
        } else {
            let (all, max) = if *place.level() == Level::ERROR {
                (&mut self.errors, ERRORS_OF_ALL)
            } else {
                (&mut self.all, LINES_OF_ALL)
            };
            begin(all);
            // In this order, so that a kind that floods does not use up the share of others.
            kind.window.take(LINES) && all.take(max)
        };
        kind.held_back += u64::from(!passes);
        Admitted { passes, before }
    }

    fn shared_if_full(&self, key: &Key) -> Key {
        let mut key = key.clone();
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&key) {
            key.uid = None;
        }
        key
    }

    /// Keeps a suppressed line, for the summary.
    pub fn remember(&mut self, key: &Key, message: String) {
        let key = self.shared_if_full(key);
        if let Some(kind) = self.kinds.get_mut(&key) {
            kind.last = message;
        }
    }

    /// Returns the lines suppressed in windows that are over, and removes those windows.
    pub fn ended(&mut self, now: Duration) -> Vec<Summary> {
        let mut summaries = Vec::new();
        self.kinds.retain(|_, kind| {
            let over = kind.window.is_over(now);
            if over {
                summaries.extend(kind.summary());
            }
            !over
        });
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::Subscriber;
    use tracing::span::{Attributes, Id, Record};

    type Caught = Arc<Mutex<Vec<(Key, &'static Metadata<'static>)>>>;

    /// Collects the kinds of events.
    struct Catch(Caught);

    impl Subscriber for Catch {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            let kind = (Key::of(event), event.metadata());
            self.0.lock().unwrap().push(kind);
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn kinds(log: impl FnOnce()) -> Vec<(Key, &'static Metadata<'static>)> {
        let caught = Caught::default();
        tracing::subscriber::with_default(Catch(caught.clone()), log);
        let mut kinds = caught.lock().unwrap();
        std::mem::take(&mut *kinds)
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_kind_has_its_lines_in_a_window_and_then_a_summary() {
        let (key, place) = kinds(|| tracing::info!("x")).remove(0);
        let mut limiter = Limiter::default();
        for line in 0..50 {
            let admitted = limiter.admit(&key, place, at(100 + line));
            assert_eq!(admitted.passes, line < u64::from(LINES), "{line}");
            assert!(admitted.before.is_none());
            if !admitted.passes {
                limiter.remember(&key, format!("line {line}"));
            }
        }
        assert!(limiter.ended(at(10_099)).is_empty(), "it is not over");
        // Either the next line reports it,
        let next = limiter.admit(&key, place, at(10_100));
        assert!(next.passes);
        let before = next.before.unwrap();
        assert_eq!((before.count, before.last.as_str()), (30, "line 49"));
        for _ in 1..50 {
            limiter.admit(&key, place, at(10_200));
        }
        // or the end of the window.
        let ended = limiter.ended(at(20_100));
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].count, 30);
        assert!(limiter.kinds.is_empty() && limiter.ended(at(40_000)).is_empty());
    }

    #[test]
    fn errors_have_room_when_everything_else_has_none() {
        let all = kinds(|| {
            tracing::error!("x");
            tracing::info!("1");
            tracing::info!("2");
            tracing::warn!("3");
            tracing::info!("4");
            tracing::info!("5");
            tracing::info!("6");
        });
        let mut limiter = Limiter::default();
        let mut passed = 0;
        for (key, place) in &all[1..] {
            for _ in 0..LINES {
                passed += u32::from(limiter.admit(key, place, at(0)).passes);
            }
        }
        assert_eq!(passed, LINES_OF_ALL);
        let (key, place) = &all[0];
        assert!(limiter.admit(key, place, at(0)).passes);
        let held_back: u64 = limiter.ended(at(10_000)).iter().map(|s| s.count).sum();
        assert_eq!(held_back, u64::from(LINES * 6 - LINES_OF_ALL));
    }

    #[test]
    fn no_user_hides_anothers_audit() {
        let all = kinds(|| {
            for uid in 0..2 * KINDS as u64 {
                tracing::info!(target: crate::log::AUDIT, uid, "x");
            }
        });
        let mut limiter = Limiter::default();
        let (first, place) = &all[0];
        for line in 0..1000 {
            let passes = limiter.admit(first, place, at(0)).passes;
            assert_eq!(passes, line < AUDITS, "{line}");
        }
        let (second, place) = &all[1];
        assert!(limiter.admit(second, place, at(0)).passes);
        // The cost is bounded for any number of users; their place is one kind more.
        for (key, place) in &all {
            limiter.admit(key, place, at(0));
        }
        assert_eq!(limiter.kinds.len(), KINDS + 1);
    }
}
