//! SHELL. One packet as a line: of text for people, of JSON for programs.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::client::files::capture_file::FilePacket;
use crate::client::render::style::Style;
use netsonde_core::text::{push_address, push_decimal};
use netsonde_core::wire::{
    Direction, Inner, LinkType, Packet, ProblemKind, decode, details, linktype,
};

/// Local time of packets and notes.
const TIME: &str = "%H:%M:%S.%6f";
/// The same without the fraction.
const SECOND: &str = "%H:%M:%S";
const DATE_AND_TIME: &str = "%Y-%m-%d %H:%M:%S.%6f";

/// Length of most lines, in bytes: a string that grows is copied each time.
const LINE: usize = 240;

/// Options of packet lines.
pub struct Lines {
    zone: TimeZone,
    style: Style,
    /// Whether the link-layer header is shown.
    link_header: bool,
    /// Whether a second line has the fields that the first one omits.
    details: bool,
    /// Date of the last packet; before the first one, of today.
    date: Cell<Date>,
    /// The second of the last packet since 1970-01-01 UTC, and how it is shown.
    second: RefCell<(Option<i128>, String)>,
}

impl Lines {
    /// Creates lines with local time, in color or not.
    pub fn new(style: Style, link_header: bool, details: bool) -> Lines {
        let zone = TimeZone::system();
        Lines {
            date: Cell::new(Timestamp::now().to_zoned(zone.clone()).date()),
            zone,
            style,
            link_header,
            details,
            second: RefCell::new((None, String::new())),
        }
    }

    /// Formats a packet for people: time, interface, direction, addresses, protocol, summary, and
    /// problems.
    pub fn text(&self, packet: &FilePacket) -> String {
        let decoded = decoded(packet);
        let mut line = String::with_capacity(LINE);
        match packet.time_ns {
            Some(ns) => self.style.dim_to(&mut line, |line| self.clock(line, ns)),
            None => self
                .style
                .dim_to(&mut line, |line| line.push_str("--:--:--.------")),
        }
        if let Some(interface) = &packet.interface {
            push(&mut line, format_args!(" {interface:<5}"));
        }
        line.push_str(match packet.direction {
            Direction::Outbound => " out ",
            Direction::Unknown => " ",
            Direction::ToOther => " by  ",
            _ => " in  ",
        });
        if self.link_header {
            line.push_str(&details::link_header(&packet.frame()));
            line.push_str(": ");
        }
        push_ends(&mut line, &decoded);
        self.style
            .bold_to(&mut line, |line| line.push_str(decoded.protocol()));
        for vlan in &decoded.vlans {
            line.push_str(" vlan ");
            push_decimal(&mut line, (*vlan).into());
        }
        if !decoded.summary.is_empty() {
            line.push(' ');
            line.push_str(&decoded.summary);
        }
        if let Some(problem) = &decoded.problem {
            line.push_str(&self.style.warn(&format!(" [{problem}]")));
        }
        if let Some(layer) = decoded.bad_checksum {
            line.push_str(&self.style.warn(&format!(" [bad {layer} checksum]")));
        }
        if packet.stands_for > 1 {
            line.push_str(&self.style.warn(&format!(" [1 of {}]", packet.stands_for)));
        }
        if self.details {
            line.push_str("\n    ");
            line.push_str(&self.style.dim(&details::details(&decoded)));
        }
        line
    }

    /// Formats a comment or note: times in the service's own are shown as those of packets are, with
    /// the date if it is another than the last packet's.
    pub fn comment(&self, text: &str) -> String {
        if !text.starts_with("netsonde: ") {
            return text.to_owned();
        }
        let words = text.split(' ').map(|word| {
            let (time, mark) = match word.strip_suffix(',') {
                Some(time) => (time, ","),
                None => (word, ""),
            };
            match (time.ends_with('Z'), time.parse::<Timestamp>()) {
                (true, Ok(at)) => {
                    let zoned = at.to_zoned(self.zone.clone());
                    let is_same_day = zoned.date() == self.date.get();
                    let format = if is_same_day { TIME } else { DATE_AND_TIME };
                    format!("{}{mark}", zoned.strftime(format))
                }
                _ => word.to_owned(),
            }
        });
        words.collect::<Vec<String>>().join(" ")
    }

    /// Adds the time of a packet. Packets follow each other within a second, and a time zone takes longer
    /// than all the rest of the time.
    fn clock(&self, to: &mut String, ns: i128) {
        let Ok(at) = Timestamp::from_nanosecond(ns) else {
            let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
            return push(to, format_args!("{seconds}.{rest:09}"));
        };
        let (second, micros) = (
            ns.div_euclid(1_000_000_000),
            ns.rem_euclid(1_000_000_000) / 1_000,
        );
        let mut last = self.second.borrow_mut();
        if last.0 != Some(second) {
            let zoned = at.to_zoned(self.zone.clone());
            self.date.set(zoned.date());
            *last = (Some(second), zoned.strftime(SECOND).to_string());
        }
        to.push_str(&last.1);
        let start = to.len();
        // The seventh digit keeps the zeros before the others, and becomes the dot.
        push_decimal(to, 1_000_000 + micros as u64);
        to.replace_range(start..=start, ".");
    }
}

/// Decodes a packet. Only the file knows the number of a link type that is not decoded.
fn decoded(packet: &FilePacket) -> Packet<'_> {
    let mut decoded = decode(&packet.frame());
    if packet.link == LinkType::Other
        && let Some(problem) = &mut decoded.problem
    {
        let link = linktype::describe(packet.link_number);
        problem.reason = format!("{link} is not decoded");
    }
    decoded
}

/// Adds source and destination with ports, from the network header if there is one.
fn push_ends(to: &mut String, packet: &Packet<'_>) {
    match (&packet.network, packet.link) {
        (Some(network), _) => {
            let (source, destination) = packet.ports.unzip();
            push_end(to, network.source, source);
            to.push_str(" > ");
            push_end(to, network.destination, destination);
            to.push(' ');
        }
        (None, Some((source, destination))) => {
            push(to, format_args!("{source} > {destination} "));
        }
        (None, None) => to.push_str("? > ? "),
    }
}

fn push_end(to: &mut String, address: IpAddr, port: Option<u16>) {
    let is_enclosed = port.is_some() && address.is_ipv6();
    to.push_str(if is_enclosed { "[" } else { "" });
    push_address(to, address);
    to.push_str(if is_enclosed { "]" } else { "" });
    if let Some(port) = port {
        to.push(':');
        push_decimal(to, port.into());
    }
}

/// Adds formatted text, without a string in between. Writing to a string cannot fail.
fn push(to: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = to.write_fmt(text);
}

/// Formats a time as RFC 3339 in UTC with nanoseconds.
fn rfc3339(ns: i128) -> Option<String> {
    Timestamp::from_nanosecond(ns)
        .ok()
        .map(|at| format!("{at:.9}"))
}

/// Formats a packet as a JSON object. Unknown values are omitted.
pub fn json(packet: &FilePacket) -> Value {
    let decoded = decoded(packet);
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(key.into(), value);
        }
    };
    put("time", packet.time_ns.and_then(rfc3339).map(Value::from));
    put("interface", packet.interface.clone().map(Value::from));
    put(
        "direction",
        match packet.direction {
            Direction::Unknown => None,
            Direction::Outbound => Some("out".into()),
            _ => Some("in".into()),
        },
    );
    put("length_bytes", Some(packet.original_length.into()));
    put("captured_bytes", Some(packet.bytes.len().into()));
    put(
        "link_source",
        decoded.link.map(|(from, _)| from.to_string().into()),
    );
    put(
        "link_destination",
        decoded.link.map(|(_, to)| to.to_string().into()),
    );
    put("vlan", decoded.vlans.first().map(|vlan| (*vlan).into()));
    put("vlans", list(&decoded.vlans));
    put("mpls_labels", list(&decoded.labels));
    put(
        "source",
        decoded
            .network
            .map(|network| network.source.to_string().into()),
    );
    put(
        "destination",
        decoded
            .network
            .map(|network| network.destination.to_string().into()),
    );
    put("source_port", decoded.ports.map(|(from, _)| from.into()));
    put("destination_port", decoded.ports.map(|(_, to)| to.into()));
    put("ttl", decoded.network.map(|network| network.ttl.into()));
    put("inner", inner(&decoded.inner));
    put("cast", decoded.cast().map(|cast| cast.name().into()));
    put("protocol", Some(decoded.protocol().into()));
    put("protocols", Some(decoded.protocols.clone().into()));
    put("server_name", decoded.server_name.clone().map(Value::from));
    put("service", service(&decoded).map(Value::from));
    put("summary", Some(decoded.summary.clone().into()));
    put("problem", decoded.problem.as_ref().map(|problem| {
        let kind = match problem.kind {
            ProblemKind::Truncated => "truncated",
            ProblemKind::Malformed => "malformed",
            ProblemKind::Unknown => "unknown",
        };
        json!({ "kind": kind, "layer": problem.layer, "offset": problem.offset, "reason": problem.reason })
    }));
    put("bad_checksum", decoded.bad_checksum.map(Value::from));
    put(
        "dropped_before",
        (packet.dropped > 0).then(|| packet.dropped.into()),
    );
    put(
        "stands_for",
        (packet.stands_for > 1).then(|| packet.stands_for.into()),
    );
    put(
        "comments",
        (!packet.comments.is_empty()).then(|| packet.comments.clone().into()),
    );
    Value::Object(object)
}

/// A list, `None` if it is empty.
fn list<T: Copy + Into<Value>>(values: &[T]) -> Option<Value> {
    let values: Vec<Value> = values.iter().map(|value| (*value).into()).collect();
    (!values.is_empty()).then(|| values.into())
}

/// The network headers within tunnels, each within the one outside of it.
fn inner(headers: &[Inner]) -> Option<Value> {
    let mut within = None;
    for header in headers.iter().rev() {
        let mut object = Map::new();
        object.insert("source".into(), header.network.source.to_string().into());
        object.insert(
            "destination".into(),
            header.network.destination.to_string().into(),
        );
        if let Some((from, to)) = header.ports {
            object.insert("source_port".into(), from.into());
            object.insert("destination_port".into(), to.into());
        }
        object.insert("ttl".into(), header.network.ttl.into());
        if let Some(within) = within {
            object.insert("inner".into(), within);
        }
        within = Some(Value::Object(object));
    }
    within
}

/// Service name of the ports, the destination port first.
fn service(packet: &Packet<'_>) -> Option<&'static str> {
    let (from, to) = packet.ports?;
    let tcp = packet.protocols.contains(&"tcp");
    let name = |port| netsonde_core::wire::services::service_name(tcp, port);
    name(to).or_else(|| name(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::render::style::Color;
    use netsonde_core::wire::Checksum;

    /// A packet at 2023-11-14T22:13:20.123456789Z.
    fn packet(link_number: u32, bytes: &[u8]) -> FilePacket {
        FilePacket {
            time_ns: Some(1_700_000_000_123_456_789),
            link: LinkType::from_linktype(link_number),
            link_number,
            interface: None,
            direction: Direction::Unknown,
            checksum: Checksum::Unknown,
            original_length: bytes.len() as u32,
            bytes: bytes.to_vec(),
            comments: Vec::new(),
            dropped: 0,
            stands_for: 1,
        }
    }

    fn lines() -> Lines {
        Lines {
            zone: TimeZone::fixed(jiff::tz::offset(-8)),
            ..Lines::new(Style::new(Color::Never), false, false)
        }
    }

    #[test]
    fn times_of_packets_and_notes_are_in_one_zone_and_precision() {
        let lines = lines();
        let line = lines.text(&packet(1, &[0; 60]));
        assert!(line.starts_with("14:13:20.123456 "), "{line}");
        let gap = "netsonde: gap: ring_drop from 2023-11-14T22:13:19.000000001Z to \
                   2023-11-15T22:13:20Z, 7 packets missing";
        assert_eq!(
            lines.comment(gap),
            "netsonde: gap: ring_drop from 14:13:19.000000 to 2023-11-15 14:13:20.000000, \
             7 packets missing"
        );
        let of_others = "made at 2023-11-14T22:13:19Z";
        assert_eq!(lines.comment(of_others), of_others);
    }

    #[test]
    fn unknown_link_types_are_named() {
        let packet = packet(195, &[0; 20]);
        let expected = "link type 195 (IEEE802_15_4_WITHFCS) is not decoded";
        let line = lines().text(&packet);
        assert!(line.contains(expected), "{line}");
        assert_eq!(json(&packet)["problem"]["reason"], expected);
    }

    #[test]
    fn link_header_and_details_are_added() {
        let with_both = Lines {
            link_header: true,
            details: true,
            ..lines()
        };
        let mut bytes = vec![0xff; 6];
        bytes.extend_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xb5, 0, 0]);
        assert_eq!(
            with_both.text(&packet(1, &bytes)),
            "14:13:20.123456 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype 0x88b5, length 16: \
             02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff eth ethertype 0x88b5, 2 bytes \
             [unknown eth at byte 14: ethertype 0x88b5 is not decoded]\n    16 bytes"
        );
    }
}
