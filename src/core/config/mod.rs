//! PURE. Configuration of the service: keys, defaults, limits, validation. The manual page netsonde.toml(5) and
//! the default file are generated from [`KEYS`]. Each structure is the table of the file that its first line
//! names.
//!
//! | file | contents |
//! |---|---|
//! | `keys` | all keys, with defaults and descriptions |
//! | `reader` | reads a file key by key |
//! | `check` | ranges and limits of values |
//! | `errors` | problems, with their places in the file |
//! | `suggest` | similar names and expected values for messages |
//! | `permission` | tiers and who has them |

mod check;
mod errors;
mod keys;
pub mod permission;
mod reader;
mod suggest;

use serde::{Deserialize, Serialize};

pub use check::Error;
pub(crate) use errors::place as line_and_column;
pub use errors::{MAX_FILE_BYTES, Problem, Problems};
pub use keys::{KEYS, Key, default_file};
pub use permission::{PermissionSettings, Permissions};

use crate::events::Severity;
use crate::recorder::Rule;

/// Default path of the configuration file.
pub const PATH: &str = "/etc/netsonde/netsonde.toml";
/// Default path of the control socket.
pub const SOCKET: &str = "/run/netsonde/control.sock";
/// Default path of the historian's socket.
pub const HISTORY_SOCKET: &str = "/run/netsonde/history.sock";
/// Default directory of the history.
pub const HISTORY: &str = "/var/lib/netsonde-historian";
/// Default path of the monitors.
pub const MONITORS: &str = "/etc/netsonde/monitors.toml";
/// Default state directory.
pub const STATE: &str = "/var/lib/netsonde";

/// Maximum entries of all rules together. Each becomes up to eight instructions of the kernel filter, which
/// every packet passes and which holds 4,096.
pub const MAX_RULE_ENTRIES: usize = 256;

/// Size in bytes. In the file a number, or a string with `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(from)? {
            Either::Number(bytes) => Ok(Size(bytes)),
            Either::Text(text) => parse_size(&text).map(Size).ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "invalid size {text:?}: write a number of bytes, or \"64 MiB\", \"512 KiB\", \"1 GiB\""
                ))
            }),
        }
    }
}

/// Returns the number and the unit of a quantity such as `64 MiB`.
fn quantity(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, text[digits..].trim()))
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = quantity(text)?;
    let unit = match unit {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Duration in nanoseconds. In the file a number of seconds, or a string with `ms`, `s`, `min` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u64);

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0 / SECOND)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        from.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl serde::de::Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a duration: a number of seconds, or \"30 s\", \"2 min\", \"1 h\"")
    }

    fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Span, E> {
        let span = seconds.checked_mul(SECOND).map(Span);
        span.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(seconds), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Span, E> {
        match u64::try_from(seconds) {
            Ok(seconds) => self.visit_u64(seconds),
            Err(_) => Err(E::invalid_value(
                serde::de::Unexpected::Signed(seconds),
                &self,
            )),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
        parse_span(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

fn parse_span(text: &str) -> Option<Span> {
    let (number, unit) = quantity(text)?;
    let unit = match unit {
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" | "min" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    };
    number.checked_mul(unit).map(Span)
}

/// `[recorder.retention]`: how far back each store reaches, whatever comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// ARP, neighbor discovery, LLDP, STP, LACP.
    pub link: Span,
    /// IGMP, MLD, PIM.
    pub group: Span,
    /// ICMP and ICMPv6, except neighbor discovery and MLD.
    pub icmp: Span,
    /// DHCP, DHCPv6, DNS, mDNS, LLMNR, SSDP, NetBIOS names.
    pub names: Span,
    /// VRRP, HSRP, OSPF, EIGRP, RIP, BFD.
    pub routing: Span,
    /// TCP segments with SYN, FIN or RST, hellos of TLS, and first lines of text protocols.
    pub connections: Span,
    /// Everything else.
    pub bulk: Span,
}

impl Default for Retention {
    /// Two minutes: as long as it takes to notice and to ask. Link and group management is rare, and what explains
    /// its state may be minutes old.
    fn default() -> Retention {
        let (short, long) = (Span(120 * SECOND), Span(600 * SECOND));
        Retention {
            link: long,
            group: long,
            icmp: short,
            names: short,
            routing: short,
            connections: short,
            bulk: short,
        }
    }
}

impl Retention {
    /// Returns the values in nanoseconds, in the order of [`Store::ALL`](crate::recorder::Store::ALL).
    pub fn ns(&self) -> [u64; 7] {
        [
            self.link.0,
            self.group.0,
            self.icmp.0,
            self.names.0,
            self.routing.0,
            self.connections.0,
            self.bulk.0,
        ]
    }
}

/// `[recorder.budget]`: memory of each store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// ARP, neighbor discovery, LLDP, STP, LACP.
    pub link: Size,
    /// IGMP, MLD, PIM.
    pub group: Size,
    /// ICMP and ICMPv6, except neighbor discovery and MLD.
    pub icmp: Size,
    /// DHCP, DHCPv6, DNS, mDNS, LLMNR, SSDP, NetBIOS names.
    pub names: Size,
    /// VRRP, HSRP, OSPF, EIGRP, RIP, BFD.
    pub routing: Size,
    /// TCP segments with SYN, FIN or RST, hellos of TLS, and first lines of text protocols.
    pub connections: Size,
    /// Everything else.
    pub bulk: Size,
}

impl Default for Budgets {
    /// 64 MiB in total, including bookkeeping.
    fn default() -> Budgets {
        const MIB: u64 = 1 << 20;
        Budgets {
            link: Size(4 * MIB),
            group: Size(4 * MIB),
            icmp: Size(6 * MIB),
            names: Size(8 * MIB),
            routing: Size(2 * MIB),
            connections: Size(8 * MIB),
            bulk: Size(29 * MIB),
        }
    }
}

impl Budgets {
    /// Returns the values in bytes, in the order of [`Store::ALL`](crate::recorder::Store::ALL).
    pub fn bytes(&self) -> [u64; 7] {
        [
            self.link.0,
            self.group.0,
            self.icmp.0,
            self.names.0,
            self.routing.0,
            self.connections.0,
            self.bulk.0,
        ]
    }
}

/// `[recorder.snap]`: maximum bytes of a packet that each store keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapLengths {
    /// ARP, neighbor discovery, LLDP, STP, LACP.
    pub link: u32,
    /// IGMP, MLD, PIM.
    pub group: u32,
    /// ICMP and ICMPv6, except neighbor discovery and MLD.
    pub icmp: u32,
    /// DHCP, DHCPv6, DNS, mDNS, LLMNR, SSDP, NetBIOS names.
    pub names: u32,
    /// VRRP, HSRP, OSPF, EIGRP, RIP, BFD.
    pub routing: u32,
    /// TCP segments with SYN, FIN or RST, hellos of TLS, and first lines of text protocols.
    pub connections: u32,
    /// Everything else.
    pub bulk: u32,
}

impl Default for SnapLengths {
    /// 2 KiB where the content matters; a whole segment for a hello of TLS, whose server name may be its last part;
    /// 128 bytes of bulk hold the headers of any usual stack.
    fn default() -> SnapLengths {
        SnapLengths {
            link: 2048,
            group: 2048,
            icmp: 2048,
            names: 2048,
            routing: 2048,
            connections: 1536,
            bulk: 128,
        }
    }
}

impl SnapLengths {
    /// Returns the values in bytes, in the order of [`Store::ALL`](crate::recorder::Store::ALL).
    pub fn bytes(&self) -> [u32; 7] {
        [
            self.link,
            self.group,
            self.icmp,
            self.names,
            self.routing,
            self.connections,
            self.bulk,
        ]
    }
}

/// `[recorder]`: stores and rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderSettings {
    /// Memory of each store.
    pub budget: Budgets,
    /// How far back each store reaches.
    pub retention: Retention,
    /// Snap length of each store.
    pub snap: SnapLengths,
    /// Custom rules; later ones win.
    pub rule: Vec<Rule>,
}

/// `[ping]`: limits of the prober.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PingSettings {
    /// Maximum probes per second of all users together.
    pub rate: u64,
    /// Maximum probes per second of one user.
    pub rate_per_uid: u64,
    /// Maximum bytes per second of all users together.
    pub byte_rate: Size,
    /// Maximum bytes per second of one user.
    pub byte_rate_per_uid: Size,
    /// Minimum interval between probes of one target for users other than root, in milliseconds.
    pub interval_ms: u64,
    /// Maximum targets of one run.
    pub targets: u64,
    /// Maximum concurrent runs of one user.
    pub runs_per_uid: u64,
    /// Maximum probes of all users that await a reply.
    pub in_flight: u64,
}

impl Default for PingSettings {
    /// Rates that a 1 Gbit/s link and one core carry without noticeable load.
    fn default() -> PingSettings {
        PingSettings {
            rate: 100_000,
            rate_per_uid: 20_000,
            // A quarter and a tenth of such a link: small probes never reach them.
            byte_rate: Size(32 << 20),
            byte_rate_per_uid: Size(12 << 20),
            interval_ms: 2,
            targets: 131_072,
            runs_per_uid: 32,
            in_flight: 262_144,
        }
    }
}

/// `[rings]`: sizes of the kernel rings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingSettings {
    /// Size of the ring for control traffic.
    pub control: Size,
    /// Size of the ring for all other traffic.
    pub bulk: Size,
}

impl Default for RingSettings {
    /// At 600,000 small packets per second (210 bytes each in the ring) the bulk ring holds the packets of a
    /// quarter of a second: more than the restart of an engine takes.
    fn default() -> RingSettings {
        RingSettings {
            control: Size(8 << 20),
            bulk: Size(32 << 20),
        }
    }
}

/// `[interfaces]`: which interfaces are recorded. A `*` in a pattern matches any characters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterfaceSettings {
    /// Patterns of interfaces to record; empty for all.
    pub record: Vec<String>,
    /// Patterns of interfaces not to record.
    pub exclude: Vec<String>,
    /// Patterns of interfaces to hold in promiscuous mode.
    pub promiscuous: Vec<String>,
}

/// Matches a name against a pattern, in which `*` stands for any characters.
fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            rest.is_empty()
                || (0..=tail.len())
                    .filter(|at| tail.is_char_boundary(*at))
                    .any(|at| name_matches(rest, &tail[at..]))
        }),
    }
}

impl InterfaceSettings {
    /// Returns whether an interface is recorded, and the reason as `netsonde interfaces` shows it.
    pub fn records(&self, name: &str) -> (bool, &'static str) {
        if self
            .exclude
            .iter()
            .any(|pattern| name_matches(pattern, name))
        {
            (false, "excluded by interfaces.exclude")
        } else if self.record.is_empty() {
            (true, "all interfaces are recorded")
        } else if self
            .record
            .iter()
            .any(|pattern| name_matches(pattern, name))
        {
            (true, "named by interfaces.record or --interface")
        } else {
            (false, "not named by interfaces.record or --interface")
        }
    }

    /// Returns whether an interface is to be held in promiscuous mode.
    pub fn is_promiscuous(&self, name: &str) -> bool {
        self.promiscuous
            .iter()
            .any(|pattern| name_matches(pattern, name))
    }
}

/// `[listeners]`: the second vantage point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerSettings {
    /// Whether to join the all-systems and all-routers groups on recorded interfaces.
    pub join: bool,
}

impl Default for ListenerSettings {
    fn default() -> ListenerSettings {
        ListenerSettings { join: true }
    }
}

/// `[sandbox]`: confinement of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSettings {
    /// Action on a system call that the sandbox does not allow.
    pub violation: Violation,
}

/// Action on a system call that the sandbox does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Violation {
    /// The engine is killed by SIGSYS, and the keeper starts a new one.
    Kill,
    /// The call fails with EPERM.
    Refuse,
}

impl Violation {
    /// Name used in the configuration and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Violation::Kill => "kill",
            Violation::Refuse => "refuse",
        }
    }
}

impl Default for SandboxSettings {
    fn default() -> SandboxSettings {
        SandboxSettings {
            violation: Violation::Kill,
        }
    }
}

/// `[events]`: logging of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsSettings {
    /// Minimum severity for the service's log.
    pub journal: Journal,
}

/// Minimum severity of events that are also written to the service's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Journal {
    /// All events.
    Info,
    /// Events of severity notice and warning.
    #[default]
    Notice,
    /// Events of severity warning.
    Warning,
    /// No events.
    None,
}

impl Journal {
    /// Returns whether events of this severity are written.
    pub fn includes(self, severity: Severity) -> bool {
        match self {
            Journal::Info => true,
            Journal::Notice => severity >= Severity::Notice,
            Journal::Warning => severity >= Severity::Warning,
            Journal::None => false,
        }
    }
}

/// `[history]`: what netsonde-historian keeps on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySettings {
    /// Most bytes of probes and their histograms.
    pub budget: Size,
    /// Most bytes of the record on disk.
    pub record: Size,
    /// Whether the record on disk has the packets of the store `bulk`, too.
    pub bulk: bool,
    /// Most bytes of packets that show outages.
    pub evidence: Size,
    /// Most bytes of packets that somebody kept.
    pub kept: Size,
    /// Whether paths to targets are traced.
    pub paths: bool,
    /// Interval at which each path is looked at, 5 s to an hour.
    pub path_interval: Span,
}

impl Default for HistorySettings {
    fn default() -> HistorySettings {
        HistorySettings {
            budget: Size(1 << 30),
            record: Size(256 << 20),
            bulk: false,
            evidence: Size(256 << 20),
            kept: Size(256 << 20),
            paths: true,
            path_interval: Span(60 * SECOND),
        }
    }
}

/// `[control]`: the control socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSettings {
    /// Group that may use the control socket, by name or number.
    pub group: String,
    /// Maximum connections, 1 to 10000.
    pub clients: u32,
    /// Maximum connections of one user.
    pub clients_per_uid: u32,
    /// Maximum memory of all users' requests.
    pub memory: Size,
    /// Maximum memory of one user's requests.
    pub memory_per_uid: Size,
}

impl Default for ControlSettings {
    fn default() -> ControlSettings {
        ControlSettings {
            group: "netsonde".into(),
            clients: 256,
            clients_per_uid: 16,
            // With the record, the rings and the tables, two thirds of the unit's MemoryMax.
            memory: Size(384 << 20),
            memory_per_uid: Size(192 << 20),
        }
    }
}

/// The whole configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Stores and rules.
    pub recorder: RecorderSettings,
    /// Kernel rings.
    pub rings: RingSettings,
    /// Which interfaces are recorded.
    pub interfaces: InterfaceSettings,
    /// Memberships of the listeners.
    pub listeners: ListenerSettings,
    /// ControlSettings socket.
    pub control: ControlSettings,
    /// Limits of the prober.
    pub ping: PingSettings,
    /// Sandbox of the engine.
    pub sandbox: SandboxSettings,
    /// Permission tiers.
    pub permission: PermissionSettings,
    /// Event log.
    pub events: EventsSettings,
    /// What the historian keeps.
    pub history: HistorySettings,
}

/// Returns the names that are marked as different.
fn names_that_differ(all: &[(&'static str, bool)]) -> Vec<&'static str> {
    all.iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| *name)
        .collect()
}

impl Config {
    /// Parses the text of a configuration file.
    ///
    /// # Errors
    /// All problems, each with its place: syntax, unknown keys, wrong types, values out of range.
    pub fn parse(text: &str) -> Result<Config, Problems> {
        reader::parse(text)
    }

    /// Parses the bytes of a configuration file.
    ///
    /// # Errors
    /// As [`Config::parse`]; also files that are too large or not UTF-8.
    pub fn read(bytes: &[u8]) -> Result<Config, Problems> {
        reader::read(bytes)
    }

    /// Returns the names of the tables that differ.
    pub fn changed_tables(&self, other: &Config) -> Vec<&'static str> {
        let tables = [
            ("recorder", self.recorder != other.recorder),
            ("rings", self.rings != other.rings),
            ("interfaces", self.interfaces != other.interfaces),
            ("listeners", self.listeners != other.listeners),
            ("control", self.control != other.control),
            ("ping", self.ping != other.ping),
            ("sandbox", self.sandbox != other.sandbox),
            ("events", self.events != other.events),
            ("permission", self.permission != other.permission),
        ];
        names_that_differ(&tables)
    }

    /// Returns the keys that differ and cannot change while the service runs, because descriptors or the sandbox
    /// depend on them. `own_socket`: the service created its control socket itself.
    pub fn changed_fixed_keys(&self, other: &Config, own_socket: bool) -> Vec<&'static str> {
        let (recorder, other_recorder) = (&self.recorder, &other.recorder);
        let promiscuous = self.interfaces.promiscuous != other.interfaces.promiscuous;
        let group = own_socket && self.control.group != other.control.group;
        let keys = [
            ("recorder.budget", recorder.budget != other_recorder.budget),
            ("recorder.snap", recorder.snap != other_recorder.snap),
            ("recorder.rule", recorder.rule != other_recorder.rule),
            ("rings", self.rings != other.rings),
            ("interfaces.promiscuous", promiscuous),
            ("sandbox", self.sandbox != other.sandbox),
            ("control.group", group),
        ];
        names_that_differ(&keys)
    }

    /// Lowers the default limit of one user to the limit of all users, so that a file may set the latter alone.
    /// `is_given`: whether a key is in the file.
    pub(super) fn lower_defaults(&mut self, is_given: impl Fn(&str) -> bool) {
        let (ping, control) = (&mut self.ping, &mut self.control);
        if !is_given("ping.rate_per_uid") {
            ping.rate_per_uid = ping.rate_per_uid.min(ping.rate);
        }
        if !is_given("ping.byte_rate_per_uid") {
            ping.byte_rate_per_uid = ping.byte_rate_per_uid.min(ping.byte_rate);
        }
        if !is_given("control.memory_per_uid") {
            control.memory_per_uid = control.memory_per_uid.min(control.memory);
        }
        if !is_given("control.clients_per_uid") {
            control.clients_per_uid = control.clients_per_uid.min(control.clients);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_64_mib() {
        let config = Config::parse("").unwrap();
        assert!(crate::recorder::memory_needed(config.recorder.budget.bytes()) <= 64 << 20);
    }

    /// The reader takes the names of keys from [`KEYS`].
    #[test]
    fn every_key_is_in_the_table() {
        fn leaves(path: &str, value: &serde_json::Value, all: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(below) => {
                    for (name, value) in below {
                        leaves(&format!("{path}.{name}"), value, all);
                    }
                }
                _ => all.push(path.trim_start_matches('.').to_owned()),
            }
        }
        let mut all = Vec::new();
        leaves(
            "",
            &serde_json::to_value(Config::default()).unwrap(),
            &mut all,
        );
        let known = KEYS.iter().map(|key| format!("{}.{}", key.table, key.name));
        let mut known: Vec<String> = known.chain(["recorder.rule".to_owned()]).collect();
        all.sort();
        known.sort();
        assert_eq!(all, known);
    }

    #[test]
    fn names_match_with_stars() {
        for (pattern, name, matches) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("eth*", "eth01", true),
            ("*", "", true),
            ("v*h*1", "veth21", true),
            ("v*h*1", "veth2", false),
        ] {
            assert_eq!(name_matches(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn default_file_yields_the_defaults() {
        assert_eq!(Config::parse(&default_file()).unwrap(), Config::default());
        let all: String = default_file()
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|l| l.contains(" = "))
                    .unwrap_or(line)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(Config::parse(&all).unwrap(), Config::default(), "{all}");
    }
}
