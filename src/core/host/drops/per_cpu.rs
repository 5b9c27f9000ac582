//! PURE. Files in /proc/net with one line per CPU.

use std::collections::BTreeMap;

/// Sums of /proc/net/softnet_stat over all CPUs: packets dropped, and packets dropped by the flow limit.
pub fn parse_softnet(text: &str) -> (u64, u64) {
    let column = |line: &str, at: usize| {
        let word = line.split_whitespace().nth(at)?;
        u64::from_str_radix(word, 16).ok()
    };
    let sum = |at| text.lines().filter_map(|line| column(line, at)).sum();
    (sum(1), sum(10))
}

/// Sum of `time_squeeze` in /proc/net/softnet_stat over all CPUs: how often a CPU stopped receiving although more
/// packets were waiting (net.core.netdev_budget).
pub fn parse_time_squeezes(softnet_stat: &str) -> u64 {
    let third = |line: &str| u64::from_str_radix(line.split_whitespace().nth(2)?, 16).ok();
    softnet_stat.lines().filter_map(third).sum()
}

/// Sums of the columns of a file in /proc/net/stat, by name. It has a line of names, then one line per CPU.
pub fn sum_cpu_columns(text: &str) -> BTreeMap<String, u64> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut all = BTreeMap::new();
    for line in lines {
        for (name, word) in names.iter().zip(line.split_whitespace()) {
            if let Ok(value) = u64::from_str_radix(word, 16) {
                *all.entry((*name).to_owned()).or_insert(0) += value;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_over_all_cpus() {
        assert_eq!(
            parse_softnet("1 2 0 0 0 0 0 0 0 0 a 0\n1 10 0 0 0 0 0 0 0 0 1 0\n"),
            (18, 11)
        );
        assert_eq!(parse_time_squeezes("1 2 a 0\n1 10 1 0\n"), 11);
        let all = sum_cpu_columns("entries drop\n00000001 0000000a\n00000001 00000001\n");
        assert_eq!(all["drop"], 11);
    }
}
