//! PURE. The evidence for a diagnosis of a group: the subject, packets on the wire, and kernel state. A
//! capture file provides only packets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::wire::Wire;
use crate::host::counters::Counters;
use crate::host::membership::{Membership, SourceFilter, Versions};
use crate::host::mroute::{Route, Vif};
use crate::host::socket::ProcSocket;
use crate::multicast::Key;
use crate::probe::routing::Prefix;

/// The subject of a diagnosis.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The group.
    pub group: IpAddr,
    /// The only port to consider; `None` for all.
    pub port: Option<u16>,
    /// The only source to consider; `None` for all.
    pub source: Option<IpAddr>,
    /// The only interface to consider; `None` for all.
    pub interface: Option<String>,
    /// Whether the client joined the group for this diagnosis.
    pub joined_here: bool,
}

/// All evidence for one diagnosis of a group.
#[derive(Debug)]
pub struct GroupEvidence {
    /// The subject.
    pub subject: Subject,
    /// The observation window, in nanoseconds since 1970; for a file, its whole time.
    pub window: (u64, u64),
    /// Start of the record of group management, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Start of the record of the group's packets, in nanoseconds since 1970.
    pub data_since_ns: u64,
    /// Packets on the wire.
    pub wire: Wire,
    /// Loss counts of the service for streams whose packets the record truncates, or has a sample of.
    pub measured: Vec<Measured>,
    /// Whether the record has only a sample of some packets of the window: missing numbers then show no loss.
    pub is_sampled: bool,
    /// Kernel state; `None` for a capture file.
    pub host: Option<KernelState>,
}

/// Packets of a stream counted by the service during the window.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The stream.
    pub key: Key,
    /// Kind of its sequence numbers: "RTP", "MPEG-TS".
    pub kind: &'static str,
    /// Numbered packets.
    pub packets: u64,
    /// Missing sequence numbers.
    pub lost: u64,
}

/// Kernel state of this host; values that can change are sampled before and after the window.
#[derive(Debug, Default)]
pub struct KernelState {
    /// Counters.
    pub counters: BeforeAfter<Counters>,
    /// Interfaces.
    pub links: Vec<Link>,
    /// Group memberships, by interface.
    pub memberships: HashMap<u32, Vec<Membership>>,
    /// IGMP version in use, by interface.
    pub igmp_versions: Versions,
    /// Source filters of groups.
    pub filters: Vec<SourceFilter>,
    /// UDP sockets.
    pub udp: BeforeAfter<Vec<ProcSocket>>,
    /// Raw IGMP sockets, with the process if the caller may know it.
    pub igmp_sockets: Vec<(ProcSocket, Option<Process>)>,
    /// Sockets and processes that joined the group; `None` if the caller may not know.
    pub holders: Option<Vec<Holder>>,
    /// Multicast MAC addresses in the filter of each device.
    pub dev_mcast: Vec<(u32, String)>,
    /// Relevant sysctls, by their paths below /proc/sys.
    pub sysctls: BTreeMap<String, i64>,
    /// The interface of the route to the group; `None` without a route.
    pub route_to_group: Option<u32>,
    /// For each observed source, the interface of the route back to it; `None` without a route.
    pub routes_back: BTreeMap<IpAddr, Option<u32>>,
    /// The forwarding cache.
    pub mroutes: BeforeAfter<Vec<Route>>,
    /// Routing interfaces.
    pub vifs: BeforeAfter<Vec<Vif>>,
    /// IGMP and MLD messages on the wire and after the IP layer, by interface.
    pub listened: BeforeAfter<BTreeMap<u32, Listened>>,
    /// Interfaces that lost their link, with the time in nanoseconds since 1970.
    pub went_down: Vec<(u32, u64)>,
    /// Packets dropped by netsonde's rings during the window.
    pub ring_drops: u64,
    /// Process IDs of netsonde itself, which are not applications.
    pub own_pids: Vec<u32>,
}

/// A value at the beginning and the end of the observation window.
#[derive(Clone, Debug, Default)]
pub struct BeforeAfter<T> {
    /// At the beginning of the window.
    pub before: T,
    /// At the end of the window.
    pub after: T,
}

/// A process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Process ID.
    pub pid: u32,
    /// Name of its command.
    pub command: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} (process {})", self.command, self.pid)
    }
}

/// A UDP socket with its process and memberships.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The process that holds it.
    pub process: Process,
    /// Inode number, as in /proc/net/udp.
    pub inode: u64,
    /// Memberships of the diagnosed group: interface, group, whether the filter mode is include, sources.
    pub joined: Vec<(u32, IpAddr, bool, Vec<IpAddr>)>,
    /// Number of all groups that it has joined.
    pub groups: usize,
    /// Whether it receives groups that only other sockets have joined (IP_MULTICAST_ALL).
    pub takes_all: bool,
    /// The interface that it is bound to; `None` for all.
    pub device: Option<String>,
    /// Its receive buffer, in bytes.
    pub receive_buffer: u64,
}

/// Cumulative counts of messages received on an interface, on the wire and at a raw socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listened {
    /// IGMP messages on the wire.
    pub igmp_wire: u64,
    /// IGMP messages at a raw socket, after the INPUT chain.
    pub igmp_heard: u64,
    /// ICMPv6 messages on the wire.
    pub icmp6_wire: u64,
    /// ICMPv6 messages at a raw socket, after the INPUT chain.
    pub icmp6_heard: u64,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// MAC address; `None` if it has none.
    pub mac: Option<String>,
    /// Kind of device, as ip-link(8) names it: "veth", "bridge", "macvlan"; empty for hardware.
    pub kind: String,
    /// Flags (IFF_*, linux/if.h).
    pub flags: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Number of users that hold it in promiscuous mode.
    pub promiscuity: u32,
    /// Number of users that hold it in all-multicast mode.
    pub allmulti: u32,
    /// Index of the bridge or bond of which it is a port.
    pub master: Option<u32>,
    /// Index of the device below a macvlan or VLAN, or of the peer of a veth, if that is in the same
    /// namespace.
    pub parent: Option<u32>,
    /// Whether that device is in another namespace.
    pub is_parent_elsewhere: bool,
    /// Operational state (RFC 2863), as ip-link(8) shows it: "UP", "DORMANT", "LOWERLAYERDOWN"; empty if
    /// the kernel does not report it.
    pub operstate: String,
    /// Addresses and prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whether an XDP program is attached.
    pub xdp: bool,
    /// Packets that the device dropped on receive (rx_dropped) during the window.
    pub dropped: u64,
    /// Bridge settings, if it is a bridge.
    pub bridge: Option<Bridge>,
    /// Port settings, if it is a port of a bridge.
    pub port: Option<Port>,
}

impl Link {
    /// Returns whether it is set up (IFF_UP, linux/if.h).
    pub fn is_up(&self) -> bool {
        self.flags & 0x1 != 0
    }

    /// Returns whether it is a loopback device (IFF_LOOPBACK).
    pub fn is_loopback(&self) -> bool {
        self.flags & 0x8 != 0
    }

    /// Returns whether it supports multicast (IFF_MULTICAST).
    pub fn does_multicast(&self) -> bool {
        self.flags & 0x1000 != 0
    }

    /// Returns whether it has an address of the family of `like`, including link-local ones.
    pub fn has_address(&self, like: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|(own, _)| own.is_ipv4() == like.is_ipv4())
    }

    /// Returns whether an address is in one of its networks.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|(own, prefix)| in_network(*own, *prefix, address))
    }
}

/// Returns whether `address` is in the network `network`/`prefix`.
pub fn in_network(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let network = Prefix {
        address: network,
        bits: prefix,
    };
    network.contains(address)
}

/// Multicast settings of a bridge.
#[derive(Clone, Debug, Default)]
pub struct Bridge {
    /// Whether it forwards groups only to ports with members (mcast_snooping).
    pub snooping: bool,
    /// Whether it sends queries itself (mcast_querier).
    pub querier: bool,
    /// Version of its own IGMP queries.
    pub igmp_version: u8,
    /// Version of its own MLD queries.
    pub mld_version: u8,
    /// Whether it queries from its own address instead of 0.0.0.0 (mcast_query_use_ifaddr).
    pub uses_own_address: bool,
    /// Lifetime of a membership, in nanoseconds.
    pub membership_ns: u64,
    /// Time without a query after which it assumes that there is no other querier, in nanoseconds.
    pub querier_ns: u64,
    /// Maximum number of groups (mcast_hash_max).
    pub max_groups: u32,
    /// Whether its own setting makes bridged packets pass the IP firewall (nf_call_iptables).
    pub calls_firewall: bool,
}

/// Settings of a bridge port.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// Whether it exchanges no packets with other isolated ports.
    pub isolated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(in_network(ip("10.0.0.1"), 24, ip("10.0.0.99")));
        assert!(!in_network(ip("10.0.0.1"), 24, ip("10.0.1.99")));
        assert!(in_network(ip("10.0.0.1"), 0, ip("192.0.2.1")));
        assert!(in_network(ip("fd00::1"), 64, ip("fd00::2")));
        assert!(!in_network(ip("fd00::1"), 64, ip("10.0.0.1")));
    }
}
