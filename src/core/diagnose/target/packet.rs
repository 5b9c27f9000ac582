//! PURE. What the record shows of an attempt to reach a port.

use std::net::IpAddr;

use super::subject::Protocol;
use crate::wire::segment::tcp_flag::{FIN, RST, SYN};
use crate::wire::segment::{Segment, WireError};

/// Errors about an attempt that are kept.
const MAX_ERRORS: usize = 16;
/// Interfaces of answers that are kept: a way back, and the devices stacked on it.
const MAX_INTERFACES: usize = 8;

/// What came back for the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// SYN and ACK: the connection is accepted.
    Accepted,
    /// RST.
    Reset,
    /// A datagram.
    Data,
}

/// An answer that was seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortAnswer {
    /// Its kind.
    pub kind: AnswerKind,
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// Interface on which it came in.
    pub interface: String,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// What was seen of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSeen {
    /// First packets that left this host: SYNs, or datagrams.
    pub sent: u32,
    /// Interface on which they left.
    pub sent_on: Option<String>,
    /// Time of the first in nanoseconds since 1970.
    pub sent_ns: Option<u64>,
    /// The first answer.
    pub answer: Option<PortAnswer>,
    /// All interfaces on which answers came in.
    pub answered_on: Vec<String>,
    /// Errors.
    pub errors: Vec<WireError>,
    /// Time in nanoseconds since 1970 of an RST behind the acceptance.
    pub reset_ns: Option<u64>,
    /// Whether the other end closed its side behind the acceptance.
    pub is_closed: bool,
    /// Bytes of data that it sent.
    pub data_bytes: u64,
}

impl PortSeen {
    /// Returns whether packets left this host, and nothing came back.
    pub fn is_silent(&self) -> bool {
        self.sent > 0 && self.answer.is_none() && self.errors.is_empty()
    }

    /// Returns the interface on which the answer came in, if none came in on that on which the first packet left.
    pub fn other_way_back(&self) -> Option<&str> {
        let (answer, sent_on) = (self.answer.as_ref()?, self.sent_on.as_ref()?);
        (!self.answered_on.contains(sent_on)).then_some(&answer.interface)
    }

    /// Returns the time from the first packet to the answer, in nanoseconds.
    pub fn answered_in_ns(&self) -> Option<u64> {
        let answer = self.answer.as_ref()?;
        Some(answer.time_ns.saturating_sub(self.sent_ns?))
    }
}

/// An attempt: what its packets look like.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Protocol.
    pub protocol: Protocol,
    /// Own address and port.
    pub local: (IpAddr, u16),
    /// Target and port.
    pub remote: (IpAddr, u16),
}

impl Attempt {
    fn is_out(&self, segment: &Segment<'_>) -> bool {
        (segment.source, segment.destination) == (self.local, self.remote)
            && segment.is_tcp == (self.protocol == Protocol::Tcp)
    }

    fn is_in(&self, segment: &Segment<'_>) -> bool {
        (segment.source, segment.destination) == (self.remote, self.local)
            && segment.is_tcp == (self.protocol == Protocol::Tcp)
    }

    /// Takes a packet, with its interface.
    pub fn see(&self, seen: &mut PortSeen, time_ns: u64, interface: &str, segment: &Segment<'_>) {
        let flags = segment.flags();
        if self.is_out(segment) {
            let is_first = !segment.is_tcp || flags & SYN != 0;
            // A bridge or bond shows it once for itself and once for its port.
            let is_here = seen.sent_on.as_deref().is_none_or(|on| on == interface);
            if is_first && is_here {
                seen.sent += 1;
                seen.sent_on.get_or_insert_with(|| interface.to_owned());
                seen.sent_ns.get_or_insert(time_ns);
            }
        } else if self.is_in(segment) {
            let kind = match flags {
                _ if !segment.is_tcp => AnswerKind::Data,
                flags if flags & RST != 0 => AnswerKind::Reset,
                flags if flags & SYN != 0 => AnswerKind::Accepted,
                _ => {
                    seen.is_closed |= flags & FIN != 0;
                    seen.data_bytes += segment.payload_length() as u64;
                    return;
                }
            };
            let has_accepted =
                matches!(&seen.answer, Some(answer) if answer.kind == AnswerKind::Accepted);
            if has_accepted && kind == AnswerKind::Reset {
                seen.reset_ns.get_or_insert(time_ns);
            }
            let is_known = seen.answered_on.iter().any(|on| on == interface);
            if !is_known && seen.answered_on.len() < MAX_INTERFACES {
                seen.answered_on.push(interface.to_owned());
            }
            seen.answer.get_or_insert_with(|| PortAnswer {
                kind,
                time_ns,
                interface: interface.to_owned(),
                ttl: segment.ttl,
            });
        }
    }

    /// Takes an ICMP error and the packet that it quotes.
    pub fn see_error(&self, seen: &mut PortSeen, error: WireError, quoted: &Segment<'_>) {
        let is_known = seen.errors.contains(&error) || seen.errors.len() >= MAX_ERRORS;
        if self.is_out(quoted) && !is_known {
            seen.errors.push(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet of TCP with these flags and this payload.
    fn tcp(from: (u8, u16), to: (u8, u16), flags: u8, payload: usize) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, (40 + payload) as u8, 0, 0, 0x40, 0, 61, 6, 0, 0];
        packet.extend_from_slice(&[10, 0, 0, from.0, 10, 0, 0, to.0]);
        packet.extend_from_slice(&from.1.to_be_bytes());
        packet.extend_from_slice(&to.1.to_be_bytes());
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
        packet.resize(40 + payload, 7);
        packet
    }

    #[test]
    fn an_attempt_is_followed_from_syn_to_reset() {
        let attempt = Attempt {
            protocol: Protocol::Tcp,
            local: ([10, 0, 0, 1].into(), 4000),
            remote: ([10, 0, 0, 2].into(), 443),
        };
        let mut seen = PortSeen::default();
        for (at, from, to, flags, payload) in [
            (1, (1, 4000), (2, 443), SYN, 0),
            (2, (1, 4000), (2, 443), SYN, 0),
            (3, (3, 443), (1, 4000), RST, 0),
            (4, (2, 443), (1, 4000), SYN | 0x10, 0),
            (5, (2, 443), (1, 4000), 0x18, 5),
            (6, (2, 443), (1, 4000), RST, 0),
        ] {
            let packet = tcp(from, to, flags, payload);
            attempt.see(&mut seen, at, "e0", &Segment::read(&packet).unwrap());
        }
        let answer = seen.answer.clone().unwrap();
        assert_eq!(
            (seen.sent, answer.kind, answer.ttl),
            (2, AnswerKind::Accepted, 61)
        );
        assert_eq!((seen.data_bytes, seen.reset_ns), (5, Some(6)));
        assert_eq!(seen.answered_in_ns(), Some(3));
        // Seen on a port of a bridge, then on the bridge on which the SYN left.
        assert_eq!(seen.other_way_back(), None);
        let mut other = PortSeen::default();
        for (interface, is_out) in [("e1", false), ("br1", false), ("br0", true)] {
            let (from, to, flags) = match is_out {
                true => ((1, 4000), (2, 443), SYN),
                false => ((2, 443), (1, 4000), SYN | 0x10),
            };
            let packet = tcp(from, to, flags, 0);
            attempt.see(&mut other, 1, interface, &Segment::read(&packet).unwrap());
        }
        assert_eq!(other.other_way_back(), Some("e1"));
        other.answered_on.push("br0".into());
        assert_eq!(other.other_way_back(), None);
        // An error quotes at least the ports.
        let quoted = tcp((1, 4000), (2, 443), SYN, 0);
        let error = WireError::new([10, 0, 0, 9].into(), 3, 13);
        let cut = Segment::read(&quoted[..28]).unwrap();
        attempt.see_error(&mut seen, error.clone(), &cut);
        attempt.see_error(&mut seen, error, &cut);
        assert_eq!(seen.errors.len(), 1);
        assert!(seen.errors[0].is_prohibited() && !seen.errors[0].is_port());
    }
}
