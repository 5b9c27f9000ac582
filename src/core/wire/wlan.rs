//! PURE. IEEE 802.11 as capture files have it: radiotap, PPI, and the frames themselves.

use super::cursor::{Cursor, Mac, UnexpectedEnd, text};
use super::{LinkType, Packet, ProblemKind, cursor};

/// LINKTYPE_IEEE802_11_RADIOTAP: a header whose length is little-endian, then the frame.
pub(super) fn radiotap(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("radiotap");
    let mut from = cursor(&packet.frame, 0, end);
    let length = packet.read("radiotap", |_| {
        from.skip(2)?;
        Ok(usize::from(from.u16()?.swap_bytes()))
    });
    if let Some(length) = length {
        frame(packet, length, end);
    }
}

/// LINKTYPE_PPI: a header with the link type of what follows, both little-endian.
pub(super) fn ppi(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("ppi");
    let mut from = cursor(&packet.frame, 0, end);
    let head = packet.read("ppi", |_| {
        from.skip(2)?;
        let length = usize::from(from.u16()?.swap_bytes());
        Ok((length, from.u32()?.swap_bytes()))
    });
    let Some((length, number)) = head else { return };
    match LinkType::from_linktype(number) {
        // Nothing nests a header of its own kind; it would only cost depth.
        LinkType::Ppi | LinkType::Other => {
            packet.write_summary(format_args!("PPI with link type {number}"));
            let why = format!("link type {number} is not decoded");
            packet.problem(ProblemKind::Unknown, "ppi", 4, why);
        }
        inner => super::read_link(packet, inner, length, end),
    }
}

/// LINKTYPE_IEEE802_11: a frame without a radio header (IEEE 802.11, clause 9.2).
pub(super) fn frame(packet: &mut Packet<'_>, at: usize, end: usize) {
    packet.protocols.push("wlan");
    let mut from = cursor(&packet.frame, at, end);
    let head = packet.read("wlan", |_| {
        let (kind, flags) = (from.u8()?, from.u8()?);
        from.skip(2)?;
        Ok((kind, flags, from.mac()?))
    });
    let Some((kind, flags, first)) = head else {
        return;
    };
    match kind >> 2 & 3 {
        0 => management(packet, kind >> 4, first, from),
        1 => control(packet, kind >> 4, first, from),
        2 => data(packet, (kind >> 4, flags), first, from, end),
        _ => packet.push_summary("802.11 extension"),
    }
}

fn management<'a>(packet: &mut Packet<'a>, subtype: u8, to: Mac, mut from: Cursor<'a>) {
    let name = match subtype {
        0 => "association request",
        1 => "association response",
        2 => "reassociation request",
        3 => "reassociation response",
        4 => "probe request",
        5 => "probe response",
        8 => "beacon",
        9 => "ATIM",
        10 => "disassociation",
        11 => "authentication",
        12 => "deauthentication",
        13 | 14 => "action",
        _ => "management",
    };
    packet.write_summary(format_args!("802.11 {name}"));
    packet.read("wlan", |packet| {
        let source = from.mac()?;
        packet.link = Some((source, to));
        from.skip(8)?;
        if matches!(subtype, 10 | 12) {
            packet.write_summary(format_args!(", reason {}", from.u16()?.swap_bytes()));
            return Ok(());
        }
        from.skip(match subtype {
            0 => 4,
            1 | 3 => 6,
            2 => 10,
            5 | 8 => 12,
            4 => 0,
            _ => return Ok(()),
        })?;
        // The name of the network is the first element.
        if from.left() >= 2 && from.u8()? == 0 {
            let length = from.u8()?;
            packet.write_summary(format_args!(
                ", network \"{}\"",
                text(from.take(length.into())?, 32)
            ));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

fn control(packet: &mut Packet<'_>, subtype: u8, to: Mac, mut from: Cursor<'_>) {
    let name = match subtype {
        8 => "block ack request",
        9 => "block ack",
        10 => "power save poll",
        11 => "request to send",
        12 => "clear to send",
        13 => "ack",
        _ => "control",
    };
    packet.write_summary(format_args!("802.11 {name} to {to}"));
    if matches!(subtype, 8..=11)
        && let Ok(source) = from.mac()
    {
        packet.link = Some((source, to));
    }
}

fn data<'a>(
    packet: &mut Packet<'a>,
    (subtype, flags): (u8, u8),
    first: Mac,
    mut from: Cursor<'a>,
    end: usize,
) {
    let read = packet.read("wlan", |packet| {
        let (second, third) = (from.mac()?, from.mac()?);
        from.skip(2)?;
        // To and from the distribution system (table 9-30).
        packet.link = Some(match flags & 3 {
            0 => (second, first),
            1 => (second, third),
            2 => (third, first),
            _ => (from.mac()?, third),
        });
        if subtype & 8 != 0 {
            from.skip(2)?;
            if flags & 0x80 != 0 {
                from.skip(4)?;
            }
        }
        Ok::<(), UnexpectedEnd>(())
    });
    if read.is_none() {
        return;
    }
    if subtype & 4 != 0 {
        return packet.push_summary("802.11 null data");
    }
    if flags & 0x40 != 0 {
        return packet.write_summary(format_args!("802.11 encrypted data, {} bytes", from.left()));
    }
    super::read_llc(packet, usize::MAX, from.offset(), end);
}
