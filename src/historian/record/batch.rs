//! PURE. Packets of one store as they are on disk: a small pcapng section of its own each, with the number of every
//! packet, so that a damaged one costs no other.

use std::collections::HashMap;

use netsonde_core::recorder::Store;
use netsonde_core::recorder::blocks::{self, Block, Options, PacketBlock};
use netsonde_core::recorder::pcapng::{OPT_COMMENT, Writer};

/// Start of the comment that names the record.
const RECORD: &str = "netsonde: record ";
/// Start of the comments on declared gaps: they are stored once, beside the packets.
pub(super) const GAP: &str = "netsonde: gap: ";

/// The last packet of a store on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// The record that numbered it.
    pub record: u64,
    /// Its number in the store.
    pub number: u64,
    /// Its time in nanoseconds since 1970.
    pub time_ns: u64,
}

/// Packets of one store that are written as one.
pub(super) struct Batch {
    /// The section so far.
    pub payload: Vec<u8>,
    /// Number of packets.
    pub count: u32,
    /// Earliest and latest time in nanoseconds since 1970.
    pub times: (u64, u64),
    /// The last packet.
    pub last: Last,
    interfaces: HashMap<Vec<u8>, u32>,
}

impl Batch {
    /// Begins a section of packets of a record.
    pub fn new(record: u64) -> Batch {
        let mut writer = Writer::default();
        writer.section(
            concat!("netsonde ", env!("CARGO_PKG_VERSION")),
            "Linux",
            &[format!("{RECORD}{record}")],
        );
        Batch {
            payload: writer.buffer,
            count: 0,
            times: (u64::MAX, 0),
            last: Last {
                record,
                number: 0,
                time_ns: 0,
            },
            interfaces: HashMap::new(),
        }
    }

    /// Adds a packet. Gaps that it declares are left out.
    pub fn add(&mut self, interface: &[u8], packet: &PacketBlock<'_>, number: u64) {
        let next = self.interfaces.len() as u32;
        let index = match self.interfaces.get(interface) {
            Some(index) => *index,
            None => {
                self.payload.extend_from_slice(interface);
                self.interfaces.insert(interface.to_vec(), next);
                next
            }
        };
        packet.write(&mut self.payload, index, is_of_packet, 0, &[]);
        self.count += 1;
        let (first, last) = self.times;
        self.times = (first.min(packet.time_ns), last.max(packet.time_ns));
        self.last.number = number;
        self.last.time_ns = packet.time_ns;
    }
}

/// Returns whether an option is about the packet itself.
pub(super) fn is_of_packet(code: u16, value: &[u8]) -> bool {
    code != OPT_COMMENT || !value.starts_with(GAP.as_bytes())
}

/// The packets of one batch that is read.
pub(super) struct Batched {
    payload: Vec<u8>,
    at: usize,
    record: u64,
    /// Where the descriptions of interfaces are.
    interfaces: Vec<(usize, usize)>,
}

impl Batched {
    /// Starts to read the section of a batch.
    pub fn new(payload: Vec<u8>) -> Batched {
        Batched {
            payload,
            at: 0,
            record: 0,
            interfaces: Vec::new(),
        }
    }

    /// Moves to the next packet, and returns where it is in the record and on disk.
    pub fn advance(&mut self) -> Option<(Store, Last, Where)> {
        loop {
            let mut rest = self.payload.get(self.at..)?;
            let start = self.at;
            let block = blocks::next(&mut rest).ok()??;
            let end = self.payload.len() - rest.len();
            match block {
                Block::Section(section) => {
                    let mut comments = Options::of_section(section).comments();
                    let record = comments.find_map(|text| text.strip_prefix(RECORD)?.parse().ok());
                    self.record = record.unwrap_or(0);
                    self.interfaces.clear();
                }
                Block::Interface(_) => self.interfaces.push((start, end)),
                Block::Packet(packet) => {
                    let found = packet.id();
                    let interface = self.interfaces.get(packet.interface as usize).copied();
                    self.at = end;
                    let (Some((store, number)), Some(interface)) = (found, interface) else {
                        continue;
                    };
                    let last = Last {
                        record: self.record,
                        number,
                        time_ns: packet.time_ns,
                    };
                    let place = Where {
                        interface,
                        packet: (start, end),
                    };
                    return Some((store, last, place));
                }
                Block::Other => {}
            }
            self.at = end;
        }
    }

    /// Returns the last packet.
    pub fn last(mut self) -> Option<Last> {
        let mut found = None;
        while let Some((_, last, _)) = self.advance() {
            found = Some(last);
        }
        found
    }

    /// Returns the description of the interface of a packet.
    pub fn interface(&self, place: &Where) -> &[u8] {
        self.payload
            .get(place.interface.0..place.interface.1)
            .unwrap_or_default()
    }

    /// Returns a packet.
    pub fn packet(&self, place: &Where) -> Option<PacketBlock<'_>> {
        let mut bytes = self.payload.get(place.packet.0..place.packet.1)?;
        match blocks::next(&mut bytes) {
            Ok(Some(Block::Packet(packet))) => Some(packet),
            _ => None,
        }
    }
}

/// Where a packet is within a batch, and the description of its interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Where {
    interface: (usize, usize),
    packet: (usize, usize),
}
