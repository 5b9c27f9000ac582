//! The parts of the path alone: a glance and its store, a whole decode, neighbours, talkers, appending, a query
//! over the past, and an export as pcapng; and the engine's path from a ring in memory. `cargo bench --bench parts`
//!
//! Instructions do not depend on what else the machine does: `valgrind --tool=callgrind --toggle-collect='*poll_once*'
//! target/release/deps/parts-* path`
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::hint::black_box;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use netsonde::daemon::engine::recording::Recording;
use netsonde::daemon::engine::ring::Ring;
use netsonde::linux::mapping::{Mapping, OwnMemory, ReadOnlyMapping, sealed_memory};
use netsonde_core::config::Config;
use netsonde_core::neighbors::{LinkFacts, Neighbors};
use netsonde_core::recorder::interfaces::Link;
use netsonde_core::recorder::pcapng::Writer;
use netsonde_core::recorder::{
    Classifier, Cursor, From, Meta, Recorder, RingMark, Store, memory_needed,
};
use netsonde_core::talkers::{Flow, Talkers};
use netsonde_core::wire::glance::glance;
use netsonde_core::wire::{Checksum, Direction, Frame, LinkType, decode};

const MIB: u64 = 1 << 20;
const BUDGETS: [u64; 7] = [
    4 * MIB,
    4 * MIB,
    4 * MIB,
    4 * MIB,
    4 * MIB,
    4 * MIB,
    256 * MIB,
];
const SNAPS: [u32; 7] = [2048, 2048, 2048, 2048, 2048, 256, 128];
const PACKETS: u64 = 2_000_000;

fn frame() -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend_from_slice(&[
        8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0x66, 0xbd, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend_from_slice(&[0x80, 0, 0x13, 0x88, 0, 26, 0, 0]);
    frame.extend_from_slice(&[7; 18]);
    frame
}

fn time(name: &str, count: u64, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    println!(
        "{name:38} {:8.1} ns each",
        start.elapsed().as_nanos() as f64 / count as f64
    );
}

/// A packet of a host that is known, and packets of hosts that nobody has heard of.
fn neighbours(bytes: &[u8]) {
    let mut neighbors = Neighbors::default();
    let own = "10.0.0.2".parse().unwrap();
    neighbors.set_links(
        &[LinkFacts {
            ifindex: 2,
            own: vec![own],
            networks: vec![(own, 24)],
            ..LinkFacts::default()
        }],
        1,
    );
    let mut bytes = bytes.to_vec();
    let mut see = |number: u64, change: bool| {
        if change {
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            bytes[7..12].copy_from_slice(&mixed[..5]);
            bytes[29] = mixed[5];
        }
        let frame = Frame {
            link: LinkType::Ethernet,
            bytes: &bytes,
            original_length: bytes.len() as u32,
            checksum: Checksum::Valid,
        };
        let seen = glance(frame.link, frame.bytes);
        neighbors.observe(black_box(&frame), &seen, 2, number * 2_000, false);
    };
    time("glance and a known neighbour", PACKETS, || {
        (0..PACKETS).for_each(|number| see(number, false));
    });
    time("glance and one that nobody knows", PACKETS, || {
        (0..PACKETS).for_each(|number| see(number, true));
    });
}

const BLOCK: usize = 512 * 1024;
const BLOCKS: usize = 8;
/// Bytes of a 60-byte frame in a ring, with its headers.
const SLOT: usize = 144;
const PER_BLOCK: usize = (BLOCK - 48) / SLOT;

/// Writes a block as the kernel does (TPACKET_V3), with packets 2 us apart.
fn fill_block(file: &File, at: usize, bytes: &[u8], flows: u64, number: u64) {
    let mut block = vec![0u8; BLOCK];
    let mut put = |at: usize, value: &[u8]| block[at..at + value.len()].copy_from_slice(value);
    put(12, &(PER_BLOCK as u32).to_ne_bytes());
    put(16, &48u32.to_ne_bytes());
    put(24, &(number + 1).to_ne_bytes());
    for packet in 0..PER_BLOCK {
        let start = 48 + packet * SLOT;
        let number = number * PER_BLOCK as u64 + packet as u64;
        let time = 1_700_000_000_000_000_000 + number * 2_000;
        let next = if packet + 1 < PER_BLOCK { SLOT } else { 0 };
        put(start, &(next as u32).to_ne_bytes());
        put(start + 4, &((time / 1_000_000_000) as u32).to_ne_bytes());
        put(start + 8, &((time % 1_000_000_000) as u32).to_ne_bytes());
        put(start + 12, &(bytes.len() as u32).to_ne_bytes());
        put(start + 16, &(bytes.len() as u32).to_ne_bytes());
        put(start + 24, &82u16.to_ne_bytes());
        // Interface 2, ARPHRD_ETHER, to this host.
        put(start + 52, &2u32.to_ne_bytes());
        put(start + 56, &1u16.to_ne_bytes());
        put(start + 82, bytes);
        let flow = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % flows;
        put(start + 82 + 26, &(0x0b00_0000 + flow as u32).to_be_bytes());
    }
    file.write_all_at(&block, (at * BLOCK) as u64).unwrap();
    // Passed on last.
    let status = libc::TP_STATUS_USER.to_ne_bytes();
    file.write_all_at(&status, (at * BLOCK + 8) as u64).unwrap();
}

/// Opens the engine's path with the configuration's defaults. `is_thinning`: with retention.
fn recording(bulk: &OwnedFd, is_thinning: bool) -> Recording {
    let config = Config::default();
    let budgets = BUDGETS.map(|budget| budget.min(32 * MIB));
    let length = memory_needed(budgets);
    let memory = Mapping::new(sealed_memory("record", length).unwrap(), length).unwrap();
    let (mut recorder, _) = Recorder::open(OwnMemory::new(memory), budgets, SNAPS, 1);
    let link = Link {
        ifindex: 2,
        name: "e0".into(),
        hardware: 1,
        up: true,
        recorded: true,
    };
    recorder.interfaces_mut().link_is(&link, 1);
    let ring = |file: &OwnedFd, blocks: usize| {
        let mapping = Mapping::new(file.as_fd(), blocks * BLOCK).unwrap();
        Ring::new(mapping, BLOCK as u32, blocks as u32, &RingMark::default())
    };
    let control = sealed_memory("control", 2 * BLOCK).unwrap();
    let counters = sealed_memory("counters", 4096).unwrap();
    let mut recording = Recording::new(
        recorder,
        [ring(&control, 2), ring(bulk, BLOCKS)],
        ReadOnlyMapping::new(&counters, 4096).unwrap(),
        Classifier::new(&[]),
    );
    if is_thinning {
        recording.set_targets(config.recorder.retention.ns());
    }
    recording
}

/// The engine's path, from a ring that is always full.
fn path(bytes: &[u8], name: &str, flows: u64, is_thinning: bool, rounds: usize) {
    let bulk = sealed_memory("bulk", BLOCKS * BLOCK).unwrap();
    let file = File::from(bulk.try_clone().unwrap());
    let mut recording = recording(&bulk, is_thinning);
    let mut taken = std::time::Duration::ZERO;
    for round in 0..rounds {
        for at in 0..BLOCKS {
            fill_block(&file, at, bytes, flows, (round * BLOCKS + at) as u64);
        }
        let start = Instant::now();
        while recording.poll_once(1) {}
        taken += start.elapsed();
    }
    let packets = rounds * BLOCKS * PER_BLOCK;
    assert_eq!(recording.recorder.ring(1).processed, packets as u64);
    println!(
        "{name:38} {:8.1} ns each",
        taken.as_nanos() as f64 / packets as f64
    );
}

fn paths(bytes: &[u8], rounds: usize) {
    path(bytes, "path, one flow", 1, true, rounds);
    path(bytes, "path, one flow, all recorded", 1, false, rounds);
    path(bytes, "path, 100,000 flows", 100_000, true, rounds);
}

fn main() {
    let bytes = frame();
    if std::env::args().any(|word| word == "path") {
        return paths(&bytes, 20);
    }
    paths(&bytes, 100);
    let classifier = Classifier::new(&[]);
    time("glance and store", PACKETS, || {
        for _ in 0..PACKETS {
            black_box(classifier.store(&glance(LinkType::Ethernet, black_box(&bytes)), &bytes));
        }
    });
    let whole = Frame {
        link: LinkType::Ethernet,
        bytes: &bytes,
        original_length: bytes.len() as u32,
        checksum: Checksum::Valid,
    };
    time("whole decode with summary", PACKETS / 4, || {
        for _ in 0..PACKETS / 4 {
            black_box(decode(black_box(&whole)));
        }
    });
    neighbours(&bytes);
    let mut talkers = Talkers::default();
    let mut see = |number: u64, bytes: &[u8]| {
        let seen = glance(LinkType::Ethernet, black_box(bytes));
        let flow = Flow::from_packet(&seen, bytes, 2, false);
        black_box(talkers.observe(&flow, 1, 60, number * 2_000));
    };
    time("glance and a talker among few", PACKETS, || {
        (0..PACKETS).for_each(|number| see(number, &bytes));
    });
    let mut bytes_of_many = bytes.clone();
    time("glance and a talker among 100,000", PACKETS, || {
        for number in PACKETS..2 * PACKETS {
            let mixed = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 100_000;
            bytes_of_many[26..30].copy_from_slice(&(mixed as u32).to_be_bytes());
            see(number, &bytes_of_many);
        }
    });
    let memory = vec![0u8; memory_needed(BUDGETS)].into_boxed_slice();
    let (mut recorder, _) = Recorder::open(memory, BUDGETS, SNAPS, 1);
    let mut meta = Meta {
        time_ns: 0,
        original_length: bytes.len() as u32,
        interface: (0, 1),
        link: LinkType::Ethernet,
        direction: Direction::ToUs,
        checksum: Checksum::Valid,
        tag: None,
    };
    let mut fill = |name: &str| {
        time(name, PACKETS, || {
            for number in 0..PACKETS {
                meta.time_ns += 1000 + number % 7;
                recorder.append(Store::Bulk, &meta, &bytes);
            }
        });
    };
    fill("append (memory touched first)");
    fill("append");
    let walk = |mut each: Box<dyn FnMut(&netsonde_core::recorder::Record<'_>) + '_>| {
        let mut cursor = Cursor::new(&recorder, &Store::ALL, From::Oldest, u64::MAX, false);
        let mut count = 0u64;
        let start = Instant::now();
        while let Some(record) = cursor.next(&recorder, u64::MAX) {
            each(&record);
            count += 1;
        }
        (start.elapsed(), count)
    };
    let (took, count) = walk(Box::new(|record| {
        black_box(record);
    }));
    println!(
        "{:38} {:8.1} ns each, {count} packets",
        "query, all stores merged",
        took.as_nanos() as f64 / count as f64
    );
    let mut writer = Writer::default();
    writer.section("bench", "Linux", &[]);
    let interface = writer.interface(LinkType::Ethernet.to_linktype(), 0, Some("e0"), None);
    let (took, count) = walk(Box::new(|record| {
        writer.packet(
            interface,
            record.time_ns,
            record.bytes,
            record.original_length,
            record.direction,
            record.checksum,
        );
        if writer.buffer.len() > 1 << 20 {
            writer.buffer.clear();
        }
    }));
    println!(
        "{:38} {:8.1} ns each, {count} packets",
        "query and pcapng",
        took.as_nanos() as f64 / count as f64
    );
}
