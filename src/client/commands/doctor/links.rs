//! SHELL. Interfaces with their addresses and bridge settings, by netlink.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoPortData, LinkAttribute, LinkInfo, LinkMessage,
    LinkXdp, XdpAttached,
};

use netsonde_core::diagnose::evidence::{Bridge, Link, Port};
use netsonde_core::wire::cursor::Mac;

use crate::linux::netlink::Netlink;

/// Nanoseconds per clock tick of bridge timers: IFLA_BR_MCAST_ intervals are hundredths of a second.
const TICK_NS: u64 = 10_000_000;

/// Returns all interfaces, and the packets that each dropped on receive (rx_dropped), by index.
pub fn links(netlink: &mut Netlink) -> io::Result<(Vec<Link>, BTreeMap<u32, u64>)> {
    let mut all: Vec<Link> = Vec::new();
    let mut dropped = BTreeMap::new();
    let dump = RouteNetlinkMessage::GetLink(LinkMessage::default());
    netlink.ask(dump, NLM_F_DUMP, |answer| {
        if let RouteNetlinkMessage::NewLink(message) = answer {
            let (link, drops) = link(&message);
            dropped.insert(link.ifindex, drops);
            all.push(link);
        }
    })?;
    let dump = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    netlink.ask(dump, NLM_F_DUMP, |answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            return;
        };
        let own = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            })
            .or_else(|| {
                message
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        AddressAttribute::Address(address) => Some(*address),
                        _ => None,
                    })
            });
        let link = all
            .iter_mut()
            .find(|link| link.ifindex == message.header.index);
        if let (Some(own), Some(link)) = (own, link) {
            link.addresses.push((own, message.header.prefix_len));
        }
    })?;
    Ok((all, dropped))
}

/// Returns an interface without its addresses, and its rx_dropped counter.
fn link(message: &LinkMessage) -> (Link, u64) {
    let mut link = Link {
        ifindex: message.header.index,
        flags: message.header.flags.bits(),
        ..Link::default()
    };
    let mut drops = 0;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name.clone(),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice())
                    .ok()
                    .map(|mac| Mac(mac).to_string());
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Promiscuity(count) => link.promiscuity = *count,
            LinkAttribute::AllMulticast(count) => link.allmulti = *count,
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::Link(parent) => link.parent = Some(*parent),
            LinkAttribute::OperState(state) => link.operstate = state.to_string(),
            LinkAttribute::LinkNetNsId(_) => link.is_parent_elsewhere = true,
            LinkAttribute::Stats64(stats) => drops = stats.rx_dropped,
            LinkAttribute::Xdp(all) => {
                link.xdp = all.iter().any(|one| {
                    matches!(one, LinkXdp::Attached(attached) if *attached != XdpAttached::None)
                });
            }
            LinkAttribute::LinkInfo(all) => {
                for info in all {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = kind.to_string(),
                        LinkInfo::Data(InfoData::Bridge(settings)) => {
                            link.bridge = Some(bridge(settings));
                        }
                        LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
                            link.port = Some(port(settings));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    // The index is one of that namespace.
    if link.is_parent_elsewhere {
        link.parent = None;
    }
    (link, drops)
}

fn bridge(settings: &[InfoBridge]) -> Bridge {
    let mut bridge = Bridge::default();
    for setting in settings {
        match setting {
            InfoBridge::MulticastSnooping(on) => bridge.snooping = *on,
            InfoBridge::MulticastQuerier(on) => bridge.querier = *on,
            InfoBridge::MulticastIgmpVersion(version) => bridge.igmp_version = *version,
            InfoBridge::MulticastMldVersion(version) => bridge.mld_version = *version,
            InfoBridge::MulticastQueryUseIfaddr(on) => bridge.uses_own_address = *on,
            InfoBridge::MulticastMembershipInterval(ticks) => {
                bridge.membership_ns = ticks.saturating_mul(TICK_NS);
            }
            InfoBridge::MulticastQuerierInterval(ticks) => {
                bridge.querier_ns = ticks.saturating_mul(TICK_NS);
            }
            InfoBridge::MulticastHashMax(max) => bridge.max_groups = *max,
            InfoBridge::NfCallIpTables(on) | InfoBridge::NfCallIp6Tables(on) => {
                bridge.calls_firewall |= *on;
            }
            _ => {}
        }
    }
    bridge
}

fn port(settings: &[InfoBridgePort]) -> Port {
    Port {
        isolated: settings
            .iter()
            .any(|one| matches!(one, InfoBridgePort::Isolated(true))),
    }
}
