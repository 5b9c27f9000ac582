//! SHELL. `io.netsonde.Inventory.Talkers`: the top flows.

use serde_json::json;

use crate::daemon::engine::state::EngineState;
use crate::linux::wall_ns;
use crate::varlink::server::Failure;
use netsonde_core::protocol::inventory as reply;
use netsonde_core::protocol::time;
use netsonde_core::talkers::path::{Carried, Stack, Way, carried};
use netsonde_core::talkers::{Flow, Sum, Window};
use netsonde_core::wire::protocol_name;

const SECOND: u64 = 1_000_000_000;
/// Maximum window, in seconds.
const MAX_WINDOW: u64 = 300;
/// Maximum number of flows: for scripts, in a reply of about 200 KiB.
const MAX_LIMIT: u64 = 1000;
/// Default number of flows.
const DEFAULT_LIMIT: u64 = 20;
/// Default window, in seconds.
const DEFAULT_WINDOW: u64 = 10;

/// Returns the reply.
pub fn talkers(
    engine: &mut EngineState,
    call: reply::TalkersCall,
) -> Result<reply::Talkers, Failure> {
    let invalid = |what: String| Err(Failure::invalid_parameter(&what));
    let window_ns = call.window_ns.unwrap_or(DEFAULT_WINDOW * SECOND);
    if !(SECOND..=MAX_WINDOW * SECOND).contains(&window_ns) {
        return invalid(format!(
            "window_ns: {window_ns} is not in the range of 1 s to {MAX_WINDOW} s"
        ));
    }
    let limit = call.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return invalid(format!(
            "limit: {limit} is not in the range of 1 to {MAX_LIMIT}"
        ));
    }
    let by_packets = match call.by.as_deref() {
        None | Some("bytes") => false,
        Some("packets") => true,
        Some(other) => return invalid(format!("by: {other:?}: expected bytes or packets")),
    };
    let ifindex = match &call.interface {
        None => None,
        Some(name) => Some(engine.links.index_of(name).ok_or_else(|| {
            Failure::error(
                "io.netsonde.Inventory.NoSuchInterface",
                json!({ "interface": name }),
            )
        })?),
    };
    let seconds = window_ns.div_ceil(SECOND);
    let window = engine.recording.talkers.window(seconds, wall_ns());
    let order = Order {
        by_packets,
        limit: limit as usize,
    };
    if ifindex.is_none() && call.joined == Some(true) {
        return Ok(joined(engine, &window, order));
    }
    let mut all: Vec<(&Flow, &Sum)> = window
        .sums
        .iter()
        .filter(|(flow, _)| ifindex.is_none_or(|index| flow.ifindex == index))
        .collect();
    all.sort_by_key(|(_, sum)| std::cmp::Reverse(order.amount(sum)));
    let (bytes, packets) = match ifindex {
        None => (window.sums.total.bytes, window.sums.total.packets),
        // For one interface, only flows in the table are known.
        Some(_) => (
            all.iter().map(|(_, sum)| sum.bytes).sum(),
            all.iter().map(|(_, sum)| sum.packets).sum(),
        ),
    };
    Ok(reply::Talkers {
        bytes,
        packets,
        flows: all.len() as u64,
        talkers: all
            .into_iter()
            .take(order.limit)
            .map(|(flow, sum)| talker(engine, flow, sum))
            .collect(),
        ..of_window(&window)
    })
}

/// Order and number of the flows of a reply.
#[derive(Clone, Copy)]
struct Order {
    by_packets: bool,
    limit: usize,
}

impl Order {
    fn amount(self, sum: &Sum) -> (u64, u64) {
        match self.by_packets {
            true => (sum.packets, sum.bytes),
            false => (sum.bytes, sum.packets),
        }
    }
}

/// A reply without flows.
fn of_window(window: &Window) -> reply::Talkers {
    let floor = window.sums.error_bound();
    reply::Talkers {
        from: time(window.from_ns),
        to: time(window.to_ns),
        duration_ns: window.to_ns.saturating_sub(window.from_ns),
        rest_bytes: floor.bytes,
        rest_packets: floor.packets,
        ..reply::Talkers::default()
    }
}

/// Flows of the host: a packet that it carries on counts once.
fn joined(engine: &EngineState, window: &Window, order: Order) -> reply::Talkers {
    let links = engine.links.iter();
    let stack = Stack::new(links.map(|link| (link.ifindex, link.master, link.link)));
    let mut all = carried(window.sums.iter(), &stack);
    all.sort_by_key(|one| std::cmp::Reverse(order.amount(&one.sum)));
    // Flows that were evicted are in the total, too, as often as they were seen.
    let repeated = |part: fn(&Sum) -> u64| {
        let repeated = all
            .iter()
            .map(|one| part(&one.seen).saturating_sub(part(&one.sum)));
        repeated.sum::<u64>()
    };
    let total = window.sums.total;
    reply::Talkers {
        bytes: total.bytes.saturating_sub(repeated(|sum| sum.bytes)),
        packets: total.packets.saturating_sub(repeated(|sum| sum.packets)),
        flows: all.len() as u64,
        talkers: all
            .iter()
            .take(order.limit)
            .filter_map(|one| flow_of_host(engine, one))
            .collect(),
        ..of_window(window)
    }
}

fn flow_of_host(engine: &EngineState, one: &Carried) -> Option<reply::Talker> {
    let first = one.ways.first()?;
    let way = |way: &Way| reply::Way {
        interface: interface(engine, way.flow.ifindex),
        direction: direction(&way.flow),
        bytes: way.sum.bytes,
        packets: way.sum.packets,
    };
    Some(reply::Talker {
        ways: Some(one.ways.iter().map(way).collect()),
        forwarded: Some(one.is_forwarded()),
        ..talker(engine, &first.flow, &one.sum)
    })
}

/// Returns the name of an interface, which may have been deleted.
fn interface(engine: &EngineState, ifindex: u32) -> String {
    let link = engine.links.get(ifindex);
    link.map_or_else(|| deleted_name(engine, ifindex), |link| link.name.clone())
}

fn direction(flow: &Flow) -> String {
    if flow.is_outbound() { "out" } else { "in" }.into()
}

/// Returns the name of a deleted interface, as far as the record has it.
fn deleted_name(engine: &EngineState, ifindex: u32) -> String {
    let slots = engine.recording.recorder.interfaces();
    let found = slots
        .iter()
        .find(|(_, slot)| slot.ifindex == ifindex && slot.name[0] != 0);
    found.map_or_else(|| format!("gone-{ifindex}"), |(_, slot)| slot.name())
}

fn talker(engine: &EngineState, flow: &Flow, sum: &Sum) -> reply::Talker {
    let addresses = flow.addresses();
    let has_ports = flow.source_port != 0 || flow.destination_port != 0;
    let port = |port: u16| has_ports.then_some(port);
    reply::Talker {
        interface: interface(engine, flow.ifindex),
        direction: direction(flow),
        protocol: match (flow.ethertype, addresses) {
            (0x0806, _) => "arp".into(),
            (_, Some(_)) => protocol_name(flow.protocol),
            (0x88cc, None) => "lldp".into(),
            (length @ ..0x0600, None) => format!("802.3 ({length})"),
            (other, None) => format!("0x{other:04x}"),
        },
        source: addresses.map(|(source, _)| source.to_string()),
        source_port: port(flow.source_port),
        destination: addresses.map(|(_, destination)| destination.to_string()),
        destination_port: port(flow.destination_port),
        bytes: sum.bytes,
        packets: sum.packets,
        bytes_error: sum.bytes_error,
        packets_error: sum.packets_error,
        ways: None,
        forwarded: None,
    }
}
