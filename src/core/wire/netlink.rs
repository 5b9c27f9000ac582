//! PURE. Netlink messages and netfilter's log as capture files have them. Their numbers are in the byte order of the
//! host that wrote the file, which is taken to be little-endian unless that makes no sense.

use super::cursor::{Cursor, UnexpectedEnd, text};
use super::{Packet, ProblemKind, cursor, ip};

/// Attribute with the packet (`NFULA_PAYLOAD` in nfnetlink_log.h).
const PAYLOAD: u16 = 9;
/// Attribute with the rule's prefix (`NFULA_PREFIX`).
const PREFIX: u16 = 10;

/// LINKTYPE_NFLOG: family, version, group, then attributes padded to 4 bytes.
pub(super) fn nflog(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("nflog");
    let mut from = cursor(&packet.frame, 0, end);
    let found = packet.read("nflog", |packet| {
        let family = from.u8()?;
        from.skip(3)?;
        while from.left() >= 4 {
            let little = is_little(from);
            let (length, kind) = (number(from.u16()?, little), number(from.u16()?, little));
            let length = usize::from(length).saturating_sub(4);
            let at = from.offset();
            if kind == PAYLOAD {
                return Ok(Some((family, at, at.saturating_add(length))));
            }
            let value = from.take(length)?;
            if kind == PREFIX {
                let prefix = value.split(|byte| *byte == 0).next().unwrap_or_default();
                packet.write_summary(format_args!("{}: ", text(prefix, 64)));
            }
            from.skip((length.wrapping_neg() & 3).min(from.left()))?;
        }
        Ok::<_, UnexpectedEnd>(None)
    });
    match found.flatten() {
        Some((2, at, stop)) => ip::read_v4(packet, at, stop.min(end)),
        Some((10, at, stop)) => ip::read_v6(packet, at, stop.min(end)),
        Some((family, at, _)) => {
            packet.write_summary(format_args!("address family {family}"));
            let why = format!("address family {family}");
            packet.problem(ProblemKind::Unknown, "nflog", at, why);
        }
        None => packet.push_summary("without a packet"),
    }
}

/// Returns whether the length of the attribute at `from` fits as a little-endian number.
fn is_little(mut from: Cursor<'_>) -> bool {
    let left = from.left();
    from.u16()
        .is_ok_and(|length| (4..=left).contains(&usize::from(length.swap_bytes())))
}

fn number(read: u16, little: bool) -> u16 {
    if little { read.swap_bytes() } else { read }
}

/// LINKTYPE_NETLINK: a cooked header of 16 bytes that ends with the family, then messages (netlink(7)).
pub(super) fn read(packet: &mut Packet<'_>, end: usize) {
    packet.protocols.push("netlink");
    let mut from = cursor(&packet.frame, 0, end);
    packet.read("netlink", |packet| {
        from.skip(14)?;
        let family = from.u16()?;
        packet.push_summary(match FAMILIES.get(usize::from(family)) {
            Some(name) if !name.is_empty() => format!("netlink {name}"),
            _ => format!("netlink family {family}"),
        });
        let mut shown = 0u8;
        while from.left() >= 16 {
            let (length, kind) = (from.u32()?.swap_bytes() as usize, from.u16()?.swap_bytes());
            from.skip(10)?;
            let body = length.saturating_sub(16).min(from.left());
            from.skip(body)?;
            if shown == 4 {
                packet.push_summary(", more");
                break;
            }
            shown = shown.saturating_add(1);
            packet.push_summary(if shown == 1 { ": " } else { ", " });
            packet.push_summary(message_name(family, kind));
            from.skip((length.wrapping_neg() & 3).min(from.left()))?;
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

/// Families by number (linux/netlink.h).
const FAMILIES: [&str; 23] = [
    "route",
    "",
    "usersock",
    "firewall",
    "sock_diag",
    "nflog",
    "xfrm",
    "selinux",
    "iscsi",
    "audit",
    "fib_lookup",
    "connector",
    "netfilter",
    "ip6_fw",
    "dnrtmsg",
    "kobject_uevent",
    "generic",
    "",
    "scsitransport",
    "ecryptfs",
    "rdma",
    "crypto",
    "smc",
];

/// Name of a message type; the first 16 are the same in all families.
fn message_name(family: u16, kind: u16) -> String {
    let name = match (family, kind) {
        (_, 1) => "NOOP",
        (_, 2) => "ERROR",
        (_, 3) => "DONE",
        (_, 4) => "OVERRUN",
        (0, 16) => "RTM_NEWLINK",
        (0, 17) => "RTM_DELLINK",
        (0, 18) => "RTM_GETLINK",
        (0, 19) => "RTM_SETLINK",
        (0, 20) => "RTM_NEWADDR",
        (0, 21) => "RTM_DELADDR",
        (0, 22) => "RTM_GETADDR",
        (0, 24) => "RTM_NEWROUTE",
        (0, 25) => "RTM_DELROUTE",
        (0, 26) => "RTM_GETROUTE",
        (0, 28) => "RTM_NEWNEIGH",
        (0, 29) => "RTM_DELNEIGH",
        (0, 30) => "RTM_GETNEIGH",
        (0, 32) => "RTM_NEWRULE",
        (0, 33) => "RTM_DELRULE",
        (0, 34) => "RTM_GETRULE",
        _ => return format!("type {kind}"),
    };
    name.into()
}
