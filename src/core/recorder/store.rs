//! PURE. Bounded packet recorder. Each store has a fixed size and evicts its oldest packets first; every
//! eviction is counted.

use std::ops::DerefMut;
use std::sync::atomic::{Ordering, compiler_fence};

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

use super::class::Store;
use super::interfaces::{InterfaceSlot, Interfaces};
use super::layout::{
    EVENT_BYTES, EVENT_SLOTS, GAP_SLOTS, GapKind, Header, INTERFACE_SLOTS, Layout, Ledger, MAGIC,
    Plausible, RECORD_HEADER, RecordHeader, Region, RingMark, SEGMENT_HEADER, SNAP_MAX,
    SegmentHeader, StoreCounts, StoreMark, VERSION,
};
use super::thin::Pace;
use crate::wire::{Checksum, Direction, LinkType};

/// Metadata of a recorded packet.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Kernel time stamp, nanoseconds since 1970.
    pub time_ns: u64,
    /// Length on the wire, in bytes, VLAN tag included.
    pub original_length: u32,
    /// Interface slot and its generation.
    pub interface: (u16, u16),
    /// The link-layer header that the bytes begin with.
    pub link: LinkType,
    /// Direction on the interface.
    pub direction: Direction,
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// A VLAN tag (TPID and TCI) that the kernel removed. It is reinserted after the MAC addresses, so
    /// that the record matches the wire.
    pub tag: Option<(u16, u16)>,
}

/// Contents found in the memory when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: a new record was started.
    Fresh,
    /// A valid record, which is continued.
    Resumed,
    /// A record with another layout or other budgets: discarded, and declared as a gap.
    Reset,
}

/// State of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Size of the store in bytes.
    pub capacity_bytes: u64,
    /// Bytes in use, including record headers.
    pub used_bytes: u64,
    /// Packets ever recorded; `recorded - evicted` are still there.
    pub recorded: u64,
    /// Packets evicted.
    pub evicted: u64,
    /// Bytes of evicted packets, including record headers.
    pub evicted_bytes: u64,
    /// Time of the oldest packet, in nanoseconds since 1970; `None` if the store is empty.
    pub oldest_ns: Option<u64>,
    /// Time of the newest packet, in nanoseconds since 1970; `None` if the store is empty.
    pub newest_ns: Option<u64>,
    /// Time of the newest evicted packet, in nanoseconds since 1970; 0 if none was evicted.
    pub evicted_until_ns: u64,
    /// Packets that belong in the store: `recorded` + `thinned`.
    pub seen: u64,
    /// Packets counted only.
    pub thinned: u64,
}

/// The recorder, on memory that outlives it.
pub struct Recorder<M> {
    pub(super) memory: M,
    pub(super) layout: Layout,
    pub(super) ledger: Box<Ledger>,
    /// Tails in the committed ledger. Segments before them may be overwritten.
    committed_tail: [u64; 7],
    /// Offset of the segment being written, for each store.
    head_start: [usize; 7],
    snaps: [u32; 7],
    commits: u64,
    interfaces: Interfaces,
}

impl<M: DerefMut<Target = [u8]>> Recorder<M> {
    /// Continues the record in `memory`, or starts a new one. `memory` must have
    /// [`super::memory_needed`] bytes for these `budgets`. `snaps` are the snap lengths of the stores,
    /// at most [`super::layout::SNAP_MAX`] bytes each.
    ///
    /// # Panics
    /// If `memory` is too small.
    pub fn open(memory: M, budgets: [u64; 7], snaps: [u32; 7], now_ns: u64) -> (Self, Opened) {
        let layout = Layout::new(budgets);
        assert!(
            memory.len() >= layout.total,
            "recorder memory is too small for its budgets"
        );
        let header: Header = read(&memory, 0);
        let wanted = Header {
            magic: MAGIC,
            version: VERSION,
            interface_slots: INTERFACE_SLOTS as u32,
            gap_slots: GAP_SLOTS as u64,
            budgets,
            commits: header.commits,
        };
        let mut recorder = Recorder {
            memory,
            layout,
            ledger: Box::default(),
            committed_tail: [0; 7],
            head_start: [0; 7],
            snaps,
            commits: header.commits,
            interfaces: Interfaces::new(vec![], [StoreCounts::zeroed(); 7]),
        };
        let opened = if header.magic == 0 {
            Opened::Fresh
        } else if bytes_of(&header) == bytes_of(&wanted) && recorder.read_ledger() {
            Opened::Resumed
        } else {
            Opened::Reset
        };
        if opened != Opened::Resumed {
            recorder.begin(wanted, now_ns);
            if opened == Opened::Reset {
                recorder.declare(GapKind::RecorderReset, None, 0, now_ns, 0);
            }
        }
        for store in Store::ALL {
            recorder.enter_head(store as usize);
            recorder.committed_tail[store as usize] = recorder.ledger.stores[store as usize].tail;
        }
        (recorder, opened)
    }

    fn begin(&mut self, wanted: Header, now_ns: u64) {
        // The magic is cleared first and written last, so that an interrupted start leaves no record.
        self.memory[..size_of::<Header>()].fill(0);
        *self.ledger = Ledger {
            created_ns: now_ns,
            ..Ledger::zeroed()
        };
        self.commits = 0;
        self.interfaces = Interfaces::new(vec![], [StoreCounts::zeroed(); 7]);
        let header = Header {
            commits: 0,
            ..wanted
        };
        self.write_ledger(0);
        compiler_fence(Ordering::SeqCst);
        self.memory[..size_of::<Header>()].copy_from_slice(bytes_of(&header));
    }

    /// Reads the valid ledger. Returns `false` if it is inconsistent.
    fn read_ledger(&mut self) -> bool {
        let at = self.layout.ledgers[(self.commits & 1) as usize];
        let ledger: Ledger = read(&self.memory, at);
        if !ledger.fits(&self.layout) {
            return false;
        }
        let slots: Vec<InterfaceSlot> = (0..ledger.interfaces_used as usize)
            .map(|slot| read(&self.memory, slot_at(at, slot)))
            // Its packets then have no interface, and the slot is taken by the next one.
            .map(|slot: InterfaceSlot| match slot.is_plausible() {
                true => slot,
                false => InterfaceSlot {
                    state: super::interfaces::State::Gone as u8,
                    ..InterfaceSlot::zeroed()
                },
            })
            .collect();
        self.interfaces = Interfaces::new(slots, ledger.released);
        *self.ledger = ledger;
        true
    }

    fn write_ledger(&mut self, which: usize) {
        let at = self.layout.ledgers[which];
        let slots = &self.interfaces.slots;
        self.ledger.interfaces_used = slots.len() as u64;
        self.ledger.released = self.interfaces.released;
        self.memory[at..at + size_of::<Ledger>()].copy_from_slice(bytes_of(&*self.ledger));
        let bytes: &[u8] = bytemuck::cast_slice(slots);
        let start = slot_at(at, 0);
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Commits everything recorded so far, so that it survives the death of the writer.
    pub fn commit(&mut self) {
        let next = self.commits + 1;
        self.write_ledger((next & 1) as usize);
        // The memory is read only after the writer's death, so only the order in which the compiler
        // emits these stores matters.
        compiler_fence(Ordering::SeqCst);
        let at = std::mem::offset_of!(Header, commits);
        self.memory[at..at + 8].copy_from_slice(&next.to_ne_bytes());
        compiler_fence(Ordering::SeqCst);
        self.commits = next;
        for (committed, mark) in self.committed_tail.iter_mut().zip(&self.ledger.stores) {
            *committed = mark.tail;
        }
    }

    fn enter_head(&mut self, store: usize) {
        let mark = &mut self.ledger.stores[store];
        self.head_start[store] = self.layout.regions[store].segment_start(mark.head);
        if mark.head_used == 0 {
            mark.head_used = SEGMENT_HEADER as u32;
        }
    }

    /// Records one packet. `bytes` may be shorter than `meta.original_length`; it is truncated to the
    /// store's snap length.
    #[inline]
    pub fn append(&mut self, store: Store, meta: &Meta, bytes: &[u8]) {
        self.append_sample(store, meta, 0, bytes);
    }

    /// Returns the bytes that a packet takes in a store.
    #[inline]
    pub fn cost(&self, store: Store, length: usize, is_tagged: bool) -> u32 {
        let captured =
            (length + usize::from(is_tagged) * 4).min(self.snaps[store as usize] as usize);
        (RECORD_HEADER + captured).next_multiple_of(8) as u32
    }

    /// Records one packet that stands for 2^`sample` packets.
    #[inline]
    pub fn append_sample(&mut self, store: Store, meta: &Meta, sample: u8, bytes: &[u8]) {
        let at = store as usize;
        let snap = self.snaps[at] as usize;
        let tag = meta.tag.filter(|_| bytes.len() >= 12);
        let captured = (bytes.len() + if tag.is_some() { 4 } else { 0 }).min(snap);
        let size = (RECORD_HEADER + captured).next_multiple_of(8);
        if self.ledger.stores[at].head_used as usize + size > self.layout.regions[at].segment {
            self.next_segment(at);
        }
        let header = RecordHeader {
            time_ns: meta.time_ns,
            original_length: meta.original_length,
            captured: captured as u16,
            slot: meta.interface.0,
            generation: meta.interface.1,
            link: meta.link as u8,
            direction: meta.direction as u8,
            checksum: meta.checksum as u8,
            sample,
            reserved: [0; 2],
        };
        let mark = &mut self.ledger.stores[at];
        let start = self.head_start[at] + mark.head_used as usize;
        let record = &mut self.memory[start..start + size];
        record[..RECORD_HEADER].copy_from_slice(bytes_of(&header));
        let record = &mut record[RECORD_HEADER..RECORD_HEADER + captured];
        match tag {
            None => record.copy_from_slice(&bytes[..captured]),
            Some(tag) => copy_tagged(record, bytes, tag),
        }
        if mark.head_packets == 0 {
            mark.head_first_ns = meta.time_ns;
            mark.head_last_ns = meta.time_ns;
        } else {
            mark.head_first_ns = mark.head_first_ns.min(meta.time_ns);
            mark.head_last_ns = mark.head_last_ns.max(meta.time_ns);
        }
        mark.head_used += size as u32;
        mark.head_packets += 1;
        mark.recorded += 1;
        mark.recorded_bytes += size as u64;
        self.interfaces.counts_mut(meta.interface, store).recorded += 1;
    }

    /// Counts packets that belong in a store, after they were recorded or thinned.
    #[inline]
    pub fn count_seen(&mut self, store: Store, interface: (u16, u16), packets: u64) {
        self.ledger.stores[store as usize].seen += packets;
        self.interfaces.counts_mut(interface, store).seen += packets;
    }

    #[cold]
    fn next_segment(&mut self, store: usize) {
        let region = self.layout.regions[store];
        let mark = self.ledger.stores[store];
        let header = SegmentHeader {
            sequence: mark.head,
            first_ordinal: mark.recorded - u64::from(mark.head_packets),
            first_ns: mark.head_first_ns,
            last_ns: mark.head_last_ns,
            used: mark.head_used,
            packets: mark.head_packets,
        };
        let at = self.head_start[store];
        self.memory[at..at + SEGMENT_HEADER].copy_from_slice(bytes_of(&header));
        // The next segment must be free, also in the committed ledger.
        let next = mark.head + 1;
        while next - self.ledger.stores[store].tail >= region.segments {
            self.evict(store);
        }
        if next - self.committed_tail[store] >= region.segments {
            self.commit();
        }
        let mark = &mut self.ledger.stores[store];
        mark.head = next;
        mark.head_used = 0;
        mark.head_packets = 0;
        mark.head_first_ns = 0;
        mark.head_last_ns = 0;
        self.enter_head(store);
        // Evict one segment ahead, so that the next step need not commit within a batch.
        if next + 1 - self.ledger.stores[store].tail >= region.segments {
            self.evict(store);
        }
    }

    fn evict(&mut self, store: usize) {
        let region = self.layout.regions[store];
        let tail = self.ledger.stores[store].tail;
        let header = self.segment(&region, tail);
        self.count_evicted(Store::ALL[store], &region, &header, tail);
        let mark = &mut self.ledger.stores[store];
        mark.tail += 1;
        // Never more than there is, whatever the segment claims.
        let left = mark.recorded - mark.evicted - u64::from(mark.head_packets);
        mark.evicted += u64::from(header.packets).min(left);
        let bytes = u64::from(header.used).saturating_sub(SEGMENT_HEADER as u64);
        mark.evicted_bytes += bytes.min(mark.recorded_bytes - mark.evicted_bytes);
        mark.evicted_until_ns = mark.evicted_until_ns.max(header.last_ns);
    }

    /// Counts the packets of a segment for their interfaces. Lengths may be those that another engine wrote: they
    /// never lead out of the segment.
    fn count_evicted(&mut self, store: Store, region: &Region, header: &SegmentHeader, tail: u64) {
        let start = region.segment_start(tail);
        let used = (header.used as usize).min(region.segment);
        let mut at = SEGMENT_HEADER;
        for _ in 0..header.packets {
            if at + RECORD_HEADER > used {
                break;
            }
            let record: RecordHeader = read(&self.memory, start + at);
            let interface = (record.slot, record.generation);
            self.interfaces.counts_mut(interface, store).evicted += 1;
            at += (RECORD_HEADER + usize::from(record.captured)).next_multiple_of(8);
        }
    }

    /// Returns how many bytes of a store are never evicted while it admits not more than that.
    pub fn usable(&self) -> [u64; 7] {
        let largest = self.largest();
        Store::ALL.map(|store| {
            let at = store as usize;
            self.layout.regions[at].usable(largest[at])
        })
    }

    /// Returns the most bytes that a packet takes, for each store.
    pub fn largest(&self) -> [u64; 7] {
        Store::ALL.map(|store| u64::from(self.cost(store, SNAP_MAX as usize, false)))
    }

    /// Returns what a store may still admit, for changes.
    #[inline]
    pub fn pace_mut(&mut self, store: Store) -> &mut Pace {
        &mut self.ledger.stores[store as usize].pace
    }

    /// Returns the state of a store.
    pub fn state(&self, store: Store) -> StoreState {
        let at = store as usize;
        let mark = &self.ledger.stores[at];
        let region = &self.layout.regions[at];
        let here = mark.recorded > mark.evicted;
        let oldest_ns = here.then(|| {
            if mark.tail == mark.head {
                mark.head_first_ns
            } else {
                self.segment(region, mark.tail).first_ns
            }
        });
        let newest_ns = here.then(|| {
            if mark.head_packets > 0 {
                mark.head_last_ns
            } else {
                self.segment(region, mark.head.saturating_sub(1)).last_ns
            }
        });
        StoreState {
            capacity_bytes: region.segments * region.segment as u64,
            used_bytes: mark.recorded_bytes - mark.evicted_bytes,
            recorded: mark.recorded,
            evicted: mark.evicted,
            evicted_bytes: mark.evicted_bytes,
            oldest_ns,
            newest_ns,
            evicted_until_ns: mark.evicted_until_ns,
            seen: mark.seen,
            thinned: mark.thinned,
        }
    }

    pub(super) fn segment(&self, region: &Region, sequence: u64) -> SegmentHeader {
        read::<SegmentHeader>(&self.memory, region.segment_start(sequence)).bounded(region.segment)
    }

    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    pub(super) fn mark(&self, store: usize) -> &StoreMark {
        &self.ledger.stores[store]
    }

    pub(super) fn record_header(&self, at: usize) -> RecordHeader {
        read(&self.memory, at)
    }

    /// Returns the interfaces of the record.
    pub fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Returns the interfaces of the record, for changes.
    pub fn interfaces_mut(&mut self) -> &mut Interfaces {
        &mut self.interfaces
    }

    /// Returns the progress of ring 0 (control) or 1 (bulk), for changes. It is committed with everything
    /// else, so that no packet is recorded twice or skipped.
    pub fn ring_mut(&mut self, ring: usize) -> &mut RingMark {
        &mut self.ledger.rings[ring]
    }

    /// Returns the progress of ring 0 (control) or 1 (bulk).
    pub fn ring(&self, ring: usize) -> &RingMark {
        &self.ledger.rings[ring]
    }

    /// Returns the start of this record, in nanoseconds since 1970.
    pub fn created_ns(&self) -> u64 {
        self.ledger.created_ns
    }

    /// Counts the start of an engine. Returns the number of engines in a row that died before it without
    /// processing a packet: the next packet may be the cause.
    pub fn count_start(&mut self) -> u64 {
        let processed = self.ledger.rings.iter().map(|ring| ring.processed).sum();
        let ledger = &mut self.ledger;
        if ledger.engine_starts > 0 && ledger.processed_at_start == processed {
            ledger.stalled_starts += 1;
        } else {
            ledger.stalled_starts = 0;
        }
        ledger.processed_at_start = processed;
        ledger.engine_starts += 1;
        let stalled = ledger.stalled_starts;
        self.commit();
        stalled
    }

    /// Sets the rings that the marks refer to, identified by the time they were opened. If they replace
    /// other rings, the packets that those still held are lost: of the `taken` packets that each ever
    /// received, those not processed are declared as a gap.
    pub fn set_rings(&mut self, opened_ns: u64, taken: [u64; 2]) {
        let before = self.ledger.rings_opened_ns;
        self.ledger.rings_opened_ns = opened_ns;
        if before == 0 || before == opened_ns {
            return;
        }
        for (at, taken) in taken.into_iter().enumerate() {
            let mark = &mut self.ledger.rings[at];
            let lost = taken.saturating_sub(mark.processed);
            let from = mark.clean_ns;
            mark.processed += lost;
            (mark.block, mark.sequence, mark.consumed) = (0, 0, 0);
            let from = if from == 0 {
                opened_ns
            } else {
                from.min(opened_ns)
            };
            self.declare(
                GapKind::EngineRestart,
                Some(at as u8),
                from,
                opened_ns,
                lost,
            );
        }
    }

    /// Returns the number of engines that have worked on this record.
    pub fn engine_starts(&self) -> u64 {
        self.ledger.engine_starts
    }

    /// Stores an event in a category, replacing its oldest.
    pub fn keep_event(&mut self, category: usize, bytes: &[u8; EVENT_BYTES - 8]) {
        let ordinal = self.ledger.events[category];
        let at = self.event_at(category, ordinal);
        self.memory[at..at + 8].copy_from_slice(&ordinal.to_ne_bytes());
        self.memory[at + 8..at + EVENT_BYTES].copy_from_slice(bytes);
        self.ledger.events[category] += 1;
    }

    /// Returns the number of events ever stored, and of those evicted.
    pub fn event_totals(&self) -> (u64, u64) {
        let kept = self.ledger.events.iter().sum();
        let evicted = self
            .ledger
            .events
            .iter()
            .map(|count| count.saturating_sub(EVENT_SLOTS as u64))
            .sum();
        (kept, evicted)
    }

    /// Returns the events of a category, oldest first. An event that was being overwritten when an engine
    /// died is skipped.
    pub fn events(&self, category: usize) -> impl DoubleEndedIterator<Item = &[u8]> {
        let written = self.ledger.events[category];
        (written.saturating_sub(EVENT_SLOTS as u64)..written).filter_map(move |ordinal| {
            let at = self.event_at(category, ordinal);
            let slot = &self.memory[at..at + EVENT_BYTES];
            (read::<u64>(slot, 0) == ordinal).then_some(&slot[8..])
        })
    }

    fn event_at(&self, category: usize, ordinal: u64) -> usize {
        let slot = category * EVENT_SLOTS + (ordinal % EVENT_SLOTS as u64) as usize;
        self.layout.events + slot * EVENT_BYTES
    }
}

/// Copies `bytes` with the tag reinserted after the MAC addresses, as far as it fits.
fn copy_tagged(record: &mut [u8], bytes: &[u8], (tpid, tci): (u16, u16)) {
    let mut head = [0u8; 16];
    head[..12].copy_from_slice(&bytes[..12]);
    head[12..14].copy_from_slice(&tpid.to_be_bytes());
    head[14..].copy_from_slice(&tci.to_be_bytes());
    let cut = record.len().min(16);
    record[..cut].copy_from_slice(&head[..cut]);
    if record.len() > 16 {
        let rest = record.len() - 16;
        record[16..].copy_from_slice(&bytes[12..12 + rest]);
    }
}

fn slot_at(ledger: usize, slot: usize) -> usize {
    ledger + size_of::<Ledger>() + slot * size_of::<InterfaceSlot>()
}

#[inline]
pub(super) fn read<T: Pod>(memory: &[u8], at: usize) -> T {
    // All reads are within the layout. With a wrong mark, zeros are read instead of other memory, and
    // nothing panics.
    memory
        .get(at..at + size_of::<T>())
        .map_or_else(T::zeroed, pod_read_unaligned)
}

#[cfg(test)]
mod tests {
    use super::super::cursor::{Cursor, From};
    use super::*;
    use proptest::prelude::*;

    const BUDGETS: [u64; 7] = [256 * 1024; 7];

    fn put(recorder: &mut Recorder<&mut [u8]>, store: Store, time_ns: u64) {
        let meta = Meta {
            time_ns,
            original_length: 60,
            interface: (0, 1),
            link: LinkType::Ethernet,
            direction: Direction::ToUs,
            checksum: Checksum::Unknown,
            tag: None,
        };
        recorder.append(store, &meta, &[7; 60]);
    }

    /// Uses a record in every way that an engine does.
    fn use_all(memory: &mut [u8]) {
        let (mut recorder, _) = Recorder::open(memory, BUDGETS, [128; 7], 5);
        recorder.count_start();
        recorder.set_rings(77, [9, 9]);
        recorder.interfaces_mut().of_packet(3, 1, 5);
        for ring in 0..2 {
            recorder.ring_drops(ring, 3, 5, 6);
            recorder.ring_mut(ring).processed += 1;
        }
        for category in 0..super::super::layout::EVENT_CATEGORIES {
            recorder.keep_event(category, &[1; EVENT_BYTES - 8]);
            assert!(recorder.events(category).count() <= EVENT_SLOTS);
        }
        recorder.packet_during_outage(0, 50);
        for store in Store::ALL {
            for from in [From::Oldest, From::Since(3), From::Now] {
                let mut cursor = Cursor::new(&recorder, &[store], from, u64::MAX, false);
                while cursor.next(&recorder, u64::MAX).is_some() {}
            }
            // More than the store holds, so that all of it is evicted.
            for time in 0..4000 {
                put(&mut recorder, store, time);
            }
            recorder.state(store);
        }
        recorder.gaps(0);
        recorder.new_gaps();
        recorder.gap_totals();
        recorder.event_totals();
        recorder.commit();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_memory_stops_no_reader(
            words in proptest::collection::vec(
                (any::<prop::sample::Index>(), prop_oneof![Just(u64::MAX), Just(0), Just(1 << 56), 0..4096u64, any::<u64>()]),
                1..300,
            ),
            only_ledgers: bool,
        ) {
            let mut memory = vec![0; super::super::memory_needed(BUDGETS)];
            use_all(&mut memory);
            let ledgers = Layout::new(BUDGETS).ledgers[0];
            let (from, to) = match only_ledgers {
                // The numbers that everything else depends on, in both copies.
                true => (ledgers, ledgers + size_of::<Ledger>()),
                false => (size_of::<Header>() - 8, memory.len()),
            };
            let second = Layout::new(BUDGETS).ledgers[1] - ledgers;
            for (at, word) in words {
                let at = from + at.index((to - from) / 8) * 8;
                for copy in [at, at + if only_ledgers { second } else { 0 }] {
                    memory[copy..copy + 8].copy_from_slice(&word.to_ne_bytes());
                }
            }
            use_all(&mut memory);
            use_all(&mut memory);
        }
    }
}
