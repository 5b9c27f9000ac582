//! PURE. Multicast listener discovery, versions 1 and 2 (RFC 2710, RFC 3810), and multicast router
//! discovery for IPv6 (RFC 4286).

use std::net::Ipv6Addr;

use super::cursor::{Cursor, UnexpectedEnd};
use super::igmp::{Query, Record, record, say_records};
use super::{Meaning, Packet};

/// An MLD message.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Mld {
    Query(Query<Ipv6Addr>),
    Report {
        group: Ipv6Addr,
    },
    Done {
        group: Ipv6Addr,
    },
    ReportV2 {
        declared: u16,
        records: Vec<Record<Ipv6Addr>>,
    },
    /// 151, 152 or 153: multicast router advertisement, solicitation, termination.
    Router(u8),
}

/// Maximum number of records decoded per report: as many as fit in 64 KiB.
const MAX_RECORDS: usize = 4096;

/// The floating-point form of the response code (RFC 3810, section 5.1.3).
fn response_ms(code: u16) -> u32 {
    if code < 0x8000 {
        return code.into();
    }
    let mantissa = u32::from(code & 0x0fff) | 0x1000;
    mantissa << (u32::from(code >> 12 & 0x07).saturating_add(3))
}

/// Decodes the message after type, code and checksum.
pub(super) fn read(
    packet: &mut Packet<'_>,
    kind: u8,
    mut from: Cursor<'_>,
) -> Result<(), UnexpectedEnd> {
    packet.protocols.push("mld");
    let mld = match kind {
        130 => Mld::Query(query(packet, &mut from)?),
        131 | 132 => {
            from.skip(4)?;
            let group = from.ipv6()?;
            if kind == 131 {
                packet.write_summary(format_args!("MLDv1 report: {group} (member)"));
                Mld::Report { group }
            } else {
                packet.write_summary(format_args!("MLDv1 done: {group} (leave)"));
                Mld::Done { group }
            }
        }
        143 => {
            from.skip(2)?;
            let declared = from.u16()?;
            packet.push_summary("MLDv2 report: ");
            let mut records = Vec::new();
            let outcome = (0..declared).take(MAX_RECORDS).try_for_each(|_| {
                records.push(record(&mut from, Cursor::ipv6)?);
                Ok(())
            });
            say_records(packet, declared, &records);
            packet
                .meanings
                .push(Meaning::Mld(Mld::ReportV2 { declared, records }));
            return outcome;
        }
        other => {
            packet.push_summary(match other {
                151 => "multicast router advertisement",
                152 => "multicast router solicitation",
                _ => "multicast router termination",
            });
            Mld::Router(other)
        }
    };
    packet.meanings.push(Meaning::Mld(mld));
    Ok(())
}

fn query(packet: &mut Packet<'_>, from: &mut Cursor<'_>) -> Result<Query<Ipv6Addr>, UnexpectedEnd> {
    let code = from.u16()?;
    from.skip(2)?;
    let group = from.ipv6()?;
    // RFC 3810, section 8.1: 24 bytes are version 1, 28 and more are version 2.
    let version = if from.left() >= 4 { 2 } else { 1 };
    let max_response_ms = if version == 2 {
        response_ms(code)
    } else {
        code.into()
    };
    let mut query = Query::new(packet, "MLD", version, group, max_response_ms);
    if version == 2 {
        query.read_variables(packet, from, Cursor::ipv6)?;
    }
    Ok(query)
}
