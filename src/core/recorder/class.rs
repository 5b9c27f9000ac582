//! PURE. Assigns packets to recorder stores. The kernel filters that the keeper attaches are built from
//! the same rules, so packets that a store keeps whole are captured whole.

use crate::wire::glance::{Glance, ethertype, ip_protocol};

/// The stores of the recorder. Each has its own budget, so that a flood of one kind of traffic never
/// evicts another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Store {
    /// Link management: ARP, neighbor discovery, LLDP, STP, LACP.
    Link = 0,
    /// Group management: IGMP, MLD, PIM.
    Group = 1,
    /// ICMP and ICMPv6, except neighbor discovery and MLD.
    Icmp = 2,
    /// DHCP, DHCPv6, DNS, mDNS, LLMNR, SSDP, NetBIOS names.
    Names = 3,
    /// VRRP, HSRP, OSPF, EIGRP, RIP, BFD.
    Routing = 4,
    /// TCP segments with SYN, FIN or RST, hellos of TLS, and first lines of text protocols.
    Connections = 5,
    /// Everything else.
    Bulk = 6,
}

impl Store {
    /// All stores, in the order of their numbers.
    pub const ALL: [Store; 7] = [
        Store::Link,
        Store::Group,
        Store::Icmp,
        Store::Names,
        Store::Routing,
        Store::Connections,
        Store::Bulk,
    ];

    /// Returns the name, as in configuration, status and queries.
    pub fn name(self) -> &'static str {
        match self {
            Store::Link => "link",
            Store::Group => "group",
            Store::Icmp => "icmp",
            Store::Names => "names",
            Store::Routing => "routing",
            Store::Connections => "connections",
            Store::Bulk => "bulk",
        }
    }

    /// Returns the store with this name.
    pub fn from_name(name: &str) -> Option<Store> {
        Store::ALL.into_iter().find(|store| store.name() == name)
    }

    fn from_u8(number: u8) -> Option<Store> {
        Store::ALL.get(usize::from(number)).copied()
    }
}

/// UDP ports of the `names` store: DNS, DHCP, NetBIOS names, DHCPv6, SSDP, mDNS, LLMNR.
pub const NAMES_UDP_PORTS: [u16; 9] = [53, 67, 68, 137, 546, 547, 1900, 5353, 5355];
/// UDP ports of the `routing` store: RIP, RIPng, HSRP (v1 and v2 for IPv6), BFD.
pub const ROUTING_UDP_PORTS: [u16; 6] = [520, 521, 1985, 2029, 3784, 4784];
/// IP protocols of the `routing` store: EIGRP, OSPF, VRRP.
pub const ROUTING_IP_PROTOCOLS: [u8; 3] =
    [ip_protocol::EIGRP, ip_protocol::OSPF, ip_protocol::VRRP];
/// EtherTypes of the `link` store, which also takes all frames with an 802.3 length (STP, CDP, IS-IS).
pub const LINK_ETHERTYPES: [u16; 7] = [
    ethertype::ARP,
    ethertype::SLOW_PROTOCOLS,
    ethertype::PPPOE_DISCOVERY,
    ethertype::EAPOL,
    ethertype::LLDP,
    ethertype::CFM,
    ethertype::LOOPBACK_TEST,
];

/// SYN, FIN or RST (RFC 9293, section 3.1).
pub const TCP_CONNECTION_FLAGS: u8 = 0x07;

/// First two bytes of a TLS handshake record: its type, and the high byte of any version (RFC 8446, section 5.1).
pub const TLS_HANDSHAKE: u16 = 0x1603;
/// First four bytes of requests, replies and greetings of text protocols, whose first line says what a connection is
/// for: HTTP, SSH, SMTP.
pub const TEXT_OPENINGS: [[u8; 4]; 9] = [
    *b"GET ", *b"POST", *b"PUT ", *b"HEAD", *b"HTTP", *b"SSH-", *b"EHLO", *b"HELO", *b"220 ",
];

/// Returns whether a TCP payload begins with what the `connections` store keeps.
#[inline]
fn opens(bytes: &[u8], seen: &Glance) -> bool {
    let header = bytes
        .get(seen.transport + 12)
        .map_or(0, |byte| usize::from(byte >> 4) * 4);
    bytes.get(seen.transport + header..).is_some_and(is_opening)
}

/// Returns whether a TCP payload begins with a hello of TLS, or with a first line of a text protocol.
#[inline]
pub fn is_opening(payload: &[u8]) -> bool {
    match payload {
        [a, b, c, d, ..] => {
            u16::from_be_bytes([*a, *b]) == TLS_HANDSHAKE
                || TEXT_OPENINGS.contains(&[*a, *b, *c, *d])
        }
        _ => false,
    }
}

/// A rule of the configuration that assigns packets to a store.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name of the store.
    pub store: String,
    /// UDP ports, source or destination.
    #[serde(default)]
    pub udp_ports: Vec<u16>,
    /// TCP ports, source or destination.
    #[serde(default)]
    pub tcp_ports: Vec<u16>,
    /// IP protocol numbers (0-254).
    #[serde(default)]
    pub ip_protocols: Vec<u8>,
    /// EtherTypes (0x0600 and above).
    #[serde(default)]
    pub ethertypes: Vec<u16>,
}

const UNSET: u8 = u8::MAX;

/// The rules as tables, for one look-up per packet.
pub struct Classifier {
    udp: Box<[u8; 65536]>,
    tcp: Box<[u8; 65536]>,
    ip: [u8; 256],
    ethertypes: Vec<(u16, Store)>,
}

impl Classifier {
    /// Creates the tables from the built-in rules and then `rules`. Later rules override earlier ones.
    pub fn new(rules: &[Rule]) -> Classifier {
        let mut made = Classifier {
            udp: Box::new([UNSET; 65536]),
            tcp: Box::new([UNSET; 65536]),
            ip: [UNSET; 256],
            ethertypes: LINK_ETHERTYPES.map(|kind| (kind, Store::Link)).to_vec(),
        };
        for port in NAMES_UDP_PORTS {
            made.udp[usize::from(port)] = Store::Names as u8;
        }
        for port in ROUTING_UDP_PORTS {
            made.udp[usize::from(port)] = Store::Routing as u8;
        }
        for protocol in ROUTING_IP_PROTOCOLS {
            made.ip[usize::from(protocol)] = Store::Routing as u8;
        }
        made.ip[usize::from(ip_protocol::IGMP)] = Store::Group as u8;
        made.ip[usize::from(ip_protocol::PIM)] = Store::Group as u8;
        made.ip[usize::from(ip_protocol::ICMP)] = Store::Icmp as u8;
        for rule in rules {
            let Some(store) = Store::from_name(&rule.store) else {
                continue; // Rejected when the configuration was parsed.
            };
            for port in &rule.udp_ports {
                made.udp[usize::from(*port)] = store as u8;
            }
            for port in &rule.tcp_ports {
                made.tcp[usize::from(*port)] = store as u8;
            }
            for protocol in &rule.ip_protocols {
                made.ip[usize::from(*protocol)] = store as u8;
            }
            for kind in &rule.ethertypes {
                made.ethertypes.retain(|(known, _)| known != kind);
                made.ethertypes.push((*kind, store));
            }
        }
        made
    }

    /// Returns the store of a packet with these captured bytes.
    #[inline]
    pub fn store(&self, seen: &Glance, bytes: &[u8]) -> Store {
        match seen.ip_protocol {
            ip_protocol::UDP => by_port(&self.udp, seen).unwrap_or(Store::Bulk),
            ip_protocol::TCP => {
                if let Some(store) = by_port(&self.tcp, seen) {
                    store
                } else if seen.tcp_flags & TCP_CONNECTION_FLAGS != 0
                    || seen.transport != 0 && opens(bytes, seen)
                {
                    Store::Connections
                } else {
                    Store::Bulk
                }
            }
            ip_protocol::NONE => self.by_ethertype(seen.ethertype),
            protocol => {
                if let Some(store) = Store::from_u8(self.ip[usize::from(protocol)]) {
                    store
                } else if protocol == ip_protocol::ICMPV6 {
                    icmpv6_store(seen.icmp_type)
                } else {
                    Store::Bulk
                }
            }
        }
    }

    fn by_ethertype(&self, kind: u16) -> Store {
        if kind != 0 && kind < ethertype::FIRST {
            return Store::Link;
        }
        self.ethertypes
            .iter()
            .find(|(known, _)| *known == kind)
            .map_or(Store::Bulk, |(_, store)| *store)
    }
}

#[inline]
fn by_port(table: &[u8; 65536], seen: &Glance) -> Option<Store> {
    Store::from_u8(table[usize::from(seen.destination_port)])
        .or_else(|| Store::from_u8(table[usize::from(seen.source_port)]))
}

/// MLD (RFC 2710, RFC 3810) and multicast router discovery (RFC 4286) are group management;
/// router and neighbor discovery with redirects (RFC 4861) are link management.
fn icmpv6_store(kind: u8) -> Store {
    match kind {
        130..=132 | 143 | 151..=153 => Store::Group,
        133..=137 => Store::Link,
        _ => Store::Icmp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{LinkType, glance::glance};

    fn seen(ip_protocol: u8) -> Glance {
        let mut seen = glance(LinkType::Other, &[]);
        seen.ip_protocol = ip_protocol;
        seen
    }

    #[test]
    fn built_in_rules() {
        let classifier = Classifier::new(&[]);
        let mut dns = seen(ip_protocol::UDP);
        dns.source_port = 53;
        let mut syn = seen(ip_protocol::TCP);
        syn.tcp_flags = 0x02;
        let mut solicit = seen(ip_protocol::ICMPV6);
        solicit.icmp_type = 135;
        let mut report = seen(ip_protocol::ICMPV6);
        report.icmp_type = 143;
        let mut arp = seen(ip_protocol::NONE);
        arp.ethertype = ethertype::ARP;
        let mut stp = seen(ip_protocol::NONE);
        stp.ethertype = 38;
        for (glance, store) in [
            (dns, Store::Names),
            (syn, Store::Connections),
            (seen(ip_protocol::TCP), Store::Bulk),
            (solicit, Store::Link),
            (report, Store::Group),
            (seen(ip_protocol::ICMP), Store::Icmp),
            (seen(ip_protocol::OSPF), Store::Routing),
            (arp, Store::Link),
            (stp, Store::Link),
            (seen(ip_protocol::NONE), Store::Bulk),
        ] {
            assert_eq!(classifier.store(&glance, &[]), store, "{glance:?}");
        }
    }

    #[test]
    fn openings_of_connections_are_kept_with_them() {
        let classifier = Classifier::new(&[]);
        let mut segment = vec![0; 20];
        segment[12] = 0x80;
        segment.extend_from_slice(&[0; 12]);
        let mut data = seen(ip_protocol::TCP);
        data.transport = 1;
        // The IP header, of which one byte suffices here.
        segment.insert(0, 0x45);
        for (payload, store) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Store::Connections),
            (b"GET / HTTP/1.1", Store::Connections),
            (b"\x17\x03\x03\x02\x00\x01", Store::Bulk),
            (b"GETS", Store::Bulk),
            (b"GE", Store::Bulk),
            (b"", Store::Bulk),
        ] {
            let bytes = [&segment[..], payload].concat();
            assert_eq!(classifier.store(&data, &bytes), store, "{payload:?}");
        }
        // A later fragment has no header.
        data.transport = 0;
        assert_eq!(classifier.store(&data, b"GET /"), Store::Bulk);
    }

    #[test]
    fn own_rules_win() {
        let classifier = Classifier::new(&[Rule {
            store: "routing".into(),
            udp_ports: vec![53],
            ethertypes: vec![ethertype::ARP],
            ..Rule::default()
        }]);
        let mut dns = seen(ip_protocol::UDP);
        dns.destination_port = 53;
        assert_eq!(classifier.store(&dns, &[]), Store::Routing);
        let mut arp = seen(ip_protocol::NONE);
        arp.ethertype = ethertype::ARP;
        assert_eq!(classifier.store(&arp, &[]), Store::Routing);
    }
}
