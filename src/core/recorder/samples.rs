//! PURE. Intervals in which a store kept a sample: how many packets were thinned, by interface and time. An interval
//! lasts at most ten seconds. The newest 2,048 are kept; of older ones the packets, in the totals.

use std::ops::DerefMut;

use bytemuck::bytes_of;

use super::class::Store;
use super::layout::{OPEN_SAMPLES, Plausible, SAMPLE_SLOTS, SampleInterval};
use super::store::{Meta, Recorder, read};

/// Longest interval, in nanoseconds. Intervals begin anew with each multiple of it.
const PERIOD_NS: u64 = 10_000_000_000;

/// Returns the number of the period in which an interval with this time lies.
#[inline]
pub fn period(time_ns: u64) -> u64 {
    time_ns / PERIOD_NS
}

/// Intervals among which that of a probe is searched: those of the last timeout, on some interfaces.
const LATE_INTERVALS: u64 = 64;

impl<M: DerefMut<Target = [u8]>> Recorder<M> {
    /// Counts a packet that is not recorded, since the store has to keep older ones.
    #[inline]
    pub fn thin(&mut self, store: Store, interface: (u16, u16), time_ns: u64) {
        self.thin_run(store, interface, 1, (time_ns, time_ns));
    }

    /// Counts `packets` that are not recorded, from the first to the last time, which are of one [`period`]. None that
    /// is recorded came between them.
    #[inline]
    pub fn thin_run(
        &mut self,
        store: Store,
        interface: (u16, u16),
        packets: u64,
        (from_ns, to_ns): (u64, u64),
    ) {
        self.ledger.stores[store as usize].thinned += packets;
        let counts = self.interfaces_mut().counts_mut(interface, store);
        counts.thinned += packets;
        let seen = counts.seen;
        let at = open_at(interface, store);
        let open = &mut self.ledger.open_samples[at];
        let is_its = open.thinned > 0
            && (open.slot, open.generation) == interface
            && open.store == store as u8
            && period(open.from_ns) == period(from_ns);
        if is_its {
            open.thinned += packets;
            open.from_ns = open.from_ns.min(from_ns);
            open.to_ns = open.to_ns.max(to_ns);
        } else {
            let begun = SampleInterval {
                from_ns,
                to_ns,
                thinned: packets,
                seen,
                slot: interface.0,
                generation: interface.1,
                store: store as u8,
                ..SampleInterval::default()
            };
            self.begin_sample(at, begun);
        }
    }

    /// Records a packet that was counted as thinned, since its probe had another fate than expected.
    pub fn append_thinned(&mut self, store: Store, meta: &Meta, bytes: &[u8]) {
        self.append(store, meta, bytes);
        // After the packet: recording may commit, and then it is still thinned.
        let thinned = &mut self.ledger.stores[store as usize].thinned;
        *thinned = thinned.saturating_sub(1);
        let counts = self.interfaces_mut().counts_mut(meta.interface, store);
        counts.thinned = counts.thinned.saturating_sub(1);
        let is_its = |one: &SampleInterval| {
            (one.slot, one.generation) == meta.interface
                && one.store == store as u8
                && (one.from_ns..=one.to_ns).contains(&meta.time_ns)
        };
        let open = &mut self.ledger.open_samples[open_at(meta.interface, store)];
        if open.thinned > 1 && is_its(open) {
            open.thinned -= 1;
            return;
        }
        let written = self.ledger.samples_written;
        for ordinal in (written.saturating_sub(LATE_INTERVALS)..written).rev() {
            let at = self.sample_at(ordinal);
            let mut one: SampleInterval = read(&self.memory, at);
            if one.ordinal == ordinal && one.thinned > 0 && is_its(&one) {
                one.thinned -= 1;
                self.memory[at..at + size_of::<SampleInterval>()].copy_from_slice(bytes_of(&one));
                return;
            }
        }
    }

    #[cold]
    fn begin_sample(&mut self, at: usize, begun: SampleInterval) {
        self.end_sample(at);
        self.ledger.open_samples[at] = begun;
    }

    /// Writes an open interval into the table.
    fn end_sample(&mut self, at: usize) {
        if let Some(closed) = self.closed(&self.ledger.open_samples[at]) {
            let ordinal = self.ledger.samples_written;
            let place = self.sample_at(ordinal);
            let closed = SampleInterval { ordinal, ..closed };
            self.memory[place..place + size_of::<SampleInterval>()]
                .copy_from_slice(bytes_of(&closed));
            self.ledger.samples_written += 1;
        }
        self.ledger.open_samples[at] = SampleInterval::default();
    }

    /// Returns an open interval as it is now; `None` if it has no packets.
    fn closed(&self, open: &SampleInterval) -> Option<SampleInterval> {
        if open.thinned == 0 {
            return None;
        }
        let slot = self.interfaces().get(open.slot, open.generation);
        let counts = slot.and_then(|slot| slot.stores.get(usize::from(open.store)));
        // Of an interface whose slot was reused, only the thinned ones are known.
        let seen = counts.map_or(0, |counts| counts.seen.saturating_sub(open.seen));
        Some(SampleInterval {
            seen: seen.max(open.thinned),
            ..*open
        })
    }

    fn sample_at(&self, ordinal: u64) -> usize {
        let slot = (ordinal % SAMPLE_SLOTS as u64) as usize;
        self.layout.samples + slot * size_of::<SampleInterval>()
    }

    /// Returns the intervals that end at or after `since_ns`, in the order in which they ended, open ones last. One
    /// that was being overwritten when an engine died is left out.
    pub fn samples(&self, since_ns: u64) -> Vec<SampleInterval> {
        let written = self.ledger.samples_written;
        let closed = (written.saturating_sub(SAMPLE_SLOTS as u64)..written).filter_map(|ordinal| {
            let kept: SampleInterval = read(&self.memory, self.sample_at(ordinal));
            (kept.ordinal == ordinal).then_some(kept)
        });
        let open = self.ledger.open_samples.iter();
        let open = open.filter_map(|open| self.closed(open));
        let is_sane = |one: &SampleInterval| {
            let is_ordered = one.from_ns <= one.to_ns;
            one.is_plausible() && usize::from(one.store) < Store::ALL.len() && is_ordered
        };
        closed
            .chain(open)
            .filter(|one| one.to_ns >= since_ns && is_sane(one))
            .collect()
    }
}

fn open_at((slot, _): (u16, u16), store: Store) -> usize {
    (usize::from(slot) * Store::ALL.len() + store as usize) % OPEN_SAMPLES
}

#[cfg(test)]
mod tests {
    use super::super::interfaces::Link;
    use std::mem::offset_of;

    use super::super::layout::{InterfaceSlot, Ledger, StoreCounts, StoreMark};
    use super::super::store::Opened;
    use super::*;
    use crate::wire::{Checksum, Direction, LinkType};

    const BUDGETS: [u64; 7] = [256 * 1024; 7];
    const SECOND: u64 = 1_000_000_000;

    fn open(memory: Vec<u8>) -> (Recorder<Box<[u8]>>, Opened) {
        Recorder::open(memory.into_boxed_slice(), BUDGETS, [128; 7], 1)
    }

    fn recorder() -> Recorder<Box<[u8]>> {
        open(vec![0; crate::recorder::memory_needed(BUDGETS)]).0
    }

    fn interface(recorder: &mut Recorder<Box<[u8]>>, ifindex: u32) -> (u16, u16) {
        let link = Link {
            ifindex,
            name: format!("e{ifindex}"),
            hardware: 1,
            up: true,
            recorded: true,
        };
        recorder.interfaces_mut().link_is(&link, SECOND);
        let slot = recorder.interfaces().present(ifindex).unwrap();
        (
            slot,
            recorder.interfaces().slots[usize::from(slot)].generation,
        )
    }

    /// Every fifth packet is stored, the others are thinned.
    fn put(recorder: &mut Recorder<Box<[u8]>>, interface: (u16, u16), number: u64) {
        let time_ns = 100 * SECOND + number * SECOND / 1000;
        if number.is_multiple_of(5) {
            let meta = Meta {
                time_ns,
                original_length: 60,
                interface,
                link: LinkType::Ethernet,
                direction: Direction::ToUs,
                checksum: Checksum::Unknown,
                tag: None,
            };
            recorder.append_sample(Store::Bulk, &meta, 2, &[number as u8; 60]);
        } else {
            recorder.thin(Store::Bulk, interface, time_ns);
        }
        recorder.count_seen(Store::Bulk, interface, 1);
    }

    fn counts(recorder: &Recorder<Box<[u8]>>) -> Vec<StoreCounts> {
        let slots = recorder.interfaces().iter();
        let mut all: Vec<_> = slots.map(|(_, slot)| slot.stores[6]).collect();
        all.push(recorder.interfaces().released()[6]);
        all
    }

    /// The counts of the store are those of its interfaces, and every packet is in one of them.
    fn assert_closed(recorder: &Recorder<Box<[u8]>>) -> u64 {
        let mut sum = StoreCounts::default();
        for one in counts(recorder) {
            assert_eq!(one.seen, one.recorded + one.thinned, "{one:?}");
            assert!(one.evicted <= one.recorded, "{one:?}");
            sum.add(&one);
        }
        let state = recorder.state(Store::Bulk);
        assert_eq!(
            (sum.seen, sum.recorded, sum.thinned, sum.evicted),
            (state.seen, state.recorded, state.thinned, state.evicted)
        );
        sum.seen
    }

    #[test]
    fn packets_add_up_by_interface() {
        let mut recorder = recorder();
        let all = [interface(&mut recorder, 2), interface(&mut recorder, 3)];
        for number in 0..100_000 {
            put(&mut recorder, all[usize::from(number % 3 == 0)], number);
        }
        assert_eq!(assert_closed(&recorder), 100_000);
        let state = recorder.state(Store::Bulk);
        assert!(
            state.evicted > 10_000 && state.thinned == 80_000,
            "{state:?}"
        );
        let found: u64 = recorder.samples(0).iter().map(|one| one.thinned).sum();
        assert_eq!(found, 80_000);
        // In steps of ten seconds, on each interface.
        assert_eq!(recorder.samples(0).len(), 20);
        assert_eq!(recorder.samples(150 * SECOND).len(), 10);
    }

    #[test]
    fn late_packets_leave_the_sample() {
        let mut recorder = recorder();
        let one = interface(&mut recorder, 2);
        for number in 0..30_000 {
            put(&mut recorder, one, number);
        }
        for number in (1..30_000).step_by(100) {
            let meta = Meta {
                time_ns: 100 * SECOND + number * SECOND / 1000,
                original_length: 60,
                interface: one,
                link: LinkType::Ethernet,
                direction: Direction::ToUs,
                checksum: Checksum::Unknown,
                tag: None,
            };
            recorder.append_thinned(Store::Bulk, &meta, &[1; 60]);
        }
        assert_eq!(assert_closed(&recorder), 30_000);
        let state = recorder.state(Store::Bulk);
        assert_eq!((state.thinned, state.recorded), (23_700, 6_300));
        let found: u64 = recorder.samples(0).iter().map(|one| one.thinned).sum();
        assert_eq!(found, 23_700);
    }

    #[test]
    fn a_killed_writer_leaves_closed_counts() {
        let mut recorder = recorder();
        let one = interface(&mut recorder, 2);
        for number in 0..20_000 {
            put(&mut recorder, one, number);
            recorder.ring_mut(1).processed += 1;
        }
        recorder.commit();
        for more in [1, 10, 1_000, 30_000] {
            for number in 0..more {
                put(&mut recorder, one, 20_000 + number);
                recorder.ring_mut(1).processed += 1;
            }
            let (next, opened) = open(recorder.memory.to_vec());
            assert_eq!(opened, Opened::Resumed);
            assert_eq!(assert_closed(&next), next.ring(1).processed);
            let thinned: u64 = next.samples(0).iter().map(|one| one.thinned).sum();
            assert_eq!(thinned, next.state(Store::Bulk).thinned);
            recorder = next;
        }
    }

    #[test]
    fn counts_outlive_their_interface() {
        let mut recorder = recorder();
        for ifindex in 2..5_000 {
            let one = interface(&mut recorder, ifindex);
            put(&mut recorder, one, 1);
            put(&mut recorder, one, 5);
            recorder.interfaces_mut().link_gone(ifindex, 2 * SECOND);
        }
        assert_eq!(assert_closed(&recorder), 2 * 4_998);
        assert!(recorder.interfaces().released()[6].seen > 0);
        for number in 0..50_000 {
            put(&mut recorder, (0, 0), number * 5);
        }
        assert_eq!(assert_closed(&recorder), 2 * 4_998 + 50_000);
    }

    /// What a compromised engine leaves behind is refused, or does no harm.
    #[test]
    fn impossible_counts_are_not_continued() {
        let mut recorder = recorder();
        let one = interface(&mut recorder, 2);
        for number in 0..1_000 {
            put(&mut recorder, one, number);
        }
        recorder.commit();
        let sane = recorder.memory.to_vec();
        assert_eq!(open(sane.clone()).1, Opened::Resumed);
        let ledger = recorder.layout.ledgers[(recorder.commits() & 1) as usize];
        let own = [
            offset_of!(Ledger, released)..size_of::<Ledger>(),
            size_of::<Ledger>() + offset_of!(InterfaceSlot, stores)
                ..size_of::<Ledger>() + size_of::<InterfaceSlot>(),
        ];
        let mark = offset_of!(Ledger, stores) + 6 * size_of::<StoreMark>();
        let of_mark = mark + offset_of!(StoreMark, seen)..mark + size_of::<StoreMark>();
        for at in own.into_iter().chain([of_mark]).flatten() {
            let mut damaged = sane.clone();
            let end = (ledger + at + 8).min(damaged.len());
            damaged[ledger + at..end].fill(0xff);
            let (mut recorder, _) = open(damaged);
            recorder.samples(0);
            for number in 0..10 {
                put(&mut recorder, one, number);
            }
            recorder.commit();
        }
    }
}
