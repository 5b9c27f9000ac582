//! SHELL. What netlink tells of links and addresses: which interfaces there are, how they are
//! called, and whether packets can cross them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::linux::netlink::tame_names;

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// Queue of news, as far as net.core.rmem_max allows: a link's message takes about 2 KiB of it.
const QUEUE: usize = 4 << 20;
/// Addresses kept of one interface; more are counted in the answer's length only.
const MOST_ADDRESSES: usize = 1024;
/// How long the kernel may take for an answer before it is asked anew, a second later.
const ANSWER_MS: u16 = 2000;

/// A link, with its addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// ARPHRD_ number.
    pub hardware: u16,
    /// IFF_ flags.
    pub flags: u32,
    /// Bytes.
    pub mtu: u32,
    /// Link-layer address.
    pub mac: Option<[u8; 6]>,
    /// How many hold it promiscuous.
    pub promiscuity: u32,
    /// How many hold it in all-multicast mode.
    pub allmulti: u32,
    /// The bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Known {
    /// Administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Up and with a carrier: packets can cross.
    pub fn is_running(&self) -> bool {
        self.is_up() && self.flags & libc::IFF_RUNNING as u32 != 0
    }
}

/// Something that has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A link is there, is new, or is not as it was: so it was when this was told, though it may be
    /// gone by now.
    Link(Known),
    /// A link as it is, with other addresses than before.
    Addresses(Known),
    /// A link is no more.
    Gone(u32),
}

/// The links of this network namespace.
pub struct Links {
    socket: Socket,
    known: BTreeMap<u32, Known>,
    /// How often the kernel had more news than the queue held, and all was asked anew.
    pub resyncs: u64,
    /// Was the last answer to "all there is" undisturbed? If not, it is to be asked for again, when it is quieter.
    pub is_whole: bool,
    /// Number of the last question.
    sequence: u32,
    buffer: Vec<u8>,
}

impl Links {
    /// Subscribes to news, then asks for all there is.
    pub fn open() -> io::Result<Links> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_rx_buf_sz(QUEUE)?;
        socket.set_non_blocking(true)?;
        let mut links = Links {
            socket,
            known: BTreeMap::new(),
            resyncs: 0,
            is_whole: true,
            sequence: 0,
            // The kernel writes at most 32 KiB into one datagram of a dump.
            buffer: vec![0; 64 * 1024],
        };
        links.resync()?;
        Ok(links)
    }

    /// A descriptor of the same socket, to wait with.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// All links, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// One link.
    pub fn get(&self, ifindex: u32) -> Option<&Known> {
        self.known.get(&ifindex)
    }

    /// Its name, or a word for one that is not known.
    pub fn name(&self, ifindex: u32) -> String {
        let name = self.get(ifindex).map(|link| link.name.clone());
        name.unwrap_or_else(|| format!("if{ifindex}"))
    }

    /// Is it an address of this host?
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.iter()
            .any(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }

    /// Is this an address of that interface?
    pub fn has_address(&self, ifindex: u32, address: IpAddr) -> bool {
        self.known
            .get(&ifindex)
            .is_some_and(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }

    /// Forgets all and asks the kernel for everything. Returns what has changed by that. Where the answer is
    /// disturbed, what was known and is not in it stays until it is asked for again.
    pub fn resync(&mut self) -> io::Result<Vec<News>> {
        let before = std::mem::take(&mut self.known);
        let links = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let addresses = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        self.is_whole = links && addresses;
        if !self.is_whole {
            for (index, link) in &before {
                self.known.entry(*index).or_insert_with(|| link.clone());
            }
        }
        let gone = before
            .keys()
            .filter(|index| !self.known.contains_key(index));
        let mut news: Vec<News> = gone.map(|index| News::Gone(*index)).collect();
        news.extend(self.known.values().cloned().map(News::Link));
        Ok(news)
    }

    /// Asks for a list, and takes it in. `false`: it was disturbed, overran or did not come, which on a host
    /// that makes and deletes many links is no reason to end.
    fn dump(&mut self, what: RouteNetlinkMessage) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(what));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        match self.read_dump() {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            other => other,
        }
    }

    /// `true` when the dump came to its end undisturbed (NLM_F_DUMP_INTR), and no news was lost beside it.
    fn read_dump(&mut self) -> io::Result<bool> {
        let mut whole = true;
        loop {
            self.wait()?;
            let length = match self.receive() {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // The rest of the dump still comes.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.resyncs += 1;
                    whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut news = Vec::new();
            let mut done = None;
            let mut buffer = std::mem::take(&mut self.buffer);
            tame(&mut buffer[..length]);
            for message in Messages(&buffer[..length]) {
                let header = message_header(message);
                whole &= header.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match i32::from(header.kind) {
                    // The end of one that was given up is not the end of this one.
                    libc::NLMSG_DONE if header.sequence == self.sequence => done = Some(true),
                    // Refused, since one that was given up still runs.
                    libc::NLMSG_ERROR if header.sequence == self.sequence => done = Some(false),
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {}
                    _ => self.take(message, &mut news),
                }
            }
            self.buffer = buffer;
            if let Some(done) = done {
                return Ok(whole && done);
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut wanted = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wanted, PollTimeout::from(ANSWER_MS))? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the kernel does not answer on netlink",
            ));
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut room = &mut self.buffer[..];
        self.socket.recv(&mut room, 0)
    }

    /// Reads what has come. When the kernel had to drop news, everything is asked anew.
    pub fn read_news(&mut self) -> io::Result<Vec<News>> {
        let mut news = Vec::new();
        loop {
            let length = match self.receive() {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(news),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.resyncs += 1;
                    news.extend(self.resync()?);
                    // Where so much happens, the kernel's list and its news may have crossed each other.
                    self.is_whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut buffer = std::mem::take(&mut self.buffer);
            tame(&mut buffer[..length]);
            for message in Messages(&buffer[..length]) {
                self.take(message, &mut news);
            }
            self.buffer = buffer;
        }
    }

    /// Takes in one message; those that are not understood say nothing about links or addresses.
    fn take(&mut self, bytes: &[u8], news: &mut Vec<News>) {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
            return;
        };
        let NetlinkPayload::InnerMessage(message) = message.payload else {
            return;
        };
        match message {
            RouteNetlinkMessage::NewLink(link) if !is_bridge_port_news(&link) => {
                let index = link.header.index;
                let known = self.known.entry(index).or_default();
                take_link(known, &link);
                news.push(News::Link(known.clone()));
            }
            RouteNetlinkMessage::DelLink(link) if !is_bridge_port_news(&link) => {
                let index = link.header.index;
                if self.known.remove(&index).is_some() {
                    news.push(News::Gone(index));
                }
            }
            RouteNetlinkMessage::NewAddress(address) => {
                if let Some((index, of)) = address_of(&address)
                    && let Some(known) = self.known.get_mut(&index)
                    && !known.addresses.contains(&of)
                    && known.addresses.len() < MOST_ADDRESSES
                {
                    known.addresses.push(of);
                    news.push(News::Addresses(known.clone()));
                }
            }
            RouteNetlinkMessage::DelAddress(address) => {
                if let Some((index, of)) = address_of(&address)
                    && let Some(known) = self.known.get_mut(&index)
                    && known.addresses.contains(&of)
                {
                    known.addresses.retain(|there| *there != of);
                    news.push(News::Addresses(known.clone()));
                }
            }
            _ => {}
        }
    }
}

/// A bridge announces changes of its ports as links of family AF_BRIDGE; a port that leaves a
/// bridge is "deleted" there and yet stays.
fn is_bridge_port_news(link: &LinkMessage) -> bool {
    u8::from(link.header.interface_family) == libc::AF_BRIDGE as u8
}

fn take_link(known: &mut Known, link: &LinkMessage) {
    known.ifindex = link.header.index;
    known.hardware = link.header.link_layer_type.into();
    known.flags = flag_bits(link.header.flags);
    known.master = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => known.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => known.mtu = *mtu,
            LinkAttribute::Address(address) => known.mac = address.as_slice().try_into().ok(),
            LinkAttribute::Promiscuity(holders) => known.promiscuity = *holders,
            LinkAttribute::AllMulticast(holders) => known.allmulti = *holders,
            LinkAttribute::Controller(master) => known.master = Some(*master),
            _ => {}
        }
    }
}

fn flag_bits(flags: LinkFlags) -> u32 {
    flags.bits()
}

fn address_of(address: &AddressMessage) -> Option<(u32, (IpAddr, u8))> {
    let prefix = address.header.prefix_len;
    // On a point-to-point link ADDRESS is the peer's and LOCAL ours; IPv6 has only ADDRESS.
    let mut found = None;
    for attribute in &address.attributes {
        match attribute {
            AddressAttribute::Local(ip) => found = Some(*ip),
            AddressAttribute::Address(ip) if found.is_none() => found = Some(*ip),
            _ => {}
        }
    }
    Some((address.header.index, (found?, prefix)))
}

struct MessageHeader {
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// `nlmsghdr`: length, type, flags, sequence number.
fn message_header(bytes: &[u8]) -> MessageHeader {
    let word = |at: usize| {
        bytes
            .get(at..at + 4)
            .map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    };
    let half = |at: usize| {
        bytes
            .get(at..at + 2)
            .map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
    };
    MessageHeader {
        length: word(0) as usize,
        kind: half(4),
        flags: half(6),
        sequence: word(8),
    }
}

/// Makes the names in the messages of one datagram fit to be shown.
fn tame(mut rest: &mut [u8]) {
    loop {
        let length = message_header(rest).length;
        if length < 16 || length > rest.len() {
            return;
        }
        let (one, others) = rest.split_at_mut(length.next_multiple_of(4).min(rest.len()));
        tame_names(&mut one[..length]);
        rest = others;
    }
}

/// The messages of one datagram.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = message_header(self.0).length;
        if length < 16 {
            return None;
        }
        let message = self.0.get(..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}
