//! `netsonde trace` through routers with faults that routers of the kernel cannot have: each is named where it occurs,
//! and nothing else is.
//!
//! ```text
//!   h  e0 10.1.0.2, netsonded ---- 10.1.0.1  r1 ---- 10.2.0.1  r2 ---- 10.3.0.1  r3 ---- ... ---- 10.255.0.2 e0  t
//! ```
//!
//! NETSONDE_TRACE_RUNS sets the number of runs of those tests that repeat a trace.
#[path = "peers.rs"]
mod peers;

use std::process::Command;

use crate::support::{Service, Test};
use netsonde::lab::Host;
use netsonde::lab::router::errors::Interface;
use netsonde::lab::router::hop::{
    Filter, Limit, Mtu, Next, Quotes, Router, Spread, Translation, Ttl, Way,
};
use netsonde::lab::router::{self, Network, TARGET};
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

pub const TESTS: &[(&str, Test)] = &[
    ("healthy_paths_have_no_remark", healthy_paths_have_no_remark),
    ("limited_errors_are_no_loss", limited_errors_are_no_loss),
    ("lossy_links_are_found", lossy_links_are_found),
    ("labels_and_interfaces", labels_and_interfaces),
    ("translated_addresses", translated_addresses),
    ("changed_type_of_service", changed_type_of_service),
    ("ttl_zero_is_passed_on", ttl_zero_is_passed_on),
    ("rewritten_ttl", rewritten_ttl),
    ("loops", loops),
    ("other_ways_back", other_ways_back),
    ("answers_from_other_addresses", answers_from_other_addresses),
    ("silent_hops", silent_hops),
    ("refused_ports", refused_ports),
    ("path_mtu", path_mtu),
    ("path_mtu_of_a_lossy_path", path_mtu_of_a_lossy_path),
    ("faults_together", faults_together),
    ("one_way_loses", one_way_loses),
    ("equal_ways_by_each_hash", equal_ways_by_each_hash),
    ("side_by_side", peers::side_by_side),
    ("table_is_up_to_date", peers::table_is_up_to_date),
];

/// Number of runs of tests that repeat a trace.
fn runs(default: usize) -> usize {
    let given = std::env::var("NETSONDE_TRACE_RUNS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A host with the service, routers in user space, and a target.
struct Net {
    service: Service,
    h: Host,
    t: Host,
    routers: Network,
}

fn net(routers: Vec<Router>) -> Net {
    let (h, t) = (Host::new("h").unwrap(), Host::new("t").unwrap());
    let routers = Network::new(&h, &t, routers).unwrap();
    // A target that reports every closed port.
    for (setting, value) in [
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        t.sysctl(setting, value).unwrap();
    }
    let service = Service::start(&h, &[]);
    Net {
        service,
        h,
        t,
        routers,
    }
}

impl Net {
    fn trace(&self, arguments: &[&str]) -> Report {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command.arg("--socket").arg(self.service.socket());
        command.args(["--json", "trace", "-n"]).args(arguments);
        let output = self.h.run(|| command.output()).unwrap();
        let value = serde_json::from_slice(&output.stdout);
        let value = value.unwrap_or_else(|_| {
            panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr))
        });
        Report {
            value,
            status: output.status.code(),
        }
    }
}

/// A trace with its exit status.
struct Report {
    value: Value,
    status: Option<i32>,
}

impl Report {
    fn hops(&self) -> &Vec<Value> {
        self.value["hops"].as_array().unwrap()
    }

    fn verdict(&self, hop: usize) -> &str {
        self.hops()[hop - 1]["verdict"].as_str().unwrap()
    }

    /// Text of a remark.
    fn text(&self, id: &str) -> &str {
        let all = self.value["remarks"].as_array().unwrap();
        let found = all.iter().find(|remark| remark["id"] == id);
        let found = found.unwrap_or_else(|| panic!("no {id}: {:#}", self.value));
        found["text"].as_str().unwrap()
    }

    /// Remarks as names with hops.
    fn remarks(&self) -> Vec<(&str, Option<u64>)> {
        let all = self.value["remarks"].as_array().unwrap();
        all.iter()
            .map(|one| (one["id"].as_str().unwrap(), one["hop"].as_u64()))
            .collect()
    }
}

const OVERS: [&[&str]; 3] = [&["--udp"], &["--icmp"], &["--tcp=80"]];

fn healthy_paths_have_no_remark() -> Outcome {
    let net = net(router::chain(5));
    let healthy = |targets: &[&str]| {
        for target in targets {
            for over in OVERS {
                let report = net.trace(&[over, &[*target]].concat());
                assert_eq!(report.status, Some(0), "{:#}", report.value);
                assert_eq!(report.hops().len(), 6, "{:#}", report.value);
                only(&report, &[]);
            }
        }
    };
    healthy(&TARGET);
    // Quotes of eight bytes, as RFC 792 has them; errors that start with another TTL.
    for at in 0..5 {
        net.routers.change(at, |router| {
            router.extras.quoted_bytes = Some(8);
            router.first_ttl = 255;
        });
    }
    healthy(&TARGET[..1]);
    Ok(())
}

/// Requires that the only remarks are of these kinds, at these hops.
#[track_caller]
fn only(report: &Report, expected: &[(&str, u64)]) {
    let found: Vec<(&str, u64)> = (report.remarks().into_iter())
        .map(|(id, hop)| (id, hop.unwrap_or(0)))
        .collect();
    assert_eq!(found, expected, "{:#}", report.value);
}

/// Traces over UDP and echo, IPv4 and IPv6, and requires these remarks of each.
#[track_caller]
fn each(net: &Net, overs: &[&[&str]], expected: &[(&str, u64)]) -> Vec<Report> {
    let mut all = vec![];
    for target in TARGET {
        for over in overs {
            let mut arguments = over.to_vec();
            arguments.push(target);
            let report = net.trace(&arguments);
            println!("{target} {over:?}: {:?}", report.value["remarks"]);
            only(&report, expected);
            all.push(report);
        }
    }
    all
}

fn limited_errors_are_no_loss() -> Outcome {
    let net = net(router::chain(4));
    for (burst, per_second) in [(1, 1), (3, 1), (1, 2)] {
        net.routers.change(1, |router| {
            router.limit = Some(Limit { burst, per_second });
        });
        for _ in 0..runs(1) {
            let all = each(&net, &OVERS[..2], &[("limits-answers", 2)]);
            for report in all {
                assert_eq!(report.status, Some(0));
                assert_eq!(report.verdict(2), "limits_answers");
                let pinged = &report.hops()[1]["nodes"][0]["pinged"];
                assert_eq!(
                    (&pinged["sent"], &pinged["answered"]),
                    (&10.into(), &10.into())
                );
                let text = report.text("limits-answers");
                assert!(
                    text.contains("itself answers 10 of 10 echo requests"),
                    "{text}"
                );
            }
        }
    }
    Ok(())
}

fn lossy_links_are_found() -> Outcome {
    for share in [0.3, 0.5] {
        let mut all = router::chain(5);
        all[2].loss[Way::There as usize] = share;
        let net = net(all);
        for _ in 0..runs(1) {
            for report in each(&net, &OVERS[..2], &[("loss", 3)]) {
                assert_eq!(report.verdict(2), "answers");
                assert!(
                    report.text("loss").contains("behind hop 2"),
                    "{:#}",
                    report.value
                );
            }
        }
    }
    Ok(())
}

fn labels_and_interfaces() -> Outcome {
    let mut all = router::chain(4);
    all[1].extras.labels = vec![(16_001, 0, 1), (17, 0, 1)];
    all[2].extras.interface = Some(Interface {
        index: 7,
        name: "xe-0/0/1".into(),
        mtu: 9000,
    });
    let net = net(all);
    for report in each(&net, &OVERS, &[("mpls", 2), ("interface", 3)]) {
        let text = report.text("mpls");
        assert!(text.contains("16001 (TTL 1), 17 (TTL 1)"), "{text}");
        let text = report.text("interface");
        assert!(
            text.contains("incoming interface: xe-0/0/1, index 7, MTU 9000"),
            "{text}"
        );
    }
    Ok(())
}

/// Changes one router.
fn change(mut all: Vec<Router>, at: usize, change: impl FnOnce(&mut Router)) -> Vec<Router> {
    change(&mut all[at]);
    all
}

/// The second router translates the source address, and leaves quotes.
fn translated() -> Vec<Router> {
    change(router::chain(4), 1, |router| {
        router.translation = Some(Translation {
            source: Some(["192.0.2.77", "2001:db8::77"].map(|text| text.parse().unwrap())),
            ..Translation::default()
        });
    })
}

fn translated_addresses() -> Outcome {
    let source = Some(["192.0.2.77".parse()?, "2001:db8::77".parse()?]);
    let inner = Some(["10.255.0.9".parse()?, "fd00:255::9".parse()?]);
    let net = net(router::chain(4));
    for address in ["10.255.0.9/16", "fd00:255::9/32"] {
        net.t.address("e0", address)?;
    }
    let translate = |source, destination, quotes| {
        net.routers.change(1, |router| {
            router.translation = Some(Translation {
                source,
                destination,
                quotes,
            });
        });
    };
    translate(source, None, Quotes::Left);
    for report in each(&net, &OVERS, &[("source-translated", 3)]) {
        assert_eq!(report.hops().len(), 5);
        assert!(
            report.text("source-translated").contains("77"),
            "{:#}",
            report.value
        );
    }
    translate(None, inner, Quotes::Left);
    for report in each(&net, &OVERS, &[("destination-translated", 3)]) {
        assert_eq!(report.hops().len(), 5);
    }
    // Whoever translates all of it back does not show.
    translate(source, None, Quotes::Whole);
    for report in each(&net, &OVERS, &[]) {
        assert_eq!(report.hops().len(), 5);
    }
    // The checksum still shows it; echo requests over IPv4 have none of addresses.
    translate(source, inner, Quotes::Addresses);
    each(&net, &OVERS[..1], &[("checksum-changed", 3)]);
    Ok(())
}

fn changed_type_of_service() -> Outcome {
    let net = net(router::chain(4));
    net.routers.change(1, |router| router.tos = Some(0));
    each(&net, &[&["--udp"], &["--icmp"]], &[]);
    let marked: [&[&str]; 3] = [
        &["-Q", "0xb8"],
        &["-Q", "0xb9", "--icmp"],
        &["-Q", "2", "--tcp=80"],
    ];
    each(&net, &marked, &[("tos-changed", 3)]);
    Ok(())
}

/// The second router passes packets with a TTL of 0 on, so that the third answers in its place, too.
fn ttl_zero_is_passed_on() -> Outcome {
    let net = net(router::chain(4));
    net.routers.change(1, |router| router.ttl = Ttl::PassZero);
    each(&net, &OVERS, &[("ttl-not-decremented", 2)]);
    Ok(())
}

fn rewritten_ttl() -> Outcome {
    let net = net(router::chain(6));
    // Far more than is left: everything that passes reaches the target.
    net.routers.change(1, |router| router.ttl = Ttl::Set(64));
    for report in each(&net, &OVERS[..1], &[("ttl-changed", 3)]) {
        assert_eq!(report.status, Some(0));
        assert_eq!(report.hops().len(), 3);
    }
    // Less: nothing that passes reaches it.
    net.routers.change(1, |router| router.ttl = Ttl::Set(3));
    for report in each(
        &net,
        &[&["--udp", "--fast"], &["--icmp", "--fast"]],
        &[("ttl-changed", 3)],
    ) {
        assert_eq!(report.status, Some(1));
    }
    Ok(())
}

/// The fourth router takes the second for the way to the target.
fn circle() -> Vec<Router> {
    let mut all = router::chain(5);
    all[3].next[Way::There as usize] = vec![Next::Router(1)];
    all
}

fn loops() -> Outcome {
    let net = net(circle());
    for report in each(&net, &[&["--fast"], &["--fast", "--icmp"]], &[("loop", 2)]) {
        assert_eq!(report.status, Some(1));
        let text = report.text("loop");
        for hop in 2..=4 {
            let [four, six] = router::addresses(hop, 0).map(|one| one.to_string());
            assert!(text.contains(&four) || text.contains(&six), "{text}");
        }
    }
    Ok(())
}

/// From the fourth router on, answers go by four routers more.
fn detour() -> Vec<Router> {
    let mut all = router::chain(5);
    for way in 1..=4 {
        let at = all.len();
        let mut router = Router::new(router::addresses(9, way));
        router.next[Way::Back as usize] = vec![match way {
            4 => Next::Router(2),
            _ => Next::Router(at + 1),
        }];
        all.push(router);
    }
    all[3].next[Way::Back as usize] = vec![Next::Router(5)];
    all
}

fn other_ways_back() -> Outcome {
    let net = net(detour());
    for report in each(&net, &OVERS, &[("asymmetric", 4)]) {
        let back: Vec<&Value> = (report.hops().iter())
            .map(|hop| &hop["nodes"][0]["return_hops"])
            .collect();
        assert_eq!(back, [1, 2, 3, 8, 9, 10], "{:#}", report.value);
    }
    Ok(())
}

fn answers_from_other_addresses() -> Outcome {
    let net = net(router::chain(4));
    let other = ["198.51.100.9".parse()?, "2001:db8::9".parse()?];
    net.routers
        .change(1, |router| router.answers_from = Some(other));
    each(&net, &OVERS[..2], &[]);
    Ok(())
}

fn silent_hops() -> Outcome {
    let net = net(router::chain(5));
    net.routers.change(2, |router| router.sends_errors = false);
    for report in each(&net, &OVERS, &[]) {
        assert_eq!(report.status, Some(0));
        assert_eq!(report.verdict(3), "silent");
    }
    net.routers.change(3, |router| router.loss = [1.0, 0.0]);
    for report in each(&net, &[&["--fast", "-m", "12"]], &[("path-ends", 2)]) {
        assert_eq!(report.status, Some(1));
    }
    Ok(())
}

fn refused_ports() -> Outcome {
    let net = net(router::chain(5));
    let filter = |port, is_reported| {
        Some(Filter {
            protocol: 6,
            port: Some(port),
            is_reported,
        })
    };
    net.routers
        .change(2, |router| router.filter = filter(80, true));
    each(&net, &[&["--tcp=81"], &["--udp"]], &[]);
    for report in each(&net, &[&["--tcp=80"]], &[("refused", 3)]) {
        assert_eq!(report.status, Some(1));
        assert!(
            report.text("refused").contains("prohibited"),
            "{:#}",
            report.value
        );
    }
    net.routers
        .change(2, |router| router.filter = filter(80, false));
    for report in each(
        &net,
        &[&["--tcp=80", "--fast", "-m", "12"]],
        &[("path-ends", 3)],
    ) {
        assert_eq!(report.status, Some(1));
    }
    Ok(())
}

/// A link that carries shorter packets, with each answer that the router before it may give, or none.
fn path_mtu() -> Outcome {
    let net = net(router::chain(4));
    let overs: [&[&str]; 1] = [&["--mtu"]];
    for report in each(&net, &overs, &[]) {
        let found = &report.value["path_mtu"];
        assert_eq!(
            (&found["mtu"], &found["first"]),
            (&1500.into(), &1500.into())
        );
        assert_eq!(found["hops"].as_array().unwrap().len(), 5);
    }
    for (bytes, reported, id) in [
        (1400, Some(1400), "mtu-reported"),
        (1280, Some(1280), "mtu-reported"),
        (1400, None, "mtu-black-hole"),
        (1499, None, "mtu-black-hole"),
        (1400, Some(0), "mtu-misreported"),
        (1400, Some(1500), "mtu-misreported"),
        (1400, Some(1300), "mtu-misreported"),
    ] {
        net.routers
            .change(1, |router| router.mtu = Some(Mtu { bytes, reported }));
        for report in each(&net, &overs, &[(id, 2)]) {
            let found = &report.value["path_mtu"];
            assert_eq!(found["mtu"], bytes, "{found:#}");
            let hops = found["hops"].as_array().unwrap();
            let hops: Vec<u64> = hops
                .iter()
                .map(|hop| hop["mtu"].as_u64().unwrap())
                .collect();
            let after = bytes as u64;
            assert_eq!(hops, [1500, 1500, after, after, after]);
            assert_eq!(
                found["narrow"][0]["reported"].as_u64(),
                reported.map(u64::from)
            );
        }
    }
    // Two in a row, of which one is silent.
    net.routers.change(1, |router| {
        router.mtu = Some(Mtu {
            bytes: 1480,
            reported: Some(1480),
        });
    });
    net.routers.change(3, |router| {
        router.mtu = Some(Mtu {
            bytes: 1300,
            reported: None,
        });
    });
    let both = [("mtu-reported", 2), ("mtu-black-hole", 4)];
    for report in each(&net, &overs, &both) {
        assert_eq!(report.value["path_mtu"]["mtu"], 1300);
    }
    Ok(())
}

/// Loss of any length is no black hole.
fn path_mtu_of_a_lossy_path() -> Outcome {
    let net = net(router::chain(4));
    net.routers.change(2, |router| router.loss[0] = 0.3);
    for reported in [None, Some(1400)] {
        for bytes in [1500, 1400] {
            let mtu = Some(Mtu { bytes, reported });
            net.routers.change(1, |router| router.mtu = mtu);
            for _ in 0..runs(2) {
                for target in TARGET {
                    let report = net.trace(&["--mtu", "--fast", target]);
                    let found = &report.value["path_mtu"];
                    assert_eq!(found["mtu"], bytes, "{:#}", report.value);
                    let narrow = found["narrow"].as_array().unwrap();
                    assert_eq!(narrow.len(), usize::from(bytes < 1500), "{found:#}");
                    println!("{bytes} {reported:?}: {} probes", found["probes"]);
                }
            }
        }
    }
    Ok(())
}

/// Several faults at once, each with its own remark.
fn faults_together() -> Outcome {
    let net = net(translated());
    net.routers.change(0, |router| router.tos = Some(0x28));
    net.routers.change(2, |router| {
        router.extras.labels = vec![(99, 0, 1)];
        router.limit = Some(Limit {
            burst: 1,
            per_second: 1,
        });
    });
    let all = [
        ("limits-answers", 3),
        ("mpls", 3),
        ("tos-changed", 2),
        ("source-translated", 3),
    ];
    each(&net, &[&["-Q", "0xb8"], &["-Q", "0xb8", "--icmp"]], &all);
    net.routers.change(3, |router| router.loss[0] = 0.4);
    let all = [&all[..1], &[("loss", 4)], &all[1..]].concat();
    each(&net, &[&["-Q", "0xb8"]], &all);
    Ok(())
}

/// One of four equal ways loses packets: the others do not hide it.
fn one_way_loses() -> Outcome {
    let mut all = router::layers(&[1, 4, 1, 1]);
    all[2].loss[0] = 0.6;
    let net = net(all);
    for _ in 0..runs(1) {
        for report in each(&net, &OVERS[..1], &[("loss", 2)]) {
            let text = report.text("loss");
            let is_named = ["10.2.1.1", "fd00:2:1::1"].iter().any(|way| {
                text.contains(&format!("of the ways at hop 2 only that of {way} loses"))
            });
            assert!(is_named, "{:#}", report.value);
        }
    }
    Ok(())
}

/// Four ways, chosen by each hash that routers have: those that a transport can show are found, and none is invented.
fn equal_ways_by_each_hash() -> Outcome {
    let net = net(router::layers(&[1, 4, 1, 1]));
    for (spread, over, ways) in [
        (Spread::FiveTuple, "--udp", 4),
        (Spread::FiveTuple, "--icmp", 1),
        (Spread::IcmpChecksum, "--icmp", 4),
        (Spread::IcmpChecksum, "--udp", 4),
        (Spread::Addresses, "--udp", 1),
        (Spread::Addresses, "--icmp", 1),
    ] {
        net.routers.change(0, |router| router.spread = spread);
        let mut missed = 0;
        // A way is missed in at most 5 % of the traces, so more than the limit of 10 once in 300,000 times.
        let traces = runs(5) * 2;
        for _ in 0..runs(5) {
            for report in each(&net, &[&[over]], &[]) {
                let found = report.hops()[1]["nodes"].as_array().unwrap().len();
                assert!(found <= ways, "{spread:?} {over}: {:#}", report.value);
                missed += usize::from(found < ways);
            }
        }
        let limit = traces / 10 + 4;
        assert!(missed <= limit, "{spread:?} {over}: {missed} of {traces}");
    }
    net.routers
        .change(0, |router| router.spread = Spread::Packet);
    each(&net, &[&["--udp"], &["--icmp"]], &[("per-packet", 2)]);
    Ok(())
}
