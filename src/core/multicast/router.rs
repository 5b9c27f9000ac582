//! PURE. Multicast routers: PIM neighbors and their designated router (RFC 7761, section 4.3), and
//! multicast router discovery (RFC 4286).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ObservedMessage;
use crate::wire::pim::Hello;

/// Maximum number of routers: a few for each of several hundred interfaces. More is an attack or a
/// test.
const MOST: usize = 1024;
/// Hold time of a PIM hello without that option (RFC 7761, section 4.11).
const PIM_HOLD_NS: u64 = 105_000_000_000;
/// Hold time that never expires.
const FOREVER_S: u16 = u16::MAX;
/// Advertisement interval if none is announced (RFC 4286, section 8.1).
const ADVERTISEMENT_NS: u64 = 20_000_000_000;
/// Missed advertisements after which a router is gone (RFC 4286, section 4.1.1).
const MISSED: u64 = 3;

/// Protocol by which a router announces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Protocol Independent Multicast.
    Pim,
    /// Multicast router discovery.
    Discovery,
}

impl Protocol {
    /// Returns the name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Pim => "PIM",
            Protocol::Discovery => "MRD",
        }
    }
}

/// Multicast router on a link. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// Whether it is this host.
    pub own: bool,
    /// Time of its first message.
    pub first_ns: u64,
    /// Time of its latest message.
    pub last_ns: u64,
    /// Validity of its latest message, in nanoseconds.
    pub hold_ns: u64,
    /// Designated router priority; `None` if not announced.
    pub priority: Option<u32>,
    /// Generation ID, which changes with each restart.
    generation: Option<u32>,
    /// Number of restarts, by the generation ID.
    pub restarts: u64,
}

impl Router {
    fn is_alive(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) <= self.hold_ns
    }
}

/// Interface index, address and protocol.
pub type Key = (u32, IpAddr, Protocol);

/// All multicast routers.
#[derive(Debug, Default)]
pub struct Routers {
    all: BTreeMap<Key, Router>,
    /// Messages of routers that were not recorded because of the limit.
    pub overflows: u64,
}

impl Routers {
    /// Maximum number of routers.
    pub const MOST: usize = MOST;

    pub(super) fn hello(&mut self, seen: &ObservedMessage<'_>, hello: &Hello) {
        let hold_ns = match hello.hold_s {
            Some(FOREVER_S) => u64::MAX,
            Some(seconds) => u64::from(seconds) * 1_000_000_000,
            None => PIM_HOLD_NS,
        };
        let router = self.heard(seen, Protocol::Pim, hold_ns);
        if let Some(router) = router {
            router.priority = hello.dr_priority;
            if router.generation.is_some() && router.generation != hello.generation_id {
                router.restarts += 1;
            }
            router.generation = hello.generation_id;
        }
    }

    /// Processes a router advertisement; `interval_s` is its interval, if announced.
    pub(super) fn advertised(&mut self, seen: &ObservedMessage<'_>, interval_s: Option<u8>) {
        let interval = interval_s.filter(|seconds| *seconds > 0);
        let interval_ns = interval.map_or(ADVERTISEMENT_NS, |seconds| {
            u64::from(seconds) * 1_000_000_000
        });
        self.heard(seen, Protocol::Discovery, interval_ns * MISSED);
    }

    pub(super) fn terminated(&mut self, seen: &ObservedMessage<'_>) {
        self.all
            .remove(&(seen.ifindex, seen.source, Protocol::Discovery));
    }

    /// Records a message. Returns `None` if the router has said goodbye or the table is full.
    fn heard(
        &mut self,
        seen: &ObservedMessage<'_>,
        protocol: Protocol,
        hold_ns: u64,
    ) -> Option<&mut Router> {
        let key = (seen.ifindex, seen.source, protocol);
        if hold_ns == 0 {
            self.all.remove(&key);
            return None;
        }
        if self.all.len() >= MOST && !self.all.contains_key(&key) {
            self.all.retain(|_, router| router.is_alive(seen.time_ns));
            if self.all.len() >= MOST {
                self.overflows = self.overflows.saturating_add(1);
                return None;
            }
        }
        let router = self.all.entry(key).or_insert_with(|| Router {
            own: seen.outbound,
            first_ns: seen.time_ns,
            last_ns: seen.time_ns,
            hold_ns,
            priority: None,
            generation: None,
            restarts: 0,
        });
        router.last_ns = seen.time_ns;
        router.hold_ns = hold_ns;
        Some(router)
    }

    /// Returns the routers whose hold time has not expired.
    pub fn iter(&self, now_ns: u64) -> impl Iterator<Item = (&Key, &Router)> {
        self.all
            .iter()
            .filter(move |(_, router)| router.is_alive(now_ns))
    }

    /// Returns the designated router of a link: the one of the highest priority if all announce
    /// one, then of the highest address (RFC 7761, section 4.3.2). Queriers are elected the other
    /// way round, by the lowest address.
    pub fn designated(&self, ifindex: u32, is_ipv4: bool, now_ns: u64) -> Option<IpAddr> {
        let link = || {
            self.iter(now_ns)
                .filter(move |((at, address, protocol), _)| {
                    *at == ifindex && address.is_ipv4() == is_ipv4 && *protocol == Protocol::Pim
                })
        };
        let by_priority = link().all(|(_, router)| router.priority.is_some());
        let rank = |router: &Router| router.priority.filter(|_| by_priority);
        link()
            .max_by_key(|((_, address, _), router)| (rank(router), *address))
            .map(|((_, address, _), _)| *address)
    }

    pub(super) fn forget(&mut self, ifindex: u32) {
        self.all.retain(|(at, ..), _| *at != ifindex);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multicast::Trackers;
    use crate::wire::Meaning;
    use crate::wire::igmp::Igmp;
    use crate::wire::pim::Pim;

    const S: u64 = 1_000_000_000;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn observe(trackers: &mut Trackers, at_s: u64, from: &str, meaning: Meaning) {
        trackers.observe(&ObservedMessage {
            time_ns: at_s * S,
            ifindex: 2,
            outbound: false,
            source: ip(from),
            meaning: &meaning,
        });
    }

    fn hello(hold_s: u16, priority: Option<u32>, generation: u32) -> Meaning {
        Meaning::Pim(Pim::Hello(Hello {
            hold_s: Some(hold_s),
            dr_priority: priority,
            generation_id: Some(generation),
            ..Hello::default()
        }))
    }

    #[test]
    fn designated_router_of_neighbors() {
        let mut all = Trackers::default();
        observe(&mut all, 10, "10.0.0.1", hello(105, Some(5), 1));
        observe(&mut all, 10, "10.0.0.9", hello(105, Some(1), 1));
        assert_eq!(
            all.routers.designated(2, true, 20 * S),
            Some(ip("10.0.0.1"))
        );
        // One router without a priority: the highest address wins.
        observe(&mut all, 11, "10.0.0.3", hello(105, None, 1));
        assert_eq!(
            all.routers.designated(2, true, 20 * S),
            Some(ip("10.0.0.9"))
        );
        // A restart, a goodbye, and an expired router.
        observe(&mut all, 30, "10.0.0.1", hello(105, Some(5), 2));
        observe(&mut all, 31, "10.0.0.9", hello(0, Some(1), 1));
        let alive: Vec<_> = all.routers.iter(120 * S).collect();
        assert_eq!(alive.len(), 1);
        assert_eq!((alive[0].0.1, alive[0].1.restarts), (ip("10.0.0.1"), 1));
        assert_eq!(all.routers.designated(2, false, 20 * S), None);
    }

    #[test]
    fn router_discovery() {
        let mut all = Trackers::default();
        let advertisement = || {
            Meaning::Igmp(Igmp::RouterAdvertisement {
                interval_s: 20,
                query_interval_s: 125,
                robustness: 2,
            })
        };
        observe(&mut all, 10, "10.0.0.1", advertisement());
        assert_eq!(all.routers.iter(69 * S).count(), 1);
        assert_eq!(all.routers.iter(71 * S).count(), 0);
        observe(&mut all, 80, "10.0.0.1", advertisement());
        observe(
            &mut all,
            81,
            "10.0.0.1",
            Meaning::Igmp(Igmp::RouterTermination),
        );
        assert_eq!(all.routers.iter(81 * S).count(), 0);
        for number in 0..2000u32 {
            let from = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
            observe(&mut all, 90, &from, advertisement());
        }
        assert_eq!(all.routers.overflows, 2000 - MOST as u64);
    }
}
