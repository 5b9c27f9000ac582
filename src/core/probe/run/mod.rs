//! PURE. One probe run: targets, schedule, probes in flight and statistics.
//!
//! All targets are probed in turn, round after round. The serial number of a probe gives its target and
//! sequence number and the reverse, and probes lie in the order in which they were sent, so no probe
//! needs a timer or a map entry.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use crate::probe::Clock;
use crate::probe::fate::{Fate, HostContext, ProbeEvidence, Verdict, judge};
use crate::probe::identity::{self, Identity, Payload, TOKEN};
use crate::probe::neighbors::ResolutionTracker;
use crate::probe::sight::{Echo, Quoted};
use crate::probe::statistics::{Durations, Jitter, Windows};

/// Delay between a probe's time limit and its decision: the rings hand a packet over within 20 ms,
/// and the polls of the engine add to that.
const DECISION_DELAY_NS: u64 = 60_000_000;
/// Time for which a decided probe is kept, for late replies and duplicates.
const KEPT_NS: u64 = 10_000_000_000;
/// Maximum number of decided probes kept, about 150 bytes each.
const MAX_KEPT_PROBES: usize = 65_536;
/// Longest wait for late replies at the end of a run.
const LINGER_NS: u64 = 1_000_000_000;
/// Interval of a flood without replies: at least a hundred probes per second, as ping does.
const FLOOD_NS: u64 = 10_000_000;
/// Maximum number of probes that may be stuck in this host, sent but not seen on the wire, before a
/// run pauses. The socket's buffer has room for about twice as many, which other runs share.
const MAX_STUCK_PROBES: usize = 192;
/// Age from which a probe without a sighting on the wire is stuck: the 20 ms of the rings, with a
/// margin.
const STUCK_AFTER_NS: u64 = 50_000_000;
/// Maximum number of probes of one run that may wait for one neighbor's link-layer address. The
/// kernel keeps about 270 small packets per neighbor (unres_qlen_bytes, arp(7)), drops the oldest
/// beyond that, and other runs share them. This is also the number sent before the wire has shown
/// anything of a run, since a request for the next hop's address is seen up to 20 ms later.
const MAX_UNRESOLVED_PER_HOP: usize = 64;
/// Maximum number of responders tracked per group or broadcast address.
const MAX_RESPONDERS: usize = 4096;
/// Maximum number of events waiting for a slow client; beyond that the oldest are dropped and
/// counted.
const MAX_EVENTS: usize = 65_536;
/// A schedule that lags by more than this is shifted instead of caught up with.
const MAX_SCHEDULE_LAG_NS: u64 = 100_000_000;

/// Options of a probe run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Probes per target; `None` to run until stopped.
    pub count: Option<u32>,
    /// Interval between two probes of the same target, in nanoseconds.
    pub interval_ns: u64,
    /// Time limit of a reply, in nanoseconds.
    pub timeout_ns: u64,
    /// Time after the start from which no more probes are sent, in nanoseconds.
    pub deadline_ns: Option<u64>,
    /// Payload size in bytes, after the echo header.
    pub size: usize,
    /// Pattern that fills the payload; empty for the filler of ping.
    pub pattern: Vec<u8>,
    /// Send each probe as soon as the previous one is answered.
    pub flood: bool,
    /// Maximum rate of this run, in probes per second.
    pub rate: u64,
    /// Emit no events, only statistics.
    pub quiet: bool,
    /// Request the kernel's send stamps.
    pub stamped: bool,
}

/// Target of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Destination address.
    pub address: IpAddr,
    /// Interface index for a link-local or group address; 0 to leave it to the route.
    pub scope: u32,
    /// Whether it is a group or broadcast address, which many hosts may answer.
    pub is_group: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No reply or error yet.
    Waiting,
    /// Answered; sightings on the wire may still be missing.
    Answered,
    /// The fate is decided and reported.
    Decided(Fate),
}

/// A probe. Times are of the monotonic clock, 0 if unset.
#[derive(Clone, Debug)]
struct Probe {
    state: State,
    sent_ns: u64,
    scheduled_ns: u64,
    tx_software_ns: u64,
    request_wire_ns: u64,
    request_ifindex: u32,
    reply_wire_ns: u64,
    reply_ifindex: u32,
    reply_checksum_ok: Option<bool>,
    reply_socket_ns: u64,
    reply_read_ns: u64,
    ttl: u8,
    altered: bool,
    /// Nothing has shown yet that it left or never will.
    is_unconfirmed: bool,
    from: Option<IpAddr>,
}

impl Probe {
    /// Returns whether the probe seems to wait inside this host. The kernel asks for a neighbor
    /// three times, one second apart, and then drops the packets that wait for it.
    fn is_stuck(&self, now_ns: u64) -> bool {
        let gone = matches!(
            self.state,
            State::Decided(Fate::NotSent | Fate::Refused | Fate::Replied)
        );
        self.request_wire_ns == 0
            && self.tx_software_ns == 0
            && self.reply_socket_ns == 0
            && self.sent_ns + 3_100_000_000 > now_ns
            && !gone
    }
}

/// A reply received on a socket.
#[derive(Clone, Copy, Debug)]
pub struct SocketReply<'a> {
    /// Source address.
    pub from: IpAddr,
    /// Index of the incoming interface.
    pub ifindex: u32,
    /// Echo fields of the reply.
    pub echo: Echo,
    /// Payload after the echo header.
    pub payload: &'a [u8],
    /// Whether the checksum is right.
    pub intact: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Receive stamp of the kernel, wall-clock time in nanoseconds since 1970; 0 if missing.
    pub stamp_ns: u64,
}

/// Consecutive lost probes after which a target is reported as unresponsive: many links lose one or
/// two.
pub const UNRESPONSIVE_AFTER: u32 = 3;
/// Maximum number of pending loss reports. When a whole network fails, a few hundred targets are
/// enough.
const MAX_LOSSES: usize = 256;

/// A target that had answered stopped answering, or answers again.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// The target stopped answering.
    Begun {
        /// Index of the target.
        target: u32,
        /// Wall-clock time at which the first of the lost probes was sent, in nanoseconds since
        /// 1970.
        since_ns: u64,
        /// Wall-clock time at which the last of them was sent.
        at_ns: u64,
        /// Fate of the last of them.
        fate: Fate,
        /// Description of its last sighting.
        last_seen: String,
    },
    /// The target answers again.
    Ended {
        /// Index of the target.
        target: u32,
        /// Wall-clock time at which the first lost probe was sent, in nanoseconds since 1970.
        since_ns: u64,
        /// Wall-clock time at which the answered probe was sent.
        at_ns: u64,
        /// Number of lost probes.
        misses: u32,
    },
}

impl Loss {
    /// Returns the index of the target.
    pub fn target(&self) -> u32 {
        match self {
            Loss::Begun { target, .. } | Loss::Ended { target, .. } => *target,
        }
    }
}

/// Event of a probe: its fate, or a duplicate reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Index of the target.
    pub target: u32,
    /// Sequence number, from 1.
    pub sequence: u32,
    /// Wall-clock time at which the probe was sent, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Fate of the probe.
    pub fate: Fate,
    /// Fate reported earlier, which this event replaces.
    pub replaces_fate: Option<Fate>,
    /// Whether this is a further reply to a probe that was already answered.
    pub duplicate: bool,
    /// Source address of the reply or error.
    pub from: Option<IpAddr>,
    /// TTL or hop limit of the reply.
    pub ttl: Option<u8>,
    /// Round trip as ping measures it: from before the send call to the kernel's receive stamp.
    pub rtt_ns: Option<u64>,
    /// Round trip from wire to wire.
    pub wire_rtt_ns: Option<u64>,
    /// Wait for ARP or neighbor discovery.
    pub resolve_ns: Option<u64>,
    /// Time in the local queue.
    pub queue_ns: Option<u64>,
    /// Time from the kernel's receive stamp until the engine read the reply.
    pub wake_ns: Option<u64>,
    /// ICMP error, with its source.
    pub error: Option<(IpAddr, Quoted)>,
    /// Error number of the send call.
    pub errno: Option<i32>,
    /// Description of the last sighting.
    pub last_seen: Option<String>,
}

/// Host that answers probes to a group.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    /// Source MAC address of its replies.
    pub mac: Option<[u8; 6]>,
    /// Replies, without duplicates.
    pub replies: u64,
    /// Duplicate replies.
    pub duplicates: u64,
    /// Round trips.
    pub rtt: Durations,
    /// Answered sequence numbers: the newest, and a bitmap of the 64 up to it.
    newest: u32,
    seen: u64,
}

impl Responder {
    /// Records a reply. Returns `false` if its sequence number was already answered.
    fn is_new(&mut self, sequence: u32) -> bool {
        if self.replies == 0 || sequence > self.newest {
            let by = sequence - self.newest.min(sequence);
            self.seen = if by >= 64 || self.replies == 0 {
                1
            } else {
                (self.seen << by) | 1
            };
            self.newest = sequence;
            return true;
        }
        let back = self.newest - sequence;
        let bit = 1u64.checked_shl(back).unwrap_or(0);
        let is_new = self.seen & bit == 0 && back < 64;
        self.seen |= bit;
        is_new
    }
}

/// Statistics of one target.
#[derive(Clone, Debug, Default)]
pub struct TargetStats {
    /// Decided probes per fate, in the order of [`Fate::ALL`].
    pub fates: [u32; 9],
    /// Replies to probes that were already answered.
    pub duplicates: u32,
    /// Replies that arrived after the reply to a later probe (RFC 4737, section 3).
    pub reordered: u32,
    /// Round trips.
    pub rtt: Durations,
    /// Round trips from wire to wire.
    pub wire: Durations,
    /// Interarrival jitter of the round trips.
    pub jitter: Jitter,
    highest: u32,
    /// Consecutive lost probes, and the wall-clock time at which the first of them was sent.
    misses: u32,
    missed_ns: u64,
    /// Statistics that only some targets have.
    pub more: Option<Box<ExtendedStats>>,
}

/// Statistics that only some targets have.
#[derive(Clone, Debug, Default)]
pub struct ExtendedStats {
    /// Loss per time window.
    pub windows: Windows,
    /// Hosts that answered probes to a group.
    pub responders: BTreeMap<IpAddr, Responder>,
    /// Replies of responders that were not tracked because the table was full.
    pub responders_left_out: u64,
}

impl TargetStats {
    /// Counts consecutive losses. A target that has never answered is not reported: it may not
    /// exist.
    fn count_miss(&mut self, event: &Event) -> Option<Loss> {
        let target = event.target;
        if matches!(event.fate, Fate::Replied | Fate::Late | Fate::Corrupted) {
            let misses = std::mem::take(&mut self.misses);
            let since_ns = self.missed_ns;
            return (misses >= UNRESPONSIVE_AFTER).then_some(Loss::Ended {
                target,
                since_ns,
                at_ns: event.time_ns,
                misses,
            });
        }
        if self.received() == 0 {
            return None;
        }
        if self.misses == 0 {
            self.missed_ns = event.time_ns;
        }
        self.misses = self.misses.saturating_add(1);
        (self.misses == UNRESPONSIVE_AFTER).then(|| Loss::Begun {
            target,
            since_ns: self.missed_ns,
            at_ns: event.time_ns,
            fate: event.fate,
            last_seen: event.last_seen.clone().unwrap_or_default(),
        })
    }

    /// Returns the number of decided probes.
    pub fn sent(&self) -> u32 {
        self.fates.iter().sum()
    }

    /// Returns the number of probes answered in time.
    pub fn received(&self) -> u32 {
        self.fates[Fate::Replied as usize]
    }
}

/// A probe to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Serial number of the probe in its run.
    pub serial: u64,
    /// Target of the probe.
    pub target: Target,
    /// Sequence number on the wire.
    pub sequence: u16,
    /// Token at the start of the payload.
    pub token: [u8; TOKEN],
}

/// One probe run.
#[derive(Debug)]
pub struct Run {
    /// Number of the run, unique within this engine.
    pub number: u64,
    /// Identifier of its echo requests.
    pub id: u16,
    /// Options of the run.
    pub settings: Settings,
    /// Targets, without duplicates.
    pub targets: Vec<Target>,
    /// Statistics, one entry per target.
    pub stats: Vec<TargetStats>,
    target_by_key: HashMap<(u128, u32), u32, foldhash::quality::RandomState>,
    probes: VecDeque<Probe>,
    /// Serial of the first probe in `probes`.
    base: u64,
    /// Serial of the first probe whose time limit has not been checked.
    undecided: u64,
    /// Answered probes that may still be sighted on the wire, in the order of their replies.
    answered: VecDeque<u64>,
    started_ns: u64,
    /// Start of the schedule; shifted when it falls behind.
    schedule_ns: u64,
    last_sent_ns: u64,
    flood_ready: bool,
    /// Serial of the first probe that is too young to be stuck.
    first_unaged_serial: u64,
    /// Serials of probes that were sent but not seen on the wire.
    unsent_on_wire: Vec<u64>,
    /// Number of probes of which nothing has shown that they left or never will.
    unconfirmed_sends: usize,
    stopped: bool,
    /// Pending events.
    pub events: VecDeque<Event>,
    /// Events dropped because the client did not read them in time.
    pub events_dropped: u64,
    /// Pending reports of targets that stopped answering or answer again, at most a few hundred.
    pub losses: Vec<Loss>,
    /// Replies with this run's identifier that are not answers: wrong cookie, source or size.
    pub forged: u64,
    /// Valid replies to probes that are no longer kept.
    pub stray: u64,
    /// Number of pauses because too many probes were stuck in this host.
    pub stuck_waits: u64,
}

/// Key of a target. The interface matters for link-local addresses only.
fn target_key(address: IpAddr, ifindex: u32) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 0),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => (v6.into(), ifindex),
        IpAddr::V6(v6) => (v6.into(), 0),
    }
}

impl Run {
    /// Creates a run that starts now. There must be at least one target; duplicates are removed.
    pub fn new(number: u64, id: u16, settings: Settings, wanted: Vec<Target>, now_ns: u64) -> Run {
        // Users choose the keys, so the hash needs a secret; foldhash is fast, too.
        let mut target_by_key = HashMap::with_capacity_and_hasher(wanted.len(), Default::default());
        let mut targets = Vec::with_capacity(wanted.len());
        for target in wanted {
            if let std::collections::hash_map::Entry::Vacant(free) =
                target_by_key.entry(target_key(target.address, target.scope))
            {
                free.insert(targets.len() as u32);
                targets.push(target);
            }
        }
        Run {
            number,
            id,
            settings,
            stats: vec![TargetStats::default(); targets.len()],
            targets,
            target_by_key,
            probes: VecDeque::new(),
            base: 0,
            undecided: 0,
            answered: VecDeque::new(),
            started_ns: now_ns,
            schedule_ns: now_ns,
            last_sent_ns: 0,
            flood_ready: true,
            first_unaged_serial: 0,
            unsent_on_wire: Vec::new(),
            unconfirmed_sends: 0,
            stopped: false,
            events: VecDeque::new(),
            events_dropped: 0,
            losses: Vec::new(),
            forged: 0,
            stray: 0,
            stuck_waits: 0,
        }
    }

    /// Returns the monotonic time at which the run started, in nanoseconds.
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    fn next(&self) -> u64 {
        self.base + self.probes.len() as u64
    }

    fn target_count(&self) -> u64 {
        self.targets.len() as u64
    }

    fn target_and_sequence(&self, serial: u64) -> (usize, u32) {
        (
            (serial % self.target_count()) as usize,
            (serial / self.target_count()) as u32 + 1,
        )
    }

    fn probe(&mut self, serial: u64) -> Option<&mut Probe> {
        let at = serial.checked_sub(self.base)?;
        self.probes.get_mut(at as usize)
    }

    /// Returns the number of probes in flight.
    pub fn in_flight(&self) -> usize {
        (self.next() - self.undecided) as usize
    }

    /// Returns whether all probes have been sent.
    fn is_sent(&self, now_ns: u64) -> bool {
        let counted = self
            .settings
            .count
            .is_some_and(|count| self.next() >= u64::from(count) * self.target_count());
        let over = (self.settings.deadline_ns)
            .is_some_and(|deadline| now_ns.saturating_sub(self.started_ns) >= deadline);
        self.stopped || counted || over
    }

    /// Interval between two probes of different targets, in nanoseconds.
    fn gap_ns(&self) -> u64 {
        1_000_000_000 / self.settings.rate.max(1)
    }

    /// Returns the monotonic time at which the next probe is due; `None` if all were sent.
    pub fn due_ns(&self, now_ns: u64) -> Option<u64> {
        if self.is_sent(now_ns) {
            return None;
        }
        if self.settings.flood && self.target_count() == 1 {
            let floor = self.last_sent_ns + self.gap_ns();
            let due = if self.flood_ready {
                floor
            } else {
                self.last_sent_ns + FLOOD_NS
            };
            return Some(due.max(self.started_ns));
        }
        let (round, at) = (
            self.next() / self.target_count(),
            self.next() % self.target_count(),
        );
        let whole = self.target_count() * self.gap_ns();
        let round_ns = if self.settings.flood {
            whole
        } else {
            self.settings.interval_ns.max(whole)
        };
        Some(self.schedule_ns + round * round_ns + at * self.gap_ns())
    }

    /// Returns whether too many probes are stuck in this host.
    pub fn is_stuck(&mut self, now_ns: u64) -> bool {
        // Each probe is checked once when it is old enough; stuck ones are checked again.
        self.first_unaged_serial = self.first_unaged_serial.max(self.base);
        while let Some(probe) = self
            .probes
            .get((self.first_unaged_serial - self.base) as usize)
            && probe.sent_ns + STUCK_AFTER_NS <= now_ns
        {
            if probe.is_stuck(now_ns) {
                self.unsent_on_wire.push(self.first_unaged_serial);
            }
            self.first_unaged_serial += 1;
        }
        let (base, probes) = (self.base, &self.probes);
        self.unsent_on_wire.retain(|serial| {
            let at = serial.checked_sub(base);
            at.and_then(|at| probes.get(at as usize))
                .is_some_and(|probe| probe.is_stuck(now_ns))
        });
        if self.unsent_on_wire.len() < MAX_STUCK_PROBES {
            return false;
        }
        self.stuck_waits += 1;
        true
    }

    /// Creates the next probe, which must be due.
    pub fn take_next(&mut self, identity: &Identity, now_ns: u64) -> Outgoing {
        if let Some(due) = self.due_ns(now_ns)
            && now_ns > due + MAX_SCHEDULE_LAG_NS
        {
            self.schedule_ns += now_ns - due;
        }
        let serial = self.next();
        let (at, sequence) = self.target_and_sequence(serial);
        self.flood_ready = false;
        self.last_sent_ns = now_ns;
        self.probes.push_back(Probe {
            state: State::Waiting,
            sent_ns: now_ns,
            scheduled_ns: 0,
            tx_software_ns: 0,
            request_wire_ns: 0,
            request_ifindex: 0,
            reply_wire_ns: 0,
            reply_ifindex: 0,
            reply_checksum_ok: None,
            reply_socket_ns: 0,
            reply_read_ns: 0,
            ttl: 0,
            altered: false,
            is_unconfirmed: true,
            from: None,
        });
        self.unconfirmed_sends += 1;
        let target = self.targets[at];
        Outgoing {
            serial,
            target,
            sequence: sequence as u16,
            token: identity.token(self.number, target.address, sequence),
        }
    }

    /// Returns whether more probes would exceed the queues of unresolved neighbors. Applies until
    /// the wire has shown a probe of this run: then its next hop is resolved.
    pub fn must_wait_for_neighbors(&self, unanswered_count: impl FnOnce() -> usize) -> bool {
        self.unconfirmed_sends >= MAX_UNRESOLVED_PER_HOP
            && self.unconfirmed_sends as u64 == self.next()
            && self.unconfirmed_sends >= MAX_UNRESOLVED_PER_HOP * unanswered_count().max(1)
    }

    /// Records that a probe left, or that it never will.
    fn confirm_send(&mut self, serial: u64) {
        if let Some(probe) = self.probe(serial)
            && std::mem::take(&mut probe.is_unconfirmed)
        {
            self.unconfirmed_sends -= 1;
        }
    }

    /// Returns the newest probe to the schedule because the kernel had no space; it is sent later.
    pub fn return_to_schedule(&mut self) {
        self.unconfirmed_sends -= 1;
        self.probes.pop_back();
        self.flood_ready = true;
    }

    /// Sets the send time of a probe, right before the send call.
    pub fn mark_sending(&mut self, serial: u64, now_ns: u64) {
        if let Some(probe) = self.probe(serial) {
            probe.sent_ns = now_ns;
        }
    }

    /// Decides a probe that the kernel refused to send.
    pub fn not_sent(&mut self, serial: u64, errno: i32, clock: &Clock) {
        let (name, meaning) = crate::probe::fate::describe_errno(errno);
        self.flood_ready = false;
        let verdict = Verdict {
            fate: Fate::NotSent,
            last_seen: format!("{name}: {meaning}"),
        };
        let mut event = self.event(serial, verdict.fate, clock);
        event.errno = Some(errno);
        event.last_seen = Some(verdict.last_seen);
        self.decide(serial, event);
    }

    /// Records a send stamp of the kernel, in wall-clock time: of the queueing discipline or of the
    /// device.
    pub fn on_send_stamp(
        &mut self,
        serial: u64,
        is_scheduled: bool,
        stamp_ns: u64,
        clock: &Clock,
        now_ns: u64,
    ) {
        if let Some(probe) = self.probe(serial)
            && let Some(at) = clock.monotonic(stamp_ns, probe.sent_ns, now_ns)
        {
            if is_scheduled {
                probe.scheduled_ns = at;
            } else {
                probe.tx_software_ns = at;
            }
        }
    }

    /// Returns the serial of the probe that an echo message belongs to. `address` is the target's.
    fn find(&self, address: IpAddr, ifindex: u32, echo: &Echo, identity: &Identity) -> Option<u64> {
        let at = *self.target_by_key.get(&target_key(address, ifindex))?;
        self.find_at(at, echo, identity)
    }

    fn find_at(&self, at: u32, echo: &Echo, identity: &Identity) -> Option<u64> {
        let next = self.next();
        let width = self.target_count();
        // Sequence number of the newest probe of this target.
        let newest = (next + width - 1 - u64::from(at)) / width;
        if newest == 0 {
            return None;
        }
        // The newest sequence number with these low 16 bits that has been sent.
        let back = (newest as u16).wrapping_sub(echo.sequence);
        let mut sequence = newest.checked_sub(back.into())?;
        loop {
            // Sequence numbers start at 1.
            let serial = sequence.checked_sub(1)? * width + u64::from(at);
            if serial < self.base || sequence > newest {
                return None;
            }
            let target = self.targets[at as usize];
            let token = identity.token(self.number, target.address, sequence as u32);
            if identity::has_token(echo.token(), &token, self.settings.size) {
                return Some(serial);
            }
            sequence = sequence.checked_sub(65_536)?;
        }
    }

    /// Records a request seen leaving. If it crosses several interfaces (bridge and port), the last
    /// sighting counts.
    pub fn on_wire_request(
        &mut self,
        to: IpAddr,
        ifindex: u32,
        echo: &Echo,
        stamp_ns: u64,
        at: &EventContext<'_>,
    ) {
        let Some(serial) = self.find(to, ifindex, echo, at.identity) else {
            return;
        };
        self.confirm_send(serial);
        if let Some(probe) = self.probe(serial)
            && probe.reply_wire_ns == 0
            && let Some(out) = at.clock.monotonic(stamp_ns, probe.sent_ns, at.now_ns)
        {
            probe.request_wire_ns = out;
            probe.request_ifindex = ifindex;
        }
    }

    /// Records a reply seen arriving. If it crosses several interfaces, the first sighting counts.
    pub fn on_wire_reply(
        &mut self,
        (from, mac, ttl): (IpAddr, Option<[u8; 6]>, u8),
        ifindex: u32,
        echo: &Echo,
        intact: Option<bool>,
        stamp_ns: u64,
        at: &EventContext<'_>,
    ) {
        let found = self.find(from, ifindex, echo, at.identity);
        let is_group = found.is_none();
        let Some(serial) = found.or_else(|| self.find_group(echo, at.identity)) else {
            return;
        };
        // Frames on the loopback interface have the address 0.
        if is_group && let Some(mac) = mac.filter(|mac| *mac != [0; 6]) {
            let (place, _) = self.target_and_sequence(serial);
            if let Some(responder) = self.responder(place, from) {
                responder.mac = Some(mac);
            }
        }
        if let Some(probe) = self.probe(serial)
            && probe.reply_wire_ns == 0
            && let Some(back) = at.clock.monotonic(stamp_ns, probe.sent_ns, at.now_ns)
        {
            probe.reply_wire_ns = back;
            probe.reply_ifindex = ifindex;
            probe.reply_checksum_ok = intact;
            if probe.from.is_none() {
                probe.from = Some(from);
                probe.ttl = ttl;
            }
        }
    }

    /// Finds the probe of a reply among the group and broadcast targets.
    fn find_group(&self, echo: &Echo, identity: &Identity) -> Option<u64> {
        (0..self.targets.len() as u32)
            .filter(|at| self.targets[*at as usize].is_group)
            .find_map(|at| self.find_at(at, echo, identity))
    }

    fn responder(&mut self, place: usize, from: IpAddr) -> Option<&mut Responder> {
        let more = self.stats[place].more.get_or_insert_default();
        if more.responders.len() >= MAX_RESPONDERS && !more.responders.contains_key(&from) {
            more.responders_left_out += 1;
            return None;
        }
        Some(more.responders.entry(from).or_default())
    }

    /// Records a reply received on the socket.
    pub fn on_socket_reply(&mut self, heard: &SocketReply<'_>, at: &EventContext<'_>) {
        let found = self.find(heard.from, heard.ifindex, &heard.echo, at.identity);
        let is_group = found.is_none();
        let Some(serial) = found.or_else(|| self.find_group(&heard.echo, at.identity)) else {
            self.not_found(heard, at.identity);
            return;
        };
        let (place, sequence) = self.target_and_sequence(serial);
        let target = self.targets[place];
        let token = at.identity.token(self.number, target.address, sequence);
        let settings = &self.settings;
        let checked = identity::check(heard.payload, &token, settings.size, &settings.pattern);
        if checked == Payload::Forged {
            self.forged += 1;
            return;
        }
        let altered = checked == Payload::Altered || !heard.intact;
        let timeout_ns = self.settings.timeout_ns;
        let Some(probe) = self.probe(serial) else {
            return;
        };
        let stamp = at.clock.monotonic(heard.stamp_ns, probe.sent_ns, at.now_ns);
        let reply_socket_ns = stamp.unwrap_or(at.now_ns);
        let (state, sent_ns) = (probe.state, probe.sent_ns);
        let rtt = reply_socket_ns - sent_ns;
        if is_group && !altered {
            let is_new = match self.responder(place, heard.from) {
                Some(responder) => {
                    let is_new = responder.is_new(sequence);
                    if is_new {
                        responder.replies += 1;
                        responder.rtt.add(rtt);
                    } else {
                        responder.duplicates += 1;
                    }
                    is_new
                }
                None => true,
            };
            if !is_new {
                self.stats[place].duplicates += 1;
            }
            if state != State::Waiting {
                return;
            }
        }
        match state {
            State::Waiting => {
                let Some(probe) = self.probe(serial) else {
                    return;
                };
                probe.reply_socket_ns = reply_socket_ns;
                probe.reply_read_ns = at.now_ns;
                probe.ttl = heard.ttl;
                probe.from = Some(heard.from);
                probe.altered = altered;
                if rtt > timeout_ns {
                    // Not decided yet, but already too late.
                    self.late(serial, None, at);
                } else {
                    probe.state = State::Answered;
                    self.confirm_send(serial);
                    self.answered.push_back(serial);
                    self.flood_ready = true;
                }
            }
            State::Decided(Fate::Unanswered | Fate::DroppedInbound) if !altered => {
                let State::Decided(before) = state else {
                    return;
                };
                let Some(probe) = self.probe(serial) else {
                    return;
                };
                probe.reply_socket_ns = reply_socket_ns;
                probe.reply_read_ns = at.now_ns;
                probe.ttl = heard.ttl;
                probe.from = Some(heard.from);
                self.late(serial, Some(before), at);
            }
            State::Decided(Fate::Replied | Fate::Late | Fate::Corrupted) | State::Answered => {
                self.stats[place].duplicates += 1;
                if !self.settings.quiet {
                    let mut event = self.event(serial, Fate::Replied, at.clock);
                    event.duplicate = true;
                    event.from = Some(heard.from);
                    event.ttl = Some(heard.ttl);
                    event.rtt_ns = Some(rtt);
                    self.push_event(event);
                }
            }
            State::Decided(_) => {}
        }
    }

    /// Counts a reply with this run's identifier that matches no probe: stray if its token is that
    /// of a probe no longer kept, otherwise forged.
    fn not_found(&mut self, heard: &SocketReply<'_>, identity: &Identity) {
        let size = self.settings.size;
        let place = self
            .target_by_key
            .get(&target_key(heard.from, heard.ifindex))
            .copied();
        let was_ours = size >= TOKEN
            && place.is_some_and(|at| {
                let (target, width) = (self.targets[at as usize], self.target_count());
                let rounds = self.base / width + 1;
                let back = (rounds as u16).wrapping_sub(heard.echo.sequence);
                // Probes dropped from the queue are recent, so one turn of the 16-bit number is
                // enough.
                rounds.checked_sub(back.into()).is_some_and(|newest| {
                    let token = identity.token(self.number, target.address, newest as u32);
                    identity::has_token(heard.payload, &token, size)
                })
            });
        if was_ours {
            self.stray += 1;
        } else {
            self.forged += 1;
        }
    }

    /// Decides a late probe. `before`: fate reported earlier.
    fn late(&mut self, serial: u64, before: Option<Fate>, at: &EventContext<'_>) {
        if let Some(before) = before {
            let (place, _) = self.target_and_sequence(serial);
            let stats = &mut self.stats[place];
            stats.fates[before as usize] -= 1;
        }
        let mut event = self.measured(serial, Fate::Late, at);
        event.replaces_fate = before;
        self.decide(serial, event);
    }

    /// Records an ICMP error that quotes a probe. `is_local`: sent by this host itself.
    pub fn error(
        &mut self,
        from: IpAddr,
        is_local: bool,
        ifindex: u32,
        quoted: &Quoted,
        at: &EventContext<'_>,
    ) {
        let Some(serial) = self.find(quoted.to, ifindex, &quoted.echo, at.identity) else {
            self.forged += u64::from(quoted.echo.token().len() >= TOKEN);
            return;
        };
        let Some(probe) = self.probe(serial) else {
            return;
        };
        if probe.state != State::Waiting {
            return;
        }
        // An error of this host about an unresolved neighbor is sent when the kernel gives up; the
        // final judgment uses more evidence.
        if is_local {
            return;
        }
        let mut event = self.measured(serial, Fate::Refused, at);
        event.from = Some(from);
        event.error = Some((from, *quoted));
        event.ttl = None;
        self.decide(serial, event);
        self.flood_ready = true;
    }

    /// Returns up to `most` probes whose time is up and whose fate depends on the state of the
    /// host, to be passed to [`Run::judge`]: serial, target and monotonic send time.
    pub fn overdue(&mut self, at: &EventContext<'_>, most: usize) -> Vec<(u64, Target, u64)> {
        let mut overdue = Vec::new();
        while self.undecided < self.next() && overdue.len() < most {
            let serial = self.undecided;
            let timeout_ns = self.settings.timeout_ns;
            let Some(probe) = self.probe(serial) else {
                self.undecided = self.base;
                continue;
            };
            if matches!(probe.state, State::Decided(_)) {
                self.undecided += 1;
                continue;
            }
            if at.now_ns < probe.sent_ns + timeout_ns + DECISION_DELAY_NS {
                break;
            }
            if probe.state == State::Waiting {
                let sent_ns = probe.sent_ns;
                let (place, _) = self.target_and_sequence(serial);
                overdue.push((serial, self.targets[place], sent_ns));
            } else if at.now_ns < probe.reply_socket_ns + DECISION_DELAY_NS {
                break;
            }
            self.undecided += 1;
        }
        overdue
    }

    /// Returns the evidence about a probe so far.
    pub fn evidence(&self, serial: u64) -> ProbeEvidence {
        let Some(probe) = self.probes.get((serial - self.base) as usize) else {
            return ProbeEvidence::default();
        };
        ProbeEvidence {
            stamped: self.settings.stamped,
            scheduled: probe.scheduled_ns != 0,
            handed: probe.tx_software_ns != 0,
            out: (probe.request_wire_ns != 0).then_some(probe.request_ifindex),
            back: (probe.reply_wire_ns != 0)
                .then_some((probe.reply_ifindex, probe.reply_checksum_ok)),
        }
    }

    /// Decides a probe whose time is up, by the evidence and the state of the host.
    pub fn judge(
        &mut self,
        serial: u64,
        around: &HostContext,
        name: impl Fn(u32) -> String,
        at: &EventContext<'_>,
    ) {
        let verdict = judge(&self.evidence(serial), around, name);
        let mut event = self.measured(serial, verdict.fate, at);
        if event.fate != Fate::Replied {
            (event.rtt_ns, event.wake_ns) = (None, None);
        }
        if event.fate == Fate::Replied {
            // Measured on the wire alone.
            event.rtt_ns = self
                .probe(serial)
                .map(|probe| probe.reply_wire_ns - probe.sent_ns);
        }
        event.last_seen = Some(verdict.last_seen);
        self.decide(serial, event);
    }

    /// Reports answered probes once their sightings on the wire are complete or overdue.
    pub fn complete(&mut self, at: &EventContext<'_>) {
        while let Some(serial) = self.answered.front().copied() {
            let probe = (self.probes.get(serial.saturating_sub(self.base) as usize))
                .filter(|_| serial >= self.base);
            let Some(probe) = probe else {
                self.answered.pop_front();
                continue;
            };
            let seen = probe.request_wire_ns != 0 && probe.reply_wire_ns != 0;
            if !seen && at.now_ns < probe.reply_socket_ns + DECISION_DELAY_NS && !self.stopped {
                return;
            }
            let altered = probe.altered;
            self.answered.pop_front();
            let fate = if altered {
                Fate::Corrupted
            } else {
                Fate::Replied
            };
            let mut event = self.measured(serial, fate, at);
            if altered {
                event.last_seen =
                    Some("its reply reached the socket with a wrong checksum or payload".into());
            }
            self.decide(serial, event);
        }
    }

    fn event(&self, serial: u64, fate: Fate, clock: &Clock) -> Event {
        let (target, sequence) = self.target_and_sequence(serial);
        let sent_ns = (self.probes.get(serial.saturating_sub(self.base) as usize))
            .map_or(0, |probe| probe.sent_ns);
        Event {
            target: target as u32,
            sequence,
            time_ns: clock.wall(sent_ns),
            fate,
            replaces_fate: None,
            duplicate: false,
            from: None,
            ttl: None,
            rtt_ns: None,
            wire_rtt_ns: None,
            resolve_ns: None,
            queue_ns: None,
            wake_ns: None,
            error: None,
            errno: None,
            last_seen: None,
        }
    }

    /// Creates an event with all known times.
    fn measured(&self, serial: u64, fate: Fate, at: &EventContext<'_>) -> Event {
        let mut event = self.event(serial, fate, at.clock);
        let Some(probe) = self.probes.get(serial.saturating_sub(self.base) as usize) else {
            return event;
        };
        let target = self.targets[event.target as usize].address;
        let out = if probe.request_wire_ns != 0 {
            probe.request_wire_ns
        } else {
            probe.tx_software_ns
        };
        event.from = probe.from;
        event.ttl = probe.from.map(|_| probe.ttl);
        if probe.reply_socket_ns != 0 {
            event.rtt_ns = Some(probe.reply_socket_ns - probe.sent_ns);
            event.wake_ns = Some(probe.reply_read_ns.saturating_sub(probe.reply_socket_ns));
        }
        let back = if probe.reply_wire_ns != 0 {
            probe.reply_wire_ns
        } else {
            probe.reply_socket_ns
        };
        if out != 0 && back >= out {
            event.wire_rtt_ns = Some(back - out);
        }
        if probe.scheduled_ns != 0 && out >= probe.scheduled_ns {
            event.queue_ns = Some(out - probe.scheduled_ns);
        }
        if probe.request_wire_ns != 0 {
            let (sent, left) = (
                at.clock.wall(probe.sent_ns),
                at.clock.wall(probe.request_wire_ns),
            );
            let told = at
                .resolutions
                .waited_for(probe.request_ifindex, target, sent, left);
            event.resolve_ns = told.map(|told| match probe.scheduled_ns {
                0 => told - sent,
                scheduled => scheduled - probe.sent_ns,
            });
        }
        event
    }

    /// Records the fate of a probe and reports it.
    fn decide(&mut self, serial: u64, event: Event) {
        self.confirm_send(serial);
        let width = self.target_count();
        let started_ns = self.started_ns;
        let Some(probe) = self.probe(serial) else {
            return;
        };
        let before = probe.state;
        probe.state = State::Decided(event.fate);
        let sent_ns = probe.sent_ns;
        let stats = &mut self.stats[event.target as usize];
        stats.fates[event.fate as usize] += 1;
        if event.fate == Fate::Replied {
            if let Some(rtt) = event.rtt_ns {
                stats.rtt.add(rtt);
                stats.jitter.add(rtt);
            }
            if let Some(wire) = event.wire_rtt_ns {
                stats.wire.add(wire);
            }
            if event.sequence < stats.highest {
                stats.reordered += 1;
            }
            stats.highest = stats.highest.max(event.sequence);
        }
        let loss = stats.count_miss(&event);
        if let Some(loss) = loss.filter(|_| self.losses.len() < MAX_LOSSES) {
            self.losses.push(loss);
        }
        let stats = &mut self.stats[event.target as usize];
        if width <= 1024 && !matches!(before, State::Decided(_)) {
            let windows = &mut stats.more.get_or_insert_default().windows;
            windows.add(
                sent_ns.saturating_sub(started_ns),
                event.fate != Fate::Replied,
            );
        }
        if !self.settings.quiet {
            self.push_event(event);
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.events_dropped += 1;
        }
        self.events.push_back(event);
    }

    /// Drops probes that were decided long ago.
    pub fn forget(&mut self, now_ns: u64) {
        while let Some(probe) = self.probes.front() {
            let is_old = now_ns > probe.sent_ns + self.settings.timeout_ns + KEPT_NS;
            let is_too_much =
                self.probes.len() - self.in_flight().min(self.probes.len()) > MAX_KEPT_PROBES;
            if self.undecided <= self.base || !(is_old || is_too_much) {
                return;
            }
            self.probes.pop_front();
            self.base += 1;
        }
    }

    /// Stops the run; probes in flight are not counted.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Returns whether everything is reported. A run with lost probes waits a little for late
    /// replies.
    pub fn is_over(&self, now_ns: u64) -> bool {
        if self.stopped {
            return self.answered.is_empty();
        }
        if !self.is_sent(now_ns) || self.undecided < self.next() || !self.answered.is_empty() {
            return false;
        }
        let unanswered = self.probes.iter().rev().take(1024).any(|probe| {
            matches!(
                probe.state,
                State::Decided(Fate::Unanswered | Fate::DroppedInbound)
            ) && now_ns
                < probe.sent_ns
                    + self.settings.timeout_ns
                    + DECISION_DELAY_NS
                    + self.settings.timeout_ns.min(LINGER_NS)
        });
        !unanswered
    }

    /// Returns the next monotonic time at which there is work other than sending.
    pub fn next_deadline_ns(&self, now_ns: u64) -> Option<u64> {
        let overdue = (self
            .probes
            .get(self.undecided.saturating_sub(self.base) as usize))
        .map(|probe| probe.sent_ns + self.settings.timeout_ns + DECISION_DELAY_NS);
        let complete = self.answered.front().and_then(|serial| {
            let probe = self.probes.get(serial.saturating_sub(self.base) as usize)?;
            Some(probe.reply_socket_ns + DECISION_DELAY_NS)
        });
        let linger = (self.is_sent(now_ns) && overdue.is_none() && complete.is_none())
            .then_some(now_ns + 20_000_000);
        [overdue, complete, linger].into_iter().flatten().min()
    }
}

/// Context in which events are evaluated.
pub struct EventContext<'a> {
    /// Current monotonic time, in nanoseconds.
    pub now_ns: u64,
    /// Conversion of wall-clock stamps.
    pub clock: &'a Clock,
    /// Tokens of this engine.
    pub identity: &'a Identity,
    /// ARP and neighbor discovery on the wire.
    pub resolutions: &'a ResolutionTracker,
}
