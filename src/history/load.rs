//! PURE. Whether probes are lost only while an interface carries much.
//!
//! The load of each second of the last hour is compared with that of the seconds in which probes were lost. If all
//! of these are among the few busiest, chance would choose them so with the share of such seconds to the power of
//! their number. Losses in one second count as one, since they have one load.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Seconds that are kept of an interface: an hour.
const MAX_SAMPLES: usize = 3600;
/// Interfaces that are watched, about 86 KB each.
const MAX_INTERFACES: usize = 64;
/// Seconds that must be known.
const MIN_SAMPLES: usize = 60;
/// Seconds with losses that must be known.
const MIN_LOST: usize = 5;
/// Share of seconds with so much load up to which it is much.
const MAX_SHARE: f64 = 0.25;
/// Chance below which it is no coincidence: several interfaces are compared each minute.
const MAX_CHANCE: f64 = 1e-6;
/// Longest time that a sample may have, in nanoseconds: of a longer one the load of a second is not known.
const MAX_SAMPLE_NS: u64 = 3_000_000_000;

/// Load within a time: from when to when, in nanoseconds since 1970, and bits per second.
type Sample = (u64, u64, u64);

#[derive(Debug, Default)]
struct Interface {
    /// Time and bytes of the last report.
    last: Option<(u64, u64)>,
    samples: VecDeque<Sample>,
}

/// The load of interfaces.
#[derive(Debug, Default)]
pub struct Loads {
    interfaces: BTreeMap<String, Interface>,
}

impl Loads {
    /// Takes the number of bytes that an interface has carried until a time, in nanoseconds since 1970.
    pub fn add(&mut self, name: &str, time_ns: u64, bytes: u64) {
        if !self.interfaces.contains_key(name) {
            if self.interfaces.len() >= MAX_INTERFACES {
                return;
            }
            self.interfaces.insert(name.into(), Interface::default());
        }
        let Some(interface) = self.interfaces.get_mut(name) else {
            return;
        };
        let before = interface.last.replace((time_ns, bytes));
        let Some((from_ns, from_bytes)) = before else {
            return;
        };
        if time_ns < from_ns {
            // The clock was set back: samples are in the order of their times.
            interface.samples.clear();
            return;
        }
        // A counter that went back is that of another service.
        if (1..=MAX_SAMPLE_NS).contains(&(time_ns - from_ns)) && bytes >= from_bytes {
            let bits = u128::from(bytes - from_bytes) * 8 * 1_000_000_000;
            let rate = (bits / u128::from(time_ns - from_ns)) as u64;
            if interface.samples.len() >= MAX_SAMPLES {
                interface.samples.pop_front();
            }
            interface.samples.push_back((from_ns, time_ns, rate));
        }
    }

    /// Returns in words what the losses have to do with the load of an interface; `None` if nothing is seen.
    /// `lost`: send times in nanoseconds since 1970.
    pub fn explain(&self, lost: &[u64]) -> Option<String> {
        let found = self.interfaces.iter();
        let mut found: Vec<(f64, String)> = found
            .filter_map(|(name, interface)| interface.explain(name, lost))
            .collect();
        found.sort_by(|one, other| one.0.total_cmp(&other.0));
        found.into_iter().next().map(|(_, words)| words)
    }
}

impl Interface {
    fn explain(&self, name: &str, lost: &[u64]) -> Option<(f64, String)> {
        if self.samples.len() < MIN_SAMPLES {
            return None;
        }
        let of_losses: BTreeSet<usize> = lost.iter().filter_map(|at| self.sample(*at)).collect();
        if of_losses.len() < MIN_LOST {
            return None;
        }
        let least = of_losses.iter().map(|at| self.load(*at)).min()?;
        let all = self.samples.len();
        let as_much = (0..all).filter(|at| self.load(*at) >= least).count();
        let share = as_much as f64 / all as f64;
        let chance = share.powi(of_losses.len() as i32);
        if share > MAX_SHARE || chance > MAX_CHANCE {
            return None;
        }
        let words = format!(
            "lost in {} seconds, in each of which {name} carried at least {:.1} Mbit/s, as in {:.1} % of the last \
             {all} s (chance {chance:.0e})",
            of_losses.len(),
            least as f64 / 1e6,
            share * 100.0
        );
        Some((chance, words))
    }

    /// Returns the place of the sample that a time is in.
    fn sample(&self, time_ns: u64) -> Option<usize> {
        let at = self
            .samples
            .partition_point(|(_, to_ns, _)| *to_ns <= time_ns);
        let is_in = |(from_ns, ..): &&Sample| *from_ns <= time_ns;
        self.samples.get(at).filter(is_in).map(|_| at)
    }

    /// Returns the load of a sample, or of the one before it if that is higher: a queue is full at the end of a burst.
    fn load(&self, at: usize) -> u64 {
        let of = |at: usize| self.samples.get(at).map_or(0, |(_, _, rate)| *rate);
        match at {
            0 => of(0),
            at => of(at).max(of(at - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    /// 8 Mbit/s, and 80 in every twentieth second.
    fn loads() -> Loads {
        let mut loads = Loads::default();
        let mut bytes = 0;
        for second in 0..=600u64 {
            loads.add("e0", START + second * SECOND, bytes);
            loads.add("lo", START + second * SECOND, 100 * second);
            bytes += if second % 20 == 0 {
                10_000_000
            } else {
                1_000_000
            };
        }
        loads
    }

    fn at(seconds: impl Iterator<Item = u64>) -> Vec<u64> {
        seconds
            .map(|second| START + second * SECOND + SECOND / 3)
            .collect()
    }

    #[test]
    fn losses_in_busy_seconds_only_are_told_so() {
        let busy = at((0..600).step_by(40));
        let words = loads().explain(&busy).unwrap();
        let expected = "lost in 15 seconds, in each of which e0 carried at least 80.0 Mbit/s, as in 10.0 % of the last \
                        600 s (chance 1e-15)";
        assert_eq!(words, expected);
        // Many losses in one second are one.
        let at_once = at(std::iter::repeat_n(40, 100));
        assert_eq!(loads().explain(&at_once), None);
    }

    #[test]
    fn losses_at_any_time_are_not() {
        assert_eq!(loads().explain(&at((7..600).step_by(13))), None);
        let mostly = at((0..600).step_by(40).chain([10]));
        assert_eq!(loads().explain(&mostly), None, "one of them is elsewhere");
        let before = at((0..600).step_by(40))
            .into_iter()
            .map(|at| at - 3600 * SECOND);
        assert_eq!(
            loads().explain(&before.collect::<Vec<_>>()),
            None,
            "not known"
        );
        assert_eq!(Loads::default().explain(&at(0..20)), None);
    }

    #[test]
    fn counters_and_clocks_that_go_back_begin_anew() {
        let mut loads = Loads::default();
        for second in 0..100u64 {
            let (clock, bytes) = match second {
                0..50 => (second, second * 1_000),
                _ => (second - 30, (second - 50) * 1_000),
            };
            loads.add("e0", START + clock * SECOND, bytes);
        }
        assert_eq!(loads.interfaces["e0"].samples.len(), 49);
        for name in 0..100 {
            loads.add(&format!("e{name}"), START, 0);
        }
        assert_eq!(loads.interfaces.len(), MAX_INTERFACES);
    }
}
