//! PURE. Conversion of wall-clock stamps by the kernel to monotonic time, so that setting the wall
//! clock changes no round trip.

use std::collections::VecDeque;

/// Offsets kept: a stamp is at most a few seconds old, so eight settings of the clock within that
/// time are more than enough.
const MAX_OFFSETS: usize = 8;
/// Largest difference between samples that is not a setting of the clock. The two clocks are read
/// one after the other, about 100 ns apart.
const STEP_NS: i64 = 20_000;
/// How far a stamp may lie outside of its possible interval, because reading two clocks is not
/// exact.
const SLACK_NS: u64 = 50_000;

/// Offset between the wall clock and the monotonic clock. Both run at the same speed, also while
/// NTP slews them; only setting the clock changes the offset.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Wall minus monotonic time, in nanoseconds, newest first.
    offsets: VecDeque<i64>,
}

impl Clock {
    /// Creates a clock from one reading of both clocks: nanoseconds since 1970, and nanoseconds of
    /// the monotonic clock.
    pub fn new(wall_ns: u64, monotonic_ns: u64) -> Clock {
        Clock {
            offsets: VecDeque::from([wall_ns as i64 - monotonic_ns as i64]),
        }
    }

    /// Records a new reading of both clocks. Returns `true` if the wall clock was set since the
    /// last reading.
    pub fn sample(&mut self, wall_ns: u64, monotonic_ns: u64) -> bool {
        let offset = wall_ns as i64 - monotonic_ns as i64;
        if (offset - self.offsets[0]).abs() <= STEP_NS {
            return false;
        }
        self.offsets.push_front(offset);
        self.offsets.truncate(MAX_OFFSETS);
        true
    }

    /// Converts a wall-clock stamp to monotonic time. The event lies between `earliest_ns` and
    /// `latest_ns`, which selects the offset in force at that time. Returns `None` if no offset
    /// fits.
    pub fn monotonic(&self, stamp_ns: u64, earliest_ns: u64, latest_ns: u64) -> Option<u64> {
        self.offsets.iter().find_map(|offset| {
            let at = u64::try_from(stamp_ns as i64 - offset).ok()?;
            let fits = at + SLACK_NS >= earliest_ns && at <= latest_ns + SLACK_NS;
            fits.then(|| at.clamp(earliest_ns, latest_ns.max(earliest_ns)))
        })
    }

    /// Converts a monotonic time to wall-clock time, by the newest offset.
    pub fn wall(&self, monotonic_ns: u64) -> u64 {
        (monotonic_ns as i64 + self.offsets[0]).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn setting_the_clock_keeps_round_trips() {
        let mut clock = Clock::new(10 * HOUR, HOUR);
        let sent = HOUR + 5_000_000;
        // Stamped before the clock was set, read after.
        let stamp = 10 * HOUR + 5_100_000;
        assert!(clock.sample(9 * HOUR + 6_000_000, HOUR + 6_000_000));
        assert_eq!(
            clock.monotonic(stamp, sent, HOUR + 6_000_000),
            Some(HOUR + 5_100_000)
        );
        // Stamped after the clock was set.
        assert_eq!(
            clock.monotonic(9 * HOUR + 5_900_000, sent, HOUR + 6_000_000),
            Some(HOUR + 5_900_000)
        );
        assert_eq!(clock.wall(HOUR + 6_000_000), 9 * HOUR + 6_000_000);
    }

    #[test]
    fn small_offsets_are_no_step_and_impossible_stamps_are_rejected() {
        let mut clock = Clock::new(10 * HOUR, HOUR);
        assert!(!clock.sample(10 * HOUR + 1_000_300, HOUR + 1_000_000));
        assert_eq!(clock.monotonic(20 * HOUR, HOUR, HOUR + 1_000_000), None);
        assert_eq!(clock.monotonic(0, HOUR, HOUR + 1_000_000), None);
    }
}
