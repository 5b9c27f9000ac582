//! SHELL. Targets of runs: lists sent ahead of a run, addresses, ranges and interfaces.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use netlink_packet_route::route::RouteType;

use super::{bad_target, limit_reached, no_such_list, not_permitted};
use crate::daemon::engine::Shared;
use crate::daemon::engine::control::{Failure, Peer};
use crate::daemon::engine::prober::SendOptions;
use crate::daemon::engine::state::EngineState;
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
    uid: u32,
    targets: Vec<Target>,
    changed: Instant,
}

/// Answers `Targets`: appends to a list, or creates one.
pub fn add_targets(
    engine: &Shared,
    lists: &RefCell<TargetLists>,
    peer: &Peer,
    call: TargetsCall,
    limit: u64,
) -> Result<TargetsReply, Failure> {
    let lists = &mut *lists.borrow_mut();
    lists
        .lists
        .retain(|_, list| list.changed.elapsed() < LIST_WAIT);
    let number = match call.list {
        Some(number) => number,
        None => lists.create(peer.uid)?,
    };
    let list = lists
        .lists
        .get_mut(&number)
        .filter(|list| list.uid == peer.uid)
        .ok_or_else(|| no_such_list(number))?;
    for text in &call.targets {
        parse_target(&engine.borrow(), text, limit, &mut list.targets)?;
    }
    list.changed = Instant::now();
    Ok(TargetsReply {
        list: number,
        targets: list.targets.len() as u64,
    })
}

impl TargetLists {
    fn create(&mut self, uid: u32) -> Result<u64, Failure> {
        let count = self.lists.values().filter(|list| list.uid == uid).count();
        if count >= MAX_LISTS_PER_UID {
            return Err(limit_reached("lists of one user", MAX_LISTS_PER_UID as u64));
        }
        self.last += 1;
        let list = TargetList {
            uid,
            targets: vec![],
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
) -> Result<Vec<Target>, Failure> {
    let limit = engine.borrow().config.ping.targets;
    let mut targets = Vec::new();
    if let Some(number) = call.list {
        let lists = &mut lists.borrow_mut().lists;
        if lists.get(&number).is_none_or(|list| list.uid != peer.uid) {
            return Err(no_such_list(number));
        }
        targets = lists.remove(&number).map_or(vec![], |list| list.targets);
    }
    for text in call.targets.iter().flatten() {
        parse_target(&engine.borrow(), text, limit, &mut targets)?;
    }
    if targets.is_empty() {
        return Err(Failure::invalid_parameter("targets: none given"));
    }
    Ok(targets)
}

/// Parses a target and appends it: an address, with an interface after `%` if it has a scope, or a
/// range such as 192.0.2.0/24. `limit`: maximum number of targets in `targets`.
fn parse_target(
    engine: &EngineState,
    text: &str,
    limit: u64,
    targets: &mut Vec<Target>,
) -> Result<(), Failure> {
    if let Some((start, bits)) = text.split_once('/') {
        return parse_range(text, start, bits, limit, targets);
    }
    check_count(targets, 1, limit)?;
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
    targets.push(target);
    Ok(())
}

/// Appends the addresses of a range.
fn parse_range(
    text: &str,
    start: &str,
    bits: &str,
    limit: u64,
    targets: &mut Vec<Target>,
) -> Result<(), Failure> {
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
    if host_bits >= 64 || 1u64 << host_bits > limit + 2 {
        return Err(limit_reached("targets of one run", limit));
    }
    let count = 1u64 << host_bits;
    match start {
        IpAddr::V4(v4) => {
            let first = u64::from(u32::from(v4)) & !(count - 1);
            // Network and broadcast addresses are not hosts, except in a /31 (RFC 3021).
            let skip = u64::from(host_bits >= 2);
            check_count(targets, count - 2 * skip, limit)?;
            let addresses = first + skip..first + count - skip;
            targets.extend(addresses.map(|at| without_scope(Ipv4Addr::from(at as u32).into())));
        }
        IpAddr::V6(v6) => {
            check_count(targets, count, limit)?;
            let first = u128::from(v6) & !u128::from(count - 1);
            let addresses = (0..count).map(|at| Ipv6Addr::from(first + u128::from(at)));
            targets.extend(addresses.map(|address| without_scope(address.into())));
        }
    }
    Ok(())
}

fn check_count(targets: &[Target], more: u64, limit: u64) -> Result<(), Failure> {
    if targets.len() as u64 + more > limit {
        return Err(limit_reached("targets of one run", limit));
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

/// Marks broadcast addresses as groups. Like ping, it refuses them without privilege or without the
/// option (`is_allowed`).
pub(super) fn mark_broadcast(
    engine: &mut EngineState,
    targets: &mut [Target],
    options: &SendOptions,
    is_privileged: bool,
    is_allowed: bool,
) -> Result<(), Failure> {
    for target in targets.iter_mut() {
        let IpAddr::V4(v4) = target.address else {
            continue;
        };
        // Querying the kernel for each address of a large range would take seconds; broadcast
        // addresses are those of this host's own prefixes.
        let is_of_own_prefix = engine.links.iter().any(|link| {
            link.addresses.iter().any(|(own, bits)| match own {
                IpAddr::V4(own) if (1..31).contains(bits) => {
                    let mask = u32::MAX >> bits;
                    u32::from(*own) | mask == u32::from(v4)
                }
                _ => false,
            })
        });
        let is_broadcast = v4.is_broadcast()
            || (is_of_own_prefix
                && engine
                    .prober
                    .route(target.address, options)
                    .is_ok_and(|route| route.kind == RouteType::Broadcast));
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
