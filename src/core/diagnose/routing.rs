//! PURE. Failure modes of senders and routers: outgoing interface, TTL, and forwarding.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::case::{Case, is_link_local, list, sources};
use super::{Certainty, FailureMode, FindingDraft};
use crate::host::mroute::{Route, UNRESOLVED};
use crate::text::counted;

/// Maximum number of multicast routing interfaces in Linux (MAXVIFS, linux/mroute.h).
const MAX_VIFS: usize = 32;

/// Entries of the forwarding cache for the group, with the increase of their counters: packets,
/// wrong.
fn routes<'a>(case: &Case<'a>) -> Vec<(&'a Route, u64, u64)> {
    let Some(host) = case.host else {
        return vec![];
    };
    host.mroutes
        .after
        .iter()
        .filter(|route| route.group == case.group)
        .map(|route| {
            let before = host
                .mroutes
                .before
                .iter()
                .find(|before| before.group == route.group && before.origin == route.origin);
            let moved = |of: fn(&Route) -> u64| of(route).saturating_sub(before.map_or(0, of));
            (
                route,
                moved(|route| route.packets),
                moved(|route| route.wrong),
            )
        })
        .collect()
}

/// Returns the interface of a number in the forwarding cache.
fn vif_name(case: &Case<'_>, number: i64) -> String {
    let vifs = case.host.map(|host| &host.vifs.after);
    vifs.into_iter()
        .flatten()
        .find(|vif| i64::from(vif.number) == number)
        .map_or_else(|| format!("vif {number}"), |vif| vif.interface.clone())
}

/// Returns the number of packets sent on a routing interface during the window.
fn vif_out(case: &Case<'_>, number: u32) -> u64 {
    let Some(host) = case.host else { return 0 };
    let of = |all: &[crate::host::mroute::Vif]| {
        all.iter()
            .find(|vif| vif.number == number)
            .map_or(0, |vif| vif.packets_out)
    };
    of(&host.vifs.after).saturating_sub(of(&host.vifs.before))
}

/// A link with members that get no packet of the group, while it comes in on another link.
struct Starving {
    /// Interface on which the group comes in.
    from: u32,
    /// Interface behind which the members are.
    to: u32,
    /// The members.
    who: BTreeSet<IpAddr>,
}

impl Starving {
    /// The evidence that both are so.
    fn wire(&self, case: &Case<'_>) -> String {
        format!(
            "packets come in on {}, none on {}, where {} reports membership",
            case.name(self.from),
            case.name(self.to),
            list(&self.who)
        )
    }
}

/// Finds members behind this host that get nothing of a group that comes in elsewhere. Whether other
/// members get it, or this host itself, does not matter to these.
fn starving(case: &Case<'_>) -> Option<Starving> {
    let members = case.members_by_segment();
    let from = case.incoming_segments().into_iter();
    let mut pairs = from.flat_map(|from| members.iter().map(move |(to, who)| (from, *to, who)));
    pairs
        .find(|(from, to, _)| from != to && !case.is_supplied(*to))
        .map(|(from, to, who)| Starving {
            from,
            to,
            who: who.clone(),
        })
}

/// Returns whether this host forwards unicast packets of the group's family.
fn is_forwarding(case: &Case<'_>) -> bool {
    let name = if case.group.is_ipv4() {
        "net/ipv4/ip_forward"
    } else {
        "net/ipv6/conf/all/forwarding"
    };
    case.sysctl(name) == Some(1)
}

pub static LINK_LOCAL_GROUP_ROUTED: FailureMode = FailureMode {
    id: "link-local-group-routed",
    title: "a link-local group cannot cross a router",
    symptoms: "The stream works on the sender's link and never reaches others.",
    cause: "Groups of 224.0.0.0/24 and of ff02::/16 are limited to one link. No router forwards \
        them, whatever their TTL (RFC 5771, section 4; RFC 4291, section 2.7).",
    proof: "The group's address; packets come in on one interface, and members report on another.",
    fix: "Use another group, such as one of 239.0.0.0/8 (ff05::/16, ff08::/16).",
    implies: &["router-not-routing", "ttl-too-small"],
    rule: |case| {
        if !is_link_local(case.group) || !is_forwarding(case) {
            return None;
        }
        let segment = starving(case)?;
        // It has members on its own link, as is intended: no group of that kind is for others.
        if case.joined.contains(&segment.from)
            || case.members_by_segment().contains_key(&segment.from)
        {
            return None;
        }
        let (from, to, who) = (case.name(segment.from), case.name(segment.to), &segment.who);
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "{} is limited to one link: it comes in on {from} and {} on {to} has joined \
                        it, but no router forwards it",
                    case.group,
                    list(who)
                ),
            )
            .fix("use a routable group: 239.0.0.0/8, or ff05::/16 and ff08::/16")
            .with_evidence("wire", segment.wire(case)),
        )
    },
};

pub static ROUTER_NOT_ROUTING: FailureMode = FailureMode {
    id: "router-not-routing",
    title: "this router does not route multicast",
    symptoms: "Unicast crosses the router, multicast does not.",
    cause: "Linux forwards multicast only while a routing daemon (pimd, smcroute, mrouted, \
        igmpproxy, FRR) holds the multicast routing socket. ip_forward alone is not enough.",
    proof: "mc_forwarding is 0 and there are no multicast routing interfaces, while the group \
        comes in on one interface and is reported on another.",
    fix: "Start a routing daemon: `smcrouted`, `pimd` or FRR; for a static route `smcroutectl add \
        IF GROUP IF2`.",
    implies: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        if is_link_local(case.group) || !is_forwarding(case) {
            return None;
        }
        let segment = starving(case)?;
        if host.vifs.after.is_empty() && host.mroutes.after.is_empty() {
            return Some(without_daemon(case, &segment));
        }
        without_output(case, &segment)
    },
};

/// No routing daemon runs.
fn without_daemon(case: &Case<'_>, segment: &Starving) -> FindingDraft {
    let (from, to) = (case.name(segment.from), case.name(segment.to));
    // /proc shows only the default table of multicast routes.
    let other_table = ["all", &from].iter().any(|name| {
        case.sysctl(&format!("net/ipv4/conf/{name}/mc_forwarding"))
            .is_some_and(|value| value != 0)
    });
    let (certainty, how) = match other_table {
        true => (Certainty::Consistent, "in its default table"),
        false => (Certainty::Proved, "(mc_forwarding=0)"),
    };
    FindingDraft::fault(
        certainty,
        format!(
            "{} comes in on {from} and {} on {to} has joined it, but this router does not route \
                multicast {how}",
            case.group,
            list(&segment.who)
        ),
    )
    .fix(format!(
        "start a routing daemon; with smcroute: smcroutectl add {from} {} {to}",
        case.group
    ))
    .with_evidence(
        "kernel",
        format!("no routing interfaces in /proc/net/ip_mr_vif {how}"),
    )
    .with_evidence("wire", segment.wire(case))
}

/// The forwarding cache has the group, without the link that starves.
fn without_output(case: &Case<'_>, segment: &Starving) -> Option<FindingDraft> {
    let (from, to) = (case.name(segment.from), case.name(segment.to));
    let vifs = &case.host?.vifs.after;
    let number = vifs.iter().find(|vif| vif.interface == to);
    let is_output = |route: &Route| {
        let mut outputs = route.outputs.iter();
        outputs.any(|(vif, _)| Some(*vif) == number.map(|vif| vif.number))
    };
    let known: Vec<_> = routes(case)
        .into_iter()
        .filter(|(route, moved, _)| route.input != UNRESOLVED && *moved > 0)
        .collect();
    if known.is_empty() || known.iter().any(|(route, ..)| is_output(route)) {
        return None;
    }
    let (route, moved, _) = known[0];
    let outputs = route.outputs.iter();
    let outputs: Vec<String> = outputs
        .map(|(vif, _)| vif_name(case, i64::from(*vif)))
        .collect();
    let outputs = match outputs.is_empty() {
        true => "nowhere".into(),
        false => list(outputs),
    };
    let missing = match number {
        Some(_) => format!("{to} is a routing interface"),
        None => format!("{to} is not a routing interface"),
    };
    Some(
        FindingDraft::fault(
            Certainty::Proved,
            format!(
                "{} comes in on {from} and {} on {to} has joined it, but this router forwards it \
                    to {outputs} only",
                case.group,
                list(&segment.who)
            ),
        )
        .fix(format!(
            "add {to} to the routing daemon's interfaces; with smcroute: smcroutectl add {from} {} \
                {to}",
            case.group
        ))
        .with_evidence(
            "kernel",
            format!(
                "forwarding cache +{}, to {outputs}; {missing}",
                counted(moved, "packet")
            ),
        )
        .with_evidence("wire", segment.wire(case)),
    )
}

pub static MROUTE_SOCKET_BUSY: FailureMode = FailureMode {
    id: "mroute-socket-busy",
    title: "two multicast routing daemons conflict",
    symptoms: "\"Address already in use\" from a routing daemon; or its interfaces are missing.",
    cause: "Only one socket per network namespace (and routing table) can route multicast; a \
        second MRT_INIT fails with EADDRINUSE. Linux supports 32 multicast routing interfaces.",
    proof: "Several programs hold IGMP sockets while one of them routes; or all 32 routing \
        interfaces are in use.",
    fix: "Stop one of the daemons (`ss -awp`, protocol igmp), or give them separate routing tables \
        or namespaces.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        if host.vifs.after.len() >= MAX_VIFS {
            return Some(
                FindingDraft::fault_or_warning(
                    !case.works(),
                    Certainty::Proved,
                    format!("all {MAX_VIFS} multicast routing interfaces of this host are in use"),
                )
                .fix("leave interfaces without multicast out of the routing daemon's configuration")
                .with_evidence(
                    "kernel",
                    format!(
                        "{} in /proc/net/ip_mr_vif",
                        counted(host.vifs.after.len(), "line")
                    ),
                ),
            );
        }
        // One daemon may hold several, one per interface.
        let who: BTreeSet<String> = host
            .igmp_sockets
            .iter()
            .filter_map(|(_, process)| process.as_ref())
            .filter(|process| !host.own_pids.contains(&process.pid))
            .map(ToString::to_string)
            .collect();
        if !case.is_router() || who.len() < 2 {
            return None;
        }
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} hold IGMP sockets ({}), but only one can route multicast: the \
                        others got EADDRINUSE",
                    counted(who.len(), "program"),
                    list(&who)
                ),
            )
            .fix(
                "stop all routing daemons but one (see ss -awp), or give each a network namespace \
                    of its own",
            )
            .with_evidence(
                "socket",
                format!("raw sockets of protocol 2: {}", list(&who)),
            )
            .with_evidence(
                "kernel",
                format!("{} multicast routing interfaces", host.vifs.after.len()),
            ),
        )
    },
};

pub static TTL_TOO_SMALL: FailureMode = FailureMode {
    id: "ttl-too-small",
    title: "the source sends with TTL 1",
    symptoms: "It works on the sender's own link, but not behind the router. No error is reported.",
    cause: "A socket's multicast TTL is 1 unless the program sets it, so routers drop its packets \
        silently: there is no ICMP error for multicast.",
    proof: "The TTL of the packets; the router's forwarding cache counts them, and its outgoing \
        interfaces do not.",
    fix: "Make the sender set IP_MULTICAST_TTL (IPV6_MULTICAST_HOPS): `iperf -T`, `vlc --ttl`, \
        `netsonde mcast send -t 8`.",
    implies: &["ttl-threshold", "router-not-routing", "not-joined"],
    rule: |case| by_ttl(case, true).or_else(|| never_routed(case)),
};

/// Members behind this router starve, and no packet of the group may be forwarded at all: with TTL 1 none
/// is, whatever routes there are.
fn never_routed(case: &Case<'_>) -> Option<FindingDraft> {
    let host = case.host?;
    if is_link_local(case.group) || !is_forwarding(case) {
        return None;
    }
    let segment = starving(case)?;
    let packets: Vec<_> = case.incoming(segment.from).collect();
    let ttl = packets.iter().map(|packet| packet.ttl).max()?;
    if ttl > 1 {
        return None;
    }
    let source = list(sources(&packets));
    let found = FindingDraft::fault(
        Certainty::Proved,
        format!(
            "{source} sends {} with TTL {ttl}, so no router forwards it, and {} on {} gets nothing",
            case.group,
            list(&segment.who),
            case.name(segment.to)
        ),
    )
    .with_evidence("wire", format!("TTL {ttl} in packets from {source}"))
    .with_evidence("wire", segment.wire(case));
    let raise = "make the sender set its multicast TTL (IP_MULTICAST_TTL; iperf -T, netsonde mcast \
        send -t)";
    if host.vifs.after.is_empty() {
        return Some(
            found
                .with_evidence("kernel", "no routing interfaces (/proc/net/ip_mr_vif)")
                .fix(format!(
                    "{raise}; then start a routing daemon here, since none runs"
                )),
        );
    }
    Some(found.fix(raise))
}

pub static TTL_THRESHOLD: FailureMode = FailureMode {
    id: "ttl-threshold",
    title: "the router's TTL threshold stops the stream",
    symptoms: "The stream crosses some routers but not this one.",
    cause: "A routing interface may require a minimum TTL, to keep groups inside a site. Packets \
        with a lower TTL are dropped silently.",
    proof: "The forwarding cache lists the outgoing interface with a threshold not below the TTL \
        of the packets, and counts packets that are not sent.",
    fix: "Lower the threshold in the routing daemon (smcroute: ttl-threshold; mrouted, pimd: \
        threshold), or raise the sender's TTL.",
    implies: &[],
    rule: |case| by_ttl(case, false),
};

fn by_ttl(case: &Case<'_>, of_source: bool) -> Option<FindingDraft> {
    for (route, moved, _) in routes(case) {
        let packets: Vec<_> = case
            .received
            .values()
            .flatten()
            .filter(|packet| route.origin.is_unspecified() || packet.source == route.origin)
            .collect();
        let Some(ttl) = packets.iter().map(|packet| packet.ttl).max() else {
            continue;
        };
        let sent: u64 = route
            .outputs
            .iter()
            .map(|(vif, _)| vif_out(case, *vif))
            .sum();
        let blocked = route
            .outputs
            .iter()
            .find(|(_, threshold)| *threshold >= ttl);
        let Some((vif, threshold)) = blocked else {
            continue;
        };
        if moved == 0 || sent > 0 || (ttl <= 1) != of_source {
            continue;
        }
        let out = vif_name(case, (*vif).into());
        let source = list(sources(&packets.into_iter().copied().collect::<Vec<_>>()));
        let summary = if of_source {
            format!(
                "{source} sends {} with TTL {ttl}, so this router cannot forward it to {out}",
                case.group
            )
        } else {
            format!(
                "{} from {source} arrives with TTL {ttl}, but {out} requires more than \
                    {threshold}",
                case.group
            )
        };
        let fix = if of_source {
            "make the sender set its multicast TTL (IP_MULTICAST_TTL; iperf -T, netsonde mcast \
                send -t)"
                .into()
        } else {
            format!(
                "lower the threshold of {out} in the routing daemon, or raise the TTL at {source}"
            )
        };
        return Some(
            FindingDraft::fault(Certainty::Proved, summary)
                .fix(fix)
                .with_evidence("wire", format!("TTL {ttl} in packets from {source}"))
                .with_evidence(
                    "kernel",
                    format!(
                        "forwarding cache +{moved}, {out} +{sent} out, threshold \
                            {threshold}",
                        moved = counted(moved, "packet")
                    ),
                ),
        );
    }
    None
}

pub static RPF_FAILURE: FailureMode = FailureMode {
    id: "rpf-failure",
    title: "the stream arrives on the wrong interface of the router",
    symptoms: "The forwarding cache looks right, and nothing is sent.",
    cause: "A multicast route names the interface on which a source's packets must arrive: that of \
        the unicast route to the source. Others are dropped, to prevent loops.",
    proof: "The Wrong column of /proc/net/ip_mr_cache increases.",
    fix: "Correct the unicast route to the source, or the static multicast route.",
    implies: &[],
    rule: |case| {
        let (route, moved, wrong) = routes(case).into_iter().find(|(_, _, wrong)| *wrong > 0)?;
        // Copies that come back on another link do no harm beside the packets that are forwarded.
        let is_forwarding = moved.saturating_sub(wrong) >= wrong;
        let arrives = list(case.received.keys().map(|ifindex| case.name(*ifindex)));
        let expected = vif_name(case, route.input.into());
        Some(
            FindingDraft::fault_or_warning(
                !is_forwarding,
                Certainty::Proved,
                format!(
                    "{} from {} comes in on {arrives}, but its route expects it on {expected}: \
                        reverse path failure",
                    case.group, route.origin
                ),
            )
            .fix(format!(
                "correct the unicast route to {}, or the multicast route's incoming interface",
                route.origin
            ))
            .with_evidence(
                "kernel",
                format!("forwarding cache: wrong interface +{wrong}, expected {expected}"),
            )
            .with_evidence("wire", format!("packets come in on {arrives}")),
        )
    },
};

pub static UPSTREAM_SOURCE_FILTER: FailureMode = FailureMode {
    id: "upstream-source-filter",
    title: "the proxy does not accept the source",
    symptoms: "An IPTV proxy forwards nothing, although the stream comes in upstream.",
    cause: "igmpproxy forwards only sources in the networks of its upstream interface and in those \
        listed by altnet. Providers send from other networks.",
    proof: "The stream comes in on a routing interface from a source outside its networks, members \
        report on another, and there is no forwarding entry, while other groups have one.",
    fix: "igmpproxy.conf: altnet NETWORK/PREFIX on the upstream interface.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        if !case.is_router() {
            return None;
        }
        let segment = starving(case)?;
        let (link, to, who) = (case.link(segment.from)?, segment.to, &segment.who);
        let foreign = case
            .incoming(segment.from)
            .map(|packet| packet.source)
            .find(|source| !link.is_on_link(*source))?;
        let resolved = |route: &&Route| route.input != UNRESOLVED && !route.outputs.is_empty();
        let has_own = routes(case).into_iter().any(|(route, ..)| resolved(&route));
        if has_own || !host.mroutes.after.iter().any(|route| resolved(&route)) {
            return None;
        }
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} comes in on {} from {foreign}, which is outside its networks, and the \
                        routing daemon has created no route for it although {} on {} has joined",
                    case.group,
                    link.name,
                    list(who),
                    case.name(to)
                ),
            )
            .fix(format!(
                "igmpproxy: add `altnet {foreign}/32` (or its network) to the upstream interface \
                    {}",
                link.name
            ))
            .with_evidence(
                "kernel",
                format!(
                    "no forwarding entry for {} from {foreign}, and entries for other groups",
                    case.group
                ),
            )
            .with_evidence(
                "wire",
                format!(
                    "packets from {foreign} on {}, reports of {} on {}",
                    link.name,
                    list(who),
                    case.name(to)
                ),
            ),
        )
    },
};

pub static SENT_ON_OTHER_INTERFACE: FailureMode = FailureMode {
    id: "sent-on-other-interface",
    title: "the sender's packets leave on another interface",
    symptoms: "The sender runs, the receivers get nothing; often with a VPN or Docker.",
    cause: "If a sender names no interface, the route to the group determines it, usually the \
        default route.",
    proof: "Packets of the group leave on one interface, and its members report on another.",
    fix: "Set IP_MULTICAST_IF in the sender (most have an option), or ip route add GROUP dev IF.",
    implies: &[],
    rule: |case| {
        case.host?;
        let (from, to) = case.evidence.window;
        // Includes interfaces outside of the subject.
        let mut by: BTreeMap<u32, usize> = BTreeMap::new();
        for packet in &case.evidence.wire.group_packets {
            let is_own = !packet.is_inbound() && case.is_own(packet.source);
            if is_own && (from..=to).contains(&packet.time_ns) {
                *by.entry(packet.ifindex).or_default() += 1;
            }
        }
        let mut wanted: Vec<u32> = case.members_by_segment().into_keys().collect();
        if case.evidence.subject.interface.is_some() {
            let named = case
                .host?
                .links
                .iter()
                .filter(|link| case.is_wanted(link.ifindex));
            wanted.extend(named.map(|link| link.ifindex));
        }
        wanted.retain(|ifindex| {
            case.link(*ifindex)
                .is_some_and(|link| link.master.is_none())
        });
        if by.is_empty()
            || wanted.is_empty()
            || wanted
                .iter()
                .any(|ifindex| by.contains_key(ifindex) || case.is_supplied(*ifindex))
        {
            return None;
        }
        let (out, packets) = by.iter().max_by_key(|(_, packets)| **packets)?;
        let (out, wanted) = (case.name(*out), case.name(wanted[0]));
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!("{} is sent on {out}, but joined on {wanted}", case.group),
            )
            .fix(format!(
                "set the sender's interface (IP_MULTICAST_IF), or run: ip route add {}/{} dev \
                    {wanted}",
                case.group,
                if case.group.is_ipv4() { 32 } else { 128 }
            ))
            .with_evidence(
                "wire",
                format!(
                    "{packets} sent on {out}, none on {wanted}",
                    packets = counted(packets, "packet")
                ),
            ),
        )
    },
};

pub static SENDER_LOOPBACK_OFF: FailureMode = FailureMode {
    id: "sender-loopback-off",
    title: "the sender's packets are not looped back to its own host",
    symptoms: "A receiver on the sender's own host gets nothing, others do.",
    cause: "The sender cleared IP_MULTICAST_LOOP to not receive its own packets; then no program \
        on its host receives them.",
    proof: "Packets of the group leave on an interface where it is joined, and the IP layer \
        receives no multicast packets.",
    fix: "Leave IP_MULTICAST_LOOP at 1 in the sender.",
    implies: &["not-arriving"],
    rule: |case| {
        case.host?;
        for ifindex in &case.without_traffic {
            let Some(sent) = case.sent.get(ifindex) else {
                continue;
            };
            let looped = case.moved("InMcastPkts");
            if sent.len() < 3 || looped * 5 >= sent.len() as u64 {
                continue;
            }
            // A host that sends from the port it listens on talks to its peers, not to itself.
            let to_others = sent
                .iter()
                .any(|packet| packet.ports.is_some_and(|(from, to)| from != to));
            let port = sent
                .iter()
                .find_map(|packet| packet.ports)
                .map(|(_, to)| to);
            let heard = case
                .host?
                .udp
                .after
                .iter()
                .any(|socket| Some(socket.local.port()) == port);
            if !to_others || !heard {
                continue;
            }
            let name = case.name(*ifindex);
            return Some(
                FindingDraft::fault(
                    Certainty::Proved,
                    format!(
                        "this host sends {} on {name} and has joined it there, but its packets are \
                            not looped back: the sender cleared IP_MULTICAST_LOOP",
                        case.group
                    ),
                )
                .fix("leave IP_MULTICAST_LOOP (IPV6_MULTICAST_LOOP) at 1 in the sender")
                .with_evidence(
                    "wire",
                    format!("{} sent on {name}", counted(sent.len(), "packet")),
                )
                .with_evidence(
                    "counters",
                    format!(
                        "OutMcastPkts +{}, InMcastPkts +{looped}",
                        case.moved("OutMcastPkts")
                    ),
                ),
            );
        }
        None
    },
};
