//! SHELL. `mcast doctor`, `doctor`, `doctor TARGET` and `explain`: gathers evidence, diagnoses it and prints the findings.
//!
//! | file | contents |
//! |---|---|
//! | `echo` | echo requests of the doctors, and their fates |
//! | `explain` | `explain`: the texts of failure modes |
//! | `gather` | evidence for a group: kernel state before and after the window |
//! | `record` | packets of the service's record, or of a capture file |
//! | `service` | values that both diagnoses take from the status of the service |
//! | `links` | interfaces, addresses and bridge settings, by netlink |
//! | `host` | `doctor`: diagnosis of the whole host |
//! | `target` | `doctor TARGET`: why a name, a host or a port cannot be reached |

pub(crate) mod echo;
mod explain;
mod gather;
pub(crate) mod host;
pub(crate) mod links;
mod record;
mod service;
pub(crate) mod target;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use nix::net::if_::if_indextoname;

use netsonde_core::diagnose::evidence::{GroupEvidence, Process};
use netsonde_core::diagnose::{
    Certainty, Diagnosis, Finding, Severity, Verdict, diagnose, withdraw_proof,
};
use netsonde_core::host::counters::Counters;
use netsonde_core::host::socket::parse_sockets;
use netsonde_core::text::counted;

use crate::client::cli::args::{Global, McastDoctor};
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output::{json, progress};
use crate::client::render::style::{Style, duration};
use crate::client::render::wrap::wrap;
use crate::client::screen;
use crate::linux::{memberships, proc_net, processes};

pub use explain::explain;

/// Runs `mcast doctor`. Returns 0 if the group is healthy, 1 on a fault, 2 if the verdict is undetermined.
pub fn run(global: &Global, socket: &Path, args: &McastDoctor) -> Result<u8, Failure> {
    let start = Instant::now();
    let mut is_one_network = true;
    let evidence = match (&args.read, args.past.packets()) {
        (Some(path), _) => gather::evidence_of_file(args, path)?,
        (None, Some(past)) => gather::evidence_of_record(socket, args, &past)?,
        (None, None) => {
            is_one_network = namespace::require(socket)?;
            let time = duration(args.duration);
            progress(global, &format!("watching {} for {time}", args.channel));
            gather::gather(socket, args)?
        }
    };
    let mut diagnosis = diagnose(&evidence);
    if !is_one_network {
        withdraw_proof(&mut diagnosis.findings);
    }
    let mut out = screen::stdout();
    if global.json {
        let report = serde_json::json!({
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
        json(&mut out, &report)?;
    } else {
        writeln!(
            out,
            "{}",
            render(args, &evidence, &diagnosis, global.style()).trim_end()
        )?;
    }
    if is_strict_failure(args.strict, &diagnosis.findings) {
        return Ok(1);
    }
    Ok(match diagnosis.verdict {
        Verdict::Healthy => 0,
        Verdict::Fault => 1,
        Verdict::Undetermined => {
            drop(out);
            eprintln!(
                "netsonde: no traffic or membership for {} on this host: run this on a receiver or \
                    sender, or use --join",
                args.channel
            );
            2
        }
    })
}

/// Renders the verdict on a group, with its findings.
fn render(
    args: &McastDoctor,
    evidence: &GroupEvidence,
    diagnosis: &Diagnosis,
    style: Style,
) -> String {
    let head = head(diagnosis.verdict, &diagnosis.findings, style);
    let mut text = format!("{}: {head}\n", args.channel);
    if diagnosis.verdict == Verdict::Healthy {
        text.push_str(&packet_counts(evidence));
    }
    for finding in &diagnosis.findings {
        text.push('\n');
        text.push_str(&finding_text(finding, "cause", style));
    }
    text
}

/// Returns whether `--strict` makes this a failure: a fault or a warning was found.
fn is_strict_failure(is_strict: bool, findings: &[Finding]) -> bool {
    is_strict
        && findings
            .iter()
            .any(|finding| finding.severity != Severity::Note)
}

/// Renders the verdict. With warnings it is not called healthy.
fn head(verdict: Verdict, findings: &[Finding], style: Style) -> String {
    match (verdict, count(findings, Severity::Warning)) {
        (Verdict::Healthy, 0) => style.good("healthy"),
        (Verdict::Healthy, warnings) => {
            style.warn(&format!("{}, no fault", counted(warnings, "warning")))
        }
        (Verdict::Fault, _) => style.warn("fault"),
        (Verdict::Undetermined, _) => "undetermined".into(),
    }
}

/// Returns the number of findings of this severity.
fn count(findings: &[Finding], severity: Severity) -> u64 {
    let of = findings
        .iter()
        .filter(|finding| finding.severity == severity);
    of.count() as u64
}

/// Renders the packets of the group during the window, one line per interface and direction.
fn packet_counts(evidence: &GroupEvidence) -> String {
    let (from, to) = evidence.window;
    let mut counts: BTreeMap<(u32, bool), u64> = BTreeMap::new();
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
        let direction = if inbound { "received" } else { "sent" };
        text.push_str(&format!(
            "  {packets} {direction} on {name}\n",
            packets = counted(packets, "packet")
        ));
    }
    text
}

/// Renders a finding. `fault` is the label of a fault: "cause" for a group, "fault" for a host.
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
    text.push_str(&wrap(&finding.summary, 2, 0));
    if !finding.fix.is_empty() {
        text.push_str(&wrap(&format!("fix: {}", finding.fix), 2, 5));
    }
    for item in &finding.evidence {
        text.push_str(&style.dim(&wrap(&format!("{}: {}", item.source, item.text), 4, 2)));
    }
    text
}

/// Returns the counters of the IP layer and above.
fn counters() -> Counters {
    Counters::parse(&proc_net("snmp"), &proc_net("netstat"), &proc_net("snmp6"))
}

/// A process that joined a group: interface, group, process, whether the filter mode is include, and the
/// sources of the filter.
pub type GroupMember = (String, IpAddr, Process, bool, Vec<IpAddr>);

/// Returns the processes that joined a group, within the caller's permissions.
pub fn group_members() -> Vec<GroupMember> {
    let held = memberships();
    let mut udp = parse_sockets(&proc_net("udp"));
    udp.extend(parse_sockets(&proc_net("udp6")));
    let name = |ifindex: u32| if_indextoname(ifindex).ok()?.into_string().ok();
    let mut all = Vec::new();
    for holder in processes::holders(&udp, &held, None) {
        for (ifindex, group, include, sources) in holder.joined {
            if let Some(name) = name(ifindex) {
                all.push((name, group, holder.process.clone(), include, sources));
            }
        }
    }
    all
}
