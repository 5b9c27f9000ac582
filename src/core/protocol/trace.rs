//! PURE. Types of `io.netsonde.Trace`: probes with a hop limit and a flow each.

use serde::{Deserialize, Serialize};

pub use super::ping::IcmpError;

/// A probe to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Number that identifies it in its answer.
    pub number: u32,
    /// TTL or hop limit, 1 to 255.
    pub hop_limit: u8,
    /// Flow.
    pub flow: u16,
}

/// A TCP connection of this host along which probes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Its port here.
    pub source_port: u16,
    /// Its flow label (IPv6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_label: Option<u32>,
    /// A sequence number of it that was seen lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u32>,
}

/// Options of a run. A missing option has its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Time limit for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ns: Option<u64>,
    /// Interval between two probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// Payload size in bytes, after the echo header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Type of service or traffic class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos: Option<u8>,
    /// Path MTU discovery: `do`, `probe`, `want` or `dont`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pmtu_discovery: Option<String>,
    /// Interface to send on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Protocol: `echo`, `udp` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The connection along which the probes go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
}

/// What an error quotes of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Length with the IP header, in bytes.
    pub length: u32,
    /// Identification (IPv4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_id: Option<u16>,
    /// Source address, if it is not the one that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Destination address, if it is not the one that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Checksum of the echo request (IPv4) or the UDP datagram, if it is not the one that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u16>,
}

/// An entry of an MPLS label stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Label.
    pub label: u32,
    /// Traffic class.
    pub class: u8,
    /// Whether it is the last one of the stack.
    pub bottom: bool,
    /// TTL.
    pub ttl: u8,
}

/// An interface of the sender of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// What it is to the probe.
    pub role: String,
    /// Index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// The result of one probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the probe.
    pub number: u32,
    /// TTL or hop limit of the probe.
    pub hop_limit: u8,
    /// Flow of the probe.
    pub flow: u16,
    /// Time of sending.
    pub time: String,
    /// Fate.
    pub fate: String,
    /// Fate reported earlier, which this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// Address that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// TTL or hop limit of the reply or error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Round-trip time from the send call to the kernel's receive time stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
    /// Round-trip time on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<u64>,
    /// ICMP error that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<IcmpError>,
    /// What the error quotes of the probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// MPLS label stack of the error, outermost first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<Label>>,
    /// Interfaces that the error names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<Interface>>,
    /// Set if a RST refused the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<bool>,
    /// Error of the send call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Last vantage point that observed the probe, with the likely cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Outgoing interface of a lost probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// Why no packet can cross the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What is wrong with the next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    /// Whether the fate cannot change.
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// Parameters of `Probe`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeCall {
    /// Address.
    pub target: String,
    /// Probes, in the order of sending.
    pub probes: Vec<Step>,
    /// Options of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
    /// Whether more probes may follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}

/// Reply of `Probe`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeReply {
    /// Number of the run; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Identifier of its echo requests; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// Results of probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<Answer>>,
    /// Errors and replies with a wrong cookie; last reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forged: Option<u64>,
}

/// Parameters of `Add`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddCall {
    /// Number of the run.
    pub run: u64,
    /// Probes, in the order of sending.
    pub probes: Vec<Step>,
}

/// Reply of `Ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsReply {
    /// Source ports of probes by TCP.
    pub tcp: Vec<u16>,
    /// Source ports of probes by UDP.
    pub udp: Vec<u16>,
}

/// Parameters of `Close`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseCall {
    /// Number of the run.
    pub run: u64,
}
