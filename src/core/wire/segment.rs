//! PURE. Packets of TCP and UDP by their fields, whole or quoted by an ICMP error, and such errors.

use std::net::IpAddr;

use super::icmp::{meaning_v4, meaning_v6};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bits of the flags of a TCP header (RFC 9293, section 3.1).
pub mod tcp_flag {
    #![allow(missing_docs)]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// Returns whether a TCP header is that of a probe along a connection (`trace --like`): an acknowledgment of nothing, which
/// the connection itself sends once in 2^32 times.
pub fn is_along(header: &[u8]) -> bool {
    header.get(13) == Some(&tcp_flag::ACK) && header.get(8..12) == Some(&[0; 4])
}

/// A packet of TCP or UDP, possibly quoted and cut behind its ports.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port.
    pub destination: (IpAddr, u16),
    /// Whether it is TCP; else it is UDP.
    pub is_tcp: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP or UDP header and what follows.
    bytes: &'a [u8],
    /// Length of what follows the header, by the lengths in the headers.
    payload_length: usize,
}

impl<'a> Segment<'a> {
    /// Reads a packet from its IP header on; `None` for other protocols and later fragments.
    pub fn read(packet: &'a [u8]) -> Option<Segment<'a>> {
        let word = |at: usize| {
            let bytes = packet.get(at..at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        let byte = |at: usize| packet.get(at).copied();
        let (source, destination, ttl, mut protocol, mut at, end): (IpAddr, IpAddr, _, _, _, _) =
            match byte(0)? >> 4 {
                4 => {
                    if word(6)? & 0x1fff != 0 {
                        return None;
                    }
                    let address =
                        |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
                    let header = usize::from(byte(0)? & 0x0f) * 4;
                    let end = usize::from(word(2)?);
                    let ends = (address(12)?.into(), address(16)?.into());
                    (ends.0, ends.1, byte(8)?, byte(9)?, header, end)
                }
                6 => {
                    let address = |at: usize| -> Option<[u8; 16]> {
                        packet.get(at..at + 16)?.try_into().ok()
                    };
                    let end = usize::from(word(4)?) + 40;
                    let ends = (address(8)?.into(), address(24)?.into());
                    (ends.0, ends.1, byte(7)?, byte(6)?, 40, end)
                }
                _ => return None,
            };
        // Hop-by-hop options, routing and destination options (RFC 8200, section 4.1).
        while matches!(protocol, 0 | 43 | 60) {
            (protocol, at) = (byte(at)?, at + 8 + 8 * usize::from(byte(at + 1)?));
        }
        if !matches!(protocol, TCP | UDP) {
            return None;
        }
        let bytes = packet.get(at..)?;
        let header = match protocol {
            TCP => bytes
                .get(12)
                .map_or(20, |offset| usize::from(offset >> 4) * 4),
            _ => 8,
        };
        Some(Segment {
            source: (source, word(at)?),
            destination: (destination, word(at + 2)?),
            is_tcp: protocol == TCP,
            ttl,
            bytes,
            payload_length: end.saturating_sub(at + header),
        })
    }

    /// Returns the flags of a TCP header; 0 for UDP, and if they were cut off.
    pub fn flags(&self) -> u8 {
        match self.is_tcp {
            true => self.bytes.get(13).copied().unwrap_or(0),
            false => 0,
        }
    }

    /// Returns whether it is a probe of a trace along a connection, and nothing of the connection itself.
    pub fn is_probe_along(&self) -> bool {
        self.is_tcp && self.payload_length == 0 && is_along(self.bytes)
    }

    /// Returns the four bytes at an offset from the header on.
    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// Returns the sequence number of a TCP segment. An ICMP error quotes at least this (RFC 792).
    pub fn sequence(&self) -> Option<u32> {
        self.word(4).filter(|_| self.is_tcp)
    }

    /// Returns the acknowledgment number of a TCP segment, which means something with the flag ACK only.
    pub fn acknowledgment(&self) -> Option<u32> {
        self.word(8).filter(|_| self.is_tcp)
    }

    /// Returns the window of a TCP segment as in its header, that is not scaled.
    pub fn window(&self) -> Option<u16> {
        self.word(12)
            .filter(|_| self.is_tcp)
            .map(|word| word as u16)
    }

    /// Returns the length of what follows the header in bytes, by the lengths in the headers.
    pub fn payload_length(&self) -> usize {
        self.payload_length
    }

    /// Returns what follows the header, as far as it was captured.
    pub fn payload(&self) -> &'a [u8] {
        let header = match self.is_tcp {
            true => usize::from(self.bytes.get(12).copied().unwrap_or(0x50) >> 4) * 4,
            false => 8,
        };
        let whole = self.bytes.get(header..).unwrap_or_default();
        whole.get(..self.payload_length).unwrap_or(whole)
    }

    /// Returns the options of a TCP header, as far as they were captured: kind and value (RFC 9293, section 3.1).
    pub fn options(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let header = usize::from(self.bytes.get(12).copied().unwrap_or(0) >> 4) * 4;
        let end = header.min(self.bytes.len());
        let mut rest = match self.is_tcp {
            true => self.bytes.get(20..end).unwrap_or_default(),
            false => &[],
        };
        std::iter::from_fn(move || {
            while let [1, behind @ ..] = rest {
                rest = behind;
            }
            let [kind, length, ..] = rest else {
                return None;
            };
            let end = usize::from(*length);
            // Kind 0 ends the list.
            let value = rest.get(2..end).filter(|_| *kind != 0)?;
            rest = rest.get(end..).unwrap_or_default();
            Some((*kind, value))
        })
    }

    /// Returns the payload of a UDP datagram, as far as it was captured.
    pub fn datagram(&self) -> Option<&'a [u8]> {
        (!self.is_tcp).then(|| self.bytes.get(8..))?
    }
}

/// An ICMP error about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError {
    /// Its sender.
    pub from: IpAddr,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Type and code in words.
    pub meaning: String,
}

impl WireError {
    /// Creates one from type and code.
    pub fn new(from: IpAddr, kind: u8, code: u8) -> WireError {
        let known = match from.is_ipv4() {
            true => meaning_v4(kind, code),
            false => meaning_v6(kind, code),
        };
        let meaning = known.map_or_else(|| format!("ICMP type {kind} code {code}"), str::to_owned);
        WireError {
            from,
            kind,
            code,
            meaning,
        }
    }

    /// Returns whether it says that there is no such port (RFC 792, RFC 4443, section 3.1).
    pub fn is_port(&self) -> bool {
        let expected = if self.from.is_ipv4() { (3, 3) } else { (1, 4) };
        (self.kind, self.code) == expected
    }

    /// Returns whether it says that somebody forbids the packet (RFC 1812, section 5.2.7.1; RFC 4443, section 3.1).
    pub fn is_prohibited(&self) -> bool {
        match self.from.is_ipv4() {
            true => self.kind == 3 && matches!(self.code, 9 | 10 | 13),
            false => self.kind == 1 && matches!(self.code, 1 | 5 | 6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_packets_are_none() {
        let mut packet = vec![0x45, 0, 0, 43, 0, 0, 0x40, 0, 61, TCP, 0, 0];
        packet.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0x0f, 0xa0, 0x01, 0xbb]);
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&[0x50, tcp_flag::SYN, 0, 0, 0, 0, 0, 0, 7, 7, 7]);
        for end in 0..packet.len() {
            let _ = Segment::read(&packet[..end]);
        }
        assert!(Segment::read(&packet[..23]).is_none());
        let quoted = Segment::read(&packet[..28]).unwrap();
        assert_eq!((quoted.destination.1, quoted.payload_length()), (443, 3));
        assert_eq!(Segment::read(&packet).unwrap().payload(), [7, 7, 7]);
    }
}
