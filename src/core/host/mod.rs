//! PURE. Parsers for files in /proc/net, and the table of drop counters. Each parser takes the text of a file, and
//! skips lines that it does not understand, since later kernels may add some.
//!
//! | file | contents |
//! |---|---|
//! | `attributes` | attributes of netlink messages |
//! | `counters` | snmp, netstat, snmp6: counters with the names of nstat(8) |
//! | `drops` | meaning of drop counters and drop reasons |
//! | `link_stats` | counters of an interface, from netlink |
//! | `membership` | igmp, igmp6, mcfilter, mcfilter6: groups and source filters |
//! | `socket` | tcp, udp, raw, icmp and their IPv6 counterparts: sockets with addresses, queues and drops |
//! | `route` | route, ipv6_route: networks on a link, and gateways |
//! | `mroute` | ip_mr_cache, ip_mr_vif and their IPv6 counterparts: multicast routes |

pub mod attributes;
pub mod counters;
pub mod drops;
pub mod link_stats;
pub mod membership;
pub mod mroute;
pub mod route;
pub mod socket;

/// Parses /proc/net/dev_mcast: interface index and link-layer address of each group that a device receives.
pub fn dev_mcast(text: &str) -> Vec<(u32, String)> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [index, _name, _users, _global, address] = words[..] else {
            return None;
        };
        Some((index.parse().ok()?, address.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// Parses an IPv4 address of /proc/net: hexadecimal, in host byte order.
fn ipv4(hex: &str) -> Option<std::net::IpAddr> {
    let number = u32::from_str_radix(hex, 16).ok()?;
    Some(std::net::Ipv4Addr::from(number.to_ne_bytes()).into())
}

/// Parses an IPv6 address in network byte order.
fn ipv6(hex: &str) -> Option<std::net::IpAddr> {
    let number = u128::from_str_radix(hex, 16).ok()?;
    Some(std::net::Ipv6Addr::from(number).into())
}

/// Parses an IPv6 address of four words in host byte order (udp6, raw6).
fn ipv6_words(hex: &str) -> Option<std::net::IpAddr> {
    let mut bytes = [0; 16];
    for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        part.copy_from_slice(&word.to_ne_bytes());
    }
    Some(std::net::Ipv6Addr::from(bytes).into())
}
