//! PURE. Modes of a receiving host between the wire and its sockets: what the IP layer does with packets
//! that have come.

use super::case::{Case, covers, equals, for_us, is_link_local, list, sources};
use super::wire::{Datum, To};
use super::{Certainty, Found, Mode};
use crate::host::membership::SourceFilter;
use crate::multicast::names;
use crate::wire::Direction;
use crate::wire::glance::ip_protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// How sure a count makes: the same number is a proof.
fn by_count(moved: u64, packets: usize) -> Certainty {
    if equals(moved, packets) {
        Certainty::Proved
    } else {
        Certainty::Consistent
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

pub static DROPPED_BEFORE_IP: Mode = Mode {
    id: "dropped-before-ip",
    title: "a tc, nftables or XDP program drops packets before the IP layer",
    seen: "tcpdump shows the stream, the application gets nothing, and no counter of the IP \
        layer moves.",
    cause: "Programs at a device's ingress (tc filters, nftables' netdev family, eBPF) run \
        between the packet tap and IP. XDP programs run even before the tap, so then tcpdump \
        sees nothing either.",
    proof: "Frames of the group come in on the interface while IpInReceives (Ip6InReceives) \
        counts fewer packets than that in all.",
    fix: "Look at `tc filter show dev IF ingress`, `nft list ruleset` (family netdev) and `ip \
        link show dev IF` (xdp), and let the group pass.",
    covers: &[],
    rule: |case| {
        case.host?;
        let received = case.moved("InReceives");
        // Of one interface: a packet may show on a device and on the one above it.
        let busiest = (case.arrivals.iter()).map(|(at, all)| (*at, for_us(all).len()));
        if let Some((ifindex, packets)) = busiest.max_by_key(|(_, packets)| *packets)
            && packets >= 2
            && received * 2 <= packets as u64
        {
            let name = case.name(ifindex);
            return Some(
                Found::fault(
                    Certainty::Proved,
                    format!(
                        "{packets} packets of {} reached {name} and the IP layer took in \
                            {received} of any kind: a program at the device's ingress drops \
                            them",
                        case.group
                    ),
                )
                .fix(format!(
                    "see `nft list ruleset` (family netdev) and `tc filter show dev \
                    {name} ingress`"
                ))
                .because("wire", format!("{packets} packets came in on {name}"))
                .because("counters", format!("InReceives +{received}")),
            );
        }
        let xdp = case
            .starving
            .iter()
            .filter_map(|at| case.link(*at))
            .find(|link| link.xdp)?;
        Some(
            Found::fault(
                Certainty::Consistent,
                format!(
                    "nothing of {} shows on {}, and an XDP program runs there, which drops \
                        before anything can look",
                    case.group, xdp.name
                ),
            )
            .fix(format!(
                "see `ip link show dev {}`, and detach the program for a test",
                xdp.name
            ))
            .because("kernel", format!("{} has an XDP program", xdp.name)),
        )
    },
};

pub static WRONG_DESTINATION_MAC: Mode = Mode {
    id: "wrong-destination-mac",
    title: "frames arrive with a link-layer address that is not the group's",
    seen: "tcpdump shows the stream, the application gets nothing, no counter moves.",
    cause: "A sender or a device on the way builds the Ethernet address wrongly: 01:00:5e and \
        the low 23 bits of the group (RFC 1112), 33:33 and the low 32 (RFC 2464). The kernel \
        takes such a frame as meant for somebody else.",
    proof: "The destination of the frames themselves.",
    fix: "Correct the sender or the device that rewrites the address.",
    covers: &["unicast-mac"],
    rule: |case| {
        for (ifindex, all) in &case.arrivals {
            let wrong: Vec<_> = (all.iter())
                .filter(|datum| match datum.to {
                    To::OtherGroup(_) => true,
                    To::Host(_) => datum.direction == Direction::ToOther,
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
                Found::fault(
                    Certainty::Proved,
                    format!(
                        "{} of {} frames of {} on {} go to {shown}, which is not the group's \
                            address {right}",
                        wrong.len(),
                        all.len(),
                        case.group,
                        case.name(*ifindex)
                    ),
                )
                .fix(format!(
                    "correct the link-layer destination at {}, or at the device that \
                    rewrites it",
                    wrong[0].source
                ))
                .because(
                    "wire",
                    format!("frames from {} to {shown}", wrong[0].source),
                ),
            );
        }
        None
    },
};

pub static UNICAST_MAC: Mode = Mode {
    id: "unicast-mac",
    title: "multicast in unicast frames",
    seen: "Frames of a group carry this host's own link-layer address. They are delivered.",
    cause: "Access points and switches turn multicast into unicast, a copy for each member, \
        since that is faster and safer on radio.",
    proof: "The destination of the frames.",
    fix: "Nothing: this is how it is meant. Counters of multicast at the device don't count \
        such frames.",
    covers: &[],
    rule: |case| {
        for (ifindex, all) in &case.arrivals {
            let unicast = (all.iter())
                .filter(|datum| {
                    matches!(datum.to, To::Host(_)) && datum.direction != Direction::ToOther
                })
                .count();
            if unicast > 0 {
                return Some(
                    Found::note(
                        Certainty::Proved,
                        format!(
                            "{unicast} of {} frames of {} on {} are addressed to this host \
                                alone: something on the way turns multicast into unicast",
                            all.len(),
                            case.group,
                            case.name(*ifindex)
                        ),
                    )
                    .fix("nothing to do; they are delivered")
                    .because("wire", "their link-layer destination"),
                );
            }
        }
        None
    },
};

pub static OWN_SOURCE_MARTIAN: Mode = Mode {
    id: "own-source-martian",
    title: "the source is this host's own address",
    seen: "A test computer with two ports sends on one and hears nothing on the other.",
    cause: "A packet that comes in with an own address as its source is a martian: the kernel \
        drops it, whatever rp_filter says.",
    proof: "The source of the frames is among the host's addresses, and accept_local is 0.",
    fix: "For test rigs only: net.ipv4.conf.IF.accept_local=1 and rp_filter=0. Better: put one \
        port into a network namespace of its own.",
    covers: &["joined-on-other-interface", "not-joined"],
    rule: |case| {
        for (ifindex, all) in &case.arrivals {
            let own = sources(all).into_iter().find(|source| case.is_own(*source));
            let Some(own) = own else { continue };
            if case.sysctl_max(*ifindex, "accept_local") != 0 && case.group.is_ipv4() {
                continue;
            }
            let name = case.name(*ifindex);
            return Some(
                Found::fault(
                    Certainty::Proved,
                    format!(
                        "packets of {} come in on {name} from {own}, which is this host's own \
                            address: the kernel drops them as martians",
                        case.group
                    ),
                )
                .fix(format!(
                    "in a test rig: sysctl net.ipv4.conf.{name}.accept_local=1 \
                    net.ipv4.conf.{name}.rp_filter=0"
                ))
                .because("wire", format!("{} packets came in from {own}", all.len()))
                .because("kernel", format!("{own} is an address of this host")),
            );
        }
        None
    },
};

/// Packets that the reverse path filter dropped: interface, source, way back, effective setting.
fn reverse_path<'a>(case: &Case<'a>) -> Option<(u32, IpAddr, Option<u32>, i64, usize, u64)> {
    if !case.group.is_ipv4() {
        return None;
    }
    let host = case.host?;
    let dropped = case.moved("TcpExtIPReversePathFilter");
    for (ifindex, all) in &case.arrivals {
        let setting = case.sysctl_max(*ifindex, "rp_filter");
        if setting == 0 || !covers(dropped, all.len()) {
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

fn reverse_path_evidence(case: &Case<'_>, found: Found) -> Found {
    let Some((ifindex, source, back, setting, packets, dropped)) = reverse_path(case) else {
        return found;
    };
    let name = case.name(ifindex);
    let back = back.map_or("no route".into(), |back| format!("by {}", case.name(back)));
    found
        .because(
            "wire",
            format!("{packets} packets came in on {name} from {source}"),
        )
        .because("counters", format!("TcpExtIPReversePathFilter +{dropped}"))
        .because("route", format!("back to {source}: {back}"))
        .because(
            "sysctl",
            format!("rp_filter of {name} and all together: {setting}"),
        )
}

pub static ROUTER_RP_FILTER: Mode = Mode {
    id: "router-rp-filter",
    title: "a router's reverse path filter drops the stream",
    seen: "The router sees the stream and forwards nothing; its forwarding cache looks right \
        and does not count.",
    cause: "rp_filter works before multicast routing: if the unicast route to the source leads \
        elsewhere, packets never reach the forwarding cache.",
    proof: "TcpExtIPReversePathFilter moves as packets come in, on a host that routes \
        multicast.",
    fix: "Set rp_filter to 0 on the router's interfaces (multicast routing has its own check), \
        or correct the unicast route to the source.",
    covers: &[],
    rule: |case| {
        let (ifindex, source, back, _, packets, dropped) = reverse_path(case)?;
        if !case.is_router() {
            return None;
        }
        let name = case.name(ifindex);
        let back = back.map_or("no route".into(), |back| format!("by {}", case.name(back)));
        let found = Found::fault(
            by_count(dropped, packets),
            format!(
                "{} from {source} reaches this router on {name}, but the route back to {source} \
                    is {back}: the reverse path filter drops it before multicast routing",
                case.group
            ),
        );
        Some(reverse_path_evidence(case, found).fix(format!(
            "sysctl net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.all.rp_filter=0, or correct \
                the route to {source}"
        )))
    },
};

pub static RP_FILTER_STRICT: Mode = Mode {
    id: "rp-filter-strict",
    title: "the strict reverse path filter drops the stream",
    seen: "tcpdump shows the stream, the application gets nothing. Often after a second \
        interface or a VPN came up.",
    cause: "With rp_filter=1 the kernel drops a packet unless its own route to the source leads \
        out of the interface that the packet came in by (RFC 3704). The greater of the settings \
        for the interface and for \"all\" counts.",
    proof: "TcpExtIPReversePathFilter moves as frames come in; the kernel's route to the source \
        names another interface; the effective rp_filter is 1.",
    fix: "Set rp_filter to 2 (loose) on the interface and for all, or add a route to the source \
        by that interface.",
    covers: &[],
    rule: |case| {
        let (ifindex, source, back, _, packets, dropped) = reverse_path(case)?;
        let back = back?;
        let name = case.name(ifindex);
        let found = Found::fault(
            by_count(dropped, packets),
            format!(
                "{} reaches {name} from {source}, but the kernel routes {source} via {}: the \
                    strict reverse path filter drops it (+{dropped})",
                case.group,
                case.name(back)
            ),
        );
        Some(reverse_path_evidence(case, found).fix(format!(
            "sysctl net.ipv4.conf.{name}.rp_filter=2 net.ipv4.conf.all.rp_filter=2, or add a \
                route to {source} by {name}"
        )))
    },
};

pub static RP_FILTER_NO_ROUTE: Mode = Mode {
    id: "rp-filter-no-route",
    title: "the reverse path filter drops the stream since there is no route to its source at \
        all",
    seen: "tcpdump shows the stream, the application gets nothing, in a network without a \
        default route.",
    cause: "Even the loose reverse path filter (rp_filter=2) wants some route to the source. \
        Isolated networks and namespaces often have none.",
    proof: "TcpExtIPReversePathFilter moves as frames come in, and a route look-up for the \
        source fails.",
    fix: "Add a route to the source's network, or a default route, or set rp_filter to 0.",
    covers: &[],
    rule: |case| {
        let (ifindex, source, back, setting, packets, dropped) = reverse_path(case)?;
        if back.is_some() {
            return None;
        }
        let name = case.name(ifindex);
        let kind = if setting == 1 { "strict" } else { "loose" };
        let found = Found::fault(
            by_count(dropped, packets),
            format!(
                "{} reaches {name} from {source}, and this host has no route back to {source} \
                    at all: even {kind} reverse path filtering drops that (+{dropped})",
                case.group
            ),
        );
        Some(reverse_path_evidence(case, found).fix(format!(
            "add a route to {source} (ip route add {source}/32 dev {name}), or sysctl \
                net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.all.rp_filter=0"
        )))
    },
};

pub static SOURCE_FILTER_MISMATCH: Mode = Mode {
    id: "source-filter-mismatch",
    title: "joined for another source than the one that sends",
    seen: "The group is joined, the stream is on the wire, the application gets nothing, no \
        counter moves.",
    cause: "A source-specific join names the addresses that are wanted (or, in exclude mode, \
        not wanted). The source has another one: a spare sender, another network card, address \
        translation.",
    proof: "/proc/net/mcfilter lists the sources of the interface and the group; the wire shows \
        another.",
    fix: "Join for the address that sends, or have the source send from the one that is \
        expected.",
    covers: &[],
    rule: |case| {
        let host = case.host?;
        for ifindex in &case.joined {
            let Some(all) = case.arrivals.get(ifindex) else {
                continue;
            };
            let filters: Vec<&SourceFilter> = (host.filters.iter())
                .filter(|filter| filter.ifindex == *ifindex && filter.group == case.group)
                .collect();
            if filters.is_empty() {
                continue;
            }
            let included: Vec<IpAddr> = (filters.iter())
                .filter(|filter| filter.include > 0)
                .map(|filter| filter.source)
                .collect();
            let excluded: Vec<IpAddr> = (filters.iter())
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
            let wants = if included.is_empty() {
                format!("from anybody but {}", list(&excluded))
            } else {
                format!("only from {}", list(&included))
            };
            return Some(
                Found::fault(
                    Certainty::Proved,
                    format!(
                        "{} is joined on {} {wants}; the wire's source is {}",
                        case.group,
                        case.name(*ifindex),
                        list(&wire)
                    ),
                )
                .fix(format!(
                    "join for the source {}, or have it send from the address that is joined",
                    list(&wire)
                ))
                .because(
                    "wire",
                    format!("{} packets from {}", all.len(), list(&wire)),
                )
                .because(
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

pub static JOINED_ON_OTHER_INTERFACE: Mode = Mode {
    id: "joined-on-other-interface",
    title: "joined on another interface than the one where the stream arrives",
    seen: "Joining works, nothing arrives; often with a VPN, Docker or a second network card.",
    cause: "An application that names no interface lets the kernel choose: the one of the route \
        to the group, usually that of the default route. Linux accepts a group only on the \
        interface where it was joined.",
    proof: "/proc/net/igmp (igmp6) lists the group on one interface only, and its frames come \
        in on another.",
    fix: "Name the interface in the application, or route the group: ip route add GROUP dev IF.",
    covers: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        if case.joined.is_empty() || case.joined.len() != case.starving.len() || case.is_router() {
            return None;
        }
        let (ifindex, all) = (case.arrivals.iter()).max_by_key(|(_, all)| all.len())?;
        let (arrives, joined) = (
            case.name(*ifindex),
            list(case.joined.iter().map(|at| case.name(*at))),
        );
        let mut found = Found::fault(
            Certainty::Proved,
            format!(
                "{} is joined on {joined}, and its packets arrive on {arrives}: the kernel \
                    gives them to nobody",
                case.group
            ),
        )
        .fix(format!(
            "join on {arrives} (most applications have an option), or: ip route add {}/{} dev \
                {arrives}, and restart the application",
            case.group,
            if case.group.is_ipv4() { 32 } else { 128 }
        ))
        .because(
            "wire",
            format!(
                "{} packets came in on {arrives}, none on {joined}",
                all.len()
            ),
        )
        .because("kernel", format!("{} is held on {joined} only", case.group));
        if let Some(route) = host.route_to_group {
            found = found.because(
                "route",
                format!("to {}: by {}", case.group, case.name(route)),
            );
        }
        Some(found)
    },
};

pub static NO_INTERFACE_FOR_GROUP: Mode = Mode {
    id: "no-interface-for-group",
    title: "the kernel cannot choose an interface for the group",
    seen: "\"No such device\" on joining, \"Network is unreachable\" on sending.",
    cause: "An application that names no interface lets the route to the group choose. Without \
        a default route and without one for the group there is no choice.",
    proof: "A route look-up for the group fails, and the group is held nowhere.",
    fix: "Add a route for groups (ip route add 224.0.0.0/4 dev IF), or name the interface in \
        the application.",
    covers: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        if host.route_to_group.is_some()
            || !case.joined.is_empty()
            || !case.sendings.is_empty()
            || case.passes_through()
        {
            return None;
        }
        let mut found = Found::fault(
            Certainty::Proved,
            format!(
                "no interface can be chosen for {}: there is neither a default route nor one \
                    for the group, so joining fails with ENODEV and sending with ENETUNREACH",
                case.group
            ),
        )
        .fix(if case.group.is_ipv4() {
            "ip route add 224.0.0.0/4 dev IF, or name the interface in the application"
        } else {
            "ip -6 route add ff00::/8 dev IF table local, or name the interface in the \
                application"
        })
        .because("route", format!("to {}: unreachable", case.group))
        .because("kernel", format!("{} is held on no interface", case.group));
        if let Some((ifindex, all)) = case.arrivals.iter().next() {
            found = found.because(
                "wire",
                format!(
                    "{} packets of it came in on {}",
                    all.len(),
                    case.name(*ifindex)
                ),
            );
        }
        Some(found)
    },
};

pub static FIREWALL_DROPS_DATA: Mode = Mode {
    id: "firewall-drops-data",
    title: "the firewall drops the stream",
    seen: "tcpdump shows the stream, the application gets nothing, no UDP counter moves.",
    cause: "A rule of the INPUT chain (nftables, iptables, firewalld, ufw) does not let the \
        group or its port pass. Packet taps and IpExtInMcastPkts stand before it.",
    proof: "As many packets as came in for the group were taken in by the IP layer as multicast \
        (IpExtInMcastPkts) and delivered to no protocol (IpInDelivers, UdpInDatagrams): only \
        INPUT stands between the two.",
    fix: "Accept the group and port in INPUT, such as: nft add rule inet filter input ip daddr \
        GROUP udp dport PORT accept.",
    covers: &["no-matching-socket"],
    rule: |case| {
        case.host?;
        let packets: usize = (case.joined.iter())
            .filter_map(|at| case.arrivals.get(at))
            .map(|all| for_us(all).len())
            .sum();
        let (multicast, delivered) = (case.moved("InMcastPkts"), case.moved("InDelivers"));
        if packets < 2 || !covers(multicast, packets) {
            return None;
        }
        // In IPv4 a packet is counted as multicast only where it is wanted, so what was delivered of all
        // protocols can't be less. Where other traffic hides that, UDP itself says whether it saw them.
        let held_back = if case.group.is_ipv4() {
            multicast.saturating_sub(delivered)
        } else {
            0
        };
        let at_udp = case.reached_udp();
        let certainty = if covers(held_back, packets) {
            by_count(held_back, packets)
        } else if is_udp(case) && at_udp <= 2 {
            Certainty::Proved
        } else if is_udp(case) && at_udp * 5 < packets as u64 {
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
            Found::fault(
                certainty,
                format!(
                    "a firewall rule in INPUT drops {}: {packets} packets came in, the IP layer \
                        took them in, and no protocol got them",
                    case.group
                ),
            )
            .fix(format!(
                "accept it: nft add rule inet filter input {ip} daddr {}{port} accept; see `nft \
                    list ruleset` for the rule that drops",
                case.group
            ))
            .because("wire", format!("{packets} packets came in"))
            .because(
                "counters",
                format!(
                    "InMcastPkts +{multicast}, InDelivers +{delivered}, at UDP in all +{at_udp}"
                ),
            ),
        )
    },
};

pub static BAD_UDP_CHECKSUM: Mode = Mode {
    id: "bad-udp-checksum",
    title: "packets arrive with a wrong UDP checksum",
    seen: "tcpdump shows the stream, the application gets nothing or gaps; UdpInErrors grows.",
    cause: "Something on the way changes packets and not their checksum: address translation, a \
        faulty network card or switch, a sender that leaves the sum to hardware that does not \
        compute it.",
    proof: "UdpInCsumErrors moves, and the packets' own bytes don't add up although the kernel \
        says that the sum was complete.",
    fix: "Find the device that changes them: compare captures on both sides. At the sender, try \
        `ethtool -K IF tx off`.",
    covers: &[],
    rule: |case| {
        case.host?;
        let counted = case.moved("UdpInCsumErrors");
        for (ifindex, all) in &case.arrivals {
            let bad = all.iter().filter(|datum| datum.bad_checksum).count();
            if counted == 0 || (bad == 0 && !covers(counted, all.len())) {
                continue;
            }
            let certainty = if bad > 0 {
                Certainty::Proved
            } else {
                Certainty::Consistent
            };
            return Some(
                Found::fault(
                    certainty,
                    format!(
                        "packets of {} arrive on {} with a wrong UDP checksum, and the kernel \
                            drops them (+{counted})",
                        case.group,
                        case.name(*ifindex)
                    ),
                )
                .fix(format!(
                    "compare captures along the way from {}; at the sender try ethtool \
                    -K IF tx off",
                    list(sources(all))
                ))
                .because(
                    "wire",
                    format!("{bad} of {} packets with a wrong checksum", all.len()),
                )
                .because("counters", format!("UdpInCsumErrors +{counted}")),
            );
        }
        None
    },
};

pub static FRAGMENTS_LOST: Mode = Mode {
    id: "fragments-lost",
    title: "fragments of large packets are lost, or frames are larger than this host takes",
    seen: "Small packets get through, large ones never.",
    cause: "A packet larger than the path's MTU travels in fragments; if one is lost, all are. \
        Firewalls and switches often drop those without ports. Or the receiver's MTU is smaller \
        than the sender's, and its device drops what is too long.",
    proof: "The wire shows first fragments without their rest; IpReasmReqds moves and \
        IpReasmOKs does not. Or the device counts drops while nothing comes in.",
    fix: "Send packets that fit the MTU (1472 bytes of payload on Ethernet), or give all hosts \
        of the link the same MTU.",
    covers: &[],
    rule: |case| {
        // Those at the ends of the window may have their other fragments outside of it.
        let settled = case.now_ns().saturating_sub(200_000_000);
        let begun = case.all.window.0 + 200_000_000;
        for (ifindex, all) in &case.arrivals {
            let mut datagrams: BTreeMap<(IpAddr, u32), (bool, bool, usize)> = BTreeMap::new();
            let inside = |datum: &&&Datum| (begun..settled).contains(&datum.time_ns);
            for datum in all.iter().filter(inside) {
                if let Some((id, offset, more)) = datum.fragment {
                    let seen = datagrams.entry((datum.source, id)).or_default();
                    seen.0 |= offset == 0;
                    seen.1 |= !more;
                    seen.2 += 1;
                }
            }
            let broken = (datagrams.values())
                .filter(|(first, last, _)| !(*first && *last))
                .count();
            let (asked, done) = (case.moved("ReasmReqds"), case.moved("ReasmOKs"));
            if broken == 0 || broken * 10 < datagrams.len() {
                continue;
            }
            return Some(
                Found::fault(
                    Certainty::Proved,
                    format!(
                        "{broken} of {} fragmented packets of {} on {} came without all their \
                            fragments, so that none of them can be put together",
                        datagrams.len(),
                        case.group,
                        case.name(*ifindex)
                    ),
                )
                .fix(
                    "send packets that fit the MTU (at most 1472 bytes of payload on \
                    Ethernet), or find what drops fragments on the way",
                )
                .because(
                    "wire",
                    format!(
                        "{broken} packets of which a first or last fragment is \
                    missing"
                    ),
                )
                .because("counters", format!("ReasmReqds +{asked}, ReasmOKs +{done}")),
            );
        }
        let small = case
            .starving
            .iter()
            .filter_map(|at| case.link(*at))
            .find(|link| link.dropped >= 2 && link.mtu < 1500)?;
        Some(
            Found::fault(
                Certainty::Consistent,
                format!(
                    "{} dropped {} frames and its MTU is only {}: frames that are longer never \
                        come in",
                    small.name, small.dropped, small.mtu
                ),
            )
            .fix(format!(
                "ip link set {} mtu 1500, or whatever the other hosts of the link have",
                small.name
            ))
            .because(
                "counters",
                format!("rx dropped of {} +{}", small.name, small.dropped),
            )
            .because("kernel", format!("MTU of {}: {}", small.name, small.mtu)),
        )
    },
};

pub static MULTICAST_ECHO_IGNORED: Mode = Mode {
    id: "multicast-echo-ignored",
    title: "pings of groups are not answered, as is usual",
    seen: "ping of a group gets no answer from Linux hosts, while streams work.",
    cause: "Linux ignores echo requests to groups and broadcast addresses \
        (icmp_echo_ignore_broadcasts=1), so that nobody can use it to multiply traffic.",
    proof: "Echo requests to the group come in, and the sysctl is 1.",
    fix: "Nothing. Test with UDP: `netsonde mcast send` there and `netsonde mcast join` here.",
    covers: &[],
    rule: |case| {
        let echoes = (case.arrivals.values().flatten())
            .filter(|datum| datum.is_echo)
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
            Found::note(
                Certainty::Proved,
                format!(
                    "{echoes} pings of {} came in and were ignored, as is usual: no sign of \
                    a fault",
                    case.group
                ),
            )
            .fix("test with UDP: `netsonde mcast send` there and `netsonde mcast join` here")
            .because("wire", format!("{echoes} echo requests to {}", case.group))
            .because("sysctl", format!("{} = 1", name.replace('/', "."))),
        )
    },
};

pub static INTERFACE_NOT_MULTICAST: Mode = Mode {
    id: "interface-not-multicast",
    title: "the interface lacks the MULTICAST flag",
    seen: "Applications (Avahi, smcroute, DDS) skip the interface, although the kernel itself \
        would join.",
    cause: "The flag is set when an interface is made and can be switched off; applications \
        look at it before they join.",
    proof: "The interface's flags.",
    fix: "ip link set IF multicast on.",
    covers: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        let mut candidates = case.interfaces();
        // Where nobody has named another one, the route chooses.
        if case.joined.is_empty() && case.sendings.is_empty() {
            candidates.extend(host.route_to_group);
        }
        let link = (candidates.iter().filter_map(|at| case.link(*at)))
            .find(|link| !link.does_multicast() && link.is_up() && !link.is_loopback())?;
        let held = case.joined.contains(&link.ifindex);
        Some(
            Found::depending(
                !held,
                Certainty::Consistent,
                format!(
                    "{} lacks the MULTICAST flag: applications skip it, although the kernel \
                        would join there",
                    link.name
                ),
            )
            .fix(format!("ip link set {} multicast on", link.name))
            .because("kernel", format!("flags of {}: no MULTICAST", link.name))
            .because(
                "kernel",
                format!(
                    "{} is {}held there",
                    case.group,
                    if held { "" } else { "not " }
                ),
            ),
        )
    },
};

pub static NEEDS_PROMISCUOUS: Mode = Mode {
    id: "needs-promiscuous",
    title: "the stream arrives only since somebody holds the interface promiscuous",
    seen: "It works only while tcpdump runs.",
    cause: "The device takes in only addresses that it was told of. Where nobody has joined (or \
        a driver's filter is faulty), frames pass only in promiscuous or all-multicast mode.",
    proof: "Frames come in, the interface is promiscuous, and the group's link-layer address is \
        not in the device's list (/proc/net/dev_mcast).",
    fix: "Join the group. If it is joined and the device's filter is faulty: ip link set IF \
        allmulticast on.",
    covers: &["not-joined"],
    rule: |case| {
        let host = case.host?;
        // Multicast routing keeps its interfaces in all-multicast mode.
        if case.is_router() {
            return None;
        }
        let wanted = mac_text(names::mac(case.group)).replace(':', "");
        for (ifindex, all) in &case.arrivals {
            let Some(link) = case.link(*ifindex) else {
                continue;
            };
            let listed = (host.dev_mcast.iter()).any(|(at, mac)| at == ifindex && *mac == wanted);
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
                "{} reaches {} only since the interface is in {mode} mode: its address is not \
                    among those that the device was told of, and nobody has joined",
                case.group, link.name
            );
            let found = match waits {
                Some(_) => Found::fault(Certainty::Consistent, summary),
                None => Found::note(Certainty::Consistent, summary),
            };
            let found = found
                .fix(format!(
                    "join {} on {}; if a driver's filter is faulty: ip link set {} allmulticast \
                        on",
                    case.group, link.name, link.name
                ))
                .because(
                    "wire",
                    format!("{} packets came in on {}", all.len(), link.name),
                )
                .because(
                    "kernel",
                    format!(
                        "{} is in {mode} mode (promiscuity {}, allmulti {})",
                        link.name, link.promiscuity, link.allmulti
                    ),
                )
                .because(
                    "kernel",
                    format!(
                        "/proc/net/dev_mcast of {} lacks {}",
                        link.name,
                        mac_text(names::mac(case.group))
                    ),
                );
            return Some(match waits {
                Some(socket) => found.because(
                    "socket",
                    format!("{} waits for it", case.socket_text(socket)),
                ),
                None => found,
            });
        }
        None
    },
};

pub static DUPLICATE_TWO_INTERFACES: Mode = Mode {
    id: "duplicate-two-interfaces",
    title: "joined on two interfaces of the same link",
    seen: "Every packet arrives twice.",
    cause: "Two interfaces of the host are on one link (two cables, Ethernet and radio), and \
        the group is joined on both: each delivers its copy.",
    proof: "The same packets, byte by byte, come in on two interfaces that both hold the group.",
    fix: "Join on one interface only, or sort them out by IP_PKTINFO.",
    covers: &[],
    rule: |case| {
        let both: Vec<(&u32, BTreeSet<u64>)> = (case.arrivals.iter())
            .filter(|(ifindex, _)| case.joined.contains(ifindex))
            .map(|(ifindex, all)| (ifindex, all.iter().map(|datum| datum.identity).collect()))
            .collect();
        for (at, (a, of_a)) in both.iter().enumerate() {
            for (b, of_b) in &both[at + 1..] {
                let same = of_a.intersection(of_b).count();
                if same < 2 || same * 10 < of_a.len() * 8 {
                    continue;
                }
                let (a, b) = (case.name(**a), case.name(**b));
                return Some(
                    Found::fault(
                        Certainty::Proved,
                        format!(
                            "{} is joined on {a} and {b}, which are on the same link: each \
                                packet is delivered twice",
                            case.group
                        ),
                    )
                    .fix(format!(
                        "join on {a} or {b} only, or tell them apart by IP_PKTINFO"
                    ))
                    .because(
                        "wire",
                        format!("{same} packets came in on both, byte for byte"),
                    )
                    .because("kernel", format!("{} is held on {a} and {b}", case.group)),
                );
            }
        }
        None
    },
};

pub static MAC_ALIAS: Mode = Mode {
    id: "mac-alias",
    title: "another group has the same link-layer address",
    seen: "Unwanted streams load the host; or switches flood a group that they should prune.",
    cause: "Ethernet addresses of groups hold only 23 of 28 bits (RFC 1112, section 6.4): 32 \
        groups share each. Switches and network cards can't tell them apart, and flood those \
        that share an address with 224.0.0.0/24.",
    proof: "Packets of a group that nobody here has joined come in, with the same link-layer \
        address.",
    fix: "Choose groups whose low 23 bits differ, and none of x.0.0.y or x.128.0.y.",
    covers: &[],
    rule: |case| {
        let wanted = names::mac(case.group);
        let unwanted = (case.all.wire.others.iter()).find(|((ifindex, group, _), count)| {
            case.joined.contains(ifindex) && names::mac(*group) == wanted && **count > 1
        });
        if let Some(((ifindex, other, source), count)) = unwanted {
            return Some(
                Found::warning(
                    Certainty::Proved,
                    format!(
                        "{other} from {source} arrives on {} although nobody joined it: it has \
                            the same link-layer address as {}",
                        case.name(*ifindex),
                        case.group
                    ),
                )
                .fix("use groups whose low 23 bits differ")
                .because(
                    "wire",
                    format!("{count} packets of {other} with {}", mac_text(wanted)),
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
            Found::warning(
                Certainty::Proved,
                format!(
                    "{group} has the link-layer address {} like 224.0.0.{}: switches flood it \
                        to all ports",
                    mac_text(wanted),
                    low[3]
                ),
            )
            .fix("use a group other than x.0.0.y and x.128.0.y")
            .because("kernel", format!("{group} maps to {}", mac_text(wanted))),
        )
    },
};

pub static NOT_JOINED: Mode = Mode {
    id: "not-joined",
    title: "nobody on this host has joined the group",
    seen: "Nothing arrives at any application, since none has asked for it.",
    cause: "The application does not run, failed to join, or joins only while somebody uses it.",
    proof: "/proc/net/igmp and igmp6 list the group on no interface.",
    fix: "Start the application, or test with `netsonde mcast join GROUP`, or ask with --join.",
    covers: &[],
    rule: |case| {
        case.host?;
        if !case.joined.is_empty() || !case.sendings.is_empty() || case.passes_through() {
            return None;
        }
        let arrives = (case.arrivals.iter().next())
            .map(|(at, all)| {
                format!(
                    "; {} packets of it arrive on {} all the same",
                    all.len(),
                    case.name(*at)
                )
            })
            .unwrap_or_default();
        Some(
            Found::note(
                Certainty::Proved,
                format!("nobody on this host has joined {}{arrives}", case.group),
            )
            .fix(format!(
                "start the application, or ask with --join, or run netsonde mcast join {}",
                case.group
            ))
            .because("kernel", format!("{} is held on no interface", case.group)),
        )
    },
};

/// Does the group's traffic consist of UDP?
pub fn is_udp(case: &Case<'_>) -> bool {
    (case.arrivals.values().flatten()).any(|datum| datum.protocol == ip_protocol::UDP)
}
