//! SHELL. `doctor`: diagnosis of this host's network. It sends packets to the host's own gateways only.
//!
//! | file | contents |
//! |---|---|
//! | `gather` | all evidence: kernel state before and after a short window, and data of the service |
//! | `interfaces`, `routes` | interfaces with their addresses, and routes, by netlink |
//! | `multicast` | recorded group management messages, for the rules of multicast |
//! | `lengths` | recorded ICMP messages, for the rules of MTUs |
//! | `repeats` | packets of the window that were seen more than once |
//! | `probes` | echo requests to the gateways, and their fates |

mod gather;
mod interfaces;
mod lengths;
mod multicast;
mod probes;
mod repeats;
mod routes;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use netsonde_core::diagnose::host::evidence::HostEvidence;
use netsonde_core::diagnose::host::{Checked, HostDiagnosis, diagnose};
use netsonde_core::diagnose::{Severity, Verdict, withdraw_proof};
use netsonde_core::text::counted;

use crate::client::cli::args::{DoctorArgs, Global};
use crate::client::commands::doctor::{count, finding_text, head, is_strict_failure, links};
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output::{json, progress};
use crate::client::render::style::{Style, duration};
use crate::client::render::wrap::{fit, wrap};
use crate::client::screen;
use crate::linux::netlink::Netlink;

use probes::ToSend;

/// Width of the column of check names, for the longest.
const NAME_WIDTH: usize = 31;
/// Width of the column of outcomes, for "not applicable".
const OUTCOME_WIDTH: usize = 14;

/// Runs `doctor`. Returns 0 if the host is healthy, 1 on a fault, 2 if the verdict is undetermined.
pub fn run(
    global: &Global,
    socket: &Path,
    historian: &Path,
    args: &DoctorArgs,
) -> Result<u8, Failure> {
    let start = Instant::now();
    let is_one_network = namespace::require(socket)?;
    let to_send = planned_probes(args)?;
    progress(global, &format!("watching for {}", duration(args.duration)));
    let (evidence, sent) = gather::gather((socket, historian), args, &to_send)?;
    let mut diagnosis = diagnose(&evidence);
    if !is_one_network {
        withdraw_proof(&mut diagnosis.findings);
    }
    let mut out = screen::stdout();
    if global.json {
        let report = serde_json::json!({
            "verdict": diagnosis.verdict,
            "findings": diagnosis.findings,
            "checks": diagnosis.checks,
            "sent": sent,
            "duration_ns": start.elapsed().as_nanos() as u64,
        });
        json(&mut out, &report)?;
    } else {
        let style = global.style();
        write!(
            out,
            "{}",
            render(&evidence, &diagnosis, style, global.verbose)
        )?;
    }
    drop(out);
    if is_strict_failure(args.strict, &diagnosis.findings) {
        return Ok(1);
    }
    Ok(match diagnosis.verdict {
        Verdict::Healthy => 0,
        Verdict::Fault => 1,
        Verdict::Undetermined => {
            eprintln!("netsonde: {}", why_undetermined(&diagnosis));
            2
        }
    })
}

/// Returns why the verdict is undetermined, and what to do.
fn why_undetermined(diagnosis: &HostDiagnosis) -> String {
    let skipped = diagnosis
        .checks
        .iter()
        .find(|check| check.state == "not_made");
    match skipped {
        Some(check) => format!("skipped {}: {}", check.check, check.text),
        None => "there is no interface other than loopback, so there is nothing to check: is this \
            the right network namespace?"
            .into(),
    }
}

/// Runs `doctor --dry-run`: prints the probes that would be sent.
pub fn dry_run(global: &Global, args: &DoctorArgs) -> Result<u8, Failure> {
    let to_send = planned_probes(args)?;
    let mut out = screen::stdout();
    if global.json {
        let report = serde_json::json!({ "would_send": to_send });
        json(&mut out, &report)?;
        return Ok(0);
    }
    if to_send.is_empty() {
        writeln!(out, "no probes: no route has a gateway")?;
    }
    for one in &to_send {
        writeln!(
            out,
            "would send {} {}s of {} bytes of payload to {} on {}, and resolve its MAC address if \
                it is not known",
            one.count, one.kind, one.size_bytes, one.target, one.interface
        )?;
    }
    Ok(0)
}

/// Returns the probes for the gateways of this host.
fn planned_probes(args: &DoctorArgs) -> Result<Vec<ToSend>, Failure> {
    let mut netlink = Netlink::open()?;
    let (all, _) = links::links(&mut netlink)?;
    if let Some(name) = &args.interface
        && !all.iter().any(|link| link.name == *name)
    {
        return Err(Failure::no_such_interface(name));
    }
    let names = all
        .into_iter()
        .map(|link| (link.ifindex, link.name))
        .collect();
    let routes = routes::routes(&mut netlink, &names)?;
    Ok(probes::to_send(&routes, args.interface.as_deref()))
}

/// Renders the verdict and the findings; with `verbose` also all checks, else the skipped ones.
fn render(
    evidence: &HostEvidence,
    diagnosis: &HostDiagnosis,
    style: Style,
    verbose: bool,
) -> String {
    let verdict = head(diagnosis.verdict, &diagnosis.findings, style);
    let done = diagnosis
        .checks
        .iter()
        .filter(|check| check.state == "made");
    let checked = format!(
        "{}, {}",
        counted(done.count() as u64, "check"),
        counted(evidence.interfaces().count() as u64, "interface")
    );
    let mut found = Vec::new();
    for (severity, name) in [
        (Severity::Fault, "fault"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ] {
        // The head of a host without a fault has them already.
        if severity == Severity::Warning && diagnosis.verdict == Verdict::Healthy {
            continue;
        }
        match count(&diagnosis.findings, severity) {
            0 => {}
            number => found.push(counted(number, name)),
        }
    }
    let found = match found.len() {
        0 => String::new(),
        _ => format!("; {}", found.join(", ")),
    };
    let mut text = format!("{verdict}: {checked}{found}\n");
    for finding in &diagnosis.findings {
        text.push('\n');
        text.push_str(&finding_text(finding, "fault", style));
    }
    if verbose {
        text.push('\n');
        for check in &diagnosis.checks {
            text.push_str(&fit(&check_line(check, style), style));
        }
        return text;
    }
    let skipped: Vec<&Checked> = diagnosis
        .checks
        .iter()
        .filter(|check| check.state == "not_made")
        .collect();
    if !skipped.is_empty() {
        text.push('\n');
    }
    for check in skipped {
        let words = format!("skipped: {}: {}", check.check, check.text);
        text.push_str(&wrap(&words, 0, 2));
    }
    text
}

/// Renders a check with its outcome, the findings and what was seen.
pub(super) fn check_line(check: &Checked, style: Style) -> String {
    let outcome = match (check.state, check.findings.is_empty()) {
        ("made", true) => "ok",
        ("made", false) => "found",
        ("nothing", _) => "not applicable",
        _ => "skipped",
    };
    let padded = format!("{outcome:OUTCOME_WIDTH$} ");
    let outcome = match outcome {
        "ok" => style.good(&padded),
        "not applicable" => style.dim(&padded),
        _ => style.warn(&padded),
    };
    let name = format!("{:NAME_WIDTH$}", check.check);
    let seen = if check.findings.is_empty() {
        check.text.clone()
    } else {
        format!("{} ({})", check.text, check.findings.join(", "))
    };
    format!("{outcome}{name} {}\n", seen)
}
