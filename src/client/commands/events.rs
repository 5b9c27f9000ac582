//! SHELL. `netsonde events`: the log of network events, one per line, and new ones as they happen.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::cli::args::{EventsArgs, Global};
use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::client::interrupt::wait_until;
use crate::client::output::{json, no_match, note};
use crate::client::render::style::{
    Style, local_time, local_time_ns, safe, short_duration, time_ns,
};
use crate::client::render::wrap::fit;
use crate::client::screen;
use crate::linux::wall_ns;
use crate::varlink::client::{Connection, Error, HISTORIAN, ask_with};
use netsonde_core::events::{Category, Kind, Severity};
use netsonde_core::protocol::history::{self, TracedPath};
use netsonde_core::protocol::inventory::{Event, EventPackets, Events, EventsCall};
use netsonde_core::text::{listed, nearest, unknown};
use serde::Serialize;

const METHOD: &str = "io.netsonde.Inventory.Events";
/// Past events shown before new ones, as for tail(1) and journalctl(1).
const PAST_EVENTS: u64 = 10;

/// Most events in a reply of the historian.
const PAGE: u64 = 1000;
/// Most events that are read from the historian: some ten megabytes.
const MAX_OLDER: usize = 100_000;

/// An event of either log. Those of the historian have no number, and of a path that changed what it was and is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Logged {
    #[serde(flatten)]
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Box<TracedPath>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Box<TracedPath>>,
}

/// The events of both logs, as `io.netsonde.Inventory.Events` returns those of one.
#[derive(Serialize)]
struct Joined {
    time: String,
    events: Vec<Logged>,
    kept: u64,
    evicted: u64,
}

/// Runs `netsonde events`. Those that netsonded has no more come from the historian at the other socket.
pub fn run(
    global: &Global,
    socket: &Path,
    historian: &Path,
    args: &EventsArgs,
) -> Result<u8, Failure> {
    let names: Vec<String> = args
        .kinds
        .iter()
        .map(|kind| known(kind))
        .collect::<Result<_, Failure>>()?;
    // What only the historian logs, netsonded does not know.
    let (of_historian, own): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| is_of_historian(name));
    let has_own = of_historian.is_empty() || !own.is_empty();
    if args.follow && !has_own {
        return Err(Failure::Other(format!(
            "--follow shows events of netsonded, and {} are of the historian",
            listed(of_historian.iter().map(String::as_str))
        )));
    }
    let call = EventsCall {
        last_ns: args.last,
        interface: args.interface.clone(),
        kinds: (!own.is_empty()).then(|| own.clone()),
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
    let found: Events = ask_with(socket, METHOD, &call)?;
    let events = found.events.into_iter().filter(|_| has_own);
    let mut reply = Joined {
        time: found.time,
        events: events.map(Logged::from).collect(),
        kept: found.kept,
        evicted: found.evicted,
    };
    let since_ns = args
        .since
        .or_else(|| Some(wall_ns().saturating_sub(args.last?)))
        .or((args.until.is_some() || !of_historian.is_empty()).then_some(0));
    if let Some(since_ns) = since_ns {
        let asked = history::EventsCall {
            since_ns: Some(since_ns),
            until_ns: args.until,
            interface: args.interface.clone(),
            kinds: kinds_of_historian(&own, &of_historian),
            severity: call.severity.clone(),
            limit: Some(PAGE.min(args.number.unwrap_or(PAGE))),
        };
        match older(historian, asked, args.number) {
            Ok(older) => join(older, args.number, &mut reply.events),
            Err(error) if !has_own => return Err(error.into()),
            Err(error) => note_missing(global, socket, since_ns, &error)?,
        }
    }
    let mut out = screen::stdout();
    if global.json {
        json(&mut out, &reply)?;
    }
    let lines = if global.json { &[] } else { &reply.events[..] };
    for logged in lines {
        writeln!(out, "{}", line(&logged.event, style, global.verbose))?;
        if global.verbose {
            for (name, path) in [("before", &logged.before), ("after", &logged.after)] {
                if let Some(path) = path {
                    let shown = format!("    {name:6} {}", hops(path));
                    writeln!(out, "{}", style.dim(&fit(&shown, style)))?;
                }
            }
        }
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

/// Kinds of events that only the historian logs.
const HISTORIAN_KINDS: [&str; 4] = [
    "outage_began",
    "outage_ended",
    "path_changed",
    "target_address_changed",
];
/// Category of all of them.
const HISTORIAN_CATEGORY: &str = "monitor";

fn is_of_historian(name: &str) -> bool {
    name == HISTORIAN_CATEGORY || HISTORIAN_KINDS.contains(&name)
}

/// The kinds that the historian is asked for, one by one; `None` for all.
fn kinds_of_historian(own: &[String], of_historian: &[String]) -> Option<Vec<String>> {
    let all = own.iter().flat_map(|name| Kind::named(name));
    let mut kinds: Vec<String> = all.map(|kind| kind.name().to_owned()).collect();
    for kind in HISTORIAN_KINDS {
        let is_meant = |name: &String| name == kind || name == HISTORIAN_CATEGORY;
        if of_historian.iter().any(is_meant) {
            // Its log has them with hyphens.
            kinds.extend([kind.to_owned(), kind.replace('_', "-")]);
        }
    }
    (!kinds.is_empty()).then_some(kinds)
}

/// Says that the historian does not answer, if it could have something that netsonded has no more.
fn note_missing(
    global: &Global,
    socket: &Path,
    since_ns: u64,
    error: &Error,
) -> Result<(), Failure> {
    // If netsonded has something from before, it has all since.
    let before = EventsCall {
        until_ns: Some(since_ns),
        limit: Some(1),
        ..EventsCall::default()
    };
    let before: Events = ask_with(socket, METHOD, &before)?;
    if before.events.is_empty() {
        let words = "only events that netsonded still has";
        note(global, &format!("{words}: {error}"));
    }
    Ok(())
}

/// Asks the historian for events, the newest first, up to `most`.
fn older(
    historian: &Path,
    mut page: history::EventsCall,
    most: Option<u64>,
) -> Result<Vec<Logged>, Error> {
    let mut connection = Connection::open_to(HISTORIAN, historian)?;
    let mut all: Vec<Logged> = Vec::new();
    loop {
        let found: history::EventsReply = connection.call("io.netsonde.History.Events", &page)?;
        let first = found.events.first().and_then(|event| time_ns(&event.time));
        all.extend(found.events.into_iter().map(Logged::from));
        let is_enough = most.is_some_and(|most| all.len() as u64 >= most);
        let next = first.map(|first| first.saturating_sub(1));
        let goes_back = page.until_ns.is_none() || next < page.until_ns;
        if found.left_out == 0
            || is_enough
            || !goes_back
            || next.is_none()
            || all.len() >= MAX_OLDER
        {
            return Ok(all);
        }
        page.until_ns = next;
    }
}

impl From<Event> for Logged {
    fn from(event: Event) -> Logged {
        Logged {
            event,
            ..Logged::default()
        }
    }
}

impl From<history::Event> for Logged {
    fn from(event: history::Event) -> Logged {
        Logged {
            event: Event {
                number: 0,
                time: event.time,
                kind: event.kind.replace('-', "_"),
                severity: event.severity,
                interface: event.interface,
                subject: event.subject,
                text: event.text,
                packets: None,
            },
            before: event.before,
            after: event.after,
        }
    }
}

/// Adds events that are not there yet, in the order of time, and keeps the newest.
fn join(older: Vec<Logged>, most: Option<u64>, events: &mut Vec<Logged>) {
    let key = |Logged { event, .. }: &Logged| {
        let (time, kind) = (event.time.clone(), event.kind.clone());
        (time, kind, event.subject.clone(), event.text.clone())
    };
    let known: HashSet<_> = events.iter().map(key).collect();
    events.extend(
        older
            .into_iter()
            .filter(|event| !known.contains(&key(event))),
    );
    events.sort_by_cached_key(|logged| time_ns(&logged.event.time));
    let most = most.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    events.drain(..events.len().saturating_sub(most));
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
    if !Kind::named(&plain).is_empty() || is_of_historian(&plain) {
        return Ok(plain);
    }
    let names = || {
        let own = Category::ALL.map(Category::name).into_iter();
        own.chain([HISTORIAN_CATEGORY])
    };
    let kinds = Kind::ALL.iter().map(|kind| kind.name());
    let kinds = kinds.chain(HISTORIAN_KINDS);
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

/// The addresses of a path, hop by hop; `*` for a hop that does not answer.
fn hops(path: &TracedPath) -> String {
    let last = path.hops.last().map_or(0, |hop| hop.hop);
    let all = (1..=last).map(|number| {
        let found = path.hops.iter().find(|hop| hop.hop == number);
        found.map_or("*".into(), |hop| safe(&hop.addresses.join("|")))
    });
    all.collect::<Vec<String>>().join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: u64, text: &str, number: u64) -> Logged {
        Logged::from(Event {
            number,
            time: format!("2026-11-28T03:14:{second:02}Z"),
            text: text.into(),
            ..Event::default()
        })
    }

    #[test]
    fn logs_are_joined_in_order_and_without_doubles() {
        let older = vec![event(2, "b", 0), event(1, "a", 0), event(3, "c", 0)];
        let mut events = vec![event(2, "b", 7), event(3, "other", 8), event(4, "d", 9)];
        join(older.clone(), None, &mut events);
        let texts = |events: &[Logged]| -> Vec<String> {
            events.iter().map(|one| one.event.text.clone()).collect()
        };
        assert_eq!(texts(&events), ["a", "b", "other", "c", "d"]);
        assert_eq!(events[1].event.number, 7);
        join(older, Some(2), &mut events);
        assert_eq!(texts(&events), ["c", "d"]);
    }
}
