//! PURE. The evidence for a diagnosis of a host: kernel state before and after a short window, data of
//! the service, and the fates of a few echo requests to the gateways.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::sample::Repeats;
use crate::diagnose::evidence::{BeforeAfter, Holder, Link, Process};
use crate::host::counters::Counters;
use crate::host::drops::{Counter, NeighborTable};
use crate::host::membership::{SourceFilter, Versions};
use crate::protocol::history::StatusReply;
use crate::protocol::inventory::Neighbors;
use crate::protocol::multicast::Queriers;
use crate::protocol::ping::Probe;
use crate::protocol::service::Status;

/// A value, or the reason why it is not available.
pub type Known<T> = Result<T, String>;

/// All evidence for a diagnosis of the host.
#[derive(Debug)]
pub struct HostEvidence {
    /// The only interface to diagnose; `None` for all.
    pub only: Option<String>,
    /// The end of the window, in nanoseconds since 1970.
    pub now_ns: u64,
    /// Length of the window, in nanoseconds.
    pub window_ns: u64,
    /// Advance of the wall clock relative to the monotonic clock during the window, in nanoseconds;
    /// negative if it fell behind.
    pub clock_step_ns: i64,
    /// Interfaces.
    pub links: Vec<Interface>,
    /// Routes of all tables.
    pub routes: Vec<Route>,
    /// Relevant sysctls, by their paths below /proc/sys.
    pub sysctls: BTreeMap<String, i64>,
    /// Counters of the IP layer and above.
    pub counters: BeforeAfter<Counters>,
    /// Drop counters that increased, with the owners of sockets.
    pub drops: Vec<Drop>,
    /// Number of times that a CPU stopped receiving with packets left (time_squeeze in
    /// softnet_stat).
    pub squeezed: u64,
    /// The kernel's neighbor tables, which all namespaces share.
    pub tables: Vec<NeighborTable>,
    /// Neighbor entries of this host.
    pub kernel_neighbors: Vec<KernelNeighbor>,
    /// Group memberships of sockets, as far as the caller may know them.
    pub holders: Vec<Holder>,
    /// IGMP version in use, by interface.
    pub igmp_versions: Versions,
    /// Source filters of groups.
    pub filters: Vec<SourceFilter>,
    /// Status of the service at both ends of the window.
    pub status: BeforeAfter<Status>,
    /// Status of the historian beside the service; `None` if there is none.
    pub historian: Known<Option<StatusReply>>,
    /// Hosts seen on the links.
    pub neighbors: Known<Neighbors>,
    /// IGMP and MLD queriers.
    pub queriers: Known<Queriers>,
    /// Evidence for the failure modes of multicast.
    pub multicast: Known<Multicast>,
    /// ICMP messages of the last minutes that concern packet lengths.
    pub lengths: Known<Lengths>,
    /// Packets of the window to groups and to all hosts that were seen more than once.
    pub repeats: Known<Repeats>,
    /// Fates of the echo requests to the gateways.
    pub probes: Known<Vec<Probed>>,
}

/// Evidence for the failure modes of multicast.
#[derive(Debug)]
pub struct Multicast {
    /// Evidence without the packets of any group.
    pub evidence: crate::diagnose::evidence::GroupEvidence,
    /// Groups to diagnose: per family one that is joined here and that switches prune, otherwise
    /// all-systems.
    pub groups: Vec<IpAddr>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// State that the failure modes of multicast use as well.
    pub link: Link,
    /// Duplex mode as the driver reports it: "full", "half" or "unknown".
    pub duplex: Option<String>,
    /// Speed in Mbit/s, as the driver reports it.
    pub speed: Option<i64>,
    /// Addresses with their states.
    pub addresses: Vec<Address>,
    /// Packets received and sent during the window, by the device's counters.
    pub packets: (u64, u64),
}

impl Interface {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// Returns whether it is up with a carrier (IFF_LOWER_UP, linux/if.h).
    pub fn works(&self) -> bool {
        self.link.is_up() && self.has_carrier()
    }

    /// Returns whether there is a carrier.
    pub fn has_carrier(&self) -> bool {
        self.link.flags & 0x1_0000 != 0
    }

    /// Iterates over addresses of more than link scope.
    pub fn wide_addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(|one| match one.address {
            IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback(),
        })
    }
}

/// An address of this host.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// Whether duplicate address detection failed (IFA_F_DADFAILED).
    pub is_taken: bool,
    /// Whether duplicate address detection is not finished (IFA_F_TENTATIVE).
    pub is_tentative: bool,
    /// Time since the last change of the address, in nanoseconds.
    pub age_ns: u64,
}

/// A route with an outgoing interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Name of the outgoing interface.
    pub interface: String,
    /// Destination network.
    pub network: IpAddr,
    /// Prefix length in bits.
    pub bits: u8,
    /// Gateway; `None` if the network is on the link.
    pub gateway: Option<IpAddr>,
    /// Metric; the route with the lowest is used.
    pub metric: u32,
    /// Whether the gateway is declared to be on the link (RTNH_F_ONLINK).
    pub is_onlink: bool,
    /// Number of its routing table.
    pub table: u32,
}

impl Route {
    /// Number of the main table (RT_TABLE_MAIN, linux/rtnetlink.h).
    pub const MAIN: u32 = 254;

    /// Returns whether this is a default route of the main table. Those of other tables serve the packets
    /// that a rule selects.
    pub fn is_default(&self) -> bool {
        self.bits == 0 && self.table == Route::MAIN
    }
}

/// A drop counter that increased during the window.
#[derive(Clone, Debug)]
pub struct Drop {
    /// The counter and its meaning.
    pub counter: &'static Counter,
    /// Subject of the counter: an interface, a socket, this namespace.
    pub subject: String,
    /// Increase during the window.
    pub count: u64,
    /// Process that holds the socket, if it is a socket.
    pub owner: Option<Process>,
}

/// A neighbor entry of the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelNeighbor {
    /// Name of the interface.
    pub interface: String,
    /// Address of the neighbor.
    pub address: IpAddr,
    /// State, named as in ip-neighbour(8).
    pub state: &'static str,
}

/// Received ICMP messages that concern packet lengths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lengths {
    /// Number of messages examined.
    pub examined: u64,
    /// Messages longer than an MTU of this host, and errors that name an MTU, newest last.
    pub messages: Vec<Length>,
}

/// An ICMP message that concerns packet lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Length {
    /// Name of the receiving interface.
    pub interface: String,
    /// Source address.
    pub source: IpAddr,
    /// Minimum length with the IP header, in bytes.
    pub length: u32,
    /// MTU and destination of the packet, in a "fragmentation needed" or "packet too big" error.
    pub too_big: Option<(u32, Option<IpAddr>)>,
}

/// Echo requests to a gateway.
#[derive(Clone, Debug)]
pub struct Probed {
    /// The gateway.
    pub gateway: IpAddr,
    /// Name of the outgoing interface.
    pub interface: String,
    /// Fate of each request.
    pub probes: Vec<Probe>,
}

impl Probed {
    /// Returns the number of requests with this fate.
    pub fn count(&self, fate: &str) -> usize {
        self.probes.iter().filter(|one| one.fate == fate).count()
    }

    /// Returns the first request with this fate.
    pub fn first(&self, fate: &str) -> Option<&Probe> {
        self.probes.iter().find(|one| one.fate == fate)
    }

    /// Returns the number of requests that were answered, in time or late.
    pub fn answered(&self) -> usize {
        self.count("replied") + self.count("late")
    }
}

/// Converts a time in RFC 3339 to nanoseconds since 1970.
pub fn ns(text: &str) -> Option<u64> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

impl HostEvidence {
    /// Iterates over the interfaces to diagnose, which never include loopback.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.links
            .iter()
            .filter(|one| !one.link.is_loopback() && self.is_wanted(&one.link.name))
    }

    /// Returns whether this interface is to be diagnosed.
    pub fn is_wanted(&self, interface: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == interface)
    }

    /// Returns the interface with this name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.links.iter().find(|one| one.link.name == name)
    }

    /// Iterates over the ports of a bridge or bond.
    pub fn ports(&self, master: &Link) -> impl Iterator<Item = &Interface> {
        let master = master.ifindex;
        self.links
            .iter()
            .filter(move |one| one.link.master == Some(master))
    }

    /// Returns the gateways of routes through the diagnosed interfaces, each once, those of default
    /// routes first.
    pub fn gateways(&self) -> Vec<(IpAddr, &str)> {
        let mut routes: Vec<&Route> = self
            .routes
            .iter()
            .filter(|route| route.gateway.is_some() && self.is_wanted(&route.interface))
            .collect();
        routes.sort_by_key(|route| (!route.is_default(), route.metric));
        let mut all: Vec<(IpAddr, &str)> = Vec::new();
        for route in routes {
            let entry = route
                .gateway
                .map(|gateway| (gateway, route.interface.as_str()));
            all.extend(entry.filter(|entry| !all.contains(entry)));
        }
        all
    }

    /// Returns whether this is the gateway of the best default route of its family.
    pub fn is_first_gateway(&self, gateway: IpAddr) -> bool {
        let defaults = self
            .routes
            .iter()
            .filter(|route| route.is_default() && route.network.is_ipv4() == gateway.is_ipv4());
        let best = defaults.clone().map(|route| route.metric).min();
        let mut defaults = defaults.filter(|route| Some(route.metric) == best);
        defaults.any(|route| route.gateway == Some(gateway))
    }

    /// Returns a sysctl, by its path below /proc/sys.
    pub fn sysctl(&self, name: &str) -> Option<i64> {
        self.sysctls.get(name).copied()
    }

    /// Returns a sysctl of an interface (IPv4), or that of "all" if it is higher.
    pub fn sysctl_max(&self, interface: &str, name: &str) -> i64 {
        let of = |part: &str| self.sysctl(&format!("net/ipv4/conf/{part}/{name}"));
        of(interface).unwrap_or(0).max(of("all").unwrap_or(0))
    }

    /// Returns the time since an RFC 3339 timestamp, in nanoseconds.
    pub fn ago_ns(&self, time: &str) -> u64 {
        self.now_ns.saturating_sub(ns(time).unwrap_or(self.now_ns))
    }

    /// Returns the number of hosts seen on an interface within the last minute, without this host.
    pub fn hosts_seen(&self, interface: &str) -> usize {
        let Ok(neighbors) = &self.neighbors else {
            return 0;
        };
        neighbors
            .neighbors
            .iter()
            .filter(|one| one.interface == interface && self.ago_ns(&one.last) < 60_000_000_000)
            .count()
    }
}

/// Joins names: "e0, e1", or "none".
pub fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    if all.is_empty() {
        "none".into()
    } else {
        all.join(", ")
    }
}
