//! PURE. Parameters and replies of `io.netsonde.Ping`. The `.varlink` file describes the values in full.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An ICMP or ICMPv6 error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IcmpError {
    /// ICMP type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Address of the sender.
    pub from: String,
    /// Description of type and code.
    pub meaning: String,
    /// MTU that the error contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// Result of one probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Target address, with %INTERFACE if it has a scope.
    pub target: String,
    /// Sequence number, from 1.
    pub seq: u32,
    /// Time at which it was sent.
    pub time: String,
    /// Name of its fate.
    pub fate: String,
    /// Fate that was reported before, and that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// Set for a further reply to an answered probe, which does not count as a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<bool>,
    /// Address that replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// TTL or hop limit of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Round-trip time as ping prints it: from the send call to the kernel's receive time stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
    /// Round-trip time on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<u64>,
    /// Time spent on ARP or neighbor discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve_ns: Option<u64>,
    /// Time in the local queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ns: Option<u64>,
    /// Time that the reply waited until the service ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_ns: Option<u64>,
    /// ICMP error that the probe caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<IcmpError>,
    /// Set if a RST refused the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<bool>,
    /// Error of the send call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Last vantage point that observed the probe, with the likely cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Set if the request left this host in fragments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragmented: Option<bool>,
    /// Outgoing interface of a lost probe, by the routing tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its next hop: a router, or the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// Why no packet can cross the interface, in words that follow its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What is wrong with the next hop of a probe that was not answered: an address conflict, or a neighbor
    /// entry that the wire contradicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    /// Whether the fate cannot change: `false` while a late reply or error may still replace it.
    #[serde(rename = "final", default, skip_serializing_if = "Option::is_none")]
    pub is_final: Option<bool>,
}

impl Probe {
    /// Returns whether the reply or error came from another address than the target's, which may have
    /// a scope.
    pub fn has_other_source(&self) -> bool {
        let target = self.target.split('%').next();
        self.from
            .as_deref()
            .is_some_and(|from| Some(from) != target)
    }
}

/// Observation about all probes of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remark {
    /// Name of its kind.
    pub id: String,
    /// Description.
    pub text: String,
}

/// Distribution of durations, in nanoseconds. With more than 64 values percentiles are accurate to 1 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Minimum.
    pub min: u64,
    /// Arithmetic mean.
    pub mean: u64,
    /// 50th percentile (median).
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Maximum.
    pub max: u64,
    /// Standard deviation.
    pub stddev: u64,
}

/// Loss by the time at which probes were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossWindows {
    /// Loss in the last complete window of ten seconds.
    pub last_10s_percent: f64,
    /// Loss in the last minute.
    pub last_60s_percent: f64,
    /// Loss in the worst window of the run.
    pub worst_10s_percent: f64,
}

/// A host that replied to a multicast or broadcast target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Responder {
    /// Address of the host.
    pub address: String,
    /// MAC address of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Probes that it answered.
    pub replies: u64,
    /// Further replies to answered probes.
    pub duplicates: u64,
    /// Probes that it did not answer.
    pub loss_percent: f64,
    /// Round-trip times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<Distribution>,
}

/// Totals of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Target address, with %INTERFACE if it has a scope.
    pub target: String,
    /// Probes whose fate is known.
    pub sent: u64,
    /// Probes that were answered in time.
    pub received: u64,
    /// Probes that were not answered in time.
    pub loss_percent: f64,
    /// Number of probes by fate, without zeros.
    pub fates: BTreeMap<String, u64>,
    /// Further replies to answered probes.
    pub duplicates: u64,
    /// Replies after the time limit.
    pub late: u64,
    /// Replies that arrived after the reply to a later probe (RFC 4737).
    pub reordered: u64,
    /// Round-trip times as ping prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<Distribution>,
    /// Round-trip times on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<Distribution>,
    /// Interarrival jitter (RFC 3550).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ns: Option<u64>,
    /// Loss in windows of ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<LossWindows>,
    /// Hosts that replied, for a multicast or broadcast target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responders: Option<Vec<Responder>>,
    /// Replies of responders that exceeded the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responders_left_out: Option<u64>,
    /// Moving average of the round-trip times, as ping computes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ewma_ns: Option<u64>,
    /// Observations about all probes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remarks: Option<Vec<Remark>>,
}

/// Short form of a summary, for tables of many targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetRow {
    /// Target address, with %INTERFACE if it has a scope.
    pub target: String,
    /// Probes whose fate is known.
    pub sent: u64,
    /// Probes that were answered in time.
    pub received: u64,
    /// Number of probes by fate; `None` if all were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fates: Option<BTreeMap<String, u64>>,
    /// Median round-trip time as ping prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
    /// Median round-trip time on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<u64>,
    /// Observations about all probes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remarks: Option<Vec<Remark>>,
}

/// Totals of the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// Number of targets.
    pub targets: u64,
    /// Targets that answered at least once.
    pub answered: u64,
    /// Probes whose fate is known.
    pub sent: u64,
    /// Probes that were answered in time.
    pub received: u64,
    /// Probes that were not answered in time.
    pub loss_percent: f64,
    /// Number of probes by fate, without zeros.
    pub fates: BTreeMap<String, u64>,
    /// Further replies to answered probes.
    pub duplicates: u64,
    /// Replies after the time limit.
    pub late: u64,
    /// Replies that arrived after the reply to a later probe (RFC 4737).
    pub reordered: u64,
    /// Replies with the identifier of this run and a wrong cookie.
    pub forged: u64,
    /// Valid replies to probes that were no longer tracked.
    pub stray: u64,
    /// Results dropped because the client did not read.
    pub events_dropped: u64,
    /// Duration of the run.
    pub duration_ns: u64,
}

/// Options of a run. A missing option has its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Probes per target; without it the run lasts until it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Interval between the probes of a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// Time limit for a reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ns: Option<u64>,
    /// Maximum duration of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ns: Option<u64>,
    /// Protocol of the probes: `echo`, `tcp` or `udp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Destination port, for `tcp` and `udp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Payload size in bytes, after the echo or UDP header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Payload pattern, up to 16 bytes in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// TTL or hop limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
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
    /// Maximum probes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Send the next probe on each reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flood: Option<bool>,
    /// Permit broadcast addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<bool>,
    /// Report totals only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet: Option<bool>,
    /// With `quiet`, report rows instead of summaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<bool>,
    /// Record every packet of the run, as far as there is room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<bool>,
    /// Pass a pipe with the final fate of every probe ([`crate::probe::packed`]), and report as `probes` only
    /// those that were not replied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed: Option<bool>,
    /// Spread the probes of a round over the interval; `None` if they are packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<bool>,
}

/// Parameters of `Targets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetsCall {
    /// Addresses or ranges to add.
    pub targets: Vec<String>,
    /// Number of the list; `None` to create one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<u64>,
}

/// Reply of `Targets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetsReply {
    /// Number of the list.
    pub list: u64,
    /// Targets in the list.
    pub targets: u64,
}

/// Parameters of `Ping`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PingCall {
    /// Addresses or ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Number of a list of targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<u64>,
    /// Options of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
}

/// Reply of `Ping`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PingReply {
    /// Number of the run; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Identifier of its echo requests; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// Number of targets; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<u64>,
    /// Time between two probes of a target in nanoseconds, if the rate of the run permits no shorter one although
    /// one was asked for; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// Index of the pipe for packed fates in the message's descriptor array; first reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<u64>,
    /// The next targets in the order of their slots in packed fates, before all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<String>>,
    /// Results of probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Vec<Probe>>,
    /// Totals by target, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summaries: Option<Vec<Summary>>,
    /// Short totals by target, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<TargetRow>>,
    /// Totals of the run; last reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Total>,
    /// Packed fates that were lost because they were not read in time; last reply only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// Parameters of `Progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressCall {
    /// Number of the run.
    pub run: u64,
}

/// Reply of `Progress`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgressReply {
    /// Totals by target so far; absent for many targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summaries: Option<Vec<Summary>>,
    /// Totals of the run so far.
    pub total: Total,
}

/// Parameters of `Stop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopCall {
    /// Number of the run.
    pub run: u64,
}
