//! PURE. Virtual private networks: WireGuard, OpenVPN, IKE (RFC 7296) and ESP in UDP (RFC 3948), L2TP (RFC 2661,
//! RFC 3931).

use super::super::Packet;
use super::super::cursor::{Cursor, UnexpectedEnd};
use super::message::{Fit, Message};

/// WireGuard: a type, three zero bytes, and a fixed length for each type.
pub(super) fn wireguard_fit(message: &Message<'_>) -> Fit {
    let [kind, 0, 0, 0, ..] = message.payload() else {
        return Fit::No;
    };
    match kind {
        1 => Fit::certain(message.length == 148),
        2 => Fit::certain(message.length == 92),
        3 => Fit::certain(message.length == 64),
        4 => Fit::plausible(message.length >= 32 && message.length.is_multiple_of(16)),
        _ => Fit::No,
    }
}

pub(super) fn wireguard<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("wireguard", |packet| {
        let kind = from.u8()?;
        from.skip(3)?;
        let index = from.u32()?.swap_bytes();
        packet.push_summary(match kind {
            1 => format!("WireGuard handshake initiation, sender {index:#010x}"),
            2 => {
                let receiver = from.u32()?.swap_bytes();
                format!(
                    "WireGuard handshake response, sender {index:#010x}, receiver {receiver:#010x}"
                )
            }
            3 => format!("WireGuard cookie reply, receiver {index:#010x}"),
            _ if message.length == 32 => format!("WireGuard keepalive, receiver {index:#010x}"),
            _ => format!(
                "WireGuard data, receiver {index:#010x}, {} bytes",
                message.length
            ),
        });
        Ok::<(), UnexpectedEnd>(())
    });
}

fn openvpn_opcode(byte: u8) -> Option<&'static str> {
    Some(match byte >> 3 {
        1 => "hard reset of client, v1",
        2 => "hard reset of server, v1",
        3 => "soft reset",
        4 => "control",
        5 => "ack",
        6 => "data, v1",
        7 => "hard reset of client",
        8 => "hard reset of server",
        9 => "data",
        10 => "hard reset of client, v3",
        11 => "wrapped client key",
        _ => return None,
    })
}

pub(super) fn openvpn_udp_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(openvpn_opcode(message.u8(0)).is_some() && message.length >= 14)
}

/// Over TCP, each packet is preceded by its length.
pub(super) fn openvpn_tcp_fit(message: &Message<'_>) -> Fit {
    let fits = (14..=message.length.saturating_sub(2)).contains(&message.u16(0));
    Fit::plausible(fits && openvpn_opcode(message.u8(2)).is_some())
}

pub(super) fn openvpn_udp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    openvpn(packet, message.u8(0), message.length);
}

pub(super) fn openvpn_tcp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    openvpn(packet, message.u8(2), message.length);
}

fn openvpn(packet: &mut Packet<'_>, head: u8, length: usize) {
    let name = openvpn_opcode(head).unwrap_or("packet");
    packet.write_summary(format_args!(
        "OpenVPN {name}, key {}, {length} bytes",
        head & 7
    ));
}

/// Returns whether an IKE header stands at `at`: a version, a known exchange, and the length of the message.
fn is_ike(message: &Message<'_>, at: usize) -> bool {
    let field = |offset: usize| at.saturating_add(offset);
    let initiator = message.u32(at) != 0 || message.u32(field(4)) != 0;
    let exchange = message.u8(field(18));
    let known = matches!(exchange, 1..=6 | 32..=43);
    let length = message.u32(field(24)) as usize;
    let version = matches!(message.u8(field(17)), 0x10 | 0x20..=0x2f);
    initiator && version && known && length.saturating_add(at) == message.length
}

pub(super) fn ike_fit(message: &Message<'_>) -> Fit {
    Fit::certain(is_ike(message, 0))
}

/// With the non-ESP marker, four zero bytes (RFC 3948, section 2.2).
pub(super) fn ike_natt_fit(message: &Message<'_>) -> Fit {
    Fit::certain(message.length > 4 && message.u32(0) == 0 && is_ike(message, 4))
}

pub(super) fn ike<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    ike_header(packet, message.bytes);
}

pub(super) fn ike_natt<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    if packet.read("ike", |_| from.skip(4)).is_some() {
        ike_header(packet, from);
    }
}

fn ike_header(packet: &mut Packet<'_>, mut from: Cursor<'_>) {
    packet.read("ike", |packet| {
        let initiator = from.u64()?;
        from.skip(9)?;
        let (version, exchange, flags) = (from.u8()?, from.u8()?, from.u8()?);
        let id = from.u32()?;
        let name = match exchange {
            2 => "main mode".into(),
            4 => "aggressive mode".into(),
            5 => "informational".into(),
            6 => "transaction".into(),
            32 => "quick mode".into(),
            33 => "new group".into(),
            34 => "IKE_SA_INIT".into(),
            35 => "IKE_AUTH".into(),
            36 => "CREATE_CHILD_SA".into(),
            37 => "INFORMATIONAL".into(),
            43 => "IKE_INTERMEDIATE".into(),
            other => format!("exchange {other}"),
        };
        let kind = match version >> 4 {
            2 if flags & 0x20 != 0 => " response",
            2 => " request",
            _ => "",
        };
        packet.write_summary(format_args!(
            "IKEv{} {name}{kind}, initiator {initiator:#018x}, id {id}",
            version >> 4
        ));
        Ok::<(), UnexpectedEnd>(())
    });
}

/// Any SPI but 0 and those reserved (RFC 4303, section 2.1); a single 0xff keeps the binding of NAT alive.
pub(super) fn esp_fit(message: &Message<'_>) -> Fit {
    let keepalive = message.length == 1 && message.u8(0) == 0xff;
    Fit::plausible(keepalive || message.u32(0) > 255 && message.length >= 18)
}

pub(super) fn esp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    if message.length == 1 {
        return packet.push_summary("NAT keepalive");
    }
    esp_header(packet, message.bytes, message.length);
}

/// Reads an ESP header (RFC 4303, section 2).
pub(in super::super) fn esp_header(packet: &mut Packet<'_>, mut from: Cursor<'_>, length: usize) {
    packet.read("esp", |packet| {
        let (spi, sequence) = (from.u32()?, from.u32()?);
        packet.write_summary(format_args!(
            "ESP spi {spi:#010x} seq {sequence}, {length} bytes"
        ));
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn l2tp_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(matches!(message.u8(1) & 0x0f, 2 | 3) && message.length >= 6)
}

pub(super) fn l2tp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("l2tp", |packet| {
        let head = from.u16()?;
        let version = head & 0x0f;
        let kind = if head & 0x8000 != 0 {
            "control"
        } else {
            "data"
        };
        packet.write_summary(format_args!("L2TPv{version} {kind}"));
        if version == 2 {
            if head & 0x4000 != 0 {
                from.skip(2)?;
            }
            let (tunnel, session) = (from.u16()?, from.u16()?);
            packet.write_summary(format_args!(", tunnel {tunnel}, session {session}"));
        }
        packet.write_summary(format_args!(", {} bytes", message.length));
        Ok::<(), UnexpectedEnd>(())
    });
}
