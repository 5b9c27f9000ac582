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
//! | `said` | what messages say, in words that all versions have in common |
//! | `see` | from frames to what the trackers take in |
//! | `test_packet` | what `mcast send` sends |
//! | `names` | groups that IANA has given a name |

mod group;
mod group_port;
pub mod mpeg_ts;
pub mod names;
mod querier;
mod router;
mod said;
mod see;
mod sequence;
mod stream;
pub mod test_packet;

use std::net::IpAddr;

pub use group::{Change, Groups, Member, Mode};
pub use group_port::GroupPort;
pub use mpeg_ts::Ts;
pub use querier::{Asked, Known, Querier, Queriers, Standing, Timers};
pub use router::{Protocol, Router, Routers};
pub use said::{Said, said};
pub use see::{concerns, stream_part};
pub use sequence::Sequence;
pub use stream::{Key, Part, Rtp, Stream, Streams};

use crate::wire::Meaning;
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
        if let Meaning::Pim(Pim::Hello(hello)) = seen.meaning {
            return self.routers.hello(seen, hello);
        }
        said(seen.meaning, |said| match said {
            Said::Asked(asked) => self.queriers.asked(seen, &asked),
            Said::Change(change) => self.change(seen, change),
            Said::Router(interval_s) => self.routers.advertised(seen, interval_s),
            Said::RouterGone => self.routers.terminated(seen),
        });
    }

    fn change(&mut self, seen: &Seen<'_>, change: Change) {
        let kept_ns = (self.queriers)
            .timers(seen.ifindex, change.group.is_ipv4(), seen.time_ns)
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
