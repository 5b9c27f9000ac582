//! SHELL. Many packets per system call: sendmmsg(2) and recvmmsg(2) with ancillary data that no crate
//! wraps. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::linux::netlink::RouteQuery;
use crate::linux::option::set_option;

/// Packets sent per system call.
pub const SEND_BATCH: usize = 64;
/// Packets received per system call. There is a buffer for the longest packet for each.
pub const RECEIVE_BATCH: usize = 32;
/// Size of a receive buffer, in bytes: the longest packet (IPv4's total length, or IPv6's without its
/// header), rounded up.
const BUFFER_BYTES: usize = 65_600;
/// Size of the buffer for ancillary data, in words of 8 bytes. About half of it is used.
const CONTROL_WORDS: usize = 32;

/// SCM_TS_OPT_ID (asm-generic/socket.h): assigns an ID to a packet for its send timestamps. Linux
/// 6.13.
const SCM_TS_OPT_ID: i32 = 81;

/// Options of a packet to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// TTL or hop limit; `None` for the system's default.
    pub ttl: Option<u8>,
    /// Type of service or traffic class; `None` for the system's default.
    pub tos: Option<u8>,
    /// Index of the outgoing interface; 0 if the route decides.
    pub ifindex: u32,
    /// Source address of the same family; `None` if the route decides.
    pub source: Option<IpAddr>,
}

impl SendOptions {
    /// Returns the options for a target whose scope, if it is not 0, is the outgoing interface.
    pub fn to(self, scope: u32) -> SendOptions {
        match scope {
            0 => self,
            ifindex => SendOptions { ifindex, ..self },
        }
    }

    /// Returns the lookup of the route that a packet with these options takes.
    pub fn query(&self) -> RouteQuery {
        RouteQuery {
            ifindex: self.ifindex,
            source: self.source,
            tos: self.tos.unwrap_or(0),
            ..RouteQuery::default()
        }
    }
}

/// Packets to send, with their buffers.
pub struct SendBatch {
    packets: Vec<Vec<u8>>,
    /// Pattern of the packets in the buffers.
    pattern: Vec<u8>,
    addresses: Vec<libc::sockaddr_storage>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    control_lengths: Vec<usize>,
    count: usize,
}

/// Ancillary data being written.
struct Control<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Control<'_> {
    /// Appends a control message. Does nothing if the buffer is full.
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        // struct cmsghdr: a size_t, two ints; both header and data are aligned to a size_t.
        let header = size_of::<libc::cmsghdr>();
        let length = header + data.len();
        let end = self.at + length.next_multiple_of(size_of::<usize>());
        let Some(message) = self.bytes.get_mut(self.at..end) else {
            return;
        };
        message.fill(0);
        let word = size_of::<usize>();
        message[..word].copy_from_slice(&length.to_ne_bytes());
        message[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        message[word + 4..word + 8].copy_from_slice(&kind.to_ne_bytes());
        message[header..length].copy_from_slice(data);
        self.at = end;
    }
}

/// Calls `each` for every control message: level, type, data.
fn each_control(bytes: &[u8], mut each: impl FnMut(i32, i32, &[u8])) {
    let word = size_of::<usize>();
    let header = size_of::<libc::cmsghdr>();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + header) {
        let mut length = [0; size_of::<usize>()];
        length.copy_from_slice(&head[..word]);
        let length = usize::from_ne_bytes(length);
        let int =
            |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let Some(data) = bytes.get(at + header..at.saturating_add(length)) else {
            return;
        };
        each(int(word), int(word + 4), data);
        at += length.next_multiple_of(word);
    }
}

fn socket_address(address: IpAddr, scope: u32) -> libc::sockaddr_storage {
    // SAFETY: all zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    match address {
        IpAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage has at least the size and alignment of any socket address.
            unsafe { std::ptr::write(std::ptr::from_mut(&mut storage).cast(), address) };
        }
        IpAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.octets(),
                },
                sin6_scope_id: scope,
            };
            // SAFETY: as above.
            unsafe { std::ptr::write(std::ptr::from_mut(&mut storage).cast(), address) };
        }
    }
    storage
}

fn address_length(storage: &libc::sockaddr_storage) -> libc::socklen_t {
    if i32::from(storage.ss_family) == libc::AF_INET {
        size_of::<libc::sockaddr_in>() as libc::socklen_t
    } else {
        size_of::<libc::sockaddr_in6>() as libc::socklen_t
    }
}

impl SendBatch {
    /// Creates an empty batch.
    pub fn new() -> SendBatch {
        SendBatch {
            packets: vec![Vec::new(); SEND_BATCH],
            pattern: Vec::new(),
            addresses: vec![socket_address(Ipv4Addr::UNSPECIFIED.into(), 0); SEND_BATCH],
            controls: vec![[0; CONTROL_WORDS]; SEND_BATCH],
            control_lengths: vec![0; SEND_BATCH],
            count: 0,
        }
    }

    /// Returns the number of packets.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Adds a packet and returns the buffer that the caller writes it into. With `stamp`, the kernel
    /// reports with that ID when the packet was scheduled and when it was sent.
    ///
    /// # Panics
    /// If the batch holds [`SEND_BATCH`] packets.
    pub fn push(
        &mut self,
        to: IpAddr,
        scope: u32,
        options: &SendOptions,
        stamp: Option<u32>,
    ) -> &mut Vec<u8> {
        let at = self.count;
        self.addresses[at] = socket_address(to, scope);
        let mut control = Control {
            bytes: bytemuck::cast_slice_mut(&mut self.controls[at]),
            at: 0,
        };
        let int = |value: i32| value.to_ne_bytes();
        if to.is_ipv4() {
            if let Some(ttl) = options.ttl {
                control.put(libc::IPPROTO_IP, libc::IP_TTL, &int(ttl.into()));
            }
            if let Some(tos) = options.tos {
                control.put(libc::IPPROTO_IP, libc::IP_TOS, &int(tos.into()));
            }
            if options.ifindex != 0 || options.source.is_some() {
                // struct in_pktinfo: index, source, destination (unused when sending).
                let mut info = [0; 12];
                info[..4].copy_from_slice(&options.ifindex.to_ne_bytes());
                if let Some(IpAddr::V4(source)) = options.source {
                    info[4..8].copy_from_slice(&source.octets());
                }
                control.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
        } else {
            if let Some(ttl) = options.ttl {
                control.put(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &int(ttl.into()));
            }
            if let Some(tos) = options.tos {
                control.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &int(tos.into()));
            }
            if options.ifindex != 0 || options.source.is_some() {
                // struct in6_pktinfo: source, index.
                let mut info = [0; 20];
                if let Some(IpAddr::V6(source)) = options.source {
                    info[..16].copy_from_slice(&source.octets());
                }
                info[16..].copy_from_slice(&options.ifindex.to_ne_bytes());
                control.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
        if let Some(id) = stamp {
            let flags = libc::SOF_TIMESTAMPING_TX_SCHED | libc::SOF_TIMESTAMPING_TX_SOFTWARE;
            control.put(
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPING,
                &flags.to_ne_bytes(),
            );
            control.put(libc::SOL_SOCKET, SCM_TS_OPT_ID, &id.to_ne_bytes());
        }
        self.control_lengths[at] = control.at;
        self.count += 1;
        &mut self.packets[at]
    }

    /// Passes the packets from index `from` on to the kernel. Returns how many it accepted.
    ///
    /// # Errors
    /// The error of the first packet, if the kernel accepted none.
    pub fn send(&mut self, socket: BorrowedFd<'_>, from: usize) -> io::Result<usize> {
        // SAFETY: all zero is a valid iovec and mmsghdr: no pointer is followed where lengths are 0.
        let (mut slices, mut headers): ([libc::iovec; SEND_BATCH], [libc::mmsghdr; SEND_BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        for at in from..self.count {
            slices[at] = libc::iovec {
                iov_base: self.packets[at].as_mut_ptr().cast(),
                iov_len: self.packets[at].len(),
            };
            let header = &mut headers[at].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.addresses[at]).cast();
            header.msg_namelen = address_length(&self.addresses[at]);
            header.msg_iov = &mut slices[at];
            header.msg_iovlen = 1;
            if self.control_lengths[at] > 0 {
                header.msg_control = self.controls[at].as_mut_ptr().cast();
                header.msg_controllen = self.control_lengths[at] as _;
            }
        }
        // SAFETY: the headers from `from` to `count` point to packets, addresses and controls of this
        // object, which outlives the call.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers[from..].as_mut_ptr(),
                (self.count - from) as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Removes all packets. Their buffers are kept, and what is in them if the next ones have the same pattern.
    pub fn clear(&mut self, pattern: &[u8]) {
        self.count = 0;
        if self.pattern != pattern {
            self.pattern = pattern.to_vec();
            self.packets.iter_mut().for_each(Vec::clear);
        }
    }
}

/// A received packet.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedPacket<'a> {
    /// Bytes as raw(7) delivers them.
    pub bytes: &'a [u8],
    /// Source address.
    pub from: IpAddr,
    /// Source port; 0 for raw sockets.
    pub port: u16,
    /// Index of the receiving interface; 0 if unknown.
    pub ifindex: u32,
    /// Kernel timestamp, in nanoseconds since 1970; 0 if there is none.
    pub stamp_ns: u64,
    /// Hop limit (IPv6); 0 for IPv4.
    pub hop_limit: u8,
}

/// A send timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// ID that the packet was sent with.
    pub id: u32,
    /// `true` if the packet was passed to the queueing discipline, `false` if to the device.
    pub is_scheduled: bool,
    /// Time, in nanoseconds since 1970.
    pub stamp_ns: u64,
}

/// Buffers for received packets.
pub struct ReceiveBatch {
    buffers: Vec<u8>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    addresses: Vec<libc::sockaddr_storage>,
}

impl ReceiveBatch {
    /// Allocates the buffers.
    pub fn new() -> ReceiveBatch {
        ReceiveBatch {
            // Only the pages that packets touch are ever resident.
            buffers: vec![0; RECEIVE_BATCH * BUFFER_BYTES],
            controls: vec![[0; CONTROL_WORDS]; RECEIVE_BATCH],
            addresses: vec![socket_address(Ipv4Addr::UNSPECIFIED.into(), 0); RECEIVE_BATCH],
        }
    }

    /// Receives without waiting. Returns the lengths of the packets and of their ancillary data.
    fn call(&mut self, socket: BorrowedFd<'_>, flags: i32) -> io::Result<Vec<(usize, usize)>> {
        // SAFETY: all zero is a valid iovec and mmsghdr.
        let (mut slices, mut headers): (
            [libc::iovec; RECEIVE_BATCH],
            [libc::mmsghdr; RECEIVE_BATCH],
        ) = unsafe { (zeroed(), zeroed()) };
        for (at, buffer) in self.buffers.chunks_exact_mut(BUFFER_BYTES).enumerate() {
            slices[at] = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: BUFFER_BYTES,
            };
            let header = &mut headers[at].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.addresses[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &mut slices[at];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[at].as_mut_ptr().cast();
            header.msg_controllen = (CONTROL_WORDS * 8) as _;
        }
        // SAFETY: each header points to buffers of this object with their true length; the object
        // outlives the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE_BATCH as libc::c_uint,
                flags | libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(vec![]),
                _ => Err(error),
            };
        }
        Ok(headers[..received as usize]
            .iter()
            .map(|header| (header.msg_len as usize, header.msg_hdr.msg_controllen))
            .collect())
    }

    fn control(&self, at: usize, length: usize) -> &[u8] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.controls[at]);
        &bytes[..length.min(bytes.len())]
    }

    /// Receives packets and calls `each` for every one. Returns their number; fewer than
    /// [`RECEIVE_BATCH`] means that no more are waiting.
    ///
    /// # Errors
    /// The error of recvmmsg(2), except `WouldBlock` and `Interrupted`, which count as no packets.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        mut each: impl FnMut(&ReceivedPacket<'_>),
    ) -> io::Result<usize> {
        let received = self.call(socket, 0)?;
        for (at, (length, control_length)) in received.iter().enumerate() {
            let start = at * BUFFER_BYTES;
            let (from, port) = sender(&self.addresses[at]);
            let mut packet = ReceivedPacket {
                bytes: &self.buffers[start..start + (*length).min(BUFFER_BYTES)],
                from,
                port,
                ifindex: 0,
                stamp_ns: 0,
                hop_limit: 0,
            };
            each_control(
                self.control(at, *control_length),
                |level, kind, data| match (level, kind) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => packet.ifindex = int(data, 0) as u32,
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        packet.ifindex = int(data, 16) as u32
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                        packet.hop_limit = int(data, 0) as u8
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => packet.stamp_ns = stamp(data),
                    _ => {}
                },
            );
            each(&packet);
        }
        Ok(received.len())
    }

    /// Receives send timestamps from the error queue. Returns the number of messages.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive).
    pub fn receive_stamps(
        &mut self,
        socket: BorrowedFd<'_>,
        mut each: impl FnMut(Stamp),
    ) -> io::Result<usize> {
        let received = self.call(socket, libc::MSG_ERRQUEUE)?;
        for (at, (_, control_length)) in received.iter().enumerate() {
            let (mut when, mut which) = (0, None);
            each_control(self.control(at, *control_length), |level, kind, data| {
                match (level, kind) {
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => when = stamp(data),
                    (libc::IPPROTO_IP, libc::IP_RECVERR)
                    | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
                        // struct sock_extended_err: errno, origin, type, code, pad, info, data.
                        if data.get(4) == Some(&libc::SO_EE_ORIGIN_TIMESTAMPING) =>
                    {
                        which = Some((int(data, 8) as u32, int(data, 12) as u32));
                    }
                    _ => {}
                }
            });
            // SCM_TSTAMP_SND is 0, SCM_TSTAMP_SCHED 1 (linux/errqueue.h).
            if let (Some((kind @ 0..=1, id)), true) = (which, when != 0) {
                each(Stamp {
                    id,
                    is_scheduled: kind == 1,
                    stamp_ns: when,
                });
            }
        }
        Ok(received.len())
    }
}

fn int(data: &[u8], at: usize) -> i32 {
    data.get(at..at + 4).map_or(0, |bytes| {
        i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    })
}

/// Returns the first of three timespecs (struct scm_timestamping), the software timestamp, in nanoseconds.
fn stamp(data: &[u8]) -> u64 {
    let Some(bytes) = data.get(..16) else {
        return 0;
    };
    let long = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    long(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(long(8))
}

fn sender(storage: &libc::sockaddr_storage) -> (IpAddr, u16) {
    if i32::from(storage.ss_family) == libc::AF_INET {
        // SAFETY: the family determines the type of the address, and the storage is large enough.
        let address: libc::sockaddr_in =
            unsafe { std::ptr::read(std::ptr::from_ref(storage).cast()) };
        let from = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
        (from.into(), u16::from_be(address.sin_port))
    } else {
        // SAFETY: as above.
        let address: libc::sockaddr_in6 =
            unsafe { std::ptr::read(std::ptr::from_ref(storage).cast()) };
        let from = Ipv6Addr::from(address.sin6_addr.s6_addr);
        (from.into(), u16::from_be(address.sin6_port))
    }
}

/// Returns the number of packets dropped at a socket's full receive buffer since it was opened
/// (SO_MEMINFO, Linux 4.12); 0 on older kernels.
pub fn drops(socket: BorrowedFd<'_>) -> u64 {
    // SK_MEMINFO_DROPS is the last of nine (linux/sock_diag.h).
    let mut figures = [0u32; 9];
    let mut length = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the pointer and the length describe `figures`, which the kernel fills.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result == 0 { figures[8].into() } else { 0 }
}

/// Sets path MTU discovery (IP_MTU_DISCOVER, IPV6_MTU_DISCOVER) to an IP_PMTUDISC_ number.
pub fn set_pmtu_discovery(socket: BorrowedFd<'_>, is_ipv4: bool, mode: i32) -> io::Result<()> {
    let (level, name) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    set_option(socket, level, name, &mode)
}
