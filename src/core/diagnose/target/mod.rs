//! PURE. Diagnosis of a target: why a name, a host or a port cannot be reached, or is slow. Evidence in, the first cause
//! out.
//!
//! | file | contents |
//! |---|---|
//! | `subject` | what a user wants to reach |
//! | `evidence` | the evidence |
//! | `dns` | questions of the resolver and their answers, from the wire |
//! | `packet` | an attempt to reach a port, from the wire |
//! | `modes` | every failure mode, causes before symptoms |
//! | `name`, `local`, `path`, `port` | the failure modes: text and rule of each |
//! | `steps` | what was looked at, in the order of the way |
//!
//! A new failure mode is a static with its text and its rule, a line in `modes`, and a scenario in `tests/target_doctor`.

pub mod dns;
pub mod evidence;
mod local;
mod modes;
mod name;
pub mod packet;
mod path;
mod port;
mod steps;
pub mod subject;

#[cfg(test)]
mod rules;

use serde::Serialize;

use super::host::Checked;
use super::{EvidenceItem, Finding, FindingDraft, Severity, Text, Verdict};
use crate::text::{counted, listed};
pub use evidence::TargetEvidence;
use evidence::Way;
pub use modes::{OF_NAMES, OF_WAYS, modes};
pub use port::{SPEAKS_FIRST, SPEAKS_WITHIN_NS};

/// A failure mode of the name.
pub struct NameMode {
    /// The text of `explain` and of netsonde-findings(7).
    pub text: Text,
    /// Returns the finding, if the evidence shows it.
    pub rule: fn(&TargetEvidence) -> Option<FindingDraft>,
}

/// A failure mode of the way to one address.
pub struct WayMode {
    /// The text of `explain` and of netsonde-findings(7).
    pub text: Text,
    /// Returns the finding, if the evidence shows it.
    pub rule: fn(&Way) -> Option<FindingDraft>,
}

/// The verdict on a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetDiagnosis {
    /// The verdict.
    pub verdict: Verdict,
    /// The findings, the cause first.
    pub findings: Vec<Finding>,
    /// What was looked at, in the order of the way.
    pub checks: Vec<Checked>,
}

fn finding(id: &'static str, way: Option<&Way>, draft: FindingDraft) -> Finding {
    Finding {
        id,
        severity: draft.severity,
        certainty: draft.certainty,
        interface: way.and_then(|way| way.interface.clone()),
        summary: draft.summary,
        fix: draft.fix,
        evidence: draft.evidence,
    }
}

/// Returns the first cause on a way. One that works has no fault that keeps it from working, and may have others.
fn of_way(way: &Way) -> Option<Finding> {
    OF_WAYS.iter().find_map(|mode| {
        let draft = (mode.rule)(way)?;
        Some(finding(mode.text.id, Some(way), draft))
    })
}

/// Diagnoses a target. Of each address the first cause is found. If another address works, it is a warning, one for a
/// family or for the addresses of one that fail; otherwise the cause of the address that the resolver prefers is the
/// fault, unless this host has no route to it at all.
pub fn diagnose(evidence: &TargetEvidence) -> TargetDiagnosis {
    let mut findings: Vec<Finding> = Vec::new();
    for mode in OF_NAMES {
        let Some(draft) = (mode.rule)(evidence) else {
            continue;
        };
        // Causes first; what follows from one is no finding of its own.
        findings.push(finding(mode.text.id, None, draft));
        break;
    }
    let works = evidence.ways.iter().any(Way::works);
    let found: Vec<(&Way, Option<Finding>)> = (evidence.ways.iter())
        .map(|way| (way, of_way(way)))
        .collect();
    let mut told: Vec<(bool, Finding)> = Vec::new();
    for (way, found) in found.iter().filter(|(way, _)| way.works()) {
        let Some(found) = found else {
            continue;
        };
        let is_same = |(is_ipv4, known): &&mut (bool, Finding)| {
            *is_ipv4 == way.is_ipv4 && known.id == found.id
        };
        match told.iter_mut().find(is_same) {
            // The addresses of a family have most of the path in common.
            Some((_, known)) => known.evidence.push(EvidenceItem {
                source: "wire",
                text: format!("{}: {}", way.target, found.summary),
            }),
            None => told.push((way.is_ipv4, found.clone())),
        }
    }
    findings.extend(told.into_iter().map(|(_, finding)| finding));
    let failing: Vec<_> = found.iter().filter(|(way, _)| !way.works()).collect();
    if works {
        for is_ipv4 in [true, false] {
            let of_family: Vec<(&Way, &Finding)> = (failing.iter())
                .filter(|(way, _)| way.is_ipv4 == is_ipv4)
                .filter_map(|(way, cause)| Some((*way, cause.as_ref()?)))
                .collect();
            let family_works =
                (evidence.ways.iter()).any(|way| way.is_ipv4 == is_ipv4 && way.works());
            let Some((way, cause)) = of_family.first() else {
                continue;
            };
            if family_works {
                findings.push(broken_addresses(&of_family, evidence));
            } else if way.has_route {
                findings.push(broken_family(way, cause, evidence));
            }
        }
    } else {
        let routed = failing.iter().find(|(way, _)| way.has_route);
        if let Some((_, Some(cause))) = routed.or(failing.first()) {
            findings.push(cause.clone());
        }
    }
    findings.sort_by_key(|finding| finding.severity as u8);
    let has_fault = findings
        .iter()
        .any(|finding| finding.severity == Severity::Fault);
    let verdict = if has_fault {
        Verdict::Fault
    } else if works {
        Verdict::Healthy
    } else {
        Verdict::Undetermined
    };
    let checks = steps::steps(evidence, &findings);
    TargetDiagnosis {
        verdict,
        findings,
        checks,
    }
}

/// One family fails and the other works: programs that try the addresses in turn are slow, others fail.
fn broken_family(way: &Way, cause: &Finding, evidence: &TargetEvidence) -> Finding {
    let mode = if way.is_ipv4 {
        &local::IPV4_BROKEN
    } else {
        &local::IPV6_BROKEN
    };
    let other = if way.is_ipv4 { "IPv6" } else { "IPv4" };
    let is_first = evidence.ways.first().map(|first| &first.target) == Some(&way.target);
    let order = match is_first {
        true => "programs try it first, and lose time or fail",
        false => "programs that use it fail",
    };
    let family = way.family();
    let mut items = vec![EvidenceItem {
        source: "wire",
        text: format!("{}: {}", cause.id, cause.summary),
    }];
    items.extend(cause.evidence.iter().cloned());
    Finding {
        id: mode.id,
        severity: Severity::Warning,
        certainty: cause.certainty,
        interface: way.interface.clone(),
        summary: format!(
            "{} cannot be reached over {family} ({}), over {other} it can: {order}",
            evidence.subject, way.target
        ),
        fix: cause.fix.clone(),
        evidence: items,
    }
}

/// Some addresses of a family fail and others work: a share of the connections fails or waits.
fn broken_addresses(broken: &[(&Way, &Finding)], evidence: &TargetEvidence) -> Finding {
    let (way, cause) = broken[0];
    let of_family = evidence
        .ways
        .iter()
        .filter(|other| other.is_ipv4 == way.is_ipv4);
    let total = of_family.count();
    let addresses = listed(broken.iter().map(|(way, _)| way.target.as_str()));
    let mut items: Vec<EvidenceItem> = (broken.iter())
        .map(|(way, cause)| EvidenceItem {
            source: "wire",
            text: format!("{}: {}: {}", way.target, cause.id, cause.summary),
        })
        .collect();
    items.extend(cause.evidence.iter().cloned());
    Finding {
        id: local::ADDRESS_BROKEN.id,
        severity: Severity::Warning,
        certainty: cause.certainty,
        interface: way.interface.clone(),
        summary: format!(
            "{} cannot be reached at {} of its {} that were tried ({addresses}): programs that use {} fail or lose time",
            evidence.subject,
            broken.len(),
            counted(total as u64, &format!("{} address", way.family())),
            if broken.len() == 1 { "it" } else { "them" },
        ),
        fix: cause.fix.clone(),
        evidence: items,
    }
}
