//! PURE. Hosts heard on each link: who has which address, what they are called, what they do, and where
//! two claim the same. Fed with frames; times are arguments, in nanoseconds since 1970, as the packets are
//! stamped.
//!
//! | file | what it holds |
//! |---|---|
//! | `see` | from frames to what the tables take in, and the cache that keeps traffic cheap |
//! | `address` | who claims an address: conflicts, moves, duplicate address detection |
//! | `host` | a station: roles, names, by what it was heard |
//! | `table` | tables of a bounded size, from which a flood evicts only itself |
//! | `mac` | link-layer addresses that mean something by themselves |

mod address;
mod host;
pub mod mac;
mod observe;
mod table;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use foldhash::quality::RandomState;

pub use address::{Address, Change, Claim, Claimant, Conflict, Duplicate, Own};
pub use host::{Host, Name, heard, role};

use crate::wire::cursor::Mac;
use observe::Recent;
pub use observe::carries_no_claims;
use table::{Limits, Table};

/// Stations in all: room for some large links at once, in 6 MiB with all their names.
const MAX_HOSTS: usize = 8192;
/// Addresses in all: two for each station, as hosts with IPv4 and IPv6 have, in 8 MiB.
const MAX_ADDRESSES: usize = 16_384;
/// Of one interface: a /20 full of hosts, or half of what there is, so that one link never takes all.
const MAX_PER_LINK: usize = 4096;
/// Stations and addresses of an interface that were heard once and have to prove themselves: a flood goes
/// through here, and what it evicts is itself.
const MAX_UNCONFIRMED: usize = 1024;
/// Newcomers that an interface takes a second. A link does not get as many new hosts; and a flood costs a
/// look-up a packet, and no insertion.
const UNCONFIRMED_PER_SECOND: u32 = 1024;
/// Messages that tell names which are read a second on an interface: each costs about a microsecond, and
/// a large link has some dozens.
const DECODED_PER_SECOND: u32 = 1000;
/// Gateways that are kept in mind: of several routing tables with some backups each.
const MAX_GATEWAYS: usize = 256;

/// News that wait to be fetched, between two turns: a flood makes more, and then one more is none.
const MAX_PENDING_EVENTS: usize = 256;

/// What the engine knows of a link, by netlink.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkFacts {
    /// Interface index.
    pub ifindex: u32,
    /// Its link-layer address.
    pub mac: Option<Mac>,
    /// Its own addresses.
    pub own: Vec<IpAddr>,
    /// Networks that are reached without a router, with their prefix lengths.
    pub networks: Vec<(IpAddr, u8)>,
    /// Routers that this host's routes name.
    pub gateways: Vec<IpAddr>,
}

/// What limits have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCounters {
    /// Stations that had to go or were not taken in.
    pub hosts: u64,
    /// Addresses that had to go or were not taken in.
    pub addresses: u64,
    /// Messages that were not read for names.
    pub undecoded: u64,
    /// News that there was no room for.
    pub events: u64,
}

/// At most so many a second.
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

/// A link.
#[derive(Debug, Default)]
struct Link {
    hosts: Table<Mac, Host>,
    addresses: Table<IpAddr, Address>,
    mac: Option<Mac>,
    /// Own addresses, and since when they are known to be.
    own: HashMap<IpAddr, u64, RandomState>,
    gateways: HashSet<IpAddr, RandomState>,
    networks4: Vec<(u32, u32)>,
    networks6: Vec<(u128, u128)>,
    /// Queriers, and addresses in conflict, that are never evicted.
    kept_queriers: usize,
    kept_conflicts: usize,
    new_hosts: RateLimit,
    new_addresses: RateLimit,
    read: RateLimit,
}

/// Where an address stands.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressState {
    /// Two have it.
    Conflict(Conflict),
    /// It went from one to another.
    Moved(Change),
}

/// Something that was not so before.
#[derive(Clone, Debug, PartialEq)]
pub enum NeighborEvent {
    /// A station that was heard more than once.
    Host(Mac),
    /// An address went from one to another; is it a gateway's?
    Moved(IpAddr, Change, bool),
    /// Two have the address, as far as is known since now; is it a gateway's?
    Conflict(IpAddr, Conflict, bool),
    /// Of two that had the same address, one has not claimed it for long.
    ConflictOver(IpAddr),
    /// Somebody wanted the address, and found it taken.
    Duplicate(IpAddr, Duplicate),
}

/// All links.
#[derive(Debug, Default)]
pub struct Neighbors {
    links: HashMap<u32, Box<Link>, RandomState>,
    /// Link-layer addresses of this host, of whatever interface.
    own_macs: HashSet<Mac, RandomState>,
    recent: Recent,
    hosts: usize,
    addresses: usize,
    /// What is new, with the interface and when; [`MAX_PENDING_EVENTS`] at most.
    events: Vec<(u32, u64, NeighborEvent)>,
    /// What limits have cost.
    pub limits: LimitCounters,
}

impl Neighbors {
    /// Stations that there may be.
    pub const MAX_HOSTS: usize = MAX_HOSTS;
    /// Addresses that there may be.
    pub const MAX_ADDRESSES: usize = MAX_ADDRESSES;
    /// Messages a second that are read for names.
    pub const DECODED_PER_SECOND: u32 = DECODED_PER_SECOND;

    /// Takes in what netlink tells of the links that there are.
    pub fn set_links(&mut self, all: &[LinkFacts], now_ns: u64) {
        // What came late of one that is gone.
        let gone: Vec<u32> = (self.links.keys().copied())
            .filter(|index| !all.iter().any(|facts| facts.ifindex == *index))
            .collect();
        gone.into_iter().for_each(|index| self.forget(index));
        // Loopback's is nobody's: all zeros.
        let macs = all.iter().filter_map(|facts| facts.mac);
        self.own_macs = macs.filter(|mac| mac.0 != [0; 6]).collect();
        let mut room = MAX_GATEWAYS;
        for facts in all {
            let link = self.links.entry(facts.ifindex).or_default();
            // A bridge takes another one when its first port comes, a bond when its port changes: what this
            // host said of itself before is no claim of somebody else.
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

    /// This host has had one of its addresses for longer than was known.
    pub fn set_address_since(&mut self, ifindex: u32, address: IpAddr, since_ns: u64) {
        if let Some(link) = self.links.get_mut(&ifindex)
            && let Some(since) = link.own.get_mut(&address)
        {
            *since = since_ns.min(*since);
        }
    }

    /// Forgets an interface that is gone.
    pub fn forget(&mut self, ifindex: u32) {
        if let Some(link) = self.links.remove(&ifindex) {
            self.hosts -= link.hosts.len();
            self.addresses -= link.addresses.len();
        }
    }

    /// What is new since this was last asked: interface, time, and what.
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

    /// Stations of an interface.
    pub fn hosts(&self, ifindex: u32) -> impl Iterator<Item = (&Mac, &Host)> {
        let link = self.links.get(&ifindex).into_iter();
        link.flat_map(|link| link.hosts.iter())
    }

    /// Addresses of an interface, with what is to be said of them.
    pub fn addresses(
        &self,
        ifindex: u32,
        now_ns: u64,
    ) -> impl Iterator<Item = (&IpAddr, &Address, Option<AddressState>)> {
        let link = self.links.get(&ifindex).into_iter();
        link.flat_map(move |link| {
            (link.addresses.iter()).map(move |(ip, address)| {
                let own = link.owner(ip, &self.own_macs);
                let conflict = address.conflict(now_ns, own).map(AddressState::Conflict);
                // What has moved to this host or away from it, this host knows.
                let moved = || address.moved(now_ns).filter(|_| own.is_none());
                (
                    ip,
                    address,
                    conflict.or_else(|| moved().map(AddressState::Moved)),
                )
            })
        })
    }

    /// Is it an address of this host on that interface?
    pub fn is_own(&self, ifindex: u32, address: IpAddr) -> bool {
        (self.links.get(&ifindex)).is_some_and(|link| link.own.contains_key(&address))
    }

    /// Is it a link-layer address of this host?
    pub fn is_own_mac(&self, mac: Mac) -> bool {
        self.own_macs.contains(&mac)
    }

    /// Do this host's routes name it as a router?
    pub fn is_gateway(&self, ifindex: u32, address: IpAddr) -> bool {
        (self.links.get(&ifindex)).is_some_and(|link| link.gateways.contains(&address))
    }
}

impl Link {
    /// Is it an address of this host?
    fn owner<'a>(&self, ip: &IpAddr, macs: &'a HashSet<Mac, RandomState>) -> Option<Own<'a>> {
        let since_ns = *self.own.get(ip)?;
        Some(Own {
            since_ns,
            mac: self.mac,
            macs,
        })
    }

    /// Gateways, addresses in conflict, and who claims them are never evicted.
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

    /// Is an address of this link, without a router between? `None`: nothing is known of networks here.
    fn is_on_link(&self, address: IpAddr) -> Option<bool> {
        match address {
            // Link-local ones always are (RFC 3927, RFC 4291).
            IpAddr::V4(v4) if v4.is_link_local() => Some(true),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(true),
            IpAddr::V4(v4) if !self.networks4.is_empty() => {
                let number = u32::from(v4);
                Some((self.networks4.iter()).any(|(network, mask)| number & mask == *network))
            }
            IpAddr::V6(v6) if !self.networks6.is_empty() => {
                let number = u128::from(v6);
                Some((self.networks6.iter()).any(|(network, mask)| number & mask == *network))
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
