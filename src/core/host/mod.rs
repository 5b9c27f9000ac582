//! PURE. What the files of /proc/net say of a host. Each reader takes a file's text; lines that make no
//! sense are left out, since the next kernel may add some.
//!
//! | file | what it reads |
//! |---|---|
//! | `attributes` | what netlink's messages are made of |
//! | `counters` | snmp, netstat, snmp6: counters by nstat's names |
//! | `drops` | what counters and reasons of lost packets mean |
//! | `membership` | igmp, igmp6, mcfilter, mcfilter6: groups and source filters |
//! | `socket` | tcp, udp, raw, icmp and their twins: sockets, their addresses, queues and drops |
//! | `route` | route, ipv6_route: networks on a link, and routers |
//! | `mroute` | ip_mr_cache, ip_mr_vif and their IPv6 twins: multicast routes |

pub mod attributes;
pub mod counters;
pub mod drops;
pub mod membership;
pub mod mroute;
pub mod route;
pub mod socket;

/// /proc/net/dev_mcast: interface index and link-layer address of each group that a device takes in.
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

/// An IPv4 address as /proc/net prints it: hexadecimal, in memory order of the machine.
fn ipv4(hex: &str) -> Option<std::net::IpAddr> {
    let number = u32::from_str_radix(hex, 16).ok()?;
    Some(std::net::Ipv4Addr::from(number.to_ne_bytes()).into())
}

/// An IPv6 address in network order.
fn ipv6(hex: &str) -> Option<std::net::IpAddr> {
    let number = u128::from_str_radix(hex, 16).ok()?;
    Some(std::net::Ipv6Addr::from(number).into())
}

/// An IPv6 address as four words in memory order of the machine (udp6, raw6).
fn ipv6_words(hex: &str) -> Option<std::net::IpAddr> {
    let mut bytes = [0; 16];
    for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        part.copy_from_slice(&word.to_ne_bytes());
    }
    Some(std::net::Ipv6Addr::from(bytes).into())
}
