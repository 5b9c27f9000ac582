//! `netsonde events`: every event kind on real links with real packets, logged once; no event on an idle host;
//! the packets that an event points to.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b      (some tests: a wire that drops and delays)
//! ```
//!
//! The judge is the test itself, which made the change; packets are checked by running the printed command.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use netsonde::lab::messages::{Q2, Q3, QueryParams, ethernet, ipv4, query, rtp, udp};
use netsonde::lab::{self, Host, traffic, wait_until};
use netsonde_core::events::Kind;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use support::inside;
use support::mcast::{send_frame, send_frames};
use support::{PATIENCE, Service, Test, number, pair, wired};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        ("link_and_address_changes", link_and_address_changes as Test),
        (
            "neighbor_changes_and_conflicts",
            neighbor_changes_and_conflicts,
        ),
        (
            "claimed_own_address_is_reported",
            claimed_own_address_is_reported,
        ),
        ("querier_changes", querier_changes),
        ("stream_loss_stop_and_resume", stream_loss_stop_and_resume),
        ("probe_loss_begins_and_ends", probe_loss_begins_and_ends),
        ("gaps_are_logged", gaps_are_logged),
        ("foreign_packet_sockets", foreign_packet_sockets),
        (
            "limits_reloads_and_rate_limits",
            limits_reloads_and_rate_limits,
        ),
        (
            "event_stream_survives_an_engine_restart",
            event_stream_survives_an_engine_restart,
        ),
        ("idle_host_logs_no_events", idle_host_logs_no_events),
        (
            "impossible_event_queries_are_rejected",
            impossible_event_queries_are_rejected,
        ),
        ("every_event_kind_has_a_test", every_event_kind_has_a_test),
    ])
}

/// Kinds that a machine like this can't bring about, and where they are tested instead.
const ELSEWHERE: &[(Kind, &str)] = &[
    (Kind::ConflictOver, "an hour: src/core/neighbors/observe.rs"),
    (
        Kind::TwoMasters,
        "two routers: tests/host_doctor/virtual_routers.rs",
    ),
    (
        Kind::TwoMastersOver,
        "a minute: src/core/neighbors/observe.rs",
    ),
    (
        Kind::ClockSet,
        "no namespace has a clock of its own: src/core/events/service.rs",
    ),
    (Kind::Suspended, "likewise"),
    (
        Kind::Suppressed,
        "a minute: src/core/events/limit.rs, and its count in limits_reloads_and_rate_limits",
    ),
];

fn every_event_kind_has_a_test() -> Outcome {
    let source = include_str!("events.rs");
    for kind in Kind::ALL {
        let is_tested = source.contains(&format!("\"{}\"", kind.name()));
        let is_elsewhere = ELSEWHERE.iter().any(|(other, _)| other == kind);
        assert!(
            is_tested != is_elsewhere,
            "{} is tested nowhere, or twice",
            kind.name()
        );
    }
    Ok(())
}

fn events(service: &Service, arguments: &[&str]) -> Vec<Value> {
    let mut words = vec!["--json", "events"];
    words.extend_from_slice(arguments);
    let json_report: Value = serde_json::from_str(&service.ask(&words)).unwrap();
    json_report["events"].as_array().unwrap().clone()
}

/// Waits for an event of this kind and subject.
fn event(service: &Service, kind: &str, subject: &str) -> Value {
    let mut all = Vec::new();
    let mut found = None;
    wait_until(PATIENCE, || {
        all = events(service, &[]);
        found = all
            .iter()
            .find(|event| event["kind"] == kind && event["subject"] == subject)
            .cloned();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("no {kind} of {subject} in {all:#?}\n{}", service.log()))
}

fn says(event: &Value, words: &str) {
    let text = event["text"].as_str().unwrap();
    assert!(text.contains(words), "{words:?} is not in {event}");
}

/// Checks the packets that an event points to, found by the command that is shown with -v. It has a filter
/// expression, so this check alone is skipped where libpcap is not installed.
fn shows_packets(service: &Service, event: &Value, check: impl FnOnce(&[Value]) -> bool) {
    let shown = service.ask(&["-v", "events", event["kind"].as_str().unwrap()]);
    let mut lines = shown.lines();
    let words = event["text"].as_str().unwrap();
    let _ = lines.by_ref().find(|line| line.ends_with(words)).unwrap();
    let command = lines.next().unwrap().trim();
    let (options, filter) = command.split_once(" '").unwrap();
    let mut arguments: Vec<&str> = options.split(' ').collect();
    assert_eq!(arguments[..2], ["netsonde", "watch"]);
    arguments.remove(0);
    arguments.insert(1, "--json");
    arguments.push(filter.trim_end_matches('\''));
    if !support::has_libpcap() {
        return support::report(&format!("packets of {event}"), "libpcap is not installed");
    }
    let lines = service.ask(&arguments);
    let packets: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(check(&packets), "{event}: {packets:#?}");
}

fn link_and_address_changes() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    b.down("e0")?;
    let down = event(&service, "link_down", "e0");
    assert_eq!(
        (&down["severity"], &down["interface"]),
        (&"warning".into(), &"e0".into())
    );
    says(&down, "e0 lost its carrier after");
    b.up("e0")?;
    says(&event(&service, "link_up", "e0"), "e0 is up, after");
    inside(&a, "ip", &["link", "set", "e0", "mtu", "1400"]);
    says(
        &event(&service, "link_changed", "e0"),
        "changed its MTU from 1500 to 1400",
    );
    a.address("e0", "10.0.0.9/24")?;
    says(
        &event(&service, "address_added", "10.0.0.9"),
        "e0: address added: 10.0.0.9/24",
    );
    inside(&a, "ip", &["addr", "del", "10.0.0.9/24", "dev", "e0"]);
    event(&service, "address_removed", "10.0.0.9");
    lab::veth(&a, "x0", &b, "x0")?;
    event(&service, "link_new", "x0");
    a.down("x0")?;
    a.rename("x0", "lan")?;
    says(
        &event(&service, "link_renamed", "lan"),
        "was renamed from x0",
    );
    inside(&a, "ip", &["link", "set", "lan", "promisc", "on"]);
    event(&service, "promiscuous_on", "lan");
    inside(&a, "ip", &["link", "set", "lan", "promisc", "off"]);
    event(&service, "promiscuous_off", "lan");
    a.delete("lan")?;
    event(&service, "link_gone", "lan");
    // Set down by somebody: no warning.
    a.down("e0")?;
    let all = || events(&service, &["link_down", "-I", "e0"]);
    assert!(wait_until(PATIENCE, || all().len() == 2), "{:#?}", all());
    assert_eq!(all()[1]["severity"], "notice");
    // In order, with numbers in a row, and times that do not go back.
    let all = events(&service, &[]);
    for (at, event) in all.iter().enumerate() {
        assert_eq!(number(&event["number"]), at as u64 + 1);
    }
    assert_eq!(events(&service, &["-s", "warning", "link"]).len(), 1);
    assert_eq!(events(&service, &["link", "-n", "2"]).len(), 2);
    // In the service's own log, with fields.
    let log = service.log();
    assert!(
        log.contains("event=link_down severity=warning interface=e0"),
        "{log}"
    );
    Ok(())
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x88];

fn arp(operation: u8, mac: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&octets(sender));
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&octets(target));
    frame
}

fn neighbor_changes_and_conflicts() -> Outcome {
    let (a, b) = pair();
    a.route("0.0.0.0/0", "10.0.0.7")?;
    let service = Service::start(&a, &[]);
    // Heard twice, a second apart: a host. Then another one takes its address, and says so: a failover of this
    // host's gateway.
    let announce = |mac| send_frame(&b, "e0", &arp(2, mac, "10.0.0.7", "10.0.0.7"));
    let is_told = |kind: &str| events(&service, &[kind]).len();
    let mac = "02:00:00:00:00:77";
    assert!(
        wait_until(PATIENCE, || {
            announce(MAC);
            events(&service, &["neighbor_new"])
                .iter()
                .any(|event| event["subject"] == mac)
        }),
        "{:#?}",
        events(&service, &[])
    );
    announce(OTHER);
    let moved = event(&service, "neighbor_moved", "10.0.0.7");
    assert_eq!(moved["severity"], "warning");
    says(
        &moved,
        "this host's gateway, moved from 02:00:00:00:00:77 to 02:00:00:00:00:88 (announced)",
    );
    shows_packets(&service, &moved, |packets| {
        packets
            .iter()
            .any(|packet| packet["link_source"] == "02:00:00:00:00:88")
    });
    // They quarrel: many changes within a minute.
    for _ in 0..6 {
        announce(MAC);
        announce(OTHER);
    }
    let conflict = event(&service, "address_conflict", "10.0.0.7");
    says(
        &conflict,
        "is claimed by 02:00:00:00:00:77 and 02:00:00:00:00:88",
    );
    // Told once, however long it goes on; and moves of what is disputed are none.
    let moves = is_told("neighbor_moved");
    for _ in 0..6 {
        announce(MAC);
        announce(OTHER);
    }
    send_frame(&b, "e0", &arp(2, MAC, "10.0.0.99", "10.0.0.99"));
    send_frame(&b, "e0", &arp(2, OTHER, "10.0.0.99", "10.0.0.99"));
    event(&service, "neighbor_moved", "10.0.0.99");
    assert_eq!(
        (is_told("address_conflict"), is_told("neighbor_moved")),
        (1, moves + 1)
    );
    // Somebody wants the address, and is answered that it is taken.
    send_frame(
        &b,
        "e0",
        &arp(1, [2, 0, 0, 0, 0, 0x99], "0.0.0.0", "10.0.0.99"),
    );
    send_frame(&b, "e0", &arp(2, OTHER, "10.0.0.99", "0.0.0.0"));
    let duplicate = event(&service, "address_duplicate", "10.0.0.99");
    says(
        &duplicate,
        "duplicate address 10.0.0.99: 02:00:00:00:00:99 tried to use it, 02:00:00:00:00:88",
    );
    Ok(())
}

fn claimed_own_address_is_reported() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    send_frame(&b, "e0", &arp(2, MAC, "10.0.0.1", "10.0.0.1"));
    let conflict = event(&service, "address_conflict", "10.0.0.1");
    says(
        &conflict,
        "10.0.0.1, an address of this host, is claimed by",
    );
    shows_packets(&service, &conflict, |packets| {
        packets
            .iter()
            .any(|packet| packet["link_source"] == "02:00:00:00:00:77")
    });
    // And a new engine does not tell it again.
    kill(service.engine(), Signal::SIGKILL)?;
    event(&service, "engine_restart", "engine_restart");
    send_frame(&b, "e0", &arp(2, MAC, "10.0.0.1", "10.0.0.1"));
    service.until("the claim is recorded", |status| {
        number(&support::entry(&status["recorder"], "store", "link")["recorded"]) > 1
    });
    assert_eq!(events(&service, &["address_conflict"]).len(), 1);
    Ok(())
}

fn querier_changes() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let asks = |from: &'static str, how: QueryParams| {
        send_frames(&b, "e0", move |_| {
            std::thread::sleep(Duration::from_millis(200));
            query(from, None, how, 1)
        })
    };
    let first = asks("10.0.0.9", Q3);
    says(
        &event(&service, "querier_elected", "10.0.0.9"),
        "10.0.0.9 is now the IGMPv3 querier on e0",
    );
    let second = asks("10.0.0.5", Q3);
    let changed = event(&service, "querier_changed", "10.0.0.5");
    says(
        &changed,
        "10.0.0.5 is now the IGMPv3 querier on e0: lower address than 10.0.0.9",
    );
    drop(second);
    says(
        &event(&service, "querier_changed", "10.0.0.9"),
        "10.0.0.5 has been silent for",
    );
    drop(first);
    let silent = event(&service, "querier_silent", "10.0.0.9");
    says(&silent, "snooping switches will drop memberships");
    shows_packets(&service, &silent, |packets| !packets.is_empty());
    let third = asks("10.0.0.3", Q3);
    event(&service, "querier_elected", "10.0.0.3");
    drop(third);
    let _older = asks("10.0.0.3", Q2);
    let older = || {
        events(&service, &["querier_changed", "-s", "warning"])
            .into_iter()
            .find(|event| event["subject"] == "10.0.0.3")
    };
    assert!(
        wait_until(PATIENCE, || older().is_some()),
        "{:#?}",
        events(&service, &[])
    );
    says(&older().unwrap(), "changed from IGMPv3 to IGMPv2");
    Ok(())
}

fn stream_loss_stop_and_resume() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let (from, group): (Ipv4Addr, Ipv4Addr) = ("10.0.0.2".parse()?, "239.1.1.1".parse()?);
    let frame = move |number: u64| {
        let packet = ipv4(
            (from, group),
            (17, 1),
            (0, 0),
            &[],
            &udp(from, group, &rtp(number), true),
        );
        ethernet([1, 0, 0x5e, 1, 1, 1], 0x0800, &packet)
    };
    // A packet every 20 ms; for two of 50 it has a gap, after the first hundred.
    let losing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_losing = losing.clone();
    let mut skipped = 0;
    let stream = send_frames(&b, "e0", move |number| {
        std::thread::sleep(Duration::from_millis(10));
        if is_losing.load(std::sync::atomic::Ordering::Relaxed) && number % 50 == 0 {
            skipped += 2;
        }
        frame(number + skipped)
    });
    let has_stream = || service.ask(&["mcast", "streams"]).contains("239.1.1.1");
    assert!(wait_until(PATIENCE, has_stream));
    losing.store(true, std::sync::atomic::Ordering::Relaxed);
    let subject = "239.1.1.1:5000";
    let loss = event(&service, "stream_loss", subject);
    assert_eq!(
        (&loss["severity"], &loss["interface"]),
        (&"warning".into(), &"e0".into())
    );
    shows_packets(&service, &loss, |packets| !packets.is_empty());
    losing.store(false, std::sync::atomic::Ordering::Relaxed);
    says(
        &event(&service, "stream_loss_over", subject),
        "loss ended after",
    );
    drop(stream);
    let stopped = event(&service, "stream_stopped", subject);
    says(&stopped, "from 10.0.0.2 has been silent for");
    let _again = send_frames(&b, "e0", move |number| frame(number + 40_000));
    event(&service, "stream_resumed", subject);
    Ok(())
}

fn probe_loss_begins_and_ends() -> Outcome {
    let (a, _b, wire) = wired();
    let service = Service::start(&a, &[]);
    let mut ping = Command::new(env!("CARGO_BIN_EXE_netsonde"))
        .arg("--socket")
        .arg(service.socket())
        .args(["ping", "-q", "-i", "0.1", "-W", "0.3", "10.0.0.2"])
        .stdout(Stdio::null())
        .spawn()?;
    let answered = || {
        let received = service.ask(&["--json", "interfaces"]);
        let json_report: Value = serde_json::from_str(&received).unwrap();
        let e0 = support::entry(&json_report["interfaces"], "interface", "e0");
        number(&e0["listened"]["icmp_heard"]) > 3
    };
    assert!(wait_until(PATIENCE, answered), "{}", service.log());
    assert_eq!(events(&service, &["loss"]).len(), 0);
    wire.b_to_a(|back| back.drop = Some(lab::wire::every(1)));
    let begun = event(&service, "loss_begun", "10.0.0.2");
    says(&begun, "3 consecutive probes to 10.0.0.2 unanswered: ");
    shows_packets(&service, &begun, |packets| packets.len() >= 3);
    wire.b_to_a(|back| back.drop = None);
    says(
        &event(&service, "loss_ended", "10.0.0.2"),
        "10.0.0.2 answers again, after ",
    );
    assert_eq!(events(&service, &["loss"]).len(), 2);
    kill(nix::unistd::Pid::from_raw(ping.id() as i32), Signal::SIGINT)?;
    ping.wait()?;
    Ok(())
}

fn gaps_are_logged() -> Outcome {
    let (a, b) = pair();
    let service = Service::with_config(&b, "[rings]\nbulk = \"1 MiB\"\n", &[]);
    event(&service, "record_begun", "record");
    // Nobody takes packets out of the ring, and there are more than it holds.
    let engine = service.engine();
    kill(engine, Signal::SIGSTOP)?;
    let to = std::net::SocketAddrV4::new("10.0.0.2".parse()?, 5000);
    a.run(|| traffic::numbered_udp(to, 50_000, 100, None))?;
    kill(engine, Signal::SIGCONT)?;
    let gap = event(&service, "recorder_gap", "ring_drop");
    assert_eq!(gap["severity"], "warning");
    let dropped = support::drops(&service.status());
    says(&gap, &format!("{dropped} packets in"));
    says(&gap, "(bulk ring)");
    kill(service.engine(), Signal::SIGKILL)?;
    says(
        &event(&service, "engine_restart", "engine_restart"),
        "rings and record were kept",
    );
    // What was told before is still there, and told once.
    assert_eq!(events(&service, &["recorder_gap"]).len(), 1);
    Ok(())
}

fn packet_socket(host: &Host) -> Socket {
    let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
    host.run(|| Socket::new(Domain::PACKET, Type::RAW, Some(all)))
        .unwrap()
}

/// Opens a packet socket that the service reports. It reports none that was there at an engine's first poll, so
/// that another one is opened until one was not.
fn reported_packet_socket(host: &Host, service: &Service) -> (Socket, Value) {
    let reported = || events(service, &["sniffer_appeared"]);
    let before = reported().len();
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        let socket = packet_socket(host);
        let mut found = vec![];
        if wait_until(Duration::from_secs(3), || {
            found = reported();
            found.len() > before
        }) {
            assert_eq!(found.len(), before + 1, "{found:#?}");
            return (socket, found.swap_remove(before));
        }
    }
    panic!("{:#?}", events(service, &[]))
}

fn foreign_packet_sockets() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let (socket, appeared) = reported_packet_socket(&a, &service);
    says(
        &appeared,
        "on all interfaces opened, receives all; `netsonde sockets --sniff` shows its process",
    );
    drop(socket);
    event(
        &service,
        "sniffer_gone",
        appeared["subject"].as_str().unwrap(),
    );
    // The service's own sockets are not reported, neither those of the next engine.
    kill(service.engine(), Signal::SIGKILL)?;
    event(&service, "engine_restart", "engine_restart");
    let (_another, _) = reported_packet_socket(&a, &service);
    assert_eq!(events(&service, &["sniffer_appeared"]).len(), 2);
    Ok(())
}

fn limits_reloads_and_rate_limits() -> Outcome {
    let (a, b) = pair();
    let config = "[control]\nclients_per_uid = 2\n";
    let mut service = Service::with_config(&a, config, &[]);
    // A third connection of the same user makes another one leave: a limit.
    let open: Vec<_> = (0..8)
        .filter_map(|_| std::os::unix::net::UnixStream::connect(service.socket()).ok())
        .collect();
    let limit = |service: &Service| {
        events(service, &["limit_hit"]).into_iter().find(|event| {
            event["text"]
                .as_str()
                .unwrap()
                .starts_with("limit reached: ")
        })
    };
    drop(open);
    assert!(
        wait_until(PATIENCE, || limit(&service).is_some()),
        "{:#?}",
        service.status()["limits"]
    );
    std::fs::write(
        service.directory.path().join("netsonde.toml"),
        "[events]\njournal = \"none\"\n",
    )?;
    kill(service.keeper(), Signal::SIGHUP)?;
    event(&service, "settings_reloaded", "configuration");
    // An interface that does not come to rest: some changes are told, all are counted, and the journal is told
    // nothing any more.
    for number in 0..60 {
        let mtu = (1300 + number).to_string();
        inside(&a, "ip", &["link", "set", "e0", "mtu", &mtu]);
    }
    lab::veth(&a, "x0", &b, "x0")?;
    event(&service, "link_new", "x0");
    let all = events(&service, &[]);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &all {
        *kinds.entry(event["kind"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(kinds.get("link_changed"), Some(&20), "{kinds:?}");
    let held = support::entry(
        &service.status()["limits"],
        "name",
        "neighbor changes and events logged one by one",
    );
    assert!(number(&held["hits"]) >= 40, "{held}");
    assert!(
        !service.log().contains("event=link_down"),
        "{}",
        service.log()
    );
    Ok(())
}

fn event_stream_survives_an_engine_restart() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&a, &[]);
    let mut follower = Command::new(env!("CARGO_BIN_EXE_netsonde"))
        .arg("--socket")
        .arg(service.socket())
        .args(["--json", "events", "--follow"])
        .stdout(Stdio::piped())
        .spawn()?;
    let (tell, json_report) = std::sync::mpsc::channel::<Value>();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = tell.send(serde_json::from_str(&line).unwrap());
        }
    });
    let mut last = 0;
    let mut wait = |kind: &str| loop {
        let event = json_report
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no {kind}"));
        // Each once, in order, whatever became of the engine.
        assert_eq!(number(&event["number"]), last + 1, "{event}");
        last += 1;
        if event["kind"] == kind {
            break;
        }
    };
    wait("record_begun");
    b.down("e0")?;
    wait("link_down");
    kill(service.engine(), Signal::SIGKILL)?;
    wait("engine_restart");
    b.up("e0")?;
    wait("link_up");
    kill(
        nix::unistd::Pid::from_raw(follower.id() as i32),
        Signal::SIGINT,
    )?;
    assert_eq!(follower.wait()?.code(), Some(0));
    reader.join().unwrap();
    Ok(())
}

/// A healthy link with traffic, for some seconds: nothing but what is there.
fn idle_host_logs_no_events() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    let json_report = support::ping::ping(&service, &["-c", "30", "-i", "0.1", "10.0.0.2"]);
    json_report.only("replied", 30);
    let kinds: Vec<String> = events(&service, &[])
        .iter()
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .filter(|kind| kind != "record_begun" && kind != "neighbor_new")
        .collect();
    assert_eq!(kinds, Vec::<String>::new());
    assert!(events(&service, &["-s", "warning"]).is_empty());
    Ok(())
}

fn impossible_event_queries_are_rejected() -> Outcome {
    let (a, _b) = pair();
    let service = Service::start(&a, &[]);
    for (arguments, why) in [
        (&["link_dwon"][..], "netsonde-events(7)"),
        (&["-s", "grave"], "info, notice, warning"),
        (&["--last", "soon"], "invalid duration"),
    ] {
        let mut all = vec!["events"];
        all.extend_from_slice(arguments);
        let output = service.netsonde(&all);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(why), "{arguments:?}: {printed}");
    }
    // The service checks for itself.
    let mut stream = std::os::unix::net::UnixStream::connect(service.socket())?;
    for parameters in [
        serde_json::json!({ "kinds": ["nonsense"] }),
        serde_json::json!({ "severity": "grave" }),
        serde_json::json!({ "unknown": 1 }),
    ] {
        let call = serde_json::json!({ "method": "io.netsonde.Inventory.Events", "parameters": parameters });
        let reply = support::raw_call(&mut stream, &call)?;
        assert_eq!(
            reply["error"], "org.varlink.service.InvalidParameter",
            "{reply}"
        );
    }
    // A time that is none, for the command that shows packets.
    let output = service.netsonde(&["watch", "--since", "tomorrow"]);
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}
