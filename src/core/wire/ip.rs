//! PURE. IPv4 (RFC 791) and IPv6 (RFC 8200) with their options, fragments and extension headers.

use std::net::{IpAddr, Ipv4Addr};

use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;

use super::cursor::{Cursor, UnexpectedEnd, sum};
use super::glance::{ethertype, ip_protocol as protocol};
use super::{Inner, Network, Packet, ProblemKind, cursor};

/// Maximum number of IPv6 extension headers followed. RFC 8200 allows each once, one of them twice.
const MAX_EXTENSIONS: usize = 16;

/// Input of an upper-layer decoder: its bytes, and the network header that its checksum covers.
pub(super) struct Payload<'a> {
    pub bytes: Cursor<'a>,
    /// The network header, with the length of the upper-layer message only.
    pub network: Network,
    /// The route beyond the header's addresses.
    pub route: Route,
    /// Whether all bytes of the upper-layer message were captured, in one fragment, and its checksum
    /// can be verified.
    pub complete: bool,
}

/// Addresses of the pseudo-header that differ from those of the IP header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Route {
    /// Home address of a mobile source (RFC 6275, section 6.3).
    source: Option<IpAddr>,
    /// Final destination of a packet that a source route takes elsewhere first.
    destination: Option<IpAddr>,
    /// Whether the final destination is not known: the routing header is of an unknown type.
    unknown: bool,
}

impl Payload<'_> {
    /// Returns the checksum sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
    pub fn pseudo_sum(&self, length: usize, upper: u8) -> u32 {
        let source = self.route.source.unwrap_or(self.network.source);
        let last = self.route.destination;
        sum_of_pseudo(
            source,
            last.unwrap_or(self.network.destination),
            length,
            upper,
        )
    }

    /// Returns the same with the destination of the IP header, if it is not the final one.
    pub fn next_hop_pseudo_sum(&self, length: usize, upper: u8) -> Option<u32> {
        self.route.destination?;
        let (source, next) = (self.network.source, self.network.destination);
        Some(sum_of_pseudo(source, next, length, upper))
    }
}

fn sum_of_pseudo(source: IpAddr, destination: IpAddr, length: usize, upper: u8) -> u32 {
    let start = u32::from(upper)
        .saturating_add((length >> 16) as u32)
        .saturating_add((length & 0xffff) as u32);
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&to.octets(), sum(&from.octets(), start)),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&to.octets(), sum(&from.octets(), start)),
        _ => start,
    }
}

/// Stores the outermost network header, which identifies the packet, and those within tunnels.
fn keep(packet: &mut Packet<'_>, network: Network, at: usize) {
    if packet.quoted {
        return;
    }
    let number = match network.source {
        IpAddr::V4(_) => ethertype::IPV4,
        IpAddr::V6(_) => ethertype::IPV6,
    };
    packet.keep_network_header(number, at);
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
    let options = options_v4(bytes.get(20..header_length).unwrap_or_default());
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
        router_alert: options.router_alert,
        payload_length: total.saturating_sub(header_length) as u32,
    };
    keep(packet, network, at);
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
    let route = Route {
        destination: options.last.map(IpAddr::from),
        ..Route::default()
    };
    read_payload(packet, network, route, (start, stop), complete);
}

/// Options of an IPv4 header that other layers need.
#[derive(Default)]
struct OptionsV4 {
    /// Router alert (option 148, RFC 2113).
    router_alert: bool,
    /// Last address of a source route that is not completed (options 131 and 137, RFC 791).
    last: Option<Ipv4Addr>,
}

fn options_v4(bytes: &[u8]) -> OptionsV4 {
    let mut options = OptionsV4::default();
    let mut rest = bytes;
    while let Some(kind) = rest.first() {
        match kind {
            0 => break,
            1 => {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let length = usize::from(rest.get(1).copied().unwrap_or(0)).max(2);
        match kind {
            148 => options.router_alert = true,
            131 | 137 => options.last = rest.get(..length).and_then(last_of_route),
            _ => {}
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    options
}

/// Returns the last address of a source route option, unless its pointer is behind it: then the route is
/// completed, and the header has the final destination.
fn last_of_route(option: &[u8]) -> Option<Ipv4Addr> {
    let pointer = usize::from(*option.get(2)?);
    let last: [u8; 4] = *option.get(3..)?.last_chunk()?;
    (pointer <= option.len()).then(|| Ipv4Addr::from(last))
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
    let mut route = Route::default();
    let walked = extensions(packet, &mut network, &mut route, &mut from);
    keep(packet, network, at);
    if let Err(short) = walked {
        return packet.short("ip6", short);
    }
    let complete =
        stop <= packet.frame.bytes.len() && network.fragment_offset == 0 && !network.more_fragments;
    let complete = complete && !route.unknown;
    let part = (from.offset(), stop.min(end));
    let extensions = from.offset().saturating_sub(start) as u32;
    network.payload_length = network.payload_length.saturating_sub(extensions);
    read_payload(packet, network, route, part, complete);
}

/// Skips the extension headers, up to the upper-layer protocol.
fn extensions(
    packet: &mut Packet<'_>,
    network: &mut Network,
    route: &mut Route,
    from: &mut Cursor<'_>,
) -> Result<(), UnexpectedEnd> {
    for _ in 0..MAX_EXTENSIONS {
        match network.protocol {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::ROUTING => {
                let next = from.u8()?;
                let length = usize::from(from.u8()?).saturating_mul(8).saturating_add(6);
                let mut content = from.sub(length)?;
                match network.protocol {
                    protocol::HOP_BY_HOP => {
                        network.router_alert |= option_v6(content, ROUTER_ALERT).is_some();
                    }
                    protocol::DESTINATION_OPTIONS => {
                        let home = option_v6(content, HOME_ADDRESS);
                        let home = home.and_then(|mut home| home.ipv6().ok());
                        route.source = home.map(IpAddr::from).or(route.source);
                    }
                    _ => routing_header(&mut content, network.destination, route)?,
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

/// Router alert (RFC 2711).
const ROUTER_ALERT: u8 = 5;
/// Home address (RFC 6275, section 6.3).
const HOME_ADDRESS: u8 = 201;

/// Returns the value of a hop-by-hop or destination option.
fn option_v6(mut options: Cursor<'_>, wanted: u8) -> Option<Cursor<'_>> {
    while let Ok(kind) = options.u8() {
        if kind == 0 {
            continue;
        }
        let length = options.u8().ok()?;
        let value = options.sub(length.into()).ok()?;
        if kind == wanted {
            return Some(value);
        }
    }
    None
}

/// Finds the final destination in a routing header after its length (RFC 8200, section 4.4). With no
/// segments left it is the destination of the IPv6 header.
fn routing_header(
    content: &mut Cursor<'_>,
    destination: IpAddr,
    route: &mut Route,
) -> Result<(), UnexpectedEnd> {
    let (kind, left) = (content.u8()?, content.u8()?);
    if left == 0 {
        return Ok(());
    }
    let last = match kind {
        // RFC 2460, section 4.4, and RFC 6275, section 6.4: the last of the addresses.
        0 | 2 => {
            content.skip(4)?;
            content.rest().last_chunk::<16>().copied()
        }
        3 => last_of_rpl(content, destination),
        // RFC 8754, section 2: the segments are in reverse order.
        4 => {
            content.skip(4)?;
            content.array::<16>().ok()
        }
        _ => None,
    };
    match last {
        Some(last) => route.destination = Some(IpAddr::from(last)),
        None => route.unknown = true,
    }
    Ok(())
}

/// Returns the last address of an RPL source route (RFC 6554, section 3), without the bytes that it
/// shares with the destination.
fn last_of_rpl(content: &mut Cursor<'_>, destination: IpAddr) -> Option<[u8; 16]> {
    let IpAddr::V6(destination) = destination else {
        return None;
    };
    let shared = usize::from(content.u8().ok()? & 0x0f);
    let pad = usize::from(content.u8().ok()? >> 4);
    content.skip(2).ok()?;
    let all = content.rest();
    let all = all.get(..all.len().checked_sub(pad)?)?;
    let own = all.get(all.len().checked_sub(16_usize.checked_sub(shared)?)?..)?;
    let mut last = destination.octets();
    last.get_mut(shared..)?.copy_from_slice(own);
    Some(last)
}

fn read_payload(
    packet: &mut Packet<'_>,
    network: Network,
    route: Route,
    (start, stop): (usize, usize),
    complete: bool,
) {
    if packet.depth == 0 && !packet.quoted {
        packet.final_destination = route.destination;
    }
    if network.fragment_offset > 0 {
        packet.write_summary(format_args!(
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
    let payload = Payload {
        bytes: cursor(&packet.frame, start, stop),
        network,
        route,
        complete,
    };
    // The inner ends stand before what the inner message says; its ports are known only after it was read.
    let level = packet.inner.len();
    let at = packet.summary.len();
    if network.more_fragments && !packet.quoted {
        let prefix = format!("first fragment, id {:#x}", network.identification);
        packet.push_inner(&prefix, |packet| super::read_upper(packet, payload));
    } else {
        super::read_upper(packet, payload);
    }
    if let Some(inner) = level.checked_sub(1).and_then(|last| packet.inner.get(last))
        && !packet.quoted
    {
        let ends = inner.to_string();
        let is_all = at == packet.summary.len();
        let ends = if is_all { ends.trim_end() } else { &ends };
        packet.summary.insert_str(at, ends);
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
