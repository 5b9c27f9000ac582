//! PURE. Names of well-known groups, as assigned by IANA (ipv4-multicast-addresses,
//! ipv6-multicast-addresses): those that an administrator is likely to see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NAMES_4: [(u32, &str); 34] = [
    (0xe000_0001, "all systems"),
    (0xe000_0002, "all routers"),
    (0xe000_0004, "DVMRP routers"),
    (0xe000_0005, "OSPF routers"),
    (0xe000_0006, "OSPF designated routers"),
    (0xe000_0009, "RIPv2 routers"),
    (0xe000_000a, "EIGRP routers"),
    (0xe000_000d, "PIM routers"),
    (0xe000_0012, "VRRP"),
    (0xe000_0013, "IS-IS over IP, all L1"),
    (0xe000_0014, "IS-IS over IP, all L2"),
    (0xe000_0016, "IGMP"),
    (0xe000_0066, "HSRPv2, GLBP"),
    (0xe000_006a, "all snoopers"),
    (0xe000_006b, "PTP peer delay"),
    (0xe000_00fb, "mDNS"),
    (0xe000_00fc, "LLMNR"),
    (0xe000_0101, "NTP"),
    (0xe000_0116, "SLP (old)"),
    (0xe000_0118, "WINS replication"),
    (0xe000_0123, "SLP directory agents"),
    (0xe000_0127, "Cisco RP announce"),
    (0xe000_0128, "Cisco RP discovery"),
    (0xe000_0181, "PTP primary"),
    (0xe000_0182, "PTP alternate 1"),
    (0xe000_0183, "PTP alternate 2"),
    (0xe000_0184, "PTP alternate 3"),
    (0xe000_01b2, "IEC 61850 GOOSE over UDP"),
    (0xe002_7ffe, "SAP announcements"),
    (0xe000_00fd, "Teredo"),
    (0xefff_fffa, "SSDP, UPnP"),
    (0xefff_fffd, "SLP"),
    (0xefff_ffff, "SAP announcements, local"),
    (0xefc0_0001, "organization-local scope, first"),
];

/// By the part after ff0X::, for any scope X.
const NAMES_6: [(u128, &str); 24] = [
    (0x1, "all nodes"),
    (0x2, "all routers"),
    (0x5, "OSPF routers"),
    (0x6, "OSPF designated routers"),
    (0x9, "RIPng routers"),
    (0xa, "EIGRP routers"),
    (0xc, "SSDP, UPnP"),
    (0xd, "PIM routers"),
    (0x12, "VRRP"),
    (0x16, "MLDv2 routers"),
    (0x1a, "RPL nodes"),
    (0x66, "HSRP for IPv6"),
    (0x6a, "all snoopers"),
    (0x6b, "PTP peer delay"),
    (0xfb, "mDNS"),
    (0x101, "NTP"),
    (0x116, "SLP service agents"),
    (0x123, "SLP directory agents"),
    (0x181, "PTP primary"),
    (0x2_7ffe, "SAP announcements"),
    (0x1_0001, "link names"),
    (0x1_0002, "DHCPv6 agents and servers"),
    (0x1_0003, "LLMNR"),
    (0x1_0004, "DTCP announcements"),
];

/// Returns the purpose of a group, if it is registered.
pub fn name(group: IpAddr) -> Option<String> {
    match group {
        IpAddr::V4(group) => name_4(group).map(str::to_owned),
        IpAddr::V6(group) => name_6(group),
    }
}

fn name_4(group: Ipv4Addr) -> Option<&'static str> {
    let found = NAMES_4.iter().find(|(known, _)| *known == u32::from(group));
    if let Some((_, name)) = found {
        return Some(name);
    }
    match group.octets() {
        [232, ..] => Some("source-specific"),
        // RFC 5771, section 9.2: for documentation.
        [233, 252, 0, _] => Some("documentation"),
        _ => None,
    }
}

fn name_6(group: Ipv6Addr) -> Option<String> {
    let bytes = group.octets();
    let number = u128::from(group);
    // Permanent groups have no flags (RFC 4291, section 2.7).
    if bytes[0] != 0xff {
        return None;
    }
    if bytes[1] & 0xf0 == 0x30 && bytes[2..12] == [0; 10] {
        return Some("source-specific".into());
    }
    if bytes[1] & 0xf0 != 0 {
        return None;
    }
    // ff02::1:ffXX:XXXX (RFC 4291, section 2.7.1).
    if bytes[1] == 2 && bytes[2..13] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff] {
        return Some(format!(
            "neighbors ending in {:x}:{:x}",
            bytes[13],
            u16::from_be_bytes([bytes[14], bytes[15]])
        ));
    }
    let low = number & ((1 << 112) - 1);
    let found = NAMES_6.iter().find(|(known, _)| *known == low);
    found.map(|(_, name)| (*name).to_owned())
}

/// Returns the Ethernet address that carries a group: 23 bits of it (RFC 1112, section 6.4), or 32
/// (RFC 2464, section 7).
pub fn mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(group) => {
            let bytes = group.octets();
            [0x33, 0x33, bytes[12], bytes[13], bytes[14], bytes[15]]
        }
    }
}

/// Returns whether switches may prune the group. Link-local groups reach every port (RFC 4541,
/// section 2.1.2).
pub fn is_pruned(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[..3] != [224, 0, 0],
        // Scopes 0 and 1 never leave a host (RFC 4291, section 2.7; RFC 3810, section 6).
        IpAddr::V6(group) => {
            let scope = group.octets()[1] & 15;
            scope > 1 && group != Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_and_addresses() {
        let of = |text: &str| name(text.parse().unwrap()).unwrap_or_default();
        assert_eq!(of("224.0.0.1"), "all systems");
        assert_eq!(of("239.255.255.250"), "SSDP, UPnP");
        assert_eq!(of("232.1.2.3"), "source-specific");
        assert_eq!(of("239.1.1.1"), "");
        assert_eq!(of("ff02::1"), "all nodes");
        assert_eq!(of("ff05::2"), "all routers");
        assert_eq!(of("ff02::1:2"), "DHCPv6 agents and servers");
        assert_eq!(of("ff02::1:ff12:3456"), "neighbors ending in 12:3456");
        assert_eq!(of("ff3e::4321:1234"), "source-specific");
        assert_eq!(of("ff15::1"), "");
        let hardware = |text: &str| mac(text.parse().unwrap());
        assert_eq!(hardware("239.129.1.1"), hardware("224.1.1.1"));
        assert_eq!(
            hardware("ff02::1:ff12:3456"),
            [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]
        );
        assert!(
            is_pruned("239.1.1.1".parse().unwrap()) && !is_pruned("224.0.0.251".parse().unwrap())
        );
    }

    #[test]
    fn group_names_are_unique() {
        let mut all: Vec<u32> = NAMES_4.iter().map(|(group, _)| *group).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), NAMES_4.len());
    }
}
