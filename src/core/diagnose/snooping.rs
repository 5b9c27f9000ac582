//! PURE. Failure modes of the link: missing or competing queriers, switches and bridges that prune, and
//! devices that do not carry multicast.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::case::{Case, SECOND_NS, is_link_local, list, protocol, seconds};
use super::protocol::group_query;
use super::wire::Message;
use super::{Certainty, FailureMode, FindingDraft};
use crate::multicast::{Querier, QuerierState, TimerSource};
use crate::text::counted;

/// Minimum time for which a switch with standard timers keeps a membership (RFC 3376, section 8.4).
const DEFAULT_MEMBERSHIP_NS: u64 = 260 * SECOND_NS;
/// Time without a query after which there is no querier (RFC 3376, section 8.5).
const NO_QUERIER_NS: u64 = 255 * SECOND_NS;

/// Interfaces on which the group is joined but does not arrive; in a file, those where hosts
/// reported it and no packet came at the end.
fn pruned(case: &Case<'_>) -> Vec<u32> {
    if case.host.is_some() {
        return case.without_traffic.clone();
    }
    let now = case.now_ns();
    case.evidence
        .wire
        .names
        .keys()
        .copied()
        .filter(|ifindex| {
            let last = case
                .evidence
                .wire
                .group_packets
                .iter()
                .filter(|packet| packet.ifindex == *ifindex)
                .map(|packet| packet.time_ns)
                .max();
            let stopped = last.is_none_or(|last| now.saturating_sub(last) > 5 * SECOND_NS);
            let reported = case.reports(*ifindex).any(|(_, joins)| joins);
            stopped && (reported || last.is_none())
        })
        .collect()
}

/// The newest relevant report for the group: this host's own, or in a file that of any host.
fn last_report(case: &Case<'_>, ifindex: u32) -> Option<u64> {
    if case.host.is_some() {
        return case.last_own_report(ifindex);
    }
    case.reports(ifindex)
        .filter(|(_, joins)| *joins)
        .map(|(message, _)| message.time_ns)
        .last()
}

fn last_data(case: &Case<'_>, ifindex: u32) -> Option<u64> {
    if case.host.is_some() {
        return case.last_arrival(ifindex).map(|packet| packet.time_ns);
    }
    let all = case.evidence.wire.group_packets.iter();
    all.filter(|packet| packet.ifindex == ifindex)
        .map(|packet| packet.time_ns)
        .max()
}

pub static QUERIER_LOST: FailureMode = FailureMode {
    id: "querier-lost",
    title: "the querier has disappeared and no other took over",
    symptoms: "Streams stop some minutes after a router or switch was restarted or replaced.",
    cause: "Snooping switches keep a group's ports open only as long as hosts report, and hosts \
        report only in answer to queries. Without a querier all memberships expire.",
    proof: "The last query is older than the other-querier-present interval that follows from its \
        own timers, and no other host has queried since.",
    fix: "Restore the querier, or enable one: on a router, on the switch, or on a Linux bridge \
        (mcast_querier 1).",
    implies: &["no-querier", "not-arriving", "only-link-local-works"],
    rule: |case| {
        let now = case.now_ns();
        let mut interfaces = case.interfaces();
        interfaces.extend(pruned(case));
        for ifindex in interfaces {
            let all = case.queriers(ifindex);
            let newest = all.iter().max_by_key(|(querier, _)| querier.last_ns);
            let Some((querier, _)) = newest else { continue };
            if is_link_local(case.group)
                || querier.own
                || all
                    .iter()
                    .any(|(_, standing)| *standing != QuerierState::Gone)
            {
                continue;
            }
            let kept = querier.timers().membership_ns();
            let report = last_report(case, ifindex);
            let expired = report.is_none_or(|report| now.saturating_sub(report) > kept);
            let starves = pruned(case).contains(&ifindex);
            // It arrives although the membership has expired: nothing prunes here.
            if !starves && expired {
                continue;
            }
            let ago = seconds(now.saturating_sub(querier.last_ns));
            let (name, protocol) = (case.name(ifindex), protocol(case.group));
            let what = if starves && expired {
                format!("so {} has expired in the switch", case.group)
            } else {
                format!(
                    "so {} will expire {} after the last report",
                    case.group,
                    seconds(kept)
                )
            };
            let found = FindingDraft::fault_or_warning(
                starves && expired,
                Certainty::Consistent,
                format!(
                    "the {protocol} querier {} on {name} has been silent for {ago}, and no other \
                        querier has taken over: {what}",
                    querier.address
                ),
            )
            .fix(
                "restore the querier, or enable one on a router or switch (Linux bridge: \
                    mcast_querier 1)",
            )
            .with_evidence(
                "wire",
                format!(
                    "{} from {}, the last {ago} ago; by its timers another querier takes \
                        over after {}",
                    counted(querier.general, "query"),
                    querier.address,
                    seconds(querier.timers().other_querier_ns())
                ),
            );
            return Some(time_line(case, ifindex, found));
        }
        None
    },
};

/// Adds the times of the last query, report and packet.
fn time_line(case: &Case<'_>, ifindex: u32, mut found: FindingDraft) -> FindingDraft {
    let now = case.now_ns();
    let ago = |then: u64| seconds(now.saturating_sub(then));
    let whose = if case.host.is_some() {
        "this host's last report"
    } else {
        "the last report"
    };
    found = found.with_evidence(
        "wire",
        match last_report(case, ifindex) {
            Some(report) => format!("{whose} for {} was {} ago", case.group, ago(report)),
            None => format!(
                "no report for {} since the record began {} ago",
                case.group,
                seconds(case.recorded_ns())
            ),
        },
    );
    if !case.has_packets {
        return found;
    }
    found.with_evidence(
        "wire",
        match last_data(case, ifindex) {
            Some(data) => format!(
                "the last packet of {} was received {} ago",
                case.group,
                ago(data)
            ),
            None => format!(
                "no packet of {} since the record began {} ago",
                case.group,
                seconds(case.recorded_ns())
            ),
        },
    )
}

/// Interfaces where the group does not arrive and no query was received for as long as a querier
/// may be silent.
fn unasked(case: &Case<'_>) -> Vec<u32> {
    if case.recorded_ns() < NO_QUERIER_NS || is_link_local(case.group) {
        return vec![];
    }
    pruned(case)
        .into_iter()
        .filter(|ifindex| {
            case.messages(*ifindex)
                .all(|message| !message.is_general_query())
        })
        .collect()
}

pub static ONLY_LINK_LOCAL_WORKS: FailureMode = FailureMode {
    id: "only-link-local-works",
    title: "only groups of 224.0.0.0/24 get through",
    symptoms: "keepalived with its own group is master on both sides; with 224.0.0.18 it works.",
    cause: "Switches never prune 224.0.0.0/24 (RFC 4541, section 2.1.2), but prune all other \
        groups without a report. Without a querier, no group is reported for long.",
    proof: "Link-local groups of other hosts come in, this group never did, and no query was \
        received.",
    fix: "Enable a querier, or use a group of 224.0.0.0/24, or unicast.",
    implies: &["no-querier", "not-arriving"],
    rule: |case| {
        for ifindex in unasked(case) {
            if last_data(case, ifindex).is_some() {
                continue;
            }
            let others: BTreeSet<IpAddr> = case
                .evidence
                .wire
                .others
                .iter()
                .filter(|((at, group, _), count)| {
                    *at == ifindex && is_link_local(*group) && **count >= 3
                })
                .map(|((_, group, _), _)| *group)
                .collect();
            if others.is_empty() {
                continue;
            }
            let name = case.name(ifindex);
            return Some(time_line(
                case,
                ifindex,
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "{} is received on {name}, but {} never is: switches flood 224.0.0.0/24 \
                            and prune the rest, because there is no querier",
                        list(&others),
                        case.group
                    ),
                )
                .fix("enable a querier on a router or switch, or use a group of 224.0.0.0/24")
                .with_evidence(
                    "wire",
                    format!(
                        "packets of {} came in on {name}, no query within {}",
                        list(&others),
                        seconds(case.recorded_ns())
                    ),
                ),
            ));
        }
        None
    },
};

pub static NO_QUERIER: FailureMode = FailureMode {
    id: "no-querier",
    title: "a snooping switch without a querier",
    symptoms: "The stream stops four to five minutes after joining; restarting the application \
        restores it for as long.",
    cause: "A snooping switch opens a port when a host reports a group, and closes it when the \
        membership expires (260 s by the standard). Hosts report again only in answer to a \
        querier, and there is none.",
    proof: "No query in more than 255 s, while hosts report; the stream ends about 260 s after the \
        last report.",
    fix: "Enable a querier (router, switch, or Linux bridge with mcast_querier 1), or disable \
        snooping.",
    implies: &["not-arriving"],
    rule: |case| {
        let now = case.now_ns();
        for ifindex in unasked(case) {
            let Some(data) = last_data(case, ifindex) else {
                continue;
            };
            let report = last_report(case, ifindex);
            // A stream that stops long before the membership expires stopped for another reason.
            let after = report.map(|report| data.saturating_sub(report));
            if after.is_some_and(|after| after < 100 * SECOND_NS) {
                continue;
            }
            let name = case.name(ifindex);
            return Some(time_line(
                case,
                ifindex,
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "no {} querier on {name} for {}: a snooping switch removed {} and stopped \
                            forwarding it {}",
                        protocol(case.group),
                        seconds(case.recorded_ns()),
                        case.group,
                        after.map_or("some time ago".into(), |after| format!(
                            "{} after the last report",
                            seconds(after)
                        ))
                    ),
                )
                .fix(
                    "enable a querier on a router or switch (Linux bridge: mcast_querier 1), or \
                        disable snooping",
                )
                .with_evidence(
                    "wire",
                    format!("no query on {name} for {}", seconds(case.recorded_ns())),
                ),
            ));
        }
        // It still arrives, but the membership is about to expire.
        if case.recorded_ns() < NO_QUERIER_NS || is_link_local(case.group) {
            return None;
        }
        for (ifindex, _) in case
            .received
            .iter()
            .filter(|(at, _)| case.joined.contains(at))
        {
            let asked = case.messages(*ifindex).any(Message::is_general_query);
            let report =
                last_report(case, *ifindex).filter(|report| now - report < DEFAULT_MEMBERSHIP_NS);
            if let (false, Some(report)) = (asked, report) {
                return Some(time_line(
                    case,
                    *ifindex,
                    FindingDraft::warning(
                        Certainty::Consistent,
                        format!(
                            "no {} querier on {}: if a switch there snoops, {} stops in {}",
                            protocol(case.group),
                            case.name(*ifindex),
                            case.group,
                            seconds(DEFAULT_MEMBERSHIP_NS - (now - report))
                        ),
                    )
                    .fix("enable a querier on a router or switch (Linux bridge: mcast_querier 1)"),
                ));
            }
        }
        None
    },
};

pub static SILENT_RECEIVER_PRUNED: FailureMode = FailureMode {
    id: "silent-receiver-pruned",
    title: "a new querier cut off a receiver that never reports",
    symptoms: "A device that does not support IGMP received the group for years, and stopped when \
        a querier appeared.",
    cause: "A bridge or switch that has seen no querier floods groups. With the first query it \
        begins to prune: only ports with reports get a group from then on.",
    proof: "Packets of the group came in until the first query and none since, and this host has \
        not reported the group.",
    fix: "Make the receiver join the group, or add a permanent entry on the switch (bridge mdb add \
        dev BR port PORT grp GROUP permanent).",
    implies: &["not-joined", "not-arriving"],
    rule: |case| {
        case.host?;
        if !case.joined.is_empty() || !case.received.is_empty() || case.is_router() {
            return None;
        }
        let interfaces: BTreeSet<u32> = case
            .evidence
            .wire
            .group_packets
            .iter()
            .map(|packet| packet.ifindex)
            .collect();
        for ifindex in interfaces.into_iter().filter(|at| case.is_wanted(*at)) {
            let Some(first) = case.queries(ifindex).next() else {
                continue;
            };
            let data: Vec<u64> = case
                .evidence
                .wire
                .group_packets
                .iter()
                .filter(|packet| packet.ifindex == ifindex && packet.is_inbound())
                .map(|packet| packet.time_ns)
                .collect();
            let reported = case.reports(ifindex).any(|(message, _)| message.outbound);
            let Some(last) = data.last().copied() else {
                continue;
            };
            // Some packets are in flight when the query is received.
            if reported || data[0] > first.time_ns || last > first.time_ns + SECOND_NS {
                continue;
            }
            return Some(
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "{} was received on {} without having been joined, until {} began to \
                            query: since then the switch prunes it",
                        case.group,
                        case.name(ifindex),
                        first.source
                    ),
                )
                .fix(format!(
                    "join {} on this host, or add a permanent entry on the switch (bridge mdb add \
                        ... grp {} permanent)",
                    case.group, case.group
                ))
                .with_evidence(
                    "wire",
                    format!(
                        "{} before the first query of {}, none later than {} after it",
                        counted(data.len(), "packet"),
                        first.source,
                        seconds(last.saturating_sub(first.time_ns))
                    ),
                )
                .with_evidence(
                    "kernel",
                    format!("{} is joined on no interface", case.group),
                ),
            );
        }
        None
    },
};

pub static QUERY_INTERVAL_TOO_LONG: FailureMode = FailureMode {
    id: "query-interval-too-long",
    title: "the query interval is longer than memberships last",
    symptoms: "The stream is interrupted at regular intervals.",
    cause: "Switches time memberships with their own timer, 260 s by default. With a longer query \
        interval they expire between two queries.",
    proof: "The query interval, announced or observed, compared with the membership time of the \
        switch.",
    fix: "Set the query interval to 125 s, or the switch's membership time to more than twice the \
        interval.",
    implies: &[],
    rule: |case| {
        let host = case.host;
        for ifindex in case.interfaces() {
            let kept = host
                .into_iter()
                .flat_map(|host| &host.links)
                .filter(|link| link.ifindex == ifindex)
                .find_map(|link| link.bridge.as_ref())
                .filter(|bridge| bridge.snooping)
                .map(|bridge| bridge.membership_ns);
            let limit = kept.unwrap_or(DEFAULT_MEMBERSHIP_NS);
            for (querier, standing) in case.queriers(ifindex) {
                let timers = querier.timers();
                if standing == QuerierState::Gone
                    || timers.interval == TimerSource::Default
                    || timers.interval_ns <= limit
                    // One long interval may be a lost query.
                    || (timers.interval == TimerSource::Observed && querier.general < 3)
                {
                    continue;
                }
                let certainty = if kept.is_some() {
                    Certainty::Proved
                } else {
                    Certainty::Consistent
                };
                let whose = if kept.is_some() {
                    "this bridge"
                } else {
                    "a switch with standard timers"
                };
                return Some(
                    FindingDraft::fault_or_warning(
                        pruned(case).contains(&ifindex),
                        certainty,
                        format!(
                            "the querier {} queries every {} on {}, but {whose} keeps memberships \
                                for only {}: the stream is interrupted at times",
                            querier.address,
                            seconds(timers.interval_ns),
                            case.name(ifindex),
                            seconds(limit)
                        ),
                    )
                    .fix(
                        "set the query interval to 125 s, or the membership time of the switches \
                            to more than twice the interval",
                    )
                    .with_evidence(
                        "wire",
                        format!(
                            "interval {} ({})",
                            seconds(timers.interval_ns),
                            timers.interval.name()
                        ),
                    ),
                );
            }
        }
        None
    },
};

/// Two queriers of an interface that both continued for so long that one should have stopped.
fn competing_queriers<'a>(case: &Case<'a>, ifindex: u32) -> Option<(&'a Querier, &'a Querier)> {
    let alive: Vec<&Querier> = case
        .queriers(ifindex)
        .into_iter()
        .filter(|(querier, standing)| {
            *standing != QuerierState::Gone
                && !querier.address.is_unspecified()
                && querier.general >= 2
        })
        .map(|(querier, _)| querier)
        .collect();
    for (at, a) in alive.iter().enumerate() {
        for b in &alive[at + 1..] {
            let both = a.first_ns.max(b.first_ns);
            let patience = a
                .timers()
                .other_querier_ns()
                .max(b.timers().other_querier_ns());
            if a.last_ns.min(b.last_ns) > both + patience {
                return Some((a, b));
            }
        }
    }
    None
}

pub static TWO_QUERIERS: FailureMode = FailureMode {
    id: "two-queriers",
    title: "several queriers without an election",
    symptoms: "Twice as many queries; groups are alternately pruned and flooded.",
    cause: "All queriers except the one with the lowest address must stop querying (RFC 3376, \
        section 6.6.2). If they continue, they do not receive each other's queries: a filter, \
        VLANs that leak in one direction, or a device without election.",
    proof: "Queries from more than one address, long after one of them should have stopped.",
    fix: "Let them receive each other's queries, or turn off all but one.",
    implies: &["querier-changed"],
    rule: |case| {
        for ifindex in case.interfaces() {
            let Some((a, b)) = competing_queriers(case, ifindex) else {
                continue;
            };
            return Some(
                FindingDraft::warning(
                    Certainty::Proved,
                    format!(
                        "{} and {} both query on {}: the querier election fails",
                        a.address,
                        b.address,
                        case.name(ifindex)
                    ),
                )
                .fix("let them receive each other's queries, or turn off all but one")
                .with_evidence(
                    "wire",
                    format!(
                        "{} from {}, {} from {}",
                        counted(a.general, "query"),
                        a.address,
                        b.general,
                        b.address
                    ),
                ),
            );
        }
        None
    },
};

pub static QUERIER_CHANGED: FailureMode = FailureMode {
    id: "querier-changed",
    title: "another host became the querier",
    symptoms: "A host is flooded with multicast, or memberships expire sooner.",
    cause: "The querier with the lowest address wins. A new one (a set-top box, a host with \
        smcroute, a switch after a reset) takes over with its own timers, and switches forward \
        every group to its port.",
    proof: "Queries from a lower address, after which the former querier stops.",
    fix: "If it is not intended, disable its querier, or give the right one the lowest address.",
    implies: &[],
    rule: |case| {
        for ifindex in case.interfaces() {
            let mut elected: Option<IpAddr> = None;
            let mut change = None;
            for query in case
                .queries(ifindex)
                .filter(|query| !query.source.is_unspecified())
            {
                match elected {
                    Some(known) if query.source < known => {
                        change = Some((known, query.source, query.time_ns));
                        elected = Some(query.source);
                    }
                    None => elected = Some(query.source),
                    _ => {}
                }
            }
            // Settled long ago: the new one is the querier of the link.
            let settled = case.timers(ifindex).membership_ns().saturating_mul(2);
            let recent =
                |(.., at): &(IpAddr, IpAddr, u64)| case.now_ns().saturating_sub(*at) <= settled;
            let Some((old, new, at)) = change.filter(recent) else {
                continue;
            };
            return Some(
                FindingDraft::warning(
                    Certainty::Proved,
                    format!(
                        "{new} took over from {old} as the querier on {} {} ago because its \
                            address is lower: switches now forward all groups to it",
                        case.name(ifindex),
                        seconds(case.now_ns().saturating_sub(at))
                    ),
                )
                .fix(format!(
                    "if {new} is not intended as the querier, disable its querier"
                ))
                .with_evidence("wire", format!("queries from {old}, then from {new}")),
            );
        }
        None
    },
};

/// A leave of another host after which the stream stopped here: interface, host, time, and time of
/// the last packet.
fn stopped_by_leave(case: &Case<'_>) -> Option<(u32, IpAddr, u64, u64)> {
    for ifindex in pruned(case) {
        let Some(data) = last_data(case, ifindex) else {
            continue;
        };
        let leave = case.reports(ifindex).filter(|(message, joins)| {
            let until = message.time_ns + 10 * SECOND_NS;
            !message.outbound && !joins && data + SECOND_NS / 4 >= message.time_ns && data <= until
        });
        let Some((leave, _)) = leave.last() else {
            continue;
        };
        if group_query(case, ifindex, leave.time_ns, data).is_none() {
            return Some((ifindex, leave.source, leave.time_ns, data));
        }
    }
    None
}

pub static FAST_LEAVE_SHARED_PORT: FailureMode = FailureMode {
    id: "fast-leave-shared-port",
    title: "fast leave on a port with several receivers",
    symptoms: "One viewer switches channels, and another viewer's picture freezes until the next \
        query.",
    cause: "With fast leave (immediate leave) a switch closes a port at the first leave, without \
        querying for other members on that port.",
    proof: "Another host's leave was received, the stream stopped at that moment, and no \
        group-specific query followed.",
    fix: "Disable fast leave on ports with more than one receiver (bridge link set dev PORT \
        fastleave off).",
    implies: &[
        "group-query-missing",
        "not-arriving",
        "source-stopped",
        "querier-lost",
    ],
    rule: |case| {
        let (ifindex, who, leave, data) = stopped_by_leave(case)?;
        if data > leave + SECOND_NS / 2 {
            return None;
        }
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} stopped on {} at the moment when {who} left it: fast leave is on for the \
                        switch port that both share",
                    case.group,
                    case.name(ifindex)
                ),
            )
            .fix(
                "disable fast leave (immediate leave) on that port: bridge link set dev PORT \
                    fastleave off",
            )
            .with_evidence(
                "wire",
                format!("leave of {who} {} ago", seconds(case.now_ns() - leave)),
            )
            .with_evidence(
                "wire",
                format!(
                    "last packet {} ago, and no group-specific query after the leave",
                    seconds(case.now_ns() - data)
                ),
            ),
        )
    },
};

pub static GROUP_QUERY_MISSING: FailureMode = FailureMode {
    id: "group-query-missing",
    title: "no group-specific query follows a leave",
    symptoms: "Two or three seconds after one receiver leaves, the others lose the stream too.",
    cause: "After a leave the querier queries for the group, and switches wait for reports (two \
        queries, one second each). If the query is missing, or is filtered on its way here, no \
        member can answer, and the port is closed.",
    proof: "Another host's leave was received, no query for the group followed, and the stream \
        stopped a few seconds later.",
    fix: "Make the querier send group-specific queries (last member query), and the switches \
        forward them to all member ports.",
    implies: &["not-arriving", "source-stopped", "querier-lost"],
    rule: |case| {
        let (ifindex, who, leave, data) = stopped_by_leave(case)?;
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} stopped on {} {} after {who} left it, and no query for remaining members \
                        followed",
                    case.group,
                    case.name(ifindex),
                    seconds(data - leave)
                ),
            )
            .fix(
                "make the querier send group-specific queries after a leave, and the switches \
                    forward them",
            )
            .with_evidence(
                "wire",
                format!(
                    "leave of {who} {} ago, no query for {} since",
                    seconds(case.now_ns() - leave),
                    case.group
                ),
            ),
        )
    },
};

pub static NO_REPORT_AFTER_FAILOVER: FailureMode = FailureMode {
    id: "no-report-after-failover",
    title: "the link failed over and the new switch does not know the memberships",
    symptoms: "After a cable, bond or uplink fails over, the stream stops until the next query.",
    cause: "The new switch (or port) has no record of this host's memberships, and the kernel does \
        not report them again when a bridge's or bond's port changes.",
    proof: "A port of the interface lost its link, the stream stopped, and this host has not \
        reported since.",
    fix: "Bonding: resend_igmp=3. Otherwise: a shorter query interval, or restart the \
        application.",
    implies: &["not-arriving", "source-stopped", "querier-lost"],
    rule: |case| {
        let host = case.host?;
        for ifindex in &case.without_traffic {
            let moved = host.went_down.iter().filter(|(down, _)| {
                case.link(*down)
                    .is_some_and(|link| link.master == Some(*ifindex))
                    || down == ifindex
            });
            let Some((down, at)) = moved.max_by_key(|(_, at)| *at) else {
                continue;
            };
            let Some(data) = last_data(case, *ifindex) else {
                continue;
            };
            let reported = case
                .last_own_report(*ifindex)
                .is_some_and(|report| report > *at);
            if reported || data > at + SECOND_NS {
                continue;
            }
            return Some(time_line(
                case,
                *ifindex,
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "{} lost its link {} ago and {} stopped on {}: this host has not reported \
                            since, so the switch on the other link does not know the membership",
                        case.name(*down),
                        seconds(case.now_ns().saturating_sub(*at)),
                        case.group,
                        case.name(*ifindex)
                    ),
                )
                .fix(
                    "bonding: set resend_igmp to 3; otherwise shorten the query interval, or \
                        restart the application to rejoin",
                )
                .with_evidence(
                    "kernel",
                    format!(
                        "{} went down {} ago",
                        case.name(*down),
                        seconds(case.now_ns().saturating_sub(*at))
                    ),
                ),
            ));
        }
        None
    },
};

/// Bridge ports on which the group comes in, and on which it should go out but does not: in, out.
fn blocked(case: &Case<'_>) -> Option<(u32, u32, usize)> {
    let host = case.host?;
    let (into, out) = case.bridged();
    let members = case.members_elsewhere();
    for (port, packets) in &into {
        let bridge = case.link(*port)?.master;
        let other = host.links.iter().find(|link| {
            link.ifindex != *port
                && link.master == bridge
                && link.port.is_some()
                && !out.contains_key(&link.ifindex)
                && members.contains_key(&link.ifindex)
        });
        if let Some(other) = other {
            return Some((*port, other.ifindex, *packets));
        }
    }
    None
}

/// Describes what `blocked` found, with its reason.
fn held_back(
    case: &Case<'_>,
    certainty: Certainty,
    (from, to, packets): (u32, u32, usize),
    why: &str,
) -> FindingDraft {
    let (from, to) = (case.name(from), case.name(to));
    FindingDraft::fault(
        certainty,
        format!(
            "{} comes in on {from} and does not go out on {to}, where it has a member: {why}",
            case.group
        ),
    )
    .with_evidence(
        "wire",
        format!(
            "{packets} in on {from}, none out on {to}",
            packets = counted(packets, "packet")
        ),
    )
}

pub static ISOLATED_PORT: FailureMode = FailureMode {
    id: "isolated-port",
    title: "both ports are isolated from each other",
    symptoms: "Two hosts on a bridge cannot reach each other, while both reach the router.",
    cause: "Isolated (protected, private) ports forward nothing to each other, only to other \
        ports. Access points call this client isolation.",
    proof: "The group comes in on an isolated port, has a member behind another isolated port, and \
        does not go out there.",
    fix: "bridge link set dev PORT isolated off, on one of them.",
    implies: &["bridge-netfilter-drop"],
    rule: |case| {
        let place @ (from, to, _) = blocked(case)?;
        let isolated = |ifindex| {
            case.link(ifindex)
                .and_then(|link| link.port.as_ref())
                .is_some_and(|port| port.isolated)
        };
        if !isolated(from) || !isolated(to) {
            return None;
        }
        let found = held_back(case, Certainty::Proved, place, "both ports are isolated");
        let (from, to) = (case.name(from), case.name(to));
        Some(
            found
                .fix(format!("bridge link set dev {to} isolated off"))
                .with_evidence("bridge", format!("{from} and {to}: isolated on")),
        )
    },
};

pub static BRIDGE_NETFILTER_DROP: FailureMode = FailureMode {
    id: "bridge-netfilter-drop",
    title: "the IP firewall drops bridged packets",
    symptoms: "Virtual machines or containers on a bridge lose multicast after Docker or \
        Kubernetes was installed.",
    cause: "With bridge-nf-call-iptables=1, bridged IP packets pass the FORWARD chain, whose \
        policy such software sets to DROP.",
    proof: "The group comes in on a port, the bridge has a member on another, nothing goes out \
        there, and bridged packets pass the IP firewall.",
    fix: "sysctl net.bridge.bridge-nf-call-iptables=0, or accept bridged traffic in FORWARD \
        (physdev).",
    implies: &[],
    rule: |case| {
        let place @ (from, ..) = blocked(case)?;
        let family = if case.group.is_ipv4() {
            "iptables"
        } else {
            "ip6tables"
        };
        let calls = case.sysctl(&format!("net/bridge/bridge-nf-call-{family}")) == Some(1);
        let own = case
            .link(from)?
            .master
            .and_then(|bridge| case.link(bridge)?.bridge.as_ref());
        if !calls && !own.is_some_and(|bridge| bridge.calls_firewall) {
            return None;
        }
        let why = format!(
            "bridged packets pass the IP firewall here (bridge-nf-call-{family}=1), and its \
                FORWARD chain drops them"
        );
        Some(
            held_back(case, Certainty::Consistent, place, &why)
                .fix(format!(
                    "sysctl net.bridge.bridge-nf-call-{family}=0, or accept bridged traffic in \
                        FORWARD"
                ))
                .with_evidence("sysctl", format!("net.bridge.bridge-nf-call-{family} = 1")),
        )
    },
};

pub static MDB_FULL: FailureMode = FailureMode {
    id: "mdb-full",
    title: "the bridge reached its group limit and disabled snooping",
    symptoms: "Suddenly all multicast is flooded to all ports.",
    cause: "A Linux bridge that reaches mcast_hash_max groups disables snooping and floods from \
        then on.",
    proof: "Snooping is off, and hosts behind its ports report at least as many groups as its \
        limit.",
    fix: "ip link set BR type bridge mcast_hash_max 4096 mcast_snooping 1 (set the size first).",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        for link in &host.links {
            let Some(bridge) = link.bridge.as_ref().filter(|bridge| !bridge.snooping) else {
                continue;
            };
            let ports: BTreeSet<u32> = host
                .links
                .iter()
                .filter(|port| port.master == Some(link.ifindex))
                .map(|port| port.ifindex)
                .collect();
            let groups: BTreeSet<IpAddr> = case
                .evidence
                .wire
                .trackers
                .groups
                .iter()
                .filter(|(ifindex, group, _, member)| {
                    ports.contains(ifindex) && !is_link_local(*group) && !member.own
                })
                .map(|(_, group, ..)| group)
                .collect();
            if groups.len() < bridge.max_groups as usize || bridge.max_groups == 0 {
                continue;
            }
            return Some(
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "hosts behind {} report {} and its limit is {}: it disabled \
                            snooping and floods all multicast",
                        link.name,
                        counted(groups.len(), "group"),
                        bridge.max_groups
                    ),
                )
                .fix(format!(
                    "ip link set {0} type bridge mcast_hash_max 4096, then ip link set {0} type \
                        bridge mcast_snooping 1",
                    link.name
                ))
                .with_evidence(
                    "bridge",
                    format!(
                        "{}: mcast_snooping 0, mcast_hash_max {}",
                        link.name, bridge.max_groups
                    ),
                ),
            );
        }
        None
    },
};

pub static MACVLAN_PARENT_CHILD: FailureMode = FailureMode {
    id: "macvlan-parent-child",
    title: "a macvlan does not receive from its parent",
    symptoms: "The host cannot reach its container by multicast, other hosts can.",
    cause: "Packets sent on the parent device go to the wire, not to the macvlans on it.",
    proof: "The group is sent on the parent, is joined on the macvlan above it, and does not come \
        in there.",
    fix: "Give the host its own macvlan on the same parent, in bridge mode, and send on that; or \
        use a bridge.",
    implies: &[
        "sent-on-other-interface",
        "not-arriving",
        "sender-loopback-off",
    ],
    rule: |case| {
        for ifindex in &case.without_traffic {
            let Some(link) = case.link(*ifindex).filter(|link| link.kind == "macvlan") else {
                continue;
            };
            let Some(parent) = link.parent else { continue };
            let Some(sent) = case.sent.get(&parent) else {
                continue;
            };
            let parent = case.name(parent);
            return Some(
                FindingDraft::fault(
                    Certainty::Proved,
                    format!(
                        "{} is sent on {parent} and joined on {}, a macvlan on it: a macvlan does \
                            not receive packets sent on its parent",
                        case.group, link.name
                    ),
                )
                .fix(format!(
                    "create a macvlan (mode bridge) on {parent} for the host itself and send on \
                        that, or use a bridge"
                ))
                .with_evidence(
                    "wire",
                    format!(
                        "{} sent on {parent}, none received on {}",
                        counted(sent.len(), "packet"),
                        link.name
                    ),
                )
                .with_evidence("kernel", format!("{} is a macvlan on {parent}", link.name)),
            );
        }
        None
    },
};

pub static VF_FILTER: FailureMode = FailureMode {
    id: "vf-filter",
    title: "a virtual function or macvtap filters groups",
    symptoms: "A virtual machine does not receive some groups.",
    cause: "A virtual function accepts a limited number of multicast addresses, and none that the \
        physical function does not allow (trust). A macvtap accepts only those that libvirt \
        configures.",
    proof: "On the host: `ip link show PF` (trust off), `ip -d link show macvtapN`. From within a \
        guest it looks like not-arriving.",
    fix: "ip link set PF vf N trust on; with libvirt trustGuestRxFilters=\"yes\".",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        let link = host.links.iter().find(|link| {
            link.kind == "macvtap" && case.members_elsewhere().contains_key(&link.ifindex)
        })?;
        Some(
            FindingDraft::warning(
                Certainty::Consistent,
                format!(
                    "{} is a macvtap: its guest receives only the groups in the device's filter",
                    link.name
                ),
            )
            .fix("libvirt: trustGuestRxFilters=\"yes\"")
            .with_evidence("kernel", format!("{} is a macvtap", link.name)),
        )
    },
};

pub static NETWORK_WITHOUT_MULTICAST: FailureMode = FailureMode {
    id: "network-without-multicast",
    title: "this network does not carry multicast",
    symptoms: "Containers, VPNs or cloud machines do not receive each other's groups, while \
        unicast works.",
    cause: "Tunnels (WireGuard, tun), overlays (flannel, kube-router), and nearly all public \
        clouds forward unicast only.",
    proof: "The interface is a tunnel or overlay, and no multicast packet of any kind has ever \
        come in there.",
    fix: "Use unicast, or an overlay that replicates multicast, or a relay (udpxy, smcroute) at \
        its edge.",
    implies: &["no-querier", "not-arriving"],
    rule: |case| {
        for ifindex in &case.without_traffic {
            let Some(link) = case.link(*ifindex) else {
                continue;
            };
            let carries = matches!(
                link.kind.as_str(),
                "tun"
                    | "wireguard"
                    | "ipip"
                    | "gre"
                    | "sit"
                    | "ip6tnl"
                    | "xfrm"
                    | "vxlan"
                    | "geneve"
            );
            let heard =
                case.messages(*ifindex).any(|message| !message.outbound)
                    || case.last_arrival(*ifindex).is_some()
                    || case.evidence.wire.others.keys().any(|(at, group, _)| {
                        at == ifindex && group.is_ipv4() == case.group.is_ipv4()
                    });
            if !carries || heard {
                continue;
            }
            return Some(
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "{} is joined on {}, a tunnel ({}) on which no multicast packet has ever \
                            come in: most tunnels and overlays carry unicast only",
                        case.group, link.name, link.kind
                    ),
                )
                .fix("use unicast across it, or a relay at its edge")
                .with_evidence("kernel", format!("{} is of kind {}", link.name, link.kind))
                .with_evidence(
                    "wire",
                    format!(
                        "no multicast packet received on {} in {}",
                        link.name,
                        seconds(case.recorded_ns())
                    ),
                ),
            );
        }
        None
    },
};

pub static SOURCE_STOPPED: FailureMode = FailureMode {
    id: "source-stopped",
    title: "the source stopped sending",
    symptoms: "The stream was there and has stopped.",
    cause: "The sender stopped, crashed, or lost its network.",
    proof: "Packets of the group came in earlier and no longer do, while the membership is still \
        valid at every switch.",
    fix: "Check the sender: run `netsonde mcast doctor` there.",
    implies: &["not-arriving"],
    rule: |case| {
        let now = case.now_ns();
        for ifindex in &case.without_traffic {
            let Some(last) = case.last_arrival(*ifindex) else {
                continue;
            };
            let kept = case.timers(*ifindex).membership_ns();
            let valid = is_link_local(case.group)
                || case
                    .last_own_report(*ifindex)
                    .is_some_and(|report| now - report <= kept);
            if !valid {
                continue;
            }
            let name = case.name(*ifindex);
            return Some(time_line(
                case,
                *ifindex,
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "{} from {} came in on {name} until {} ago and then stopped, while this \
                            host's membership is valid",
                        case.group,
                        last.source,
                        seconds(now.saturating_sub(last.time_ns))
                    ),
                )
                .fix(format!(
                    "check the sender {}: run netsonde mcast doctor {} there",
                    last.source, case.group
                )),
            ));
        }
        None
    },
};

pub static NOT_ARRIVING: FailureMode = FailureMode {
    id: "not-arriving",
    title: "no packet of the group reaches this host",
    symptoms: "The group is joined and nothing arrives.",
    cause: "The source does not send, or a switch or router on the path does not forward. This \
        host cannot determine which: check the sender and the switches.",
    proof: "No packet of the group on the interface's wire; at a bridge, none on any of its ports, \
        while a host behind one of them reports membership.",
    fix: "Run `netsonde mcast doctor` at the sender and on the routers and bridges between.",
    implies: &["not-joined"],
    rule: |case| {
        let Some(ifindex) = case.without_traffic.first().copied() else {
            return not_at_bridge(case);
        };
        // Groups of link management are silent for hours in a healthy network.
        if is_link_local(case.group) && case.last_arrival(ifindex).is_none() {
            return None;
        }
        if !case.sent.is_empty() || case.without_traffic.len() < case.joined.len() || case.works() {
            return None;
        }
        let queriers = case.queriers(ifindex);
        let who = queriers
            .iter()
            .find(|(_, standing)| *standing == QuerierState::Elected)
            .map_or("no querier was seen".into(), |(querier, _)| {
                format!(
                    "{} is the querier (version {})",
                    querier.address, querier.version
                )
            });
        Some(time_line(
            case,
            ifindex,
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} is joined on {} and no packet of it reaches this host: the source does not \
                        send, or a device on the path does not forward",
                    case.group,
                    case.name(ifindex)
                ),
            )
            .fix(format!(
                "run netsonde mcast doctor {} at the sender, and on routers and bridges between",
                case.group
            ))
            .with_evidence("wire", who),
        ))
    },
};

/// A host behind a bridge of this host has joined, and nothing comes in for it.
fn not_at_bridge(case: &Case<'_>) -> Option<FindingDraft> {
    let host = case.host?;
    // Groups of link management are silent for hours in a healthy network.
    if is_link_local(case.group) || !case.joined.is_empty() || !case.sent.is_empty() {
        return None;
    }
    let members = case.members_by_segment();
    let is_between_packets = |bridge: u32| {
        let mut ports = host.links.iter();
        ports.any(|port| port.master == Some(bridge) && case.is_between(port.ifindex))
    };
    let (bridge, who) = members.iter().find(|(at, _)| {
        let is_bridge = case.link(**at).is_some_and(|link| link.bridge.is_some());
        is_bridge && case.is_wanted(**at) && !case.is_supplied(**at) && !is_between_packets(**at)
    })?;
    let name = case.name(*bridge);
    Some(
        FindingDraft::fault(
            Certainty::Consistent,
            format!(
                "{} behind {name} has joined {}, and no packet of it comes in on any port of {name}: \
                    the source does not send, or a device on the path does not forward",
                list(who),
                case.group
            ),
        )
        .fix(format!(
            "run netsonde mcast doctor {} at the sender, and on routers and bridges between",
            case.group
        ))
        .with_evidence("wire", format!("reports of {} behind {name}", list(who)))
        .with_evidence("wire", format!("no packet of {} on its ports", case.group)),
    )
}
