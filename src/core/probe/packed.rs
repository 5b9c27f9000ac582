//! PURE. Fates of probes as a stream of bytes, for programs that follow many targets: 32 bytes a probe,
//! where a JSON object takes 200 and ten times the work.
//!
//! The stream consists of batches, each a header of 32 bytes and `count` entries of 32 bytes. Numbers are
//! little-endian, times are nanoseconds.
//!
//! | header at | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic: `nsfates` and a zero byte |
//! | 8 | 2 | version, 1 |
//! | 10 | 2 | bytes of an entry, 32 |
//! | 12 | 4 | number of entries, at most 4096 |
//! | 16 | 8 | entries lost so far in this run, because the reader was too slow |
//! | 24 | 8 | when the batch was written, since 1970 |
//!
//! | entry at | bytes | content |
//! |---|---|---|
//! | 0 | 4 | slot of the target: its place among the targets of the run, from 0 |
//! | 4 | 4 | sequence number of the probe among those to this target, from 1 |
//! | 8 | 8 | send time, since 1970 |
//! | 16 | 4 | round trip, as `rtt_ns`: 2^32-1 if there is none, 2^32-2 if it is that long or longer |
//! | 20 | 4 | round trip on the wire, as `wire_rtt_ns`; likewise |
//! | 24 | 1 | number of the fate, 0 to 8 |
//! | 25 | 1 | flags: 1 another fate was reported first, 2 the reply or error came from another address, 4 the request left in fragments |
//! | 26 | 6 | zero |

use super::Fate;

/// Size of a header and of an entry, in bytes.
pub const UNIT: usize = 32;
/// Maximum number of entries of a batch.
pub const MAX_ENTRIES: usize = 4096;
const MAGIC: &[u8; 8] = b"nsfates\0";
const VERSION: u16 = 1;
const NO_DURATION: u32 = u32::MAX;
const MAX_DURATION: u32 = u32::MAX - 1;
const IS_REVISED: u8 = 1;
const IS_ELSEWHERE: u8 = 2;
const IS_FRAGMENTED: u8 = 4;

/// The fate of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place of the target among those of the run, from 0.
    pub slot: u32,
    /// Sequence number among the probes to this target, from 1.
    pub sequence: u32,
    /// Send time in nanoseconds since 1970.
    pub sent_ns: u64,
    /// Round trip as ping measures it, in nanoseconds; `None` if there is none.
    pub rtt_ns: Option<u32>,
    /// Round trip on the wire, in nanoseconds; `None` if there is none.
    pub wire_rtt_ns: Option<u32>,
    /// The fate.
    pub fate: Fate,
    /// Whether another fate was reported before, in an entry of its own, and this one replaces it.
    pub is_revised: bool,
    /// Whether the reply or error came from another address than the target's.
    pub is_elsewhere: bool,
    /// Whether the request left this host in fragments.
    pub is_fragmented: bool,
}

/// Returns a duration as entries have it, at most 4.29 s.
pub fn saturated(ns: u64) -> u32 {
    u32::try_from(ns).unwrap_or(MAX_DURATION).min(MAX_DURATION)
}

fn number<const N: usize>(bytes: &[u8; UNIT], at: usize) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&bytes[at..at + N]);
    number
}

fn duration(bytes: &[u8; UNIT], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(number(bytes, at))).filter(|ns| *ns != NO_DURATION)
}

impl Entry {
    /// Returns the entry as bytes.
    pub fn encode(&self) -> [u8; UNIT] {
        let mut bytes = [0; UNIT];
        bytes[..4].copy_from_slice(&self.slot.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sent_ns.to_le_bytes());
        for (at, ns) in [(16, self.rtt_ns), (20, self.wire_rtt_ns)] {
            let ns = ns.map_or(NO_DURATION, |ns| ns.min(MAX_DURATION));
            bytes[at..at + 4].copy_from_slice(&ns.to_le_bytes());
        }
        bytes[24] = self.fate.number();
        for (flag, is_set) in [
            (IS_REVISED, self.is_revised),
            (IS_ELSEWHERE, self.is_elsewhere),
            (IS_FRAGMENTED, self.is_fragmented),
        ] {
            bytes[25] |= if is_set { flag } else { 0 };
        }
        bytes
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// If a number has no meaning in this version.
    pub fn decode(bytes: &[u8; UNIT]) -> Result<Entry, Invalid> {
        let (fate, flags) = (bytes[24], bytes[25]);
        if flags & !(IS_REVISED | IS_ELSEWHERE | IS_FRAGMENTED) != 0 || bytes[26..] != [0; 6] {
            return Err(Invalid::Flags);
        }
        let sequence = u32::from_le_bytes(number(bytes, 4));
        if sequence == 0 {
            return Err(Invalid::Sequence);
        }
        Ok(Entry {
            slot: u32::from_le_bytes(number(bytes, 0)),
            sequence,
            sent_ns: u64::from_le_bytes(number(bytes, 8)),
            rtt_ns: duration(bytes, 16),
            wire_rtt_ns: duration(bytes, 20),
            fate: Fate::of_number(fate).ok_or(Invalid::Fate(fate))?,
            is_revised: flags & IS_REVISED != 0,
            is_elsewhere: flags & IS_ELSEWHERE != 0,
            is_fragmented: flags & IS_FRAGMENTED != 0,
        })
    }
}

/// Why bytes are no batch. The stream cannot be continued after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It does not begin with the magic bytes.
    #[error("it does not begin with the magic bytes of packed fates")]
    Magic,
    /// Its version is not known.
    #[error("version {0} of packed fates is not known, only {VERSION}")]
    Version(u16),
    /// Its entries have another size.
    #[error("entries of {0} bytes, not {UNIT}")]
    Size(u16),
    /// It claims more entries than a batch may have.
    #[error("{0} entries, more than {MAX_ENTRIES}")]
    Count(u32),
    /// A fate has no such number.
    #[error("no fate has the number {0}")]
    Fate(u8),
    /// A sequence number is 0.
    #[error("a sequence number is 0")]
    Sequence,
    /// A flag is not known, or a reserved byte is not zero.
    #[error("unknown flags, or reserved bytes that are not zero")]
    Flags,
    /// The stream ended inside a batch.
    #[error("the stream ended inside a batch")]
    Cut,
}

/// A batch of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries lost so far in this run, because the reader was too slow: the sequence numbers that its
    /// slots miss.
    pub lost: u64,
    /// When it was written, in nanoseconds since 1970.
    pub written_ns: u64,
    /// The entries, in the order of sending for each slot.
    pub entries: Vec<Entry>,
}

/// Appends the header of a batch of `count` entries, at most [`MAX_ENTRIES`], to bytes.
pub fn put_header(count: usize, lost: u64, written_ns: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(MAGIC);
    to.extend_from_slice(&VERSION.to_le_bytes());
    to.extend_from_slice(&(UNIT as u16).to_le_bytes());
    to.extend_from_slice(&(count as u32).to_le_bytes());
    to.extend_from_slice(&lost.to_le_bytes());
    to.extend_from_slice(&written_ns.to_le_bytes());
}

/// Returns number of entries, lost entries and time of a header.
fn header(bytes: &[u8; UNIT]) -> Result<(usize, u64, u64), Invalid> {
    if &bytes[..8] != MAGIC {
        return Err(Invalid::Magic);
    }
    match u16::from_le_bytes(number(bytes, 8)) {
        VERSION => {}
        other => return Err(Invalid::Version(other)),
    }
    match u16::from_le_bytes(number(bytes, 10)) {
        size if usize::from(size) == UNIT => {}
        other => return Err(Invalid::Size(other)),
    }
    let count = u32::from_le_bytes(number(bytes, 12));
    if count as usize > MAX_ENTRIES {
        return Err(Invalid::Count(count));
    }
    let lost = u64::from_le_bytes(number(bytes, 16));
    Ok((count as usize, lost, u64::from_le_bytes(number(bytes, 24))))
}

/// Reads batches from a stream that arrives in pieces. It holds what was pushed and not yet taken.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Appends bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Removes the next complete batch; `None` if more bytes are needed.
    ///
    /// # Errors
    /// If the stream is not one of packed fates, or has another version.
    pub fn take(&mut self) -> Result<Option<Batch>, Invalid> {
        let Some((first, rest)) = self.bytes.split_first_chunk::<UNIT>() else {
            return Ok(None);
        };
        let (count, lost, written_ns) = header(first)?;
        let Some(entries) = rest.get(..count * UNIT) else {
            return Ok(None);
        };
        let (entries, _) = entries.as_chunks::<UNIT>();
        let entries: Result<Vec<Entry>, Invalid> = entries.iter().map(Entry::decode).collect();
        let entries = entries?;
        self.bytes.drain(..(count + 1) * UNIT);
        Ok(Some(Batch {
            lost,
            written_ns,
            entries,
        }))
    }

    /// Checks that the stream ended after a complete batch.
    ///
    /// # Errors
    /// If it did not.
    pub fn end(&self) -> Result<(), Invalid> {
        match self.bytes.is_empty() {
            true => Ok(()),
            false => Err(Invalid::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let duration = || proptest::option::of(0..=MAX_DURATION);
        let flags = any::<[bool; 3]>();
        let place = (any::<u32>(), 1..=u32::MAX, any::<u64>());
        (place, duration(), duration(), 0..Fate::ALL.len(), flags).prop_map(
            |((slot, sequence, sent_ns), rtt_ns, wire_rtt_ns, fate, flags)| Entry {
                slot,
                sequence,
                sent_ns,
                rtt_ns,
                wire_rtt_ns,
                fate: Fate::ALL[fate],
                is_revised: flags[0],
                is_elsewhere: flags[1],
                is_fragmented: flags[2],
            },
        )
    }

    fn encoded(batch: &Batch) -> Vec<u8> {
        let mut bytes = vec![];
        put_header(
            batch.entries.len(),
            batch.lost,
            batch.written_ns,
            &mut bytes,
        );
        for entry in &batch.entries {
            bytes.extend_from_slice(&entry.encode());
        }
        bytes
    }

    fn sample() -> Entry {
        Entry {
            slot: 0x0403_0201,
            sequence: 7,
            sent_ns: 0x1817_1615_1413_1211,
            rtt_ns: Some(0x2423_2221),
            wire_rtt_ns: None,
            fate: Fate::DroppedInbound,
            is_revised: false,
            is_elsewhere: true,
            is_fragmented: true,
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let batch = Batch {
            lost: 5,
            written_ns: 6,
            entries: vec![sample()],
        };
        let expected = [
            &b"nsfates\0\x01\0\x20\0\x01\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0"[..],
            b"\x01\x02\x03\x04\x07\0\0\0\x11\x12\x13\x14\x15\x16\x17\x18",
            b"\x21\x22\x23\x24\xff\xff\xff\xff\x08\x06\0\0\0\0\0\0",
        ];
        assert_eq!(encoded(&batch), expected.concat());
    }

    #[test]
    fn long_durations_are_the_longest() {
        assert_eq!(saturated(4_294_967_293), 4_294_967_293);
        assert_eq!(saturated(4_294_967_295), MAX_DURATION);
        assert_eq!(saturated(u64::MAX), MAX_DURATION);
        let mut entry = sample();
        entry.rtt_ns = Some(u32::MAX);
        let back = Entry::decode(&entry.encode()).unwrap();
        assert_eq!(back.rtt_ns, Some(MAX_DURATION));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let batch = Batch {
            entries: vec![sample()],
            ..Batch::default()
        };
        let wrong = [
            (0, b'N', Invalid::Magic),
            (8, 2, Invalid::Version(2)),
            (10, 33, Invalid::Size(33)),
            (14, 1, Invalid::Count(65_537)),
            (36, 0, Invalid::Sequence),
            (56, 9, Invalid::Fate(9)),
            (57, 8, Invalid::Flags),
            (63, 1, Invalid::Flags),
        ];
        for (at, byte, why) in wrong {
            let mut bytes = encoded(&batch);
            bytes[at] = byte;
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            assert_eq!(decoder.take(), Err(why), "byte {at}");
        }
        let mut decoder = Decoder::default();
        decoder.push(&encoded(&batch)[..63]);
        assert_eq!(
            (decoder.take(), decoder.end()),
            (Ok(None), Err(Invalid::Cut))
        );
    }

    proptest! {
        #[test]
        fn batches_return_from_any_pieces(
            all in proptest::collection::vec(
                (any::<u64>(), any::<u64>(), proptest::collection::vec(any_entry(), 0..20)), 0..5),
            piece in 1usize..200,
        ) {
            let all: Vec<Batch> = all
                .into_iter()
                .map(|(lost, written_ns, entries)| Batch { lost, written_ns, entries })
                .collect();
            let bytes: Vec<u8> = all.iter().flat_map(encoded).collect();
            let (mut decoder, mut found) = (Decoder::default(), vec![]);
            for piece in bytes.chunks(piece) {
                decoder.push(piece);
                while let Some(batch) = decoder.take().unwrap() {
                    found.push(batch);
                }
            }
            prop_assert_eq!(decoder.end(), Ok(()));
            prop_assert_eq!(found, all);
        }

        #[test]
        fn no_bytes_harm(
            entries in proptest::collection::vec(any_entry(), 0..5),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut bytes = encoded(&Batch { entries, ..Batch::default() });
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [bytes, noise] {
                let mut decoder = Decoder::default();
                decoder.push(&bytes);
                if let Ok(Some(batch)) = decoder.take() {
                    let length = (batch.entries.len() + 1) * UNIT;
                    prop_assert_eq!(&encoded(&batch)[..], &bytes[..length]);
                }
            }
        }
    }
}
