//! PURE. Batches: what the journal gets every few seconds, a few entries of each of many series.
//!
//! ```text
//! version 2 | chunks | for each: series, interval, start, entries | range-coded entries of all
//! ```
//! Series and start are less those of the chunk before, and an interval like that before is 0. The coder goes
//! through all chunks with the same contexts: five entries of one series teach it nothing.

use crate::bytes::{Input, put_signed, put_varint};
use crate::chunk::{Builder, Coded, Contexts, Entries, Head, VERSION, code_entries};
use crate::entropy::{Decoder, Encoder};

/// Returns what is not written yet of chunks of several series, which ascend, as it is stored.
pub(crate) fn pack(chunks: &[(u32, &Builder)]) -> Vec<u8> {
    let mut to = vec![VERSION];
    put_varint(&mut to, chunks.len() as u64);
    let (mut contexts, mut coder) = (Contexts::new(), Encoder::new());
    let (mut last_series, mut last_interval, mut last_start) = (0, 0, 0);
    for (series, chunk) in chunks {
        let entries = chunk.unwritten();
        let start_ns = chunk.unwritten_start_ns();
        put_varint(&mut to, (series - last_series).into());
        let is_same = chunk.interval_ns() == last_interval;
        put_varint(&mut to, if is_same { 0 } else { chunk.interval_ns() });
        put_signed(&mut to, start_ns.wrapping_sub(last_start) as i64);
        put_varint(&mut to, entries.left().into());
        (last_series, last_interval, last_start) = (*series, chunk.interval_ns(), start_ns);
        code_entries(entries, start_ns, &mut contexts, &mut coder);
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
    let (mut contexts, mut coder) = (Contexts::new(), Decoder::new(input.0));
    let mut all = Vec::new();
    for (series, head) in heads {
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
        assert_eq!(read, given);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = unpack(&damaged, |_, _, _| {});
            let _ = unpack(&bytes[..at], |_, _, _| {});
        }
    }
}
