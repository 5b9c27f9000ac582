//! `netsonde connections` on a router, against the program that made the connections.
//!
//! ```text
//!   c  e0 10.1.0.1 ------ 10.1.0.254 e0  r  e1 10.2.0.254 ------ 10.2.0.1 e0  s
//!         fd01::1          fd01::254          fd02::254            fd02::1
//! ```
//!
//! r has no route to 10.9.0.0/16 and fd09::/16, and says so; those to 10.8.0.0/16 and fd08::/16 lead to s, which drops
//! what is not its own without a word. The judge is what the program did with each of its ports.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netsonde::lab::{Host, traffic, veth, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use support::{PATIENCE, Service, Test, entry, number, pair, settled};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    support::main(&[
        (
            "ten_thousand_connections_of_all_fates",
            ten_thousand_connections_of_all_fates as Test,
        ),
        (
            "floods_evict_no_known_connection",
            floods_evict_no_known_connection,
        ),
        ("forged_resets_change_nothing", forged_resets_change_nothing),
        (
            "names_have_answers_and_failures",
            names_have_answers_and_failures,
        ),
        (
            "processes_are_those_of_the_sockets",
            processes_are_those_of_the_sockets,
        ),
    ])
}

/// Everything is recorded: the program makes more in seconds than the default keeps in minutes.
const WHOLE: &str = "[recorder.budget]\nconnections = \"48 MiB\"\nbulk = \"64 MiB\"\nicmp = \"16 MiB\"\n\
    [recorder.retention]\nconnections = 0\nbulk = 0\nicmp = 0\n";

/// Ports of the server: how it ends what it accepts.
const ECHOES: u16 = 7001;
const CLOSES: u16 = 7002;
const RESETS: u16 = 7003;
const HOLDS: u16 = 7004;
/// Nothing listens there.
const REFUSES: u16 = 7009;
/// First source port of the program.
const FIRST: u16 = 2_000;

fn routed() -> (Host, Host, Host) {
    let [c, r, s] = ["c", "r", "s"].map(|name| Host::new(name).unwrap());
    veth(&c, "e0", &r, "e0").unwrap();
    veth(&r, "e1", &s, "e0").unwrap();
    for (host, interface, addresses) in [
        (&c, "e0", ["10.1.0.1/24", "fd01::1/64"]),
        (&r, "e0", ["10.1.0.254/24", "fd01::254/64"]),
        (&r, "e1", ["10.2.0.254/24", "fd02::254/64"]),
        (&s, "e0", ["10.2.0.1/24", "fd02::1/64"]),
    ] {
        for address in addresses {
            host.address(interface, address).unwrap();
        }
    }
    for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        r.sysctl(name, "1").unwrap();
    }
    for (host, name) in [
        (&r, "net/ipv4/icmp_ratelimit"),
        (&r, "net/ipv6/icmp/ratelimit"),
    ] {
        host.sysctl(name, "0").unwrap();
    }
    // Since Linux 6.12 each namespace has this limit of its own.
    let _ = r.sysctl("net/ipv4/icmp_msgs_per_sec", "1000000");
    let _ = r.sysctl("net/ipv4/icmp_msgs_burst", "1000000");
    c.sysctl("net/ipv4/ip_local_port_range", "20000 60000")
        .unwrap();
    for (host, to, gateway) in [
        (&c, "0.0.0.0/0", "10.1.0.254"),
        (&c, "::/0", "fd01::254"),
        (&s, "10.1.0.0/24", "10.2.0.254"),
        (&s, "fd01::/64", "fd02::254"),
        // Without a route a host answers, with one it drops what it does not forward.
        (&s, "fd08::/16", "fd02::254"),
        (&r, "10.8.0.0/16", "10.2.0.1"),
        (&r, "fd08::/16", "fd02::1"),
    ] {
        host.route(to, gateway).unwrap();
    }
    (c, r, s)
}

/// The same, once the servers of the last one answer.
fn served() -> (Host, Host, Host) {
    let (c, r, s) = routed();
    serve(&s);
    assert!(wait_until(PATIENCE, || c
        .run(|| TcpStream::connect(("10.2.0.1", CLOSES)).is_ok())));
    (c, r, s)
}

/// Starts the servers, which end with this program.
fn serve(s: &Host) {
    for port in [ECHOES, CLOSES, RESETS, HOLDS] {
        for address in ["10.2.0.1", "fd02::1"] {
            let address: IpAddr = address.parse().unwrap();
            let listener = s.run(|| TcpListener::bind((address, port))).unwrap();
            std::thread::spawn(move || accept(&listener, port));
        }
    }
}

fn accept(listener: &TcpListener, port: u16) {
    let mut held = Vec::new();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        match port {
            ECHOES => {
                let mut room = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut room) {
                    let _ = stream.write_all(&room[..length]);
                }
            }
            RESETS => {
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            HOLDS => held.push(stream),
            _ => {}
        }
    }
}

/// A fate, and the end that caused it.
type Fate = (&'static str, Option<&'static str>);

/// What the program did with one of its ports.
#[derive(Debug)]
struct Made {
    to: SocketAddr,
    fate: Fate,
    retransmits: Option<u32>,
}

fn socket(from: IpAddr, port: u16) -> Socket {
    let socket = Socket::new(
        Domain::for_address((from, 0).into()),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((from, port)).into()).unwrap();
    socket
}

/// Number of segments that the kernel sent again (tcpi_total_retrans).
#[allow(unsafe_code)]
fn sent_again(socket: &Socket) -> u32 {
    // SAFETY: all zeros are a valid value of this structure of numbers.
    let mut info: nix::libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<nix::libc::tcp_info>() as nix::libc::socklen_t;
    // SAFETY: pointer and length are those of `info`.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::IPPROTO_TCP,
            nix::libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    info.tcpi_total_retrans
}

/// Makes `count` connections of each family, of all fates in turn, and returns them by source. Those that are to stay
/// open are in the second list.
fn make(c: &Host, count: u16) -> (HashMap<(IpAddr, u16), Made>, Vec<Socket>) {
    let mut made = HashMap::new();
    let mut silent = Vec::new();
    let mut open = Vec::new();
    let quiet = ["10.8.0.1", "fd08::1"].map(|text| text.parse::<IpAddr>().unwrap());
    c.run(|| {
        for (from, server, nowhere, quiet) in [
            ("10.1.0.1", "10.2.0.1", "10.9.0.1", "10.8.0.1"),
            ("fd01::1", "fd02::1", "fd09::1", "fd08::1"),
        ] {
            let [from, server, nowhere, quiet] =
                [from, server, nowhere, quiet].map(|text| text.parse::<IpAddr>().unwrap());
            for at in 0..count {
                let own = FIRST + at;
                let socket = socket(from, own);
                let (to, fate): (SocketAddr, Fate) = match at % 9 {
                    0 => ((server, ECHOES).into(), ("closed", Some("client"))),
                    1 => ((server, CLOSES).into(), ("closed", Some("server"))),
                    2 => ((server, REFUSES).into(), ("refused", None)),
                    3 => ((nowhere, HOLDS).into(), ("refused", None)),
                    4 => ((quiet, HOLDS).into(), ("unanswered", None)),
                    5 => ((server, RESETS).into(), ("reset", Some("server"))),
                    6 => ((server, HOLDS).into(), ("reset", Some("client"))),
                    7 => ((server, HOLDS).into(), ("half_closed", Some("client"))),
                    _ => ((server, HOLDS).into(), ("established", None)),
                };
                // An error that comes while connect(2) still sends is not fatal, and the SYN is sent again after a second.
                let is_slow = matches!(at % 9, 3 | 4);
                socket.set_nonblocking(is_slow).unwrap();
                let outcome = socket.connect(&to.into());
                let in_progress = nix::libc::EINPROGRESS;
                let is_told = outcome
                    .as_ref()
                    .is_err_and(|error| error.raw_os_error() != Some(in_progress));
                match fate.0 {
                    "refused" => assert!(outcome.is_err(), "{to}"),
                    "unanswered" => assert!(outcome.is_err()),
                    // The RST may be faster than the program.
                    "reset" if outcome.is_err() => {
                        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
                        let made_it = Made {
                            to,
                            fate,
                            retransmits: None,
                        };
                        made.insert((from, own), made_it);
                        continue;
                    }
                    _ => outcome.unwrap(),
                }
                match at % 9 {
                    0 => {
                        let mut stream = TcpStream::from(socket);
                        stream.write_all(b"how do you do?").unwrap();
                        stream.read_exact(&mut [0; 14]).unwrap();
                        drop(stream);
                    }
                    1 => {
                        let mut stream = TcpStream::from(socket);
                        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
                    }
                    3 | 4 => silent.push((own, from, to, is_told, socket)),
                    5 => {
                        let mut stream = TcpStream::from(socket);
                        let error = stream.read(&mut [0; 4]).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                        made.insert(
                            (from, own),
                            Made {
                                to,
                                fate,
                                retransmits: None,
                            },
                        );
                        continue;
                    }
                    6 => {
                        socket.set_linger(Some(Duration::ZERO)).unwrap();
                        drop(socket);
                    }
                    7 => {
                        socket.shutdown(std::net::Shutdown::Write).unwrap();
                        open.push(socket);
                    }
                    8 => open.push(socket),
                    _ => {}
                }
                made.insert(
                    (from, own),
                    Made {
                        to,
                        fate,
                        retransmits: None,
                    },
                );
            }
        }
        // Longer than the time within which an answer may come.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(2_300) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let is_quiet = |to: &SocketAddr| quiet.contains(&to.ip());
        for (own, from, to, is_told, socket) in silent {
            let of_program = made.get_mut(&(from, own)).unwrap();
            assert_eq!(of_program.to, to);
            // connect(2) has returned the error, or it is here.
            let error = socket.take_error().unwrap();
            if is_quiet(&to) {
                assert!(error.is_none(), "{error:?}");
            } else if error.is_none() && !is_told {
                // A kernel limits its errors for lack of a route, to six at once.
                of_program.fate.0 = "unanswered";
            }
            if of_program.fate.0 == "unanswered" {
                of_program.retransmits = Some(sent_again(&socket));
            }
            drop(socket);
        }
    });
    (made, open)
}

fn all_taken(service: &Service) {
    service.until("all taken in", settled);
}

fn connections(service: &Service, arguments: &[&str]) -> Value {
    let mut all = vec!["--json", "connections"];
    all.extend_from_slice(arguments);
    serde_json::from_str(&service.ask(&all)).unwrap()
}

fn source(one: &Value) -> (IpAddr, u16) {
    let address = one["source"].as_str().unwrap().parse().unwrap();
    (address, number(&one["source_port"]) as u16)
}

/// Compares the report with the program, one by one.
fn agrees(report: &Value, made: &HashMap<(IpAddr, u16), Made>) {
    let mut by_source: HashMap<(IpAddr, u16), &Value> = HashMap::new();
    for one in report["connections"].as_array().unwrap() {
        assert!(
            by_source.insert(source(one), one).is_none(),
            "twice: {one:#}"
        );
    }
    assert_eq!(by_source.len(), made.len(), "{}", report["not_recorded"]);
    let nowhere = ["10.9.0.1", "fd09::1"].map(|text| text.parse::<IpAddr>().unwrap());
    for (from, expected) in made {
        let one = by_source[from];
        let to = (expected.to.ip().to_string(), u64::from(expected.to.port()));
        assert_eq!(one["destination"], to.0);
        assert_eq!(one["destination_port"], to.1);
        assert_eq!(one["fate"], expected.fate.0, "{expected:?} {one:#}");
        assert_eq!(one["by"].as_str(), expected.fate.1, "{expected:?} {one:#}");
        assert_eq!(one["begin_recorded"], true);
        let is_carried = !nowhere.contains(&expected.to.ip());
        let role = is_carried.then_some("forwards");
        assert_eq!(one["role"].as_str(), role, "{one:#}");
        let interfaces: &[&str] = if is_carried { &["e0", "e1"] } else { &["e0"] };
        assert_eq!(one["interfaces"], serde_json::json!(interfaces));
        assert!(one["ignored"].is_null(), "{one:#}");
        let is_v4 = from.0.is_ipv4();
        let is_answered = !matches!(expected.fate.0, "refused" | "unanswered");
        assert_eq!(one["handshake_ns"].is_u64(), is_answered, "{one:#}");
        assert_eq!(one["client_handshake_ns"].is_u64(), is_answered, "{one:#}");
        if let Some(retransmits) = expected.retransmits {
            assert_eq!(
                number(&one["retransmits"]),
                u64::from(retransmits),
                "{one:#}"
            );
            assert_eq!(
                one["retransmitted"].as_array().map_or(0, Vec::len),
                retransmits as usize
            );
        }
        match (expected.fate.0, expected.to.port()) {
            ("refused", REFUSES) => {
                assert_eq!(one["reset"]["from"], to.0);
                assert!(one["errors"].is_null());
            }
            ("refused", _) => {
                let router = if is_v4 { "10.1.0.254" } else { "fd01::254" };
                assert_eq!(one["errors"][0]["from"], router, "{one:#}");
                assert!(one["reset"].is_null());
            }
            ("closed", ECHOES) => {
                assert_eq!(one["sent_bytes"], 14);
                assert_eq!(one["received_bytes"], 14);
                assert!(one["first_byte_ns"].is_u64(), "{one:#}");
            }
            _ => {}
        }
    }
}

fn ten_thousand_connections_of_all_fates() -> Outcome {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < 12_000 {
        support::skip_here("it takes 12,000 open files");
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(30_000), hard)?;
    let (c, r, s) = routed();
    serve(&s);
    let reachable = || {
        c.run(|| {
            TcpStream::connect(("10.2.0.1", CLOSES)).is_ok()
                && TcpStream::connect(("fd02::1", CLOSES)).is_ok()
        })
    };
    assert!(wait_until(PATIENCE, reachable));
    let service = Service::with_config(&r, WHOLE, &[]);
    let (made, open) = make(&c, 5_000);
    all_taken(&service);
    let status = service.status();
    assert_eq!(support::drops(&status), 0, "{status:#}");
    let begin = Instant::now();
    let live = connections(&service, &["--last", "all"]);
    println!(
        "{} connections in {:?}: {}",
        made.len(),
        begin.elapsed(),
        live["fates"]
    );
    agrees(&live, &made);
    let failed = connections(&service, &["--last", "all", "--failed"]);
    let is_failed = |one: &&Made| matches!(one.fate.0, "refused" | "unanswered" | "reset");
    assert_eq!(
        failed["connections"].as_array().unwrap().len(),
        made.values().filter(is_failed).count()
    );
    let refused = connections(&service, &["--port", "7009", "--host", "fd02::/64"]);
    assert_eq!(number(&refused["fates"]["refused"]), 556);
    // A file has the same.
    let file = service.directory.path().join("all.pcapng");
    let path = file.to_str().unwrap();
    let what = ["tcp", "icmp", "icmp6"]
        .map(|name| ["--proto", name])
        .concat();
    let capture = [&["capture", "--last", "all", "-w", path][..], &what].concat();
    service.ask(&capture);
    let read = connections(&service, &["--read", path]);
    assert_eq!(read["connections"], live["connections"]);
    // And for people.
    let text = service.ask(&["connections", "--port", "7003"]);
    assert!(text.contains("reset by the server after"), "{text}");
    assert!(text.lines().count() > 1_000);
    println!("{}", text.lines().take(3).collect::<Vec<_>>().join("\n"));
    println!(
        "{}",
        service
            .ask(&["connections"])
            .lines()
            .last()
            .unwrap_or_default()
    );
    drop(open);
    Ok(())
}

/// A frame with a SYN of a source of its own.
fn syn_frame(to_mac: [u8; 6], from: Ipv4Addr, number: u64) -> Vec<u8> {
    let to = Ipv4Addr::new(10, 2, 0, 1);
    let segment = traffic::syn(
        from,
        to,
        1_024 + (number % 60_000) as u16,
        HOLDS,
        number as u32,
    );
    let mut frame = to_mac.to_vec();
    frame.extend_from_slice(&[
        2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0,
    ]);
    frame.extend_from_slice(&from.octets());
    frame.extend_from_slice(&to.octets());
    let sum = !(netsonde_core::wire::cursor::sum(&frame[14..34], 0) as u16);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(&segment);
    frame
}

fn floods_evict_no_known_connection() -> Outcome {
    let (c, r, _s) = served();
    // With the default settings: what does not fit is counted.
    let service = Service::start(&r, &[]);
    let known: Vec<TcpStream> = c.run(|| {
        (0..200)
            .map(|_| TcpStream::connect(("10.2.0.1", HOLDS)).unwrap())
            .collect()
    });
    all_taken(&service);
    let mac = r.mac("e0")?;
    let flood = if cfg!(debug_assertions) {
        200_000
    } else {
        2_000_000
    };
    let sent = c.run(|| {
        traffic::frames("e0", flood, Some(100_000), |number, frame| {
            let [_, _, _, _, _, a, b, d] = number.to_be_bytes();
            *frame = syn_frame(mac, Ipv4Addr::new(198, 18 | a & 1, b, d), number);
        })
    })?;
    println!("{:.0} SYNs a second", sent.rate());
    all_taken(&service);
    let report = connections(&service, &["--last", "all"]);
    let mut ports: Vec<u16> = Vec::new();
    for one in report["connections"].as_array().unwrap() {
        if one["source"] == "10.1.0.1" && one["destination_port"] == u64::from(HOLDS) {
            assert_eq!(one["fate"], "established", "{one:#}");
            assert_eq!(one["begin_recorded"], true, "{one:#}");
            ports.push(source(one).1);
        }
    }
    ports.sort_unstable();
    let mut expected: Vec<u16> = known
        .iter()
        .map(|stream| stream.local_addr().unwrap().port())
        .collect();
    expected.sort_unstable();
    assert_eq!(ports, expected);
    // What the record does not hold is said: the SYNs that were counted only.
    let thinned = number(&service.store("connections")["thinned"]);
    let notes = report["not_recorded"].to_string();
    assert_eq!(
        thinned > 0,
        notes.contains("store connections: a sample"),
        "{notes}"
    );
    println!("{thinned} thinned; {notes}");
    Ok(())
}

fn forged_resets_change_nothing() -> Outcome {
    let (c, r, s) = served();
    let service = Service::start(&r, &[]);
    let mut stream = c.run(|| TcpStream::connect(("10.2.0.1", ECHOES)))?;
    stream.write_all(b"one")?;
    stream.read_exact(&mut [0; 3])?;
    let (own, to) = (stream.local_addr()?, Ipv4Addr::new(10, 1, 0, 1));
    // From the server's host, and with its address, but without knowing the numbers.
    s.run(|| {
        traffic::raw_ipv4(to, 6, 50, Some(1_000), |number, segment| {
            let from = Ipv4Addr::new(10, 2, 0, 1);
            let guess = (number as u32).wrapping_mul(0x0503_0201);
            *segment = traffic::syn(from, to, ECHOES, own.port(), guess);
            // RST instead of SYN, and the checksum with it.
            segment[13] = 4;
            let sum = u16::from_be_bytes([segment[16], segment[17]]);
            segment[16..18].copy_from_slice(&(sum.wrapping_sub(2)).to_be_bytes());
        })
    })?;
    all_taken(&service);
    let one = || -> Value {
        let report = connections(&service, &["--port", &own.port().to_string()]);
        assert_eq!(
            report["connections"].as_array().unwrap().len(),
            1,
            "{report:#}"
        );
        report["connections"][0].clone()
    };
    let forged = one();
    assert_eq!(forged["fate"], "established", "{forged:#}");
    assert!(number(&forged["ignored"]) >= 50, "{forged:#}");
    stream.write_all(b"two")?;
    stream.read_exact(&mut [0; 3])?;
    drop(stream);
    service.until("it is closed", |status| {
        settled(status) && one()["fate"] == "closed"
    });
    assert_eq!(one()["by"], "client");
    Ok(())
}

/// Answers to a query: for `there` an address, for `silent` none, for anything else that there is no such name.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let label = query.get(13..13 + usize::from(*query.get(12)?))?;
    let is_there = label == b"there";
    if label == b"silent" {
        return None;
    }
    let mut all = query.to_vec();
    all[2] = 0x81;
    all[3] = if is_there { 0x80 } else { 0x83 };
    if is_there {
        all[7] = 1;
        all.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 2, 0, 1]);
    }
    Some(all)
}

fn query(id: u16, label: &str) -> Vec<u8> {
    let mut all = id.to_be_bytes().to_vec();
    all.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for part in [label, "example"] {
        all.push(part.len() as u8);
        all.extend_from_slice(part.as_bytes());
    }
    all.extend_from_slice(&[0, 0, 1, 0, 1]);
    all
}

fn names_have_answers_and_failures() -> Outcome {
    let (c, r, s) = served();
    let service = Service::start(&r, &[]);
    let server = s.run(|| UdpSocket::bind("10.2.0.1:53"))?;
    std::thread::spawn(move || {
        let mut room = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut room) {
            if let Some(reply) = answer(&room[..length]) {
                std::thread::sleep(Duration::from_millis(30));
                let _ = server.send_to(&reply, from);
            }
        }
    });
    let resolver = c.run(|| UdpSocket::bind("10.1.0.1:0"))?;
    resolver.set_read_timeout(Some(PATIENCE))?;
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 1), 53);
    let mut room = [0; 512];
    // Nobody answers, twice, and no name server is there at all.
    for _ in 0..2 {
        resolver.send_to(&query(9, "silent"), to)?;
        std::thread::sleep(Duration::from_millis(150));
    }
    let closed = c.run(|| UdpSocket::bind("10.1.0.1:0"))?;
    closed.send_to(&query(10, "closed"), "10.1.0.254:53")?;
    for (id, label) in [(1, "there"), (2, "nowhere")] {
        resolver.send_to(&query(id, label), to)?;
        resolver.recv_from(&mut room)?;
    }
    let stream = c.run(|| TcpStream::connect(("10.2.0.1", HOLDS)))?;
    std::thread::sleep(Duration::from_millis(1_100));
    all_taken(&service);
    let report = connections(&service, &[]);
    let name = |name: &str| entry(&report["names"], "name", name);
    let there = name("there.example");
    assert_eq!(there["answer"], serde_json::json!(["10.2.0.1"]));
    assert_eq!(
        (&there["code"], &there["type"]),
        (&"NOERROR".into(), &"A".into())
    );
    assert!(number(&there["duration_ns"]) >= 30_000_000, "{there:#}");
    assert!(there["error"].is_null());
    assert_eq!(name("nowhere.example")["error"], "NXDOMAIN");
    let silent = name("silent.example");
    assert_eq!(
        (&silent["error"], &silent["queries"]),
        (&"no answer".into(), &2.into())
    );
    let refused = name("closed.example");
    assert_eq!(
        refused["error"], "port unreachable from 10.1.0.254",
        "{report:#}"
    );
    // The name is shown at the address that its answer had.
    let named = connections(&service, &["--host", "there.example", "--port", "7004"]);
    let all = named["connections"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{named:#}");
    assert_eq!(source(&all[0]).1, stream.local_addr()?.port());
    assert_eq!(all[0]["name"], "there.example");
    let slow = connections(&service, &["--slow", "25ms"]);
    let slow_names = slow["names"].as_array().unwrap();
    assert!(
        slow_names
            .iter()
            .all(|one| number(&one["duration_ns"]) >= 25_000_000)
    );
    assert!(slow_names.iter().any(|one| one["name"] == "there.example"));
    let text = service.ask(&["connections", "--names", "--failed"]);
    for word in [
        "silent.example",
        "no answer; 2 queries",
        "NXDOMAIN",
        "3 failed",
    ] {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("there.example"), "{text}");
    println!("{text}");
    // Nothing matches.
    let output = service.netsonde(&["connections", "--host", "192.0.2.99"]);
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

fn processes_are_those_of_the_sockets() -> Outcome {
    let (a, b) = pair();
    let service = Service::start(&b, &[]);
    let listener = b.run(|| TcpListener::bind("10.0.0.2:8080"))?;
    let living = a.run(|| TcpStream::connect("10.0.0.2:8080"))?;
    let (accepted, _) = listener.accept()?;
    let gone = a.run(|| TcpStream::connect("10.0.0.2:8080"))?;
    let gone_port = gone.local_addr()?.port();
    drop((gone, listener.accept()?));
    all_taken(&service);
    let report = b.run(|| connections(&service, &["--port", "8080"]));
    let of = |port: u16| -> Value {
        let mut all = report["connections"].as_array().unwrap().iter();
        let found = all.find(|one| source(one).1 == port);
        found.unwrap().clone()
    };
    let one = of(living.local_addr()?.port());
    assert_eq!(
        (&one["role"], &one["fate"]),
        (&"server".into(), &"established".into())
    );
    // Its clients are far, and its own answer takes no time.
    assert!(one["client_handshake_ns"].is_u64() && one["handshake_ns"].is_u64());
    assert_eq!(of(gone_port)["fate"], "closed");
    assert!(of(gone_port)["process"].is_null());
    if nix::unistd::geteuid().is_root() {
        assert_eq!(
            number(&one["pid"]),
            u64::from(std::process::id()),
            "{one:#}"
        );
        let own = std::process::id().to_string();
        let own = b.run(|| connections(&service, &["--process", &own]));
        assert_eq!(own["connections"].as_array().unwrap().len(), 1);
    }
    drop((living, accepted));
    Ok(())
}
