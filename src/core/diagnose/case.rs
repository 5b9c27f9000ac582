//! PURE. Queries on the evidence that the rules share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::evidence::{BeforeAfter, GroupEvidence, Holder, KernelState, Link};
use super::wire::{GroupPacket, Message, MessageKind};
use crate::host::socket::ProcSocket;
use crate::multicast::{Querier, QuerierState, Timers};
use crate::wire::Direction;
use crate::wire::glance::ip_protocol;

/// Delay that an answer may have beyond its time limit: kernel timers, and the network.
pub const SLACK_NS: u64 = 500_000_000;
pub const SECOND_NS: u64 = 1_000_000_000;

/// The evidence, with derived facts that many rules need.
pub struct Case<'a> {
    /// All evidence.
    pub evidence: &'a GroupEvidence,
    /// Kernel state; `None` for a capture file.
    pub host: Option<&'a KernelState>,
    /// The group.
    pub group: IpAddr,
    /// Packets of the group received during the window, by interface of the IP layer.
    pub received: BTreeMap<u32, Vec<&'a GroupPacket>>,
    /// Packets of the group that this host sent during the window, by interface.
    pub sent: BTreeMap<u32, Vec<&'a GroupPacket>>,
    /// Interfaces on which the kernel holds the group.
    pub joined: Vec<u32>,
    /// Interfaces on which the kernel holds the group but no packet of it came in.
    pub without_traffic: Vec<u32>,
    /// Whether packets of the group were observed at all. Otherwise rules conclude nothing from their absence.
    pub has_packets: bool,
}

impl<'a> Case<'a> {
    /// Derives the facts for the group of the subject.
    pub fn new(evidence: &'a GroupEvidence) -> Case<'a> {
        Case::of(evidence, evidence.subject.group)
    }

    /// Derives the facts for another group.
    pub fn of(evidence: &'a GroupEvidence, group: IpAddr) -> Case<'a> {
        let mut case = Case {
            evidence,
            host: evidence.host.as_ref(),
            group,
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            joined: vec![],
            without_traffic: vec![],
            has_packets: true,
        };
        let (from, to) = evidence.window;
        for packet in &evidence.wire.group_packets {
            let in_window = (from..=to).contains(&packet.time_ns);
            if !in_window || !case.is_wanted(packet.ifindex) || !case.is_of_ip(packet.ifindex) {
                continue;
            }
            if packet.is_inbound() {
                case.received
                    .entry(packet.ifindex)
                    .or_default()
                    .push(packet);
            } else if case.is_own(packet.source) || case.host.is_none() {
                case.sent.entry(packet.ifindex).or_default().push(packet);
            }
        }
        if let Some(host) = case.host {
            let holds = |ifindex: &u32| {
                let held = host.memberships.get(ifindex);
                held.is_some_and(|all| all.iter().any(|one| one.group == case.group))
            };
            let links = host.links.iter().filter(|link| !link.is_loopback());
            case.joined = links
                .map(|link| link.ifindex)
                .filter(|ifindex| case.is_wanted(*ifindex) && holds(ifindex))
                .collect();
            case.without_traffic = case
                .joined
                .iter()
                .copied()
                .filter(|ifindex| {
                    !case.received.contains_key(ifindex) && !case.is_between(*ifindex)
                })
                .collect();
        }
        case
    }

    /// Returns the end of the window, in nanoseconds since 1970.
    pub fn now_ns(&self) -> u64 {
        self.evidence.window.1
    }

    /// Returns whether the subject includes this interface.
    pub fn is_wanted(&self, ifindex: u32) -> bool {
        self.evidence
            .subject
            .interface
            .as_ref()
            .is_none_or(|name| *name == self.name(ifindex))
    }

    /// Returns whether the IP layer receives on this interface: not on bridge or bond ports, nor loopback.
    fn is_of_ip(&self, ifindex: u32) -> bool {
        self.link(ifindex)
            .is_none_or(|link| link.master.is_none() && !link.is_loopback())
    }

    /// Returns the state of an interface, if known.
    pub fn link(&self, ifindex: u32) -> Option<&'a Link> {
        self.host?.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// Returns the name of an interface.
    pub fn name(&self, ifindex: u32) -> String {
        let known = self.link(ifindex).map(|link| link.name.clone());
        known
            .or_else(|| self.evidence.wire.names.get(&ifindex).cloned())
            .unwrap_or_else(|| format!("interface {ifindex}"))
    }

    /// Returns whether this is an address of this host.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.host
            .iter()
            .flat_map(|host| &host.links)
            .any(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }

    /// Returns a sysctl, by its path below /proc/sys.
    pub fn sysctl(&self, name: &str) -> Option<i64> {
        self.host?.sysctls.get(name).copied()
    }

    /// Returns a sysctl of an interface, or that of "all" if it is higher.
    pub fn sysctl_max(&self, ifindex: u32, name: &str) -> i64 {
        let of = |part: &str| self.sysctl(&format!("net/ipv4/conf/{part}/{name}"));
        let own = of(&self.name(ifindex)).unwrap_or(0);
        own.max(of("all").unwrap_or(0))
    }

    /// Returns by how much a counter of the group's family increased: `InReceives`, `UdpIgnoredMulti`.
    pub fn moved(&self, name: &str) -> u64 {
        let Some(BeforeAfter { before, after }) = self.host.map(|host| &host.counters) else {
            return 0;
        };
        let full = match (self.group.is_ipv4(), name) {
            (true, "InMcastPkts" | "OutMcastPkts") => format!("IpExt{name}"),
            (true, _) if name.starts_with("Udp") || name.starts_with("TcpExt") => name.into(),
            (true, _) => format!("Ip{name}"),
            (false, _) => match name.strip_prefix("Udp") {
                Some(rest) => format!("Udp6{rest}"),
                None => format!("Ip6{name}"),
            },
        };
        after.moved(before, &full)
    }

    /// Returns the number of datagrams that reached UDP: delivered, queued, dropped for lack of buffer
    /// space, or without a socket.
    pub fn reached_udp(&self) -> u64 {
        let counted = [
            "UdpInDatagrams",
            "UdpInErrors",
            "UdpIgnoredMulti",
            "UdpNoPorts",
        ];
        let counted: u64 = counted.iter().map(|name| self.moved(name)).sum();
        let waits = self
            .sockets()
            .into_iter()
            .any(|socket| socket.queued > self.before(socket).map_or(0, |before| before.queued));
        let waiting: usize = self.received.values().map(Vec::len).sum();
        counted + if waits { waiting as u64 } else { 0 }
    }

    /// Returns the UDP ports in question: that of the subject, or those of the packets.
    pub fn ports(&self) -> BTreeSet<u16> {
        if let Some(port) = self.evidence.subject.port {
            return BTreeSet::from([port]);
        }
        self.received
            .values()
            .flatten()
            .filter(|packet| packet.protocol == ip_protocol::UDP)
            .filter_map(|packet| Some(packet.ports?.1))
            .collect()
    }

    /// Returns the sockets whose address accepts a packet of the group to one of its ports.
    pub fn sockets(&self) -> Vec<&'a ProcSocket> {
        let ports = self.ports();
        let Some(host) = self.host else {
            return vec![];
        };
        host.udp
            .after
            .iter()
            .filter(|socket| {
                let local = socket.local.ip();
                ports.contains(&socket.local.port())
                    && (local == self.group || local.is_unspecified())
                    && (local.is_ipv4() == self.group.is_ipv4() || local.is_ipv6())
            })
            .collect()
    }

    /// Returns the same socket at the beginning of the window, if it existed.
    pub fn before(&self, socket: &ProcSocket) -> Option<&'a ProcSocket> {
        self.host?
            .udp
            .before
            .iter()
            .find(|before| before.inode == socket.inode)
    }

    /// Returns the process that holds a socket, if known.
    pub fn holder(&self, inode: u64) -> Option<&'a Holder> {
        let holders = self.host?.holders.as_ref()?;
        holders.iter().find(|holder| holder.inode == inode)
    }

    /// Describes a socket.
    pub fn socket_text(&self, socket: &ProcSocket) -> String {
        match self.holder(socket.inode) {
            Some(holder) => format!("{}'s socket {}", holder.process, socket.local),
            None => format!("the socket {} of user {}", socket.local, socket.uid),
        }
    }

    /// Iterates over IGMP or MLD messages of the group's family on an interface.
    pub fn messages(&self, ifindex: u32) -> impl Iterator<Item = &'a Message> + use<'a> {
        let is_ipv4 = self.group.is_ipv4();
        self.evidence.wire.messages.iter().filter(move |message| {
            message.ifindex == ifindex && message.source.is_ipv4() == is_ipv4
        })
    }

    /// Iterates over general queries that this host must answer. IPv6 hosts ignore invalid ones (RFC 3810,
    /// section 5.1.14).
    pub fn queries(&self, ifindex: u32) -> impl Iterator<Item = &'a Message> + use<'a> {
        self.messages(ifindex).filter(|message| {
            message.is_general_query() && !message.outbound && is_legal_query(message)
        })
    }

    /// Returns general queries whose response time is over, newest first, each with the end of that time.
    pub fn answered_queries(&self, ifindex: u32) -> Vec<(&'a Message, u64)> {
        let now = self.now_ns();
        let mut all: Vec<(&Message, u64)> = self
            .queries(ifindex)
            .filter_map(|query| match query.kind {
                MessageKind::Query {
                    max_response_ns, ..
                } => Some((query, query.time_ns + max_response_ns + SLACK_NS)),
                MessageKind::Report { .. } => None,
            })
            .filter(|(_, end)| *end <= now)
            .collect();
        all.reverse();
        all
    }

    /// Iterates over reports for the group on an interface; `true` for joining, `false` for leaving.
    pub fn reports(&self, ifindex: u32) -> impl Iterator<Item = (&'a Message, bool)> + use<'a> {
        let group = self.group;
        self.messages(ifindex)
            .filter_map(move |message| Some((message, message.of_group(group)?)))
    }

    /// Returns the time of this host's last membership report.
    pub fn last_own_report(&self, ifindex: u32) -> Option<u64> {
        self.reports(ifindex)
            .filter(|(message, joins)| message.outbound && *joins)
            .map(|(message, _)| message.time_ns)
            .last()
    }

    /// Returns when this host reported joining the group for the first time since it last left it; `None`
    /// if the record has no such report, that is if it has been a member for longer, or does not report.
    pub fn member_since(&self, ifindex: u32) -> Option<u64> {
        let mut since = None;
        for (message, joins) in self
            .reports(ifindex)
            .filter(|(message, _)| message.outbound)
        {
            since = match (joins, since) {
                (false, _) => None,
                (true, None) => Some(message.time_ns),
                (true, known) => known,
            };
        }
        since
    }

    /// Returns other members by interface, as reported on the wire.
    pub fn members_elsewhere(&self) -> BTreeMap<u32, Vec<IpAddr>> {
        let now = self.now_ns();
        let mut all: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for (ifindex, group, host, member) in self.evidence.wire.trackers.groups.iter() {
            let kept = self.timers(ifindex).membership_ns();
            if group == self.group && !member.own && member.is_current(now, kept) {
                all.entry(ifindex).or_default().push(host);
            }
        }
        all
    }

    /// Returns other members by interface of the IP layer. A bridge with a querier takes reports in at its
    /// ports, so a report on a port is that of a member behind the bridge.
    pub fn members_by_segment(&self) -> BTreeMap<u32, BTreeSet<IpAddr>> {
        let mut all: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        for (ifindex, hosts) in self.members_elsewhere() {
            if let Some(segment) = self.segment(ifindex) {
                all.entry(segment).or_default().extend(hosts);
            }
        }
        all
    }

    /// Returns the interface of the IP layer for an interface: the bridge or bond above a port, or itself.
    fn segment(&self, ifindex: u32) -> Option<u32> {
        let link = self.link(ifindex).filter(|link| !link.is_loopback())?;
        Some(link.master.unwrap_or(ifindex))
    }

    /// Iterates over packets of the group that came in during the window on an interface of the IP layer,
    /// or on a port below it: a snooping bridge passes up only what the host itself has joined.
    pub fn incoming(&self, segment: u32) -> impl Iterator<Item = &'a GroupPacket> {
        let (from, to) = self.evidence.window;
        let packets = self.evidence.wire.group_packets.iter();
        packets.filter(move |packet| {
            packet.is_inbound()
                && (from..=to).contains(&packet.time_ns)
                && self.segment(packet.ifindex) == Some(segment)
        })
    }

    /// Returns the interfaces of the IP layer on which packets of the group came in, as far as the subject
    /// includes them.
    pub fn incoming_segments(&self) -> BTreeSet<u32> {
        let (from, to) = self.evidence.window;
        let packets = self.evidence.wire.group_packets.iter();
        packets
            .filter(|packet| packet.is_inbound() && (from..=to).contains(&packet.time_ns))
            .filter_map(|packet| self.segment(packet.ifindex))
            .filter(|segment| self.is_wanted(*segment))
            .collect()
    }

    /// Returns whether a packet of the group was seen during the window, in either direction, on an
    /// interface of the IP layer or on a port below it.
    pub fn is_supplied(&self, segment: u32) -> bool {
        let (from, to) = self.evidence.window;
        self.evidence.wire.group_packets.iter().any(|packet| {
            (from..=to).contains(&packet.time_ns) && self.segment(packet.ifindex) == Some(segment)
        })
    }

    /// Returns whether anything else than this diagnosis holds the group on an interface.
    pub fn is_joined_by_others(&self, ifindex: u32) -> bool {
        let Some(host) = self.host.filter(|_| self.joined.contains(&ifindex)) else {
            return false;
        };
        let users = self.users(ifindex);
        let own = host.holders.iter().flatten().filter(|holder| {
            host.own_pids.contains(&holder.process.pid)
                && holder.joined.iter().any(|(at, ..)| *at == ifindex)
        });
        !self.evidence.subject.joined_here || users > own.count() as u64
    }

    /// Returns the number of sockets and parts of the kernel that hold the group on an interface.
    pub fn users(&self, ifindex: u32) -> u64 {
        let held = self.host.and_then(|host| host.memberships.get(&ifindex));
        let held = held.into_iter().flatten();
        held.filter(|one| one.group == self.group)
            .map(|one| one.users)
            .sum()
    }

    /// Returns whether an interface accepts a source of the group: all, unless every socket that holds it
    /// there names its sources, and none names this one.
    pub fn accepts(&self, ifindex: u32, source: IpAddr) -> bool {
        let Some(host) = self.host else { return true };
        let filters: Vec<_> = host
            .filters
            .iter()
            .filter(|filter| filter.ifindex == ifindex && filter.group == self.group)
            .collect();
        let named: u64 = filters.iter().map(|filter| filter.include).sum();
        let is_named = filters
            .iter()
            .any(|filter| filter.source == source && filter.include > 0);
        named == 0 || named < self.users(ifindex) || is_named
    }

    /// Returns a socket that waits for the group, if there is one: bound to its address, or to no address
    /// and one of its ports.
    pub fn waiting_socket(&self) -> Option<&'a ProcSocket> {
        let bound = self.host?.udp.after.iter();
        let mut bound = bound.filter(|socket| socket.local.ip() == self.group);
        bound.next().or_else(|| self.sockets().into_iter().next())
    }

    /// Returns whether a program of this host receives the group, or waits for it.
    pub fn has_receiver(&self) -> bool {
        !self.joined.is_empty() || self.waiting_socket().is_some()
    }

    /// Returns the newest packet of the group received on an interface.
    pub fn last_arrival(&self, ifindex: u32) -> Option<&'a GroupPacket> {
        self.evidence
            .wire
            .group_packets
            .iter()
            .rev()
            .find(|one| one.ifindex == ifindex && one.is_inbound())
    }

    /// Returns the timers of an interface, from its querier if there was one.
    pub fn timers(&self, ifindex: u32) -> Timers {
        let queriers = &self.evidence.wire.trackers.queriers;
        queriers.timers(ifindex, self.group.is_ipv4(), self.now_ns())
    }

    /// Returns the queriers of an interface with their current state.
    pub fn queriers(&self, ifindex: u32) -> Vec<(&'a Querier, QuerierState)> {
        self.evidence
            .wire
            .trackers
            .queriers
            .iter(self.now_ns())
            .filter(|(querier, _)| {
                querier.ifindex == ifindex && querier.address.is_ipv4() == self.group.is_ipv4()
            })
            .collect()
    }

    /// Returns the relevant interfaces of the IP layer: where the group is joined, received or sent, or
    /// which the subject names; without any, all with group management messages.
    pub fn interfaces(&self) -> Vec<u32> {
        let mut all: BTreeSet<u32> = self.joined.iter().copied().collect();
        all.extend(self.received.keys());
        all.extend(self.sent.keys());
        if let (Some(host), Some(name)) = (self.host, &self.evidence.subject.interface) {
            let named = host.links.iter().filter(|link| link.name == *name);
            all.extend(named.map(|link| link.ifindex));
        }
        if all.is_empty() {
            let messages = self.evidence.wire.messages.iter();
            all.extend(
                messages
                    .map(|message| message.ifindex)
                    .filter(|ifindex| self.is_wanted(*ifindex) && self.is_of_ip(*ifindex)),
            );
        }
        all.into_iter().collect()
    }

    /// Returns whether the group is joined on an interface but not received there.
    pub fn is_silent(&self, ifindex: u32) -> bool {
        self.without_traffic.contains(&ifindex)
    }

    /// Returns whether the time since the last packet is a usual interval between two packets, as with
    /// periodic announcements. The longest intervals are excluded: they are earlier failures.
    pub fn is_between(&self, ifindex: u32) -> bool {
        let times: Vec<u64> = self
            .evidence
            .wire
            .group_packets
            .iter()
            .filter(|one| one.ifindex == ifindex && one.is_inbound())
            .map(|one| one.time_ns)
            .collect();
        let Some(last) = times.last() else {
            return false;
        };
        let mut gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len().saturating_sub(1) * 98 / 100);
        let since = self.now_ns().saturating_sub(*last);
        usual.is_some_and(|usual| since <= usual.saturating_mul(3))
    }

    /// Returns whether hosts report this group: not all-systems, and link-local groups depending on a sysctl.
    pub fn is_reported(&self) -> bool {
        match self.group {
            IpAddr::V4(v4) if v4.octets() == [224, 0, 0, 1] => false,
            IpAddr::V4(_) if is_link_local(self.group) => {
                self.sysctl("net/ipv4/igmp_link_local_mcast_reports") != Some(0)
            }
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => {
                let all_nodes = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                v6.segments()[0] & 0x0f > 1 && v6 != all_nodes
            }
        }
    }

    /// Returns the time of this host's first membership report in the record.
    pub fn first_own_report(&self, ifindex: u32) -> Option<u64> {
        self.reports(ifindex)
            .find(|(message, joins)| message.outbound && *joins)
            .map(|(message, _)| message.time_ns)
    }

    /// Returns how far back the record reaches, in nanoseconds.
    pub fn recorded_ns(&self) -> u64 {
        self.now_ns().saturating_sub(self.evidence.since_ns)
    }

    /// Returns whether this host routes multicast.
    pub fn is_router(&self) -> bool {
        self.host.is_some_and(|host| !host.vifs.after.is_empty())
    }

    /// Returns whether this host is a router or bridge between senders and receivers.
    pub fn passes_through(&self) -> bool {
        let (into, out) = self.bridged();
        self.is_router() || !into.is_empty() || !out.is_empty()
    }

    /// Returns the number of packets of the group in and out during the window, by bridge port.
    pub fn bridged(&self) -> (BTreeMap<u32, usize>, BTreeMap<u32, usize>) {
        let (mut into, mut out) = (BTreeMap::new(), BTreeMap::new());
        let (from, to) = self.evidence.window;
        for packet in &self.evidence.wire.group_packets {
            let is_port = self
                .link(packet.ifindex)
                .is_some_and(|link| link.port.is_some());
            if is_port && (from..=to).contains(&packet.time_ns) {
                let to = if packet.is_inbound() {
                    &mut into
                } else {
                    &mut out
                };
                *to.entry(packet.ifindex).or_default() += 1;
            }
        }
        (into, out)
    }

    /// Returns whether the group works on this host: it arrives where it is joined, is sent, or is forwarded.
    pub fn works(&self) -> bool {
        let Some(host) = self.host else {
            return !self.received.is_empty() || !self.sent.is_empty();
        };
        let arrives = self
            .joined
            .iter()
            .any(|ifindex| !self.without_traffic.contains(ifindex));
        let routed = host.vifs.after.iter().any(|vif| {
            let before = host
                .vifs
                .before
                .iter()
                .find(|before| before.number == vif.number);
            vif.packets_out > before.map_or(0, |before| before.packets_out)
        });
        let (into, out) = self.bridged();
        let bridged = !into.is_empty() && !out.is_empty();
        arrives || !self.sent.is_empty() || routed || bridged
    }
}

/// Returns whether hosts answer this query. MLD queries need a link-local source, hop limit 1 and router
/// alert; IGMP queries are accepted in any form in practice.
pub fn is_legal_query(message: &Message) -> bool {
    match message.source {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => v6.is_unicast_link_local() && message.ttl == 1 && message.router_alert,
    }
}

/// Returns the packets addressed to this host on the link.
pub fn for_us<'a>(packets: &[&'a GroupPacket]) -> Vec<&'a GroupPacket> {
    packets
        .iter()
        .copied()
        .filter(|packet| packet.direction != Direction::ToOther)
        .collect()
}

/// Returns whether the increase `moved` accounts for `packets`: at least 80 % of them, since packets at the
/// ends of the window may be in one count only.
pub fn accounts_for(moved: u64, packets: usize) -> bool {
    packets > 0 && moved * 10 >= packets as u64 * 8
}

/// Returns whether both counts are equal, apart from packets at the ends of the window.
pub fn about_equal(moved: u64, packets: usize) -> bool {
    moved.abs_diff(packets as u64) <= 2 + packets as u64 / 20
}

/// Returns whether a group is in 224.0.0.0/24, or has node or link scope (RFC 5771, RFC 4291).
pub fn is_link_local(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => matches!(v6.segments()[0] & 0x0f, 1 | 2),
    }
}

/// Returns whether a group is source-specific: 232.0.0.0/8 or ff3x::/32 (RFC 4607).
pub fn is_source_specific(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => v4.octets()[0] == 232,
        IpAddr::V6(v6) => v6.segments()[0] & 0xfff0 == 0xff30 && v6.segments()[1] == 0,
    }
}

/// Returns "IGMP" or "MLD".
pub fn protocol(group: IpAddr) -> &'static str {
    if group.is_ipv4() { "IGMP" } else { "MLD" }
}

/// Formats a duration as seconds: "4.2 s".
pub fn seconds(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}

/// Joins items: "10.0.0.1, 10.0.0.2".
pub fn list<T: std::fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    words.join(", ")
}

/// Returns the sources of packets.
pub fn sources(packets: &[&GroupPacket]) -> BTreeSet<IpAddr> {
    packets.iter().map(|packet| packet.source).collect()
}
