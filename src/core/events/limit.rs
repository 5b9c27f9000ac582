//! PURE. Rate limit for events of one kind: a flapping interface or a hostile neighbor must not fill the log
//! or the journal. Suppressed events are counted and reported as one event.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::{Event, Kind, Severity, duration};
use crate::text::counted;

/// Maximum events of one kind on one interface per minute. Further ones tell a reader nothing new.
pub const MAX_PER_MINUTE: u64 = 20;
const WINDOW_NS: u64 = 60_000_000_000;
/// Maximum pairs of kind and interface tracked at a time; events of further pairs are suppressed.
const MAX_KEYS: usize = 1024;

#[derive(Debug)]
struct Window {
    began_ns: u64,
    admitted: u64,
    suppressed: u64,
    /// Highest severity in this window.
    severity: Severity,
}

/// Rate limiter with one window per kind and interface.
#[derive(Debug, Default)]
pub struct RateLimit {
    windows: HashMap<(Kind, String), Window, RandomState>,
    /// Events suppressed since the start.
    pub suppressed: u64,
}

impl RateLimit {
    /// Counts an event, and returns whether to log it.
    pub fn admits(&mut self, event: &Event) -> bool {
        let key = (event.kind, event.interface.clone());
        if self.windows.len() >= MAX_KEYS && !self.windows.contains_key(&key) {
            self.suppressed += 1;
            return false;
        }
        let window = self.windows.entry(key).or_insert(Window {
            began_ns: event.time_ns,
            admitted: 0,
            suppressed: 0,
            severity: event.severity,
        });
        window.severity = window.severity.max(event.severity);
        if window.admitted < MAX_PER_MINUTE {
            window.admitted += 1;
            return true;
        }
        window.suppressed += 1;
        self.suppressed += 1;
        false
    }

    /// Ends windows that are over, and returns an event for each that suppressed any.
    pub fn expired(&mut self, now_ns: u64) -> Vec<Event> {
        let mut events = Vec::new();
        self.windows.retain(|(kind, interface), window| {
            // A wall clock that was set back ends a window, too.
            let lasted_ns = now_ns.wrapping_sub(window.began_ns);
            if lasted_ns < WINDOW_NS {
                return true;
            }
            if window.suppressed > 0 {
                let lasted_ns = lasted_ns.min(2 * WINDOW_NS);
                events.push(
                    Event::new(Kind::Suppressed, now_ns, interface, kind.name())
                        .with_severity(window.severity)
                        .with_text(format!(
                            "{} in {} not logged (limit {MAX_PER_MINUTE})",
                            counted(window.suppressed, &format!("further {} event", kind.name())),
                            duration(lasted_ns),
                        )),
                );
            }
            false
        });
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_events_become_one() {
        let mut limit = RateLimit::default();
        let at = |time_ns, interface| Event::new(Kind::LinkDown, time_ns, interface, "");
        let admitted = (0..500).filter(|time| limit.admits(&at(1000 + time, "e0")));
        assert_eq!(admitted.count() as u64, MAX_PER_MINUTE);
        assert!(limit.admits(&at(1600, "e1")));
        assert!(limit.expired(WINDOW_NS).is_empty());
        let expired = limit.expired(WINDOW_NS + 2000);
        assert_eq!(expired.len(), 1);
        assert_eq!(expired[0].severity, Severity::Warning);
        assert!(
            expired[0]
                .text
                .starts_with("480 further link_down events in 60.0 s not logged"),
            "{expired:?}"
        );
        assert!(limit.admits(&at(WINDOW_NS + 3000, "e0")));
        assert_eq!(limit.suppressed, 480);
    }

    #[test]
    fn tracked_keys_are_bounded() {
        let mut limit = RateLimit::default();
        for number in 0..2 * MAX_KEYS {
            limit.admits(&Event::new(Kind::LinkNew, 5, &number.to_string(), ""));
        }
        assert_eq!(
            (limit.windows.len(), limit.suppressed),
            (MAX_KEYS, MAX_KEYS as u64)
        );
    }
}
