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
    /// Loss counts of the service for streams whose packets the record truncates.
    pub measured: Vec<Measured>,
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

/// A UDP socket, what it has joined of the group, and whose it is.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Whose.
    pub process: Process,
    /// Its number, as in /proc/net/udp.
    pub inode: u64,
    /// Memberships of the group that is asked about: interface, group, include mode, sources.
    pub joined: Vec<(u32, IpAddr, bool, Vec<IpAddr>)>,
    /// How many groups it holds in all.
    pub groups: usize,
    /// Does it take what other sockets have joined (IP_MULTICAST_ALL)?
    pub takes_all: bool,
    /// The interface that it is bound to.
    pub device: Option<String>,
    /// Its receive buffer, in bytes.
    pub receive_buffer: u64,
}

/// Two vantage points of one interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listened {
    /// IGMP on the wire, coming in.
    pub igmp_wire: u64,
    /// IGMP at a raw socket, behind the firewall.
    pub igmp_heard: u64,
    /// ICMPv6 on the wire.
    pub icmp6_wire: u64,
    /// ICMPv6 at a raw socket.
    pub icmp6_heard: u64,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Link-layer address, where it has one.
    pub mac: Option<String>,
    /// What kind of device: "veth", "bridge", "macvlan"; empty for hardware.
    pub kind: String,
    /// IFF_ flags.
    pub flags: u32,
    /// Bytes.
    pub mtu: u32,
    /// Who holds it promiscuous.
    pub promiscuity: u32,
    /// Who holds it in all-multicast mode.
    pub allmulti: u32,
    /// Bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Device below, of a macvlan or VLAN, where that is in the same namespace.
    pub parent: Option<u32>,
    /// Addresses and prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Has it an XDP program?
    pub xdp: bool,
    /// Packets that the device dropped on receiving, in the window.
    pub dropped: u64,
    /// Settings of a bridge.
    pub bridge: Option<Bridge>,
    /// Settings of a bridge's port.
    pub port: Option<Port>,
}

impl Link {
    /// IFF_UP (linux/if.h).
    pub fn is_up(&self) -> bool {
        self.flags & 0x1 != 0
    }

    /// IFF_LOOPBACK.
    pub fn is_loopback(&self) -> bool {
        self.flags & 0x8 != 0
    }

    /// IFF_MULTICAST.
    pub fn does_multicast(&self) -> bool {
        self.flags & 0x1000 != 0
    }

    /// Has it an address of the family of `like`? Link-local ones count.
    pub fn has_address(&self, like: IpAddr) -> bool {
        (self.addresses.iter()).any(|(own, _)| own.is_ipv4() == like.is_ipv4())
    }

    /// Is an address in one of its networks?
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        (self.addresses.iter()).any(|(own, prefix)| in_network(*own, *prefix, address))
    }
}

/// Is an address in the network of another?
pub fn in_network(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32u32.saturating_sub(prefix.into());
            let cut = |of: std::net::Ipv4Addr| u32::from(of).checked_shr(shift).unwrap_or(0);
            cut(a) == cut(b)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128u32.saturating_sub(prefix.into());
            let cut = |of: std::net::Ipv6Addr| u128::from(of).checked_shr(shift).unwrap_or(0);
            cut(a) == cut(b)
        }
        _ => false,
    }
}

/// How a bridge treats multicast. Times are nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Bridge {
    /// Does it keep groups from ports without members?
    pub snooping: bool,
    /// Does it ask for memberships itself?
    pub querier: bool,
    /// Version of its own IGMP queries.
    pub igmp_version: u8,
    /// Version of its own MLD queries.
    pub mld_version: u8,
    /// Does it ask with its own address (else with 0.0.0.0)?
    pub uses_own_address: bool,
    /// How long a membership lasts.
    pub membership_ns: u64,
    /// After that long without a query it takes it that there is no other querier.
    pub querier_ns: u64,
    /// Groups that it has room for.
    pub max_groups: u32,
    /// Does it show bridged packets to the IP firewall, by its own setting?
    pub calls_firewall: bool,
}

/// How a bridge treats one of its ports.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// Do isolated ports not hear it?
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
