//! SHELL. Export of packets from the recorder, as pcapng through a pipe to the client. Nothing is
//! queued for a reader: the record is the queue, and packets evicted before a slow reader reaches
//! them are declared in the stream.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;

use super::sandbox::PIPE_BYTES;
use super::service::status::gap as gap_in_words;
use super::{Shared, ready, samples};
use crate::linux::mapping::OwnMemory;
use crate::linux::wall_ns;
use netsonde_core::protocol::capture::{CaptureReply, Selection};
use netsonde_core::protocol::time;
use netsonde_core::recorder::layout::SNAP_MAX;
use netsonde_core::recorder::pcapng::{Counts, Statistics, Writer, packet_id};
use netsonde_core::recorder::select::Select;
use netsonde_core::recorder::{Cursor, From, Gap, GapKind, Record, Recorder, Store, headers};
use netsonde_core::text::{counted, was_or_were};
use netsonde_core::wire::glance::glance;
use netsonde_core::wire::{LinkType, linktype};

/// Packets examined before other tasks run: about a millisecond.
const MAX_PACKETS_PER_POLL: usize = 4096;
/// The same for long filters: 2,048 instructions for each of these packets would take tens of
/// milliseconds.
const MAX_POLL_TIME: Duration = Duration::from_millis(2);
/// Packets after which the clock is read.
const PACKETS_PER_CLOCK_READ: usize = 32;
/// Bytes collected before they are written.
const MAX_BYTES_PER_POLL: usize = 256 * 1024;
/// Memory of an export: its pipe, its buffer with the packet that exceeds it, which grows by doubling, the
/// declared gaps, and the filter.
pub const BYTES: u64 = PIPE_BYTES as u64 + 2 * MAX_BYTES_PER_POLL as u64 + (1 << 19);
/// Maximum time for which a reader may leave the pipe full.
const READ_WAIT: Duration = Duration::from_secs(30);
/// A packet of one ring can arrive this much later than one of the other, since blocks are passed
/// on after 20 ms. Following stays this far behind, so that packets are in order.
const FOLLOW_DELAY: Duration = Duration::from_millis(40);

/// Gaps listed at the beginning, the newest: as many as a person reads. Earlier ones are written with the
/// packets after them.
const GAPS_LISTED: usize = 32;

/// A request for packets, ready to run.
pub struct Export {
    selection: Selection,
    select: Select,
    cursor: Cursor,
    stores: Vec<Store>,
    from_ns: u64,
    follow: bool,
    limit: u64,
    headers_only: bool,
    /// Whether packets get their numbers, which also show what was evicted.
    numbered: bool,
}

/// Why a request for packets was rejected.
pub enum Refused {
    /// The selection is invalid.
    Invalid(netsonde_core::recorder::select::Invalid),
    /// An interface that the record does not know.
    NoSuchInterface(String),
    /// An unknown store.
    NoSuchStore(String),
}

impl Export {
    /// Prepares a request made at `asked_ns` by a caller who may see headers only, or all.
    pub fn new(
        engine: &Shared,
        selection: Selection,
        asked_ns: u64,
        headers_only: bool,
    ) -> Result<Export, Refused> {
        let select = Select::new(&selection).map_err(Refused::Invalid)?;
        let engine = engine.borrow();
        let recorder = &engine.recording.recorder;
        for name in select.interfaces() {
            if !recorder
                .interfaces()
                .iter()
                .any(|(_, slot)| slot.name() == *name)
            {
                return Err(Refused::NoSuchInterface(name.clone()));
            }
        }
        let mut stores = Vec::new();
        for name in selection.stores.iter().flatten() {
            let store = Store::from_name(name).ok_or_else(|| Refused::NoSuchStore(name.clone()))?;
            stores.push(store);
        }
        if stores.is_empty() {
            stores = Store::ALL.to_vec();
        }
        let follow = selection.follow.unwrap_or(false);
        let since = match (selection.since_ns, selection.last_ns) {
            (Some(since), last) => {
                Some(since.max(last.map_or(0, |last| asked_ns.saturating_sub(last))))
            }
            (None, last) => last.map(|last| asked_ns.saturating_sub(last)),
        };
        let from = match since {
            Some(since) => From::Since(since),
            None if follow => From::Now,
            None => From::Oldest,
        };
        let open_end = if follow { u64::MAX } else { asked_ns };
        let until = selection.until_ns.unwrap_or(open_end);
        let mut cursor = Cursor::new(recorder, &stores, from, until, follow);
        if selection.record == Some(recorder.created_ns()) {
            for (name, number) in selection.next.iter().flatten() {
                let known = Store::from_name(name);
                let store = known.ok_or_else(|| Refused::NoSuchStore(name.clone()))?;
                cursor.skip_to(recorder, store, *number);
            }
        }
        Ok(Export {
            cursor,
            stores,
            numbered: selection.numbered.unwrap_or(false),
            from_ns: match from {
                From::Since(since) => since,
                From::Oldest => 0,
                From::Now => wall_ns(),
            },
            limit: selection.limit.unwrap_or(u64::MAX),
            follow,
            headers_only,
            select,
            selection,
        })
    }
}

/// Waits until all packets that have crossed the interfaces so far are in the record: the kernel
/// passes a block on when it is full, or after a moment.
pub async fn wait_until_recorded(engine: &Shared) {
    let before = engine.borrow().recording.filling();
    let by = tokio::time::Instant::now() + FOLLOW_DELAY;
    loop {
        let now = engine.borrow().recording.filling();
        let same = |ring: usize| before[ring].is_some() && before[ring] == now[ring];
        if !(same(0) || same(1)) || tokio::time::Instant::now() >= by {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Creates the pipe: the client's end, and ours, which does not block.
///
/// Both ends are born non-blocking. The client's is then opened again, because the sandbox allows no
/// change of that mode.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let theirs = nix::fcntl::open(path.as_str(), flags, Mode::empty())?;
    Ok((theirs, write))
}

/// Runs an export until all selected packets are written, the reader closes the pipe, or it stops
/// reading.
pub async fn run(engine: &Shared, export: Export, pipe: OwnedFd) -> io::Result<CaptureReply> {
    // Waiting for the end clears the known readiness, so it uses a descriptor of its own.
    let watched = ready::writable(pipe.try_clone()?)?;
    let pipe = ready::writable(pipe)?;
    let mut stream = Stream::begin(engine, export);
    loop {
        let notified = {
            let engine = engine.borrow();
            engine.packets_ready.clone()
        };
        let notified = notified.notified();
        let more = stream.poll_once(engine);
        match write(&pipe, &mut stream.writer.buffer).await {
            Written::All => {}
            Written::Closed => return Ok(stream.report(None)),
            Written::Stuck => {
                engine.borrow_mut().readers_disconnected += 1;
                let seconds = READ_WAIT.as_secs();
                return Ok(stream.report(Some(format!("nothing was read for {seconds} s"))));
            }
        }
        match more {
            More::Now => yield_now().await,
            More::Behind => tokio::time::sleep(FOLLOW_DELAY).await,
            More::Later => {
                tokio::select! {
                    () = notified => {}
                    () = closed(&watched) => return Ok(stream.report(None)),
                }
            }
            More::No => break,
        }
    }
    stream.end(engine);
    write(&pipe, &mut stream.writer.buffer).await;
    Ok(stream.report(None))
}

/// When to continue.
enum More {
    /// At once.
    Now,
    /// Shortly: there are packets, but not old enough to be in order.
    Behind,
    /// When packets have been recorded.
    Later,
    /// Not at all: the export is complete.
    No,
}

struct Stream {
    export: Export,
    writer: Writer,
    /// Returns the number of an interface in the file, or `None` if it is not selected.
    interfaces: HashMap<(u16, u16), Option<u32>>,
    delivered: HashMap<(u16, u16), u64>,
    packets: u64,
    missed_told: u64,
    /// Declared gaps to be written with the next packet after them, oldest first.
    pending: Vec<PendingGap>,
    /// Gaps ever declared that have been considered.
    gaps_seen: u64,
    start_ns: u64,
}

/// A gap to be written with the next packet after it.
struct PendingGap {
    gap: Gap,
    /// Whether the beginning of the file has it already: only its packets are counted as missing.
    is_listed: bool,
}

impl Stream {
    fn begin(engine: &Shared, export: Export) -> Stream {
        let engine = engine.borrow();
        let recorder = &engine.recording.recorder;
        let mut gaps = recorder.closed_gaps(0);
        if !export.follow {
            // While following, a gap is written when it has ended.
            gaps.extend(recorder.open_gaps());
        }
        gaps.retain(|gap| gap.to_ns >= export.from_ns);
        let unlisted = gaps.len().saturating_sub(GAPS_LISTED);
        let mut writer = Writer::default();
        let application = concat!("netsonde ", env!("CARGO_PKG_VERSION"));
        writer.section(
            application,
            "Linux",
            &beginning(recorder, &export, &gaps[unlisted..]),
        );
        Stream {
            writer,
            interfaces: HashMap::new(),
            delivered: HashMap::new(),
            packets: 0,
            missed_told: 0,
            gaps_seen: recorder.gaps_closed(),
            pending: gaps
                .into_iter()
                .enumerate()
                .map(|(at, gap)| PendingGap {
                    gap,
                    is_listed: at >= unlisted,
                })
                .collect(),
            start_ns: wall_ns(),
            export,
        }
    }

    fn poll_once(&mut self, engine: &Shared) -> More {
        let engine = engine.borrow();
        let recorder = &engine.recording.recorder;
        self.export.cursor.refresh(recorder);
        let bound = if self.export.follow {
            wall_ns().saturating_sub(FOLLOW_DELAY.as_nanos() as u64)
        } else {
            u64::MAX
        };
        self.take_new_gaps(recorder, bound);
        // A reader of numbers needs no order by time, and must not wait for it when the clock is set back.
        let bound = if self.export.numbered {
            u64::MAX
        } else {
            bound
        };
        let start = Instant::now();
        for count in 1..=MAX_PACKETS_PER_POLL {
            if self.packets >= self.export.limit {
                return More::No;
            }
            let Some(mut record) = self.export.cursor.next(recorder, bound) else {
                let over = self
                    .export
                    .selection
                    .until_ns
                    .is_some_and(|until| wall_ns() > until);
                return if !self.export.follow || over {
                    More::No
                } else if self.export.cursor.is_waiting(recorder) {
                    More::Behind
                } else {
                    More::Later
                };
            };
            let whole = record.frame();
            if self.export.headers_only {
                // Truncated before the filter runs: otherwise a filter could reveal the payload.
                let seen = glance(record.link, record.bytes);
                let kept = headers::length(record.link, record.bytes, &seen);
                record.bytes = record.bytes.get(..kept).unwrap_or_default();
            }
            if self.export.select.wants(&record) {
                // A reader of headers cannot verify the checksum.
                if self.export.headers_only {
                    record.checksum = headers::checksum(&whole);
                }
                self.put(recorder, &record);
            }
            let is_time = count % PACKETS_PER_CLOCK_READ == 0 && start.elapsed() >= MAX_POLL_TIME;
            if is_time || self.writer.buffer.len() >= MAX_BYTES_PER_POLL {
                break;
            }
        }
        More::Now
    }

    fn put(&mut self, recorder: &Recorder<OwnMemory>, record: &Record<'_>) {
        let Some(interface) = self.interface(recorder, record) else {
            return;
        };
        let missed = self.export.cursor.missed() - self.missed_told;
        let due = self
            .pending
            .first()
            .is_some_and(|pending| pending.gap.to_ns <= record.time_ns);
        let (time, bytes, length) = (record.time_ns, record.bytes, record.original_length);
        if missed == 0 && !due && record.stands_for == 1 && !self.export.numbered {
            self.writer.packet(
                interface,
                time,
                bytes,
                length,
                record.direction,
                record.checksum,
            );
        } else {
            let (missing, comments) = self.before(recorder, record, missed);
            self.writer.packet_with(
                interface,
                time,
                bytes,
                length,
                record.direction,
                record.checksum,
                Counts {
                    missing,
                    stands_for: record.stands_for,
                    id: (self.export.numbered).then(|| packet_id(record.store, record.number)),
                },
                &comments,
            );
        }
        self.packets += 1;
        *self.delivered.entry(record.interface).or_default() += 1;
    }

    /// Comments to be written before a packet: how many packets are missing, and why.
    fn before(
        &mut self,
        recorder: &Recorder<OwnMemory>,
        record: &Record<'_>,
        missed: u64,
    ) -> (u64, Vec<String>) {
        self.missed_told += missed;
        let missed = if self.export.numbered { 0 } else { missed };
        let mut missing = missed;
        let mut comments = Vec::new();
        if missed > 0 {
            comments.push(format!(
                "netsonde: {packets} {were} evicted before this reader reached them",
                packets = counted(missed, "packet"),
                were = was_or_were(missed)
            ));
        }
        let due = self
            .pending
            .iter()
            .take_while(|pending| pending.gap.to_ns <= record.time_ns)
            .count();
        for PendingGap { gap, is_listed } in self.pending.drain(..due) {
            missing += gap.count;
            if !is_listed {
                comments.push(sentence(recorder, &gap));
            }
        }
        (missing, comments)
    }

    fn interface(&mut self, recorder: &Recorder<OwnMemory>, record: &Record<'_>) -> Option<u32> {
        if let Some(known) = self.interfaces.get(&record.interface) {
            return *known;
        }
        let (slot, generation) = record.interface;
        let known = recorder.interfaces().get(slot, generation);
        let name = known.map_or_else(|| format!("gone-{slot}-{generation}"), |known| known.name());
        let number = self.export.select.wants_interface(&name).then(|| {
            let filter = self.export.selection.filter.as_deref();
            self.writer.interface(
                linktype::of_hardware(record.link, known.map_or(0, |known| known.hardware)),
                SNAP_MAX,
                Some(&name),
                filter,
            )
        });
        self.interfaces.insert(record.interface, number);
        number
    }

    /// Considers the gaps that ended before `bound`: a packet that the rings still hold may shorten a later
    /// one.
    fn take_new_gaps(&mut self, recorder: &Recorder<OwnMemory>, bound: u64) {
        let closed = recorder.gaps_closed();
        if closed == self.gaps_seen {
            return;
        }
        let new = recorder.closed_gaps(self.gaps_seen);
        // Those that were evicted before this reader reached them are in none of both.
        self.gaps_seen = closed - new.len() as u64;
        for gap in new.into_iter().take_while(|gap| gap.to_ns <= bound) {
            self.gaps_seen += 1;
            self.pending.push(PendingGap {
                gap,
                is_listed: false,
            });
        }
    }

    /// Ends the file: statistics of each interface, and declarations not yet written.
    fn end(&mut self, engine: &Shared) {
        let engine = engine.borrow();
        let recorder = &engine.recording.recorder;
        if !self.writer.has_interface() {
            // Without an interface the file has no link type, and libpcap refuses it.
            let filter = self.export.selection.filter.as_deref();
            let link = LinkType::Ethernet.to_linktype();
            self.writer.interface(link, SNAP_MAX, None, filter);
        }
        let drops: u64 = (0..2).map(|ring| recorder.ring(ring).declared_drops).sum();
        let mut interfaces: Vec<((u16, u16), u32)> = self
            .interfaces
            .iter()
            .filter_map(|(of, number)| Some((*of, (*number)?)))
            .collect();
        interfaces.sort_by_key(|(_, number)| *number);
        let thinned = recorder.samples(self.export.from_ns);
        for (of, number) in interfaces {
            let mut comments = samples::of_interface(&thinned, of, &self.export.stores);
            if number == 0 {
                let pending = self.pending.iter().filter(|pending| !pending.is_listed);
                comments.extend(pending.map(|pending| sentence(recorder, &pending.gap)));
                if self.export.follow {
                    comments.extend(recorder.open_gaps().map(|gap| sentence(recorder, &gap)));
                }
                if drops > 0 {
                    comments.push(format!(
                        "netsonde: the rings, shared by all interfaces, have dropped {drops} \
                        since the record began",
                        drops = counted(drops, "packet")
                    ));
                }
            }
            let slot = recorder.interfaces().get(of.0, of.1);
            self.writer.statistics(&Statistics {
                interface: number,
                time_ns: wall_ns(),
                start_ns: Some(recorder.created_ns()),
                end_ns: Some(wall_ns()),
                received: slot.map(|slot| slot.packets_in + slot.packets_out),
                dropped: (number == 0).then_some(drops),
                accepted: self.delivered.get(&of).copied(),
                delivered: self.delivered.get(&of).copied(),
                comments: &comments,
            });
        }
    }

    fn report(&self, cut: Option<String>) -> CaptureReply {
        tracing::debug!(
            packets = self.packets,
            lasted_ns = wall_ns() - self.start_ns,
            "export ended"
        );
        CaptureReply {
            fd: None,
            packets: Some(self.packets),
            missed: Some(self.export.cursor.missed()),
            cut,
            content: None,
            record: None,
        }
    }
}

/// Declarations at the beginning: what is not in the file.
fn beginning(recorder: &Recorder<OwnMemory>, export: &Export, gaps: &[Gap]) -> Vec<String> {
    let mut comments = Vec::new();
    if export.headers_only {
        comments.push(headers::NOTE.into());
    }
    for store in Store::ALL {
        let state = recorder.state(store);
        if state.evicted > 0 && state.evicted_until_ns >= export.from_ns {
            comments.push(format!(
                "netsonde: store {}: {} evicted, complete after {}",
                store.name(),
                counted(state.evicted, "packet"),
                time(state.evicted_until_ns)
            ));
        }
    }
    let thinned = recorder.samples(export.from_ns);
    comments.extend(samples::of_stores(&thinned, &export.stores));
    if export.from_ns > 0 && export.from_ns < recorder.created_ns() {
        comments.push(format!(
            "netsonde: the record begins at {}",
            time(recorder.created_ns())
        ));
    }
    for (_, slot) in recorder
        .interfaces()
        .iter()
        .filter(|(_, slot)| slot.skipped > 0)
    {
        comments.push(format!(
            "netsonde: {}: {} not recorded, as configured",
            slot.name(),
            counted(slot.skipped, "packet")
        ));
    }
    comments.extend(gaps.iter().map(|gap| sentence(recorder, gap)));
    comments
}

fn sentence(recorder: &Recorder<OwnMemory>, gap: &Gap) -> String {
    let words = gap_in_words(recorder, gap);
    let subject = words
        .subject
        .map(|subject| format!(" ({subject})"))
        .unwrap_or_default();
    let count =
        if gap.kind == GapKind::InterfaceDown as u8 || gap.kind == GapKind::InterfaceGone as u8 {
            String::new()
        } else {
            format!(", {} missing", counted(words.count, "packet"))
        };
    format!(
        "netsonde: gap: {}{subject} from {} to {}{count}",
        words.kind, words.from, words.to
    )
}

enum Written {
    All,
    Closed,
    Stuck,
}

/// Writes `buffer` completely and clears it.
async fn write(pipe: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> Written {
    let mut done = 0;
    while done < buffer.len() {
        let Ok(ready) = tokio::time::timeout(READ_WAIT, pipe.writable()).await else {
            return Written::Stuck;
        };
        let Ok(mut ready) = ready else {
            return Written::Closed;
        };
        let written = ready.try_io(|pipe| Ok(nix::unistd::write(pipe.get_ref(), &buffer[done..])?));
        match written {
            Ok(Ok(length)) => done += length,
            Ok(Err(_)) => return Written::Closed,
            Err(_would_block) => {}
        }
    }
    buffer.clear();
    Written::All
}

/// Returns when the reader has closed its end.
async fn closed(pipe: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut ready) = pipe.writable().await else {
            return;
        };
        if ready.ready().is_write_closed() || is_error(pipe.get_ref()) {
            return;
        }
        ready.clear_ready();
    }
}

fn is_error(pipe: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut wanted = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    poll(&mut wanted, PollTimeout::ZERO).is_err()
        || wanted[0]
            .revents()
            .is_some_and(|seen| seen.contains(PollFlags::POLLERR))
}
