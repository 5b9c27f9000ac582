//! PURE. Merging the segments of an hour: with many targets the running hour is closed again and again, since memory
//! and the journal are full, and a chunk of a few minutes takes more bytes a probe than one of an hour, as it begins
//! with a header, and with a coder that has learned nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use super::compact::{Running, temporary};
use super::write::hour;
use super::{Error, Store};
use crate::chunk::{Builder, Packed};
use crate::directory::Directory;
use crate::record::Kind;
use crate::segment::Tier;

/// Length of the segments that are merged into one: what is read and written again by one run, half of what a file may
/// have. An hour of 10,000 targets at 1 s has 36 MB.
const MERGED_BYTES: u64 = 64 << 20;
/// Segments that are merged into one: open files, and work of a step.
const MERGED_SEGMENTS: usize = 64;

impl<D: Directory> Store<D> {
    /// The oldest segments of probes that can be merged: of one hour, which has ended by `now_ns`.
    pub(super) fn parts_of_an_hour(&self, now_ns: u64) -> Option<Range<usize>> {
        let hour_of = |at: usize| {
            let segment = &self.segments[at];
            let is_whole = segment.head.tier == Tier::Probes && segment.is_indexed();
            is_whole.then(|| hour(segment.summary.start_ns))
        };
        let (mut parts, mut bytes) = (0..0, 0);
        for (at, segment) in self.segments.iter().enumerate() {
            let here = hour_of(at).filter(|here| *here != hour(now_ns));
            let goes_on = !parts.is_empty()
                && here.is_some_and(|_| here == hour_of(parts.start))
                && parts.len() < MERGED_SEGMENTS
                && bytes + segment.bytes <= MERGED_BYTES;
            if goes_on {
                parts.end = at + 1;
                bytes += segment.bytes;
            } else if parts.len() > 1 {
                break;
            } else {
                parts = at..at + usize::from(here.is_some());
                bytes = segment.bytes;
            }
        }
        (parts.len() > 1).then_some(parts)
    }

    /// Returns how many runs it takes to merge what can be: each goes through all series. Segments of an hour that lie
    /// apart are taken together, since this is for pacing.
    pub fn merges_due(&self, now_ns: u64) -> usize {
        let mut hours: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
        for segment in &self.segments {
            let is_whole = segment.head.tier == Tier::Probes && segment.is_indexed();
            if is_whole && hour(segment.summary.start_ns) != hour(now_ns) {
                let (count, bytes) = hours.entry(hour(segment.summary.start_ns)).or_default();
                *count += 1;
                *bytes += segment.bytes;
            }
        }
        let due = hours.into_values().filter(|(count, _)| *count > 1);
        due.map(|(_, bytes)| bytes.div_ceil(MERGED_BYTES) as usize)
            .sum()
    }

    /// Merges the chunks of a series, and writes them.
    pub(super) fn merge_series(&mut self, running: &mut Running, series: u32) -> Result<(), Error> {
        let mut chunks = Vec::new();
        self.read_inputs(running, series, |about, content| {
            (content.kind == Kind::Probes).then_some(())?;
            append(&mut chunks, about.boot_id, Packed::new(content.fine).ok()?)
        })?;
        let name = temporary(running.writer.head());
        for (boot_id, chunk) in &chunks {
            let (about, payload) = super::write::record(series, *boot_id, chunk);
            let written = running.writer.append(&about, &payload);
            written.map_err(self.failure("write", &name))?;
        }
        Ok(())
    }
}

/// Appends a chunk; stops at damage.
fn append(
    chunks: &mut Vec<([u8; 16], Builder)>,
    boot_id: [u8; 16],
    chunk: Packed<'_>,
) -> Option<()> {
    let interval_ns = chunk.interval_ns();
    for coded in chunk {
        // As it is coded: durations and back would cost as much as all else.
        let coded = coded.ok()?;
        if let Some((last_boot_id, last)) = chunks.last_mut() {
            let is_same = *last_boot_id == boot_id
                && last.interval_ns() == interval_ns
                && hour(last.start_ns()) == hour(coded.time_ns);
            if is_same && last.push_coded(&coded).is_ok() {
                continue;
            }
        }
        // An empty chunk takes any entry.
        let mut new = Builder::new(interval_ns);
        let _ = new.push_coded(&coded);
        chunks.push((boot_id, new));
    }
    Some(())
}
