//! PURE. Names and discovery: DNS, mDNS, LLMNR, NetBIOS names and datagrams, SSDP.

use super::super::Packet;
use super::super::cursor::{Cursor, UnexpectedEnd, first_line, text};
use super::super::dns_name::{MAX_RECORDS, name};
use super::super::identity;
use super::message::{Fit, Message};

/// A header of 12 bytes whose counts fit the message (RFC 1035, section 4.1.1).
pub(super) fn dns_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(message.length >= 12)
}

/// Over TCP, each message is preceded by its length (RFC 1035, section 4.2.2). Later segments have none.
pub(super) fn dns_tcp_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(message.u16(0) >= 12 && message.length >= 14)
}

pub(super) fn dns_tcp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    if packet.read("dns", |_| from.skip(2)).is_some() {
        dns(packet, "dns", from);
    }
}

/// NetBIOS name service (RFC 1002).
pub(super) fn nbns<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    identity::keep(packet, identity::netbios(message.bytes));
    packet.write_summary(format_args!("NetBIOS name, {} bytes", message.length));
}

/// One of the types of RFC 1002, section 4.4.1, and for those with data a length that fits.
pub(super) fn nbdgm_fit(message: &Message<'_>) -> Fit {
    Fit::plausible(match message.u8(0) {
        0x10..=0x12 => message.u16(10).saturating_add(14) <= message.length && message.length >= 82,
        0x13 => message.length >= 11,
        0x14..=0x16 => message.length >= 44,
        _ => false,
    })
}

/// NetBIOS datagram service (RFC 1002, section 4.4): the names of both ends.
pub(super) fn nbdgm<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let mut from = message.bytes;
    packet.read("nbdgm", |packet| {
        let kind = from.u8()?;
        packet.push_summary(match kind {
            0x10 => "NetBIOS datagram",
            0x11 => "NetBIOS datagram to a group",
            0x12 => "NetBIOS broadcast",
            0x13 => "NetBIOS error",
            _ => "NetBIOS query",
        });
        from.skip(9)?;
        if !matches!(kind, 0x10..=0x12) {
            return Ok(());
        }
        from.skip(4)?;
        let names = identity::netbios_name(&mut from)
            .and_then(|(source, _)| Some((source, identity::netbios_name(&mut from)?.0)));
        if let Some((source, destination)) = names {
            packet.push_summary(format!(" {source} > {destination}"));
        }
        packet.push_summary(format!(", {} bytes", message.u16(10)));
        Ok::<(), UnexpectedEnd>(())
    });
}

/// Returns the name of a response code (RFC 1035, section 4.1.1).
pub fn response_code(code: u8) -> String {
    match code {
        0 => "NOERROR".into(),
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => format!("code {other}"),
    }
}

/// Returns the name of a record type, or `TYPE` with its number (RFC 3597, section 5).
pub fn record_type(number: u16) -> String {
    let known = match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        39 => "DNAME",
        41 => "OPT",
        43 => "DS",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        other => return format!("TYPE{other}"),
    };
    known.into()
}

/// DNS and its relatives (RFC 1035, RFC 6762, RFC 4795).
pub(super) fn dns<'a>(packet: &mut Packet<'a>, protocol: &'static str, message: Cursor<'a>) {
    identity::keep(packet, identity::dns(protocol, message));
    let mut from = message;
    packet.read(protocol, |packet| {
        let id = from.u16()?;
        let flags = from.u16()?;
        let questions = from.u16()?;
        let answers = from.u16()?;
        from.skip(4)?;
        let reply = flags >> 15 == 1;
        let operation = match flags >> 11 & 0x0f {
            0 => "",
            4 => "notify ",
            5 => "update ",
            _ => "other ",
        };
        let shown = match protocol {
            "mdns" => "mDNS",
            "llmnr" => "LLMNR",
            _ => "DNS",
        };
        packet.write_summary(format_args!(
            "{shown} {operation}{} {id:#06x}",
            if reply { "reply" } else { "query" }
        ));
        let code = flags & 0x0f;
        if reply && code != 0 {
            let words = [
                "",
                "format error",
                "server failure",
                "no such name",
                "not implemented",
                "refused",
            ];
            match words.get(usize::from(code)) {
                Some(word) => packet.write_summary(format_args!(" {word}")),
                None => packet.write_summary(format_args!(" error {code}")),
            }
        }
        if flags & 0x0200 != 0 {
            packet.push_summary(" cut off");
        }
        for at in 0..questions.min(MAX_RECORDS) {
            let asked = name(message, &mut from)?;
            let kind = from.u16()?;
            let class = from.u16()?;
            if at < 4 {
                packet.write_summary(format_args!(" {} {asked}?", record_type(kind)));
            }
            if protocol == "mdns" && class & 0x8000 != 0 && at == 0 {
                packet.push_summary(" (unicast reply wanted)");
            }
        }
        let mut shown: u16 = 0;
        let outcome = (0..answers.min(MAX_RECORDS)).try_for_each(|at| {
            let owner = name(message, &mut from)?;
            let kind = from.u16()?;
            from.skip(6)?;
            let length = from.u16()?;
            let mut value = from.sub(length.into())?;
            if at < 4 {
                let value = answer(message, kind, &mut value)?;
                packet.push_summary(format!(" {} {owner} {value}", record_type(kind)).trim_end());
                shown = at.saturating_add(1);
            }
            Ok(())
        });
        match (shown, answers.saturating_sub(shown)) {
            (_, 0) => {}
            (0, 1) => packet.push_summary(" and 1 answer"),
            (0, more) => packet.write_summary(format_args!(" and {more} answers")),
            (_, more) => packet.write_summary(format_args!(" and {more} more")),
        }
        outcome
    });
}

fn answer<'a>(
    message: Cursor<'a>,
    kind: u16,
    value: &mut Cursor<'a>,
) -> Result<String, UnexpectedEnd> {
    Ok(match kind {
        1 => value.ipv4()?.to_string(),
        28 => value.ipv6()?.to_string(),
        2 | 5 | 12 | 39 => name(message, value)?,
        15 => {
            value.skip(2)?;
            name(message, value)?
        }
        33 => {
            value.skip(4)?;
            let port = value.u16()?;
            format!("{}:{port}", name(message, value)?)
        }
        16 => {
            let length = value.u8()?;
            format!("\"{}\"", text(value.take(length.into())?, 48))
        }
        _ => String::new(),
    })
}

/// SSDP (UPnP): the request or status line, and the headers that name the subject.
pub(super) fn ssdp<'a>(packet: &mut Packet<'a>, message: Message<'a>) {
    let bytes = message.payload();
    packet.push_summary(format!("SSDP {}", first_line(bytes)).trim_end());
    for line in bytes.split(|byte| *byte == b'\n').take(32) {
        let head = text(line, 96);
        let head = head.trim_end_matches("\\x0d");
        for key in ["ST:", "NT:", "LOCATION:"] {
            if head.to_ascii_uppercase().starts_with(key) {
                packet.write_summary(format_args!(", {head}"));
            }
        }
    }
}
