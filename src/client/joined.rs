//! SHELL. Packets of netsonde-historian's disk and of the service's memory as one stream, in time order. Where one
//! ends and the other begins is a number for each store, so that no packet is there twice or missing.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::history::{RecordCall, RecordReply};
use netsonde_core::protocol::service::Status;
use netsonde_core::recorder::pcapng::{Counts, END_OF_DISK, Statistics, Writer};
use netsonde_core::recorder::{Store, headers};
use netsonde_core::wire::LinkType;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::client::chosen::Chosen;
use crate::client::cli::args::{Lookback, Packets};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, FilePacket, Item};
use crate::client::output::remark;
use crate::linux::wall_ns;
use crate::varlink::client::{Connection, HISTORIAN, ask};

/// Time for the historian's reply: it only lists files.
const REPLY_WAIT: Duration = Duration::from_secs(10);
/// Packets between the thread that reads the memory and the one that merges.
const AHEAD: usize = 1024;
/// Time after which a live stream without packets lets those of the disk pass.
const QUIET: Duration = Duration::from_millis(200);
/// Interval at which the reader of the memory looks whether it is still needed.
const LOOK_MS: u16 = 100;
/// Start of the comments on declared gaps.
const GAP: &str = "netsonde: gap: ";
/// Bytes written at once.
const PART: usize = 256 << 10;

/// Packets on disk that are older than those in memory.
pub(crate) struct OnDisk {
    descriptor: OwnedFd,
    /// First time in nanoseconds since 1970.
    pub(crate) since_ns: u64,
    /// The service's record, and the number of the first packet of each store that is not on disk.
    pub(crate) record: Option<u64>,
    pub(crate) next: Option<BTreeMap<String, u64>>,
}

/// Returns whether packets since a time may have left the memory.
fn reaches_before(memory: &Status, since_ns: u64) -> bool {
    let ns = |text: &str| {
        let time = text.parse::<jiff::Timestamp>().ok()?;
        u64::try_from(time.as_nanosecond()).ok()
    };
    let stores = memory.recorder.iter();
    let mut stores = stores.filter(|store| store.store != Store::Bulk.name());
    ns(&memory.started).is_none_or(|started| since_ns < started)
        || stores.any(|store| {
            let oldest = store.oldest.as_deref().and_then(ns);
            store.evicted > 0 && oldest.is_none_or(|oldest| since_ns < oldest)
        })
}

/// Asks the historian, if there is one, for the selected time, if the memory does not reach back so far. As of the
/// service, `content` is how much of each packet. If it refuses, why is in words: for the user, unless the service
/// refuses, too.
pub(crate) fn on_disk(
    socket: &Path,
    packets: &Packets,
    content: Content,
) -> Result<Result<Option<OnDisk>, String>, Failure> {
    let Some(history) = packets.history.as_deref().filter(|_| packets.is_past()) else {
        return Ok(Ok(None));
    };
    let since_ns = match (packets.last, packets.since) {
        (Some(Lookback::Ns(ns)), _) => wall_ns().saturating_sub(ns),
        (_, since) => since.unwrap_or(0),
    };
    // Without a historian everything is as before: it is an option.
    let Ok(mut connection) = Connection::open_to(HISTORIAN, history) else {
        return Ok(Ok(None));
    };
    if let Ok(status) = ask::<Status>(socket, "io.netsonde.Service.Status")
        && !reaches_before(&status, since_ns)
    {
        return Ok(Ok(None));
    }
    connection.wait_at_most(REPLY_WAIT)?;
    let call = RecordCall {
        since_ns: Some(since_ns),
        until_ns: packets.until,
        stores: (!packets.stores.is_empty()).then(|| packets.stores.clone()),
        content: Some(content),
    };
    let asked = connection.call_more("io.netsonde.History.Record", &call);
    let reply = match asked.and_then(|()| connection.reply()) {
        Ok(reply) => reply,
        Err(error) => return Ok(Err(format!("packets on disk are left out: {error}"))),
    };
    let unexpected = || Failure::Other(format!("unexpected reply of {}", HISTORIAN.name));
    let report: RecordReply = serde_json::from_value(reply.parameters).map_err(|_| unexpected())?;
    let index = report.fd.unwrap_or(0) as usize;
    let descriptor = reply.descriptors.into_iter().nth(index);
    Ok(Ok(Some(OnDisk {
        descriptor: descriptor.ok_or_else(unexpected)?,
        since_ns,
        record: report.record,
        next: report.next,
    })))
}

/// Joins both, in a thread. Returns the read end of a pipe with the packets.
pub(crate) fn join(
    disk: OnDisk,
    memory: OwnedFd,
    packets: &Packets,
    follow: bool,
) -> Result<OwnedFd, Failure> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = sync_channel(AHEAD);
    let watched = Watched {
        file: File::from(memory),
        is_over: is_over.clone(),
    };
    std::thread::spawn(move || read_memory(watched, &sender));
    let packets = packets.clone();
    std::thread::spawn(move || {
        let outcome = merge(disk, &receiver, &packets, follow, File::from(write));
        is_over.store(true, Ordering::Relaxed);
        match outcome {
            // The reader of the pipe has ended, and says why if there is something to say.
            Err(Failure::System(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(failure) => remark(format!("packets on disk cannot be read: {failure}")),
            Ok(()) => {}
        }
        // The other thread may be waiting for room.
        drop(receiver);
    });
    Ok(read)
}

/// The memory's pipe, until nobody needs it.
struct Watched {
    file: File,
    is_over: Arc<AtomicBool>,
}

impl Read for Watched {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(0);
            }
            let mut wanted = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, PollTimeout::from(LOOK_MS)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return self.file.read(room),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn read_memory(pipe: Watched, to: &SyncSender<Item>) {
    let outcome = CaptureFile::new(pipe).and_then(|mut file| {
        while let Some(item) = file.next()? {
            if to.send(item).is_err() {
                break;
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        remark(format!("the packets in memory cannot be read: {error}"));
    }
}

/// Merges both into a pipe, until both end, the limit is reached, or the reader is gone.
fn merge(
    disk: OnDisk,
    memory: &Receiver<Item>,
    packets: &Packets,
    follow: bool,
    pipe: File,
) -> Result<(), Failure> {
    let stores: Vec<String> = disk
        .next
        .iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let chosen = Packets {
        last: None,
        since: Some(disk.since_ns),
        ..packets.clone()
    };
    let mut sides = Sides {
        disk: Some(CaptureFile::new(File::from(disk.descriptor))?),
        chosen: Chosen::new(&chosen)?,
        is_whole: false,
        passed: (0, Vec::new()),
        memory,
        is_open: true,
        follow,
        notes: Vec::new(),
    };
    let mut heads: (Option<FilePacket>, Option<FilePacket>) = (sides.next_on_disk()?, None);
    heads.1 = sides.next_in_memory(heads.0.is_some());
    let mut output = Output::begin(pipe, std::mem::take(&mut sides.notes), &stores);
    let most = packets.count.unwrap_or(u64::MAX);
    for _ in 0..most {
        if heads.1.is_none() && sides.is_open {
            if heads.0.is_none() || !follow {
                output.flush()?;
            }
            heads.1 = sides.next_in_memory(heads.0.is_some());
        }
        let is_disk = match (&heads.0, &heads.1) {
            (Some(disk), Some(memory)) => disk.time_ns <= memory.time_ns,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        let next = match is_disk {
            true => std::mem::replace(&mut heads.0, sides.next_on_disk()?),
            false => heads.1.take(),
        };
        if let Some(packet) = next {
            output.packet(&packet)?;
        }
    }
    Ok(output.end(sides.notes)?)
}

/// Both sources.
struct Sides<'m> {
    disk: Option<CaptureFile<'static>>,
    chosen: Chosen,
    /// Whether the end of the disk was reached.
    is_whole: bool,
    /// Missing packets and gaps that packets declare which are not selected.
    passed: (u64, Vec<String>),
    memory: &'m Receiver<Item>,
    is_open: bool,
    follow: bool,
    /// Comments of both that are not on a packet.
    notes: Vec<String>,
}

impl Sides<'_> {
    /// Returns the next selected packet of the disk.
    fn next_on_disk(&mut self) -> Result<Option<FilePacket>, Failure> {
        while let Some(disk) = &mut self.disk {
            match disk.next()? {
                None => {
                    self.disk = None;
                    if !self.is_whole {
                        remark(
                            "netsonde-historian ended the packets on disk early (see its log): some are missing",
                        );
                    }
                    self.notes.append(&mut self.passed.1);
                }
                Some(Item::Note(note)) if note == END_OF_DISK => self.is_whole = true,
                Some(Item::Note(note)) => self.notes.push(note),
                Some(Item::Packet(mut packet)) => {
                    if self.chosen.selects(&packet)? {
                        packet.dropped += std::mem::take(&mut self.passed.0);
                        packet.comments.splice(0..0, self.passed.1.drain(..));
                        return Ok(Some(packet));
                    }
                    // What it declares is not about it.
                    self.passed.0 += packet.dropped;
                    let gaps = packet.comments.into_iter();
                    self.passed
                        .1
                        .extend(gaps.filter(|comment| comment.starts_with(GAP)));
                }
            }
        }
        Ok(None)
    }

    /// Returns the next packet of the memory. While packets of the disk wait, a live stream without packets ends the
    /// wait: what comes later is newer.
    fn next_in_memory(&mut self, are_waiting: bool) -> Option<FilePacket> {
        loop {
            let item = match self.follow && are_waiting {
                true => self.memory.recv_timeout(QUIET),
                false => self
                    .memory
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            match item {
                Ok(Item::Note(note)) => self.notes.push(note),
                Ok(Item::Packet(packet)) => return Some(packet),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_open = false;
                    return None;
                }
            }
        }
    }
}

struct Output {
    pipe: File,
    writer: Writer,
    interfaces: Vec<(u32, Option<String>)>,
    /// Declared gaps, and the note that payload is left out: both may have the same.
    declared: HashSet<String>,
}

impl Output {
    fn begin(pipe: File, mut notes: Vec<String>, stores: &[String]) -> Output {
        // What left the memory is on disk.
        notes.retain(|note| {
            let is_of_stored = stores.iter().any(|name| {
                note.starts_with(&format!("netsonde: store {name}: "))
                    && note.contains(" evicted, complete after ")
            });
            !is_of_stored && !note.starts_with("netsonde: the record begins at ")
        });
        let mut output = Output {
            pipe,
            writer: Writer::default(),
            interfaces: Vec::new(),
            declared: HashSet::new(),
        };
        notes.retain(|note| output.is_new(note));
        let application = concat!("netsonde ", env!("CARGO_PKG_VERSION"));
        output.writer.section(application, "Linux", &notes);
        output
    }

    /// Returns whether a comment was not declared before.
    fn is_new(&mut self, comment: &str) -> bool {
        let is_once = comment.starts_with(GAP) || comment == headers::NOTE;
        !is_once || self.declared.insert(comment.to_owned())
    }

    fn packet(&mut self, packet: &FilePacket) -> io::Result<()> {
        let key = (packet.link_number, packet.interface.clone());
        let known = self.interfaces.iter().position(|known| *known == key);
        let interface = match known {
            Some(at) => at as u32,
            None => {
                let link = u16::try_from(packet.link_number).unwrap_or(u16::MAX);
                let name = key.1.clone();
                self.interfaces.push(key);
                self.writer.interface(link, 0, name.as_deref(), None)
            }
        };
        let mut comments = packet.comments.clone();
        comments.retain(|comment| self.is_new(comment));
        self.writer.packet_with(
            interface,
            packet
                .time_ns
                .and_then(|ns| u64::try_from(ns).ok())
                .unwrap_or(0),
            &packet.bytes,
            packet.original_length,
            packet.direction,
            packet.checksum,
            Counts {
                missing: packet.dropped,
                stands_for: packet.stands_for,
                id: None,
            },
            &comments,
        );
        if self.writer.buffer.len() >= PART {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.write_all(&self.writer.buffer)?;
        self.writer.buffer.clear();
        Ok(())
    }

    fn end(mut self, mut notes: Vec<String>) -> io::Result<()> {
        notes.retain(|note| self.is_new(note));
        if self.interfaces.is_empty() {
            let link = LinkType::Ethernet.to_linktype();
            self.writer.interface(link, 0, None, None);
        }
        if !notes.is_empty() {
            self.writer.statistics(&Statistics {
                time_ns: wall_ns(),
                comments: &notes,
                ..Statistics::default()
            });
        }
        self.flush()
    }
}
