//! PURE. How many events of a kind are told one by one: an interface that flaps, or a hostile neighbour, must
//! neither fill the log nor the journal. What is left out is counted, and told as one event.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::{Event, Kind, Severity, duration};

/// Of a kind on an interface within a minute: a person reads no more of what is all the same.
pub const MAX_PER_MINUTE: u64 = 20;
const WINDOW_NS: u64 = 60_000_000_000;
/// Kinds and interfaces that are told apart within a window; of further ones no event is told.
const KEYS: usize = 1024;

#[derive(Debug)]
struct Window {
    began_ns: u64,
    told: u64,
    suppressed: u64,
    severity: Severity,
}

/// What was told lately.
#[derive(Debug, Default)]
pub struct Limit {
    windows: HashMap<(Kind, String), Window, RandomState>,
    /// Events that were not told, ever.
    pub suppressed: u64,
}

impl Limit {
    /// Whether to tell this one.
    pub fn admits(&mut self, event: &Event) -> bool {
        let key = (event.kind, event.interface.clone());
        if self.windows.len() >= KEYS && !self.windows.contains_key(&key) {
            self.suppressed += 1;
            return false;
        }
        let window = self.windows.entry(key).or_insert(Window {
            began_ns: event.time_ns,
            told: 0,
            suppressed: 0,
            severity: event.severity,
        });
        window.severity = window.severity.max(event.severity);
        if window.told < MAX_PER_MINUTE {
            window.told += 1;
            return true;
        }
        window.suppressed += 1;
        self.suppressed += 1;
        false
    }

    /// What is to be said of windows that are over.
    pub fn expired(&mut self, now_ns: u64) -> Vec<Event> {
        let mut events = Vec::new();
        self.windows.retain(|(kind, interface), window| {
            // A clock that is set back ends them, too.
            let lasted_ns = now_ns.wrapping_sub(window.began_ns);
            if lasted_ns < WINDOW_NS {
                return true;
            }
            if window.suppressed > 0 {
                let lasted_ns = lasted_ns.min(2 * WINDOW_NS);
                events.push(
                    Event::new(Kind::More, now_ns, interface, kind.name())
                        .with_severity(window.severity)
                        .with_text(format!(
                            "{} more {} within {}, beside the {MAX_PER_MINUTE} that are told",
                            window.suppressed,
                            kind.name(),
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
    fn many_are_told_as_one() {
        let mut limit = Limit::default();
        let at = |time_ns, interface| Event::new(Kind::LinkDown, time_ns, interface, "");
        let told = (0..500).filter(|time| limit.admits(&at(1000 + time, "e0")));
        assert_eq!(told.count() as u64, MAX_PER_MINUTE);
        assert!(limit.admits(&at(1600, "e1")));
        assert!(limit.expired(WINDOW_NS).is_empty());
        let over = limit.expired(WINDOW_NS + 2000);
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].severity, Severity::Warning);
        assert!(over[0].text.starts_with("480 more link_down"), "{over:?}");
        assert!(limit.admits(&at(WINDOW_NS + 3000, "e0")));
        assert_eq!(limit.suppressed, 480);
    }

    #[test]
    fn keys_are_bounded() {
        let mut limit = Limit::default();
        for number in 0..2 * KEYS {
            limit.admits(&Event::new(Kind::LinkNew, 5, &number.to_string(), ""));
        }
        assert_eq!((limit.windows.len(), limit.suppressed), (KEYS, KEYS as u64));
    }
}
