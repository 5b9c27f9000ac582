//! PURE. The running hour: in memory for readers and for the segment to come, in the journal for a crash.

use std::io;

use super::open::TEMPORARY;
use super::{Error, HOUR_NS, MAX_SERIES, Refused, Store};
use crate::batch;
use crate::bytes::put_block;
use crate::chunk::{self, Builder, Entry, Gap, GapReason};
use crate::directory::Directory;
use crate::histogram::{self, Step};
use crate::record::{About, Kind};
use crate::segment::{Head, Segment, Tier, Writer};

/// Maximum number of entries of a batch: a record stays below 1 MiB.
const BATCH_ENTRIES: u32 = 200_000;
/// Time that a segment of probes can have measured: an hour, and what a flush may come late.
const MAX_MEASURED_NS: u64 = HOUR_NS + HOUR_NS / 12;

impl<D: Directory> Store<D> {
    /// Adds a probe or gap of a series, whose probes are an interval apart (nanoseconds). It is in memory at
    /// once, and on disk with the next [`Store::flush`]. Returns false if it was refused, which is counted,
    /// and declared as a gap as soon as there is room.
    pub fn push(&mut self, series: u32, interval_ns: u64, entry: &Entry) -> bool {
        let is_new = !self.open.contains_key(&series);
        let is_full = self.open_entries >= self.options.open_entries
            || is_new && self.open.len() >= MAX_SERIES;
        if is_full {
            self.refuse(series, interval_ns, entry);
            return false;
        }
        self.append_open(series, interval_ns, entry);
        true
    }

    fn refuse(&mut self, series: u32, interval_ns: u64, entry: &Entry) {
        self.counters.refused_entries += 1;
        let time_ns = entry.time_ns();
        if let Some(refused) = self.refused.get_mut(&series) {
            refused.end_ns = time_ns.max(refused.begin_ns);
        } else if self.refused.len() < MAX_SERIES {
            let refused = Refused {
                begin_ns: time_ns,
                end_ns: time_ns,
                interval_ns,
            };
            self.refused.insert(series, refused);
        }
    }

    /// Adds an entry to the last chunk of its series, or to a new one if that cannot take it, or is of another hour.
    pub(super) fn append_open(&mut self, series: u32, interval_ns: u64, entry: &Entry) {
        self.open_entries += 1;
        let chunks = self.open.entry(series).or_default();
        if let Some(last) = chunks.last_mut() {
            let is_same = last.interval_ns() == interval_ns.max(chunk::MIN_INTERVAL_NS)
                && hour(last.start_ns()) == hour(entry.time_ns());
            if is_same && last.push(entry).is_ok() {
                return;
            }
        }
        // An empty chunk takes any entry.
        let mut new = Builder::new(interval_ns);
        let _ = new.push(entry);
        // One chunk a series, but for those whose clock or interval was set.
        chunks.reserve_exact(1);
        chunks.push(new);
    }

    /// Returns the number of entries that the journal does not have yet.
    pub fn pending_entries(&self) -> u64 {
        let chunks = self.open.values().flatten();
        chunks.map(|chunk| u64::from(chunk.unwritten_count())).sum()
    }

    /// Writes what is new to the journal, and waits until it is on the disk: to be called every 5 s. With
    /// the first call of an hour (UTC, by `now_ns` since 1970), when the journal is long, and when three quarters of the
    /// entries are there that memory may have, it becomes a segment; the rest is for a disk that fails.
    ///
    /// # Errors
    ///
    /// The file system refuses. Nothing is lost by that: everything is still in memory, and written by the next
    /// successful call.
    pub fn flush(&mut self, now_ns: u64) -> Result<(), Error> {
        let flushed = self.try_flush(now_ns);
        self.counters.failed_writes += u64::from(flushed.is_err());
        flushed
    }

    fn try_flush(&mut self, now_ns: u64) -> Result<(), Error> {
        let closed = match self.has_hour_ended(now_ns) {
            true => self.close(now_ns),
            false => Ok(()),
        };
        // A full disk may have room for the journal where it has none for a segment.
        let written = self.write_journal(now_ns);
        closed.and(written)?;
        let is_due = self.journal.as_ref().is_some_and(|journal| {
            self.is_close_due
                || journal.length() >= self.options.journal_bytes
                || self.open_entries >= self.options.open_entries / 4 * 3
        });
        if is_due { self.close(now_ns) } else { Ok(()) }
    }

    fn has_hour_ended(&self, now_ns: u64) -> bool {
        let journal = self.journal.as_ref();
        journal.is_some_and(|journal| hour(journal.head().created_ns) != hour(now_ns))
    }

    fn write_journal(&mut self, now_ns: u64) -> Result<(), Error> {
        self.check_journal();
        if !self.has_unwritten() {
            return Ok(());
        }
        let mut journal = match self.journal.take() {
            Some(journal) => journal,
            None => self.create_journal(now_ns)?,
        };
        let name = journal.head().name();
        let written = self.write_batches(&mut journal);
        self.journal = Some(journal);
        self.written_ns = now_ns;
        written.map_err(self.failure("write", &name))
    }

    /// If the journal was removed, writes to it would succeed and reach no file: everything goes to another
    /// one.
    fn check_journal(&mut self) {
        let is_gone = self.journal.as_ref().is_some_and(|journal| {
            let opened = self.directory.open(&journal.head().name());
            opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        });
        if is_gone {
            self.journal = None;
            self.mark_unwritten();
        }
    }

    fn has_unwritten(&self) -> bool {
        let mut chunks = self.open.values().flatten();
        chunks.any(|chunk| chunk.unwritten_count() > 0)
    }

    fn mark_unwritten(&mut self) {
        let chunks = self.open.values_mut().flatten();
        chunks.for_each(Builder::mark_unwritten);
    }

    fn create_journal(&mut self, now_ns: u64) -> Result<Writer, Error> {
        let head = Head {
            tier: Tier::Journal,
            salt: self.salt(),
            first: self.next_number,
            last: self.next_number,
            created_ns: now_ns,
        };
        let name = head.name();
        let journal = Writer::create(&mut self.directory, &name, head);
        let journal = journal.map_err(self.failure("create", &name))?;
        self.next_number += 1;
        Ok(journal)
    }

    fn write_batches(&mut self, journal: &mut Writer) -> io::Result<()> {
        let mut next = Some(0);
        while let Some(first) = next.take() {
            let mut batch: Vec<(u32, &Builder)> = Vec::new();
            let mut entries = 0;
            for (series, chunks) in self.open.range(first..) {
                let count: u32 = chunks.iter().map(Builder::unwritten_count).sum();
                if entries > 0 && entries + count > BATCH_ENTRIES {
                    next = Some(*series);
                    break;
                }
                entries += count;
                let new = chunks.iter().filter(|chunk| chunk.unwritten_count() > 0);
                batch.extend(new.map(|chunk| (*series, chunk)));
            }
            let Some((last, _)) = batch.last().copied() else {
                break;
            };
            let chunks = || batch.iter().map(|(_, chunk)| chunk);
            let about = About {
                kind: Kind::Batch,
                series: 0,
                count: entries,
                boot_id: self.options.boot_id,
                start_ns: chunks()
                    .map(|chunk| chunk.unwritten_start_ns())
                    .min()
                    .unwrap_or(0),
                end_ns: chunks().map(|chunk| chunk.end_ns()).max().unwrap_or(0),
            };
            journal.append(&about, &batch::pack(&batch))?;
            // From here on it is in the file; if it does not reach the disk, it is still in memory.
            let written = self.open.range_mut(first..=last);
            let chunks = written.flat_map(|(_, chunks)| chunks);
            chunks.for_each(Builder::mark_written);
        }
        journal.sync()
    }

    /// Time of the last entry in memory.
    pub(super) fn open_end_ns(&self) -> u64 {
        let chunks = self.open.values().flatten();
        chunks.map(Builder::end_ns).max().unwrap_or(0)
    }

    /// Makes a segment of the running hour, and removes the journal.
    ///
    /// # Errors
    ///
    /// The file system refuses; the journal is still there then, and the next call tries again.
    pub fn close(&mut self, now_ns: u64) -> Result<(), Error> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let journal = *journal.head();
        let head = Head {
            tier: Tier::Probes,
            salt: self.salt(),
            created_ns: now_ns,
            ..journal
        };
        // What belongs to the hour that has begun stays, and goes to its own journal; but not if this
        // journal has a part of it already, since it is removed.
        let has_ended =
            self.has_hour_ended(now_ns) && hour(self.written_ns) == hour(journal.created_ns);
        let is_next = |chunk: &Builder| has_ended && hour(chunk.start_ns()) == hour(now_ns);
        let measured_ns = now_ns
            .saturating_sub(journal.created_ns)
            .min(MAX_MEASURED_NS);
        let segment = self.write_segment(head, measured_ns, |store, writer| {
            for (series, chunks) in &store.open {
                for chunk in chunks.iter().filter(|chunk| !is_next(chunk)) {
                    let (about, payload) = record(*series, store.options.boot_id, chunk);
                    writer.append(&about, &payload)?;
                }
            }
            Ok(())
        })?;
        self.segments.push(segment);
        self.journal = None;
        self.is_close_due = false;
        self.open.retain(|_, chunks| {
            chunks.retain(is_next);
            !chunks.is_empty()
        });
        let left = self.open.values().flatten();
        self.open_entries = left.map(|chunk| chunk.count() as usize).sum();
        // Everything else that the journal does not have yet is in the segment.
        self.mark_unwritten();
        self.declare_refused();
        self.remove(&journal.name())
    }

    /// Writes a segment under a temporary name, and renames it when it is on the disk.
    pub(super) fn write_segment(
        &mut self,
        head: Head,
        measured_ns: u64,
        write: impl FnOnce(&Store<D>, &mut Writer) -> io::Result<()>,
    ) -> Result<Segment, Error> {
        let temporary = format!("{TEMPORARY}{}", head.name());
        let written =
            Writer::create(&mut self.directory, &temporary, head).and_then(|mut writer| {
                write(self, &mut writer)?;
                writer.finish(measured_ns)
            });
        if let Err(error) = written {
            // Room for the next attempt; if this fails too, the next opening removes it.
            let _ = self.directory.remove(&temporary);
            return Err(self.failure("write", &temporary)(error));
        }
        self.adopt(&temporary, &head)
    }

    /// Renames a complete segment to its name, and opens it.
    pub(super) fn adopt(&mut self, temporary: &str, head: &Head) -> Result<Segment, Error> {
        let name = head.name();
        let renamed = self.directory.rename(temporary, &name);
        renamed.map_err(self.failure("rename", temporary))?;
        let opened = self
            .directory
            .open(&name)
            .and_then(|file| Segment::open(&*file));
        match opened.map_err(self.failure("open", &name))? {
            Ok((segment, _)) => Ok(segment),
            Err(_) => Err(self.failure("read", &name)(
                io::ErrorKind::InvalidData.into(),
            )),
        }
    }

    fn declare_refused(&mut self) {
        for (series, refused) in std::mem::take(&mut self.refused) {
            let gap = Entry::Gap(Gap {
                begin_ns: refused.begin_ns,
                length_ns: refused.end_ns - refused.begin_ns + refused.interval_ns,
                reason: GapReason::NotStored,
            });
            self.push(series, refused.interval_ns, &gap);
        }
    }
}

/// A record of a chunk: the step that sums it up, and the chunk, which lies in one hour.
pub(super) fn record(series: u32, boot_id: [u8; 16], chunk: &Builder) -> (About, Vec<u8>) {
    let mut payload = Vec::new();
    let hour = hour(chunk.start_ns());
    let summary = if hour > 0 {
        let mut step = Step {
            start_ns: hour * HOUR_NS,
            ..Step::default()
        };
        chunk.read().for_each(|coded| step.add(&coded));
        histogram::pack(HOUR_NS, &[step])
    } else {
        Vec::new()
    };
    put_block(&mut payload, &summary);
    payload.extend_from_slice(&chunk::pack(chunk));
    let about = About {
        kind: Kind::Probes,
        series,
        count: chunk.count(),
        boot_id,
        start_ns: chunk.start_ns(),
        end_ns: chunk.end_ns(),
    };
    (about, payload)
}

/// Number of the hour since 1970.
pub(super) fn hour(time_ns: u64) -> u64 {
    time_ns / HOUR_NS
}
