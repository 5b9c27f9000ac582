//! SHELL. Whether this host was suspended, this process was stopped, or the clock was set: what was measured before and
//! what is measured behind are then not in a row.

use netsonde_history::chunk::{Gap, GapReason};
use nix::time::{ClockId, clock_gettime};

/// Difference in nanoseconds above which a clock was set: adjustments by a time daemon stay below, also those of a leap second that
/// is smeared.
const STEP_NS: i64 = 1_500_000_000;
/// Time in nanoseconds for which this process did not run although it should have run every second.
const STOPPED_NS: i64 = 5_000_000_000;

/// The clocks at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Since 1970; it can be set.
    pub wall: i64,
    /// It goes on while the host is suspended.
    pub boot: i64,
    /// It stands still meanwhile.
    pub monotonic: i64,
}

impl Clocks {
    /// Reads them.
    pub fn now() -> Clocks {
        let read = |clock| {
            let time = clock_gettime(clock);
            time.map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
        };
        Clocks {
            wall: read(ClockId::CLOCK_REALTIME),
            boot: read(ClockId::CLOCK_BOOTTIME),
            monotonic: read(ClockId::CLOCK_MONOTONIC),
        }
    }

    /// Says what happened between these and later ones, read about a second later.
    pub fn until(self, later: Clocks) -> Option<GapReason> {
        let passed = |of: fn(Clocks) -> i64| of(later) - of(self);
        let (wall, boot, monotonic) = (
            passed(|clocks| clocks.wall),
            passed(|clocks| clocks.boot),
            passed(|clocks| clocks.monotonic),
        );
        if (wall - boot).abs() > STEP_NS {
            Some(GapReason::ClockStep)
        } else if boot - monotonic > STEP_NS {
            Some(GapReason::Suspended)
        } else if monotonic > STOPPED_NS {
            Some(GapReason::Stopped)
        } else {
            None
        }
    }
}

/// Returns what was not measured between two probes, of which the first was sent at `last_ns`, 0 if there was none, and the
/// other at `sent_ns`, both in nanoseconds since 1970. A clock that was set back leaves no time without probes.
pub fn gap_between(last_ns: u64, sent_ns: u64, interval_ns: u64, reason: GapReason) -> Option<Gap> {
    let since_ns = sent_ns.saturating_sub(last_ns);
    let is_gap = last_ns > 0 && since_ns > interval_ns + interval_ns / 2;
    is_gap.then(|| Gap {
        begin_ns: last_ns + interval_ns,
        length_ns: since_ns - interval_ns,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_set_ahead_leave_a_gap_and_clocks_set_back_none() {
        const SECOND: u64 = 1_000_000_000;
        let between = |last, sent| {
            let gap = gap_between(last * SECOND, sent * SECOND, SECOND, GapReason::ClockStep);
            gap.map(|gap| (gap.begin_ns / SECOND, gap.length_ns / SECOND))
        };
        let start = 1_800_000_000;
        assert_eq!(between(start, start + 1), None);
        assert_eq!(between(start, start + 86_400), Some((start + 1, 86_399)));
        assert_eq!(between(start, start - 86_400), None);
        assert_eq!(between(0, start), None);
    }

    #[test]
    fn suspension_steps_and_stops_are_told_apart() {
        const SECOND: i64 = 1_000_000_000;
        let before = Clocks {
            wall: 1_800_000_000 * SECOND,
            boot: 500 * SECOND,
            monotonic: 400 * SECOND,
        };
        let after = |wall, boot, monotonic| Clocks {
            wall: before.wall + wall * SECOND,
            boot: before.boot + boot * SECOND,
            monotonic: before.monotonic + monotonic * SECOND,
        };
        for (later, reason) in [
            (after(1, 1, 1), None),
            (after(2, 1, 1), None),
            (after(60, 60, 60), Some(GapReason::Stopped)),
            (after(3600, 3600, 1), Some(GapReason::Suspended)),
            (after(86_400, 1, 1), Some(GapReason::ClockStep)),
            (after(-86_400, 1, 1), Some(GapReason::ClockStep)),
        ] {
            assert_eq!(before.until(later), reason, "{later:?}");
        }
    }
}
