//! PURE. Histograms that can be merged, so that percentiles over any span are percentiles of its probes and
//! not averages of averages; and steps: what is kept of a stretch of time without its single probes.
//!
//! A record of steps is
//! ```text
//! version 1 | step ns | number of the first step since 1970 | steps | range-coded steps
//! ```
//! with numbers in LEB128. Counts are coded in the context of the same bucket of the step before and of the
//! bucket below, since neither changes much.

use netsonde_core::probe::Fate;

use crate::bytes::{Input, put_varint};
use crate::chunk::{Coded, GapReason, fate_number};
use crate::entropy::{Bit, Coder, Decoder, Encoder, Number, Signed};
use crate::scale;

/// Version of the format of steps.
const VERSION: u8 = 1;
/// Maximum number of steps of a record: a week of minutes.
const MAX_STEPS: u64 = 10_080;

/// Counts of durations by bucket of [`scale`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    first: u16,
    counts: Vec<u32>,
}

impl Histogram {
    /// Adds durations that fall into a bucket.
    pub fn add(&mut self, bucket: u16, count: u32) {
        if count == 0 {
            return;
        }
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let more = usize::from(self.first - bucket);
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = bucket;
        }
        let at = usize::from(bucket - self.first);
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add(count);
    }

    /// Adds a duration in nanoseconds.
    pub fn add_duration(&mut self, duration_ns: u64) {
        self.add(scale::bucket_of(duration_ns), 1);
    }

    /// Adds all counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in other.buckets() {
            self.add(bucket, count);
        }
    }

    /// Returns the buckets that are not empty, in ascending order, with their counts.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = (u16, u32)> + '_ {
        let counts = self.counts.iter().enumerate();
        counts
            .map(|(at, count)| (self.first + at as u16, *count))
            .filter(|(_, count)| *count > 0)
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Returns the shortest duration in nanoseconds, to 3 %; `None` if there is none.
    pub fn min_ns(&self) -> Option<u64> {
        self.buckets()
            .next()
            .map(|(bucket, _)| scale::value_of(bucket))
    }

    /// Returns the longest duration in nanoseconds, to 3 %; `None` if there is none.
    pub fn max_ns(&self) -> Option<u64> {
        let last = self.buckets().next_back();
        last.map(|(bucket, _)| scale::value_of(bucket))
    }

    /// Returns a quantile in nanoseconds, to 3 %: the shortest duration that at least the share of all do not
    /// exceed. `share` is between 0 and 1; `None` if there are no durations.
    pub fn quantile_ns(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        self.buckets()
            .find(|(_, count)| {
                below += u64::from(*count);
                below >= rank
            })
            .map(|(bucket, _)| scale::value_of(bucket))
    }

    /// Returns the number of durations in buckets above that of a duration.
    pub fn count_above(&self, duration_ns: u64) -> u64 {
        let limit = scale::bucket_of(duration_ns);
        let above = self.buckets().filter(|(bucket, _)| *bucket > limit);
        above.map(|(_, count)| u64::from(count)).sum()
    }

    fn at(&self, bucket: u16) -> u32 {
        let at = bucket.checked_sub(self.first);
        at.and_then(|at| self.counts.get(usize::from(at)))
            .copied()
            .unwrap_or(0)
    }
}

/// Everything that is kept of the probes of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Begin in nanoseconds since 1970: a multiple of the step's length.
    pub start_ns: u64,
    /// Number of probes by fate, in the order of [`Fate::ALL`].
    pub fates: [u32; 9],
    /// Round trips on the wire.
    pub wire: Histogram,
    /// Round trips as the prober measured them.
    pub total: Histogram,
    /// Bit n is set if a gap with reason n of [`GapReason::ALL`] begins in the step.
    pub gaps: u8,
}

impl Step {
    /// Adds a probe or gap.
    pub fn add(&mut self, coded: &Coded) {
        if let Some(fate) = coded.fate() {
            let count = &mut self.fates[usize::from(fate_number(fate))];
            *count = count.saturating_add(1);
        }
        if let Some(reason) = coded.gap() {
            self.gaps |= 1 << reason as u8;
        }
        let (wire, total) = coded.buckets();
        if let Some(bucket) = wire {
            self.wire.add(bucket, 1);
        }
        if let Some(bucket) = total {
            self.total.add(bucket, 1);
        }
    }

    /// Adds everything of another step.
    pub fn merge(&mut self, other: &Step) {
        for (count, more) in self.fates.iter_mut().zip(other.fates) {
            *count = count.saturating_add(more);
        }
        self.wire.merge(&other.wire);
        self.total.merge(&other.total);
        self.gaps |= other.gaps;
    }

    /// Returns the number of probes.
    pub fn sent(&self) -> u64 {
        self.fates.iter().map(|count| u64::from(*count)).sum()
    }

    /// Returns the number of probes with a fate.
    pub fn count(&self, fate: Fate) -> u64 {
        self.fates[usize::from(fate_number(fate))].into()
    }

    /// Returns the reasons of the gaps that begin in the step.
    pub fn gap_reasons(&self) -> impl Iterator<Item = GapReason> + '_ {
        let all = GapReason::ALL.into_iter();
        all.filter(|reason| self.gaps >> *reason as u8 & 1 == 1)
    }
}

/// A record of steps that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSteps {
    /// Written by another version of the format.
    #[error("histogram version {0} is not supported, only version {VERSION}")]
    Version(u8),
    /// Its bytes contradict each other.
    #[error("the histograms are damaged")]
    Damaged,
}

/// Classes of counts: 0, 1, 2-3, 4-7, 8-15, 16 and more.
const CLASSES: usize = 6;

fn class(count: u32) -> usize {
    (32 - count.leading_zeros() as usize).min(CLASSES - 1)
}

#[derive(Clone, Debug, Default)]
struct HistogramContexts {
    is_empty: Bit,
    first: Signed,
    width: Signed,
    counts: [[Number; CLASSES]; CLASSES],
}

impl HistogramContexts {
    /// Codes a histogram in the context of the one before.
    fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        last: &Histogram,
        given: &Histogram,
    ) -> Option<Histogram> {
        if coder.bit(&mut self.is_empty, given.counts.is_empty()) {
            return Some(Histogram::default());
        }
        let from = i64::from(last.first);
        let first = self.first.code(coder, i64::from(given.first) - from);
        let first = u16::try_from(from.checked_add(first)?).ok()?;
        let from = last.counts.len() as i64;
        let width = self.width.code(coder, given.counts.len() as i64 - from);
        let width = usize::try_from(from.checked_add(width)?).ok()?;
        let fits = width > 0 && usize::from(first) + width <= scale::BUCKETS;
        fits.then_some(())?;
        let mut counts = Vec::with_capacity(width);
        let mut below = 0;
        for at in 0..width {
            let before = last.at(first + at as u16);
            let context = &mut self.counts[class(before)][class(below)];
            let given = given.counts.get(at).copied().unwrap_or(0);
            let count = u32::try_from(context.code(coder, given.into())).ok()?;
            counts.push(count);
            below = count;
        }
        Some(Histogram { first, counts })
    }
}

#[derive(Debug, Default)]
struct Contexts {
    skipped: Number,
    replied: Signed,
    has_other_fates: Bit,
    others: [Number; 8],
    has_gaps: Bit,
    wire: Box<HistogramContexts>,
    total: Box<HistogramContexts>,
}

impl Contexts {
    /// Codes a step in the context of the one before; its start is a number of steps here.
    fn code<C: Coder>(&mut self, coder: &mut C, last: &Step, given: &Step) -> Option<Step> {
        let mut step = Step::default();
        let skipped = given.start_ns.wrapping_sub(last.start_ns).wrapping_sub(1);
        let skipped = self.skipped.code(coder, skipped & (u64::MAX >> 2));
        step.start_ns = last.start_ns.checked_add(skipped)?.checked_add(1)?;
        let replied = i64::from(last.fates[0]);
        let difference = self
            .replied
            .code(coder, i64::from(given.fates[0]) - replied);
        step.fates[0] = u32::try_from(replied.checked_add(difference)?).ok()?;
        let has_others = given.fates[1..].iter().any(|count| *count > 0);
        if coder.bit(&mut self.has_other_fates, has_others) {
            for at in 1..9 {
                let count = self.others[at - 1].code(coder, given.fates[at].into());
                step.fates[at] = u32::try_from(count).ok()?;
            }
        }
        if coder.bit(&mut self.has_gaps, given.gaps != 0) {
            for at in 0..8 {
                step.gaps |= u8::from(coder.plain(given.gaps >> at & 1 == 1)) << at;
            }
        }
        step.wire = self.wire.code(coder, &last.wire, &given.wire)?;
        step.total = self.total.code(coder, &last.total, &given.total)?;
        Some(step)
    }
}

/// Returns steps of a length as they are stored. They are in ascending order, and start at multiples of it.
pub fn pack(step_ns: u64, steps: &[Step]) -> Vec<u8> {
    let mut to = vec![VERSION];
    let number = |step: &Step| step.start_ns / step_ns;
    put_varint(&mut to, step_ns);
    put_varint(&mut to, steps.first().map_or(0, number));
    put_varint(&mut to, steps.len() as u64);
    let mut coder = Encoder::new();
    let mut contexts = Contexts::default();
    let mut last = before(steps.first().map_or(0, number));
    for step in steps {
        let mut given = step.clone();
        given.start_ns = number(step);
        // What is written is valid.
        let _ = contexts.code(&mut coder, &last, &given);
        last = given;
    }
    to.extend_from_slice(&coder.finish());
    to
}

/// An empty step one before a number.
fn before(number: u64) -> Step {
    Step {
        start_ns: number.wrapping_sub(1),
        ..Step::default()
    }
}

/// Reads stored steps: their length in nanoseconds, and the steps.
///
/// # Errors
///
/// Another version, or bytes that cannot be steps.
pub fn unpack(bytes: &[u8]) -> Result<(u64, Vec<Step>), BadSteps> {
    let mut input = Input(bytes);
    match input.u8() {
        Some(VERSION) => {}
        Some(version) => return Err(BadSteps::Version(version)),
        None => return Err(BadSteps::Damaged),
    }
    read_steps(input).ok_or(BadSteps::Damaged)
}

fn read_steps(mut input: Input<'_>) -> Option<(u64, Vec<Step>)> {
    let step_ns = input.varint().filter(|step| *step > 0)?;
    let first = input.varint().filter(|first| *first > 0)?;
    let count = input.varint().filter(|count| *count <= MAX_STEPS)?;
    let mut coder = Decoder::new(input.0);
    let mut contexts = Contexts::default();
    let mut last = before(first);
    let mut steps = Vec::new();
    for _ in 0..count {
        let step = contexts.code(&mut coder, &last, &Step::default())?;
        (!coder.is_overrun()).then_some(())?;
        let start_ns = step.start_ns.checked_mul(step_ns)?;
        steps.push(Step {
            start_ns,
            ..step.clone()
        });
        last = step;
    }
    Some((step_ns, steps))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram() -> impl Strategy<Value = Histogram> {
        prop::collection::vec((0..scale::BUCKETS as u16, 1u32..5000), 0..30).prop_map(|counts| {
            let mut histogram = Histogram::default();
            for (bucket, count) in counts {
                histogram.add(bucket, count);
            }
            histogram
        })
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (
            1u64..5,
            any::<[u16; 9]>(),
            any::<bool>(),
            0u8..128,
            histogram(),
            histogram(),
        );
        prop::collection::vec(step, 0..40).prop_map(|all| {
            let mut number = 30_000_000;
            let step = |(later, fates, is_well, gaps, wire, total): (u64, [u16; 9], _, _, _, _)| {
                number += later;
                let mut fates = fates.map(u32::from);
                if is_well {
                    fates[1..].fill(0);
                }
                Step {
                    start_ns: number * 60_000_000_000,
                    fates,
                    gaps,
                    wire,
                    total,
                }
            };
            all.into_iter().map(step).collect()
        })
    }

    proptest! {
        #[test]
        fn steps_come_back(given in steps()) {
            let (step_ns, read) = unpack(&pack(60_000_000_000, &given)).unwrap_or_default();
            prop_assert!(given.is_empty() || step_ns == 60_000_000_000);
            prop_assert_eq!(read, given);
        }

        #[test]
        fn damage_is_no_panic(given in steps(), at in any::<prop::sample::Index>(), bits in 1u8..) {
            let mut bytes = pack(60_000_000_000, &given);
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            let _ = unpack(&bytes);
            let _ = unpack(&bytes[..at]);
        }

        #[test]
        fn quantiles_of_merged_parts_are_those_of_all(
            parts in prop::collection::vec(prop::collection::vec(200u64..10_000_000_000, 1..60), 1..8),
            share in 0.0f64..=1.0
        ) {
            let mut merged = Histogram::default();
            for part in &parts {
                let mut histogram = Histogram::default();
                for duration in part {
                    histogram.add_duration(*duration);
                }
                merged.merge(&histogram);
            }
            let mut all: Vec<u64> = parts.concat();
            all.sort_unstable();
            let rank = ((share * all.len() as f64).ceil() as usize).clamp(1, all.len());
            let exact = all[rank - 1] as f64;
            let kept = merged.quantile_ns(share).unwrap() as f64;
            prop_assert!((kept - exact).abs() <= 0.03 * exact, "{} {}", kept, exact);
            prop_assert_eq!(merged.count(), all.len() as u64);
            let above = all.iter().filter(|duration| scale::bucket_of(**duration) > scale::bucket_of(all[rank - 1]));
            prop_assert_eq!(merged.count_above(all[rank - 1]), above.count() as u64);
        }
    }

    #[test]
    fn nothing_measured_has_no_percentiles() {
        let none = Histogram::default();
        assert_eq!(
            (none.min_ns(), none.quantile_ns(0.5), none.max_ns()),
            (None, None, None)
        );
    }
}
