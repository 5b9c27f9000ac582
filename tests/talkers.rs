//! `netsonde talkers` on real packets: the largest flows, their sums and their processes.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b
//! ```
//!
//! The judge is the number of packets that the test sent in each flow.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::net::UdpSocket;
use std::process::ExitCode;

use netsonde::lab::traffic;
use serde_json::Value;
use support::{Service, Test, entry, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        (
            "flows_show_their_processes",
            flows_show_their_processes as Test,
        ),
        (
            "largest_of_a_million_flows_are_found",
            largest_of_a_million_flows_are_found,
        ),
    ])
}

fn talkers(service: &Service, arguments: &[&str]) -> Value {
    let mut all = vec!["--json", "talkers"];
    all.extend_from_slice(arguments);
    serde_json::from_str(&service.ask(&all)).unwrap()
}

fn recorded(service: &Service, packets: u64) {
    service.until("all taken in", |status| {
        number(&entry(&status["recorder"], "store", "bulk")["recorded"]) >= packets
    });
}

fn flows_show_their_processes() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let receiver = b.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    let large = a.run(|| UdpSocket::bind("10.0.0.1:4001"))?;
    let small = a.run(|| UdpSocket::bind("10.0.0.1:4002"))?;
    for _ in 0..100 {
        large.send_to(&[0; 1000], "10.0.0.2:5000")?;
        for _ in 0..3 {
            small.send_to(&[0; 10], "10.0.0.2:5000")?;
        }
    }
    recorded(&service, 400);
    let own = std::process::id();
    let by_bytes = b.run(|| talkers(&service, &["--window", "1m", "-n", "2"]));
    let list = by_bytes["talkers"].as_array().unwrap();
    // Ethernet, IPv4 and UDP headers are 42 bytes.
    let first = &list[0];
    assert_eq!(first["source"], "10.0.0.1");
    assert_eq!(first["source_port"], 4001);
    assert_eq!(first["destination_port"], 5000);
    assert_eq!(
        (first["bytes"].as_u64(), first["packets"].as_u64()),
        (Some(104_200), Some(100))
    );
    assert_eq!(
        (&first["direction"], &first["protocol"]),
        (&"in".into(), &"udp".into())
    );
    assert_eq!(first["bytes_error"], 0);
    // The socket is this process's, in the namespace that the client is asked in.
    if nix::unistd::geteuid().is_root() {
        assert_eq!(number(&first["pid"]), u64::from(own), "{first}");
    }
    assert_eq!(list[1]["source_port"], 4002);
    assert_eq!(list[1]["packets"], 300);
    let by_packets = talkers(&service, &["--window", "1m", "--by", "packets", "-n", "1"]);
    assert_eq!(by_packets["talkers"][0]["source_port"], 4002);
    let total = number(&by_bytes["bytes"]);
    assert!(total >= 104_200 + 300 * 52, "{by_bytes:#}");
    // For people, too.
    let text = b.run(|| service.ask(&["talkers", "--window", "1m"]));
    assert!(text.contains("10.0.0.1:4001"), "{text}");
    println!("{text}");
    drop(receiver);
    for (wrong, why) in [
        (
            &["--window", "6m"][..],
            "--window: must be 1s to 5m, not 6m",
        ),
        (&["-n", "0"], "-n: must be 1 to 1000, not 0"),
        (&["-I", "nowhere"], "nowhere"),
    ] {
        let mut all = vec!["talkers"];
        all.extend_from_slice(wrong);
        let output = service.netsonde(&all);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(why), "{wrong:?}: {printed}");
    }
    Ok(())
}

/// Zipf's law over so many flows: the n-th largest has an n-th of the largest.
const FLOWS: u64 = if cfg!(debug_assertions) {
    50_000
} else {
    1_000_000
};

fn largest_of_a_million_flows_are_found() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let packets = 3 * FLOWS;
    let mut exact: HashMap<u64, u64> = HashMap::new();
    let mut state = 1u64;
    let mac = b.mac("e0")?;
    let memory = || -> u64 {
        let pid = service.engine();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap()
    };
    let before = memory();
    let sent = a.run(|| {
        traffic::frames("e0", packets, Some(150_000), |number, frame| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
            let mut flow = ((FLOWS as f64).powf(uniform) as u64).min(FLOWS - 1);
            if number % 3 == 0 {
                // And once each of them: 7919 is a prime that divides neither number of flows.
                flow = number / 3 * 7919 % FLOWS;
            }
            *exact.entry(flow).or_default() += 1;
            frame.clear();
            frame.extend_from_slice(&mac);
            frame.extend_from_slice(&[
                2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0,
            ]);
            // The flow is in the source address.
            let [_, _, _, _, _, b1, b2, b3] = flow.to_be_bytes();
            frame.extend_from_slice(&[11, b1, b2, b3, 10, 0, 0, 2]);
            frame.extend_from_slice(&[0x9c, 0x40, 0x13, 0x88, 0, 26, 0, 0]);
            frame.resize(60, 0);
        })
    })?;
    let status = service.until("all taken in", |status| {
        let drops: u64 = status["rings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ring| number(&ring["drops"]))
            .sum();
        number(&entry(&status["recorder"], "store", "bulk")["recorded"]) + drops >= packets
    });
    let drops = number(&entry(&status["rings"], "name", "bulk")["drops"]);
    assert_eq!(drops, 0, "a count of what was dropped could not be exact");
    let report = talkers(
        &service,
        &["--window", "5m", "-n", "100", "--by", "packets"],
    );
    let mut order: Vec<(u64, u64)> = exact.into_iter().collect();
    order.sort_by_key(|(flow, count)| (std::cmp::Reverse(*count), *flow));
    let counts: HashMap<u64, u64> = order.iter().copied().collect();
    let mut largest_error = 0;
    let list = report["talkers"].as_array().unwrap();
    assert_eq!(list.len(), 100);
    // Flows with as many packets as the hundredth are as good.
    let least = order[99].1;
    for talker in list {
        let source: std::net::Ipv4Addr = talker["source"].as_str().unwrap().parse()?;
        let [_, b1, b2, b3] = source.octets();
        let flow = u64::from_be_bytes([0, 0, 0, 0, 0, b1, b2, b3]);
        let count = counts[&flow];
        let (certain, error) = (number(&talker["packets"]), number(&talker["packets_error"]));
        assert!(
            (certain..=certain + error).contains(&count),
            "{talker}: {count}"
        );
        assert!(count >= least, "{talker}: {count} of at least {least}");
        largest_error = largest_error.max(error);
    }
    println!(
        "{packets} packets of {} flows at {:.0} a second: the top 100 are right, {} to {least} packets, off by at most {largest_error}; {} KiB more",
        counts.len(),
        sent.rate(),
        order[0].1,
        memory().saturating_sub(before),
    );
    Ok(())
}
