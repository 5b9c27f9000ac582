//! PURE. Top flows: sums by flow over windows of one second to five minutes, in memory that does not grow with
//! the number of flows.
//!
//! Each packet is added to the sketch of its second. When the second is over, that is merged into the sketch of
//! its ten seconds, which is merged into the sketch of its minute; of each, the largest flows are kept. So a
//! packet costs one look-up, and a window is the sum of a few sketches. It begins at a whole second, ten seconds
//! or minute, so it may be longer than requested; [`Window`] has its actual range.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | levels of sketches, windows |
//! | `flow` | key of a flow |
//! | `path` | flows across the interfaces of a host |
//! | `sketch` | sums by key with bounded memory and known error |

mod flow;
pub mod path;
pub mod sketch;

use std::collections::VecDeque;

use bytemuck::Zeroable;

pub use flow::Flow;
pub use sketch::{Sketch, Sum, Volume};

const SECOND: u64 = 1_000_000_000;
/// Capacity in flows of a sketch that packets are added to. Its error is at most a 7,000th of all bytes or
/// packets; in a usual mix of a million flows, the hundredth largest has ten times that. Seven eighths of a hash
/// table of 16,384 entries, 1.3 MiB.
pub const SKETCH_KEYS: usize = 14_336;
/// Flows kept of a complete second, ten seconds and minute: longer periods keep more, and there are fewer.
const KEPT_FLOWS: [usize; 3] = [512, 1024, 2048];
/// Length of the period of each level, in seconds.
const PERIODS: [u64; 3] = [1, 10, 60];
/// Complete periods kept of each level: those of the longest window that it serves, and for the longer periods
/// one more for the boundary.
const KEPT_PERIODS: [usize; 3] = [10, 7, 6];
/// Step back of the clock, in seconds, after which all sums are reset; less is reordering of packets.
const MAX_REORDER_SECONDS: u64 = 5;

/// Slots of the cache in front of the sketch, each for the latest of the flows that share it: 20 KiB, which stay
/// in the first-level CPU cache.
const CACHE_SLOTS: usize = 256;

/// Packets of a flow that are not in the sketch yet.
#[derive(Clone, Copy, Debug, Zeroable)]
struct CachedFlow {
    flow: Flow,
    bytes: u64,
    packets: u64,
    /// Station that it came from.
    station: u64,
    /// Time at which [`Talkers::observe`] last returned `true` for flow and station.
    last_new_ns: u64,
}

/// Sketches of periods of one length.
#[derive(Debug)]
struct Level {
    current: Sketch<Flow>,
    /// Start of the current period, in seconds since 1970.
    began: u64,
    /// Complete periods with their starts, the oldest first.
    done: VecDeque<(u64, Sketch<Flow>)>,
}

/// Sums of all flows over all windows.
#[derive(Debug)]
pub struct Talkers {
    levels: [Level; 3],
    /// Latest flows, gathered before they are looked up in the sketch.
    cache: Box<[CachedFlow; CACHE_SLOTS]>,
    /// Flows evicted from the sketches since the start.
    pub evicted: u64,
    /// First second that was counted; 0 before the first packet.
    since: u64,
}

/// Sums over a time range.
#[derive(Debug)]
pub struct Window {
    /// Sums by flow.
    pub sums: Sketch<Flow>,
    /// Start, in nanoseconds since 1970.
    pub from_ns: u64,
    /// End, in nanoseconds since 1970.
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
    /// Counts a packet with its length on the wire. Returns `true` if the flow is new for this station (a number
    /// that identifies the sender on the link), and once per second after that.
    #[inline]
    pub fn observe(&mut self, flow: &Flow, station: u64, bytes: u32, time_ns: u64) -> bool {
        self.observe_run(flow, station, (1, u64::from(bytes)), time_ns)
    }

    /// As [`Talkers::observe`], for packets of one second, with their sum of bytes.
    #[inline]
    pub fn observe_run(
        &mut self,
        flow: &Flow,
        station: u64,
        (packets, bytes): (u64, u64),
        time_ns: u64,
    ) -> bool {
        let second = time_ns / SECOND;
        if second != self.levels[0].began {
            self.advance(second);
        }
        let slot = &mut self.cache[flow.cache_hash() % CACHE_SLOTS];
        if slot.flow != *flow {
            if slot.packets > 0 {
                let sums = &mut self.levels[0].current;
                sums.add(slot.flow, slot.bytes, slot.packets);
            }
            *slot = CachedFlow {
                flow: *flow,
                ..CachedFlow::zeroed()
            };
        }
        slot.bytes += bytes;
        slot.packets += packets;
        // A clock that is set back makes it new, too.
        let is_new = slot.station != station || time_ns.wrapping_sub(slot.last_new_ns) >= SECOND;
        if is_new {
            (slot.station, slot.last_new_ns) = (station, time_ns);
        }
        is_new
    }

    /// Returns until when packets of the flow that was observed last are of the same second and not new, in nanoseconds
    /// since 1970; 0 if that is unknown.
    pub fn same_until(&self, flow: &Flow) -> u64 {
        let slot = &self.cache[flow.cache_hash() % CACHE_SLOTS];
        let next = (self.levels[0].began + 1).saturating_mul(SECOND);
        match slot.flow == *flow {
            true => next.min(slot.last_new_ns.saturating_add(SECOND)),
            false => 0,
        }
    }

    /// Adds the contents of the cache to the sketch.
    fn flush_cache(&mut self) {
        let sums = &mut self.levels[0].current;
        for slot in &mut self.cache[..] {
            if slot.packets > 0 {
                sums.add(slot.flow, slot.bytes, slot.packets);
                (slot.bytes, slot.packets) = (0, 0);
            }
        }
    }

    /// Moves on to a second, and completes the periods that are over.
    #[cold]
    fn advance(&mut self, second: u64) {
        self.flush_cache();
        let now = self.levels[0].began;
        if second + MAX_REORDER_SECONDS < now {
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
            let began = second / PERIODS[at] * PERIODS[at];
            if self.levels[at].began == began {
                break;
            }
            let (these, longer) = self.levels.split_at_mut(at + 1);
            let level = &mut these[at];
            if !level.current.is_empty() {
                if let Some(next) = longer.first_mut() {
                    if next.current.is_empty() && next.done.is_empty() && next.began == 0 {
                        next.began = level.began / PERIODS[at + 1] * PERIODS[at + 1];
                    }
                    next.current.merge(&level.current);
                }
                if at == 0 {
                    self.evicted += level.current.evicted;
                }
                level
                    .done
                    .push_back((level.began, level.current.top(KEPT_FLOWS[at])));
                level.current.clear();
            }
            level.began = began;
            let oldest = began.saturating_sub(KEPT_PERIODS[at] as u64 * PERIODS[at]);
            while level.done.front().is_some_and(|(began, _)| *began < oldest) {
                level.done.pop_front();
            }
        }
    }

    /// Returns the sums of the last `seconds` (1 to 300) before `now_ns`, from the start of the period in which
    /// they begin.
    pub fn window(&mut self, seconds: u64, now_ns: u64) -> Window {
        let now = now_ns / SECOND;
        self.flush_cache();
        self.advance(now);
        let to = self.levels[0].began.max(now);
        let since = to.saturating_sub(seconds);
        // The shortest periods that are kept for long enough.
        let at = match seconds {
            0..=10 => 0,
            11..=60 => 1,
            _ => 2,
        };
        let mut sums = Sketch::new(2 * SKETCH_KEYS);
        let mut from = to;
        for (began, done) in &self.levels[at].done {
            if began + PERIODS[at] > since {
                from = from.min(*began);
                sums.merge(done);
            }
        }
        // Periods that are not complete count as far as they go.
        for level in self.levels[..=at].iter().rev() {
            if !level.current.is_empty() {
                from = from.min(level.began);
                sums.merge(&level.current);
            }
        }
        Window {
            sums,
            // Time without packets belongs to the window, time before the first packet does not.
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
    fn known_flows_are_new_once_per_second() {
        let mut talkers = Talkers::default();
        let mut is_new = |station, time| talkers.observe(&flow(1), station, 60, time);
        assert!(is_new(7, SECOND * 9));
        assert!(!is_new(7, SECOND * 9 + 1));
        assert!(is_new(8, SECOND * 9 + 2));
        assert!(is_new(7, SECOND * 9 + 3));
        assert!(!is_new(7, SECOND * 10 + 2));
        assert!(is_new(7, SECOND * 10 + 3));
        assert!(is_new(7, SECOND * 10 + 2));
    }

    /// Runs of packets count as the packets do, and end before one would be new or of another second.
    #[test]
    fn runs_are_sums_of_their_packets() {
        let (mut each, mut runs) = (Talkers::default(), Talkers::default());
        let (mut run, mut until) = ((0, 0), 0);
        let start = 5 * SECOND + SECOND / 3;
        let times = (0..4_000).map(|number| start + number * 1_000_000);
        for (time, bytes) in times.clone().zip(60..) {
            let is_new = each.observe(&flow(1), 7, bytes, time);
            if time < until {
                assert!(!is_new, "{time}");
                run = (run.0 + 1, run.1 + u64::from(bytes));
                continue;
            }
            assert!(run.0 == 0 || !runs.observe_run(&flow(1), 7, run, until - 1));
            run = (0, 0);
            assert_eq!(runs.observe(&flow(1), 7, bytes, time), is_new);
            until = runs.same_until(&flow(1));
            assert!(until > time && until <= (time / SECOND + 1) * SECOND);
        }
        runs.observe_run(&flow(1), 7, run, until - 1);
        let now = start + 4_000_000_000;
        for seconds in 1..6 {
            let sums = |talkers: &mut Talkers| {
                let window = talkers.window(seconds, now);
                (window.from_ns, window.sums.total, bytes(&window, 1))
            };
            assert_eq!(sums(&mut each), sums(&mut runs), "{seconds}");
        }
        assert_eq!(runs.same_until(&flow(2)), 0);
    }

    /// Flow n sends n bytes in each second from `second` on.
    fn fill(talkers: &mut Talkers, seconds: std::ops::Range<u64>) {
        for second in seconds {
            for number in 1..=3 {
                talkers.observe(
                    &flow(number),
                    0,
                    number,
                    second * SECOND + u64::from(number),
                );
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
    fn window_sums_match_their_range() {
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
    fn silence_ages_out_and_clock_steps_reset() {
        let mut talkers = Talkers::default();
        fill(&mut talkers, 1_000..1_030);
        assert_eq!(bytes(&talkers.window(10, 1_050 * SECOND), 1), 0);
        assert_eq!(bytes(&talkers.window(60, 1_050 * SECOND), 1), 30);
        assert_eq!(bytes(&talkers.window(300, 1_200 * SECOND), 1), 30);
        assert_eq!(bytes(&talkers.window(300, 1_500 * SECOND), 1), 0);
        fill(&mut talkers, 500..520);
        assert_eq!(bytes(&talkers.window(10, 520 * SECOND), 2), 20);
        // A slightly late packet is counted in the current second.
        talkers.observe(&flow(9), 0, 9, 519 * SECOND);
        assert_eq!(bytes(&talkers.window(1, 521 * SECOND), 9), 9);
    }
}
