//! SHELL. The record on disk as pcapng through a pipe: all stores merged in time order, read from the files beside
//! the thread that writes them, one batch of each store in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use netsonde_core::protocol::time;
use netsonde_core::recorder::blocks::{self, BLOCK_MAX, Block, Options};
use netsonde_core::recorder::layout::SNAP_MAX;
use netsonde_core::recorder::pcapng::{END_OF_DISK, Statistics, Writer};
use netsonde_core::recorder::{Store, headers};
use netsonde_core::wire::LinkType;
use netsonde_history::disk::Disk;
use netsonde_history::packets::Reader;
use netsonde_history::store::Error;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::batch::{Batched, Last, Where, is_of_packet};
use super::rooms::{GAPS, Missing, directory_of, not_on_disk};

/// Bytes that are collected before they are written to the pipe.
const PART: usize = 256 << 10;
/// Time for which a reader may leave the pipe full, as for the service's, in milliseconds.
const READ_WAIT_MS: u16 = 30_000;

/// What to read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Stores, each with the number of the first packet that is not read.
    pub stores: Vec<(Store, u64)>,
    /// The record of these numbers.
    pub record: u64,
    /// First and last time in nanoseconds since 1970.
    pub times: (u64, u64),
    /// Comments for the beginning.
    pub comments: Vec<String>,
    /// Whether the reader may see headers only.
    pub headers_only: bool,
}

/// The reader closed the pipe, or stopped reading.
pub(super) struct Closed;

/// One store.
struct Lane {
    store: Store,
    reader: Reader<Disk>,
    batch: Option<Batched>,
    /// Packets from this number on are not read.
    end: Last,
    before: Option<Last>,
    head: Option<(Last, Where)>,
}

impl Lane {
    /// Moves to the next packet within the times, and returns the gaps before it.
    fn advance(&mut self, times: (u64, u64)) -> Result<Option<Missing>, Error> {
        self.head = None;
        loop {
            if self.batch.is_none() {
                let Some((_, payload)) = self.reader.next_blocks()? else {
                    return Ok(None);
                };
                self.batch = Some(Batched::new(payload));
            }
            let Some((_, last, place)) = self.batch.as_mut().and_then(Batched::advance) else {
                self.batch = None;
                continue;
            };
            let is_behind = last.record == self.end.record && last.number >= self.end.number;
            if is_behind || last.record > self.end.record {
                // Written after the request: the service still has it.
                self.batch = None;
                return Ok(None);
            }
            let before = self.before.replace(last);
            if !(times.0..=times.1).contains(&last.time_ns) {
                continue;
            }
            self.head = Some((last, place));
            let expected = before.map(|before| match before.record == last.record {
                true => before.number + 1,
                false => 0,
            });
            let (Some(before), Some(expected)) = (before, expected) else {
                return Ok(None);
            };
            return Ok((last.number > expected).then(|| {
                let times = (before.time_ns, last.time_ns);
                not_on_disk(self.store, times, last.number - expected)
            }));
        }
    }
}

/// Returns the gaps that overlap a time, of some stores, in the order of their ends.
pub(super) fn gaps(
    directory: &Path,
    stores: &[Store],
    times: (u64, u64),
) -> Result<Vec<Missing>, Error> {
    let mut reader = Reader::new(Disk::new(directory_of(directory, GAPS)), GAPS, times)?;
    let mut all = Vec::new();
    while let Some((_, bytes)) = reader.next_blocks()? {
        let read = serde_json::from_slice::<Missing>(&bytes);
        let wanted = read.ok().filter(|missing| {
            let mut names = stores.iter().map(|store| store.name());
            missing
                .store
                .as_deref()
                .is_none_or(|name| names.any(|wanted| wanted == name))
        });
        all.extend(wanted);
    }
    all.sort_by_key(|missing| missing.to_ns);
    Ok(all)
}

/// Writes the packets to a pipe, until the end or until nobody reads.
pub(super) fn run(
    directory: &Path,
    wanted: &Wanted,
    pipe: &OwnedFd,
) -> Result<Result<(), Closed>, Error> {
    let stores: Vec<Store> = wanted.stores.iter().map(|(store, _)| *store).collect();
    // Those of one store show from its numbers, also where a damaged file is the cause.
    let mut declared = gaps(directory, &stores, wanted.times)?;
    declared.retain(|missing| missing.store.is_none());
    let mut pending = declared.into_iter().peekable();
    let mut lanes = Vec::new();
    for (store, end) in &wanted.stores {
        let disk = Disk::new(directory_of(directory, *store as u32));
        lanes.push(Lane {
            store: *store,
            reader: Reader::new(disk, *store as u32, wanted.times)?,
            batch: None,
            end: Last {
                record: wanted.record,
                number: *end,
                time_ns: 0,
            },
            before: None,
            head: None,
        });
    }
    let mut missing: Vec<Option<Missing>> = vec![None; lanes.len()];
    for (lane, missing) in lanes.iter_mut().zip(&mut missing) {
        *missing = lane.advance(wanted.times)?;
    }
    let mut output = Output::begin(wanted);
    while let Some(at) = earliest(&lanes) {
        let Some((last, place)) = lanes[at].head else {
            break;
        };
        let mut gaps: Vec<Missing> = missing[at].take().into_iter().collect();
        while let Some(due) = pending.next_if(|missing| missing.to_ns <= last.time_ns) {
            gaps.push(due);
        }
        if let Some(batch) = &lanes[at].batch {
            output.packet(batch, &place, &gaps);
        }
        let buffer = &mut output.writer.buffer;
        if buffer.len() >= PART && write(pipe, buffer).is_err() {
            return Ok(Err(Closed));
        }
        missing[at] = lanes[at].advance(wanted.times)?;
    }
    let mut rest: Vec<String> = pending.map(|missing| missing.words).collect();
    for lane in &lanes {
        if lane.reader.damaged() > 0 {
            let name = lane.store.name();
            rest.push(format!(
                "netsonde: store {name}: damaged records on disk were skipped"
            ));
        }
    }
    rest.push(END_OF_DISK.into());
    output.end(&rest);
    Ok(write(pipe, &mut output.writer.buffer))
}

/// Writes the packets of a capture of the service to a pipe, headers only, until the end or until nobody reads.
///
/// # Errors
///
/// The file cannot be read, or is damaged.
pub(super) fn headers_of(mut from: File, pipe: &OwnedFd) -> io::Result<Result<(), Closed>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged block");
    let (mut buffer, mut cut) = (Vec::new(), Vec::new());
    let mut links = Vec::new();
    let mut is_noted = false;
    loop {
        let before = buffer.len();
        buffer.resize(before + PART, 0);
        let length = from.read(&mut buffer[before..])?;
        buffer.truncate(before + length);
        if length == 0 {
            return match buffer.is_empty() {
                true => Ok(Ok(())),
                false => Err(damaged()),
            };
        }
        let mut rest = &buffer[..];
        loop {
            let start = buffer.len() - rest.len();
            let Some(block) = blocks::next(&mut rest).map_err(|_| damaged())? else {
                break;
            };
            let whole = &buffer[start..buffer.len() - rest.len()];
            match block {
                Block::Section(section) => {
                    links.clear();
                    let mut comments = Options::of_section(section).comments();
                    is_noted |= comments.any(|comment| comment == headers::NOTE);
                    match is_noted {
                        true => cut.extend_from_slice(section),
                        false => blocks::write_section(section, &mut cut, headers::NOTE),
                    }
                    is_noted = true;
                }
                Block::Interface(interface) => {
                    links.push(blocks::link_of(interface));
                    cut.extend_from_slice(interface);
                }
                Block::Packet(packet) => {
                    let link = links.get(packet.interface as usize);
                    let link = *link.ok_or_else(damaged)?;
                    let (interface, missing) = (packet.interface, packet.dropped());
                    packet.write_headers(link, &mut cut, interface, |_, _| true, missing, &[]);
                }
                Block::Other => cut.extend_from_slice(whole),
            }
        }
        let taken = buffer.len() - rest.len();
        buffer.drain(..taken);
        if buffer.len() > BLOCK_MAX {
            return Err(damaged());
        }
        if write(pipe, &mut cut).is_err() {
            return Ok(Err(Closed));
        }
    }
}

/// Writes a buffer to a pipe, and clears it.
fn write(pipe: &OwnedFd, buffer: &mut Vec<u8>) -> Result<(), Closed> {
    let mut rest = &buffer[..];
    while !rest.is_empty() {
        match nix::unistd::write(pipe, rest) {
            Ok(length) => rest = &rest[length..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) => {
                let mut wanted = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut wanted, PollTimeout::from(READ_WAIT_MS)) {
                    Ok(0) => return Err(Closed),
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(_) => return Err(Closed),
                }
            }
            Err(_) => return Err(Closed),
        }
    }
    buffer.clear();
    Ok(())
}

fn earliest(lanes: &[Lane]) -> Option<usize> {
    let heads = lanes.iter().enumerate();
    let times = heads.filter_map(|(at, lane)| Some((lane.head?.0.time_ns, at)));
    times.min().map(|(_, at)| at)
}

struct Output {
    writer: Writer,
    interfaces: HashMap<Vec<u8>, u32>,
    headers_only: bool,
}

impl Output {
    fn begin(wanted: &Wanted) -> Output {
        let mut writer = Writer::default();
        let note = wanted.headers_only.then(|| headers::NOTE.to_owned());
        let comments: Vec<String> = note.into_iter().chain(wanted.comments.clone()).collect();
        writer.section(
            concat!("netsonde ", env!("CARGO_PKG_VERSION")),
            "Linux",
            &comments,
        );
        Output {
            writer,
            interfaces: HashMap::new(),
            headers_only: wanted.headers_only,
        }
    }

    fn packet(&mut self, batch: &Batched, place: &Where, gaps: &[Missing]) {
        let Some(packet) = batch.packet(place) else {
            return;
        };
        let interface = batch.interface(place);
        let next = self.interfaces.len() as u32;
        let index = match self.interfaces.get(interface) {
            Some(index) => *index,
            None => {
                self.writer.buffer.extend_from_slice(interface);
                self.interfaces.insert(interface.to_vec(), next);
                next
            }
        };
        let words: Vec<String> = gaps.iter().map(|missing| missing.words.clone()).collect();
        let count = gaps.iter().map(|missing| missing.count).sum();
        let to = &mut self.writer.buffer;
        match self.headers_only {
            true => {
                let link = blocks::link_of(interface);
                packet.write_headers(link, to, index, is_of_packet, count, &words);
            }
            false => packet.write(to, index, is_of_packet, count, &words),
        }
    }

    fn end(&mut self, comments: &[String]) {
        if self.interfaces.is_empty() {
            // Without an interface the file has no link type, and libpcap refuses it.
            let link = LinkType::Ethernet.to_linktype();
            self.writer.interface(link, SNAP_MAX, None, None);
        }
        self.writer.statistics(&Statistics {
            interface: 0,
            time_ns: crate::linux::wall_ns(),
            comments,
            ..Statistics::default()
        });
    }
}

/// Returns the comment that says since when a store is on disk.
pub(super) fn since(store: Store, oldest_ns: u64) -> String {
    format!(
        "netsonde: store {}: on disk since {}",
        store.name(),
        time(oldest_ns)
    )
}
