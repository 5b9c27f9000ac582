//! SHELL. `doctor`: diagnoses this host's network. It sends probes only to the host's own gateways.
//!
//! | file | what it holds |
//! |---|---|
//! | `gather` | the kernel before and after a short window, and what the service knows |
//! | `probes` | what is sent, and what became of it |

mod gather;
mod probes;

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use crate::client::cli::args::{DoctorArgs, Global};
use crate::client::commands::doctor::filled;
use crate::client::commands::doctor::finding_text;
use crate::client::commands::doctor::links;
use crate::client::failure::Failure;
use crate::client::render::style::{Style, duration, plain};
use crate::linux::netlink::Netlink;
use netsonde_core::diagnose::host::evidence::{Evidence, counted};
use netsonde_core::diagnose::host::{Checked, Diagnosis, diagnose};
use netsonde_core::diagnose::{Severity, Verdict};
use probes::ToSend;

/// Column of the observations, after the longest name of a check.
const SEEN_AT: usize = 40;

/// Runs `doctor`. Returns 0 if healthy, 1 for a fault, 2 if undetermined.
pub fn run(global: &Global, socket: &Path, args: &DoctorArgs) -> Result<u8, Failure> {
    let start = Instant::now();
    let to_send = what_to_send(args)?;
    if !global.json && !global.quiet {
        eprintln!("watching for {}", duration(args.duration));
    }
    let (evidence, sent) = gather::gather(socket, args, &to_send)?;
    let diagnosis = diagnose(&evidence);
    let mut out = io::stdout().lock();
    if global.json {
        let told = serde_json::json!({
            "verdict": diagnosis.verdict,
            "findings": diagnosis.findings,
            "checks": diagnosis.checks,
            "sent": sent,
            "duration_ns": start.elapsed().as_nanos() as u64,
        });
        let text = serde_json::to_string_pretty(&told).map_err(io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        let style = Style::new(global.color);
        write!(
            out,
            "{}",
            text(&evidence, &diagnosis, style, global.verbose)
        )?;
    }
    drop(out);
    Ok(match diagnosis.verdict {
        Verdict::Healthy => 0,
        Verdict::Fault => 1,
        Verdict::Undetermined => {
            eprintln!("netsonde: {}", plain(&why_not(&diagnosis)));
            2
        }
    })
}

/// Explains an undetermined verdict, and what to do.
fn why_not(diagnosis: &Diagnosis) -> String {
    let open = diagnosis
        .checks
        .iter()
        .find(|check| check.state == "not_made");
    match open {
        Some(check) => format!("skipped {}: {}", check.check, check.text),
        None => "there is no interface other than loopback, so there is nothing to check: is \
            this the right network namespace?"
            .into(),
    }
}

/// Lists the probes that would be sent.
pub fn dry_run(global: &Global, args: &DoctorArgs) -> Result<u8, Failure> {
    let to_send = what_to_send(args)?;
    let mut out = io::stdout().lock();
    if global.json {
        let told = serde_json::json!({ "would_send": to_send });
        let text = serde_json::to_string_pretty(&told).map_err(io::Error::from)?;
        writeln!(out, "{text}")?;
        return Ok(0);
    }
    if to_send.is_empty() {
        writeln!(out, "no probes: no route has a gateway")?;
    }
    for one in &to_send {
        writeln!(
            out,
            "would send {} {}s of {} bytes of payload to {} on {}, and resolve its MAC address \
                if it is not known",
            one.count, one.kind, one.size_bytes, one.target, one.interface
        )?;
    }
    Ok(0)
}

fn what_to_send(args: &DoctorArgs) -> Result<Vec<ToSend>, Failure> {
    let mut netlink = Netlink::open()?;
    let (all, _) = links::links(&mut netlink)?;
    if let Some(name) = &args.interface
        && !all.iter().any(|link| link.name == *name)
    {
        return Err(Failure::Other(format!(
            "no such interface: {name} (see `netsonde interfaces`)"
        )));
    }
    let names = (all.into_iter())
        .map(|link| (link.ifindex, link.name))
        .collect();
    let routes = gather::routes(&mut netlink, &names)?;
    Ok(probes::to_send(&routes, args.interface.as_deref()))
}

fn text(evidence: &Evidence, diagnosis: &Diagnosis, style: Style, verbose: bool) -> String {
    let verdict = match diagnosis.verdict {
        Verdict::Healthy => style.good("healthy"),
        Verdict::Fault => style.warn("fault"),
        Verdict::Undetermined => "undetermined".into(),
    };
    let made = (diagnosis.checks.iter()).filter(|check| check.state == "made");
    let looked = format!(
        "{}, {}",
        counted(made.count() as u64, "check"),
        counted(evidence.interfaces().count() as u64, "interface")
    );
    let mut found = Vec::new();
    for (severity, name) in [
        (Severity::Fault, "fault"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ] {
        let of = (diagnosis.findings.iter()).filter(|finding| finding.severity == severity);
        match of.count() {
            0 => {}
            count => found.push(counted(count as u64, name)),
        }
    }
    let found = match found.len() {
        0 => String::new(),
        _ => format!("; {}", found.join(", ")),
    };
    let mut text = format!("{verdict}: {looked}{found}\n");
    for finding in &diagnosis.findings {
        text.push('\n');
        text.push_str(&finding_text(finding, "fault", style));
    }
    if verbose {
        text.push('\n');
        for check in &diagnosis.checks {
            text.push_str(&line(check, style));
        }
        return text;
    }
    let open: Vec<&Checked> = (diagnosis.checks.iter())
        .filter(|check| check.state == "not_made")
        .collect();
    if !open.is_empty() {
        text.push('\n');
    }
    for check in open {
        let words = format!("skipped: {}: {}", check.check, check.text);
        text.push_str(&plain(&filled(&words, 0, 2)));
    }
    text
}

/// Formats a check with its observation.
fn line(check: &Checked, style: Style) -> String {
    let word = match (check.state, check.findings.is_empty()) {
        ("made", true) => "ok",
        ("made", false) => "found",
        ("nothing", _) => "none",
        _ => "not made",
    };
    let padded = format!("{word:8} ");
    let word = match word {
        "ok" => style.good(&padded),
        "none" => style.dim(&padded),
        _ => style.warn(&padded),
    };
    let name = format!("{:width$}", check.check, width = SEEN_AT - 9);
    let seen = if check.findings.is_empty() {
        check.text.clone()
    } else {
        format!("{} ({})", check.text, check.findings.join(", "))
    };
    format!("{word}{name} {}\n", plain(&seen))
}
