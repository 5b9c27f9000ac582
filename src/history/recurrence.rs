//! PURE. Whether outages recur: "8th since yesterday, every 4 h 02 min ± 40 s".
//!
//! # The test
//!
//! If begins were independent of a period P, their phases (time modulo P) would be uniform on a circle. The
//! chance that
//! `m` uniform phases all lie in an arc of the share `a` of the circle, a half at most, is exactly `m
//! a^(m-1)` (the circular range; Mardia and Jupp, Directional Statistics, 2000, section 6.3). Rayleigh's
//! test of the mean direction, which serves for many weakly coherent events, bounds the chance by about
//! `exp(-m)` at best and says nothing for eight outages.
//!
//! P is not known but chosen for the smallest arc, and that has to be paid for. Two periods are told apart
//! if the last of the phases differs by an arc, so the number of periods that could have been chosen is the
//! range of cycle counts between the first and the last event divided by `a`. Occupied cycles are two thirds
//! of all at least, so this range is half of `m - 1`. Up to a quarter of the events may be others: each
//! choice of `m` among `n` counts as a trial, too. Together (Bonferroni)
//!
//! ```text
//! chance <= C(n, m) * (m - 1) / 2 / a * m * a^(m-1)
//! ```
//!
//! An arc counts as at least twice the resolution of the begins, or else begins on whole seconds would prove
//! too much.

/// Repeats that a recurrence has at least.
pub const MIN_EVENTS: usize = 5;
/// Begins that are looked at, the latest ones: the search takes a time in their third power.
pub const MAX_EVENTS: usize = 48;
/// Chance of coincidence above which nothing is claimed.
pub const MAX_CHANCE: f64 = 1e-4;
/// Share of other events that may be among them.
const MAX_OTHERS: usize = 4;

/// A period that outages have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recurrence {
    /// Number of outages that have the period.
    pub count: usize,
    /// First of them, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Period in nanoseconds.
    pub period_ns: u64,
    /// Largest deviation of a begin from the period, in nanoseconds.
    pub deviation_ns: u64,
    /// Upper bound of the chance that independent outages look like this.
    pub chance: f64,
}

impl Recurrence {
    /// Returns the recurrence in words: "8 times, every 4 h 02 min ± 40 s (chance of coincidence below 1 in
    /// 10^9)".
    pub fn words(&self) -> String {
        let exponent = (-self.chance.log10()).floor().clamp(4.0, 99.0);
        format!(
            "{} times, every {} ± {} (chance of coincidence below 1 in 10^{exponent})",
            self.count,
            duration(self.period_ns),
            duration(self.deviation_ns)
        )
    }
}

fn duration(duration_ns: u64) -> String {
    let seconds = duration_ns.div_ceil(1_000_000_000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// Looks for a period in the begins of outages, in nanoseconds since 1970 in any order. `resolution_ns` is
/// how exactly they are known: the interval of the probes. Only outages with one cause should be given, if
/// the causes are known.
pub fn find(begins_ns: &[u64], resolution_ns: u64) -> Option<Recurrence> {
    let mut begins = begins_ns.to_vec();
    begins.sort_unstable();
    begins.dedup();
    let begins = &begins[begins.len().saturating_sub(MAX_EVENTS)..];
    let mut best: Option<Recurrence> = None;
    let needed = MIN_EVENTS.max(begins.len() - begins.len() / MAX_OTHERS);
    for (at, from) in begins.iter().enumerate() {
        // With a quarter of others between, some two in a row, or with one between, are a period apart.
        for to in begins.iter().skip(at + 1).take(2) {
            let found = fit(begins, *from, (to - from) as f64, needed, resolution_ns);
            let is_better = |found: &Recurrence| match &best {
                Some(best) => (found.count, best.chance) > (best.count, found.chance),
                None => true,
            };
            if let Some(found) = found
                && found.chance <= MAX_CHANCE
                && is_better(&found)
            {
                best = Some(found);
            }
        }
    }
    best
}

/// Fits a period near a guess to the events near multiples of it, seen from one of them.
fn fit(
    begins: &[u64],
    anchor: u64,
    mut period: f64,
    needed: usize,
    resolution_ns: u64,
) -> Option<Recurrence> {
    let mut tolerance = 0.2;
    let mut members: Vec<(f64, f64)> = Vec::new();
    let mut start = 0.0;
    for round in 0..6 {
        // Cycles are counted outwards from the anchor, so that an inexact period does not add up.
        members.clear();
        for begin in begins {
            let time = *begin as f64 - anchor as f64 - start;
            let cycle = (time / period).round();
            if (time - cycle * period).abs() <= tolerance * period {
                members.push((cycle, *begin as f64 - anchor as f64));
            }
        }
        members.dedup_by_key(|(cycle, _)| *cycle);
        if members.len() < needed {
            return None;
        }
        (start, period) = regression(&members)?;
        if round >= 2 {
            // Others that fell into the tolerance go.
            let mut deviations: Vec<f64> = deviations(&members, start, period).collect();
            deviations.sort_by(f64::total_cmp);
            let most = deviations[deviations.len() * 3 / 4];
            let least = 2.0 * resolution_ns as f64;
            tolerance = tolerance.min((4.0 * most + least) / period);
        }
    }
    let count = members.len();
    let cycles = members.last()?.0 - members.first()?.0;
    if count < needed.max(MIN_EVENTS) || (count - 1) as f64 * 1.5 < cycles {
        return None;
    }
    let deviation = deviations(&members, start, period).fold(0.0, f64::max);
    let arc = (2.0 * deviation).max(2.0 * resolution_ns as f64) / period;
    Some(Recurrence {
        count,
        since_ns: anchor.saturating_add_signed(members.first()?.1 as i64),
        period_ns: period as u64,
        deviation_ns: deviation as u64,
        chance: chance(begins.len(), count, arc),
    })
}

fn deviations(members: &[(f64, f64)], start: f64, period: f64) -> impl Iterator<Item = f64> {
    members
        .iter()
        .map(move |(cycle, time)| (time - start - cycle * period).abs())
}

/// Least squares of time by cycle: start and period.
fn regression(members: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = members.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| members.iter().map(of).sum::<f64>() / count;
    let (cycle, time) = (mean(|member| member.0), mean(|member| member.1));
    let mut square = 0.0;
    let mut product = 0.0;
    for (at, when) in members {
        square += (at - cycle) * (at - cycle);
        product += (at - cycle) * (when - time);
    }
    let period = product / square;
    (period > 0.0 && period.is_finite()).then_some((time - period * cycle, period))
}

/// The bound of the module's documentation.
fn chance(events: usize, members: usize, arc: f64) -> f64 {
    if arc >= 0.5 {
        return 1.0;
    }
    let choices: f64 = (0..events - members)
        .map(|at| (events - at) as f64 / (at + 1) as f64)
        .product();
    let count = members as f64;
    (choices * (count - 1.0) / 2.0 * count * arc.powi(members as i32 - 2)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) * limit) >> 31
        }
    }

    fn every(period: u64, cycles: &[u64], deviation: u64, random: &mut Random) -> Vec<u64> {
        let begin =
            |cycle: &u64| START + (cycle * period + random.below(2 * deviation + 1)) * SECOND;
        cycles.iter().map(begin).collect()
    }

    #[test]
    fn a_period_is_found_through_deviations_missing_cycles_and_other_outages() {
        let mut random = Random(7);
        for _ in 0..200 {
            let mut begins = every(14_520, &[0, 1, 2, 3, 4, 5, 6, 7], 40, &mut random);
            let found = find(&begins, SECOND).unwrap();
            assert_eq!(found.count, 8);
            assert!(
                found.period_ns.abs_diff(14_520 * SECOND) < 30 * SECOND,
                "{found:?}"
            );
            assert!(found.deviation_ns <= 60 * SECOND, "{found:?}");
            assert!(found.chance < 1e-9, "{found:?}");
            begins = every(14_520, &[0, 1, 3, 4, 5, 7, 8], 40, &mut random);
            assert_eq!(find(&begins, SECOND).map(|found| found.count), Some(7));
            begins = every(3600, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 5, &mut random);
            begins.push(START + 9000 * SECOND + random.below(1000) * SECOND);
            begins.push(START + 20_000 * SECOND + random.below(1000) * SECOND);
            let found = find(&begins, SECOND).unwrap();
            assert_eq!(
                (
                    found.count,
                    found.period_ns.abs_diff(3600 * SECOND) < 5 * SECOND
                ),
                (10, true),
                "{found:?}"
            );
        }
        let five = every(14_520, &[0, 1, 2, 3, 4], 40, &mut Random(1));
        let words = find(&five, SECOND).unwrap().words();
        assert!(words.starts_with("5 times, every 4 h 0"), "{words}");
        assert!(
            words.contains(" s (chance of coincidence below 1 in 10^"),
            "{words}"
        );
    }

    #[test]
    fn four_are_no_recurrence() {
        assert_eq!(
            find(&every(3600, &[0, 1, 2, 3], 0, &mut Random(1)), SECOND),
            None
        );
        assert_eq!(find(&[], SECOND), None);
        assert_eq!(find(&[START; 9], SECOND), None);
    }

    /// The claimed bound holds: independent outages are called recurrent less often than stated.
    #[test]
    fn independent_outages_hardly_ever_recur() {
        let mut random = Random(99);
        let mut claimed = 0;
        for round in 0..20_000 {
            let count = 5 + round % 12;
            let begins: Vec<u64> = (0..count)
                .map(|_| START + random.below(200_000) * SECOND)
                .collect();
            claimed += u32::from(find(&begins, SECOND).is_some());
        }
        // 2 of 20,000 are expected at most with a bound of 1e-4; 7 have a chance of 0.5 %.
        assert!(claimed <= 6, "{claimed}");
    }
}
