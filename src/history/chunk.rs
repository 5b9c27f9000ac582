//! PURE. Chunks: the probes of one series in the order of sending, each with its fate, its round trip
//! and its send time.
//!
//! A [`Builder`] holds the running hour in memory as bytes. On disk, a chunk is
//! ```text
//! version 2 | interval ns | start ns (8 bytes) | entries | range-coded entries
//! ```
//! with numbers in LEB128. [`pack`] and [`Packed`] share one description of an entry:
//!
//! | part | coded as |
//! |---|---|
//! | status | whether it is that of the entry before; fate times two, plus 1 if there is a round trip; from 18 on gaps |
//! | send time | 250ths of the interval that it differs from the schedule, which is the first send time plus intervals; or from the pace, which is the last send time plus the time between the last two, if that was nearer lately |
//! | round trip | bucket on the wire ([`scale`]), less the average of the last ones |
//! | total | class of the difference between the buckets of the total round trip and of the one on the wire; in the context of the latter |
//! | gap | its length in 250ths of the interval |
//!
//! The contexts of the coder may be shared by several chunks in a row, as in a batch of the journal, where a
//! series has only a few entries.

use netsonde_core::probe::Fate;

use crate::bytes::{Input, put_signed, put_varint, unzigzag, zigzag};
use crate::entropy::{Bit, Coder, Decoder, Encoder, Number, Signed};
use crate::scale;

/// Version of the format of chunks and of batches. Version 1 is read: it has thousandths of the interval, no pace, and
/// differences instead of their classes.
pub(crate) const VERSION: u8 = 2;
/// Maximum number of entries of a chunk: an hour at 10 ms, four times the shortest interval's.
pub const MAX_ENTRIES: u32 = 360_000;
/// Shortest interval in nanoseconds.
pub(crate) const MIN_INTERVAL_NS: u64 = 1000;
/// Ticks of an interval: send times are kept to a 250th of the interval. At 1 s that is how often the prober of a monitor
/// sends; what is finer is when the host let it.
pub(crate) const TICKS: u64 = 250;
/// Status of the first reason for a gap, behind nine fates with and without a round trip.
const FIRST_GAP: u8 = 18;
/// Difference of a probe whose time on the wire is not known: the round trip is the total one.
const NO_WIRE: u16 = 0;
/// Difference of a probe whose total round trip is not known, as the reply reached the wire only.
const NO_TOTAL: u16 = 1;
/// Difference of a probe whose total round trip is in the bucket of the one on the wire; behind it come the classes of
/// larger ones.
const FIRST_DIFFERENCE: u16 = 2;
/// Bound of ticks between two entries: about 30 years at an interval of a second.
const MAX_TICKS: u64 = 1 << 40;

/// Returns the number of a fate in the format, 0 to 8, which never changes.
pub fn fate_number(fate: Fate) -> u8 {
    fate.number()
}

/// Returns the fate with a number of the format; `None` from 9 on.
pub fn fate_of(number: u8) -> Option<Fate> {
    Fate::of_number(number)
}

/// One echo request and its classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Send time in nanoseconds since 1970. In a chunk it is exact to a 250th of the interval.
    pub sent_ns: u64,
    /// Final classification.
    pub fate: Fate,
    /// Round trip on the wire in nanoseconds, to 3 %; `None` if no reply or error was seen there.
    pub wire_ns: Option<u64>,
    /// Round trip as the prober measured it in nanoseconds, at least the one on the wire. In a chunk it is exact to 3 % up
    /// to a quarter more than that, and to 30 % from two and a half times on.
    pub total_ns: Option<u64>,
}

/// Why a stretch of time has no probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The cause is not known.
    Unknown,
    /// The historian did not run.
    Stopped,
    /// The monitor was paused.
    Paused,
    /// The host was suspended.
    Suspended,
    /// The clock was set.
    ClockStep,
    /// Results were dropped before they reached the historian.
    Dropped,
    /// Results could not be stored: disk full, read-only or removed, and the memory for them was full.
    NotStored,
    /// The service sent no probes: it did not run, or was stopped.
    NoService,
}

impl GapReason {
    /// All reasons, in the order of their numbers in the format.
    pub const ALL: [GapReason; 8] = [
        GapReason::Unknown,
        GapReason::Stopped,
        GapReason::Paused,
        GapReason::Suspended,
        GapReason::ClockStep,
        GapReason::Dropped,
        GapReason::NotStored,
        GapReason::NoService,
    ];

    /// Returns the name used in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            GapReason::Unknown => "unknown",
            GapReason::Stopped => "stopped",
            GapReason::Paused => "paused",
            GapReason::Suspended => "suspended",
            GapReason::ClockStep => "clock_step",
            GapReason::Dropped => "dropped",
            GapReason::NotStored => "not_stored",
            GapReason::NoService => "no_service",
        }
    }
}

/// A stretch of time in which a series was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Begin in nanoseconds since 1970.
    pub begin_ns: u64,
    /// Length in nanoseconds, to a 250th of the interval.
    pub length_ns: u64,
    /// Cause.
    pub reason: GapReason,
}

/// Content of a chunk: probes and declared gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A probe.
    Probe(Probe),
    /// A stretch without probes.
    Gap(Gap),
}

impl Entry {
    /// Returns the time of sending, or the begin of the gap, in nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        match self {
            Entry::Probe(probe) => probe.sent_ns,
            Entry::Gap(gap) => gap.begin_ns,
        }
    }
}

/// Why an entry cannot be appended to a chunk. The caller closes it and begins another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The chunk has its maximum number of entries.
    Entries,
    /// The entry is earlier than the one before it: the clock was set back.
    Earlier,
    /// The entry is too much later than the one before it for the format.
    MuchLater,
}

/// Predicts round trips by a moving average, so that only deviations are stored.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    /// Sixteen times the average bucket; 0 before the first.
    sixteenfold: i64,
}

impl Average {
    fn bucket(self) -> i64 {
        self.sixteenfold >> 4
    }

    fn add(&mut self, bucket: i64) {
        if self.sixteenfold == 0 {
            self.sixteenfold = bucket << 4;
        } else {
            self.sixteenfold += bucket - self.bucket();
        }
    }
}

/// Position behind an entry of a [`Builder`].
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Bytes before it.
    at: u32,
    /// Entries before it.
    count: u32,
    /// Tick of the entry before it.
    tick: i64,
    /// Status of the entry before it.
    status: u8,
    average: Average,
}

impl Position {
    /// Before the first entry, which is so at tick 0.
    const START: Position = Position {
        at: 0,
        count: 0,
        tick: -(TICKS as i64),
        status: 0,
        average: Average { sixteenfold: 0 },
    };
}

/// A chunk that grows: the running hour of a series, about four bytes a probe.
///
/// An entry in memory is the deviation from the schedule, with a bit that says if a status follows because it is not that
/// of the entry before; then round trip and difference, or the length of a gap, in ticks.
#[derive(Clone, Debug)]
pub struct Builder {
    interval_ns: u64,
    start_ns: u64,
    rows: Vec<u8>,
    end: Position,
    written: Position,
}

impl Builder {
    /// Creates an empty chunk for probes at an interval in nanoseconds; below a microsecond it counts as one.
    pub fn new(interval_ns: u64) -> Builder {
        Builder {
            interval_ns: interval_ns.max(MIN_INTERVAL_NS),
            start_ns: 0,
            rows: Vec::new(),
            end: Position::START,
            written: Position::START,
        }
    }

    /// Returns the interval between probes in nanoseconds.
    pub fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// Returns the number of entries.
    pub fn count(&self) -> u32 {
        self.end.count
    }

    /// Returns the time of the first entry in nanoseconds since 1970.
    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Returns the time of the last entry in nanoseconds since 1970.
    pub fn end_ns(&self) -> u64 {
        self.time_ns(self.end.tick)
    }

    /// Returns the bytes of memory that the entries use.
    pub fn memory_bytes(&self) -> usize {
        self.rows.len()
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// The reason why this chunk cannot take it; the chunk is unchanged.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Full> {
        self.push_coded(&Coded::of(entry))
    }

    /// Appends an entry with the codes of the format.
    ///
    /// # Errors
    ///
    /// The reason why this chunk cannot take it; the chunk is unchanged.
    pub fn push_coded(&mut self, coded: &Coded) -> Result<(), Full> {
        let tick = self.tick(coded.time_ns)?;
        // A quarter more rather than twice as much: thousands of series grow at the same pace.
        const MAX_ROW: usize = 32;
        if self.rows.capacity() - self.rows.len() < MAX_ROW {
            self.rows.reserve_exact(MAX_ROW + self.rows.len() / 4);
        }
        let status = coded.status();
        let has_status = status != self.end.status;
        let deviation = tick - self.end.tick - TICKS as i64;
        put_varint(
            &mut self.rows,
            zigzag(deviation) << 1 | u64::from(has_status),
        );
        if has_status {
            self.rows.push(status);
        }
        match coded.kind {
            CodedKind::Probe { times, .. } => self.push_times(times),
            CodedKind::Gap(_, length_ns) => {
                let ticks = length_ns / self.unit_ns();
                put_varint(&mut self.rows, ticks);
            }
        }
        self.end = Position {
            at: self.rows.len() as u32,
            count: self.end.count + 1,
            tick,
            status,
            ..self.end
        };
        Ok(())
    }

    fn unit_ns(&self) -> u64 {
        self.interval_ns / TICKS
    }

    fn time_ns(&self, tick: i64) -> u64 {
        self.start_ns + tick.max(0) as u64 * self.unit_ns()
    }

    fn tick(&mut self, time_ns: u64) -> Result<i64, Full> {
        if self.count() >= MAX_ENTRIES {
            return Err(Full::Entries);
        }
        if self.count() == 0 {
            self.start_ns = time_ns;
            return Ok(0);
        }
        let since_ns = time_ns.checked_sub(self.start_ns).ok_or(Full::Earlier)?;
        let unit = self.unit_ns();
        let tick = since_ns / unit + u64::from(since_ns % unit >= unit.div_ceil(2));
        let last = self.end.tick as u64;
        if tick < last {
            return Err(Full::Earlier);
        }
        if tick - last > MAX_TICKS {
            return Err(Full::MuchLater);
        }
        Ok(tick as i64)
    }

    fn push_times(&mut self, times: Option<(u16, u16)>) {
        let Some((bucket, difference)) = times else {
            return;
        };
        let bucket = i64::from(bucket);
        let average = &mut self.end.average;
        put_signed(&mut self.rows, bucket - average.bucket());
        average.add(bucket);
        put_varint(&mut self.rows, difference.into());
    }

    fn read_from(&self, position: Position) -> Reader<'_> {
        Reader {
            unit_ns: self.unit_ns(),
            start_ns: self.start_ns,
            left: self.end.count - position.count,
            tick: position.tick,
            status: position.status,
            average: position.average,
            rows: Input(&self.rows[position.at as usize..]),
        }
    }

    /// Reads the entries.
    pub fn read(&self) -> Reader<'_> {
        self.read_from(Position::START)
    }

    /// Reads the entries since the last [`Builder::mark_written`].
    pub(crate) fn unwritten(&self) -> Reader<'_> {
        self.read_from(self.written)
    }

    /// Returns the time of the first entry that [`Builder::unwritten`] reads, in nanoseconds since 1970.
    pub(crate) fn unwritten_start_ns(&self) -> u64 {
        let first = self.unwritten().next();
        first.map_or(self.start_ns, |coded| coded.time_ns)
    }

    /// Returns the number of entries that [`Builder::unwritten`] reads.
    pub(crate) fn unwritten_count(&self) -> u32 {
        self.end.count - self.written.count
    }

    /// Notes that all entries are written elsewhere.
    pub(crate) fn mark_written(&mut self) {
        self.written = self.end;
    }

    /// Notes that no entry is written elsewhere any more.
    pub(crate) fn mark_unwritten(&mut self) {
        self.written = Position::START;
    }
}

/// A chunk that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    /// Written by another version of the format.
    #[error("chunk version {0} is not supported, only versions 1 to {VERSION}")]
    Version(u8),
    /// Its bytes contradict each other.
    #[error("the chunk is damaged")]
    Damaged,
}

/// A probe or gap with the codes of the format instead of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// Send time or begin in nanoseconds since 1970.
    pub time_ns: u64,
    kind: CodedKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CodedKind {
    Probe {
        fate: Fate,
        /// Bucket of the round trip, and the difference.
        times: Option<(u16, u16)>,
    },
    Gap(GapReason, u64),
}

impl Coded {
    /// Returns the codes of an entry.
    pub fn of(entry: &Entry) -> Coded {
        let kind = match entry {
            Entry::Gap(gap) => CodedKind::Gap(gap.reason, gap.length_ns),
            Entry::Probe(probe) => {
                let times = match (probe.wire_ns, probe.total_ns) {
                    (None, None) => None,
                    (None, Some(total)) => Some((scale::bucket_of(total), NO_WIRE)),
                    (Some(wire), None) => Some((scale::bucket_of(wire), NO_TOTAL)),
                    (Some(wire), Some(total)) => {
                        let bucket = scale::bucket_of(wire);
                        let difference = scale::bucket_of(total).saturating_sub(bucket);
                        Some((bucket, FIRST_DIFFERENCE + class_of(difference)))
                    }
                };
                CodedKind::Probe {
                    fate: probe.fate,
                    times,
                }
            }
        };
        Coded {
            time_ns: entry.time_ns(),
            kind,
        }
    }

    /// Returns the status of the format.
    fn status(&self) -> u8 {
        match self.kind {
            CodedKind::Probe { fate, times } => fate_number(fate) * 2 + u8::from(times.is_some()),
            CodedKind::Gap(reason, _) => FIRST_GAP + reason as u8,
        }
    }

    /// Returns the fate; `None` for a gap.
    pub fn fate(&self) -> Option<Fate> {
        match self.kind {
            CodedKind::Probe { fate, .. } => Some(fate),
            CodedKind::Gap(..) => None,
        }
    }

    /// Returns the reason of a gap; `None` for a probe.
    pub fn gap(&self) -> Option<GapReason> {
        match self.kind {
            CodedKind::Probe { .. } => None,
            CodedKind::Gap(reason, _) => Some(reason),
        }
    }

    /// Returns the buckets of the round trip on the wire and in total, as far as they are known.
    pub fn buckets(&self) -> (Option<u16>, Option<u16>) {
        match self.kind {
            CodedKind::Probe {
                times: Some((bucket, difference)),
                ..
            } => match difference {
                NO_WIRE => (None, Some(bucket)),
                NO_TOTAL => (Some(bucket), None),
                _ => (Some(bucket), Some(total(bucket, difference))),
            },
            _ => (None, None),
        }
    }

    /// Returns the entry with durations instead of codes.
    pub fn entry(&self) -> Entry {
        match self.kind {
            CodedKind::Gap(reason, length_ns) => Entry::Gap(Gap {
                begin_ns: self.time_ns,
                length_ns,
                reason,
            }),
            CodedKind::Probe { fate, times } => {
                let (wire_ns, total_ns) = match times {
                    None => (None, None),
                    Some((bucket, NO_WIRE)) => (None, Some(scale::value_of(bucket))),
                    Some((bucket, NO_TOTAL)) => (Some(scale::value_of(bucket)), None),
                    Some((bucket, difference)) => (
                        Some(scale::value_of(bucket)),
                        Some(scale::value_of(total(bucket, difference))),
                    ),
                };
                Entry::Probe(Probe {
                    sent_ns: self.time_ns,
                    fate,
                    wire_ns,
                    total_ns,
                })
            }
        }
    }
}

/// Returns the class of a difference between buckets. What the total round trip is longer by is time in this host, which
/// varies more than that on the wire: as much as it is longer, as coarse it is kept. Up to a quarter longer it is exact.
fn class_of(difference: u16) -> u16 {
    match difference {
        0..4 => difference,
        4..8 => 4 + (difference - 4) / 2,
        8..16 => 6 + (difference - 8) / 4,
        _ => 8 + (difference - 16) / 8,
    }
}

/// Returns the first difference of a class and their number.
fn differences_of(class: u16) -> (u16, u16) {
    match class {
        0..4 => (class, 1),
        4..6 => (4 + (class - 4) * 2, 2),
        6..8 => (8 + (class - 6) * 4, 4),
        _ => (16 + (class - 8) * 8, 8),
    }
}

/// Returns the bucket that stands for the total round trip.
fn total(bucket: u16, difference: u16) -> u16 {
    let (first, count) = differences_of(difference - FIRST_DIFFERENCE);
    let middle = bucket + first + count / 2;
    match usize::from(middle) < scale::BUCKETS {
        true => middle,
        false => bucket + first,
    }
}

/// Reads the entries of a [`Builder`].
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    unit_ns: u64,
    start_ns: u64,
    left: u32,
    tick: i64,
    status: u8,
    average: Average,
    rows: Input<'a>,
}

impl Reader<'_> {
    /// Returns the number of entries that are left.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    fn read(&mut self) -> Option<Coded> {
        let head = self.rows.varint()?;
        self.tick += unzigzag(head >> 1) + TICKS as i64;
        if head & 1 == 1 {
            self.status = self.rows.u8()?;
        }
        let kind = match reason_of(self.status) {
            Some(reason) => CodedKind::Gap(reason, self.rows.varint()? * self.unit_ns),
            None => CodedKind::Probe {
                fate: fate_of(self.status >> 1)?,
                times: match self.status & 1 {
                    0 => None,
                    _ => Some(self.times()?),
                },
            },
        };
        Some(Coded {
            time_ns: self.start_ns + self.tick as u64 * self.unit_ns,
            kind,
        })
    }

    fn times(&mut self) -> Option<(u16, u16)> {
        let bucket = self.rows.signed()? + self.average.bucket();
        self.average.add(bucket);
        let difference = self.rows.varint()? as u16;
        Some((bucket as u16, difference))
    }
}

impl Iterator for Reader<'_> {
    type Item = Coded;

    fn next(&mut self) -> Option<Coded> {
        self.left = self.left.checked_sub(1)?;
        self.read()
    }
}

fn reason_of(status: u8) -> Option<GapReason> {
    GapReason::ALL
        .get(usize::from(status.checked_sub(FIRST_GAP)?))
        .copied()
}

/// Buckets of the wire that share a context for the difference to the total.
const BUCKETS_A_CONTEXT: usize = 8;

/// What the range coder has learned. It grows with what is coded, and never on disk.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    is_same_status: Bit,
    status: [Bit; 32],
    /// By whether the deviation before was zero.
    deviations: [Signed; 2],
    round_trip: Signed,
    differences: Vec<Number>,
    gap: Number,
}

impl Contexts {
    pub fn new() -> Contexts {
        Contexts {
            is_same_status: Bit::default(),
            status: [Bit::default(); 32],
            deviations: Default::default(),
            round_trip: Signed::default(),
            differences: vec![Number::default(); scale::BUCKETS / BUCKETS_A_CONTEXT + 1],
            gap: Number::default(),
        }
    }

    fn status<C: Coder>(&mut self, coder: &mut C, last: u8, given: u8) -> u8 {
        if !coder.bit(&mut self.is_same_status, last != given) {
            return last;
        }
        let mut node = 1usize;
        for at in (0..5).rev() {
            let bit = coder.bit(&mut self.status[node], given >> at & 1 == 1);
            node = node << 1 | usize::from(bit);
        }
        (node & 31) as u8
    }
}

/// Position in a chunk, the same while it is written and read.
#[derive(Clone, Debug)]
struct State {
    version: u8,
    /// Ticks of an interval.
    ticks: i64,
    status: u8,
    /// Tick at which the entry is due, by the schedule.
    due: i64,
    last: i64,
    /// Ticks between the last two entries.
    step: i64,
    /// Average number of ticks by which entries were off schedule and off pace lately.
    off_schedule: u64,
    off_pace: u64,
    was_on_time: bool,
    average: Average,
}

/// An entry in ticks.
#[derive(Clone, Copy, Default)]
struct Raw {
    tick: i64,
    status: u8,
    bucket: u16,
    difference: u16,
    gap_ticks: u64,
}

/// Returns the ticks of an interval in a version.
fn ticks_of(version: u8) -> u64 {
    match version {
        1 => 1000,
        _ => TICKS,
    }
}

impl State {
    fn new(version: u8) -> State {
        let ticks = ticks_of(version) as i64;
        State {
            version,
            ticks,
            status: 0,
            due: 0,
            last: -ticks,
            step: ticks,
            off_schedule: 0,
            off_pace: 0,
            was_on_time: false,
            average: Average::default(),
        }
    }

    /// Returns the tick at which the next entry is expected. A run that cannot send as fast as its interval asks for
    /// falls behind its schedule ever more, and keeps its pace.
    fn expected(&self) -> i64 {
        match self.version > 1 && self.off_pace < self.off_schedule {
            true => self.last.saturating_add(self.step),
            false => self.due,
        }
    }

    /// Takes note of the tick of an entry.
    fn follow(&mut self, tick: i64) -> Option<()> {
        let average = |average: u64, expected: i64| {
            // Capped, so that after a gap a few entries decide.
            let off = tick.abs_diff(expected).min(self.ticks as u64);
            (3 * average + 4 * off) / 4
        };
        self.off_schedule = average(self.off_schedule, self.due);
        self.off_pace = average(self.off_pace, self.last.saturating_add(self.step));
        // A probe that is late by less than half an interval leaves the schedule as it was.
        let is_late = tick.checked_sub(self.due)?.abs() < self.ticks / 2;
        self.due = if is_late { self.due } else { tick }.checked_add(self.ticks)?;
        self.step = tick.checked_sub(self.last)?;
        self.last = tick;
        Some(())
    }

    /// Codes an entry in either direction; `None` where bytes that were read cannot be one.
    fn code<C: Coder>(
        &mut self,
        contexts: &mut Contexts,
        coder: &mut C,
        given: Raw,
    ) -> Option<Raw> {
        let status = contexts.status(coder, self.status, given.status);
        self.status = status;
        let context = &mut contexts.deviations[usize::from(self.was_on_time)];
        let expected = self.expected();
        let deviation = context.code(coder, given.tick.wrapping_sub(expected));
        let tick = expected.checked_add(deviation)?;
        self.was_on_time = deviation == 0;
        self.follow(tick)?;
        let mut read = Raw {
            tick,
            status,
            ..Raw::default()
        };
        if status >= FIRST_GAP {
            read.gap_ticks = contexts.gap.code(coder, given.gap_ticks);
        } else if status & 1 == 1 {
            let predicted = self.average.bucket();
            let residual = i64::from(given.bucket) - predicted;
            let residual = contexts.round_trip.code(coder, residual);
            let bucket = predicted.checked_add(residual)?;
            read.bucket = u16::try_from(bucket).ok()?;
            let context = contexts
                .differences
                .get_mut(usize::from(read.bucket) / BUCKETS_A_CONTEXT)?;
            self.average.add(bucket);
            let difference = context.code(coder, given.difference.into());
            read.difference = u16::try_from(difference)
                .ok()
                .filter(|read| *read < 1 << 12)?;
            if let Some(more) = read.difference.checked_sub(FIRST_DIFFERENCE) {
                let more = match self.version {
                    1 => more,
                    _ => differences_of(more).0,
                };
                (usize::from(read.bucket + more) < scale::BUCKETS).then_some(())?;
                if self.version == 1 {
                    read.difference = FIRST_DIFFERENCE + class_of(more);
                }
            }
        }
        Some(read)
    }
}

/// Writes entries, whose times count from a start in nanoseconds since 1970; the head is the caller's.
pub(crate) fn code_entries(
    entries: Reader<'_>,
    start_ns: u64,
    contexts: &mut Contexts,
    coder: &mut Encoder,
) {
    let mut state = State::new(VERSION);
    let unit_ns = entries.unit_ns;
    for coded in entries {
        let mut raw = Raw {
            tick: ((coded.time_ns - start_ns) / unit_ns) as i64,
            status: coded.status(),
            ..Raw::default()
        };
        match coded.kind {
            CodedKind::Gap(_, length_ns) => raw.gap_ticks = length_ns / unit_ns,
            CodedKind::Probe { times, .. } => {
                (raw.bucket, raw.difference) = times.unwrap_or_default();
            }
        }
        // What is written is valid.
        let _ = state.code(contexts, coder, raw);
    }
}

/// Returns a chunk as it is stored.
pub fn pack(builder: &Builder) -> Vec<u8> {
    let mut to = vec![VERSION];
    put_varint(&mut to, builder.interval_ns);
    to.extend_from_slice(&builder.start_ns.to_le_bytes());
    put_varint(&mut to, builder.count().into());
    let mut coder = Encoder::new();
    let entries = builder.read();
    code_entries(entries, builder.start_ns, &mut Contexts::new(), &mut coder);
    to.extend_from_slice(&coder.finish());
    to
}

/// Interval, start and number of entries of a chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    pub interval_ns: u64,
    pub start_ns: u64,
    pub count: u32,
}

impl Head {
    fn read(input: &mut Input<'_>) -> Option<Head> {
        Head::new(input.varint()?, input.u64()?, input.varint()?)
    }

    /// Checks the values; `None` if they cannot be.
    pub fn new(interval_ns: u64, start_ns: u64, count: u64) -> Option<Head> {
        let is_valid = interval_ns >= MIN_INTERVAL_NS && count <= MAX_ENTRIES.into();
        is_valid.then_some(Head {
            interval_ns,
            start_ns,
            count: count as u32,
        })
    }
}

/// Reads the entries of a chunk behind its head, one by one.
#[derive(Clone, Debug)]
pub(crate) struct Entries {
    head: Head,
    left: u32,
    state: State,
}

impl Entries {
    pub fn new(version: u8, head: Head) -> Entries {
        Entries {
            head,
            left: head.count,
            state: State::new(version),
        }
    }

    pub fn next(
        &mut self,
        contexts: &mut Contexts,
        coder: &mut Decoder<'_>,
    ) -> Option<Result<Coded, BadChunk>> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read(contexts, coder).ok_or(BadChunk::Damaged);
        if read.is_err() {
            self.left = 0;
        }
        Some(read)
    }

    fn read(&mut self, contexts: &mut Contexts, coder: &mut Decoder<'_>) -> Option<Coded> {
        let raw = self.state.code(contexts, coder, Raw::default())?;
        (!coder.is_overrun()).then_some(())?;
        let unit_ns = (self.head.interval_ns / ticks_of(self.state.version)).max(1);
        let since_ns = u64::try_from(raw.tick).ok()?.checked_mul(unit_ns)?;
        let kind = match reason_of(raw.status) {
            Some(reason) => CodedKind::Gap(reason, raw.gap_ticks.checked_mul(unit_ns)?),
            None => CodedKind::Probe {
                fate: fate_of(raw.status >> 1)?,
                times: (raw.status & 1 == 1).then_some((raw.bucket, raw.difference)),
            },
        };
        Some(Coded {
            time_ns: self.head.start_ns.checked_add(since_ns)?,
            kind,
        })
    }
}

/// Reads a stored chunk entry by entry.
#[derive(Clone, Debug)]
pub struct Packed<'a> {
    entries: Entries,
    contexts: Contexts,
    coder: Decoder<'a>,
}

impl<'a> Packed<'a> {
    /// Begins to read a chunk.
    ///
    /// # Errors
    ///
    /// Another version, or a head that cannot be. Damage behind it ends the iteration early with an error.
    pub fn new(chunk: &'a [u8]) -> Result<Packed<'a>, BadChunk> {
        let mut input = Input(chunk);
        let version = match input.u8() {
            Some(version @ 1..=VERSION) => version,
            Some(version) => return Err(BadChunk::Version(version)),
            None => return Err(BadChunk::Damaged),
        };
        let head = Head::read(&mut input).ok_or(BadChunk::Damaged)?;
        Ok(Packed {
            entries: Entries::new(version, head),
            contexts: Contexts::new(),
            coder: Decoder::new(input.0),
        })
    }

    /// Returns the interval between probes in nanoseconds.
    pub fn interval_ns(&self) -> u64 {
        self.entries.head.interval_ns
    }
}

impl Iterator for Packed<'_> {
    type Item = Result<Coded, BadChunk>;

    fn next(&mut self) -> Option<Result<Coded, BadChunk>> {
        self.entries.next(&mut self.contexts, &mut self.coder)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_interface_names_all_reasons_of_gaps() {
        let interface = netsonde_core::protocol::HISTORY;
        let begin = interface.find("`gaps` says what kept it").unwrap();
        let text = interface[begin..].split("type Point").next().unwrap();
        for reason in GapReason::ALL {
            let name = format!("\"{}\"", reason.name());
            assert!(text.contains(&name), "{name}: {text}");
        }
        assert_eq!(
            text.matches('"').count(),
            2 * GapReason::ALL.len(),
            "{text}"
        );
    }

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn decode(chunk: &[u8]) -> Result<Vec<Entry>, BadChunk> {
        Packed::new(chunk)?
            .map(|coded| coded.map(|coded| coded.entry()))
            .collect()
    }

    fn near(kept: Option<u64>, given: Option<u64>) -> bool {
        match (kept, given) {
            (None, None) => true,
            (Some(kept), Some(given)) => kept.abs_diff(given) as f64 <= 0.03 * given as f64,
            _ => false,
        }
    }

    fn is_total_near(kept: &Probe, given: &Probe) -> bool {
        let (Some(kept_ns), Some(given_ns)) = (kept.total_ns, given.total_ns) else {
            return kept.total_ns == given.total_ns;
        };
        let more = given_ns as f64 / given.wire_ns.unwrap_or(given_ns) as f64;
        let most = match more {
            ..1.15 => 0.03,
            1.15..1.5 => 0.1,
            1.5..2.3 => 0.17,
            _ => 0.3,
        };
        (kept_ns as f64 / given_ns as f64).ln().abs() <= most
            && kept.wire_ns.is_none_or(|wire_ns| kept_ns >= wire_ns)
    }

    #[test]
    fn classes_of_differences_have_their_differences() {
        for difference in 0..scale::BUCKETS as u16 {
            let (first, count) = differences_of(class_of(difference));
            assert!((first..first + count).contains(&difference), "{difference}");
            assert_eq!(class_of(first + count / 2), class_of(difference));
        }
    }

    #[test]
    fn fates_keep_their_numbers() {
        for (number, fate) in Fate::ALL.into_iter().enumerate() {
            assert_eq!(fate_of(fate_number(fate)), Some(fate));
            assert_eq!(usize::from(fate_number(fate)), number);
        }
        assert_eq!(fate_of(9), None);
        for (number, reason) in GapReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }

    #[test]
    fn clocks_set_back_and_far_ahead_take_another_chunk() {
        let probe = |sent_ns| {
            Entry::Probe(Probe {
                sent_ns,
                fate: Fate::NotSent,
                wire_ns: None,
                total_ns: None,
            })
        };
        let mut chunk = Builder::new(SECOND);
        chunk.push(&probe(5000 * SECOND)).unwrap();
        assert_eq!(chunk.push(&probe(4000 * SECOND)), Err(Full::Earlier));
        assert_eq!(chunk.push(&probe(u64::MAX)), Err(Full::MuchLater));
        chunk.push(&probe(5001 * SECOND)).unwrap();
        assert_eq!(chunk.count(), 2);
        assert_eq!(
            decode(&pack(&chunk)).unwrap(),
            [probe(5000 * SECOND), probe(5001 * SECOND)]
        );
    }

    #[test]
    fn other_versions_are_refused_by_number() {
        let mut chunk = pack(&Builder::new(SECOND));
        assert_eq!(decode(&chunk), Ok(vec![]));
        for version in [0, VERSION + 1] {
            chunk[0] = version;
            assert_eq!(decode(&chunk), Err(BadChunk::Version(version)));
        }
        assert_eq!(decode(&[]), Err(BadChunk::Damaged));
    }

    /// Bytes of a probe of a run that is late by so many ticks more each time.
    fn bytes_a_probe(drift: u64) -> f64 {
        let mut builder = Builder::new(SECOND);
        for at in 0..3600u64 {
            let jitter = at * 2_654_435_761 % 3;
            let probe = Probe {
                sent_ns: 1_800_000_000 * SECOND
                    + at * SECOND
                    + (at * drift + jitter) * SECOND / TICKS,
                fate: Fate::Replied,
                wire_ns: Some(20_000),
                total_ns: Some(20_000),
            };
            builder.push(&Entry::Probe(probe)).unwrap();
        }
        pack(&builder).len() as f64 / 3600.0
    }

    #[test]
    fn a_run_that_falls_behind_costs_little_more() {
        let (on_time, late) = (bytes_a_probe(0), bytes_a_probe(25));
        assert!(on_time < 0.25, "{on_time}");
        assert!(late < on_time + 0.15, "{late}, {on_time} on schedule");
    }

    #[test]
    fn version_1_is_read() {
        // Three probes: on schedule, 25 ms late, 50 ms late; written by the code of version 1.
        let bytes = [
            1, 128, 148, 235, 220, 3, 0, 0, 180, 147, 118, 226, 250, 24, 3, 133, 125, 246, 151,
            164, 147, 24, 24, 128, 188, 255,
        ];
        let times: Vec<u64> = (decode(&bytes).unwrap().iter())
            .map(Entry::time_ns)
            .collect();
        let start = 1_800_000_000 * SECOND;
        assert_eq!(times, [start, start + 1_025_000_000, start + 2_050_000_000]);
        let mut builder = Builder::new(SECOND);
        for entry in decode(&bytes).unwrap() {
            builder.push(&entry).unwrap();
        }
        let probe = Probe {
            sent_ns: start,
            fate: Fate::Replied,
            wire_ns: Some(20_000),
            total_ns: Some(20_000),
        };
        let first = decode(&pack(&builder)).unwrap()[0];
        let Entry::Probe(first) = first else { panic!() };
        assert!(near(first.wire_ns, probe.wire_ns) && near(first.total_ns, probe.total_ns));
    }

    fn times() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
        let time = 100..600 * SECOND;
        prop_oneof![
            Just((None, None)),
            time.clone().prop_map(|wire| (Some(wire), None)),
            time.clone().prop_map(|total| (None, Some(total))),
            (time.clone(), 0..SECOND)
                .prop_map(|(wire, more)| (Some(wire), Some((wire + more).min(600 * SECOND)))),
        ]
    }

    fn entries() -> impl Strategy<Value = (u64, Vec<Entry>)> {
        let entry = (0u64..3 * SECOND, 0usize..16, times(), 0..SECOND * 1000);
        let all = prop::collection::vec(entry, 0..300);
        (
            prop_oneof![Just(SECOND), Just(SECOND / 10), 1000..SECOND * 60],
            all,
        )
            .prop_map(|(interval_ns, steps)| {
                let mut time_ns = 1_800_000_000 * SECOND;
                let entry = |(step, kind, (wire_ns, total_ns), length_ns): (u64, usize, _, u64)| {
                    time_ns += if step < SECOND { interval_ns } else { step };
                    match kind.checked_sub(9) {
                        None => Entry::Probe(Probe {
                            sent_ns: time_ns,
                            fate: Fate::ALL[kind],
                            wire_ns,
                            total_ns,
                        }),
                        Some(reason) => Entry::Gap(Gap {
                            begin_ns: time_ns,
                            length_ns,
                            reason: GapReason::ALL[reason],
                        }),
                    }
                };
                (interval_ns, steps.into_iter().map(entry).collect())
            })
    }

    proptest! {
        #[test]
        fn every_entry_comes_back((interval_ns, given) in entries()) {
            let mut builder = Builder::new(interval_ns);
            for entry in &given {
                builder.push(entry).unwrap();
            }
            let kept = decode(&pack(&builder)).unwrap();
            prop_assert_eq!(kept.len(), given.len());
            let in_memory: Vec<Entry> = builder.read().map(|coded| coded.entry()).collect();
            prop_assert_eq!(&in_memory, &kept);
            let unit_ns = interval_ns / TICKS;
            for (kept, given) in kept.iter().zip(&given) {
                prop_assert!(kept.time_ns().abs_diff(given.time_ns()) <= unit_ns);
                match (kept, given) {
                    (Entry::Probe(kept), Entry::Probe(given)) => {
                        prop_assert_eq!(kept.fate, given.fate);
                        prop_assert!(near(kept.wire_ns, given.wire_ns), "{:?} {:?}", kept, given);
                        prop_assert!(is_total_near(kept, given), "{:?} {:?}", kept, given);
                    }
                    (Entry::Gap(kept), Entry::Gap(given)) => {
                        prop_assert_eq!(kept.reason, given.reason);
                        prop_assert!(kept.length_ns.abs_diff(given.length_ns) <= unit_ns);
                    }
                    _ => prop_assert!(false, "{:?} became {:?}", given, kept),
                }
            }
            // What was read and is written again, as by a replay, is the same to the byte.
            let mut again = Builder::new(interval_ns);
            for entry in &kept {
                again.push(entry).unwrap();
            }
            prop_assert_eq!(pack(&again), pack(&builder));
        }

        #[test]
        fn damage_is_an_error_or_another_value_but_no_panic(
            (interval_ns, given) in entries(), at in any::<prop::sample::Index>(), bits in 1u8..
        ) {
            let mut builder = Builder::new(interval_ns);
            for entry in &given {
                builder.push(entry).unwrap();
            }
            let mut chunk = pack(&builder);
            let at = at.index(chunk.len());
            chunk[at] ^= bits;
            let _ = decode(&chunk);
            let _ = decode(&chunk[..at]);
        }
    }
}
