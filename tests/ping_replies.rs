//! What `netsonde ping` reports about replies and errors that come back, and about what they show together.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ----(wire)---- 10.0.0.2 e0  b
//!   a  e0 10.0.0.1, netsonded ---- 10.0.0.254 r0  router  r1 10.9.0.254 ---- 10.9.0.9 e0  b
//! ```
//!
//! The judges are the words and the counts of the output.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Duration;

use netsonde::lab::{Host, Running, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::ping::{PingReport, is_reply, ping, routed};
use support::{PATIENCE, Service, Test, firewall, inside, load_rules, number, pair, wired};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "replies_from_another_address_count",
                replies_from_another_address_count as Test,
            ),
            ("local_translation_is_no_drop", local_translation_is_no_drop),
            ("lost_fragments_are_named", lost_fragments_are_named),
            ("failed_reassembly_is_named", failed_reassembly_is_named),
            (
                "limited_errors_are_recognized",
                limited_errors_are_recognized,
            ),
            ("late_errors_replace_the_fate", late_errors_replace_the_fate),
            ("firewall_rules_are_named", firewall_rules_are_named),
            (
                "unreadable_rules_are_reported",
                unreadable_rules_are_reported,
            ),
            (
                "black_holes_are_named_by_size",
                black_holes_are_named_by_size,
            ),
            ("quit_signal_prints_a_line", quit_signal_prints_a_line),
            (
                "late_replies_have_the_last_word",
                late_replies_have_the_last_word,
            ),
            (
                "replies_during_the_send_call_have_a_time",
                replies_during_the_send_call_have_a_time,
            ),
            ("silent_groups_have_a_hint", silent_groups_have_a_hint),
        ],
        4,
    )
}

const QUICK: [&str; 6] = ["-c", "3", "-i", "0.05", "-W", "0.3"];

fn quick(service: &Service, arguments: &[&str]) -> PingReport {
    ping(service, &[&QUICK[..], arguments].concat())
}

/// The client inside a host, as its users run it.
fn client(service: &Service, host: &Host, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket());
    command.args(arguments).stdin(Stdio::null());
    host.run(|| command.output()).unwrap()
}

fn printed(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

/// Text of the remark of this kind about the first target; empty without one.
fn remark<'a>(report: &'a PingReport, id: &str) -> &'a str {
    let all = report.summaries[0]["remarks"].as_array();
    let found = all.and_then(|all| all.iter().find(|one| one["id"] == id));
    found.map_or("", |one| one["text"].as_str().unwrap())
}

/// ```text
///   a  e0 10.0.0.1 ====wire==== 10.0.0.2 10.0.0.3 e0  b: answers from the other address
/// ```
fn replies_from_another_address_count() -> Outcome {
    let (a, b, wire) = wired();
    b.address("e0", "10.0.0.3/24")?;
    b.address("e0", "fd00::3/64")?;
    let service = Service::start(&a, &[]);
    for target in ["10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3"] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
    }
    // Each answers for the other, so that both sources are targets, too.
    load_rules(
        &b,
        "table inet n { chain c { type filter hook postrouting priority -300;
           icmp type echo-reply ip saddr set ip saddr map { 10.0.0.2 : 10.0.0.3, 10.0.0.3 : 10.0.0.2 }
           icmpv6 type echo-reply ip6 saddr set ip6 saddr map { fd00::2 : fd00::3, fd00::3 : fd00::2 }
         }
}
",
    );
    for (target, from, icmp) in [
        ("10.0.0.2", "10.0.0.3", "icmp type echo-reply"),
        ("fd00::2", "fd00::3", "icmpv6 type echo-reply"),
    ] {
        let report = quick(&service, &[target]);
        report.only("replied", 3);
        for probe in &report.probes {
            assert_eq!(probe["from"], from, "{}", report.text);
            assert!(number(&probe["wire_rtt_ns"]) > 0, "{}", report.text);
        }
        let words = format!("replies came from another address: {from} (3)");
        assert_eq!(remark(&report, "different-address"), words);

        let text = printed(&client(
            &service,
            &a,
            &["ping", "-c", "1", "-W", "5", target],
        ));
        let line = format!("64 bytes from {from}: icmp_seq=1 ");
        let line = text.lines().find(|one| one.starts_with(&line)).unwrap();
        assert!(line.ends_with("(DIFFERENT ADDRESS!)"), "{text}");

        // The source is a target itself: the cookie decides whose reply it is.
        let both = quick(&service, &[target, from]);
        assert_eq!((both.fates(), both.code), (vec!["replied"; 6], 0));
        for probe in &both.probes {
            let other = if probe["target"] == target {
                from
            } else {
                target
            };
            assert_eq!(probe["from"], other, "{}", both.text);
        }
        assert_eq!((both.duplicates, &both.total["forged"]), (0, &0.into()));

        // A duplicate is one, whatever its source.
        wire.b_to_a(|back| back.duplicate = Some(Box::new(is_reply)));
        let report = quick(&service, &[target]);
        assert_eq!(report.fates(), ["replied"; 3], "{}", report.text);
        assert_eq!((report.duplicates, &report.total["forged"]), (3, &0.into()));
        wire.b_to_a(|back| back.duplicate = None);

        // On the wire, and dropped by this host.
        firewall(&a, "input", &format!("{icmp} drop"));
        let report = quick(&service, &[target]);
        let seen = report.only("dropped_inbound", 3);
        let words = format!("its reply, from {from}, arrived on e0");
        assert!(seen.contains(&words), "{}", report.text);
        firewall(&a, "", "");

        // Too short for a cookie, so the address has to be right.
        let report = quick(&service, &["-s", "4", target]);
        assert_eq!(report.fates(), ["unanswered"; 3], "{}", report.text);
        assert_eq!(report.total["forged"], 3, "{}", report.text);
    }
    let text = printed(&client(&service, &a, &["ping", "10.0.0.2/31"]));
    assert!(
        text.contains("replied 1\n  10.0.0.2: replies came from another address: 10.0.0.3 (1)\n")
            && text.contains("2 targets, 2 answered"),
        "{text}"
    );
    Ok(())
}

/// a translates 10.0.0.9 to 10.0.0.2 itself: on the wire there is another target than in the probe.
fn local_translation_is_no_drop() -> Outcome {
    let (a, _b, wire) = wired();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    load_rules(
        &a,
        "table ip n { chain c { type nat hook output priority -100; ip daddr 10.0.0.9 dnat to 10.0.0.2; }\n}\n",
    );
    let report = quick(&service, &["10.0.0.9"]);
    report.only("replied", 3);
    // The reply is translated back before the socket.
    assert_eq!(report.probes[0]["from"], "10.0.0.9", "{}", report.text);
    wire.b_to_a(|back| back.drop = Some(Box::new(is_reply)));
    let report = quick(&service, &["10.0.0.9"]);
    assert_eq!(
        report.only("unanswered", 3),
        "sent on e0; no reply or error received"
    );
    Ok(())
}

/// Offset of a fragment's data in bytes; `None` for other frames.
fn fragment_offset(frame: &[u8]) -> Option<u16> {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    match frame.get(12..14)? {
        [8, 0] if frame[23] == 1 && word(20)? & 0x3fff != 0 => Some((word(20)? & 0x1fff) * 8),
        [0x86, 0xdd] if frame[20] == 44 => Some(word(56)? & 0xfff8),
        _ => None,
    }
}

fn lost_fragments_are_named() -> Outcome {
    let (a, _b, wire) = wired();
    let service = Service::start(&a, &[]);
    // 3008 bytes of ICMP: 1480 to a fragment of IPv4, 1448 to one of IPv6.
    for (target, unit) in [("10.0.0.2", 1480), ("fd00::2", 1448)] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        quick(&service, &["-s", "3000", target]).only("replied", 3);
        let (one, two) = (unit - 1, 2 * unit - 1);
        for (lost, came, whose) in [
            (0, format!("{unit}-3007"), "what seems to be its reply"),
            (unit, format!("0-{one}, {}-3007", two + 1), "its reply"),
            (2 * unit, format!("0-{two}"), "its reply"),
        ] {
            wire.b_to_a(|back| {
                back.drop = Some(Box::new(move |frame| fragment_offset(frame) == Some(lost)));
            });
            let report = quick(&service, &["-s", "3000", target]);
            let expected = format!(
                "sent on e0 in fragments; 2 of 3 fragments of {whose} came in on e0 (bytes {came} of 3008)"
            );
            assert_eq!(report.only("unanswered", 3), expected, "{}", report.text);
            for probe in &report.probes {
                assert_eq!(probe["last_seen"], expected.as_str(), "{}", report.text);
                assert_eq!(probe["fragmented"], true);
            }
        }
        // All of them: nothing came back.
        wire.b_to_a(|back| {
            back.drop = Some(Box::new(|frame| fragment_offset(frame).is_some()));
        });
        let report = quick(&service, &["-s", "3000", target]);
        assert_eq!(
            report.only("unanswered", 3),
            "sent on e0 in fragments; no reply or error received"
        );
        wire.b_to_a(|back| back.drop = None);
    }
    Ok(())
}

/// The kernel's own counters say that a reply was not reassembled.
fn failed_reassembly_is_named() -> Outcome {
    let (a, _b, wire) = wired();
    let service = Service::start(&a, &[]);
    for (target, prefix, unit, name) in [
        ("10.0.0.2", "net/ipv4/ip", 1480, "Ip"),
        ("fd00::2", "net/ipv6/ip6", 1448, "Ip6"),
    ] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        let set = |key: &str, value: &str| a.sysctl(&format!("{prefix}frag_{key}"), value);
        set("time", "1")?;
        wire.b_to_a(|back| {
            back.drop = Some(Box::new(move |frame| fragment_offset(frame) == Some(unit)));
        });
        let report = ping(&service, &["-c", "1", "-W", "3", "-s", "3000", target]);
        let seen = report.only("unanswered", 1);
        assert!(
            seen.contains("2 of 3 fragments") && seen.contains(&format!("{name}ReasmTimeout +1")),
            "{}",
            report.text
        );
        wire.b_to_a(|back| back.drop = None);
        // No memory for fragments.
        set("low_thresh", "0")?;
        set("high_thresh", "1")?;
        let report = quick(&service, &["-s", "3000", target]);
        let seen = report.only("dropped_inbound", 3);
        assert!(
            seen.starts_with("all 3 fragments of its reply arrived on e0")
                && seen.contains(&format!("{name}ReasmFails +"))
                && seen.contains("frag_high_thresh"),
            "{}",
            report.text
        );
        // Replies that need no reassembly are not concerned.
        quick(&service, &[target]).only("replied", 3);
    }
    Ok(())
}

fn limited_errors_are_recognized() -> Outcome {
    let (a, router, _b) = routed()?;
    // An error per second after the burst of the kernel (icmp(7)).
    router.sysctl("net/ipv4/icmp_ratelimit", "1000")?;
    router.sysctl("net/ipv6/icmp/ratelimit", "1000")?;
    let service = Service::start(&a, &[]);
    for (target, by) in [("10.9.0.9", "10.0.0.254"), ("fd09::9", "fd00::fe")] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        let report = ping(
            &service,
            &["-c", "20", "-i", "0.02", "-t", "1", "-W", "0.3", target],
        );
        let fates = &report.summaries[0]["fates"];
        let (refused, unanswered) = (number(&fates["refused"]), number(&fates["unanswered"]));
        assert_eq!(refused + unanswered, 20, "{}", report.text);
        let words = format!(
            "{by} limits its errors: {refused} of 20 probes were refused, consistent with all of them"
        );
        assert_eq!(remark(&report, "limited-errors"), words, "{}", report.text);
        // Nothing of the kind where all are refused, where the target answers, or where it is silent.
        router.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        router.sysctl("net/ipv6/icmp/ratelimit", "0")?;
        let report = quick(&service, &["-t", "1", target]);
        report.only("refused", 3);
        assert_eq!(report.summaries[0]["remarks"], Value::Null);
        quick(&service, &[target]).only("replied", 3);
        let icmp = if by.contains(':') { "icmpv6" } else { "icmp" };
        firewall(
            &router,
            "forward",
            &format!("{icmp} type echo-request drop"),
        );
        let report = quick(&service, &[target]);
        report.only("unanswered", 3);
        assert_eq!(report.summaries[0]["remarks"], Value::Null);
        firewall(&router, "", "");
        router.sysctl("net/ipv4/icmp_ratelimit", "1000")?;
        router.sysctl("net/ipv6/icmp/ratelimit", "1000")?;
    }
    Ok(())
}

/// The router asks for a neighbor that is not there for three seconds before it reports it.
fn late_errors_replace_the_fate() -> Outcome {
    let (a, router, _b) = routed()?;
    router.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.9.0.9"]).only("replied", 1);
    let report = ping(&service, &["-c", "5", "-i", "1", "-W", "0.5", "10.9.0.77"]);
    let first: Vec<&Value> = (report.probes.iter())
        .filter(|probe| probe["seq"] == 1)
        .collect();
    assert_eq!(first.len(), 2, "{}", report.text);
    assert_eq!(
        (&first[0]["fate"], &first[0]["final"]),
        (&"unanswered".into(), &false.into())
    );
    assert_eq!(
        (
            &first[1]["fate"],
            &first[1]["instead_of"],
            &first[1]["final"]
        ),
        (&"refused".into(), &"unanswered".into(), &true.into()),
        "{}",
        report.text
    );
    assert_eq!(first[1]["error"]["meaning"], "host unreachable");
    let fates = &report.summaries[0]["fates"];
    let sum: u64 = fates.as_object().unwrap().values().map(number).sum();
    assert_eq!((sum, number(&report.summaries[0]["sent"])), (5, 5));
    assert_eq!(remark(&report, "limited-errors"), "", "{}", report.text);
    Ok(())
}

fn firewall_rules_are_named() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    for (target, icmp) in [
        ("10.0.0.2", "icmp type echo"),
        ("fd00::2", "icmpv6 type echo"),
    ] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        let run = || {
            let arguments = [&["ping"], &QUICK[..], &[target]].concat();
            printed(&client(&service, &a, &arguments))
        };
        for (hook, family, fate, rule) in [
            ("input", "inet", "dropped_inbound 3", "reply counter drop"),
            ("output", "inet", "not_sent 3", "request counter drop"),
            (
                "egress device \"e0\"",
                "netdev",
                "dropped_outbound 3",
                "request counter drop",
            ),
        ] {
            firewall(&a, hook, &format!("{icmp}-{rule}"));
            let text = run();
            assert!(text.contains(&format!("fates: {fate}")), "{text}");
            let words = format!(
                "dropped by this host's firewall during the run: 3 packets by the rule of table {family} t, chain \
                 c, handle "
            );
            let line = text.lines().find(|line| line.starts_with(&words));
            let line = line.unwrap_or_else(|| panic!("{text}"));
            assert!(
                line.contains(&format!(": {icmp}-")) && line.ends_with("drop"),
                "{text}"
            );
        }
        // A rule without a counter, and a policy; a counter before the condition counts other packets.
        firewall(&a, "input", &format!("counter {icmp}-reply drop"));
        let text = run();
        assert!(
            text.contains(
                "no counter of an nftables rule increased; these drop packets without a counter: rule of table \
                 inet t, chain c, handle "
            ),
            "{text}"
        );
        // Replies pass, and nothing is reported.
        firewall(&a, "input", "udp dport 9 counter drop");
        let text = run();
        assert!(text.contains(" 0% packet loss") && !text.contains("firewall"));
        firewall(&a, "", "");
    }
    load_rules(
        &a,
        "table ip t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; }\n}\n",
    );
    let text = printed(&client(
        &service,
        &a,
        &[&["ping"], &QUICK[..], &["10.0.0.2"]].concat(),
    ));
    assert!(
        text.contains("without a counter: policy of table ip t, chain c"),
        "{text}"
    );
    // A table has one remark for all of its targets.
    let text = printed(&client(&service, &a, &["ping", "-W", "0.3", "10.0.0.2/31"]));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("without a counter"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    // The same for scripts, and with -q.
    let mut quiet = vec!["-q", "--json", "ping"];
    quiet.extend_from_slice(&QUICK);
    quiet.push("10.0.0.2");
    let text = printed(&client(&service, &a, &quiet));
    assert!(text.contains("\"id\":\"firewall-rules\""), "{text}");
    Ok(())
}

fn unreadable_rules_are_reported() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    firewall(&a, "input", "icmp type echo-reply counter drop");
    // Root without CAP_NET_ADMIN may use the service, and not read the rules.
    let mut command = support::program("setpriv");
    command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]);
    command.arg(env!("CARGO_BIN_EXE_netsonde"));
    command.arg("--socket").arg(service.socket()).arg("ping");
    command.args(QUICK).arg("10.0.0.2").stdin(Stdio::null());
    let text = printed(&a.run(|| command.output())?);
    assert!(
        text.contains("consistent with a firewall")
            && text.contains(
                "the firewall rules of this host were not compared: they can be read by root only"
            ),
        "{text}"
    );
    // The client is in another network than the service: its rules say nothing.
    let report = quick(&service, &["10.0.0.2"]);
    report.only("dropped_inbound", 3);
    assert_eq!(
        remark(&report, "firewall-rules"),
        "the firewall rules of this host were not compared: netsonded runs in another network namespace"
    );
    Ok(())
}

fn black_holes_are_named_by_size() -> Outcome {
    let (a, _b, wire) = wired();
    let service = Service::start(&a, &[]);
    for target in ["10.0.0.2", "fd00::2"] {
        ping(&service, &["-c", "1", "-W", "5", target]).only("replied", 1);
        let large = ["-s", "1400", "-M", "do", target];
        quick(&service, &large).only("replied", 3);
        wire.a_to_b(|there| there.drop = Some(Box::new(|frame| frame.len() > 1200)));
        let report = ping(
            &service,
            &[&["-c", "5", "-i", "0.2", "-W", "0.3"][..], &large].concat(),
        );
        // The smaller probe is no part of the counts.
        report.only("unanswered", 5);
        let checks: Vec<Value> = (report.text.lines())
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["event"] == "size_check")
            .collect();
        assert_eq!(checks.len(), 1, "{}", report.text);
        assert_eq!(
            (&checks[0]["size"], &checks[0]["fate"]),
            (&56.into(), &"replied".into())
        );
        let words = "56 bytes pass, 1400 do not: path MTU black hole, or a filter of large packets";
        assert_eq!(remark(&report, "path-mtu-black-hole"), words);
        let text = printed(&client(
            &service,
            &a,
            &[&["ping"], &QUICK[..], &large].concat(),
        ));
        assert!(
            text.contains("2 probes of 1400 bytes were lost; sending one of 56 bytes")
                && text.contains("the probe of 56 bytes: replied: time=")
                && text.contains("3 packets transmitted, 0 received")
                && text.contains(words),
            "{text}"
        );
        let report = quick(&service, &["-s", "3000", target]);
        assert_eq!(
            remark(&report, "path-mtu-black-hole"),
            "56 bytes pass, 3000 in fragments do not: fragments are lost on the path"
        );
        // Everything is lost, so size is not the cause.
        wire.a_to_b(|there| there.drop = Some(Box::new(|frame| frame.len() > 60)));
        let report = quick(&service, &large);
        report.only("unanswered", 3);
        assert_eq!(report.summaries[0]["remarks"], Value::Null);
        wire.a_to_b(|there| there.drop = None);
    }
    Ok(())
}

fn quit_signal_prints_a_line() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    for arguments in [
        &["ping", "-c", "12", "-i", "0.1", "10.0.0.2"][..],
        &["-q", "ping", "-c", "12", "-i", "0.1", "10.0.0.2"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
        command
            .arg("--socket")
            .arg(service.socket())
            .args(arguments);
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running: Running = a.spawn(&mut command)?;
        let is_probing = || {
            let limits = service.status()["clients"]["connected"].clone();
            number(&limits) >= 2
        };
        assert!(wait_until(PATIENCE, is_probing));
        std::thread::sleep(Duration::from_millis(500));
        kill(Pid::from_raw(running.child().id() as i32), Signal::SIGQUIT)?;
        let (mut out, mut errors) = (String::new(), String::new());
        running
            .child()
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)?;
        running
            .child()
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)?;
        assert_eq!(running.child().wait()?.code(), Some(0), "{out}{errors}");
        assert!(out.contains("12 packets transmitted, 12 received"), "{out}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        let (counts, rest) = errors.split_once(" packets, 0% loss").unwrap();
        let (received, sent) = counts.split_once('/').unwrap();
        let (received, sent): (u64, u64) = (received.parse()?, sent.parse()?);
        assert!(received == sent && (1..12).contains(&sent), "{errors}");
        let times = rest.strip_prefix(", min/avg/ewma/max = ").unwrap();
        let times = times.trim_end().strip_suffix(" ms").unwrap();
        let times: Vec<f64> = times.split('/').map(|ms| ms.parse().unwrap()).collect();
        assert!(times.len() == 4 && times[0] > 0.0, "{errors}");
        assert!(times[0] <= times[1] && times[1] <= times[3], "{errors}");
        assert!(times[0] <= times[2] && times[2] <= times[3], "{errors}");
    }
    Ok(())
}

fn late_replies_have_the_last_word() -> Outcome {
    let (a, _b, wire) = wired();
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    wire.b_to_a(|back| back.delay = Duration::from_millis(500));
    let report = ping(&service, &["-c", "3", "-i", "0.1", "-W", "0.3", "10.0.0.2"]);
    for seq in 1..=3 {
        let lines: Vec<&Value> = (report.probes.iter())
            .filter(|probe| probe["seq"] == seq && probe["target"] == "10.0.0.2")
            .collect();
        let words: Vec<_> = (lines.iter())
            .map(|line| {
                (
                    line["fate"].as_str().unwrap(),
                    line["final"].as_bool().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            words,
            [("unanswered", false), ("late", true)],
            "{}",
            report.text
        );
        assert_eq!(lines[1]["instead_of"], "unanswered");
    }
    wire.b_to_a(|back| back.delay = Duration::ZERO);
    let report = quick(&service, &["10.0.0.2"]);
    report.only("replied", 3);
    assert!(report.probes.iter().all(|probe| probe["final"] == true));
    Ok(())
}

/// ```text
///   a  e0 10.0.0.1, 10.64.0.77, 10.64.0.200 ---------- 10.0.0.2 e0  b: answers for the rest of 10.64.0.0/24
/// ```
/// Replies come before the send call for the whole batch returns, and often before its share of the time.
fn replies_during_the_send_call_have_a_time() -> Outcome {
    let (a, b) = pair();
    a.route("10.64.0.0/24", "10.0.0.2")?;
    inside(
        &b,
        "ip",
        &["route", "add", "local", "10.64.0.0/24", "dev", "lo"],
    );
    let own = ["10.64.0.77", "10.64.0.200"];
    for address in own {
        a.address("lo", &format!("{address}/32"))?;
    }
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.64.0.1"]).only("replied", 1);
    let arguments = ["-c", "20", "-i", "0", "--rate", "100000", "-W", "5"];
    let report = ping(&service, &[&arguments[..], &["10.64.0.0/24"]].concat());
    assert_eq!(report.probes.len(), 20 * 254);
    for probe in &report.probes {
        assert_eq!(probe["fate"], "replied", "{probe}");
        // Sightings on the wire may be missing on a busy machine.
        let (rtt, wire) = (number(&probe["rtt_ns"]), &probe["wire_rtt_ns"]);
        let is_within = |wire: u64| wire > 0 && wire <= rtt;
        assert!(rtt > 0 && wire.as_u64().is_none_or(is_within), "{probe}");
    }
    let times = |is_own: bool| -> Vec<u64> {
        let probes = report.probes.iter();
        let of = probes.filter(|probe| own.contains(&probe["target"].as_str().unwrap()) == is_own);
        of.map(|probe| number(&probe["rtt_ns"])).collect()
    };
    assert_eq!((times(true).len(), times(false).len()), (40, 20 * 252));
    Ok(())
}

fn silent_groups_have_a_hint() -> Outcome {
    let (a, b) = pair();
    a.sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "1")?;
    b.sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "1")?;
    let service = Service::start(&a, &[]);
    ping(&service, &["-c", "1", "-W", "5", "10.0.0.2"]).only("replied", 1);
    for arguments in [
        &["-I", "e0", "224.0.0.1"][..],
        &["-b", "10.0.0.255"],
        &["-b", "-I", "e0", "255.255.255.255"],
    ] {
        let report = quick(&service, arguments);
        assert_eq!(report.fates(), ["unanswered"; 3], "{}", report.text);
        assert!(
            remark(&report, "echo-ignored").contains("net.ipv4.icmp_echo_ignore_broadcasts = 1"),
            "{}",
            report.text
        );
        let text = printed(&client(
            &service,
            &a,
            &[&["ping"], &QUICK[..], arguments].concat(),
        ));
        assert!(text.contains("icmp_echo_ignore_broadcasts"), "{text}");
    }
    b.sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "0")?;
    let report = quick(&service, &["-I", "e0", "224.0.0.1"]);
    assert_eq!(
        report.summaries[0]["remarks"],
        Value::Null,
        "{}",
        report.text
    );
    Ok(())
}
