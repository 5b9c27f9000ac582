//! PURE. What the rules ask of the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::evidence::{Evidence, Holder, Host, Link, Span};
use super::wire::{Datum, Message, Says};
use crate::host::socket::ProcSocket;
use crate::multicast::{Querier, Standing, Timers};
use crate::wire::Direction;
use crate::wire::glance::ip_protocol;

/// What an answer may be late beside its time limit: timers of the kernel, and the way.
pub const SLACK_NS: u64 = 500_000_000;
pub const SECOND_NS: u64 = 1_000_000_000;

/// A case: the evidence, and what is asked of it again and again.
pub struct Case<'a> {
    /// All of it.
    pub all: &'a Evidence,
    /// What the kernel says; `None`: a capture file.
    pub host: Option<&'a Host>,
    /// The group.
    pub group: IpAddr,
    /// Packets of the group that came in during the window, by interface of the IP layer.
    pub arrivals: BTreeMap<u32, Vec<&'a Datum>>,
    /// Packets of the group that this host sent during the window, by interface.
    pub sendings: BTreeMap<u32, Vec<&'a Datum>>,
    /// Interfaces on which the kernel holds the group.
    pub joined: Vec<u32>,
    /// Interfaces on which the kernel holds the group, and nothing of it came in.
    pub starving: Vec<u32>,
    /// Were the group's packets looked at? Else nothing is said of them.
    pub has_packets: bool,
}

impl<'a> Case<'a> {
    /// Puts the evidence in order.
    pub fn new(all: &'a Evidence) -> Case<'a> {
        Case::of(all, all.subject.group)
    }

    /// The same as it is for another group.
    pub fn of(all: &'a Evidence, group: IpAddr) -> Case<'a> {
        let mut case = Case {
            all,
            host: all.host.as_ref(),
            group,
            arrivals: BTreeMap::new(),
            sendings: BTreeMap::new(),
            joined: vec![],
            starving: vec![],
            has_packets: true,
        };
        let (from, to) = all.window;
        for datum in &all.wire.data {
            let in_window = (from..=to).contains(&datum.time_ns);
            if !in_window || !case.is_wanted(datum.ifindex) || !case.is_of_ip(datum.ifindex) {
                continue;
            }
            if datum.is_inbound() {
                case.arrivals.entry(datum.ifindex).or_default().push(datum);
            } else if case.is_own(datum.source) || case.host.is_none() {
                case.sendings.entry(datum.ifindex).or_default().push(datum);
            }
        }
        if let Some(host) = case.host {
            let holds = |ifindex: &u32| {
                let held = host.memberships.get(ifindex);
                held.is_some_and(|all| all.iter().any(|one| one.group == case.group))
            };
            let links = host.links.iter().filter(|link| !link.is_loopback());
            case.joined = (links.map(|link| link.ifindex))
                .filter(|ifindex| case.is_wanted(*ifindex) && holds(ifindex))
                .collect();
            case.starving = (case.joined.iter().copied())
                .filter(|ifindex| {
                    !case.arrivals.contains_key(ifindex) && !case.is_between(*ifindex)
                })
                .collect();
        }
        case
    }

    /// The end of the window.
    pub fn now_ns(&self) -> u64 {
        self.all.window.1
    }

    /// Does the question allow this interface?
    pub fn is_wanted(&self, ifindex: u32) -> bool {
        (self.all.subject.interface.as_ref()).is_none_or(|name| *name == self.name(ifindex))
    }

    /// Does the IP layer receive by this interface? Not by ports of bridges and bonds, nor by loopback.
    fn is_of_ip(&self, ifindex: u32) -> bool {
        self.link(ifindex)
            .is_none_or(|link| link.master.is_none() && !link.is_loopback())
    }

    /// An interface, where its state is known.
    pub fn link(&self, ifindex: u32) -> Option<&'a Link> {
        (self.host?.links.iter()).find(|link| link.ifindex == ifindex)
    }

    /// What an interface is called.
    pub fn name(&self, ifindex: u32) -> String {
        let known = self.link(ifindex).map(|link| link.name.clone());
        known
            .or_else(|| self.all.wire.names.get(&ifindex).cloned())
            .unwrap_or_else(|| format!("interface {ifindex}"))
    }

    /// Is it an address of this host?
    pub fn is_own(&self, who: IpAddr) -> bool {
        (self.host.iter().flat_map(|host| &host.links))
            .any(|link| link.addresses.iter().any(|(own, _)| *own == who))
    }

    /// A sysctl.
    pub fn sysctl(&self, name: &str) -> Option<i64> {
        self.host?.sysctls.get(name).copied()
    }

    /// A sysctl of an interface, or the one for all if that is greater.
    pub fn sysctl_max(&self, ifindex: u32, name: &str) -> i64 {
        let of = |part: &str| self.sysctl(&format!("net/ipv4/conf/{part}/{name}"));
        let own = of(&self.name(ifindex)).unwrap_or(0);
        own.max(of("all").unwrap_or(0))
    }

    /// How far a counter of the group's family moved: `InReceives`, `UdpIgnoredMulti`.
    pub fn moved(&self, name: &str) -> u64 {
        let Some(Span { before, after }) = self.host.map(|host| &host.counters) else {
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

    /// Datagrams that UDP got to see, whatever became of them: read by somebody, waiting, dropped for want
    /// of room, or wanted by no socket.
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
        let waiting: usize = self.arrivals.values().map(Vec::len).sum();
        counted + if waits { waiting as u64 } else { 0 }
    }

    /// UDP ports that matter: the one asked about, or those of the packets.
    pub fn ports(&self) -> BTreeSet<u16> {
        if let Some(port) = self.all.subject.port {
            return BTreeSet::from([port]);
        }
        (self.arrivals.values().flatten())
            .filter(|datum| datum.protocol == ip_protocol::UDP)
            .filter_map(|datum| Some(datum.ports?.1))
            .collect()
    }

    /// Sockets that would take a packet of the group to one of its ports, by their addresses.
    pub fn sockets(&self) -> Vec<&'a ProcSocket> {
        let ports = self.ports();
        let Some(host) = self.host else {
            return vec![];
        };
        (host.udp.after.iter())
            .filter(|socket| {
                let local = socket.local.ip();
                ports.contains(&socket.local.port())
                    && (local == self.group || local.is_unspecified())
                    && (local.is_ipv4() == self.group.is_ipv4() || local.is_ipv6())
            })
            .collect()
    }

    /// The same socket at the beginning of the window, if it was there.
    pub fn before(&self, socket: &ProcSocket) -> Option<&'a ProcSocket> {
        (self.host?.udp.before.iter()).find(|before| before.inode == socket.inode)
    }

    /// Whose a socket is.
    pub fn holder(&self, inode: u64) -> Option<&'a Holder> {
        let holders = self.host?.holders.as_ref()?;
        holders.iter().find(|holder| holder.inode == inode)
    }

    /// A socket in words.
    pub fn socket_text(&self, socket: &ProcSocket) -> String {
        match self.holder(socket.inode) {
            Some(holder) => format!("{}'s socket {}", holder.process, socket.local),
            None => format!("the socket {} of user {}", socket.local, socket.uid),
        }
    }

    /// Messages of the group's family on an interface.
    pub fn messages(&self, ifindex: u32) -> impl Iterator<Item = &'a Message> + use<'a> {
        let is_ipv4 = self.group.is_ipv4();
        (self.all.wire.messages.iter()).filter(move |message| {
            message.ifindex == ifindex && message.source.is_ipv4() == is_ipv4
        })
    }

    /// General queries of others that a host here has to answer. IPv6 hosts ignore illegal ones (RFC
    /// 3810, section 5.1.14).
    pub fn queries(&self, ifindex: u32) -> impl Iterator<Item = &'a Message> + use<'a> {
        (self.messages(ifindex)).filter(|message| {
            message.is_general_query() && !message.outbound && is_legal_query(message)
        })
    }

    /// General queries whose time for an answer is over, newest first: the query, and when that time
    /// ended.
    pub fn answered_queries(&self, ifindex: u32) -> Vec<(&'a Message, u64)> {
        let now = self.now_ns();
        let mut all: Vec<(&Message, u64)> = self
            .queries(ifindex)
            .filter_map(|query| match query.says {
                Says::Query {
                    max_response_ns, ..
                } => Some((query, query.time_ns + max_response_ns + SLACK_NS)),
                Says::Report { .. } => None,
            })
            .filter(|(_, end)| *end <= now)
            .collect();
        all.reverse();
        all
    }

    /// What hosts say of the group on an interface: when, and whether joining.
    pub fn reports(&self, ifindex: u32) -> impl Iterator<Item = (&'a Message, bool)> + use<'a> {
        let group = self.group;
        (self.messages(ifindex))
            .filter_map(move |message| Some((message, message.of_group(group)?)))
    }

    /// When this host last reported itself a member.
    pub fn last_own_report(&self, ifindex: u32) -> Option<u64> {
        (self.reports(ifindex))
            .filter(|(message, joins)| message.outbound && *joins)
            .map(|(message, _)| message.time_ns)
            .last()
    }

    /// Interfaces on which other hosts are members, by the wire.
    pub fn members_elsewhere(&self) -> BTreeMap<u32, Vec<IpAddr>> {
        let now = self.now_ns();
        let mut all: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for (ifindex, group, host, member) in self.all.wire.trackers.groups.iter() {
            let kept = self.timers(ifindex).membership_ns();
            if group == self.group && !member.own && member.is_current(now, kept) {
                all.entry(ifindex).or_default().push(host);
            }
        }
        all
    }

    /// The newest packet of the group that ever came in by an interface.
    pub fn last_arrival(&self, ifindex: u32) -> Option<&'a Datum> {
        (self.all.wire.data.iter().rev()).find(|one| one.ifindex == ifindex && one.is_inbound())
    }

    /// Timers of an interface, by its querier where there was one.
    pub fn timers(&self, ifindex: u32) -> Timers {
        let queriers = &self.all.wire.trackers.queriers;
        queriers.timers(ifindex, self.group.is_ipv4(), self.now_ns())
    }

    /// Queriers of an interface and what they are now.
    pub fn queriers(&self, ifindex: u32) -> Vec<(&'a Querier, Standing)> {
        (self.all.wire.trackers.queriers.iter(self.now_ns()))
            .filter(|(querier, _)| {
                querier.ifindex == ifindex && querier.address.is_ipv4() == self.group.is_ipv4()
            })
            .collect()
    }

    /// Interfaces of the IP layer that matter: where the group is held, comes in, is sent or was asked
    /// for; without any, all on which group management was seen.
    pub fn interfaces(&self) -> Vec<u32> {
        let mut all: BTreeSet<u32> = self.joined.iter().copied().collect();
        all.extend(self.arrivals.keys());
        all.extend(self.sendings.keys());
        if let (Some(host), Some(name)) = (self.host, &self.all.subject.interface) {
            let named = host.links.iter().filter(|link| link.name == *name);
            all.extend(named.map(|link| link.ifindex));
        }
        if all.is_empty() {
            let messages = self.all.wire.messages.iter();
            all.extend(
                messages
                    .map(|message| message.ifindex)
                    .filter(|ifindex| self.is_wanted(*ifindex) && self.is_of_ip(*ifindex)),
            );
        }
        all.into_iter().collect()
    }

    /// Does nothing of the group come in where it is held?
    pub fn starves(&self, ifindex: u32) -> bool {
        self.starving.contains(&ifindex)
    }

    /// Is the time since the last packet what usually lies between two of them? Announcements come every
    /// so many seconds or minutes. The longest gaps don't count: they are where it failed before.
    fn is_between(&self, ifindex: u32) -> bool {
        let times: Vec<u64> = (self.all.wire.data.iter())
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

    /// Does a host report this group? All-systems is taken for granted, link-local ones may be.
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

    /// When this host first reported itself a member, as far as the record goes back.
    pub fn first_own_report(&self, ifindex: u32) -> Option<u64> {
        (self.reports(ifindex))
            .find(|(message, joins)| message.outbound && *joins)
            .map(|(message, _)| message.time_ns)
    }

    /// How long the record goes back.
    pub fn recorded_ns(&self) -> u64 {
        self.now_ns().saturating_sub(self.all.since_ns)
    }

    /// Does this host route multicast?
    pub fn is_router(&self) -> bool {
        self.host.is_some_and(|host| !host.vifs.after.is_empty())
    }

    /// Does this host stand between senders and receivers, as a router or bridge?
    pub fn passes_through(&self) -> bool {
        let (into, out) = self.bridged();
        self.is_router() || !into.is_empty() || !out.is_empty()
    }

    /// Ports of bridges: where the group came in and where it went out during the window.
    pub fn bridged(&self) -> (BTreeMap<u32, usize>, BTreeMap<u32, usize>) {
        let (mut into, mut out) = (BTreeMap::new(), BTreeMap::new());
        let (from, to) = self.all.window;
        for datum in &self.all.wire.data {
            let is_port = self
                .link(datum.ifindex)
                .is_some_and(|link| link.port.is_some());
            if is_port && (from..=to).contains(&datum.time_ns) {
                let to = if datum.is_inbound() {
                    &mut into
                } else {
                    &mut out
                };
                *to.entry(datum.ifindex).or_default() += 1;
            }
        }
        (into, out)
    }

    /// Does the group do here what it should: arrive where it is held, be sent, be forwarded?
    pub fn works(&self) -> bool {
        let Some(host) = self.host else {
            return !self.arrivals.is_empty() || !self.sendings.is_empty();
        };
        let arrives = (self.joined.iter()).any(|ifindex| !self.starving.contains(ifindex));
        let routed = (host.vifs.after.iter()).any(|vif| {
            let before = (host.vifs.before.iter()).find(|before| before.number == vif.number);
            vif.packets_out > before.map_or(0, |before| before.packets_out)
        });
        let (into, out) = self.bridged();
        let bridged = !into.is_empty() && !out.is_empty();
        arrives || !self.sendings.is_empty() || routed || bridged
    }
}

/// May a host answer it? MLD's must be link-local, of hop limit 1, with router alert; IGMP's may be
/// anything in practice.
pub fn is_legal_query(message: &Message) -> bool {
    match message.source {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => v6.is_unicast_link_local() && message.ttl == 1 && message.router_alert,
    }
}

/// Packets that the IP layer was meant to take.
pub fn for_us<'a>(packets: &[&'a Datum]) -> Vec<&'a Datum> {
    (packets.iter().copied())
        .filter(|datum| datum.direction != Direction::ToOther)
        .collect()
}

/// Is `moved` about as much as `packets`, or more? Packets at the window's ends may be in one count and
/// not in the other.
pub fn covers(moved: u64, packets: usize) -> bool {
    packets > 0 && moved * 10 >= packets as u64 * 8
}

/// Is it the same count?
pub fn equals(moved: u64, packets: usize) -> bool {
    moved.abs_diff(packets as u64) <= 2 + packets as u64 / 20
}

/// 224.0.0.0/24, or the scopes of one node or link (RFC 5771, RFC 4291).
pub fn is_link_local(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => matches!(v6.segments()[0] & 0x0f, 1 | 2),
    }
}

/// 232.0.0.0/8, ff3x::/32 (RFC 4607).
pub fn is_source_specific(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => v4.octets()[0] == 232,
        IpAddr::V6(v6) => v6.segments()[0] & 0xfff0 == 0xff30 && v6.segments()[1] == 0,
    }
}

/// "IGMP" or "MLD".
pub fn protocol(group: IpAddr) -> &'static str {
    if group.is_ipv4() { "IGMP" } else { "MLD" }
}

/// "4.2 s".
pub fn seconds(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}

/// "10.0.0.1, 10.0.0.2".
pub fn list<T: std::fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    words.join(", ")
}

/// The sources of packets.
pub fn sources(packets: &[&Datum]) -> BTreeSet<IpAddr> {
    packets.iter().map(|datum| datum.source).collect()
}
