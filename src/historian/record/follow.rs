//! SHELL. The thread that brings packets from the service to the disk. There is no queue: what is not written yet
//! stays in the service's record, and is fetched from there, by its number, when the disk or the service is back.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netsonde_core::protocol::capture::{CaptureCall, CaptureReply, Content, Selection};
use netsonde_core::protocol::time;
use netsonde_core::recorder::blocks::{self, BLOCK_MAX, Block, Options as BlockOptions};
use netsonde_core::recorder::pcapng::OPT_COMMENT;
use netsonde_history::store::Error as StoreError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::batch::GAP;
use super::rooms::{Missing, Rooms};
use super::{Problem, Shared};
use crate::linux::{reason, wall_ns};
use crate::varlink::client::{Connection, Error as ClientError};

/// Time for which packets are collected before they are written.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Interval at which all that was written is forced to the disk: with that above, a power cut costs less than 10 s.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the directory is looked for while there is nothing to write.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Bytes read at once: a quarter of what a pipe of the service has at most.
const READ_BYTES: usize = 256 << 10;
/// Shortest and longest pause before the service or the disk is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Time for the first reply of the service.
const REPLY_WAIT: Duration = Duration::from_secs(10);

/// Why following ended.
enum Ended {
    /// The historian ends.
    Stopped,
    /// There is no service, or it ended the stream.
    Away(String),
    /// The disk refused.
    Disk(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Ended {
        Ended::Disk(error)
    }
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Ended {
        Ended::Away(error.to_string())
    }
}

/// Follows the service until `stop` is readable.
pub(super) fn run(shared: &Shared, stop: &OwnedFd) {
    let mut rooms: Option<Rooms> = None;
    let mut pause = PAUSES.0;
    loop {
        let began = Instant::now();
        let ended = match rooms.take() {
            Some(open) => {
                let rooms = rooms.insert(open);
                let Err(ended) = follow(shared, rooms, stop);
                rooms.forget();
                ended
            }
            None => match Rooms::open(&shared.directory, &shared.options) {
                Ok(open) => {
                    shared.opened(&open);
                    rooms = Some(open);
                    continue;
                }
                Err(error) => Ended::Disk(error),
            },
        };
        shared.disconnected();
        match ended {
            Ended::Stopped => break,
            Ended::Away(words) => shared.problem(Problem::Service, Some(words)),
            Ended::Disk(error) => {
                // Opened again: what is in files after an error is what can be read from them.
                rooms = None;
                shared.closed();
                let words = format!(
                    "packets are not stored: {error}; they are fetched from netsonded's memory when it can be \
                     written again"
                );
                shared.problem(Problem::Disk, Some(words));
            }
        }
        if began.elapsed() > PAUSES.1 {
            pause = PAUSES.0;
        }
        if wait(&[stop.as_fd()], Some(pause)) {
            break;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
    if let Some(mut rooms) = rooms {
        let _ = rooms.sync(shared, wall_ns());
    }
}

/// Waits until one of some descriptors is readable or closed; returns false at the timeout.
fn wait(descriptors: &[BorrowedFd<'_>], timeout: Option<Duration>) -> bool {
    let mut wanted: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::new(*descriptor, PollFlags::POLLIN))
        .collect();
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        let ms = u16::try_from(timeout.as_millis().max(1)).unwrap_or(u16::MAX);
        PollTimeout::from(ms)
    });
    let _ = poll(&mut wanted, timeout);
    wanted.iter().any(|one| one.any().unwrap_or(false))
}

/// Requests all packets that are not on disk. Returns the pipe, and the record that they are from.
fn request(shared: &Shared, rooms: &Rooms) -> Result<(Connection, File, u64), Ended> {
    let mut connection = Connection::open(&shared.socket)?;
    connection.wait_at_most(REPLY_WAIT)?;
    let last = rooms.last();
    let stores = shared.options.stores();
    let selection = Selection {
        stores: Some(stores.iter().map(|store| store.name().to_owned()).collect()),
        follow: Some(true),
        since_ns: Some(0),
        content: Some(Content::Permitted),
        numbered: Some(true),
        record: last.map(|last| last.record),
        next: last.map(|last| rooms.next(last.record)),
        ..Selection::default()
    };
    connection.call_more("io.netsonde.Capture.Capture", &CaptureCall { selection })?;
    let reply = connection.reply()?;
    let opened: CaptureReply = serde_json::from_value(reply.parameters)
        .map_err(|error| Ended::Away(format!("unexpected reply of netsonded: {error}")))?;
    let descriptor = reply
        .descriptors
        .into_iter()
        .nth(opened.fd.unwrap_or(0) as usize);
    let (Some(descriptor), Some(record)) = (descriptor, opened.record) else {
        return Err(Ended::Away(
            "netsonded does not number packets: it is older than netsonde-historian".into(),
        ));
    };
    let is_cut = opened.content == Some(Content::Headers);
    if is_cut {
        tracing::debug!(
            "packets are stored without payload: permission.payload in netsonde.toml does not include the user of \
             netsonde-historian"
        );
    }
    Ok((connection, File::from(descriptor), record))
}

fn follow(
    shared: &Shared,
    rooms: &mut Rooms,
    stop: &OwnedFd,
) -> Result<std::convert::Infallible, Ended> {
    rooms.check()?;
    let (mut connection, mut pipe, record) = request(shared, rooms)?;
    declare_replaced(shared, rooms, record)?;
    shared.connected(rooms, record);
    let mut stream = Stream {
        read: vec![0; READ_BYTES],
        buffer: Vec::new(),
        interfaces: Vec::new(),
    };
    let (mut flushed, mut synced) = (Instant::now(), Instant::now());
    loop {
        let due = match rooms.is_dirty() {
            true => FLUSH_EVERY.saturating_sub(flushed.elapsed()),
            false => CHECK_EVERY,
        };
        let is_ready = wait(&[pipe.as_fd(), stop.as_fd()], Some(due));
        if wait(&[stop.as_fd()], Some(Duration::ZERO)) {
            rooms.flush(shared, wall_ns())?;
            rooms.sync(shared, wall_ns())?;
            return Err(Ended::Stopped);
        }
        let is_open = !is_ready || stream.read(&mut pipe)?;
        let now_ns = wall_ns();
        stream.take(shared, rooms, record, now_ns)?;
        if !rooms.is_dirty() {
            rooms.check()?;
        }
        if flushed.elapsed() >= FLUSH_EVERY || !is_open {
            rooms.flush(shared, now_ns)?;
            flushed = Instant::now();
        }
        if rooms.is_dirty() && synced.elapsed() >= SYNC_EVERY || !is_open {
            rooms.sync(shared, now_ns)?;
            shared.synced(rooms, now_ns);
            synced = Instant::now();
        }
        if !is_open {
            return Err(match connection.reply() {
                Ok(last) => {
                    let report: CaptureReply =
                        serde_json::from_value(last.parameters).unwrap_or_default();
                    let cut = report.cut.unwrap_or_else(|| "it is ending".into());
                    Ended::Away(format!("netsonded ended the stream: {cut}"))
                }
                Err(error) => error.into(),
            });
        }
    }
}

/// Declares that a record was replaced by another: its last packets may be missing.
fn declare_replaced(shared: &Shared, rooms: &mut Rooms, record: u64) -> Result<(), Ended> {
    let Some(last) = rooms.last().filter(|last| last.record != record) else {
        return Ok(());
    };
    let from_ns = shared.alive_ns().unwrap_or(last.time_ns).max(last.time_ns);
    let to_ns = record.max(from_ns);
    let missing = Missing {
        store: None,
        from_ns,
        to_ns,
        count: 0,
        words: format!(
            "{GAP}record_replaced from {} to {}",
            time(from_ns),
            time(to_ns)
        ),
    };
    Ok(rooms.declare(missing, wall_ns())?)
}

/// Bytes of the stream that are not whole blocks yet, and the interfaces of its section.
struct Stream {
    /// What one call reads.
    read: Vec<u8>,
    buffer: Vec<u8>,
    interfaces: Vec<Vec<u8>>,
}

impl Stream {
    /// Reads once; returns false at the end.
    fn read(&mut self, pipe: &mut File) -> Result<bool, Ended> {
        match pipe.read(&mut self.read) {
            Ok(length) => {
                self.buffer.extend_from_slice(&self.read[..length]);
                Ok(length > 0)
            }
            Err(error) => Err(Ended::Away(format!(
                "cannot read from netsonded: {}",
                reason(&error)
            ))),
        }
    }

    /// Takes all whole blocks.
    fn take(
        &mut self,
        shared: &Shared,
        rooms: &mut Rooms,
        record: u64,
        now_ns: u64,
    ) -> Result<(), Ended> {
        let mut rest = &self.buffer[..];
        let damaged = || Ended::Away("netsonded sent a damaged block (do versions match?)".into());
        while let Some(block) = blocks::next(&mut rest).map_err(|_| damaged())? {
            match block {
                Block::Section(section) => {
                    self.interfaces.clear();
                    let comments = BlockOptions::of_section(section).comments();
                    declare(rooms, comments, now_ns)?;
                }
                Block::Interface(interface) => self.interfaces.push(interface.to_vec()),
                Block::Packet(packet) => {
                    let is_gap = |(code, value): (u16, &[u8])| {
                        code == OPT_COMMENT && value.starts_with(GAP.as_bytes())
                    };
                    if packet.options().any(is_gap) {
                        declare(rooms, packet.options().comments(), now_ns)?;
                    }
                    let interface = self.interfaces.get(packet.interface as usize);
                    let interface = interface.ok_or_else(damaged)?;
                    rooms.add(shared, record, interface, &packet, now_ns)?;
                }
                Block::Other => {}
            }
        }
        let taken = self.buffer.len() - rest.len();
        self.buffer.drain(..taken);
        if self.buffer.len() > BLOCK_MAX {
            return Err(damaged());
        }
        Ok(())
    }
}

/// Stores the gaps among some comments.
fn declare<'a>(
    rooms: &mut Rooms,
    comments: impl Iterator<Item = &'a str>,
    now_ns: u64,
) -> Result<(), Ended> {
    for words in comments.filter(|words| words.starts_with(GAP)) {
        if let Some(missing) = Missing::read(words) {
            rooms.declare(missing, now_ns)?;
        }
    }
    Ok(())
}
