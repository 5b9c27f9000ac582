//! SHELL. Netlink requests, mostly rtnetlink, in the network namespace of the thread that opens the
//! socket. None of them needs privilege.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::tc::{TcAttribute, TcMessage, TcStats2};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use netsonde_core::probe::routing::Prefix;

/// Reply timeout. The kernel normally answers immediately.
const ANSWER_MS: u16 = 500;
/// Reply timeout for changes: deleting an interface waits for all of its users.
const CHANGE_MS: u16 = 20_000;
/// Bits of the type of service that routes and rules may depend on: without those of ECN (RFC 3168).
const DSCP_MASK: u8 = 0xfc;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// NLM_F_DUMP_INTR: the list changed during the dump, so entries may be missing.
const INTERRUPTED: u16 = 0x10;

/// The route to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Index of the outgoing interface.
    pub ifindex: u32,
    /// The gateway, if there is one.
    pub gateway: Option<IpAddr>,
    /// Source address that a packet gets, unless it has one.
    pub source: Option<IpAddr>,
    /// Whether the target is this host's own address, a broadcast address or a group.
    pub kind: RouteType,
    /// Path MTU learned by the kernel, or given by the route.
    pub mtu: Option<u32>,
    /// Destinations: the target alone, unless the entry of the table was requested.
    pub destination: Option<Prefix>,
    /// Number of its table.
    pub table: u32,
}

impl Route {
    /// Returns the next hop on the way to a target: the gateway, or the target itself.
    pub fn next_hop(&self, target: IpAddr) -> IpAddr {
        self.gateway.unwrap_or(target)
    }
}

/// What a route is looked up for.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteQuery {
    /// Interface that is demanded; 0 if the route decides.
    pub ifindex: u32,
    /// Source that is demanded.
    pub source: Option<IpAddr>,
    /// Type of service or traffic class; 0 for the default.
    pub tos: u8,
    /// Whether rules that select ICMP apply, and those of this user ID; `None` for any packet.
    pub echo_of_user: Option<u32>,
    /// Whether the entry of the routing table is returned (RTM_F_FIB_MATCH), instead of the result for
    /// the target.
    pub is_entry: bool,
}

/// IFLA_IFNAME, IFLA_IFALIAS, IFLA_PROP_LIST and IFLA_ALT_IFNAME (linux/if_link.h).
const NAME: u16 = 3;
const ALIAS: u16 = 20;
const PROPERTIES: u16 = 52;
const OTHER_NAME: u16 = 53;
/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

/// Sanitizes the names in a link's message, so that it can be decoded and shown. The kernel allows
/// any byte in a name except white space, slash and colon: invalid UTF-8 would make the whole
/// message fail to decode, and control characters would reach a terminal. Such a byte becomes a
/// question mark, as in ls(1).
pub fn tame_names(message: &mut [u8]) {
    let kind = message
        .get(4..6)
        .map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    if !matches!(kind, Some(libc::RTM_NEWLINK | libc::RTM_DELLINK)) {
        return;
    }
    if let Some(attributes) = message.get_mut(HEADER + LINK_HEADER..) {
        tame(attributes, &[NAME, ALIAS, PROPERTIES]);
    }
}

fn tame(mut attributes: &mut [u8], names: &[u16]) {
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        // The upper two bits are flags (NLA_F_NESTED).
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]) & 0x3fff;
        let end = length.next_multiple_of(4).min(attributes.len());
        if length < 4 || length > attributes.len() {
            return;
        }
        let (one, rest) = attributes.split_at_mut(end);
        let value = &mut one[4..length];
        if kind == PROPERTIES && names.contains(&kind) {
            tame(value, &[OTHER_NAME]);
        } else if names.contains(&kind) {
            tame_name(value);
        }
        attributes = rest;
    }
}

/// A name that ends with a zero byte, or with the bytes.
fn tame_name(name: &mut [u8]) {
    let is_text = std::str::from_utf8(name).is_ok_and(|text| {
        let shown = text.trim_end_matches('\0');
        !shown.chars().any(char::is_control)
    });
    if is_text {
        return;
    }
    for byte in name.iter_mut() {
        if *byte != 0 && !(b' '..=b'~').contains(byte) {
            *byte = b'?';
        }
    }
}

/// A neighbor entry of the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelNeighbor {
    /// Index of the interface.
    pub ifindex: u32,
    /// Address of the neighbor.
    pub address: IpAddr,
    /// MAC address, if known.
    pub mac: Option<[u8; 6]>,
    /// State, such as REACHABLE, named as in ip-neighbour(8).
    pub state: &'static str,
    /// Whether it announces itself as a router (IPv6).
    pub router: bool,
}

/// A netlink socket, for one request at a time.
pub struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    answer_ms: u16,
}

impl Netlink {
    /// Opens a socket for rtnetlink.
    pub fn open() -> io::Result<Netlink> {
        Netlink::open_for(NETLINK_ROUTE)
    }

    /// Opens a socket for another netlink protocol.
    pub fn open_for(protocol: isize) -> io::Result<Netlink> {
        let mut socket = Socket::new(protocol)?;
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

    /// Returns the inode number of the socket, by which lists of sockets identify it.
    pub fn inode(&self) -> Option<u64> {
        let found = nix::sys::stat::fstat(self.socket.as_fd()).ok()?;
        Some(found.st_ino)
    }

    /// Sets a longer reply timeout, for requests that change something.
    pub fn patient(mut self) -> Netlink {
        self.answer_ms = CHANGE_MS;
        self
    }

    /// Sends a request, and calls `each` for every message of the reply.
    ///
    /// # Errors
    /// The error of the kernel, or `TimedOut`.
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
            let mut one = one.to_vec();
            tame_names(&mut one);
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&one);
            if let Ok(NetlinkPayload::InnerMessage(message)) = message.map(|read| read.payload) {
                each(message);
            }
        })
        .map(|_| ())
    }

    /// The same for messages that no crate supports: `each` gets their type and the bytes after the
    /// header.
    pub fn ask_raw(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.exchange(message(kind, body), flags, |kind, one| {
            each(kind, one.get(HEADER..).unwrap_or_default());
        })
        .map(|_| ())
    }

    /// Requests a list; `each` gets the bytes after the header of each entry. Returns `false` if
    /// the kernel reports that the list changed meanwhile, so that entries may be missing or
    /// duplicated.
    ///
    /// # Errors
    /// The error of the kernel, including one at the end of the list; or `TimedOut`.
    pub fn list(
        &mut self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let end = self.exchange(message(kind, body), NLM_F_DUMP, |_, one| {
            each(one.get(HEADER..).unwrap_or_default());
        })?;
        match end.code {
            0 => Ok(!end.is_interrupted),
            code => Err(io::Error::from_raw_os_error(-code)),
        }
    }

    /// Flags and sequence number have the same offset in every message (struct nlmsghdr).
    fn exchange(
        &mut self,
        mut bytes: Vec<u8>,
        flags: u16,
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<ExchangeEnd> {
        let mut end = ExchangeEnd::default();
        self.sequence += 1;
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.socket.send(&bytes, 0)?;
        loop {
            self.wait()?;
            let mut space = &mut self.buffer[..];
            let length = match self.socket.recv(&mut space, 0) {
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
                    // The rest of a reply to an abandoned request.
                    continue;
                }
                let flagged = u16::from_ne_bytes([one[6], one[7]]);
                end.is_interrupted |= flagged & INTERRUPTED != 0;
                let code = one.get(HEADER..HEADER + 4).unwrap_or(&[0; 4]);
                let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
                match i32::from(kind) {
                    libc::NLMSG_DONE => {
                        end.code = code.min(0);
                        return Ok(end);
                    }
                    libc::NLMSG_ERROR => {
                        return match code {
                            0 => Ok(end),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => each(kind, one),
                }
                if flags & NLM_F_DUMP == 0 {
                    return Ok(end);
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

    /// Returns the neighbor tables of ARP and neighbor discovery, at most `most` entries, without
    /// entries that need no resolution (groups, loopback).
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
                    all.extend(take_neighbor(&message).filter(|entry| entry.state != "NOARP"));
                }
            },
        )?;
        Ok(all)
    }

    /// Returns the entry of an address in an interface's neighbor table.
    ///
    /// # Errors
    /// `ENOENT` if there is none, or `TimedOut`.
    pub fn neighbor(&mut self, ifindex: u32, address: IpAddr) -> io::Result<NeighbourMessage> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address.is_ipv4());
        message.header.ifindex = ifindex;
        message
            .attributes
            .push(NeighbourAttribute::Destination(NeighbourAddress::from(
                address,
            )));
        let mut found = None;
        self.ask(RouteNetlinkMessage::GetNeighbour(message), 0, |answer| {
            if let RouteNetlinkMessage::NewNeighbour(neighbor) = answer {
                found = Some(neighbor);
            }
        })?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the route of a packet to `target`.
    ///
    /// # Errors
    /// The error that the send call would return for lack of a route, or `TimedOut`.
    pub fn route(&mut self, target: IpAddr, query: &RouteQuery) -> io::Result<Route> {
        let address = |of: IpAddr| match of {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        };
        let bits = if target.is_ipv4() { 32 } else { 128 };
        let RouteQuery {
            ifindex, source, ..
        } = *query;
        let mut message = RouteMessage::default();
        message.header.address_family = family(target.is_ipv4());
        message.header.tos = query.tos & DSCP_MASK;
        if query.is_entry {
            message.header.flags = RouteFlags::FibMatch;
        }
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
        if let Some(user) = query.echo_of_user {
            let protocol = if target.is_ipv4() {
                libc::IPPROTO_ICMP
            } else {
                libc::IPPROTO_ICMPV6
            };
            message.attributes.push(RouteAttribute::Uid(user));
            message
                .attributes
                .push(RouteAttribute::IpProto(protocol as u8));
        }
        let mut found = None;
        self.ask(RouteNetlinkMessage::GetRoute(message), 0, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                found = Some(take_route(&route));
            }
        })?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the prefixes of IPv4 that are routed as broadcast, of all tables. Without
    /// [`strict`](Self::strict) the kernel sends the others, too, which takes long on a router.
    ///
    /// # Errors
    /// The error of the kernel, or `TimedOut`.
    pub fn broadcast_routes(&mut self) -> io::Result<Vec<(Ipv4Addr, u8)>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Broadcast;
        let mut all = Vec::new();
        self.ask(
            RouteNetlinkMessage::GetRoute(message),
            NLM_F_DUMP,
            |answer| {
                let RouteNetlinkMessage::NewRoute(route) = answer else {
                    return;
                };
                if route.header.kind != RouteType::Broadcast {
                    return;
                }
                let to = route
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(*to),
                        _ => None,
                    });
                let to = to.unwrap_or(Ipv4Addr::UNSPECIFIED);
                all.push((to, route.header.destination_prefix_length));
            },
        )?;
        Ok(all)
    }

    /// Restricts lists to what their requests select (NETLINK_GET_STRICT_CHK). Fails before Linux 4.20.
    pub fn strict(self) -> io::Result<Netlink> {
        self.socket.set_netlink_get_strict_chk(true)?;
        Ok(self)
    }
}

pub(super) fn family(is_ipv4: bool) -> AddressFamily {
    if is_ipv4 {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

/// A queueing discipline of an interface.
pub struct Queue<'a> {
    /// Index of the interface.
    pub ifindex: u32,
    /// Its kind.
    pub kind: &'a str,
    /// Upper half of its handle, which tc(8) prints.
    pub handle: u32,
    /// Packets that it has dropped.
    pub drops: u64,
    /// Packets that wait in it.
    pub waiting: u64,
}

/// Calls `each` for every queueing discipline.
///
/// # Errors
/// The error of the kernel, or `TimedOut`.
pub fn queues(netlink: &mut Netlink, mut each: impl FnMut(Queue<'_>)) -> io::Result<()> {
    let dump = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    netlink.ask(dump, NLM_F_DUMP, |answer| {
        let RouteNetlinkMessage::NewQueueDiscipline(message) = answer else {
            return;
        };
        let mut kind = "?";
        let (mut drops, mut waiting) = (0, 0);
        for attribute in &message.attributes {
            match attribute {
                TcAttribute::Kind(name) => kind = name,
                TcAttribute::Stats2(all) => {
                    for stats in all {
                        if let TcStats2::Queue(figures) = stats {
                            (drops, waiting) = (figures.drops.into(), figures.qlen.into());
                        }
                    }
                }
                _ => {}
            }
        }
        each(Queue {
            ifindex: message.header.index as u32,
            kind,
            handle: u32::from(message.header.handle) >> 16,
            drops,
            waiting,
        });
    })
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default)]
struct ExchangeEnd {
    /// The error that ended the list, negative; 0 for none.
    code: i32,
    /// Whether the list changed during the dump.
    is_interrupted: bool,
}

/// A request; the exchange sets flags and sequence number.
fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend_from_slice(body);
    bytes
}

/// Decodes an entry; `None` if it has no address or no known state.
pub fn take_neighbor(message: &NeighbourMessage) -> Option<KernelNeighbor> {
    let state = match message.header.state {
        NeighbourState::Incomplete => "INCOMPLETE",
        NeighbourState::Reachable => "REACHABLE",
        NeighbourState::Stale => "STALE",
        NeighbourState::Delay => "DELAY",
        NeighbourState::Probe => "PROBE",
        NeighbourState::Failed => "FAILED",
        NeighbourState::Permanent => "PERMANENT",
        NeighbourState::Noarp => "NOARP",
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
        source: None,
        kind: route.header.kind,
        mtu: None,
        destination: None,
        table: route.header.table.into(),
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => taken.ifindex = *index,
            RouteAttribute::Table(table) => taken.table = *table,
            RouteAttribute::Destination(address) => {
                taken.destination = prefix(address, route.header.destination_prefix_length);
            }
            RouteAttribute::PrefSource(RouteAddress::Inet(v4)) => taken.source = Some((*v4).into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(v6)) => {
                taken.source = Some((*v6).into())
            }
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

pub(super) fn prefix(address: &RouteAddress, bits: u8) -> Option<Prefix> {
    let address = match address {
        RouteAddress::Inet(v4) => (*v4).into(),
        RouteAddress::Inet6(v6) => (*v6).into(),
        _ => return None,
    };
    Some(Prefix { address, bits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsonde_core::host::attributes::attribute;

    fn message(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + LINK_HEADER];
        bytes[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn names_are_fit_to_be_shown() {
        for (name, shown) in [
            (&b"eth0\0"[..], &b"eth0\0"[..]),
            (b"\x1b[2Jx\0", b"?[2Jx\0"),
            (b"a\xffb\0", b"a?b\0"),
            // U+009B starts a control sequence on some terminals.
            (b"a\xc2\x9bb\0", b"a??b\0"),
            ("\u{fc}ber\0".as_bytes(), "\u{fc}ber\0".as_bytes()),
        ] {
            let mtu = attribute(4, b"\xff\x1b\0\0");
            let nested = |name| attribute(PROPERTIES | 0x8000, &attribute(OTHER_NAME, name));
            let of = |name| {
                [
                    attribute(NAME, name),
                    mtu.clone(),
                    attribute(ALIAS, name),
                    nested(name),
                ]
            };
            let mut bytes = message(&of(name));
            tame_names(&mut bytes);
            assert_eq!(bytes, message(&of(shown)));
        }
    }

    #[test]
    fn lengths_that_lie_are_survived() {
        let whole = message(&[
            attribute(NAME, b"e\x1b\0"),
            attribute(PROPERTIES, &[9, 0, 53]),
        ]);
        for end in 0..whole.len() {
            tame_names(&mut whole[..end].to_vec());
            let mut wrong = whole.clone();
            wrong[end] ^= 0xff;
            tame_names(&mut wrong);
        }
    }
}
