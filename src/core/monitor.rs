//! PURE. Monitors as they are configured: by `monitors.toml`, key by key, and by `netsonde monitor add`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::address::{looks_like_ipv4, looks_like_ipv6, parse_address, parse_prefix};
use crate::config::{MAX_FILE_BYTES, Problem, Problems, Span, line_and_column};
use crate::probe::Transport;
use crate::probe::transport::{LEAST_PAYLOAD, MOST_PAYLOAD};
use crate::protocol::history::Monitor;
use crate::text::nearest;

/// Maximum number of monitors: each is a run of the prober at worst.
pub const MAX_MONITORS: usize = 1000;
/// Maximum number of targets of one monitor, ranges expanded: the largest range is a /16.
pub const MAX_TARGETS: usize = 65_536;
/// Shortest and longest interval of probes.
pub const INTERVALS_NS: (u64, u64) = (100_000_000, 3_600_000_000_000);
/// Shortest and longest time limit of a reply.
pub const TIMEOUTS_NS: (u64, u64) = (10_000_000, 10_000_000_000);
/// Maximum number of problems of a file that are reported.
const MAX_PROBLEMS: usize = 20;
/// Keys of a monitor in the file.
const KEYS: [&str; 14] = [
    "name",
    "targets",
    "interval",
    "timeout",
    "tcp",
    "udp",
    "size",
    "dscp",
    "dont_fragment",
    "source",
    "interface",
    "tags",
    "lost",
    "of",
];

/// What a monitor probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An address, with %INTERFACE if it has a scope.
    Address(String),
    /// A name, to be resolved again and again.
    Name(String),
}

/// A monitor whose values are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name: letters, digits, `-`, `_`, `.`, up to 64 of them.
    pub name: String,
    /// Targets, with ranges expanded.
    pub subjects: Vec<Subject>,
    /// Interval of the probes in nanoseconds.
    pub interval_ns: u64,
    /// Time limit of a reply in nanoseconds.
    pub timeout_ns: u64,
    /// What the probes are.
    pub transport: Transport,
    /// Payload in bytes, 12 to 65,507: the cookie of an echo request takes 12. 14 to 8,952 for UDP, 0 for TCP.
    pub size: u32,
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Whether probes must not be fragmented.
    pub dont_fragment: bool,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Name of an interface.
    pub interface: Option<String>,
    /// Labels to select by.
    pub tags: Vec<String>,
    /// Lost probes that make an outage, of `of`.
    pub lost: u8,
    /// Probes that are looked at.
    pub of: u8,
}

fn check_word(what: &str, word: &str) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if word.is_empty() || word.len() > 64 || !word.chars().all(is_good) {
        return Err(format!(
            "{what} must be 1 to 64 letters, digits, '-', '_' and '.'"
        ));
    }
    Ok(())
}

fn within(
    what: &str,
    value: u64,
    (least, most): (u64, u64),
    unit: (u64, &str),
) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let (unit, name) = unit;
    Err(format!(
        "{what} must be {} to {}{}{name}",
        least / unit,
        most / unit,
        if name.is_empty() { "" } else { " " }
    ))
}

/// Returns what the probes of a monitor are.
fn transport(monitor: &Monitor) -> Result<Transport, (&'static str, String)> {
    let (key, port) = match (monitor.tcp, monitor.udp) {
        (None, None) => return Ok(Transport::Echo),
        (Some(port), None) => ("tcp", port),
        (None, Some(port)) => ("udp", port),
        (Some(_), Some(_)) => return Err(("udp", "a monitor has tcp or udp, not both".into())),
    };
    within("a port", port, (1, 65_535), (1, "")).map_err(|what| (key, what))?;
    if monitor.dont_fragment == Some(true) {
        return Err(("dont_fragment", format!("not with {key}")));
    }
    let port = port as u16;
    Ok(match key {
        "tcp" => Transport::Tcp { port },
        _ => Transport::Udp { port },
    })
}

/// Returns the payload of the probes in bytes.
fn size(monitor: &Monitor, transport: Transport) -> Result<u64, String> {
    let range = match transport {
        Transport::Echo => (12, 65_507),
        Transport::Udp { .. } => (LEAST_PAYLOAD as u64, MOST_PAYLOAD as u64),
        Transport::Tcp { .. } if monitor.size.is_some() => {
            return Err("not with tcp: its probes carry no payload".into());
        }
        Transport::Tcp { .. } => return Ok(0),
    };
    let size = monitor.size.unwrap_or(56);
    within("a size", size, range, (1, "bytes"))?;
    Ok(size)
}

/// Adds the hosts of a range: without network and broadcast address, as `ping` does.
fn expand(text: &str, to: &mut Vec<Subject>) -> Result<(), String> {
    let (address, length) = parse_prefix(text)?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let host_bits = u32::from(bits - length.min(bits));
    if host_bits > 16 {
        return Err(format!(
            "{text}: a range of more than {MAX_TARGETS} addresses: choose fewer"
        ));
    }
    let count = 1u128 << host_bits;
    let (first, last) = match (address, host_bits) {
        (IpAddr::V4(_), 2..) => (1, count - 2),
        // The all-routers address of the subnet (RFC 4291, section 2.6.1).
        (IpAddr::V6(_), 1..) => (1, count - 1),
        _ => (0, count - 1),
    };
    for host in first..=last {
        let address: IpAddr = match address {
            IpAddr::V4(base) => {
                let network = u32::from(base) & u32::MAX.checked_shl(host_bits).unwrap_or(0);
                Ipv4Addr::from(network | host as u32).into()
            }
            IpAddr::V6(base) => {
                let network = u128::from(base) & u128::MAX.checked_shl(host_bits).unwrap_or(0);
                Ipv6Addr::from(network | host).into()
            }
        };
        to.push(Subject::Address(address.to_string()));
    }
    Ok(())
}

fn subject(text: &str, to: &mut Vec<Subject>) -> Result<(), String> {
    if text.contains('/') {
        return expand(text, to);
    }
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    if scope.is_some() || looks_like_ipv4(address) || looks_like_ipv6(address) {
        let parsed = parse_address(address)?;
        if parsed.is_multicast() {
            return Err(format!(
                "{text} is a group: a monitor probes one host at a time"
            ));
        }
        to.push(Subject::Address(match scope {
            Some(scope) => format!("{parsed}%{scope}"),
            None => parsed.to_string(),
        }));
        return Ok(());
    }
    let is_label = |label: &str| {
        let is_good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        !label.is_empty() && label.len() <= 63 && label.chars().all(is_good)
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(format!("{text:?} is no address, range or name"));
    }
    to.push(Subject::Name(name.to_owned()));
    Ok(())
}

impl Spec {
    /// Checks a monitor.
    ///
    /// # Errors
    ///
    /// The first value that is invalid, in words, and the key that it belongs to.
    pub fn check(monitor: &Monitor) -> Result<Spec, (&'static str, String)> {
        let at = |key: &'static str| move |what: String| (key, what);
        check_word("a name", &monitor.name).map_err(at("name"))?;
        let interval_ns = monitor.interval_ns.unwrap_or(1_000_000_000);
        within("an interval", interval_ns, INTERVALS_NS, (1_000_000, "ms"))
            .map_err(at("interval"))?;
        let longest = TIMEOUTS_NS.1;
        let timeout_ns = monitor
            .timeout_ns
            .unwrap_or(interval_ns.clamp(1_000_000_000, longest));
        within("a timeout", timeout_ns, TIMEOUTS_NS, (1_000_000, "ms")).map_err(at("timeout"))?;
        let transport = transport(monitor)?;
        let size = size(monitor, transport).map_err(at("size"))?;
        // A reply by UDP is told by its port where it does not return the cookie.
        let flows = transport.flows() as u64;
        if matches!(transport, Transport::Udp { .. }) && timeout_ns > interval_ns * flows {
            let what = format!("with udp at most {flows} times the interval");
            return Err(("timeout", what));
        }
        let dscp = monitor.dscp.unwrap_or(0);
        within("a DSCP", dscp, (0, 63), (1, "(RFC 2474)")).map_err(at("dscp"))?;
        let lost = monitor.lost.unwrap_or(3);
        within("lost", lost, (1, 64), (1, "probes")).map_err(at("lost"))?;
        let of = monitor.of.unwrap_or(lost);
        within("of", of, (lost, 64), (1, "probes")).map_err(at("of"))?;
        let source = match &monitor.source {
            Some(text) => Some(parse_address(text).map_err(at("source"))?),
            None => None,
        };
        let tags = monitor.tags.clone().unwrap_or_default();
        if tags.len() > 16 {
            return Err(("tags", "at most 16 tags".into()));
        }
        for tag in &tags {
            check_word("a tag", tag).map_err(at("tags"))?;
        }
        let mut subjects = Vec::new();
        for text in &monitor.targets {
            subject(text, &mut subjects).map_err(at("targets"))?;
            if subjects.len() > MAX_TARGETS {
                return Err(("targets", format!("more than {MAX_TARGETS} targets")));
            }
        }
        if subjects.is_empty() {
            return Err(("targets", "no target".into()));
        }
        Ok(Spec {
            name: monitor.name.clone(),
            subjects,
            interval_ns,
            timeout_ns,
            transport,
            size: size as u32,
            dscp: dscp as u8,
            dont_fragment: monitor.dont_fragment.unwrap_or(false),
            source,
            interface: monitor.interface.clone(),
            tags,
            lost: lost as u8,
            of: of as u8,
        })
    }
}

/// Collects the problems of a file.
struct Reader<'t> {
    text: &'t str,
    problems: Vec<(usize, String)>,
}

/// What a key must be, for a value of another kind.
fn expected(key: &str) -> &'static str {
    match key {
        "targets" | "tags" => "a list of strings like [\"10.0.0.1\"]",
        "interval" | "timeout" => "a time like \"1s\" or \"500ms\"",
        "tcp" | "udp" | "size" | "dscp" | "lost" | "of" => "a number",
        "dont_fragment" => "true or false",
        _ => "a string",
    }
}

/// A monitor of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    name: String,
    targets: Vec<String>,
    interval: Option<Span>,
    timeout: Option<Span>,
    tcp: Option<u64>,
    udp: Option<u64>,
    size: Option<u64>,
    dscp: Option<u64>,
    dont_fragment: Option<bool>,
    source: Option<String>,
    interface: Option<String>,
    tags: Option<Vec<String>>,
    lost: Option<u64>,
    of: Option<u64>,
}

fn entry(table: DeTable<'_>) -> Option<Entry> {
    Entry::deserialize(Deserializer::from(Spanned::new(0..0, table))).ok()
}

impl Reader<'_> {
    fn monitor(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Monitor> {
        let before = self.problems.len();
        let DeValue::Table(table) = value.get_ref() else {
            let what = "monitor: write [[monitor]] before each of them";
            self.problems.push((value.span().start, what.into()));
            return None;
        };
        let mut places = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if KEYS.contains(&name) {
                let at = value.span().start;
                places.push((name.to_owned(), at));
                let alone = DeTable::from_iter([(key.clone(), value.clone())]);
                if entry(alone).is_none() {
                    let what = format!("{name}: must be {}", expected(name));
                    self.problems.push((at, what));
                }
                continue;
            }
            let meant = nearest(name, KEYS.into_iter().map(String::from))
                .map(|known| format!(", did you mean {known}?"));
            let what = format!("unknown key {name}{}", meant.unwrap_or_default());
            self.problems.push((key.span().start, what));
        }
        if self.problems.len() > before {
            return None;
        }
        let entry = entry(table.clone())?;
        let monitor = Monitor {
            name: entry.name,
            targets: entry.targets,
            interval_ns: entry.interval.map(|span| span.0),
            timeout_ns: entry.timeout.map(|span| span.0),
            tcp: entry.tcp,
            udp: entry.udp,
            size: entry.size,
            dscp: entry.dscp,
            dont_fragment: entry.dont_fragment,
            source: entry.source,
            interface: entry.interface,
            tags: entry.tags,
            lost: entry.lost,
            of: entry.of,
            origin: Some("file".into()),
        };
        match Spec::check(&monitor) {
            Ok(_) => Some(monitor),
            Err((key, what)) => {
                let place = places.iter().find(|(name, _)| name == key);
                let at = place.map_or(value.span().start, |(_, at)| *at);
                self.problems.push((at, format!("{key}: {what}")));
                None
            }
        }
    }
}

/// Reads `monitors.toml`.
///
/// # Errors
///
/// All problems at once, each with its place.
pub fn read(bytes: &[u8]) -> Result<Vec<Monitor>, Problems> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Problems::for_file(format!(
            "more than {MAX_FILE_BYTES} bytes: is it the right file?"
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problems::for_file(format!("byte {} is not valid UTF-8", error.valid_up_to()))
    })?;
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        problems: Vec::new(),
    };
    for error in &errors {
        let at = error.span().unwrap_or_default().start;
        reader.problems.push((at, error.message().to_owned()));
    }
    let mut monitors: Vec<Monitor> = Vec::new();
    // After a syntax error the rest may be read as something that was not written.
    let entries = document.get_ref().iter().filter(|_| errors.is_empty());
    for (key, value) in entries {
        let DeValue::Array(all) = value.get_ref() else {
            let what = format!("unknown key {}: write [[monitor]]", key.get_ref());
            reader.problems.push((key.span().start, what));
            continue;
        };
        if key.get_ref().as_ref() != "monitor" {
            let what = format!("unknown table {}: write [[monitor]]", key.get_ref());
            reader.problems.push((key.span().start, what));
            continue;
        }
        for one in all.iter() {
            let Some(monitor) = reader.monitor(one) else {
                continue;
            };
            if monitors.iter().any(|known| known.name == monitor.name) {
                let what = format!("name: there are two monitors {:?}", monitor.name);
                reader.problems.push((one.span().start, what));
            } else if monitors.len() >= MAX_MONITORS {
                let what = format!("more than {MAX_MONITORS} monitors");
                reader.problems.push((one.span().start, what));
            } else {
                monitors.push(monitor);
            }
        }
    }
    if reader.problems.is_empty() {
        return Ok(monitors);
    }
    let Reader { text, mut problems } = reader;
    problems.sort();
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    let reported = problems.into_iter().take(MAX_PROBLEMS);
    let reported = reported.map(|(at, what)| Problem {
        place: Some(line_and_column(text, at)),
        what,
    });
    Err(Problems::new(reported.collect(), more))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(targets: &[&str]) -> Monitor {
        Monitor {
            name: "m".into(),
            targets: targets.iter().map(|text| (*text).into()).collect(),
            ..Monitor::default()
        }
    }

    fn addresses(targets: &[&str]) -> Vec<String> {
        let spec = Spec::check(&monitor(targets)).unwrap();
        let text = |subject: &Subject| match subject {
            Subject::Address(text) | Subject::Name(text) => text.clone(),
        };
        spec.subjects.iter().map(text).collect()
    }

    #[test]
    fn ranges_are_expanded_without_network_and_broadcast() {
        assert_eq!(
            addresses(&["10.0.0.4/30", "10.0.0.9"]),
            ["10.0.0.5", "10.0.0.6", "10.0.0.9"]
        );
        assert_eq!(addresses(&["10.0.0.4/31"]), ["10.0.0.4", "10.0.0.5"]);
        assert_eq!(addresses(&["10.0.0.4/32"]), ["10.0.0.4"]);
        assert_eq!(
            addresses(&["fd00::8/126"]),
            ["fd00::9", "fd00::a", "fd00::b"]
        );
        assert_eq!(
            addresses(&["fe80::1%e0", "Gw.example."]),
            ["fe80::1%e0", "Gw.example"]
        );
        assert_eq!(addresses(&["10.0.0.0/16"]).len(), 65_534);
    }

    #[test]
    fn what_cannot_be_probed_is_refused_with_its_key() {
        for (targets, words) in [
            (&["10.0.0.0/15"][..], "more than 65536 addresses"),
            (&["10.0.0.0/16", "10.1.0.0/16"], "more than 65536 targets"),
            (&["224.0.0.1"], "is a group"),
            (&["a b"], "is no address, range or name"),
            (&["10.0.0.999"], "10.0.0.999"),
            (&[], "no target"),
        ] {
            let (key, what) = Spec::check(&monitor(targets)).unwrap_err();
            assert_eq!(key, "targets");
            assert!(what.contains(words), "{what}");
        }
        let wrong = Monitor {
            interval_ns: Some(1_000_000),
            ..monitor(&["10.0.0.1"])
        };
        let (key, what) = Spec::check(&wrong).unwrap_err();
        assert_eq!(
            (key, what.as_str()),
            ("interval", "an interval must be 100 to 3600000 ms")
        );
    }

    #[test]
    fn probes_by_tcp_and_udp_have_their_own_limits() {
        let of = |tcp, udp| Monitor {
            tcp,
            udp,
            ..monitor(&["10.0.0.1"])
        };
        let spec = Spec::check(&of(Some(443), None)).unwrap();
        assert_eq!(
            (spec.transport, spec.size),
            (Transport::Tcp { port: 443 }, 0)
        );
        let spec = Spec::check(&of(None, Some(53))).unwrap();
        assert_eq!(
            (spec.transport, spec.size),
            (Transport::Udp { port: 53 }, 56)
        );
        let size = |size, monitor| Monitor {
            size: Some(size),
            ..monitor
        };
        let whole = Monitor {
            dont_fragment: Some(true),
            ..of(Some(443), None)
        };
        for (monitor, key, words) in [
            (of(Some(0), None), "tcp", "a port must be 1 to 65535"),
            (of(None, Some(65_536)), "udp", "a port must be 1 to 65535"),
            (of(Some(1), Some(1)), "udp", "not both"),
            (size(56, of(Some(1), None)), "size", "carry no payload"),
            (size(13, of(None, Some(1))), "size", "14 to 8952 bytes"),
            (whole, "dont_fragment", "not with tcp"),
        ] {
            let (found, what) = Spec::check(&monitor).unwrap_err();
            assert_eq!(found, key);
            assert!(what.contains(words), "{what}");
        }
    }

    #[test]
    fn files_are_read_and_all_their_problems_told_with_their_lines() {
        let text = "[[monitor]]\nname = \"gw\"\ntargets = [\"10.0.0.1\"]\ninterval = \"500ms\"\ntags = [\"core\"]\n\
                    \n[[monitor]]\nname = \"dns\"\ntargets = [\"ns.example\"]\nof = 5\n";
        let all = read(text.as_bytes()).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].interval_ns, Some(500_000_000));
        assert_eq!(all[1].of, Some(5));
        let text = "[[monitor]]\nname = \"a b\"\ntargets = [\"10.0.0.1\"]\n\
                    [[monitor]]\nnam = \"x\"\ntargets = \"10.0.0.1\"\n\
                    [[monitor]]\nname = \"y\"\ntargets = [\"10.0.0.300\"]\n[other]\n";
        let problems = read(text.as_bytes()).unwrap_err().lines("f");
        let starts = [
            "f:2:8: name: ",
            "f:5:1: unknown key nam, did you mean name?",
            "f:6:11: targets: must be",
            "f:9:11: targets: ",
            "f:10:",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
        assert!(read(b"\xff").is_err());
        assert!(read(b"[[monitor]\n").is_err());
        assert_eq!(read(b"").unwrap(), []);
    }
}
