//! SHELL. State of this host on the path to a target: routes and neighbors from netlink, and the
//! counters that increase when it drops packets. Reading them needs no privilege.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::neighbour::NeighbourState;

use crate::linux::counters::{self as readings, Reading};
use crate::linux::netlink::{KernelNeighbor, Netlink, Route, RouteQuery, queues, take_neighbor};
use crate::linux::proc_net;
use netsonde_core::host::counters;
use netsonde_core::probe::NeighborState;
use netsonde_core::probe::fate::counter;

/// Queries of kernel state.
pub struct Host {
    netlink: Netlink,
    /// For lists that the kernel restricts to what is requested; `None` before Linux 4.20.
    strict: Option<Netlink>,
}

impl Host {
    /// Opens the netlink socket.
    pub fn open() -> io::Result<Host> {
        Ok(Host {
            netlink: Netlink::open()?,
            strict: Netlink::open()?.strict().ok(),
        })
    }

    /// Returns the prefixes that the kernel routes as broadcast, of all tables.
    pub fn broadcast_routes(&mut self) -> io::Result<Vec<(Ipv4Addr, u8)>> {
        let netlink = self.strict.as_mut().unwrap_or(&mut self.netlink);
        netlink.broadcast_routes()
    }

    /// Returns the route to `target`.
    pub fn route(&mut self, target: IpAddr, query: &RouteQuery) -> io::Result<Route> {
        self.netlink.route(target, query)
    }

    /// Returns the state of an address in the neighbor table; `None` if there is no entry.
    pub fn neighbor(&mut self, ifindex: u32, address: IpAddr) -> Option<NeighborState> {
        let entry = self.netlink.neighbor(ifindex, address).ok()?;
        match entry.header.state {
            NeighbourState::Incomplete | NeighbourState::Failed => Some(NeighborState::Unresolved),
            NeighbourState::None => None,
            _ => Some(NeighborState::Known),
        }
    }

    /// Returns the entry of an address in the neighbor table, if it has one.
    pub fn neighbor_entry(&mut self, ifindex: u32, address: IpAddr) -> Option<KernelNeighbor> {
        take_neighbor(&self.netlink.neighbor(ifindex, address).ok()?)
    }

    /// Returns the neighbor tables, at most `max` entries.
    pub fn neighbors(&mut self, max: usize) -> io::Result<Vec<KernelNeighbor>> {
        self.netlink.neighbors(max)
    }

    /// Reads all counters of interfaces and of dropped packets.
    pub fn counters(
        &mut self,
        name: impl Fn(u32) -> String,
        each: impl FnMut(Reading<'_>),
    ) -> io::Result<()> {
        readings::read(&mut self.netlink, name, each).map(|_| ())
    }

    /// Returns for each interface the packets that its queueing discipline has dropped, and those that
    /// are waiting in it: index, drops, waiting.
    fn queues(&mut self) -> Vec<(u32, u64, u64)> {
        let mut found: HashMap<u32, (u64, u64)> = HashMap::new();
        let _ = queues(&mut self.netlink, |queue| {
            let sum = found.entry(queue.ifindex).or_default();
            // A classful discipline includes the drops of its leaves.
            sum.0 = sum.0.max(queue.drops);
            sum.1 = sum.1.max(queue.waiting);
        });
        found
            .into_iter()
            .map(|(index, (drops, queued))| (index, drops, queued))
            .collect()
    }
}

/// Counters of drops in the IP layer, by their names in /proc/net/snmp and /proc/net/netstat.
const IP_DROPS: [&str; 7] = [
    "InHdrErrors",
    "InAddrErrors",
    "InDiscards",
    "OutDiscards",
    "ReasmFails",
    "ReasmTimeout",
    "FragFails",
];

/// A sample of this host's counters.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Time on the monotonic clock, in nanoseconds.
    pub at_ns: u64,
    /// Values by counter name.
    counters: HashMap<String, u64>,
    /// Packets waiting in queues, by interface index.
    queued: HashMap<u32, u64>,
    /// Packets dropped by the control ring since it was opened.
    pub ring_drops: u64,
    /// Packets dropped at the prober's sockets since they were opened.
    pub socket_drops: u64,
}

/// Snapshots kept: one per second, for longer than the default timeout of a probe.
const MAX_SNAPSHOTS: usize = 16;
/// Maximum age of a snapshot that still counts as current, in nanoseconds.
const FRESH_NS: u64 = 20_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// History of the counters.
#[derive(Default)]
pub struct Counters {
    snapshots: VecDeque<Snapshot>,
}

impl Counters {
    /// Returns whether the next snapshot of the history is due.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.snapshots
            .back()
            .is_none_or(|last| now_ns > last.at_ns + SECOND_NS)
    }

    /// Returns whether the last snapshot is too old to include recent drops.
    pub fn is_stale(&self, now_ns: u64) -> bool {
        self.snapshots
            .back()
            .is_none_or(|last| now_ns > last.at_ns + FRESH_NS)
    }

    /// Samples all counters.
    pub fn sample(
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
        let all = counters::parse_snmp(&proc_net("snmp"))
            .into_iter()
            .chain(counters::parse_snmp(&proc_net("netstat")))
            .chain(counters::parse_snmp6(&proc_net("snmp6")));
        for (name, value) in all {
            let short = name.strip_prefix("Ip6").or(name.strip_prefix("Ip"));
            if name == counter::REVERSE_PATH || short.is_some_and(|short| IP_DROPS.contains(&short))
            {
                snapshot.counters.insert(name, value);
            }
        }
        for (index, drops, queued) in host.queues() {
            snapshot
                .counters
                .insert(format!("{} {}", counter::QUEUE, name(index)), drops);
            snapshot.queued.insert(index, queued);
        }
        if self.snapshots.len() >= MAX_SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(snapshot);
    }

    /// Returns what increased between the last snapshot before `since_ns` and the latest one: counters
    /// by name, drops of the control ring, drops at the prober's sockets.
    pub fn increases(&self, since_ns: u64) -> (Vec<(String, u64)>, u64, u64) {
        let before = self
            .snapshots
            .iter()
            .rev()
            .find(|snapshot| snapshot.at_ns <= since_ns)
            .or(self.snapshots.front());
        let (Some(before), Some(last)) = (before, self.snapshots.back()) else {
            return (vec![], 0, 0);
        };
        let mut increased: Vec<(String, u64)> = last
            .counters
            .iter()
            .filter_map(|(name, now)| {
                let by = now.saturating_sub(*before.counters.get(name).unwrap_or(now));
                (by > 0).then(|| (name.clone(), by))
            })
            .collect();
        increased.sort();
        let ring = last.ring_drops - before.ring_drops.min(last.ring_drops);
        let socket = last.socket_drops - before.socket_drops.min(last.socket_drops);
        (increased, ring, socket)
    }

    /// Returns the number of packets in an interface's queue at the latest snapshot.
    pub fn queued(&self, ifindex: u32) -> u64 {
        self.snapshots
            .back()
            .map_or(0, |last| last.queued.get(&ifindex).copied().unwrap_or(0))
    }

    /// Discards all snapshots.
    pub fn clear(&mut self) {
        self.snapshots.clear();
    }
}
