//! SHELL. Questions to the kernel by rtnetlink, in the network namespace of the thread that opens the
//! socket. None of them needs privilege.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The kernel answers at once; this is for the day on which it does not.
const ANSWER_MS: u16 = 500;
/// The same for who changes things: deleting an interface waits for everybody who still looks at it.
const CHANGE_MS: u16 = 20_000;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The way to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Out of which interface.
    pub ifindex: u32,
    /// The router, if there is one.
    pub gateway: Option<IpAddr>,
    /// Is the target this host's own, a broadcast address or a group?
    pub kind: RouteType,
    /// Path MTU that the kernel has learnt, or that the route says.
    pub mtu: Option<u32>,
}

/// What the kernel believes of a neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelNeighbor {
    /// On which interface.
    pub ifindex: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link-layer address, where it is known.
    pub mac: Option<[u8; 6]>,
    /// Such as REACHABLE, as ip-neighbour(8) has it.
    pub state: &'static str,
    /// It says that it is a router (IPv6).
    pub router: bool,
}

/// A socket that the kernel is asked by, one question at a time.
pub struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    answer_ms: u16,
}

impl Netlink {
    /// Opens it.
    pub fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Netlink {
            socket,
            buffer: vec![0; 64 * 1024],
            sequence: 0,
            answer_ms: ANSWER_MS,
        })
    }

    /// Waits longer for answers, as to requests that change something.
    pub fn patient(mut self) -> Netlink {
        self.answer_ms = CHANGE_MS;
        self
    }

    /// Asks, and shows each message of the answer.
    ///
    /// # Errors
    /// The kernel's, or `TimedOut`.
    pub fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.exchange(bytes, flags, |_, one| {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(one);
            if let Ok(NetlinkPayload::InnerMessage(message)) = message.map(|read| read.payload) {
                each(message);
            }
        })
    }

    /// The same for messages that no crate knows: `each` gets their type and what follows the header.
    pub fn ask_raw(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(body);
        self.exchange(bytes, flags, |kind, one| {
            each(kind, one.get(HEADER..).unwrap_or_default());
        })
    }

    /// Flags and sequence number stand at the same place in every message (struct nlmsghdr).
    fn exchange(
        &mut self,
        mut bytes: Vec<u8>,
        flags: u16,
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.sequence += 1;
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.socket.send(&bytes, 0)?;
        loop {
            self.wait()?;
            let mut room = &mut self.buffer[..];
            let length = match self.socket.recv(&mut room, 0) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let mut rest = &self.buffer[..length];
            while rest.len() >= HEADER {
                let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let Some(one) = rest.get(..size).filter(|one| one.len() >= HEADER) else {
                    break;
                };
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or(&[]);
                let kind = u16::from_ne_bytes([one[4], one[5]]);
                let answers = u32::from_ne_bytes([one[8], one[9], one[10], one[11]]);
                if answers != self.sequence {
                    // What is left of a question whose answer was not waited for to its end.
                    continue;
                }
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = one.get(HEADER..HEADER + 4).unwrap_or(&[0; 4]);
                        let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
                        return match code {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => each(kind, one),
                }
                if flags & NLM_F_DUMP == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut wanted = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wanted, PollTimeout::from(self.answer_ms))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// The neighbour tables of ARP and neighbour discovery, at most so many entries; without what needs
    /// none (groups, loopback).
    pub fn neighbors(&mut self, most: usize) -> io::Result<Vec<KernelNeighbor>> {
        let mut all = Vec::new();
        let message = NeighbourMessage::default();
        self.ask(
            RouteNetlinkMessage::GetNeighbour(message),
            NLM_F_DUMP,
            |answer| {
                if let RouteNetlinkMessage::NewNeighbour(message) = answer
                    && all.len() < most
                {
                    all.extend(take_neighbor(&message));
                }
            },
        )?;
        Ok(all)
    }

    /// Which way a packet to `target` goes. 0 leaves the interface to the kernel.
    pub fn route(
        &mut self,
        target: IpAddr,
        ifindex: u32,
        source: Option<IpAddr>,
    ) -> io::Result<Route> {
        let address = |of: IpAddr| match of {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        };
        let (family, bits) = match target {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.destination_prefix_length = bits;
        message
            .attributes
            .push(RouteAttribute::Destination(address(target)));
        if let Some(source) = source.filter(|source| source.is_ipv4() == target.is_ipv4()) {
            message.header.source_prefix_length = bits;
            message
                .attributes
                .push(RouteAttribute::Source(address(source)));
        }
        if ifindex != 0 {
            message.attributes.push(RouteAttribute::Oif(ifindex));
        }
        let mut found = None;
        self.ask(RouteNetlinkMessage::GetRoute(message), 0, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                found = Some(take_route(&route));
            }
        })?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn take_neighbor(message: &NeighbourMessage) -> Option<KernelNeighbor> {
    let state = match message.header.state {
        NeighbourState::Incomplete => "INCOMPLETE",
        NeighbourState::Reachable => "REACHABLE",
        NeighbourState::Stale => "STALE",
        NeighbourState::Delay => "DELAY",
        NeighbourState::Probe => "PROBE",
        NeighbourState::Failed => "FAILED",
        NeighbourState::Permanent => "PERMANENT",
        _ => return None,
    };
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::from(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::from(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(KernelNeighbor {
        ifindex: message.header.ifindex,
        address: address?,
        mac,
        state,
        router: message.header.flags.contains(NeighbourFlags::Router),
    })
}

fn take_route(route: &RouteMessage) -> Route {
    let mut taken = Route {
        ifindex: 0,
        gateway: None,
        kind: route.header.kind,
        mtu: None,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => taken.ifindex = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => taken.gateway = Some((*v4).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => taken.gateway = Some((*v6).into()),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    if let RouteMetric::Mtu(mtu) = metric {
                        taken.mtu = (*mtu != 0).then_some(*mtu);
                    }
                }
            }
            _ => {}
        }
    }
    taken
}
