//! PURE. The fields of the headers that a summary omits, in the words of tcpdump(8): the link-layer
//! header (its -e), and identifiers, flags, options, checksums and lengths (its -v).

use std::net::IpAddr;

use super::cursor::{Cursor, Mac, UnexpectedEnd, sum};
use super::glance::{Glance, ethertype, glance, ip_protocol as protocol};
use super::igmp::{Igmp, Query};
use super::mld::Mld;
use super::nd::{Nd, NdOption};
use super::pim::Pim;
use super::{Checksum, Frame, LinkType, Meaning, Network, Packet, cursor, linktype, protocol_name};

/// Maximum number of items of a list: a packet may have thousands, and this is one line.
const MAX_ITEMS: usize = 32;
/// Maximum number of VLAN tags and of IPv6 extension headers shown, as many as are decoded.
const MAX_HEADERS: usize = 16;

/// Formats the link-layer header, with the length of the frame on the wire.
pub fn link_header(frame: &Frame<'_>) -> String {
    let mut from = cursor(frame, 0, frame.bytes.len());
    let head = match frame.link {
        LinkType::Ethernet => ethernet(&mut from),
        LinkType::RawIp => Ok("no link-layer header".into()),
        LinkType::LinuxCooked => cooked(&mut from),
        LinkType::LinuxCooked2 => cooked2(&mut from),
        LinkType::Null | LinkType::Loop => from.u32().map(|word| {
            let is_swapped = frame.link == LinkType::Null && word > 0xffff;
            let family = if is_swapped { word.swap_bytes() } else { word };
            format!("address family {family}")
        }),
        LinkType::Other => Ok("link-layer header not decoded".into()),
        // Their addresses, where they have any, are those of the packet.
        other => Ok(linktype::describe(other.to_linktype().into())),
    };
    let head = head.unwrap_or_else(|_| "incomplete link-layer header".into());
    format!("{head}, length {}", frame.original_length)
}

fn ethernet(from: &mut Cursor<'_>) -> Result<String, UnexpectedEnd> {
    let (to, by) = (from.mac()?, from.mac()?);
    let mut text = format!("{by} > {to}");
    let mut kind = from.u16()?;
    for _ in 0..MAX_HEADERS {
        if !matches!(kind, ethertype::VLAN | ethertype::QINQ | 0x9100) {
            break;
        }
        let tag = from.u16()?;
        text.push_str(&format!(", vlan {} p {}", tag & 0x0fff, tag >> 13));
        if tag & 0x1000 != 0 {
            text.push_str(" DEI");
        }
        kind = from.u16()?;
    }
    text.push_str(&match kind {
        ethertype::FIRST.. => format!(", ethertype {}", ethertype_name(kind)),
        length => format!(", 802.3 length {length}"),
    });
    Ok(text)
}

fn ethertype_name(kind: u16) -> String {
    let name = match kind {
        ethertype::IPV4 => "IPv4",
        ethertype::ARP => "ARP",
        ethertype::IPV6 => "IPv6",
        ethertype::LLDP => "LLDP",
        ethertype::EAPOL => "EAPOL",
        ethertype::SLOW_PROTOCOLS => "slow protocols",
        ethertype::PPPOE_DISCOVERY => "PPPoE discovery",
        0x8864 => "PPPoE",
        0x8847 | 0x8848 => "MPLS",
        0x8035 => "RARP",
        0x88f7 => "PTP",
        0x88e5 => "MACsec",
        _ => return format!("{kind:#06x}"),
    };
    format!("{name} ({kind:#06x})")
}

/// How a cooked frame was received or sent (the kernel's sll_pkttype).
fn packet_type(number: u16) -> &'static str {
    match number {
        0 => "to us",
        1 => "broadcast",
        2 => "multicast",
        3 => "to another host",
        4 => "sent",
        _ => "unknown direction",
    }
}

fn cooked(from: &mut Cursor<'_>) -> Result<String, UnexpectedEnd> {
    let (way, hardware, length) = (from.u16()?, from.u16()?, from.u16()?);
    let address = from.array::<8>()?;
    let kind = from.u16()?;
    Ok(cooked_text(way, hardware, length.into(), address, kind))
}

fn cooked2(from: &mut Cursor<'_>) -> Result<String, UnexpectedEnd> {
    let kind = from.u16()?;
    from.skip(2)?;
    let interface = from.u32()?;
    let (hardware, way, length) = (from.u16()?, from.u8()?, from.u8()?);
    let address = from.array::<8>()?;
    let text = cooked_text(way.into(), hardware, length.into(), address, kind);
    Ok(format!("{text}, interface {interface}"))
}

fn cooked_text(way: u16, hardware: u16, length: usize, address: [u8; 8], kind: u16) -> String {
    let [a, b, c, d, e, f, ..] = address;
    let by = match length {
        6 => format!(" from {}", Mac([a, b, c, d, e, f])),
        _ => String::new(),
    };
    let way = packet_type(way);
    let kind = ethertype_name(kind);
    format!("{way}{by}, hardware type {hardware}, ethertype {kind}")
}

/// Formats the fields that the summary omits, in one line: those of the outermost network header, of the
/// transport header, and of the messages in the packet.
pub fn details(packet: &Packet<'_>) -> String {
    let frame = &packet.frame;
    let seen = glance(frame.link, frame.bytes);
    let mut parts = Vec::new();
    if let Some(network) = &packet.network {
        let header = cursor(frame, seen.network, frame.bytes.len());
        let read = match network.source {
            IpAddr::V4(_) => ipv4(packet, network, header),
            IpAddr::V6(_) => ipv6(network, header),
        };
        parts.extend(read.ok());
        if let Some(last) = packet.final_destination {
            parts.push(format!("final destination {last}"));
        }
        if network.fragment_offset == 0 && seen.transport > 0 {
            let header = cursor(frame, seen.transport, frame.bytes.len());
            parts.extend(transport(packet, &seen, header).ok().flatten());
        }
    }
    parts.extend(packet.meanings.iter().filter_map(meaning));
    let captured = frame.bytes.len();
    parts.push(match captured as u64 == u64::from(frame.original_length) {
        true => format!("{captured} bytes"),
        false => format!("{captured} of {} bytes captured", frame.original_length),
    });
    parts.join("; ")
}

fn ipv4(
    packet: &Packet<'_>,
    network: &Network,
    mut from: Cursor<'_>,
) -> Result<String, UnexpectedEnd> {
    let mut whole = from;
    let length = usize::from(from.u8()? & 0x0f).saturating_mul(4);
    let tos = from.u8()?;
    let total = from.u16()?;
    let id = from.u16()?;
    let bits = from.u16()?;
    let ttl = from.u8()?;
    from.skip(1)?;
    let field = from.u16()?;
    from.skip(8)?;
    let named = [(0x8000, "evil"), (0x4000, "DF"), (0x2000, "MF")];
    let flags = named.iter().filter(|(bit, _)| bits & bit != 0);
    let flags: Vec<&str> = flags.map(|(_, name)| *name).collect();
    let mut text = format!(
        "ip ttl {ttl}, tos {tos:#04x}, id {id}, flags [{}], offset {}, proto {} ({}), length {total}",
        if flags.is_empty() {
            "none".into()
        } else {
            flags.join(", ")
        },
        network.fragment_offset,
        protocol_name(network.protocol),
        network.protocol,
    );
    let header = whole.take(length)?;
    let right = sum(header, 0) == 0xffff;
    let state = match (right, packet.frame.checksum) {
        (true, _) => "correct",
        (false, Checksum::NotReady) => "left to hardware",
        (false, _) => "wrong",
    };
    text.push_str(&format!(", checksum {field:#06x} ({state})"));
    if length > 20 {
        let options = from.sub(length.saturating_sub(20))?;
        text.push_str(&format!(", options [{}]", listed(ipv4_options(options))));
    }
    Ok(text)
}

fn ipv4_options(mut from: Cursor<'_>) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(kind) = from.u8() {
        let name = match kind {
            0 => break,
            1 => {
                names.push("nop".into());
                continue;
            }
            7 => "record route",
            68 => "timestamp",
            131 => "loose source route",
            137 => "strict source route",
            148 => "router alert",
            _ => "",
        };
        let Ok(length) = from.u8() else { break };
        let Ok(mut value) = from.sub(usize::from(length).saturating_sub(2)) else {
            break;
        };
        let mut text = match name {
            "" => format!("type {kind}"),
            name => name.to_owned(),
        };
        if matches!(kind, 7 | 131 | 137)
            && let Ok(pointer) = value.u8()
        {
            text.push_str(&format!(" at {pointer}:"));
            while let Ok(hop) = value.ipv4() {
                text.push_str(&format!(" {hop}"));
            }
        }
        names.push(text);
    }
    names
}

fn ipv6(network: &Network, mut from: Cursor<'_>) -> Result<String, UnexpectedEnd> {
    let word = from.u32()?;
    let length = from.u16()?;
    let mut next = from.u8()?;
    let limit = from.u8()?;
    from.skip(32)?;
    let mut headers = Vec::new();
    for _ in 0..MAX_HEADERS {
        let header = extension(next, &mut from);
        let Ok(Some((name, then))) = header else {
            break;
        };
        headers.push(name);
        next = then;
    }
    let mut text = format!(
        "ip6 hop limit {limit}, class {:#04x}, flow {:#07x}, next header {} ({}), payload length {length}",
        word >> 20 & 0xff,
        word & 0x000f_ffff,
        protocol_name(network.protocol),
        network.protocol,
    );
    if !headers.is_empty() {
        text.push_str(&format!(", extensions [{}]", listed(headers)));
    }
    Ok(text)
}

/// Reads an extension header: its words, and the next header. `None` for an upper-layer protocol.
fn extension(kind: u8, from: &mut Cursor<'_>) -> Result<Option<(String, u8)>, UnexpectedEnd> {
    let name = match kind {
        protocol::HOP_BY_HOP => "hop-by-hop",
        protocol::DESTINATION_OPTIONS => "destination options",
        protocol::ROUTING => "routing",
        protocol::FRAGMENT => "fragment",
        protocol::AH => "ah",
        _ => return Ok(None),
    };
    let next = from.u8()?;
    let length = from.u8()?;
    let mut text = name.to_owned();
    let unread = match kind {
        protocol::FRAGMENT => {
            let offset = from.u16()?;
            let id = from.u32()?;
            let more = if offset & 1 != 0 { " MF" } else { "" };
            text.push_str(&format!(" id {id:#x} offset {}{more}", offset & 0xfff8));
            0
        }
        protocol::ROUTING => {
            let (kind, left) = (from.u8()?, from.u8()?);
            text.push_str(&format!(" type {kind} segments left {left}"));
            usize::from(length).saturating_mul(8).saturating_add(4)
        }
        protocol::AH => usize::from(length).saturating_mul(4).saturating_add(6),
        _ => usize::from(length).saturating_mul(8).saturating_add(6),
    };
    from.skip(unread)?;
    Ok(Some((text, next)))
}

/// The state of a checksum that covers a whole message.
fn judged(packet: &Packet<'_>, layer: &str, field: u16) -> String {
    let frame = &packet.frame;
    let is_cut = (frame.bytes.len() as u64) < u64::from(frame.original_length);
    let is_fragment = packet
        .network
        .is_some_and(|network| network.more_fragments || network.fragment_offset > 0);
    let state = match frame.checksum {
        _ if packet.bad_checksum == Some(layer) => "wrong",
        _ if packet.good_checksum == Some(layer) => "correct",
        Checksum::NotReady => "left to hardware",
        _ if packet.partial_checksum => "left to hardware",
        Checksum::Valid => "correct, as the kernel found",
        _ if is_fragment => "not verified: a fragment",
        _ if is_cut => "not verified: not all bytes were captured",
        _ => "not verified",
    };
    format!("checksum {field:#06x} ({state})")
}

fn transport(
    packet: &Packet<'_>,
    seen: &Glance,
    mut from: Cursor<'_>,
) -> Result<Option<String>, UnexpectedEnd> {
    Ok(Some(match seen.ip_protocol {
        protocol::UDP => {
            from.skip(4)?;
            let (length, field) = (from.u16()?, from.u16()?);
            let is_v4 = packet.network.is_some_and(|one| one.source.is_ipv4());
            let checksum = match field {
                0 if is_v4 => "no checksum".into(),
                field => judged(packet, "udp", field),
            };
            format!("udp length {length}, {checksum}")
        }
        protocol::TCP => tcp(packet, from)?,
        protocol::ICMP | protocol::ICMPV6 | protocol::IGMP => {
            let layer = match seen.ip_protocol {
                protocol::ICMP => "icmp",
                protocol::ICMPV6 => "icmp6",
                _ => "igmp",
            };
            let (kind, code, field) = (from.u8()?, from.u8()?, from.u16()?);
            let checksum = judged(packet, layer, field);
            format!("{layer} type {kind}, code {code}, {checksum}")
        }
        protocol::PIM => {
            from.skip(2)?;
            format!("pim {}", judged(packet, "pim", from.u16()?))
        }
        protocol::SCTP => {
            from.skip(4)?;
            let (tag, field) = (from.u32()?, from.u32()?);
            format!("sctp tag {tag:#010x}, checksum {field:#010x} (not verified)")
        }
        _ => return Ok(None),
    }))
}

fn tcp(packet: &Packet<'_>, mut from: Cursor<'_>) -> Result<String, UnexpectedEnd> {
    from.skip(12)?;
    let length = usize::from(from.u8()? >> 4).saturating_mul(4);
    from.skip(3)?;
    let (field, urgent) = (from.u16()?, from.u16()?);
    let mut text = format!("tcp header {length}, {}", judged(packet, "tcp", field));
    if urgent > 0 {
        text.push_str(&format!(", urgent {urgent}"));
    }
    if length > 20 {
        let wanted = length.saturating_sub(20);
        let is_cut = wanted > from.left();
        let options = from.sub(wanted.min(from.left()))?;
        let mut shown = tcp_options(options);
        if is_cut {
            shown.push("not captured".into());
        }
        text.push_str(&format!(", options [{}]", listed(shown)));
    }
    Ok(text)
}

/// TCP options in their order (RFC 9293, section 3.2; RFC 7323, RFC 2018).
fn tcp_options(mut from: Cursor<'_>) -> Vec<String> {
    let mut shown = Vec::new();
    while let Ok(kind) = from.u8() {
        match kind {
            0 => {
                shown.push("eol".into());
                break;
            }
            1 => {
                shown.push("nop".into());
                continue;
            }
            _ => {}
        }
        let Ok(length) = from.u8() else { break };
        let Ok(mut value) = from.sub(usize::from(length).saturating_sub(2)) else {
            break;
        };
        shown.push(tcp_option(kind, &mut value).unwrap_or_else(|_| format!("type {kind}")));
    }
    shown
}

fn tcp_option(kind: u8, value: &mut Cursor<'_>) -> Result<String, UnexpectedEnd> {
    Ok(match kind {
        2 => format!("mss {}", value.u16()?),
        3 => format!("wscale {}", value.u8()?),
        4 => "sack ok".into(),
        5 => {
            let mut blocks = Vec::new();
            while let (Ok(left), Ok(right)) = (value.u32(), value.u32()) {
                blocks.push(format!("{left}-{right}"));
            }
            format!("sack {}", blocks.join(" "))
        }
        8 => format!("timestamp {} echo {}", value.u32()?, value.u32()?),
        19 => "md5".into(),
        29 => "ao".into(),
        30 => "mptcp".into(),
        34 => "fast open".into(),
        _ => format!("type {kind}"),
    })
}

/// Joins items with commas, at most [`MAX_ITEMS`].
fn listed<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let more = all.len().saturating_sub(MAX_ITEMS);
    let shown: Vec<String> = all.into_iter().take(MAX_ITEMS).collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What the message of a layer has beyond its summary.
fn meaning(meaning: &Meaning) -> Option<String> {
    match meaning {
        Meaning::Arp(arp) => Some(format!(
            "arp operation {}, sender {} ({}), target {} ({})",
            arp.operation, arp.sender, arp.sender_mac, arp.target, arp.target_mac
        )),
        Meaning::Nd(nd) => Some(neighbor_discovery(nd)),
        Meaning::Igmp(Igmp::Query(query)) if query.version == 3 => Some(query_text(query)),
        Meaning::Igmp(Igmp::ReportV3 { declared, records }) => {
            Some(records_text(*declared, records))
        }
        Meaning::Mld(Mld::Query(query)) if query.version == 2 => Some(query_text(query)),
        Meaning::Mld(Mld::ReportV2 { declared, records }) => Some(records_text(*declared, records)),
        Meaning::Icmp(icmp) => {
            let (from, to) = icmp.quoted?;
            Some(format!("quotes {} bytes", to.saturating_sub(from)))
        }
        Meaning::Pim(Pim::Hello(hello)) => {
            let mut text = "pim hello".to_owned();
            if let Some((tracking, delay, interval)) = hello.lan_prune_delay {
                let tracking = if tracking { " T" } else { "" };
                text.push_str(&format!(
                    " LAN prune delay {delay} ms override {interval} ms{tracking},"
                ));
            }
            Some(format!(
                "{text} secondary addresses [{}], other options [{}]",
                listed(&hello.addresses),
                listed(&hello.others)
            ))
        }
        _ => None,
    }
}

fn records_text<R: std::fmt::Display>(declared: u16, records: &[R]) -> String {
    let s = if declared == 1 { "" } else { "s" };
    format!("{declared} record{s} [{}]", listed(records))
}

fn query_text<A: std::fmt::Display>(query: &Query<A>) -> String {
    let suppress = if query.suppress { "set" } else { "clear" };
    format!("S flag {suppress}, sources [{}]", listed(&query.sources))
}

fn neighbor_discovery(nd: &Nd) -> String {
    let options = nd.options.iter().map(|option| match option {
        NdOption::SourceMac(mac) => format!("source link-layer address {mac}"),
        NdOption::TargetMac(mac) => format!("target link-layer address {mac}"),
        NdOption::Prefix {
            prefix,
            length,
            on_link,
            autonomous,
            ..
        } => {
            let on_link = if *on_link { " L" } else { "" };
            let autonomous = if *autonomous { " A" } else { "" };
            format!("prefix {prefix}/{length}{on_link}{autonomous}")
        }
        NdOption::Mtu(mtu) => format!("mtu {mtu}"),
        NdOption::Nonce => "nonce".into(),
        NdOption::Route {
            prefix_length,
            lifetime_s,
        } => format!("route /{prefix_length} lifetime {lifetime_s} s"),
        NdOption::Dns {
            servers,
            lifetime_s,
        } => format!("dns {} lifetime {lifetime_s} s", listed(servers)),
        NdOption::Search(_) => "search list".into(),
        NdOption::Other(kind) => format!("type {kind}"),
    });
    format!("flags {:#04x}, options [{}]", nd.flags, listed(options))
}
