//! SHELL. `io.netsonde.Inventory`: hosts seen on each link, and the kernel's neighbor entries.

use std::collections::HashSet;

use serde_json::json;

use crate::daemon::engine::state::EngineState;
use crate::linux::reason;
use crate::linux::wall_ns;
use crate::varlink::server::Failure;
use netsonde_core::neighbors::report::report;
use netsonde_core::protocol::inventory as reply;
use netsonde_core::wire::cursor::Mac;

/// Answers `Neighbors`.
pub fn neighbors(
    engine: &mut EngineState,
    call: reply::InterfaceCall,
) -> Result<reply::Neighbors, Failure> {
    engine.take_networks();
    let kernel = engine.kernel_neighbors().map_err(|error| {
        Failure::error(
            "io.netsonde.Service.Unavailable",
            json!({ "reason": format!("cannot read the kernel's neighbor tables: {}", reason(&error)) }),
        )
    })?;
    let now = wall_ns();
    let interfaces = engine.links.selected(call.interface.as_deref());
    if let Some(name) = call.interface.filter(|_| interfaces.is_empty()) {
        return Err(Failure::error(
            "io.netsonde.Inventory.NoSuchInterface",
            json!({ "interface": name }),
        ));
    }
    let all = &engine.recording.neighbors;
    // A gateway that has not been seen for long is known to the kernel.
    let gateways: HashSet<(u32, Mac)> = kernel
        .iter()
        .filter(|entry| all.is_gateway(entry.ifindex, entry.address))
        .filter_map(|entry| Some((entry.ifindex, Mac(entry.mac?))))
        .collect();
    let mut found = report(all, &interfaces, now, &gateways);
    let mut kernel = kernel;
    kernel.sort_by_key(|entry| entry.address);
    found.kernel = kernel
        .into_iter()
        .filter_map(|entry| {
            Some(reply::KernelNeighbor {
                interface: interfaces.get(&entry.ifindex)?.clone(),
                address: entry.address.to_string(),
                mac: entry.mac.map(|mac| Mac(mac).to_string()),
                state: entry.state.into(),
                router: entry.router,
            })
        })
        .collect();
    found.kernel.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(found)
}
