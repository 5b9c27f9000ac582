//! PURE. pcapng writer (draft-ietf-opsawg-pcapng), little endian, into a byte buffer. It keeps everything
//! that the record knows about a packet, and declares what is missing.

use super::class::Store;
use crate::wire::{Checksum, Direction};

pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
pub(super) const ENHANCED: u32 = 6;

pub(super) const OPT_END: u16 = 0;
pub(super) const OPT_FLAGS: u16 = 2;
/// Option with a comment.
pub const OPT_COMMENT: u16 = 1;

/// Option of a packet that stands for others: [`SAMPLE_MARK`] and their number, 8 bytes in little endian. Codes with
/// the highest bit are for local use, and readers skip those that they do not know.
pub const OPT_STANDS_FOR: u16 = 0x8040;
/// Option with the number of a packet, 8 bytes in little endian: its store in the highest byte, and in the others
/// the packets recorded there before it.
pub const OPT_PACKET_ID: u16 = 5;
/// Start of the value of [`OPT_STANDS_FOR`], since anybody may use the code.
pub const SAMPLE_MARK: &[u8; 8] = b"netsonde";

/// Comment at the end of the packets of a disk: without it they were cut off.
pub const END_OF_DISK: &str = "netsonde: end of the packets on disk";

/// Maximum length of a comment in bytes; options have a 16-bit length.
pub(super) const COMMENT_MAX: usize = 4096;

/// A pcapng section being written. Interfaces are numbered in the order of [`Writer::interface`].
#[derive(Default)]
pub struct Writer {
    /// The encoded blocks. The caller drains them.
    pub buffer: Vec<u8>,
    interfaces: u32,
}

/// Statistics of an interface (ISB). Unknown values are omitted.
#[derive(Clone, Debug, Default)]
pub struct Statistics<'a> {
    /// Number of the interface in this section.
    pub interface: u32,
    /// Time of the statistics, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Start of the capture, nanoseconds since 1970.
    pub start_ns: Option<u64>,
    /// End of the capture, in nanoseconds since 1970.
    pub end_ns: Option<u64>,
    /// Packets that the interface received or sent.
    pub received: Option<u64>,
    /// Packets dropped for lack of space.
    pub dropped: Option<u64>,
    /// Packets that the filter accepted.
    pub accepted: Option<u64>,
    /// Packets delivered to the user.
    pub delivered: Option<u64>,
    /// Comments.
    pub comments: &'a [String],
}

/// Counts of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Packets missing before it.
    pub missing: u64,
    /// Packets that it stands for, itself included.
    pub stands_for: u64,
    /// Value of [`OPT_PACKET_ID`], if the reader asked for it.
    pub id: Option<u64>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            missing: 0,
            stands_for: 1,
            id: None,
        }
    }
}

/// Returns the comment on a packet of a sample.
pub fn sample_comment(stands_for: u64) -> String {
    format!("netsonde: 1 of {stands_for}")
}

/// Part of the comments that say of which times a store has a sample.
pub const SAMPLE_NOTE: &str = ": a sample from ";

/// Returns whether a comment says that packets were thinned.
pub fn is_of_sample(comment: &str) -> bool {
    comment.starts_with("netsonde: store ") && comment.contains(SAMPLE_NOTE)
}

/// Returns the value of [`OPT_PACKET_ID`] for a packet with a number in a store.
pub fn packet_id(store: Store, number: u64) -> u64 {
    (store as u64) << 56 | number & ((1 << 56) - 1)
}

/// Returns the store and the number of a packet from the value of [`OPT_PACKET_ID`].
pub fn read_packet_id(id: u64) -> Option<(Store, u64)> {
    let store = *Store::ALL.get((id >> 56) as usize)?;
    Some((store, id & ((1 << 56) - 1)))
}

/// Returns the number of packets that a packet stands for, from the value of an option [`OPT_STANDS_FOR`].
pub fn read_stands_for(value: &[u8]) -> Option<u64> {
    let number = value.strip_prefix(SAMPLE_MARK)?.first_chunk()?;
    Some(u64::from_le_bytes(*number).max(1))
}

impl Writer {
    fn u16(&mut self, value: u16) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn pad(&mut self) {
        while !self.buffer.len().is_multiple_of(4) {
            self.buffer.push(0);
        }
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(COMMENT_MAX)];
        self.u16(code);
        self.u16(value.len() as u16);
        self.buffer.extend_from_slice(value);
        self.pad();
    }

    fn option_u64(&mut self, code: u16, value: u64) {
        self.option(code, &value.to_le_bytes());
    }

    /// Timestamps in options are two 32-bit halves, high half first, in the resolution of the interface.
    fn option_time(&mut self, code: u16, ns: u64) {
        let mut halves = [0; 8];
        halves[..4].copy_from_slice(&((ns >> 32) as u32).to_le_bytes());
        halves[4..].copy_from_slice(&(ns as u32).to_le_bytes());
        self.option(code, &halves);
    }

    fn comments(&mut self, comments: &[String]) {
        for comment in comments {
            let mut end = comment.len().min(COMMENT_MAX);
            while !comment.is_char_boundary(end) {
                end -= 1;
            }
            self.option(OPT_COMMENT, &comment.as_bytes()[..end]);
        }
    }

    fn begin(&mut self, kind: u32) -> usize {
        let start = self.buffer.len();
        self.u32(kind);
        self.u32(0);
        start
    }

    fn finish(&mut self, start: usize) {
        let length = (self.buffer.len() - start + 4) as u32;
        self.u32(length);
        self.buffer[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    }

    /// Writes the section header: application, operating system and comments.
    pub fn section(&mut self, application: &str, system: &str, comments: &[String]) {
        let start = self.begin(SECTION);
        self.u32(0x1a2b_3c4d);
        self.u16(1);
        self.u16(0);
        self.buffer.extend_from_slice(&u64::MAX.to_le_bytes());
        self.option(3, system.as_bytes());
        self.option(4, application.as_bytes());
        self.comments(comments);
        self.option(OPT_END, &[]);
        self.finish(start);
    }

    /// Returns whether an interface has been described. Without one a file has no link type, and
    /// readers of libpcap refuse it.
    pub fn has_interface(&self) -> bool {
        self.interfaces > 0
    }

    /// Writes an interface description and returns the number of the interface. `link` is its
    /// LINKTYPE_ number, `snap` the snap length in bytes (0: no limit). Timestamps are in nanoseconds.
    pub fn interface(
        &mut self,
        link: u16,
        snap: u32,
        name: Option<&str>,
        filter: Option<&str>,
    ) -> u32 {
        let start = self.begin(INTERFACE);
        self.u16(link);
        self.u16(0);
        self.u32(snap);
        if let Some(name) = name {
            self.option(2, name.as_bytes());
        }
        self.option(9, &[9]);
        if let Some(filter) = filter {
            // First byte 0: the filter is a pcap-filter expression.
            let mut text = vec![0];
            text.extend_from_slice(filter.as_bytes());
            self.option(11, &text);
        }
        self.option(12, b"Linux");
        self.option(OPT_END, &[]);
        self.finish(start);
        self.interfaces += 1;
        self.interfaces - 1
    }

    /// Writes a packet with its flags.
    #[inline]
    pub fn packet(
        &mut self,
        interface: u32,
        time_ns: u64,
        bytes: &[u8],
        original_length: u32,
        direction: Direction,
        checksum: Checksum,
    ) {
        let padded = bytes.len().next_multiple_of(4);
        let total = (32 + padded + 12) as u32;
        self.buffer.reserve(total as usize);
        let mut head = [0u8; 28];
        for (place, value) in head.chunks_exact_mut(4).zip([
            ENHANCED,
            total,
            interface,
            (time_ns >> 32) as u32,
            time_ns as u32,
            bytes.len() as u32,
            original_length,
        ]) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(bytes);
        self.buffer
            .extend_from_slice(&[0; 3][..padded - bytes.len()]);
        let mut tail = [0u8; 16];
        tail[0..2].copy_from_slice(&2u16.to_le_bytes());
        tail[2..4].copy_from_slice(&4u16.to_le_bytes());
        tail[4..8].copy_from_slice(&flags(direction, checksum).to_le_bytes());
        // The end of options is four zero bytes.
        tail[12..].copy_from_slice(&total.to_le_bytes());
        self.buffer.extend_from_slice(&tail);
    }

    /// Writes a packet with its flags, its counts, and comments. One of a sample gets a comment that says so, unless
    /// it has it already.
    #[allow(clippy::too_many_arguments)] // One for each field of the block.
    pub fn packet_with(
        &mut self,
        interface: u32,
        time_ns: u64,
        bytes: &[u8],
        original_length: u32,
        direction: Direction,
        checksum: Checksum,
        counts: Counts,
        comments: &[String],
    ) {
        let start = self.begin(ENHANCED);
        self.u32(interface);
        self.u32((time_ns >> 32) as u32);
        self.u32(time_ns as u32);
        self.u32(bytes.len() as u32);
        self.u32(original_length);
        self.buffer.extend_from_slice(bytes);
        self.pad();
        self.option(OPT_FLAGS, &flags(direction, checksum).to_le_bytes());
        if counts.missing > 0 {
            self.option_u64(4, counts.missing);
        }
        if let Some(id) = counts.id {
            self.option_u64(OPT_PACKET_ID, id);
        }
        if counts.stands_for > 1 {
            let mut value = [0; 16];
            value[..8].copy_from_slice(SAMPLE_MARK);
            value[8..].copy_from_slice(&counts.stands_for.to_le_bytes());
            self.option(OPT_STANDS_FOR, &value);
            let comment = sample_comment(counts.stands_for);
            if !comments.contains(&comment) {
                self.comments(&[comment]);
            }
        }
        self.comments(comments);
        self.option(OPT_END, &[]);
        self.finish(start);
    }

    /// Writes statistics of an interface.
    pub fn statistics(&mut self, of: &Statistics<'_>) {
        let start = self.begin(STATISTICS);
        self.u32(of.interface);
        self.u32((of.time_ns >> 32) as u32);
        self.u32(of.time_ns as u32);
        self.comments(of.comments);
        for (code, time) in [(2, of.start_ns), (3, of.end_ns)] {
            if let Some(ns) = time {
                self.option_time(code, ns);
            }
        }
        for (code, count) in [
            (4, of.received),
            (5, of.dropped),
            (6, of.accepted),
            (8, of.delivered),
        ] {
            if let Some(count) = count {
                self.option_u64(code, count);
            }
        }
        self.option(OPT_END, &[]);
        self.finish(start);
    }
}

/// Sets the state of the checksum in the value of epb_flags.
pub(super) fn with_checksum(flags: u32, checksum: Checksum) -> u32 {
    flags & !(3 << 9) | checksum_flags(checksum)
}

/// Returns the state of the checksum from the value of epb_flags.
pub(super) fn checksum_of(flags: u32) -> Checksum {
    match flags >> 9 & 3 {
        0 => Checksum::Unknown,
        1 => Checksum::NotReady,
        2 => Checksum::Valid,
        _ => Checksum::Bad,
    }
}

fn checksum_flags(checksum: Checksum) -> u32 {
    match checksum {
        Checksum::Unknown => 0,
        Checksum::NotReady => 1 << 9,
        Checksum::Valid => 1 << 10,
        Checksum::Bad => 3 << 9,
    }
}

/// epb_flags: bits 0-1 direction (1 in, 2 out), bits 2-4 reception (1 unicast, 2 multicast,
/// 3 broadcast, 4 promiscuous), bit 9 checksum not ready, bit 10 checksum valid, both: wrong.
fn flags(direction: Direction, checksum: Checksum) -> u32 {
    checksum_flags(checksum)
        | match direction {
            Direction::Unknown => 0,
            Direction::ToUs => 1 | 1 << 2,
            Direction::Multicast => 1 | 2 << 2,
            Direction::Broadcast => 1 | 3 << 2,
            Direction::ToOther => 1 | 4 << 2,
            Direction::Outbound => 2,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 42-byte packet is padded by two; the block is 32 + 44 + 12 bytes.
    #[test]
    fn enhanced_packet_byte_by_byte() {
        let mut writer = Writer::default();
        writer.packet(
            1,
            0x0102_0304_0506_0708,
            &[0xaa; 42],
            99,
            Direction::Broadcast,
            Checksum::Unknown,
        );
        let mut expected = vec![6, 0, 0, 0, 88, 0, 0, 0, 1, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5];
        expected.extend_from_slice(&[42, 0, 0, 0, 99, 0, 0, 0]);
        expected.extend_from_slice(&[0xaa; 42]);
        expected.extend_from_slice(&[0, 0, 2, 0, 4, 0, 13, 0, 0, 0, 0, 0, 0, 0, 88, 0, 0, 0]);
        assert_eq!(writer.buffer, expected);
        let mut same = Writer::default();
        let time = 0x0102_0304_0506_0708;
        same.packet_with(
            1,
            time,
            &[0xaa; 42],
            99,
            Direction::Broadcast,
            Checksum::Unknown,
            Counts::default(),
            &[],
        );
        assert_eq!(same.buffer, expected);
    }

    #[test]
    fn blocks_are_aligned_and_framed() {
        let mut writer = Writer::default();
        writer.section("netsonde", "Linux", &["ä".repeat(5000)]);
        assert_eq!(writer.interface(1, 0, Some("e0"), Some("udp")), 0);
        assert_eq!(writer.interface(101, 0, Some("tun0"), None), 1);
        let gone = ["3 packets were evicted".to_owned()];
        writer.packet_with(
            0,
            5,
            b"abc",
            3,
            Direction::ToUs,
            Checksum::NotReady,
            Counts {
                missing: 3,
                stands_for: 64,
                id: Some(1 << 56 | 9),
            },
            &gone,
        );
        writer.statistics(&Statistics {
            interface: 1,
            received: Some(7),
            dropped: Some(1),
            start_ns: Some(1),
            ..Statistics::default()
        });
        let mut rest = &writer.buffer[..];
        let mut kinds = vec![];
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let length = word(4) as usize;
            assert!(length.is_multiple_of(4));
            assert_eq!(word(length - 4) as usize, length);
            kinds.push(word(0));
            rest = &rest[length..];
        }
        assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, ENHANCED, STATISTICS]);
    }
}
