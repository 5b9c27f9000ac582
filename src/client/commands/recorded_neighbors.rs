//! SHELL. Hosts, conflicts and moves of a time in the past, from the record in memory and on disk.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use netsonde_core::neighbors::{Neighbors, report::report};
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::inventory;
use netsonde_core::wire::Direction;
use netsonde_core::wire::glance::glance;

use crate::client::cli::args::NeighborsArgs;
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::packets::open_past;

/// Stores with what hosts say of themselves. Bulk traffic adds little, and may be long.
const STORES: [&str; 6] = ["link", "group", "icmp", "names", "routing", "connections"];

/// Returns what the packets of the selected time show; `None` if no time is selected. What the kernel knows is of the
/// present, and left out: this host's own addresses and gateways among it.
pub(super) fn read(
    socket: &Path,
    args: &NeighborsArgs,
) -> Result<Option<inventory::Neighbors>, Failure> {
    let source = open_past(socket, None, &args.past, &STORES, Content::Permitted)?;
    let Some(source) = source else {
        return Ok(None);
    };
    let mut all = Neighbors::default();
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut last_ns = 0;
    let mut file = CaptureFile::new(source)?;
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else {
            continue;
        };
        let name = packet.interface.as_deref().unwrap_or_default();
        let is_wanted = args.interface.as_deref().is_none_or(|only| only == name);
        let time_ns = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
        let Some(time_ns) = time_ns.filter(|_| is_wanted) else {
            continue;
        };
        let next = numbers.len() as u32 + 1;
        let number = *numbers.entry(name.to_owned()).or_insert(next);
        let frame = packet.frame();
        let seen = glance(frame.link, frame.bytes);
        let outbound = packet.direction == Direction::Outbound;
        all.observe(&frame, &seen, number, time_ns, outbound);
        last_ns = time_ns.max(last_ns);
    }
    let interfaces = numbers.into_iter().map(|(name, number)| (number, name));
    let interfaces = interfaces.collect();
    Ok(Some(report(&all, &interfaces, last_ns, &HashSet::new())))
}
