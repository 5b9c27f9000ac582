//! The prober with several users, forged replies, groups, limits and evidence files, and the examples of
//! netsonde(1).
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b
//!
//!   a 192.0.2.1, netsonded --+
//!   b 192.0.2.7 -------------+-- br0 (switch)
//!   c 192.0.2.8 -------------+
//! ```
//!
//! The judges are the numbers of sent and answered probes, and tshark(1) for evidence files.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netsonde::lab::{Host, Running, traffic, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::inside;
use support::link::{Link, link_of_manual};
use support::ping::ping;
use support::{PATIENCE, Service, StopOnDrop, Test, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            ("arp_held_back", arp_held_back as Test),
            (
                "concurrent_users_are_independent",
                concurrent_users_are_independent,
            ),
            ("patterns_of_runs_do_not_mix", patterns_of_runs_do_not_mix),
            ("forged_replies_are_ignored", forged_replies_are_ignored),
            ("probes_end_with_their_client", probes_end_with_their_client),
            ("interrupt_prints_the_summary", interrupt_prints_the_summary),
            ("group_ping_lists_responders", group_ping_lists_responders),
            (
                "every_target_of_a_range_is_reported",
                every_target_of_a_range_is_reported,
            ),
            (
                "evidence_file_holds_the_wire_packets",
                evidence_file_holds_the_wire_packets,
            ),
            (
                "impossible_requests_are_rejected",
                impossible_requests_are_rejected,
            ),
        ],
        4,
    )
}

/// Runs `each` beside `body`, again and again until that is over.
fn beside<T>(mut each: impl FnMut() + Send, body: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                each();
            }
        });
        let _over = StopOnDrop(&over);
        body()
    })
}

/// Two runs of one size, which share buffers: a reply with the other's pattern would be a corrupted one.
fn patterns_of_runs_do_not_mix() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let run = |pattern: &'static str| {
        let arguments = [
            "-s", "100", "-i", "0.01", "-c", "200", "-p", pattern, "10.0.0.2",
        ];
        ping(&service, &arguments)
    };
    let (ones, zeros) = std::thread::scope(|scope| {
        let ones = scope.spawn(|| run("ff"));
        (run("00"), ones.join().unwrap())
    });
    for report in [ones, zeros] {
        report.only("replied", 200);
    }
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b: answers ARP by hand, 400 ms late
/// ```
fn arp_held_back() -> Outcome {
    let (a, b) = pair();
    b.sysctl("net/ipv4/conf/e0/arp_ignore", "8")?;
    let mac = b.mac("e0")?;
    let mut port = b.port("e0")?;
    let mut room = [0; 2048];
    let answer = move || {
        let Ok(length) = port.read(&mut room) else {
            std::thread::sleep(Duration::from_millis(1));
            return;
        };
        let frame = &room[..length];
        // An ARP request for 10.0.0.2 (RFC 826).
        if length < 42
            || frame[12..14] != [8, 6]
            || frame[21] != 1
            || frame[38..42] != [10, 0, 0, 2]
        {
            return;
        }
        let mut reply = frame[6..12].to_vec();
        reply.extend_from_slice(&mac);
        reply.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        reply.extend_from_slice(&mac);
        reply.extend_from_slice(&[10, 0, 0, 2]);
        reply.extend_from_slice(&frame[22..32]);
        std::thread::sleep(Duration::from_millis(400));
        let _ = port.write(&reply);
    };
    let service = Service::start(&a, &[]);
    beside(answer, || {
        // A machine under load may take more than a millisecond for anything: three tries.
        let mut last = String::new();
        let is_right = (0..3).any(|_| {
            inside(&a, "ip", &["neigh", "flush", "dev", "e0"]);
            let report = ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]);
            report.only("replied", 1);
            let probe = &report.probes[0];
            let (resolve, wire) = (number(&probe["resolve_ns"]), number(&probe["wire_rtt_ns"]));
            assert!(resolve > 390_000_000, "{}", report.text);
            assert!(number(&probe["rtt_ns"]) > resolve, "{}", report.text);
            last = report.text;
            resolve < 1_400_000_000 && wire < 1_000_000
        });
        assert!(is_right, "{last}");
    });
    Ok(())
}

/// Ten clients with the same ten targets, and one that floods.
fn concurrent_users_are_independent() -> Outcome {
    let (a, b) = pair();
    for number in 3..=11 {
        b.address("e0", &format!("10.0.0.{number}/24"))?;
    }
    let service = Service::start(&a, &[]);
    let targets: Vec<String> = (2..=11).map(|number| format!("10.0.0.{number}")).collect();
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let client = |arguments: &[String]| -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command.arg("--socket").arg(service.socket()).arg("--json");
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        a.spawn(&mut command).unwrap()
    };
    let flood = client(&words("-q ping -f -W 5 -w 4 10.0.0.2"));
    let mut all = words("-q ping -c 200 -i 0.01 -W 10");
    all.extend(targets);
    let clients: Vec<Running> = (0..10).map(|_| client(&all)).collect();
    let mut flooded = 0;
    for (at, mut running) in clients.into_iter().chain([flood]).enumerate() {
        let mut text = String::new();
        let out = running.child().stdout.take();
        out.unwrap().read_to_string(&mut text)?;
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let total = lines.last().unwrap();
        assert_eq!(total["event"], "total", "{text}");
        for key in ["forged", "stray", "duplicates", "late"] {
            assert_eq!(total[key], 0, "client {at}, {key}: {text}");
        }
        assert_eq!(total["received"], total["sent"], "client {at}: {text}");
        assert!(running.child().wait()?.success());
        if at == 10 {
            flooded = number(&total["sent"]);
            continue;
        }
        assert_eq!(lines.len(), 11, "{text}");
        for summary in &lines[..10] {
            assert_eq!(
                summary["fates"],
                serde_json::json!({ "replied": 200 }),
                "{text}"
            );
        }
    }
    assert!(flooded > 400, "the flood was {flooded} probes");
    Ok(())
}

/// An echo reply, for a raw socket.
fn reply(id: &[u8], sequence: u16, payload: &[u8]) -> Vec<u8> {
    let id = u16::from_be_bytes([id[0], id[1]]);
    let mut packet = traffic::echo_request(id, sequence, payload);
    packet[..4].fill(0);
    let sum = !(netsonde_core::wire::cursor::sum(&packet, 0) as u16);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// b sees the requests and knows all but the cookie.
fn forged_replies_are_ignored() -> Outcome {
    // What the release build stands is more than what an unoptimised one does.
    let pace = if cfg!(debug_assertions) {
        10_000
    } else {
        120_000
    };
    let (a, b) = pair();
    b.address("e0", "10.0.0.3/24")?;
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    let mut port = b.port("e0")?;
    let mut room = [0; 2048];
    let mut request: Vec<u8> = vec![];
    let to: Ipv4Addr = "10.0.0.1".parse()?;
    let mut sent = 0;
    let mut took = Duration::ZERO;
    // At last all of it right, but from another address.
    let is_right = AtomicBool::new(false);
    let mut forge = || {
        while let Ok(length) = port.read(&mut room) {
            if length == 14 + 20 + 64 && room[12..14] == [8, 0] && room[23] == 1 && room[34] == 8 {
                request = room[34..length].to_vec();
            }
        }
        if request.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
            return;
        }
        let newest = u16::from_be_bytes([request[6], request[7]]);
        // True answers need no flood, in which b would lose requests itself.
        let count = if is_right.load(Ordering::Relaxed) {
            4
        } else {
            pace / 50
        };
        let forged = b
            .run(|| {
                traffic::raw_ipv4(to, 1, count, Some(pace), |number, packet| {
                    let mut payload = request[8..].to_vec();
                    // The cookie guessed; or right, and the payload altered; each for the newest
                    // probes, and for some that are to come.
                    match number % 2 {
                        _ if is_right.load(Ordering::Relaxed) => {
                            *packet = reply(&request[4..6], newest, &payload);
                            return;
                        }
                        0 => payload[4..12]
                            .copy_from_slice(&number.wrapping_mul(0x9e37).to_be_bytes()),
                        _ => payload[11] ^= 1 << (number / 2 % 8),
                    }
                    let sequence = newest.wrapping_add((number % 5) as u16).wrapping_sub(2);
                    *packet = reply(&request[4..6], sequence, &payload);
                })
            })
            .unwrap();
        sent += forged.packets;
        took += forged.took;
    };
    // Without true answers, none is believed.
    b.sysctl("net/ipv4/icmp_echo_ignore_all", "1")?;
    let report = beside(&mut forge, || {
        ping(&service, &["-c", "20", "-i", "0.05", "-W", "1", "10.0.0.2"])
    });
    assert_eq!(report.fates(), ["unanswered"; 20], "{}", report.text);
    let forged = number(&report.total["forged"]);
    assert!(forged > 1000, "{forged} were forged of {}", report.text);
    // With them, the figures are those of the true ones.
    b.sysctl("net/ipv4/icmp_echo_ignore_all", "0")?;
    let report = beside(&mut forge, || {
        ping(
            &service,
            &["-c", "100", "-i", "0.02", "-W", "5", "10.0.0.2"],
        )
    });
    assert_eq!(report.fates(), ["replied"; 100], "{}", report.text);
    assert_eq!(
        (report.duplicates, number(&report.summaries[0]["late"])),
        (0, 0),
        "{}",
        report.text
    );
    assert!(number(&report.total["forged"]) > 1000, "{}", report.text);
    is_right.store(true, Ordering::Relaxed);
    b.sysctl("net/ipv4/icmp_echo_ignore_all", "1")?;
    inside(
        &b,
        "ip",
        &[
            "route",
            "replace",
            "10.0.0.1/32",
            "dev",
            "e0",
            "src",
            "10.0.0.3",
        ],
    );
    let report = beside(&mut forge, || {
        ping(&service, &["-c", "10", "-i", "0.05", "-W", "1", "10.0.0.2"])
    });
    // The cookie decides: a host may answer from another of its addresses.
    // A request that follows at once on a busy machine may be overwritten before it is answered.
    let is_answered = |probe: &&Value| probe["fate"] == "replied" && probe["from"] == "10.0.0.3";
    assert!(report.probes.iter().filter(is_answered).count() >= 5);
    assert!(report.duplicates > 0);
    assert_eq!(report.total["forged"], 0);
    println!(
        "forged {:.0} a second, {sent} in all",
        sent as f64 / took.as_secs_f64()
    );
    Ok(())
}

/// Echo requests that a host has received (Icmp: InEchos of /proc/net/snmp).
fn echoes(host: &Host) -> u64 {
    let text = host.proc_net("snmp");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let names = lines.next().unwrap_or_default().split(' ');
    let values = lines.next().unwrap_or_default().split(' ');
    let found = names.zip(values).find(|(name, _)| *name == "InEchos");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

fn spawn(service: &Service, host: &Host, arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command
        .arg("--socket")
        .arg(service.socket())
        .args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    host.spawn(&mut command).unwrap()
}

fn probes_end_with_their_client() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let mut client = spawn(&service, &a, &["-q", "ping", "-i", "0.01", "10.0.0.2"]);
    assert!(wait_until(PATIENCE, || echoes(&b) > 20));
    client.child().kill()?;
    client.child().wait()?;
    let gone = Instant::now();
    let quiet = wait_until(Duration::from_secs(5), || {
        let before = echoes(&b);
        std::thread::sleep(Duration::from_millis(200));
        echoes(&b) == before
    });
    assert!(
        quiet && gone.elapsed() < Duration::from_secs(1),
        "{:?}",
        gone.elapsed()
    );
    service.until("no probe is under way", |status| {
        support::entry(&status["limits"], "name", "probes in flight")["hits"] == 0
            && number(&status["clients"]["connected"]) <= 1
    });
    Ok(())
}

fn interrupt_prints_the_summary() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let mut client = spawn(&service, &a, &["ping", "-i", "0.05", "10.0.0.2"]);
    assert!(wait_until(PATIENCE, || echoes(&b) > 3));
    kill(Pid::from_raw(client.child().id() as i32), Signal::SIGINT)?;
    let mut text = String::new();
    let out = client.child().stdout.take();
    out.unwrap().read_to_string(&mut text)?;
    assert_eq!(client.child().wait()?.code(), Some(0), "{text}");
    let replies = text
        .lines()
        .filter(|line| line.starts_with("64 bytes from"))
        .count();
    assert!(replies >= 3, "{text}");
    let end = format!("{replies} packets transmitted, {replies} received, 0% packet loss");
    assert!(text.contains(&end), "{text}");
    Ok(())
}

fn group_ping_lists_responders() -> Outcome {
    let Link {
        a,
        b,
        c,
        switch: _switch,
    } = link_of_manual()?;
    let service = Service::start(&a, &[]);
    for target in ["192.0.2.7", "192.0.2.8", "fe80::7%eth0", "fe80::8%eth0"] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
    }
    let macs =
        [b.mac("eth0")?, c.mac("eth0")?].map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
    for (arguments, prefix) in [
        (&["224.0.0.1", "-I", "eth0"][..], "192.0.2."),
        (&["-b", "192.0.2.255"][..], "192.0.2."),
        (&["-b", "255.255.255.255", "-I", "eth0"][..], "192.0.2."),
        (&["ff02::1%eth0"][..], "fe80::"),
        (&["ff02::1", "-I", "eth0"][..], "fe80::"),
    ] {
        let report = ping(&service, &[&["-i", "0.1", "-W", "2"], arguments].concat());
        assert_eq!((report.code, report.duplicates), (0, 0), "{}", report.text);
        assert_eq!(report.summaries[0]["sent"], 3);
        let responders = &report.summaries[0]["responders"];
        for (number, mac) in [("7", &macs[0]), ("8", &macs[1])] {
            let one = support::entry(responders, "address", &format!("{prefix}{number}"));
            assert_eq!(&one["mac"], mac.as_str(), "{}", report.text);
            assert_eq!(
                (&one["replies"], &one["loss_percent"]),
                (&3.into(), &0.0.into())
            );
            assert_eq!(one["duplicates"], 0);
            assert!(one["rtt_ns"]["p50"].as_u64() > Some(0));
        }
    }
    // Nobody is in this group.
    let report = ping(
        &service,
        &["-i", "0.1", "-W", "0.3", "-I", "eth0", "239.9.9.9"],
    );
    assert_eq!(report.fates(), ["unanswered"; 3], "{}", report.text);
    assert_eq!(
        (report.code, &report.summaries[0]["responders"]),
        (1, &serde_json::json!([]))
    );
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b: answers for all of 10.64.0.0/18 but one address
/// ```
fn every_target_of_a_range_is_reported() -> Outcome {
    let (a, b) = pair();
    a.route("10.64.0.0/18", "10.0.0.2")?;
    inside(
        &b,
        "ip",
        &["route", "add", "local", "10.64.0.0/18", "dev", "lo"],
    );
    // More exact than what it answers for.
    inside(
        &b,
        "ip",
        &[
            "route",
            "add",
            "blackhole",
            "10.64.7.7/32",
            "table",
            "local",
        ],
    );
    let service = Service::start(&a, &[]);
    let text = String::from_utf8(
        service
            .netsonde(&["ping", "--rate", "10000", "-W", "5", "10.64.0.0/18"])
            .stdout,
    )?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 16_382 + 1, "{}", lines.last().unwrap());
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("16382 targets, 16381 answered; 16382 sent, 16381 received"),
        "{}",
        lines.last().unwrap()
    );
    let lost: Vec<&&str> = lines.iter().filter(|line| line.contains("100%")).collect();
    assert!(
        lost.len() == 1 && lost[0].starts_with("10.64.7.7 "),
        "{lost:?}"
    );
    assert!(lost[0].ends_with("unanswered 1"), "{lost:?}");
    let drops: u64 = service.status()["rings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ring| number(&ring["drops"]))
        .sum();
    assert_eq!(drops, 0);
    Ok(())
}

fn evidence_file_holds_the_wire_packets() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    // Another user's probes are no part of it.
    let mut other = spawn(&service, &a, &["-q", "ping", "-i", "0.01", "10.0.0.2"]);
    let file = service.directory.path().join("e.pcapng");
    let path = file.to_str().unwrap();
    let report = ping(
        &service,
        &[
            "-c",
            "3",
            "-i",
            "0.1",
            "-W",
            "0.5",
            "--evidence",
            path,
            "10.0.0.2",
            "10.0.0.9",
        ],
    );
    other.child().kill()?;
    assert_eq!(report.probes.len(), 6, "{}", report.text);
    let read = service.ask(&["--json", "watch", "--read", path]);
    let lines: Vec<Value> = read
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |word: &str| {
        lines
            .iter()
            .filter(|line| line.to_string().contains(word))
            .count()
    };
    assert_eq!((of("echo request"), of("echo reply")), (3, 3), "{read}");
    assert!(of("who has 10.0.0.9") >= 1, "{read}");
    for (target, fate) in [("10.0.0.2", "replied"), ("10.0.0.9", "unresolved")] {
        for sequence in 1..=3 {
            let comment = format!("probe {sequence} of {target}: {fate}");
            assert_eq!(of(&comment), 1, "{comment}: {read}");
        }
    }
    let output = support::program("tshark")
        .args([
            "-r",
            path,
            "-Y",
            "icmp.type == 8",
            "-T",
            "fields",
            "-e",
            "frame.comment",
        ])
        .output()?;
    let comments = String::from_utf8(output.stdout)?;
    let right = comments
        .lines()
        .filter(|line| line.contains("of 10.0.0.2: replied"))
        .count();
    assert_eq!(
        right,
        3,
        "{comments}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn impossible_requests_are_rejected() -> Outcome {
    let (a, _b) = pair();
    let config = "[ping]\ntargets = 100\nruns_per_uid = 2\n";
    let service = Service::with_config(&a, config, &[]);
    for (arguments, words) in [
        (
            &["10.0.0.0/24"][..],
            "limit is reached (targets of one run: 100)",
        ),
        (&["10.0.0.0/8"][..], "limit is reached"),
        (
            &["-s", "65508", "10.0.0.2"][..],
            "-s: 65508 is more than 65507",
        ),
        (
            &["-I", "nope", "10.0.0.2"][..],
            "unknown interface \"nope\"",
        ),
        (
            &["-I", "fd00::1", "10.0.0.2"][..],
            "is not an address of the targets' family",
        ),
        (&["10.0.0.255"][..], "use -b to ping it"),
        (&["fe80::1"][..], "specify it, for example fe80::1%e0"),
        (
            &["10.999.1.1"][..],
            "10.999.1.1 is not an IPv4 address: 999 is more than 255",
        ),
        (&["-W", "0", "10.0.0.2"][..], "-W: must be more than 0"),
        (&["fe80::1%nope"][..], "unknown interface \"nope\""),
        (&["10.0.0.2/33"][..], "33 is more than 32"),
        (&["-p", "xyz", "10.0.0.2"][..], "hexadecimal"),
        (
            &["-W", "2h", "10.0.0.2"][..],
            "-W: must be at most one hour, not 2h",
        ),
        (
            &["--rate", "10000000", "10.0.0.2"][..],
            "only root may use more probes a second here; you may use 100000 a second",
        ),
        (&["-6", "10.0.0.2"][..], "does not match -4 or -6"),
        (&["@/nowhere"][..], "cannot read /nowhere"),
    ] {
        let output = service.netsonde(&[&["ping"], arguments].concat());
        let printed = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {printed}");
        assert!(
            printed.contains(words) && printed.lines().count() == 1,
            "{arguments:?}: {printed}"
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let _runs: Vec<Running> = (0..2)
        .map(|_| {
            let mut running = spawn(&service, &a, &["ping", "10.0.0.2"]);
            // Its first line comes when the run has begun.
            let mut first = [0; 4];
            let out = running.child().stdout.as_mut().unwrap();
            out.read_exact(&mut first).unwrap();
            running
        })
        .collect();
    let output = service.netsonde(&["ping", "-c", "1", "10.0.0.2"]);
    let printed = String::from_utf8(output.stderr)?;
    assert!(printed.contains("runs of one user: 2"), "{printed}");
    let limits = service.status()["limits"].clone();
    let hits = number(&support::entry(&limits, "name", "runs of one user")["hits"]);
    assert!(hits >= 1, "{limits}");
    Ok(())
}
