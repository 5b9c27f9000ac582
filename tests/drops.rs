//! `netsonde drops`: every cause of a loss made on a real kernel, and reported by the right counter and, for
//! root with tracefs, by the kernel's right drop reason; no other counter reported.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b
//! ```
//!
//! The judge is the number of packets that the test makes the kernel drop.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use netsonde::lab::{self, Host, traffic, wait_until};
use serde_json::Value;
use support::{PATIENCE, StopOnDrop, Test, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            ("closed_port", closed_port as Test),
            ("full_socket_buffer", full_socket_buffer),
            ("bad_checksum", bad_checksum),
            ("reverse_path", reverse_path),
            ("ttl_ended", ttl_ended),
            ("unresolved_neighbor", unresolved_neighbor),
            ("full_queue", full_queue),
            ("wrong_mac", wrong_mac),
            ("firewall_in_and_out", firewall_in_and_out),
            ("idle_host_reports_no_drops", idle_host_reports_no_drops),
            (
                "drop_reasons_name_their_privilege",
                drop_reasons_name_their_privilege,
            ),
        ],
        // The kernel's reasons are of all namespaces.
        1,
    )
}

/// How many packets each cause loses.
const MANY: u64 = 50;
const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000);

/// Can the kernel's reasons be had? Only root of the machine can, with its tracepoints mounted.
fn has_reasons() -> bool {
    if !support::has_users() {
        return false;
    }
    let events = std::path::Path::new("/sys/kernel/tracing/events/skb/kfree_skb/id");
    if !events.exists() {
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        let _ = nix::mount::mount(
            Some("nodev"),
            "/sys/kernel/tracing",
            Some("tracefs"),
            flags,
            none,
        );
    }
    events.exists()
}

/// What a cause was told as: counters as `layer name`, with whose, and reasons.
struct DropsReport {
    document: Value,
    status: Option<i32>,
    with_reasons: bool,
}

impl DropsReport {
    fn counter(&self, layer: &str, name: &str) -> Vec<&Value> {
        let all = self.document["drops"].as_array().unwrap();
        all.iter()
            .filter(|row| row["layer"] == layer && row["counter"] == name)
            .collect()
    }

    #[track_caller]
    fn assert_counter(&self, layer: &str, name: &str, least: u64) {
        let count: u64 = self
            .counter(layer, name)
            .iter()
            .map(|row| number(&row["count"]))
            .sum();
        assert!(
            count >= least,
            "{layer} {name}: {count}: {:#}",
            self.document
        );
    }

    #[track_caller]
    fn assert_reason(&self, reasons: &[&str], least: u64) {
        if !self.with_reasons {
            return;
        }
        let all = self.document["reasons"].as_array().unwrap();
        let count: u64 = all
            .iter()
            .filter(|row| reasons.iter().any(|name| row["reason"] == *name))
            .map(|row| number(&row["count"]))
            .sum();
        assert!(count >= least, "{reasons:?}: {count}: {:#}", self.document);
    }
}

/// Watches a host while something happens.
fn watch(host: &Host, cause: impl Fn()) -> DropsReport {
    watch_for(host, "800ms", cause)
}

/// Where the kernel did not tell the reasons of all drops, it is tried again.
fn watch_for(host: &Host, duration: &str, cause: impl Fn()) -> DropsReport {
    let mut report = watch_once(host, duration, &cause);
    for _ in 0..5 {
        if report.document["reasons_lost"].as_u64().unwrap_or(0) == 0 {
            break;
        }
        eprintln!(
            "{} reasons were lost: again",
            report.document["reasons_lost"]
        );
        report = watch_once(host, duration, &cause);
    }
    report
}

/// The kernel (6.18 was seen to) counts drops in interrupts of an idle CPU and often does not write their
/// reasons, for perf(1) neither. Where it is the reasons that are to be seen, no CPU is idle meanwhile.
fn with_all_cpus_awake<T>(run: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            });
        }
        let _over = StopOnDrop(&over);
        run()
    })
}

fn watch_once(host: &Host, duration: &str, cause: impl FnOnce()) -> DropsReport {
    let with_reasons = has_reasons();
    if with_reasons {
        return with_all_cpus_awake(|| watch_so(host, duration, cause, true));
    }
    watch_so(host, duration, cause, false)
}

fn watch_so(host: &Host, duration: &str, cause: impl FnOnce(), with_reasons: bool) -> DropsReport {
    if !with_reasons {
        eprintln!("SKIPPED the kernel's reasons: they take root and tracefs");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    // The word that it watches goes to terminals only.
    command.args(["drops", "--duration", duration, "--json", "-v"]);
    if with_reasons {
        command.arg("--reasons");
    }
    let (terminal, program) = support::terminal::open(80).unwrap();
    command.stdout(Stdio::piped()).stderr(program);
    let child = host.run(|| command.spawn()).unwrap();
    // Otherwise this side of the terminal stays open.
    drop(command);
    let mut printed = BufReader::new(terminal);
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert!(line.starts_with("watching"), "{line}");
    cause();
    let output = child.wait_with_output().unwrap();
    let mut rest = String::new();
    // The end of a terminal is an error.
    let _ = printed.read_to_string(&mut rest);
    let document = serde_json::from_slice(&output.stdout);
    DropsReport {
        document: document.unwrap_or_else(|error| panic!("{error}: {rest}")),
        status: output.status.code(),
        with_reasons,
    }
}

fn send(host: &Host, to: SocketAddrV4, count: u64) {
    let socket = host.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    for _ in 0..count {
        // Refusals come back as errors of the next one.
        let _ = socket.send_to(&[7; 100], to);
    }
}

fn closed_port() -> Outcome {
    let (a, b) = pair();
    let report = watch(&b, || send(&a, TO, MANY));
    report.assert_counter("udp", "UdpNoPorts", MANY);
    report.assert_reason(&["NO_SOCKET"], MANY);
    assert_eq!(report.status, Some(1));
    Ok(())
}

fn full_socket_buffer() -> Outcome {
    let (a, b) = pair();
    let deaf = b.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    nix::sys::socket::setsockopt(&deaf, nix::sys::socket::sockopt::RcvBuf, &4096)?;
    let report = watch(&b, || send(&a, TO, MANY));
    report.assert_counter("udp", "UdpRcvbufErrors", MANY / 2);
    report.assert_counter("socket", "drops", MANY / 2);
    report.assert_reason(&["SOCKET_RCVBUFF", "PROTO_MEM"], MANY / 2);
    let of_socket = report.counter("socket", "drops");
    let subject = of_socket[0]["subject"].as_str().unwrap();
    let own = format!("({})", std::process::id());
    assert!(
        subject.contains("10.0.0.2:5000") && subject.contains(&own),
        "{subject}"
    );
    Ok(())
}

/// A frame by hand: from 10.0.0.1, or another, to 10.0.0.2:5000.
fn frame(to_mac: [u8; 6], source: [u8; 4], destination: [u8; 4], ttl: u8, udp_sum: u16) -> Vec<u8> {
    let mut frame = to_mac.to_vec();
    frame.extend_from_slice(&[
        2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, ttl, 17, 0, 0,
    ]);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&destination);
    let mut sum: u32 = frame[14..34]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame.extend_from_slice(&[0x9c, 0x40, 0x13, 0x88, 0, 26]);
    frame.extend_from_slice(&udp_sum.to_be_bytes());
    frame.resize(60, 0);
    frame
}

fn frames(a: &Host, one: &[u8]) {
    a.run(|| {
        traffic::frames("e0", MANY, None, |_, room| {
            room.clear();
            room.extend_from_slice(one);
        })
    })
    .unwrap();
}

fn bad_checksum() -> Outcome {
    let (a, b) = pair();
    let _open = b.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    let wrong = frame(b.mac("e0")?, [10, 0, 0, 1], [10, 0, 0, 2], 64, 0x1234);
    let report = watch(&b, || frames(&a, &wrong));
    report.assert_counter("udp", "UdpInCsumErrors", MANY);
    report.assert_reason(&["UDP_CSUM"], MANY);
    Ok(())
}

fn reverse_path() -> Outcome {
    let (a, b) = pair();
    // To 192.0.2.0/24 b goes by another interface.
    let c = Host::new("c")?;
    lab::veth(&b, "e1", &c, "e0")?;
    b.address("e1", "192.0.2.1/24")?;
    c.address("e0", "192.0.2.2/24")?;
    for conf in ["all", "e0"] {
        b.sysctl(&format!("net/ipv4/conf/{conf}/rp_filter"), "1")?;
    }
    let foreign = frame(b.mac("e0")?, [192, 0, 2, 77], [10, 0, 0, 2], 64, 0);
    let report = watch(&b, || frames(&a, &foreign));
    report.assert_counter("ip", "TcpExtIPReversePathFilter", MANY);
    report.assert_reason(&["IP_RPFILTER"], MANY);
    Ok(())
}

fn ttl_ended() -> Outcome {
    let (a, b) = pair();
    let c = Host::new("c")?;
    lab::veth(&b, "e1", &c, "e0")?;
    b.address("e1", "192.0.2.1/24")?;
    b.sysctl("net/ipv4/ip_forward", "1")?;
    let last = frame(b.mac("e0")?, [10, 0, 0, 1], [192, 0, 2, 2], 1, 0);
    let report = watch(&b, || frames(&a, &last));
    report.assert_counter("ip", "IpInHdrErrors", MANY);
    report.assert_reason(&["IP_INHDR", "TTL"], MANY);
    Ok(())
}

fn unresolved_neighbor() -> Outcome {
    let (a, _b) = pair();
    let nobody = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 99), 5000);
    // Three questions, a second apart.
    let report = watch_for(&a, "4s", || send(&a, nobody, 5));
    report.assert_counter("neighbour", "res_failed", 1);
    report.assert_reason(&["NEIGH_FAILED", "NEIGH_QUEUEFULL"], 1);
    Ok(())
}

fn full_queue() -> Outcome {
    let (a, _b) = pair();
    let tbf = "qdisc add dev e0 root tbf rate 8kbit burst 1540 limit 3000";
    support::inside(&a, "tc", &tbf.split(' ').collect::<Vec<_>>());
    let report = watch(&a, || send(&a, TO, MANY));
    // The bucket and the queue take some thirty of them.
    report.assert_counter("queue", "drops", MANY / 5);
    report.assert_reason(&["QDISC_DROP", "QDISC_OVERLIMIT"], MANY / 5);
    let subject = report.counter("queue", "drops")[0]["subject"]
        .as_str()
        .unwrap();
    assert!(subject.starts_with("e0 tbf"), "{subject}");
    Ok(())
}

fn wrong_mac() -> Outcome {
    let (a, b) = pair();
    let elsewhere = frame([2, 9, 9, 9, 9, 9], [10, 0, 0, 1], [10, 0, 0, 2], 64, 0);
    let report = watch(&b, || frames(&a, &elsewhere));
    report.assert_counter("device", "rx_otherhost_dropped", MANY);
    report.assert_reason(&["OTHERHOST"], MANY);
    // No fault of this host's.
    let harmful = report.document["drops"].as_array().unwrap().iter();
    assert_eq!(
        harmful.filter(|row| row["harmless"] == false).count(),
        0,
        "{:#}",
        report.document
    );
    if !report.with_reasons {
        assert_eq!(report.status, Some(0));
    }
    Ok(())
}

fn firewall_in_and_out() -> Outcome {
    support::need("nft");
    if !has_reasons() {
        support::skip_here("only the kernel's reasons show a firewall, and they take root");
    }
    for (chain, word) in [("input", "dport"), ("output", "dport")] {
        let (a, b) = pair();
        let host = if chain == "input" { &b } else { &a };
        let rules = format!(
            "table ip t {{\n chain c {{\n type filter hook {chain} priority 0\n udp {word} 5000 drop\n }}\n}}\n"
        );
        support::load_rules(host, &rules);
        let report = watch(host, || send(&a, TO, MANY));
        report.assert_reason(&["NETFILTER_DROP"], MANY);
        assert_eq!(report.status, Some(1), "{chain}");
    }
    Ok(())
}

fn idle_host_reports_no_drops() -> Outcome {
    let (a, b) = pair();
    let open = b.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    // What comes up with an interface is over.
    let quiet = wait_until(PATIENCE, || {
        let report = watch(&b, || ());
        let rows = report.document["drops"].as_array().unwrap();
        rows.iter().all(|row| row["harmless"] == true)
    });
    assert!(quiet);
    let report = watch(&b, || send(&a, TO, MANY));
    let rows = report.document["drops"].as_array().unwrap();
    let harmful: Vec<&Value> = (rows.iter())
        // Of all namespaces, so they may be others'.
        .filter(|row| row["harmless"] == false && row["layer"] != "neighbour")
        .collect();
    assert!(harmful.is_empty(), "{harmful:#?}");
    drop(open);
    Ok(())
}

fn drop_reasons_name_their_privilege() -> Outcome {
    if has_reasons() {
        return Ok(());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_netsonde"))
        .args(["drops", "--reasons", "--duration", "100ms"])
        .output()?;
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("root"), "{printed}");
    Ok(())
}
