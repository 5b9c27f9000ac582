//! SHELL. `netsonde trace --like`: the way of a TCP connection that lives. It is found among this host's sockets, and what
//! routers may look at besides addresses and ports, its type of service and flow label, in the record.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Serialize;

use crate::client::cli::args::Packets;
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, FilePacket, Item};
use crate::client::namespace;
use crate::client::packets::Stream;
use crate::linux::proc_net;
use netsonde_core::host::socket::{ProcSocket, parse_sockets};
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::trace;
use netsonde_core::text::counted;
use netsonde_core::trace::{Remark, Report, return_hops};
use netsonde_core::wire::Direction;
use netsonde_core::wire::glance::{ethertype, glance};
use netsonde_core::wire::segment::Segment;

/// Connections that an error names.
const SHOWN: usize = 5;

/// A TCP connection, with this host's end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
}

impl std::fmt::Display for Ends {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}-{}", self.local, self.remote)
    }
}

/// The connection, and what the record shows of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Like {
    /// This host's end.
    pub source: IpAddr,
    /// Its port.
    pub source_port: u16,
    /// The other end, to which the trace goes.
    pub destination: IpAddr,
    /// Its port.
    pub destination_port: u16,
    /// State of the socket, named as by ss(8).
    pub state: &'static str,
    /// Type of service or traffic class of its packets; missing if the record has none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos: Option<u8>,
    /// Flow label of its packets (IPv6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_label: Option<u32>,
    /// TTL or hop limit with which packets of the other end arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    #[serde(skip)]
    sequence: Option<u32>,
}

/// Parses an end as `netsonde connections` prints it: address and port, and possibly the name of the port.
fn end(text: &str) -> Result<SocketAddr, Failure> {
    let text = text.trim();
    let plain = text.split_once(" (").map_or(text, |(end, _)| end);
    plain.parse().map_err(|_| {
        Failure::Other(format!(
            "{text:?} is no end of a connection: expected ADDRESS:PORT, of IPv6 [ADDRESS]:PORT, as `netsonde \
             connections` prints it"
        ))
    })
}

/// Parses a connection: both ends, in either order, or the other end alone.
fn parse(text: &str) -> Result<(Option<SocketAddr>, SocketAddr), Failure> {
    match text.split_once('-') {
        Some((one, other)) => Ok((Some(end(one)?), end(other)?)),
        None => Ok((None, end(text)?)),
    }
}

/// Name of a state of a TCP socket that has a connection and has not closed it (net/tcp_states.h); `None` for others.
fn state(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "ESTAB",
        2 => "SYN-SENT",
        8 => "CLOSE-WAIT",
        _ => return None,
    })
}

fn ends(socket: &ProcSocket) -> Ends {
    let plain = |one: SocketAddr| SocketAddr::new(one.ip().to_canonical(), one.port());
    Ends {
        local: plain(socket.local),
        remote: plain(socket.remote),
    }
}

/// Returns the connections of this host, with the number of their state.
fn connections() -> Vec<(Ends, u8)> {
    let mut all = Vec::new();
    for table in ["tcp", "tcp6"] {
        let sockets = parse_sockets(&proc_net(table)).into_iter();
        let living = sockets.filter(|socket| state(socket.state).is_some());
        all.extend(living.map(|socket| (ends(&socket), socket.state)));
    }
    all
}

/// Finds the connection that the user means.
fn find(text: &str, all: &[(Ends, u8)]) -> Result<(Ends, u8), Failure> {
    let (one, other) = parse(text)?;
    let is_meant = |ends: &Ends| match one {
        Some(one) => {
            (ends.local, ends.remote) == (one, other) || (ends.local, ends.remote) == (other, one)
        }
        None => ends.remote == other,
    };
    let mut found: Vec<(Ends, u8)> = all
        .iter()
        .filter(|(ends, _)| is_meant(ends))
        .copied()
        .collect();
    // Of a connection within this host, the end that was named first.
    found.sort_by_key(|(ends, _)| (Some(ends.local) != one, *ends));
    if one.is_some() {
        found.truncate(1);
    }
    let shown = |some: &[(Ends, u8)]| {
        let names: Vec<String> = some
            .iter()
            .take(SHOWN)
            .map(|(ends, _)| ends.to_string())
            .collect();
        let more = some.len().saturating_sub(SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{more}", names.join(", "))
    };
    match found[..] {
        [one] => Ok(one),
        [] => {
            let address = other.ip();
            let near: Vec<(Ends, u8)> = (all.iter())
                .filter(|(ends, _)| ends.remote.ip() == address)
                .copied()
                .collect();
            let near = match near.is_empty() {
                true => "`netsonde connections` lists them".to_owned(),
                false => format!("to {address} there is {}", shown(&near)),
            };
            Err(Failure::Other(format!(
                "this host has no TCP connection {text} that lives; {near}"
            )))
        }
        _ => Err(Failure::Other(format!(
            "{} go to {text}: name one: {}",
            counted(found.len(), "TCP connection"),
            shown(&found)
        ))),
    }
}

impl Like {
    /// Finds the connection, and reads its packets in the record.
    pub(super) fn find(socket: &Path, text: &str) -> Result<Like, Failure> {
        // The sockets must be those of the network in which the service sends.
        namespace::require(socket)?;
        let (ends, number) = find(text, &connections())?;
        let mut like = Like {
            source: ends.local.ip(),
            source_port: ends.local.port(),
            destination: ends.remote.ip(),
            destination_port: ends.remote.port(),
            state: state(number).unwrap_or_default(),
            tos: None,
            flow_label: None,
            ttl: None,
            sequence: None,
        };
        like.read(socket)?;
        Ok(like)
    }

    /// Both ends, as an error and the summary name them.
    pub(super) fn name(&self) -> String {
        let ends = Ends {
            local: (self.source, self.source_port).into(),
            remote: (self.destination, self.destination_port).into(),
        };
        ends.to_string()
    }

    /// What the service needs to know.
    pub(super) fn connection(&self) -> trace::Connection {
        trace::Connection {
            source_port: self.source_port,
            flow_label: self.flow_label,
            sequence: self.sequence,
        }
    }

    /// Reads the packets of the connection that the record in memory has.
    fn read(&mut self, socket: &Path) -> Result<(), Failure> {
        let packets = Packets {
            since: Some(0),
            until: Some(crate::linux::wall_ns()),
            stores: vec!["connections".into(), "bulk".into()],
            hosts: vec![self.destination.to_string()],
            ports: vec![self.source_port],
            protocols: vec!["tcp".into()],
            ..Packets::default()
        };
        let stream = Stream::open(socket, &packets, Content::Headers)?;
        let mut file = CaptureFile::new(stream.pipe)?;
        while let Some(item) = file.next()? {
            if let Item::Packet(packet) = item {
                self.see(&packet);
            }
        }
        Ok(())
    }

    fn see(&mut self, packet: &FilePacket) {
        let seen = glance(packet.link, &packet.bytes);
        let is_ipv4 = seen.ethertype == ethertype::IPV4;
        if !is_ipv4 && seen.ethertype != ethertype::IPV6 {
            return;
        }
        let header = packet.bytes.get(seen.network..).unwrap_or_default();
        let Some(segment) = Segment::read(header).filter(|segment| segment.is_tcp) else {
            return;
        };
        let (here, there) = (
            (self.source, self.source_port),
            (self.destination, self.destination_port),
        );
        let is_back = (segment.source, segment.destination) == (there, here);
        if is_back && packet.direction != Direction::Outbound {
            self.ttl = Some(segment.ttl);
        }
        if (segment.source, segment.destination) != (here, there) || segment.is_probe_along() {
            return;
        }
        self.sequence = segment.sequence();
        let byte = |at: usize| header.get(at).copied().unwrap_or(0);
        if is_ipv4 {
            self.tos = Some(byte(1));
        } else {
            self.tos = Some(byte(0) << 4 | byte(1) >> 4);
            let label = u32::from_be_bytes([0, byte(1) & 0x0f, byte(2), byte(3)]);
            self.flow_label = Some(label);
        }
    }

    /// Replaces what a report says about a target that does not answer: it cannot.
    pub(super) fn explain(&self, report: &mut Report) {
        report.remarks.retain(|remark| remark.id != "path-ends");
        let last = report.hops.iter().rev().find(|hop| !hop.nodes.is_empty());
        let hop = last.map(|hop| hop.hop);
        let mut text = match hop {
            Some(hop) => format!(
                "hop {hop} is the last that answered; what is behind it does not show: {} drops these probes, since \
                 their checksum is wrong, as may a router that translates or tracks connections",
                self.destination
            ),
            None => "no hop answered".into(),
        };
        if let Some(hops) = self.ttl.and_then(return_hops) {
            text.push_str(&format!(
                "; packets of the connection come back with a TTL of {}, as after {}",
                self.ttl.unwrap_or_default(),
                counted(u32::from(hops), "hop")
            ));
        }
        report.remarks.push(Remark {
            id: "target-drops",
            hop,
            text,
        });
        if self.tos.is_none() {
            let label = if self.source.is_ipv6() {
                " and flow label"
            } else {
                ""
            };
            report.remarks.push(Remark {
                id: "not-recorded",
                hop: None,
                text: format!(
                    "the record has no packet of the connection, so its type of service{label} are not known: a router \
                     that looks at these may choose another way"
                ),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(Ends, u8)> {
        let ends = |local: &str, remote: &str| Ends {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        vec![
            (ends("10.0.0.1:4000", "10.0.0.2:443"), 1),
            (ends("10.0.0.1:4001", "10.0.0.2:443"), 1),
            (ends("10.0.0.1:4002", "10.0.0.2:80"), 8),
            (ends("[fd00::1]:4003", "[fd00::2]:443"), 1),
            (ends("127.0.0.1:5000", "127.0.0.1:5001"), 1),
            (ends("127.0.0.1:5001", "127.0.0.1:5000"), 1),
        ]
    }

    #[test]
    fn connections_are_found_as_they_are_printed() {
        let all = all();
        for (text, at) in [
            ("10.0.0.1:4000-10.0.0.2:443", 0),
            ("10.0.0.2:443-10.0.0.1:4000", 0),
            ("10.0.0.1:4001 - 10.0.0.2:443 (https)", 1),
            ("10.0.0.2:80", 2),
            ("10.0.0.2:80 (http)", 2),
            ("[fd00::2]:443", 3),
            ("[fd00::1]:4003-[fd00::2]:443", 3),
            ("127.0.0.1:5001-127.0.0.1:5000", 5),
            ("127.0.0.1:5000-127.0.0.1:5001", 4),
        ] {
            assert_eq!(find(text, &all).unwrap(), all[at], "{text}");
        }
        for (text, why) in [
            ("10.0.0.2:443", "2 TCP connections go to"),
            ("10.0.0.2:443", "10.0.0.1:4001-10.0.0.2:443"),
            ("10.0.0.2:25", "no TCP connection 10.0.0.2:25"),
            ("10.0.0.2:25", "10.0.0.1:4002-10.0.0.2:80"),
            ("10.9.9.9:25", "`netsonde connections` lists them"),
            ("10.0.0.1:1-10.0.0.2:443", "no TCP connection"),
            ("example.org:443", "expected ADDRESS:PORT"),
            ("10.0.0.2", "expected ADDRESS:PORT"),
            ("fd00::2:443-x", "expected ADDRESS:PORT"),
            ("", "expected ADDRESS:PORT"),
        ] {
            let error = find(text, &all).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
