//! SHELL. Decision on overdue probes, with the state of this host around the life of each.

use std::net::IpAddr;
use std::os::fd::AsFd;

use netlink_packet_route::route::RouteType;

use super::batch::{self, SendOptions};
use super::{PollContext, Prober, Route};
use crate::daemon::engine::links::KernelLink;
use netsonde_core::probe::hop::{self, NextHop};
use netsonde_core::probe::run::EventContext;
use netsonde_core::probe::{HostContext, ProbeEvidence, Target};
use netsonde_core::wire::cursor::Mac;

/// Probes decided per iteration: each may need a query to the kernel.
const MAX_JUDGED_PER_POLL: usize = 256;
/// Maximum number of cached routes, and of explained silences: more than there are targets of monitors.
const MAX_ROUTES: usize = 16_384;
/// Time for which a cached route is used, in nanoseconds.
const ROUTE_NS: u64 = 1_000_000_000;
/// Targets per second of whose silence the cause is sought: each takes a netlink query of about 10 us.
pub(super) const MAX_SILENCES_PER_SECOND: u32 = 1024;
/// Next hops per second that are looked at for it: each takes another query, and a look through the addresses
/// of its link, together at most a third of a millisecond.
pub(super) const MAX_SILENT_HOPS_PER_SECOND: u32 = 64;

impl Prober {
    /// Reports probes that are complete, and decides on those that are overdue.
    pub(super) fn judge(&mut self, now_ns: u64, context: &PollContext<'_>) {
        let numbers: Vec<u64> = self.runs.keys().copied().collect();
        for number in numbers {
            let overdue = {
                let at = EventContext {
                    now_ns,
                    clock: &self.clock,
                    identity: &self.identity,
                    resolutions: &self.resolutions,
                };
                let Some(active) = self.runs.get_mut(&number) else {
                    continue;
                };
                active.run.complete(&at);
                active.run.overdue(&at, MAX_JUDGED_PER_POLL)
            };
            for (serial, target, sent_ns) in overdue {
                let evidence = self.evidence(number, serial, now_ns);
                let host = self.host_context(number, &evidence, target, sent_ns, now_ns, context);
                let at = EventContext {
                    now_ns,
                    clock: &self.clock,
                    identity: &self.identity,
                    resolutions: &self.resolutions,
                };
                if let Some(active) = self.runs.get_mut(&number) {
                    let name = |index| context.interface_name(index);
                    active.run.judge(serial, &evidence, &host, name, &at);
                }
            }
        }
    }

    /// Returns the evidence about a probe so far.
    fn evidence(&mut self, number: u64, serial: u64, now_ns: u64) -> ProbeEvidence {
        let at = EventContext {
            now_ns,
            clock: &self.clock,
            identity: &self.identity,
            resolutions: &self.resolutions,
        };
        let fragments = &mut self.fragments;
        let active = self.runs.get(&number);
        active.map_or_else(ProbeEvidence::default, |active| {
            active.run.evidence(serial, fragments, &at)
        })
    }

    /// Returns the state of this host around the life of a probe. It is queried only where it can
    /// change the decision.
    fn host_context(
        &mut self,
        number: u64,
        facts: &ProbeEvidence,
        target: Target,
        sent_ns: u64,
        now_ns: u64,
        context: &PollContext<'_>,
    ) -> HostContext {
        let mut host = HostContext::default();
        let Some(active) = self.runs.get(&number) else {
            return host;
        };
        let options = active.options.send.to(target.scope);
        if facts.out.is_some() && facts.back.is_none() && facts.fragments.is_none() {
            if !target.is_group {
                self.explain_silence(&mut host, target.address, &options, now_ns, context);
            }
            return host;
        }
        if self.counters.is_stale(now_ns) {
            self.sample_counters(now_ns, context);
        }
        (host.moved, host.ring_drops, host.socket_drops) = self.counters.increases(sent_ns);
        let Some(route) = self.cached_route(target.address, &options, ROUTE_NS, now_ns) else {
            host.interface = "any interface".into();
            return host;
        };
        host.interface = context.interface_name(route.ifindex);
        host.queued = self.counters.queued(route.ifindex);
        let link = context.links.get(route.ifindex);
        host.link_problem = link.and_then(KernelLink::problem);
        if matches!(route.kind, RouteType::Unicast) && facts.out.is_none() {
            let next_hop = route.next_hop(target.address);
            host.next_hop = Some(next_hop);
            host.asked = self.resolutions.solicitations(route.ifindex, next_hop);
            if !facts.scheduled {
                host.neighbor = self.host.neighbor(route.ifindex, next_hop);
            }
        }
        host
    }

    /// Adds the state of the link and of the next hop of a probe that was sent and not answered.
    fn explain_silence(
        &mut self,
        host: &mut HostContext,
        target: IpAddr,
        options: &SendOptions,
        now_ns: u64,
        context: &PollContext<'_>,
    ) {
        let is_known = (self.routes.get(&(target, options.ifindex)))
            .is_some_and(|(at_ns, _)| now_ns < at_ns + ROUTE_NS);
        if !is_known && !self.silent_routes.take(now_ns) {
            self.hits.silences += 1;
            return;
        }
        let Some(route) = self.cached_route(target, options, ROUTE_NS, now_ns) else {
            return;
        };
        let key = (route.ifindex, route.next_hop(target));
        if let Some((at_ns, known)) = self.silences.get(&key)
            && now_ns < at_ns + ROUTE_NS
        {
            host.clone_from(known);
            return;
        }
        if !self.silent_hops.take(now_ns) {
            self.hits.silences += 1;
            return;
        }
        host.interface = context.interface_name(route.ifindex);
        let link = context.links.get(route.ifindex);
        host.link_problem = link.and_then(KernelLink::problem);
        if route.kind == RouteType::Unicast {
            host.next_hop = Some(key.1);
            let entry = self.host.neighbor_entry(route.ifindex, key.1);
            let hop = NextHop {
                address: key.1,
                ifindex: route.ifindex,
                interface: &host.interface,
                entry: entry.and_then(|entry| Some((Mac(entry.mac?), entry.state))),
            };
            let wall_ns = self.clock.wall(now_ns);
            host.hop_remark = hop::remark(&hop, &context.recording.neighbors, wall_ns);
        }
        if self.silences.len() >= MAX_ROUTES {
            self.silences.clear();
        }
        self.silences.insert(key, (now_ns, host.clone()));
    }

    /// Samples the counters of this host, of the control ring and of the prober's sockets.
    pub(super) fn sample_counters(&mut self, now_ns: u64, context: &PollContext<'_>) {
        let socket_drops = self
            .sockets
            .iter()
            .flatten()
            .map(|socket| batch::drops(socket.descriptor.as_fd()))
            .sum();
        let ring_drops = context.recording.ring_sums(0).drops;
        let name = |index| context.interface_name(index);
        self.counters
            .sample(&mut self.host, now_ns, ring_drops, socket_drops, name);
    }

    /// Returns the route to a target, `None` if there is none. It may have been queried up to `max_age_ns` ago.
    pub(super) fn cached_route(
        &mut self,
        target: IpAddr,
        options: &SendOptions,
        max_age_ns: u64,
        now_ns: u64,
    ) -> Option<Route> {
        let key = (target, options.ifindex);
        if let Some((at_ns, route)) = self.routes.get(&key)
            && now_ns < at_ns + max_age_ns
        {
            return route.clone();
        }
        if self.routes.len() >= MAX_ROUTES {
            self.routes.clear();
        }
        let route = self.host.route(target, &options.query()).ok();
        self.routes.insert(key, (now_ns, route.clone()));
        route
    }
}
