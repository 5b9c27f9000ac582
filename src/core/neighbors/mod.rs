//! PURE. Hosts on each link: addresses, names, roles and conflicts, from observed frames. Times are
//! arguments, in nanoseconds since 1970, as the packets are stamped.
//!
//! | file | contents |
//! |---|---|
//! | `observe` | processing of frames, and the cache that keeps traffic cheap |
//! | `address` | claims of an address: conflicts, moves, duplicate address detection |
//! | `host` | a station: protocols, roles, names |
//! | `report` | the state as the control protocol shows it |
//! | `table` | bounded tables, in which a flood evicts only itself |
//! | `virtual_router` | VRRP, HSRP and CARP: routers that advertise themselves as masters |
//! | `mac` | link-layer addresses with a special meaning |

mod address;
mod host;
pub mod mac;
mod observe;
pub mod report;
mod table;
pub mod virtual_router;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use foldhash::quality::RandomState;

pub use address::{Address, Change, Claim, Claimant, Conflict, Duplicate, Own, Proxy};
pub use host::{Host, Name, heard, role};

use crate::wire::cursor::Mac;
use observe::Recent;
pub use observe::carries_no_claims;
use table::{Limits, Table};
use virtual_router::{TwoMasters, VirtualRouter, VirtualRouterId, VirtualRouters};

/// Maximum number of stations: several large links at once, in 6 MiB with all their names.
const MAX_HOSTS: usize = 8192;
/// Maximum number of addresses, in 8 MiB: two per station, as hosts with IPv4 and IPv6 have.
const MAX_ADDRESSES: usize = 16_384;
/// Maximum per interface: a /20 full of hosts, and half of the total, so that one link never takes
/// all.
const MAX_PER_LINK: usize = 4096;
/// Stations and addresses per interface that were seen once and are not confirmed. A flood passes
/// through this queue and evicts only itself.
const MAX_UNCONFIRMED: usize = 1024;
/// Unconfirmed entries accepted per interface and second. No link gets as many new hosts, and a
/// flood then costs one lookup per packet and no insertion.
const UNCONFIRMED_PER_SECOND: u32 = 1024;
/// Messages with names, and advertisements of virtual routers, decoded per interface and second: each costs about a microsecond,
/// and a large link has a few dozen.
const DECODED_PER_SECOND: u32 = 1000;
/// Maximum number of known gateways: several routing tables with a few backups each.
const MAX_GATEWAYS: usize = 256;

/// Maximum number of pending events between two polls. A flood makes more, and then further ones
/// add nothing.
const MAX_PENDING_EVENTS: usize = 256;

/// State of a link as known from netlink.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkFacts {
    /// Interface index.
    pub ifindex: u32,
    /// Link-layer address of the interface.
    pub mac: Option<Mac>,
    /// Addresses of this host on the interface.
    pub own: Vec<IpAddr>,
    /// Networks that are reached without a router, with their prefix lengths.
    pub networks: Vec<(IpAddr, u8)>,
    /// Gateways in this host's routes.
    pub gateways: Vec<IpAddr>,
}

/// Costs of the limits: counts of what was not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCounters {
    /// Stations that were evicted or not recorded.
    pub hosts: u64,
    /// Addresses that were evicted or not recorded.
    pub addresses: u64,
    /// Messages that were not decoded for names.
    pub undecoded: u64,
    /// Events that were dropped.
    pub events: u64,
    /// Advertisements of virtual routers that were not recorded.
    pub virtual_routers: u64,
}

/// Limits events per second.
#[derive(Debug, Default)]
struct RateLimit {
    second: u64,
    taken: u32,
}

impl RateLimit {
    fn try_acquire(&mut self, time_ns: u64, most: u32) -> bool {
        let second = time_ns / 1_000_000_000;
        if second != self.second {
            *self = RateLimit { second, taken: 0 };
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= most
    }
}

/// State of one link.
#[derive(Debug, Default)]
struct Link {
    hosts: Table<Mac, Host>,
    addresses: Table<IpAddr, Address>,
    virtual_routers: VirtualRouters,
    mac: Option<Mac>,
    /// Addresses of this host, with the time since which they are known.
    own: HashMap<IpAddr, u64, RandomState>,
    gateways: HashSet<IpAddr, RandomState>,
    networks4: Vec<(u32, u32)>,
    networks6: Vec<(u128, u128)>,
    /// Numbers of queriers and of addresses in conflict that are never evicted.
    kept_queriers: usize,
    kept_conflicts: usize,
    new_hosts: RateLimit,
    new_addresses: RateLimit,
    read: RateLimit,
}

/// State of an address that deserves attention.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressState {
    /// Two stations have it.
    Conflict(Conflict),
    /// It moved from one station to another.
    Moved(Change),
}

/// A change to be reported.
#[derive(Clone, Debug, PartialEq)]
pub enum NeighborEvent {
    /// A new station was seen more than once.
    Host(Mac),
    /// An address moved; the flag tells whether it is a gateway's.
    Moved(IpAddr, Change, bool),
    /// A conflict was detected; the flag tells whether the address is a gateway's.
    Conflict(IpAddr, Conflict, bool),
    /// One of the two stations in a conflict has not claimed the address for a long time.
    ConflictOver(IpAddr),
    /// A station wanted an address that is in use.
    Duplicate(IpAddr, Duplicate),
    /// Two routers advertise themselves as master of a virtual router.
    TwoMasters(Box<TwoMasters>),
    /// Only one of them does so now.
    OneMaster(VirtualRouterId),
}

/// Neighbors on all links.
#[derive(Debug, Default)]
pub struct Neighbors {
    links: HashMap<u32, Box<Link>, RandomState>,
    /// Link-layer addresses of all interfaces of this host.
    own_macs: HashSet<Mac, RandomState>,
    recent: Recent,
    hosts: usize,
    addresses: usize,
    /// Pending events with interface and time, at most [`MAX_PENDING_EVENTS`].
    events: Vec<(u32, u64, NeighborEvent)>,
    /// Costs of the limits.
    pub limits: LimitCounters,
}

impl Neighbors {
    /// Maximum number of stations.
    pub const MAX_HOSTS: usize = MAX_HOSTS;
    /// Maximum number of addresses.
    pub const MAX_ADDRESSES: usize = MAX_ADDRESSES;
    /// Returns the numbers of stations and of addresses, on all links.
    pub fn counts(&self) -> (usize, usize) {
        (self.hosts, self.addresses)
    }

    /// Messages decoded for names per interface and second.
    pub const DECODED_PER_SECOND: u32 = DECODED_PER_SECOND;

    /// Sets the current links, as known from netlink.
    pub fn set_links(&mut self, all: &[LinkFacts], now_ns: u64) {
        // State that packets created after their interface was deleted.
        let gone: Vec<u32> = self
            .links
            .keys()
            .copied()
            .filter(|index| !all.iter().any(|facts| facts.ifindex == *index))
            .collect();
        gone.into_iter().for_each(|index| self.forget(index));
        // The loopback address is 0 on every host.
        let macs = all.iter().filter_map(|facts| facts.mac);
        self.own_macs = macs.filter(|mac| mac.0 != [0; 6]).collect();
        let mut room = MAX_GATEWAYS;
        for facts in all {
            let link = self.links.entry(facts.ifindex).or_default();
            // A bridge changes its address with its first port, a bond with its active port: claims
            // that this host made with the former address are not claims of another host.
            if let Some(former) = link.mac.filter(|former| facts.mac != Some(*former)) {
                for (_, address) in link.addresses.iter_mut() {
                    address.disown(former);
                }
            }
            link.mac = facts.mac;
            link.own.retain(|address, _| facts.own.contains(address));
            for address in &facts.own {
                link.own.entry(*address).or_insert(now_ns);
            }
            link.networks4.clear();
            link.networks6.clear();
            for (address, bits) in &facts.networks {
                match address {
                    IpAddr::V4(v4) if *bits > 0 && *bits < 32 => {
                        let mask = u32::MAX << (32 - u32::from(*bits));
                        link.networks4.push((u32::from(*v4) & mask, mask));
                    }
                    IpAddr::V6(v6) if *bits > 0 && *bits < 128 => {
                        let mask = u128::MAX << (128 - u32::from(*bits));
                        link.networks6.push((u128::from(*v6) & mask, mask));
                    }
                    _ => {}
                }
            }
            link.networks4.sort_unstable();
            link.networks4.dedup();
            link.networks6.sort_unstable();
            link.networks6.dedup();
            link.gateways = facts.gateways.iter().copied().take(room).collect();
            room -= link.gateways.len();
            link.pin();
        }
    }

    /// Corrects the time since which this host has one of its addresses.
    pub fn set_address_since(&mut self, ifindex: u32, address: IpAddr, since_ns: u64) {
        if let Some(link) = self.links.get_mut(&ifindex)
            && let Some(since) = link.own.get_mut(&address)
        {
            *since = since_ns.min(*since);
        }
    }

    /// Removes a deleted interface.
    pub fn forget(&mut self, ifindex: u32) {
        if let Some(link) = self.links.remove(&ifindex) {
            self.hosts -= link.hosts.len();
            self.addresses -= link.addresses.len();
        }
    }

    /// Returns and clears the pending events: interface index, time, and event.
    pub fn drain_events(&mut self) -> Vec<(u32, u64, NeighborEvent)> {
        std::mem::take(&mut self.events)
    }

    fn push_event(&mut self, ifindex: u32, time_ns: u64, event: NeighborEvent) {
        if self.events.len() < MAX_PENDING_EVENTS {
            self.events.push((ifindex, time_ns, event));
        } else {
            self.limits.events += 1;
        }
    }

    /// Returns the stations of an interface.
    pub fn hosts(&self, ifindex: u32) -> impl Iterator<Item = (&Mac, &Host)> {
        let link = self.links.get(&ifindex).into_iter();
        link.flat_map(|link| link.hosts.iter())
    }

    /// Returns the addresses of an interface, with their conflict or latest move.
    pub fn addresses(
        &self,
        ifindex: u32,
        now_ns: u64,
    ) -> impl Iterator<Item = (&IpAddr, &Address, Option<AddressState>)> {
        let link = self.links.get(&ifindex).into_iter();
        link.flat_map(move |link| {
            link.addresses.iter().map(move |(ip, address)| {
                let own = link.owner(ip, &self.own_macs);
                let conflict = address.conflict(now_ns, own).map(AddressState::Conflict);
                // Moves to or from this host are known to this host.
                let moved = || address.moved(now_ns).filter(|_| own.is_none());
                (
                    ip,
                    address,
                    conflict.or_else(|| moved().map(AddressState::Moved)),
                )
            })
        })
    }

    /// Returns the virtual routers of an interface.
    pub fn virtual_routers(
        &self,
        ifindex: u32,
    ) -> impl Iterator<Item = (&VirtualRouterId, &VirtualRouter)> {
        let link = self.links.get(&ifindex).into_iter();
        link.flat_map(|link| link.virtual_routers.iter())
    }

    /// Returns an address of an interface, with its conflict if it has one.
    pub fn known_address(
        &self,
        ifindex: u32,
        ip: IpAddr,
        now_ns: u64,
    ) -> Option<(&Address, Option<Conflict>)> {
        let link = self.links.get(&ifindex)?;
        let address = link.addresses.get(&ip)?;
        let conflict = address.conflict(now_ns, link.owner(&ip, &self.own_macs));
        Some((address, conflict))
    }

    /// Returns whether this host has the address on that interface.
    pub fn is_own(&self, ifindex: u32, address: IpAddr) -> bool {
        self.links
            .get(&ifindex)
            .is_some_and(|link| link.own.contains_key(&address))
    }

    /// Returns whether it is a link-layer address of this host.
    pub fn is_own_mac(&self, mac: Mac) -> bool {
        self.own_macs.contains(&mac)
    }

    /// Returns whether this host's routes use the address as a gateway.
    pub fn is_gateway(&self, ifindex: u32, address: IpAddr) -> bool {
        self.links
            .get(&ifindex)
            .is_some_and(|link| link.gateways.contains(&address))
    }
}

impl Link {
    /// Returns this host's ownership of an address, if it has it.
    fn owner<'a>(&self, ip: &IpAddr, macs: &'a HashSet<Mac, RandomState>) -> Option<Own<'a>> {
        let since_ns = *self.own.get(ip)?;
        Some(Own {
            since_ns,
            mac: self.mac,
            macs,
        })
    }

    /// Pins gateways, addresses in conflict, and their claimants, so that they are never evicted.
    fn pin(&mut self) {
        let mut pinned = HashSet::new();
        for (ip, address) in self.addresses.iter_mut() {
            address.pinned = self.gateways.contains(ip) || self.own.contains_key(ip);
            if self.gateways.contains(ip) || address.kept {
                pinned.extend(address.claimants.iter().map(|claimant| claimant.mac));
            }
        }
        for (mac, host) in self.hosts.iter_mut() {
            host.pinned = pinned.contains(mac);
        }
    }

    /// Returns whether an address is reachable on this link without a router; `None` if no networks
    /// are known.
    fn is_on_link(&self, address: IpAddr) -> Option<bool> {
        match address {
            // Link-local addresses always are (RFC 3927, RFC 4291).
            IpAddr::V4(v4) if v4.is_link_local() => Some(true),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(true),
            IpAddr::V4(v4) if !self.networks4.is_empty() => {
                let number = u32::from(v4);
                Some(
                    self.networks4
                        .iter()
                        .any(|(network, mask)| number & mask == *network),
                )
            }
            IpAddr::V6(v6) if !self.networks6.is_empty() => {
                let number = u128::from(v6);
                Some(
                    self.networks6
                        .iter()
                        .any(|(network, mask)| number & mask == *network),
                )
            }
            _ => None,
        }
    }
}

const HOST_LIMITS: Limits = Limits {
    newcomers: MAX_UNCONFIRMED,
    established: MAX_PER_LINK - MAX_UNCONFIRMED,
    in_all: MAX_HOSTS,
};
const ADDRESS_LIMITS: Limits = Limits {
    newcomers: MAX_UNCONFIRMED,
    established: 2 * MAX_PER_LINK - MAX_UNCONFIRMED,
    in_all: MAX_ADDRESSES,
};
