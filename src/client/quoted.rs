//! SHELL. ICMP errors of a packet that quote TCP or UDP.

use netsonde_core::wire::segment::{Segment, WireError};
use netsonde_core::wire::{Meaning, decode};

use crate::client::files::capture_file::FilePacket;

/// Calls `each` with each ICMP error of a packet that quotes a packet of TCP or UDP, and with that.
pub fn quoted_errors(packet: &FilePacket, mut each: impl FnMut(WireError, &Segment<'_>)) {
    let frame = packet.frame();
    let decoded = decode(&frame);
    let Some(network) = decoded.network else {
        return;
    };
    for meaning in &decoded.meanings {
        let Meaning::Icmp(icmp) = meaning else {
            continue;
        };
        let quoted = icmp
            .quoted
            .and_then(|(from, to)| packet.bytes.get(from..to));
        if let Some(quoted) = quoted.and_then(Segment::read) {
            let error = WireError::new(network.source, icmp.kind, icmp.code);
            each(error, &quoted);
        }
    }
}
