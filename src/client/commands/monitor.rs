//! SHELL. `netsonde monitor`: targets that netsonde-historian probes for ever, and their states.

use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::client::cli::args::{Fragments, Global, Monitor as Args, MonitorAdd};
use crate::client::failure::Failure;
use crate::client::files::target_file;
use crate::client::historian;
use crate::client::output::{no_match, note, show};
use crate::client::render::style::{Style, duration, local_second, ms, share, time_ns};
use crate::client::render::table::{Column, table};
use crate::linux::wall_ns;
use netsonde_core::probe::Transport;
use netsonde_core::protocol::history::{
    AddMonitorCall, AddMonitorReply, Monitor, MonitorsCall, MonitorsReply, PauseCall,
    RemoveMonitorCall, ResumeCall, Target, Window,
};
use netsonde_core::text::counted;

/// Maximum length of a request, in bytes: the service accepts 64 KiB.
const REQUEST_MAX: usize = 60_000;
/// Targets in trouble whose words are shown; `-v` shows all.
const WORDS_SHOWN: usize = 20;
/// States in the order of a list: what needs attention first.
const STATES: [&str; 7] = [
    "down",
    "flapping",
    "degraded",
    "unknown",
    "maintenance",
    "up",
    "paused",
];

/// Runs `netsonde monitor`.
pub fn run(global: &Global, socket: &Path, args: &Args) -> Result<u8, Failure> {
    match args {
        Args::Add(args) => add(global, socket, args),
        Args::List { name, tag, down } => {
            list(global, socket, name.as_deref(), tag.as_deref(), *down)
        }
        Args::Remove { name } => {
            let call = RemoveMonitorCall { name: name.clone() };
            let words = format!("{name} removed; its history stays until it expires");
            change(global, socket, "RemoveMonitor", &call, &words)
        }
        Args::Pause {
            name,
            duration: length,
            maintenance,
        } => {
            let call = PauseCall {
                name: name.clone(),
                duration_ns: *length,
                maintenance: maintenance.then_some(true),
            };
            let state = match maintenance {
                true => "in maintenance",
                false => "paused",
            };
            let end = match length {
                Some(ns) => format!("for {}", duration(*ns)),
                None => format!("until `netsonde monitor resume {name}`"),
            };
            change(
                global,
                socket,
                "Pause",
                &call,
                &format!("{name} is {state} {end}"),
            )
        }
        Args::Resume { name } => {
            let call = ResumeCall { name: name.clone() };
            change(global, socket, "Resume", &call, &format!("{name} resumed"))
        }
    }
}

/// Calls a method without a reply of its own, and says what it did.
fn change(
    global: &Global,
    socket: &Path,
    method: &str,
    call: &impl Serialize,
    words: &str,
) -> Result<u8, Failure> {
    let reply: serde_json::Value = historian::ask(socket, method, call)?;
    if global.json {
        show(global, &reply, |_, _, _| String::new())?;
    } else {
        note(global, words);
    }
    Ok(0)
}

fn add(global: &Global, socket: &Path, args: &MonitorAdd) -> Result<u8, Failure> {
    let by_address = args
        .by
        .as_ref()
        .filter(|by| by.parse::<IpAddr>().is_ok())
        .cloned();
    let monitor = Monitor {
        name: args.name.clone(),
        targets: targets(&args.targets)?,
        interval_ns: args.interval,
        timeout_ns: args.timeout,
        tcp: args.tcp.map(u64::from),
        udp: args.udp.map(u64::from),
        size: args.size,
        dscp: args.dscp,
        dont_fragment: (args.pmtu == Some(Fragments::Do)).then_some(true),
        interface: args.by.clone().filter(|_| by_address.is_none()),
        source: by_address,
        tags: (!args.tags.is_empty()).then(|| args.tags.clone()),
        ..Monitor::default()
    };
    let call = AddMonitorCall {
        monitor,
        replace: args.replace.then_some(true),
    };
    let length = serde_json::to_string(&call).map_or(0, |text| text.len());
    if length > REQUEST_MAX {
        return Err(Failure::Other(format!(
            "{} are too many for one request: add several monitors, give ranges, or use {}",
            counted(call.monitor.targets.len(), "target"),
            netsonde_core::config::MONITORS
        )));
    }
    let reply: AddMonitorReply = historian::ask(socket, "AddMonitor", &call)?;
    if global.json {
        show(global, &reply, |_, _, _| String::new())?;
    } else {
        let all = counted(reply.targets, "target");
        let name = &args.name;
        note(
            global,
            &format!("{name} added, {all}: `netsonde monitor list {name}`"),
        );
    }
    Ok(0)
}

/// The targets of the command line, those of files included.
fn targets(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut targets = Vec::new();
    for text in given {
        match text.strip_prefix('@') {
            Some(path) => {
                targets.extend(
                    target_file::read(path)?
                        .into_iter()
                        .map(|(_, target)| target),
                );
            }
            None => targets.push(text.clone()),
        }
    }
    if targets.is_empty() {
        return Err(Failure::Other("no targets given".into()));
    }
    Ok(targets)
}

/// The document of `monitor list --json`.
#[derive(Debug, Default, Serialize)]
struct List {
    monitors: Vec<Target>,
    configured: Vec<Monitor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

fn list(
    global: &Global,
    socket: &Path,
    name: Option<&str>,
    tag: Option<&str>,
    down: bool,
) -> Result<u8, Failure> {
    let call = MonitorsCall {
        name: name.map(str::to_owned),
        tag: tag.map(str::to_owned),
    };
    let mut connection = historian::open(socket)?;
    connection.call_more(&historian::full("Monitors"), &call)?;
    let mut list = List::default();
    while let Some((reply, goes_on)) = connection.reply_or::<MonitorsReply>(None)? {
        list.configured.extend(reply.monitors.unwrap_or_default());
        list.monitors.extend(reply.targets);
        list.left_out = reply.left_out.or(list.left_out);
        if !goes_on {
            break;
        }
    }
    let total = list.monitors.len();
    if down {
        list.monitors
            .retain(|target| matches!(&target.state[..], "down" | "flapping"));
    }
    // Of one state they stay in the order of the monitors.
    let rank = |target: &Target| STATES.iter().position(|state| *state == target.state);
    list.monitors
        .sort_by_key(|target| rank(target).unwrap_or(0));
    if global.json || !list.monitors.is_empty() {
        show(global, &list, text)?;
    }
    if !list.monitors.is_empty() || (total == 0 && tag.is_none()) {
        if list.monitors.is_empty() && list.configured.is_empty() {
            note(global, "no monitor: `netsonde monitor add` adds one");
        }
        return Ok(0);
    }
    let tag = tag.map(|tag| format!("--tag {tag}"));
    let down = down.then(|| "--down".to_owned());
    let filter: Vec<String> = tag.into_iter().chain(down).collect();
    Ok(no_match(global, "target", &filter.join(" "), total as u64))
}

fn text(list: &List, style: Style, verbose: bool) -> String {
    let now_ns = wall_ns();
    let rows: Vec<Vec<String>> = list
        .monitors
        .iter()
        .map(|target| row(target, now_ns))
        .collect();
    let columns = [
        Column::text("MONITOR").shrinks(8),
        Column::text("TARGET").shrinks(15),
        Column::text("STATE"),
        Column::text("SINCE"),
        Column::number("LAST"),
        Column::number("LOSS 1M"),
        Column::number("P99 1M").may_hide(1),
        Column::number("LOSS 1H").may_hide(2),
        Column::number("P99 1H").may_hide(4),
        Column::number("LOSS 1D").may_hide(3),
        Column::number("P99 1D").may_hide(5),
    ];
    let mut lines = vec![table(style, &columns, &rows), String::new()];
    lines.extend(words(list, style, verbose));
    lines.push(sum(list));
    lines.join("\n")
}

fn row(target: &Target, now_ns: u64) -> Vec<String> {
    let mut row = vec![
        target.name.clone(),
        shown(target),
        target.state.clone(),
        target.since.as_deref().map_or("-".into(), local_second),
        target
            .last
            .as_deref()
            .and_then(time_ns)
            .map_or("-".into(), |last| duration(now_ns.saturating_sub(last))),
    ];
    for window in [&target.last_minute, &target.last_hour, &target.last_day] {
        row.extend(cells(window.as_ref()));
    }
    row
}

/// The address of a target with its port, as for `netsonde doctor`, and its name if it has one.
fn shown(target: &Target) -> String {
    let endpoint = Transport::of_ports(target.tcp, target.udp).endpoint(&target.target);
    match &target.host {
        Some(host) if *host != target.target => format!("{endpoint} ({host})"),
        _ => endpoint,
    }
}

/// Loss and 99th percentile of a window.
fn cells(window: Option<&Window>) -> [String; 2] {
    let Some(window) = window.filter(|window| window.sent > 0) else {
        return ["-".into(), "-".into()];
    };
    let lost = window.sent.saturating_sub(window.received);
    let p99 = window.wire_rtt_p99_ns.map(|ns| format!("{} ms", ms(ns)));
    [share(lost, window.sent), p99.unwrap_or("-".into())]
}

/// Says of each target in trouble what was seen.
fn words(list: &List, style: Style, verbose: bool) -> Vec<String> {
    let told = |target: &&Target| {
        let is_down = matches!(&target.state[..], "down" | "flapping" | "degraded");
        is_down || target.words.is_some()
    };
    let all: Vec<&Target> = list.monitors.iter().filter(told).collect();
    let most = if verbose { usize::MAX } else { WORDS_SHOWN };
    let mut lines: Vec<String> = all
        .iter()
        .take(most)
        .map(|target| {
            let about = target.words.as_deref().unwrap_or("no details known");
            let outage = target.outage.map(|id| format!(" (netsonde outages {id})"));
            format!(
                "{} {}: {about}{}",
                style.warn(&target.state),
                shown(target),
                outage.unwrap_or_default()
            )
        })
        .collect();
    if all.len() > most {
        let more = all.len() - most;
        lines.push(format!("... and {more} more: netsonde -v monitor list"));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// Sums up how many targets are in each state.
fn sum(list: &List) -> String {
    let states = STATES.iter().filter_map(|state| {
        let count = list.monitors.iter().filter(|one| one.state == *state);
        let count = count.count();
        (count > 0).then(|| format!("{count} {state}"))
    });
    let states: Vec<String> = states.collect();
    let left_out = match list.left_out {
        Some(more) => format!("; {more} more are not listed"),
        None => String::new(),
    };
    format!(
        "{} of {}: {}{left_out}",
        counted(list.monitors.len(), "target"),
        counted(list.configured.len(), "monitor"),
        states.join(", ")
    )
}
