//! PURE. How many bytes a store admits: one bucket of tokens for each purpose, so that no purpose takes what is set
//! aside for another. What a full bucket does not need goes to the sample.

use bytemuck::{Pod, Zeroable};

/// Purposes for which a packet is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Bucket {
    /// Gateways and queriers.
    Key = 0,
    /// This host.
    Own = 1,
    /// First packets of conversations.
    First = 2,
    /// Probes of this service.
    Probe = 3,
    /// The sample, and everything while there is room.
    Sample = 4,
}

const BUCKETS: usize = 5;
/// Percent of the store: capacity of each bucket, and what it gets over the target. Within any interval of the
/// target the store admits at most their sum, which is below 100.
const SHARES: [(u64, u64); BUCKETS] = [(3, 8), (6, 15), (14, 15), (2, 8), (10, 18)];
/// Tokens are fractions of a byte, since a slow store gets less than one in a step.
const UNITS_PER_BYTE: u64 = 1 << 16;
/// Step in which tokens are added, in nanoseconds.
const STEP_NS: u64 = 1_000_000;
/// Step back of the clock, in nanoseconds, that is more than reordering of packets.
const MAX_REORDER_NS: u64 = 5_000_000_000;

/// Exponent of the quota of a store that is under no pressure: no conversation has that many packets a second.
const UNLIMITED_LOG2: i32 = 24;
/// Most reductions of the quota: 1 of 2^31 for a conversation of 2^24 packets a second.
const MAX_TIGHTNESS: u32 = 31;
/// Most reductions for probes: 1 of 2^22.
const MAX_PROBE_TIGHTNESS: u32 = 16;

/// Limits that follow from the size of a store and its target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    capacity: [u64; BUCKETS],
    /// Tokens over the target.
    gain: [u64; BUCKETS],
    target_ns: u64,
}

impl Limits {
    /// For a store of `usable` bytes, with records of at most `largest` bytes.
    pub fn new(usable: u64, largest: u64, target_ns: u64) -> Limits {
        let shared = usable.saturating_sub(largest);
        let units = |percent: u64| shared / 100 * percent * UNITS_PER_BYTE;
        let mut capacity = SHARES.map(|(capacity, _)| units(capacity));
        // A quiet host has each packet recorded, also in a small store.
        let sample = &mut capacity[Bucket::Sample as usize];
        *sample = (*sample).max(largest * UNITS_PER_BYTE);
        Limits {
            capacity,
            gain: SHARES.map(|(_, gain)| units(gain)),
            target_ns,
        }
    }
}

/// What a store may still admit. It is part of the ledger: an engine that dies must not give the next one the same
/// tokens again. All zeros: full buckets, no pressure.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Pace {
    tokens: [u64; BUCKETS],
    /// Time of the last addition, in nanoseconds since 1970.
    updated_ns: u64,
    /// Tokens that the sample got and spent since the quota was adapted last.
    gained: u64,
    spent: u64,
    /// Number of times that the quota was halved.
    tightness: u32,
    probe_tightness: u32,
}

impl Pace {
    /// Adds the tokens since the last packet. A pace from memory that another engine wrote is limited to what is
    /// possible.
    #[inline]
    pub(super) fn advance(&mut self, limits: &Limits, time_ns: u64) {
        if time_ns.wrapping_sub(self.updated_ns) >= STEP_NS {
            self.add(limits, time_ns);
        }
    }

    #[cold]
    fn add(&mut self, limits: &Limits, time_ns: u64) {
        if time_ns < self.updated_ns {
            if self.updated_ns - time_ns > MAX_REORDER_NS {
                self.updated_ns = time_ns;
            }
            return;
        }
        let elapsed_ns = (time_ns - self.updated_ns).min(limits.target_ns);
        self.updated_ns = time_ns;
        self.tightness = self.tightness.min(MAX_TIGHTNESS);
        self.probe_tightness = self.probe_tightness.min(MAX_PROBE_TIGHTNESS);
        let mut over = 0;
        for at in 0..BUCKETS {
            let gain = u128::from(limits.gain[at]) * u128::from(elapsed_ns)
                / u128::from(limits.target_ns.max(1));
            let mut gain = gain as u64;
            if at == Bucket::Sample as usize {
                gain += over;
                self.gained = self.gained.saturating_add(gain);
            }
            let full = self.tokens[at]
                .min(limits.capacity[at])
                .saturating_add(gain);
            self.tokens[at] = full.min(limits.capacity[at]);
            over += full - self.tokens[at];
        }
    }

    /// Takes the tokens of a packet if there are so many that every packet can be kept.
    #[inline]
    pub(super) fn take_of_plenty(&mut self, limits: &Limits, bytes: u32) -> bool {
        let at = Bucket::Sample as usize;
        let is_plenty = self.tightness == 0 && self.tokens[at] >= limits.capacity[at] / 2;
        is_plenty && self.take(Bucket::Sample, bytes)
    }

    /// Takes the tokens of a packet. Returns `false` if there are too few.
    #[inline]
    pub(super) fn take(&mut self, bucket: Bucket, bytes: u32) -> bool {
        let units = u64::from(bytes) * UNITS_PER_BYTE;
        let Some(left) = self.tokens[bucket as usize].checked_sub(units) else {
            return false;
        };
        self.tokens[bucket as usize] = left;
        if bucket == Bucket::Sample {
            self.spent = self.spent.saturating_add(units);
        }
        true
    }

    /// Exponent of the quota: the most packets that one conversation may have kept in a second. It may be negative.
    #[inline]
    pub(super) fn quota_log2(&self) -> i32 {
        UNLIMITED_LOG2 - self.tightness.min(MAX_TIGHTNESS) as i32
    }

    /// Halves the quota `steps` times. `busiest`: exponent of the packets of the largest conversation; a quota above
    /// it has no effect.
    #[cold]
    pub(super) fn tighten(&mut self, busiest: i32, steps: u32) {
        let effective = (UNLIMITED_LOG2 - busiest).max(0) as u32;
        let tightness = self.tightness.max(effective).saturating_add(steps);
        self.tightness = tightness.min(MAX_TIGHTNESS);
    }

    /// Keeps fewer probes.
    #[cold]
    pub(super) fn tighten_probes(&mut self) {
        let tightness = self.probe_tightness.saturating_add(1);
        self.probe_tightness = tightness.min(MAX_PROBE_TIGHTNESS);
    }

    pub(super) fn probe_tightness(&self) -> u8 {
        self.probe_tightness.min(MAX_PROBE_TIGHTNESS) as u8
    }

    /// Adapts the quota to the last seconds: doubles it if the sample got more than twice what it spent, and halves
    /// it if it spent more than it got and less than half of its tokens are left.
    pub(super) fn adapt(&mut self, limits: &Limits, busiest: i32) {
        let at = Bucket::Sample as usize;
        let is_half = self.tokens[at] >= limits.capacity[at] / 2;
        let (spent, gained) = (self.spent, self.gained);
        (self.spent, self.gained) = (0, 0);
        if self.tightness > 0 && is_half && spent < gained / 2 {
            self.tightness -= 1;
            if self.quota_log2() > busiest + 1 {
                self.tightness = 0;
            }
        } else if spent > gained && !is_half {
            self.tighten(busiest, 1);
        }
    }

    /// Once per second: keeps more probes if half of the tokens for them are left.
    pub(super) fn relax_probes(&mut self, limits: &Limits) {
        let at = Bucket::Probe as usize;
        if self.tokens[at] >= limits.capacity[at] / 2 {
            self.probe_tightness = self.probe_tightness.saturating_sub(1);
        }
    }
}
