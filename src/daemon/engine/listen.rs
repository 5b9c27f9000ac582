//! SHELL. The second vantage point: raw sockets that hear what the host's IP layer let through,
//! beside what the ring saw on the wire.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use netsonde_core::wire::glance::ip_protocol;

/// Packets that are read of one socket in a turn: a flood gets its share, no more.
const PACKETS_A_TURN: usize = 256;
/// Room for a packet's first bytes; the sockets' filter cuts at 128.
const ROOM: usize = 128;

/// A packet that the IP layer let through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// The interface it came in by.
    pub ifindex: u32,
    /// [`ip_protocol`] number.
    pub protocol: u8,
    /// Who sent it.
    pub source: IpAddr,
}

/// One raw socket.
pub struct Listener {
    socket: OwnedFd,
    protocol: u8,
    /// Packets for which the socket had no room (SO_RXQ_OVFL), in all.
    pub overflows: u64,
    last_overflow: u32,
}

impl Listener {
    /// Takes over a raw socket of that protocol.
    pub fn new(socket: OwnedFd, protocol: u8) -> Listener {
        Listener {
            socket,
            protocol,
            overflows: 0,
            last_overflow: 0,
        }
    }

    /// A descriptor of the same socket, to wait with.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Which of an interface's counters this one moves.
    pub fn counter(&self) -> usize {
        PROTOCOLS
            .iter()
            .position(|protocol| *protocol == self.protocol)
            .unwrap_or(0)
    }

    /// Reads what has come, up to a turn's worth. `true`: there may be more.
    pub fn read(&mut self, mut each: impl FnMut(Heard)) -> io::Result<bool> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, u32);
        for _ in 0..PACKETS_A_TURN {
            let mut bytes = [0u8; ROOM];
            let mut room = [IoSliceMut::new(&mut bytes)];
            let message = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut room,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT,
            );
            let message = match message {
                Ok(message) => message,
                Err(nix::errno::Errno::EAGAIN) => return Ok(false),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut ifindex = 0;
            for item in message.cmsgs()? {
                match item {
                    ControlMessageOwned::Ipv4PacketInfo(info) => ifindex = info.ipi_ifindex as u32,
                    ControlMessageOwned::Ipv6PacketInfo(info) => ifindex = info.ipi6_ifindex,
                    ControlMessageOwned::RxqOvfl(count) => {
                        self.overflows += u64::from(count.wrapping_sub(self.last_overflow));
                        self.last_overflow = count;
                    }
                    _ => {}
                }
            }
            let source = message.address.as_ref().and_then(source_of);
            if let Some(source) = source {
                each(Heard {
                    ifindex,
                    protocol: self.protocol,
                    source,
                });
            }
        }
        Ok(true)
    }
}

fn source_of(address: &SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}

/// The protocols in the order of the counters of an interface.
pub const PROTOCOLS: [u8; 3] = [ip_protocol::ICMP, ip_protocol::ICMPV6, ip_protocol::IGMP];
