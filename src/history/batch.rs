//! PURE. Batches: what the journal gets every few seconds, a few entries of each of many series.
//!
//! ```text
//! version 2 | chunks | range-coded for each: series, interval, start, entries, and the entries
//! ```
//! Series and start are less those of the chunk before, and an interval like that before is 0; starts are in eighths of a
//! tick. The coder goes through all chunks with the same contexts: five entries of one series teach it nothing, and their
//! head would take as many bytes as they do. In version 1 the heads are numbers in LEB128 before all entries.

use crate::bytes::{Input, put_varint};
use crate::chunk::{self, Builder, Coded, Contexts, Entries, Head, VERSION, code_entries};
use crate::entropy::{Coder, Decoder, Encoder, Number, Signed};

/// Parts of a tick in which starts are counted.
const PARTS: u64 = 8;

/// Contexts of heads, and the head before.
#[derive(Default)]
struct Heads {
    series: Number,
    interval: Number,
    start: Signed,
    count: Number,
    last_series: u32,
    last_interval_ns: u64,
    last_start_ns: u64,
}

impl Heads {
    /// Codes a head in either direction; `None` where bytes that were read cannot be one. The start is up to an eighth
    /// of a tick earlier than the given one.
    fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        (series, given): (u32, Head),
    ) -> Option<(u32, Head)> {
        let by = self
            .series
            .code(coder, series.wrapping_sub(self.last_series).into());
        let interval_ns = match given.interval_ns == self.last_interval_ns {
            true => 0,
            false => given.interval_ns,
        };
        let interval_ns = match self.interval.code(coder, interval_ns) {
            0 => self.last_interval_ns,
            other => other,
        };
        let part_ns = (interval_ns / chunk::TICKS / PARTS).max(1) as i64;
        let later_ns = given.start_ns.wrapping_sub(self.last_start_ns) as i64;
        let parts = self.start.code(coder, later_ns.div_euclid(part_ns));
        let start_ns = self
            .last_start_ns
            .wrapping_add(parts.wrapping_mul(part_ns) as u64);
        let count = self.count.code(coder, given.count.into());
        self.last_series = self.last_series.checked_add(u32::try_from(by).ok()?)?;
        (self.last_interval_ns, self.last_start_ns) = (interval_ns, start_ns);
        Some((self.last_series, Head::new(interval_ns, start_ns, count)?))
    }
}

/// Returns what is not written yet of chunks of several series, which ascend, as it is stored.
pub(crate) fn pack(chunks: &[(u32, &Builder)]) -> Vec<u8> {
    let mut to = vec![VERSION];
    put_varint(&mut to, chunks.len() as u64);
    let (mut contexts, mut coder) = (Contexts::new(), Encoder::new());
    let mut heads = Heads::default();
    for (series, chunk) in chunks {
        let entries = chunk.unwritten();
        let head = Head {
            interval_ns: chunk.interval_ns(),
            start_ns: chunk.unwritten_start_ns(),
            count: entries.left(),
        };
        // What is written is valid.
        if let Some((_, head)) = heads.code(&mut coder, (*series, head)) {
            code_entries(entries, head.start_ns, &mut contexts, &mut coder);
        }
    }
    to.extend_from_slice(&coder.finish());
    to
}

/// Reads a batch: calls `visit` with series, interval in nanoseconds and entry. Returns `None` if it is
/// damaged or of another version; then nothing was visited.
pub(crate) fn unpack(bytes: &[u8], mut visit: impl FnMut(u32, u64, &Coded)) -> Option<()> {
    let mut input = Input(bytes);
    let version = input.u8()?;
    (1..=VERSION).contains(&version).then_some(())?;
    let count = input.varint()?;
    let first = match version {
        1 => Some(first_heads(&mut input, count)?),
        _ => None,
    };
    let (mut contexts, mut coder) = (Contexts::new(), Decoder::new(input.0));
    let (mut heads, mut first) = (Heads::default(), first.map(Vec::into_iter));
    let mut all = Vec::new();
    for _ in 0..count {
        let (series, head) = match &mut first {
            Some(first) => first.next()?,
            None => heads.code(&mut coder, (0, Head::default()))?,
        };
        if coder.is_overrun() {
            return None;
        }
        let mut entries = Entries::new(version, head);
        while let Some(coded) = entries.next(&mut contexts, &mut coder) {
            all.push((series, head.interval_ns, coded.ok()?));
        }
    }
    for (series, interval_ns, coded) in &all {
        visit(*series, *interval_ns, coded);
    }
    Some(())
}

/// Reads the heads of a batch of version 1.
fn first_heads(input: &mut Input<'_>, count: u64) -> Option<Vec<(u32, Head)>> {
    let mut heads = Vec::new();
    let (mut series, mut interval_ns, mut start_ns) = (0u32, 0, 0u64);
    for _ in 0..count {
        series = series.checked_add(u32::try_from(input.varint()?).ok()?)?;
        interval_ns = match input.varint()? {
            0 => interval_ns,
            other => other,
        };
        start_ns = start_ns.wrapping_add(input.signed()? as u64);
        heads.push((series, Head::new(interval_ns, start_ns, input.varint()?)?));
    }
    Some(heads)
}

#[cfg(test)]
mod tests {
    use netsonde_core::probe::Fate;

    use super::*;
    use crate::chunk::{Entry, Probe};

    #[test]
    fn chunks_of_all_series_and_intervals_come_back() {
        let mut given = Vec::new();
        let mut chunks = Vec::new();
        for (series, interval_ns) in [
            (0, 1_000_000_000),
            (7, 1_000_000_000),
            (7, 100_000_000),
            (u32::MAX, 60_000_000_000),
        ] {
            let mut chunk = Builder::new(interval_ns);
            for at in 0..5 {
                let sent_ns = 1_800_000_000_000_000_000 - u64::from(series) + at * interval_ns;
                let fate = if at == 3 {
                    Fate::Refused
                } else {
                    Fate::Replied
                };
                chunk
                    .push(&Entry::Probe(Probe {
                        sent_ns,
                        fate,
                        wire_ns: Some(5000),
                        total_ns: None,
                    }))
                    .unwrap();
            }
            given.extend(chunk.read().map(|coded| (series, interval_ns, coded)));
            chunks.push((series, chunk));
        }
        let borrowed: Vec<(u32, &Builder)> = (chunks.iter())
            .map(|(series, chunk)| (*series, chunk))
            .collect();
        let bytes = pack(&borrowed);
        let mut read = Vec::new();
        unpack(&bytes, |series, interval_ns, coded| {
            read.push((series, interval_ns, *coded))
        })
        .unwrap();
        assert_eq!(read.len(), given.len());
        for ((series, interval_ns, read), given) in read.iter().zip(&given) {
            assert_eq!((*series, *interval_ns), (given.0, given.1));
            let early_ns = given.2.time_ns - read.time_ns;
            assert!(early_ns <= interval_ns / 2000, "{early_ns}");
            assert_eq!(
                (read.fate(), read.buckets()),
                (given.2.fate(), given.2.buckets())
            );
        }
        assert!(bytes.len() < 120, "{}", bytes.len());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = unpack(&damaged, |_, _, _| {});
            let _ = unpack(&bytes[..at], |_, _, _| {});
        }
    }
}
