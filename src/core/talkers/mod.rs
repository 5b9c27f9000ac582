//! PURE. Who sends most: sums by flow over the last second, ten seconds, minute and five minutes, in a memory
//! that does not grow with the number of flows.
//!
//! Each packet goes into the sketch of its second. At the second's end that is folded into the one of its
//! ten seconds, which is folded into the one of its minute; of each the largest are kept. So a packet
//! costs one look-up, and a window is a handful of sketches added up. It begins with a whole second, ten
//! seconds or minute, so it may be longer than asked for; it says what it is.

mod flow;
pub mod sketch;

use std::collections::VecDeque;

use bytemuck::Zeroable;

pub use flow::Flow;
pub use sketch::{Sketch, Sum, Volume};

const SECOND: u64 = 1_000_000_000;
/// Keys of a sketch that packets go into. What is not told exactly is off by at most a 7,000th of all: in
/// a usual mix of a million flows the hundredth has ten times that. A hash table of 16,384 places filled
/// to seven eighths, 1.3 MiB.
pub const SKETCH_KEYS: usize = 14_336;
/// Keys that are kept of a second, ten seconds, and a minute that are over: the longer, the fewer there are.
const KEPT: [usize; 3] = [512, 1024, 2048];
/// How long each lasts, in seconds.
const SPANS: [u64; 3] = [1, 10, 60];
/// How many of each are kept: as long as the next longer one does not do, and one for the border.
const DONE: [usize; 3] = [10, 7, 6];
/// A clock that was set back by more than this, in seconds, begins anew: less is packets out of order.
const BACK: u64 = 5;

/// Places in front of the sketch, each for whichever flow came last of those that share it: 20 KiB, which stay
/// in the nearest cache.
const CACHE_SLOTS: usize = 256;

#[derive(Clone, Copy, Debug, Zeroable)]
struct CachedFlow {
    flow: Flow,
    bytes: u64,
    packets: u64,
    /// Which station it came from, and when that was last said to be news.
    station: u64,
    last_new_ns: u64,
}

#[derive(Debug)]
struct Level {
    current: Sketch<Flow>,
    /// When it began, in seconds since 1970.
    began: u64,
    done: VecDeque<(u64, Sketch<Flow>)>,
}

/// All windows.
#[derive(Debug)]
pub struct Talkers {
    levels: [Level; 3],
    /// Flows that are being talked of, gathered before they are looked up.
    cache: Box<[CachedFlow; CACHE_SLOTS]>,
    /// Flows that had to make capacity, since the start.
    pub evicted: u64,
    /// The first second that was counted, 0 before.
    since: u64,
}

/// What was asked for.
#[derive(Debug)]
pub struct Window {
    /// The sums.
    pub sums: Sketch<Flow>,
    /// From when on, nanoseconds since 1970.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
}

impl Default for Talkers {
    fn default() -> Talkers {
        let level = |_| Level {
            current: Sketch::new(SKETCH_KEYS),
            began: 0,
            done: VecDeque::new(),
        };
        Talkers {
            levels: [0, 1, 2].map(level),
            cache: Box::new([CachedFlow::zeroed(); CACHE_SLOTS]),
            evicted: 0,
            since: 0,
        }
    }
}

impl Talkers {
    /// Takes in a packet of that many bytes on the wire. `true`: that this flow comes from this station (any
    /// number that tells stations apart) is news, or was last said to be a second ago.
    #[inline]
    pub fn observe(&mut self, flow: Flow, station: u64, bytes: u32, time_ns: u64) -> bool {
        let second = time_ns / SECOND;
        if second != self.levels[0].began {
            self.advance(second);
        }
        let place = &mut self.cache[flow.cache_hash() % CACHE_SLOTS];
        if place.flow != flow {
            if place.packets > 0 {
                let sums = &mut self.levels[0].current;
                sums.add(place.flow, place.bytes, place.packets);
            }
            *place = CachedFlow {
                flow,
                ..CachedFlow::zeroed()
            };
        }
        place.bytes += u64::from(bytes);
        place.packets += 1;
        // A clock that is set back makes it news.
        let news = place.station != station || time_ns.wrapping_sub(place.last_new_ns) >= SECOND;
        if news {
            (place.station, place.last_new_ns) = (station, time_ns);
        }
        news
    }

    /// Hands on what is gathered in front of the sketch.
    fn gather(&mut self) {
        let sums = &mut self.levels[0].current;
        for place in &mut self.cache[..] {
            if place.packets > 0 {
                sums.add(place.flow, place.bytes, place.packets);
                (place.bytes, place.packets) = (0, 0);
            }
        }
    }

    /// It is this second now.
    #[cold]
    fn advance(&mut self, second: u64) {
        self.gather();
        let now = self.levels[0].began;
        if second + BACK < now {
            let evicted = self.evicted;
            *self = Talkers::default();
            self.evicted = evicted;
        } else if second <= now {
            return;
        }
        if self.since == 0 {
            self.since = second;
        }
        for at in 0..self.levels.len() {
            let began = second / SPANS[at] * SPANS[at];
            if self.levels[at].began == began {
                break;
            }
            let (these, longer) = self.levels.split_at_mut(at + 1);
            let level = &mut these[at];
            if !level.current.is_empty() {
                if let Some(next) = longer.first_mut() {
                    if next.current.is_empty() && next.done.is_empty() && next.began == 0 {
                        next.began = level.began / SPANS[at + 1] * SPANS[at + 1];
                    }
                    next.current.merge(&level.current);
                }
                if at == 0 {
                    self.evicted += level.current.evicted;
                }
                level
                    .done
                    .push_back((level.began, level.current.top(KEPT[at])));
                level.current.clear();
            }
            level.began = began;
            let oldest = began.saturating_sub(DONE[at] as u64 * SPANS[at]);
            while level.done.front().is_some_and(|(began, _)| *began < oldest) {
                level.done.pop_front();
            }
        }
    }

    /// Sums over the last `seconds` (1 to 300) before `now_ns`, and what of a stretch is before them.
    pub fn window(&mut self, seconds: u64, now_ns: u64) -> Window {
        let now = now_ns / SECOND;
        self.gather();
        self.advance(now);
        let to = self.levels[0].began.max(now);
        let since = to.saturating_sub(seconds);
        // The shortest stretches that are kept for long enough.
        let at = match seconds {
            0..=10 => 0,
            11..=60 => 1,
            _ => 2,
        };
        let mut sums = Sketch::new(2 * SKETCH_KEYS);
        let mut from = to;
        for (began, done) in &self.levels[at].done {
            if began + SPANS[at] > since {
                from = from.min(*began);
                sums.merge(done);
            }
        }
        // And of the stretches that are not over what there is.
        for level in self.levels[..=at].iter().rev() {
            if !level.current.is_empty() {
                from = from.min(level.began);
                sums.merge(&level.current);
            }
        }
        Window {
            sums,
            // A time of nothing belongs to it, one before all counting does not.
            from_ns: from.min(since).max(self.since).min(to) * SECOND,
            to_ns: now_ns.max(to * SECOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(number: u32) -> Flow {
        let mut flow = Flow::zeroed();
        (flow.ifindex, flow.ethertype) = (number, 0x0800);
        flow
    }

    #[test]
    fn what_comes_again_is_news_once_a_second() {
        let mut talkers = Talkers::default();
        let mut news = |station, time| talkers.observe(flow(1), station, 60, time);
        assert!(news(7, SECOND * 9));
        assert!(!news(7, SECOND * 9 + 1));
        assert!(news(8, SECOND * 9 + 2));
        assert!(news(7, SECOND * 9 + 3));
        assert!(!news(7, SECOND * 10 + 2));
        assert!(news(7, SECOND * 10 + 3));
        assert!(news(7, SECOND * 10 + 2));
    }

    /// Flow n sends n bytes in each second from `second` on.
    fn fill(talkers: &mut Talkers, seconds: std::ops::Range<u64>) {
        for second in seconds {
            for number in 1..=3 {
                talkers.observe(flow(number), 0, number, second * SECOND + u64::from(number));
            }
        }
    }

    fn bytes(window: &Window, number: u32) -> u64 {
        let found = window.sums.iter().find(|(key, _)| **key == flow(number));
        found.map_or(0, |(_, sum)| {
            assert_eq!((sum.bytes_error, sum.packets_error), (0, 0));
            sum.bytes
        })
    }

    #[test]
    fn windows_are_as_long_as_they_say() {
        let mut talkers = Talkers::default();
        fill(&mut talkers, 1_000..2_000);
        for (seconds, longest) in [(1, 1), (10, 10), (60, 69), (300, 359)] {
            let window = talkers.window(seconds, 2_000 * SECOND + 5);
            let span = (window.to_ns - window.from_ns) / SECOND;
            assert_eq!(window.to_ns, 2_000 * SECOND + 5);
            assert!((seconds..=longest).contains(&span), "{seconds}: {span}");
            assert_eq!(bytes(&window, 3), 3 * span, "{seconds}");
            assert_eq!(window.sums.total.packets, 3 * span, "{seconds}");
        }
    }

    #[test]
    fn silence_is_silence_and_a_clock_set_back_begins_anew() {
        let mut talkers = Talkers::default();
        fill(&mut talkers, 1_000..1_030);
        assert_eq!(bytes(&talkers.window(10, 1_050 * SECOND), 1), 0);
        assert_eq!(bytes(&talkers.window(60, 1_050 * SECOND), 1), 30);
        assert_eq!(bytes(&talkers.window(300, 1_200 * SECOND), 1), 30);
        assert_eq!(bytes(&talkers.window(300, 1_500 * SECOND), 1), 0);
        fill(&mut talkers, 500..520);
        assert_eq!(bytes(&talkers.window(10, 520 * SECOND), 2), 20);
        // A packet that is a little late belongs to what is not over.
        talkers.observe(flow(9), 0, 9, 519 * SECOND);
        assert_eq!(bytes(&talkers.window(1, 521 * SECOND), 9), 9);
    }
}
