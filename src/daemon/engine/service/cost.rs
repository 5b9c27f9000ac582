//! SHELL. Memory of replies before they become text, by the number of their rows. The text itself is
//! reserved as it is written.

use crate::daemon::engine::state::EngineState;
use netsonde_core::multicast::{Queriers, Routers, Streams};
use netsonde_core::neighbors::virtual_router::VirtualRouters;

/// Bytes of a reply without rows.
const REPLY: u64 = 16 * 1024;
/// Bytes of a row with its texts: of an interface, a host, a group, a stream.
const ROW: u64 = 1024;
/// Bytes of an address, a member or a limit.
const PART: u64 = 256;
/// Bytes of the rows of a reply that has a limited number of them: 512 probes or events.
const PAGE: u64 = 512 * 1024;

/// Returns the memory of a method's reply at worst, in bytes.
pub fn of_reply(engine: &EngineState, method: &str) -> u64 {
    let links = engine.links.iter().count() as u64;
    let rows = match method.rsplit_once('.').map(|(_, name)| name) {
        Some("Status") => (engine.recording.recorder.interfaces().iter().count() as u64) * PART,
        Some("Interfaces") => links * 2 * ROW,
        Some("Counters") => links.min(super::kernel::MAX_INTERFACES as u64) * 2 * ROW + PAGE,
        Some("Groups") => {
            let members = engine.recording.multicast.groups.len() as u64;
            members * (ROW + PART) + links * ROW
        }
        Some("Queriers") => (Queriers::MOST + Routers::MOST) as u64 * PART,
        Some("Streams") => Streams::MOST as u64 * ROW,
        Some("Ping" | "Probe" | "Events" | "Talkers" | "Paths") => PAGE,
        Some("Neighbors") => {
            let (hosts, addresses) = engine.recording.neighbors.counts();
            let routers = links * VirtualRouters::MAX_PER_LINK as u64;
            hosts as u64 * ROW + (addresses as u64 + routers) * PART
        }
        _ => 0,
    };
    REPLY + rows
}
