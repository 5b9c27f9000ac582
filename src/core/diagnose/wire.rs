//! PURE. Packets arranged for the rules: group management messages in time order, the packets of the
//! group, and the trackers over all of them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use crate::multicast::{
    GroupMessage, Streams, Trackers, decode_group_message, is_tracked, names, stream_packet,
};
use crate::wire::glance::{glance, ip_protocol};
use crate::wire::igmp::RecordKind;
use crate::wire::{Direction, Frame, LinkType, Meaning, decode};

/// Maximum number of group management messages: an hour of a busy link.
const MAX_MESSAGES: usize = 65_536;
/// Maximum number of packets of the group, about 100 bytes each: the last seconds of a fast stream.
const MAX_PACKETS: usize = 200_000;
/// Maximum number of other groups counted.
const MAX_OTHERS: usize = 1024;

/// An IGMP or MLD message; a report yields one per group.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// Index of the interface.
    pub ifindex: u32,
    /// Whether this host sent it.
    pub outbound: bool,
    /// Source address.
    pub source: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether it has the router alert option.
    pub router_alert: bool,
    /// Protocol version: 1 to 3 (IGMP), 1 or 2 (MLD).
    pub version: u8,
    /// Kind of the message.
    pub kind: MessageKind,
}

/// Kind of an IGMP or MLD message.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageKind {
    /// A membership query for one group or all.
    Query {
        /// The group; `None` for a general query.
        group: Option<IpAddr>,
        /// Maximum response time in nanoseconds.
        max_response_ns: u64,
    },
    /// A report about one group: joining, leaving or changing sources.
    Report {
        /// The group.
        group: IpAddr,
        /// Type of the group record.
        kind: RecordKind,
        /// Sources of the record.
        sources: Vec<IpAddr>,
    },
}

impl Message {
    /// Returns whether this is a general query.
    pub fn is_general_query(&self) -> bool {
        matches!(self.kind, MessageKind::Query { group: None, .. })
    }

    /// Returns whether it reports joining (`true`) or leaving (`false`) a group.
    pub fn of_group(&self, wanted: IpAddr) -> Option<bool> {
        match &self.kind {
            MessageKind::Report {
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

/// Destination of a frame on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The group's MAC address.
    Group,
    /// The MAC address of another group, or broadcast.
    OtherGroup([u8; 6]),
    /// The MAC address of one host.
    Host([u8; 6]),
    /// The link has no addresses.
    Unknown,
}

/// A packet to the group.
#[derive(Clone, Debug)]
pub struct GroupPacket {
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// Index of the interface.
    pub ifindex: u32,
    /// Direction on the interface.
    pub direction: Direction,
    /// Source address.
    pub source: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Upper-layer protocol.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// Destination on the link.
    pub to: To,
    /// Identification, offset in bytes and "more fragments" flag of a fragment.
    pub fragment: Option<(u32, u32, bool)>,
    /// Whether its checksum is wrong, and was not left to hardware.
    pub bad_checksum: bool,
    /// The same for two copies of a packet, else different.
    pub identity: u64,
    /// Whether it is an echo request.
    pub is_echo: bool,
}

impl GroupPacket {
    /// Returns whether it was received.
    pub fn is_inbound(&self) -> bool {
        self.direction != Direction::Outbound
    }

    /// Returns whether it is the first or only fragment of a datagram.
    pub fn is_first(&self) -> bool {
        self.fragment.is_none_or(|(_, offset, _)| offset == 0)
    }
}

/// The packets of the record or file, arranged for the rules.
#[derive(Debug)]
pub struct Wire {
    /// Names of interfaces, by index.
    pub names: BTreeMap<u32, String>,
    /// Group management messages, oldest first.
    pub messages: Vec<Message>,
    /// Packets of the group, oldest first.
    pub group_packets: Vec<GroupPacket>,
    /// Number of packets received for other groups, by interface, group and source.
    pub others: BTreeMap<(u32, IpAddr, IpAddr), u64>,
    /// Groups, queriers and streams, from all packets.
    pub trackers: Trackers,
    /// Streams from the packets since the window began.
    pub recent: Streams,
    /// Time of the oldest packet of any kind, in nanoseconds since 1970; `None` without packets.
    pub oldest_ns: Option<u64>,
    /// Time of the newest packet of any kind, in nanoseconds since 1970; 0 without packets.
    pub newest_ns: u64,
    /// Number of messages and packets discarded over the limits, the oldest first.
    pub left_out: u64,
    /// Whether the record has only a sample of some packets, at any time.
    pub is_sampled: bool,
    group: IpAddr,
    port: Option<u16>,
    source: Option<IpAddr>,
    recent_ns: u64,
    hasher: foldhash::fast::FixedState,
}

impl Wire {
    /// Creates an empty collection for packets of this group (and port, and source). The window begins at
    /// `recent_ns`, in nanoseconds since 1970.
    pub fn new(group: IpAddr, port: Option<u16>, source: Option<IpAddr>, recent_ns: u64) -> Wire {
        Wire {
            names: BTreeMap::new(),
            messages: vec![],
            group_packets: vec![],
            others: BTreeMap::new(),
            trackers: Trackers::default(),
            recent: Streams::default(),
            recent_ns,
            oldest_ns: None,
            newest_ns: 0,
            left_out: 0,
            is_sampled: false,
            group,
            port,
            source,
            hasher: foldhash::fast::FixedState::default(),
        }
    }

    /// Adds a packet.
    pub fn see(&mut self, frame: &Frame<'_>, ifindex: u32, time_ns: u64, direction: Direction) {
        self.oldest_ns = Some(self.oldest_ns.map_or(time_ns, |oldest| oldest.min(time_ns)));
        self.newest_ns = self.newest_ns.max(time_ns);
        let seen = glance(frame.link, frame.bytes);
        if seen.vlan.is_some() {
            // It belongs to another link, and appears again, untagged, on the interface of its VLAN.
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
        // Receivers drop messages with a wrong checksum.
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
                if self.others.len() < MAX_OTHERS || self.others.contains_key(&key) {
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
        let packet = GroupPacket {
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
        if self.group_packets.len() >= MAX_PACKETS {
            self.left_out += (MAX_PACKETS / 4) as u64;
            self.group_packets.drain(..MAX_PACKETS / 4);
        }
        self.group_packets.push(packet);
    }

    /// Hashes the fields that do not change on the path: all but the TTL and header checksum, which a router
    /// changes.
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
        let (version, kind) = match message {
            GroupMessage::Query(asked) => {
                let kind = MessageKind::Query {
                    group: asked.group,
                    max_response_ns: u64::from(asked.max_response_ms) * 1_000_000,
                };
                (asked.version, kind)
            }
            GroupMessage::Change(change) => {
                let kind = MessageKind::Report {
                    group: change.group,
                    kind: change.kind,
                    sources: change.sources,
                };
                (change.version, kind)
            }
            GroupMessage::Router(_) | GroupMessage::RouterGone => return,
        };
        if self.messages.len() >= MAX_MESSAGES {
            self.left_out += (MAX_MESSAGES / 4) as u64;
            self.messages.drain(..MAX_MESSAGES / 4);
        }
        self.messages.push(Message {
            time_ns,
            ifindex,
            outbound,
            source: network.source,
            ttl: network.ttl,
            router_alert: network.router_alert,
            version,
            kind,
        });
    }

    /// Sorts all packets by time, because each ring is in order by itself only. Call it after the last packet.
    pub fn sort(&mut self) {
        self.messages.sort_by_key(|message| message.time_ns);
        self.group_packets.sort_by_key(|packet| packet.time_ns);
    }
}

fn to(frame: &Frame<'_>, group: IpAddr) -> To {
    let mac: Option<[u8; 6]> = frame
        .bytes
        .get(..6)
        .filter(|_| frame.link == LinkType::Ethernet)
        .and_then(|mac| mac.try_into().ok());
    match mac {
        None => To::Unknown,
        Some(mac) if mac == names::mac(group) => To::Group,
        Some(mac) if mac[0] & 1 == 1 => To::OtherGroup(mac),
        Some(mac) => To::Host(mac),
    }
}
