//! PURE. Whether a target answers worse than it used to, by comparison with its own history: at the same hour of
//! earlier days, or for a target that is newer, in the hours before.
//!
//! Three rules, each with the counts that it rests on. A share of `n` probes is compared with the share that
//! history has by the binomial distribution: the chance that so many or more arise at history's rate. The
//! rule applies below [`MAX_CHANCE`], and where the difference also matters in size. Probes near each other
//! are not independent, so the chance is a threshold and not a promise; it is chosen so small because every
//! target is judged each minute.

use netsonde_core::probe::Fate;

use crate::chunk::Probe;
use crate::histogram::Step;

/// Probes that the present must have: one minute at 1 s.
pub const MIN_PRESENT: u64 = 60;
/// Probes that history must have: so many that its quartiles are known to some percent.
pub const MIN_HISTORY: u64 = 240;
/// Probes that history must have for its 99th percentile, and for a share of lost ones.
pub const MIN_RARE: u64 = 1000;
/// Chance below which a share is not a coincidence.
pub const MAX_CHANCE: f64 = 1e-9;
/// Factor by which a percentile must have grown.
const FACTOR: f64 = 1.5;
/// Nanoseconds by which a percentile must have grown: below, no user notices, and a busy host does it.
const MIN_GROWTH_NS: u64 = 500_000;
/// Least share of probes that are worse, when a change is looked for: none so far does not mean that none is possible.
const MIN_SHARE: f64 = 0.001;
/// Share of lost and late probes above which an increase matters.
const MIN_LOSS: f64 = 0.02;

/// Why a target is degraded. Round trips are on the wire, in nanoseconds, to 3 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Half of the round trips are longer than three quarters of those in history were.
    Median {
        /// Median now.
        now_ns: u64,
        /// Median in history.
        history_ns: u64,
    },
    /// Many more round trips are longer than 99 % of those in history were.
    Tail {
        /// 99th percentile now.
        now_ns: u64,
        /// 99th percentile in history.
        history_ns: u64,
        /// Share now above that of history, which is 1 % there.
        share: f64,
    },
    /// Many more probes are lost or late.
    Loss {
        /// Share now.
        now: f64,
        /// Share in history.
        history: f64,
    },
}

impl Reason {
    /// Returns the rule and the numbers in words. `when`: what history is, as "at this hour of earlier days".
    pub fn words(&self, when: &str) -> String {
        match *self {
            Reason::Median { now_ns, history_ns } => format!(
                "median wire round trip {}, {} {when} (rule: more than 1.5 times, and above the \
                 third quartile)",
                milliseconds(now_ns),
                milliseconds(history_ns)
            ),
            Reason::Tail {
                now_ns,
                history_ns,
                share,
            } => format!(
                "99th percentile of wire round trips {}, {} {when}; {:.1} % are above that instead of \
                 1 % (rule: more than 1.5 times)",
                milliseconds(now_ns),
                milliseconds(history_ns),
                share * 100.0
            ),
            Reason::Loss { now, history } => format!(
                "{:.1} % of probes lost or late, {:.2} % {when} (rule: more than 2 % and 3 times)",
                now * 100.0,
                history * 100.0
            ),
        }
    }
}

impl Reason {
    /// Returns whether a probe is one of those that there are more of; `None` if it says nothing about that.
    fn is_worse(&self, probe: &Probe) -> Option<bool> {
        match *self {
            Reason::Median { now_ns, history_ns } => {
                let middle_ns = now_ns.midpoint(history_ns);
                Some(probe.wire_ns? > middle_ns)
            }
            Reason::Tail { history_ns, .. } => Some(probe.wire_ns? > history_ns),
            Reason::Loss { .. } => Some(probe.fate != Fate::Replied),
        }
    }

    /// Returns the share of such probes in history and now, both above 0 and below 1.
    fn shares(&self) -> (f64, f64) {
        let (history, now) = match *self {
            // Most of them now, and a few before.
            Reason::Median { .. } => (0.1, 0.9),
            Reason::Tail { share, .. } => (0.01, share),
            Reason::Loss { now, history } => (history, now),
        };
        let history = history.clamp(MIN_SHARE, 0.5);
        (history, now.clamp(2.0 * history, 1.0 - MIN_SHARE))
    }

    /// Returns the send time of the first probe of the change: of all times that split the probes, the one behind
    /// which they are most likely those of the present, and before which those of history. `probes` are in the order
    /// of sending. `None` if the last ones are like history.
    pub fn onset(&self, probes: &[Probe]) -> Option<u64> {
        self.refined_split(probes, 1.0)
    }

    /// Returns the send time of the first probe that is like history again, in the same way.
    pub fn recovery(&self, probes: &[Probe]) -> Option<u64> {
        self.refined_split(probes, -1.0)
    }

    /// Splits the probes, and splits them again by the median of those that are worse. The one that the change was
    /// found by is that of a time in which only half of the probes were worse: it is between the levels, and near it
    /// chance decides.
    fn refined_split(&self, probes: &[Probe], sign: f64) -> Option<u64> {
        let first = self.split(probes, sign)?;
        let Reason::Median { history_ns, .. } = *self else {
            return Some(first);
        };
        let is_worse = |probe: &&Probe| (probe.sent_ns >= first) == (sign > 0.0);
        let worse = probes.iter().filter(is_worse);
        let mut wire: Vec<u64> = worse.filter_map(|probe| probe.wire_ns).collect();
        let middle = wire.len() / 2;
        if wire.is_empty() || *wire.select_nth_unstable(middle).1 <= history_ns {
            return Some(first);
        }
        let now_ns = wire[middle];
        let refined = Reason::Median { now_ns, history_ns };
        refined.split(probes, sign).or(Some(first))
    }

    /// The longest of the most likely ends of the probes; `sign` is 1 if it is that of the present, and -1 if it is that
    /// of history.
    fn split(&self, probes: &[Probe], sign: f64) -> Option<u64> {
        let (history, now) = self.shares();
        let (mut sum, mut best) = (0.0, (0.0, None));
        for probe in probes.iter().rev() {
            let Some(is_worse) = self.is_worse(probe) else {
                continue;
            };
            sum += sign
                * match is_worse {
                    true => (now / history).ln(),
                    false => ((1.0 - now) / (1.0 - history)).ln(),
                };
            if sum >= best.0 {
                best = (sum, Some(probe.sent_ns));
            }
        }
        best.1
    }
}

fn milliseconds(duration_ns: u64) -> String {
    format!("{:.3} ms", duration_ns as f64 / 1e6)
}

/// Compares the last minutes of a target with its history at the same hour. Returns why it is degraded, with
/// the rule that says most; `None` if it is not, or if there is too little to tell.
pub fn compare(present: &Step, history: &Step) -> Option<Reason> {
    if present.sent() < MIN_PRESENT || history.sent() < MIN_HISTORY {
        return None;
    }
    if history.sent() < MIN_RARE {
        return median(present, history);
    }
    loss(present, history)
        .or_else(|| median(present, history))
        .or_else(|| tail(present, history))
}

fn loss(present: &Step, history: &Step) -> Option<Reason> {
    let bad = |step: &Step| step.sent() - step.count(Fate::Replied);
    let share = |step: &Step| bad(step) as f64 / step.sent() as f64;
    let (now, before) = (share(present), share(history));
    // As if one more had been lost: no loss so far does not mean that none is possible.
    let rate = (bad(history) + 1) as f64 / (history.sent() + 1) as f64;
    let applies = now >= MIN_LOSS
        && now > 3.0 * before
        && chance(present.sent(), bad(present), rate) < MAX_CHANCE;
    applies.then_some(Reason::Loss {
        now,
        history: before,
    })
}

fn has_grown(now_ns: u64, history_ns: u64) -> bool {
    now_ns as f64 > history_ns as f64 * FACTOR && now_ns - history_ns >= MIN_GROWTH_NS
}

fn median(present: &Step, history: &Step) -> Option<Reason> {
    let now_ns = present.wire.quantile_ns(0.5)?;
    let history_ns = history.wire.quantile_ns(0.5)?;
    let count = present.wire.count();
    let above = present.wire.count_above(history.wire.quantile_ns(0.75)?);
    let applies = has_grown(now_ns, history_ns)
        && above * 2 > count
        && chance(count, above, 0.25) < MAX_CHANCE;
    applies.then_some(Reason::Median { now_ns, history_ns })
}

fn tail(present: &Step, history: &Step) -> Option<Reason> {
    let now_ns = present.wire.quantile_ns(0.99)?;
    let history_ns = history.wire.quantile_ns(0.99)?;
    let count = present.wire.count();
    let above = present.wire.count_above(history_ns);
    let applies = has_grown(now_ns, history_ns) && chance(count, above, 0.01) < MAX_CHANCE;
    applies.then_some(Reason::Tail {
        now_ns,
        history_ns,
        share: above as f64 / count as f64,
    })
}

/// Upper bound of the chance of at least `hits` in `count` trials at a rate: Chernoff's, which is simple and
/// never too small.
fn chance(count: u64, hits: u64, rate: f64) -> f64 {
    let share = hits as f64 / count.max(1) as f64;
    if share <= rate {
        return 1.0;
    }
    let term = |part: f64, of: f64| {
        if part > 0.0 {
            part * (part / of).ln()
        } else {
            0.0
        }
    };
    let divergence = term(share, rate) + term(1.0 - share, 1.0 - rate);
    (-(count as f64) * divergence).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn step(count: u32, lost: u32, wire_ns: impl Fn(u32) -> u64) -> Step {
        let mut step = Step::default();
        step.fates[0] = count - lost;
        step.fates[7] = lost;
        (0..count - lost).for_each(|at| step.wire.add_duration(wire_ns(at)));
        step
    }

    /// 10 ms, and 30 ms for one in fifty.
    fn history() -> Step {
        step(50_000, 20, |at| {
            if at % 50 == 0 {
                30_000_000
            } else {
                10_000_000 + u64::from(at % 100) * 20_000
            }
        })
    }

    #[test]
    fn chances_are_bounds() {
        // Exactly 2^-10, and the bound is as much.
        assert!((chance(10, 10, 0.5) - 0.000_976_562_5).abs() < 1e-9);
        assert_eq!(chance(100, 10, 0.1), 1.0);
        assert!(chance(300, 150, 0.25) < 1e-15);
    }

    #[test]
    fn shifts_of_median_tail_and_loss_are_reported_with_their_numbers() {
        let later = compare(&step(300, 0, |_| 19_000_000), &history()).unwrap();
        assert!(matches!(later, Reason::Median { .. }), "{later:?}");
        assert!(
            later
                .words("before")
                .starts_with("median wire round trip 1"),
            "{}",
            later.words("before")
        );
        let tail = step(
            300,
            0,
            |at| if at % 5 == 0 { 80_000_000 } else { 10_000_000 },
        );
        let tail = compare(&tail, &history()).unwrap();
        assert!(matches!(tail, Reason::Tail { .. }), "{tail:?}");
        assert!(
            tail.words("before").contains("20.0 % are above"),
            "{}",
            tail.words("before")
        );
        let loss = compare(&step(300, 15, |_| 10_000_000), &history()).unwrap();
        assert!(
            loss.words("before")
                .starts_with("5.0 % of probes lost or late, 0.04 %"),
            "{}",
            loss.words("before")
        );
    }

    /// Probes at 1 s.
    fn probes(answers: impl Iterator<Item = Option<u64>>) -> Vec<Probe> {
        let probe = |(second, wire_ns): (u64, Option<u64>)| Probe {
            sent_ns: second * 1_000_000_000,
            fate: wire_ns.map_or(Fate::Unanswered, |_| Fate::Replied),
            wire_ns,
            total_ns: wire_ns,
        };
        (0..).zip(answers).map(probe).collect()
    }

    #[test]
    fn a_change_is_dated_by_the_probes() {
        let median = Reason::Median {
            now_ns: 16_000_000,
            history_ns: 4_000_000,
        };
        // An outlier before it, some lost, and one that is as before.
        let shifted = probes((0..240u64).map(|second| match second {
            40 => Some(30_000_000),
            155 | 160..165 => None,
            180 => Some(4_000_000),
            0..150 => Some(4_000_000 + second * 1000),
            _ => Some(16_000_000 + second * 1000),
        }));
        assert_eq!(median.onset(&shifted), Some(150 * SECOND));
        let back = probes((0..240u64).map(|second| match second {
            0..77 => Some(16_000_000),
            _ => Some(4_000_000),
        }));
        assert_eq!(median.recovery(&back), Some(77 * SECOND));
        assert_eq!(median.onset(&back), None);
        let loss = Reason::Loss {
            now: 0.25,
            history: 0.0,
        };
        let lossy = probes(
            (0..240u64).map(|second| (second < 100 || second % 4 != 0).then_some(4_000_000)),
        );
        assert_eq!(loss.onset(&lossy), Some(100 * SECOND));
        let tail = Reason::Tail {
            now_ns: 90_000_000,
            history_ns: 10_000_000,
            share: 0.2,
        };
        let slow = probes((0..240u64).map(|second| match second {
            100.. if second % 5 == 0 => Some(90_000_000),
            _ => Some(4_000_000),
        }));
        assert_eq!(tail.onset(&slow), Some(100 * SECOND));
        assert_eq!(median.onset(&[]), None);
    }

    #[test]
    fn noise_between_the_levels_does_not_move_the_onset() {
        // Found while only half of the probes of the present were worse, so that its median is 7.3 ms.
        let median = Reason::Median {
            now_ns: 7_300_000,
            history_ns: 4_500_000,
        };
        let level = |second: u64, slow: bool| match (slow, second % 9) {
            (true, _) => 16_000_000 + second % 7 * 100_000,
            (false, 3..6) => 6_500_000,
            (false, _) => 4_200_000,
        };
        let shifted = probes((0..240).map(|second| Some(level(second, second >= 150))));
        assert_eq!(median.onset(&shifted), Some(150 * SECOND));
        let back = probes((0..240).map(|second| Some(level(second, second < 90))));
        assert_eq!(median.recovery(&back), Some(90 * SECOND));
    }

    #[test]
    fn what_is_as_ever_is_not_degraded() {
        for seed in 0..1000u32 {
            let same = step(300, u32::from(seed % 3 == 0), |at| {
                match at.wrapping_mul(seed.wrapping_mul(2_654_435_761) | 1) % 50 {
                    0 => 30_000_000,
                    other => 10_000_000 + u64::from(other) * 40_000,
                }
            });
            assert_eq!(compare(&same, &history()), None, "{seed}");
        }
        // Less than half a millisecond more is nothing.
        let fast = step(5000, 0, |_| 200_000);
        assert_eq!(compare(&step(300, 0, |_| 600_000), &fast), None);
        // Too little to compare with.
        assert_eq!(
            compare(&step(300, 0, |_| 90_000_000), &step(239, 0, |_| 10_000_000)),
            None
        );
        assert_eq!(compare(&step(59, 0, |_| 90_000_000), &history()), None);
    }
}
