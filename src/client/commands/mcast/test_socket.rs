//! SHELL. Sockets of the test receiver and the test source.

use crate::client::failure::Failure;
use crate::linux::group_socket::join_source;
use crate::linux::reason;
use netsonde_core::multicast::GroupPort;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self};
use std::net::IpAddr;
use std::os::fd::AsFd;

/// Default port: that of the discard service, which no program uses by accident.
pub(crate) const PORT: u16 = 9;

pub(crate) fn index_of(interface: Option<&str>) -> Result<u32, Failure> {
    let Some(name) = interface else {
        return Ok(0);
    };
    nix::net::if_::if_nametoindex(name).map_err(|_| Failure::no_such_interface(name))
}

pub(crate) fn cannot<'a>(
    what: &'a str,
    channel: &'a GroupPort,
) -> impl Fn(io::Error) -> Failure + 'a {
    move |error| {
        let hint = match error.raw_os_error() {
            Some(libc::ENODEV) => ": no route to the group; name an interface with -I",
            Some(libc::ENETUNREACH) => ": no route to the group; name an interface with -I",
            Some(libc::ENOBUFS) => {
                ": the limit of memberships is reached, see net.ipv4.igmp_max_memberships"
            }
            Some(libc::EADDRINUSE) => ": another program uses this port exclusively",
            _ => "",
        };
        Failure::Other(format!("cannot {what} {channel}: {}{hint}", reason(&error)))
    }
}

pub(crate) fn new_socket(channel: &GroupPort) -> io::Result<Socket> {
    let domain = match channel.group {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
}

pub(crate) fn join_any(socket: &Socket, group: IpAddr, ifindex: u32) -> io::Result<()> {
    match group {
        IpAddr::V4(group) => {
            socket.join_multicast_v4_n(&group, &socket2::InterfaceIndexOrAddress::Index(ifindex))
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, ifindex),
    }
}

/// Joins a group without receiving, for as long as the socket is kept.
pub(crate) fn join_only(
    channel: &GroupPort,
    interface: Option<&str>,
    source: Option<IpAddr>,
) -> Result<Socket, Failure> {
    let ifindex = index_of(interface)?;
    let failed = cannot("join", channel);
    let socket = new_socket(channel).map_err(&failed)?;
    match source {
        Some(source) => join_source(socket.as_fd(), channel.group, source, ifindex),
        None => join_any(&socket, channel.group, ifindex),
    }
    .map_err(failed)?;
    Ok(socket)
}
