//! SHELL. Kernel drop reasons, sampled for a short time from the tracepoint `skb:kfree_skb` by
//! perf_event_open(2). Requires CAP_PERFMON or root, and covers all network namespaces of the
//! machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use perf_event::events::Tracepoint;
use perf_event::{Builder, SampleFlag, Sampler};

use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::linux::reason;
use netsonde_core::host::drops::{DropRecord, TraceFormat};

const FOLDER: &str = "/sys/kernel/tracing/events/skb/kfree_skb";
/// Ring size per CPU in bytes: 70,000 drops, some tens of milliseconds of a flood.
const RING: usize = 4 << 20;
/// Interval between reads of the rings.
const TURN: Duration = Duration::from_millis(20);
/// PERF_RECORD_SAMPLE (linux/perf_event.h).
const SAMPLE: u32 = 9;
/// Maximum number of distinct drops: combinations of reason, location and protocol.
const MOST: usize = 4096;

/// Sampled drops.
#[derive(Debug, Default)]
pub struct Seen {
    /// Count per kind of drop.
    pub drops: BTreeMap<DropRecord, u64>,
    /// Drops counted but not recorded: for lack of space, or because the kernel did not write them
    /// (occasionally, from an idle CPU).
    pub lost: u64,
    /// Drops of further kinds, beyond the limit.
    pub others: u64,
}

/// Sampler of drop reasons on all CPUs.
pub struct Listener {
    format: TraceFormat,
    samplers: Vec<Sampler>,
    seen: Seen,
}

impl Listener {
    /// Starts sampling on all CPUs.
    ///
    /// # Errors
    /// A message with the missing requirement and how to meet it.
    pub fn open() -> Result<Listener, Failure> {
        let read = |name: &str| {
            fs::read_to_string(format!("{FOLDER}/{name}")).map_err(|error| {
                Failure::Other(match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "drop reasons require root: the kernel's tracepoints are readable by root only".into()
                    }
                    io::ErrorKind::NotFound => format!(
                        "drop reasons require the kernel's tracepoints, but {FOLDER} does not exist: as root, run \
                         `mount -t tracefs nodev /sys/kernel/tracing`"
                    ),
                    _ => format!("drop reasons: {FOLDER}/{name}: {}", reason(&error)),
                })
            })
        };
        let format = TraceFormat::parse(&read("format")?).ok_or_else(|| {
            Failure::Other(
                "this kernel does not report drop reasons: they require Linux 5.17 or newer".into(),
            )
        })?;
        let id = read("id")?.trim().parse().unwrap_or(0);
        let mut samplers = Vec::new();
        for cpu in cpus() {
            let sampler = Builder::new(Tracepoint::with_id(id))
                .any_pid()
                .one_cpu(cpu)
                .sample(SampleFlag::RAW)
                .sample_period(1)
                .include_kernel()
                .build()
                .and_then(|counter| counter.sampled(RING))
                .map_err(|error| {
                    Failure::Other(match error.raw_os_error() {
                        Some(libc::EACCES | libc::EPERM) => {
                            "drop reasons require CAP_PERFMON or root in the initial user namespace"
                                .into()
                        }
                        _ => format!("drop reasons: perf_event_open: {}", reason(&error)),
                    })
                })?;
            samplers.push(sampler);
        }
        for sampler in &mut samplers {
            sampler.enable()?;
        }
        Ok(Listener {
            format,
            samplers,
            seen: Seen::default(),
        })
    }

    /// Samples until `end` or an interrupt.
    pub fn until(&mut self, end: Instant, interrupt: &Interrupt) {
        while Instant::now() < end && !interrupt.came() {
            self.read();
            std::thread::sleep(TURN.min(end.saturating_duration_since(Instant::now())));
        }
        self.read();
    }

    /// Stops sampling and returns the result.
    pub fn end(mut self) -> Seen {
        for sampler in &mut self.samplers {
            let _ = sampler.disable();
        }
        self.read();
        let counts = self
            .samplers
            .iter_mut()
            .map(|sampler| sampler.read().unwrap_or(0));
        let counted: u64 = counts.sum();
        let attributed: u64 = self.seen.drops.values().sum::<u64>() + self.seen.others;
        self.seen.lost = counted.saturating_sub(attributed);
        self.seen
    }

    fn read(&mut self) {
        for sampler in &mut self.samplers {
            while let Some(record) = sampler.next_record() {
                let bytes = record.to_contiguous();
                // Raw data follows its length. Losses are known from the counts, so other records
                // are skipped.
                let raw = bytes.get(4..).filter(|_| record.ty() == SAMPLE);
                let Some(drop) = raw.and_then(|raw| self.format.record(raw)) else {
                    continue;
                };
                if self.seen.drops.len() < MOST || self.seen.drops.contains_key(&drop) {
                    *self.seen.drops.entry(drop).or_default() += 1;
                } else {
                    self.seen.others += 1;
                }
            }
        }
    }
}

/// Returns the online CPUs, from a list such as 0-3,8.
fn cpus() -> Vec<usize> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let mut all = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            all.extend(first..=last.min(first + 4095));
        }
    }
    if all.is_empty() { vec![0] } else { all }
}

/// Names of kernel functions by address; empty without privilege.
pub struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// Reads /proc/kallsyms.
    pub fn read() -> Symbols {
        let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let entry = |line: &str| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let is_code = matches!(words.next()?, "t" | "T");
            let name = words.next()?;
            (is_code && address != 0).then(|| (address, name.to_owned()))
        };
        let mut all: Vec<(u64, String)> = text.lines().filter_map(entry).collect();
        all.sort_unstable();
        Symbols(all)
    }

    /// Returns the function that contains an address.
    pub fn name(&self, address: u64) -> Option<&str> {
        let at = self.0.partition_point(|(begins, _)| *begins <= address);
        self.0
            .get(at.checked_sub(1)?)
            .map(|(_, name)| name.as_str())
    }
}
