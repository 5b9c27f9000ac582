//! SHELL. What an hour of many targets costs: to store, and to merge when it has ended.
//!
//! `cargo run --release -p netsonde-history --example hour -- [TARGETS] [SECONDS]`; 10,000 targets at 1 s and an hour by
//! default. With TMPDIR in a tmpfs it is the time of the processor.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods
)]

mod synthetic;

use std::time::{Duration, Instant};

use netsonde_history::disk::Disk;
use netsonde_history::segment::Tier;
use netsonde_history::store::{Compaction, Options, Store};
use synthetic::{Random, SECOND, START, probe};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap());
    let targets = arguments.next().unwrap_or(10_000) as u32;
    let seconds = arguments.next().unwrap_or(3600);
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        seed: 1,
        ..Options::default()
    };
    let mut store = Store::open(Disk::new(directory.path()), options).unwrap();
    let mut random = Random(88_172_645_463_325_252);
    let start = START - START % (3600 * SECOND);
    let (mut pushed, mut flushed) = (Duration::ZERO, Duration::ZERO);
    for second in 0..seconds {
        let at = start + second * SECOND;
        let probes: Vec<_> = (0..targets)
            .map(|series| probe(series, at, &mut random))
            .collect();
        let begin = Instant::now();
        for (series, entry) in (0..).zip(&probes) {
            store.push(series, SECOND, entry);
        }
        pushed += begin.elapsed();
        if second % 5 == 4 {
            let begin = Instant::now();
            store.flush(at).unwrap();
            flushed += begin.elapsed();
        }
    }
    let later = start + 3600 * SECOND;
    let begin = Instant::now();
    store.flush(later).unwrap();
    flushed += begin.elapsed();
    let probes = u64::from(targets) * seconds;
    let show = |name: &str, took: Duration, store: &Store<Disk>| {
        let (segments, bytes) = store.tier_size(Tier::Probes);
        println!(
            "{name}: {took:.2?}, {:.0} ns a probe; {segments} segments of {bytes} bytes",
            took.as_nanos() as f64 / probes as f64
        );
    };
    show("taken", pushed, &store);
    show("written", flushed, &store);
    let begin = Instant::now();
    let (mut slowest, mut steps) = (Duration::ZERO, 0);
    loop {
        let step = Instant::now();
        if store.compact(later).unwrap() == Compaction::Done {
            break;
        }
        slowest = slowest.max(step.elapsed());
        steps += 1;
    }
    show("merged", begin.elapsed(), &store);
    println!("{steps} steps, the slowest {slowest:.2?}");
}
