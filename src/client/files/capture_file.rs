//! SHELL. Reads packets of a pcap or pcapng file, or of a live pipe that carries one: each packet as
//! soon as its block is there.

use std::io::Read;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGOption, create_reader};

use crate::client::files::input;
use netsonde_core::recorder::pcapng::{OPT_STANDS_FOR, read_stands_for};
use netsonde_core::wire::{Checksum, Direction, Frame, LinkType};

/// Initial size of the buffer, in bytes.
const BUFFER: usize = 1 << 20;
/// Maximum size of a block: hundreds of times the largest packet.
const BLOCK_MAX: usize = 16 << 20;

/// Why reading a capture file failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither pcap nor pcapng.
    #[error("not a pcap or pcapng file")]
    NotACapture,
    /// It ends within a block.
    #[error("truncated file: it ends within a block, {0} bytes in")]
    CutOff(u64),
    /// A block contradicts its header, or is larger than any packet.
    #[error("the block {0} bytes in is damaged, or larger than 16 MiB")]
    Damaged(u64),
    /// The operating system could not read it.
    #[error("cannot read further, {0} bytes in")]
    Read(u64),
}

/// A packet of a capture file.
#[derive(Clone, Debug, PartialEq)]
pub struct FilePacket {
    /// Time in nanoseconds since 1970; `None` in blocks without a timestamp.
    pub time_ns: Option<i128>,
    /// Link type of the bytes.
    pub link: LinkType,
    /// LINKTYPE_ number of the file.
    pub link_number: u32,
    /// Name of the interface, if the file has it.
    pub interface: Option<String>,
    /// Direction, if the file has it.
    pub direction: Direction,
    /// State of the transport checksum, if the file has it.
    pub checksum: Checksum,
    /// Length on the wire, in bytes.
    pub original_length: u32,
    /// Captured bytes.
    pub bytes: Vec<u8>,
    /// Comments on the packet.
    pub comments: Vec<String>,
    /// Number of packets missing before it.
    pub dropped: u64,
    /// Number of packets that it stands for, itself included: more than 1 if it is one of a sample.
    pub stands_for: u64,
}

impl FilePacket {
    /// Returns the frame, for decoding.
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            link: self.link,
            bytes: &self.bytes,
            original_length: self.original_length,
            checksum: self.checksum,
        }
    }
}

/// An item of a capture file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A packet.
    Packet(FilePacket),
    /// A comment on the section or on the statistics of an interface.
    Note(String),
}

struct Interface {
    link_number: u32,
    name: Option<String>,
    /// Timestamp units per second.
    resolution: u64,
    offset_s: i64,
}

/// A capture file that is being read.
pub struct CaptureFile<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    interfaces: Vec<Interface>,
    /// Timestamp units per second of a pcap file.
    legacy_resolution: u64,
    /// LINKTYPE_ number of a pcap file, after its header.
    legacy_link: Option<u32>,
    big_endian: bool,
    notes: Vec<String>,
    consumed: u64,
    capacity: usize,
    ended: bool,
}

/// Result of the parser, without its borrows.
enum Step {
    Got(usize, Option<Box<FilePacket>>),
    End,
    More,
    Failed(Error),
}

impl<'a> CaptureFile<'a> {
    /// Starts reading, also of a compressed file. Blocks until the first bytes arrive.
    pub fn new(source: impl Read + Send + 'a) -> Result<CaptureFile<'a>, Error> {
        let source = input::plain(source).map_err(|_| Error::Read(0))?;
        let reader = create_reader(
            BUFFER,
            Gathered {
                source,
                started: false,
            },
        )
        .map_err(|error| match error {
            PcapError::ReadError => Error::Read(0),
            _ => Error::NotACapture,
        })?;
        Ok(CaptureFile {
            reader,
            interfaces: Vec::new(),
            legacy_resolution: 1_000_000,
            legacy_link: None,
            big_endian: false,
            notes: Vec::new(),
            consumed: 0,
            capacity: BUFFER,
            ended: false,
        })
    }

    /// Returns link type number and name of each interface of the section, as far as it was read. A
    /// pcap file has one, without a name.
    pub fn interfaces(&self) -> Vec<(u32, Option<&str>)> {
        if let Some(link) = self.legacy_link {
            return vec![(link, None)];
        }
        let all = self.interfaces.iter();
        all.map(|one| (one.link_number, one.name.as_deref()))
            .collect()
    }

    /// Reads the next item. Returns `None` at the end.
    #[allow(clippy::should_implement_trait)] // It can fail, and then it is over.
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(note) = self.notes.pop() {
                return Ok(Some(Item::Note(note)));
            }
            let step = match self.reader.next() {
                Ok((length, block)) => {
                    let mut state = State {
                        interfaces: &mut self.interfaces,
                        legacy_resolution: &mut self.legacy_resolution,
                        legacy_link: &mut self.legacy_link,
                        big_endian: &mut self.big_endian,
                        notes: &mut self.notes,
                    };
                    Step::Got(length, state.take(block).map(Box::new))
                }
                Err(PcapError::Eof | PcapError::UnexpectedEof) => Step::End,
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => Step::More,
                Err(PcapError::ReadError) => Step::Failed(Error::Read(self.consumed)),
                Err(PcapError::HeaderNotRecognized) => Step::Failed(Error::NotACapture),
                Err(_) => Step::Failed(Error::Damaged(self.consumed)),
            };
            let (length, packet) = match step {
                Step::Got(length, packet) => (length, packet),
                Step::End => return self.at_end(),
                Step::Failed(error) => return Err(error),
                Step::More => {
                    self.read_more()?;
                    if self.ended {
                        return self.at_end();
                    }
                    continue;
                }
            };
            self.reader.consume(length);
            self.consumed += length as u64;
            if let Some(packet) = packet {
                return Ok(Some(Item::Packet(*packet)));
            }
        }
    }

    fn read_more(&mut self) -> Result<(), Error> {
        if self.reader.data().len() >= self.capacity && !self.grow() {
            return Err(Error::Damaged(self.consumed));
        }
        let outcome = match self.reader.refill() {
            Ok(()) => Ok(false),
            Err(PcapError::Eof) => Ok(true),
            Err(PcapError::BufferTooSmall) => Err(Error::Damaged(self.consumed)),
            Err(_) => Err(Error::Read(self.consumed)),
        };
        self.ended = outcome? || self.reader.reader_exhausted();
        Ok(())
    }

    fn grow(&mut self) -> bool {
        if self.capacity >= BLOCK_MAX {
            return false;
        }
        self.capacity *= 2;
        self.reader.grow(self.capacity)
    }

    fn at_end(&self) -> Result<Option<Item>, Error> {
        if self.reader.data().is_empty() {
            Ok(None)
        } else {
            Err(Error::CutOff(self.consumed))
        }
    }
}

/// The parser detects the format from the first read, which therefore must be long enough.
struct Gathered<R> {
    source: R,
    started: bool,
}

impl<R: Read> Read for Gathered<R> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        if self.started {
            return self.source.read(room);
        }
        self.started = true;
        let mut got = 0;
        let mut wanted = 24;
        while got < wanted.min(room.len()) {
            let end = wanted.min(room.len());
            match self.source.read(&mut room[got..end])? {
                0 => break,
                more => got += more,
            }
            if got >= 12 {
                wanted = first_block(&room[..12]);
            }
        }
        Ok(got)
    }
}

/// Length of the first block of a pcapng file, in its own byte order, or of the header of a pcap
/// file.
fn first_block(head: &[u8]) -> usize {
    match head {
        [0x0a, 0x0d, 0x0d, 0x0a, a, b, c, d, magic, ..] => {
            let length = [*a, *b, *c, *d];
            let little = *magic == 0x4d;
            (if little {
                u32::from_le_bytes(length)
            } else {
                u32::from_be_bytes(length)
            }) as usize
        }
        _ => 24,
    }
}

struct State<'s> {
    interfaces: &'s mut Vec<Interface>,
    legacy_resolution: &'s mut u64,
    legacy_link: &'s mut Option<u32>,
    big_endian: &'s mut bool,
    notes: &'s mut Vec<String>,
}

/// Maximum number of interfaces per section; more are not a capture.
const MOST_INTERFACES: usize = 65_536;

impl State<'_> {
    fn take(&mut self, block: PcapBlockOwned<'_>) -> Option<FilePacket> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let nano = matches!(header.magic_number, 0xa1b2_3c4d | 0x4d3c_b2a1);
                *self.legacy_resolution = if nano { 1_000_000_000 } else { 1_000_000 };
                // The upper bits hold whether a frame check sequence is present.
                *self.legacy_link = Some(header.network.0 as u32 & 0x03ff_ffff);
                None
            }
            PcapBlockOwned::Legacy(block) => {
                let link_number = self.legacy_link.unwrap_or(1);
                let per_unit = 1_000_000_000 / i128::from(*self.legacy_resolution);
                let time =
                    i128::from(block.ts_sec) * 1_000_000_000 + i128::from(block.ts_usec) * per_unit;
                Some(FilePacket {
                    time_ns: Some(time),
                    link: LinkType::from_linktype(link_number),
                    link_number,
                    interface: None,
                    direction: Direction::Unknown,
                    checksum: Checksum::Unknown,
                    original_length: block.origlen,
                    bytes: clipped(block.data, block.caplen).to_vec(),
                    comments: Vec::new(),
                    dropped: 0,
                    stands_for: 1,
                })
            }
            PcapBlockOwned::NG(block) => self.take_ng(block),
        }
    }

    fn take_ng(&mut self, block: Block<'_>) -> Option<FilePacket> {
        match block {
            Block::SectionHeader(section) => {
                self.interfaces.clear();
                *self.big_endian = section.bom != 0x1a2b_3c4d;
                self.note(&section.options);
                None
            }
            Block::InterfaceDescription(description) => {
                if self.interfaces.len() < MOST_INTERFACES {
                    self.interfaces.push(Interface {
                        link_number: description.linktype.0 as u32,
                        name: option_text(&description.options, 2),
                        resolution: description.ts_resolution().unwrap_or(1_000_000).max(1),
                        offset_s: description.ts_offset(),
                    });
                }
                None
            }
            Block::InterfaceStatistics(statistics) => {
                self.note(&statistics.options);
                None
            }
            Block::EnhancedPacket(packet) => {
                let interface = self.interfaces.get(packet.if_id as usize)?;
                let units = i128::from(packet.ts_high) << 32 | i128::from(packet.ts_low);
                let time = units * 1_000_000_000 / i128::from(interface.resolution)
                    + i128::from(interface.offset_s) * 1_000_000_000;
                let number = |code: u16| {
                    let option = packet.options.iter().find(|option| option.code.0 == code)?;
                    Some(self.number(&option.value))
                };
                Some(FilePacket {
                    time_ns: Some(time),
                    link: LinkType::from_linktype(interface.link_number),
                    link_number: interface.link_number,
                    interface: interface.name.clone(),
                    direction: direction(number(2).unwrap_or(0)),
                    checksum: checksum(number(2).unwrap_or(0)),
                    original_length: packet.origlen,
                    bytes: clipped(packet.data, packet.caplen).to_vec(),
                    comments: comments(&packet.options).collect(),
                    dropped: number(4).unwrap_or(0),
                    stands_for: stands_for(&packet.options),
                })
            }
            Block::SimplePacket(packet) => {
                let interface = self.interfaces.first()?;
                Some(FilePacket {
                    time_ns: None,
                    link: LinkType::from_linktype(interface.link_number),
                    link_number: interface.link_number,
                    interface: interface.name.clone(),
                    direction: Direction::Unknown,
                    checksum: Checksum::Unknown,
                    original_length: packet.origlen,
                    bytes: clipped(packet.data, packet.origlen).to_vec(),
                    comments: Vec::new(),
                    dropped: 0,
                    stands_for: 1,
                })
            }
            _ => None,
        }
    }

    /// An option of four or eight bytes, in the byte order of the section.
    fn number(&self, value: &[u8]) -> u64 {
        let bytes = value.iter().take(if value.len() >= 8 { 8 } else { 4 });
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if *self.big_endian {
            bytes.fold(0, join)
        } else {
            bytes.rev().fold(0, join)
        }
    }

    fn note(&mut self, options: &[PcapNGOption<'_>]) {
        let notes: Vec<String> = comments(options).collect();
        self.notes.extend(notes.into_iter().rev());
    }
}

fn clipped(data: &[u8], length: u32) -> &[u8] {
    data.get(..length as usize).unwrap_or(data)
}

fn option_value<'o>(option: &'o PcapNGOption<'_>) -> &'o [u8] {
    option
        .value
        .get(..option.len.into())
        .unwrap_or(&option.value)
}

fn option_text(options: &[PcapNGOption<'_>], code: u16) -> Option<String> {
    let option = options.iter().find(|option| option.code.0 == code)?;
    Some(netsonde_core::wire::cursor::text(option_value(option), 64))
}

fn comments<'o>(options: &'o [PcapNGOption<'_>]) -> impl Iterator<Item = String> + 'o {
    options
        .iter()
        .filter(|option| option.code.0 == 1)
        .map(|option| netsonde_core::wire::cursor::text(option_value(option), 4096))
}

fn stands_for(options: &[PcapNGOption<'_>]) -> u64 {
    let option = options
        .iter()
        .find(|option| option.code.0 == OPT_STANDS_FOR);
    option
        .and_then(|option| read_stands_for(option_value(option)))
        .unwrap_or(1)
}

/// Decodes epb_flags, the inverse of the writer.
fn direction(flags: u64) -> Direction {
    match (flags & 3, flags >> 2 & 7) {
        (2, _) => Direction::Outbound,
        (1, 2) => Direction::Multicast,
        (1, 3) => Direction::Broadcast,
        (1, 4) => Direction::ToOther,
        (1, _) => Direction::ToUs,
        _ => Direction::Unknown,
    }
}

fn checksum(flags: u64) -> Checksum {
    match flags >> 9 & 3 {
        0 => Checksum::Unknown,
        1 => Checksum::NotReady,
        2 => Checksum::Valid,
        _ => Checksum::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsonde_core::recorder::pcapng::{Counts, Statistics, Writer};

    fn sample() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.section("netsonde", "Linux", &["first".into(), "second".into()]);
        let e0 = writer.interface(1, 0, Some("e0"), None);
        writer.packet(
            e0,
            1_700_000_000_123_456_789,
            b"abcde",
            60,
            Direction::Outbound,
            Checksum::NotReady,
        );
        let why = ["gone: 7".to_owned()];
        writer.packet_with(
            e0,
            5,
            b"xy",
            2,
            Direction::Broadcast,
            Checksum::Unknown,
            Counts {
                missing: 7,
                stands_for: 64,
                ..Counts::default()
            },
            &why,
        );
        let comments = ["last".to_owned()];
        writer.statistics(&Statistics {
            comments: &comments,
            ..Statistics::default()
        });
        writer.buffer
    }

    #[test]
    fn written_packets_round_trip() {
        let bytes = sample();
        let mut file = CaptureFile::new(&bytes[..]).unwrap();
        let mut notes = vec![];
        let mut packets = vec![];
        while let Some(item) = file.next().unwrap() {
            match item {
                Item::Note(note) => notes.push(note),
                Item::Packet(packet) => packets.push(packet),
            }
        }
        assert_eq!(notes, ["first", "second", "last"]);
        assert_eq!(packets[0].time_ns, Some(1_700_000_000_123_456_789));
        assert_eq!(packets[0].interface.as_deref(), Some("e0"));
        assert_eq!(
            (packets[0].direction, packets[0].original_length),
            (Direction::Outbound, 60)
        );
        assert_eq!(packets[0].checksum, Checksum::NotReady);
        assert_eq!(packets[1].comments, ["netsonde: 1 of 64", "gone: 7"]);
        assert_eq!((packets[0].stands_for, packets[1].stands_for), (1, 64));
        assert_eq!(
            (packets[1].dropped, packets[1].direction),
            (7, Direction::Broadcast)
        );
    }

    /// A reader that gives a byte at a time, and then nothing more for ever.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
            match (self.0.split_first(), room.first_mut()) {
                (Some((byte, rest)), Some(place)) => {
                    *place = *byte;
                    self.0 = rest;
                    Ok(1)
                }
                _ => Ok(0),
            }
        }
    }

    #[test]
    fn truncated_files_do_not_panic() {
        let bytes = sample();
        for end in 0..bytes.len() {
            let outcome = CaptureFile::new(Dribble(&bytes[..end])).and_then(|mut file| {
                while file.next()?.is_some() {}
                Ok(())
            });
            assert!(outcome.is_ok() || outcome.is_err());
        }
        let mut whole = CaptureFile::new(Dribble(&bytes)).unwrap();
        let mut count = 0;
        while whole.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 5);
        let last = bytes.len() - 1;
        let mut cut = CaptureFile::new(&bytes[..last]).unwrap();
        let error = loop {
            match cut.next() {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(error, Err(Error::CutOff(_))), "{error:?}");
        assert_eq!(
            CaptureFile::new(&b"no capture at all, is it?"[..]).err(),
            Some(Error::NotACapture)
        );
    }
}
