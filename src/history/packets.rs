//! PURE. Packets on disk: the same records and files as probes, in a directory of their own.
//!
//! A file grows until it has 8 MiB or its hour (or another time of the options) ends, and gets its footer where it is. After a crash a file
//! without a footer is scanned, so there is no journal, and nothing is written twice. The oldest files go
//! for the budget.

use std::collections::VecDeque;
use std::io;

use crate::directory::{Directory, ReadAt};
use crate::record::{About, Kind};
use crate::segment::{BadHead, Cursor, Head, Place, Segment, Tier, Writer, read_record};
use crate::store::{Counters, Error, Options, failure};

/// Packets of some rooms.
pub struct Packets<D: Directory> {
    directory: D,
    options: Options,
    segments: Vec<Segment>,
    open: Option<Writer>,
    next_number: u64,
    counters: Counters,
}

impl<D: Directory> Packets<D> {
    /// Opens a directory of packets. Of the options, budget, length and time of a file, boot id and seed
    /// count; the seed must differ with each opening.
    ///
    /// # Errors
    ///
    /// Another process has it, a file is of another version, or the file system refuses.
    pub fn open(mut directory: D, options: Options) -> Result<Packets<D>, Error> {
        directory.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked {
                path: directory.path(),
            },
            _ => failure(&directory, "lock", "")(error),
        })?;
        let mut packets = Packets {
            directory,
            options,
            segments: Vec::new(),
            open: None,
            next_number: 1,
            counters: Counters::default(),
        };
        packets.read_directory()?;
        Ok(packets)
    }

    fn read_directory(&mut self) -> Result<(), Error> {
        let listed = self.directory.list();
        let mut files = listed.map_err(failure(&self.directory, "list", ""))?;
        files.sort();
        let prefix = format!("{}-", Tier::Packets.name());
        for (name, bytes) in files {
            let numbers = name.strip_prefix(&prefix);
            let Some(number) = numbers.and_then(|rest| rest.get(..10)?.parse::<u64>().ok()) else {
                continue;
            };
            self.next_number = self.next_number.max(number + 1);
            if !name.ends_with(".seg") {
                continue;
            }
            let opened = self
                .directory
                .open(&name)
                .and_then(|file| Segment::open(&*file));
            match opened.map_err(failure(&self.directory, "read", &name))? {
                Ok((segment, scan)) => {
                    if let Some(scan) = scan {
                        // Without a footer: the file that was open, or a damaged one.
                        self.counters.damaged += u64::from(scan.damaged);
                        self.counters.damaged_bytes += scan.damaged_bytes;
                    }
                    self.segments.push(segment);
                }
                Err(BadHead::Version(found)) => {
                    let path = format!("{}/{name}", self.directory.path());
                    return Err(Error::Version { path, found });
                }
                Err(BadHead::Damaged) => {
                    self.counters.set_aside += 1;
                    self.counters.damaged_bytes += bytes;
                    let renamed = self.directory.rename(&name, &format!("{name}.bad"));
                    renamed.map_err(failure(&self.directory, "rename", &name))?;
                }
            }
        }
        Ok(())
    }

    /// Returns the counters of what could not be kept.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the length of all files in bytes.
    pub fn bytes(&self) -> u64 {
        let closed: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        closed + self.open.as_ref().map_or(0, Writer::length)
    }

    /// Returns whether the file that is being written is still in the directory.
    pub fn is_there(&self) -> bool {
        let open = self.open.as_ref();
        open.is_none_or(|open| self.directory.open(&open.head().name()).is_ok())
    }

    /// Returns the number of files.
    pub fn files(&self) -> usize {
        self.segments.len() + usize::from(self.open.is_some())
    }

    /// Returns the time of the oldest packet, of all rooms, in nanoseconds since 1970.
    pub fn oldest_ns(&self) -> Option<u64> {
        let closed = self.segments.iter().map(|segment| segment.summary.start_ns);
        let open = self.open.iter().flat_map(Writer::places);
        let all = closed.chain(open.map(|place| place.start_ns));
        all.filter(|start_ns| *start_ns > 0).min()
    }

    /// Returns the last blocks of a room that are intact.
    ///
    /// # Errors
    ///
    /// The file system refuses to read.
    pub fn last(&self, room: u32) -> Result<Option<(About, Vec<u8>)>, Error> {
        let open = self.open.iter().map(|open| (*open.head(), None));
        let closed = self.segments.iter().map(|one| (one.head, Some(one)));
        for (head, segment) in open.chain(closed.rev()) {
            let name = head.name();
            let unreadable = || failure(&self.directory, "read", &name);
            let file = self.directory.open(&name).map_err(unreadable())?;
            let mut places = match (segment, &self.open) {
                (Some(segment), _) => {
                    let mut segment = segment.clone();
                    all_places(&mut segment, &*file, room, (0, u64::MAX)).map_err(unreadable())?
                }
                (None, Some(open)) => open.places().to_vec(),
                (None, None) => Vec::new(),
            };
            places.retain(|place| place.series == room);
            places.sort_by_key(|place| place.offset);
            for place in places.iter().rev() {
                let found = read_record(&*file, head.salt, place).map_err(unreadable())?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Appends packets of a room as pcapng blocks, which are compressed: their number, and the times of the
    /// first and the last in nanoseconds since 1970. On the disk they are after [`Packets::sync`].
    ///
    /// # Errors
    ///
    /// The file system refuses. Nothing was appended then, and the caller may try again or count the loss.
    pub fn append(
        &mut self,
        room: u32,
        count: u32,
        (start_ns, end_ns): (u64, u64),
        blocks: &[u8],
        now_ns: u64,
    ) -> Result<(), Error> {
        // If the file was removed, writes to it would succeed and reach no file.
        let is_gone = self.open.as_ref().is_some_and(|open| {
            let opened = self.directory.open(&open.head().name());
            opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        });
        let mut open = match self.open.take().filter(|_| !is_gone) {
            Some(open) => open,
            None => self.create(now_ns)?,
        };
        let about = About {
            kind: Kind::Packets,
            series: room,
            count,
            boot_id: self.options.boot_id,
            start_ns,
            end_ns,
        };
        let name = open.head().name();
        let appended = open.append(&about, blocks);
        self.open = Some(open);
        self.counters.failed_writes += u64::from(appended.is_err());
        appended.map_err(failure(&self.directory, "write", &name))
    }

    fn create(&mut self, now_ns: u64) -> Result<Writer, Error> {
        let number = self.next_number;
        let head = Head {
            tier: Tier::Packets,
            salt: (self.options.seed ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            first: number,
            last: number,
            created_ns: now_ns,
        };
        let name = head.name();
        let created = Writer::create(&mut self.directory, &name, head);
        if created.is_err() {
            self.counters.failed_writes += 1;
            // A file without a head would be set aside as damaged at the next opening.
            let _ = self.directory.remove(&name);
        }
        let created = created.map_err(failure(&self.directory, "create", &name))?;
        self.next_number += 1;
        Ok(created)
    }

    /// Waits until all packets are on the disk: to be called every 5 s. Closes the file if it is long enough
    /// or its hour has ended, and removes the oldest ones over the budget.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn sync(&mut self, now_ns: u64) -> Result<(), Error> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let name = open.head().name();
        open.sync()
            .map_err(failure(&self.directory, "write", &name))?;
        let file_ns = self.options.file_ns.max(1);
        let has_ended = open.head().created_ns / file_ns != now_ns / file_ns;
        if has_ended || open.length() >= self.options.journal_bytes {
            self.close()?;
        }
        while self.bytes() > self.options.budget_bytes && !self.segments.is_empty() {
            let name = self.segments[0].head.name();
            let removed = self.directory.remove(&name);
            removed.map_err(failure(&self.directory, "remove", &name))?;
            let evicted = self.segments.remove(0);
            self.counters.evicted_segments += 1;
            self.counters.evicted_bytes += evicted.bytes;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let name = open.head().name();
        // A footer that could not be written is one that a scan replaces: the packets are there.
        let finished = open.finish(0).is_ok();
        self.counters.failed_writes += u64::from(!finished);
        let opened = self
            .directory
            .open(&name)
            .and_then(|file| Segment::open(&*file));
        if let Ok((segment, _)) = opened.map_err(failure(&self.directory, "read", &name))? {
            self.segments.push(segment);
        }
        Ok(())
    }

    /// Calls `visit` with the blocks of a room that overlap a time, both ends included, in the order of
    /// writing.
    ///
    /// # Errors
    ///
    /// The file system refuses to read. Damaged records are counted and skipped.
    pub fn read(
        &mut self,
        room: u32,
        from_ns: u64,
        to_ns: u64,
        mut visit: impl FnMut(&About, &[u8]),
    ) -> Result<(), Error> {
        let is_wanted = |place: &Place| {
            place.series == room && place.start_ns <= to_ns && place.end_ns >= from_ns
        };
        for at in 0..=self.segments.len() {
            let head = match (self.segments.get(at), &self.open) {
                (Some(segment), _) => segment.head,
                (None, Some(open)) => *open.head(),
                (None, None) => break,
            };
            let name = head.name();
            let unreadable = || failure(&self.directory, "read", &name);
            let file = self.directory.open(&name).map_err(unreadable())?;
            let mut places = match (self.segments.get_mut(at), &self.open) {
                (Some(segment), _) => {
                    let cursor = &mut Cursor::default();
                    match segment.find(&*file, cursor, room, from_ns, to_ns) {
                        Ok(None) => {
                            self.counters.damaged += 1;
                            let scanned = segment.scan(&*file);
                            let found = scanned
                                .and_then(|_| segment.find(&*file, cursor, room, from_ns, to_ns));
                            found.map(Option::unwrap_or_default)
                        }
                        found => found.map(Option::unwrap_or_default),
                    }
                }
                .map_err(unreadable())?,
                (None, Some(open)) => open
                    .places()
                    .iter()
                    .filter(|place| is_wanted(place))
                    .copied()
                    .collect(),
                (None, None) => Vec::new(),
            };
            places.sort_by_key(|place| place.offset);
            for place in places {
                match read_record(&*file, head.salt, &place).map_err(unreadable())? {
                    Some((about, blocks)) => visit(&about, &blocks),
                    None => {
                        self.counters.damaged += 1;
                        self.counters.damaged_bytes += u64::from(place.bytes);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns where the packets of a room are, from a scan if the footer is damaged.
fn all_places(
    segment: &mut Segment,
    file: &dyn ReadAt,
    room: u32,
    (from_ns, to_ns): (u64, u64),
) -> io::Result<Vec<Place>> {
    let cursor = &mut Cursor::default();
    if let Some(places) = segment.find(file, cursor, room, from_ns, to_ns)? {
        return Ok(places);
    }
    segment.scan(file)?;
    Ok(segment
        .find(file, cursor, room, from_ns, to_ns)?
        .unwrap_or_default())
}

/// Reads the packets of a room that overlap a time, both ends included, while another thread or process
/// appends to them: what is appended meanwhile may be left out. Takes no lock, and changes nothing.
pub struct Reader<D: Directory> {
    directory: D,
    room: u32,
    times: (u64, u64),
    files: VecDeque<String>,
    open: Option<(Box<dyn ReadAt>, Head, VecDeque<Place>)>,
    damaged: u64,
}

impl<D: Directory> Reader<D> {
    /// Lists the files.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn new(directory: D, room: u32, times: (u64, u64)) -> Result<Reader<D>, Error> {
        let listed = directory.list().map_err(failure(&directory, "list", ""))?;
        let prefix = format!("{}-", Tier::Packets.name());
        let names = listed.into_iter().map(|(name, _)| name);
        let mut files: Vec<String> = names
            .filter(|name| name.starts_with(&prefix) && name.ends_with(".seg"))
            .collect();
        files.sort();
        Ok(Reader {
            directory,
            room,
            times,
            files: files.into(),
            open: None,
            damaged: 0,
        })
    }

    /// Returns the number of damaged records and files that were skipped.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Returns the next blocks in the order of writing.
    ///
    /// # Errors
    ///
    /// The file system refuses to read. Files that were removed meanwhile are skipped.
    pub fn next_blocks(&mut self) -> Result<Option<(About, Vec<u8>)>, Error> {
        loop {
            if let Some((file, head, places)) = &mut self.open {
                while let Some(place) = places.pop_front() {
                    let read = read_record(&**file, head.salt, &place);
                    match read.map_err(failure(&self.directory, "read", &head.name()))? {
                        Some(found) => return Ok(Some(found)),
                        None => self.damaged += 1,
                    }
                }
                self.open = None;
            }
            let Some(name) = self.files.pop_front() else {
                return Ok(None);
            };
            let opened = match self.directory.open(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.and_then(|file| {
                    let segment = Segment::open(&*file)?;
                    let places = segment.map(|(mut segment, _)| {
                        let found = all_places(&mut segment, &*file, self.room, self.times);
                        found.map(|places| (segment.head, places))
                    });
                    Ok((file, places))
                }),
            };
            match opened.map_err(failure(&self.directory, "read", &name))? {
                (file, Ok(places)) => {
                    let places = places.map_err(failure(&self.directory, "read", &name));
                    let (head, mut places) = places?;
                    places.sort_by_key(|place| place.offset);
                    self.open = Some((file, head, places.into()));
                }
                // Of another version, damaged, or without a head yet.
                (_, Err(_)) => self.damaged += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

    use super::*;
    use crate::disk::Disk;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    fn options(seed: u64) -> Options {
        Options {
            seed,
            journal_bytes: 20_000,
            budget_bytes: 1 << 20,
            ..Options::default()
        }
    }

    /// Numbered packets in two rooms, one each second.
    fn fill(packets: &mut Packets<Disk>, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let at = START + number * SECOND;
            let mut blocks = [0; 400];
            // Half of it does not compress.
            let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for byte in &mut blocks[8..200] {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                *byte = random as u8;
            }
            blocks[..8].copy_from_slice(&number.to_le_bytes());
            packets
                .append((number % 2) as u32, 1, (at, at), &blocks, at)
                .unwrap();
            packets.sync(at).unwrap();
        }
    }

    fn numbers(packets: &mut Packets<Disk>, room: u32) -> Vec<u64> {
        let mut found = Vec::new();
        let collect = |_: &About, blocks: &[u8]| {
            assert_eq!(blocks.len(), 400);
            found.push(u64::from_le_bytes(blocks[..8].try_into().unwrap()));
        };
        packets.read(room, 0, u64::MAX, collect).unwrap();
        found
    }

    #[test]
    fn what_comes_after_files_were_removed_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut packets = Packets::open(Disk::new(directory.path()), options(1)).unwrap();
        fill(&mut packets, 0..10);
        for file in std::fs::read_dir(directory.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        fill(&mut packets, 10..20);
        drop(packets);
        let mut packets = Packets::open(Disk::new(directory.path()), options(2)).unwrap();
        assert_eq!(numbers(&mut packets, 0), [10, 12, 14, 16, 18]);
    }

    #[test]
    fn packets_are_there_once_in_order_across_files_and_crashes() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..5u64 {
            let mut packets = Packets::open(Disk::new(directory.path()), options(round)).unwrap();
            fill(&mut packets, round * 200..(round + 1) * 200);
            // Dropped without a footer, as by a crash.
            let even: Vec<u64> = (0..(round + 1) * 200).step_by(2).collect();
            assert_eq!(numbers(&mut packets, 0), even);
        }
        let mut packets = Packets::open(Disk::new(directory.path()), options(9)).unwrap();
        let odd: Vec<u64> = (1..1000).step_by(2).collect();
        assert_eq!(numbers(&mut packets, 1), odd);
        let mut count = 0;
        packets
            .read(0, START + 100 * SECOND, START + 200 * SECOND, |_, _| {
                count += 1
            })
            .unwrap();
        assert_eq!(count, 51);
        assert_eq!(*packets.counters(), Counters::default());
        let (_, last) = packets.last(1).unwrap().unwrap();
        assert_eq!(last[..8], 999u64.to_le_bytes());
        fill(&mut packets, 1000..1002);
        let (_, last) = packets.last(0).unwrap().unwrap();
        assert_eq!(last[..8], 1000u64.to_le_bytes());
        assert_eq!(packets.oldest_ns(), Some(START));
        // A reader beside the writer finds the same, in the file that is being written, too.
        let times = (START + 900 * SECOND, u64::MAX);
        let mut reader = Reader::new(Disk::new(directory.path()), 1, times).unwrap();
        let mut found = Vec::new();
        while let Some((_, blocks)) = reader.next_blocks().unwrap() {
            found.push(u64::from_le_bytes(blocks[..8].try_into().unwrap()));
        }
        assert_eq!(found, (901..1002).step_by(2).collect::<Vec<u64>>());
        assert_eq!(reader.damaged(), 0);
    }

    #[test]
    fn the_oldest_go_for_the_budget_and_a_damaged_byte_costs_one_record() {
        let directory = tempfile::tempdir().unwrap();
        let limited = Options {
            budget_bytes: 100_000,
            ..options(1)
        };
        let mut packets = Packets::open(Disk::new(directory.path()), limited).unwrap();
        fill(&mut packets, 0..2000);
        assert!(packets.bytes() <= 100_000 + 20_400);
        assert!(packets.counters().evicted_segments > 10);
        let before = numbers(&mut packets, 0);
        assert_eq!(before.last(), Some(&1998));
        drop(packets);
        let mut packets = Packets::open(Disk::new(directory.path()), limited).unwrap();
        let name = packets.segments[0].head.name();
        let path = directory.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10_000] ^= 0x20;
        std::fs::write(&path, bytes).unwrap();
        let after = numbers(&mut packets, 0).len() + numbers(&mut packets, 1).len();
        assert_eq!(after, before.len() * 2 - 1);
        assert_eq!(packets.counters().damaged, 1);
    }
}
