//! SHELL. The stores on disk, a directory each with its share of the budget, and the gaps that the service declared.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use netsonde_core::recorder::Store;
use netsonde_core::recorder::blocks::PacketBlock;
use netsonde_history::disk::Disk;
use netsonde_history::packets::Packets;
use netsonde_history::store::{Error, Options as StoreOptions};
use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batched, Last};
use super::{Options, Shared};

/// Bytes of packets of one store that are collected before they are written: seven of them are in memory at most.
const BATCH_BYTES: usize = 256 << 10;
/// Number of the directory of declared gaps, behind those of the stores.
pub(super) const GAPS: u32 = 7;
/// Budget of declared gaps: 250 bytes each, deflated to 100.
const GAPS_BYTES: u64 = 1 << 20;
/// Declared gaps that are remembered, in order not to store one twice: the service lists as many.
const GAPS_KNOWN: usize = 4096;
/// Longest file before another begins: what a crash leaves without a footer, and is scanned at the next start.
const FILE_BYTES: u64 = 8 << 20;

/// A gap in the record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Missing {
    /// The store, if it concerns only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Begin in nanoseconds since 1970.
    pub from_ns: u64,
    /// End in nanoseconds since 1970.
    pub to_ns: u64,
    /// Number of missing packets; 0 if none or unknown.
    pub count: u64,
    /// The sentence, as in captures.
    pub words: String,
}

impl Missing {
    /// Reads the times and the number of packets from a sentence of the service.
    pub fn read(words: &str) -> Option<Missing> {
        let (_, times) = words.split_once(" from ")?;
        let (from, rest) = times.split_once(" to ")?;
        let (to, count) = rest.split_once(", ").unwrap_or((rest, ""));
        let ns = |text: &str| {
            let time: jiff::Timestamp = text.trim().parse().ok()?;
            u64::try_from(time.as_nanosecond()).ok()
        };
        let count = count.split(' ').next().unwrap_or("");
        Some(Missing {
            store: None,
            from_ns: ns(from)?,
            to_ns: ns(to)?,
            count: count.replace(',', "").parse().unwrap_or(0),
            words: words.to_owned(),
        })
    }
}

struct Room {
    store: Store,
    packets: Packets<Disk>,
    last: Option<Last>,
    batch: Option<Batch>,
    is_dirty: bool,
}

/// All stores on disk.
pub(super) struct Rooms {
    directory: PathBuf,
    /// Device and inode of the directory: it may be removed, and another one created.
    identity: (u64, u64),
    rooms: Vec<Room>,
    gaps: Packets<Disk>,
    gaps_dirty: bool,
    known: VecDeque<String>,
    known_set: HashSet<String>,
}

/// Returns the directory of a store.
pub(super) fn directory_of(directory: &Path, room: u32) -> PathBuf {
    let store = Store::ALL.get(room as usize);
    directory.join(store.map_or("gaps", |store| store.name()))
}

/// Returns the share of a store of the budget: half for bulk, if it is stored.
fn share(store: Store, options: &Options) -> u64 {
    let whole = if options.bulk {
        options.budget_bytes / 2
    } else {
        options.budget_bytes
    };
    match store {
        Store::Bulk => options.budget_bytes - whole,
        Store::Names | Store::Connections => whole / 4,
        _ => whole / 8,
    }
}

/// Creates a directory, readable by its owner only: it contains packets.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|error| Error::Io {
        operation: "create",
        path: path.display().to_string(),
        error,
    })
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Returns the boot id of the kernel, or zeros.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

impl Rooms {
    /// Opens the directories, creating what is not there.
    ///
    /// # Errors
    ///
    /// Another process has them, they are of another version, or the file system refuses.
    pub fn open(directory: &Path, options: &Options) -> Result<Rooms, Error> {
        create(directory)?;
        let boot_id = boot_id();
        let open = |room: u32, budget_bytes: u64| {
            let path = directory_of(directory, room);
            create(&path)?;
            let settings = StoreOptions {
                budget_bytes,
                journal_bytes: (budget_bytes / 8).clamp(64 << 10, FILE_BYTES),
                boot_id,
                seed: RandomState::new().build_hasher().finish(),
                ..StoreOptions::default()
            };
            Packets::open(Disk::new(path), settings)
        };
        let mut rooms = Vec::new();
        for store in options.stores() {
            let packets = open(store as u32, share(store, options))?;
            let last = packets.last(store as u32)?;
            rooms.push(Room {
                store,
                packets,
                last: last.and_then(|(_, payload)| Batched::new(payload).last()),
                batch: None,
                is_dirty: false,
            });
        }
        let mut gaps = open(GAPS, GAPS_BYTES)?;
        let mut all = VecDeque::new();
        gaps.read(GAPS, 0, u64::MAX, |_, bytes| {
            if let Ok(missing) = serde_json::from_slice::<Missing>(bytes) {
                all.push_back(missing.words);
                if all.len() > GAPS_KNOWN {
                    all.pop_front();
                }
            }
        })?;
        Ok(Rooms {
            directory: directory.to_owned(),
            identity: identity(directory).unwrap_or_default(),
            rooms,
            gaps,
            gaps_dirty: false,
            known_set: all.iter().cloned().collect(),
            known: all,
        })
    }

    /// Returns the last packet of all stores.
    pub fn last(&self) -> Option<Last> {
        let all = self.rooms.iter().filter_map(|room| room.last);
        all.max_by_key(|last| last.time_ns)
    }

    /// Returns the number of the first packet of a record that is not on disk, by store.
    pub fn next(&self, record: u64) -> BTreeMap<String, u64> {
        let known = self.rooms.iter().map(|room| {
            let last = room.last.filter(|last| last.record == record);
            let next = last.map_or(0, |last| last.number + 1);
            (room.store.name().to_owned(), next)
        });
        known.collect()
    }

    /// Collects a packet. Those that are on disk already are left out.
    ///
    /// # Errors
    ///
    /// The file system refuses to write those collected before.
    pub fn add(
        &mut self,
        shared: &Shared,
        record: u64,
        interface: &[u8],
        packet: &PacketBlock<'_>,
        now_ns: u64,
    ) -> Result<(), Error> {
        let Some((store, number)) = packet.id() else {
            return Ok(());
        };
        let Some(at) = self.rooms.iter().position(|room| room.store == store) else {
            return Ok(());
        };
        let room = &mut self.rooms[at];
        if room
            .batch
            .as_ref()
            .is_some_and(|b| b.last.record != record || b.payload.len() >= BATCH_BYTES)
        {
            self.flush_room(shared, at, now_ns)?;
        }
        let room = &mut self.rooms[at];
        let before = room.batch.as_ref().map(|batch| batch.last).or(room.last);
        if before.is_some_and(|last| last.record == record && last.number >= number) {
            return Ok(());
        }
        let batch = room.batch.get_or_insert_with(|| Batch::new(record));
        batch.add(interface, packet, number);
        let from_ns = before.map_or(record, |last| last.time_ns);
        let expected = before.filter(|last| last.record == record);
        let expected = expected.map_or(0, |last| last.number + 1);
        // What was evicted before this program first ran is not missing from what it stores.
        if number > expected && before.is_some() {
            let missing = not_on_disk(store, (from_ns, packet.time_ns), number - expected);
            shared.count_missing(missing.count);
            self.declare(missing, now_ns)?;
        }
        Ok(())
    }

    /// Stores a gap, unless it is stored already.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn declare(&mut self, missing: Missing, now_ns: u64) -> Result<(), Error> {
        if self.known_set.contains(&missing.words) {
            return Ok(());
        }
        let Ok(bytes) = serde_json::to_vec(&missing) else {
            return Ok(());
        };
        let times = (missing.from_ns, missing.to_ns.max(missing.from_ns));
        self.gaps.append(GAPS, 1, times, &bytes, now_ns)?;
        self.gaps_dirty = true;
        self.known_set.insert(missing.words.clone());
        self.known.push_back(missing.words);
        if self.known.len() > GAPS_KNOWN
            && let Some(oldest) = self.known.pop_front()
        {
            self.known_set.remove(&oldest);
        }
        Ok(())
    }

    /// Writes what was collected.
    ///
    /// # Errors
    ///
    /// The file system refuses. What was collected is forgotten then: it is in the record.
    pub fn flush(&mut self, shared: &Shared, now_ns: u64) -> Result<(), Error> {
        for at in 0..self.rooms.len() {
            self.flush_room(shared, at, now_ns)?;
        }
        Ok(())
    }

    fn flush_room(&mut self, shared: &Shared, at: usize, now_ns: u64) -> Result<(), Error> {
        let room = &mut self.rooms[at];
        let Some(batch) = room.batch.take() else {
            return Ok(());
        };
        let _writing = shared.writing();
        let number = room.store as u32;
        room.packets
            .append(number, batch.count, batch.times, &batch.payload, now_ns)?;
        room.last = Some(batch.last);
        room.is_dirty = true;
        shared.wrote(room.store, &batch);
        Ok(())
    }

    /// Forgets what was collected and not written.
    pub fn forget(&mut self) {
        for room in &mut self.rooms {
            room.batch = None;
        }
    }

    /// Returns whether something was collected or written that [`Rooms::sync`] has not put on the disk.
    pub fn is_dirty(&self) -> bool {
        self.gaps_dirty
            || self
                .rooms
                .iter()
                .any(|room| room.is_dirty || room.batch.is_some())
    }

    /// Waits until all that was written is on the disk, and removes what exceeds the budgets.
    ///
    /// # Errors
    ///
    /// The file system refuses, or the directory is not there any longer.
    pub fn sync(&mut self, shared: &Shared, now_ns: u64) -> Result<(), Error> {
        let _writing = shared.writing();
        self.check()?;
        for room in &mut self.rooms {
            if room.is_dirty {
                room.packets.sync(now_ns)?;
                room.is_dirty = false;
            }
        }
        if self.gaps_dirty {
            self.gaps.sync(now_ns)?;
            self.gaps_dirty = false;
        }
        Ok(())
    }

    /// Checks that the directories are still those that were opened: files that were removed can be written
    /// without an error.
    ///
    /// # Errors
    ///
    /// They were removed.
    pub fn check(&self) -> Result<(), Error> {
        let removed = |path: &Path| Error::Io {
            operation: "use",
            path: path.display().to_string(),
            error: io::Error::new(io::ErrorKind::NotFound, "it was removed"),
        };
        if identity(&self.directory).ok() != Some(self.identity) {
            return Err(removed(&self.directory));
        }
        for room in &self.rooms {
            let path = directory_of(&self.directory, room.store as u32);
            if !path.join("lock").exists() || !room.packets.is_there() {
                return Err(removed(&path));
            }
        }
        Ok(())
    }

    /// Passes on the state of each store: bytes, budget, files, time of the oldest packet, and the bytes and
    /// number of damaged stretches.
    pub fn describe(&self, options: &Options, mut each: impl FnMut(Store, RoomState)) {
        for room in &self.rooms {
            let counters = room.packets.counters();
            let state = RoomState {
                bytes: room.packets.bytes(),
                budget: share(room.store, options),
                files: room.packets.files() as u64,
                oldest_ns: room.packets.oldest_ns(),
                damaged: counters.damaged + counters.set_aside,
                damaged_bytes: counters.damaged_bytes,
                evicted: counters.evicted_segments,
            };
            each(room.store, state);
        }
    }
}

/// State of a store on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RoomState {
    pub bytes: u64,
    pub budget: u64,
    pub files: u64,
    pub oldest_ns: Option<u64>,
    pub damaged: u64,
    pub damaged_bytes: u64,
    pub evicted: u64,
}

/// Declares packets of a store that were neither fetched nor can be.
pub(super) fn not_on_disk(store: Store, (from_ns, to_ns): (u64, u64), count: u64) -> Missing {
    use netsonde_core::protocol::time;
    use netsonde_core::text::counted;
    let to_ns = to_ns.max(from_ns);
    Missing {
        store: Some(store.name().to_owned()),
        from_ns,
        to_ns,
        count,
        words: format!(
            "netsonde: gap: not_on_disk (store {}) from {} to {}, {} missing",
            store.name(),
            time(from_ns),
            time(to_ns),
            counted(count, "packet")
        ),
    }
}
