//! SHELL. The second vantage point: raw sockets that receive what the host's IP layer delivers, in
//! addition to the tap on the wire.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use netsonde_core::wire::glance::ip_protocol;

/// Packets read from one socket per poll iteration, which bounds the share of a flood.
const MAX_PACKETS_PER_POLL: usize = 256;
/// Buffer for the first bytes of a packet; the filter of the sockets truncates at 128.
const BUFFER_BYTES: usize = 128;

/// A packet delivered by the IP layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReceivedPacket {
    /// Index of the receiving interface.
    pub ifindex: u32,
    /// [`ip_protocol`] number.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
}

/// A raw socket.
pub struct Listener {
    socket: OwnedFd,
    protocol: u8,
    /// Total number of packets dropped because the socket's queue was full (SO_RXQ_OVFL).
    pub overflows: u64,
    last_overflow: u32,
}

impl Listener {
    /// Uses a raw socket of this protocol.
    pub fn new(socket: OwnedFd, protocol: u8) -> Listener {
        Listener {
            socket,
            protocol,
            overflows: 0,
            last_overflow: 0,
        }
    }

    /// Returns a descriptor of the same socket, for waiting.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Returns the index of the interface counter that it increments.
    pub fn counter(&self) -> usize {
        PROTOCOLS
            .iter()
            .position(|protocol| *protocol == self.protocol)
            .unwrap_or(0)
    }

    /// Reads pending packets, up to the limit per iteration. Returns `true` if there may be more.
    pub fn read(&mut self, mut each: impl FnMut(ReceivedPacket)) -> io::Result<bool> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, u32);
        for _ in 0..MAX_PACKETS_PER_POLL {
            let mut bytes = [0u8; BUFFER_BYTES];
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let message = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut slices,
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
                each(ReceivedPacket {
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

/// The protocols, in the order of the interface counters.
pub const PROTOCOLS: [u8; 3] = [ip_protocol::ICMP, ip_protocol::ICMPV6, ip_protocol::IGMP];
