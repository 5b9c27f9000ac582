//! The parts of the path alone: a glance and its store, a whole decode, neighbours, talkers, appending, a query
//! over the past, and an export as pcapng. `cargo bench --bench parts`
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use netsonde_core::neighbors::{LinkFacts, Neighbors};
use netsonde_core::recorder::pcapng::Writer;
use netsonde_core::recorder::{Classifier, Cursor, From, Meta, Recorder, Store, memory_needed};
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

fn main() {
    let bytes = frame();
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
        black_box(talkers.observe(flow, 1, 60, number * 2_000));
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
