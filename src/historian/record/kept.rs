//! SHELL. Captures that users keep.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use netsonde_core::protocol::capture::Selection;
use netsonde_core::protocol::history::{Kept, Limit, Part};
use netsonde_core::recorder::Store;

use super::fetch::fetch;
use super::shelf::{Entry, KeepError, Shelf, lock, state_of};
use super::{Problem, Shared};
use crate::linux::wall_ns;

/// Time that is kept if none is given.
const KEEP_NS: u64 = 300_000_000_000;
/// Maximum length of a note in characters.
const NOTE_MAX: usize = 500;
/// Room below which nothing is kept: less than a second of most networks.
const ROOM_MIN: u64 = 64 << 10;

/// What users kept.
pub struct Keeps {
    shared: Arc<Shared>,
    shelf: Shelf,
    /// Held while a capture is written: one at a time.
    writing: Mutex<()>,
    refused: Mutex<u64>,
}

impl Keeps {
    pub(super) fn new(shared: Arc<Shared>, directory: PathBuf) -> Keeps {
        let shelf = Shelf::new(directory);
        shared.problem(Problem::Kept, shelf.read().err());
        Keeps {
            shared,
            shelf,
            writing: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Writes the packets of the last `last_ns` (5 min by default) that are in the service's memory to a file.
    /// Returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// The quota is used up, another capture is being written, there is no service, or the disk refuses.
    pub fn keep(
        &self,
        last_ns: Option<u64>,
        note: Option<&str>,
        user: &str,
    ) -> Result<Kept, KeepError> {
        let _writing = self.writing.try_lock().map_err(|_| {
            KeepError::NotKept("another capture is being kept: try again in a moment".into())
        })?;
        let quota = self.shared.options.kept_bytes;
        let (id, room, mut file) = {
            let shelf = &self.shelf;
            shelf.read().map_err(KeepError::NotKept)?;
            let room = quota.saturating_sub(shelf.bytes());
            if room < ROOM_MIN {
                *lock(&self.refused) += 1;
                return Err(KeepError::NotKept(format!(
                    "the quota of {} MiB for what is kept is used up: discard some of it \
                     (`netsonde kept --discard ID')",
                    quota >> 20
                )));
            }
            let id = shelf.entries().last().map_or(1, |last| last.id + 1);
            (id, room, shelf.begin(id).map_err(KeepError::NotKept)?)
        };
        let now_ns = wall_ns();
        let last_ns = last_ns.unwrap_or(KEEP_NS).min(now_ns);
        let selection = Selection {
            since_ns: Some(now_ns - last_ns),
            until_ns: Some(now_ns),
            ..Selection::default()
        };
        let fetched = fetch(&self.shared.socket, selection, &mut file, room);
        let shelf = &self.shelf;
        let outcome = fetched.and_then(|fetched| {
            let limit = format!("the quota of {} MiB was reached", quota >> 20);
            let (state, words) = state_of(&fetched, &Store::ALL, &limit);
            let (from_ns, to_ns) = fetched.times.unwrap_or((now_ns - last_ns, now_ns));
            let entry = Entry {
                id,
                time_ns: now_ns,
                note: note.map(|note| note.chars().take(NOTE_MAX).collect()),
                user: user.to_owned(),
                packets: fetched.packets,
                bytes: fetched.bytes,
                from_ns,
                to_ns,
                state,
                words,
                ..Entry::default()
            };
            shelf.add(Some(file), entry.clone())?;
            Ok(entry)
        });
        if outcome.is_err() {
            shelf.remove(id);
        }
        let entry = outcome.map_err(KeepError::NotKept)?;
        self.shared.problem(Problem::Kept, None);
        Ok(entry.kept())
    }

    /// Returns all that was kept, oldest first.
    pub fn list(&self) -> Vec<Kept> {
        self.shelf.entries().iter().map(Entry::kept).collect()
    }

    /// Deletes what was kept.
    ///
    /// # Errors
    ///
    /// Nothing has this number.
    pub fn discard(&self, id: u64) -> Result<(), KeepError> {
        self.shelf.entry(id).ok_or(KeepError::NoSuch(id))?;
        self.shelf.remove(id);
        Ok(())
    }

    /// Opens the packets, as a pcapng file, and returns their number.
    ///
    /// # Errors
    ///
    /// Nothing has this number, or the file cannot be read.
    pub fn open(&self, id: u64) -> Result<(OwnedFd, u64), KeepError> {
        self.shelf.open(id)
    }

    pub(super) fn part(&self) -> Part {
        self.shelf.part("kept", self.shared.options.kept_bytes)
    }

    pub(super) fn limit(&self) -> Limit {
        Limit {
            name: "record.kept_bytes".into(),
            most: self.shared.options.kept_bytes,
            reached: *lock(&self.refused),
            words: "captures not kept because the quota was used up".into(),
        }
    }
}
