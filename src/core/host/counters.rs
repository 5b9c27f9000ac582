//! PURE. Counters of the IP layer and above, with the names of nstat(8): `IpInReceives`,
//! `TcpExtIPReversePathFilter`, `Ip6InReceives`.

use std::collections::HashMap;

/// Parses snmp or netstat: a line of names above a line of values, each starting with the name of its table.
pub fn parse_snmp(text: &str) -> Vec<(String, u64)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for pair in lines.chunks_exact(2) {
        let (mut names, mut values) = (pair[0].split_whitespace(), pair[1].split_whitespace());
        let table = names.next().unwrap_or_default().trim_end_matches(':');
        values.next();
        for (name, value) in names.zip(values) {
            if let Ok(value) = value.parse() {
                all.push((format!("{table}{name}"), value));
            }
        }
    }
    all
}

/// Parses snmp6: a name and a value per line.
pub fn parse_snmp6(text: &str) -> Vec<(String, u64)> {
    let entry = |line: &str| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// Snapshot of all counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(HashMap<String, u64>);

impl Counters {
    /// Parses the three files.
    pub fn parse(snmp: &str, netstat: &str, snmp6: &str) -> Counters {
        let all = parse_snmp(snmp).into_iter().chain(parse_snmp(netstat));
        Counters(all.chain(parse_snmp6(snmp6)).collect())
    }

    /// Returns the increase of a counter since a snapshot; 0 if it is missing.
    pub fn moved(&self, since: &Counters, name: &str) -> u64 {
        let value = |counters: &Counters| counters.0.get(name).copied().unwrap_or(0);
        value(self).saturating_sub(value(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_names_of_nstat() {
        let snmp = "Ip: Forwarding InReceives\nIp: 1 7\nUdp: InErrors\nUdp: 3\n";
        let before = Counters::default();
        let now = Counters::parse(snmp, "", "Ip6InReceives     \t9\n");
        assert_eq!(now.moved(&before, "IpInReceives"), 7);
        assert_eq!(now.moved(&before, "UdpInErrors"), 3);
        assert_eq!(now.moved(&before, "Ip6InReceives"), 9);
        assert_eq!(before.moved(&now, "UdpInErrors"), 0);
    }
}
