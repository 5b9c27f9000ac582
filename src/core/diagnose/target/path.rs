//! PURE. Failure modes of the path: what routers report, where answers end, lengths that do not pass.

use super::WayMode;
use super::evidence::Way;
use super::local::{attempt, last_seen};
use super::name::milliseconds;
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::protocol::ping::{IcmpError, Probe};
use crate::text::{counted, listed};

/// Returns an error that a probe caused on a way that fails, and that is of a kind: type and code, IPv4 or not.
fn refused<'a>(way: &'a Way, is_it: impl Fn(bool, u8, u8) -> bool) -> Option<&'a IcmpError> {
    let of_probe = |probe: &'a Probe| {
        let error = probe.error.as_ref()?;
        is_it(way.is_ipv4, error.kind, error.code).then_some(error)
    };
    // An answer of the port says more than the echo.
    let is_answered = attempt(way).is_some_and(|(_, seen)| seen.answer.is_some());
    let is_open = !way.works() && !is_answered;
    way.echoes().find_map(of_probe).filter(|_| is_open)
}

/// Adds the routers on the way as evidence.
pub(super) fn with_hops(draft: FindingDraft, way: &Way) -> FindingDraft {
    if way.hops.is_empty() {
        return draft;
    }
    let mut words = Vec::new();
    for (probe, ttl) in way.hops.iter().zip(1u8..) {
        match (&probe.error, probe.fate.as_str()) {
            (Some(error), _) if way.is_expired(error) => {
                words.push(format!("{ttl} {}", error.from))
            }
            (None, "replied" | "late") => {
                words.push(format!("{ttl} {} (target)", way.target));
                break;
            }
            _ => words.push(format!("{ttl} *")),
        }
    }
    // Nothing behind the last one that answered.
    let end = words.iter().rposition(|word| !word.ends_with('*'));
    words.truncate(end.map_or(1, |end| end + 2));
    /// Enough to see a circle twice.
    const MAX: usize = 12;
    let more = words.len().saturating_sub(MAX);
    words.truncate(MAX);
    if more > 0 {
        words.push(format!("{more} more"));
    }
    let all = listed(words.iter().map(String::as_str));
    draft.with_evidence("path", format!("hops by TTL: {all}"))
}

fn reported(way: &Way, error: &IcmpError, what: String, fix: String) -> FindingDraft {
    let draft = FindingDraft::fault(Certainty::Proved, what)
        .fix(fix)
        .with_evidence(
            "wire",
            format!(
                "{} (type {}, code {}) from {}",
                error.meaning, error.kind, error.code, error.from
            ),
        );
    with_hops(draft, way)
}

/// Returns a router with its hop, if that is known: the first TTL at which it answered, if others answered at all
/// before.
fn hop_of(way: &Way, address: &str) -> String {
    let from = |probe: &Probe| probe.error.as_ref().map(|error| error.from.clone());
    let answered = way.hops.iter().map_while(from);
    let hop = answered.zip(1u8..).find(|(from, _)| from == address);
    match hop {
        Some((_, ttl)) => format!("{address} (hop {ttl})"),
        None => address.to_owned(),
    }
}

pub static ROUTING_LOOP: WayMode = WayMode {
    text: Text {
        id: "routing-loop",
        title: "routers send the packets in a circle",
        symptoms: "Time exceeded as the answer to ping, timeouts for everything else.",
        cause: "Two or more routers take each other for the next hop to the target's network, \
            often a static route or default route against a network that is not there.",
        proof: "A packet with a full TTL expired on the way, and routers repeat by TTL.",
        fix: "Correct the routes of the routers that repeat; give the edge router a blackhole route \
            for networks that are its own.",
    },
    rule: |way| {
        let error = refused(way, |is_ipv4, kind, code| {
            kind == if is_ipv4 { 11 } else { 3 } && code == 0
        })?;
        let mut seen: Vec<&str> = Vec::new();
        let mut circle: Vec<&str> = Vec::new();
        for (_, address, _) in way.routers() {
            if seen.contains(&address) && !circle.contains(&address) {
                circle.push(address);
            }
            seen.push(address);
        }
        let between = match circle.len() {
            0 => format!("it expired at {}", error.from),
            1 => format!("{} gets it again and again", circle[0]),
            _ => format!("between {}", listed(circle.iter().copied())),
        };
        Some(reported(
            way,
            error,
            format!("packets to {} go in a circle: {between}", way.target),
            "correct the routes of these routers".into(),
        ))
    },
};

pub static PROHIBITED_BY_ROUTER: WayMode = WayMode {
    text: Text {
        id: "prohibited-by-router",
        title: "a router on the way prohibits the packets",
        symptoms: "Packet filtered, or communication administratively prohibited.",
        cause: "A firewall or access list rejects packets to the target.",
        proof: "An ICMP error \"prohibited\", with its sender.",
        fix: "Ask whoever runs the router; if it is yours, nft list ruleset there.",
    },
    rule: |way| {
        let error = refused(way, |is_ipv4, kind, code| match is_ipv4 {
            true => kind == 3 && matches!(code, 9 | 10 | 13),
            false => kind == 1 && matches!(code, 1 | 5 | 6),
        })?;
        let hop = hop_of(way, &error.from);
        Some(reported(
            way,
            error,
            format!(
                "{hop} prohibits packets to {}: {}",
                way.target, error.meaning
            ),
            format!("change the rules of {}, or ask whoever runs it", error.from),
        ))
    },
};

pub static NO_ROUTE_AT_ROUTER: WayMode = WayMode {
    text: Text {
        id: "no-route-at-router",
        title: "a router on the way has no route to the target",
        symptoms: "Destination net unreachable.",
        cause: "The router lost its uplink or a routing protocol, or has an unreachable route for \
            the network.",
        proof: "An ICMP error \"network unreachable\" or \"no route\", with its sender.",
        fix: "Look at the routes of that router.",
    },
    rule: |way| {
        let error = refused(way, |is_ipv4, kind, code| match is_ipv4 {
            true => kind == 3 && matches!(code, 0 | 6 | 11),
            false => kind == 1 && matches!(code, 0 | 2),
        })?;
        let hop = hop_of(way, &error.from);
        Some(reported(
            way,
            error,
            format!("{hop} has no route to {}: {}", way.target, error.meaning),
            format!(
                "look at the routes of {}: ip route get {}",
                error.from, way.target
            ),
        ))
    },
};

pub static TARGET_UNRESOLVED: WayMode = WayMode {
    text: Text {
        id: "target-unresolved-at-router",
        title: "the last router finds no host with the target's address",
        symptoms: "Destination host unreachable, after about three seconds.",
        cause: "The target is off, has another address, or is on another link than the router \
            believes.",
        proof: "An ICMP error \"host unreachable\" or \"address unreachable\", with its sender.",
        fix: "Check that the target is on, and its address; on the router, ip neigh.",
    },
    rule: |way| {
        let error = refused(way, |is_ipv4, kind, code| match is_ipv4 {
            true => kind == 3 && matches!(code, 1 | 7 | 12),
            false => kind == 1 && code == 3,
        })?;
        let hop = hop_of(way, &error.from);
        Some(reported(
            way,
            error,
            format!(
                "{hop} reports {} for {}: no host answers there with this address",
                error.meaning, way.target
            ),
            format!("check that {} is on, and its address", way.target),
        ))
    },
};

/// Returns whether nothing came back: neither to the echo requests, nor to the attempt to reach the port.
fn is_silent(way: &Way) -> bool {
    let is_answered =
        attempt(way).is_some_and(|(_, seen)| seen.answer.is_some() || !seen.errors.is_empty());
    !way.works() && !is_answered && way.echo("unanswered").is_some() && !way.answers_echo()
}

pub static PATH_ENDS: WayMode = WayMode {
    text: Text {
        id: "path-ends",
        title: "nothing answers behind a router on the way",
        symptoms: "Timeouts; a trace ends in stars.",
        cause: "The link or router behind the last one that answers is broken, a firewall there drops \
            silently, the target is off, or its answers do not find the way back.",
        proof: "Routers up to a hop answer packets whose TTL ends there, and nothing answers packets \
            that go farther.",
        fix: "Look at the last router that answers, and what is behind it.",
    },
    rule: |way| {
        // A router may also answer for what is behind it, as if it were on the link (proxy ARP).
        let last = way.routers().last().filter(|_| is_silent(way));
        let router = way.router.filter(|_| is_silent(way));
        let what = match (last, router) {
            (Some((ttl, address, _)), _) => format!(
                "nothing answers behind {address} (hop {ttl}) on the way to {}",
                way.target
            ),
            (None, None) => return None,
            (None, Some(router)) => format!(
                "nothing on the way to {} answers, not even the router {router}, which is on the \
                    link",
                way.target
            ),
        };
        let fix = match (last, router) {
            (Some((_, address, _)), _) => format!("look at {address}, and at what is behind it"),
            (None, Some(router)) => format!("look at {router}: does it forward?"),
            (None, None) => return None,
        };
        let draft = FindingDraft::fault(Certainty::Consistent, what).fix(fix);
        let probe = way.echo("unanswered")?;
        Some(with_hops(draft, way).with_evidence("wire", last_seen(probe)))
    },
};

pub static TARGET_SILENT: WayMode = WayMode {
    text: Text {
        id: "target-silent",
        title: "the target is on the link and does not answer",
        symptoms: "Timeouts, while ip neigh shows the target as REACHABLE.",
        cause: "A firewall of the target drops the packets, it has no way back to this host, or it \
            hangs.",
        proof: "The target resolves on the link, packets left this host, and nothing came back.",
        fix: "Look at the target's firewall and routes.",
    },
    rule: |way| {
        let probe = way
            .echo("unanswered")
            .filter(|_| is_silent(way) && way.router.is_none())?;
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} is on the link and does not answer: its firewall drops the packets, or it \
                        has no way back",
                    way.target
                ),
            )
            .fix(format!(
                "look at the firewall and the routes of {}",
                way.target
            ))
            .with_evidence("wire", last_seen(probe)),
        )
    },
};

pub static NOT_SENT: WayMode = WayMode {
    text: Text {
        id: "not-sent",
        title: "this host cannot send to the target",
        symptoms: "An error of the send call.",
        cause: "As the error says: a buffer or queue is full, or a limit was reached.",
        proof: "The error of the send call.",
        fix: "Look at netsonde drops, and at the queue of the interface (tc -s qdisc).",
    },
    rule: |way| {
        let probe = way.echo("not_sent").filter(|_| !way.works())?;
        let is_answered = attempt(way).is_some_and(|(_, seen)| seen.sent > 0);
        (!is_answered).then(|| {
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "this host cannot send to {}: {}",
                    way.target,
                    last_seen(probe)
                ),
            )
            .fix("netsonde drops; tc -s qdisc")
            .with_evidence("kernel", last_seen(probe))
        })
    },
};

pub static MTU_BLACK_HOLE: WayMode = WayMode {
    text: Text {
        id: "mtu-black-hole",
        title: "large packets vanish on the way, and no router says so",
        symptoms: "Connections open and then hang; ssh stops after the key exchange, web pages load \
            in part. Small packets pass.",
        cause: "A link on the way carries shorter packets (tunnel, PPPoE, VPN), and the error that \
            would tell is not sent or is filtered (RFC 2923).",
        proof: "Small echo requests are answered, those as long as the MTU with DF set are not, and \
            no router reported an MTU.",
        fix: "Let ICMP \"fragmentation needed\" and \"packet too big\" pass; or clamp the MSS \
            (nft: tcp option maxseg size set rt mtu); or lower the MTU of the route.",
    },
    rule: |way| {
        let (large, count) = (way.large.iter(), way.large.len());
        let lost = large
            .clone()
            .filter(|probe| probe.fate == "unanswered")
            .count();
        let is_small_answered = way.echoes().all(|probe| probe.fate == "replied");
        if count < 2 || lost < count || !is_small_answered || !way.answers_echo() {
            return None;
        }
        let bytes = way.large_bytes;
        let from = match way.routers().find(|(ttl, ..)| *ttl > way.large_hops) {
            _ if way.hops.is_empty() => String::new(),
            Some((ttl, address, _)) => format!(
                ": they reach hop {}, and nothing of them comes back from {address} (hop {ttl}) on",
                way.large_hops
            ),
            None => format!(": they pass all routers up to hop {}", way.large_hops),
        };
        let draft = FindingDraft::fault(
            Certainty::Consistent,
            format!(
                "packets of {bytes} bytes to {} vanish, small ones pass{from}",
                way.target
            ),
        )
        .fix(
            "let ICMP \"fragmentation needed\" and \"packet too big\" pass, clamp the MSS, or lower \
                the MTU of the route (ip route ... mtu 1400)",
        )
        .with_evidence(
            "wire",
            format!(
                "{} of {bytes} bytes with DF unanswered, {} of 84 bytes answered, no router \
                    reported an MTU",
                counted(lost as u64, "echo request"),
                way.echoes().count()
            ),
        );
        Some(with_hops(draft, way))
    },
};

pub static TARGET_LOSS: WayMode = WayMode {
    text: Text {
        id: "target-loss",
        title: "some packets to the target are lost",
        symptoms: "Slow transfers, choppy calls.",
        cause: "A link on the way is overloaded or damaged, or the target limits what it answers.",
        proof: "Some of several echo requests were not answered.",
        fix: "netsonde ping -i 0.2 TARGET for longer; trace to find the hop.",
    },
    rule: |way| {
        let total = way.echoes().count();
        let answered = way
            .echoes()
            .filter(|probe| matches!(probe.fate.as_str(), "replied" | "late"))
            .count();
        let probe = way
            .echoes()
            .find(|probe| !matches!(probe.fate.as_str(), "replied" | "late"))?;
        (answered > 0 && way.works()).then(|| {
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "{answered} of {total} echo requests to {} were answered",
                    way.target
                ),
            )
            .fix(format!("netsonde ping -c 100 -i 0.1 {}", way.target))
            .with_evidence("wire", last_seen(probe))
        })
    },
};

/// Describes the path in a few words.
pub(super) fn path_words(way: &Way) -> Option<String> {
    if way.hops.is_empty() {
        return None;
    }
    let routers: Vec<String> = way
        .routers()
        .map(|(ttl, address, rtt)| match rtt {
            Some(rtt) => format!("{ttl} {address} {}", milliseconds(rtt)),
            None => format!("{ttl} {address}"),
        })
        .collect();
    Some(match routers.len() {
        0 => "no router answered".into(),
        _ => routers.join(", "),
    })
}
