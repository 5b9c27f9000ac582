//! PURE. Neighbor discovery (RFC 4861): solicitations, advertisements, redirects, and their options.

use std::net::Ipv6Addr;

use super::cursor::{Cursor, Mac, UnexpectedEnd, text};
use super::{Meaning, Packet, ProblemKind};

/// An option.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum NdOption {
    SourceMac(Mac),
    TargetMac(Mac),
    Prefix {
        prefix: Ipv6Addr,
        length: u8,
        on_link: bool,
        autonomous: bool,
        valid_s: u32,
        preferred_s: u32,
    },
    Mtu(u32),
    Nonce,
    Route {
        prefix_length: u8,
        lifetime_s: u32,
    },
    Dns {
        servers: Vec<Ipv6Addr>,
        lifetime_s: u32,
    },
    Search(Vec<u8>),
    Other(u8),
}

/// A neighbor discovery message.
#[derive(Clone, Debug, PartialEq)]
pub struct Nd {
    /// ICMPv6 type, 133 to 137.
    pub kind: u8,
    /// Target address of NS, NA and redirects.
    pub target: Option<Ipv6Addr>,
    /// Flags byte: of RA (M, O, ...) or NA (R, S, O).
    pub flags: u8,
    /// Hop limit that an RA announces.
    pub hop_limit: u8,
    /// Router lifetime of an RA, in seconds; 0 if the sender is not a default router.
    pub lifetime_s: u16,
    /// Options in order.
    pub options: Vec<NdOption>,
}

/// Maximum number of options decoded per message; more are an attack.
const MOST_OPTIONS: usize = 64;

pub(super) fn read(
    packet: &mut Packet<'_>,
    kind: u8,
    mut from: Cursor<'_>,
) -> Result<(), UnexpectedEnd> {
    packet.protocols.push("nd");
    let mut nd = Nd {
        kind,
        target: None,
        flags: 0,
        hop_limit: 0,
        lifetime_s: 0,
        options: Vec::new(),
    };
    match kind {
        133 => {
            from.skip(4)?;
            packet.push_summary("router solicitation");
        }
        134 => {
            nd.hop_limit = from.u8()?;
            nd.flags = from.u8()?;
            nd.lifetime_s = from.u16()?;
            let (reachable, retrans) = (from.u32()?, from.u32()?);
            packet.write_summary(format_args!(
                "router advertisement, lifetime {} s, hop limit {}",
                nd.lifetime_s, nd.hop_limit
            ));
            for (bit, name) in [(0x80, ", managed"), (0x40, ", other config")] {
                if nd.flags & bit != 0 {
                    packet.push_summary(name);
                }
            }
            if reachable != 0 || retrans != 0 {
                packet.write_summary(format_args!(
                    ", reachable {reachable} ms, retrans {retrans} ms"
                ));
            }
        }
        135 => {
            from.skip(4)?;
            let target = from.ipv6()?;
            nd.target = Some(target);
            packet.write_summary(format_args!("who has {target}?"));
        }
        136 => {
            nd.flags = from.u8()?;
            from.skip(3)?;
            let target = from.ipv6()?;
            nd.target = Some(target);
            packet.write_summary(format_args!("{target} is here"));
            for (bit, name) in [
                (0x80, ", router"),
                (0x40, ", solicited"),
                (0x20, ", override"),
            ] {
                if nd.flags & bit != 0 {
                    packet.push_summary(name);
                }
            }
        }
        _ => {
            from.skip(4)?;
            let (target, destination) = (from.ipv6()?, from.ipv6()?);
            nd.target = Some(target);
            packet.write_summary(format_args!("redirect: {destination} is behind {target}"));
        }
    }
    let outcome = options(packet, &mut nd, &mut from);
    packet.meanings.push(Meaning::Nd(nd));
    outcome
}

fn options(
    packet: &mut Packet<'_>,
    nd: &mut Nd,
    from: &mut Cursor<'_>,
) -> Result<(), UnexpectedEnd> {
    while !from.is_empty() && nd.options.len() < MOST_OPTIONS {
        let start = from.offset();
        let kind = from.u8()?;
        let units = from.u8()?;
        if units == 0 {
            // RFC 4861, section 4.6: nodes MUST silently discard such a packet.
            packet.problem(
                ProblemKind::Malformed,
                "nd",
                start,
                format!("option {kind} has length 0"),
            );
            return Ok(());
        }
        let mut value = from.sub(usize::from(units).saturating_mul(8).saturating_sub(2))?;
        let option = match kind {
            1 => {
                let mac = value.mac()?;
                packet.write_summary(format_args!(", from {mac}"));
                NdOption::SourceMac(mac)
            }
            2 => {
                let mac = value.mac()?;
                packet.write_summary(format_args!(", at {mac}"));
                NdOption::TargetMac(mac)
            }
            3 => {
                let (length, flags) = (value.u8()?, value.u8()?);
                let (valid_s, preferred_s) = (value.u32()?, value.u32()?);
                value.skip(4)?;
                let prefix = value.ipv6()?;
                packet.write_summary(format_args!(
                    ", prefix {prefix}/{length} valid {valid_s} s preferred {preferred_s} s"
                ));
                NdOption::Prefix {
                    prefix,
                    length,
                    on_link: flags & 0x80 != 0,
                    autonomous: flags & 0x40 != 0,
                    valid_s,
                    preferred_s,
                }
            }
            5 => {
                value.skip(2)?;
                let mtu = value.u32()?;
                packet.write_summary(format_args!(", mtu {mtu}"));
                NdOption::Mtu(mtu)
            }
            14 => NdOption::Nonce,
            24 => {
                let prefix_length = value.u8()?;
                value.skip(1)?;
                NdOption::Route {
                    prefix_length,
                    lifetime_s: value.u32()?,
                }
            }
            25 => {
                value.skip(2)?;
                let lifetime_s = value.u32()?;
                let mut servers = Vec::new();
                while let Ok(server) = value.ipv6() {
                    packet.write_summary(format_args!(", dns {server}"));
                    servers.push(server);
                }
                NdOption::Dns {
                    servers,
                    lifetime_s,
                }
            }
            31 => {
                value.skip(6)?;
                let name = value.rest();
                if !name.is_empty() {
                    packet.write_summary(format_args!(", search {}", text(name, 64)));
                }
                NdOption::Search(name.to_vec())
            }
            other => NdOption::Other(other),
        };
        nd.options.push(option);
    }
    Ok(())
}
