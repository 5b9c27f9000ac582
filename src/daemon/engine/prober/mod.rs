//! SHELL. The one prober of all users: the sockets, clocks and netlink around `probe`.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | runs, sending, receiving, judging |
//! | `batch` | many packets with one system call |
//! | `host` | routes, neighbours, counters |

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

/// Batches that are received of one socket in a turn.
const RECEIVES_A_TURN: usize = 16;
/// Probes that are sent in a turn: at most some milliseconds.
const SENDS_A_TURN: usize = 512;
/// Probes that are judged in a turn: each may cost a question to the kernel.
const JUDGED_A_TURN: usize = 256;
/// Names for send stamps: how many probes may wait for theirs.
const STAMPS: usize = 16_384;
/// Above this many probes a second no send stamps are asked for: they would cost a quarter more.
pub const STAMPED_RATE: u64 = 2_000;
/// After the kernel had no room, sending rests for so long.
const FULL_NS: u64 = 1_000_000;

/// A run whose probes wait inside this host looks again after so long.
const HELD_NS: u64 = 1_000_000;
/// Losses that wait to be told, until the next second: of all runs together.
const LOSSES: usize = 256;

/// How a run's packets are sent.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// What goes with each packet.
    pub how: SendOptions,
    /// IP_PMTUDISC_ number.
    pub pmtu: i32,
}

/// A socket of one family.
struct Socket {
    descriptor: OwnedFd,
    pmtu: i32,
    /// Does this kernel know SCM_TS_OPT_ID?
    stamps: bool,
}

/// A run and whose it is.
pub struct Active {
    /// The run.
    pub run: Run,
    /// Its user.
    pub uid: u32,
    reach: SocketOptions,
    /// Sends nothing before this time: what it sent waits inside this host.
    held_until_ns: u64,
    /// Rung when there are events, or the run is over.
    pub news: Rc<Notify>,
    /// Everything is said.
    pub is_over: bool,
}

/// What limits have cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitCounters {
    /// Waits since too many probes were under way.
    pub in_flight: u64,
    /// Runs that were refused.
    pub runs: u64,
    /// Replies by which nobody was waiting.
    pub unmatched: u64,
    /// Times that the kernel had no room for a packet.
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
    /// Which probe a send stamp's name is of.
    stamps: Vec<(u32, u64, u64)>,
    next_stamp: u32,
    full_until_ns: u64,
    limits: config::PingSettings,
    /// What limits have cost.
    pub hits: LimitCounters,
    /// Rung when there is something to do.
    pub wake: Rc<Notify>,
    routes: HashMap<(IpAddr, u32), (u64, Option<Route>)>,
    /// Replies that came to the sockets since this was last looked at: by interface, ICMP and ICMPv6.
    pub heard: HashMap<u32, [u64; 2]>,
    /// Targets that do not answer any more, or do again, since this was last looked at.
    pub losses: Vec<ProbeLoss>,
}

/// Both clocks at one moment: wall, monotonic. Tried again when it took too long in between.
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

/// Reads both clocks; returns what the monotonic one shows.
fn sample(clock: &mut Clock) -> u64 {
    let (wall, now_ns) = both_clocks();
    if clock.sample(wall, now_ns) {
        tracing::info!("the wall clock was set; round-trip times are not affected");
    }
    now_ns
}

/// What of the world a turn needs.
pub struct Around<'a> {
    /// Links and addresses.
    pub links: &'a Links,
    /// For the rings' drops.
    pub recording: &'a Recording,
}

impl Around<'_> {
    fn name(&self, ifindex: u32) -> String {
        (self.links.get(ifindex))
            .map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
    }
}

impl Prober {
    /// Takes over the sockets.
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
            // Another one in each engine, so that late replies of the last one do not fit.
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

    /// Takes other limits; what runs goes on under them.
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

    /// Descriptors of the same sockets, to wait with.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        (self.sockets.iter().flatten())
            .map(|socket| socket.descriptor.try_clone())
            .collect()
    }

    /// Is there a socket for this family?
    pub fn has_family(&self, is_ipv4: bool) -> bool {
        self.sockets[usize::from(!is_ipv4)].is_some()
    }

    /// Does anybody probe?
    pub fn is_active(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Probes under way.
    pub fn in_flight(&self) -> usize {
        self.runs
            .values()
            .map(|active| active.run.in_flight())
            .sum()
    }

    /// Runs of a user.
    pub fn runs_of(&self, uid: u32) -> usize {
        self.runs
            .values()
            .filter(|active| active.uid == uid)
            .count()
    }

    /// The way to a target, by the kernel's word.
    pub fn route(&mut self, target: IpAddr, how: &SendOptions) -> io::Result<Route> {
        self.host.route(target, how.ifindex, how.source)
    }

    /// What the kernel believes of its neighbours: of as many as the service itself keeps.
    pub fn kernel_neighbors(&mut self) -> io::Result<Vec<KernelNeighbor>> {
        self.host
            .neighbors(netsonde_core::neighbors::Neighbors::MAX_ADDRESSES)
    }

    /// Starts a run. `rate` is what its user may send in all his runs.
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

    /// Ends a run and gives it back.
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

    /// Takes what the wire showed.
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
            // What passes the loopback interface is shown once, on its way in.
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

    /// One turn: receives, tells, judges, sends. Returns when to come back at the latest, by the
    /// monotonic clock; `None`: nobody probes.
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
        // A run that waits for room looks again soon.
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

    /// Tells what is complete, and judges what is overdue.
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

    /// What is known of this host around the life of a probe. Only asked for where it matters.
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
        /// Routes that are remembered, for a second.
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

    /// Sends what is due. Returns how many.
    fn send(&mut self, now_ns: u64) -> io::Result<usize> {
        if now_ns < self.full_until_ns {
            return Ok(0);
        }
        let mut sent = 0;
        let mut in_flight = self.in_flight();
        let numbers: Vec<u64> = self.runs.keys().copied().collect();
        // Each run gets an equal share of a turn, so that none waits for a large one.
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

    /// Sends up to `most` probes of a run that are due. `None`: the kernel has no room.
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
                    // A system call for many: each went about when its share of the time was over.
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
                    // Before Linux 6.13: without the name there is no way to tell whose a stamp is.
                    Some(libc::EINVAL) if socket.stamps && run.settings.stamped => {
                        socket.stamps = false;
                        run.settings.stamped = false;
                        for _ in at..outgoing.len() {
                            run.return_to_schedule();
                        }
                        outgoing.truncate(at);
                        break;
                    }
                    // IPv6 tells that a queue or a filter behind the IP layer dropped it, IPv4 does
                    // not (raw_sendmsg in net/ipv4/raw.c): for both, the wire has the last word.
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

    /// Limits that were reached, for `Status`: name, limit, how often.
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
