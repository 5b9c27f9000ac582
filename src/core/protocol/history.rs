//! PURE. Parameters and replies of `io.netsonde.History`. The `.varlink` file describes the values in full.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::capture::Content;
use super::inventory::Path;

/// A monitor as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// Name of the monitor.
    pub name: String,
    /// Targets.
    pub targets: Vec<String>,
    /// Interval of the probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// Time limit of a reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ns: Option<u64>,
    /// Port of TCP probes; without it and `udp` they are echo requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u64>,
    /// Port of UDP probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<u64>,
    /// Payload in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Differentiated services code point, 0 to 63.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u64>,
    /// Whether probes must not be fragmented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dont_fragment: Option<bool>,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Name of the interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Labels to select by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Lost probes that make an outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Probes that are looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Where it is configured: `file` or `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Loss and round trip within a time before now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Probes whose fate is known.
    pub sent: u64,
    /// Probes that were answered in time.
    pub received: u64,
    /// Share of the others.
    pub loss_percent: f64,
    /// 99th percentile of the round trip on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_rtt_p99_ns: Option<u64>,
}

/// One target of a monitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Name of the monitor.
    pub name: String,
    /// Address of the target.
    pub target: String,
    /// Name that the address belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port of its probes by TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u64>,
    /// Port of its probes by UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<u64>,
    /// State.
    pub state: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Interval of the probes.
    pub interval_ns: u64,
    /// Time of the last probe whose fate is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<u64>,
    /// What was seen, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_minute: Option<Window>,
    /// The last hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_hour: Option<Window>,
    /// The last day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_day: Option<Window>,
}

/// The outage of one target within an outage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Affected {
    /// Name of the monitor.
    pub name: String,
    /// Address of the target.
    pub target: String,
    /// TCP port that is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u64>,
    /// UDP port that is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<u64>,
    /// Send time of the first lost probe.
    pub begin: String,
    /// Send time of the first answered probe; `None` while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Duration.
    pub duration_ns: u64,
    /// Probes by fate, without zeros.
    pub fates: BTreeMap<String, u64>,
    /// Number of times that it went down.
    pub times: u64,
    /// What was not measured.
    pub gaps: u64,
    /// Words of the first lost probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

/// Outages that recur.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recurrence {
    /// How often.
    pub count: u64,
    /// Since when.
    pub since: String,
    /// Period.
    pub period_ns: u64,
    /// Standard deviation of the period.
    pub deviation_ns: u64,
    /// Probability that it is a coincidence.
    pub chance: f64,
    /// What was seen, in words.
    pub words: String,
}

/// Packets that were kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Number of packets.
    pub packets: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Begin.
    pub from: String,
    /// End.
    pub to: String,
    /// State.
    pub state: String,
    /// What was seen, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// An outage: of one target, or of several with one cause.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outage {
    /// Number.
    pub id: u64,
    /// Kind.
    pub kind: String,
    /// Send time of the first lost probe.
    pub begin: String,
    /// Send time of the first answered probe; `None` while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Duration.
    pub duration_ns: u64,
    /// Targets.
    pub targets: Vec<String>,
    /// TCP port that was probed, if it is the same of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u64>,
    /// UDP port that was probed, if it is the same of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<u64>,
    /// Targets that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets_left_out: Option<u64>,
    /// Probes by fate, without zeros.
    pub fates: BTreeMap<String, u64>,
    /// Cause, as a word for programs.
    pub cause: String,
    /// What was seen, in words.
    pub words: String,
    /// Number of times that it went down, if it is flapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flapping: Option<u64>,
    /// What the interface carried when probes were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// Recurrence, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<Recurrence>,
    /// Packets, if there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Each target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affected: Option<Vec<Affected>>,
    /// Events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Event>>,
    /// The ways to some of its targets about the begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathChange>>,
    /// The paths through the network to some of its targets, before and during it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<Vec<OutageTrace>>,
    /// Drop counters of this host that moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<Vec<Counter>>,
    /// From when on they moved: the last second before the first lost probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters_from: Option<String>,
    /// Until when: 31 s after it, or when they were last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters_to: Option<String>,
}

/// A counter of this host that moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counter {
    /// Layer that drops the packets.
    pub layer: String,
    /// What it belongs to.
    pub subject: String,
    /// Name.
    pub name: String,
    /// By how much it moved.
    pub by: u64,
    /// What it means; empty for one of traffic.
    pub words: String,
    /// Whether it moves on any network.
    pub harmless: bool,
}

/// The way to a target at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathState {
    /// Time.
    pub time: String,
    /// Name of the outgoing interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Type of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Destinations of the entry in the routing table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Name or number of the routing table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// MTU of the route or the path, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Why there is no route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// State of its entry in the neighbor table, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbor: Option<String>,
    /// Its MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// State of the interface: `up`, or what is wrong in words that follow its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl PathState {
    /// Returns the way as netsonded reported it at a time.
    pub fn new(time: &str, path: Path) -> PathState {
        PathState {
            time: time.into(),
            interface: path.interface,
            gateway: path.gateway,
            kind: path.kind,
            destination: path.destination,
            table: path.table,
            mtu: path.mtu,
            error: path.error,
            next_hop: path.next_hop,
            neighbor: path.neighbor,
            mac: path.mac,
            link: path.link,
        }
    }
}

/// The way to a target about the begin of an outage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathChange {
    /// Address of the target.
    pub target: String,
    /// The last time that it was looked at before the first lost probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<PathState>,
    /// When the probe was known to be lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin: Option<PathState>,
    /// 31 s after it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<PathState>,
    /// State of the interface that the way had before, in the last second before the first lost probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_before: Option<String>,
    /// State of that interface when the probe was known to be lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_begin: Option<String>,
    /// State of that interface 31 s after it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_after: Option<String>,
}

/// A hop of a path that was traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TracedHop {
    /// TTL.
    pub hop: u64,
    /// Addresses that answered.
    pub addresses: Vec<String>,
    /// Number of answers.
    pub answers: u64,
    /// Error with which it refused the probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A path to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TracedPath {
    /// Address of the target.
    pub target: String,
    /// Since when it is known as it is.
    pub since: String,
    /// Until when.
    pub until: String,
    /// Whether the target answered.
    pub reached: bool,
    /// Hops that answered.
    pub hops: Vec<TracedHop>,
}

/// The path to a target of an outage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutageTrace {
    /// Address of the target.
    pub target: String,
    /// Protocol of the probes of `during`, if it is not `echo`: `udp` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Their destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path as it was known before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<TracedPath>,
    /// The path during the outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during: Option<TracedPath>,
    /// What was seen, in words.
    pub words: String,
}

/// Parameters of `Path`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathCall {
    /// An address.
    pub target: String,
    /// As it was known at this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ns: Option<u64>,
}

/// Reply of `Path`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathReply {
    /// The path.
    pub path: TracedPath,
    /// Addresses whose path it stands for.
    pub network: String,
    /// Paths that were known later, oldest first.
    pub later: Vec<TracedPath>,
}

/// What is remembered of paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathStatus {
    /// Networks with targets.
    pub networks: u64,
    /// Networks whose path is known.
    pub known: u64,
    /// Networks that are not traced.
    pub left_out: u64,
    /// Interval at which each path is looked at.
    pub interval_ns: u64,
    /// Probes that were sent.
    pub probes: u64,
    /// Changes that were found.
    pub changes: u64,
}

/// What the counters of this host counted in a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CounterPoint {
    /// Begin of the step.
    pub time: String,
    /// Length of the step.
    pub step_ns: u64,
    /// Time of it that was measured.
    pub measured_ns: u64,
    /// Counters that moved.
    pub counters: Vec<Counter>,
    /// Subjects whose counters began within the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Vec<String>>,
    /// Number of counters that moved and were not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
}

/// Parameters of `Counters`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountersCall {
    /// Only since this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// Only until this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// Length of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_ns: Option<u64>,
    /// Name of an interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Whether counters of traffic are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drops: Option<bool>,
}

/// Reply of `Counters`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountersReply {
    /// Steps, oldest first.
    pub points: Vec<CounterPoint>,
    /// Number of older steps that are not listed.
    pub left_out: u64,
}

/// A logged event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Time.
    pub time: String,
    /// Kind.
    pub kind: String,
    /// Severity: `info`, `notice` or `warning`.
    pub severity: String,
    /// Name of the interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What it is about.
    pub subject: String,
    /// One sentence.
    pub text: String,
    /// The path before it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<TracedPath>>,
    /// The path now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<TracedPath>>,
}

/// Distribution of durations in nanoseconds: on the wire to 3 %, in total to 30 % where it is much longer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Distribution {
    /// Minimum.
    pub min: u64,
    /// 50th percentile (median).
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Maximum.
    pub max: u64,
}

/// A step of a history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// Time.
    pub time: String,
    /// Length of the step.
    pub step_ns: u64,
    /// Probes whose fate is known.
    pub sent: u64,
    /// Probes that were answered in time.
    pub received: u64,
    /// Probes by fate, without zeros.
    pub fates: BTreeMap<String, u64>,
    /// Round-trip time as ping prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<Distribution>,
    /// Round-trip time on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<Distribution>,
    /// What was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gaps: Option<Vec<String>>,
}

/// A probe of the history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// Time.
    pub time: String,
    /// Fate.
    pub fate: String,
    /// Round-trip time as ping prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
    /// Round-trip time on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<u64>,
    /// What was seen, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// Packets that somebody kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Number.
    pub id: u64,
    /// Time.
    pub time: String,
    /// Note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who kept it.
    pub user: String,
    /// Packets, if there are some.
    pub evidence: Evidence,
}

/// A part of the store on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Name of the monitor.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Most bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Number of files.
    pub files: u64,
    /// Time of the oldest entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
}

/// A limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// Name of the monitor.
    pub name: String,
    /// Value.
    pub most: u64,
    /// How often it was reached.
    pub reached: u64,
    /// What was seen, in words.
    pub words: String,
}

/// Parameters of `Monitors`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorsCall {
    /// Name of the monitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Reply of `Monitors`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MonitorsReply {
    /// Monitors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitors: Option<Vec<Monitor>>,
    /// Targets.
    pub targets: Vec<Target>,
    /// Number of those that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
}

/// Parameters of `AddMonitor`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddMonitorCall {
    /// The monitor.
    pub monitor: Monitor,
    /// Whether it replaces one of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
}

/// Reply of `AddMonitor`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddMonitorReply {
    /// Targets.
    pub targets: u64,
}

/// Parameters of `RemoveMonitor`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoveMonitorCall {
    /// Name of the monitor.
    pub name: String,
}

/// Parameters of `Pause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseCall {
    /// Name of the monitor.
    pub name: String,
    /// Duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// Whether probes are sent nevertheless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
}

/// Parameters of `Resume`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResumeCall {
    /// Name of the monitor.
    pub name: String,
}

/// Parameters of `Outages`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutagesCall {
    /// Address of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only since this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// Only until this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// Maximum number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Reply of `Outages`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutagesReply {
    /// Outages.
    pub outages: Vec<Outage>,
    /// Number of those that are not listed.
    pub left_out: u64,
}

/// Parameters of `Outage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutageCall {
    /// Number.
    pub id: u64,
}

/// Reply of `Outage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutageReply {
    /// Outage.
    pub outage: Outage,
}

/// Parameters of `History`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryCall {
    /// Address of the target.
    pub target: String,
    /// Only since this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// Only until this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// Length of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_ns: Option<u64>,
}

/// Reply of `History`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryReply {
    /// Name of the monitor.
    pub name: String,
    /// Address of the target.
    pub target: String,
    /// Points, oldest first.
    pub points: Vec<Point>,
    /// All of it as one.
    pub span: Point,
}

/// Parameters of `At`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AtCall {
    /// Address of the target.
    pub target: String,
    /// The time.
    pub time_ns: u64,
}

/// Reply of `At`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AtReply {
    /// Name of the monitor.
    pub name: String,
    /// Address of the target.
    pub target: String,
    /// The probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// State.
    pub state: String,
    /// Outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<u64>,
}

/// Parameters of `Events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsCall {
    /// Only since this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// Only until this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// Name of the interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Kinds or categories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// Severity: `info`, `notice` or `warning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Maximum number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Reply of `Events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventsReply {
    /// Events.
    pub events: Vec<Event>,
    /// Number of those that are not listed.
    pub left_out: u64,
}

/// Parameters of `Keep`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeepCall {
    /// Time before now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ns: Option<u64>,
    /// Note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Reply of `Keep`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepReply {
    /// What was kept.
    pub kept: Kept,
}

/// Reply of `Kept`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptReply {
    /// What was kept.
    pub kept: Vec<Kept>,
}

/// Parameters of `Discard`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscardCall {
    /// Number.
    pub id: u64,
}

/// Parameters of `Packets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PacketsCall {
    /// Outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<u64>,
    /// What was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
    /// How much of each packet to include; `None` for whole packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// Reply of `Packets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PacketsReply {
    /// Index of the descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd: Option<u64>,
    /// Number of packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// How much of each packet is included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// Parameters of `Record`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordCall {
    /// Only since this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// Only until this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// Names of stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<String>>,
    /// How much of each packet to include; `None` for whole packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// Reply of `Record`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordReply {
    /// Index of the descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd: Option<u64>,
    /// Begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ns: Option<u64>,
    /// End.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ns: Option<u64>,
    /// What was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gaps: Option<Vec<RecordGap>>,
    /// The record of the service that `next` refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Number of the first packet that is not on disk, by store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<BTreeMap<String, u64>>,
    /// How much of each packet is included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// A time of which packets of a store are not on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordGap {
    /// Name of the store.
    pub store: String,
    /// Begin.
    pub from_ns: u64,
    /// End.
    pub to_ns: u64,
    /// What was seen, in words.
    pub words: String,
}

/// Reply of `Watch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchReply {
    /// Version of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Address of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// An event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// Lost probes that make an outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// Reply of `Status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReply {
    /// Version of the program.
    pub version: String,
    /// Time.
    pub time: String,
    /// Start of the program.
    pub started: String,
    /// Whether it is connected to netsonded.
    pub connected: bool,
    /// What was seen, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// Monitors.
    pub monitors: u64,
    /// Targets.
    pub targets: u64,
    /// Probes since the start.
    pub probes: u64,
    /// Outages.
    pub outages: u64,
    /// Outages that last.
    pub lasting: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Most bytes.
    pub budget: u64,
    /// Bytes written to disk since the start.
    pub written_bytes: u64,
    /// How long every probe is kept at the present rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasts_ns: Option<u64>,
    /// What is remembered of paths; `None` if they are not traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<PathStatus>,
    /// Parts of the store.
    pub parts: Vec<Part>,
    /// Limits.
    pub limits: Vec<Limit>,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}
