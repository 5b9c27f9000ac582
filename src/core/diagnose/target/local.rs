//! PURE. Failure modes of this host: routes, sources, links, next hops, and its own firewall, by the fates of the probes
//! and of the attempt to reach the port.

use super::WayMode;
use super::evidence::{Outcome, PortTry, Way};
use super::packet::{PortAnswer, PortSeen};
use crate::diagnose::host;
use crate::diagnose::receiver;
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::protocol::ping::Probe;
use crate::text::counted;

/// Returns the attempt to reach the port with what was seen of it, if both are there.
pub(super) fn attempt(way: &Way) -> Option<(&PortTry, &PortSeen)> {
    let port = way.port.as_ref()?;
    Some((port, port.seen.as_ref().ok()?))
}

/// Returns whether nothing left this host: no first packet of the attempt to reach the port, if there was one.
fn is_unsent(way: &Way) -> bool {
    !way.works() && attempt(way).is_none_or(|(_, seen)| seen.sent == 0)
}

/// Words of the last place where a probe was seen.
pub(super) fn last_seen(probe: &Probe) -> String {
    probe
        .last_seen
        .clone()
        .unwrap_or_else(|| probe.fate.replace('_', " "))
}

/// Returns a probe that was not sent, with an error of this name, if nothing left.
fn not_sent<'a>(way: &'a Way, errno: &str) -> Option<&'a Probe> {
    let probe = way.echo("not_sent").filter(|_| is_unsent(way))?;
    (probe.errno.as_deref() == Some(errno)).then_some(probe)
}

/// A finding about a probe that this host did not send.
fn unsent(way: &Way, probe: &Probe, what: &str, fix: &str) -> FindingDraft {
    let words = last_seen(probe);
    let words = match &probe.errno {
        Some(errno) => words
            .strip_prefix(&format!("{errno}: "))
            .unwrap_or(&words)
            .to_owned(),
        None => words,
    };
    FindingDraft::fault(Certainty::Proved, format!("{what} {}: {words}", way.target))
        .fix(fix)
        .with_evidence("kernel", format!("send call: {}", last_seen(probe)))
}

pub static INTERFACE_DOWN: WayMode = WayMode {
    text: Text {
        id: "interface-down",
        title: "the interface on the way is down or has no carrier",
        symptoms: "Nothing behind the interface can be reached.",
        cause: "It was set down, its cable is unplugged, or the other end is off.",
        proof: "The route leads to the interface, and the kernel reports it down or without \
            carrier.",
        fix: "ip link set IF up; check cable, switch port and the other end.",
    },
    rule: |way| {
        let is_down = |probe: &&Probe| {
            let is_set_down = way.set_down.is_some() && probe.fate == "not_sent";
            is_set_down || probe.link.is_some() || probe.errno.as_deref() == Some("ENETDOWN")
        };
        let probe = way.echoes().find(is_down).filter(|_| is_unsent(way))?;
        let interface = probe.interface.as_ref().or(way.set_down.as_ref());
        let interface = interface.map_or("the interface", String::as_str);
        let link = probe.link.as_deref().unwrap_or("is down");
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "{} is reached through {interface}, which {link}",
                    way.target
                ),
            )
            .fix(format!(
                "ip link set {interface} up; check cable and switch port"
            ))
            .with_evidence("kernel", last_seen(probe)),
        )
    },
};

pub static SOURCE_INVALID: WayMode = WayMode {
    text: Text {
        id: "source-invalid",
        title: "the source address is none of this host",
        symptoms: "A program that binds to an address cannot send; others can.",
        cause: "The demanded source address is not there: removed, not yet usable (tentative), or \
            of another host.",
        proof: "The send call fails, with EADDRNOTAVAIL or because there is no route from this source, \
            and the address is on no interface.",
        fix: "Use an address of ip addr, or add the address.",
    },
    rule: |way| {
        // The routing tables have no route from a source that is not there, which is the error then.
        let is_missing = |_: &&Probe| way.missing_source.is_some() && is_unsent(way);
        let probe =
            not_sent(way, "EADDRNOTAVAIL").or_else(|| way.echo("not_sent").filter(is_missing))?;
        let fix = "use an address of this host (ip addr), or add it";
        Some(unsent(way, probe, "no source address for", fix))
    },
};

pub static BLACKHOLE_ROUTE: WayMode = WayMode {
    text: Text {
        id: "blackhole-route",
        title: "a blackhole route or rule discards the packets",
        symptoms: "Invalid argument (EINVAL) on sending to some addresses.",
        cause: "A route or policy rule of type blackhole covers the target, made on purpose or left \
            behind.",
        proof: "The send call fails with EINVAL, and the routing tables have such an entry.",
        fix: "ip route del blackhole PREFIX, or ip rule del.",
    },
    rule: |way| {
        let probe = not_sent(way, "EINVAL")?;
        let fix = "ip route del blackhole PREFIX, or ip rule del, if it is not meant";
        Some(unsent(
            way,
            probe,
            "packets are discarded on this host on the way to",
            fix,
        ))
    },
};

pub static PROHIBIT_ROUTE: WayMode = WayMode {
    text: Text {
        id: "prohibit-route",
        title: "a prohibit route or rule refuses the packets",
        symptoms: "Permission denied (EACCES) on sending to some addresses.",
        cause: "A route or policy rule of type prohibit covers the target.",
        proof: "The send call fails with EACCES, and the routing tables have such an entry.",
        fix: "ip route del prohibit PREFIX, or ip rule del.",
    },
    rule: |way| {
        let probe = not_sent(way, "EACCES")?;
        let fix = "ip route del prohibit PREFIX, or ip rule del, if it is not meant";
        Some(unsent(
            way,
            probe,
            "packets are refused on this host on the way to",
            fix,
        ))
    },
};

pub static UNREACHABLE_ROUTE: WayMode = WayMode {
    text: Text {
        id: "unreachable-route",
        title: "an unreachable route refuses the packets",
        symptoms: "No route to host (EHOSTUNREACH) on sending to some addresses.",
        cause: "A route of type unreachable covers the target: made on purpose, or by a routing \
            daemon or a VPN that went away.",
        proof: "The send call fails with EHOSTUNREACH, and the routing tables have such an entry.",
        fix: "ip route del unreachable PREFIX; look at what made it.",
    },
    rule: |way| {
        let probe = not_sent(way, "EHOSTUNREACH")?;
        let fix = "ip route del unreachable PREFIX, if it is not meant";
        Some(unsent(
            way,
            probe,
            "packets are refused on this host on the way to",
            fix,
        ))
    },
};

pub static NO_ROUTE: WayMode = WayMode {
    text: Text {
        id: "no-route",
        title: "this host has no route to the target",
        symptoms: "Network is unreachable (ENETUNREACH).",
        cause: "There is no default route and none for the target's network: DHCP or router \
            advertisements gave none, or an interface is down.",
        proof: "The send call fails with ENETUNREACH.",
        fix: "ip route add default via GATEWAY, or mend what configures it.",
    },
    rule: |way| {
        let probe = not_sent(way, "ENETUNREACH")?;
        let family = if way.is_ipv4 { "" } else { "-6 " };
        let fix = format!("ip {family}route add default via GATEWAY, or mend what configures it");
        Some(unsent(way, probe, "cannot send to", &fix))
    },
};

pub static NEXT_HOP_SILENT: WayMode = WayMode {
    text: Text {
        id: "next-hop-silent",
        title: "the next hop does not answer ARP or neighbor discovery",
        symptoms: "No route to host after three seconds; ip neigh shows FAILED.",
        cause: "The router or host is off, on another VLAN, or has another address; or the netmask \
            is wrong, so that this host looks on the link for what is behind a router.",
        proof: "The kernel asked for the address on the link, and nothing answered.",
        fix: "Check that the next hop is on and on this link, and the prefix length of the \
            interface's address.",
    },
    rule: |way| {
        let probe = way.echo("unresolved").filter(|_| is_unsent(way))?;
        let interface = probe.interface.as_deref().unwrap_or("the link");
        let next_hop = probe.next_hop.as_deref().unwrap_or(&way.target);
        let who = match way.router {
            Some(_) => format!("the router {next_hop}, on the way to {},", way.target),
            None => next_hop.to_owned(),
        };
        let protocol = if way.is_ipv4 {
            "ARP"
        } else {
            "neighbor discovery"
        };
        let fix = match way.router {
            Some(_) => format!("check that {next_hop} is on and on the link of {interface}"),
            None => format!(
                "check that {next_hop} is on; if it is behind a router, correct the prefix length \
                    on {interface}"
            ),
        };
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!("{who} does not answer {protocol} on {interface}"),
            )
            .fix(fix)
            .with_evidence("wire", last_seen(probe)),
        )
    },
};

pub static OUTPUT_FIREWALL: WayMode = WayMode {
    text: Text {
        id: "output-firewall",
        title: "this host's own firewall keeps packets from leaving",
        symptoms: "Operation not permitted, connection refused at once, or no answer, and tcpdump \
            shows no packet.",
        cause: "A rule in the netfilter hooks OUTPUT or POSTROUTING (nftables, iptables) or a queue \
            discipline drops or rejects what this host sends to the target.",
        proof: "The kernel accepted the packet or refused it with EPERM, and it was not seen on the \
            interface.",
        fix: "nft list ruleset, iptables -L OUTPUT -v: remove the rule or add an exception.",
    },
    rule: |way| {
        let fix = "nft list ruleset (hooks output and postrouting), iptables -L OUTPUT -v -n";
        if let Some((port, seen)) = attempt(way).filter(|_| !way.works()) {
            // A rule that rejects answers over the loopback interface.
            let is_own = |answer: &PortAnswer| answer.interface == "lo";
            let has_answer = seen.answer.as_ref().is_some_and(|answer| !is_own(answer));
            let has_left = seen.sent > 0 && seen.sent_on.as_deref() != Some("lo");
            let is_it = !has_left && !has_answer && !way.is_local;
            let error = match &port.outcome {
                Outcome::Failed(errno) => errno.as_str(),
                _ => "no answer",
            };
            let is_known_otherwise = way
                .echoes()
                .any(|probe| matches!(probe.fate.as_str(), "unresolved" | "not_sent"));
            if is_it && !(is_known_otherwise && error == "no answer") {
                let protocol = port.protocol.name();
                let certainty = match error {
                    "EPERM" | "ECONNREFUSED" | "EACCES" => Certainty::Proved,
                    _ => Certainty::Consistent,
                };
                return Some(
                    FindingDraft::fault(
                        certainty,
                        format!(
                            "packets for {protocol} port {} of {} do not leave this host: a rule of \
                                its own firewall drops or rejects them ({error})",
                            port.port, way.target
                        ),
                    )
                    .fix(fix)
                    .with_evidence("wire", "no packet of the attempt was seen on any interface"),
                );
            }
        }
        let probe = way
            .echo("dropped_outbound")
            .or_else(|| not_sent(way, "EPERM"));
        let probe = probe.filter(|_| is_unsent(way))?;
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "packets to {} do not leave this host: {}",
                    way.target,
                    last_seen(probe)
                ),
            )
            .fix(fix)
            .with_evidence("wire", "no packet of the probe was seen on any interface"),
        )
    },
};

/// Returns where an answer came in that did not reach the program.
fn lost_answer(way: &Way) -> Option<(&PortTry, &str)> {
    let (port, seen) = attempt(way)?;
    let answer = seen.answer.as_ref()?;
    (port.outcome == Outcome::Silent).then_some((port, answer.interface.as_str()))
}

pub static RP_FILTER_STRICT: WayMode = WayMode {
    text: receiver::RP_FILTER_STRICT.text(),
    rule: |way| {
        let fix = |interface: &str| {
            format!(
                "sysctl net.ipv4.conf.{interface}.rp_filter=2 (and net.ipv4.conf.all.rp_filter if \
                    it is 1), or route {} through {interface}",
                way.target
            )
        };
        if let Some((port, interface)) = lost_answer(way)
            && port.moved("IPReversePathFilter") > 0
        {
            let moved = port.moved("IPReversePathFilter");
            return Some(
                FindingDraft::fault(
                    Certainty::Proved,
                    format!(
                        "answers of {} come in on {interface}, and the reverse path filter drops \
                            them: the kernel routes {} through another interface",
                        way.target, way.target
                    ),
                )
                .fix(fix(interface))
                .with_evidence("counters", format!("TcpExtIPReversePathFilter +{moved}")),
            );
        }
        let probe = way.echo("dropped_inbound").filter(|_| !way.works())?;
        let words = last_seen(probe);
        if !words.contains("reverse path filter") {
            return None;
        }
        let interface = words
            .split(" on ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let interface = interface.unwrap_or("IF").to_owned();
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "replies of {} come in on {interface}, and the reverse path filter drops them: \
                        the kernel routes {} through another interface",
                    way.target, way.target
                ),
            )
            .fix(fix(&interface))
            .with_evidence("wire", words),
        )
    },
};

pub static INPUT_FIREWALL: WayMode = WayMode {
    text: Text {
        id: "input-firewall",
        title: "this host's own firewall drops the answers",
        symptoms: "tcpdump shows the answers, the program gets none.",
        cause: "A rule in the netfilter hooks PREROUTING or INPUT drops what comes back, for \
            instance because connection tracking does not know the connection.",
        proof: "The answer was seen on an interface of this host, and did not reach the socket.",
        fix: "nft list ruleset, iptables -L INPUT -v: allow established connections and the reply.",
    },
    rule: |way| {
        let fix = "nft list ruleset (hooks prerouting and input), iptables -L INPUT -v -n: accept \
            established and related";
        if let Some((port, interface)) = lost_answer(way) {
            return Some(
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!(
                        "{} answers on {} port {}, the answer comes in on {interface} and does not \
                            reach the program: a rule of this host's own firewall drops it",
                        way.target,
                        port.protocol.name(),
                        port.port
                    ),
                )
                .fix(fix)
                .with_evidence("wire", format!("answer received on {interface}")),
            );
        }
        let probe = way.echo("dropped_inbound").filter(|_| !way.works())?;
        // An answered port says more than the echo.
        attempt(way)
            .is_none_or(|(_, seen)| seen.answer.is_none())
            .then(|| {
                FindingDraft::fault(
                    Certainty::Consistent,
                    format!("{} answers, {}", way.target, last_seen(probe)),
                )
                .fix(fix)
                .with_evidence("wire", last_seen(probe))
            })
    },
};

/// A probe that was not answered, and what is wrong with its next hop.
fn in_doubt<'a>(way: &'a Way, beginning: &str) -> Option<(&'a Probe, &'a str)> {
    let of_probe = |probe: &'a Probe| Some((probe, probe.hop.as_deref()?));
    let found = way.echoes().find_map(of_probe).filter(|_| !way.works())?;
    let is_answered = attempt(way).is_some_and(|(_, seen)| seen.answer.is_some());
    (found.1.starts_with(beginning) && !is_answered).then_some(found)
}

/// Beginnings of remarks about a next hop (`probe::hop`). One that answers by proxy is none of these.
const ENTRY: &str = "neighbor entry";
const CONFLICT: &str = "address conflict";

pub static NEIGHBOR_ENTRY_WRONG: WayMode = WayMode {
    text: host::NEIGHBOR_ENTRY_WRONG.text,
    rule: |way| {
        let (probe, words) = in_doubt(way, ENTRY)?;
        let next_hop = probe.next_hop.as_deref().unwrap_or(&way.target);
        let interface = probe.interface.as_deref().unwrap_or("IF");
        Some(
            FindingDraft::fault(
                Certainty::Proved,
                format!("packets to {} go to the wrong station: {words}", way.target),
            )
            .fix(format!("ip neigh del {next_hop} dev {interface}"))
            .with_evidence("wire", last_seen(probe)),
        )
    },
};

pub static NEXT_HOP_CONFLICT: WayMode =
    WayMode {
        text: host::ADDRESS_CONFLICT.text,
        rule: |way| {
            let (probe, words) = in_doubt(way, CONFLICT)?;
            Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!("packets to {} may go to the wrong station: {words}", way.target),
            )
            .fix("find both stations by their MAC addresses (netsonde neighbors), and change one")
            .with_evidence("wire", last_seen(probe)),
        )
        },
    };

pub static IPV6_BROKEN: Text = Text {
    id: "ipv6-broken",
    title: "the target is reached over IPv4, but not over IPv6",
    symptoms: "Web pages load slowly or in part; some programs work, others do not.",
    cause: "The name has addresses of both families, and the way over IPv6 fails. Programs that \
        prefer IPv6 wait for it first.",
    proof: "The attempts over IPv4 are answered, those over IPv6 are not; the evidence has the cause.",
    fix: "Mend IPv6 as the evidence says, or remove the route or the AAAA record that promises it.",
};

pub static IPV4_BROKEN: Text = Text {
    id: "ipv4-broken",
    title: "the target is reached over IPv6, but not over IPv4",
    symptoms: "Programs without IPv6 do not work.",
    cause: "The name has addresses of both families, and the way over IPv4 fails.",
    proof: "The attempts over IPv6 are answered, those over IPv4 are not; the evidence has the cause.",
    fix: "Mend IPv4 as the evidence says.",
};

pub static ADDRESS_BROKEN: Text = Text {
    id: "address-broken",
    title: "some addresses of the name cannot be reached, and others can",
    symptoms: "Connections fail or hang now and then, and a second attempt works.",
    cause: "The name has several addresses of a family, and not all of them work: one server of several is down, or the \
        way to it fails. Programs use any of them, most of them the first.",
    proof: "The attempts at other addresses of the family are answered; the evidence has the cause for each that is not.",
    fix: "Mend the server or the way as the evidence says, or take the address out of the name.",
};

/// Describes the echoes in a few words.
pub(super) fn echo_words(way: &Way) -> String {
    let total = way.echoes().count();
    let answered = way.echoes().filter(|probe| probe.fate == "replied").count();
    match (&way.echoes, way.echoes().next()) {
        (Err(why), _) => format!("not sent: {why}"),
        (Ok(_), None) => "not sent".into(),
        (Ok(_), Some(_)) if answered == total => {
            let fastest = way
                .echoes()
                .filter_map(|probe| probe.wire_rtt_ns.or(probe.rtt_ns))
                .min();
            let fastest = super::name::milliseconds(fastest.unwrap_or(0));
            format!(
                "{} answered, fastest in {fastest}",
                counted(total as u64, "echo request")
            )
        }
        (Ok(_), Some(_)) if answered > 0 => format!("{answered} of {total} echo requests answered"),
        (Ok(_), Some(first)) => match &first.error {
            Some(error) => format!("{}, reported by {}", error.meaning, error.from),
            None => last_seen(first),
        },
    }
}
