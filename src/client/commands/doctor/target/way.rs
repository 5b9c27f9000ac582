//! SHELL. The way to one address: route, echo requests, the attempt to reach the port, and where they end if something
//! fails.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use netlink_packet_route::route::RouteType;
use netsonde_core::diagnose::evidence::Link;
use netsonde_core::diagnose::target::evidence::{Outcome, PortTry, Way};
use netsonde_core::diagnose::target::packet::PortSeen;
use netsonde_core::diagnose::target::subject::Protocol;
use netsonde_core::host::counters::Counters;
use netsonde_core::probe::transport::with_port;
use netsonde_core::protocol::ping::{Options, Probe};
use netsonde_core::protocol::trace;
use netsonde_core::sockets::{Detail, Socket};
use nix::net::if_::{if_indextoname, if_nametoindex};

use super::attempt::{self, Made};
use super::seen::{self, RECORDED_AFTER};
use super::{By, ToSend};
use crate::client::commands::doctor::{counters, echo, links};
use crate::client::failure::Failure;
use crate::linux::netlink::{Netlink, RouteQuery};
use crate::linux::{diag, wall_ns};

/// Small echo requests: enough to tell loss from chance.
const ECHOES: u32 = 5;
const INTERVAL_NS: u64 = 100_000_000;
/// Time limit in nanoseconds. A run waits as long again for errors that come late: a router gives up on a host that does
/// not answer ARP after three seconds, and says so.
const TIMEOUT_NS: u64 = 1_700_000_000;
/// Time after which the routers are asked, if the echo requests have no answer.
const PATIENCE: Duration = Duration::from_millis(1000);
/// Payload in bytes, the default of ping(8), and its length with the IPv4 header.
const SIZE: u32 = 56;
const SIZE_WITH_HEADERS: u32 = 84;
/// Echo requests as long as the MTU.
const LARGE: u32 = 2;
const LARGE_TIMEOUT_NS: u64 = 1_200_000_000;
/// Longest of these with the IP header in bytes: the largest that links carry; loopback has 65536.
const LARGE_MAX: u32 = 9000;
/// Highest TTL of the probes for routers: paths of the Internet have 10 to 20.
const HOPS: u8 = 20;
const HOP_TIMEOUT_NS: u64 = 800_000_000;
/// How many of these at once: few go further than the target.
const AT_ONCE: u8 = 5;
/// TTLs without an answer behind which the path is taken to end.
const GAP: usize = 4;
/// Time before the attempts from which packets are read, in nanoseconds.
const SLACK_NS: u64 = 20_000_000;
/// Counters that the rules look at.
const COUNTERS: [&str; 4] = [
    "IPReversePathFilter",
    "ListenOverflows",
    "TCPReqQFullDrop",
    "TCPReqQFullDoCookies",
];

/// Kind of the packets that ask for a connection and are none of the attempt.
const SYN: &str = "SYN";
/// How often one of these is sent with a TTL: once more, if nothing answered, since routers limit their errors.
const SYN_ROUNDS: u32 = 2;

/// What is special about those as long as the MTU.
const LONG: &str = "as long as the MTU, ";

/// Returns what is sent to one address.
pub fn to_send(target: &str, port: Option<(Protocol, u16)>) -> Vec<ToSend> {
    let one = |kind, how: Option<String>, count, bytes, when| ToSend {
        kind,
        how,
        target: target.to_owned(),
        count,
        bytes,
        when,
    };
    let echo = "echo request";
    let long = Some(format!("{LONG}with DF"));
    let mut all = vec![
        one(echo, None, ECHOES, SIZE_WITH_HEADERS, "always"),
        one(echo, long, LARGE, 0, "always"),
    ];
    if let Some((protocol, port)) = port {
        let kind = match protocol {
            Protocol::Tcp => "connection",
            Protocol::Udp => "datagram",
        };
        all.push(ToSend {
            target: with_port(target, port),
            ..one(kind, None, 1, 0, "always")
        });
    }
    let when = "if something fails";
    let ttls = |how: &str| Some(format!("{how}with a TTL of 1 to {HOPS}"));
    let hops = u32::from(HOPS);
    all.push(one(echo, ttls(""), hops, SIZE_WITH_HEADERS, when));
    all.push(one(echo, ttls(LONG), hops, 0, when));
    if let Some((Protocol::Tcp, port)) = port {
        let how = Some(format!("for port {port}, with a TTL of 1 to {HOPS}"));
        all.push(one(SYN, how, SYN_ROUNDS * hops, 0, when));
    }
    all
}

/// Follows the way to an address.
pub fn explore(
    socket: &Path,
    target: &str,
    port: Option<(Protocol, u16)>,
    by: &By,
) -> Result<(Way, Vec<ToSend>), Failure> {
    let mut way = route(target, by)?;
    let address = socket_address(target, port.map_or(0, |(_, port)| port));
    let from_ns = wall_ns().saturating_sub(SLACK_NS);
    let before = counters();
    let options = &options(by);
    let can_be_large = !way.is_local && way.has_route;
    let (answered, is_answered) = mpsc::channel::<()>();
    let (echoes, large, made, early) = std::thread::scope(|scope| {
        let until_end = answered.clone();
        let echoes = scope.spawn(|| {
            let _until_end = until_end;
            small(socket, target, options)
        });
        let large = can_be_large.then(|| {
            scope.spawn(|| {
                let _until_end = answered;
                send_large(socket, &way, options)
            })
        });
        let made = port.zip(address).map(|((protocol, _), address)| {
            scope.spawn(move || attempt::attempt(address, protocol, by))
        });
        // Where nothing has answered for a while, the routers are asked at the same time.
        let early = can_be_large.then(|| {
            scope.spawn(move || {
                let is_slow = is_answered.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
                is_slow.then(|| hops(socket, target, options, SIZE, HOPS))
            })
        });
        (
            echoes.join(),
            large.and_then(|large| large.join().ok()),
            made.and_then(|made| made.join().ok()),
            early.and_then(|early| early.join().ok()).flatten(),
        )
    });
    let panicked = || Err("a thread of the client panicked".to_owned());
    way.echoes = match echoes {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => panicked(),
    };
    way.large = large.unwrap_or_default();
    if let Some(made) = made {
        way.port = Some(with_packets(socket, made, from_ns, &before, &way));
    }
    let is_large_lost = way.large.iter().any(|probe| probe.fate == "unanswered");
    let is_whole = way.echoes().all(|probe| probe.fate == "replied");
    let mut sent = to_send(target, port);
    let is_needed = can_be_large && has_left(&way) && (!way.works() || is_large_lost || !is_whole);
    let mut asked = early.as_ref().map_or(0, Vec::len) as u32;
    let mut asked_large = 0;
    let mut asked_syns = 0;
    if is_needed {
        way.hops = early.unwrap_or_else(|| hops(socket, target, options, SIZE, HOPS));
        asked = way.hops.len() as u32;
        // If small ones are lost, too, it is not for their length.
        if is_large_lost && way.answers_echo() {
            let last = way.routers().last().map_or(0, |(ttl, ..)| ttl);
            let size = way.large_bytes.saturating_sub(headers(&way));
            let large = hops(socket, target, options, size, last);
            asked_large = large.len() as u32;
            let all = large.iter().zip(1u8..);
            let answered = all.filter(|(probe, _)| probe.error.is_some());
            way.large_hops = answered.map(|(_, ttl)| ttl).max().unwrap_or(0);
        }
        if let Some((Protocol::Tcp, port)) = port
            && is_silent(&way)
        {
            (way.syn_hops, asked_syns) = syns(socket, &way, port, options);
        }
    }
    for one in sent.iter_mut().filter(|one| one.when != "always") {
        one.count = match (one.kind, one.bytes) {
            (SYN, _) => asked_syns,
            (_, 0) => asked_large,
            _ => asked,
        };
    }
    sent.retain(|one| one.count > 0);
    if !can_be_large {
        sent.retain(|one| !(one.kind == "echo request" && one.bytes == 0));
    }
    Ok((way, sent))
}

/// Returns whether anything left this host: else routers have nothing to answer.
fn has_left(way: &Way) -> bool {
    let on_wire = |probe: &Probe| {
        matches!(
            probe.fate.as_str(),
            "replied" | "late" | "refused" | "unanswered"
        )
    };
    let of_port = way.port.as_ref().and_then(|port| port.seen.as_ref().ok());
    way.echoes().any(on_wire) || of_port.is_some_and(|seen| seen.sent > 0)
}

/// Returns whether the host answers echo requests, and nothing came back from its port.
fn is_silent(way: &Way) -> bool {
    let seen = way.port.as_ref().and_then(|port| port.seen.as_ref().ok());
    seen.is_some_and(PortSeen::is_silent) && way.answers_echo()
}

/// Sends SYNs for a port with the TTL of each router on the way. Returns their fates and the number of those sent.
fn syns(socket: &Path, way: &Way, port: u16, options: &Options) -> (Vec<Probe>, u32) {
    let last = way.routers().last().map_or(0, |(ttl, ..)| ttl);
    let options = trace::Options {
        timeout_ns: Some(HOP_TIMEOUT_NS),
        transport: Some("tcp".into()),
        port: Some(port),
        interface: options.interface.clone(),
        source: options.source.clone(),
        ..trace::Options::default()
    };
    let send = |ttls| echo::send_each(socket, &way.target, ttls, options.clone());
    if last == 0 {
        return (Vec::new(), 0);
    }
    // Without them nothing is said of how far they come.
    let mut all = send(1..=last).unwrap_or_default();
    let mut sent = all.len() as u32;
    let answered = all.iter().rposition(|probe| probe.error.is_some());
    let first = answered.map_or(1, |at| at as u8 + 2);
    if !all.is_empty() && first <= last {
        let again = send(first..=last).unwrap_or_default();
        sent += again.len() as u32;
        for (probe, again) in all.iter_mut().skip(usize::from(first) - 1).zip(again) {
            *probe = again;
        }
    }
    (all, sent)
}

fn socket_address(target: &str, port: u16) -> Option<SocketAddr> {
    match target.split_once('%') {
        None => Some(SocketAddr::new(target.parse().ok()?, port)),
        Some((address, zone)) => {
            let index = if_nametoindex(zone).ok()?;
            Some(SocketAddrV6::new(address.parse().ok()?, port, 0, index).into())
        }
    }
}

/// Returns the way by the routing tables.
fn route(target: &str, by: &By) -> Result<Way, Failure> {
    let address: IpAddr = target
        .split('%')
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::Other(format!("{target} is no address")))?;
    let zone = target.split_once('%').map(|(_, zone)| zone);
    let interface = by.interface.as_deref().or(zone);
    let ifindex = match interface {
        None => 0,
        Some(name) => if_nametoindex(name).map_err(|_| Failure::no_such_interface(name))?,
    };
    let mut way = Way {
        target: target.to_owned(),
        is_ipv4: address.is_ipv4(),
        ..Way::default()
    };
    let mut netlink = Netlink::open()?;
    let (links, _) = links::links(&mut netlink)?;
    let source = by
        .source
        .filter(|source| source.is_ipv4() == address.is_ipv4());
    let is_on = |link: &Link, source: &IpAddr| link.addresses.iter().any(|(own, _)| own == source);
    way.missing_source = source
        .filter(|source| !source.is_loopback() && !links.iter().any(|link| is_on(link, source)));
    let demanded = links.iter().find(|link| link.ifindex == ifindex);
    let is_up = |link: &&Link| link.flags & nix::libc::IFF_UP as u32 != 0;
    way.set_down = demanded
        .filter(|link| !is_up(link))
        .map(|link| link.name.clone());
    let query = RouteQuery {
        ifindex,
        source,
        ..RouteQuery::default()
    };
    if let Ok(route) = netlink.route(address, &query) {
        way.has_route = true;
        way.is_local = route.kind == RouteType::Local;
        way.router = route.gateway;
        let name = if_indextoname(route.ifindex).ok();
        way.interface = name.and_then(|name| name.into_string().ok());
        let link = links.iter().find(|link| link.ifindex == route.ifindex);
        let mtu = route.mtu.or(link.map(|link| link.mtu)).unwrap_or(1500);
        way.large_bytes = mtu.min(LARGE_MAX);
    }
    Ok(way)
}

/// Bytes of the IP header and the echo header.
fn headers(way: &Way) -> u32 {
    if way.is_ipv4 { 28 } else { 48 }
}

fn options(by: &By) -> Options {
    Options {
        count: Some(ECHOES),
        interval_ns: Some(INTERVAL_NS),
        timeout_ns: Some(TIMEOUT_NS),
        size: Some(SIZE),
        interface: by.interface.clone(),
        source: by.source.map(|source| source.to_string()),
        ..Options::default()
    }
}

/// Sends the small echo requests; again, if the kernel was just giving up on the next hop.
fn small(socket: &Path, target: &str, options: &Options) -> Result<Vec<Probe>, Failure> {
    let probes = echo::send(socket, target, options.clone())?;
    let is_stale = |probe: &Probe| echo::is_stale(probe) && probe.link.is_none();
    match !probes.is_empty() && probes.iter().all(is_stale) {
        true => echo::send(socket, target, options.clone()),
        false => Ok(probes),
    }
}

fn send_large(socket: &Path, way: &Way, options: &Options) -> Vec<Probe> {
    let options = Options {
        count: Some(LARGE),
        timeout_ns: Some(LARGE_TIMEOUT_NS),
        size: Some(way.large_bytes.saturating_sub(headers(way))),
        pmtu_discovery: Some("probe".into()),
        ..options.clone()
    };
    // Without them nothing is said of lengths.
    echo::send(socket, &way.target, options).unwrap_or_default()
}

/// Sends an echo request with each TTL up to a highest, or until the target has answered or one was refused, or several in a row have not.
/// Returns all of them.
fn hops(socket: &Path, target: &str, options: &Options, size: u32, highest: u8) -> Vec<Probe> {
    let options = trace::Options {
        timeout_ns: Some(HOP_TIMEOUT_NS),
        size: Some(size),
        pmtu_discovery: Some("probe".into()),
        interface: options.interface.clone(),
        source: options.source.clone(),
        ..trace::Options::default()
    };
    let mut all: Vec<Probe> = Vec::new();
    let mut from = 1;
    while from <= highest {
        let to = highest.min(from + AT_ONCE - 1);
        let sent = echo::send_each(socket, target, from..=to, options.clone());
        // Without them nothing is said of the routers.
        let Ok(sent) = sent else {
            break;
        };
        all.extend(sent);
        let is_silent = |probe: &Probe| probe.error.is_none();
        // Type 11 of ICMP and type 3 of ICMPv6 say that the TTL ended there.
        let expired = if target.contains(':') { 3 } else { 11 };
        let is_end = |probe: &Probe| {
            let error = probe.error.as_ref();
            matches!(probe.fate.as_str(), "replied" | "late")
                || error.is_some_and(|error| error.kind != expired)
        };
        if all.iter().any(is_end) || all.iter().rev().take(GAP).all(is_silent) {
            break;
        }
        from = to + 1;
    }
    all
}

/// Completes an attempt with its packets, and with what the kernel counts.
fn with_packets(socket: &Path, made: Made, from_ns: u64, before: &Counters, way: &Way) -> PortTry {
    std::thread::sleep(RECORDED_AFTER);
    let now = counters();
    let mut tried = made.tried.clone();
    tried.moved = COUNTERS
        .map(|name| (name, now.moved(before, &format!("TcpExt{name}"))))
        .into();
    if way.is_local {
        tried.queue = queue(way, &tried);
    }
    tried.seen = match &made.attempt {
        None => Ok(PortSeen::default()),
        Some(attempt) => {
            let mut seen = PortSeen::default();
            let stores = ["connections", "names", "bulk"];
            let read = seen::read(socket, from_ns, &stores, false, |packet| {
                attempt.see(&mut seen, packet.time_ns, packet.interface, &packet.segment);
            });
            let read = read.and_then(|()| {
                seen::read_errors(socket, from_ns, |error, quoted| {
                    attempt.see_error(&mut seen, error, quoted);
                })
            });
            read.map(|()| seen).map_err(|error| error.to_string())
        }
    };
    tried
}

/// Connections that wait for a server of this host, and its limit.
fn queue(way: &Way, tried: &PortTry) -> Option<(u32, u32)> {
    if tried.protocol != Protocol::Tcp || tried.outcome == Outcome::Answered {
        return None;
    }
    let address = way.address()?;
    let (all, _) = diag::sockets();
    let is_its = |socket: &&Socket| match &socket.detail {
        Detail::Inet { local, .. } => {
            local.port() == tried.port && (local.ip() == address || local.ip().is_unspecified())
        }
        _ => false,
    };
    let found = all
        .iter()
        .filter(is_its)
        .find_map(|socket| socket.backlog)?;
    Some((found.0 as u32, found.1 as u32))
}
