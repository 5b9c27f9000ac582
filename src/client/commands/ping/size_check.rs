//! SHELL. A smaller probe after large ones were lost: whether the path drops packets by their size. It is
//! a run of its own, and no part of the counts.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use crate::client::cli::args::{Ping, Pmtu};
use crate::client::failure::Failure;
use crate::varlink::client::Connection;
use netsonde_core::protocol::ping::{Options, PingCall, PingReply, Probe, Remark, Summary};

/// Losses in a row, from the first probe on, after which the smaller probe is sent.
pub const LOSSES: u32 = 2;
/// Payload of the smaller probe in bytes: the default of ping.
const SMALL: u32 = 56;
/// Smallest payload in bytes for which a smaller probe says something: every path carries packets of 576
/// bytes (RFC 791, section 3.1).
const MIN_LARGE: u32 = 549;
/// Longest wait for the smaller probe, in nanoseconds.
const MAX_TIMEOUT_NS: u64 = 2_000_000_000;

/// The smaller probe and its fate.
#[derive(Clone, Debug, Serialize)]
pub struct SizeCheck {
    /// Payload in bytes.
    pub size: u32,
    /// Result of the probe.
    #[serde(flatten)]
    pub probe: Probe,
}

/// Losses of one target.
#[derive(Default)]
struct Losses {
    /// Unanswered probes; `None` once a reply or error came, or the smaller probe was sent.
    unanswered: Option<u32>,
    /// Whether the lost requests left in fragments.
    in_fragments: bool,
    passed: bool,
}

/// Lost probes by target, and the smaller probes.
pub struct SizeChecks {
    size: u32,
    targets: HashMap<String, Losses>,
}

impl SizeChecks {
    /// Returns whether the probes of this command are large, and must not be fragmented on the way.
    pub fn apply(args: &Ping, is_ipv4: bool) -> bool {
        let may_fragment = is_ipv4 && args.pmtu == Some(Pmtu::Dont);
        let is_echo = args.tcp.is_none() && args.udp.is_none();
        is_echo && args.size >= MIN_LARGE && !may_fragment && !args.flood
    }

    /// Creates an empty table for probes of `size` bytes.
    pub fn new(size: u32) -> SizeChecks {
        SizeChecks {
            size,
            targets: HashMap::new(),
        }
    }

    /// Records the fate of a probe. Returns whether the smaller probe is due for its target.
    pub fn add(&mut self, probe: &Probe) -> bool {
        let losses = self.targets.entry(probe.target.clone()).or_insert(Losses {
            unanswered: Some(0),
            ..Losses::default()
        });
        let Some(count) = &mut losses.unanswered else {
            return false;
        };
        if probe.fate != "unanswered" || probe.duplicate.is_some() {
            losses.unanswered = None;
            return false;
        }
        *count += 1;
        losses.in_fragments |= probe.fragmented == Some(true);
        let is_due = *count >= LOSSES;
        if is_due {
            losses.unanswered = None;
        }
        is_due
    }

    /// Sends the smaller probe with the options of the run.
    pub fn send(socket: &Path, target: &str, options: &Options) -> Result<SizeCheck, Failure> {
        let call = PingCall {
            targets: Some(vec![target.to_owned()]),
            list: None,
            options: Some(Options {
                count: Some(1),
                size: Some(SMALL),
                timeout_ns: options.timeout_ns.map(|ns| ns.min(MAX_TIMEOUT_NS)),
                deadline_ns: None,
                flood: None,
                quiet: None,
                rows: None,
                ..options.clone()
            }),
        };
        let mut connection = Connection::open(socket)?;
        connection.call_more("io.netsonde.Ping.Ping", &call)?;
        connection.wait_without_limit()?;
        let mut result = None;
        loop {
            let Some((reply, continues)) = connection.reply_or::<PingReply>(None)? else {
                continue;
            };
            let probes = reply.probes.into_iter().flatten();
            for probe in probes.filter(|probe| probe.duplicate.is_none()) {
                result = Some(probe);
            }
            if !continues {
                break;
            }
        }
        let probe = result.ok_or_else(|| Failure::Other("the smaller probe has no fate".into()))?;
        Ok(SizeCheck { size: SMALL, probe })
    }

    /// Size of the smaller probe in bytes.
    pub fn small() -> u32 {
        SMALL
    }

    /// Records the fate of the smaller probe.
    pub fn checked(&mut self, check: &SizeCheck) {
        if let Some(losses) = self.targets.get_mut(&check.probe.target) {
            losses.passed = check.probe.fate == "replied";
        }
    }

    /// Returns the remark about a target of whose large probes none was answered, although the smaller one
    /// was.
    pub fn remark(&self, summary: &Summary) -> Option<Remark> {
        let losses = self.targets.get(&summary.target)?;
        let lost = summary.fates.get("unanswered").copied().unwrap_or(0);
        if !losses.passed || lost < summary.sent {
            return None;
        }
        let text = if losses.in_fragments {
            format!(
                "{SMALL} bytes pass, {} in fragments do not: fragments are lost on the path",
                self.size
            )
        } else {
            format!(
                "{SMALL} bytes pass, {} do not: path MTU black hole, or a filter of large packets",
                self.size
            )
        };
        Some(Remark {
            id: "path-mtu-black-hole".into(),
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(fate: &str) -> Probe {
        Probe {
            target: "10.0.0.2".into(),
            fate: fate.into(),
            ..Probe::default()
        }
    }

    #[test]
    fn one_check_after_two_losses_and_no_reply() {
        let mut checks = SizeChecks::new(1400);
        let due: Vec<bool> = (0..5).map(|_| checks.add(&probe("unanswered"))).collect();
        assert_eq!(due, [false, true, false, false, false]);
        let mut checks = SizeChecks::new(1400);
        for fate in ["unanswered", "replied", "unanswered", "unanswered"] {
            assert!(!checks.add(&probe(fate)));
        }
    }

    #[test]
    fn a_remark_needs_a_small_reply_and_no_large_one() {
        let mut checks = SizeChecks::new(1400);
        checks.add(&probe("unanswered"));
        checks.add(&probe("unanswered"));
        let mut summary = Summary {
            target: "10.0.0.2".into(),
            sent: 2,
            fates: [("unanswered".to_owned(), 2)].into(),
            ..Summary::default()
        };
        assert!(checks.remark(&summary).is_none());
        checks.checked(&SizeCheck {
            size: SMALL,
            probe: probe("replied"),
        });
        let remark = checks.remark(&summary).unwrap();
        assert!(
            remark
                .text
                .starts_with("56 bytes pass, 1400 do not: path MTU black hole")
        );
        summary.sent = 3;
        assert!(checks.remark(&summary).is_none());
    }
}
