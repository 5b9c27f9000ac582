//! PURE. Protocols of machines and buildings: Modbus/TCP, OPC UA, CoAP (RFC 7252), BACnet/IP, Omron FINS.

use super::super::Packet;
use super::super::cursor::UnexpectedEnd;
use super::message::{Fit, Message};

/// Modbus's header has a protocol identifier of 0 and the length of what follows it.
pub(super) fn modbus_fit(message: &Message<'_>) -> Fit {
    let length = message.u16(4);
    let fits = (2..=254).contains(&length) && length.saturating_add(6) <= message.length;
    Fit::plausible(message.u16(2) == 0 && fits)
}

pub(super) fn modbus<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("modbus", |packet| {
        let transaction = from.u16()?;
        from.skip(4)?;
        let (unit, function) = (from.u8()?, from.u8()?);
        let name = match function & 0x7f {
            1 => "read coils",
            2 => "read discrete inputs",
            3 => "read holding registers",
            4 => "read input registers",
            5 => "write coil",
            6 => "write register",
            8 => "diagnostics",
            15 => "write coils",
            16 => "write registers",
            22 => "mask write register",
            23 => "read and write registers",
            43 => "device identification",
            _ => "function",
        };
        packet.write_summary(format_args!(
            "Modbus {name} ({}), unit {unit}, transaction {transaction}",
            function & 0x7f
        ));
        if function & 0x80 != 0 {
            packet.write_summary(format_args!(", exception {}", from.u8()?));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// OPC UA's messages begin with three letters and a chunk type (OPC 10000-6, section 7.1.2).
pub(super) fn opcua_fit(message: &Message<'_>) -> Fit {
    let [a, b, c, b'F' | b'C' | b'A', _, _, _, _, ..] = message.payload() else {
        return Fit::No;
    };
    let known = [
        *b"HEL", *b"ACK", *b"ERR", *b"RHE", *b"OPN", *b"CLO", *b"MSG",
    ];
    let length = message.u32(4).swap_bytes();
    Fit::certain(known.contains(&[*a, *b, *c]) && (8..1 << 24).contains(&length))
}

pub(super) fn opcua<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let name = match message.payload().get(..3) {
        Some(b"HEL") => "hello",
        Some(b"ACK") => "acknowledge",
        Some(b"ERR") => "error",
        Some(b"RHE") => "reverse hello",
        Some(b"OPN") => "open secure channel",
        Some(b"CLO") => "close secure channel",
        _ => "message",
    };
    packet.write_summary(format_args!(
        "OPC UA {name}, {} bytes",
        message.u32(4).swap_bytes()
    ));
}

pub(super) fn coap_fit(message: &Message<'_>) -> Fit {
    let (head, code) = (message.u8(0), message.u8(1));
    // Version 1, a token of at most 8 bytes, a class that exists (RFC 7252, section 3; RFC 8323 for 7).
    let sound = head >> 6 == 1 && head & 0x0f <= 8 && matches!(code >> 5, 0 | 2 | 4 | 5 | 7);
    Fit::plausible(sound && message.length >= 4)
}

pub(super) fn coap<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("coap", |packet| {
        let kind = match from.u8()? >> 4 & 3 {
            0 => "confirmable",
            1 => "non-confirmable",
            2 => "ack",
            _ => "reset",
        };
        let code = from.u8()?;
        let id = from.u16()?;
        let shown = match code {
            0 => "empty".into(),
            1 => "GET".into(),
            2 => "POST".into(),
            3 => "PUT".into(),
            4 => "DELETE".into(),
            other => format!("{}.{:02}", other >> 5, other & 0x1f),
        };
        packet.write_summary(format_args!("CoAP {kind} {shown}, id {id}"));
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn bacnet_fit(message: &Message<'_>) -> Fit {
    let known = message.u8(0) == 0x81 && message.u8(1) <= 0x0c;
    Fit::plausible(known && message.u16(2) == message.length)
}

pub(super) fn bacnet<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("bacnet", |packet| {
        from.skip(1)?;
        let function = from.u8()?;
        from.skip(2)?;
        let name = match function {
            0 => "result",
            4 => "forwarded",
            5 => "register foreign device",
            9 => "distribute broadcast",
            10 => "unicast",
            11 => "broadcast",
            _ => "message",
        };
        packet.write_summary(format_args!("BACnet {name}"));
        if !matches!(function, 10 | 11) {
            return Ok(());
        }
        // The network layer (ASHRAE 135, clause 6): version, control, addresses.
        from.skip(1)?;
        let control = from.u8()?;
        if control & 0x20 != 0 {
            from.skip(2)?;
            let length = from.u8()?;
            from.skip(length.into())?;
        }
        if control & 0x08 != 0 {
            from.skip(2)?;
            let length = from.u8()?;
            from.skip(length.into())?;
        }
        if control & 0x20 != 0 {
            from.skip(1)?;
        }
        if control & 0x80 != 0 {
            packet.write_summary(format_args!(", network message {:#04x}", from.u8()?));
            return Ok(());
        }
        let kind = from.u8()? >> 4;
        let shown = match kind {
            0 => "confirmed request",
            1 => "unconfirmed request",
            2 => "simple ack",
            3 => "complex ack",
            4 => "segment ack",
            5 => "error",
            6 => "reject",
            _ => "abort",
        };
        packet.write_summary(format_args!(", {shown}"));
        if kind == 1 {
            let service = from.u8()?;
            let name = match service {
                0 => "I-Am",
                1 => "I-Have",
                2 => "COV notification",
                7 => "Who-Has",
                8 => "Who-Is",
                _ => "service",
            };
            packet.write_summary(format_args!(" {name}"));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// FINS: a control field, a reserved byte, a gateway count.
pub(super) fn fins_fit(message: &Message<'_>) -> Fit {
    let sound = matches!(message.u8(0), 0x80 | 0x81 | 0xc0 | 0xc1) && message.u8(1) == 0;
    Fit::plausible(sound && message.u8(2) <= 7 && message.length >= 12)
}

pub(super) fn fins<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let kind = if message.u8(0) & 0x40 == 0 {
        "command"
    } else {
        "response"
    };
    packet.write_summary(format_args!(
        "FINS {kind} {:#06x}, service {}",
        message.u16(10),
        message.u8(9)
    ));
}
