//! The historian on a real network: outages as they were, and a history that nothing doubles.
//!
//! ```text
//!   a  e0 10.0.0.2 ---- 10.0.0.1 e0  r  e1 10.1.0.1 ---- 10.1.0.2 e0  b  lo 10.9.0.1 to 10.9.0.20
//!   netsonded, netsonde-historian     forwards
//! ```

use std::time::Duration;

use crate::support::historian::{Historian, ip, now, ns, target_count};
use crate::support::mcast::Background;
use crate::support::{PATIENCE, Service, Test, firewall, inside, need, number, printed, skip_here};
use netsonde::client::files::capture_file::{CaptureFile, Item};
use netsonde::lab::wire::Wire;
use netsonde::lab::{self, BridgeOptions, Host, traffic, wait_until};
use netsonde::varlink::client::Connection;
use netsonde_core::wire::cursor::Mac;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const INTERVAL_NS: u64 = 100_000_000;
const MONITORS: &str = "[[monitor]]\nname = \"far\"\ntargets = [\"10.9.0.0/28\"]\ninterval = \"100ms\"\ntimeout = \"300ms\"\n\
                        [[monitor]]\nname = \"near\"\ntargets = [\"10.0.0.1\"]\ninterval = \"100ms\"\ntimeout = \"300ms\"\n";
const NEAR: &str = "[[monitor]]\nname = \"near\"\ntargets = [\"10.0.0.1\"]\ninterval = \"100ms\"\ntimeout = \"300ms\"\n";

pub const TESTS: &[(&str, Test)] = &[
    (
        "outages_are_listed_as_they_were",
        outages_are_listed_as_they_were,
    ),
    (
        "a_cable_is_one_outage_of_all_targets",
        a_cable_is_one_outage_of_all_targets,
    ),
    (
        "many_targets_behind_a_blocked_next_hop_are_one_outage",
        many_targets_behind_a_blocked_next_hop_are_one_outage,
    ),
    (
        "faults_of_host_and_link_are_one_outage_each",
        faults_of_host_and_link_are_one_outage_each,
    ),
    (
        "a_slower_way_is_a_degraded_target",
        a_slower_way_is_a_degraded_target,
    ),
    (
        "losses_under_load_are_told_so",
        losses_under_load_are_told_so,
    ),
    ("packets_of_outages_are_kept", packets_of_outages_are_kept),
    (
        "outages_show_ways_and_counters",
        outages_show_ways_and_counters,
    ),
    (
        "counters_of_minutes_outlive_the_historian",
        counters_of_minutes_outlive_the_historian,
    ),
    (
        "another_interface_of_the_same_name_begins_again",
        another_interface_of_the_same_name_begins_again,
    ),
    (
        "what_is_not_measured_is_unknown",
        what_is_not_measured_is_unknown,
    ),
    (
        "kills_double_nothing_and_lose_seconds",
        kills_double_nothing_and_lose_seconds,
    ),
    (
        "monitors_are_added_held_and_removed",
        monitors_are_added_held_and_removed,
    ),
    (
        "ports_are_probed_by_tcp_and_udp",
        ports_are_probed_by_tcp_and_udp,
    ),
    (
        "a_rate_that_is_too_low_for_the_monitors_is_told",
        a_rate_that_is_too_low_for_the_monitors_is_told,
    ),
    (
        "invalid_files_are_told_with_their_lines",
        invalid_files_are_told_with_their_lines,
    ),
    (
        "two_historians_do_not_share_a_directory",
        two_historians_do_not_share_a_directory,
    ),
];

struct Network {
    a: Host,
    r: Host,
    b: Host,
}

fn network() -> Result<Network, Box<dyn std::error::Error>> {
    need("ip");
    let (a, r, b) = (Host::new("a")?, Host::new("r")?, Host::new("b")?);
    lab::veth(&a, "e0", &r, "e0")?;
    lab::veth(&r, "e1", &b, "e0")?;
    a.address("e0", "10.0.0.2/24")?;
    r.address("e0", "10.0.0.1/24")?;
    r.address("e1", "10.1.0.1/24")?;
    b.address("e0", "10.1.0.2/24")?;
    for number in 1..=14 {
        b.address("lo", &format!("10.9.0.{number}/32"))?;
    }
    r.sysctl("net/ipv4/ip_forward", "1")?;
    // Errors are not limited: they are what is looked at.
    r.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    a.route("0.0.0.0/0", "10.0.0.1")?;
    r.route("10.9.0.0/24", "10.1.0.2")?;
    b.route("0.0.0.0/0", "10.1.0.1")?;
    Ok(Network { a, r, b })
}

/// Pauses until an outage is there, and a while longer.
fn last(time: Duration) {
    std::thread::sleep(time);
}

/// A trouble, from when to when it lasted, and the outage that is expected of it.
struct Trouble {
    name: &'static str,
    /// Between these times.
    begin: (i128, i128),
    end: (i128, i128),
    targets: usize,
    cause: &'static str,
    words: &'static str,
}

impl Trouble {
    /// Makes it, waits until the expected outage is there, lets it last, and ends it.
    fn make(
        historian: &Historian,
        name: &'static str,
        (targets, cause, words): (usize, &'static str, &'static str),
        begin: &dyn Fn(),
        end: &dyn Fn(),
    ) -> Trouble {
        let before = now();
        begin();
        let from = (before, now());
        let is_it = |outage: &Value| {
            outage["end"].is_null() && outage["cause"] == cause && target_count(outage) == targets
        };
        historian.until("Outages", name, |all| {
            all["outages"].as_array().unwrap().iter().any(is_it)
        });
        last(Duration::from_millis(700));
        let before = now();
        end();
        let to = (before, now());
        historian.until("Outages", &format!("{name} ends"), |all| {
            let mut all = all["outages"].as_array().unwrap().iter();
            all.all(|outage| outage["end"].is_string())
        });
        Trouble {
            name,
            begin: from,
            end: to,
            targets,
            cause,
            words,
        }
    }
}

/// Waits until all targets of [`MONITORS`] are up.
fn until_all_are_up(historian: &Historian) {
    for number in 1..=14 {
        historian.until_state(&format!("10.9.0.{number}"), "up");
    }
    historian.until_state("10.0.0.1", "up");
}

/// Exactly these outages are listed, each from its begin to its end.
fn check(historian: &Historian, troubles: &[Trouble]) -> Vec<Value> {
    let all = historian.call("Outages", &json!({}));
    let outages = all["outages"].as_array().unwrap();
    let names: Vec<&str> = troubles.iter().map(|trouble| trouble.name).collect();
    assert_eq!(
        outages.len(),
        troubles.len(),
        "{names:?}: {all:#}\n{}",
        historian.log()
    );
    for (trouble, outage) in troubles.iter().zip(outages) {
        let about = format!("{}: {outage:#}", trouble.name);
        assert_eq!(outage["cause"], trouble.cause, "{about}");
        assert!(
            outage["words"].as_str().unwrap().contains(trouble.words),
            "{about}"
        );
        assert_eq!(target_count(outage), trouble.targets, "{about}");
        // Within one interval of the truth: the probe that is lost first was sent before or after it.
        let slack = i128::from(INTERVAL_NS) + 20_000_000;
        let is_near = |at: i128, (from, to): (i128, i128), late: i128| {
            (from - slack..=to + slack + late).contains(&at)
        };
        let (begin, end) = (ns(&outage["begin"]), ns(&outage["end"]));
        assert!(
            is_near(begin, trouble.begin, 0),
            "begin {:?}: {about}",
            trouble.begin
        );
        // A link or a neighbor takes a while to come back.
        assert!(
            is_near(end, trouble.end, 2_000_000_000),
            "end {:?}: {about}",
            trouble.end
        );
        let whole = historian.call("Outage", &json!({ "id": outage["id"] }));
        let affected = whole["outage"]["affected"].as_array().unwrap();
        assert_eq!(affected.len(), trouble.targets, "{whole:#}");
        assert!(
            affected.iter().all(|one| one["first"].is_string()),
            "{whole:#}"
        );
        println!("{}: {} {}", trouble.name, outage["cause"], outage["words"]);
    }
    outages.clone()
}

fn a_cable_is_one_outage_of_all_targets() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let historian = Historian::start(&net.a, &service, MONITORS);
    until_all_are_up(&historian);
    let cable = Trouble::make(
        &historian,
        "the cable of this host",
        (15, "interface_down", "no carrier"),
        &|| net.r.down("e0").unwrap(),
        &|| {
            net.r.up("e0").unwrap();
            ip(&net.r, "route replace 10.9.0.0/24 via 10.1.0.2");
        },
    );
    check(&historian, &[cable]);
    Ok(())
}

/// Round trips of 4 ms become 16 ms, and are 4 ms again. It takes minutes, so it runs with NETSONDE_LONG=1 only.
fn a_slower_way_is_a_degraded_target() -> Outcome {
    if std::env::var_os("NETSONDE_LONG").is_none() {
        skip_here("it takes six minutes: set NETSONDE_LONG=1");
    }
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    let wire = Wire::new(&a, "e0", &b, "e0")?;
    a.address("e0", "10.0.0.2/24")?;
    b.address("e0", "10.0.0.1/24")?;
    let delay = |milliseconds| {
        wire.a_to_b(|way| way.delay = Duration::from_millis(milliseconds));
        wire.b_to_a(|way| way.delay = Duration::from_millis(milliseconds));
    };
    delay(2);
    let service = Service::start(&a, &[]);
    let historian = Historian::start(&a, &service, NEAR);
    historian.until_state("10.0.0.1", "up");
    std::thread::sleep(Duration::from_secs(60));
    let before = now();
    delay(8);
    let patience = Duration::from_secs(240);
    let is_state = |state: &str| historian.target("10.0.0.1")["state"] == state;
    assert!(wait_until(patience, || is_state("degraded")));
    let outages = || historian.call("Outages", &json!({}))["outages"].clone();
    let found = outages()[0].clone();
    assert_eq!(found["kind"], "degraded", "{found:#}");
    assert!(found["end"].is_null(), "{found:#}");
    let words = found["words"].as_str().unwrap();
    assert!(words.starts_with("median wire round trip 16."), "{words}");
    assert!(words.contains(", 4."), "{words}");
    assert!(words.contains("in the 24 hours before"), "{words}");
    println!("{words}, seen after {} s", (now() - before) / 1_000_000_000);
    delay(2);
    assert!(wait_until(patience, || is_state("up")));
    let all = outages();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all:#}");
    assert!(all[0]["end"].is_string(), "{all:#}");
    Ok(())
}

/// Probes are lost in the seconds only in which the link carries much. It takes minutes, so it runs with
/// NETSONDE_LONG=1 only.
fn losses_under_load_are_told_so() -> Outcome {
    if std::env::var_os("NETSONDE_LONG").is_none() {
        skip_here("it takes two minutes: set NETSONDE_LONG=1");
    }
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    let wire = Wire::new(&a, "e0", &b, "e0")?;
    a.address("e0", "10.0.0.2/24")?;
    b.address("e0", "10.0.0.1/24")?;
    let service = Service::start(&a, &[]);
    let historian = Historian::start(&a, &service, NEAR);
    historian.until_state("10.0.0.1", "up");
    let from = "10.0.0.2".parse()?;
    let to = "10.0.0.1:9".parse()?;
    for _ in 0..8 {
        std::thread::sleep(Duration::from_secs(12));
        wire.a_to_b(|way| way.drop = Some(Box::new(|_| true)));
        a.run(|| {
            traffic::numbered_frames(
                "e0",
                b.mac("e0").unwrap(),
                (from, to),
                20_000,
                1_000,
                Some(20_000),
            )
        })?;
        wire.a_to_b(|way| way.drop = None);
    }
    historian.until("Outages", "the load is compared", |all| {
        let outages = all["outages"].as_array().unwrap();
        let words = outages.iter().filter_map(|outage| outage["load"].as_str());
        let found = words.filter(|words| words.contains("in each of which e0 carried at least 1"));
        found.inspect(|words| println!("{words}")).count() > 0
    });
    Ok(())
}

/// Faults of this host and of its link concern all targets behind: one outage each.
///
/// ```text
///   a  e0 10.0.0.2 --+
///   r  e0 10.0.0.1 --+-- br0 (switch)
///   o  e0 -----------+
///   a  e1 10.5.0.2 ---- 10.5.0.1 e1  r
/// ```
fn faults_of_host_and_link_are_one_outage_each() -> Outcome {
    need("ip");
    let switch = Host::new("switch")?;
    let options = BridgeOptions {
        snooping: false,
        querier: false,
        ..BridgeOptions::default()
    };
    lab::bridge(&switch, "br0", options)?;
    let [a, r, o] = ["a", "r", "o"].map(|name| {
        let host = Host::new(name).unwrap();
        lab::veth(&host, "e0", &switch, name).unwrap();
        lab::bridge_port(&switch, "br0", name).unwrap();
        host
    });
    lab::veth(&a, "e1", &r, "e1")?;
    for (host, interface, address) in [
        (&a, "e0", "10.0.0.2/24"),
        (&r, "e0", "10.0.0.1/24"),
        (&a, "e1", "10.5.0.2/24"),
        (&r, "e1", "10.5.0.1/24"),
    ] {
        host.address(interface, address)?;
        host.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    for host in [&a, &r] {
        host.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    }
    a.route("0.0.0.0/0", "10.0.0.1")?;
    ip(&r, "route add local 10.9.0.0/28 dev lo");
    // Each with a historian of its own: targets that are down again and again are flapping.
    let trouble = |name, targets, cause, words, begin: &dyn Fn(), end: &dyn Fn()| {
        let service = Service::start(&a, &[]);
        let historian = Historian::start(&a, &service, MONITORS);
        until_all_are_up(&historian);
        let expected = (targets, cause, words);
        check(
            &historian,
            &[Trouble::make(&historian, name, expected, begin, end)],
        );
    };
    trouble(
        "a firewall drops replies",
        15,
        "dropped_here",
        "replies dropped on this host: its reply arrived on e0",
        &|| firewall(&a, "input", "icmp type echo-reply drop"),
        &|| firewall(&a, "input", ""),
    );
    trouble(
        "a firewall refuses probes",
        15,
        "dropped_here",
        "probes dropped on this host: EPERM",
        &|| firewall(&a, "output", "icmp type echo-request drop"),
        &|| firewall(&a, "output", ""),
    );
    trouble(
        "the reverse path filter",
        15,
        "dropped_here",
        "its reply arrived on e1 but did not reach the socket: reverse path filter",
        &|| {
            // The filter drops ARP requests as well, which the router sends from an address of its reply.
            let of_a = Mac(a.mac("e1").unwrap());
            ip(
                &r,
                &format!("neigh replace 10.5.0.2 lladdr {of_a} dev e1 nud permanent"),
            );
            a.sysctl("net/ipv4/conf/e1/rp_filter", "1").unwrap();
            ip(&r, "route add 10.0.0.2/32 via 10.5.0.2 dev e1");
        },
        &|| ip(&r, "route del 10.0.0.2/32 via 10.5.0.2 dev e1"),
    );
    // The other host answers for its address, and forwards nothing.
    let of_other = Mac(o.mac("e0")?).to_string();
    trouble(
        "another host has the gateway's address",
        14,
        "next_hop_in_doubt",
        "next hop 10.0.0.1 on e0 may be another station: sent on e0; no reply or error received; address conflict",
        &|| {
            ip(&o, "addr add 10.0.0.1/24 dev e0");
            let words = ["neigh", "show", "10.0.0.1"];
            assert!(wait_until(PATIENCE, || {
                ip(&a, "neigh flush dev e0");
                std::thread::sleep(Duration::from_millis(150));
                printed(&a, "ip", &words).contains(&of_other)
            }));
        },
        &|| {
            ip(&o, "addr del 10.0.0.1/24 dev e0");
            ip(&a, "neigh flush dev e0");
        },
    );
    Ok(())
}

/// Five hundred targets behind a next hop that is not there, beside fourteen that are reached by another one:
/// all of those are down at once, and none of these is touched.
fn many_targets_behind_a_blocked_next_hop_are_one_outage() -> Outcome {
    let net = network()?;
    let c = Host::new("c")?;
    lab::veth(&net.a, "e1", &c, "e0")?;
    net.a.address("e1", "10.2.0.2/24")?;
    c.address("e0", "10.2.0.1/24")?;
    net.a.route("10.9.0.0/28", "10.2.0.1")?;
    ip(&c, "route add local 10.9.0.0/28 dev lo");
    ip(&net.b, "route add local 10.20.0.0/23 dev lo");
    net.r.route("10.20.0.0/23", "10.1.0.2")?;
    let many = "[[monitor]]\nname = \"many\"\ntargets = [\"10.20.0.0/23\"]\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
                [[monitor]]\nname = \"healthy\"\ntargets = [\"10.9.0.0/28\"]\ninterval = \"200ms\"\ntimeout = \"200ms\"\n";
    let count = 510;
    let start = || {
        let service = Service::start(&net.a, &[]);
        let historian = Historian::start(&net.a, &service, many);
        historian.until("Monitors", "all are up", |all| {
            let targets = all["targets"].as_array().unwrap();
            targets.len() == count + 14 && targets.iter().all(|target| target["state"] == "up")
        });
        (service, historian)
    };
    let healthy = |historian: &Historian| {
        for number in 1..=14 {
            let probes = history(historian, &format!("10.9.0.{number}"));
            let points = probes["points"].as_array().unwrap();
            assert!(points.len() > 3, "{probes:#}");
            for point in points {
                assert_eq!(point["sent"], point["received"], "{point:#}");
            }
        }
    };
    let (_service, historian) = start();
    let gateway = Trouble::make(
        &historian,
        "the gateway does not answer ARP",
        (count, "next_hop_unresolved", "next hop 10.0.0.1 on e0"),
        &|| {
            ip(&net.r, "link set e0 arp off");
            ip(&net.a, "neigh flush dev e0");
        },
        &|| ip(&net.r, "link set e0 arp on"),
    );
    let cable = Trouble::make(
        &historian,
        "the cable of this host",
        (count, "interface_down", "no carrier"),
        &|| net.r.down("e0").unwrap(),
        &|| {
            net.r.up("e0").unwrap();
            ip(&net.r, "route replace 10.20.0.0/23 via 10.1.0.2");
        },
    );
    check(&historian, &[gateway, cable]);
    healthy(&historian);
    drop(historian);

    // The next hop is known, and nothing leaves: each probe is sent.
    let (_service, historian) = start();
    let filter = Trouble::make(
        &historian,
        "a filter behind the IP layer",
        (
            count,
            "dropped_here",
            "probes dropped on this host: accepted by the kernel, never sent on e0",
        ),
        &|| {
            firewall(
                &net.a,
                "egress device \"e0\"",
                "icmp type echo-request drop",
            )
        },
        &|| firewall(&net.a, "egress device \"e0\"", ""),
    );
    check(&historian, &[filter]);
    healthy(&historian);
    Ok(())
}

fn outages_are_listed_as_they_were() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let historian = Historian::start(&net.a, &service, MONITORS);
    until_all_are_up(&historian);
    let mut troubles = Vec::new();
    let mut trouble = |name, targets, cause, words, begin: &dyn Fn(), end: &dyn Fn()| {
        troubles.push(Trouble::make(
            &historian,
            name,
            (targets, cause, words),
            begin,
            end,
        ));
    };
    trouble(
        "one target is gone",
        1,
        "own",
        "no reply",
        &|| ip(&net.b, "addr del 10.9.0.3/32 dev lo"),
        &|| {
            ip(&net.b, "addr add 10.9.0.3/32 dev lo");
        },
    );
    trouble(
        "a blackhole route of this host",
        1,
        "no_route",
        "blackhole",
        &|| ip(&net.a, "route add blackhole 10.9.0.4"),
        &|| {
            ip(&net.a, "route del blackhole 10.9.0.4");
        },
    );
    trouble(
        "the router prohibits one",
        1,
        "refused",
        "reported by 10.0.0.1",
        &|| ip(&net.r, "route add prohibit 10.9.0.5"),
        &|| {
            ip(&net.r, "route del prohibit 10.9.0.5");
        },
    );
    // The router still believes in its neighbor for a while: its targets are unanswered at first, each for itself.
    trouble(
        "the next router is dead",
        14,
        "refused",
        "host unreachable, reported by 10.0.0.1",
        &|| {
            ip(&net.b, "link set e0 arp off");
            ip(&net.r, "neigh flush dev e1");
        },
        &|| ip(&net.b, "link set e0 arp on"),
    );
    let outages = check(&historian, &troubles);
    // Of the probes themselves: at the begin of the first outage that one, with what was seen of it.
    let at = ns(&outages[0]["begin"]);
    let found = historian.call("At", &json!({ "target": "10.9.0.3", "time_ns": at as u64 }));
    assert_eq!(found["probe"]["fate"], "unanswered", "{found:#}");
    assert_eq!(found["outage"], outages[0]["id"], "{found:#}");
    assert!(found["probe"]["words"].is_string(), "{found:#}");
    let before = historian.call(
        "At",
        &json!({ "target": "10.9.0.3", "time_ns": at as u64 - 2 * INTERVAL_NS }),
    );
    assert_eq!(before["probe"]["fate"], "replied", "{before:#}");
    // A healthy target has one loss only: that of the cable.
    let healthy = historian.call("Outages", &json!({ "target": "10.9.0.14" }));
    assert_eq!(
        healthy["outages"].as_array().unwrap().len(),
        1,
        "{healthy:#}"
    );
    let wrong = historian
        .try_call("Outages", &json!({ "target": "10.9.9.9" }))
        .unwrap_err();
    assert!(wrong.contains("10.9.9.9"), "{wrong}");
    Ok(())
}

/// Probes of a target since the beginning: those that were sent, those that are not in the store, and gaps.
fn history(historian: &Historian, target: &str) -> Value {
    historian.call(
        "History",
        &json!({ "target": target, "step_ns": 1_000_000_000 }),
    )
}

/// The packets of a descriptor that a method passes.
fn packets(historian: &Historian, parameters: &Value) -> Vec<Vec<u8>> {
    let mut connection = Connection::open(&historian.path("history.sock")).unwrap();
    connection
        .call_more("io.netsonde.History.Packets", parameters)
        .unwrap();
    let reply = connection.reply().unwrap();
    let file = reply.descriptors.into_iter().next().unwrap();
    let mut file = CaptureFile::new(std::fs::File::from(file)).unwrap();
    let mut found = Vec::new();
    while let Some(item) = file.next().unwrap() {
        if let Item::Packet(packet) = item {
            found.push(packet.bytes);
        }
    }
    assert_eq!(number(&reply.parameters["packets"]), found.len() as u64);
    found
}

fn packets_of_outages_are_kept() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let historian = Historian::start(&net.a, &service, MONITORS);
    historian.until_state("10.9.0.5", "up");
    ip(&net.r, "route add prohibit 10.9.0.5");
    historian.until_state("10.9.0.5", "down");
    ip(&net.r, "route del prohibit 10.9.0.5");
    let kept = historian.call(
        "Keep",
        &json!({ "last_ns": 60_000_000_000u64, "note": "it was slow" }),
    );
    assert_eq!(kept["kept"]["note"], "it was slow");
    let id = &kept["kept"]["id"];
    let prohibited = |packet: &Vec<u8>| packet.get(34..36) == Some(&[3, 13]);
    let all = packets(&historian, &json!({ "kept": id }));
    assert!(all.iter().any(prohibited), "{} packets", all.len());
    let listed = historian.call("Kept", &json!({}));
    assert_eq!(listed["kept"].as_array().unwrap().len(), 1, "{listed:#}");
    historian.call("Discard", &json!({ "id": id }));
    assert!(
        historian
            .try_call("Packets", &json!({ "kept": id }))
            .is_err()
    );
    // The evidence of the outage itself is whole half a minute after its begin.
    let state = |all: &Value| all["outages"][0]["evidence"]["state"].clone();
    assert_eq!(state(&historian.call("Outages", &json!({}))), "collecting");
    let ended = || state(&historian.call("Outages", &json!({}))) != "collecting";
    assert!(wait_until(2 * PATIENCE, ended), "{}", historian.log());
    let all = historian.call("Outages", &json!({}));
    assert_eq!(state(&all), "whole", "{all:#}");
    let found = packets(&historian, &json!({ "outage": all["outages"][0]["id"] }));
    assert!(found.iter().any(prohibited), "{} packets", found.len());
    println!(
        "{} packets show outage {}",
        found.len(),
        all["outages"][0]["words"]
    );
    Ok(())
}

/// The outage of a target, once its evidence is complete.
fn outage_of(historian: &Historian, target: &str) -> Value {
    let listed = historian.call("Outages", &json!({ "target": target }));
    let listed = listed["outages"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{target}: {listed:#?}");
    let whole = || historian.call("Outage", &json!({ "id": listed[0]["id"] }))["outage"].clone();
    let is_complete = || whole()["evidence"]["state"] != "collecting";
    assert!(wait_until(2 * PATIENCE, is_complete), "{}", historian.log());
    whole()
}

/// A counter of a list by its name.
fn counter<'a>(counters: &'a Value, name: &str) -> Option<&'a Value> {
    let mut all = counters.as_array()?.iter();
    all.find(|counter| counter["name"] == name)
}

/// A filter rule, a route that goes and a next hop that dies, one after the other: each outage has the counter that moved,
/// the way before and after, and the state of the neighbor.
fn outages_show_ways_and_counters() -> Outcome {
    let net = network()?;
    let a = &net.a;
    // No default route, so that one that goes leaves none.
    ip(a, "route del default");
    for number in 1..=2 {
        a.route(&format!("10.9.0.{number}/32"), "10.0.0.1")?;
    }
    let service = Service::start(a, &[]);
    let monitor = |name: &str, target: &str| {
        format!(
            "[[monitor]]\nname = \"{name}\"\ntargets = [\"{target}\"]\ninterval = \"200ms\"\ntimeout = \"300ms\"\n"
        )
    };
    let monitors = [
        ("filtered", "10.9.0.2"),
        ("routed", "10.9.0.1"),
        ("near", "10.0.0.1"),
    ];
    let monitors: String = monitors
        .map(|(name, target)| monitor(name, target))
        .concat();
    let historian = Historian::start(a, &service, &monitors);
    for target in ["10.9.0.2", "10.9.0.1", "10.0.0.1"] {
        historian.until_state(target, "up");
    }
    // The ways were looked at again after the first probes before anything happens.
    last(Duration::from_secs(11));
    firewall(a, "output", "ip daddr 10.9.0.2 drop");
    historian.until_state("10.9.0.2", "down");
    // Outages within fifteen seconds share their evidence.
    last(Duration::from_secs(17));
    ip(a, "route del 10.9.0.1/32");
    historian.until_state("10.9.0.1", "down");
    last(Duration::from_secs(17));
    ip(&net.r, "link set e0 arp off");
    ip(a, "neigh flush dev e0");
    historian.until_state("10.0.0.1", "down");

    let filtered = outage_of(&historian, "10.9.0.2");
    let moved = counter(&filtered["counters"], "IpOutDiscards");
    let moved = moved.unwrap_or_else(|| panic!("{filtered:#}"));
    assert!(number(&moved["by"]) >= 3, "{moved:#}");
    assert_eq!(moved["layer"], "ip");
    assert!(
        moved["words"].as_str().unwrap().contains("a filter"),
        "{moved:#}"
    );
    assert_eq!(moved["harmless"], false);
    let times = (ns(&filtered["counters_from"]), ns(&filtered["counters_to"]));
    let begin = ns(&filtered["begin"]);
    assert!(
        times.0 <= begin && begin - times.0 < 3_000_000_000,
        "{filtered:#}"
    );
    assert!(times.1 - begin >= 30_000_000_000, "{filtered:#}");
    let way = &filtered["paths"][0];
    for when in ["before", "begin", "after"] {
        assert_eq!(way[when]["gateway"], "10.0.0.1", "{when}: {filtered:#}");
        assert_eq!(way[when]["destination"], "10.9.0.2", "{when}: {filtered:#}");
    }

    let routed = outage_of(&historian, "10.9.0.1");
    let way = &routed["paths"][0];
    assert_eq!(way["target"], "10.9.0.1");
    let before = &way["before"];
    assert_eq!(before["destination"], "10.9.0.1", "{routed:#}");
    assert_eq!(before["interface"], "e0", "{routed:#}");
    assert_eq!(before["link"], "up", "{routed:#}");
    assert!(before["mac"].is_string(), "{routed:#}");
    assert!(ns(&before["time"]) < ns(&routed["begin"]), "{routed:#}");
    for when in ["begin", "after"] {
        assert_eq!(way[when]["error"], "no route to the target", "{routed:#}");
        assert!(way[when]["interface"].is_null(), "{routed:#}");
    }
    assert!(
        ns(&way["begin"]["time"]) >= ns(&routed["begin"]),
        "{routed:#}"
    );
    // The filter still drops what the first monitor sends; nothing else moved.
    let words = |one: &Value| one["name"].as_str().unwrap().to_owned();
    let all: Vec<String> = routed["counters"]
        .as_array()
        .unwrap()
        .iter()
        .map(words)
        .collect();
    assert!(all.contains(&"IpOutDiscards".to_owned()), "{routed:#}");

    let near = outage_of(&historian, "10.0.0.1");
    let way = &near["paths"][0];
    let neighbor = |when: &str| {
        way[when]["neighbor"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        !["", "none", "FAILED", "INCOMPLETE"].contains(&&neighbor("before")[..]),
        "{near:#}"
    );
    // While probes are sent the kernel asks again and again.
    assert!(
        ["FAILED", "INCOMPLETE"].contains(&&neighbor("after")[..]),
        "{near:#}"
    );
    assert_eq!(way["after"]["next_hop"], "10.0.0.1", "{near:#}");
    assert!(way["after"]["mac"].is_null(), "{near:#}");
    println!(
        "neighbor {}, at the begin {}, {} after",
        neighbor("before"),
        neighbor("begin"),
        neighbor("after")
    );
    Ok(())
}

/// The sum of a counter over all steps of a reply.
fn sum(reply: &Value, subject: &str, name: &str) -> u64 {
    let points = reply["points"].as_array().unwrap().iter();
    let all = points.flat_map(|point| point["counters"].as_array().unwrap());
    let own = all.filter(|one| one["subject"] == subject && one["name"] == name);
    own.map(|one| number(&one["by"])).sum()
}

fn counters_of_minutes_outlive_the_historian() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let mut historian = Historian::start(&net.a, &service, NEAR);
    historian.until_state("10.0.0.1", "up");
    // The counters were read once.
    last(Duration::from_secs(2));
    let send = |count: u64| {
        net.r.run(|| {
            let socket = std::net::UdpSocket::bind("10.0.0.1:0").unwrap();
            for _ in 0..count {
                // The errors of those before are of no interest.
                let _ = socket.send_to(&[0; 100], "10.0.0.2:9");
                let _ = socket.send_to(&[0; 100], "10.0.0.2:9");
            }
        });
    };
    send(20);
    let dropped = || {
        let text = net.a.proc_net("snmp");
        let all = netsonde_core::host::counters::parse_snmp(&text);
        all.into_iter()
            .find(|(name, _)| name == "UdpNoPorts")
            .unwrap()
            .1
    };
    let first = dropped();
    assert!(first >= 20, "{first}");
    // The minute is on the disk five seconds after its end; a kill costs nothing of it.
    let table = historian.path("state/table");
    let is_written =
        || std::fs::read_to_string(&table).is_ok_and(|text| text.contains("UdpNoPorts"));
    assert!(
        wait_until(Duration::from_secs(90), is_written),
        "{}",
        historian.log()
    );
    historian.end(Signal::SIGKILL);
    let away = now();
    last(Duration::from_secs(2));
    historian.begin(&net.a);
    let read = |drops: bool| {
        historian.call(
            "Counters",
            &json!({ "since_ns": 0, "step_ns": 3_600_000_000_000u64 * 24 * 365, "drops": drops }),
        )
    };
    assert_eq!(sum(&read(true), "this namespace", "UdpNoPorts"), first);
    // Traffic has no words, and is left out where drops alone are asked for.
    assert!(sum(&read(false), "e0", "rx_packets") >= 20);
    assert_eq!(sum(&read(true), "e0", "rx_packets"), 0);
    // An orderly end keeps what there is of a minute.
    last(Duration::from_secs(3));
    send(10);
    let second = dropped();
    last(Duration::from_secs(2));
    let mut historian = historian;
    assert_eq!(historian.end(Signal::SIGTERM), Some(0));
    historian.begin(&net.a);
    let all = historian.call(
        "Counters",
        &json!({ "drops": true, "step_ns": 60_000_000_000u64 }),
    );
    assert_eq!(sum(&all, "this namespace", "UdpNoPorts"), second);
    // The time while it was away was not measured.
    let measured: u64 = all["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| number(&point["measured_ns"]))
        .sum();
    let lasted = (now() - away) as u64;
    println!("{measured} ns measured, {lasted} ns since the kill");
    let first_step = ns(&all["points"][0]["time"]);
    assert!(
        u128::from(measured) + 2_000_000_000 < (now() - first_step) as u128,
        "{all:#}"
    );
    let status = historian.call("Status", &json!({}));
    let part = crate::support::entry(&status["parts"], "name", "counters");
    assert_eq!(part["budget"], 64 << 20, "{status:#}");
    Ok(())
}

/// An interface that is deleted and created again counts from its new begin; a renamed one goes on.
fn another_interface_of_the_same_name_begins_again() -> Outcome {
    let net = network()?;
    let (a, other) = (&net.a, Host::new("o")?);
    let pair = || -> Outcome {
        lab::veth(a, "e7", &other, "e7")?;
        a.address("e7", "10.7.0.2/24")?;
        other.address("e7", "10.7.0.1/24")?;
        Ok(())
    };
    let send = |count: usize| {
        a.run(|| {
            let socket = std::net::UdpSocket::bind("10.7.0.2:0").unwrap();
            for _ in 0..count {
                let _ = socket.send_to(&[0; 1000], "10.7.0.1:9");
            }
        });
    };
    // Packets that wait for the neighbor would be sent and counted later.
    let resolve = || {
        send(1);
        let words = ["neigh", "show", "10.7.0.1"];
        assert!(wait_until(PATIENCE, || printed(a, "ip", &words).contains("lladdr")));
    };
    pair()?;
    resolve();
    send(5000);
    let service = Service::start(a, &[]);
    let mut historian = Historian::start(a, &service, NEAR);
    historian.until_state("10.0.0.1", "up");
    last(Duration::from_secs(3));
    send(100);
    last(Duration::from_secs(2));
    a.delete("e7")?;
    pair()?;
    resolve();
    last(Duration::from_secs(2));
    send(50);
    last(Duration::from_secs(2));
    a.down("e7")?;
    a.rename("e7", "e8")?;
    a.up("e8")?;
    last(Duration::from_secs(2));
    send(30);
    last(Duration::from_secs(2));
    assert_eq!(historian.end(Signal::SIGTERM), Some(0));
    historian.begin(a);
    let all = historian.call("Counters", &json!({ "step_ns": 60_000_000_000u64 }));
    let (e7, e8) = (sum(&all, "e7", "tx_packets"), sum(&all, "e8", "tx_packets"));
    println!("e7 {e7}, e8 {e8} packets");
    // Beside what was sent there are a few messages of ARP and neighbor discovery.
    assert!((150..200).contains(&e7), "{e7}: {all:#}");
    assert!((30..60).contains(&e8), "{e8}: {all:#}");
    let points = all["points"].as_array().unwrap();
    let started = points
        .iter()
        .filter_map(|point| point["started"].as_array());
    let started: Vec<&Value> = started.flatten().collect();
    assert_eq!(started, ["e7"], "{all:#}");
    let of_one = historian.call("Counters", &json!({ "interface": "e8" }));
    let all = of_one["points"].as_array().unwrap().iter();
    let mut all = all.flat_map(|point| point["counters"].as_array().unwrap());
    assert!(
        all.all(|one| one["subject"].as_str().unwrap().starts_with("e8")),
        "{of_one:#}"
    );
    Ok(())
}

fn what_is_not_measured_is_unknown() -> Outcome {
    let net = network()?;
    let mut service = Service::start(&net.a, &[]);
    let mut historian = Historian::start(&net.a, &service, MONITORS);
    historian.until_state("10.9.0.1", "up");
    // The service is away for a while.
    let keeper = service.keeper();
    let engine = service.engine();
    kill(keeper, Signal::SIGSTOP)?;
    kill(engine, Signal::SIGSTOP)?;
    let unknown = historian.until_state("10.9.0.1", "unknown");
    assert!(unknown["outage"].is_null(), "{unknown:#}");
    kill(engine, Signal::SIGCONT)?;
    kill(keeper, Signal::SIGCONT)?;
    historian.until_state("10.9.0.1", "up");
    // The historian itself is.
    let pid = historian.pid();
    kill(pid, Signal::SIGSTOP)?;
    last(Duration::from_secs(7));
    kill(pid, Signal::SIGCONT)?;
    historian.until_state("10.9.0.1", "up");
    let all = historian.call("Outages", &json!({}));
    assert_eq!(all["outages"], json!([]), "{}", historian.log());
    // The service sent no probes for a while; of those that it sent while the historian was stopped none is missing.
    let shows = || {
        let call = json!({ "target": "10.9.0.1", "step_ns": 1_000_000_000 });
        let found = historian.call("History", &call);
        let points = found["points"].as_array().cloned().unwrap_or_default();
        let all = points.iter().filter_map(|point| point["gaps"].as_array());
        let mut names: Vec<String> = all
            .flatten()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        names.dedup();
        names
    };
    let is_told = || shows() == ["no_service"];
    assert!(wait_until(PATIENCE, is_told), "{:?}", shows());
    Ok(())
}

fn kills_double_nothing_and_lose_seconds() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let mut historian = Historian::start(&net.a, &service, MONITORS);
    historian.until_state("10.9.0.1", "up");
    let begin = now();
    // One outage that begins before the kills and ends behind them.
    inside(&net.b, "ip", &["addr", "del", "10.9.0.2/32", "dev", "lo"]);
    historian.until_state("10.9.0.2", "down");
    // It is on disk after the next flush, as all that comes before a kill by more than that.
    last(Duration::from_secs(6));
    let mut seed = std::process::id() as u64;
    for round in 0..6 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        last(Duration::from_millis(seed >> 54));
        if round % 3 == 2 {
            kill(service.engine(), Signal::SIGKILL)?;
            continue;
        }
        historian.end(Signal::SIGKILL);
        historian.begin(&net.a);
    }
    historian.until_state("10.9.0.1", "up");
    historian.until_state("10.9.0.2", "down");
    inside(&net.b, "ip", &["addr", "add", "10.9.0.2/32", "dev", "lo"]);
    historian.until_state("10.9.0.2", "up");
    // An orderly end loses nothing at all.
    assert_eq!(
        historian.end(Signal::SIGTERM),
        Some(0),
        "{}",
        historian.log()
    );
    historian.begin(&net.a);
    // What the service logged meanwhile is there as well.
    let own = service.ask(&["events", "engine_restart", "--json"]);
    let own: Value = serde_json::from_str(&own)?;
    let times = |all: &Value| -> Vec<Value> {
        let all = all["events"].as_array().unwrap().iter();
        all.map(|event| event["time"].clone()).collect()
    };
    assert!(!times(&own).is_empty());
    let restarts = || times(&historian.call("Events", &json!({ "kinds": ["engine_restart"] })));
    assert!(
        wait_until(PATIENCE, || restarts() == times(&own)),
        "{:?}",
        restarts()
    );
    let all = historian.call("Outages", &json!({}));
    let outages = all["outages"].as_array().unwrap();
    assert_eq!(outages.len(), 1, "{all:#}\n{}", historian.log());
    assert!(outages[0]["end"].is_string(), "{all:#}");
    assert!(
        (ns(&outages[0]["begin"]) - begin).abs() < 5_000_000_000,
        "{all:#}"
    );
    for target in ["10.9.0.1", "10.9.0.2"] {
        let found = history(&historian, target);
        let points = found["points"].as_array().unwrap();
        for point in points {
            // Ten a second, and what a machine under load catches up on: nothing twice, whatever was killed.
            assert!(number(&point["sent"]) <= 14, "{point:#}");
        }
        let sent = number(&found["span"]["sent"]);
        let most = (now() - begin) as u64 / INTERVAL_NS + 40;
        assert!(sent <= most, "{sent} of {most}");
        // What is missing is declared: seconds without probes have a gap in or right before them.
        let gaps = points
            .iter()
            .filter(|point| !point["gaps"].is_null())
            .count();
        assert!(gaps >= 1, "{found:#}");
        println!("{target}: {sent} of at most {most} probes, {gaps} seconds with gaps");
    }
    Ok(())
}

fn monitors_are_added_held_and_removed() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let mut historian = Historian::start(&net.a, &service, MONITORS);
    historian.until_state("10.0.0.1", "up");
    let add = |name: &str, targets: &[&str]| {
        let monitor = json!({ "name": name, "targets": targets, "interval_ns": INTERVAL_NS });
        historian.try_call("AddMonitor", &json!({ "monitor": monitor }))
    };
    assert_eq!(add("mine", &["10.1.0.2", "localhost"])?["targets"], 2);
    assert!(
        add("mine", &["10.1.0.2"])
            .unwrap_err()
            .contains("there is one of this name")
    );
    assert!(
        add("far", &["10.1.0.2"])
            .unwrap_err()
            .contains("monitors.toml")
    );
    assert!(add("a b", &["10.1.0.2"]).unwrap_err().contains("letters"));
    assert!(add("none", &["10.1.0.0/8"]).unwrap_err().contains("range"));
    historian.until_state("10.1.0.2", "up");
    // A name is resolved, and has its host beside its address.
    let all = historian.until("Monitors", "localhost is up", |all| {
        crate::support::entry(&all["targets"], "host", "localhost")["state"] == "up"
    });
    let local = crate::support::entry(&all["targets"], "host", "localhost");
    assert!(
        ["127.0.0.1", "::1"].contains(&local["target"].as_str().unwrap()),
        "{local:#}"
    );
    historian.call(
        "Pause",
        &json!({ "name": "mine", "duration_ns": 1_500_000_000 }),
    );
    historian.until_state("10.1.0.2", "paused");
    historian.until_state("10.1.0.2", "up");
    historian.call("Pause", &json!({ "name": "mine", "maintenance": true }));
    historian.until_state("10.1.0.2", "maintenance");
    inside(&net.r, "ip", &["route", "add", "blackhole", "10.1.0.2"]);
    last(Duration::from_secs(2));
    inside(&net.r, "ip", &["route", "del", "blackhole", "10.1.0.2"]);
    historian.call("Resume", &json!({ "name": "mine" }));
    historian.until_state("10.1.0.2", "up");
    // The loss behind the pause is no outage of this target.
    let own = historian.call("Outages", &json!({ "target": "10.1.0.2" }));
    assert_eq!(own["outages"], json!([]), "{own:#}\n{}", historian.log());
    // It is there after a restart, and gone after it was removed.
    historian.end(Signal::SIGTERM);
    historian.begin(&net.a);
    historian.until_state("10.1.0.2", "up");
    historian.call("RemoveMonitor", &json!({ "name": "mine" }));
    assert!(historian.target("10.1.0.2").is_null());
    assert!(
        historian
            .try_call("RemoveMonitor", &json!({ "name": "mine" }))
            .is_err()
    );
    assert!(
        historian
            .try_call("RemoveMonitor", &json!({ "name": "near" }))
            .is_err()
    );
    Ok(())
}

/// A server that is stopped while its host answers echo requests is an outage of its port only.
fn ports_are_probed_by_tcp_and_udp() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let monitors = "[[monitor]]\nname = \"host\"\ntargets = [\"10.1.0.2\"]\ninterval = \"100ms\"\n\
                    [[monitor]]\nname = \"web\"\ntargets = [\"10.1.0.2\"]\ntcp = 443\ninterval = \"100ms\"\n\
                    [[monitor]]\nname = \"echo\"\ntargets = [\"10.1.0.2\"]\nudp = 7\ninterval = \"200ms\"\n";
    let server = net.b.run(|| std::net::TcpListener::bind("10.1.0.2:443"))?;
    let mut echo = Some(net.b.run(|| answering("10.1.0.2:7"))?);
    let historian = Historian::start(&net.a, &service, monitors);
    let state_of = |name: &str, status: &Value| -> String {
        let of_name = target_of(status, name);
        of_name["state"].as_str().unwrap_or_default().to_owned()
    };
    let until = |name: &str, state: &str| {
        historian.until("Monitors", &format!("{name} is {state}"), |all| {
            state_of(name, all) == state
        })
    };
    for name in ["host", "web", "echo"] {
        until(name, "up");
    }
    let all = historian.call("Monitors", &json!({}));
    assert_eq!(target_of(&all, "web")["tcp"], 443);
    assert_eq!(target_of(&all, "echo")["udp"], 7);
    let listed = historian.client(&["monitor", "list"]);
    let listed = String::from_utf8(listed.stdout)?;
    for words in ["10.1.0.2:443 ", "10.1.0.2:7/udp ", "10.1.0.2 "] {
        assert!(listed.contains(words), "{listed}");
    }
    drop(server);
    let all = until("web", "down");
    let words = target_of(&all, "web")["words"].to_string();
    assert!(words.contains("RST"), "{words}");
    echo.take();
    let all = until("echo", "down");
    let words = target_of(&all, "echo")["words"].to_string();
    assert!(words.contains("port unreachable"), "{words}");
    assert_eq!(state_of("host", &all), "up");
    let _server = net.b.run(|| std::net::TcpListener::bind("10.1.0.2:443"))?;
    until("web", "up");
    let outages = historian.call("Outages", &json!({}));
    let outages = outages["outages"].as_array().unwrap();
    assert_eq!(outages.len(), 2, "{outages:#?}");
    for outage in outages {
        assert_eq!(target_count(outage), 1, "{outage:#}");
        let fates = outage["fates"].as_object().unwrap();
        assert_eq!(fates.keys().collect::<Vec<_>>(), ["refused"], "{outage:#}");
    }
    Ok(())
}

/// The target of a monitor in a list.
fn target_of(all: &Value, name: &str) -> Value {
    crate::support::entry(&all["targets"], "name", name)
}

/// Answers datagrams until the result is dropped.
fn answering(at: &str) -> std::io::Result<Background> {
    let socket = std::net::UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(Background::counting(move || {
        let mut room = [0; 2048];
        let Ok((length, from)) = socket.recv_from(&mut room) else {
            return false;
        };
        socket.send_to(&room[..length], from).is_ok()
    }))
}

fn a_rate_that_is_too_low_for_the_monitors_is_told() -> Outcome {
    let net = network()?;
    let config = "[ping]\nrate = 50\nrate_per_uid = 50\n";
    let service = Service::with_config(&net.a, config, &[]);
    // 15 targets ten times a second are 150 probes a second.
    let historian = Historian::start(&net.a, &service, MONITORS);
    let status = historian.until("Status", "it is told", |status| {
        status["problems"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    let problems = status["problems"].to_string();
    let words = "targets are probed every 0.300 s instead of 0.1 s: ping.rate in netsonde.toml permits no more";
    assert!(problems.contains(words), "{problems}");
    Ok(())
}

fn invalid_files_are_told_with_their_lines() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let mut historian = Historian::start(&net.a, &service, MONITORS);
    historian.until_state("10.0.0.1", "up");
    let file = historian.path("monitors.toml");
    std::fs::write(
        &file,
        "[[monitor]]\nname = \"a b\"\ntargets = []\nintervall = \"1s\"\n",
    )?;
    kill(historian.pid(), Signal::SIGHUP)?;
    let status = historian.until("Status", "its problems are told", |status| {
        status["problems"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("monitors.toml:4:1: unknown key intervall, did you mean interval?"),
        "{problems}"
    );
    assert_eq!(status["targets"], 15, "the former monitors stay");
    std::fs::write(
        &file,
        "[[monitor]]\nname = \"near\"\ntargets = [\"10.0.0.1\"]\ninterval = \"100ms\"\n",
    )?;
    kill(historian.pid(), Signal::SIGHUP)?;
    historian.until("Status", "they are gone", |status| {
        status["problems"] == json!([]) && status["targets"] == 1
    });
    historian.until_state("10.0.0.1", "up");
    // Also at the start: what is right is served all the same.
    std::fs::write(&file, "nonsense")?;
    historian.end(Signal::SIGTERM);
    historian.begin(&net.a);
    let status = historian.call("Status", &json!({}));
    assert_eq!(
        status["problems"].as_array().unwrap().len(),
        1,
        "{status:#}"
    );
    Ok(())
}

fn two_historians_do_not_share_a_directory() -> Outcome {
    let net = network()?;
    let service = Service::start(&net.a, &[]);
    let historian = Historian::start(&net.a, &service, MONITORS);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_netsonde-historian"));
    command
        .arg("--socket")
        .arg(service.socket())
        .arg("--listen")
        .arg(historian.path("other.sock"))
        .arg("--state")
        .arg(historian.path("state"));
    let output = command.output()?;
    let words = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("is in use by another process"), "{words}");
    historian.until_state("10.0.0.1", "up");
    assert!(wait_until(
        PATIENCE,
        || historian.target("10.9.0.1")["state"] == "up"
    ));
    Ok(())
}
