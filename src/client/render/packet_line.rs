//! SHELL. One packet as a line: of text for people, of JSON for programs.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::client::files::capture_file::FilePacket;
use crate::client::render::style::Style;
use netsonde_core::wire::{Direction, Inner, Packet, ProblemKind, decode};

/// Options of packet lines.
pub struct Lines {
    zone: TimeZone,
    style: Style,
}

impl Lines {
    /// Creates lines with local time, in color or not.
    pub fn new(style: Style) -> Lines {
        Lines {
            zone: TimeZone::system(),
            style,
        }
    }

    /// Formats a packet for people: time, interface, direction, addresses, protocol, summary, and
    /// problems.
    pub fn text(&self, packet: &FilePacket) -> String {
        let decoded = decode(&packet.frame());
        let time = packet
            .time_ns
            .map_or_else(|| "--:--:--.------".into(), |ns| self.clock(ns));
        let mut line = self.style.dim(&time);
        if let Some(interface) = &packet.interface {
            line.push_str(&format!(" {interface:<5}"));
        }
        line.push_str(match packet.direction {
            Direction::Outbound => " out ",
            Direction::Unknown => " ",
            Direction::ToOther => " by  ",
            _ => " in  ",
        });
        let (from, to) = ends(&decoded);
        line.push_str(&format!("{from} > {to} "));
        line.push_str(&self.style.bold(decoded.protocol()));
        for vlan in &decoded.vlans {
            line.push_str(&format!(" vlan {vlan}"));
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
        line
    }

    fn clock(&self, ns: i128) -> String {
        match Timestamp::from_nanosecond(ns) {
            Ok(at) => at
                .to_zoned(self.zone.clone())
                .strftime("%H:%M:%S.%6f")
                .to_string(),
            Err(_) => format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
        }
    }
}

/// Source and destination with ports, from the network header if there is one.
fn ends(packet: &Packet<'_>) -> (String, String) {
    if let Some(network) = &packet.network {
        return match packet.ports {
            Some((from, to)) => (
                with_port(network.source, from),
                with_port(network.destination, to),
            ),
            None => (network.source.to_string(), network.destination.to_string()),
        };
    }
    match packet.link {
        Some((from, to)) => (from.to_string(), to.to_string()),
        None => ("?".into(), "?".into()),
    }
}

fn with_port(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    }
}

/// Formats a time as RFC 3339 in UTC with nanoseconds.
fn rfc3339(ns: i128) -> Option<String> {
    Timestamp::from_nanosecond(ns)
        .ok()
        .map(|at| format!("{at:.9}"))
}

/// Formats a packet as a JSON object. Unknown values are omitted.
pub fn json(packet: &FilePacket) -> Value {
    let decoded = decode(&packet.frame());
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
