//! SHELL. Links and addresses from netlink: the interfaces, their names, and whether packets can
//! cross them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, State};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::linux::netlink::tame_names;

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// IFF_LOWER_UP (linux/if.h): there is a carrier.
const LOWER_UP: u32 = 1 << 16;
/// Receive queue for notifications, at most net.core.rmem_max: a link's message takes about 2 KiB
/// of it.
const QUEUE: usize = 4 << 20;
/// Maximum number of addresses kept per interface.
const MOST_ADDRESSES: usize = 1024;
/// Maximum time for an answer of the kernel, after which it is asked again one second later.
const ANSWER_MS: u16 = 2000;

/// A link with its addresses, as reported by netlink.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelLink {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// ARPHRD_ number.
    pub hardware: u16,
    /// IFF_ flags.
    pub flags: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Link-layer address.
    pub mac: Option<[u8; 6]>,
    /// Promiscuity count.
    pub promiscuity: u32,
    /// All-multicast count.
    pub allmulti: u32,
    /// Whether its operational state is dormant (RFC 2863).
    pub is_dormant: bool,
    /// Index of the bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Index of the device that it is on (a VLAN's parent), or of the other end of a pair, if that is in
    /// this network namespace.
    pub link: Option<u32>,
    /// Addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl KernelLink {
    /// Returns whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Returns whether it has a carrier, as the driver reports it.
    pub fn has_carrier(&self) -> bool {
        self.flags & LOWER_UP != 0
    }

    /// Returns whether packets can cross: it is set up and has a carrier. The kernel announces the
    /// operational state up to a second later (linkwatch_event in net/core/link_watch.c), and a port
    /// that waits for 802.1X is not operational at all.
    pub fn is_passing(&self) -> bool {
        self.is_up() && self.has_carrier()
    }

    /// Returns why no packet can cross it, in words that follow its name; `None` if packets can.
    pub fn problem(&self) -> Option<&'static str> {
        let has = |flag: i32| self.flags & flag as u32 != 0;
        if !has(libc::IFF_UP) {
            Some("is administratively down")
        } else if !has(libc::IFF_LOWER_UP) {
            Some("has no carrier")
        } else if self.is_dormant {
            Some("is dormant (it waits for an event such as 802.1X authentication)")
        } else if !has(libc::IFF_RUNNING) {
            Some("is not operational")
        } else {
            None
        }
    }

    /// Returns whether it is operational (RFC 2863): set up, with a carrier, and not dormant.
    pub fn is_running(&self) -> bool {
        self.is_up() && self.flags & libc::IFF_RUNNING as u32 != 0
    }
}

/// A change of links.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkChange {
    /// A link is new or has changed. This is its state at the time of the notification; it may be
    /// gone by now.
    Link(KernelLink),
    /// The addresses of a link have changed.
    Addresses(KernelLink),
    /// A link was deleted.
    Gone(u32),
}

/// The links of this network namespace.
pub struct Links {
    socket: Socket,
    known: BTreeMap<u32, KernelLink>,
    /// Number of times that notifications were lost and all links were requested again.
    pub resyncs: u64,
    /// Whether the last dump was consistent. If not, it is requested again later.
    pub is_whole: bool,
    /// Sequence number of the last request.
    sequence: u32,
    buffer: Vec<u8>,
}

impl Links {
    /// Subscribes to notifications, then requests all links.
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
            // The kernel writes at most 32 KiB of a dump into one datagram.
            buffer: vec![0; 64 * 1024],
        };
        links.resync()?;
        Ok(links)
    }

    /// Returns a descriptor of the same socket, for waiting.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Iterates over all links, by index.
    pub fn iter(&self) -> impl Iterator<Item = &KernelLink> {
        self.known.values()
    }

    /// Returns a link.
    pub fn get(&self, ifindex: u32) -> Option<&KernelLink> {
        self.known.get(&ifindex)
    }

    /// Returns its name, or `ifN` for an unknown interface.
    pub fn name(&self, ifindex: u32) -> String {
        let name = self.get(ifindex).map(|link| link.name.clone());
        name.unwrap_or_else(|| format!("if{ifindex}"))
    }

    /// Returns the index of the interface with this name.
    pub fn index_of(&self, name: &str) -> Option<u32> {
        let link = self.iter().find(|link| link.name == name);
        link.map(|link| link.ifindex)
    }

    /// Returns index and name of the interface with this name, or of all; empty if there is none.
    pub fn selected(&self, name: Option<&str>) -> BTreeMap<u32, String> {
        self.iter()
            .filter(|link| name.is_none_or(|name| link.name == name))
            .map(|link| (link.ifindex, link.name.clone()))
            .collect()
    }

    /// Returns whether this is an address of this host.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.iter()
            .any(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }

    /// Returns whether this is an address of the interface.
    pub fn has_address(&self, ifindex: u32, address: IpAddr) -> bool {
        self.known
            .get(&ifindex)
            .is_some_and(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }

    /// Requests all links and addresses, and returns the changes. If the dump is inconsistent,
    /// links missing in it are kept until the next request.
    pub fn resync(&mut self) -> io::Result<Vec<LinkChange>> {
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
        let mut changes: Vec<LinkChange> = gone.map(|index| LinkChange::Gone(*index)).collect();
        changes.extend(self.known.values().cloned().map(LinkChange::Link));
        Ok(changes)
    }

    /// Requests a dump and applies it. Returns `false` if it was inconsistent, overran or did not
    /// arrive; on a host that creates and deletes many links that is not fatal.
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

    /// Returns `true` if the dump was complete and consistent (NLM_F_DUMP_INTR), and no
    /// notification was lost meanwhile.
    fn read_dump(&mut self) -> io::Result<bool> {
        let mut whole = true;
        loop {
            self.wait()?;
            let length = match self.receive() {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // The rest of the dump is still arriving.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.resyncs += 1;
                    whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut changes = Vec::new();
            let mut done = None;
            let mut buffer = std::mem::take(&mut self.buffer);
            tame(&mut buffer[..length]);
            for message in Messages(&buffer[..length]) {
                let header = message_header(message);
                whole &= header.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match i32::from(header.kind) {
                    // The end of an abandoned dump is not the end of this one.
                    libc::NLMSG_DONE if header.sequence == self.sequence => done = Some(true),
                    // Rejected because an abandoned dump is still running.
                    libc::NLMSG_ERROR if header.sequence == self.sequence => done = Some(false),
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {}
                    _ => self.take(message, &mut changes),
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
                "no answer from the kernel on netlink",
            ));
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut room = &mut self.buffer[..];
        self.socket.recv(&mut room, 0)
    }

    /// Reads pending notifications. If the kernel had to drop some, everything is requested again.
    pub fn read_changes(&mut self) -> io::Result<Vec<LinkChange>> {
        let mut changes = Vec::new();
        loop {
            let length = match self.receive() {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.resyncs += 1;
                    changes.extend(self.resync()?);
                    // With so many changes, the dump and the notifications may have crossed.
                    self.is_whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut buffer = std::mem::take(&mut self.buffer);
            tame(&mut buffer[..length]);
            for message in Messages(&buffer[..length]) {
                self.take(message, &mut changes);
            }
            self.buffer = buffer;
        }
    }

    /// Applies one message. Unknown messages do not concern links or addresses.
    fn take(&mut self, bytes: &[u8], changes: &mut Vec<LinkChange>) {
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
                changes.push(LinkChange::Link(known.clone()));
            }
            RouteNetlinkMessage::DelLink(link) if !is_bridge_port_news(&link) => {
                let index = link.header.index;
                if self.known.remove(&index).is_some() {
                    changes.push(LinkChange::Gone(index));
                }
            }
            RouteNetlinkMessage::NewAddress(address) => {
                if let Some((index, of)) = address_of(&address)
                    && let Some(known) = self.known.get_mut(&index)
                    && !known.addresses.contains(&of)
                    && known.addresses.len() < MOST_ADDRESSES
                {
                    known.addresses.push(of);
                    changes.push(LinkChange::Addresses(known.clone()));
                }
            }
            RouteNetlinkMessage::DelAddress(address) => {
                if let Some((index, of)) = address_of(&address)
                    && let Some(known) = self.known.get_mut(&index)
                    && known.addresses.contains(&of)
                {
                    known.addresses.retain(|there| *there != of);
                    changes.push(LinkChange::Addresses(known.clone()));
                }
            }
            _ => {}
        }
    }
}

/// A bridge reports changes of its ports as links of family AF_BRIDGE. A port that leaves a bridge
/// is "deleted" there, but still exists.
fn is_bridge_port_news(link: &LinkMessage) -> bool {
    u8::from(link.header.interface_family) == libc::AF_BRIDGE as u8
}

fn take_link(known: &mut KernelLink, link: &LinkMessage) {
    known.ifindex = link.header.index;
    known.hardware = link.header.link_layer_type.into();
    known.flags = flag_bits(link.header.flags);
    known.master = None;
    known.link = None;
    let mut is_elsewhere = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => known.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => known.mtu = *mtu,
            LinkAttribute::Address(address) => known.mac = address.as_slice().try_into().ok(),
            LinkAttribute::OperState(state) => known.is_dormant = *state == State::Dormant,
            LinkAttribute::Promiscuity(holders) => known.promiscuity = *holders,
            LinkAttribute::AllMulticast(holders) => known.allmulti = *holders,
            LinkAttribute::Controller(master) => known.master = Some(*master),
            LinkAttribute::Link(link) => known.link = Some(*link),
            LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
            _ => {}
        }
    }
    if is_elsewhere {
        // An index of another network namespace.
        known.link = None;
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

/// Sanitizes the names in the messages of one datagram.
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

/// Iterates over the messages of one datagram.
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
