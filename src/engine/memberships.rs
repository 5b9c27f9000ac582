//! SHELL. Group memberships as the kernel holds them, from /proc/net of this network namespace. The
//! parsing is pure; netlink tells them only of newer kernels.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A membership on an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    /// The group.
    pub group: IpAddr,
    /// Sockets and kernel parts that hold it.
    pub users: u64,
}

/// Memberships by interface index. Empty where the files can't be read.
pub fn read() -> HashMap<u32, Vec<Membership>> {
    // Of the thread, since the network namespace is the thread's.
    let file = |name: &str| {
        std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
    };
    let mut all = parse_igmp(&file("igmp"));
    for (index, groups) in parse_igmp6(&file("igmp6")) {
        all.entry(index).or_default().extend(groups);
    }
    all
}

/// /proc/net/igmp: a line for an interface, then an indented line for each group, the address in
/// hexadecimal and in memory order of the machine.
fn parse_igmp(text: &str) -> HashMap<u32, Vec<Membership>> {
    let mut all: HashMap<u32, Vec<Membership>> = HashMap::new();
    let mut index = None;
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        if !line.starts_with(['\t', ' ']) {
            index = words.next().and_then(|word| word.parse::<u32>().ok());
            continue;
        }
        let group = words
            .next()
            .and_then(|word| u32::from_str_radix(word, 16).ok());
        let users = words.next().and_then(|word| word.parse().ok());
        if let (Some(index), Some(group), Some(users)) = (index, group, users) {
            let group = IpAddr::V4(Ipv4Addr::from(group.to_ne_bytes()));
            all.entry(index)
                .or_default()
                .push(Membership { group, users });
        }
    }
    all
}

/// /proc/net/igmp6: index, name, group in hexadecimal, users, flags, timer.
fn parse_igmp6(text: &str) -> HashMap<u32, Vec<Membership>> {
    let mut all: HashMap<u32, Vec<Membership>> = HashMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [index, _name, group, users, ..] = words[..] else {
            continue;
        };
        let (Ok(index), Ok(group), Ok(users)) = (
            index.parse(),
            u128::from_str_radix(group, 16),
            users.parse(),
        ) else {
            continue;
        };
        let group = IpAddr::V6(Ipv6Addr::from(group));
        all.entry(index)
            .or_default()
            .push(Membership { group, users });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_files() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    2\te0        :     2      V3\n\t\t\t\t020000E0     1 0:00000000\t\t0\n\
                    \t\t\t\t010000E0     2 0:00000000\t\t0\n";
        let all = parse_igmp(igmp);
        assert_eq!(all[&1].len(), 1);
        assert_eq!(all[&2][0].group, "224.0.0.2".parse::<IpAddr>().unwrap());
        assert_eq!(all[&2][1].users, 2);
        let igmp6 = "2    e0              ff0200000000000000000001ff000001     1 00000004 0\n";
        let all = parse_igmp6(igmp6);
        assert_eq!(
            all[&2][0].group,
            "ff02::1:ff00:1".parse::<IpAddr>().unwrap()
        );
    }
}
