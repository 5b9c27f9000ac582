//! PURE. Loss, duplicates, reordering and jitter of a stream, from its sequence numbers.

use crate::probe::statistics::Jitter;

/// Range of numbers for which arrival is known; older ones count as duplicates.
const KEPT: u64 = 65_536;
/// Offset that keeps transit times positive: two clocks are involved, and jitter uses differences
/// only.
const MIDDLE: u64 = 1 << 62;

/// Sequence number statistics of one stream whose numbers grow by one per packet.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// Packets, without duplicates.
    pub packets: u64,
    /// Duplicate packets.
    pub duplicates: u64,
    /// Packets that arrived after one with a higher number (RFC 4737, section 3).
    pub reordered: u64,
    /// The number after the latest gap.
    pub last_gap: Option<u64>,
    /// Lowest and highest number.
    range: Option<(u64, u64)>,
    /// Bitmap of the latest numbers, indexed by their remainder.
    seen: Vec<u64>,
    jitter: Jitter,
}

impl Sequence {
    /// Adds the next packet. Returns `true` if its number is new.
    pub fn add(&mut self, number: u64) -> bool {
        if self.seen.is_empty() {
            self.seen = vec![0; (KEPT / 64) as usize];
        }
        let Some((first, last)) = self.range else {
            self.range = Some((number, number));
            self.mark(number);
            self.packets = 1;
            return true;
        };
        if number > last {
            // Numbers that are skipped have not arrived, whatever their bit was before.
            for passed in (last + 1..=number).take(KEPT as usize) {
                self.clear(passed);
            }
            if number > last + 1 {
                self.last_gap = Some(number);
            }
            self.range = Some((first, number));
        } else if last - number >= KEPT || self.has(number) {
            self.duplicates += 1;
            return false;
        } else {
            self.reordered += 1;
            self.range = Some((first.min(number), last));
        }
        self.mark(number);
        self.packets += 1;
        true
    }

    /// Adds send and receive time of a packet, in nanoseconds since 1970, each by its own clock.
    pub fn time(&mut self, sent_ns: u64, received_ns: u64) {
        let transit = (received_ns as i64).wrapping_sub(sent_ns as i64);
        self.jitter.add(MIDDLE.wrapping_add_signed(transit));
    }

    /// Returns the lowest and the highest number.
    pub fn range(&self) -> Option<(u64, u64)> {
        self.range
    }

    /// Returns the number of missing packets between the first and the last that arrived.
    pub fn lost(&self) -> u64 {
        self.range.map_or(0, |(first, last)| {
            (last - first + 1).saturating_sub(self.packets)
        })
    }

    /// Returns the interarrival jitter (RFC 3550, section 6.4.1) in nanoseconds; `None` before the
    /// second packet.
    pub fn jitter_ns(&self) -> Option<u64> {
        self.jitter.ns(self.packets)
    }

    fn at(number: u64) -> (usize, u64) {
        ((number % KEPT / 64) as usize, 1 << (number % 64))
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = Self::at(number);
        self.seen[word] |= bit;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = Self::at(number);
        self.seen[word] &= !bit;
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = Self::at(number);
        self.seen[word] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_duplicates_and_reordering_are_exact() {
        let mut all = Sequence::default();
        for number in [5, 6, 8, 7, 7, 10, 5, 12] {
            all.add(number);
        }
        assert_eq!((all.packets, all.lost()), (6, 2));
        assert_eq!((all.duplicates, all.reordered), (2, 1));
        assert_eq!(all.range(), Some((5, 12)));
        // A gap wider than the range that is kept.
        assert!(all.add(1_000_000) && !all.add(12));
        assert_eq!(all.lost(), 1_000_000 - 5 + 1 - 7);
        // Old bits do not count.
        assert!(all.add(1_000_000 + KEPT) && all.add(1_000_005));
    }

    #[test]
    fn jitter_ignores_clock_offset() {
        let mut all = Sequence::default();
        for number in 0..1000 {
            all.add(number);
            // The receiver's clock is an hour behind; every other packet takes 16 us more.
            let sent = 10_000_000_000_000 + number * 1_000_000;
            all.time(sent, sent - 3_600_000_000_000 + number % 2 * 16_000);
        }
        let jitter = all.jitter_ns().unwrap();
        assert!((15_000..=16_000).contains(&jitter), "{jitter}");
    }
}
