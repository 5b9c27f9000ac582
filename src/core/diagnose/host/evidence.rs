//! PURE. What a diagnosis of a host rests on: what its kernel says before and after a short window, what
//! netsonded has heard, and what became of a few echo requests to its gateways.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::diagnose::evidence::{Holder, Link, Process, Span};
use crate::host::counters::Counters;
use crate::host::drops::{Counter, NeighborTable};
use crate::host::membership::{SourceFilter, Versions};
use crate::protocol::inventory::Neighbors;
use crate::protocol::multicast::Queriers;
use crate::protocol::ping::Probe;
use crate::protocol::service::Status;

/// Something, or why it could not be had.
pub type Known<T> = Result<T, String>;

/// All of it.
#[derive(Debug)]
pub struct Evidence {
    /// Only this interface matters.
    pub only: Option<String>,
    /// The end of the window, in nanoseconds since 1970.
    pub now_ns: u64,
    /// How long it was.
    pub window_ns: u64,
    /// How far the wall clock went ahead of the monotonic one meanwhile; negative: it fell behind.
    pub clock_step_ns: i64,
    /// Interfaces.
    pub links: Vec<Interface>,
    /// Routes of the main table.
    pub routes: Vec<Route>,
    /// Sysctls that matter here, by their paths below /proc/sys.
    pub sysctls: BTreeMap<String, i64>,
    /// Counters of the IP layer and above.
    pub counters: Span<Counters>,
    /// Counters of drops that moved, sockets with their owners.
    pub drops: Vec<Drop>,
    /// How often a CPU had to stop taking packets in although there were more (softnet_stat).
    pub squeezed: u64,
    /// Neighbour tables of the kernel; they are those of all namespaces together.
    pub tables: Vec<NeighborTable>,
    /// Neighbours that this host believes in.
    pub kernel_neighbours: Vec<KernelNeighbour>,
    /// Groups that sockets hold, as far as the asker may know.
    pub holders: Vec<Holder>,
    /// The version of IGMP that is spoken, by interface.
    pub igmp_versions: Versions,
    /// Source filters of groups.
    pub filters: Vec<SourceFilter>,
    /// The service.
    pub status: Span<Status>,
    /// Who was heard on the links.
    pub neighbors: Known<Neighbors>,
    /// Who asks for memberships.
    pub queriers: Known<Queriers>,
    /// What multicast's modes rest on.
    pub multicast: Known<Multicast>,
    /// ICMP of the last minutes that tells of lengths.
    pub lengths: Known<Lengths>,
    /// What became of the echo requests to the gateways.
    pub probes: Known<Vec<Probed>>,
}

/// For the modes of multicast.
#[derive(Debug)]
pub struct Multicast {
    /// Their evidence, without the packets of any group.
    pub evidence: crate::diagnose::evidence::Evidence,
    /// Groups to ask about: of each family one that is held here and that switches prune, else all-systems.
    pub groups: Vec<IpAddr>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// What multicast's modes know of it, too.
    pub link: Link,
    /// "full", "half" or "unknown", as the driver says.
    pub duplex: Option<String>,
    /// In Mbit/s, as the driver says.
    pub speed: Option<i64>,
    /// Addresses with their states.
    pub addresses: Vec<Address>,
    /// Packets that came in and went out during the window, by the device's counters.
    pub packets: (u64, u64),
}

impl Interface {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// Is it up, and is there a carrier? IFF_LOWER_UP (linux/if.h).
    pub fn works(&self) -> bool {
        self.link.is_up() && self.has_carrier()
    }

    /// Is there a carrier?
    pub fn has_carrier(&self) -> bool {
        self.link.flags & 0x1_0000 != 0
    }

    /// Addresses that are not for the link alone.
    pub fn wide_addresses(&self) -> impl Iterator<Item = &Address> {
        (self.addresses.iter()).filter(|one| match one.address {
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
    /// Bits of its network.
    pub prefix: u8,
    /// Duplicate address detection found it taken (IFA_F_DADFAILED).
    pub is_taken: bool,
    /// Duplicate address detection is not done (IFA_F_TENTATIVE).
    pub is_tentative: bool,
    /// How long it has been as it is.
    pub age_ns: u64,
}

/// A route of the main table that leads out.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Out of which interface.
    pub interface: String,
    /// Whereto.
    pub network: IpAddr,
    /// Bits of it that count.
    pub bits: u8,
    /// By which router; `None`: the network is on the link.
    pub gateway: Option<IpAddr>,
    /// The lowest is taken.
    pub metric: u32,
    /// The kernel was told to take the gateway as being on the link (RTNH_F_ONLINK).
    pub is_onlink: bool,
}

impl Route {
    /// Is it for all that has no other?
    pub fn is_default(&self) -> bool {
        self.bits == 0
    }
}

/// A counter of drops that moved during the window.
#[derive(Clone, Debug)]
pub struct Drop {
    /// Which one, and what it means.
    pub counter: &'static Counter,
    /// Whose: an interface, a socket, this namespace.
    pub subject: String,
    /// How far.
    pub count: u64,
    /// Who has the socket, if it is one.
    pub owner: Option<Process>,
}

/// A neighbour as the kernel has it.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelNeighbour {
    /// On which interface.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// As ip-neighbour(8) has it.
    pub state: &'static str,
}

/// What ICMP that came in tells of lengths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lengths {
    /// Messages that were looked at.
    pub messages: u64,
    /// Those that matter: longer than an MTU of this host, or errors that name one. Newest last.
    pub told: Vec<Length>,
}

/// A message of ICMP, and what it tells of lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Length {
    /// On which interface it came in.
    pub interface: String,
    /// Who sent it.
    pub source: IpAddr,
    /// Its length with the IP header, in bytes, at least.
    pub length: u32,
    /// "Fragmentation needed" or "packet too big", with the MTU that it tells and the packet's destination.
    pub too_big: Option<(u32, Option<IpAddr>)>,
}

/// Echo requests to a gateway.
#[derive(Clone, Debug)]
pub struct Probed {
    /// The gateway.
    pub gateway: IpAddr,
    /// By which interface.
    pub interface: String,
    /// What became of each.
    pub probes: Vec<Probe>,
}

impl Probed {
    /// How many had that fate.
    pub fn count(&self, fate: &str) -> usize {
        self.probes.iter().filter(|one| one.fate == fate).count()
    }

    /// The first with that fate.
    pub fn first(&self, fate: &str) -> Option<&Probe> {
        self.probes.iter().find(|one| one.fate == fate)
    }

    /// How many came back, in time or late.
    pub fn answered(&self) -> usize {
        self.count("replied") + self.count("late")
    }
}

/// Nanoseconds since 1970 of a time in RFC 3339.
pub fn ns(text: &str) -> Option<u64> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

impl Evidence {
    /// Interfaces that are asked about; loopback never is.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        (self.links.iter()).filter(|one| !one.link.is_loopback() && self.is_wanted(&one.link.name))
    }

    /// Is it asked about?
    pub fn is_wanted(&self, interface: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == interface)
    }

    /// An interface by its name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.links.iter().find(|one| one.link.name == name)
    }

    /// Ports of a bridge or bond.
    pub fn ports(&self, master: &Link) -> impl Iterator<Item = &Interface> {
        let master = master.ifindex;
        (self.links.iter()).filter(move |one| one.link.master == Some(master))
    }

    /// Routers that routes by wanted interfaces name, default routes' first, each once.
    pub fn gateways(&self) -> Vec<(IpAddr, &str)> {
        let mut routes: Vec<&Route> = (self.routes.iter())
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

    /// Is it the router that this host sends most by: that of the best default route of its family?
    pub fn is_first_gateway(&self, gateway: IpAddr) -> bool {
        let defaults = (self.routes.iter())
            .filter(|route| route.is_default() && route.network.is_ipv4() == gateway.is_ipv4());
        let best = defaults.clone().map(|route| route.metric).min();
        let mut defaults = defaults.filter(|route| Some(route.metric) == best);
        defaults.any(|route| route.gateway == Some(gateway))
    }

    /// A sysctl.
    pub fn sysctl(&self, name: &str) -> Option<i64> {
        self.sysctls.get(name).copied()
    }

    /// A sysctl of an interface (IPv4), or the one for all if that is greater.
    pub fn sysctl_max(&self, interface: &str, name: &str) -> i64 {
        let of = |part: &str| self.sysctl(&format!("net/ipv4/conf/{part}/{name}"));
        of(interface).unwrap_or(0).max(of("all").unwrap_or(0))
    }

    /// How long ago a time in RFC 3339 was.
    pub fn ago_ns(&self, time: &str) -> u64 {
        self.now_ns.saturating_sub(ns(time).unwrap_or(self.now_ns))
    }

    /// Stations on an interface that were heard within the last minute, without this host.
    pub fn heard(&self, interface: &str) -> usize {
        let Ok(neighbors) = &self.neighbors else {
            return 0;
        };
        (neighbors.neighbors.iter())
            .filter(|one| one.interface == interface && self.ago_ns(&one.last) < 60_000_000_000)
            .count()
    }
}

/// "e0, e1", or "none".
pub fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    if all.is_empty() {
        "none".into()
    } else {
        all.join(", ")
    }
}

/// "1 packet", "2 packets".
pub fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}
