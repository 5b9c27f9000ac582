//! SHELL. A synthetic store, and the time that 90 days of one target take.
//!
//! `cargo run --release -p netsonde-history --example history -- [TARGETS] [DAYS]`; 20 targets and 100 days
//! by default. Three targets (LAN, WAN, Wi-Fi) are measured at 1 s in the last 10 days, all others and
//! before every 5 minutes, so that building takes seconds and not hours.
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
use synthetic::{DAY, KINDS, Random, SECOND, START, probe};

const COARSE: u64 = 300 * SECOND;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap());
    let targets = arguments.next().unwrap_or(20) as u32;
    let days = arguments.next().unwrap_or(100);
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        budget_bytes: 1 << 40,
        seed: 1,
        ..Options::default()
    };
    let mut store = Store::open(Disk::new(directory.path()), options).unwrap();
    let end = START + days * DAY;
    build(&mut store, targets, end, end - DAY * days.min(10));
    for tier in Tier::HISTORY {
        let (segments, bytes) = store.tier_size(tier);
        println!("{:7} {segments:4} segments {bytes:12} bytes", tier.name());
    }
    drop(store);
    let start = Instant::now();
    let mut store = Store::open(Disk::new(directory.path()), options).unwrap();
    println!("opened in {:?}", start.elapsed());
    let queries = [
        ("90 days by 1 h", 90, 3600),
        ("90 days by 1 d", 90, 86_400),
        ("7 days by 1 h", 7, 3600),
        ("1 day by 1 min", 1, 60),
    ];
    for (name, days, step) in queries {
        for (series, kind) in (0..).zip(KINDS) {
            let start = Instant::now();
            let points = store
                .points(series, end - days * DAY, end, step * SECOND)
                .unwrap();
            let first = start.elapsed();
            let sent: u64 = points.iter().map(|point| point.step.sent()).sum();
            let start = Instant::now();
            store
                .points(series, end - days * DAY, end, step * SECOND)
                .unwrap();
            let again = start.elapsed();
            println!(
                "{name}, {kind}: {} points of {sent} probes in {first:?}, again {again:?}",
                points.len()
            );
        }
    }
    let start = Instant::now();
    let found = store.at(1, end - 3 * DAY - 1234 * SECOND).unwrap();
    println!(
        "one probe 3 days ago: {:?}, found: {}",
        start.elapsed(),
        found.is_some()
    );
}

fn build(store: &mut Store<Disk>, targets: u32, end: u64, fine: u64) {
    let mut random = Random(88_172_645_463_325_252);
    let mut slowest = Duration::ZERO;
    let mut steps = 0;
    let mut at = START;
    while at < end {
        let interval = if at >= fine { SECOND } else { COARSE };
        let all = if at.is_multiple_of(COARSE) {
            targets
        } else {
            3
        };
        for series in 0..all {
            let own = if series < 3 { interval } else { COARSE };
            store.push(series, own, &probe(series, at, &mut random));
        }
        // Seldom, as the time for fsync is not what is measured here.
        if at.is_multiple_of(COARSE) {
            store.flush(at + SECOND / 2).unwrap();
        }
        let mut is_more = at.is_multiple_of(3600 * SECOND);
        while is_more {
            let start = Instant::now();
            is_more = store.compact(at).unwrap() == Compaction::More;
            slowest = slowest.max(start.elapsed());
            steps += 1;
        }
        at += interval;
    }
    println!("{targets} targets; {steps} steps of compaction, the slowest {slowest:?}");
}
