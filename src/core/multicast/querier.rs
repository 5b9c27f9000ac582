//! PURE. IGMP and MLD queriers: their queries, the election, and the timers that follow (RFC 3376,
//! section 8; RFC 3810, section 9).

use std::net::IpAddr;

use super::ObservedMessage;

/// Maximum queriers per interface and family. A link has one or two; more is an attack or a test.
const MAX_QUERIERS_PER_LINK: usize = 16;
/// Maximum number of queriers: one per family on several hundred interfaces.
const MOST: usize = 1024;
/// Queries of one sender closer than this are one query seen twice (bridge and port, or a
/// duplicate).
const DUPLICATE_QUERY_NS: u64 = 100_000_000;
/// Query interval if none was observed or announced (RFC 3376, section 8.2).
const DEFAULT_INTERVAL_NS: u64 = 125_000_000_000;
/// Robustness variable if none was announced (RFC 3376, section 8.1).
const DEFAULT_ROBUSTNESS: u64 = 2;
/// Response interval if none was observed (RFC 3376, section 8.3).
const DEFAULT_RESPONSE_NS: u64 = 10_000_000_000;

/// Fields of a query that the tracker uses.
#[derive(Clone, Copy, Debug)]
pub struct QueryInfo {
    /// Protocol version: 1 to 3 (IGMP), 1 or 2 (MLD).
    pub version: u8,
    /// Group of the query; `None` for a general query.
    pub group: Option<IpAddr>,
    /// Maximum response time, in milliseconds.
    pub max_response_ms: u32,
    /// Announced robustness variable; 0 means none.
    pub robustness: Option<u8>,
    /// Announced query interval in seconds; 0 means none.
    pub interval_s: Option<u32>,
}

/// Host that sends queries. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Querier {
    /// Interface index.
    pub ifindex: u32,
    /// Source address; unspecified if it queries without one (a bridge without an address).
    pub address: IpAddr,
    /// Version of its latest query.
    pub version: u8,
    /// Whether it is this host.
    pub own: bool,
    /// Time of its first query.
    pub first_ns: u64,
    /// Time of its latest general query; before the first one, of its latest query.
    pub last_ns: u64,
    /// Number of general queries.
    pub general: u64,
    /// Number of group-specific queries.
    pub specific: u64,
    /// Time between its last two general queries, in nanoseconds. A starting querier sends them at
    /// a quarter of the interval.
    pub gap_ns: Option<u64>,
    /// Announced query interval, in nanoseconds.
    pub announced_ns: Option<u64>,
    /// Announced robustness variable.
    pub robustness: Option<u8>,
    /// Maximum response time of its latest general query, in nanoseconds.
    pub max_response_ns: u64,
}

/// Source of a timer value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerSource {
    /// Announced by the querier.
    Announced,
    /// Measured between queries.
    Observed,
    /// Default of the standard, because nothing else is known.
    Default,
}

impl TimerSource {
    /// Returns the name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            TimerSource::Announced => "announced",
            TimerSource::Observed => "observed",
            TimerSource::Default => "default",
        }
    }
}

/// Timers of a link, derived from its querier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timers {
    /// Time between two general queries, in nanoseconds.
    pub interval_ns: u64,
    /// Source of the interval.
    pub interval: TimerSource,
    /// Robustness variable: the number of queries that may be lost, plus one.
    pub robustness: u64,
    /// Maximum response time, in nanoseconds.
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
        self.robustness
            .saturating_mul(self.interval_ns)
            .saturating_add(self.max_response_ns.saturating_mul(2))
    }

    /// Time without a query after which other queriers take over (RFC 3376, section 8.5).
    pub fn other_querier_ns(&self) -> u64 {
        self.robustness
            .saturating_mul(self.interval_ns)
            .saturating_add(self.max_response_ns / 2)
    }
}

/// State of a querier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuerierState {
    /// Elected: it has the lowest address.
    Elected,
    /// Not elected: another querier has a lower address, or it has no address.
    Other,
    /// Elected, but its next query is overdue.
    Overdue,
    /// Silent for so long that others take over.
    Gone,
}

impl QuerierState {
    /// Returns the name used in JSON.
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
    /// Returns the timers that follow from its queries.
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

    /// Returns whether its latest query is recent enough to count.
    fn is_alive(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) <= self.timers().other_querier_ns()
    }
}

/// All queriers.
#[derive(Debug, Default)]
pub struct Queriers {
    all: Vec<Querier>,
    /// Queries of queriers that were not recorded because of the limits.
    pub overflows: u64,
}

impl Queriers {
    /// Maximum number of queriers.
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
        if querier.general > 0 && gap < DUPLICATE_QUERY_NS {
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
        querier.announced_ns = asked
            .interval_s
            .filter(|seconds| *seconds > 0)
            .map(|seconds| u64::from(seconds) * 1_000_000_000);
    }

    /// Returns whether there is space for one more querier on this link, removing those that are
    /// gone if necessary.
    fn make_room(&mut self, seen: &ObservedMessage<'_>) -> bool {
        let of_link = |querier: &&Querier| {
            querier.ifindex == seen.ifindex && querier.address.is_ipv4() == seen.source.is_ipv4()
        };
        let is_full = |all: &[Querier]| {
            all.len() >= MOST || all.iter().filter(of_link).count() >= MAX_QUERIERS_PER_LINK
        };
        if is_full(&self.all) {
            self.all.retain(|querier| querier.is_alive(seen.time_ns));
        }
        !is_full(&self.all)
    }

    /// Returns all queriers with their current state.
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
        // The querier's own timer may be late by up to the response time.
        if now_ns > due_ns.saturating_add(timers.max_response_ns) {
            QuerierState::Overdue
        } else {
            QuerierState::Elected
        }
    }

    /// Returns the elected querier of a link: the one with the lowest address. Queriers without an
    /// address never win (RFC 4541, section 2.1.1), and count only if there is no other.
    pub fn elected(&self, ifindex: u32, is_ipv4: bool, now_ns: u64) -> Option<&Querier> {
        self.all
            .iter()
            .filter(|querier| {
                querier.ifindex == ifindex
                    && querier.address.is_ipv4() == is_ipv4
                    && querier.is_alive(now_ns)
            })
            .min_by_key(|querier| (querier.address.is_unspecified(), querier.address))
    }

    /// Returns the timers of a link: those of its elected querier, or of the last one.
    pub fn timers(&self, ifindex: u32, is_ipv4: bool, now_ns: u64) -> Timers {
        let last = || {
            self.all
                .iter()
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
        trackers
            .queriers
            .iter(now_ns)
            .map(|(querier, standing)| (querier.address.to_string(), standing.name()))
            .collect()
    }

    #[test]
    fn lowest_address_is_elected_and_expires() {
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
    fn queriers_over_the_limit_are_counted() {
        let mut trackers = Trackers::default();
        for number in 0..100u32 {
            query(
                &mut trackers,
                &format!("10.0.1.{number}"),
                S + u64::from(number),
                3,
            );
        }
        assert_eq!(trackers.queriers.iter(2 * S).count(), MAX_QUERIERS_PER_LINK);
        assert_eq!(trackers.queriers.overflows, 84);
    }
}
