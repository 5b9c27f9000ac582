//! SHELL. `netsonde trace --continuous`: a round of probes each interval, until it is interrupted.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use super::{Names, drawn, options, settings, text, transport};
use crate::client::cli::args::{Global, Trace as Args};
use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::client::render::in_place;
use crate::client::render::style::{Style, local_second, ms, safe};
use crate::client::render::table::{Column, table};
use crate::client::render::wrap::fit;
use crate::client::screen;
use crate::linux::{monotonic_ns, wall_ns};
use crate::varlink::client::Error;
use crate::varlink::trace::Session;
use netsonde_core::protocol::time;
use netsonde_core::protocol::trace::{Answer, Options, Step};
use netsonde_core::text::counted;
use netsonde_core::trace::{Change, Drawn, HopState, RoundHop, RoundReport, Rounds};

/// Time between two rounds without `-i`, in nanoseconds.
const INTERVAL_NS: u64 = 1_000_000_000;
/// Time after the limit of an answer until the service has decided, in nanoseconds.
const DECIDED_NS: u64 = 100_000_000;
/// Time for which the service keeps a decided probe, in nanoseconds, and how many probes it keeps of a run.
const KEPT: (u64, u64) = (10_000_000_000, 4096);
/// Changes that are shown below the table of a terminal: the last ones.
const SHOWN_CHANGES: usize = 8;

/// A round as a document.
#[derive(Serialize)]
struct Document<'a> {
    /// Target, as it was given.
    target: &'a str,
    /// Its address.
    address: &'a str,
    /// What the probes are.
    transport: &'static str,
    /// Destination port, if it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Time of writing.
    time: String,
    #[serde(flatten)]
    report: &'a RoundReport,
    /// Errors that other traffic drew before; in the first document only.
    #[serde(skip_serializing_if = "Option::is_none")]
    drawn: Option<&'a [Drawn]>,
}

/// How often, and how many times.
struct Schedule {
    interval_ns: u64,
    count: Option<u32>,
    timeout_ns: u64,
}

impl Schedule {
    /// Reads the options.
    ///
    /// # Errors
    /// More probes would wait at a time than the service keeps.
    fn of(args: &Args) -> Result<Schedule, Failure> {
        let interval_ns = args.interval.unwrap_or(INTERVAL_NS);
        let kept_ns = args.timeout.saturating_add(KEPT.0 + DECIDED_NS);
        let hops = u64::from(args.max - args.first) + 1;
        let kept = (kept_ns / interval_ns + 1).saturating_mul(hops);
        if kept > KEPT.1 {
            return Err(Failure::Other(format!(
                "{} to {} would be kept at a time, and the limit is {}: choose a longer -i, a shorter -W or a lower -m",
                counted(kept, "probe"),
                counted(hops, "hop"),
                KEPT.1
            )));
        }
        Ok(Schedule {
            interval_ns,
            count: args.count,
            timeout_ns: args.timeout,
        })
    }
}

/// What is shown after each round.
struct Output<'a> {
    global: &'a Global,
    args: &'a Args,
    address: &'a str,
    style: Style,
    names: Names,
    drawn: Option<Vec<Drawn>>,
    started: String,
    /// Whether the report is drawn in place.
    is_terminal: bool,
    /// Round that was shown last.
    shown: u32,
}

impl Output<'_> {
    /// Returns the report with names.
    fn report(&self, rounds: &Rounds) -> RoundReport {
        let mut report = rounds.report();
        for hop in &mut report.hops {
            let name = hop
                .address
                .and_then(|address| self.names.known.get(&address));
            hop.name = name.cloned();
        }
        report
    }

    /// Shows a round that has ended, once: a line of JSON, or the table of a terminal.
    fn round(&mut self, rounds: &Rounds) -> Result<(), Failure> {
        if self.shown == rounds.round() {
            return Ok(());
        }
        self.names.collect();
        let is_first = self.shown == 0;
        self.shown = rounds.round();
        let mut out = screen::stdout();
        if self.global.json {
            let document = Document {
                target: &self.args.target,
                address: self.address,
                transport: transport(self.args).name(),
                port: transport(self.args).port().filter(|port| *port != 0),
                time: time(wall_ns()),
                report: &self.report(rounds),
                drawn: self.drawn.as_deref().filter(|_| is_first),
            };
            let line = serde_json::to_string(&document).map_err(io::Error::from)?;
            writeln!(out, "{line}")?;
        } else if self.is_terminal {
            if is_first {
                in_place::clear(&mut out)?;
            }
            let text = self.text(&self.report(rounds), SHOWN_CHANGES);
            in_place::redraw(&mut out, text.trim_end())?;
        }
        out.flush()?;
        Ok(())
    }

    /// Shows the end: what is not drawn in place.
    fn end(&mut self, rounds: &Rounds) -> Result<(), Failure> {
        if self.global.json {
            return self.round(rounds);
        }
        self.names.wait();
        let report = self.report(rounds);
        let mut out = screen::stdout();
        let text = self.text(&report, usize::MAX);
        match self.is_terminal && self.shown > 0 {
            true => in_place::redraw(&mut out, text.trim_end())?,
            false => write!(out, "{text}")?,
        }
        let drawn = self.drawn.as_deref().unwrap_or_default();
        write!(out, "{}", drawn::render(self.address, drawn, self.style))?;
        out.flush()?;
        Ok(())
    }

    fn text(&self, report: &RoundReport, most_changes: usize) -> String {
        let reached = match report.is_reached {
            true => "",
            false => ", not reached",
        };
        let mut text = format!(
            "{} over {}{reached}; {} since {}\n",
            self.address,
            text::over(transport(self.args)),
            counted(report.round, "round"),
            self.started
        );
        text = fit(&text, self.style);
        text.push_str(&hops(&report.hops, !self.args.numeric, self.style));
        text.push('\n');
        if let Some(why) = &report.unsent_reason {
            let probes = counted(report.unsent, "probe");
            let line = format!("{probes} did not leave this host: {}\n", safe(why));
            text.push_str(&fit(&line, self.style));
        }
        let shown = report.changes.len().min(most_changes);
        if shown > 0 {
            text.push('\n');
        }
        let earlier = report.change_count - shown as u64;
        if earlier > 0 {
            text.push_str(&format!("{} before\n", counted(earlier, "change")));
        }
        for change in &report.changes[report.changes.len() - shown..] {
            text.push_str(&fit(&line(change), self.style));
        }
        text
    }
}

/// A change as a line.
fn line(change: &Change) -> String {
    format!("{}  {}\n", local_second(&change.time), safe(&change.text))
}

/// Renders the hops, one line each.
fn hops(all: &[RoundHop], has_names: bool, style: Style) -> String {
    let row = |hop: &RoundHop| {
        let figures = hop.wire_rtt_ns.or(hop.rtt_ns);
        let time = |of: fn(netsonde_core::trace::Figures) -> u64| {
            figures.map_or_else(|| "-".into(), |figures| ms(of(figures)))
        };
        let address = hop
            .address
            .map_or_else(|| "*".into(), |one| one.to_string());
        let mut row = vec![hop.hop.to_string(), address];
        if has_names {
            row.push(hop.name.as_deref().map(safe).unwrap_or_default());
        }
        row.extend([
            match hop.answered {
                0 => "-".into(),
                _ => format!("{:.1}", hop.loss_percent),
            },
            hop.sent.to_string(),
            (hop.sent - hop.answered).to_string(),
            time(|figures| figures.last),
            time(|figures| figures.avg),
            time(|figures| figures.min),
            time(|figures| figures.max),
            time(|figures| figures.stddev),
            state(hop),
        ]);
        row
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let mut columns = vec![Column::number("HOP"), Column::text("ADDRESS")];
    if has_names {
        columns.push(Column::text("NAME").shrinks(8));
    }
    columns.extend([
        Column::number("LOSS %"),
        Column::number("SENT"),
        Column::number("MISSED"),
        Column::number("LAST ms"),
        Column::number("AVG"),
        Column::number("BEST"),
        Column::number("WORST"),
        Column::number("STDEV").may_hide(1),
        Column::text("STATE").shrinks(12),
    ]);
    table(style, &columns, &rows)
}

fn state(hop: &RoundHop) -> String {
    let state = match hop.state {
        HopState::Answers => "",
        HopState::Silent => "silent",
        HopState::NowSilent => "silent now",
        HopState::MissesAnswers if hop.loss_percent == 0.0 => "misses answers, no loss",
        HopState::MissesAnswers => "misses more answers than are lost",
        HopState::LostOrLimited => "loses packets, or limits its answers",
        HopState::Lossy => "loses packets",
    };
    match (hop.addresses, state) {
        (0 | 1, state) => state.to_owned(),
        (count, "") => format!("{count} addresses"),
        (count, state) => format!("{count} addresses; {state}"),
    }
}

/// A run that is opened again when the service has ended it.
struct Probing<'a> {
    socket: &'a Path,
    target: &'a str,
    options: Options,
    session: Option<Session>,
}

impl Probing<'_> {
    /// Sends probes. Of a service that is away none are.
    fn send(&mut self, steps: &[Step], rounds: &mut Rounds) -> Result<(), Failure> {
        if self.session.is_none() {
            match Session::open(self.socket, self.target, &self.options) {
                Ok(session) => self.session = Some(session),
                // What cannot work from the start is an error of the command.
                Err(error) if !rounds.has_left() && rounds.round() <= 1 => return Err(error.into()),
                Err(_) => {
                    rounds.give_up();
                    return Ok(());
                }
            }
            if rounds.round() > 1 {
                rounds.resume(wall_ns());
            }
        }
        let sent = self.session.as_mut().map(|session| session.add(steps));
        match sent {
            Some(Err(error)) => self.lose(error, rounds),
            _ => Ok(()),
        }
    }

    /// Waits for answers. `None` if a signal came.
    fn answers(
        &mut self,
        until_ns: u64,
        interrupt: &Interrupt,
        rounds: &mut Rounds,
    ) -> Result<Option<Vec<Answer>>, Failure> {
        let Some(session) = &mut self.session else {
            let left = until_ns.saturating_sub(monotonic_ns());
            let due = std::time::Instant::now() + std::time::Duration::from_nanos(left);
            let came = crate::client::interrupt::wait_until(due, interrupt)?;
            return Ok((!came).then(Vec::new));
        };
        match session.answers(Some(until_ns), interrupt.descriptor()) {
            Err(error) => {
                self.lose(error, rounds)?;
                Ok(Some(Vec::new()))
            }
            Ok(answers) => Ok(answers),
        }
    }

    /// The service has gone, or ended the run: the next round tries again. What it refuses is an error.
    fn lose(&mut self, error: Error, rounds: &mut Rounds) -> Result<(), Failure> {
        if matches!(&error, Error::Remote { .. }) && rounds.round() <= 1 {
            return Err(error.into());
        }
        self.session = None;
        rounds.pause(wall_ns(), &error.to_string());
        Ok(())
    }
}

/// Runs `netsonde trace --continuous`. Returns 0 if the target has answered, 1 if not, and 2 if no probe left this host.
pub(super) fn run(
    global: &Global,
    socket: &Path,
    args: &Args,
    (target, address): (&str, std::net::IpAddr),
    interrupt: &Interrupt,
) -> Result<u8, Failure> {
    let schedule = Schedule::of(args)?;
    let mut rounds = Rounds::new(settings(args, address));
    let mut output = Output {
        global,
        args,
        address: target,
        style: global.style(),
        names: Names::new(!args.numeric),
        drawn: drawn::read(global, socket, address),
        started: local_second(&time(wall_ns())),
        is_terminal: io::stdout().is_terminal() && !global.json,
        shown: 0,
    };
    let mut probing = Probing {
        socket,
        target,
        options: options(args),
        session: None,
    };
    let mut due_ns = monotonic_ns();
    loop {
        let now_ns = monotonic_ns();
        if now_ns >= due_ns {
            let is_last = schedule.count.is_some_and(|count| rounds.round() >= count);
            if rounds.round() > 0 {
                output.round(&rounds)?;
            }
            if is_last {
                break;
            }
            let steps = rounds.begin();
            probing.send(&steps, &mut rounds)?;
            due_ns = (due_ns + schedule.interval_ns).max(now_ns);
            if schedule.count == Some(rounds.round()) {
                // The last round has its time for answers.
                due_ns = now_ns + schedule.timeout_ns + DECIDED_NS;
            }
        }
        let Some(answers) = probing.answers(due_ns, interrupt, &mut rounds)? else {
            interrupt.take();
            break;
        };
        for answer in &answers {
            let from = answer.from.as_deref().and_then(|from| from.parse().ok());
            if let Some(from) = from {
                output.names.look_up(from);
            }
            let steps = rounds.add(answer);
            if !steps.is_empty() {
                probing.send(&steps, &mut rounds)?;
            }
        }
        if rounds.is_complete() && rounds.round() > 0 && !answers.is_empty() {
            output.round(&rounds)?;
            if schedule.count == Some(rounds.round()) {
                break;
            }
        }
    }
    output.end(&rounds)?;
    Ok(match (rounds.report().is_reached, rounds.has_left()) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    })
}
