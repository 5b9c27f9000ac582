//! PURE. TLS (RFC 8446), DTLS (RFC 9147) and QUIC (RFC 9000, RFC 9369): what is readable of encrypted
//! connections, which is who they are for.

use super::super::Packet;
use super::super::cursor::{Cursor, UnexpectedEnd, hex, text};
use super::message::{Fit, Message};

/// Maximum length of a TLS record with expansion, in bytes (RFC 8446, section 5.2; RFC 5246 allows more).
const RECORD_MAX: usize = (1 << 14) + 2048;
/// Maximum number of extensions read of a hello. Browsers send about 20.
const MAX_EXTENSIONS: usize = 64;
/// Maximum number of ALPN names shown.
const MAX_ALPN: usize = 4;

fn version(number: u16) -> String {
    match number {
        0x0300 => "SSL 3.0".into(),
        0x0301 => "TLS 1.0".into(),
        0x0302 => "TLS 1.1".into(),
        0x0303 => "TLS 1.2".into(),
        0x0304 => "TLS 1.3".into(),
        0xfeff => "DTLS 1.0".into(),
        0xfefd => "DTLS 1.2".into(),
        0xfefc => "DTLS 1.3".into(),
        other => format!("TLS version {other:#06x}"),
    }
}

/// Returns whether a value of a version list is a reserved one that tests tolerance (RFC 8701).
fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

pub(super) fn tls_fit(message: &Message<'_>) -> Fit {
    let [kind, 3, minor, _, _, rest @ ..] = message.payload() else {
        return Fit::No;
    };
    let length = message.u16(3);
    if *minor > 4 || length == 0 || length > RECORD_MAX {
        return Fit::No;
    }
    match kind {
        // A handshake message that says what it is; encrypted ones of TLS 1.2 do not.
        22 => match rest {
            [1 | 2 | 4 | 11..=16 | 20, 0, _, _, ..] => Fit::Certain,
            _ => Fit::Plausible,
        },
        20 => Fit::certain(length == 1 && rest.first() == Some(&1)),
        // In the clear, or with the least that encryption adds.
        21 => match rest {
            [1 | 2, _, ..] if length == 2 => Fit::Certain,
            _ => Fit::plausible(length >= 18),
        },
        // A whole record in the segment, or the first of several.
        23 => Fit::Certain,
        24 => Fit::Plausible,
        _ => Fit::No,
    }
}

pub(super) fn tls<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("tls", |packet| {
        let kind = from.u8()?;
        let record_version = from.u16()?;
        let length = usize::from(from.u16()?);
        record(packet, "TLS", (kind, record_version, length), &mut from)
    });
}

/// Reads the content of a record of TLS or DTLS.
fn record<'a>(
    packet: &mut Packet<'a>,
    name: &str,
    (kind, record_version, length): (u8, u16, usize),
    from: &mut Cursor<'a>,
) -> Result<(), UnexpectedEnd> {
    match kind {
        20 => packet.write_summary(format_args!("{name} change cipher spec")),
        21 if length == 2 => {
            let (level, description) = (from.u8()?, from.u8()?);
            let level = if level == 2 { "fatal" } else { "warning" };
            packet.write_summary(format_args!(
                "{name} alert, {level}: {}",
                alert(description)
            ));
        }
        21 => packet.write_summary(format_args!("{name} alert, encrypted")),
        22 => handshake(packet, name, record_version, from)?,
        23 => packet.write_summary(format_args!("{name} application data, {length} bytes")),
        24 => packet.write_summary(format_args!("{name} heartbeat")),
        25 => packet.write_summary(format_args!("{name} connection id")),
        26 => packet.write_summary(format_args!("{name} ack")),
        other => packet.write_summary(format_args!("{name} record type {other}")),
    }
    Ok(())
}

/// Alert descriptions (RFC 8446, section 6).
fn alert(number: u8) -> String {
    let name = match number {
        0 => "close notify",
        10 => "unexpected message",
        20 => "bad record MAC",
        22 => "record overflow",
        40 => "handshake failure",
        42 => "bad certificate",
        43 => "unsupported certificate",
        44 => "certificate revoked",
        45 => "certificate expired",
        46 => "certificate unknown",
        47 => "illegal parameter",
        48 => "unknown CA",
        49 => "access denied",
        50 => "decode error",
        51 => "decrypt error",
        70 => "protocol version",
        71 => "insufficient security",
        80 => "internal error",
        86 => "inappropriate fallback",
        90 => "user canceled",
        109 => "missing extension",
        110 => "unsupported extension",
        112 => "unrecognized name",
        113 => "bad certificate status response",
        115 => "unknown PSK identity",
        116 => "certificate required",
        120 => "no application protocol",
        other => return format!("alert {other}"),
    };
    name.into()
}

fn handshake<'a>(
    packet: &mut Packet<'a>,
    name: &str,
    record_version: u16,
    from: &mut Cursor<'a>,
) -> Result<(), UnexpectedEnd> {
    let kind = from.u8()?;
    let high = from.u8()?;
    let known = match kind {
        0 => "hello request",
        1 => "client hello",
        2 => "server hello",
        3 => "hello verify request",
        4 => "new session ticket",
        11 => "certificate",
        12 => "server key exchange",
        13 => "certificate request",
        14 => "server hello done",
        15 => "certificate verify",
        16 => "client key exchange",
        20 => "finished",
        _ => "",
    };
    if known.is_empty() || high != 0 {
        packet.write_summary(format_args!("{name} handshake, encrypted"));
        return Ok(());
    }
    from.skip(2)?;
    if name == "DTLS" {
        // Message sequence, fragment offset and fragment length (RFC 9147, section 5.2).
        from.skip(8)?;
    }
    if !matches!(kind, 1 | 2) {
        packet.write_summary(format_args!("{} {known}", version(record_version)));
        return Ok(());
    }
    // A hello may be longer than the captured bytes or than its segment: what is there is shown.
    let mut hello = Hello {
        version: record_version,
        ..Hello::default()
    };
    let read = hello.read(kind == 1, name == "DTLS", from);
    if hello.version == 0 {
        hello.version = record_version;
    }
    packet.write_summary(format_args!("{} {known}", version(hello.version)));
    if let Some(server) = &hello.server_name {
        packet.write_summary(format_args!(", server name {server}"));
    }
    if !hello.alpn.is_empty() {
        packet.write_summary(format_args!(", ALPN {}", hello.alpn.join(" ")));
    }
    if let Some(suite) = hello.cipher_suite {
        packet.write_summary(format_args!(", cipher suite {suite:#06x}"));
    }
    packet.server_name = packet.server_name.take().or(hello.server_name);
    read
}

/// The readable parts of a client hello or server hello.
#[derive(Default)]
struct Hello {
    /// The highest version offered, or the one chosen.
    version: u16,
    server_name: Option<String>,
    alpn: Vec<String>,
    /// The one chosen.
    cipher_suite: Option<u16>,
}

impl Hello {
    fn read(
        &mut self,
        client: bool,
        datagram: bool,
        from: &mut Cursor<'_>,
    ) -> Result<(), UnexpectedEnd> {
        self.version = from.u16()?;
        from.skip(32)?;
        let session = from.u8()?;
        from.skip(session.into())?;
        if client {
            if datagram {
                let cookie = from.u8()?;
                from.skip(cookie.into())?;
            }
            let suites = from.u16()?;
            from.skip(suites.into())?;
            let compressions = from.u8()?;
            from.skip(compressions.into())?;
        } else {
            self.cipher_suite = Some(from.u16()?);
            from.skip(1)?;
        }
        if from.is_empty() {
            return Ok(());
        }
        let mut left = usize::from(from.u16()?);
        for _ in 0..MAX_EXTENSIONS {
            if left < 4 {
                break;
            }
            let (kind, length) = (from.u16()?, usize::from(from.u16()?));
            left = left.saturating_sub(4).saturating_sub(length);
            let mut value = from.sub(length)?;
            match kind {
                // RFC 6066, section 3: list length, type, name.
                0 if client && length > 5 => {
                    value.skip(2)?;
                    let host = value.u8()? == 0;
                    let length = value.u16()?;
                    let name = text(value.take(length.into())?, 255);
                    if host {
                        self.server_name = Some(name);
                    }
                }
                // RFC 7301.
                16 if length > 2 => {
                    value.skip(2)?;
                    while !value.is_empty() && self.alpn.len() < MAX_ALPN {
                        let length = value.u8()?;
                        self.alpn.push(text(value.take(length.into())?, 32));
                    }
                }
                // RFC 8446, section 4.2.1: a list from clients, one version from servers.
                43 if client && length > 1 => {
                    value.skip(1)?;
                    let mut best = 0;
                    while value.left() >= 2 {
                        let offered = value.u16()?;
                        // Versions of DTLS count down.
                        let newer = if datagram {
                            best == 0 || offered < best
                        } else {
                            offered > best
                        };
                        if !is_grease(offered) && newer {
                            best = offered;
                        }
                    }
                    if best != 0 {
                        self.version = best;
                    }
                }
                43 if length == 2 => self.version = value.u16()?,
                _ => {}
            }
        }
        Ok(())
    }
}

pub(super) fn dtls_fit(message: &Message<'_>) -> Fit {
    let [kind, 0xfe, minor, ..] = message.payload() else {
        return Fit::No;
    };
    let fits = message.u16(11).saturating_add(13) <= message.length;
    Fit::certain((20..=26).contains(kind) && matches!(minor, 0xff | 0xfd | 0xfc) && fits)
}

pub(super) fn dtls<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("dtls", |packet| {
        let (kind, record_version, epoch) = (from.u8()?, from.u16()?, from.u16()?);
        from.skip(6)?;
        let length = usize::from(from.u16()?);
        if epoch > 0 {
            packet.write_summary(format_args!("DTLS epoch {epoch}, {length} bytes"));
            return Ok(());
        }
        record(packet, "DTLS", (kind, record_version, length), &mut from)
    });
}

/// Name of a QUIC version, `None` for numbers that no version has.
fn quic_version(number: u32) -> Option<String> {
    match number {
        0 => Some("version negotiation".into()),
        1 => Some("v1".into()),
        0x6b33_43cf => Some("v2".into()),
        0xff00_0001..=0xff00_0022 => Some(format!("draft {}", number & 0xff)),
        // Reserved to force version negotiation (RFC 9000, section 15).
        number if number & 0x0f0f_0f0f == 0x0a0a_0a0a => Some(format!("version {number:#x}")),
        _ => None,
    }
}

pub(super) fn quic_fit(message: &Message<'_>) -> Fit {
    let first = message.u8(0);
    if first & 0x80 == 0 {
        // A short header has no version. Its fixed bit, and the least that protection needs.
        return Fit::plausible(first & 0x40 != 0 && message.length >= 21);
    }
    let number = message.u32(1);
    let short = usize::from(message.u8(5)) <= 20;
    let proved = quic_version(number).is_some() && short && (first & 0x40 != 0 || number == 0);
    Fit::certain(proved && message.length >= 7)
}

pub(super) fn quic<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("quic", |packet| {
        let first = from.u8()?;
        if first & 0x80 == 0 {
            packet.write_summary(format_args!("QUIC short header, {} bytes", message.length));
            return Ok(());
        }
        let number = from.u32()?;
        let shown = quic_version(number).unwrap_or_default();
        let length = from.u8()?;
        let to = hex(from.take(length.into())?, 20);
        let length = from.u8()?;
        let source = hex(from.take(length.into())?, 20);
        // RFC 9369, section 3.2: version 2 counts the types one further.
        let kind = (first >> 4).wrapping_sub(u8::from(number == 0x6b33_43cf)) & 3;
        let kind = match kind {
            _ if number == 0 => "",
            0 => " initial",
            1 => " 0-RTT",
            2 => " handshake",
            _ => " retry",
        };
        packet.write_summary(format_args!("QUIC {shown}{kind}, dcid {to}, scid {source}"));
        Ok::<(), UnexpectedEnd>(())
    });
}
