//! PURE. Key of a flow.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};

use bytemuck::{Pod, Zeroable, bytes_of, cast};

use crate::wire::glance::{Glance, ethertype};

/// One direction of a conversation on an interface. All packets of an EtherType other than IP and ARP are one flow.
/// Stored in words of eight bytes, so that two flows are compared in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Flow {
    /// IPv6 address in network order; IPv4 is mapped (RFC 4291, section 2.5.5.2).
    source: [u64; 2],
    destination: [u64; 2],
    /// Interface index.
    pub ifindex: u32,
    /// Source port, or 0.
    pub source_port: u16,
    /// Destination port, or 0.
    pub destination_port: u16,
    /// EtherType after VLAN tags.
    pub ethertype: u16,
    /// IP protocol; 255 without IP.
    pub protocol: u8,
    /// 1 if this host sent it, else 0.
    outbound: u8,
    reserved: u32,
}

impl Hash for Flow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(bytes_of(self));
    }
}

/// IPv4-mapped IPv6 address.
#[inline]
fn mapped([a, b, c, d]: [u8; 4]) -> [u64; 2] {
    [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])]
}

impl Flow {
    /// The flow of no packet.
    pub const NONE: Flow = Flow {
        source: [0; 2],
        destination: [0; 2],
        ifindex: 0,
        source_port: 0,
        destination_port: 0,
        ethertype: 0,
        protocol: 0,
        outbound: 0,
        reserved: 0,
    };

    /// Returns the flow of a packet.
    #[inline]
    pub fn from_packet(seen: &Glance, bytes: &[u8], ifindex: u32, outbound: bool) -> Flow {
        let header = bytes.get(seen.network..).unwrap_or(&[]);
        let [source, destination] = match seen.ethertype {
            ethertype::IPV4 => match header.get(12..20) {
                Some(&[a, b, c, d, e, f, g, h]) => [mapped([a, b, c, d]), mapped([e, f, g, h])],
                _ => [[0; 2]; 2],
            },
            ethertype::IPV6 => match header.get(8..40).map(<[u8; 32]>::try_from) {
                Some(Ok(both)) => cast(both),
                _ => [[0; 2]; 2],
            },
            // Sender and target address of ARP for IPv4 on Ethernet (RFC 826).
            ethertype::ARP => match (header.get(14..18), header.get(24..28)) {
                (Some(&[a, b, c, d]), Some(&[e, f, g, h])) if header[2..6] == [8, 0, 6, 4] => {
                    [mapped([a, b, c, d]), mapped([e, f, g, h])]
                }
                _ => [[0; 2]; 2],
            },
            _ => [[0; 2]; 2],
        };
        Flow {
            source,
            destination,
            ifindex,
            source_port: seen.source_port,
            destination_port: seen.destination_port,
            ethertype: seen.ethertype,
            protocol: seen.ip_protocol,
            outbound: outbound.into(),
            reserved: 0,
        }
    }

    /// Returns an address as flows store it.
    pub fn words(address: IpAddr) -> [u64; 2] {
        match address {
            IpAddr::V4(v4) => mapped(v4.octets()),
            IpAddr::V6(v6) => cast(v6.octets()),
        }
    }

    /// Returns source and destination address as stored; all zeros without addresses.
    #[inline]
    pub fn ends(&self) -> [[u64; 2]; 2] {
        [self.source, self.destination]
    }

    /// Hash that selects a cache slot. It is not collision-resistant: a sender that chooses flows can only cause
    /// cache misses.
    #[inline]
    pub(super) fn cache_hash(&self) -> usize {
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        let mixed = self.source[1]
            ^ self.destination[1].rotate_left(16)
            ^ ports << 24
            ^ u64::from(self.ifindex);
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize ^ usize::from(self.outbound)
    }

    /// Returns the same flow on any interface and in any direction.
    pub fn anywhere(&self) -> Flow {
        Flow {
            ifindex: 0,
            outbound: 0,
            ..*self
        }
    }

    #[cfg(test)]
    pub(super) fn set_outbound(&mut self, outbound: bool) {
        self.outbound = outbound.into();
    }

    /// Returns whether this host sent it.
    pub fn is_outbound(&self) -> bool {
        self.outbound != 0
    }

    /// Source and destination addresses, of ARP the sender's and the target's; `None` for other protocols, or if
    /// the header was cut off.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let has_addresses = matches!(
            self.ethertype,
            ethertype::IPV4 | ethertype::IPV6 | ethertype::ARP
        );
        let address = |words: [u64; 2]| Ipv6Addr::from(cast::<_, [u8; 16]>(words)).to_canonical();
        (has_addresses && self.destination != [0; 2])
            .then(|| (address(self.source), address(self.destination)))
    }
}
