//! The commands that ask netsonde-historian, against a service that answers what a test says: their words and
//! JSON, what they ask for, and what they make of errors, hostile texts and packets. `tests/manual.rs` runs them
//! against the real one.
#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

#[path = "support/sample.rs"]
mod sample;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use netsonde_core::protocol::{HISTORY, INVENTORY, SERVICE};
use netsonde_core::recorder::pcapng::Writer;
use netsonde_core::wire::{Checksum, Direction};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use sample::sample;
use serde_json::{Value, json};
use varlink_parser::IDL;

/// What is answered to a method: replies one after the other, or an error.
type Answers = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

/// Both services, at `control.sock` and `history.sock` in a folder.
struct Fake {
    folder: tempfile::TempDir,
    answers: Answers,
    calls: Arc<Mutex<Vec<Value>>>,
    /// The file that is passed with a reply of `Packets`.
    packets: Arc<Mutex<Vec<u8>>>,
}

impl Fake {
    /// Starts the historian only.
    fn start() -> Fake {
        let fake = Fake {
            folder: tempfile::tempdir().unwrap(),
            answers: Answers::default(),
            calls: Arc::default(),
            packets: Arc::default(),
        };
        fake.listen("history.sock");
        fake
    }

    fn listen(&self, name: &str) {
        let listener = UnixListener::bind(self.folder.path().join(name)).unwrap();
        let (answers, calls) = (self.answers.clone(), self.calls.clone());
        let packets = self.packets.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, calls) = (answers.clone(), calls.clone());
                let packets = packets.clone();
                std::thread::spawn(move || serve(&stream, &answers, &calls, &packets));
            }
        });
    }

    fn says(&self, method: &str, replies: &[Value]) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(method.into(), replies.to_vec());
    }

    /// Answers with one reply of `io.netsonde.History`.
    fn tells(&self, method: &str, reply: Value) {
        self.says(
            &format!("io.netsonde.History.{method}"),
            &[json!({ "parameters": reply })],
        );
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command
            .arg("--socket")
            .arg(self.folder.path().join("control.sock"))
            .args(line)
            .current_dir(self.folder.path())
            .env("TZ", "UTC")
            .env_remove("NETSONDE_HISTORY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    fn output(&self, line: &[&str]) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command line: its exit status, output and errors.
    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        let words: Vec<&str> = line.split(' ').collect();
        let output = self.output(&words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// The parameters of the last call of a method.
    fn asked(&self, method: &str) -> Value {
        let calls = self.calls.lock().unwrap();
        let of = |call: &&Value| call["method"] == format!("io.netsonde.History.{method}");
        calls.iter().rev().find(of).unwrap()["parameters"].clone()
    }
}

fn serve(
    stream: &UnixStream,
    answers: &Answers,
    calls: &Mutex<Vec<Value>>,
    packets: &Mutex<Vec<u8>>,
) {
    let mut requests = BufReader::new(stream.try_clone().unwrap());
    let mut request = Vec::new();
    while requests.read_until(0, &mut request).is_ok_and(|n| n > 0) {
        request.pop();
        let call: Value = serde_json::from_slice(&request).unwrap();
        request.clear();
        let method = call["method"].as_str().unwrap().to_owned();
        calls.lock().unwrap().push(call);
        let unknown = json!({
            "error": "org.varlink.service.MethodNotFound",
            "parameters": { "method": method },
        });
        let found = answers.lock().unwrap().get(&method).cloned();
        for reply in found.unwrap_or(vec![unknown]) {
            let mut bytes = reply.to_string().into_bytes();
            bytes.push(0);
            let slices = [IoSlice::new(&bytes)];
            let mut file = tempfile::tempfile().unwrap();
            let mut raw = vec![];
            if reply["parameters"]["fd"].is_u64() {
                file.write_all(&packets.lock().unwrap()).unwrap();
                std::io::Seek::rewind(&mut file).unwrap();
                raw.push(file.as_raw_fd());
            }
            let rights = [ControlMessage::ScmRights(&raw)];
            let rights = if raw.is_empty() { &[][..] } else { &rights };
            let flags = MsgFlags::MSG_NOSIGNAL;
            if sendmsg::<()>(stream.as_raw_fd(), &slices, rights, flags, None).is_err() {
                return;
            }
        }
    }
}

fn target(name: &str, target: &str, state: &str) -> Value {
    json!({ "name": name, "target": target, "state": state, "interval_ns": 1_000_000_000 })
}

#[test]
fn targets_in_trouble_come_first() {
    let fake = Fake::start();
    let mut down = target("wan", "192.0.2.9", "down");
    down["since"] = "2026-11-28T03:14:07.5Z".into();
    down["outage"] = 12.into();
    down["words"] = "192.0.2.9 does not answer ARP on e0".into();
    down["last_minute"] = json!({ "sent": 60, "received": 0, "loss_percent": 100.0 });
    down["last_hour"] = json!({
        "sent": 3600, "received": 3599, "loss_percent": 0.03, "wire_rtt_p99_ns": 1_234_567,
    });
    let first = json!({
        "monitors": [{ "name": "lan", "targets": ["a"] }, { "name": "wan", "targets": ["b"] }],
        "targets": [target("lan", "192.0.2.1", "up"), target("lan", "192.0.2.2", "paused")],
    });
    // In two replies.
    fake.says(
        "io.netsonde.History.Monitors",
        &[
            json!({ "parameters": first, "continues": true }),
            json!({ "parameters": { "targets": [down] } }),
        ],
    );
    let (status, text, errors) = fake.run("monitor list");
    assert_eq!((status, &errors[..]), (Some(0), ""), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    for (line, parts) in [
        (0, "MONITOR TARGET STATE SINCE LAST LOSS"),
        (
            1,
            "wan 192.0.2.9 down 2026-11-28 03:14:07 - 100% - < 0.1% 1.23 ms - -",
        ),
        (2, "lan 192.0.2.1 up - - - - - - - -"),
        (3, "lan 192.0.2.2 paused"),
        (
            5,
            "down 192.0.2.9: 192.0.2.9 does not answer ARP on e0 (netsonde outages 12)",
        ),
        (7, "3 targets of 2 monitors: 1 down, 1 up, 1 paused"),
    ] {
        let shown: Vec<&str> = lines[line].split_whitespace().collect();
        assert!(shown.join(" ").starts_with(parts), "{line}: {text}");
    }
    let (status, text, _) = fake.run("--json monitor list --down");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, Some(0));
    assert_eq!(list["monitors"].as_array().unwrap().len(), 1, "{text}");
    assert_eq!(list["monitors"][0]["interval_ns"], 1_000_000_000);
    assert_eq!(list["configured"][1]["name"], "wan");

    // Nothing is down; nothing has the tag; there is nothing.
    fake.tells(
        "Monitors",
        json!({ "monitors": [{ "name": "lan", "targets": [] }],
        "targets": [target("lan", "192.0.2.1", "up")] }),
    );
    let (status, text, errors) = fake.run("monitor list --down");
    assert_eq!((status, &text[..]), (Some(1), ""));
    assert_eq!(
        errors,
        "netsonde: no target matches --down; 1 target without the filter\n"
    );
    fake.tells("Monitors", json!({ "monitors": [], "targets": [] }));
    let (status, _, errors) = fake.run("monitor list --tag x");
    assert_eq!(status, Some(1), "{errors}");
    assert_eq!(fake.asked("Monitors"), json!({ "tag": "x" }));
    let (status, _, errors) = fake.run("monitor list");
    assert_eq!(status, Some(0));
    assert_eq!(
        errors,
        "netsonde: no monitor: `netsonde monitor add` adds one\n"
    );
}

#[test]
fn monitors_are_added_as_the_options_say() {
    let fake = Fake::start();
    fake.tells("AddMonitor", json!({ "targets": 3 }));
    std::fs::write(
        fake.folder.path().join("hosts"),
        "192.0.2.1 # a\n\n# b\nexample.org\n",
    )
    .unwrap();
    let (status, text, errors) = fake.run(
        "monitor add wan @hosts 10.0.0.0/28 -i 0.25 -W 2 -s 1472 --dscp 46 -M do -I e0 --tag a --tag b \
         --replace",
    );
    assert_eq!((status, &text[..]), (Some(0), ""), "{errors}");
    assert_eq!(
        errors,
        "netsonde: wan added, 3 targets: `netsonde monitor list wan`\n"
    );
    assert_eq!(
        fake.asked("AddMonitor"),
        json!({
            "monitor": {
                "name": "wan",
                "targets": ["192.0.2.1", "example.org", "10.0.0.0/28"],
                "interval_ns": 250_000_000,
                "timeout_ns": 2_000_000_000,
                "size": 1472,
                "dscp": 46,
                "dont_fragment": true,
                "interface": "e0",
                "tags": ["a", "b"],
            },
            "replace": true,
        })
    );
    let (_, text, _) = fake.run("--json monitor add lan fe80::1%e0 -I fe80::2");
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!({ "targets": 3 })
    );
    let monitor = json!({ "name": "lan", "targets": ["fe80::1%e0"], "source": "fe80::2" });
    assert_eq!(fake.asked("AddMonitor"), json!({ "monitor": monitor }));

    let all: String = (0..9000u32)
        .map(|n| format!("10.1.{}.{}\n", n >> 8, n & 255))
        .collect();
    std::fs::write(fake.folder.path().join("many"), all).unwrap();
    let (status, _, errors) = fake.run("monitor add big @many");
    assert_eq!(status, Some(2));
    assert!(
        errors.contains("9000 targets are too many for one request"),
        "{errors}"
    );
    let (status, _, errors) = fake.run("monitor add x @none");
    assert_eq!(status, Some(2));
    assert!(errors.contains("cannot read none: "), "{errors}");
}

#[test]
fn monitors_are_changed_with_a_word() {
    let fake = Fake::start();
    for method in ["RemoveMonitor", "Pause", "Resume"] {
        fake.tells(method, json!({}));
    }
    for (line, method, call, words) in [
        (
            "monitor remove a",
            "RemoveMonitor",
            json!({ "name": "a" }),
            "a removed",
        ),
        (
            "monitor pause a --for 90m --maintenance",
            "Pause",
            json!({ "name": "a", "duration_ns": 5_400_000_000_000u64, "maintenance": true }),
            "a is in maintenance for 1 h 30 min",
        ),
        (
            "monitor pause a",
            "Pause",
            json!({ "name": "a" }),
            "a is paused until `netsonde monitor resume a`",
        ),
        (
            "monitor resume a",
            "Resume",
            json!({ "name": "a" }),
            "a resumed",
        ),
    ] {
        let (status, text, errors) = fake.run(line);
        assert_eq!((status, &text[..]), (Some(0), ""), "{line}: {errors}");
        assert!(errors.contains(words), "{line}: {errors}");
        assert_eq!(fake.asked(method), call, "{line}");
    }
}

fn outage() -> Value {
    json!({
        "id": 12,
        "kind": "outage",
        "begin": "2026-11-28T03:14:07.123456789Z",
        "end": "2026-11-28T03:16:09.5Z",
        "duration_ns": 122_000_000_000u64,
        "targets": ["192.0.2.9", "192.0.2.10"],
        "fates": { "unresolved": 240, "unanswered": 4 },
        "cause": "next_hop_unresolved",
        "words": "next hop 192.0.2.1 on e0 does not answer ARP",
    })
}

#[test]
fn outages_are_listed() {
    let fake = Fake::start();
    let mut lasting = outage();
    lasting["id"] = 13.into();
    lasting.as_object_mut().unwrap().remove("end");
    lasting["kind"] = "degraded".into();
    lasting["targets_left_out"] = 400.into();
    lasting["evidence"] =
        json!({ "packets": 77, "bytes": 1, "from": "", "to": "", "state": "whole" });
    let reply = json!({ "outages": [outage(), lasting], "left_out": 3 });
    fake.tells("Outages", reply.clone());
    let (status, text, errors) =
        fake.run("outages 192.0.2.9 --since 2026-11-28 --until 2026-11-29T00:00:00Z");
    assert_eq!(status, Some(0), "{errors}");
    let shown: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        shown,
        [
            "ID BEGIN DURATION TARGETS PACKETS CAUSE",
            "12 2026-11-28 03:14:07 2 min 2 s 192.0.2.9 and 1 more - next hop 192.0.2.1 on e0 does not answer ARP",
            "13 2026-11-28 03:14:07 > 2 min 2 s 192.0.2.9 and 401 more 77 degraded: next hop 192.0.2.1 on e0 \
             does not answer ARP",
            "... and 3 older outages: -n or --until shows them",
        ]
    );
    assert_eq!(
        fake.asked("Outages"),
        json!({
            "target": "192.0.2.9",
            "since_ns": 1_795_824_000_000_000_000u64,
            "until_ns": 1_795_910_400_000_000_000u64,
        })
    );
    let (_, text, _) = fake.run("--json outages");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), reply);

    fake.tells("Outages", json!({ "outages": [], "left_out": 0 }));
    let (status, _, errors) = fake.run("outages");
    assert_eq!((status, &errors[..]), (Some(0), "netsonde: no outage\n"));
    let (status, text, errors) = fake.run("outages x");
    assert_eq!((status, &text[..]), (Some(1), ""));
    assert_eq!(
        errors,
        "netsonde: no outage matches x; 0 outages without the filter\n"
    );
}

#[test]
fn an_outage_is_told_in_full() {
    let fake = Fake::start();
    let mut one = outage();
    one["flapping"] = 14.into();
    one["load"] = "only above 80 % of the uplink".into();
    one["recurrence"] = json!({ "count": 8, "since": "2026-11-27T00:00:00Z", "period_ns": 1, "deviation_ns": 1,
        "chance": 0.0123, "words": "8th since yesterday, every 4 h 02 min" });
    one["affected"] = json!([{
        "name": "wan", "target": "192.0.2.9", "begin": "2026-11-28T03:14:07.1Z", "duration_ns": 5_000_000_000u64,
        "fates": { "unresolved": 5 }, "times": 2, "gaps": 1, "first": "no ARP reply to 3 requests",
    }]);
    one["paths"] = json!([{
        "target": "192.0.2.9",
        "before": { "time": "2026-11-28T03:13:30Z", "interface": "e0", "gateway": "192.0.2.1", "kind": "unicast",
            "destination": "default", "table": "main", "next_hop": "192.0.2.1", "neighbor": "REACHABLE",
            "mac": "02:00:00:00:00:01", "link": "up" },
        "begin": { "time": "2026-11-28T03:14:08Z", "error": "no route to the target" },
        "after": { "time": "2026-11-28T03:14:38Z", "error": "no route to the target" },
        "link_before": "up", "link_begin": "has no carrier", "link_after": "up",
    }]);
    one["counters"] = json!([
        { "layer": "ip", "subject": "this namespace", "name": "IpOutDiscards", "by": 4, "words": "a filter", "harmless": false },
        { "layer": "device", "subject": "e0", "name": "rx_dropped", "by": 9, "words": "no receiver", "harmless": true },
    ]);
    one["counters_from"] = "2026-11-28T03:14:07Z".into();
    one["counters_to"] = "2026-11-28T03:14:38Z".into();
    one["events"] = json!([{ "time": "2026-11-28T03:14:00Z", "kind": "link_down", "severity": "warning",
        "interface": "e0", "subject": "e0", "text": "e0 lost its carrier" }]);
    fake.tells("Outage", json!({ "outage": one }));
    let (status, text, errors) = fake.run("outages 12");
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(fake.asked("Outage"), json!({ "id": 12 }));
    for part in [
        "outage 12: 192.0.2.9 and 1 more was down for 2 min 2 s\n",
        "  cause       next hop 192.0.2.1 on e0 does not answer ARP (next_hop_unresolved)\n",
        "  begin       2026-11-28 03:14:07.123456, first lost probe\n",
        "  end         2026-11-28 03:16:09.500000, first answered probe\n",
        "  probes      240 unresolved, 4 unanswered\n",
        "  flapping    down 14 times\n",
        "  load        only above 80 % of the uplink\n",
        "  recurs      8th since yesterday, every 4 h 02 min (as regular by chance: 1.23%)\n",
        "  packets     none kept; while they are in memory: netsonde watch --since '2026-11-28 03:13:37' \
         --until '2026-11-28 03:14:37'\n",
        "no ARP reply to 3 requests",
        "5 unresolved; 1 gap",
        "> 5.0 s",
        "WAY TO 192.0.2.9\n\
         before       2026-11-28 03:13:30.000000  default via 192.0.2.1 dev e0; neighbor 192.0.2.1 REACHABLE at \
         02:00:00:00:00:01; e0 up\n\
         at the begin 2026-11-28 03:14:08.000000  no route to the target\n\
         after        2026-11-28 03:14:38.000000  the same\n\
         link         e0 up before, has no carrier at the begin, up after\n",
        "COUNTERS OF DROPS from 2026-11-28 03:14:07.000000 to 2026-11-28 03:14:38.000000\n         \
         4  ip         IpOutDiscards  this namespace\n            a filter\n\
         1 counter of expected drops also increased (-v shows them)\n",
        "EVENTS AROUND THE BEGIN\n2026-11-28 03:14:00.000000 warning link_down e0 e0 lost its carrier\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    one["evidence"] = json!({ "packets": 77, "bytes": 2048, "from": "2026-11-28T03:13:37Z",
        "to": "2026-11-28T03:14:37Z", "state": "partial", "words": "no room" });
    fake.tells("Outage", json!({ "outage": one.clone() }));
    let (_, text, _) = fake.run("outages 12");
    let words = "77 packets, 2.0 KiB from 2026-11-28 03:13:37 to 2026-11-28 03:14:37 (partial: no room): \
                 netsonde outages 12 -w outage-12.pcapng";
    assert!(text.contains(words), "{text}");
    // The same document as that of a list.
    let (_, text, _) = fake.run("--json outages 12");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["outages"], json!([one]));
}

#[test]
fn counters_of_the_past_are_shown() {
    let fake = Fake::start();
    let counter = |subject: &str, name: &str, by: u64, words: &str| {
        json!({ "layer": "device", "subject": subject, "name": name, "by": by, "words": words,
            "harmless": words.is_empty() })
    };
    let point = |time: &str, counters: Value| {
        json!({ "time": time, "step_ns": 60_000_000_000u64, "measured_ns": 60_000_000_000u64,
            "counters": counters })
    };
    let points = json!([
        point(
            "2026-11-28T03:14:00Z",
            json!([counter("e0", "tx_dropped", 3, "ring full")])
        ),
        point(
            "2026-11-28T03:20:00Z",
            json!([counter("e0", "rx_packets", 9, "")])
        ),
    ]);
    fake.tells("Counters", json!({ "points": points, "left_out": 2 }));
    let (status, text, errors) =
        fake.run("drops --since 2026-11-28 --until 2026-11-29T00:00:00Z --step 1m");
    assert_eq!(status, Some(1), "{errors}");
    let day = 1_795_824_000_000_000_000u64;
    let expected = json!({ "since_ns": day, "until_ns": day + 86_400_000_000_000u64,
        "step_ns": 60_000_000_000u64, "drops": true });
    assert_eq!(fake.asked("Counters"), expected);
    for part in [
        "2026-11-28 03:14:00      3  e0 tx_dropped +3\n",
        "2026-11-28 03:15:00      -  not measured for 5 min 0 s\n",
        "2026-11-28 03:20:00      0  -\n",
        "... and 2 older steps: --until or a longer --step shows them\n",
        "         3  device     tx_dropped  e0\n            ring full\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (status, text, _) = fake.run("interfaces e0 --since 2026-11-28");
    assert_eq!(status, Some(0));
    assert_eq!(
        fake.asked("Counters"),
        json!({ "since_ns": day, "interface": "e0" })
    );
    assert!(text.contains("TX BYTES  DROPS  COUNTERS\n"), "{text}");
    assert!(text.contains("3  tx_dropped +3\n"), "{text}");
    let (status, text, errors) = fake.run("interfaces eo --since 2026-11-28");
    assert_eq!((status, &text[..]), (Some(1), ""));
    assert_eq!(
        errors,
        "netsonde: no counter of eo moved in the time that was measured\n"
    );
    fake.tells("Counters", json!({ "points": [], "left_out": 0 }));
    for line in ["drops --since -1h", "interfaces --since -1h"] {
        let (status, text, errors) = fake.run(line);
        assert_eq!((status, &text[..]), (Some(1), ""), "{line}");
        assert_eq!(
            errors,
            "netsonde: not measured: the historian has no counters of that time\n"
        );
    }
    // The same with options that are of now.
    for line in [
        "drops --until -1h",
        "drops --since -1h --total",
        "drops --since -1h --duration 2s",
    ] {
        let (status, _, errors) = fake.run(line);
        assert_eq!(status, Some(2), "{line}: {errors}");
        println!("{errors}");
    }
}

fn packet_file() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.section("netsonde-historian", "Linux", &[]);
    let number = writer.interface(1, 2048, Some("e0"), None);
    for _ in 0..3 {
        writer.packet(
            number,
            1,
            &[0xff; 60],
            60,
            Direction::ToUs,
            Checksum::Unknown,
        );
    }
    writer.buffer
}

#[test]
fn packets_are_written_whole_or_not_at_all() {
    let fake = Fake::start();
    fake.tells("Packets", json!({ "fd": 0, "packets": 3 }));
    *fake.packets.lock().unwrap() = packet_file();
    let path = fake.folder.path().join("o.pcapng");
    for (line, call) in [
        ("outages 12 -w o.pcapng", json!({ "outage": 12 })),
        ("kept 3 -w o.pcapng", json!({ "kept": 3 })),
    ] {
        let _ = std::fs::remove_file(&path);
        let (status, text, errors) = fake.run(line);
        assert_eq!((status, &text[..]), (Some(0), ""), "{errors}");
        assert!(errors.starts_with("3 packets, "), "{errors}");
        assert_eq!(fake.asked("Packets"), call);
        assert_eq!(std::fs::read(&path).unwrap(), packet_file());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let output = fake.output(&["outages", "12", "-w", "-"]);
    assert_eq!(output.stdout, packet_file());

    // What is damaged or cut does not replace a file.
    let whole = packet_file();
    for bytes in [
        &whole[..whole.len() - 1],
        b"no packets, but long enough for a block",
    ] {
        *fake.packets.lock().unwrap() = bytes.to_vec();
        let (status, _, errors) = fake.run("outages 12 -w o.pcapng");
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains("netsonde-historian "), "{errors}");
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
    fake.tells("Packets", json!({}));
    let (status, _, errors) = fake.run("outages 12 -w o.pcapng");
    assert_eq!(status, Some(2));
    assert!(
        errors.contains("netsonde-historian passed no descriptor"),
        "{errors}"
    );
    let (status, _, errors) = fake.run("outages x -w o.pcapng");
    assert_eq!(status, Some(2));
    assert!(errors.contains("-w needs the ID of an outage"), "{errors}");
}

fn point(time: &str, sent: u64, received: u64) -> Value {
    let mut point = json!({ "time": time, "step_ns": 60_000_000_000u64, "sent": sent, "received": received,
        "fates": {} });
    if received > 0 {
        point["wire_rtt_ns"] = json!({ "min": 1_000_000, "p50": 1_500_000, "p90": 2_000_000, "p99": 9_000_000,
            "max": 12_345_678 });
    }
    point
}

#[test]
fn history_says_what_was_not_measured() {
    let fake = Fake::start();
    let mut lossy = point("2026-11-28T03:01:00Z", 60, 57);
    lossy["fates"] = json!({ "replied": 57, "unanswered": 2, "late": 1 });
    lossy["gaps"] = json!(["clock_step"]);
    let mut stopped = point("2026-11-28T03:02:00Z", 0, 0);
    stopped["gaps"] = json!(["stopped", "no_service"]);
    let mut span = point("2026-11-28T03:00:00Z", 180, 177);
    span["step_ns"] = 600_000_000_000u64.into();
    span["fates"] = lossy["fates"].clone();
    let points = [
        point("2026-11-28T03:00:00Z", 60, 60),
        lossy,
        stopped,
        // Two steps are not there.
        point("2026-11-28T03:05:00Z", 60, 60),
    ];
    let reply = json!({ "name": "gateway", "target": "192.0.2.1", "points": points, "span": span });
    fake.tells("History", reply.clone());
    let (status, text, errors) = fake.run("history gateway --since 2026-11-28 --step 1m");
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(
        fake.asked("History"),
        json!({ "target": "gateway", "since_ns": 1_795_824_000_000_000_000u64, "step_ns": 60_000_000_000u64 })
    );
    let shown: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        shown,
        [
            // No bars: this is no terminal.
            "192.0.2.1 (gateway)",
            "TIME SENT LOSS P50 P90 P99 NOT REPLIED",
            "2026-11-28 03:00:00 60 0 1.50 ms 2.00 ms 9.00 ms",
            "2026-11-28 03:01:00 60 5.0% 1.50 ms 2.00 ms 9.00 ms 2 unanswered, 1 late; partly not measured: the \
             clock was set",
            "2026-11-28 03:02:00 - - - - - not measured: the historian was stopped, netsonded sent no probes",
            "2026-11-28 03:03:00 - - - - - not measured for 2 min 0 s",
            "2026-11-28 03:05:00 60 0 1.50 ms 2.00 ms 9.00 ms",
            "",
            "180 probes in 10 min 0 s: 3 lost, 1.7% (2 unanswered, 1 late)",
            "round trip on the wire: min 1.00 median 1.50 p90 2.00 p99 9.00 max 12.3 ms",
        ]
    );
    let (_, text, _) = fake.run("--json history gateway");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), reply);

    // All reasons have words.
    let text = HISTORY.split("`gaps` says what kept it").nth(1).unwrap();
    let text = text.split("type Point").next().unwrap();
    let reasons: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    assert!(reasons.len() > 5, "{reasons:?}");
    for reason in reasons {
        let mut step = point("2026-11-28T03:02:00Z", 0, 0);
        step["gaps"] = json!([reason]);
        let reply = json!({ "name": "", "target": "192.0.2.1", "points": [step], "span": span });
        fake.tells("History", reply);
        let (_, text, _) = fake.run("history 192.0.2.1");
        let words = text.split("not measured: ").nth(1).unwrap_or_default();
        let words = words.lines().next().unwrap_or_default();
        assert!(words.contains(' ') || words == "paused", "{reason}: {text}");
    }

    let mut span = point("2026-11-28T03:00:00Z", 0, 0);
    span["gaps"] = json!(["suspended"]);
    fake.tells(
        "History",
        json!({ "name": "", "target": "192.0.2.1", "points": [], "span": span }),
    );
    let (status, text, errors) = fake.run("history 192.0.2.1");
    assert_eq!((status, &text[..]), (Some(1), ""));
    assert_eq!(
        errors,
        "netsonde: 192.0.2.1 since 2026-11-28 03:00:00: not measured: the host was suspended\n"
    );
}

#[test]
fn the_probe_of_a_moment_is_told() {
    let fake = Fake::start();
    let reply = json!({
        "name": "gateway", "target": "192.0.2.1", "state": "down", "outage": 12,
        "probe": { "time": "2026-11-28T03:14:06.5Z", "fate": "unresolved", "words": "no ARP reply on e0" },
    });
    fake.tells("At", reply.clone());
    let line = "history gateway --at 2026-11-28T03:14:07Z";
    let (status, text, errors) = fake.run(line);
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(
        text,
        "192.0.2.1 (gateway): the last probe was sent at 2026-11-28 03:14:06.500000, 500 ms before \
         2026-11-28 03:14:07\n  fate        unresolved\n  seen        no ARP reply on e0\n  state       down \
         (netsonde outages 12)\n"
    );
    let (_, text, _) = fake.run(&format!("--json {line}"));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), reply);
    fake.tells(
        "At",
        json!({ "name": "gateway", "target": "192.0.2.1", "state": "unknown" }),
    );
    let (status, _, errors) = fake.run(line);
    assert_eq!(status, Some(1));
    assert_eq!(
        errors,
        "netsonde: 192.0.2.1 (gateway) was not measured at 2026-11-28 03:14:07\n"
    );
}

#[test]
fn moments_are_kept_and_listed() {
    let fake = Fake::start();
    let kept = json!({ "id": 3, "time": "2026-11-28T03:14:07Z", "user": "root", "note": "video froze",
        "evidence": { "packets": 77, "bytes": 2048, "from": "2026-11-28T03:09:07Z",
            "to": "2026-11-28T03:14:07Z", "state": "whole" } });
    fake.tells("Keep", json!({ "kept": kept }));
    let (status, text, _) = fake.run("keep --last 20m video froze");
    assert_eq!(status, Some(0));
    assert_eq!(
        text,
        "kept 3: 77 packets, 2.0 KiB from 2026-11-28 03:09:07 to 2026-11-28 03:14:07\n\
         netsonde kept 3 -w kept-3.pcapng writes them\n"
    );
    assert_eq!(
        fake.asked("Keep"),
        json!({ "last_ns": 1_200_000_000_000u64, "note": "video froze" })
    );
    let long = format!("keep {}", "x".repeat(501));
    let (status, _, errors) = fake.run(&long);
    assert_eq!(status, Some(2));
    assert!(
        errors.contains("must be at most 500 characters, not 501"),
        "{errors}"
    );

    fake.tells("Kept", json!({ "kept": [kept] }));
    let (status, text, _) = fake.run("kept");
    assert_eq!(status, Some(0));
    assert!(
        text.contains("ID  KEPT AT") && text.contains("video froze"),
        "{text}"
    );
    assert_eq!(fake.run("kept 3").0, Some(0));
    let (status, _, errors) = fake.run("kept 4");
    assert_eq!(status, Some(1));
    assert_eq!(
        errors,
        "netsonde: no kept entry matches 4; 1 kept entry without the filter\n"
    );
    fake.tells("Discard", json!({}));
    let (status, _, errors) = fake.run("kept 3 --discard");
    assert_eq!((status, &errors[..]), (Some(0), "netsonde: 3 deleted\n"));
    assert_eq!(fake.asked("Discard"), json!({ "id": 3 }));
}

fn event(time: &str, text: &str, number: Option<u64>) -> Value {
    let mut event = json!({ "time": time, "kind": "link_down", "severity": "warning", "interface": "e0",
        "subject": "e0", "text": text });
    if let Some(number) = number {
        event["number"] = number.into();
    }
    event
}

#[test]
fn events_come_from_both_logs_once() {
    let fake = Fake::start();
    let own = [
        event("2026-11-28T10:00:00Z", "both", Some(1)),
        event("2026-11-28T11:00:00Z", "new", Some(2)),
    ];
    fake.says(
        "io.netsonde.Inventory.Events",
        &[json!({ "parameters": { "time": "2026-11-28T12:00:00Z", "events": own, "kept": 2, "evicted": 0 } })],
    );
    fake.listen("control.sock");
    let older = [
        event("2026-11-28T01:00:00Z", "old", None),
        event("2026-11-28T10:00:00Z", "both", None),
    ];
    fake.tells("Events", json!({ "events": older, "left_out": 0 }));
    let (status, text, errors) =
        fake.run("--json events link --since 2026-11-28 -I e0 -s warning -n 50");
    assert_eq!((status, &errors[..]), (Some(0), ""));
    let report: Value = serde_json::from_str(&text).unwrap();
    let shown: Vec<(&str, u64)> = report["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["text"].as_str().unwrap(),
                one["number"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(shown, [("old", 0), ("both", 1), ("new", 2)]);
    let asked = fake.asked("Events");
    assert_eq!(asked["interface"], "e0");
    assert_eq!(asked["severity"], "warning");
    assert_eq!(asked["limit"], 50);
    let kinds: Vec<&str> = asked["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"link_down") && !kinds.contains(&"link"),
        "{kinds:?}"
    );
    // Without a time only netsonded is asked.
    fake.calls.lock().unwrap().clear();
    assert_eq!(fake.run("events").0, Some(0));
    let calls = fake.calls.lock().unwrap().clone();
    assert!(
        calls
            .iter()
            .all(|call| call["method"] != "io.netsonde.History.Events"),
        "{calls:?}"
    );

    // A path that changed has both, hop by hop.
    let path = |hops: &[(u64, &str)]| {
        let hop = |(hop, address): &(u64, &str)| json!({ "hop": hop, "addresses": [address], "answers": 6 });
        let hops: Vec<Value> = hops.iter().map(hop).collect();
        json!({ "target": "10.9.0.1", "since": "2026-11-28T01:00:00Z", "until": "2026-11-28T02:00:00Z",
                "reached": true, "hops": hops })
    };
    let mut changed = event("2026-11-28T02:00:00Z", "path changed", None);
    changed["kind"] = "path_changed".into();
    changed["before"] = path(&[(1, "10.0.0.1"), (3, "10.9.0.1")]);
    changed["after"] = path(&[(1, "10.0.0.1"), (2, "10.2.0.2"), (3, "10.9.0.1")]);
    fake.tells("Events", json!({ "events": [changed], "left_out": 0 }));
    let (_, text, _) = fake.run("--json events path_changed");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["events"][0]["before"], changed["before"], "{text}");
    assert_eq!(report["events"][0]["after"], changed["after"], "{text}");
    let (_, text, _) = fake.run("-v events path_changed");
    for line in [
        "    before 10.0.0.1 * 10.9.0.1\n",
        "    after  10.0.0.1 10.2.0.2 10.9.0.1\n",
    ] {
        assert!(text.contains(line), "{text}");
    }

    // Kinds that only it has.
    let mut began = event("2026-11-28T02:00:00Z", "outage 1 began", None);
    began["kind"] = "outage-began".into();
    fake.tells("Events", json!({ "events": [began], "left_out": 0 }));
    let (status, text, errors) = fake.run("events outage-began");
    assert_eq!((status, &errors[..]), (Some(0), ""));
    assert!(
        text.contains("outage_began") && !text.contains("both"),
        "{text}"
    );
    assert!(
        fake.asked("Events")["kinds"]
            .as_array()
            .unwrap()
            .contains(&"outage-began".into())
    );
    let (status, _, errors) = fake.run("events -f monitor");
    assert_eq!(status, Some(2));
    assert!(
        errors.contains("--follow shows events of netsonded"),
        "{errors}"
    );

    // Without a historian there is a word if netsonded has nothing from before.
    std::fs::remove_file(fake.folder.path().join("history.sock")).unwrap();
    let (status, _, errors) = fake.run("events --since 2026-11-28");
    assert_eq!(
        (status, &errors[..]),
        (Some(0), ""),
        "it has events from before"
    );
    fake.says(
        "io.netsonde.Inventory.Events",
        &[json!({ "parameters": { "time": "2026-11-28T12:00:00Z", "events": [], "kept": 2, "evicted": 0 } })],
    );
    let (status, _, errors) = fake.run("events --since 2026-11-28");
    assert_eq!(status, Some(1), "{errors}");
    assert!(
        errors.contains("only events that netsonded still has: no netsonde-historian at "),
        "{errors}"
    );
}

#[test]
fn status_has_a_section_of_the_historian() {
    let fake = Fake::start();
    let idl = IDL::try_from(SERVICE).unwrap();
    let mut status = sample(&idl, &idl.methods["Status"].output.elts);
    status["promiscuous"] = false.into();
    fake.says(
        "io.netsonde.Service.Status",
        &[json!({ "parameters": status })],
    );
    fake.listen("control.sock");
    let reply = json!({
        "version": "1.0", "time": "2026-11-28T12:00:00Z", "started": "2026-11-28T10:00:00Z",
        "connected": false, "words": "no netsonded", "monitors": 2, "targets": 50, "probes": 7000,
        "outages": 12, "lasting": 1, "bytes": 1 << 20, "budget": 1 << 30, "written_bytes": 1,
        "lasts_ns": 604_800_000_000_000u64,
        "parts": [{ "name": "probes", "bytes": 4096, "files": 2, "oldest": "2026-11-27T10:00:00Z" }],
        "limits": [{ "name": "clients", "most": 9, "reached": 4, "words": "refused" },
            { "name": "quiet", "most": 9, "reached": 0, "words": "refused" }],
        "problems": ["the disk is full"],
    });
    fake.tells("Status", reply.clone());
    let (code, text, errors) = fake.run("status");
    assert_eq!(code, Some(0), "{errors}");
    for part in [
        "netsonde-historian 1.0, up 2 h 0 min, 50 targets of 2 monitors, 12 outages (1 not over)\n",
        "not connected to netsonded: no netsonded\n",
        "7000 probes kept since its start, 1.0 MiB of 1.0 GiB on disk; every probe is kept for 7 d 0 h\n",
        "the disk is full\n",
        "limit reached: clients (9), 4 times: refused\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        !text.contains("quiet") && !text.contains("probes: "),
        "{text}"
    );
    let (_, text, _) = fake.run("-v status");
    assert!(
        text.contains("probes: 4.0 KiB, 2 files, since 2026-11-27 10:00:00"),
        "{text}"
    );
    let (_, text, _) = fake.run("--json status");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["historian"], reply);
    assert_eq!(json["recorder"], status["recorder"]);

    std::fs::remove_file(fake.folder.path().join("history.sock")).unwrap();
    let (code, text, errors) = fake.run("status");
    assert_eq!((code, &errors[..]), (Some(0), ""));
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("no netsonde-historian at "), "{text}");
    let (_, text, _) = fake.run("--json status");
    assert!(serde_json::from_str::<Value>(&text).unwrap()["historian"].is_null());
}

/// A command line for each method that has one, and the commands of its reply.
const LINES: [&str; 13] = [
    "monitor list",
    "monitor add a b",
    "monitor remove a",
    "monitor pause a",
    "monitor resume a",
    "outages",
    "outages 12",
    "history a",
    "history a --at now",
    "kept",
    "keep a note",
    "drops --since -1h",
    "interfaces --since -1h",
];

#[test]
fn errors_are_words() {
    let fake = Fake::start();
    for (name, parameters, words) in [
        (
            "NoSuchMonitor",
            json!({ "name": "wna" }),
            "no monitor wna: `netsonde monitor list` lists them",
        ),
        (
            "NoSuchTarget",
            json!({ "target": "x", "matches": 0 }),
            "no monitor has the target x: `netsonde monitor list` lists them",
        ),
        (
            "NoSuchTarget",
            json!({ "target": "x", "matches": 7 }),
            "x stands for 7 targets: give the address of one (`netsonde monitor list`)",
        ),
        (
            "NoSuchOutage",
            json!({ "id": 12 }),
            "no outage 12: `netsonde outages` lists them",
        ),
        (
            "NoSuchPackets",
            json!({ "reason": "it has no packets" }),
            "it has no packets",
        ),
        (
            "BadMonitor",
            json!({ "name": "a", "reason": "no targets" }),
            "monitor a: no targets",
        ),
        (
            "NotKept",
            json!({ "reason": "the disk is full" }),
            "not kept: the disk is full",
        ),
    ] {
        for line in LINES {
            let error =
                json!({ "error": format!("io.netsonde.History.{name}"), "parameters": parameters });
            for method in methods() {
                fake.says(&method, std::slice::from_ref(&error));
            }
            let (status, text, errors) = fake.run(line);
            assert_eq!((status, &text[..]), (Some(2), ""), "{line}");
            assert_eq!(errors, format!("netsonde: {words}\n"), "{line}");
        }
    }
    // Errors of the services name the historian.
    fake.answers.lock().unwrap().clear();
    for line in LINES {
        let (status, _, errors) = fake.run(line);
        assert_eq!(status, Some(2));
        assert!(
            errors.starts_with("netsonde: this netsonde-historian does not support "),
            "{errors}"
        );
    }
    let (status, _, errors) = fake.run("--history-socket /nowhere/h.sock outages");
    assert_eq!(status, Some(2));
    assert_eq!(
        errors,
        "netsonde: no netsonde-historian at /nowhere/h.sock (No such file or directory): start it with \
         `systemctl start netsonde-historian`, or give another socket with --history-socket\n"
    );
    let mut command = fake.command(&["outages"]);
    let output = command
        .env("NETSONDE_HISTORY_SOCKET", "/nowhere/e.sock")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("no netsonde-historian at /nowhere/e.sock"),
        "{errors}"
    );
}

/// The full names of all methods of the historian.
fn methods() -> Vec<String> {
    let idl = IDL::try_from(HISTORY).unwrap();
    idl.methods
        .keys()
        .map(|name| format!("io.netsonde.History.{name}"))
        .collect()
}

/// Start of a line that nobody wrote.
const FORGED: &str = "FORGED";

/// Puts what would color, clear, reorder and add a line into each string.
fn lie(value: &mut Value) {
    match value {
        Value::String(text) => text.push_str(&format!(
            "\u{1b}[31m\u{9b}2J\u{202e}\r\n{FORGED}\u{7f}\u{200b}"
        )),
        Value::Array(all) => all.iter_mut().for_each(lie),
        Value::Object(all) => {
            let entries: Vec<(String, Value)> = std::mem::take(all).into_iter().collect();
            for (key, mut value) in entries {
                lie(&mut value);
                // Names of fates are keys.
                let key = if key == "key" {
                    format!("{key}\u{1b}[31m\n{FORGED}")
                } else {
                    key
                };
                all.insert(key, value);
            }
        }
        _ => {}
    }
}

#[test]
fn hostile_texts_reach_no_terminal() {
    let fake = Fake::start();
    let history = IDL::try_from(HISTORY).unwrap();
    let inventory = IDL::try_from(INVENTORY).unwrap();
    let service = IDL::try_from(SERVICE).unwrap();
    for (idl, interface) in [
        (&history, "History"),
        (&inventory, "Inventory"),
        (&service, "Service"),
    ] {
        for (name, method) in &idl.methods {
            let mut reply = sample(idl, &method.output.elts);
            lie(&mut reply);
            fake.says(
                &format!("io.netsonde.{interface}.{name}"),
                &[json!({ "parameters": reply })],
            );
        }
    }
    fake.listen("control.sock");
    let more = [
        "status",
        "-v status",
        "events --last 1h",
        "-v events --last 1h",
    ];
    for line in LINES.iter().chain(&more) {
        for options in ["", "-v ", "--json ", "--color always "] {
            let words: Vec<&str> = options.split_whitespace().chain(line.split(' ')).collect();
            let output = fake.output(&words);
            assert_ne!(output.status.code(), Some(101), "{words:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(!text.is_empty() || !errors.is_empty(), "{words:?}");
            let styled = options.contains("always");
            for shown in text.lines().chain(errors.lines()) {
                let is_raw = |letter: char| match letter {
                    '\u{1b}' => !styled,
                    letter => letter.is_control() || matches!(letter, '\u{200b}' | '\u{202e}'),
                };
                assert!(!shown.contains(is_raw), "{words:?}: {shown:?}");
                assert!(!shown.starts_with(FORGED), "{words:?}: {shown:?}");
            }
            if options == "--json " {
                let read: Result<Value, _> = serde_json::from_str(&text);
                assert!(read.is_ok(), "{words:?}: {text}");
            }
        }
    }
}

#[test]
fn closed_pipes_and_full_disks_are_noticed() {
    let fake = Fake::start();
    let idl = IDL::try_from(HISTORY).unwrap();
    for (name, method) in &idl.methods {
        let reply = sample(&idl, &method.output.elts);
        fake.says(
            &format!("io.netsonde.History.{name}"),
            &[json!({ "parameters": reply })],
        );
    }
    for line in LINES {
        for json in [&["--json"][..], &[]] {
            let words: Vec<&str> = json.iter().copied().chain(line.split(' ')).collect();
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = fake.command(&words).stdout(writer).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{words:?}: {errors}");
            if json.is_empty() && line.starts_with("monitor ") && line != "monitor list" {
                // It prints nothing on standard output.
                continue;
            }
            let full = File::options().write(true).open("/dev/full").unwrap();
            let output = fake.command(&words).stdout(full).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{words:?}: {errors}");
            assert!(
                errors.contains("cannot write the output"),
                "{words:?}: {errors}"
            );
        }
    }
}

#[test]
fn replies_that_are_wrong_are_said_to_be_the_historians() {
    let fake = Fake::start();
    for reply in [
        json!({ "parameters": 7 }),
        json!(7),
        json!({ "parameters": { "points": 1, "outages": 1,
        "targets": "x", "kept": 1, "outage": 1, "probe": 1 } }),
    ] {
        for method in methods() {
            fake.says(&method, std::slice::from_ref(&reply));
        }
        for line in [
            "monitor list",
            "monitor add a b",
            "outages",
            "outages 12",
            "history a",
            "kept",
            "keep",
            "drops --since -1h",
            "interfaces --since -1h",
        ] {
            let (status, text, errors) = fake.run(line);
            assert_eq!((status, &text[..]), (Some(2), ""), "{line}: {errors}");
            assert!(
                errors.contains("unexpected reply from netsonde-historian"),
                "{line}: {reply}: {errors}"
            );
        }
    }
    assert!(Path::new(env!("CARGO_BIN_EXE_netsonde")).exists());
}
