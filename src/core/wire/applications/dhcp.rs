//! PURE. DHCP (RFC 2131, options RFC 2132) and DHCPv6 (RFC 8415).

use super::super::cursor::{Cursor, Mac, UnexpectedEnd, text};
use super::super::{Packet, ProblemKind, identity};
use super::message::{Fit, Message};

/// A request or a reply of 236 bytes and more (RFC 951).
pub(super) fn dhcp_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(matches!(message.u8(0), 1 | 2) && message.length >= 236)
}

/// DHCP (RFC 2131, options RFC 2132).
pub(super) fn dhcp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    let said = identity::dhcp(from, packet.network.map(|network| network.source));
    identity::keep(packet, said);
    packet.read("dhcp", |packet| {
        let operation = from.u8()?;
        from.skip(3)?;
        let transaction = from.u32()?;
        from.skip(4)?;
        let (client, yours) = (from.ipv4()?, from.ipv4()?);
        from.skip(8)?;
        let mac: Mac = from.mac()?;
        from.skip(10)?;
        from.skip(192)?;
        let cookie = from.left() >= 4 && from.u32()? == 0x6382_5363;
        let mut kind = if operation == 1 {
            "BOOTP request"
        } else {
            "BOOTP reply"
        };
        let mut told = String::new();
        // Options before a cut are shown.
        let outcome = match cookie {
            true => dhcp_options(from, &mut kind, &mut told),
            false => Ok(()),
        };
        packet.write_summary(format_args!("DHCP {kind} {transaction:#010x} for {mac}"));
        if !client.is_unspecified() {
            packet.write_summary(format_args!(", has {client}"));
        }
        if !yours.is_unspecified() {
            packet.write_summary(format_args!(", gets {yours}"));
        }
        packet.push_summary(told);
        outcome
    });
}

/// Reads DHCP options: the type of the message into `kind`, the others of interest into `told`.
fn dhcp_options(
    mut from: Cursor<'_>,
    kind: &mut &'static str,
    told: &mut String,
) -> Result<(), UnexpectedEnd> {
    while !from.is_empty() {
        let option = from.u8()?;
        if option == 0 {
            continue;
        }
        if option == 255 {
            break;
        }
        let length = from.u8()?;
        let mut value = from.sub(length.into())?;
        match (option, length) {
            (53, 1) => {
                *kind = match value.u8()? {
                    1 => "discover",
                    2 => "offer",
                    3 => "request",
                    4 => "decline",
                    5 => "ack",
                    6 => "nak",
                    7 => "release",
                    8 => "inform",
                    9 => "force renew",
                    _ => "message",
                };
            }
            (50, 4) => told.push_str(&format!(", requests {}", value.ipv4()?)),
            (54, 4) => told.push_str(&format!(", server {}", value.ipv4()?)),
            (51, 4) => told.push_str(&format!(", lease {} s", value.u32()?)),
            (3, 4..) => told.push_str(&format!(", router {}", value.ipv4()?)),
            (12, 1..) => told.push_str(&format!(", host {}", text(value.rest(), 64))),
            (56, 1..) => told.push_str(&format!(", says {}", text(value.rest(), 64))),
            _ => {}
        }
    }
    Ok(())
}

/// DHCPv6 (RFC 8415).
pub(super) fn dhcpv6<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    identity::keep(packet, identity::dhcpv6(from));
    packet.read("dhcpv6", |packet| {
        let start = from.offset();
        let kind = from.u8()?;
        let name = match kind {
            1 => "solicit",
            2 => "advertise",
            3 => "request",
            4 => "confirm",
            5 => "renew",
            6 => "rebind",
            7 => "reply",
            8 => "release",
            9 => "decline",
            10 => "reconfigure",
            11 => "information request",
            12 => "relay forward",
            13 => "relay reply",
            other => {
                packet.write_summary(format_args!("DHCPv6 type {other}"));
                packet.problem(
                    ProblemKind::Unknown,
                    "dhcpv6",
                    start,
                    format!("type {other}"),
                );
                return Ok(());
            }
        };
        if matches!(kind, 12 | 13) {
            from.skip(1)?;
            let (link, peer) = (from.ipv6()?, from.ipv6()?);
            packet.write_summary(format_args!("DHCPv6 {name}, link {link}, peer {peer}"));
            return Ok(());
        }
        let [a, b, c] = from.array::<3>()?;
        packet.write_summary(format_args!("DHCPv6 {name} {a:02x}{b:02x}{c:02x}"));
        while !from.is_empty() {
            let (option, length) = (from.u16()?, from.u16()?);
            let mut value = from.sub(length.into())?;
            match option {
                3 if length > 12 => {
                    // An identity association: show its address if that is the first option.
                    value.skip(12)?;
                    if value.left() >= 20 && value.u16()? == 5 {
                        value.skip(2)?;
                        packet.write_summary(format_args!(", address {}", value.ipv6()?));
                    }
                }
                13 if length >= 2 => {
                    let status = value.u16()?;
                    if status != 0 {
                        let words = format!(", status {status} {}", text(value.rest(), 64));
                        packet.push_summary(words.trim_end());
                    }
                }
                23 if length >= 16 => packet.write_summary(format_args!(", dns {}", value.ipv6()?)),
                _ => {}
            }
        }
        Ok(())
    });
}
