//! SHELL. `netsonde events`: the log of network events, one per line, and new ones as they happen.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::cli::args::{EventsArgs, Global};
use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::client::interrupt::wait_until;
use crate::client::output::{json, no_match, note};
use crate::client::render::style::{Style, local_time, local_time_ns, safe, short_duration};
use crate::client::render::wrap::fit;
use crate::client::screen;
use crate::varlink::client::{Connection, Error, ask_with};
use netsonde_core::events::{Category, Kind, Severity};
use netsonde_core::protocol::inventory::{Event, EventPackets, Events, EventsCall};
use netsonde_core::text::{listed, nearest, unknown};

const METHOD: &str = "io.netsonde.Inventory.Events";
/// Past events shown before new ones, as for tail(1) and journalctl(1).
const PAST_EVENTS: u64 = 10;

/// Runs `netsonde events`.
pub fn run(global: &Global, socket: &Path, args: &EventsArgs) -> Result<u8, Failure> {
    let call = EventsCall {
        last_ns: args.last,
        interface: args.interface.clone(),
        kinds: (!args.kinds.is_empty())
            .then(|| args.kinds.iter().map(|kind| known(kind)).collect())
            .transpose()?,
        severity: Some(severity(&args.severity)?),
        limit:
            args.number
                .or((args.follow && args.last.is_none() && args.since.is_none())
                    .then_some(PAST_EVENTS)),
        follow: args.follow.then_some(true),
        since_ns: args.since,
        until_ns: args.until,
    };
    let style = global.style();
    if args.follow {
        return follow(global, socket, &call, style);
    }
    let reply: Events = ask_with(socket, METHOD, &call)?;
    let mut out = screen::stdout();
    if global.json {
        json(&mut out, &reply)?;
    }
    let lines = if global.json { &[] } else { &reply.events[..] };
    for event in lines {
        writeln!(out, "{}", line(event, style, global.verbose))?;
    }
    drop(out);
    if !reply.events.is_empty() {
        return Ok(0);
    }
    match shown(args) {
        Some(filter) => {
            let kept = reply.kept.saturating_sub(reply.evicted);
            Ok(no_match(global, "event", &filter, kept))
        }
        None => {
            note(global, "no event in the log");
            Ok(0)
        }
    }
}

/// Returns the options that select events, as they can be typed; `None` if all are selected.
fn shown(args: &EventsArgs) -> Option<String> {
    let time = |ns: Option<u64>| Some(format!("'{}'", local_time_ns(ns?)));
    let mut words = args.kinds.clone();
    let severity = Some(&args.severity).filter(|name| *name != Severity::Info.name());
    for (option, value) in [
        ("--last", args.last.map(short_duration)),
        ("--since", time(args.since)),
        ("--until", time(args.until)),
        ("-I", args.interface.clone()),
        ("-s", severity.cloned()),
    ] {
        words.extend(value.map(|value| format!("{option} {value}")));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// Parses the name of a kind or category, with hyphens or underscores.
fn known(name: &str) -> Result<String, Failure> {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    if !Kind::named(&plain).is_empty() {
        return Ok(plain);
    }
    let names = || Category::ALL.map(Category::name).into_iter();
    let kinds = Kind::ALL.iter().map(|kind| kind.name());
    let near = nearest(&plain, names().chain(kinds).map(str::to_owned));
    let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    Err(Failure::Other(format!(
        "unknown event kind {name:?}{near} (see netsonde-events(7), or name a category: {})",
        listed(names())
    )))
}

fn severity(name: &str) -> Result<String, Failure> {
    let plain = name.to_ascii_lowercase();
    if Severity::from_name(&plain).is_some() {
        return Ok(plain);
    }
    let all = Severity::ALL.map(Severity::name);
    Err(Failure::Other(unknown("severity", name, all)))
}

/// Maximum time for a restarted service to come back.
const MAX_ABSENCE: Duration = Duration::from_secs(10);
/// Time between attempts to connect again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Prints events until interrupted. A restarted service keeps its events; those after the last
/// printed one are requested again.
fn follow(global: &Global, socket: &Path, call: &EventsCall, style: Style) -> Result<u8, Failure> {
    let interrupt = Interrupt::catch()?;
    let mut call = call.clone();
    let mut last = 0;
    let mut gone: Option<Instant> = None;
    loop {
        let mut show = |reply: Events| -> io::Result<()> {
            if reply.kept < last {
                // Another record, with event numbers of its own.
                last = 0;
            }
            gone = None;
            let mut out = screen::stdout();
            for event in reply.events.iter().filter(|event| event.number > last) {
                let text = if global.json {
                    serde_json::to_string(event).map_err(io::Error::from)?
                } else {
                    line(event, style, global.verbose)
                };
                writeln!(out, "{text}")?;
            }
            last = last.max(reply.kept);
            out.flush()
        };
        let broken = match listen(socket, &call, &interrupt, &mut show) {
            Ok(()) => return Ok(0),
            Err(Failure::Connection(error)) if last > 0 => error,
            Err(other) => return Err(other),
        };
        let since = *gone.get_or_insert_with(Instant::now);
        if since.elapsed() > MAX_ABSENCE || matches!(broken, Error::Remote { .. }) {
            return Err(broken.into());
        }
        (call.limit, call.last_ns, call.since_ns) = (None, None, None);
        if wait_until(Instant::now() + RETRY_INTERVAL, &interrupt)? {
            return Ok(0);
        }
    }
}

/// Follows events on one connection. Returns successfully when interrupted.
fn listen(
    socket: &Path,
    call: &EventsCall,
    interrupt: &Interrupt,
    show: &mut impl FnMut(Events) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut connection = Connection::open(socket)?;
    connection.call_more(METHOD, call)?;
    connection.wait_without_limit()?;
    while let Some((reply, _)) = connection.reply_or::<Events>(Some(interrupt.descriptor()))? {
        show(reply)?;
    }
    Ok(())
}

fn line(event: &Event, style: Style, verbose: bool) -> String {
    let severity = format!("{:7}", event.severity);
    let severity = match &event.severity[..] {
        "warning" => style.warn(&severity),
        "info" => style.dim(&severity),
        _ => severity,
    };
    let interface = event.interface.as_deref().unwrap_or("-");
    let mut line = format!(
        "{} {severity} {:17} {:8} {}",
        style.dim(&local_time(&event.time)),
        event.kind,
        safe(interface),
        safe(&event.text)
    );
    // The command below is not broken, so that it can be copied.
    line = fit(&line, style);
    if verbose && let Some(packets) = &event.packets {
        line.push_str(&format!("\n    {}", style.dim(&command(packets))));
    }
    line
}

/// The command that shows the packets of the event.
fn command(packets: &EventPackets) -> String {
    let interface = packets
        .interface
        .as_ref()
        .map_or_else(String::new, |name| format!(" -I {}", safe(name)));
    format!(
        "netsonde watch --since {} --until {}{interface} '{}'",
        packets.from,
        packets.to,
        safe(&packets.filter)
    )
}
