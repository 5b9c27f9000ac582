//! PURE. Parameters and replies of `io.netsonde.Multicast`. The `.varlink` file describes the values in full.

use serde::{Deserialize, Serialize};

/// A host that reported a membership on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Address of the host.
    pub host: String,
    /// Version of IGMP (1 to 3) or MLD (1 or 2).
    pub version: u8,
    /// Filter mode: `include` requests only `sources`, `exclude` all but `sources`.
    pub mode: String,
    /// Sources of the filter.
    pub sources: Vec<String>,
    /// Sources that exceeded the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources_left_out: Option<u32>,
    /// Time of its first report.
    pub first: String,
    /// Time of its last report.
    pub last: String,
    /// Time of its leave message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// Time at which the membership times out without a further report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Number of reports.
    pub reports: u64,
    /// Whether routers and switches with the link's timers still count it as a member.
    pub current: bool,
    /// Whether it is this host.
    pub own: bool,
}

/// A group on an interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name of the interface.
    pub interface: String,
    /// Group address.
    pub group: String,
    /// Name of a well-known group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Ethernet address of the group.
    pub mac: String,
    /// Other groups here with the same Ethernet address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<String>>,
    /// Whether switches may withhold it from ports without members.
    pub pruned: bool,
    /// Sockets and kernel parts of this host that hold a membership; 0 if none.
    pub kernel_users: u64,
    /// Sources that some of them request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_include: Option<Vec<String>>,
    /// Sources that some of them exclude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_exclude: Option<Vec<String>>,
    /// Whether one of them is netsonde itself.
    pub netsonde: bool,
    /// Members seen on the wire.
    pub members: Vec<Member>,
}

/// A router or switch that sends IGMP or MLD queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Querier {
    /// Name of the interface.
    pub interface: String,
    /// Protocol: IGMP or MLD.
    pub protocol: String,
    /// Source address of its queries.
    pub address: String,
    /// Version of IGMP (1 to 3) or MLD (1 or 2).
    pub version: u8,
    /// State: `elected`, `other`, `overdue` or `gone`.
    pub standing: String,
    /// Whether it is this host.
    pub own: bool,
    /// Query interval.
    pub interval_ns: u64,
    /// Origin of the interval: `announced`, `observed` or `default`.
    pub interval_from: String,
    /// Robustness variable.
    pub robustness: u64,
    /// Maximum response time of its general queries.
    pub max_response_ns: u64,
    /// Time that a membership lasts without a report.
    pub membership_ns: u64,
    /// General queries.
    pub queries: u64,
    /// Group-specific queries.
    pub group_queries: u64,
    /// Time of its first query.
    pub first: String,
    /// Time of its last query.
    pub last: String,
    /// Time at which the next query is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An interface with groups that switches may prune, and without a querier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkWithoutQuerier {
    /// Name of the interface.
    pub interface: String,
    /// Protocol: IGMP or MLD.
    pub protocol: String,
    /// Number of groups.
    pub groups: u64,
    /// Time since which it has had no querier.
    pub since: String,
}

/// Parameters of the methods that list by interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceCall {
    /// Name of an interface; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// Reply of `Groups`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// Time of the reply.
    pub time: String,
    /// Groups by interface and address.
    pub groups: Vec<Group>,
}

/// A multicast router that announces itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Name of the interface.
    pub interface: String,
    /// Protocol: `PIM` or `MRD` (multicast router discovery).
    pub protocol: String,
    /// Address of the router.
    pub address: String,
    /// Whether it is this host.
    pub own: bool,
    /// Whether it is the designated router (PIM) of the link.
    pub designated: bool,
    /// Priority in the election of the designated router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Announced restarts.
    pub restarts: u64,
    /// Time of its first announcement.
    pub first: String,
    /// Time of its last announcement.
    pub last: String,
    /// Time at which its announcement times out; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Reply of `Queriers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queriers {
    /// Time of the reply.
    pub time: String,
    /// Queriers by interface.
    pub queriers: Vec<Querier>,
    /// Interfaces with groups and without a querier.
    pub unasked: Vec<LinkWithoutQuerier>,
    /// Routers that announce themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routers: Option<Vec<Router>>,
}

/// RTP statistics of a stream (RFC 3550).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rtp {
    /// Synchronization source identifier.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// RTP packets received.
    pub packets: u64,
    /// Packets missing by sequence numbers.
    pub lost: u64,
    /// Share of missing packets.
    pub loss_percent: f64,
    /// Duplicate packets.
    pub duplicates: u64,
    /// Packets that arrived after a later one.
    pub reordered: u64,
    /// Restarts of the sequence numbers.
    pub restarts: u64,
    /// Interarrival jitter; `None` if the payload type implies no clock rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ns: Option<u64>,
}

/// Statistics of an MPEG transport stream, by its continuity counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MpegTs {
    /// Packets of 188 bytes received, without stuffing.
    pub packets: u64,
    /// Missing packets; exact up to 14 consecutive packets of one identifier.
    pub lost: u64,
    /// Duplicate datagrams.
    pub duplicates: u64,
    /// Datagrams that arrived after a later one.
    pub reordered: u64,
    /// Restarts of the counters.
    pub restarts: u64,
}

/// Packets from one source to one group and port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Name of the interface.
    pub interface: String,
    /// Group address.
    pub group: String,
    /// Destination port.
    pub port: u16,
    /// Source address.
    pub source: String,
    /// Source port.
    pub source_port: u16,
    /// Whether this host sends it.
    pub outbound: bool,
    /// Packets seen on the wire.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Packets in the last whole second.
    pub packets_per_second: u64,
    /// Payload bits in the last whole second.
    pub bits_per_second: u64,
    /// TTL or hop limit of the last packet.
    pub ttl: u8,
    /// Packets whose link-layer destination is not that of the group.
    pub wrong_mac: u64,
    /// Longest time without a packet.
    pub longest_gap_ns: u64,
    /// Time of the first packet.
    pub first: String,
    /// Time of the last packet.
    pub last: String,
    /// RTP statistics, if it is RTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtp: Option<Rtp>,
    /// MPEG transport stream statistics, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<MpegTs>,
}

/// Reply of `Streams`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// Time of the reply.
    pub time: String,
    /// Streams by interface, group and source.
    pub streams: Vec<Stream>,
}
