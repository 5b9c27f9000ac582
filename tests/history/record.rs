//! The record on disk: what the service records is there once, in order, or declared, across kills of the engine and
//! restarts of its reader; with disks that are full, removed or damaged; and what is kept for an outage or a user.
//!
//! ```text
//!   a  e0 10.0.0.1 (sends numbered ARP requests) ---------- 10.0.0.2 e0  b, netsonded, the reader
//! ```
//!
//! The judge is the number in each packet.

use std::fs::File;
use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Service, Test, number, pair, settled};
use netsonde::client::files::capture_file::{CaptureFile, Item};
use netsonde::historian::record::{Options, Record};
use netsonde::lab::{Host, messages, traffic, wait_until};
use netsonde::varlink::server::user::User;
use netsonde_core::protocol::history::{RecordCall, RecordReply};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Room in memory for all packets of a test, none thinned.
const LARGE: &str = "[recorder.budget]\nlink = \"16 MiB\"\n[recorder.retention]\nlink = 0\n";

pub const TESTS: &[(&str, Test)] = &[
    (
        "packets_are_on_disk_once_across_kills",
        packets_are_on_disk_once_across_kills,
    ),
    ("evicted_packets_are_declared", evicted_packets_are_declared),
    (
        "a_removed_directory_is_created_again",
        a_removed_directory_is_created_again,
    ),
    (
        "captures_are_kept_within_the_quota",
        captures_are_kept_within_the_quota,
    ),
    (
        "disk_and_memory_are_read_as_one",
        disk_and_memory_are_read_as_one,
    ),
    (
        "multicast_of_the_past_is_read_from_disk",
        multicast_of_the_past_is_read_from_disk,
    ),
    (
        "what_a_full_disk_missed_is_fetched_again",
        what_a_full_disk_missed_is_fetched_again,
    ),
    (
        "evidence_has_both_sides_of_the_begin",
        evidence_has_both_sides_of_the_begin,
    ),
];

/// Sends ARP requests with numbers behind the message.
fn send(from: &Host, numbers: std::ops::Range<u64>, pace: u64) {
    let frame = messages::arp_request("10.0.0.1", "10.0.0.9");
    let count = numbers.end - numbers.start;
    from.run(|| {
        traffic::frames("e0", count, Some(pace), |at, packet| {
            packet.clone_from(&frame);
            packet.resize(60, 0);
            packet[42..50].copy_from_slice(&(numbers.start + at + 1).to_be_bytes());
        })
    })
    .unwrap();
}

/// What a capture has.
#[derive(Debug, Default)]
struct Found {
    /// Number of all packets.
    packets: u64,
    /// Numbers of the packets that are sent for a test, in the order of the file.
    numbers: Vec<u64>,
    /// Their times. Packets that the host itself sends meanwhile are stamped by another processor before they wait for the
    /// ring, and may be in it some microseconds later than one with a later stamp.
    times: Vec<i128>,
    dropped: u64,
    words: Vec<String>,
}

fn read(descriptor: OwnedFd) -> Found {
    let mut found = Found::default();
    let mut file = CaptureFile::new(File::from(descriptor)).unwrap();
    while let Some(item) = file.next().unwrap() {
        match item {
            Item::Note(words) => found.words.push(words),
            Item::Packet(packet) => {
                found.words.extend(packet.comments.clone());
                found.dropped += packet.dropped;
                found.packets += 1;
                let time_ns = packet.time_ns.unwrap();
                let number = packet.bytes.get(42..50);
                let number = number.map_or(0, |at| u64::from_be_bytes(at.try_into().unwrap()));
                // Numbers start with 1: other packets of the host have none, or zeros.
                if packet.bytes.len() == 60 && number > 0 {
                    found.numbers.push(number - 1);
                    found.times.push(time_ns);
                }
            }
        }
    }
    found
}

fn start(service: &Service, directory: &Path) -> Record {
    Record::start(&service.socket(), directory, Options::default()).unwrap()
}

fn on_disk(record: &Record) -> Found {
    let (descriptor, _) = record
        .open(&RecordCall::default(), User::unknown())
        .unwrap();
    read(descriptor)
}

/// Has tshark and capinfos read a capture, if they are installed.
fn read_by_wireshark(descriptor: OwnedFd, packets: u64) {
    let directory = crate::support::folder().unwrap();
    let path = directory.path().join("file.pcapng");
    std::io::copy(
        &mut File::from(descriptor),
        &mut File::create(&path).unwrap(),
    )
    .unwrap();
    if let Some(tshark) = crate::support::find("tshark") {
        let output = Command::new(tshark).arg("-nr").arg(&path).output().unwrap();
        let lines = String::from_utf8_lossy(&output.stdout).lines().count() as u64;
        assert!(
            output.status.success() && lines == packets,
            "{lines} {packets} {output:?}"
        );
    }
    if let Some(capinfos) = crate::support::find("capinfos") {
        let output = Command::new(capinfos)
            .arg("-cM")
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let is_right = text
            .lines()
            .any(|line| line.ends_with(&format!(" {packets}")));
        assert!(output.status.success() && is_right, "{packets} {text}");
    }
}

/// Waits until a number of packets is on disk.
fn until(record: &Record, count: usize) -> Found {
    let mut found = Found::default();
    wait_until(PATIENCE, || {
        // It may not be there for a moment.
        let Ok((descriptor, _)) = record.open(&RecordCall::default(), User::unknown()) else {
            return false;
        };
        found = read(descriptor);
        found.numbers.len() >= count
    });
    found
}

fn packets_are_on_disk_once_across_kills() -> Outcome {
    const COUNT: u64 = 20_000;
    let (a, b) = pair();
    let service = Service::with_config(&b, LARGE, &[]);
    let directory = crate::support::folder()?;
    let (mut engines, mut readers) = (0, 0);
    let mut record = start(&service, directory.path());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&a, 0..COUNT, 1_500));
        let mut round = 0u64;
        while !sender.is_finished() {
            std::thread::sleep(Duration::from_millis(300 + round * 37 % 500));
            round += 1;
            if !round.is_multiple_of(3) {
                let engine = service.engine();
                kill(engine, Signal::SIGKILL).unwrap();
                engines += 1;
                wait_until(PATIENCE, || {
                    service
                        .try_status()
                        .is_some_and(|status| status["engine"]["pid"] != engine.as_raw())
                });
            }
            if round.is_multiple_of(2) {
                drop(std::mem::replace(
                    &mut record,
                    Record::start(
                        Path::new("/nonexistent"),
                        directory.path(),
                        Options::default(),
                    )
                    .unwrap(),
                ));
                record = start(&service, directory.path());
                readers += 1;
            }
        }
    });
    let status = service.until("all is recorded", settled);
    let found = until(&record, COUNT as usize);
    assert!(engines >= 3 && readers >= 3, "{engines} {readers}");
    let dropped = crate::support::drops(&status);
    assert_eq!(
        found.numbers.len() as u64 + dropped,
        COUNT,
        "{:?}",
        found.words
    );
    assert!(found.numbers.is_sorted_by(|a, b| a < b), "once, in order");
    assert!(found.times.is_sorted());
    assert_eq!(found.dropped, dropped, "{:?}", found.words);
    // The last kill is a problem until the next connection.
    let is_well = || record.problems().is_empty();
    assert!(wait_until(PATIENCE, is_well), "{:?}", record.problems());
    assert_eq!(record.counts().1, 0);
    // Two at once: the second one says so, and disturbs nothing.
    let second = start(&service, directory.path());
    let is_told = || {
        second
            .problems()
            .iter()
            .any(|words| words.contains("in use by another"))
    };
    assert!(wait_until(PATIENCE, is_told), "{:?}", second.problems());
    Ok(())
}

/// The reader was away while the service evicted packets.
fn evicted_packets_are_declared() -> Outcome {
    let (a, b) = pair();
    let config = "[recorder.budget]\nlink = \"1 MiB\"\n[recorder.retention]\nlink = 0\n";
    let service = Service::with_config(&b, config, &[]);
    let directory = crate::support::folder()?;
    let record = start(&service, directory.path());
    send(&a, 0..500, 5_000);
    assert_eq!(until(&record, 500).numbers.len(), 500);
    drop(record);
    send(&a, 500..30_500, 5_000);
    service.until("all is recorded", settled);
    let evicted = number(&service.store("link")["evicted"]);
    assert!(evicted > 1_000);
    let record = start(&service, directory.path());
    let is_there = || on_disk(&record).numbers.last() == Some(&30_499);
    assert!(wait_until(PATIENCE, is_there), "{:?}", record.problems());
    let (descriptor, reply) = record.open(
        &RecordCall {
            stores: Some(vec!["link".into()]),
            ..RecordCall::default()
        },
        User::unknown(),
    )?;
    let found = read(descriptor);
    let missing = 30_500 - found.numbers.len() as u64;
    assert!(missing > 0 && found.dropped >= missing, "{found:?}");
    let is_gap =
        |words: &&String| words.starts_with("netsonde: gap: not_on_disk (store link) from");
    let gaps: Vec<_> = found.words.iter().filter(is_gap).collect();
    assert_eq!(gaps.len(), 1, "{:?}", found.words);
    assert_eq!(reply.gaps.unwrap()[0].words, **gaps[0]);
    Ok(())
}

fn a_removed_directory_is_created_again() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&b, LARGE, &[]);
    let directory = crate::support::folder()?;
    let record = start(&service, directory.path());
    send(&a, 0..100, 1_000);
    assert_eq!(until(&record, 100).numbers.len(), 100);
    std::fs::remove_dir_all(directory.path().join("record"))?;
    send(&a, 100..200, 1_000);
    // What was on disk is still in memory, and comes again.
    let found = until(&record, 200);
    assert_eq!(found.numbers, (0..200).collect::<Vec<_>>());
    let is_well = || record.problems().is_empty();
    assert!(wait_until(PATIENCE, is_well), "{:?}", record.problems());
    Ok(())
}

fn captures_are_kept_within_the_quota() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&b, LARGE, &[]);
    let directory = crate::support::folder()?;
    let options = Options {
        kept_bytes: 200 << 10,
        ..Options::default()
    };
    let record = Record::start(&service.socket(), directory.path(), options)?;
    send(&a, 0..1_000, 5_000);
    let kept = record.keeps().keep(None, Some("a glitch"), "tester")?;
    assert_eq!((kept.id, kept.note.as_deref()), (1, Some("a glitch")));
    assert_eq!(kept.evidence.state, "whole");
    let (descriptor, packets) = record.keeps().open(1)?;
    let found = read(descriptor);
    assert_eq!(found.numbers, (0..1_000).collect::<Vec<_>>());
    assert_eq!(packets, found.packets);
    read_by_wireshark(record.keeps().open(1)?.0, packets);
    let second = record.keeps().keep(None, None, "tester")?;
    assert_eq!(second.evidence.state, "partial", "{second:?}");
    let words = record.keeps().keep(None, None, "tester").unwrap_err();
    assert!(words.to_string().contains("quota"), "{words}");
    record.keeps().discard(2)?;
    assert!(record.keeps().discard(2).is_err());
    // It is there after a restart, and without a service.
    drop(record);
    let record = Record::start(Path::new("/nonexistent"), directory.path(), options)?;
    assert_eq!(record.keeps().list(), [kept]);
    let words = record.keeps().keep(None, None, "tester").unwrap_err();
    assert!(words.to_string().contains("/nonexistent"), "{words}");
    Ok(())
}

/// Answers `io.netsonde.History.Record`, as the historian does, to one caller after the other, until the listener is
/// shut down.
fn answer(listener: &UnixListener, record: &Record) {
    while let Ok((mut stream, _)) = listener.accept() {
        let mut request = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|length| length == 1) && byte[0] != 0 {
            request.push(byte[0]);
        }
        let Ok(request) = serde_json::from_slice::<Value>(&request) else {
            continue;
        };
        let call: RecordCall = serde_json::from_value(request["parameters"].clone()).unwrap();
        let opened = record.open(&call, User::unknown());
        let (descriptor, reply) = opened.unwrap();
        let reply = RecordReply {
            fd: Some(0),
            ..reply
        };
        let mut bytes = json!({ "parameters": reply }).to_string().into_bytes();
        bytes.push(0);
        let descriptors = [descriptor.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let data = [IoSlice::new(&bytes)];
        sendmsg::<()>(stream.as_raw_fd(), &data, &control, MsgFlags::empty(), None).unwrap();
    }
}

/// Runs the client with a socket of the historian.
fn with_history(service: &Service, history: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command
        .env("NETSONDE_HISTORY_SOCKET", history)
        .arg("--socket")
        .arg(service.socket())
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn disk_and_memory_are_read_as_one() -> Outcome {
    let (a, b) = pair();
    // NETSONDE_RECORD_SCALE=5 for more than 100,000 packets. A tenth of them fits into memory.
    let scale = std::env::var("NETSONDE_RECORD_SCALE").map_or(1, |scale| scale.parse().unwrap());
    let [first, second, third] = [12_000, 20_000, 21_500].map(|count: u64| count * scale);
    let config = "[recorder.budget]\nlink = \"256 KiB\"\n[recorder.retention]\nlink = 0\n";
    let directory = crate::support::folder()?;
    let history = directory.path().join("history.sock");
    let listener = UnixListener::bind(&history)?;
    let service = Service::with_config(&b, config, &[]);
    let record = start(&service, directory.path());
    assert!(wait_until(PATIENCE, || record.is_connected()));
    let other = messages::arp_request("10.0.0.77", "10.0.0.9");
    a.run(|| traffic::frames("e0", 1, None, |_, packet| packet.clone_from(&other)))?;
    send(&a, 0..first, 2_000);
    assert!(number(&service.store("link")["evicted"]) > 2_000);
    let written = until(&record, first as usize);
    assert_eq!(written.numbers, (0..first).collect::<Vec<_>>());
    drop((record, service));
    // Another service has another record; packets of its last moments are in memory only.
    let service = Service::with_config(&b, config, &[]);
    let record = start(&service, directory.path());
    assert!(wait_until(PATIENCE, || record.is_connected()));
    send(&a, first..second, 2_000);
    let file = directory.path().join("all.pcapng");
    let live = directory.path().join("live.pcapng");
    std::thread::scope(|scope| -> Outcome {
        scope.spawn(|| answer(&listener, &record));
        let close =
            || nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        let outcome = (|| -> Outcome {
            let all = [
                "capture",
                "--last",
                "1h",
                "-w",
                file.to_str().unwrap(),
                "arp",
            ];
            let output = with_history(&service, &history, &all).output()?;
            assert!(output.status.success(), "{output:?}");
            // And on, with what comes: the limit ends it.
            let all = [
                "capture",
                "--last",
                "1h",
                "--follow",
                "-c",
                &(third - 500).to_string(),
                "-w",
                live.to_str().unwrap(),
                "arp",
            ];
            let mut following = with_history(&service, &history, &all).spawn()?;
            std::thread::sleep(Duration::from_secs(1));
            send(&a, second..third, 2_000);
            let mut ended = None;
            wait_until(PATIENCE, || {
                ended = following.try_wait().unwrap();
                ended.is_some()
            });
            let _ = following.kill();
            assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
            let filtered = ["watch", "--json", "--last", "1h", "--host", "192.0.2.9"];
            let output = with_history(&service, &history, &filtered).output()?;
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            for (history, status) in [(&*history, 0), (Path::new("/nonexistent"), 1)] {
                let neighbors = ["neighbors", "--last", "1h", "10.0.0.77"];
                let output = with_history(&service, history, &neighbors).output()?;
                assert_eq!(output.status.code(), Some(status), "{output:?}");
            }
            Ok(())
        })();
        close()?;
        outcome
    })?;
    let found = read(File::open(&file)?.into());
    assert_eq!(
        found.numbers,
        (0..second).collect::<Vec<_>>(),
        "{:?}",
        found.words
    );
    assert!(found.times.is_sorted());
    assert_eq!(found.dropped, 0);
    let is_replaced = |words: &&String| words.starts_with("netsonde: gap: record_replaced from ");
    assert_eq!(
        found.words.iter().filter(is_replaced).count(),
        1,
        "{:?}",
        found.words
    );
    assert!(
        !found
            .words
            .iter()
            .any(|words| words.contains(" evicted, ") && words.contains("store link"))
    );
    let found = read(File::open(&live)?.into());
    assert!(
        found.numbers.is_sorted_by(|a, b| a + 1 == *b),
        "{:?}",
        found.words
    );
    assert!(found.numbers.len() as u64 > second);
    Ok(())
}

fn multicast_of_the_past_is_read_from_disk() -> Outcome {
    let (a, b) = pair();
    let config = "[recorder.budget]\ngroup = \"256 KiB\"\n[recorder.retention]\ngroup = 0\n";
    let directory = crate::support::folder()?;
    let history = directory.path().join("history.sock");
    let listener = UnixListener::bind(&history)?;
    let service = Service::with_config(&b, config, &[]);
    let record = start(&service, directory.path());
    assert!(wait_until(PATIENCE, || record.is_connected()));
    let report = |group| messages::report("10.0.0.1", group);
    let (first, others) = (report("239.1.2.3"), report("239.9.9.9"));
    // Not from a link-local address: hosts ignore it.
    let query = messages::mld_query("fd00::1");
    for frame in [&first, &query] {
        a.run(|| traffic::frames("e0", 1, None, |_, packet| packet.clone_from(frame)))?;
    }
    let until = netsonde::linux::wall_ns() + 1_000_000_000;
    a.run(|| {
        traffic::frames("e0", 12_000, Some(4_000), |_, packet| {
            packet.clone_from(&others)
        })
    })?;
    assert!(number(&service.store("group")["evicted"]) > 1_000);
    assert!(wait_until(PATIENCE, || record.counts().0 > 12_000));
    let until = netsonde_core::protocol::time(until);
    std::thread::scope(|scope| -> Outcome {
        scope.spawn(|| answer(&listener, &record));
        let ask = |history: &Path, arguments: &[&str]| {
            let arguments = [arguments, &["--last", "1h", "--until", &until]].concat();
            with_history(&service, history, &arguments)
                .output()
                .unwrap()
        };
        let groups = ["mcast", "groups", "239.1.2.3"];
        let output = ask(&history, &groups);
        let text = String::from_utf8_lossy(&output.stdout);
        let is_listed = output.status.success() && text.contains("239.1.2.3");
        let without = ask(Path::new("/nonexistent"), &groups);
        let doctor = ["mcast", "doctor", "ff15::1", "--json"];
        let findings = [&history, Path::new("/nonexistent")].map(|history| {
            let found = ask(history, &doctor).stdout;
            let found: Value = serde_json::from_slice(&found).unwrap();
            let mut all = found["findings"].as_array().unwrap().iter();
            all.any(|finding| finding["id"] == "illegal-mld-query")
        });
        nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both)?;
        assert!(is_listed, "{output:?}");
        assert_eq!(without.status.code(), Some(1), "{without:?}");
        assert_eq!(findings, [true, false], "with the disk, and without it");
        Ok(())
    })
}

fn what_a_full_disk_missed_is_fetched_again() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&b, LARGE, &[]);
    let directory = crate::support::folder()?;
    let (tmpfs, none) = (Some("tmpfs"), nix::mount::MsFlags::empty());
    nix::mount::mount(tmpfs, directory.path(), tmpfs, none, Some("size=256k"))?;
    let filler = directory.path().join("filler");
    std::fs::write(&filler, vec![1; 150 << 10])?;
    let record = start(&service, directory.path());
    assert!(wait_until(PATIENCE, || record.is_connected()));
    send(&a, 0..12_000, 3_000);
    let is_told = || {
        let problems = record.problems();
        problems
            .iter()
            .any(|words| words.contains("No space left") && words.contains("fetched"))
    };
    assert!(wait_until(PATIENCE, is_told), "{:?}", record.problems());
    std::fs::remove_file(&filler)?;
    let found = until(&record, 12_000);
    assert_eq!(
        found.numbers,
        (0..12_000).collect::<Vec<_>>(),
        "{:?}",
        record.problems()
    );
    assert!(
        wait_until(PATIENCE, || record.problems().is_empty()),
        "{:?}",
        record.problems()
    );
    drop(record);
    nix::mount::umount(directory.path())?;
    Ok(())
}

fn evidence_has_both_sides_of_the_begin() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&b, LARGE, &[]);
    let directory = crate::support::folder()?;
    let record = start(&service, directory.path());
    send(&a, 0..300, 5_000);
    let begin = netsonde::linux::wall_ns();
    assert!(
        record
            .evidences()
            .pin(7, begin, &["10.0.0.1".parse()?], None)
    );
    assert!(record.evidences().pin(8, begin, &[], None));
    let started = Instant::now();
    let state = || record.evidences().evidence(7).unwrap_or_default();
    assert!(
        wait_until(PATIENCE, || state().packets >= 300),
        "{:?}",
        state()
    );
    assert_eq!(state().state, "collecting");
    record.evidences().unpin(8);
    send(&a, 300..600, 5_000);
    let bulk: std::net::SocketAddrV4 = "10.0.0.2:5000".parse()?;
    a.run(|| traffic::numbered_udp(bulk, 10, 16, Some(100)))?;
    let is_whole = || state().state == "whole";
    assert!(
        wait_until(2 * PATIENCE, is_whole),
        "{:?} {:?}",
        state(),
        record.problems()
    );
    assert!(started.elapsed() >= Duration::from_secs(30));
    let (descriptor, packets) = record.evidences().open(7)?;
    let found = read(descriptor);
    assert_eq!(
        found.numbers.iter().filter(|number| **number < 600).count(),
        600
    );
    assert_eq!(packets, found.packets);
    assert!(packets >= 610);
    read_by_wireshark(record.evidences().open(7)?.0, packets);
    let disk = on_disk(&record).packets;
    read_by_wireshark(
        record.open(&RecordCall::default(), User::unknown())?.0,
        disk,
    );
    assert!(record.evidences().open(8).is_err());
    for id in 100..140 {
        record.evidences().pin(id, begin, &[], None);
    }
    let limits = record.limits();
    let limit = limits
        .iter()
        .find(|limit| limit.name == "evidence.per_minute");
    assert!(limit.unwrap().reached >= 20, "{limits:?}");
    Ok(())
}
