//! PURE. IP packets as routers read and change them. Checksums stay right: each change is made in them, too (RFC 1624).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netsonde_core::wire::cursor::sum;

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMPv6.
pub const ICMPV6: u8 = 58;

/// Bytes of an IPv6 header.
const V6_HEADER: usize = 40;

/// An IPv4 or IPv6 packet, or the part of one that an error quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    /// Reads the packet of a frame's payload; what follows it is padding. `None` if it is incomplete.
    pub fn read(bytes: &[u8]) -> Option<Packet> {
        let length = match *bytes.first()? >> 4 {
            4 => usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
            6 => V6_HEADER + usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?])),
            _ => return None,
        };
        let packet = Packet {
            bytes: bytes.get(..length)?.to_vec(),
        };
        let header = packet.header();
        (header >= 20 && length > header).then_some(packet)
    }

    /// Takes bytes that begin with an IP header, of whatever length they are.
    pub fn quoted(bytes: &[u8]) -> Option<Packet> {
        let packet = Packet {
            bytes: bytes.to_vec(),
        };
        let header = packet.header();
        (header >= 20 && bytes.len() >= header).then_some(packet)
    }

    /// Makes a packet of an upper-layer message, whose ICMPv6 checksum is filled in.
    pub fn new(from: IpAddr, to: IpAddr, ttl: u8, protocol: u8, message: &[u8]) -> Packet {
        let mut bytes;
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = 20 + message.len() as u16;
                bytes = vec![0x45, 0xc0];
                bytes.extend(length.to_be_bytes());
                bytes.extend([0, 0, 0, 0, ttl, protocol, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            (from, to) => {
                bytes = vec![0x60, 0, 0, 0];
                bytes.extend((message.len() as u16).to_be_bytes());
                bytes.extend([protocol, ttl]);
                bytes.extend(octets(from));
                bytes.extend(octets(to));
            }
        }
        bytes.extend(message);
        let mut packet = Packet { bytes };
        packet.finish_header();
        if protocol == ICMPV6 {
            let at = packet.header() + 2;
            let pseudo = sum(&packet.bytes[8..V6_HEADER], u32::from(ICMPV6));
            let check = !(sum(message, pseudo + message.len() as u32) as u16);
            packet.bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
        }
        packet
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.bytes.first().is_some_and(|byte| byte >> 4 == 4)
    }

    /// Length of the IP header in bytes.
    fn header(&self) -> usize {
        match self.is_ipv4() {
            true => usize::from(self.bytes.first().copied().unwrap_or(0) & 15) * 4,
            false => V6_HEADER,
        }
    }

    /// Protocol after the IP header; extension headers are not skipped.
    pub fn protocol(&self) -> u8 {
        self.bytes[if self.is_ipv4() { 9 } else { 6 }]
    }

    /// Bytes after the IP header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header()..]
    }

    /// Whether no router may fragment it.
    pub fn is_whole(&self) -> bool {
        !self.is_ipv4() || self.bytes[6] & 0x40 != 0
    }

    /// TTL or hop limit.
    pub fn ttl(&self) -> u8 {
        self.bytes[if self.is_ipv4() { 8 } else { 7 }]
    }

    /// Sets the TTL or hop limit.
    pub fn set_ttl(&mut self, ttl: u8) {
        let at = if self.is_ipv4() { 8 } else { 7 };
        self.bytes[at] = ttl;
        self.finish_header();
    }

    /// Type of service or traffic class.
    pub fn tos(&self) -> u8 {
        match self.is_ipv4() {
            true => self.bytes[1],
            false => self.bytes[0] << 4 | self.bytes[1] >> 4,
        }
    }

    /// Sets the type of service or traffic class.
    pub fn set_tos(&mut self, tos: u8) {
        match self.is_ipv4() {
            true => self.bytes[1] = tos,
            false => {
                self.bytes[0] = 0x60 | tos >> 4;
                self.bytes[1] = tos << 4 | self.bytes[1] & 15;
            }
        }
        self.finish_header();
    }

    /// Source address.
    pub fn source(&self) -> IpAddr {
        self.address(if self.is_ipv4() { 12 } else { 8 })
    }

    /// Destination address.
    pub fn destination(&self) -> IpAddr {
        self.address(if self.is_ipv4() { 16 } else { 24 })
    }

    fn address(&self, at: usize) -> IpAddr {
        let four = |at: usize| <[u8; 4]>::try_from(&self.bytes[at..at + 4]).unwrap_or_default();
        let sixteen =
            |at: usize| <[u8; 16]>::try_from(&self.bytes[at..at + 16]).unwrap_or_default();
        match self.is_ipv4() {
            true => Ipv4Addr::from(four(at)).into(),
            false => Ipv6Addr::from(sixteen(at)).into(),
        }
    }

    /// Sets the source address, of the same family. `has_checksum`: whether the checksum behind the header follows.
    pub fn set_source(&mut self, address: IpAddr, has_checksum: bool) {
        self.set_address(if self.is_ipv4() { 12 } else { 8 }, address, has_checksum);
    }

    /// Sets the destination address, likewise.
    pub fn set_destination(&mut self, address: IpAddr, has_checksum: bool) {
        self.set_address(if self.is_ipv4() { 16 } else { 24 }, address, has_checksum);
    }

    fn set_address(&mut self, at: usize, address: IpAddr, has_checksum: bool) {
        let new = octets(address);
        let end = at + new.len();
        let old = self.bytes[at..end].to_vec();
        self.bytes[at..end].copy_from_slice(&new);
        self.finish_header();
        let within = match self.protocol() {
            TCP => 16,
            UDP => 6,
            ICMPV6 => 2,
            _ => return,
        };
        let check = self.header() + within;
        let Some(field) = self
            .bytes
            .get_mut(check..check + 2)
            .filter(|_| has_checksum)
        else {
            return;
        };
        let before = u16::from_be_bytes([field[0], field[1]]);
        // Equation 3 of RFC 1624, for all words at once: the sum of the complements is that of the differences.
        let gone: Vec<u8> = old.iter().map(|byte| !byte).collect();
        let after = !(sum(&new, sum(&gone, u32::from(!before))) as u16);
        field.copy_from_slice(&after.to_be_bytes());
    }

    /// Sets the checksum of an IPv4 header.
    fn finish_header(&mut self) {
        let header = self.header();
        if self.is_ipv4() && self.bytes.len() >= header {
            self.bytes[10..12].fill(0);
            let check = !(sum(&self.bytes[..header], 0) as u16);
            self.bytes[10..12].copy_from_slice(&check.to_be_bytes());
        }
    }

    /// Type of an ICMP or ICMPv6 message.
    pub fn icmp_type(&self) -> Option<u8> {
        match self.protocol() {
            ICMP | ICMPV6 => self.payload().first().copied(),
            _ => None,
        }
    }

    /// Whether it is an ICMP or ICMPv6 error.
    pub fn is_error(&self) -> bool {
        match self.icmp_type() {
            Some(kind) if self.is_ipv4() => matches!(kind, 3 | 4 | 5 | 11 | 12),
            Some(kind) => kind < 128,
            None => false,
        }
    }

    /// Destination port of a TCP segment or UDP datagram.
    pub fn port(&self) -> Option<u16> {
        match (self.protocol(), self.payload()) {
            (TCP | UDP, [_, _, high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// Changes the packet that an error quotes.
    pub fn change_quote(&mut self, change: impl FnOnce(&mut Packet)) {
        let at = self.header() + 8;
        let Some(mut quote) = self.bytes.get(at..).and_then(Packet::quoted) else {
            return;
        };
        change(&mut quote);
        let (from, to) = (self.source(), self.destination());
        let mut message = self.bytes[self.header()..at].to_vec();
        message.extend(quote.bytes);
        message[2..4].fill(0);
        if self.is_ipv4() {
            finish_message(&mut message);
        }
        let tos = self.tos();
        *self = Packet::new(from, to, self.ttl(), self.protocol(), &message);
        self.set_tos(tos);
    }
}

/// Fills in the checksum of an ICMP message, whose field is zero.
pub fn finish_message(message: &mut [u8]) {
    let check = !(sum(message, 0) as u16);
    message[2..4].copy_from_slice(&check.to_be_bytes());
}

/// Bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A UDP datagram with a right checksum.
    fn datagram(from: &str, to: &str) -> Packet {
        let mut udp = vec![0x9c, 0x40, 0x82, 0x9a, 0, 12, 0, 0, 1, 2, 3, 4];
        let (from, to) = (ip(from), ip(to));
        let pseudo = sum(&octets(to), sum(&octets(from), u32::from(UDP) + 12));
        let check = !(sum(&udp, pseudo) as u16);
        udp[6..8].copy_from_slice(&check.to_be_bytes());
        Packet::new(from, to, 9, UDP, &udp)
    }

    /// Whether all checksums of a datagram or ICMPv6 message are right.
    fn is_intact(packet: &Packet) -> bool {
        let message = packet.payload();
        let header = packet.header();
        let start = u32::from(packet.protocol()) + message.len() as u32;
        let addresses = sum(
            &octets(packet.source()),
            sum(&octets(packet.destination()), start),
        );
        let is_header = !packet.is_ipv4() || sum(&packet.bytes[..header], 0) == 0xffff;
        is_header && sum(message, addresses) == 0xffff
    }

    #[test]
    fn changes_keep_checksums_right() {
        for (from, to, other) in [
            ("10.1.0.2", "10.255.0.2", "192.0.2.77"),
            ("fd00:1::2", "fd00:255::2", "2001:db8::ffff:1"),
        ] {
            let mut packet = datagram(from, to);
            assert!(is_intact(&packet));
            packet.set_source(ip(other), true);
            packet.set_destination(ip(other), true);
            packet.set_ttl(3);
            packet.set_tos(0xb9);
            assert!(is_intact(&packet));
            assert_eq!(
                (packet.source(), packet.destination()),
                (ip(other), ip(other))
            );
            assert_eq!(
                (packet.ttl(), packet.tos(), packet.port()),
                (3, 0xb9, Some(33_434))
            );
            packet.set_source(ip(from), false);
            assert!(!is_intact(&packet));
        }
    }

    #[test]
    fn what_is_cut_is_refused() {
        let whole = datagram("10.1.0.2", "10.255.0.2");
        for length in 0..whole.bytes.len() {
            assert_eq!(Packet::read(&whole.bytes[..length]), None, "{length}");
        }
        let mut padded = whole.bytes.clone();
        padded.extend([0; 20]);
        assert_eq!(Packet::read(&padded), Some(whole));
    }
}
