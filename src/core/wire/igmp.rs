//! PURE. IGMP versions 1 to 3 (RFC 1112, RFC 2236, RFC 3376, RFC 9776) and multicast router
//! discovery (RFC 4286).

use std::net::{IpAddr, Ipv4Addr};

use super::cursor::{Cursor, UnexpectedEnd, sum};
use super::ip::Payload;
use super::{Meaning, Packet, ProblemKind, partial_list};

/// An IGMP message.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Igmp {
    Query(Query<Ipv4Addr>),
    /// Version 1 or 2 report.
    Report {
        version: u8,
        group: Ipv4Addr,
    },
    /// Version 2 leave.
    Leave {
        group: Ipv4Addr,
    },
    /// Version 3 report. `declared` is what the header says of the number of records.
    ReportV3 {
        declared: u16,
        records: Vec<Record<Ipv4Addr>>,
    },
    /// Multicast router advertisement: interval in seconds, query interval, robustness.
    RouterAdvertisement {
        interval_s: u8,
        query_interval_s: u16,
        robustness: u16,
    },
    RouterSolicitation,
    RouterTermination,
}

/// A membership query of any version of IGMP or MLD.
#[derive(Clone, Debug, PartialEq)]
pub struct Query<A> {
    /// 1, 2 or 3; of MLD, 1 or 2.
    pub version: u8,
    /// The queried group; unspecified in a general query.
    pub group: A,
    /// Maximum response time, in milliseconds.
    pub max_response_ms: u32,
    /// Suppress router-side processing (IGMPv3, MLDv2).
    pub suppress: bool,
    /// Querier's robustness variable (IGMPv3, MLDv2; 0 is not announced).
    pub robustness: u8,
    /// Querier's query interval, in seconds (IGMPv3, MLDv2).
    pub interval_s: u32,
    /// The queried sources (IGMPv3, MLDv2).
    pub sources: Vec<A>,
}

impl<A: Copy + Into<IpAddr>> Query<A> {
    /// Creates a query with the fields that all versions have, and adds them to the summary.
    pub(super) fn new(
        packet: &mut Packet<'_>,
        protocol: &str,
        version: u8,
        group: A,
        max_response_ms: u32,
    ) -> Query<A> {
        let address: IpAddr = group.into();
        packet.write_summary(format_args!("{protocol}v{version} "));
        if address.is_unspecified() {
            packet.push_summary("general query");
        } else {
            packet.write_summary(format_args!("query for {address}"));
        }
        packet.write_summary(format_args!(", max response {max_response_ms} ms"));
        Query {
            version,
            group,
            max_response_ms,
            suppress: false,
            robustness: 0,
            interval_s: 0,
            sources: Vec::new(),
        }
    }

    /// Reads what the newest versions add (RFC 3376, section 4.1; RFC 3810, section 5.1): the querier's
    /// variables, which are added to the summary, and the sources, each by `address`.
    pub(super) fn read_variables<'a>(
        &mut self,
        packet: &mut Packet<'_>,
        from: &mut Cursor<'a>,
        address: fn(&mut Cursor<'a>) -> Result<A, UnexpectedEnd>,
    ) -> Result<(), UnexpectedEnd> {
        let flags = from.u8()?;
        self.suppress = flags & 8 != 0;
        self.robustness = flags & 7;
        self.interval_s = code_value(from.u8()?);
        packet.write_summary(format_args!(
            ", robustness {}, interval {} s",
            self.robustness, self.interval_s
        ));
        let declared = from.u16()?;
        let outcome = (0..declared).try_for_each(|_| {
            self.sources.push(address(from)?);
            Ok(())
        });
        let shown: Vec<String> = self
            .sources
            .iter()
            .take(MAX_SHOWN)
            .map(|source| (*source).into().to_string())
            .collect();
        let list = partial_list(&shown, declared.into(), ["source", "sources"], ", ");
        if let Some(list) = list {
            let word = if shown.is_empty() { "" } else { "sources " };
            packet.write_summary(format_args!(", {word}{list}"));
        }
        outcome
    }
}

/// What a record of a version 3 (or MLDv2) report says of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// MODE_IS_INCLUDE
    IsInclude,
    /// MODE_IS_EXCLUDE
    IsExclude,
    /// CHANGE_TO_INCLUDE_MODE
    ToInclude,
    /// CHANGE_TO_EXCLUDE_MODE
    ToExclude,
    /// ALLOW_NEW_SOURCES
    Allow,
    /// BLOCK_OLD_SOURCES
    Block,
    /// Not assigned.
    Unknown(u8),
}

impl RecordKind {
    /// The kind of that number (RFC 3376, section 4.2.12).
    pub fn from_u8(number: u8) -> RecordKind {
        match number {
            1 => RecordKind::IsInclude,
            2 => RecordKind::IsExclude,
            3 => RecordKind::ToInclude,
            4 => RecordKind::ToExclude,
            5 => RecordKind::Allow,
            6 => RecordKind::Block,
            other => RecordKind::Unknown(other),
        }
    }
}

/// One group record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<A> {
    /// Type of the record.
    pub kind: RecordKind,
    /// The group.
    pub group: A,
    /// Number of sources, as the record states it.
    pub declared_sources: u16,
    /// The sources that were captured.
    pub sources: Vec<A>,
}

impl<A: std::fmt::Display> std::fmt::Display for Record<A> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, meaning) = match (self.kind, self.declared_sources) {
            (RecordKind::IsInclude, _) => ("is include", ""),
            (RecordKind::IsExclude, 0) => ("is exclude", " (member)"),
            (RecordKind::IsExclude, _) => ("is exclude", ""),
            (RecordKind::ToInclude, 0) => ("to include", " (leave)"),
            (RecordKind::ToInclude, _) => ("to include", ""),
            (RecordKind::ToExclude, 0) => ("to exclude", " (join)"),
            (RecordKind::ToExclude, _) => ("to exclude", ""),
            (RecordKind::Allow, _) => ("allow", ""),
            (RecordKind::Block, _) => ("block", ""),
            (RecordKind::Unknown(_), _) => ("unknown record", ""),
        };
        let most = 8;
        let sources: Vec<String> = self.sources.iter().take(most).map(A::to_string).collect();
        let more = if self.sources.len() > most {
            ", ..."
        } else {
            ""
        };
        write!(
            to,
            "{} {kind} {{{}{more}}}{meaning}",
            self.group,
            sources.join(", ")
        )
    }
}

/// Maximum number of sources in a summary.
const MAX_SHOWN: usize = 8;

/// Maximum number of records decoded per report: as many as fit in 64 KiB.
const MAX_RECORDS: usize = 8192;

/// The floating-point form of response codes and intervals (RFC 3376, section 4.1.1).
pub(super) fn code_value(code: u8) -> u32 {
    if code < 128 {
        return code.into();
    }
    let mantissa = u32::from(code & 0x0f) | 0x10;
    mantissa << (u32::from(code >> 4 & 0x07).saturating_add(3))
}

pub(super) fn read(packet: &mut Packet<'_>, payload: &Payload<'_>) {
    packet.protocols.push("igmp");
    let mut whole = payload.bytes;
    if packet.can_judge(payload.complete) {
        packet.judge("igmp", sum(whole.rest(), 0) == 0xffff);
    }
    let length = payload.network.payload_length;
    let mut from = payload.bytes;
    packet.read("igmp", |packet| {
        let start = from.offset();
        let (kind, code) = (from.u8()?, from.u8()?);
        from.skip(2)?;
        let igmp = match kind {
            0x11 => Igmp::Query(query(packet, code, length, &mut from)?),
            0x12 | 0x16 => {
                let version = if kind == 0x12 { 1 } else { 2 };
                let group = from.ipv4()?;
                packet.write_summary(format_args!("IGMPv{version} report: {group} (member)"));
                Igmp::Report { version, group }
            }
            0x17 => {
                let group = from.ipv4()?;
                packet.write_summary(format_args!("IGMPv2 leave: {group}"));
                Igmp::Leave { group }
            }
            0x22 => report_v3(packet, &mut from)?,
            0x30 => {
                let (query_interval_s, robustness) = (from.u16()?, from.u16()?);
                packet.write_summary(format_args!("multicast router advertisement every {code} s, query interval {query_interval_s} s, robustness {robustness}"));
                Igmp::RouterAdvertisement { interval_s: code, query_interval_s, robustness }
            }
            0x31 => {
                packet.push_summary("multicast router solicitation");
                Igmp::RouterSolicitation
            }
            0x32 => {
                packet.push_summary("multicast router termination");
                Igmp::RouterTermination
            }
            other => {
                let name = match other {
                    0x13 => "DVMRP",
                    0x14 => "PIMv1",
                    _ => "IGMP",
                };
                packet.write_summary(format_args!("{name} type {other:#04x}"));
                packet.problem(ProblemKind::Unknown, "igmp", start, format!("type {other:#04x} is not decoded"));
                return Ok(());
            }
        };
        packet.meanings.push(Meaning::Igmp(igmp));
        Ok(())
    });
}

fn query(
    packet: &mut Packet<'_>,
    code: u8,
    length: u32,
    from: &mut Cursor<'_>,
) -> Result<Query<Ipv4Addr>, UnexpectedEnd> {
    let group = from.ipv4()?;
    // RFC 3376, section 7.1: by length, and by the response code for version 1.
    let version = if length >= 12 {
        3
    } else if code == 0 {
        1
    } else {
        2
    };
    let max_response_ms = match version {
        1 => 10_000,
        2 => u32::from(code).saturating_mul(100),
        _ => code_value(code).saturating_mul(100),
    };
    let mut query = Query::new(packet, "IGMP", version, group, max_response_ms);
    if version == 3 {
        query.read_variables(packet, from, Cursor::ipv4)?;
    }
    Ok(query)
}

fn report_v3(packet: &mut Packet<'_>, from: &mut Cursor<'_>) -> Result<Igmp, UnexpectedEnd> {
    from.skip(2)?;
    let declared = from.u16()?;
    packet.push_summary("IGMPv3 report: ");
    let mut records = Vec::new();
    let outcome = (0..declared).take(MAX_RECORDS).try_for_each(|_| {
        records.push(record(from, Cursor::ipv4)?);
        Ok(())
    });
    say_records(packet, declared, &records);
    if let Err(short) = outcome {
        packet
            .meanings
            .push(Meaning::Igmp(Igmp::ReportV3 { declared, records }));
        return Err(short);
    }
    Ok(Igmp::ReportV3 { declared, records })
}

/// Decodes a group record. IGMPv3 and MLDv2 differ only in the size of addresses.
pub(super) fn record<'a, A>(
    from: &mut Cursor<'a>,
    address: impl Fn(&mut Cursor<'a>) -> Result<A, UnexpectedEnd>,
) -> Result<Record<A>, UnexpectedEnd> {
    let kind = RecordKind::from_u8(from.u8()?);
    let auxiliary = from.u8()?;
    let declared_sources = from.u16()?;
    let group = address(from)?;
    let mut sources = Vec::new();
    for _ in 0..declared_sources {
        sources.push(address(from)?);
    }
    from.skip(usize::from(auxiliary).saturating_mul(4))?;
    Ok(Record {
        kind,
        group,
        declared_sources,
        sources,
    })
}

pub(super) fn say_records<A: std::fmt::Display>(
    packet: &mut Packet<'_>,
    declared: u16,
    records: &[Record<A>],
) {
    let most = 4;
    let shown: Vec<String> = records.iter().take(most).map(Record::to_string).collect();
    let list = partial_list(&shown, declared.into(), ["record", "records"], "; ");
    packet.push_summary(list.unwrap_or_else(|| "no records".into()));
}
