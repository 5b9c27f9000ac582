//! PURE. The Varlink interfaces that clients speak, and their types. The `.varlink` files beside
//! this one are the documentation and are served for introspection; `tests/protocol.rs` holds the
//! types against them.

use serde::{Deserialize, Serialize};

/// `io.netsonde.Service`, as served.
pub const SERVICE: &str = include_str!("io.netsonde.Service.varlink");
/// `io.netsonde.Capture`, as served.
pub const CAPTURE: &str = include_str!("io.netsonde.Capture.varlink");
/// `io.netsonde.Ping`, as served.
pub const PING: &str = include_str!("io.netsonde.Ping.varlink");

/// `io.netsonde.Multicast`, as served.
pub const MULTICAST: &str = include_str!("io.netsonde.Multicast.varlink");

/// `io.netsonde.Inventory`, as served.
pub const INVENTORY: &str = include_str!("io.netsonde.Inventory.varlink");

/// `org.varlink.service`, as served.
pub const VARLINK: &str = include_str!("org.varlink.service.varlink");

/// Parameters of replies and calls of `io.netsonde.Service`.
pub mod service {
    use super::*;

    /// One room of the recorder.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)] // The fields are described in io.netsonde.Service.varlink.
    pub struct Store {
        pub store: String,
        pub capacity_bytes: u64,
        pub used_bytes: u64,
        pub packets: u64,
        pub recorded: u64,
        pub evicted: u64,
        pub evicted_bytes: u64,
        pub snap_bytes: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub oldest: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub newest: Option<String>,
    }

    /// One kernel ring.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Ring {
        pub name: String,
        pub packets: u64,
        pub drops: u64,
        pub freezes: u64,
        pub processed: u64,
        pub capacity_bytes: u64,
    }

    /// What the wire carried beside what the IP layer let through.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct ListenerCounts {
        pub icmp_wire: u64,
        pub icmp_heard: u64,
        pub icmp6_wire: u64,
        pub icmp6_heard: u64,
        pub igmp_wire: u64,
        pub igmp_heard: u64,
    }

    /// Counts of one interface.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct InterfaceCounts {
        pub interface: String,
        pub ifindex: u32,
        pub state: String,
        pub recording: bool,
        pub packets: u64,
        pub bytes: u64,
        pub packets_out: u64,
        pub bytes_out: u64,
        pub skipped: u64,
        pub listened: ListenerCounts,
    }

    /// A declared gap.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Gap {
        pub kind: String,
        pub from: String,
        pub to: String,
        pub count: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub subject: Option<String>,
    }

    /// Clients of the control socket.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Clients {
        pub connected: u64,
        pub limit: u64,
        pub limit_per_uid: u64,
        pub served: u64,
    }

    /// What a limit has cost.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Limit {
        pub name: String,
        pub limit: u64,
        pub hits: u64,
    }

    /// The engine process.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Engine {
        pub pid: u32,
        pub starts: u64,
        pub started: String,
        pub uptime_ns: u64,
    }

    /// What confines the engine.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Sandbox {
        pub seccomp: String,
        pub landlock: String,
        pub violation: String,
    }

    /// The reply of `Status`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Status {
        pub version: String,
        pub time: String,
        pub started: String,
        pub uptime_ns: u64,
        pub keeper_pid: u32,
        pub engine: Engine,
        pub recorder_bytes: u64,
        pub promiscuous: bool,
        pub rings: Vec<Ring>,
        pub recorder: Vec<Store>,
        pub interfaces: Vec<InterfaceCounts>,
        pub gaps: Vec<Gap>,
        pub gaps_total: u64,
        pub clients: Clients,
        pub limits: Vec<Limit>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub may: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub listening: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sandbox: Option<Sandbox>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub sockets: Vec<u64>,
    }

    /// A group membership on an interface.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Membership {
        pub group: String,
        pub users: u64,
        pub ours: bool,
    }

    /// One interface.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Interface {
        pub interface: String,
        pub ifindex: u32,
        pub link: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mac: Option<String>,
        pub mtu: u32,
        pub flags: Vec<String>,
        pub up: bool,
        pub running: bool,
        pub promiscuity: u32,
        pub allmulti: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub master: Option<String>,
        pub addresses: Vec<String>,
        pub memberships: Vec<Membership>,
        pub recording: bool,
        pub why: String,
        pub packets: u64,
        pub bytes: u64,
        pub listened: ListenerCounts,
    }

    /// The reply of `Interfaces`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Interfaces {
        pub interfaces: Vec<Interface>,
    }
}

/// Parameters of replies and calls of `io.netsonde.Capture`.
pub mod capture {
    use super::*;

    /// A compiled filter program for one link type.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(missing_docs)]
    pub struct Program {
        pub link_type: String,
        pub tags: String,
        pub code: Vec<u32>,
    }

    /// How much of each packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Content {
        /// Headers, without what users say.
        Headers,
        /// As much as the asker may see.
        Permitted,
        /// All that is recorded.
        Whole,
    }

    /// What to take from the recorder.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs)]
    pub struct Selection {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub last_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub since_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub until_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub follow: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub interfaces: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub direction: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stores: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub programs: Option<Vec<Program>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub filter: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub hosts: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub ports: Option<Vec<u16>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub protocols: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub groups: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub vlans: Option<Vec<u16>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub content: Option<Content>,
    }

    /// The parameters of a `Capture` call.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct CaptureCall {
        /// What to take.
        pub selection: Selection,
    }

    /// A reply of `Capture`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct CaptureReply {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fd: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub packets: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub missed: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cut: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub content: Option<Content>,
    }
}

/// Parameters of replies and calls of `io.netsonde.Ping`.
pub mod ping {
    use std::collections::BTreeMap;

    use super::*;

    /// An ICMP or ICMPv6 error.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)] // The fields are described in io.netsonde.Ping.varlink.
    pub struct IcmpError {
        #[serde(rename = "type")]
        pub kind: u8,
        pub code: u8,
        pub from: String,
        pub meaning: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mtu: Option<u32>,
    }

    /// What became of one probe.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Probe {
        pub target: String,
        pub seq: u32,
        pub time: String,
        pub fate: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub instead_of: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub duplicate: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ttl: Option<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rtt_ns: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wire_rtt_ns: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub resolve_ns: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub queue_ns: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wake_ns: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub error: Option<IcmpError>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub last_seen: Option<String>,
    }

    /// A distribution.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Distribution {
        pub min: u64,
        pub mean: u64,
        pub p50: u64,
        pub p90: u64,
        pub p99: u64,
        pub max: u64,
        pub stddev: u64,
    }

    /// Loss over windows.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct LossWindows {
        pub last_10s_percent: f64,
        pub last_60s_percent: f64,
        pub worst_10s_percent: f64,
    }

    /// Who answered to a group.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Responder {
        pub address: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mac: Option<String>,
        pub replies: u64,
        pub duplicates: u64,
        pub loss_percent: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rtt_ns: Option<Distribution>,
    }

    /// What the probes of one target add up to.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Summary {
        pub target: String,
        pub sent: u64,
        pub received: u64,
        pub loss_percent: f64,
        pub fates: BTreeMap<String, u64>,
        pub duplicates: u64,
        pub late: u64,
        pub reordered: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rtt_ns: Option<Distribution>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wire_rtt_ns: Option<Distribution>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub jitter_ns: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub windows: Option<LossWindows>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub responders: Option<Vec<Responder>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub responders_left_out: Option<u64>,
    }

    /// What a table of many targets shows of one.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct TargetRow {
        pub target: String,
        pub sent: u64,
        pub received: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fates: Option<BTreeMap<String, u64>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rtt_ns: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wire_rtt_ns: Option<u64>,
    }

    /// What the whole run adds up to.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Total {
        pub targets: u64,
        pub answered: u64,
        pub sent: u64,
        pub received: u64,
        pub loss_percent: f64,
        pub fates: BTreeMap<String, u64>,
        pub duplicates: u64,
        pub late: u64,
        pub reordered: u64,
        pub forged: u64,
        pub stray: u64,
        pub events_dropped: u64,
        pub duration_ns: u64,
    }

    /// What to send.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs)]
    pub struct Options {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub count: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub interval_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub timeout_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub deadline_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub pattern: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub ttl: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tos: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub pmtu_discovery: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub interface: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub source: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub rate: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub flood: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub broadcast: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub quiet: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub rows: Option<bool>,
    }

    /// The parameters of a `Targets` call.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(missing_docs)]
    pub struct TargetsCall {
        pub targets: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub list: Option<u64>,
    }

    /// The reply of `Targets`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct TargetsReply {
        pub list: u64,
        pub targets: u64,
    }

    /// The parameters of a `Ping` call.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs)]
    pub struct PingCall {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub targets: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub list: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub options: Option<Options>,
    }

    /// A reply of `Ping`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct PingReply {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub run: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub id: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub targets: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub probes: Option<Vec<Probe>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub summaries: Option<Vec<Summary>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rows: Option<Vec<TargetRow>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub total: Option<Total>,
    }

    /// The parameters of a `Stop` call.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(missing_docs)]
    pub struct StopCall {
        pub run: u64,
    }
}

/// Parameters of replies and calls of `io.netsonde.Multicast`.
pub mod multicast {
    use super::*;

    /// A host that reported itself a member.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)] // The fields are described in io.netsonde.Multicast.varlink.
    pub struct Member {
        pub host: String,
        pub version: u8,
        pub mode: String,
        pub sources: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sources_left_out: Option<u32>,
        pub first: String,
        pub last: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub left: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub expires: Option<String>,
        pub reports: u64,
        pub current: bool,
        pub own: bool,
    }

    /// A group on an interface.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Group {
        pub interface: String,
        pub group: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        pub mac: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub aliases: Option<Vec<String>>,
        pub pruned: bool,
        pub kernel_users: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub kernel_include: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub kernel_exclude: Option<Vec<String>>,
        pub netsonde: bool,
        pub members: Vec<Member>,
    }

    /// Somebody who asks for memberships.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Querier {
        pub interface: String,
        pub protocol: String,
        pub address: String,
        pub version: u8,
        pub standing: String,
        pub own: bool,
        pub interval_ns: u64,
        pub interval_from: String,
        pub robustness: u64,
        pub max_response_ns: u64,
        pub membership_ns: u64,
        pub queries: u64,
        pub group_queries: u64,
        pub first: String,
        pub last: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next: Option<String>,
    }

    /// An interface with groups and no querier.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct LinkWithoutQuerier {
        pub interface: String,
        pub protocol: String,
        pub groups: u64,
        pub since: String,
    }

    /// The parameters of the calls.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(missing_docs)]
    pub struct InterfaceCall {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub interface: Option<String>,
    }

    /// The reply of `Groups`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Groups {
        pub time: String,
        pub groups: Vec<Group>,
    }

    /// A router that tells of itself.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Router {
        pub interface: String,
        pub protocol: String,
        pub address: String,
        pub own: bool,
        pub designated: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub priority: Option<u32>,
        pub restarts: u64,
        pub first: String,
        pub last: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub expires: Option<String>,
    }

    /// The reply of `Queriers`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Queriers {
        pub time: String,
        pub queriers: Vec<Querier>,
        pub unasked: Vec<LinkWithoutQuerier>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub routers: Option<Vec<Router>>,
    }

    /// What RTP tells of a stream.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Rtp {
        pub ssrc: u32,
        pub payload_type: u8,
        pub packets: u64,
        pub lost: u64,
        pub loss_percent: f64,
        pub duplicates: u64,
        pub reordered: u64,
        pub restarts: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub jitter_ns: Option<u64>,
    }

    /// What an MPEG transport stream tells.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct MpegTs {
        pub packets: u64,
        pub lost: u64,
        pub duplicates: u64,
        pub reordered: u64,
        pub restarts: u64,
    }

    /// What one source sends to a group and port.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Stream {
        pub interface: String,
        pub group: String,
        pub port: u16,
        pub source: String,
        pub source_port: u16,
        pub outbound: bool,
        pub packets: u64,
        pub bytes: u64,
        pub packets_per_second: u64,
        pub bits_per_second: u64,
        pub ttl: u8,
        pub wrong_mac: u64,
        pub longest_gap_ns: u64,
        pub first: String,
        pub last: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rtp: Option<Rtp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ts: Option<MpegTs>,
    }

    /// The reply of `Streams`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Streams {
        pub time: String,
        pub streams: Vec<Stream>,
    }
}

/// Parameters of replies and calls of `io.netsonde.Inventory`.
pub mod inventory {
    use super::*;

    /// What `Talkers` is asked.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs)]
    pub struct TalkersCall {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub window_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub interface: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub limit: Option<u64>,
    }

    /// A flow.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Talker {
        pub interface: String,
        pub direction: String,
        pub protocol: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub source: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub source_port: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub destination: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub destination_port: Option<u16>,
        pub bytes: u64,
        pub packets: u64,
        pub bytes_error: u64,
        pub packets_error: u64,
    }

    /// The reply of `Talkers`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Talkers {
        pub from: String,
        pub to: String,
        pub duration_ns: u64,
        pub bytes: u64,
        pub packets: u64,
        pub flows: u64,
        pub rest_bytes: u64,
        pub rest_packets: u64,
        pub talkers: Vec<Talker>,
    }

    /// What `Events` is asked.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs)]
    pub struct EventsCall {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub last_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub interface: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub kinds: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub severity: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub follow: Option<bool>,
    }

    /// How to find the packets that show an event.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct EventPackets {
        pub from: String,
        pub to: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub interface: Option<String>,
        pub filter: String,
    }

    /// Something that happened.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Event {
        pub number: u64,
        pub time: String,
        pub kind: String,
        pub severity: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub interface: Option<String>,
        pub subject: String,
        pub text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub packets: Option<EventPackets>,
    }

    /// A reply of `Events`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Events {
        pub time: String,
        pub events: Vec<Event>,
        pub kept: u64,
        pub evicted: u64,
    }

    /// The parameters of the calls.
    pub use super::multicast::InterfaceCall;

    /// A name that a station told.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)] // The fields are described in io.netsonde.Inventory.varlink.
    pub struct Name {
        pub name: String,
        pub by: String,
        pub first: String,
        pub last: String,
    }

    /// An address that a station has.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Address {
        pub address: String,
        pub first: String,
        pub last: String,
        pub claims: u64,
        pub answers: u64,
        pub announcements: u64,
        pub gateway: bool,
    }

    /// A station of a link.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Neighbor {
        pub interface: String,
        pub mac: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub shared: Option<String>,
        pub addresses: Vec<Address>,
        pub names: Vec<Name>,
        pub roles: Vec<String>,
        pub heard_by: Vec<String>,
        pub forwarded: u64,
        pub first: String,
        pub last: String,
    }

    /// Who says that it has an address.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Claimant {
        pub mac: String,
        pub own: bool,
        pub first: String,
        pub last: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub claimed: Option<String>,
        pub claims: u64,
        pub answers: u64,
        pub announcements: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub frames_from: Option<String>,
    }

    /// What is to be said of an address.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Finding {
        pub kind: String,
        pub interface: String,
        pub address: String,
        pub gateway: bool,
        pub own: bool,
        pub current: bool,
        pub since: String,
        pub last: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub between: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub both_answered: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub returned: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub announced: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub times: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub prober: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub by: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub answered: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub both_probed: Option<bool>,
        pub claimants: Vec<Claimant>,
        pub more: u64,
    }

    /// An entry of the kernel's neighbour tables.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct KernelNeighbor {
        pub interface: String,
        pub address: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mac: Option<String>,
        pub state: String,
        pub router: bool,
    }

    /// The reply of `Neighbors`.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[allow(missing_docs)]
    pub struct Neighbors {
        pub time: String,
        pub neighbors: Vec<Neighbor>,
        pub findings: Vec<Finding>,
        pub kernel: Vec<KernelNeighbor>,
    }
}
