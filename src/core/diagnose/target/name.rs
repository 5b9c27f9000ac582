//! PURE. Failure modes of the name: what the resolver asked, and what it was told.

use super::dns::Exchange;
use super::evidence::{Lookup, TargetEvidence};
use super::{NameMode, TargetEvidence as All};
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::text::{counted, listed};
use crate::wire::dns_code_name;

/// Time in nanoseconds from which a lookup is slow: people notice a second, and one lost query costs five.
const SLOW_NS: u64 = 1_000_000_000;

fn failed(all: &All) -> Option<&Lookup> {
    let lookup = all.lookup.as_ref()?;
    lookup.found.is_err().then_some(lookup)
}

/// Describes an exchange.
fn asked(exchange: &Exchange) -> String {
    let question = format!("{} {}", exchange.kind_name(), exchange.question);
    let queries = counted(exchange.queries, "query");
    match (&exchange.answer, &exchange.error) {
        (Some(answer), _) => format!(
            "{question}: {} answered {} with {} after {}",
            exchange.server,
            dns_code_name(answer.code),
            counted(u64::from(answer.answers), "record"),
            milliseconds(exchange.took_ns().unwrap_or(0))
        ),
        (None, Some((from, meaning))) => {
            format!(
                "{question}: {queries} to {}: {meaning}, from {from}",
                exchange.server
            )
        }
        (None, None) => format!("{question}: {queries} to {}, no answer", exchange.server),
    }
}

pub(super) fn milliseconds(ns: u64) -> String {
    match ns {
        ns if ns >= 10_000_000_000 => format!("{} s", ns / 1_000_000_000),
        ns if ns >= 1_000_000_000 => format!("{:.1} s", ns as f64 / 1e9),
        ns if ns >= 10_000_000 => format!("{} ms", ns / 1_000_000),
        ns => format!("{:.2} ms", ns as f64 / 1e6),
    }
}

/// Adds all exchanges as evidence.
fn with_exchanges<'a>(
    mut draft: FindingDraft,
    exchanges: impl Iterator<Item = &'a Exchange>,
) -> FindingDraft {
    /// Enough for the names of a search list.
    const MAX: usize = 8;
    for exchange in exchanges.take(MAX) {
        draft = draft.with_evidence("wire", asked(exchange));
    }
    draft
}

/// Servers that match, each once.
fn servers<'a>(lookup: &'a Lookup, is_it: impl Fn(&Exchange) -> bool + 'a) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for exchange in lookup.seen().iter().filter(|exchange| is_it(exchange)) {
        let server = exchange.server.to_string();
        if !all.contains(&server) {
            all.push(server);
        }
    }
    all
}

fn is_silent(exchange: &Exchange) -> bool {
    exchange.answer.is_none() && exchange.error.is_none() && exchange.from_other.is_none()
}

/// Returns the servers of which no question was answered.
fn silent_servers(lookup: &Lookup) -> Vec<String> {
    let answers = servers(lookup, |exchange| !is_silent(exchange));
    let mut silent = servers(lookup, is_silent);
    silent.retain(|server| !answers.contains(server));
    silent
}

pub static SERVERS_MISSING: NameMode = NameMode {
    text: Text {
        id: "name-servers-missing",
        title: "no name server is configured",
        symptoms: "No name can be resolved, addresses work.",
        cause: "resolv.conf(5) has no nameserver line, or does not exist, and no resolver runs on \
            this host.",
        proof: "The lookup failed, resolv.conf has no server, and no question went to another than \
            this host, which the resolver asks then.",
        fix: "Enter a name server, or start what manages resolv.conf (DHCP client, \
            NetworkManager, systemd-resolved).",
    },
    rule: |all| {
        let lookup = failed(all)?;
        // Without a server the resolver asks one on this host (resolv.conf(5)), and here none answers.
        let is_vain =
            |exchange: &Exchange| exchange.server.is_loopback() && exchange.answer.is_none();
        let is_it = lookup.servers.is_empty() && lookup.seen().iter().all(is_vain);
        is_it.then(|| {
            FindingDraft::fault(
                Certainty::Consistent,
                format!(
                    "{} cannot be resolved: /etc/resolv.conf names no server",
                    all.subject.host()
                ),
            )
            .fix("add a nameserver line to /etc/resolv.conf, or start what manages it")
            .with_evidence("resolver", words(lookup))
        })
    },
};

fn words(lookup: &Lookup) -> String {
    let took = milliseconds(lookup.took_ns);
    match &lookup.found {
        Err(why) => format!("{why}, after {took}"),
        Ok(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            format!("{} after {took}", listed(found.iter().map(String::as_str)))
        }
    }
}

pub static WRONG_SOURCE: NameMode = NameMode {
    text: Text {
        id: "name-answer-from-other",
        title: "the name server answers from another address",
        symptoms: "Names are not resolved, or only after seconds, although the server answers.",
        cause: "The answer comes from another address than the one that was asked: a server with \
            several addresses that answers from the wrong one, or an address translation on the \
            way back that is missing. The resolver discards such answers, as it must.",
        proof: "An answer with the identifier and port of the question came from another \
            address, and none from the server.",
        fix: "Make the server answer from the address that was asked (a listening address for \
            each, not 0.0.0.0), or mend the address translation.",
    },
    rule: |all| {
        let lookup = all.lookup.as_ref()?;
        let is_it =
            |exchange: &Exchange| exchange.answer.is_none() && exchange.from_other.is_some();
        let exchange = lookup.seen().iter().find(|exchange| is_it(exchange))?;
        let other = exchange.from_other.as_ref()?;
        let works = lookup.found.is_ok();
        Some(with_exchanges(
            FindingDraft::fault_or_warning(
                !works,
                Certainty::Proved,
                format!(
                    "name server {} was asked for {}, and {} answered: the resolver discards \
                        answers from another address",
                    exchange.server, exchange.question, other.from
                ),
            )
            .fix(format!("make the server answer from {}", exchange.server))
            .with_evidence("resolver", words(lookup)),
            lookup.seen().iter(),
        ))
    },
};

pub static SERVER_UNREACHABLE: NameMode = NameMode {
    text: Text {
        id: "name-server-unreachable",
        title: "a name server cannot be reached",
        symptoms: "Names are not resolved, or only after a while.",
        cause: "A router, a firewall or the server's host reports that the question cannot be \
            delivered: nothing listens on port 53, or there is no route, or it is prohibited.",
        proof: "An ICMP error about the question, with its sender; or the resolver waited for a \
            server to which no question left this host.",
        fix: "Correct the server in resolv.conf(5), start the server, or mend the way to it: \
            netsonde doctor SERVER:53/udp.",
    },
    rule: |all| {
        let lookup = all.lookup.as_ref()?;
        let is_it = |exchange: &Exchange| exchange.error.is_some() && exchange.answer.is_none();
        let Some(exchange) = lookup.seen().iter().find(|exchange| is_it(exchange)) else {
            return not_asked(lookup);
        };
        let (from, meaning) = exchange.error.as_ref()?;
        Some(with_exchanges(
            FindingDraft::fault_or_warning(
                lookup.found.is_err(),
                Certainty::Proved,
                format!(
                    "name server {} cannot be reached: {meaning}, reported by {from}",
                    exchange.server
                ),
            )
            .fix(format!(
                "netsonde doctor {}:53/udp; correct /etc/resolv.conf if this is no name server",
                exchange.server
            ))
            .with_evidence("resolver", words(lookup)),
            lookup.seen().iter(),
        ))
    },
};

/// The resolver waited for a server of resolv.conf to which no question left this host.
fn not_asked(lookup: &Lookup) -> Option<FindingDraft> {
    let was_asked = |server: &str| {
        let mut all = lookup.seen().iter();
        all.any(|exchange| exchange.server.to_string() == server)
    };
    // Those behind the first one that answered are not asked at all.
    let answered = lookup.servers.iter().position(|server| was_asked(server));
    let before = &lookup.servers[..answered.unwrap_or(lookup.servers.len())];
    let server = before.first()?;
    if lookup.exchanges.is_err() || lookup.took_ns < SLOW_NS {
        return None;
    }
    Some(with_exchanges(
        FindingDraft::fault_or_warning(
            lookup.found.is_err(),
            Certainty::Consistent,
            format!(
                "the resolver waited for name server {server}, and no question to it left this \
                    host: its next hop does not answer, or a rule of this host drops it"
            ),
        )
        .fix(format!(
            "netsonde doctor {server}:53/udp; correct /etc/resolv.conf"
        ))
        .with_evidence("resolver", words(lookup)),
        lookup.seen().iter(),
    ))
}

pub static SERVER_SILENT: NameMode = NameMode {
    text: Text {
        id: "name-server-silent",
        title: "a name server does not answer",
        symptoms: "Every lookup takes five seconds or longer, or fails.",
        cause: "The server is down, the way to it is broken, or a firewall drops port 53. The \
            resolver waits five seconds before it asks the next server (resolv.conf(5)).",
        proof: "Questions left this host, and no answer of that server was received.",
        fix: "netsonde doctor SERVER:53/udp; put a server that answers first in resolv.conf.",
    },
    rule: |all| {
        let lookup = all.lookup.as_ref()?;
        let silent = silent_servers(lookup);
        let server = silent.first()?;
        let fails = lookup.found.is_err();
        // One lost query of a resolver that asks several at once costs nothing.
        if !fails && lookup.took_ns < SLOW_NS {
            return None;
        }
        let effect = match &lookup.found {
            Ok(_) => format!(
                "the lookup of {} took {}",
                all.subject.host(),
                milliseconds(lookup.took_ns)
            ),
            Err(_) => format!("{} cannot be resolved", all.subject.host()),
        };
        let servers = match silent.len() {
            1 => format!("name server {server} does not answer"),
            _ => format!(
                "name servers {} do not answer",
                listed(silent.iter().map(String::as_str))
            ),
        };
        Some(with_exchanges(
            FindingDraft::fault_or_warning(
                fails,
                Certainty::Consistent,
                format!("{servers}: {effect}"),
            )
            .fix(format!(
                "netsonde doctor {server}:53/udp; or name another server first in \
                    /etc/resolv.conf"
            ))
            .with_evidence("resolver", words(lookup)),
            lookup.seen().iter(),
        ))
    },
};

/// An answer with this code, if the lookup failed.
fn answered(all: &All, is_it: impl Fn(u8) -> bool) -> Option<(&Lookup, &Exchange, u8)> {
    let lookup = failed(all)?;
    lookup.seen().iter().find_map(|exchange| {
        let code = exchange.answer.as_ref()?.code;
        is_it(code).then_some((lookup, exchange, code))
    })
}

pub static SERVER_FAILED: NameMode = NameMode {
    text: Text {
        id: "name-server-failed",
        title: "the name server reports a failure of its own",
        symptoms: "A name is not resolved, others are.",
        cause: "The server could not get the answer: the servers of the domain do not answer it, \
            or its signature is wrong (DNSSEC), or it is misconfigured.",
        proof: "The answer has the code SERVFAIL (2).",
        fix: "Ask another server; look at the domain's own servers, and at the log of this one.",
    },
    rule: |all| {
        let (lookup, exchange, _) = answered(all, |code| code == 2)?;
        let others = servers(lookup, |other| other.server != exchange.server);
        Some(with_exchanges(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "name server {} answers SERVFAIL for {}: it could not get the answer itself",
                    exchange.server, exchange.question
                ),
            )
            .fix(match others.first() {
                Some(other) => format!(
                    "{other} was asked, too; look at the log of {}",
                    exchange.server
                ),
                None => {
                    "ask another server for it; look at the domain's servers, and at DNSSEC".into()
                }
            })
            .with_evidence("resolver", words(lookup)),
            lookup.seen().iter(),
        ))
    },
};

pub static SERVER_REFUSED: NameMode = NameMode {
    text: Text {
        id: "name-server-refused",
        title: "the name server refuses to answer this host",
        symptoms: "No name is resolved.",
        cause: "The server does not serve this host (an access list), or no such domain, or does \
            not implement the question.",
        proof: "The answer has the code REFUSED (5), NOTIMP (4) or FORMERR (1).",
        fix: "Allow this host's network on the server, or use a server that is for it.",
    },
    rule: |all| {
        let (lookup, exchange, code) = answered(all, |code| matches!(code, 1 | 4 | 5))?;
        Some(with_exchanges(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "name server {} answers {} for {}",
                    exchange.server,
                    dns_code_name(code),
                    exchange.question
                ),
            )
            .fix("use a name server that serves this host, or allow this host on the server")
            .with_evidence("resolver", words(lookup)),
            lookup.seen().iter(),
        ))
    },
};

pub static NOT_FOUND: NameMode = NameMode {
    text: Text {
        id: "name-not-found",
        title: "there is no such name",
        symptoms: "A name is not resolved.",
        cause: "The name is misspelled, its domain has expired, or it exists only in another \
            network (split DNS, VPN).",
        proof: "A server answered NXDOMAIN (3) for the name itself and, if there are search \
            domains, with each of them.",
        fix: "Check the spelling; if the name is internal, ask the internal server.",
    },
    rule: |all| {
        let (lookup, exchange, _) = answered(all, |code| code == 3)?;
        let mut names: Vec<&str> = Vec::new();
        for exchange in lookup.seen() {
            if !names.contains(&exchange.question.as_str()) {
                names.push(&exchange.question);
            }
        }
        Some(with_exchanges(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "there is no name {}: {} answers NXDOMAIN (asked for {})",
                    all.subject.host(),
                    exchange.server,
                    listed(names)
                ),
            )
            .fix("check the spelling; if the name is internal, ask the internal name server")
            .with_evidence("resolver", words(lookup)),
            lookup.seen().iter(),
        ))
    },
};

pub static WITHOUT_ADDRESS: NameMode = NameMode {
    text: Text {
        id: "name-without-address",
        title: "the name exists, and has no address",
        symptoms: "A name is not resolved, although it is there.",
        cause: "It has no A and AAAA records: only others, such as MX, or it is the name of a \
            domain.",
        proof: "A server answered NOERROR without a record for both types.",
        fix: "Use the name of the host (often with www.), or add the record.",
    },
    rule: |all| {
        let (lookup, exchange, _) = answered(all, |code| code == 0)?;
        Some(with_exchanges(
            FindingDraft::fault(
                Certainty::Proved,
                format!(
                    "the name {} exists, but has no address: {} answers without a record",
                    exchange.question, exchange.server
                ),
            )
            .fix("use the name of a host in that domain, or add an A or AAAA record")
            .with_evidence("resolver", words(lookup)),
            lookup.seen().iter(),
        ))
    },
};

pub static UNRESOLVED: NameMode = NameMode {
    text: Text {
        id: "name-unresolved",
        title: "the name is not resolved, for a reason that the wire does not show",
        symptoms: "A name is not resolved.",
        cause: "The resolver answers from a cache or a file, asks over an encrypted connection, \
            or its question did not leave this host.",
        proof: "The lookup failed, and no question was seen on the wire.",
        fix: "Look at nsswitch.conf(5), hosts(5) and the log of the local resolver.",
    },
    rule: |all| {
        let lookup = failed(all)?;
        let seen = match &lookup.exchanges {
            Ok(_) => "no question about it was seen on the wire".to_owned(),
            Err(why) => format!("the questions could not be read from the record: {why}"),
        };
        Some(
            FindingDraft::fault(
                Certainty::Consistent,
                format!("{} cannot be resolved; {seen}", all.subject.host()),
            )
            .fix("look at nsswitch.conf(5), hosts(5) and the local resolver")
            .with_evidence("resolver", words(lookup))
            .with_evidence(
                "resolver",
                format!("servers of resolv.conf: {}", lookup.servers.join(" ")),
            ),
        )
    },
};

pub static SLOW: NameMode = NameMode {
    text: Text {
        id: "name-slow",
        title: "resolving the name takes long",
        symptoms: "Connections begin slowly, and are fast then.",
        cause: "A name server answers late, is asked several times, or names with search domains \
            are asked for first.",
        proof: "The time of the lookup, and of each question on the wire.",
        fix: "Use a nearer server; write names with all their labels; fewer search domains.",
    },
    rule: |all: &TargetEvidence| {
        let lookup = all.lookup.as_ref()?;
        if lookup.found.is_err() || lookup.took_ns < SLOW_NS {
            return None;
        }
        let mut slowest: Vec<&Exchange> = lookup.seen().iter().collect();
        slowest.sort_by_key(|exchange| std::cmp::Reverse(exchange.took_ns()));
        let of_server = slowest.first().and_then(|exchange| {
            let took = milliseconds(exchange.took_ns()?);
            Some(format!(
                ", {} of it for an answer of {}",
                took, exchange.server
            ))
        });
        Some(with_exchanges(
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "resolving {} took {}{}",
                    all.subject.host(),
                    milliseconds(lookup.took_ns),
                    of_server.unwrap_or_default()
                ),
            )
            .fix("use a name server that answers faster, and fewer search domains")
            .with_evidence("resolver", words(lookup)),
            slowest.into_iter(),
        ))
    },
};
