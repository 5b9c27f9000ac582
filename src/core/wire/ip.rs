//! PURE. IPv4 (RFC 791) and IPv6 (RFC 8200) with their options, fragments and extension headers.

use std::net::IpAddr;

use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;

use super::cursor::{Cursor, UnexpectedEnd, sum};
use super::glance::ip_protocol as protocol;
use super::{Inner, Network, Packet, ProblemKind, cursor};

/// Maximum number of IPv6 extension headers followed. RFC 8200 allows each once, one of them twice.
const MAX_EXTENSIONS: usize = 16;

/// Input of an upper-layer decoder: its bytes, and the network header that its checksum covers.
pub(super) struct Payload<'a> {
    pub bytes: Cursor<'a>,
    pub network: Network,
    /// Whether all bytes of the upper-layer message were captured, in one fragment.
    pub complete: bool,
}

impl Payload<'_> {
    /// Returns the checksum sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
    pub fn pseudo_sum(&self, length: usize, upper: u8) -> u32 {
        let mut start = u32::from(upper);
        start = start
            .saturating_add((length >> 16) as u32)
            .saturating_add((length & 0xffff) as u32);
        match (self.network.source, self.network.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => sum(&to.octets(), sum(&from.octets(), start)),
            (IpAddr::V6(from), IpAddr::V6(to)) => sum(&to.octets(), sum(&from.octets(), start)),
            _ => start,
        }
    }
}

/// Stores the outermost network header, which identifies the packet, and those within tunnels.
fn keep(packet: &mut Packet<'_>, network: Network) {
    if packet.quoted {
        return;
    }
    if packet.network.is_none() {
        packet.network = Some(network);
    } else {
        packet.inner.push(Inner {
            network,
            ports: None,
        });
    }
}

pub(super) fn read_v4(packet: &mut Packet<'_>, at: usize, end: usize) {
    packet.protocols.push("ip");
    let bytes = cursor(&packet.frame, at, end).rest();
    let Some(header) = Ipv4Packet::new(bytes) else {
        return packet.short("ip", UnexpectedEnd { offset: at });
    };
    if header.get_version() != 4 {
        let why = format!("version {}", header.get_version());
        return packet.problem(ProblemKind::Malformed, "ip", at, why);
    }
    let header_length = usize::from(header.get_header_length()).saturating_mul(4);
    if header_length < 20 {
        let why = format!("header length {header_length}, less than 20");
        return packet.problem(ProblemKind::Malformed, "ip", at, why);
    }
    let total = usize::from(header.get_total_length());
    let wire = (packet.frame.original_length as usize).saturating_sub(at);
    // Aggregated packets (TSO, GRO, BIG TCP) may have length 0: then the whole frame counts.
    let total = if total == 0 { wire } else { total };
    if total < header_length {
        let why = format!("total length {total}, less than its header of {header_length}");
        return packet.problem(ProblemKind::Malformed, "ip", at.saturating_add(2), why);
    }
    let flags = header.get_flags();
    let network = Network {
        source: IpAddr::from(header.get_source().octets()),
        destination: IpAddr::from(header.get_destination().octets()),
        ttl: header.get_ttl(),
        traffic_class: bytes.get(1).copied().unwrap_or(0),
        identification: header.get_identification().into(),
        protocol: header.get_next_level_protocol().0,
        fragment_offset: u32::from(header.get_fragment_offset()).saturating_mul(8),
        more_fragments: flags & 1 != 0,
        dont_fragment: flags & 2 != 0,
        router_alert: options_v4(bytes.get(20..header_length).unwrap_or_default()),
        payload_length: total.saturating_sub(header_length) as u32,
    };
    keep(packet, network);
    let Some(whole_header) = bytes.get(..header_length) else {
        return packet.short(
            "ip",
            UnexpectedEnd {
                offset: at.saturating_add(bytes.len()),
            },
        );
    };
    if packet.can_judge(true) && sum(whole_header, 0) != 0xffff {
        packet.bad_checksum.get_or_insert("ip");
    }
    if total > wire && !packet.quoted && packet.depth == 0 {
        let why = format!("total length {total}, but only {wire} bytes were on the wire");
        packet.problem(ProblemKind::Malformed, "ip", at.saturating_add(2), why);
    }
    let start = at.saturating_add(header_length);
    let stop = at.saturating_add(total).min(end);
    let complete = at.saturating_add(total) <= packet.frame.bytes.len()
        && network.fragment_offset == 0
        && !network.more_fragments;
    read_payload(packet, network, start, stop, complete);
}

/// Returns whether the options contain router alert (option 148, RFC 2113).
fn options_v4(options: &[u8]) -> bool {
    let mut rest = options;
    while let Some(kind) = rest.first() {
        match kind {
            0 => return false,
            1 => rest = rest.get(1..).unwrap_or_default(),
            148 => return true,
            _ => {
                let length = usize::from(rest.get(1).copied().unwrap_or(0)).max(2);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
    false
}

pub(super) fn read_v6(packet: &mut Packet<'_>, at: usize, end: usize) {
    packet.protocols.push("ip6");
    let bytes = cursor(&packet.frame, at, end).rest();
    let Some(header) = Ipv6Packet::new(bytes) else {
        return packet.short("ip6", UnexpectedEnd { offset: at });
    };
    if header.get_version() != 6 {
        let why = format!("version {}", header.get_version());
        return packet.problem(ProblemKind::Malformed, "ip6", at, why);
    }
    let wire = (packet.frame.original_length as usize)
        .saturating_sub(at)
        .saturating_sub(40);
    let announced = usize::from(header.get_payload_length());
    // 0 is a jumbogram (RFC 2675), or an aggregated packet.
    let length = if announced == 0 { wire } else { announced };
    let mut network = Network {
        source: IpAddr::from(header.get_source().octets()),
        destination: IpAddr::from(header.get_destination().octets()),
        ttl: header.get_hop_limit(),
        traffic_class: header.get_traffic_class(),
        identification: 0,
        protocol: header.get_next_header().0,
        fragment_offset: 0,
        more_fragments: false,
        dont_fragment: true,
        router_alert: false,
        payload_length: length as u32,
    };
    let start = at.saturating_add(40);
    let stop = start.saturating_add(length);
    if length > wire && !packet.quoted && packet.depth == 0 {
        let why = format!("payload length {length}, but only {wire} bytes were on the wire");
        packet.problem(ProblemKind::Malformed, "ip6", at.saturating_add(4), why);
    }
    let mut from = cursor(&packet.frame, start, stop.min(end));
    let walked = extensions(packet, &mut network, &mut from);
    keep(packet, network);
    if let Err(short) = walked {
        return packet.short("ip6", short);
    }
    let complete =
        stop <= packet.frame.bytes.len() && network.fragment_offset == 0 && !network.more_fragments;
    read_payload(packet, network, from.offset(), stop.min(end), complete);
}

/// Skips the extension headers, up to the upper-layer protocol.
fn extensions(
    packet: &mut Packet<'_>,
    network: &mut Network,
    from: &mut Cursor<'_>,
) -> Result<(), UnexpectedEnd> {
    for _ in 0..MAX_EXTENSIONS {
        match network.protocol {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::ROUTING => {
                let hop_by_hop = network.protocol == protocol::HOP_BY_HOP;
                let next = from.u8()?;
                let length = usize::from(from.u8()?).saturating_mul(8).saturating_add(6);
                let mut options = from.sub(length)?;
                if hop_by_hop {
                    network.router_alert |= hop_by_hop_alert(&mut options);
                }
                network.protocol = next;
            }
            protocol::FRAGMENT => {
                let next = from.u8()?;
                from.skip(1)?;
                let offset = from.u16()?;
                network.identification = from.u32()?;
                network.fragment_offset = u32::from(offset & 0xfff8);
                network.more_fragments = offset & 1 != 0;
                network.protocol = next;
                if network.fragment_offset > 0 {
                    return Ok(());
                }
            }
            protocol::AH => {
                let next = from.u8()?;
                let length = usize::from(from.u8()?).saturating_mul(4).saturating_add(6);
                from.skip(length)?;
                network.protocol = next;
            }
            _ => return Ok(()),
        }
    }
    let why = format!("more than {MAX_EXTENSIONS} extension headers");
    packet.problem(ProblemKind::Malformed, "ip6", from.offset(), why);
    Ok(())
}

/// Returns whether hop-by-hop options contain router alert (option 5, RFC 2711).
fn hop_by_hop_alert(options: &mut Cursor<'_>) -> bool {
    while let Ok(kind) = options.u8() {
        if kind == 0 {
            continue;
        }
        if kind == 5 {
            return true;
        }
        let Ok(length) = options.u8() else {
            return false;
        };
        if options.skip(length.into()).is_err() {
            return false;
        }
    }
    false
}

fn read_payload(
    packet: &mut Packet<'_>,
    network: Network,
    start: usize,
    stop: usize,
    complete: bool,
) {
    if network.fragment_offset > 0 {
        packet.push_summary(format!(
            "fragment of {} at {}, id {:#x}{}",
            super::protocol_name(network.protocol),
            network.fragment_offset,
            network.identification,
            if network.more_fragments {
                ", more fragments follow"
            } else {
                ", last fragment"
            }
        ));
        return;
    }
    if network.more_fragments && !packet.quoted {
        packet.push_summary(format!(
            "first fragment, id {:#x}: ",
            network.identification
        ));
    }
    let payload = Payload {
        bytes: cursor(&packet.frame, start, stop),
        network,
        complete,
    };
    // The inner ends stand before what the inner message says; its ports are known only after it was read.
    let level = packet.inner.len();
    let at = packet.summary.len();
    super::read_upper(packet, payload);
    if let Some(inner) = level.checked_sub(1).and_then(|last| packet.inner.get(last))
        && !packet.quoted
    {
        let ends = inner.to_string();
        packet.summary.insert_str(at, &ends);
    }
}

/// Decodes the packet quoted in an ICMP error, of which only the start may be there. Returns its
/// summary.
pub(super) fn read_quoted<'a>(packet: &mut Packet<'a>, quote: Cursor<'a>) -> String {
    let mut inner = Packet::new(packet.frame);
    inner.quoted = true;
    inner.depth = packet.depth.saturating_add(1);
    let (at, end) = (quote.offset(), quote.offset().saturating_add(quote.left()));
    let version = cursor(&packet.frame, at, end)
        .u8()
        .map_or(0, |byte| byte >> 4);
    let mut seen = None;
    let mut cut = quote;
    match version {
        4 => {
            if let Ok(bytes) = cut.take(20)
                && let Some(header) = Ipv4Packet::new(bytes)
            {
                seen = Some((
                    IpAddr::from(header.get_source().octets()),
                    IpAddr::from(header.get_destination().octets()),
                ));
            }
            read_v4(&mut inner, at, end);
        }
        6 => {
            if let Ok(bytes) = cut.take(40)
                && let Some(header) = Ipv6Packet::new(bytes)
            {
                seen = Some((
                    IpAddr::from(header.get_source().octets()),
                    IpAddr::from(header.get_destination().octets()),
                ));
            }
            read_v6(&mut inner, at, end);
        }
        _ => return "an unreadable packet".into(),
    }
    match seen {
        Some((from, to)) => {
            let ports = inner
                .ports
                .map(|(a, b)| format!(" port {a} to {b}"))
                .unwrap_or_default();
            let what = if inner.ports.is_some() || inner.summary.is_empty() {
                inner.protocol().to_owned()
            } else {
                inner.summary.clone()
            };
            format!("{from} > {to} {what}{ports}")
        }
        None => "an unreadable packet".into(),
    }
}
