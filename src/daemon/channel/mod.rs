//! SHELL. The exchange between keeper and engine. Both use this module, and neither uses the other.
//!
//! | file | contents |
//! |---|---|
//! | `handover` | the channel: descriptors at start, fixed-size requests, counters in shared memory |
//! | `sending` | requests for probes by TCP and UDP, and the answers |
//! | `settings` | the configuration with its names resolved to numbers |

pub mod handover;
pub mod sending;
pub mod settings;

use std::net::{Ipv4Addr, Ipv6Addr};

/// Groups that the keeper joins on each IPv4 interface: all hosts and all routers on the link (RFC 1112, RFC 2236).
pub const GROUPS_4: [Ipv4Addr; 2] = [Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 2)];
/// Groups that the keeper joins on each IPv6 interface: all nodes and all routers on the link (RFC 4291, section 2.7.1).
pub const GROUPS_6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2),
];
