//! PURE. From frames to what the tables take in. Asked of every packet: who was heard in the last second
//! is known by one look into a small cache, and costs no more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{Address, Claim};
use super::host::{Host, heard, role};
use super::mac::is_station;
use super::{
    Change, Link, NEWCOMERS_A_SECOND, Neighbors, News, OF_ADDRESSES, OF_HOSTS, READ_A_SECOND,
};
use crate::wire::arp::Arp;
use crate::wire::cursor::{Cursor, Mac, sum};
use crate::wire::glance::{Glance, ethertype, ip_protocol};
use crate::wire::identity::{Identity, NameSource, Role};
use crate::wire::{Checksum, Frame, LinkType, Meaning, decode};

/// Places of the cache: 64 KiB, which a core keeps close, for some thousand pairs that talk at a time.
const PLACES: usize = 4096;
/// How long a pair is not looked at again. Times of last hearing are right to twice this, since nobody
/// asks about a flow that was seen within the second either.
const AGAIN_NS: u64 = 1_000_000_000;
/// Who was asked by this host lately; a host resolves some dozens at a time.
const ASKED: usize = 256;
/// The kernel asks again after a second, and answers come at once (net.ipv4.neigh.*.retrans_time_ms).
const ASKED_NS: u64 = 3_000_000_000;
/// Conflicts of a link that are never evicted: more are a flood, and told as long as they last.
const CONFLICTS: usize = 64;
/// Queriers of a link that are never evicted, as many as `multicast` knows.
const QUERIERS: usize = 16;
/// How often it is looked which conflicts are over.
const HOUSEKEEPING_NS: u64 = 60_000_000_000;
/// TTLs that systems and programs begin with: what comes with another has been forwarded.
const FIRST_TTLS: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 255];

/// Pairs of station and address that were heard lately, and whom this host asked.
#[derive(Debug)]
pub struct Recent {
    pairs: Box<[(u64, u64)]>,
    asked: Box<[(u64, u64)]>,
    looked_ns: u64,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            pairs: vec![(0, 0); PLACES].into(),
            asked: vec![(0, 0); ASKED].into(),
            looked_ns: 0,
        }
    }
}

impl Recent {
    /// Was this pair looked at within the last second? If not, it is from now on.
    #[inline]
    fn is_known(&mut self, key: u64, time_ns: u64) -> bool {
        let place = &mut self.pairs[key as usize % PLACES];
        // A clock that is set back must not make anybody known for long.
        if place.0 == key && time_ns.wrapping_sub(place.1) < AGAIN_NS {
            return true;
        }
        *place = (key, time_ns);
        false
    }
}

/// Spreads what is told apart over 64 bits. Whoever makes two alike gains that one of them is looked at a
/// second later.
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

/// A frame, and how it was seen.
#[derive(Clone, Copy)]
struct Seen<'a> {
    frame: &'a Frame<'a>,
    glance: &'a Glance,
    ifindex: u32,
    time_ns: u64,
    outbound: bool,
    from: Mac,
}

/// What traffic is called that says nothing else: by its kind, and what follows from it for the sender.
fn sign(seen: &Glance, bytes: &[u8]) -> (u16, u16) {
    let ttl_is = |at: usize| bytes.get(seen.network + at) == Some(&1);
    match seen.ip_protocol {
        // A query with another TTL is not one (RFC 9776, section 4).
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

/// UDP ports of what tells names: NetBIOS, DHCP, DHCPv6, mDNS, LLMNR.
#[inline]
fn tells_names(port: u16) -> bool {
    matches!(port, 67 | 68 | 137 | 546 | 547 | 5353 | 5355)
}

/// Is it TCP or UDP that says nothing but that its sender is there? Then it need not be shown again within
/// the second.
#[inline]
pub fn is_plain(seen: &Glance) -> bool {
    let says_more = |port: u16| tells_names(port) || matches!(port, 520 | 521 | 1985 | 2029);
    seen.vlan.is_none()
        && match seen.ip_protocol {
            ip_protocol::TCP => true,
            ip_protocol::UDP => !says_more(seen.destination_port) && !says_more(seen.source_port),
            _ => false,
        }
}

/// What its station and its source are known by, on Ethernet.
#[inline]
fn plain_pair(seen: &Glance, bytes: &[u8], ifindex: u32) -> Option<u64> {
    let word = |at: usize| -> Option<u64> {
        Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    // The two bytes behind the station are the same for all of its kind.
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

/// Source and TTL of an IP packet, from its bytes.
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

/// Can a host of a link have it?
fn is_of_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_loopback())
        }
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_loopback()),
    }
}

impl Neighbors {
    /// Takes a frame in that crossed an interface. A tagged one is of another link, and shows again,
    /// untagged, on the interface of its VLAN.
    #[inline]
    pub fn see(
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
        // Nearly all packets end here.
        if is_plain(glance) {
            if outbound {
                return;
            }
            if let Some(pair) = plain_pair(glance, frame.bytes, ifindex)
                && self.recent.is_known(pair, time_ns)
            {
                return;
            }
        }
        self.look_at(frame, glance, ifindex, time_ns, outbound);
    }

    #[inline(never)]
    fn look_at(
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
        let seen = Seen {
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
                    self.see_nd(&seen);
                }
                if outbound {
                    return;
                }
                if glance.ip_protocol == ip_protocol::UDP
                    && (tells_names(glance.destination_port) || tells_names(glance.source_port))
                {
                    self.see_names(&seen);
                }
                self.see_traffic(&seen);
            }
            ethertype::ARP => self.see_arp(&seen),
            _ if outbound => {}
            ethertype::LLDP => self.see_names(&seen),
            // STP and CDP stand behind an 802.3 length.
            kind if kind < ethertype::FIRST && kind > 0 => self.see_names(&seen),
            _ => self.see_station(&seen, heard::LINK, 0),
        }
    }

    /// What has no event of its own: which conflicts are over.
    pub fn keep_house(&mut self, now_ns: u64) {
        if now_ns.wrapping_sub(self.recent.looked_ns) < HOUSEKEEPING_NS {
            return;
        }
        self.recent.looked_ns = now_ns;
        let mut over = Vec::new();
        for (ifindex, link) in &mut self.links {
            link.kept_conflicts = 0;
            let told = link.addresses.iter().filter(|(_, address)| address.told);
            for (ip, address) in told {
                let conflict = address.conflict(now_ns, link.owner(ip, &self.own_macs));
                if !conflict.is_some_and(|conflict| conflict.current) {
                    over.push((*ifindex, *ip));
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
                address.told = false;
            }
            self.tell(ifindex, now_ns, News::Over(ip));
        }
    }

    fn see_traffic(&mut self, seen: &Seen<'_>) {
        let Some((source, ttl)) = source_of(seen.glance, seen.frame.bytes) else {
            return;
        };
        if is_plain(seen.glance) {
            // It is not known, or it would not be here.
            return self.see_pair(seen, source, ttl, (heard::IP, 0));
        }
        let (by, roles) = sign(seen.glance, seen.frame.bytes);
        let pair = mix(
            number(seen.from) | u64::from(by) << 48,
            address_number(source) ^ u64::from(seen.ifindex) << 40 ^ u64::from(roles) << 32,
        );
        if !self.recent.is_known(pair, seen.time_ns) {
            self.see_pair(seen, source, ttl, (by, roles));
        }
    }

    /// A station and a source, once in a while.
    fn see_pair(&mut self, seen: &Seen<'_>, source: IpAddr, ttl: u8, (by, roles): (u16, u16)) {
        if !is_station(seen.from) || self.own_macs.contains(&seen.from) {
            return;
        }
        let on_link = if is_of_a_host(source) {
            self.link(seen.ifindex).is_on_link(source)
        } else {
            None
        };
        if on_link != Some(true) {
            // Others' packets, by the thousand: the station is one.
            let forwarded = on_link == Some(false) && !FIRST_TTLS.contains(&ttl);
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
                    host.forwards();
                }
            }
            self.keep_querier(seen, roles);
            return;
        }
        // What a station writes that is not even taken in is worth nothing.
        let Some(host) = self.host(seen.ifindex, seen.from, seen.time_ns, false) else {
            return;
        };
        host.heard |= by;
        host.roles |= roles;
        self.keep_querier(seen, roles);
        if let Some(address) = self.address(seen.ifindex, source, seen.time_ns, false) {
            address.heard(seen.from, seen.time_ns);
        }
    }

    /// A station that speaks of itself without an address.
    fn see_station(&mut self, seen: &Seen<'_>, by: u16, roles: u16) {
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

    /// The first queriers of a link stay.
    fn keep_querier(&mut self, seen: &Seen<'_>, roles: u16) {
        if roles & (role::IGMP_QUERIER | role::MLD_QUERIER) == 0 {
            return;
        }
        let link = self.link(seen.ifindex);
        if link.kept_queriers < QUERIERS
            && let Some(host) = link.hosts.get_mut(&seen.from)
            && !host.kept
        {
            host.kept = true;
            link.kept_queriers += 1;
        }
    }

    fn see_arp(&mut self, seen: &Seen<'_>) {
        let Some(arp) = (seen.frame.bytes.get(seen.glance.network..)).and_then(Arp::read) else {
            return;
        };
        let is_own = self.own_macs.contains(&arp.sender_mac);
        // What this host passes on as a bridge is of another's; and what it sent may come back.
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
            // Switches and others ask a host in the same words whether it is still there, and it alone.
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

    /// Neighbour discovery, where it is whole and right: the hop limit shows that no router passed it on
    /// (RFC 4861, section 6.1.1 and following).
    fn see_nd(&mut self, seen: &Seen<'_>) {
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
                // Without "override" it is an anycast address or a proxy's: others may answer, too (RFC
                // 4861, section 7.2.4).
                if nd.overrides {
                    self.claimed(seen, target.into(), claim);
                } else if let Some(address) =
                    self.address(seen.ifindex, target.into(), seen.time_ns, false)
                {
                    address.heard(mac, seen.time_ns);
                }
            }
            (133 | 134, _) if nd.mac.is_some() => self.claimed(seen, nd.source.into(), claim),
            _ => {}
        }
    }

    fn claimed(&mut self, seen: &Seen<'_>, ip: IpAddr, claim: Claim) {
        if !is_of_a_host(ip) {
            return;
        }
        let place = self.recent.asked[address_number(ip) as usize % ASKED];
        // An answer to this host is no part of a flood from nowhere.
        let wanted = claim.answer
            && place.0 == address_number(ip)
            && seen.time_ns.wrapping_sub(place.1) < ASKED_NS;
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
        let disputed = address.claim(&claim);
        let is_kept = address.kept;
        let (change, duplicate) = (address.changed_by(&claim), address.new_duplicate());
        self.tell_claim(seen, ip, &claim, disputed, change, is_gateway);
        if let Some(hit) = duplicate {
            self.tell(seen.ifindex, seen.time_ns, News::Duplicate(ip, hit));
        }
        if is_gateway && let Some(host) = self.link(seen.ifindex).hosts.get_mut(&claim.mac) {
            host.pinned = true;
        }
        if disputed && !is_kept {
            let link = self.link(seen.ifindex);
            if link.kept_conflicts < CONFLICTS
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

    /// What a claim has brought about. What has moved to this host or away from it, this host knows.
    fn tell_claim(
        &mut self,
        seen: &Seen<'_>,
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
        let mut news = None;
        if (disputed || taken)
            && !address.told
            && let Some(conflict) = address.conflict(now_ns, own)
            && conflict.current
        {
            address.told = true;
            news = Some(News::Conflict(ip, conflict, is_gateway));
        } else if let Some(change) = change.filter(|_| own.is_none() && !address.told) {
            news = Some(News::Moved(ip, change, is_gateway));
        }
        if let Some(news) = news {
            self.tell(ifindex, now_ns, news);
        }
    }

    fn asked(&mut self, seen: &Seen<'_>, ip: IpAddr) {
        if seen.outbound {
            let number = address_number(ip);
            self.recent.asked[number as usize % ASKED] = (number, seen.time_ns);
        }
        // Only of those that are known: who asks for what is not there must not fill the table.
        if let Some(address) = self.link(seen.ifindex).addresses.get_mut(&ip) {
            address.asked(seen.time_ns);
        }
    }

    fn probed(&mut self, seen: &Seen<'_>, mac: Mac, ip: IpAddr) {
        if let Some(address) = self.address(seen.ifindex, ip, seen.time_ns, false) {
            address.probed(mac, seen.time_ns);
            if let Some(hit) = address.new_duplicate() {
                self.tell(seen.ifindex, seen.time_ns, News::Duplicate(ip, hit));
            }
        }
    }

    /// What tells names and roles is decoded: some of it each second.
    fn see_names(&mut self, seen: &Seen<'_>) {
        if !is_station(seen.from) || self.own_macs.contains(&seen.from) {
            return;
        }
        if !(self.link(seen.ifindex).read).take(seen.time_ns, READ_A_SECOND) {
            self.costs.unread += 1;
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
            self.see_station(seen, heard::LINK, 0);
        }
    }

    fn identified(&mut self, seen: &Seen<'_>, source: Option<IpAddr>, said: &Identity) {
        // A relay passes on what clients say: their names are not its own.
        let is_own = said.of.is_none_or(|of| of == seen.from);
        let is_its = |address: &Option<IpAddr>, link: &mut Link| match address {
            None => true,
            Some(address) => {
                Some(*address) == source
                    || (link.addresses.get_mut(address))
                        .is_some_and(|known| known.holder() == Some(seen.from))
            }
        };
        let link = self.link(seen.ifindex);
        let names: Vec<&String> = (said.names.iter())
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

    /// A station, heard now. `None`: it is new and there is no room. `must`: there is.
    fn host(&mut self, ifindex: u32, mac: Mac, time_ns: u64, must: bool) -> Option<&mut Host> {
        let link = self.links.entry(ifindex).or_default();
        let (hosts, costs, in_all) = (&mut link.hosts, &mut self.costs, &mut self.hosts);
        let mut proved = must;
        match hosts.find(&mac) {
            None => {
                if !must && !link.new_hosts.take(time_ns, NEWCOMERS_A_SECOND) {
                    costs.hosts += 1;
                    return None;
                }
                costs.hosts += hosts.add(mac, Host::new(time_ns), OF_HOSTS, in_all);
            }
            Some((host, established)) => {
                host.last_ns = time_ns;
                proved |= time_ns >= host.first_ns.saturating_add(AGAIN_NS);
                proved &= !established;
            }
        }
        if proved {
            costs.hosts += hosts.establish(&mac, time_ns, must, OF_HOSTS, in_all);
            // Where the table is full it may not have become so.
            if hosts.find(&mac).is_some_and(|(_, established)| established) {
                self.tell(ifindex, time_ns, News::Host(mac));
            }
        }
        self.links.get_mut(&ifindex)?.hosts.get_mut(&mac)
    }

    /// An address, heard now. `None`: it is new and there is no room. `must`: there is.
    fn address(
        &mut self,
        ifindex: u32,
        ip: IpAddr,
        time_ns: u64,
        must: bool,
    ) -> Option<&mut Address> {
        let link = self.links.entry(ifindex).or_default();
        let pinned = must && (link.gateways.contains(&ip) || link.own.contains_key(&ip));
        let (addresses, costs, in_all) =
            (&mut link.addresses, &mut self.costs, &mut self.addresses);
        let mut proved = must;
        match addresses.find(&ip) {
            None => {
                if !must && !link.new_addresses.take(time_ns, NEWCOMERS_A_SECOND) {
                    costs.addresses += 1;
                    return None;
                }
                costs.addresses += addresses.add(ip, Address::new(time_ns), OF_ADDRESSES, in_all);
            }
            Some((address, established)) => {
                proved |= time_ns >= address.first_ns.saturating_add(AGAIN_NS);
                proved &= !established;
            }
        }
        if proved {
            costs.addresses += addresses.establish(&ip, time_ns, must, OF_ADDRESSES, in_all);
        }
        let address = addresses.get_mut(&ip)?;
        address.pinned |= pinned;
        Some(address)
    }
}

/// A message of neighbour discovery, as far as it matters here.
struct Nd {
    kind: u8,
    source: Ipv6Addr,
    to_group: bool,
    target: Option<Ipv6Addr>,
    /// Of the option for the sender's, or the target's, link-layer address.
    mac: Option<Mac>,
    solicited: bool,
    overrides: bool,
    roles: u16,
}

/// Options of a message that are looked at; hosts send one or two, routers some more.
const MOST_OPTIONS: usize = 16;

impl Nd {
    fn read(seen: &Seen<'_>) -> Option<Nd> {
        let (bytes, glance) = (seen.frame.bytes, seen.glance);
        let header = bytes.get(glance.network..)?;
        let length = usize::from(u16::from_be_bytes([*header.get(4)?, *header.get(5)?]));
        let message = bytes.get(glance.transport..glance.network + 40 + length)?;
        let mut addresses = Cursor::new(header.get(8..40)?, 0);
        let (source, destination) = (addresses.ipv6().ok()?, addresses.ipv6().ok()?);
        // Hop limit, and a code of 0.
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
        // Of the target in advertisements, of the sender in all others.
        let wanted = if kind == 136 { 2 } else { 1 };
        for _ in 0..MOST_OPTIONS {
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
    use crate::neighbors::{LinkFacts, Verdict};
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
        all.links_are(&[facts], S);
        all
    }

    fn see(all: &mut Neighbors, time_ns: u64, bytes: &[u8]) {
        let frame = Frame {
            link: LinkType::Ethernet,
            bytes,
            original_length: bytes.len() as u32,
            checksum: Checksum::Unknown,
        };
        let outbound = bytes.get(6..12) == Some(&OWN.0[..]);
        all.see(
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

    /// An advertisement of fd00::2 to all, or what is made of it.
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
        let mut of: Vec<String> = (all.addresses(2, 100 * S))
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
    fn what_neighbour_discovery_must_be_like() {
        let mut all = known();
        // Passed on by a router, or damaged: whoever gets it drops it. Without "override": a proxy's.
        see(&mut all, S, &advertisement(B, 254, 0x20, false));
        see(&mut all, S, &advertisement(B, 255, 0x20, true));
        assert!(host(&all, B).is_none_or(|host| host.heard & heard::ND == 0));
        let claims = |all: &Neighbors| -> u64 {
            (all.addresses(2, S))
                .flat_map(|(_, one, _)| &one.claimants)
                .map(|one| one.claims)
                .sum()
        };
        see(&mut all, S, &advertisement(B, 255, 0, false));
        assert_eq!(claims(&all), 0);
        see(&mut all, 2 * S, &advertisement(B, 255, 0xa0, false));
        assert_eq!(
            (claims(&all), addresses_of(&all, B)),
            (1, vec!["fd00::2".to_owned()])
        );
        assert_ne!(host(&all, B).unwrap().roles & role::ND_ROUTER, 0);
    }

    #[test]
    fn a_router_has_none_of_what_it_forwards() {
        let mut all = known();
        for second in 1..4 {
            for number in 0..1000u32 {
                let [.., x, y] = number.to_be_bytes();
                see(
                    &mut all,
                    second * S + u64::from(number),
                    &ip(B, [192, 0, x, y], (17, 57), &[0; 8]),
                );
            }
        }
        // With the TTL that systems begin with it is of a host of another network here.
        see(&mut all, S, &ip(C, [192, 0, 2, 9], (17, 64), &[0; 8]));
        see(&mut all, 3 * S, &ip(C, [192, 0, 2, 9], (17, 64), &[0; 8]));
        see(&mut all, 3 * S, &ip(C, [10, 0, 0, 3], (17, 64), &[0; 8]));
        assert_eq!(all.hosts(2).count(), 2);
        assert_ne!(host(&all, B).unwrap().roles & role::FORWARDS, 0);
        assert_eq!(host(&all, C).unwrap().roles, 0);
        assert_eq!(addresses_of(&all, B), [""; 0]);
        assert_eq!(addresses_of(&all, C), ["10.0.0.3"]);
        // Traffic takes nothing from who claims it.
        see(&mut all, 4 * S, &arp(1, C, [10, 0, 0, 3], [10, 0, 0, 9]));
        see(&mut all, 5 * S, &ip(B, [10, 0, 0, 3], (17, 63), &[0; 8]));
        assert_eq!(addresses_of(&all, C), ["10.0.0.3"]);
        assert!(
            all.addresses(2, 6 * S)
                .all(|(.., verdict)| verdict.is_none())
        );
    }

    #[test]
    fn a_query_that_came_over_a_router_makes_no_querier() {
        let mut all = known();
        see(
            &mut all,
            S,
            &ip(B, [10, 0, 0, 2], (2, 64), &[0x11, 0, 0, 0, 0, 0, 0, 0]),
        );
        see(
            &mut all,
            S,
            &ip(C, [10, 0, 0, 3], (2, 1), &[0x11, 0, 0, 0, 0, 0, 0, 0]),
        );
        assert_eq!(host(&all, B).unwrap().roles & role::IGMP_QUERIER, 0);
        assert_ne!(host(&all, C).unwrap().roles & role::IGMP_QUERIER, 0);
    }

    #[test]
    fn tagged_frames_and_own_ones_are_of_others() {
        let mut all = known();
        let mut tagged = arp(1, B, [10, 0, 0, 2], [10, 0, 0, 9]);
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        see(&mut all, S, &tagged);
        see(&mut all, S, &arp(1, OWN, [10, 0, 0, 1], [10, 0, 0, 9]));
        assert_eq!(all.hosts(2).count(), 0);
        assert_eq!(addresses_of(&all, OWN), ["10.0.0.1"]);
        assert!(all.addresses(2, S).all(|(.., verdict)| verdict.is_none()));
    }

    /// Millions of pairs, each heard once or again and again: what is pinned stays right, and all there is
    /// stays within its bounds.
    #[test]
    fn floods_stay_in_their_bounds() {
        let mut all = known();
        let gateway = [10, 0, 0, 254];
        see(&mut all, S, &arp(1, OWN, [10, 0, 0, 1], gateway));
        see(&mut all, S, &arp(2, B, gateway, [10, 0, 0, 1]));
        for second in 2..6 {
            see(
                &mut all,
                second * S,
                &arp(1, B, [10, 0, 0, 9], [10, 0, 0, 8]),
            );
            see(
                &mut all,
                second * S,
                &arp(1, C, [10, 0, 0, 9], [10, 0, 0, 8]),
            );
        }
        let conflict = |all: &Neighbors, now: u64| {
            (all.addresses(2, now)).any(|(ip, _, verdict)| {
                ip.to_string() == "10.0.0.9"
                    && matches!(verdict, Some(Verdict::Conflict(one)) if one.current)
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
                see(all, time_ns, &arp(1, mac, address, [10, 0, 0, 8]));
                // A querier each, too.
                see(
                    all,
                    time_ns,
                    &ip(mac, address, (2, 1), &[0x11, 0, 0, 0, 0, 0, 0, 0]),
                );
            }
        };
        flood(&mut all, 200_000, 2_000, 1);
        // Slowly, so that each is taken in, and each twice, so that it proves itself.
        flood(&mut all, 12_000, S + S / 2, 2);
        let (hosts, addresses) = (all.hosts(2).count(), all.addresses(2, S).count());
        assert!(
            hosts <= OF_HOSTS.newcomers + OF_HOSTS.established,
            "{hosts}"
        );
        assert!(
            addresses <= OF_ADDRESSES.newcomers + OF_ADDRESSES.established,
            "{addresses}"
        );
        assert_eq!((all.hosts, all.addresses), (hosts, addresses));
        assert!(
            all.costs.hosts > 100_000 && all.costs.addresses > 100_000,
            "{:?}",
            all.costs
        );
        assert!(all.links[&2].kept_queriers <= QUERIERS);
        assert!(addresses_of(&all, B).contains(&"10.0.0.254".to_owned()));
        // Old by now, and still known.
        assert!(conflict(&all, 7 * S));
        assert!(host(&all, B).is_some() && host(&all, C).is_some());
        all.forget(2);
        assert_eq!((all.hosts, all.addresses), (0, 0));
    }

    #[test]
    fn whatever_comes_is_read_to_an_end() {
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
                see(&mut all, S, &sample[..end]);
            }
            for at in 0..sample.len() {
                for byte in [0, 1, 0x45, 0x80, 0xff] {
                    let mut changed = sample.clone();
                    changed[at] = byte;
                    see(&mut all, S, &changed);
                }
            }
        }
        assert!(all.hosts(2).count() > 0);
    }
}
