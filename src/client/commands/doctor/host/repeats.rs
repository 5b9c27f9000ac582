//! SHELL. Packets of the window that were seen more than once, for the rules of loops.

use std::path::Path;

use netsonde_core::diagnose::host::sample::{Repeats, Sampler};
use netsonde_core::protocol::capture::Content;
use netsonde_core::wire::Direction;

use crate::client::cli::args::Packets;
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::packets::Stream;

/// Stores without unicast payload, and the one with everything else: a busy host must not hide what little
/// there is in the others.
const SAMPLES: [&[&str]; 2] = [&["link", "group", "icmp", "names", "routing"], &["bulk"]];
/// Maximum number of packets read for each: a storm fills it within a second, which is enough to see it.
const MAX_PACKETS: u64 = 20_000;

/// Reads the packets of the window, in nanoseconds since 1970.
pub fn repeats(socket: &Path, window: (u64, u64)) -> Result<Repeats, Failure> {
    let mut all = Repeats::default();
    for stores in SAMPLES {
        let selection = Packets {
            since: Some(window.0),
            until: Some(window.1),
            stores: stores.iter().map(|name| (*name).to_owned()).collect(),
            count: Some(MAX_PACKETS),
            ..Packets::default()
        };
        let stream = Stream::open(socket, &selection, Content::Headers)?;
        let mut file = CaptureFile::new(stream.pipe)?;
        let mut sampler = Sampler::default();
        let mut packets = 0;
        while let Some(item) = file.next()? {
            let Item::Packet(packet) = item else { continue };
            packets += 1;
            let time_ns = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
            if let (Some(time_ns), Some(interface)) = (time_ns, &packet.interface) {
                let outbound = packet.direction == Direction::Outbound;
                sampler.see(&packet.frame(), interface, outbound, time_ns);
            }
        }
        let window_ns = window.1.saturating_sub(window.0);
        all.merge(sampler.finish(window_ns, packets >= MAX_PACKETS));
    }
    Ok(all)
}
