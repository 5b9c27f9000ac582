//! PURE. ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, errors with the packet that they quote, and the
//! extensions of RFC 4884.

use super::cursor::{Cursor, UnexpectedEnd, sum};
use super::glance::ip_protocol as protocol;
use super::ip::{Payload, read_quoted};
use super::{Meaning, Packet, ProblemKind};
use super::{extensions, mld, nd};

/// An ICMP or ICMPv6 message that is neither ND nor MLD.
#[derive(Clone, Debug, PartialEq)]
pub struct Icmp {
    /// Whether this is ICMPv6.
    pub v6: bool,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Identifier and sequence number of an echo request or reply.
    pub echo: Option<(u16, u16)>,
    /// Next-hop MTU of "packet too big" and "fragmentation needed".
    pub mtu: Option<u32>,
    /// Start and end of the quoted packet in the frame, in bytes.
    pub quoted: Option<(usize, usize)>,
    /// MPLS labels that a router attached (RFC 4950).
    pub labels: Vec<u32>,
}

/// Returns the meaning of an ICMP type and code, or `None` for unknown ones.
pub fn meaning_v4(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (0, _) => "echo reply",
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 5) => "source route failed",
        (3, 6) => "network unknown",
        (3, 7) => "host unknown",
        (3, 9) => "network administratively prohibited",
        (3, 10) => "host administratively prohibited",
        (3, 11) => "network unreachable for this type of service",
        (3, 12) => "host unreachable for this type of service",
        (3, 13) => "administratively prohibited",
        (3, 14) => "host precedence violation",
        (3, 15) => "precedence cutoff",
        (3, _) => "unreachable",
        (4, _) => "source quench",
        (5, 0) => "redirect for the network",
        (5, 1) => "redirect for the host",
        (5, _) => "redirect",
        (8, _) => "echo request",
        (9, _) => "router advertisement",
        (10, _) => "router solicitation",
        (11, 0) => "time exceeded in transit",
        (11, _) => "fragment reassembly time exceeded",
        (12, _) => "parameter problem",
        (13, _) => "timestamp request",
        (14, _) => "timestamp reply",
        (42, _) => "extended echo request",
        (43, _) => "extended echo reply",
        _ => return None,
    })
}

/// Returns the meaning of an ICMPv6 type and code other than ND and MLD, or `None` for unknown ones.
pub fn meaning_v6(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "no route",
        (1, 1) => "administratively prohibited",
        (1, 2) => "beyond scope of source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed policy",
        (1, 6) => "reject route",
        (1, _) => "unreachable",
        (2, _) => "packet too big",
        (3, 0) => "time exceeded in transit",
        (3, _) => "fragment reassembly time exceeded",
        (4, 0) => "parameter problem: erroneous header",
        (4, 1) => "parameter problem: unknown next header",
        (4, 2) => "parameter problem: unknown option",
        (4, _) => "parameter problem",
        (128, _) => "echo request",
        (129, _) => "echo reply",
        (138, _) => "router renumbering",
        (139, _) => "node information query",
        (140, _) => "node information reply",
        (144, _) => "home agent discovery request",
        (145, _) => "home agent discovery reply",
        (146, _) => "mobile prefix solicitation",
        (147, _) => "mobile prefix advertisement",
        (155, _) => "RPL control message",
        (160, _) => "extended echo request",
        (161, _) => "extended echo reply",
        _ => return None,
    })
}

pub(super) fn read_v4<'a>(packet: &mut Packet<'a>, payload: &Payload<'a>) {
    packet.protocols.push("icmp");
    let mut whole = payload.bytes;
    if packet.can_judge(payload.complete) {
        packet.judge("icmp", sum(whole.rest(), 0) == 0xffff);
    }
    let mut from = payload.bytes;
    packet.read("icmp", |packet| {
        let (kind, code) = (from.u8()?, from.u8()?);
        from.skip(2)?;
        let Some(meaning) = meaning_v4(kind, code) else {
            return unknown(packet, "icmp", payload.bytes.offset(), kind, code);
        };
        packet.push_summary(meaning);
        let mut icmp = message(false, kind, code);
        match kind {
            0 | 8 => echo(packet, &mut icmp, &mut from, payload)?,
            3 | 4 | 11 | 12 => {
                // RFC 4884, section 4: the length of the quoted packet in 32-bit words.
                from.skip(1)?;
                let words = from.u8()?;
                let low = from.u16()?;
                if (kind, code) == (3, 4) {
                    icmp.mtu = Some(low.into());
                    packet.write_summary(format_args!(", mtu {low}"));
                }
                quote(
                    packet,
                    &mut icmp,
                    from,
                    usize::from(words).saturating_mul(4),
                );
            }
            5 => {
                let gateway = from.ipv4()?;
                packet.write_summary(format_args!(" to {gateway}"));
                quote(packet, &mut icmp, from, 0);
            }
            9 => {
                let (count, _, lifetime) = (from.u8()?, from.u8()?, from.u16()?);
                packet.write_summary(format_args!(", {count} addresses, lifetime {lifetime} s"));
            }
            _ => {}
        }
        packet.meanings.push(Meaning::Icmp(icmp));
        Ok(())
    });
}

pub(super) fn read_v6<'a>(packet: &mut Packet<'a>, payload: &Payload<'a>) {
    packet.protocols.push("icmp6");
    let mut whole = payload.bytes;
    let bytes = whole.rest();
    if packet.can_judge(payload.complete) {
        let start = payload.pseudo_sum(bytes.len(), protocol::ICMPV6);
        packet.judge("icmp6", sum(bytes, start) == 0xffff);
    }
    let mut from = payload.bytes;
    packet.read("icmp6", |packet| {
        let (kind, code) = (from.u8()?, from.u8()?);
        from.skip(2)?;
        match kind {
            130..=132 | 143 | 151..=153 => return mld::read(packet, kind, from),
            133..=137 => return nd::read(packet, kind, from),
            _ => {}
        }
        let Some(meaning) = meaning_v6(kind, code) else {
            return unknown(packet, "icmp6", payload.bytes.offset(), kind, code);
        };
        packet.push_summary(meaning);
        let mut icmp = message(true, kind, code);
        match kind {
            128 | 129 => echo(packet, &mut icmp, &mut from, payload)?,
            1..=4 => {
                let word = from.u32()?;
                let mut words = 0;
                match kind {
                    2 => {
                        icmp.mtu = Some(word);
                        packet.write_summary(format_args!(", mtu {word}"));
                    }
                    4 => packet.write_summary(format_args!(" at byte {word}")),
                    // RFC 4884, section 4: here the length is in 64-bit words.
                    _ => words = (word >> 24) as usize,
                }
                quote(packet, &mut icmp, from, words.saturating_mul(8));
            }
            _ => {}
        }
        packet.meanings.push(Meaning::Icmp(icmp));
        Ok(())
    });
}

fn message(v6: bool, kind: u8, code: u8) -> Icmp {
    Icmp {
        v6,
        kind,
        code,
        echo: None,
        mtu: None,
        quoted: None,
        labels: Vec::new(),
    }
}

fn unknown(
    packet: &mut Packet<'_>,
    layer: &'static str,
    offset: usize,
    kind: u8,
    code: u8,
) -> Result<(), UnexpectedEnd> {
    packet.write_summary(format_args!("type {kind} code {code}"));
    packet.problem(
        ProblemKind::Unknown,
        layer,
        offset,
        format!("type {kind} is not decoded"),
    );
    Ok(())
}

fn echo(
    packet: &mut Packet<'_>,
    icmp: &mut Icmp,
    from: &mut Cursor<'_>,
    payload: &Payload<'_>,
) -> Result<(), UnexpectedEnd> {
    let (id, sequence) = (from.u16()?, from.u16()?);
    icmp.echo = Some((id, sequence));
    let data = payload.network.payload_length.saturating_sub(8);
    packet.write_summary(format_args!(" id {id} seq {sequence}"));
    if !packet.quoted {
        packet.write_summary(format_args!(", {data} bytes"));
    }
    Ok(())
}

/// Decodes the quoted packet, and the extensions that follow it if the message has a length for it.
fn quote<'a>(packet: &mut Packet<'a>, icmp: &mut Icmp, mut from: Cursor<'a>, length: usize) {
    if packet.quoted {
        return;
    }
    let start = from.offset();
    let whole = { from }.rest();
    let quoted = if length > 0 {
        match from.sub(length) {
            Ok(quoted) => quoted,
            Err(_) => from,
        }
    } else {
        from
    };
    icmp.quoted = Some((start, start.saturating_add(quoted.left())));
    let what = read_quoted(packet, quoted);
    packet.write_summary(format_args!(" for {what}"));
    if length > 0 {
        let after = whole.get(length..).unwrap_or_default();
        let labels = extensions::read(after).labels.into_iter();
        icmp.labels = labels.map(|entry| entry.label).collect();
        if !icmp.labels.is_empty() {
            let labels: Vec<String> = icmp.labels.iter().map(u32::to_string).collect();
            packet.write_summary(format_args!(", mpls {}", labels.join("/")));
        }
    }
}
