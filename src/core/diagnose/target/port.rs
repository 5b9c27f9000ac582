//! PURE. Failure modes of the port: who answers, with what, and what follows.

use super::WayMode;
use super::evidence::{Outcome, PortTry, Way};
use super::local::attempt;
use super::name::milliseconds;
use super::packet::AnswerKind;
use super::path::with_hops;
use super::subject::Protocol;
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::text::counted;
use crate::wire::segment::WireError;

/// Ports of TCP whose servers speak first (RFC 959, RFC 4253, RFC 5321, RFC 1939, RFC 3501; MySQL).
pub const SPEAKS_FIRST: &[u16] = &[21, 22, 25, 110, 143, 587, 3306];
/// Time in nanoseconds from which such a server is silent: name lookups of a server take some time.
pub const SPEAKS_WITHIN_NS: u64 = 2_000_000_000;
/// Distance of two hop counts that differ for sure: both directions may have ways of different lengths.
const OTHER_DISTANCE: u8 = 1;

fn port_name(port: &PortTry) -> String {
    format!("{} port {}", port.protocol.name(), port.port)
}

/// Returns the attempt of a way that does not work.
fn failing(way: &Way) -> Option<&PortTry> {
    way.port.as_ref().filter(|_| !way.works())
}

pub static ACCEPT_QUEUE_FULL: WayMode = WayMode {
    text: Text {
        id: "accept-queue-full",
        title: "the server does not accept its connections, and their queue is full",
        symptoms: "Connections time out or hang, although the server listens.",
        cause: "The program does not call accept(2) fast enough: it hangs, or its limit of \
            connections was reached; or its backlog is too short for a burst.",
        proof: "The listening socket has more connections than its backlog (ss -lt: Recv-Q above \
            Send-Q), or TcpExtListenOverflows increased.",
        fix: "Find out why the server does not accept; a longer backlog (listen(2), \
            net.core.somaxconn) helps against bursts only.",
    },
    rule: |way| {
        let port = failing(way)?;
        let (waiting, limit) = port.queue?;
        let overflows = port.moved("ListenOverflows");
        if waiting <= limit && overflows == 0 {
            return None;
        }
        Some(
            FindingDraft::fault(
                if waiting > limit { Certainty::Proved } else { Certainty::Consistent },
                format!(
                    "the server on {} of this host does not accept its connections: {waiting} wait, \
                        its limit is {limit}",
                    port_name(port)
                ),
            )
            .fix("find out why the server does not accept(2): is it stopped, or at a limit of its own?")
            .with_evidence("socket", format!("Recv-Q {waiting}, Send-Q {limit}"))
            .with_evidence("counters", format!("TcpExtListenOverflows +{overflows}")),
        )
    },
};

pub static SYN_QUEUE_FULL: WayMode = WayMode {
    text: Text {
        id: "syn-queue-full",
        title: "the server's queue of half-open connections is full",
        symptoms: "Connections time out under a flood of SYNs.",
        cause: "More connections are being opened than net.ipv4.tcp_max_syn_backlog and the \
            server's backlog allow, and SYN cookies are off.",
        proof: "TcpExtTCPReqQFullDrop increased while the SYNs of the attempt were not answered.",
        fix: "sysctl net.ipv4.tcp_syncookies=1; find the source of the SYNs: netsonde talkers.",
    },
    rule: |way| {
        let port = failing(way)?;
        let dropped = port.moved("TCPReqQFullDrop");
        port.queue?;
        (dropped > 0).then(|| {
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "the server on {} of this host drops SYNs: its queue of half-open connections \
                        is full",
                    port_name(port)
                ),
            )
            .fix("sysctl net.ipv4.tcp_syncookies=1; netsonde talkers for the source of the SYNs")
            .with_evidence("counters", format!("TcpExtTCPReqQFullDrop +{dropped}"))
        })
    },
};

pub static SYN_COOKIES: WayMode = WayMode {
    text: Text {
        id: "syn-cookies",
        title: "the server's queue of half-open connections is full, and SYN cookies stand in",
        symptoms: "Connections open, some slowly; the kernel logs possible SYN flooding.",
        cause: "More connections are being opened than net.ipv4.tcp_max_syn_backlog and the \
            server's backlog allow: a flood of SYNs, or a backlog that is too small. Without room \
            the kernel answers with cookies, and forgets the SYN: it is not answered again if the \
            answer is lost.",
        proof: "TcpExtTCPReqQFullDoCookies increased during the attempt.",
        fix: "Find the source of the SYNs: netsonde talkers; raise the backlog of the server, \
            net.core.somaxconn and net.ipv4.tcp_max_syn_backlog.",
    },
    rule: |way| {
        let port = (way.port.as_ref()).filter(|_| way.is_local && way.works())?;
        let cookies = port.moved("TCPReqQFullDoCookies");
        (cookies > 0).then(|| {
            FindingDraft::warning(
                Certainty::Consistent,
                format!(
                    "a queue of half-open connections of this host is full, as that of the server on {} \
                        may be: the kernel answers SYNs with cookies",
                    port_name(port)
                ),
            )
            .fix("netsonde talkers for the source of the SYNs; raise the backlog of the server")
            .with_evidence("counters", format!("TcpExtTCPReqQFullDoCookies +{cookies}"))
        })
    },
};

pub static RESET_AFTER_ACCEPT: WayMode = WayMode {
    text: Text {
        id: "reset-after-accept",
        title: "the connection is accepted, and reset at once",
        symptoms: "Connection reset by peer, right after it was opened.",
        cause: "The server closes what it does not want (access list, TCP wrappers, limit, crash of \
            the program), or a proxy or load balancer has no server behind it.",
        proof: "SYN and ACK were exchanged, and an RST followed, before this host sent anything.",
        fix: "Look at the log of the server, or of the proxy in front of it.",
    },
    rule: |way| {
        let port = failing(way)?;
        if port.outcome != Outcome::Answered || !port.was_reset {
            return None;
        }
        let seen = attempt(way).map(|(_, seen)| seen);
        let after = seen
            .and_then(|seen| Some(seen.reset_ns?.saturating_sub(seen.answer.as_ref()?.time_ns)));
        let after = after.map(|ns| format!(", {} after it was accepted", milliseconds(ns)));
        let draft = FindingDraft::fault(
            Certainty::Proved,
            format!(
                "{} of {} is accepted and then reset by the other end{}",
                port_name(port),
                way.target,
                after.unwrap_or_default()
            ),
        )
        .fix("look at the log and the limits of the server, or of the proxy in front of it");
        Some(match seen {
            Some(seen) if seen.reset_ns.is_some() => {
                draft.with_evidence("wire", "SYN and ACK received, then RST")
            }
            _ => draft.with_evidence("socket", "ECONNRESET"),
        })
    },
};

pub static SERVER_SILENT: WayMode = WayMode {
    text: Text {
        id: "accepted-then-silent",
        title: "the connection is accepted, and the server says nothing",
        symptoms: "A client hangs right after the connection was opened.",
        cause: "The kernel or a proxy accepts, and the program behind it hangs or is overloaded; or \
            it looks up this host's name first, and its name server is silent.",
        proof: "SYN and ACK were exchanged, and no data followed, on a port whose servers speak \
            first.",
        fix: "Look at the server's program: does it run, does it wait for a name server?",
    },
    rule: |way| {
        let port = way.port.as_ref()?;
        let is_it = port.outcome == Outcome::Answered
            && port.protocol == Protocol::Tcp
            && !port.was_reset
            && SPEAKS_FIRST.contains(&port.port)
            && port.received_bytes == 0
            && port.watched_ns >= SPEAKS_WITHIN_NS;
        is_it.then(|| {
            let watched = milliseconds(port.watched_ns);
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} of {} is accepted, and its server says nothing for {watched}, although \
                        servers of this port speak first",
                    port_name(port),
                    way.target
                ),
            )
            .fix("look at the program of the server: does it hang, does it wait for a name server?")
            .with_evidence(
                "wire",
                format!("SYN and ACK received, no data for {watched}"),
            )
        })
    },
};

fn error_words(error: &WireError) -> String {
    format!(
        "{} (type {}, code {}) from {}",
        error.meaning, error.kind, error.code, error.from
    )
}

pub static PROHIBITED: WayMode = WayMode {
    text: Text {
        id: "port-prohibited",
        title: "a firewall rejects the port, and says so",
        symptoms: "No route to host or permission denied for one port, while others work.",
        cause: "A rule of a router, or of the target, rejects packets for this port with an ICMP \
            error.",
        proof: "An ICMP error about the packet for the port, with its sender; or echo requests pass, \
            and the packet for the port is refused by a router.",
        fix: "Change the rules of the sender of the error, or ask whoever runs it.",
    },
    rule: |way| {
        let port = failing(way)?;
        let (_, seen) = attempt(way)?;
        let target = way.address();
        let is_it = |error: &&WireError| {
            let is_other = !error.is_port() || Some(error.from) != target;
            error.is_prohibited() || (is_other && way.answers_echo())
        };
        let error = seen.errors.iter().find(is_it)?;
        let from = match Some(error.from) == target {
            true => format!("the target {}", error.from),
            false => error.from.to_string(),
        };
        let draft = FindingDraft::fault(
            Certainty::Proved,
            format!(
                "{from} rejects packets for {} of {}: {}",
                port_name(port),
                way.target,
                error.meaning
            ),
        )
        .fix(format!(
            "change the firewall rules of {}, or ask whoever runs it",
            error.from
        ))
        .with_evidence("wire", error_words(error));
        Some(with_hops(draft, way))
    },
};

pub static CLOSED: WayMode = WayMode {
    text: Text {
        id: "port-closed",
        title: "nothing listens on the port",
        symptoms: "Connection refused.",
        cause: "The server does not run, listens on another port or address (127.0.0.1 only), or a \
            firewall rejects with an RST, which looks the same.",
        proof: "The target answered the SYN with an RST, or the datagram with \"port unreachable\".",
        fix: "On the target: ss -ltnp (or -lunp); start the server, or let it listen on this address.",
    },
    rule: |way| {
        let port = failing(way)?;
        let seen = port.seen.as_ref().ok();
        let target = way.address();
        let answer = seen.and_then(|seen| seen.answer.as_ref());
        let reset = answer.filter(|answer| answer.kind == AnswerKind::Reset);
        let errors = seen.map(|seen| seen.errors.as_slice()).unwrap_or_default();
        let error = errors
            .iter()
            .find(|error| error.is_port() && Some(error.from) == target);
        let is_refused_here =
            way.is_local && port.outcome == Outcome::Failed("ECONNREFUSED".into());
        if reset.is_none() && error.is_none() && !is_refused_here {
            return None;
        }
        let listing = if port.protocol == Protocol::Tcp {
            "-ltnp"
        } else {
            "-lunp"
        };
        let whose = if way.is_local {
            "this host"
        } else {
            way.target.as_str()
        };
        // A firewall in front of the target answers from nearer by.
        let echo_ttl = way.echo("replied").and_then(|probe| probe.ttl);
        let nearer = reset
            .zip(echo_ttl)
            .map(|(reset, echo)| i16::from(reset.ttl) - i16::from(echo))
            .filter(|distance| distance.unsigned_abs() >= u16::from(OTHER_DISTANCE));
        let how = match (reset, error) {
            (Some(_), _) => "the SYN is answered by an RST".to_owned(),
            (None, Some(_)) => "the packet is answered by \"port unreachable\"".to_owned(),
            (None, None) => "connection refused".to_owned(),
        };
        let mut draft = FindingDraft::fault(
            Certainty::Proved,
            format!("nothing listens on {} of {whose}: {how}", port_name(port)),
        )
        .fix(format!(
            "on the target: ss {listing}; start the server, or let it listen on {}",
            way.target
        ));
        if let Some(reset) = reset {
            draft = draft.with_evidence(
                "wire",
                format!(
                    "RST received on {} with TTL {}, {} after the SYN",
                    reset.interface,
                    reset.ttl,
                    milliseconds(
                        seen.and_then(super::packet::PortSeen::answered_in_ns)
                            .unwrap_or(0)
                    )
                ),
            );
        }
        if let Some(error) = error {
            draft = draft.with_evidence("wire", error_words(error));
        }
        if let (Some(distance), Some(echo)) = (nearer, echo_ttl) {
            draft = draft.with_evidence(
                "wire",
                format!(
                    "its TTL differs by {} from that of echo replies ({echo}): consistent with a \
                        firewall in front of the target that answers for it",
                    distance.unsigned_abs()
                ),
            );
        }
        Some(draft)
    },
};

pub static FILTERED: WayMode = WayMode {
    text: Text {
        id: "port-filtered",
        title: "the host answers, the port does not",
        symptoms: "The connection times out, while ping works.",
        cause: "A firewall of the target or on the way drops packets for this port silently; or the \
            server's queue is full.",
        proof: "Packets for the port left this host, nothing came back, and echo requests to the same \
            address are answered.",
        fix: "Look at the firewalls of the target and in front of it.",
    },
    rule: |way| {
        let port = failing(way)?;
        let (_, seen) = attempt(way)?;
        if !seen.is_silent() || !way.answers_echo() || port.protocol == Protocol::Udp {
            return None;
        }
        let on = seen.sent_on.as_deref().unwrap_or("an interface");
        let (reached, fix) = syns_reached(way);
        let draft = FindingDraft::fault(
            Certainty::Consistent,
            format!(
                "{} answers echo requests, but nothing comes back from {}: a firewall drops it silently{reached}",
                way.target,
                port_name(port)
            ),
        )
        .fix(fix)
        .with_evidence(
            "wire",
            format!(
                "{} left on {on}, no answer within {}",
                counted(seen.sent, "SYN"),
                milliseconds(port.took_ns)
            ),
        )
        .with_evidence("wire", format!("echo: {}", super::local::echo_words(way)));
        Some(with_hops(draft, way))
    },
};

/// Returns how far SYNs came by the routers that answered them, and where to look. A router answers a packet whose TTL ends
/// there before it looks whether it would let it pass.
fn syns_reached(way: &Way) -> (String, String) {
    let everywhere =
        "look at the firewall of the target, and of the routers in front of it".to_owned();
    let all = way.syn_hops.iter().zip(1u8..);
    let reached = all.filter_map(|(probe, ttl)| {
        let error = probe.error.as_ref().filter(|error| way.is_expired(error))?;
        Some((ttl, error.from.as_str()))
    });
    let Some((ttl, router)) = reached.last() else {
        return (String::new(), everywhere);
    };
    let next = way.routers().find(|(next, ..)| *next > ttl);
    match next {
        Some((next, address, _)) => (
            format!(
                "; SYNs reach {router} (hop {ttl}), and none is answered by {address} (hop {next}), which answers \
                 echo requests"
            ),
            format!("look at the firewalls of {router} and {address}, and between them"),
        ),
        None => (
            format!("; SYNs reach {router} (hop {ttl}), the last router that answers"),
            format!("look at the firewall of the target, of {router}, and between them"),
        ),
    }
}

/// Describes the attempt in a few words.
pub(super) fn port_words(port: &PortTry) -> String {
    let took = milliseconds(port.took_ns);
    let name = port_name(port);
    let seen = port.seen.as_ref().ok();
    let on_wire = seen.and_then(super::packet::PortSeen::answered_in_ns);
    let outcome = match &port.outcome {
        Outcome::Answered if port.was_reset => format!("{name}: accepted, then reset"),
        Outcome::Answered => match on_wire {
            Some(ns) => format!("{name}: answered in {} on the wire", milliseconds(ns)),
            None => format!("{name}: answered in {took}"),
        },
        Outcome::Failed(errno) => format!("{name}: {errno} after {took}"),
        Outcome::Silent => format!("{name}: no answer within {took}"),
    };
    // No fault by itself; but firewalls on the two ways each see a half of the connection.
    match seen.and_then(|seen| Some((seen.other_way_back()?, seen.sent_on.as_ref()?))) {
        Some((back, out)) => format!("{outcome}; the answer came in on {back}, not on {out}"),
        None => outcome,
    }
}
