//! PURE. Every failure mode of a target, in the order of the rules: causes before symptoms.

use super::super::Text;
use super::{NameMode, WayMode, local, name, path, port};

/// Those of the name, of which the first is reported.
pub static OF_NAMES: &[&NameMode] = &[
    &name::SERVERS_MISSING,
    &name::WRONG_SOURCE,
    &name::SERVER_UNREACHABLE,
    &name::SERVER_SILENT,
    &name::SERVER_FAILED,
    &name::SERVER_REFUSED,
    &name::NOT_FOUND,
    &name::WITHOUT_ADDRESS,
    &name::UNRESOLVED,
    &name::SLOW,
];

/// Those of a way, of which the first is its cause.
pub static OF_WAYS: &[&WayMode] = &[
    &local::INTERFACE_DOWN,
    &local::SOURCE_INVALID,
    &local::BLACKHOLE_ROUTE,
    &local::PROHIBIT_ROUTE,
    &local::UNREACHABLE_ROUTE,
    &local::NO_ROUTE,
    &local::NEXT_HOP_SILENT,
    &port::ACCEPT_QUEUE_FULL,
    &port::SYN_QUEUE_FULL,
    &port::RESET_AFTER_ACCEPT,
    &port::SERVER_SILENT,
    &local::OUTPUT_FIREWALL,
    &local::RP_FILTER_STRICT,
    &local::INPUT_FIREWALL,
    &port::PROHIBITED,
    &port::CLOSED,
    &path::ROUTING_LOOP,
    &path::PROHIBITED_BY_ROUTER,
    &path::NO_ROUTE_AT_ROUTER,
    &path::TARGET_UNRESOLVED,
    &local::NEIGHBOR_ENTRY_WRONG,
    &local::NEXT_HOP_CONFLICT,
    &port::FILTERED,
    &path::PATH_ENDS,
    &path::TARGET_SILENT,
    &path::NOT_SENT,
    &path::MTU_BLACK_HOLE,
    &port::SYN_COOKIES,
    &path::TARGET_LOSS,
];

/// Returns the texts of all failure modes of a target.
pub fn modes() -> impl Iterator<Item = Text> {
    let of_names = OF_NAMES.iter().map(|mode| mode.text);
    let of_ways = OF_WAYS.iter().map(|mode| mode.text);
    let of_families = [
        local::IPV6_BROKEN,
        local::IPV4_BROKEN,
        local::ADDRESS_BROKEN,
    ];
    of_names.chain(of_ways).chain(of_families)
}
