//! SHELL. ICMP errors of a packet, with the packets that they quote.

use netsonde_core::trace::SeenError;
use netsonde_core::wire::segment::{Segment, WireError};
use netsonde_core::wire::{Meaning, decode};

use crate::client::files::capture_file::FilePacket;

/// Calls `each` with each ICMP error of a packet that quotes another one.
pub fn icmp_errors(packet: &FilePacket, mut each: impl FnMut(&SeenError<'_>)) {
    let frame = packet.frame();
    let decoded = decode(&frame);
    let Some(network) = decoded.network else {
        return;
    };
    let time_ns = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
    for meaning in &decoded.meanings {
        let Meaning::Icmp(icmp) = meaning else {
            continue;
        };
        let quoted = icmp
            .quoted
            .and_then(|(from, to)| packet.bytes.get(from..to));
        if let Some(quoted) = quoted {
            each(&SeenError {
                time_ns: time_ns.unwrap_or(0),
                from: network.source,
                kind: icmp.kind,
                code: icmp.code,
                mtu: icmp.mtu,
                quoted,
            });
        }
    }
}

/// Calls `each` with each ICMP error of a packet that quotes a packet of TCP or UDP, and with that.
pub fn quoted_errors(packet: &FilePacket, mut each: impl FnMut(WireError, &Segment<'_>)) {
    icmp_errors(packet, |error| {
        if let Some(quoted) = Segment::read(error.quoted) {
            each(WireError::new(error.from, error.kind, error.code), &quoted);
        }
    });
}
