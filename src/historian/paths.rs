//! SHELL. What the state knows of paths: those that are remembered, orders to the tracer, and outages that wait for theirs.

use std::collections::{HashMap, VecDeque};

use netsonde_core::probe::Transport;
use netsonde_core::protocol::history::{OutageTrace, PathStatus, TracedHop, TracedPath};
use netsonde_core::protocol::trace::Options;
use netsonde_history::disk::Disk;
use netsonde_history::paths::{Job, MAX_CHANGES, MAX_PATHS, Path, Paths, Target, network};
use netsonde_history::table::Table;
use serde::{Deserialize, Serialize};

use super::tracer::{Order, Tracer};

/// Traces of outages that begin in a minute. One sends up to some hundred probes, and takes three seconds where the path
/// ends.
pub(super) const MAX_TRACES_A_MINUTE: usize = 20;
/// Time in nanoseconds for which outages share a trace.
pub(super) const SHARED_NS: u64 = 30_000_000_000;

/// Paths of the table, those that were, and those of outages.
pub(super) const KNOWN: &str = "path/";
pub(super) const FORMER: &str = "path-was/";
/// Traces in the table, by number, and which of them an outage has, by its number. Thousands of outages may share one.
pub const TRACED: &str = "traced/";
pub const TRACES: &str = "trace/";
/// Traces of outages that are kept, some 1.5 KB each. The oldest go first.
pub(super) const MAX_KEPT: usize = 1000;

/// An outage whose path is wanted.
pub(super) struct Wanted {
    pub outage: u64,
    pub target: String,
    pub begin_ns: u64,
}

/// Outages of targets of one network and of probes of one kind, which share a trace: to the target of the first.
pub(super) struct Group {
    pub key: String,
    pub transport: Transport,
    /// Its number.
    pub series: u32,
    pub asked_ns: u64,
    pub all: Vec<Wanted>,
}

impl Group {
    /// Returns what is shared: the network, and what is sent.
    pub fn kind(&self) -> (&str, Transport) {
        (&self.key, self.transport)
    }

    /// Returns the address that is traced.
    pub fn target(&self) -> String {
        let first = self.all.first().map(|one| one.target.clone());
        first.unwrap_or_default()
    }

    /// Returns the latest begin of an outage in nanoseconds since 1970: a trace that is begun after it is one of all.
    pub fn begin_ns(&self) -> u64 {
        let begins = self.all.iter().map(|one| one.begin_ns);
        begins.max().unwrap_or(0)
    }
}

/// Whose a trace is.
pub(super) enum Owner {
    /// That of the memory.
    Network(String, Target),
    /// That of outages, with the time at which it was begun in nanoseconds since 1970.
    Outages(Group, u64),
}

/// The trace of an outage: its number, and the target of the outage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceOf(pub u64, pub String);

/// A trace of an outage.
pub(super) struct Recent {
    pub key: String,
    pub transport: Transport,
    pub path: TracedPath,
    pub has_left: bool,
    pub since_ns: u64,
    /// Number under which it is kept.
    pub number: u64,
}

/// What there is about paths.
pub struct Tracing {
    /// The memory.
    pub paths: Paths,
    /// `None` if the administrator wants no traces, or no thread was left.
    pub(super) tracer: Option<Tracer>,
    pub(super) orders: HashMap<u64, Owner>,
    pub(super) next: u64,
    pub(super) probes: u64,
    pub(super) waiting: VecDeque<Group>,
    pub(super) recent: VecDeque<Recent>,
    pub(super) begun: VecDeque<u64>,
    pub(super) untraced: u64,
    /// Numbers of the traces that are kept.
    pub(super) kept: VecDeque<u64>,
}

impl Tracing {
    /// Opens what was kept. Without a tracer nothing is traced, and what was kept is still there.
    pub fn new(tracer: Option<Tracer>, interval_ns: u64, table: &Table<Disk>) -> Tracing {
        let own = |(key, path): (&str, Path)| (key.to_owned(), path);
        let known = table.all::<Path>(KNOWN).map(own);
        let former = table.all::<Vec<Path>>(FORMER);
        let former = former.map(|(key, all)| (key.to_owned(), all));
        let former = former.filter(|(_, all)| !all.is_empty());
        let kept = table.all::<OutageTrace>(TRACED);
        let mut kept: Vec<u64> = kept.filter_map(|(key, _)| key.parse().ok()).collect();
        kept.sort_unstable();
        Tracing {
            paths: Paths::restore(interval_ns, known, former),
            tracer,
            orders: HashMap::new(),
            next: 0,
            probes: 0,
            waiting: VecDeque::new(),
            recent: VecDeque::new(),
            begun: VecDeque::new(),
            untraced: 0,
            kept: kept.into(),
        }
    }

    /// Returns what is told of it; `None` if nothing is traced.
    pub fn status(&self) -> Option<PathStatus> {
        self.tracer.as_ref()?;
        let (networks, known) = self.paths.counts();
        Some(PathStatus {
            networks,
            known,
            left_out: self.paths.left_out,
            interval_ns: self.paths.interval_ns(),
            probes: self.probes,
            changes: self.paths.changes.0,
        })
    }

    /// Returns its limits, each with its name, its value, how often it was reached, and what that cost.
    pub fn limits(&self) -> [(&'static str, u64, u64, &'static str); 3] {
        [
            (
                "paths that are remembered",
                MAX_PATHS as u64,
                self.paths.left_out,
                "networks of targets whose path is not traced",
            ),
            (
                "traces of outages in a minute",
                MAX_TRACES_A_MINUTE as u64,
                self.untraced,
                "outages without the path during them",
            ),
            (
                "changes of a path in an hour",
                MAX_CHANGES as u64,
                self.paths.changes.1,
                "changes without an event",
            ),
        ]
    }

    /// Gives an order to the tracer.
    pub(super) fn order(&mut self, target: &str, options: Options, job: Job, owner: Owner) {
        let Some(tracer) = &self.tracer else {
            return;
        };
        self.next += 1;
        let is_urgent = matches!(owner, Owner::Outages(..));
        self.orders.insert(self.next, owner);
        let order = Order {
            number: self.next,
            target: target.into(),
            options,
            job,
            is_urgent,
        };
        tracer.order(order);
    }

    /// Returns the key of a network that stands for an address, whatever the options of its monitor.
    pub fn find(&self, address: &str) -> Option<String> {
        let wanted = network(address)?;
        let is_it = |key: &&str| {
            let rest = key.strip_prefix(&wanted[..]);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        self.paths.keys().find(is_it).map(str::to_owned)
    }

    /// Returns a trace of a network that was begun after a time, and is not older than half a minute.
    pub(super) fn recent(
        &self,
        (key, transport): (&str, Transport),
        begin_ns: u64,
        now_ns: u64,
    ) -> Option<&Recent> {
        let mut fresh = self.fresh(transport, begin_ns, now_ns);
        fresh.find(|recent| recent.key == key)
    }

    fn fresh(
        &self,
        transport: Transport,
        begin_ns: u64,
        now_ns: u64,
    ) -> impl Iterator<Item = &Recent> {
        let is_fresh = move |recent: &&Recent| {
            recent.transport == transport
                && recent.since_ns >= begin_ns
                && recent.since_ns + SHARED_NS >= now_ns
        };
        self.recent.iter().rev().filter(is_fresh)
    }

    /// Returns a trace that shows where the way to a target ends: one of its network, or of another one whose path has the
    /// same hop, which does not answer now.
    pub(super) fn shared(&self, group: &Group) -> Option<&Recent> {
        let begin_ns = group.begin_ns();
        let own = self.paths.at(&group.key, begin_ns);
        let own = own.map(|(path, _)| path.traced());
        let is_behind = |recent: &Recent| {
            let (Some(own), false) = (&own, recent.path.reached) else {
                return false;
            };
            let before = self.paths.at(&recent.key, begin_ns);
            let Some((before, _)) = before else {
                return false;
            };
            let before = before.traced();
            let last = recent.path.hops.last().map_or(0, |hop| hop.hop);
            let is_first_silent = |hop: &&TracedHop| hop.hop > last;
            let Some(silent) = before.hops.iter().find(is_first_silent) else {
                return false;
            };
            // A silent target is nobody else's hop.
            let is_target = |address: &String| *address == before.target;
            let is_same =
                |hop: &TracedHop| hop.hop == silent.hop && hop.addresses == silent.addresses;
            !silent.addresses.iter().any(is_target) && own.hops.iter().any(is_same)
        };
        let mut fresh = self.fresh(group.transport, begin_ns, group.asked_ns);
        fresh.find(|recent| recent.key == group.key || is_behind(recent))
    }
}
