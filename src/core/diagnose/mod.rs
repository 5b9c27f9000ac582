//! PURE. Why does a group (not) arrive, and is a host's network all right? Evidence in, findings out. The
//! same code judges a live host and a capture file.
//!
//! | file | what it holds |
//! |---|---|
//! | `evidence` | what a diagnosis rests on |
//! | `wire` | packets, put in order for the rules |
//! | `case` | what the rules ask of the evidence |
//! | `modes` | every failure mode, in the order in which causes go before symptoms |
//! | `receiver`, `socket`, `protocol`, `snooping`, `routing`, `stream` | the modes: text and rule of each |
//! | `host` | the same for a whole host, without a group |
//!
//! A new mode is a static with its text and its rule, a line in `modes`, and a scenario in
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
pub mod wire;

use serde::Serialize;

pub use case::Case;
use evidence::Evidence;
pub use modes::ALL;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The group, or the host's network, does not do here what it should, and this is why.
    Fault,
    /// It does, and will not always.
    Warning,
    /// Worth knowing.
    Note,
}

/// How sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Packets and counters say so, one by one.
    Proved,
    /// Everything that was seen fits; other causes would look the same from here.
    Consistent,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Where it comes from: "wire", "counters", "kernel", "sysctl", "route", "bridge", "socket".
    pub source: &'static str,
    /// What it says.
    pub text: String,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    severity: Severity,
    certainty: Certainty,
    summary: String,
    fix: String,
    evidence: Vec<Item>,
}

impl Found {
    fn new(severity: Severity, certainty: Certainty, summary: String) -> Found {
        Found {
            severity,
            certainty,
            summary,
            fix: String::new(),
            evidence: vec![],
        }
    }

    fn fault(certainty: Certainty, summary: String) -> Found {
        Found::new(Severity::Fault, certainty, summary)
    }

    fn warning(certainty: Certainty, summary: String) -> Found {
        Found::new(Severity::Warning, certainty, summary)
    }

    fn note(certainty: Certainty, summary: String) -> Found {
        Found::new(Severity::Note, certainty, summary)
    }

    /// A fault where the group does not arrive, else a warning.
    fn depending(starves: bool, certainty: Certainty, summary: String) -> Found {
        let severity = if starves {
            Severity::Fault
        } else {
            Severity::Warning
        };
        Found::new(severity, certainty, summary)
    }

    fn fix(mut self, fix: impl Into<String>) -> Found {
        self.fix = fix.into();
        self
    }

    fn because(mut self, source: &'static str, text: impl Into<String>) -> Found {
        self.evidence.push(Item {
            source,
            text: text.into(),
        });
        self
    }
}

/// What is to be known of a failure mode, for `explain` and the manual page.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// What the doctors print.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// What people see.
    pub seen: &'static str,
    /// How it comes about.
    pub cause: &'static str,
    /// How it is proved.
    pub proof: &'static str,
    /// How it is fixed.
    pub fix: &'static str,
}

/// The texts of all failure modes, each once: those of a group, then those that only a host has.
pub fn texts() -> Vec<Text> {
    let mut all: Vec<Text> = ALL.iter().map(|mode| mode.text()).collect();
    for mode in host::modes() {
        if !all.iter().any(|known| known.id == mode.text.id) {
            all.push(mode.text);
        }
    }
    all
}

/// The text of that id.
pub fn find(id: &str) -> Option<Text> {
    texts().into_iter().find(|text| text.id == id)
}

/// A failure mode of a group: its text, for `explain` and the manual page, and its rule.
pub struct Mode {
    /// What `mcast doctor` prints.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// What people see.
    pub seen: &'static str,
    /// How it comes about.
    pub cause: &'static str,
    /// How it is proved.
    pub proof: &'static str,
    /// How it is fixed.
    pub fix: &'static str,
    /// Findings that merely follow from it.
    pub covers: &'static [&'static str],
    /// Is it so here?
    pub rule: fn(&Case<'_>) -> Option<Found>,
}

impl Mode {
    /// Its text alone.
    pub const fn text(&self) -> Text {
        Text {
            id: self.id,
            title: self.title,
            seen: self.seen,
            cause: self.cause,
            proof: self.proof,
            fix: self.fix,
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Of which mode.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub certainty: Certainty,
    /// On which interface, where a finding is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What it is, with the names and numbers of this case.
    pub summary: String,
    /// What to do.
    pub fix: String,
    /// Why that is so.
    pub evidence: Vec<Item>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The group arrives, or is sent, as it should; the network does what it should.
    Healthy,
    /// It does not, and the first finding says why.
    Fault,
    /// Nothing was seen that would tell.
    Undetermined,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The answer.
    pub verdict: Verdict,
    /// The cause first, then what else is worth knowing.
    pub findings: Vec<Finding>,
}

/// Judges. One cause: modes are asked in the order in which causes go before symptoms, and once a fault
/// is found no other one is told.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
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
        covered.extend(mode.covers);
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
