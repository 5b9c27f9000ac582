//! What a hostile sender costs: CPU per packet of group management and of streams when every packet
//! names a group that nobody has seen before, beside that of the same number of packets of known ones;
//! and whether the doctor still tells the truth about a real group meanwhile.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b
//! ```
//! `cargo bench --bench multicast [-- ROUNDS]`
#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use netsonde::lab::messages::{self, PORT, mac_of, stream_frame};
use netsonde::lab::{self, Host, Running, traffic, wait_until};
use support::{children, cpu_ns, median};

const SOCKET: &str = "/run/bench/s";
/// Packets of a measurement, and how many a second.
const PACKETS: u64 = 1_000_000;
const RATE: u64 = 100_000;
/// Memberships or streams that a lively link has.
const KNOWN: u64 = 200;
const GROUP: &str = "239.1.1.1";

fn ask(host: &Host, words: &[&str]) -> (i32, serde_json::Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.args(["--socket", SOCKET, "--json"]).args(words);
    let output = host.run(|| command.stdin(Stdio::null()).output()).unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), told)
}

fn start(host: &Host) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonded"));
    command.args(["--allow-root", "--socket", SOCKET, "--state", "/run/bench"]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let service = host.spawn(&mut command).unwrap();
    let is_ready = || ask(host, &["status"]).0 == 0;
    assert!(wait_until(Duration::from_secs(10), is_ready));
    service
}

/// Makes the frame of a number.
type Make = fn(u64) -> Vec<u8>;

/// A version 2 report of host `number` for group `number`.
fn report(number: u64) -> Vec<u8> {
    let [_, x, y, z] = (number as u32).to_be_bytes();
    messages::report(&format!("10.77.{y}.{z}"), &format!("238.{x}.{y}.{z}"))
}

/// A packet of stream `number`.
fn stream(number: u64) -> Vec<u8> {
    let [_, x, y, z] = (number as u32).to_be_bytes();
    stream_frame(
        [1, 0, 0x5e, 1, 1, 2],
        "10.0.0.2",
        &format!("238.{x}.{y}.{z}"),
        number,
        true,
    )
}

/// CPU of the engine for each of so many packets, in nanoseconds.
fn cost(a: &Host, b: &Host, service: &mut Running, make: Make, different: u64) -> f64 {
    let engine = children(service.child().id())[0];
    let processed = || {
        let (_, status) = ask(a, &["status"]);
        let rings = status["rings"].as_array().unwrap().clone();
        rings
            .iter()
            .map(|ring| ring["processed"].as_u64().unwrap())
            .sum::<u64>()
    };
    // Made before: what it costs to write them is not what is measured.
    let frames: Vec<Vec<u8>> = (0..different).map(make).collect();
    let (cpu, count) = (cpu_ns(engine), processed());
    b.run(|| {
        traffic::frames("e0", PACKETS, Some(RATE), |number, frame| {
            frame.clone_from(&frames[(number % different) as usize]);
        })
    })
    .unwrap();
    let mut last = 0;
    wait_until(Duration::from_secs(10), || {
        let now = processed();
        std::mem::replace(&mut last, now) == now
    });
    (cpu_ns(engine) - cpu) as f64 / (processed() - count) as f64
}

/// A real group, while the flood goes on: what the doctor says of it, and when it has been left.
fn doctor(a: &Host, b: &Host) -> (String, String) {
    let receiver = a.run(|| std::net::UdpSocket::bind((GROUP, PORT))).unwrap();
    let group = GROUP.parse().unwrap();
    receiver
        .join_multicast_v4(&group, &"10.0.0.1".parse().unwrap())
        .unwrap();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            b.run(|| {
                traffic::frames("e0", 600_000, Some(RATE), |number, frame| {
                    *frame = match number % 20 {
                        0 => stream_frame(mac_of(GROUP), "10.0.0.2", GROUP, number, true),
                        _ => report(number),
                    };
                })
            })
        });
        // An application that reads what comes.
        let reader = receiver.try_clone().unwrap();
        reader
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        scope.spawn(move || while reader.recv(&mut [0; 2048]).is_ok() {});
        let verdict = || {
            let told = ask(
                a,
                &["mcast", "doctor", "239.1.1.1:5000", "--duration", "1s"],
            )
            .1;
            let first = told["findings"][0]["id"]
                .as_str()
                .unwrap_or("no finding")
                .to_owned();
            format!("{} ({first})", told["verdict"].as_str().unwrap_or("?"))
        };
        let healthy = verdict();
        receiver
            .leave_multicast_v4(&group, &"10.0.0.1".parse().unwrap())
            .unwrap();
        let elsewhere = verdict();
        flood.join().unwrap().unwrap();
        (healthy, elsewhere)
    })
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse().ok()).next();
    let rounds: usize = rounds.unwrap_or(3);
    lab::enter().unwrap();
    std::fs::create_dir_all("/run/bench").unwrap();
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    lab::veth(&a, "e0", &b, "e0").unwrap();
    a.address("e0", "10.0.0.1/24").unwrap();
    b.address("e0", "10.0.0.2/24").unwrap();
    a.route("0.0.0.0/0", "10.0.0.2").unwrap();
    // None: only what the doctor says.
    let kinds = if rounds == 0 { 0 } else { 2 };
    for (name, make) in [("reports", report as Make), ("streams", stream)]
        .into_iter()
        .take(kinds)
    {
        let (mut known, mut hostile) = (vec![], vec![]);
        for _ in 0..rounds {
            // Each with a service of its own, whose tables are empty.
            let mut service = start(&a);
            known.push(cost(&a, &b, &mut service, make, KNOWN));
            drop(service);
            let mut service = start(&a);
            hostile.push(cost(&a, &b, &mut service, make, PACKETS));
        }
        let (known, hostile) = (median(&mut known), median(&mut hostile));
        println!(
            "{name}: {known:.0} ns a packet of {KNOWN} known ones, {hostile:.0} ns of {PACKETS} that nobody has seen: {:.2} times",
            hostile / known
        );
    }
    let _service = start(&a);
    let (healthy, left) = doctor(&a, &b);
    println!(
        "in a flood of reports, 100,000 a second, the doctor says of a group that arrives: {healthy}"
    );
    println!("and when it is left: {left}");
}
