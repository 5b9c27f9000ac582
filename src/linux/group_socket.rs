//! SHELL. Source-specific joins and sending on an interface by its index, for which no crate has a
//! call (RFC 3678, section 5.1; ip(7)). One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use socket2::SockAddr;

use crate::linux::option::set_option;

/// MCAST_JOIN_SOURCE_GROUP (linux/in.h).
const JOIN_SOURCE_GROUP: libc::c_int = 46;

/// struct group_source_req (linux/in.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct GroupSourceRequest {
    interface: u32,
    group: libc::sockaddr_storage,
    source: libc::sockaddr_storage,
}

fn storage(of: IpAddr) -> libc::sockaddr_storage {
    let address = SockAddr::from(SocketAddr::new(of, 0));
    // SAFETY: all zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: both are at least as long as the address, whose length this is, and do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            std::ptr::from_mut(&mut storage).cast::<u8>(),
            address.len() as usize,
        );
    }
    storage
}

/// Joins a group for the packets of one source. With index 0 the route to the group determines the
/// interface.
pub fn join_source(
    socket: BorrowedFd<'_>,
    group: IpAddr,
    source: IpAddr,
    ifindex: u32,
) -> io::Result<()> {
    let request = GroupSourceRequest {
        interface: ifindex,
        group: storage(group),
        source: storage(source),
    };
    let level = if group.is_ipv4() {
        libc::IPPROTO_IP
    } else {
        libc::IPPROTO_IPV6
    };
    set_option(socket, level, JOIN_SOURCE_GROUP, &request)
}

/// Sends IPv4 multicast on this interface; with index 0 on that of the route.
pub fn send_by(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: ifindex as i32,
    };
    set_option(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
}
