//! PURE. A router: what it does with a packet, by its settings, any of which may change while it runs. Time is an argument.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::time::Duration;

use netsonde_core::probe::TokenBucket;

use super::errors::{self, Extras, Reason};
use super::packet::{ICMP, ICMPV6, Packet, TCP, UDP};

/// Direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the target.
    There,
    /// To the host.
    Back,
}

impl Way {
    fn opposite(self) -> Way {
        match self {
            Way::There => Way::Back,
            Way::Back => Way::There,
        }
    }
}

/// A neighbor of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// The host.
    Host,
    /// The target.
    Target,
    /// The router with this index.
    Router(usize),
}

/// Fields by which a router chooses among equal ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Addresses, protocol, and the ports of TCP and UDP.
    #[default]
    FiveTuple,
    /// Addresses.
    Addresses,
    /// Addresses, protocol, and the four bytes behind the IP header: ports, or type, code and checksum of ICMP.
    IcmpChecksum,
    /// None: every packet takes the next way.
    Packet,
}

/// Limit of the errors and replies that a router sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At once.
    pub burst: u32,
    /// A second after that, 1 or more.
    pub per_second: u64,
}

/// What becomes of the TTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// It is decremented, and ends at 0.
    #[default]
    Decrement,
    /// It is left as it is: the router does not show.
    Keep,
    /// It is decremented, and packets with a TTL of 0 are passed on.
    PassZero,
    /// It becomes this, if it has not ended.
    Set(u8),
}

/// MTU of the link to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtu {
    /// Longest packet in bytes.
    pub bytes: usize,
    /// MTU that the error for longer ones reports; `None` if there is no error. Not necessarily the right one.
    pub reported: Option<u32>,
}

/// What becomes of the addresses in errors that come back through an address translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quotes {
    /// The quoted packet is left as it was translated.
    #[default]
    Left,
    /// Its addresses are translated back, and the checksum of its transport is left.
    Addresses,
    /// All of it is translated back.
    Whole,
}

/// Address translation, for packets to the target and back. Addresses are those of IPv4 and IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Source that packets get.
    pub source: Option<[IpAddr; 2]>,
    /// Destination that packets get.
    pub destination: Option<[IpAddr; 2]>,
    /// Treatment of quoted packets.
    pub quotes: Quotes,
}

/// A rule that lets packets not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// IP protocol.
    pub protocol: u8,
    /// Destination port; `None` for all.
    pub port: Option<u16>,
    /// Whether an error says so.
    pub is_reported: bool,
}

/// Packets by what a router did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed on.
    pub forwarded: u64,
    /// Lost, as `loss` says.
    pub lost: u64,
    /// Dropped by a filter or for their length.
    pub refused: u64,
    /// Answers of its own.
    pub answered: u64,
    /// Answers that the limit did not let pass.
    pub limited: u64,
}

/// A router. By default it forwards, and answers everything.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its addresses: of IPv4 and IPv6.
    pub addresses: [IpAddr; 2],
    /// Neighbors to the target, and to the host: equal ways, if there are several.
    pub next: [Vec<Next>; 2],
    /// How it chooses among them.
    pub spread: Spread,
    /// Time for which it holds each packet.
    pub delay: Duration,
    /// Share of packets that do not arrive at it: to the target, and to the host.
    pub loss: [f64; 2],
    /// Whether it answers packets whose TTL ends there, and such that it does not let pass.
    pub sends_errors: bool,
    /// Whether it answers packets for itself.
    pub answers_echo: bool,
    /// Addresses from which it answers, if they are not its own.
    pub answers_from: Option<[IpAddr; 2]>,
    /// Limit of its errors.
    pub limit: Option<Limit>,
    /// TTL that its own packets start with.
    pub first_ttl: u8,
    /// Treatment of the TTL.
    pub ttl: Ttl,
    /// Type of service that it sets.
    pub tos: Option<u8>,
    /// Address translation.
    pub translation: Option<Translation>,
    /// MTU.
    pub mtu: Option<Mtu>,
    /// Filter.
    pub filter: Option<Filter>,
    /// What its errors have in addition.
    pub extras: Extras,
    /// What it did.
    pub counts: Counts,
    bucket: Option<(Limit, TokenBucket)>,
    /// Addresses before translation, by those after it.
    translated: HashMap<IpAddr, IpAddr>,
    random: u64,
}

/// A packet that leaves a router.
pub(super) type Leaving = (Packet, Way, Next);

impl Router {
    /// Creates a router.
    pub fn new(addresses: [IpAddr; 2]) -> Router {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Router {
            random: hasher.hash_one(addresses),
            addresses,
            next: [vec![], vec![]],
            spread: Spread::default(),
            delay: Duration::ZERO,
            loss: [0.0; 2],
            sends_errors: true,
            answers_echo: true,
            answers_from: None,
            limit: None,
            first_ttl: 64,
            ttl: Ttl::default(),
            tos: None,
            translation: None,
            mtu: None,
            filter: None,
            extras: Extras::default(),
            counts: Counts::default(),
            bucket: None,
            translated: HashMap::new(),
        }
    }

    /// Passes a packet. `usable`: the neighbors to choose from. Returns the packet that leaves, if any.
    pub(super) fn pass(
        &mut self,
        mut packet: Packet,
        way: Way,
        usable: &[Next],
        now_ns: u64,
    ) -> Option<Leaving> {
        if self.random() < self.loss[way as usize] {
            self.counts.lost += 1;
            return None;
        }
        if way == Way::Back {
            self.translate_back(&mut packet);
        }
        if self.addresses.contains(&packet.destination()) {
            return self.deliver(&packet, way, now_ns);
        }
        let ttl = packet.ttl();
        let has_ended = match self.ttl {
            Ttl::Keep => false,
            Ttl::PassZero => ttl == 0,
            Ttl::Decrement | Ttl::Set(_) => ttl <= 1,
        };
        if has_ended {
            return self.report(&packet, way, Reason::Expired, now_ns);
        }
        if let Some(reason) = self.refusal(&packet, way) {
            self.counts.refused += 1;
            return reason.and_then(|reason| self.report(&packet, way, reason, now_ns));
        }
        match self.ttl {
            Ttl::Keep => {}
            Ttl::Decrement | Ttl::PassZero => packet.set_ttl(ttl - 1),
            Ttl::Set(to) if way == Way::There => packet.set_ttl(to),
            Ttl::Set(_) => packet.set_ttl(ttl - 1),
        }
        if let Some(tos) = self.tos.filter(|_| way == Way::There) {
            packet.set_tos(tos);
        }
        let next = self.choose(&packet, usable)?;
        if way == Way::There {
            self.translate(&mut packet);
        }
        self.counts.forwarded += 1;
        Some((packet, way, next))
    }

    /// Returns whether a packet must not pass, and the error for it, if there is one.
    fn refusal(&self, packet: &Packet, way: Way) -> Option<Option<Reason>> {
        let is_filtered = self.filter.is_some_and(|filter| {
            filter.protocol == packet.protocol()
                && (filter.port.is_none() || filter.port == packet.port())
        });
        if is_filtered && way == Way::There {
            let is_reported = self.filter.is_some_and(|filter| filter.is_reported);
            return Some(is_reported.then_some(Reason::Prohibited));
        }
        let mtu = self
            .mtu
            .filter(|_| way == Way::There && packet.is_whole())?;
        let is_long = packet.bytes().len() > mtu.bytes;
        is_long.then_some(mtu.reported.map(Reason::TooBig))
    }

    /// Answers a packet for the router itself.
    fn deliver(&mut self, packet: &Packet, way: Way, now_ns: u64) -> Option<Leaving> {
        if !self.answers_echo || packet.is_error() {
            return None;
        }
        let from = self.own(packet, true);
        let ttl = self.first_ttl;
        let answer = match (packet.protocol(), packet.icmp_type()) {
            (ICMP, Some(8)) | (ICMPV6, Some(128)) => errors::echo_reply(packet, from, ttl),
            (TCP, _) => errors::reset(packet, from, ttl)?,
            (UDP, _) => return self.report(packet, way, Reason::PortUnreachable, now_ns),
            _ => return None,
        };
        self.counts.answered += 1;
        self.leave(answer, way.opposite())
    }

    /// Sends an error about a packet.
    fn report(&mut self, about: &Packet, way: Way, reason: Reason, now_ns: u64) -> Option<Leaving> {
        if !self.sends_errors || about.is_error() {
            return None;
        }
        if !self.may_answer(now_ns) {
            self.counts.limited += 1;
            return None;
        }
        self.counts.answered += 1;
        let from = (self.own(about, false), self.first_ttl);
        let error = errors::error(about, reason, from, &self.extras);
        self.leave(error, way.opposite())
    }

    /// Address from which it answers a packet.
    fn own(&self, about: &Packet, is_own_address: bool) -> IpAddr {
        let all = self.answers_from.filter(|_| !is_own_address);
        all.unwrap_or(self.addresses)[usize::from(!about.is_ipv4())]
    }

    fn leave(&mut self, packet: Packet, way: Way) -> Option<Leaving> {
        let next = self.next[way as usize].clone();
        let next = self.choose(&packet, &next)?;
        Some((packet, way, next))
    }

    fn may_answer(&mut self, now_ns: u64) -> bool {
        let Some(limit) = self.limit else {
            return true;
        };
        let full = || TokenBucket::with_depth(limit.per_second, limit.burst.into(), now_ns);
        let (known, bucket) = self.bucket.get_or_insert_with(|| (limit, full()));
        if *known != limit {
            (*known, *bucket) = (limit, full());
        }
        bucket.take(now_ns)
    }

    fn choose(&mut self, packet: &Packet, usable: &[Next]) -> Option<Next> {
        let count = usable.len();
        if count <= 1 {
            return usable.first().copied();
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let four = packet.payload().first_chunk::<4>();
        let ports = four.filter(|_| match self.spread {
            Spread::FiveTuple => matches!(packet.protocol(), TCP | UDP),
            Spread::IcmpChecksum => true,
            Spread::Addresses | Spread::Packet => false,
        });
        let ends = (self.addresses, packet.source(), packet.destination());
        let at = match self.spread {
            Spread::Packet => {
                self.counts.forwarded + self.counts.answered + u64::from(self.random() < 0.5)
            }
            Spread::Addresses => hasher.hash_one(ends),
            _ => hasher.hash_one((ends, packet.protocol(), ports)),
        };
        usable.get((at % count as u64) as usize).copied()
    }

    /// Next of a row of numbers below 1 that look random, and are the same in each run.
    fn random(&mut self) -> f64 {
        self.random = (self.random)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as f64 / f64::from(1u32 << 31)
    }

    fn translate(&mut self, packet: &mut Packet) {
        let Some(translation) = &self.translation else {
            return;
        };
        let at = usize::from(!packet.is_ipv4());
        if let Some(all) = translation.source {
            self.translated.insert(all[at], packet.source());
            packet.set_source(all[at], true);
        }
        if let Some(all) = translation.destination {
            self.translated.insert(all[at], packet.destination());
            packet.set_destination(all[at], true);
        }
    }

    fn translate_back(&self, packet: &mut Packet) {
        let Some(translation) = &self.translation else {
            return;
        };
        if let Some(before) = self.translated.get(&packet.destination()) {
            packet.set_destination(*before, true);
        }
        if let Some(before) = self.translated.get(&packet.source()) {
            packet.set_source(*before, true);
        }
        if packet.is_error() && translation.quotes != Quotes::Left {
            let has_checksum = translation.quotes == Quotes::Whole;
            packet.change_quote(|quote| {
                if let Some(before) = self.translated.get(&quote.source()) {
                    quote.set_source(*before, has_checksum);
                }
                if let Some(before) = self.translated.get(&quote.destination()) {
                    quote.set_destination(*before, has_checksum);
                }
            });
        }
    }
}
