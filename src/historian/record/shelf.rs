//! SHELL. A directory of captures that are files of their own, with a description beside each.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use netsonde_core::protocol::history::{Counter, Evidence, Kept, Part, PathChange};
use netsonde_core::protocol::time;
use netsonde_core::recorder::Store;
use serde::{Deserialize, Serialize};

use super::fetch::Fetched;
use super::rooms::create;
use crate::linux::reason;

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be fetched or written, in words.
    #[error("{0}")]
    NotKept(String),
    /// Nothing has this number.
    #[error("nothing that was kept has the number {0}")]
    NoSuch(u64),
}

/// A file with packets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub id: u64,
    pub time_ns: u64,
    pub note: Option<String>,
    pub user: String,
    pub packets: u64,
    pub bytes: u64,
    pub from_ns: u64,
    pub to_ns: u64,
    pub state: String,
    pub words: Option<String>,
    #[serde(skip_serializing_if = "Surroundings::is_empty")]
    pub surroundings: Surroundings,
}

/// What netsonded's host was like about the begin of an outage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Surroundings {
    /// Ways to some of its targets.
    pub paths: Vec<PathChange>,
    /// Drop counters that moved.
    pub counters: Vec<Counter>,
    /// From when to when, as the protocol has times.
    pub counted: Option<(String, String)>,
}

impl Surroundings {
    fn is_empty(&self) -> bool {
        *self == Surroundings::default()
    }
}

impl Entry {
    pub fn evidence(&self) -> Evidence {
        Evidence {
            packets: self.packets,
            bytes: self.bytes,
            from: time(self.from_ns),
            to: time(self.to_ns),
            state: self.state.clone(),
            words: self.words.clone(),
        }
    }

    pub fn kept(&self) -> Kept {
        Kept {
            id: self.id,
            time: time(self.time_ns),
            note: self.note.clone(),
            user: self.user.clone(),
            evidence: self.evidence(),
        }
    }
}

/// A directory of such files: `0000000001.pcapng`, and `0000000001.json` that describes it and is written last.
#[derive(Default)]
pub(super) struct Shelf {
    directory: PathBuf,
    /// Never held while the disk is used: the first thread reads them, and must not wait for the disk.
    entries: Mutex<BTreeMap<u64, Entry>>,
    /// Whether the directory was read. Held while files are written or removed.
    is_read: Mutex<bool>,
}

pub(super) fn in_words(operation: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {operation} {}: {}", path.display(), reason(error))
}

impl Shelf {
    /// Uses a directory, which need not exist yet.
    pub fn new(directory: PathBuf) -> Shelf {
        Shelf {
            directory,
            ..Shelf::default()
        }
    }

    pub fn path(&self, id: u64, extension: &str) -> PathBuf {
        self.directory.join(format!("{id:010}.{extension}"))
    }

    /// Returns the description of a file.
    pub fn entry(&self, id: u64) -> Option<Entry> {
        lock(&self.entries).get(&id).cloned()
    }

    /// Returns all descriptions in the order of their numbers.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).values().cloned().collect()
    }

    /// Reads the directory, once it is there. Files that were not completed are removed.
    pub fn read(&self) -> Result<(), String> {
        let mut is_read = lock(&self.is_read);
        if *is_read && self.directory.exists() {
            return Ok(());
        }
        create(&self.directory).map_err(|error| error.to_string())?;
        let cannot = |error: io::Error| in_words("read", &self.directory, &error);
        let mut entries = BTreeMap::new();
        for file in std::fs::read_dir(&self.directory).map_err(cannot)? {
            let path = file.map_err(cannot)?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("new") => {
                    let _ = std::fs::remove_file(&path);
                }
                Some("json") => {
                    let text = std::fs::read(&path).unwrap_or_default();
                    let entry = serde_json::from_slice::<Entry>(&text).ok();
                    let entry = entry.filter(|entry| {
                        path == self.path(entry.id, "json")
                            && self.path(entry.id, "pcapng").exists()
                    });
                    match entry {
                        Some(entry) => {
                            entries.insert(entry.id, entry);
                        }
                        None => tracing::warn!("{} is damaged, and left out", path.display()),
                    }
                }
                _ => {}
            }
        }
        *lock(&self.entries) = entries;
        *is_read = true;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        lock(&self.entries).values().map(|entry| entry.bytes).sum()
    }

    /// Creates a file that gets its name with [`Shelf::add`].
    pub fn begin(&self, id: u64) -> Result<File, String> {
        let path = self.path(id, "new");
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let file = options.open(&path);
        file.map_err(|error| in_words("create", &path, &error))
    }

    /// Puts a file that was begun, if there is one, and its description on the disk.
    pub fn add(&self, file: Option<File>, entry: Entry) -> Result<(), String> {
        let _writing = lock(&self.is_read);
        let id = entry.id;
        let cannot = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| in_words("write", &path, &error)
        };
        if let Some(file) = file {
            let (from, to) = (self.path(id, "new"), self.path(id, "pcapng"));
            file.sync_all().map_err(cannot(&from))?;
            std::fs::rename(&from, &to).map_err(cannot(&to))?;
        }
        let (from, to) = (self.path(id, "json.new"), self.path(id, "json"));
        let text = serde_json::to_vec(&entry).map_err(|error| error.to_string())?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(&from).map_err(cannot(&from))?;
        file.write_all(&text).map_err(cannot(&from))?;
        file.sync_all().map_err(cannot(&from))?;
        std::fs::rename(&from, &to).map_err(cannot(&to))?;
        let directory = File::open(&self.directory).and_then(|directory| directory.sync_all());
        directory.map_err(cannot(&self.directory))?;
        lock(&self.entries).insert(id, entry);
        Ok(())
    }

    /// Forgets a file, and leaves it where it is. Does not use the disk.
    pub fn forget(&self, id: u64) -> Option<Entry> {
        lock(&self.entries).remove(&id)
    }

    pub fn remove(&self, id: u64) {
        self.forget(id);
        let _writing = lock(&self.is_read);
        for extension in ["json", "pcapng", "new", "json.new"] {
            let _ = std::fs::remove_file(self.path(id, extension));
        }
    }

    /// Opens the packets for reading.
    pub fn open(&self, id: u64) -> Result<(OwnedFd, u64), KeepError> {
        let entry = self.entry(id).filter(|entry| entry.bytes > 0);
        let entry = entry.ok_or(KeepError::NoSuch(id))?;
        let path = self.path(id, "pcapng");
        let file = File::open(&path);
        let file = file.map_err(|error| KeepError::NotKept(in_words("read", &path, &error)))?;
        Ok((file.into(), entry.packets))
    }

    pub fn part(&self, name: &str, budget: u64) -> Part {
        let entries = lock(&self.entries);
        Part {
            name: name.into(),
            bytes: entries.values().map(|entry| entry.bytes).sum(),
            budget: Some(budget),
            files: entries.len() as u64,
            oldest: entries.values().map(|one| one.time_ns).min().map(time),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the state of packets that were fetched, and what is missing in words.
pub(super) fn state_of(
    fetched: &Fetched,
    stores: &[Store],
    limit: &str,
) -> (String, Option<String>) {
    let mut words = Vec::new();
    let is_wanted = |words: &&String| {
        let mut names = stores.iter().map(|store| store.name());
        names.any(|name| words.starts_with(&format!("netsonde: store {name}:")))
    };
    let incomplete = fetched.incomplete.iter().filter(is_wanted);
    words.extend(incomplete.map(|words| words.replace("netsonde: ", "")));
    if fetched.is_cut {
        words.push(limit.to_owned());
    }
    if fetched.missed > 0 {
        let missed = fetched.missed;
        words.push(format!(
            "{missed} packets were evicted before they could be read"
        ));
    }
    match words.is_empty() {
        true => ("whole".into(), None),
        false => ("partial".into(), Some(words.join("; "))),
    }
}
