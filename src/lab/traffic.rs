//! SHELL. Traffic for tests and benchmarks: numbered UDP packets as fast as a core can send, and a
//! few hand-made messages. All sockets belong to the namespace of the thread.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

/// Packets per send call.
const BATCH: usize = 64;
/// Packets that wait for a processor, above which no more are sent: what exceeds net.core.netdev_max_backlog
/// (1000) is lost before it arrives, and no receiver could count it.
const BACKLOG: u64 = 500;
/// Time within which the last packets are passed on, on a machine with other traffic and much to do.
const PASSED_ON: Duration = Duration::from_secs(5);

/// Result of a generator.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Packets accepted by the kernel.
    pub packets: u64,
    /// Duration of sending.
    pub took: Duration,
}

impl Sent {
    /// Returns the rate in packets per second.
    pub fn rate(&self) -> f64 {
        self.packets as f64 / self.took.as_secs_f64()
    }
}

/// Sends `count` UDP packets of `size` bytes of payload (at least 8), which start with their number
/// as a u64 in network order, from 0. `pace` is in packets per second; `None` for the maximum.
pub fn numbered_udp(
    to: SocketAddrV4,
    count: u64,
    size: usize,
    pace: Option<u64>,
) -> io::Result<Sent> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    let address = SockaddrIn::from(to);
    send_numbered(&socket, Some(address), count, pace, |number, packet| {
        packet.resize(size.max(8), 0);
        packet[..8].copy_from_slice(&number.to_be_bytes());
    })
}

/// Sends the same packets as whole frames through a packet socket, about twice as fast, from
/// `interface` of this namespace to the host with that MAC address. The UDP checksum is 0 (RFC
/// 768).
pub fn numbered_frames(
    interface: &str,
    to_mac: [u8; 6],
    (from, to): (Ipv4Addr, SocketAddrV4),
    count: u64,
    size: usize,
    pace: Option<u64>,
) -> io::Result<Sent> {
    let size = size.max(8);
    let mut head = to_mac.to_vec();
    head.extend_from_slice(&[2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
    head.extend_from_slice(&(28 + size as u16).to_be_bytes());
    head.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
    head.extend_from_slice(&from.octets());
    head.extend_from_slice(&to.ip().octets());
    let sum = !(netsonde_core::wire::cursor::sum(&head[14..34], 0) as u16);
    head[24..26].copy_from_slice(&sum.to_be_bytes());
    head.extend_from_slice(&40_000u16.to_be_bytes());
    head.extend_from_slice(&to.port().to_be_bytes());
    head.extend_from_slice(&(8 + size as u16).to_be_bytes());
    head.extend_from_slice(&[0, 0]);
    frames(interface, count, pace, |number, packet| {
        if packet.is_empty() {
            packet.extend_from_slice(&head);
            packet.resize(42 + size, 0);
        }
        packet[42..50].copy_from_slice(&number.to_be_bytes());
    })
}

/// Sends `count` whole frames, filled by `make`, on an interface of this namespace at `pace` per
/// second.
pub fn frames(
    interface: &str,
    count: u64,
    pace: Option<u64>,
    make: impl FnMut(u64, &mut Vec<u8>),
) -> io::Result<Sent> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let index = nix::net::if_::if_nametoindex(interface)?;
    super::sys::bind_to_interface(socket.as_raw_fd(), index)?;
    send_numbered(&socket, None, count, pace, make)
}

/// Sends `count` packets, filled by `make`, through a socket.
fn send_numbered(
    socket: &impl AsRawFd,
    to: Option<SockaddrIn>,
    count: u64,
    pace: Option<u64>,
    mut make: impl FnMut(u64, &mut Vec<u8>),
) -> io::Result<Sent> {
    let mut packets: Vec<Vec<u8>> = vec![Vec::new(); BATCH];
    let backlog = File::open("/proc/net/softnet_stat").ok();
    let addresses = [to; BATCH];
    let start = Instant::now();
    let mut sent = 0u64;
    while sent < count {
        let batch = BATCH.min((count - sent) as usize);
        for (offset, packet) in packets.iter_mut().take(batch).enumerate() {
            make(sent + offset as u64, packet);
        }
        if let Some(pace) = pace {
            let due = start + Duration::from_secs_f64(sent as f64 / pace as f64);
            let early = due.saturating_duration_since(Instant::now());
            // A sleep is 50 us or more too long, which high rates cannot afford.
            if early > Duration::from_micros(300) {
                std::thread::sleep(early - Duration::from_micros(200));
            }
            while Instant::now() < due {
                std::hint::spin_loop();
            }
        }
        while waiting(backlog.as_ref()) > BACKLOG {
            std::thread::sleep(Duration::from_micros(50));
        }
        let slices: Vec<[IoSlice<'_>; 1]> = packets[..batch]
            .iter()
            .map(|packet| [IoSlice::new(packet)])
            .collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(batch, None);
        let taken = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &slices,
            &addresses[..batch],
            [],
            MsgFlags::empty(),
        );
        match taken {
            Ok(results) => sent += results.count() as u64,
            // The peer's "port unreachable" is returned as an error of the next send.
            Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ENOBUFS | nix::errno::Errno::EAGAIN) => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    let took = start.elapsed();
    // What has been sent has arrived when this returns, whatever else the processors do.
    super::wait_until(PASSED_ON, || waiting(backlog.as_ref()) == 0);
    Ok(Sent {
        packets: sent,
        took,
    })
}

/// Packets that veth pairs have passed on and no processor has taken up yet (the twelfth column, Linux 5.10 and
/// newer; `softnet_seq_show` in net/core/net-procfs.c), on the processor that has the most.
fn waiting(softnet_stat: Option<&File>) -> u64 {
    let mut room = [0; 16 * 1024];
    let length = softnet_stat.and_then(|file| file.read_at(&mut room, 0).ok());
    let text = std::str::from_utf8(&room[..length.unwrap_or(0)]).unwrap_or_default();
    let of = |line: &str| u64::from_str_radix(line.split_whitespace().nth(11)?, 16).ok();
    text.lines().filter_map(of).max().unwrap_or(0)
}

/// Sends `count` raw IPv4 packets of a protocol to one address at `pace` per second.
pub fn raw_ipv4(
    to: Ipv4Addr,
    protocol: i32,
    count: u64,
    pace: Option<u64>,
    make: impl FnMut(u64, &mut Vec<u8>),
) -> io::Result<Sent> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))?;
    send_numbered(
        &socket,
        Some(SockaddrIn::from(SocketAddrV4::new(to, 0))),
        count,
        pace,
        make,
    )
}

/// Returns an ICMP echo request with its checksum.
pub fn echo_request(id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0];
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(payload);
    let sum = !(netsonde_core::wire::cursor::sum(&packet, 0) as u16);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Returns a TCP SYN with its checksum, for a raw socket.
pub fn syn(from: Ipv4Addr, to: Ipv4Addr, source: u16, destination: u16, sequence: u32) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20);
    segment.extend_from_slice(&source.to_be_bytes());
    segment.extend_from_slice(&destination.to_be_bytes());
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&[0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = netsonde_core::wire::cursor::sum(
        &to.octets(),
        netsonde_core::wire::cursor::sum(&from.octets(), 6 + 20),
    );
    let sum = !(netsonde_core::wire::cursor::sum(&segment, pseudo) as u16);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// Returns a DNS query for the A record of `nN.example.org`.
pub fn dns_query(number: u64) -> Vec<u8> {
    let mut query = vec![
        (number >> 8) as u8,
        number as u8,
        1,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let label = format!("n{number}");
    for part in [label.as_str(), "example", "org"] {
        query.push(part.len() as u8);
        query.extend_from_slice(part.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// Sends `count` DNS queries as fast as possible.
pub fn dns_flood(to: Ipv4Addr, count: u64) -> io::Result<Sent> {
    let to = Some(SockaddrIn::from(SocketAddrV4::new(to, 53)));
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    send_numbered(&socket, to, count, None, |number, packet| {
        *packet = dns_query(number)
    })
}

/// Sends one echo request and waits for its reply. Returns the round trip, or `None` on timeout.
pub fn ping(to: IpAddr, within: Duration) -> io::Result<Option<Duration>> {
    let IpAddr::V4(to) = to else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "IPv4 only"));
    };
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    let request = echo_request(0x6e73, 1, b"netsonde lab");
    let start = Instant::now();
    socket.send_to(&request, &SocketAddr::from((to, 0)).into())?;
    let mut room = [std::mem::MaybeUninit::uninit(); 2048];
    loop {
        let left = within.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut room) {
            Ok((length, from)) => {
                let reply = length == 20 + request.len();
                if reply && from.as_socket().map(|from| from.ip()) == Some(IpAddr::V4(to)) {
                    return Ok(Some(start.elapsed()));
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Joins a group on the interface with the address `of`; the membership lasts as long as the
/// socket.
pub fn join(group: Ipv4Addr, of: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.join_multicast_v4(&group, &of)?;
    Ok(socket)
}

/// Sends a whole frame through a packet socket on the interface with that index.
pub fn send_frame(socket: &impl AsRawFd, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    super::sys::send_frame(socket.as_raw_fd(), ifindex, frame)
}
