//! SHELL. `io.netsonde.Inventory`: what the kernel says of this host at a time: its counters, and the ways of packets.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;

use netlink_packet_route::route::RouteType;
use serde_json::json;

use crate::daemon::engine::links::KernelLink;
use crate::daemon::engine::state::EngineState;
use crate::linux::netlink::{KernelNeighbor, Route, RouteQuery};
use crate::linux::{reason, wall_ns};
use crate::varlink::server::Failure;
use netsonde_core::host::drops::Layer;
use netsonde_core::probe::fate::describe_errno;
use netsonde_core::probe::routing::table_name;
use netsonde_core::protocol::inventory as reply;
use netsonde_core::protocol::time;
use netsonde_core::wire::cursor::Mac;

/// Maximum number of interfaces in a reply of `Counters`: those that the recorder has slots for.
pub(super) const MAX_INTERFACES: usize = 2048;

/// Returns the number that identifies an interface in the record, over renames; one without a slot has its index.
fn identity(engine: &EngineState, ifindex: u32) -> u64 {
    let interfaces = engine.recording.recorder.interfaces();
    let slot = interfaces.present(ifindex).and_then(|at| {
        let slot = interfaces.at(at)?;
        Some((u64::from(at), u64::from(slot.generation)))
    });
    match slot {
        Some((at, generation)) => (1 << 32) | (generation << 16) | at,
        None => ifindex.into(),
    }
}

fn unavailable(error: &io::Error) -> Failure {
    let words = format!("cannot read the kernel's counters: {}", reason(error));
    Failure::error(
        "io.netsonde.Service.Unavailable",
        json!({ "reason": words }),
    )
}

/// Answers `Counters`.
pub fn counters(engine: &mut EngineState) -> Result<reply::Counters, Failure> {
    let mut known: BTreeMap<u32, reply::InterfaceCounters> = (engine.links.iter())
        .take(MAX_INTERFACES)
        .map(|link| {
            let interface = reply::InterfaceCounters {
                interface: link.name.clone(),
                identity: identity(engine, link.ifindex),
                problem: link.problem().map(str::to_owned),
                ..reply::InterfaceCounters::default()
            };
            (link.ifindex, interface)
        })
        .collect();
    let count = engine.links.iter().count();
    let mut host: BTreeMap<(Layer, String, String), u64> = BTreeMap::new();
    let EngineState { prober, links, .. } = engine;
    let name = |index: u32| links.name(index);
    let read = prober.counters(name, |one| {
        if one.value == 0 {
            return;
        }
        let Some(index) = one.ifindex else {
            let key = (one.layer, one.subject.to_owned(), one.name.to_owned());
            host.insert(key, one.value);
            return;
        };
        let Some(interface) = known.get_mut(&index) else {
            return;
        };
        match one.layer {
            Layer::Queue => {
                let queue = one.subject.strip_prefix(&interface.interface[..]);
                let queue = queue.unwrap_or(one.subject).trim_start();
                interface.queue_drops.insert(queue.to_owned(), one.value)
            }
            _ => interface.counters.insert(one.name.to_owned(), one.value),
        };
    });
    read.map_err(|error| unavailable(&error))?;
    let host = host.into_iter().map(|((layer, subject, name), value)| {
        let layer = layer.name().to_owned();
        reply::HostCounter {
            layer,
            subject,
            name,
            value,
        }
    });
    Ok(reply::Counters {
        time: time(wall_ns()),
        interfaces: known.into_values().collect(),
        host: host.collect(),
        left_out: count.saturating_sub(MAX_INTERFACES) as u64,
    })
}

/// Answers `Paths`.
pub fn paths(engine: &mut EngineState, call: &reply::PathsCall) -> Result<reply::Paths, Failure> {
    if call.targets.len() > reply::MAX_PATHS {
        let most = reply::MAX_PATHS;
        return Err(Failure::invalid_parameter(&format!(
            "targets: more than {most}"
        )));
    }
    let source = call.source.as_ref().map(|text| text.parse::<IpAddr>());
    let source = source.transpose();
    let source = source.map_err(|_| Failure::invalid_parameter("source: not an address"))?;
    let interface = call.interface.as_deref();
    let query = RouteQuery {
        source,
        tos: call.tos.unwrap_or(0),
        ..RouteQuery::default()
    };
    // Many targets have the same next hop.
    let mut hops: HashMap<(u32, IpAddr), Option<KernelNeighbor>> = HashMap::new();
    let mut paths = Vec::new();
    for text in &call.targets {
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope)),
            None => (&text[..], interface),
        };
        let address: IpAddr =
            (address.parse()).map_err(|_| Failure::invalid_parameter("targets: not an address"))?;
        let mut path = reply::Path {
            target: text.clone(),
            ..reply::Path::default()
        };
        // An interface that was deleted has no routes.
        let ifindex = scope.map(|name| engine.links.index_of(name));
        match ifindex {
            Some(None) => path.error = Some(format!("no such interface: {}", scope.unwrap_or(""))),
            Some(Some(ifindex)) => {
                let query = RouteQuery { ifindex, ..query };
                fill(engine, &mut path, address, &query, &mut hops);
            }
            None => fill(engine, &mut path, address, &query, &mut hops),
        }
        paths.push(path);
    }
    Ok(reply::Paths {
        time: time(wall_ns()),
        paths,
    })
}

fn fill(
    engine: &mut EngineState,
    path: &mut reply::Path,
    target: IpAddr,
    query: &RouteQuery,
    hops: &mut HashMap<(u32, IpAddr), Option<KernelNeighbor>>,
) {
    let EngineState { prober, links, .. } = engine;
    let route = match prober.look_up(target, query) {
        Ok(route) => route,
        Err(error) => {
            let number = error.raw_os_error();
            let words = number.map(|number| describe_errno(number).1.to_owned());
            path.error = Some(words.unwrap_or_else(|| reason(&error)));
            return;
        }
    };
    let entry = prober.look_up(
        target,
        &RouteQuery {
            is_entry: true,
            ..*query
        },
    );
    // A kernel that does not tell the entry tells the target.
    path.destination = entry.as_ref().ok().map(|entry| {
        let destination = entry.destination.map(|prefix| prefix.to_string());
        destination.unwrap_or_else(|| "default".into())
    });
    path.table = Some(table_name(entry.map_or(route.table, |entry| entry.table)));
    path.kind = Some(format!("{:?}", route.kind).to_lowercase());
    path.gateway = route.gateway.map(|gateway| gateway.to_string());
    path.mtu = route.mtu;
    path.interface = Some(links.name(route.ifindex));
    let problem = links.get(route.ifindex).map(KernelLink::problem);
    path.link = Some(problem.unwrap_or(Some("is gone")).unwrap_or("up").into());
    if route.kind == RouteType::Unicast {
        let hop = Route::next_hop(&route, target);
        path.next_hop = Some(hop.to_string());
        let entry = hops.entry((route.ifindex, hop));
        let entry = entry.or_insert_with(|| prober.neighbor_entry(route.ifindex, hop));
        path.neighbor = Some(entry.as_ref().map_or("none", |entry| entry.state).into());
        path.mac = (entry.as_ref()).and_then(|entry| Some(Mac(entry.mac?).to_string()));
    }
}
