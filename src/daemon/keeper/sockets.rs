//! PRIVILEGED. Opens everything that needs privilege: the rings, the listeners and the probe
//! sockets. All properties are set before the first packet can arrive.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, SockaddrIn, SockaddrIn6, sendto};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use super::filter::{Code, IcmpSocketRole, Ring, icmp_filter, program};
use super::sys::bind_packet_to_all;
use crate::linux::option::set_option;
use crate::linux::reason;
use netsonde_core::config::Config;

/// A ring as granted by the kernel.
pub struct PacketRing {
    /// The packet socket.
    pub socket: OwnedFd,
    /// Size of a block, in bytes.
    pub block_bytes: u32,
    /// Number of blocks.
    pub blocks: u32,
}

impl PacketRing {
    /// Returns the size of the ring, in bytes.
    pub fn bytes(&self) -> usize {
        self.block_bytes as usize * self.blocks as usize
    }
}

/// What could not be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The capability is missing.
    #[error(
        "opening {what} needs CAP_NET_RAW, which this process does not have here: start it with \
         systemctl start netsonded or as root, give its unit AmbientCapabilities=CAP_NET_RAW, or \
         try it without privilege inside `unshare --user --map-root-user --net`"
    )]
    Privilege {
        /// The socket.
        what: &'static str,
    },
    /// The kernel returned another error.
    #[error("{what}: {step}: {}", reason(.error))]
    Refused {
        /// The socket.
        what: &'static str,
        /// The step.
        step: &'static str,
        /// The error.
        error: io::Error,
    },
    /// The control socket cannot be created.
    #[error("control socket {path}: {why}")]
    Control {
        /// The path.
        path: String,
        /// The reason, and what to do.
        why: String,
    },
}

pub(super) fn refused(what: &'static str, step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Error::Privilege { what },
        _ => Error::Refused { what, step, error },
    }
}

/// Block size of the control ring. A block is passed on when full or after [`RETIRE_MS`], and then
/// takes no more packets. At ordinary rates the engine may therefore be away for [`RETIRE_MS`]
/// times the number of blocks: 8 MiB are 128 of them, 2.5 s.
const CONTROL_BLOCK: u32 = 64 * 1024;
/// Block size of the bulk ring: 32 MiB are 64 of them, 1.3 s. Smaller ones would wake the engine
/// more often at the highest rates, where one holds 2,500 small packets.
const BULK_BLOCK: u32 = 512 * 1024;
/// Maximum time in milliseconds after which a block with packets is passed on. Round trips never
/// depend on it, only the delay until a packet shows. Half of it would double the cost of waking at
/// about 100,000 packets per second.
const RETIRE_MS: u32 = 20;
/// Only for a geometry check of the kernel: V3 frames have variable size.
const FRAME: u32 = 2048;

/// Opens a ring of about `bytes`, bound to all interfaces. If the kernel has too little memory,
/// half the size is tried, down to two blocks.
pub fn open_ring(ring: Ring, bytes: u64, config: &Config) -> Result<PacketRing, Error> {
    let (what, block_bytes) = match ring {
        Ring::Control => ("the control ring", CONTROL_BLOCK),
        Ring::Bulk => ("the bulk ring", BULK_BLOCK),
    };
    // Protocol 0 receives nothing before bind, so no packet can bypass the filter.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).map_err(refused(what, "socket"))?;
    set_option(
        &socket,
        libc::SOL_PACKET,
        libc::PACKET_VERSION,
        &(libc::tpacket_versions::TPACKET_V3 as libc::c_int),
    )
    .map_err(refused(what, "PACKET_VERSION (TPACKET_V3)"))?;
    let mut blocks = (bytes / u64::from(block_bytes)).max(2) as u32;
    loop {
        let request = libc::tpacket_req3 {
            tp_block_size: block_bytes,
            tp_block_nr: blocks,
            tp_frame_size: FRAME,
            tp_frame_nr: blocks * (block_bytes / FRAME),
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        match set_option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request) {
            Ok(()) => break,
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && blocks > 2 => {
                blocks = (blocks / 2).max(2);
                tracing::warn!(
                    blocks,
                    block_bytes,
                    "not enough memory for {what}: trying half of it"
                );
            }
            Err(error) => return Err(refused(what, "PACKET_RX_RING")(error)),
        }
    }
    let code = program(ring, config.recorder.snap.bytes(), &config.recorder.rule);
    attach(&socket, &code).map_err(refused(what, "filter"))?;
    bind_packet_to_all(&socket).map_err(refused(what, "bind"))?;
    Ok(PacketRing {
        socket: socket.into(),
        block_bytes,
        blocks,
    })
}

/// Attaches a filter and locks it.
pub(super) fn attach(socket: &Socket, code: &Code) -> io::Result<()> {
    let program: Vec<SockFilter> = code
        .iter()
        .map(|(code, jt, jf, k)| SockFilter::new(*code, *jt, *jf, *k))
        .collect();
    socket.attach_filter(&program)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, &1i32)
}

/// Snap length of a listener, which needs addresses and types only.
pub const LISTENER_SNAP: u32 = 128;
/// Receive queue of a listener, at most net.core.rmem_max: 1,000 pings of a burst.
const LISTENER_QUEUE: usize = 1 << 20;

/// Opens a raw socket that receives what the IP layer delivers. Returns `None` if the kernel lacks
/// the family.
pub fn open_listener(
    what: &'static str,
    domain: Domain,
    protocol: i32,
    tag: u32,
) -> Result<Option<OwnedFd>, Error> {
    let Some(socket) = open_raw(what, domain, protocol)? else {
        return Ok(None);
    };
    let code = match protocol {
        libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => icmp_filter(
            IcmpSocketRole::Listener,
            domain == Domain::IPV4,
            tag,
            LISTENER_SNAP,
        ),
        _ => vec![(0x06, 0, 0, LISTENER_SNAP)],
    };
    attach(&socket, &code).map_err(refused(what, "filter"))?;
    set_up_receiving(what, &socket, domain, LISTENER_QUEUE)?;
    Ok(Some(socket.into()))
}

/// Makes a raw socket unable to send packets with IP headers of the sender's, and so with forged
/// addresses, for all who hold it and for as long as it exists: an engine may not set the option, but
/// could hand the socket on to others.
///
/// A socket that includes headers asks for memory by a function that refuses it once sending is shut
/// down (sock_alloc_send_pskb in net/core/sock.c); otherwise raw sockets do without that function, and
/// send as before. shutdown(2) reports that the socket is not connected, but stores the direction
/// before (inet_shutdown in net/ipv4/af_inet.c).
pub fn forbid_own_headers(socket: &OwnedFd) {
    let _ = nix::sys::socket::shutdown(socket.as_raw_fd(), Shutdown::Write);
}

/// Clears the option, if others have set it: the socket sends again.
pub fn clear_own_headers(socket: &OwnedFd) {
    let _ = include_headers(socket, 0);
}

fn is_ipv6(socket: &OwnedFd) -> bool {
    let domain = SockRef::from(socket).domain();
    domain.is_ok_and(|domain| domain == Domain::IPV6)
}

fn include_headers(socket: &OwnedFd, include: i32) -> io::Result<()> {
    match is_ipv6(socket) {
        true => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_HDRINCL, &include),
        false => set_option(socket, libc::IPPROTO_IP, libc::IP_HDRINCL, &include),
    }
}

/// Makes a raw socket unable to send anything, likewise: it includes headers, and may not. Returns
/// `false` if the kernel does not do so; then the socket can send as before.
pub fn receive_only(socket: &OwnedFd) -> bool {
    forbid_own_headers(socket);
    if include_headers(socket, 1).is_ok() && is_mute(socket, is_ipv6(socket)) {
        return true;
    }
    clear_own_headers(socket);
    false
}

/// Tries to send to this host what no IP layer takes: a header longer than its packet, or of no
/// version.
fn is_mute(socket: &OwnedFd, is_ipv6: bool) -> bool {
    let mut packet = [0u8; 40];
    packet[0] = 0x4f;
    let (raw, flags) = (
        socket.as_raw_fd(),
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
    );
    let sent = if is_ipv6 {
        let this_host = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));
        sendto(raw, &packet, &this_host, flags)
    } else {
        let this_host = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        sendto(raw, &packet, &this_host, flags)
    };
    sent == Err(Errno::EPIPE)
}

/// Returns `None` if the kernel lacks the family.
pub(super) fn open_raw(
    what: &'static str,
    domain: Domain,
    protocol: i32,
) -> Result<Option<Socket>, Error> {
    match Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(None),
        Err(error) => Err(refused(what, "socket")(error)),
    }
}

/// Reports the receiving interface of each packet, and the number of drops.
pub(super) fn set_up_receiving(
    what: &'static str,
    socket: &Socket,
    domain: Domain,
    queue: usize,
) -> Result<(), Error> {
    let (level, name) = if domain == Domain::IPV6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    set_option(socket, level, name, &1i32).map_err(refused(what, "PKTINFO"))?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &1i32)
        .map_err(refused(what, "SO_RXQ_OVFL"))?;
    socket
        .set_recv_buffer_size(queue)
        .map_err(refused(what, "SO_RCVBUF"))?;
    socket
        .set_nonblocking(true)
        .map_err(refused(what, "O_NONBLOCK"))
}

/// Queues of a probe socket, at most net.core.rmem_max and wmem_max: replies to the probes of one
/// iteration, and requests that wait for ARP.
const PROBER_QUEUE: usize = 4 << 20;

/// Opens the raw socket of a family for all probes and replies. Returns `None` if the kernel lacks
/// the family.
pub fn open_prober(what: &'static str, domain: Domain, tag: u32) -> Result<Option<OwnedFd>, Error> {
    let is_ipv4 = domain == Domain::IPV4;
    let protocol = if is_ipv4 {
        libc::IPPROTO_ICMP
    } else {
        libc::IPPROTO_ICMPV6
    };
    let Some(socket) = open_raw(what, domain, protocol)? else {
        return Ok(None);
    };
    attach(
        &socket,
        &icmp_filter(IcmpSocketRole::Prober, is_ipv4, tag, u32::MAX),
    )
    .map_err(refused(what, "filter"))?;
    set_up_receiving(what, &socket, domain, PROBER_QUEUE)?;
    socket
        .set_send_buffer_size(PROBER_QUEUE)
        .map_err(refused(what, "SO_SNDBUF"))?;
    // Send timestamps are requested per packet; OPT_ID lets each packet name its own.
    let stamps = libc::SOF_TIMESTAMPING_RX_SOFTWARE
        | libc::SOF_TIMESTAMPING_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_ID
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &stamps)
        .map_err(refused(what, "SO_TIMESTAMPING"))?;
    if is_ipv4 {
        // The engine decides whether a user may.
        socket
            .set_broadcast(true)
            .map_err(refused(what, "SO_BROADCAST"))?;
    } else {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &1i32)
            .map_err(refused(what, "IPV6_RECVHOPLIMIT"))?;
    }
    Ok(Some(socket.into()))
}
