//! PURE. Remarks: what the probes of a target show together, and none of them alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Event, Target, TargetStats};
use crate::probe::fate::Fate;

/// Maximum number of further addresses named per target; an anycast or load-balanced target has a few.
const MAX_SOURCES: usize = 8;

/// Observation about all probes of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Name of its kind, in text and JSON.
    pub id: &'static str,
    /// Description, one sentence without a full stop.
    pub text: String,
}

/// ICMP errors about the probes of one target.
#[derive(Clone, Copy, Debug)]
pub struct Refusals {
    /// Sender, type and code of the first one.
    first: (IpAddr, u8, u8),
    /// Whether all others are like it.
    are_equal: bool,
    /// Sequence number of the first refused probe.
    since: u32,
    /// Whether one came after the time limit. Others may then still come.
    are_late: bool,
}

/// Counts of replies from other addresses than the target's.
#[derive(Clone, Debug, Default)]
pub struct OtherSources {
    counts: BTreeMap<IpAddr, u32>,
    left_out: u32,
}

impl TargetStats {
    /// Collects what remarks need from a decided probe.
    pub(super) fn collect(&mut self, event: &Event, target: &Target) {
        if event.fate == Fate::Unanswered {
            self.last_unanswered = self.last_unanswered.max(event.sequence);
        }
        if let (Fate::Refused, Some((from, quoted))) = (event.fate, &event.error) {
            let one = (*from, quoted.kind, quoted.code);
            let refusals = &mut self.more.get_or_insert_default().refusals;
            let known = refusals.get_or_insert(Refusals {
                first: one,
                are_equal: true,
                since: event.sequence,
                are_late: false,
            });
            known.are_late |= event.replaces_fate.is_some();
            known.are_equal &= known.first == one;
            known.since = known.since.min(event.sequence);
        }
        let is_reply = matches!(event.fate, Fate::Replied | Fate::Late | Fate::Corrupted);
        if let Some(from) = event.from
            && is_reply
            && from != target.address
            && !target.is_group
        {
            let others = &mut self.more.get_or_insert_default().other_sources;
            if others.counts.len() >= MAX_SOURCES && !others.counts.contains_key(&from) {
                others.left_out += 1;
            } else {
                *others.counts.entry(from).or_default() += 1;
            }
        }
    }

    /// Returns the remarks about a target.
    pub fn remarks(&self, target: &Target) -> Vec<Remark> {
        let all = [
            self.other_addresses(),
            self.limited_errors(),
            self.ignored_echo(target),
        ];
        all.into_iter().flatten().collect()
    }

    fn other_addresses(&self) -> Option<Remark> {
        let others = &self.more.as_deref()?.other_sources;
        if others.counts.is_empty() {
            return None;
        }
        let named: Vec<String> = (others.counts.iter())
            .map(|(from, count)| format!("{from} ({count})"))
            .collect();
        let more = match others.left_out {
            0 => String::new(),
            count => format!(" and further addresses ({count})"),
        };
        Some(Remark {
            id: "different-address",
            text: format!(
                "replies came from another address: {}{more}",
                named.join(", ")
            ),
        })
    }

    /// Routers and hosts limit the rate of their errors (RFC 1812, section 4.3.2.8; RFC 4443, section
    /// 2.4): of equal probes the first ones are refused, and later ones get no answer. Where silence came
    /// first, the path has changed instead; where errors are slow, those of the last probes are not over.
    fn limited_errors(&self) -> Option<Remark> {
        let refusals = self.more.as_deref()?.refusals.as_ref()?;
        let count = |fate: Fate| self.fates[fate as usize];
        let (refused, unanswered) = (count(Fate::Refused), count(Fate::Unanswered));
        let are_all = refused + unanswered == self.sent();
        if unanswered == 0 || !are_all || !refusals.are_equal || refusals.are_late {
            return None;
        }
        (refusals.since < self.last_unanswered).then(|| Remark {
            id: "limited-errors",
            text: format!(
                "{} limits its errors: {refused} of {} probes were refused, consistent with all of them",
                refusals.first.0,
                self.sent()
            ),
        })
    }

    /// A group or broadcast address that no host answers.
    fn ignored_echo(&self, target: &Target) -> Option<Remark> {
        let left = self.fates[Fate::Unanswered as usize];
        let is_silent =
            target.is_group && target.address.is_ipv4() && left > 0 && self.sent() == left;
        is_silent.then(|| Remark {
            id: "echo-ignored",
            text: "no host answered; Linux hosts ignore echo requests to groups and broadcast addresses by \
                   default (net.ipv4.icmp_echo_ignore_broadcasts = 1)"
                .into(),
        })
    }
}
