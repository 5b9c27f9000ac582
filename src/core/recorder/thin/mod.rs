//! PURE. Thinning: which packets a store keeps when it cannot keep all and still reach back as far as
//! `recorder.retention` promises.
//!
//! A store admits at most its size within any interval of its target (`pace`), so whatever comes, the packets of
//! that interval are there. While the traffic fits, every packet is kept, and none of the tables is consulted.
//! When it does not fit, these are kept, in this order:
//!
//! 1. what concerns this host (`concern`): its gateways and queriers, then its own addresses and groups. One
//!    conversation gets [`QUOTA`] packets a second of this, so that a flood to this host is not kept whole;
//! 2. the first [`FIRST_PACKETS`] packets of each conversation, and again after [`SILENCE_S`] seconds of silence;
//!    of TCP also later segments with SYN, FIN or RST;
//! 3. of the rest a sample, 1 of N with N a power of two. N follows the rate of each conversation, so that a large
//!    one does not crowd out small ones: the largest number of packets that one conversation may have kept in a
//!    second (the *quota* of the store) is halved until the sample fits. Conversations that are not in the table
//!    count as one: a flood of ever new senders becomes a sample of itself.
//!
//! Echo requests of this service and their replies are counted, not kept, above [`PROBES_WHOLE`] packets a second:
//! 1 of 64 probes is kept with its reply, or fewer if the store's share for probes requires it. Those whose fate is
//! not a reply in time are kept as soon as it is known, with their neighbors in time.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the rules |
//! | `pace` | how many bytes a store admits, by purpose |
//! | `conversations` | bounded table of conversations |
//! | `concern` | addresses that concern this host |
//! | `held` | packets of own probes whose fate is not known yet |

mod concern;
mod conversations;
mod held;
mod pace;

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::quality::RandomState;

pub use concern::Concern;
use concern::Concerns;
use conversations::{Conversation, Conversations, WAYS};
pub use held::HeldProbes;
pub use pace::Pace;
use pace::{Bucket, Limits};

use super::class::{Store, TCP_CONNECTION_FLAGS};
use crate::talkers::Flow;
use crate::wire::glance::{Glance, ip_protocol};

const SECOND: u64 = 1_000_000_000;
/// Packets at the beginning of a conversation that are kept: a handshake of any protocol in use, with TLS and the
/// first request.
pub const FIRST_PACKETS: u8 = 24;
/// Seconds of silence after which a conversation begins again.
pub const SILENCE_S: u16 = 30;
/// Packets per second of one conversation that are kept because they concern this host, and segments with SYN, FIN
/// or RST: more than a handshake, a resolution or a querier has, and nothing to a flood.
pub const QUOTA: u32 = 32;
/// Echo requests and replies of this service per second up to which they are kept like other packets: those of a
/// hundred probes.
pub const PROBES_WHOLE: u32 = 200;
/// Of more probes, 1 of 2^6 is kept.
const PROBE_SHIFT: u8 = 6;
/// Step back of the clock, in seconds, after which the tables start anew; less is reordering of packets.
const MAX_REORDER_S: u64 = 5;
/// Time between two looks at a sample that runs out of tokens, in nanoseconds: long enough for a reduction to take
/// effect, short enough that a flood has its rate within a fraction of a second.
const REDUCE_NS: u64 = 50_000_000;

/// Sets of conversations, of 64 bytes each: those of gateways and queriers, those of this host, and all others. A
/// thousand conversations of this host share theirs without evicting each other.
const SETS: [usize; 3] = [128, 2048, 8192];
/// Conversations that the tables hold, in 648 KiB.
pub const CONVERSATIONS: usize = WAYS * (SETS[0] + SETS[1] + SETS[2]);

/// A packet whose fate in the record is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Store of the packet.
    pub store: Store,
    /// Kernel time stamp, nanoseconds since 1970.
    pub time_ns: u64,
    /// Bytes that it takes in the store.
    pub cost: u32,
    /// Flow of the packet.
    pub flow: &'a Flow,
    /// Header fields of the packet.
    pub seen: &'a Glance,
    /// Sender on the link; 0 if unknown.
    pub station: u64,
    /// Token of the probe, for echo requests and replies of this service.
    pub probe: Option<[u8; 12]>,
    /// How much it concerns this host at least, whatever its addresses.
    pub least: Concern,
    /// Whether flow and store are those of the packet decided on before.
    pub is_next: bool,
}

/// Fate of a packet in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is kept, as one of 2^n packets that it stands for; n is 0 if it stands for itself.
    Keep(u8),
    /// It is counted only.
    Thin,
}

/// State of one store beside its [`Pace`]: lost with the engine, and found again within a second.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    /// Second that the following belong to.
    second: u32,
    /// Most packets of one conversation in this second and in the one before.
    busiest: [u32; 2],
    /// Time of the last look at the sample; packets that it selected since, and those of them that it had no tokens
    /// for.
    looked_ns: u64,
    selected: u32,
    refused: u32,
    /// Time of the last reduction for probes.
    probe_reduced_ns: u64,
    /// Conversations that are not in the table.
    newcomers: Conversation,
}

/// The flow of the last packet of `bulk` or `connections`.
struct LastFlow {
    /// Whether it is that of the packet decided on before.
    is_current: bool,
    store: u8,
    flow: Flow,
    hash: u64,
    concern: Concern,
}

impl LastFlow {
    const NONE: LastFlow = LastFlow {
        is_current: false,
        store: u8::MAX,
        flow: Flow::NONE,
        hash: 0,
        concern: Concern::None,
    };
}

impl Control {
    /// Reduces the quota as far as the sample had no tokens for what it selected.
    #[cold]
    fn look(&mut self, pace: &mut Pace, time_ns: u64) {
        if self.refused > 0 {
            let kept = (self.selected - self.refused).max(1);
            let steps = log2_ceil(self.selected / kept).max(1) as u32;
            let busiest = self.busiest[0].max(self.busiest[1]);
            pace.tighten(log2_ceil(busiest), steps);
        }
        (self.looked_ns, self.selected, self.refused) = (time_ns, 0, 0);
    }
}

/// Decides which packets the stores keep.
pub struct Thinner {
    limits: [Option<Limits>; 7],
    control: [Control; 7],
    tables: [Conversations; 3],
    concerns: Concerns,
    last: LastFlow,
    /// Key of the conversations: the wire must not choose which of them collide.
    hasher: RandomState,
    /// Latest second.
    now_s: u32,
    probes: Conversation,
}

impl Default for Thinner {
    fn default() -> Thinner {
        Thinner {
            limits: [None; 7],
            control: [Control::default(); 7],
            tables: SETS.map(Conversations::new),
            concerns: Concerns::default(),
            last: LastFlow::NONE,
            hasher: RandomState::default(),
            now_s: 0,
            probes: Conversation::default(),
        }
    }
}

impl Thinner {
    /// Sets the targets of the stores, in nanoseconds; 0 for none. `usable` bytes of each store are never evicted
    /// while it admits that many, and a record takes at most `largest` bytes.
    pub fn set_targets(&mut self, targets_ns: [u64; 7], usable: [u64; 7], largest: [u64; 7]) {
        for (at, limits) in self.limits.iter_mut().enumerate() {
            let new = || Limits::new(usable[at], largest[at], targets_ns[at]);
            *limits = (targets_ns[at] > 0).then(new);
        }
    }

    /// Sets the addresses that concern this host: its own with its groups, and those of its gateways and queriers.
    pub fn set_concerns(
        &mut self,
        own: impl IntoIterator<Item = IpAddr>,
        key: impl IntoIterator<Item = IpAddr>,
    ) {
        self.concerns.set(own, key);
        self.last = LastFlow::NONE;
    }

    /// Returns the number of active conversations that were evicted from the tables by others.
    pub fn displaced(&self) -> u64 {
        self.tables.iter().map(|table| table.displaced).sum()
    }

    /// Decides on a packet, and charges it to the pace of its store.
    #[inline]
    pub fn decide(&mut self, pace: &mut Pace, packet: &Candidate<'_>) -> Decision {
        let Some(limits) = &self.limits[packet.store as usize] else {
            return Decision::Keep(0);
        };
        self.last.is_current &= packet.is_next;
        pace.advance(limits, packet.time_ns);
        if packet.probe.is_none() && pace.take_of_plenty(limits, packet.cost) {
            return Decision::Keep(0);
        }
        self.decide_under_pressure(pace, packet)
    }

    /// Charges a packet of a probe whose fate is not a reply in time. Returns `false` if it stays thinned.
    pub fn keep_probe(&mut self, pace: &mut Pace, cost: u32) -> bool {
        let order = [Bucket::Key, Bucket::Own, Bucket::Probe, Bucket::First];
        order.into_iter().any(|bucket| pace.take(bucket, cost))
    }

    fn decide_under_pressure(&mut self, pace: &mut Pace, packet: &Candidate<'_>) -> Decision {
        self.advance(packet.time_ns);
        let at = packet.store as usize;
        if packet.probe.is_some() || self.control[at].second != self.now_s {
            let decision = self.prepare(pace, packet);
            if let Some(decision) = decision {
                return decision;
            }
        }
        let (hash, concern) = self.conversation(packet);
        let table = &mut self.tables[2 - concern as usize];
        let (conversation, is_new) = table.find(hash, self.now_s);
        let count = conversation.count;
        let cost = packet.cost;
        if concern == Concern::Key && count <= QUOTA && pace.take(Bucket::Key, cost) {
            return Decision::Keep(0);
        }
        if concern != Concern::None && count <= QUOTA && pace.take(Bucket::Own, cost) {
            return Decision::Keep(0);
        }
        let is_marked = packet.seen.ip_protocol == ip_protocol::TCP
            && packet.seen.tcp_flags & TCP_CONNECTION_FLAGS != 0
            && count <= QUOTA;
        if (conversation.firsts < FIRST_PACKETS || is_marked) && pace.take(Bucket::First, cost) {
            conversation.firsts = conversation.firsts.saturating_add(1);
            return Decision::Keep(0);
        }
        // Newcomers share their number: each of a million senders would otherwise count as much as a conversation.
        let control = &mut self.control[at];
        let (busy, phase) = if is_new {
            control.newcomers.touch(self.now_s);
            (control.newcomers.busy(), 0)
        } else {
            // Another start in each second, or a slow conversation would always or never be selected.
            let start = self.now_s.wrapping_mul(0x9e37_79b9);
            (conversation.busy(), start.wrapping_add(count))
        };
        control.busiest[0] = control.busiest[0].max(busy);
        let shift = (log2_ceil(busy) - pace.quota_log2()).clamp(0, 31) as u8;
        let selected = ((hash >> 20) as u32).wrapping_add(phase) & ((1 << shift) - 1) == 0;
        let mut decision = Decision::Thin;
        if selected {
            control.selected += 1;
            if pace.take(Bucket::Sample, cost) {
                decision = Decision::Keep(shift);
            } else {
                control.refused += 1;
            }
        }
        if packet.time_ns.wrapping_sub(control.looked_ns) >= REDUCE_NS {
            control.look(pace, packet.time_ns);
        }
        decision
    }

    /// What is not needed for each packet: probes of this service, and the begin of a second.
    #[cold]
    fn prepare(&mut self, pace: &mut Pace, packet: &Candidate<'_>) -> Option<Decision> {
        let at = packet.store as usize;
        let limits = self.limits[at]?;
        if let Some(token) = &packet.probe {
            let decision = self.probe(pace, &limits, packet, token);
            if decision.is_some() {
                return decision;
            }
            if pace.take_of_plenty(&limits, packet.cost) {
                return Some(Decision::Keep(0));
            }
        }
        if self.control[at].second != self.now_s {
            self.begin_second(pace, &limits, at);
        }
        None
    }

    /// Decides on a packet of a probe of this service; `None` if it is kept like others.
    fn probe(
        &mut self,
        pace: &mut Pace,
        limits: &Limits,
        packet: &Candidate<'_>,
        token: &[u8; 12],
    ) -> Option<Decision> {
        self.probes.touch(self.now_s);
        if self.probes.count == 1 {
            pace.relax_probes(limits);
        }
        if self.probes.busy() <= PROBES_WHOLE {
            return None;
        }
        let control = &mut self.control[packet.store as usize];
        let shift = PROBE_SHIFT + pace.probe_tightness();
        // A reply has the token of its request, so both are kept.
        if self.hasher.hash_one(token) & ((1 << shift) - 1) != 0 {
            return Some(Decision::Thin);
        }
        if pace.take(Bucket::Probe, packet.cost) {
            return Some(Decision::Keep(shift));
        }
        if packet.time_ns.wrapping_sub(control.probe_reduced_ns) >= SECOND / 10 {
            control.probe_reduced_ns = packet.time_ns;
            pace.tighten_probes();
        }
        Some(Decision::Thin)
    }

    /// Once per second and store under pressure: adapts the quota to what the last second admitted.
    fn begin_second(&mut self, pace: &mut Pace, limits: &Limits, at: usize) {
        let control = &mut self.control[at];
        let is_next = self.now_s.wrapping_sub(control.second) == 1;
        control.second = self.now_s;
        control.busiest = [0, if is_next { control.busiest[0] } else { 0 }];
        pace.adapt(limits, log2_ceil(control.busiest[1]));
    }

    fn advance(&mut self, time_ns: u64) {
        let second = time_ns / SECOND;
        if second + MAX_REORDER_S < u64::from(self.now_s) {
            // The clock was set back.
            self.tables = SETS.map(Conversations::new);
            self.control = [Control::default(); 7];
            self.probes = Conversation::default();
            self.now_s = second as u32;
        }
        self.now_s = self.now_s.max(second as u32);
    }

    /// Returns the keyed hash of the conversation of a packet, and how much it concerns this host. A conversation is
    /// flow and direction in `bulk` and `connections`, the peer and the kind of packet in the others.
    #[inline]
    fn conversation(&mut self, packet: &Candidate<'_>) -> (u64, Concern) {
        let flow = packet.flow;
        if !matches!(packet.store, Store::Bulk | Store::Connections) {
            let concern = self.concerns.of(flow).max(packet.least);
            return (self.conversation_of_peer(packet), concern);
        }
        // Packets of a large flow follow each other.
        let last = &mut self.last;
        if last.is_current || last.store == packet.store as u8 && last.flow == *flow {
            last.is_current = true;
            return (last.hash, last.concern);
        }
        let hash = self.hasher.hash_one((packet.store as u8, flow));
        let concern = self.concerns.of(flow).max(packet.least);
        self.last = LastFlow {
            is_current: true,
            store: packet.store as u8,
            flow: *flow,
            hash,
            concern,
        };
        (hash, concern)
    }

    fn conversation_of_peer(&self, packet: &Candidate<'_>) -> u64 {
        let (flow, seen) = (packet.flow, packet.seen);
        let [source, destination] = flow.ends();
        let peer = if flow.is_outbound() {
            destination
        } else {
            source
        };
        // The sender of a link may claim any address; elsewhere the router in between is of no interest.
        let is_of_link = packet.store == Store::Link || peer == [0; 2];
        let station = if is_of_link { packet.station } else { 0 };
        // The port of the service is the lower one.
        let port = flow.source_port.min(flow.destination_port);
        let kind = if seen.transport == 0 {
            0
        } else {
            seen.icmp_type
        };
        let kind = (flow.ethertype, flow.protocol, port, kind);
        let way = (packet.store as u8, flow.ifindex, flow.is_outbound());
        self.hasher.hash_one((way, peer, station, kind))
    }
}

/// Returns the exponent of the smallest power of two that is at least `number`.
fn log2_ceil(number: u32) -> i32 {
    (u32::BITS - number.saturating_sub(1).leading_zeros()) as i32
}

#[cfg(test)]
mod tests;
