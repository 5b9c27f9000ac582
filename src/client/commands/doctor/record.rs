//! SHELL. Packets of the service's record, or of a capture file, as evidence.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use netsonde_core::diagnose::wire::Wire;
use netsonde_core::protocol::capture::Content;
use netsonde_core::recorder::pcapng::is_of_sample;

use crate::client::cli::args::{Lookback, Packets};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::packets::Stream;

/// First index for interfaces that no longer exist.
const FIRST_UNKNOWN_IFINDEX: u32 = 1 << 30;

/// Selects all recorded group management messages.
pub fn group_management() -> Packets {
    Packets {
        last: Some(Lookback::All),
        stores: vec!["group".into()],
        ..Packets::default()
    }
}

/// Adds recorded packets to `wire`. `numbers` maps the names of interfaces to their indexes.
pub fn read_record(
    socket: &Path,
    selection: &Packets,
    numbers: &BTreeMap<String, u32>,
    wire: &mut Wire,
) -> Result<(), Failure> {
    // The rules need headers only, so the caller needs no permission for payload.
    let stream = Stream::open(socket, selection, Content::Headers)?;
    read_packets(stream.pipe, numbers, wire)
}

/// Adds all packets of a capture to `wire`. Interfaces that are not in `numbers` get indexes from
/// [`FIRST_UNKNOWN_IFINDEX`] on.
pub fn read_packets(
    source: impl Read + Send,
    numbers: &BTreeMap<String, u32>,
    wire: &mut Wire,
) -> Result<(), Failure> {
    let mut file = CaptureFile::new(source)?;
    let mut unknown: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(item) = file.next()? {
        let packet = match item {
            Item::Packet(packet) => packet,
            Item::Note(note) => {
                wire.is_sampled |= is_of_sample(&note);
                continue;
            }
        };
        wire.is_sampled |= packet.stands_for > 1;
        let Some(time_ns) = packet.time_ns.and_then(|ns| u64::try_from(ns).ok()) else {
            continue;
        };
        let name = packet.interface.as_deref().unwrap_or("file");
        let ifindex = numbers.get(name).copied().unwrap_or_else(|| {
            let next = FIRST_UNKNOWN_IFINDEX + unknown.len() as u32;
            *unknown.entry(name.to_owned()).or_insert(next)
        });
        wire.names.entry(ifindex).or_insert_with(|| name.to_owned());
        wire.see(&packet.frame(), ifindex, time_ns, packet.direction);
    }
    Ok(())
}
