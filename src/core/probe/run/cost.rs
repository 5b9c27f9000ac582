//! PURE. Memory that a run may come to take, computed before anything is allocated for it.

use super::{
    DECISION_DELAY_NS, Event, ExtendedStats, KEPT_NS, ListedProbe, MAX_EVENTS, MAX_KEPT_PROBES,
    MAX_LISTED, MAX_RESPONDERS, MAX_RESPONDERS_PER_RUN, MAX_TARGETS_WITH_WINDOWS, Probe, Responder,
    Settings, Target, TargetStats,
};
use crate::probe::statistics::{Precision, Windows};
use crate::probe::transport::Transport;
use std::net::IpAddr;

/// Bytes of a run without targets and probes: its options, its maps when empty, and up to 256 losses.
const RUN: u64 = 64 * 1024;
/// Bytes of an event with its texts.
const EVENT: u64 = size_of::<Event>() as u64 + 192;
/// Bytes of a listed probe in a list that doubles.
const LISTED: u64 = 2 * size_of::<ListedProbe>() as u64;
/// Bytes of errors with their extensions, until they are reported: those of 60 ms, and events that wait.
const REFUSALS: u64 = 512 * 1024;
/// Bytes of an entry of a hash map besides key and value, with the share that stays empty.
const MAP_OVERHEAD: u64 = 1;
/// Least and largest number of events for which a run has room from the start: what a poll produces.
const EVENTS: (u64, u64) = (256, 8_192);

/// Number of elements that a growing vector allocates for `count`: it doubles.
fn grown(count: u64) -> u64 {
    count.max(4).next_power_of_two()
}

/// Bytes of a hash map of `count` entries, of which at most seven eighths are used.
fn map(count: u64, entry: u64) -> u64 {
    (count * 8 / 7 + 1).next_power_of_two() * (entry + MAP_OVERHEAD)
}

impl Settings {
    /// Returns the resolution of histograms: coarse where there are many.
    pub(super) fn precision(targets: usize) -> Precision {
        if targets <= MAX_TARGETS_WITH_WINDOWS {
            Precision::Fine
        } else {
            Precision::Coarse
        }
    }

    /// Returns whether the run keeps distributions of round trips. Packed fates without an end go to a reader that has every
    /// probe, and a histogram is 5 KB a target: with thousands of targets each access misses the caches.
    pub(super) fn keeps_distributions(&self) -> bool {
        !self.packed || self.count.is_some() || self.deadline_ns.is_some()
    }

    /// Returns the number of probes per second of a run with so many targets.
    pub fn probes_per_second(&self, targets: u64) -> u64 {
        if self.flood {
            return self.rate;
        }
        let scheduled = targets.saturating_mul(1_000_000_000) / self.interval_ns.max(1);
        scheduled.clamp(1, self.rate.max(1))
    }

    /// Returns the time between two probes of a target in nanoseconds, if the rate permits no shorter one although
    /// one was asked for. A second probe of each target must be wanted.
    pub fn stretched_ns(&self, targets: u64) -> Option<u64> {
        let needed_ns = targets.saturating_mul(1_000_000_000) / self.rate.max(1);
        let is_repeated = self.count.is_none_or(|count| count > 1);
        (is_repeated && !self.flood && needed_ns > self.interval_ns).then_some(needed_ns)
    }

    /// Returns the number of probes that a run may send; `None` if it has no end.
    fn probes(&self, targets: u64) -> Option<u64> {
        let counted = match &self.listed {
            Some(listed) if listed.is_open => Some(MAX_LISTED as u64),
            _ => self.count.map(|count| u64::from(count) * targets),
        };
        let timed = self.deadline_ns.map(|deadline_ns| {
            let seconds = deadline_ns.div_ceil(1_000_000_000);
            let rounds = self.probes_per_second(targets).saturating_mul(seconds);
            rounds.saturating_add(targets)
        });
        counted.into_iter().chain(timed).min()
    }

    /// Returns the number of probes that a run keeps at most: those that await their reply, of which there
    /// are `in_flight` at most, and those that were decided lately.
    fn kept(&self, targets: u64, in_flight: u64) -> u64 {
        let rate = self.probes_per_second(targets);
        let within = |ns: u64| (u128::from(rate) * u128::from(ns) / 1_000_000_000) as u64 + 1;
        let waiting = within(self.timeout_ns + DECISION_DELAY_NS).min(in_flight);
        let decided = within(KEPT_NS).min(MAX_KEPT_PROBES as u64);
        let all = waiting.saturating_add(decided);
        self.probes(targets).map_or(all, |probes| probes.min(all))
    }

    /// Returns the number of events for which a run has room from the start.
    pub fn event_room(&self, targets: u64) -> usize {
        if self.quiet {
            return 0;
        }
        let usual = (self.probes_per_second(targets) / 4).clamp(EVENTS.0, EVENTS.1);
        usual.min(MAX_EVENTS as u64) as usize
    }

    /// Returns the memory of the events of a run with room for so many, in bytes.
    pub fn event_bytes(room: usize) -> u64 {
        if room == 0 {
            return 0;
        }
        grown(room as u64 + 1) * size_of::<Event>() as u64
            + room as u64 * (EVENT - size_of::<Event>() as u64)
    }

    /// Returns the memory that a run with these targets may come to take, in bytes, without its events.
    /// `in_flight`: maximum number of probes of the service that await a reply.
    pub fn cost(&self, targets: &[Target], in_flight: u64) -> u64 {
        let count = targets.len() as u64;
        let groups = targets.iter().filter(|target| target.is_group).count() as u64;
        let of_target = (size_of::<Target>() + size_of::<TargetStats>()) as u64;
        let by_key = map(count, size_of::<((u128, u32), u32)>() as u64);
        // Answered late or twice, a probe counts once; a round more is in the rounding.
        let values = match (self.count, self.deadline_ns) {
            (Some(count), _) => count.into(),
            (None, Some(_)) => self
                .probes(count)
                .map_or(u64::MAX, |all| all / count.max(1)),
            (None, None) => u64::MAX,
        };
        let histograms = match self.keeps_distributions() {
            true => 2 * Settings::precision(targets.len()).bytes(values),
            false => 0,
        };
        // With a node of the map of other sources.
        let mut extended = size_of::<ExtendedStats>() as u64 + 256;
        if targets.len() <= MAX_TARGETS_WITH_WINDOWS {
            extended += Windows::BYTES;
        }
        let kept = self.kept(count, in_flight);
        let probes = grown(kept) * size_of::<Probe>() as u64
            // Answered, stuck, and by cookie: of these twice as many.
            + 2 * grown(kept) * size_of::<u64>() as u64
            + map(2 * kept, 2 * size_of::<u64>() as u64);
        let segments = match self.transport {
            Transport::Echo => 0,
            _ => map(2 * kept + 64, 2 * size_of::<u64>() as u64) + 64 * 1024,
        };
        // Nodes of the map are half full at worst.
        let responder =
            2 * size_of::<(IpAddr, Responder)>() as u64 + Precision::Coarse.bytes(values);
        let responders = (groups * MAX_RESPONDERS as u64).min(MAX_RESPONDERS_PER_RUN as u64);
        let packed = match self.packed {
            // Entries of probes that are kept, and those that wait for their reader.
            true => (grown(kept) + grown(self.packed_room(count)) + 1) * 40 + count * 4,
            false => 0,
        };
        let listed = match &self.listed {
            Some(_) => kept * LISTED + REFUSALS,
            None => 0,
        };
        RUN + packed
            + listed
            + segments
            + by_key
            + count * (of_target + histograms + extended)
            + probes
            + responders * responder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn settings(count: Option<u32>) -> Settings {
        Settings {
            count,
            ..Settings::of_test()
        }
    }

    fn targets(count: u32) -> Vec<Target> {
        let target = |at| Target {
            address: Ipv4Addr::from(0x0a00_0000 + at).into(),
            scope: 0,
            is_group: false,
        };
        (0..count).map(target).collect()
    }

    #[test]
    fn ordinary_runs_are_cheap_and_large_ones_are_not() {
        let cost = |count, number| settings(count).cost(&targets(number), 262_144) >> 10;
        // One host without an end, a /16 three times, a /15 once.
        assert!(cost(None, 1) < 256, "{} KiB", cost(None, 1));
        assert!(
            cost(Some(3), 65_536) < 120 << 10,
            "{} KiB",
            cost(Some(3), 65_536)
        );
        assert!(
            cost(Some(1), 131_072) < 136 << 10,
            "{} KiB",
            cost(Some(1), 131_072)
        );
        assert!(cost(None, 131_072) > 512 << 10);
        assert!(cost(Some(1), 131_072) > 80 << 10);
    }

    #[test]
    fn monitors_fit_the_memory_of_a_user() {
        let mut settings = settings(None);
        (settings.packed, settings.spread) = (true, true);
        // 10,000 targets for ever: a quarter of what one user may take by default.
        let cost = settings.cost(&targets(10_000), 262_144) >> 20;
        assert!(cost < 48, "{cost} MiB");
    }

    #[test]
    fn a_group_may_have_many_responders() {
        let mut groups = targets(100);
        groups.iter_mut().for_each(|target| target.is_group = true);
        let of = |number: usize| settings(None).cost(&groups[..number], 262_144);
        assert!(of(1) > 4096 * 2_500, "{}", of(1));
        assert!(of(100) < 4 * of(1), "{}", of(100));
    }

    #[test]
    fn a_rate_below_that_of_the_targets_stretches_the_interval() {
        let mut asked = settings(None);
        (asked.rate, asked.interval_ns) = (10_000, 1_000_000_000);
        assert_eq!(asked.stretched_ns(10_000), None);
        assert_eq!(asked.stretched_ns(10_250), Some(1_025_000_000));
        asked.count = Some(1);
        assert_eq!(asked.stretched_ns(10_250), None);
    }

    #[test]
    fn a_flood_is_counted_by_its_rate() {
        let mut flood = settings(None);
        (flood.flood, flood.rate, flood.timeout_ns) = (true, 20_000, 3_600_000_000_000);
        let all = flood.cost(&targets(1), 262_144);
        assert!(all > 327_680 * size_of::<Probe>() as u64, "{all}");
        assert!(all < flood.cost(&targets(1), 4_194_304));
    }
}
