//! SHELL. Packet sockets, and a device setting that no crate wraps. One of the files that may use
//! `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::linux::option::set_option;

nix::ioctl_write_ptr_bad!(siocethtool, libc::SIOCETHTOOL as libc::Ioctl, libc::ifreq);

/// ETHTOOL_STXCSUM (linux/ethtool.h).
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes the kernel complete checksums before it gives packets to an interface, instead of leaving
/// them to hardware that a wire in user space does not have.
pub fn finish_checksums(interface: &str) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut value = EthtoolValue {
        command: SET_TX_CHECKSUM,
        data: 0,
    };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: std::ptr::from_mut(&mut value).cast(),
        },
    };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(interface.bytes())
    {
        *to = from as libc::c_char;
    }
    // SAFETY: the request and what it points to live over the call.
    unsafe { siocethtool(socket.as_raw_fd(), &request) }?;
    Ok(())
}

/// Opens a packet socket that sends and receives whole frames on an interface, read and written
/// like a file.
pub fn open_port(ifindex: u32) -> io::Result<File> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    // Frames sent here must not be read again.
    set_option(
        &socket,
        libc::SOL_PACKET,
        libc::PACKET_IGNORE_OUTGOING,
        &1i32,
    )?;
    // On a busy machine the reader is late; the system limit allows twice the default.
    socket.set_recv_buffer_size(4 << 20)?;
    bind(socket.as_raw_fd(), ifindex, libc::ETH_P_ALL as u16)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(File::from(OwnedFd::from(socket)))
}

/// Reads a frame from a port. Returns its length and the kernel's receive stamp in nanoseconds
/// since 1970 (0 if missing).
pub fn read_stamped(port: &File, room: &mut [u8]) -> io::Result<(usize, u64)> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut data = [IoSliceMut::new(room)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(port.as_raw_fd(), &mut data, Some(&mut control), flags)?;
    let stamp = message.cmsgs()?.find_map(|item| match item {
        ControlMessageOwned::ScmTimestampns(time) => {
            Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        }
        _ => None,
    });
    Ok((message.bytes, stamp.unwrap_or(0)))
}

/// Sends a frame through a packet socket.
pub fn send_frame(socket: i32, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: ifindex as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    // SAFETY: pointers and lengths describe `frame` and `address`, which the kernel only reads.
    let sent = unsafe {
        libc::sendto(
            socket,
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Binds a packet socket to an interface for sending: protocol 0 receives nothing.
pub fn bind_to_interface(socket: i32, ifindex: u32) -> io::Result<()> {
    bind(socket, ifindex, 0)
}

fn bind(socket: i32, ifindex: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer and the length describe `address`, which the kernel only reads.
    let bound = unsafe {
        libc::bind(
            socket,
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
