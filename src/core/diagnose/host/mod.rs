//! PURE. HostDiagnosis of a whole host: evidence in, findings out, without a subject. Where a failure mode
//! of multicast does not need packets of a group, its own rule and text are used.
//!
//! | file | contents |
//! |---|---|
//! | `evidence` | the evidence for a diagnosis |
//! | `sample` | equal packets in a sample of the record |
//! | `checks` | every check with its failure modes, causes before symptoms |
//! | `carrier`, `links`, `addresses`, `gateways`, `virtual_routers`, `neighbors`, `multicast`, `settings`, `drops`, `repeats`, `service` | the failure modes |
//!
//! A new failure mode is a static with its text and its rule, a line in `checks`, and a scenario in
//! `tests/host_doctor`.

mod addresses;
mod carrier;
mod checks;
mod drops;
pub mod evidence;
mod gateways;
mod history;
mod links;
mod multicast;
mod neighbors;
mod repeats;
pub mod sample;
mod service;
mod settings;
mod virtual_routers;

use serde::Serialize;

use super::{Finding, FindingDraft, Severity, Text, Verdict};
pub(super) use addresses::ADDRESS_CONFLICT;
pub use checks::CHECKS;
pub use evidence::HostEvidence;
pub(super) use neighbors::NEIGHBOR_ENTRY_WRONG;

/// A finding of a rule, with its interface.
#[derive(Clone, Debug, PartialEq)]
pub struct LocatedFinding {
    interface: Option<String>,
    found: FindingDraft,
    is_alone: bool,
}

impl LocatedFinding {
    /// Lets nothing follow from this finding, whatever its failure mode implies.
    fn alone(self) -> LocatedFinding {
        LocatedFinding {
            is_alone: true,
            ..self
        }
    }
}

impl FindingDraft {
    /// Places the finding on an interface. Findings that it implies there are not reported.
    fn on(self, interface: &str) -> LocatedFinding {
        LocatedFinding {
            interface: Some(interface.to_owned()),
            found: self,
            is_alone: false,
        }
    }

    /// Places the finding on the host as a whole.
    fn on_host(self) -> LocatedFinding {
        LocatedFinding {
            interface: None,
            found: self,
            is_alone: false,
        }
    }
}

/// A failure mode of a host: its text, and its rule, which may return several findings.
pub struct HostMode {
    /// The text of `explain` and of netsonde-findings(7).
    pub text: Text,
    /// Ids of findings that follow from it on the same interface, and are not reported then.
    pub implies: &'static [&'static str],
    /// Returns where the evidence shows it.
    pub rule: fn(&HostEvidence) -> Vec<LocatedFinding>,
}

/// Outcome of a check.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckOutcome {
    /// Done, with what was seen in a few words.
    Done(String),
    /// There is nothing of that kind here, with what is missing in words.
    NotApplicable(String),
    /// It could not be done, with the reason.
    Skipped(String),
}

/// A check of the host, and the failure modes that it can find.
pub struct Check {
    /// Subject area, such as "links".
    pub topic: &'static str,
    /// Name within the area, such as "carrier".
    pub name: &'static str,
    /// Runs the check on the evidence.
    pub run: fn(&HostEvidence) -> CheckOutcome,
    /// Failure modes that it can find.
    pub modes: &'static [&'static HostMode],
}

/// The result of a check, for people and scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// Topic and name: "links: carrier".
    pub check: String,
    /// "made", "nothing" (not applicable on this host) or "not_made" (skipped).
    pub state: &'static str,
    /// What was seen, or why the check was skipped.
    pub text: String,
    /// Ids of its findings.
    pub findings: Vec<&'static str>,
}

/// The verdict on a host, with its findings and checks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostDiagnosis {
    /// The verdict.
    pub verdict: Verdict,
    /// Faults first, each after its causes.
    pub findings: Vec<Finding>,
    /// All checks, in order.
    pub checks: Vec<Checked>,
}

/// Diagnoses a host. Checks run from causes to symptoms. A finding that is implied by an earlier one on
/// the same interface is not reported, unless it is more severe.
///
/// Without a fault the verdict is "healthy" only if no check was skipped and there was a link to check.
pub fn diagnose(evidence: &HostEvidence) -> HostDiagnosis {
    let mut findings: Vec<Finding> = Vec::new();
    let mut covered: Vec<(&str, Option<String>, u8)> = Vec::new();
    let mut checks = Vec::new();
    for check in CHECKS {
        let (state, text) = match (check.run)(evidence) {
            CheckOutcome::Done(text) => ("made", text),
            CheckOutcome::NotApplicable(text) => ("nothing", text),
            CheckOutcome::Skipped(text) => ("not_made", text),
        };
        let mut ids = Vec::new();
        for mode in check.modes.iter().filter(|_| state == "made") {
            for placed in (mode.rule)(evidence) {
                let severity = placed.found.severity as u8;
                let follows = covered.iter().any(|(id, at, cause)| {
                    let is_there =
                        at.is_none() || placed.interface.is_none() || *at == placed.interface;
                    *id == mode.text.id && is_there && *cause <= severity
                });
                if follows {
                    continue;
                }
                let implied = mode.implies.iter().filter(|_| !placed.is_alone);
                covered.extend(implied.map(|id| (*id, placed.interface.clone(), severity)));
                ids.push(mode.text.id);
                findings.push(Finding {
                    id: mode.text.id,
                    severity: placed.found.severity,
                    certainty: placed.found.certainty,
                    interface: placed.interface,
                    summary: placed.found.summary,
                    fix: placed.found.fix,
                    evidence: placed.found.evidence,
                });
            }
        }
        ids.dedup();
        checks.push(Checked {
            check: format!("{}: {}", check.topic, check.name),
            state,
            text,
            findings: ids,
        });
    }
    findings.sort_by_key(|finding| finding.severity as u8);
    let has_fault = findings
        .iter()
        .any(|finding| finding.severity == Severity::Fault);
    let all_made = checks.iter().all(|check| check.state != "not_made");
    let verdict = if has_fault {
        Verdict::Fault
    } else if all_made && evidence.interfaces().next().is_some() {
        Verdict::Healthy
    } else {
        Verdict::Undetermined
    };
    HostDiagnosis {
        verdict,
        findings,
        checks,
    }
}

/// Returns every failure mode of a host.
pub fn modes() -> impl Iterator<Item = &'static HostMode> {
    CHECKS.iter().flat_map(|check| check.modes.iter().copied())
}

#[cfg(test)]
mod rules;
