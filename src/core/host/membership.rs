//! PURE. Group memberships and source filters in the kernel.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{ipv4, ipv6};

/// A group membership on an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    /// Group address.
    pub group: IpAddr,
    /// Number of sockets and kernel parts that hold it.
    pub users: u64,
}

/// IGMP version of the kernel by interface index. The oldest querier on the link determines it.
pub type Versions = HashMap<u32, u8>;

/// Parses igmp and igmp6: memberships by interface index.
pub fn memberships(igmp: &str, igmp6: &str) -> HashMap<u32, Vec<Membership>> {
    let mut all = parse_igmp(igmp).0;
    for (index, groups) in parse_igmp6(igmp6) {
        all.entry(index).or_default().extend(groups);
    }
    all
}

/// Parses the column "Querier" of igmp: V1, V2 or V3.
pub fn igmp_versions(igmp: &str) -> Versions {
    parse_igmp(igmp).1
}

/// Parses a line per interface, each followed by an indented line per group.
fn parse_igmp(text: &str) -> (HashMap<u32, Vec<Membership>>, Versions) {
    let mut all: HashMap<u32, Vec<Membership>> = HashMap::new();
    let mut versions = Versions::new();
    let mut index = None;
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        if !line.starts_with(['\t', ' ']) {
            index = words.next().and_then(|word| word.parse::<u32>().ok());
            let version = words
                .last()
                .and_then(|word| word.strip_prefix('V')?.parse().ok());
            if let (Some(index), Some(version)) = (index, version) {
                versions.insert(index, version);
            }
            continue;
        }
        let group = words.next().and_then(ipv4);
        let users = words.next().and_then(|word| word.parse().ok());
        if let (Some(index), Some(group), Some(users)) = (index, group, users) {
            all.entry(index)
                .or_default()
                .push(Membership { group, users });
        }
    }
    (all, versions)
}

/// Parses lines of index, name, group in hexadecimal, users, flags, timer.
fn parse_igmp6(text: &str) -> HashMap<u32, Vec<Membership>> {
    let mut all: HashMap<u32, Vec<Membership>> = HashMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [index, _name, group, users, ..] = words[..] else {
            continue;
        };
        if let (Ok(index), Some(group), Ok(users)) = (index.parse(), ipv6(group), users.parse()) {
            all.entry(index)
                .or_default()
                .push(Membership { group, users });
        }
    }
    all
}

/// Source filter of a group on an interface, for one source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceFilter {
    /// Interface index.
    pub ifindex: u32,
    /// Group address.
    pub group: IpAddr,
    /// Source address.
    pub source: IpAddr,
    /// Number of sockets that include the source.
    pub include: u64,
    /// Number of sockets that exclude the source.
    pub exclude: u64,
}

/// Parses mcfilter and mcfilter6.
pub fn source_filters(mcfilter: &str, mcfilter6: &str) -> Vec<SourceFilter> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [index, _name, group, source, include, exclude] = words[..] else {
            return None;
        };
        let address = |word: &str| match word.strip_prefix("0x") {
            // IPv4 addresses are numbers in network byte order here (net/ipv4/igmp.c).
            Some(hex) => {
                let number = u32::from_str_radix(hex, 16).ok()?;
                Some(std::net::Ipv4Addr::from(number).into())
            }
            None => ipv6(word),
        };
        Some(SourceFilter {
            ifindex: index.parse().ok()?,
            group: address(group)?,
            source: address(source)?,
            include: include.parse().ok()?,
            exclude: exclude.parse().ok()?,
        })
    };
    let lines = mcfilter.lines().chain(mcfilter6.lines());
    lines.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn reads_all_four_files() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    2\te0        :     2      V2\n\t\t\t\t020000E0     1 0:00000000\t\t0\n\
                    \t\t\t\t010000E0     2 0:00000000\t\t0\n";
        let igmp6 = "2    e0              ff0200000000000000000001ff000001     1 00000004 0\n";
        let all = memberships(igmp, igmp6);
        assert_eq!(all[&1].len(), 1);
        assert_eq!(all[&2][0].group, ip("224.0.0.2"));
        assert_eq!(all[&2][1].users, 2);
        assert_eq!(all[&2][2].group, ip("ff02::1:ff00:1"));
        assert_eq!(igmp_versions(igmp), Versions::from([(1, 3), (2, 2)]));
        let mcfilter = "Idx Device        MCA        SRC    INC    EXC\n\
                        \x20 2 e0     0xe8010101 0x0a000063      1      0\n";
        let mcfilter6 = "Idx Device                Multicast Address                   Source Address    INC    EXC\n\
                         \x20 2     e0 ff3e0000000000000000000000000001 fd000000000000000000000000000001      1      0\n";
        let filters = source_filters(mcfilter, mcfilter6);
        assert_eq!(filters.len(), 2);
        assert_eq!(
            (filters[0].group, filters[0].source),
            (ip("232.1.1.1"), ip("10.0.0.99"))
        );
        assert_eq!(filters[1].source, ip("fd00::1"));
    }
}
