//! CPU time of `netsonde watch --read` for a file of mixed packets, beside that of `tcpdump -nn -r` for the same file
//! in the same run.
//!
//! `cargo bench --bench read [-- PACKETS]`; a million packets: four fifths TCP segments and UDP datagrams of a
//! thousand flows, the rest the frames of `tests/field`, one after the other.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use netsonde::lab::{messages, traffic};
use support::{children_cpu_ns, has, median};

const ROUNDS: usize = 5;
/// Ethernet captures of `tests/field`.
const FIELD: [&str; 6] = [
    "applications-tcp",
    "applications-udp",
    "link-layer",
    "mpls",
    "pppoe",
    "tunnels",
];
/// A packet of this many is one of `tests/field`.
const FIELD_SHARE: u64 = 5;

/// The frames of a pcap file of this machine's byte order.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.get(24..).unwrap();
    let mut frames = vec![];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

/// A packet of one of a thousand flows.
fn common(number: u64) -> Vec<u8> {
    let flow = number % 1000;
    let (from, to) = (
        Ipv4Addr::new(10, 0, (flow / 250) as u8, (flow % 250) as u8 + 1),
        Ipv4Addr::new(10, 1, 0, 1),
    );
    let (protocol, body) = match number % 3 {
        0 => (17, messages::udp(from, to, &[0xa5; 200], true)),
        _ => {
            let (port, sequence) = (40_000 + flow as u16, number as u32);
            (6, traffic::syn(from, to, port, 443, sequence))
        }
    };
    let packet = messages::ipv4((from, to), (protocol, 64), (0, 0), &[], &body);
    messages::ethernet([2, 0, 0, 0, 0, 1], 0x0800, &packet)
}

fn write(path: &Path, packets: u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field");
    let field: Vec<Vec<u8>> = (FIELD.iter())
        .flat_map(|name| frames(&folder.join(format!("{name}.pcap"))))
        .collect();
    let mut file = BufWriter::new(File::create(path).unwrap());
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    for number in 0..packets {
        let frame = match number % FIELD_SHARE {
            0 => field[(number / FIELD_SHARE) as usize % field.len()].clone(),
            _ => common(number),
        };
        let (second, micros) = (1_700_000_000 + number / 100_000, number % 100_000 * 10);
        let length = frame.len() as u64;
        for word in [second, micros, length, length] {
            file.write_all(&(word as u32).to_le_bytes()).unwrap();
        }
        file.write_all(&frame).unwrap();
    }
    file.flush().unwrap();
}

fn main() {
    let mut numbers = std::env::args().filter_map(|word| word.parse().ok());
    let packets: u64 = numbers.next().unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("mixed.pcap"), folder.path().join("out"));
    write(&path, packets);
    let subjects: [(&str, &str, &[&str]); 2] = [
        (
            "netsonde watch --read",
            env!("CARGO_BIN_EXE_netsonde"),
            &["watch", "--read"],
        ),
        ("tcpdump -nn -r", "tcpdump", &["-nn", "-r"]),
    ];
    let mut times = [const { Vec::new() }; 2];
    // In turn, so that what else the machine does hits both.
    for _ in 0..ROUNDS {
        for (times, (_, program, arguments)) in times.iter_mut().zip(subjects) {
            if !has(program) {
                continue;
            }
            let before = children_cpu_ns();
            let mut command = Command::new(program);
            command.args(arguments).arg(&path);
            command.stdin(Stdio::null()).stderr(Stdio::null());
            let status = command.stdout(File::create(&out).unwrap()).status();
            assert!(status.unwrap().success(), "{program}");
            times.push((children_cpu_ns() - before) as f64 / packets as f64);
            let lines = fs::read(&out).unwrap();
            let lines = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert!(lines >= packets, "{program} printed {lines} lines");
        }
    }
    println!("{packets} packets; median of {ROUNDS} rounds, in turn");
    let mut medians = vec![];
    for (times, (name, ..)) in times.iter_mut().zip(subjects) {
        match times.is_empty() {
            true => println!("{name:24} SKIPPED: not installed"),
            false => {
                medians.push(median(times));
                let median = medians.last().unwrap();
                println!("{name:24} {median:7.1} ns CPU a packet ({times:.0?})");
            }
        }
    }
    if let [ours, theirs] = medians[..] {
        println!("{:.2} of tcpdump", ours / theirs);
    }
}
