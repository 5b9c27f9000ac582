//! PURE. Sightings of probes: requests, replies, the errors that quote them, and the ARP and
//! neighbor discovery around them, read from recorded frames and from raw sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::identity::{HEADER, TOKEN};
use super::transport::{PortSet, Segment, pseudo_sum};
use crate::wire::cursor::sum;
use crate::wire::glance::{Glance, ethertype, ip_protocol};
use crate::wire::{Checksum, Direction};

/// Identifier, sequence number and token of an echo message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Identifier, in host order.
    pub id: u16,
    /// Sequence number, in host order.
    pub sequence: u16,
    /// Start of the payload, and the number of valid bytes.
    pub token: ([u8; TOKEN], u8),
}

impl Echo {
    /// Parses an echo message, starting at its type byte.
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

    /// Returns the part of the token that is present.
    pub fn token(&self) -> &[u8] {
        &self.token.0[..usize::from(self.token.1)]
    }
}

/// The packet that an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedProbe {
    /// An echo request.
    Echo(Echo),
    /// A TCP segment or UDP datagram, of which eight bytes or more are quoted.
    Segment(Segment),
}

/// ICMP or ICMPv6 error that quotes an echo request, a TCP segment or a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// ICMP type of the error.
    pub kind: u8,
    /// ICMP code of the error.
    pub code: u8,
    /// MTU that the error reports; `None` for other kinds of errors and for 0.
    pub mtu: Option<u32>,
    /// Destination of the quoted packet.
    pub to: IpAddr,
    /// The quoted packet.
    pub probe: QuotedProbe,
    /// Headers of the error and of the quoted request.
    pub headers: QuotedHeaders,
}

impl Quoted {
    /// Returns the quoted echo request.
    pub fn echo(&self) -> Option<&Echo> {
        match &self.probe {
            QuotedProbe::Echo(echo) => Some(echo),
            QuotedProbe::Segment(_) => None,
        }
    }

    /// Returns the quoted TCP segment or UDP datagram.
    pub fn segment(&self) -> Option<&Segment> {
        match &self.probe {
            QuotedProbe::Echo(_) => None,
            QuotedProbe::Segment(segment) => Some(segment),
        }
    }
}

/// What the headers of an error and of the request that it quotes show of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedHeaders {
    /// TTL or hop limit of the error.
    pub error_ttl: u8,
    /// Address that the error was sent to; `None` where the socket does not tell.
    pub error_to: Option<IpAddr>,
    /// Source of the quoted request.
    pub source: IpAddr,
    /// TTL or hop limit of the quoted request.
    pub ttl: u8,
    /// Type of service or traffic class of the quoted request.
    pub tos: u8,
    /// Length of the quoted request with its IP header, in bytes.
    pub length: u32,
    /// Identification of the quoted request (IPv4).
    pub ip_id: Option<u16>,
    /// ICMP checksum of the quoted request.
    pub checksum: u16,
}

/// Place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Destination address.
    pub to: IpAddr,
    /// Identification of the datagram: 16 bits in IPv4 (RFC 791), 32 in IPv6 (RFC 8200, section
    /// 4.5).
    pub id: u32,
    /// Offset of its data in the datagram's payload, in bytes.
    pub offset: u32,
    /// Length of its data, in bytes.
    pub length: u32,
    /// Whether no fragment follows.
    pub is_last: bool,
}

/// Kind of message that was seen, with the fields that matter to probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SightingKind {
    /// An echo request.
    Request {
        /// Destination address.
        to: IpAddr,
        /// Echo fields of the request.
        echo: Echo,
        /// Whether it is the first of several fragments.
        is_fragmented: bool,
    },
    /// An echo reply.
    Reply {
        /// Source address.
        from: IpAddr,
        /// Echo fields of the reply.
        echo: Echo,
        /// Whether the checksum is right; `None` if the message is incomplete or the checksum is
        /// not to be verified here.
        intact: Option<bool>,
        /// TTL or hop limit.
        ttl: u8,
        /// Its place, if it is the first of several fragments.
        fragment: Option<Fragment>,
    },
    /// A fragment of an ICMP message, other than the first, which has no ICMP header.
    LaterFragment {
        /// Source address.
        from: IpAddr,
        /// Its place.
        fragment: Fragment,
    },
    /// An ICMP error.
    Error {
        /// Source address.
        from: IpAddr,
        /// The error, with the packet that it quotes.
        quoted: Quoted,
    },
    /// A TCP segment or UDP datagram, in either direction.
    Segment {
        /// Source address.
        from: IpAddr,
        /// Destination address.
        to: IpAddr,
        /// Its fields.
        segment: Segment,
        /// Whether the checksum is right; `None` if the packet is incomplete or the checksum is not to
        /// be verified here.
        intact: Option<bool>,
        /// TTL or hop limit.
        ttl: u8,
    },
    /// This host requested the link-layer address of a neighbor.
    NeighborSolicited(IpAddr),
    /// A neighbor answered such a request.
    NeighborAnswered(IpAddr),
}

/// One observation on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Wall-clock time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Interface index.
    pub ifindex: u32,
    /// Direction of the frame.
    pub direction: Direction,
    /// Link-layer address of the sender, on Ethernet.
    pub mac: Option<[u8; 6]>,
    /// The message.
    pub what: SightingKind,
}

/// Returns whether [`sight`] may find something in this frame. Runs for each packet while probes
/// are in flight. `ports`: those that probes by TCP and UDP are sent from.
#[inline]
pub fn may_concern_probe(seen: &Glance, ports: &PortSet) -> bool {
    if matches!(seen.ip_protocol, ip_protocol::TCP | ip_protocol::UDP) {
        return ports.has(seen.source_port) || ports.has(seen.destination_port);
    }
    match seen.ethertype {
        ethertype::ARP => true,
        // A later fragment has no transport header.
        ethertype::IPV4 => {
            seen.ip_protocol == ip_protocol::ICMP
                && (seen.transport == 0 || matches!(seen.icmp_type, 0 | 3 | 8 | 11 | 12))
        }
        ethertype::IPV6 => {
            seen.ip_protocol == ip_protocol::ICMPV6
                && (seen.transport == 0 || matches!(seen.icmp_type, 1..=4 | 128 | 129 | 135 | 136))
        }
        _ => false,
    }
}

/// Parses a frame. `whole`: the capture holds all of its bytes.
pub fn sight(bytes: &[u8], seen: &Glance, whole: bool, checksum: Checksum) -> Option<SightingKind> {
    match seen.ethertype {
        ethertype::ARP => arp(bytes.get(seen.network..)?),
        ethertype::IPV4 => {
            let header = bytes.get(seen.network..)?;
            let from = ipv4(header, 12)?;
            let to = ipv4(header, 16)?;
            let ttl = *header.get(8)?;
            let length = usize::from(u16::from_be_bytes([*header.get(2)?, *header.get(3)?]));
            let fragment = fragment_v4(header, to, length);
            let Some(start) = seen.transport.checked_sub(seen.network) else {
                return fragment.map(|fragment| SightingKind::LaterFragment { from, fragment });
            };
            let message = &header[start..length.min(header.len()).max(start)];
            // The first fragment carries the header, but the checksum covers all fragments.
            let whole = whole && fragment.is_none() && length <= header.len();
            if seen.ip_protocol != ip_protocol::ICMP {
                let ip_id = Some(u16::from_be_bytes([header[4], header[5]]));
                let verified = whole && checksum != Checksum::NotReady;
                return segment(seen.ip_protocol, message, (from, to), ip_id, ttl, verified);
            }
            v4_message(message, (from, Some(to)), ttl, (whole, fragment), checksum)
        }
        ethertype::IPV6 => {
            let header = bytes.get(seen.network..)?;
            let from = ipv6(header, 8)?;
            let to = ipv6(header, 24)?;
            let ttl = *header.get(7)?;
            let length = 40 + usize::from(u16::from_be_bytes([*header.get(4)?, *header.get(5)?]));
            let is_fragment = *header.get(6)? == ip_protocol::FRAGMENT;
            let fragment = is_fragment
                .then(|| fragment_v6(header, to, length))
                .flatten();
            let Some(start) = seen.transport.checked_sub(seen.network) else {
                return fragment.map(|fragment| SightingKind::LaterFragment { from, fragment });
            };
            let message = &header[start..length.min(header.len()).max(start)];
            let whole = whole && !is_fragment && length <= header.len();
            if seen.ip_protocol != ip_protocol::ICMPV6 {
                let verified = whole && checksum != Checksum::NotReady;
                return segment(seen.ip_protocol, message, (from, to), None, ttl, verified);
            }
            v6_message(message, (from, Some(to)), ttl, (whole, fragment), checksum)
        }
        _ => None,
    }
}

/// Parses a TCP segment or UDP datagram. `verify`: its checksum can be verified.
fn segment(
    protocol: u8,
    message: &[u8],
    (from, to): (IpAddr, IpAddr),
    ip_id: Option<u16>,
    ttl: u8,
    verify: bool,
) -> Option<SightingKind> {
    Some(SightingKind::Segment {
        from,
        to,
        segment: Segment::read(protocol, message, ip_id)?,
        intact: verify
            .then(|| sum(message, pseudo_sum(protocol, message.len(), from, to)) == 0xffff),
        ttl,
    })
}

fn ipv4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn ipv6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

/// Parses the fragment fields of an IPv4 header (RFC 791, section 3.1). `length`: total length of
/// the packet. Returns `None` for a datagram that is not fragmented.
fn fragment_v4(header: &[u8], to: IpAddr, length: usize) -> Option<Fragment> {
    let word = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]);
    if word & 0x3fff == 0 {
        return None;
    }
    let header_length = usize::from(*header.first()? & 0x0f) * 4;
    Some(Fragment {
        to,
        id: u16::from_be_bytes([header[4], header[5]]).into(),
        offset: u32::from(word & 0x1fff) * 8,
        length: length.checked_sub(header_length)? as u32,
        is_last: word & 0x2000 == 0,
    })
}

/// Parses a fragment header that follows the IPv6 header (RFC 8200, section 4.5). `length`: total
/// length of the packet. Returns `None` for an atomic fragment (RFC 6946), which is whole.
fn fragment_v6(header: &[u8], to: IpAddr, length: usize) -> Option<Fragment> {
    let fields = header.get(40..48)?;
    let word = u16::from_be_bytes([fields[2], fields[3]]);
    if word & 0xfff9 == 0 {
        return None;
    }
    Some(Fragment {
        to,
        id: u32::from_be_bytes([fields[4], fields[5], fields[6], fields[7]]),
        offset: u32::from(word & 0xfff8),
        length: length.checked_sub(48)? as u32,
        is_last: word & 1 == 0,
    })
}

/// Parses ARP for IPv4 over Ethernet (RFC 826).
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

/// Parses an ICMP message (RFC 792).
fn v4_message(
    message: &[u8],
    (from, to): (IpAddr, Option<IpAddr>),
    ttl: u8,
    (whole, fragment): (bool, Option<Fragment>),
    checksum: Checksum,
) -> Option<SightingKind> {
    match *message.first()? {
        8 => Some(SightingKind::Request {
            to: to?,
            echo: Echo::read(message)?,
            is_fragmented: fragment.is_some(),
        }),
        0 => Some(SightingKind::Reply {
            from,
            echo: Echo::read(message)?,
            intact: (whole && checksum != Checksum::NotReady).then(|| sum(message, 0) == 0xffff),
            ttl,
            fragment,
        }),
        kind @ (3 | 11 | 12) => {
            let quoted = message.get(8..)?;
            let header = usize::from(quoted.first()? & 0x0f) * 4;
            let probe = match *quoted.get(9)? {
                ip_protocol::ICMP if *quoted.get(header)? == 8 => {
                    QuotedProbe::Echo(Echo::read(quoted.get(header..)?)?)
                }
                protocol => {
                    let ip_id = Some(u16::from_be_bytes([quoted[4], quoted[5]]));
                    QuotedProbe::Segment(Segment::read(protocol, quoted.get(header..)?, ip_id)?)
                }
            };
            let mtu = u32::from(u16::from_be_bytes([message[6], message[7]]));
            let code = message[1];
            Some(SightingKind::Error {
                from,
                quoted: Quoted {
                    kind,
                    code,
                    mtu: (kind == 3 && code == 4 && mtu != 0).then_some(mtu),
                    to: ipv4(quoted, 16)?,
                    probe,
                    headers: QuotedHeaders {
                        error_ttl: ttl,
                        error_to: to,
                        source: ipv4(quoted, 12)?,
                        ttl: quoted[8],
                        tos: quoted[1],
                        length: u16::from_be_bytes([quoted[2], quoted[3]]).into(),
                        ip_id: Some(u16::from_be_bytes([quoted[4], quoted[5]])),
                        checksum: u16::from_be_bytes([quoted[header + 2], quoted[header + 3]]),
                    },
                },
            })
        }
        _ => None,
    }
}

/// Parses an ICMPv6 message (RFC 4443, RFC 4861).
fn v6_message(
    message: &[u8],
    (from, to): (IpAddr, Option<IpAddr>),
    ttl: u8,
    (whole, fragment): (bool, Option<Fragment>),
    checksum: Checksum,
) -> Option<SightingKind> {
    match *message.first()? {
        128 => Some(SightingKind::Request {
            to: to?,
            echo: Echo::read(message)?,
            is_fragmented: fragment.is_some(),
        }),
        129 => {
            let intact = || {
                let Some(to) = to else {
                    return false;
                };
                let pseudo = pseudo_sum(ip_protocol::ICMPV6, message.len(), from, to);
                sum(message, pseudo) == 0xffff
            };
            Some(SightingKind::Reply {
                from,
                echo: Echo::read(message)?,
                intact: (whole && checksum != Checksum::NotReady).then(intact),
                ttl,
                fragment,
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
            let probe = match next {
                ip_protocol::ICMPV6 if *quoted.get(at)? == 128 => {
                    QuotedProbe::Echo(Echo::read(quoted.get(at..)?)?)
                }
                _ => QuotedProbe::Segment(Segment::read(next, quoted.get(at..)?, None)?),
            };
            let mtu = u32::from_be_bytes(message.get(4..8)?.try_into().ok()?);
            Some(SightingKind::Error {
                from,
                quoted: Quoted {
                    kind,
                    code: message[1],
                    mtu: (kind == 2 && mtu != 0).then_some(mtu),
                    to: ipv6(quoted, 24)?,
                    probe,
                    headers: QuotedHeaders {
                        error_ttl: ttl,
                        error_to: to,
                        source: ipv6(quoted, 8)?,
                        ttl: quoted[7],
                        tos: quoted[0] << 4 | quoted[1] >> 4,
                        length: 40 + u32::from(u16::from_be_bytes([quoted[4], quoted[5]])),
                        ip_id: None,
                        checksum: u16::from_be_bytes([quoted[at + 2], quoted[at + 3]]),
                    },
                },
            })
        }
        _ => None,
    }
}

/// Parses a packet from a raw ICMP socket, which includes the IPv4 header (raw(7)). Returns the
/// message, too.
pub fn from_socket_v4(packet: &[u8]) -> Option<(SightingKind, &[u8])> {
    let start = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(start..)?;
    let addresses = (ipv4(packet, 12)?, ipv4(packet, 16));
    let what = v4_message(
        message,
        addresses,
        *packet.get(8)?,
        (true, None),
        Checksum::Unknown,
    )?;
    Some((what, message))
}

/// Parses a message from a raw ICMPv6 socket. The kernel has verified its checksum (RFC 3542,
/// section 3.1).
pub fn from_socket_v6(message: &[u8], from: IpAddr, ttl: u8) -> Option<SightingKind> {
    v6_message(message, (from, None), ttl, (false, None), Checksum::Unknown)
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
        assert!(may_concern_probe(&seen, &PortSet::default()));
        sight(&frame, &seen, true, Checksum::Unknown)
    }

    #[test]
    fn requests_replies_and_errors() {
        let sent = request();
        let Some(SightingKind::Request { to, echo, .. }) = seen(&header(A, B, &sent)) else {
            panic!()
        };
        assert_eq!((to, echo.id, echo.sequence), (B.into(), 42, 5));
        assert_eq!(echo.token(), &sent[8..20]);

        let mut reply = sent.clone();
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
        error.extend_from_slice(&header(A, B, &sent)[..28]);
        let Some(SightingKind::Error { quoted, .. }) = seen(&header(B, A, &error)) else {
            panic!()
        };
        assert_eq!((quoted.kind, quoted.code, quoted.mtu), (3, 4, Some(1500)));
        assert_eq!(
            (
                quoted.to,
                quoted.echo().unwrap().id,
                quoted.echo().unwrap().token().len()
            ),
            (B.into(), 42, 0)
        );
        for length in 0..error.len() {
            // Truncated anywhere: no panic.
            let _ = seen(&header(B, A, &error[..length.max(1)]));
        }
    }
}
