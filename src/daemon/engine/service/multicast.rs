//! SHELL. `io.netsonde.Multicast`: state of the trackers and of the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use super::inventory::is_ours;
use crate::daemon::engine::state::EngineState;
use crate::linux::proc_net;
use crate::linux::wall_ns;
use crate::varlink::server::Failure;
use netsonde_core::host::membership::source_filters;
use netsonde_core::multicast::{names, report};
use netsonde_core::protocol::multicast as reply;
use netsonde_core::protocol::time;

/// The requested interfaces: index and name.
fn interfaces(
    engine: &EngineState,
    call: &reply::InterfaceCall,
) -> Result<BTreeMap<u32, String>, Failure> {
    let all = engine.links.selected(call.interface.as_deref());
    match &call.interface {
        Some(name) if all.is_empty() => Err(Failure::error(
            "io.netsonde.Multicast.NoSuchInterface",
            json!({ "interface": name }),
        )),
        _ => Ok(all),
    }
}

/// Answers `Groups`.
pub fn groups(engine: &EngineState, call: reply::InterfaceCall) -> Result<reply::Groups, Failure> {
    let now = wall_ns();
    let interfaces = interfaces(engine, &call)?;
    let trackers = &engine.recording.multicast;
    let mut all = report::groups(trackers, &interfaces, now);
    let new = |ifindex: u32, group: IpAddr| {
        report::group(interfaces.get(&ifindex).map_or("", String::as_str), group)
    };
    for (ifindex, held) in crate::linux::memberships() {
        let Some(link) = engine
            .links
            .get(ifindex)
            .filter(|_| interfaces.contains_key(&ifindex))
        else {
            continue;
        };
        let joins = engine.joins(link);
        for membership in held {
            let group = membership.group;
            let entry = all
                .entry((ifindex, group))
                .or_insert_with(|| new(ifindex, group));
            entry.kernel_users = membership.users;
            entry.netsonde = joins && is_ours(group);
        }
    }
    for filter in source_filters(&proc_net("mcfilter"), &proc_net("mcfilter6")) {
        if let Some(entry) = all.get_mut(&(filter.ifindex, filter.group)) {
            let of = |sockets: u64, list: &mut Option<Vec<String>>| {
                if sockets > 0 {
                    list.get_or_insert_default().push(filter.source.to_string());
                }
            };
            of(filter.include, &mut entry.kernel_include);
            of(filter.exclude, &mut entry.kernel_exclude);
        }
    }
    report::name_aliases(&mut all);
    Ok(reply::Groups {
        time: time(now),
        groups: all.into_values().collect(),
    })
}

/// Answers `Queriers`.
pub fn queriers(
    engine: &EngineState,
    call: reply::InterfaceCall,
) -> Result<reply::Queriers, Failure> {
    let now = wall_ns();
    let interfaces = interfaces(engine, &call)?;
    let trackers = &engine.recording.multicast;
    Ok(reply::Queriers {
        routers: Some(report::routers(trackers, &interfaces, now)),
        time: time(now),
        queriers: report::queriers(trackers, &interfaces, now),
        unasked: links_without_querier(engine, &interfaces, now),
    })
}

/// Answers `Streams`.
pub fn streams(
    engine: &EngineState,
    call: reply::InterfaceCall,
) -> Result<reply::Streams, Failure> {
    let now = wall_ns();
    let interfaces = interfaces(engine, &call)?;
    Ok(reply::Streams {
        time: time(now),
        streams: report::streams(&engine.recording.multicast, &interfaces, now),
    })
}

/// Links with memberships that a snooping switch prunes, but without a querier.
fn links_without_querier(
    engine: &EngineState,
    interfaces: &BTreeMap<u32, String>,
    now: u64,
) -> Vec<reply::LinkWithoutQuerier> {
    let trackers = &engine.recording.multicast;
    let mut counts: BTreeMap<(u32, bool), u64> = BTreeMap::new();
    for (ifindex, held) in crate::linux::memberships() {
        // There is no switch on the loopback interface.
        let is_link = engine
            .links
            .get(ifindex)
            .is_some_and(|link| link.hardware != libc::ARPHRD_LOOPBACK);
        if !is_link || !interfaces.contains_key(&ifindex) {
            continue;
        }
        for membership in held {
            // Every IPv6 host joins groups for neighbor discovery: alone they do not show that
            // multicast is used.
            let is_solicited = matches!(membership.group, IpAddr::V6(v6)
                if v6.segments()[..7] == [0xff02, 0, 0, 0, 0, 1, v6.segments()[6]] && v6.octets()[12] == 0xff);
            let is_own = is_ours(membership.group);
            if names::is_pruned(membership.group) && !is_solicited && !is_own {
                *counts
                    .entry((ifindex, membership.group.is_ipv4()))
                    .or_default() += 1;
            }
        }
    }
    counts
        .into_iter()
        .filter(|((ifindex, is_ipv4), _)| {
            trackers.queriers.elected(*ifindex, *is_ipv4, now).is_none()
        })
        .map(|((ifindex, is_ipv4), groups)| {
            let last = trackers
                .queriers
                .iter(now)
                .filter(|(one, _)| one.ifindex == ifindex && one.address.is_ipv4() == is_ipv4)
                .map(|(one, _)| one.last_ns)
                .max();
            reply::LinkWithoutQuerier {
                interface: interfaces.get(&ifindex).cloned().unwrap_or_default(),
                protocol: report::protocol(is_ipv4),
                groups,
                since: time(last.unwrap_or(engine.started_ns)),
            }
        })
        .collect()
}
