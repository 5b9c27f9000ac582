//! PRIVILEGED. Packets of probes by TCP and UDP. The raw sockets that send them stay here: an engine gets none
//! with which it could send a segment of its own, it requests probes by numbers (`channel/sending.rs`). The kernel
//! writes the IP header, and refuses a source that is not this host's.
//!
//! The sockets receive nothing, at no cost for the traffic of the host: a raw socket of TCP would otherwise get a
//! copy of every segment before its filter is asked, so each is bound to an address to which nothing is delivered.
//! Source ports are reserved by sockets that are bound to them, so that no program gets them and no reply disturbs
//! one. The engine gets those of UDP, to receive the replies; they cannot send.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, Shutdown, SockaddrIn, SockaddrIn6, sendmsg, sendto,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::sockets::{Error, attach, open_raw, refused, set_up_receiving};
use crate::daemon::channel::sending::{LIMITED, ProbeRequest};
use crate::linux::monotonic_ns;
use crate::linux::option::set_option;
use netsonde_core::config::PingSettings;
use netsonde_core::probe::TokenBucket;
use netsonde_core::probe::transport::{
    Endpoints, LEAST_PAYLOAD, LIVING_HEADER, MAX_FLOW_LABEL, MOST_PAYLOAD, SourcePorts, TCP_HEADER,
    UDP_HEADER,
};

/// A group that no host may join, and to which no packet is delivered (RFC 5771, section 4; RFC 4291, section 2.7:
/// scope 0). A socket bound to it receives nothing.
const NOWHERE: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(224, 0, 0, 0),
    Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
);
/// Send queue of each raw socket, at most net.core.wmem_max: probes that wait for ARP.
const SEND_QUEUE: usize = 4 << 20;
/// Receive queue of a reserved UDP socket: some hundred replies, until the engine reads them.
const DATAGRAM_QUEUE: usize = 1 << 17;
/// Bytes of a reply that are received: those with the token, behind the UDP header.
pub const DATAGRAM_SNAP: u32 = 64;
/// Part of a second whose packets the limit lets pass at once: an engine paces itself, but its requests wait in the
/// channel while this process does not run.
const BURST: f64 = 0.25;
/// IPV6_FLOWINFO_SEND (linux/in6.h): the flow label of an address is used.
const FLOWINFO_SEND: i32 = 33;

/// Sockets that reserve source ports, and those that send.
pub struct Sender {
    /// Raw sockets of TCP and UDP, each for IPv4 and IPv6; `None` if the kernel lacks the family.
    raw: [[Option<OwnedFd>; 2]; 2],
    /// Never used: they keep their ports.
    _tcp: Vec<OwnedFd>,
    /// Sockets of the UDP ports, for the engine.
    pub datagrams: Vec<OwnedFd>,
    /// The reserved ports.
    pub ports: SourcePorts,
    /// Secret part of the flow labels, so that each flow has one of its own.
    label: u32,
    limits: (u64, u64),
    packets: TokenBucket,
    bytes: TokenBucket,
    packet: Vec<u8>,
}

impl Sender {
    /// Opens all sockets.
    ///
    /// # Errors
    /// The missing privilege, or an error of the kernel.
    pub fn open(limits: &PingSettings, label: u32) -> Result<Sender, Error> {
        let raw = |protocol| -> Result<[Option<OwnedFd>; 2], Error> {
            Ok([
                open_sending(Domain::IPV4, protocol)?,
                open_sending(Domain::IPV6, protocol)?,
            ])
        };
        let (mut ports, mut tcp, mut datagrams) = (SourcePorts::default(), vec![], vec![]);
        for port in &mut ports.tcp {
            let socket = reserve(Type::STREAM, Protocol::TCP)?;
            *port = local_port(&socket);
            tcp.push(socket.into());
        }
        for port in &mut ports.udp {
            let socket = reserve(Type::DGRAM, Protocol::UDP)?;
            *port = local_port(&socket);
            datagrams.push(socket.into());
        }
        let mut sender = Sender {
            raw: [raw(libc::IPPROTO_TCP)?, raw(libc::IPPROTO_UDP)?],
            _tcp: tcp,
            datagrams,
            ports,
            label,
            limits: (0, 0),
            packets: TokenBucket::new(1, 0),
            bytes: TokenBucket::new(1, 0),
            packet: Vec::with_capacity(MOST_PAYLOAD + UDP_HEADER),
        };
        sender.set_limits(limits);
        Ok(sender)
    }

    /// Applies the limits of the configuration. Unchanged ones go on, so that reloads give nothing.
    pub fn set_limits(&mut self, limits: &PingSettings) {
        let (rate, byte_rate) = (limits.rate, limits.byte_rate.0);
        if self.limits == (rate, byte_rate) {
            return;
        }
        let bucket = |rate: u64, least: f64| {
            let depth = (rate as f64 * BURST).max(least);
            TokenBucket::with_depth(rate, depth, monotonic_ns())
        };
        self.limits = (rate, byte_rate);
        self.packets = bucket(rate, 64.0);
        self.bytes = bucket(byte_rate, 2.0 * MOST_PAYLOAD as f64);
    }

    /// Sends a probe. Returns 0 or an error number, and the monotonic time right before the call.
    pub fn send(&mut self, request: &ProbeRequest) -> (i32, u64) {
        let now_ns = monotonic_ns();
        let Some(wanted) = check(request, &self.ports) else {
            return (libc::EINVAL, now_ns);
        };
        let size = match request.protocol {
            6 if request.lives == 1 => LIVING_HEADER,
            6 => TCP_HEADER,
            _ => UDP_HEADER + usize::from(request.size),
        };
        if self.packets.available(now_ns) == 0 || self.bytes.available(now_ns) < size {
            return (LIMITED, now_ns);
        }
        self.packets.consume(1);
        self.bytes.consume(size);
        let lives = request.lives == 1;
        let packet = &mut self.packet;
        match request.protocol {
            6 => wanted.write_tcp(packet, &request.token, lives),
            _ => wanted.write_udp(packet, &request.token, request.size.into()),
        }
        let is_ipv6 = wanted.target.is_ipv6();
        let socket = &self.raw[usize::from(request.protocol == 17)][usize::from(is_ipv6)];
        let Some(socket) = socket else {
            return (libc::EAFNOSUPPORT, now_ns);
        };
        let label = match lives {
            true => request.flow_label,
            false => {
                let label = self.label ^ u32::from(wanted.source_port).wrapping_mul(0x9e37_79b1);
                (label & MAX_FLOW_LABEL) | 1
            }
        };
        let sent_ns = monotonic_ns();
        let sent = submit(socket, &self.packet, &wanted, request, label);
        (sent.err().map_or(0, |errno| errno as i32), sent_ns)
    }
}

/// Returns addresses and ports of a request; `None` if it is not one that an engine has reason to make.
fn check(request: &ProbeRequest, ports: &SourcePorts) -> Option<Endpoints> {
    let address = |bytes: &[u8; 16]| match request.family {
        4 => {
            let v4 = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
            let is_padded = bytes[4..].iter().all(|byte| *byte == 0);
            is_padded.then_some(IpAddr::V4(v4))
        }
        6 => {
            let v6 = Ipv6Addr::from(*bytes);
            // Such a packet would be one of IPv4.
            v6.to_ipv4_mapped().is_none().then_some(IpAddr::V6(v6))
        }
        _ => None,
    };
    let is_host = |address: &IpAddr| {
        let is_reserved = match address {
            // "This network", and what no host has (RFC 6890), with the limited broadcast address.
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 240,
            IpAddr::V6(_) => false,
        };
        !address.is_unspecified() && !address.is_multicast() && !is_reserved
    };
    let target = address(&request.target).filter(is_host)?;
    let source = address(&request.source).filter(is_host)?;
    let size = usize::from(request.size);
    let (own, is_sized): (&[u16], bool) = match request.protocol {
        6 => (&ports.tcp, size == 0),
        17 => (&ports.udp, (LEAST_PAYLOAD..=MOST_PAYLOAD).contains(&size)),
        _ => return None,
    };
    let source_port = match request.lives {
        0 if request.flow_label == 0 => *own.get(usize::from(request.flow))?,
        // Of a connection nothing but the TTL is probed.
        1 if request.protocol == 6
            && request.hop_limit != 0
            && request.flow_label <= MAX_FLOW_LABEL
            && (request.flow_label == 0 || target.is_ipv6()) =>
        {
            request.flow
        }
        _ => return None,
    };
    let is_whole = request.port != 0 && source_port != 0 && request.reserved == 0;
    (is_sized && is_whole).then_some(Endpoints {
        source,
        target,
        source_port,
        port: request.port,
    })
}

fn submit(
    socket: &OwnedFd,
    packet: &[u8],
    wanted: &Endpoints,
    request: &ProbeRequest,
    label: u32,
) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let (raw, slices) = (socket.as_raw_fd(), [IoSlice::new(packet)]);
    let hop_limit = i32::from(request.hop_limit);
    let class = i32::from(request.traffic_class);
    match (wanted.source, wanted.target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: request.ifindex as i32,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(source.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let mut controls = vec![
                ControlMessage::Ipv4PacketInfo(&info),
                ControlMessage::Ipv4Tos(&request.traffic_class),
            ];
            if hop_limit != 0 {
                controls.push(ControlMessage::Ipv4Ttl(&hop_limit));
            }
            let to = SockaddrIn::from(SocketAddrV4::new(target, 0));
            sendmsg(raw, &slices, &controls, flags, Some(&to))
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: source.octets(),
                },
                ipi6_ifindex: request.ifindex as _,
            };
            let mut controls = vec![
                ControlMessage::Ipv6PacketInfo(&info),
                ControlMessage::Ipv6TClass(&class),
            ];
            if hop_limit != 0 {
                controls.push(ControlMessage::Ipv6HopLimit(&hop_limit));
            }
            let scope = match target.is_unicast_link_local() {
                true => request.ifindex,
                false => 0,
            };
            let to = SocketAddrV6::new(target, 0, label.to_be(), scope);
            sendmsg(raw, &slices, &controls, flags, Some(&SockaddrIn6::from(to)))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Opens a raw socket that sends and receives nothing.
fn open_sending(domain: Domain, protocol: i32) -> Result<Option<OwnedFd>, Error> {
    let what = match protocol {
        libc::IPPROTO_TCP => "the raw socket for probes by TCP",
        _ => "the raw socket for probes by UDP",
    };
    // Until it is bound it receives like any other; the filter comes first.
    let Some(socket) = open_raw(what, domain, protocol)? else {
        return Ok(None);
    };
    attach(&socket, &vec![(0x06, 0, 0, 0)]).map_err(refused(what, "filter"))?;
    let nowhere: SocketAddr = match domain {
        Domain::IPV4 => SocketAddrV4::new(NOWHERE.0, 0).into(),
        _ => SocketAddrV6::new(NOWHERE.1, 0, 0, 0).into(),
    };
    socket
        .bind(&nowhere.into())
        .map_err(refused(what, "bind"))?;
    if domain == Domain::IPV4 {
        // The kernel numbers packets that must not be fragmented on connected sockets only, with a counter that
        // begins at random (ip_select_ident_segs in include/net/ip.h). To the unspecified address it connects
        // without a look at the routes, if the loopback interface is up; without, quotes of 28 bytes of a datagram
        // are not believed.
        let _ = socket.connect(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into());
    }
    let probe = libc::IP_PMTUDISC_PROBE;
    let set = |level, name, value: i32| {
        set_option(&socket, level, name, &value).map_err(refused(what, "options"))
    };
    if domain == Domain::IPV4 {
        set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
    } else {
        set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        set(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
        set(libc::IPPROTO_IPV6, FLOWINFO_SEND, 1)?;
    }
    socket
        .set_send_buffer_size(SEND_QUEUE)
        .and_then(|()| socket.set_nonblocking(true))
        .map_err(refused(what, "buffers"))?;
    Ok(Some(socket.into()))
}

/// Binds a socket to a free port of all addresses, of both families where the kernel has IPv6.
fn reserve(kind: Type, protocol: Protocol) -> Result<Socket, Error> {
    let what = "a port for probes by TCP and UDP";
    let open = |domain| Socket::new(domain, kind, Some(protocol));
    let (socket, domain) = match open(Domain::IPV6) {
        Ok(socket) => (socket, Domain::IPV6),
        Err(_) => {
            let socket = open(Domain::IPV4).map_err(refused(what, "socket"))?;
            (socket, Domain::IPV4)
        }
    };
    let any: SocketAddr = match domain {
        Domain::IPV4 => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into(),
        _ => SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0).into(),
    };
    if domain == Domain::IPV6 {
        socket
            .set_only_v6(false)
            .map_err(refused(what, "IPV6_V6ONLY"))?;
    }
    if kind == Type::DGRAM {
        attach(&socket, &vec![(0x06, 0, 0, DATAGRAM_SNAP)]).map_err(refused(what, "filter"))?;
        set_up_receiving(what, &socket, domain, DATAGRAM_QUEUE)?;
        let stamps = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &stamps)
            .map_err(refused(what, "SO_TIMESTAMPING"))?;
    }
    socket.bind(&any.into()).map_err(refused(what, "bind"))?;
    if kind == Type::DGRAM && !mute(&socket) {
        return Err(refused(what, "shutdown")(io::Error::other(
            "the socket can send all the same",
        )));
    }
    Ok(socket)
}

/// Makes a datagram socket unable to send, for all who hold it and for as long as it exists: shutdown(2) reports
/// that the socket is not connected, but stores the direction before (inet_shutdown in net/ipv4/af_inet.c), and the
/// memory of a packet is then refused (sock_alloc_send_pskb in net/core/sock.c). Returns whether it is so.
fn mute(socket: &Socket) -> bool {
    let _ = nix::sys::socket::shutdown(socket.as_raw_fd(), Shutdown::Write);
    // To itself, where nothing but this socket can receive it.
    let is_ipv6 = SockRef::from(socket)
        .domain()
        .is_ok_and(|domain| domain == Domain::IPV6);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let port = local_port(socket);
    let raw = socket.as_raw_fd();
    let sent = match is_ipv6 {
        true => {
            let own = SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0);
            sendto(raw, &[0], &SockaddrIn6::from(own), flags)
        }
        false => {
            let own = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            sendto(raw, &[0], &SockaddrIn::from(own), flags)
        }
    };
    // EPIPE, or, where the loopback interface is down, the error of the route.
    sent.is_err()
}

fn local_port(socket: &Socket) -> u16 {
    let bound = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket());
    bound.map_or(0, |address| address.port())
}
