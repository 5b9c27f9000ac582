//! PURE. Statistics of the kernel's neighbor tables.

use crate::host::attributes::{attributes, u32_at};

/// A neighbor table of the kernel, which all namespaces share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NeighborTable {
    /// Name: `arp_cache` or `ndisc_cache`.
    pub name: String,
    /// Current number of entries.
    pub entries: u64,
    /// Maximum number of entries (gc_thresh3).
    pub max_entries: u64,
    /// Failed resolutions (res_failed).
    pub failed: u64,
    /// Number of times that it was full (table_fulls).
    pub table_fulls: u64,
}

/// Parses a reply to RTM_GETNEIGHTBL (struct ndtmsg, linux/neighbour.h). `None` if it has no name or statistics.
pub fn parse_neighbor_table(message: &[u8]) -> Option<NeighborTable> {
    /// NDTA_NAME, NDTA_THRESH3, NDTA_CONFIG and NDTA_STATS.
    const NAME: u16 = 1;
    const MAX_ENTRIES: u16 = 4;
    const CONFIG: u16 = 5;
    const STATS: u16 = 7;
    let (mut name, mut stats, mut max_entries, mut entries) = (None, None, None, None);
    for (kind, value) in attributes(message.get(4..)?) {
        match kind {
            NAME => {
                name = Some(
                    String::from_utf8_lossy(value)
                        .trim_end_matches('\0')
                        .to_owned(),
                )
            }
            STATS => stats = Some(value),
            MAX_ENTRIES => max_entries = u32_at(value, 0),
            // struct ndt_config: two 16-bit words, then the count.
            CONFIG => entries = u32_at(value, 4),
            _ => {}
        }
    }
    // struct ndt_stats: 64-bit words, res_failed the fourth, table_fulls the eleventh.
    let word = |at: usize| {
        let bytes = stats?.get(at * 8..at * 8 + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some(NeighborTable {
        name: name?,
        entries: entries.unwrap_or(0).into(),
        max_entries: max_entries.unwrap_or(0).into(),
        failed: word(3)?,
        table_fulls: word(10).unwrap_or(0),
    })
}
