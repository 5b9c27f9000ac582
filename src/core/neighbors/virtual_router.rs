//! PURE. Virtual routers on a link, and the routers that advertise themselves as their master: VRRP
//! (RFC 3768, RFC 9568), HSRP version 1 (RFC 2281) and 2, and CARP.
//!
//! One router at a time is the master. Another one takes over when the master resigns, when its own
//! priority is higher, or when it has not heard the master for three intervals; the former one then stops.
//! There are two masters when both continue to advertise in turn.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::quality::RandomState;

use crate::wire::cursor::{Cursor, Mac};
use crate::wire::glance::{Glance, ethertype, ip_protocol};

/// UDP ports of HSRP, and of HSRP for IPv6.
const HSRP_PORTS: [u16; 2] = [1985, 2029];
/// Maximum number of virtual routers per link, in at most 64 KiB: a busy link has a few dozen. More are a
/// flood.
const MAX_PER_LINK: usize = 128;
/// Maximum number of routers tracked per virtual router; two are usual.
const MAX_MASTERS: usize = 4;
/// Maximum number of virtual addresses kept per virtual router; more are rare, and only for information.
const MAX_ADDRESSES: usize = 8;
/// Maximum number of TLVs parsed per HSRP version 2 message; routers send one to three.
const MAX_TLVS: usize = 16;
/// Intervals without an advertisement after which a router is no longer the master (RFC 9568, section 6.1:
/// Active_Down_Interval is three intervals and a part of one).
const MISSED: u64 = 4;
/// Intervals without an advertisement that are a pause, after which turns are counted from zero.
const PAUSE: u64 = 2;
/// Time after [`MISSED`] intervals for which two masters are still reported: packets are read in blocks.
const REPORT_SLACK_NS: u64 = 2_000_000_000;
/// Shortest and longest interval that is believed: VRRP version 3 has hundredths of a second, CARP 255 s.
const INTERVALS_NS: (u64, u64) = (10_000_000, 255_000_000_000);
/// Turns of two masters that are a conflict. A router that takes over may cross with one or two
/// advertisements of the former master, and both stop within an interval.
const MIN_TURNS: u32 = 4;
/// An ended conflict stays visible for 24 hours, as those of addresses do.
const VISIBLE_NS: u64 = 24 * 3600 * 1_000_000_000;

/// Protocol of a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Virtual Router Redundancy Protocol.
    Vrrp,
    /// Hot Standby Router Protocol.
    Hsrp,
    /// Common Address Redundancy Protocol.
    Carp,
}

impl Protocol {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Vrrp => "VRRP",
            Protocol::Hsrp => "HSRP",
            Protocol::Carp => "CARP",
        }
    }

    /// Returns the name of the number that decides the election: the highest priority wins, or the lowest
    /// advskew.
    pub fn rank_name(self) -> &'static str {
        match self {
            Protocol::Carp => "advskew",
            _ => "priority",
        }
    }
}

/// Identity of a virtual router on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualRouterId {
    /// Its protocol.
    pub protocol: Protocol,
    /// VRID, group or VHID.
    pub number: u16,
    /// Whether it serves IPv6.
    pub is_ipv6: bool,
}

impl VirtualRouterId {
    /// Returns whether this is its virtual MAC address (RFC 9568, section 7.3, and its counterparts).
    pub fn uses(self, mac: Mac) -> bool {
        let [high, low] = self.number.to_be_bytes();
        match (self.protocol, self.is_ipv6) {
            (Protocol::Vrrp, false) => mac.0 == [0, 0, 0x5e, 0, 1, low],
            (Protocol::Vrrp, true) => mac.0 == [0, 0, 0x5e, 0, 2, low],
            (Protocol::Carp, _) => mac.0 == [0, 0, 0x5e, 0, 1, low],
            (Protocol::Hsrp, false) => {
                mac.0 == [0, 0, 0x0c, 7, 0xac, low] && high == 0
                    || mac.0 == [0, 0, 0x0c, 0x9f, 0xf0 | high, low]
            }
            (Protocol::Hsrp, true) => mac.0 == [0, 5, 0x73, 0xa0, high, low],
        }
    }
}

impl std::fmt::Display for VirtualRouterId {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.is_ipv6 { " for IPv6" } else { "" };
        write!(to, "{} {}{family}", self.protocol.name(), self.number)
    }
}

/// An advertisement of a virtual router.
#[derive(Clone, Debug, PartialEq)]
pub struct Advertisement {
    /// The virtual router.
    pub id: VirtualRouterId,
    /// Address of the sender.
    pub source: IpAddr,
    /// Source of the frame.
    pub mac: Mac,
    /// Whether the sender is the master and goes on: not if it resigns, or is a standby.
    pub is_master: bool,
    /// Priority or advskew.
    pub rank: u32,
    /// Interval between advertisements, in nanoseconds.
    pub interval_ns: u64,
    /// Virtual addresses, if the protocol names them.
    pub addresses: Vec<IpAddr>,
}

impl Advertisement {
    /// Returns whether the packet is of one of the protocols.
    #[inline]
    pub fn is_one(glance: &Glance) -> bool {
        let is_hsrp =
            glance.ip_protocol == ip_protocol::UDP && HSRP_PORTS.contains(&glance.destination_port);
        glance.transport != 0 && (is_hsrp || glance.ip_protocol == ip_protocol::VRRP)
    }

    /// Parses the advertisement in a frame, if it is a whole and valid one. Receivers drop those that a
    /// router forwarded (TTL 255, or 1 for HSRP over IPv4).
    pub fn read(bytes: &[u8], glance: &Glance) -> Option<Advertisement> {
        if !Advertisement::is_one(glance) {
            return None;
        }
        let is_hsrp = glance.ip_protocol == ip_protocol::UDP;
        let header = bytes.get(glance.network..)?;
        let is_ipv6 = glance.ethertype == ethertype::IPV6;
        let word = |at: usize| {
            let pair = header.get(at..at + 2)?;
            Some(usize::from(u16::from_be_bytes([pair[0], pair[1]])))
        };
        let (length, ttl) = match is_ipv6 {
            true => (word(4)? + 40, *header.get(7)?),
            false => (word(2)?, *header.get(8)?),
        };
        let message = bytes.get(glance.transport..glance.network + length)?;
        let mut at = Cursor::new(header, 0);
        at.skip(if is_ipv6 { 8 } else { 12 }).ok()?;
        let source = match is_ipv6 {
            true => at.ipv6().ok()?.into(),
            false => at.ipv4().ok()?.into(),
        };
        let mac = Mac(bytes.get(6..12)?.try_into().ok()?);
        let blank = |protocol| Advertisement {
            id: VirtualRouterId {
                protocol,
                number: 0,
                is_ipv6,
            },
            source,
            mac,
            is_master: true,
            rank: 0,
            interval_ns: 0,
            addresses: vec![],
        };
        let mut found = match (is_hsrp, message) {
            (true, _) if ttl != 1 && ttl != 255 => None,
            (true, _) => hsrp(blank(Protocol::Hsrp), message.get(8..)?),
            (false, _) if ttl != 255 => None,
            // A CARP header has 36 bytes and the length 7 where VRRP version 2 has the number of its
            // addresses, of which seven take 44 bytes. VRRP for IPv6 is version 3.
            (false, [0x21, _, _, count, ..]) if is_ipv6 || (*count == 7 && message.len() == 36) => {
                carp(blank(Protocol::Carp), message)
            }
            (false, _) => vrrp(blank(Protocol::Vrrp), message),
        }?;
        found.interval_ns = found.interval_ns.clamp(INTERVALS_NS.0, INTERVALS_NS.1);
        Some(found)
    }
}

/// RFC 3768, section 5.1, and RFC 9568, section 5.1.
fn vrrp(mut found: Advertisement, message: &[u8]) -> Option<Advertisement> {
    let mut from = Cursor::new(message, 0);
    let head = from.u8().ok()?;
    let version = head >> 4;
    if head & 0x0f != 1 || !(2..=3).contains(&version) {
        return None;
    }
    found.id.number = from.u8().ok()?.into();
    found.rank = from.u8().ok()?.into();
    // Priority 0: the master resigns.
    found.is_master = found.rank > 0;
    let count = from.u8().ok()?;
    let interval = u64::from(from.u16().ok()?);
    found.interval_ns = match version {
        3 => (interval & 0x0fff) * 10_000_000,
        _ => (interval & 0xff) * 1_000_000_000,
    };
    from.skip(2).ok()?;
    for _ in 0..usize::from(count).min(MAX_ADDRESSES) {
        let address = match found.id.is_ipv6 {
            true => from.ipv6().ok()?.into(),
            false => from.ipv4().ok()?.into(),
        };
        found.addresses.push(address);
    }
    Some(found)
}

/// Header of CARP (ip_carp.h of the BSDs). Only a master sends it.
fn carp(mut found: Advertisement, message: &[u8]) -> Option<Advertisement> {
    let [_, number, skew, _, _, base, ..] = *message else {
        return None;
    };
    found.id.number = number.into();
    found.rank = skew.into();
    found.interval_ns = u64::from(base) * 1_000_000_000 + u64::from(skew) * 1_000_000_000 / 256;
    // Skew 255 is the last message of a master that goes.
    found.is_master = skew < 255;
    Some(found)
}

/// HSRP version 1 (RFC 2281, section 5.1) or version 2, which consists of TLVs.
fn hsrp(mut found: Advertisement, message: &[u8]) -> Option<Advertisement> {
    let mut from = Cursor::new(message, 0);
    if message.first() == Some(&0) && message.len() >= 20 {
        from.skip(1).ok()?;
        let (operation, state, hello_s) = (from.u8().ok()?, from.u8().ok()?, from.u8().ok()?);
        from.skip(1).ok()?;
        found.rank = from.u8().ok()?.into();
        found.id.number = from.u8().ok()?.into();
        from.skip(9).ok()?;
        // Operation 2 resigns; state 16 is active.
        found.is_master = operation != 2 && state == 16;
        found.interval_ns = u64::from(hello_s) * 1_000_000_000;
        found.addresses.push(from.ipv4().ok()?.into());
        return Some(found);
    }
    for _ in 0..MAX_TLVS {
        let (kind, length) = (from.u8().ok()?, usize::from(from.u8().ok()?));
        let mut value = from.sub(length).ok()?;
        if kind != 1 || length < 40 {
            continue;
        }
        let (_version, operation, state) = (value.u8().ok()?, value.u8().ok()?, value.u8().ok()?);
        let family = value.u8().ok()?;
        found.id.number = value.u16().ok()? & 0x0fff;
        value.skip(6).ok()?;
        found.rank = value.u32().ok()?;
        found.interval_ns = u64::from(value.u32().ok()?) * 1_000_000;
        value.skip(4).ok()?;
        // State 6 is active.
        found.is_master = operation != 2 && state == 6;
        found.id.is_ipv6 = family == 6;
        found.addresses.push(match family {
            6 => value.ipv6().ok()?.into(),
            _ => value.ipv4().ok()?.into(),
        });
        return Some(found);
    }
    None
}

/// A router that advertises itself as the master. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Master {
    /// Its address.
    pub address: IpAddr,
    /// Source of its frames.
    pub mac: Mac,
    /// Its latest priority or advskew.
    pub rank: u32,
    /// Its interval, in nanoseconds.
    pub interval_ns: u64,
    /// Time of its first advertisement.
    pub first_ns: u64,
    /// Time of its latest advertisement.
    pub last_ns: u64,
    /// Number of its advertisements.
    pub advertisements: u64,
}

impl Master {
    /// Returns whether it advertises without a pause. A standby takes over only after a longer one.
    fn continues(&self, now_ns: u64) -> bool {
        now_ns < self.last_ns.saturating_add(PAUSE * self.interval_ns)
    }

    /// Returns whether it has missed few enough advertisements to be the master still.
    pub fn is_alive(&self, now_ns: u64) -> bool {
        now_ns < self.last_ns.saturating_add(MISSED * self.interval_ns)
    }
}

/// A conflict of two masters.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoMasters {
    /// The virtual router.
    pub id: VirtualRouterId,
    /// The two that advertised latest, in the order of their addresses.
    pub masters: [Master; 2],
}

/// A virtual router on a link. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct VirtualRouter {
    /// Virtual addresses of the latest advertisement.
    pub addresses: Vec<IpAddr>,
    /// Routers that advertised themselves as master.
    pub masters: Vec<Master>,
    /// Advertisements of further routers, which are not tracked because of the limit.
    pub more: u64,
    /// Begin and latest sign of two masters.
    pub disputed: Option<(u64, u64)>,
    /// Number of turns in which the sender changed, without a pause.
    turns: u32,
    turns_since_ns: u64,
    latest: Option<IpAddr>,
    last_ns: u64,
    pub(super) reported: bool,
}

impl VirtualRouter {
    /// Processes an advertisement. Returns the conflict that it shows, if it is not reported yet.
    pub(super) fn advertised(&mut self, advert: Advertisement, now_ns: u64) -> Option<TwoMasters> {
        let Advertisement {
            id,
            source,
            mac,
            rank,
            interval_ns,
            ..
        } = advert;
        self.last_ns = now_ns;
        if !advert.is_master {
            // The next one takes over in order.
            self.masters.retain(|one| one.address != source);
            self.turns = 0;
            return None;
        }
        self.addresses = advert.addresses;
        let other_continues = |one: &Master| one.address != source && one.continues(now_ns);
        if !self.masters.iter().any(other_continues) {
            self.turns = 0;
        } else if self.latest != Some(source) {
            if self.turns == 0 {
                self.turns_since_ns = now_ns;
            }
            self.turns += 1;
        }
        self.latest = Some(source);
        match self.masters.iter_mut().find(|one| one.address == source) {
            Some(known) => {
                known.mac = mac;
                known.rank = rank;
                known.interval_ns = interval_ns;
                known.last_ns = now_ns;
                known.advertisements += 1;
            }
            None => self.add(Master {
                address: source,
                mac,
                rank,
                interval_ns,
                first_ns: now_ns,
                last_ns: now_ns,
                advertisements: 1,
            }),
        }
        if self.turns < MIN_TURNS {
            return None;
        }
        let since_ns = match self.disputed {
            Some((since_ns, last_ns)) if now_ns < last_ns.saturating_add(VISIBLE_NS) => since_ns,
            _ => self.turns_since_ns,
        };
        self.disputed = Some((since_ns, now_ns));
        if self.reported {
            return None;
        }
        let masters = self.two_masters(now_ns)?;
        self.reported = true;
        Some(TwoMasters { id, masters })
    }

    fn add(&mut self, master: Master) {
        if self.masters.len() >= MAX_MASTERS {
            let now_ns = master.last_ns;
            let Some(gone) = self.masters.iter().position(|one| !one.is_alive(now_ns)) else {
                self.more = self.more.saturating_add(1);
                return;
            };
            self.masters.remove(gone);
        }
        self.masters.push(master);
    }

    /// Returns the two masters, while both advertise in turn.
    pub fn two_masters(&self, now_ns: u64) -> Option<[Master; 2]> {
        if self.turns < MIN_TURNS {
            return None;
        }
        let mut alive: Vec<&Master> = self
            .masters
            .iter()
            .filter(|one| one.is_alive(now_ns.saturating_sub(REPORT_SLACK_NS)))
            .collect();
        alive.sort_by_key(|one| std::cmp::Reverse(one.last_ns));
        let [one, other, ..] = alive[..] else {
            return None;
        };
        let mut masters = [one.clone(), other.clone()];
        masters.sort_by_key(|one| one.address);
        Some(masters)
    }

    /// Returns begin and latest sign of two masters within 24 hours.
    pub fn dispute(&self, now_ns: u64) -> Option<(u64, u64)> {
        self.disputed
            .filter(|(_, last_ns)| now_ns < last_ns.saturating_add(VISIBLE_NS))
    }
}

/// The virtual routers of a link.
#[derive(Debug, Default)]
pub struct VirtualRouters {
    all: HashMap<VirtualRouterId, VirtualRouter, RandomState>,
}

impl VirtualRouters {
    /// Maximum number per link.
    pub const MAX_PER_LINK: usize = MAX_PER_LINK;

    /// Returns all virtual routers.
    pub fn iter(&self) -> impl Iterator<Item = (&VirtualRouterId, &VirtualRouter)> {
        self.all.iter()
    }

    pub(super) fn iter_mut(
        &mut self,
    ) -> impl Iterator<Item = (&VirtualRouterId, &mut VirtualRouter)> {
        self.all.iter_mut()
    }

    /// Returns a virtual router, which is added if there is space or one that is silent for a day; `None`
    /// otherwise.
    pub(super) fn entry(&mut self, id: VirtualRouterId, now_ns: u64) -> Option<&mut VirtualRouter> {
        if self.all.len() >= MAX_PER_LINK && !self.all.contains_key(&id) {
            let oldest = self.all.iter().min_by_key(|(_, one)| one.last_ns)?;
            if now_ns < oldest.1.last_ns.saturating_add(VISIBLE_NS) {
                return None;
            }
            let oldest = *oldest.0;
            self.all.remove(&oldest);
        }
        Some(self.all.entry(id).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const ID: VirtualRouterId = VirtualRouterId {
        protocol: Protocol::Vrrp,
        number: 7,
        is_ipv6: false,
    };

    /// Processes advertisements of 10.0.0.N with a priority, one per second unless a time is named.
    fn after(steps: &[(u8, u32)]) -> (VirtualRouter, usize) {
        let mut router = VirtualRouter::default();
        let mut reports = 0;
        for (second, (last, rank)) in steps.iter().enumerate() {
            let advert = Advertisement {
                id: ID,
                source: IpAddr::from([10, 0, 0, *last]),
                mac: Mac([2, 0, 0, 0, 0, *last]),
                is_master: *rank > 0,
                rank: *rank,
                interval_ns: S,
                addresses: vec![],
            };
            // Half a second apart, since each sends once a second.
            reports += usize::from(router.advertised(advert, second as u64 * S / 2).is_some());
        }
        (router, reports)
    }

    #[test]
    fn only_two_that_continue_are_two_masters() {
        for (steps, expected) in [
            (&[(1, 100), (1, 100), (1, 100), (1, 100)][..], 0),
            // One resigns, the other takes over.
            (&[(1, 100), (1, 0), (2, 90), (2, 90), (2, 90)], 0),
            // A higher priority takes over; the former one sends once more.
            (&[(1, 100), (2, 200), (1, 100), (2, 200), (2, 200)], 0),
            // And back.
            (
                &[
                    (1, 100),
                    (2, 200),
                    (2, 200),
                    (2, 0),
                    (1, 100),
                    (1, 100),
                    (2, 200),
                ],
                0,
            ),
            // Neither hears the other.
            (
                &[(1, 100), (2, 90), (1, 100), (2, 90), (1, 100), (2, 90)],
                1,
            ),
        ] {
            assert_eq!(after(steps).1, expected, "{steps:?}");
        }
    }

    #[test]
    fn conflict_ends_when_one_is_silent() {
        let split: Vec<(u8, u32)> = (0..10).map(|step| (1 + step % 2, 100)).collect();
        let (router, _) = after(&split);
        let last = 9 * S / 2;
        assert!(router.two_masters(last).is_some());
        let silent = last + MISSED * S + REPORT_SLACK_NS;
        assert!(router.two_masters(silent - S).is_some());
        assert!(router.two_masters(silent).is_none());
        assert_eq!(router.dispute(last + S), Some((S / 2, last)));
        assert_eq!(router.dispute(last + VISIBLE_NS), None);
    }

    #[test]
    fn limits_hold_in_a_flood() {
        let (router, _) = after(&(0..200).map(|last| (last, 100)).collect::<Vec<_>>());
        assert_eq!(router.masters.len(), MAX_MASTERS);
        assert!(router.more > 0);
        let mut all = VirtualRouters::default();
        for number in 0..2 * MAX_PER_LINK as u16 {
            let added = all.entry(VirtualRouterId { number, ..ID }, S).is_some();
            assert_eq!(added, usize::from(number) < MAX_PER_LINK);
        }
        assert!(
            all.entry(VirtualRouterId { number: 9999, ..ID }, S + VISIBLE_NS)
                .is_some()
        );
        assert_eq!(all.iter().count(), MAX_PER_LINK);
    }
}
