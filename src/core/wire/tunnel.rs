//! PURE. Tunnels: GRE (RFC 2784, RFC 2890) with ERSPAN (draft-foschiano-erspan) and WCCP, VXLAN (RFC 7348) and its generic
//! extension, NSH (RFC 8300), GENEVE
//! (RFC 8926), GTP-U (3GPP TS 29.281), MPLS in UDP (RFC 7510).

use super::applications::message::{Fit, Message};
use super::cursor::{Cursor, UnexpectedEnd};
use super::glance::ethertype as kind;
use super::ip::Payload;
use super::{Packet, ProblemKind, mpls, read_bridged};

/// Ethernet in GRE, GENEVE and others (transparent Ethernet bridging).
const BRIDGED: u16 = 0x6558;

pub(super) fn gre<'a>(packet: &mut Packet<'a>, payload: &Payload<'a>) {
    packet.protocols.push("gre");
    let mut from = payload.bytes;
    let head = packet.read("gre", |packet| {
        let (flags, kind) = (from.u16()?, from.u16()?);
        packet.write_summary(format_args!(
            "GRE{}",
            if flags & 7 == 1 { "v1" } else { "" }
        ));
        // Checksum or routing, key, sequence number, and the acknowledgment number of version 1.
        if flags & 0xc000 != 0 {
            from.skip(4)?;
        }
        if flags & 0x2000 != 0 {
            packet.write_summary(format_args!(" key {:#x}", from.u32()?));
        }
        if flags & 0x1000 != 0 {
            packet.write_summary(format_args!(" seq {}", from.u32()?));
        }
        if flags & 0x0080 != 0 && flags & 7 == 1 {
            from.skip(4)?;
        }
        Ok::<(u16, u16), UnexpectedEnd>((flags, kind))
    });
    let Some((flags, kind)) = head else { return };
    match kind {
        // Without a sequence number it is type I, which has no header of its own.
        0x88be if flags & 0x1000 == 0 => {
            packet.protocols.push("erspan");
            packet.push_summary(": ERSPAN");
            read_bridged(packet, from);
        }
        0x88be => erspan(packet, from, 8),
        0x22eb => erspan(packet, from, 12),
        // Redirected packets; version 2 puts 4 bytes in front, whose first is no IP version.
        0x883e => {
            packet.protocols.push("wccp");
            packet.push_summary(": WCCP");
            let mut peek = from;
            if !matches!(peek.u8(), Ok(0x45..=0x4f)) && from.skip(4).is_err() {
                return;
            }
            inside(packet, kind::IPV4, from);
        }
        BRIDGED => read_bridged(packet, from),
        // Keepalives of routers carry nothing.
        0 if from.is_empty() => packet.push_summary(" keepalive"),
        _ => inside(packet, kind, from),
    }
}

/// ERSPAN type II (8 bytes) or III (12 bytes, and 8 more if its last bit says so).
fn erspan<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>, length: usize) {
    packet.protocols.push("erspan");
    let read = packet.read("erspan", |packet| {
        let mut head = from.sub(length)?;
        let vlan = head.u16()? & 0x0fff;
        let session = head.u16()? & 0x03ff;
        packet.write_summary(format_args!(": ERSPAN session {session}"));
        if vlan != 0 {
            packet.write_summary(format_args!(" vlan {vlan}"));
        }
        if length == 12 {
            head.skip(7)?;
            if head.u8()? & 1 == 1 {
                from.skip(8)?;
            }
        }
        Ok::<(), UnexpectedEnd>(())
    });
    if read.is_some() {
        read_bridged(packet, from);
    }
}

pub(super) fn vxlan_fit(message: &Message<'_>) -> Fit {
    // The flag for a valid network identifier; other bits belong to extensions.
    Fit::plausible(message.u8(0) & 0x08 != 0 && message.length >= 8)
}

pub(super) fn vxlan<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    let head = packet.read("vxlan", |packet| {
        from.skip(4)?;
        let network = from.u32()? >> 8;
        packet.write_summary(format_args!("VXLAN {network}"));
        Ok::<(), UnexpectedEnd>(())
    });
    if head.is_some() {
        read_bridged(packet, from);
    }
}

pub(super) fn geneve_fit(message: &Message<'_>) -> Fit {
    let options = usize::from(message.u8(0) & 0x3f).saturating_mul(4);
    let fits = options.saturating_add(8) <= message.length;
    Fit::plausible(message.u8(0) >> 6 == 0 && fits)
}

pub(super) fn geneve<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    let head = packet.read("geneve", |packet| {
        let options = usize::from(from.u8()? & 0x3f).saturating_mul(4);
        from.skip(1)?;
        let kind = from.u16()?;
        let network = from.u32()? >> 8;
        from.skip(options)?;
        packet.write_summary(format_args!("GENEVE {network}"));
        Ok::<u16, UnexpectedEnd>(kind)
    });
    match head {
        Some(BRIDGED) => read_bridged(packet, from),
        Some(kind) => inside(packet, kind, from),
        None => {}
    }
}

/// Version 1, GTP and not GTP', a length that fits.
pub(super) fn gtp_fit(message: &Message<'_>) -> Fit {
    let fits = message.u16(2).saturating_add(8) <= message.length;
    Fit::plausible(message.u8(0) & 0xf0 == 0x30 && fits)
}

pub(super) fn gtp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    let head = packet.read("gtp", |packet| {
        let flags = from.u8()?;
        let kind = from.u8()?;
        from.skip(2)?;
        let tunnel = from.u32()?;
        let name = match kind {
            1 => " echo request",
            2 => " echo response",
            26 => " error indication",
            31 => " supported extension headers",
            254 => " end marker",
            255 => "",
            _ => " message",
        };
        packet.write_summary(format_args!("GTP-U{name} tunnel {tunnel:#x}"));
        if flags & 7 != 0 {
            // Sequence number, N-PDU number and the first extension header's type, each there if one is.
            from.skip(3)?;
            let mut next = from.u8()?;
            if flags & 4 == 0 {
                next = 0;
            }
            while next != 0 {
                let words = usize::from(from.u8()?);
                if words == 0 {
                    break;
                }
                from.skip(words.saturating_mul(4).saturating_sub(2))?;
                next = from.u8()?;
            }
        }
        Ok::<bool, UnexpectedEnd>(kind == 255)
    });
    if head == Some(true) && packet.enter() {
        let (at, end) = ends(&from);
        packet.push_inner("", |packet| super::read_raw(packet, at, end));
    }
}

pub(super) fn mpls_in_udp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let (at, end) = ends(&message.bytes);
    mpls::labels(packet, at, end);
}

pub(super) fn vxlan_gpe<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    let head = packet.read("vxlan", |packet| {
        from.skip(3)?;
        let next = from.u8()?;
        let network = from.u32()? >> 8;
        packet.write_summary(format_args!("VXLAN-GPE {network}"));
        Ok::<u8, UnexpectedEnd>(next)
    });
    if let Some(next) = head {
        next_protocol(packet, next, from);
    }
}

/// Network service header (RFC 8300): where a packet is on its way through a chain of services.
pub(super) fn nsh<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.protocols.push("nsh");
    let head = packet.read("nsh", |packet| {
        let words = usize::from(from.u16()? & 0x3f);
        from.skip(1)?;
        let next = from.u8()?;
        let path = from.u32()?;
        packet.write_summary(format_args!("NSH path {} index {}", path >> 8, path & 0xff));
        from.skip(words.saturating_mul(4).saturating_sub(8))?;
        Ok::<u8, UnexpectedEnd>(next)
    });
    if let Some(next) = head {
        next_protocol(packet, next, from);
    }
}

/// Decodes what follows a header that numbers protocols as NSH and VXLAN-GPE do (RFC 8300, section 11.2.5).
fn next_protocol<'a>(packet: &mut Packet<'a>, number: u8, from: Cursor<'a>) {
    match number {
        1 => inside(packet, kind::IPV4, from),
        2 => inside(packet, kind::IPV6, from),
        3 => read_bridged(packet, from),
        4 => {
            if packet.enter() {
                packet.push_inner("", |packet| nsh(packet, from));
            }
        }
        5 => inside(packet, kind::MPLS, from),
        other => {
            packet.write_summary(format_args!(", protocol {other}, {} bytes", from.left()));
            let why = format!("next protocol {other} is not decoded");
            packet.problem(ProblemKind::Unknown, "nsh", from.offset(), why);
        }
    }
}

/// Decodes a packet of that EtherType within a tunnel.
fn inside<'a>(packet: &mut Packet<'a>, kind: u16, from: Cursor<'a>) {
    if packet.enter() {
        let (at, end) = ends(&from);
        packet.push_inner("", |packet| super::read_ethertype(packet, kind, at, end));
    }
}

fn ends(from: &Cursor<'_>) -> (usize, usize) {
    (from.offset(), from.offset().saturating_add(from.left()))
}
