//! CPU per packet of the whole path: capture, decode, record, account. Beside it, in the same run and
//! on the same traffic, what tcpdump and dumpcap take for theirs, where they are installed.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b: netsonded, or a peer
//! ```
//! `cargo bench --bench path [-- PACKETS RATE FLOWS] [NETSONDED...]`; 60-byte frames, a million at 500,000 a second, in
//! one flow. The service stores few of them, since it thins; a second one stores all. Further builds of the service, by
//! their paths, run in the same rounds.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::time::Duration;

use netsonde::lab::{self, Host, traffic, wait_until};
use support::{children, cpu_ns, has, median};

const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);
const ROUNDS: usize = 5;

struct Subject {
    name: String,
    command: Vec<String>,
    /// File that shows that it is ready; without one, its packet socket does.
    socket: Option<String>,
}

impl Subject {
    fn new(name: &str, command: &str) -> Subject {
        let command = command.split_whitespace().map(str::to_owned).collect();
        let (name, socket) = (name.to_owned(), None);
        Subject {
            name,
            command,
            socket,
        }
    }

    /// A service with a socket of its own.
    fn service(name: &str, program: &str, number: usize, options: &str) -> Subject {
        let socket = format!("/run/bench/s{number}");
        let command =
            format!("{program} --allow-root --socket {socket} --state /run/bench {options}");
        Subject {
            socket: Some(socket),
            ..Subject::new(name, &command)
        }
    }
}

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let (packets, rate, flows) = (
        numbers.first().copied().unwrap_or(1_000_000),
        numbers.get(1).copied().unwrap_or(500_000),
        numbers.get(2).copied().unwrap_or(1).max(1),
    );
    if let Err(error) = lab::enter() {
        println!("SKIPPED: {error}");
        return;
    }
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    lab::veth(&a, "e0", &b, "e0").unwrap();
    a.address("e0", "10.0.0.1/24").unwrap();
    b.address("e0", "10.0.0.2/24").unwrap();
    a.run(|| traffic::ping("10.0.0.2".parse().unwrap(), Duration::from_secs(5)))
        .unwrap();
    let mac = b.mac("e0").unwrap();
    // A socket that takes the packets, so that no ICMP errors answer them.
    let _sink = b
        .run(|| std::net::UdpSocket::bind("10.0.0.2:5000"))
        .unwrap();
    let folder = std::path::Path::new("/run/bench");
    fs::create_dir_all(folder).unwrap();
    let whole = "[recorder.retention]\nbulk = 0\n";
    fs::write("/run/bench/whole.toml", whole).unwrap();
    let own = env!("CARGO_BIN_EXE_netsonded");
    let mut subjects = vec![
        Subject::service("netsonded", own, 0, ""),
        Subject::service(
            "netsonded, without thinning",
            own,
            1,
            "--config /run/bench/whole.toml",
        ),
        Subject::new(
            "tcpdump -w /dev/null",
            "tcpdump -n -i e0 -Z root -w /dev/null",
        ),
        Subject::new(
            "tcpdump -C 100 -W 2 -w (memory)",
            "tcpdump -n -i e0 -Z root -C 100 -W 2 -w /run/bench/t.pcap",
        ),
        Subject::new(
            "dumpcap -b (memory)",
            "dumpcap -q -i e0 -b filesize:100000 -b files:2 -w /run/bench/d.pcapng",
        ),
    ];
    let others = std::env::args().skip(1).filter(|word| word.contains('/'));
    for (word, number) in others.zip(2..) {
        subjects.push(Subject::service(&word, &word, number, ""));
    }
    println!(
        "{packets} packets, aimed at {rate} a second; median of {ROUNDS} rounds, nothing else changed"
    );
    let mut results: Vec<(&str, Vec<f64>, f64)> = subjects
        .iter()
        .map(|s| (s.name.as_str(), vec![], 0.0))
        .collect();
    for _ in 0..ROUNDS {
        for (subject, result) in subjects.iter().zip(&mut results) {
            if !has(&subject.command[0]) {
                println!("SKIPPED {}: not installed", subject.name);
                continue;
            }
            let mut command = Command::new(&subject.command[0]);
            command
                .args(&subject.command[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut running = b.spawn(&mut command).unwrap();
            let pid = running.child().id();
            let ready = wait_until(Duration::from_secs(10), || match &subject.socket {
                Some(path) => fs::metadata(path).is_ok(),
                None => b.proc_net("packet").lines().count() > 1,
            });
            assert!(ready, "{} did not start", subject.name);
            std::thread::sleep(Duration::from_millis(300));
            let processes: Vec<u32> = std::iter::once(pid).chain(children(pid)).collect();
            let total = || processes.iter().map(|pid| cpu_ns(*pid)).sum::<u64>();
            let before = total();
            let sent = a.run(|| send(mac, packets, rate, flows)).unwrap();
            // What is still in a ring is taken out before it is over.
            let mut last = total();
            wait_until(Duration::from_secs(10), || {
                std::thread::sleep(Duration::from_millis(200));
                let now = total();
                let quiet = now - last < 2_000_000;
                last = now;
                quiet
            });
            result.1.push((total() - before) as f64 / packets as f64);
            result.2 = sent.rate();
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::Signal::SIGTERM,
            );
            wait_until(Duration::from_secs(5), || {
                running
                    .child()
                    .try_wait()
                    .is_ok_and(|ended| ended.is_some())
            });
        }
    }
    for (name, mut rounds, rate) in results {
        if !rounds.is_empty() {
            let median = median(&mut rounds);
            println!("{name:34} {median:8.1} ns CPU a packet at {rate:.0} a second ({rounds:.0?})");
        }
    }
}

/// Sends 60-byte frames of as many flows, in an order that no cache follows.
fn send(mac: [u8; 6], packets: u64, rate: u64, flows: u64) -> std::io::Result<traffic::Sent> {
    if flows == 1 {
        return traffic::numbered_udp(TO, packets, 18, Some(rate));
    }
    let mut frame = mac.to_vec();
    frame.extend_from_slice(&[
        2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0,
    ]);
    frame.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0x13, 0x88, 0, 26, 0, 0]);
    frame.resize(60, 0);
    traffic::frames("e0", packets, Some(rate), |number, packet| {
        if packet.is_empty() {
            packet.extend_from_slice(&frame);
        }
        let flow = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % flows;
        packet[26..30].copy_from_slice(&(0x0b00_0000 + flow as u32).to_be_bytes());
    })
}
