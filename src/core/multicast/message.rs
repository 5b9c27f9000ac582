//! PURE. Version-independent form of IGMP and MLD messages.

use std::net::IpAddr;

use super::group::Change;
use super::querier::QueryInfo;
use crate::wire::Meaning;
use crate::wire::igmp::{Igmp, Query, Record, RecordKind};
use crate::wire::mld::Mld;

/// Content of a message; a report has one per group record.
#[derive(Clone, Debug)]
pub enum GroupMessage {
    /// A membership query.
    Query(QueryInfo),
    /// A membership started, ended or changed its sources.
    Change(Change),
    /// The sender is a multicast router; with its advertisement interval in seconds, if it
    /// announces one.
    Router(Option<u8>),
    /// The sender has stopped acting as a multicast router.
    RouterGone,
}

/// Converts a decoded message, calling `each` once per group record. Yields nothing for other
/// protocols.
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
            Igmp::Query(query) => each(query_info(query, query.version >= 3)),
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
            Mld::Query(query) => each(query_info(query, query.version >= 2)),
            Mld::Report { group } => each(change(1, (*group).into(), join)),
            Mld::Done { group } => each(change(1, (*group).into(), leave)),
            Mld::ReportV2 { records, .. } => changes(2, records, each),
            // Message types of RFC 4286, section 3.
            Mld::Router(151) => each(GroupMessage::Router(None)),
            Mld::Router(153) => each(GroupMessage::RouterGone),
            Mld::Router(_) => {}
        },
        _ => {}
    }
}

fn query_info<A: Copy + Into<IpAddr>>(query: &Query<A>, has_variables: bool) -> GroupMessage {
    let group: IpAddr = query.group.into();
    GroupMessage::Query(QueryInfo {
        version: query.version,
        group: (!group.is_unspecified()).then_some(group),
        max_response_ms: query.max_response_ms,
        robustness: has_variables.then_some(query.robustness),
        interval_s: has_variables.then_some(query.interval_s),
    })
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
