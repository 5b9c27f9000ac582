//! PURE. Segments: files of records. A file that grows has a head and records; a closed one is immutable, and
//! has a footer that says where the records of each series are.
//!
//! ```text
//! head (twice 64 bytes) | records | footer: blocks of 128 entries, each with a checksum | trailer (64 bytes)
//!
//! head:     0 "NETSONDE"   8 version (2)   10 tier (1)   11 zero   12 checksum of the other bytes
//!          16 salt        24 first number  32 last number         40 created ns  48 zero (16)
//! entry:    0 series (4)   4 offset (4)    8 bytes (4)  12 count (4)  16 first ns (8)  24 last ns (8)
//! trailer:  0 "NSFOOTER"   8 checksum with the salt of the bytes behind it   12 entries (4)
//!          16 offset of the footer        24 first ns   32 last ns   40 measured ns    48 zero (16)
//! ```
//! Little endian. The head is there twice, so that one damaged byte never costs a file. The magic, version and
//! checksum of the head stay where they are in every version. A segment whose footer is damaged is scanned:
//! a record is found by its magic and the checksum of its header, wherever it begins.

use std::io;

use crate::bytes::Input;
use crate::directory::{Append, Directory, ReadAt};
use crate::record::{self, About, HEADER_BYTES, Header, salted};

/// Version of the format of files.
pub const VERSION: u16 = 1;
const MAGIC: [u8; 8] = *b"NETSONDE";
const FOOTER_MAGIC: [u8; 8] = *b"NSFOOTER";
const HEAD_COPY_BYTES: usize = 64;
/// Length of the head in bytes: two copies.
pub(crate) const HEAD_BYTES: usize = 2 * HEAD_COPY_BYTES;
const TRAILER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 32;
/// Entries of a block of the footer: a page of 4 KiB, and its checksum.
const BLOCK_ENTRIES: usize = 128;
const BLOCK_BYTES: usize = BLOCK_ENTRIES * ENTRY_BYTES + 4;
/// Maximum length of a file: four times the target of the largest segments. Offsets have 32 bits.
pub(crate) const MAX_FILE_BYTES: u64 = 128 << 20;

/// Resolution of what a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Every probe.
    Probes,
    /// Histograms of a minute.
    Minute,
    /// Histograms of five minutes.
    FiveMinutes,
    /// Histograms of an hour.
    Hour,
    /// Batches of the running hour.
    Journal,
    /// Packets.
    Packets,
}

impl Tier {
    /// All tiers, with their numbers in the format and names of files.
    const TABLE: [(Tier, u8, &'static str); 6] = [
        (Tier::Probes, 0, "probes"),
        (Tier::Minute, 1, "1min"),
        (Tier::FiveMinutes, 2, "5min"),
        (Tier::Hour, 3, "1h"),
        (Tier::Journal, 4, "journal"),
        (Tier::Packets, 5, "packets"),
    ];

    /// Tiers of history, from the finest on.
    pub const HISTORY: [Tier; 4] = [Tier::Probes, Tier::Minute, Tier::FiveMinutes, Tier::Hour];

    /// Returns the name used for files and in messages.
    pub fn name(self) -> &'static str {
        let row = Tier::TABLE.into_iter().find(|(tier, ..)| *tier == self);
        row.map_or("", |(_, _, name)| name)
    }

    fn number(self) -> u8 {
        let row = Tier::TABLE.into_iter().find(|(tier, ..)| *tier == self);
        row.map_or(u8::MAX, |(_, number, _)| number)
    }

    fn of(number: u8) -> Option<Tier> {
        let row = Tier::TABLE
            .into_iter()
            .find(|(_, known, _)| *known == number);
        row.map(|(tier, ..)| tier)
    }

    /// Returns the length of a step in nanoseconds; `None` where there are no steps.
    pub fn step_ns(self) -> Option<u64> {
        match self {
            Tier::Minute => Some(60_000_000_000),
            Tier::FiveMinutes => Some(300_000_000_000),
            Tier::Hour => Some(3_600_000_000_000),
            Tier::Probes | Tier::Journal | Tier::Packets => None,
        }
    }
}

/// Head of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Resolution.
    pub tier: Tier,
    /// Random number that all checksums of records include.
    pub salt: u64,
    /// Number of the first journal whose content the file has.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// Time of creation in nanoseconds since 1970.
    pub created_ns: u64,
}

impl Head {
    /// Returns the name of the file.
    pub fn name(&self) -> String {
        format!(
            "{}-{:010}-{:010}.seg",
            self.tier.name(),
            self.first,
            self.last
        )
    }

    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut copy = [0; HEAD_COPY_BYTES];
        copy[..8].copy_from_slice(&MAGIC);
        copy[8..10].copy_from_slice(&VERSION.to_le_bytes());
        copy[10] = self.tier.number();
        let numbers = [self.salt, self.first, self.last, self.created_ns];
        for (to, number) in copy[16..48].chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = head_checksum(&copy);
        copy[12..16].copy_from_slice(&checksum.to_le_bytes());
        let mut head = [0; HEAD_BYTES];
        head[..HEAD_COPY_BYTES].copy_from_slice(&copy);
        head[HEAD_COPY_BYTES..].copy_from_slice(&copy);
        head
    }

    /// Reads the head of a file.
    ///
    /// # Errors
    ///
    /// Another version, or damage in both copies.
    pub fn read(bytes: &[u8]) -> Result<Head, BadHead> {
        let mut copies = bytes.chunks_exact(HEAD_COPY_BYTES).take(2);
        let whole = copies
            .find(|copy| copy[..8] == MAGIC && copy[12..16] == head_checksum(copy).to_le_bytes());
        let copy = whole.ok_or(BadHead::Damaged)?;
        let mut input = Input(&copy[8..]);
        let version = input.u16().ok_or(BadHead::Damaged)?;
        if version != VERSION {
            return Err(BadHead::Version(version));
        }
        let mut read = || {
            let tier = Tier::of(input.u8()?)?;
            input.take(5)?;
            Some(Head {
                tier,
                salt: input.u64()?,
                first: input.u64()?,
                last: input.u64()?,
                created_ns: input.u64()?,
            })
        };
        read().ok_or(BadHead::Damaged)
    }
}

fn head_checksum(copy: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&copy[..12]);
    hasher.update(&copy[16..HEAD_COPY_BYTES]);
    hasher.finalize()
}

/// A file that is none of this store's, or not of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// Written by another version of the format.
    Version(u16),
    /// Not a head, or damaged in both copies.
    Damaged,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the series or room.
    pub series: u32,
    /// Offset in the file.
    pub offset: u32,
    /// Length with its header.
    pub bytes: u32,
    /// Number of entries, steps or packets.
    pub count: u32,
    /// Time of the first in nanoseconds since 1970.
    pub start_ns: u64,
    /// Time of the last in nanoseconds since 1970.
    pub end_ns: u64,
}

impl Place {
    fn encode(&self, to: &mut Vec<u8>) {
        for number in [self.series, self.offset, self.bytes, self.count] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&self.start_ns.to_le_bytes());
        to.extend_from_slice(&self.end_ns.to_le_bytes());
    }

    fn read(input: &mut Input<'_>) -> Option<Place> {
        Some(Place {
            series: input.u32()?,
            offset: input.u32()?,
            bytes: input.u32()?,
            count: input.u32()?,
            start_ns: input.u64()?,
            end_ns: input.u64()?,
        })
    }
}

/// A file that is written.
pub struct Writer {
    head: Head,
    file: Box<dyn Append>,
    length: u64,
    is_torn: bool,
    places: Vec<Place>,
}

impl Writer {
    /// Creates a file with a head.
    ///
    /// # Errors
    ///
    /// Errors of the file system; the file may exist.
    pub fn create(directory: &mut dyn Directory, name: &str, head: Head) -> io::Result<Writer> {
        let mut file = directory.append_to(name)?;
        file.truncate(0)?;
        file.append(&head.encode())?;
        Ok(Writer {
            head,
            file,
            length: HEAD_BYTES as u64,
            is_torn: false,
            places: Vec::new(),
        })
    }

    /// Goes on with a file, behind its records; what is behind them is removed.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn resume(
        directory: &mut dyn Directory,
        name: &str,
        head: Head,
        scan: &Scan,
    ) -> io::Result<Writer> {
        let mut file = directory.append_to(name)?;
        file.truncate(scan.end)?;
        Ok(Writer {
            head,
            file,
            length: scan.end,
            is_torn: false,
            places: scan.places.clone(),
        })
    }

    /// Returns the head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the length of the file in bytes, without the footer.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the number of records.
    pub fn records(&self) -> usize {
        self.places.len()
    }

    /// Returns where the records are, in the order of writing.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// Errors of the file system, and a payload or file that is too long. The file then has the records that it
    /// had before, and the same record may be tried again.
    pub fn append(&mut self, about: &About, payload: &[u8]) -> io::Result<()> {
        let too_long = |bytes: usize| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{bytes} bytes are more than a record or file may have"),
            )
        };
        let record = record::encode(self.head.salt, about, payload).map_err(too_long)?;
        if self.length + record.len() as u64 > MAX_FILE_BYTES {
            return Err(too_long(record.len()));
        }
        self.write(&record)?;
        self.places.push(Place {
            series: about.series,
            offset: (self.length - record.len() as u64) as u32,
            bytes: record.len() as u32,
            count: about.count,
            start_ns: about.start_ns,
            end_ns: about.end_ns,
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A full disk may have taken a part of what came before.
        if self.is_torn {
            self.file.truncate(self.length)?;
        }
        self.is_torn = true;
        self.file.append(bytes)?;
        self.is_torn = false;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    /// Closes the file: writes the footer, and waits until all is on the disk. `measured_ns` is the time
    /// that the content covers, in nanoseconds.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn finish(mut self, measured_ns: u64) -> io::Result<Summary> {
        let summary = Summary {
            start_ns: self
                .places
                .iter()
                .map(|place| place.start_ns)
                .min()
                .unwrap_or(0),
            end_ns: self
                .places
                .iter()
                .map(|place| place.end_ns)
                .max()
                .unwrap_or(0),
            measured_ns,
        };
        self.places
            .sort_by_key(|place| (place.series, place.start_ns, place.offset));
        let offset = self.length;
        let mut footer = Vec::new();
        for block in self.places.chunks(BLOCK_ENTRIES) {
            let start = footer.len();
            for place in block {
                place.encode(&mut footer);
            }
            let checksum = salted(self.head.salt, &footer[start..]);
            footer.extend_from_slice(&checksum.to_le_bytes());
        }
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend_from_slice(&FOOTER_MAGIC);
        trailer.extend_from_slice(&[0; 4]);
        trailer.extend_from_slice(&(self.places.len() as u32).to_le_bytes());
        for number in [offset, summary.start_ns, summary.end_ns, measured_ns, 0, 0] {
            trailer.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = salted(self.head.salt, &trailer[12..]);
        trailer[8..12].copy_from_slice(&checksum.to_le_bytes());
        footer.extend_from_slice(&trailer);
        self.write(&footer)?;
        self.file.sync()?;
        Ok(summary)
    }
}

/// Times that a file covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Time of the first entry in nanoseconds since 1970.
    pub start_ns: u64,
    /// Time of the last entry in nanoseconds since 1970.
    pub end_ns: u64,
    /// Time that was measured, in nanoseconds: not that between first and last if the clock was set.
    pub measured_ns: u64,
}

/// Index of a file.
#[derive(Clone, Debug)]
enum Index {
    /// In the file itself.
    Footer { offset: u64, entries: u32 },
    /// Found by a scan, in the order of the footer.
    Scanned(Vec<Place>),
}

/// A closed file that is read.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Head of the file.
    pub head: Head,
    /// Times that it covers.
    pub summary: Summary,
    /// Length in bytes.
    pub bytes: u64,
    index: Index,
}

/// The block of a footer that was read last: who reads series after series finds the next one there, without a search.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    block: usize,
    places: Vec<Place>,
}

impl Cursor {
    fn last_series(&self) -> Option<u32> {
        self.places.last().map(|place| place.series)
    }
}

/// Result of a scan.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Records whose checksums are right, in the order of the file.
    pub places: Vec<Place>,
    /// End of the last of them, or of the head.
    pub end: u64,
    /// Bytes before the end that are no record.
    pub damaged_bytes: u64,
    /// Stretches of such bytes.
    pub damaged: u32,
}

/// Finds all undamaged records, and passes each to `visit`.
pub(crate) fn scan(bytes: &[u8], salt: u64, mut visit: impl FnMut(&Header, &[u8])) -> Scan {
    let mut found = Scan {
        end: HEAD_BYTES.min(bytes.len()) as u64,
        ..Scan::default()
    };
    let mut at = HEAD_BYTES;
    while at < bytes.len() {
        let read = Header::read(salt, &bytes[at..]).and_then(|header| {
            let start = at + HEADER_BYTES;
            let stored = bytes.get(start..start + header.stored_bytes as usize)?;
            Some((header, header.payload(stored)?))
        });
        let Some((header, payload)) = read else {
            at += 1 + bytes[at + 1..]
                .windows(record::MAGIC.len())
                .position(|window| window == record::MAGIC)
                .unwrap_or(bytes.len());
            continue;
        };
        let length = HEADER_BYTES + header.stored_bytes as usize;
        let skipped = at as u64 - found.end;
        found.damaged_bytes += skipped;
        found.damaged += u32::from(skipped > 0);
        found.places.push(Place {
            series: header.about.series,
            offset: at as u32,
            bytes: length as u32,
            count: header.about.count,
            start_ns: header.about.start_ns,
            end_ns: header.about.end_ns,
        });
        visit(&header, &payload);
        at += length;
        found.end = at as u64;
    }
    found
}

/// Reads a file as a whole, up to the maximum length of one.
pub(crate) fn read_all(file: &dyn ReadAt) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.len()?.min(MAX_FILE_BYTES) as usize];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

impl Segment {
    /// Reads head and trailer of a closed file. If the trailer is damaged the file is scanned, with the damage.
    ///
    /// # Errors
    ///
    /// Errors of the file system; inside, a bad head.
    pub fn open(file: &dyn ReadAt) -> io::Result<Result<(Segment, Option<Scan>), BadHead>> {
        let bytes = file.len()?;
        let mut head = [0; HEAD_BYTES];
        let length = file.read_at(&mut head, 0)?;
        let head = match Head::read(&head[..length]) {
            Ok(head) => head,
            Err(bad) => return Ok(Err(bad)),
        };
        let mut trailer = [0; TRAILER_BYTES];
        let at = bytes.saturating_sub(TRAILER_BYTES as u64);
        let length = file.read_at(&mut trailer, at)?;
        if let Some((index, summary)) = read_trailer(head.salt, &trailer[..length], bytes) {
            let segment = Segment {
                head,
                summary,
                bytes,
                index,
            };
            return Ok(Ok((segment, None)));
        }
        let mut segment = Segment {
            head,
            summary: Summary::default(),
            bytes,
            index: Index::Scanned(Vec::new()),
        };
        let scan = segment.scan(file)?;
        Ok(Ok((segment, Some(scan))))
    }

    /// Returns whether the footer was intact when last read.
    pub fn is_indexed(&self) -> bool {
        matches!(self.index, Index::Footer { .. })
    }

    /// Replaces a damaged footer by a scan of the file.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn scan(&mut self, file: &dyn ReadAt) -> io::Result<Scan> {
        let mut bytes = read_all(file)?;
        if let Index::Footer { offset, .. } = self.index {
            bytes.truncate(offset as usize);
        }
        let mut scan = scan(&bytes, self.head.salt, |_, _| {});
        if let Index::Footer { offset, .. } = self.index {
            // Damage behind the last record is known only if the footer's place is.
            let behind = offset.saturating_sub(scan.end);
            scan.damaged_bytes += behind;
            scan.damaged += u32::from(behind > 0);
        } else {
            let places = &scan.places;
            let start_ns = places.iter().map(|place| place.start_ns).min().unwrap_or(0);
            let end_ns = places.iter().map(|place| place.end_ns).max().unwrap_or(0);
            self.summary = Summary {
                start_ns,
                end_ns,
                measured_ns: end_ns - start_ns,
            };
        }
        let mut places = scan.places.clone();
        places.sort_by_key(|place| (place.series, place.start_ns, place.offset));
        self.index = Index::Scanned(places);
        Ok(scan)
    }

    /// Returns where the records of a series are that overlap a time, both ends included; `None` if the
    /// footer is damaged, and a scan needed.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn find(
        &self,
        file: &dyn ReadAt,
        cursor: &mut Cursor,
        series: u32,
        from_ns: u64,
        to_ns: u64,
    ) -> io::Result<Option<Vec<Place>>> {
        let mut found = Vec::new();
        let is_wanted = |place: &Place| place.start_ns <= to_ns && place.end_ns >= from_ns;
        let complete = self.visit(file, cursor, series, |place| {
            let is_series = place.series == series;
            if is_series && is_wanted(place) {
                found.push(*place);
            }
            is_series
        })?;
        Ok(complete.map(|()| found))
    }

    /// Returns the lowest series from a number on; `None` outside if the footer is damaged.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn next_series(
        &self,
        file: &dyn ReadAt,
        cursor: &mut Cursor,
        from: u32,
    ) -> io::Result<Option<Option<u32>>> {
        let mut next = None;
        let complete = self.visit(file, cursor, from, |place| {
            next = Some(place.series);
            false
        })?;
        Ok(complete.map(|()| next))
    }

    /// Calls `visit` with the places from a series on, until it returns false; `None` if the footer is damaged.
    fn visit(
        &self,
        file: &dyn ReadAt,
        cursor: &mut Cursor,
        series: u32,
        mut visit: impl FnMut(&Place) -> bool,
    ) -> io::Result<Option<()>> {
        let (offset, entries) = match &self.index {
            Index::Footer { offset, entries } => (*offset, *entries as usize),
            Index::Scanned(places) => {
                let first = places.partition_point(|place| place.series < series);
                let _ = places[first..].iter().all(visit);
                return Ok(Some(()));
            }
        };
        let blocks = entries.div_ceil(BLOCK_ENTRIES);
        let read = |block: usize, cursor: &mut Cursor| -> io::Result<bool> {
            if cursor.block == block && !cursor.places.is_empty() {
                return Ok(true);
            }
            let mut buffer = [0; BLOCK_BYTES];
            let count = BLOCK_ENTRIES.min(entries - block * BLOCK_ENTRIES);
            let wanted = &mut buffer[..count * ENTRY_BYTES + 4];
            let length = file.read_at(wanted, offset + (block * BLOCK_BYTES) as u64)?;
            let places = read_block(self.head.salt, &wanted[..length]);
            let places = places.filter(|places| places.len() == count);
            let is_whole = places.is_some();
            *cursor = Cursor {
                block,
                places: places.unwrap_or_default(),
            };
            Ok(is_whole)
        };
        // The first block that has the series, or a higher one, at its end. It is the one that was read last, or the next
        // one, if series are read one after the other.
        let (mut low, mut high) = (0, blocks);
        if let [first, .., last] = &cursor.places[..] {
            let (first, last) = (first.series, last.series);
            let next = cursor.block + 1;
            if first < series && series <= last {
                (low, high) = (cursor.block, cursor.block);
            } else if last < series {
                low = next;
                if next < blocks {
                    if !read(next, cursor)? {
                        return Ok(None);
                    }
                    match cursor.last_series() < Some(series) {
                        true => low = next + 1,
                        false => high = next,
                    }
                }
            }
        }
        while low < high {
            let middle = (low + high) / 2;
            if !read(middle, cursor)? {
                return Ok(None);
            }
            if cursor.last_series() < Some(series) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        for block in low..blocks {
            if !read(block, cursor)? {
                return Ok(None);
            }
            let wanted = cursor.places.iter().filter(|place| place.series >= series);
            for place in wanted {
                if !visit(place) {
                    return Ok(Some(()));
                }
            }
        }
        Ok(Some(()))
    }

    /// Reads a record; `None` if it is damaged.
    ///
    /// # Errors
    ///
    /// Errors of the file system.
    pub fn read(&self, file: &dyn ReadAt, place: &Place) -> io::Result<Option<(About, Vec<u8>)>> {
        read_record(file, self.head.salt, place)
    }
}

/// Reads the record at a place; `None` if it is damaged.
pub(crate) fn read_record(
    file: &dyn ReadAt,
    salt: u64,
    place: &Place,
) -> io::Result<Option<(About, Vec<u8>)>> {
    if place.bytes as usize > HEADER_BYTES + record::MAX_PAYLOAD_BYTES as usize {
        return Ok(None);
    }
    let mut bytes = vec![0; place.bytes as usize];
    let length = file.read_at(&mut bytes, place.offset.into())?;
    let read = || {
        let header = Header::read(salt, &bytes[..length])?;
        let payload = header.payload(bytes.get(HEADER_BYTES..length)?)?;
        Some((header.about, payload.into_owned()))
    };
    Ok(read())
}

fn read_trailer(salt: u64, trailer: &[u8], file_bytes: u64) -> Option<(Index, Summary)> {
    let mut input = Input(trailer);
    (input.array()? == FOOTER_MAGIC).then_some(())?;
    (input.u32()? == salted(salt, trailer.get(12..)?)).then_some(())?;
    let entries = input.u32()?;
    let offset = input.u64()?;
    let summary = Summary {
        start_ns: input.u64()?,
        end_ns: input.u64()?,
        measured_ns: input.u64()?,
    };
    let blocks = (entries as usize).div_ceil(BLOCK_ENTRIES);
    let footer = (entries as usize * ENTRY_BYTES + blocks * 4 + TRAILER_BYTES) as u64;
    let is_whole = offset.checked_add(footer)? == file_bytes;
    is_whole.then_some((Index::Footer { offset, entries }, summary))
}

fn read_block(salt: u64, bytes: &[u8]) -> Option<Vec<Place>> {
    let (entries, checksum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    (checksum == salted(salt, entries).to_le_bytes()).then_some(())?;
    let mut input = Input(entries);
    let mut places = Vec::with_capacity(entries.len() / ENTRY_BYTES);
    while !input.is_empty() {
        places.push(Place::read(&mut input)?);
    }
    Some(places)
}
