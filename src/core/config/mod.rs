//! PURE. The configuration: its keys, their defaults and limits. [`KEYS`] is the one definition
//! from which the manual page netsonde.toml(5) and the commented default file are made.

mod errors;
mod keys;
pub mod permission;

use serde::{Deserialize, Serialize};

pub use errors::{MAX_FILE_BYTES, Problem, Problems};
pub use keys::{KEYS, Key, default_file};
pub use permission::{PermissionSettings, Permissions};

use crate::events::Severity;
use crate::recorder::layout::{BUDGET_MAX, BUDGET_MIN, SNAP_MAX};
use crate::recorder::{Rule, Store};

/// Where the configuration is looked for.
pub const PATH: &str = "/etc/netsonde/netsonde.toml";
/// Where the control socket is.
pub const SOCKET: &str = "/run/netsonde/control.sock";
/// Where state is kept.
pub const STATE: &str = "/var/lib/netsonde";

/// Most entries of all rules together. Each becomes up to eight instructions of the kernel's filter,
/// which every packet passes and which holds 4,096.
pub const MAX_RULE_ENTRIES: usize = 256;

/// A value that can't be used, and why. [`Problems`] adds its place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value out of its range.
    #[error("{key} = {value}: {why}")]
    Value {
        /// The key, with its table.
        key: String,
        /// What it was given.
        value: String,
        /// What it must be.
        why: String,
    },
}

impl Error {
    fn key(&self) -> &str {
        let Error::Value { key, .. } = self;
        key
    }
}

fn value(key: impl Into<String>, value: impl ToString, why: impl Into<String>) -> Error {
    Error::Value {
        key: key.into(),
        value: value.to_string(),
        why: why.into(),
    }
}

/// A size in bytes: a number, or a string with `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
                    "{text:?} is not a size: write bytes as a number, or \"64 MiB\", \"512 KiB\", \"1 GiB\""
                ))
            }),
        }
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// One value for each store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Budgets {
    pub link: Size,
    pub group: Size,
    pub icmp: Size,
    pub names: Size,
    pub routing: Size,
    pub connections: Size,
    pub bulk: Size,
}

impl Default for Budgets {
    /// 64 MiB in all, bookkeeping included.
    fn default() -> Budgets {
        const MIB: u64 = 1 << 20;
        Budgets {
            link: Size(4 * MIB),
            group: Size(4 * MIB),
            icmp: Size(6 * MIB),
            names: Size(8 * MIB),
            routing: Size(2 * MIB),
            connections: Size(8 * MIB),
            bulk: Size(30 * MIB),
        }
    }
}

impl Budgets {
    /// In the order of [`Store::ALL`], in bytes.
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

/// Most bytes of a packet that each store keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Snaps {
    pub link: u32,
    pub group: u32,
    pub icmp: u32,
    pub names: u32,
    pub routing: u32,
    pub connections: u32,
    pub bulk: u32,
}

impl Default for Snaps {
    /// Whole packets of 2 KiB where they say what happened; a TCP segment with SYN, FIN or RST says
    /// it in its headers and options; 128 bytes of bulk hold the headers of any usual stack.
    fn default() -> Snaps {
        Snaps {
            link: 2048,
            group: 2048,
            icmp: 2048,
            names: 2048,
            routing: 2048,
            connections: 256,
            bulk: 128,
        }
    }
}

impl Snaps {
    /// In the order of [`Store::ALL`], in bytes.
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

/// `[recorder]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Recorder {
    pub budget: Budgets,
    pub snap: Snaps,
    pub rule: Vec<Rule>,
}

/// `[ping]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Ping {
    pub rate: u64,
    pub rate_per_uid: u64,
    pub interval_ms: u64,
    pub targets: u64,
    pub runs_per_uid: u64,
    pub in_flight: u64,
}

impl Default for Ping {
    /// What a 1 Gbit/s link and one core bear without notice; see `keys`.
    fn default() -> Ping {
        Ping {
            rate: 100_000,
            rate_per_uid: 20_000,
            interval_ms: 2,
            targets: 131_072,
            runs_per_uid: 32,
            in_flight: 262_144,
        }
    }
}

/// `[rings]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Rings {
    pub control: Size,
    pub bulk: Size,
}

impl Default for Rings {
    /// At 600,000 small packets a second (210 bytes each in the ring) the bulk ring holds what comes
    /// in a quarter of a second: more than an engine needs to be started anew.
    fn default() -> Rings {
        Rings {
            control: Size(8 << 20),
            bulk: Size(32 << 20),
        }
    }
}

/// `[interfaces]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Interfaces {
    pub record: Vec<String>,
    pub exclude: Vec<String>,
    pub promiscuous: Vec<String>,
}

/// A name with `*` for any run of characters.
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

impl Interfaces {
    /// Whether an interface is recorded, and why, in words for `netsonde interfaces`.
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

    /// Whether the configuration wants an interface promiscuous.
    pub fn is_promiscuous(&self, name: &str) -> bool {
        self.promiscuous
            .iter()
            .any(|pattern| name_matches(pattern, name))
    }
}

/// `[listeners]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Listeners {
    pub join: bool,
}

impl Default for Listeners {
    fn default() -> Listeners {
        Listeners { join: true }
    }
}

/// `[sandbox]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct SandboxSettings {
    pub violation: Violation,
}

/// What a system call that the engine is not allowed comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Violation {
    /// The engine ends (SIGSYS), and the keeper starts the next one.
    Kill,
    /// The call fails with EPERM.
    Refuse,
}

impl Violation {
    /// Its word.
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

/// `[events]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct EventsSettings {
    pub journal: Journal,
}

/// How bad an event has to be to be written into the service's own log, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Journal {
    Info,
    #[default]
    Notice,
    Warning,
    None,
}

impl Journal {
    /// Is one this bad written?
    pub fn includes(self, severity: Severity) -> bool {
        match self {
            Journal::Info => true,
            Journal::Notice => severity >= Severity::Notice,
            Journal::Warning => severity >= Severity::Warning,
            Journal::None => false,
        }
    }
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Control {
    pub group: String,
    pub clients: u32,
    pub clients_per_uid: u32,
}

impl Default for Control {
    fn default() -> Control {
        Control {
            group: "netsonde".into(),
            clients: 256,
            clients_per_uid: 16,
        }
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Config {
    pub recorder: Recorder,
    pub rings: Rings,
    pub interfaces: Interfaces,
    pub listeners: Listeners,
    pub control: Control,
    pub ping: Ping,
    pub sandbox: SandboxSettings,
    pub permission: PermissionSettings,
    pub events: EventsSettings,
}

fn those_that_differ(all: &[(&'static str, bool)]) -> Vec<&'static str> {
    let differing = all.iter().filter(|(_, differs)| *differs);
    differing.map(|(name, _)| *name).collect()
}

impl Config {
    /// Reads a configuration's text.
    ///
    /// # Errors
    /// All that is wrong, each with its place: syntax, unknown keys, wrong kinds, values out of range.
    pub fn parse(text: &str) -> Result<Config, Problems> {
        errors::parse(text)
    }

    /// The same from the bytes of a file, which may be no text.
    ///
    /// # Errors
    /// As above, and what can't be a configuration at all.
    pub fn read(bytes: &[u8]) -> Result<Config, Problems> {
        errors::read(bytes)
    }

    /// Tables in which the two differ.
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
        those_that_differ(&tables)
    }

    /// Keys in which the two differ and which are settled when a service starts: by opening something, or
    /// by what can't be taken back. `own_socket`: the service has made its control socket itself.
    pub fn changed_fixed_keys(&self, other: &Config, own_socket: bool) -> Vec<&'static str> {
        let (recorder, of_other) = (&self.recorder, &other.recorder);
        let promiscuous = self.interfaces.promiscuous != other.interfaces.promiscuous;
        let group = own_socket && self.control.group != other.control.group;
        let keys = [
            ("recorder.budget", recorder.budget != of_other.budget),
            ("recorder.snap", recorder.snap != of_other.snap),
            ("recorder.rule", recorder.rule != of_other.rule),
            ("rings", self.rings != other.rings),
            ("interfaces.promiscuous", promiscuous),
            ("sandbox", self.sandbox != other.sandbox),
            ("control.group", group),
        ];
        those_that_differ(&keys)
    }

    /// Limits of one user are bounded by those of all. Where one was not given, what is less counts: who
    /// writes the limit of all alone means no error.
    fn give_way(&mut self, is_given: impl Fn(&str) -> bool) {
        let (ping, control) = (&mut self.ping, &mut self.control);
        if !is_given("ping.rate_per_uid") {
            ping.rate_per_uid = ping.rate_per_uid.min(ping.rate);
        }
        if !is_given("control.clients_per_uid") {
            control.clients_per_uid = control.clients_per_uid.min(control.clients);
        }
    }

    fn check_permission(&self) -> Result<(), Error> {
        use permission::{Entry, MAX_ENTRIES};
        let permission = &self.permission;
        for (key, list) in [
            ("status", &permission.status[..]),
            ("probe", &permission.probe),
            ("payload", &permission.payload),
        ] {
            let key = format!("permission.{key}");
            if list.len() > MAX_ENTRIES {
                let why = format!("at most {MAX_ENTRIES} entries: name a group instead");
                return Err(value(key, list.len(), why));
            }
            if let Some(wrong) = list.iter().find(|entry| Entry::read(entry).is_none()) {
                let why = "must be a user, @ and a group, or *";
                return Err(value(key, format!("{wrong:?}"), why));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        for (store, bytes) in Store::ALL.iter().zip(self.recorder.budget.bytes()) {
            if !(BUDGET_MIN..=BUDGET_MAX).contains(&bytes) {
                return Err(value(
                    format!("recorder.budget.{}", store.name()),
                    bytes,
                    "must be from 256 KiB to 64 GiB",
                ));
            }
        }
        for (store, bytes) in Store::ALL.iter().zip(self.recorder.snap.bytes()) {
            if !(64..=SNAP_MAX).contains(&bytes) {
                return Err(value(
                    format!("recorder.snap.{}", store.name()),
                    bytes,
                    format!("must be from 64 to {SNAP_MAX} bytes"),
                ));
            }
        }
        for rule in &self.recorder.rule {
            if Store::from_name(&rule.store).is_none() {
                let names = Store::ALL.map(Store::name).join(", ");
                return Err(value(
                    "recorder.rule.store",
                    &rule.store,
                    format!("must be one of {names}"),
                ));
            }
            if let Some(kind) = rule.ethertypes.iter().find(|kind| **kind < 0x600) {
                return Err(value(
                    "recorder.rule.ethertypes",
                    kind,
                    "must be 0x0600 or more",
                ));
            }
        }
        let entries: usize = (self.recorder.rule.iter())
            .map(|rule| {
                rule.udp_ports.len()
                    + rule.tcp_ports.len()
                    + rule.ip_protocols.len()
                    + rule.ethertypes.len()
            })
            .sum();
        if entries > MAX_RULE_ENTRIES {
            let why =
                format!("at most {MAX_RULE_ENTRIES} ports, protocols and EtherTypes in all rules");
            return Err(value("recorder.rule", entries, why));
        }
        for (key, size) in [("control", self.rings.control), ("bulk", self.rings.bulk)] {
            if !(1 << 20..=4u64 << 30).contains(&size.0) {
                return Err(value(
                    format!("rings.{key}"),
                    size.0,
                    "must be from 1 MiB to 4 GiB",
                ));
            }
        }
        if !(1..=10_000).contains(&self.control.clients) {
            return Err(value(
                "control.clients",
                self.control.clients,
                "must be from 1 to 10000",
            ));
        }
        if !(1..=self.control.clients).contains(&self.control.clients_per_uid) {
            return Err(value(
                "control.clients_per_uid",
                self.control.clients_per_uid,
                "must be from 1 to control.clients",
            ));
        }
        self.check_permission()?;
        let ping = &self.ping;
        for (key, given, most) in [
            ("rate", ping.rate, 10_000_000),
            ("rate_per_uid", ping.rate_per_uid, ping.rate),
            ("targets", ping.targets, 1_048_576),
            ("runs_per_uid", ping.runs_per_uid, 1024),
            ("in_flight", ping.in_flight, 4_194_304),
        ] {
            if !(1..=most).contains(&given) {
                let why = format!("must be from 1 to {most}");
                return Err(value(format!("ping.{key}"), given, why));
            }
        }
        Ok(())
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

    /// What reads the file asks [`KEYS`] which keys there are.
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
    fn the_default_file_is_the_default() {
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
