//! SHELL. Whether this host was suspended, this process was stopped, or the clock was set: what was measured before and
//! what is measured behind are then not in a row.

use netsonde_history::chunk::GapReason;
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

#[cfg(test)]
mod tests {
    use super::*;

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
