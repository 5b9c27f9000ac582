//! PURE. Failure modes of a receiving host between the wire and its sockets: packets that the IP layer
//! receives and does not deliver.

use super::case::{Case, about_equal, accounts_for, for_us, is_link_local, list, sources};
use super::wire::{GroupPacket, To};
use super::{Certainty, FailureMode, FindingDraft};
use crate::host::membership::SourceFilter;
use crate::multicast::names;
use crate::text::{counted, was_or_were};
use crate::wire::Direction;
use crate::wire::glance::ip_protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Returns the certainty of a count: the same number is a proof.
fn by_count(moved: u64, packets: usize) -> Certainty {
    if about_equal(moved, packets) {
        Certainty::Proved
    } else {
        Certainty::Consistent
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

pub static DROPPED_BEFORE_IP: FailureMode = FailureMode {
    id: "dropped-before-ip",
    title: "a tc, nftables or XDP program drops packets before the IP layer",
    symptoms: "tcpdump shows the stream, the application gets nothing, and no counter of the IP \
        layer moves.",
    cause: "Programs at a device's ingress (tc filters, nftables' netdev family, eBPF) run between \
        the packet tap and IP. XDP programs run even before the tap, so then tcpdump sees nothing \
        either.",
    proof: "Frames of the group come in on the interface while IpInReceives (Ip6InReceives) counts \
        fewer packets than that in all.",
    fix: "Check `tc filter show dev IF ingress`, `nft list ruleset` (family netdev) and `ip link \
        show dev IF` (xdp), and let the group pass.",
    implies: &[],
    rule: |case| {
        case.host?;
        let received = case.moved("InReceives");
        // Of one interface only: a packet may show on a device and on the one above it. Where the group is not
        // joined, another device (a macvlan in passthru mode) may take the frames without harm.
        let busiest = case
            .received
            .iter()
            .filter(|(at, _)| case.joined.contains(at) || case.is_router())
            .map(|(at, all)| (*at, for_us(all).len()));
        if let Some((ifindex, packets)) = busiest.max_by_key(|(_, packets)| *packets)
            && packets >= 2
            && received * 2 <= packets as u64
        {
            let name = case.name(ifindex);
            return Some(
                FindingDraft::fault(
                    Certainty::Proved,
                    format!(
                        "{packets} of {} reached {name}, but the IP layer received only \
                            {received} of any kind: a program at the device's ingress \
                            drops them",
                        case.group,
                        packets = counted(packets, "packet"),
                        received = counted(received, "packet")
                    ),
                )
                .fix(format!(
                    "check `nft list ruleset` (family netdev) and `tc filter show dev {name} \
                        ingress`"
                ))
                .with_evidence(
                    "wire",
                    format!(
                        "{packets} came in on {name}",
                        packets = counted(packets, "packet")
                    ),
                )
                .with_evidence("counters", format!("InReceives +{received}")),
            );
        }
        let xdp = case
            .without_traffic
            .iter()
            .filter_map(|at| case.link(*at))
            .find(|link| link.xdp)?;
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "no packet of {} was captured on {}, where an XDP program runs that can drop \
                        packets before any capture",
                    case.group, xdp.name
                ),
            )
            .fix(format!(
                "check `ip link show dev {}`, and detach the program for a test",
                xdp.name
            ))
            .with_evidence("kernel", format!("{} has an XDP program", xdp.name)),
        )
    },
};

pub static WRONG_DESTINATION_MAC: FailureMode = FailureMode {
    id: "wrong-destination-mac",
    title: "frames arrive with a link-layer address that is not the group's",
    symptoms: "tcpdump shows the stream, the application gets nothing, and no counter changes.",
    cause: "A sender or a device on the path builds the Ethernet address wrongly. The right one is \
        01:00:5e and the low 23 bits of the group (RFC 1112), or 33:33 and the low 32 bits (RFC \
        2464). The kernel treats such a frame as addressed to another host.",
    proof: "The destination MAC address of the frames.",
    fix: "Correct the sender or the device that rewrites the address.",
    implies: &["unicast-mac"],
    rule: |case| {
        // Frames for other hosts of a bridge are converted to unicast with intent.
        if case.host.is_some() && !case.has_receiver() && !case.is_router() {
            return None;
        }
        for (ifindex, all) in &case.received {
            let wrong: Vec<_> = all
                .iter()
                .filter(|packet| match packet.to {
                    To::OtherGroup(_) => true,
                    To::Host(_) => packet.direction == Direction::ToOther,
                    _ => false,
                })
                .collect();
            if wrong.len() * 2 <= all.len() {
                continue;
            }
            let shown = match wrong[0].to {
                To::OtherGroup(mac) | To::Host(mac) => mac_text(mac),
                _ => String::new(),
            };
            let right = mac_text(names::mac(case.group));
            return Some(
                FindingDraft::fault(
                    Certainty::Proved,
                    format!(
                        "{} of {} of {} on {} are addressed to {shown} instead of the \
                            group's MAC address {right}",
                        wrong.len(),
                        counted(all.len(), "frame"),
                        case.group,
                        case.name(*ifindex)
                    ),
                )
                .fix(format!(
                    "correct the link-layer destination at {}, or at the device that rewrites it",
                    wrong[0].source
                ))
                .with_evidence(
                    "wire",
                    format!("frames from {} to {shown}", wrong[0].source),
                ),
            );
        }
        None
    },
};

pub static UNICAST_MAC: FailureMode = FailureMode {
    id: "unicast-mac",
    title: "multicast is delivered in unicast frames",
    symptoms: "Frames of a group carry this host's own MAC address. They are delivered.",
    cause: "Access points and switches convert multicast to unicast, one copy per member, because \
        that is faster and more reliable on radio links.",
    proof: "The destination MAC address of the frames.",
    fix: "Nothing: this is intended. The device's multicast counters do not count such frames.",
    implies: &[],
    rule: |case| {
        for (ifindex, all) in &case.received {
            let unicast = all
                .iter()
                .filter(|packet| {
                    matches!(packet.to, To::Host(_)) && packet.direction != Direction::ToOther
                })
                .count();
            if unicast > 0 {
                return Some(
                    FindingDraft::note(
                        Certainty::Proved,
                        format!(
                            "{unicast} of {} of {} on {} are addressed to this host's MAC \
                                address: a device on the path converts multicast to unicast",
                            counted(all.len(), "frame"),
                            case.group,
                            case.name(*ifindex)
                        ),
                    )
                    .fix("nothing to do: the frames are delivered")
                    .with_evidence("wire", "destination MAC address of the frames"),
                );
            }
        }
        None
    },
};

pub static OWN_SOURCE_MARTIAN: FailureMode = FailureMode {
    id: "own-source-martian",
    title: "the source is this host's own address",
    symptoms: "A test computer with two ports sends on one and receives nothing on the other.",
    cause: "A received packet with one of this host's own addresses as its source is a martian: \
        the kernel drops it, independent of rp_filter.",
    proof: "The source of the frames is among the host's addresses, and accept_local is 0.",
    fix: "Only in test setups: net.ipv4.conf.IF.accept_local=1 and rp_filter=0. Better: move one \
        port into a network namespace.",
    implies: &["joined-on-other-interface", "not-joined"],
    rule: |case| {
        // IPv6 does not check sources.
        if case.group.is_ipv6() {
            return None;
        }
        for (ifindex, all) in &case.received {
            let own = sources(all).into_iter().find(|source| case.is_own(*source));
            let Some(own) = own else { continue };
            // An echo of own packets beside those of another source harms no receiver.
            if !case.has_receiver() || !sources(all).iter().all(|source| case.is_own(*source)) {
                continue;
            }
            if case.sysctl_max(*ifindex, "accept_local") != 0 {
                continue;
            }
            let name = case.name(*ifindex);
            return Some(
                FindingDraft::fault(
                    Certainty::Proved,
                    format!(
                        "packets of {} come in on {name} from {own}, which is this host's own \
                            address: the kernel drops them as martians",
                        case.group
                    ),
                )
                .fix(format!(
                    "in a test setup: sysctl net.ipv4.conf.{name}.accept_local=1 \
                        net.ipv4.conf.{name}.rp_filter=0"
                ))
                .with_evidence(
                    "wire",
                    format!("{} came in from {own}", counted(all.len(), "packet")),
                )
                .with_evidence("kernel", format!("{own} is an address of this host")),
            );
        }
        None
    },
};

/// Packets dropped by the reverse path filter: interface, source, route back, effective setting.
fn reverse_path<'a>(case: &Case<'a>) -> Option<(u32, IpAddr, Option<u32>, i64, usize, u64)> {
    if !case.group.is_ipv4() {
        return None;
    }
    let host = case.host?;
    let dropped = case.moved("TcpExtIPReversePathFilter");
    for (ifindex, all) in &case.received {
        let setting = case.sysctl_max(*ifindex, "rp_filter");
        if setting == 0 || !accounts_for(dropped, all.len()) {
            continue;
        }
        for source in sources(all) {
            let back = host.routes_back.get(&source).copied().flatten();
            let fails = match setting {
                1 => back != Some(*ifindex),
                _ => back.is_none(),
            };
            if fails {
                return Some((*ifindex, source, back, setting, all.len(), dropped));
            }
        }
    }
    None
}

fn reverse_path_evidence(case: &Case<'_>, found: FindingDraft) -> FindingDraft {
    let Some((ifindex, source, back, setting, packets, dropped)) = reverse_path(case) else {
        return found;
    };
    let name = case.name(ifindex);
    let back = back.map_or("no route".into(), |back| format!("by {}", case.name(back)));
    found
        .with_evidence(
            "wire",
            format!(
                "{packets} from {source} came in on {name}",
                packets = counted(packets, "packet")
            ),
        )
        .with_evidence("counters", format!("TcpExtIPReversePathFilter +{dropped}"))
        .with_evidence("route", format!("back to {source}: {back}"))
        .with_evidence(
            "sysctl",
            format!("rp_filter of {name} (the higher of its own and \"all\"): {setting}"),
        )
}

pub static ROUTER_RP_FILTER: FailureMode = FailureMode {
    id: "router-rp-filter",
    title: "a router's reverse path filter drops the stream",
    symptoms: "The router receives the stream and does not forward it; its forwarding cache looks \
        right but its counters stay at zero.",
    cause: "rp_filter runs before multicast routing: if the unicast route to the source uses \
        another interface, packets never reach the forwarding cache.",
    proof: "TcpExtIPReversePathFilter increases as packets come in, on a host that routes \
        multicast.",
    fix: "Set rp_filter to 0 on the router's interfaces (multicast routing has its own check), or \
        correct the unicast route to the source.",
    implies: &[],
    rule: |case| {
        let (ifindex, source, back, _, packets, dropped) = reverse_path(case)?;
        if !case.is_router() {
            return None;
        }
        let name = case.name(ifindex);
        let back = back.map_or("no route".into(), |back| format!("by {}", case.name(back)));
        let found = FindingDraft::fault(
            by_count(dropped, packets),
            format!(
                "{} from {source} reaches this router on {name}, but the route back to {source} is \
                    {back}: the reverse path filter drops it before multicast routing",
                case.group
            ),
        );
        Some(reverse_path_evidence(case, found).fix(format!(
            "sysctl net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.all.rp_filter=0, or correct the \
                route to {source}"
        )))
    },
};

pub static RP_FILTER_STRICT: FailureMode = FailureMode {
    id: "rp-filter-strict",
    title: "the strict reverse path filter drops the stream",
    symptoms: "tcpdump shows the stream, the application gets nothing. Often after a second \
        interface or a VPN came up.",
    cause: "With rp_filter=1 the kernel drops a packet unless its own route to the source uses the \
        interface on which the packet came in (RFC 3704). The higher of the settings for the \
        interface and for \"all\" applies.",
    proof: "TcpExtIPReversePathFilter increases as frames come in; the kernel's route to the \
        source uses another interface; the effective rp_filter is 1.",
    fix: "Set rp_filter to 2 (loose) on the interface and for all, or add a route to the source \
        through that interface.",
    implies: &[],
    rule: |case| {
        let (ifindex, source, back, _, packets, dropped) = reverse_path(case)?;
        let back = back?;
        let name = case.name(ifindex);
        let found = FindingDraft::fault(
            by_count(dropped, packets),
            format!(
                "{} reaches {name} from {source}, but the kernel routes {source} via {}: the \
                    strict reverse path filter drops it (+{dropped})",
                case.group,
                case.name(back)
            ),
        );
        Some(reverse_path_evidence(case, found).fix(format!(
            "sysctl net.ipv4.conf.{name}.rp_filter=2 net.ipv4.conf.all.rp_filter=2, or add a route \
                to {source} through {name}"
        )))
    },
};

pub static RP_FILTER_NO_ROUTE: FailureMode = FailureMode {
    id: "rp-filter-no-route",
    title: "the reverse path filter drops the stream because there is no route to its source",
    symptoms: "tcpdump shows the stream, the application gets nothing, on a network without a \
        default route.",
    cause: "Even the loose reverse path filter (rp_filter=2) requires a route to the source. \
        Isolated networks and namespaces often have none.",
    proof: "TcpExtIPReversePathFilter increases as frames come in, and a route look-up for the \
        source fails.",
    fix: "Add a route to the source's network, or a default route, or set rp_filter to 0.",
    implies: &[],
    rule: |case| {
        let (ifindex, source, back, setting, packets, dropped) = reverse_path(case)?;
        if back.is_some() {
            return None;
        }
        let name = case.name(ifindex);
        let kind = if setting == 1 { "strict" } else { "loose" };
        let found = FindingDraft::fault(
            by_count(dropped, packets),
            format!(
                "{} reaches {name} from {source}, but this host has no route to {source}: {kind} \
                    reverse path filtering drops it (+{dropped})",
                case.group
            ),
        );
        Some(reverse_path_evidence(case, found).fix(format!(
            "add a route to {source} (ip route add {source}/32 dev {name}), or sysctl \
                net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.all.rp_filter=0"
        )))
    },
};

pub static SOURCE_FILTER_MISMATCH: FailureMode = FailureMode {
    id: "source-filter-mismatch",
    title: "joined for another source than the one that sends",
    symptoms: "The group is joined, the stream is on the wire, the application gets nothing, no \
        counter changes.",
    cause: "A source-specific join lists the accepted (or, in exclude mode, the rejected) source \
        addresses. The source has another address: a spare sender, another network card, address \
        translation.",
    proof: "/proc/net/mcfilter lists the sources for the interface and the group; the source on \
        the wire is not accepted.",
    fix: "Join for the address that sends, or make the source send from an accepted address.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        for ifindex in &case.joined {
            let Some(all) = case.received.get(ifindex) else {
                continue;
            };
            let filters: Vec<&SourceFilter> = host
                .filters
                .iter()
                .filter(|filter| filter.ifindex == *ifindex && filter.group == case.group)
                .collect();
            if filters.is_empty() {
                continue;
            }
            let included: Vec<IpAddr> = filters
                .iter()
                .filter(|filter| filter.include > 0)
                .map(|filter| filter.source)
                .collect();
            let excluded: Vec<IpAddr> = filters
                .iter()
                .filter(|filter| filter.exclude > 0)
                .map(|filter| filter.source)
                .collect();
            let wire = sources(all);
            let passes = |source: &IpAddr| {
                if included.is_empty() {
                    !excluded.contains(source)
                } else {
                    included.contains(source)
                }
            };
            if wire.iter().any(passes) {
                continue;
            }
            let Some(certainty) = rejection(case, *ifindex, all.len(), &filters) else {
                continue;
            };
            let wants = if included.is_empty() {
                format!("from any source except {}", list(&excluded))
            } else {
                format!("only from {}", list(&included))
            };
            return Some(
                FindingDraft::fault(
                    certainty,
                    format!(
                        "{} is joined on {} {wants}, but the source on the wire is {}",
                        case.group,
                        case.name(*ifindex),
                        list(&wire)
                    ),
                )
                .fix(format!(
                    "join for the source {}, or make it send from an accepted address",
                    list(&wire)
                ))
                .with_evidence(
                    "wire",
                    format!("{} from {}", counted(all.len(), "packet"), list(&wire)),
                )
                .with_evidence(
                    "kernel",
                    format!(
                        "source filter of {} on {}: {wants}",
                        case.group,
                        case.name(*ifindex)
                    ),
                ),
            );
        }
        None
    },
};

/// Returns how certain it is that an interface's source filter rejects packets whose sources it does not
/// name; `None` if a socket without such a filter holds the group as well, and so accepts all sources.
fn rejection(
    case: &Case<'_>,
    ifindex: u32,
    packets: usize,
    filters: &[&SourceFilter],
) -> Option<Certainty> {
    let host = case.host?;
    let users = case.users(ifindex);
    let joined = host
        .holders
        .iter()
        .flatten()
        .flat_map(|holder| &holder.joined);
    let known: Vec<bool> = joined
        .filter(|(at, group, ..)| *at == ifindex && *group == case.group)
        .map(|(_, _, include, _)| *include)
        .collect();
    let is_excluding = filters.iter().any(|filter| filter.exclude > 0);
    if !is_excluding && known.iter().any(|include| !include) {
        return None;
    }
    // IPv4 counts a packet as multicast only after it has passed the filter.
    let passed = case.moved("InMcastPkts");
    if case.group.is_ipv4() && !accounts_for(passed, packets) {
        return Some(Certainty::Proved);
    }
    if users <= 1 || known.len() as u64 == users {
        return Some(Certainty::Proved);
    }
    // Each socket with a filter counts at the sources that it names.
    let named: u64 = filters.iter().map(|filter| filter.include).sum();
    (is_excluding || users <= named).then_some(Certainty::Consistent)
}

pub static JOINED_ON_OTHER_INTERFACE: FailureMode = FailureMode {
    id: "joined-on-other-interface",
    title: "joined on another interface than the one where the stream arrives",
    symptoms: "Joining succeeds, nothing arrives; often with a VPN, Docker or a second network card.",
    cause: "If an application names no interface, the kernel chooses that of the route to the \
        group, usually the default route. Linux accepts a group only on the interface where it is \
        joined.",
    proof: "/proc/net/igmp (igmp6) lists the group on one interface only, and its frames come in \
        on another.",
    fix: "Name the interface in the application, or route the group: ip route add GROUP dev IF.",
    implies: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        if case.joined.is_empty()
            || case.joined.len() != case.without_traffic.len()
            || case.is_router()
        {
            return None;
        }
        let (ifindex, all) = case.received.iter().max_by_key(|(_, all)| all.len())?;
        let (arrives, joined) = (
            case.name(*ifindex),
            list(case.joined.iter().map(|at| case.name(*at))),
        );
        let mut found = FindingDraft::fault(
            Certainty::Proved,
            format!(
                "{} is joined on {joined}, but its packets arrive on {arrives}: the kernel \
                    delivers them to no socket",
                case.group
            ),
        )
        .fix(format!(
            "join on {arrives} (most applications have an option), or run: ip route add {}/{} dev \
                {arrives}, and restart the application",
            case.group,
            if case.group.is_ipv4() { 32 } else { 128 }
        ))
        .with_evidence(
            "wire",
            format!(
                "{} came in on {arrives}, none on {joined}",
                counted(all.len(), "packet")
            ),
        )
        .with_evidence(
            "kernel",
            format!("{} is joined on {joined} only", case.group),
        );
        if let Some(route) = host.route_to_group {
            found = found.with_evidence(
                "route",
                format!("to {}: through {}", case.group, case.name(route)),
            );
        }
        Some(found)
    },
};

pub static NO_INTERFACE_FOR_GROUP: FailureMode = FailureMode {
    id: "no-interface-for-group",
    title: "the kernel cannot choose an interface for the group",
    symptoms: "\"No such device\" when joining, \"Network is unreachable\" when sending.",
    cause: "If an application names no interface, the route to the group determines it. Without a \
        default route or a route for the group there is none to choose.",
    proof: "A route look-up for the group fails, the group is joined on no interface, and a socket \
        waits for it: bound to the group, or to its port.",
    fix: "Add a route for multicast (ip route add 224.0.0.0/4 dev IF), or name the interface in \
        the application.",
    implies: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        if host.route_to_group.is_some()
            || !case.joined.is_empty()
            || !case.sent.is_empty()
            || case.passes_through()
        {
            return None;
        }
        // Whether it named an interface when it tried to join is not known.
        let socket = case.waiting_socket()?;
        let mut found = FindingDraft::fault(
            Certainty::Consistent,
            format!(
                "{} waits for {} and has not joined it: there is no default route and no route \
                    for the group, so joining without an interface fails with ENODEV, and sending \
                    with ENETUNREACH",
                case.socket_text(socket),
                case.group
            ),
        )
        .fix(format!(
            "{}, or name the interface in the application",
            route_for_groups(case.group)
        ))
        .with_evidence("route", format!("to {}: unreachable", case.group))
        .with_evidence(
            "kernel",
            format!("{} is joined on no interface", case.group),
        )
        .with_evidence("socket", format!("{} is bound", case.socket_text(socket)));
        if let Some((ifindex, all)) = case.received.iter().next() {
            found = found.with_evidence(
                "wire",
                format!(
                    "{} of the group came in on {}",
                    counted(all.len(), "packet"),
                    case.name(*ifindex)
                ),
            );
        }
        Some(found)
    },
};

/// The command that gives the kernel an interface for groups.
fn route_for_groups(group: IpAddr) -> &'static str {
    if group.is_ipv4() {
        "ip route add 224.0.0.0/4 dev IF"
    } else {
        "ip -6 route add ff00::/8 dev IF table local"
    }
}

pub static FIREWALL_DROPS_DATA: FailureMode = FailureMode {
    id: "firewall-drops-data",
    title: "the firewall drops the stream",
    symptoms: "tcpdump shows the stream, the application gets nothing, no UDP counter changes.",
    cause: "A rule of the INPUT chain (nftables, iptables, firewalld, ufw) drops the group or its \
        port. Packet capture and IpExtInMcastPkts come before it.",
    proof: "As many packets as came in for the group were counted as multicast by the IP layer \
        (IpExtInMcastPkts) but not delivered to a protocol (IpInDelivers, UdpInDatagrams). Only \
        INPUT is between the two.",
    fix: "Accept the group and port in INPUT, for example: nft add rule inet filter input ip daddr \
        GROUP udp dport PORT accept.",
    implies: &["no-matching-socket"],
    rule: |case| {
        case.host?;
        let came_in: Vec<_> = case
            .joined
            .iter()
            .filter_map(|at| case.received.get(at))
            .flat_map(|all| for_us(all))
            .collect();
        let packets = came_in.len();
        let datagrams = came_in.iter().filter(|packet| packet.is_first()).count();
        // All fragments count as multicast, and only the datagram that they make up as delivered.
        let merged = case
            .moved("ReasmReqds")
            .saturating_sub(case.moved("ReasmOKs"));
        let (multicast, delivered) = (case.moved("InMcastPkts"), case.moved("InDelivers"));
        if packets < 2 || !accounts_for(multicast, packets) {
            return None;
        }
        // IPv4 counts a packet as multicast only if the group is joined, so deliveries of all
        // protocols cannot be fewer. If other traffic hides that, UDP's own counters show whether
        // the packets reached it.
        let held_back = if case.group.is_ipv4() {
            multicast.saturating_sub(delivered + merged)
        } else {
            0
        };
        let at_udp = case.reached_udp();
        let certainty = if accounts_for(held_back, packets) {
            // Packets of other groups may be held back as often, while these reach UDP.
            match accounts_for(at_udp, datagrams) {
                true => Certainty::Consistent,
                false => by_count(held_back, packets),
            }
        } else if is_udp(case) && at_udp <= 2 {
            Certainty::Proved
        } else if is_udp(case) && at_udp * 5 < datagrams as u64 {
            Certainty::Consistent
        } else {
            return None;
        };
        let ports = list(case.ports());
        let port = if ports.is_empty() {
            String::new()
        } else {
            format!(" udp dport {{ {ports} }}")
        };
        let ip = if case.group.is_ipv4() { "ip" } else { "ip6" };
        Some(
            FindingDraft::fault(
                certainty,
                format!(
                    "a firewall rule in INPUT drops {}: {packets} came in and reached the \
                        IP layer, but were not delivered to UDP or another protocol",
                    case.group,
                    packets = counted(packets, "packet")
                ),
            )
            .fix(format!(
                "accept it: nft add rule inet filter input {ip} daddr {}{port} accept; `nft list \
                    ruleset` shows the rule that drops",
                case.group
            ))
            .with_evidence(
                "wire",
                format!("{packets} came in", packets = counted(packets, "packet")),
            )
            .with_evidence(
                "counters",
                format!("InMcastPkts +{multicast}, InDelivers +{delivered}, UDP total +{at_udp}"),
            ),
        )
    },
};

pub static BAD_UDP_CHECKSUM: FailureMode = FailureMode {
    id: "bad-udp-checksum",
    title: "packets arrive with a wrong UDP checksum",
    symptoms: "tcpdump shows the stream, the application gets nothing or has gaps; UdpInErrors \
        increases.",
    cause: "A device on the path modifies packets without updating the checksum: address \
        translation, a faulty network card or switch, or a sender that relies on checksum offload \
        that does not work.",
    proof: "UdpInCsumErrors increases, and the checksum of the captured packets is wrong although \
        the kernel reports it as complete.",
    fix: "Find the device that modifies them by comparing captures along the path. At the sender, \
        try `ethtool -K IF tx off`.",
    implies: &[],
    rule: |case| {
        case.host?;
        let errors = case.moved("UdpInCsumErrors");
        for (ifindex, all) in &case.received {
            let bad = all.iter().filter(|packet| packet.bad_checksum).count();
            if errors == 0 || (bad == 0 && !accounts_for(errors, all.len())) {
                continue;
            }
            let certainty = if bad > 0 {
                Certainty::Proved
            } else {
                Certainty::Consistent
            };
            return Some(
                FindingDraft::fault(
                    certainty,
                    format!(
                        "packets of {} arrive on {} with a wrong UDP checksum, and the kernel \
                            drops them (+{errors})",
                        case.group,
                        case.name(*ifindex)
                    ),
                )
                .fix(format!(
                    "compare captures along the path from {}; at the sender try: ethtool -K IF tx \
                        off",
                    list(sources(all))
                ))
                .with_evidence(
                    "wire",
                    format!(
                        "{bad} of {} with a wrong checksum",
                        counted(all.len(), "packet")
                    ),
                )
                .with_evidence("counters", format!("UdpInCsumErrors +{errors}")),
            );
        }
        None
    },
};

pub static FRAGMENTS_LOST: FailureMode = FailureMode {
    id: "fragments-lost",
    title: "fragments of large packets are lost, or frames exceed this host's MTU",
    symptoms: "Small packets get through, large ones never.",
    cause: "A packet larger than the path MTU travels in fragments; if one is lost, the whole \
        packet is. Firewalls and switches often drop fragments without ports. Or the receiver's \
        MTU is smaller than the sender's, and its device drops longer frames.",
    proof: "The wire shows first fragments without the others; IpReasmReqds increases and \
        IpReasmOKs does not. Or the device counts drops while nothing comes in.",
    fix: "Send packets that fit the MTU (1472 bytes of payload on Ethernet), or give all hosts on \
        the link the same MTU.",
    implies: &[],
    rule: |case| {
        // Fragments dropped by the rings are missing in the record, but were on the wire.
        if case.host.is_some_and(|host| host.ring_drops > 0) {
            return None;
        }
        // Packets at the ends of the window may have their other fragments outside of it.
        let settled = case.now_ns().saturating_sub(200_000_000);
        let begun = case.evidence.window.0 + 200_000_000;
        for (ifindex, all) in &case.received {
            let mut datagrams: BTreeMap<(IpAddr, u32), (bool, bool, usize)> = BTreeMap::new();
            let inside = |packet: &&&GroupPacket| (begun..settled).contains(&packet.time_ns);
            for packet in all.iter().filter(inside) {
                if let Some((id, offset, more)) = packet.fragment {
                    let seen = datagrams.entry((packet.source, id)).or_default();
                    seen.0 |= offset == 0;
                    seen.1 |= !more;
                    seen.2 += 1;
                }
            }
            let broken = datagrams
                .values()
                .filter(|(first, last, _)| !(*first && *last))
                .count();
            let (asked, done) = (case.moved("ReasmReqds"), case.moved("ReasmOKs"));
            if broken == 0 || broken * 10 < datagrams.len() {
                continue;
            }
            return Some(
                FindingDraft::fault(
                    Certainty::Proved,
                    format!(
                        "{broken} of {} fragmented packets of {} on {} arrived incomplete and \
                            cannot be reassembled",
                        datagrams.len(),
                        case.group,
                        case.name(*ifindex)
                    ),
                )
                .fix(
                    "send packets that fit the MTU (at most 1472 bytes of payload on Ethernet), or \
                        find the device that drops fragments",
                )
                .with_evidence(
                    "wire",
                    format!(
                        "{broken} with a missing first or last fragment",
                        broken = counted(broken, "packet")
                    ),
                )
                .with_evidence("counters", format!("ReasmReqds +{asked}, ReasmOKs +{done}")),
            );
        }
        let small = case
            .without_traffic
            .iter()
            .filter_map(|at| case.link(*at))
            .find(|link| link.dropped >= 2 && link.mtu < 1500)?;
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} dropped {}, and its MTU is only {}: longer frames are not received",
                    small.name,
                    counted(small.dropped, "frame"),
                    small.mtu
                ),
            )
            .fix(format!(
                "ip link set {} mtu 1500, or the MTU of the other hosts on the link",
                small.name
            ))
            .with_evidence(
                "counters",
                format!("rx dropped of {} +{}", small.name, small.dropped),
            )
            .with_evidence("kernel", format!("MTU of {}: {}", small.name, small.mtu)),
        )
    },
};

pub static MULTICAST_ECHO_IGNORED: FailureMode = FailureMode {
    id: "multicast-echo-ignored",
    title: "pings to groups are ignored, as is the default",
    symptoms: "Linux hosts do not answer pings to a group, while streams work.",
    cause: "Linux ignores echo requests to groups and broadcast addresses \
        (icmp_echo_ignore_broadcasts=1), to prevent traffic amplification.",
    proof: "Echo requests to the group come in, and the sysctl is 1.",
    fix: "Nothing. Test with UDP: `netsonde mcast send` there and `netsonde mcast join` here.",
    implies: &[],
    rule: |case| {
        let echoes = case
            .received
            .values()
            .flatten()
            .filter(|packet| packet.is_echo)
            .count();
        let name = if case.group.is_ipv4() {
            "net/ipv4/icmp_echo_ignore_broadcasts"
        } else {
            "net/ipv6/icmp/echo_ignore_multicast"
        };
        if echoes == 0 || case.sysctl(name) != Some(1) {
            return None;
        }
        Some(
            FindingDraft::note(
                Certainty::Proved,
                format!(
                    "{echoes} to {} came in and {were} ignored, as is the default: this is not \
                        a fault",
                    case.group,
                    were = was_or_were(echoes),
                    echoes = counted(echoes, "ping")
                ),
            )
            .fix("test with UDP: `netsonde mcast send` there and `netsonde mcast join` here")
            .with_evidence("wire", format!("{echoes} echo requests to {}", case.group))
            .with_evidence("sysctl", format!("{} = 1", name.replace('/', "."))),
        )
    },
};

pub static INTERFACE_NOT_MULTICAST: FailureMode = FailureMode {
    id: "interface-not-multicast",
    title: "the interface lacks the MULTICAST flag",
    symptoms: "Applications (Avahi, smcroute, DDS) skip the interface, although the kernel itself \
        would join.",
    cause: "The flag is set when an interface is created and can be cleared later. Applications \
        check it before they join.",
    proof: "The interface's flags.",
    fix: "ip link set IF multicast on.",
    implies: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        let mut candidates = case.interfaces();
        // If no interface is named, the route determines it.
        if case.joined.is_empty() && case.sent.is_empty() {
            candidates.extend(host.route_to_group);
        }
        let link = candidates
            .iter()
            .filter_map(|at| case.link(*at))
            .find(|link| !link.does_multicast() && link.is_up() && !link.is_loopback())?;
        let held = case.joined.contains(&link.ifindex);
        Some(
            FindingDraft::fault_or_warning(
                !held && case.waiting_socket().is_some(),
                Certainty::Consistent,
                format!(
                    "{} lacks the MULTICAST flag: applications skip it, although the kernel would \
                        join there",
                    link.name
                ),
            )
            .fix(format!("ip link set {} multicast on", link.name))
            .with_evidence("kernel", format!("flags of {}: no MULTICAST", link.name))
            .with_evidence(
                "kernel",
                format!(
                    "{} is {}joined there",
                    case.group,
                    if held { "" } else { "not " }
                ),
            ),
        )
    },
};

pub static NEEDS_PROMISCUOUS: FailureMode = FailureMode {
    id: "needs-promiscuous",
    title: "the stream arrives only because the interface is promiscuous",
    symptoms: "It works only while tcpdump runs.",
    cause: "The device accepts only the addresses in its filter. If the group is not joined (or a \
        driver's filter is faulty), frames pass only in promiscuous or all-multicast mode.",
    proof: "Frames come in, the interface is promiscuous, and the group's MAC address is not in \
        the device's list (/proc/net/dev_mcast).",
    fix: "Join the group. If it is joined and the device's filter is faulty: ip link set IF \
        allmulticast on.",
    implies: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        // Multicast routing keeps its interfaces in all-multicast mode.
        if case.is_router() {
            return None;
        }
        let wanted = mac_text(names::mac(case.group)).replace(':', "");
        for (ifindex, all) in &case.received {
            let Some(link) = case.link(*ifindex) else {
                continue;
            };
            let listed = host
                .dev_mcast
                .iter()
                .any(|(at, mac)| at == ifindex && *mac == wanted);
            if listed || link.promiscuity + link.allmulti == 0 || case.joined.contains(ifindex) {
                continue;
            }
            let waits = case.sockets().into_iter().next();
            let mode = if link.promiscuity > 0 {
                "promiscuous"
            } else {
                "all-multicast"
            };
            let summary = format!(
                "{} reaches {} only because the interface is in {mode} mode: the group is not \
                    joined, and its address is not in the device's filter",
                case.group, link.name
            );
            let found = match waits {
                Some(_) => FindingDraft::fault(Certainty::Consistent, summary),
                None => FindingDraft::note(Certainty::Consistent, summary),
            };
            let found = found
                .fix(format!(
                    "join {} on {}; if a driver's filter is faulty: ip link set {} allmulticast \
                        on",
                    case.group, link.name, link.name
                ))
                .with_evidence(
                    "wire",
                    format!("{} came in on {}", counted(all.len(), "packet"), link.name),
                )
                .with_evidence(
                    "kernel",
                    format!(
                        "{} is in {mode} mode (promiscuity {}, allmulti {})",
                        link.name, link.promiscuity, link.allmulti
                    ),
                )
                .with_evidence(
                    "kernel",
                    format!(
                        "/proc/net/dev_mcast of {} lacks {}",
                        link.name,
                        mac_text(names::mac(case.group))
                    ),
                );
            return Some(match waits {
                Some(socket) => found.with_evidence(
                    "socket",
                    format!("{} is waiting for it", case.socket_text(socket)),
                ),
                None => found,
            });
        }
        None
    },
};

pub static DUPLICATE_TWO_INTERFACES: FailureMode = FailureMode {
    id: "duplicate-two-interfaces",
    title: "joined on two interfaces of the same link",
    symptoms: "Every packet arrives twice.",
    cause: "Two interfaces of the host are on one link (two cables, Ethernet and Wi-Fi), and the \
        group is joined on both: each delivers its copy.",
    proof: "The same packets, byte for byte, come in on two interfaces that both have joined the \
        group.",
    fix: "Join on one interface only, or distinguish the copies by IP_PKTINFO.",
    implies: &[],
    rule: |case| {
        let both: Vec<(&u32, BTreeSet<u64>)> = case
            .received
            .iter()
            .filter(|(ifindex, _)| case.is_joined_by_others(**ifindex))
            .map(|(ifindex, all)| (ifindex, all.iter().map(|packet| packet.identity).collect()))
            .collect();
        for (at, (a, of_a)) in both.iter().enumerate() {
            for (b, of_b) in &both[at + 1..] {
                let same = of_a.intersection(of_b).count();
                if same < 2 || same * 10 < of_a.len() * 8 {
                    continue;
                }
                let (a, b) = (case.name(**a), case.name(**b));
                return Some(
                    FindingDraft::fault(
                        Certainty::Proved,
                        format!(
                            "{} is joined on {a} and {b}, which are on the same link: each packet \
                                is delivered twice",
                            case.group
                        ),
                    )
                    .fix(format!(
                        "join on {a} or {b} only, or distinguish the copies by IP_PKTINFO"
                    ))
                    .with_evidence(
                        "wire",
                        format!(
                            "{same} came in on both, byte for byte",
                            same = counted(same, "packet")
                        ),
                    )
                    .with_evidence("kernel", format!("{} is joined on {a} and {b}", case.group)),
                );
            }
        }
        None
    },
};

pub static MAC_ALIAS: FailureMode = FailureMode {
    id: "mac-alias",
    title: "another group has the same link-layer address",
    symptoms: "Unwanted streams load the host; or switches flood a group that they should prune.",
    cause: "An Ethernet address holds only 23 of the 28 bits of a group (RFC 1112, section 6.4), \
        so 32 groups share each address. Switches and network cards cannot distinguish them, and \
        flood those that share an address with 224.0.0.0/24.",
    proof: "Packets of a group that is not joined here come in with the same MAC address.",
    fix: "Choose groups whose low 23 bits differ, other than x.0.0.y and x.128.0.y.",
    implies: &[],
    rule: |case| {
        let wanted = names::mac(case.group);
        let unwanted = case
            .evidence
            .wire
            .others
            .iter()
            .find(|((ifindex, group, _), count)| {
                case.joined.contains(ifindex) && names::mac(*group) == wanted && **count > 1
            });
        if let Some(((ifindex, other, source), count)) = unwanted {
            return Some(
                FindingDraft::warning(
                    Certainty::Proved,
                    format!(
                        "{other} from {source} arrives on {} although it is not joined: it has the \
                            same MAC address as {}",
                        case.name(*ifindex),
                        case.group
                    ),
                )
                .fix("use groups whose low 23 bits differ")
                .with_evidence(
                    "wire",
                    format!(
                        "{count} of {other} with {}",
                        mac_text(wanted),
                        count = counted(count, "packet")
                    ),
                ),
            );
        }
        let IpAddr::V4(group) = case.group else {
            return None;
        };
        let low = group.octets();
        if low[1] & 0x7f != 0 || low[2] != 0 || is_link_local(case.group) {
            return None;
        }
        Some(
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "{group} has the MAC address {}, like 224.0.0.{}: switches flood it to all \
                        ports",
                    mac_text(wanted),
                    low[3]
                ),
            )
            .fix("use a group other than x.0.0.y and x.128.0.y")
            .with_evidence("kernel", format!("{group} maps to {}", mac_text(wanted))),
        )
    },
};

pub static NOT_JOINED: FailureMode = FailureMode {
    id: "not-joined",
    title: "the group is not joined on this host",
    symptoms: "Nothing arrives at any application, because none has joined.",
    cause: "The application is not running, failed to join, or joins only while it is in use.",
    proof: "/proc/net/igmp and igmp6 list the group on no interface.",
    fix: "Start the application, test with `netsonde mcast join GROUP`, or run the doctor with \
        --join.",
    implies: &[],
    rule: |case| {
        let host = case.host?;
        if !case.joined.is_empty() || !case.sent.is_empty() {
            return None;
        }
        if case.passes_through() {
            return without_members(case);
        }
        let arrives = case
            .received
            .iter()
            .next()
            .map(|(at, all)| {
                format!(
                    "; {} of it arrived on {} nevertheless",
                    counted(all.len(), "packet"),
                    case.name(*at)
                )
            })
            .unwrap_or_default();
        let found = FindingDraft::note(
            Certainty::Proved,
            format!("{} is not joined on this host{arrives}", case.group),
        )
        .with_evidence(
            "kernel",
            format!("{} is joined on no interface", case.group),
        );
        let fix = format!(
            "start the application, use --join, or run netsonde mcast join {}",
            case.group
        );
        if host.route_to_group.is_some() {
            return Some(found.fix(fix));
        }
        Some(
            found
                .fix(format!(
                    "{fix}; name the interface, or {} first",
                    route_for_groups(case.group)
                ))
                .with_evidence(
                    "route",
                    format!(
                        "to {}: unreachable, so a program that names no interface cannot join",
                        case.group
                    ),
                ),
        )
    },
};

/// The group comes in at a bridge of this host that has no member to forward it to.
fn without_members(case: &Case<'_>) -> Option<FindingDraft> {
    let (into, out) = case.bridged();
    if case.is_router() || !out.is_empty() || !case.members_elsewhere().is_empty() {
        return None;
    }
    let (port, packets) = into.iter().next()?;
    let (port, bridge) = (case.name(*port), case.name(case.link(*port)?.master?));
    Some(
        // Members that have not reported since the record began are not known.
        FindingDraft::note(
            Certainty::Consistent,
            format!(
                "{} comes in on {port}, and neither this host nor any host behind {bridge} has \
                    joined it: the bridge forwards it to nobody",
                case.group
            ),
        )
        .fix(format!(
            "start the application on the receiving host, or run netsonde mcast join {} there",
            case.group
        ))
        .with_evidence(
            "wire",
            format!("{} in on {port}, none out", counted(packets, "packet")),
        )
        .with_evidence("wire", format!("no report for {} is current", case.group)),
    )
}

/// Returns whether the group's traffic is UDP.
pub fn is_udp(case: &Case<'_>) -> bool {
    case.received
        .values()
        .flatten()
        .any(|packet| packet.protocol == ip_protocol::UDP)
}
