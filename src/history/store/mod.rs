//! PURE. The store: probes come in, go to the journal every few seconds, and to a segment every hour.
//!
//! | file | contents |
//! |---|---|
//! | `open` | opening: what is there, what is damaged, what a crash left half-done |
//! | `write` | the running hour: memory, journal, closing |
//! | `read` | entries and steps of a series over any time |
//! | `compact` | coarser tiers, the budget, and how long it lasts |
//! | `merge` | segments of one hour become one |
//!
//! Files have numbers: each journal has the next, and a segment those of the journals whose content it has. A
//! crash between the steps of closing or compaction leaves two files with the same numbers: the coarser, or that
//! of more journals, which is renamed into place only when it is complete and on the disk, replaces the other. So no
//! probe is counted twice.

mod compact;
mod merge;
mod open;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

pub use compact::{Compaction, Estimate};
pub use read::Point;

use crate::chunk::Builder;
use crate::directory::Directory;
use crate::segment::{Segment, Tier, Writer};

/// An hour in nanoseconds.
pub(crate) const HOUR_NS: u64 = 3_600_000_000_000;
const DAY_NS: u64 = 24 * HOUR_NS;

/// Settings of a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Budget in bytes for all segments. It wins over all ages: the oldest segment is removed first.
    pub budget_bytes: u64,
    /// Measured time in nanoseconds for which each tier of [`Tier::HISTORY`] is kept.
    pub keep_ns: [u64; 4],
    /// Length of the journal in bytes at which it is closed before the hour ends.
    pub journal_bytes: u64,
    /// Time in nanoseconds after which a file of [`crate::packets`] is closed, counted from 1970.
    pub file_ns: u64,
    /// Maximum number of entries in memory, about 4 bytes each: the running hour, and what a disk that fails
    /// keeps from being stored. Further entries are refused, counted, and declared as a gap.
    pub open_entries: usize,
    /// Boot id of the kernel, written to each record.
    pub boot_id: [u8; 16],
    /// A random number that differs with each opening: the salts of files come from it.
    pub seed: u64,
}

impl Default for Options {
    /// 1 GiB; every probe for 7 days, minutes up to 14 days, five minutes up to 90 days, hours up to 2 years.
    fn default() -> Options {
        Options {
            budget_bytes: 1 << 30,
            keep_ns: [7 * DAY_NS, 7 * DAY_NS, 76 * DAY_NS, 640 * DAY_NS],
            journal_bytes: 8 << 20,
            file_ns: HOUR_NS,
            open_entries: 3_600_000,
            boot_id: [0; 16],
            seed: 0,
        }
    }
}

/// Maximum number of series at a time: ten times the targets that one host is built for.
pub const MAX_SERIES: usize = 100_000;

/// What the store could not keep, and why. All count from the opening on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes that failed; none of them lost anything by itself.
    pub failed_writes: u64,
    /// Entries refused because the memory for the running hour was full, or there were too many series.
    pub refused_entries: u64,
    /// Damaged stretches found in files.
    pub damaged: u64,
    /// Bytes in them.
    pub damaged_bytes: u64,
    /// Files renamed to `.bad`, because nothing in them could be read, or a better file had the same content.
    pub set_aside: u64,
    /// Segments removed for the budget.
    pub evicted_segments: u64,
    /// Bytes in them.
    pub evicted_bytes: u64,
    /// Segments removed because of their age.
    pub expired_segments: u64,
}

/// A store that cannot be opened, or an operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {operation} {path}: {error}")]
    Io {
        /// Verb.
        operation: &'static str,
        /// File or directory.
        path: String,
        /// Cause.
        error: io::Error,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another process")]
    Locked {
        /// Directory.
        path: String,
    },
    /// A file was written by an older or newer program. Nothing was changed.
    #[error(
        "{path} has format version {found}, this program supports only version {}; \
         use the other program, or another directory",
        crate::segment::VERSION
    )]
    Version {
        /// File.
        path: String,
        /// Its version.
        found: u16,
    },
}

/// Entries of a series in memory. Several chunks if the interval was changed or the clock set.
type Chunks = BTreeMap<u32, Vec<Builder>>;

/// Entries that were refused: first and last time in nanoseconds since 1970, and the interval.
#[derive(Clone, Copy, Debug)]
struct Refused {
    begin_ns: u64,
    end_ns: u64,
    interval_ns: u64,
}

/// A store that is open. Only one process can have it.
pub struct Store<D: Directory> {
    directory: D,
    options: Options,
    /// Closed files in the order of their numbers.
    segments: Vec<Segment>,
    journal: Option<Writer>,
    /// Time of the last write to the journal, in nanoseconds since 1970.
    written_ns: u64,
    next_number: u64,
    /// Number of salts that were made from the seed.
    salts: u64,
    /// The running hour, in which each chunk knows what the journal does not have yet.
    open: Chunks,
    open_entries: usize,
    refused: BTreeMap<u32, Refused>,
    is_close_due: bool,
    compaction: Option<compact::Running>,
    counters: Counters,
}

impl<D: Directory> Store<D> {
    /// Returns the number of series that have entries in the running hour.
    pub fn series(&self) -> usize {
        self.open.len()
    }

    /// Returns the counters of what could not be kept.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the length of all segments in bytes, without the journal.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Returns the number of segments and bytes of a tier.
    pub fn tier_size(&self, tier: Tier) -> (usize, u64) {
        let segments = self
            .segments
            .iter()
            .filter(|segment| segment.head.tier == tier);
        segments.fold((0, 0), |(count, bytes), segment| {
            (count + 1, bytes + segment.bytes)
        })
    }

    /// Returns the length of the journal in bytes; `None` if nothing was written since the last segment.
    pub fn journal_bytes(&self) -> Option<u64> {
        self.journal.as_ref().map(Writer::length)
    }

    /// Changes the budget in bytes; the next [`Store::compact`] applies it.
    pub fn set_budget(&mut self, budget_bytes: u64) {
        self.options.budget_bytes = budget_bytes;
    }

    /// A number that no other file has: a step of SplitMix64 from the seed.
    fn salt(&mut self) -> u64 {
        self.salts += 1;
        let mut salt = self
            .options
            .seed
            .wrapping_add(self.salts.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        salt = (salt ^ salt >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        salt = (salt ^ salt >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        salt ^ salt >> 31
    }

    fn failure(
        &self,
        operation: &'static str,
        name: &str,
    ) -> impl FnOnce(io::Error) -> Error + use<D> {
        failure(&self.directory, operation, name)
    }
}

pub(crate) fn failure<D: Directory>(
    directory: &D,
    operation: &'static str,
    name: &str,
) -> impl FnOnce(io::Error) -> Error + use<D> {
    let path = match name {
        "" => directory.path(),
        name => format!("{}/{name}", directory.path()),
    };
    move |error| Error::Io {
        operation,
        path,
        error,
    }
}
