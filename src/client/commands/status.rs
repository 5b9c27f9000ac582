//! SHELL. `netsonde status`: what is recorded, and everything that was lost.

use crate::client::cli::args::Global;
use crate::client::failure::Failure;
use crate::client::historian;
use crate::client::output::show;
use crate::client::render::style::{Style, age, bytes, duration, local_time, share};
use crate::client::render::table::{Column, table};
use crate::varlink::client::{HISTORIAN, ask};
use netsonde_core::protocol::history::StatusReply;
use netsonde_core::protocol::service::{InterfaceCounts, ListenerCounts, Status};
use netsonde_core::text::counted;
use serde::Serialize;
use std::path::Path;

/// Maximum number of gaps shown; `-v` shows all.
const GAPS_SHOWN: usize = 8;

/// The document: the status of netsonded, and that of the historian, if it answers.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    service: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    historian: Option<StatusReply>,
    /// Why it does not answer.
    #[serde(skip)]
    silent: Option<String>,
}

/// Runs `netsonde status`.
pub fn status(global: &Global, socket: &Path, history: &Path) -> Result<u8, Failure> {
    let service: Status = ask(socket, "io.netsonde.Service.Status")?;
    let answer = historian::status(history);
    let report = Report {
        service,
        silent: answer.as_ref().err().map(ToString::to_string),
        historian: answer.ok(),
    };
    show(global, &report, text)?;
    Ok(0)
}

fn text(report: &Report, style: Style, verbose: bool) -> String {
    let status = &report.service;
    let historian = match (&report.historian, &report.silent) {
        (Some(found), _) => historian_text(found, style, verbose),
        (None, Some(why)) => style.dim(why),
        (None, None) => String::new(),
    };
    let parts = [
        service_text(status, style, verbose),
        stores_text(status, style),
        interfaces_text(status, style, verbose),
        gaps_text(status, style, verbose),
        limits_text(status, style),
        historian,
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// What the historian keeps, and what it could not; each part of its store with `verbose`.
fn historian_text(status: &StatusReply, style: Style, verbose: bool) -> String {
    let up = age(&status.time, &status.started);
    let mut lines = vec![format!(
        "{} {}, up {up}, {} of {}, {} ({} not over)",
        style.bold(HISTORIAN.name),
        status.version,
        counted(status.targets, "target"),
        counted(status.monitors, "monitor"),
        counted(status.outages, "outage"),
        status.lasting
    )];
    if !status.connected {
        let why = status.words.as_deref().unwrap_or("no reason given");
        lines.push(style.warn(&format!("not connected to netsonded: {why}")));
    }
    let lasts = status.lasts_ns.map_or(String::new(), |ns| {
        format!("; every probe is kept for {}", duration(ns))
    });
    lines.push(format!(
        "{} kept since its start, {} of {} on disk{lasts}",
        counted(status.probes, "probe"),
        bytes(status.bytes),
        bytes(status.budget)
    ));
    if let Some(paths) = &status.paths {
        lines.push(format!(
            "paths to {} of {} known, each looked at every {}; {} found",
            paths.known,
            counted(paths.networks, "network"),
            duration(paths.interval_ns),
            counted(paths.changes, "change")
        ));
    }
    for problem in &status.problems {
        lines.push(style.warn(problem));
    }
    for limit in status.limits.iter().filter(|limit| limit.reached > 0) {
        lines.push(style.warn(&format!(
            "limit reached: {} ({}), {}: {}",
            limit.name,
            limit.most,
            counted(limit.reached, "time"),
            limit.words
        )));
    }
    if verbose {
        for part in &status.parts {
            let budget = part.budget.map(|most| format!(" of {}", bytes(most)));
            let oldest = part.oldest.as_deref().map(local_time);
            lines.push(format!(
                "{}: {}{}, {}{}",
                part.name,
                bytes(part.bytes),
                budget.unwrap_or_default(),
                counted(part.files, "file"),
                oldest.map_or(String::new(), |at| format!(", since {at}"))
            ));
        }
    }
    lines.join("\n")
}

/// The service itself: processes, sandbox, totals.
fn service_text(status: &Status, style: Style, verbose: bool) -> String {
    let mut lines = vec![format!(
        "{} {}, up {}, keeper {} engine {} (start {}, up {})",
        style.bold("netsonded"),
        status.version,
        duration(status.uptime_ns),
        status.keeper_pid,
        status.engine.pid,
        status.engine.starts,
        duration(status.engine.uptime_ns)
    )];
    if let Some(sandbox) = &status.sandbox {
        let state = format!(
            "sandbox: seccomp {}, landlock {}",
            sandbox.seccomp, sandbox.landlock
        );
        let is_whole = [&sandbox.seccomp, &sandbox.landlock]
            .iter()
            .all(|state| *state == "enforced");
        if !is_whole {
            lines.push(style.warn(&state));
        } else if verbose {
            lines.push(state);
        }
    }
    if verbose && !status.may.is_empty() {
        lines.push(format!(
            "your permissions: {}; control sockets: {}",
            status.may.join(", "),
            status.listening.join(", ")
        ));
    }
    let packets: u64 = status.rings.iter().map(|ring| ring.packets).sum();
    let drops: u64 = status.rings.iter().map(|ring| ring.drops).sum();
    let dropped = if drops == 0 {
        style.good("0")
    } else {
        style.warn(&drops.to_string())
    };
    lines.push(format!(
        "packets {packets}, dropped by the rings {dropped}, clients {} of {}, recorder {}",
        status.clients.connected,
        status.clients.limit,
        bytes(status.recorder_bytes)
    ));
    if status.promiscuous {
        let warning = "an interface is promiscuous: the host receives packets addressed to others";
        lines.push(style.warn(warning));
    }
    lines.join("\n")
}

/// The table of stores.
fn stores_text(status: &Status, style: Style) -> String {
    let rows: Vec<Vec<String>> = status
        .recorder
        .iter()
        .map(|store| {
            let reach = store.oldest.as_ref();
            vec![
                store.store.clone(),
                bytes(store.capacity_bytes),
                format!(
                    "{}%",
                    u128::from(store.used_bytes) * 100 / u128::from(store.capacity_bytes.max(1))
                ),
                store.packets.to_string(),
                store.evicted.to_string(),
                share(store.thinned.unwrap_or(0), store.seen.unwrap_or(0)),
                store.target_ns.map_or_else(|| "-".into(), duration),
                reach.map_or_else(|| "-".into(), |oldest| age(&status.time, oldest)),
            ]
        })
        .collect();
    let columns = [
        Column::text("STORE"),
        Column::number("SIZE"),
        Column::number("USED"),
        Column::number("PACKETS"),
        Column::number("EVICTED"),
        Column::number("THINNED"),
        Column::number("TARGET").may_hide(1),
        Column::number("REACHES BACK"),
    ];
    table(style, &columns, &rows)
}

/// The table of interfaces; deleted ones only with `verbose`.
fn interfaces_text(status: &Status, style: Style, verbose: bool) -> String {
    let is_shown = |interface: &&InterfaceCounts| verbose || interface.state != "gone";
    let rows: Vec<Vec<String>> = status
        .interfaces
        .iter()
        .filter(is_shown)
        .map(|interface| {
            vec![
                interface.interface.clone(),
                interface.state.clone(),
                if interface.recording {
                    "yes".into()
                } else {
                    format!("no ({} skipped)", interface.skipped)
                },
                interface.packets.to_string(),
                bytes(interface.bytes),
                heard(&interface.listened),
            ]
        })
        .collect();
    let columns = [
        Column::text("INTERFACE"),
        Column::text("STATE"),
        Column::text("RECORDED").shrinks(8),
        Column::number("PACKETS"),
        Column::number("BYTES"),
        Column::text("ICMP/ICMP6/IGMP WIRE (IP LAYER)").may_hide(1),
    ];
    let gone = status.interfaces.len() - rows.len();
    let mut text = table(style, &columns, &rows);
    if gone > 0 {
        text.push_str(&format!(
            "\n... and {gone} deleted interfaces with packets in the record: netsonde status -v"
        ));
    }
    text
}

/// The newest gaps; all of them with `verbose`. Empty without gaps.
fn gaps_text(status: &Status, style: Style, verbose: bool) -> String {
    if status.gaps.is_empty() {
        return String::new();
    }
    let mut lines = vec![style.bold(&format!("GAPS ({} in total)", status.gaps_total))];
    let skip = if verbose {
        0
    } else {
        status.gaps.len().saturating_sub(GAPS_SHOWN)
    };
    if skip > 0 {
        lines.push(format!("... {skip} earlier gaps: netsonde status -v"));
    }
    for gap in &status.gaps[skip..] {
        let count = if gap.count > 0 {
            format!(", {}", counted(gap.count, "packet"))
        } else {
            String::new()
        };
        let subject = gap.subject.as_deref().unwrap_or("");
        let from = local_time(&gap.from);
        lines.push(match gap.open {
            Some(true) => format!("{} {subject} since {from}, not over{count}", gap.kind),
            _ => format!(
                "{} {subject} from {from} to {}{count}",
                gap.kind,
                local_time(&gap.to)
            ),
        });
    }
    lines.join("\n")
}

/// The limits that were reached. Empty without any.
fn limits_text(status: &Status, style: Style) -> String {
    let reached: Vec<String> = status
        .limits
        .iter()
        .filter(|limit| limit.hits > 0)
        .map(|limit| {
            // Some have no fixed value: what counts is that something was lost.
            let value = match limit.limit {
                0 => String::new(),
                value => format!(" (limit {value})"),
            };
            format!("{}{value}: {}", limit.name, counted(limit.hits, "time"))
        })
        .collect();
    if reached.is_empty() {
        return String::new();
    }
    format!("{}\n{}", style.bold("LIMITS REACHED"), reached.join("\n"))
}

fn heard(listened: &ListenerCounts) -> String {
    format!(
        "{} ({})  {} ({})  {} ({})",
        listened.icmp_wire,
        listened.icmp_heard,
        listened.icmp6_wire,
        listened.icmp6_heard,
        listened.igmp_wire,
        listened.igmp_heard
    )
}
