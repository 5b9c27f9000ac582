//! PURE. What is known of this host second by second, before anything is lost: its counters, and the ways to targets.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use netsonde_core::protocol::history::PathState;
use netsonde_core::protocol::inventory::Path;
use netsonde_core::protocol::time;
use netsonde_history::counters::{Minute, Minutes};

use super::second::Second;

/// Seconds whose drop counters are kept: a probe is known to be lost at most 15 s after it was sent.
const MAX_SECONDS: usize = 40;
/// Targets whose ways are kept, about 300 bytes each. Of further ones the way before an outage is not known.
const MAX_WAYS: usize = 16_384;
/// Interval in nanoseconds of looking at the way to each target. With more targets than can be asked for in it, it takes
/// longer: 42 minutes with 10,000.
const INTERVAL_NS: u64 = 60_000_000_000;
/// Targets that are looked at in a second, and new ones: each costs netsonded's engine a quarter of a millisecond, as
/// much as 40 probes. Targets of one monitor mostly have one way, so that those that were looked at lately show a change.
const MAX_A_SECOND: usize = 4;
const MAX_NEW_A_SECOND: usize = 32;
/// The same after targets were new: their first way may be of before the first probe, without a neighbor entry.
const FIRST_INTERVAL_NS: u64 = 5_000_000_000;
/// Ways that are compared with a new one, so that thousands of targets behind one gateway have one in memory.
const MAX_LATEST: usize = 16;

/// The way to a target at a time in nanoseconds since 1970, as JSON, which takes a fraction of the memory.
type Way = (u64, Rc<str>);

/// What is known.
#[derive(Debug, Default)]
pub struct Around {
    minutes: Minutes,
    seconds: VecDeque<Arc<Second>>,
    /// The last two ways of each target: the latest may be of after its first lost probe.
    ways: HashMap<u32, (Way, Option<Way>)>,
    latest: VecDeque<Rc<str>>,
    /// Targets that are looked at in this interval.
    due: VecDeque<u32>,
    filled_ns: u64,
    filled: usize,
    had_new: bool,
}

impl Around {
    /// Takes the counters of a second. Returns the minutes that are complete.
    pub fn counted(&mut self, second: Second) -> Vec<Minute> {
        if self.seconds.len() >= MAX_SECONDS {
            self.seconds.pop_front();
        }
        self.seconds.push_back(Arc::new(Second {
            reading: second.reading.drops(),
            links: second.links,
        }));
        self.minutes.add(second.reading)
    }

    /// Returns what there is of the running minute, before an orderly end.
    pub fn end(&mut self) -> Option<Minute> {
        self.minutes.end()
    }

    /// Returns the last second before a time, in nanoseconds since 1970.
    pub fn before(&self, time_ns: u64) -> Option<Arc<Second>> {
        let mut all = self.seconds.iter().rev();
        let found = all.find(|second| second.reading.time_ns <= time_ns);
        found.cloned()
    }

    /// Returns targets whose ways are to be looked at now: called once a second, with the numbers of all targets.
    pub fn due(&mut self, now_ns: u64, count: usize, all: impl Iterator<Item = u32>) -> Vec<u32> {
        let interval_ns = match self.had_new {
            true => FIRST_INTERVAL_NS,
            false => INTERVAL_NS,
        };
        let is_over = now_ns.abs_diff(self.filled_ns) >= interval_ns;
        if self.due.is_empty() && (is_over || self.filled != count) {
            self.filled_ns = now_ns;
            self.filled = count;
            let mut all: Vec<u32> = all.collect();
            // The same ones each time.
            all.sort_unstable();
            all.truncate(MAX_WAYS);
            (self.ways).retain(|series, _| all.binary_search(series).is_ok());
            let is_new = |series: &u32| !self.ways.contains_key(series);
            let (new, old): (Vec<u32>, Vec<u32>) = all.into_iter().partition(is_new);
            self.had_new = !new.is_empty();
            self.due.extend(new);
            self.due.extend(old);
        }
        let seconds = (INTERVAL_NS / 1_000_000_000) as usize;
        let some = self.filled.div_ceil(seconds).clamp(1, MAX_A_SECOND);
        // New targets are not kept waiting.
        let new = self.due.iter().take(MAX_NEW_A_SECOND);
        let new = new
            .take_while(|series| !self.ways.contains_key(series))
            .count();
        let some = some.max(new).min(self.due.len());
        self.due.drain(..some).collect()
    }

    /// Takes the way to a target at a time in nanoseconds since 1970.
    pub fn looked(&mut self, series: u32, time_ns: u64, path: Path) {
        let path = Path {
            target: String::new(),
            ..path
        };
        let text: Rc<str> = serde_json::to_string(&path).unwrap_or_default().into();
        let shared = self.latest.iter().find(|one| **one == text).cloned();
        let text = shared.unwrap_or_else(|| {
            self.latest.truncate(MAX_LATEST - 1);
            self.latest.push_front(text.clone());
            text
        });
        let before = self.ways.remove(&series);
        let text = match &before {
            Some(((_, last), _)) if *last == text => last.clone(),
            _ => text,
        };
        let before = before.map(|(last, _)| last);
        self.ways.insert(series, ((time_ns, text), before));
    }

    /// Returns the way to a target when it was last looked at before a time in nanoseconds since 1970.
    pub fn way(&self, series: u32, time_ns: u64) -> Option<PathState> {
        let (last, before) = self.ways.get(&series)?;
        let mut all = std::iter::once(last).chain(before);
        let (at_ns, text) = all.find(|(at_ns, _)| *at_ns < time_ns)?;
        let path: Path = serde_json::from_str(text).ok()?;
        Some(PathState::new(&time(*at_ns), path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    fn path(gateway: &str) -> Path {
        Path {
            target: "10.9.0.1".into(),
            gateway: Some(gateway.into()),
            ..Path::default()
        }
    }

    #[test]
    fn the_way_before_a_time_is_the_last_one_before_it() {
        let mut around = Around::default();
        assert_eq!(around.way(1, START), None);
        around.looked(1, START, path("10.0.0.1"));
        around.looked(2, START, path("10.0.0.1"));
        around.looked(1, START + 60 * SECOND, path("10.0.0.254"));
        let gateway = |around: &Around, time_ns| around.way(1, time_ns).and_then(|way| way.gateway);
        assert_eq!(gateway(&around, START), None);
        assert_eq!(
            gateway(&around, START + SECOND).as_deref(),
            Some("10.0.0.1")
        );
        let later = START + 61 * SECOND;
        assert_eq!(gateway(&around, later).as_deref(), Some("10.0.0.254"));
        let (first, other) = (&around.ways[&1].1, &around.ways[&2].0);
        assert!(Rc::ptr_eq(&first.as_ref().unwrap().1, &other.1));
    }

    #[test]
    fn each_target_is_looked_at_once_a_minute() {
        let mut around = Around::default();
        let mut looked: HashMap<u32, usize> = HashMap::new();
        for second in 0..180 {
            let now_ns = START + second * SECOND;
            let due = around.due(now_ns, 100, 1..101);
            assert!(due.len() <= MAX_NEW_A_SECOND);
            for series in due {
                *looked.entry(series).or_default() += 1;
                around.looked(series, now_ns, path("10.0.0.1"));
            }
            if second == 3 {
                // New ones do not wait.
                assert_eq!(looked.len(), 100);
            }
        }
        // Once more than that in the beginning.
        assert!(looked.values().all(|count| *count == 4));
        // One that was removed is forgotten, one that is new is looked at.
        let due = around.due(START + 240 * SECOND, 100, 2..102);
        assert_eq!(due[0], 101);
        assert!(!around.ways.contains_key(&1));
        // With more targets it takes longer.
        let mut around = Around::default();
        let mut seconds = 0;
        let mut count = 0;
        while count < 10_000 {
            let due = around.due(START + seconds * SECOND, 10_000, 1..10_001);
            for series in &due {
                around.looked(*series, START, path("10.0.0.1"));
            }
            count += due.len();
            seconds += 1;
        }
        assert_eq!(seconds, 10_000u64.div_ceil(32));
        // All are known, and looked at in turn.
        let due = around.due(START + 1000 * SECOND, 10_000, 1..10_001);
        assert_eq!(due.len(), MAX_A_SECOND);
    }
}
