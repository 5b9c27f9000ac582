//! PRIVILEGED. The channel for probes by TCP and UDP: an engine requests them by numbers, and the keeper answers
//! with what the kernel said. A message holds several requests or answers, and nothing else.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use bytemuck::{Pod, Zeroable, cast_slice};
use netsonde_core::probe::identity::TOKEN;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

/// Requests or answers of a message: a page holds both.
pub const MAX_REQUESTS: usize = 32;

/// A probe to send. Numbers are in host order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ProbeRequest {
    /// Number chosen by the engine, which the answer repeats.
    pub number: u32,
    /// Index of the outgoing interface; 0 if the route decides.
    pub ifindex: u32,
    /// Destination address, IPv4 in the first four bytes.
    pub target: [u8; 16],
    /// Source address, which must be one of this host's.
    pub source: [u8; 16],
    /// Flow label of the connection that lives (IPv6), 20 bits; 0 for none, and for other probes.
    pub flow_label: u32,
    /// Token of the probe.
    pub token: [u8; TOKEN],
    /// Destination port, not 0.
    pub port: u16,
    /// Number of the flow, which has one of the reserved source ports; with `lives` the source port itself.
    pub flow: u16,
    /// UDP payload in bytes; 0 for TCP.
    pub size: u16,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol: 6 (TCP) or 17 (UDP).
    pub protocol: u8,
    /// TTL or hop limit; 0 for the system's default, not with `lives`.
    pub hop_limit: u8,
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// 1 for a probe along a TCP connection that lives, with a checksum that no end point takes; else 0.
    pub lives: u8,
    /// 0.
    pub reserved: u8,
}

/// What became of a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ProbeAnswer {
    /// Number of the request.
    pub number: u32,
    /// Error number; 0 if the kernel took the packet.
    pub errno: i32,
    /// Monotonic time right before the send call, in nanoseconds.
    pub sent_ns: u64,
}

/// Error number of a request beyond the keeper's own limit.
pub const LIMITED: i32 = libc::EDQUOT;

/// Returns the bytes of an address as requests have them.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
    }
}

/// A message from the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<T> {
    /// So many requests or answers were received.
    Some(usize, [T; MAX_REQUESTS]),
    /// None is waiting.
    Nothing,
    /// The other side has closed its end.
    Closed,
    /// Invalid: the other side can no longer be trusted.
    Nonsense,
}

/// Sends up to [`MAX_REQUESTS`] requests or answers. Never blocks.
///
/// # Errors
/// `WouldBlock` if the channel is full; then none of them was sent.
pub fn send_all<T: Pod>(channel: impl AsFd, all: &[T]) -> io::Result<()> {
    send(
        channel.as_fd().as_raw_fd(),
        cast_slice(all),
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a message, without blocking and without space for descriptors.
pub fn receive<T: Pod>(channel: impl AsFd) -> Message<T> {
    let mut all = [T::zeroed(); MAX_REQUESTS];
    let bytes = bytemuck::cast_slice_mut(&mut all);
    // With MSG_TRUNC the length is that of the whole message, also of one that is too long.
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    match recv(channel.as_fd().as_raw_fd(), bytes, flags) {
        Ok(0) => Message::Closed,
        Ok(length) if length <= size_of_val(&all) && length % size_of::<T>() == 0 => {
            Message::Some(length / size_of::<T>(), all)
        }
        Ok(_) => Message::Nonsense,
        Err(Errno::EAGAIN | Errno::EINTR) => Message::Nothing,
        Err(_) => Message::Closed,
    }
}
