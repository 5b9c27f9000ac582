//! PURE. What the numbers of a stream tell: loss, duplicates, reordering and jitter.

use crate::probe::statistics::Jitter;

/// How far back a number is known to have come or not: what is older counts as a duplicate.
const KEPT: u64 = 65_536;
/// Transit times may be negative, since two clocks are in play; jitter only looks at differences.
const MIDDLE: u64 = 1 << 62;

/// Numbers of one stream, which grow by one from packet to packet.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// Packets, without duplicates.
    pub packets: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after one with a greater number (RFC 4737, section 3).
    pub reordered: u64,
    /// The number behind the newest hole.
    pub last_gap: Option<u64>,
    /// The smallest and the greatest number.
    range: Option<(u64, u64)>,
    /// A bit for each of the newest numbers, by their remainder.
    seen: Vec<u64>,
    jitter: Jitter,
}

impl Sequence {
    /// Takes the next packet in. `true`: its number is new.
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
            // What is passed over has not come, whatever its bit was before.
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

    /// Takes sending and receiving time of a packet in, in nanoseconds since 1970, each by its own
    /// clock.
    pub fn time(&mut self, sent_ns: u64, received_ns: u64) {
        let transit = (received_ns as i64).wrapping_sub(sent_ns as i64);
        self.jitter.add(MIDDLE.wrapping_add_signed(transit));
    }

    /// The smallest and the greatest number.
    pub fn range(&self) -> Option<(u64, u64)> {
        self.range
    }

    /// Packets that did not come, between the first and the last that did.
    pub fn lost(&self) -> u64 {
        self.range.map_or(0, |(first, last)| {
            (last - first + 1).saturating_sub(self.packets)
        })
    }

    /// Interarrival jitter (RFC 3550, section 6.4.1), in nanoseconds; `None` before there are two.
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
    fn loss_duplicates_and_order_are_exact() {
        let mut all = Sequence::default();
        for number in [5, 6, 8, 7, 7, 10, 5, 12] {
            all.add(number);
        }
        assert_eq!((all.packets, all.lost()), (6, 2));
        assert_eq!((all.duplicates, all.reordered), (2, 1));
        assert_eq!(all.range(), Some((5, 12)));
        // A gap that is wider than what is kept.
        assert!(all.add(1_000_000) && !all.add(12));
        assert_eq!(all.lost(), 1_000_000 - 5 + 1 - 7);
        // Bits of numbers long gone do not count.
        assert!(all.add(1_000_000 + KEPT) && all.add(1_000_005));
    }

    #[test]
    fn jitter_looks_at_differences() {
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
