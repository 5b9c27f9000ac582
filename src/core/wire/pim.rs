//! PURE. PIM version 2 (RFC 7761): hellos with their options, joins and prunes, registers, asserts,
//! bootstrap and candidate RP messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cursor::{Cursor, UnexpectedEnd, sum};
use super::glance::ip_protocol as protocol;
use super::ip::{Payload, read_quoted};
use super::{Meaning, Packet, ProblemKind};

/// A PIM message.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Pim {
    Hello(Hello),
    /// Border and null-register bits.
    Register {
        border: bool,
        null: bool,
    },
    RegisterStop {
        group: Encoded,
        source: Option<IpAddr>,
    },
    JoinPrune {
        upstream: Option<IpAddr>,
        hold_s: u16,
        groups: Vec<JoinPruneGroup>,
    },
    Assert {
        group: Encoded,
        source: Option<IpAddr>,
        rp_bit: bool,
        preference: u32,
        metric: u32,
    },
    /// Other known types, by number.
    Other(u8),
}

/// Options of a hello (RFC 7761, section 4.9.2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hello {
    /// Hold time in seconds: 65535 means forever, 0 that the neighbor leaves.
    pub hold_s: Option<u16>,
    /// Propagation delay and override interval in milliseconds, with the T bit.
    pub lan_prune_delay: Option<(bool, u16, u16)>,
    /// Designated router priority.
    pub dr_priority: Option<u32>,
    /// Generation ID, which changes when the neighbor restarts.
    pub generation_id: Option<u32>,
    /// Secondary addresses of the neighbor.
    pub addresses: Vec<IpAddr>,
    /// Types of options that are not decoded.
    pub others: Vec<u16>,
}

/// An encoded group or source: address, mask length and flags.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded {
    /// The address; `None` if its family is unknown.
    pub address: Option<IpAddr>,
    /// Mask length in bits.
    pub mask: u8,
    /// Flags: of a source S 4, W 2, R 1.
    pub flags: u8,
}

impl std::fmt::Display for Encoded {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => write!(to, "{address}")?,
            None => write!(to, "?")?,
        }
        let full = if matches!(self.address, Some(IpAddr::V6(_))) {
            128
        } else {
            32
        };
        if self.mask != full {
            write!(to, "/{}", self.mask)?;
        }
        Ok(())
    }
}

/// Maximum number of groups in the summary of a join/prune message.
const MAX_GROUPS: usize = 3;

/// Joins and prunes of one group.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct JoinPruneGroup {
    pub group: Encoded,
    pub joins: Vec<Encoded>,
    pub prunes: Vec<Encoded>,
}

fn address(from: &mut Cursor<'_>, family: u8) -> Result<Option<IpAddr>, UnexpectedEnd> {
    Ok(match family {
        1 => Some(IpAddr::from(Ipv4Addr::from(from.array::<4>()?))),
        2 => Some(IpAddr::from(Ipv6Addr::from(from.array::<16>()?))),
        _ => None,
    })
}

fn unicast(from: &mut Cursor<'_>) -> Result<Option<IpAddr>, UnexpectedEnd> {
    let family = from.u8()?;
    from.skip(1)?;
    address(from, family)
}

/// Encoded group and source addresses have one shape (RFC 7761, section 4.9.1).
fn encoded(from: &mut Cursor<'_>) -> Result<Encoded, UnexpectedEnd> {
    let family = from.u8()?;
    from.skip(1)?;
    let (flags, mask) = (from.u8()?, from.u8()?);
    Ok(Encoded {
        address: address(from, family)?,
        mask,
        flags,
    })
}

pub(super) fn read<'a>(packet: &mut Packet<'a>, payload: &Payload<'a>) {
    packet.protocols.push("pim");
    let mut from = payload.bytes;
    packet.read("pim", |packet| {
        let start = from.offset();
        let head = from.u8()?;
        let (version, kind) = (head >> 4, head & 0x0f);
        from.skip(3)?;
        if version != 2 {
            packet.write_summary(format_args!("PIM version {version}"));
            packet.problem(
                ProblemKind::Unknown,
                "pim",
                start,
                format!("version {version} is not decoded"),
            );
            return Ok(());
        }
        judge(packet, payload, kind);
        let pim = match kind {
            0 => Pim::Hello(hello(packet, &mut from)?),
            1 => {
                let flags = from.u32()?;
                let (border, null) = (flags >> 31 & 1 == 1, flags >> 30 & 1 == 1);
                packet.push_summary(if null {
                    "PIM null register"
                } else {
                    "PIM register"
                });
                if !from.is_empty() {
                    let what = read_quoted(packet, from);
                    packet.write_summary(format_args!(" of {what}"));
                }
                Pim::Register { border, null }
            }
            2 => {
                let (group, source) = (encoded(&mut from)?, unicast(&mut from)?);
                packet.write_summary(format_args!(
                    "PIM register stop {group} from {}",
                    show(source)
                ));
                Pim::RegisterStop { group, source }
            }
            3 | 6 | 7 => join_prune(packet, kind, &mut from)?,
            5 => {
                let (group, source) = (encoded(&mut from)?, unicast(&mut from)?);
                let preference = from.u32()?;
                let metric = from.u32()?;
                let rp_bit = preference >> 31 == 1;
                let preference = preference & 0x7fff_ffff;
                packet.write_summary(format_args!(
                    "PIM assert {group} from {}, preference {preference}, metric {metric}",
                    show(source)
                ));
                Pim::Assert {
                    group,
                    source,
                    rp_bit,
                    preference,
                    metric,
                }
            }
            4 | 8..=12 => {
                packet.push_summary(match kind {
                    4 => "PIM bootstrap",
                    8 => "PIM candidate RP advertisement",
                    9 => "PIM state refresh",
                    10 => "PIM DF election",
                    11 => "PIM ECMP redirect",
                    _ => "PIM flooding mechanism",
                });
                Pim::Other(kind)
            }
            other => {
                packet.write_summary(format_args!("PIM type {other}"));
                packet.problem(
                    ProblemKind::Unknown,
                    "pim",
                    start,
                    format!("type {other} is not decoded"),
                );
                Pim::Other(other)
            }
        };
        packet.meanings.push(Meaning::Pim(pim));
        Ok(())
    });
}

/// Checks the checksum. In a register it covers only the first eight bytes, although some senders cover
/// the whole message (RFC 7761, section 4.9); over IPv6 it covers the pseudo-header as well.
fn judge(packet: &mut Packet<'_>, payload: &Payload<'_>, kind: u8) {
    if !packet.can_judge(payload.complete) {
        return;
    }
    let mut whole = payload.bytes;
    let bytes = whole.rest();
    let start = |length: usize| {
        if payload.network.source.is_ipv6() {
            payload.pseudo_sum(length, protocol::PIM)
        } else {
            0
        }
    };
    let whole_right = sum(bytes, start(bytes.len())) == 0xffff;
    let head_right = kind == 1
        && bytes
            .get(..8)
            .is_some_and(|head| sum(head, start(8)) == 0xffff);
    packet.judge("pim", whole_right || head_right);
}

fn show(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "?".into(), |address| address.to_string())
}

fn hello(packet: &mut Packet<'_>, from: &mut Cursor<'_>) -> Result<Hello, UnexpectedEnd> {
    let mut hello = Hello::default();
    packet.push_summary("PIM hello");
    // Options before a cut are shown.
    let outcome = hello_options(&mut hello, from);
    match hello.hold_s {
        Some(0) => packet.push_summary(", goodbye"),
        Some(u16::MAX) => packet.push_summary(", hold time infinite"),
        Some(hold) => packet.write_summary(format_args!(", hold time {hold} s")),
        None => {}
    }
    if let Some(priority) = hello.dr_priority {
        packet.write_summary(format_args!(", DR priority {priority}"));
    }
    if let Some(id) = hello.generation_id {
        packet.write_summary(format_args!(", generation {id:#010x}"));
    }
    outcome.map(|()| hello)
}

fn hello_options(hello: &mut Hello, from: &mut Cursor<'_>) -> Result<(), UnexpectedEnd> {
    while !from.is_empty() {
        let (kind, length) = (from.u16()?, from.u16()?);
        let mut value = from.sub(length.into())?;
        match (kind, length) {
            (1, 2) => hello.hold_s = Some(value.u16()?),
            (2, 4) => {
                let delay = value.u16()?;
                hello.lan_prune_delay = Some((delay >> 15 == 1, delay & 0x7fff, value.u16()?));
            }
            (19, 4) => hello.dr_priority = Some(value.u32()?),
            (20, 4) => hello.generation_id = Some(value.u32()?),
            (24, _) => {
                while !value.is_empty() {
                    match unicast(&mut value)? {
                        Some(address) => hello.addresses.push(address),
                        None => break,
                    }
                }
            }
            (other, _) => hello.others.push(other),
        }
    }
    Ok(())
}

fn join_prune(
    packet: &mut Packet<'_>,
    kind: u8,
    from: &mut Cursor<'_>,
) -> Result<Pim, UnexpectedEnd> {
    let upstream = unicast(from)?;
    from.skip(1)?;
    let count = from.u8()?;
    let hold_s = from.u16()?;
    packet.push_summary(match kind {
        3 => "PIM join/prune",
        6 => "PIM graft",
        _ => "PIM graft ack",
    });
    packet.write_summary(format_args!(" to {}, hold time {hold_s} s", show(upstream)));
    let mut groups = Vec::new();
    let outcome = (0..count).try_for_each(|_| {
        groups.push(join_prune_group(packet, groups.len() < MAX_GROUPS, from)?);
        Ok(())
    });
    let missing = usize::from(count).saturating_sub(groups.len().min(MAX_GROUPS));
    match missing {
        0 => {}
        1 => packet.push_summary("; and 1 more group"),
        missing => packet.write_summary(format_args!("; and {missing} more groups")),
    }
    outcome?;
    Ok(Pim::JoinPrune {
        upstream,
        hold_s,
        groups,
    })
}

/// Decodes the joins and prunes of a group, which are added to the summary if `is_shown`.
fn join_prune_group(
    packet: &mut Packet<'_>,
    is_shown: bool,
    from: &mut Cursor<'_>,
) -> Result<JoinPruneGroup, UnexpectedEnd> {
    let group = encoded(from)?;
    let (joined, pruned) = (from.u16()?, from.u16()?);
    let mut one = JoinPruneGroup {
        group,
        joins: Vec::new(),
        prunes: Vec::new(),
    };
    for _ in 0..joined {
        one.joins.push(encoded(from)?);
    }
    for _ in 0..pruned {
        one.prunes.push(encoded(from)?);
    }
    if is_shown {
        for (word, sources) in [("join", &one.joins), ("prune", &one.prunes)] {
            for source in sources.iter().take(4) {
                // With the wildcard bit the entry is (*, G), and the source field holds the RP.
                if source.flags & 2 != 0 {
                    packet.write_summary(format_args!("; {word} (*, {group}) rp {source}"));
                } else {
                    packet.write_summary(format_args!("; {word} ({source}, {group})"));
                }
            }
        }
    }
    Ok(one)
}
