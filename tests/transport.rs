//! `netsonde ping --tcp` and `--udp` on real packets: every fate by a real cause, over IPv4 and IPv6.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b
//!   a  e0 10.0.0.1, netsonded ---- r0 router r1 ---- 10.9.0.9 e0  b
//! ```
//!
//! b has an open TCP port, a UDP port that returns what it gets, one that answers with other bytes, and one that
//! never answers. All others are closed.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::{TcpListener, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netsonde::lab::{Host, traffic};
use netsonde_core::wire::cursor::sum;
use support::ping::{PingReport, ping, routed};
use support::{Service, Test, firewall, inside, number, pair, wired};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const OPEN: &str = "443";
const CLOSED: &str = "444";
const RETURNS: u16 = 7;
const ANSWERS: u16 = 53;
const SILENT: u16 = 9;

fn main() -> ExitCode {
    support::main_with(
        &[
            ("open_ports_reply", open_ports_reply as Test),
            ("what_cannot_be_is_refused", what_cannot_be_is_refused),
            ("closed_ports_refuse", closed_ports_refuse),
            ("own_firewall", own_firewall),
            ("routers_refuse_and_drop", routers_refuse_and_drop),
            ("no_way_out", no_way_out),
            (
                "wire_loss_delay_and_corruption",
                wire_loss_delay_and_corruption,
            ),
            ("a_thousand_a_second", a_thousand_a_second),
            ("forged_errors_change_nothing", forged_errors_change_nothing),
            (
                "sockets_of_the_sender_receive_nothing",
                sockets_of_the_sender_receive_nothing,
            ),
        ],
        3,
    )
}

/// Services of a host, until dropped.
struct Ports {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    _listener: TcpListener,
    _silent: UdpSocket,
}

impl Ports {
    fn open(host: &Host) -> Ports {
        let bind = |port: u16| host.run(|| UdpSocket::bind(("::", port))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let serve = |port: u16, answer: fn(&[u8]) -> Vec<u8>| {
            let (socket, stop) = (bind(port), stop.clone());
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            std::thread::spawn(move || {
                let mut bytes = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                        let _ = socket.send_to(&answer(&bytes[..length]), from);
                    }
                }
            })
        };
        let threads = vec![
            serve(RETURNS, |got| got.to_vec()),
            serve(ANSWERS, |_| b"no".to_vec()),
        ];
        Ports {
            stop,
            threads,
            _listener: host
                .run(|| TcpListener::bind(("::", OPEN.parse().unwrap())))
                .unwrap(),
            _silent: bind(SILENT),
        }
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const QUICK: [&str; 6] = ["-c", "3", "-i", "0.05", "-W", "0.4"];

fn by(service: &Service, transport: &[&str], target: &str) -> PingReport {
    ping(service, &[transport, &QUICK, &[target]].concat())
}

fn contains(report: &PingReport, fate: &str, words: &str) {
    let seen = report.only(fate, 3);
    assert!(
        seen.contains(words),
        "{words:?} is missing: {}",
        report.text
    );
}

/// Until the link-local addresses are through duplicate address detection.
fn settle(service: &Service, targets: &[&str]) {
    for target in targets {
        ping(service, &["-c", "1", "-W", "5", target]).only("replied", 1);
    }
}

const TARGETS: [&str; 2] = ["10.0.0.2", "fd00::2"];

fn open_ports_reply() -> Outcome {
    let (a, b) = pair();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    settle(&service, &TARGETS);
    let _own = Ports::open(&a);
    for target in TARGETS.into_iter().chain(["127.0.0.1", "::1", "10.0.0.1"]) {
        for transport in [["--tcp", OPEN], ["--udp", "7"], ["--udp", "53"]] {
            let report = by(&service, &transport, target);
            report.only("replied", 3);
            for probe in &report.probes {
                let (rtt, wire) = (number(&probe["rtt_ns"]), number(&probe["wire_rtt_ns"]));
                assert!(wire > 0 && wire <= rtt, "{}", report.text);
                assert_eq!(probe["from"], target, "{}", report.text);
                assert_eq!(probe["ttl"], 64, "{}", report.text);
            }
        }
    }
    // Nothing is left at the server: this host's kernel has reset each connection.
    assert!(!b.proc_net("tcp6").lines().any(|line| line.contains(" 03 ")));
    // Several targets, a payload of each size, and another TTL.
    let report = ping(
        &service,
        &["--tcp", OPEN, "10.0.0.2", "10.0.0.1", "fd00::2"],
    );
    assert_eq!(
        (report.code, report.summaries.len()),
        (0, 3),
        "{}",
        report.text
    );
    for size in ["14", "15", "1472"] {
        let report = ping(
            &service,
            &["--udp", "7", "-c", "2", "-i", "0.1", "-s", size, "10.0.0.2"],
        );
        report.only("replied", 2);
    }
    Ok(())
}

fn what_cannot_be_is_refused() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    for (arguments, words) in [
        (&["--tcp", "443", "--udp", "53", "10.0.0.2"][..], "--udp"),
        (&["--tcp", "443", "-s", "10", "10.0.0.2"], "with -s"),
        (&["--tcp", "0", "10.0.0.2"], "1"),
        (&["--tcp", "1-1024", "10.0.0.2"], "1-1024"),
        (
            &["--udp", "53", "-s", "13", "10.0.0.2"],
            "expected 14 to 8952",
        ),
        (&["--udp", "53", "-i", "0.01", "10.0.0.2"], "use -W 0.16"),
        (&["--udp", "53", "-f", "10.0.0.2"], "with -f"),
        (&["--tcp", "443", "-b", "10.0.0.255"], "with -b"),
        (&["--tcp", "443", "224.0.0.1"], "single hosts"),
        (&["--udp", "53", "ff02::1%e0"], "single hosts"),
        (&["--tcp", "443", "10.0.0.255"], "broadcast"),
    ] {
        let output = service.netsonde(&[&["ping", "-c", "1"], arguments].concat());
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {printed}");
        assert!(printed.contains(words), "{arguments:?}: {printed}");
    }
    Ok(())
}

fn closed_ports_refuse() -> Outcome {
    let (a, b) = pair();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    // Hosts send few errors a second.
    b.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    b.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    settle(&service, &TARGETS);
    for target in TARGETS {
        let report = by(&service, &["--tcp", CLOSED], target);
        contains(&report, "refused", "connection refused: RST from");
        assert_eq!(report.probes[0]["reset"], true);
        assert_eq!(report.probes[0]["from"], target);
        assert!(
            number(&report.probes[0]["wire_rtt_ns"]) > 0,
            "{}",
            report.text
        );
        let report = by(&service, &["--udp", CLOSED], target);
        report.only("refused", 3);
        let error = &report.probes[0]["error"];
        assert_eq!(error["from"], target);
        assert_eq!(error["meaning"], "port unreachable", "{}", report.text);
        let report = by(&service, &["--udp", "9"], target);
        contains(
            &report,
            "unanswered",
            "sent on e0; no reply or error received",
        );
    }
    Ok(())
}

fn own_firewall() -> Outcome {
    let (a, b) = pair();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    settle(&service, &TARGETS);
    for target in TARGETS {
        for (transport, rule) in [(["--tcp", OPEN], "tcp"), (["--udp", "7"], "udp")] {
            let port = transport[1];
            firewall(&a, "input", &format!("{rule} sport {port} drop"));
            let report = by(&service, &transport, target);
            contains(&report, "dropped_inbound", "consistent with a firewall");
            firewall(&a, "output", &format!("{rule} dport {port} drop"));
            let report = by(&service, &transport, target);
            contains(&report, "not_sent", "EPERM");
            firewall(
                &a,
                "egress device \"e0\"",
                &format!("{rule} dport {port} drop"),
            );
            let report = by(&service, &transport, target);
            contains(&report, "dropped_outbound", "e0");
            firewall(&a, "", "");
            by(&service, &transport, target).only("replied", 3);
        }
    }
    Ok(())
}

fn routers_refuse_and_drop() -> Outcome {
    let (a, router, b) = routed()?;
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    router.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    router.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    settle(&service, &["10.9.0.9", "fd09::9"]);
    for (target, from) in [("10.9.0.9", "10.0.0.254"), ("fd09::9", "fd00::fe")] {
        for (transport, rule) in [(["--tcp", OPEN], "tcp"), (["--udp", "7"], "udp")] {
            let port = transport[1];
            by(&service, &transport, target).only("replied", 3);
            firewall(&router, "forward", &format!("{rule} dport {port} drop"));
            let report = by(&service, &transport, target);
            contains(
                &report,
                "unanswered",
                "sent on e0; no reply or error received",
            );
            let reject = format!("{rule} dport {port} reject with icmpx admin-prohibited");
            firewall(&router, "forward", &reject);
            let report = by(&service, &transport, target);
            report.only("refused", 3);
            let error = &report.probes[0]["error"];
            assert_eq!(error["from"], from, "{}", report.text);
            assert!(
                error["meaning"].as_str().unwrap().contains("prohibited"),
                "{}",
                report.text
            );
            if rule == "tcp" {
                firewall(
                    &router,
                    "forward",
                    &format!("{rule} dport {port} reject with tcp reset"),
                );
                let report = by(&service, &transport, target);
                contains(&report, "refused", "connection refused: RST from");
            }
            firewall(&router, "", "");
            let report = by(&service, &[&transport[..], &["-t", "1"]].concat(), target);
            report.only("refused", 3);
            let error = &report.probes[0]["error"];
            assert_eq!(
                error["meaning"], "time exceeded in transit",
                "{}",
                report.text
            );
            assert_eq!(error["from"], from, "{}", report.text);
        }
    }
    Ok(())
}

fn no_way_out() -> Outcome {
    let (a, b) = pair();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    settle(&service, &TARGETS);
    for transport in [["--tcp", OPEN], ["--udp", "7"]] {
        for target in ["192.0.2.1", "2001:db8::1"] {
            contains(&by(&service, &transport, target), "not_sent", "ENETUNREACH");
        }
        contains(
            &by(&service, &transport, "10.0.0.9"),
            "unresolved",
            "10.0.0.9 does not answer ARP",
        );
        let report = by(&service, &transport, "fd00::9");
        contains(
            &report,
            "unresolved",
            "fd00::9 does not answer neighbor discovery",
        );
    }
    inside(&a, "ip", &["route", "add", "blackhole", "10.7.0.0/16"]);
    contains(
        &by(&service, &["--tcp", OPEN], "10.7.0.1"),
        "not_sent",
        "blackhole",
    );
    Ok(())
}

/// Is this frame a SYN-ACK, or a UDP datagram?
fn is_answer(frame: &[u8]) -> bool {
    let (protocol, at) = match frame.get(12..14) {
        Some([8, 0]) => (frame[23], 34),
        Some([0x86, 0xdd]) => (frame[20], 54),
        _ => return false,
    };
    protocol == 17 || (protocol == 6 && frame[at + 13] & 0x12 == 0x12)
}

fn wire_loss_delay_and_corruption() -> Outcome {
    let (a, b, wire) = wired();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    settle(&service, &TARGETS);
    for target in TARGETS {
        for transport in [["--tcp", OPEN], ["--udp", "7"], ["--udp", "53"]] {
            by(&service, &transport, target).only("replied", 3);
            wire.b_to_a(|back| back.drop = Some(Box::new(is_answer)));
            let report = by(&service, &transport, target);
            contains(
                &report,
                "unanswered",
                "sent on e0; no reply or error received",
            );
            wire.b_to_a(|back| back.drop = None);
            wire.b_to_a(|back| back.corrupt = Some(Box::new(is_answer)));
            contains(&by(&service, &transport, target), "corrupted", "checksum");
            wire.b_to_a(|back| back.corrupt = None);
            wire.b_to_a(|back| back.delay = Duration::from_millis(300));
            let slow = ["-c", "3", "-i", "0.1", "-W", "0.15", target];
            let report = ping(&service, &[&transport[..], &slow].concat());
            let late = report.probes.iter().filter(|probe| probe["fate"] == "late");
            assert!(late.count() >= 2, "{}", report.text);
            wire.b_to_a(|back| back.delay = Duration::ZERO);
        }
    }
    Ok(())
}

fn a_thousand_a_second() -> Outcome {
    let (a, b) = pair();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    settle(&service, &TARGETS);
    for target in TARGETS {
        let fast = ["--tcp", OPEN, "-c", "3000", "-i", "0.001", "-q", target];
        let report = ping(&service, &fast);
        assert_eq!(
            report.summaries[0]["fates"]["replied"], 3000,
            "{}",
            report.text
        );
        assert_eq!(number(&report.total["forged"]), 0, "{}", report.text);
        let fast = [
            "--udp", "7", "-c", "3000", "-i", "0.001", "-W", "0.016", "-q", target,
        ];
        let report = ping(&service, &fast);
        let replied = number(&report.summaries[0]["fates"]["replied"]);
        let late = report.summaries[0]["fates"]["late"].as_u64().unwrap_or(0);
        assert_eq!(replied + late, 3000, "{}", report.text);
    }
    Ok(())
}

/// An ICMP error of a router that is on no path, about a probe that it has to guess.
fn forged_error(protocol: u8, source_port: u16, number: u32) -> Vec<u8> {
    let mut quote = vec![
        0x45,
        0,
        0,
        60,
        (number >> 8) as u8,
        number as u8,
        0x40,
        0,
        60,
        protocol,
        0,
        0,
    ];
    quote.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    quote.extend_from_slice(&source_port.to_be_bytes());
    quote.extend_from_slice(if protocol == 6 { &[1, 0xbb] } else { &[0, 9] });
    match protocol {
        6 => quote.extend_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes()),
        _ => {
            quote.extend_from_slice(&64u16.to_be_bytes());
            quote.extend_from_slice(&(number as u16).to_be_bytes());
        }
    }
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&quote);
    let check = !(sum(&message, 0) as u16);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    message
}

fn forged_errors_change_nothing() -> Outcome {
    let (a, b) = pair();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    settle(&service, &TARGETS);
    // Only the reserved ports are of interest, and a forger may know them.
    let ports = |name: &str| -> Vec<u16> {
        let text = a.proc_net(name);
        let bound = text.lines().skip(1).filter_map(|line| {
            let port = line.split_whitespace().nth(1)?.rsplit(':').next()?;
            u16::from_str_radix(port, 16).ok()
        });
        bound.collect()
    };
    let udp = ports("udp6");
    assert!(udp.len() >= 16, "{udp:?}");
    let (sent, reports) = std::thread::scope(|scope| {
        let forger = scope.spawn(|| {
            b.run(|| {
                let to = "10.0.0.1".parse().unwrap();
                traffic::raw_ipv4(
                    to,
                    libc::IPPROTO_ICMP,
                    100_000,
                    Some(12_500),
                    |number, packet| {
                        let number = number as u32;
                        let protocol = if number.is_multiple_of(2) { 6 } else { 17 };
                        // Ports that are bound and do not listen are in no list: some that are likely.
                        let port = match protocol {
                            6 => 32_768 + (number % 28_232) as u16,
                            _ => udp[number as usize / 2 % udp.len()],
                        };
                        *packet = forged_error(protocol, port, number);
                    },
                )
            })
        });
        let tcp = ["--tcp", OPEN, "-c", "400", "-i", "0.01", "10.0.0.2"];
        let udp = [
            "--udp", "9", "-c", "100", "-i", "0.04", "-W", "0.5", "10.0.0.2",
        ];
        let reports = [ping(&service, &tcp), ping(&service, &udp)];
        (forger.join().unwrap().unwrap().packets, reports)
    });
    assert!(sent >= 100_000, "{sent}");
    println!("{sent} forged errors");
    for (report, fate, count) in [
        (&reports[0], "replied", 400),
        (&reports[1], "unanswered", 100),
    ] {
        let fates = &report.summaries[0]["fates"];
        assert_eq!(fates[fate], count, "{}", report.text);
    }
    Ok(())
}

/// A flood of TCP and UDP: a raw socket would get a copy of each packet before its filter is asked.
fn sockets_of_the_sender_receive_nothing() -> Outcome {
    let (a, b) = pair();
    let (service, _ports) = (Service::start(&a, &[]), Ports::open(&b));
    settle(&service, &TARGETS);
    ping(
        &service,
        &["--tcp", OPEN, "-c", "300", "-i", "0.002", "-q", "10.0.0.2"],
    );
    ping(
        &service,
        &[
            "--udp", "9", "-c", "300", "-i", "0.05", "-W", "0.5", "-w", "3", "-q", "10.0.0.2",
        ],
    );
    let _own = Ports::open(&a);
    let ends = ("10.0.0.2".parse()?, "10.0.0.1".parse()?);
    let flood = b.run(|| {
        traffic::raw_ipv4(ends.1, libc::IPPROTO_TCP, 50_000, None, |number, packet| {
            *packet = traffic::syn(
                ends.0,
                ends.1,
                20_000 + number as u16 % 20_000,
                443,
                number as u32,
            );
        })
    })?;
    assert!(flood.packets >= 50_000);
    let mut checked = 0;
    for name in ["raw", "raw6"] {
        let text = a.proc_net(name);
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let protocol = fields[1].rsplit(':').next().unwrap();
            if !["0006", "0011"].contains(&protocol) {
                continue;
            }
            checked += 1;
            let is_nowhere = ["000000E0:", "000000FF0000"]
                .iter()
                .any(|at| fields[1].starts_with(at));
            assert!(is_nowhere, "{line}");
            assert_eq!(
                fields[4].rsplit(':').next(),
                Some("00000000"),
                "received: {line}"
            );
            assert_eq!(fields.last(), Some(&"0"), "drops: {line}");
        }
    }
    assert_eq!(checked, 4, "TCP and UDP, IPv4 and IPv6");
    Ok(())
}
