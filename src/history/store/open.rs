//! PURE. Opening a store: reads the footers, replays the journal up to where its records end, and finishes
//! what a crash left half-done. Nothing is changed before all files are known to be of this version.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;

use super::{Counters, Error, Options, Store, failure};
use crate::batch;
use crate::chunk::Builder;
use crate::directory::Directory;
use crate::record::Kind;
use crate::segment::{self, BadHead, Head, Scan, Segment, Tier, Writer};

/// Beginning of the names of files that are not complete.
pub(super) const TEMPORARY: &str = "tmp-";
/// End of the names of files that are kept only for a person to look at.
const SET_ASIDE: &str = ".bad";

/// Files of a directory.
#[derive(Default)]
struct Found {
    segments: Vec<(String, Segment)>,
    journals: BTreeMap<u64, (String, Head)>,
    incomplete: Vec<String>,
    unreadable: Vec<String>,
    highest: u64,
}

impl<D: Directory> Store<D> {
    /// Opens a store; an empty directory is an empty store.
    ///
    /// # Errors
    ///
    /// Another process has it, a file is of another version, or the file system refuses. Damage is no error:
    /// it is counted, and everything else is there.
    pub fn open(mut directory: D, options: Options) -> Result<Store<D>, Error> {
        directory.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked {
                path: directory.path(),
            },
            _ => failure(&directory, "lock", "")(error),
        })?;
        let mut counters = Counters::default();
        let found = Found::read(&directory, &mut counters)?;
        let mut store = Store {
            directory,
            options,
            segments: Vec::new(),
            journal: None,
            written_ns: 0,
            next_number: found.highest + 1,
            salts: 0,
            open: BTreeMap::new(),
            open_entries: 0,
            refused: BTreeMap::new(),
            is_close_due: false,
            compaction: None,
            counters,
        };
        for name in &found.incomplete {
            store.remove(name)?;
        }
        for name in &found.unreadable {
            store.set_aside(name)?;
        }
        let journals = store.settle(found.segments, found.journals)?;
        for (name, head) in journals {
            if store.journal.is_some() {
                // Two journals: closing the first one was interrupted by an error, and then by a crash.
                let end_ns = store.open_end_ns();
                store.close(end_ns)?;
            }
            store.replay(&name, head)?;
        }
        Ok(store)
    }

    /// Removes what a coarser file replaces, and returns the journals that are still needed.
    fn settle(
        &mut self,
        mut segments: Vec<(String, Segment)>,
        journals: BTreeMap<u64, (String, Head)>,
    ) -> Result<Vec<(String, Head)>, Error> {
        // The coarsest and longest first: it was complete before the removal of the others began.
        segments.sort_by_key(|(_, segment)| {
            let head = segment.head;
            (
                Reverse(head.tier),
                Reverse(head.last - head.first),
                head.first,
            )
        });
        let mut kept: Vec<Segment> = Vec::new();
        let numbers: Vec<(Tier, u64, u64)> = segments
            .iter()
            .map(|(_, segment)| (segment.head.tier, segment.head.first, segment.head.last))
            .collect();
        for (name, segment) in segments {
            let head = segment.head;
            let overlaps = |first: u64, last: u64| first <= head.last && last >= head.first;
            if kept
                .iter()
                .any(|kept| overlaps(kept.head.first, kept.head.last))
            {
                self.remove(&name)?;
                continue;
            }
            let has_finer = numbers.iter().any(|(tier, first, last)| {
                let is_part = *tier == head.tier && last - first < head.last - head.first;
                (*tier < head.tier || is_part) && overlaps(*first, *last)
            }) || journals.keys().any(|number| overlaps(*number, *number));
            if has_finer && !segment.is_indexed() {
                // Damaged, while what it was made from is still there.
                self.set_aside(&name)?;
                continue;
            }
            kept.push(segment);
        }
        kept.sort_by_key(|segment| segment.head.first);
        let mut needed = Vec::new();
        for (number, (name, head)) in journals {
            let is_closed = kept
                .iter()
                .any(|segment| (segment.head.first..=segment.head.last).contains(&number));
            if is_closed {
                self.remove(&name)?;
            } else {
                needed.push((name, head));
            }
        }
        self.segments = kept;
        Ok(needed)
    }

    /// Reads a journal back into memory, and goes on writing to it. Damage in its middle costs the damaged
    /// records only; then, and at a torn end, what is behind the last good record is cut off.
    fn replay(&mut self, name: &str, head: Head) -> Result<(), Error> {
        let file = self
            .directory
            .open(name)
            .map_err(self.failure("open", name))?;
        let bytes = segment::read_all(&*file).map_err(self.failure("read", name))?;
        let mut unknown = 0;
        let found: Scan = segment::scan(&bytes, head.salt, |header, payload| {
            let replayed = match header.about.kind {
                Kind::Batch => batch::unpack(payload, |series, interval_ns, coded| {
                    self.append_open(series, interval_ns, &coded.entry());
                }),
                _ => None,
            };
            unknown += u64::from(replayed.is_none());
        });
        let torn = bytes.len() as u64 - found.end;
        self.counters.damaged += u64::from(found.damaged) + unknown + u64::from(torn > 0);
        self.counters.damaged_bytes += found.damaged_bytes + torn;
        // What follows a damaged record goes to a file without one.
        self.is_close_due = found.damaged > 0;
        let chunks = self.open.values_mut().flatten();
        chunks.for_each(Builder::mark_written);
        self.written_ns = self.open_end_ns();
        let writer = Writer::resume(&mut self.directory, name, head, &found);
        self.journal = Some(writer.map_err(self.failure("truncate", name))?);
        Ok(())
    }

    /// Renames a file, so that it is kept and not read again.
    pub(super) fn set_aside(&mut self, name: &str) -> Result<(), Error> {
        self.counters.set_aside += 1;
        let to = format!("{name}{SET_ASIDE}");
        let renamed = self.directory.rename(name, &to);
        renamed.map_err(self.failure("rename", name))
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), Error> {
        let removed = self.directory.remove(name);
        removed.map_err(self.failure("remove", name))
    }
}

impl Found {
    fn read(directory: &impl Directory, counters: &mut Counters) -> Result<Found, Error> {
        let mut found = Found::default();
        let mut files = directory.list().map_err(failure(directory, "list", ""))?;
        files.sort();
        for (name, bytes) in files {
            if name.starts_with(TEMPORARY) {
                found.incomplete.push(name);
                continue;
            }
            let Some(last) = last_number(&name) else {
                continue;
            };
            found.highest = found.highest.max(last);
            if name.ends_with(SET_ASIDE) {
                continue;
            }
            let file = directory
                .open(&name)
                .map_err(failure(directory, "open", &name))?;
            let unreadable = || failure(directory, "read", &name);
            if name.starts_with(Tier::Journal.name()) {
                let mut head = [0; segment::HEAD_BYTES];
                let length = file.read_at(&mut head, 0).map_err(unreadable())?;
                match Head::read(&head[..length]) {
                    Ok(head) => drop(found.journals.insert(last, (name, head))),
                    Err(BadHead::Version(version)) => return Err(other(directory, &name, version)),
                    // Cut before its first record: an empty journal was never more.
                    Err(BadHead::Damaged) if bytes <= segment::HEAD_BYTES as u64 => {
                        found.incomplete.push(name);
                    }
                    Err(BadHead::Damaged) => found.damaged(name, bytes, counters),
                }
                continue;
            }
            match Segment::open(&*file).map_err(unreadable())? {
                Ok((segment, scan)) => {
                    if let Some(scan) = scan {
                        counters.damaged += u64::from(scan.damaged.max(1));
                        counters.damaged_bytes += scan.damaged_bytes;
                    }
                    found.segments.push((name, segment));
                }
                Err(BadHead::Version(version)) => return Err(other(directory, &name, version)),
                Err(BadHead::Damaged) => found.damaged(name, bytes, counters),
            }
        }
        Ok(found)
    }

    fn damaged(&mut self, name: String, bytes: u64, counters: &mut Counters) {
        counters.damaged += 1;
        counters.damaged_bytes += bytes;
        self.unreadable.push(name);
    }
}

/// The last number in the name of a segment or journal; `None` for other files.
fn last_number(name: &str) -> Option<u64> {
    let name = name.strip_suffix(SET_ASIDE).unwrap_or(name);
    let mut parts = name.strip_suffix(".seg")?.rsplitn(3, '-');
    let last = parts.next()?.parse().ok()?;
    let first: u64 = parts.next()?.parse().ok()?;
    let tier = parts.next()?;
    let is_known =
        tier == Tier::Journal.name() || Tier::HISTORY.iter().any(|known| known.name() == tier);
    (is_known && first <= last).then_some(last)
}

fn other(directory: &impl Directory, name: &str, found: u16) -> Error {
    Error::Version {
        path: format!("{}/{name}", directory.path()),
        found,
    }
}
