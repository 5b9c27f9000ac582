//! PURE. Statistics of a target, its responders, and reports of targets that stop answering.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Event, OtherSources, Refusals};
use crate::probe::fate::Fate;
use crate::probe::statistics::{Durations, Ewma, Jitter, Windows};

/// Consecutive lost probes after which a target is reported as unresponsive: many links lose one or
/// two.
pub const UNRESPONSIVE_AFTER: u32 = 3;

/// A target that had answered stopped answering, or answers again.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// The target stopped answering.
    Begun {
        /// Index of the target.
        target: u32,
        /// Wall-clock time at which the first of the lost probes was sent, in nanoseconds since
        /// 1970.
        since_ns: u64,
        /// Wall-clock time at which the last of them was sent.
        at_ns: u64,
        /// Fate of the last of them.
        fate: Fate,
        /// Description of its last sighting.
        last_seen: String,
    },
    /// The target answers again.
    Ended {
        /// Index of the target.
        target: u32,
        /// Wall-clock time at which the first lost probe was sent, in nanoseconds since 1970.
        since_ns: u64,
        /// Wall-clock time at which the answered probe was sent.
        at_ns: u64,
        /// Number of lost probes.
        misses: u32,
    },
}

impl Loss {
    /// Returns the index of the target.
    pub fn target(&self) -> u32 {
        match self {
            Loss::Begun { target, .. } | Loss::Ended { target, .. } => *target,
        }
    }
}

/// Host that answers probes to a group.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    /// Source MAC address of its replies.
    pub mac: Option<[u8; 6]>,
    /// Replies, without duplicates.
    pub replies: u64,
    /// Duplicate replies.
    pub duplicates: u64,
    /// Round trips.
    pub rtt: Durations,
    /// Answered sequence numbers: the newest, and a bitmap of the 64 up to it.
    newest: u32,
    seen: u64,
}

impl Responder {
    /// Records a reply. Returns `false` if its sequence number was already answered.
    pub(super) fn is_new(&mut self, sequence: u32) -> bool {
        if self.replies == 0 || sequence > self.newest {
            let by = sequence - self.newest.min(sequence);
            self.seen = if by >= 64 || self.replies == 0 {
                1
            } else {
                (self.seen << by) | 1
            };
            self.newest = sequence;
            return true;
        }
        let back = self.newest - sequence;
        let bit = 1u64.checked_shl(back).unwrap_or(0);
        let is_new = self.seen & bit == 0 && back < 64;
        self.seen |= bit;
        is_new
    }
}

/// Statistics of one target.
#[derive(Clone, Debug, Default)]
pub struct TargetStats {
    /// Decided probes per fate, in the order of [`Fate::ALL`].
    pub fates: [u32; 9],
    /// Replies to probes that were already answered.
    pub duplicates: u32,
    /// Replies that arrived after the reply to a later probe (RFC 4737, section 3).
    pub reordered: u32,
    /// Round trips.
    pub rtt: Durations,
    /// Round trips from wire to wire.
    pub wire: Durations,
    /// Interarrival jitter of the round trips.
    pub jitter: Jitter,
    /// Moving average of the round trips.
    pub ewma: Ewma,
    pub(super) highest: u32,
    /// Sequence number of the last probe that was unanswered when it was decided.
    pub(super) last_unanswered: u32,
    /// Consecutive lost probes, and the wall-clock time at which the first of them was sent.
    misses: u32,
    missed_ns: u64,
    /// Statistics that only some targets have.
    pub more: Option<Box<ExtendedStats>>,
}

/// Statistics that only some targets have.
#[derive(Clone, Debug, Default)]
pub struct ExtendedStats {
    /// Loss per time window.
    pub windows: Windows,
    /// Hosts that answered probes to a group.
    pub responders: BTreeMap<IpAddr, Responder>,
    /// Replies of responders that were not tracked because the table was full.
    pub responders_left_out: u64,
    /// ICMP errors about the probes.
    pub refusals: Option<Refusals>,
    /// Replies from other addresses than the target's.
    pub other_sources: OtherSources,
}

impl TargetStats {
    /// Counts consecutive losses. A target that has never answered is not reported: it may not
    /// exist.
    pub(super) fn count_miss(&mut self, event: &Event) -> Option<Loss> {
        // An error that came late was counted as a loss before.
        if event.fate == Fate::Refused && event.replaces_fate.is_some() {
            return None;
        }
        let target = event.target;
        if matches!(event.fate, Fate::Replied | Fate::Late | Fate::Corrupted) {
            let misses = std::mem::take(&mut self.misses);
            let since_ns = self.missed_ns;
            return (misses >= UNRESPONSIVE_AFTER).then_some(Loss::Ended {
                target,
                since_ns,
                at_ns: event.time_ns,
                misses,
            });
        }
        if self.received() == 0 {
            return None;
        }
        if self.misses == 0 {
            self.missed_ns = event.time_ns;
        }
        self.misses = self.misses.saturating_add(1);
        (self.misses == UNRESPONSIVE_AFTER).then(|| Loss::Begun {
            target,
            since_ns: self.missed_ns,
            at_ns: event.time_ns,
            fate: event.fate,
            last_seen: event.last_seen.clone().unwrap_or_default(),
        })
    }

    /// Returns the number of decided probes.
    pub fn sent(&self) -> u32 {
        self.fates.iter().sum()
    }

    /// Returns the number of probes answered in time.
    pub fn received(&self) -> u32 {
        self.fates[Fate::Replied as usize]
    }
}
