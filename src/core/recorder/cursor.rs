//! PURE. Reading position in the record: all stores merged in time order, for readers of any speed.
//! Nothing is queued for a reader; packets evicted before it reaches them are counted as missed.

use std::ops::DerefMut;

use super::class::Store;
use super::layout::{Plausible, RECORD_HEADER, SEGMENT_HEADER};
use super::store::Recorder;
use crate::wire::{Checksum, Direction, Frame, LinkType};

/// Start position of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The oldest packet.
    Oldest,
    /// The first packet at or after this time, in nanoseconds since 1970.
    Since(u64),
    /// The next packet to be recorded.
    Now,
}

/// One recorded packet.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The store that holds it.
    pub store: Store,
    /// Packets recorded in this store before it.
    pub number: u64,
    /// Kernel time stamp, nanoseconds since 1970.
    pub time_ns: u64,
    /// Length on the wire, in bytes.
    pub original_length: u32,
    /// Interface slot and generation.
    pub interface: (u16, u16),
    /// The link-layer header that the bytes begin with.
    pub link: LinkType,
    /// Direction on the interface.
    pub direction: Direction,
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// Number of packets that it stands for, itself included: more than 1 if it is one of a sample.
    pub stands_for: u64,
    /// The captured bytes, including VLAN tags.
    pub bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Returns the frame, for decoding.
    pub fn frame(&self) -> Frame<'a> {
        Frame {
            link: self.link,
            bytes: self.bytes,
            original_length: self.original_length,
            checksum: self.checksum,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Position {
    wanted: bool,
    sequence: u64,
    offset: usize,
    /// Packets recorded in this store before the position.
    ordinal: u64,
    /// Reading ends at this ordinal.
    stop: u64,
    /// Time of the packet at the position, once read.
    peeked: Option<u64>,
}

/// A reader's position in every store.
#[derive(Clone, Debug)]
pub struct Cursor {
    positions: [Position; 7],
    since_ns: u64,
    until_ns: u64,
    missed: u64,
}

impl Cursor {
    /// Creates a reader of `stores`. Without `follow` it ends with the newest packet at this moment.
    /// Packets after `until_ns` are skipped.
    pub fn new<M: DerefMut<Target = [u8]>>(
        recorder: &Recorder<M>,
        stores: &[Store],
        from: From,
        until_ns: u64,
        follow: bool,
    ) -> Cursor {
        let positions = Store::ALL.map(|store| {
            let mark = recorder.mark(store as usize);
            let mut position = Position {
                wanted: stores.contains(&store),
                sequence: mark.tail,
                offset: SEGMENT_HEADER,
                ordinal: mark.evicted,
                stop: if follow { u64::MAX } else { mark.recorded },
                peeked: None,
            };
            match from {
                From::Oldest => {}
                From::Now => {
                    position.sequence = mark.head;
                    position.offset = (mark.head_used as usize).max(SEGMENT_HEADER);
                    position.ordinal = mark.recorded;
                }
                From::Since(since_ns) => {
                    let region = &recorder.layout.regions[store as usize];
                    while position.sequence < mark.head {
                        let segment = recorder.segment(region, position.sequence);
                        if segment.last_ns >= since_ns {
                            break;
                        }
                        position.sequence += 1;
                        position.ordinal += u64::from(segment.packets);
                    }
                }
            }
            position
        });
        Cursor {
            positions,
            since_ns: match from {
                From::Since(since_ns) => since_ns,
                _ => 0,
            },
            until_ns,
            missed: 0,
        }
    }

    /// Skips the packets of a store before the one with this number. Those of them that are evicted already are
    /// not missed; those behind it are.
    pub fn skip_to<M: DerefMut<Target = [u8]>>(
        &mut self,
        recorder: &Recorder<M>,
        store: Store,
        number: u64,
    ) {
        let mark = recorder.mark(store as usize);
        let region = &recorder.layout.regions[store as usize];
        let position = &mut self.positions[store as usize];
        self.missed += mark.evicted.saturating_sub(number);
        position.sequence = mark.tail;
        position.offset = SEGMENT_HEADER;
        position.ordinal = mark.evicted;
        position.peeked = None;
        while position.sequence < mark.head {
            let packets = u64::from(recorder.segment(region, position.sequence).packets);
            if position.ordinal + packets > number {
                break;
            }
            position.sequence += 1;
            position.ordinal += packets;
        }
        while position.ordinal < number.min(mark.recorded) {
            let used = match position.sequence >= mark.head {
                true => mark.head_used,
                false => recorder.segment(region, position.sequence).used,
            };
            if position.offset + RECORD_HEADER > used as usize {
                break;
            }
            let start = region.segment_start(position.sequence) + position.offset;
            position.offset += size(recorder.record_header(start).captured);
            position.ordinal += 1;
        }
    }

    /// Returns the number of packets evicted before this reader reached them.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Skips evicted segments. Must be called before [`Cursor::next`] whenever the recorder may have been
    /// written to.
    pub fn refresh<M: DerefMut<Target = [u8]>>(&mut self, recorder: &Recorder<M>) {
        for (position, mark) in self.positions.iter_mut().zip(0..) {
            let mark = recorder.mark(mark);
            if position.wanted && position.sequence < mark.tail {
                self.missed += mark
                    .evicted
                    .min(position.stop)
                    .saturating_sub(position.ordinal);
                position.sequence = mark.tail;
                position.offset = SEGMENT_HEADER;
                position.ordinal = mark.evicted;
                position.peeked = None;
            }
        }
    }

    /// Returns the next packet at or before `bound_ns`. The recorder must not have been written to since
    /// the last [`Cursor::refresh`].
    pub fn next<'a, M: DerefMut<Target = [u8]>>(
        &mut self,
        recorder: &'a Recorder<M>,
        bound_ns: u64,
    ) -> Option<Record<'a>> {
        let mut best: Option<(usize, u64)> = None;
        for at in 0..self.positions.len() {
            if !self.positions[at].wanted {
                continue;
            }
            if let Some(time_ns) = self.peek(at, recorder)
                && time_ns <= bound_ns
                && best.is_none_or(|(_, earliest)| time_ns < earliest)
            {
                best = Some((at, time_ns));
            }
        }
        let (at, _) = best?;
        Some(self.take(at, recorder))
    }

    /// Returns whether there is a next packet, of any time.
    pub fn is_waiting<M: DerefMut<Target = [u8]>>(&mut self, recorder: &Recorder<M>) -> bool {
        (0..self.positions.len())
            .any(|at| self.positions[at].wanted && self.peek(at, recorder).is_some())
    }

    /// Returns the time of the next packet of a store within the requested interval.
    #[inline]
    fn peek<M: DerefMut<Target = [u8]>>(
        &mut self,
        at: usize,
        recorder: &Recorder<M>,
    ) -> Option<u64> {
        if let Some(time_ns) = self.positions[at].peeked {
            return Some(time_ns);
        }
        let mark = recorder.mark(at);
        let region = &recorder.layout.regions[at];
        loop {
            let position = &mut self.positions[at];
            if position.ordinal >= position.stop.min(mark.recorded) {
                return None;
            }
            let used = if position.sequence >= mark.head {
                mark.head_used
            } else {
                recorder.segment(region, position.sequence).used
            };
            if position.offset + RECORD_HEADER > used as usize {
                if position.sequence >= mark.head {
                    return None;
                }
                position.sequence += 1;
                position.offset = SEGMENT_HEADER;
                continue;
            }
            let start = region.segment_start(position.sequence) + position.offset;
            let header = recorder.record_header(start);
            let is_wanted = (self.since_ns..=self.until_ns).contains(&header.time_ns);
            if !is_wanted || !header.is_plausible() {
                position.offset += size(header.captured);
                position.ordinal += 1;
                continue;
            }
            position.peeked = Some(header.time_ns);
            return position.peeked;
        }
    }

    fn take<'a, M: DerefMut<Target = [u8]>>(
        &mut self,
        at: usize,
        recorder: &'a Recorder<M>,
    ) -> Record<'a> {
        let position = &mut self.positions[at];
        let start = recorder.layout.regions[at].segment_start(position.sequence) + position.offset;
        let header = recorder.record_header(start);
        let bytes = start + RECORD_HEADER;
        let number = position.ordinal;
        position.offset += size(header.captured);
        position.ordinal += 1;
        position.peeked = None;
        Record {
            store: Store::ALL[at],
            number,
            time_ns: header.time_ns,
            original_length: header.original_length,
            interface: (header.slot, header.generation),
            link: LinkType::from_u8(header.link),
            direction: Direction::from_u8(header.direction),
            checksum: match header.checksum {
                1 => Checksum::NotReady,
                2 => Checksum::Valid,
                _ => Checksum::Unknown,
            },
            stands_for: 1 << header.sample.min(SAMPLE_MAX),
            bytes: recorder
                .memory
                .get(bytes..bytes + usize::from(header.captured))
                .unwrap_or(&[]),
        }
    }
}

/// Largest exponent of a sample.
const SAMPLE_MAX: u8 = 31;

fn size(captured: u16) -> usize {
    (RECORD_HEADER + usize::from(captured)).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::store::{Meta, Opened};

    const BUDGETS: [u64; 7] = [256 * 1024; 7];
    const SNAPS: [u32; 7] = [2048, 2048, 2048, 2048, 2048, 256, 128];

    fn memory() -> Vec<u8> {
        vec![0; crate::recorder::memory_needed(BUDGETS)]
    }

    fn open(memory: Vec<u8>) -> (Recorder<Box<[u8]>>, Opened) {
        Recorder::open(memory.into_boxed_slice(), BUDGETS, SNAPS, 1)
    }

    fn put(recorder: &mut Recorder<Box<[u8]>>, store: Store, time_ns: u64, bytes: &[u8]) {
        let meta = Meta {
            time_ns,
            original_length: bytes.len() as u32,
            interface: (0, 1),
            link: LinkType::Ethernet,
            direction: Direction::ToUs,
            checksum: Checksum::Unknown,
            tag: None,
        };
        recorder.append(store, &meta, bytes);
    }

    fn all(recorder: &Recorder<Box<[u8]>>) -> Vec<(Store, u64)> {
        let mut cursor = Cursor::new(recorder, &Store::ALL, From::Oldest, u64::MAX, false);
        std::iter::from_fn(|| {
            cursor
                .next(recorder, u64::MAX)
                .map(|r| (r.store, r.time_ns))
        })
        .collect()
    }

    #[test]
    fn merges_in_time_order() {
        let (mut recorder, opened) = open(memory());
        assert_eq!(opened, Opened::Fresh);
        put(&mut recorder, Store::Bulk, 10, b"abc");
        put(&mut recorder, Store::Bulk, 30, b"abc");
        put(&mut recorder, Store::Link, 20, b"abc");
        put(&mut recorder, Store::Icmp, 5, b"abc");
        let times: Vec<u64> = all(&recorder).iter().map(|(_, time)| *time).collect();
        assert_eq!(times, [5, 10, 20, 30]);
    }

    #[test]
    fn evicts_oldest_and_counts_exactly() {
        let (mut recorder, _) = open(memory());
        put(&mut recorder, Store::Link, 1, b"before");
        for number in 0..50_000u64 {
            put(
                &mut recorder,
                Store::Bulk,
                100 + number,
                &number.to_be_bytes(),
            );
        }
        let state = recorder.state(Store::Bulk);
        let kept: Vec<_> = all(&recorder)
            .into_iter()
            .filter(|(s, _)| *s == Store::Bulk)
            .collect();
        assert_eq!(state.recorded, 50_000);
        assert_eq!(state.evicted + kept.len() as u64, 50_000);
        assert!(state.evicted > 0 && !kept.is_empty());
        let expected: Vec<u64> = (100 + state.evicted..50_100).collect();
        assert_eq!(
            kept.iter().map(|(_, time)| *time).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(state.oldest_ns, Some(100 + state.evicted));
        assert_eq!(state.newest_ns, Some(50_099));
        assert!(state.used_bytes <= state.capacity_bytes);
        assert_eq!(recorder.state(Store::Link).recorded, 1);
        assert_eq!(all(&recorder)[0], (Store::Link, 1));
    }

    /// The writer dies after `appended` packets, of which those up to the last commit must be there
    /// and nothing of the rest.
    #[test]
    fn a_killed_writer_leaves_the_last_commit() {
        for appended in [0usize, 1, 100, 3_000, 9_000, 20_000] {
            let (mut recorder, _) = open(memory());
            for number in 0..5_000u64 {
                put(&mut recorder, Store::Bulk, number, &[7; 60]);
                recorder.ring_mut(1).processed += 1;
            }
            recorder.commit();
            for number in 0..appended as u64 {
                recorder.ring_mut(1).consumed = number;
                put(&mut recorder, Store::Bulk, 5_000 + number, &[8; 60]);
                recorder.ring_mut(1).processed += 1;
            }
            let memory = recorder.memory.to_vec();
            let (recorder, opened) = open(memory);
            assert_eq!(opened, Opened::Resumed);
            let state = recorder.state(Store::Bulk);
            assert_eq!(
                state.recorded,
                recorder.ring(1).processed,
                "the marks are one"
            );
            let times: Vec<u64> = all(&recorder).iter().map(|(_, time)| *time).collect();
            assert_eq!(times, (state.evicted..state.recorded).collect::<Vec<_>>());
        }
    }

    #[test]
    fn other_budgets_are_a_declared_reset() {
        let (mut recorder, _) = open(memory());
        put(&mut recorder, Store::Bulk, 1, b"x");
        recorder.commit();
        let mut budgets = BUDGETS;
        budgets[0] -= 1;
        let memory = recorder.memory.to_vec().into_boxed_slice();
        let (recorder, opened) = Recorder::open(memory, budgets, SNAPS, 77);
        assert_eq!(opened, Opened::Reset);
        assert_eq!(recorder.state(Store::Bulk).recorded, 0);
        let gaps = recorder.gaps(0);
        assert_eq!(gaps.len(), 1);
        assert_eq!(super::super::GapKind::name(gaps[0].kind), "recorder_reset");
    }

    #[test]
    fn a_slow_reader_knows_what_it_missed() {
        let (mut recorder, _) = open(memory());
        for number in 0..1_000u64 {
            put(&mut recorder, Store::Bulk, number, &[1; 60]);
        }
        let mut cursor = Cursor::new(&recorder, &Store::ALL, From::Oldest, u64::MAX, true);
        let mut read = 0;
        for _ in 0..10 {
            assert_eq!(cursor.next(&recorder, u64::MAX).unwrap().time_ns, read);
            read += 1;
        }
        for number in 1_000..40_000u64 {
            put(&mut recorder, Store::Bulk, number, &[1; 60]);
        }
        cursor.refresh(&recorder);
        let next = cursor.next(&recorder, u64::MAX).unwrap().time_ns;
        assert_eq!(cursor.missed(), next - read);
        let rest = std::iter::from_fn(|| cursor.next(&recorder, u64::MAX)).count() as u64;
        assert_eq!(read + cursor.missed() + 1 + rest, 40_000);
        put(&mut recorder, Store::Bulk, 40_000, &[1; 60]);
        assert_eq!(cursor.next(&recorder, 39_999).map(|r| r.time_ns), None);
        assert_eq!(
            cursor.next(&recorder, 40_000).map(|r| r.time_ns),
            Some(40_000)
        );
    }

    #[test]
    fn since_until_and_now() {
        let (mut recorder, _) = open(memory());
        for number in 0..10_000u64 {
            put(&mut recorder, Store::Icmp, number, &[1; 60]);
        }
        let oldest = recorder.state(Store::Icmp).evicted;
        assert!(oldest < 9_000);
        let mut cursor = Cursor::new(&recorder, &Store::ALL, From::Since(9_000), 9_004, false);
        let times: Vec<u64> =
            std::iter::from_fn(|| cursor.next(&recorder, u64::MAX).map(|r| r.time_ns)).collect();
        assert_eq!(times, [9_000, 9_001, 9_002, 9_003, 9_004]);
        let mut cursor = Cursor::new(&recorder, &Store::ALL, From::Now, u64::MAX, true);
        assert!(cursor.next(&recorder, u64::MAX).is_none());
        put(&mut recorder, Store::Icmp, 10_000, &[1; 60]);
        assert_eq!(cursor.next(&recorder, u64::MAX).unwrap().time_ns, 10_000);
    }

    #[test]
    fn a_reader_continues_behind_a_number() {
        let (mut recorder, _) = open(memory());
        for number in 0..40_000u64 {
            put(&mut recorder, Store::Icmp, number, &[1; 60]);
        }
        let evicted = recorder.state(Store::Icmp).evicted;
        assert!(evicted > 1_000 && evicted < 39_000);
        for wanted in [evicted, evicted + 1, 39_000, 39_999, 40_000, 50_000] {
            let stores = [Store::Icmp];
            let mut cursor = Cursor::new(&recorder, &stores, From::Oldest, u64::MAX, true);
            cursor.skip_to(&recorder, Store::Icmp, wanted);
            let found: Vec<_> = std::iter::from_fn(|| cursor.next(&recorder, u64::MAX))
                .map(|record| (record.number, record.time_ns))
                .collect();
            assert_eq!(found, (wanted..40_000).map(|n| (n, n)).collect::<Vec<_>>());
            assert_eq!(cursor.missed(), 0);
        }
        let mut cursor = Cursor::new(&recorder, &[Store::Icmp], From::Oldest, u64::MAX, true);
        cursor.skip_to(&recorder, Store::Icmp, 0);
        assert_eq!(cursor.next(&recorder, u64::MAX).unwrap().number, evicted);
        assert_eq!(cursor.missed(), evicted);
    }

    #[test]
    fn tags_go_back_in() {
        let (mut recorder, _) = open(memory());
        let meta = Meta {
            time_ns: 1,
            original_length: 64,
            interface: (0, 1),
            link: LinkType::Ethernet,
            direction: Direction::ToUs,
            checksum: Checksum::NotReady,
            tag: Some((0x8100, 100)),
        };
        let frame: Vec<u8> = (0..60).collect();
        recorder.append(Store::Icmp, &meta, &frame);
        let mut cursor = Cursor::new(&recorder, &Store::ALL, From::Oldest, u64::MAX, false);
        let record = cursor.next(&recorder, u64::MAX).unwrap();
        assert_eq!(record.bytes.len(), 64);
        assert_eq!(&record.bytes[..12], &frame[..12]);
        assert_eq!(&record.bytes[12..16], &[0x81, 0, 0, 100]);
        assert_eq!(&record.bytes[16..], &frame[12..]);
        assert_eq!(record.checksum, Checksum::NotReady);
    }
}
