//! Packed fates: the pipe of `io.netsonde.Ping.Ping` with the option `packed`, compared with the probes and
//! summaries of the same run, probe by probe.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- e0  b  10.0.0.2 healthy, .3 silent, .4 forbidden
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netsonde::lab::wait_until;
use netsonde::varlink::client::Connection;
use netsonde_core::probe::packed::{Batch, Decoder, Entry};
use netsonde_core::protocol::time;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{PATIENCE, Service, Test, firewall, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "packed_fates_agree_with_probes_and_summaries",
                packed_fates_agree_with_probes_and_summaries as Test,
            ),
            (
                "nothing_is_lost_or_doubled_when_an_engine_dies",
                engine_dies,
            ),
            ("a_slow_reader_costs_counted_entries", slow_reader),
            ("readers_that_leave_or_never_read", readers_that_leave),
        ],
        4,
    )
}

/// A run with packed fates, and its reader.
struct PackedRun {
    connection: Connection,
    number: u64,
    pipe: File,
    /// Targets by slot.
    slots: Vec<String>,
}

/// What a run told.
#[derive(Default)]
struct Told {
    entries: Vec<Entry>,
    lost: u64,
    /// The rows, by target and sequence number, in the order in which they came.
    rows: BTreeMap<(String, u64), Vec<Value>>,
    /// By target.
    summaries: BTreeMap<String, Value>,
    last: Value,
}

impl PackedRun {
    fn start(service: &Service, targets: &[&str], options: Value) -> PackedRun {
        let mut connection = Connection::open(&service.socket()).unwrap();
        let call = json!({ "targets": targets, "options": options });
        connection
            .call_more("io.netsonde.Ping.Ping", &call)
            .unwrap();
        connection.wait_without_limit().unwrap();
        let first = connection.reply().unwrap();
        let (number_of, count) = (
            number(&first.parameters["run"]),
            number(&first.parameters["targets"]),
        );
        let at = number(&first.parameters["fd"]) as usize;
        let pipe = first.descriptors.into_iter().nth(at).unwrap();
        let mut slots = vec![];
        while (slots.len() as u64) < count {
            let reply = connection.reply().unwrap();
            let more = reply.parameters["slots"].as_array().unwrap();
            slots.extend(more.iter().map(|name| name.as_str().unwrap().to_owned()));
        }
        PackedRun {
            connection,
            number: number_of,
            pipe: File::from(pipe),
            slots,
        }
    }

    /// Reads both streams to their ends.
    fn read(mut self) -> (Vec<String>, Told) {
        let mut pipe = self.pipe.try_clone().unwrap();
        drop(self.pipe);
        let reader = std::thread::spawn(move || read_all(&mut pipe));
        let mut told = Told::default();
        // Without a last one, if the engine dies.
        while let Ok(reply) = self.connection.reply() {
            let is_last = !reply.continues;
            let reply = reply.parameters;
            for row in reply["probes"].as_array().into_iter().flatten() {
                let target = row["target"].as_str().unwrap().to_owned();
                let key = (target, number(&row["seq"]));
                told.rows.entry(key).or_default().push(row.clone());
            }
            for summary in reply["summaries"].as_array().into_iter().flatten() {
                let target = summary["target"].as_str().unwrap().to_owned();
                told.summaries.insert(target, summary.clone());
            }
            if is_last {
                told.last = reply;
                break;
            }
        }
        for batch in reader.join().unwrap() {
            told.lost = batch.lost;
            told.entries.extend(batch.entries);
        }
        (self.slots, told)
    }
}

fn until(within: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(wait_until(within, condition), "not in time: {what}");
}

/// Reads a stream to its end, which an engine that dies may cut anywhere.
fn read_all(pipe: &mut File) -> Vec<Batch> {
    let (mut decoder, mut batches) = (Decoder::default(), vec![]);
    let mut room = vec![0; 1 << 16];
    loop {
        let length = pipe.read(&mut room).unwrap();
        if length == 0 {
            return batches;
        }
        decoder.push(&room[..length]);
        while let Some(batch) = decoder.take().unwrap() {
            batches.push(batch);
        }
    }
}

/// Returns the sequence numbers of each slot, in the order in which they came.
fn sequences(entries: &[Entry]) -> BTreeMap<u32, Vec<u32>> {
    let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in entries {
        all.entry(entry.slot).or_default().push(entry.sequence);
    }
    all
}

/// Requires that each probe of each target has exactly one entry, in order, and that the entries are what the
/// rows and the summaries say.
fn agree(slots: &[String], told: &Told) {
    assert_eq!((told.lost, &told.last["lost"]), (0, &json!(0)));
    let by_slot = sequences(&told.entries);
    for (slot, target) in slots.iter().enumerate() {
        let summary = &told.summaries[target];
        let sent = number(&summary["sent"]) as u32;
        let found = by_slot.get(&(slot as u32)).cloned().unwrap_or_default();
        assert_eq!(found, (1..=sent).collect::<Vec<u32>>(), "{target}");
        let own = || {
            let entries = told.entries.iter();
            entries.filter(move |entry| entry.slot == slot as u32)
        };
        let mut fates: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in own() {
            *fates.entry(entry.fate.name()).or_default() += 1;
            let rows = told.rows.get(&(target.clone(), entry.sequence.into()));
            let Some(row) = rows.and_then(|rows| rows.last()) else {
                assert_eq!(entry.fate.name(), "replied", "{target} {entry:?}");
                continue;
            };
            assert_eq!(row["fate"], entry.fate.name(), "{row}");
            assert_eq!(row["time"], time(entry.sent_ns), "{row}");
            assert_eq!(row["rtt_ns"].as_u64(), entry.rtt_ns.map(u64::from), "{row}");
            let wire = entry.wire_rtt_ns.map(u64::from);
            assert_eq!(row["wire_rtt_ns"].as_u64(), wire, "{row}");
            assert_eq!(row["instead_of"].is_string(), entry.is_revised, "{row}");
            let is_elsewhere = row["from"].as_str().is_some_and(|from| from != target);
            assert_eq!(is_elsewhere, entry.is_elsewhere, "{row}");
        }
        assert_eq!(json!(fates), summary["fates"], "{target}");
        for name in ["rtt_ns", "wire_rtt_ns"] {
            let replied = own().filter(|entry| entry.fate.name() == "replied");
            let mut values: Vec<u32> = replied
                .filter_map(|entry| match name {
                    "rtt_ns" => entry.rtt_ns,
                    _ => entry.wire_rtt_ns,
                })
                .collect();
            values.sort_unstable();
            let Some((least, most)) = values.first().zip(values.last()) else {
                assert!(summary[name].is_null(), "{summary}");
                continue;
            };
            assert_eq!(
                number(&summary[name]["min"]),
                u64::from(*least),
                "{summary}"
            );
            assert_eq!(number(&summary[name]["max"]), u64::from(*most), "{summary}");
        }
    }
}

const RULES: &str = "ip daddr 10.0.0.3 icmp type echo-request drop
ip daddr 10.0.0.4 icmp type echo-request reject with icmp type admin-prohibited";

fn packed_fates_agree_with_probes_and_summaries() -> Outcome {
    let (a, b) = pair();
    for address in ["10.0.0.3/24", "10.0.0.4/24"] {
        b.address("e0", address)?;
    }
    firewall(&b, "input", RULES);
    let service = Service::start(&a, &[]);
    // The second is there twice, and counts once; the fifth has no station, the sixth no route.
    let targets = [
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.2",
        "10.0.0.9",
        "10.9.0.9",
        "127.0.0.1",
    ];
    let options = json!({
        "count": 6, "interval_ns": 200_000_000u64, "timeout_ns": 300_000_000u64, "packed": true,
    });
    let before = Instant::now();
    let run = PackedRun::start(&service, &targets, options);
    let (slots, told) = run.read();
    let expected = [
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.9",
        "10.9.0.9",
        "127.0.0.1",
    ];
    assert_eq!(slots, expected);
    agree(&slots, &told);
    let of = |target: &str| told.summaries[target]["fates"].clone();
    assert_eq!(of("10.0.0.2"), json!({ "replied": 6 }));
    assert_eq!(of("10.0.0.3"), json!({ "unanswered": 6 }));
    assert!(of("10.0.0.4")["refused"].is_u64());
    assert_eq!(of("10.0.0.9"), json!({ "unresolved": 6 }));
    assert_eq!(of("10.9.0.9"), json!({ "not_sent": 6 }));
    assert_eq!(of("127.0.0.1"), json!({ "replied": 6 }));
    // The words come with the probes.
    let silent = &told.rows[&("10.0.0.3".to_owned(), 1)][0];
    assert!(silent["last_seen"].is_string(), "{silent}");
    assert!(!told.rows.contains_key(&("10.0.0.2".to_owned(), 1)));
    println!("{} entries, {:?}", told.entries.len(), before.elapsed());
    // The starts are spread over the interval, as most rounds show: in one, the host may be late.
    let sent = |slot: u32| -> Vec<u64> {
        let own = told.entries.iter().filter(|entry| entry.slot == slot);
        own.map(|entry| entry.sent_ns).collect()
    };
    for slot in 0..5 {
        let rounds = sent(slot).into_iter().zip(sent(slot + 1));
        let mut gaps: Vec<u64> = rounds.map(|(one, next)| next - one).collect();
        gaps.sort_unstable();
        let gap = gaps[gaps.len() / 2];
        assert!(gap > 20_000_000, "{gap} ns instead of a sixth of 200 ms");
    }
    Ok(())
}

fn engine_dies() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let options = json!({ "interval_ns": 10_000_000, "packed": true });
    let mut ends: Vec<(u64, u64)> = vec![];
    for _ in 0..3 {
        let run = PackedRun::start(&service, &["10.0.0.2", "127.0.0.1"], options.clone());
        let engine = number(&service.status()["engine"]["pid"]) as i32;
        std::thread::sleep(Duration::from_millis(2_500));
        kill(Pid::from_raw(engine), Signal::SIGKILL)?;
        let (_, told) = run.read();
        // The end without a total says that what follows the last sequence number is missing.
        assert!(told.last["total"].is_null(), "{}", told.last);
        for (slot, found) in sequences(&told.entries) {
            let expected: Vec<u32> = (1..=found.len() as u32).collect();
            assert_eq!(found, expected, "slot {slot}");
            assert!(found.len() > 90, "slot {slot}: {}", found.len());
        }
        let times = told.entries.iter().map(|entry| entry.sent_ns);
        ends.push((times.clone().min().unwrap(), times.max().unwrap()));
        until(PATIENCE, "the next engine", || {
            service
                .try_status()
                .is_some_and(|status| number(&status["engine"]["pid"]) as i32 != engine)
        });
    }
    // No probe belongs to two runs.
    assert!(
        ends.windows(2).all(|pair| pair[0].1 < pair[1].0),
        "{ends:?}"
    );
    Ok(())
}

fn slow_reader() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    // More than the pipe and the room for entries hold together.
    let options = json!({ "interval_ns": 0, "rate": 20_000, "count": 150_000, "packed": true });
    let run = PackedRun::start(&service, &["127.0.0.1", "10.0.0.2"], options);
    let socket = service.socket();
    let (id, slots) = (run.number, run.slots.len() as u32);
    until(PATIENCE * 3, "most are sent", || {
        let mut other = Connection::open(&socket).unwrap();
        let so_far: Result<Value, _> =
            other.call("io.netsonde.Ping.Progress", &json!({ "run": id }));
        so_far.map_or(true, |so_far| number(&so_far["total"]["sent"]) > 299_000)
    });
    let (_, told) = run.read();
    let found = sequences(&told.entries);
    let all: usize = found.values().map(Vec::len).sum();
    let lost = number(&told.last["lost"]);
    let sent = number(&told.last["total"]["sent"]);
    assert!(lost > 0, "nothing was lost of {sent}");
    assert_eq!(all as u64 + lost, sent, "{all} and {lost}");
    for (slot, found) in &found {
        assert!(*slot < slots);
        assert!(found.is_sorted_by(|one, next| one < next), "slot {slot}");
    }
    assert_eq!(number(&told.last["total"]["events_dropped"]), 0);
    Ok(())
}

fn readers_that_leave() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let options = json!({ "interval_ns": 2_000_000, "packed": true });
    // One that closes the pipe and stays: its run ends with a word.
    let run = PackedRun::start(&service, &["127.0.0.1"], options.clone());
    let (mut connection, number_of) = (run.connection, run.number);
    drop(run.pipe);
    let ended = loop {
        match connection.reply() {
            Ok(reply) => assert!(reply.continues),
            Err(error) => break error.to_string(),
        }
    };
    assert!(ended.contains("pipe"), "{ended}");
    let mut other = Connection::open(&service.socket())?;
    let asked: Result<Value, _> =
        other.call("io.netsonde.Ping.Progress", &json!({ "run": number_of }));
    assert!(asked.is_err(), "the run goes on");
    // Those that never read, and leave: descriptors and memory come back.
    let engine = number(&service.status()["engine"]["pid"]);
    let descriptors = || std::fs::read_dir(format!("/proc/{engine}/fd")).map(Iterator::count);
    let before = descriptors()?;
    let runs: Vec<PackedRun> = (0..8)
        .map(|_| PackedRun::start(&service, &["127.0.0.1"], options.clone()))
        .collect();
    // A connection and a pipe each; connections that ended before may still have been counted.
    assert!(descriptors()? >= before + 8);
    std::thread::sleep(Duration::from_millis(1_500));
    drop(runs);
    until(PATIENCE, "descriptors are back", || {
        descriptors().is_ok_and(|now| now <= before + 1)
    });
    // A call without `more` is refused.
    let refused: Result<Value, _> = other.call(
        "io.netsonde.Ping.Ping",
        &json!({ "targets": ["127.0.0.1"], "options": { "packed": true } }),
    );
    assert!(refused.unwrap_err().to_string().contains("ExpectedMore"));
    assert_eq!(number(&service.status()["engine"]["pid"]), engine);
    Ok(())
}
