//! PURE. Blocks of pcapng as [`Writer`](super::pcapng::Writer) writes them: little endian, times in nanoseconds. For
//! programs that pass packets on without decoding them; capture files of others are for the client's reader.

use super::class::Store;
use super::headers;
use super::pcapng::{
    COMMENT_MAX, ENHANCED, INTERFACE, OPT_COMMENT, OPT_END, OPT_FLAGS, OPT_PACKET_ID, SECTION,
    checksum_of, read_packet_id, with_checksum,
};
use crate::wire::glance::glance;
use crate::wire::{Frame, LinkType, linktype};

/// Option with the number of packets missing before a packet.
const OPT_DROPPED: u16 = 4;
/// Bytes of an enhanced packet block before the packet: type, length, interface, time, two lengths.
const PACKET_HEAD: usize = 28;
/// Bytes of a section header before its options: type, length, byte order, version, length of the section.
const SECTION_HEAD: usize = 24;
/// Maximum length of a block: hundreds of times the largest packet, as for the client's reader.
pub const BLOCK_MAX: usize = 16 << 20;

/// Bytes that are not blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// A whole block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Block<'a> {
    /// Section header. Interfaces are numbered from 0 again behind it.
    Section(&'a [u8]),
    /// Interface description.
    Interface(&'a [u8]),
    /// Packet.
    Packet(PacketBlock<'a>),
    /// Statistics, and blocks of other types.
    Other,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Takes the first block from `bytes`; `None` if it is not whole yet.
///
/// # Errors
///
/// The bytes are not a block.
pub fn next<'a>(bytes: &mut &'a [u8]) -> Result<Option<Block<'a>>, Damaged> {
    let Some(length) = u32_at(bytes, 4).map(|length| length as usize) else {
        return Ok(None);
    };
    if !(12..=BLOCK_MAX).contains(&length) || !length.is_multiple_of(4) {
        return Err(Damaged);
    }
    let Some((block, rest)) = bytes.split_at_checked(length) else {
        return Ok(None);
    };
    if u32_at(block, length - 4) != Some(length as u32) {
        return Err(Damaged);
    }
    *bytes = rest;
    let parsed = match u32_at(block, 0) {
        Some(SECTION) => Block::Section(block),
        Some(INTERFACE) => Block::Interface(block),
        Some(ENHANCED) => Block::Packet(PacketBlock::read(block).ok_or(Damaged)?),
        _ => Block::Other,
    };
    Ok(Some(parsed))
}

/// Returns the link type of an interface description of the service.
pub fn link_of(interface: &[u8]) -> LinkType {
    u16_at(interface, 8).map_or(LinkType::Other, linktype::of_interface)
}

/// Appends a section header to `to`, with one more comment behind its options.
pub fn write_section(section: &[u8], to: &mut Vec<u8>, comment: &str) {
    let start = to.len();
    to.extend_from_slice(section.get(..SECTION_HEAD).unwrap_or_default());
    for (code, value) in Options::of_section(section) {
        push_option(to, code, value);
    }
    push_option(to, OPT_COMMENT, comment.as_bytes());
    push_option(to, OPT_END, &[]);
    finish(to, start);
}

fn push_option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    to.extend_from_slice(&code.to_le_bytes());
    to.extend_from_slice(&(value.len() as u16).to_le_bytes());
    to.extend_from_slice(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Ends the block that begins at `start`.
fn finish(to: &mut Vec<u8>, start: usize) {
    let length = (to.len() - start + 4) as u32;
    to.extend_from_slice(&length.to_le_bytes());
    to[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
}

/// Options of a block, until the end of options or the first damaged one.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Options of a section header.
    pub fn of_section(block: &'a [u8]) -> Options<'a> {
        Options(block.get(SECTION_HEAD..block.len() - 4).unwrap_or_default())
    }

    /// Options of an interface description.
    pub fn of_interface(block: &'a [u8]) -> Options<'a> {
        Options(block.get(16..block.len() - 4).unwrap_or_default())
    }

    /// Returns the comments.
    pub fn comments(self) -> impl Iterator<Item = &'a str> {
        self.filter(|(code, _)| *code == OPT_COMMENT)
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let code = u16_at(self.0, 0).filter(|code| *code != OPT_END)?;
        let length = usize::from(u16_at(self.0, 2)?);
        let value = self.0.get(4..4 + length)?;
        self.0 = self.0.get(4 + length.next_multiple_of(4)..)?;
        Some((code, value))
    }
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PacketBlock<'a> {
    /// Number of the interface in its section.
    pub interface: u32,
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// The packet, as far as it was recorded.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub original_length: u32,
    block: &'a [u8],
    /// Offset of the options.
    options: usize,
}

impl<'a> PacketBlock<'a> {
    fn read(block: &'a [u8]) -> Option<PacketBlock<'a>> {
        let captured = u32_at(block, 20)? as usize;
        let options = PACKET_HEAD + captured.next_multiple_of(4);
        (options + 4 <= block.len()).then_some(())?;
        Some(PacketBlock {
            bytes: block.get(PACKET_HEAD..PACKET_HEAD + captured)?,
            original_length: u32_at(block, 24)?,
            interface: u32_at(block, 8)?,
            time_ns: u64::from(u32_at(block, 12)?) << 32 | u64::from(u32_at(block, 16)?),
            block,
            options,
        })
    }

    /// Returns the options.
    pub fn options(&self) -> Options<'a> {
        let end = self.block.len() - 4;
        Options(self.block.get(self.options..end).unwrap_or_default())
    }

    /// Returns the store and the number of the packet, if the reader asked for numbers.
    pub fn id(&self) -> Option<(Store, u64)> {
        let mut options = self.options();
        let (_, value) = options.find(|(code, _)| *code == OPT_PACKET_ID)?;
        read_packet_id(u64::from_le_bytes(value.try_into().ok()?))
    }

    /// Returns the number of packets missing before it.
    pub fn dropped(&self) -> u64 {
        let mut options = self.options();
        let found = options.find(|(code, _)| *code == OPT_DROPPED);
        let bytes = found.and_then(|(_, value)| value.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    fn flags(&self) -> u32 {
        let mut options = self.options();
        let found = options.find(|(code, _)| *code == OPT_FLAGS);
        let bytes = found.and_then(|(_, value)| value.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    }

    /// Appends the packet to `to` with the number that its interface has there, with those comments and other
    /// options that `keep` accepts, and with more comments. `missing` packets are missing before it.
    pub fn write(
        &self,
        to: &mut Vec<u8>,
        interface: u32,
        keep: impl Fn(u16, &[u8]) -> bool,
        missing: u64,
        comments: &[String],
    ) {
        let all = (self.bytes.len(), self.flags());
        self.write_part(to, interface, all, keep, missing, comments);
    }

    /// The same of its headers only, as the service gives them: see [`headers`]. `link` is the link type of its
    /// interface.
    pub fn write_headers(
        &self,
        link: LinkType,
        to: &mut Vec<u8>,
        interface: u32,
        keep: impl Fn(u16, &[u8]) -> bool,
        missing: u64,
        comments: &[String],
    ) {
        let whole = Frame {
            link,
            bytes: self.bytes,
            original_length: self.original_length,
            checksum: checksum_of(self.flags()),
        };
        let length = headers::length(link, self.bytes, &glance(link, self.bytes));
        let flags = with_checksum(self.flags(), headers::checksum(&whole));
        self.write_part(to, interface, (length, flags), keep, missing, comments);
    }

    fn write_part(
        &self,
        to: &mut Vec<u8>,
        interface: u32,
        (length, flags): (usize, u32),
        keep: impl Fn(u16, &[u8]) -> bool,
        missing: u64,
        comments: &[String],
    ) {
        let start = to.len();
        to.extend_from_slice(&self.block[..PACKET_HEAD]);
        to[start + 8..start + 12].copy_from_slice(&interface.to_le_bytes());
        to[start + 20..start + 24].copy_from_slice(&(length as u32).to_le_bytes());
        to.extend_from_slice(&self.bytes[..length]);
        to.resize(to.len().next_multiple_of(4), 0);
        for (code, value) in self.options() {
            match code {
                OPT_DROPPED => {}
                OPT_FLAGS => push_option(to, code, &flags.to_le_bytes()),
                _ if keep(code, value) => push_option(to, code, value),
                _ => {}
            }
        }
        if missing > 0 {
            push_option(to, OPT_DROPPED, &missing.to_le_bytes());
        }
        for comment in comments {
            let mut end = comment.len().min(COMMENT_MAX);
            while !comment.is_char_boundary(end) {
                end -= 1;
            }
            push_option(to, OPT_COMMENT, &comment.as_bytes()[..end]);
        }
        push_option(to, OPT_END, &[]);
        finish(to, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::pcapng::{Counts, Writer, packet_id};
    use crate::wire::{Checksum, Direction};

    fn written() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.section("netsonde", "Linux", &["first".into(), "second".into()]);
        writer.interface(1, 0, Some("e0"), None);
        writer.packet_with(
            0,
            0x0102_0304_0506_0708,
            b"abcde",
            9,
            Direction::ToUs,
            Checksum::Valid,
            Counts {
                missing: 3,
                stands_for: 64,
                id: Some(packet_id(Store::Names, 77)),
            },
            &["gone".into()],
        );
        writer.buffer
    }

    #[test]
    fn blocks_are_read_and_written_as_they_are() {
        let bytes = written();
        let mut rest = &bytes[..];
        let Some(Block::Section(section)) = next(&mut rest).unwrap() else {
            panic!("no section");
        };
        let comments: Vec<&str> = Options::of_section(section).comments().collect();
        assert_eq!(comments, ["first", "second"]);
        let Some(Block::Interface(interface)) = next(&mut rest).unwrap() else {
            panic!("no interface");
        };
        let name = Options::of_interface(interface).find(|(code, _)| *code == 2);
        assert_eq!(name, Some((2, &b"e0"[..])));
        let block = rest;
        let Some(Block::Packet(packet)) = next(&mut rest).unwrap() else {
            panic!("no packet");
        };
        assert_eq!(packet.id(), Some((Store::Names, 77)));
        assert_eq!(packet.time_ns, 0x0102_0304_0506_0708);
        assert_eq!(packet.dropped(), 3);
        assert!(rest.is_empty());
        let mut same = Vec::new();
        packet.write(&mut same, 0, |_, _| true, 3, &[]);
        assert_eq!(same.len(), block.len());
        let mut other = Vec::new();
        packet.write(
            &mut other,
            7,
            |code, _| code != OPT_COMMENT,
            0,
            &["new".into()],
        );
        let mut rest = &other[..];
        let Some(Block::Packet(packet)) = next(&mut rest).unwrap() else {
            panic!("no packet");
        };
        assert_eq!((packet.interface, packet.dropped()), (7, 0));
        assert_eq!(packet.options().comments().collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn cut_and_damaged_blocks_are_found() {
        let bytes = written();
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            while let Some(_whole) = next(&mut rest).unwrap() {}
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            let mut rest = &damaged[..];
            while let Ok(Some(block)) = next(&mut rest) {
                if let Block::Packet(packet) = block {
                    let _ = (packet.id(), packet.options().count());
                }
            }
        }
    }
}
