//! PURE. Records: the unit of everything on disk, probes and packets alike.
//!
//! ```text
//!  0 magic "NSRC"    4 checksum of the salt and of bytes 8 to 63    8 checksum of the payload
//! 12 stored bytes   16 bytes after decompression   20 kind   21 compression   22 zero (2)
//! 24 series         28 count                       32 boot id (16)
//! 48 first time ns  56 last time ns                64 payload
//! ```
//! Little endian; checksums are CRC-32 (ISO 3309). The salt is the file's own random number: bytes of another
//! file in a reused disk block, or a record that a packet carries in its payload, are therefore no record here.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::Compression as Level;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::bytes::Input;

/// First bytes of a record.
pub(crate) const MAGIC: [u8; 4] = *b"NSRC";
/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 64;
/// Maximum length of a payload before and after decompression: twice what a segment may have, and what a
/// damaged or forged length can make a reader allocate.
pub const MAX_PAYLOAD_BYTES: u32 = 16 << 20;

/// Meaning of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entries of many series, as the journal gets them every few seconds.
    Batch,
    /// A chunk of one series, and the step that sums it up.
    Probes,
    /// Steps of one series.
    Steps,
    /// Packets of one room, as pcapng blocks.
    Packets,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Batch => 1,
            Kind::Probes => 2,
            Kind::Steps => 3,
            Kind::Packets => 4,
        }
    }

    fn of(number: u8) -> Option<Kind> {
        let all = [Kind::Batch, Kind::Probes, Kind::Steps, Kind::Packets];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Meaning of the payload.
    pub kind: Kind,
    /// Number of the series or room; 0 in a batch.
    pub series: u32,
    /// Number of entries, steps or packets.
    pub count: u32,
    /// Boot id of the kernel, from /proc/sys/kernel/random/boot_id.
    pub boot_id: [u8; 16],
    /// Time of the first entry in nanoseconds since 1970.
    pub start_ns: u64,
    /// Time of the last entry in nanoseconds since 1970.
    pub end_ns: u64,
}

/// A header whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record is about.
    pub about: About,
    /// Bytes of the payload on disk.
    pub stored_bytes: u32,
    raw_bytes: u32,
    is_deflated: bool,
    payload_checksum: u32,
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Returns the checksum of bytes of a file with a salt.
pub(crate) fn salted(salt: u64, bytes: &[u8]) -> u32 {
    checksum(&[&salt.to_le_bytes(), bytes])
}

/// Returns a record. Packets are compressed; probes and steps are dense already.
///
/// # Errors
///
/// Returns the number of bytes of a payload that is longer than [`MAX_PAYLOAD_BYTES`].
pub fn encode(salt: u64, about: &About, payload: &[u8]) -> Result<Vec<u8>, usize> {
    let raw_bytes = u32::try_from(payload.len()).map_err(|_| payload.len())?;
    if raw_bytes > MAX_PAYLOAD_BYTES {
        return Err(payload.len());
    }
    let deflated = match about.kind {
        Kind::Packets => deflate(payload).filter(|shorter| shorter.len() < payload.len()),
        Kind::Batch | Kind::Probes | Kind::Steps => None,
    };
    let is_deflated = deflated.is_some();
    let stored = deflated.as_deref().unwrap_or(payload);
    let mut record = Vec::with_capacity(HEADER_BYTES + stored.len());
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&checksum(&[stored]).to_le_bytes());
    record.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    record.extend_from_slice(&raw_bytes.to_le_bytes());
    record.extend_from_slice(&[about.kind.number(), is_deflated.into(), 0, 0]);
    record.extend_from_slice(&about.series.to_le_bytes());
    record.extend_from_slice(&about.count.to_le_bytes());
    record.extend_from_slice(&about.boot_id);
    record.extend_from_slice(&about.start_ns.to_le_bytes());
    record.extend_from_slice(&about.end_ns.to_le_bytes());
    let header = salted(salt, &record[8..HEADER_BYTES]);
    record[4..8].copy_from_slice(&header.to_le_bytes());
    record.extend_from_slice(stored);
    Ok(record)
}

fn deflate(payload: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Level::new(6));
    encoder.write_all(payload).ok()?;
    encoder.finish().ok()
}

impl Header {
    /// Reads a header; `None` if these bytes are not one of a file with this salt.
    pub fn read(salt: u64, bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut input = Input(bytes);
        (input.array()? == MAGIC).then_some(())?;
        (input.u32()? == salted(salt, &bytes[8..])).then_some(())?;
        let payload_checksum = input.u32()?;
        let stored_bytes = input.u32()?;
        let raw_bytes = input.u32()?;
        let kind = Kind::of(input.u8()?)?;
        let is_deflated = input.u8()? == 1;
        let _reserved = input.u16()?;
        let header = Header {
            about: About {
                kind,
                series: input.u32()?,
                count: input.u32()?,
                boot_id: input.array()?,
                start_ns: input.u64()?,
                end_ns: input.u64()?,
            },
            stored_bytes,
            raw_bytes,
            is_deflated,
            payload_checksum,
        };
        (stored_bytes.max(raw_bytes) <= MAX_PAYLOAD_BYTES).then_some(header)
    }

    /// Returns the payload from the stored bytes; `None` if they are damaged.
    pub fn payload<'a>(&self, stored: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let is_whole = stored.len() == self.stored_bytes as usize
            && checksum(&[stored]) == self.payload_checksum;
        if !is_whole {
            return None;
        }
        if !self.is_deflated {
            return Some(stored.into());
        }
        let mut raw = Vec::with_capacity(self.raw_bytes as usize);
        let limit = u64::from(self.raw_bytes) + 1;
        DeflateDecoder::new(stored)
            .take(limit)
            .read_to_end(&mut raw)
            .ok()?;
        (raw.len() == self.raw_bytes as usize).then_some(raw.into())
    }
}
