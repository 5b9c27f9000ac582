//! PURE. Upper-layer protocols: the table by IP protocol number, UDP (RFC 768) and TCP (RFC 9293).

use std::net::IpAddr;

use pnet::packet::tcp::TcpPacket;
use pnet::packet::udp::UdpPacket;

use super::applications::esp_header;
use super::applications::message::Message;
use super::cursor::{Cursor, UnexpectedEnd, sum};
use super::glance::ip_protocol as protocol;
use super::ip::Payload;
use super::{Packet, ProblemKind};
use super::{applications, icmp, igmp, ip, pim, routing, tunnel};

/// Returns the name of an IP protocol, or `ip protocol N`.
pub fn name(number: u8) -> String {
    let name = match number {
        protocol::ICMP => "icmp",
        protocol::IGMP => "igmp",
        4 => "ipip",
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        33 => "dccp",
        41 => "ip6 in ip",
        47 => "gre",
        50 => "esp",
        protocol::AH => "ah",
        protocol::ICMPV6 => "icmp6",
        59 => "nothing",
        protocol::EIGRP => "eigrp",
        protocol::OSPF => "ospf",
        protocol::PIM => "pim",
        protocol::VRRP => "vrrp",
        115 => "l2tp",
        protocol::SCTP => "sctp",
        136 => "udplite",
        other => return format!("ip protocol {other}"),
    };
    name.into()
}

/// Decodes the message that follows an IP header.
pub(super) fn read<'a>(packet: &mut Packet<'a>, mut payload: Payload<'a>) {
    match payload.network.protocol {
        protocol::UDP => udp(packet, &payload),
        protocol::TCP => tcp(packet, &payload),
        protocol::ICMP => icmp::read_v4(packet, &payload),
        protocol::ICMPV6 => icmp::read_v6(packet, &payload),
        protocol::IGMP => igmp::read(packet, &payload),
        protocol::PIM => pim::read(packet, &payload),
        protocol::VRRP => routing::vrrp(packet, &payload),
        protocol::OSPF => routing::ospf(packet, &payload),
        protocol::EIGRP => routing::eigrp(packet, &payload),
        47 => tunnel::gre(packet, &payload),
        4 | 41 => {
            if !packet.enter() {
                return;
            }
            let at = payload.bytes.offset();
            let end = at.saturating_add(payload.bytes.left());
            packet.push_inner("tunnel", |packet| match payload.network.protocol {
                4 => ip::read_v4(packet, at, end),
                _ => ip::read_v6(packet, at, end),
            });
        }
        protocol::SCTP => {
            packet.protocols.push("sctp");
            let ports = packet.read("sctp", |_| Ok((payload.bytes.u16()?, payload.bytes.u16()?)));
            keep_ports(packet, ports);
            packet.write_summary(format_args!("{} bytes", payload.network.payload_length));
        }
        50 => {
            packet.protocols.push("esp");
            let length = payload.network.payload_length as usize;
            esp_header(packet, payload.bytes, length);
        }
        protocol::AH => ah(packet, payload),
        59 | 33 | 115 | 136 => {
            packet.protocols.push(match payload.network.protocol {
                33 => "dccp",
                115 => "l2tp",
                136 => "udplite",
                _ => "none",
            });
            packet.write_summary(format_args!("{} bytes", payload.network.payload_length));
        }
        other => {
            packet.write_summary(format_args!(
                "{}, {} bytes",
                name(other),
                payload.network.payload_length
            ));
            let why = format!("{} is not decoded", name(other));
            packet.problem(ProblemKind::Unknown, "ip", payload.bytes.offset(), why);
        }
    }
}

/// The authentication header of IPv4 (RFC 4302), and the message that it protects.
fn ah<'a>(packet: &mut Packet<'a>, mut payload: Payload<'a>) {
    packet.protocols.push("ah");
    let next = packet.read("ah", |packet| {
        let next = payload.bytes.u8()?;
        let length = usize::from(payload.bytes.u8()?);
        payload.bytes.skip(2)?;
        let (spi, sequence) = (payload.bytes.u32()?, payload.bytes.u32()?);
        payload
            .bytes
            .skip(length.saturating_mul(4).saturating_sub(4))?;
        packet.write_summary(format_args!("AH spi {spi:#010x} seq {sequence}"));
        Ok::<(u8, usize), UnexpectedEnd>((next, length))
    });
    let Some((next, length)) = next else { return };
    let header = length.saturating_add(2).saturating_mul(4);
    payload.network.protocol = next;
    payload.network.payload_length = payload.network.payload_length.saturating_sub(header as u32);
    // Each header takes at least 8 bytes of the packet, so that this ends.
    if next == protocol::AH {
        let why = "an authentication header within another";
        return packet.problem(ProblemKind::Malformed, "ah", payload.bytes.offset(), why);
    }
    packet.push_inner("", |packet| read(packet, payload));
}

/// Verifies the checksum of a TCP or UDP message.
fn judge(
    packet: &mut Packet<'_>,
    payload: &Payload<'_>,
    layer: &'static str,
    message: &[u8],
    field: u16,
) {
    let (length, upper) = (message.len(), payload.network.protocol);
    let pseudo = payload.pseudo_sum(length, upper);
    // With an IPv4 source route Linux computes UDP's checksum with the next hop (udp_sendmsg takes it
    // for the destination), and TCP's with the final destination, as RFC 791 means it.
    let next_hop = match payload.network.source {
        IpAddr::V4(_) => payload.next_hop_pseudo_sum(length, upper),
        IpAddr::V6(_) => None,
    };
    let starts = || [Some(pseudo), next_hop].into_iter().flatten();
    if starts().any(|start| sum(message, start) == 0xffff) {
        return packet.judge(layer, true);
    }
    // The field holds only the sum of the pseudo-header: the sender leaves the rest to hardware, and
    // capture files do not always record that.
    if starts().any(|start| sum(&[], start) == u32::from(field)) {
        packet.partial_checksum = true;
        return;
    }
    packet.judge(layer, false);
}

fn keep_ports(packet: &mut Packet<'_>, ports: Option<(u16, u16)>) {
    match packet.inner.last_mut() {
        Some(inner) => inner.ports = ports,
        None if packet.ports.is_none() => packet.ports = ports,
        None => {}
    }
}

fn udp<'a>(packet: &mut Packet<'a>, payload: &Payload<'a>) {
    packet.protocols.push("udp");
    let at = payload.bytes.offset();
    let mut whole = payload.bytes;
    let bytes = whole.rest();
    let Some(header) = UdpPacket::new(bytes) else {
        if packet.quoted && bytes.len() >= 4 {
            let mut from = payload.bytes;
            let ports = from.u16().and_then(|a| Ok((a, from.u16()?))).ok();
            keep_ports(packet, ports);
        }
        return packet.short("udp", UnexpectedEnd { offset: at });
    };
    let (source, destination) = (header.get_source(), header.get_destination());
    keep_ports(packet, Some((source, destination)));
    let announced = usize::from(header.get_length());
    // 0 means more than 65,535 (RFC 2675), or an aggregated packet.
    let length = if announced == 0 {
        payload.network.payload_length as usize
    } else {
        announced
    };
    if length < 8 {
        let why = format!("length {length}, less than its header of 8");
        return packet.problem(ProblemKind::Malformed, "udp", at.saturating_add(4), why);
    }
    if length > payload.network.payload_length as usize && payload.complete && !packet.quoted {
        let why = format!(
            "length {length}, but the IP payload has {}",
            payload.network.payload_length
        );
        packet.problem(ProblemKind::Malformed, "udp", at.saturating_add(4), why);
    }
    if let Some(message) = bytes.get(..length)
        && packet.can_judge(payload.complete && announced != 0)
        && (header.get_checksum() != 0 || payload.network.source.is_ipv6())
    {
        judge(packet, payload, "udp", message, header.get_checksum());
    }
    if packet.quoted {
        return;
    }
    let message = Message {
        bytes: Cursor::new(
            bytes.get(8..length.min(bytes.len())).unwrap_or_default(),
            at.saturating_add(8),
        ),
        length: length.saturating_sub(8),
        source,
        destination,
        on_port: false,
    };
    if !applications::udp(packet, message) {
        packet.push_number("", message.length as u64);
        packet.push_summary(" bytes");
    }
}

/// TCP flags in the order of their bits.
const FLAGS: [(u16, &str); 9] = [
    (0x002, "SYN"),
    (0x001, "FIN"),
    (0x004, "RST"),
    (0x008, "PSH"),
    (0x010, "ACK"),
    (0x020, "URG"),
    (0x040, "ECE"),
    (0x080, "CWR"),
    (0x100, "AE"),
];

fn tcp<'a>(packet: &mut Packet<'a>, payload: &Payload<'a>) {
    packet.protocols.push("tcp");
    let at = payload.bytes.offset();
    let mut whole = payload.bytes;
    let bytes = whole.rest();
    let Some(header) = TcpPacket::new(bytes) else {
        if bytes.len() >= 4 {
            let mut from = payload.bytes;
            let ports = from.u16().and_then(|a| Ok((a, from.u16()?))).ok();
            keep_ports(packet, ports);
        }
        return packet.short("tcp", UnexpectedEnd { offset: at });
    };
    let (source, destination) = (header.get_source(), header.get_destination());
    keep_ports(packet, Some((source, destination)));
    let header_length = usize::from(header.get_data_offset()).saturating_mul(4);
    if header_length < 20 {
        let why = format!("header length {header_length}, less than 20");
        return packet.problem(ProblemKind::Malformed, "tcp", at.saturating_add(12), why);
    }
    let total = payload.network.payload_length as usize;
    if header_length > total && !packet.quoted {
        let why = format!("header length {header_length}, but the IP payload has {total}");
        return packet.problem(ProblemKind::Malformed, "tcp", at.saturating_add(12), why);
    }
    if let Some(message) = bytes.get(..total)
        && packet.can_judge(payload.complete && total <= 65_535)
    {
        judge(packet, payload, "tcp", message, header.get_checksum());
    }
    let bits = u16::from(bytes.get(12).copied().unwrap_or(0) & 1) << 8
        | u16::from(bytes.get(13).copied().unwrap_or(0));
    let data = total.saturating_sub(header_length);
    let start = packet.summary.len();
    for (_, name) in FLAGS.iter().filter(|(bit, _)| bits & bit != 0) {
        if packet.summary.len() > start {
            packet.push_summary(" ");
        }
        packet.push_summary(name);
    }
    if packet.summary.len() == start {
        packet.push_summary("no flags");
    }
    packet.push_number(" seq ", header.get_sequence());
    if bits & 0x10 != 0 {
        packet.push_number(" ack ", header.get_acknowledgement());
    }
    packet.push_number(" win ", header.get_window());
    if data > 0 {
        packet.push_number(" ", data as u64);
        packet.push_summary(" bytes");
    }
    let options = bytes
        .get(20..header_length.min(bytes.len()))
        .unwrap_or_default();
    let read = packet.read("tcp", |packet| {
        tcp_options(packet, Cursor::new(options, at.saturating_add(20)))
    });
    if read.is_none() || packet.quoted {
        return;
    }
    if bytes.len() < header_length {
        return packet.short(
            "tcp",
            UnexpectedEnd {
                offset: at.saturating_add(bytes.len()),
            },
        );
    }
    let captured = bytes
        .get(header_length..total.min(bytes.len()))
        .unwrap_or_default();
    let message = Message {
        bytes: Cursor::new(captured, at.saturating_add(header_length)),
        length: data,
        source,
        destination,
        on_port: false,
    };
    // An urgent or a keepalive byte begins no message.
    if data > 1 {
        let before = packet.summary.len();
        packet.push_summary(": ");
        if !applications::tcp(packet, message) {
            packet.summary.truncate(before);
        }
    }
}

fn tcp_options(packet: &mut Packet<'_>, from: Cursor<'_>) -> Result<(), UnexpectedEnd> {
    let mut shown: Vec<String> = Vec::new();
    // Options before a cut are shown.
    let outcome = read_tcp_options(packet, from, &mut shown);
    if !shown.is_empty() {
        packet.write_summary(format_args!(" [{}]", shown.join(", ")));
    }
    outcome
}

fn read_tcp_options(
    packet: &mut Packet<'_>,
    mut from: Cursor<'_>,
    shown: &mut Vec<String>,
) -> Result<(), UnexpectedEnd> {
    while !from.is_empty() {
        let start = from.offset();
        let kind = from.u8()?;
        match kind {
            0 => break,
            1 => continue,
            _ => {}
        }
        let length = from.u8()?;
        if length < 2 {
            let why = format!("option {kind} has length {length}");
            packet.problem(ProblemKind::Malformed, "tcp", start, why);
            break;
        }
        let mut value = from.sub(usize::from(length).saturating_sub(2))?;
        match kind {
            2 => shown.push(format!("mss {}", value.u16()?)),
            3 => shown.push(format!("wscale {}", value.u8()?)),
            4 => shown.push("sack ok".into()),
            5 => shown.push("sack".into()),
            8 => {}
            30 => shown.push("mptcp".into()),
            34 => shown.push("fast open".into()),
            _ => {}
        }
    }
    Ok(())
}
