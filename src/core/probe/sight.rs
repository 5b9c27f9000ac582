//! PURE. What the wire shows of probes: their requests, their replies, the errors that quote them,
//! and the ARP and neighbour discovery around them. Read from recorded frames and from raw sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::identity::{HEADER, TOKEN};
use crate::wire::cursor::sum;
use crate::wire::glance::{Glance, ethertype, ip_protocol};
use crate::wire::{Checksum, Direction};

/// Identifier, sequence number and as much of the mark as there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Identifier, in host order.
    pub id: u16,
    /// Sequence number, in host order.
    pub sequence: u16,
    /// The start of the payload, and how many bytes of it there are.
    pub token: ([u8; TOKEN], u8),
}

impl Echo {
    /// Reads an echo message from its type byte on.
    fn read(message: &[u8]) -> Option<Echo> {
        let (header, payload) = message.split_at_checked(HEADER)?;
        let mut token = [0; TOKEN];
        let length = payload.len().min(TOKEN);
        token[..length].copy_from_slice(&payload[..length]);
        Some(Echo {
            id: u16::from_be_bytes([header[4], header[5]]),
            sequence: u16::from_be_bytes([header[6], header[7]]),
            token: (token, length as u8),
        })
    }

    /// The part of the mark that is there.
    pub fn token(&self) -> &[u8] {
        &self.token.0[..usize::from(self.token.1)]
    }
}

/// An ICMP or ICMPv6 error that quotes an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Type of the error.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The MTU that it names, if it is of the kind that does and it is not zero.
    pub mtu: Option<u32>,
    /// Where the quoted request was going.
    pub to: IpAddr,
    /// The quoted request.
    pub echo: Echo,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SightingKind {
    /// An echo request.
    Request {
        /// Where to.
        to: IpAddr,
        /// Which.
        echo: Echo,
    },
    /// An echo reply.
    Reply {
        /// Who sent it.
        from: IpAddr,
        /// Which.
        echo: Echo,
        /// Whether its checksum is right; `None` where it was not whole, or not for us to say.
        intact: Option<bool>,
        /// Its TTL or hop limit.
        ttl: u8,
    },
    /// An error.
    Error {
        /// Who sent it.
        from: IpAddr,
        /// What it says.
        quoted: Quoted,
    },
    /// Somebody here asked for the link-layer address of a neighbour.
    NeighborSolicited(IpAddr),
    /// A neighbour told its own.
    NeighborAnswered(IpAddr),
}

/// Something seen on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When, by the wall clock, in nanoseconds since 1970.
    pub time_ns: u64,
    /// On which interface.
    pub ifindex: u32,
    /// Which way it went.
    pub direction: Direction,
    /// Sender's link-layer address, on Ethernet.
    pub mac: Option<[u8; 6]>,
    /// What it was.
    pub what: SightingKind,
}

/// Is this of a kind that [`sight`] can make something of? Asked of each packet while probes are
/// under way.
#[inline]
pub fn may_concern_probe(seen: &Glance) -> bool {
    match seen.ethertype {
        ethertype::ARP => true,
        ethertype::IPV4 => {
            seen.ip_protocol == ip_protocol::ICMP
                && seen.transport != 0
                && matches!(seen.icmp_type, 0 | 3 | 8 | 11 | 12)
        }
        ethertype::IPV6 => {
            seen.ip_protocol == ip_protocol::ICMPV6
                && seen.transport != 0
                && matches!(seen.icmp_type, 1..=4 | 128 | 129 | 135 | 136)
        }
        _ => false,
    }
}

/// Reads a frame. `whole`: no byte of it was cut off.
pub fn sight(bytes: &[u8], seen: &Glance, whole: bool, checksum: Checksum) -> Option<SightingKind> {
    match seen.ethertype {
        ethertype::ARP => arp(bytes.get(seen.network..)?),
        ethertype::IPV4 => {
            let header = bytes.get(seen.network..)?;
            let from = ipv4(header, 12)?;
            let to = ipv4(header, 16)?;
            let ttl = *header.get(8)?;
            let start = seen.transport.checked_sub(seen.network)?;
            let length = usize::from(u16::from_be_bytes([*header.get(2)?, *header.get(3)?]));
            // A first fragment carries the header; its checksum is over all of them.
            let fragment = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]) & 0x3fff != 0;
            let message = &header[start..length.min(header.len()).max(start)];
            let whole = whole && !fragment && length <= header.len();
            v4_message(message, (from, to), ttl, whole, checksum)
        }
        ethertype::IPV6 => {
            let header = bytes.get(seen.network..)?;
            let from = ipv6(header, 8)?;
            let to = ipv6(header, 24)?;
            let ttl = *header.get(7)?;
            let start = seen.transport.checked_sub(seen.network)?;
            let length = 40 + usize::from(u16::from_be_bytes([*header.get(4)?, *header.get(5)?]));
            let fragment = *header.get(6)? == ip_protocol::FRAGMENT;
            let message = &header[start..length.min(header.len()).max(start)];
            let whole = whole && !fragment && length <= header.len();
            v6_message(message, (from, to), ttl, whole, checksum)
        }
        _ => None,
    }
}

fn ipv4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn ipv6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

/// ARP for IPv4 over Ethernet (RFC 826).
fn arp(packet: &[u8]) -> Option<SightingKind> {
    if packet.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    match packet.get(6..8)? {
        [0, 1] => Some(SightingKind::NeighborSolicited(ipv4(packet, 24)?)),
        [0, 2] => Some(SightingKind::NeighborAnswered(ipv4(packet, 14)?)),
        _ => None,
    }
}

/// Reads an ICMP message of IPv4 (RFC 792).
fn v4_message(
    message: &[u8],
    (from, to): (IpAddr, IpAddr),
    ttl: u8,
    whole: bool,
    checksum: Checksum,
) -> Option<SightingKind> {
    match *message.first()? {
        8 => Some(SightingKind::Request {
            to,
            echo: Echo::read(message)?,
        }),
        0 => Some(SightingKind::Reply {
            from,
            echo: Echo::read(message)?,
            intact: (whole && checksum != Checksum::NotReady).then(|| sum(message, 0) == 0xffff),
            ttl,
        }),
        kind @ (3 | 11 | 12) => {
            let quoted = message.get(8..)?;
            let header = usize::from(quoted.first()? & 0x0f) * 4;
            if *quoted.get(9)? != ip_protocol::ICMP || *quoted.get(header)? != 8 {
                return None;
            }
            let mtu = u32::from(u16::from_be_bytes([message[6], message[7]]));
            let code = message[1];
            Some(SightingKind::Error {
                from,
                quoted: Quoted {
                    kind,
                    code,
                    mtu: (kind == 3 && code == 4 && mtu != 0).then_some(mtu),
                    to: ipv4(quoted, 16)?,
                    echo: Echo::read(quoted.get(header..)?)?,
                },
            })
        }
        _ => None,
    }
}

/// Reads an ICMPv6 message (RFC 4443, RFC 4861).
fn v6_message(
    message: &[u8],
    (from, to): (IpAddr, IpAddr),
    ttl: u8,
    whole: bool,
    checksum: Checksum,
) -> Option<SightingKind> {
    match *message.first()? {
        128 => Some(SightingKind::Request {
            to,
            echo: Echo::read(message)?,
        }),
        129 => {
            let intact = || {
                let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else {
                    return false;
                };
                let pseudo = sum(
                    &to.octets(),
                    sum(
                        &from.octets(),
                        message.len() as u32 + u32::from(ip_protocol::ICMPV6),
                    ),
                );
                sum(message, pseudo) == 0xffff
            };
            Some(SightingKind::Reply {
                from,
                echo: Echo::read(message)?,
                intact: (whole && checksum != Checksum::NotReady).then(intact),
                ttl,
            })
        }
        135 => Some(SightingKind::NeighborSolicited(ipv6(message, 8)?)),
        136 => Some(SightingKind::NeighborAnswered(ipv6(message, 8)?)),
        kind @ 1..=4 => {
            let quoted = message.get(8..)?;
            let (mut next, mut at) = (*quoted.get(6)?, 40);
            if next == ip_protocol::FRAGMENT {
                next = *quoted.get(40)?;
                at = 48;
            }
            if next != ip_protocol::ICMPV6 || *quoted.get(at)? != 128 {
                return None;
            }
            let mtu = u32::from_be_bytes(message.get(4..8)?.try_into().ok()?);
            Some(SightingKind::Error {
                from,
                quoted: Quoted {
                    kind,
                    code: message[1],
                    mtu: (kind == 2 && mtu != 0).then_some(mtu),
                    to: ipv6(quoted, 24)?,
                    echo: Echo::read(quoted.get(at..)?)?,
                },
            })
        }
        _ => None,
    }
}

/// Reads what a raw ICMP socket received: for IPv4 with its header (raw(7)).
pub fn from_socket_v4(packet: &[u8]) -> Option<(SightingKind, &[u8])> {
    let start = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(start..)?;
    let addresses = (ipv4(packet, 12)?, ipv4(packet, 16)?);
    let what = v4_message(message, addresses, *packet.get(8)?, true, Checksum::Unknown)?;
    Some((what, message))
}

/// Reads what a raw ICMPv6 socket received, whose checksum the kernel has verified (RFC 3542,
/// section 3.1).
pub fn from_socket_v6(message: &[u8], from: IpAddr, ttl: u8) -> Option<SightingKind> {
    v6_message(message, (from, from), ttl, false, Checksum::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::identity::{Identity, write_request};
    use crate::wire::LinkType;
    use crate::wire::glance::glance;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn header(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&(20 + message.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 61, 1, 0, 0]);
        packet.extend_from_slice(&from.octets());
        packet.extend_from_slice(&to.octets());
        packet.extend_from_slice(message);
        packet
    }

    fn request() -> Vec<u8> {
        let token = Identity::new(7).token(1, B.into(), 5);
        let mut message = Vec::new();
        write_request(&mut message, true, (42, 5), &token, 56, &[]);
        message
    }

    fn seen(packet: &[u8]) -> Option<SightingKind> {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&[8, 0]);
        frame.extend_from_slice(packet);
        let seen = glance(LinkType::Ethernet, &frame);
        assert!(may_concern_probe(&seen));
        sight(&frame, &seen, true, Checksum::Unknown)
    }

    #[test]
    fn requests_replies_and_errors() {
        let asked = request();
        let Some(SightingKind::Request { to, echo }) = seen(&header(A, B, &asked)) else {
            panic!()
        };
        assert_eq!((to, echo.id, echo.sequence), (B.into(), 42, 5));
        assert_eq!(echo.token(), &asked[8..20]);

        let mut reply = asked.clone();
        reply[0] = 0;
        reply[2..4].copy_from_slice(&[0, 0]);
        let check = !(sum(&reply, 0) as u16);
        reply[2..4].copy_from_slice(&check.to_be_bytes());
        let packet = header(B, A, &reply);
        let Some(SightingKind::Reply {
            from, intact, ttl, ..
        }) = seen(&packet)
        else {
            panic!()
        };
        assert_eq!((from, intact, ttl), (B.into(), Some(true), 61));
        assert!(matches!(
            from_socket_v4(&packet),
            Some((
                SightingKind::Reply {
                    intact: Some(true),
                    ..
                },
                _
            ))
        ));
        *reply.last_mut().unwrap() ^= 1;
        assert!(matches!(
            seen(&header(B, A, &reply)),
            Some(SightingKind::Reply {
                intact: Some(false),
                ..
            })
        ));

        let mut error = vec![3, 4, 0, 0, 0, 0, 5, 220];
        error.extend_from_slice(&header(A, B, &asked)[..28]);
        let Some(SightingKind::Error { quoted, .. }) = seen(&header(B, A, &error)) else {
            panic!()
        };
        assert_eq!((quoted.kind, quoted.code, quoted.mtu), (3, 4, Some(1500)));
        assert_eq!(
            (quoted.to, quoted.echo.id, quoted.echo.token().len()),
            (B.into(), 42, 0)
        );
        for length in 0..error.len() {
            // Cut anywhere: never a panic.
            let _ = seen(&header(B, A, &error[..length.max(1)]));
        }
    }
}
