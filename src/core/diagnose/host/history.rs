//! PURE. Failure modes of the historian: monitors that silently stopped, and a history that is shorter or has
//! less in it than it should.

use super::evidence::HostEvidence;
use super::links::MAX_FINDINGS;
use super::{CheckOutcome, HostMode};
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::text::counted;

/// For how long every probe is kept if there is room, in nanoseconds. See netsonde.toml(5).
const WHOLE_NS: u64 = 7 * DAY_NS;
const DAY_NS: u64 = 24 * HOUR_NS;
/// Time after a start from which the rate of writing says something, in nanoseconds.
const HOUR_NS: u64 = 3_600_000_000_000;

pub fn check_historian(all: &HostEvidence) -> CheckOutcome {
    match &all.historian {
        Ok(None) => CheckOutcome::Done("there is none for this service".into()),
        Ok(Some(status)) => CheckOutcome::Done(format!(
            "{} of {}, {} since the start, {}",
            counted(status.targets, "target"),
            counted(status.monitors, "monitor"),
            counted(status.probes, "probe"),
            counted(status.problems.len(), "problem")
        )),
        Err(why) => CheckOutcome::Done(why.clone()),
    }
}

pub static HISTORIAN_SILENT: HostMode = HostMode {
    text: Text {
        id: "historian-silent",
        title: "netsonde-historian does not answer",
        symptoms: "`netsonde outages` and `netsonde history` fail; nothing is probed, and no outage is noticed.",
        cause: "The service ended, or hangs, for instance at a disk that does not answer.",
        proof: "Its socket is there and nobody answers; or systemd is to start it and there is no socket.",
        fix: "`systemctl status netsonde-historian`, `journalctl -u netsonde-historian`.",
    },
    implies: &[],
    rule: |all| {
        let Err(why) = &all.historian else {
            return vec![];
        };
        let words =
            "netsonde-historian does not answer: monitors are not probed, and no outage is noticed";
        vec![
            FindingDraft::warning(Certainty::Proved, words.into())
                .fix("systemctl status netsonde-historian; journalctl -u netsonde-historian")
                .with_evidence("historian", why.clone())
                .on_host(),
        ]
    },
};

pub static HISTORIAN_TROUBLE: HostMode = HostMode {
    text: Text {
        id: "historian-trouble",
        title: "netsonde-historian cannot do all of its work",
        symptoms: "Gaps in `netsonde history`; states of monitors are unknown.",
        cause: "A disk that is full, read-only or slow; a damaged store; a file of monitors with errors; or no \
            connection to netsonded.",
        proof: "netsonde-historian reports it.",
        fix: "`netsonde status` has what it reports; `journalctl -u netsonde-historian` has the time.",
    },
    implies: &[],
    rule: |all| {
        let Ok(Some(status)) = &all.historian else {
            return vec![];
        };
        let away = status.words.as_deref().unwrap_or("no reason given");
        // Without targets it has nothing to ask.
        let is_away = !status.connected && status.targets > 0;
        let away = is_away.then(|| format!("not connected to netsonded: {away}"));
        let problems = away.iter().chain(&status.problems);
        problems
            .take(MAX_FINDINGS)
            .map(|problem| {
                FindingDraft::warning(
                    Certainty::Proved,
                    format!("netsonde-historian reports: {problem}"),
                )
                .fix("netsonde status; journalctl -u netsonde-historian")
                .with_evidence("historian", problem.clone())
                .on_host()
            })
            .collect()
    },
};

pub static HISTORY_SHORT: HostMode = HostMode {
    text: Text {
        id: "history-short",
        title: "the budget of the history is small for its targets",
        symptoms: "`netsonde history --at` has no probes of some days ago, only histograms.",
        cause: "More targets, or shorter intervals, than the budget has room for: the oldest probes are removed \
            before their time.",
        proof: "netsonde-historian computes it from its present rate of writing.",
        fix: "A larger `budget` in [history] of netsonde.toml(5), or longer intervals.",
    },
    implies: &[],
    rule: |all| {
        let Ok(Some(status)) = &all.historian else {
            return vec![];
        };
        let is_new = all.ago_ns(&status.started) < HOUR_NS;
        let Some(lasts_ns) = status.lasts_ns.filter(|ns| *ns < WHOLE_NS && !is_new) else {
            return vec![];
        };
        let lasts = match lasts_ns {
            ns if ns < 2 * DAY_NS => counted(ns / HOUR_NS, "hour"),
            ns => counted(ns / DAY_NS, "day"),
        };
        vec![
            FindingDraft::note(
                Certainty::Proved,
                format!(
                    "the budget of the history, {} MiB, has room for every probe of {} for {lasts}, not \
                        for 7 days",
                    status.budget >> 20,
                    counted(status.targets, "target"),
                ),
            )
            .fix("a larger budget in [history] of netsonde.toml(5), or longer intervals")
            .with_evidence(
                "historian",
                format!(
                    "{} of {} bytes used, {} written since the start",
                    status.bytes, status.budget, status.written_bytes
                ),
            )
            .on_host(),
        ]
    },
};
