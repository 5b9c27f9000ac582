//! `netsonde sockets` and `netsonde families` on a real kernel: some hundred sockets of every kind that it has,
//! and packet sockets with their owners.
//!
//! ```text
//!   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b
//! ```
//!
//! The judges are ss(8) and /proc/net for the counts, and socket(2) called by the test for the families.
#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

mod support;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, ExitCode};

use netsonde::lab::{Host, wait_until};
use netsonde::linux::diag;
use netsonde::linux::option::set_option;
use netsonde_core::sockets::{self, Detail, listed};
use nix::sys::socket::{NetlinkAddr, bind};
use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use support::{PATIENCE, Service, Test, client, number, pair, skip};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Set for a process that does nothing but hold sockets of AF_VSOCK.
const HOLD_VSOCK: &str = "NETSONDE_TEST_HOLDS_VSOCK";

fn main() -> ExitCode {
    if std::env::var_os(HOLD_VSOCK).is_some() {
        let held: Vec<_> = (0..3)
            .map(|_| raw_socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0))
            .collect();
        println!("{held:?}");
        loop {
            std::thread::park();
        }
    }
    support::main(&[
        (
            "socket_counts_match_ss_and_proc_net",
            socket_counts_match_ss_and_proc_net as Test,
        ),
        (
            "family_support_matches_socket_calls",
            family_support_matches_socket_calls,
        ),
        ("families_show_socket_counts", families_show_socket_counts),
        (
            "both_lists_of_the_kernel_are_read_alike",
            both_lists_of_the_kernel_are_read_alike,
        ),
        ("packet_sockets_are_listed", packet_sockets_are_listed),
        ("selections_find_packets", selections_find_packets),
        (
            "unknown_owners_are_not_guessed",
            unknown_owners_are_not_guessed,
        ),
        (
            "unlisted_sockets_are_declared",
            unlisted_sockets_are_declared,
        ),
    ])
}

/// A socket by the system call alone, or its errno.
fn raw_socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, i32> {
    // SAFETY: only numbers are passed.
    let made = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    if made < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap());
    }
    // SAFETY: a descriptor that the kernel has just made; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// What the client prints as JSON inside a host.
fn report(host: &Host, arguments: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend_from_slice(arguments);
    let output = host.run(|| client("/nonexistent".as_ref(), &all));
    let printed = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {printed}"))
}

/// What it prints for people.
fn text(host: &Host, arguments: &[&str]) -> (String, Option<i32>) {
    let output = host.run(|| client("/nonexistent".as_ref(), arguments));
    let printed = String::from_utf8(output.stdout).unwrap();
    (printed, output.status.code())
}

/// Sockets that live as long as this does.
type Held = Vec<Box<dyn Any + Send>>;

const LISTENERS: usize = 20;
const BOUND: usize = 5;

/// A few hundred sockets of every kind. They are the host's, and of this process.
fn many(host: &Host, folder: &std::path::Path) -> Held {
    host.sysctl("net/ipv4/ping_group_range", "0 0").unwrap();
    let held = host.run(|| {
        let mut held: Held = Vec::new();
        tcp(&mut held);
        udp(&mut held);
        let raw = |domain, kind, protocol: i32| {
            Socket::new(domain, kind, Some(Protocol::from(protocol))).unwrap()
        };
        for protocol in [1, 1, 2, 89, 255] {
            held.push(Box::new(raw(Domain::IPV4, Type::RAW, protocol)));
        }
        for protocol in [58, 58, 255] {
            held.push(Box::new(raw(Domain::IPV6, Type::RAW, protocol)));
        }
        // Only those that are bound have a number, and so a place in the list.
        let ping = raw(Domain::IPV4, Type::DGRAM, 1);
        let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        ping.bind(&anywhere.into()).unwrap();
        held.push(Box::new(ping));
        for protocol in [0x0003u16, 0x88cc, 0x0806, 0] {
            let protocol = i32::from(protocol.to_be());
            held.push(Box::new(raw(Domain::PACKET, Type::RAW, protocol)));
            held.push(Box::new(raw(Domain::PACKET, Type::DGRAM, protocol)));
        }
        unix(&mut held, folder);
        for (protocol, groups) in [(0, 0), (0, 1), (0, 0x11), (15, 1), (16, 0), (4, 0)] {
            held.push(Box::new(netlink(protocol, groups)));
        }
        held
    });
    // Connections that are being closed come to rest.
    const AT_REST: [&str; 5] = ["ESTAB", "LISTEN", "FIN-WAIT-2", "CLOSE-WAIT", "TIME-WAIT"];
    let rests = |(kind, state): &(String, String)| kind != "tcp" || AT_REST.contains(&&**state);
    let is_still = || by_proc(host).keys().all(rests);
    assert!(wait_until(PATIENCE, is_still), "{:?}", by_proc(host));
    held
}

fn tcp(held: &mut Held) {
    for _ in 0..LISTENERS {
        held.push(Box::new(TcpListener::bind("127.0.0.1:0").unwrap()));
        held.push(Box::new(TcpListener::bind("[::1]:0").unwrap()));
    }
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let to = listener.local_addr().unwrap();
        for number in 0..40 {
            let asker = TcpStream::connect(to).unwrap();
            let (answerer, _) = listener.accept().unwrap();
            match number % 4 {
                // Both ends go: TIME-WAIT stays.
                0 => drop((asker, answerer)),
                // One end has said its last word: FIN-WAIT-2 and CLOSE-WAIT.
                1 => {
                    asker.shutdown(std::net::Shutdown::Write).unwrap();
                    held.push(Box::new((asker, answerer)));
                }
                _ => held.push(Box::new((asker, answerer))),
            }
        }
        // Nobody accepts these.
        for _ in 0..3 {
            held.push(Box::new(TcpStream::connect(to).unwrap()));
        }
        held.push(Box::new(listener));
    }
    for _ in 0..BOUND {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&address.into()).unwrap();
        held.push(Box::new(socket));
    }
}

fn udp(held: &mut Held) {
    for number in 0..40u8 {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        match number % 4 {
            0 => socket.connect("127.0.0.1:9").unwrap(),
            1 => {
                let group = Ipv4Addr::new(239, 1, 1, number);
                let (group, by) = (group, Ipv4Addr::new(10, 0, 0, 1));
                socket.join_multicast_v4(&group, &by).unwrap();
            }
            _ => {}
        }
        held.push(Box::new(socket));
        held.push(Box::new(UdpSocket::bind("[::]:0").unwrap()));
    }
    for _ in 0..3 {
        let lite = Some(Protocol::from(136));
        // Kernels from 2026 on may have it no more.
        if let Ok(socket) = Socket::new(Domain::IPV4, Type::DGRAM, lite) {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            socket.bind(&address.into()).unwrap();
            held.push(Box::new(socket));
        }
    }
}

fn unix(held: &mut Held, folder: &std::path::Path) {
    for number in 0..10 {
        let path = folder.join(format!("a path {number}"));
        held.push(Box::new(UnixListener::bind(path).unwrap()));
        let name = format!("netsonde test {} {number}", folder.display());
        let address = <UnixAddress as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
        let socket = UnixDatagram::bind_addr(&address.unwrap()).unwrap();
        held.push(Box::new(socket));
        held.push(Box::new(UnixDatagram::unbound().unwrap()));
        for kind in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
            held.push(Box::new(Socket::pair(Domain::UNIX, kind, None).unwrap()));
        }
    }
}

fn netlink(protocol: i32, groups: u32) -> OwnedFd {
    let socket = raw_socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol).unwrap();
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).unwrap();
    socket
}

/// Counts by kind and state, in the words of ss.
type Counts = BTreeMap<(String, String), u64>;

/// ss(8) names kinds and states its own way.
fn by_netsonde(report: &Value) -> Counts {
    let mut all = Counts::new();
    for one in report["sockets"].as_array().unwrap() {
        let field = |key: &str| one[key].as_str().unwrap_or_default();
        let kind = match (field("family"), field("type"), field("protocol")) {
            ("AF_INET" | "AF_INET6", "SOCK_RAW", _) => "raw",
            ("AF_INET" | "AF_INET6", _, protocol) => protocol,
            ("AF_UNIX", "SOCK_STREAM", _) => "u_str",
            ("AF_UNIX", "SOCK_DGRAM", _) => "u_dgr",
            ("AF_UNIX", "SOCK_SEQPACKET", _) => "u_seq",
            ("AF_NETLINK", _, _) => "nl",
            ("AF_PACKET", "SOCK_RAW", _) => "p_raw",
            ("AF_PACKET", _, _) => "p_dgr",
            (other, _, _) => other,
        };
        let state = match field("state") {
            "established" => "ESTAB",
            "listening" => "LISTEN",
            "time-wait" => "TIME-WAIT",
            "close-wait" => "CLOSE-WAIT",
            "fin-wait-2" => "FIN-WAIT-2",
            "unconnected" | "receiving" | "idle" => "UNCONN",
            other => other,
        };
        *all.entry((kind.into(), state.into())).or_default() += 1;
    }
    all
}

fn by_ss(host: &Host) -> Option<Counts> {
    let mut command = Command::new(support::find("ss")?);
    command.args(["-H", "-a", "-n", "-A", "tcp,udp,raw,unix,packet,netlink"]);
    let output = host.run(|| command.output()).ok()?;
    let mut all = Counts::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split_whitespace();
        let (kind, state) = (words.next()?.to_owned(), words.next()?.to_owned());
        *all.entry((kind, state)).or_default() += 1;
    }
    Some(all)
}

/// The same from /proc/net: the column of the state, in hexadecimal.
fn by_proc(host: &Host) -> Counts {
    let mut all = Counts::new();
    for (file, kind, column) in [
        ("tcp", "tcp", 3),
        ("tcp6", "tcp", 3),
        ("udp", "udp", 3),
        ("udp6", "udp", 3),
        ("udplite", "udplite", 3),
        ("udplite6", "udplite", 3),
        ("raw", "raw", 3),
        ("raw6", "raw", 3),
        ("icmp", "icmp", 3),
    ] {
        for line in host.proc_net(file).lines().skip(1) {
            let state = line.split_whitespace().nth(column).unwrap();
            let state = match state {
                "01" => "ESTAB",
                "05" => "FIN-WAIT-2",
                "06" => "TIME-WAIT",
                "07" => "UNCONN",
                "08" => "CLOSE-WAIT",
                "0A" => "LISTEN",
                other => other,
            };
            *all.entry((kind.into(), state.into())).or_default() += 1;
        }
    }
    for line in host.proc_net("unix").lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = match words[4] {
            "0001" => "u_str",
            "0002" => "u_dgr",
            "0005" => "u_seq",
            other => other,
        };
        let state = match (words[3], words[5]) {
            ("00010000", _) => "LISTEN",
            (_, "03") => "ESTAB",
            _ => "UNCONN",
        };
        *all.entry((kind.into(), state.into())).or_default() += 1;
    }
    for line in host.proc_net("packet").lines().skip(1) {
        let kind = match line.split_whitespace().nth(2) {
            Some("3") => "p_raw",
            _ => "p_dgr",
        };
        *all.entry((kind.into(), "UNCONN".into())).or_default() += 1;
    }
    let netlink = host.proc_net("netlink").lines().count() as u64 - 1;
    all.insert(("nl".into(), "UNCONN".into()), netlink);
    all
}

fn socket_counts_match_ss_and_proc_net() -> Outcome {
    let (a, _b) = pair();
    let folder = support::folder()?;
    let _held = many(&a, folder.path());
    // TIME-WAIT ends by itself, so the count must be the same before and after.
    let (mut before, mut after, mut seen) = (Counts::new(), Counts::new(), Value::Null);
    let is_still = || {
        before = by_proc(&a);
        seen = report(&a, &["sockets"]);
        after = by_proc(&a);
        before == after
    };
    assert!(wait_until(PATIENCE, is_still), "{before:?} {after:?}");
    let mut ours = by_netsonde(&seen);
    // Neither ss nor /proc/net know of sockets that only have a port.
    let bound = ours.remove(&("tcp".into(), "bound".into())).unwrap_or(0);
    match bound {
        0 => skip("TCP sockets that are only bound", "Linux before 6.8")?,
        count => assert_eq!(count as usize, BOUND),
    }
    assert_eq!(ours, after);
    let total: u64 = ours.values().sum();
    assert!(total > 300, "{total}");
    for (kind, state) in [
        ("tcp", "ESTAB"),
        ("tcp", "LISTEN"),
        ("tcp", "TIME-WAIT"),
        ("tcp", "FIN-WAIT-2"),
        ("tcp", "CLOSE-WAIT"),
        ("udp", "ESTAB"),
        ("u_seq", "ESTAB"),
        ("icmp", "UNCONN"),
    ] {
        let key = (kind.to_owned(), state.to_owned());
        assert!(ours.contains_key(&key), "{key:?}");
    }
    // What the summary says is what the list says.
    let summed = seen["summary"].as_array().unwrap().iter();
    let summed: u64 = summed.map(|one| number(&one["sockets"])).sum();
    assert_eq!(summed, total + bound);
    assert_eq!(
        seen["owners"]["sockets_without_known_owner"], 0,
        "{:#}",
        seen["owners"]
    );
    memberships(&seen);
    peers(&seen);
    let (printed, status) = text(&a, &["sockets"]);
    assert_eq!(status, Some(0));
    for line in printed.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    // A screen of those that listen, and how to see the others.
    assert!(
        printed.contains("more: netsonde sockets --listen"),
        "{printed}"
    );
    support::need("ss");
    let (mut ours, mut theirs) = (Counts::new(), Counts::new());
    let agrees = || {
        ours = by_netsonde(&report(&a, &["sockets"]));
        theirs = by_ss(&a).unwrap_or_default();
        for kind in ["icmp", "udplite"] {
            ours.retain(|(one, _), _| one != kind);
        }
        ours.remove(&("tcp".into(), "bound".into()));
        // ss tells its own socket, and tells twice who hears groups: it is compared with /proc/net above.
        ours.retain(|(kind, _), _| kind != "nl");
        theirs.retain(|(kind, _), _| kind != "nl");
        ours == theirs
    };
    // Between the two TIME-WAIT may have ended.
    assert!(
        wait_until(PATIENCE, agrees),
        "netsonde {ours:#?}\nss {theirs:#?}"
    );
    Ok(())
}

/// What sock_diag tells of a socket, /proc/net tells too, as far as it goes: so a kernel without sock_diag
/// has the same sockets.
fn both_lists_of_the_kernel_are_read_alike() -> Outcome {
    let (a, _b) = pair();
    let folder = support::folder()?;
    let _held = many(&a, folder.path());
    let (by_diag, sources) = a.run(diag::sockets);
    let plain: [(&str, Vec<sockets::Socket>); 7] = [
        ("unix", listed::unix(&a.proc_net("unix"))),
        ("tcp", listed::inet(&a.proc_net("tcp"), 6)),
        ("tcp6", listed::inet(&a.proc_net("tcp6"), 6)),
        ("udp", listed::inet(&a.proc_net("udp"), 17)),
        ("udp6", listed::inet(&a.proc_net("udp6"), 17)),
        ("netlink", listed::netlink(&a.proc_net("netlink"))),
        ("packet", listed::packet(&a.proc_net("packet"))),
    ];
    for (list, found) in plain {
        let source = sources.iter().find(|source| source.list == list);
        let is_asked = source.and_then(|source| source.from.as_deref()) == Some("sock_diag");
        if !is_asked {
            skip(list, "this kernel has no sock_diag for it")?;
            continue;
        }
        let mut count = 0;
        for one in found.iter().filter(|one| one.inode != 0) {
            let same = by_diag.iter().find(|same| same.inode == one.inode);
            let same = same.unwrap_or_else(|| panic!("{list}: {one:?}"));
            let report = |of: &sockets::Socket| (of.family, of.protocol, of.state, of.addresses());
            assert_eq!(report(one), report(same), "{list}: {one:?} {same:?}");
            // /proc/net/netlink does not tell the type.
            if list != "netlink" {
                assert_eq!(one.kind, same.kind, "{one:?} {same:?}");
            }
            if list != "unix" && list != "netlink" {
                assert_eq!(one.uid, same.uid, "{one:?} {same:?}");
            }
            if list == "packet" {
                assert_eq!(one.ifindex, same.ifindex);
            }
            match (&one.detail, &same.detail) {
                (
                    Detail::Unix {
                        name, is_abstract, ..
                    },
                    Detail::Unix {
                        name: of,
                        is_abstract: is,
                        ..
                    },
                ) => assert_eq!((name, is_abstract), (of, is)),
                (
                    Detail::Netlink { port, groups, .. },
                    Detail::Netlink {
                        port: of,
                        groups: all,
                        ..
                    },
                ) => assert_eq!((port, groups), (of, all)),
                _ => {}
            }
            count += 1;
        }
        assert!(count > 5, "{list}: {count}");
    }
    Ok(())
}

/// Is that process among the holders? A program that this one has just started holds all of its sockets too,
/// until it runs.
fn held_by(one: &Value, pid: u32) -> bool {
    let holders = one["processes"].as_array().unwrap();
    holders.iter().any(|held| held["pid"] == pid)
}

/// The ten groups of `udp`, each with the process that joined it.
fn memberships(report: &Value) {
    let groups = report["memberships"].as_array().unwrap().iter();
    let known: Vec<&Value> = groups
        .filter(|one| one["group"].as_str().unwrap().starts_with("239.1.1."))
        .collect();
    assert_eq!(known.len(), 10);
    for one in known {
        assert_eq!(one["interface"], "e0");
        assert!(held_by(&one["sockets"][0], std::process::id()), "{one:#}");
    }
}

/// Each socket of a pair names the other one, and who holds it.
fn peers(report: &Value) {
    let all = report["sockets"].as_array().unwrap();
    let with_peer = all.iter().filter(|one| !one["peer"].is_null());
    let mut count = 0;
    for one in with_peer {
        let is_peer = |other: &&Value| other["inode"] == one["peer"]["inode"];
        let other = all.iter().find(is_peer).unwrap();
        assert_eq!(other["peer"]["inode"], one["inode"]);
        assert!(held_by(&one["peer"], std::process::id()), "{one:#}");
        count += 1;
    }
    assert_eq!(count, 60);
}

const TYPES: [(i32, &str); 7] = [
    (1, "SOCK_STREAM"),
    (2, "SOCK_DGRAM"),
    (3, "SOCK_RAW"),
    (4, "SOCK_RDM"),
    (5, "SOCK_SEQPACKET"),
    (6, "SOCK_DCCP"),
    (10, "SOCK_PACKET"),
];

fn errno_of(name: &Value) -> Option<i32> {
    let of = |name: &str| match name {
        "EPERM" => libc::EPERM,
        "EACCES" => libc::EACCES,
        "EINVAL" => libc::EINVAL,
        "ENODEV" => libc::ENODEV,
        "EAFNOSUPPORT" => libc::EAFNOSUPPORT,
        "ESOCKTNOSUPPORT" => libc::ESOCKTNOSUPPORT,
        "EPROTONOSUPPORT" => libc::EPROTONOSUPPORT,
        "EPROTOTYPE" => libc::EPROTOTYPE,
        other => panic!("{other}"),
    };
    name.as_str().map(of)
}

fn family_support_matches_socket_calls() -> Outcome {
    // Without a module to load, so that this test changes the kernel no more than the client does.
    let host = Host::here("here")?;
    let report = report(&host, &["families"]);
    let families = report["families"].as_array().unwrap();
    assert_eq!(families.len(), 46, "or this kernel has families of its own");
    let mut untried = 0;
    for (at, family) in families.iter().enumerate() {
        assert_eq!(family["number"], at);
        let mut is_there = false;
        let types = family["types"].as_array().unwrap();
        assert_eq!(types.len(), TYPES.len());
        for (one, (kind, name)) in types.iter().zip(TYPES) {
            assert_eq!(one["type"], name);
            if one["meaning"].as_str().unwrap().starts_with("not tried") {
                untried += 1;
                continue;
            }
            let protocol = number(&one["protocol"]) as i32;
            let got = raw_socket(at as i32, kind, protocol).err();
            assert_eq!(errno_of(&one["error"]), got, "{} {name}", family["name"]);
            is_there |= got != Some(libc::EAFNOSUPPORT);
        }
        for one in family["protocols"].as_array().unwrap() {
            if one["meaning"].as_str().unwrap().starts_with("not tried") {
                untried += 1;
                continue;
            }
            let kind = TYPES.iter().find(|(_, name)| one["type"] == *name);
            let protocol = number(&one["protocol"]) as i32;
            let got = raw_socket(at as i32, kind.unwrap().0, protocol).err();
            assert_eq!(errno_of(&one["error"]), got, "{} {one}", family["name"]);
        }
        if !family["supported"].is_null() {
            assert_eq!(family["supported"], is_there, "{}", family["name"]);
        }
    }
    // The kernel has nothing beyond the table.
    for number in 46..64 {
        let made = raw_socket(number, libc::SOCK_DGRAM, 0).err();
        assert_eq!(made, Some(libc::EAFNOSUPPORT), "{number}");
    }
    for name in ["AF_UNIX", "AF_INET", "AF_NETLINK"] {
        let of = families.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(of["supported"], true, "{name}");
    }
    if untried > 0 {
        skip(&format!("{untried} attempts"), "they would load modules")?;
    }
    for (arguments, status) in [
        (&["families", "unix"][..], 0),
        (&["families", "AF_IPX"], 1),
        (&["families", "nonsense"], 2),
        (&["families", "seqpacket"], 0),
    ] {
        assert_eq!(text(&host, arguments).1, Some(status), "{arguments:?}");
    }
    Ok(())
}

fn families_show_socket_counts() -> Outcome {
    let host = Host::new("a")?;
    let held: Vec<Socket> = host.run(|| {
        let packet = (0..7).map(|_| Socket::new(Domain::PACKET, Type::RAW, None).unwrap());
        let unix = (0..5).map(|_| Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap());
        packet.chain(unix).collect()
    });
    // What is bound has a place in a list; what is connected has two.
    let listener = host.run(|| TcpListener::bind("127.0.0.1:0"))?;
    let to = listener.local_addr()?;
    let stream = host.run(|| TcpStream::connect(to))?;
    let accepted = listener.accept()?;
    let report = report(&host, &["families"]);
    let count = |name: &str| support::entry(&report["families"], "name", name)["sockets"].clone();
    assert_eq!(count("AF_PACKET"), 7);
    assert_eq!(count("AF_UNIX"), 5);
    assert_eq!(count("AF_INET"), 3);
    assert_eq!(count("AF_INET6"), 0);
    let xdp = host.run(|| raw_socket(libc::AF_XDP, libc::SOCK_RAW, 0));
    match &xdp {
        Ok(_) => {
            let report = self::report(&host, &["families", "xdp"]);
            assert_eq!(report["families"][0]["sockets"], 1, "{report:#}");
        }
        Err(errno) => skip("counting AF_XDP", &format!("errno {errno}"))?,
    }
    drop((held, stream, accepted, xdp));
    Ok(())
}

/// One with four instructions that takes ARP.
fn filtered(host: &Host) -> Socket {
    let everything = Protocol::from(i32::from(3u16.to_be()));
    let socket = host.run(|| Socket::new(Domain::PACKET, Type::RAW, Some(everything)).unwrap());
    let step = SockFilter::new;
    let program = [
        step(0x28, 0, 0, 12),
        step(0x15, 0, 1, 0x0806),
        step(0x06, 0, 0, 0xffff),
        step(0x06, 0, 0, 0),
    ];
    socket.attach_filter(&program).unwrap();
    let index = host.run(|| nix::net::if_::if_nametoindex("e0").unwrap());
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 3u16.to_be(),
        sll_ifindex: index as i32,
        // SAFETY: the rest is numbers, for which zero is right.
        ..unsafe { std::mem::zeroed() }
    };
    // SAFETY: the storage is as large as the address that is written, whose length is told.
    let (_, address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(address);
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }
    .unwrap();
    socket.bind(&address).unwrap();
    let promiscuous = libc::packet_mreq {
        mr_ifindex: index as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    let (level, name) = (libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP);
    set_option(socket.as_fd(), level, name, &promiscuous).unwrap();
    socket
}

fn packet_sockets_are_listed() -> Outcome {
    let (a, _b) = pair();
    let mut service = Service::start(&a, &[]);
    let socket = filtered(&a);
    let raw = a.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)))?;
    let path = service.socket();
    let output = a.run(|| client(&path, &["--json", "sockets", "--sniff"]));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let all = report["sockets"].as_array().unwrap();
    let inode = nix::sys::stat::fstat(&socket)?.st_ino;
    let own = all.iter().find(|one| one["inode"] == inode);
    let own = own.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(own["family"], "AF_PACKET");
    assert_eq!(
        (&own["protocol"], &own["interface"]),
        (&"all".into(), &"e0".into())
    );
    assert_eq!(own["promiscuous"], serde_json::json!(["e0"]));
    assert_eq!(own["filter"]["kind"], "classic");
    assert_eq!(own["filter"]["instructions"], 4);
    assert_eq!(own["filter"]["length_bytes"], 32);
    assert!(
        held_by(own, std::process::id()) && own["ours"] == false,
        "{own:#}"
    );
    // The raw socket has no filter; this kernel may have no sock_diag that would say so.
    let inode = nix::sys::stat::fstat(&raw)?.st_ino;
    let own = all.iter().find(|one| one["inode"] == inode).unwrap();
    assert_eq!(
        (&own["type"], &own["protocol"]),
        (&"SOCK_RAW".into(), &"icmp".into())
    );
    assert_eq!(own["filter"]["kind"], "none");
    let keeper = service.keeper().as_raw() as u32;
    let rings: Vec<&Value> = all
        .iter()
        .filter(|one| one["family"] == "AF_PACKET" && one["ours"] == true)
        .collect();
    assert_eq!(rings.len(), 2, "{report:#}");
    for ring in rings {
        assert!(held_by(ring, keeper) && number(&ring["ring_bytes"]) > 0);
        assert_eq!(ring["filter"]["kind"], "classic");
        assert_eq!(ring["promiscuous"], serde_json::json!([]));
    }
    // It listens on raw sockets as well.
    let raws = all
        .iter()
        .filter(|one| one["type"] == "SOCK_RAW" && one["ours"] == true);
    assert!(raws.count() > 2);
    // It joins 224.0.0.2 with a socket that has no port, and so is in no list.
    let output = a.run(|| client(&path, &["--json", "sockets"]));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let routers = support::entry(&report["memberships"], "group", "224.0.0.2");
    assert!(held_by(&routers["sockets"][0], keeper), "{report:#}");
    let output = a.run(|| client(&path, &["sockets", "--sniff"]));
    let printed = String::from_utf8(output.stdout)?;
    assert_eq!(
        printed.matches(", ours").count(),
        all.len() - 2,
        "{printed}"
    );
    assert!(printed.contains("cBPF 4"), "{printed}");
    for line in printed.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    Ok(())
}

fn selections_find_packets() -> Outcome {
    let (a, _b) = pair();
    let listener = a.run(|| TcpListener::bind("10.0.0.1:22"))?;
    let udp = a.run(|| UdpSocket::bind("[fd00::1]:5353"))?;
    let dynamic = a.run(|| UdpSocket::bind("10.0.0.1:50000"))?;
    let connected = a.run(|| UdpSocket::bind("10.0.0.1:50001"))?;
    a.run(|| connected.connect("10.0.0.2:53"))?;
    let one = report(&a, &["sockets", "--port", "22"]);
    let found = one["sockets"].as_array().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["local"], "10.0.0.1:22");
    assert_eq!(
        (&found[0]["service"], &found[0]["port_range"]),
        (&"ssh".into(), &"system".into())
    );
    assert_eq!(found[0]["port_is_local"], false);
    assert_eq!(found[0]["backlog"], 0);
    let listening = report(&a, &["sockets", "--listen"]);
    assert_eq!(listening["sockets"].as_array().unwrap().len(), 3);
    let one = report(&a, &["sockets", "--family", "inet6"]);
    assert_eq!(one["sockets"][0]["service"], "mdns");
    let one = report(&a, &["sockets", "--port", "50000"]);
    assert_eq!(one["sockets"][0]["port_range"], "dynamic");
    assert_eq!(one["sockets"][0]["port_is_local"], true);
    // By the other end's port, and by process and type together.
    let one = report(&a, &["sockets", "--port", "53"]);
    assert_eq!(one["sockets"][0]["remote"], "10.0.0.2:53");
    assert_eq!(one["sockets"][0]["state"], "established");
    let pid = std::process::id().to_string();
    let all = report(&a, &["sockets", "--process", &pid, "--type", "dgram"]);
    assert_eq!(all["sockets"].as_array().unwrap().len(), 3);
    for (arguments, status) in [
        (&["sockets", "--port", "1"][..], 1),
        (&["sockets", "--process", "no such"], 1),
        (&["sockets", "--family", "nonsense"], 2),
        (&["sockets", "--sniff"], 1),
        (&["sockets"], 0),
    ] {
        assert_eq!(text(&a, arguments).1, Some(status), "{arguments:?}");
    }
    drop((listener, udp, dynamic));
    // Two long addresses do not fit beside each other.
    let long = "2001:db8:1111:2222:3333:4444:5555:6666";
    a.address("e0", &format!("{long}/64"))?;
    let listener = a.run(|| TcpListener::bind(format!("[{long}]:8443")))?;
    let far = "[2001:db8:1111:2222:3333:4444:5555:7777]:8443";
    let stream = a.run(|| UdpSocket::bind(format!("[{long}]:8444")))?;
    a.run(|| stream.connect(far))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde"));
    command.args(["sockets", "--port", "8443"]);
    let printed = a.run(|| support::terminal::shown(&mut command, 100))?;
    assert!(printed.contains(&format!("> {far}")), "{printed}");
    for line in printed.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    drop((listener, stream));
    Ok(())
}

/// A process without capabilities, asked about those of one that has some.
fn unknown_owners_are_not_guessed() -> Outcome {
    support::need("setpriv");
    let (a, _b) = pair();
    let _held = filtered(&a);
    let asked_at = |socket: &Path, arguments: &[&str]| {
        let mut command = support::program("setpriv");
        command
            .args(["--bounding-set=-all", "--inh-caps=-all"])
            .arg(env!("CARGO_BIN_EXE_netsonde"))
            .arg("--socket")
            .arg(socket)
            .args(arguments);
        let output = a.run(|| command.output().unwrap());
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{printed}");
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = |arguments: &[&str]| asked_at(Path::new("/nonexistent"), arguments);
    let report: Value = serde_json::from_str(&plain(&["--json", "sockets", "--sniff"]))?;
    let own = &report["sockets"][0];
    assert_eq!(own["family"], "AF_PACKET");
    // It has one, and saying that it has none would be wrong.
    assert_eq!(own["filter"]["kind"], "unknown", "{own:#}");
    assert_eq!(own["processes"], serde_json::json!([]));
    assert_eq!(report["owners"]["sockets_without_known_owner"], 1);
    assert!(number(&report["owners"]["processes_hidden"]) > 0);
    let printed = plain(&["sockets", "--sniff"]);
    assert!(
        printed.contains("1 without a known owner: run as root to see them"),
        "{printed}"
    );
    // But for the service's own, which it tells itself: two rings, three listeners, two probers.
    let service = Service::start(&a, &[]);
    let text = asked_at(&service.socket(), &["--json", "sockets", "--sniff"]);
    let report: Value = serde_json::from_str(&text)?;
    let count = |ours: bool, family: &str| {
        let all = report["sockets"].as_array().unwrap().iter();
        all.filter(|one| one["ours"] == ours && one["family"] == family)
            .count()
    };
    let counts = ["AF_PACKET", "AF_INET", "AF_INET6"].map(|family| count(true, family));
    assert_eq!(
        (counts, count(false, "AF_PACKET")),
        ([2, 3, 2], 1),
        "{report:#}"
    );
    let report: Value = serde_json::from_str(&plain(&["--json", "families", "packet"]))?;
    let packet = &report["families"][0];
    assert_eq!(packet["supported"], true);
    for one in packet["types"].as_array().unwrap() {
        assert_eq!(
            (&one["error"], &one["supported"]),
            (&"EPERM".into(), &Value::Null)
        );
    }
    Ok(())
}

/// This kernel may have no vsock_diag; then who holds such sockets is all that can be known.
fn unlisted_sockets_are_declared() -> Outcome {
    if let Err(errno) = raw_socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0) {
        support::skip_here(&format!("errno {errno}"));
    }
    let host = Host::new("a")?;
    let mut command = Command::new(std::env::current_exe()?);
    let mut holder = host.spawn(
        command
            .env(HOLD_VSOCK, "1")
            .stdout(std::process::Stdio::null()),
    )?;
    let pid = holder.child().id();
    let mut seen = Value::Null;
    let is_told = || {
        seen = report(&host, &["sockets"]);
        let all = seen["sockets"].as_array().unwrap().iter();
        let listed = all.filter(|one| one["family"] == "AF_VSOCK").count();
        let all = seen["unlisted"].as_array().unwrap().iter();
        let unlisted = all.filter(|one| one["protocol"] == "AF_VSOCK" && one["pid"] == pid);
        listed + unlisted.count() == 3
    };
    assert!(wait_until(PATIENCE, is_told), "{seen:#}");
    let report = report(&host, &["families", "vsock"]);
    assert_eq!(report["families"][0]["sockets"], 3, "{report:#}");
    Ok(())
}
