//! `netsonde ping` on real packets: every fate by a real cause, and no other fate reported.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ----(wire)---- 10.0.0.2 e0  b
//!   a  e0 10.0.0.1, netsonded ---- r0 router r1 ---- 10.9.0.9 e0  b
//! ```
//!
//! The cause is made with the kernel's own means: routes, nft(8), tc(8), a wire that drops or changes frames.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::ExitCode;

use netsonde::lab;
use netsonde::lab::wire::every;
use serde_json::Value;
use support::ping::{PingReport, is_reply, ping, routed};
use support::{Service, Test, number, pair, wired};
use support::{firewall, inside};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "healthy_network_has_no_findings",
                healthy_network_has_no_findings as Test,
            ),
            ("unanswered_arp_and_nd", unanswered_arp_and_nd),
            ("no_route", no_route),
            ("interface_down", interface_down),
            (
                "wire_loss_delay_duplication_and_corruption",
                wire_loss_delay_duplication_and_corruption,
            ),
            ("local_firewall", local_firewall),
            ("reverse_path_filter", reverse_path_filter),
            ("full_local_queue", full_local_queue),
            ("remote_firewall", remote_firewall),
            ("router_errors", router_errors),
        ],
        4,
    )
}

const QUICK: [&str; 6] = ["-c", "3", "-i", "0.05", "-W", "0.3"];

fn with<'a>(arguments: &[&'a str], target: &'a str) -> Vec<&'a str> {
    let mut all = arguments.to_vec();
    all.push(target);
    all
}

fn quick(service: &Service, target: &str) -> PingReport {
    ping(service, &with(&QUICK, target))
}

/// ```text
///   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b
/// ```
fn healthy_network_has_no_findings() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    for target in ["10.0.0.2", "fd00::2", "127.0.0.1", "::1", "10.0.0.1"] {
        let report = ping(&service, &["-c", "10", "-i", "0.02", "-W", "5", target]);
        report.only("replied", 10);
        for probe in &report.probes {
            let (rtt, wire) = (number(&probe["rtt_ns"]), number(&probe["wire_rtt_ns"]));
            assert!(wire > 0 && wire <= rtt, "{}", report.text);
            assert_eq!(probe["from"], target);
        }
        let sequence: Vec<u64> = report
            .probes
            .iter()
            .map(|probe| number(&probe["seq"]))
            .collect();
        assert_eq!(sequence, (1..=10).collect::<Vec<u64>>());
    }
    // Sizes, from nothing to the most, and patterns.
    for size in ["0", "1", "11", "12", "13", "1472", "1473", "9000", "65507"] {
        ping(
            &service,
            &[
                "-c", "2", "-i", "0.02", "-s", size, "-p", "ff00a", "10.0.0.2",
            ],
        )
        .only("replied", 2);
    }
    for size in ["0", "1452", "1453", "65487"] {
        ping(&service, &["-c", "2", "-i", "0.02", "-s", size, "fd00::2"]).only("replied", 2);
    }
    let several = ping(
        &service,
        &["-i", "0.02", "10.0.0.2", "10.0.0.1", "127.0.0.1"],
    );
    assert_eq!(
        (several.code, several.summaries.len()),
        (0, 3),
        "{}",
        several.text
    );
    Ok(())
}

fn unanswered_arp_and_nd() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let report = quick(&service, "10.0.0.9");
    let seen = report.only("unresolved", 3).to_owned();
    assert!(
        seen.contains("10.0.0.9 does not answer ARP on e0, asked"),
        "{}",
        report.text
    );
    let report = quick(&service, "fd00::9");
    let seen = report.only("unresolved", 3).to_owned();
    assert!(
        seen.contains("fd00::9 does not answer neighbor discovery on e0"),
        "{}",
        report.text
    );
    // By a router that is not there.
    a.route("10.9.0.0/24", "10.0.0.77")?;
    let report = quick(&service, "10.9.0.1");
    let seen = report.only("unresolved", 3).to_owned();
    assert!(
        seen.contains("10.0.0.77 does not answer ARP"),
        "{}",
        report.text
    );
    // Long enough for the kernel to give up.
    ping(
        &service,
        &["-c", "3", "-i", "0.05", "-W", "3.5", "10.0.0.10"],
    )
    .only("unresolved", 3);
    Ok(())
}

fn no_route() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    for target in ["192.0.2.1", "2001:db8::1"] {
        let report = quick(&service, target);
        let seen = report.only("not_sent", 3).to_owned();
        assert!(seen.contains("ENETUNREACH"), "{}", report.text);
        assert_eq!(report.probes[0]["errno"], "ENETUNREACH");
    }
    Ok(())
}

fn interface_down() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    a.down("e0")?;
    let report = quick(&service, "10.0.0.2");
    assert!(
        report.only("not_sent", 3).contains("ENETUNREACH"),
        "{}",
        report.text
    );
    let report = ping(
        &service,
        &with(&[&QUICK[..], &["-I", "e0"]].concat(), "10.0.0.2"),
    );
    let seen = report.only("not_sent", 3).to_owned();
    assert!(
        seen.contains("ENETDOWN") || seen.contains("ENETUNREACH"),
        "{}",
        report.text
    );
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 ====wire==== 10.0.0.2 e0  b
/// ```
fn wire_loss_delay_duplication_and_corruption() -> Outcome {
    let (a, _b, wire) = wired();
    let service = Service::start(&a, &[]);
    for target in ["10.0.0.2", "fd00::2"] {
        // Until the link-local addresses are through duplicate address detection.
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        quick(&service, target).only("replied", 3);

        wire.b_to_a(|back| back.drop = Some(Box::new(is_reply)));
        let report = quick(&service, target);
        assert_eq!(
            report.only("unanswered", 3),
            "sent on e0; no reply or error received",
            "{}",
            report.text
        );
        wire.b_to_a(|back| back.drop = None);

        wire.b_to_a(|back| back.corrupt = Some(Box::new(is_reply)));
        let report = quick(&service, target);
        assert!(
            report.only("corrupted", 3).contains("checksum"),
            "{}",
            report.text
        );
        wire.b_to_a(|back| back.corrupt = None);

        wire.b_to_a(|back| back.duplicate = Some(Box::new(is_reply)));
        let report = quick(&service, target);
        assert_eq!(report.fates(), ["replied"; 3], "{}", report.text);
        assert_eq!(
            (
                report.duplicates,
                number(&report.summaries[0]["duplicates"])
            ),
            (3, 3)
        );
        assert_eq!(report.code, 0);
        wire.b_to_a(|back| back.duplicate = None);

        wire.b_to_a(|back| back.delay = std::time::Duration::from_millis(300));
        let report = ping(&service, &["-c", "5", "-i", "0.1", "-W", "0.15", target]);
        let late = report
            .probes
            .iter()
            .filter(|probe| probe["fate"] == "late")
            .count();
        assert!(late >= 3, "{}", report.text);
        for probe in report.probes.iter().filter(|probe| probe["fate"] == "late") {
            assert!(number(&probe["rtt_ns"]) > 300_000_000, "{}", report.text);
        }
        let fates = &report.summaries[0]["fates"];
        assert_eq!(
            fates["late"].as_u64().unwrap_or(0) + fates["unanswered"].as_u64().unwrap_or(0),
            5,
            "{}",
            report.text
        );
        assert_eq!((report.code, report.duplicates), (1, 0));
        wire.b_to_a(|back| back.delay = std::time::Duration::ZERO);

        // Every other reply lost: half of them say so, and the loss is what it is.
        wire.b_to_a(|back| {
            let mut nth = every(2);
            back.drop = Some(Box::new(move |frame| is_reply(frame) && nth(frame)));
        });
        let report = ping(&service, &["-c", "10", "-i", "0.02", "-W", "0.3", target]);
        assert_eq!(report.summaries[0]["loss_percent"], 50.0, "{}", report.text);
        assert_eq!(report.code, 0);
        wire.b_to_a(|back| back.drop = None);

        // Replies that overtake each other.
        wire.b_to_a(|back| {
            let mut nth = every(3);
            back.swap = Some(Box::new(move |frame| is_reply(frame) && nth(frame)));
        });
        let report = ping(&service, &["-c", "22", "-i", "0.02", "-W", "1", target]);
        assert!(
            number(&report.summaries[0]["reordered"]) >= 2,
            "{}",
            report.text
        );
        wire.b_to_a(|back| back.swap = None);
    }
    Ok(())
}

fn local_firewall() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    for (target, icmp) in [
        ("10.0.0.2", "icmp type echo"),
        ("fd00::2", "icmpv6 type echo"),
    ] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        firewall(&a, "input", &format!("{icmp}-reply drop"));
        let report = quick(&service, target);
        let seen = report.only("dropped_inbound", 3).to_owned();
        assert!(
            seen.contains("arrived on e0") && seen.contains("consistent with a firewall"),
            "{}",
            report.text
        );
        // Where netfilter refuses at once, the kernel says so to the sender.
        firewall(&a, "output", &format!("{icmp}-request drop"));
        let report = quick(&service, target);
        let seen = report.only("not_sent", 3).to_owned();
        assert!(
            seen.contains("EPERM") && seen.contains("firewall"),
            "{}",
            report.text
        );
        // Behind the IP layer, nobody is told.
        firewall(&a, "egress device \"e0\"", &format!("{icmp}-request drop"));
        let report = quick(&service, target);
        let seen = report.only("dropped_outbound", 3).to_owned();
        assert!(
            seen.contains("e0") && !seen.contains("ARP"),
            "{}",
            report.text
        );
        firewall(&a, "", "");
        quick(&service, target).only("replied", 3);
    }
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b        a's route to 10.9.0.9 leads out of e1,
///   a  e1 10.1.0.1 ---------- 10.1.0.2 e1  b        and the reply comes by e0
/// ```
fn reverse_path_filter() -> Outcome {
    let (a, b) = pair();
    lab::veth(&a, "e1", &b, "e1")?;
    a.address("e1", "10.1.0.1/24")?;
    b.address("e1", "10.1.0.2/24")?;
    b.address("lo", "10.9.0.9/32")?;
    a.route("10.9.0.9/32", "10.1.0.2")?;
    // b answers to 10.1.0.1 by e0.
    b.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    b.sysctl("net/ipv4/conf/e1/rp_filter", "0")?;
    inside(
        &b,
        "ip",
        &["route", "add", "10.1.0.1/32", "via", "10.0.0.1"],
    );
    // Its ARP would be filtered just so.
    let mac = a.mac("e0")?.map(|byte| format!("{byte:02x}")).join(":");
    inside(
        &b,
        "ip",
        &["neigh", "replace", "10.0.0.1", "lladdr", &mac, "dev", "e0"],
    );
    a.sysctl("net/ipv4/conf/all/rp_filter", "1")?;
    a.sysctl("net/ipv4/conf/e0/rp_filter", "1")?;
    let service = Service::start(&a, &[]);
    let report = quick(&service, "10.9.0.9");
    let seen = report.only("dropped_inbound", 3).to_owned();
    assert!(
        seen.contains("reverse path filter (TcpExtIPReversePathFilter +"),
        "{}",
        report.text
    );
    assert!(seen.contains("arrived on e0"), "{}", report.text);
    Ok(())
}

fn full_local_queue() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    let tbf = [
        "qdisc", "replace", "dev", "e0", "root", "tbf", "rate", "16kbit", "burst", "1600", "limit",
        "3000",
    ];
    inside(&a, "tc", &tbf);
    for target in ["10.0.0.2", "fd00::2"] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        // Twenty of a kilobyte at once: one is the burst, two fit into the queue.
        let report = ping(
            &service,
            &["-c", "20", "-i", "0.002", "-s", "1000", "-W", "3", target],
        );
        let of = |fate: &str| -> Vec<&Value> {
            report
                .probes
                .iter()
                .filter(|probe| probe["fate"] == fate)
                .collect()
        };
        let (dropped, replied) = (of("dropped_outbound"), of("replied"));
        assert!(
            dropped.len() >= 15 && !replied.is_empty(),
            "{}",
            report.text
        );
        assert_eq!(dropped.len() + replied.len(), 20, "{}", report.text);
        for probe in dropped {
            let seen = probe["last_seen"].as_str().unwrap();
            assert!(seen.contains("queue drops of e0"), "{}", report.text);
        }
        // What waited in the queue shows there, and not in the wire's round trip.
        let waited = |probe: &&Value| probe["queue_ns"].as_u64() > Some(100_000_000);
        assert!(
            report.probes.iter().any(|probe| waited(&probe)),
            "{}",
            report.text
        );
        for probe in replied {
            assert!(
                number(&probe["wire_rtt_ns"]) < 50_000_000,
                "{}",
                report.text
            );
        }
    }
    Ok(())
}

fn remote_firewall() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    for (target, icmp, reject) in [
        (
            "10.0.0.2",
            "icmp type echo-request",
            "icmp type admin-prohibited",
        ),
        (
            "fd00::2",
            "icmpv6 type echo-request",
            "icmpv6 type admin-prohibited",
        ),
    ] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        firewall(&b, "input", &format!("{icmp} drop"));
        quick(&service, target).only("unanswered", 3);
        firewall(&b, "input", &format!("{icmp} reject with {reject}"));
        // Hosts send few errors a second.
        let report = ping(&service, &["-c", "1", "-W", "2", target]);
        report.only("refused", 1);
        let error = &report.probes[0]["error"];
        assert_eq!(error["from"], target);
        assert!(
            error["meaning"].as_str().unwrap().contains("prohibited"),
            "{}",
            report.text
        );
        firewall(&b, "", "");
    }
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1 ---- 10.0.0.254 r0  router  r1 10.9.0.254 ---- 10.9.0.9 e0  b
/// ```
fn router_errors() -> Outcome {
    let (a, router, b) = routed()?;
    inside(&router, "ip", &["link", "set", "r1", "mtu", "1400"]);
    inside(&b, "ip", &["link", "set", "e0", "mtu", "1400"]);
    let service = Service::start(&a, &[]);
    for (target, by, nobody) in [
        ("10.9.0.9", "10.0.0.254", "10.9.0.77"),
        ("fd09::9", "fd00::fe", "fd09::77"),
    ] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        quick(&service, target).only("replied", 3);

        let report = ping(&service, &["-c", "1", "-t", "1", "-W", "2", target]);
        report.only("refused", 1);
        let error = &report.probes[0]["error"];
        assert_eq!(error["from"], by, "{}", report.text);
        assert_eq!(error["meaning"], "time exceeded in transit");

        let report = ping(
            &service,
            &["-c", "1", "-M", "probe", "-s", "1440", "-W", "2", target],
        );
        report.only("refused", 1);
        let error = &report.probes[0]["error"];
        assert_eq!(
            (&error["from"], &error["mtu"]),
            (&by.into(), &1400.into()),
            "{}",
            report.text
        );

        // By then the kernel knows, and refuses itself.
        let report = ping(
            &service,
            &["-c", "1", "-M", "do", "-s", "1440", "-W", "2", target],
        );
        assert!(
            report.only("not_sent", 1).contains("EMSGSIZE"),
            "{}",
            report.text
        );
        // Left to itself it sends fragments that fit.
        ping(&service, &["-c", "1", "-s", "1440", "-W", "2", target]).only("replied", 1);

        // The router's neighbour is not there: that is the router's word, not ours.
        let report = ping(&service, &["-c", "1", "-W", "5", nobody]);
        report.only("refused", 1);
        let meaning = report.probes[0]["error"]["meaning"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            meaning == "host unreachable" || meaning == "address unreachable",
            "{}",
            report.text
        );
    }
    Ok(())
}
