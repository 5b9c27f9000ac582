//! PURE. Selection of packets by a query: interface, direction, filter program and plain options. A
//! packet must match all given conditions, and any entry of a list.

use std::net::IpAddr;

use super::Record;
use super::filter::{Program, View};
use crate::address::{parse_group, parse_prefix};
use crate::protocol::capture::Selection;
use crate::text::unknown;
use crate::wire::glance::{Glance, ethertype, glance, glance_at, ip_protocol};
use crate::wire::{Direction, LinkType, decode};

/// Maximum number of entries per list, enough for people and scripts.
const MAX_ENTRIES: usize = 256;

/// Maximum VLAN ID: it has 12 bits (IEEE 802.1Q).
pub const MAX_VLAN: u16 = 4095;

/// An invalid selection.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// A field has an invalid value.
    #[error("{field}: {why}")]
    Field {
        /// Name of the field in the selection.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A filter program is not valid.
    #[error("filter for {link_type}: instruction {instruction}: {reason}")]
    Program {
        /// Link type that the program is for.
        link_type: String,
        /// Index of the first instruction that is wrong.
        instruction: usize,
        /// What is wrong with it.
        reason: String,
    },
}

fn field(field: &'static str, why: impl Into<String>) -> Invalid {
    Invalid::Field {
        field,
        why: why.into(),
    }
}

/// An address or a prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Net {
    bits: u128,
    mask: u128,
    v4: bool,
}

impl Net {
    fn parse(text: &str) -> Result<Net, String> {
        let (address, length) = parse_prefix(text)?;
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let length = u32::from(length);
        let all = if width == 128 {
            u128::MAX
        } else {
            u128::from(u32::MAX)
        };
        let mask = if length == 0 {
            0
        } else {
            all & (all << (width - length))
        };
        Ok(Net {
            bits: bits & mask,
            mask,
            v4: width == 32,
        })
    }

    fn holds(&self, address: &[u8]) -> bool {
        let v4 = address.len() == 4;
        v4 == self.v4
            && address
                .iter()
                .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte))
                & self.mask
                == self.bits
    }
}

/// Protocols of `--proto`, with their condition on the header fields.
type Test = fn(&Glance) -> bool;

fn udp_port(seen: &Glance, ports: &[u16]) -> bool {
    seen.ip_protocol == ip_protocol::UDP
        && (ports.contains(&seen.source_port) || ports.contains(&seen.destination_port))
}

fn icmp6(seen: &Glance, types: &[u8]) -> bool {
    seen.ip_protocol == ip_protocol::ICMPV6 && types.contains(&seen.icmp_type)
}

/// Protocol names, in the order of the help.
pub const PROTOCOLS: &[(&str, Test)] = &[
    ("arp", |s| s.ethertype == ethertype::ARP),
    ("ip", |s| s.ethertype == ethertype::IPV4),
    ("ip6", |s| s.ethertype == ethertype::IPV6),
    ("icmp", |s| s.ip_protocol == ip_protocol::ICMP),
    ("icmp6", |s| s.ip_protocol == ip_protocol::ICMPV6),
    ("nd", |s| icmp6(s, &[133, 134, 135, 136, 137])),
    ("igmp", |s| s.ip_protocol == ip_protocol::IGMP),
    ("mld", |s| icmp6(s, &[130, 131, 132, 143])),
    ("pim", |s| s.ip_protocol == ip_protocol::PIM),
    ("tcp", |s| s.ip_protocol == ip_protocol::TCP),
    ("udp", |s| s.ip_protocol == ip_protocol::UDP),
    ("sctp", |s| s.ip_protocol == ip_protocol::SCTP),
    ("gre", |s| s.ip_protocol == 47),
    ("vrrp", |s| s.ip_protocol == ip_protocol::VRRP),
    ("ospf", |s| s.ip_protocol == ip_protocol::OSPF),
    ("eigrp", |s| s.ip_protocol == ip_protocol::EIGRP),
    ("dns", |s| {
        udp_port(s, &[53])
            || s.ip_protocol == ip_protocol::TCP
                && (s.source_port == 53 || s.destination_port == 53)
    }),
    ("mdns", |s| udp_port(s, &[5353])),
    ("llmnr", |s| udp_port(s, &[5355])),
    ("ssdp", |s| udp_port(s, &[1900])),
    ("dhcp", |s| udp_port(s, &[67, 68])),
    ("dhcpv6", |s| udp_port(s, &[546, 547])),
    ("ntp", |s| udp_port(s, &[123])),
    ("vxlan", |s| udp_port(s, &[4789, 8472])),
    ("lldp", |s| s.ethertype == ethertype::LLDP),
    ("lacp", |s| s.ethertype == ethertype::SLOW_PROTOCOLS),
    ("stp", |s| {
        s.ethertype != 0 && s.ethertype < ethertype::FIRST
    }),
];

/// Returns the message for a name that is not in [`PROTOCOLS`].
pub fn unknown_protocol(name: &str) -> String {
    let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
    unknown("protocol", name, names)
}

/// A prepared selection, for matching many packets.
#[derive(Default)]
pub struct Select {
    interfaces: Option<Vec<String>>,
    inbound: Option<bool>,
    ethernet: Option<(Program, View)>,
    raw: Option<(Program, View)>,
    filtered: bool,
    hosts: Vec<Net>,
    groups: Vec<IpAddr>,
    ports: Vec<u16>,
    protocols: Vec<Test>,
    vlans: Vec<u16>,
    plain: bool,
    /// Whether hosts, ports and protocols match within tunnels, too.
    inner: bool,
}

impl Select {
    /// Prepares a selection and verifies its programs.
    ///
    /// # Errors
    ///
    /// The first invalid field or filter instruction.
    pub fn new(wanted: &Selection) -> Result<Select, Invalid> {
        let mut select = Select {
            interfaces: bounded("interfaces", &wanted.interfaces)?,
            ports: bounded("ports", &wanted.ports)?.unwrap_or_default(),
            vlans: bounded("vlans", &wanted.vlans)?.unwrap_or_default(),
            inner: wanted.inner.unwrap_or(false),
            ..Select::default()
        };
        if let Some(vlan) = select.vlans.iter().find(|vlan| **vlan > MAX_VLAN) {
            return Err(field(
                "vlans",
                format!("must be 0 to {MAX_VLAN}, not {vlan}"),
            ));
        }
        select.inbound = match wanted.direction.as_deref() {
            None => None,
            Some("in") => Some(true),
            Some("out") => Some(false),
            Some(other) => {
                return Err(field("direction", format!("{other:?}: expected in or out")));
            }
        };
        for text in bounded("hosts", &wanted.hosts)?.unwrap_or_default() {
            let net = Net::parse(&text).map_err(|why| field("hosts", why))?;
            select.hosts.push(net);
        }
        for text in bounded("groups", &wanted.groups)?.unwrap_or_default() {
            let group = parse_group(&text).map_err(|why| field("groups", why))?;
            select.groups.push(group);
        }
        for name in bounded("protocols", &wanted.protocols)?.unwrap_or_default() {
            let known = PROTOCOLS.iter().find(|(known, _)| *known == name);
            let why = || field("protocols", unknown_protocol(&name));
            select.protocols.push(known.ok_or_else(why)?.1);
        }
        for program in wanted.programs.iter().flatten() {
            select.add_program(program)?;
        }
        select.plain = !(select.hosts.is_empty()
            && select.groups.is_empty()
            && select.ports.is_empty()
            && select.protocols.is_empty()
            && select.vlans.is_empty());
        Ok(select)
    }

    fn add_program(&mut self, wanted: &crate::protocol::capture::Program) -> Result<(), Invalid> {
        let view = match wanted.tags.as_str() {
            "wire" => View::Wire,
            "stripped" => View::Stripped,
            other => {
                return Err(field(
                    "programs",
                    format!("tags {other:?}: expected wire or stripped"),
                ));
            }
        };
        let program = Program::from_numbers(&wanted.code).map_err(|invalid| Invalid::Program {
            link_type: wanted.link_type.clone(),
            instruction: invalid.instruction,
            reason: invalid.reason.to_string(),
        })?;
        self.filtered = true;
        match wanted.link_type.as_str() {
            "ethernet" => self.ethernet = Some((program, view)),
            // Only Ethernet has tags; an address of an IP packet may look like one.
            "raw" => self.raw = Some((program, View::Wire)),
            other => {
                return Err(field(
                    "programs",
                    format!("link_type {other:?}: expected ethernet or raw"),
                ));
            }
        }
        Ok(())
    }

    /// Returns whether packets of this interface are selected.
    pub fn wants_interface(&self, name: &str) -> bool {
        self.interfaces
            .as_ref()
            .is_none_or(|names| names.iter().any(|wanted| wanted == name))
    }

    /// Returns the interfaces named by the query.
    pub fn interfaces(&self) -> &[String] {
        self.interfaces.as_deref().unwrap_or_default()
    }

    /// Returns whether the packet is selected, apart from its interface, which the caller checks once per
    /// interface.
    pub fn wants(&self, record: &Record<'_>) -> bool {
        let direction = match self.inbound {
            None => true,
            Some(true) => record.direction.is_inbound(),
            Some(false) => record.direction == Direction::Outbound,
        };
        direction && self.passes_program(record) && (!self.plain || self.passes_plain(record))
    }

    fn passes_program(&self, record: &Record<'_>) -> bool {
        if !self.filtered {
            return true;
        }
        let program = match record.link {
            LinkType::Ethernet => &self.ethernet,
            LinkType::RawIp => &self.raw,
            _ => &None,
        };
        program.as_ref().is_some_and(|(program, view)| {
            let length = record.original_length;
            program.run_view(record.bytes, length, record.direction, *view) != 0
        })
    }

    fn passes_plain(&self, record: &Record<'_>) -> bool {
        let seen = glance(record.link, record.bytes);
        let any = |list_is_empty: bool, holds: bool| list_is_empty || holds;
        any(
            self.vlans.is_empty(),
            seen.vlan.is_some_and(|vlan| self.vlans.contains(&vlan)),
        ) && any(
            self.groups.is_empty(),
            self.is_of_group(&seen, record.bytes),
        ) && (self.passes_ends(&seen, record.bytes) || self.inner && self.passes_inner(record))
    }

    /// Returns whether hosts, ports and protocols match one packet: the outer one, or one within a tunnel.
    fn passes_ends(&self, seen: &Glance, bytes: &[u8]) -> bool {
        let any = |list_is_empty: bool, holds: bool| list_is_empty || holds;
        any(
            self.ports.is_empty(),
            seen.transport != 0
                && (self.ports.contains(&seen.source_port)
                    || self.ports.contains(&seen.destination_port)),
        ) && any(
            self.protocols.is_empty(),
            self.protocols.iter().any(|test| test(seen)),
        ) && any(self.hosts.is_empty(), self.is_of_host(seen, bytes))
    }

    /// Returns whether a packet within a tunnel matches. It sees the bytes of the record only: of a record that was
    /// cut to its headers, nothing that the headers do not show.
    fn passes_inner(&self, record: &Record<'_>) -> bool {
        let packet = decode(&record.frame());
        packet.network_headers().any(|(number, at)| {
            self.passes_ends(&glance_at(number, at, record.bytes), record.bytes)
        })
    }

    fn is_of_host(&self, seen: &Glance, bytes: &[u8]) -> bool {
        seen.addresses(bytes).is_some_and(|(source, destination)| {
            self.hosts
                .iter()
                .any(|net| net.holds(source) || net.holds(destination))
        })
    }

    /// Returns whether the packet was sent to the group or is an IGMP or MLD message about it. Addresses
    /// are at multiples of four bytes in these messages.
    fn is_of_group(&self, seen: &Glance, bytes: &[u8]) -> bool {
        let management =
            seen.ip_protocol == ip_protocol::IGMP || icmp6(seen, &[130, 131, 132, 143]);
        self.groups.iter().any(|group| {
            let wanted: &[u8] = &match group {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let sent_to = seen.addresses(bytes).is_some_and(|(_, to)| to == wanted);
            let named = management
                && seen.transport != 0
                && bytes.get(seen.transport..).is_some_and(|message| {
                    (0..message.len())
                        .step_by(4)
                        .any(|at| message[at..].starts_with(wanted))
                });
            sent_to || named
        })
    }
}

fn bounded<T: Clone>(name: &'static str, list: &Option<Vec<T>>) -> Result<Option<Vec<T>>, Invalid> {
    match list {
        Some(entries) if entries.len() > MAX_ENTRIES => Err(field(
            name,
            format!("{} entries: at most {MAX_ENTRIES}", entries.len()),
        )),
        Some(entries) if entries.is_empty() => Ok(None),
        other => Ok(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Store;
    use crate::wire::Checksum;

    fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0u8; 12];
        frame.extend_from_slice(&ethertype.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn ipv4(protocol: u8, destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1];
        packet.extend_from_slice(&destination);
        packet.extend_from_slice(payload);
        frame(0x0800, &packet)
    }

    fn wants(selection: Selection, bytes: &[u8]) -> bool {
        let record = Record {
            number: 0,
            store: Store::Bulk,
            time_ns: 1,
            original_length: bytes.len() as u32,
            interface: (0, 0),
            link: LinkType::Ethernet,
            direction: Direction::ToUs,
            checksum: Checksum::Unknown,
            stands_for: 1,
            bytes,
        };
        Select::new(&selection).unwrap().wants(&record)
    }

    fn some(texts: &[&str]) -> Option<Vec<String>> {
        Some(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn plain_options() {
        let udp = ipv4(17, [10, 0, 0, 2], &[0x13, 0x88, 0, 53, 0, 8, 0, 0]);
        let igmp = ipv4(
            2,
            [224, 0, 0, 22],
            &[0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 1, 1],
        );
        let hosts = |h: &[&str]| Selection {
            hosts: some(h),
            ..Selection::default()
        };
        assert!(wants(hosts(&["10.0.0.2"]), &udp));
        assert!(wants(hosts(&["fe80::1", "10.0.0.0/30"]), &udp));
        assert!(!wants(hosts(&["10.0.0.4/30"]), &udp));
        let ports = |p: u16| Selection {
            ports: Some(vec![p]),
            ..Selection::default()
        };
        assert!(wants(ports(5000), &udp) && wants(ports(53), &udp) && !wants(ports(54), &udp));
        let protocols = |p: &[&str]| Selection {
            protocols: some(p),
            ..Selection::default()
        };
        assert!(wants(protocols(&["dns"]), &udp) && !wants(protocols(&["tcp", "igmp"]), &udp));
        let groups = |g: &[&str]| Selection {
            groups: some(g),
            ..Selection::default()
        };
        assert!(wants(groups(&["239.1.1.1"]), &igmp) && wants(groups(&["224.0.0.22"]), &igmp));
        assert!(!wants(groups(&["239.1.1.2"]), &igmp) && !wants(groups(&["239.1.1.1"]), &udp));
        let out = Selection {
            direction: Some("out".into()),
            ..Selection::default()
        };
        assert!(!wants(out, &udp));
    }

    #[test]
    fn nonsense_is_named() {
        for (selection, word) in [
            (
                Selection {
                    hosts: some(&["10.0.0.256"]),
                    ..Selection::default()
                },
                "10.0.0.256",
            ),
            (
                Selection {
                    hosts: some(&["10.0.0.1/33"]),
                    ..Selection::default()
                },
                "10.0.0.1/33",
            ),
            (
                Selection {
                    groups: some(&["10.0.0.1"]),
                    ..Selection::default()
                },
                "multicast",
            ),
            (
                Selection {
                    protocols: some(&["foo"]),
                    ..Selection::default()
                },
                "arp",
            ),
            (
                Selection {
                    direction: Some("up".into()),
                    ..Selection::default()
                },
                "up",
            ),
            (
                Selection {
                    ports: Some(vec![1; 300]),
                    ..Selection::default()
                },
                "at most 256",
            ),
            (
                Selection {
                    vlans: Some(vec![1, 5000]),
                    ..Selection::default()
                },
                "must be 0 to 4095, not 5000",
            ),
        ] {
            let why = Select::new(&selection).err().unwrap().to_string();
            assert!(why.contains(word), "{why}");
        }
    }
}
