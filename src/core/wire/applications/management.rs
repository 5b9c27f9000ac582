//! PURE. What networks are run with: RADIUS (RFC 2865), SNMP (RFC 3416), TFTP (RFC 1350), NetFlow (RFC 3954), IPFIX
//! (RFC 7011), sFlow, PTP (IEEE 1588), BFD (RFC 5880), LDP (RFC 5036), BGP (RFC 4271),
//! NTP (RFC 5905), WCCP, Wake-on-LAN.

use super::super::Packet;
use super::super::cursor::{Cursor, Mac, UnexpectedEnd, text};
use super::message::{Fit, Message};

/// A command and version 1 or 2 (RFC 2453, section 4; RFC 2080, section 2.1).
pub(super) fn rip_fit(message: &Message<'_>) -> Fit {
    let sound = (1..=12).contains(&message.u8(0)) && matches!(message.u8(1), 1 | 2);
    Fit::plausible(sound && message.length >= 4)
}

/// Version 0 and an operation (RFC 2281, section 5.1), of which Cisco's advertisement (3) has another form, or the type
/// and length of version 2's first field.
pub(super) fn hsrp_fit(message: &Message<'_>) -> Fit {
    let least = if message.u8(1) == 3 { 8 } else { 20 };
    let first = message.u8(0) == 0 && message.u8(1) <= 3 && message.length >= least;
    let second = (1..=4).contains(&message.u8(0)) && usize::from(message.u8(1)) < message.length;
    Fit::plausible(first || second)
}

/// Code, identifier, length, authenticator of 16 bytes.
pub(super) fn radius_fit(message: &Message<'_>) -> Fit {
    let known = radius_code(message.u8(0)).is_some();
    Fit::plausible(known && message.u16(2) == message.length && message.length >= 20)
}

fn radius_code(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "access request",
        2 => "access accept",
        3 => "access reject",
        4 => "accounting request",
        5 => "accounting response",
        11 => "access challenge",
        12 => "status server",
        13 => "status client",
        40 => "disconnect request",
        41 => "disconnect ack",
        42 => "disconnect nak",
        43 => "CoA request",
        44 => "CoA ack",
        45 => "CoA nak",
        _ => return None,
    })
}

pub(super) fn radius<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let code = radius_code(message.u8(0)).unwrap_or("message");
    packet.write_summary(format_args!("RADIUS {code}, id {}", message.u8(1)));
}

/// Reads the head of an element of BER: its tag and length.
fn ber(from: &mut Cursor<'_>) -> Result<(u8, usize), UnexpectedEnd> {
    let tag = from.u8()?;
    let first = from.u8()?;
    let length = match first {
        0x81 => usize::from(from.u8()?),
        0x82 => usize::from(from.u16()?),
        short => usize::from(short & 0x7f),
    };
    Ok((tag, length))
}

pub(super) fn snmp_fit(message: &Message<'_>) -> Fit {
    if message.u8(0) != 0x30 {
        return Fit::No;
    }
    let mut from = message.bytes;
    let mut version = || {
        let (tag, _) = ber(&mut from)?;
        let (integer, length) = ber(&mut from)?;
        Ok::<_, UnexpectedEnd>((tag, integer, length, from.u8()?))
    };
    Fit::certain(matches!(version(), Ok((0x30, 2, 1, 0 | 1 | 3))))
}

pub(super) fn snmp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("snmp", |packet| {
        ber(&mut from)?;
        ber(&mut from)?;
        let version = from.u8()?;
        packet.push_summary(match version {
            0 => "SNMPv1",
            1 => "SNMPv2c",
            _ => "SNMPv3",
        });
        if version > 1 {
            packet.write_summary(format_args!(", {} bytes", message.length));
            return Ok(());
        }
        // The community is a password and is not shown.
        let (_, community) = ber(&mut from)?;
        from.skip(community)?;
        let (kind, _) = ber(&mut from)?;
        let name = match kind {
            0xa0 => "get request",
            0xa1 => "get next request",
            0xa2 => "response",
            0xa3 => "set request",
            0xa4 | 0xa7 => "trap",
            0xa5 => "get bulk request",
            0xa6 => "inform request",
            0xa8 => "report",
            _ => "message",
        };
        packet.write_summary(format_args!(" {name}"));
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn tftp_fit(message: &Message<'_>) -> Fit {
    Fit::plausible((1..=6).contains(&message.u16(0)) && message.length >= 4)
}

pub(super) fn tftp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("tftp", |packet| {
        let operation = from.u16()?;
        let mut fields = from.rest().split(|byte| *byte == 0);
        let mut field = || text(fields.next().unwrap_or_default(), 80);
        packet.push_summary(match operation {
            1 => format!("TFTP read {} ({})", field(), field()),
            2 => format!("TFTP write {} ({})", field(), field()),
            3 => format!("TFTP data, block {}", message.u16(2)),
            4 => format!("TFTP ack, block {}", message.u16(2)),
            5 => format!("TFTP error {}", message.u16(2)),
            _ => "TFTP option ack".into(),
        });
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn netflow_fit(message: &Message<'_>) -> Fit {
    let records = message.u16(2);
    Fit::plausible(
        matches!(message.u16(0), 1 | 5 | 7 | 8 | 9) && records > 0 && message.length >= 16,
    )
}

pub(super) fn netflow<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let (version, records) = (message.u16(0), message.u16(2));
    packet.write_summary(format_args!("NetFlow v{version}, records {records}"));
    if version == 9 {
        packet.write_summary(format_args!(", source {}", message.u32(16)));
    }
}

pub(super) fn ipfix_fit(message: &Message<'_>) -> Fit {
    let whole = message.u16(2) == message.length && message.length >= 16;
    Fit::plausible(message.u16(0) == 10 && whole)
}

pub(super) fn ipfix<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    packet.write_summary(format_args!(
        "IPFIX, domain {}, {} bytes",
        message.u32(12),
        message.length
    ));
}

pub(super) fn sflow_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(matches!(message.u32(0), 2 | 4 | 5) && matches!(message.u32(4), 1 | 2))
}

pub(super) fn sflow<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("sflow", |packet| {
        let (version, kind) = (from.u32()?, from.u32()?);
        let agent = if kind == 1 {
            from.ipv4()?.to_string()
        } else {
            from.ipv6()?.to_string()
        };
        packet.write_summary(format_args!("sFlow v{version}, agent {agent}"));
        if version == 5 {
            let (sub_agent, sequence) = (from.u32()?, from.u32()?);
            from.skip(4)?;
            let samples = from.u32()?;
            packet.write_summary(format_args!(
                ", sub-agent {sub_agent}, seq {sequence}, samples {samples}"
            ));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn ptp_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(matches!(message.u8(1) & 0x0f, 1 | 2) && message.length >= 34)
}

pub(super) fn ptp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    ptp_message(packet, message.bytes);
}

/// Reads a message of PTP, over UDP or Ethernet.
pub(in super::super) fn ptp_message(packet: &mut Packet<'_>, mut from: Cursor<'_>) {
    packet.read("ptp", |packet| {
        let kind = from.u8()? & 0x0f;
        let version = from.u8()? & 0x0f;
        let name = match kind {
            0 => "sync",
            1 => "delay request",
            2 => "peer delay request",
            3 => "peer delay response",
            8 => "follow-up",
            9 => "delay response",
            10 => "peer delay response follow-up",
            11 => "announce",
            12 => "signaling",
            13 => "management",
            _ => "message",
        };
        from.skip(2)?;
        let domain = from.u8()?;
        packet.write_summary(format_args!("PTPv{version} {name}, domain {domain}"));
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn bfd_fit(message: &Message<'_>) -> Fit {
    let length = usize::from(message.u8(3));
    let version = message.u8(0) >> 5;
    let echo = message.source == 3785 || message.destination == 3785;
    Fit::plausible(echo || matches!(version, 0 | 1) && length >= 24 && length <= message.length)
}

pub(super) fn bfd<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    if message.source == 3785 || message.destination == 3785 {
        return packet.write_summary(format_args!("BFD echo, {} bytes", message.length));
    }
    let mut from = message.bytes;
    packet.read("bfd", |packet| {
        let head = from.u8()?;
        let flags = from.u8()?;
        let multiplier = from.u8()?;
        from.skip(1)?;
        let (mine, yours, interval) = (from.u32()?, from.u32()?, from.u32()?);
        let state = ["admin down", "down", "init", "up"]
            .get(usize::from(flags >> 6))
            .copied()
            .unwrap_or_default();
        packet.write_summary(format_args!(
            "BFD {state}, mine {mine:#x}, yours {yours:#x}, every {} ms, multiplier {multiplier}",
            interval / 1000
        ));
        if head & 0x1f != 0 {
            packet.write_summary(format_args!(", diagnostic {}", head & 0x1f));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// Version 1, then the length of what follows.
pub(super) fn ldp_fit(message: &Message<'_>) -> Fit {
    let length = message.u16(2);
    Fit::plausible(message.u16(0) == 1 && length >= 6 && length.saturating_add(4) <= message.length)
}

pub(super) fn ldp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("ldp", |packet| {
        from.skip(4)?;
        let router = from.ipv4()?;
        from.skip(2)?;
        let name = match from.u16()? & 0x7fff {
            0x0001 => "notification",
            0x0100 => "hello",
            0x0200 => "initialization",
            0x0201 => "keepalive",
            0x0300 => "address",
            0x0301 => "address withdraw",
            0x0400 => "label mapping",
            0x0401 => "label request",
            0x0402 => "label withdraw",
            0x0403 => "label release",
            0x0404 => "label abort request",
            _ => "message",
        };
        packet.write_summary(format_args!("LDP {name}, router {router}"));
        Ok::<(), UnexpectedEnd>(())
    });
}

/// A marker of 16 bytes of ones, a length, a type.
pub(super) fn bgp_fit(message: &Message<'_>) -> Fit {
    let marked = message.payload().starts_with(&[0xff; 16]);
    let sound = (19..=65_535).contains(&message.u16(16)) && (1..=5).contains(&message.u8(18));
    Fit::certain(marked && sound)
}

pub(super) fn bgp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("bgp", |packet| {
        from.skip(18)?;
        match from.u8()? {
            1 => {
                let (version, system, hold) = (from.u8()?, from.u16()?, from.u16()?);
                let router = from.ipv4()?;
                packet.write_summary(format_args!(
                    "BGP{version} open, AS {system}, hold time {hold} s, router {router}"
                ));
            }
            2 => packet.write_summary(format_args!("BGP update, {} bytes", message.u16(16))),
            3 => {
                let (code, subcode) = (from.u8()?, from.u8()?);
                let name = match code {
                    1 => "message header error",
                    2 => "open error",
                    3 => "update error",
                    4 => "hold timer expired",
                    5 => "state machine error",
                    6 => "cease",
                    _ => "error",
                };
                packet.write_summary(format_args!("BGP notification: {name} ({code}/{subcode})"));
            }
            4 => packet.push_summary("BGP keepalive"),
            _ => packet.push_summary("BGP route refresh"),
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn wccp_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(matches!(message.u32(0), 7..=13))
}

pub(super) fn wccp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let name = match message.u32(0) {
        7 | 10 => "here I am",
        8 | 11 => "I see you",
        9 | 12 => "redirect assignment",
        _ => "removal query",
    };
    let version = if message.u32(0) < 10 { 1 } else { 2 };
    packet.write_summary(format_args!("WCCPv{version} {name}"));
}

/// Returns the MAC address that a magic packet wakes: six bytes of ones, then the address 16 times.
fn magic(bytes: &[u8]) -> Option<Mac> {
    let (ones, rest) = bytes.split_first_chunk::<6>()?;
    let (mac, _) = rest.split_first_chunk::<6>()?;
    let repeated = rest
        .chunks(6)
        .take(16)
        .all(|part| part == mac.get(..part.len()).unwrap_or_default());
    (*ones == [0xff; 6] && repeated && rest.len() >= 48).then_some(Mac(*mac))
}

pub(super) fn wol_fit(message: &Message<'_>) -> Fit {
    Fit::certain(message.length >= 102 && magic(message.payload()).is_some())
}

pub(super) fn wol<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    wake(packet, message.bytes);
}

/// Shows a magic packet, over UDP or Ethernet.
pub(in super::super) fn wake(packet: &mut Packet<'_>, mut from: Cursor<'_>) {
    match magic(from.rest()) {
        Some(mac) => packet.write_summary(format_args!("Wake-on-LAN for {mac}")),
        None => packet.push_summary("Wake-on-LAN, no magic packet"),
    }
}

pub(super) fn ntp_fit(message: &Message<'_>) -> Fit {
    let version = message.u8(0) >> 3 & 7;
    let control = message.u8(0) & 7 >= 6;
    Fit::plausible((1..=4).contains(&version) && (control || message.length >= 48))
}

/// NTP (RFC 5905).
pub(super) fn ntp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("ntp", |packet| {
        let head = from.u8()?;
        let stratum = from.u8()?;
        let mode = match head & 7 {
            1 => "symmetric active",
            2 => "symmetric passive",
            3 => "client",
            4 => "server",
            5 => "broadcast",
            6 => "control",
            _ => "private",
        };
        packet.write_summary(format_args!("NTPv{} {mode}", head >> 3 & 7));
        if (head & 7) < 6 {
            packet.write_summary(format_args!(", stratum {stratum}"));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}
