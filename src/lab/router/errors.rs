//! PURE. ICMP and ICMPv6 errors of routers: type and code, the quoted packet, and extensions (RFC 4884).

use std::net::IpAddr;

use netsonde_core::wire::cursor::sum;

use super::packet::{ICMP, ICMPV6, Packet, finish_message, octets};

/// Why a router sends an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The TTL ended there.
    Expired,
    /// The packet is longer than this MTU.
    TooBig(u32),
    /// It is prohibited.
    Prohibited,
    /// It was for the router itself, which has no program on that port.
    PortUnreachable,
}

impl Reason {
    /// Type, code, and the last four bytes of the ICMP header.
    fn head(self, is_ipv4: bool) -> (u8, u8, u32) {
        match (self, is_ipv4) {
            (Reason::Expired, true) => (11, 0, 0),
            (Reason::Expired, false) => (3, 0, 0),
            (Reason::TooBig(mtu), true) => (3, 4, mtu & 0xffff),
            (Reason::TooBig(mtu), false) => (2, 0, mtu),
            (Reason::Prohibited, true) => (3, 13, 0),
            (Reason::Prohibited, false) => (1, 1, 0),
            (Reason::PortUnreachable, true) => (3, 3, 0),
            (Reason::PortUnreachable, false) => (1, 4, 0),
        }
    }
}

/// An interface as RFC 5837 names it: the one on which the packet came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
}

/// What a router adds to its errors, and how much of the packet it quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// MPLS labels, outermost first: label, class, TTL.
    pub labels: Vec<(u32, u8, u8)>,
    /// The interface.
    pub interface: Option<Interface>,
    /// Bytes behind the IP header that are quoted; `None` for as many as fit.
    pub quoted_bytes: Option<usize>,
}

/// Bytes of a quote before extensions (RFC 4884, section 5.3).
const PADDED: usize = 128;

/// Makes the error about a packet.
pub fn error(about: &Packet, reason: Reason, (from, ttl): (IpAddr, u8), extras: &Extras) -> Packet {
    let is_ipv4 = about.is_ipv4();
    let (kind, code, rest) = reason.head(is_ipv4);
    let header = about.bytes().len() - about.payload().len();
    // The longest error that every link carries: 576 bytes (RFC 1812, section 4.3.2.3), 1280 (RFC 4443, section 2.4).
    let most = if is_ipv4 { 576 - 28 } else { 1280 - 48 };
    let quoted = extras.quoted_bytes.map_or(most, |bytes| header + bytes);
    let mut quote = about.bytes()[..about.bytes().len().min(quoted).min(most)].to_vec();
    let extension = extension(extras);
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    let may_extend = !matches!(reason, Reason::TooBig(_)) || is_ipv4;
    if may_extend && !extension.is_empty() {
        quote.resize(PADDED, 0);
        match is_ipv4 {
            true => message[5] = (PADDED / 4) as u8,
            false => message[4] = (PADDED / 8) as u8,
        }
        quote.extend(extension);
    }
    message.extend(quote);
    if is_ipv4 {
        finish_message(&mut message);
    }
    let protocol = if is_ipv4 { ICMP } else { ICMPV6 };
    Packet::new(from, about.source(), ttl, protocol, &message)
}

/// Makes the extension structure; empty if there is nothing to say.
fn extension(extras: &Extras) -> Vec<u8> {
    let mut objects = Vec::new();
    if !extras.labels.is_empty() {
        object(&mut objects, (1, 1), &labels(&extras.labels));
    }
    if let Some(interface) = &extras.interface {
        // Of an incoming interface, with index, name and MTU (RFC 5837, section 4.1).
        object(&mut objects, (2, 8 | 2 | 1), &named(interface));
    }
    if objects.is_empty() {
        return objects;
    }
    let mut all = vec![0x20, 0, 0, 0];
    all.extend(objects);
    let check = !(sum(&all, 0) as u16);
    all[2..4].copy_from_slice(&check.to_be_bytes());
    all
}

fn object(all: &mut Vec<u8>, (class, kind): (u8, u8), body: &[u8]) {
    all.extend((4 + body.len() as u16).to_be_bytes());
    all.extend([class, kind]);
    all.extend(body);
}

fn labels(stack: &[(u32, u8, u8)]) -> Vec<u8> {
    let word = |(at, (label, class, ttl)): (usize, &(u32, u8, u8))| {
        let bottom = u32::from(at + 1 == stack.len());
        label << 12 | u32::from(*class) << 9 | bottom << 8 | u32::from(*ttl)
    };
    let words = stack.iter().enumerate().map(word);
    words.flat_map(u32::to_be_bytes).collect()
}

fn named(interface: &Interface) -> Vec<u8> {
    let mut body = interface.index.to_be_bytes().to_vec();
    // With its length, padded to whole words.
    let length = (1 + interface.name.len()).next_multiple_of(4);
    body.push(length as u8);
    body.extend(interface.name.bytes());
    body.resize(4 + length, 0);
    body.extend(interface.mtu.to_be_bytes());
    body
}

/// Makes the reply to an echo request.
pub fn echo_reply(request: &Packet, from: IpAddr, ttl: u8) -> Packet {
    let is_ipv4 = request.is_ipv4();
    let mut message = request.payload().to_vec();
    message[0] = if is_ipv4 { 0 } else { 129 };
    message[2..4].fill(0);
    if is_ipv4 {
        finish_message(&mut message);
    }
    let protocol = if is_ipv4 { ICMP } else { ICMPV6 };
    let mut reply = Packet::new(from, request.source(), ttl, protocol, &message);
    reply.set_tos(request.tos());
    reply
}

/// Makes the reset that refuses a TCP segment with the flag SYN.
pub fn reset(syn: &Packet, from: IpAddr, ttl: u8) -> Option<Packet> {
    let segment = syn.payload().first_chunk::<20>()?;
    let [a, b, c, d, s0, s1, s2, s3, ..] = *segment;
    let next = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(1);
    let mut message = vec![c, d, a, b, 0, 0, 0, 0];
    message.extend(next.to_be_bytes());
    message.extend([0x50, 0x14, 0, 0, 0, 0, 0, 0]);
    let (own, to) = (octets(from), octets(syn.source()));
    let pseudo = sum(&to, sum(&own, 6 + message.len() as u32));
    let check = !(sum(&message, pseudo) as u16);
    message[16..18].copy_from_slice(&check.to_be_bytes());
    Some(Packet::new(
        from,
        syn.source(),
        ttl,
        super::packet::TCP,
        &message,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use netsonde_core::wire::extensions::of_error;

    #[test]
    fn extensions_are_read_as_they_were_meant() {
        for (from, to, router) in [
            ("10.1.0.2", "10.255.0.2", "10.2.0.1"),
            ("fd00:1::2", "fd00:255::2", "fd00:2::1"),
        ] {
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            let about = Packet::new(ip(from), ip(to), 1, super::super::packet::UDP, &[7; 40]);
            let extras = Extras {
                labels: vec![(16_000, 0, 1), (17, 5, 254)],
                interface: Some(Interface {
                    index: 7,
                    name: "xe-0/0/1".into(),
                    mtu: 9000,
                }),
                quoted_bytes: Some(8),
            };
            let error = error(&about, Reason::Expired, (ip(router), 64), &extras);
            assert!(error.is_error());
            assert_eq!(error.destination(), ip(from));
            let read = of_error(error.payload(), !about.is_ipv4());
            assert_eq!(read.labels.len(), 2);
            assert_eq!((read.labels[1].label, read.labels[1].class), (17, 5));
            assert!(read.labels[1].is_bottom && !read.labels[0].is_bottom);
            assert_eq!(read.interfaces[0].name.as_deref(), Some("xe-0/0/1"));
            assert_eq!(read.interfaces[0].index, Some(7));
            assert_eq!(read.interfaces[0].mtu, Some(9000));
        }
    }
}
