//! SHELL. `netsonde drops --since` and `netsonde interfaces --since`: counters of this host in the past, from the historian.

use std::collections::BTreeMap;
use std::path::Path;

use crate::client::cli::args::{Global, Since};
use crate::client::failure::Failure;
use crate::client::historian;
use crate::client::output::{json, note, show};
use crate::client::render::style::{Style, bytes, duration, local_second, local_time_ns, time_ns};
use crate::client::render::table::{Column, table};
use crate::client::screen;
use netsonde_core::protocol::history::{Counter, CounterPoint, CountersCall, CountersReply};
use netsonde_core::text::counted;

/// Name of the layer of interfaces, and of their queues.
const DEVICE: &str = "device";
const QUEUE: &str = "queue";
/// Share of a step below which it was measured in part only: minutes begin and end between those of the clock.
const WHOLE: f64 = 0.9;

fn call(since: &Since, drops: bool) -> CountersCall {
    CountersCall {
        since_ns: since.since,
        until_ns: since.until,
        step_ns: since.step,
        interface: None,
        drops: drops.then_some(true),
    }
}

/// A line of a table: a step, or a time between two steps that was not measured.
enum Line<'a> {
    Step(&'a CounterPoint),
    Nothing { from_ns: u64, ns: u64 },
}

fn lines(points: &[CounterPoint]) -> Vec<Line<'_>> {
    let mut lines = Vec::with_capacity(points.len());
    let mut expected_ns: Option<u64> = None;
    for point in points {
        let begin = time_ns(&point.time);
        if let (Some(from_ns), Some(begin)) = (expected_ns, begin)
            && begin > from_ns
            // A step of its own begins anywhere.
            && begin - from_ns >= point.step_ns.min(60_000_000_000)
        {
            let ns = begin - from_ns;
            lines.push(Line::Nothing { from_ns, ns });
        }
        lines.push(Line::Step(point));
        expected_ns = begin.map(|begin| begin.saturating_add(point.step_ns));
    }
    lines
}

fn not_measured(ns: u64) -> String {
    format!("not measured for {}", duration(ns))
}

/// Two lines about a counter of drops: count, layer, name and subject, and what it means.
pub(crate) fn drop_lines(
    style: Style,
    count: u64,
    (layer, name, subject): (&str, &str, &str),
    words: &str,
) -> String {
    let (count, name) = (style.warn(&format!("{count:>10}")), style.bold(name));
    let words = style.dim(words);
    format!("{count}  {layer:9}  {name}  {subject}\n            {words}")
}

/// Says how many counters that move on any network are not shown.
pub(crate) fn hidden_line(style: Style, count: usize) -> String {
    let counters = counted(count, "counter");
    style.dim(&format!(
        "{counters} of expected drops also increased (-v shows them)"
    ))
}

/// What a step cannot say.
fn remarks(point: &CounterPoint) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(started) = &point.started {
        words.push(format!("counters began: {}", started.join(", ")));
    }
    if (point.measured_ns as f64) < point.step_ns as f64 * WHOLE {
        words.push(format!("measured for {}", duration(point.measured_ns)));
    }
    if let Some(count) = point.left_out {
        words.push(format!("{} not kept", counted(count, "counter")));
    }
    words
}

fn is_shown(counter: &Counter, verbose: bool) -> bool {
    !counter.words.is_empty() && (verbose || !counter.harmless)
}

/// A counter with its subject, if that says more than that it is of this host.
fn name(counter: &Counter) -> String {
    match &counter.subject[..] {
        "this namespace" | "all CPUs" => counter.name.clone(),
        subject => format!("{subject} {}", counter.name),
    }
}

/// Counters that moved, in words.
fn moved<'a>(counters: impl Iterator<Item = &'a Counter>, with_subject: bool) -> Vec<String> {
    let words = |one: &Counter| match with_subject {
        true => format!("{} +{}", name(one), one.by),
        false => format!("{} +{}", one.name, one.by),
    };
    counters.map(words).collect()
}

fn or_dash(words: &[String]) -> String {
    match words.is_empty() {
        true => "-".into(),
        false => words.join("; "),
    }
}

fn left_out(reply: &CountersReply, text: &mut String) {
    if reply.left_out > 0 {
        let older = counted(reply.left_out, "older step");
        text.push_str(&format!(
            "\n... and {older}: --until or a longer --step shows them"
        ));
    }
}

/// Says on standard error that nothing was measured. Returns the exit status.
fn nothing(global: &Global) -> u8 {
    note(
        global,
        "not measured: the historian has no counters of that time",
    );
    1
}

/// Runs `netsonde drops --since`.
pub fn drops(global: &Global, socket: &Path, since: &Since) -> Result<u8, Failure> {
    let reply: CountersReply = historian::ask(socket, "Counters", &call(since, true))?;
    if global.json {
        json(&mut screen::stdout(), &reply)?;
    } else if !reply.points.is_empty() {
        show(global, &reply, drops_text)?;
    }
    if reply.points.is_empty() {
        return Ok(nothing(global));
    }
    let mut all = reply.points.iter().flat_map(|point| &point.counters);
    Ok(u8::from(all.any(|counter| !counter.harmless)))
}

fn drops_text(reply: &CountersReply, style: Style, verbose: bool) -> String {
    let columns = [
        Column::text("TIME"),
        Column::number("DROPS"),
        Column::text("COUNTERS").shrinks(24),
    ];
    let row = |line: &Line<'_>| match line {
        Line::Nothing { from_ns, ns } => {
            vec![local_time_ns(*from_ns), "-".into(), not_measured(*ns)]
        }
        Line::Step(point) => {
            let shown = point.counters.iter().filter(|one| is_shown(one, verbose));
            let lost = point.counters.iter().filter(|one| !one.harmless);
            let mut words = moved(shown, true);
            words.extend(remarks(point));
            vec![
                local_second(&point.time),
                lost.map(|one| one.by).sum::<u64>().to_string(),
                or_dash(&words),
            ]
        }
    };
    let rows: Vec<Vec<String>> = lines(&reply.points).iter().map(row).collect();
    let mut text = table(style, &columns, &rows);
    left_out(reply, &mut text);
    let mut sums: BTreeMap<(bool, &str, &str, &str), (u64, &str)> = BTreeMap::new();
    for one in reply.points.iter().flat_map(|point| &point.counters) {
        let key = (
            one.harmless,
            &one.layer[..],
            &one.name[..],
            &one.subject[..],
        );
        let sum = sums.entry(key).or_insert((0, &one.words));
        sum.0 = sum.0.saturating_add(one.by);
    }
    let (shown, hidden): (Vec<_>, Vec<_>) = sums
        .into_iter()
        .partition(|((harmless, ..), _)| verbose || !harmless);
    text.push('\n');
    if shown.is_empty() {
        text.push_str(&format!(
            "\n{}: no counter shows an unexpected drop in what was measured",
            style.good("none")
        ));
    }
    for ((_, layer, name, subject), (sum, words)) in shown {
        let lines = drop_lines(style, sum, (layer, name, subject), words);
        text.push_str(&format!("\n{lines}"));
    }
    if !hidden.is_empty() {
        text.push_str(&format!("\n{}", hidden_line(style, hidden.len())));
    }
    text
}

/// Runs `netsonde interfaces --since`.
pub fn interfaces(
    global: &Global,
    socket: &Path,
    since: &Since,
    names: &[String],
) -> Result<u8, Failure> {
    let asked = CountersCall {
        interface: match names {
            [one] => Some(one.clone()),
            _ => None,
        },
        ..call(since, false)
    };
    let mut reply: CountersReply = historian::ask(socket, "Counters", &asked)?;
    for point in &mut reply.points {
        point.counters.retain(|one| {
            let known = interface(one);
            known.is_some_and(|name| names.is_empty() || names.iter().any(|one| one == name))
        });
    }
    if global.json {
        json(&mut screen::stdout(), &reply)?;
    }
    if reply.points.is_empty() {
        return Ok(nothing(global));
    }
    let is_empty = |point: &CounterPoint| point.counters.is_empty();
    if !names.is_empty() && reply.points.iter().all(is_empty) {
        let names = names.join(", ");
        let words = format!("no counter of {names} moved in the time that was measured");
        note(global, &words);
        return Ok(1);
    }
    if !global.json {
        show(global, &reply, interfaces_text)?;
    }
    Ok(0)
}

/// The interface that a counter belongs to.
fn interface(counter: &Counter) -> Option<&str> {
    match &counter.layer[..] {
        DEVICE => Some(&counter.subject),
        QUEUE => counter.subject.split(' ').next(),
        _ => None,
    }
}

fn interfaces_text(reply: &CountersReply, style: Style, verbose: bool) -> String {
    let columns = [
        Column::text("TIME"),
        Column::text("INTERFACE"),
        Column::number("RX PACKETS"),
        Column::number("RX BYTES").may_hide(1),
        Column::number("TX PACKETS"),
        Column::number("TX BYTES").may_hide(2),
        Column::number("DROPS"),
        Column::text("COUNTERS").shrinks(16),
    ];
    let other = |time: String, words: String| {
        let mut row = vec!["-".to_owned(); columns.len()];
        row[0] = time;
        row[columns.len() - 1] = words;
        row
    };
    let mut rows = Vec::new();
    for line in lines(&reply.points) {
        let point = match line {
            Line::Step(point) => point,
            Line::Nothing { from_ns, ns } => {
                rows.push(other(local_time_ns(from_ns), not_measured(ns)));
                continue;
            }
        };
        let mut all: BTreeMap<&str, Vec<&Counter>> = BTreeMap::new();
        for counter in &point.counters {
            all.entry(interface(counter).unwrap_or_default())
                .or_default()
                .push(counter);
        }
        let time = local_second(&point.time);
        let mut remarks = remarks(point);
        if all.is_empty() {
            remarks.insert(0, "nothing moved".into());
        }
        let has_remarks = !remarks.is_empty();
        for (name, counters) in all {
            let value = |name: &str| {
                let found = counters.iter().find(|one| one.name == name);
                found.map_or(0, |one| one.by)
            };
            let own = counters.iter().copied();
            let lost = own.clone().filter(|one| !one.harmless);
            rows.push(vec![
                time.clone(),
                name.to_owned(),
                value("rx_packets").to_string(),
                bytes(value("rx_bytes")),
                value("tx_packets").to_string(),
                bytes(value("tx_bytes")),
                lost.map(|one| one.by).sum::<u64>().to_string(),
                or_dash(&moved(own.filter(|one| is_shown(one, verbose)), false)),
            ]);
        }
        if has_remarks {
            rows.push(other(time, remarks.join("; ")));
        }
    }
    let mut text = table(style, &columns, &rows);
    left_out(reply, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::render::style::Color;

    fn counter(layer: &str, subject: &str, name: &str, by: u64, harmless: bool) -> Counter {
        let words = if name.ends_with("packets") {
            ""
        } else {
            "words"
        };
        Counter {
            layer: layer.into(),
            subject: subject.into(),
            name: name.into(),
            by,
            words: words.into(),
            harmless: harmless || words.is_empty(),
        }
    }

    fn reply() -> CountersReply {
        let point = |minute: u64, counters: Vec<Counter>| CounterPoint {
            time: format!("2026-11-28T03:{minute:02}:00Z"),
            step_ns: 60_000_000_000,
            measured_ns: 60_000_000_000,
            counters,
            ..CounterPoint::default()
        };
        let mut last = point(
            5,
            vec![
                counter("device", "e0", "rx_packets", 7, true),
                counter("device", "e0", "tx_dropped", 2, false),
                counter("queue", "e0 fq_codel 0:", "drops", 3, false),
                counter("udp", "this namespace", "UdpRcvbufErrors", 4, false),
                counter("device", "e0", "rx_dropped", 9, true),
            ],
        );
        last.started = Some(vec!["e1".into()]);
        last.measured_ns = 20_000_000_000;
        CountersReply {
            points: vec![point(1, vec![]), last],
            left_out: 0,
        }
    }

    #[test]
    fn drops_of_the_past_have_their_counters_and_gaps() {
        let style = Style::new(Color::Never);
        let mut reply = reply();
        for point in &mut reply.points {
            point.counters.retain(|one| !one.words.is_empty());
        }
        let text = drops_text(&reply, style, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("0  -"), "{text}");
        assert!(
            lines[2].ends_with("-  not measured for 3 min 0 s"),
            "{text}"
        );
        assert!(
            lines[3].ends_with(
                "9  e0 tx_dropped +2; e0 fq_codel 0: drops +3; UdpRcvbufErrors +4; counters began: e1; \
                 measured for 20.0 s"
            ),
            "{text}"
        );
        assert!(
            text.contains("         4  udp        UdpRcvbufErrors  this namespace"),
            "{text}"
        );
        assert!(
            text.ends_with("1 counter of expected drops also increased (-v shows them)"),
            "{text}"
        );
        assert!(drops_text(&reply, style, true).contains("rx_dropped +9"));
    }

    #[test]
    fn interfaces_of_the_past_have_a_line_each() {
        let style = Style::new(Color::Never);
        let mut reply = reply();
        for point in &mut reply.points {
            point.counters.retain(|one| interface(one).is_some());
        }
        let text = interfaces_text(&reply, style, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("nothing moved"), "{text}");
        assert!(lines[3].contains("e0"), "{text}");
        assert!(lines[3].ends_with("5  tx_dropped +2; drops +3"), "{text}");
        assert!(lines[4].contains("counters began: e1"), "{text}");
    }
}
