//! SHELL. Bytes of a target-day of synthetic probes at 1 s, in each tier; and what 1,000 targets write in an
//! hour.
//!
//! `cargo run --release -p netsonde-history --example sizes`
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods
)]

mod synthetic;

use std::time::Instant;

use netsonde_history::chunk::{Builder, Entry, Packed, pack};
use netsonde_history::disk::Disk;
use netsonde_history::histogram::{self, Step};
use netsonde_history::scale::bucket_of;
use netsonde_history::segment::Tier;
use netsonde_history::store::{Options, Store};
use synthetic::{KINDS, Random, SECOND, START, probe};

fn main() {
    for series in 0..3 {
        day(series);
    }
    hour(1000);
}

fn day(series: u32) {
    let mut random = Random(88_172_645_463_325_252);
    let mut buckets = vec![0.0f64; 400];
    let mut chunks = Vec::new();
    for hour in 0..24 {
        let mut chunk = Builder::new(SECOND);
        for second in 0..3600 {
            let entry = probe(series, START + (hour * 3600 + second) * SECOND, &mut random);
            if let Entry::Probe(probe) = entry {
                probe
                    .wire_ns
                    .inspect(|wire| buckets[usize::from(bucket_of(*wire))] += 1.0);
            }
            chunk.push(&entry).unwrap();
        }
        chunks.push(pack(&chunk));
    }
    let bits = buckets
        .iter()
        .filter(|count| **count > 0.0)
        .map(|count| -count * (count / 86_400.0).log2());
    let all: usize = chunks.iter().map(Vec::len).sum();
    println!(
        "{}: every probe {all} bytes a target-day (order-0 entropy of the wire round trips alone: {:.0})",
        KINDS[series as usize],
        bits.sum::<f64>() / 8.0
    );
    let start = Instant::now();
    let coded: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| Packed::new(chunk).unwrap())
        .map(Result::unwrap)
        .collect();
    println!("  decoded in {:?} an hour", start.elapsed() / 24);
    for tier in &Tier::HISTORY[1..] {
        let step_ns = tier.step_ns().unwrap();
        let mut steps: Vec<Step> = Vec::new();
        for coded in &coded {
            let start_ns = coded.time_ns - coded.time_ns % step_ns;
            if steps.last().is_none_or(|step| step.start_ns != start_ns) {
                steps.push(Step {
                    start_ns,
                    ..Step::default()
                });
            }
            steps.last_mut().unwrap().add(coded);
        }
        let bytes = histogram::pack(step_ns, &steps);
        let start = Instant::now();
        histogram::unpack(&bytes).unwrap();
        println!(
            "  {}: {} bytes a target-day, decoded in {:?}",
            tier.name(),
            bytes.len(),
            start.elapsed()
        );
    }
}

fn hour(targets: u32) {
    let written = || {
        let io = std::fs::read_to_string("/proc/self/io").unwrap();
        let line = io.lines().find(|line| line.starts_with("wchar:")).unwrap();
        line[6..].trim().parse::<u64>().unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        seed: 1,
        ..Options::default()
    };
    let mut store = Store::open(Disk::new(directory.path()), options).unwrap();
    let mut random = Random(88_172_645_463_325_252);
    let before = written();
    let (mut pushing, mut flushing) = (0, 0);
    for second in 0..3605 {
        let all: Vec<Entry> = (0..targets)
            .map(|series| probe(series, START + second * SECOND, &mut random))
            .collect();
        let start = Instant::now();
        for (series, entry) in (0..).zip(&all) {
            store.push(series, SECOND, entry);
        }
        pushing += start.elapsed().as_nanos();
        if second % 5 == 4 {
            let start = Instant::now();
            store.flush(START + second * SECOND).unwrap();
            flushing += start.elapsed().as_nanos();
        }
    }
    let probes = u128::from(targets) * 3605;
    let (segments, kept) = store.tier_size(Tier::Probes);
    let a_day = |bytes: u64| bytes as f64 * 24.0 / 1000.0 / f64::from(targets);
    println!(
        "{targets} targets, an hour at 1 s: written {:.1} KB, kept {:.1} KB a target-day in {segments} segments; a probe: \
         push {} ns, flush with closing {} ns",
        a_day(written() - before),
        a_day(kept),
        pushing / probes,
        flushing / probes
    );
}
