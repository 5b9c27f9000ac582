//! PURE. Batches: what the journal gets every few seconds, a few entries of each of many series.
//!
//! ```text
//! version 1 | chunks | for each: series, interval, start, entries | range-coded entries of all
//! ```
//! The coder goes through all chunks with the same contexts: five entries of one series teach it nothing.

use crate::bytes::{Input, put_varint};
use crate::chunk::{Builder, Coded, Contexts, Entries, Head, code_entries, put_head};
use crate::entropy::{Decoder, Encoder};

/// Version of the format of batches.
const VERSION: u8 = 1;

/// Returns chunks of several series as they are stored.
pub(crate) fn pack(chunks: &[(u32, Builder)]) -> Vec<u8> {
    let mut to = vec![VERSION];
    put_varint(&mut to, chunks.len() as u64);
    let (mut contexts, mut coder) = (Contexts::new(), Encoder::new());
    for (series, chunk) in chunks {
        put_varint(&mut to, (*series).into());
        put_head(&mut to, chunk);
        code_entries(chunk, &mut contexts, &mut coder);
    }
    to.extend_from_slice(&coder.finish());
    to
}

/// Reads a batch: calls `visit` with series, interval in nanoseconds and entry. Returns `None` if it is
/// damaged or of another version; then nothing was visited.
pub(crate) fn unpack(bytes: &[u8], mut visit: impl FnMut(u32, u64, &Coded)) -> Option<()> {
    let mut input = Input(bytes);
    (input.u8()? == VERSION).then_some(())?;
    let count = input.varint()?;
    let mut heads = Vec::new();
    for _ in 0..count {
        let series = u32::try_from(input.varint()?).ok()?;
        heads.push((series, Head::read(&mut input)?));
    }
    let (mut contexts, mut coder) = (Contexts::new(), Decoder::new(input.0));
    let mut all = Vec::new();
    for (series, head) in heads {
        let mut entries = Entries::new(head);
        while let Some(coded) = entries.next(&mut contexts, &mut coder) {
            all.push((series, head.interval_ns, coded.ok()?));
        }
    }
    for (series, interval_ns, coded) in &all {
        visit(*series, *interval_ns, coded);
    }
    Some(())
}
