//! CPU per probe of `netsonde ping`, service and client together, beside fping's on the same network
//! in the same run; its round trips beside those of ping; and what a busy machine does to them.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b: answers for 10.64.0.0/15
//!   c  e0 10.5.0.1 ===wire=== 10.5.0.2 e0  d
//! ```
//! `cargo bench --bench ping [-- ROUNDS]`
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netsonde::lab::wire::{Passage, Wire};
use netsonde::lab::{self, Host, Running, wait_until};
use support::{children, children_cpu_ns, cpu_ns, has, median};

const OUT: &str = "/run/bench/out";
const SOCKET: &str = "/run/bench/s";
/// Targets of the comparison, and the prefix that has them.
const TARGETS: f64 = 32_766.0;
const PREFIX: &str = "10.64.0.0/17";

/// Runs a command in a host to its end; what it printed goes to a file, as an administrator's would.
/// Returns its own CPU time, how long it took, and the file's last line.
fn run(host: &Host, words: &str) -> (u64, f64, String) {
    let file = fs::File::create(OUT).unwrap();
    let mut all = words.split_whitespace();
    let mut command = Command::new(all.next().unwrap());
    command.args(all).stdin(Stdio::null());
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let (before, start) = (children_cpu_ns(), Instant::now());
    host.run(|| command.status()).unwrap();
    let took = start.elapsed().as_secs_f64();
    let text = fs::read_to_string(OUT).unwrap();
    let last = text.lines().last().unwrap_or_default().to_owned();
    (children_cpu_ns() - before, took, last)
}

fn netsonde(arguments: &str) -> String {
    format!(
        "{} --socket {SOCKET} {arguments}",
        env!("CARGO_BIN_EXE_netsonde")
    )
}

fn service_cpu_ns(service: &mut Running) -> u64 {
    let pid = service.child().id();
    cpu_ns(pid) + children(pid).into_iter().map(cpu_ns).sum::<u64>()
}

fn start(host: &Host, neighbour: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonded"));
    command.args(["--allow-root", "--socket", SOCKET, "--state", "/run/bench"]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let service = host.spawn(&mut command).unwrap();
    let ready = || {
        let words = netsonde(&format!("ping -c 1 {neighbour}"));
        run(host, &words);
        let text = fs::read_to_string(OUT).unwrap();
        text.contains("1 received")
    };
    assert!(
        wait_until(Duration::from_secs(10), ready),
        "netsonded did not start"
    );
    service
}

/// The type and the sequence number of an echo message in a frame.
fn echo(frame: &[u8]) -> Option<(u8, u64)> {
    let is_icmp = frame.get(12..14) == Some(&[8, 0]) && frame[23] == 1;
    let message = frame.get(34..42).filter(|_| is_icmp)?;
    matches!(message[0], 0 | 8).then(|| {
        (
            message[0],
            u16::from_be_bytes([message[6], message[7]]).into(),
        )
    })
}

/// Round trips over a wire that delays by 10 ms, without what the wire took by its own word; and how
/// long replies waited for the service. The 99th percentiles, in nanoseconds.
fn over_the_wire(host: &Host, wire: &Wire) -> (u64, u64) {
    wire.a_to_b(|way| way.passages.clear());
    wire.b_to_a(|way| way.passages.clear());
    run(
        host,
        &netsonde("--json ping -c 1000 -i 0.005 -W 5 10.5.0.2"),
    );
    let took: Vec<Passage> = [
        wire.a_to_b(|way| std::mem::take(&mut way.passages)),
        wire.b_to_a(|way| std::mem::take(&mut way.passages)),
    ]
    .concat();
    let mut on_the_way = HashMap::<u64, u64>::new();
    for passage in &took {
        if let Some((_, sequence)) = echo(&passage.frame) {
            *on_the_way.entry(sequence).or_default() += passage.left_ns - passage.came_ns;
        }
    }
    let text = fs::read_to_string(OUT).unwrap();
    let (mut beside, mut wakes) = (vec![], vec![]);
    for line in text.lines() {
        let probe: serde_json::Value = serde_json::from_str(line).unwrap();
        if probe["event"] != "probe" {
            continue;
        }
        assert_eq!(probe["fate"], "replied", "{line}");
        let wire_rtt = probe["wire_rtt_ns"].as_u64().unwrap();
        let of_wire = on_the_way[&probe["seq"].as_u64().unwrap()];
        assert!(of_wire >= 10_000_000, "{line}");
        beside.push(wire_rtt.saturating_sub(of_wire));
        wakes.push(probe["wake_ns"].as_u64().unwrap());
    }
    let p99 = |values: &mut Vec<u64>| {
        values.sort_unstable();
        values[values.len() * 99 / 100]
    };
    assert!(beside.len() == 1000, "{} probes", beside.len());
    (p99(&mut beside), p99(&mut wakes))
}

/// What two processes that keep both cores busy change.
fn on_a_busy_machine() {
    let (c, d) = (Host::new("c").unwrap(), Host::new("d").unwrap());
    let wire = Wire::new(&c, "e0", &d, "e0").unwrap();
    c.address("e0", "10.5.0.1/24").unwrap();
    d.address("e0", "10.5.0.2/24").unwrap();
    let _service = start(&c, "10.5.0.2");
    wire.a_to_b(|way| way.delay = Duration::from_millis(10));
    for way in [true, false] {
        let record = |way: &mut netsonde::lab::wire::Impairment| {
            way.record = Some(Box::new(|frame| echo(frame).is_some()));
        };
        if way {
            wire.a_to_b(record)
        } else {
            wire.b_to_a(record)
        }
    }
    println!("\n1000 probes, 5 ms apart, over a wire of 10 ms: 99th percentiles in ms");
    let show = |name: &str, (beside, wake): (u64, u64)| {
        println!(
            "{name:15} wire round trip less the wire's own {:.3}, wake {:.3}",
            beside as f64 / 1e6,
            wake as f64 / 1e6
        );
    };
    let idle = over_the_wire(&c, &wire);
    show("idle", idle);
    let spin = || {
        d.spawn(Command::new("sh").args(["-c", "while :; do :; done"]))
            .unwrap()
    };
    let hogs = [spin(), spin()];
    let busy = over_the_wire(&c, &wire);
    drop(hogs);
    show("two hogs", busy);
    println!(
        "{:15} {:+.3} ms in the round trip, {:+.3} ms in wake",
        "that makes",
        (busy.0 as f64 - idle.0 as f64) / 1e6,
        (busy.1 as f64 - idle.1 as f64) / 1e6
    );
}

fn main() {
    let rounds = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(5);
    if let Err(error) = lab::enter() {
        println!("SKIPPED: {error}");
        return;
    }
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    lab::veth(&a, "e0", &b, "e0").unwrap();
    a.address("e0", "10.0.0.1/24").unwrap();
    b.address("e0", "10.0.0.2/24").unwrap();
    a.route("10.64.0.0/15", "10.0.0.2").unwrap();
    let ip = ["route", "add", "local", "10.64.0.0/15", "dev", "lo"];
    let made = b.run(|| Command::new("ip").args(ip).status());
    assert!(
        made.is_ok_and(|status| status.success()),
        "this needs ip, of iproute2"
    );
    // The answers are what is measured against, not the kernel's limit on them.
    b.sysctl("net/ipv4/icmp_ratelimit", "0").unwrap();
    b.sysctl("net/ipv4/icmp_msgs_per_sec", "1000000")
        .unwrap_or(());
    fs::create_dir_all("/run/bench").unwrap();

    let mut service = start(&a, "10.0.0.2");
    // The first prints what the table prints: counts, loss and times of each target. The second only
    // which targets are alive.
    let peers = ["fping -q -c 1", "fping"];
    let with_fping = has("fping");
    if !with_fping {
        println!("SKIPPED fping: not installed");
    }
    println!("{TARGETS} targets behind one veth, one probe each; median of {rounds} rounds");
    let (mut ours, mut client, mut speed) = (vec![], vec![], vec![]);
    let mut theirs = [const { (vec![], vec![], vec![]) }; 2];
    let mut said = String::new();
    for _ in 0..rounds {
        let before = service_cpu_ns(&mut service);
        let (cpu, took, last) = run(&a, &netsonde(&format!("ping --rate 100000 {PREFIX}")));
        let of_service = service_cpu_ns(&mut service) - before;
        let mine = (of_service + cpu) as f64 / TARGETS / 1000.0;
        ours.push(mine);
        client.push(cpu as f64 / TARGETS / 1000.0);
        speed.push(TARGETS / took);
        said = last;
        for (peer, (cost, speed, ratio)) in peers.iter().zip(&mut theirs) {
            if with_fping {
                let (cpu, took, _) = run(&a, &format!("{peer} -r 0 -t 2000 -i 0.01 -g {PREFIX}"));
                let cpu = cpu as f64 / TARGETS / 1000.0;
                cost.push(cpu);
                speed.push(TARGETS / took);
                // Of the same round, since the speed of machines drifts.
                ratio.push(mine / cpu);
            }
        }
    }
    println!(
        "{:15} {:6.2} us CPU a probe, {:.2} of it the client's, {:.0} probes a second ({ours:.1?})",
        "netsonde ping",
        median(&mut ours),
        median(&mut client),
        median(&mut speed)
    );
    println!("{:15} {said}", "");
    for (peer, (mut cost, mut speed, mut ratio)) in peers.iter().zip(theirs) {
        if with_fping {
            println!(
                "{peer:15} {:6.2} us CPU a probe, {:.0} probes a second; netsonde takes {:.2} of that",
                median(&mut cost),
                median(&mut speed),
                median(&mut ratio)
            );
        }
    }

    let (_, _, many) = run(&a, &netsonde("ping --rate 100000 10.64.0.0/15"));
    println!("\n10.64.0.0/15: {many}");

    println!("\nround trips of 500 probes, 2 ms apart: min/avg/max/mdev");
    let (_, _, _) = run(&a, &netsonde("ping -q -c 500 -i 0.002 10.0.0.2"));
    let text = fs::read_to_string(OUT).unwrap();
    for line in text.lines().filter(|line| line.contains("min/avg")) {
        println!("netsonde  {line}");
    }
    if has("ping") {
        println!(
            "ping      {}",
            run(&a, "ping -q -c 500 -i 0.002 10.0.0.2").2
        );
    } else {
        println!("SKIPPED ping: not installed");
    }
    drop(service);
    on_a_busy_machine();
}
