//! PURE. The Varlink interfaces of the service, and their types. The `.varlink` files next to this one are the
//! documentation, and are served for introspection; `tests/protocol.rs` compares the types with them.
//!
//! | file | contents |
//! |---|---|
//! | `service` | health, limits, interfaces |
//! | `capture` | recorded packets |
//! | `ping` | probes and their fates |
//! | `trace` | probes with a hop limit and a flow each |
//! | `multicast` | groups, queriers, routers, streams |
//! | `inventory` | flows, hosts, events |
//! | `history` | monitors, outages, what is kept on disk: served by netsonde-historian |

pub mod capture;
pub mod history;
pub mod inventory;
pub mod multicast;
pub mod ping;
pub mod service;
pub mod trace;

/// Formats a time in nanoseconds since 1970 as the protocol has times: RFC 3339 in UTC with nanoseconds.
pub fn time(ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(ns.into()).map_or_else(
        |_| String::from("9999-12-31T23:59:59.999999999Z"),
        |at| format!("{at:.9}"),
    )
}

/// Definition of `io.netsonde.Service`.
pub const SERVICE: &str = include_str!("io.netsonde.Service.varlink");
/// Definition of `io.netsonde.Capture`.
pub const CAPTURE: &str = include_str!("io.netsonde.Capture.varlink");
/// Definition of `io.netsonde.Ping`.
pub const PING: &str = include_str!("io.netsonde.Ping.varlink");
/// Definition of `io.netsonde.Trace`.
pub const TRACE: &str = include_str!("io.netsonde.Trace.varlink");
/// Definition of `io.netsonde.Multicast`.
pub const MULTICAST: &str = include_str!("io.netsonde.Multicast.varlink");
/// Definition of `io.netsonde.Inventory`.
pub const INVENTORY: &str = include_str!("io.netsonde.Inventory.varlink");
/// Definition of `io.netsonde.History`.
pub const HISTORY: &str = include_str!("io.netsonde.History.varlink");
/// Definition of `org.varlink.service`.
pub const VARLINK: &str = include_str!("org.varlink.service.varlink");
