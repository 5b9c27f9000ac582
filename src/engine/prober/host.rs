//! SHELL. What this host says about the way to a target: routes and neighbours from netlink, and the
//! counters that move when it drops packets. None of it needs privilege.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::tc::{TcAttribute, TcMessage, TcStats2};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::probe::Neighbour;
use crate::probe::fate::counter;

/// The kernel answers at once; this is for the day on which it does not.
const ANSWER_MS: u16 = 500;

/// The way to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Out of which interface.
    pub ifindex: u32,
    /// The router, if there is one.
    pub gateway: Option<IpAddr>,
    /// Is the target this host's own, a broadcast address or a group?
    pub kind: RouteType,
    /// Path MTU that the kernel has learnt, or that the route says.
    pub mtu: Option<u32>,
}

/// Asks the kernel.
pub struct Host {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Host {
    /// Opens the socket that it is asked by.
    pub fn open() -> io::Result<Host> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Host {
            socket,
            buffer: vec![0; 64 * 1024],
            sequence: 0,
        })
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            self.wait()?;
            let mut room = &mut self.buffer[..];
            let length = match self.socket.recv(&mut room, 0) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let mut rest = &self.buffer[..length];
            while rest.len() >= 16 {
                let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let Some(one) = rest.get(..size).filter(|one| one.len() >= 16) else {
                    break;
                };
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or(&[]);
                let kind = u16::from_ne_bytes([one[4], one[5]]);
                let answers = u32::from_ne_bytes([one[8], one[9], one[10], one[11]]);
                if answers != self.sequence {
                    // What is left of a question whose answer was not waited for to its end.
                    continue;
                }
                if kind == libc::NLMSG_DONE as u16 {
                    return Ok(());
                }
                let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(one) else {
                    continue;
                };
                match message.payload {
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            Some(_) => Err(error.to_io()),
                            None => Ok(()),
                        };
                    }
                    NetlinkPayload::InnerMessage(message) => each(message),
                    _ => {}
                }
                if flags & NLM_F_DUMP == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut wanted = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wanted, PollTimeout::from(ANSWER_MS))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Which way a packet to `target` goes.
    pub fn route(
        &mut self,
        target: IpAddr,
        ifindex: u32,
        source: Option<IpAddr>,
    ) -> io::Result<Route> {
        let address = |of: IpAddr| match of {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        };
        let (family, bits) = match target {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.destination_prefix_length = bits;
        message
            .attributes
            .push(RouteAttribute::Destination(address(target)));
        if let Some(source) = source.filter(|source| source.is_ipv4() == target.is_ipv4()) {
            message.header.source_prefix_length = bits;
            message
                .attributes
                .push(RouteAttribute::Source(address(source)));
        }
        if ifindex != 0 {
            message.attributes.push(RouteAttribute::Oif(ifindex));
        }
        let mut found = None;
        self.request(RouteNetlinkMessage::GetRoute(message), 0, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                found = Some(take_route(&route));
            }
        })?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What the neighbour table says. `None`: nothing.
    pub fn neighbour(&mut self, ifindex: u32, who: IpAddr) -> Option<Neighbour> {
        let mut message = NeighbourMessage::default();
        message.header.family = if who.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        message.header.ifindex = ifindex;
        message
            .attributes
            .push(NeighbourAttribute::Destination(NeighbourAddress::from(who)));
        let mut found = None;
        let asked = self.request(RouteNetlinkMessage::GetNeighbour(message), 0, |answer| {
            if let RouteNetlinkMessage::NewNeighbour(neighbour) = answer {
                found = match neighbour.header.state {
                    NeighbourState::Incomplete | NeighbourState::Failed => {
                        Some(Neighbour::Unresolved)
                    }
                    NeighbourState::None => None,
                    _ => Some(Neighbour::Known),
                };
            }
        });
        asked.ok().and(found)
    }

    /// Packets that each interface's queueing discipline has dropped, and that wait in it.
    fn queues(&mut self) -> Vec<(u32, u64, u64)> {
        let mut queues: HashMap<u32, (u64, u64)> = HashMap::new();
        let message = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let _ = self.request(message, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewQueueDiscipline(queue) = answer {
                for attribute in &queue.attributes {
                    if let TcAttribute::Stats2(all) = attribute {
                        for stats in all {
                            if let TcStats2::Queue(figures) = stats {
                                let sum = queues.entry(queue.header.index as u32).or_default();
                                // A classful one counts what its leaves drop, too.
                                sum.0 = sum.0.max(figures.drops.into());
                                sum.1 = sum.1.max(figures.qlen.into());
                            }
                        }
                    }
                }
            }
        });
        (queues
            .into_iter()
            .map(|(index, (drops, queued))| (index, drops, queued)))
        .collect()
    }
}

fn take_route(route: &RouteMessage) -> Route {
    let mut taken = Route {
        ifindex: 0,
        gateway: None,
        kind: route.header.kind,
        mtu: None,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => taken.ifindex = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => taken.gateway = Some((*v4).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => taken.gateway = Some((*v6).into()),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    if let RouteMetric::Mtu(mtu) = metric {
                        taken.mtu = (*mtu != 0).then_some(*mtu);
                    }
                }
            }
            _ => {}
        }
    }
    taken
}

/// Counters of the IP layer that tell of a drop, as /proc/net/snmp and netstat call them.
const IP: [&str; 6] = [
    "InHdrErrors",
    "InAddrErrors",
    "InDiscards",
    "OutDiscards",
    "ReasmFails",
    "FragFails",
];

/// What this host's counters showed at a time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When, by the monotonic clock.
    pub at_ns: u64,
    /// By name.
    counters: HashMap<String, u64>,
    /// Packets in queues, by interface.
    queued: HashMap<u32, u64>,
    /// Packets that the control ring dropped.
    pub ring_drops: u64,
    /// Packets that the probes' sockets dropped.
    pub socket_drops: u64,
}

/// Snapshots that are kept: one a second, for as long as the usual time limit of a probe.
const SNAPSHOTS: usize = 16;
/// A snapshot that is so old is new enough.
const FRESH_NS: u64 = 20_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The counters over time.
#[derive(Default)]
pub struct Counters {
    snapshots: VecDeque<Snapshot>,
}

impl Counters {
    /// Is it time for a snapshot?
    pub fn is_due(&self, now_ns: u64) -> bool {
        (self.snapshots.back()).is_none_or(|last| now_ns > last.at_ns + SECOND_NS)
    }

    /// Is the last one too old to tell of what has just happened?
    pub fn is_stale(&self, now_ns: u64) -> bool {
        (self.snapshots.back()).is_none_or(|last| now_ns > last.at_ns + FRESH_NS)
    }

    /// Takes one.
    pub fn take(
        &mut self,
        host: &mut Host,
        now_ns: u64,
        ring_drops: u64,
        socket_drops: u64,
        name: impl Fn(u32) -> String,
    ) {
        let mut snapshot = Snapshot {
            at_ns: now_ns,
            ring_drops,
            socket_drops,
            ..Snapshot::default()
        };
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
        };
        for (table, field, value) in pairs(&read("snmp")).chain(pairs(&read("netstat"))) {
            let wanted = (table == "Ip" && IP.contains(&field)) || field == counter::REVERSE_PATH;
            if wanted {
                snapshot.counters.insert(field.to_owned(), value);
            }
        }
        for line in read("snmp6").lines() {
            let mut words = line.split_whitespace();
            if let (Some(field), Some(Ok(value))) = (words.next(), words.next().map(str::parse))
                && let Some(short) = field.strip_prefix("Ip6")
                && IP.contains(&short)
            {
                snapshot.counters.insert(field.to_owned(), value);
            }
        }
        for (index, drops, queued) in host.queues() {
            snapshot
                .counters
                .insert(format!("{} {}", counter::QUEUE, name(index)), drops);
            snapshot.queued.insert(index, queued);
        }
        if self.snapshots.len() >= SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(snapshot);
    }

    /// What moved from before `since_ns` on, by the last snapshot.
    pub fn moved(&self, since_ns: u64) -> (Vec<(String, u64)>, u64, u64) {
        let before = (self.snapshots.iter().rev())
            .find(|snapshot| snapshot.at_ns <= since_ns)
            .or(self.snapshots.front());
        let (Some(before), Some(last)) = (before, self.snapshots.back()) else {
            return (vec![], 0, 0);
        };
        let mut moved: Vec<(String, u64)> = (last.counters.iter())
            .filter_map(|(name, now)| {
                let by = now.saturating_sub(*before.counters.get(name).unwrap_or(now));
                (by > 0).then(|| (name.clone(), by))
            })
            .collect();
        moved.sort();
        let ring = last.ring_drops - before.ring_drops.min(last.ring_drops);
        let socket = last.socket_drops - before.socket_drops.min(last.socket_drops);
        (moved, ring, socket)
    }

    /// Packets that wait in an interface's queue, by the last snapshot.
    pub fn queued(&self, ifindex: u32) -> u64 {
        (self.snapshots.back()).map_or(0, |last| last.queued.get(&ifindex).copied().unwrap_or(0))
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.snapshots.clear();
    }
}

/// The files with a line of names above a line of values, each begun by its table's name.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str, u64)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for pair in lines.chunks_exact(2) {
        let (mut names, mut values) = (pair[0].split_whitespace(), pair[1].split_whitespace());
        let table = names.next().unwrap_or_default().trim_end_matches(':');
        values.next();
        for (name, value) in names.zip(values) {
            if let Ok(value) = value.parse() {
                all.push((table, name, value));
            }
        }
    }
    all.into_iter()
}
