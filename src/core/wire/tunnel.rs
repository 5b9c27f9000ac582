//! PURE. Tunnels: GRE (RFC 2784, RFC 2890) and VXLAN (RFC 7348).

use super::Packet;
use super::cursor::{Cursor, UnexpectedEnd};
use super::ip::Payload;
use super::link;

/// Maximum nesting of tunnels that is decoded.
const MAX_DEPTH: usize = 4;

pub(super) fn gre<'a>(packet: &mut Packet<'a>, payload: &Payload<'a>) {
    packet.protocols.push("gre");
    let mut from = payload.bytes;
    let inner = packet.read("gre", |packet| {
        let (flags, kind) = (from.u16()?, from.u16()?);
        packet.push_summary(format!("GRE{}", if flags & 7 == 1 { "v1" } else { "" }));
        // Checksum or routing, key, sequence number, and the acknowledgment number of version 1.
        if flags & 0xc000 != 0 {
            from.skip(4)?;
        }
        if flags & 0x2000 != 0 {
            packet.push_summary(format!(" key {:#x}", from.u32()?));
        }
        if flags & 0x1000 != 0 {
            packet.push_summary(format!(" seq {}", from.u32()?));
        }
        if flags & 0x0080 != 0 && flags & 7 == 1 {
            from.skip(4)?;
        }
        Ok::<u16, UnexpectedEnd>(kind)
    });
    if let Some(kind) = inner
        && enter(packet)
    {
        let (at, end) = (from.offset(), from.offset().saturating_add(from.left()));
        packet.push_inner("", |packet| match kind {
            0x6558 => link::ethernet(packet, at, end),
            kind => link::by_ethertype(packet, kind, at, end),
        });
    }
}

/// Decodes VXLAN in a UDP datagram.
pub(super) fn vxlan<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.protocols.push("vxlan");
    let inner = packet.read("vxlan", |packet| {
        from.skip(4)?;
        let network = from.u32()? >> 8;
        packet.push_summary(format!("VXLAN {network}"));
        Ok::<(), UnexpectedEnd>(())
    });
    if inner.is_some() && enter(packet) {
        let (at, end) = (from.offset(), from.offset().saturating_add(from.left()));
        packet.push_inner("", |packet| link::ethernet(packet, at, end));
    }
}

fn enter(packet: &mut Packet<'_>) -> bool {
    packet.depth = packet.depth.saturating_add(1);
    packet.depth <= MAX_DEPTH
}
