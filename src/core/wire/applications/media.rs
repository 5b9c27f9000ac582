//! PURE. STUN and TURN (RFC 8489, RFC 8656), RTP and RTCP (RFC 3550).

use super::super::Packet;
use super::super::cursor::{Cursor, UnexpectedEnd};
use super::super::services::service_name;
use super::message::{Fit, Message};

/// Value at offset 4 of each STUN message (RFC 8489, section 5).
const MAGIC_COOKIE: u32 = 0x2112_a442;

pub(super) fn stun_fit(message: &Message<'_>) -> Fit {
    let whole = message.u16(2).saturating_add(20) == message.length;
    Fit::certain(message.u8(0) >> 6 == 0 && message.u32(4) == MAGIC_COOKIE && whole)
}

pub(super) fn stun<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("stun", |packet| {
        let head = from.u16()?;
        from.skip(2)?;
        // The method's bits stand around the two bits of the class (RFC 8489, figure 3).
        let method = head & 0x0f | head >> 1 & 0x70 | head >> 2 & 0x0f80;
        let method = match method {
            1 => "binding".into(),
            3 => "allocate".into(),
            4 => "refresh".into(),
            6 => "send".into(),
            7 => "data".into(),
            8 => "create permission".into(),
            9 => "channel bind".into(),
            other => format!("method {other:#x}"),
        };
        let class = match head & 0x0110 {
            0 => "request",
            0x10 => "indication",
            0x100 => "success response",
            _ => "error response",
        };
        packet.write_summary(format_args!("STUN {method} {class}"));
        from.skip(16)?;
        stun_attributes(packet, &mut from)
    });
}

/// Shows the mapped address, the user's part is not shown, and an error.
fn stun_attributes(packet: &mut Packet<'_>, from: &mut Cursor<'_>) -> Result<(), UnexpectedEnd> {
    // A message of 64 KiB holds at most 16,384 attributes; each takes at least 4 bytes.
    while from.left() >= 4 {
        let (kind, length) = (from.u16()?, usize::from(from.u16()?));
        let mut value = from.sub(length)?;
        let padding = length.wrapping_neg() & 3;
        from.skip(padding.min(from.left()))?;
        match kind {
            // XOR-MAPPED-ADDRESS.
            0x20 if length >= 8 => {
                value.skip(1)?;
                let family = value.u8()?;
                let port = value.u16()? ^ (MAGIC_COOKIE >> 16) as u16;
                if family == 1 {
                    let address = std::net::Ipv4Addr::from(value.u32()? ^ MAGIC_COOKIE);
                    packet.write_summary(format_args!(", mapped to {address}:{port}"));
                }
            }
            9 if length >= 4 => {
                value.skip(2)?;
                let (class, number) = (value.u8()? & 7, value.u8()?);
                let code = u16::from(class)
                    .saturating_mul(100)
                    .saturating_add(number.into());
                packet.write_summary(format_args!(", error {code}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Name of an RTCP packet type (RFC 3550, section 12.1, and later ones).
fn rtcp_type(number: u8) -> Option<&'static str> {
    Some(match number {
        200 => "sender report",
        201 => "receiver report",
        202 => "source description",
        203 => "goodbye",
        204 => "application",
        205 => "transport feedback",
        206 => "payload feedback",
        207 => "extended report",
        _ => return None,
    })
}

pub(super) fn rtcp_fit(message: &Message<'_>) -> Fit {
    // RFC 3550, appendix A.2: the first of a compound is a report, and all lengths add up.
    let bytes = message.payload();
    let mut at = 0usize;
    for _ in 0..32 {
        let [head, kind, high, low, ..] = bytes.get(at..).unwrap_or_default() else {
            break;
        };
        if head >> 6 != 2 || rtcp_type(*kind).is_none() {
            return Fit::No;
        }
        let words = usize::from(u16::from_be_bytes([*high, *low]));
        at = at.saturating_add(words.saturating_add(1).saturating_mul(4));
    }
    let cut = bytes.len() < message.length;
    Fit::certain(
        at >= 8 && (at == message.length || cut && at >= bytes.len() && at <= message.length),
    )
}

pub(super) fn rtcp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("rtcp", |packet| {
        packet.push_summary("RTCP ");
        let mut shown = 0u8;
        while from.left() >= 4 && shown < 8 {
            from.skip(1)?;
            let kind = from.u8()?;
            let words = usize::from(from.u16()?);
            let mut value = from.sub(words.saturating_mul(4))?;
            if shown > 0 {
                packet.push_summary(", ");
            }
            packet.push_summary(rtcp_type(kind).unwrap_or("unknown"));
            if words > 0 && shown == 0 {
                packet.write_summary(format_args!(" ssrc {:#010x}", value.u32()?));
            }
            shown = shown.saturating_add(1);
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// RTP has no registered port and no mark. A datagram to an even port with version 2, a payload type in use and a
/// complete header is shown as RTP unless a port is that of another service; only the next packet of the stream
/// could prove it.
pub(super) fn rtp_fit(message: &Message<'_>) -> Fit {
    let (first, kind) = (message.u8(0), message.u8(1) & 0x7f);
    let known = matches!(kind, 0 | 3 | 4 | 8 | 9 | 10 | 11 | 14 | 18 | 26 | 31..=34 | 96..=127);
    let possible = first >> 6 == 2 && first & 0x1f == 0 && known && message.length >= 20;
    if !possible || message.source < 1024 || message.destination < 1024 {
        return Fit::No;
    }
    let of_another = |port: u16| service_name(false, port).is_some_and(|name| name != "rtp");
    let free = !of_another(message.source) && !of_another(message.destination);
    Fit::certain(message.destination.is_multiple_of(2) && free)
}

pub(super) fn rtp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("rtp", |packet| {
        from.skip(1)?;
        let kind = from.u8()?;
        let (sequence, time, source) = (from.u16()?, from.u32()?, from.u32()?);
        let mark = if kind >> 7 == 1 { ", mark" } else { "" };
        packet.write_summary(format_args!(
            "RTP type {} seq {sequence} time {time} ssrc {source:#010x}{mark}, {} bytes",
            kind & 0x7f,
            message.length.saturating_sub(12)
        ));
        Ok::<(), UnexpectedEnd>(())
    });
}
