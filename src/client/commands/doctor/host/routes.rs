//! SHELL. Unicast routes of all tables, by netlink.

use std::collections::HashMap;
use std::net::IpAddr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteType, RouteVia,
};

use netsonde_core::diagnose::host::evidence::Route;

use crate::client::failure::Failure;
use crate::linux::netlink::Netlink;

/// Maximum number of routes: the first ones of an Internet router are enough to know its gateways.
const MAX_ROUTES: usize = 4096;

/// Returns the unicast routes of all tables, at most [`MAX_ROUTES`]. `names` maps indexes of interfaces
/// to their names.
pub fn routes(netlink: &mut Netlink, names: &HashMap<u32, String>) -> Result<Vec<Route>, Failure> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let dump = RouteNetlinkMessage::GetRoute(message);
        netlink.ask(dump, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewRoute(message) = answer
                && all.len() < MAX_ROUTES
            {
                route(&message, names, &mut all);
            }
        })?;
    }
    Ok(all)
}

/// Appends a route: one entry per next hop.
fn route(message: &RouteMessage, names: &HashMap<u32, String>, all: &mut Vec<Route>) {
    if message.header.kind != RouteType::Unicast {
        return;
    }
    let mut table = u32::from(message.header.table);
    let mut network = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0u8; 4]),
        _ => IpAddr::from([0u8; 16]),
    };
    let mut metric = 0;
    // Interface, gateway, and whether the next hop has the `onlink` flag.
    let mut hops: Vec<(u32, Option<IpAddr>, bool)> = Vec::new();
    let mut single = (0, None, message.header.flags.contains(RouteFlags::Onlink));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => network = ip(to).unwrap_or(network),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => single.0 = *index,
            RouteAttribute::MultiPath(several) => {
                for hop in several {
                    let by = gateway(&hop.attributes);
                    let is_onlink = hop.flags.contains(RouteNextHopFlags::Onlink);
                    hops.push((hop.interface_index, by, is_onlink));
                }
            }
            _ => {}
        }
    }
    single.1 = gateway(&message.attributes);
    if hops.is_empty() {
        hops.push(single);
    }
    // Multicast networks are on every link.
    if network.is_multicast() {
        return;
    }
    for (index, gateway, is_onlink) in hops {
        let Some(interface) = names.get(&index) else {
            continue;
        };
        all.push(Route {
            interface: interface.clone(),
            network,
            bits: message.header.destination_prefix_length,
            gateway,
            metric,
            is_onlink,
            table,
        });
    }
}

/// Returns the gateway of a route or next hop; `None` if the network is on the link.
fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(by) => ip(by),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}
