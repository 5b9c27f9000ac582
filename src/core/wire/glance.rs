//! PURE. Quick header scan for every recorded packet: protocol, ports, and the offsets of the headers.
//! It allocates nothing, judges nothing ([`super::decode`] does), and never reads past the captured
//! bytes: fields that were not captured stay zero.

use std::net::IpAddr;

use super::LinkType;

/// Maximum number of VLAN tags skipped (IEEE 802.1ad uses two; more are a test or an attack).
const MAX_TAGS: usize = 8;
/// Maximum number of IPv6 extension headers skipped (RFC 8200 defines six, each once).
const MAX_EXTENSION_HEADERS: usize = 8;

/// IP protocol numbers (IANA) that the recorder distinguishes.
pub mod ip_protocol {
    #![allow(missing_docs)]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const EIGRP: u8 = 88;
    pub const OSPF: u8 = 89;
    pub const PIM: u8 = 103;
    pub const VRRP: u8 = 112;
    pub const SCTP: u8 = 132;
    /// Reserved by IANA; used here for frames without a complete IP header.
    pub const NONE: u8 = 255;
}

/// EtherTypes that the recorder distinguishes.
pub mod ethertype {
    #![allow(missing_docs)]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const SLOW_PROTOCOLS: u16 = 0x8809;
    pub const MPLS: u16 = 0x8847;
    pub const MPLS_UPSTREAM: u16 = 0x8848;
    pub const PPPOE_DISCOVERY: u16 = 0x8863;
    pub const PPPOE_SESSION: u16 = 0x8864;
    pub const EAPOL: u16 = 0x888e;
    pub const QINQ: u16 = 0x88a8;
    pub const LLDP: u16 = 0x88cc;
    pub const CFM: u16 = 0x8902;
    pub const LOOPBACK_TEST: u16 = 0x9000;
    /// Smallest EtherType; below it the field is an IEEE 802.3 length.
    pub const FIRST: u16 = 0x0600;
}

/// Header fields of a frame. Offsets are in bytes from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// EtherType after all VLAN tags; below 0x0600 an 802.3 length; 0 if not captured.
    pub ethertype: u16,
    /// Outermost VLAN ID (0 to 4095), if tagged.
    pub vlan: Option<u16>,
    /// Offset of the network header.
    pub network: usize,
    /// Upper-layer protocol, after IPv6 extension headers, or [`ip_protocol::NONE`].
    pub ip_protocol: u8,
    /// Offset of the transport header; 0 if there is none (not IP, or a later fragment).
    pub transport: usize,
    /// TCP, UDP or SCTP source port; 0 if there is none.
    pub source_port: u16,
    /// TCP, UDP or SCTP destination port; 0 if there is none.
    pub destination_port: u16,
    /// TCP flags (RFC 9293, section 3.1), 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP, ICMPv6 or IGMP type; valid only for these protocols, and if `transport` is not 0.
    pub icmp_type: u8,
}

impl Glance {
    /// The result for a frame without known headers.
    const NOTHING: Glance = Glance {
        ethertype: 0,
        vlan: None,
        network: 0,
        ip_protocol: ip_protocol::NONE,
        transport: 0,
        source_port: 0,
        destination_port: 0,
        tcp_flags: 0,
        icmp_type: 0,
    };

    /// Returns the bytes of source and destination address (4 or 16 each) of IP or ARP, if captured.
    pub fn addresses<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let header = bytes.get(self.network..)?;
        match self.ethertype {
            ethertype::IPV4 => Some((header.get(12..16)?, header.get(16..20)?)),
            ethertype::IPV6 => Some((header.get(8..24)?, header.get(24..40)?)),
            ethertype::ARP => Some((header.get(14..18)?, header.get(24..28)?)),
            _ => None,
        }
    }

    /// Returns source and destination address of an IP packet, if captured.
    pub fn ip_addresses(&self, bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
        if self.ethertype == ethertype::ARP {
            return None;
        }
        let address = |bytes: &[u8]| match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        };
        let (source, destination) = self.addresses(bytes)?;
        Some((address(source)?, address(destination)?))
    }
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..) {
        Some([high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

#[inline]
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Scans the headers of a frame.
#[inline]
pub fn glance(link: LinkType, bytes: &[u8]) -> Glance {
    let mut fields = Glance::NOTHING;
    match link {
        LinkType::Ethernet => {
            let mut at = 12;
            let mut kind = be16(bytes, at);
            let mut tags = 0;
            while (kind == ethertype::VLAN || kind == ethertype::QINQ) && tags < MAX_TAGS {
                if tags == 0 {
                    fields.vlan = Some(be16(bytes, at + 2) & 0x0fff);
                }
                at += 4;
                tags += 1;
                kind = be16(bytes, at);
            }
            fields.ethertype = kind;
            fields.network = at + 2;
        }
        LinkType::RawIp => fields.ethertype = by_version(bytes, 0),
        LinkType::LinuxCooked => {
            fields.ethertype = be16(bytes, 14);
            fields.network = 16;
        }
        LinkType::LinuxCooked2 => {
            fields.ethertype = be16(bytes, 0);
            fields.network = 20;
        }
        LinkType::Null | LinkType::Loop => {
            fields.network = 4;
            fields.ethertype = by_version(bytes, 4);
        }
        LinkType::Other | LinkType::Netlink => return fields,
        // Interfaces have none of these; files do.
        _ => of_file(link, bytes, &mut fields),
    }
    network(bytes, &mut fields);
    fields
}

/// Scans the headers from the network header on, which begins at `at`, as [`Packet::network_headers`] found it.
///
/// [`Packet::network_headers`]: super::Packet::network_headers
pub fn glance_at(ethertype: u16, at: usize, bytes: &[u8]) -> Glance {
    let mut fields = Glance {
        ethertype,
        network: at,
        ..Glance::NOTHING
    };
    network(bytes, &mut fields);
    fields
}

#[inline]
fn network(bytes: &[u8], fields: &mut Glance) {
    match fields.ethertype {
        ethertype::IPV4 => ipv4(bytes, fields),
        ethertype::IPV6 => ipv6(bytes, fields),
        _ => {}
    }
}

/// Finds the network header behind the link types that only files have; those whose header has no fixed form are
/// left to [`super::decode`].
#[cold]
fn of_file(link: LinkType, bytes: &[u8], fields: &mut Glance) {
    let ppp = |at: usize| match be16(bytes, at) {
        0x0021 => (ethertype::IPV4, at + 2),
        0x0057 => (ethertype::IPV6, at + 2),
        _ => (0, at),
    };
    (fields.ethertype, fields.network) = match link {
        LinkType::Ppp if be16(bytes, 0) == 0xff03 => ppp(2),
        LinkType::Ppp => ppp(0),
        LinkType::PppEther => ppp(6),
        LinkType::CiscoHdlc => (be16(bytes, 2), 4),
        _ => (0, 0),
    };
}

fn by_version(bytes: &[u8], at: usize) -> u16 {
    match byte(bytes, at) >> 4 {
        4 => ethertype::IPV4,
        6 => ethertype::IPV6,
        _ => 0,
    }
}

#[inline]
fn ipv4(bytes: &[u8], fields: &mut Glance) {
    let Some(header) = bytes.get(fields.network..fields.network + 20) else {
        return;
    };
    fields.ip_protocol = header[9];
    // A later fragment (RFC 791, section 3.1: offset not 0) has no transport header.
    if be16(header, 6) & 0x1fff == 0 {
        fields.transport = fields.network + usize::from(header[0] & 0x0f).max(5) * 4;
        transport(bytes, fields);
    }
}

#[inline]
fn ipv6(bytes: &[u8], fields: &mut Glance) {
    let Some(header) = bytes.get(fields.network..fields.network + 40) else {
        return;
    };
    let mut next = header[6];
    let mut at = fields.network + 40;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let length = match next {
            ip_protocol::HOP_BY_HOP | ip_protocol::ROUTING | ip_protocol::DESTINATION_OPTIONS => {
                (usize::from(byte(bytes, at + 1)) + 1) * 8
            }
            ip_protocol::AH => (usize::from(byte(bytes, at + 1)) + 2) * 4,
            ip_protocol::FRAGMENT => {
                if be16(bytes, at + 2) & 0xfff8 != 0 {
                    fields.ip_protocol = byte(bytes, at);
                    return;
                }
                8
            }
            _ => break,
        };
        if at >= bytes.len() {
            return;
        }
        next = byte(bytes, at);
        at += length;
    }
    fields.ip_protocol = next;
    fields.transport = at;
    transport(bytes, fields);
}

#[inline]
fn ports(header: &[u8]) -> (u16, u16) {
    match *header {
        [a, b, c, d, ..] => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        _ => (be16(header, 0), 0),
    }
}

#[inline]
fn transport(bytes: &[u8], fields: &mut Glance) {
    let header = bytes.get(fields.transport..).unwrap_or(&[]);
    match fields.ip_protocol {
        ip_protocol::TCP => {
            (fields.source_port, fields.destination_port) = ports(header);
            fields.tcp_flags = byte(header, 13);
        }
        ip_protocol::UDP | ip_protocol::SCTP => {
            (fields.source_port, fields.destination_port) = ports(header);
        }
        ip_protocol::ICMP | ip_protocol::ICMPV6 | ip_protocol::IGMP => {
            fields.icmp_type = byte(header, 0);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0u8; 12];
        frame.extend_from_slice(&kind.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn udp4(source: u16, destination: u16) -> Vec<u8> {
        let mut packet = vec![
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        packet.extend_from_slice(&source.to_be_bytes());
        packet.extend_from_slice(&destination.to_be_bytes());
        packet.extend_from_slice(&[0, 8, 0, 0]);
        packet
    }

    #[test]
    fn ports_behind_two_tags() {
        let mut tagged = vec![0x00, 0x64, 0x81, 0x00, 0x00, 0x07, 0x08, 0x00];
        tagged.extend_from_slice(&udp4(7, 5000));
        let frame = ethernet(ethertype::QINQ, &tagged);
        let fields = glance(LinkType::Ethernet, &frame);
        assert_eq!(fields.vlan, Some(0x64));
        assert_eq!((fields.source_port, fields.destination_port), (7, 5000));
        assert_eq!(
            fields.addresses(&frame),
            Some((&[10, 0, 0, 1][..], &[10, 0, 0, 2][..]))
        );
    }

    #[test]
    fn mld_behind_hop_by_hop() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 0, 1];
        packet.extend_from_slice(&[0; 32]);
        packet.extend_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
        packet.extend_from_slice(&[143, 0, 0, 0, 0, 0, 0, 0]);
        let fields = glance(LinkType::Ethernet, &ethernet(ethertype::IPV6, &packet));
        assert_eq!((fields.ip_protocol, fields.icmp_type), (58, 143));
    }

    #[test]
    fn later_fragments_have_no_ports() {
        let mut packet = udp4(7, 5000);
        packet[7] = 1;
        let fields = glance(LinkType::RawIp, &packet);
        assert_eq!(
            (
                fields.ip_protocol,
                fields.transport,
                fields.destination_port
            ),
            (17, 0, 0)
        );
    }

    #[test]
    fn no_prefix_panics() {
        let frame = ethernet(ethertype::IPV4, &udp4(7, 5000));
        for link in 0..8 {
            for end in 0..frame.len() {
                glance(LinkType::from_u8(link), &frame[..end]);
            }
        }
    }
}
