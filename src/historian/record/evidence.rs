//! SHELL. The evidence of outages: the packets around the begin of each.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netsonde_core::protocol::capture::Selection;
use netsonde_core::protocol::history::{Evidence, Limit, Part, PathChange, PathState};
use netsonde_core::protocol::inventory::PathsCall;
use netsonde_core::protocol::time;
use netsonde_core::recorder::Store;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use netsonde_history::counters::Minute;

use super::fetch::fetch;
use super::shelf::{Entry, KeepError, Shelf, Surroundings, in_words, lock, state_of};
use super::{Problem, Shared};
use crate::historian::second::{self, Second};
use crate::linux::wall_ns;
use crate::varlink::client::{Connection, Error};

/// Time before and after the begin of an outage.
const AROUND_NS: u64 = 30_000_000_000;
/// The second half is fetched this much later, when the kernel has passed on its last packets.
const LATER_NS: u64 = 1_000_000_000;
/// Maximum size of the evidence of an outage, and of its first half.
const EVIDENCE_MAX: u64 = 4 << 20;
const FIRST_HALF_MAX: u64 = EVIDENCE_MAX / 2;
/// Share of a half for the target's own packets of the store bulk.
const BULK_SHARE: u64 = 4;
/// Outages within a minute that get evidence: of more at a time, the cause is shared.
const PINS_A_MINUTE: usize = 20;
/// Evidence that is being collected.
const JOBS: usize = 64;
/// Pause before what failed is tried again, and how often: netsonded may be away, or the disk full. After five minutes
/// its memory has the packets no more.
const AGAIN: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 30;
/// Hosts whose packets of the store bulk are evidence: those of one outage's target.
const HOSTS: usize = 16;
/// Targets of one evidence whose ways are looked at: those of different monitors and routers, with luck.
const WAYS: usize = 8;

/// Evidence to be collected.
struct Job {
    id: u64,
    begin_ns: u64,
    hosts: Vec<IpAddr>,
    due: Instant,
    /// What the first half found; `None` before it.
    first: Option<Half>,
    /// Attempts that failed since the last one that did not.
    failed: u32,
}

/// The way to a target that is suspected.
#[derive(Clone, Debug)]
pub struct Way {
    /// How netsonded is asked for it.
    pub call: PathsCall,
    /// The target, and what is known of its way.
    pub change: PathChange,
    /// Whether netsonded was asked at the begin.
    pub is_asked: bool,
}

/// What is known of the host about the begin of an outage, until its evidence is complete.
#[derive(Default)]
struct About {
    before: Option<Arc<Second>>,
    ways: Vec<Way>,
}

/// What one half found, by the two captures that it consists of.
#[derive(Clone, Default)]
struct Half {
    record: u64,
    next: BTreeMap<String, u64>,
    problems: Vec<String>,
    /// Why nothing could be fetched or written.
    failure: Option<String>,
}

#[derive(Default)]
struct Jobs {
    waiting: Vec<Job>,
    pinned: VecDeque<Instant>,
    refused: u64,
    too_long: u64,
    evicted: u64,
    /// By the number of the evidence.
    about: BTreeMap<u64, About>,
    /// The outage whose evidence is being fetched, and its begin.
    current: Option<(u64, u64)>,
    /// Evidence that is forgotten, and whose files are to be removed.
    forgotten: Vec<u64>,
    is_ending: bool,
}

struct Collector {
    shared: Arc<Shared>,
    shelf: Shelf,
    jobs: Mutex<Jobs>,
    wake: EventFd,
}

/// The evidence of outages: packets from 30 s before the begin of each to 30 s after it.
pub struct Evidences {
    collector: Arc<Collector>,
    thread: Option<JoinHandle<()>>,
}

impl Evidences {
    pub(super) fn start(
        shared: Arc<Shared>,
        directory: PathBuf,
        stop: Arc<OwnedFd>,
    ) -> io::Result<Evidences> {
        let shelf = Shelf::new(directory);
        shared.problem(Problem::Evidence, shelf.read().err());
        let collector = Arc::new(Collector {
            shared,
            shelf,
            jobs: Mutex::default(),
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        });
        let run = {
            let collector = collector.clone();
            move || collector.run(&stop)
        };
        let thread = std::thread::Builder::new()
            .name("evidence".into())
            .spawn(run)?;
        Ok(Evidences {
            collector,
            thread: Some(thread),
        })
    }

    /// Collects nothing.
    #[cfg(test)]
    pub(super) fn idle(shared: Arc<Shared>) -> Evidences {
        let directory = shared.directory.join("../evidence");
        let collector = Collector {
            shared,
            shelf: Shelf::new(directory),
            jobs: Mutex::default(),
            wake: EventFd::new().expect("descriptors"),
        };
        Evidences {
            collector: Arc::new(collector),
            thread: None,
        }
    }

    /// Begins to collect the evidence of an outage with a number, which began at a time. Packets of the store bulk are
    /// included if they are from or to one of the hosts. `before`: the host in the last second before. Returns at once;
    /// false if the limit is reached.
    pub fn pin(
        &self,
        id: u64,
        begin_ns: u64,
        hosts: &[IpAddr],
        before: Option<Arc<Second>>,
    ) -> bool {
        let mut jobs = lock(&self.collector.jobs);
        let now = Instant::now();
        while jobs
            .pinned
            .front()
            .is_some_and(|at| now.duration_since(*at) > Duration::from_secs(60))
        {
            jobs.pinned.pop_front();
        }
        if jobs.pinned.len() >= PINS_A_MINUTE || jobs.waiting.len() >= JOBS {
            jobs.refused += 1;
            return false;
        }
        jobs.pinned.push_back(now);
        jobs.waiting.retain(|job| job.id != id);
        let ways = Vec::new();
        jobs.about.insert(id, About { before, ways });
        jobs.waiting.push(Job {
            id,
            begin_ns,
            hosts: hosts.iter().take(HOSTS).copied().collect(),
            due: now,
            first: None,
            failed: 0,
        });
        drop(jobs);
        let _ = self.collector.wake.write(1);
        true
    }

    /// Looks at the way to a target, too, while the evidence is being collected.
    pub fn add_way(&self, id: u64, way: Way) {
        let mut jobs = lock(&self.collector.jobs);
        let about = jobs.about.get_mut(&id);
        if let Some(about) = about.filter(|about| about.ways.len() < WAYS) {
            about.ways.push(way);
            let _ = self.collector.wake.write(1);
        }
    }

    /// Returns what the host was like about the begin of an outage.
    pub fn surroundings(&self, id: u64) -> Surroundings {
        let found = self.collector.shelf.entry(id);
        found.map_or_else(Surroundings::default, |entry| entry.surroundings)
    }

    /// Forgets the evidence: there was no outage. Returns at once; the thread removes the files.
    pub fn unpin(&self, id: u64) {
        let mut jobs = lock(&self.collector.jobs);
        jobs.waiting.retain(|job| job.id != id);
        jobs.about.remove(&id);
        // The thread removes what it is fetching.
        jobs.current = jobs.current.filter(|current| current.0 != id);
        if self.collector.shelf.forget(id).is_some() {
            jobs.forgotten.push(id);
        }
        drop(jobs);
        let _ = self.collector.wake.write(1);
    }

    /// Returns what there is of an outage.
    pub fn evidence(&self, id: u64) -> Option<Evidence> {
        let found = self.collector.shelf.entry(id);
        let found = found.as_ref().map(Entry::evidence);
        let jobs = lock(&self.collector.jobs);
        let waiting = jobs.waiting.iter().map(|job| (job.id, job.begin_ns));
        let mut all = waiting.chain(jobs.current);
        found.or_else(|| {
            let (_, begin_ns) = all.find(|job| job.0 == id)?;
            Some(Evidence {
                from: time(begin_ns.saturating_sub(AROUND_NS)),
                to: time(begin_ns + AROUND_NS),
                state: "collecting".into(),
                ..Evidence::default()
            })
        })
    }

    /// Opens the packets, as a pcapng file, and returns their number.
    ///
    /// # Errors
    ///
    /// There is none of this outage, or the file cannot be read.
    pub fn open(&self, id: u64) -> Result<(OwnedFd, u64), KeepError> {
        self.collector.shelf.open(id)
    }

    pub(super) fn part(&self) -> Part {
        let budget = self.collector.shared.options.evidence_bytes;
        self.collector.shelf.part("evidence", budget)
    }

    pub(super) fn limits(&self) -> Vec<Limit> {
        let jobs = lock(&self.collector.jobs);
        let limit = |name: &str, most: u64, reached: u64, words: &str| Limit {
            name: name.into(),
            most,
            reached,
            words: words.into(),
        };
        vec![
            limit(
                "evidence.per_minute",
                PINS_A_MINUTE as u64,
                jobs.refused,
                "outages without evidence, because too many began within a minute",
            ),
            limit(
                "evidence.bytes_each",
                EVIDENCE_MAX,
                jobs.too_long,
                "outages with only a part of the packets around their begin",
            ),
            limit(
                "evidence.budget_bytes",
                self.collector.shared.options.evidence_bytes,
                jobs.evicted,
                "evidence removed for newer evidence",
            ),
        ]
    }

    /// Waits for the thread, which has been told to end.
    pub(super) fn join(&mut self) {
        lock(&self.collector.jobs).is_ending = true;
        let _ = self.collector.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks for the way to one target.
fn state_of_way(connection: &mut Connection, call: &PathsCall) -> Result<PathState, Error> {
    let found = second::look(connection, call)?;
    let path = found.paths.into_iter().next().unwrap_or_default();
    Ok(PathState::new(&time(wall_ns()), path))
}

/// The interface that a way had, which the way after the begin may not name.
fn interface_of(change: &PathChange) -> Option<&String> {
    let known = change.before.as_ref().or(change.begin.as_ref());
    known.and_then(|way| way.interface.as_ref())
}

/// The state of an interface.
fn link_of(links: &BTreeMap<String, String>, name: &str) -> String {
    links.get(name).map_or("is gone", String::as_str).into()
}

impl Collector {
    fn run(&self, stop: &OwnedFd) {
        let mut is_reported = false;
        loop {
            self.look_at_new_ways();
            let (job, wait_ms) = {
                let mut jobs = lock(&self.jobs);
                if jobs.is_ending {
                    return;
                }
                let forgotten = std::mem::take(&mut jobs.forgotten);
                if !forgotten.is_empty() {
                    drop(jobs);
                    forgotten.iter().for_each(|id| self.shelf.remove(*id));
                    continue;
                }
                let now = Instant::now();
                let earliest = jobs.waiting.iter().enumerate();
                let earliest = earliest.min_by_key(|(_, job)| job.due);
                match earliest.map(|(at, job)| (at, job.due)) {
                    Some((at, due)) if due <= now => {
                        let job = jobs.waiting.swap_remove(at);
                        jobs.current = Some((job.id, job.begin_ns));
                        (Some(job), 0)
                    }
                    Some((_, due)) => (None, (due - now).as_millis().min(60_000) as u16 + 1),
                    None => (None, 60_000),
                }
            };
            let Some(job) = job else {
                let mut wanted = [
                    PollFd::new(stop.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
                ];
                let _ = poll(&mut wanted, PollTimeout::from(wait_ms));
                if wanted[0].any().unwrap_or(false) {
                    return;
                }
                let _ = self.wake.read();
                continue;
            };
            let id = job.id;
            let (next, words) = self.collect(job);
            let mut jobs = lock(&self.jobs);
            let is_forgotten = jobs.current.take().is_none();
            let next = next.filter(|_| !is_forgotten);
            if next.is_none() {
                jobs.about.remove(&id);
            }
            jobs.waiting.extend(next);
            let is_failing = jobs.waiting.iter().any(|job| job.failed > 0);
            drop(jobs);
            if is_forgotten {
                self.shelf.remove(id);
            }
            // Of several failures only the first is reported.
            if is_reported != is_failing {
                is_reported = is_failing;
                self.shared.problem(Problem::Evidence, words);
            }
        }
    }

    /// Asks for ways that were not asked for yet: at once, since the kernel's state changes.
    fn look_at_new_ways(&self) {
        let new = {
            let mut jobs = lock(&self.jobs);
            let all = jobs.about.iter_mut();
            let all = all.flat_map(|(id, about)| about.ways.iter_mut().map(move |way| (id, way)));
            let new = all.filter(|(_, way)| !way.is_asked).map(|(id, way)| {
                way.is_asked = true;
                (*id, way.call.clone())
            });
            new.collect::<Vec<(u64, PathsCall)>>()
        };
        if new.is_empty() {
            return;
        }
        // Without an answer the evidence has no ways at its begin; fetching the packets reports why.
        let Ok(mut connection) = Connection::open(&self.shared.socket) else {
            return;
        };
        let links = second::count(&mut connection).map(|now| now.links);
        for (id, call) in new {
            let Ok(state) = state_of_way(&mut connection, &call) else {
                return;
            };
            let mut jobs = lock(&self.jobs);
            let ways = jobs.about.get_mut(&id).map(|about| &mut about.ways);
            for way in ways.into_iter().flatten().filter(|way| way.call == call) {
                let change = &mut way.change;
                change.begin.get_or_insert_with(|| state.clone());
                if let (Ok(links), Some(name)) = (&links, interface_of(change)) {
                    change.link_begin = Some(link_of(links, name));
                }
            }
        }
    }

    /// Returns the host about the begin of an outage, as far as it is known: with the counters until now, and after the
    /// last half with the ways and links after it. What netsonded does not answer is left out.
    fn surroundings(&self, id: u64, is_last: bool) -> Surroundings {
        let (before, mut ways) = {
            let jobs = lock(&self.jobs);
            let about = jobs.about.get(&id);
            let about = about.map(|about| (about.before.clone(), about.ways.clone()));
            about.unwrap_or_default()
        };
        let mut found = Surroundings::default();
        let asked = Connection::open(&self.shared.socket).and_then(|mut connection| {
            let now = second::count(&mut connection)?;
            for way in ways.iter_mut().filter(|_| is_last) {
                way.change.after = Some(state_of_way(&mut connection, &way.call)?);
                if let Some(name) = interface_of(&way.change).cloned() {
                    way.change.link_after = Some(link_of(&now.links, &name));
                    let links = before.as_ref().map(|before| &before.links);
                    way.change.link_before = links.map(|links| link_of(links, &name));
                }
            }
            Ok(now)
        });
        if let (Ok(now), Some(before)) = (asked, before) {
            let mut moved = Minute::default();
            now.reading.drops().add_since(&before.reading, &mut moved);
            found.counters = second::rows(&moved);
            let times = (before.reading.time_ns, now.reading.time_ns);
            found.counted = Some((time(times.0), time(times.1)));
        }
        found.paths = ways.into_iter().map(|way| way.change).collect();
        found
    }

    /// Fetches a half. Returns the job for the other one, or for another attempt with what is wrong.
    fn collect(&self, job: Job) -> (Option<Job>, Option<String>) {
        let why = match self.fetch_job(&job) {
            Ok(None) => return (None, None),
            Ok(Some(half)) => {
                let due_ns = (job.begin_ns + AROUND_NS + LATER_NS).saturating_sub(wall_ns());
                let job = Job {
                    due: Instant::now() + Duration::from_nanos(due_ns.min(AROUND_NS + LATER_NS)),
                    first: Some(half),
                    failed: 0,
                    ..job
                };
                return (Some(job), None);
            }
            Err(words) => words,
        };
        let words = format!("the evidence of outage {} is missing: {why}", job.id);
        if job.failed + 1 >= ATTEMPTS {
            tracing::warn!("{words}; it is not tried again");
            return (None, None);
        }
        let job = Job {
            failed: job.failed + 1,
            due: Instant::now() + AGAIN,
            ..job
        };
        (Some(job), Some(format!("{words}; it is tried again")))
    }

    /// Fetches a half. Returns what the first one found; `None` if this is the second one.
    fn fetch_job(&self, job: &Job) -> Result<Option<Half>, String> {
        let is_first = job.first.is_none();
        let first = job.first.clone().unwrap_or_default();
        self.shelf.read()?;
        let mut entry = match self.shelf.entry(job.id) {
            Some(entry) if !is_first => entry,
            None if !is_first => return Ok(None),
            _ => Entry {
                id: job.id,
                time_ns: wall_ns(),
                from_ns: job.begin_ns.saturating_sub(AROUND_NS),
                to_ns: job.begin_ns + AROUND_NS,
                ..Entry::default()
            },
        };
        entry.surroundings = self.surroundings(job.id, !is_first);
        let mut file = self.shelf.begin(job.id)?;
        if !is_first {
            let path = self.shelf.path(job.id, "pcapng");
            let copied = File::open(&path).and_then(|mut from| io::copy(&mut from, &mut file));
            copied.map_err(|error| in_words("copy", &path, &error))?;
        }
        let most = if is_first {
            FIRST_HALF_MAX
        } else {
            EVIDENCE_MAX
        };
        let half = self.fetch_half(job, &first, &mut entry, &mut file, most);
        if let Some(words) = half.failure.clone().filter(|_| job.failed + 1 < ATTEMPTS) {
            return Err(words);
        }
        let is_last = !is_first;
        entry.state = match (is_last, half.problems.is_empty(), entry.packets) {
            (false, ..) => "collecting",
            (true, true, _) => "whole",
            (true, false, 0) => "none",
            (true, false, _) => "partial",
        }
        .into();
        entry.words = (!half.problems.is_empty()).then(|| half.problems.join("; "));
        if is_last && !half.problems.is_empty() {
            lock(&self.jobs).too_long += 1;
        }
        self.shelve(file, entry)?;
        Ok(is_first.then_some(half))
    }

    /// Appends what a half has: the stores that are small, and the target's packets of the store bulk.
    fn fetch_half(
        &self,
        job: &Job,
        first: &Half,
        entry: &mut Entry,
        file: &mut File,
        most: u64,
    ) -> Half {
        let mut half = Half {
            failure: None,
            ..first.clone()
        };
        let control = &Store::ALL[..Store::Bulk as usize];
        let bulk = [Store::Bulk];
        let room = most.saturating_sub(entry.bytes);
        let parts = [
            (control, None, room - room / BULK_SHARE),
            (&bulk[..], Some(&job.hosts), room),
        ];
        for (stores, hosts, limit) in parts {
            if hosts.is_some_and(Vec::is_empty) {
                continue;
            }
            let next = first.next.iter().filter(|(name, _)| {
                let mut names = stores.iter().map(|store| store.name());
                names.any(|wanted| wanted == name.as_str())
            });
            let selection = Selection {
                since_ns: Some(entry.from_ns),
                until_ns: Some(entry.to_ns),
                stores: Some(stores.iter().map(|store| store.name().to_owned()).collect()),
                hosts: hosts.map(|hosts| hosts.iter().map(IpAddr::to_string).collect()),
                numbered: Some(true),
                record: (first.record > 0).then_some(first.record),
                next: (first.record > 0)
                    .then(|| next.map(|(name, at)| (name.clone(), *at)).collect()),
                ..Selection::default()
            };
            let limit = limit.min(most.saturating_sub(entry.bytes));
            match fetch(&self.shared.socket, selection, file, limit) {
                Ok(fetched) => {
                    entry.packets += fetched.packets;
                    entry.bytes += fetched.bytes;
                    half.record = fetched.record;
                    let limit = format!("limited to {} MiB", EVIDENCE_MAX >> 20);
                    let (_, words) = state_of(&fetched, stores, &limit);
                    half.next.extend(fetched.next);
                    half.problems.extend(words);
                }
                Err(words) => {
                    half.failure = Some(words.clone());
                    half.problems.push(words);
                }
            }
        }
        half.problems.dedup();
        half
    }

    /// Puts evidence on the disk, and removes the oldest over the budget.
    fn shelve(&self, file: File, entry: Entry) -> Result<(), String> {
        let id = entry.id;
        let shelf = &self.shelf;
        shelf.add(Some(file), entry)?;
        while shelf.bytes() > self.shared.options.evidence_bytes {
            let entries = shelf.entries();
            let oldest = entries.iter().filter(|one| one.id != id);
            let Some(oldest) = oldest.min_by_key(|one| one.time_ns).map(|one| one.id) else {
                break;
            };
            shelf.remove(oldest);
            lock(&self.jobs).evicted += 1;
        }
        Ok(())
    }
}
