//! PURE. Databases, brokers and file servers over TCP: Redis, PostgreSQL, MySQL, AMQP, MQTT, SMB, RDP.

use super::super::Packet;
use super::super::cursor::{UnexpectedEnd, first_line, text};
use super::message::{Fit, Message};

/// Redis's RESP: a type byte, a number or a line, CR LF.
pub(super) fn redis_fit(message: &Message<'_>) -> Fit {
    let bytes = message.payload();
    let Some((kind, rest)) = bytes.split_first() else {
        return Fit::No;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let after = rest.get(digits..).unwrap_or_default();
    match kind {
        // A command is an array of strings: *1 CR LF $4.
        b'*' => Fit::certain(digits > 0 && after.starts_with(b"\r\n$")),
        b'$' | b':' => Fit::plausible(digits > 0 && after.starts_with(b"\r\n")),
        b'+' | b'-' => Fit::plausible(bytes.contains(&b'\r')),
        // A command as a person types it.
        _ => Fit::plausible(kind.is_ascii_alphabetic() && bytes.ends_with(b"\r\n")),
    }
}

pub(super) fn redis<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let bytes = message.payload();
    if bytes.first() != Some(&b'*') {
        return packet.write_summary(format_args!("Redis {}", first_line(bytes)));
    }
    // The command's name is the first string; its arguments are the user's.
    let mut lines = bytes.split(|byte| *byte == b'\n').skip(2);
    let name = lines.next().unwrap_or_default();
    packet.write_summary(format_args!("Redis command {}", first_line(name)));
}

const PG_VERSION_3: u32 = 0x0003_0000;
const PG_CANCEL: u32 = 80_877_102;
const PG_SSL: u32 = 80_877_103;
const PG_GSS: u32 = 80_877_104;

/// Name of a PostgreSQL message type, both directions.
fn postgresql_type(byte: u8) -> Option<&'static str> {
    Some(match byte {
        b'Q' => "query",
        b'P' => "parse",
        b'B' => "bind",
        b'E' => "execute or error",
        b'X' => "terminate",
        b'R' => "authentication",
        b'S' => "sync or parameter status",
        b'Z' => "ready for query",
        b'T' => "row description",
        b'D' => "data row or describe",
        b'C' => "command complete or close",
        b'p' => "password",
        b'N' => "notice",
        b'K' => "backend key data",
        b'1' => "parse complete",
        b'2' => "bind complete",
        _ => return None,
    })
}

pub(super) fn postgresql_fit(message: &Message<'_>) -> Fit {
    let (length, code) = (message.u32(0) as usize, message.u32(4));
    match code {
        PG_SSL | PG_GSS => return Fit::certain(length == 8 && message.length == 8),
        PG_CANCEL => return Fit::certain(length == 16 && message.length == 16),
        PG_VERSION_3 if length == message.length => return Fit::Certain,
        _ => {}
    }
    let length = match message.payload() {
        [_, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    };
    Fit::plausible(postgresql_type(message.u8(0)).is_some() && (4..1 << 30).contains(&length))
}

pub(super) fn postgresql<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    packet.push_summary("PostgreSQL ");
    packet.push_summary(match message.u32(4) {
        PG_SSL => "SSL request",
        PG_GSS => "GSSAPI request",
        PG_CANCEL => "cancel request",
        PG_VERSION_3 => "startup",
        _ => postgresql_type(message.u8(0)).unwrap_or("message"),
    });
}

/// MySQL's packets: a length of three bytes, little-endian, and a number.
pub(super) fn mysql_fit(message: &Message<'_>) -> Fit {
    let [a, b, c, number, first, rest @ ..] = message.payload() else {
        return Fit::No;
    };
    let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
    let whole = length.saturating_add(4) == message.length;
    // The server's greeting: protocol version 10, and its version as text.
    if whole && *number == 0 && *first == 10 {
        let is_shown = |byte: &&u8| matches!(byte, b' '..=b'~');
        let version = rest.iter().take_while(is_shown).count();
        if version >= 5 && rest.get(version) == Some(&0) {
            return Fit::Certain;
        }
    }
    Fit::plausible(length > 0 && length.saturating_add(4) <= message.length)
}

pub(super) fn mysql<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let [_, _, _, number, first, rest @ ..] = message.payload() else {
        return;
    };
    packet.push_summary(match (number, first) {
        (0, 10) => {
            let version = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("MySQL greeting, server {}", text(version, 40))
        }
        (0, 1) => "MySQL quit".into(),
        (0, 3) => "MySQL query".into(),
        (0, 14) => "MySQL ping".into(),
        (_, 0) => "MySQL OK".into(),
        (_, 0xff) => {
            let code = match rest {
                [low, high, ..] => u16::from_le_bytes([*low, *high]),
                _ => 0,
            };
            format!("MySQL error {code}")
        }
        _ => format!("MySQL packet {number}, {} bytes", message.length),
    });
}

pub(super) fn amqp_fit(message: &Message<'_>) -> Fit {
    if message.payload().starts_with(b"AMQP") {
        return Fit::certain(message.length == 8);
    }
    // AMQP 0-9-1: type, channel, length, payload, 0xce.
    let length = message.u32(3) as usize;
    let end = message.payload().get(length.saturating_add(7));
    Fit::plausible(matches!(message.u8(0), 1 | 2 | 3 | 8) && end.is_none_or(|byte| *byte == 0xce))
}

pub(super) fn amqp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    if let [b'A', b'M', b'Q', b'P', id, major, minor, revision, ..] = message.payload() {
        let shown = match id {
            0 if *major == 0 => format!("{major}-{minor}-{revision}"),
            _ => format!("{major}.{minor}.{revision}"),
        };
        return packet.write_summary(format_args!("AMQP protocol header, version {shown}"));
    }
    let kind = match message.u8(0) {
        1 => "method",
        2 => "content header",
        3 => "content body",
        _ => "heartbeat",
    };
    packet.write_summary(format_args!("AMQP {kind}, channel {}", message.u16(1)));
}

fn mqtt_type(byte: u8) -> Option<&'static str> {
    let name = match byte >> 4 {
        1 => "connect",
        2 => "connect ack",
        3 => "publish",
        4 => "publish ack",
        5 => "publish received",
        6 => "publish release",
        7 => "publish complete",
        8 => "subscribe",
        9 => "subscribe ack",
        10 => "unsubscribe",
        11 => "unsubscribe ack",
        12 => "ping request",
        13 => "ping response",
        14 => "disconnect",
        15 => "auth",
        _ => return None,
    };
    // Flags are fixed but for publish (MQTT 5.0, section 2.1.3).
    let flags = byte & 0x0f;
    let expected = match byte >> 4 {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    (flags == expected).then_some(name)
}

pub(super) fn mqtt_fit(message: &Message<'_>) -> Fit {
    if mqtt_type(message.u8(0)).is_none() {
        return Fit::No;
    }
    // The remaining length: seven bits a byte, at most four bytes.
    let mut length = 0usize;
    let mut at = 1usize;
    loop {
        let Some(byte) = message.payload().get(at) else {
            return Fit::No;
        };
        let part = usize::from(byte & 0x7f) << at.saturating_sub(1).saturating_mul(7).min(21);
        length |= part;
        at = at.saturating_add(1);
        if byte & 0x80 == 0 {
            break;
        }
        if at > 4 {
            return Fit::No;
        }
    }
    let name = message.payload().get(at..).unwrap_or_default();
    if message.u8(0) == 0x10
        && (name.starts_with(b"\0\x04MQTT") || name.starts_with(b"\0\x06MQIsdp"))
    {
        return Fit::Certain;
    }
    Fit::plausible(at.saturating_add(length) <= message.length)
}

pub(super) fn mqtt<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let name = mqtt_type(message.u8(0)).unwrap_or("message");
    packet.write_summary(format_args!("MQTT {name}"));
}

/// A message of SMB over TCP: a zero byte and a length of three bytes (MS-SMB2, section 2.1), then a mark.
fn is_smb(message: &Message<'_>, marks: &[&[u8]]) -> bool {
    let bytes = message.payload();
    let after = bytes.get(4..).unwrap_or_default();
    message.u8(0) == 0 && marks.iter().any(|mark| after.starts_with(mark))
}

pub(super) fn smb2_fit(message: &Message<'_>) -> Fit {
    Fit::certain(is_smb(message, &[b"\xfeSMB", b"\xfdSMB", b"\xfcSMB"]))
}

pub(super) fn smb_fit(message: &Message<'_>) -> Fit {
    Fit::certain(is_smb(message, &[b"\xffSMB"]))
}

pub(super) fn smb2<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("smb2", |packet| {
        from.skip(4)?;
        match from.u8()? {
            0xfd => {
                packet.write_summary(format_args!("SMB2 encrypted, {} bytes", message.length));
                return Ok(());
            }
            0xfc => {
                packet.write_summary(format_args!("SMB2 compressed, {} bytes", message.length));
                return Ok(());
            }
            _ => {}
        }
        from.skip(7)?;
        let status = from.u32()?.swap_bytes();
        let command = from.u16()?.swap_bytes();
        from.skip(2)?;
        let reply = from.u32()?.swap_bytes() & 1 == 1;
        let name = match command {
            0 => "negotiate",
            1 => "session setup",
            2 => "logoff",
            3 => "tree connect",
            4 => "tree disconnect",
            5 => "create",
            6 => "close",
            7 => "flush",
            8 => "read",
            9 => "write",
            10 => "lock",
            11 => "ioctl",
            12 => "cancel",
            13 => "echo",
            14 => "query directory",
            15 => "change notify",
            16 => "query info",
            17 => "set info",
            18 => "oplock break",
            _ => "command",
        };
        packet.write_summary(format_args!(
            "SMB2 {name} {}",
            if reply { "reply" } else { "request" }
        ));
        if reply && status != 0 {
            packet.write_summary(format_args!(", status {status:#010x}"));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn smb<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    packet.write_summary(format_args!(
        "SMB1 command {:#04x}, {} bytes",
        message.u8(8),
        message.length
    ));
}

/// TPKT (RFC 1006), then X.224: the connection request or confirmation, or data.
pub(super) fn rdp_fit(message: &Message<'_>) -> Fit {
    let [3, 0, _, _, indicator, code, ..] = message.payload() else {
        return Fit::No;
    };
    let whole = message.u16(2) == message.length;
    match code {
        0xe0 | 0xd0 => {
            Fit::plausible(whole && usize::from(*indicator).saturating_add(5) == message.length)
        }
        0xf0 => Fit::plausible(*indicator == 2),
        _ => Fit::No,
    }
}

pub(super) fn rdp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    packet.push_summary(match message.u8(5) {
        0xe0 => "RDP connection request".into(),
        0xd0 => "RDP connection confirm".into(),
        _ => format!("RDP data, {} bytes", message.length),
    });
}
