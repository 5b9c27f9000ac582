//! PURE. Observation of frames for the neighbor tables. Runs for every packet: a pair of station
//! and address that was seen within the last second costs one lookup in a small cache.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{ANSWER_NS, Address, Claim, Traffic};
use super::host::{Host, heard, role};
use super::mac::is_station;
use super::virtual_router::Advertisement;
use super::{
    ADDRESS_LIMITS, Change, DECODED_PER_SECOND, HOST_LIMITS, Link, NeighborEvent, Neighbors,
    UNCONFIRMED_PER_SECOND,
};
use crate::wire::arp::Arp;
use crate::wire::cursor::{Cursor, Mac, sum};
use crate::wire::glance::{Glance, ethertype, ip_protocol};
use crate::wire::identity::{Identity, NameSource, Role};
use crate::wire::{Checksum, Frame, LinkType, Meaning, decode};

/// Cache slots: 64 KiB, which fits a core's cache, for several thousand active pairs.
const CACHE_SLOTS: usize = 4096;
/// Time for which a cached pair is not processed again. Times of last sighting are accurate to
/// twice this, because intake skips flows seen within the last second, too.
const REFRESH_NS: u64 = 1_000_000_000;
/// Remembered requests of this host: a scan of a /22 at once, or a few dozen addresses otherwise. Those of
/// other hosts have as many places of their own, so that a flood of them displaces none of this host's.
const MAX_RECENT_SOLICITATIONS: usize = 1024;
/// The kernel repeats a request after a second, and answers come at once
/// (net.ipv4.neigh.*.retrans_time_ms).
const SOLICITATION_VALID_NS: u64 = 3_000_000_000;
/// Pinned conflicts per link. More are a flood, and are reported while they last.
const MAX_PINNED_CONFLICTS: usize = 64;
/// Pinned queriers per link, as many as `multicast` tracks.
const MAX_PINNED_QUERIERS: usize = 16;
/// Interval between checks for resolved conflicts.
const HOUSEKEEPING_NS: u64 = 60_000_000_000;
/// Initial TTLs of systems and programs: a packet with another TTL has been forwarded.
const INITIAL_TTLS: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 255];

/// Pairs of station and address that were seen recently, and recent requests of this host.
#[derive(Debug)]
pub struct Recent {
    pairs: Box<[(u64, u64)]>,
    asked: Solicitations,
    asked_by_others: Solicitations,
    expired_ns: u64,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            pairs: vec![(0, 0); CACHE_SLOTS].into(),
            asked: Solicitations::default(),
            asked_by_others: Solicitations::default(),
            expired_ns: 0,
        }
    }
}

impl Recent {
    /// Returns whether this pair was processed within the last second; if not, marks it as
    /// processed.
    #[inline]
    fn is_known(&mut self, key: u64, time_ns: u64) -> bool {
        let place = &mut self.pairs[key as usize % CACHE_SLOTS];
        // A clock that is set back must not keep a pair known for long.
        if place.0 == key && time_ns.wrapping_sub(place.1) < REFRESH_NS {
            return true;
        }
        *place = (key, time_ns);
        false
    }
}

/// The latest requests for addresses, known or not: what was asked, and when. A new request replaces an
/// older one for another address that falls on the same place, which no range of addresses does.
#[derive(Debug)]
struct Solicitations(Box<[(u64, u64)]>);

impl Default for Solicitations {
    fn default() -> Solicitations {
        Solicitations(vec![(0, 0); MAX_RECENT_SOLICITATIONS].into())
    }
}

impl Solicitations {
    fn place(ifindex: u32, ip: IpAddr) -> (usize, u64) {
        let number = address_number(ip);
        let key = mix(number, u64::from(ifindex) | 1 << 32);
        (number as usize % MAX_RECENT_SOLICITATIONS, key)
    }

    fn remember(&mut self, ifindex: u32, ip: IpAddr, time_ns: u64) {
        let (at, key) = Solicitations::place(ifindex, ip);
        self.0[at] = (key, time_ns);
    }

    /// Returns the time of a request for the address at most `within_ns` before `time_ns`.
    fn find(&self, ifindex: u32, ip: IpAddr, time_ns: u64, within_ns: u64) -> Option<u64> {
        let (at, key) = Solicitations::place(ifindex, ip);
        let (known, asked_ns) = self.0[at];
        (known == key && time_ns.wrapping_sub(asked_ns) < within_ns).then_some(asked_ns)
    }
}

/// Hashes two words to 64 bits. A sender that produces a collision only delays the processing of
/// one pair by a second.
#[inline]
fn mix(one: u64, other: u64) -> u64 {
    let product =
        u128::from(one ^ 0x9e37_79b9_7f4a_7c15) * u128::from(other ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ (product >> 64) as u64
}

#[inline]
fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn address_number(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => {
            let whole = u128::from(v6);
            mix(whole as u64, (whole >> 64) as u64)
        }
    }
}

/// A frame, with the circumstances of its observation.
#[derive(Clone, Copy)]
struct ObservedFrame<'a> {
    frame: &'a Frame<'a>,
    glance: &'a Glance,
    ifindex: u32,
    time_ns: u64,
    outbound: bool,
    from: Mac,
}

/// Returns the protocol and role bits of plain traffic.
fn classify_sender(seen: &Glance, bytes: &[u8]) -> (u16, u16) {
    let ttl_is = |at: usize| bytes.get(seen.network + at) == Some(&1);
    match seen.ip_protocol {
        // Queries with another TTL are invalid (RFC 9776, section 4).
        ip_protocol::IGMP if seen.icmp_type == 0x11 && seen.transport != 0 && ttl_is(8) => {
            (heard::IGMP, role::IGMP_QUERIER)
        }
        ip_protocol::IGMP => (heard::IGMP, 0),
        ip_protocol::ICMPV6 if seen.transport != 0 => match seen.icmp_type {
            130 if ttl_is(7) => (heard::MLD, role::MLD_QUERIER),
            130..=132 | 143 => (heard::MLD, 0),
            _ => (heard::IP, 0),
        },
        ip_protocol::OSPF | ip_protocol::EIGRP | ip_protocol::VRRP | ip_protocol::PIM => {
            (heard::ROUTING, role::ROUTING)
        }
        ip_protocol::UDP => match seen.destination_port {
            // RIP, RIPng, HSRP.
            520 | 521 | 1985 | 2029 => (heard::ROUTING, role::ROUTING),
            _ => (heard::IP, 0),
        },
        _ => (heard::IP, 0),
    }
}

/// UDP ports of protocols that carry names: NetBIOS, DHCP, DHCPv6, mDNS, LLMNR.
#[inline]
fn carries_names(port: u16) -> bool {
    matches!(port, 67 | 68 | 137 | 546 | 547 | 5353 | 5355)
}

/// Returns whether the frame is TCP or UDP that shows only the presence of its sender. It need not
/// be observed again within the same second.
#[inline]
pub fn carries_no_claims(seen: &Glance) -> bool {
    // Most ports are above all of them.
    let says_more = |port: u16| {
        port <= 5355 && (carries_names(port) || matches!(port, 520 | 521 | 1985 | 2029))
    };
    seen.vlan.is_none()
        && match seen.ip_protocol {
            ip_protocol::TCP => true,
            ip_protocol::UDP => !says_more(seen.destination_port) && !says_more(seen.source_port),
            _ => false,
        }
}

/// Cache key of source MAC and source address, on Ethernet.
#[inline]
fn plain_pair(seen: &Glance, bytes: &[u8], ifindex: u32) -> Option<u64> {
    let word = |at: usize| -> Option<u64> {
        Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    // The two bytes after the MAC are the same for all frames of this kind.
    let station = word(6)? ^ u64::from(ifindex) << 32;
    let source = if seen.ethertype == ethertype::IPV4 {
        let octets: [u8; 4] = bytes
            .get(seen.network + 12..seen.network + 16)?
            .try_into()
            .ok()?;
        u64::from(u32::from_ne_bytes(octets))
    } else {
        mix(word(seen.network + 8)?, word(seen.network + 16)?)
    };
    Some(mix(station, source))
}

/// Source address and TTL of an IP packet.
#[inline]
fn source_of(seen: &Glance, bytes: &[u8]) -> Option<(IpAddr, u8)> {
    let header = bytes.get(seen.network..)?;
    if seen.ethertype == ethertype::IPV4 {
        let octets: [u8; 4] = header.get(12..16)?.try_into().ok()?;
        Some((Ipv4Addr::from(octets).into(), header[8]))
    } else {
        let octets: [u8; 16] = header.get(8..24)?.try_into().ok()?;
        Some((Ipv6Addr::from(octets).into(), header[7]))
    }
}

/// Returns whether the address may belong to a host.
fn is_of_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_loopback())
        }
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_loopback()),
    }
}

impl Neighbors {
    /// Processes a frame seen on an interface. A tagged frame belongs to another link and is seen
    /// again, untagged, on the interface of its VLAN.
    #[inline]
    pub fn observe(
        &mut self,
        frame: &Frame<'_>,
        glance: &Glance,
        ifindex: u32,
        time_ns: u64,
        outbound: bool,
    ) {
        if frame.link != LinkType::Ethernet {
            return;
        }
        // Nearly all packets return here.
        if carries_no_claims(glance) {
            if outbound {
                return;
            }
            if let Some(pair) = plain_pair(glance, frame.bytes, ifindex)
                && self.recent.is_known(pair, time_ns)
            {
                return;
            }
        }
        self.inspect(frame, glance, ifindex, time_ns, outbound);
    }

    #[inline(never)]
    fn inspect(
        &mut self,
        frame: &Frame<'_>,
        glance: &Glance,
        ifindex: u32,
        time_ns: u64,
        outbound: bool,
    ) {
        if glance.vlan.is_some() {
            return;
        }
        let Some(from) = frame.bytes.get(6..12).and_then(|mac| mac.try_into().ok()) else {
            return;
        };
        let seen = ObservedFrame {
            frame,
            glance,
            ifindex,
            time_ns,
            outbound,
            from: Mac(from),
        };
        match glance.ethertype {
            ethertype::IPV4 | ethertype::IPV6 => {
                let is_nd = glance.ip_protocol == ip_protocol::ICMPV6
                    && matches!(glance.icmp_type, 133..=136)
                    && glance.transport != 0;
                if is_nd {
                    self.on_nd(&seen);
                }
                if Advertisement::is_one(glance) {
                    self.on_advertisement(&seen);
                }
                if outbound {
                    return;
                }
                if glance.ip_protocol == ip_protocol::UDP
                    && (carries_names(glance.destination_port) || carries_names(glance.source_port))
                {
                    self.on_names(&seen);
                }
                self.on_traffic(&seen);
            }
            ethertype::ARP => self.on_arp(&seen),
            _ if outbound => {}
            ethertype::LLDP => self.on_names(&seen),
            // STP and CDP follow an 802.3 length.
            kind if kind < ethertype::FIRST && kind > 0 => self.on_names(&seen),
            _ => self.on_station(&seen, heard::LINK, 0),
        }
    }

    /// Reports conflicts that are over, for which there is no packet.
    pub fn expire(&mut self, now_ns: u64) {
        if now_ns.wrapping_sub(self.recent.expired_ns) < HOUSEKEEPING_NS {
            return;
        }
        self.recent.expired_ns = now_ns;
        let (mut over, mut single) = (Vec::new(), Vec::new());
        for (ifindex, link) in &mut self.links {
            link.kept_conflicts = 0;
            let reported = link
                .addresses
                .iter()
                .filter(|(_, address)| address.reported);
            for (ip, address) in reported {
                let conflict = address.conflict(now_ns, link.owner(ip, &self.own_macs));
                if !conflict.is_some_and(|conflict| conflict.current) {
                    over.push((*ifindex, *ip));
                }
            }
            for (id, router) in link.virtual_routers.iter_mut() {
                if router.reported && router.two_masters(now_ns).is_none() {
                    router.reported = false;
                    single.push((*ifindex, *id));
                }
            }
            for (_, address) in link.addresses.iter_mut() {
                address.kept = address.kept && address.is_disputed(now_ns);
                link.kept_conflicts += usize::from(address.kept);
            }
            link.pin();
        }
        for (ifindex, ip) in over {
            if let Some(address) = self.link(ifindex).addresses.get_mut(&ip) {
                address.reported = false;
            }
            self.push_event(ifindex, now_ns, NeighborEvent::ConflictOver(ip));
        }
        for (ifindex, id) in single {
            self.push_event(ifindex, now_ns, NeighborEvent::OneMaster(id));
        }
    }

    /// Processes an advertisement of a virtual router, up to a limit per second, by this host or by another one. What this host
    /// forwards as a bridge was seen on the other port, and its own frames may come back.
    fn on_advertisement(&mut self, seen: &ObservedFrame<'_>) {
        if !(self.link(seen.ifindex).read).try_acquire(seen.time_ns, DECODED_PER_SECOND) {
            self.limits.undecoded += 1;
            return;
        }
        let Some(advert) = Advertisement::read(seen.frame.bytes, seen.glance) else {
            return;
        };
        let is_own = match seen.outbound {
            true => self.own_macs.contains(&seen.from),
            false => self.is_own(seen.ifindex, advert.source),
        };
        if is_own != seen.outbound {
            return;
        }
        let routers = &mut self.link(seen.ifindex).virtual_routers;
        let Some(router) = routers.entry(advert.id, seen.time_ns) else {
            self.limits.virtual_routers += 1;
            return;
        };
        if let Some(two) = router.advertised(advert, seen.time_ns) {
            let event = NeighborEvent::TwoMasters(Box::new(two));
            self.push_event(seen.ifindex, seen.time_ns, event);
        }
    }

    fn on_traffic(&mut self, seen: &ObservedFrame<'_>) {
        let Some((source, ttl)) = source_of(seen.glance, seen.frame.bytes) else {
            return;
        };
        if carries_no_claims(seen.glance) {
            // Not in the cache, or it would have returned earlier.
            return self.on_pair(seen, source, ttl, (heard::IP, 0));
        }
        let (by, roles) = classify_sender(seen.glance, seen.frame.bytes);
        let pair = mix(
            number(seen.from) | u64::from(by) << 48,
            address_number(source) ^ u64::from(seen.ifindex) << 40 ^ u64::from(roles) << 32,
        );
        if !self.recent.is_known(pair, seen.time_ns) {
            self.on_pair(seen, source, ttl, (by, roles));
        }
    }

    /// Records a station with a source address, at most once per second.
    fn on_pair(
        &mut self,
        seen: &ObservedFrame<'_>,
        source: IpAddr,
        ttl: u8,
        (by, roles): (u16, u16),
    ) {
        if !is_station(seen.from) || self.own_macs.contains(&seen.from) {
            return;
        }
        let on_link = if is_of_a_host(source) {
            self.link(seen.ifindex).is_on_link(source)
        } else {
            None
        };
        if on_link != Some(true) {
            // Forwarded packets have thousands of sources, so only the station is recorded.
            let forwarded = on_link == Some(false) && !INITIAL_TTLS.contains(&ttl);
            let station = mix(
                number(seen.from) | u64::from(by) << 48,
                u64::from(seen.ifindex) << 40
                    ^ u64::from(roles) << 32
                    ^ u64::from(forwarded)
                    ^ 0x5eed,
            );
            if self.recent.is_known(station, seen.time_ns) {
                return;
            }
            if let Some(host) = self.host(seen.ifindex, seen.from, seen.time_ns, false) {
                host.heard |= by;
                host.roles |= roles;
                if forwarded {
                    host.forwards(seen.time_ns);
                }
            }
            self.keep_querier(seen, roles);
            return;
        }
        // Addresses of a station that is not recorded itself are worthless.
        let Some(host) = self.host(seen.ifindex, seen.from, seen.time_ns, false) else {
            return;
        };
        host.heard |= by;
        host.roles |= roles;
        self.keep_querier(seen, roles);
        if let Some(address) = self.address(seen.ifindex, source, seen.time_ns, false) {
            let traffic = match INITIAL_TTLS.contains(&ttl) {
                true => Traffic::Direct,
                false => Traffic::Relayed,
            };
            address.heard(seen.from, seen.time_ns, traffic);
        }
    }

    /// Records a station without an address.
    fn on_station(&mut self, seen: &ObservedFrame<'_>, by: u16, roles: u16) {
        let key = mix(
            number(seen.from) | u64::from(by) << 48,
            u64::from(seen.ifindex) << 40 ^ u64::from(roles) << 32 ^ 0xface,
        );
        if self.recent.is_known(key, seen.time_ns)
            || !is_station(seen.from)
            || self.own_macs.contains(&seen.from)
        {
            return;
        }
        if let Some(host) = self.host(seen.ifindex, seen.from, seen.time_ns, false) {
            host.heard |= by;
            host.roles |= roles;
        }
    }

    /// Pins the first queriers of a link.
    fn keep_querier(&mut self, seen: &ObservedFrame<'_>, roles: u16) {
        if roles & (role::IGMP_QUERIER | role::MLD_QUERIER) == 0 {
            return;
        }
        let link = self.link(seen.ifindex);
        if link.kept_queriers < MAX_PINNED_QUERIERS
            && let Some(host) = link.hosts.get_mut(&seen.from)
            && !host.kept
        {
            host.kept = true;
            link.kept_queriers += 1;
        }
    }

    fn on_arp(&mut self, seen: &ObservedFrame<'_>) {
        let Some(arp) = seen
            .frame
            .bytes
            .get(seen.glance.network..)
            .and_then(Arp::read)
        else {
            return;
        };
        let is_own = self.own_macs.contains(&arp.sender_mac);
        // Frames that this host forwards as a bridge belong to another host, and its own frames may
        // come back.
        if !is_station(arp.sender_mac) || !matches!(arp.operation, 1 | 2) || is_own != seen.outbound
        {
            return;
        }
        if !is_own && let Some(host) = self.host(seen.ifindex, arp.sender_mac, seen.time_ns, false)
        {
            host.heard |= heard::ARP;
        }
        let (sender, target) = (IpAddr::V4(arp.sender), IpAddr::V4(arp.target));
        let to_all = seen.frame.bytes.first().is_some_and(|first| first & 1 == 1);
        if arp.is_probe() {
            // Switches and others use the same message as a unicast liveness check of one host.
            if to_all && is_of_a_host(target) {
                self.probed(seen, arp.sender_mac, target);
            }
            return;
        }
        if arp.operation == 1 && sender != target {
            self.asked(seen, target);
        }
        self.claimed(
            seen,
            sender,
            Claim {
                mac: arp.sender_mac,
                frame: seen.from,
                time_ns: seen.time_ns,
                announced: arp.is_gratuitous(),
                answer: arp.operation == 2 && !arp.is_gratuitous(),
            },
        );
    }

    /// Processes neighbor discovery, if complete and valid: the hop limit shows that no router
    /// forwarded it (RFC 4861, section 6.1.1 and following).
    fn on_nd(&mut self, seen: &ObservedFrame<'_>) {
        let Some(nd) = Nd::read(seen) else { return };
        let mac = nd.mac.unwrap_or(seen.from);
        let is_own = self.own_macs.contains(&mac);
        if !is_station(mac) || is_own != seen.outbound {
            return;
        }
        if !is_own && let Some(host) = self.host(seen.ifindex, mac, seen.time_ns, false) {
            host.heard |= heard::ND;
            host.roles |= nd.roles;
        }
        let claim = Claim {
            mac,
            frame: seen.from,
            time_ns: seen.time_ns,
            announced: false,
            answer: false,
        };
        match (nd.kind, nd.target) {
            (135, Some(target)) if nd.source.is_unspecified() => {
                self.probed(seen, mac, target.into());
            }
            (135, Some(target)) => {
                self.asked(seen, target.into());
                if nd.mac.is_some() {
                    self.claimed(seen, nd.source.into(), claim);
                }
            }
            (136, Some(target)) => {
                let claim = Claim {
                    announced: !nd.solicited && nd.to_group,
                    answer: nd.solicited,
                    ..claim
                };
                // Without "override" it is an anycast address or a proxy's, for which others may
                // answer, too (RFC 4861, section 7.2.4).
                if nd.overrides {
                    self.claimed(seen, target.into(), claim);
                } else if let Some(address) =
                    self.address(seen.ifindex, target.into(), seen.time_ns, false)
                {
                    address.heard(mac, seen.time_ns, Traffic::ByProxy);
                }
            }
            (133 | 134, _) if nd.mac.is_some() => self.claimed(seen, nd.source.into(), claim),
            _ => {}
        }
    }

    fn claimed(&mut self, seen: &ObservedFrame<'_>, ip: IpAddr, claim: Claim) {
        if !is_of_a_host(ip) {
            return;
        }
        let (at, now_ns) = (seen.ifindex, seen.time_ns);
        let by_this_host = self
            .recent
            .asked
            .find(at, ip, now_ns, SOLICITATION_VALID_NS);
        // An answer to this host is not part of a spoofed flood.
        let wanted = claim.answer && by_this_host.is_some();
        let by_others = self.recent.asked_by_others.find(at, ip, now_ns, ANSWER_NS);
        let link = self.link(seen.ifindex);
        let must = wanted || link.gateways.contains(&ip) || link.own.contains_key(&ip);
        let is_gateway = link.gateways.contains(&ip);
        if must
            && !seen.outbound
            && self
                .host(seen.ifindex, claim.mac, seen.time_ns, true)
                .is_none()
        {
            return;
        }
        let Some(address) = self.address(seen.ifindex, ip, seen.time_ns, must) else {
            return;
        };
        // The request came before there was an entry for the address.
        if address.claimants.is_empty()
            && let Some(asked_ns) = by_this_host.max(by_others)
        {
            address.asked(asked_ns);
        }
        let disputed = address.claim(&claim);
        let is_kept = address.kept;
        let (change, duplicate) = (address.changed_by(&claim), address.new_duplicate());
        self.report_claim(seen, ip, &claim, disputed, change, is_gateway);
        if let Some(hit) = duplicate {
            self.push_event(
                seen.ifindex,
                seen.time_ns,
                NeighborEvent::Duplicate(ip, hit),
            );
        }
        if is_gateway && let Some(host) = self.link(seen.ifindex).hosts.get_mut(&claim.mac) {
            host.pinned = true;
        }
        if disputed && !is_kept {
            let link = self.link(seen.ifindex);
            if link.kept_conflicts < MAX_PINNED_CONFLICTS
                && let Some(address) = link.addresses.get_mut(&ip)
            {
                address.kept = true;
                link.kept_conflicts += 1;
                let macs: Vec<Mac> = address.claimants.iter().map(|one| one.mac).collect();
                self.address(seen.ifindex, ip, seen.time_ns, true);
                for mac in macs {
                    if !self.own_macs.contains(&mac)
                        && let Some(host) = self.host(seen.ifindex, mac, seen.time_ns, true)
                    {
                        host.pinned = true;
                    }
                }
            }
        }
    }

    /// Emits the events caused by a claim. Moves to or from this host are known to this host.
    fn report_claim(
        &mut self,
        seen: &ObservedFrame<'_>,
        ip: IpAddr,
        claim: &Claim,
        disputed: bool,
        change: Option<Change>,
        is_gateway: bool,
    ) {
        let (ifindex, now_ns) = (seen.ifindex, seen.time_ns);
        let is_own_mac = self.own_macs.contains(&claim.mac);
        let Some(link) = self.links.get_mut(&ifindex) else {
            return;
        };
        let own = link.owner(&ip, &self.own_macs);
        let taken = own.is_some() && !is_own_mac;
        let Some(address) = link.addresses.get_mut(&ip) else {
            return;
        };
        let mut event = None;
        if (disputed || taken)
            && !address.reported
            && let Some(conflict) = address.conflict(now_ns, own)
            && conflict.current
        {
            address.reported = true;
            event = Some(NeighborEvent::Conflict(ip, conflict, is_gateway));
        } else if let Some(change) = change.filter(|_| own.is_none() && !address.reported) {
            event = Some(NeighborEvent::Moved(ip, change, is_gateway));
        }
        if let Some(event) = event {
            self.push_event(ifindex, now_ns, event);
        }
    }

    fn asked(&mut self, seen: &ObservedFrame<'_>, ip: IpAddr) {
        let asked = match seen.outbound {
            true => &mut self.recent.asked,
            false => &mut self.recent.asked_by_others,
        };
        asked.remember(seen.ifindex, ip, seen.time_ns);
        // Requests for absent hosts must not fill the table, so an entry begins with an answer.
        if let Some(address) = self.link(seen.ifindex).addresses.get_mut(&ip) {
            address.asked(seen.time_ns);
        }
    }

    fn probed(&mut self, seen: &ObservedFrame<'_>, mac: Mac, ip: IpAddr) {
        if let Some(address) = self.address(seen.ifindex, ip, seen.time_ns, false) {
            address.probed(mac, seen.time_ns);
            if let Some(hit) = address.new_duplicate() {
                self.push_event(
                    seen.ifindex,
                    seen.time_ns,
                    NeighborEvent::Duplicate(ip, hit),
                );
            }
        }
    }

    /// Decodes messages with names and roles, up to a limit per second.
    fn on_names(&mut self, seen: &ObservedFrame<'_>) {
        if !is_station(seen.from) || self.own_macs.contains(&seen.from) {
            return;
        }
        if !(self.link(seen.ifindex).read).try_acquire(seen.time_ns, DECODED_PER_SECOND) {
            self.limits.undecoded += 1;
            return;
        }
        let decoded = decode(seen.frame);
        if decoded.bad_checksum.is_some() {
            return;
        }
        let source = decoded.network.map(|network| network.source);
        let mut known = false;
        for meaning in &decoded.meanings {
            if let Meaning::Identity(said) = meaning {
                self.identified(seen, source, said);
                known = true;
            }
        }
        if !known && decoded.network.is_none() {
            self.on_station(seen, heard::LINK, 0);
        }
    }

    fn identified(&mut self, seen: &ObservedFrame<'_>, source: Option<IpAddr>, said: &Identity) {
        // A relay forwards messages of clients: their names are not its own.
        let is_own = said.of.is_none_or(|of| of == seen.from);
        let is_its = |address: &Option<IpAddr>, link: &mut Link| match address {
            None => true,
            Some(address) => {
                Some(*address) == source
                    || link
                        .addresses
                        .get_mut(address)
                        .is_some_and(|known| known.holder() == Some(seen.from))
            }
        };
        let link = self.link(seen.ifindex);
        let names: Vec<&String> = said
            .names
            .iter()
            .filter(|(_, address)| is_own && is_its(address, link))
            .map(|(name, _)| name)
            .collect();
        let Some(host) = self.host(seen.ifindex, seen.from, seen.time_ns, false) else {
            return;
        };
        host.heard |= match said.by {
            NameSource::Dhcp => heard::DHCP,
            NameSource::Dhcpv6 => heard::DHCPV6,
            NameSource::Mdns => heard::MDNS,
            NameSource::Llmnr => heard::LLMNR,
            NameSource::NetBios => heard::NETBIOS,
            NameSource::Lldp => heard::LLDP,
            NameSource::Cdp => heard::CDP,
            NameSource::Stp => heard::STP,
        };
        for role in &said.roles {
            host.roles |= match role {
                Role::Router => role::SAYS_ROUTER,
                Role::Bridge => role::BRIDGE,
                Role::AccessPoint => role::ACCESS_POINT,
                Role::Phone => role::PHONE,
                Role::DhcpRelay => role::DHCP_RELAY,
                Role::DhcpServer if said.by == NameSource::Dhcpv6 => role::DHCPV6_SERVER,
                Role::DhcpServer => role::DHCP_SERVER,
            };
        }
        for name in names {
            host.named(name, said.by.name(), seen.time_ns);
        }
    }

    fn link(&mut self, ifindex: u32) -> &mut Link {
        self.links.entry(ifindex).or_default()
    }

    /// Records a sighting of a station. Returns `None` if it is new and there is no space; `must`
    /// makes space.
    fn host(&mut self, ifindex: u32, mac: Mac, time_ns: u64, must: bool) -> Option<&mut Host> {
        let link = self.links.entry(ifindex).or_default();
        let (hosts, limits, in_all) = (&mut link.hosts, &mut self.limits, &mut self.hosts);
        let mut proved = must;
        match hosts.find(&mac) {
            None => {
                if !must && !link.new_hosts.try_acquire(time_ns, UNCONFIRMED_PER_SECOND) {
                    limits.hosts += 1;
                    return None;
                }
                limits.hosts += hosts.add(mac, Host::new(time_ns), HOST_LIMITS, in_all);
            }
            Some((host, established)) => {
                host.last_ns = time_ns;
                proved |= time_ns >= host.first_ns.saturating_add(REFRESH_NS);
                proved &= !established;
            }
        }
        if proved {
            limits.hosts += hosts.establish(&mac, time_ns, must, HOST_LIMITS, in_all);
            // If the table is full, it may still be unconfirmed.
            if hosts.find(&mac).is_some_and(|(_, established)| established) {
                self.push_event(ifindex, time_ns, NeighborEvent::Host(mac));
            }
        }
        self.links.get_mut(&ifindex)?.hosts.get_mut(&mac)
    }

    /// Records a sighting of an address. Returns `None` if it is new and there is no space; `must`
    /// makes space.
    fn address(
        &mut self,
        ifindex: u32,
        ip: IpAddr,
        time_ns: u64,
        must: bool,
    ) -> Option<&mut Address> {
        let link = self.links.entry(ifindex).or_default();
        let pinned = must && (link.gateways.contains(&ip) || link.own.contains_key(&ip));
        let (addresses, limits, in_all) =
            (&mut link.addresses, &mut self.limits, &mut self.addresses);
        let mut proved = must;
        match addresses.find(&ip) {
            None => {
                if !must
                    && !link
                        .new_addresses
                        .try_acquire(time_ns, UNCONFIRMED_PER_SECOND)
                {
                    limits.addresses += 1;
                    return None;
                }
                limits.addresses +=
                    addresses.add(ip, Address::new(time_ns), ADDRESS_LIMITS, in_all);
            }
            Some((address, established)) => {
                proved |= time_ns >= address.first_ns.saturating_add(REFRESH_NS);
                proved &= !established;
            }
        }
        if proved {
            limits.addresses += addresses.establish(&ip, time_ns, must, ADDRESS_LIMITS, in_all);
        }
        let address = addresses.get_mut(&ip)?;
        address.pinned |= pinned;
        Some(address)
    }
}

/// Fields of a neighbor discovery message that are used here.
struct Nd {
    kind: u8,
    source: Ipv6Addr,
    to_group: bool,
    target: Option<Ipv6Addr>,
    /// From the source or target link-layer address option.
    mac: Option<Mac>,
    solicited: bool,
    overrides: bool,
    roles: u16,
}

/// Maximum options parsed per message; hosts send one or two, routers a few more.
const MAX_OPTIONS: usize = 16;

impl Nd {
    fn read(seen: &ObservedFrame<'_>) -> Option<Nd> {
        let (bytes, glance) = (seen.frame.bytes, seen.glance);
        let header = bytes.get(glance.network..)?;
        let length = usize::from(u16::from_be_bytes([*header.get(4)?, *header.get(5)?]));
        let message = bytes.get(glance.transport..glance.network + 40 + length)?;
        let mut addresses = Cursor::new(header.get(8..40)?, 0);
        let (source, destination) = (addresses.ipv6().ok()?, addresses.ipv6().ok()?);
        // Hop limit 255 and code 0.
        if header[7] != 255 || *message.get(1)? != 0 {
            return None;
        }
        let judged = match seen.frame.checksum {
            Checksum::NotReady | Checksum::Valid => true,
            Checksum::Bad => false,
            Checksum::Unknown => {
                let upper = message.len() as u32 + u32::from(ip_protocol::ICMPV6);
                let pseudo = sum(&destination.octets(), sum(&source.octets(), upper));
                sum(message, pseudo) == 0xffff
            }
        };
        if !judged {
            return None;
        }
        let mut from = Cursor::new(message, 0);
        let kind = from.u8().ok()?;
        from.skip(3).ok()?;
        let flags = from.u32().ok()?;
        let mut nd = Nd {
            kind,
            source,
            to_group: destination.is_multicast(),
            target: None,
            mac: None,
            solicited: false,
            overrides: false,
            roles: 0,
        };
        match kind {
            133 => {}
            134 => {
                from.skip(8).ok()?;
                if flags & 0xffff != 0 && source.is_unicast_link_local() {
                    nd.roles = role::RA_ROUTER;
                }
            }
            135 => nd.target = Some(from.ipv6().ok()?),
            _ => {
                nd.target = Some(from.ipv6().ok()?);
                nd.solicited = flags & 0x4000_0000 != 0;
                nd.overrides = flags & 0x2000_0000 != 0;
                if flags & 0x8000_0000 != 0 {
                    nd.roles = role::ND_ROUTER;
                }
            }
        }
        // Target link-layer address in advertisements, source link-layer address otherwise.
        let wanted = if kind == 136 { 2 } else { 1 };
        for _ in 0..MAX_OPTIONS {
            let (Ok(option), Ok(units)) = (from.u8(), from.u8()) else {
                break;
            };
            let Ok(mut value) = from.sub((usize::from(units) * 8).checked_sub(2)?) else {
                break;
            };
            if option == wanted && units == 1 {
                nd.mac = value.mac().ok();
            }
        }
        Some(nd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::{AddressState, LinkFacts};
    use crate::wire::glance::glance;

    const S: u64 = 1_000_000_000;
    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const C: Mac = Mac([2, 0, 0, 0, 0, 3]);

    fn known() -> Neighbors {
        let mut all = Neighbors::default();
        let facts = LinkFacts {
            ifindex: 2,
            mac: Some(OWN),
            own: vec!["10.0.0.1".parse().unwrap()],
            networks: vec![
                ("10.0.0.1".parse().unwrap(), 24),
                ("fd00::1".parse().unwrap(), 64),
            ],
            gateways: vec!["10.0.0.254".parse().unwrap()],
        };
        all.set_links(&[facts], S);
        all
    }

    fn observe(all: &mut Neighbors, time_ns: u64, bytes: &[u8]) {
        let frame = Frame {
            link: LinkType::Ethernet,
            bytes,
            original_length: bytes.len() as u32,
            checksum: Checksum::Unknown,
        };
        let outbound = bytes.get(6..12) == Some(&OWN.0[..]);
        all.observe(
            &frame,
            &glance(LinkType::Ethernet, bytes),
            2,
            time_ns,
            outbound,
        );
    }

    fn ethernet(from: Mac, kind: u16, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend_from_slice(&from.0);
        frame.extend_from_slice(&kind.to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    fn arp(operation: u8, mac: Mac, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
        body.extend_from_slice(&mac.0);
        body.extend_from_slice(&sender);
        body.extend_from_slice(&[0; 6]);
        body.extend_from_slice(&target);
        ethernet(mac, ethertype::ARP, &body)
    }

    fn ip(from: Mac, source: [u8; 4], (protocol, ttl): (u8, u8), payload: &[u8]) -> Vec<u8> {
        let mut body = vec![
            0x45,
            0,
            0,
            20 + payload.len() as u8,
            0,
            0,
            0,
            0,
            ttl,
            protocol,
            0,
            0,
        ];
        body.extend_from_slice(&source);
        body.extend_from_slice(&[10, 0, 0, 1]);
        body.extend_from_slice(payload);
        ethernet(from, ethertype::IPV4, &body)
    }

    /// An advertisement of fd00::2 to all nodes, or a variant.
    fn advertisement(from: Mac, hop_limit: u8, flags: u8, spoil: bool) -> Vec<u8> {
        let (source, all) = ("fd00::2", "ff02::1");
        let [source, all]: [Ipv6Addr; 2] = [source, all].map(|text| text.parse().unwrap());
        let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
        message.extend_from_slice(&source.octets());
        message.extend_from_slice(&[2, 1]);
        message.extend_from_slice(&from.0);
        let pseudo = sum(
            &all.octets(),
            sum(&source.octets(), 58 + message.len() as u32),
        );
        let check = !(sum(&message, pseudo) as u16) ^ u16::from(spoil);
        message[2..4].copy_from_slice(&check.to_be_bytes());
        let mut body = vec![0x60, 0, 0, 0, 0, message.len() as u8, 58, hop_limit];
        body.extend_from_slice(&source.octets());
        body.extend_from_slice(&all.octets());
        body.extend_from_slice(&message);
        ethernet(from, ethertype::IPV6, &body)
    }

    fn addresses_of(all: &Neighbors, mac: Mac) -> Vec<String> {
        let mut of: Vec<String> = all
            .addresses(2, 100 * S)
            .filter(|(_, address, _)| address.holder() == Some(mac))
            .map(|(ip, ..)| ip.to_string())
            .collect();
        of.sort();
        of
    }

    fn host(all: &Neighbors, mac: Mac) -> Option<Host> {
        all.hosts(2)
            .find(|(one, _)| **one == mac)
            .map(|(_, host)| host.clone())
    }

    #[test]
    fn invalid_neighbor_discovery_is_ignored() {
        let mut all = known();
        // Forwarded by a router, or damaged: receivers drop it. Without "override": a proxy's.
        observe(&mut all, S, &advertisement(B, 254, 0x20, false));
        observe(&mut all, S, &advertisement(B, 255, 0x20, true));
        assert!(host(&all, B).is_none_or(|host| host.heard & heard::ND == 0));
        let claims = |all: &Neighbors| -> u64 {
            all.addresses(2, S)
                .flat_map(|(_, one, _)| &one.claimants)
                .map(|one| one.claims)
                .sum()
        };
        observe(&mut all, S, &advertisement(B, 255, 0, false));
        assert_eq!(claims(&all), 0);
        observe(&mut all, 2 * S, &advertisement(B, 255, 0xa0, false));
        assert_eq!(
            (claims(&all), addresses_of(&all, B)),
            (1, vec!["fd00::2".to_owned()])
        );
        assert_ne!(host(&all, B).unwrap().roles & role::ND_ROUTER, 0);
    }

    #[test]
    fn forwarded_sources_are_not_addresses_of_the_router() {
        let mut all = known();
        for second in 1..4 {
            for number in 0..1000u32 {
                let [.., x, y] = number.to_be_bytes();
                observe(
                    &mut all,
                    second * S + u64::from(number),
                    &ip(B, [192, 0, x, y], (17, 57), &[0; 8]),
                );
            }
        }
        // With an initial TTL it belongs to a host of another network on this link.
        observe(&mut all, S, &ip(C, [192, 0, 2, 9], (17, 64), &[0; 8]));
        observe(&mut all, 3 * S, &ip(C, [192, 0, 2, 9], (17, 64), &[0; 8]));
        observe(&mut all, 3 * S, &ip(C, [10, 0, 0, 3], (17, 64), &[0; 8]));
        assert_eq!(all.hosts(2).count(), 2);
        assert_ne!(host(&all, B).unwrap().roles & role::FORWARDS, 0);
        assert_eq!(host(&all, C).unwrap().roles, 0);
        assert_eq!(addresses_of(&all, B), [""; 0]);
        assert_eq!(addresses_of(&all, C), ["10.0.0.3"]);
        // Traffic does not displace a claimant.
        observe(&mut all, 4 * S, &arp(1, C, [10, 0, 0, 3], [10, 0, 0, 9]));
        observe(&mut all, 5 * S, &ip(B, [10, 0, 0, 3], (17, 63), &[0; 8]));
        assert_eq!(addresses_of(&all, C), ["10.0.0.3"]);
        assert!(
            all.addresses(2, 6 * S)
                .all(|(.., verdict)| verdict.is_none())
        );
    }

    #[test]
    fn forwarded_queries_make_no_querier() {
        let mut all = known();
        observe(
            &mut all,
            S,
            &ip(B, [10, 0, 0, 2], (2, 64), &[0x11, 0, 0, 0, 0, 0, 0, 0]),
        );
        observe(
            &mut all,
            S,
            &ip(C, [10, 0, 0, 3], (2, 1), &[0x11, 0, 0, 0, 0, 0, 0, 0]),
        );
        assert_eq!(host(&all, B).unwrap().roles & role::IGMP_QUERIER, 0);
        assert_ne!(host(&all, C).unwrap().roles & role::IGMP_QUERIER, 0);
    }

    #[test]
    fn tagged_and_own_frames_are_ignored() {
        let mut all = known();
        let mut tagged = arp(1, B, [10, 0, 0, 2], [10, 0, 0, 9]);
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        observe(&mut all, S, &tagged);
        observe(&mut all, S, &arp(1, OWN, [10, 0, 0, 1], [10, 0, 0, 9]));
        assert_eq!(all.hosts(2).count(), 0);
        assert_eq!(addresses_of(&all, OWN), ["10.0.0.1"]);
        assert!(all.addresses(2, S).all(|(.., verdict)| verdict.is_none()));
    }

    #[test]
    fn two_masters_and_their_end_are_reported() {
        let mut all = known();
        let advert = |last: u8, priority: u8| {
            let mut frame = ip(
                Mac([2, 0, 0, 0, 0, last]),
                [10, 0, 0, last],
                (112, 255),
                &[0x31, 7, priority, 1, 0, 100, 0, 0, 10, 0, 0, 254],
            );
            frame[17] = 32;
            frame
        };
        for second in 0..6 {
            observe(
                &mut all,
                10 * S + second * S / 2,
                &advert(2 + (second % 2) as u8, 100),
            );
        }
        let events = all.drain_events();
        let two: Vec<String> = events
            .iter()
            .filter_map(|(.., event)| match event {
                NeighborEvent::TwoMasters(two) => Some(two.id.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(two, ["VRRP 7"]);
        all.expire(200 * S);
        let events = all.drain_events();
        let is_over = |event: &NeighborEvent| matches!(event, NeighborEvent::OneMaster(_));
        assert_eq!(
            events.iter().filter(|(.., event)| is_over(event)).count(),
            1
        );
    }

    /// Millions of pairs, each seen once or repeatedly: pinned entries stay, and all tables keep
    /// their limits.
    #[test]
    fn tables_stay_bounded_in_a_flood() {
        let mut all = known();
        let gateway = [10, 0, 0, 254];
        observe(&mut all, S, &arp(1, OWN, [10, 0, 0, 1], gateway));
        observe(&mut all, S, &arp(2, B, gateway, [10, 0, 0, 1]));
        for second in 2..6 {
            observe(
                &mut all,
                second * S,
                &arp(1, B, [10, 0, 0, 9], [10, 0, 0, 8]),
            );
            observe(
                &mut all,
                second * S,
                &arp(1, C, [10, 0, 0, 9], [10, 0, 0, 8]),
            );
        }
        let conflict = |all: &Neighbors, now: u64| {
            all.addresses(2, now).any(|(ip, _, verdict)| {
                ip.to_string() == "10.0.0.9"
                    && matches!(verdict, Some(AddressState::Conflict(one)) if one.current)
            })
        };
        assert!(conflict(&all, 6 * S));
        let flood = |all: &mut Neighbors, count: u64, step_ns: u64, repeat: u64| {
            for number in 0..count {
                let seed = (number / repeat)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .to_be_bytes();
                let mac = Mac([2, seed[0], seed[1], seed[2], seed[3], seed[4]]);
                let address = [10, 1 + seed[5] % 200, seed[6], seed[7]];
                let time_ns = 10 * S + number * step_ns;
                observe(all, time_ns, &arp(1, mac, address, [10, 0, 0, 8]));
                // Each a querier, too.
                observe(
                    all,
                    time_ns,
                    &ip(mac, address, (2, 1), &[0x11, 0, 0, 0, 0, 0, 0, 0]),
                );
            }
        };
        flood(&mut all, 200_000, 2_000, 1);
        // Slowly enough that each is recorded, and twice so that each is confirmed.
        flood(&mut all, 12_000, S + S / 2, 2);
        let (hosts, addresses) = (all.hosts(2).count(), all.addresses(2, S).count());
        assert!(
            hosts <= HOST_LIMITS.newcomers + HOST_LIMITS.established,
            "{hosts}"
        );
        assert!(
            addresses <= ADDRESS_LIMITS.newcomers + ADDRESS_LIMITS.established,
            "{addresses}"
        );
        assert_eq!((all.hosts, all.addresses), (hosts, addresses));
        assert!(
            all.limits.hosts > 100_000 && all.limits.addresses > 100_000,
            "{:?}",
            all.limits
        );
        assert!(all.links[&2].kept_queriers <= MAX_PINNED_QUERIERS);
        assert!(addresses_of(&all, B).contains(&"10.0.0.254".to_owned()));
        // Old by now, but still known.
        assert!(conflict(&all, 7 * S));
        assert!(host(&all, B).is_some() && host(&all, C).is_some());
        all.forget(2);
        assert_eq!((all.hosts, all.addresses), (0, 0));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic() {
        let mut all = known();
        let samples = [
            arp(1, B, [10, 0, 0, 2], [10, 0, 0, 1]),
            advertisement(B, 255, 0x20, false),
            ip(
                B,
                [10, 0, 0, 2],
                (17, 64),
                &[0x14, 0xe9, 0x14, 0xe9, 0, 12, 0, 0, 0, 0, 0x84, 0],
            ),
            ethernet(
                B,
                ethertype::LLDP,
                b"\x02\x07\x04\x02\0\0\0\0\x02\x0a\x02sw\0\0",
            ),
            ethernet(B, 7, b"\x42\x42\x03\0\0\0\0"),
        ];
        for sample in &samples {
            for end in 0..=sample.len() {
                observe(&mut all, S, &sample[..end]);
            }
            for at in 0..sample.len() {
                for byte in [0, 1, 0x45, 0x80, 0xff] {
                    let mut changed = sample.clone();
                    changed[at] = byte;
                    observe(&mut all, S, &changed);
                }
            }
        }
        assert!(all.hosts(2).count() > 0);
    }
}
