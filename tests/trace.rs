//! `netsonde trace` on real kernels: every router and every equal way is found, none is invented, and what missing
//! answers mean is told as the test made it.
//!
//! ```text
//!   h  e0 10.1.0.1, netsonded ---- 10.1.0.2 e0  r1  e1 10.2.0.1 ---- 10.2.0.2 e0  r2  ... ---- t
//! ```
//!
//! NETSONDE_TRACE_RUNS sets the number of runs of those tests that repeat a trace.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use netsonde::lab::wire::Wire;
use netsonde::lab::{self, Host, messages, traffic};
use serde_json::Value;
use support::Service;
use support::{has_users, inside};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
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
            ("rounds_show_loss_and_limits", rounds_show_loss_and_limits),
            ("rounds_show_changes", rounds_show_changes),
            ("rounds_outlive_the_engine", rounds_outlive_the_engine),
            ("rounds_are_drawn_in_place", rounds_are_drawn_in_place),
            ("rounds_cost_little", rounds_cost_little),
            (
                "connections_are_not_disturbed",
                connections_are_not_disturbed,
            ),
            ("connections_show_their_way", connections_show_their_way),
            ("connections_are_their_owners", connections_are_their_owners),
            ("connections_behind_trackers", connections_behind_trackers),
            (
                "probes_look_like_their_connection",
                probes_look_like_their_connection,
            ),
            ("many_at_once", many_at_once),
            ("text_and_errors", text_and_errors),
        ],
        3,
    )
}

/// Number of runs of tests that repeat a trace.
fn runs(default: usize) -> usize {
    let given = std::env::var("NETSONDE_TRACE_RUNS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A host, routers one behind the other, and a target.
struct Chain {
    service: Service,
    h: Host,
    routers: Vec<Host>,
    t: Host,
    wires: Vec<Wire>,
}

/// Makes a router that reports as many errors as there are.
fn forward(router: &Host) {
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        router.sysctl(setting, value).unwrap();
    }
    // The limit of all errors together; older kernels have one for all namespaces.
    for setting in ["icmp_msgs_per_sec", "icmp_msgs_burst"] {
        let _ = router.sysctl(&format!("net/ipv4/{setting}"), "1000000");
    }
}

/// Builds a chain. `wired`: the link with this number is a wire.
fn chain(count: usize, wired: Option<usize>) -> Chain {
    chain_with(count, wired, "")
}

fn chain_with(count: usize, wired: Option<usize>, config: &str) -> Chain {
    let host = |name: String| {
        let host = Host::new(&name).unwrap();
        host.sysctl("net/ipv6/conf/default/accept_dad", "0")
            .unwrap();
        host
    };
    let h = host("h".into());
    let routers: Vec<Host> = (1..=count).map(|at| host(format!("r{at}"))).collect();
    let t = host("t".into());
    let mut wires = vec![];
    let all: Vec<&Host> = std::iter::once(&h).chain(&routers).chain([&t]).collect();
    for (at, pair) in all.windows(2).enumerate() {
        let link = at + 1;
        let left = if at == 0 { "e0" } else { "e1" };
        match wired == Some(link) {
            true => wires.push(Wire::new(pair[0], left, pair[1], "e0").unwrap()),
            false => lab::veth(pair[0], left, pair[1], "e0").unwrap(),
        }
        for (host, interface, number) in [(pair[0], left, 1), (pair[1], "e0", 2)] {
            host.address(interface, &format!("10.{link}.0.{number}/24"))
                .unwrap();
            host.address(interface, &format!("fd00:{link}::{number}/64"))
                .unwrap();
        }
    }
    for router in routers.iter().chain([&t]) {
        forward(router);
    }
    for (at, host) in all.iter().enumerate().take(all.len() - 1) {
        host.route("0.0.0.0/0", &format!("10.{}.0.2", at + 1))
            .unwrap();
        host.route("::/0", &format!("fd00:{}::2", at + 1)).unwrap();
    }
    for (at, host) in all.iter().enumerate().skip(1) {
        // The way back; a link of its own is known.
        if at > 1 {
            host.route("10.1.0.0/24", &format!("10.{at}.0.1")).unwrap();
            host.route("fd00:1::/64", &format!("fd00:{at}::1")).unwrap();
        }
    }
    let service = Service::with_config(&h, config, &[]);
    Chain {
        service,
        h,
        routers,
        t,
        wires,
    }
}

impl Chain {
    fn target(&self) -> String {
        format!("10.{}.0.2", self.routers.len() + 1)
    }

    fn router(&self, hop: usize) -> String {
        format!("10.{hop}.0.2")
    }

    fn trace(&self, arguments: &[&str]) -> Report {
        trace(&self.h, &self.service, arguments)
    }
}

/// A trace with its exit status.
struct Report {
    value: Value,
    status: Option<i32>,
}

fn trace(host: &Host, service: &Service, arguments: &[&str]) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command
        .arg("--socket")
        .arg(service.socket())
        .args(["--json", "trace", "-n"]);
    let output = host.run(|| command.args(arguments).output()).unwrap();
    let value = serde_json::from_slice(&output.stdout);
    let value = value
        .unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    Report {
        value,
        status: output.status.code(),
    }
}

impl Report {
    fn hops(&self) -> &Vec<Value> {
        self.value["hops"].as_array().unwrap()
    }

    /// Addresses of each hop.
    fn addresses(&self) -> Vec<Vec<&str>> {
        self.hops()
            .iter()
            .map(|hop| {
                let nodes = hop["nodes"].as_array().unwrap();
                nodes
                    .iter()
                    .map(|node| node["address"].as_str().unwrap())
                    .collect()
            })
            .collect()
    }

    fn verdict(&self, hop: usize) -> &str {
        self.hops()[hop - 1]["verdict"].as_str().unwrap()
    }

    fn remarks(&self) -> Vec<&str> {
        let all = self.value["remarks"].as_array().unwrap();
        all.iter()
            .map(|remark| remark["id"].as_str().unwrap())
            .collect()
    }

    fn remark(&self, id: &str) -> &str {
        let all = self.value["remarks"].as_array().unwrap();
        let found = all.iter().find(|remark| remark["id"] == id);
        let found = found.unwrap_or_else(|| panic!("no {id}: {:#}", self.value));
        found["text"].as_str().unwrap()
    }
}

/// Equal ways of `depth` routers each between two routers.
///
/// ```text
///   h 10.0.1.1 -- 10.0.1.2 a -- 10.WAY.1.2 w1 -- 10.WAY.2.2 w2 -- ... -- 10.WAY.N.2 z -- 10.0.2.2 t
/// ```
struct Ways {
    service: Service,
    h: Host,
    others: Vec<Host>,
    _wire: Option<Wire>,
    count: usize,
    depth: usize,
}

fn ways(count: usize, depth: usize) -> Ways {
    ways_behind(false, count, depth)
}

/// The same; `is_wired`: h is connected by a wire.
fn ways_behind(is_wired: bool, count: usize, depth: usize) -> Ways {
    let host = |name: &str| Host::new(name).unwrap();
    let (h, a, z, t) = (host("h"), host("a"), host("z"), host("t"));
    let mut wire = None;
    let mut link = |one: (&Host, &str), other: (&Host, &str), net: &str| {
        match is_wired && wire.is_none() {
            true => wire = Some(Wire::new(one.0, one.1, other.0, other.1).unwrap()),
            false => lab::veth(one.0, one.1, other.0, other.1).unwrap(),
        }
        one.0.address(one.1, &format!("{net}.1/24")).unwrap();
        other.0.address(other.1, &format!("{net}.2/24")).unwrap();
    };
    link((&h, "e0"), (&a, "h"), "10.0.1");
    link((&z, "t"), (&t, "e0"), "10.0.2");
    let mut others = vec![];
    let mut next_hops = vec![];
    for way in 1..=count {
        let routers: Vec<Host> = (1..=depth)
            .map(|at| host(&format!("w{way}-{at}")))
            .collect();
        for at in 0..=depth {
            let one = if at == 0 {
                (&a, format!("w{way}"))
            } else {
                (&routers[at - 1], "on".into())
            };
            let other = match at == depth {
                true => (&z, format!("w{way}")),
                false => (&routers[at], "in".into()),
            };
            let net = format!("10.{way}.{}", at + 1);
            link((one.0, &one.1), (other.0, &other.1), &net);
        }
        for (at, router) in routers.iter().enumerate() {
            forward(router);
            router
                .route("10.0.2.0/24", &format!("10.{way}.{}.2", at + 2))
                .unwrap();
            router
                .route("10.0.1.0/24", &format!("10.{way}.{}.1", at + 1))
                .unwrap();
        }
        next_hops.extend(["nexthop".to_owned(), "via".into(), format!("10.{way}.1.2")]);
        others.extend(routers);
    }
    for router in [&a, &z, &t] {
        forward(router);
        router
            .sysctl("net/ipv4/fib_multipath_hash_policy", "1")
            .unwrap();
    }
    let mut route = vec!["route", "add", "10.0.2.0/24"];
    route.extend(next_hops.iter().map(String::as_str));
    inside(&a, "ip", &route);
    z.route("10.0.1.0/24", &format!("10.1.{}.1", depth + 1))
        .unwrap();
    h.route("0.0.0.0/0", "10.0.1.2").unwrap();
    t.route("0.0.0.0/0", "10.0.2.1").unwrap();
    others.extend([a, z, t]);
    let service = Service::start(&h, &[]);
    Ways {
        service,
        h,
        others,
        _wire: wire,
        count,
        depth,
    }
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
    support::firewall(&chain.routers[2], "output", "icmp type time-exceeded drop");
    let report = chain.trace(&[&chain.target()]);
    assert_eq!(report.verdict(3), "silent", "{:#}", report.value);
    assert_eq!(report.addresses()[4], [chain.target()]);
    assert_eq!(report.status, Some(0));
    // The target does not answer, either.
    support::firewall(&chain.t, "input", "icmp type echo-request drop");
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
    support::firewall(
        &chain.t,
        "input",
        "tcp dport 443 reject with icmp type admin-prohibited",
    );
    let refused = chain.h.run(|| std::net::TcpStream::connect((target, 443)));
    assert!(refused.is_err());
    let mut report = chain.trace(&["--fast", &chain.target()]);
    let are_there = |report: &Report| report.value["drawn"].as_array().unwrap().len() == 3;
    lab::wait_until(support::PATIENCE, || {
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

/// A trace that goes on, by its documents.
struct Rounds {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn rounds(host: &Host, service: &Service, arguments: &[&str]) -> Rounds {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(["--json", "trace", "-n", "--continuous"]);
    command.args(arguments).stdout(Stdio::piped());
    let mut child = host.run(|| command.spawn()).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Rounds { child, lines }
}

impl Rounds {
    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Reads rounds until a condition holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let round = self
                .next()
                .unwrap_or_else(|| panic!("{what}: it has ended"));
            if holds(&round) {
                return round;
            }
            assert!(start.elapsed() < support::PATIENCE, "{what}: {round:#}");
        }
    }

    /// Interrupts it, and returns its exit status with the last document, if there is a further one.
    fn end(mut self) -> (Option<i32>, Option<Value>) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut last = None;
        while let Some(round) = self.next() {
            last = Some(round);
        }
        (self.child.wait().unwrap().code(), last)
    }
}

fn states(round: &Value) -> Vec<&str> {
    let hops = round["hops"].as_array().unwrap();
    hops.iter()
        .map(|hop| hop["state"].as_str().unwrap())
        .collect()
}

/// A router that limits its errors misses many answers and loses nothing; a wire that loses three of ten is lossy from
/// there on, for as long as it runs.
fn rounds_show_loss_and_limits() -> Outcome {
    let chain = chain(4, Some(4));
    for (setting, value) in [("icmp_ratelimit", "1000"), ("icmp_ratemask", "6168")] {
        chain.routers[1].sysctl(&format!("net/ipv4/{setting}"), value)?;
    }
    let target = chain.target();
    let count = 100;
    let arguments = ["-c", &count.to_string(), "-i", "0.1", &target];
    let mut all = rounds(&chain.h, &chain.service, &arguments);
    for number in 1..=count {
        let round = all.next().unwrap();
        assert_eq!(round["round"], number);
        assert_eq!(round["drawn"].is_array(), number == 1, "{round}");
        let states = states(&round);
        assert!(!states.contains(&"lossy"), "{round:#}");
        if number == count {
            println!("{round:#}");
            let hop = &round["hops"][1];
            assert!(hop["unanswered_percent"].as_f64() > Some(50.0), "{hop:#}");
            assert_eq!(hop["loss_percent"], 0.0, "{hop:#}");
            assert!(["misses_answers", "now_silent"].contains(&states[1]));
            for at in [0, 2, 3, 4] {
                assert_eq!(states[at], "answers", "{round:#}");
                let rtt = &round["hops"][at]["wire_rtt_ns"];
                let [min, avg, max] = ["min", "avg", "max"].map(|key| rtt[key].as_u64().unwrap());
                assert!(0 < min && min <= avg && avg <= max, "{rtt}");
            }
            assert_eq!(round["hops"][0]["sent"], count);
        }
    }
    assert_eq!(all.end().0, Some(0));
    let mut random = 1u64;
    chain.wires[0].a_to_b(|way| {
        way.drop = Some(Box::new(move |frame| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            frame.get(12..14) == Some(&[8, 0]) && (random >> 33) % 10 < 3
        }));
    });
    let arguments = ["-c", "200", "-i", "0.1", &target];
    let mut all = rounds(&chain.h, &chain.service, &arguments);
    let last = all.until("200 rounds", |round| round["round"] == 200);
    let loss = |at: usize| last["hops"][at]["loss_percent"].as_f64().unwrap();
    println!("loss: {:?}", (0..5).map(loss).collect::<Vec<_>>());
    assert_eq!((loss(0), loss(1), loss(2)), (0.0, 0.0, 0.0), "{last:#}");
    for at in [3, 4] {
        assert!((18.0..42.0).contains(&loss(at)), "{last:#}");
        assert!(
            ["lossy", "misses_answers"].contains(&states(&last)[at]),
            "{last:#}"
        );
    }
    assert_eq!(states(&last)[3], "lossy");
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

/// A way that changes while it is watched is told with both addresses and the time, once.
fn rounds_show_changes() -> Outcome {
    let ways = ways(2, 1);
    let a = &ways.others[ways.others.len() - 3];
    inside(
        a,
        "ip",
        &["route", "replace", "10.0.2.0/24", "via", "10.1.1.2"],
    );
    let mut all = rounds(&ways.h, &ways.service, &["-i", "0.1", "10.0.2.2"]);
    let before = all.until("ten rounds", |round| round["round"] == 10);
    assert_eq!(before["hops"][1]["address"], "10.1.1.2");
    assert_eq!(before["changes"], serde_json::json!([]), "{before:#}");
    let from = jiff::Timestamp::now();
    inside(
        a,
        "ip",
        &["route", "replace", "10.0.2.0/24", "via", "10.2.1.2"],
    );
    let has_changed = |round: &Value| round["change_count"] != 0;
    let after = all.until("the change", has_changed);
    let change = &after["changes"][0];
    println!("{change}");
    assert_eq!(change["text"], "hop 2 changed from 10.1.1.2 to 10.2.1.2");
    assert_eq!(
        (&change["id"], &change["hop"]),
        (&"hop-changed".into(), &2.into())
    );
    let at: jiff::Timestamp = change["time"].as_str().unwrap().parse()?;
    assert!(at >= from && at <= jiff::Timestamp::now(), "{at} {from}");
    let number = after["round"].as_u64().unwrap() + 5;
    let later = all.until("five more", |round| round["round"] == number);
    assert_eq!(later["change_count"], 1, "{later:#}");
    // Now the target is away for a while.
    support::firewall(
        &ways.others[ways.others.len() - 1],
        "prerouting",
        "ip daddr 10.0.2.2 drop",
    );
    let gone = all.until("silence", |round| round["change_count"] == 2);
    assert_eq!(gone["changes"][1]["id"], "target-silent", "{gone:#}");
    assert_eq!(states(&gone)[3], "now_silent", "{gone:#}");
    support::firewall(&ways.others[ways.others.len() - 1], "prerouting", "");
    let back = all.until("its return", |round| round["change_count"] == 3);
    assert_eq!(back["changes"][2]["id"], "target-answers", "{back:#}");
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

/// An engine that dies ends the run, not the trace.
fn rounds_outlive_the_engine() -> Outcome {
    let chain = chain(2, None);
    let mut all = rounds(&chain.h, &chain.service, &["-i", "0.1", &chain.target()]);
    let before = all.until("five rounds", |round| round["round"] == 5);
    assert_eq!(states(&before), ["answers"; 3]);
    nix::sys::signal::kill(chain.service.engine(), nix::sys::signal::Signal::SIGKILL)?;
    let has_resumed = |round: &Value| {
        let changes = round["changes"].as_array().unwrap();
        changes.iter().any(|change| change["id"] == "resumed")
    };
    let after = all.until("another engine", has_resumed);
    println!("{:#}", after["changes"]);
    let sent = after["hops"][2]["sent"].as_u64();
    let later = all.until("answers", |round| round["hops"][2]["sent"].as_u64() > sent);
    assert_eq!(later["hops"][2]["address"], chain.target());
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

/// CPU time of a process so far, in nanoseconds.
fn cpu_ns(pid: i32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| -> u64 {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    tasks.map(of_task).sum()
}

/// A round a second over twelve hops takes at most half a percent of a core, client and service together; five times as
/// much without optimization.
fn rounds_cost_little() -> Outcome {
    let mut chain = chain(11, None);
    let mut all = rounds(&chain.h, &chain.service, &[&chain.target()]);
    let pids = [
        all.child.id() as i32,
        chain.service.engine().as_raw(),
        chain.service.keeper().as_raw(),
    ];
    all.until("the first rounds", |round| round["round"] == 3);
    let (before, start) = (pids.map(cpu_ns), Instant::now());
    all.until("ten more", |round| round["round"] == 13);
    let (after, took) = (pids.map(cpu_ns), start.elapsed());
    let each: Vec<f64> = (0..3)
        .map(|at| (after[at] - before[at]) as f64 * 100.0 / took.as_nanos() as f64)
        .collect();
    let percent: f64 = each.iter().sum();
    println!("client, engine, keeper: {each:.3?} % of a core, {percent:.3} % in all");
    assert!(
        percent < if cfg!(debug_assertions) { 2.5 } else { 0.5 },
        "{percent}"
    );
    assert_eq!(all.end().0, Some(0));
    Ok(())
}

fn rounds_are_drawn_in_place() -> Outcome {
    let chain = chain(3, None);
    let client = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command.arg("--socket").arg(chain.service.socket());
        command.args(["trace", "-n", "--continuous"]);
        command.args(arguments).arg(chain.target());
        command
    };
    let shown = chain.h.run(|| {
        support::terminal::shown_raw_until(&mut client(&["-i", "0.1"]), 80, |text| {
            text.contains("12 rounds since")
        })
    })?;
    assert!(shown.matches("\u{1b}[2J").count() == 1, "{shown:?}");
    assert!(shown.matches("\u{1b}[H").count() >= 12, "{shown:?}");
    let mut last = shown.rsplit("\u{1b}[H").next().unwrap().to_owned();
    for sequence in ["\u{1b}[K", "\u{1b}[J", "\u{1b}[1m", "\u{1b}[0m", "\r"] {
        last = last.replace(sequence, "");
    }
    println!("{last}");
    assert!(
        last.lines().all(|line| line.chars().count() <= 80),
        "{last}"
    );
    assert!(last.starts_with("10.4.0.2 over UDP; 1"), "{last}");
    assert_eq!(last.matches("10.4.0.2").count(), 2, "{last}");
    // Without a terminal there is one table, at the end.
    let output = chain.h.run(|| client(&["-c", "3", "-i", "0.1"]).output())?;
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    assert_eq!(text.matches("HOP").count(), 1, "{text}");
    assert!(
        text.starts_with("10.4.0.2 over UDP; 3 rounds since"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    for (arguments, why) in [
        (&["--flows", "2"][..], "cannot be used with"),
        (&["-W", "60", "-i", "0.1"], "choose a longer -i"),
        (&["-i", "0.01"], "0.1 s to one hour"),
    ] {
        let output = chain.h.run(|| client(arguments).output())?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(why), "{arguments:?}: {errors}");
    }
    Ok(())
}

/// Makes a connection from `h` to a server at `t` that returns what it gets.
fn connection(h: &Host, t: &Host, target: &str) -> (TcpStream, std::thread::JoinHandle<()>) {
    let address: std::net::IpAddr = target.parse().unwrap();
    let listener = t.run(|| TcpListener::bind((address, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut room = [0; 16_384];
        while let Ok(length @ 1..) = stream.read(&mut room) {
            stream.write_all(&room[..length]).unwrap();
        }
    });
    let stream = h.run(|| TcpStream::connect((address, port))).unwrap();
    (stream, server)
}

/// Both ends as `netsonde connections` prints them.
fn name(stream: &TcpStream) -> String {
    let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    format!("{local}-{peer}")
}

/// Segments that the kernel sent again, and those that came out of order or twice.
#[allow(unsafe_code)]
fn disturbed(stream: &TcpStream) -> [u32; 3] {
    // SAFETY: all zeros are a valid value of this structure of numbers.
    let mut info: nix::libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<nix::libc::tcp_info>() as nix::libc::socklen_t;
    // SAFETY: pointer and length are those of `info`.
    let result = unsafe {
        nix::libc::getsockopt(
            stream.as_raw_fd(),
            nix::libc::IPPROTO_TCP,
            nix::libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    [
        info.tcpi_total_retrans,
        info.tcpi_dsack_dups,
        info.tcpi_reord_seen,
    ]
}

/// A counter of a host, as nstat(8) names it.
fn counter(host: &Host, name: &str) -> u64 {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let text =
        text + &host.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap());
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks(2) {
        let (group, names) = pair[0].split_once(": ").unwrap();
        let (_, values) = pair[1].split_once(": ").unwrap();
        let of = names
            .split(' ')
            .position(|one| name == format!("{group}{one}"));
        if let Some(at) = of {
            return values.split(' ').nth(at).unwrap().parse().unwrap();
        }
    }
    panic!("no counter {name}");
}

/// A connection that carries data meanwhile has all its bytes in order, no reset and nothing sent again, and both kernels
/// saw nothing of the probes but wrong checksums.
fn connections_are_not_disturbed() -> Outcome {
    let chain = chain(3, None);
    for (target, is_ipv4) in [(chain.target(), true), ("fd00:4::2".to_owned(), false)] {
        let (stream, server) = connection(&chain.h, &chain.t, &target);
        let name = name(&stream);
        let watched = [&chain.h, &chain.t];
        let counters = [
            "TcpEstabResets",
            "TcpOutRsts",
            "TcpRetransSegs",
            "TcpExtTCPChallengeACK",
            "TcpExtTCPACKSkippedSeq",
            "TcpExtTCPACKSkippedChallenge",
            "TcpExtTCPDSACKRecv",
        ];
        let count = |name: &str| watched.map(|host| counter(host, name));
        let before = counters.map(count);
        let wrong = counter(&chain.t, "TcpInCsumErrors");
        let stop = AtomicBool::new(false);
        let (reports, bytes) = std::thread::scope(|scope| {
            let data = scope.spawn(|| {
                let mut stream = &stream;
                let (mut number, mut bytes) = (0u64, 0u64);
                let mut sent = vec![0u8; 8192];
                let mut back = vec![0u8; 8192];
                while !stop.load(Ordering::Relaxed) {
                    for part in sent.chunks_exact_mut(8) {
                        part.copy_from_slice(&number.to_le_bytes());
                        number += 1;
                    }
                    stream.write_all(&sent).unwrap();
                    stream.read_exact(&mut back).unwrap();
                    assert!(sent == back);
                    bytes += 8192;
                }
                bytes
            });
            let reports: Vec<Report> = (0..3)
                .map(|_| {
                    trace(
                        &chain.h,
                        &chain.service,
                        &["--queries", "20", "--like", &name],
                    )
                })
                .collect();
            stop.store(true, Ordering::Relaxed);
            (reports, data.join().unwrap())
        });
        println!("{name}: {bytes} bytes meanwhile, {:?}", disturbed(&stream));
        for report in &reports {
            let expected: Vec<Vec<String>> = (1..=3)
                .map(|hop| match is_ipv4 {
                    true => vec![chain.router(hop)],
                    false => vec![format!("fd00:{hop}::2")],
                })
                .collect();
            assert_eq!(report.addresses(), expected, "{:#}", report.value);
            assert_eq!(report.status, Some(0), "{:#}", report.value);
            assert_eq!(report.value["like"]["state"], "ESTAB", "{:#}", report.value);
            assert_eq!(report.value["like"]["tos"], 0, "{:#}", report.value);
            let remarks = report.remarks();
            assert_eq!(remarks, ["target-drops"], "{:#}", report.value);
            assert!(
                report
                    .remark("target-drops")
                    .contains("TTL of 61, as after 4 hops")
            );
            for hop in report.hops() {
                assert_eq!(hop["sent"], hop["answered"], "{hop:#}");
                assert!(
                    hop["nodes"][0]["wire_rtt_ns"]["min"].as_u64() > Some(0),
                    "{hop:#}"
                );
            }
        }
        assert!(bytes > 1_000_000, "{bytes}");
        assert_eq!(disturbed(&stream), [0; 3]);
        assert_eq!(counters.map(count), before, "{counters:?}");
        // They did arrive there.
        assert!(counter(&chain.t, "TcpInCsumErrors") > wrong);
        stream.shutdown(std::net::Shutdown::Write)?;
        server.join().unwrap();
        // It has ended here.
        let gone = trace_output(&chain, &["--like", &name]);
        assert!(gone.contains("has no TCP connection"), "{gone}");
    }
    Ok(())
}

/// What a trace prints on standard error.
fn trace_output(chain: &Chain, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(chain.service.socket());
    command.args(["trace", "-n"]).args(arguments);
    let output = chain.h.run(|| command.output()).unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Packets that a host has received on an interface.
fn received(host: &Host, interface: &str) -> u64 {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    let line = text.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        (name.trim() == interface).then_some(counters)
    });
    let packets = line.unwrap().split_whitespace().nth(1);
    packets.unwrap().parse().unwrap()
}

/// Among four equal ways, the one that a trace finds is the one that the connection's own packets take: the interface
/// counters of the routers judge.
fn connections_show_their_way() -> Outcome {
    // A packet that crosses a veth pair has the hash of its sender's socket, which the router would use.
    let ways = ways_behind(true, 4, 1);
    let target = &ways.others[ways.others.len() - 1];
    let mut taken = std::collections::BTreeMap::new();
    for _ in 0..20 {
        let (stream, _server) = connection(&ways.h, target, "10.0.2.2");
        let before: Vec<u64> = (0..4)
            .map(|way| received(&ways.others[way], "in"))
            .collect();
        let (mut one, data) = (&stream, [7u8; 1000]);
        for _ in 0..20 {
            one.write_all(&data)?;
            one.read_exact(&mut [0u8; 1000])?;
        }
        let moved: Vec<u64> = (0..4)
            .map(|way| received(&ways.others[way], "in") - before[way])
            .collect();
        // The way back comes in by other interfaces.
        let way = (0..4).filter(|way| moved[*way] >= 20).collect::<Vec<_>>();
        let [way] = way[..] else {
            panic!("{moved:?}");
        };
        let report = trace(
            &ways.h,
            &ways.service,
            &["--fast", "--like", &name(&stream)],
        );
        let expected = format!("10.{}.1.2", way + 1);
        assert_eq!(
            report.addresses()[1],
            [expected],
            "{moved:?} {:#}",
            report.value
        );
        *taken.entry(way).or_insert(0) += 1;
    }
    println!("ways of 20 connections: {taken:?}");
    assert!(taken.len() > 1, "{taken:?}");
    Ok(())
}

/// Rules that drop what belongs to no connection: on output of this host the trace says so; a router that translates
/// answers, and what is behind it is silent. The connection goes on in all cases.
fn connections_behind_trackers() -> Outcome {
    let chain = chain(3, None);
    let echo = |mut stream: &TcpStream| {
        stream.write_all(&[7; 1000]).unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
    };
    for rule in ["ct state invalid drop", "ct state invalid counter"] {
        // Of a connection that it saw from the first packet on, the kernel knows the windows. By the numbers of each
        // segment it takes it for invalid, or for a late one that it need not look at.
        support::firewall(&chain.h, "output", rule);
        let (stream, _server) = connection(&chain.h, &chain.t, &chain.target());
        echo(&stream);
        let report = chain.trace(&["--fast", "-m", "6", "--like", &name(&stream)]);
        if report.remarks().contains(&"not-sent") {
            assert!(rule.ends_with("drop"), "{:#}", report.value);
            let why = report.remark("not-sent");
            assert!(why.contains("consistent with a firewall rule"), "{why}");
        } else {
            assert_eq!(report.addresses().len(), 3, "{:#}", report.value);
        }
        echo(&stream);
        assert_eq!(disturbed(&stream), [0; 3], "{rule}");
    }
    support::firewall(&chain.h, "output", "");
    // r1 translates.
    support::load_rules(
        &chain.routers[0],
        "flush ruleset\ntable ip n {\nchain c {\ntype nat hook postrouting priority 100;\noifname e1 masquerade\n}\n}\n",
    );
    for router in &chain.routers[1..] {
        inside(router, "ip", &["route", "del", "10.1.0.0/24"]);
    }
    inside(&chain.t, "ip", &["route", "del", "10.1.0.0/24"]);
    chain.routers[2].route("10.2.0.0/24", "10.3.0.1")?;
    chain.t.route("10.2.0.0/24", "10.4.0.1")?;
    let (stream, _server) = connection(&chain.h, &chain.t, &chain.target());
    echo(&stream);
    let report = chain.trace(&["--fast", "-m", "8", "--like", &self::name(&stream)]);
    println!("{:#}", report.value["remarks"]);
    assert_eq!(report.addresses(), [["10.1.0.2"]], "{:#}", report.value);
    echo(&stream);
    assert_eq!(disturbed(&stream), [0; 3]);
    Ok(())
}

/// What a wire sees of a TCP segment: whether it is a probe, what routers may look at, and its sequence number.
fn of_segment(frame: &[u8]) -> Option<(bool, [u8; 4], u32)> {
    // Version, type of service, flow label.
    let (head, tcp) = match frame.get(12..14)? {
        [0x08, 0x00] if frame.get(23) == Some(&6) => ([0x45, frame[15], 0, 0], 34),
        [0x86, 0xdd] if frame.get(20) == Some(&6) => {
            ([frame[14], frame[15], frame[16], frame[17]], 54)
        }
        _ => return None,
    };
    let header = frame.get(tcp..tcp + 20)?;
    let is_probe = header[13] == 0x10 && header[8..12] == [0; 4];
    if is_probe {
        assert_eq!((header[12], frame.len() - tcp), (0x50, 20), "{frame:?}");
    }
    Some((
        is_probe,
        head,
        u32::from_be_bytes(header[4..8].try_into().unwrap()),
    ))
}

/// Probes have the type of service and the flow label of their connection, and no sequence number near its own.
fn probes_look_like_their_connection() -> Outcome {
    let chain = chain(2, Some(1));
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen_on_wire = seen.clone();
    chain.wires[0].a_to_b(|way| {
        way.drop = Some(Box::new(move |frame| {
            seen_on_wire.lock().unwrap().extend(of_segment(frame));
            false
        }));
    });
    for target in [chain.target(), "fd00:3::2".to_owned()] {
        let (stream, _server) = connection(&chain.h, &chain.t, &target);
        let (level, option) = match target.contains(':') {
            true => (nix::libc::IPPROTO_IPV6, nix::libc::IPV6_TCLASS),
            false => (nix::libc::IPPROTO_IP, nix::libc::IP_TOS),
        };
        netsonde::linux::option::set_option(&stream, level, option, &0x48)?;
        let mut one = &stream;
        one.write_all(&[7; 1000])?;
        one.read_exact(&mut [0; 1000])?;
        let is_known = || {
            seen.lock().unwrap().clear();
            let report = chain.trace(&["--fast", "--like", &name(&stream)]);
            assert_eq!(report.addresses().len(), 2, "{:#}", report.value);
            report.value["like"]["tos"] == 0x48
        };
        assert!(lab::wait_until(support::PATIENCE, is_known));
        one.write_all(&[7; 1000])?;
        one.read_exact(&mut [0; 1000])?;
        let all = seen.lock().unwrap().clone();
        let [probes, own] = [true, false].map(|is_probe| {
            let all = all.iter().filter(|one| one.0 == is_probe);
            all.map(|one| (one.1, one.2)).collect::<Vec<_>>()
        });
        // The command that lists connections counts none of them as the connection's.
        let port = stream.local_addr()?.port().to_string();
        let listed = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
            command.arg("--socket").arg(chain.service.socket());
            command.args(["--json", "connections", "-n", "--port", &port]);
            let output = chain.h.run(|| command.output()).unwrap();
            let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
            listed["connections"][0].clone()
        };
        let are_all = || listed()["sent_bytes"] == 2000;
        assert!(
            lab::wait_until(support::PATIENCE, are_all),
            "{:#}",
            listed()
        );
        println!(
            "{} probes as {:02x?}, {} segments",
            probes.len(),
            probes[0].0,
            own.len()
        );
        assert!(probes.len() >= 6 && !own.is_empty(), "{all:?}");
        let (head, sequence) = own[own.len() - 1];
        for (of_probe, number) in probes {
            assert_eq!(of_probe, head, "{own:02x?}");
            let away = number.wrapping_sub(sequence);
            assert!((1 << 30..3 << 30).contains(&u64::from(away)), "{away:#x}");
        }
    }
    Ok(())
}

/// Only the owner of a connection, and root, may probe along it; what is none is refused with words.
fn connections_are_their_owners() -> Outcome {
    let config = "[control]\ngroup = \"64100\"\n[permission]\nprobe = [\"*\"]\n";
    let chain = chain_with(2, None, if has_users() { config } else { "" });
    let (stream, _server) = connection(&chain.h, &chain.t, &chain.target());
    let peer = stream.peer_addr()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(chain.service.socket());
    command.args(["trace", "-n", "--like", &name(&stream)]);
    let output = chain.h.run(|| command.output())?;
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    let summary = format!("\nthe way of {}: 2 hops answered; ", name(&stream));
    assert!(
        text.contains(&summary) && !text.contains("explored"),
        "{text}"
    );
    // What these probes drew is nothing that the connection drew.
    let report = chain.trace(&["--fast", &chain.target()]);
    assert_eq!(report.value["drawn"], serde_json::json!([]));
    // The other end alone is enough while there is one.
    let report = chain.trace(&["--fast", "--like", &peer.to_string()]);
    assert_eq!(report.addresses().len(), 2, "{:#}", report.value);
    for (like, why) in [
        (
            "10.3.0.2:1",
            "has no TCP connection 10.3.0.2:1 that lives; to 10.3.0.2 there is 10.1.0.1:",
        ),
        ("10.9.0.2:1", "`netsonde connections` lists them"),
        ("10.3.0.2", "expected ADDRESS:PORT"),
        ("example.org:443", "expected ADDRESS:PORT"),
    ] {
        let errors = trace_output(&chain, &["--like", like]);
        assert!(errors.contains(why), "{like}: {errors}");
    }
    for others in [
        &["--udp"][..],
        &["10.3.0.2"],
        &["--continuous"],
        &["--flows", "2"],
    ] {
        let errors = trace_output(&chain, &[&["--like", &peer.to_string()], others].concat());
        assert!(
            errors.contains("cannot be used with"),
            "{others:?}: {errors}"
        );
    }
    // The service itself is not to be talked into more.
    let run = |call: &Value| {
        let mut connection =
            netsonde::varlink::client::Connection::open(&chain.service.socket()).unwrap();
        connection
            .call_more("io.netsonde.Trace.Probe", call)
            .unwrap();
        match connection.reply() {
            Ok(reply) => panic!("{call}: {}", reply.parameters),
            Err(error) => error.to_string(),
        }
    };
    let port = stream.local_addr()?.port();
    let good = serde_json::json!({
        "transport": "tcp", "port": peer.port(), "source": "10.1.0.1", "connection": { "source_port": port },
    });
    for (change, why) in [
        (
            serde_json::json!({ "transport": "udp" }),
            "only with the transport tcp",
        ),
        (
            serde_json::json!({ "source": null }),
            "needs an address as source",
        ),
        (
            serde_json::json!({ "connection": { "source_port": 0 } }),
            "source_port",
        ),
        (
            serde_json::json!({ "connection": { "source_port": port, "flow_label": 1 } }),
            "flow_label",
        ),
        (
            serde_json::json!({ "connection": { "source_port": port - 1 } }),
            "no TCP connection from 10.1.0.1",
        ),
        (
            serde_json::json!({ "port": peer.port() - 1 }),
            "no TCP connection from 10.1.0.1",
        ),
        (
            serde_json::json!({ "source": "10.1.0.2" }),
            "no TCP connection from 10.1.0.2",
        ),
    ] {
        let mut options = good.clone();
        for (key, value) in change.as_object().unwrap() {
            options[key] = value.clone();
        }
        let call = serde_json::json!({ "target": "10.3.0.2", "open": true, "probes": [], "options": options });
        let error = run(&call);
        assert!(error.contains(why), "{call}: {error}");
    }
    let flows = serde_json::json!({
        "target": "10.3.0.2", "options": good, "probes": [{ "number": 1, "hop_limit": 1, "flow": 1 }],
    });
    assert!(run(&flows).contains("flows of a connection"));
    if !has_users() {
        return support::skip("connections of others", "this user namespace has one user");
    }
    chain.service.open_directory();
    let of_user = |json: &[&str]| {
        let mut command = support::program("setpriv");
        command.args(["--reuid", "2001", "--regid", "64100", "--clear-groups"]);
        command
            .arg(env!("CARGO_BIN_EXE_netsonde"))
            .arg("--socket")
            .arg(chain.service.socket());
        command
            .args(json)
            .args(["trace", "-n", "--fast", "--like", &name(&stream)]);
        chain.h.run(|| command.output()).unwrap()
    };
    let output = of_user(&[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("only root may use the connection of another user"),
        "{errors}"
    );
    // Now it is that user's.
    std::os::unix::fs::fchown(&stream, Some(2001), None)?;
    let output = of_user(&["--json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    Ok(())
}

/// A hundred traces at once by ten users, beside a thousand probes a second of ping: each sees the path, and ping loses
/// nothing. The users have the numbers 2001 to 2010.
fn many_at_once() -> Outcome {
    if !has_users() {
        return support::skip("many_at_once", "this user namespace has one user");
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
                    let mut command = support::program("setpriv");
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
