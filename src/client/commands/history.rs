//! SHELL. `netsonde history`: loss and round trip of a target over time, and single probes.

use std::io::IsTerminal;
use std::path::Path;

use crate::client::cli::args::{Global, HistoryArgs};
use crate::client::failure::Failure;
use crate::client::historian;
use crate::client::output::{json, note, show};
use crate::client::render::style::{
    Style, duration, local_second, local_time, local_time_ns, ms, share, time_ns,
};
use crate::client::render::table::{Column, table};
use crate::client::screen;
use netsonde_core::protocol::history::{
    AtCall, AtReply, Distribution, HistoryCall, HistoryReply, Point,
};
use netsonde_core::text::counted;

/// Heights of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A step in which every probe was lost.
const ALL_LOST: char = '×';
/// A step that was not measured.
const NOT_MEASURED: char = ' ';
/// Width of a sparkline on a terminal whose width is not known.
const USUAL_WIDTH: usize = 80;
/// Columns beside a sparkline: its scale.
const SCALE_WIDTH: usize = 32;

/// Runs `netsonde history`.
pub fn run(global: &Global, socket: &Path, args: &HistoryArgs) -> Result<u8, Failure> {
    if let Some(at_ns) = args.at {
        return at(global, socket, args, at_ns);
    }
    let call = HistoryCall {
        target: args.target.clone(),
        since_ns: args.since,
        until_ns: args.until,
        step_ns: args.step,
    };
    let reply: HistoryReply = historian::ask(socket, "History", &call)?;
    if global.json {
        json(&mut screen::stdout(), &reply)?;
    } else if reply.span.sent > 0 {
        let with_line = std::io::stdout().is_terminal();
        show(global, &reply, |reply, style, _| {
            text(reply, style, with_line)
        })?;
    }
    if reply.span.sent > 0 {
        return Ok(0);
    }
    let words = match reasons(reply.span.gaps.as_deref().unwrap_or_default()) {
        None => "not measured".into(),
        Some(reasons) => format!("not measured: {reasons}"),
    };
    let begin = local_second(&reply.span.time);
    note(
        global,
        &format!(
            "{} since {begin}: {words}",
            heading(&reply.name, &reply.target)
        ),
    );
    Ok(1)
}

/// The target and its monitor.
fn heading(name: &str, target: &str) -> String {
    match name.is_empty() || name == target {
        true => target.to_owned(),
        false => format!("{target} ({name})"),
    }
}

/// A line of the table: a step, or a time between two steps of which there is nothing.
enum Line<'a> {
    Step(&'a Point),
    Nothing { from_ns: u64, ns: u64 },
}

/// The steps, with what is missing between them.
fn lines(points: &[Point]) -> Vec<Line<'_>> {
    let mut lines = Vec::with_capacity(points.len());
    let mut expected_ns: Option<u64> = None;
    for point in points {
        let begin = time_ns(&point.time);
        if let (Some(from_ns), Some(begin)) = (expected_ns, begin)
            && begin > from_ns
        {
            lines.push(Line::Nothing {
                from_ns,
                ns: begin - from_ns,
            });
        }
        lines.push(Line::Step(point));
        expected_ns = begin.map(|begin| begin.saturating_add(point.step_ns));
    }
    lines
}

fn text(reply: &HistoryReply, style: Style, with_line: bool) -> String {
    let lines = lines(&reply.points);
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let columns = [
        Column::text("TIME"),
        Column::number("SENT"),
        Column::number("LOSS"),
        Column::number("P50"),
        Column::number("P90").may_hide(1),
        Column::number("P99"),
        Column::text("NOT REPLIED").shrinks(12),
    ];
    let mut parts = vec![style.bold(&heading(&reply.name, &reply.target))];
    if with_line && let Some(line) = sparkline(&lines, style) {
        parts.push(line);
    }
    parts.push(table(style, &columns, &rows));
    parts.push(String::new());
    parts.push(sum(&reply.span));
    parts.join("\n")
}

/// The round trip on the wire; without one as ping(8) measures it.
fn round_trip(point: &Point) -> Option<&Distribution> {
    point.wire_rtt_ns.as_ref().or(point.rtt_ns.as_ref())
}

fn row(line: &Line<'_>) -> Vec<String> {
    let point = match line {
        Line::Step(point) => point,
        Line::Nothing { from_ns, ns } => {
            let words = format!("not measured for {}", duration(*ns));
            return not_measured(local_time_ns(*from_ns), words);
        }
    };
    let gaps = point.gaps.as_deref().and_then(reasons);
    let time = local_second(&point.time);
    if point.sent == 0 {
        let words = gaps.map(|reasons| format!("not measured: {reasons}"));
        return not_measured(time, words.unwrap_or("not measured".into()));
    }
    let figure = |of: fn(&Distribution) -> u64| {
        round_trip(point).map_or("-".into(), |all| format!("{} ms", ms(of(all))))
    };
    let mut words = historian::fates(&point.fates, false);
    if let Some(reasons) = gaps {
        let separator = if words.is_empty() { "" } else { "; " };
        words.push_str(&format!("{separator}partly not measured: {reasons}"));
    }
    vec![
        time,
        point.sent.to_string(),
        share(point.sent.saturating_sub(point.received), point.sent),
        figure(|all| all.p50),
        figure(|all| all.p90),
        figure(|all| all.p99),
        words,
    ]
}

fn not_measured(time: String, words: String) -> Vec<String> {
    let none = || "-".to_owned();
    vec![time, none(), none(), none(), none(), none(), words]
}

/// Says why it was not measured, as far as there are words for it; `None` if nothing is known.
fn reasons(gaps: &[String]) -> Option<String> {
    let words = |gap: &String| match gap.as_str() {
        "stopped" => "the historian was stopped".into(),
        "paused" => "paused".into(),
        "suspended" => "the host was suspended".into(),
        "clock_step" => "the clock was set".into(),
        "no_service" => "netsonded sent no probes".into(),
        "dropped" => "results did not reach the historian".into(),
        "not_stored" => "the disk took no results".into(),
        "unknown" => "for an unknown reason".into(),
        other => other.to_owned(),
    };
    let all: Vec<String> = gaps.iter().map(words).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// A line of the medians, one character a step or more: blank where nothing was measured.
fn sparkline(lines: &[Line<'_>], style: Style) -> Option<String> {
    let steps = steps(lines);
    let room = style
        .width()
        .unwrap_or(USUAL_WIDTH)
        .saturating_sub(SCALE_WIDTH);
    let at_once = steps.len().div_ceil(room.max(1)).max(1);
    let known = steps.iter().flatten().filter_map(|point| round_trip(point));
    let medians: Vec<u64> = known.map(|all| all.p50).collect();
    let (least, most) = (*medians.iter().min()?, *medians.iter().max()?);
    let bars: String = steps
        .chunks(at_once)
        .map(|chunk| bar(chunk, least, most))
        .collect();
    Some(format!("median {} to {} ms |{bars}|", ms(least), ms(most)))
}

/// Steps of equal length: as many blanks as steps are missing.
fn steps<'a>(lines: &[Line<'a>]) -> Vec<Option<&'a Point>> {
    let mut steps = Vec::new();
    let length = lines.iter().find_map(|line| match line {
        Line::Step(point) => Some(point.step_ns.max(1)),
        Line::Nothing { .. } => None,
    });
    for line in lines {
        match line {
            Line::Step(point) => steps.push(Some(*point)),
            Line::Nothing { ns, .. } => {
                // At least one, that the line breaks; no more than any history has points.
                let missing = (ns / length.unwrap_or(1)).clamp(1, 10_000);
                steps.extend((0..missing).map(|_| None));
            }
        }
    }
    steps
}

/// One character for steps: the highest median, a cross if all was lost in one of them.
fn bar(steps: &[Option<&Point>], least: u64, most: u64) -> char {
    let measured = || steps.iter().flatten().filter(|point| point.sent > 0);
    if measured().next().is_none() {
        return NOT_MEASURED;
    }
    if measured().any(|point| point.received == 0) {
        return ALL_LOST;
    }
    let medians = measured().filter_map(|point| Some(round_trip(point)?.p50));
    let Some(highest) = medians.max() else {
        return NOT_MEASURED;
    };
    let range = most.saturating_sub(least).max(1) as f64;
    let height = highest.saturating_sub(least) as f64 / range * (BARS.len() - 1) as f64;
    BARS[(height.round() as usize).min(BARS.len() - 1)]
}

/// All of it: what was sent and lost, and the distributions.
fn sum(span: &Point) -> String {
    let lost = span.sent.saturating_sub(span.received);
    let fates = historian::fates(&span.fates, false);
    let fates = match fates.is_empty() {
        true => String::new(),
        false => format!(" ({fates})"),
    };
    let mut lines = vec![format!(
        "{} in {}: {} lost, {}{fates}",
        counted(span.sent, "probe"),
        duration(span.step_ns),
        lost,
        match lost {
            0 => "0%".into(),
            lost => share(lost, span.sent),
        }
    )];
    for (name, all) in [
        ("on the wire", span.wire_rtt_ns.as_ref()),
        ("as ping measures", span.rtt_ns.as_ref()),
    ] {
        lines.extend(all.map(|all| {
            format!(
                "round trip {name}: min {} median {} p90 {} p99 {} max {} ms",
                ms(all.min),
                ms(all.p50),
                ms(all.p90),
                ms(all.p99),
                ms(all.max)
            )
        }));
    }
    if let Some(reasons) = span.gaps.as_deref().and_then(reasons) {
        lines.push(format!("partly not measured: {reasons}"));
    }
    lines.join("\n")
}

/// Prints the probe that was sent at a time or before.
fn at(global: &Global, socket: &Path, args: &HistoryArgs, at_ns: u64) -> Result<u8, Failure> {
    let call = AtCall {
        target: args.target.clone(),
        time_ns: at_ns,
    };
    let reply: AtReply = historian::ask(socket, "At", &call)?;
    if global.json {
        json(&mut screen::stdout(), &reply)?;
    } else if reply.probe.is_some() {
        show(global, &reply, |reply, style, _| probe(reply, at_ns, style))?;
    }
    if reply.probe.is_none() {
        let heading = heading(&reply.name, &reply.target);
        let words = format!("{heading} was not measured at {}", local_time_ns(at_ns));
        note(global, &words);
        return Ok(1);
    }
    Ok(0)
}

fn probe(reply: &AtReply, at_ns: u64, style: Style) -> String {
    let heading = heading(&reply.name, &reply.target);
    let Some(probe) = &reply.probe else {
        return heading;
    };
    let before = time_ns(&probe.time).map(|sent| at_ns.saturating_sub(sent));
    let before = before.map_or(String::new(), |ns| {
        format!(", {} before {}", duration(ns), local_time_ns(at_ns))
    });
    let mut lines = vec![format!(
        "{}: the last probe was sent at {}{before}",
        style.bold(&heading),
        local_time(&probe.time)
    )];
    let mut fact = |name: &str, words: String| lines.push(format!("  {name:<11} {words}"));
    fact(
        "fate",
        match probe.fate.as_str() {
            "replied" => style.good("replied"),
            other => style.warn(other),
        },
    );
    if let Some(words) = &probe.words {
        fact("seen", words.clone());
    }
    let times = [
        ("on the wire", probe.wire_rtt_ns),
        ("as ping measures", probe.rtt_ns),
    ];
    let times: Vec<String> = times
        .iter()
        .filter_map(|(name, ns)| Some(format!("{} ms {name}", ms((*ns)?))))
        .collect();
    if !times.is_empty() {
        fact("round trip", times.join(", "));
    }
    let outage = reply
        .outage
        .map(|id| format!(" (netsonde outages {id})"))
        .unwrap_or_default();
    fact("state", format!("{}{outage}", reply.state));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::render::style::Color;

    fn point(second: u64, sent: u64, received: u64, p50: Option<u64>) -> Point {
        Point {
            time: format!("2026-11-28T03:{:02}:{:02}Z", second / 60, second % 60),
            step_ns: 10_000_000_000,
            sent,
            received,
            wire_rtt_ns: p50.map(|p50| Distribution {
                p50: p50 * 1_000_000,
                ..Distribution::default()
            }),
            ..Point::default()
        }
    }

    #[test]
    fn sparklines_break_where_nothing_was_measured() {
        let style = Style::new(Color::Never).with_width(Some(80));
        let points = [
            point(0, 10, 10, Some(1)),
            point(10, 10, 0, None),
            point(20, 0, 0, None),
            point(30, 10, 10, Some(8)),
            // Two steps are missing.
            point(60, 10, 9, Some(4)),
        ];
        let line = sparkline(&lines(&points), style).unwrap();
        assert_eq!(line, "median 1.00 to 8.00 ms |▁× █  ▄|");
        // Narrower: two steps a character, and what was lost is not lost on the way.
        let narrow = style.with_width(Some(SCALE_WIDTH + 4));
        let line = sparkline(&lines(&points), narrow).unwrap();
        assert_eq!(line, "median 1.00 to 8.00 ms |×█ ▄|");
        assert_eq!(sparkline(&lines(&points[1..3]), style), None);
    }

    #[test]
    fn missing_steps_are_lines_of_their_own() {
        let points = [point(0, 10, 10, Some(1)), point(60, 0, 0, None)];
        let rows: Vec<Vec<String>> = lines(&points).iter().map(row).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1][6], "not measured for 50.0 s");
        assert_eq!(rows[2][6], "not measured");
    }
}
