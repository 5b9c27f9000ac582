//! SHELL. `io.netsonde.Multicast`: state of the trackers and of the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use super::inventory::is_ours;
use super::status::time;
use crate::daemon::engine::control::Failure;
use crate::daemon::engine::state::EngineState;
use crate::linux::proc_net;
use crate::linux::wall_ns;
use netsonde_core::host::membership::source_filters;
use netsonde_core::multicast::{Member, Protocol, QuerierState, Rtp, Trackers, names};
use netsonde_core::protocol::multicast as reply;
use netsonde_core::wire::cursor::Mac;

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
    let mut all: BTreeMap<(u32, IpAddr), reply::Group> = BTreeMap::new();
    let new = |ifindex: u32, group: IpAddr| reply::Group {
        interface: interfaces.get(&ifindex).cloned().unwrap_or_default(),
        group: group.to_string(),
        name: names::name(group),
        mac: Mac(names::mac(group)).to_string(),
        pruned: names::is_pruned(group),
        ..reply::Group::default()
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
    for (ifindex, group, host, member) in trackers.groups.iter() {
        if !interfaces.contains_key(&ifindex) {
            continue;
        }
        let timers = trackers.queriers.timers(ifindex, group.is_ipv4(), now);
        let kept_ns = timers.membership_ns();
        let is_current = member.is_current(now, kept_ns);
        let entry = all
            .entry((ifindex, group))
            .or_insert_with(|| new(ifindex, group));
        entry
            .members
            .push(member_of(host, member, is_current, kept_ns));
    }
    name_aliases(&mut all);
    Ok(reply::Groups {
        time: time(now),
        groups: all.into_values().collect(),
    })
}

/// Groups of one interface that share an Ethernet address: a switch or network card cannot
/// distinguish them.
fn name_aliases(all: &mut BTreeMap<(u32, IpAddr), reply::Group>) {
    /// Maximum number of aliases listed per group.
    const NAMED: usize = 31;
    let mut sharing: BTreeMap<(u32, String), Vec<String>> = BTreeMap::new();
    for ((ifindex, _), group) in all.iter() {
        let same = sharing.entry((*ifindex, group.mac.clone())).or_default();
        same.push(group.group.clone());
    }
    for ((ifindex, _), group) in all.iter_mut() {
        let same = sharing.get(&(*ifindex, group.mac.clone()));
        let others: Vec<String> = same
            .into_iter()
            .flatten()
            .filter(|other| **other != group.group)
            .take(NAMED)
            .cloned()
            .collect();
        group.aliases = (!others.is_empty()).then_some(others);
    }
}

fn member_of(host: IpAddr, member: &Member, current: bool, kept_ns: u64) -> reply::Member {
    reply::Member {
        host: host.to_string(),
        version: member.version,
        mode: member.mode.name().into(),
        sources: member.sources.iter().map(ToString::to_string).collect(),
        sources_left_out: (member.sources_left_out > 0).then_some(member.sources_left_out),
        first: time(member.first_ns),
        last: time(member.last_ns),
        left: member.left_ns.map(time),
        expires: member
            .left_ns
            .is_none()
            .then(|| time(member.last_ns.saturating_add(kept_ns))),
        reports: member.reports,
        current,
        own: member.own,
    }
}

fn protocol(is_ipv4: bool) -> String {
    if is_ipv4 { "IGMP" } else { "MLD" }.into()
}

/// Answers `Queriers`.
pub fn queriers(
    engine: &EngineState,
    call: reply::InterfaceCall,
) -> Result<reply::Queriers, Failure> {
    let now = wall_ns();
    let interfaces = interfaces(engine, &call)?;
    let trackers = &engine.recording.multicast;
    let mut queriers: Vec<reply::Querier> = Vec::new();
    for (querier, standing) in trackers.queriers.iter(now) {
        let Some(interface) = interfaces.get(&querier.ifindex) else {
            continue;
        };
        let timers = querier.timers();
        queriers.push(reply::Querier {
            interface: interface.clone(),
            protocol: protocol(querier.address.is_ipv4()),
            address: querier.address.to_string(),
            version: querier.version,
            standing: standing.name().into(),
            own: querier.own,
            interval_ns: timers.interval_ns,
            interval_from: timers.interval.name().into(),
            robustness: timers.robustness,
            max_response_ns: timers.max_response_ns,
            membership_ns: timers.membership_ns(),
            queries: querier.general,
            group_queries: querier.specific,
            first: time(querier.first_ns),
            last: time(querier.last_ns),
            next: matches!(standing, QuerierState::Elected | QuerierState::Overdue)
                .then(|| time(querier.last_ns.saturating_add(timers.interval_ns))),
        });
    }
    queriers.sort_by(|a, b| {
        (&a.interface, &a.protocol, &a.address).cmp(&(&b.interface, &b.protocol, &b.address))
    });
    let routers = routers(trackers, &interfaces, now);
    Ok(reply::Queriers {
        routers: Some(routers),
        time: time(now),
        queriers,
        unasked: links_without_querier(engine, &interfaces, now),
    })
}

/// Routers that announce themselves.
fn routers(
    trackers: &Trackers,
    interfaces: &BTreeMap<u32, String>,
    now: u64,
) -> Vec<reply::Router> {
    let all = trackers.routers.iter(now);
    all.filter_map(|((ifindex, address, protocol), router)| {
        let designated = trackers
            .routers
            .designated(*ifindex, address.is_ipv4(), now);
        Some(reply::Router {
            interface: interfaces.get(ifindex)?.clone(),
            protocol: protocol.name().into(),
            address: address.to_string(),
            own: router.own,
            designated: *protocol == Protocol::Pim && designated == Some(*address),
            priority: router.priority,
            restarts: router.restarts,
            first: time(router.first_ns),
            last: time(router.last_ns),
            expires: router.last_ns.checked_add(router.hold_ns).map(time),
        })
    })
    .collect()
}

/// Answers `Streams`.
pub fn streams(
    engine: &EngineState,
    call: reply::InterfaceCall,
) -> Result<reply::Streams, Failure> {
    let now = wall_ns();
    let interfaces = interfaces(engine, &call)?;
    let all = engine.recording.multicast.streams.sorted();
    let streams = all
        .into_iter()
        .filter_map(|(key, stream)| {
            let interface = interfaces.get(&key.ifindex)?.clone();
            let (packets, bytes) = stream.rate_at(now);
            Some(reply::Stream {
                interface,
                group: key.group.to_string(),
                port: key.port,
                source: key.source.to_string(),
                source_port: key.source_port,
                outbound: stream.outbound,
                packets: stream.packets,
                bytes: stream.bytes,
                packets_per_second: packets,
                bits_per_second: bytes * 8,
                ttl: stream.ttl,
                wrong_mac: stream.wrong_mac,
                longest_gap_ns: stream.longest_gap_ns,
                first: time(stream.first_ns),
                last: time(stream.last_ns),
                rtp: stream.rtp.as_deref().map(rtp),
                ts: stream.ts.as_deref().map(|ts| reply::MpegTs {
                    packets: ts.packets,
                    lost: ts.lost,
                    duplicates: ts.duplicates,
                    reordered: ts.reordered,
                    restarts: ts.restarts,
                }),
            })
        })
        .collect();
    Ok(reply::Streams {
        time: time(now),
        streams,
    })
}

fn rtp(rtp: &Rtp) -> reply::Rtp {
    let (packets, lost) = (rtp.numbers.packets, rtp.lost());
    let percent = lost as f64 * 100.0 / (packets + lost).max(1) as f64;
    reply::Rtp {
        ssrc: rtp.ssrc,
        payload_type: rtp.payload_type,
        packets,
        lost,
        loss_percent: (percent * 1e4).round() / 1e4,
        duplicates: rtp.numbers.duplicates,
        reordered: rtp.numbers.reordered,
        restarts: rtp.restarts,
        jitter_ns: rtp.jitter_ns(),
    }
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
                protocol: protocol(is_ipv4),
                groups,
                since: time(last.unwrap_or(engine.started_ns)),
            }
        })
        .collect()
}
