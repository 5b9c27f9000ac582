//! PURE. Failure modes of IGMP and MLD: versions, queries, reports, and firewalls between them and the host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::case::{
    Case, SECOND_NS, SLACK_NS, is_legal_query, is_link_local, is_source_specific, list, protocol,
    seconds,
};
use super::wire::{Message, MessageKind};
use super::{Certainty, FailureMode, FindingDraft};
use crate::multicast::QuerierState;
use crate::text::counted;

/// Returns whether this host reported anything in answer to a query.
fn answers<'a>(case: &Case<'a>, ifindex: u32, from: u64, to: u64) -> Vec<&'a Message> {
    case.messages(ifindex)
        .filter(|message| {
            message.outbound
                && matches!(message.kind, MessageKind::Report { .. })
                && (from..=to).contains(&message.time_ns)
        })
        .collect()
}

/// Queries that this host should have answered and did not: interface, how many of how many, and
/// the time of the newest.
fn unanswered(case: &Case<'_>) -> Option<(u32, usize, usize, IpAddr)> {
    case.host?;
    for ifindex in case.joined.iter().filter(|_| case.is_reported()) {
        // Before the host had joined there was nothing to answer.
        let joined = case.first_own_report(*ifindex).unwrap_or(0);
        let mut queries = case.answered_queries(*ifindex);
        queries.retain(|(query, _)| query.time_ns > joined);
        let mute = queries
            .iter()
            .take_while(|(query, end)| answers(case, *ifindex, query.time_ns, *end).is_empty())
            .count();
        // In versions 1 and 2 another member's report suppresses this host's own.
        let suppressed = queries.iter().any(|(query, end)| {
            case.reports(*ifindex).any(|(message, _)| {
                !message.outbound
                    && message.version < 3
                    && (query.time_ns..=*end).contains(&message.time_ns)
            })
        });
        if mute > 0 && !suppressed {
            return Some((*ifindex, mute, queries.len(), queries[0].0.source));
        }
    }
    None
}

fn mute(case: &Case<'_>) -> Option<FindingDraft> {
    let host = case.host?;
    let (ifindex, mute, all, querier) = unanswered(case)?;
    let name = case.name(ifindex);
    let protocol = protocol(case.group);
    let listened = host.listened.after.get(&ifindex);
    let (wire, heard) = listened.map_or((0, 0), |counts| {
        if case.group.is_ipv4() {
            (counts.igmp_wire, counts.igmp_heard)
        } else {
            (counts.icmp6_wire, counts.icmp6_heard)
        }
    });
    let blocked = wire.saturating_sub(heard);
    // The counts are of all messages since the service started, and may be of an earlier firewall, or of
    // listeners that the configuration turns off. Reports may also be dropped on their way out.
    let certainty = Certainty::Consistent;
    let timers = case.timers(ifindex);
    let where_ = if blocked > 0 {
        "a firewall rule in INPUT drops them"
    } else {
        "a firewall drops the queries, or the reports on their way out"
    };
    let end = match case.last_own_report(ifindex) {
        Some(last) => format!(
            "switches forget this port {} after its last report, which was {} ago",
            seconds(timers.membership_ns()),
            seconds(case.now_ns().saturating_sub(last))
        ),
        None => "it has never reported itself".into(),
    };
    let mut found = FindingDraft::fault_or_warning(
        case.is_silent(ifindex),
        certainty,
        format!(
            "{protocol} queries from {querier} arrive on {name}, but this host did not answer the \
                last {mute} of {all}: {where_}; {end}"
        ),
    )
    .fix(if case.group.is_ipv4() {
        "accept IGMP: nft add rule inet filter input meta l4proto igmp accept, and the same in \
            output"
    } else {
        "accept ICMPv6 types 130 to 132 and 143: nft add rule inet filter input icmpv6 type { \
            mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } \
            accept"
    })
    .with_evidence(
        "wire",
        format!("{all} general queries on {name}, the last {mute} without a report from this host"),
    );
    if wire > 0 {
        found = found.with_evidence(
            "socket",
            format!(
                "{} came in on {name}: {wire} on the wire, {heard} after INPUT",
                if case.group.is_ipv4() {
                    "IGMP"
                } else {
                    "ICMPv6"
                }
            ),
        );
    }
    Some(found)
}

pub static FIREWALL_DROPS_IGMP: FailureMode = FailureMode {
    id: "firewall-drops-igmp",
    title: "the firewall drops IGMP",
    symptoms: "The stream works for two to five minutes and stops; restarting the application \
        restores it for as long.",
    cause: "Joining sends a report, which opens the switch's port. From then on the host must \
        answer queries. If a firewall drops IP protocol 2, the queries are not received, and the \
        switch closes the port when the membership expires.",
    proof: "Queries come in on the wire, a raw socket after INPUT does not receive them, and no \
        report of this host follows.",
    fix: "Accept IGMP (IP protocol 2) in INPUT and OUTPUT.",
    implies: &["querier-lost"],
    rule: |case| mute(case).filter(|_| case.group.is_ipv4()),
};

pub static FIREWALL_DROPS_MLD: FailureMode = FailureMode {
    id: "firewall-drops-mld",
    title: "the firewall drops MLD queries",
    symptoms: "Some minutes after a querier appears, IPv6 groups stop, and neighbor discovery with \
        them: the host becomes unreachable.",
    cause: "As with IGMP. The solicited-node groups of neighbor discovery are multicast groups as \
        well, and a snooping switch prunes them like any other.",
    proof: "MLD queries come in on the wire, a raw socket after INPUT does not receive them, and \
        no report of this host follows.",
    fix: "Accept ICMPv6 types 130 to 132 and 143 in INPUT and OUTPUT (RFC 4890).",
    implies: &["querier-lost"],
    rule: |case| mute(case).filter(|_| case.group.is_ipv6()),
};

pub static ILLEGAL_MLD_QUERY: FailureMode = FailureMode {
    id: "illegal-mld-query",
    title: "MLD queries that hosts must ignore",
    symptoms: "A querier runs, and hosts do not answer it.",
    cause: "MLD queries must come from a link-local address, with hop limit 1 and the router alert \
        option (RFC 3810, section 5.1.14). Hosts silently drop all others.",
    proof: "Source, hop limit and options of the query.",
    fix: "Give the querier's interface a link-local address, or correct its implementation.",
    implies: &["querier-lost", "no-querier", "not-arriving"],
    rule: |case| {
        if case.group.is_ipv4() {
            return None;
        }
        for ifindex in case.interfaces() {
            let illegal = case.messages(ifindex).find(|message| {
                // A bridge of this host queries from any of its addresses until its link-local one
                // is ready.
                let is_of_others = !message.outbound && !case.is_own(message.source);
                message.is_general_query() && is_of_others && !is_legal_query(message)
            });
            let Some(query) = illegal else { continue };
            let mut wrong = vec![];
            match query.source {
                IpAddr::V6(v6) if !v6.is_unicast_link_local() => {
                    wrong.push(format!("its source {v6} is not link-local"));
                }
                _ => {}
            }
            if query.ttl != 1 {
                wrong.push(format!("its hop limit is {} and not 1", query.ttl));
            }
            if !query.router_alert {
                wrong.push("it has no router alert option".into());
            }
            let any_legal = case.queries(ifindex).next().is_some();
            return Some(
                FindingDraft::fault_or_warning(
                    !any_legal && (case.is_silent(ifindex) || case.host.is_none()),
                    Certainty::Proved,
                    format!(
                        "the MLD query from {} on {} is invalid, so hosts ignore it: {}",
                        query.source,
                        case.name(ifindex),
                        wrong.join(", ")
                    ),
                )
                .fix(
                    "correct the querier: source link-local, hop limit 1, router alert (RFC 3810, \
                        section 5.1.14)",
                )
                .with_evidence("wire", wrong.join(", ")),
            );
        }
        None
    },
};

pub static IGMPV2_QUERIER_BREAKS_SSM: FailureMode = FailureMode {
    id: "igmpv2-querier-breaks-ssm",
    title: "an old querier prevents source-specific joins",
    symptoms: "A source-specific join has no effect; routers ignore it.",
    cause: "After an IGMPv2 (MLDv1) query a host uses that version, which cannot name sources. \
        Routers ignore joins without sources in 232.0.0.0/8 and ff3x::/32 (RFC 4604).",
    proof: "The kernel holds a source filter for the group, the interface is in version 2 mode, \
        and the wire shows reports of that version.",
    fix: "Make the querier use IGMPv3 and MLDv2, or turn the old one off.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        for ifindex in &case.joined {
            let included: Vec<IpAddr> = host
                .filters
                .iter()
                .filter(|filter| {
                    filter.ifindex == *ifindex && filter.group == case.group && filter.include > 0
                })
                .map(|filter| filter.source)
                .collect();
            if included.is_empty() && !is_source_specific(case.group) {
                continue;
            }
            let full = if case.group.is_ipv4() { 3 } else { 2 };
            let old = case
                .queries(*ifindex)
                .filter(|query| query.version < full)
                .last();
            let own = case
                .reports(*ifindex)
                .filter(|(message, _)| message.outbound)
                .map(|(message, _)| message.version)
                .last();
            let mode = host
                .igmp_versions
                .get(ifindex)
                .filter(|_| case.group.is_ipv4());
            let is_old = mode.is_some_and(|version| *version < 3)
                || (old.is_some() && own.is_some_and(|version| version < full));
            if !is_old {
                continue;
            }
            let name = case.name(*ifindex);
            let protocol = protocol(case.group);
            let by = old.map_or("a querier".into(), |query| {
                format!("the querier {}", query.source)
            });
            // Without a query in the record, a setting of this host may be the reason.
            let certainty = match old {
                Some(_) => Certainty::Proved,
                None => Certainty::Consistent,
            };
            let mut found = FindingDraft::fault_or_warning(
                case.is_silent(*ifindex),
                certainty,
                format!(
                    "{by} forces this host to {protocol}v{} on {name}, so it cannot request the \
                        sources of {}: source-specific multicast does not work on this link",
                    full - 1,
                    case.group
                ),
            )
            .fix(format!("make the querier use {protocol}v{full}"));
            if !included.is_empty() {
                found =
                    found.with_evidence("kernel", format!("joined only from {}", list(&included)));
            }
            if let Some(version) = own {
                found = found.with_evidence(
                    "wire",
                    format!("this host's latest report is {protocol}v{version}"),
                );
            }
            if let Some(query) = old {
                found = found.with_evidence(
                    "wire",
                    format!("{protocol}v{} query from {}", query.version, query.source),
                );
            }
            return Some(found);
        }
        None
    },
};

pub static BRIDGE_QUERIER_DEFAULT: FailureMode = FailureMode {
    id: "bridge-querier-default",
    title: "a Linux bridge queries with the oldest versions, and without an address",
    symptoms: "Turning on mcast_querier breaks source-specific multicast, or devices do not answer.",
    cause: "A bridge's own querier uses IGMPv2 and MLDv1 by default, and queries from 0.0.0.0, \
        which some devices ignore and switches do not count as a querier.",
    proof: "The bridge's settings.",
    fix: "ip link set BR type bridge mcast_igmp_version 3 mcast_mld_version 2, give it an address, \
        and mcast_query_use_ifaddr 1.",
    implies: &["igmpv2-querier-breaks-ssm", "querier-without-address"],
    rule: |case| {
        let host = case.host?;
        for link in &host.links {
            let Some(bridge) = link.bridge.as_ref().filter(|bridge| bridge.querier) else {
                continue;
            };
            let old = if case.group.is_ipv4() {
                bridge.igmp_version < 3
            } else {
                bridge.mld_version < 2
            };
            let (into, _) = case.bridged();
            let carries = into
                .keys()
                .any(|port| case.link(*port).and_then(|port| port.master) == Some(link.ifindex));
            if !old || !(carries || case.interfaces().contains(&link.ifindex)) {
                continue;
            }
            let (protocol, version) = if case.group.is_ipv4() {
                ("IGMP", bridge.igmp_version)
            } else {
                ("MLD", bridge.mld_version)
            };
            let from = if case.group.is_ipv4() && !bridge.uses_own_address {
                " from 0.0.0.0"
            } else {
                ""
            };
            // Another querier with a lower address silences the bridge.
            let is_contested = case
                .queriers(link.ifindex)
                .iter()
                .any(|(querier, state)| !querier.own && *state == QuerierState::Elected);
            let certainty = match is_contested {
                true => Certainty::Consistent,
                false => Certainty::Proved,
            };
            return Some(
                FindingDraft::fault_or_warning(
                    is_source_specific(case.group),
                    certainty,
                    format!(
                        "{} is the querier here and uses {protocol}v{version}{from}: hosts fall \
                            back to that version, and source-specific multicast stops working",
                        link.name
                    ),
                )
                .fix(format!(
                    "ip link set {} type bridge mcast_igmp_version 3 mcast_mld_version 2 \
                        mcast_query_use_ifaddr 1, and give it an address",
                    link.name
                ))
                .with_evidence(
                    "bridge",
                    format!(
                        "{}: mcast_querier 1, version {version}, mcast_query_use_ifaddr {}",
                        link.name,
                        u8::from(bridge.uses_own_address)
                    ),
                ),
            );
        }
        None
    },
};

pub static SWITCH_IGNORES_IGMPV3: FailureMode = FailureMode {
    id: "switch-ignores-igmpv3",
    title: "the switch does not understand this host's reports",
    symptoms: "Joining has no effect; older devices on the same switch receive.",
    cause: "Switches and access points that support only IGMPv2 (MLDv1) ignore reports of version \
        3, sent to 224.0.0.22 (ff02::16). A host uses version 2 only after a query of that \
        version, or when configured to.",
    proof: "Other hosts on the link report in the older version although no query asked for it, \
        this host in the newer one, and its group has never arrived.",
    fix: "Force the older version: sysctl net.ipv4.conf.IF.force_igmp_version=2 \
        (net.ipv6.conf.IF.force_mld_version=1). Better: update the switch.",
    implies: &["not-arriving"],
    rule: |case| {
        case.host?;
        let full = if case.group.is_ipv4() { 3 } else { 2 };
        for ifindex in &case.without_traffic {
            let asked = case.queries(*ifindex).any(|query| query.version < full);
            let older = case.messages(*ifindex).find(|message| {
                let is_report = matches!(message.kind, MessageKind::Report { .. });
                is_report && !message.outbound && message.version < full
            });
            let own: Vec<u8> = case
                .reports(*ifindex)
                .filter(|(message, _)| message.outbound)
                .map(|(message, _)| message.version)
                .collect();
            let newer = !own.is_empty() && own.iter().all(|version| *version == full);
            let Some(older) = older.filter(|_| newer && !asked) else {
                continue;
            };
            if case.last_arrival(*ifindex).is_some() {
                continue;
            }
            let (name, protocol) = (case.name(*ifindex), protocol(case.group));
            return Some(
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "this host reports {} with {protocol}v{full} on {name}, {} there uses \
                            {protocol}v{}, and no packet of the group has ever arrived: the switch \
                            may support only the older version",
                        case.group, older.source, older.version
                    ),
                )
                .fix(if case.group.is_ipv4() {
                    format!("try sysctl net.ipv4.conf.{name}.force_igmp_version=2, and join again")
                } else {
                    format!("try sysctl net.ipv6.conf.{name}.force_mld_version=1, and join again")
                })
                .with_evidence(
                    "wire",
                    format!(
                        "reports of this host: {protocol}v{full}; of {}: {protocol}v{}",
                        older.source, older.version
                    ),
                )
                .with_evidence(
                    "wire",
                    format!("no query of {protocol}v{} came in", full - 1),
                ),
            );
        }
        None
    },
};

pub static QUERIER_VERSION_FLAPPING: FailureMode = FailureMode {
    id: "querier-version-flapping",
    title: "queriers of different versions alternate",
    symptoms: "The stream works for some minutes and then stops for good; source-specific joins \
        come and go.",
    cause: "Two queriers on one link use different versions. Hosts fall back to the older one for \
        minutes after each of its queries, so the type of their reports alternates.",
    proof: "General queries of different versions alternate on one interface.",
    fix: "Set all queriers of the link to the same version (RFC 9776, section 8).",
    implies: &[
        "two-queriers",
        "querier-changed",
        "igmpv2-querier-breaks-ssm",
    ],
    rule: |case| {
        for ifindex in case.interfaces() {
            let now = case.now_ns();
            let window = case.timers(ifindex).membership_ns().max(10_000_000_000);
            let asked: Vec<&Message> = case
                .queries(ifindex)
                .filter(|query| query.time_ns + window >= now)
                .collect();
            let changes = asked
                .windows(2)
                .filter(|pair| pair[0].version != pair[1].version)
                .count();
            if changes < 2 {
                continue;
            }
            let who: BTreeSet<String> = asked
                .iter()
                .map(|query| format!("{} (version {})", query.source, query.version))
                .collect();
            return Some(
                FindingDraft::fault_or_warning(
                    case.is_silent(ifindex),
                    Certainty::Proved,
                    format!(
                        "queries of different versions alternate on {}: {}",
                        case.name(ifindex),
                        list(&who)
                    ),
                )
                .fix("set all queriers of the link to the same version")
                .with_evidence(
                    "wire",
                    format!(
                        "{}, {changes} of version",
                        counted(asked.len(), "query"),
                        changes = counted(changes, "change")
                    ),
                ),
            );
        }
        None
    },
};

/// Reports of other hosts that suppressed this host's own: interface, host, and the query.
fn suppressed<'a>(case: &Case<'a>) -> Option<(u32, IpAddr, &'a Message)> {
    case.host?;
    for ifindex in &case.joined {
        let Some((query, end)) = case.answered_queries(*ifindex).into_iter().next() else {
            continue;
        };
        let within = |message: &Message| (query.time_ns..=end).contains(&message.time_ns);
        let foreign = case.reports(*ifindex).find(|(message, joins)| {
            !message.outbound && *joins && message.version < 3 && within(message)
        });
        let own = case
            .reports(*ifindex)
            .any(|(message, _)| message.outbound && message.time_ns >= query.time_ns);
        if let Some((foreign, _)) = foreign
            && !own
        {
            return Some((*ifindex, foreign.source, query));
        }
    }
    None
}

pub static REPORT_SUPPRESSION: FailureMode = FailureMode {
    id: "report-suppression",
    title: "another host's report suppresses this host's",
    symptoms: "One of several receivers on a switch gets nothing.",
    cause: "In IGMPv1 and v2 (MLDv1) a host does not report a group for which it received another \
        host's report. A snooping switch must not forward reports to hosts (RFC 4541, section \
        2.1.1). If it does, it sees only one report, and closes the ports of the other receivers.",
    proof: "After a query, another host's report for the group came in, and this host sent none.",
    fix: "Use IGMPv3 (MLDv2), which has no suppression, or stop the switch from forwarding reports \
        to hosts.",
    implies: &["firewall-drops-igmp", "firewall-drops-mld"],
    rule: |case| {
        let (ifindex, who, query) = suppressed(case)?;
        Some(
            // That the query and the foreign report passed INPUT is not known.
            FindingDraft::fault_or_warning(
                case.is_silent(ifindex),
                Certainty::Consistent,
                format!(
                    "after the query of {} this host received the report of {who} for {} and \
                        suppressed its own: a snooping switch closes its port",
                    query.source, case.group
                ),
            )
            .fix(
                "make the querier use IGMPv3 or MLDv2, or stop the switch from forwarding reports \
                    to hosts (RFC 4541, section 2.1.1)",
            )
            .with_evidence(
                "wire",
                format!(
                    "report of {who} came in on {}, this host sent none",
                    case.name(ifindex)
                ),
            ),
        )
    },
};

pub static REPORTS_LOST: FailureMode = FailureMode {
    id: "reports-lost",
    title: "some of this host's reports were lost on their way out",
    symptoms: "Of many groups joined at once, some never arrive.",
    cause: "Reports are sent in a burst, each twice at most. A rate limit, a short queue or a \
        firewall drops some, and they are not repeated before the next query.",
    proof: "After a query the wire shows reports for fewer groups than the kernel has joined, and \
        this group is not among them.",
    fix: "Remove the limit; raise net.ipv4.igmp_qrv; join more slowly.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        for ifindex in &case.joined {
            let Some((query, end)) = case.answered_queries(*ifindex).into_iter().next() else {
                continue;
            };
            let reported: BTreeSet<IpAddr> = answers(case, *ifindex, query.time_ns, end)
                .iter()
                .filter_map(|message| match &message.kind {
                    MessageKind::Report { group, .. } => Some(*group),
                    MessageKind::Query { .. } => None,
                })
                .collect();
            let held: BTreeSet<IpAddr> = host
                .memberships
                .get(ifindex)
                .into_iter()
                .flatten()
                .map(|one| one.group)
                .filter(|group| group.is_ipv4() == case.group.is_ipv4() && !is_link_local(*group))
                .collect();
            let there = held.intersection(&reported).count();
            let later = case
                .last_own_report(*ifindex)
                .is_some_and(|report| report >= query.time_ns);
            if later || is_link_local(case.group) || there == 0 {
                continue;
            }
            let certainty = match host.ring_drops {
                0 => Certainty::Proved,
                _ => Certainty::Consistent,
            };
            return Some(
                FindingDraft::fault_or_warning(
                    case.is_silent(*ifindex),
                    certainty,
                    format!(
                        "{there} of {} were reported on {} after the last query, but {} was \
                            not",
                        counted(held.len(), "group"),
                        case.name(*ifindex),
                        case.group
                    ),
                )
                .fix(
                    "check for a rate limit on the way out (nft list ruleset, tc qdisc); sysctl \
                        net.ipv4.igmp_qrv=4; join more slowly",
                )
                .with_evidence(
                    "wire",
                    format!(
                        "reports for {there} from the query of {} until {} later",
                        query.source,
                        seconds(end - query.time_ns),
                        there = counted(there, "group")
                    ),
                )
                .with_evidence(
                    "kernel",
                    format!(
                        "{} are joined on {}",
                        counted(held.len(), "group"),
                        case.name(*ifindex)
                    ),
                ),
            );
        }
        None
    },
};

pub static SUSPICIOUS_IGMP_QUERY: FailureMode = FailureMode {
    id: "suspicious-igmp-query",
    title: "IGMP queries from another network, or with a TTL other than 1",
    symptoms: "Hosts change their version or their timers for no apparent reason.",
    cause: "Queries are limited to one link: TTL 1, from an address on it. Linux answers others \
        nevertheless, so a leaking VLAN or an attacker can act as the querier.",
    proof: "Source and TTL of the query.",
    fix: "Find the sender by its MAC address; on switches, allow queries only from router ports.",
    implies: &[
        "querier-version-flapping",
        "two-queriers",
        "querier-changed",
    ],
    rule: |case| {
        if !case.group.is_ipv4() {
            return None;
        }
        for ifindex in case.interfaces() {
            let Some(link) = case.link(ifindex) else {
                continue;
            };
            let strange = case.messages(ifindex).find(|message| {
                let foreign = link.has_address(message.source)
                    && !message.source.is_unspecified()
                    && !link.is_on_link(message.source);
                message.is_general_query() && !message.outbound && (message.ttl != 1 || foreign)
            });
            let Some(query) = strange else { continue };
            let why = if query.ttl != 1 {
                format!("its TTL is {} instead of 1", query.ttl)
            } else {
                "its source is not in any network of this link".into()
            };
            return Some(
                FindingDraft::warning(
                    Certainty::Consistent,
                    format!(
                        "the IGMP query from {} on {} is suspect: {why}; hosts accept it \
                            nevertheless",
                        query.source,
                        case.name(ifindex)
                    ),
                )
                .fix(
                    "find the sender by its MAC address (netsonde watch igmp); allow queries only \
                        from router ports",
                )
                .with_evidence(
                    "wire",
                    format!(
                        "query of version {} from {}, TTL {}",
                        query.version, query.source, query.ttl
                    ),
                ),
            );
        }
        None
    },
};

pub static QUERIER_WITHOUT_ADDRESS: FailureMode = FailureMode {
    id: "querier-without-address",
    title: "the querier's source address is 0.0.0.0",
    symptoms: "Linux hosts answer, some devices do not; switches do not forward to the querier's \
        port.",
    cause: "Proxies and bridges without an address query from 0.0.0.0. By RFC 4541 such a query \
        does not identify a querier, and switches learn no router port from it.",
    proof: "The source of the query.",
    fix: "Give the querier's interface an address; on a Linux bridge also mcast_query_use_ifaddr \
        1.",
    implies: &[],
    rule: |case| {
        for ifindex in case.interfaces() {
            let queriers = case.queriers(ifindex);
            let nameless = queriers.iter().any(|(querier, standing)| {
                querier.address.is_unspecified()
                    && !querier.own
                    && matches!(standing, QuerierState::Elected | QuerierState::Overdue)
            });
            if nameless {
                return Some(
                    FindingDraft::warning(
                        Certainty::Proved,
                        format!(
                            "the querier on {} queries from 0.0.0.0: Linux answers, many devices \
                                do not, and switches learn no router port from it",
                            case.name(ifindex)
                        ),
                    )
                    .fix(
                        "give the querier an address (a Linux bridge: also mcast_query_use_ifaddr \
                            1)",
                    )
                    .with_evidence("wire", "all general queries come from 0.0.0.0"),
                );
            }
        }
        None
    },
};

pub static LINK_LOCAL_REPORTS: FailureMode = FailureMode {
    id: "link-local-reports",
    title: "this host does not report groups of 224.0.0.0/24",
    symptoms: "mDNS, VRRP or OSPF stops behind a switch that wrongly prunes 224.0.0.x.",
    cause: "With igmp_link_local_mcast_reports=0 Linux does not report groups of 224.0.0.0/24. \
        Switches should flood them anyway (RFC 4541, section 2.1.2), but some prune them. (Some \
        hosting providers require this setting, because they treat the reports as abuse.)",
    proof: "The sysctl is 0, and no report for the group is sent.",
    fix: "sysctl net.ipv4.igmp_link_local_mcast_reports=1, or exempt 224.0.0.0/24 on the switch.",
    implies: &[],
    rule: |case| {
        let off = case.sysctl("net/ipv4/igmp_link_local_mcast_reports") == Some(0);
        if !off || !case.group.is_ipv4() || !is_link_local(case.group) || case.joined.is_empty() {
            return None;
        }
        Some(
            FindingDraft::warning(
                Certainty::Consistent,
                format!(
                    "this host does not report {}, and a switch that wrongly prunes 224.0.0.0/24 \
                        does not forward it",
                    case.group
                ),
            )
            .fix(
                "sysctl net.ipv4.igmp_link_local_mcast_reports=1, or exempt 224.0.0.0/24 on the \
                    switch",
            )
            .with_evidence("sysctl", "net.ipv4.igmp_link_local_mcast_reports = 0"),
        )
    },
};

pub static REPORT_WITHOUT_ADDRESS: FailureMode = FailureMode {
    id: "report-without-address",
    title: "this host reports from 0.0.0.0",
    symptoms: "The switch never opens the port.",
    cause: "An interface without an IPv4 address (DHCP pending, or a receiver that needs none) \
        reports from 0.0.0.0. RFC 3376 allows that; some switches ignore such reports.",
    proof: "The source of this host's own reports, and the interface's addresses.",
    fix: "Give the interface any address.",
    implies: &["querier-lost", "no-querier"],
    rule: |case| {
        case.host?;
        for ifindex in &case.joined {
            let nameless = case
                .reports(*ifindex)
                .any(|(message, _)| message.outbound && message.source.is_unspecified());
            let link = case.link(*ifindex)?;
            if !nameless || link.has_address(case.group) || !case.group.is_ipv4() {
                continue;
            }
            return Some(
                FindingDraft::fault_or_warning(
                    case.is_silent(*ifindex),
                    Certainty::Consistent,
                    format!(
                        "{} has no IPv4 address, so its reports for {} are sent from 0.0.0.0, \
                            which some switches ignore",
                        link.name, case.group
                    ),
                )
                .fix(format!("give {} an address", link.name))
                .with_evidence("wire", "reports of this host from 0.0.0.0")
                .with_evidence("kernel", format!("{} has no IPv4 address", link.name)),
            );
        }
        None
    },
};

pub static REJOIN_HACK: FailureMode = FailureMode {
    id: "rejoin-hack",
    title: "an application leaves and rejoins the group repeatedly",
    symptoms: "A short loss at regular intervals.",
    cause: "A workaround in the application (\"renew\") for a membership that expires: with each \
        leave, routers and switches stop the stream for a moment, and it hides why the membership \
        expires.",
    proof: "The same host leaves the group and joins it again repeatedly, each time within \
        seconds.",
    fix: "Turn the workaround off, find out why the membership expires, and diagnose again then.",
    implies: &[],
    rule: |case| {
        for ifindex in case.interfaces() {
            let hosts: BTreeSet<IpAddr> =
                case.reports(ifindex).map(|(one, _)| one.source).collect();
            for host in hosts {
                // Old leaves do not affect the present.
                let since = case.now_ns().saturating_sub(600 * SECOND_NS);
                let all: Vec<(u64, bool)> = case
                    .reports(ifindex)
                    .filter(|(message, _)| message.source == host && message.time_ns >= since)
                    .map(|(message, joins)| (message.time_ns, joins))
                    .collect();
                let back = |pair: &[(u64, bool)]| {
                    !pair[0].1 && pair[1].1 && pair[1].0 - pair[0].0 < 5_000_000_000
                };
                let times = all.windows(2).filter(|pair| back(pair)).count();
                if times < 3 {
                    continue;
                }
                // Earlier runs of the doctor with --join leave the same traces.
                let is_own = case.is_own(host);
                if is_own && case.evidence.subject.joined_here {
                    continue;
                }
                let (who, certainty) = match is_own {
                    true => ("a program on this host".into(), Certainty::Consistent),
                    false => (host.to_string(), Certainty::Proved),
                };
                return Some(
                    FindingDraft::warning(
                        certainty,
                        format!(
                            "{who} left {} and rejoined it {times}: each time the stream may \
                                stop for a moment",
                            case.group,
                            times = counted(times, "time")
                        ),
                    )
                    .fix(
                        "turn the workaround off, and diagnose again after the stream has stopped: \
                            then its cause shows",
                    )
                    .with_evidence(
                        "wire",
                        format!(
                            "{times} of {host}, each followed by a join within 5 s",
                            times = counted(times, "leave")
                        ),
                    ),
                );
            }
        }
        None
    },
};

/// Returns whether a query for this group came in within an interval.
pub fn group_query<'a>(case: &Case<'a>, ifindex: u32, from: u64, to: u64) -> Option<&'a Message> {
    case.messages(ifindex).find(|message| {
        let for_it =
            matches!(message.kind, MessageKind::Query { group: Some(group), .. } if group == case.group);
        for_it && (from..=to.saturating_add(SLACK_NS)).contains(&message.time_ns)
    })
}
