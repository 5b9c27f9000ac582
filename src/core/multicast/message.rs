//! PURE. What messages of IGMP and MLD say, in words that all versions of both have in common.

use std::net::IpAddr;

use super::group::Change;
use super::querier::QueryInfo;
use crate::wire::Meaning;
use crate::wire::igmp::{Igmp, Record, RecordKind};
use crate::wire::mld::Mld;

/// One thing that a message says; a report says one for each of its groups.
#[derive(Clone, Debug)]
pub enum GroupMessage {
    /// Who is a member?
    Query(QueryInfo),
    /// I am a member, or no longer, or of other sources.
    Change(Change),
    /// I am a multicast router; with the interval of its advertisements, where it says one.
    Router(Option<u8>),
    /// I am none any longer.
    RouterGone,
}

/// Tells what a message says. Others than IGMP and MLD say nothing here.
pub fn decode(meaning: &Meaning, mut each: impl FnMut(GroupMessage)) {
    let change = |version: u8, group: IpAddr, kind: RecordKind| {
        GroupMessage::Change(Change {
            version,
            group,
            kind,
            sources: vec![],
        })
    };
    let (join, leave) = (RecordKind::ToExclude, RecordKind::ToInclude);
    match meaning {
        Meaning::Igmp(message) => match message {
            Igmp::Query(query) => {
                let announces = query.version >= 3;
                each(GroupMessage::Query(QueryInfo {
                    version: query.version,
                    group: (!query.group.is_unspecified()).then(|| query.group.into()),
                    max_response_ms: query.max_response_ms,
                    robustness: announces.then_some(query.robustness),
                    interval_s: announces.then_some(query.interval_s),
                }));
            }
            Igmp::Report { version, group } => each(change(*version, (*group).into(), join)),
            Igmp::Leave { group } => each(change(2, (*group).into(), leave)),
            Igmp::ReportV3 { records, .. } => changes(3, records, each),
            Igmp::RouterAdvertisement { interval_s, .. } => {
                each(GroupMessage::Router(Some(*interval_s)))
            }
            Igmp::RouterTermination => each(GroupMessage::RouterGone),
            Igmp::RouterSolicitation => {}
        },
        Meaning::Mld(message) => match message {
            Mld::Query(query) => {
                let announces = query.version >= 2;
                each(GroupMessage::Query(QueryInfo {
                    version: query.version,
                    group: (!query.group.is_unspecified()).then(|| query.group.into()),
                    max_response_ms: query.max_response_ms,
                    robustness: announces.then_some(query.robustness),
                    interval_s: announces.then_some(query.interval_s),
                }));
            }
            Mld::Report { group } => each(change(1, (*group).into(), join)),
            Mld::Done { group } => each(change(1, (*group).into(), leave)),
            Mld::ReportV2 { records, .. } => changes(2, records, each),
            // Types of RFC 4286, section 3.
            Mld::Router(151) => each(GroupMessage::Router(None)),
            Mld::Router(153) => each(GroupMessage::RouterGone),
            Mld::Router(_) => {}
        },
        _ => {}
    }
}

fn changes<A: Copy + Into<IpAddr>>(
    version: u8,
    records: &[Record<A>],
    mut each: impl FnMut(GroupMessage),
) {
    for record in records {
        each(GroupMessage::Change(Change {
            version,
            group: record.group.into(),
            kind: record.kind,
            sources: record.sources.iter().map(|one| (*one).into()).collect(),
        }));
    }
}
