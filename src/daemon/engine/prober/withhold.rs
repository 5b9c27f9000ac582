//! SHELL. Probes that are not sent, because their way out of this host is known to be blocked.
//!
//! A packet whose next hop does not answer ARP or neighbor discovery waits in the kernel for up to three
//! seconds and takes room in the buffer of the socket that all runs share. So a run may have few of them.
//! Of the run of a monitor, which may have thousands of targets behind one next hop, the others are
//! decided without being sent, and what is not behind it is sent as ever. Other runs pause, so that each
//! of their probes is sent at some time.

use std::net::IpAddr;

use netlink_packet_route::route::RouteType;

use super::batch::SendOptions;
use super::send::HELD_NS;
use super::{PollContext, Prober};
use crate::daemon::engine::links::KernelLink;
use netsonde_core::probe::run::{EventContext, MAX_STUCK_PROBES, STUCK_FOR_NS};
use netsonde_core::probe::{HostContext, NeighborState, Target};

/// Number of stuck probes beside which another may show whether a next hop answers again.
const MAX_STUCK_TRIALS: usize = MAX_STUCK_PROBES + 2 * TRIALS as usize;
/// Number of stuck probes beside which one is sent to a next hop of which nothing is known. The socket's
/// buffer has room for about 550.
const MAX_STUCK_UNKNOWN: usize = MAX_STUCK_TRIALS + 64;
/// Least interval of probes that show whether a next hop answers again, in nanoseconds. As long as none is
/// sent, the kernel does not ask for its address.
const TRIAL_NS: u64 = 100_000_000;
/// Number of these probes that may be stuck, of all next hops.
const TRIALS: u64 = 64;
/// Time for which the state of a next hop is used, in nanoseconds.
const HOP_NS: u64 = 20_000_000;
/// Maximum number of next hops whose state is kept: as many as the kernel has neighbors by default
/// (gc_thresh3, arp(7)), for each family.
const MAX_HOPS: usize = 2048;
/// Age up to which a route is used for a target whose way is not blocked, in nanoseconds. Nothing follows
/// from it but the question below.
const OPEN_ROUTE_NS: u64 = 10_000_000_000;
/// Age up to which a route is used for a target whose way is blocked, in nanoseconds: another one may lead
/// around.
const BLOCKED_ROUTE_NS: u64 = 2_000_000_000;

/// State of a next hop.
pub(super) struct Hop {
    /// Monotonic time of the query, in nanoseconds.
    queried_ns: u64,
    /// Monotonic time of the last trial, in nanoseconds.
    tried_ns: u64,
    way: Way,
}

/// What this host's state says of packets to a next hop.
#[derive(Clone)]
enum Way {
    /// They leave: the link is up, and the link-layer address is known.
    Open,
    /// Nothing.
    Unknown,
    /// They cannot leave.
    Blocked(HostContext),
}

impl Prober {
    /// Withholds due probes of a run that has many stuck ones. Returns how many were withheld, and how many
    /// may be sent, both at most `max`.
    pub(super) fn pass_stuck(
        &mut self,
        number: u64,
        max: usize,
        now_ns: u64,
        context: &PollContext<'_>,
    ) -> (usize, usize) {
        let Some(active) = self.runs.get_mut(&number) else {
            return (0, 0);
        };
        let stuck = active.run.stuck_count(now_ns);
        if stuck < MAX_STUCK_PROBES {
            return (0, max);
        }
        if !active.run.settings.packed {
            self.pause(number, now_ns);
            return (0, 0);
        }
        for withheld in 0..max {
            let Some((target, options)) = self.next_due(number, now_ns) else {
                return (withheld, 0);
            };
            let around = match self.way(target, &options, now_ns, context) {
                (_, Way::Open) => return (withheld, 1),
                (_, Way::Unknown) if stuck < MAX_STUCK_UNKNOWN => return (withheld, 1),
                (_, Way::Unknown) => {
                    self.pause(number, now_ns);
                    return (withheld, 0);
                }
                (hop, Way::Blocked(around)) => {
                    let may_help = around.link_problem.is_none() && stuck < MAX_STUCK_TRIALS;
                    if may_help && self.may_try(hop, now_ns) {
                        return (withheld, 1);
                    }
                    around
                }
            };
            self.withhold(number, &around, now_ns);
        }
        (max, 0)
    }

    /// Stops sending of a run for a moment.
    fn pause(&mut self, number: u64, now_ns: u64) {
        if let Some(active) = self.runs.get_mut(&number) {
            active.held_until_ns = now_ns + HELD_NS;
            self.hits.withheld += 1;
        }
    }

    /// Decides the next probe of a run without sending it.
    fn withhold(&mut self, number: u64, around: &HostContext, now_ns: u64) {
        let at = EventContext {
            now_ns,
            clock: &self.clock,
            identity: &self.identity,
            resolutions: &self.resolutions,
        };
        if let Some(active) = self.runs.get_mut(&number) {
            active.run.withhold(around, &at);
            self.hits.withheld += 1;
        }
    }

    /// Returns the target of the next probe of a run, and how its packet is sent; `None` if none is due.
    fn next_due(&self, number: u64, now_ns: u64) -> Option<(Target, SendOptions)> {
        let active = self.runs.get(&number)?;
        active.run.due_ns(now_ns).filter(|due| *due <= now_ns)?;
        let target = active.run.next_target();
        Some((target, active.options.send.to(target.scope)))
    }

    /// Returns the next hop of a target, as interface and address, and what is known of packets to it.
    fn way(
        &mut self,
        target: Target,
        options: &SendOptions,
        now_ns: u64,
        context: &PollContext<'_>,
    ) -> ((u32, IpAddr), Way) {
        let mut found = ((0, target.address), Way::Unknown);
        if target.is_group {
            return found;
        }
        for max_age_ns in [OPEN_ROUTE_NS, BLOCKED_ROUTE_NS] {
            let route = self.cached_route(target.address, options, max_age_ns, now_ns);
            // Without a route the call fails, so that nothing will be stuck.
            let Some(route) = route.filter(|route| route.kind == RouteType::Unicast) else {
                return (found.0, Way::Open);
            };
            let hop = (route.ifindex, route.next_hop(target.address));
            found = (hop, self.way_by(hop, now_ns, context));
            if !matches!(found.1, Way::Blocked(_)) {
                break;
            }
        }
        found
    }

    /// Returns what is known of packets to a next hop.
    fn way_by(&mut self, key: (u32, IpAddr), now_ns: u64, context: &PollContext<'_>) -> Way {
        if let Some(known) = self.hops.get(&key)
            && now_ns < known.queried_ns + HOP_NS
        {
            return known.way.clone();
        }
        let (ifindex, address) = key;
        let link = context.links.get(ifindex);
        let link_problem = link.and_then(KernelLink::problem);
        let neighbor = match link_problem {
            Some(_) => None,
            None => self.host.neighbor(ifindex, address),
        };
        let way = match (link_problem, neighbor) {
            (None, None) => Way::Unknown,
            (None, Some(NeighborState::Known)) => Way::Open,
            _ => Way::Blocked(HostContext {
                interface: context.interface_name(ifindex),
                next_hop: Some(address),
                asked: self.resolutions.solicitations(ifindex, address),
                neighbor,
                link_problem,
                ..HostContext::default()
            }),
        };
        if self.hops.len() >= MAX_HOPS && !self.hops.contains_key(&key) {
            self.hops.clear();
        }
        let hop = self.hops.entry(key).or_insert(Hop {
            queried_ns: now_ns,
            tried_ns: 0,
            way: Way::Unknown,
        });
        (hop.queried_ns, hop.way) = (now_ns, way.clone());
        way
    }

    /// Returns whether a probe may show now whether a next hop answers again, and takes note of it.
    fn may_try(&mut self, key: (u32, IpAddr), now_ns: u64) -> bool {
        let is_blocked = |hop: &&Hop| {
            matches!(hop.way, Way::Blocked(_)) && now_ns < hop.queried_ns + OPEN_ROUTE_NS
        };
        let blocked = self.hops.values().filter(is_blocked).count() as u64;
        let interval_ns = TRIAL_NS.max(blocked * STUCK_FOR_NS / TRIALS);
        match self.hops.get_mut(&key) {
            Some(hop) if now_ns >= hop.tried_ns + interval_ns => {
                hop.tried_ns = now_ns;
                true
            }
            _ => false,
        }
    }
}
