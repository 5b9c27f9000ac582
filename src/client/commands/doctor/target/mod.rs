//! SHELL. `doctor TARGET[:PORT]`: why a name, a host or a port cannot be reached, or is slow.
//!
//! | file | contents |
//! |---|---|
//! | `lookup` | resolves the name, and reads from the record what the resolver asked |
//! | `way` | the way to one address: route, echo requests, lengths, routers |
//! | `attempt` | the attempt to reach the port, as a program would make it |
//! | `seen` | packets of the record about it |

mod attempt;
mod lookup;
mod seen;
mod way;

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use netsonde_core::diagnose::target::evidence::{TargetEvidence, Way};
use netsonde_core::diagnose::target::subject::{Host, Protocol, Subject};
use netsonde_core::diagnose::target::{TargetDiagnosis, diagnose};
use netsonde_core::diagnose::{Severity, Verdict, withdraw_proof};
use netsonde_core::text::counted;
use netsonde_core::wire::services::port_of_service;
use serde::Serialize;

use crate::client::cli::args::{DoctorArgs, Global};
use crate::client::commands::doctor::{count, finding_text, head, is_strict_failure};
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output::{json, progress};
use crate::client::render::style::Style;
use crate::client::render::wrap::fit;
use crate::client::screen;

use super::host::check_line;

/// Addresses of a name that are tried: names of large services have four of a family, and more would take long.
const MOST_ADDRESSES: usize = 8;
/// Addresses that are tried at the same time: each takes three connections to the service, and a user has eight.
const AT_ONCE: usize = 2;
/// Time after which no further addresses are tried: those that fail take some seconds each.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is sent, in words and for scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToSend {
    /// Kind: "name lookup", "echo request", "connection", "datagram" or "SYN".
    pub kind: &'static str,
    /// What is special about them, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// To whom.
    pub target: String,
    /// Number of packets, before it is known the highest; for a lookup and a connection 1.
    pub count: u32,
    /// Length with the IP header in bytes; 0 where it does not apply.
    pub bytes: u32,
    /// When: "always" or "if something fails".
    pub when: &'static str,
}

/// Demanded interface and source address.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// Interface.
    pub interface: Option<String>,
    /// Source address.
    pub source: Option<IpAddr>,
}

/// Parses the target.
pub fn parse(text: &str) -> Result<Subject, Failure> {
    let service = |name: &str, protocol: Protocol| port_of_service(protocol == Protocol::Tcp, name);
    Subject::parse(text, service).map_err(Failure::Other)
}

/// Runs `doctor TARGET`. Returns 0 if it is reached, 1 on a fault, 2 if the verdict is undetermined.
pub fn run(global: &Global, socket: &Path, args: &DoctorArgs, target: &str) -> Result<u8, Failure> {
    let subject = parse(target)?;
    let by = by(args)?;
    let start = Instant::now();
    let is_one_network = namespace::require(socket)?;
    progress(global, &format!("trying to reach {subject}"));
    let (evidence, sent) = gather(socket, subject, &by)?;
    let mut diagnosis = diagnose(&evidence);
    if !is_one_network {
        withdraw_proof(&mut diagnosis.findings);
    }
    let mut out = screen::stdout();
    if global.json {
        let report = serde_json::json!({
            "subject": {
                "target": evidence.subject.host(),
                "port": evidence.subject.port.map(|(_, port)| port),
                "protocol": evidence.subject.port.map(|(protocol, _)| protocol.name().to_lowercase()),
                "interface": by.interface,
                "source": by.source.map(|source| source.to_string()),
            },
            "verdict": diagnosis.verdict,
            "findings": diagnosis.findings,
            "checks": diagnosis.checks,
            "sent": sent,
            "duration_ns": start.elapsed().as_nanos() as u64,
        });
        json(&mut out, &report)?;
    } else {
        let text = render(&evidence, &diagnosis, global.style(), global.verbose);
        write!(out, "{text}")?;
    }
    drop(out);
    if is_strict_failure(args.strict, &diagnosis.findings) {
        return Ok(1);
    }
    Ok(match diagnosis.verdict {
        Verdict::Healthy => 0,
        Verdict::Fault => 1,
        Verdict::Undetermined => {
            let why = evidence
                .ways
                .iter()
                .find_map(|way| way.echoes.as_ref().err());
            match why {
                Some(why) => eprintln!("netsonde: no probe was sent: {why}"),
                None => eprintln!("netsonde: nothing that was seen explains it"),
            }
            2
        }
    })
}

fn by(args: &DoctorArgs) -> Result<By, Failure> {
    let source = match &args.source {
        None => None,
        Some(text) => Some(
            netsonde_core::address::parse_address(text)
                .map_err(|why| Failure::Other(format!("--source {text}: {why}")))?,
        ),
    };
    Ok(By {
        interface: args.interface.clone(),
        source,
    })
}

/// Gathers the evidence. Of each family the first address is tried, both at the same time; then the further ones.
fn gather(
    socket: &Path,
    subject: Subject,
    by: &By,
) -> Result<(TargetEvidence, Vec<ToSend>), Failure> {
    let mut sent = Vec::new();
    let (lookup, targets) = match &subject.host {
        Host::Address(..) => (None, vec![subject.host()]),
        Host::Name(name) => {
            sent.push(to_look_up(name));
            let lookup = lookup::look_up(socket, name)?;
            let targets = by_turns(lookup.found.as_deref().unwrap_or_default());
            (Some(lookup), targets)
        }
    };
    let start = Instant::now();
    let mut ways = Vec::new();
    let most = targets.len().min(MOST_ADDRESSES);
    while ways.len() < most && (ways.is_empty() || start.elapsed() < PATIENCE) {
        let next = &targets[ways.len()..most.min(ways.len() + AT_ONCE)];
        for way in explore_all(socket, next, &subject, by) {
            let (way, more) = way?;
            sent.extend(more);
            ways.push(way);
        }
    }
    let evidence = TargetEvidence {
        subject,
        lookup,
        not_tried: targets.len() - ways.len(),
        ways,
    };
    Ok((evidence, sent))
}

/// Follows the ways to several addresses at the same time.
fn explore_all(
    socket: &Path,
    targets: &[String],
    subject: &Subject,
    by: &By,
) -> Vec<Result<(Way, Vec<ToSend>), Failure>> {
    std::thread::scope(|scope| {
        let all: Vec<_> = targets
            .iter()
            .map(|target| scope.spawn(|| way::explore(socket, target, subject.port, by)))
            .collect();
        let join = |one: std::thread::ScopedJoinHandle<'_, _>| {
            let panicked = || Err(Failure::Other("a thread of the client panicked".into()));
            one.join().unwrap_or_else(|_| panicked())
        };
        all.into_iter().map(join).collect()
    })
}

fn to_look_up(name: &str) -> ToSend {
    ToSend {
        kind: "name lookup",
        how: None,
        target: name.to_owned(),
        count: 1,
        bytes: 0,
        when: "always",
    }
}

/// Addresses in the order of the resolver, but by turns of the two families, the preferred one first.
fn by_turns(found: &[IpAddr]) -> Vec<String> {
    let is_first = |address: &&IpAddr| address.is_ipv4() == found[0].is_ipv4();
    let (first, second): (Vec<&IpAddr>, Vec<&IpAddr>) = found.iter().partition(is_first);
    let longest = first.len().max(second.len());
    let pairs = (0..longest).flat_map(|at| [first.get(at), second.get(at)]);
    pairs.flatten().map(ToString::to_string).collect()
}

/// Runs `doctor --dry-run TARGET`: prints what would be sent. A name is not resolved.
pub fn dry_run(global: &Global, args: &DoctorArgs, target: &str) -> Result<u8, Failure> {
    let subject = parse(target)?;
    by(args)?;
    let mut all = Vec::new();
    if let Host::Name(name) = &subject.host {
        all.push(to_look_up(name));
    }
    // For a name, to each of its addresses.
    all.extend(way::to_send(&subject.host(), subject.port));
    let mut out = screen::stdout();
    if global.json {
        json(&mut out, &serde_json::json!({ "would_send": all }))?;
        return Ok(0);
    }
    for one in &all {
        let bytes = match one.bytes {
            0 => String::new(),
            bytes => format!(" of {bytes} bytes"),
        };
        let when = match one.when {
            "always" => String::new(),
            when => format!(", {when}"),
        };
        let how = one
            .how
            .as_ref()
            .map(|how| format!(", {how}"))
            .unwrap_or_default();
        let words = match one.kind {
            "name lookup" => format!("look up {}", one.target),
            "connection" => format!(
                "open a connection to {}, send nothing, and close it",
                one.target
            ),
            kind => {
                let most = if one.when == "always" { "" } else { "up to " };
                let count = counted(one.count, kind);
                format!("send {most}{count}{bytes} to {}{how}", one.target)
            }
        };
        writeln!(out, "would {words}{when}")?;
    }
    Ok(0)
}

/// Renders the verdict and the findings; with `verbose` also each step.
fn render(
    evidence: &TargetEvidence,
    diagnosis: &TargetDiagnosis,
    style: Style,
    verbose: bool,
) -> String {
    let verdict = match (
        diagnosis.verdict,
        count(&diagnosis.findings, Severity::Warning),
    ) {
        (Verdict::Healthy, 0) => style.good("reached"),
        (Verdict::Healthy, warnings) => {
            style.warn(&format!("reached, {}", counted(warnings, "warning")))
        }
        _ => head(diagnosis.verdict, &diagnosis.findings, style),
    };
    let mut text = format!("{}: {verdict}\n", evidence.subject);
    if verbose || (diagnosis.verdict == Verdict::Healthy && diagnosis.findings.is_empty()) {
        for check in diagnosis
            .checks
            .iter()
            .filter(|check| verbose || check.state == "made")
        {
            text.push_str(&fit(&check_line(check, style), style));
        }
    }
    for finding in &diagnosis.findings {
        text.push('\n');
        text.push_str(&finding_text(finding, "cause", style));
    }
    text
}
