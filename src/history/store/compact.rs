//! PURE. Compaction in small steps: segments of an hour become one, probes become minutes, these five minutes, these
//! hours, and the oldest go when the budget is used up.
//!
//! Age is measured time: that which newer segments of the tier cover, not that by the clock. A clock that is
//! a year ahead for a minute, or a host that was off for a month, therefore costs no history.

use std::ops::Range;

use super::read::{Content, Points, rescan};
use super::{DAY_NS, Error, HOUR_NS, Store};
use crate::bytes::put_block;
use crate::directory::{Directory, ReadAt};
use crate::histogram::{self, Step};
use crate::record::{About, Kind};
use crate::segment::{Cursor, Head, Segment, Tier, Writer};

/// Measured time that a compacted segment covers, if it is not too long before.
const GROUP_NS: u64 = DAY_NS;
/// Length of the segments that are compacted into one: what is read and written again by one run.
const GROUP_BYTES: u64 = 32 << 20;
/// Segments that are compacted into one: open files, and work of a step.
const GROUP_SEGMENTS: usize = 64;
/// Measured time of a damaged segment whose footer is gone: its times may be those of a clock that was set.
const MAX_UNKNOWN_NS: u64 = GROUP_NS + HOUR_NS;
/// Steps of a record: a week of minutes.
const RECORD_STEPS: usize = 10_080;
/// Bytes of a tier for each byte of the finer one and the same time, where nothing was measured yet: about the
/// ratios of synthetic series (`cargo run --example sizes`).
const RATIOS: [f64; 4] = [1.0, 0.5, 0.4, 0.2];

/// Result of a step of compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// There is nothing to do.
    Done,
    /// There is more to do: call again, when convenient.
    More,
}

/// How long the budget lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Bytes that a day takes in each tier, for the series of the last day.
    pub day_bytes: [f64; 4],
    /// Bytes that all tiers take when each has its full age.
    pub needed_bytes: f64,
    /// Measured time in nanoseconds for which the budget lasts: at most the age of all tiers together.
    pub kept_ns: u64,
}

/// A run of compaction.
pub(super) struct Running {
    /// Segments that are read, by their place in the list. New ones are added behind them.
    pub(super) inputs: Range<usize>,
    pub(super) files: Vec<(Box<dyn ReadAt>, Cursor)>,
    pub(super) writer: Writer,
    /// Length of a step in nanoseconds; `None` if every probe is kept.
    step_ns: Option<u64>,
    measured_ns: u64,
    next_series: u32,
}

fn measured_ns(segment: &Segment) -> u64 {
    match segment.is_indexed() {
        true => segment.summary.measured_ns,
        false => segment.summary.measured_ns.min(MAX_UNKNOWN_NS),
    }
}

impl<D: Directory> Store<D> {
    /// Does a small part of the work that age and budget ask for: removes a segment, merges one series of one hour, or
    /// compacts one series of one day. A step reads and writes a few hundred kilobytes at most, so that a caller can do one
    /// between other things, and go on with the next later.
    ///
    /// # Errors
    ///
    /// The file system refuses. The finer segments are still there then, and the next call begins again.
    pub fn compact(&mut self, now_ns: u64) -> Result<Compaction, Error> {
        if let Some(running) = self.compaction.take() {
            self.go_on(running)?;
            return Ok(Compaction::More);
        }
        if self.bytes() > self.options.budget_bytes && !self.segments.is_empty() {
            let bytes = self.remove_oldest()?;
            self.counters.evicted_segments += 1;
            self.counters.evicted_bytes += bytes;
            return Ok(Compaction::More);
        }
        if !self.due(Tier::Hour).is_empty() {
            self.remove_oldest()?;
            self.counters.expired_segments += 1;
            return Ok(Compaction::More);
        }
        if let Some(inputs) = self.parts_of_an_hour(now_ns) {
            self.compaction = Some(self.begin(inputs, Tier::Probes, now_ns)?);
            return Ok(Compaction::More);
        }
        for pair in Tier::HISTORY.windows(2) {
            if let Some(inputs) = self.group(pair[0]) {
                self.compaction = Some(self.begin(inputs, pair[1], now_ns)?);
                return Ok(Compaction::More);
            }
        }
        Ok(Compaction::Done)
    }

    fn remove_oldest(&mut self) -> Result<u64, Error> {
        let oldest = self.segments[0].clone();
        self.remove(&oldest.head.name())?;
        self.segments.remove(0);
        Ok(oldest.bytes)
    }

    /// Segments of a tier that are older than it keeps them.
    fn due(&self, tier: Tier) -> Range<usize> {
        let Some(at) = Tier::HISTORY.iter().position(|known| *known == tier) else {
            return 0..0;
        };
        let keep_ns = self.options.keep_ns[at];
        let is_tier = |segment: &&Segment| segment.head.tier == tier;
        let all: Vec<u64> = self
            .segments
            .iter()
            .filter(is_tier)
            .map(measured_ns)
            .collect();
        let first = self
            .segments
            .iter()
            .position(|segment| is_tier(&segment))
            .unwrap_or(0);
        let mut newer_ns = 0u64;
        let mut kept = 0;
        for measured in all.iter().rev() {
            if newer_ns >= keep_ns {
                break;
            }
            newer_ns = newer_ns.saturating_add(*measured);
            kept += 1;
        }
        first..first + all.len() - kept
    }

    /// The oldest segments of a tier that make up a segment of the next one.
    fn group(&self, tier: Tier) -> Option<Range<usize>> {
        let due = self.due(tier);
        let (mut measured, mut bytes) = (0, 0);
        for at in due.clone() {
            measured += measured_ns(&self.segments[at]);
            bytes += self.segments[at].bytes;
            let count = at + 1 - due.start;
            if measured >= GROUP_NS || bytes >= GROUP_BYTES || count >= GROUP_SEGMENTS {
                return Some(due.start..at + 1);
            }
        }
        None
    }

    fn begin(&mut self, inputs: Range<usize>, tier: Tier, now_ns: u64) -> Result<Running, Error> {
        let head = Head {
            tier,
            salt: self.salt(),
            first: self.segments[inputs.start].head.first,
            last: self.segments[inputs.end - 1].head.last,
            created_ns: now_ns,
        };
        let name = temporary(&head);
        let writer = Writer::create(&mut self.directory, &name, head);
        let measured = self.segments[inputs.clone()].iter().map(measured_ns).sum();
        let mut files = Vec::new();
        for segment in &self.segments[inputs.clone()] {
            let name = segment.head.name();
            let opened = self.directory.open(&name);
            let file = opened.map_err(self.failure("open", &name))?;
            files.push((file, Cursor::default()));
        }
        Ok(Running {
            inputs,
            files,
            writer: writer.map_err(self.failure("create", &name))?,
            step_ns: tier.step_ns(),
            measured_ns: measured,
            next_series: 0,
        })
    }

    fn go_on(&mut self, mut running: Running) -> Result<(), Error> {
        let head = *running.writer.head();
        let done = self.compact_series(&mut running).and_then(|is_more| {
            if is_more {
                self.compaction = Some(running);
                Ok(())
            } else {
                self.finish(running)
            }
        });
        if done.is_err() {
            self.counters.failed_writes += 1;
            // Room for others; if this fails too, the next opening removes it.
            let _ = self.directory.remove(&temporary(&head));
        }
        done
    }

    /// Compacts the next series; returns false if there is none.
    fn compact_series(&mut self, running: &mut Running) -> Result<bool, Error> {
        let mut next: Option<u32> = None;
        for (at, (file, cursor)) in running.inputs.clone().zip(&mut running.files) {
            let found = self.next_series((at, &**file, cursor), running.next_series)?;
            next = next.into_iter().chain(found).min();
        }
        let Some(series) = next else {
            return Ok(false);
        };
        match running.step_ns {
            Some(step_ns) => self.compact_steps(running, series, step_ns)?,
            None => self.merge_series(running, series)?,
        }
        match series.checked_add(1) {
            Some(next) => running.next_series = next,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Writes the steps of a series.
    fn compact_steps(
        &mut self,
        running: &mut Running,
        series: u32,
        step_ns: u64,
    ) -> Result<(), Error> {
        let mut points = Points {
            step_ns,
            from_ns: 0,
            to_ns: u64::MAX,
            map: Default::default(),
        };
        let mut boot_id = self.options.boot_id;
        self.read_inputs(running, series, |about, content| {
            boot_id = about.boot_id;
            points.add(content)
        })?;
        let steps: Vec<Step> = points
            .map
            .into_iter()
            .map(|((start_ns, _), step)| Step { start_ns, ..step })
            .collect();
        let name = temporary(running.writer.head());
        for steps in steps.chunks(RECORD_STEPS) {
            let about = About {
                kind: Kind::Steps,
                series,
                count: steps.len() as u32,
                boot_id,
                start_ns: steps.first().map_or(0, |step| step.start_ns),
                end_ns: steps.last().map_or(0, |step| step.start_ns),
            };
            let payload = steps_payload(step_ns, steps);
            let written = running.writer.append(&about, &payload);
            written.map_err(self.failure("write", &name))?;
        }
        Ok(())
    }

    fn next_series(
        &mut self,
        (at, file, cursor): (usize, &dyn ReadAt, &mut Cursor),
        from: u32,
    ) -> Result<Option<u32>, Error> {
        let counters = &mut self.counters;
        let segment = &mut self.segments[at];
        let mut find = || {
            if let Some(found) = segment.next_series(file, cursor, from)? {
                return Ok(found);
            }
            rescan(segment, file, counters)?;
            Ok(segment.next_series(file, cursor, from)?.flatten())
        };
        let found = find();
        let name = self.segments[at].head.name();
        found.map_err(self.failure("read", &name))
    }

    /// Calls `visit` with each record of a series in the segments that a run reads, in their order; `None` from it is
    /// damage.
    pub(super) fn read_inputs(
        &mut self,
        running: &mut Running,
        series: u32,
        mut visit: impl FnMut(&About, Content<'_>) -> Option<()>,
    ) -> Result<(), Error> {
        for (at, (file, cursor)) in running.inputs.clone().zip(&mut running.files) {
            let place = (at, &**file, cursor);
            let read = self.read_segment(place, series, (0, u64::MAX), &mut visit);
            read.map_err(self.failure("read", &self.segments[at].head.name()))?;
        }
        Ok(())
    }

    /// Puts the compacted segment in the place of those that it was made from.
    fn finish(&mut self, running: Running) -> Result<(), Error> {
        let head = *running.writer.head();
        let name = temporary(&head);
        let finished = running.writer.finish(running.measured_ns);
        finished.map_err(self.failure("write", &name))?;
        let segment = self.adopt(&name, &head)?;
        let replaced: Vec<Segment> = self.segments.splice(running.inputs, [segment]).collect();
        for segment in replaced {
            self.remove(&segment.head.name())?;
        }
        Ok(())
    }

    /// Returns how long the budget lasts for the series of the last day; `None` before the first segment.
    pub fn estimate(&self) -> Option<Estimate> {
        let mut day_bytes = [0.0; 4];
        for (at, tier) in Tier::HISTORY.into_iter().enumerate() {
            let (mut bytes, mut measured) = (0, 0);
            for segment in self
                .segments
                .iter()
                .rev()
                .filter(|segment| segment.head.tier == tier)
            {
                if measured >= DAY_NS {
                    break;
                }
                bytes += segment.bytes;
                measured += measured_ns(segment);
            }
            day_bytes[at] = match measured {
                0 if at == 0 => return None,
                0 => day_bytes[at - 1] * RATIOS[at],
                measured => bytes as f64 * DAY_NS as f64 / measured as f64,
            };
        }
        let (mut needed, mut kept_ns) = (0.0, 0.0);
        for (day_bytes, keep_ns) in day_bytes.into_iter().zip(self.options.keep_ns) {
            let left = (self.options.budget_bytes as f64 - needed).max(0.0);
            let full = day_bytes * keep_ns as f64 / DAY_NS as f64;
            kept_ns += keep_ns as f64 * if full <= left { 1.0 } else { left / full };
            needed += full;
        }
        Some(Estimate {
            day_bytes,
            needed_bytes: needed,
            kept_ns: kept_ns as u64,
        })
    }
}

/// A record of steps: sums by the hour, if they are shorter, and the steps.
fn steps_payload(step_ns: u64, steps: &[Step]) -> Vec<u8> {
    let mut sums: Vec<Step> = Vec::new();
    if step_ns < HOUR_NS {
        for step in steps {
            let start_ns = step.start_ns - step.start_ns % HOUR_NS;
            if sums.last().is_none_or(|sum| sum.start_ns != start_ns) {
                sums.push(Step {
                    start_ns,
                    ..Step::default()
                });
            }
            if let Some(sum) = sums.last_mut() {
                sum.merge(step);
            }
        }
    }
    let mut payload = Vec::new();
    match sums.is_empty() {
        true => put_block(&mut payload, &[]),
        false => put_block(&mut payload, &histogram::pack(HOUR_NS, &sums)),
    }
    payload.extend_from_slice(&histogram::pack(step_ns, steps));
    payload
}

pub(super) fn temporary(head: &Head) -> String {
    format!("{}{}", super::open::TEMPORARY, head.name())
}
