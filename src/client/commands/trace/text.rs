//! SHELL. A trace as text: a row for each address, then what was noticed.

use std::net::IpAddr;

use crate::client::render::style::{Style, ms, safe};
use crate::client::render::table::{Column, table};
use crate::client::render::wrap::fit;
use netsonde_core::probe::Transport;
use netsonde_core::text::counted;
use netsonde_core::trace::{Hop, Node, Report, Times, Verdict};

/// Renders a trace.
pub(super) fn render(
    over: (&str, Transport),
    along: Option<&str>,
    report: &Report,
    has_names: bool,
    style: Style,
) -> String {
    let has_ways = report.hops.iter().any(|hop| hop.nodes.len() > 1);
    let mut columns = vec![Column::number("HOP"), Column::text("ADDRESS")];
    if has_names {
        columns.push(Column::text("NAME").shrinks(8));
    }
    columns.extend([Column::number("ANSWERED"), Column::text("WIRE ms")]);
    if has_ways {
        columns.push(Column::text("BEHIND").shrinks(8));
    }
    columns.push(Column::text("STATE"));
    let mut rows = Vec::new();
    for hop in &report.hops {
        let mut number = hop.hop.to_string();
        let mut answered = format!("{}/{}", hop.counted.answered, hop.counted.sent);
        if hop.nodes.is_empty() {
            rows.push(row(
                [number, "*".into(), String::new(), answered, String::new()],
                String::new(),
                state(hop, along.is_some()),
                (has_names, has_ways),
            ));
            continue;
        }
        for node in &hop.nodes {
            let time = node.times.wire_rtt_ns.or(node.times.rtt_ns);
            let cells = [
                std::mem::take(&mut number),
                node.address.to_string(),
                node.name.as_deref().map(safe).unwrap_or_default(),
                std::mem::take(&mut answered),
                time.map_or_else(String::new, times),
            ];
            let state = match &node.error {
                Some(error) => error.clone(),
                None if hop.nodes.first() == Some(node) => state(hop, along.is_some()),
                None => String::new(),
            };
            let behind = behind(report, hop, node);
            rows.push(row(cells, behind, state, (has_names, has_ways)));
        }
    }
    let mut text = table(style, &columns, &rows);
    text.push_str("\n\n");
    for remark in &report.remarks {
        text.push_str(&fit(&format!("{}\n", safe(&remark.text)), style));
    }
    let summary = match along {
        Some(along) => summary_along(along, report),
        None => summary(over, report),
    };
    text.push_str(&fit(&summary, style));
    text
}

fn row(
    [hop, address, name, answered, time]: [String; 5],
    behind: String,
    state: String,
    (has_names, has_ways): (bool, bool),
) -> Vec<String> {
    let mut row = vec![hop, address];
    if has_names {
        row.push(name);
    }
    row.extend([answered, time]);
    if has_ways {
        row.push(behind);
    }
    row.push(state);
    row
}

fn times(times: Times) -> String {
    if times.min == times.max {
        return ms(times.avg);
    }
    format!("{}/{}/{}", ms(times.min), ms(times.avg), ms(times.max))
}

/// Addresses of the hop before from which flows came to an address.
fn behind(report: &Report, hop: &Hop, node: &Node) -> String {
    let all = report.links.iter();
    let all: Vec<String> = all
        .filter(|link| link.hop + 1 == hop.hop && link.to == node.address)
        .map(|link: &netsonde_core::trace::Link| IpAddr::to_string(&link.from))
        .collect();
    all.join(", ")
}

fn state(hop: &Hop, is_along: bool) -> String {
    match hop.verdict {
        // Of a connection there is one way.
        Verdict::Answers if hop.is_explored || is_along => String::new(),
        Verdict::Answers => "ways not all explored".into(),
        Verdict::Silent => "silent".into(),
        Verdict::LimitsAnswers => "limits its answers".into(),
        Verdict::MissesAnswers => "misses answers, no loss".into(),
        Verdict::Lossy => format!("loses {} %", hop.unanswered_percent),
    }
}

/// The summary of a trace along a connection, whose target cannot answer.
fn summary_along(along: &str, report: &Report) -> String {
    let hops = report.hops.iter().filter(|hop| !hop.nodes.is_empty());
    let seconds = report.duration_ns as f64 / 1e9;
    format!(
        "the way of {along}: {} answered; {} in {seconds:.2} s\n",
        counted(hops.count(), "hop"),
        counted(report.probes, "probe")
    )
}

/// The protocol of the probes, with their port if all have the same.
pub(super) fn over(transport: Transport) -> String {
    match transport {
        Transport::Echo => "ICMP".to_owned(),
        Transport::Udp { port: 0 } => "UDP".to_owned(),
        Transport::Udp { port } => format!("UDP port {port}"),
        Transport::Tcp { port } => format!("TCP port {port}"),
    }
}

fn summary((target, transport): (&str, Transport), report: &Report) -> String {
    let ways = report.hops.iter().map(|hop| hop.nodes.len()).max();
    let ways = match ways {
        Some(0 | 1) | None => String::new(),
        Some(ways) => format!(", up to {ways} equal ways"),
    };
    let reached = match report.is_reached {
        true => format!(
            "{target} reached in {}{ways}",
            counted(report.hops.len(), "hop")
        ),
        false => format!("{target} not reached{ways}"),
    };
    let over = over(transport);
    let seconds = report.duration_ns as f64 / 1e9;
    let explored = match report
        .hops
        .iter()
        .all(|hop| hop.is_explored || hop.nodes.is_empty())
    {
        true => format!(
            "; all equal ways of a hop found with {:.0} %",
            report.confidence * 100.0
        ),
        false => String::new(),
    };
    format!(
        "{reached} over {over}; {} in {seconds:.2} s{explored}\n",
        counted(report.probes, "probe")
    )
}
