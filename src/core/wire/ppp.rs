//! PURE. PPP (RFC 1661) with its control protocols, PPPoE (RFC 2516) and Cisco HDLC.

use super::cursor::{Cursor, UnexpectedEnd, text};
use super::glance::ethertype as kind;
use super::{Packet, ProblemKind, cursor, ip, mpls};

/// PPP in HDLC-like framing (RFC 1662): address and control may be left out, and so may be the first byte of the
/// protocol (RFC 1661, section 6.5).
pub(super) fn read(packet: &mut Packet<'_>, at: usize, end: usize) {
    packet.protocols.push("ppp");
    let mut from = cursor(&packet.frame, at, end);
    let mut peek = from;
    if matches!(peek.u16(), Ok(0xff03)) {
        from = peek;
    }
    protocol(packet, from, end);
}

fn protocol<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>, end: usize) {
    let number = packet.read("ppp", |_| {
        let first = from.u8()?;
        if first & 1 == 1 {
            return Ok(u16::from(first));
        }
        Ok(u16::from(first) << 8 | u16::from(from.u8()?))
    });
    let at = from.offset();
    let name = match number {
        Some(0x0021) => return ip::read_v4(packet, at, end),
        Some(0x0057) => return ip::read_v6(packet, at, end),
        Some(0x0281 | 0x0283) => return mpls::read(packet, at, end),
        Some(0xc021) => "lcp",
        Some(0x8021) => "ipcp",
        Some(0x8057) => "ipv6cp",
        Some(0x80fd) => "ccp",
        Some(0x8281) => "mplscp",
        Some(0xc023) => "pap",
        Some(0xc223) => "chap",
        Some(0xc227) => "eap",
        Some(0xc025) => "lqr",
        Some(other) => {
            packet.write_summary(format_args!(
                "PPP protocol {other:#06x}, {} bytes",
                from.left()
            ));
            let why = format!("PPP protocol {other:#06x} is not decoded");
            return packet.problem(ProblemKind::Unknown, "ppp", at, why);
        }
        None => return,
    };
    packet.protocols.push(name);
    control(packet, name, from);
}

/// Control protocols have one format (RFC 1661, section 5): code, identifier, length, options.
fn control<'a>(packet: &mut Packet<'a>, name: &'static str, mut from: Cursor<'a>) {
    packet.push_summary(name.to_uppercase());
    packet.read(name, |packet| {
        let (code, id, length) = (from.u8()?, from.u8()?, usize::from(from.u16()?));
        let words: &[&str] = match name {
            "pap" => &[
                "authenticate request",
                "authenticate ack",
                "authenticate nak",
            ],
            "chap" => &["challenge", "response", "success", "failure"],
            "eap" => &["request", "response", "success", "failure"],
            _ => &[
                "configure request",
                "configure ack",
                "configure nak",
                "configure reject",
                "terminate request",
                "terminate ack",
                "code reject",
                "protocol reject",
                "echo request",
                "echo reply",
                "discard request",
                "identification",
            ],
        };
        match words.get(usize::from(code).wrapping_sub(1)) {
            Some(word) => packet.write_summary(format_args!(" {word}")),
            None => packet.write_summary(format_args!(" code {code}")),
        }
        packet.write_summary(format_args!(", id {id}"));
        if !matches!(code, 1..=4) || !matches!(name, "lcp" | "ipcp" | "ipv6cp") {
            return Ok(());
        }
        let mut options = from.sub(length.saturating_sub(4))?;
        while !options.is_empty() {
            let (kind, length) = (options.u8()?, options.u8()?);
            let mut value = options.sub(usize::from(length).saturating_sub(2))?;
            match (name, kind, value.left()) {
                ("lcp", 1, 2) => packet.write_summary(format_args!(", MRU {}", value.u16()?)),
                ("lcp", 3, 2..) => packet.push_summary(match value.u16()? {
                    0xc023 => ", PAP",
                    0xc223 => ", CHAP",
                    0xc227 => ", EAP",
                    _ => ", authentication",
                }),
                ("lcp", 5, 4) => {
                    packet.write_summary(format_args!(", magic {:#010x}", value.u32()?))
                }
                ("ipcp", 3, 4) => packet.write_summary(format_args!(", address {}", value.ipv4()?)),
                ("ipcp", 129 | 131, 4) => {
                    packet.write_summary(format_args!(", dns {}", value.ipv4()?))
                }
                _ => {}
            }
            if length < 2 {
                break;
            }
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// PPPoE discovery (EtherType 0x8863) or session (0x8864).
pub(super) fn over_ethernet(packet: &mut Packet<'_>, number: u16, at: usize, end: usize) {
    let discovery = number == kind::PPPOE_DISCOVERY;
    let name = if discovery { "pppoed" } else { "pppoe" };
    packet.protocols.push(name);
    let mut from = cursor(&packet.frame, at, end);
    let head = packet.read(name, |_| {
        let version = from.u8()?;
        Ok((version, from.u8()?, from.u16()?, usize::from(from.u16()?)))
    });
    let Some((version, code, session, length)) = head else {
        return;
    };
    if version != 0x11 {
        let why = format!("version and type {version:#04x}, not 0x11");
        return packet.problem(ProblemKind::Malformed, name, at, why);
    }
    let stop = from.offset().saturating_add(length).min(end);
    if !discovery {
        let prefix = format!("PPPoE session {session:#06x}");
        packet.protocols.push("ppp");
        let inner = cursor(&packet.frame, from.offset(), stop);
        return packet.push_inner(&prefix, |packet| protocol(packet, inner, stop));
    }
    packet.push_summary(match code {
        0x09 => "PADI".into(),
        0x07 => "PADO".into(),
        0x19 => "PADR".into(),
        0x65 => format!("PADS, session {session:#06x}"),
        0xa7 => format!("PADT, session {session:#06x}"),
        other => format!("PPPoE discovery code {other:#04x}"),
    });
    let mut tags = cursor(&packet.frame, from.offset(), stop);
    packet.read(name, |packet| {
        while tags.left() >= 4 {
            let (kind, length) = (tags.u16()?, usize::from(tags.u16()?));
            let value = tags.take(length)?;
            let label = match kind {
                0x0000 => break,
                0x0101 if length > 0 => "service",
                0x0102 => "concentrator",
                0x0201 => "service name error",
                0x0202 => "concentrator error",
                0x0203 => "error",
                _ => continue,
            };
            packet.write_summary(format_args!(", {label} {}", text(value, 64)));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// LINKTYPE_C_HDLC: address, control, then an EtherType.
pub(super) fn cisco_hdlc(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("chdlc");
    let mut from = cursor(&packet.frame, 0, end);
    let Some((_, number)) = packet.read("chdlc", |_| Ok((from.u16()?, from.u16()?))) else {
        return;
    };
    match number {
        0x8035 => {
            packet.protocols.push("slarp");
            packet.read("slarp", |packet| {
                match from.u32()? {
                    0 => packet.push_summary("SLARP address request"),
                    1 => packet.push_summary("SLARP address reply"),
                    _ => {
                        let (mine, yours) = (from.u32()?, from.u32()?);
                        packet.write_summary(format_args!(
                            "SLARP keepalive, mine {mine}, yours {yours}"
                        ));
                    }
                }
                Ok::<(), UnexpectedEnd>(())
            });
        }
        number => super::read_ethertype(packet, number, from.offset(), end),
    }
}
