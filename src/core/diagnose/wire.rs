//! PURE. What packets say, put in order for the rules: group management as a time line, the group's own
//! packets one by one, and the trackers over all of it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use crate::multicast::{
    GroupMessage, Streams, Trackers, decode_group_message, is_tracked, names, stream_packet,
};
use crate::wire::glance::{glance, ip_protocol};
use crate::wire::igmp::RecordKind;
use crate::wire::{Direction, Frame, LinkType, Meaning, decode};

/// Messages of group management that are kept: an hour of a lively link.
const MOST_MESSAGES: usize = 65_536;
/// Packets of the group that are kept, about 100 bytes each: the last seconds of a fast stream.
const MOST_DATA: usize = 200_000;
/// Other groups that are counted.
const MOST_OTHERS: usize = 1024;

/// A message of IGMP or MLD, one for each group of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// On which interface.
    pub ifindex: u32,
    /// Sent by this host.
    pub outbound: bool,
    /// Who sent it.
    pub source: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Has it the router alert option?
    pub router_alert: bool,
    /// 1 to 3 (IGMP), 1 or 2 (MLD).
    pub version: u8,
    /// What it says.
    pub says: Says,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// Who is a member? Of one group, or of any.
    Query {
        /// The group; `None`: a general query.
        group: Option<IpAddr>,
        /// Longest time for an answer.
        max_response_ns: u64,
    },
    /// I am a member, or no longer, or of other sources.
    Report {
        /// Of which group.
        group: IpAddr,
        /// In which way.
        kind: RecordKind,
        /// Sources.
        sources: Vec<IpAddr>,
    },
}

impl Message {
    /// A query for all groups?
    pub fn is_general_query(&self) -> bool {
        matches!(self.says, Says::Query { group: None, .. })
    }

    /// What it says of a group: joining (`true`) or leaving it.
    pub fn of_group(&self, wanted: IpAddr) -> Option<bool> {
        match &self.says {
            Says::Report {
                group,
                kind,
                sources,
            } if *group == wanted => Some(match kind {
                RecordKind::IsInclude | RecordKind::ToInclude => !sources.is_empty(),
                RecordKind::Block => false,
                _ => true,
            }),
            _ => None,
        }
    }
}

/// To whom a frame is addressed on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The address that belongs to the group.
    Group,
    /// Another group's, or broadcast.
    OtherGroup([u8; 6]),
    /// One host.
    Host([u8; 6]),
    /// The link has no addresses.
    Unknown,
}

/// A packet to the group.
#[derive(Clone, Debug)]
pub struct Datum {
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// On which interface.
    pub ifindex: u32,
    /// Which way.
    pub direction: Direction,
    /// Who sent it.
    pub source: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// To whom on the link.
    pub to: To,
    /// Identification, offset, "more fragments" of a fragment.
    pub fragment: Option<(u32, u32, bool)>,
    /// The wire made its checksum wrong.
    pub bad_checksum: bool,
    /// The same for two copies of a packet, else different.
    pub identity: u64,
    /// Is it an echo request?
    pub is_echo: bool,
}

impl Datum {
    /// Did it come in?
    pub fn is_inbound(&self) -> bool {
        self.direction != Direction::Outbound
    }

    /// The first or only part of a datagram?
    pub fn is_first(&self) -> bool {
        self.fragment.is_none_or(|(_, offset, _)| offset == 0)
    }
}

/// What the wire showed.
#[derive(Debug)]
pub struct Wire {
    /// Names of interfaces by their numbers.
    pub names: BTreeMap<u32, String>,
    /// Group management, oldest first.
    pub messages: Vec<Message>,
    /// Packets to the group, oldest first.
    pub data: Vec<Datum>,
    /// Packets to other groups that came in, by interface, group and source.
    pub others: BTreeMap<(u32, IpAddr, IpAddr), u64>,
    /// The trackers over all of it.
    pub trackers: Trackers,
    /// Streams since the window began.
    pub recent: Streams,
    /// The oldest packet of any kind.
    pub oldest_ns: Option<u64>,
    /// The newest.
    pub newest_ns: u64,
    /// Messages and packets for which there was no room, oldest first.
    pub left_out: u64,
    group: IpAddr,
    port: Option<u16>,
    source: Option<IpAddr>,
    recent_ns: u64,
    hasher: foldhash::fast::FixedState,
}

impl Wire {
    /// Nothing yet; packets of this group (to this port, from this source) will be kept. The window
    /// begins at `recent_ns`.
    pub fn new(group: IpAddr, port: Option<u16>, source: Option<IpAddr>, recent_ns: u64) -> Wire {
        Wire {
            names: BTreeMap::new(),
            messages: vec![],
            data: vec![],
            others: BTreeMap::new(),
            trackers: Trackers::default(),
            recent: Streams::default(),
            recent_ns,
            oldest_ns: None,
            newest_ns: 0,
            left_out: 0,
            group,
            port,
            source,
            hasher: foldhash::fast::FixedState::default(),
        }
    }

    /// Takes a packet in.
    pub fn see(&mut self, frame: &Frame<'_>, ifindex: u32, time_ns: u64, direction: Direction) {
        self.oldest_ns = Some(self.oldest_ns.map_or(time_ns, |oldest| oldest.min(time_ns)));
        self.newest_ns = self.newest_ns.max(time_ns);
        let seen = glance(frame.link, frame.bytes);
        if seen.vlan.is_some() {
            // Of another link; it shows again, untagged, on the interface of its VLAN.
            return;
        }
        let outbound = direction == Direction::Outbound;
        if let Some((key, packet)) = stream_packet(frame, &seen, ifindex, time_ns, outbound) {
            self.trackers.streams.observe(key, &packet);
            if time_ns >= self.recent_ns {
                self.recent.observe(key, &packet);
            }
        }
        let decoded = decode(frame);
        if seen.ip_protocol != ip_protocol::UDP && is_tracked(&seen, frame.bytes) {
            self.trackers
                .observe_management(&decoded, ifindex, time_ns, outbound);
        }
        let Some(network) = decoded.network else {
            return;
        };
        // Who gets a message with a wrong checksum drops it.
        if decoded.bad_checksum.is_none() && decoded.problem.is_none() {
            for meaning in &decoded.meanings {
                decode_group_message(meaning, |message| {
                    self.message(&network, ifindex, time_ns, outbound, message);
                });
            }
        }
        let is_management = matches!(
            decoded.meanings.first(),
            Some(Meaning::Igmp(_) | Meaning::Mld(_))
        );
        if !network.destination.is_multicast() || is_management {
            return;
        }
        if network.destination != self.group {
            if !outbound {
                let key = (ifindex, network.destination, network.source);
                if self.others.len() < MOST_OTHERS || self.others.contains_key(&key) {
                    *self.others.entry(key).or_default() += 1;
                }
            }
            return;
        }
        let first = network.fragment_offset == 0;
        let other_port = |wanted| decoded.ports.map(|(_, to)| to) != Some(wanted);
        if self.source.is_some_and(|wanted| wanted != network.source)
            || (first && self.port.is_some_and(other_port))
        {
            return;
        }
        let is_fragment = !first || network.more_fragments;
        let is_icmp = matches!(network.protocol, ip_protocol::ICMP | ip_protocol::ICMPV6);
        let datum = Datum {
            time_ns,
            ifindex,
            direction,
            source: network.source,
            ttl: network.ttl,
            protocol: network.protocol,
            ports: decoded.ports,
            to: to(frame, self.group),
            fragment: is_fragment.then_some((
                network.identification,
                network.fragment_offset,
                network.more_fragments,
            )),
            bad_checksum: decoded.bad_checksum.is_some(),
            identity: self.identity(frame.bytes.get(seen.network + 2..).unwrap_or_default()),
            is_echo: is_icmp && matches!(seen.icmp_type, 8 | 128),
        };
        if self.data.len() >= MOST_DATA {
            self.left_out += (MOST_DATA / 4) as u64;
            self.data.drain(..MOST_DATA / 4);
        }
        self.data.push(datum);
    }

    /// Of what does not change on the way over a bridge: all but the TTL and header checksum, which a
    /// router changes.
    fn identity(&self, ip: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(ip.get(..6).unwrap_or_default());
        hasher.write(ip.get(10..).unwrap_or_default());
        hasher.finish()
    }

    fn message(
        &mut self,
        network: &crate::wire::Network,
        ifindex: u32,
        time_ns: u64,
        outbound: bool,
        message: GroupMessage,
    ) {
        let (version, says) = match message {
            GroupMessage::Query(asked) => {
                let says = Says::Query {
                    group: asked.group,
                    max_response_ns: u64::from(asked.max_response_ms) * 1_000_000,
                };
                (asked.version, says)
            }
            GroupMessage::Change(change) => {
                let says = Says::Report {
                    group: change.group,
                    kind: change.kind,
                    sources: change.sources,
                };
                (change.version, says)
            }
            GroupMessage::Router(_) | GroupMessage::RouterGone => return,
        };
        if self.messages.len() >= MOST_MESSAGES {
            self.left_out += (MOST_MESSAGES / 4) as u64;
            self.messages.drain(..MOST_MESSAGES / 4);
        }
        self.messages.push(Message {
            time_ns,
            ifindex,
            outbound,
            source: network.source,
            ttl: network.ttl,
            router_alert: network.router_alert,
            version,
            says,
        });
    }

    /// Once all packets are in: puts them in the order of time, since each ring has its own.
    pub fn sort(&mut self) {
        self.messages.sort_by_key(|message| message.time_ns);
        self.data.sort_by_key(|datum| datum.time_ns);
    }
}

fn to(frame: &Frame<'_>, group: IpAddr) -> To {
    let mac: Option<[u8; 6]> = (frame.bytes.get(..6))
        .filter(|_| frame.link == LinkType::Ethernet)
        .and_then(|mac| mac.try_into().ok());
    match mac {
        None => To::Unknown,
        Some(mac) if mac == names::mac(group) => To::Group,
        Some(mac) if mac[0] & 1 == 1 => To::OtherGroup(mac),
        Some(mac) => To::Host(mac),
    }
}
