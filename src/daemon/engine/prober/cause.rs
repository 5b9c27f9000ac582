//! SHELL. State of this host that explains errors of the send call: addresses, links, routes and rules.
//! It is queried only after such an error, and each list at most once per second.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::address::AddressFlags;

use super::host::Host;
use super::{PollContext, SocketOptions};
use crate::daemon::engine::links::KernelLink;
use crate::linux::monotonic_ns;
use crate::linux::netlink::{Netlink, RouteQuery};
use netsonde_core::probe::Target;
use netsonde_core::probe::cause::{
    OutgoingInterface, OwnAddress, OwnAddressState, SendFacts, UsableRoute, explain,
};
use netsonde_core::probe::routing::{
    Lookup, Prefix, Refusal, Refuser, RefusingRoute, Rule, default_rules, find_refuser,
};

/// Time for which an explanation and a list are used, in nanoseconds.
const VALID_NS: u64 = 1_000_000_000;
/// A list is used for at least this many times the duration of its query, so that the queries take at
/// most 2 % of the engine's time: the kernel goes through all routes for some of them.
const QUERY_SHARE: u64 = 50;
/// Maximum number of explanations, of about 200 bytes each.
const MAX_EXPLANATIONS: usize = 4096;
/// Maximum number of routes of one type: a list of unwanted networks may have tens of thousands.
pub(super) const MAX_ROUTES: usize = 65_536;
/// Maximum number of rules. The kernel evaluates them one by one, so there are never many.
const MAX_RULES: usize = 4096;
/// Maximum number of own addresses.
const MAX_ADDRESSES: usize = 16_384;

/// Bytes of the headers of an echo request.
const HEADERS_V4: usize = 20 + 8;
const HEADERS_V6: usize = 40 + 8;

/// List of the kernel, with the time until which it is used.
struct List<T> {
    until_ns: u64,
    entries: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List {
            until_ns: 0,
            entries: Vec::new(),
        }
    }
}

impl<T> List<T> {
    /// Queries the list again if it is too old. A list that cannot be read is empty.
    fn refresh(&mut self, now_ns: u64, query: impl FnOnce() -> io::Result<Vec<T>>) {
        if now_ns < self.until_ns {
            return;
        }
        self.entries = query().unwrap_or_default();
        let took_ns = monotonic_ns().saturating_sub(now_ns);
        self.until_ns = now_ns + VALID_NS.max(QUERY_SHARE * took_ns);
    }
}

/// Lists of one address family.
#[derive(Default)]
struct Lists {
    rules: List<Rule>,
    routes: HashMap<Refusal, List<RefusingRoute>>,
    /// Numbers of blackhole next hops.
    hops: List<u32>,
    own: List<(u32, Prefix, OwnAddressState)>,
}

/// A refused packet: target, interface, source, type of service, size, error number.
type Key = (IpAddr, u32, Option<IpAddr>, u8, usize, i32);

/// Explanations of send errors.
pub(super) struct Causes {
    /// `None` if the kernel cannot restrict lists of routes (before Linux 4.20).
    netlink: Option<Netlink>,
    /// User ID of the prober's sockets, which rules may select.
    user: u32,
    lists: [Lists; 2],
    /// Number of times that there were more routes of a type than are kept.
    pub(super) lists_cut: u64,
    explanations: HashMap<Key, (u64, String)>,
}

impl Causes {
    /// Opens the netlink socket.
    pub(super) fn open(user: u32) -> Causes {
        Causes {
            netlink: Netlink::open().and_then(Netlink::strict).ok(),
            user,
            lists: Default::default(),
            lists_cut: 0,
            explanations: HashMap::new(),
        }
    }

    /// Forgets all lists and explanations.
    pub(super) fn clear(&mut self) {
        self.lists = Default::default();
        self.explanations.clear();
    }

    /// Explains why a probe with `size` bytes of payload was refused with `errno`.
    pub(super) fn explain(
        &mut self,
        host: &mut Host,
        context: &PollContext<'_>,
        errno: i32,
        target: Target,
        options: &SocketOptions,
        size: usize,
    ) -> String {
        let mut query = options.send.to(target.scope).query();
        query.echo_of_user = Some(self.user);
        let address = target.address;
        let key = (address, query.ifindex, query.source, query.tos, size, errno);
        let now_ns = monotonic_ns();
        if let Some((at_ns, words)) = self.explanations.get(&key)
            && now_ns < at_ns + VALID_NS
        {
            return words.clone();
        }
        let facts = self.facts(host, context, errno, address, query, size);
        let words = explain(errno, address, &facts);
        if self.explanations.len() >= MAX_EXPLANATIONS {
            self.explanations.clear();
        }
        self.explanations.insert(key, (now_ns, words.clone()));
        words
    }

    fn facts(
        &mut self,
        host: &mut Host,
        context: &PollContext<'_>,
        errno: i32,
        target: IpAddr,
        query: RouteQuery,
        size: usize,
    ) -> SendFacts {
        self.refresh_addresses(target.is_ipv4());
        let lists = &self.lists[usize::from(!target.is_ipv4())];
        let own: Vec<OwnAddress> = (lists.own.entries.iter())
            .map(|(ifindex, prefix, state)| OwnAddress {
                interface: context.interface_name(*ifindex),
                prefix: *prefix,
                state: *state,
            })
            .collect();
        let headers = if target.is_ipv4() {
            HEADERS_V4
        } else {
            HEADERS_V6
        };
        let mut facts = SendFacts {
            source: query.source,
            unusable: unusable(context, &own, target),
            own,
            packet_bytes: size + headers,
            ..SendFacts::default()
        };
        let mut outgoing = query.ifindex;
        match host.route(target, &query) {
            Ok(route) => {
                let query = RouteQuery {
                    is_entry: true,
                    ..query
                };
                let entry = host.route(target, &query).ok();
                facts.route = Some(UsableRoute {
                    destination: entry.as_ref().and_then(|entry| entry.destination),
                    table: entry.as_ref().map_or(route.table, |entry| entry.table),
                    mtu: entry.and_then(|entry| entry.mtu),
                    path_mtu: route.mtu,
                });
                outgoing = route.ifindex;
            }
            // For IPv4 a demanded interface makes a failed lookup a route on the link
            // (ip_route_output_key_hash_rcu in net/ipv4/route.c).
            Err(error) if target.is_ipv6() || query.ifindex == 0 => {
                if error.raw_os_error() == Some(errno) {
                    facts.refuser = self.refuser(context, &facts, errno, target, query);
                    if facts.refuser.is_none() && errno == libc::EINVAL {
                        facts.blackhole_hop = self.blackhole_hop(target.is_ipv4());
                    }
                }
            }
            Err(_) => {}
        }
        facts.outgoing = (outgoing != 0).then(|| interface(context, outgoing));
        facts
    }

    fn refresh_addresses(&mut self, is_ipv4: bool) {
        let own = &mut self.lists[usize::from(!is_ipv4)].own;
        let Some(netlink) = &mut self.netlink else {
            return;
        };
        own.refresh(monotonic_ns(), || {
            let mut all = Vec::new();
            netlink.addresses(is_ipv4, |ifindex, prefix, flags| {
                if all.len() < MAX_ADDRESSES {
                    all.push((ifindex, prefix, state(flags)));
                }
            })?;
            Ok(all)
        });
    }

    /// Returns the number of a blackhole next hop, if there is one.
    fn blackhole_hop(&mut self, is_ipv4: bool) -> Option<u32> {
        let netlink = self.netlink.as_mut()?;
        let hops = &mut self.lists[usize::from(!is_ipv4)].hops;
        hops.refresh(monotonic_ns(), || {
            netlink.blackhole_hops(is_ipv4, MAX_RULES)
        });
        hops.entries.first().copied()
    }

    /// Finds the rule or route that makes the kernel refuse the packet.
    fn refuser(
        &mut self,
        context: &PollContext<'_>,
        facts: &SendFacts,
        errno: i32,
        target: IpAddr,
        query: RouteQuery,
    ) -> Option<Refuser> {
        let netlink = self.netlink.as_mut()?;
        let is_ipv4 = target.is_ipv4();
        let lists = &mut self.lists[usize::from(!is_ipv4)];
        let mut routes = Vec::new();
        let wanted = Refusal::of_errno(errno)?;
        // These routes belong to the loopback interface, so a demanded interface excludes them.
        let kinds = [wanted, Refusal::Throw];
        for kind in kinds.into_iter().filter(|_| query.ifindex == 0) {
            let list = lists.routes.entry(kind).or_default();
            list.refresh(monotonic_ns(), || {
                let routes = netlink.refusing_routes(is_ipv4, kind, MAX_ROUTES)?;
                self.lists_cut += u64::from(routes.len() >= MAX_ROUTES);
                Ok(routes)
            });
            let covers = |route: &&RefusingRoute| route.destination.contains(target);
            routes.extend(list.entries.iter().filter(covers).cloned());
        }
        lists.rules.refresh(monotonic_ns(), || {
            netlink
                .rules(is_ipv4, MAX_RULES)
                .or_else(|_| Ok(default_rules()))
        });
        let chosen = facts.own.iter().map(|own| own.prefix.address);
        let packet = Lookup {
            target,
            sources: match query.source {
                Some(source) => vec![source],
                None if is_ipv4 => vec![],
                None => chosen.collect(),
            },
            tos: query.tos,
            outgoing: (query.ifindex != 0).then(|| context.interface_name(query.ifindex)),
            user: self.user,
        };
        find_refuser(&lists.rules.entries, &routes, &packet, errno)
    }
}

fn state(flags: AddressFlags) -> OwnAddressState {
    if flags.contains(AddressFlags::Dadfailed) {
        OwnAddressState::DadFailed
    } else if flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic) {
        OwnAddressState::Tentative
    } else {
        OwnAddressState::Usable
    }
}

fn interface(context: &PollContext<'_>, ifindex: u32) -> OutgoingInterface {
    let link = context.links.get(ifindex);
    OutgoingInterface {
        name: context.interface_name(ifindex),
        is_up: link.is_some_and(KernelLink::is_up),
        problem: match link {
            Some(link) => link.problem(),
            None => Some("no longer exists"),
        },
        mtu: link.map_or(u32::MAX, |link| link.mtu),
    }
}

/// Returns the interfaces that packets cannot cross and that have the target in one of their networks.
fn unusable(
    context: &PollContext<'_>,
    own: &[OwnAddress],
    target: IpAddr,
) -> Vec<OutgoingInterface> {
    let is_near =
        |name: &str| (own.iter()).any(|own| own.interface == name && own.prefix.contains(target));
    context
        .links
        .iter()
        .filter(|link| link.problem().is_some() && is_near(&link.name))
        .map(|link| interface(context, link.ifindex))
        .collect()
}
