//! The command itself: what it sends, what it prints, and targets that are none.

use serde_json::Value;

use super::*;

pub const TESTS: &[(&str, support::Test)] = &[
    ("dry_run_sends_nothing", dry_run_sends_nothing),
    ("only_what_is_listed_is_sent", only_what_is_listed_is_sent),
    (
        "lost_large_packets_are_followed",
        lost_large_packets_are_followed,
    ),
    ("json_has_the_keys_of_doctors", json_has_the_keys_of_doctors),
    ("steps_are_shown", steps_are_shown),
    ("wrong_targets_are_reported", wrong_targets_are_reported),
    ("missing_service_is_reported", missing_service_is_reported),
];

/// Runs the client in h. Returns its exit status and what it printed on both outputs.
fn client(net: &Net, arguments: &[&str]) -> (i32, String, String) {
    let output = net.h.run(|| net.service.netsonde(arguments));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// A list of the JSON document that a run prints.
fn list(net: &Net, arguments: &[&str], key: &str) -> Vec<Value> {
    let all = [&["--json", "doctor"], arguments].concat();
    let (_, printed, errors) = client(net, &all);
    let report: Value =
        serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{errors}"));
    report[key].as_array().unwrap().clone()
}

fn listed(net: &Net, target: &str) -> Vec<Value> {
    list(net, &["--dry-run", target], "would_send")
}

/// Kind, and what is special.
fn kind_of(one: &Value) -> String {
    let kind = one["kind"].as_str().unwrap();
    match one["how"].as_str() {
        Some(how) => format!("{kind}, {how}"),
        None => kind.to_owned(),
    }
}

fn kinds(all: &[Value]) -> Vec<String> {
    all.iter().map(kind_of).collect()
}

const SMALL: &str = "echo request";
const LARGE: &str = "echo request, as long as the MTU, with DF";
const SMALL_HOPS: &str = "echo request, with a TTL of 1 to 20";
const SYN_HOPS: &str = "SYN, for port 443, with a TTL of 1 to 20";
const LARGE_HOPS: &str = "echo request, as long as the MTU, with a TTL of 1 to 20";

fn count(all: &[Value], kind: &str) -> u64 {
    let of_kind = all.iter().filter(|one| kind_of(one) == kind);
    of_kind.map(|one| support::number(&one["count"])).sum()
}

/// What h sent, as a capture on its interface shows it.
#[derive(Debug, Default, PartialEq)]
struct Left {
    small_echoes: u64,
    large_echoes: u64,
    /// Flows of TCP and UDP: protocol, destination port, source port.
    flows: std::collections::BTreeSet<(String, u64, u64)>,
    /// Others, but for the kernel's own about links, neighbors and memberships.
    others: Vec<String>,
}

fn left(net: &Net) -> Left {
    let mut left = Left::default();
    for packet in net.service.packets(&["--direction", "out"]) {
        let text = |key: &str| packet[key].as_str().unwrap_or_default().to_owned();
        let is_echo = text("summary").starts_with("echo request");
        match text("protocol").as_str() {
            "arp" | "igmp" | "mld" | "nd" => {}
            "icmp" | "icmp6" if is_echo && packet["length_bytes"] == 98 => left.small_echoes += 1,
            "icmp" | "icmp6" if is_echo => left.large_echoes += 1,
            "tcp" | "udp" | "dns" => {
                let [to, from] =
                    ["destination_port", "source_port"].map(|key| support::number(&packet[key]));
                left.flows.insert((text("protocol"), to, from));
            }
            _ => left.others.push(packet.to_string()),
        }
    }
    left
}

/// Neither is a service needed.
fn dry_run_sends_nothing() -> Outcome {
    let net = net();
    let before = left(&net);
    let all = listed(&net, "10.3.0.9:443");
    assert_eq!(
        kinds(&all),
        [SMALL, LARGE, "connection", SMALL_HOPS, LARGE_HOPS, SYN_HOPS]
    );
    assert_eq!(
        kinds(&listed(&net, "www.example.test:53/udp"))[..4],
        ["name lookup", SMALL, LARGE, "datagram"]
    );
    let (code, printed, _) = client(&net, &["doctor", "--dry-run", NAME]);
    assert_eq!(code, 0);
    for line in [
        "would send 2 echo requests to www.example.test, as long as the MTU, with DF",
        "would send up to 20 echo requests of 84 bytes to ",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
    assert!(
        printed.starts_with(&format!("would look up {NAME}\n")),
        "{printed}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.args(["--socket", "/nonexistent", "doctor", "--dry-run", T4]);
    assert!(command.output()?.status.success());
    assert_eq!(left(&net), before);
    assert_eq!(before, Left::default());
    Ok(())
}

fn only_what_is_listed_is_sent() -> Outcome {
    for (rule, target, flow) in [
        ("", "10.3.0.9:443", ("tcp", 443)),
        ("tcp dport 443 drop", "10.3.0.9:443", ("tcp", 443)),
        ("", "10.3.0.9:514/udp", ("udp", 514)),
    ] {
        let net = net();
        let _servers = (patient(&net.t, 443), udp_socket(&net.t, T4, 514));
        firewall(&net.r2, "forward", rule);
        let sent = list(&net, &[target], "sent");
        let all = listed(&net, target);
        for one in &sent {
            let kind = kind_of(one);
            assert!(kinds(&all).contains(&kind), "{one}");
            assert!(count(&sent, &kind) <= count(&all, &kind), "{one}");
        }
        let hops = count(&sent, SMALL_HOPS);
        assert_eq!(hops > 0, !rule.is_empty(), "{sent:?}");
        let small = count(&sent, SMALL) + hops;
        let met = wait_until(PATIENCE, || left(&net).small_echoes == small);
        let left = left(&net);
        assert!(met, "{left:?} for {sent:?}");
        let large = count(&sent, LARGE);
        assert_eq!(left.large_echoes, large, "{left:?}");
        let mut flows: Vec<(&str, u64)> = left
            .flows
            .iter()
            .map(|(protocol, to, _)| (protocol.as_str(), *to))
            .collect();
        // That of the attempt, and that of the SYNs that routers answer.
        let syns = count(&sent, SYN_HOPS);
        assert_eq!(syns > 0, !rule.is_empty(), "{sent:?}");
        assert_eq!(flows.len(), 1 + usize::from(syns > 0), "{left:?}");
        flows.dedup();
        assert_eq!(flows, [flow], "{left:?}");
        assert_eq!(left.others, [""; 0]);
    }
    Ok(())
}

/// Of these the numbers are listed as well.
fn lost_large_packets_are_followed() -> Outcome {
    let net = net();
    paths::black_hole(&net);
    let sent = list(&net, &[T4], "sent");
    let followed = count(&sent, LARGE_HOPS);
    assert!(followed > 0, "{sent:?}");
    let large = count(&sent, LARGE) + followed;
    let met = wait_until(PATIENCE, || left(&net).large_echoes == large);
    assert!(met, "{:?} for {sent:?}", left(&net));
    Ok(())
}

/// Those of `mcast doctor`, and what was looked at and sent.
fn json_has_the_keys_of_doctors() -> Outcome {
    let net = net();
    let keys = |value: &Value| -> Vec<String> {
        let object = value.as_object().unwrap();
        let mut keys: Vec<String> = object.keys().cloned().collect();
        keys.sort();
        keys
    };
    let report = |arguments: &[&str]| -> Value {
        let (_, printed, _) = client(&net, &[&["--json"], arguments].concat());
        serde_json::from_str(&printed).unwrap()
    };
    let of_group = report(&["mcast", "doctor", GROUP, "--join", "--duration", "300ms"]);
    let of_target = report(&["doctor", "10.3.0.9:443"]);
    let mut expected = keys(&of_group);
    expected.extend(["checks".into(), "sent".into()]);
    expected.sort();
    assert_eq!(keys(&of_target), expected);
    assert_eq!(
        keys(&of_target["subject"]),
        ["interface", "port", "protocol", "source", "target"]
    );
    assert_eq!(of_target["subject"]["port"], 443);
    assert_eq!(of_target["subject"]["protocol"], "tcp");
    for finding in of_target["findings"].as_array().unwrap() {
        assert_eq!(
            keys(finding),
            [
                "certainty",
                "evidence",
                "fix",
                "id",
                "interface",
                "severity",
                "summary"
            ]
        );
    }
    for check in of_target["checks"].as_array().unwrap() {
        assert_eq!(keys(check), ["check", "findings", "state", "text"]);
    }
    let of_port = &of_target["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(of_port["findings"], serde_json::json!(["port-closed"]));
    for sent in of_target["sent"].as_array().unwrap() {
        let mut keys = keys(sent);
        keys.retain(|key| key != "how");
        assert_eq!(keys, ["bytes", "count", "kind", "target", "when"]);
    }
    Ok(())
}

/// Each step, in the order of the way; the steps of what is reached without being asked for.
fn steps_are_shown() -> Outcome {
    let net = net();
    let _server = patient(&net.t, 443);
    let (code, printed, errors) = client(&net, &["doctor", "10.3.0.9:443"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
    assert!(printed.starts_with("10.3.0.9:443: reached\n"), "{printed}");
    let (_, printed, _) = client(&net, &["-v", "doctor", "10.3.0.9:80"]);
    let mut at = 0;
    for step in [
        " name ",
        " 10.3.0.9: route ",
        " 10.3.0.9: echo ",
        " 10.3.0.9: path ",
        " 10.3.0.9: length ",
        " 10.3.0.9: port ",
    ] {
        let found = printed[at..].find(step);
        at += found.unwrap_or_else(|| panic!("{step} after {at} in\n{printed}"));
    }
    assert!(printed.contains("cause: port-closed (proved)"), "{printed}");
    let (code, printed, _) = client(&net, &["explain", "port-closed"]);
    assert_eq!(code, 0);
    assert!(printed.contains("Connection refused"), "{printed}");
    Ok(())
}

/// One line, which names what is wrong.
fn wrong_targets_are_reported() -> Outcome {
    let net = net();
    let before = left(&net);
    for (target, words) in [
        ("10.3.0.9:0", "1 to 65535"),
        ("10.3.0.9:65536", "1 to 65535"),
        ("10.3.0.9:nothing", "no TCP service is named nothing"),
        ("10.3.0.9/udp", "needs a port"),
        ("10.3.0.9:53/sctp", "/sctp is neither"),
        ("10.3.0.999", "999 is more than 255"),
        ("[fd00:3::9", "] behind the address"),
        ("fe80::1", "add the interface"),
        ("239.1.1.1", "mcast doctor"),
        ("a b", "neither a name nor an address"),
        ("fe80::1%e9", "e9"),
    ] {
        for extra in [&["doctor"][..], &["--json", "doctor"]] {
            let (code, printed, errors) = client(&net, &[extra, &[target]].concat());
            assert_eq!(code, 2, "{target}: {printed}{errors}");
            assert_eq!(printed, "", "{target}");
            assert_eq!(errors.lines().count(), 1, "{target}: {errors}");
            assert!(errors.contains(words), "{target}: {errors}");
        }
    }
    for (arguments, words) in [
        (&["--source", "10.1.0.300"][..], "300 is more than 255"),
        (&["--interface", "e9"], "e9"),
    ] {
        let (code, _, errors) = client(&net, &[&["doctor", T4], arguments].concat());
        assert_eq!(code, 2, "{errors}");
        assert!(
            errors.lines().count() == 1 && errors.contains(words),
            "{errors}"
        );
    }
    assert_eq!(left(&net), before);
    Ok(())
}

fn missing_service_is_reported() -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.args(["--socket", "/nonexistent", "doctor", T4]);
    let output = command.output()?;
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("/nonexistent"), "{errors}");
    Ok(())
}
