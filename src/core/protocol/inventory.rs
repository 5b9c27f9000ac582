//! PURE. Parameters and replies of `io.netsonde.Inventory`. The `.varlink` file describes the values in full.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Parameters of `Talkers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TalkersCall {
    /// Length of the window, one second to five minutes; 10 s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_ns: Option<u64>,
    /// Sort key: `bytes` (the default) or `packets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Name of an interface; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Maximum number of flows, 1 to 1000; 20 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Join the sightings of a flow on several interfaces; not with `interface`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<bool>,
}

/// Sightings of a flow on one interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// Name of the interface.
    pub interface: String,
    /// Direction: `in` or `out`.
    pub direction: String,
    /// Bytes there, at least.
    pub bytes: u64,
    /// Packets there, at least.
    pub packets: u64,
}

/// One direction of a conversation on an interface, or all packets of one EtherType other than IP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Talker {
    /// Name of the interface.
    pub interface: String,
    /// Direction: `in` or `out`.
    pub direction: String,
    /// Protocol name.
    pub protocol: String,
    /// Source address; `None` without IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination address; `None` without IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Bytes as lengths on the wire, at least.
    pub bytes: u64,
    /// Packets, at least.
    pub packets: u64,
    /// Bytes that it may have had in addition.
    pub bytes_error: u64,
    /// Packets that it may have had in addition.
    pub packets_error: u64,
    /// With `joined`, the interfaces that it crossed, in the order of its packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ways: Option<Vec<Way>>,
    /// With `joined`, whether this host received it on one interface and sent it on another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<bool>,
}

/// Reply of `Talkers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Talkers {
    /// Start of the window.
    pub from: String,
    /// End of the window.
    pub to: String,
    /// Length of the window.
    pub duration_ns: u64,
    /// Bytes of all flows.
    pub bytes: u64,
    /// Packets of all flows.
    pub packets: u64,
    /// Number of tracked flows.
    pub flows: u64,
    /// Maximum bytes of a flow that was not tracked.
    pub rest_bytes: u64,
    /// Maximum packets of a flow that was not tracked.
    pub rest_packets: u64,
    /// Top flows, the largest first.
    pub talkers: Vec<Talker>,
}

/// Parameters of `Events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsCall {
    /// Only events of this long before now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ns: Option<u64>,
    /// Only events on this interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Names of kinds or categories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// Minimum severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Maximum number of events; the latest are returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// With `more`, continue with new events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// Only events from this time on, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// Only events until this time, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
}

/// Query for the packets that show an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventPackets {
    /// Start of the time range.
    pub from: String,
    /// End of the time range.
    pub to: String,
    /// Name of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Filter in the language of pcap-filter(7).
    pub filter: String,
}

/// A logged event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Sequence number in the record, from 1.
    pub number: u64,
    /// Time of the event.
    pub time: String,
    /// Name of its kind, see netsonde-events(7).
    pub kind: String,
    /// Severity: `info`, `notice` or `warning`.
    pub severity: String,
    /// Name of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Address, interface or limit that it is about.
    pub subject: String,
    /// One sentence.
    pub text: String,
    /// Query for the packets that show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<EventPackets>,
}

/// Reply of `Events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Time of the reply.
    pub time: String,
    /// Events, oldest first.
    pub events: Vec<Event>,
    /// Events since the record began.
    pub kept: u64,
    /// Events of these that are no longer there.
    pub evicted: u64,
}

pub use super::multicast::InterfaceCall;

/// A name that a station announced, not verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Name {
    /// The name, with control characters escaped.
    pub name: String,
    /// Protocol of the announcement.
    pub by: String,
    /// Time of the first announcement.
    pub first: String,
    /// Time of the last announcement.
    pub last: String,
}

/// An address that a station uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: String,
    /// First time that it was seen.
    pub first: String,
    /// Last time that it was seen.
    pub last: String,
    /// ARP and neighbor discovery messages of the station for the address; 0 if it was only a packet source.
    pub claims: u64,
    /// Claims that answered a question.
    pub answers: u64,
    /// Time of the latest answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// Claims without a question.
    pub announcements: u64,
    /// Whether a route of this host has it as its gateway.
    pub gateway: bool,
}

/// A station on a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Name of the interface.
    pub interface: String,
    /// MAC address.
    pub mac: String,
    /// Protocol of a virtual MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<String>,
    /// Addresses that it uses.
    pub addresses: Vec<Address>,
    /// Addresses of other hosts for which it answers as a proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_for: Vec<String>,
    /// Names that it announced.
    pub names: Vec<Name>,
    /// Roles that follow from its packets.
    pub roles: Vec<String>,
    /// Kinds of packets that it sent.
    pub heard_by: Vec<String>,
    /// Seconds in which it sent packets that it had forwarded.
    pub forwarded: u64,
    /// Time of the latest of these packets; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_forwarded: Option<String>,
    /// First time that it was seen.
    pub first: String,
    /// Last time that it was seen.
    pub last: String,
}

/// A station that uses or claims an address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claimant {
    /// MAC address.
    pub mac: String,
    /// Whether it is this host.
    pub own: bool,
    /// First time that it was seen with the address.
    pub first: String,
    /// Last time that it was seen with the address.
    pub last: String,
    /// Time of its last claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// Claims of any kind.
    pub claims: u64,
    /// Claims that answered a question.
    pub answers: u64,
    /// Claims without a question.
    pub announcements: u64,
    /// Source of the frames with its claims, if that is another station.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames_from: Option<String>,
}

/// A conflict, move or duplicate of an address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Kind: `conflict`, `moved` or `duplicate`.
    pub kind: String,
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: String,
    /// Whether a route of this host has it as its gateway.
    pub gateway: bool,
    /// Whether this host uses it.
    pub own: bool,
    /// Whether it persists.
    pub current: bool,
    /// Time of its begin.
    pub since: String,
    /// Last time that it was observed.
    pub last: String,
    /// The two stations of a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<Vec<String>>,
    /// Questions that both stations of a conflict answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub both_answered: Option<u64>,
    /// Times that a displaced station claimed the address again without announcing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<u64>,
    /// Station that had the address before the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Station that has the address after the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether the new station announced the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<bool>,
    /// Number of moves or of attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Station that tried to use a duplicate address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prober: Option<String>,
    /// Station that uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether that station was seen to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    /// Whether both tried at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub both_probed: Option<bool>,
    /// Stations that use or claim the address.
    pub claimants: Vec<Claimant>,
    /// Claims of stations that are not in `claimants`.
    pub more: u64,
}

/// An entry of the kernel's neighbor tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelNeighbor {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: String,
    /// MAC address; `None` if it is not resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// State, named as in ip-neighbour(8).
    pub state: String,
    /// Whether it is flagged as a router.
    pub router: bool,
}

/// A router that advertises itself as the master of a virtual router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Master {
    /// Its address.
    pub address: String,
    /// Source of its frames.
    pub mac: String,
    /// Whether it is this host.
    pub own: bool,
    /// Priority; for CARP the advskew.
    pub priority: u64,
    /// Interval of its advertisements.
    pub interval_ns: u64,
    /// First time that it was seen as the master.
    pub first: String,
    /// Time of its latest advertisement.
    pub last: String,
    /// Number of its advertisements.
    pub advertisements: u64,
}

/// A virtual router on a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VirtualRouter {
    /// Name of the interface.
    pub interface: String,
    /// Protocol: `VRRP`, `HSRP` or `CARP`.
    pub protocol: String,
    /// VRID, group or VHID.
    pub number: u64,
    /// Whether it serves IPv6.
    pub ipv6: bool,
    /// Its addresses, if the protocol names them.
    pub addresses: Vec<String>,
    /// Whether a route of this host uses it as its gateway.
    pub gateway: bool,
    /// Routers that advertised themselves as its master.
    pub masters: Vec<Master>,
    /// Addresses of two masters that advertise in turn now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_masters: Option<Vec<String>>,
    /// Since when there were two masters, within the last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Last time that two masters advertised in turn, within the last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Advertisements of masters that are not in `masters`.
    pub more: u64,
}

/// Reply of `Neighbors`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbors {
    /// Time of the reply.
    pub time: String,
    /// Stations by interface and MAC address.
    pub neighbors: Vec<Neighbor>,
    /// Conflicts, moves and duplicates, conflicts first.
    pub findings: Vec<Finding>,
    /// The kernel's neighbor tables.
    pub kernel: Vec<KernelNeighbor>,
    /// Virtual routers by interface, protocol and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_routers: Option<Vec<VirtualRouter>>,
}

/// An interface with its counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InterfaceCounters {
    /// Name.
    pub interface: String,
    /// Identity over renames.
    pub identity: u64,
    /// Why no packet can cross it, in words that follow its name; `None` if packets can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Counters that are not 0, by name.
    pub counters: BTreeMap<String, u64>,
    /// Packets dropped by its queueing disciplines, by kind and handle; without those that are 0.
    pub queue_drops: BTreeMap<String, u64>,
}

/// A counter of the whole host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostCounter {
    /// Layer that drops the packets.
    pub layer: String,
    /// What it belongs to.
    pub subject: String,
    /// Name.
    pub name: String,
    /// Value.
    pub value: u64,
}

/// Reply of `Counters`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Time of the reply.
    pub time: String,
    /// Interfaces.
    pub interfaces: Vec<InterfaceCounters>,
    /// Counters of the host that are not 0.
    pub host: Vec<HostCounter>,
    /// Number of interfaces that are not listed.
    pub left_out: u64,
}

/// Parameters of `Paths`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathsCall {
    /// Addresses, at most [`MAX_PATHS`]; with `%INTERFACE` if they have a scope.
    pub targets: Vec<String>,
    /// Name of the interface that is demanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Source address that is demanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Type of service or traffic class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos: Option<u8>,
}

/// Maximum number of addresses in a call of `Paths`: three questions to the kernel each, about 2 ms of the engine.
pub const MAX_PATHS: usize = 64;

/// The way of a packet to an address, as the kernel decides it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// The address.
    pub target: String,
    /// Name of the outgoing interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Type of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Destinations of the entry in the routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Name or number of the routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// MTU of the route or the path, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Why there is no route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// State of its entry in the neighbor table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbor: Option<String>,
    /// Its MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// State of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Reply of `Paths`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Paths {
    /// Time of the reply.
    pub time: String,
    /// The ways, in the order of the addresses.
    pub paths: Vec<Path>,
}
