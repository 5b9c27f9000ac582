//! SHELL. Netlink requests of the laboratory, each acknowledged by the kernel, in the network
//! namespace of the calling thread.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::{Error, Host, step};
use crate::linux::netlink::Netlink;

/// Sends one request and waits for its acknowledgment.
fn request(what: String, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
    let exchange = || {
        Netlink::open()?
            .patient()
            .ask(message, NLM_F_ACK | flags, |_| {})
    };
    exchange().map_err(step(what))
}

fn index(interface: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(interface)
        .map_err(step(format!("looking up interface {interface}")))
}

fn set_link(
    interface: &str,
    what: &str,
    change: impl FnOnce(&mut LinkMessage),
) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index(interface)?;
    change(&mut message);
    request(
        format!("{what} {interface}"),
        RouteNetlinkMessage::SetLink(message),
        0,
    )
}

pub(super) fn up(interface: &str) -> Result<(), Error> {
    set_link(interface, "bringing up", |message| {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    })
}

pub(super) fn down(interface: &str) -> Result<(), Error> {
    set_link(interface, "bringing down", |message| {
        message.header.change_mask = LinkFlags::Up
    })
}

pub(super) fn rename(from: &str, to: &str) -> Result<(), Error> {
    set_link(from, "renaming", |message| {
        message.attributes.push(LinkAttribute::IfName(to.into()))
    })
}

pub(super) fn delete(interface: &str) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index(interface)?;
    request(
        format!("deleting {interface}"),
        RouteNetlinkMessage::DelLink(message),
        0,
    )
}

pub(super) fn mac(interface: &str) -> Result<[u8; 6], Error> {
    let wrong = || step::<io::Error>(format!("reading the MAC address of {interface}"));
    let addresses = nix::ifaddrs::getifaddrs().map_err(|error| wrong()(error.into()))?;
    for entry in addresses {
        let mac = entry
            .address
            .and_then(|address| address.as_link_addr().and_then(|link| link.addr()));
        if entry.interface_name == interface
            && let Some(mac) = mac
        {
            return Ok(mac);
        }
    }
    Err(wrong()(io::ErrorKind::NotFound.into()))
}

fn split(address: &str) -> Result<(IpAddr, u8), Error> {
    let wrong =
        || step(format!("parsing address {address}"))(io::Error::from(io::ErrorKind::InvalidInput));
    let (ip, prefix) = address.split_once('/').ok_or_else(wrong)?;
    Ok((
        ip.parse().map_err(|_| wrong())?,
        prefix.parse().map_err(|_| wrong())?,
    ))
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

pub(super) fn add_address(interface: &str, address: &str) -> Result<(), Error> {
    let (ip, prefix) = split(address)?;
    let mut message = AddressMessage::default();
    message.header.family = family(ip);
    message.header.prefix_len = prefix;
    message.header.index = index(interface)?;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    if ip.is_ipv6() {
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    let what = format!("adding address {address} on {interface}");
    request(
        what,
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

pub(super) fn add_route(destination: &str, gateway: &str) -> Result<(), Error> {
    let (ip, prefix) = split(destination)?;
    let by: IpAddr = gateway.parse().map_err(|_| {
        step(format!("parsing gateway {gateway}"))(io::Error::from(io::ErrorKind::InvalidInput))
    })?;
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    };
    let mut message = RouteMessage::default();
    message.header.address_family = family(ip);
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    if prefix > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(address(ip)));
    }
    message
        .attributes
        .push(RouteAttribute::Gateway(address(by)));
    let what = format!("adding route {destination} via {gateway}");
    request(
        what,
        RouteNetlinkMessage::NewRoute(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Creates a pair of interfaces, one in each host, both up.
pub fn veth(a: &Host, a_name: &str, b: &Host, b_name: &str) -> Result<(), Error> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(b_name.into()),
        LinkAttribute::NetNsFd(b.namespace().as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(a_name.into()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    let what = format!(
        "creating veth {}:{a_name} - {}:{b_name}",
        a.name(),
        b.name()
    );
    a.run(|| {
        request(
            what,
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    })?;
    a.up(a_name)?;
    b.up(b_name)
}

/// Multicast options of a bridge.
#[derive(Clone, Copy, Debug, Default)]
pub struct BridgeOptions {
    /// Snoop IGMP and MLD.
    pub snooping: bool,
    /// Send queries.
    pub querier: bool,
    /// Membership lifetime in hundredths of a second; `None` for the kernel's default of 26000.
    pub membership: Option<u64>,
}

/// Creates a bridge in a host, up.
pub fn bridge(host: &Host, name: &str, options: BridgeOptions) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    let mut settings = vec![
        InfoBridge::MulticastSnooping(options.snooping),
        InfoBridge::MulticastQuerier(options.querier),
    ];
    settings.extend(
        options
            .membership
            .map(InfoBridge::MulticastMembershipInterval),
    );
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(settings)),
        ]),
    ];
    let what = format!("creating bridge {}:{name}", host.name());
    host.run(|| {
        request(
            what,
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    })?;
    host.up(name)
}

/// Attaches an interface to a bridge.
pub fn bridge_port(host: &Host, bridge: &str, port: &str) -> Result<(), Error> {
    host.run(|| {
        let master = index(bridge)?;
        set_link(port, "adding to the bridge", |message| {
            message.attributes.push(LinkAttribute::Controller(master));
        })
    })
}
