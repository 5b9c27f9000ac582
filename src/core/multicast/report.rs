//! PURE. The state of the trackers as the control protocol shows it: what the service and a capture file have in common.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Member, Protocol, QuerierState, Rtp, Trackers, names};
use crate::protocol::{multicast as reply, time};
use crate::wire::cursor::Mac;

/// Returns a group without members.
pub fn group(interface: &str, group: IpAddr) -> reply::Group {
    reply::Group {
        interface: interface.into(),
        group: group.to_string(),
        name: names::name(group),
        mac: Mac(names::mac(group)).to_string(),
        pruned: names::is_pruned(group),
        ..reply::Group::default()
    }
}

/// Returns the memberships reported on these interfaces (index and name), by interface and group.
pub fn groups(
    trackers: &Trackers,
    interfaces: &BTreeMap<u32, String>,
    now: u64,
) -> BTreeMap<(u32, IpAddr), reply::Group> {
    let mut all: BTreeMap<(u32, IpAddr), reply::Group> = BTreeMap::new();
    for (ifindex, address, host, member) in trackers.groups.iter() {
        let Some(interface) = interfaces.get(&ifindex) else {
            continue;
        };
        let timers = trackers.queriers.timers(ifindex, address.is_ipv4(), now);
        let kept_ns = timers.membership_ns();
        let is_current = member.is_current(now, kept_ns);
        let entry = all
            .entry((ifindex, address))
            .or_insert_with(|| group(interface, address));
        entry
            .members
            .push(member_of(host, member, is_current, kept_ns));
    }
    all
}

/// Groups of one interface that share an Ethernet address: a switch or network card cannot
/// distinguish them.
pub fn name_aliases(all: &mut BTreeMap<(u32, IpAddr), reply::Group>) {
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

/// Returns the name of the protocol that manages groups of an address family.
pub fn protocol(is_ipv4: bool) -> String {
    if is_ipv4 { "IGMP" } else { "MLD" }.into()
}

/// Returns the queriers seen on these interfaces.
pub fn queriers(
    trackers: &Trackers,
    interfaces: &BTreeMap<u32, String>,
    now: u64,
) -> Vec<reply::Querier> {
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
    queriers
}

/// Returns the routers that announce themselves on these interfaces.
pub fn routers(
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

/// Returns the streams seen on these interfaces.
pub fn streams(
    trackers: &Trackers,
    interfaces: &BTreeMap<u32, String>,
    now: u64,
) -> Vec<reply::Stream> {
    let all = trackers.streams.sorted();
    all.into_iter()
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
        .collect()
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
