//! SHELL. `netsonde outages`: when what was down, why, and the evidence of it.

use std::path::Path;

use crate::client::cli::args::{Global, Outages as Args};
use crate::client::commands::counters::{drop_lines, hidden_line};
use crate::client::failure::Failure;
use crate::client::historian;
use crate::client::output::{json, no_match, note, show};
use crate::client::render::style::{
    Style, duration, local_second, local_time, local_time_ns, safe, time_ns,
};
use crate::client::render::table::{Column, table};
use crate::client::screen;
use crate::linux::wall_ns;
use netsonde_core::probe::Transport;
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::history::{
    Affected, Outage, OutageCall, OutageReply, OutageTrace, OutagesCall, OutagesReply, PacketsCall,
    PathState, Recurrence, TracedHop, TracedPath,
};
use netsonde_core::text::counted;

/// Targets of an outage that are named in a list.
const TARGETS_SHOWN: usize = 1;
/// Targets of one outage that are shown; `-v` shows all.
const AFFECTED_SHOWN: usize = 20;
/// Time before and after the begin of an outage in which its packets are looked for.
const AROUND_NS: u64 = 30_000_000_000;

/// Runs `netsonde outages`.
pub fn run(global: &Global, socket: &Path, args: &Args) -> Result<u8, Failure> {
    match (args.id(), &args.write) {
        (Some(id), Some(write)) => {
            let call = PacketsCall {
                outage: Some(id),
                content: args.headers.then_some(Content::Headers),
                ..PacketsCall::default()
            };
            historian::write_packets(global, socket, &call, write)
        }
        (Some(id), None) => {
            let call = OutageCall { id };
            let reply: OutageReply = historian::ask(socket, "Outage", &call)?;
            // The same document as that of a list.
            let reply = OutagesReply {
                outages: vec![reply.outage],
                left_out: 0,
            };
            show(global, &reply, |reply, style, verbose| {
                let whole = reply.outages.iter().map(|one| whole(one, style, verbose));
                whole.collect()
            })?;
            Ok(0)
        }
        (None, _) => list(global, socket, args),
    }
}

fn list(global: &Global, socket: &Path, args: &Args) -> Result<u8, Failure> {
    let call = OutagesCall {
        target: args.target.clone(),
        since_ns: args.since,
        until_ns: args.until,
        limit: args.number,
    };
    let reply: OutagesReply = historian::ask(socket, "Outages", &call)?;
    if global.json {
        json(&mut screen::stdout(), &reply)?;
    } else if !reply.outages.is_empty() {
        show(global, &reply, |reply, style, _| text(reply, style))?;
    }
    if !reply.outages.is_empty() {
        return Ok(0);
    }
    let Some(filter) = selected(args) else {
        note(global, "no outage");
        return Ok(0);
    };
    let all: OutagesReply = historian::ask(
        socket,
        "Outages",
        &OutagesCall {
            limit: Some(1),
            ..OutagesCall::default()
        },
    )?;
    let total = all.outages.len() as u64 + all.left_out;
    Ok(no_match(global, "outage", &filter, total))
}

/// The options that select outages, as they can be typed; `None` if all are selected.
fn selected(args: &Args) -> Option<String> {
    let mut words: Vec<String> = args.target.clone().into_iter().collect();
    for (option, at) in [("--since", args.since), ("--until", args.until)] {
        words.extend(at.map(|at| format!("{option} '{}'", local_time_ns(at))));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

fn text(reply: &OutagesReply, style: Style) -> String {
    let rows: Vec<Vec<String>> = reply.outages.iter().map(row).collect();
    let columns = [
        Column::number("ID"),
        Column::text("BEGIN"),
        Column::number("DURATION"),
        Column::text("TARGETS").shrinks(15),
        Column::number("PACKETS").may_hide(1),
        Column::text("CAUSE").shrinks(24),
    ];
    let mut text = table(style, &columns, &rows);
    if reply.left_out > 0 {
        let older = counted(reply.left_out, "older outage");
        text.push_str(&format!("\n... and {older}: -n or --until shows them"));
    }
    text
}

fn row(outage: &Outage) -> Vec<String> {
    vec![
        outage.id.to_string(),
        local_second(&outage.begin),
        lasted(outage.duration_ns, outage.end.as_ref()),
        targets(outage),
        outage
            .evidence
            .as_ref()
            .map_or("-".into(), |evidence| evidence.packets.to_string()),
        cause(outage),
    ]
}

/// A duration; of what has not ended, that it is longer.
fn lasted(ns: u64, end: Option<&String>) -> String {
    match end {
        Some(_) => duration(ns),
        None => format!("> {}", duration(ns)),
    }
}

fn targets(outage: &Outage) -> String {
    let transport = Transport::of_ports(outage.tcp, outage.udp);
    let shown = outage.targets.iter().take(TARGETS_SHOWN);
    let shown: Vec<String> = shown.map(|target| transport.endpoint(target)).collect();
    let rest = outage.targets.len().saturating_sub(TARGETS_SHOWN) as u64;
    match rest + outage.targets_left_out.unwrap_or(0) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn cause(outage: &Outage) -> String {
    let begin = match outage.kind == "degraded" {
        true => "degraded: ",
        false => "",
    };
    format!("{begin}{}", outage.words)
}

/// All of one outage.
fn whole(outage: &Outage, style: Style, verbose: bool) -> String {
    let what = match (outage.kind == "degraded", &outage.end) {
        (true, Some(_)) => "was degraded for",
        (true, None) => "has been degraded for",
        (false, Some(_)) => "was down for",
        (false, None) => "has been down for",
    };
    let head = format!(
        "outage {}: {} {what} {}",
        outage.id,
        targets(outage),
        duration(outage.duration_ns)
    );
    let mut lines = vec![match outage.end {
        Some(_) => style.bold(&head),
        None => style.warn(&head),
    }];
    let mut fact = |name: &str, words: String| lines.push(format!("  {name:<11} {words}"));
    fact("cause", format!("{} ({})", outage.words, outage.cause));
    let (begin, end) = match outage.kind == "degraded" {
        true => ("", ""),
        false => (", first lost probe", ", first answered probe"),
    };
    fact("begin", format!("{}{begin}", local_time(&outage.begin)));
    fact(
        "end",
        match &outage.end {
            Some(at) => format!("{}{end}", local_time(at)),
            None => "not over".into(),
        },
    );
    let fates = historian::fates(&outage.fates, true);
    if !fates.is_empty() {
        fact("probes", fates);
    }
    if let Some(times) = outage.flapping {
        fact("flapping", format!("down {}", counted(times, "time")));
    }
    if let Some(words) = &outage.load {
        fact("load", words.clone());
    }
    if let Some(found) = &outage.recurrence {
        fact("recurs", recurrence(found));
    }
    fact("packets", packets(outage));
    for part in [
        affected_text(outage, style, verbose),
        traces_text(outage, style),
        paths_text(outage, style),
        counters_text(outage, style, verbose),
        events_text(outage, style),
    ] {
        if !part.is_empty() {
            lines.push(String::new());
            lines.push(part);
        }
    }
    lines.join("\n")
}

fn recurrence(found: &Recurrence) -> String {
    format!(
        "{} (as regular by chance: {})",
        found.words,
        chance(found.chance)
    )
}

fn chance(value: f64) -> String {
    match value {
        value if value < 1e-4 => "less than 1 in 10,000".into(),
        value => format!("{:.2}%", value * 100.0),
    }
}

/// What packets there are of the outage, or where they may be, and the command that shows them.
fn packets(outage: &Outage) -> String {
    let id = outage.id;
    let kept = outage
        .evidence
        .as_ref()
        .filter(|evidence| evidence.packets > 0);
    if let Some(evidence) = kept {
        return format!(
            "{}: netsonde outages {id} -w outage-{id}.pcapng",
            historian::evidence(evidence)
        );
    }
    let why = outage.evidence.as_ref();
    let why = why.map_or(String::new(), |evidence| {
        let words = evidence.words.as_ref().unwrap_or(&evidence.state);
        format!(" ({words})")
    });
    let Some(begin) = time_ns(&outage.begin) else {
        return format!("none kept{why}");
    };
    let end = (begin + AROUND_NS).min(wall_ns());
    let host = match &outage.targets[..] {
        [one] => format!(
            " --host {}",
            safe(one.split('%').next().unwrap_or_default())
        ),
        _ => String::new(),
    };
    format!(
        "none kept{why}; while they are in memory: netsonde watch --since '{}' --until '{}'{host}",
        local_time_ns(begin.saturating_sub(AROUND_NS)),
        local_time_ns(end)
    )
}

fn affected_text(outage: &Outage, style: Style, verbose: bool) -> String {
    let all = outage.affected.as_deref().unwrap_or_default();
    if all.is_empty() {
        return String::new();
    }
    let most = if verbose { usize::MAX } else { AFFECTED_SHOWN };
    let columns = [
        Column::text("TARGET").shrinks(15),
        Column::text("MONITOR").shrinks(8),
        Column::text("BEGIN"),
        Column::number("DURATION"),
        Column::number("TIMES").may_hide(2),
        Column::text("PROBES").shrinks(12).may_hide(1),
        Column::text("FIRST LOST PROBE").shrinks(20),
    ];
    let row = |one: &Affected| {
        let mut fates = historian::fates(&one.fates, true);
        if one.gaps > 0 {
            fates.push_str(&format!("; {}", counted(one.gaps, "gap")));
        }
        vec![
            Transport::of_ports(one.tcp, one.udp).endpoint(&one.target),
            one.name.clone(),
            local_second(&one.begin),
            lasted(one.duration_ns, one.end.as_ref()),
            one.times.to_string(),
            fates,
            one.first.clone().unwrap_or("-".into()),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().take(most).map(row).collect();
    let mut text = table(style, &columns, &rows);
    if all.len() > most {
        text.push_str(&format!(
            "\n... and {} more: netsonde -v outages {}",
            all.len() - most,
            outage.id
        ));
    }
    text
}

/// The paths through the network to targets, hop by hop: before, and during the outage.
fn traces_text(outage: &Outage, style: Style) -> String {
    let all = outage.traces.as_deref().unwrap_or_default();
    let parts = all.iter().map(|one| {
        let mut lines = vec![style.bold(&format!("PATH TO {}", one.target))];
        lines.push(safe(&one.words));
        for (name, path) in [("before", &one.before), ("during", &one.during)] {
            let Some(path) = path else {
                continue;
            };
            let (since, until) = (local_time(&path.since), local_time(&path.until));
            let other = match path.target == one.target {
                true => String::new(),
                false => format!(", traced to {}", path.target),
            };
            let by = match (one.transport.as_deref(), one.port) {
                (Some("tcp"), Some(port)) => format!(" by TCP to port {port}"),
                (Some("udp"), Some(port)) => format!(" by UDP to port {port}"),
                _ => String::new(),
            };
            lines.push(match name {
                "before" => format!("before       known from {since} to {until}{other}"),
                _ => format!("during       traced{by} from {since} to {until}{other}"),
            });
        }
        let rows = hop_rows(one);
        if !rows.is_empty() {
            let columns = [
                Column::number("HOP"),
                Column::text("BEFORE"),
                Column::text("DURING"),
            ];
            lines.push(table(style, &columns, &rows));
        }
        lines.join("\n")
    });
    parts.collect::<Vec<String>>().join("\n\n")
}

fn hop_rows(trace: &OutageTrace) -> Vec<Vec<String>> {
    let hops =
        |path: &Option<TracedPath>| path.as_ref().map_or(Vec::new(), |path| path.hops.clone());
    let (before, during) = (hops(&trace.before), hops(&trace.during));
    let last = before.iter().chain(&during).map(|hop| hop.hop).max();
    let cell = |hops: &[TracedHop], is_known: bool, hop: u64| {
        let found = hops.iter().find(|one| one.hop == hop);
        match found {
            Some(one) => {
                let error = one.error.as_ref();
                let error = error.map_or(String::new(), |error| format!(" ({error})"));
                format!("{}{error}", one.addresses.join(", "))
            }
            None if is_known => "*".into(),
            None => "-".into(),
        }
    };
    let rows = (1..=last.unwrap_or(0)).map(|hop| {
        vec![
            hop.to_string(),
            cell(&before, trace.before.is_some(), hop),
            cell(&during, trace.during.is_some(), hop),
        ]
    });
    rows.collect()
}

/// The ways of this host to targets about the begin: what they were before, then what changed.
fn paths_text(outage: &Outage, style: Style) -> String {
    let all = outage.paths.as_deref().unwrap_or_default();
    let mut lines = Vec::new();
    for path in all {
        lines.push(style.bold(&format!("WAY TO {}", path.target)));
        let states = [
            ("before", &path.before),
            ("at the begin", &path.begin),
            ("after", &path.after),
        ];
        let mut last = None;
        for (name, state) in states {
            let Some(state) = state else {
                continue;
            };
            let words = way(state);
            let at = local_time(&state.time);
            let shown = match last.as_ref() == Some(&words) {
                true => "the same",
                false => &words,
            };
            lines.push(format!("{name:<12} {at}  {shown}"));
            last = Some(words);
        }
        let interface = [&path.before, &path.begin].into_iter().flatten();
        let interface = interface
            .filter_map(|state| state.interface.as_ref())
            .next();
        if let Some(interface) = interface {
            let links = [
                ("before", &path.link_before),
                ("at the begin", &path.link_begin),
                ("after", &path.link_after),
            ];
            let links: Vec<(&str, &String)> = (links.into_iter())
                .filter_map(|(when, link)| Some((when, link.as_ref()?)))
                .collect();
            if links.iter().any(|(_, link)| *link != links[0].1) {
                let words = links.iter().map(|(when, link)| format!("{link} {when}"));
                let words = words.collect::<Vec<String>>().join(", ");
                lines.push(format!("link         {interface} {words}"));
            }
        }
        if last.is_none() {
            lines.push("not known: netsonded did not answer".into());
        }
    }
    lines.join("\n")
}

/// A way in words, as ip-route(8) has it.
fn way(state: &PathState) -> String {
    if let Some(error) = &state.error {
        return error.clone();
    }
    let mut words = Vec::new();
    let kind = state.kind.as_deref().filter(|kind| *kind != "unicast");
    let destination = state.destination.as_deref();
    words.extend(kind.or(destination).map(str::to_owned));
    words.extend(
        state
            .gateway
            .as_ref()
            .map(|gateway| format!("via {gateway}")),
    );
    words.extend(state.interface.as_ref().map(|name| format!("dev {name}")));
    let table = state.table.as_deref();
    let table = table.filter(|table| !matches!(*table, "main" | "local"));
    words.extend(table.map(|table| format!("table {table}")));
    words.extend(state.mtu.map(|mtu| format!("mtu {mtu}")));
    let mut parts = vec![words.join(" ")];
    if let (Some(hop), Some(neighbor)) = (&state.next_hop, &state.neighbor) {
        let mac = state.mac.as_ref();
        let mac = mac.map_or(String::new(), |mac| format!(" at {mac}"));
        parts.push(match &neighbor[..] {
            "none" => format!("{hop} has no neighbor entry"),
            state => format!("neighbor {hop} {state}{mac}"),
        });
    }
    if let (Some(name), Some(link)) = (&state.interface, &state.link) {
        parts.push(format!("{name} {link}"));
    }
    parts.join("; ")
}

fn counters_text(outage: &Outage, style: Style, verbose: bool) -> String {
    let Some(all) = &outage.counters else {
        return String::new();
    };
    let times = outage
        .counters_from
        .as_ref()
        .zip(outage.counters_to.as_ref());
    let times = times.map_or(String::new(), |(from, to)| {
        format!(" from {} to {}", local_time(from), local_time(to))
    });
    let mut lines = vec![style.bold(&format!("COUNTERS OF DROPS{times}"))];
    let (shown, hidden): (Vec<_>, Vec<_>) = all.iter().partition(|one| verbose || !one.harmless);
    if shown.is_empty() {
        lines.push("none increased that shows an unexpected drop".into());
    }
    lines.extend(shown.into_iter().map(|one| {
        let what = (&one.layer[..], &one.name[..], &one.subject[..]);
        drop_lines(style, one.by, what, &one.words)
    }));
    if !hidden.is_empty() {
        lines.push(hidden_line(style, hidden.len()));
    }
    lines.join("\n")
}

fn events_text(outage: &Outage, style: Style) -> String {
    let all = outage.events.as_deref().unwrap_or_default();
    if all.is_empty() {
        return String::new();
    }
    let mut lines = vec![style.bold("EVENTS AROUND THE BEGIN")];
    lines.extend(all.iter().map(|one| {
        format!(
            "{} {:7} {} {} {}",
            local_time(&one.time),
            one.severity,
            one.kind,
            one.interface.as_deref().unwrap_or("-"),
            one.text
        )
    }));
    lines.join("\n")
}
