//! PURE. Link layers: Ethernet with VLAN tags and LLC, Linux cooked headers, loopback, and the
//! protocols directly above them: LLDP, STP, LACP.

use pnet::packet::ethernet::EthernetPacket;

use super::cursor::{Cursor, Mac, UnexpectedEnd, text};
use super::glance::ethertype as kind;
use super::{LinkType, Packet, ProblemKind, cursor};
use super::{arp, ethertypes, identity, ip, mpls, netlink, ppp, wlan};

/// Maximum number of VLAN tags decoded. IEEE 802.1ad uses two; more are a test or an attack.
const MAX_TAGS: usize = 8;

pub(super) fn read(packet: &mut Packet<'_>) {
    let end = packet.frame.bytes.len();
    of_type(packet, packet.frame.link, 0, end);
}

/// Decodes a frame of a link type that begins at `at`; cooked, loopback and netlink ones only at 0.
pub(super) fn of_type(packet: &mut Packet<'_>, link: LinkType, at: usize, end: usize) {
    match link {
        LinkType::Ethernet => ethernet(packet, at, end),
        LinkType::RawIp => raw(packet, at, end),
        LinkType::LinuxCooked => cooked(packet, end),
        LinkType::LinuxCooked2 => cooked2(packet, end),
        LinkType::Null | LinkType::Loop => loopback(packet, end),
        LinkType::Ppp => ppp::read(packet, at, end),
        LinkType::PppEther => ppp::over_ethernet(packet, kind::PPPOE_SESSION, at, end),
        LinkType::CiscoHdlc => ppp::cisco_hdlc(packet, end),
        LinkType::Wlan => wlan::frame(packet, at, end),
        LinkType::Radiotap => wlan::radiotap(packet, end),
        LinkType::Ppi => wlan::ppi(packet, end),
        LinkType::Nflog => netlink::nflog(packet, end),
        LinkType::Netlink => netlink::read(packet, end),
        LinkType::Other => {
            packet.push_number("", packet.frame.original_length);
            packet.push_summary(" bytes");
            packet.problem(
                ProblemKind::Unknown,
                "link",
                0,
                "this link type is not decoded",
            );
        }
    }
}

pub(super) fn raw(packet: &mut Packet<'_>, at: usize, end: usize) {
    match packet.frame.bytes.get(at).map(|byte| byte >> 4) {
        Some(4) => ip::read_v4(packet, at, end),
        Some(6) => ip::read_v6(packet, at, end),
        Some(version) => {
            packet.problem(ProblemKind::Unknown, "ip", at, format!("version {version}"))
        }
        None => packet.short("ip", UnexpectedEnd { offset: at }),
    }
}

pub(super) fn ethernet(packet: &mut Packet<'_>, at: usize, end: usize) {
    packet.protocols.push("eth");
    let bytes = cursor(&packet.frame, at, end).rest();
    let Some(header) = EthernetPacket::new(bytes) else {
        return packet.short(
            "eth",
            UnexpectedEnd {
                offset: at.saturating_add(bytes.len()),
            },
        );
    };
    if packet.link.is_none() {
        let (from, to) = (header.get_source(), header.get_destination());
        packet.link = Some((Mac(from.octets()), Mac(to.octets())));
    }
    let number = header.get_ethertype().0;
    if number < kind::FIRST {
        llc(packet, number.into(), at.saturating_add(14), end);
    } else {
        by_ethertype(packet, number, at.saturating_add(14), end);
    }
}

pub(super) fn by_ethertype(packet: &mut Packet<'_>, mut number: u16, mut at: usize, end: usize) {
    let mut tags = 0;
    while matches!(number, kind::VLAN | kind::QINQ | 0x9100) {
        tags = usize::saturating_add(tags, 1);
        if tags > MAX_TAGS {
            let why = format!("more than {MAX_TAGS} VLAN tags");
            return packet.problem(ProblemKind::Unknown, "vlan", at, why);
        }
        packet.protocols.push("vlan");
        let mut from = cursor(&packet.frame, at, end);
        let tag = packet.read("vlan", |_| Ok((from.u16()?, from.u16()?)));
        let Some((tci, next)) = tag else { return };
        packet.vlans.push(tci & 0x0fff);
        at = from.offset();
        number = next;
        if number < kind::FIRST {
            return llc(packet, number.into(), at, end);
        }
    }
    let from = cursor(&packet.frame, at, end);
    match number {
        kind::IPV4 => ip::read_v4(packet, at, end),
        kind::IPV6 => ip::read_v6(packet, at, end),
        kind::ARP | 0x8035 => arp::read(packet, from),
        kind::LLDP => lldp(packet, from),
        kind::SLOW_PROTOCOLS => slow(packet, from),
        kind::MPLS | kind::MPLS_UPSTREAM => mpls::read(packet, at, end),
        kind::PPPOE_DISCOVERY | kind::PPPOE_SESSION => ppp::over_ethernet(packet, number, at, end),
        other => ethertypes::read(packet, other, from),
    }
}

/// IEEE 802.2 LLC, after an 802.3 length.
pub(super) fn llc(packet: &mut Packet<'_>, length: usize, at: usize, end: usize) {
    packet.protocols.push("llc");
    let mut from = cursor(&packet.frame, at, at.saturating_add(length).min(end));
    let sap = packet.read("llc", |_| Ok((from.u8()?, from.u8()?, from.u8()?)));
    let Some((destination, _, _)) = sap else {
        return;
    };
    match destination {
        0x42 => stp(packet, from),
        0xaa => snap(packet, from, end),
        0xfe => {
            packet.protocols.push("osi");
            packet.push_summary(match from.u8() {
                Ok(0x83) => "IS-IS",
                Ok(0x82) => "ES-IS",
                _ => "OSI",
            });
        }
        0xe0 => {
            packet.protocols.push("ipx");
            packet.push_summary("IPX");
        }
        0xf0 => {
            packet.protocols.push("netbios");
            packet.push_summary("NetBIOS");
        }
        other => {
            packet.write_summary(format_args!("LLC {other:#04x}, {} bytes", from.left()));
            packet.problem(
                ProblemKind::Unknown,
                "llc",
                at,
                format!("service access point {other:#04x}"),
            );
        }
    }
}

fn snap(packet: &mut Packet<'_>, mut from: Cursor<'_>, end: usize) {
    packet.protocols.push("snap");
    let head = packet.read("snap", |_| Ok((from.array::<3>()?, from.u16()?)));
    match head {
        Some(([0, 0, 0], number)) if number >= kind::FIRST => {
            by_ethertype(packet, number, from.offset(), end);
        }
        Some(([0, 0, 0x0c], number)) => {
            let name = match number {
                0x2000 => "cdp",
                0x010b => "pvst",
                0x2003 => "vtp",
                0x2004 => "dtp",
                0x0111 => "udld",
                _ => "cisco",
            };
            packet.protocols.push(name);
            if name == "cdp" {
                identity::keep(packet, identity::cdp(from));
            }
            packet.write_summary(format_args!(
                "{} {} bytes",
                name.to_uppercase(),
                from.left()
            ));
        }
        Some((oui, number)) => {
            let [a, b, c] = oui;
            let why = format!("organization {a:02x}:{b:02x}:{c:02x} protocol {number:#06x}");
            packet.push_summary(&why);
            packet.problem(ProblemKind::Unknown, "snap", from.offset(), why);
        }
        None => {}
    }
}

/// Spanning tree (IEEE 802.1D, 802.1w, 802.1s).
fn stp(packet: &mut Packet<'_>, mut from: Cursor<'_>) {
    packet.protocols.push("stp");
    identity::keep(packet, Some(identity::bridge()));
    packet.read("stp", |packet| {
        from.skip(2)?;
        let (version, bpdu) = (from.u8()?, from.u8()?);
        let name = match version {
            0 => "STP",
            2 => "RSTP",
            3 => "MSTP",
            4 => "SPB",
            _ => "STP of an unknown version",
        };
        if bpdu == 0x80 {
            packet.write_summary(format_args!("{name} topology change"));
            return Ok(());
        }
        let flags = from.u8()?;
        let (root_priority, root) = (from.u16()?, from.mac()?);
        let cost = from.u32()?;
        let (priority, bridge) = (from.u16()?, from.mac()?);
        let port = from.u16()?;
        packet.write_summary(format_args!(
            "{name} root {root_priority:#06x}.{root} cost {cost}, bridge {priority:#06x}.{bridge} port {port:#06x}"
        ));
        if flags & 1 != 0 {
            packet.push_summary(", topology change");
        }
        if flags & 2 != 0 {
            packet.push_summary(", proposal");
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// LLDP (IEEE 802.1AB): identity of the neighbor.
fn lldp(packet: &mut Packet<'_>, mut from: Cursor<'_>) {
    packet.protocols.push("lldp");
    identity::keep(packet, identity::lldp(from));
    packet.push_summary("LLDP");
    packet.read("lldp", |packet| {
        // A frame holds at most 750 of the shortest TLVs. Bytes after the end TLV are padding.
        while !from.is_empty() {
            let head = from.u16()?;
            let (kind, length) = (head >> 9, usize::from(head & 0x1ff));
            let mut value = from.sub(length)?;
            match kind {
                0 => break,
                1 | 2 if length > 0 => {
                    let subtype = value.u8()?;
                    let mac = (kind == 1 && subtype == 4) || (kind == 2 && subtype == 3);
                    let shown = if mac && length == 7 {
                        value.mac()?.to_string()
                    } else if length == 6 && value.u8()? == 1 {
                        value.ipv4()?.to_string()
                    } else {
                        let mut again = value;
                        text(again.rest(), 64)
                    };
                    if !shown.is_empty() {
                        let what = if kind == 1 { "chassis" } else { "port" };
                        packet.write_summary(format_args!(", {what} {shown}"));
                    }
                }
                3 => packet.write_summary(format_args!(", hold time {} s", value.u16()?)),
                4 if length > 0 => packet.write_summary(format_args!(
                    ", port description {}",
                    text(value.rest(), 64)
                )),
                5 if length > 0 => {
                    packet.write_summary(format_args!(", name {}", text(value.rest(), 64)))
                }
                _ => {}
            }
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// Slow protocols (IEEE 802.3, annex 57A): LACP and marker.
fn slow(packet: &mut Packet<'_>, mut from: Cursor<'_>) {
    packet.protocols.push("slow");
    packet.read("slow", |packet| {
        let subtype = from.u8()?;
        if subtype != 1 {
            packet.push_summary(match subtype {
                2 => "LACP marker",
                3 => "OAM",
                10 => "ESMC",
                _ => "slow protocol",
            });
            return Ok(());
        }
        packet.protocols.push("lacp");
        let version = from.u8()?;
        packet.write_summary(format_args!("LACPv{version}"));
        for who in ["actor", "partner"] {
            let (kind, length) = (from.u8()?, from.u8()?);
            let mut value = from.sub(usize::from(length).saturating_sub(2))?;
            if kind > 2 || kind == 0 {
                break;
            }
            let (priority, system) = (value.u16()?, value.mac()?);
            let key = value.u16()?;
            value.skip(2)?;
            let port = value.u16()?;
            let state = value.u8()?;
            let bits = [
                "activity",
                "short",
                "aggregating",
                "in sync",
                "collecting",
                "distributing",
                "defaulted",
                "expired",
            ];
            let set: Vec<&str> = bits
                .iter()
                .enumerate()
                .filter(|(bit, _)| state >> bit & 1 == 1)
                .map(|(_, name)| *name)
                .collect();
            packet.write_summary(format_args!(
                "; {who} {priority:#06x}.{system} key {key} port {port} [{}]",
                if set.is_empty() {
                    "none".into()
                } else {
                    set.join(", ")
                }
            ));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// LINKTYPE_LINUX_SLL.
fn cooked(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("sll");
    let mut from = cursor(&packet.frame, 0, end);
    let head = packet.read("sll", |_| {
        from.skip(2)?;
        let (hardware, length) = (from.u16()?, from.u16()?);
        let address = from.array::<8>()?;
        Ok((hardware, length, address, from.u16()?))
    });
    let Some((_, _, _, protocol)) = head else {
        return;
    };
    cooked_protocol(packet, protocol, from.offset(), end);
}

/// LINKTYPE_LINUX_SLL2.
fn cooked2(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("sll2");
    let mut from = cursor(&packet.frame, 0, end);
    let head = packet.read("sll2", |_| {
        let protocol = from.u16()?;
        from.skip(18)?;
        Ok(protocol)
    });
    let Some(protocol) = head else { return };
    cooked_protocol(packet, protocol, from.offset(), end);
}

fn cooked_protocol(packet: &mut Packet<'_>, protocol: u16, at: usize, end: usize) {
    match protocol {
        // The kernel's numbers for 802.3 frames: 1 is Novell's, 4 has an LLC header.
        4 => llc(packet, usize::MAX, at, end),
        number if number >= kind::FIRST => by_ethertype(packet, number, at, end),
        other => {
            packet.write_summary(format_args!("kernel protocol {other:#06x}"));
            packet.problem(
                ProblemKind::Unknown,
                "sll",
                at,
                format!("kernel protocol {other:#06x}"),
            );
        }
    }
}

/// BSD loopback: an address family, then an IP packet.
fn loopback(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("null");
    let mut from = cursor(&packet.frame, 0, end);
    let Some(word) = packet.read("null", |_| from.u32()) else {
        return;
    };
    let family = if packet.frame.link == LinkType::Null && word > 0xffff {
        word.swap_bytes()
    } else {
        word
    };
    match family {
        2 | 10 | 24 | 28 | 30 => raw(packet, 4, end),
        other => {
            packet.write_summary(format_args!("address family {other}"));
            packet.problem(
                ProblemKind::Unknown,
                "null",
                0,
                format!("address family {other}"),
            );
        }
    }
}
