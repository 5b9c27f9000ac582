//! Trials of the historian as a whole. Those that take minutes run with NETSONDE_LONG=1 only.
//!
//! | trial | what is seen |
//! |---|---|
//! | `twelve_troubles` | twelve troubles in ten minutes: exactly these are listed, each with its cause and packets that show it |
//! | `kills_and_power_cuts` | 20 kills of the historian, 10 of the engine, 20 copies of its directory: each opens, at most 10 s are missing and declared, no probe is there twice |
//! | `a_thousand_damaged_copies` | a byte changed or a file cut: it opens, and misses what was hit |
//! | `a_kill_while_results_are_held` | what was not stored is declared, also if the state of its target was |
//! | `a_minute_without_historian` | it was stopped for 60 s: everything is there or declared, and no outage |
//! | `a_full_disk` and other disks | each is reported by `status` and in the log; outages are found meanwhile, and nothing is lost |
//! | `onsets` | 200 targets that fail at random phases, for each fate: each outage begins within one interval of it, and is known in time |

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::historian::{Historian, ip, now, ns, target_count};
use crate::support::{
    PATIENCE, Service, Test, firewall, load_rules, need, number, printed, skip_here,
};
use netsonde::lab::wire::Wire;
use netsonde::lab::{self, BridgeOptions, Host, traffic, wait_until};
use netsonde::varlink::client::Connection;
use netsonde_core::wire::cursor::Mac;
use netsonde_history::chunk::{Coded, Entry};
use netsonde_history::disk::Disk;
use netsonde_history::store::{Options, Store};
use netsonde_history::table::Table;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SECOND: i128 = 1_000_000_000;
const HOUR: i128 = 3600 * SECOND;

pub const TESTS: &[(&str, Test)] = &[
    ("twelve_troubles", twelve_troubles),
    ("onsets", onsets),
    ("kills_and_power_cuts", kills_and_power_cuts),
    ("a_minute_without_historian", a_minute_without_historian),
    ("a_thousand_damaged_copies", a_thousand_damaged_copies),
    (
        "a_kill_while_results_are_held",
        a_kill_while_results_are_held,
    ),
    ("a_full_disk", a_full_disk),
    ("a_disk_that_turns_read_only", a_disk_that_turns_read_only),
    ("a_write_of_half_a_minute", a_write_of_half_a_minute),
    ("a_directory_that_is_removed", a_directory_that_is_removed),
];

/// Ends a test as skipped that takes minutes, unless they are wanted.
fn need_minutes(count: u32) {
    if std::env::var_os("NETSONDE_LONG").is_none() {
        skip_here(&format!("it takes {count} minutes: set NETSONDE_LONG=1"));
    }
}

/// A trouble, and the outage that is expected of it.
struct Trouble {
    name: &'static str,
    targets: Vec<String>,
    cause: &'static str,
    words: &'static str,
    /// Between these times it began and ended.
    begin: (i128, i128),
    end: (i128, i128),
    /// Time that the host or network takes to work again, in nanoseconds, and why.
    recovery: (i128, &'static str),
    packets: Packets,
}

/// Display filters of Wireshark for packets of the evidence.
#[derive(Default)]
struct Packets {
    /// There is one before the begin.
    before: Vec<String>,
    /// There is one from the begin to the end.
    during: Vec<String>,
    /// There is none from a second after the begin to the end.
    never: Vec<String>,
}

/// The network of [`twelve_troubles`].
struct Troubled {
    a: Host,
    r: Host,
    b: Host,
    c: Host,
    w: Host,
    o: Host,
    switch: Host,
    wire: Wire,
}

/// Four hosts behind a gateway or beside it, with 50 addresses.
///
/// ```text
///   a  e0 10.0.0.2 ------------- 10.0.0.1 e0  r  e2 10.1.0.1 ---- 10.1.0.2  b  10.9.1.1 to .16, 10.9.3.1 to .8
///   a  e1 10.5.0.2 ---switch---- 10.5.0.1 e1  r  e3 10.3.0.1 ---- 10.3.0.2  c  10.9.2.1 to .25
///                        `------ e0  o
///   a  e2 10.2.0.2 ====wire===== 10.2.0.1 e0  w
/// ```
///
/// 10.9.3.0/24 is reached by e1, the others of 10.9.0.0/16 by e0. Each target has two troubles at most: with three in ten
/// minutes it would be flapping, which is one outage.
fn troubled() -> Result<Troubled, Box<dyn std::error::Error>> {
    let [a, r, b, c, w, o, switch] =
        ["a", "r", "b", "c", "w", "o", "switch"].map(|name| Host::new(name).unwrap());
    let options = BridgeOptions {
        snooping: false,
        querier: false,
        ..BridgeOptions::default()
    };
    lab::bridge(&switch, "br0", options)?;
    lab::veth(&a, "e0", &r, "e0")?;
    for (host, interface, port) in [(&a, "e1", "a"), (&r, "e1", "r"), (&o, "e0", "o")] {
        lab::veth(host, interface, &switch, port)?;
        lab::bridge_port(&switch, "br0", port)?;
    }
    lab::veth(&r, "e2", &b, "e0")?;
    lab::veth(&r, "e3", &c, "e0")?;
    let wire = Wire::new(&a, "e2", &w, "e0")?;
    for (host, interface, address) in [
        (&a, "e0", "10.0.0.2/24"),
        (&r, "e0", "10.0.0.1/24"),
        (&a, "e1", "10.5.0.2/24"),
        (&r, "e1", "10.5.0.1/24"),
        (&a, "e2", "10.2.0.2/24"),
        (&w, "e0", "10.2.0.1/24"),
        (&r, "e2", "10.1.0.1/24"),
        (&b, "e0", "10.1.0.2/24"),
        (&r, "e3", "10.3.0.1/24"),
        (&c, "e0", "10.3.0.2/24"),
    ] {
        host.address(interface, address)?;
        host.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    for host in [&a, &r] {
        host.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    }
    for (host, address, count) in [(&b, "10.9.1", 16), (&b, "10.9.3", 8), (&c, "10.9.2", 25)] {
        for last in 1..=count {
            host.address("lo", &format!("{address}.{last}/32"))?;
        }
    }
    r.sysctl("net/ipv4/ip_forward", "1")?;
    // By default one error a second and host: the others would not be explained.
    r.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    // It asks for no address of a's, by which a would take it for the right one of two.
    let of_a = Mac(a.mac("e1")?);
    ip(
        &r,
        &format!("neigh replace 10.5.0.2 lladdr {of_a} dev e1 nud permanent"),
    );
    // A dead neighbor is noticed in seconds instead of up to a minute.
    for (host, interface) in [(&a, "e0"), (&r, "e3")] {
        let neighbors = format!("net/ipv4/neigh/{interface}");
        host.sysctl(&format!("{neighbors}/base_reachable_time_ms"), "3000")?;
        host.sysctl(&format!("{neighbors}/delay_first_probe_time"), "1")?;
    }
    a.route("10.9.1.0/28", "10.0.0.1")?;
    a.route("10.9.1.16/32", "10.0.0.1")?;
    a.route("10.9.2.0/24", "10.0.0.1")?;
    a.route("10.9.3.0/24", "10.5.0.1")?;
    r.route("10.9.1.0/24", "10.1.0.2")?;
    r.route("10.9.3.0/24", "10.1.0.2")?;
    r.route("10.9.2.0/24", "10.3.0.2")?;
    b.route("0.0.0.0/0", "10.1.0.1")?;
    c.route("0.0.0.0/0", "10.3.0.1")?;
    Ok(Troubled {
        a,
        r,
        b,
        c,
        w,
        o,
        switch,
        wire,
    })
}

/// Addresses of a network of 24 bits.
fn addresses(network: &str, last: std::ops::RangeInclusive<u32>) -> Vec<String> {
    last.map(|last| format!("{network}.{last}")).collect()
}

/// Targets at 1 s, as a file of monitors.
fn monitors(targets: &[String]) -> String {
    format!(
        "[[monitor]]\nname = \"all\"\ntargets = {targets:?}\ninterval = \"1s\"\ntimeout = \"1s\"\n"
    )
}

fn until_all_are_up(historian: &Historian, count: usize) {
    historian.until("Monitors", "all are up", |all| {
        let targets = all["targets"].as_array().unwrap();
        targets.len() == count && targets.iter().all(|target| target["state"] == "up")
    });
}

impl Trouble {
    /// Makes it, waits until the expected outage is there and the trouble has lasted 12 s, ends it, waits until the
    /// outage has ended, and for another 15 s. `begin` returns between which times it began.
    fn make(
        mut self,
        historian: &Historian,
        begin: &dyn Fn() -> (i128, i128),
        end: &dyn Fn(),
    ) -> Trouble {
        let name = self.name;
        let started = Instant::now();
        self.begin = begin();
        let is_it = |outage: &Value| {
            outage["end"].is_null()
                && outage["cause"] == self.cause
                && target_count(outage) == self.targets.len()
        };
        historian.until("Outages", name, |all| {
            all["outages"].as_array().unwrap().iter().any(is_it)
        });
        let seen = started.elapsed();
        std::thread::sleep(Duration::from_secs(12).saturating_sub(started.elapsed()));
        self.end = timed(end);
        historian.until("Outages", &format!("{name} ends"), |all| {
            let mut all = all["outages"].as_array().unwrap().iter();
            all.all(|outage| outage["end"].is_string() || outage["kind"] == "degraded")
        });
        println!("{name}: as expected after {:.1} s", seen.as_secs_f64());
        std::thread::sleep(Duration::from_secs(15));
        self
    }
}

/// Does something, and returns between which times.
fn timed(change: impl FnOnce()) -> (i128, i128) {
    let before = now();
    change();
    (before, now())
}

fn twelve_troubles() -> Outcome {
    need_minutes(11);
    for program in ["ip", "tc", "nft"] {
        need(program);
    }
    let net = troubled()?;
    let Troubled {
        a,
        r,
        b,
        c,
        w,
        o,
        switch,
        wire,
    } = &net;
    let delay = |milliseconds| {
        wire.a_to_b(|way| way.delay = Duration::from_millis(milliseconds));
        wire.b_to_a(|way| way.delay = Duration::from_millis(milliseconds));
    };
    delay(2);
    let half = addresses("10.9.2", 1..=25);
    let beside = addresses("10.9.3", 1..=8);
    let slow = vec!["10.2.0.1".to_owned()];
    let first = |last| addresses("10.9.1", last);
    let all = [first(1..=16), half.clone(), beside.clone(), slow.clone()].concat();
    assert_eq!(all.len(), 50);
    let service = Service::start(a, &[]);
    let historian = Historian::start(a, &service, &monitors(&all));
    until_all_are_up(&historian, 50);
    let started = Instant::now();
    std::thread::sleep(Duration::from_secs(20));
    let mut troubles = Vec::new();
    let trouble = |name, targets, cause, words, packets| Trouble {
        name,
        targets,
        cause,
        words,
        packets,
        begin: (0, 0),
        end: (0, 0),
        recovery: (0, ""),
    };
    let echo = |what: &str, address: &str| match what {
        "request" => format!("icmp.type == 8 && ip.dst == {address}"),
        _ => format!("icmp.type == 0 && ip.src == {address}"),
    };
    let neighbor = (
        SECOND,
        "a neighbor that did not answer is asked once a second",
    );

    // By addresses: Wireshark 4.0 takes the names of interfaces from the first section of a file, also for others.
    let of_e1 = Mac(a.mac("e1")?);
    // 1
    let link = Packets {
        before: vec![format!(
            "{} && eth.dst == {of_e1}",
            echo("reply", "10.9.3.1")
        )],
        never: vec![format!("icmp && eth.src == {of_e1}")],
        ..Packets::default()
    };
    let words = "no packet crosses e1";
    troubles.push(
        trouble("link", beside.clone(), "interface_down", words, link).make(
            &historian,
            &|| timed(|| switch.down("a").unwrap()),
            &|| switch.up("a").unwrap(),
        ),
    );
    // 2
    let input = Packets {
        during: vec![echo("reply", "10.9.1.1")],
        ..Packets::default()
    };
    let words = "replies dropped on this host: its reply arrived on e0";
    troubles.push(
        trouble("firewall in", first(1..=4), "dropped_here", words, input).make(
            &historian,
            &|| {
                timed(|| {
                    firewall(
                        a,
                        "input",
                        "ip saddr 10.9.1.1-10.9.1.4 icmp type echo-reply drop",
                    )
                })
            },
            &|| firewall(a, "input", ""),
        ),
    );
    // 3
    let one = Packets {
        during: vec![echo("request", "10.9.1.12")],
        never: vec![echo("reply", "10.9.1.12")],
        ..Packets::default()
    };
    let words = "sent on e0; no reply or error received";
    troubles.push(
        trouble("one target", first(12..=12), "own", words, one).make(
            &historian,
            &|| timed(|| ip(b, "addr del 10.9.1.12/32 dev lo")),
            &|| ip(b, "addr add 10.9.1.12/32 dev lo"),
        ),
    );
    // 4
    let limited = || {
        let text = w.proc_net("snmp");
        let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut columns = names.split(' ').zip(values.split(' '));
        let found = columns.find(|(name, _)| *name == "OutRateLimitHost");
        found.unwrap().1.parse::<u64>().unwrap()
    };
    let rate = Packets {
        during: vec![echo("request", "10.2.0.1")],
        ..Packets::default()
    };
    let words = "sent on e2; no reply or error received";
    troubles.push(
        trouble("rate limit", slow.clone(), "own", words, rate).make(
            &historian,
            &|| {
                let before = limited();
                // Echo replies too, one in ten seconds.
                w.sysctl("net/ipv4/icmp_ratelimit", "10000").unwrap();
                w.sysctl("net/ipv4/icmp_ratemask", "6169").unwrap();
                // The first ones are allowed: the trouble begins when its kernel says so.
                assert!(wait_until(PATIENCE, || limited() > before));
                (now() - SECOND / 10, now())
            },
            &|| w.sysctl("net/ipv4/icmp_ratemask", "6168").unwrap(),
        ),
    );
    // 5
    let queue = Packets {
        before: vec![echo("request", "10.2.0.1")],
        never: vec![echo("request", "10.2.0.1")],
        ..Packets::default()
    };
    ip(a, "link set e2 txqueuelen 1000");
    let tc = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        crate::support::inside(a, "tc", &words);
    };
    tc("qdisc replace dev e2 root tbf rate 200kbit burst 2000 limit 3000");
    let (flooding, floods) = (AtomicBool::new(false), AtomicUsize::new(0));
    let of_w = w.mac("e0")?;
    let flood = || {
        let (from, to) = ("10.2.0.2".parse(), "10.2.0.1:9".parse());
        let addresses = (from.unwrap(), to.unwrap());
        while flooding.load(Ordering::Relaxed) {
            // Smaller than a probe, so that what is left of the queue is too small for one.
            let send = || {
                let pace = Some(20_000);
                traffic::numbered_frames("e2", of_w, addresses, 2_000, 18, pace)
            };
            a.run(send).unwrap();
        }
        floods.fetch_sub(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let _stop = OffOnDrop(&flooding);
        let words = "queue drops of e2";
        let done = trouble("queue", slow.clone(), "dropped_here", words, queue).make(
            &historian,
            &|| {
                flooding.store(true, Ordering::Relaxed);
                // 4 ms without a frame make room for a probe: where one pauses, the other goes on.
                floods.store(2, Ordering::Relaxed);
                timed(|| (0..2).for_each(|_| drop(scope.spawn(flood))))
            },
            &|| {
                flooding.store(false, Ordering::Relaxed);
                assert!(wait_until(PATIENCE, || floods.load(Ordering::Relaxed) == 0));
                // The queue takes 0.12 s.
                std::thread::sleep(Duration::from_millis(200));
            },
        );
        troubles.push(done);
    });
    // 6
    let dead = Packets {
        during: vec!["icmp.type == 3 && icmp.code == 1 && ip.src == 10.0.0.1".into()],
        never: vec![echo("reply", "10.9.2.1")],
        ..Packets::default()
    };
    let words = "host unreachable, reported by 10.0.0.1";
    let mut done = trouble("half of the targets", half.clone(), "refused", words, dead).make(
        &historian,
        &|| timed(|| firewall(c, "ingress device \"e0\"", "drop")),
        &|| firewall(c, "ingress device \"e0\"", ""),
    );
    done.recovery = neighbor;
    troubles.push(done);
    // 7
    let output = Packets {
        before: vec![echo("request", "10.9.1.5")],
        never: vec![echo("request", "10.9.1.5")],
        ..Packets::default()
    };
    let words = "probes dropped on this host: EPERM";
    troubles.push(
        trouble("firewall out", first(5..=8), "dropped_here", words, output).make(
            &historian,
            &|| {
                timed(|| {
                    firewall(
                        a,
                        "output",
                        "ip daddr 10.9.1.5-10.9.1.8 icmp type echo-request drop",
                    )
                })
            },
            &|| firewall(a, "output", ""),
        ),
    );

    // 8: while others come and go. A longer one would be a quarter of what it is compared with.
    let shift_length = Duration::from_secs(150);
    std::thread::sleep(Duration::from_secs(300).saturating_sub(started.elapsed()));
    let shifted = Instant::now();
    let shift_begin = timed(|| delay(20));
    // 9
    let filtered = Packets {
        during: vec![format!(
            "{} && eth.dst == {of_e1}",
            echo("reply", "10.9.1.9")
        )],
        ..Packets::default()
    };
    let words = "its reply arrived on e1 but did not reach the socket: reverse path filter";
    ip(r, "route add 10.0.0.2/32 via 10.5.0.2 dev e1 table 100");
    troubles.push(
        trouble("rp_filter", first(9..=11), "dropped_here", words, filtered).make(
            &historian,
            &|| {
                a.sysctl("net/ipv4/conf/e1/rp_filter", "1").unwrap();
                timed(|| {
                    for last in 9..=11 {
                        ip(r, &format!("rule add from 10.9.1.{last} lookup 100"));
                    }
                })
            },
            &|| {
                for last in 9..=11 {
                    ip(r, &format!("rule del from 10.9.1.{last} lookup 100"));
                }
            },
        ),
    );
    // 10
    let silent = Packets {
        during: vec!["arp.opcode == 1 && arp.dst.proto_ipv4 == 10.0.0.1".into()],
        never: vec!["arp.opcode == 2 && arp.src.proto_ipv4 == 10.0.0.1".into()],
        ..Packets::default()
    };
    let behind = [first(1..=16), half.clone()].concat();
    let words = "next hop 10.0.0.1 on e0 does not answer ARP";
    let mut done = trouble("gateway", behind, "next_hop_unresolved", words, silent).make(
        &historian,
        &|| timed(|| firewall(r, "ingress device \"e0\"", "drop")),
        &|| firewall(r, "ingress device \"e0\"", ""),
    );
    done.recovery = neighbor;
    troubles.push(done);
    std::thread::sleep(shift_length.saturating_sub(shifted.elapsed()));
    let shift_end = timed(|| delay(2));
    let restored = Instant::now();
    // 11
    let gone = Packets {
        before: vec![echo("request", "10.9.1.16")],
        never: vec![echo("request", "10.9.1.16")],
        ..Packets::default()
    };
    let words = "not sent: ";
    troubles.push(
        trouble("route", first(16..=16), "no_route", words, gone).make(
            &historian,
            &|| timed(|| ip(a, "route del 10.9.1.16/32 via 10.0.0.1")),
            &|| ip(a, "route add 10.9.1.16/32 via 10.0.0.1"),
        ),
    );
    // 12
    let of_other = Mac(o.mac("e0")?).to_string();
    let conflict = Packets {
        during: vec![
            format!("arp.src.proto_ipv4 == 10.5.0.1 && arp.src.hw_mac == {of_other}"),
            format!("icmp.type == 8 && eth.dst == {of_other}"),
        ],
        ..Packets::default()
    };
    let words = "next hop 10.5.0.1 on e1 may be another station";
    troubles.push(
        trouble(
            "address conflict",
            beside.clone(),
            "next_hop_in_doubt",
            words,
            conflict,
        )
        .make(
            &historian,
            &|| {
                timed(|| {
                    ip(o, "addr add 10.5.0.1/24 dev e0");
                    let entry = ["neigh", "show", "10.5.0.1"];
                    assert!(wait_until(PATIENCE, || {
                        ip(a, "neigh flush dev e1");
                        std::thread::sleep(Duration::from_millis(1100));
                        printed(a, "ip", &entry).contains(&of_other)
                    }));
                })
            },
            &|| {
                ip(o, "addr del 10.5.0.1/24 dev e0");
                ip(a, "neigh flush dev e1");
            },
        ),
    );
    // Its end is seen when most of two minutes are as before.
    let patience = Duration::from_secs(200).saturating_sub(restored.elapsed());
    let is_up = || historian.target("10.2.0.1")["state"] == "up";
    assert!(
        wait_until(patience, is_up),
        "{:#}",
        historian.target("10.2.0.1")
    );
    std::thread::sleep(Duration::from_secs(600).saturating_sub(started.elapsed()));
    let shift = Packets {
        before: vec!["icmp.resptime < 8 && ip.src == 10.2.0.1".into()],
        during: vec!["icmp.resptime > 15 && ip.src == 10.2.0.1".into()],
        never: vec!["icmp.resptime < 8 && ip.src == 10.2.0.1".into()],
    };
    let words = "median wire round trip ";
    let mut shift = trouble("latency shift", slow, "own", words, shift);
    (shift.begin, shift.end) = (shift_begin, shift_end);
    troubles.push(shift);
    troubles.sort_by_key(|trouble| trouble.begin);
    assert_eq!(troubles.len(), 12);
    check(&historian, &troubles);
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    Ok(())
}

/// Clears a flag when it goes out of scope, so that the thread behind it ends.
struct OffOnDrop<'a>(&'a AtomicBool);

impl Drop for OffOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Exactly these outages are listed, each with its begin, end, cause, targets and packets.
fn check(historian: &Historian, troubles: &[Trouble]) {
    let listed = historian.client(&["outages", "--json", "--since=-1h"]);
    assert!(listed.status.success(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let mut outages = listed["outages"].as_array().unwrap().clone();
    outages.sort_by_key(|outage| ns(&outage["begin"]));
    let mut wrong = Vec::new();
    for outage in &outages {
        println!(
            "{} {} {} {} {}",
            outage["begin"],
            outage["end"],
            target_count(outage),
            outage["cause"],
            outage["words"]
        );
    }
    if outages.len() != troubles.len() {
        wrong.push(format!("{} outages of {}", outages.len(), troubles.len()));
    }
    let directory = crate::support::folder().unwrap();
    let file = directory.path().join("evidence.pcapng");
    for trouble in troubles {
        let name = trouble.name;
        let is_its = |outage: &&Value| {
            let is_degraded = name == "latency shift";
            let near = (ns(&outage["begin"]) - trouble.begin.0).abs() < 10 * SECOND;
            is_degraded == (outage["kind"] == "degraded") && (is_degraded || near)
        };
        let Some(outage) = outages.iter().find(is_its) else {
            wrong.push(format!("{name}: not listed"));
            continue;
        };
        check_one(historian, trouble, outage, &file, &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        historian.log()
    );
}

fn check_one(
    historian: &Historian,
    trouble: &Trouble,
    outage: &Value,
    file: &Path,
    wrong: &mut Vec<String>,
) {
    let name = trouble.name;
    let mut expect = |is_right: bool, what: String| {
        if !is_right {
            wrong.push(format!("{name}: {what}"));
        }
    };
    expect(
        outage["cause"] == trouble.cause,
        format!("cause {}", outage["cause"]),
    );
    let words = outage["words"].as_str().unwrap();
    expect(words.contains(trouble.words), format!("words {words:?}"));
    // A probe is sent each second, and what was asked of the kernel takes effect at once, or in the time for recovery. One
    // that waited in a host until it could go on was sent before the end.
    let slack = SECOND / 20;
    let difference = |at: i128, (from, to): (i128, i128)| match at {
        _ if at < from => at - from,
        _ if at > to => at - to,
        _ => 0,
    };
    let (begin, end) = (ns(&outage["begin"]), ns(&outage["end"]));
    let of_begin = difference(begin, trouble.begin);
    let of_end = difference(end, trouble.end);
    let most = SECOND + slack;
    let (recovery, why) = trouble.recovery;
    println!("{name}: begin {of_begin} ns and end {of_end} ns from the truth; {words}");
    expect(
        (-slack..=most).contains(&of_begin),
        format!("begin {of_begin} ns"),
    );
    expect(
        (-most..=most + recovery).contains(&of_end),
        format!("end {of_end} ns ({why})"),
    );
    let whole = historian.call("Outage", &json!({ "id": outage["id"] }));
    let affected = whole["outage"]["affected"].as_array().unwrap();
    let mut targets: Vec<&str> = affected
        .iter()
        .map(|one| one["target"].as_str().unwrap())
        .collect();
    targets.sort_unstable();
    let mut expected: Vec<&str> = trouble.targets.iter().map(String::as_str).collect();
    expected.sort_unstable();
    expect(targets == expected, format!("targets {targets:?}"));
    for one in affected {
        let of_begin = difference(ns(&one["begin"]), trouble.begin);
        let of_end = difference(ns(&one["end"]), trouble.end);
        let is_near =
            (-slack..=most).contains(&of_begin) && (-most..=most + recovery).contains(&of_end);
        expect(
            is_near,
            format!("{} begin {of_begin} end {of_end}", one["target"]),
        );
    }
    let id = number(&outage["id"]).to_string();
    let _ = std::fs::remove_file(file);
    let written = historian.client(&["outages", &id, "-w", file.to_str().unwrap()]);
    let is_written = written.status.success();
    let errors = String::from_utf8_lossy(&written.stderr).into_owned();
    expect(
        is_written,
        format!("evidence {}: {errors}", outage["evidence"]),
    );
    if !is_written {
        return;
    }
    expect(
        outage["evidence"]["state"] == "whole",
        format!("evidence {}", outage["evidence"]),
    );
    let Some(tshark) = crate::support::find("tshark") else {
        return crate::support::report(name, "tshark is not installed: its evidence was not read");
    };
    // The evidence ends 30 s after the begin.
    let until = end.min(begin + 30 * SECOND);
    let during = (begin, until - SECOND / 10);
    let never = (trouble.begin.1 + SECOND / 10, trouble.end.0.min(until));
    let Packets {
        before,
        during: some,
        never: none,
    } = &trouble.packets;
    let groups = [
        (before, (0, trouble.begin.0), true),
        (some, during, true),
        (none, never, false),
    ];
    for (filters, times, is_there) in groups {
        for filter in filters {
            let count = packets(&tshark, file, filter, times);
            let count = count.unwrap_or_else(|error| panic!("{name}: {filter}: {error}"));
            println!("{name}: {count} packets of {filter}");
            expect(
                (count > 0) == is_there,
                format!("{count} packets of {filter} {times:?}"),
            );
        }
    }
}

/// Number of packets within a time that pass a display filter.
fn packets(
    tshark: &PathBuf,
    file: &Path,
    filter: &str,
    (from, to): (i128, i128),
) -> Result<usize, String> {
    let time = |at: i128| format!("{}.{:09}", at / SECOND, at % SECOND);
    let filter = format!(
        "({filter}) && frame.time_epoch >= {} && frame.time_epoch <= {}",
        time(from),
        time(to)
    );
    let output = std::process::Command::new(tshark)
        .arg("-nr")
        .arg(file)
        .args(["-Y", &filter, "-T", "fields", "-e", "frame.number"])
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).lines().count()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Onsets of each fate.
const ONSETS: usize = 200;
/// Time from the onset to the state `down` in nanoseconds, at 1 s and with a time limit of 1 s: up to a second until the
/// next probe, two seconds until the third one, and 0.1 s; of a silent one the time limit, and another 0.1 s.
const EXPLICIT: i128 = 31 * SECOND / 10;
const SILENT: i128 = 42 * SECOND / 10;

/// The network of [`onsets`]: 200 addresses behind a router, and 200 on its link.
///
/// ```text
///   a  e0 10.0.0.2/16 ---- 10.0.0.1/16 e0  r  e1 10.1.0.1 ---- 10.1.0.2 e0  b  10.9.0.1 to .200
///                          10.0.1.1 to .200
/// ```
struct Onsets {
    a: Host,
    r: Host,
    b: Host,
}

fn onsets() -> Outcome {
    need_minutes(5);
    for program in ["ip", "nft"] {
        need(program);
    }
    let [a, r, b] = ["a", "r", "b"].map(|name| Host::new(name).unwrap());
    lab::veth(&a, "e0", &r, "e0")?;
    lab::veth(&r, "e1", &b, "e0")?;
    a.address("e0", "10.0.0.2/16")?;
    r.address("e0", "10.0.0.1/16")?;
    r.address("e1", "10.1.0.1/24")?;
    b.address("e0", "10.1.0.2/24")?;
    for last in 1..=ONSETS {
        r.address("e0", &format!("10.0.1.{last}/32"))?;
        b.address("lo", &format!("10.9.0.{last}/32"))?;
    }
    r.sysctl("net/ipv4/ip_forward", "1")?;
    r.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    a.route("10.9.0.0/24", "10.0.0.1")?;
    r.route("10.9.0.0/24", "10.1.0.2")?;
    b.route("0.0.0.0/0", "10.1.0.1")?;
    let net = Onsets { a, r, b };
    let far = |last| format!("10.9.0.{last}");
    let near = |last| format!("10.0.1.{last}");
    let mut wrong = Vec::new();
    let mut each = |fate, most, target: &dyn Fn(usize) -> String, begin: &dyn Fn(&str)| {
        wrong.extend(onsets_of(&net, fate, most, target, begin));
    };
    each("not_sent", EXPLICIT, &far, &|target| {
        ip(&net.a, &format!("route add unreachable {target}"));
    });
    for last in 1..=ONSETS {
        ip(&net.a, &format!("route del unreachable {}", far(last)));
    }
    let filtered = |host: &Host, hook: &str, rule: &str| {
        let family = if hook.contains("device") {
            "netdev"
        } else {
            "inet"
        };
        let set = "set gone { type ipv4_addr; }";
        let rules = format!(
            "table {family} t {{\n{set}\nchain c {{\ntype filter hook {hook} priority 0;\n{rule}\n}}\n}}\n"
        );
        load_rules(host, &rules);
    };
    let gone = |host: &Host, family: &str, target: &str| {
        let element = format!("{{ {target} }}");
        crate::support::inside(
            host,
            "nft",
            &["add", "element", family, "t", "gone", &element],
        );
    };
    // For routes that refuse, the kernel reports one error a second, whatever is set.
    filtered(
        &net.r,
        "forward",
        "ip daddr @gone reject with icmp admin-prohibited",
    );
    each("refused", EXPLICIT, &far, &|target| {
        gone(&net.r, "inet", target)
    });
    firewall(&net.r, "", "");
    filtered(&net.a, "input", "icmp type echo-reply ip saddr @gone drop");
    each("dropped_inbound", SILENT, &far, &|target| {
        gone(&net.a, "inet", target)
    });
    firewall(&net.a, "", "");
    filtered(&net.a, "egress device \"e0\"", "ip daddr @gone drop");
    each("dropped_outbound", SILENT, &far, &|target| {
        gone(&net.a, "netdev", target)
    });
    firewall(&net.a, "", "");
    each("unanswered", SILENT, &far, &|target| {
        ip(&net.b, &format!("addr del {target}/32 dev lo"));
    });
    each("unresolved", SILENT, &near, &|target| {
        ip(&net.r, &format!("addr del {target}/32 dev e0"));
        ip(&net.a, &format!("neigh del {target} dev e0"));
    });
    let shown = wrong.len().min(20);
    assert!(wrong.is_empty(), "{}: {:#?}", wrong.len(), &wrong[..shown]);
    Ok(())
}

/// Makes 200 targets fail at random phases, each once. Returns what is not as it must be.
fn onsets_of(
    net: &Onsets,
    fate: &str,
    most: i128,
    target: &dyn Fn(usize) -> String,
    begin: &dyn Fn(&str),
) -> Vec<String> {
    let targets: Vec<String> = (1..=ONSETS).map(target).collect();
    let service = Service::start(&net.a, &[]);
    let historian = Historian::start(&net.a, &service, &monitors(&targets));
    until_all_are_up(&historian, ONSETS);
    let (stop, stopped) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut connection = Connection::open(&historian.path("history.sock")).unwrap();
    connection
        .call_more("io.netsonde.History.Watch", &json!({}))
        .unwrap();
    connection.reply().unwrap();
    let mut random = Random(now() as u64);
    println!("{fate}: seed {}", random.0);
    let (truth, down) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            connection.wait_without_limit().unwrap();
            let mut down = BTreeMap::new();
            while let Some(reply) = connection.reply_until(Some(stopped.as_fd())).unwrap() {
                let target = &reply.parameters["target"];
                if target["state"] == "down" {
                    let target = target["target"].as_str().unwrap().to_owned();
                    down.entry(target).or_insert_with(now);
                }
                if down.len() == ONSETS {
                    break;
                }
            }
            down
        });
        let truth: Vec<(i128, i128)> = (targets.iter())
            .map(|target| {
                std::thread::sleep(Duration::from_millis(random.below(200)));
                timed(|| begin(target))
            })
            .collect();
        wait_until(Duration::from_secs(10), || watcher.is_finished());
        drop(stop);
        (truth, watcher.join().unwrap())
    });
    let mut affected = BTreeMap::new();
    let all = historian.call("Outages", &json!({ "limit": 1000 }));
    for outage in all["outages"].as_array().unwrap() {
        let whole = historian.call("Outage", &json!({ "id": outage["id"] }));
        for one in whole["outage"]["affected"].as_array().unwrap() {
            let target = one["target"].as_str().unwrap().to_owned();
            assert!(affected.insert(target, one.clone()).is_none(), "{one:#}");
        }
    }
    let (mut begins, mut downs, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut sums = BTreeMap::<String, u64>::new();
    for (target, (from, to)) in targets.iter().zip(&truth) {
        let (Some(one), Some(down)) = (affected.get(target), down.get(target)) else {
            wrong.push(format!("{fate}: {target} is not down"));
            continue;
        };
        let first = ns(&one["begin"]);
        begins.push(first - from);
        downs.push(down - from);
        let slack = SECOND / 20;
        if !(from - slack..=to + SECOND + slack).contains(&first) {
            wrong.push(format!(
                "{fate}: {target} begins {} ns behind",
                first - from
            ));
        }
        if *down > to + most {
            wrong.push(format!("{fate}: {target} is down {} ns behind", down - to));
        }
        let fates = one["fates"].as_object().unwrap();
        if !fates.contains_key(fate) {
            wrong.push(format!("{fate}: {target} has fates {fates:?}"));
        }
        for (fate, count) in fates {
            *sums.entry(fate.clone()).or_default() += number(count);
        }
    }
    begins.sort_unstable();
    downs.sort_unstable();
    let milliseconds = |all: &[i128], share: usize| match all {
        [] => 0,
        all => all[(all.len() - 1) * share / 100] / 1_000_000,
    };
    println!(
        "{fate}: {} outages of {} targets, {sums:?}; begin behind the onset {}, {}, {} ms, down \
         behind it {}, {}, {} ms (least, median, most)",
        all["outages"].as_array().unwrap().len(),
        affected.len(),
        milliseconds(&begins, 0),
        milliseconds(&begins, 50),
        milliseconds(&begins, 100),
        milliseconds(&downs, 0),
        milliseconds(&downs, 50),
        milliseconds(&downs, 100),
    );
    wrong
}

/// Numbers by Knuth's generator of 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let factor = 6_364_136_223_846_793_005;
        self.0 = self
            .0
            .wrapping_mul(factor)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

/// Targets of [`Watched`] at 200 ms.
const WATCHED: u32 = 10;
const INTERVAL: i128 = SECOND / 5;
/// Time of which a kill or a power cut may cost the probes.
const LOST: i128 = 10 * SECOND;

/// Results come once a second, behind the time limit of 1 s: at an end, those of the last probes are nobody's.
const UNREPORTED: i128 = 5 * SECOND / 2;

/// A host whose probes a wire records.
///
/// ```text
///   a  e0 10.0.0.2 ====wire==== 10.0.0.1 e0  b  10.9.0.1 to .10
/// ```
struct Watched {
    a: Host,
    b: Host,
    wire: Wire,
    historian: Historian,
    service: Service,
}

impl Watched {
    fn new() -> Result<Watched, Box<dyn std::error::Error>> {
        Watched::on(|_| ())
    }

    /// `prepare` gets the directory of the historian, which is empty.
    fn on(prepare: impl FnOnce(&Path)) -> Result<Watched, Box<dyn std::error::Error>> {
        let [a, b] = ["a", "b"].map(|name| Host::new(name).unwrap());
        let wire = Wire::new(&a, "e0", &b, "e0")?;
        a.address("e0", "10.0.0.2/24")?;
        b.address("e0", "10.0.0.1/24")?;
        for last in 1..=WATCHED {
            b.address("lo", &format!("10.9.0.{last}/32"))?;
        }
        a.route("10.9.0.0/24", "10.0.0.1")?;
        let is_request = |frame: &[u8]| frame.get(23) == Some(&1) && frame.get(34) == Some(&8);
        wire.a_to_b(|way| way.record = Some(Box::new(is_request)));
        let service = Service::start(&a, &[]);
        let state = service.directory.path().join("history/state");
        std::fs::create_dir_all(&state)?;
        prepare(&state);
        let monitors = monitors(&addresses("10.9.0", 1..=WATCHED));
        let monitors = monitors.replace("interval = \"1s\"", "interval = \"200ms\"");
        let historian = Historian::start(&a, &service, &monitors);
        until_all_are_up(&historian, WATCHED as usize);
        Ok(Watched {
            a,
            b,
            wire,
            service,
            historian,
        })
    }

    /// Times of the probes on the wire, by target.
    fn sent(&self) -> BTreeMap<String, Vec<i128>> {
        let mut sent: BTreeMap<String, Vec<i128>> = BTreeMap::new();
        self.wire.a_to_b(|way| {
            for passage in &way.passages {
                let target: [u8; 4] = passage.frame[30..34].try_into().unwrap();
                let target = std::net::Ipv4Addr::from(target).to_string();
                sent.entry(target).or_default().push(passage.came_ns.into());
            }
        });
        sent.values_mut().for_each(|times| times.sort_unstable());
        sent
    }
}

/// What a store has of a target. Times are in nanoseconds since 1970.
#[derive(Clone, Default)]
struct Stored {
    probes: Vec<i128>,
    /// Begin and end of each gap.
    gaps: Vec<(i128, i128)>,
}

/// Opens a store and reads all of it, by target. Returns also the number of damaged stretches and lines.
fn stored(directory: &Path) -> (BTreeMap<String, Stored>, u64) {
    let table =
        Table::open(Disk::new(directory), "table").unwrap_or_else(|error| panic!("{error}"));
    let series: Vec<(String, u32)> = (table.all::<u32>("series/"))
        .map(|(key, series)| (key.replace("all ", ""), series))
        .collect();
    let (found, damaged) = stored_series(directory, &series);
    (found, damaged + table.counters().damaged)
}

fn stored_series(directory: &Path, series: &[(String, u32)]) -> (BTreeMap<String, Stored>, u64) {
    let opened = Store::open(Disk::new(directory), Options::default());
    let mut store = opened.unwrap_or_else(|error| panic!("{error}"));
    let mut found: BTreeMap<String, Stored> = BTreeMap::new();
    for (target, series) in series {
        let of_target = found.entry(target.clone()).or_default();
        let visit = |coded: &Coded| {
            match coded.entry() {
                Entry::Probe(probe) => of_target.probes.push(probe.sent_ns.into()),
                Entry::Gap(gap) => {
                    let begin = i128::from(gap.begin_ns);
                    of_target
                        .gaps
                        .push((begin, begin + i128::from(gap.length_ns)));
                }
            }
            true
        };
        store.entries(*series, 0, u64::MAX, visit).unwrap();
    }
    (found, store.counters().damaged)
}

/// What the comparison of a store with the wire found.
#[derive(Debug, Default)]
struct Judged {
    /// Probes on the wire before the last one that is stored, and those of them that are not.
    sent: usize,
    missing: usize,
    /// Missing ones where no gap is declared.
    undeclared: usize,
    /// Probes of the store that are there twice, or were never sent.
    invented: usize,
    /// Longest time in nanoseconds from a missing one to the kill behind it.
    longest: i128,
    /// Of the first ones that are not declared: target, and the times around it.
    examples: Vec<String>,
    /// Longest time in nanoseconds from one behind the last stored probe to the kill behind it, or the end.
    tail: i128,
}

/// Compares what is stored of each target with the probes that were sent until a time. `kills` are the times of kills.
fn judge(
    sent: &BTreeMap<String, Vec<i128>>,
    stored: &BTreeMap<String, Stored>,
    until: i128,
    kills: &[i128],
) -> Judged {
    let mut judged = Judged::default();
    for (target, times) in sent {
        let of_target = stored.get(target).cloned().unwrap_or_default();
        let mut is_stored = vec![false; times.len()];
        for probe in &of_target.probes {
            let at = times.partition_point(|time| time < probe);
            let near = at.saturating_sub(1)..(at + 1).min(times.len());
            let nearest = near.min_by_key(|at| (times[*at] - probe).abs());
            match nearest {
                Some(at) if !is_stored[at] && (times[at] - probe).abs() < INTERVAL / 4 => {
                    is_stored[at] = true;
                }
                _ => judged.invented += 1,
            }
        }
        let last = of_target.probes.last().copied().unwrap_or(0);
        for (time, is_stored) in times.iter().zip(&is_stored) {
            if *time > until {
                break;
            }
            let killed = kills.iter().find(|kill| *kill >= time);
            let since = killed.map_or(i128::MAX, |kill| kill - time);
            if *time > last + INTERVAL / 4 {
                judged.tail = judged.tail.max(since.min(until - time));
                continue;
            }
            judged.sent += 1;
            if *is_stored {
                continue;
            }
            judged.missing += 1;
            judged.longest = judged.longest.max(since);
            let is_declared =
                |(begin, end): &(i128, i128)| (begin - INTERVAL..=*end).contains(time);
            if !of_target.gaps.iter().any(is_declared) {
                judged.undeclared += 1;
                if judged.examples.len() < 10 {
                    let at = of_target.probes.partition_point(|probe| probe < time);
                    let near = &of_target.probes
                        [at.saturating_sub(2)..(at + 2).min(of_target.probes.len())];
                    let near: Vec<_> = near
                        .iter()
                        .map(|probe| (probe - time) / 1_000_000)
                        .collect();
                    let gaps = of_target
                        .gaps
                        .iter()
                        .map(|(begin, end)| (begin - time, end - time));
                    let gaps: Vec<_> = gaps
                        .filter(|(begin, end)| begin.abs().min(end.abs()) < 10 * SECOND)
                        .map(|(begin, end)| (begin / 1_000_000, end / 1_000_000))
                        .collect();
                    judged.examples.push(format!(
                        "{target}, {} ms before a kill: probes {near:?} ms, gaps {gaps:?} ms from it",
                        since / 1_000_000
                    ));
                }
            }
        }
    }
    judged
}

/// Copies a directory, file after file, while it is written to. This is not the disk after a power cut: what was written
/// and not yet synced is there, and no file is torn within a write. `history/store/tests.rs` cuts the power at each
/// operation of a disk that loses what is not synced. Here files are of different moments, and those of a program that
/// was killed before are among them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(entries) = std::fs::read_dir(from) else {
        return;
    };
    for entry in entries.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy(&from, &to),
            // It may have been renamed or removed since.
            _ => drop(std::fs::copy(&from, &to)),
        }
    }
}

fn kills_and_power_cuts() -> Outcome {
    need_minutes(7);
    let mut net = Watched::new()?;
    let state = net.historian.path("state");
    let copies = crate::support::folder()?;
    let mut random = Random(now() as u64);
    println!("seed {}", random.0);
    let mut actions = [vec!["historian"; 20], vec!["engine"; 10], vec!["copy"; 20]].concat();
    for at in (1..actions.len()).rev() {
        actions.swap(at, random.below(at as u64 + 1) as usize);
    }
    // Each copy has something.
    std::thread::sleep(Duration::from_secs(12));
    let started = now();
    let mut kills = Vec::new();
    let mut copied: Vec<(PathBuf, i128)> = Vec::new();
    for action in actions {
        std::thread::sleep(Duration::from_millis(random.below(9_000)));
        match action {
            "historian" => {
                net.historian.end(Signal::SIGKILL);
                kills.push(now());
                net.historian.begin(&net.a);
            }
            "engine" => {
                kill(net.service.engine(), Signal::SIGKILL)?;
                kills.push(now());
            }
            _ => {
                let path = copies.path().join(copied.len().to_string());
                let at = now();
                copy(&state, &path);
                copied.push((path, at));
            }
        }
    }
    until_all_are_up(&net.historian, WATCHED as usize);
    let outages = net.historian.call("Outages", &json!({}));
    assert_eq!(
        outages["outages"],
        json!([]),
        "{outages:#}\n{}",
        net.historian.log()
    );
    assert_eq!(net.historian.end(Signal::SIGTERM), Some(0));
    let ended = now();
    let sent = net.sent();
    let (kept, damaged) = stored(&state);
    let judged = judge(&sent, &kept, ended, &kills);
    println!(
        "{} s: {judged:?}, {damaged} damaged",
        (ended - started) / SECOND
    );
    assert_eq!(damaged, 0);
    let mut wrong = Vec::new();
    let mut expect = |name: &str, judged: &Judged, tail: i128| {
        let is_right = judged.invented == 0
            && judged.longest <= LOST
            && judged.tail <= tail
            && judged.undeclared == 0
            && judged.sent > 0;
        if !is_right {
            wrong.push(format!("{name}: {judged:?}"));
        }
    };
    expect("at the end", &judged, UNREPORTED);
    for (number, (path, at)) in copied.iter().enumerate() {
        open_by_itself(&net, path);
        let (kept, damaged) = stored(path);
        let judged = judge(&sent, &kept, *at, &kills);
        println!("copy {number}: {judged:?}, {damaged} damaged");
        expect(&format!("copy {number}"), &judged, LOST);
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        net.historian.log()
    );
    Ok(())
}

/// Starts a historian with a directory and without a service: it answers, and reports no problem.
fn open_by_itself(net: &Watched, state: &Path) {
    let socket = state.with_extension("sock");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_netsonde-historian"));
    command
        .args(["--socket", "/nonexistent", "--listen"])
        .arg(&socket)
        .arg("--state")
        .arg(state)
        .arg("--monitors")
        .arg(net.historian.path("monitors.toml"))
        .stderr(std::process::Stdio::null());
    let mut running = net.a.spawn(&mut command).unwrap();
    let ask = |method: &str, parameters: &Value| {
        let mut connection = Connection::open(&socket).ok()?;
        let method = format!("io.netsonde.History.{method}");
        connection.call::<Value>(&method, parameters).ok()
    };
    let answers = || ask("Status", &json!({})).is_some();
    assert!(wait_until(PATIENCE, answers), "{}", state.display());
    let status = ask("Status", &json!({})).unwrap();
    assert_eq!(status["targets"], WATCHED, "{status:#}");
    for target in addresses("10.9.0", 1..=WATCHED) {
        let history = ask("History", &json!({ "target": target })).unwrap();
        assert!(number(&history["span"]["sent"]) > 0, "{history:#}");
    }
    let outages = ask("Outages", &json!({})).unwrap();
    assert_eq!(outages["outages"], json!([]), "{outages:#}");
    kill(
        nix::unistd::Pid::from_raw(running.child().id() as i32),
        Signal::SIGTERM,
    )
    .unwrap();
    assert!(running.child().wait().unwrap().success());
}

/// A byte of a copy is changed, or a file is cut, at each of 1,000 offsets: it opens, has no probe twice and none that
/// was not there, misses at most two batches of the journal, and says so.
fn a_thousand_damaged_copies() -> Outcome {
    need_minutes(1);
    let net = Watched::new()?;
    std::thread::sleep(Duration::from_secs(20));
    let copies = crate::support::folder()?;
    copy(&net.historian.path("state"), copies.path());
    let copy = copies.path();
    let mut random = Random(now() as u64);
    println!("seed {}", random.0);
    let files: Vec<(String, Vec<u8>)> = std::fs::read_dir(copy)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_type().unwrap().is_file() && entry.file_name() != "lock")
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    let table = Table::open(Disk::new(copy), "table").unwrap();
    let series: Vec<(String, u32)> = (table.all::<u32>("series/"))
        .map(|(key, series)| (key.replace("all ", ""), series))
        .collect();
    drop(table);
    let (whole, _) = stored_series(copy, &series);
    let count =
        |all: &BTreeMap<String, Stored>| all.values().map(|one| one.probes.len()).sum::<usize>();
    let total = count(&whole);
    let directory = crate::support::folder().unwrap();
    let (mut most, mut hit) = (0, 0);
    for round in 0..1000 {
        for (name, bytes) in &files {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        // What an earlier round wrote.
        for entry in std::fs::read_dir(directory.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if !files.iter().any(|(known, _)| *known == name) {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let (name, bytes) = &files[random.below(files.len() as u64) as usize];
        let at = random.below(bytes.len() as u64) as usize;
        let is_cut = round % 2 == 1;
        let mut bytes = bytes.clone();
        match is_cut {
            true => bytes.truncate(at),
            false => bytes[at] ^= random.below(255) as u8 + 1,
        }
        let about = format!("{name} {at} of {} cut {is_cut}", bytes.len());
        std::fs::write(directory.path().join(name), bytes).unwrap();
        // The table opens, whatever is lost of it; numbers of series are those of the whole one.
        let table = Table::open(Disk::new(directory.path()), "table");
        let table = table.unwrap_or_else(|error| panic!("{about}: {error}"));
        let lines = table.counters().damaged;
        drop(table);
        let (found, damaged) = stored_series(directory.path(), &series);
        for (target, of_target) in &found {
            let probes = &of_target.probes;
            assert!(
                probes.is_sorted_by(|one, other| one < other),
                "{about}: {target}"
            );
            let known = &whole[target].probes;
            // Without the one before it, a send time is rounded to another thousandth of the interval.
            let is_known = |probe: &i128| {
                let at = known.partition_point(|time| *time < probe - INTERVAL / 500);
                known
                    .get(at)
                    .is_some_and(|time| *time <= probe + INTERVAL / 500)
            };
            assert!(
                probes.iter().all(is_known),
                "{about}: {target} has a probe that was not there"
            );
        }
        let missing = total - count(&found);
        if !is_cut {
            most = most.max(missing);
        }
        if missing > 0 {
            hit += 1;
            assert!(
                damaged > 0 || is_cut,
                "{about}: {missing} missing and none counted"
            );
        }
        let is_table = name == "table" && !is_cut;
        assert!(!is_table || lines > 0, "{about}: not counted");
    }
    println!(
        "1000 damaged copies of {total} probes: {hit} miss probes, a changed byte at most {most}"
    );
    // Two batches of 6 s.
    assert!(most <= 2 * 6 * 5 * WATCHED as usize, "{most}");
    Ok(())
}

/// Results behind one that may still change are not in the store yet, but the state of the target knows them.
fn a_kill_while_results_are_held() -> Outcome {
    need("ip");
    let mut net = Watched::new()?;
    let mut kills = Vec::new();
    for _ in 0..3 {
        ip(&net.b, "addr del 10.9.0.3/32 dev lo");
        net.historian.until_state("10.9.0.3", "down");
        // The state is written with the next flush, every 5 s.
        std::thread::sleep(Duration::from_secs(3));
        net.historian.end(Signal::SIGKILL);
        kills.push(now());
        net.historian.begin(&net.a);
        ip(&net.b, "addr add 10.9.0.3/32 dev lo");
        until_measured(&net.historian, "10.9.0.3", "down");
    }
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(net.historian.end(Signal::SIGTERM), Some(0));
    let (kept, damaged) = stored(&net.historian.path("state"));
    let judged = judge(&net.sent(), &kept, now(), &kills);
    println!("{judged:?}");
    let is_right = damaged == 0 && judged.invented == 0 && judged.undeclared == 0;
    assert!(is_right && judged.longest <= LOST, "{judged:?}");
    Ok(())
}

/// Waits until a target is measured, and has another state.
fn until_measured(historian: &Historian, address: &str, former: &str) {
    historian.until("Monitors", "it is measured", |all| {
        let state = crate::support::entry(&all["targets"], "target", address)["state"].clone();
        state != former && state != "unknown"
    });
}

fn a_minute_without_historian() -> Outcome {
    need_minutes(2);
    let mut net = Watched::new()?;
    std::thread::sleep(Duration::from_secs(10));
    let pid = net.historian.pid();
    kill(pid, Signal::SIGSTOP)?;
    let stopped = now();
    std::thread::sleep(Duration::from_secs(60));
    kill(pid, Signal::SIGCONT)?;
    let resumed = now();
    until_all_are_up(&net.historian, WATCHED as usize);
    std::thread::sleep(Duration::from_secs(10));
    let outages = net.historian.call("Outages", &json!({}));
    assert_eq!(
        outages["outages"],
        json!([]),
        "{outages:#}\n{}",
        net.historian.log()
    );
    assert_eq!(net.historian.end(Signal::SIGTERM), Some(0));
    let sent = net.sent();
    let (kept, damaged) = stored(&net.historian.path("state"));
    let judged = judge(&sent, &kept, now(), &[]);
    let during = |times: &Vec<i128>| {
        times
            .iter()
            .filter(|at| (stopped..resumed).contains(*at))
            .count()
    };
    let on_wire: usize = sent.values().map(during).sum();
    let there: usize = kept.values().map(|one| during(&one.probes)).sum();
    println!("{judged:?}; of {on_wire} probes meanwhile {there} are stored");
    let is_right = damaged == 0 && judged.invented == 0 && judged.undeclared == 0;
    assert!(
        is_right && judged.tail <= UNREPORTED,
        "{judged:?}\n{}",
        net.historian.log()
    );
    Ok(())
}

impl Watched {
    /// Waits until the status and the log have these words.
    fn until_reported(&self, words: &str) {
        let has = |problem: &Value| problem.as_str().unwrap().contains(words);
        self.historian.until("Status", words, |status| {
            status["problems"].as_array().unwrap().iter().any(has)
        });
        let is_logged = || self.historian.log().contains(words);
        assert!(wait_until(PATIENCE, is_logged), "{}", self.historian.log());
        println!("{}", self.historian.call("Status", &json!({}))["problems"]);
    }

    /// Waits until no problem is left.
    fn until_well(&self) {
        self.historian
            .until("Status", "no problem is left", |status| {
                status["problems"] == json!([])
            });
    }

    /// A target is lost and answers again: this is an outage, whatever the disk does, and there is no other.
    fn outage_is_found(&self) {
        ip(&self.b, "addr del 10.9.0.3/32 dev lo");
        self.historian.until_state("10.9.0.3", "down");
        ip(&self.b, "addr add 10.9.0.3/32 dev lo");
        self.historian.until_state("10.9.0.3", "up");
        self.has_one_outage();
    }

    fn has_one_outage(&self) {
        let all = self.historian.call("Outages", &json!({}));
        let outages = all["outages"].as_array().unwrap();
        assert_eq!(outages.len(), 1, "{all:#}");
        assert!(outages[0]["end"].is_string(), "{all:#}");
        assert_eq!(outages[0]["targets"], json!(["10.9.0.3"]), "{all:#}");
    }

    /// After an orderly end the directory has every probe that was on the wire, and after a start the outage.
    fn nothing_is_lost(&mut self) {
        assert_eq!(self.historian.end(Signal::SIGTERM), Some(0));
        let (kept, damaged) = stored(&self.historian.path("state"));
        let judged = judge(&self.sent(), &kept, now(), &[]);
        println!("{judged:?}, {damaged} damaged");
        let is_whole = damaged == 0 && judged.missing == 0 && judged.invented == 0;
        let log = self.historian.log();
        assert!(
            is_whole && judged.tail <= UNREPORTED,
            "{judged:?} {damaged}\n{log}"
        );
        self.historian.begin(&self.a);
        self.has_one_outage();
    }
}

fn a_full_disk() -> Outcome {
    need("ip");
    let (tmpfs, none) = (Some("tmpfs"), nix::mount::MsFlags::empty());
    let mut mounted = PathBuf::new();
    let mut net = Watched::on(|state| {
        nix::mount::mount(tmpfs, state, tmpfs, none, Some("size=4m")).unwrap();
        mounted = state.to_owned();
    })?;
    let filler = mounted.join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while std::io::Write::write_all(&mut file, &[1; 512]).is_ok() {}
    drop(file);
    net.until_reported("No space left on device");
    net.outage_is_found();
    std::fs::remove_file(&filler)?;
    net.until_well();
    net.nothing_is_lost();
    nix::mount::umount2(&mounted, nix::mount::MntFlags::MNT_DETACH)?;
    Ok(())
}

/// A file system of its own at a directory.
fn mount_ext4(at: &Path, image: &Path) {
    std::fs::File::create(image)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let output = crate::support::program(program)
            .args(arguments)
            .output()
            .unwrap();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            skip_here(&format!("{program} {arguments:?}: {errors}"));
        }
    };
    run("mkfs.ext4", &["-q".as_ref(), image.as_os_str()]);
    let loops: [&std::ffi::OsStr; 2] = ["-o".as_ref(), "loop".as_ref()];
    run(
        "mount",
        &[loops[0], loops[1], image.as_os_str(), at.as_os_str()],
    );
}

fn a_disk_that_turns_read_only() -> Outcome {
    need("ip");
    let images = crate::support::folder()?;
    let image = images.path().join("image");
    let mut mounted = PathBuf::new();
    let mut net = Watched::on(|state| {
        mount_ext4(state, &image);
        mounted = state.to_owned();
    })?;
    // What comes before is on the disk.
    std::thread::sleep(Duration::from_secs(7));
    let on_disk = now() - 7 * SECOND;
    let mut command = crate::support::program("mount");
    let done = command
        .args(["-o", "remount,abort"])
        .arg(&mounted)
        .output()?;
    println!("{done:?}");
    net.until_reported("Read-only file system");
    net.outage_is_found();
    let history = net
        .historian
        .call("History", &json!({ "target": "10.9.0.1" }));
    let sent = number(&history["span"]["sent"]);
    assert!(sent > 35, "{history:#}");
    assert_eq!(net.historian.end(Signal::SIGTERM), Some(0));
    nix::mount::umount(&mounted)?;
    let loops: [&std::ffi::OsStr; 2] = ["-o".as_ref(), "loop".as_ref()];
    // Its journal is replayed.
    let mut command = crate::support::program("mount");
    let done = command.args(loops).arg(&image).arg(&mounted).output()?;
    assert!(done.status.success(), "{done:?}");
    net.historian.begin(&net.a);
    until_all_are_up(&net.historian, WATCHED as usize);
    net.until_well();
    assert_eq!(net.historian.end(Signal::SIGTERM), Some(0));
    let (kept, damaged) = stored(&mounted);
    let judged = judge(&net.sent(), &kept, now(), &[]);
    println!("{judged:?}, {damaged} damaged");
    assert!(judged.invented == 0 && judged.undeclared == 0, "{judged:?}");
    let before = judge(&net.sent(), &kept, on_disk, &[]);
    assert_eq!(before.missing, 0, "{before:?}");
    nix::mount::umount(&mounted)?;
    Ok(())
}

fn a_write_of_half_a_minute() -> Outcome {
    need_minutes(1);
    for program in ["ip", "fsfreeze"] {
        need(program);
    }
    let images = crate::support::folder()?;
    let mut mounted = PathBuf::new();
    let mut net = Watched::on(|state| {
        mount_ext4(state, &images.path().join("image"));
        mounted = state.to_owned();
    })?;
    let fsfreeze = |how: &str| {
        let done = crate::support::program("fsfreeze")
            .arg(how)
            .arg(&mounted)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let frozen = Instant::now();
    fsfreeze("-f");
    // Thawed also if this fails: a frozen file system ends no process.
    let reported = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        net.until_reported("the disk has not answered for");
        net.outage_is_found();
        std::thread::sleep(Duration::from_secs(30).saturating_sub(frozen.elapsed()));
    }));
    fsfreeze("-u");
    reported.unwrap();
    net.until_well();
    let is_logged = || net.historian.log().contains("the disk answers again");
    assert!(wait_until(PATIENCE, is_logged), "{}", net.historian.log());
    net.nothing_is_lost();
    nix::mount::umount2(&mounted, nix::mount::MntFlags::MNT_DETACH)?;
    Ok(())
}

fn a_directory_that_is_removed() -> Outcome {
    need("ip");
    let mut net = Watched::new()?;
    let started = now();
    std::thread::sleep(Duration::from_secs(6));
    let state = net.historian.path("state");
    // A file where it was, so that it cannot be created again.
    std::fs::remove_dir_all(&state)?;
    std::fs::write(&state, "")?;
    net.until_reported(&state.display().to_string());
    net.outage_is_found();
    std::fs::remove_file(&state)?;
    net.until_well();
    assert!(state.is_dir(), "it is created again");
    if now() / HOUR != started / HOUR {
        return crate::support::skip(
            "a_directory_that_is_removed",
            "an hour has ended, whose file was removed",
        );
    }
    net.nothing_is_lost();
    Ok(())
}
