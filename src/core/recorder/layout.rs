//! PURE. Layout of the recorder's memory, and how it survives the death of its writer.
//!
//! ```text
//!  0        Header      magic, version, geometry, and the word that selects the valid ledger
//!  4096     ledger A    every mark and counter, followed by the interface slots
//!  ...      ledger B    the other copy
//!  ...      gaps        GAP_SLOTS declared gaps, a ring
//!  ...      samples     SAMPLE_SLOTS intervals of which a store has a sample, a ring
//!  ...      events      EVENT_CATEGORIES rings of EVENT_SLOTS events
//!  ...      stores      one region each, a ring of equal segments of whole records
//! ```
//! The writer works on a private copy of the ledger. A commit copies it over the ledger that is *not*
//! valid and then flips one word. A writer that is killed at any point therefore leaves the last
//! committed state: a torn write is never visible. Records are written only beyond all committed
//! marks, and a segment is reused only after the eviction of its packets has been committed.

use bytemuck::{Pod, Zeroable};

use super::class::Store;
use super::thin::Pace;

/// "netsonde" in ASCII.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"netsonde");
/// Incremented with every change of this file's formats. An engine that finds another version declares
/// a gap and starts a new record.
pub(super) const VERSION: u32 = 4;

/// Maximum number of interfaces in the record, including deleted ones whose packets are still there. A
/// container host has hundreds; 2,048 slots cost 720 KiB per ledger.
pub const INTERFACE_SLOTS: usize = 2048;
/// Maximum number of declared gaps; the oldest are evicted and only their sum is kept. An interface that
/// flaps ten times per second fills them in seven minutes.
pub const GAP_SLOTS: usize = 4096;

/// Maximum number of intervals in which packets were thinned; the oldest are evicted, and their packets remain in the
/// totals. One store of one interface that thins without pause fills them in five hours.
pub const SAMPLE_SLOTS: usize = 2048;
/// Intervals that have not ended, of as many stores and interfaces. Two that share one take turns, and make shorter
/// intervals.
pub(super) const OPEN_SAMPLES: usize = 32;

/// Categories of events, each with slots of its own. `events` checks that it has as many.
pub const EVENT_CATEGORIES: usize = 7;
/// Events per category: one hour at the highest rate at which single events are logged, months at
/// usual rates.
pub const EVENT_SLOTS: usize = 512;
/// Bytes of an event, including its number within the category.
pub const EVENT_BYTES: usize = 384;

/// Minimum segment size: two records of the largest snap length fit.
const SEGMENT_MIN: u64 = 64 * 1024;
/// Maximum segment size. A segment is evicted as a whole.
const SEGMENT_MAX: u64 = 256 * 1024;
/// Intended number of segments per store, so that one eviction takes 1/64 of it.
const SEGMENTS_AIM: u64 = 64;
/// Minimum number of segments: one being written, one free, two of history.
const SEGMENTS_MIN: u64 = 4;
/// Smallest budget of a store, in bytes.
pub const BUDGET_MIN: u64 = SEGMENT_MIN * SEGMENTS_MIN;
/// Largest budget of a store, in bytes: 64 GiB, beyond what a host can spare.
pub const BUDGET_MAX: u64 = 64 << 30;
/// Largest snap length in bytes.
pub const SNAP_MAX: u32 = 16 * 1024;

const PAGE: u64 = 4096;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Header {
    pub magic: u64,
    pub version: u32,
    pub interface_slots: u32,
    pub gap_slots: u64,
    pub budgets: [u64; 7],
    /// Number of commits; the lowest bit selects the valid ledger.
    pub commits: u64,
}

/// Progress of recording one ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct RingMark {
    /// Index of the last block read.
    pub block: u64,
    /// Sequence number of that block (`hdr.bh1.seq_num`); 0 before the first.
    pub sequence: u64,
    /// Packets of that block already processed.
    pub consumed: u64,
    /// Packets processed in total.
    pub processed: u64,
    /// Drops counted by the keeper that have been declared as gaps.
    pub declared_drops: u64,
    /// Packets skipped because engines crashed on them repeatedly.
    pub quarantined: u64,
    /// Time of the last reading at which the drop count had not grown, in nanoseconds since 1970.
    pub clean_ns: u64,
    /// Packets recorded but missing in the keeper's count, because a keeper was killed during the system call
    /// that reads and clears the kernel's counters.
    pub uncounted: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(super) struct StoreMark {
    /// Sequence number of the oldest segment. Segment n is at index n modulo the number of segments.
    pub tail: u64,
    /// Sequence number of the segment that is being written.
    pub head: u64,
    pub head_used: u32,
    pub head_packets: u32,
    pub head_first_ns: u64,
    pub head_last_ns: u64,
    pub recorded: u64,
    pub recorded_bytes: u64,
    pub evicted: u64,
    pub evicted_bytes: u64,
    /// Time of the newest evicted packet: after it, the store is complete, except for what was thinned.
    pub evicted_until_ns: u64,
    /// Packets that belong in the store, and those of them that were only counted.
    pub seen: u64,
    pub thinned: u64,
    /// What the store may still admit.
    pub pace: Pace,
}

/// Packets of one store on one interface: `seen` = `recorded` + `thinned`, of which `evicted` are no longer there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct StoreCounts {
    /// Packets that the engine assigned to the store.
    pub seen: u64,
    /// Packets stored.
    pub recorded: u64,
    /// Packets counted only.
    pub thinned: u64,
    /// Stored packets that were removed for newer ones.
    pub evicted: u64,
}

impl StoreCounts {
    /// Adds the counts of another interface.
    pub fn add(&mut self, other: &StoreCounts) {
        self.seen = self.seen.wrapping_add(other.seen);
        self.recorded = self.recorded.wrapping_add(other.recorded);
        self.thinned = self.thinned.wrapping_add(other.thinned);
        self.evicted = self.evicted.wrapping_add(other.evicted);
    }
}

/// An interval in which a store kept a sample of the packets of an interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SampleInterval {
    /// Number of the interval.
    pub ordinal: u64,
    /// Time of the first thinned packet, in nanoseconds since 1970.
    pub from_ns: u64,
    /// Time of the last thinned packet.
    pub to_ns: u64,
    /// Packets thinned; 0 in an unused entry.
    pub thinned: u64,
    /// Packets of the store on this interface in the interval, with those kept.
    pub seen: u64,
    /// Slot of the interface.
    pub slot: u16,
    /// Generation of that slot.
    pub generation: u16,
    /// A [`Store`].
    pub store: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

/// A declared gap: an interval in which packets were not recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Gap {
    /// A [`GapKind`].
    pub kind: u8,
    /// Which ring (0 control, 1 bulk), for ring drops and quarantine.
    pub ring: u8,
    /// Interface slot, if the gap concerns one interface; else `u16::MAX`.
    pub slot: u16,
    /// Generation of that slot.
    pub generation: u16,
    pub(super) reserved: u16,
    /// Start, in nanoseconds since 1970.
    pub from_ns: u64,
    /// End, in nanoseconds since 1970.
    pub to_ns: u64,
    /// Number of missing packets; 0 if none or unknown.
    pub count: u64,
}

/// Cause of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GapKind {
    /// The kernel dropped packets because a ring was full.
    RingDrop = 1,
    /// An interface was down.
    InterfaceDown = 2,
    /// An interface was deleted until one of the same name appeared.
    InterfaceGone = 3,
    /// The engine was replaced. The rings held the packets that arrived meanwhile.
    EngineRestart = 4,
    /// An incompatible older record was discarded.
    RecorderReset = 5,
    /// Packets were skipped because engines crashed on them repeatedly.
    Quarantined = 6,
}

impl GapKind {
    /// Returns the name, as in status, pcapng comments and text.
    pub fn name(kind: u8) -> &'static str {
        match kind {
            1 => "ring_drop",
            2 => "interface_down",
            3 => "interface_gone",
            4 => "engine_restart",
            5 => "recorder_reset",
            6 => "quarantined",
            _ => "unknown",
        }
    }
}

/// All marks and counters that survive the engine, committed as one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(super) struct Ledger {
    /// Start of this record, in nanoseconds since 1970.
    pub created_ns: u64,
    pub engine_starts: u64,
    /// Packets processed when the last engine started, and the number of engines in a row that died without
    /// processing another one.
    pub processed_at_start: u64,
    pub stalled_starts: u64,
    pub rings: [RingMark; 2],
    pub stores: [StoreMark; 7],
    /// Gap still open for each ring; `count` is 0 if there is none.
    pub open_drops: [Gap; 2],
    pub gaps_written: u64,
    /// Sum of `count` over evicted gaps.
    pub gaps_lost_count: u64,
    pub interfaces_used: u64,
    /// Time at which the rings that the marks refer to were opened.
    pub rings_opened_ns: u64,
    /// Events ever stored in each category.
    pub events: [u64; EVENT_CATEGORIES],
    /// Declared gaps that have been reported as events.
    pub gaps_told: u64,
    /// Counts of interfaces whose slots were reused.
    pub released: [StoreCounts; 7],
    pub samples_written: u64,
    /// `seen` of an open interval is the count of the store before its first packet.
    pub open_samples: [SampleInterval; OPEN_SAMPLES],
}

/// One interface and its counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct InterfaceSlot {
    /// Index of the interface.
    pub ifindex: u32,
    /// Incremented each time the slot is reused.
    pub generation: u16,
    /// ARPHRD_ number of the link.
    pub hardware: u16,
    /// Name, padded with zeros; all zeros if it is not known.
    pub name: [u8; 16],
    /// A [`State`](super::interfaces::State).
    pub state: u8,
    /// A [`LinkType`](crate::wire::LinkType).
    pub link: u8,
    /// 0 if the configuration excludes the interface.
    pub recorded: u8,
    /// Always 0.
    pub reserved: [u8; 5],
    /// Time at which the slot was taken, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Time of the last change of `state`, in nanoseconds since 1970.
    pub changed_ns: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Bytes received, as on the wire.
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Bytes sent, as on the wire.
    pub bytes_out: u64,
    /// Packets not recorded, because the configuration excludes the interface.
    pub skipped: u64,
    /// ICMP, ICMPv6 and IGMP packets received, as the ring saw them.
    pub wire: [u64; 3],
    /// The same, as the IP layer delivered them.
    pub heard: [u64; 3],
    /// Packets by store.
    pub stores: [StoreCounts; 7],
}

/// Header of a segment, written when the segment is full.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(super) struct SegmentHeader {
    pub sequence: u64,
    /// Packets recorded in this store before this segment.
    pub first_ordinal: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub used: u32,
    pub packets: u32,
}

/// Precedes the bytes of every recorded packet; records are 8-byte aligned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(super) struct RecordHeader {
    pub time_ns: u64,
    pub original_length: u32,
    pub captured: u16,
    pub slot: u16,
    pub generation: u16,
    pub link: u8,
    pub direction: u8,
    pub checksum: u8,
    /// The packet stands for 2^sample packets.
    pub sample: u8,
    pub reserved: [u8; 2],
}

/// Counters above this are not counts but damage: at a billion per second it takes two years to reach.
/// The arithmetic on counters up to it cannot overflow.
const COUNT_MAX: u64 = 1 << 56;
/// Latest time that is believed, in nanoseconds since 1970: the year 2116.
pub(crate) const TIME_MAX: u64 = 1 << 62;

/// Values read from memory that another engine may have filled with anything.
pub(super) trait Plausible {
    /// Returns whether every number is within its range, so that arithmetic on them cannot overflow.
    fn is_plausible(&self) -> bool;
}

fn counts(all: &[u64]) -> bool {
    all.iter().all(|count| *count <= COUNT_MAX)
}

fn times(all: &[u64]) -> bool {
    all.iter().all(|time| *time <= TIME_MAX)
}

impl Plausible for RingMark {
    fn is_plausible(&self) -> bool {
        // The block and its sequence number are compared with those of the ring, never added to.
        counts(&[
            self.consumed,
            self.processed,
            self.declared_drops,
            self.quarantined,
            self.uncounted,
        ]) && times(&[self.clean_ns])
    }
}

impl StoreMark {
    /// The same, for a store in this region.
    fn fits(&self, region: &Region) -> bool {
        let is_consistent = self.tail <= self.head
            && self.head - self.tail < region.segments
            && (self.head_used as usize) <= region.segment
            && self.evicted <= self.recorded
            && self.evicted_bytes <= self.recorded_bytes
            && u64::from(self.head_packets) <= self.recorded - self.evicted
            && (self.head > 0 || self.evicted == 0);
        is_consistent
            && counts(&[self.head, self.recorded, self.recorded_bytes])
            && counts(&[self.seen, self.thinned])
            && times(&[self.head_first_ns, self.head_last_ns, self.evicted_until_ns])
    }
}

impl Plausible for Gap {
    fn is_plausible(&self) -> bool {
        counts(&[self.count]) && times(&[self.from_ns, self.to_ns]) && self.ring <= 1
    }
}

impl Ledger {
    /// Returns whether the ledger can be continued with this layout.
    pub fn fits(&self, layout: &Layout) -> bool {
        let mut stores = self.stores.iter().zip(&layout.regions);
        self.interfaces_used <= INTERFACE_SLOTS as u64
            && stores.all(|(mark, region)| mark.fits(region))
            && self.rings.iter().all(Plausible::is_plausible)
            && self.open_drops.iter().all(Plausible::is_plausible)
            && counts(&self.events)
            && counts(&[
                self.engine_starts,
                self.processed_at_start,
                self.stalled_starts,
                self.gaps_written,
                self.gaps_lost_count,
                self.gaps_told,
            ])
            && counts(&[self.samples_written])
            && self.released.iter().all(Plausible::is_plausible)
            && self.open_samples.iter().all(Plausible::is_plausible)
            && times(&[self.created_ns, self.rings_opened_ns])
    }
}

impl Plausible for StoreCounts {
    fn is_plausible(&self) -> bool {
        counts(&[self.seen, self.recorded, self.thinned, self.evicted])
    }
}

impl Plausible for SampleInterval {
    fn is_plausible(&self) -> bool {
        counts(&[self.thinned, self.seen]) && times(&[self.from_ns, self.to_ns])
    }
}

impl Plausible for InterfaceSlot {
    fn is_plausible(&self) -> bool {
        counts(&[
            self.packets_in,
            self.bytes_in,
            self.packets_out,
            self.bytes_out,
            self.skipped,
        ]) && counts(&self.wire)
            && counts(&self.heard)
            && self.stores.iter().all(Plausible::is_plausible)
            && times(&[self.created_ns, self.changed_ns])
    }
}

impl Plausible for RecordHeader {
    fn is_plausible(&self) -> bool {
        times(&[self.time_ns])
    }
}

impl SegmentHeader {
    /// Returns the header with every number within the limits of a segment of `bytes`.
    pub fn bounded(self, bytes: usize) -> SegmentHeader {
        let used = self.used.min(bytes as u32);
        SegmentHeader {
            first_ns: self.first_ns.min(TIME_MAX),
            last_ns: self.last_ns.min(TIME_MAX),
            packets: self.packets.min(used / RECORD_HEADER as u32),
            used,
            ..self
        }
    }
}

pub(super) const SEGMENT_HEADER: usize = size_of::<SegmentHeader>();
pub(super) const RECORD_HEADER: usize = size_of::<RecordHeader>();

/// Location of one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub start: usize,
    pub segment: usize,
    pub segments: u64,
}

impl Region {
    /// Returns how many bytes of records are never evicted while not more than that is added: a segment is evicted
    /// as a whole, one ahead, and a record of `largest` bytes may not fit at its end.
    pub fn usable(&self, largest: u64) -> u64 {
        let segment = (self.segment - SEGMENT_HEADER) as u64;
        (self.segments - 2) * segment.saturating_sub(largest)
    }

    pub fn segment_start(&self, sequence: u64) -> usize {
        self.start + (sequence % self.segments) as usize * self.segment
    }
}

/// Offsets that follow from the budgets of the stores.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub ledgers: [usize; 2],
    pub gaps: usize,
    pub samples: usize,
    pub events: usize,
    pub regions: [Region; 7],
    pub total: usize,
}

const fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE) * PAGE
}

impl Layout {
    /// Computes the layout for stores with these budgets (each within [`BUDGET_MIN`] and [`BUDGET_MAX`]).
    pub fn new(budgets: [u64; 7]) -> Layout {
        let ledger =
            pages((size_of::<Ledger>() + INTERFACE_SLOTS * size_of::<InterfaceSlot>()) as u64);
        let mut at = PAGE;
        let ledgers = [at as usize, (at + ledger) as usize];
        at += 2 * ledger;
        let gaps = at as usize;
        at += pages((GAP_SLOTS * size_of::<Gap>()) as u64);
        let samples = at as usize;
        at += pages((SAMPLE_SLOTS * size_of::<SampleInterval>()) as u64);
        let events = at as usize;
        at += pages((EVENT_CATEGORIES * EVENT_SLOTS * EVENT_BYTES) as u64);
        let regions = Store::ALL.map(|store| {
            let budget = budgets[store as usize].clamp(BUDGET_MIN, BUDGET_MAX);
            let segment = pages((budget / SEGMENTS_AIM).clamp(SEGMENT_MIN, SEGMENT_MAX));
            let segments = (budget / segment).max(SEGMENTS_MIN);
            let start = at as usize;
            at += segments * segment;
            Region {
                start,
                segment: segment as usize,
                segments,
            }
        });
        Layout {
            ledgers,
            gaps,
            samples,
            events,
            regions,
            total: at as usize,
        }
    }
}

/// Bytes of memory that a recorder with these budgets (bytes, in the order of [`Store::ALL`])
/// needs, bookkeeping included.
pub fn memory_needed(budgets: [u64; 7]) -> usize {
    Layout::new(budgets).total
}
