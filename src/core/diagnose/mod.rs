//! PURE. Diagnosis: evidence in, findings out, for one multicast group or a whole host. The same code
//! diagnoses a live host and a capture file.
//!
//! | file | contents |
//! |---|---|
//! | `evidence` | the evidence for a diagnosis of a group |
//! | `wire` | packets, arranged for the rules |
//! | `case` | queries on the evidence that rules share |
//! | `modes` | every failure mode, causes before symptoms |
//! | `receiver`, `socket`, `protocol`, `snooping`, `routing`, `stream` | the failure modes: text and rule of each |
//! | `host` | the same for a whole host, without a group |
//! | `target` | the same for a name, a host or a port to reach |
//!
//! A new failure mode is a static with its text and its rule, a line in `modes`, and a scenario in
//! `tests/doctor.rs`.

mod case;
pub mod evidence;
pub mod host;
mod modes;
mod protocol;
mod receiver;
mod routing;
mod snooping;
mod socket;
mod stream;
pub mod target;
pub mod wire;

use serde::Serialize;

pub use case::Case;
use evidence::GroupEvidence;
pub use modes::ALL;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The group, or the host's network, does not work, and this is the cause.
    Fault,
    /// It works now, but will fail under some condition.
    Warning,
    /// For information.
    Note,
}

/// How strongly the evidence supports a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Packets and counters prove it, one by one.
    Proved,
    /// All observations are consistent with it, but other causes would look the same from this host.
    Consistent,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvidenceItem {
    /// Where it comes from: "wire", "counters", "kernel", "sysctl", "route", "bridge", "socket".
    pub source: &'static str,
    /// The observation, in words.
    pub text: String,
}

/// The finding of a rule, before it gets an id.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingDraft {
    severity: Severity,
    certainty: Certainty,
    summary: String,
    fix: String,
    evidence: Vec<EvidenceItem>,
}

impl FindingDraft {
    fn new(severity: Severity, certainty: Certainty, summary: String) -> FindingDraft {
        FindingDraft {
            severity,
            certainty,
            summary,
            fix: String::new(),
            evidence: vec![],
        }
    }

    fn fault(certainty: Certainty, summary: String) -> FindingDraft {
        FindingDraft::new(Severity::Fault, certainty, summary)
    }

    fn warning(certainty: Certainty, summary: String) -> FindingDraft {
        FindingDraft::new(Severity::Warning, certainty, summary)
    }

    fn note(certainty: Certainty, summary: String) -> FindingDraft {
        FindingDraft::new(Severity::Note, certainty, summary)
    }

    /// Returns a fault if the group does not arrive (`starves`), else a warning.
    fn fault_or_warning(starves: bool, certainty: Certainty, summary: String) -> FindingDraft {
        let severity = if starves {
            Severity::Fault
        } else {
            Severity::Warning
        };
        FindingDraft::new(severity, certainty, summary)
    }

    fn fix(mut self, fix: impl Into<String>) -> FindingDraft {
        self.fix = fix.into();
        self
    }

    fn with_evidence(mut self, source: &'static str, text: impl Into<String>) -> FindingDraft {
        self.evidence.push(EvidenceItem {
            source,
            text: text.into(),
        });
        self
    }
}

/// The text of a failure mode, for `explain` and netsonde-findings(7).
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Id, as printed by the doctors.
    pub id: &'static str,
    /// Title, on one line.
    pub title: &'static str,
    /// Symptoms.
    pub symptoms: &'static str,
    /// Cause.
    pub cause: &'static str,
    /// Evidence that proves it.
    pub proof: &'static str,
    /// Fix.
    pub fix: &'static str,
}

/// Returns the texts of all failure modes, each once: those of a group, then those of a host only, and of a target only.
pub fn texts() -> Vec<Text> {
    let mut all: Vec<Text> = ALL.iter().map(|mode| mode.text()).collect();
    for text in host::modes().map(|mode| mode.text).chain(target::modes()) {
        if !all.iter().any(|known| known.id == text.id) {
            all.push(text);
        }
    }
    all
}

/// Returns the text of the failure mode with this id.
pub fn find(id: &str) -> Option<Text> {
    texts().into_iter().find(|text| text.id == id)
}

/// A failure mode of a group: its text and its rule.
pub struct FailureMode {
    /// Id, as printed by `mcast doctor`.
    pub id: &'static str,
    /// Title, on one line.
    pub title: &'static str,
    /// Symptoms.
    pub symptoms: &'static str,
    /// Cause.
    pub cause: &'static str,
    /// Evidence that proves it.
    pub proof: &'static str,
    /// Fix.
    pub fix: &'static str,
    /// Ids of findings that follow from it, and are not reported then.
    pub implies: &'static [&'static str],
    /// Returns the finding, if the evidence shows it.
    pub rule: fn(&Case<'_>) -> Option<FindingDraft>,
}

impl FailureMode {
    /// Returns the text.
    pub const fn text(&self) -> Text {
        Text {
            id: self.id,
            title: self.title,
            symptoms: self.symptoms,
            cause: self.cause,
            proof: self.proof,
            fix: self.fix,
        }
    }
}

/// A reported instance of a failure mode.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Id of the failure mode.
    pub id: &'static str,
    /// Severity.
    pub severity: Severity,
    /// Certainty.
    pub certainty: Certainty,
    /// The interface, if the finding concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The cause, with the names and numbers of this case.
    pub summary: String,
    /// The fix for this case.
    pub fix: String,
    /// The observations that support it.
    pub evidence: Vec<EvidenceItem>,
}

/// The verdict of a diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The group arrives, or is sent, as intended; the network works.
    Healthy,
    /// It does not; the first finding is the cause.
    Fault,
    /// The observations do not decide.
    Undetermined,
}

/// The verdict on a group, with its findings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The verdict.
    pub verdict: Verdict,
    /// The findings, the cause first.
    pub findings: Vec<Finding>,
}

/// Withdraws the certainty of findings whose evidence may be of two networks: the service's packets, and the
/// kernel state of a client that may be in another namespace.
pub fn withdraw_proof(findings: &mut [Finding]) {
    for finding in findings {
        finding.certainty = Certainty::Consistent;
    }
}

/// Diagnoses a group. Failure modes are checked causes first, and only the first fault is reported.
pub fn diagnose(evidence: &GroupEvidence) -> Diagnosis {
    let case = Case::new(evidence);
    let mut findings: Vec<Finding> = Vec::new();
    let mut covered: Vec<&str> = Vec::new();
    let mut has_fault = false;
    for mode in ALL {
        if covered.contains(&mode.id) {
            continue;
        }
        let Some(found) = (mode.rule)(&case) else {
            continue;
        };
        let is_fault = found.severity == Severity::Fault;
        if is_fault && has_fault {
            continue;
        }
        has_fault |= is_fault;
        covered.extend(mode.implies);
        findings.push(Finding {
            id: mode.id,
            severity: found.severity,
            certainty: found.certainty,
            interface: None,
            summary: found.summary,
            fix: found.fix,
            evidence: found.evidence,
        });
    }
    findings.sort_by_key(|finding| finding.severity as u8);
    let verdict = if has_fault {
        Verdict::Fault
    } else if case.works() {
        Verdict::Healthy
    } else {
        Verdict::Undetermined
    };
    Diagnosis { verdict, findings }
}
