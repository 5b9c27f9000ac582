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

/// Length of an RTP header without contributors and extension, in bytes (RFC 3550, section 5.1).
const RTP_HEADER: usize = 12;

/// RTP has no registered port and no mark. A datagram to an even port with version 2, a payload type in use, a
/// complete header and a payload as this type has it is shown as RTP, unless a port or the content is that of another
/// service; only the next packet of the stream could prove it.
pub(super) fn rtp_fit(message: &Message<'_>) -> Fit {
    let (first, kind) = (message.u8(0), message.u8(1) & 0x7f);
    // Neither padding, extension nor contributors, as which the bits of other protocols would be read.
    let possible = first == 0x80 && message.length >= 20;
    if !possible || message.source < 1024 || message.destination < 1024 {
        return Fit::No;
    }
    let of_another = |port: u16| service_name(false, port).is_some_and(|name| name != "rtp");
    let free = !of_another(message.source) && !of_another(message.destination);
    let sound = is_payload_of(kind, message) && !is_another(message);
    Fit::certain(message.destination.is_multiple_of(2) && free && sound)
}

/// Returns whether the payload has the length and the first bytes of its payload type (RFC 3551, table 4 and 5).
fn is_payload_of(kind: u8, message: &Message<'_>) -> bool {
    let length = message.length.saturating_sub(RTP_HEADER);
    match kind {
        // 64 kbit/s, in steps of 5 ms.
        0 | 8 | 9 => length.is_multiple_of(40),
        3 => length.is_multiple_of(33),
        4 => length.is_multiple_of(4) && length <= 240,
        10 => length.is_multiple_of(4),
        11 => length.is_multiple_of(2),
        // Frames of 10 bytes, and 2 for comfort noise (RFC 3551, section 4.5.6).
        18 => matches!(length % 10, 0 | 2),
        // 16 bits of zero (RFC 2250, section 3.5).
        14 => message.u16(RTP_HEADER) == 0,
        26 | 31 | 34 => true,
        // 5 bits of zero (RFC 2250, section 3.4).
        32 => message.u8(RTP_HEADER) & 0xf8 == 0,
        // Packets of MPEG transport (RFC 2250, section 2).
        33 => length.is_multiple_of(188) && message.u8(RTP_HEADER) == 0x47,
        96..=127 => true,
        _ => false,
    }
}

/// Returns whether the fields that RTP fills with random numbers are those of a protocol whose messages begin with
/// the same bits, on whatever port. Of streams, one in some ten thousand looks like this.
fn is_another(message: &Message<'_>) -> bool {
    let (sequence, time) = (message.u16(2), message.u32(4));
    // Control packets of SRT and UDT, whose type and reserved fields are 0, and memcached, with the number of
    // datagrams in the upper half.
    if sequence == 0 && time & 0xffff == 0 {
        return true;
    }
    // Full frames of IAX2: a time in milliseconds, two counters, type and subclass (RFC 5456, section 8.1.1).
    if time >> 24 == 0 && matches!(message.u8(10), 1..=12) && message.u8(11) < 0x40 {
        return true;
    }
    // Commands of FINS through at most seven networks, by their codes.
    matches!(message.u8(1), 0)
        && message.u8(2) <= 7
        && matches!(message.u8(10), 1..=9 | 0x0c | 0x20..=0x28)
        && message.u8(11) < 0x40
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
