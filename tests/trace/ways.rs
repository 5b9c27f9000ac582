//! `netsonde trace` on real kernels: every router and every equal way is found, none is invented, and what missing
//! answers mean is told as the test made it.
//!
//! ```text
//!   h  e0 10.1.0.1, netsonded ---- 10.1.0.2 e0  r1  e1 10.2.0.1 ---- 10.2.0.2 e0  r2  ... ---- t
//! ```
//!
//! NETSONDE_TRACE_RUNS sets the number of runs of those tests that repeat a trace.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::support::path::{Report, Ways, chain, chain_with, trace, ways};
use crate::support::{Test, has_users, inside};
use netsonde::lab::{self, messages, traffic};
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

pub const TESTS: &[(&str, Test)] = &[
    ("twelve_hops", twelve_hops),
    ("ipv6_and_one_hop", ipv6_and_one_hop),
    ("two_ways", two_ways),
    ("four_ways", four_ways),
    ("eight_ways", eight_ways),
    ("tcp_and_one_port", tcp_and_one_port),
    ("limited_answers_are_no_loss", limited_answers_are_no_loss),
    ("loss_is_found", loss_is_found),
    ("silent_routers", silent_routers),
    ("refusals_and_loops", refusals_and_loops),
    ("probes_that_do_not_leave", probes_that_do_not_leave),
    ("forged_errors_change_nothing", forged_errors_change_nothing),
    ("errors_of_other_traffic", errors_of_other_traffic),
    ("many_at_once", many_at_once),
    ("text_and_errors", text_and_errors),
];

/// Number of runs of tests that repeat a trace.
fn runs(default: usize) -> usize {
    let given = std::env::var("NETSONDE_TRACE_RUNS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

impl Ways {
    /// Traces, and requires that nothing is invented. Returns whether everything was found, with the number of probes
    /// and the time in milliseconds.
    fn trace(&self) -> (bool, u64, u64) {
        let report = trace(&self.h, &self.service, &["10.0.2.2"]);
        let value = &report.value;
        assert_eq!(report.status, Some(0), "{value:#}");
        let mut is_complete = true;
        for (at, mut found) in report.addresses().into_iter().enumerate() {
            let expected: Vec<String> = match at {
                0 => vec!["10.0.1.2".into()],
                _ if at <= self.depth => (1..=self.count)
                    .map(|way| format!("10.{way}.{at}.2"))
                    .collect(),
                // z has one way back.
                _ if at == self.depth + 1 => vec![format!("10.1.{at}.2")],
                _ => vec!["10.0.2.2".into()],
            };
            found.sort_unstable();
            for address in &found {
                assert!(
                    expected.iter().any(|one| one == address),
                    "{address} at {at}: {value:#}"
                );
            }
            is_complete &= found.len() == expected.len();
        }
        let links = value["links"].as_array().unwrap();
        for link in links {
            let (from, to) = (link["from"].as_str().unwrap(), link["to"].as_str().unwrap());
            let way = |address: &str| address.split('.').nth(1).unwrap().to_owned();
            let hop = link["hop"].as_u64().unwrap() as usize;
            if (2..=self.depth).contains(&hop) {
                assert_eq!(way(from), way(to), "{link}");
            }
        }
        for way in 1..=self.count {
            for at in 1..self.depth {
                let (from, to) = (format!("10.{way}.{at}.2"), format!("10.{way}.{}.2", at + 1));
                is_complete &= links
                    .iter()
                    .any(|link| link["from"] == *from && link["to"] == *to);
            }
        }
        let probes = value["probes"].as_u64().unwrap();
        (
            is_complete,
            probes,
            value["duration_ns"].as_u64().unwrap() / 1_000_000,
        )
    }
}

/// Repeats traces: none invents anything, and at most one in fifty misses something. Several hops show the same ways, so
/// that all together miss less than a single one would.
fn repeat(ways: &Ways, most_probes: u64) -> Outcome {
    let runs = runs(3);
    let (mut incomplete, mut all) = (0, vec![]);
    for _ in 0..runs {
        let (is_complete, probes, ms) = ways.trace();
        incomplete += usize::from(!is_complete);
        all.push((probes, ms));
    }
    // A machine that is busy loses an answer now and then, which is looked into.
    all.sort_unstable();
    let most = all[all.len() * 9 / 10 - usize::from(all.len() < 10)].0;
    let longest = all.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
    let mean = all.iter().map(|(probes, _)| *probes).sum::<u64>() / runs as u64;
    println!(
        "{} ways: {incomplete} of {runs} incomplete, {mean} probes, at most {most}, {longest} ms",
        ways.count
    );
    assert!(incomplete <= runs / 50, "{incomplete} of {runs}");
    assert!(most <= most_probes, "{most} probes");
    Ok(())
}

fn two_ways() -> Outcome {
    repeat(&ways(2, 2), 60)
}

fn four_ways() -> Outcome {
    // The diamond, and two routers on each way.
    repeat(&ways(4, 1), 60)?;
    repeat(&ways(4, 2), 70)
}

fn eight_ways() -> Outcome {
    repeat(&ways(8, 3), 400)
}

fn tcp_and_one_port() -> Outcome {
    let chain = chain(3, None);
    let expected: Vec<Vec<String>> = (1..=4).map(|hop| vec![chain.router(hop)]).collect();
    let listener = chain.t.run(|| std::net::TcpListener::bind("0.0.0.0:80"))?;
    for over in [
        &["--tcp", "80"][..],
        &["--tcp", "81"],
        &["--udp=53"],
        &["--udp"],
        &["--icmp"],
    ] {
        let mut arguments = over.to_vec();
        let target = chain.target();
        arguments.push(&target);
        let report = chain.trace(&arguments);
        assert_eq!(report.addresses(), expected, "{over:?}: {:#}", report.value);
        assert_eq!(report.status, Some(0), "{over:?}");
        assert!(report.remarks().is_empty(), "{over:?}: {:#}", report.value);
        let report = chain.trace(&[over, &["fd00:4::2"]].concat());
        assert_eq!(report.status, Some(0), "{over:?}: {:#}", report.value);
        assert_eq!(report.addresses()[1], ["fd00:2::2"], "{over:?}");
    }
    drop(listener);
    Ok(())
}

fn twelve_hops() -> Outcome {
    let chain = chain(11, None);
    let mut longest_ms = 0;
    for _ in 0..runs(3) {
        let start = Instant::now();
        let report = chain.trace(&[&chain.target()]);
        longest_ms = longest_ms.max(start.elapsed().as_millis());
        let expected: Vec<Vec<String>> = (1..=12).map(|hop| vec![chain.router(hop)]).collect();
        assert_eq!(report.addresses(), expected, "{:#}", report.value);
        assert_eq!(report.status, Some(0));
        assert!(report.remarks().is_empty(), "{:#}", report.value);
        for hop in report.hops() {
            assert_eq!(hop["verdict"], "answers");
            assert!(hop["answered"].as_u64().unwrap() >= 3);
            let node = &hop["nodes"][0];
            assert!(node["wire_rtt_ns"]["min"].as_u64() <= node["rtt_ns"]["max"].as_u64());
        }
    }
    println!("twelve hops: at most {longest_ms} ms");
    Ok(())
}

fn ipv6_and_one_hop() -> Outcome {
    let chain = chain(3, None);
    let report = chain.trace(&["fd00:4::2"]);
    let expected: Vec<Vec<String>> = (1..=4).map(|hop| vec![format!("fd00:{hop}::2")]).collect();
    assert_eq!(report.addresses(), expected, "{:#}", report.value);
    assert!(report.remarks().is_empty(), "{:#}", report.value);
    let report = chain.trace(&["10.1.0.2"]);
    assert_eq!(report.addresses(), [["10.1.0.2"]]);
    let report = chain.trace(&["127.0.0.1"]);
    assert_eq!(report.addresses(), [["127.0.0.1"]]);
    Ok(())
}

/// A router that reports one error a second after a burst of six loses nothing.
fn limited_answers_are_no_loss() -> Outcome {
    let chain = chain(4, None);
    for setting in ["icmp_ratelimit", "icmp_ratemask"] {
        let value = if setting == "icmp_ratelimit" {
            "1000"
        } else {
            "6168"
        };
        chain.routers[1].sysctl(&format!("net/ipv4/{setting}"), value)?;
    }
    let mut limited = 0;
    for _ in 0..runs(2) {
        let report = chain.trace(&["--queries", "12", &chain.target()]);
        for hop in 1..=5 {
            assert_ne!(report.verdict(hop), "lossy", "{:#}", report.value);
        }
        let is_limited = report.verdict(2) == "limits_answers";
        if !is_limited {
            println!("{:#}", report.value["hops"][1]);
        }
        limited += usize::from(is_limited);
        assert!(!report.remarks().contains(&"loss"));
    }
    assert_eq!(limited, runs(2), "the two rates prove the limit");
    Ok(())
}

fn loss_is_found() -> Outcome {
    let chain = chain(4, Some(3));
    let mut random = 1u64;
    chain.wires[0].a_to_b(|way| {
        way.drop = Some(Box::new(move |frame| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let is_ipv4 = frame.get(12..14) == Some(&[8, 0]);
            is_ipv4 && (random >> 33) % 10 < 3
        }));
    });
    for _ in 0..runs(2) {
        let report = chain.trace(&[&chain.target()]);
        assert_eq!(report.verdict(2), "answers", "{:#}", report.value);
        for hop in 3..=5 {
            assert_eq!(report.verdict(hop), "lossy", "{:#}", report.value);
        }
        assert!(
            report
                .remark("loss")
                .starts_with("packets are lost behind hop 2")
        );
        assert_eq!(report.status, Some(0));
    }
    Ok(())
}

fn silent_routers() -> Outcome {
    let chain = chain(4, None);
    // It has no way back, so that its errors go nowhere; what it forwards comes back by the others.
    inside(&chain.routers[2], "ip", &["addr", "flush", "dev", "lo"]);
    crate::support::firewall(&chain.routers[2], "output", "icmp type time-exceeded drop");
    let report = chain.trace(&[&chain.target()]);
    assert_eq!(report.verdict(3), "silent", "{:#}", report.value);
    assert_eq!(report.addresses()[4], [chain.target()]);
    assert_eq!(report.status, Some(0));
    // The target does not answer, either.
    crate::support::firewall(&chain.t, "input", "icmp type echo-request drop");
    let report = chain.trace(&["--icmp", "--fast", "-m", "12", &chain.target()]);
    assert_eq!(report.status, Some(1));
    assert_eq!(report.hops().len(), 4);
    assert!(
        report
            .remark("path-ends")
            .contains("hop 4 is the last that did")
    );
    Ok(())
}

fn refusals_and_loops() -> Outcome {
    let chain = chain(4, None);
    inside(
        &chain.routers[1],
        "ip",
        &["route", "add", "prohibit", "10.5.0.0/24"],
    );
    let report = chain.trace(&[&chain.target()]);
    assert_eq!(report.status, Some(1));
    assert_eq!(report.hops().len(), 2, "{:#}", report.value);
    assert!(
        report
            .remark("refused")
            .contains("administratively prohibited")
    );
    inside(
        &chain.routers[1],
        "ip",
        &["route", "del", "prohibit", "10.5.0.0/24"],
    );
    // r3 sends it back to r2.
    inside(
        &chain.routers[2],
        "ip",
        &["route", "add", "10.5.0.0/24", "via", "10.3.0.1"],
    );
    let report = chain.trace(&["-m", "10", "--fast", &chain.target()]);
    assert_eq!(report.status, Some(1));
    let loops = report.remark("loop");
    assert!(loops.contains("10.3.0.2"), "{loops}");
    Ok(())
}

fn probes_that_do_not_leave() -> Outcome {
    let chain = chain(2, None);
    inside(
        &chain.h,
        "ip",
        &["route", "add", "blackhole", "192.0.2.0/24"],
    );
    let report = chain.trace(&["192.0.2.1"]);
    assert_eq!(report.status, Some(2), "{:#}", report.value);
    assert!(
        report.remark("not-sent").contains("blackhole"),
        "{:#}",
        report.value
    );
    // A neighbor that is not there.
    let report = chain.trace(&["10.1.0.77"]);
    assert_eq!(report.status, Some(2), "{:#}", report.value);
    assert!(
        report.remark("not-sent").contains("does not answer ARP"),
        "{:#}",
        report.value
    );
    Ok(())
}

/// Errors that quote what could be a probe, from an address that is no router of the path.
fn forged_errors_change_nothing() -> Outcome {
    let chain = chain(3, None);
    let (own, target): (Ipv4Addr, Ipv4Addr) = ("10.1.0.1".parse()?, chain.target().parse()?);
    let router: Ipv4Addr = "10.1.0.66".parse()?;
    let mac = chain.h.mac("e0")?;
    let expected: Vec<Vec<String>> = (1..=4).map(|hop| vec![chain.router(hop)]).collect();
    let count = runs(3) as u64 * 10_000;
    let stop = AtomicBool::new(false);
    let (sent, traces) = std::thread::scope(|scope| {
        let forger = scope.spawn(|| {
            chain.routers[0].run(|| {
                let mut random = 7u64;
                let mut sent = 0;
                while sent < count || !stop.load(Ordering::Relaxed) {
                    traffic::frames("e0", 1000, Some(20_000), |_, frame| {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        let [a, b, c, d, e, f, ..] = (random >> 8).to_be_bytes();
                        // A datagram from one of the ports that programs get, or an echo request.
                        let (protocol, quoted) = match random >> 63 {
                            0 => (17, vec![0x80 | a, b, 0x82, 0x9a | c & 3, 0, 40, d, e]),
                            _ => (1, vec![8, 0, a, b, c, d, 0, f & 31]),
                        };
                        let quote =
                            messages::ipv4((own, target), (protocol, 1), (0, 0), &[], &quoted);
                        let mut error = vec![11, 0, 0, 0, 0, 0, 0, 0];
                        error.extend(&quote);
                        let check = !(netsonde_core::wire::cursor::sum(&error, 0) as u16);
                        error[2..4].copy_from_slice(&check.to_be_bytes());
                        let packet = messages::ipv4((router, own), (1, 64), (0, 0), &[], &error);
                        *frame = messages::ethernet(mac, 0x0800, &packet);
                    })
                    .unwrap();
                    sent += 1000;
                }
                sent
            })
        });
        let mut traces = 0;
        while !forger.is_finished() {
            for over in ["--udp", "--icmp"] {
                let report = chain.trace(&[over, "--fast", &chain.target()]);
                assert_eq!(report.addresses(), expected, "{over}: {:#}", report.value);
                traces += 1;
            }
            if traces >= runs(3) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        (forger.join().unwrap(), traces)
    });
    println!("{traces} traces beside {sent} forged errors");
    Ok(())
}

/// What routers answered to programs before the trace is shown with its time and what drew it, once for each kind; what
/// traces themselves drew is not.
fn errors_of_other_traffic() -> Outcome {
    let chain = chain(3, None);
    for (host, interface) in [(&chain.routers[1], "e1"), (&chain.routers[2], "e0")] {
        inside(host, "ip", &["link", "set", interface, "mtu", "1300"]);
    }
    let target: Ipv4Addr = chain.target().parse()?;
    let own: Ipv4Addr = "10.1.0.1".parse()?;
    // Nothing was drawn yet, but by this trace.
    let report = chain.trace(&["--fast", &chain.target()]);
    assert_eq!(report.value["drawn"], serde_json::json!([]));
    let before = jiff::Timestamp::now();
    chain.h.run(|| -> std::io::Result<()> {
        let socket = std::net::UdpSocket::bind((own, 4000))?;
        socket.set_ttl(2)?;
        for _ in 0..3 {
            socket.send_to(b"x", (target, 53))?;
        }
        let large = socket2::Socket::from(std::net::UdpSocket::bind((own, 4001))?);
        netsonde::linux::option::set_option(
            &large,
            nix::libc::IPPROTO_IP,
            nix::libc::IP_MTU_DISCOVER,
            &nix::libc::IP_PMTUDISC_PROBE,
        )?;
        large.send_to(&[0; 1400], &std::net::SocketAddr::from((target, 54)).into())?;
        // The same from elsewhere, and to another target.
        socket.send_to(b"x", (Ipv4Addr::new(10, 4, 0, 9), 53))?;
        Ok(())
    })?;
    crate::support::firewall(
        &chain.t,
        "input",
        "tcp dport 443 reject with icmp type admin-prohibited",
    );
    let refused = chain.h.run(|| std::net::TcpStream::connect((target, 443)));
    assert!(refused.is_err());
    let mut report = chain.trace(&["--fast", &chain.target()]);
    let are_there = |report: &Report| report.value["drawn"].as_array().unwrap().len() == 3;
    lab::wait_until(crate::support::PATIENCE, || {
        report = chain.trace(&["--fast", &chain.target()]);
        are_there(&report)
    });
    let drawn = report.value["drawn"].as_array().unwrap();
    assert_eq!(drawn.len(), 3, "{:#}", report.value["drawn"]);
    let of = |port: u16| {
        let found = drawn.iter().find(|one| one["destination_port"] == port);
        found.unwrap_or_else(|| panic!("no {port}: {drawn:#?}"))
    };
    for (port, protocol, from, kind, code, mtu, source_port) in [
        (53, "udp", "10.2.0.2", 11, 0, Value::Null, Some(4000)),
        (54, "udp", "10.2.0.2", 3, 4, 1300.into(), Some(4001)),
        (443, "tcp", "10.4.0.2", 3, 13, Value::Null, None),
    ] {
        let one = of(port);
        assert_eq!(one["protocol"], protocol, "{one}");
        assert_eq!(one["from"], from, "{one}");
        assert_eq!(
            (&one["type"], &one["code"]),
            (&kind.into(), &code.into()),
            "{one}"
        );
        assert_eq!(
            (&one["mtu"], &one["source"]),
            (&mtu, &"10.1.0.1".into()),
            "{one}"
        );
        if let Some(source_port) = source_port {
            assert_eq!(one["source_port"], source_port, "{one}");
        }
        for time in ["first_time", "time"] {
            let at: jiff::Timestamp = one[time].as_str().unwrap().parse()?;
            assert!(at >= before && at <= jiff::Timestamp::now(), "{one}");
        }
    }
    assert_eq!(of(53)["count"], 3);
    assert!(of(443)["count"].as_u64() >= Some(1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(chain.service.socket());
    command.args(["trace", "-n", "--fast", &chain.target()]);
    let output = chain.h.run(|| command.output())?;
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    assert!(
        text.contains("10.2.0.2  fragmentation needed, MTU 1300"),
        "{text}"
    );
    assert!(text.contains("UDP to port 53 from 10.1.0.1"), "{text}");
    Ok(())
}

/// A hundred traces at once by ten users, beside a thousand probes a second of ping: each sees the path, and ping loses
/// nothing. The users have the numbers 2001 to 2010.
fn many_at_once() -> Outcome {
    if !has_users() {
        return crate::support::skip("many_at_once", "this user namespace has one user");
    }
    // Two connections for each trace.
    let config = "[control]\ngroup = \"64100\"\nclients = 250\nclients_per_uid = 24\n[permission]\nprobe = [\"*\"]\n";
    let chain = chain_with(4, None, config);
    chain.service.open_directory();
    let expected: Vec<Vec<String>> = (1..=5).map(|hop| vec![chain.router(hop)]).collect();
    let socket = chain.service.socket();
    let start = Instant::now();
    let (reports, ping) = std::thread::scope(|scope| {
        let ping = scope.spawn(|| {
            let arguments = ["--json", "-q", "ping", "-i", "0.001", "-w", "6", "10.1.0.2"];
            let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
            command.arg("--socket").arg(&socket).args(arguments);
            chain.h.run(|| command.output()).unwrap()
        });
        let all: Vec<_> = (0..100)
            .map(|at| {
                let (chain, socket) = (&chain, &socket);
                scope.spawn(move || {
                    let user = (2001 + at % 10).to_string();
                    let mut command = crate::support::program("setpriv");
                    command.args(["--reuid", &user, "--regid", "64100", "--clear-groups"]);
                    command
                        .arg(env!("CARGO_BIN_EXE_netsonde"))
                        .arg("--socket")
                        .arg(socket);
                    command.args(["--json", "trace", "-n", &chain.target()]);
                    let output = chain.h.run(|| command.output()).unwrap();
                    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                    let value = serde_json::from_slice(&output.stdout);
                    let status = output.status.code();
                    (value.unwrap_or_else(|_| panic!("{errors}")), status)
                })
            })
            .collect();
        let all: Vec<(Value, Option<i32>)> =
            all.into_iter().map(|one| one.join().unwrap()).collect();
        println!("a hundred traces: {} ms", start.elapsed().as_millis());
        (all, ping.join().unwrap())
    });
    for (value, status) in reports {
        let report = Report { value, status };
        assert_eq!(report.addresses(), expected, "{:#}", report.value);
    }
    let lines = String::from_utf8_lossy(&ping.stdout).into_owned();
    let total: Value = serde_json::from_str(lines.lines().last().unwrap())?;
    println!(
        "ping beside them: {} of {}",
        total["received"], total["sent"]
    );
    assert_eq!(total["received"], total["sent"], "{total}");
    Ok(())
}

fn text_and_errors() -> Outcome {
    let chain = chain(2, None);
    let socket = chain.service.socket();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command
            .arg("--socket")
            .arg(&socket)
            .arg("trace")
            .args(arguments);
        let output = chain.h.run(|| command.output()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (text, _) = run(&["-n", &chain.target()]);
    assert!(text.contains("\n\n10.3.0.2 reached in 3 hops"), "{text}");
    assert!(text.contains("HOP  ADDRESS"), "{text}");
    for (arguments, why) in [
        (
            &["-f", "9", "-m", "3", "10.1.0.2"][..],
            "-f 9 is more than -m 3",
        ),
        (&["10.0.0.0/24"], "one host is expected"),
        (&["224.0.0.1"], "one host is expected"),
        (&["-m", "99", "10.1.0.2"], "64"),
    ] {
        let (_, errors) = run(arguments);
        assert!(errors.contains(why), "{arguments:?}: {errors}");
    }
    Ok(())
}
