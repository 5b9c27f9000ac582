//! A taken-over engine: a program with the engine's own descriptors (pidfd_getfd(2)) does with each what the engine
//! could, and more, since no filter is in its way. Afterwards a fresh engine and the keeper must be as before. What
//! the filters themselves refuse is in tests/sandbox.rs.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b
//! ```
//!
//! `Victim` judges: a new engine in time, settings as configured, clients served, probes answered, and the keeper ends
//! at once after SIGTERM.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used)]

mod support;

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use netsonde::daemon::channel::handover::{EngineRequest, send_request};
use netsonde::daemon::channel::sending::{self, MAX_REQUESTS, Message, ProbeAnswer, ProbeRequest};
use netsonde::lab::{Host, traffic, wait_until};
use netsonde_core::probe::transport::UDP_FLOWS;
use netsonde_core::wire::cursor::sum;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    MsgFlags, Shutdown, SockaddrIn, SockaddrIn6, getsockopt, sendto, shutdown, sockopt,
};
use nix::unistd::Pid;
use serde_json::Value;
use support::taken::Taken;
use support::{PATIENCE, Service, Test, entry, number, pair};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let tests: [(&str, Test); 16] = [
        ("settings_are_out_of_reach", settings_are_out_of_reach),
        (
            "shared_descriptions_cannot_stop_the_keeper",
            shared_descriptions_cannot_stop_the_keeper,
        ),
        (
            "allowed_calls_on_every_descriptor_leave_no_trace",
            allowed_calls_on_every_descriptor_leave_no_trace,
        ),
        (
            "a_listener_that_was_shut_down_ends_the_service",
            a_listener_that_was_shut_down_ends_the_service,
        ),
        ("listeners_cannot_send", listeners_cannot_send),
        (
            "the_example_firewall_lets_probes_pass_alone",
            the_example_firewall_lets_probes_pass_alone,
        ),
        ("only_probes_are_sent", only_probes_are_sent),
        ("probes_have_a_rate", probes_have_a_rate),
        ("ports_of_probes_cannot_send", ports_of_probes_cannot_send),
        ("every_request_has_a_rate", every_request_has_a_rate),
        (
            "promiscuous_mode_is_as_configured",
            promiscuous_mode_is_as_configured,
        ),
        (
            "groups_are_joined_as_configured",
            groups_are_joined_as_configured,
        ),
        (
            "a_scribbled_record_stops_no_engine",
            a_scribbled_record_stops_no_engine,
        ),
        (
            "a_scribbled_ring_stops_no_engine",
            a_scribbled_ring_stops_no_engine,
        ),
        (
            "a_record_that_stops_engines_is_given_up",
            a_record_that_stops_engines_is_given_up,
        ),
        ("root_needs_a_user_to_become", root_needs_a_user_to_become),
    ];
    support::main_with(&tests, 2)
}

/// Times within which everything is as before: those promised of the program as it is released. Without
/// optimization, and next to other tests, it has more.
fn limits() -> (Duration, Duration) {
    let factor = if cfg!(debug_assertions) { 5 } else { 1 };
    (
        factor * Duration::from_millis(200),
        factor * Duration::from_millis(100),
    )
}

/// A service whose engine is to be taken over.
struct Victim {
    a: Host,
    b: Host,
    service: Service,
    before: Value,
}

/// What a configuration decides, as the service shows it.
fn configured(service: &Service) -> Value {
    let status = service.status();
    let mut shown = serde_json::Map::new();
    for key in ["sandbox", "promiscuous", "permission", "you"] {
        shown.insert(key.into(), status[key].clone());
    }
    let own: Value = serde_json::from_str(&service.ask(&["interfaces", "--json"])).unwrap();
    let e0 = entry(&own["interfaces"], "interface", "e0");
    shown.insert("promiscuity".into(), e0["promiscuity"].clone());
    shown.insert("memberships".into(), e0["memberships"].clone());
    shown.into()
}

impl Victim {
    fn start(config: &str) -> Victim {
        let (a, b) = pair();
        let service = Service::with_config(&a, config, &[]);
        let joins = !config.contains("join = false");
        let joined = || {
            let shown = configured(&service);
            entry(&shown["memberships"], "group", "224.0.0.2").is_object() == joins
        };
        assert!(wait_until(PATIENCE, joined), "{}", service.log());
        let before = configured(&service);
        Victim {
            a,
            b,
            service,
            before,
        }
    }

    fn engine(&self) -> Taken {
        Taken::or_skip(self.service.engine())
    }

    /// Ends the engine, as it would end when it is found out, and compares what comes after it with what was there
    /// before the attack.
    fn is_as_before(&self, attack: &str) {
        let engine = self.service.engine();
        let start = Instant::now();
        let _ = kill(engine, Signal::SIGKILL);
        self.is_replaced(attack, engine, start);
    }

    /// The same for an engine that was ended at `start`.
    fn is_replaced(&self, attack: &str, engine: Pid, start: Instant) {
        let is_new = |status: &Value| {
            let pid = status["engine"]["pid"].as_i64();
            pid.is_some() && pid != Some(engine.as_raw().into())
        };
        self.service.until("another engine", is_new);
        let (within, _) = limits();
        let took = start.elapsed();
        assert!(took < within, "{attack}: {took:?}\n{}", self.service.log());
        let same = || configured(&self.service) == self.before;
        assert!(
            wait_until(PATIENCE, same),
            "{attack}: {:#}, and not {:#}\n{}",
            configured(&self.service),
            self.before,
            self.service.log()
        );
        for target in ["10.0.0.2", "fd00::2"] {
            let answered = self.service.ask(&["ping", "-c", "2", "-i", "0.05", target]);
            assert!(answered.contains("2 received"), "{attack}: {answered}");
        }
        println!("{attack}: another engine after {took:?}");
    }

    /// The keeper answers SIGTERM at once.
    fn ends_at_once(mut self, attack: &str) {
        let keeper = self.service.keeper();
        let (_, within) = limits();
        let start = Instant::now();
        kill(keeper, Signal::SIGTERM).unwrap();
        let log = self.service.directory.path().join("log");
        // An engine that was stopped needs a second signal, from the keeper, and its time.
        let answers = || std::fs::read_to_string(&log).unwrap().contains("ending");
        assert!(wait_until(PATIENCE, answers), "{attack}");
        let took = start.elapsed();
        assert!(took < within, "{attack}: SIGTERM after {took:?}");
        assert_eq!(self.service.stop(), Some(0), "{attack}");
        println!("{attack}: SIGTERM answered after {took:?}");
    }
}

/// No engine holds the memory of its settings, or any other that the next one gets, by a descriptor; and none can
/// write the counters through its mapping.
fn settings_are_out_of_reach() -> Outcome {
    let victim = Victim::start("[permission]\npayload = [\"root\"]\n");
    let engine = victim.engine();
    let shown: Vec<String> = engine.all().into_iter().map(|(_, shown)| shown).collect();
    assert!(shown.len() > 8, "{shown:?}");
    for word in ["memfd:", "netsonde settings", "anon_inode:[pidfd]"] {
        assert!(engine.shown(word).is_empty(), "{shown:?}");
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", victim.service.engine()))?;
    let mapped: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains("memfd:"))
        .collect();
    assert_eq!(mapped.len(), 2, "{mapped:?}");
    for line in mapped {
        let is_counters = line.contains("netsonde counters");
        assert_eq!(line.contains(" r--s "), is_counters, "{line}");
    }
    // What the keeper keeps and passes on is not what an engine could have changed.
    victim.is_as_before("settings");
    // The end of an engine that made a forbidden call, and its word in the log.
    let (engine, start) = (victim.service.engine(), Instant::now());
    kill(engine, Signal::SIGSYS)?;
    victim.is_replaced("a forbidden call", engine, start);
    let log = victim.service.log();
    assert!(
        log.contains("a system call that its sandbox forbids"),
        "{log}"
    );
    victim.ends_at_once("settings");
    Ok(())
}

/// Whether a descriptor leads to the keeper: requests of the engine, or probes by TCP and UDP.
fn is_channel(descriptor: &OwnedFd) -> bool {
    let kind = socket2::SockRef::from(descriptor).r#type();
    kind.is_ok_and(|kind| kind == socket2::Type::SEQPACKET)
}

/// Every descriptor that the engine shares is made blocking and filled, nothing is read from it, and the engine is
/// stopped: the keeper counts, reloads, replaces the engine, and ends.
fn shared_descriptions_cannot_stop_the_keeper() -> Outcome {
    let mut victim = Victim::start("");
    let keeper = victim.service.keeper();
    let stopped = victim.service.engine();
    let engine = victim.engine();
    kill(stopped, Signal::SIGSTOP)?;
    let mut filled = 0;
    for (descriptor, _) in engine.all() {
        // What is no request ends the engine: tests/abuse/process.rs.
        if is_channel(&descriptor) {
            continue;
        }
        let Ok(flags) = fcntl(&descriptor, FcntlArg::F_GETFL) else {
            continue;
        };
        let flags = OFlag::from_bits_retain(flags);
        // Filled without blocking this test; blocking afterwards.
        let _ = fcntl(&descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK));
        let is_file = nix::sys::stat::fstat(&descriptor)
            .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
        for _ in 0..if is_file { 0 } else { 100_000 } {
            if nix::unistd::write(&descriptor, &[1; 8]).is_err() {
                break;
            }
            filled += 1;
        }
        let _ = fcntl(&descriptor, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK));
    }
    // Wakes the keeper, which wakes the engine, for as long as nothing is read.
    let mac = victim.a.mac("e0")?;
    let ends = ("10.0.0.2".parse()?, "10.0.0.1:5000".parse()?);
    victim
        .b
        .run(|| traffic::numbered_frames("e0", mac, ends, 20_000, 18, None))?;
    kill(keeper, Signal::SIGHUP)?;
    let log = || victim.service.log();
    assert!(
        wait_until(PATIENCE, || log().contains("SIGHUP:")),
        "{}",
        log()
    );
    let start = Instant::now();
    kill(stopped, Signal::SIGKILL)?;
    victim.is_replaced(&format!("{filled} writes"), stopped, start);
    victim.ends_at_once("filled descriptors");
    Ok(())
}

/// Makes every call of the engine's list that changes anything, on one descriptor, with the arguments that the list
/// allows. Returns how many had an effect.
fn call_everything(descriptor: &OwnedFd, is_channel: bool) -> u32 {
    let raw = descriptor.as_raw_fd();
    let quiet = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let mut effects = 0;
    let mut count = |worked: bool| effects += u32::from(worked);
    for mode in -1..7 {
        for (level, name) in [
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        ] {
            let (value, length) = (std::ptr::from_ref(&mode).cast(), size_of::<i32>() as u32);
            // SAFETY: the pointer and the length describe `mode`, which the kernel only reads.
            count(unsafe { libc::setsockopt(raw, level, name, value, length) } == 0);
        }
    }
    count(fcntl(descriptor, FcntlArg::F_SETPIPE_SZ(1 << 20)).is_ok());
    count(nix::unistd::lseek(descriptor, 0, nix::unistd::Whence::SeekCur).is_ok());
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    count(
        epoll
            .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .is_ok(),
    );
    let mut bytes = [0; 4096];
    for flags in [
        MsgFlags::MSG_DONTWAIT,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_ERRQUEUE,
    ] {
        for _ in 0..1000 {
            let received = nix::sys::socket::recv(raw, &mut bytes, flags);
            count(received.is_ok());
            if received.is_err() {
                break;
            }
        }
    }
    count(nix::sys::socket::accept(raw).is_ok_and(|accepted| nix::unistd::close(accepted).is_ok()));
    let status = fcntl(descriptor, FcntlArg::F_GETFL).unwrap_or(0);
    let waits = status & libc::O_NONBLOCK == 0;
    if !waits {
        count(nix::unistd::read(descriptor, &mut bytes).is_ok());
        count(nix::sys::uio::pread(descriptor, &mut bytes, 0).is_ok());
    }
    // What is no request ends an engine: tests/abuse/process.rs.
    if !is_channel {
        for fill in [0, 8, 0x45, 0x60, 0x80, 0xff] {
            let message = [fill; 64];
            count(nix::sys::socket::send(raw, &message, quiet).is_ok());
            let to: SockaddrIn = "10.0.0.2:0"
                .parse::<std::net::SocketAddrV4>()
                .unwrap()
                .into();
            count(sendto(raw, &message, &to, quiet).is_ok());
            let to: SockaddrIn6 = "[fd00::2]:0"
                .parse::<std::net::SocketAddrV6>()
                .unwrap()
                .into();
            count(sendto(raw, &message, &to, quiet).is_ok());
            let slices = [std::io::IoSlice::new(&message)];
            let sent = nix::sys::socket::sendmsg::<()>(raw, &slices, &[], quiet, None);
            count(sent.is_ok());
            count(!waits && nix::unistd::write(descriptor, &message).is_ok());
        }
        // A last message without an answer to anything before.
        let _ = getsockopt(descriptor, sockopt::SocketError);
    }
    effects
}

/// Every descriptor of the engine with every allowed call that changes something.
fn allowed_calls_on_every_descriptor_leave_no_trace() -> Outcome {
    let victim = Victim::start("");
    let engine = victim.engine();
    let all = engine.all();
    let number = all.len();
    let mut effects = 0;
    for (descriptor, _) in all {
        effects += call_everything(&descriptor, is_channel(&descriptor));
    }
    assert!(effects > 50, "{effects}");
    victim.is_as_before(&format!("{effects} calls on {number} descriptors"));
    // Fragments as they are asked for, whatever the option was.
    for (arguments, answered) in [
        (
            &["ping", "-c", "1", "-s", "3000", "10.0.0.2"][..],
            "1 received",
        ),
        (&["ping", "-c", "1", "-s", "3000", "fd00::2"], "1 received"),
        (
            &["ping", "-c", "1", "-M", "do", "-s", "3000", "10.0.0.2"],
            "0 received",
        ),
    ] {
        let output = victim.service.netsonde(arguments);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(answered), "{arguments:?}: {printed}");
    }
    victim.ends_at_once("allowed calls");
    Ok(())
}

fn control_socket(engine: &Taken) -> OwnedFd {
    let listening = |descriptor: &OwnedFd| getsockopt(descriptor, sockopt::AcceptConn) == Ok(true);
    let mut all = engine.all().into_iter().map(|(descriptor, _)| descriptor);
    all.find(listening).expect("an engine serves a socket")
}

/// What the filter does not let an engine do, others that hold the socket can: the service says so, and ends, since
/// only another socket helps. Until then the engine does not spin.
fn a_listener_that_was_shut_down_ends_the_service() -> Outcome {
    for how in [Shutdown::Read, Shutdown::Both] {
        let mut victim = Victim::start("");
        let socket = control_socket(&victim.engine());
        shutdown(socket.as_raw_fd(), how)?;
        let keeper = victim.service.keeper();
        let start = Instant::now();
        let is_over = || {
            let stat = std::fs::read_to_string(format!("/proc/{keeper}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        assert!(wait_until(PATIENCE, is_over), "{}", victim.service.log());
        let log = victim.service.log();
        for word in ["the listening socket was shut down", "opens a new one"] {
            assert!(log.contains(word), "{log}");
        }
        assert_eq!(victim.service.stop(), Some(3), "{log}");
        println!("{how:?}: the service ended after {:?}", start.elapsed());
    }
    Ok(())
}

/// The raw sockets of an engine, with their protocols.
fn raw_sockets(engine: &Taken) -> Vec<(OwnedFd, i32)> {
    let is_raw = |(descriptor, _): (OwnedFd, String)| {
        let socket = socket2::SockRef::from(&descriptor);
        let kind = socket.r#type().ok()?;
        let protocol = i32::from(socket.protocol().ok()??);
        let is_ip = [libc::IPPROTO_ICMP, libc::IPPROTO_IGMP, libc::IPPROTO_ICMPV6];
        let is_netlink = socket.domain().ok()? == socket2::Domain::from(libc::AF_NETLINK);
        let is_it = kind == socket2::Type::RAW && !is_netlink && is_ip.contains(&protocol);
        is_it.then_some((descriptor, protocol))
    };
    engine.all().into_iter().filter_map(is_raw).collect()
}

/// Sends a router advertisement, a redirect, an IGMP leave: none of them is a probe.
fn forge(socket: &OwnedFd, protocol: i32) -> nix::Result<usize> {
    let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
    match protocol {
        libc::IPPROTO_ICMPV6 => {
            let to = SocketAddrV6::new("fd00::2".parse().unwrap(), 0, 0, 0);
            sendto(socket, &[134; 64], &SockaddrIn6::from(to), flags)
        }
        _ => {
            let to = SocketAddrV4::new([10, 0, 0, 2].into(), 0);
            sendto(socket, &[5; 64], &SockaddrIn::from(to), flags)
        }
    }
}

/// Of the raw sockets only the two that probe can send: no IGMP at all.
fn listeners_cannot_send() -> Outcome {
    let victim = Victim::start("");
    let engine = victim.engine();
    let (mut mute, mut sending) = (Vec::new(), Vec::new());
    for (socket, protocol) in raw_sockets(&engine) {
        let sent = forge(&socket, protocol);
        match sent {
            Ok(_) => sending.push(protocol),
            Err(Errno::EPIPE) => mute.push(protocol),
            Err(error) => return Err(error.into()),
        }
    }
    for list in [&mut mute, &mut sending] {
        // Those that are waited for exist twice.
        list.sort_unstable();
        list.dedup();
    }
    assert_eq!(
        mute,
        [libc::IPPROTO_ICMP, libc::IPPROTO_IGMP, libc::IPPROTO_ICMPV6]
    );
    assert_eq!(sending, [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6]);
    // With headers of its own no socket sends, even for who may set the option: no source address is forged.
    for (socket, protocol) in raw_sockets(&engine) {
        let on = 1i32;
        let (value, length) = (std::ptr::from_ref(&on).cast(), size_of::<i32>() as u32);
        let (level, name) = match protocol {
            libc::IPPROTO_ICMPV6 => (libc::IPPROTO_IPV6, libc::IPV6_HDRINCL),
            _ => (libc::IPPROTO_IP, libc::IP_HDRINCL),
        };
        let raw = socket.as_raw_fd();
        // SAFETY: the pointer and the length describe `on`, which the kernel only reads.
        let set = unsafe { libc::setsockopt(raw, level, name, value, length) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        let sent = if level == libc::IPPROTO_IPV6 {
            let to: SockaddrIn6 = "[fd00::2]:0".parse::<std::net::SocketAddrV6>()?.into();
            sendto(raw, &[0x60; 64], &to, MsgFlags::MSG_NOSIGNAL)
        } else {
            let to: SockaddrIn = "10.0.0.2:0".parse::<std::net::SocketAddrV4>()?.into();
            sendto(raw, &[0x45; 64], &to, MsgFlags::MSG_NOSIGNAL)
        };
        assert_eq!(sent, Err(Errno::EPIPE), "{protocol}");
        let off = 0i32;
        if sending.contains(&protocol) && !mute.is_empty() {
            let value = std::ptr::from_ref(&off).cast();
            // SAFETY: as above.
            unsafe { libc::setsockopt(raw, level, name, value, length) };
        }
    }
    // They still receive: short messages and those that their filter cuts.
    let heard = |key: &str| {
        let shown = victim.service.ask(&["interfaces", "--json", "e0"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        number(&shown["interfaces"][0]["listened"][key])
    };
    let before = ["icmp_heard", "icmp6_heard"].map(heard);
    victim.b.run(|| -> std::io::Result<()> {
        use socket2::{Domain, Protocol, Socket, Type};
        let v4 = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        let v6 = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        for length in [8, 600] {
            // Echo requests; the kernel adds the checksum of ICMPv6.
            let mut message = vec![0; length];
            message[..4].copy_from_slice(&[8, 0, 0xf7, 0xff]);
            v4.send_to(
                &message,
                &std::net::SocketAddr::from(([10, 0, 0, 1], 0)).into(),
            )?;
            message[..4].copy_from_slice(&[128, 0, 0, 0]);
            let to: std::net::SocketAddr = "[fd00::1]:0".parse().unwrap();
            v6.send_to(&message, &to.into())?;
        }
        Ok(())
    })?;
    let receives = || {
        let now = ["icmp_heard", "icmp6_heard"].map(heard);
        now[0] >= before[0] + 2 && now[1] >= before[1] + 2
    };
    assert!(wait_until(PATIENCE, receives), "{before:?}");
    victim.is_as_before("forged messages");
    Ok(())
}

/// The rules that the package shows limit the probe sockets to echo requests, and nothing of the kernel's own.
fn the_example_firewall_lets_probes_pass_alone() -> Outcome {
    let victim = Victim::start("");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(path.join("packaging/nftables/netsonde.nft"))?;
    // Here root opened the sockets.
    support::load_rules(&victim.a, &rules.replace("skuid \"netsonde\"", "skuid 0"));
    let mut refused = 0;
    for (socket, protocol) in raw_sockets(&victim.engine()) {
        let sent = forge(&socket, protocol);
        refused += u32::from(sent == Err(Errno::EPERM));
        assert!(sent.is_err(), "{protocol}: {sent:?}");
    }
    assert!(refused >= 2, "{refused}");
    // Neighbors are resolved again: by the kernel, for echo requests that pass.
    support::inside(&victim.a, "ip", &["neigh", "flush", "all"]);
    victim.is_as_before("a firewall");
    Ok(())
}

/// The channel for probes by TCP and UDP.
fn sending_channel(engine: &Taken) -> OwnedFd {
    let all = engine.all();
    // The first is that of requests, standard input, of which there are others.
    let requests = all[0].1.clone();
    let mut others = all.into_iter().filter(|(_, shown)| *shown != requests);
    let found = others.find(|(descriptor, _)| is_channel(descriptor));
    found.expect("an engine requests probes").0
}

/// Requests probes, and returns the error number of each.
fn request(channel: &OwnedFd, requests: &[ProbeRequest]) -> Vec<i32> {
    let mut all = Vec::new();
    for part in requests.chunks(MAX_REQUESTS) {
        assert!(wait_until(PATIENCE, || sending::send_all(channel, part).is_ok()));
        let (mut count, mut answers) = (0, None);
        let is_answered = || {
            if let Message::Some(number, got) = sending::receive::<ProbeAnswer>(channel) {
                (count, answers) = (number, Some(got));
            }
            answers.is_some()
        };
        assert!(wait_until(PATIENCE, is_answered));
        all.extend(answers.unwrap()[..count].iter().map(|answer| answer.errno));
    }
    all
}

/// A probe that an engine has reason to request.
fn probe(protocol: u8, source: &str, target: &str) -> ProbeRequest {
    let [source, target] = [source, target].map(|text| text.parse::<IpAddr>().unwrap());
    ProbeRequest {
        number: 7,
        ifindex: 0,
        target: sending::address_bytes(target),
        source: sending::address_bytes(source),
        flow_label: 0,
        token: *b"123456789012",
        port: 443,
        flow: 3,
        size: if protocol == 17 { 56 } else { 0 },
        family: if target.is_ipv4() { 4 } else { 6 },
        protocol,
        hop_limit: 9,
        traffic_class: 0,
        lives: 0,
        reserved: 0,
    }
}

/// Of segments and datagrams an engine can have sent what a probe is, from addresses of this host, to single hosts.
fn only_probes_are_sent() -> Outcome {
    let victim = Victim::start("");
    let channel = sending_channel(&victim.engine());
    kill(victim.service.engine(), Signal::SIGSTOP)?;
    let heard = victim.b.run(|| {
        [libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(|protocol| {
            use socket2::{Domain, Protocol, Socket, Type};
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)));
            let socket = socket.unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
    });
    let (v4, v6) = (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"));
    let tcp = probe(6, v4.0, v4.1);
    let udp = probe(17, v4.0, v4.1);
    let lives = |probe: ProbeRequest| ProbeRequest {
        lives: 1,
        flow: 5555,
        ..probe
    };
    let labeled = |flow_label| ProbeRequest {
        flow_label,
        ..lives(probe(6, v6.0, v6.1))
    };
    let good = [
        tcp,
        udp,
        probe(6, v6.0, v6.1),
        probe(17, v6.0, v6.1),
        lives(tcp),
        labeled(0xf_ffff),
    ];
    assert_eq!(request(&channel, &good), [0; 6]);
    // Along a connection only TCP, with a TTL, and the label of IPv6.
    let mut bad = vec![
        lives(udp),
        lives(probe(17, v6.0, v6.1)),
        ProbeRequest {
            hop_limit: 0,
            ..lives(tcp)
        },
        ProbeRequest {
            size: 20,
            ..lives(tcp)
        },
        ProbeRequest {
            flow_label: 1,
            ..lives(tcp)
        },
        ProbeRequest {
            flow_label: 1,
            ..probe(6, v6.0, v6.1)
        },
        labeled(0x10_0000),
        labeled(u32::MAX),
    ];
    for protocol in [6, 17] {
        for source in [
            "10.0.0.2",
            "10.0.0.77",
            "8.8.8.8",
            "0.0.0.0",
            "224.0.0.1",
            "10.0.0.255",
        ] {
            bad.push(probe(protocol, source, v4.1));
            bad.push(lives(probe(protocol, source, v4.1)));
        }
        for source in ["fd00::2", "fd00::77", "2001:db8::1", "::", "ff02::1"] {
            bad.push(probe(protocol, source, v6.1));
        }
        for target in [
            "10.0.0.255",
            "255.255.255.255",
            "224.0.0.1",
            "0.0.0.0",
            "0.0.0.9",
            "240.0.0.1",
        ] {
            bad.push(probe(protocol, v4.0, target));
        }
        for target in ["ff02::1", "ff0e::1", "::", "::ffff:10.0.0.2"] {
            bad.push(probe(protocol, v6.0, target));
        }
        let good = if protocol == 6 { tcp } else { udp };
        bad.extend([
            ProbeRequest { port: 0, ..good },
            ProbeRequest { flow: 64, ..good },
            ProbeRequest {
                flow: u16::MAX,
                ..good
            },
            ProbeRequest {
                flow: 0,
                ..lives(good)
            },
            ProbeRequest { lives: 2, ..good },
            ProbeRequest {
                reserved: 1,
                ..good
            },
            ProbeRequest { family: 6, ..good },
            ProbeRequest { family: 0, ..good },
            ProbeRequest {
                ifindex: 77_777,
                ..good
            },
        ]);
    }
    for size in [1, 20, u16::MAX] {
        bad.push(ProbeRequest { size, ..tcp });
    }
    for size in [0, 13, 8_953, u16::MAX] {
        bad.push(ProbeRequest { size, ..udp });
    }
    for protocol in [0, 1, 2, 41, 58, 89, 132, 255] {
        bad.push(ProbeRequest { protocol, ..tcp });
    }
    let answers = request(&channel, &bad);
    for (request, errno) in bad.iter().zip(&answers) {
        assert_ne!(*errno, 0, "{request:?}");
    }
    // What arrived is what was right, from the right address; only probes along a flow have a wrong checksum.
    // A last one, behind which nothing can come.
    assert_eq!(request(&channel, &[tcp, udp]), [0, 0]);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let all_arrived = || {
        for socket in &heard {
            let (raw, mut bytes) = (socket.as_raw_fd(), [0u8; 2048]);
            let flags = MsgFlags::MSG_DONTWAIT;
            while let Ok(length) = nix::sys::socket::recv(raw, &mut bytes, flags) {
                seen.push(bytes[..length].to_vec());
            }
        }
        seen.len() >= 5
    };
    assert!(wait_until(PATIENCE, all_arrived));
    assert_eq!(seen.len(), 5);
    for packet in &seen {
        assert_eq!(packet[12..20], [10, 0, 0, 1, 10, 0, 0, 2], "{packet:?}");
        let (segment, protocol) = (&packet[20..], packet[9]);
        let pseudo = sum(&packet[12..20], u32::from(protocol) + segment.len() as u32);
        let is_right = sum(segment, pseudo) == 0xffff;
        let lives = segment[..2] == 5555u16.to_be_bytes();
        assert_eq!(is_right, !lives, "{packet:?}");
        if protocol == 6 {
            // Along a connection an empty acknowledgment of nothing, else a SYN with its options.
            let expected = if lives { (0x10, 20) } else { (0x02, 28) };
            assert_eq!((segment[13], segment.len()), expected);
            assert_eq!(segment[8..12], [0; 4]);
        }
    }
    victim.is_as_before(&format!("{} requests", bad.len()));
    // What is no request at all ends the engine.
    let size = size_of::<ProbeRequest>();
    for length in [1, size - 1, size + 1, size * 33] {
        let engine = victim.service.engine();
        let channel = sending_channel(&victim.engine());
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        nix::sys::socket::send(channel.as_raw_fd(), &vec![1; length], flags)?;
        drop(channel);
        victim.is_replaced(&format!("{length} bytes"), engine, Instant::now());
        assert!(victim.service.log().contains("invalid request for a probe"));
    }
    victim.ends_at_once("probes");
    Ok(())
}

/// The keeper has a limit of its own, and serves everything else meanwhile.
fn probes_have_a_rate() -> Outcome {
    let victim = Victim::start("[ping]\nrate = 2000\n");
    let channel = sending_channel(&victim.engine());
    kill(victim.service.engine(), Signal::SIGSTOP)?;
    let tcp = probe(6, "10.0.0.1", "10.0.0.2");
    let start = Instant::now();
    let (mut sent, mut limited) = (0u64, 0u64);
    for _ in 0..400 {
        for errno in request(&channel, &[tcp; MAX_REQUESTS]) {
            match errno {
                0 => sent += 1,
                sending::LIMITED => limited += 1,
                other => panic!("{other}"),
            }
        }
    }
    let took = start.elapsed();
    let most = 500.0 + 2000.0 * took.as_secs_f64() + 1.0;
    assert!(
        sent as f64 <= most && limited > 0,
        "{sent} in {took:?}, {limited} refused"
    );
    println!("{sent} sent in {took:?}, {limited} refused");
    // Answers that nobody reads stop nothing.
    let mut unread = 0;
    while unread < 5_000 && start.elapsed() < PATIENCE {
        unread += usize::from(sending::send_all(&channel, &[tcp; MAX_REQUESTS]).is_ok());
    }
    drop(channel);
    victim.is_as_before(&format!("{unread} messages without a reader"));
    let status = victim.service.status();
    let refused = entry(
        &status["limits"],
        "name",
        "probes by TCP and UDP that the keeper sends a second",
    );
    assert!(number(&refused["hits"]) >= limited, "{status:#}");
    victim.ends_at_once("a rate");
    Ok(())
}

/// The sockets that reserve ports and receive replies.
fn ports_of_probes_cannot_send() -> Outcome {
    let victim = Victim::start("");
    let mut count = 0;
    for (socket, _) in victim.engine().all() {
        let reference = socket2::SockRef::from(&socket);
        let is_ip = reference
            .domain()
            .is_ok_and(|domain| domain == socket2::Domain::IPV6);
        if !is_ip
            || !reference
                .r#type()
                .is_ok_and(|kind| kind == socket2::Type::DGRAM)
        {
            continue;
        }
        count += 1;
        let raw = socket.as_raw_fd();
        for to in ["[fd00::2]:9", "[::ffff:10.0.0.2]:9", "[::1]:9"] {
            let to: SockaddrIn6 = to.parse::<SocketAddrV6>()?.into();
            let sent = sendto(raw, &[1; 20], &to, MsgFlags::MSG_NOSIGNAL);
            assert_eq!(sent, Err(Errno::EPIPE));
            // Nor connected, by whoever may connect it.
            nix::sys::socket::connect(raw, &to)?;
            let sent = nix::sys::socket::send(raw, &[1; 20], MsgFlags::MSG_NOSIGNAL);
            assert_eq!(sent, Err(Errno::EPIPE));
        }
    }
    // Those that are waited for exist twice.
    assert_eq!(count, 2 * UDP_FLOWS);
    victim.ends_at_once("ports");
    Ok(())
}

/// An engine that asks too often is replaced, whatever it asks for.
fn every_request_has_a_rate() -> Outcome {
    let victim = Victim::start("");
    for request in EngineRequest::ALL {
        let engine = victim.service.engine();
        let channel = victim.engine().descriptor(0)?;
        let start = Instant::now();
        let gone = || kill(engine, None).is_err();
        while !gone() && start.elapsed() < PATIENCE {
            let _ = send_request(&channel, request, 1);
        }
        drop(channel);
        victim.is_replaced(&format!("{request:?}"), engine, Instant::now());
        let log = victim.service.log();
        assert!(
            log.contains(&format!("too many requests ({request:?})")),
            "{log}"
        );
    }
    victim.ends_at_once("requests");
    Ok(())
}

/// The index of an interface of a host.
fn index(host: &Host, name: &str) -> u32 {
    host.run(|| nix::net::if_::if_nametoindex(name)).unwrap()
}

fn promiscuous_mode_is_as_configured() -> Outcome {
    for (config, expected) in [
        ("", 0),
        ("[interfaces]\npromiscuous = [\"e1\"]\n", 0),
        ("[interfaces]\npromiscuous = [\"e0\"]\n", 1),
    ] {
        let victim = Victim::start(config);
        let channel = victim.engine().descriptor(0)?;
        for ifindex in [
            index(&victim.a, "e0"),
            index(&victim.a, "lo"),
            0,
            77_777,
            u32::MAX,
        ] {
            send_request(&channel, EngineRequest::Promiscuous, ifindex)?;
        }
        drop(channel);
        let refused = || victim.service.log().contains("not configured; ignored");
        assert!(wait_until(PATIENCE, refused), "{}", victim.service.log());
        assert_eq!(configured(&victim.service)["promiscuity"], expected);
        victim.is_as_before("promiscuous mode");
    }
    Ok(())
}

fn groups_are_joined_as_configured() -> Outcome {
    for config in ["", "[listeners]\njoin = false\n"] {
        let victim = Victim::start(config);
        let channel = victim.engine().descriptor(0)?;
        for (request, ifindex) in [
            (EngineRequest::Leave, index(&victim.a, "e0")),
            (EngineRequest::Join, index(&victim.a, "lo")),
            (EngineRequest::Join, 77_777),
            (EngineRequest::Leave, u32::MAX),
        ] {
            send_request(&channel, request, ifindex)?;
        }
        drop(channel);
        victim.is_as_before("groups");
    }
    Ok(())
}

/// Bytes that depend on nothing but their seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Whatever a client may ask of the record.
fn ask_everything(service: &Service) {
    for arguments in [
        &["status"][..],
        &["interfaces"],
        &["neighbors"],
        &["events", "--last", "1d"],
        &["mcast", "groups"],
        &["mcast", "queriers"],
        &["talkers"],
        &["watch", "--last", "all", "-c", "100"],
        &["watch", "--last", "1h", "icmp"],
    ] {
        let output = service.netsonde(arguments);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some_and(|code| code < 2),
            "{arguments:?}: {printed}\n{}",
            service.log()
        );
    }
}

/// Waits until the engine has done all that it does by itself, and is the same then.
fn stays(service: &Service, what: &str) {
    let starts = |status: &Value| number(&status["engine"]["starts"]);
    let engine = service.engine();
    let polls = service.status()["engine"]["uptime_ms"].clone();
    std::thread::sleep(Duration::from_millis(1500));
    let status = service.status();
    assert_eq!(
        status["engine"]["pid"].as_i64(),
        Some(engine.as_raw().into()),
        "{what}: {} starts, {polls}\n{}",
        starts(&status),
        service.log()
    );
}

/// Offset of the first copy of marks and counters in the record, which begins with the time of its creation.
const LEDGER: u64 = 4096;

/// Offset of the second copy, which begins with the same.
fn second_ledger(record: &OwnedFd) -> Result<u64, Box<dyn std::error::Error>> {
    let begin = |at: u64| -> nix::Result<[u8; 8]> {
        let mut bytes = [0; 8];
        nix::sys::uio::pread(record, &mut bytes, at as i64)?;
        Ok(bytes)
    };
    let first = begin(LEDGER)?;
    for at in (2 * LEDGER..1 << 20).step_by(4096) {
        if begin(at)? == first {
            return Ok(at);
        }
    }
    Err("the record has no second copy".into())
}

/// The record is memory that the last engine may have filled with anything: the next one reads it as such.
fn a_scribbled_record_stops_no_engine() -> Outcome {
    // Of one service at most 16 engines: after 20 deaths in a short time the keeper delays the next.
    for service in 0..2 {
        scribble(Victim::start(""), 16 * service..16 * (service + 1))?;
    }
    Ok(())
}

fn scribble(mut victim: Victim, rounds: Range<u64>) -> Outcome {
    let victim = {
        let keeper = Taken::or_skip(victim.service.keeper());
        let memory = keeper.shown("netsonde recorder").pop().ok_or("no record")?;
        let length = nix::sys::stat::fstat(&memory)?.st_size as u64;
        let mut noise = Noise(u64::from(std::process::id()) << 20 | rounds.start | 1);
        println!("seed {:#x}", noise.0);
        for round in rounds {
            victim
                .service
                .ask(&["ping", "-c", "5", "-i", "0.01", "10.0.0.2"]);
            let engine = victim.service.engine();
            kill(engine, Signal::SIGSTOP)?;
            // All of it; only marks and counters; only the packets; a single number of each copy.
            let head = 1 << 20;
            let places: Vec<u64> = match round % 4 {
                0 => (0..length - 8).step_by(4096).collect(),
                1 => (LEDGER..head).step_by(8).collect(),
                2 => (head..length - 8).step_by(512).collect(),
                _ => {
                    let at = LEDGER + 8 * (noise.next() % 100);
                    vec![at, at + second_ledger(&memory)? - LEDGER]
                }
            };
            let word = noise.next();
            for at in places {
                let value = match noise.next() % 4 {
                    _ if round % 4 == 3 => {
                        [u64::MAX, u64::MAX - 2, 1 << 63, word][word as usize % 4]
                    }
                    0 => u64::MAX,
                    1 => 0,
                    2 => u64::from(noise.next() as u32),
                    _ => noise.next(),
                };
                nix::sys::uio::pwrite(&memory, &value.to_ne_bytes(), at as i64)?;
            }
            let start = Instant::now();
            kill(engine, Signal::SIGKILL)?;
            victim.is_replaced(&format!("round {round}"), engine, start);
            ask_everything(&victim.service);
            if round % 4 == 3 {
                stays(&victim.service, &format!("round {round}"));
            }
        }
        let _ = victim.service.keeper();
        victim
    };
    victim.ends_at_once("a scribbled record");
    Ok(())
}

/// The rings are mapped for writing. Kernel and next engine find their way again.
fn a_scribbled_ring_stops_no_engine() -> Outcome {
    let mut victim = Victim::start("");
    let keeper = Taken::or_skip(victim.service.keeper());
    let is_packet = |descriptor: &OwnedFd| {
        let socket = socket2::SockRef::from(descriptor);
        socket
            .domain()
            .is_ok_and(|domain| domain == socket2::Domain::PACKET)
    };
    let all = keeper.all().into_iter().map(|(descriptor, _)| descriptor);
    let rings: Vec<OwnedFd> = all.filter(is_packet).collect();
    assert_eq!(rings.len(), 2);
    let status = victim.service.status();
    let mut noise = Noise(u64::from(std::process::id()) << 20 | 1);
    println!("seed {:#x}", noise.0);
    for round in 0..6 {
        let engine = victim.service.engine();
        kill(engine, Signal::SIGSTOP)?;
        for (ring, (name, block)) in rings
            .iter()
            .zip([("control", 64 << 10), ("bulk", 512 << 10)])
        {
            let capacity =
                number(&entry(&status["rings"], "name", name)["capacity_bytes"]) as usize;
            let length = capacity.try_into()?;
            let (both, shared) = (
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
            );
            // SAFETY: a new mapping at an address that the kernel chooses.
            let mapping = unsafe { mmap(None, length, both, shared, ring.as_fd(), 0) }?;
            for start in (0..capacity).step_by(block) {
                let write = |at: usize, value: u32| {
                    // SAFETY: aligned, and within the mapping.
                    unsafe {
                        mapping
                            .cast::<u32>()
                            .add((start + at) / 4)
                            .write_volatile(value)
                    };
                };
                for at in (0..512).step_by(4) {
                    write(
                        at,
                        match noise.next() % 3 {
                            _ if round % 2 == 1 => 0,
                            0 => 0,
                            1 => u32::MAX,
                            _ => noise.next() as u32,
                        },
                    );
                }
                if round % 2 == 1 {
                    // Passed on, with four billion packets, of which each leads to itself: no next one, 60
                    // bytes, which begin 82 bytes behind its header.
                    for (at, value) in [(8, 1), (12, u32::MAX), (16, 128)] {
                        write(at, value);
                    }
                    for (at, value) in [(128 + 12, 60), (128 + 16, 60), (128 + 24, 82)] {
                        write(at, value);
                    }
                }
            }
            // SAFETY: mapped above, and not used afterwards.
            unsafe { munmap(mapping, capacity) }?;
        }
        let start = Instant::now();
        kill(engine, Signal::SIGKILL)?;
        let is_new = |status: &Value| {
            let pid = status["engine"]["pid"].as_i64();
            pid.is_some() && pid != Some(engine.as_raw().into())
        };
        victim.service.until("another engine", is_new);
        let took = start.elapsed();
        println!("round {round}: another engine after {took:?}");
        assert!(took < limits().0, "round {round}: {took:?}");
        // New packets arrive in the record, although no mark fits the rings.
        let recent = ["watch", "--json", "--last", "1s", "icmp"];
        let recorded = || victim.service.ask(&recent).lines().count();
        let arrives = wait_until(PATIENCE, || {
            victim.service.ask(&["ping", "-c", "1", "10.0.0.2"]);
            recorded() >= 2
        });
        assert!(arrives, "round {round}:\n{}", victim.service.log());
        stays(&victim.service, &format!("round {round}"));
        ask_everything(&victim.service);
    }
    victim.ends_at_once("a scribbled ring");
    Ok(())
}

/// The child of a process, if it has one.
fn child_of(keeper: Pid) -> Option<Pid> {
    let path = format!("/proc/{keeper}/task/{keeper}/children");
    let children = std::fs::read_to_string(path).ok()?;
    let first = children.split_whitespace().next()?.parse().ok()?;
    Some(Pid::from_raw(first))
}

/// Engines that die before they are ready have one thing in common.
fn a_record_that_stops_engines_is_given_up() -> Outcome {
    let mut victim = Victim::start("");
    let keeper = victim.service.keeper();
    if child_of(keeper).is_none() {
        support::skip_here("this kernel does not tell who is whose child");
    }
    let mut last = victim.service.engine();
    kill(last, Signal::SIGKILL)?;
    let given_up = wait_until(PATIENCE, || {
        let next = child_of(keeper).filter(|next| *next != last);
        // Asked after the child: the engine with the new record starts behind this line, and is not killed.
        let is_given_up = victim.service.log().contains("a new one begins");
        if let Some(next) = next.filter(|_| !is_given_up) {
            let _ = kill(next, Signal::SIGKILL);
            last = next;
        }
        is_given_up
    });
    assert!(given_up, "{}", victim.service.log());
    let status = victim
        .service
        .until("an engine", |status| status["engine"].is_object());
    let reset = entry(&status["gaps"], "kind", "recorder_reset");
    assert!(reset.is_object(), "{status:#}");
    victim.is_as_before("a new record");
    victim.ends_at_once("a new record");
    Ok(())
}

/// Started by root without a user to become, the service refuses, and says what to do.
fn root_needs_a_user_to_become() -> Outcome {
    if !support::has_users() {
        support::skip_here("in a user namespace there is no other user to become");
    }
    if nix::unistd::User::from_name("netsonde")?.is_some() {
        support::skip_here("this machine has a user netsonde");
    }
    let directory = support::folder()?;
    let (a, _b) = pair();
    for more in [&["--check"][..], &[]] {
        let output = a.run(|| {
            Command::new(env!("CARGO_BIN_EXE_netsonded"))
                .arg("--socket")
                .arg(directory.path().join("s"))
                .args(more)
                .stdin(Stdio::null())
                .output()
        })?;
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{printed}");
        for word in [
            "no user netsonde",
            "systemd-sysusers",
            "adduser",
            "--allow-root",
        ] {
            assert!(printed.contains(word), "{printed}");
        }
        assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    }
    let service = Service::start(&a, &[]);
    let said = service.log();
    assert!(said.contains("as --allow-root permits"), "{said}");
    Ok(())
}
