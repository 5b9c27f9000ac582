//! `netsonde trace --like` on real kernels: the way is that of the connection, which does not notice.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::path::{Chain, Report, chain, chain_with, trace, ways_behind};
use crate::support::{Test, has_users, inside};
use netsonde::lab::{self, Host};
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

pub const TESTS: &[(&str, Test)] = &[
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
];

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
        crate::support::firewall(&chain.h, "output", rule);
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
    crate::support::firewall(&chain.h, "output", "");
    // r1 translates.
    crate::support::load_rules(
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
        assert!(lab::wait_until(crate::support::PATIENCE, is_known));
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
            lab::wait_until(crate::support::PATIENCE, are_all),
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
        return crate::support::skip("connections of others", "this user namespace has one user");
    }
    chain.service.open_directory();
    let of_user = |json: &[&str]| {
        let mut command = crate::support::program("setpriv");
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
