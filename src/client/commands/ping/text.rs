//! SHELL. What `netsonde ping` prints: lines as ping's, tables for many, JSON, and the evidence.

use std::collections::HashMap;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::Path;

use serde::Serialize;

use crate::client::cli::args::{Global, Ping};
use crate::client::commands::ping::Wanted;
use crate::client::commands::ping::size_check::{self, SizeCheck};
use crate::client::failure::Failure;
use crate::client::files::output_file::OutputFile;
use crate::client::render::style::{Style, ms};
use crate::client::render::table::{Column, table};
use crate::client::screen::{self, Screen};
use netsonde_core::protocol::ping::{Distribution, Probe, Remark, Summary, TargetRow, Total};
use netsonde_core::text::{counted, was_or_were};

/// Prints one JSON object per line.
#[derive(Serialize)]
struct Line<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// Output of a ping command.
pub struct Output<'a> {
    global: &'a Global,
    args: &'a Ping,
    style: Style,
    out: BufWriter<Screen<Stdout>>,
    names: HashMap<String, String>,
    is_single: bool,
    is_group: bool,
    begun_table: bool,
    /// For --evidence: identifiers of the runs, and the fate of each probe.
    evidence: crate::client::commands::ping::evidence::Collected,
}

fn percent(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

fn span(figures: &Distribution) -> String {
    let all = [figures.min, figures.mean, figures.max, figures.stddev];
    all.map(|ns| format!("{:.3}", ns as f64 / 1e6)).join("/")
}

fn quantiles(figures: &Distribution) -> String {
    let all = [figures.p50, figures.p90, figures.p99];
    all.map(|ns| format!("{:.3}", ns as f64 / 1e6)).join("/")
}

fn fates(of: &std::collections::BTreeMap<String, u64>) -> String {
    let words: Vec<String> = of
        .iter()
        .map(|(fate, count)| format!("{fate} {count}"))
        .collect();
    words.join(", ")
}

impl<'a> Output<'a> {
    /// Creates an output. `is_single`: there is one target, so lines need not name it.
    pub fn new(
        global: &'a Global,
        args: &'a Ping,
        names: HashMap<String, String>,
        is_single: bool,
        is_group: bool,
    ) -> Output<'a> {
        Output {
            global,
            args,
            style: global.style(),
            out: BufWriter::new(screen::shared_stdout()),
            names,
            is_single,
            is_group,
            begun_table: false,
            evidence: Default::default(),
        }
    }

    /// Prints the header line of a run.
    pub fn begin(&mut self, wanted: &[Wanted]) -> Result<(), Failure> {
        if self.global.json {
            return Ok(());
        }
        for one in wanted {
            let name = one.name.as_deref().unwrap_or(&one.target);
            if let Some(transport) = self.transport() {
                writeln!(self.out, "PING {name} ({}) by {transport}.", one.target)?;
                continue;
            }
            let header = if one.is_ipv4 { 28 } else { 48 };
            writeln!(
                self.out,
                "PING {name} ({}) {}({}) bytes of data.",
                one.target,
                self.args.size,
                self.args.size + header
            )?;
        }
        self.flush()
    }

    /// Returns protocol and port, unless echo requests are sent.
    fn transport(&self) -> Option<String> {
        match (self.args.tcp, self.args.udp) {
            (Some(port), _) => Some(format!("TCP to port {port}")),
            (_, Some(port)) => Some(format!(
                "UDP to port {port}, {} bytes of data",
                self.args.size
            )),
            _ => None,
        }
    }

    /// Flushes the output.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    /// Records the identifier of a run's echo requests.
    pub fn identifier(&mut self, id: u16) {
        self.evidence.identifier(id);
    }

    fn json<T: Serialize>(&mut self, event: &'static str, body: &T) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, &Line { event, body }).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn named(&self, target: &str) -> String {
        self.names
            .get(target)
            .cloned()
            .unwrap_or_else(|| target.to_owned())
    }

    /// Prints a probe, or a further reply to it.
    pub fn probe(&mut self, probe: &Probe) -> Result<(), Failure> {
        if self.args.evidence.is_some() {
            self.evidence.probe(probe);
        }
        if self.global.quiet {
            return Ok(());
        }
        if self.global.json {
            let mut probe = probe.clone();
            probe.target = self.named(&probe.target);
            let event = if probe.duplicate == Some(true) {
                "duplicate"
            } else {
                "probe"
            };
            return self.json(event, &probe);
        }
        if self.is_group {
            return Ok(());
        }
        let is_fine = probe.fate == "replied" && probe.duplicate.is_none();
        if self.args.flood && is_fine {
            return Ok(());
        }
        if self.args.timestamp
            && let Ok(time) = probe.time.parse::<jiff::Timestamp>()
        {
            write!(
                self.out,
                "[{}.{:06}] ",
                time.as_second(),
                time.subsec_nanosecond() / 1000
            )?;
        }
        let line = self.line(probe);
        writeln!(self.out, "{line}")?;
        Ok(())
    }

    fn line(&self, probe: &Probe) -> String {
        let seq = match self.args.tcp.or(self.args.udp) {
            Some(_) => "seq",
            None => "icmp_seq",
        };
        let what = match (self.args.tcp, self.args.udp) {
            (Some(port), _) => format!("SYN-ACK from port {port} of"),
            (_, Some(port)) => format!("datagram from port {port} of"),
            _ => format!("{} bytes from", self.args.size + 8),
        };
        let mut line = match (probe.fate.as_str(), &probe.from) {
            ("replied" | "late" | "corrupted", Some(from)) => {
                let ttl = probe
                    .ttl
                    .map(|ttl| format!(" ttl={ttl}"))
                    .unwrap_or_default();
                let shown = match self.names.get(&probe.target) {
                    Some(name) if *from == probe.target => format!("{name} ({from})"),
                    _ => from.clone(),
                };
                format!("{what} {shown}: {seq}={}{ttl}", probe.seq)
            }
            ("refused", Some(from)) => {
                let meaning = match (&probe.error, probe.reset) {
                    (Some(error), _) => error.meaning.clone(),
                    (None, Some(true)) => match probe.ttl {
                        Some(ttl) => format!("connection refused (RST, TTL {ttl})"),
                        None => "connection refused (RST)".into(),
                    },
                    (None, _) => String::new(),
                };
                let whom = if self.is_single {
                    String::new()
                } else {
                    format!(" ({})", self.named(&probe.target))
                };
                format!("From {from}: {seq}={}{whom} refused: {meaning}", probe.seq)
            }
            (fate, _) => {
                let last_seen = probe.last_seen.as_deref().unwrap_or("no further evidence");
                format!(
                    "{}: {seq}={} {fate}: {last_seen}",
                    self.named(&probe.target),
                    probe.seq
                )
            }
        };
        if let Some(rtt) = probe.rtt_ns {
            line.push_str(&format!(" time={} ms", ms(rtt)));
        }
        if let Some(wire) = probe.wire_rtt_ns {
            line.push_str(&format!(" wire={} ms", ms(wire)));
        }
        if let Some(resolve) = probe.resolve_ns {
            line.push_str(&format!(" resolve={} ms", ms(resolve)));
        }
        if self.global.verbose {
            for (name, ns) in [("queue", probe.queue_ns), ("wake", probe.wake_ns)] {
                if let Some(ns) = ns {
                    line.push_str(&format!(" {name}={} ms", ms(ns)));
                }
            }
        }
        if probe.duplicate == Some(true) {
            line.push_str(" (DUP!)");
        }
        let is_reply = matches!(probe.fate.as_str(), "replied" | "late" | "corrupted");
        if is_reply && probe.has_other_source() {
            let asked = if self.is_single {
                String::new()
            } else {
                format!(" {} was asked", self.named(&probe.target))
            };
            line.push_str(&format!(" (DIFFERENT ADDRESS!{asked})"));
        }
        let before = match &probe.instead_of {
            Some(_) => " (previously reported as lost)",
            None => "",
        };
        match probe.fate.as_str() {
            "replied" => line,
            "late" => format!("{line} {}", self.style.warn(&format!("late{before}"))),
            "refused" => self.style.warn(&format!("{line}{before}")),
            "corrupted" if probe.from.is_some() => {
                let why = probe.last_seen.as_deref().unwrap_or("");
                format!("{line} {}", self.style.warn(&format!("corrupted: {why}")))
            }
            _ => self.style.warn(&line),
        }
    }

    /// Prints that a smaller probe is sent, since larger ones were lost.
    pub fn size_check(&mut self, target: &str, size: u32) -> Result<(), Failure> {
        if self.global.quiet || self.global.json {
            return Ok(());
        }
        writeln!(
            self.out,
            "{}: {} probes of {} bytes were lost; sending one of {size} bytes, which is not counted",
            self.named(target),
            size_check::LOSSES,
            self.args.size
        )?;
        self.flush()
    }

    /// Prints what became of the smaller probe.
    pub fn size_checked(&mut self, check: &SizeCheck) -> Result<(), Failure> {
        if self.global.quiet {
            return Ok(());
        }
        if self.global.json {
            let mut check = check.clone();
            check.probe.target = self.named(&check.probe.target);
            return self.json("size_check", &check);
        }
        let probe = &check.probe;
        let detail = match (probe.rtt_ns, &probe.last_seen) {
            (Some(rtt), _) => format!("time={} ms", ms(rtt)),
            (None, Some(last_seen)) => last_seen.clone(),
            (None, None) => "no further evidence".into(),
        };
        writeln!(
            self.out,
            "{}: the probe of {} bytes: {}: {detail}",
            self.named(&probe.target),
            check.size,
            probe.fate
        )?;
        Ok(())
    }

    /// Prints the summary of a target.
    pub fn summary(&mut self, summary: &Summary) -> Result<(), Failure> {
        if self.global.json {
            let mut summary = summary.clone();
            summary.target = self.named(&summary.target);
            return self.json("summary", &summary);
        }
        if summary.responders.is_some() {
            return self.responders(summary);
        }
        if self.is_single {
            return self.single(summary);
        }
        let all = (summary.received < summary.sent).then(|| summary.fates.clone());
        let remarks = summary.remarks.clone();
        self.row(&TargetRow {
            target: summary.target.clone(),
            sent: summary.sent,
            received: summary.received,
            fates: all,
            rtt_ns: summary.rtt_ns.map(|figures| figures.p50),
            wire_rtt_ns: summary.wire_rtt_ns.map(|figures| figures.p50),
            remarks,
        })
    }

    /// Prints the table row of one of many targets.
    pub fn row(&mut self, row: &TargetRow) -> Result<(), Failure> {
        if !self.begun_table {
            self.begun_table = true;
            let head = format!(
                "{:<25} {:>6} {:>6} {:>8} {:>10} {:>10}  FATES",
                "TARGET", "SENT", "RECV", "LOSS", "RTT ms", "WIRE ms"
            );
            writeln!(self.out, "{}", self.style.bold(&head))?;
        }
        let shown = |ns: Option<u64>| ns.map_or("-".into(), ms);
        let loss = match row.sent {
            sent if sent == row.received => "0%".into(),
            sent => percent((sent - row.received.min(sent)) as f64 * 100.0 / sent as f64),
        };
        let mut line = format!(
            "{:<25} {:>6} {:>6} {loss:>8} {:>10} {:>10}  {}",
            self.names.get(&row.target).unwrap_or(&row.target),
            row.sent,
            row.received,
            shown(row.rtt_ns),
            shown(row.wire_rtt_ns),
            row.fates
                .as_ref()
                .map_or_else(|| format!("replied {}", row.sent), fates)
        );
        if row.received == 0 {
            line = self.style.warn(&line);
        }
        writeln!(self.out, "{line}")?;
        for remark in row.remarks.iter().flatten() {
            let line = format!("  {}: {}", self.named(&row.target), remark.text);
            writeln!(self.out, "{}", self.style.warn(&line))?;
        }
        Ok(())
    }

    fn single(&mut self, summary: &Summary) -> Result<(), Failure> {
        writeln!(
            self.out,
            "\n--- {} ping statistics ---",
            self.named(&summary.target)
        )?;
        let mut line = format!(
            "{} packets transmitted, {} received, {} packet loss",
            summary.sent,
            summary.received,
            percent(summary.loss_percent)
        );
        for (word, count) in [
            ("duplicates", summary.duplicates),
            ("late", summary.late),
            ("reordered", summary.reordered),
        ] {
            if count > 0 {
                line.push_str(&format!(", {count} {word}"));
            }
        }
        writeln!(self.out, "{line}")?;
        if summary.received < summary.sent {
            writeln!(self.out, "fates: {}", fates(&summary.fates))?;
        }
        for (word, figures) in [("rtt", &summary.rtt_ns), ("wire", &summary.wire_rtt_ns)] {
            if let Some(figures) = figures {
                writeln!(
                    self.out,
                    "{word:<4} min/avg/max/mdev = {} ms, p50/p90/p99 = {} ms",
                    span(figures),
                    quantiles(figures)
                )?;
            }
        }
        if let Some(jitter) = summary.jitter_ns {
            writeln!(self.out, "jitter {} ms (RFC 3550)", ms(jitter))?;
        }
        if let Some(windows) = &summary.windows {
            writeln!(
                self.out,
                "loss in the last 10 s {}, in the last minute {}, in the worst 10 s {}",
                percent(windows.last_10s_percent),
                percent(windows.last_60s_percent),
                percent(windows.worst_10s_percent)
            )?;
        }
        self.remarks(summary)
    }

    fn remarks(&mut self, summary: &Summary) -> Result<(), Failure> {
        for remark in summary.remarks.iter().flatten() {
            self.remark(remark)?;
        }
        Ok(())
    }

    /// Prints a remark about the target, or about all targets of a table.
    pub fn remark(&mut self, remark: &Remark) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{}", self.style.warn(&remark.text))?)
    }

    fn responders(&mut self, summary: &Summary) -> Result<(), Failure> {
        let all = summary.responders.as_deref().unwrap_or_default();
        writeln!(
            self.out,
            "{}: {}, {} answered",
            self.named(&summary.target),
            counted(summary.sent, "probe"),
            counted(all.len(), "host")
        )?;
        if !all.is_empty() {
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|one| {
                    vec![
                        one.address.clone(),
                        one.mac.clone().unwrap_or_else(|| "-".into()),
                        one.replies.to_string(),
                        one.duplicates.to_string(),
                        percent(one.loss_percent),
                        one.rtt_ns.map_or("-".into(), |figures| span(&figures)),
                    ]
                })
                .collect();
            let columns = [
                Column::text("ADDRESS"),
                Column::text("MAC").may_hide(1),
                Column::number("REPLIES"),
                Column::number("DUPLICATES").may_hide(2),
                Column::number("LOSS"),
                Column::text("RTT min/avg/max/mdev ms"),
            ];
            writeln!(self.out, "{}", table(self.style, &columns, &rows))?;
        } else {
            let words = fates(&summary.fates);
            writeln!(self.out, "fates: {words}")?;
        }
        if let Some(left_out) = summary.responders_left_out {
            writeln!(
                self.out,
                "{left_out} not attributed: too many responders",
                left_out = counted(left_out, "further reply")
            )?;
        }
        self.remarks(summary)
    }

    /// Prints the totals.
    pub fn end(&mut self, totals: &[Total]) -> Result<(), Failure> {
        let out = &mut self.out;
        for total in totals {
            if self.global.json {
                let line = serde_json::to_string(&Line {
                    event: "total",
                    body: total,
                });
                writeln!(out, "{}", line.map_err(io::Error::from)?)?;
                continue;
            }
            if !self.is_single && !self.is_group {
                writeln!(
                    out,
                    "{}, {} answered; {} sent, {} received, {} loss in {:.3} s; {}",
                    counted(total.targets, "target"),
                    total.answered,
                    total.sent,
                    total.received,
                    percent(total.loss_percent),
                    total.duration_ns as f64 / 1e9,
                    fates(&total.fates)
                )?;
            }
            if total.forged > 0 {
                writeln!(
                    out,
                    "{} ignored: wrong cookie (forged?)",
                    counted(total.forged, "reply")
                )?;
            }
            if total.stray > 0 {
                writeln!(
                    out,
                    "{} {} too late to be matched",
                    counted(total.stray, "reply"),
                    was_or_were(total.stray)
                )?;
            }
            if total.events_dropped > 0 {
                writeln!(
                    out,
                    "{} dropped, because they were not read fast enough",
                    counted(total.events_dropped, "line")
                )?;
            }
        }
        self.flush()
    }

    /// Writes the packets of these runs.
    pub fn write_evidence(&self, socket: &Path, output: OutputFile) -> Result<(), Failure> {
        let shown = output.shown().to_owned();
        let written = self.evidence.write(socket, output)?;
        if !self.global.quiet {
            let _ = writeln!(
                screen::stderr(),
                "{} to {shown}",
                counted(written, "packet")
            );
        }
        Ok(())
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        let _ = self.out.flush();
    }
}
