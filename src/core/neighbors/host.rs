//! PURE. A station on a link: protocols it was seen with, roles and names.

use super::table::Kept;

/// Protocols by which a station was seen, as bits.
pub mod heard {
    /// Address Resolution Protocol (RFC 826).
    pub const ARP: u16 = 1;
    /// IPv6 neighbor discovery (RFC 4861).
    pub const ND: u16 = 1 << 1;
    /// Internet Group Management Protocol.
    pub const IGMP: u16 = 1 << 2;
    /// Multicast Listener Discovery.
    pub const MLD: u16 = 1 << 3;
    /// DHCP for IPv4.
    pub const DHCP: u16 = 1 << 4;
    /// DHCP for IPv6.
    pub const DHCPV6: u16 = 1 << 5;
    /// Multicast DNS.
    pub const MDNS: u16 = 1 << 6;
    /// Link-Local Multicast Name Resolution.
    pub const LLMNR: u16 = 1 << 7;
    /// NetBIOS name service.
    pub const NETBIOS: u16 = 1 << 8;
    /// Link Layer Discovery Protocol.
    pub const LLDP: u16 = 1 << 9;
    /// Cisco Discovery Protocol.
    pub const CDP: u16 = 1 << 10;
    /// Spanning Tree Protocol.
    pub const STP: u16 = 1 << 11;
    /// Routing protocols, and redundancy protocols for virtual routers.
    pub const ROUTING: u16 = 1 << 12;
    /// Any other IP traffic.
    pub const IP: u16 = 1 << 13;
    /// Any other link-layer protocol.
    pub const LINK: u16 = 1 << 14;

    /// Names of the bits, in their order.
    pub const NAMES: [&str; 15] = [
        "arp", "nd", "igmp", "mld", "dhcp", "dhcpv6", "mdns", "llmnr", "netbios", "lldp", "cdp",
        "stp", "routing", "ip", "link",
    ];
}

/// Roles of a station, as far as the wire shows them, as bits.
pub mod role {
    /// Sends router advertisements that make it a default router (RFC 4861, section 4.2).
    pub const RA_ROUTER: u16 = 1;
    /// Sets the router flag in its neighbor advertisements.
    pub const ND_ROUTER: u16 = 1 << 1;
    /// Forwards packets: sources in other networks, with a decremented TTL.
    pub const FORWARDS: u16 = 1 << 2;
    /// Speaks a routing protocol or a redundancy protocol for virtual routers.
    pub const ROUTING: u16 = 1 << 3;
    /// Announces itself as a router by LLDP or CDP.
    pub const SAYS_ROUTER: u16 = 1 << 4;
    /// Sends IGMP queries.
    pub const IGMP_QUERIER: u16 = 1 << 5;
    /// Sends MLD queries.
    pub const MLD_QUERIER: u16 = 1 << 6;
    /// Answers DHCP requests as a server.
    pub const DHCP_SERVER: u16 = 1 << 7;
    /// Relays DHCP messages.
    pub const DHCP_RELAY: u16 = 1 << 8;
    /// Answers DHCPv6 requests as a server.
    pub const DHCPV6_SERVER: u16 = 1 << 9;
    /// Announces itself as a bridge or switch.
    pub const BRIDGE: u16 = 1 << 10;
    /// Announces itself as a wireless access point.
    pub const ACCESS_POINT: u16 = 1 << 11;
    /// Announces itself as a phone.
    pub const PHONE: u16 = 1 << 12;

    /// Names of the bits, in their order.
    pub const NAMES: [&str; 13] = [
        "router (RA)",
        "router (ND)",
        "router (forwards)",
        "router (routing protocol)",
        "router (LLDP, CDP)",
        "IGMP querier",
        "MLD querier",
        "DHCP server",
        "DHCP relay",
        "DHCPv6 server",
        "bridge",
        "access point",
        "phone",
    ];
}

/// Names kept per station: one for each of the usual protocols.
const MAX_NAMES: usize = 4;
/// Forwarded packets that make a station a router: a single one may be a mistake.
const FORWARDED: u32 = 2;

/// Name of a station.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// The name, escaped.
    pub name: String,
    /// Protocol that announced it.
    pub by: &'static str,
    /// Time of the first announcement, in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the latest announcement, in nanoseconds since 1970.
    pub last_ns: u64,
}

/// Station on a link.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Time of the first sighting, in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the latest sighting; accurate to a second for traffic.
    pub last_ns: u64,
    /// Bits of [`heard`].
    pub heard: u16,
    /// Bits of [`role`].
    pub roles: u16,
    /// Announced names.
    pub names: Vec<Name>,
    /// Number of seconds in which it was seen to send packets of other networks with a decremented
    /// TTL.
    pub forwarded: u32,
    /// Time of the latest of these, in nanoseconds since 1970; 0 without any.
    pub forwarded_ns: u64,
    pub(super) pinned: bool,
    /// Counted among the pinned queriers of its link.
    pub(super) kept: bool,
}

impl Host {
    pub(super) fn new(time_ns: u64) -> Host {
        Host {
            first_ns: time_ns,
            last_ns: time_ns,
            ..Host::default()
        }
    }

    pub(super) fn forwards(&mut self, time_ns: u64) {
        self.forwarded_ns = time_ns;
        self.forwarded = self.forwarded.saturating_add(1);
        if self.forwarded >= FORWARDED {
            self.roles |= role::FORWARDS;
        }
    }

    /// Records a name. If there is no space, the one announced longest ago is removed.
    pub(super) fn named(&mut self, name: &str, by: &'static str, time_ns: u64) {
        let same = |known: &&mut Name| known.name == name && known.by == by;
        if let Some(known) = self.names.iter_mut().find(same) {
            known.last_ns = time_ns;
            return;
        }
        if self.names.len() >= MAX_NAMES {
            let oldest = (0..self.names.len()).min_by_key(|at| self.names[*at].last_ns);
            self.names.remove(oldest.unwrap_or(0));
        }
        self.names.push(Name {
            name: name.to_owned(),
            by,
            first_ns: time_ns,
            last_ns: time_ns,
        });
    }

    /// Returns the names of the set bits.
    pub fn words(bits: u16, names: &[&'static str]) -> Vec<&'static str> {
        names
            .iter()
            .enumerate()
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect()
    }
}

impl Kept for Host {
    fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Gateways and queriers: other hosts depend on them.
    fn is_pinned(&self) -> bool {
        self.pinned || self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_name_is_evicted() {
        let mut host = Host::new(1);
        for number in 0..100u64 {
            host.named("steady", "dhcp", number);
            host.named(&format!("n{number}"), "mdns", number);
        }
        assert_eq!(host.names.len(), MAX_NAMES);
        assert!(host.names.iter().any(|name| name.name == "steady"));
        assert!(host.names.iter().any(|name| name.name == "n99"));
    }

    #[test]
    fn bits_have_names() {
        assert_eq!(heard::LINK, 1 << (heard::NAMES.len() - 1));
        assert_eq!(role::PHONE, 1 << (role::NAMES.len() - 1));
        assert_eq!(
            Host::words(heard::ARP | heard::MDNS, &heard::NAMES),
            ["arp", "mdns"]
        );
    }
}
