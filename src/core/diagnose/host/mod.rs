//! PURE. Is this host's network all right? Evidence of a whole host in, findings out: what needs no
//! subject. What multicast's own modes know without a group is asked of them, in their words.
//!
//! | file | what it holds |
//! |---|---|
//! | `evidence` | what a diagnosis rests on |
//! | `checks` | every check with its modes, in the order in which causes go before symptoms |
//! | `links`, `addresses`, `gateways`, `neighbours`, `multicast`, `settings`, `drops`, `service` | the modes |
//!
//! A new mode is a static with its text and its rule, a line in `checks`, and a scenario in
//! `tests/host_doctor`.

mod addresses;
mod checks;
mod drops;
pub mod evidence;
mod gateways;
mod links;
mod multicast;
mod neighbors;
mod service;
mod settings;

use serde::Serialize;

use super::{Finding, Found, Severity, Text, Verdict};
pub use checks::CHECKS;
pub use evidence::Evidence;

/// What a rule found, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    interface: Option<String>,
    found: Found,
}

impl Found {
    /// On an interface: what follows from it there is not told.
    fn on(self, interface: &str) -> Placed {
        Placed {
            interface: Some(interface.to_owned()),
            found: self,
        }
    }

    /// On no interface of its own.
    fn of_the_host(self) -> Placed {
        Placed {
            interface: None,
            found: self,
        }
    }
}

/// A failure mode of a host: its text, and its rule, which may find it several times.
pub struct Mode {
    /// What `explain` and the manual page say.
    pub text: Text,
    /// Findings that merely follow from it on the same interface.
    pub covers: &'static [&'static str],
    /// Where is it so here?
    pub rule: fn(&Evidence) -> Vec<Placed>,
}

/// What came of looking.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// What was seen, in a few words.
    Seen(String),
    /// There is nothing of that kind here.
    Nothing(String),
    /// It could not be looked at, and why.
    NotMade(String),
}

/// Something that is looked at, and the modes that it can show.
pub struct Check {
    /// Of what it is a part: "links".
    pub topic: &'static str,
    /// What is looked at: "carrier".
    pub name: &'static str,
    /// What is looked at, and with which outcome.
    pub look: fn(&Evidence) -> Look,
    /// What it can find.
    pub modes: &'static [&'static Mode],
}

/// What was looked at, for people and scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// Topic and name: "links: carrier".
    pub check: String,
    /// "made", "nothing" (there is nothing of that kind here) or "not_made".
    pub state: &'static str,
    /// What was seen, or why not.
    pub text: String,
    /// Ids of what was found.
    pub findings: Vec<&'static str>,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The answer.
    pub verdict: Verdict,
    /// Faults first, each after its causes.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checks: Vec<Checked>,
}

/// Judges. Checks go from causes to symptoms; what a finding covers on its interface is not told again,
/// unless it is worse.
/// Without a fault the verdict is "healthy" only if every check could be made, and there was a link to
/// make them on.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let mut findings: Vec<Finding> = Vec::new();
    let mut covered: Vec<(&str, Option<String>, u8)> = Vec::new();
    let mut checks = Vec::new();
    for check in CHECKS {
        let (state, text) = match (check.look)(evidence) {
            Look::Seen(text) => ("made", text),
            Look::Nothing(text) => ("nothing", text),
            Look::NotMade(text) => ("not_made", text),
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
                let covers = mode.covers.iter();
                covered.extend(covers.map(|id| (*id, placed.interface.clone(), severity)));
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
    let has_fault = (findings.iter()).any(|finding| finding.severity == Severity::Fault);
    let all_made = checks.iter().all(|check| check.state != "not_made");
    let verdict = if has_fault {
        Verdict::Fault
    } else if all_made && evidence.interfaces().next().is_some() {
        Verdict::Healthy
    } else {
        Verdict::Undetermined
    };
    Diagnosis {
        verdict,
        findings,
        checks,
    }
}

/// Every mode of a host.
pub fn modes() -> impl Iterator<Item = &'static Mode> {
    CHECKS.iter().flat_map(|check| check.modes.iter().copied())
}

#[cfg(test)]
mod rules;
