//! PURE. One time line: what the kernel stamps with the wall clock, put on the monotonic clock, so
//! that a wall clock that is set changes no round trip.

use std::collections::VecDeque;

/// How many settings of the wall clock are remembered: a stamp is at most some seconds old, and who
/// sets a clock eight times within that has other worries.
const REMEMBERED: usize = 8;
/// Clocks are read one after the other, which takes some 100 ns; what differs by more was set.
const STEP_NS: i64 = 20_000;
/// How far a stamp may lie outside of the time in which it must have been made: reading two clocks
/// is not exact.
const SLACK_NS: u64 = 50_000;

/// What lies between the wall clock and the monotonic clock. Both run at the same speed, also while
/// NTP slews them; only setting the clock changes what lies between.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Wall minus monotonic, in nanoseconds, the newest first.
    offsets: VecDeque<i64>,
}

impl Clock {
    /// From both clocks, read at one moment: nanoseconds since 1970, nanoseconds of the monotonic
    /// clock.
    pub fn new(wall_ns: u64, monotonic_ns: u64) -> Clock {
        Clock {
            offsets: VecDeque::from([wall_ns as i64 - monotonic_ns as i64]),
        }
    }

    /// Tells what both clocks show now. `true`: the wall clock was set since the last time.
    pub fn sample(&mut self, wall_ns: u64, monotonic_ns: u64) -> bool {
        let offset = wall_ns as i64 - monotonic_ns as i64;
        if (offset - self.offsets[0]).abs() <= STEP_NS {
            return false;
        }
        self.offsets.push_front(offset);
        self.offsets.truncate(REMEMBERED);
        true
    }

    /// Puts a stamp of the wall clock on the monotonic one. The event lies between `earliest_ns` and
    /// `latest_ns`; that tells which setting of the clock the stamp is of. `None`: it fits none.
    pub fn monotonic(&self, stamp_ns: u64, earliest_ns: u64, latest_ns: u64) -> Option<u64> {
        self.offsets.iter().find_map(|offset| {
            let at = u64::try_from(stamp_ns as i64 - offset).ok()?;
            let fits = at + SLACK_NS >= earliest_ns && at <= latest_ns + SLACK_NS;
            fits.then(|| at.clamp(earliest_ns, latest_ns.max(earliest_ns)))
        })
    }

    /// What the wall clock shows, or would show had it not been set since, at a time of the
    /// monotonic clock.
    pub fn wall(&self, monotonic_ns: u64) -> u64 {
        (monotonic_ns as i64 + self.offsets[0]).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn a_clock_set_back_changes_no_round_trip() {
        let mut clock = Clock::new(10 * HOUR, HOUR);
        let sent = HOUR + 5_000_000;
        // Stamped before the clock was set, read after.
        let stamp = 10 * HOUR + 5_100_000;
        assert!(clock.sample(9 * HOUR + 6_000_000, HOUR + 6_000_000));
        assert_eq!(
            clock.monotonic(stamp, sent, HOUR + 6_000_000),
            Some(HOUR + 5_100_000)
        );
        // Stamped after.
        assert_eq!(
            clock.monotonic(9 * HOUR + 5_900_000, sent, HOUR + 6_000_000),
            Some(HOUR + 5_900_000)
        );
        assert_eq!(clock.wall(HOUR + 6_000_000), 9 * HOUR + 6_000_000);
    }

    #[test]
    fn reading_two_clocks_is_not_a_step_and_nonsense_is_no_time() {
        let mut clock = Clock::new(10 * HOUR, HOUR);
        assert!(!clock.sample(10 * HOUR + 1_000_300, HOUR + 1_000_000));
        assert_eq!(clock.monotonic(20 * HOUR, HOUR, HOUR + 1_000_000), None);
        assert_eq!(clock.monotonic(0, HOUR, HOUR + 1_000_000), None);
    }
}
