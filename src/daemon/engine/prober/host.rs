//! SHELL. Kernel state for the path to a target: routes and neighbors from netlink, and counters of
//! local drops. None of it needs privilege.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::tc::{TcAttribute, TcMessage, TcStats2};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::linux::netlink::{KernelNeighbor, Netlink, Route};
use crate::linux::proc_net;
use netsonde_core::host::counters;
use netsonde_core::probe::NeighborState;
use netsonde_core::probe::fate::counter;

/// Queries of the kernel.
pub struct Host {
    netlink: Netlink,
}

impl Host {
    /// Opens the netlink socket.
    pub fn open() -> io::Result<Host> {
        Ok(Host {
            netlink: Netlink::open()?,
        })
    }

    /// Returns the route of a packet to `target`.
    pub fn route(
        &mut self,
        target: IpAddr,
        ifindex: u32,
        source: Option<IpAddr>,
    ) -> io::Result<Route> {
        self.netlink.route(target, ifindex, source)
    }

    /// Returns the neighbor entry. Returns `None` if there is none.
    pub fn neighbour(&mut self, ifindex: u32, who: IpAddr) -> Option<NeighborState> {
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
        let asked = self
            .netlink
            .ask(RouteNetlinkMessage::GetNeighbour(message), 0, |answer| {
                if let RouteNetlinkMessage::NewNeighbour(neighbour) = answer {
                    found = match neighbour.header.state {
                        NeighbourState::Incomplete | NeighbourState::Failed => {
                            Some(NeighborState::Unresolved)
                        }
                        NeighbourState::None => None,
                        _ => Some(NeighborState::Known),
                    };
                }
            });
        asked.ok().and(found)
    }

    /// Returns the neighbor tables, at most `most` entries.
    pub fn neighbors(&mut self, most: usize) -> io::Result<Vec<KernelNeighbor>> {
        self.netlink.neighbors(most)
    }

    /// Packets dropped by, and waiting in, the queueing discipline of each interface.
    fn queues(&mut self) -> Vec<(u32, u64, u64)> {
        let mut queues: HashMap<u32, (u64, u64)> = HashMap::new();
        let message = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let _ = self.netlink.ask(message, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewQueueDiscipline(queue) = answer {
                for attribute in &queue.attributes {
                    if let TcAttribute::Stats2(all) = attribute {
                        for stats in all {
                            if let TcStats2::Queue(figures) = stats {
                                let sum = queues.entry(queue.header.index as u32).or_default();
                                // A classful qdisc includes the drops of its leaves.
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

/// Counters of drops in the IP layer, as named in /proc/net/snmp and netstat.
const IP: [&str; 6] = [
    "InHdrErrors",
    "InAddrErrors",
    "InDiscards",
    "OutDiscards",
    "ReasmFails",
    "FragFails",
];

/// The counters of this host at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Time on the monotonic clock, in nanoseconds.
    pub at_ns: u64,
    /// Counters by name.
    counters: HashMap<String, u64>,
    /// Packets in queues, by interface.
    queued: HashMap<u32, u64>,
    /// Packets dropped by the control ring.
    pub ring_drops: u64,
    /// Packets dropped at the probe sockets.
    pub socket_drops: u64,
}

/// Number of snapshots kept: one per second, for as long as the usual probe timeout.
const SNAPSHOTS: usize = 16;
/// Maximum age of a snapshot that is still current.
const FRESH_NS: u64 = 20_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The counters over time.
#[derive(Default)]
pub struct Counters {
    snapshots: VecDeque<Snapshot>,
}

impl Counters {
    /// Returns whether a snapshot is due.
    pub fn is_due(&self, now_ns: u64) -> bool {
        (self.snapshots.back()).is_none_or(|last| now_ns > last.at_ns + SECOND_NS)
    }

    /// Returns whether the last snapshot is too old to show a recent event.
    pub fn is_stale(&self, now_ns: u64) -> bool {
        (self.snapshots.back()).is_none_or(|last| now_ns > last.at_ns + FRESH_NS)
    }

    /// Takes a snapshot.
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

        let all = (counters::parse_snmp(&proc_net("snmp")).into_iter())
            .chain(counters::parse_snmp(&proc_net("netstat")))
            .chain(counters::parse_snmp6(&proc_net("snmp6")));
        for (name, value) in all {
            let short = name.strip_prefix("Ip6").or(name.strip_prefix("Ip"));
            if name == counter::REVERSE_PATH || short.is_some_and(|short| IP.contains(&short)) {
                snapshot.counters.insert(name, value);
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

    /// Returns the counters that increased since before `since_ns`, by the last snapshot.
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

    /// Returns the packets waiting in an interface's queue, by the last snapshot.
    pub fn queued(&self, ifindex: u32) -> u64 {
        (self.snapshots.back()).map_or(0, |last| last.queued.get(&ifindex).copied().unwrap_or(0))
    }

    /// Removes all snapshots.
    pub fn clear(&mut self) {
        self.snapshots.clear();
    }
}
