//! SHELL. Writing a pcapng file, packet by packet or block by block.

use crate::client::failure::Failure;
use crate::client::files::capture_file::FilePacket;
use crate::client::files::output_file::OutputFile;
use netsonde_core::recorder::pcapng::{Counts, Writer};
use netsonde_core::wire::{LinkType, linktype};

/// A pcapng file that is being written packet by packet.
pub(crate) struct PacketFile {
    output: OutputFile,
    writer: Writer,
    /// Link type and name of each interface.
    interfaces: Vec<(u32, Option<String>)>,
    /// Number of packets written.
    pub(crate) count: u64,
}

impl PacketFile {
    /// Bytes written at once.
    const PART: usize = 1 << 20;

    /// Begins the file. The comments are on the section.
    pub(crate) fn new(output: OutputFile, comments: &[String]) -> PacketFile {
        let mut writer = Writer::default();
        writer.section(
            concat!("netsonde ", env!("CARGO_PKG_VERSION")),
            "Linux",
            comments,
        );
        PacketFile {
            output,
            writer,
            interfaces: Vec::new(),
            count: 0,
        }
    }

    /// Returns the number of an interface, which is described at its first use.
    ///
    /// # Errors
    /// If its link type does not fit the 16 bits of pcapng.
    pub(crate) fn interface(&mut self, link: u32, name: Option<&str>) -> Result<u32, Failure> {
        let is = |known: &(u32, Option<String>)| known.0 == link && known.1.as_deref() == name;
        if let Some(at) = self.interfaces.iter().position(is) {
            return Ok(at as u32);
        }
        let Ok(short) = u16::try_from(link) else {
            return Err(Failure::Other(format!(
                "{} does not fit into a pcapng file",
                linktype::describe(link)
            )));
        };
        self.interfaces.push((link, name.map(str::to_owned)));
        Ok(self.writer.interface(short, 0, name, None))
    }

    /// Appends a packet. Returns `false` if the reader is gone.
    pub(crate) fn add(&mut self, packet: &FilePacket) -> Result<bool, Failure> {
        let number = self.interface(packet.link_number, packet.interface.as_deref())?;
        let time = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
        self.writer.packet_with(
            number,
            time.unwrap_or(0),
            &packet.bytes,
            packet.original_length,
            packet.direction,
            packet.checksum,
            Counts {
                missing: packet.dropped,
                stands_for: packet.stands_for,
                id: None,
            },
            &packet.comments,
        );
        self.count += 1;
        if self.writer.buffer.len() > Self::PART {
            return self.flush();
        }
        Ok(true)
    }

    /// Writes the buffered blocks.
    fn flush(&mut self) -> Result<bool, Failure> {
        let going_on = self.output.write(&self.writer.buffer)?;
        self.writer.buffer.clear();
        Ok(going_on)
    }

    /// Completes the file. Returns the number of its packets.
    pub(crate) fn complete(mut self) -> Result<u64, Failure> {
        if !self.writer.has_interface() {
            self.interface(LinkType::Ethernet.to_linktype().into(), None)?;
        }
        self.flush()?;
        self.output.complete()?;
        Ok(self.count)
    }

    /// Gives up on an incomplete file because of `failure`. Packets that were written are kept under the
    /// temporary name, which is added to the failure.
    pub(crate) fn abandon(mut self, failure: Failure) -> Failure {
        if self.count == 0 || self.flush().is_err() {
            return failure;
        }
        Failure::Other(format!("{failure}; {}", self.output.abandon()))
    }
}

/// Types of blocks.
const INTERFACE: u32 = 1;
const ENHANCED: u32 = 6;

/// Splits the stream of the service into whole blocks, so that a file can end after any of them.
#[derive(Default)]
pub(crate) struct Blocks {
    /// Bytes not yet written: the caller appends to them and removes whole blocks.
    pub(crate) buffer: Vec<u8>,
    /// End of the whole blocks in `buffer`.
    whole: usize,
    /// Number of packets in the whole blocks so far.
    pub(crate) packets: u64,
    /// Whether an interface has been described.
    pub(crate) has_interface: bool,
}

/// Maximum length of a block in bytes; the service's packets have 64 KiB and some options.
const BLOCK_MAX: usize = 16 << 20;

impl Blocks {
    /// Returns the length of the whole blocks at the start of the buffer, or `None` if it does not
    /// consist of little-endian blocks.
    pub(crate) fn whole(&mut self) -> Option<usize> {
        while let Some(head) = self.buffer.get(self.whole..self.whole + 8) {
            let word = |at: usize| {
                head.get(at..at + 4)?
                    .try_into()
                    .ok()
                    .map(u32::from_le_bytes)
            };
            let (kind, length) = (word(0)?, word(4)? as usize);
            if !(12..=BLOCK_MAX).contains(&length) || !length.is_multiple_of(4) {
                return None;
            }
            if self.buffer.len() < self.whole + length {
                break;
            }
            self.whole += length;
            self.packets += u64::from(kind == ENHANCED);
            self.has_interface |= kind == INTERFACE;
        }
        Some(self.whole)
    }

    /// Removes the whole blocks, which have been written.
    pub(crate) fn consume(&mut self) {
        self.buffer.drain(..self.whole);
        self.whole = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsonde_core::wire::{Checksum, Direction};

    #[test]
    fn streams_are_cut_at_blocks_only() {
        let mut writer = Writer::default();
        writer.section("a test", "Linux", &[]);
        let section = writer.buffer.len();
        writer.interface(1, 0, None, None);
        let interface = writer.buffer.len();
        let packet = |writer: &mut Writer| {
            writer.packet(0, 5, b"abc", 3, Direction::ToUs, Checksum::Unknown);
        };
        packet(&mut writer);
        let first = writer.buffer.len();
        packet(&mut writer);
        for end in 0..writer.buffer.len() {
            let mut blocks = Blocks::default();
            for byte in &writer.buffer[..end] {
                blocks.buffer.push(*byte);
                blocks.whole().unwrap();
            }
            let expected = [first, interface, section, 0];
            let expected = expected.into_iter().find(|at| *at <= end);
            assert_eq!(blocks.whole(), expected);
            assert_eq!(blocks.has_interface, end >= interface);
            assert_eq!(blocks.packets, u64::from(end >= first));
            blocks.consume();
            assert_eq!(blocks.whole(), Some(0));
        }
        let mut damaged = Blocks {
            buffer: vec![6, 0, 0, 0, 7, 0, 0, 0],
            ..Blocks::default()
        };
        assert_eq!(damaged.whole(), None);
    }
}
