//! PURE. A station of a link: by what it was heard, what it does, how it is called.

use super::table::Kept;

/// By what a station was heard.
pub mod heard {
    #![allow(missing_docs)]
    pub const ARP: u16 = 1;
    pub const ND: u16 = 1 << 1;
    pub const IGMP: u16 = 1 << 2;
    pub const MLD: u16 = 1 << 3;
    pub const DHCP: u16 = 1 << 4;
    pub const DHCPV6: u16 = 1 << 5;
    pub const MDNS: u16 = 1 << 6;
    pub const LLMNR: u16 = 1 << 7;
    pub const NETBIOS: u16 = 1 << 8;
    pub const LLDP: u16 = 1 << 9;
    pub const CDP: u16 = 1 << 10;
    pub const STP: u16 = 1 << 11;
    pub const ROUTING: u16 = 1 << 12;
    pub const IP: u16 = 1 << 13;
    pub const LINK: u16 = 1 << 14;

    /// Names, in the order of the bits.
    pub const NAMES: [&str; 15] = [
        "arp", "nd", "igmp", "mld", "dhcp", "dhcpv6", "mdns", "llmnr", "netbios", "lldp", "cdp",
        "stp", "routing", "ip", "link",
    ];
}

/// What a station does, as far as the wire shows it.
pub mod role {
    #![allow(missing_docs)]
    /// Sends router advertisements that make it a default router (RFC 4861, section 4.2).
    pub const RA_ROUTER: u16 = 1;
    /// Says in its neighbour advertisements that it is a router.
    pub const ND_ROUTER: u16 = 1 << 1;
    /// Sends packets that others sent: of other networks, with a TTL that has been counted down.
    pub const FORWARDS: u16 = 1 << 2;
    /// Speaks a routing protocol, or one for virtual routers.
    pub const ROUTING: u16 = 1 << 3;
    /// Says by LLDP or CDP that it is a router.
    pub const SAYS_ROUTER: u16 = 1 << 4;
    pub const IGMP_QUERIER: u16 = 1 << 5;
    pub const MLD_QUERIER: u16 = 1 << 6;
    pub const DHCP_SERVER: u16 = 1 << 7;
    pub const DHCP_RELAY: u16 = 1 << 8;
    pub const DHCPV6_SERVER: u16 = 1 << 9;
    pub const BRIDGE: u16 = 1 << 10;
    pub const ACCESS_POINT: u16 = 1 << 11;
    pub const PHONE: u16 = 1 << 12;

    /// Names, in the order of the bits.
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

/// Names of a station that are kept: one each of the usual protocols.
const MAX_NAMES: usize = 4;
/// Packets of others that make a router of a station: one may be a mistake.
const FORWARDED: u32 = 2;

/// A name.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// Escaped.
    pub name: String,
    /// By which protocol it is known.
    pub by: &'static str,
    /// First told.
    pub first_ns: u64,
    /// Last told.
    pub last_ns: u64,
}

/// A station.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// First heard.
    pub first_ns: u64,
    /// Last heard, right to a second for traffic.
    pub last_ns: u64,
    /// Bits of [`heard`].
    pub heard: u16,
    /// Bits of [`role`].
    pub roles: u16,
    /// Names that it told.
    pub names: Vec<Name>,
    /// How often, once a second at most, it was seen to send packets of other networks that had come over
    /// a router.
    pub forwarded: u32,
    pub(super) pinned: bool,
    /// One of the queriers of its link that are kept in mind.
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

    pub(super) fn forwards(&mut self) {
        self.forwarded = self.forwarded.saturating_add(1);
        if self.forwarded >= FORWARDED {
            self.roles |= role::FORWARDS;
        }
    }

    /// Takes a name in. Where there is no room, the one that was told longest ago goes.
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

    /// Names of what is set of some bits.
    pub fn words(bits: u16, names: &[&'static str]) -> Vec<&'static str> {
        (names.iter().enumerate())
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect()
    }
}

impl Kept for Host {
    fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Gateways, and who asks for memberships: others depend on them.
    fn is_pinned(&self) -> bool {
        self.pinned || self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_the_newest_stay() {
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
