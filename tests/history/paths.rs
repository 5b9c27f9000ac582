//! Paths that the historian remembers, on routers of the kernel: a change is told once, with what was before and after;
//! equal ways and silent routers are none; an outage shows where its path ends.
//!
//! ```text
//!                                                  10.1.0.2  m1  10.3.0.1
//!   a  e0 10.0.0.2 ---- 10.0.0.1 e0  r  e1, e2 <                         >  e0, e1  b  lo 10.9.0.1 to 10.9.0.4, 10.8.0.1
//!   netsonded, netsonde-historian                  10.2.0.2  m2  10.4.0.1
//! ```

use std::process::Output;
use std::time::Duration;

use crate::support::historian::{Historian, ip, now, ns};
use crate::support::{PATIENCE, Service, Test, firewall, load_rules, need, number};
use netsonde::lab::{self, Host, wait_until};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A path is looked at as often as can be configured.
const CONFIG: &str = "[history]\npath_interval = \"5 s\"\n";
const INTERVAL_NS: i128 = 5_000_000_000;
const SECOND_NS: i128 = 1_000_000_000;

pub const TESTS: &[(&str, Test)] = &[
    (
        "a_change_is_told_once_with_before_and_after",
        a_change_is_told_once_with_before_and_after,
    ),
    (
        "equal_ways_and_silent_routers_are_no_change",
        equal_ways_and_silent_routers_are_no_change,
    ),
    (
        "an_outage_shows_where_its_path_ends",
        an_outage_shows_where_its_path_ends,
    ),
    (
        "an_outage_of_a_port_is_traced_by_its_probes",
        an_outage_of_a_port_is_traced_by_its_probes,
    ),
    (
        "nothing_is_traced_that_is_not_wanted",
        nothing_is_traced_that_is_not_wanted,
    ),
];

struct Network {
    a: Host,
    r: Host,
    m1: Host,
    m2: Host,
    b: Host,
}

fn network() -> Result<Network, Box<dyn std::error::Error>> {
    need("ip");
    let host = |name: &str| Host::new(name);
    let (a, r, b) = (host("a")?, host("r")?, host("b")?);
    let (m1, m2) = (host("m1")?, host("m2")?);
    lab::veth(&a, "e0", &r, "e0")?;
    lab::veth(&r, "e1", &m1, "e0")?;
    lab::veth(&r, "e2", &m2, "e0")?;
    lab::veth(&m1, "e1", &b, "e0")?;
    lab::veth(&m2, "e1", &b, "e1")?;
    for (host, interface, address) in [
        (&a, "e0", "10.0.0.2/24"),
        (&r, "e0", "10.0.0.1/24"),
        (&r, "e1", "10.1.0.1/24"),
        (&r, "e2", "10.2.0.1/24"),
        (&m1, "e0", "10.1.0.2/24"),
        (&m2, "e0", "10.2.0.2/24"),
        (&m1, "e1", "10.3.0.1/24"),
        (&m2, "e1", "10.4.0.1/24"),
        (&b, "e0", "10.3.0.2/24"),
        (&b, "e1", "10.4.0.2/24"),
        (&b, "lo", "10.9.0.1/32"),
        (&b, "lo", "10.9.0.2/32"),
        (&b, "lo", "10.9.0.3/32"),
        (&b, "lo", "10.9.0.4/32"),
        (&b, "lo", "10.8.0.1/32"),
        (&b, "lo", "10.8.1.1/32"),
        (&b, "lo", "10.8.2.1/32"),
        (&b, "lo", "10.8.3.1/32"),
        (&b, "lo", "10.8.4.1/32"),
    ] {
        host.address(interface, address)?;
    }
    for router in [&r, &m1, &m2, &b] {
        // They answer one a second to each host, as is usual.
        router.sysctl("net/ipv4/ip_forward", "1")?;
        router.sysctl("net/ipv4/icmp_ratelimit", "1000")?;
        // The way back is always the first one.
        router.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        router.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
    }
    for interface in ["e0", "e1"] {
        b.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    a.route("0.0.0.0/0", "10.0.0.1")?;
    r.route("10.8.0.0/15", "10.1.0.2")?;
    m1.route("10.8.0.0/15", "10.3.0.2")?;
    m2.route("10.8.0.0/15", "10.4.0.2")?;
    m1.route("10.0.0.0/24", "10.1.0.1")?;
    m2.route("10.0.0.0/24", "10.2.0.1")?;
    b.route("10.0.0.0/24", "10.3.0.1")?;
    Ok(Network { a, r, m1, m2, b })
}

fn monitors() -> String {
    let monitor = |name: &str, targets: &str| {
        format!(
            "[[monitor]]\nname = \"{name}\"\ntargets = [{targets}]\ninterval = \"200ms\"\ntimeout = \"300ms\"\n"
        )
    };
    monitor(
        "far",
        "\"10.9.0.1\", \"10.9.0.2\", \"10.9.0.3\", \"10.9.0.4\"",
    ) + &monitor("other", "\"10.8.0.1\"")
}

/// What a program wrote.
fn text_of(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(errors)
}

/// Starts a historian, and waits until it knows the paths of all networks.
fn learned_with(net: &Network, service: &Service, monitors: &str, all: &[&str]) -> Historian {
    let historian = Historian::start_with(&net.a, service, monitors, CONFIG);
    historian.until_state("10.9.0.1", "up");
    historian.until("Status", "all paths are known", |status| {
        status["paths"]["known"] == all.len()
    });
    // A router that limits its answers shows up later.
    for target in all {
        let path = || {
            let reply = historian.call("Path", &json!({ "target": target }));
            hops(&reply["path"])
        };
        let is_whole = || path().len() == 3;
        assert!(
            wait_until(PATIENCE * 3, is_whole),
            "{target}: {:?}\n{}",
            path(),
            historian.log()
        );
    }
    historian
}

fn learned(net: &Network, service: &Service) -> Historian {
    learned_with(net, service, &monitors(), &["10.9.0.1", "10.8.0.1"])
}

/// Waits until the paths were looked at a number of times.
fn looked(historian: &Historian, times: u64) {
    let probes = || number(&historian.call("Status", &json!({}))["paths"]["probes"]);
    // Three hops of two networks.
    let least = probes() + times * 6;
    assert!(
        wait_until(PATIENCE * 3, || probes() >= least),
        "{}",
        historian.log()
    );
}

fn changes(historian: &Historian) -> Vec<Value> {
    let call = json!({ "kinds": ["path_changed"] });
    let found = historian.call("Events", &call);
    found["events"].as_array().unwrap().clone()
}

/// Waits for a number of changes.
fn until_changes(historian: &Historian, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let met = wait_until(PATIENCE, || {
        found = changes(historian);
        found.len() >= count
    });
    assert!(met, "{found:#?}\n{}", historian.log());
    found
}

/// The addresses of a path, hop by hop.
fn hops(path: &Value) -> Vec<String> {
    let all = path["hops"].as_array().unwrap().iter();
    let text = |hop: &Value| {
        let all = hop["addresses"].as_array().unwrap().iter();
        let all: Vec<&str> = all.map(|one| one.as_str().unwrap()).collect();
        format!("{} {}", hop["hop"], all.join(" "))
    };
    all.map(text).collect()
}

const FIRST: [&str; 3] = ["1 10.0.0.1", "2 10.1.0.2", "3 10.9.0.1"];
const SECOND: [&str; 3] = ["1 10.0.0.1", "2 10.2.0.2", "3 10.9.0.1"];

fn a_change_is_told_once_with_before_and_after() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let mut historian = learned(&net, &service);
    looked(&historian, 2);
    assert_eq!(changes(&historian), [] as [Value; 0]);
    let before_ns = now();
    ip(&net.r, "route replace 10.9.0.0/24 via 10.2.0.2");
    let found = until_changes(&historian, 1);
    let event = &found[0];
    assert_eq!(hops(&event["before"]), FIRST, "{event:#}");
    assert_eq!(hops(&event["after"]), SECOND, "{event:#}");
    let late_ns = ns(&event["time"]) - before_ns;
    println!("seen {:.1} s after the change", late_ns as f64 / 1e9);
    assert!(
        (0..INTERVAL_NS + 3 * SECOND_NS).contains(&late_ns),
        "{late_ns} {event:#}"
    );
    assert_eq!(
        event["text"],
        "path to 10.9.0.0/24 changed: hop 2 was 10.1.0.2, is 10.2.0.2"
    );
    // Once; and nothing of the other network.
    looked(&historian, 3);
    assert_eq!(changes(&historian).len(), 1);
    let status = historian.call("Status", &json!({}));
    assert_eq!(status["paths"]["networks"], 2);
    assert_eq!(status["paths"]["changes"], 1);

    let output = historian.client(&["events", "--since", "-5m", "path_changed"]);
    assert!(
        text_of(&output).contains("hop 2 was 10.1.0.2, is 10.2.0.2"),
        "{}",
        text_of(&output)
    );

    // Any host of the network, as it was, and since when it is as it is.
    let compared = |time_ns: i128| {
        let time = jiff::Timestamp::from_nanosecond(time_ns)
            .unwrap()
            .to_string();
        let trace = ["--json", "trace", "-n", "--compare", &time, "10.9.0.2"];
        let output = historian.client(&trace);
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["compared"].clone()
    };
    let found = compared(before_ns);
    let relations = |compared: &Value| {
        let all = compared["hops"].as_array().unwrap().iter();
        let all = all.map(|hop| hop["relation"].as_str().unwrap().to_owned());
        all.collect::<Vec<String>>()
    };
    assert_eq!(relations(&found), ["same", "changed", "same"], "{found:#}");
    assert_eq!(found["hops"][1]["before"], json!(["10.1.0.2"]));
    assert_eq!(found["hops"][1]["now"], json!(["10.2.0.2"]));
    assert_eq!(found["hops"][1]["since"], event["after"]["since"]);
    let found = compared(now());
    assert_eq!(relations(&found), ["same"; 3], "{found:#}");
    let time = jiff::Timestamp::from_nanosecond(before_ns)
        .unwrap()
        .to_string();
    let output = historian.client(&["trace", "-n", "--compare", &time, "10.9.0.2"]);
    let text = text_of(&output);
    println!("{text}{}", text_of(&historian.client(&["status"])));
    assert!(
        text.contains("COMPARED with the path to 10.9.0.0/24 from "),
        "{text}"
    );
    assert!(
        text.contains("10.1.0.2  10.2.0.2  changed, known since 20"),
        "{text}"
    );
    let output = historian.client(&["trace", "-n", "--compare", "2020-01-01", "10.9.0.2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text_of(&output).contains("the first path that is known is of"),
        "{}",
        text_of(&output)
    );
    let output = historian.client(&["trace", "-n", "--compare", "-1m", "10.0.0.1"]);
    assert!(
        text_of(&output).contains("no monitor has a target of its network"),
        "{}",
        text_of(&output)
    );

    // A restart keeps both, and is no change.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        historian.end(signal);
        historian.begin(&net.a);
        let call = json!({ "target": "10.9.0.3", "time_ns": before_ns as u64 });
        let reply = historian.call("Path", &call);
        assert_eq!(hops(&reply["path"]), FIRST, "{reply:#}");
        assert_eq!(hops(&reply["later"][0]), SECOND, "{reply:#}");
        assert_eq!(reply["network"], "10.9.0.0/24");
    }
    looked(&historian, 2);
    assert_eq!(changes(&historian).len(), 1);
    ip(&net.r, "route del 10.9.0.0/24");
    let found = until_changes(&historian, 2);
    assert_eq!(hops(&found[1]["before"]), SECOND);
    assert_eq!(hops(&found[1]["after"]), FIRST);
    Ok(())
}

fn equal_ways_and_silent_routers_are_no_change() -> Outcome {
    let net = network()?;
    // A router that chooses by the checksum of the echo request, and so by its flow.
    ip(&net.r, "rule add fwmark 1 lookup 100");
    ip(&net.r, "route add 10.9.0.0/24 via 10.2.0.2 table 100");
    let hash = "table inet t {\nchain c {\ntype filter hook prerouting priority -150;\n\
                ip daddr 10.9.0.0/24 @th,31,1 1 meta mark set 1\n}\n}\n";
    load_rules(&net.r, hash);
    let service = Service::start(&net.a, &[]);
    let historian = learned(&net, &service);
    looked(&historian, 6);
    let path = || historian.call("Path", &json!({ "target": "10.9.0.1" }))["path"].clone();
    assert_eq!(
        hops(&path()),
        ["1 10.0.0.1", "2 10.1.0.2 10.2.0.2", "3 10.9.0.1"]
    );
    // Both routers stop to answer, and pass packets on; then one answer a second.
    for router in [&net.m1, &net.m2] {
        firewall(router, "output", "icmp type time-exceeded drop");
    }
    looked(&historian, 3);
    for router in [&net.m1, &net.m2] {
        let limit =
            "icmp type time-exceeded limit rate 1/second accept\nicmp type time-exceeded drop";
        firewall(router, "output", limit);
    }
    looked(&historian, 3);
    assert_eq!(changes(&historian), [] as [Value; 0]);
    // Probes whose TTL ends on the way are no losses of the target.
    let lost = historian.call("Events", &json!({ "kinds": ["loss_begun"] }));
    assert_eq!(lost["events"], json!([]));
    assert_eq!(hops(&path()).len(), 3);
    Ok(())
}

fn an_outage_shows_where_its_path_ends() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    // Four more networks behind the same routers.
    let more = "[[monitor]]\nname = \"more\"\ninterval = \"200ms\"\ntimeout = \"300ms\"\n\
                targets = [\"10.8.1.1\", \"10.8.2.1\", \"10.8.3.1\", \"10.8.4.1\"]\n";
    let networks = [
        "10.9.0.1", "10.8.0.1", "10.8.1.1", "10.8.2.1", "10.8.3.1", "10.8.4.1",
    ];
    let mut historian = learned_with(&net, &service, &(monitors() + more), &networks);
    // One target alone: what is before it answers.
    firewall(&net.b, "input", "ip daddr 10.9.0.2 drop");
    historian.until_state("10.9.0.2", "down");
    let words = || {
        let outages = historian.call("Outages", &json!({ "target": "10.9.0.2" }));
        let id = &outages["outages"][0]["id"];
        let outage = historian.call("Outage", &json!({ "id": id }))["outage"].clone();
        outage["traces"][0]["words"].as_str().map(str::to_owned)
    };
    assert!(wait_until(PATIENCE, || words().is_some()));
    assert_eq!(words().unwrap(), "answers end at 10.1.0.2 (hop 2)");
    firewall(&net.b, "input", "");
    historian.until_state("10.9.0.2", "up");
    let silent_ns = now();
    // A gateway on the way goes silent.
    firewall(&net.m1, "prerouting", "drop");
    for target in ["10.8.0.1", "10.8.4.1", "10.9.0.4"] {
        historian.until_state(target, "down");
    }
    let listed = |historian: &Historian| {
        let all = historian.call("Outages", &json!({ "since_ns": silent_ns as u64 }));
        let ids = all["outages"].as_array().unwrap().iter();
        let whole = |one: &Value| historian.call("Outage", &json!({ "id": one["id"] }));
        ids.map(|one| whole(one)["outage"].clone())
            .collect::<Vec<Value>>()
    };
    let is_traced = |outage: &Value| outage["traces"][0]["during"].is_object();
    let met = wait_until(PATIENCE, || listed(&historian).iter().all(is_traced));
    let outages = listed(&historian);
    assert!(met, "{outages:#?}\n{}", historian.log());
    assert_eq!(outages.len(), 9, "{outages:#?}");
    let mut begins = Vec::new();
    for outage in &outages {
        let trace = &outage["traces"][0];
        let target = outage["targets"][0].as_str().unwrap();
        assert_eq!(trace["target"], target, "{outage:#}");
        let before = &trace["before"];
        assert_eq!(hops(before)[..2], FIRST[..2], "{outage:#}");
        assert_eq!(before["reached"], true);
        assert!(ns(&before["since"]) < silent_ns);
        let during = &trace["during"];
        assert_eq!(hops(during), ["1 10.0.0.1"], "{outage:#}");
        assert_eq!(during["reached"], false);
        let late_ns = ns(&during["since"]) - ns(&outage["begin"]);
        assert!(
            (0..5 * SECOND_NS).contains(&late_ns),
            "{late_ns} {outage:#}"
        );
        let words = trace["words"].as_str().unwrap();
        let expected = "answers end at 10.0.0.1 (hop 1); hop 2, 10.1.0.2, answered before";
        assert!(words.starts_with(expected), "{outage:#}");
        begins.push(ns(&during["since"]));
    }
    // Those of one network share a trace, and so do others that were behind the same router, but for the two that were
    // made at the same time.
    begins.sort_unstable();
    begins.dedup();
    println!("{} traces of {} outages", begins.len(), outages.len());
    assert!(begins.len() <= 2, "{outages:#?}");
    let id = outages[0]["id"].to_string();
    let output = historian.client(&["outages", &id]);
    let text = text_of(&output);
    println!("{text}");
    assert!(text.contains("PATH TO "), "{text}");
    assert!(text.contains("answers end at 10.0.0.1 (hop 1)"), "{text}");
    // Silence was no change, and the path is looked at when it is back.
    firewall(&net.m1, "prerouting", "");
    historian.until_state("10.9.0.1", "up");
    looked(&historian, 2);
    assert_eq!(changes(&historian), [] as [Value; 0]);
    // Traces outlive the historian.
    let id = outages[0]["id"].clone();
    historian.end(Signal::SIGTERM);
    historian.begin(&net.a);
    let again = historian.call("Outage", &json!({ "id": id }))["outage"].clone();
    assert_eq!(again["traces"], outages[0]["traces"]);
    historian.until_state("10.9.0.1", "up");
    // What does not leave this host is not traced.
    ip(&net.a, "route del default");
    historian.until_state("10.9.0.1", "down");
    let of_host = || {
        let all = listed(&historian);
        let found = all.iter().rev().find(|one| one["cause"] == "no_route");
        found.is_some_and(|one| {
            one["traces"][0]["words"] == "not traced: no probe leaves this host"
                && hops(&one["traces"][0]["before"])[..2] == FIRST[..2]
        })
    };
    assert!(wait_until(PATIENCE, of_host), "{:#?}", listed(&historian));
    Ok(())
}

/// A router drops what goes to a port and lets echo requests pass.
fn an_outage_of_a_port_is_traced_by_its_probes() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let _server = net.b.run(|| std::net::TcpListener::bind("10.9.0.1:443"))?;
    let web = "[[monitor]]\nname = \"web\"\ntargets = [\"10.9.0.1\"]\ntcp = 443\ninterval = \"200ms\"\n\
               timeout = \"300ms\"\n";
    let networks = ["10.9.0.1", "10.8.0.1"];
    let historian = learned_with(&net, &service, &(monitors() + web), &networks);
    let state = |name: &str| {
        let all = historian.call("Monitors", &json!({ "name": name }));
        all["targets"][0]["state"].as_str().map(str::to_owned)
    };
    let until = |wanted: &str| {
        let is_it = || state("web").as_deref() == Some(wanted);
        assert!(wait_until(PATIENCE, is_it), "{}", historian.log());
    };
    until("up");
    firewall(&net.m1, "forward", "tcp dport 443 drop");
    until("down");
    let outage = || historian.call("Outage", &json!({ "id": 1 }))["outage"].clone();
    let is_traced = || outage()["traces"][0]["words"].is_string();
    assert!(wait_until(PATIENCE, is_traced), "{}", historian.log());
    let outage = outage();
    let trace = &outage["traces"][0];
    assert_eq!(
        trace["words"],
        "answers end at 10.1.0.2 (hop 2); hop 3, 10.9.0.1, answered echo requests before",
        "{outage:#}"
    );
    assert_eq!(trace["transport"], "tcp", "{outage:#}");
    assert_eq!(trace["port"], 443);
    assert_eq!(trace["before"]["reached"], true);
    assert_eq!(hops(&trace["during"]), FIRST[..2]);
    let text = text_of(&historian.client(&["outages", "1"]));
    assert!(text.contains("traced by TCP to port 443 from "), "{text}");
    // Only the port is down.
    assert!(
        text.starts_with("outage 1: 10.9.0.1:443 has been down for"),
        "{text}"
    );
    let text = text_of(&historian.client(&["outages", "10.9.0.1:443"]));
    assert!(text.contains("10.9.0.1:443  "), "{text}");
    assert!(
        historian
            .log()
            .contains("outage began: 10.9.0.1:443: sent on e0"),
        "{}",
        historian.log()
    );
    // Echo requests pass.
    assert_eq!(state("far").as_deref(), Some("up"));
    firewall(&net.m1, "forward", "");
    until("up");
    Ok(())
}

fn nothing_is_traced_that_is_not_wanted() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let config = "[history]\npaths = false\n";
    let mut historian = Historian::start_with(&net.a, &service, &monitors(), config);
    historian.until_state("10.9.0.1", "up");
    firewall(&net.m1, "prerouting", "drop");
    historian.until_state("10.9.0.1", "down");
    std::thread::sleep(Duration::from_secs(3));
    let status = historian.call("Status", &json!({}));
    assert!(status["paths"].is_null(), "{status:#}");
    let outages = historian.call("Outages", &json!({ "target": "10.9.0.1" }));
    let id = &outages["outages"][0]["id"];
    let outage = historian.call("Outage", &json!({ "id": id }))["outage"].clone();
    assert!(outage["traces"].is_null(), "{outage:#}");
    let refused = historian.try_call("Path", &json!({ "target": "10.9.0.1" }));
    assert!(refused.is_err_and(|why| why.contains("history.paths")));
    // It is turned on, and off again, while it runs.
    firewall(&net.m1, "prerouting", "");
    historian.until_state("10.9.0.1", "up");
    std::fs::write(historian.path("netsonde.toml"), CONFIG)?;
    kill(historian.pid(), Signal::SIGHUP)?;
    historian.until("Status", "both paths are known", |status| {
        status["paths"]["known"] == 2
    });
    looked(&historian, 1);
    std::fs::write(historian.path("netsonde.toml"), config)?;
    kill(historian.pid(), Signal::SIGHUP)?;
    historian.until("Status", "nothing is traced", |status| {
        status["paths"].is_null()
    });
    // What is known is still there.
    let reply = historian.call("Path", &json!({ "target": "10.9.0.4" }));
    assert_eq!(hops(&reply["path"]), FIRST);
    Ok(())
}
