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
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::Duration;

use netsonde::lab::{BridgeOptions, Host, bridge, bridge_port, traffic, veth, wait_until};
use serde_json::Value;
use support::{PATIENCE, Service, Test, entry, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        (
            "flows_show_their_processes",
            flows_show_their_processes as Test,
        ),
        ("flows_can_be_watched", flows_can_be_watched),
        ("forwarded_packets_count_once", forwarded_packets_count_once),
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
        number(&entry(&status["recorder"], "store", "bulk")["seen"]) >= packets
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

/// Containers behind a bridge of their host:
/// ```text
///   c  e0 10.1.0.1 ---- v1 +
///                      ... + docker0 10.1.0.254  h  e0 10.0.0.1 ---- 10.0.0.2 e0  s
///  c12 e0          --- v12 +
/// ```
fn forwarded_packets_count_once() -> Outcome {
    let [h, c, s, others] = ["h", "c", "s", "others"].map(|name| Host::new(name).unwrap());
    veth(&h, "e0", &s, "e0")?;
    bridge(&h, "docker0", BridgeOptions::default())?;
    veth(&h, "v1", &c, "e0")?;
    bridge_port(&h, "docker0", "v1")?;
    for number in 2..=12 {
        let port = format!("v{number}");
        veth(&h, &port, &others, &port)?;
        bridge_port(&h, "docker0", &port)?;
        others.up(&port)?;
    }
    for (host, interface, address) in [
        (&h, "e0", "10.0.0.1/24"),
        (&s, "e0", "10.0.0.2/24"),
        (&h, "docker0", "10.1.0.254/24"),
        (&c, "e0", "10.1.0.1/24"),
    ] {
        host.address(interface, address)?;
    }
    h.sysctl("net/ipv4/ip_forward", "1")?;
    c.route("0.0.0.0/0", "10.1.0.254")?;
    s.route("10.1.0.0/24", "10.0.0.1")?;
    let service = Service::start(&h, &[]);
    let server = s.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    // A program of the host itself, which is no end of what the host only forwards.
    let _program = h.run(|| UdpSocket::bind("0.0.0.0:5000"))?;
    let client = c.run(|| UdpSocket::bind("10.1.0.1:4000"))?;
    let to_server = Ipv4Addr::new(10, 0, 0, 2);
    let answers = || c.run(|| traffic::ping(to_server.into(), Duration::from_millis(200)));
    assert!(wait_until(PATIENCE, || answers().unwrap().is_some()));
    let mut room = [0; 2000];
    for _ in 0..100 {
        client.send_to(&[0; 1000], "10.0.0.2:5000")?;
        let (_, from) = server.recv_from(&mut room)?;
        server.send_to(&[0; 500], from)?;
        client.recv_from(&mut room)?;
    }
    recorded(&service, 600);
    let flow = |report: &Value, port: u64| -> Vec<Value> {
        let all = report["talkers"].as_array().unwrap().iter();
        all.filter(|one| one["source_port"] == port)
            .cloned()
            .collect()
    };
    let ways = |talker: &Value| -> Vec<(String, String, u64)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = talker["ways"].as_array().unwrap().iter();
        all.map(|way| {
            (
                text(&way["interface"]),
                text(&way["direction"]),
                number(&way["packets"]),
            )
        })
        .collect()
    };
    let report = h.run(|| talkers(&service, &["--window", "1m", "-n", "100"]));
    for (port, bytes, expected) in [
        (
            4000,
            104_200,
            [("v1", "in"), ("docker0", "in"), ("e0", "out")],
        ),
        (
            5000,
            54_200,
            [("e0", "in"), ("docker0", "out"), ("v1", "out")],
        ),
    ] {
        let rows = flow(&report, port);
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!(
            (number(&rows[0]["packets"]), number(&rows[0]["bytes"])),
            (100, bytes)
        );
        assert_eq!(rows[0]["forwarded"], true);
        assert_eq!(rows[0]["process"], Value::Null, "{}", rows[0]);
        let expected = expected.map(|(name, way)| (name.to_owned(), way.to_owned(), 100));
        assert_eq!(ways(&rows[0]), expected);
    }
    // The broadcast that the bridge copied to each port; its two ends are named.
    let arp = report["talkers"].as_array().unwrap().iter().find(|one| {
        (&one["protocol"], &one["source"], &one["destination"])
            == (&"arp".into(), &"10.1.0.1".into(), &"10.1.0.254".into())
    });
    let arp = arp.unwrap_or_else(|| panic!("{report:#}"));
    let copies = ways(arp);
    assert!(copies.len() >= 3, "{arp:#}");
    let received = copies.iter().find(|(name, ..)| name == "v1").unwrap().2;
    assert_eq!(number(&arp["packets"]), received, "{arp:#}");
    // Totals are those of the rows.
    let sum: u64 = report["talkers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| number(&one["packets"]))
        .sum();
    assert_eq!(number(&report["packets"]), sum, "{report:#}");
    assert_eq!(
        number(&report["flows"]),
        report["talkers"].as_array().unwrap().len() as u64
    );
    // As the interfaces have it.
    let each = h.run(|| talkers(&service, &["--window", "1m", "-n", "100", "--by-interface"]));
    assert_eq!(flow(&each, 4000).len(), 3);
    assert!(
        number(&each["packets"]) >= sum + 400,
        "{} {sum}",
        each["packets"]
    );
    let text = h.run(|| service.ask(&["talkers", "--window", "1m", "-n", "100"]));
    println!("{text}");
    let line = |words: &[&str]| {
        text.lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    };
    assert_eq!(
        line(&["v1>docker0>e0", "fwd", "10.1.0.1:4000"]),
        1,
        "{text}"
    );
    assert_eq!(
        line(&["arp", "10.1.0.1", "10.1.0.254"]),
        2,
        "question and answer: {text}"
    );
    Ok(())
}

/// `--watch` shows the flows of each second: on a terminal in place, on a pipe below each other.
fn flows_can_be_watched() -> Outcome {
    let (_a, b) = pair();
    let service = Service::start(&b, &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command
        .arg("--socket")
        .arg(service.socket())
        .args(["talkers", "--watch"]);
    let is_twice = |text: &str| text.matches(" flows in ").count() >= 2;
    let shown = b.run(|| support::terminal::shown_raw_until(&mut command, 80, is_twice))?;
    assert!(shown.starts_with("\u{1b}[2J\u{1b}[H"), "{shown:?}");
    assert!(shown.matches("\u{1b}[H").count() >= 2, "{shown:?}");
    let output = b.run(|| {
        let mut command = Command::new("timeout");
        command
            .args([
                "-s",
                "INT",
                "2.5",
                env!("CARGO_BIN_EXE_netsonde"),
                "--socket",
            ])
            .arg(service.socket())
            .args(["talkers", "--watch"]);
        command.output()
    })?;
    let text = String::from_utf8(output.stdout)?;
    assert!(is_twice(&text) && !text.contains('\u{1b}'), "{text}");
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
        number(&entry(&status["recorder"], "store", "bulk")["seen"]) + drops >= packets
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
