//! SHELL. The attempt to reach a port, as any program would make it: a connection that is closed without sending
//! anything, or one datagram.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netsonde_core::diagnose::target::evidence::{Outcome, PortTry};
use netsonde_core::diagnose::target::packet::{Attempt, PortSeen};
use netsonde_core::diagnose::target::subject::Protocol;
use netsonde_core::diagnose::target::{SPEAKS_FIRST, SPEAKS_WITHIN_NS};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use super::By;

/// Time for an answer to a SYN: two of them are sent within it, a second apart (tcp_syn_retries in tcp(7)).
const CONNECT: Duration = Duration::from_millis(2500);
/// Time for which an accepted connection is watched for a reset.
const WATCH: Duration = Duration::from_millis(300);
/// The same for a server that speaks first, with some to spare.
const WATCH_SPEAKER: Duration = Duration::from_nanos(SPEAKS_WITHIN_NS + 100_000_000);
/// Time for an answer to a datagram.
const DATAGRAM: Duration = Duration::from_millis(1500);
/// A question for the root's name servers, which every name server answers in some way.
const DNS_QUERY: &[u8] = &[0x6e, 0x73, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// An attempt that was made, with its socket, so that nobody else gets its port before its packets are read.
pub struct Made {
    /// How it ended.
    pub tried: PortTry,
    /// What its packets look like; `None` if it had no address.
    pub attempt: Option<Attempt>,
    _socket: Option<Socket>,
}

fn errno_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
        None => error.to_string(),
    }
}

/// Makes the attempt.
pub fn attempt(target: SocketAddr, protocol: Protocol, by: &By) -> Made {
    let start = Instant::now();
    let mut tried = PortTry {
        protocol,
        port: target.port(),
        outcome: Outcome::Silent,
        took_ns: 0,
        watched_ns: 0,
        was_reset: false,
        received_bytes: 0,
        seen: Ok(PortSeen::default()),
        queue: None,
        moved: Vec::new(),
    };
    let socket = match begin(target, protocol, by) {
        Ok(socket) => socket,
        Err(error) => {
            tried.outcome = Outcome::Failed(errno_name(&error));
            tried.took_ns = start.elapsed().as_nanos() as u64;
            return Made {
                tried,
                attempt: None,
                _socket: None,
            };
        }
    };
    let local = socket.local_addr().ok().and_then(|local| local.as_socket());
    let attempt = local.map(|local| Attempt {
        protocol,
        local: (local.ip(), local.port()),
        remote: (target.ip(), target.port()),
    });
    match protocol {
        Protocol::Tcp => connect(&socket, &mut tried, start),
        Protocol::Udp => exchange(&socket, &mut tried, start),
    }
    Made {
        tried,
        attempt,
        _socket: Some(socket),
    }
}

/// Opens a socket and begins to connect it.
fn begin(target: SocketAddr, protocol: Protocol, by: &By) -> io::Result<Socket> {
    let kind = match protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(target), kind, None)?;
    // With this option an ICMP error ends the attempt at once, instead of being tried again for minutes (ip(7)).
    if target.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
    }
    if let Some(interface) = &by.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    let of_family = |source: &IpAddr| source.is_ipv4() == target.is_ipv4();
    if let Some(source) = by.source.filter(of_family) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&target.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Waits for an event of a socket. Returns false when time is up.
fn wait(socket: &Socket, flags: PollFlags, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(socket.as_fd(), flags)];
        match poll(&mut wanted, left) {
            Ok(ready) => return Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn connect(socket: &Socket, tried: &mut PortTry, start: Instant) {
    let ready = wait(socket, PollFlags::POLLOUT, start + CONNECT);
    tried.took_ns = start.elapsed().as_nanos() as u64;
    tried.outcome = match (ready, socket.take_error()) {
        (Ok(false), _) => Outcome::Silent,
        (Ok(true), Ok(None)) => Outcome::Answered,
        // Reset before this thread saw that it was accepted: a SYN that is reset fails with ECONNREFUSED.
        (_, Ok(Some(error))) if error.kind() == io::ErrorKind::ConnectionReset => {
            tried.was_reset = true;
            Outcome::Answered
        }
        (Err(error), _) | (_, Err(error) | Ok(Some(error))) => Outcome::Failed(errno_name(&error)),
    };
    if tried.outcome != Outcome::Answered || tried.was_reset {
        return;
    }
    let accepted = Instant::now();
    let speaks = SPEAKS_FIRST.contains(&tried.port);
    let until = accepted + if speaks { WATCH_SPEAKER } else { WATCH };
    let mut room = [0; 4096];
    while let Ok(true) = wait(socket, PollFlags::POLLIN, until) {
        match (&mut &*socket).read(&mut room) {
            Ok(0) => break,
            Ok(length) => {
                tried.received_bytes += length as u64;
                if speaks {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tried.was_reset = error.kind() == io::ErrorKind::ConnectionReset;
                break;
            }
        }
    }
    tried.watched_ns = accepted.elapsed().as_nanos() as u64;
}

fn exchange(socket: &Socket, tried: &mut PortTry, start: Instant) {
    // A client of NTP, version 4 (RFC 5905, section 7.3).
    let mut ntp = [0; 48];
    ntp[0] = 0x23;
    let payload: &[u8] = match tried.port {
        53 => DNS_QUERY,
        123 => &ntp,
        _ => &[],
    };
    let mut outcome = match socket.send(payload) {
        Ok(_) => Outcome::Silent,
        Err(error) => Outcome::Failed(errno_name(&error)),
    };
    let mut room = [0; 4096];
    while outcome == Outcome::Silent
        && let Ok(true) = wait(socket, PollFlags::POLLIN, start + DATAGRAM)
    {
        outcome = match (&mut &*socket).read(&mut room) {
            Ok(length) => {
                tried.received_bytes = length as u64;
                Outcome::Answered
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Silent,
            Err(error) => Outcome::Failed(errno_name(&error)),
        };
    }
    tried.outcome = outcome;
    tried.took_ns = start.elapsed().as_nanos() as u64;
}
