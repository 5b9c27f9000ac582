//! PURE. The reply of `io.netsonde.Inventory.Neighbors`: hosts, conflicts, moves and virtual routers of each link.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::virtual_router::{VirtualRouter, VirtualRouterId};
use super::{Address, AddressState, Duplicate, Host, Neighbors, Proxy, heard, mac, role};
use crate::protocol::inventory as reply;
use crate::protocol::time;
use crate::wire::cursor::Mac;

/// Number of addresses for which a station only answers that are consistent with a proxy. A host may have
/// some idle addresses of its own.
const MIN_ANSWERED: usize = 4;

/// Returns what is known of the links with these names at a time, in nanoseconds since 1970. `gateways` are those
/// that the kernel knows, by link and MAC address.
pub fn report(
    all: &Neighbors,
    interfaces: &BTreeMap<u32, String>,
    now: u64,
    gateways: &HashSet<(u32, Mac)>,
) -> reply::Neighbors {
    let mut found = reply::Neighbors {
        time: time(now),
        ..reply::Neighbors::default()
    };
    for (ifindex, interface) in interfaces {
        add_link(all, *ifindex, interface, now, gateways, &mut found);
    }
    let rank = |finding: &reply::Finding| {
        let kinds = ["conflict", "duplicate", "moved"];
        let kind = kinds.iter().position(|kind| *kind == finding.kind);
        (!(finding.kind == "conflict" && finding.current), kind)
    };
    found.findings.sort_by(|a, b| {
        let key = |one: &reply::Finding| (rank(one), one.interface.clone());
        key(a).cmp(&key(b)).then(b.last.cmp(&a.last))
    });
    found
        .neighbors
        .sort_by(|a, b| (&a.interface, &a.mac).cmp(&(&b.interface, &b.mac)));
    if let Some(routers) = &mut found.virtual_routers {
        routers.sort_by(|a, b| {
            let key = |one: &reply::VirtualRouter| (one.protocol.clone(), one.number, one.ipv6);
            a.interface.cmp(&b.interface).then(key(a).cmp(&key(b)))
        });
    }
    found
}

fn add_link(
    all: &Neighbors,
    ifindex: u32,
    interface: &str,
    now: u64,
    gateways: &HashSet<(u32, Mac)>,
    found: &mut reply::Neighbors,
) {
    let mut by_station: HashMap<Mac, Vec<(IpAddr, reply::Address)>> = HashMap::new();
    let mut proxies: HashMap<Mac, Vec<(IpAddr, Proxy)>> = HashMap::new();
    for (ip, address, state) in all.addresses(ifindex, now) {
        let is_gateway = all.is_gateway(ifindex, *ip);
        for claimant in &address.claimants {
            // An address that moved no longer belongs to the former station; one in conflict
            // belongs to both.
            let is_former = !matches!(state, Some(AddressState::Conflict(_)))
                && address.holder() != Some(claimant.mac);
            if is_former {
                continue;
            }
            if let Some(proxy) = claimant.proxy() {
                proxies.entry(claimant.mac).or_default().push((*ip, proxy));
            }
            by_station.entry(claimant.mac).or_default().push((
                *ip,
                reply::Address {
                    address: ip.to_string(),
                    first: time(claimant.first_ns),
                    last: time(claimant.last_ns),
                    claims: claimant.claims,
                    answers: claimant.answers,
                    answered: (claimant.answers > 0).then(|| time(claimant.answered_ns)),
                    announcements: claimant.announcements,
                    gateway: is_gateway,
                },
            ));
        }
        let finding = || base(all, ifindex, interface, *ip, address);
        if let Some(state) = state {
            found.findings.push(address_finding(finding(), state));
        }
        if let Some(hit) = address.duplicate(now) {
            found.findings.push(duplicate(finding(), &hit));
        }
    }
    let routers = all.virtual_routers(ifindex);
    found
        .virtual_routers
        .get_or_insert_default()
        .extend(routers.map(|(id, router)| {
            let own = |address| all.is_own(ifindex, address);
            reply::VirtualRouter {
                gateway: router
                    .addresses
                    .iter()
                    .any(|ip| all.is_gateway(ifindex, *ip))
                    || gateways
                        .iter()
                        .any(|(at, mac)| *at == ifindex && id.uses(*mac)),
                ..virtual_router(interface, *id, router, now, own)
            }
        }));
    for (mac, host) in all.hosts(ifindex) {
        let mut addresses = by_station.remove(mac).unwrap_or_default();
        addresses.sort_by_key(|(ip, _)| *ip);
        let is_gateway = gateways.contains(&(ifindex, *mac));
        let mut one = neighbor(interface, *mac, host, addresses, is_gateway);
        add_proxy(&mut one, proxies.remove(mac).unwrap_or_default());
        found.neighbors.push(one);
    }
}

/// Adds the role of a proxy, with the addresses.
fn add_proxy(one: &mut reply::Neighbor, mut all: Vec<(IpAddr, Proxy)>) {
    all.sort_by_key(|(ip, _)| *ip);
    let forwards = |ipv4: bool| {
        let mut all = all.iter();
        all.any(|(ip, proxy)| *proxy == Proxy::Forwards && ip.is_ipv4() == ipv4)
    };
    let answered = all.iter().filter(|(ip, _)| ip.is_ipv4()).count();
    let role = match (forwards(true), forwards(false)) {
        (true, _) => "proxy ARP",
        (false, true) => "ND proxy",
        (false, false) if answered >= MIN_ANSWERED => "proxy ARP (consistent)",
        (false, false) => return,
    };
    let is_consistent = role.ends_with(')');
    one.roles.push(role.into());
    one.proxy_for = all
        .iter()
        .filter(|(_, proxy)| is_consistent || *proxy == Proxy::Forwards)
        .map(|(ip, _)| ip.to_string())
        .collect();
}

fn neighbor(
    interface: &str,
    mac: Mac,
    host: &Host,
    addresses: Vec<(IpAddr, reply::Address)>,
    is_gateway: bool,
) -> reply::Neighbor {
    let is_gateway = is_gateway || addresses.iter().any(|(_, address)| address.gateway);
    let roles = is_gateway
        .then_some("gateway")
        .into_iter()
        .chain(Host::words(host.roles, &role::NAMES))
        .map(str::to_owned)
        .collect();
    let names = host
        .names
        .iter()
        .map(|name| reply::Name {
            name: name.name.clone(),
            by: name.by.into(),
            first: time(name.first_ns),
            last: time(name.last_ns),
        })
        .collect();
    reply::Neighbor {
        interface: interface.to_owned(),
        mac: mac.to_string(),
        shared: mac::shared(mac).map(str::to_owned),
        addresses: addresses.into_iter().map(|(_, address)| address).collect(),
        proxy_for: vec![],
        names,
        roles,
        heard_by: Host::words(host.heard, &heard::NAMES)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        forwarded: host.forwarded.into(),
        last_forwarded: (host.forwarded > 0).then(|| time(host.forwarded_ns)),
        first: time(host.first_ns),
        last: time(host.last_ns),
    }
}

fn virtual_router(
    interface: &str,
    id: VirtualRouterId,
    router: &VirtualRouter,
    now: u64,
    own: impl Fn(IpAddr) -> bool,
) -> reply::VirtualRouter {
    let masters = router.masters.iter().map(|one| reply::Master {
        address: one.address.to_string(),
        mac: one.mac.to_string(),
        own: own(one.address),
        priority: one.rank.into(),
        interval_ns: one.interval_ns,
        first: time(one.first_ns),
        last: time(one.last_ns),
        advertisements: one.advertisements,
    });
    let two = router.two_masters(now);
    let dispute = router.dispute(now);
    reply::VirtualRouter {
        interface: interface.to_owned(),
        protocol: id.protocol.name().into(),
        number: id.number.into(),
        ipv6: id.is_ipv6,
        addresses: router.addresses.iter().map(IpAddr::to_string).collect(),
        gateway: false,
        masters: masters.collect(),
        two_masters: two.map(|two| two.map(|one| one.address.to_string()).to_vec()),
        since: dispute.map(|(since_ns, _)| time(since_ns)),
        last: dispute.map(|(_, last_ns)| time(last_ns)),
        more: router.more,
    }
}

/// Fields common to all kinds of findings.
fn base(
    all: &Neighbors,
    ifindex: u32,
    interface: &str,
    ip: IpAddr,
    address: &Address,
) -> reply::Finding {
    let claimants = address
        .claimants
        .iter()
        .map(|one| reply::Claimant {
            mac: one.mac.to_string(),
            own: all.is_own_mac(one.mac),
            first: time(one.first_ns),
            last: time(one.last_ns),
            claimed: (one.claims > 0).then(|| time(one.claimed_ns)),
            claims: one.claims,
            answers: one.answers,
            announcements: one.announcements,
            frames_from: one.frames_from.map(|mac| mac.to_string()),
        })
        .collect();
    reply::Finding {
        interface: interface.to_owned(),
        address: ip.to_string(),
        gateway: all.is_gateway(ifindex, ip),
        own: all.is_own(ifindex, ip),
        current: true,
        claimants,
        more: address.more,
        ..reply::Finding::default()
    }
}

fn address_finding(base: reply::Finding, state: AddressState) -> reply::Finding {
    match state {
        AddressState::Conflict(conflict) => reply::Finding {
            kind: "conflict".into(),
            current: conflict.current,
            since: time(conflict.since_ns),
            last: time(conflict.last_ns),
            between: Some(vec![
                conflict.between.0.to_string(),
                conflict.between.1.to_string(),
            ]),
            both_answered: Some(conflict.both_answered),
            returned: Some(conflict.returned),
            ..base
        },
        AddressState::Moved(change) => reply::Finding {
            kind: "moved".into(),
            since: time(change.time_ns),
            last: time(change.time_ns),
            from: Some(change.from.to_string()),
            to: Some(change.to.to_string()),
            announced: Some(change.announced),
            times: Some(change.times),
            ..base
        },
    }
}

fn duplicate(base: reply::Finding, hit: &Duplicate) -> reply::Finding {
    reply::Finding {
        kind: "duplicate".into(),
        since: time(hit.first_ns),
        last: time(hit.last_ns),
        times: Some(hit.times),
        prober: Some(hit.prober.to_string()),
        by: Some(hit.by.to_string()),
        answered: Some(hit.answered),
        both_probed: Some(hit.both_probed),
        ..base
    }
}
