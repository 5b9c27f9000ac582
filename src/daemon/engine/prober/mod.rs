//! SHELL. The prober of all users: sockets, clocks and netlink around the pure `probe`.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | runs: sending, receiving, deciding |
//! | `batch` | many packets with one system call |
//! | `host` | routes, neighbors, counters |

mod batch;
mod host;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::linux::monotonic_ns;
use crate::linux::netlink::KernelNeighbor;
pub use crate::linux::netlink::Route;
pub use batch::SendOptions;
use batch::{Inbox, Outbox, RECEIVES, SENDS};
use host::{Counters, Host};
use netlink_packet_route::route::RouteType;

use super::links::Links;
use super::recording::Recording;
use netsonde_core::config;
use netsonde_core::events::ProbeLoss;
use netsonde_core::probe::identity::{HEADER, write_request};
use netsonde_core::probe::run::{EventContext, Outgoing, SocketReply};
use netsonde_core::probe::sight::{from_socket_v4, from_socket_v6};
use netsonde_core::probe::{
    Clock, HostContext, Identity, ResolutionTracker, Run, Settings, Sighting, SightingKind, Target,
    TokenBucket,
};
use netsonde_core::wire::Direction;

/// Batches received from one socket per iteration.
const RECEIVES_A_TURN: usize = 16;
/// Probes sent per iteration: at most some milliseconds.
const SENDS_A_TURN: usize = 512;
/// Probes decided per iteration: each may need a query of the kernel.
const JUDGED_A_TURN: usize = 256;
/// Number of IDs for send timestamps, which limits the probes that wait for theirs.
const STAMPS: usize = 16_384;
/// Rate in probes per second above which no send timestamps are requested: they would cost a
/// quarter more.
pub const STAMPED_RATE: u64 = 2_000;
/// Pause in sending after the kernel ran out of buffers.
const FULL_NS: u64 = 1_000_000;

/// Interval after which a run is checked again whose probes wait within this host.
const HELD_NS: u64 = 1_000_000;
/// Maximum number of pending loss events of all runs, until the next second.
const LOSSES: usize = 256;

/// Options of a run's socket and packets.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Options of each packet.
    pub how: SendOptions,
    /// IP_PMTUDISC_ number.
    pub pmtu: i32,
}

/// The probe socket of a family.
struct Socket {
    descriptor: OwnedFd,
    pmtu: i32,
    /// Whether this kernel supports SCM_TS_OPT_ID.
    stamps: bool,
}

/// A run and its user.
pub struct Active {
    /// The run.
    pub run: Run,
    /// User ID.
    pub uid: u32,
    reach: SocketOptions,
    /// Time before which nothing is sent, because earlier probes wait within this host.
    held_until_ns: u64,
    /// Notified when there are events, or the run is over.
    pub news: Rc<Notify>,
    /// Whether all events have been delivered.
    pub is_over: bool,
}

/// Counters of limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitCounters {
    /// Pauses because too many probes were in flight.
    pub in_flight: u64,
    /// Runs that were refused.
    pub runs: u64,
    /// Replies that matched no pending probe.
    pub unmatched: u64,
    /// Number of times that the kernel had no buffer for a packet.
    pub full: u64,
    /// Events that clients did not fetch in time.
    pub events_dropped: u64,
}

/// The prober.
pub struct Prober {
    sockets: [Option<Socket>; 2],
    identity: Identity,
    clock: Clock,
    resolutions: ResolutionTracker,
    host: Host,
    counters: Counters,
    outbox: Outbox,
    inbox: Inbox,
    /// The runs, by number.
    pub runs: BTreeMap<u64, Active>,
    by_id: HashMap<u16, u64>,
    next_number: u64,
    next_id: u16,
    all: TokenBucket,
    users: HashMap<u32, TokenBucket>,
    /// The probe of each send timestamp ID.
    stamps: Vec<(u32, u64, u64)>,
    next_stamp: u32,
    full_until_ns: u64,
    limits: config::PingSettings,
    /// Counters of limits.
    pub hits: LimitCounters,
    /// Notified when there is work.
    pub wake: Rc<Notify>,
    routes: HashMap<(IpAddr, u32), (u64, Option<Route>)>,
    /// Replies received by the sockets since the last reading: by interface, ICMP and ICMPv6.
    pub heard: HashMap<u32, [u64; 2]>,
    /// Changes of targets that stopped or resumed answering since the last reading.
    pub losses: Vec<ProbeLoss>,
}

/// Reads both clocks at the same time: wall, monotonic. Repeated if the reading took too long.
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

/// Reads both clocks. Returns the monotonic time in nanoseconds.
fn sample(clock: &mut Clock) -> u64 {
    let (wall, now_ns) = both_clocks();
    if clock.sample(wall, now_ns) {
        tracing::info!("the wall clock was set; round-trip times are not affected");
    }
    now_ns
}

/// Parts of the engine state that an iteration needs.
pub struct Around<'a> {
    /// Links and addresses.
    pub links: &'a Links,
    /// For the drop counters of the rings.
    pub recording: &'a Recording,
}

impl Around<'_> {
    fn name(&self, ifindex: u32) -> String {
        (self.links.get(ifindex))
            .map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
    }
}

impl Prober {
    /// Creates the prober with its sockets.
    pub fn new(
        sockets: [Option<OwnedFd>; 2],
        tag: u32,
        limits: config::PingSettings,
    ) -> io::Result<Prober> {
        let (wall, now_ns) = both_clocks();
        Ok(Prober {
            sockets: sockets.map(|socket| {
                socket.map(|descriptor| Socket {
                    descriptor,
                    pmtu: -1,
                    stamps: true,
                })
            }),
            identity: Identity::new(tag),
            clock: Clock::new(wall, now_ns),
            resolutions: ResolutionTracker::default(),
            host: Host::open()?,
            counters: Counters::default(),
            outbox: Outbox::new(),
            inbox: Inbox::new(),
            runs: BTreeMap::new(),
            by_id: HashMap::new(),
            next_number: 1,
            // Different in each engine, so that late replies to a former one do not match.
            next_id: (wall / 1_000) as u16,
            all: TokenBucket::new(limits.rate, now_ns),
            users: HashMap::new(),
            stamps: vec![(0, 0, 0); STAMPS],
            next_stamp: 1,
            full_until_ns: 0,
            limits,
            hits: LimitCounters::default(),
            wake: Rc::new(Notify::new()),
            routes: HashMap::new(),
            heard: HashMap::new(),
            losses: Vec::new(),
        })
    }

    /// Sets other limits. Running probes continue under them.
    pub fn set_limits(&mut self, limits: config::PingSettings) {
        let waits = self.all.waits;
        let now_ns = monotonic_ns();
        self.all = TokenBucket::new(limits.rate, now_ns);
        self.all.waits = waits;
        for user in self.users.values_mut() {
            *user = TokenBucket::new(limits.rate_per_uid, now_ns);
        }
        self.limits = limits;
    }

    /// Returns descriptors of the same sockets, for waiting.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        (self.sockets.iter().flatten())
            .map(|socket| socket.descriptor.try_clone())
            .collect()
    }

    /// Returns whether there is a socket for this family.
    pub fn has_family(&self, is_ipv4: bool) -> bool {
        self.sockets[usize::from(!is_ipv4)].is_some()
    }

    /// Returns whether there is a run.
    pub fn is_active(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Returns the number of probes in flight.
    pub fn in_flight(&self) -> usize {
        self.runs
            .values()
            .map(|active| active.run.in_flight())
            .sum()
    }

    /// Returns the number of runs of a user.
    pub fn runs_of(&self, uid: u32) -> usize {
        self.runs
            .values()
            .filter(|active| active.uid == uid)
            .count()
    }

    /// Returns the kernel's route to a target.
    pub fn route(&mut self, target: IpAddr, how: &SendOptions) -> io::Result<Route> {
        self.host.route(target, how.ifindex, how.source)
    }

    /// Returns the kernel's neighbor entries, at most as many as the service itself keeps.
    pub fn kernel_neighbors(&mut self) -> io::Result<Vec<KernelNeighbor>> {
        self.host
            .neighbors(netsonde_core::neighbors::Neighbors::MAX_ADDRESSES)
    }

    /// Starts a run. `rate` is the maximum rate of its user in all runs.
    pub fn start(
        &mut self,
        uid: u32,
        rate: u64,
        settings: Settings,
        targets: Vec<Target>,
        reach: SocketOptions,
    ) -> u64 {
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
        let bucket = TokenBucket::new(rate, now_ns);
        self.users.entry(uid).or_insert(bucket);
        self.runs.insert(
            number,
            Active {
                run: Run::new(number, id, settings, targets, now_ns),
                uid,
                reach,
                held_until_ns: 0,
                news: Rc::new(Notify::new()),
                is_over: false,
            },
        );
        self.wake.notify_one();
        number
    }

    /// Stops a run and returns it.
    pub fn end(&mut self, number: u64) -> Option<Run> {
        let active = self.runs.remove(&number)?;
        self.by_id.remove(&active.run.id);
        self.hits.events_dropped += active.run.events_dropped;
        if self.runs_of(active.uid) == 0 {
            self.users.remove(&active.uid);
        }
        if self.runs.is_empty() {
            self.resolutions.clear();
            self.counters.clear();
            self.routes.clear();
        }
        Some(active.run)
    }

    /// Processes sightings of the wire.
    pub fn sighted(&mut self, sightings: &[Sighting], links: &Links) {
        let now_ns = sample(&mut self.clock);
        for seen in sightings {
            let echo = match &seen.what {
                SightingKind::NeighborSolicited(who) => {
                    if seen.direction == Direction::Outbound {
                        self.resolutions
                            .on_solicitation(seen.ifindex, *who, seen.time_ns);
                    }
                    continue;
                }
                SightingKind::NeighborAnswered(who) => {
                    if seen.direction != Direction::Outbound {
                        self.resolutions.on_answer(seen.ifindex, *who, seen.time_ns);
                    }
                    continue;
                }
                SightingKind::Request { echo, .. } | SightingKind::Reply { echo, .. } => echo,
                SightingKind::Error { quoted, .. } => &quoted.echo,
            };
            let Some(active) =
                (self.by_id.get(&echo.id)).and_then(|number| self.runs.get_mut(number))
            else {
                continue;
            };
            let at = EventContext {
                now_ns,
                clock: &self.clock,
                identity: &self.identity,
                resolutions: &self.resolutions,
            };
            // A packet on the loopback interface is shown once, inbound.
            let is_loopback = (links.get(seen.ifindex)).is_some_and(|link| link.hardware == 772);
            let (ifindex, time_ns) = (seen.ifindex, seen.time_ns);
            let run = &mut active.run;
            match seen.what {
                SightingKind::Request { to, echo }
                    if seen.direction == Direction::Outbound || is_loopback =>
                {
                    run.on_wire_request(to, ifindex, &echo, time_ns, &at);
                }
                SightingKind::Reply {
                    from,
                    echo,
                    intact,
                    ttl,
                } if seen.direction.is_inbound() => {
                    let who = (from, seen.mac, ttl);
                    run.on_wire_reply(who, ifindex, &echo, intact, time_ns, &at);
                }
                SightingKind::Error { from, quoted } if seen.direction.is_inbound() => {
                    run.error(from, links.is_own(from), ifindex, &quoted, &at);
                }
                _ => {}
            }
        }
    }

    /// Runs one iteration: receives, reports, decides, sends. Returns when the next is due at the
    /// latest, on the monotonic clock; `None` without a run.
    pub fn turn(&mut self, around: &Around<'_>) -> io::Result<Option<u64>> {
        self.receive(around)?;
        if self.runs.is_empty() {
            return Ok(None);
        }
        let mut now_ns = sample(&mut self.clock);
        if self.counters.is_due(now_ns) {
            self.look_at_counters(now_ns, around);
        }
        self.judge(now_ns, around);
        now_ns = monotonic_ns();
        let sent = self.send(now_ns)?;
        let mut next = None;
        let now_ns = monotonic_ns();
        for active in self.runs.values_mut() {
            let run = &mut active.run;
            let losses = std::mem::take(&mut run.losses).into_iter();
            let room = LOSSES.saturating_sub(self.losses.len());
            let losses = losses.filter_map(|loss| {
                let target = run.targets.get(loss.target() as usize)?.address;
                Some(ProbeLoss { target, loss })
            });
            self.losses.extend(losses.take(room));
            run.forget(now_ns);
            let is_over = run.is_over(now_ns);
            if !run.events.is_empty() || (is_over && !active.is_over) {
                active.is_over = is_over;
                active.news.notify_one();
            }
            if active.is_over {
                continue;
            }
            let due = run.due_ns(now_ns).map(|due| {
                let user = self.users.get(&active.uid).map_or(0, TokenBucket::next_ns);
                due.max(user)
                    .max(active.held_until_ns)
                    .max(self.all.next_ns())
                    .max(self.full_until_ns)
            });
            for time in [due, run.next_deadline_ns(now_ns)].into_iter().flatten() {
                next = Some(next.map_or(time, |next: u64| next.min(time)));
            }
        }
        if sent >= SENDS_A_TURN {
            next = Some(now_ns);
        }
        // A run that waits for queue space is checked again soon.
        Ok(next.map(|next| next.max(now_ns)))
    }

    fn look_at_counters(&mut self, now_ns: u64, around: &Around<'_>) {
        let socket_drops = (self.sockets.iter().flatten())
            .map(|socket| batch::drops(socket.descriptor.as_fd()))
            .sum();
        let ring_drops = around.recording.ring_sums(0).drops;
        self.counters
            .take(&mut self.host, now_ns, ring_drops, socket_drops, |index| {
                around.name(index)
            });
    }

    fn receive(&mut self, around: &Around<'_>) -> io::Result<()> {
        for family in 0..2 {
            let Some(socket) = &self.sockets[family] else {
                continue;
            };
            let is_ipv4 = family == 0;
            for _ in 0..RECEIVES_A_TURN {
                let now_ns = sample(&mut self.clock);
                let Prober {
                    runs,
                    by_id,
                    identity,
                    clock,
                    resolutions,
                    hits,
                    heard: heard_on,
                    ..
                } = self;
                let at = EventContext {
                    now_ns,
                    clock,
                    identity,
                    resolutions,
                };
                let count = self.inbox.receive(socket.descriptor.as_fd(), |packet| {
                    let read = if is_ipv4 {
                        from_socket_v4(packet.bytes)
                    } else {
                        from_socket_v6(packet.bytes, packet.from, packet.hop_limit)
                            .map(|what| (what, packet.bytes))
                    };
                    let Some((what, message)) = read else {
                        return;
                    };
                    let id = match &what {
                        SightingKind::Reply { echo, .. } => {
                            heard_on.entry(packet.ifindex).or_default()[family] += 1;
                            echo.id
                        }
                        SightingKind::Error { quoted, .. } => quoted.echo.id,
                        _ => return,
                    };
                    let active = by_id.get(&id).and_then(|number| runs.get_mut(number));
                    let Some(active) = active else {
                        hits.unmatched += 1;
                        return;
                    };
                    match what {
                        SightingKind::Reply {
                            from,
                            echo,
                            intact,
                            ttl,
                        } => {
                            let heard = SocketReply {
                                from,
                                ifindex: packet.ifindex,
                                echo,
                                payload: message.get(HEADER..).unwrap_or_default(),
                                intact: intact.unwrap_or(true),
                                ttl,
                                stamp_ns: packet.stamp_ns,
                            };
                            active.run.on_socket_reply(&heard, &at);
                        }
                        SightingKind::Error { from, quoted } => {
                            let is_local = around.links.is_own(from);
                            active
                                .run
                                .error(from, is_local, packet.ifindex, &quoted, &at);
                        }
                        _ => {}
                    }
                })?;
                if count < RECEIVES {
                    break;
                }
            }
            for _ in 0..RECEIVES_A_TURN {
                let now_ns = monotonic_ns();
                let Prober {
                    runs,
                    clock,
                    stamps,
                    ..
                } = self;
                let count = self.inbox.stamps(socket.descriptor.as_fd(), |stamp| {
                    let (name, number, serial) = stamps[stamp.name as usize % STAMPS];
                    if name == stamp.name
                        && let Some(active) = runs.get_mut(&number)
                    {
                        active.run.on_send_stamp(
                            serial,
                            stamp.is_scheduled,
                            stamp.stamp_ns,
                            clock,
                            now_ns,
                        );
                    }
                })?;
                if count < RECEIVES {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reports complete probes, and decides overdue ones.
    fn judge(&mut self, now_ns: u64, around: &Around<'_>) {
        let numbers: Vec<u64> = self.runs.keys().copied().collect();
        for number in numbers {
            let overdue = {
                let at = EventContext {
                    now_ns,
                    clock: &self.clock,
                    identity: &self.identity,
                    resolutions: &self.resolutions,
                };
                let Some(active) = self.runs.get_mut(&number) else {
                    continue;
                };
                active.run.complete(&at);
                active.run.overdue(&at, JUDGED_A_TURN)
            };
            for (serial, target, sent_ns) in overdue {
                let circumstances =
                    self.circumstances(number, serial, target, sent_ns, now_ns, around);
                let at = EventContext {
                    now_ns,
                    clock: &self.clock,
                    identity: &self.identity,
                    resolutions: &self.resolutions,
                };
                if let Some(active) = self.runs.get_mut(&number) {
                    active
                        .run
                        .judge(serial, &circumstances, |index| around.name(index), &at);
                }
            }
        }
    }

    /// State of this host during the life of a probe, queried only if it matters.
    fn circumstances(
        &mut self,
        number: u64,
        serial: u64,
        target: Target,
        sent_ns: u64,
        now_ns: u64,
        around: &Around<'_>,
    ) -> HostContext {
        let mut all = HostContext::default();
        let Some(active) = self.runs.get(&number) else {
            return all;
        };
        let facts = active.run.evidence(serial);
        if facts.out.is_some() && facts.back.is_none() {
            return all;
        }
        if self.counters.is_stale(now_ns) {
            self.look_at_counters(now_ns, around);
        }
        (all.moved, all.ring_drops, all.socket_drops) = self.counters.moved(sent_ns);
        let mut how = self.runs[&number].reach.how;
        if target.scope != 0 {
            how.ifindex = target.scope;
        }
        let Some(route) = self.cached_route(target.address, &how, now_ns) else {
            all.interface = "any interface".into();
            return all;
        };
        all.interface = around.name(route.ifindex);
        all.queued = self.counters.queued(route.ifindex);
        if matches!(route.kind, RouteType::Unicast) && facts.out.is_none() {
            let next_hop = route.gateway.unwrap_or(target.address);
            all.next_hop = Some(next_hop);
            all.asked = self.resolutions.solicitations(route.ifindex, next_hop);
            if !facts.scheduled {
                all.neighbour = self.host.neighbour(route.ifindex, next_hop);
            }
        }
        all
    }

    fn cached_route(&mut self, target: IpAddr, how: &SendOptions, now_ns: u64) -> Option<Route> {
        /// Routes cached for one second.
        const MOST: usize = 4096;
        let key = (target, how.ifindex);
        if let Some((at_ns, route)) = self.routes.get(&key)
            && now_ns < at_ns + 1_000_000_000
        {
            return route.clone();
        }
        if self.routes.len() >= MOST {
            self.routes.clear();
        }
        let route = self.host.route(target, how.ifindex, how.source).ok();
        self.routes.insert(key, (now_ns, route.clone()));
        route
    }

    /// Sends due probes. Returns their number.
    fn send(&mut self, now_ns: u64) -> io::Result<usize> {
        if now_ns < self.full_until_ns {
            return Ok(0);
        }
        let mut sent = 0;
        let mut in_flight = self.in_flight();
        let numbers: Vec<u64> = self.runs.keys().copied().collect();
        // Each run gets an equal share of an iteration, so that none waits for a large one.
        let share = (SENDS_A_TURN / numbers.len().max(1)).clamp(1, SENDS);
        loop {
            let mut any = false;
            for number in &numbers {
                if in_flight >= self.limits.in_flight as usize {
                    self.hits.in_flight += 1;
                    self.full_until_ns = now_ns + FULL_NS;
                    return Ok(sent);
                }
                let room = share.min(self.limits.in_flight as usize - in_flight);
                match self.send_of(*number, room)? {
                    None => return Ok(sent),
                    Some(0) => {}
                    Some(count) => {
                        any = true;
                        sent += count;
                        in_flight += count;
                    }
                }
            }
            if !any || sent >= SENDS_A_TURN {
                return Ok(sent);
            }
        }
    }

    /// Sends up to `most` due probes of a run. Returns `None` if the kernel has no buffers.
    fn send_of(&mut self, number: u64, most: usize) -> io::Result<Option<usize>> {
        let now_ns = monotonic_ns();
        let Some(active) = self.runs.get_mut(&number) else {
            return Ok(Some(0));
        };
        let run = &mut active.run;
        let mut may = most.min(SENDS);
        if run.due_ns(now_ns).is_none_or(|due| due > now_ns) {
            return Ok(Some(0));
        }
        if let Some(user) = self.users.get_mut(&active.uid) {
            may = may.min(user.available(now_ns));
            user.waits += u64::from(may == 0);
        }
        may = may.min(self.all.available(now_ns));
        if may == 0 {
            self.all.waits += 1;
            return Ok(Some(0));
        }
        if now_ns < active.held_until_ns {
            return Ok(Some(0));
        }
        let unanswered_count = || self.resolutions.unanswered_count(self.clock.wall(now_ns));
        if run.is_stuck(now_ns) || run.must_wait_for_neighbors(unanswered_count) {
            active.held_until_ns = now_ns + HELD_NS;
            return Ok(Some(0));
        }
        let is_ipv4 = run.targets[0].address.is_ipv4();
        let Some(socket) = &mut self.sockets[usize::from(!is_ipv4)] else {
            return Ok(Some(0));
        };
        if socket.pmtu != active.reach.pmtu {
            batch::set_pmtu_discovery(socket.descriptor.as_fd(), is_ipv4, active.reach.pmtu)?;
            socket.pmtu = active.reach.pmtu;
        }
        let mut outgoing: Vec<Outgoing> = Vec::with_capacity(may);
        self.outbox.clear();
        while outgoing.len() < may && run.due_ns(now_ns).is_some_and(|due| due <= now_ns) {
            let probe = run.take_next(&self.identity, now_ns);
            let stamp = (run.settings.stamped && socket.stamps).then(|| {
                let name = self.next_stamp;
                self.next_stamp = self.next_stamp.wrapping_add(1).max(1);
                self.stamps[name as usize % STAMPS] = (name, number, probe.serial);
                name
            });
            let target = probe.target;
            let packet = self
                .outbox
                .push(target.address, target.scope, &active.reach.how, stamp);
            let settings = &run.settings;
            write_request(
                packet,
                is_ipv4,
                (run.id, probe.sequence),
                &probe.token,
                settings.size,
                &settings.pattern,
            );
            outgoing.push(probe);
        }
        let mut at = 0;
        let mut room = true;
        while at < self.outbox.len() {
            let before = monotonic_ns();
            match self.outbox.send(socket.descriptor.as_fd(), at) {
                Ok(count) => {
                    // One system call for many: each was sent about when its share of the time was
                    // over.
                    let each = (monotonic_ns() - before) / count.max(1) as u64;
                    for (offset, probe) in outgoing[at..at + count].iter().enumerate() {
                        run.mark_sending(probe.serial, before + each * offset as u64);
                    }
                    at += count;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => {
                        for _ in at..outgoing.len() {
                            run.return_to_schedule();
                        }
                        room = false;
                        break;
                    }
                    // Before Linux 6.13, timestamps without an ID cannot be assigned to a packet.
                    Some(libc::EINVAL) if socket.stamps && run.settings.stamped => {
                        socket.stamps = false;
                        run.settings.stamped = false;
                        for _ in at..outgoing.len() {
                            run.return_to_schedule();
                        }
                        outgoing.truncate(at);
                        break;
                    }
                    // IPv6 reports a drop in a queue or filter below the IP layer, IPv4 does not
                    // (raw_sendmsg in net/ipv4/raw.c): for both, the wire decides.
                    Some(libc::ENOBUFS) => {
                        run.mark_sending(outgoing[at].serial, before);
                        at += 1;
                    }
                    errno => {
                        run.mark_sending(outgoing[at].serial, before);
                        run.not_sent(outgoing[at].serial, errno.unwrap_or(0), &self.clock);
                        at += 1;
                    }
                },
            }
        }
        if let Some(user) = self.users.get_mut(&active.uid) {
            user.consume(at);
        }
        self.all.consume(at);
        if !room {
            self.hits.full += 1;
            self.full_until_ns = monotonic_ns() + FULL_NS;
            return Ok(None);
        }
        Ok(Some(at))
    }

    /// Returns the limits that were reached, for `Status`: name, limit, count.
    pub fn limits(&self) -> [(&'static str, u64, u64); 4] {
        [
            (
                "probes in flight",
                self.limits.in_flight,
                self.hits.in_flight,
            ),
            ("runs of one user", self.limits.runs_per_uid, self.hits.runs),
            ("probes a second", self.limits.rate, self.all.waits),
            ("probe events", 65_536, self.hits.events_dropped),
        ]
    }
}
