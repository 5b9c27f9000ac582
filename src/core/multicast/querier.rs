//! PURE. Who asks for memberships, how often, and who of them is the elected querier (RFC 3376, section
//! 6.6.2; RFC 3810, section 7.6.2).

use std::net::IpAddr;

use super::ObservedMessage;

/// Queriers of one interface and family: a link has one or two; more is an attack or a test.
const OF_A_LINK: usize = 16;
/// Queriers in all: one of each family for each of some hundred interfaces.
const MOST: usize = 1024;
/// Queries of the same sender closer than this are one that came twice (bridge and port, or a fault).
const SAME_NS: u64 = 100_000_000;
/// Query interval where none was observed or announced (RFC 3376, section 8.2).
const DEFAULT_INTERVAL_NS: u64 = 125_000_000_000;
/// Robustness variable where none was announced (RFC 3376, section 8.1).
const DEFAULT_ROBUSTNESS: u64 = 2;
/// Response interval where none was observed (RFC 3376, section 8.3).
const DEFAULT_RESPONSE_NS: u64 = 10_000_000_000;

/// A query, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct QueryInfo {
    /// 1 to 3 (IGMP), 1 or 2 (MLD).
    pub version: u8,
    /// For which group; `None`: for all.
    pub group: Option<IpAddr>,
    /// Longest time for an answer.
    pub max_response_ms: u32,
    /// Announced; 0 is "none".
    pub robustness: Option<u8>,
    /// Announced; 0 is "none".
    pub interval_s: Option<u32>,
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Querier {
    /// On which interface.
    pub ifindex: u32,
    /// Its address; unspecified if it asks without (a bridge without an address).
    pub address: IpAddr,
    /// Version of its newest query.
    pub version: u8,
    /// This host itself.
    pub own: bool,
    /// When its first query was seen.
    pub first_ns: u64,
    /// When its newest general query was seen; before that, its newest query.
    pub last_ns: u64,
    /// General queries.
    pub general: u64,
    /// Queries for a group.
    pub specific: u64,
    /// What lay between its last two general queries. Beginners ask four times as often at first.
    pub gap_ns: Option<u64>,
    /// Interval that it announces.
    pub announced_ns: Option<u64>,
    /// Robustness that it announces.
    pub robustness: Option<u8>,
    /// Longest time for an answer, in its newest general query.
    pub max_response_ns: u64,
}

/// Where a duration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerSource {
    /// The querier announces it.
    Announced,
    /// It was seen.
    Observed,
    /// By the standard, since nothing else is known.
    Default,
}

impl TimerSource {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            TimerSource::Announced => "announced",
            TimerSource::Observed => "observed",
            TimerSource::Default => "default",
        }
    }
}

/// The timers that follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timers {
    /// From one general query to the next, in nanoseconds.
    pub interval_ns: u64,
    /// Where that comes from.
    pub interval: TimerSource,
    /// How many may be lost.
    pub robustness: u64,
    /// Longest time for an answer, in nanoseconds.
    pub max_response_ns: u64,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            interval_ns: DEFAULT_INTERVAL_NS,
            interval: TimerSource::Default,
            robustness: DEFAULT_ROBUSTNESS,
            max_response_ns: DEFAULT_RESPONSE_NS,
        }
    }
}

impl Timers {
    /// How long a membership lasts without a report (RFC 9776 adds the response interval twice where
    /// RFC 3376 adds it once: this is the longer one).
    pub fn membership_ns(&self) -> u64 {
        (self.robustness.saturating_mul(self.interval_ns))
            .saturating_add(self.max_response_ns.saturating_mul(2))
    }

    /// After how long without a query the others take over (RFC 3376, section 8.5).
    pub fn other_querier_ns(&self) -> u64 {
        (self.robustness.saturating_mul(self.interval_ns)).saturating_add(self.max_response_ns / 2)
    }
}

/// What a querier is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuerierState {
    /// The one that counts: of the lowest address.
    Elected,
    /// It asks, and another one has the lower address, or it has no address.
    Other,
    /// The one that counts, and its next query should have come.
    Overdue,
    /// Not heard for so long that others take over.
    Gone,
}

impl QuerierState {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            QuerierState::Elected => "elected",
            QuerierState::Other => "other",
            QuerierState::Overdue => "overdue",
            QuerierState::Gone => "gone",
        }
    }
}

impl Querier {
    /// Its timers.
    pub fn timers(&self) -> Timers {
        let (interval_ns, interval) = match (self.announced_ns, self.gap_ns) {
            (Some(announced), _) => (announced, TimerSource::Announced),
            (None, Some(gap)) => (gap, TimerSource::Observed),
            (None, None) => (DEFAULT_INTERVAL_NS, TimerSource::Default),
        };
        Timers {
            interval_ns,
            interval,
            robustness: self.robustness.map_or(DEFAULT_ROBUSTNESS, u64::from).max(1),
            max_response_ns: self.max_response_ns,
        }
    }

    /// Has it been heard lately enough to count?
    fn is_alive(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) <= self.timers().other_querier_ns()
    }
}

/// All who ask.
#[derive(Debug, Default)]
pub struct Queriers {
    all: Vec<Querier>,
    /// Queriers that there was no room for.
    pub overflows: u64,
}

impl Queriers {
    /// How many there may be.
    pub const MOST: usize = MOST;

    pub(super) fn asked(&mut self, seen: &ObservedMessage<'_>, asked: &QueryInfo) {
        let is_it =
            |querier: &Querier| querier.ifindex == seen.ifindex && querier.address == seen.source;
        let at = match self.all.iter().position(is_it) {
            Some(at) => at,
            None => {
                if !self.make_room(seen) {
                    self.overflows = self.overflows.saturating_add(1);
                    return;
                }
                self.all.push(Querier {
                    ifindex: seen.ifindex,
                    address: seen.source,
                    version: asked.version,
                    own: seen.outbound,
                    first_ns: seen.time_ns,
                    last_ns: seen.time_ns,
                    general: 0,
                    specific: 0,
                    gap_ns: None,
                    announced_ns: None,
                    robustness: None,
                    max_response_ns: DEFAULT_RESPONSE_NS,
                });
                self.all.len() - 1
            }
        };
        let querier = &mut self.all[at];
        querier.version = asked.version;
        if asked.group.is_some() {
            querier.specific += 1;
            return;
        }
        let gap = seen.time_ns.saturating_sub(querier.last_ns);
        if querier.general > 0 && gap < SAME_NS {
            return;
        }
        if querier.general > 0 {
            querier.gap_ns = Some(gap);
        }
        querier.general += 1;
        querier.last_ns = seen.time_ns;
        // Version 1 has no such field: ten seconds (RFC 3376, section 4.1.1).
        querier.max_response_ns = match asked.max_response_ms {
            0 => DEFAULT_RESPONSE_NS,
            ms => u64::from(ms) * 1_000_000,
        };
        querier.robustness = asked.robustness.filter(|robustness| *robustness > 0);
        querier.announced_ns = (asked.interval_s.filter(|seconds| *seconds > 0))
            .map(|seconds| u64::from(seconds) * 1_000_000_000);
    }

    /// Room for one more on this link: those that have gone make it.
    fn make_room(&mut self, seen: &ObservedMessage<'_>) -> bool {
        let of_link = |querier: &&Querier| {
            querier.ifindex == seen.ifindex && querier.address.is_ipv4() == seen.source.is_ipv4()
        };
        let is_full =
            |all: &[Querier]| all.len() >= MOST || all.iter().filter(of_link).count() >= OF_A_LINK;
        if is_full(&self.all) {
            self.all.retain(|querier| querier.is_alive(seen.time_ns));
        }
        !is_full(&self.all)
    }

    /// Everyone who asks, with what they are now.
    pub fn iter(&self, now_ns: u64) -> impl Iterator<Item = (&Querier, QuerierState)> {
        self.all
            .iter()
            .map(move |querier| (querier, self.standing(querier, now_ns)))
    }

    fn standing(&self, querier: &Querier, now_ns: u64) -> QuerierState {
        if !querier.is_alive(now_ns) {
            return QuerierState::Gone;
        }
        let elected = self.elected(querier.ifindex, querier.address.is_ipv4(), now_ns);
        if elected.is_none_or(|elected| elected.address != querier.address) {
            return QuerierState::Other;
        }
        let timers = querier.timers();
        let due_ns = querier.last_ns.saturating_add(timers.interval_ns);
        // The querier's own timer may be late by as much as answers may take.
        if now_ns > due_ns.saturating_add(timers.max_response_ns) {
            QuerierState::Overdue
        } else {
            QuerierState::Elected
        }
    }

    /// The querier that counts on a link: of those that ask, the one of the lowest address. Queries
    /// without an address never win (RFC 4541, section 2.1.1), and count where there is no other.
    pub fn elected(&self, ifindex: u32, is_ipv4: bool, now_ns: u64) -> Option<&Querier> {
        (self.all.iter())
            .filter(|querier| {
                querier.ifindex == ifindex
                    && querier.address.is_ipv4() == is_ipv4
                    && querier.is_alive(now_ns)
            })
            .min_by_key(|querier| (querier.address.is_unspecified(), querier.address))
    }

    /// The timers of a link: those of its querier, or of the last one it had.
    pub fn timers(&self, ifindex: u32, is_ipv4: bool, now_ns: u64) -> Timers {
        let last = || {
            (self.all.iter())
                .filter(|one| one.ifindex == ifindex && one.address.is_ipv4() == is_ipv4)
                .max_by_key(|one| one.last_ns)
        };
        let querier = self.elected(ifindex, is_ipv4, now_ns).or_else(last);
        querier.map_or_else(Timers::default, Querier::timers)
    }

    pub(super) fn forget(&mut self, ifindex: u32) {
        self.all.retain(|querier| querier.ifindex != ifindex);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multicast::Trackers;
    use crate::wire::Meaning;
    use crate::wire::igmp::{Igmp, Query};

    const S: u64 = 1_000_000_000;

    fn query(trackers: &mut Trackers, from: &str, at_ns: u64, version: u8) {
        let meaning = Meaning::Igmp(Igmp::Query(Query {
            version,
            group: std::net::Ipv4Addr::UNSPECIFIED,
            max_response_ms: 10_000,
            suppress: false,
            robustness: 2,
            interval_s: 60,
            sources: vec![],
        }));
        trackers.observe(&ObservedMessage {
            time_ns: at_ns,
            ifindex: 2,
            outbound: false,
            source: from.parse().unwrap(),
            meaning: &meaning,
        });
    }

    fn standings(trackers: &Trackers, now_ns: u64) -> Vec<(String, &'static str)> {
        (trackers.queriers.iter(now_ns))
            .map(|(querier, standing)| (querier.address.to_string(), standing.name()))
            .collect()
    }

    #[test]
    fn the_lowest_address_wins_and_its_death_is_noticed() {
        let mut trackers = Trackers::default();
        query(&mut trackers, "0.0.0.0", S, 3);
        assert_eq!(standings(&trackers, 2 * S), [("0.0.0.0".into(), "elected")]);
        query(&mut trackers, "10.0.0.9", 2 * S, 3);
        query(&mut trackers, "10.0.0.2", 3 * S, 3);
        assert_eq!(
            standings(&trackers, 4 * S),
            [
                ("0.0.0.0".into(), "other"),
                ("10.0.0.9".into(), "other"),
                ("10.0.0.2".into(), "elected")
            ]
        );
        assert_eq!(standings(&trackers, 3 * S + 71 * S)[2].1, "overdue");
        // 2 * 60 s + 10 s / 2.
        assert_eq!(standings(&trackers, 3 * S + 126 * S)[2].1, "gone");
        query(&mut trackers, "10.0.0.9", 130 * S, 3);
        assert_eq!(standings(&trackers, 131 * S)[1].1, "elected");
    }

    #[test]
    fn version_2_announces_nothing_and_is_observed() {
        let mut trackers = Trackers::default();
        query(&mut trackers, "10.0.0.2", S, 2);
        assert_eq!(
            trackers.queriers.timers(2, true, S).interval,
            TimerSource::Default
        );
        query(&mut trackers, "10.0.0.2", 31 * S, 2);
        query(&mut trackers, "10.0.0.2", 31 * S + 1000, 2);
        let timers = trackers.queriers.timers(2, true, 32 * S);
        assert_eq!(
            (timers.interval, timers.interval_ns),
            (TimerSource::Observed, 30 * S)
        );
        assert_eq!(timers.membership_ns(), 80 * S);
    }

    #[test]
    fn a_flood_of_queriers_is_counted() {
        let mut trackers = Trackers::default();
        for number in 0..100u32 {
            query(
                &mut trackers,
                &format!("10.0.1.{number}"),
                S + u64::from(number),
                3,
            );
        }
        assert_eq!(trackers.queriers.iter(2 * S).count(), OF_A_LINK);
        assert_eq!(trackers.queriers.overflows, 84);
    }
}
