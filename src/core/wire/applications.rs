//! PURE. Applications over UDP and TCP, summarized in one line: DNS and its relatives, DHCP, DHCPv6,
//! SSDP, NTP, RTP, and routing protocols that use a port. Each is a row of [`UDP`].

use super::cursor::{Cursor, Mac, UnexpectedEnd, first_line, text};
use super::dns_name::{MAX_RECORDS, name};
use super::identity;
use super::tunnel;
use super::{Packet, ProblemKind};

type Reader = for<'a> fn(&mut Packet<'a>, Cursor<'a>);

/// Decoders by UDP port. The port may be the source or the destination.
const UDP: &[(u16, Reader)] = &[
    (53, |packet, from| dns(packet, "dns", from)),
    (5353, |packet, from| dns(packet, "mdns", from)),
    (5355, |packet, from| dns(packet, "llmnr", from)),
    (67, dhcp),
    (68, dhcp),
    (546, dhcpv6),
    (547, dhcpv6),
    (123, ntp),
    (1900, ssdp),
    (4789, tunnel::vxlan),
    (8472, tunnel::vxlan),
    (520, |packet, from| plain(packet, "rip", "RIP", from)),
    (521, |packet, from| plain(packet, "ripng", "RIPng", from)),
    (1985, |packet, from| plain(packet, "hsrp", "HSRP", from)),
    (2029, |packet, from| plain(packet, "hsrp", "HSRP", from)),
    (3784, |packet, from| plain(packet, "bfd", "BFD", from)),
    (4784, |packet, from| plain(packet, "bfd", "BFD", from)),
    (514, |packet, from| line(packet, "syslog", from)),
    (161, |packet, from| plain(packet, "snmp", "SNMP", from)),
    (162, |packet, from| plain(packet, "snmp", "SNMP trap", from)),
    (69, |packet, from| plain(packet, "tftp", "TFTP", from)),
    (5060, |packet, from| line(packet, "sip", from)),
    (137, |packet, from| {
        identity::keep(packet, identity::netbios(from));
        plain(packet, "nbns", "NetBIOS name", from);
    }),
    (319, |packet, from| plain(packet, "ptp", "PTP event", from)),
    (320, |packet, from| plain(packet, "ptp", "PTP", from)),
    (443, |packet, from| plain(packet, "quic", "QUIC", from)),
];

/// Decodes the payload of a UDP datagram. Returns `false` if no application was recognized.
pub(super) fn udp<'a>(
    packet: &mut Packet<'a>,
    source: u16,
    destination: u16,
    from: Cursor<'a>,
) -> bool {
    if from.is_empty() {
        return false;
    }
    let known = [destination, source]
        .iter()
        .find_map(|port| UDP.iter().find(|(known, _)| known == port));
    if let Some((_, reader)) = known {
        reader(packet, from);
        return true;
    }
    rtp(packet, source, destination, from)
}

/// Decodes the payload of a TCP segment, if the segment begins a message.
pub(super) fn tcp<'a>(
    packet: &mut Packet<'a>,
    source: u16,
    destination: u16,
    mut from: Cursor<'a>,
) {
    let either = |port: u16| source == port || destination == port;
    if either(53) {
        // RFC 1035, section 4.2.2: each message is preceded by its length. Later segments have none.
        let length = from.u16().unwrap_or(0);
        if length >= 12 && from.left() >= 12 {
            packet.push_summary(" ");
            dns(packet, "dns", from);
        }
        return;
    }
    if either(80) || either(8080) {
        let mut again = from;
        let start = first_line(again.rest());
        let methods = [
            "GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "HTTP/1.",
        ];
        if methods.iter().any(|method| start.starts_with(method)) {
            packet.protocols.push("http");
            packet.push_summary(format!(" {start}"));
        }
    }
}

fn plain(packet: &mut Packet<'_>, name: &'static str, shown: &str, from: Cursor<'_>) {
    packet.protocols.push(name);
    packet.push_summary(format!("{shown}, {} bytes", from.left()));
}

fn line(packet: &mut Packet<'_>, name: &'static str, mut from: Cursor<'_>) {
    packet.protocols.push(name);
    packet.push_summary(first_line(from.rest()));
}

fn record_type(number: u16) -> String {
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

fn dns<'a>(packet: &mut Packet<'a>, protocol: &'static str, message: Cursor<'a>) {
    packet.protocols.push(protocol);
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
        packet.push_summary(format!(
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
                Some(word) => packet.push_summary(format!(" {word}")),
                None => packet.push_summary(format!(" error {code}")),
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
                packet.push_summary(format!(" {} {asked}?", record_type(kind)));
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
            (0, more) => packet.push_summary(format!(" and {more} answers")),
            (_, more) => packet.push_summary(format!(" and {more} more")),
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

/// DHCP (RFC 2131, options RFC 2132).
fn dhcp<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.protocols.push("dhcp");
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
        packet.push_summary(format!("DHCP {kind} {transaction:#010x} for {mac}"));
        if !client.is_unspecified() {
            packet.push_summary(format!(", has {client}"));
        }
        if !yours.is_unspecified() {
            packet.push_summary(format!(", gets {yours}"));
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
fn dhcpv6<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.protocols.push("dhcpv6");
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
                packet.push_summary(format!("DHCPv6 type {other}"));
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
            packet.push_summary(format!("DHCPv6 {name}, link {link}, peer {peer}"));
            return Ok(());
        }
        let [a, b, c] = from.array::<3>()?;
        packet.push_summary(format!("DHCPv6 {name} {a:02x}{b:02x}{c:02x}"));
        while !from.is_empty() {
            let (option, length) = (from.u16()?, from.u16()?);
            let mut value = from.sub(length.into())?;
            match option {
                3 if length > 12 => {
                    // An identity association: show its address if that is the first option.
                    value.skip(12)?;
                    if value.left() >= 20 && value.u16()? == 5 {
                        value.skip(2)?;
                        packet.push_summary(format!(", address {}", value.ipv6()?));
                    }
                }
                13 if length >= 2 => {
                    let status = value.u16()?;
                    if status != 0 {
                        let words = format!(", status {status} {}", text(value.rest(), 64));
                        packet.push_summary(words.trim_end());
                    }
                }
                23 if length >= 16 => packet.push_summary(format!(", dns {}", value.ipv6()?)),
                _ => {}
            }
        }
        Ok(())
    });
}

/// NTP (RFC 5905).
fn ntp<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.protocols.push("ntp");
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
        packet.push_summary(format!("NTPv{} {mode}", head >> 3 & 7));
        if (head & 7) < 6 {
            packet.push_summary(format!(", stratum {stratum}"));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// SSDP (UPnP): the request or status line, and the headers that name the subject.
fn ssdp<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.protocols.push("ssdp");
    let bytes = from.rest();
    packet.push_summary(format!("SSDP {}", first_line(bytes)).trim_end());
    for line in bytes.split(|byte| *byte == b'\n').take(32) {
        let head = text(line, 96);
        let head = head.trim_end_matches("\\x0d");
        for key in ["ST:", "NT:", "LOCATION:"] {
            if head.to_ascii_uppercase().starts_with(key) {
                packet.push_summary(format!(", {head}"));
            }
        }
    }
}

/// RTP (RFC 3550) has no registered port. A datagram to an even port of at least 1024 with version 2,
/// a payload type in use and a complete header is shown as RTP; only the next packet of the stream
/// could prove it.
fn rtp<'a>(packet: &mut Packet<'a>, source: u16, destination: u16, mut from: Cursor<'a>) -> bool {
    let plausible = destination >= 1024 && destination.is_multiple_of(2) && source >= 1024;
    let total = from.left();
    let (Ok(first), Ok(second)) = (from.u8(), from.u8()) else {
        return false;
    };
    let kind = second & 0x7f;
    let known = matches!(kind, 0 | 3 | 4 | 8 | 9 | 10 | 11 | 14 | 18 | 26 | 31..=34 | 96..=127);
    if !plausible || first >> 6 != 2 || first & 0x1f != 0 || !known || total < 20 {
        return false;
    }
    let (Ok(sequence), Ok(stamp), Ok(source_id)) = (from.u16(), from.u32(), from.u32()) else {
        return false;
    };
    packet.protocols.push("rtp");
    let mark = if second >> 7 == 1 { ", mark" } else { "" };
    packet.push_summary(format!(
        "RTP type {kind} seq {sequence} time {stamp} ssrc {source_id:#010x}{mark}, {} bytes",
        from.left()
    ));
    true
}
