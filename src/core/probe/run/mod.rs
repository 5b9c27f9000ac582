//! PURE. One probe run: targets, schedule, probes in flight and statistics.
//!
//! All targets are probed in turn, round after round. The serial number of a probe gives its target and
//! sequence number and the reverse, and probes lie in the order in which they were sent, so no probe
//! needs a timer or a map entry.
//!
//! | file | contents |
//! |---|---|
//! | `schedule` | when probes are due, and when sending pauses |
//! | `replies` | stamps, sightings, replies and errors, matched to probes |
//! | `segments` | probes by TCP and UDP |
//! | `cookies` | probes by cookie, for replies from other addresses |
//! | `cost` | memory that a run may take |
//! | `decisions` | fates, events |
//! | `listed` | runs whose probes are listed one by one, with a hop limit and a flow each |
//! | `packed` | fates as entries of fixed size |
//! | `stats` | statistics of targets and responders |
//! | `remarks` | what the probes of a target show together |

mod cookies;
mod cost;
mod decisions;
mod listed;
mod packed;
mod remarks;
mod replies;
mod schedule;
mod segments;
mod stats;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::Clock;
use super::fate::Fate;
use super::identity::{Identity, TOKEN};
use super::neighbors::ResolutionTracker;
use super::sight::{Echo, Quoted};
use super::transport::Transport;
use crate::wire::extensions::Extensions;

pub use listed::{ListedProbe, MAX_LISTED, Probes};
pub use remarks::{OtherSources, Refusals, Remark};
pub use segments::{HeardDatagram, SeenSegment};
pub use stats::{ExtendedStats, Loss, Responder, TargetStats, UNRESPONSIVE_AFTER};

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
/// run pauses, or withholds those whose way is blocked. The socket's buffer has room for about twice as
/// many, which other runs share.
pub const MAX_STUCK_PROBES: usize = 192;
/// Age from which a probe without a sighting on the wire is stuck: the 20 ms of the rings, with a
/// margin.
const STUCK_AFTER_NS: u64 = 50_000_000;
/// Age from which a probe is no longer stuck, but gone: the kernel asks for a neighbor three times, one
/// second apart.
pub const STUCK_FOR_NS: u64 = 3_100_000_000;
/// Maximum number of probes of one run that may wait for one neighbor's link-layer address. The
/// kernel keeps about 270 small packets per neighbor (unres_qlen_bytes, arp(7)), drops the oldest
/// beyond that, and other runs share them. This is also the number sent before the wire has shown
/// anything of a run, since a request for the next hop's address is seen up to 20 ms later.
const MAX_UNRESOLVED_PER_HOP: usize = 64;
/// Maximum number of responders tracked per group or broadcast address.
const MAX_RESPONDERS: usize = 4096;
/// Maximum number of responders tracked per run, about 3 KB each.
const MAX_RESPONDERS_PER_RUN: usize = 8192;
/// Maximum number of targets of a run with loss windows, and with histograms of full precision: as many as
/// are looked at one by one.
const MAX_TARGETS_WITH_WINDOWS: usize = 1024;
/// Maximum number of events waiting for a slow client, if there is memory for as many; beyond that the
/// oldest are dropped and counted.
pub const MAX_EVENTS: usize = 65_536;
/// Maximum number of pending loss reports. When a whole network fails, a few hundred targets are
/// enough.
const MAX_LOSSES: usize = 256;
/// Maximum number of probes pending for the record: more than are decided in an iteration. Packets of others stay
/// thinned.
const MAX_NOTABLE: usize = 4096;
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
    /// Protocol of the probes.
    pub transport: Transport,
    /// Payload size in bytes, after the echo or UDP header; 0 for TCP.
    pub size: usize,
    /// Pattern that fills the payload; empty for the filler of ping.
    pub pattern: Vec<u8>,
    /// Send each probe as soon as the previous one is answered.
    pub flood: bool,
    /// Maximum rate of this run, in probes per second.
    pub rate: u64,
    /// Spread the probes of a round over the interval, instead of sending them at the maximum rate.
    pub spread: bool,
    /// Emit no events, only statistics.
    pub quiet: bool,
    /// Make an entry of every probe, and emit events of those only that were not replied.
    pub packed: bool,
    /// Request the kernel's send stamps.
    pub stamped: bool,
    /// Record every packet of the run, as far as there is room.
    pub is_evidence: bool,
    /// The probes, if they are listed one by one: there is one target then.
    pub listed: Option<Probes>,
}

#[cfg(test)]
impl Settings {
    /// Options of a run of tests: without an end, each second.
    fn of_test() -> Settings {
        Settings {
            count: None,
            interval_ns: 1_000_000_000,
            timeout_ns: 1_000_000_000,
            deadline_ns: None,
            transport: Transport::Echo,
            size: 56,
            pattern: vec![],
            flood: false,
            rate: 10_000,
            spread: false,
            quiet: false,
            packed: false,
            stamped: false,
            is_evidence: false,
            listed: None,
        }
    }
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
    /// Time right before it was sent; within a batch an estimate, which the wire makes better.
    sent_ns: u64,
    /// Time right before the send call of the batch: `sent_ns` is not earlier.
    batch_ns: u64,
    /// Duration of that call, in nanoseconds.
    call_ns: u32,
    scheduled_ns: u64,
    tx_software_ns: u64,
    request_wire_ns: u64,
    request_ifindex: u32,
    /// Whether the request left in fragments.
    is_fragmented: bool,
    reply_wire_ns: u64,
    reply_ifindex: u32,
    reply_checksum_ok: Option<bool>,
    reply_socket_ns: u64,
    reply_read_ns: u64,
    ttl: u8,
    altered: bool,
    /// Never passed to the kernel.
    is_withheld: bool,
    /// Nothing has shown yet that it left or never will.
    is_unconfirmed: bool,
    /// Whether the reply on the wire is a RST.
    is_reset: bool,
    /// Identification of its IPv4 packet, of a segment or datagram that was seen leaving.
    ip_id: Option<u16>,
    from: Option<IpAddr>,
    /// Error that answered a listed probe, until it is reported.
    refusal: Option<Box<(Quoted, Extensions)>>,
}

impl Probe {
    /// Returns the time of sending: the estimate, unless the probe was seen before. On a fast path, a reply
    /// comes before the send call for its batch returns.
    fn sent_at(&self) -> u64 {
        let seen = [self.scheduled_ns, self.tx_software_ns, self.request_wire_ns];
        let first = seen.into_iter().filter(|ns| *ns != 0).min();
        match first {
            Some(first) => self.sent_ns.min(first),
            None if self.reply_socket_ns != 0 && self.reply_socket_ns <= self.sent_ns => {
                self.batch_ns
            }
            None => self.sent_ns,
        }
    }

    /// Returns when the reply or error was first seen: at the socket, or else on the wire.
    fn heard_ns(&self) -> u64 {
        match self.reply_socket_ns {
            0 => self.reply_wire_ns,
            ns => ns,
        }
    }

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
            && self.sent_ns + STUCK_FOR_NS > now_ns
            && !gone
            && !self.is_withheld
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
    /// Extensions of the error, of a listed probe.
    pub extensions: Option<Box<Extensions>>,
    /// Whether a RST refused the connection.
    pub is_reset: bool,
    /// Error number of the send call.
    pub errno: Option<i32>,
    /// Description of the last sighting.
    pub last_seen: Option<String>,
    /// Whether the request left this host in fragments.
    pub is_fragmented: bool,
    /// The way of a lost probe out of this host.
    pub way: Option<Way>,
}

/// The way of a probe out of this host, by its routing tables and links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Name of the outgoing interface.
    pub interface: String,
    /// Router, or the target itself.
    pub next_hop: Option<IpAddr>,
    /// Why no packet can cross the interface, in words that follow its name.
    pub link_problem: Option<&'static str>,
    /// What is wrong with the next hop of a probe that left, in words.
    pub hop_problem: Option<String>,
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
    /// Hop limit and ICMP checksum of a listed probe.
    pub special: Option<(u8, u16)>,
    /// Number of its flow, of probes by TCP and UDP.
    pub flow: usize,
}

/// An ICMP error that was received.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedError<'a> {
    /// Its source.
    pub from: IpAddr,
    /// Whether this host itself sent it.
    pub is_local: bool,
    /// Index of the incoming interface.
    pub ifindex: u32,
    /// What it says and quotes.
    pub quoted: &'a Quoted,
    /// Wall-clock time at which it came, in nanoseconds since 1970; 0 if it is missing.
    pub stamp_ns: u64,
    /// The whole message, if a socket received it; `None` if it was seen on the wire.
    pub message: Option<&'a [u8]>,
}

/// One probe run.
#[derive(Debug)]
pub struct Run {
    /// Number of the run, unique within this engine.
    pub number: u64,
    /// Identifier of its echo requests.
    pub id: u16,
    /// Flow before that of the first probe, of probes by TCP and UDP.
    pub first_flow: usize,
    /// Options of the run.
    pub settings: Settings,
    /// Targets, without duplicates.
    pub targets: Vec<Target>,
    /// Statistics, one entry per target.
    pub stats: Vec<TargetStats>,
    cookies: cookies::CookieIndex,
    segments: segments::SegmentIndex,
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
    /// Monotonic time at which these were checked, in nanoseconds.
    stuck_checked_ns: u64,
    /// Number of probes of which nothing has shown that they left or never will.
    unconfirmed_sends: usize,
    stopped: bool,
    /// Number of tracked responders of all targets.
    responder_count: usize,
    /// Pending events.
    pub events: VecDeque<Event>,
    /// Number of events that may be pending, from [`Settings::event_room`] to [`MAX_EVENTS`].
    pub event_room: usize,
    /// Entries for the reader of packed fates; `None` if there is none.
    packed: Option<packed::PackedFates>,
    /// Events dropped because the client did not read them in time.
    pub events_dropped: u64,
    /// Pending reports of targets that stopped answering or answer again, at most a few hundred.
    pub losses: Vec<Loss>,
    /// Target and sequence number of probes whose packets belong in the record, since they were not simply answered in
    /// time: pending, at most a few thousand.
    pub notable: Vec<(u32, u32)>,
    /// Replies with this run's identifier that are not answers: a wrong cookie, or one that is
    /// incomplete and from another address than the target's.
    pub forged: u64,
    /// Valid replies to probes that are no longer kept.
    pub stray: u64,
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
            first_flow: 0,
            event_room: settings.event_room(targets.len() as u64),
            packed: settings.packed.then(|| {
                let room = settings.packed_room(targets.len() as u64);
                packed::PackedFates::new(targets.len(), room as usize)
            }),
            settings,
            stats: vec![TargetStats::default(); targets.len()],
            targets,
            cookies: Default::default(),
            segments: Default::default(),
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
            stuck_checked_ns: 0,
            unconfirmed_sends: 0,
            stopped: false,
            responder_count: 0,
            events: VecDeque::new(),
            events_dropped: 0,
            losses: Vec::new(),
            notable: Vec::new(),
            forged: 0,
            stray: 0,
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

    /// Returns the target of a probe.
    pub fn target_of(&self, serial: u64) -> Target {
        self.targets[self.target_and_sequence(serial).0]
    }

    fn probe(&mut self, serial: u64) -> Option<&mut Probe> {
        let at = serial.checked_sub(self.base)?;
        self.probes.get_mut(at as usize)
    }

    /// Returns the number of probes in flight.
    pub fn in_flight(&self) -> usize {
        (self.next() - self.undecided) as usize
    }

    /// Takes note of a probe whose packets belong in the record.
    fn note(&mut self, target: u32, sequence: u32) {
        if self.notable.len() < MAX_NOTABLE {
            self.notable.push((target, sequence));
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= self.event_room {
            self.events.pop_front();
            self.events_dropped += 1;
        }
        self.events.push_back(event);
    }

    /// Stops the run; probes in flight are not counted.
    pub fn stop(&mut self) {
        self.stopped = true;
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
