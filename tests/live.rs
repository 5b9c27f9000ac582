//! The service and the client on real packets: recording, packet counts, restarts, sandbox and limits.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b      netsonded in one of the two
//! ```
//!
//! The judge is the number in each packet that the tests send, and /proc for processes.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netsonde::lab::{self, Host, messages, traffic, wait_until};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use support::{
    PATIENCE, Service, Test, drops, entry, number, numbers, pair, raw_call, read_reply, settled,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Packets of the large runs. The release build sends as many as the project promises to bear.
const MANY: u64 = if cfg!(debug_assertions) {
    100_000
} else {
    1_000_000
};

const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const TO: SocketAddrV4 = SocketAddrV4::new(B, 5000);

fn main() -> ExitCode {
    support::main_with(
        &[
            (
                "processes_hold_no_capability",
                processes_hold_no_capability as Test,
            ),
            (
                "process_names_identify_processes",
                process_names_identify_processes,
            ),
            ("missing_privilege_is_named", missing_privilege_is_named),
            ("packet_counts_balance", packet_counts_balance),
            (
                "all_numbers_are_kept_in_order",
                all_numbers_are_kept_in_order,
            ),
            ("killed_engines_lose_nothing", killed_engines_lose_nothing),
            ("stopped_engine_is_replaced", stopped_engine_is_replaced),
            (
                "floods_do_not_evict_other_stores",
                floods_do_not_evict_other_stores,
            ),
            ("interfaces_come_and_go", interfaces_come_and_go),
            ("gaps_cover_no_packets", gaps_cover_no_packets),
            ("gaps_are_shown_once", gaps_are_shown_once),
            ("two_vantage_points", two_vantage_points),
            ("filter_expressions_match", filter_expressions_match),
            ("options_match_within_tunnels", options_match_within_tunnels),
            (
                "openings_of_connections_are_kept",
                openings_of_connections_are_kept,
            ),
            ("watch_follows_new_packets", watch_follows_new_packets),
            (
                "configuration_selects_interfaces",
                configuration_selects_interfaces,
            ),
            (
                "crashing_engines_restart_with_backoff",
                crashing_engines_restart_with_backoff,
            ),
            ("control_socket_abuse", control_socket_abuse),
            (
                "two_services_do_not_share_a_socket",
                two_services_do_not_share_a_socket,
            ),
            ("pypi_varlink_client_works", pypi_varlink_client_works),
            (
                "counts_lost_with_a_keeper_are_declared",
                counts_lost_with_a_keeper_are_declared,
            ),
        ],
        4,
    )
}

fn process_names_identify_processes() -> Outcome {
    let (a, _b) = pair();
    let mut service = Service::start(&a, &[]);
    let name = |pid| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    assert_eq!(name(service.keeper())?, "netsonded\n");
    let engine = service.engine();
    assert_eq!(name(engine)?, "netsonde-engine\n");
    let line = std::fs::read_to_string(format!("/proc/{engine}/cmdline"))?;
    assert_eq!(line, "netsonded\0--engine\0");
    Ok(())
}

fn processes_hold_no_capability() -> Outcome {
    let (a, _b) = pair();
    let mut service = Service::start(&a, &[]);
    for pid in [service.keeper(), service.engine()] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("0000000000000000"), "{pid} {line}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    // The engine reads the rings, and yet none of its descriptors is a packet socket.
    let packet_sockets: HashSet<String> = a
        .proc_net("packet")
        .lines()
        .skip(1)
        .filter_map(|line| Some(format!("socket:[{}]", line.split_whitespace().last()?)))
        .collect();
    assert_eq!(packet_sockets.len(), 2);
    let held = |pid: nix::unistd::Pid| -> BTreeSet<String> {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .map(|entries| {
                entries
                    .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
                    .map(|target| target.to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default()
    };
    let engine = held(service.engine());
    if engine.is_empty() {
        support::skip_here("/proc does not show them here");
    }
    assert!(
        engine.iter().all(|target| !packet_sockets.contains(target)),
        "{engine:?}"
    );
    let keeper = held(service.keeper());
    assert!(
        packet_sockets.iter().all(|socket| keeper.contains(socket)),
        "{keeper:?}"
    );
    assert_eq!(service.stop(), Some(0));
    Ok(())
}

fn missing_privilege_is_named() -> Outcome {
    let directory = support::folder()?;
    let output = support::program("setpriv")
        .args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--ambient-caps=-all",
        ])
        .arg(env!("CARGO_BIN_EXE_netsonded"))
        .arg("--socket")
        .arg(directory.path().join("s"))
        .output()?;
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(
        printed.contains("CAP_NET_RAW") && printed.contains("systemctl start netsonded"),
        "{printed}"
    );
    Ok(())
}

fn packet_counts_balance() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let mac = b.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 1), TO);
    let sent = a.run(|| traffic::numbered_frames("e0", mac, ends, MANY, 18, None))?;
    println!("{} packets at {:.0} a second", sent.packets, sent.rate());
    let bulk = |status: &Value| entry(&status["recorder"], "store", "bulk");
    let status = service.until("all taken in", |status| {
        settled(status) && number(&bulk(status)["seen"]) + drops(status) >= MANY
    });
    let file = service.directory.path().join("x.pcapng");
    service.ask(&[
        "capture",
        "--last",
        "2m",
        "-w",
        file.to_str().unwrap(),
        "--port",
        "5000",
    ]);
    let kept = numbers(&file);
    let evicted = number(&bulk(&status)["evicted"]);
    let thinned = number(&bulk(&status)["thinned"]);
    println!(
        "kept {} evicted {evicted} thinned {thinned} dropped {}",
        kept.len(),
        drops(&status)
    );
    assert_eq!(kept.len() as u64 + evicted + thinned + drops(&status), MANY);
    assert!(
        kept.windows(2)
            .all(|pair| pair[0] + 1 == pair[1] || drops(&status) + thinned > 0),
        "in order"
    );
    Ok(())
}

const LARGE: &str = "[recorder.budget]\nbulk = \"160 MiB\"\n[recorder.retention]\nbulk = 0\n";

fn all_numbers_are_kept_in_order() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&b, LARGE, &[]);
    let mac = b.mac("e0")?;
    let ends = (Ipv4Addr::new(10, 0, 0, 1), TO);
    a.run(|| traffic::numbered_frames("e0", mac, ends, MANY, 18, None))?;
    let status = service.until("all taken in", |status| {
        settled(status)
            && number(&entry(&status["recorder"], "store", "bulk")["recorded"]) + drops(status)
                >= MANY
    });
    let file = service.directory.path().join("x.pcapng");
    service.ask(&[
        "capture",
        "--last",
        "2m",
        "-w",
        file.to_str().unwrap(),
        "--port",
        "5000",
    ]);
    let kept = numbers(&file);
    assert_eq!(kept.len() as u64 + drops(&status), MANY);
    if drops(&status) == 0 {
        assert_eq!(kept, (0..MANY).collect::<Vec<_>>());
    }
    for tool in ["capinfos", "tshark"] {
        let Some(path) = support::find(tool) else {
            support::skip(tool, "not installed")?;
            continue;
        };
        let mut command = Command::new(path);
        // Its settings are not to be looked for with the rights of another user.
        command.env("HOME", service.directory.path());
        if tool == "tshark" {
            command.args([
                "-c",
                "5",
                "-T",
                "fields",
                "-e",
                "frame.interface_name",
                "-e",
                "frame.packet_flags_direction",
                "-r",
            ]);
        }
        let output = command.arg(&file).output()?;
        assert!(
            output.status.success(),
            "{tool}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if tool == "tshark" {
            let printed = String::from_utf8(output.stdout)?;
            assert_eq!(printed.lines().next(), Some("e0\t0x00000001"), "{printed}");
        }
    }
    Ok(())
}

/// An engine that hangs, here by SIGSTOP, is killed by its keeper after ten seconds, and the next one loses
/// nothing of what came meanwhile.
fn stopped_engine_is_replaced() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let stopped = service.engine();
    kill(stopped, Signal::SIGSTOP)?;
    b.run(|| traffic::numbered_udp("10.0.0.1:7777".parse().unwrap(), 500, 18, Some(5000)))?;
    let replaced = || std::fs::read_to_string(format!("/proc/{stopped}/stat")).is_err();
    assert!(wait_until(PATIENCE, replaced), "{}", service.log());
    service.until("another one", |status| {
        status["engine"]["pid"].as_i64() != Some(stopped.as_raw().into())
    });
    assert!(
        service.log().contains("makes no progress"),
        "{}",
        service.log()
    );
    let there = || {
        service
            .packets(&["--port", "7777", "--direction", "in"])
            .len()
    };
    assert!(wait_until(PATIENCE, || there() == 500), "{}", there());
    Ok(())
}

fn killed_engines_lose_nothing() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&b, LARGE, &[]);
    // Something from before the first kill.
    a.run(|| traffic::ping("10.0.0.2".parse().unwrap(), PATIENCE))?
        .unwrap();
    service.until("the ping is recorded", |s| {
        number(&entry(&s["recorder"], "store", "icmp")["packets"]) >= 2
    });
    let done = AtomicBool::new(false);
    let mut kills = 0u32;
    std::thread::scope(|scope| -> Outcome {
        let sender = scope.spawn(|| {
            let sent = a.run(|| traffic::numbered_udp(TO, MANY, 18, Some(MANY / 4)));
            done.store(true, Ordering::Relaxed);
            sent
        });
        // Spread over the run, at moments that no clock of the service knows.
        let mut seed = 0x2545_f491u32;
        while kills < 10 && !done.load(Ordering::Relaxed) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let moment = Instant::now() + Duration::from_millis(u64::from(seed >> 24));
            wait_until(PATIENCE, || Instant::now() >= moment);
            if let Some(status) = service.try_status() {
                let pid = status["engine"]["pid"].as_i64().unwrap() as i32;
                kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL)?;
                kills += 1;
            }
        }
        assert_eq!(sender.join().unwrap()?.packets, MANY);
        Ok(())
    })?;
    let status = service.until("all taken in", |status| {
        settled(status)
            && number(&entry(&status["recorder"], "store", "bulk")["recorded"]) + drops(status)
                >= MANY
    });
    println!("{kills} kills, {} dropped by the rings", drops(&status));
    assert!(kills >= 5);
    let file = service.directory.path().join("x.pcapng");
    service.ask(&[
        "capture",
        "--last",
        "all",
        "-w",
        file.to_str().unwrap(),
        "--port",
        "5000",
    ]);
    let kept = numbers(&file);
    assert!(
        kept.windows(2).all(|pair| pair[0] < pair[1]),
        "none twice, and in order"
    );
    assert_eq!(
        kept.len() as u64 + drops(&status),
        MANY,
        "none missing that is not declared"
    );
    assert!(
        service.packets(&["--proto", "icmp"]).len() >= 2,
        "history from before"
    );
    let restarts = status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["kind"] == "engine_restart");
    assert_eq!(restarts.count() as u32, kills);
    Ok(())
}

fn floods_do_not_evict_other_stores() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    // ARP by the first packet, and an IGMP report by a join of b's own.
    a.run(|| traffic::ping("10.0.0.2".parse().unwrap(), PATIENCE))?
        .unwrap();
    let group = Ipv4Addr::new(239, 1, 1, 1);
    let _member = b.run(|| traffic::join(group, B))?;
    service.until("the report is recorded", |_| {
        !service
            .packets(&["--group", "239.1.1.1", "--proto", "igmp"])
            .is_empty()
    });
    let arp = service.packets(&["--proto", "arp"]).len();
    assert!(arp >= 2);
    let source = Ipv4Addr::new(10, 0, 0, 1);
    type Flood = Box<dyn Fn() + Send + Sync>;
    let floods: [(&str, Flood); 4] = [
        (
            "bulk",
            Box::new(|| {
                traffic::numbered_udp(TO, 2 * MANY, 64, None).unwrap();
            }),
        ),
        (
            "connections",
            Box::new(move || {
                let make = |n: u64, packet: &mut Vec<u8>| {
                    *packet = traffic::syn(source, B, (1024 + n % 60_000) as u16, 81, n as u32);
                };
                traffic::raw_ipv4(B, 6, MANY, None, make).unwrap();
            }),
        ),
        (
            "icmp",
            Box::new(|| {
                let make = |n: u64, packet: &mut Vec<u8>| {
                    *packet = traffic::echo_request(9, n as u16, &[0; 56])
                };
                traffic::raw_ipv4(B, 1, MANY, None, make).unwrap();
            }),
        ),
        (
            "names",
            Box::new(|| {
                traffic::dns_flood(B, MANY).unwrap();
            }),
        ),
    ];
    for (store, flood) in &floods {
        let before = service.status();
        a.run(flood);
        let after = service.until("the flood is taken in", settled);
        for other in [
            "link",
            "group",
            "icmp",
            "names",
            "routing",
            "connections",
            "bulk",
        ] {
            let of =
                |status: &Value| number(&entry(&status["recorder"], "store", other)["evicted"]);
            // b answers: SYNs with RSTs, and what goes to closed ports with ICMP errors.
            if other != *store && !(other == "icmp" && *store != "connections") {
                assert_eq!(of(&before), of(&after), "{store} evicted from {other}");
            }
        }
        let report = service.packets(&["--group", "239.1.1.1", "--proto", "igmp"]);
        assert!(!report.is_empty(), "the report is gone after {store}");
        assert!(
            service.packets(&["--proto", "arp"]).len() >= arp,
            "ARP is gone after {store}"
        );
    }
    Ok(())
}

fn interfaces_come_and_go() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let named = |status: &Value, name: &str| entry(&status["interfaces"], "interface", name);
    // Down and up again: a gap, as long as it was down.
    let before = jiff::Timestamp::now();
    a.down("e0")?;
    service.until("down is seen", |status| {
        named(status, "e0")["state"] == "down"
    });
    a.up("e0")?;
    let after = jiff::Timestamp::now();
    let status = service.until("up is seen", |status| {
        named(status, "e0")["state"] == "up"
            && status["gaps"]
                .as_array()
                .unwrap()
                .iter()
                .any(|gap| gap["kind"] == "interface_down")
    });
    let gap = entry(&status["gaps"], "kind", "interface_down");
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let slack = jiff::SignedDuration::from_millis(50);
    assert!(
        time(&gap["from"]) >= before && time(&gap["from"]) <= before + slack,
        "{gap} {before}"
    );
    assert!(time(&gap["to"]) <= after + slack, "{gap} {after}");
    // Renamed: the same interface under another name.
    a.down("e0")?;
    a.rename("e0", "lan0")?;
    a.up("lan0")?;
    service.until("the name is seen", |status| {
        named(status, "lan0")["state"] == "up"
    });
    assert!(named(&service.status(), "e0").is_null());
    // Deleted and made anew under the same name, again and again, under traffic.
    for round in 0..20u32 {
        lab::veth(&a, "v0", &b, "v0")?;
        a.address("v0", &format!("10.1.{round}.1/24"))?;
        b.address("v0", &format!("10.1.{round}.2/24"))?;
        let peer = Ipv4Addr::new(10, 1, round as u8, 2);
        // The kernel activates a new link in its own time.
        let answers = || {
            a.run(|| traffic::ping(peer.into(), Duration::from_millis(50)))
                .unwrap()
                .is_some()
        };
        assert!(wait_until(PATIENCE, answers));
        let to = SocketAddrV4::new(peer, 5000);
        a.run(|| traffic::numbered_udp(to, 20, 18, None))?;
        a.delete("v0")?;
    }
    let status = service.until("all are gone", |status| {
        let all = status["interfaces"].as_array().unwrap();
        settled(status)
            && !all
                .iter()
                .any(|one| one["interface"] == "v0" && one["state"] != "gone")
    });
    let gone: Vec<&Value> = status["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["interface"] == "v0")
        .collect();
    assert_eq!(gone.len(), 20, "each has a history of its own");
    assert_eq!(service.packets(&["-I", "v0", "--port", "5000"]).len(), 400);
    let present = service.ask(&["interfaces", "--json"]);
    let present: Value = serde_json::from_str(&present)?;
    assert_eq!(
        present["interfaces"].as_array().unwrap().len(),
        2,
        "no stale entry"
    );
    Ok(())
}

fn time_of(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// The kernel announces that a link is operational up to a second after packets cross it.
fn gaps_cover_no_packets() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let state = |wanted: &'static str| {
        service.until(wanted, |status| {
            entry(&status["interfaces"], "interface", "e0")["state"] == wanted
        })
    };
    let mut port = b.port("e0")?;
    let frame = messages::arp_request("10.0.0.2", "10.0.0.1");
    // By administration, by carrier (the peer's end is down), and by removal.
    for round in 0..6 {
        state("up");
        let host = if round % 2 == 0 { &a } else { &b };
        host.down("e0")?;
        state("down");
        host.up("e0")?;
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(1200) {
            // Fails while the link is down.
            let _ = port.write_all(&frame);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    a.delete("e0")?;
    service.until("e0 is gone", |status| {
        entry(&status["interfaces"], "interface", "e0")["state"] == "gone"
    });
    lab::veth(&a, "e0", &b, "e0")?;
    let mut port = b.port("e0")?;
    for _ in 0..100 {
        let _ = port.write_all(&frame);
        std::thread::sleep(Duration::from_millis(2));
    }
    let status = service.until("all gaps are declared", |status| {
        let gaps = status["gaps"].as_array().unwrap();
        let of = |kind| gaps.iter().filter(|gap| gap["kind"] == kind).count();
        of("interface_down") >= 6 && of("interface_gone") >= 1
    });
    let times: Vec<jiff::Timestamp> = service
        .packets(&["-I", "e0"])
        .iter()
        .map(|packet| time_of(&packet["time"]))
        .collect();
    assert!(times.len() > 100, "{}", times.len());
    for gap in status["gaps"].as_array().unwrap() {
        if gap["subject"] != "e0" {
            continue;
        }
        let (from, to) = (time_of(&gap["from"]), time_of(&gap["to"]));
        let inside = times.iter().filter(|at| from < **at && **at < to).count();
        assert_eq!(inside, 0, "{inside} packets within {gap}");
    }
    Ok(())
}

fn gaps_are_shown_once() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let is_down =
        |status: &Value| entry(&status["interfaces"], "interface", "e0")["state"] == "down";
    b.down("e0")?;
    service.until("e0 is down", is_down);
    // A gap that has not ended is shown as such, and counted.
    let status = service.status();
    let open: Vec<&Value> = status["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["open"] == true)
        .collect();
    assert_eq!(open.len(), 1, "{status:#}");
    assert_eq!(
        number(&status["gaps_total"]),
        status["gaps"].as_array().unwrap().len() as u64
    );
    let text = service.ask(&["status"]);
    let shown = text
        .lines()
        .filter(|line| line.starts_with("interface_down e0 since "));
    assert_eq!(shown.count(), 1, "{text}");
    assert!(!text.contains("GAPS (0"), "{text}");
    b.up("e0")?;
    service.until("e0 is up", |status| !is_down(status));
    let to = Ipv4Addr::new(10, 0, 0, 2);
    let answers = || {
        a.run(|| traffic::ping(to.into(), Duration::from_millis(200)))
            .unwrap()
            .is_some()
    };
    assert!(wait_until(PATIENCE, answers));
    a.run(|| traffic::dns_flood(to, 3))?;
    service.until("all stores have packets", |status| {
        ["link", "icmp", "names"]
            .iter()
            .all(|store| number(&entry(&status["recorder"], "store", store)["packets"]) > 0)
    });
    let gaps = service.status()["gaps_total"].as_u64().unwrap() as usize;
    for arguments in [
        &["watch", "--last", "all"][..],
        &["watch", "--last", "all", "--store", "names"],
        &[
            "watch", "--last", "all", "--store", "names", "--store", "link",
        ],
    ] {
        let text = service.ask(arguments);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("gap:")).collect();
        assert_eq!(lines.len(), gaps, "{arguments:?}: {text}");
    }
    Ok(())
}

fn two_vantage_points() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let to = "10.0.0.2".parse().unwrap();
    for _ in 0..5 {
        a.run(|| traffic::ping(to, PATIENCE))?.unwrap();
    }
    let listened =
        |status: &Value| entry(&status["interfaces"], "interface", "e0")["listened"].clone();
    let counts = |status: &Value| {
        let all = listened(status);
        (number(&all["icmp_wire"]), number(&all["icmp_heard"]))
    };
    service.until("both saw all", |status| counts(status) == (5, 5));
    support::load_rules(
        &b,
        "table ip t {
 chain i {
  type filter hook input priority 0;
  icmp type echo-request drop
 }
}
",
    );
    for _ in 0..3 {
        assert!(
            a.run(|| traffic::ping(to, Duration::from_millis(30)))?
                .is_none()
        );
    }
    service.until("the wire saw more than was heard", |status| {
        counts(status) == (8, 5)
    });
    let own = service.ask(&["interfaces", "--json", "e0"]);
    let own: Value = serde_json::from_str(&own)?;
    for group in ["224.0.0.1", "224.0.0.2", "ff02::1", "ff02::2"] {
        let held = entry(&own["interfaces"][0]["memberships"], "group", group);
        assert_eq!(held["ours"], true, "{group}: {own}");
    }
    Ok(())
}

fn filter_expressions_match() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    a.run(|| traffic::ping("10.0.0.2".parse().unwrap(), PATIENCE))?
        .unwrap();
    a.run(|| traffic::numbered_udp(TO, 3, 18, None))?;
    send_tagged(&a)?;
    service.until("all recorded", |_| {
        service.packets(&["--vlan", "100"]).len() == 2
    });
    service.until("MLD is recorded", |_| {
        !service.packets(&["--proto", "mld"]).is_empty()
    });
    support::need_libpcap();
    let count = |filter: &str| service.packets(&[filter]).len();
    assert_eq!(
        count("udp dst port 5000"),
        5,
        "tagged packets too, as on a live interface"
    );
    assert_eq!(count("vlan 100"), 2);
    assert_eq!(count("vlan 100 and udp port 5000"), 2);
    assert_eq!(count("not vlan and udp dst port 5000"), 3);
    assert_eq!(count("icmp and icmp[icmptype] == icmp-echo"), 1);
    // More of it comes all the time, so the later question finds at least as much.
    let by_option = service.packets(&["--proto", "mld"]).len();
    let (mld, icmp6) = (count("mld"), count("icmp6"));
    assert!(
        by_option > 0 && by_option <= mld && mld <= icmp6,
        "{by_option} {mld} {icmp6}"
    );
    assert!(mld <= service.packets(&["--proto", "mld"]).len());
    assert_eq!(count("udp dst port 5001"), 0);
    let wrong = service.netsonde(&["watch", "--last", "1m", "udp prot 1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("udp prot 1"));
    Ok(())
}

/// Echo requests from 10.1.0.1 to 10.2.0.2 in GRE, VXLAN and others, and packets behind MPLS and PPPoE: sent through a
/// link, and the files that have them.
fn options_match_within_tunnels() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let mut files = Vec::new();
    for name in ["tunnels", "mpls", "pppoe"] {
        let (path, frames) = support::field(name);
        let count = frames.len() as u64;
        a.run(|| {
            traffic::frames("e0", count, None, |number, frame| {
                frame.clone_from(&frames[number as usize]);
            })
        })?;
        files.push(path);
    }
    service.until("all is taken in", settled);
    // Options, matches in the record and in the three files, which have tunnels, MPLS and PPPoE.
    let table: [(&[&str], [usize; 3]); 9] = [
        (&["--host", "10.2.0.2"], [0, 0, 0]),
        (&["--inner", "--host", "10.2.0.2"], [7, 0, 0]),
        (&["--inner", "--host", "192.0.2.1"], [7, 4, 2]),
        (&["--inner", "--host", "2001:db8:1::7"], [2, 1, 1]),
        (&["--inner", "--proto", "icmp"], [7, 3, 1]),
        (&["--proto", "icmp6", "--host", "2001:db8::1"], [0, 0, 0]),
        (
            &["--inner", "--proto", "icmp6", "--host", "2001:db8::1"],
            [1, 1, 1],
        ),
        // Host and protocol of two different packets.
        (
            &["--inner", "--proto", "icmp", "--host", "192.0.2.1"],
            [0, 3, 1],
        ),
        (&["--inner", "--port", "443"], [0, 1, 1]),
    ];
    for (options, expected) in table {
        for (file, expected) in files.iter().zip(expected) {
            let mut arguments = vec!["--json", "watch", "--read", file.to_str().unwrap()];
            arguments.extend_from_slice(options);
            let printed = service.netsonde(&arguments);
            let lines = String::from_utf8(printed.stdout)?.lines().count();
            assert_eq!(lines, expected, "{options:?} in {file:?}");
        }
        let all: usize = expected.iter().sum();
        assert_eq!(
            service.packets(options).len(),
            all,
            "{options:?} in the record"
        );
    }
    let alone = service.netsonde(&["watch", "--last", "1m", "--inner"]);
    assert_eq!(alone.status.code(), Some(2));
    let why = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(
        why.contains("--inner needs --host, --port or --proto"),
        "{why}"
    );
    Ok(())
}

/// A hello of TLS whose server name comes last, behind `padding` bytes.
fn client_hello(server: &str, padding: u16) -> Vec<u8> {
    let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = |kind: u16, value: &[u8]| [&kind.to_be_bytes()[..], &counted(value)].concat();
    let name = [&[0][..], &counted(server.as_bytes())].concat();
    let extensions = [
        extension(21, &vec![0; padding.into()]),
        extension(0, &counted(&name)),
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    // No session, one cipher suite, no compression.
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&counted(&extensions));
    let handshake = [&[1, 0][..], &counted(&body)].concat();
    [&[22, 3, 1][..], &counted(&handshake)].concat()
}

/// Segments of bulk are cut to 128 bytes, but not what says whom a connection is for.
fn openings_of_connections_are_kept() -> Outcome {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let hello = client_hello("www.example.org", 1200);
    for (port, message) in [
        (8443, &hello[..]),
        (
            8080,
            b"GET /a-path HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
        ),
        (2222, b"SSH-2.0-Example\r\n"),
        (5000, &[7; 500]),
    ] {
        let listener = b.run(|| TcpListener::bind((B, port)))?;
        let mut stream = a.run(|| TcpStream::connect((B, port)))?;
        stream.write_all(message)?;
        let mut read = vec![0; message.len()];
        listener.accept()?.0.read_exact(&mut read)?;
    }
    service.until("all is taken in", settled);
    let kept = service.packets(&["--store", "connections"]);
    let find = |port: u64, protocol: &str| {
        let found = kept
            .iter()
            .find(|packet| packet["destination_port"] == port && packet["protocol"] == protocol);
        found.unwrap_or_else(|| panic!("no {protocol} to {port}: {kept:#?}"))
    };
    let tls = find(8443, "tls");
    assert_eq!(tls["server_name"], "www.example.org");
    assert_eq!(tls["captured_bytes"], tls["length_bytes"]);
    assert!(
        find(8080, "http")["summary"]
            .as_str()
            .unwrap()
            .ends_with("GET /a-path HTTP/1.1")
    );
    assert!(
        find(2222, "ssh")["summary"]
            .as_str()
            .unwrap()
            .contains("SSH-2.0-Example")
    );
    let bulk = service.packets(&["--store", "bulk", "--port", "5000"]);
    let data = bulk
        .iter()
        .find(|packet| number(&packet["length_bytes"]) > 500)
        .unwrap();
    assert_eq!(data["captured_bytes"], 128);
    Ok(())
}

/// Two UDP packets to port 5000 in VLAN 100, as raw frames.
fn send_tagged(a: &Host) -> Outcome {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&a.mac("e0")?);
    frame.extend_from_slice(&[
        0x81, 0, 0, 100, 8, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend_from_slice(&[0, 7, 0x13, 0x88, 0, 10, 0, 0, 1, 2]);
    a.run(|| -> std::io::Result<()> {
        let index = nix::net::if_::if_nametoindex("e0")?;
        let packet = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::empty(),
            None,
        )?;
        for _ in 0..2 {
            traffic::send_frame(&packet, index, &frame)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn watch_follows_new_packets() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_netsonde"))
        .arg("--socket")
        .arg(service.socket())
        .args(["watch", "--json", "--port", "5000", "-c", "10"])
        .stdout(Stdio::piped())
        .spawn()?;
    service.until("it is connected", |status| {
        number(&status["clients"]["connected"]) >= 2
    });
    a.run(|| traffic::numbered_udp(TO, 10, 18, Some(100)))?;
    let mut printed = String::new();
    watch.stdout.take().unwrap().read_to_string(&mut printed)?;
    assert!(watch.wait()?.success());
    let ports = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert_eq!(
        ports
            .filter(|packet| packet["destination_port"] == 5000)
            .count(),
        10,
        "{printed}"
    );
    Ok(())
}

fn configuration_selects_interfaces() -> Outcome {
    let (a, b) = pair();
    lab::veth(&a, "e1", &b, "e1")?;
    a.address("e1", "10.1.0.1/24")?;
    b.address("e1", "10.1.0.2/24")?;
    let config = "[interfaces]\nexclude = [\"e1\"]\npromiscuous = [\"e0\"]\n\
        [listeners]\njoin = false\n\
        [recorder.snap]\nbulk = 64\n\
        [[recorder.rule]]\nstore = \"names\"\nudp_ports = [5000]\n";
    let service = Service::with_config(&b, config, &[]);
    let other = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 2), 5000);
    a.run(|| traffic::ping(B.into(), PATIENCE))?.unwrap();
    a.run(|| traffic::ping((*other.ip()).into(), PATIENCE))?
        .unwrap();
    a.run(|| traffic::numbered_udp(TO, 5, 1000, None))?;
    a.run(|| traffic::numbered_udp(SocketAddrV4::new(B, 5001), 5, 1000, None))?;
    a.run(|| traffic::numbered_udp(other, 5, 1000, None))?;
    let recorded = |store: &str| number(&service.store(store)["recorded"]);
    service.until("all is taken in", |status| {
        let left_out = entry(&status["interfaces"], "interface", "e1");
        settled(status)
            && recorded("names") >= 5
            && recorded("bulk") >= 5
            && number(&left_out["skipped"]) >= 5
    });
    let own = service.packets(&["--store", "names", "--port", "5000"]);
    assert_eq!(own.len(), 5);
    assert!(
        own.iter().all(|packet| packet["captured_bytes"] == 1042),
        "whole, by the rule"
    );
    let bulk = service.packets(&["--store", "bulk", "--port", "5001"]);
    assert!(bulk.len() == 5 && bulk.iter().all(|packet| packet["captured_bytes"] == 64));
    let all = service.packets(&[]);
    assert!(all.iter().all(|packet| packet["interface"] != "e1"));
    let interfaces: Value = serde_json::from_str(&service.ask(&["interfaces", "--json"]))?;
    let e0 = entry(&interfaces["interfaces"], "interface", "e0");
    assert_eq!(e0["promiscuity"], 1);
    assert!(
        entry(&e0["memberships"], "group", "224.0.0.2").is_null(),
        "joined nothing"
    );
    assert_eq!(service.status()["promiscuous"], true);
    let unknown = Command::new(env!("CARGO_BIN_EXE_netsonded"))
        .arg("--check")
        .arg("--config")
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()?;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("unknown table"));
    Ok(())
}

fn crashing_engines_restart_with_backoff() -> Outcome {
    let (_a, b) = pair();
    let service = Service::start(&b, &[]);
    let mut killed = 0;
    // Twenty deaths are free; from then on there is a wait, and it grows.
    let waited = wait_until(PATIENCE, || {
        if let Some(status) = service.try_status() {
            let pid = status["engine"]["pid"].as_i64().unwrap() as i32;
            killed += i32::from(kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
        // The first wait is 100 ms. Deaths in a row are summed up, with the last one's wait.
        service.log().split("wait_ms=").skip(1).any(|text| {
            let digits = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            text[..digits].parse::<u64>().is_ok_and(|wait| wait >= 200)
        })
    });
    assert!(waited, "{killed} kills:\n{}", service.log());
    assert!(killed >= 20, "{killed}");
    service.until("it answers again", |status| !status["engine"].is_null());
    Ok(())
}

fn control_socket_abuse() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let connect = || UnixStream::connect(service.socket()).unwrap();
    let answers = || {
        let start = Instant::now();
        service.status();
        start.elapsed()
    };
    let bad = |bytes: &[u8]| -> Value {
        let mut stream = connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        read_reply(&mut stream).unwrap_or_else(|error| json!({ "closed": error.to_string() }))
    };
    // Each is told what was wrong, or finds the connection closed; nobody else notices.
    assert_eq!(
        bad(b"{\"method\":\"\xff\xfe\"}\0")["error"],
        "io.netsonde.Service.BadRequest"
    );
    assert_eq!(bad(b"[1,2]\0")["error"], "io.netsonde.Service.BadRequest");
    assert_eq!(bad(b"{}\0")["error"], "io.netsonde.Service.BadRequest");
    let mut deep = vec![b'['; 50_000];
    deep.push(0);
    assert_eq!(bad(&deep)["error"], "io.netsonde.Service.BadRequest");
    let nested = format!(
        "{{\"method\":\"io.netsonde.Service.Status\",\"parameters\":{}{}}}\0",
        "{\"a\":".repeat(10_000),
        "1".to_owned() + &"}".repeat(10_000)
    );
    let _ = bad(nested.as_bytes());
    assert_eq!(
        bad(b"{\"method\":\"io.netsonde.Service.Nope\"}\0")["error"],
        "org.varlink.service.MethodNotFound"
    );
    assert_eq!(
        bad(b"{\"method\":\"io.netsonde.Capture.Capture\",\"parameters\":{\"selection\":{\"bogus\":1}}}\0")["error"],
        "org.varlink.service.InvalidParameter"
    );
    // A gigabyte without an end: closed at 64 KiB.
    let mut endless = connect();
    endless.set_write_timeout(Some(PATIENCE))?;
    let chunk = vec![b'x'; 1 << 16];
    let mut written = 0u64;
    while written < 1 << 30 {
        match endless.write(&chunk) {
            Ok(more) => written += more as u64,
            Err(_) => break,
        }
    }
    assert!(written < 16 << 20, "{written} bytes were taken");
    // A request that never ends, a reader that never reads, and thousands that do nothing.
    let mut half = connect();
    half.write_all(b"{\"method\":")?;
    let mut deaf = connect();
    let call = json!({ "method": "io.netsonde.Capture.Capture", "more": true,
        "parameters": { "selection": { "follow": true } } });
    deaf.write_all(format!("{call}\0").as_bytes())?;
    let mut idle = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..10_000 {
        if let Ok(stream) = UnixStream::connect(service.socket()) {
            // The service closes all but a few; what is kept open here is the abuse.
            idle.push(stream);
        }
        if idle.len() > 900 {
            idle.drain(..450);
        }
        if round % 500 == 0 {
            slowest = slowest.max(answers());
        }
    }
    println!("status within {slowest:?} under 10,000 connections");
    let status = service.status();
    assert!(
        number(&status["clients"]["connected"]) <= number(&status["clients"]["limit_per_uid"]) + 1
    );
    let hits = |name: &str| number(&entry(&status["limits"], "name", name)["hits"]);
    assert!(hits("clients of one user") + hits("clients refused") > 1000);
    // The half-written request is given up after its five seconds.
    half.set_read_timeout(Some(PATIENCE))?;
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest);
    Ok(())
}

fn two_services_do_not_share_a_socket() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let second = a.run(|| {
        Command::new(env!("CARGO_BIN_EXE_netsonded"))
            .arg("--allow-root")
            .arg("--socket")
            .arg(service.socket())
            .output()
    })?;
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another netsonded"));
    service.status();
    let file = service.directory.path().join("file");
    std::fs::write(&file, "not a socket")?;
    let third = a.run(|| {
        Command::new(env!("CARGO_BIN_EXE_netsonded"))
            .arg("--allow-root")
            .arg("--socket")
            .arg(&file)
            .output()
    })?;
    assert_eq!(third.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file)?, "not a socket");
    Ok(())
}

fn pypi_varlink_client_works() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let mut stream = UnixStream::connect(service.socket())?;
    let info = raw_call(
        &mut stream,
        &json!({ "method": "org.varlink.service.GetInfo" }),
    )?;
    let interfaces = info["parameters"]["interfaces"].as_array().unwrap().clone();
    for interface in &interfaces {
        let call = json!({ "method": "org.varlink.service.GetInterfaceDescription",
            "parameters": { "interface": interface } });
        let text = raw_call(&mut stream, &call)?["parameters"]["description"]
            .as_str()
            .unwrap()
            .to_owned();
        varlink_parser::IDL::try_from(text.as_str())
            .map_err(|error| format!("{interface}: {error}"))?;
    }
    let python = || support::program("python3");
    let has_module = python()
        .args(["-c", "import varlink"])
        .stderr(Stdio::null())
        .status()?
        .success();
    if !has_module {
        support::skip_here("python3's module varlink is not installed");
    }
    let script = "import sys, varlink\n\
        with varlink.Client.new_with_address('unix:' + sys.argv[1]) as client:\n\
        \x20 print(' '.join(sorted(client.get_interfaces())))\n\
        \x20 with client.open('io.netsonde.Service') as service:\n\
        \x20   print(len(service.Status()['recorder']))\n\
        \x20 with client.open('io.netsonde.Ping') as ping:\n\
        \x20   told = list(ping.Ping(targets=['127.0.0.1'], options={'count': 2, 'interval_ns': 10000000}, _more=True))\n\
        \x20   print(told[-1]['total']['received'])\n";
    let output = python()
        .args(["-c", script])
        .arg(service.socket())
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    assert_eq!(
        printed,
        "io.netsonde.Capture io.netsonde.Inventory io.netsonde.Multicast io.netsonde.Ping io.netsonde.Service io.netsonde.Trace org.varlink.service\n7\n2\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A keeper that is killed in the call that reads and clears the kernel's counts takes them with it. Brought
/// about by taking as much out of the memory in which it keeps them.
fn counts_lost_with_a_keeper_are_declared() -> Outcome {
    use std::os::unix::fs::FileExt;
    let (a, _b) = pair();
    let mut service = Service::start(&a, &[]);
    support::ping::ping(&service, &["-c", "20", "-i", "0.01", "10.0.0.2"]);
    let sums = |status: &Value| {
        let ring = entry(&status["rings"], "name", "control");
        (number(&ring["packets"]), number(&ring["processed"]))
    };
    let all = |status: &Value| support::settled(status) && sums(status).1 >= 40;
    service.until("all are taken in", all);
    let descriptors = format!("/proc/{}/fd", service.keeper());
    let is_it = |path: &std::path::Path| {
        let target = std::fs::read_link(path);
        target.is_ok_and(|target| target.to_string_lossy().contains("netsonde counters"))
    };
    let found = std::fs::read_dir(&descriptors)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| is_it(path));
    let Some(path) = found else {
        support::skip_here("its descriptors are not ours to open");
    };
    let counts = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)?;
    let mut packets = [0; 8];
    counts.read_exact_at(&mut packets, 0)?;
    let fewer = u64::from_ne_bytes(packets) - 7;
    counts.write_all_at(&fewer.to_ne_bytes(), 0)?;
    let lacks = |status: &Value| sums(status).0 + 7 == sums(status).1;
    assert!(lacks(&service.status()), "{:#}", service.status()["rings"]);
    let missing = |status: &Value| {
        let name = "packets missing from counters after a keeper crash";
        number(&entry(&status["limits"], "name", name)["hits"])
    };
    // Packets that the kernel has counted while their block is still open hide as many of the missing ones
    // until they are taken in.
    let status = service.until("what is missing is found out", |status| {
        support::settled(status) && missing(status) >= 7
    });
    assert_eq!(missing(&status), 7);
    Ok(())
}
