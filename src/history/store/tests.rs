//! PURE. What the store makes of a disk that fills up, vanishes and loses power.
#![allow(clippy::disallowed_methods)]

use std::io;

use netsonde_core::probe::Fate;
use proptest::prelude::*;

use super::*;
use crate::chunk::{Entry, Gap, GapReason, Probe};
use crate::disk::Disk;
use crate::histogram::Step;
use crate::memory::{File, Memory};
use crate::segment::Cursor;

const SECOND: u64 = 1_000_000_000;
/// A full hour.
const START: u64 = 1_800_000_000 * SECOND;

fn probe(series: u32, second: u64) -> Entry {
    let is_lost = (second + u64::from(series)) % 97 == 5;
    let wire_ns = 200_000 + (second * 7919 + u64::from(series) * 31) % 50_000;
    Entry::Probe(Probe {
        sent_ns: START + second * SECOND,
        fate: if is_lost {
            Fate::Unanswered
        } else {
            Fate::Replied
        },
        wire_ns: (!is_lost).then_some(wire_ns),
        total_ns: (!is_lost).then_some(wire_ns + 14_000),
    })
}

fn options() -> Options {
    Options {
        seed: 42,
        ..Options::default()
    }
}

fn open(memory: &Memory) -> Store<Memory> {
    Store::open(memory.copy(), options()).unwrap_or_else(|error| panic!("{error}"))
}

/// Pushes a second of probes of some series, and flushes every 5 s.
fn run(store: &mut Store<Memory>, series: u32, seconds: std::ops::Range<u64>) {
    for second in seconds {
        for series in 0..series {
            store.push(series, SECOND, &probe(series, second));
        }
        if second % 5 == 4 {
            let _ = store.flush(START + second * SECOND);
        }
    }
}

fn seconds(store: &mut Store<Memory>, series: u32) -> Vec<u64> {
    let mut found = Vec::new();
    store
        .entries(series, 0, u64::MAX, |coded| {
            if coded.fate().is_some() {
                found.push((coded.time_ns - START + SECOND / 2) / SECOND);
            }
            true
        })
        .unwrap();
    found
}

fn expected(seconds: std::ops::Range<u64>) -> Vec<u64> {
    seconds.collect()
}

/// Two hours and a half of three series, in segments and a journal.
fn filled() -> Memory {
    let memory = Memory::default();
    let mut store = Store::open(memory.clone(), options()).unwrap();
    run(&mut store, 3, 0..9000);
    memory
}

/// Three series at 10 s for two hours and a half.
fn sparse() -> Memory {
    let memory = Memory::default();
    let mut store = Store::open(memory.clone(), options()).unwrap();
    for second in (0..9000).step_by(10) {
        for series in 0..3 {
            store.push(series, 10 * SECOND, &probe(series, second));
        }
        if second % 50 == 40 {
            store.flush(START + second * SECOND).unwrap();
        }
    }
    memory
}

/// 3,500 s of two series, with the end of the hour to come.
fn nearly_an_hour() -> Memory {
    let memory = Memory::default();
    let mut store = Store::open(memory.clone(), options()).unwrap();
    run(&mut store, 2, 0..3500);
    memory
}

fn is_ascending(seconds: &[u64]) -> bool {
    seconds.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn every_probe_is_there_before_and_after_opening_again() {
    let memory = filled();
    assert_eq!(memory.names().len(), 3, "{:?}", memory.names());
    let mut store = open(&memory);
    for series in 0..3 {
        assert_eq!(seconds(&mut store, series), expected(0..9000));
    }
    assert!(seconds(&mut store, 3).is_empty());
    assert_eq!(*store.counters(), Counters::default());
    for second in [0, 3599, 3600, 5000, 8999] {
        let (found, Entry::Probe(given)) = (
            store.at(1, START + second * SECOND).unwrap().unwrap(),
            probe(1, second),
        ) else {
            panic!()
        };
        assert_eq!(found.fate, given.fate);
        assert!(found.sent_ns.abs_diff(given.sent_ns) <= SECOND / 250);
        assert_eq!(found.wire_ns.is_some(), given.wire_ns.is_some());
    }
    assert_eq!(store.at(1, START + 20_000 * SECOND).unwrap(), None);
    // The journal goes on where it was.
    run(&mut store, 3, 9000..11_000);
    assert_eq!(seconds(&mut store, 2), expected(0..11_000));
}

#[test]
fn points_of_any_step_have_every_probe_once() {
    let mut store = open(&filled());
    for (step_ns, from, to) in [
        (60, 0, 9000),
        (3600, 0, 9000),
        (3600, 1800, 8000),
        (7, 100, 4000),
        (86_400, 0, 9000),
    ] {
        let points = store
            .points(
                1,
                START + from * SECOND,
                START + to * SECOND,
                step_ns * SECOND,
            )
            .unwrap();
        let sent: u64 = points.iter().map(|point| point.step.sent()).sum();
        let lost: u64 = points
            .iter()
            .map(|point| point.step.count(Fate::Unanswered))
            .sum();
        let wire: u64 = points.iter().map(|point| point.step.wire.count()).sum();
        assert_eq!(sent, to - from, "{step_ns}");
        assert_eq!(
            lost,
            (from..to).filter(|second| (second + 1) % 97 == 5).count() as u64
        );
        assert_eq!(wire, sent - lost);
        assert!(
            points
                .iter()
                .all(|point| point.step.start_ns % point.step_ns == 0)
        );
    }
}

#[test]
fn a_store_has_one_process() {
    let memory = filled();
    let Err(error) = Store::open(memory, options()) else {
        panic!("opened twice");
    };
    assert_eq!(
        error.to_string(),
        "/var/lib/netsonde is in use by another process"
    );
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(Disk::new(directory.path()), options()).unwrap();
    let second = Store::open(Disk::new(directory.path()), options());
    assert!(matches!(second, Err(Error::Locked { .. })));
    drop(first);
    Store::open(Disk::new(directory.path()), options()).unwrap();
}

#[test]
fn other_versions_are_refused_and_nothing_is_changed() {
    for version in [0, 2, 999] {
        let memory = filled().copy();
        let name = memory.names()[1].clone();
        {
            let mut files = memory.0.borrow_mut();
            let bytes = &mut files.files.get_mut(&name).unwrap().bytes;
            for copy in bytes[..128].chunks_exact_mut(64) {
                copy[8..10].copy_from_slice(&u16::to_le_bytes(version));
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(&copy[..12]);
                hasher.update(&copy[16..]);
                copy[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
            }
            files.files.insert("tmp-x".to_owned(), File::default());
        }
        let before = memory.names();
        let Err(error) = Store::open(memory.clone(), options()) else {
            panic!("opened version {version}");
        };
        let text = format!(
            "/var/lib/netsonde/{name} has format version {version}, this program supports only version 1"
        );
        assert!(error.to_string().starts_with(&text), "{error}");
        assert_eq!(memory.names(), before);
    }
}

#[test]
fn what_a_disk_refuses_is_written_when_it_can_be() {
    for kind in [
        io::ErrorKind::StorageFull,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::NotFound,
    ] {
        let memory = Memory::default();
        let mut store = Store::open(memory.clone(), options()).unwrap();
        run(&mut store, 2, 0..1000);
        memory.0.borrow_mut().error = Some(kind);
        run(&mut store, 2, 1000..5000);
        store.push(0, SECOND, &probe(0, 5000));
        let error = store.flush(START + 5000 * SECOND).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write /var/lib/netsonde/"),
            "{error}"
        );
        assert_eq!(store.counters().failed_writes, 801);
        memory.0.borrow_mut().error = None;
        run(&mut store, 2, 5000..6000);
        for series in 0..2 {
            assert_eq!(
                seconds(&mut open(&memory), series).len(),
                6000 + usize::from(series == 0)
            );
        }
    }
}

#[test]
fn a_removed_directory_is_named_and_everything_is_there_once_it_is_back() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("history");
    std::fs::create_dir(&path).unwrap();
    let mut store = Store::open(Disk::new(&path), options()).unwrap();
    store.push(0, SECOND, &probe(0, 0));
    store.flush(START).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    store.push(0, SECOND, &probe(0, 1));
    let error = store.flush(START + SECOND).unwrap_err().to_string();
    let text = format!(
        "cannot create {}/journal-0000000002-0000000002.seg: No such file",
        path.display()
    );
    assert!(error.starts_with(&text), "{error}");
    std::fs::create_dir(&path).unwrap();
    store.push(0, SECOND, &probe(0, 2));
    store.flush(START + 2 * SECOND).unwrap();
    drop(store);
    let mut store = Store::open(Disk::new(&path), options()).unwrap();
    let mut count = 0;
    store
        .entries(0, 0, u64::MAX, |_| {
            count += 1;
            true
        })
        .unwrap();
    assert_eq!(count, 3);
}

#[test]
fn a_disk_that_fills_up_within_a_record_costs_nothing() {
    let before = nearly_an_hour();
    for room in (0..16_000).step_by(331) {
        let memory = before.copy();
        let mut store = Store::open(memory.clone(), options()).unwrap();
        memory.0.borrow_mut().room = Some(room);
        run(&mut store, 2, 3500..3700);
        let mut torn = open(&memory);
        assert!(is_ascending(&seconds(&mut torn, 1)), "{room}");
        memory.0.borrow_mut().room = None;
        run(&mut store, 2, 3700..3705);
        assert_eq!(seconds(&mut open(&memory), 1), expected(0..3705), "{room}");
    }
}

#[test]
fn memory_is_bounded_and_what_is_refused_is_a_declared_gap() {
    let memory = Memory::default();
    let limited = Options {
        open_entries: 1000,
        ..options()
    };
    let mut store = Store::open(memory.clone(), limited).unwrap();
    memory.0.borrow_mut().error = Some(io::ErrorKind::StorageFull);
    run(&mut store, 1, 0..1500);
    assert_eq!(store.counters().refused_entries, 500);
    assert_eq!(seconds(&mut store, 0), expected(0..1000));
    memory.0.borrow_mut().error = None;
    store.flush(START + 1500 * SECOND).unwrap();
    run(&mut store, 1, 1501..1600);
    let mut gaps = Vec::new();
    let collect = |coded: &crate::chunk::Coded| {
        if let Entry::Gap(gap) = coded.entry() {
            gaps.push(gap);
        }
        true
    };
    open(&memory).entries(0, 0, u64::MAX, collect).unwrap();
    let gap = Gap {
        begin_ns: START + 1000 * SECOND,
        length_ns: 500 * SECOND,
        reason: GapReason::NotStored,
    };
    assert_eq!(gaps, [gap]);
}

#[test]
fn power_cuts_at_any_operation_lose_ten_seconds_at_most_and_double_nothing() {
    let before = nearly_an_hour();
    for power in 0..90 {
        let memory = before.copy();
        let mut store = Store::open(memory.clone(), options()).unwrap();
        memory.0.borrow_mut().power = Some(power);
        let mut flushed = 3500;
        for second in 3500..3680 {
            store.push(0, SECOND, &probe(0, second));
            if second % 5 == 4 && store.flush(START + second * SECOND).is_ok() {
                flushed = second + 1;
            }
        }
        for part in [0, 37, 100] {
            let mut after = Store::open(memory.after_power_cut(part), options()).unwrap();
            let found = seconds(&mut after, 0);
            assert!(
                found.len() as u64 >= flushed,
                "{power}: {} of {flushed}",
                found.len()
            );
            assert_eq!(found, expected(0..found.len() as u64), "{power} {part}");
            // And it goes on from there.
            run(&mut after, 1, 4200..4300);
            assert!(is_ascending(&seconds(&mut after, 0)));
        }
    }
}

#[test]
fn clocks_set_back_and_ahead_lose_nothing_and_let_nothing_age() {
    let memory = Memory::default();
    let mut store = Store::open(memory.clone(), options()).unwrap();
    run(&mut store, 1, 0..2000);
    let year = 365 * 86_400;
    run(&mut store, 1, year..year + 1000);
    run(&mut store, 1, 2000..9000);
    let mut store = open(&memory);
    let mut all = expected(0..2000);
    all.extend(year..year + 1000);
    all.extend(2000..9000);
    assert_eq!(seconds(&mut store, 0), all);
    while store.compact(START + year * SECOND).unwrap() == Compaction::More {}
    assert_eq!(seconds(&mut store, 0), all);
}

/// Some days of one series a minute apart, compacted with short ages.
fn aged(memory: &Memory, days: u64) -> Store<Memory> {
    let keep_ns = [DAY_NS, DAY_NS, 2 * DAY_NS, 100 * DAY_NS];
    let mut store = Store::open(
        memory.clone(),
        Options {
            keep_ns,
            ..options()
        },
    )
    .unwrap();
    for minute in 0..days * 1440 {
        let now = START + minute * 60 * SECOND;
        store.push(7, 60 * SECOND, &probe(0, minute * 60));
        store.push(9, 60 * SECOND, &probe(1, minute * 60));
        store.flush(now).unwrap();
    }
    store
}

fn totals(store: &mut Store<Memory>, series: u32) -> Step {
    store.span(series, 0, u64::MAX / 2).unwrap()
}

#[test]
fn compaction_keeps_every_count_and_every_percentile() {
    let memory = Memory::default();
    let mut store = aged(&memory, 9);
    let before = totals(&mut store, 7);
    assert_eq!(before.sent(), 9 * 1440);
    let mut steps = 0;
    while store.compact(START).unwrap() == Compaction::More {
        // Whatever was done, and whenever it is opened again.
        steps += 1;
        assert_eq!(totals(&mut store, 7), before);
        let mut again = open(&memory);
        assert_eq!(totals(&mut again, 7), before);
    }
    assert!(steps > 20, "{steps}");
    for (tier, days) in Tier::HISTORY.into_iter().zip([1.0, 1.0, 2.0, 4.0]) {
        let (segments, _) = store.tier_size(tier);
        let is_hourly = tier == Tier::Probes;
        assert!(
            segments as f64 >= days * if is_hourly { 24.0 } else { 1.0 },
            "{tier:?} {segments}"
        );
        assert!(segments <= 48, "{tier:?} {segments}");
    }
    assert!(memory.names().iter().all(|name| !name.starts_with("tmp")));
    // Hours where only hours are kept.
    let points = store
        .points(7, START, START + 3600 * SECOND, 60 * SECOND)
        .unwrap();
    assert_eq!(points[0].step_ns, HOUR_NS);
}

#[test]
fn compaction_that_is_cut_off_anywhere_begins_again() {
    let memory = Memory::default();
    let mut store = aged(&memory, 4);
    let before = totals(&mut store, 9);
    drop(store);
    for power in 0..120 {
        let cut = memory.copy();
        let keep_ns = [DAY_NS, DAY_NS, 2 * DAY_NS, 100 * DAY_NS];
        let mut store = Store::open(
            cut.clone(),
            Options {
                keep_ns,
                ..options()
            },
        )
        .unwrap();
        cut.0.borrow_mut().power = Some(power);
        while store
            .compact(START)
            .is_ok_and(|step| step == Compaction::More)
        {}
        for part in [0, 50, 100] {
            let mut after = Store::open(
                cut.after_power_cut(part),
                Options {
                    keep_ns,
                    ..options()
                },
            )
            .unwrap();
            assert_eq!(totals(&mut after, 9), before, "{power}");
            while after.compact(START).unwrap() == Compaction::More {}
            assert_eq!(totals(&mut after, 9), before, "{power}");
        }
    }
}

/// Two hours and a half of three series, of which a segment has some minutes.
fn in_parts(memory: &Memory) -> Store<Memory> {
    let options = Options {
        journal_bytes: 4096,
        ..options()
    };
    let mut store = Store::open(memory.clone(), options).unwrap();
    run(&mut store, 3, 0..9000);
    store
}

fn all(store: &mut Store<Memory>) -> [Vec<u64>; 3] {
    [0, 1, 2].map(|series| seconds(store, series))
}

#[test]
fn segments_of_an_hour_become_one() {
    let memory = Memory::default();
    let mut store = in_parts(&memory);
    let now = START + 9000 * SECOND;
    let expected = [0, 1, 2].map(|_| expected(0..9000));
    let (parts, bytes) = store.tier_size(Tier::Probes);
    assert!(parts > 10, "{parts}");
    let entries = |store: &mut Store<Memory>| {
        let mut all = Vec::new();
        let read = store.entries(1, 0, u64::MAX, |coded| {
            all.push(coded.entry());
            true
        });
        read.unwrap();
        all
    };
    let before = entries(&mut store);
    let mut steps = 0;
    while store.compact(now).unwrap() == Compaction::More {
        steps += 1;
        assert_eq!(all(&mut store), expected);
        assert_eq!(all(&mut open(&memory)), expected);
    }
    assert!(steps >= 6, "{steps}");
    // The hours that have ended, and the parts of the one that runs.
    let ended =
        (store.segments.iter()).filter(|segment| segment.summary.end_ns < START + 7200 * SECOND);
    assert_eq!(ended.count(), 2);
    let (after, merged_bytes) = store.tier_size(Tier::Probes);
    assert!(
        after < parts && merged_bytes < bytes * 3 / 4,
        "{bytes}, {merged_bytes}"
    );
    for (before, after) in before.iter().zip(entries(&mut store)) {
        let (Entry::Probe(before), Entry::Probe(after)) = (before, after) else {
            panic!()
        };
        assert!(before.sent_ns.abs_diff(after.sent_ns) <= SECOND / 250);
        assert_eq!(
            (before.fate, before.wire_ns, before.total_ns),
            (after.fate, after.wire_ns, after.total_ns)
        );
    }
    assert_eq!(*store.counters(), Counters::default());
    assert_eq!(store.compact(now).unwrap(), Compaction::Done);
    // Another interval, or a clock that was set back, does not become one chunk with the rest.
    store.push(1, 2 * SECOND, &probe(1, 9001));
    store.push(1, 2 * SECOND, &probe(1, 8000));
    store.close(now).unwrap();
    while store.compact(START + 20_000 * SECOND).unwrap() == Compaction::More {}
    assert_eq!(seconds(&mut store, 1).len(), 9002);
}

#[test]
fn merging_that_is_cut_off_anywhere_begins_again() {
    let memory = Memory::default();
    drop(in_parts(&memory));
    let now = START + 9000 * SECOND;
    let expected = [0, 1, 2].map(|_| expected(0..9000));
    for power in 0..80 {
        let cut = memory.copy();
        let mut store = open(&cut);
        cut.0.borrow_mut().power = Some(power);
        while store
            .compact(now)
            .is_ok_and(|step| step == Compaction::More)
        {}
        for part in [0, 50, 100] {
            let mut after = open(&cut.after_power_cut(part));
            assert_eq!(all(&mut after), expected, "{power}");
            while after.compact(now).unwrap() == Compaction::More {}
            assert_eq!(all(&mut after), expected, "{power}");
        }
    }
}

#[test]
fn damage_costs_a_merge_the_damaged_record_only() {
    let memory = Memory::default();
    let store = in_parts(&memory);
    let first = store.segments[0].clone();
    let lost = {
        let file = memory.open(&first.head.name()).unwrap();
        let found = first.find(&*file, &mut Cursor::default(), 1, 0, u64::MAX);
        let places = found.unwrap().unwrap();
        let place = places[0];
        let mut files = memory.0.borrow_mut();
        let file = files.files.get_mut(&first.head.name()).unwrap();
        file.bytes[place.offset as usize + 80] ^= 0x10;
        place.count as usize
    };
    drop(store);
    let mut store = open(&memory);
    while store.compact(START + 9000 * SECOND).unwrap() == Compaction::More {}
    let found = all(&mut store).map(|seconds| seconds.len());
    assert_eq!(found, [9000, 9000 - lost, 9000]);
    assert_eq!(store.counters().damaged, 1);
}

#[test]
fn the_budget_wins_and_the_oldest_go_first() {
    let memory = Memory::default();
    let mut store = aged(&memory, 6);
    while store.compact(START).unwrap() == Compaction::More {}
    let estimate = store.estimate().unwrap();
    assert_eq!(estimate.kept_ns, 104 * DAY_NS);
    let bytes = store.bytes();
    store.set_budget(bytes / 2);
    while store.compact(START).unwrap() == Compaction::More {}
    assert!(store.bytes() <= bytes / 2);
    assert!(store.counters().evicted_segments > 0);
    let first = store.points(7, 0, u64::MAX / 2, HOUR_NS).unwrap()[0]
        .step
        .start_ns;
    assert!(first > START);
    let newest = START + (6 * 1440 - 1) * 60 * SECOND;
    assert!(store.at(7, newest).unwrap().is_some());
    let estimate = store.estimate().unwrap();
    assert!(estimate.kept_ns < 104 * DAY_NS && estimate.kept_ns > 0);
}

/// Damage to one file of a store: what was there is there, except for records that were hit.
fn check_damage(memory: &Memory, name: &str, damage: impl FnOnce(&mut Vec<u8>)) {
    let damaged = memory.copy();
    let length = {
        let mut files = damaged.0.borrow_mut();
        let bytes = &mut files.files.get_mut(name).unwrap().bytes;
        damage(bytes);
        bytes.len()
    };
    let whole = memory.0.borrow().files[name].bytes.len();
    let mut store = open(&damaged);
    let mut missing = 0;
    for series in 0..3 {
        let found = seconds(&mut store, series);
        assert!(
            is_ascending(&found),
            "{name}: series {series} has a probe twice"
        );
        missing += 900 - found.len();
    }
    if length == whole {
        // A byte: one batch of the journal has 5 probes of 3 series, one record of a segment 360 of one series.
        let most = if name.starts_with("journal") { 15 } else { 360 };
        assert!(missing <= most, "{name}: {missing} missing");
    }
    assert!(
        missing == 0 || store.counters().damaged > 0 || length < whole,
        "{name}: not counted"
    );
    // It can be written to, and opened again.
    let before = seconds(&mut store, 1);
    run(&mut store, 3, 9000..9005);
    store.flush(START + 20_000 * SECOND).unwrap();
    let after = seconds(&mut open(&store.directory), 1);
    assert_eq!(after[..after.len() - 5], before);
}

fn a_file(memory: &Memory, at: &prop::sample::Index) -> String {
    at.get(&memory.names()).clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_damaged_byte_costs_at_most_its_record(
        file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bits in 1u8..
    ) {
        thread_local!(static FILLED: Memory = sparse());
        FILLED.with(|memory| {
            let name = a_file(memory, &file);
            check_damage(memory, &name, |bytes| {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            });
        });
    }

    #[test]
    fn a_cut_file_keeps_what_is_before_the_cut(
        file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()
    ) {
        thread_local!(static FILLED: Memory = sparse());
        FILLED.with(|memory| {
            let name = a_file(memory, &file);
            check_damage(memory, &name, |bytes| bytes.truncate(at.index(bytes.len())));
        });
    }
}

#[test]
fn a_cut_journal_has_every_batch_before_the_cut() {
    let memory = filled();
    let name = memory
        .names()
        .into_iter()
        .find(|name| name.starts_with("journal"))
        .unwrap();
    let length = memory.0.borrow().files[&name].bytes.len();
    for cut in (0..length).step_by(length / 300) {
        let damaged = memory.copy();
        damaged
            .0
            .borrow_mut()
            .files
            .get_mut(&name)
            .unwrap()
            .bytes
            .truncate(cut);
        let found = seconds(&mut open(&damaged), 0);
        assert_eq!(found, expected(0..found.len() as u64));
        // 1,800 s in 360 batches: in proportion, with a batch and the head of tolerance.
        let share = (found.len() as f64 - 7200.0) / 1800.0;
        assert!(
            share >= cut as f64 / length as f64 - 0.02,
            "{cut} of {length}: {}",
            found.len()
        );
    }
}

#[test]
fn a_record_in_a_payload_is_no_record() {
    let salt = 77;
    let about = crate::record::About {
        kind: crate::record::Kind::Packets,
        series: 1,
        count: 1,
        boot_id: [1; 16],
        start_ns: START,
        end_ns: START,
    };
    let forged = crate::record::encode(78, &about, b"forged").unwrap();
    let mut file = vec![0; crate::segment::HEAD_BYTES];
    file.extend(crate::record::encode(salt, &about, &forged).unwrap());
    file[crate::segment::HEAD_BYTES + 70] ^= 1;
    let after = crate::record::encode(salt, &about, b"real").unwrap();
    file.extend(&after);
    let mut payloads = Vec::new();
    let scan = crate::segment::scan(&file, salt, |_, payload| payloads.push(payload.to_vec()));
    assert_eq!(payloads, [b"real"]);
    assert_eq!(scan.damaged, 1);
}
