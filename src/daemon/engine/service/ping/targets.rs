//! SHELL. Targets of runs: lists sent ahead of a run, addresses, ranges and interfaces.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use netlink_packet_route::route::RouteType;

use super::{bad_target, limit_reached, no_memory, no_such_list, not_permitted};
use crate::daemon::engine::Shared;
use crate::daemon::engine::prober::SendOptions;
use crate::daemon::engine::state::EngineState;
use crate::varlink::server::memory::Reservation;
use crate::varlink::server::user::User;
use crate::varlink::server::{Failure, Peer};
use netsonde_core::probe::Target;
use netsonde_core::protocol::ping::{PingCall, TargetsCall, TargetsReply};

/// Maximum time for which an unused list of targets is kept.
const LIST_WAIT: Duration = Duration::from_secs(60);
/// Maximum number of lists per user.
const MAX_LISTS_PER_UID: usize = 8;

/// Lists of targets that no run uses yet.
#[derive(Default)]
pub struct TargetLists {
    lists: HashMap<u64, TargetList>,
    /// Number of the newest list; 0 before the first.
    last: u64,
}

struct TargetList {
    owner: User,
    targets: Targets,
    changed: Instant,
}

/// Targets with the memory that they take.
pub(in crate::daemon::engine::service) struct Targets {
    pub(in crate::daemon::engine::service) list: Vec<Target>,
    pub(super) memory: Reservation,
    /// Maximum number of targets.
    limit: u64,
}

impl Targets {
    fn new(engine: &EngineState, owner: User) -> Targets {
        Targets {
            list: vec![],
            memory: engine.memory.nothing(owner),
            limit: engine.config.ping.targets,
        }
    }

    /// Reserves memory for further targets, and allocates it.
    fn make_room(&mut self, more: u64) -> Result<(), Failure> {
        let count = self.list.len() as u64 + more;
        if count > self.limit {
            return Err(limit_reached("targets of one run", self.limit));
        }
        if count > self.list.capacity() as u64 {
            let count = (count as usize).max(self.list.capacity() * 2);
            let bytes = count * size_of::<Target>();
            self.memory.resize(bytes as u64).map_err(no_memory)?;
            self.list.reserve_exact(count - self.list.len());
        }
        Ok(())
    }

    fn push(&mut self, address: IpAddr) {
        self.list.push(without_scope(address));
    }
}

/// Answers `Targets`: appends to a list, or creates one.
pub fn add_targets(
    engine: &Shared,
    lists: &RefCell<TargetLists>,
    peer: &Peer,
    call: TargetsCall,
) -> Result<TargetsReply, Failure> {
    let engine = &engine.borrow();
    let lists = &mut *lists.borrow_mut();
    lists.expire();
    let number = match call.list {
        Some(number) => number,
        None => lists.create(engine, peer.user())?,
    };
    let list = lists
        .lists
        .get_mut(&number)
        .filter(|list| list.owner == peer.user())
        .ok_or_else(|| no_such_list(number))?;
    for text in &call.targets {
        parse_target(engine, text, &mut list.targets)?;
    }
    list.changed = Instant::now();
    Ok(TargetsReply {
        list: number,
        targets: list.targets.list.len() as u64,
    })
}

impl TargetLists {
    /// Removes lists that no run has used.
    pub fn expire(&mut self) {
        self.lists
            .retain(|_, list| list.changed.elapsed() < LIST_WAIT);
    }

    fn create(&mut self, engine: &EngineState, owner: User) -> Result<u64, Failure> {
        let own = self.lists.values().filter(|list| list.owner == owner);
        let count = own.count();
        if count >= MAX_LISTS_PER_UID {
            return Err(limit_reached("lists of one user", MAX_LISTS_PER_UID as u64));
        }
        self.last += 1;
        let list = TargetList {
            owner,
            targets: Targets::new(engine, owner),
            changed: Instant::now(),
        };
        self.lists.insert(self.last, list);
        Ok(self.last)
    }
}

/// Returns the targets of a call: those of its list, which is removed, and its own.
pub(super) fn take_targets(
    engine: &Shared,
    lists: &RefCell<TargetLists>,
    peer: &Peer,
    call: &PingCall,
) -> Result<Targets, Failure> {
    let engine = &engine.borrow();
    let mut targets = Targets::new(engine, peer.user());
    if let Some(number) = call.list {
        let lists = &mut lists.borrow_mut().lists;
        let is_own = |list: &TargetList| list.owner == peer.user();
        if !lists.get(&number).is_some_and(is_own) {
            return Err(no_such_list(number));
        }
        if let Some(list) = lists.remove(&number) {
            targets = list.targets;
        }
    }
    for text in call.targets.iter().flatten() {
        parse_target(engine, text, &mut targets)?;
    }
    if targets.list.is_empty() {
        return Err(Failure::invalid_parameter("targets: none given"));
    }
    Ok(targets)
}

/// Returns a single target.
pub(in crate::daemon::engine::service) fn single(
    engine: &EngineState,
    peer: &Peer,
    text: &str,
) -> Result<Targets, Failure> {
    let mut targets = Targets::new(engine, peer.user());
    if text.contains('/') {
        return Err(bad_target(text, "a range: one address is expected"));
    }
    parse_target(engine, text, &mut targets)?;
    Ok(targets)
}

/// Parses a target and appends it: an address, with an interface after `%` if it has a scope, or a
/// range such as 192.0.2.0/24.
fn parse_target(engine: &EngineState, text: &str, targets: &mut Targets) -> Result<(), Failure> {
    if let Some((start, bits)) = text.split_once('/') {
        return parse_range(text, start, bits, targets);
    }
    targets.make_room(1)?;
    let (address, scope) = match text.split_once('%') {
        None => (text, None),
        Some((address, scope)) => (address, Some(scope)),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| bad_target(text, "not an address; names are resolved by the client"))?;
    let mut target = without_scope(address);
    if let Some(scope) = scope {
        target.scope = engine
            .links
            .iter()
            .find(|link| link.name == scope || link.ifindex.to_string() == scope)
            .map(|link| link.ifindex)
            .ok_or_else(|| bad_target(text, format!("no such interface: {scope}")))?;
    }
    targets.list.push(target);
    Ok(())
}

/// Appends the addresses of a range.
fn parse_range(text: &str, start: &str, bits: &str, targets: &mut Targets) -> Result<(), Failure> {
    let start: IpAddr = start
        .parse()
        .map_err(|_| bad_target(text, "not an address"))?;
    let width: u32 = if start.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits
        .parse()
        .ok()
        .filter(|bits| *bits <= width)
        .ok_or_else(|| bad_target(text, format!("the prefix length must be 0 to {width}")))?;
    let host_bits = width - bits;
    if host_bits >= 64 || 1u64 << host_bits > targets.limit + 2 {
        return Err(limit_reached("targets of one run", targets.limit));
    }
    let count = 1u64 << host_bits;
    match start {
        IpAddr::V4(v4) => {
            let first = u64::from(u32::from(v4)) & !(count - 1);
            // Network and broadcast addresses are not hosts, except in a /31 (RFC 3021).
            let skip = u64::from(host_bits >= 2);
            targets.make_room(count - 2 * skip)?;
            for at in first + skip..first + count - skip {
                targets.push(Ipv4Addr::from(at as u32).into());
            }
        }
        IpAddr::V6(v6) => {
            targets.make_room(count)?;
            let first = u128::from(v6) & !u128::from(count - 1);
            for at in 0..count {
                targets.push(Ipv6Addr::from(first + u128::from(at)).into());
            }
        }
    }
    Ok(())
}

fn without_scope(address: IpAddr) -> Target {
    Target {
        address,
        scope: 0,
        is_group: address.is_multicast(),
    }
}

/// Refuses a link-local address without an interface, which is ambiguous (RFC 4007, section 6).
pub(super) fn check_scopes(engine: &EngineState, targets: &[Target]) -> Result<(), Failure> {
    let without = targets.iter().find(|target| {
        target.scope == 0
            && match target.address {
                // ffx1 has interface scope, ffx2 link scope (RFC 4291, section 2.7).
                IpAddr::V6(v6) if v6.is_multicast() => matches!(v6.octets()[1] & 15, 1 | 2),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
                IpAddr::V4(_) => false,
            }
    });
    let Some(target) = without else {
        return Ok(());
    };
    let links: Vec<&str> = engine
        .links
        .iter()
        .filter(|link| link.name != "lo")
        .map(|link| link.name.as_str())
        .take(8)
        .collect();
    Err(bad_target(
        &target.address.to_string(),
        format!(
            "a link-local address needs an interface: specify it, for example {}%{} (available: \
                {})",
            target.address,
            links.first().unwrap_or(&"eth0"),
            links.join(", ")
        ),
    ))
}

/// Number of targets up to which the kernel is asked about each; beyond, for the list of broadcast routes,
/// since a query for each address of a large range would take seconds.
const MAX_QUERIES: usize = 64;
/// Number of targets in broadcast routes of which the kernel is asked what this run's packets do; all
/// further ones count as broadcast.
const MAX_CONFIRMED: usize = 1024;

/// Marks broadcast addresses as groups: those that the kernel routes as such, by whatever address or route
/// it was told. Like ping, it refuses them without privilege or without the option (`is_allowed`).
pub(super) fn mark_broadcast(
    engine: &mut EngineState,
    targets: &mut [Target],
    options: &SendOptions,
    is_privileged: bool,
    is_allowed: bool,
) -> Result<(), Failure> {
    let candidates = match targets.len() > MAX_QUERIES {
        true => engine.prober.broadcast_routes().ok(),
        false => None,
    };
    let mut queries = 0;
    for target in targets.iter_mut() {
        let IpAddr::V4(v4) = target.address else {
            continue;
        };
        let mut is_broadcast = v4.is_broadcast();
        let may_be = candidates
            .as_ref()
            .is_none_or(|routes| routes.iter().any(|route| contains(*route, v4)));
        if !is_broadcast && may_be {
            queries += 1;
            is_broadcast = match candidates {
                Some(_) if queries > MAX_CONFIRMED => true,
                _ => engine
                    .prober
                    .route(target.address, options)
                    .is_ok_and(|route| route.kind == RouteType::Broadcast),
            };
        }
        if !is_broadcast {
            continue;
        }
        if !is_allowed {
            return Err(bad_target(
                &v4.to_string(),
                "a broadcast address: use -b to ping it",
            ));
        }
        if !is_privileged {
            return Err(not_permitted("broadcast", "unicast and multicast".into()));
        }
        target.is_group = true;
    }
    Ok(())
}

/// Returns whether a prefix contains an address.
fn contains((prefix, bits): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    let host_bits = 32 - u32::from(bits.min(32));
    let network = |of: Ipv4Addr| u64::from(u32::from(of)) >> host_bits;
    network(prefix) == network(address)
}
