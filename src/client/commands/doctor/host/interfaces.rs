//! SHELL. Interfaces with their addresses, duplex mode and packet counters.

use std::collections::HashMap;
use std::fs;
use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use netsonde_core::diagnose::evidence::Link;
use netsonde_core::diagnose::host::evidence::{Address, Interface};

use crate::client::failure::Failure;
use crate::linux::monotonic_ns;
use crate::linux::netlink::Netlink;

/// IFA_F_TENTATIVE (linux/if_addr.h).
const IFA_F_TENTATIVE: u32 = 0x40;
/// IFA_F_DADFAILED (linux/if_addr.h).
const IFA_F_DADFAILED: u32 = 0x08;

/// Returns the packets received and sent since boot, by interface.
pub fn packets(netlink: &mut Netlink) -> io::Result<HashMap<u32, (u64, u64)>> {
    let mut all = HashMap::new();
    let dump = RouteNetlinkMessage::GetLink(LinkMessage::default());
    netlink.ask(dump, NLM_F_DUMP, |answer| {
        if let RouteNetlinkMessage::NewLink(message) = answer {
            for attribute in &message.attributes {
                if let LinkAttribute::Stats64(stats) = attribute {
                    all.insert(message.header.index, (stats.rx_packets, stats.tx_packets));
                }
            }
        }
    })?;
    Ok(all)
}

/// Adds addresses, duplex mode and speed to the interfaces. `packets` stays zero.
pub fn interfaces(netlink: &mut Netlink, links: &[Link]) -> Result<Vec<Interface>, Failure> {
    let mut all: Vec<Interface> = links
        .iter()
        .map(|link| Interface {
            link: link.clone(),
            ..Interface::default()
        })
        .collect();
    let up_ns = monotonic_ns();
    let dump = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    netlink.ask(dump, NLM_F_DUMP, |answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            return;
        };
        let index = message.header.index;
        let one = all.iter_mut().find(|one| one.link.ifindex == index);
        if let (Some(one), Some(address)) = (one, address(&message, up_ns)) {
            one.addresses.push(address);
        }
    })?;
    for one in &mut all {
        // /sys shows the network namespace in which it was mounted, which may be another one with the same
        // names of interfaces.
        let folder = format!("/sys/class/net/{}", one.link.name);
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok();
        let is_same =
            read("ifindex").is_some_and(|text| text.trim().parse() == Ok(one.link.ifindex));
        let mac = read("address").map(|text| text.trim().to_owned());
        if is_same && mac == one.link.mac {
            one.duplex = read("duplex").map(|text| text.trim().to_owned());
            one.speed = read("speed").and_then(|text| text.trim().parse().ok());
        }
    }
    Ok(all)
}

/// Returns an address of this host. `up_ns` is the time since boot.
fn address(message: &AddressMessage, up_ns: u64) -> Option<Address> {
    let (mut local, mut other, mut flags, mut since) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            AddressAttribute::Flags(all) => flags = Some(all.bits()),
            // Hundredths of a second since boot.
            AddressAttribute::CacheInfo(info) => since = Some(u64::from(info.tstamp) * 10_000_000),
            _ => {}
        }
    }
    let flags = flags.unwrap_or_else(|| message.header.flags.bits().into());
    Some(Address {
        address: local.or(other)?,
        prefix: message.header.prefix_len,
        is_taken: flags & IFA_F_DADFAILED != 0,
        is_tentative: flags & IFA_F_TENTATIVE != 0,
        age_ns: up_ns.saturating_sub(since.unwrap_or(up_ns)),
    })
}
