//! PURE. What the wire shows of multicast on each interface: who asks for memberships, and who reports
//! them. State machines over decoded packets; times are arguments, in nanoseconds since 1970, as the
//! packets are stamped.
//!
//! | file | what it holds |
//! |---|---|
//! | `querier` | queriers, the election, and the timers that follow from what they say and do |
//! | `group` | memberships as hosts report them |
//! | `router` | PIM neighbours, and multicast router discovery |
//! | `stream` | what is sent to groups, and RTP |
//! | `mpeg_ts` | what continuity counters tell |
//! | `sequence` | what the numbers of a stream tell |
//! | `see` | from frames to what the trackers take in |
//! | `test_packet` | what `mcast send` sends |
//! | `names` | groups that IANA has given a name |

mod group;
pub mod mpeg_ts;
pub mod names;
mod querier;
mod router;
mod see;
mod sequence;
mod stream;
pub mod test_packet;

use std::net::IpAddr;

pub use group::{Groups, Member, Mode};
pub use mpeg_ts::Ts;
pub use querier::{Known, Querier, Queriers, Standing, Timers};
pub use router::{Protocol, Router, Routers};
pub use see::{concerns, stream_part};
pub use sequence::Sequence;
pub use stream::{Key, Part, Rtp, Stream, Streams};

use crate::wire::Meaning;
use crate::wire::igmp::{Igmp, Record, RecordKind};
use crate::wire::mld::Mld;
use crate::wire::pim::Pim;

/// A message of group management, and how it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When.
    pub time_ns: u64,
    /// On which interface.
    pub ifindex: u32,
    /// Sent by this host.
    pub outbound: bool,
    /// Who sent it.
    pub source: IpAddr,
    /// What it says.
    pub meaning: &'a Meaning,
}

/// All that is tracked.
#[derive(Debug, Default)]
pub struct Trackers {
    /// Who asks.
    pub queriers: Queriers,
    /// Who is a member of what.
    pub groups: Groups,
    /// Routers that tell of themselves.
    pub routers: Routers,
    /// What is sent to groups.
    pub streams: Streams,
}

impl Trackers {
    /// Takes a message in. Others than IGMP, MLD and PIM are none of its business.
    pub fn see(&mut self, seen: &Seen<'_>) {
        match seen.meaning {
            Meaning::Igmp(message) => self.igmp(seen, message),
            Meaning::Mld(message) => self.mld(seen, message),
            Meaning::Pim(Pim::Hello(hello)) => self.routers.hello(seen, hello),
            _ => {}
        }
    }

    fn igmp(&mut self, seen: &Seen<'_>, message: &Igmp) {
        match message {
            Igmp::Query(query) => {
                let asked = querier::Asked {
                    version: query.version,
                    general: query.group.is_unspecified(),
                    max_response_ms: query.max_response_ms,
                    robustness: (query.version >= 3).then_some(query.robustness),
                    interval_s: (query.version >= 3).then_some(query.interval_s),
                };
                self.queriers.asked(seen, &asked);
            }
            Igmp::Report { version, group } => {
                self.change(
                    seen,
                    *version,
                    (*group).into(),
                    RecordKind::ToExclude,
                    vec![],
                );
            }
            Igmp::Leave { group } => {
                self.change(seen, 2, (*group).into(), RecordKind::ToInclude, vec![]);
            }
            Igmp::ReportV3 { records, .. } => self.records(seen, 3, records),
            Igmp::RouterAdvertisement { interval_s, .. } => {
                self.routers.advertised(seen, Some(*interval_s));
            }
            Igmp::RouterTermination => self.routers.terminated(seen),
            Igmp::RouterSolicitation => {}
        }
    }

    fn mld(&mut self, seen: &Seen<'_>, message: &Mld) {
        match message {
            Mld::Query(query) => {
                let asked = querier::Asked {
                    version: query.version,
                    general: query.group.is_unspecified(),
                    max_response_ms: query.max_response_ms,
                    robustness: (query.version >= 2).then_some(query.robustness),
                    interval_s: (query.version >= 2).then_some(query.interval_s),
                };
                self.queriers.asked(seen, &asked);
            }
            Mld::Report { group } => {
                self.change(seen, 1, (*group).into(), RecordKind::ToExclude, vec![]);
            }
            Mld::Done { group } => {
                self.change(seen, 1, (*group).into(), RecordKind::ToInclude, vec![]);
            }
            Mld::ReportV2 { records, .. } => self.records(seen, 2, records),
            // Types of RFC 4286, section 3.
            Mld::Router(151) => self.routers.advertised(seen, None),
            Mld::Router(153) => self.routers.terminated(seen),
            Mld::Router(_) => {}
        }
    }

    fn records<A: Copy + Into<IpAddr>>(
        &mut self,
        seen: &Seen<'_>,
        version: u8,
        records: &[Record<A>],
    ) {
        for record in records {
            let sources = record
                .sources
                .iter()
                .map(|source| (*source).into())
                .collect();
            self.change(seen, version, record.group.into(), record.kind, sources);
        }
    }

    fn change(
        &mut self,
        seen: &Seen<'_>,
        version: u8,
        group: IpAddr,
        kind: RecordKind,
        sources: Vec<IpAddr>,
    ) {
        let change = group::Change {
            version,
            group,
            kind,
            sources,
        };
        let kept_ns = (self.queriers)
            .timers(seen.ifindex, group.is_ipv4(), seen.time_ns)
            .membership_ns();
        self.groups.changed(seen, change, kept_ns);
    }

    /// Forgets an interface that is gone.
    pub fn forget(&mut self, ifindex: u32) {
        self.queriers.forget(ifindex);
        self.groups.forget(ifindex);
        self.routers.forget(ifindex);
        self.streams.forget(ifindex);
    }
}
