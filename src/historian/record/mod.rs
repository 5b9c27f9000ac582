//! SHELL. The record on disk: brings packets from the service's memory to disk, and reads them from there.
//!
//! | file | contents |
//! |---|---|
//! | `batch` | packets of one store as they are on disk |
//! | `rooms` | the stores on disk, each with its share of the budget |
//! | `follow` | the thread that fetches packets from the service and writes them |
//! | `export` | packets from disk, merged in time order, as pcapng |
//! | `kept` | captures that users keep |
//! | `evidence` | the evidence of outages |
//! | `shelf` | the directory of either: captures with a description beside each |
//! | `fetch` | a capture of the service's memory, to a file |
//!
//! A packet is identified by the record of the service that numbered it, its store, and its number there. The
//! numbers of a store have no holes; one on disk is therefore a missing packet, which every reader declares.

mod batch;
mod evidence;
mod export;
mod fetch;
mod follow;
mod kept;
mod rooms;
mod shelf;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::history::{Limit, Part, RecordCall, RecordGap, RecordReply};
use netsonde_core::protocol::time;
use netsonde_core::recorder::Store;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::linux::{reason, wall_ns};
use crate::varlink::server::user::User;
use batch::Batch;
pub use evidence::{Evidences, Way};
use export::Wanted;
pub use kept::Keeps;
use rooms::{RoomState, Rooms};
pub use shelf::KeepError;
use shelf::lock;

/// Readers of the disk at a time: each has a thread, and up to 300 KiB for each store.
const READERS: usize = 8;
/// Readers of one user at a time: others get some, whatever one of them does.
const READERS_PER_USER: usize = 4;
/// A write that takes longer than this is reported.
const SLOW: Duration = Duration::from_secs(5);

/// Settings.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Budget for the packets of all stores, in bytes.
    pub budget_bytes: u64,
    /// Whether the store bulk goes to disk, too. It gets half of the budget.
    pub bulk: bool,
    /// Maximum size of all captures that were kept, in bytes.
    pub kept_bytes: u64,
    /// Budget for the evidence of outages, in bytes.
    pub evidence_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            budget_bytes: 256 << 20,
            bulk: false,
            kept_bytes: 256 << 20,
            evidence_bytes: 256 << 20,
        }
    }
}

impl Options {
    /// Returns the stores that go to disk.
    fn stores(&self) -> Vec<Store> {
        let all = Store::ALL.into_iter();
        all.filter(|store| self.bulk || *store != Store::Bulk)
            .collect()
    }
}

/// A kind of trouble: the newest of each is reported until it has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Problem {
    Service,
    Disk,
    Kept,
    Evidence,
}

#[derive(Default)]
struct State {
    is_connected: bool,
    problems: BTreeMap<Problem, String>,
    /// The record that `next` refers to.
    record: u64,
    next: BTreeMap<Store, u64>,
    rooms: BTreeMap<Store, RoomState>,
    writing_since: Option<Instant>,
    alive_ns: Option<u64>,
    synced_ns: u64,
    packets: u64,
    bytes: u64,
    missing: u64,
    readers_refused: u64,
}

/// What the threads share. The lock is never held while something is read or written.
pub(crate) struct Shared {
    socket: PathBuf,
    directory: PathBuf,
    options: Options,
    state: Mutex<State>,
    readers: Mutex<Vec<User>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problem(&self, kind: Problem, words: Option<String>) {
        let mut state = self.state();
        match words {
            Some(words) => {
                if state.problems.get(&kind) != Some(&words) {
                    tracing::warn!("{words}");
                }
                state.problems.insert(kind, words);
            }
            None => {
                if let Some(words) = state.problems.remove(&kind) {
                    tracing::info!("no longer: {words}");
                }
            }
        }
    }

    fn opened(&self, rooms: &Rooms) {
        let last = rooms.last();
        self.state().alive_ns = None;
        self.describe(rooms, last.map_or(0, |last| last.record));
    }

    fn connected(&self, rooms: &Rooms, record: u64) {
        self.problem(Problem::Service, None);
        self.problem(Problem::Disk, None);
        self.describe(rooms, record);
        let mut state = self.state();
        state.is_connected = true;
        state.alive_ns = Some(wall_ns());
    }

    fn describe(&self, rooms: &Rooms, record: u64) {
        let next = rooms.next(record);
        let mut state = self.state();
        state.record = record;
        state.next = next
            .iter()
            .filter_map(|(name, next)| Some((Store::from_name(name)?, *next)))
            .collect();
        let known = &mut state.rooms;
        rooms.describe(&self.options, |store, room| {
            known.insert(store, room);
        });
    }

    fn disconnected(&self) {
        let mut state = self.state();
        if state.is_connected {
            state.is_connected = false;
            state.alive_ns = Some(wall_ns());
        }
    }

    /// Nothing is known to be on disk, until it is read again.
    fn closed(&self) {
        let mut state = self.state();
        state.next.clear();
        state.rooms.clear();
    }

    /// Returns the time until which the service was known to be there.
    fn alive_ns(&self) -> Option<u64> {
        self.state().alive_ns
    }

    fn wrote(&self, store: Store, batch: &Batch) {
        let mut state = self.state();
        state.next.insert(store, batch.last.number + 1);
        state.packets += u64::from(batch.count);
        state.bytes += batch.payload.len() as u64;
    }

    fn synced(&self, rooms: &Rooms, now_ns: u64) {
        let mut state = self.state();
        state.synced_ns = now_ns;
        let known = &mut state.rooms;
        rooms.describe(&self.options, |store, room| {
            known.insert(store, room);
        });
    }

    fn count_missing(&self, count: u64) {
        self.state().missing += count;
    }

    /// Notes that the disk is being written, until the value is dropped.
    fn writing(&self) -> Writing<'_> {
        self.state().writing_since = Some(Instant::now());
        Writing(self)
    }
}

struct Writing<'a>(&'a Shared);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.state().writing_since = None;
    }
}

/// Why packets of the disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No store has this name.
    #[error("unknown store {0:?}")]
    NoSuchStore(String),
    /// Too many readers.
    #[error("{0} readers of packets on disk are the limit{1}: try again when one has ended")]
    TooMany(usize, &'static str),
    /// The operating system refuses.
    #[error("cannot read the record on disk: {0}")]
    Io(String),
}

/// The record on disk, and its threads. They end when it is dropped.
pub struct Record {
    shared: Arc<Shared>,
    event: EventFd,
    follower: Option<JoinHandle<()>>,
    keeps: Keeps,
    evidences: Evidences,
}

impl Record {
    /// Starts to follow the service at a socket, with a directory that is created if it does not exist. Neither
    /// needs to be there: [`Record::problems`] says what is missing, and it begins when it is there.
    ///
    /// # Errors
    ///
    /// The operating system refuses descriptors or threads.
    pub fn start(socket: &Path, directory: &Path, options: Options) -> io::Result<Record> {
        let shared = Arc::new(Shared {
            socket: socket.to_owned(),
            directory: directory.join("record"),
            options,
            state: Mutex::default(),
            readers: Mutex::default(),
        });
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let stop = Arc::new(std::os::fd::AsFd::as_fd(&event).try_clone_to_owned()?);
        let follower = {
            let (shared, stop) = (shared.clone(), stop.clone());
            let run = move || follow::run(&shared, &stop);
            std::thread::Builder::new()
                .name("record".into())
                .spawn(run)?
        };
        Ok(Record {
            keeps: Keeps::new(shared.clone(), directory.join("kept")),
            evidences: Evidences::start(shared.clone(), directory.join("evidence"), stop)?,
            shared,
            event,
            follower: Some(follower),
        })
    }

    /// Returns whether packets of the service arrive.
    pub fn is_connected(&self) -> bool {
        self.shared.state().is_connected
    }

    /// Returns what is wrong, in words; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let state = self.shared.state();
        let mut all: Vec<String> = state.problems.values().cloned().collect();
        if let Some(since) = state.writing_since.filter(|since| since.elapsed() > SLOW) {
            all.push(format!(
                "the disk of {} is slow: a write has lasted {} s so far",
                self.shared.directory.display(),
                since.elapsed().as_secs()
            ));
        }
        let (damaged, bytes) = state.rooms.values().fold((0, 0), |(damaged, bytes), room| {
            (damaged + room.damaged, bytes + room.damaged_bytes)
        });
        if damaged > 0 {
            all.push(format!(
                "damaged data in {}: {bytes} bytes were skipped in {damaged} places",
                self.shared.directory.display()
            ));
        }
        all
    }

    /// Returns the parts of the disk: packets, evidence, and what was kept.
    pub fn parts(&self) -> Vec<Part> {
        let state = self.shared.state();
        let rooms = state.rooms.values();
        let oldest = rooms.clone().filter_map(|room| room.oldest_ns).min();
        let packets = Part {
            name: "packets".into(),
            bytes: rooms.clone().map(|room| room.bytes).sum(),
            budget: Some(self.shared.options.budget_bytes),
            files: rooms.map(|room| room.files).sum(),
            oldest: oldest.map(time),
        };
        drop(state);
        vec![packets, self.evidences.part(), self.keeps.part()]
    }

    /// Returns the limits, and how often each was reached.
    pub fn limits(&self) -> Vec<Limit> {
        let state = self.shared.state();
        let limit = |name: &str, most: u64, reached: u64, words: &str| Limit {
            name: name.into(),
            most,
            reached,
            words: words.into(),
        };
        let rooms = state.rooms.values();
        let mut all = vec![
            limit(
                "record.budget_bytes",
                self.shared.options.budget_bytes,
                rooms.map(|room| room.evicted).sum(),
                "files of packets removed for newer ones",
            ),
            limit(
                "record.readers",
                READERS as u64,
                state.readers_refused,
                "readers of the record on disk refused",
            ),
        ];
        drop(state);
        all.push(self.keeps.limit());
        all.extend(self.evidences.limits());
        all
    }

    /// Returns the number of packets written since the start, and that of packets missing between them.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.packets, state.missing)
    }

    /// Returns what was kept by users.
    pub fn keeps(&self) -> &Keeps {
        &self.keeps
    }

    /// Returns the evidence of outages.
    pub fn evidences(&self) -> &Evidences {
        &self.evidences
    }

    /// Opens the packets between two times, both included, of the stores with these names or of all, whole unless
    /// the content is [`Content::Headers`]: the read end of a pipe, and the reply without the index of the
    /// descriptor. Never blocks for long.
    ///
    /// # Errors
    ///
    /// A store is unknown, there are too many readers, or the operating system refuses.
    pub fn open(&self, call: &RecordCall, user: User) -> Result<(OwnedFd, RecordReply), OpenError> {
        let names = call
            .stores
            .as_deref()
            .filter(|names| !names.is_empty())
            .unwrap_or_default();
        let mut asked = Vec::new();
        for name in names {
            let store = Store::from_name(name);
            asked.push(store.ok_or_else(|| OpenError::NoSuchStore(name.clone()))?);
        }
        let times = (
            call.since_ns.unwrap_or(0),
            call.until_ns.unwrap_or(u64::MAX),
        );
        let (mut wanted, mut reply) = self.snapshot(times, &asked);
        wanted.headers_only = call.content == Some(Content::Headers);
        let stores: Vec<Store> = wanted.stores.iter().map(|(store, _)| *store).collect();
        let gaps = export::gaps(&self.shared.directory, &stores, times);
        let gaps = gaps.map_err(|error| OpenError::Io(error.to_string()))?;
        let gaps = gaps.into_iter().map(|missing| RecordGap {
            store: missing.store.unwrap_or_default(),
            from_ns: missing.from_ns,
            to_ns: missing.to_ns,
            words: missing.words,
        });
        reply.gaps = Some(gaps.collect());
        let directory = self.shared.directory.clone();
        let read = self.read(user, move |pipe| {
            if let Err(error) = export::run(&directory, &wanted, pipe) {
                tracing::warn!("the record on disk cannot be read: {error}");
            }
        })?;
        Ok((read, reply))
    }

    /// Opens the packets of a file of [`Keeps::open`] or [`Evidences::open`] without payload: the read end of a
    /// pipe.
    ///
    /// # Errors
    ///
    /// There are too many readers, or the operating system refuses.
    pub fn headers_of(&self, file: OwnedFd, user: User) -> Result<OwnedFd, OpenError> {
        self.read(user, move |pipe| {
            if let Err(error) = export::headers_of(File::from(file), pipe) {
                tracing::warn!("packets on disk cannot be read: {}", reason(&error));
            }
        })
    }

    /// Has a thread write packets to a pipe. Returns its read end.
    fn read(
        &self,
        user: User,
        write_to: impl FnOnce(&OwnedFd) + Send + 'static,
    ) -> Result<OwnedFd, OpenError> {
        let system = |error: io::Error| OpenError::Io(reason(&error));
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| system(e.into()))?;
        fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| system(e.into()))?;
        let slot = self.reader(user)?;
        let run = move || {
            let _slot = slot;
            write_to(&write);
        };
        let spawned = std::thread::Builder::new().name("reader".into()).spawn(run);
        spawned.map_err(system)?;
        Ok(read)
    }

    /// What is on disk now, and what a caller fetches from the service.
    fn snapshot(&self, times: (u64, u64), asked: &[Store]) -> (Wanted, RecordReply) {
        let state = self.shared.state();
        let is_asked = |store: &Store| asked.is_empty() || asked.contains(store);
        let stores: Vec<(Store, u64)> = state
            .next
            .iter()
            .filter(|(store, _)| is_asked(store))
            .map(|(store, next)| (*store, *next))
            .collect();
        let rooms = state.rooms.iter().filter(|(store, _)| is_asked(store));
        let oldest: Vec<(Store, u64)> = rooms
            .filter_map(|(store, room)| Some((*store, room.oldest_ns?)))
            .collect();
        let comments = oldest
            .iter()
            .filter(|(_, oldest_ns)| *oldest_ns > times.0)
            .map(|(store, oldest_ns)| export::since(*store, *oldest_ns))
            .collect();
        let first = oldest.iter().map(|(_, oldest_ns)| *oldest_ns).min();
        let reply = RecordReply {
            fd: None,
            from_ns: first.map(|first| first.max(times.0)),
            to_ns: first.map(|_| wall_ns().min(times.1)),
            gaps: None,
            record: Some(state.record),
            next: Some(
                stores
                    .iter()
                    .map(|(store, next)| (store.name().to_owned(), *next))
                    .collect(),
            ),
            content: None,
        };
        let wanted = Wanted {
            stores,
            record: state.record,
            times,
            comments,
            headers_only: false,
        };
        (wanted, reply)
    }

    fn reader(&self, user: User) -> Result<ReaderSlot, OpenError> {
        let mut readers = lock(&self.shared.readers);
        let own = readers.iter().filter(|one| **one == user).count();
        let refused = match (readers.len(), own) {
            (READERS.., _) => OpenError::TooMany(READERS, ""),
            (_, READERS_PER_USER..) => OpenError::TooMany(READERS_PER_USER, " of one user"),
            _ => {
                readers.push(user);
                return Ok(ReaderSlot(self.shared.clone(), user));
            }
        };
        drop(readers);
        self.shared.state().readers_refused += 1;
        Err(refused)
    }
}

/// One of the readers.
struct ReaderSlot(Arc<Shared>, User);

impl Drop for ReaderSlot {
    fn drop(&mut self) {
        let mut readers = lock(&self.0.readers);
        if let Some(at) = readers.iter().position(|user| *user == self.1) {
            readers.swap_remove(at);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = self.event.write(1);
        if let Some(follower) = self.follower.take() {
            let _ = follower.join();
        }
        self.evidences.join();
    }
}
