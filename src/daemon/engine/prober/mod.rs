//! SHELL. The prober of all users: the sockets, clocks and netlink queries around `probe`.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the runs, and the poll iteration |
//! | `send` | sending of due probes within the limits |
//! | `withhold` | probes that are not sent because their next hop is known to be blocked |
//! | `rate` | limits of probes and bytes per second |
//! | `receive` | replies, errors, send timestamps, sightings on the wire |
//! | `judge` | decision on overdue probes |
//! | `cause` | errors of the send call, explained by the state of this host |
//! | `segments` | probes by TCP and UDP, which the keeper sends |
//! | `batch` | many packets per system call |
//! | `host` | routes, neighbors, counters |
//!
//! The engine calls [`Prober::on_sightings`] whenever the control ring showed packets of probes, and
//! [`Prober::poll_once`] when a socket is readable, when [`Prober::wake`] is notified, and at the time
//! that the last call returned.

mod batch;
mod cause;
mod host;
mod judge;
mod rate;
mod receive;
mod segments;
mod send;
mod withhold;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::linux::counters::Reading;
use crate::linux::diag::Connections;
use crate::linux::monotonic_ns;
pub use crate::linux::netlink::Route;
use crate::linux::netlink::{KernelNeighbor, RouteQuery};
pub use batch::SendOptions;
use batch::{ReceiveBatch, SendBatch};
use cause::Causes;
use host::{Counters, Host};
use rate::{Rates, Sender, Waits};
pub use segments::SegmentChannel;
use segments::Segments;
use send::StampIds;
use withhold::Hop;

use super::links::Links;
use super::recording::Recording;
use crate::varlink::server::memory::Reservation;
use crate::varlink::server::user::User;
use netsonde_core::config;
use netsonde_core::events::ProbeLoss;
use netsonde_core::neighbors::Neighbors;
use netsonde_core::probe::bucket::TokenBucket;
use netsonde_core::probe::fragments::MAX_DATAGRAMS;
use netsonde_core::probe::identity::TOKEN;
use netsonde_core::probe::run::{MAX_EVENTS, MAX_STUCK_PROBES};
use netsonde_core::probe::{
    Clock, FragmentTracker, HostContext, Identity, ResolutionTracker, Run, Settings, Target,
    Transport,
};

/// Interval of iterations while monitors alone send probes, in nanoseconds. Their replies have the kernel's time
/// stamps and nobody waits for them, so that many are read, and many probes sent, at once: up to 400 at the
/// highest rate, where the socket's buffer has room for 550.
const PACE_NS: u64 = 4_000_000;
/// Probes sent per iteration: at most some milliseconds.
const MAX_SENDS_PER_POLL: usize = 512;
/// Rate in probes per second above which no send timestamps are requested: they would cost a quarter
/// more.
pub const STAMPED_RATE: u64 = 2_000;
/// Maximum number of pending loss reports of all runs together. They are fetched every second.
const MAX_LOSSES: usize = 256;

/// How the packets of a run are sent.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Options of each packet.
    pub send: SendOptions,
    /// Path MTU discovery of the socket: an IP_PMTUDISC_ number.
    pub pmtu: i32,
}

/// A raw ICMP socket of one address family.
struct Socket {
    descriptor: OwnedFd,
    /// IP_PMTUDISC_ number that is set; -1 before the first use.
    pmtu: i32,
    stamps: StampSupport,
}

/// Whether the kernel supports SCM_TS_OPT_ID (Linux 6.13). Without it the send call fails with EINVAL,
/// as it does for a blackhole route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StampSupport {
    Untried,
    /// A send call with it failed; the next one does without.
    Suspected,
    Supported,
    Unsupported,
}

/// A run with its user.
pub struct ActiveRun {
    /// The run.
    pub run: Run,
    /// The caller that started it.
    pub owner: User,
    /// Memory of the run, without its events.
    _memory: Reservation,
    /// Memory of its events.
    event_memory: Reservation,
    options: SocketOptions,
    /// Time before which nothing is sent, on the monotonic clock: earlier probes are still held inside
    /// this host.
    held_until_ns: u64,
    /// Notified when there are events, or when the run is over.
    pub events_ready: Rc<Notify>,
    /// Whether every probe is decided and no more will be sent.
    pub is_over: bool,
}

impl ActiveRun {
    /// Doubles the room for events when half of it is used, if its owner may have the memory. Where it may
    /// not, the oldest events are dropped and counted.
    fn make_event_room(&mut self) {
        let room = self.run.event_room;
        if self.run.events.len() * 2 < room || room == 0 || room >= MAX_EVENTS {
            return;
        }
        let room = (room * 2).min(MAX_EVENTS);
        if self
            .event_memory
            .resize(Settings::event_bytes(room))
            .is_ok()
        {
            self.run.event_room = room;
        }
    }

    /// Returns the memory of events that have been read.
    pub fn release_event_room(&mut self) {
        let run = &mut self.run;
        let usual = run.settings.event_room(run.targets.len() as u64);
        if run.event_room > usual && run.events.is_empty() {
            run.events.shrink_to(usual);
            run.event_room = usual;
            // Smaller than before.
            let _ = self.event_memory.resize(Settings::event_bytes(usual));
        }
    }
}

/// How often limits were reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitCounters {
    /// Pauses because of too many probes in flight.
    pub in_flight: u64,
    /// Runs that were refused.
    pub runs: u64,
    /// Probes that had to wait for the rates of their user or of all.
    pub rates: Waits,
    /// Replies and errors that belong to no run.
    pub unmatched: u64,
    /// Times that the kernel had no buffer space for a packet.
    pub full: u64,
    /// Events dropped because clients did not read them in time.
    pub events_dropped: u64,
    /// Unanswered targets of whose silence no cause was sought.
    pub silences: u64,
    /// Probes withheld because their next hop was blocked, and pauses because too many were stuck.
    pub withheld: u64,
}

/// The prober.
pub struct Prober {
    sockets: [Option<Socket>; 2],
    segments: Segments,
    identity: Identity,
    clock: Clock,
    resolutions: ResolutionTracker,
    fragments: FragmentTracker,
    host: Host,
    /// Looks up connections along which probes are to go; `None` if this kernel cannot.
    connections: Option<Connections>,
    causes: Causes,
    counters: Counters,
    send_batch: SendBatch,
    receive_batch: ReceiveBatch,
    /// The runs, by number.
    pub runs: BTreeMap<u64, ActiveRun>,
    /// Run numbers by ICMP identifier.
    by_id: HashMap<u16, u64>,
    next_number: u64,
    next_id: u16,
    /// Flow with which the next run of probes by TCP or UDP begins.
    next_flow: usize,
    /// Rate limits of all runs together.
    all: Rates,
    /// Rate limits of all users together that have no number of their own.
    anonymous: Rates,
    /// Rate limits of each user.
    users: HashMap<User, Rates>,
    stamps: StampIds,
    /// Time before which nothing is sent, on the monotonic clock: a buffer or a limit was full.
    full_until_ns: u64,
    limits: config::PingSettings,
    /// How often limits were reached.
    pub hits: LimitCounters,
    /// Notified when a run was started or stopped.
    pub wake: Rc<Notify>,
    /// Routes by target and interface, each with the time of the query.
    routes: HashMap<(IpAddr, u32), (u64, Option<Route>)>,
    /// Next hops of the targets of runs with many stuck probes, by interface and address.
    hops: HashMap<(u32, IpAddr), Hop>,
    /// State of the host around unanswered probes, by interface and next hop, with the time of the query.
    silences: HashMap<(u32, IpAddr), (u64, HostContext)>,
    /// How many routes of unanswered probes may be queried, and how many of their next hops.
    silent_routes: TokenBucket,
    silent_hops: TokenBucket,
    /// Replies received at the sockets since the map was last drained: by interface index, ICMP and
    /// ICMPv6.
    pub heard: HashMap<u32, [u64; 2]>,
    /// Targets that stopped or resumed answering since the list was last drained.
    pub losses: Vec<ProbeLoss>,
    /// Tokens of probes that were not simply answered in time, since the list was last cleared.
    pub notable: Vec<[u8; TOKEN]>,
    evidence_ids: Vec<u16>,
}

/// Returns a bucket that holds what it gets in a second.
fn of_a_second(rate: u32) -> TokenBucket {
    TokenBucket::with_depth(rate.into(), rate.into(), monotonic_ns())
}

/// Reads both clocks at one moment: wall, monotonic. Retried if a reading was interrupted for more than
/// 5 µs.
fn both_clocks() -> (u64, u64) {
    for _ in 0..4 {
        let before = monotonic_ns();
        let wall = crate::linux::wall_ns();
        let after = monotonic_ns();
        if after - before < 5_000 {
            return (wall, before.midpoint(after));
        }
    }
    let before = monotonic_ns();
    (crate::linux::wall_ns(), before)
}

/// Reads both clocks for the relation between them. Returns the monotonic one.
fn sample(clock: &mut Clock) -> u64 {
    let (wall, now_ns) = both_clocks();
    if clock.sample(wall, now_ns) {
        tracing::info!("the wall clock was set; round-trip times are not affected");
    }
    now_ns
}

/// The parts of the engine state that an iteration reads.
pub struct PollContext<'a> {
    /// Links and addresses.
    pub links: &'a Links,
    /// Source of the rings' drop counters.
    pub recording: &'a Recording,
}

impl PollContext<'_> {
    fn interface_name(&self, ifindex: u32) -> String {
        self.links
            .get(ifindex)
            .map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
    }
}

impl Prober {
    /// Creates a prober with the sockets for IPv4 and IPv6. `tag` marks the packets of this service.
    pub fn new(
        sockets: [Option<OwnedFd>; 2],
        segments: SegmentChannel,
        tag: u32,
        limits: config::PingSettings,
    ) -> io::Result<Prober> {
        let (wall, now_ns) = both_clocks();
        let user = (sockets.iter().flatten())
            .find_map(|socket| nix::sys::stat::fstat(socket).ok())
            .map_or(0, |socket| socket.st_uid);
        Ok(Prober {
            sockets: sockets.map(|socket| {
                socket.map(|descriptor| Socket {
                    descriptor,
                    pmtu: -1,
                    stamps: StampSupport::Untried,
                })
            }),
            segments: Segments::new(segments),
            identity: Identity::new(tag),
            clock: Clock::new(wall, now_ns),
            resolutions: ResolutionTracker::default(),
            fragments: FragmentTracker::default(),
            host: Host::open()?,
            connections: Connections::open().ok(),
            causes: Causes::open(user),
            counters: Counters::default(),
            send_batch: SendBatch::new(),
            receive_batch: ReceiveBatch::new(),
            runs: BTreeMap::new(),
            by_id: HashMap::new(),
            next_number: 1,
            // Different in each engine, so that late replies to the previous one do not match.
            next_id: (wall / 1_000) as u16,
            next_flow: (wall / 1_000) as usize,
            all: Rates::new(Sender::All, &limits, now_ns),
            anonymous: Rates::new(Sender::Anonymous, &limits, now_ns),
            users: HashMap::new(),
            stamps: StampIds::new(),
            full_until_ns: 0,
            limits,
            hits: LimitCounters::default(),
            wake: Rc::new(Notify::new()),
            routes: HashMap::new(),
            hops: HashMap::new(),
            silences: HashMap::new(),
            silent_routes: of_a_second(judge::MAX_SILENCES_PER_SECOND),
            silent_hops: of_a_second(judge::MAX_SILENT_HOPS_PER_SECOND),
            heard: HashMap::new(),
            losses: Vec::new(),
            notable: Vec::new(),
            evidence_ids: Vec::new(),
        })
    }

    /// Applies new limits, also to runs in progress.
    pub fn set_limits(&mut self, limits: config::PingSettings) {
        let now_ns = monotonic_ns();
        self.all = self.all.renewed(&limits, now_ns);
        self.anonymous = self.anonymous.renewed(&limits, now_ns);
        for user in self.users.values_mut() {
            *user = user.renewed(&limits, now_ns);
        }
        self.limits = limits;
    }

    /// Returns descriptors of the same sockets, for waiting.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let own = self.sockets.iter().flatten();
        own.map(|socket| &socket.descriptor)
            .chain(self.segments.descriptors())
            .map(OwnedFd::try_clone)
            .collect()
    }

    /// Returns whether there is a socket for this address family.
    pub fn has_family(&self, is_ipv4: bool) -> bool {
        self.sockets[usize::from(!is_ipv4)].is_some()
    }

    /// Returns whether there are runs.
    pub fn is_active(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Returns whether all runs are monitors', which are looked at in intervals and not at each reply.
    pub fn is_paced(&self) -> bool {
        self.runs.values().all(|active| active.run.settings.packed)
    }

    /// Returns the tag of this service's probes, while there are runs, and the identifiers of those of which every
    /// packet is evidence.
    pub fn recorded(&self) -> (Option<u32>, &[u16]) {
        let tag = self.is_active().then(|| self.identity.tag());
        (tag, &self.evidence_ids)
    }

    /// Returns what computes the tokens and checksums of probes.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the number of probes in flight, of all runs.
    pub fn in_flight(&self) -> usize {
        self.runs
            .values()
            .map(|active| active.run.in_flight())
            .sum()
    }

    /// Returns the number of runs of a user.
    pub fn runs_of(&self, owner: User) -> usize {
        self.runs
            .values()
            .filter(|active| active.owner == owner)
            .count()
    }

    /// Returns the kernel's broadcast routes of IPv4, from all tables.
    pub fn broadcast_routes(&mut self) -> io::Result<Vec<(Ipv4Addr, u8)>> {
        self.host.broadcast_routes()
    }

    /// Returns the maximum number of probes that await a reply.
    pub fn max_in_flight(&self) -> u64 {
        self.limits.in_flight
    }

    /// Returns the kernel's route to a target.
    ///
    /// # Errors
    /// The kernel's error if there is no route, or `TimedOut`.
    pub fn route(&mut self, target: IpAddr, options: &SendOptions) -> io::Result<Route> {
        self.host.route(target, &options.query())
    }

    /// Looks a route up, for any packet.
    ///
    /// # Errors
    /// The kernel's error if there is no route, or `TimedOut`.
    pub fn look_up(&mut self, target: IpAddr, query: &RouteQuery) -> io::Result<Route> {
        self.host.route(target, query)
    }

    /// Returns the entry of an address in the neighbor table, if it has one.
    pub fn neighbor_entry(&mut self, ifindex: u32, address: IpAddr) -> Option<KernelNeighbor> {
        self.host.neighbor_entry(ifindex, address)
    }

    /// Reads all counters of interfaces and of dropped packets.
    ///
    /// # Errors
    /// The kernel's error, or `TimedOut`.
    pub fn counters(
        &mut self,
        name: impl Fn(u32) -> String,
        each: impl FnMut(Reading<'_>),
    ) -> io::Result<()> {
        self.host.counters(name, each)
    }

    /// Returns the kernel's neighbor tables, up to the service's own limit.
    pub fn kernel_neighbors(&mut self) -> io::Result<Vec<KernelNeighbor>> {
        self.host.neighbors(Neighbors::MAX_ADDRESSES)
    }

    /// Starts a run and returns its number. `memory`: what is reserved for the run, and for its events.
    /// `has_all_rates`: whether its owner has the rates of all users together.
    pub fn start(
        &mut self,
        (owner, has_all_rates): (User, bool),
        (memory, event_memory): (Reservation, Reservation),
        settings: Settings,
        targets: Vec<Target>,
        options: SocketOptions,
    ) -> u64 {
        let is_evidence = settings.is_evidence;
        sample(&mut self.clock);
        let now_ns = monotonic_ns();
        let number = self.next_number;
        self.next_number += 1;
        while self.by_id.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.by_id.insert(id, number);
        if is_evidence {
            self.evidence_ids.push(id);
        }
        let sender = match has_all_rates {
            true => Sender::All,
            false => Sender::User,
        };
        let rates = Rates::new(sender, &self.limits, now_ns);
        self.users.entry(owner).or_insert(rates);
        if settings.transport != Transport::Echo {
            self.discard_datagrams();
        }
        let mut run = Run::new(number, id, settings, targets, now_ns);
        run.first_flow = self.next_flow;
        self.runs.insert(
            number,
            ActiveRun {
                run,
                owner,
                _memory: memory,
                event_memory,
                options,
                held_until_ns: 0,
                events_ready: Rc::new(Notify::new()),
                is_over: false,
            },
        );
        self.wake.notify_one();
        number
    }

    /// Stops a run and returns it, with its memory. `None` if there is no such run.
    pub fn end(&mut self, number: u64) -> Option<ActiveRun> {
        let active = self.runs.remove(&number)?;
        self.by_id.remove(&active.run.id);
        if active.run.settings.transport != Transport::Echo {
            self.next_flow = active.run.next_flow();
        }
        self.evidence_ids.retain(|id| *id != active.run.id);
        self.hits.events_dropped += active.run.events_dropped;
        if self.runs_of(active.owner) == 0 {
            self.users.remove(&active.owner);
        }
        if self.runs.is_empty() {
            self.resolutions.clear();
            self.fragments.clear();
            self.counters.clear();
            self.causes.clear();
            self.routes.clear();
            self.hops.clear();
            self.silences.clear();
        }
        Some(active)
    }

    /// Runs one iteration: receives, reports, decides, sends. Returns when the next is due at the
    /// latest, on the monotonic clock; `None` if there is no run.
    ///
    /// # Errors
    /// The error of a socket.
    pub fn poll_once(&mut self, context: &PollContext<'_>) -> io::Result<Option<u64>> {
        let may_have_more = self.receive(context)?;
        if self.runs.is_empty() {
            return Ok(None);
        }
        let mut now_ns = sample(&mut self.clock);
        if self.counters.is_due(now_ns) {
            self.sample_counters(now_ns, context);
        }
        self.judge(now_ns, context);
        now_ns = monotonic_ns();
        let sent = self.send(now_ns, context)?;
        let now_ns = monotonic_ns();
        let next = self.report(now_ns);
        if sent >= MAX_SENDS_PER_POLL || may_have_more {
            return Ok(Some(now_ns));
        }
        // Iterations at multiples of the pace: a target's probes have the same place in each interval.
        let earliest_ns = match self.is_paced() {
            true => (now_ns / PACE_NS + 1) * PACE_NS,
            false => now_ns,
        };
        // A time in the past means as soon as possible.
        Ok(next.map(|next| next.max(earliest_ns)))
    }

    /// Collects losses, and wakes the clients of runs with events. Returns when a run next sends or
    /// decides, on the monotonic clock.
    fn report(&mut self, now_ns: u64) -> Option<u64> {
        let mut next: Option<u64> = None;
        for active in self.runs.values_mut() {
            active.make_event_room();
            let run = &mut active.run;
            let losses = std::mem::take(&mut run.losses).into_iter();
            let free = MAX_LOSSES.saturating_sub(self.losses.len());
            let losses = losses.filter_map(|loss| {
                let target = run.targets.get(loss.target() as usize)?.address;
                Some(ProbeLoss { target, loss })
            });
            self.losses.extend(losses.take(free));
            for (target, sequence) in run.notable.drain(..) {
                if let Some(target) = run.targets.get(target as usize) {
                    let token = self.identity.token(run.number, target.address, sequence);
                    self.notable.push(token);
                }
            }
            run.forget(now_ns);
            let is_over = run.is_over(now_ns);
            if !run.events.is_empty() || (is_over && !active.is_over) {
                active.is_over = is_over;
                active.events_ready.notify_one();
            }
            if active.is_over {
                continue;
            }
            let due = run.due_ns(now_ns).map(|due| {
                let mut user = self.users.get(&active.owner).map_or(0, Rates::next_ns);
                if active.owner.is_anonymous() {
                    user = user.max(self.anonymous.next_ns());
                }
                due.max(user)
                    .max(active.held_until_ns)
                    .max(self.all.next_ns())
                    .max(self.full_until_ns)
            });
            for time in [due, run.next_deadline_ns(now_ns)].into_iter().flatten() {
                next = Some(next.map_or(time, |next| next.min(time)));
            }
        }
        next
    }

    /// Returns the limits for `Status`: name, limit, number of times that it was reached.
    pub fn limits(&self) -> [(&'static str, u64, u64); 9] {
        [
            (
                "probes in flight",
                self.limits.in_flight,
                self.hits.in_flight,
            ),
            ("runs of one user", self.limits.runs_per_uid, self.hits.runs),
            ("probes a second", self.limits.rate, self.hits.rates.probes),
            (
                "bytes of probes a second",
                self.limits.byte_rate.0,
                self.hits.rates.bytes,
            ),
            ("probe events", MAX_EVENTS as u64, self.hits.events_dropped),
            (
                "fragmented replies",
                MAX_DATAGRAMS as u64,
                self.fragments.evicted,
            ),
            (
                "explained silences a second",
                judge::MAX_SILENCES_PER_SECOND.into(),
                self.hits.silences,
            ),
            (
                "probes of a run stuck in this host",
                MAX_STUCK_PROBES as u64,
                self.hits.withheld,
            ),
            (
                "routes that refuse packets",
                cause::MAX_ROUTES as u64,
                self.causes.lists_cut,
            ),
        ]
    }
}
