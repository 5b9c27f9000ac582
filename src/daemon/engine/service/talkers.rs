//! SHELL. `io.netsonde.Inventory.Talkers`: the top flows.

use serde_json::json;

use crate::daemon::engine::control::Failure;
use crate::daemon::engine::state::EngineState;
use crate::linux::wall_ns;
use netsonde_core::protocol::inventory as reply;
use netsonde_core::protocol::time;
use netsonde_core::talkers::{Flow, Sum};
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
    let mut all: Vec<(&Flow, &Sum)> = window
        .sums
        .iter()
        .filter(|(flow, _)| ifindex.is_none_or(|index| flow.ifindex == index))
        .collect();
    let amount = |sum: &Sum| {
        if by_packets {
            (sum.packets, sum.bytes)
        } else {
            (sum.bytes, sum.packets)
        }
    };
    all.sort_by_key(|(_, sum)| std::cmp::Reverse(amount(sum)));
    let (bytes, packets) = match ifindex {
        None => (window.sums.total.bytes, window.sums.total.packets),
        // For one interface, only flows in the table are known.
        Some(_) => (
            all.iter().map(|(_, sum)| sum.bytes).sum(),
            all.iter().map(|(_, sum)| sum.packets).sum(),
        ),
    };
    let floor = window.sums.error_bound();
    Ok(reply::Talkers {
        from: time(window.from_ns),
        to: time(window.to_ns),
        duration_ns: window.to_ns.saturating_sub(window.from_ns),
        bytes,
        packets,
        flows: all.len() as u64,
        rest_bytes: floor.bytes,
        rest_packets: floor.packets,
        talkers: all
            .into_iter()
            .take(limit as usize)
            .map(|(flow, sum)| talker(engine, flow, sum))
            .collect(),
    })
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
    let link = engine.links.get(flow.ifindex);
    let addresses = flow.addresses();
    let has_ports = flow.source_port != 0 || flow.destination_port != 0;
    let port = |port: u16| has_ports.then_some(port);
    reply::Talker {
        interface: link.map_or_else(
            || deleted_name(engine, flow.ifindex),
            |link| link.name.clone(),
        ),
        direction: if flow.is_outbound() { "out" } else { "in" }.into(),
        protocol: match addresses {
            Some(_) => protocol_name(flow.protocol),
            None => match flow.ethertype {
                0x0806 => "arp".into(),
                0x88cc => "lldp".into(),
                length @ ..0x0600 => format!("802.3 ({length})"),
                other => format!("0x{other:04x}"),
            },
        },
        source: addresses.map(|(source, _)| source.to_string()),
        source_port: port(flow.source_port),
        destination: addresses.map(|(_, destination)| destination.to_string()),
        destination_port: port(flow.destination_port),
        bytes: sum.bytes,
        packets: sum.packets,
        bytes_error: sum.bytes_error,
        packets_error: sum.packets_error,
    }
}
