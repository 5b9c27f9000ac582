//! SHELL. The report as JSON prints it.

use netsonde_core::connections::End;
use netsonde_core::connections::names::Question;
use netsonde_core::connections::report::{Conn, Fate, SeenError, Who};
use netsonde_core::protocol::time;
use netsonde_core::text::counted;
use netsonde_core::wire::dns_code_name;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::gather::Found;
use super::owners::Owner;
use super::select::Chosen;
use crate::client::cli::args::ConnectionsArgs;
use crate::client::render::style::{duration, ms};

/// The report.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub to: String,
    pub connections: Vec<Connection>,
    /// Connections by fate, of those that are listed.
    pub fates: BTreeMap<&'static str, u64>,
    pub names: Vec<Name>,
    /// What the packets do not hold.
    pub not_recorded: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Connection {
    pub time: String,
    pub end: String,
    pub source: String,
    pub source_port: u16,
    pub destination: String,
    pub destination_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    pub fate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    /// Time from the first packet to what `fate` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ns: Option<u64>,
    pub words: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    pub interfaces: Vec<String>,
    pub begin_recorded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction_known: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_handshake_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ns: Option<u64>,
    pub retransmits: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retransmitted: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub answer_retransmits: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Error>,
    #[serde(skip_serializing_if = "is_zero")]
    pub ignored: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub simultaneous: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sampled: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize)]
pub(super) struct Reset {
    pub time: String,
    pub from: String,
    pub ttl: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_ttls: Vec<u8>,
}

#[derive(Serialize)]
pub(super) struct Error {
    pub time: String,
    pub from: String,
    #[serde(rename = "type")]
    pub kind: u8,
    pub code: u8,
    pub meaning: String,
    pub count: u32,
}

#[derive(Serialize)]
pub(super) struct Name {
    pub time: String,
    pub client: String,
    pub client_port: u16,
    pub server: String,
    pub server_port: u16,
    pub protocol: &'static str,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub queries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub answer: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Makes the report.
pub(super) fn report(found: &Found, chosen: &Chosen, args: &ConnectionsArgs) -> Report {
    let all = chosen.connections.iter();
    let connections: Vec<Connection> = all
        .filter_map(|at| {
            let one = found.connections.get(*at)?;
            let owner = found.owners.get(*at).and_then(Option::as_ref);
            Some(connection(found, one, owner, args))
        })
        .collect();
    let mut fates: BTreeMap<&'static str, u64> = Fate::NAMES.map(|name| (name, 0)).into();
    for one in &connections {
        *fates.entry(one.fate).or_default() += 1;
    }
    let questions = chosen.questions.iter();
    let questions = questions.filter_map(|at| found.asking.questions.get(*at));
    Report {
        from: found.from_ns.map(time),
        to: time(found.to_ns),
        connections,
        fates,
        names: questions.map(|one| name(one, found.to_ns)).collect(),
        not_recorded: found.notes.clone(),
    }
}

fn connection(
    found: &Found,
    one: &Conn,
    owner: Option<&Owner>,
    args: &ConnectionsArgs,
) -> Connection {
    let name = found
        .asking
        .name_of(one.destination.0, one.source.0, one.begin_ns)
        .filter(|_| !args.numeric);
    let interface = |at: &u16| found.interfaces.get(usize::from(*at)).cloned();
    let sent_again = one.syn_times_ns.iter().skip(1);
    let happened_ns = match one.fate {
        Fate::Reset(_) | Fate::Refused => one
            .reset
            .as_ref()
            .map(|reset| reset.time_ns)
            .or(one.refusal.as_ref().map(|error| error.first_ns)),
        Fate::Closed(_) | Fate::HalfClosed(_) => one.closed_ns,
        _ => None,
    };
    Connection {
        time: time(one.begin_ns),
        end: time(one.end_ns),
        source: one.source.0.to_string(),
        source_port: one.source.1,
        destination: one.destination.0.to_string(),
        destination_port: one.destination.1,
        name: name.map(|question| question.name.clone()),
        process: owner.map(|owner| owner.command.clone()),
        pid: owner.map(|owner| owner.pid),
        fate: one.fate.name(),
        by: one.fate.by().map(Who::name),
        after_ns: happened_ns.map(|ns| ns.saturating_sub(one.begin_ns)),
        words: words(one),
        role: one.role.map(|role| role.name()),
        interfaces: one.interfaces.iter().filter_map(interface).collect(),
        begin_recorded: one.is_begin_recorded,
        direction_known: (!one.is_directed).then_some(false),
        handshake_ns: one.server_ns,
        client_handshake_ns: one.client_ns,
        connect_ns: one.connect_ns,
        first_byte_ns: one.first_byte_ns,
        retransmits: one.syns.saturating_sub(1),
        retransmitted: sent_again.map(|ns| time(*ns)).collect(),
        answer_retransmits: one.answers.saturating_sub(1),
        sent_bytes: one.sent_bytes,
        received_bytes: one.received_bytes,
        reset: one.reset.as_ref().map(|reset| Reset {
            time: time(reset.time_ns),
            from: end_of(one, reset.by).0.to_string(),
            ttl: reset.ttl,
            other_ttls: reset.other_ttls.clone(),
        }),
        errors: one.errors.iter().map(error).collect(),
        ignored: one.ignored,
        simultaneous: one.is_simultaneous,
        sampled: one.is_sample,
    }
}

fn error(one: &SeenError) -> Error {
    Error {
        time: time(one.first_ns),
        from: one.error.from.to_string(),
        kind: one.error.kind,
        code: one.error.code,
        meaning: one.error.meaning.clone(),
        count: one.count,
    }
}

fn name(one: &Question, to_ns: u64) -> Name {
    let answer = one.answer.as_ref();
    let addresses = answer.iter().flat_map(|answer| &answer.addresses);
    let names = answer.iter().flat_map(|answer| &answer.names);
    Name {
        time: time(one.begin_ns),
        client: one.client.0.to_string(),
        client_port: one.client.1,
        server: one.server.0.to_string(),
        server_port: one.server.1,
        protocol: if one.is_tcp { "tcp" } else { "udp" },
        name: one.name.clone(),
        kind: one.kind_name(),
        queries: one.queries,
        code: answer.map(|answer| dns_code_name(answer.code)),
        answer: names
            .cloned()
            .chain(addresses.map(ToString::to_string))
            .collect(),
        duration_ns: one.took_ns(),
        error: one.failure(to_ns),
        truncated: answer.is_some_and(|answer| answer.is_cut),
    }
}

fn end_of(one: &Conn, who: Who) -> End {
    match who {
        Who::Client => one.source,
        Who::Server => one.destination,
    }
}

/// Says what became of a connection, and what is remarkable about it.
fn words(one: &Conn) -> String {
    let after = |ns: u64| match ns {
        0..1_000_000_000 => format!("{} ms", ms(ns)),
        ns => duration(ns),
    };
    let since = |ns: u64| after(ns.saturating_sub(one.begin_ns));
    let tried = match one.syns {
        0 | 1 => String::new(),
        syns => format!(", {}", counted(syns, "SYN")),
    };
    let mut words = match one.fate {
        Fate::Opening => "SYN sent, no answer yet".to_owned(),
        Fate::Unanswered => {
            let last_ns = one.syn_times_ns.last().copied().unwrap_or(one.begin_ns);
            let (count, spread) = (counted(one.syns.max(1), "SYN"), since(last_ns));
            match one.syns {
                0 | 1 => format!("unanswered, {count}"),
                _ => format!("unanswered, {count} in {spread}"),
            }
        }
        Fate::Refused => match (&one.reset, &one.refusal) {
            (Some(reset), _) => format!("refused: RST after {}{tried}", since(reset.time_ns)),
            (None, Some(error)) => format!(
                "refused by {}: {} after {}{tried}",
                error.error.from,
                error.error.meaning,
                since(error.first_ns)
            ),
            (None, None) => format!("refused{tried}"),
        },
        Fate::Answered if one.answers > 1 => format!(
            "{}, no acknowledgment recorded{tried}",
            counted(one.answers, "answer")
        ),
        Fate::Answered => format!("answered, no acknowledgment recorded{tried}"),
        Fate::Established if one.answers == 0 && one.is_begin_recorded => {
            format!("established, no answer recorded{tried}")
        }
        Fate::Established => format!("established{tried}"),
        Fate::HalfClosed(who) => format!(
            "half closed by the {} after {}{tried}",
            who.name(),
            since(one.closed_ns.unwrap_or(one.end_ns))
        ),
        Fate::Closed(who) => format!(
            "closed by the {} after {}{tried}",
            who.name(),
            since(one.closed_ns.unwrap_or(one.end_ns))
        ),
        Fate::Reset(who) => {
            let time_ns = one.reset.as_ref().map_or(one.end_ns, |reset| reset.time_ns);
            format!(
                "reset by the {} after {}{tried}",
                who.name(),
                since(time_ns)
            )
        }
    };
    if let Some(reset) = one
        .reset
        .as_ref()
        .filter(|reset| !reset.other_ttls.is_empty())
    {
        let others: Vec<String> = reset.other_ttls.iter().map(u8::to_string).collect();
        let (host, _) = end_of(one, reset.by);
        words.push_str(&format!(
            "; perhaps sent by another host: TTL {}, other packets of {host} have {}",
            reset.ttl,
            others.join(" and ")
        ));
    }
    if one.refusal.is_none()
        && let Some(error) = one.errors.first()
    {
        let (meaning, from) = (&error.error.meaning, error.error.from);
        words.push_str(&format!("; {meaning} from {from}"));
    }
    if one.ignored > 0 {
        let packets = counted(one.ignored, "packet");
        words.push_str(&format!("; {packets} with wrong numbers ignored"));
    }
    if one.is_simultaneous {
        words.push_str("; begun by both ends");
    }
    if !one.is_begin_recorded {
        words.push_str("; begin not recorded");
    }
    words
}

/// Returns address and port as text.
pub(super) fn end(address: &str, port: u16) -> String {
    match address.parse() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{address} {port}"),
    }
}
