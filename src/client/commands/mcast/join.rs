//! SHELL. `mcast join`: a test receiver, which compares the packets at its socket with those on the wire.

use super::test_socket::*;
use crate::client::cli::args::{Global, Lookback, McastJoin, Packets};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::interrupt::Interrupt;
use crate::client::namespace::{self, Network};
use crate::client::output::{note, show};
use crate::client::packets::Stream;
use crate::client::render::style::Style;
use crate::client::render::table::{Column, table};
use crate::linux::group_socket::join_source;
use crate::linux::wall_ns;
use netsonde_core::multicast::test_packet::{self, TestPacket};
use netsonde_core::multicast::{GroupPort, Sequence};
use netsonde_core::protocol::capture::Content;
use netsonde_core::text::counted;
use netsonde_core::wire::glance::glance;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use serde::Serialize;
use socket2::Socket;
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Maximum number of sources distinguished.
const SOURCES: usize = 4096;

/// Maximum size of a UDP payload.
const ROOM: usize = 65_536;

/// Statistics of one source.
#[derive(Default)]
struct Source {
    packets: u64,
    bytes: u64,
    /// Only of test packets.
    numbers: Option<Sequence>,
}

/// Source address and port, and the number of the run; 0 for packets that are not test packets.
type Key = (SocketAddr, u64);

#[derive(Serialize)]
struct SourceReport {
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<u64>,
    packets: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicates: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reordered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ns: Option<u64>,
    /// Packets seen on this host's wire meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_packets: Option<u64>,
    /// Lost packets that did not reach this host's wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_on_wire: Option<u64>,
    /// Lost packets that were on the wire but did not reach the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_in_host: Option<u64>,
}

#[derive(Serialize)]
struct JoinReport {
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    duration_ns: u64,
    /// Packets dropped at the socket because its buffer was full.
    socket_drops: u64,
    sources: Vec<SourceReport>,
    /// Why the wire count is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_wire: Option<String>,
}

/// Runs `mcast join`.
pub fn join(global: &Global, socket_path: &Path, args: &McastJoin) -> Result<u8, Failure> {
    let channel = args.channel;
    let ifindex = index_of(args.interface.as_deref())?;
    let socket = open(&channel, ifindex, args)?;
    let interrupt = Interrupt::catch()?;
    let start = Instant::now();
    if !global.json && !global.quiet {
        let where_ = args
            .interface
            .as_ref()
            .map(|name| format!(" on {name}"))
            .unwrap_or_default();
        let from = args
            .source
            .map(|source| format!(", only from {source}"))
            .unwrap_or_default();
        eprintln!("member of {channel}{where_}{from}; stop with Ctrl-C");
    }
    let mut sources: BTreeMap<Key, Source> = BTreeMap::new();
    let mut socket_drops = 0;
    let mut count = 0;
    let mut room = vec![0; ROOM];
    let end = args.duration.map(|ns| start + Duration::from_nanos(ns));
    while args.count.is_none_or(|most| count < most) {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) || !readable(&socket, &interrupt, left)? {
            break;
        }
        while let Some(packet) = receive(&socket, &mut room)? {
            socket_drops = socket_drops.max(packet.drops);
            take(&mut sources, &packet, &room[..packet.length]);
            count += 1;
            if args.count.is_some_and(|most| count >= most) {
                break;
            }
        }
    }
    let took = start.elapsed();
    let wire = wire(socket_path, &channel, args, took);
    let report = JoinReport {
        channel: channel.to_string(),
        interface: args.interface.clone(),
        duration_ns: took.as_nanos() as u64,
        socket_drops,
        sources: source_reports(&sources, wire.as_ref().ok()),
        no_wire: wire.err().map(|failure| failure.to_string()),
    };
    show(global, &report, |report, style, _| text(report, style))?;
    if count == 0 && end.is_some_and(|end| Instant::now() >= end) {
        let from = args.source.map(|source| format!(" from {source}"));
        let took = took.as_secs_f64();
        let words = format!(
            "no packet for {channel}{} in {took:.1} s",
            from.unwrap_or_default()
        );
        note(global, &words);
    }
    Ok(u8::from(count == 0))
}

fn open(channel: &GroupPort, ifindex: u32, args: &McastJoin) -> Result<Socket, Failure> {
    let failed = cannot("join", channel);
    let socket = new_socket(channel).map_err(&failed)?;
    let set = || -> io::Result<()> {
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        if let Some(bytes) = args.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if channel.group.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Bound to the group, so that packets of other groups and unicast packets are excluded.
        socket.bind(&SocketAddr::new(channel.group, channel.port.unwrap_or(PORT)).into())?;
        match args.source {
            Some(source) => join_source(socket.as_fd(), channel.group, source, ifindex),
            None => join_any(&socket, channel.group, ifindex),
        }
    };
    set().map_err(&failed)?;
    Ok(socket)
}

/// Waits for packets. Returns `false` if interrupted, or when the time is over.
fn readable(
    socket: &Socket,
    interrupt: &Interrupt,
    left: Option<Duration>,
) -> Result<bool, Failure> {
    let timeout = left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::from(u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX))
    });
    let mut wanted = [
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        PollFd::new(interrupt.descriptor(), PollFlags::POLLIN),
    ];
    match poll(&mut wanted, timeout) {
        Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(error) => Err(io::Error::from(error).into()),
        Ok(_) => Ok(!wanted[1].any().unwrap_or(false)),
    }
}

struct Received {
    from: SocketAddr,
    length: usize,
    time_ns: u64,
    drops: u64,
}

fn receive(socket: &Socket, room: &mut [u8]) -> Result<Option<Received>, Failure> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec, u32);
    let mut data = [IoSliceMut::new(room)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut data, Some(&mut control), flags);
    let message = match message {
        Ok(message) => message,
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let mut received = Received {
        from: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        length: message.bytes,
        time_ns: wall_ns(),
        drops: 0,
    };
    if let Some(from) = message.address {
        if let Some(v4) = from.as_sockaddr_in() {
            received.from = SocketAddr::new(v4.ip().into(), v4.port());
        } else if let Some(v6) = from.as_sockaddr_in6() {
            received.from = SocketAddr::new(v6.ip().into(), v6.port());
        }
    }
    for item in message.cmsgs().map_err(io::Error::from)? {
        match item {
            ControlMessageOwned::ScmTimestampns(time) => {
                received.time_ns = time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64;
            }
            ControlMessageOwned::RxqOvfl(drops) => received.drops = drops.into(),
            _ => {}
        }
    }
    Ok(Some(received))
}

fn take(sources: &mut BTreeMap<Key, Source>, packet: &Received, payload: &[u8]) {
    let test = test_packet::read(payload);
    let key = (packet.from, test.map_or(0, |test| test.run));
    if sources.len() >= SOURCES && !sources.contains_key(&key) {
        return;
    }
    let source = sources.entry(key).or_default();
    source.packets += 1;
    source.bytes += payload.len() as u64;
    if let Some(TestPacket {
        number, sent_ns, ..
    }) = test
    {
        let numbers = source.numbers.get_or_insert_default();
        if numbers.add(number) {
            numbers.time(sent_ns, packet.time_ns);
        }
    }
}

/// Counts the packets of the group on this host's wire meanwhile, from the record.
fn wire(
    socket: &Path,
    channel: &GroupPort,
    args: &McastJoin,
    took: Duration,
) -> Result<BTreeMap<Key, (u64, Sequence)>, Failure> {
    if let Network::Other(words) = namespace::network(socket)? {
        return Err(Failure::Other(words));
    }
    let wanted = Packets {
        last: Some(Lookback::Ns(took.as_nanos() as u64 + 1_000_000_000)),
        interfaces: args.interface.clone().into_iter().collect(),
        groups: vec![channel.group],
        ports: vec![channel.port.unwrap_or(PORT)],
        ..Packets::default()
    };
    let stream = Stream::open(socket, &wanted, Content::Headers)?;
    let mut file = CaptureFile::new(stream.pipe)?;
    let mut all: BTreeMap<Key, (u64, Sequence)> = BTreeMap::new();
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else {
            continue;
        };
        let seen = glance(packet.link, &packet.bytes);
        if seen.transport == 0 || seen.destination_port != channel.port.unwrap_or(PORT) {
            continue;
        }
        let Some((source, _)) = seen.ip_addresses(&packet.bytes) else {
            continue;
        };
        let payload = packet.bytes.get(seen.transport + 8..).unwrap_or_default();
        let test = test_packet::read(payload);
        let key = (
            SocketAddr::new(source, seen.source_port),
            test.map_or(0, |test| test.run),
        );
        if all.len() >= SOURCES && !all.contains_key(&key) {
            continue;
        }
        let (packets, numbers) = all.entry(key).or_default();
        *packets += 1;
        if let Some(test) = test {
            numbers.add(test.number);
        }
    }
    Ok(all)
}

fn source_reports(
    sources: &BTreeMap<Key, Source>,
    wire: Option<&BTreeMap<Key, (u64, Sequence)>>,
) -> Vec<SourceReport> {
    let mut all: Vec<SourceReport> = Vec::new();
    for ((from, run), source) in sources {
        let numbers = source.numbers.as_ref();
        let on_wire = wire.map(|wire| wire.get(&(*from, *run)));
        let lost = numbers.map(Sequence::lost);
        let lost_on_wire = match (on_wire, lost) {
            // Packets missing on the wire between its first and its last.
            (Some(Some((_, wire_numbers))), Some(lost)) => Some(wire_numbers.lost().min(lost)),
            _ => None,
        };
        all.push(SourceReport {
            source: from.to_string(),
            run: numbers.map(|_| *run),
            packets: source.packets,
            bytes: source.bytes,
            lost,
            duplicates: numbers.map(|numbers| numbers.duplicates),
            reordered: numbers.map(|numbers| numbers.reordered),
            jitter_ns: numbers.and_then(Sequence::jitter_ns),
            wire_packets: on_wire.map(|found| found.map_or(0, |(packets, _)| *packets)),
            lost_on_wire,
            lost_in_host: lost_on_wire.map(|on_wire| lost.unwrap_or(0) - on_wire),
        });
    }
    // Packets seen on the wire only, which the socket never received.
    for ((from, run), (packets, numbers)) in wire.into_iter().flatten() {
        if !sources.contains_key(&(*from, *run)) {
            let is_test = numbers.range().is_some();
            all.push(SourceReport {
                source: from.to_string(),
                run: is_test.then_some(*run),
                packets: 0,
                bytes: 0,
                lost: None,
                duplicates: None,
                reordered: None,
                jitter_ns: None,
                wire_packets: Some(*packets),
                lost_on_wire: None,
                lost_in_host: None,
            });
        }
    }
    all
}

fn text(report: &JoinReport, style: Style) -> String {
    let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
    let rows: Vec<Vec<String>> = report
        .sources
        .iter()
        .map(|source| {
            vec![
                source.source.clone(),
                source.packets.to_string(),
                number(source.wire_packets),
                number(source.lost),
                number(source.lost_on_wire),
                number(source.lost_in_host),
                number(source.duplicates),
                number(source.reordered),
                source
                    .jitter_ns
                    .map_or("-".into(), |ns| format!("{:.3}", ns as f64 / 1e6)),
            ]
        })
        .collect();
    let columns = [
        Column::text("SOURCE"),
        Column::number("PACKETS"),
        Column::number("ON WIRE"),
        Column::number("LOST"),
        Column::number("ON THE WAY"),
        Column::number("IN THIS HOST"),
        Column::number("DUPLICATES").may_hide(2),
        Column::number("REORDERED").may_hide(3),
        Column::number("JITTER ms").may_hide(1),
    ];
    let mut text = if rows.is_empty() {
        format!(
            "no packets for {} in {:.1} s",
            report.channel,
            report.duration_ns as f64 / 1e9
        )
    } else {
        table(style, &columns, &rows)
    };
    if report.socket_drops > 0 {
        text.push_str(&format!(
            "\nthe socket dropped {}: this program was too slow, or its buffer too small",
            counted(report.socket_drops, "packet")
        ));
    }
    if let Some(why) = &report.no_wire {
        text.push_str(&format!("\nno wire count available: {why}"));
    }
    text
}
