//! PURE. Failure modes of netsonded itself: this diagnosis cannot use packets that it did not record.

use super::evidence::HostEvidence;
use super::links::MAX_FINDINGS;
use super::{CheckOutcome, HostMode};
use crate::diagnose::case::seconds;
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::text::counted;

/// Age up to which a gap matters to a diagnosis.
const RECENT_NS: u64 = 300_000_000_000;
/// NTP slews by at most half a millisecond per second; more is a step.
const MIN_STEP_NS: i64 = 100_000_000;

/// Packets dropped by the rings during the window.
fn ring_drops(all: &HostEvidence) -> u64 {
    let before: u64 = all.status.before.rings.iter().map(|ring| ring.drops).sum();
    let after: u64 = all.status.after.rings.iter().map(|ring| ring.drops).sum();
    // A new engine continues the counts of the former one.
    after.saturating_sub(before)
}

pub fn check_rings(all: &HostEvidence) -> CheckOutcome {
    let packets: u64 = all.status.after.rings.iter().map(|ring| ring.packets).sum();
    CheckOutcome::Done(format!(
        "{} dropped in {}, {packets} since the start",
        ring_drops(all),
        seconds(all.window_ns),
        packets = counted(packets, "packet")
    ))
}

pub static SERVICE_DROPS: HostMode = HostMode {
    text: Text {
        id: "service-drops",
        title: "netsonded drops packets",
        symptoms: "Gaps in `netsonde status`; findings about absent packets are uncertain.",
        cause: "More packets arrive than its rings can hold until the engine reads them.",
        proof: "The drop counters of the rings increase.",
        fix: "Larger rings ([rings] in netsonde.toml(5)), or fewer interfaces.",
    },
    implies: &[],
    rule: |all| {
        let drops = ring_drops(all);
        if drops == 0 {
            return vec![];
        }
        vec![
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "netsonded's rings dropped {} in {}: what is not found here may have been \
                        missed",
                    counted(drops, "packet"),
                    seconds(all.window_ns)
                ),
            )
            .fix("larger rings ([rings] in netsonde.toml(5)), or record fewer interfaces")
            .with_evidence(
                "service",
                format!("netsonde status: dropped by the rings +{drops}"),
            )
            .on_host(),
        ]
    },
};

pub fn check_gaps(all: &HostEvidence) -> CheckOutcome {
    CheckOutcome::Done(format!(
        "{} declared, {} of them in the last five minutes",
        counted(all.status.after.gaps.len(), "gap"),
        all.status
            .after
            .gaps
            .iter()
            .filter(|gap| all.ago_ns(&gap.to) < RECENT_NS)
            .count()
    ))
}

pub static RECORDER_GAPS: HostMode = HostMode {
    text: Text {
        id: "recorder-gaps",
        title: "the record has a recent gap",
        symptoms: "Packets of that time are not in the record.",
        cause: "netsonded's engine was replaced, its record could not be continued, its rings \
            overflowed, or packets that repeatedly crashed the engine were skipped.",
        proof: "netsonded declares the gap, with its time and cost.",
        fix: "Check netsonded's log (journalctl -u netsonded).",
    },
    implies: &[],
    rule: |all| {
        let recent = all.status.after.gaps.iter().filter(|gap| {
            // A restart without loss and a link that was down are not gaps.
            let cost = match gap.kind.as_str() {
                "engine_restart" => gap.count > 0,
                // Drops of this moment are reported by another finding.
                "ring_drop" => ring_drops(all) == 0,
                "recorder_reset" | "quarantined" | "gaps_lost" => true,
                _ => false,
            };
            cost && all.ago_ns(&gap.to) < RECENT_NS
        });
        let mut kinds: Vec<(&str, u64, u64)> = Vec::new();
        for gap in recent {
            let ago = all.ago_ns(&gap.to);
            match kinds.iter_mut().find(|(kind, ..)| *kind == gap.kind) {
                Some((_, count, last)) => {
                    *count += gap.count;
                    *last = (*last).min(ago);
                }
                None => kinds.push((&gap.kind, gap.count, ago)),
            }
        }
        kinds
            .into_iter()
            .map(|(kind, count, ago)| {
                FindingDraft::warning(
                    Certainty::Proved,
                    format!(
                        "netsonded's record has a gap {} ago ({kind}, {})",
                        seconds(ago),
                        counted(count, "packet")
                    ),
                )
                .fix("check netsonded's log (journalctl -u netsonded), and netsonde status")
                .with_evidence("service", format!("gap of kind {kind}, count {count}"))
                .on_host()
            })
            .collect()
    },
};

/// Limits reached during the window: name, limit, count.
fn hit(all: &HostEvidence) -> Vec<(&str, u64, u64)> {
    all.status
        .after
        .limits
        .iter()
        .filter_map(|limit| {
            let before = all
                .status
                .before
                .limits
                .iter()
                .find(|one| one.name == limit.name);
            let hits = limit.hits.saturating_sub(before.map_or(0, |one| one.hits));
            // A caller without probe permission is refused by this diagnosis itself.
            let is_refusal = limit.name.starts_with("requests refused");
            (hits > 0 && !is_refusal).then_some((limit.name.as_str(), limit.limit, hits))
        })
        .collect()
}

pub fn check_limits(all: &HostEvidence) -> CheckOutcome {
    CheckOutcome::Done(format!(
        "{}, {} hit in {}",
        counted(all.status.after.limits.len(), "limit"),
        hit(all).len(),
        seconds(all.window_ns)
    ))
}

pub static SERVICE_LIMITS: HostMode = HostMode {
    text: Text {
        id: "service-limits",
        title: "netsonded reached one of its limits",
        symptoms: "Something is missing in its answers: a flow, a group, a neighbor, a connection.",
        cause: "More of something than netsonded keeps, as in a flood or a scan; or clients that \
            request more than they may.",
        proof: "netsonded counts how often each limit is reached.",
        fix: "`netsonde status` names the limit; some are keys of netsonde.toml(5).",
    },
    implies: &[],
    rule: |all| {
        hit(all)
            .into_iter()
            .take(MAX_FINDINGS)
            .map(|(name, limit, hits)| {
                let value = if limit > 0 {
                    format!(" of {limit}")
                } else {
                    String::new()
                };
                FindingDraft::note(
                    Certainty::Proved,
                    format!(
                        "netsonded's limit \"{name}\"{value} was reached {hits} in {}",
                        seconds(all.window_ns),
                        hits = counted(hits, "time")
                    ),
                )
                .fix("netsonde status shows the total since the start; see netsonde.toml(5)")
                .with_evidence("service", format!("{name} +{hits}"))
                .on_host()
            })
            .collect()
    },
};

pub fn check_sandbox(all: &HostEvidence) -> CheckOutcome {
    match &all.status.after.sandbox {
        Some(sandbox) => CheckOutcome::Done(format!(
            "seccomp {}, landlock {}, action on a violation: {}",
            sandbox.seccomp, sandbox.landlock, sandbox.violation
        )),
        None => CheckOutcome::Skipped("the service does not report its sandbox".into()),
    }
}

pub static SANDBOX_PARTLY: HostMode = HostMode {
    text: Text {
        id: "sandbox-partly",
        title: "netsonded's engine is not fully sandboxed",
        symptoms: "None; but a compromised engine could do more than it should.",
        cause: "The kernel lacks seccomp filters or landlock (before 5.13, or not among its lsm=), \
            or a forbidden system call fails instead of ending the engine.",
        proof: "netsonded reports what is in force.",
        fix: "A kernel with landlock (lsm=landlock,... on its command line), and [sandbox] \
            violation = \"kill\".",
    },
    implies: &[],
    rule: |all| {
        let Some(sandbox) = &all.status.after.sandbox else {
            return vec![];
        };
        let missing = |part: &str| part == "not on this kernel";
        let mut what = Vec::new();
        if missing(&sandbox.seccomp) {
            what.push("seccomp is not on this kernel");
        }
        if missing(&sandbox.landlock) {
            what.push("landlock is not on this kernel");
        }
        if sandbox.violation != "kill" {
            what.push("a forbidden system call fails instead of ending it");
        }
        if what.is_empty() {
            return vec![];
        }
        vec![
            FindingDraft::note(
                Certainty::Proved,
                format!(
                    "netsonded's engine is not fully sandboxed: {}",
                    what.join(", ")
                ),
            )
            .fix(
                "a kernel with landlock (lsm=), and [sandbox] violation = \"kill\" in \
                    netsonde.toml(5)",
            )
            .with_evidence(
                "service",
                format!("seccomp {}, landlock {}", sandbox.seccomp, sandbox.landlock),
            )
            .on_host(),
        ]
    },
};

pub fn check_clock(all: &HostEvidence) -> CheckOutcome {
    CheckOutcome::Done(format!(
        "{:+.3} ms relative to the monotonic clock in {}",
        all.clock_step_ns as f64 / 1e6,
        seconds(all.window_ns)
    ))
}

pub static CLOCK_STEPPED: HostMode = HostMode {
    text: Text {
        id: "clock-stepped",
        title: "the wall clock jumped",
        symptoms: "Times in logs and captures are out of order; certificates and leases expire.",
        cause: "The time was set by hand, or a time service stepped the clock because it was far \
            off.",
        proof: "The wall clock and the monotonic clock advanced differently during the window.",
        fix: "Use only one time service, and let it slew the clock (chronyc tracking, \
            timedatectl).",
    },
    implies: &[],
    rule: |all| {
        if all.clock_step_ns.abs() < MIN_STEP_NS {
            return vec![];
        }
        // The monotonic clock stands while the machine is suspended, which looks like a step forward.
        let certainty = match all.clock_step_ns < 0 {
            true => Certainty::Proved,
            false => Certainty::Consistent,
        };
        vec![
            FindingDraft::warning(
                certainty,
                format!(
                    "the wall clock jumped by {:+.3} s while this host was observed",
                    all.clock_step_ns as f64 / 1e9
                ),
            )
            .fix("find out what sets it: timedatectl, chronyc tracking; use only one time service")
            .with_evidence(
                "kernel",
                format!(
                    "CLOCK_REALTIME against CLOCK_MONOTONIC: {:+} ns",
                    all.clock_step_ns
                ),
            )
            .on_host(),
        ]
    },
};
