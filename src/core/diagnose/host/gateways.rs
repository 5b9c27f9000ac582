//! PURE. Failure modes of gateways: missing, absent, silent, blocked by this host's own filters, moved.

use std::net::IpAddr;

use super::addresses::is_on_link;
use super::carrier::medium;
use super::evidence::{HostEvidence, Probed, Route};
use super::links::MAX_FINDINGS;
use super::{CheckOutcome, HostMode, LocatedFinding};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::evidence::in_network;
use crate::diagnose::{Certainty, FindingDraft, Text, receiver};
use crate::protocol::ping::Probe;
use crate::text::counted;

/// Time for which a change of a gateway's MAC address is reported.
const RECENT_MOVE_NS: u64 = 600_000_000_000;
/// Time for which a forwarded packet shows that a gateway works.
const FORWARDED_NS: u64 = 600_000_000_000;

pub fn check_routes(all: &HostEvidence) -> CheckOutcome {
    let defaults: Vec<String> = all
        .routes
        .iter()
        .filter(|route| route.is_default() && all.is_wanted(&route.interface))
        .map(|route| match route.gateway {
            Some(gateway) => format!("{gateway} on {}", route.interface),
            None => format!("{} itself", route.interface),
        })
        .collect();
    if all.interfaces().next().is_none() {
        return CheckOutcome::NotApplicable("there is no interface other than loopback".into());
    }
    match defaults.len() {
        0 => CheckOutcome::Done("no default route".into()),
        _ => CheckOutcome::Done(list(defaults)),
    }
}

pub static NO_DEFAULT_ROUTE: HostMode = HostMode {
    text: Text {
        id: "no-default-route",
        title: "there is no default route",
        symptoms: "Hosts on the local links are reachable, others are not: \"Network is \
            unreachable\".",
        cause: "DHCP or router advertisements have not arrived, or no route was configured. Hosts \
            on an isolated network have none on purpose.",
        proof: "The main routing table of both families.",
        fix: "If there should be one: check the DHCP client, or ip route add default via GATEWAY.",
    },
    implies: &[],
    rule: |all| {
        if all.routes.iter().any(|route| route.is_default()) || all.only.is_some() {
            return vec![];
        }
        vec![
            FindingDraft::note(
                Certainty::Proved,
                "there is no default route: this host reaches only its local links".into(),
            )
            .fix(
                "if there should be one: check the DHCP client, or ip route add default via \
                    GATEWAY",
            )
            .with_evidence("route", "no default route, neither IPv4 nor IPv6")
            .on_host(),
        ]
    },
};

/// Summarizes the fates of the probes.
fn check_probes(all: &HostEvidence, one: impl Fn(&Probed) -> String) -> CheckOutcome {
    match &all.probes {
        Err(why) => CheckOutcome::Skipped(why.clone()),
        Ok(probed) if probed.is_empty() => {
            CheckOutcome::NotApplicable("no route names a gateway".into())
        }
        Ok(probed) => CheckOutcome::Done(list(probed.iter().map(one))),
    }
}

pub fn check_resolved(all: &HostEvidence) -> CheckOutcome {
    let outcome = check_probes(all, |one| {
        let there = !is_unresolved(all, one);
        format!(
            "{} on {} {}",
            one.gateway,
            one.interface,
            if there { "is there" } else { "is not" }
        )
    });
    match (outcome, unprobed(all).count()) {
        (CheckOutcome::Done(text), more @ 1..) => {
            CheckOutcome::Done(format!("{text}; {more} more were not probed"))
        }
        (outcome, _) => outcome,
    }
}

pub fn check_answers(all: &HostEvidence) -> CheckOutcome {
    check_probes(all, |one| {
        let fastest = one.probes.iter().filter_map(|probe| probe.rtt_ns).min();
        let time = fastest.map_or(String::new(), |ns| format!(" in {:.3} ms", ns as f64 / 1e6));
        format!(
            "{} answered {} of {}{time}",
            one.gateway,
            one.answered(),
            one.probes.len()
        )
    })
}

/// Returns "ARP" or "neighbor discovery".
fn resolution(gateway: IpAddr) -> &'static str {
    if gateway.is_ipv4() {
        "ARP"
    } else {
        "neighbor discovery"
    }
}

/// Returns a fault if the default traffic uses the gateway, else a warning.
fn by_weight(
    all: &HostEvidence,
    gateway: IpAddr,
    certainty: Certainty,
    summary: String,
) -> FindingDraft {
    FindingDraft::fault_or_warning(all.is_first_gateway(gateway), certainty, summary)
}

/// Returns whether the gateway's MAC address was not resolved: no probe was sent, or after some
/// seconds the kernel itself answered "host unreachable".
fn is_unresolved(all: &HostEvidence, one: &Probed) -> bool {
    let by_us = |probe: &&Probe| {
        let from = probe
            .error
            .as_ref()
            .and_then(|error| error.from.parse().ok());
        probe.fate == "refused" && from.is_some_and(|from| is_own(all, from))
    };
    let unresolved = one.count("unresolved");
    let refused = one.probes.iter().filter(by_us).count();
    unresolved > 0 && unresolved + refused == one.probes.len()
}

fn is_own(all: &HostEvidence, address: IpAddr) -> bool {
    let own = all.links.iter().flat_map(|one| &one.addresses);
    own.into_iter().any(|own| own.address == address)
}

fn unresolved(all: &HostEvidence) -> impl Iterator<Item = &Probed> {
    let probed = all.probes.iter().flatten();
    probed.filter(|one| is_unresolved(all, one))
}

/// Iterates over gateways that were not probed, because there are too many.
fn unprobed(all: &HostEvidence) -> impl Iterator<Item = (IpAddr, &str)> {
    all.gateways().into_iter().filter(|(gateway, name)| {
        let mut probed = all.probes.iter().flatten();
        !probed.any(|one| one.gateway == *gateway && one.interface == **name)
    })
}

/// Returns findings for unprobed gateways that did not answer when this host last asked.
fn unprobed_failed(all: &HostEvidence) -> Vec<LocatedFinding> {
    let has_failed = |gateway: IpAddr, name: &str| {
        all.kernel_neighbors.iter().any(|entry| {
            entry.address == gateway && entry.interface == name && entry.state == "FAILED"
        })
    };
    unprobed(all)
        .filter(|(gateway, name)| has_failed(*gateway, name))
        .take(MAX_FINDINGS)
        .map(|(gateway, name)| {
            by_weight(
                all,
                gateway,
                Certainty::Consistent,
                format!(
                    "the gateway {gateway} on {name} did not answer {} when this host last asked",
                    resolution(gateway)
                ),
            )
            .fix(format!("netsonde ping -I {name} {gateway}"))
            .with_evidence("kernel", format!("{gateway} dev {name} FAILED"))
            .on(name)
        })
        .collect()
}

pub static GATEWAY_OFF_LINK: HostMode = HostMode {
    text: Text {
        id: "gateway-off-link",
        title: "the gateway is not in a network of its interface, and does not answer",
        symptoms: "Nothing beyond the link is reachable.",
        cause: "A wrong address, prefix length or gateway was configured. The kernel accepts a \
            gateway outside the interface's networks only with the onlink flag.",
        proof: "The gateway is in none of the interface's networks, and does not resolve.",
        fix: "Correct the address, its prefix length or the gateway.",
    },
    implies: &["gateway-unresolved", "gateway-silent"],
    rule: |all| {
        unresolved(all)
            .filter(|one| {
                let link_local =
                    matches!(one.gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
                !link_local && !is_on_link(all, &one.interface, one.gateway)
            })
            .map(|one| {
                let name = &one.interface;
                let own = all.interface(name).into_iter().flat_map(|at| &at.addresses);
                let own = list(
                    own.filter(|own| own.address.is_ipv4() == one.gateway.is_ipv4())
                        .map(|own| format!("{}/{}", own.address, own.prefix)),
                );
                let is_configured = all.routes.iter().any(|route| {
                    route.gateway == Some(one.gateway)
                        && route.interface == *name
                        && route.is_onlink
                });
                let mut found = by_weight(
                    all,
                    one.gateway,
                    Certainty::Consistent,
                    format!(
                        "the gateway {} is not in a network of {name} ({}), and no host there \
                            answers for it",
                        one.gateway,
                        if own.is_empty() {
                            "which has no address".into()
                        } else {
                            own
                        }
                    ),
                )
                .fix(format!(
                    "correct the address of {name}, its prefix length, or the gateway"
                ))
                .with_evidence("wire", last_seen(one, "unresolved"));
                if is_configured {
                    found = found
                        .with_evidence("route", format!("via {} dev {name} onlink", one.gateway));
                }
                found.on(name)
            })
            .collect()
    },
};

/// Returns where the first probe with a fate was last seen, or else the number of such probes.
fn last_seen(one: &Probed, fate: &str) -> String {
    let last_seen = one.first(fate).and_then(|probe| probe.last_seen.clone());
    last_seen.unwrap_or_else(|| {
        format!(
            "{} of {}: {fate}",
            one.count(fate),
            counted(one.probes.len(), "probe")
        )
    })
}

/// Returns certainty, further observations and fix.
fn why_unresolved(all: &HostEvidence, one: &Probed) -> (Certainty, String, String) {
    let (name, gateway) = (&one.interface, one.gateway);
    let protocol = resolution(gateway);
    if answers_on_the_wire(all, one) {
        return (
            Certainty::Proved,
            format!(
                "it answers {protocol} on the wire, but this host's kernel does not accept the \
                    answer"
            ),
            format!(
                "check arptables, `nft list ruleset` (families arp and netdev) and `tc filter show \
                    dev {name} ingress`"
            ),
        );
    }
    // Requests that the wire showed are counted there.
    if !last_seen(one, "unresolved").contains("asked") {
        return (
            Certainty::Consistent,
            format!("no {protocol} request for it was seen on the wire"),
            format!(
                "check the queue and the filters of {name}: `tc -s qdisc show dev {name}`, `nft \
                    list ruleset` (egress)"
            ),
        );
    }
    let others = match all.hosts_seen(name) {
        0 => {
            return (
                Certainty::Proved,
                format!(
                    "it does not answer {protocol}, and no other host was seen on {name} in the \
                        last minute"
                ),
                format!("check {}", medium(all, name)),
            );
        }
        1 => "one other host is".to_owned(),
        others => format!("{others} are", others = counted(others, "other host")),
    };
    (
        Certainty::Proved,
        format!("it does not answer {protocol}, while {others} present on {name}"),
        format!("check the router {gateway}: is it on, and is this its address?"),
    )
}

/// Returns whether its answer came in while it was being resolved.
fn answers_on_the_wire(all: &HostEvidence, one: &Probed) -> bool {
    let hosts = all.neighbors.iter().flat_map(|reply| &reply.neighbors);
    let there = hosts.filter(|neighbor| neighbor.interface == one.interface);
    let mut addresses = there.flat_map(|neighbor| &neighbor.addresses);
    addresses.any(|address| {
        address.address.parse() == Ok(one.gateway)
            && address
                .answered
                .as_ref()
                .is_some_and(|time| all.ago_ns(time) <= all.window_ns)
    })
}

pub static GATEWAY_UNRESOLVED: HostMode = HostMode {
    text: Text {
        id: "gateway-unresolved",
        title: "the gateway does not answer ARP or neighbor discovery",
        symptoms: "Hosts on the link are reachable, but nothing beyond it; or nothing at all.",
        cause: "The router is off, its address has changed, or its port or VLAN is another one. If \
            no other host is present either, the link is broken. Or a filter of this host drops \
            the request or the answer.",
        proof: "No echo request could be sent, because the gateway's MAC address could not be \
            resolved; the wire shows whether the request was sent and an answer arrived.",
        fix: "Check the router; if no other host is present, the cable, port and VLAN; if the \
            answer arrives or no request is sent, this host's filters.",
    },
    implies: &["gateway-silent", "gateway-moved"],
    rule: |all| {
        unresolved(all)
            .map(|one| {
                let name = &one.interface;
                let (certainty, why, fix) = why_unresolved(all, one);
                by_weight(
                    all,
                    one.gateway,
                    certainty,
                    format!(
                        "the gateway {} on {name} cannot be resolved (no MAC address): {why}",
                        one.gateway
                    ),
                )
                .fix(fix)
                .with_evidence("wire", last_seen(one, "unresolved"))
                .on(name)
            })
            .chain(unprobed_failed(all))
            .collect()
    },
};

/// Iterates over gateways whose replies came in but were dropped before the socket; `by_filter`: by
/// the reverse path filter.
fn dropped_inbound(all: &HostEvidence, by_filter: bool) -> impl Iterator<Item = &Probed> {
    all.probes.iter().flatten().filter(move |one| {
        let is_filter = one.first("dropped_inbound").map(|probe| {
            let text = probe.last_seen.as_deref().unwrap_or_default();
            text.contains("TcpExtIPReversePathFilter")
        });
        is_filter == Some(by_filter)
    })
}

/// Returns whether the reverse path filter drops the gateway's replies.
pub fn is_filtered(all: &HostEvidence) -> bool {
    dropped_inbound(all, true).next().is_some()
}

/// Returns whether the main table routes the gateway through another interface than that of its probes.
fn is_routed_elsewhere(all: &HostEvidence, one: &Probed) -> bool {
    let routes = all.routes.iter().filter(|route| {
        route.table == Route::MAIN && in_network(route.network, route.bits, one.gateway)
    });
    let best = routes.max_by_key(|route| (route.bits, std::cmp::Reverse(route.metric)));
    best.is_some_and(|route| route.interface != one.interface)
}

pub static RP_FILTER_STRICT: HostMode = HostMode {
    text: receiver::RP_FILTER_STRICT.text(),
    implies: &["gateway-silent", "firewall-drops-icmp"],
    rule: |all| {
        let mut found: Vec<LocatedFinding> = dropped_inbound(all, true)
            .map(|one| {
                let name = &one.interface;
                // Other packets move the counter, too.
                let is_strict = all.sysctl_max(name, "rp_filter") == 1;
                let certainty = if is_strict && is_routed_elsewhere(all, one) {
                    Certainty::Proved
                } else {
                    Certainty::Consistent
                };
                by_weight(
                    all,
                    one.gateway,
                    certainty,
                    format!(
                        "replies of the gateway {} come in on {name} and the kernel drops them: it \
                            routes {} through another interface, and reverse-path filtering is \
                            strict",
                        one.gateway, one.gateway
                    ),
                )
                .fix(format!(
                    "sysctl net.ipv4.conf.{name}.rp_filter=2 (and net.ipv4.conf.all.rp_filter if \
                        it is 1), or route {} through {name}",
                    one.gateway
                ))
                .with_evidence("wire", last_seen(one, "dropped_inbound"))
                .with_evidence(
                    "sysctl",
                    format!("rp_filter of {name}: {}", all.sysctl_max(name, "rp_filter")),
                )
                .on(name)
            })
            .collect();
        if found.is_empty() {
            found.extend(spare_ways(all));
        }
        found
    },
};

/// Interfaces of default routes that are not the best, with strict filtering: packets from remote
/// hosts that arrive there are dropped.
fn spare_ways(all: &HostEvidence) -> Vec<LocatedFinding> {
    let defaults = all
        .routes
        .iter()
        .filter(|route| route.is_default() && route.network.is_ipv4());
    let Some(best) = defaults.clone().min_by_key(|route| route.metric) else {
        return vec![];
    };
    let others = defaults.filter(|route| {
        route.metric > best.metric
            && route.interface != best.interface
            && all.is_wanted(&route.interface)
            && all.sysctl_max(&route.interface, "rp_filter") == 1
            && all
                .interface(&route.interface)
                .is_some_and(|one| one.works())
    });
    others
        .map(|route| {
            let name = &route.interface;
            FindingDraft::warning(
                Certainty::Consistent,
                format!(
                    "packets from beyond the links that come in on {name} are dropped: the default \
                        route uses {}, and reverse-path filtering is strict",
                    best.interface
                ),
            )
            .fix(format!(
                "sysctl net.ipv4.conf.{name}.rp_filter=2 (and net.ipv4.conf.all.rp_filter if it is \
                    1), or policy routing by source"
            ))
            .with_evidence(
                "route",
                format!(
                    "default on {} with metric {}, on {name} with metric {}",
                    best.interface, best.metric, route.metric
                ),
            )
            .with_evidence("sysctl", format!("rp_filter of {name}: 1"))
            .on(name)
        })
        .collect()
}

pub static FIREWALL_DROPS_ICMP: HostMode = HostMode {
    text: Text {
        id: "firewall-drops-icmp",
        title: "this host's own filters drop the exchange with its gateway",
        symptoms: "Ping fails although the gateway answers; path MTU discovery fails, so transfers \
            hang on some paths.",
        cause: "A netfilter or tc rule on this host drops ICMP, inbound or outbound. ICMP carries \
            errors that IP depends on (RFC 4890 lists those that must pass).",
        proof: "The answer was seen on this host's wire and did not reach the socket; or the \
            request was accepted and never seen on the wire.",
        fix: "Accept ICMP and ICMPv6: `nft list ruleset` and `tc filter show` show the rule.",
    },
    implies: &["gateway-silent"],
    rule: |all| {
        let inbound = dropped_inbound(all, false).map(|one| (one, "dropped_inbound"));
        let outbound = all
            .probes
            .iter()
            .flatten()
            .filter(|one| one.count("dropped_outbound") > 0)
            .map(|one| (one, "dropped_outbound"));
        let refused = all
            .probes
            .iter()
            .flatten()
            .filter(|one| is_denied(one))
            .map(|one| (one, "not_sent"));
        inbound
            .chain(outbound)
            .chain(refused)
            .map(|(one, fate)| {
                let count = one.count(fate);
                let summary = match fate {
                    "dropped_inbound" => format!(
                        "the gateway {} answered, but this host dropped {count} of its answers \
                            inbound",
                        one.gateway
                    ),
                    _ => format!(
                        "this host dropped {count} of its own echo requests to the gateway {} \
                            before they were sent",
                        one.gateway
                    ),
                };
                let source = if fate == "not_sent" { "kernel" } else { "wire" };
                let first = one.first(fate);
                let observed =
                    first.and_then(|probe| probe.last_seen.clone().or(probe.errno.clone()));
                // It stops the traffic with the gateway as far as the probes show.
                let stops = one.answered() == 0 && all.is_first_gateway(one.gateway);
                FindingDraft::fault_or_warning(stops, Certainty::Consistent, summary)
                    .fix(
                        "accept ICMP and ICMPv6: `nft list ruleset` and `tc filter show dev IF` \
                            show the rule",
                    )
                    .with_evidence(source, observed.unwrap_or_else(|| fate.to_owned()))
                    .on(&one.interface)
            })
            .collect()
    },
};

pub static GATEWAY_NOT_SENT: HostMode =
    HostMode {
        text: Text {
            id: "gateway-not-sent",
            title: "the kernel refuses to send to the gateway",
            symptoms: "Nothing beyond the link is reachable; programs fail at once.",
            cause: "A rule or a route of another table forbids it (prohibit, unreachable), or the \
                interface does not accept packets.",
            proof: "The error of the send call.",
            fix: "Check `ip rule`, `ip route show table all` and the interface.",
        },
        implies: &["gateway-silent"],
        rule: |all| {
            let refused = all.probes.iter().flatten().filter(|one| {
                let first = one.first("not_sent");
                !is_denied(one) && first.is_some()
            });
            refused
                .map(|one| {
                    let errno = one.first("not_sent").and_then(|probe| probe.errno.clone());
                    // Its addresses are not ready yet or missing, which another finding reports.
                    let has_none = errno
                        .as_ref()
                        .is_some_and(|errno| errno.contains("EADDRNOTAVAIL"));
                    FindingDraft::fault_or_warning(
                    all.is_first_gateway(one.gateway) && !has_none,
                    Certainty::Proved,
                    format!(
                        "the kernel refused to send {} of {} echo requests to the gateway {} on \
                            {}",
                        one.count("not_sent"),
                        one.probes.len(),
                        one.gateway,
                        one.interface
                    ),
                )
                .fix("check `ip rule`, `ip route show table all` and the interface")
                .with_evidence("kernel", errno.unwrap_or_else(|| "no error was reported".into()))
                .on(&one.interface)
                })
                .collect()
        },
    };

/// A netfilter rule in OUTPUT makes the send fail with EPERM.
fn is_denied(one: &Probed) -> bool {
    let errno = one
        .first("not_sent")
        .and_then(|probe| probe.errno.as_deref());
    errno.is_some_and(|errno| errno.contains("EPERM"))
}

/// Returns how long ago the gateway was seen to forward a packet, if within [`FORWARDED_NS`].
fn forwarded_ago_ns(all: &HostEvidence, one: &Probed) -> Option<u64> {
    let reply = all.neighbors.as_ref().ok()?;
    let address = one.gateway.to_string();
    let entry = reply
        .kernel
        .iter()
        .find(|entry| entry.address == address && entry.interface == one.interface);
    let mac = entry.and_then(|entry| entry.mac.as_deref());
    let stations = reply.neighbors.iter().filter(|station| {
        let has_address = station.addresses.iter().any(|own| own.address == address);
        station.interface == one.interface && (has_address || mac == Some(&station.mac))
    });
    let times = stations.filter_map(|station| station.last_forwarded.as_deref());
    times
        .map(|time| all.ago_ns(time))
        .min()
        .filter(|ago_ns| *ago_ns < FORWARDED_NS)
}

pub static GATEWAY_SILENT: HostMode = HostMode {
    text: Text {
        id: "gateway-silent",
        title: "the gateway is present but does not answer echo requests",
        symptoms: "Often nothing: many routers are configured not to answer.",
        cause: "The router filters or limits ICMP; or it has no route back; or it hangs while its \
            network chip still answers ARP.",
        proof: "Never more than consistent. The gateway's MAC address is known, requests were sent, \
            and nothing came back. It is a note if the gateway was seen to forward packets in the last \
            ten minutes, otherwise a warning.",
        fix: "If hosts beyond it are reachable, nothing. Otherwise check the router.",
    },
    implies: &[],
    rule: |all| {
        all.probes
            .iter()
            .flatten()
            .filter(|one| !is_unresolved(all, one) && one.answered() == 0)
            .map(|one| {
                let refused = one.first("refused").and_then(|probe| probe.error.clone());
                let what = match &refused {
                    Some(error) => format!("refuses echo requests ({})", error.meaning),
                    None => format!("answers {}, but no echo request", resolution(one.gateway)),
                };
                let fate = if refused.is_some() {
                    "refused"
                } else {
                    "unanswered"
                };
                let forwarded_ns = forwarded_ago_ns(all, one);
                let summary = format!("the gateway {} {what}", one.gateway);
                let mut found = match forwarded_ns {
                    None => FindingDraft::warning(
                        Certainty::Consistent,
                        format!(
                            "{summary}, and nothing that it forwarded was seen in the last ten \
                                minutes: it may not work, or this host is idle"
                        ),
                    ),
                    Some(ago_ns) => FindingDraft::note(
                        Certainty::Consistent,
                        format!(
                            "{summary}: it may be configured that way, since it forwarded packets \
                                {} ago",
                            seconds(ago_ns)
                        ),
                    ),
                };
                found = found
                    .fix("nothing, if hosts beyond it are reachable; otherwise check the router")
                    .with_evidence("wire", last_seen(one, fate));
                found.on(&one.interface)
            })
            .collect()
    },
};

/// Returns the number of requests that were lost on the link or by the gateway.
fn lost(one: &Probed) -> usize {
    let fates = ["unanswered", "corrupted", "refused", "unresolved"];
    fates.iter().map(|fate| one.count(fate)).sum()
}

pub static GATEWAY_LOSS: HostMode = HostMode {
    text: Text {
        id: "gateway-loss",
        title: "packets to the gateway are lost intermittently",
        symptoms: "Everything is slow and stalls: packets are lost on the first hop.",
        cause: "A bad cable, a radio link with poor reception, a duplex mismatch, an overloaded \
            port or router.",
        proof: "Some echo requests to it were answered, and others were sent and not answered: consistent, \
            since a gateway that limits its answers does the same. Damaged answers prove it.",
        fix: "`netsonde ping -c 100 -i 0.1 GATEWAY` measures the loss; then check cable, radio and \
            port.",
    },
    implies: &[],
    rule: |all| {
        all.probes
            .iter()
            .flatten()
            .filter(|one| {
                let some = one.answered() > 0 && lost(one) > one.count("corrupted");
                some || one.count("corrupted") > 0
            })
            .map(|one| {
                let lost = lost(one);
                // A gateway that limits its answers looks the same, unless they come in damaged.
                let certainty = if one.count("corrupted") > 0 {
                    Certainty::Proved
                } else {
                    Certainty::Consistent
                };
                FindingDraft::warning(
                    certainty,
                    format!(
                        "the gateway {} answered {} of {} echo requests",
                        one.gateway,
                        one.answered(),
                        one.probes.len()
                    ),
                )
                .fix(format!(
                    "netsonde ping -c 100 -i 0.1 {} measures the loss; then check {}",
                    one.gateway,
                    medium(all, &one.interface)
                ))
                .with_evidence(
                    "wire",
                    format!("{lost} sent on {} without a valid answer", one.interface),
                )
                .on(&one.interface)
            })
            .collect()
    },
};

pub fn check_moves(all: &HostEvidence) -> CheckOutcome {
    match &all.neighbors {
        Err(why) => CheckOutcome::Skipped(why.clone()),
        Ok(_) if all.gateways().is_empty() => {
            CheckOutcome::NotApplicable("no route names a gateway".into())
        }
        Ok(reply) => {
            let moves = reply
                .findings
                .iter()
                .filter(|one| one.kind == "moved" && one.gateway);
            CheckOutcome::Done(format!(
                "{} of a gateway's MAC address recorded",
                counted(moves.count(), "change")
            ))
        }
    }
}

pub static GATEWAY_MOVED: HostMode = HostMode {
    text: Text {
        id: "gateway-moved",
        title: "the gateway's address moved to another MAC address",
        symptoms: "A short outage; or, if an attacker did it, nothing at all.",
        cause: "A standby router took over, a router was replaced, or a host impersonates the \
            gateway (ARP spoofing).",
        proof: "The gateway's address was claimed by another MAC address within the last ten \
            minutes, and the former one stopped.",
        fix: "If no router was replaced: find the new MAC address in the switch's table.",
    },
    implies: &[],
    rule: |all| {
        let Ok(reply) = &all.neighbors else {
            return vec![];
        };
        let moves = reply.findings.iter().filter(|one| {
            one.kind == "moved"
                && one.gateway
                && all.is_wanted(&one.interface)
                && all.ago_ns(&one.last) < RECENT_MOVE_NS
        });
        moves
            .take(MAX_FINDINGS)
            .map(|one| {
                let (from, to) = (one.from.as_deref(), one.to.as_deref());
                let was_announced = one.announced == Some(true);
                let summary = format!(
                    "the gateway {} on {} moved from {} to {} {} ago{}",
                    one.address,
                    one.interface,
                    from.unwrap_or("?"),
                    to.unwrap_or("?"),
                    seconds(all.ago_ns(&one.last)),
                    if was_announced {
                        ""
                    } else {
                        ", without announcing it"
                    }
                );
                // A standby router that takes over announces itself.
                let found = if was_announced {
                    FindingDraft::note(Certainty::Proved, summary)
                } else {
                    FindingDraft::warning(Certainty::Proved, summary)
                };
                found
                    .fix(
                        "if no router was replaced or took over: find that MAC address in the \
                            switch's table",
                    )
                    .with_evidence(
                        "wire",
                        format!("claims of {} by {}", one.address, to.unwrap_or("?")),
                    )
                    .on(&one.interface)
            })
            .collect()
    },
};
