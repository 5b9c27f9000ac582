//! PURE. Parameters and replies of `io.netsonde.Service`. The `.varlink` file describes the values in full.

use serde::{Deserialize, Serialize};

/// A store of the recorder. `seen` = `recorded` + `thinned`, `recorded` = `packets` + `evicted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Store {
    /// Name of the store.
    pub store: String,
    /// Size of the memory for packets.
    pub capacity_bytes: u64,
    /// Memory in use.
    pub used_bytes: u64,
    /// Packets in the store.
    pub packets: u64,
    /// Packets ever stored.
    pub recorded: u64,
    /// Packets removed for newer ones.
    pub evicted: u64,
    /// Memory that evicted packets had used.
    pub evicted_bytes: u64,
    /// Maximum bytes stored per packet.
    pub snap_bytes: u64,
    /// Time of the oldest packet; `None` if the store is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Time of the newest packet; `None` if the store is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// Packets that belong in the store, stored or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// Packets counted only, so that the store reaches back as far as its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinned: Option<u64>,
    /// How far back the store reaches, whatever comes; `None` if it stores every packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ns: Option<u64>,
}

/// Packets of one store on one interface, or on all deleted interfaces that are no longer listed. `seen` = `recorded`
/// + `thinned`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreCounts {
    /// Name of the store.
    pub store: String,
    /// Packets that belong in the store.
    pub seen: u64,
    /// Packets ever stored.
    pub recorded: u64,
    /// Packets removed for newer ones.
    pub evicted: u64,
    /// Packets counted only.
    pub thinned: u64,
}

/// A kernel ring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ring {
    /// Name: `control` or `bulk`.
    pub name: String,
    /// Packets that passed its filter, including drops.
    pub packets: u64,
    /// Packets for which it had no space.
    pub drops: u64,
    /// Number of times that it became full.
    pub freezes: u64,
    /// Packets that the engine read.
    pub processed: u64,
    /// Size of the ring.
    pub capacity_bytes: u64,
}

/// Received packets of one interface at two vantage points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerCounts {
    /// ICMP packets in the ring.
    pub icmp_wire: u64,
    /// ICMP packets that the IP layer delivered to a raw socket.
    pub icmp_heard: u64,
    /// ICMPv6 packets in the ring.
    pub icmp6_wire: u64,
    /// ICMPv6 packets that the IP layer delivered to a raw socket.
    pub icmp6_heard: u64,
    /// IGMP packets in the ring.
    pub igmp_wire: u64,
    /// IGMP packets that the IP layer delivered to a raw socket.
    pub igmp_heard: u64,
}

/// Counters of one interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceCounts {
    /// Name of the interface.
    pub interface: String,
    /// Interface index.
    pub ifindex: u32,
    /// State: up, down or gone.
    pub state: String,
    /// Whether the configuration includes it.
    pub recording: bool,
    /// Packets received and sent.
    pub packets: u64,
    /// Bytes received and sent, as lengths on the wire.
    pub bytes: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Packets not recorded because the configuration excludes the interface.
    pub skipped: u64,
    /// Packets at two vantage points.
    pub listened: ListenerCounts,
    /// Packets by store, without stores that had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<StoreCounts>,
}

/// An interval in which packets were not recorded, or may not have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// Kind of the gap, see `io.netsonde.Service.varlink`.
    pub kind: String,
    /// Start of the gap.
    pub from: String,
    /// End of the gap.
    pub to: String,
    /// Packets that are missing; older gaps for kind `gaps_lost`.
    pub count: u64,
    /// Interface or ring, if it concerns a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `true` if it has not ended: `to` is the time of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}

/// Connections to the control socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// Current connections.
    pub connected: u64,
    /// Maximum number of connections.
    pub limit: u64,
    /// Maximum number of connections per user.
    pub limit_per_uid: u64,
    /// Connections accepted since the engine started.
    pub served: u64,
}

/// A limit of the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Description of the limit.
    pub name: String,
    /// Value; 0 if it has no fixed one.
    pub limit: u64,
    /// Number of times that it was reached, or what that cost.
    pub hits: u64,
}

/// The engine process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// Process ID.
    pub pid: u32,
    /// Engines started since the service started.
    pub starts: u64,
    /// Start time.
    pub started: String,
    /// Time since its start.
    pub uptime_ns: u64,
}

/// Confinement of the engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// State of the seccomp filter.
    pub seccomp: String,
    /// State of the Landlock rules.
    pub landlock: String,
    /// Action on a forbidden system call: `kill` or `refuse`.
    pub violation: String,
}

/// Reply of `Status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the service.
    pub version: String,
    /// Time of the reply.
    pub time: String,
    /// Start time of the service.
    pub started: String,
    /// Time since the start of the service.
    pub uptime_ns: u64,
    /// Process ID of the keeper.
    pub keeper_pid: u32,
    /// The engine process.
    pub engine: Engine,
    /// Total memory of the recorder.
    pub recorder_bytes: u64,
    /// Whether an interface is in promiscuous mode.
    pub promiscuous: bool,
    /// Kernel rings.
    pub rings: Vec<Ring>,
    /// Stores of the recorder.
    pub recorder: Vec<Store>,
    /// Counters of each interface.
    pub interfaces: Vec<InterfaceCounts>,
    /// Latest gaps, oldest first.
    pub gaps: Vec<Gap>,
    /// Number of gaps ever declared, with those that have not ended.
    pub gaps_total: u64,
    /// Connections to the control socket.
    pub clients: Clients,
    /// Limits of the service.
    pub limits: Vec<Limit>,
    /// Tiers of the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may: Vec<String>,
    /// Control sockets: `unix`, `vsock:PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listening: Vec<String>,
    /// Confinement of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// Inode numbers of all sockets of the service, as in sock_diag(7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<u64>,
    /// Network namespace of the service; `None` if it cannot read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Namespace>,
    /// Packets by store of deleted interfaces that are no longer listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<StoreCounts>,
}

/// A namespace of the kernel, as stat(2) of its file in /proc/PID/ns identifies it (namespaces(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Device number of the file.
    pub device: u64,
    /// Inode number of the file.
    pub inode: u64,
}

/// A group membership of this host on an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// Group address.
    pub group: String,
    /// Sockets and kernel parts that hold it.
    pub users: u64,
    /// Whether netsonde itself holds it.
    pub ours: bool,
}

/// An interface of this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Name of the interface.
    pub interface: String,
    /// Interface index.
    pub ifindex: u32,
    /// Link-layer type.
    pub link: String,
    /// Link-layer address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Names of the flags, as ip-link(8) prints them.
    pub flags: Vec<String>,
    /// Whether it is set up (IFF_UP).
    pub up: bool,
    /// Whether packets can cross it.
    pub running: bool,
    /// Number of users that hold it in promiscuous mode.
    pub promiscuity: u32,
    /// Number of users that have it receive all multicast.
    pub allmulti: u32,
    /// Bridge or bond that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Addresses with prefix lengths.
    pub addresses: Vec<String>,
    /// Group memberships.
    pub memberships: Vec<Membership>,
    /// Whether it is recorded.
    pub recording: bool,
    /// Reason why it is recorded or not.
    pub why: String,
    /// Packets received and sent.
    pub packets: u64,
    /// Bytes received and sent, as lengths on the wire.
    pub bytes: u64,
    /// Packets at two vantage points.
    pub listened: ListenerCounts,
}

/// Reply of `Interfaces`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interfaces {
    /// All interfaces.
    pub interfaces: Vec<Interface>,
}
