//! PURE. Reading the history of a series: from segments, and from the running hour in memory.

use std::collections::BTreeMap;
use std::io;

use super::{Error, HOUR_NS, Store};
use crate::bytes::Input;
use crate::chunk::{Coded, Entry, Packed, Probe};
use crate::directory::{Directory, ReadAt};
use crate::histogram::{self, Step};
use crate::record::{About, Kind};
use crate::segment::{Cursor, Place, Segment};

/// A step of history, with its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Length in nanoseconds: what was asked for, or more where only that is kept.
    pub step_ns: u64,
    /// Everything of the time from its start on.
    pub step: Step,
}

/// Content of a record of one series.
pub(super) struct Content<'a> {
    /// Sums by the hour, so that long times can be read without the rest; empty if the rest is hours.
    sums: &'a [u8],
    pub(super) kind: Kind,
    /// A chunk or steps.
    pub(super) fine: &'a [u8],
}

impl<D: Directory> Store<D> {
    /// Calls `visit` with each probe and gap of a series from a time on until before another (nanoseconds since
    /// 1970), in the order of sending, until it returns false. Only what is kept in full is found.
    ///
    /// # Errors
    ///
    /// The file system refuses to read. Damaged records are counted and skipped.
    pub fn entries(
        &mut self,
        series: u32,
        from_ns: u64,
        to_ns: u64,
        mut visit: impl FnMut(&Coded) -> bool,
    ) -> Result<(), Error> {
        let mut goes_on = true;
        let is_wanted = |coded: &Coded| (from_ns..to_ns).contains(&coded.time_ns);
        self.records(series, from_ns, to_ns, |content| {
            if content.kind != Kind::Probes {
                return Some(());
            }
            for coded in Packed::new(content.fine).ok()? {
                let coded = coded.ok()?;
                if goes_on && is_wanted(&coded) {
                    goes_on = visit(&coded);
                }
            }
            Some(())
        })?;
        for chunk in self.open.get(&series).into_iter().flatten() {
            for coded in chunk.read() {
                if goes_on && is_wanted(&coded) {
                    goes_on = visit(&coded);
                }
            }
        }
        Ok(())
    }

    /// Returns the probe of a series whose send time is nearest to a time (nanoseconds since 1970), at most
    /// an hour away; `None` if no probe is kept there.
    ///
    /// # Errors
    ///
    /// The file system refuses to read.
    pub fn at(&mut self, series: u32, time_ns: u64) -> Result<Option<Probe>, Error> {
        let mut nearest: Option<Probe> = None;
        let (from, to) = (
            time_ns.saturating_sub(HOUR_NS),
            time_ns.saturating_add(HOUR_NS),
        );
        self.entries(series, from, to, |coded| {
            if let Entry::Probe(probe) = coded.entry() {
                let away = |probe: &Probe| probe.sent_ns.abs_diff(time_ns);
                if nearest
                    .as_ref()
                    .is_none_or(|nearest| away(&probe) < away(nearest))
                {
                    nearest = Some(probe);
                }
            }
            true
        })?;
        Ok(nearest)
    }

    /// Returns the history of a series from a time on until before another (nanoseconds since 1970) in steps
    /// of a length, in ascending order. Steps without probes and gaps are not there. Where only longer steps
    /// are kept, they are returned with their own length; their edges may lie outside of the time asked for.
    ///
    /// # Errors
    ///
    /// The file system refuses to read. Damaged records are counted and skipped.
    pub fn points(
        &mut self,
        series: u32,
        from_ns: u64,
        to_ns: u64,
        step_ns: u64,
    ) -> Result<Vec<Point>, Error> {
        let mut points = Points {
            step_ns: step_ns.max(1),
            from_ns,
            to_ns,
            map: BTreeMap::new(),
        };
        self.records(series, from_ns, to_ns, |content| points.add(content))?;
        for chunk in self.open.get(&series).into_iter().flatten() {
            points.add_entries(chunk.read().map(Some));
        }
        let point = |((start_ns, step_ns), step)| Point {
            step_ns,
            step: Step { start_ns, ..step },
        };
        Ok(points.map.into_iter().map(point).collect())
    }

    /// Returns everything of a series from a time on until before another as one step, from whose histograms
    /// percentiles over the whole time can be read.
    ///
    /// # Errors
    ///
    /// The file system refuses to read.
    pub fn span(&mut self, series: u32, from_ns: u64, to_ns: u64) -> Result<Step, Error> {
        let mut whole = Step::default();
        for point in self.points(series, from_ns, to_ns, HOUR_NS)? {
            whole.merge(&point.step);
        }
        whole.start_ns = from_ns;
        Ok(whole)
    }

    /// Calls `visit` with the content of each record of a series in segments that overlaps a time. `visit`
    /// returns
    /// `None` for damage.
    fn records(
        &mut self,
        series: u32,
        from_ns: u64,
        to_ns: u64,
        mut visit: impl FnMut(Content<'_>) -> Option<()>,
    ) -> Result<(), Error> {
        for at in 0..self.segments.len() {
            // A step has the time until its end.
            let segment = &self.segments[at];
            let from_ns = from_ns.saturating_sub(segment.head.tier.step_ns().unwrap_or(0));
            let summary = segment.summary;
            if summary.start_ns >= to_ns || summary.end_ns < from_ns {
                continue;
            }
            let name = segment.head.name();
            let read = self.directory.open(&name).and_then(|file| {
                let place = (at, &*file, &mut Cursor::default());
                self.read_segment(place, series, (from_ns, to_ns), |_, content| visit(content))
            });
            read.map_err(self.failure("read", &name))?;
        }
        Ok(())
    }

    /// Calls `visit` with each record of a series in a segment that overlaps a time, and counts those of which it
    /// returns `None`: they are damaged.
    pub(super) fn read_segment(
        &mut self,
        (at, file, cursor): (usize, &dyn ReadAt, &mut Cursor),
        series: u32,
        (from_ns, to_ns): (u64, u64),
        mut visit: impl FnMut(&About, Content<'_>) -> Option<()>,
    ) -> io::Result<()> {
        for place in self.find((at, file, cursor), series, from_ns, to_ns)? {
            let read = self.segments[at].read(file, &place)?;
            let visited = read
                .as_ref()
                .and_then(|(about, payload)| visit(about, content(about.kind, payload)?));
            if visited.is_none() {
                self.counters.damaged += 1;
                self.counters.damaged_bytes += u64::from(place.bytes);
            }
        }
        Ok(())
    }

    /// Finds the records of a series in a segment, by a scan if its footer is damaged.
    fn find(
        &mut self,
        (at, file, cursor): (usize, &dyn ReadAt, &mut Cursor),
        series: u32,
        from_ns: u64,
        to_ns: u64,
    ) -> io::Result<Vec<Place>> {
        let segment = &mut self.segments[at];
        // `to_ns` itself is not wanted.
        let to_ns = to_ns.saturating_sub(1);
        if let Some(found) = segment.find(file, cursor, series, from_ns, to_ns)? {
            return Ok(found);
        }
        rescan(segment, file, &mut self.counters)?;
        Ok(segment
            .find(file, cursor, series, from_ns, to_ns)?
            .unwrap_or_default())
    }
}

/// Replaces a damaged footer by a scan, and counts the damage.
pub(super) fn rescan(
    segment: &mut Segment,
    file: &dyn ReadAt,
    counters: &mut super::Counters,
) -> io::Result<()> {
    let scan = segment.scan(file)?;
    counters.damaged += u64::from(scan.damaged) + 1;
    counters.damaged_bytes += scan.damaged_bytes;
    Ok(())
}

/// Reads the payload of a record; `None` if it is damaged.
fn content(kind: Kind, payload: &[u8]) -> Option<Content<'_>> {
    let mut input = Input(payload);
    let sums = input.block()?;
    matches!(kind, Kind::Probes | Kind::Steps).then_some(Content {
        sums,
        kind,
        fine: input.0,
    })
}

/// Steps that are collected, by start and length.
pub(super) struct Points {
    pub step_ns: u64,
    pub from_ns: u64,
    pub to_ns: u64,
    pub map: BTreeMap<(u64, u64), Step>,
}

impl Points {
    fn step(&mut self, time_ns: u64, step_ns: u64) -> &mut Step {
        self.map
            .entry((time_ns - time_ns % step_ns, step_ns))
            .or_default()
    }

    /// Adds a record; `None` if it is damaged.
    pub fn add(&mut self, content: Content<'_>) -> Option<()> {
        if !self.step_ns.is_multiple_of(HOUR_NS) || content.sums.is_empty() {
            return self.add_fine(&content, |_| true);
        }
        let mut partial = Vec::new();
        let (_, sums) = histogram::unpack(content.sums).ok()?;
        for sum in &sums {
            let end_ns = sum.start_ns.saturating_add(HOUR_NS);
            if sum.start_ns >= self.from_ns && end_ns <= self.to_ns {
                self.step(sum.start_ns, self.step_ns).merge(sum);
            } else if sum.start_ns < self.to_ns && end_ns > self.from_ns {
                partial.push(sum.start_ns);
            }
        }
        if partial.is_empty() {
            return Some(());
        }
        // Of hours at the edges only a part is wanted.
        self.add_fine(&content, |time_ns| {
            partial.contains(&(time_ns - time_ns % HOUR_NS))
        })
    }

    fn add_fine(&mut self, content: &Content<'_>, is_wanted: impl Fn(u64) -> bool) -> Option<()> {
        if content.kind == Kind::Probes {
            // A chunk lies in one hour.
            return self.add_entries(Packed::new(content.fine).ok()?.map(Result::ok));
        }
        let (kept_ns, steps) = histogram::unpack(content.fine).ok()?;
        // The shortest length that is a multiple of what is kept.
        let step_ns = self.step_ns.div_ceil(kept_ns) * kept_ns;
        for step in steps.iter().filter(|step| is_wanted(step.start_ns)) {
            let end_ns = step.start_ns.saturating_add(kept_ns);
            if step.start_ns < self.to_ns && end_ns > self.from_ns {
                self.step(step.start_ns, step_ns).merge(step);
            }
        }
        Some(())
    }

    /// Adds probes and gaps; stops at damage.
    pub fn add_entries(&mut self, entries: impl Iterator<Item = Option<Coded>>) -> Option<()> {
        let (step_ns, from_ns, to_ns) = (self.step_ns, self.from_ns, self.to_ns);
        let mut entries = entries.peekable();
        while let Some(first) = entries.next() {
            let first = first?;
            if !(from_ns..to_ns).contains(&first.time_ns) {
                continue;
            }
            let step = self.step(first.time_ns, step_ns);
            step.add(&first);
            let start_ns = first.time_ns - first.time_ns % step_ns;
            let end_ns = to_ns.min(start_ns.saturating_add(step_ns));
            // Entries of a chunk ascend: all until the end of the step are of it.
            while let Some(Some(coded)) =
                entries.next_if(|next| next.as_ref().is_some_and(|coded| coded.time_ns < end_ns))
            {
                step.add(&coded);
            }
        }
        Some(())
    }
}
