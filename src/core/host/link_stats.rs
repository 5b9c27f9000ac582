//! PURE. Counters of an interface, from a reply to RTM_GETSTATS.

use super::attributes::attributes;

/// Counters in the order of struct rtnl_link_stats64 (linux/if_link.h), with the names of `ip -s -s link`. Later kernels
/// append to it.
const NAMES: [&str; 25] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
];

/// Length of struct if_stats_msg in bytes.
const HEADER_BYTES: usize = 12;
/// IFLA_STATS_LINK_64.
const LINK_64: u16 = 1;

/// Body of the request for these counters of all interfaces: struct if_stats_msg with the filter of IFLA_STATS_LINK_64.
pub fn link_stats_request() -> [u8; HEADER_BYTES] {
    let mut body = [0; HEADER_BYTES];
    body[8..].copy_from_slice(&1u32.to_ne_bytes());
    body
}

/// Parses the body of a reply: index of the interface, and its counters with their names. `None` if it has none.
pub fn parse_link_stats(body: &[u8]) -> Option<(u32, impl Iterator<Item = (&'static str, u64)>)> {
    let ifindex = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    let mut all = attributes(body.get(HEADER_BYTES..)?);
    let (_, values) = all.find(|(kind, _)| *kind == LINK_64)?;
    let words = values.chunks_exact(8);
    let words = words.map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    Some((ifindex, NAMES.into_iter().zip(words)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::attributes::attribute;

    #[test]
    fn counters_have_their_names() {
        let values: Vec<u8> = (0..25u64).flat_map(u64::to_ne_bytes).collect();
        let mut body = vec![0; HEADER_BYTES];
        body[4..8].copy_from_slice(&7u32.to_ne_bytes());
        body.extend(attribute(LINK_64, &values));
        let (ifindex, all) = parse_link_stats(&body).unwrap();
        let all: Vec<_> = all.collect();
        assert_eq!(ifindex, 7);
        assert_eq!((all[0], all[2]), (("rx_packets", 0), ("rx_bytes", 2)));
        assert_eq!(all[24], ("rx_otherhost_dropped", 24));
        // An older kernel has fewer; a cut reply none.
        body.truncate(HEADER_BYTES);
        body.extend(attribute(LINK_64, &values[..16]));
        assert_eq!(parse_link_stats(&body).unwrap().1.count(), 2);
        assert!(parse_link_stats(&body[..HEADER_BYTES]).is_none());
        assert!(parse_link_stats(&body[..3]).is_none());
    }
}
