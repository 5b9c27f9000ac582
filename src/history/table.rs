//! PURE. Small values that change: monitors, series, outages, states of targets. A table of JSON values by key in one
//! file, to which each change is appended.
//!
//! ```text
//! netsonde-table 1
//! 5b20c7d4 ["netsonde-table",1]
//! 8f3a02c1 ["outage/17",{"begin_ns":...}]
//! 0d51b8e4 ["outage/3",null]
//! ```
//! A line has the CRC-32 of what follows the space; the last line of a key counts, and null removes it. A line
//! that is damaged or cut costs itself. The version is there twice, so that damage is not taken for another version. When most of the file is superseded it is written anew under another
//! name, and renamed.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::directory::{Append, Directory};
use crate::store::{Error, failure};

/// First line of a file.
const HEAD: &str = "netsonde-table ";
/// Key of the second line.
const HEAD_KEY: &str = "netsonde-table";
/// Version of the format.
const VERSION: u16 = 1;
/// Length of a file in bytes below which it is not written anew.
const MIN_REWRITE_BYTES: u64 = 1 << 20;
/// Maximum length of a file in bytes that is read: far more than all outages and series take.
const MAX_BYTES: u64 = 512 << 20;
/// Bytes that wait for a disk that refuses; further changes are in memory only until it is written anew.
const MAX_PENDING_BYTES: usize = 16 << 20;

/// What could not be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines that were damaged or cut.
    pub damaged: u64,
    /// Writes that failed; nothing is lost by that.
    pub failed_writes: u64,
}

/// A table that is open. The caller sees to it that only one process has it.
pub struct Table<D: Directory> {
    directory: D,
    name: String,
    /// As text, which takes a fraction of the memory of values.
    entries: BTreeMap<String, Box<str>>,
    file: Option<Box<dyn Append>>,
    /// Bytes of the file.
    length: u64,
    /// Bytes that are counted, if it were written anew.
    live: u64,
    pending: Vec<u8>,
    /// Whether the file must be written anew: it is not there, ends within a line, or has not all changes.
    is_stale: bool,
    counters: Counters,
}

/// What stands for no value.
const NULL: &str = "null";

/// Returns a value as JSON on one line.
pub fn json(value: &(impl Serialize + ?Sized)) -> String {
    // A value of this program is one of JSON's.
    serde_json::to_string(value).unwrap_or(NULL.into())
}

/// Returns the line of a key and its value, which is JSON.
fn line(key: &str, value: &str) -> String {
    let text = format!("[{},{value}]", json(key));
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

/// Returns the length of this line in bytes.
fn line_length(key: &str, value: &str) -> u64 {
    const AROUND: usize = "00000000 [,]\n".len();
    (AROUND + json(key).len() + value.len()) as u64
}

fn parse(line: &str) -> Option<(String, Box<str>)> {
    let (sum, text) = line.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(text.as_bytes());
    let parsed: (String, &RawValue) = is_whole.then(|| serde_json::from_str(text).ok())??;
    Some((parsed.0, parsed.1.get().into()))
}

/// Returns whether a line is the second one of a file of this version.
fn is_head(text: &[u8]) -> bool {
    let parsed = std::str::from_utf8(text).ok().and_then(parse);
    parsed.is_some_and(|(key, value)| key == HEAD_KEY && *value == *VERSION.to_string())
}

impl<D: Directory> Table<D> {
    /// Opens a table, or begins one.
    ///
    /// # Errors
    ///
    /// The file system refuses, the file is of another version, or it is longer than 512 MiB.
    pub fn open(directory: D, name: &str) -> Result<Table<D>, Error> {
        let mut table = Table {
            directory,
            name: name.into(),
            entries: BTreeMap::new(),
            file: None,
            length: 0,
            live: 0,
            pending: Vec::new(),
            is_stale: true,
            counters: Counters::default(),
        };
        table.read()?;
        Ok(table)
    }

    fn read(&mut self) -> Result<(), Error> {
        let files = self.directory.list();
        let files = files.map_err(failure(&self.directory, "list", ""))?;
        let Some((_, length)) = files.into_iter().find(|(name, _)| *name == self.name) else {
            return Ok(());
        };
        let failed = failure(&self.directory, "read", &self.name);
        if length > MAX_BYTES {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let mut bytes = vec![0; length as usize];
        let opened = self.directory.open(&self.name);
        let count = opened.and_then(|file| file.read_at(&mut bytes, 0));
        bytes.truncate(count.map_err(failed)?);
        // Damage may have made anything of it: each line for itself.
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        let head = lines.next().unwrap_or_default();
        let version = std::str::from_utf8(head)
            .ok()
            .and_then(|head| head.strip_prefix(HEAD));
        match version.map(str::parse::<u16>) {
            Some(Ok(VERSION)) => {}
            Some(Ok(found)) if lines.peek().is_none_or(|next| !is_head(next)) => {
                let path = format!("{}/{}", self.directory.path(), self.name);
                return Err(Error::Version { path, found });
            }
            _ => self.counters.damaged += u64::from(!bytes.is_empty()),
        }
        for text in lines.filter(|text| !text.is_empty()) {
            let parsed = std::str::from_utf8(text).ok().and_then(parse);
            match parsed {
                Some((key, _)) if key == HEAD_KEY => {}
                Some((key, value)) => self.put(key, value),
                None => self.counters.damaged += 1,
            }
        }
        self.length = bytes.len() as u64;
        self.is_stale = self.counters.damaged > 0 || bytes.last() != Some(&b'\n');
        Ok(())
    }

    fn put(&mut self, key: String, value: Box<str>) {
        if let Some(before) = self.entries.get(&key) {
            self.live = self.live.saturating_sub(line_length(&key, before));
        }
        if &*value == NULL {
            self.entries.remove(&key);
        } else {
            self.live += line_length(&key, &value);
            self.entries.insert(key, value);
        }
    }

    /// Returns a value; `None` if there is none, or it is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.entries.get(key)?).ok()
    }

    /// Returns the values whose keys begin with a prefix, with the rest of the key, in the order of the keys.
    pub fn all<T: DeserializeOwned>(&self, prefix: &str) -> impl Iterator<Item = (&str, T)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self.entries.range::<str, _>(from);
        let entries =
            entries.map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value)));
        entries.filter_map(|(key, value)| Some((key, serde_json::from_str(value).ok()?)))
    }

    /// Sets a value, made by [`json`]; `null` removes it. It is on disk with the next [`Table::flush`].
    pub fn set(&mut self, key: &str, value: String) {
        let known = self.entries.get(key).map_or(NULL, |known| known);
        if known != value {
            self.change(key, value.into());
        }
    }

    fn change(&mut self, key: &str, value: Box<str>) {
        if self.pending.len() < MAX_PENDING_BYTES {
            self.pending.extend_from_slice(line(key, &value).as_bytes());
        } else {
            self.is_stale = true;
        }
        self.put(key.into(), value);
    }

    /// Returns the counters of what could not be kept.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns the length of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// Writes what has changed, and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// The file system refuses. Nothing is lost: it is written by the next successful call.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.check_file();
        let is_large = self.length >= MIN_REWRITE_BYTES && self.length > 4 * self.live;
        let flushed = match self.is_stale || is_large {
            true => self.rewrite(),
            false => self.append(),
        };
        if flushed.is_err() {
            self.counters.failed_writes += 1;
            // Part of a line may be there.
            self.is_stale = true;
            self.file = None;
        }
        flushed
    }

    /// If the file was removed, writes to it would succeed and reach no file: everything goes to another one.
    fn check_file(&mut self) {
        let opened = self.directory.open(&self.name);
        if opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.file = None;
            self.is_stale = true;
        }
    }

    fn append(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => self.directory.append_to(&self.name),
        };
        let written = file.and_then(|mut file| {
            file.append(&self.pending)?;
            file.sync()?;
            Ok(file)
        });
        self.file = Some(written.map_err(failure(&self.directory, "write", &self.name))?);
        self.length += self.pending.len() as u64;
        // Many change at once, and then none for hours.
        self.pending = Vec::new();
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), Error> {
        let mut text = format!("{HEAD}{VERSION}\n");
        text.push_str(&line(HEAD_KEY, &VERSION.to_string()));
        for (key, value) in &self.entries {
            text.push_str(&line(key, value));
        }
        let name = format!("tmp-{}", self.name);
        let written = self.replace(&name, text.as_bytes());
        written.map_err(failure(&self.directory, "write", &name))?;
        self.length = text.len() as u64;
        self.pending = Vec::new();
        self.is_stale = false;
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file = None;
        self.directory.remove(name)?;
        let mut file = self.directory.append_to(name)?;
        file.append(bytes)?;
        file.sync()?;
        drop(file);
        self.directory.rename(name, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    const NAME: &str = "table";

    fn open(disk: &Memory) -> Table<Memory> {
        Table::open(disk.clone(), NAME).unwrap()
    }

    fn numbers(table: &Table<Memory>) -> Vec<(String, u64)> {
        let all = table.all::<u64>("n/");
        all.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    #[test]
    fn the_last_value_of_a_key_counts_also_after_opening_again() {
        let disk = Memory::default();
        let mut table = open(&disk);
        table.set("n/1", json(&1));
        table.set("n/2", json(&2));
        table.set("m/1", json(&"x"));
        table.flush().unwrap();
        table.set("n/1", json(&3));
        table.set("n/2", NULL.into());
        table.flush().unwrap();
        for table in [table, open(&disk.copy())] {
            assert_eq!(numbers(&table), [("1".to_owned(), 3)]);
            assert_eq!(table.get::<String>("m/1").as_deref(), Some("x"));
            assert_eq!(table.get::<u64>("m/1"), None, "another type");
            assert_eq!(table.counters(), Counters::default());
        }
    }

    #[test]
    fn a_cut_costs_what_is_behind_it_and_a_damaged_byte_its_line() {
        let disk = Memory::default();
        let mut table = open(&disk);
        for n in 0..50u64 {
            table.set(&format!("n/{n:02}"), json(&n));
            table.flush().unwrap();
        }
        let bytes = disk.0.borrow().files[NAME].bytes.clone();
        for at in 0..bytes.len() {
            let cut = disk.copy();
            cut.0
                .borrow_mut()
                .files
                .get_mut(NAME)
                .unwrap()
                .bytes
                .truncate(at);
            let whole = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            let mut table = open(&cut);
            let kept = numbers(&table).len();
            // Two lines are the head. Without its line feed the last line may be whole, too.
            let most = whole.saturating_sub(1);
            assert!(
                (whole.saturating_sub(2)..=most).contains(&kept),
                "{at}: {kept}"
            );
            // What comes next is not lost behind it.
            table.set("n/99", json(&99));
            table.flush().unwrap();
            assert_eq!(numbers(&open(&cut)).len(), kept + 1, "{at}");
            for bits in [0x01, 0x02, 0x10, 0xff] {
                let flipped = disk.copy();
                flipped.0.borrow_mut().files.get_mut(NAME).unwrap().bytes[at] ^= bits;
                let table = open(&flipped);
                assert!(numbers(&table).len() >= 48, "{at}");
                assert!(table.counters().damaged > 0, "{at}");
            }
        }
    }

    #[test]
    fn a_file_that_was_removed_is_written_whole() {
        let disk = Memory::default();
        for is_open in [true, false] {
            let mut table = open(&disk);
            table.set("n/1", json(&1));
            table.flush().unwrap();
            if !is_open {
                table = open(&disk);
            }
            disk.0.borrow_mut().files.clear();
            table.set("n/2", json(&2));
            table.flush().unwrap();
            assert_eq!(numbers(&open(&disk.copy())).len(), 2, "{is_open}");
        }
    }

    #[test]
    fn what_a_disk_refuses_is_written_later() {
        let disk = Memory::default();
        let mut table = open(&disk);
        table.set("n/1", json(&1));
        table.flush().unwrap();
        disk.0.borrow_mut().room = Some(5);
        table.set("n/2", json(&2));
        assert!(table.flush().is_err());
        assert!(table.flush().is_err());
        assert_eq!(numbers(&open(&disk.copy())).len(), 1);
        disk.0.borrow_mut().room = None;
        table.flush().unwrap();
        assert_eq!(numbers(&open(&disk.copy())).len(), 2);
        assert_eq!(table.counters().failed_writes, 2);
    }

    #[test]
    fn power_cuts_at_any_operation_leave_the_last_flush() {
        for operations in 0..60 {
            let disk = Memory::default();
            disk.0.borrow_mut().power = Some(operations);
            let mut table = open(&disk);
            let mut flushed = 0;
            for n in 1..=20u64 {
                // Longer than all others together, so that the file is written anew at times.
                table.set("n/1", json(&n));
                table.is_stale |= n % 7 == 0;
                if table.flush().is_ok() {
                    flushed = n;
                }
            }
            for part in [0, 50, 100] {
                let kept = numbers(&open(&disk.after_power_cut(part)));
                let kept = kept.first().map_or(0, |(_, n)| *n);
                assert!(kept >= flushed, "{operations}: {kept} of {flushed}");
            }
        }
    }

    #[test]
    fn superseded_lines_do_not_stay() {
        let disk = Memory::default();
        let mut table = open(&disk);
        let text = "x".repeat(1000);
        for n in 0..5000u64 {
            table.set("n/1", json(&format!("{text}{n}")));
            table.flush().unwrap();
        }
        assert!(table.bytes() < 2 << 20, "{}", table.bytes());
        let other = Memory::default();
        other.0.borrow_mut().files.insert(
            NAME.into(),
            crate::memory::File {
                bytes: b"netsonde-table 2\n".to_vec(),
                ..Default::default()
            },
        );
        assert!(matches!(
            Table::open(other, NAME),
            Err(Error::Version { found: 2, .. })
        ));
    }
}
