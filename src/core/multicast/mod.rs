//! PURE. Multicast on each interface, as observed on the wire: queriers, memberships, routers and
//! streams. State machines over decoded packets; times are arguments, in nanoseconds since 1970, as the
//! packets are stamped.
//!
//! | file | contents |
//! |---|---|
//! | `querier` | queriers, their election, and the timers that follow from their queries |
//! | `group` | memberships as reported by hosts |
//! | `group_port` | a group with an optional port, as users write it |
//! | `router` | PIM neighbors, and multicast router discovery |
//! | `stream` | streams to groups, and RTP |
//! | `mpeg_ts` | loss by MPEG-TS continuity counters |
//! | `sequence` | loss by sequence numbers |
//! | `report` | the trackers' state as the control protocol shows it |
//! | `message` | version-independent form of IGMP and MLD messages |
//! | `observe` | frames that the trackers process |
//! | `test_packet` | packets of `mcast send` |
//! | `names` | names of groups assigned by IANA |

mod group;
mod group_port;
mod message;
pub mod mpeg_ts;
pub mod names;
mod observe;
mod querier;
pub mod report;
mod router;
mod sequence;
mod stream;
pub mod test_packet;

use std::net::IpAddr;

pub use group::{Change, Groups, Member, Mode};
pub use group_port::GroupPort;
pub use message::{GroupMessage, decode as decode_group_message};
pub use mpeg_ts::Ts;
pub use observe::{is_tracked, stream_packet};
pub use querier::{Querier, QuerierState, Queriers, QueryInfo, TimerSource, Timers};
pub use router::{Protocol, Router, Routers};
pub use sequence::Sequence;
pub use stream::{Key, Rtp, Stream, StreamPacket, Streams};

use crate::wire::Meaning;
use crate::wire::pim::Pim;

/// IGMP, MLD or PIM message, with the circumstances of its observation.
#[derive(Clone, Copy, Debug)]
pub struct ObservedMessage<'a> {
    /// Time of observation, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Interface index.
    pub ifindex: u32,
    /// Whether this host sent it.
    pub outbound: bool,
    /// Source address.
    pub source: IpAddr,
    /// Decoded message.
    pub meaning: &'a Meaning,
}

/// Multicast state of all interfaces.
#[derive(Debug, Default)]
pub struct Trackers {
    /// IGMP and MLD queriers.
    pub queriers: Queriers,
    /// Group memberships.
    pub groups: Groups,
    /// Multicast routers, by PIM and multicast router discovery.
    pub routers: Routers,
    /// Streams to groups.
    pub streams: Streams,
}

impl Trackers {
    /// Processes an IGMP, MLD or PIM message; ignores all others.
    pub fn observe(&mut self, seen: &ObservedMessage<'_>) {
        if let Meaning::Pim(Pim::Hello(hello)) = seen.meaning {
            return self.routers.hello(seen, hello);
        }
        decode_group_message(seen.meaning, |message| match message {
            GroupMessage::Query(asked) => self.queriers.asked(seen, &asked),
            GroupMessage::Change(change) => self.change(seen, change),
            GroupMessage::Router(interval_s) => self.routers.advertised(seen, interval_s),
            GroupMessage::RouterGone => self.routers.terminated(seen),
        });
    }

    fn change(&mut self, seen: &ObservedMessage<'_>, change: Change) {
        let kept_ns = self
            .queriers
            .timers(seen.ifindex, change.group.is_ipv4(), seen.time_ns)
            .membership_ns();
        self.groups.changed(seen, change, kept_ns);
    }

    /// Drops all state of a deleted interface.
    pub fn forget(&mut self, ifindex: u32) {
        self.queriers.forget(ifindex);
        self.groups.forget(ifindex);
        self.routers.forget(ifindex);
        self.streams.forget(ifindex);
    }
}
