//! PURE. Probes by TCP and UDP: their packets, and the tokens by which errors and replies are matched to them.
//!
//! A probe of a flow differs from the others of that flow in nothing that a router hashes: addresses, ports and
//! protocol are the flow's. What differs is the token, in fields that every ICMP error quotes, since these may end
//! behind the first eight bytes of the transport header (RFC 792): the sequence number of a TCP segment, and the
//! checksum of a UDP datagram, which two bytes of its payload make right.

use std::net::IpAddr;

use super::identity::TOKEN;
use crate::wire::cursor::sum;
use crate::wire::glance::ip_protocol;
pub use crate::wire::segment::is_along;
use crate::wire::segment::tcp_flag;

/// Flows of TCP probes: source ports that the keeper has reserved. Probes of a run take them in turn, so that a
/// server that still waits for the end of a handshake gets no other one on the same ports.
pub const TCP_FLOWS: usize = 64;
/// Flows of UDP probes, likewise. A reply without a token is matched by its port, so this is also the number of
/// probes to one port of one target that can be told apart while they wait.
pub const UDP_FLOWS: usize = 16;
/// Bytes of a UDP payload that every probe has: its token, and two that make the checksum right.
pub const LEAST_PAYLOAD: usize = TOKEN + 2;
/// Maximum UDP payload in bytes: with its headers, a packet of 9,000 bytes, the largest in common use.
pub const MOST_PAYLOAD: usize = 8_952;
/// Largest flow label: 20 bits (RFC 8200, section 3).
pub const MAX_FLOW_LABEL: u32 = 0xf_ffff;
/// Destination port of the first UDP flow where none is given, as for traceroute(8).
pub const TRACE_PORT: u16 = 33_434;

/// Protocol of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// ICMP or ICMPv6 echo.
    #[default]
    Echo,
    /// A UDP datagram to this port.
    Udp {
        /// Destination port.
        port: u16,
    },
    /// A TCP segment with the flag SYN to this port.
    Tcp {
        /// Destination port.
        port: u16,
    },
}

impl Transport {
    /// Returns the destination port; `None` for echo.
    pub fn port(self) -> Option<u16> {
        match self {
            Transport::Echo => None,
            Transport::Udp { port } | Transport::Tcp { port } => Some(port),
        }
    }

    /// Returns what has a port of TCP or UDP, as the fields `tcp` and `udp` of the interfaces have it; echo if neither is
    /// one.
    pub fn of_ports(tcp: Option<u64>, udp: Option<u64>) -> Transport {
        let port = |number: Option<u64>| number.and_then(|number| u16::try_from(number).ok());
        match (port(tcp), port(udp)) {
            (Some(port), _) => Transport::Tcp { port },
            (None, Some(port)) => Transport::Udp { port },
            (None, None) => Transport::Echo,
        }
    }

    /// Returns the port if it is one of TCP, and if it is one of UDP.
    pub fn ports(self) -> (Option<u64>, Option<u64>) {
        match self {
            Transport::Echo => (None, None),
            Transport::Udp { port } => (None, Some(port.into())),
            Transport::Tcp { port } => (Some(port.into()), None),
        }
    }

    /// Returns what is probed of a host, as it is written for `netsonde doctor`: `192.0.2.1`, `192.0.2.1:443`,
    /// `[2001:db8::1]:53/udp`.
    pub fn endpoint(self, address: &str) -> String {
        let Some(port) = self.port() else {
            return address.to_owned();
        };
        let protocol = match self {
            Transport::Udp { .. } => "/udp",
            _ => "",
        };
        with_port(address, port) + protocol
    }

    /// Returns the number of flows that probes take in turn.
    pub fn flows(self) -> usize {
        match self {
            Transport::Echo => 1,
            Transport::Udp { .. } => UDP_FLOWS,
            Transport::Tcp { .. } => TCP_FLOWS,
        }
    }

    /// Returns the name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Echo => "echo",
            Transport::Udp { .. } => "udp",
            Transport::Tcp { .. } => "tcp",
        }
    }
}

/// Returns an address or name with a port, in brackets if it has colons itself.
pub fn with_port(target: &str, port: u16) -> String {
    match target.contains(':') {
        true => format!("[{target}]:{port}"),
        false => format!("{target}:{port}"),
    }
}

/// Source ports that the keeper has reserved, by flow; 0 where it could reserve none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePorts {
    /// Of TCP probes.
    pub tcp: [u16; TCP_FLOWS],
    /// Of UDP probes.
    pub udp: [u16; UDP_FLOWS],
}

impl Default for SourcePorts {
    fn default() -> SourcePorts {
        SourcePorts {
            tcp: [0; TCP_FLOWS],
            udp: [0; UDP_FLOWS],
        }
    }
}

impl SourcePorts {
    /// Returns the ports of a protocol; none for echo.
    pub fn of(&self, transport: Transport) -> &[u16] {
        match transport {
            Transport::Echo => &[],
            Transport::Udp { .. } => &self.udp,
            Transport::Tcp { .. } => &self.tcp,
        }
    }

    /// Returns the flow of a source port.
    pub fn flow(&self, transport: Transport, port: u16) -> Option<usize> {
        let ports = self.of(transport).iter();
        ports.copied().position(|own| own == port && port != 0)
    }
}

/// A TCP connection of this host along which probes go: they have its addresses and ports, and so its way through every
/// hash of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Living {
    /// Its address here.
    pub source: IpAddr,
    /// Its port here.
    pub source_port: u16,
    /// Its flow label (IPv6); 0 if it is not known.
    pub flow_label: u32,
    /// A sequence number of it that was seen lately: probes are as far from it as can be.
    pub sequence: Option<u32>,
}

impl Living {
    /// Moves the sequence number of a probe, which is a part of its token, out of all windows: to the half of the numbers
    /// opposite to the connection's, by thirty bits of the token.
    pub fn token(&self, mut token: [u8; TOKEN]) -> [u8; TOKEN] {
        if let Some(sequence) = self.sequence {
            let opposite = sequence.wrapping_add(3 << 29);
            let moved = opposite.wrapping_add(sequence_of(&token) & 0x3fff_ffff);
            token[4..8].copy_from_slice(&moved.to_be_bytes());
        }
        token
    }
}

/// A set of TCP and UDP ports of this host: packets from and to these are looked at.
#[derive(Clone, Debug, Default)]
pub struct PortSet {
    /// A bit for each port; empty for an empty set.
    bits: Vec<u64>,
    /// Ports of connections along which probes go; few.
    living: Vec<u16>,
}

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        self.bits.resize(1024, 0);
        self.bits[usize::from(port) / 64] |= 1 << (port % 64);
    }

    /// Returns whether the set has a port.
    #[inline]
    pub fn has(&self, port: u16) -> bool {
        let word = self.bits.get(usize::from(port) / 64);
        word.is_some_and(|word| word & (1 << (port % 64)) != 0)
    }

    /// Sets the ports of connections along which probes go.
    pub fn set_living(&mut self, ports: Vec<u16>) {
        self.living = ports;
    }

    /// Returns the ports of connections along which probes go.
    pub fn living(&self) -> &[u16] {
        &self.living
    }

    /// Returns whether the set is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }
}

/// Fields of a TCP segment or UDP datagram that are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// A TCP segment.
    Tcp {
        /// Sequence number.
        sequence: u32,
        /// Acknowledgment number; 0 if it is not quoted.
        acknowledgment: u32,
        /// Flags; 0 if they are not quoted.
        flags: u8,
    },
    /// A UDP datagram.
    Udp {
        /// Length field, in bytes.
        length: u16,
        /// Checksum field.
        checksum: u16,
        /// Start of the payload, and the number of valid bytes.
        token: ([u8; TOKEN], u8),
    },
}

/// A TCP segment or UDP datagram as far as it matters to probes: seen on the wire, or quoted by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Identification of the IPv4 packet; `None` for IPv6.
    pub ip_id: Option<u16>,
    /// Fields of the protocol.
    pub kind: SegmentKind,
}

impl Segment {
    /// Parses a segment or datagram from its ports on; of a quoted one, eight bytes are enough.
    pub fn read(protocol: u8, bytes: &[u8], ip_id: Option<u16>) -> Option<Segment> {
        let be16 = |at: usize| {
            let bytes = bytes.get(at..at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        let be32 = |at: usize| Some(u32::from(be16(at)?) << 16 | u32::from(be16(at + 2)?));
        let kind = match protocol {
            ip_protocol::TCP => SegmentKind::Tcp {
                sequence: be32(4)?,
                acknowledgment: be32(8).unwrap_or(0),
                flags: bytes.get(13).copied().unwrap_or(0),
            },
            ip_protocol::UDP => {
                let payload = bytes.get(8..)?;
                let count = payload.len().min(TOKEN);
                let mut token = [0; TOKEN];
                token[..count].copy_from_slice(&payload[..count]);
                SegmentKind::Udp {
                    length: be16(4)?,
                    checksum: be16(6)?,
                    token: (token, count as u8),
                }
            }
            _ => return None,
        };
        Some(Segment {
            source_port: be16(0)?,
            destination_port: be16(2)?,
            ip_id,
            kind,
        })
    }

    /// Returns the token of a UDP probe; `None` if less of it is there.
    pub fn whole_token(&self) -> Option<[u8; TOKEN]> {
        match self.kind {
            SegmentKind::Udp {
                token: (token, count),
                ..
            } => (usize::from(count) == TOKEN).then_some(token),
            SegmentKind::Tcp { .. } => None,
        }
    }

    /// Returns the protocol of a probe to this segment's destination.
    pub fn transport(&self) -> Transport {
        let port = self.destination_port;
        match self.kind {
            SegmentKind::Tcp { .. } => Transport::Tcp { port },
            SegmentKind::Udp { .. } => Transport::Udp { port },
        }
    }
}

/// Returns the sequence number of a TCP probe: 32 bits of its token that only this service can compute.
pub fn sequence_of(token: &[u8; TOKEN]) -> u32 {
    u32::from_be_bytes([token[4], token[5], token[6], token[7]])
}

/// Returns the checksum of a UDP probe: 16 such bits, but for the two values that stand for zero.
pub fn checksum_of(token: &[u8; TOKEN]) -> u16 {
    match u16::from_be_bytes([token[8], token[9]]) {
        0 | 0xffff => 0x5a5a,
        bits => bits,
    }
}

/// Returns whether an eight-byte quote of a UDP probe, or more of it, is the probe with this token. `payload`: its
/// size in bytes; `ip_id`: identification of the IPv4 packet as it left, if it was seen; 0 is none.
///
/// A quote that ends before the token has 16 keyed bits only; the identification, which nobody outside of the path
/// knows, must then be right as well. One with the token may have another checksum: address translation changes it.
pub fn is_quote_of(
    segment: &Segment,
    token: &[u8; TOKEN],
    payload: usize,
    ip_id: Option<u16>,
) -> bool {
    match segment.kind {
        SegmentKind::Tcp { sequence, .. } => sequence == sequence_of(token),
        SegmentKind::Udp {
            length,
            checksum,
            token: (bytes, count),
        } => {
            let count = usize::from(count);
            let is_same =
                usize::from(length) == payload + UDP_HEADER && bytes[..count] == token[..count];
            let is_own_id = ip_id.is_some_and(|id| id != 0) && ip_id == segment.ip_id;
            is_same && (count == TOKEN || (checksum == checksum_of(token) && is_own_id))
        }
    }
}

/// What a segment from a target says about a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The port is open: SYN and ACK, or a datagram.
    Open,
    /// The connection was refused: RST.
    Reset,
}

/// Returns the answer of a TCP segment, with the sequence number of the probe that it acknowledges; `None` if it
/// is no answer to a SYN.
pub fn tcp_answer(segment: &Segment) -> Option<(Answer, u32)> {
    let SegmentKind::Tcp {
        acknowledgment,
        flags,
        ..
    } = segment.kind
    else {
        return None;
    };
    if flags & tcp_flag::ACK == 0 {
        return None;
    }
    let probe = acknowledgment.wrapping_sub(1);
    if flags & tcp_flag::RST != 0 {
        Some((Answer::Reset, probe))
    } else if flags & tcp_flag::SYN != 0 {
        Some((Answer::Open, probe))
    } else {
        None
    }
}

/// Size of a UDP header in bytes.
pub const UDP_HEADER: usize = 8;
/// Size of the header of a TCP probe in bytes, with its options.
pub const TCP_HEADER: usize = 28;
/// Size of the header of a probe along a connection, which has no options.
pub const LIVING_HEADER: usize = 20;
/// Added to a checksum to make it wrong: it changes neither form of zero into the other.
const WRONG: u16 = 0x5a5a;

/// Returns the sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
pub(super) fn pseudo_sum(protocol: u8, length: usize, from: IpAddr, to: IpAddr) -> u32 {
    let start = length as u32 + u32::from(protocol);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&to.octets(), sum(&from.octets(), start)),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&to.octets(), sum(&from.octets(), start)),
        // No packet has a mixture.
        _ => 0,
    }
}

/// Addresses and ports of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub target: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub port: u16,
}

impl Endpoints {
    fn pseudo_sum(&self, protocol: u8, length: usize) -> u32 {
        pseudo_sum(protocol, length, self.source, self.target)
    }

    /// Writes a TCP segment: a SYN with fixed options, or, for probes along a connection that lives, an empty
    /// segment without options that acknowledges nothing and has a wrong checksum, which no end point takes.
    pub fn write_tcp(&self, packet: &mut Vec<u8>, token: &[u8; TOKEN], lives: bool) {
        let segment_size: u16 = if self.target.is_ipv4() { 1460 } else { 1440 };
        let (flags, header) = match lives {
            true => (tcp_flag::ACK, LIVING_HEADER),
            false => (tcp_flag::SYN, TCP_HEADER),
        };
        packet.clear();
        packet.extend_from_slice(&self.source_port.to_be_bytes());
        packet.extend_from_slice(&self.port.to_be_bytes());
        packet.extend_from_slice(&sequence_of(token).to_be_bytes());
        // Acknowledgment number, header length in words, flags, window, checksum, urgent pointer.
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&[(header as u8 / 4) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        if !lives {
            // Maximum segment size, and selective acknowledgments permitted (RFC 9293, RFC 2018).
            let [high, low] = segment_size.to_be_bytes();
            packet.extend_from_slice(&[2, 4, high, low, 1, 1, 4, 2]);
        }
        let all = sum(packet, self.pseudo_sum(ip_protocol::TCP, packet.len()));
        let wrong = if lives { WRONG } else { 0 };
        packet[16..18].copy_from_slice(&(!(all as u16) ^ wrong).to_be_bytes());
    }

    /// Writes a UDP datagram of `size` bytes of payload, at least [`LEAST_PAYLOAD`]: the token, and a filler.
    pub fn write_udp(&self, packet: &mut Vec<u8>, token: &[u8; TOKEN], size: usize) {
        let length = UDP_HEADER + size.max(LEAST_PAYLOAD);
        packet.clear();
        packet.extend_from_slice(&self.source_port.to_be_bytes());
        packet.extend_from_slice(&self.port.to_be_bytes());
        packet.extend_from_slice(&(length as u16).to_be_bytes());
        packet.extend_from_slice(&checksum_of(token).to_be_bytes());
        packet.extend_from_slice(token);
        packet.extend_from_slice(&[0; 2]);
        packet.extend((packet.len()..length).map(|at| (at - UDP_HEADER) as u8));
        let all = sum(packet, self.pseudo_sum(ip_protocol::UDP, length));
        let at = UDP_HEADER + TOKEN;
        packet[at..at + 2].copy_from_slice(&(!(all as u16)).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_written_as_they_are_read() {
        for (transport, address, expected) in [
            (Transport::Echo, "192.0.2.1", "192.0.2.1"),
            (Transport::Tcp { port: 443 }, "192.0.2.1", "192.0.2.1:443"),
            (
                Transport::Udp { port: 53 },
                "fe80::1%e0",
                "[fe80::1%e0]:53/udp",
            ),
        ] {
            assert_eq!(transport.endpoint(address), expected);
            let (tcp, udp) = transport.ports();
            assert_eq!(Transport::of_ports(tcp, udp), transport);
        }
    }
    use crate::probe::Identity;

    fn endpoints(is_ipv4: bool) -> Endpoints {
        let (source, target) = match is_ipv4 {
            true => ("10.0.0.1", "10.0.0.2"),
            false => ("2001:db8::1", "2001:db8::2"),
        };
        Endpoints {
            source: source.parse().unwrap(),
            target: target.parse().unwrap(),
            source_port: 40_000,
            port: 443,
        }
    }

    #[test]
    fn checksums_are_right_or_surely_wrong() {
        let identity = Identity::new(1);
        let mut packet = Vec::new();
        for is_ipv4 in [true, false] {
            let ends = endpoints(is_ipv4);
            for number in 0..2_000 {
                let token = identity.token(1, ends.target, number);
                for (lives, header) in [(false, TCP_HEADER), (true, LIVING_HEADER)] {
                    ends.write_tcp(&mut packet, &token, lives);
                    let all = sum(&packet, ends.pseudo_sum(ip_protocol::TCP, packet.len()));
                    assert_eq!(all == 0xffff, !lives, "TCP {number}");
                    assert_eq!((packet.len(), is_along(&packet)), (header, lives));
                }
                let size = LEAST_PAYLOAD + number as usize % 100;
                ends.write_udp(&mut packet, &token, size);
                let all = sum(&packet, ends.pseudo_sum(ip_protocol::UDP, packet.len()));
                assert_eq!(all, 0xffff, "UDP {number}");
                assert_eq!(packet.len(), UDP_HEADER + size);
                assert_ne!(&packet[6..8], [0, 0]);
            }
        }
    }

    #[test]
    fn probes_along_a_connection_are_far_from_its_numbers() {
        let identity = Identity::new(1);
        let target = endpoints(true).target;
        for sequence in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let living = Living {
                source: endpoints(true).source,
                source_port: 40_000,
                flow_label: 0,
                sequence: Some(sequence),
            };
            let mut all = std::collections::HashSet::new();
            for number in 0..2_000 {
                let token = living.token(identity.token(1, target, number));
                // The largest window there is has 30 bits (RFC 7323, section 2.3).
                let away = sequence_of(&token).wrapping_sub(sequence);
                assert!((3 << 29..5 << 29).contains(&u64::from(away)), "{away:#x}");
                all.insert(token);
            }
            assert_eq!(all.len(), 2_000);
        }
    }

    #[test]
    fn eight_quoted_bytes_identify_a_probe() {
        let identity = Identity::new(1);
        let ends = endpoints(true);
        let tokens: Vec<_> = (0..64)
            .map(|number| identity.token(1, ends.target, number))
            .collect();
        let mut packet = Vec::new();
        let own_id = Some(77);
        for (at, token) in tokens.iter().enumerate() {
            ends.write_tcp(&mut packet, token, false);
            let quote = Segment::read(ip_protocol::TCP, &packet[..8], own_id).unwrap();
            for (other, expected) in tokens.iter().enumerate() {
                assert_eq!(is_quote_of(&quote, expected, 0, None), at == other);
            }
            ends.write_udp(&mut packet, token, 56);
            let short = Segment::read(ip_protocol::UDP, &packet[..8], own_id).unwrap();
            assert!(is_quote_of(&short, token, 56, own_id));
            // Without the identification 16 bits are not enough; with the token they are.
            assert!(!is_quote_of(&short, token, 56, None));
            assert!(!is_quote_of(&short, token, 56, Some(78)));
            assert!(!is_quote_of(&short, token, 57, own_id));
            let whole = Segment::read(ip_protocol::UDP, &packet, own_id).unwrap();
            assert!(is_quote_of(&whole, token, 56, None));
            // Address translation changes the checksum.
            let mut other = packet.clone();
            other[7] ^= 1;
            let whole = Segment::read(ip_protocol::UDP, &other, own_id).unwrap();
            assert!(is_quote_of(&whole, token, 56, None));
            let short = Segment::read(ip_protocol::UDP, &other[..8], own_id).unwrap();
            assert!(!is_quote_of(&short, token, 56, own_id));
            let (mut forged, at) = (packet.clone(), UDP_HEADER + at % TOKEN);
            forged[at] ^= 1;
            let forged = Segment::read(ip_protocol::UDP, &forged, own_id).unwrap();
            assert!(!is_quote_of(&forged, token, 56, own_id));
        }
    }

    #[test]
    fn probes_of_a_flow_differ_in_nothing_that_is_hashed() {
        let identity = Identity::new(1);
        let ends = endpoints(true);
        let mut packet = Vec::new();
        for number in 0..64 {
            let token = identity.token(1, ends.target, number);
            ends.write_tcp(&mut packet, &token, false);
            assert_eq!(packet[..4], [0x9c, 0x40, 1, 0xbb]);
            ends.write_udp(&mut packet, &token, 56);
            assert_eq!(packet[..4], [0x9c, 0x40, 1, 0xbb]);
        }
    }

    #[test]
    fn answers_name_the_probe_that_they_acknowledge() {
        let answer = |flags: u8| {
            let mut bytes = [0u8; 20];
            bytes[8..12].copy_from_slice(&8u32.to_be_bytes());
            bytes[13] = flags;
            tcp_answer(&Segment::read(ip_protocol::TCP, &bytes, None).unwrap())
        };
        use tcp_flag::{ACK, FIN, RST, SYN};
        assert_eq!(answer(SYN | ACK), Some((Answer::Open, 7)));
        assert_eq!(answer(RST | ACK), Some((Answer::Reset, 7)));
        for other in [SYN, RST, ACK, FIN | ACK, 0] {
            assert_eq!(answer(other), None);
        }
    }
}
