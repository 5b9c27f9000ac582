//! SHELL. `doctor`, `mcast doctor` and `explain`: gathers evidence, diagnoses it, and prints the
//! findings.
//!
//! | file | what it holds |
//! |---|---|
//! | `gather` | packets, counters, sysctls: before and after |
//! | `links` | interfaces, bridges and forwarded groups by netlink |
//! | `processes` | which process holds which socket |
//! | `host` | `doctor`: the same of the whole host |

mod gather;
pub(crate) mod host;
mod links;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use crate::client::cli::args::{Global, McastDoctor};
use crate::client::failure::Failure;
use crate::client::render::style::Style;
use crate::linux::{memberships, proc_net};
use netsonde_core::diagnose::evidence::{Evidence, Process};
use netsonde_core::diagnose::{
    Certainty, Diagnosis, Finding, Severity, Text, Verdict, diagnose, find, texts,
};
use netsonde_core::host::socket::parse_sockets;

/// Columns for wrapped text, as in manual pages.
const COLUMNS: usize = 80;

/// Runs `mcast doctor`.
pub fn run(global: &Global, socket: &Path, args: &McastDoctor) -> Result<u8, Failure> {
    let start = Instant::now();
    let evidence = match &args.read {
        Some(path) => gather::from_file(args, path)?,
        None => {
            if !global.json && !global.quiet {
                eprintln!(
                    "watching {} for {}",
                    args.channel,
                    crate::client::render::style::duration(args.duration)
                );
            }
            gather::gather(socket, args)?
        }
    };
    let diagnosis = diagnose(&evidence);
    let mut out = io::stdout().lock();
    if global.json {
        let told = serde_json::json!({
            "subject": {
                "group": args.channel.group.to_string(),
                "port": args.channel.port,
                "interface": args.interface,
                "source": args.source.map(|source| source.to_string()),
            },
            "verdict": diagnosis.verdict,
            "findings": diagnosis.findings,
            "duration_ns": start.elapsed().as_nanos() as u64,
        });
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&told).map_err(io::Error::from)?
        )?;
    } else {
        writeln!(
            out,
            "{}",
            text(args, &evidence, &diagnosis, Style::new(global.color)).trim_end()
        )?;
    }
    Ok(match diagnosis.verdict {
        Verdict::Healthy => 0,
        Verdict::Fault => 1,
        Verdict::Undetermined => {
            drop(out);
            eprintln!(
                "netsonde: no traffic or membership for {} on this host: run this on a receiver \
                    or sender, or use --join",
                args.channel
            );
            2
        }
    })
}

fn text(args: &McastDoctor, evidence: &Evidence, diagnosis: &Diagnosis, style: Style) -> String {
    let mut text = match diagnosis.verdict {
        Verdict::Healthy => format!("{}: {}\n", args.channel, style.good("healthy")),
        Verdict::Fault => format!("{}: {}\n", args.channel, style.warn("fault")),
        Verdict::Undetermined => format!("{}: undetermined\n", args.channel),
    };
    if diagnosis.verdict == Verdict::Healthy {
        text.push_str(&healthy(evidence));
    }
    for finding in &diagnosis.findings {
        text.push('\n');
        text.push_str(&finding_text(finding, "cause", style));
    }
    text
}

/// Describes the traffic of a healthy group.
fn healthy(evidence: &Evidence) -> String {
    let (from, to) = evidence.window;
    let mut counts: std::collections::BTreeMap<(u32, bool), u64> =
        std::collections::BTreeMap::new();
    for packet in &evidence.wire.group_packets {
        if (from..=to).contains(&packet.time_ns) {
            *counts
                .entry((packet.ifindex, packet.is_inbound()))
                .or_default() += 1;
        }
    }
    let mut text = String::new();
    for ((ifindex, inbound), packets) in counts {
        let name = evidence
            .wire
            .names
            .get(&ifindex)
            .cloned()
            .unwrap_or_default();
        let way = if inbound { "came in on" } else { "left by" };
        text.push_str(&format!("  {packets} packets {way} {name}\n"));
    }
    text
}

/// Formats a finding as a paragraph; `fault` is the label of a fault.
fn finding_text(finding: &Finding, fault: &str, style: Style) -> String {
    let severity = match finding.severity {
        Severity::Fault => fault,
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let certainty = match finding.certainty {
        Certainty::Proved => "proved",
        Certainty::Consistent => "consistent with everything observed",
    };
    let mut text = format!("{severity}: {} ({certainty})\n", style.bold(finding.id));
    text.push_str(&filled(&finding.summary, 2, 0));
    if !finding.fix.is_empty() {
        text.push_str(&filled(&format!("fix: {}", finding.fix), 2, 5));
    }
    for item in &finding.evidence {
        text.push_str(&style.dim(&filled(&format!("{}: {}", item.source, item.text), 4, 2)));
    }
    text
}

/// Wraps a paragraph; lines after the first are indented further.
pub(crate) fn filled(words: &str, indent: usize, hanging: usize) -> String {
    let mut text = String::new();
    let mut line = " ".repeat(indent);
    for word in words.split_whitespace() {
        if line.trim().is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = format!("{}{word}", " ".repeat(indent + hanging));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    text.push_str(&line);
    text.push('\n');
    text
}

/// Returns which process joined which group on which interface, in which mode and for which
/// sources, as far as the caller may know.
pub fn who_holds() -> Vec<(String, IpAddr, Process, bool, Vec<IpAddr>)> {
    let held = memberships();
    let mut udp = parse_sockets(&proc_net("udp"));
    udp.extend(parse_sockets(&proc_net("udp6")));
    let name = |ifindex: u32| {
        let name = nix::net::if_::if_indextoname(ifindex).ok()?;
        name.into_string().ok()
    };
    let mut all = Vec::new();
    for holder in crate::linux::processes::holders(&udp, &held, None) {
        for (ifindex, group, include, sources) in holder.joined {
            if let Some(name) = name(ifindex) {
                all.push((name, group, holder.process.clone(), include, sources));
            }
        }
    }
    all
}

/// Runs `explain`.
pub fn explain(global: &Global, id: Option<&str>) -> Result<u8, Failure> {
    let style = Style::new(global.color);
    let wanted: Vec<Text> = match id {
        Some(id) => vec![find(id).ok_or_else(|| unknown(id))?],
        None => texts(),
    };
    let mut out = io::stdout().lock();
    if global.json {
        let all: Vec<_> = (wanted.iter())
            .map(|mode| {
                serde_json::json!({
                    "id": mode.id, "title": mode.title, "seen": mode.symptoms, "cause": mode.cause,
                    "proof": mode.proof, "fix": mode.fix,
                })
            })
            .collect();
        let told = serde_json::json!({ "findings": all });
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&told).map_err(io::Error::from)?
        )?;
        return Ok(0);
    }
    if id.is_none() {
        let mut sorted = wanted;
        sorted.sort_by_key(|mode| mode.id);
        let rows: Vec<Vec<String>> = (sorted.iter())
            .map(|mode| vec![mode.id.to_owned(), mode.title.to_owned()])
            .collect();
        writeln!(
            out,
            "{}",
            crate::client::render::style::table(style, &["FINDING", "IS"], &rows)
        )?;
        return Ok(0);
    }
    for mode in wanted {
        writeln!(out, "{}: {}", style.bold(mode.id), mode.title)?;
        for (head, words) in [
            ("Symptoms", mode.symptoms),
            ("Cause", mode.cause),
            ("Evidence", mode.proof),
            ("Fix", mode.fix),
        ] {
            writeln!(out, "\n{}", style.bold(head))?;
            write!(out, "{}", filled(words, 2, 0))?;
        }
    }
    Ok(0)
}

/// Names the nearest ids.
fn unknown(id: &str) -> Failure {
    let words: Vec<&str> = id.split('-').filter(|word| word.len() > 2).collect();
    let near: Vec<&str> = (texts().iter())
        .map(|mode| mode.id)
        .filter(|known| words.iter().any(|word| known.contains(word)))
        .take(4)
        .collect();
    let hint = if near.is_empty() {
        "`netsonde explain` lists all findings".into()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    Failure::Other(format!("unknown finding {id}: {hint}"))
}
