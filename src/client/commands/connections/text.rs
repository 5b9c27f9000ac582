//! SHELL. The report for people.

use netsonde_core::connections::report::Fate;
use netsonde_core::text::counted;
use netsonde_core::wire::services::service_name;

use super::json::{Connection, Name, Report, end};
use crate::client::cli::args::ConnectionsArgs;
use crate::client::render::packet_line::Lines;
use crate::client::render::style::{Style, local_time, ms};
use crate::client::render::table::{Column, table};

/// Formats the report.
pub(super) fn text(report: &Report, args: &ConnectionsArgs, style: Style, verbose: bool) -> String {
    let mut text = match args.names {
        true => names(&report.names, style),
        false => connections(&report.connections, args, style, verbose),
    };
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(&summary(report, args.names));
    let lines = Lines::new(style, false, false);
    for note in &report.not_recorded {
        text.push('\n');
        // Times are local in what the service says.
        let local = lines.comment(&format!("netsonde: {note}"));
        let local = local.strip_prefix("netsonde: ").unwrap_or(&local);
        text.push_str(&style.dim(&format!("not recorded: {local}")));
    }
    text
}

fn summary(report: &Report, is_of_names: bool) -> String {
    let (from, to) = (
        report.from.as_deref().map(local_time),
        local_time(&report.to),
    );
    let span = match from {
        Some(from) => format!("{from} to {to}"),
        None => format!("up to {to}"),
    };
    let failed = report
        .names
        .iter()
        .filter(|one| one.error.is_some())
        .count();
    let asked = match (report.names.len(), failed) {
        (0, _) => "no questions to name servers".to_owned(),
        (all, 0) => format!("{} to name servers", counted(all, "question")),
        (all, failed) => format!(
            "{} to name servers, {failed} failed",
            counted(all, "question")
        ),
    };
    if is_of_names {
        return format!("{asked}; {span}");
    }
    let of_fate = |name: &&str| {
        let count = report.fates.get(*name).copied().unwrap_or(0);
        (count > 0).then(|| format!("{count} {}", name.replace('_', " ")))
    };
    let fates: Vec<String> = Fate::NAMES.iter().filter_map(of_fate).collect();
    let count = match report.connections.len() {
        0 => "no connections".to_owned(),
        all => format!("{}: {}", counted(all, "connection"), fates.join(", ")),
    };
    format!("{count}; {asked}; {span}")
}

/// The time of day of a packet, to the millisecond.
fn clock(time: &str) -> String {
    let local = local_time(time);
    let clock = local
        .split_once(' ')
        .map_or(local.as_str(), |(_, clock)| clock);
    clock.get(..12).unwrap_or(clock).to_owned()
}

fn or_dash(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".into(), |ns| format!("{} ms", ms(ns)))
}

fn connections(all: &[Connection], args: &ConnectionsArgs, style: Style, verbose: bool) -> String {
    if all.is_empty() {
        return String::new();
    }
    let row = |one: &Connection| {
        let mut destination = end(&one.destination, one.destination_port);
        let service = service_name(true, one.destination_port).filter(|_| !args.numeric);
        if let Some(service) = service {
            destination.push_str(&format!(" ({service})"));
        }
        let mut row = vec![
            clock(&one.time),
            end(&one.source, one.source_port),
            destination,
            one.name.clone().unwrap_or_else(|| "-".into()),
            match (&one.process, one.pid) {
                (Some(name), Some(pid)) => format!("{name} ({pid})"),
                _ => "-".into(),
            },
            or_dash(one.client_handshake_ns),
            or_dash(one.handshake_ns),
            or_dash(one.first_byte_ns),
        ];
        if verbose {
            let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), |n| n.to_string());
            row.push(one.interfaces.join(">"));
            row.push(bytes(one.sent_bytes));
            row.push(bytes(one.received_bytes));
        }
        row.push(one.words.clone());
        row
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let mut columns = vec![
        Column::text("BEGIN"),
        Column::text("SOURCE").shrinks(15),
        Column::text("DESTINATION").shrinks(15),
        Column::text("NAME").shrinks(8).may_hide(3),
        Column::text("PROCESS").shrinks(8).may_hide(2),
        Column::number("CLIENT RTT").may_hide(4),
        Column::number("SERVER RTT").may_hide(1),
        Column::number("FIRST BYTE").may_hide(5),
    ];
    if verbose {
        columns.extend([
            Column::text("INTERFACES").shrinks(8).may_hide(6),
            Column::number("SENT").may_hide(8),
            Column::number("RECEIVED").may_hide(7),
        ]);
    }
    columns.push(Column::text("FATE").shrinks(24));
    table(style, &columns, &rows)
}

fn names(all: &[Name], style: Style) -> String {
    if all.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let answer = match (&one.error, &one.code) {
                (Some(error), _) => error.clone(),
                (None, None) => "no answer yet".to_owned(),
                (None, Some(_)) if one.answer.is_empty() => "no records".to_owned(),
                (None, Some(_)) => one.answer.join(" "),
            };
            let cut = if one.truncated { "; truncated" } else { "" };
            let again = match one.queries {
                0 => "; query not recorded".to_owned(),
                1 => String::new(),
                queries => format!("; {}", counted(queries, "query")),
            };
            vec![
                clock(&one.time),
                one.client.clone(),
                one.server.clone(),
                one.kind.clone(),
                one.name.clone(),
                or_dash(one.duration_ns),
                format!("{answer}{cut}{again}"),
            ]
        })
        .collect();
    let columns = [
        Column::text("ASKED"),
        Column::text("CLIENT").shrinks(15).may_hide(1),
        Column::text("SERVER").shrinks(15),
        Column::text("TYPE"),
        Column::text("NAME").shrinks(12),
        Column::number("TOOK"),
        Column::text("ANSWER").shrinks(12),
    ];
    table(style, &columns, &rows)
}
