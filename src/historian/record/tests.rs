//! SHELL. Tests of what is on disk without a service: order, gaps, damage, shares.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use netsonde_core::recorder::Store;
use netsonde_core::recorder::blocks::{self, Block, Options as BlockOptions};
use netsonde_core::recorder::pcapng::{Counts, Writer, packet_id};
use netsonde_core::wire::{Checksum, Direction};

use super::rooms::{Missing, Rooms, directory_of};
use super::*;

const RECORD: u64 = 1_800_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// The interface description and a packet, as they come from the service.
fn packet(store: Store, number: u64, time_ns: u64, comment: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let mut writer = Writer::default();
    writer.interface(1, 0, Some("e0"), None);
    let interface = std::mem::take(&mut writer.buffer);
    let comments: Vec<String> = comment.into_iter().map(str::to_owned).collect();
    writer.packet_with(
        0,
        time_ns,
        &number.to_be_bytes(),
        8,
        Direction::ToUs,
        Checksum::Unknown,
        Counts {
            id: Some(packet_id(store, number)),
            ..Counts::default()
        },
        &comments,
    );
    (interface, writer.buffer)
}

fn shared(directory: &Path, options: Options) -> Shared {
    Shared {
        socket: "/nonexistent".into(),
        directory: directory.join("record"),
        options,
        state: Mutex::default(),
        readers: Mutex::default(),
    }
}

fn add(rooms: &mut Rooms, shared: &Shared, record: u64, store: Store, number: u64, time_ns: u64) {
    let (interface, bytes) = packet(store, number, time_ns, None);
    let Ok(Some(Block::Packet(packet))) = blocks::next(&mut &bytes[..]) else {
        panic!("no packet");
    };
    rooms
        .add(shared, record, &interface, &packet, time_ns)
        .unwrap();
}

/// Packets, as record and number, with their times; comments; and the sum of missing packets.
type Exported = (Vec<(Store, u64, u64)>, Vec<String>, u64);

fn record(shared: &Arc<Shared>) -> Record {
    Record {
        keeps: Keeps::new(shared.clone(), shared.directory.join("../kept")),
        evidences: Evidences::idle(shared.clone()),
        shared: shared.clone(),
        event: EventFd::new().unwrap(),
        follower: None,
    }
}

fn export(shared: &Arc<Shared>, times: (u64, u64)) -> Exported {
    let record = record(shared);
    let (descriptor, _) = record
        .open(
            &RecordCall {
                since_ns: Some(times.0),
                until_ns: Some(times.1),
                ..RecordCall::default()
            },
            User::unknown(),
        )
        .unwrap();
    let mut bytes = Vec::new();
    File::from(descriptor).read_to_end(&mut bytes).unwrap();
    let (mut packets, mut words, mut missing) = (Vec::new(), Vec::new(), 0);
    let mut rest = &bytes[..];
    while let Some(block) = blocks::next(&mut rest).unwrap() {
        match block {
            Block::Section(section) => {
                words.extend(
                    BlockOptions::of_section(section)
                        .comments()
                        .map(str::to_owned),
                );
            }
            Block::Packet(packet) => {
                let (store, number) = packet.id().unwrap();
                packets.push((store, number, packet.time_ns));
                words.extend(packet.options().comments().map(str::to_owned));
                missing += packet.dropped();
            }
            Block::Interface(_) | Block::Other => {}
        }
    }
    assert!(rest.is_empty());
    (packets, words, missing)
}

#[test]
fn stores_are_merged_by_time_and_gaps_show_from_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let shared = Arc::new(shared(directory.path(), Options::default()));
    let mut rooms = Rooms::open(&shared.directory, &shared.options).unwrap();
    for number in 0..100 {
        add(
            &mut rooms,
            &shared,
            RECORD,
            Store::Link,
            number,
            RECORD + 2 * number * MS,
        );
        // 40 to 49 were evicted before they were fetched.
        if !(40..50).contains(&number) {
            add(
                &mut rooms,
                &shared,
                RECORD,
                Store::Icmp,
                number,
                RECORD + (2 * number + 1) * MS,
            );
        }
        // Twice, as after a restart: left out.
        add(
            &mut rooms,
            &shared,
            RECORD,
            Store::Link,
            number,
            RECORD + 2 * number * MS,
        );
    }
    rooms.flush(&shared, RECORD).unwrap();
    rooms.sync(&shared, RECORD).unwrap();
    shared.connected(&rooms, RECORD);
    let (packets, words, missing) = export(&shared, (0, u64::MAX));
    assert_eq!(packets.len(), 190);
    assert!(packets.is_sorted_by_key(|(_, _, time_ns)| *time_ns));
    assert_eq!(missing, 10);
    let gaps: Vec<_> = words
        .iter()
        .filter(|words| words.contains("not_on_disk"))
        .collect();
    assert_eq!(gaps.len(), 1, "{words:?}");
    assert!(gaps[0].starts_with("netsonde: gap: not_on_disk (store icmp) from "));
    assert!(gaps[0].ends_with(", 10 packets missing"), "{}", gaps[0]);
    let (packets, words, _) = export(&shared, (RECORD + 10 * MS, RECORD + 20 * MS));
    assert_eq!(packets.len(), 11);
    assert!(
        !words.iter().any(|words| words.contains("gap")),
        "{words:?}"
    );
    // It goes on behind the last packet of each store after a restart.
    drop(rooms);
    let rooms = Rooms::open(&shared.directory, &shared.options).unwrap();
    let next = rooms.next(RECORD);
    assert_eq!((next["link"], next["icmp"], next["names"]), (100, 100, 0));
    assert_eq!(rooms.next(RECORD + 1)["link"], 0);
}

#[test]
fn another_record_starts_again_and_what_it_lacks_is_declared() {
    let directory = tempfile::tempdir().unwrap();
    let shared = Arc::new(shared(directory.path(), Options::default()));
    let mut rooms = Rooms::open(&shared.directory, &shared.options).unwrap();
    let later = RECORD + 1_000 * MS;
    for number in 0..10 {
        add(
            &mut rooms,
            &shared,
            RECORD,
            Store::Link,
            number,
            RECORD + number * MS,
        );
    }
    for number in 5..10 {
        add(
            &mut rooms,
            &shared,
            later,
            Store::Link,
            number,
            later + number * MS,
        );
    }
    let words = "netsonde: gap: ring_drop (control ring) from 2027-01-15T08:00:00.002Z to \
                 2027-01-15T08:00:00.003Z, 3 packets missing";
    let missing = Missing::read(words).unwrap();
    assert_eq!((missing.from_ns, missing.count), (RECORD + 2 * MS, 3));
    rooms.declare(missing.clone(), RECORD).unwrap();
    rooms.declare(missing, RECORD).unwrap();
    rooms.flush(&shared, RECORD).unwrap();
    shared.connected(&rooms, later);
    let (packets, words, missing) = export(&shared, (0, u64::MAX));
    assert_eq!(packets.len(), 15);
    assert_eq!(missing, 5 + 3);
    let count = |what: &str| words.iter().filter(|words| words.contains(what)).count();
    assert_eq!(
        (count("ring_drop"), count("not_on_disk")),
        (1, 1),
        "{words:?}"
    );
}

#[test]
fn a_damaged_byte_anywhere_costs_what_it_hits_and_is_declared() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default();
    let count = 40;
    {
        let shared = shared(directory.path(), options);
        let mut rooms = Rooms::open(&shared.directory, &shared.options).unwrap();
        for number in 0..count {
            add(
                &mut rooms,
                &shared,
                RECORD,
                Store::Link,
                number,
                RECORD + number * MS,
            );
            rooms.flush(&shared, RECORD).unwrap();
        }
        rooms.sync(&shared, RECORD).unwrap();
    }
    let link = directory_of(&directory.path().join("record"), 0);
    let file = std::fs::read_dir(&link).unwrap();
    let mut files = file.map(|file| file.unwrap().path());
    let file = files.find(|path| path.extension().is_some()).unwrap();
    let intact = std::fs::read(&file).unwrap();
    for at in (128..intact.len()).step_by(intact.len() / 150) {
        let mut bytes = intact.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        let shared = Arc::new(shared(directory.path(), options));
        let rooms = Rooms::open(&shared.directory, &shared.options).unwrap();
        shared.connected(&rooms, RECORD);
        let (packets, words, missing) = export(&shared, (0, u64::MAX));
        assert_eq!(packets.len(), count as usize - 1, "{at}");
        assert!(packets.is_sorted_by(|a, b| a.1 < b.1));
        // At either end nothing shows what is behind; the last one is fetched from the service again.
        let is_first = packets[0].1 == 1;
        let is_last = packets.last().unwrap().1 == count - 2;
        assert_eq!(missing, u64::from(!is_first && !is_last), "{at}: {words:?}");
        assert_eq!(rooms.next(RECORD)["link"], count - u64::from(is_last));
    }
}

#[test]
fn each_store_has_its_share() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        budget_bytes: 8 << 20,
        bulk: true,
        ..Options::default()
    };
    let shared = shared(directory.path(), options);
    let rooms = Rooms::open(&shared.directory, &shared.options).unwrap();
    let mut budgets = 0;
    rooms.describe(&options, |_, room| budgets += room.budget);
    assert_eq!(budgets, options.budget_bytes);
}

#[test]
fn one_user_does_not_take_all_readers() {
    let directory = tempfile::tempdir().unwrap();
    let record = record(&Arc::new(shared(directory.path(), Options::default())));
    let (one, other) = (User::Uid(1), User::Uid(2));
    let mut slots: Vec<ReaderSlot> = (0..READERS_PER_USER)
        .map(|_| record.reader(one).unwrap())
        .collect();
    let words = |refused: Result<ReaderSlot, OpenError>| refused.err().unwrap().to_string();
    assert_eq!(
        words(record.reader(one)),
        "4 readers of packets on disk are the limit of one user: try again when one has ended"
    );
    slots.extend((READERS_PER_USER..READERS).map(|_| record.reader(other).unwrap()));
    assert_eq!(
        words(record.reader(User::Uid(3))),
        "8 readers of packets on disk are the limit: try again when one has ended"
    );
    drop(slots);
    assert!(record.reader(one).is_ok());
    assert_eq!(record.shared.state().readers_refused, 2);
}
