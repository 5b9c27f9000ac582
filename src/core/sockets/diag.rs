//! PURE. Requests and replies of sock_diag(7) (linux/inet_diag.h, unix_diag.h, netlink_diag.h, packet_diag.h,
//! vm_sockets_diag.h, xdp_diag.h). Numbers are in host byte order unless a comment says network order. A reply that
//! is too short is skipped; a missing field is unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Detail, Filter, INET, INET6, MPTCP, NETLINK, PACKET, Packet, Socket, State, TCP, UDP, UDPLITE,
    UNIX, VSOCK, XDP, address,
};
use crate::families::{DGRAM, RAW, SEQPACKET, STREAM};
use crate::host::attributes::{attributes, u16_at, u32_at};

/// Type of all these messages (linux/sock_diag.h).
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// All states, including those of later kernels. TCP sockets that are only bound (since 6.8) are listed only on
/// request.
const ALL_STATES: u32 = u32::MAX;

/// Request for all sockets of a family, and for IP of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiagRequest {
    /// Address family (AF_).
    pub family: u8,
    /// IP protocol; 255 for raw sockets, 0 for other families.
    pub protocol: u16,
}

impl DiagRequest {
    /// Encodes the body of the netlink message.
    pub fn bytes(self) -> Vec<u8> {
        let word = |words: &mut Vec<u8>, value: u32| words.extend_from_slice(&value.to_ne_bytes());
        let mut body = vec![self.family, 0, 0, 0];
        match self.family {
            INET | INET6 => {
                // A number that does not fit in a byte goes into an attribute.
                body[1] = u8::try_from(self.protocol).unwrap_or(TCP as u8);
                // Requested attributes: SKMEMINFO.
                body[2] = 1 << (inet::SKMEMINFO - 1);
                word(&mut body, ALL_STATES);
                body.resize(inet::REQUEST, 0);
                if self.protocol > 255 {
                    body.extend_from_slice(&8u16.to_ne_bytes());
                    body.extend_from_slice(&inet::REQUEST_PROTOCOL.to_ne_bytes());
                    word(&mut body, self.protocol.into());
                }
            }
            UNIX | VSOCK => {
                word(&mut body, ALL_STATES);
                word(&mut body, 0);
                // Name, peer, queues, memory, user (vsock has no such selection).
                word(&mut body, 0x01 | 0x04 | 0x10 | 0x20 | 0x40);
                body.resize(24, 0);
            }
            _ => {
                let show = match self.family {
                    // Memory, groups.
                    NETLINK => {
                        body[1] = 255; // of all protocols
                        0x01 | 0x02
                    }
                    // Information, memberships, rings, fanout, memory, filter.
                    PACKET => 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x20,
                    // Information, memory.
                    _ => 0x01 | 0x08,
                };
                word(&mut body, 0);
                word(&mut body, show);
                body.resize(20, 0);
            }
        }
        body
    }

    /// Decodes a reply to this request. `None` if it is too short or of an unknown family.
    pub fn decode(self, body: &[u8]) -> Option<Socket> {
        match self.family {
            INET | INET6 => inet::decode(self.protocol, body),
            UNIX => decode_unix(body),
            NETLINK => decode_netlink(body),
            PACKET => decode_packet(body),
            VSOCK => decode_vsock(body),
            XDP => decode_xdp(body),
            _ => None,
        }
    }
}

/// Encodes the body of a request for one TCP socket: this connection, on an interface if it is bound to that.
pub fn tcp_connection(local: SocketAddr, remote: SocketAddr, ifindex: u32) -> Vec<u8> {
    let family = if local.is_ipv4() { INET } else { INET6 };
    let mut body = vec![family, TCP as u8, 0, 0];
    body.extend_from_slice(&ALL_STATES.to_ne_bytes());
    body.extend_from_slice(&local.port().to_be_bytes());
    body.extend_from_slice(&remote.port().to_be_bytes());
    for address in [local.ip(), remote.ip()] {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(v4) => octets[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => octets = v6.octets(),
        }
        body.extend_from_slice(&octets);
    }
    body.extend_from_slice(&ifindex.to_ne_bytes());
    // INET_DIAG_NOCOOKIE: any socket of these ends.
    body.resize(inet::REQUEST, 0xff);
    body
}

/// Offsets in the attribute SKMEMINFO (SK_MEMINFO_ in linux/sock_diag.h), in bytes.
const MEMORY_READ: usize = 0;
const MEMORY_WRITE: usize = 8;
const MEMORY_DROPS: usize = 32;

impl Socket {
    /// Sets queues and drops from the attribute SKMEMINFO.
    fn set_memory(&mut self, value: &[u8]) {
        self.receive_queue = u32_at(value, MEMORY_READ).map(u64::from);
        self.send_queue = u32_at(value, MEMORY_WRITE).map(u64::from);
        self.drops = u32_at(value, MEMORY_DROPS).map(u64::from);
    }
}

mod inet {
    use super::*;

    /// Size of struct inet_diag_req_v2.
    pub const REQUEST: usize = 56;
    /// Size of struct inet_diag_msg.
    const REPLY: usize = 72;
    pub const SKMEMINFO: u16 = 7;
    const PROTOCOL: u16 = 10;
    pub const REQUEST_PROTOCOL: u16 = 3;

    pub fn decode(protocol: u16, body: &[u8]) -> Option<Socket> {
        let (head, rest) = body.split_at_checked(REPLY)?;
        let (family, mut state) = (head[0], State::from_tcp(head[1]));
        if matches!(protocol, TCP | MPTCP) && state == State::Unconnected {
            // The kernel lists a TCP socket without a connection only if it is bound.
            state = State::Bound;
        }
        // Ports and addresses are in network order.
        let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let ip = |at: usize| -> Option<IpAddr> {
            if family == INET {
                let octets: [u8; 4] = head.get(at..at + 4)?.try_into().ok()?;
                return Some(Ipv4Addr::from(octets).into());
            }
            let octets: [u8; 16] = head.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        };
        let is_raw = protocol == 255;
        let detail = Detail::Inet {
            local: address(ip(8)?, port(4)),
            remote: address(ip(24)?, port(6)),
        };
        let kind = match protocol {
            255 => RAW,
            UDP | UDPLITE => DGRAM,
            crate::sockets::SCTP => SEQPACKET,
            33 => crate::families::DCCP,
            _ => STREAM,
        };
        let mut socket = Socket::new(family, kind, state, detail);
        // A raw socket has its protocol in place of the port, and in an attribute.
        socket.protocol = if is_raw { port(4) } else { protocol };
        socket.ifindex = u32_at(head, 40)?;
        let (read, write) = (u32_at(head, 56)?, u32_at(head, 60)?);
        for (kind, value) in attributes(rest) {
            match kind {
                SKMEMINFO => socket.set_memory(value),
                PROTOCOL if is_raw => {
                    let number = value.first().copied().unwrap_or(0);
                    socket.protocol = number.into();
                }
                _ => {}
            }
        }
        // For TCP these are the exact bytes not read and not acknowledged; the memory is only an approximation.
        if state == State::Listening {
            socket.backlog = Some((read.into(), write.into()));
            (socket.receive_queue, socket.send_queue) = (None, None);
        } else {
            socket.receive_queue = Some(read.into());
            socket.send_queue = Some(write.into());
        }
        socket.inode = u32_at(head, 68)?.into();
        // Without an owner (TIME-WAIT, not accepted yet) the kernel reports root or nobody.
        socket.uid = u32_at(head, 64).filter(|_| socket.inode != 0);
        Some(socket)
    }
}

fn decode_unix(body: &[u8]) -> Option<Socket> {
    let (head, rest) = body.split_at_checked(16)?;
    let (mut name, mut is_abstract, mut peer) = (Vec::new(), false, 0);
    let mut queues = None;
    let (mut uid, mut memory) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            0 => {
                is_abstract = value.first() == Some(&0);
                name = if is_abstract { &value[1..] } else { value }.to_vec();
                if !is_abstract {
                    // A path ends with a zero byte, which is not part of it.
                    name.truncate(
                        name.iter()
                            .position(|byte| *byte == 0)
                            .unwrap_or(name.len()),
                    );
                }
            }
            2 => peer = u32_at(value, 0)?.into(),
            4 => queues = u32_at(value, 0).zip(u32_at(value, 4)),
            5 => memory = Some(value),
            7 => uid = u32_at(value, 0),
            _ => {}
        }
    }
    let detail = Detail::Unix {
        name,
        is_abstract,
        peer,
    };
    let mut socket = Socket::new(UNIX, head[1].into(), State::from_tcp(head[2]), detail);
    if let Some(memory) = memory {
        socket.set_memory(memory);
    }
    if let Some((read, write)) = queues {
        if socket.state == State::Listening {
            socket.backlog = Some((read.into(), write.into()));
            (socket.receive_queue, socket.send_queue) = (None, None);
        } else {
            (socket.receive_queue, socket.send_queue) = (Some(read.into()), Some(write.into()));
        }
    }
    socket.uid = uid;
    socket.inode = u32_at(head, 4)?.into();
    Some(socket)
}

fn decode_netlink(body: &[u8]) -> Option<Socket> {
    let (head, rest) = body.split_at_checked(28)?;
    // Netlink has two states of its own; a new socket has the first state of TCP.
    let state = match head[3] {
        0 | 7 => State::Unconnected,
        1 => State::Established,
        other => State::Other(other),
    };
    let mut groups = Vec::new();
    let mut memory = None;
    for (kind, value) in attributes(rest) {
        match kind {
            0 => memory = Some(value),
            1 => groups = set_bits(value),
            _ => {}
        }
    }
    let detail = Detail::Netlink {
        port: u32_at(head, 4)?,
        peer: u32_at(head, 8)?,
        groups,
    };
    let mut socket = Socket::new(NETLINK, head[1].into(), state, detail);
    if let Some(memory) = memory {
        socket.set_memory(memory);
    }
    socket.protocol = head[2].into();
    socket.inode = u32_at(head, 16)?.into();
    Some(socket)
}

/// Numbers of the set bits, from 1 for the lowest. The kernel has an array of longs, whose lower half is first on
/// little-endian machines.
fn set_bits(value: &[u8]) -> Vec<u32> {
    let words = (0..value.len() / 4).filter_map(|at| Some((at, u32_at(value, at * 4)?)));
    let mut all = Vec::new();
    for (at, word) in words {
        let set = (0..32).filter(|bit| word & (1 << bit) != 0);
        all.extend(set.map(|bit| at as u32 * 32 + bit + 1));
    }
    all
}

/// Size of struct packet_diag_mclist.
const MEMBERSHIP: usize = 44;
/// Size of struct sock_filter.
const INSTRUCTION: usize = 8;
/// Flag PDI_RUNNING.
const RUNNING: u32 = 1;

fn decode_packet(body: &[u8]) -> Option<Socket> {
    let (head, rest) = body.split_at_checked(16)?;
    let protocol = u16_at(head, 2)?;
    let mut packet = Packet {
        filter: Filter::NotClassic,
        ..Packet::default()
    };
    let mut socket = Socket::new(
        PACKET,
        head[1].into(),
        State::Idle,
        Detail::Xdp { queue: None },
    );
    socket.protocol = protocol;
    socket.inode = u32_at(head, 4)?.into();
    for (kind, value) in attributes(rest) {
        match kind {
            0 => {
                socket.ifindex = u32_at(value, 0)?;
                packet.is_running = u32_at(value, 20)? & RUNNING != 0;
            }
            1 => {
                for entry in value.chunks_exact(MEMBERSHIP) {
                    let (Some(ifindex), Some(kind)) = (u32_at(entry, 0), u16_at(entry, 8)) else {
                        continue;
                    };
                    match kind {
                        1 => packet.promiscuous.push(ifindex),
                        2 => packet.all_multicast.push(ifindex),
                        _ => {}
                    }
                }
            }
            2 => {
                let (size, count) = (u32_at(value, 0)?, u32_at(value, 4)?);
                packet.ring = u64::from(size).saturating_mul(count.into());
            }
            4 => packet.fanout = u32_at(value, 0).map(|word| word as u16),
            5 => socket.uid = u32_at(value, 0),
            6 => socket.set_memory(value),
            // Empty if the caller may not see the filter (CAP_NET_ADMIN).
            7 => {
                packet.filter = match value.len() / INSTRUCTION {
                    0 => Filter::Unknown,
                    count => Filter::Classic(count as u32),
                }
            }
            _ => {}
        }
    }
    if packet.is_running && protocol != 0 {
        socket.state = State::Receiving;
    }
    socket.detail = Detail::Packet(packet);
    Some(socket)
}

fn decode_vsock(body: &[u8]) -> Option<Socket> {
    let word = |at: usize| u32_at(body, at);
    let detail = Detail::Vsock {
        local: (word(4)?, word(8)?),
        remote: (word(12)?, word(16)?),
    };
    let (kind, state) = (*body.get(1)?, *body.get(2)?);
    let mut socket = Socket::new(VSOCK, kind.into(), State::from_tcp(state), detail);
    socket.inode = word(20)?.into();
    Some(socket)
}

fn decode_xdp(body: &[u8]) -> Option<Socket> {
    let (head, rest) = body.split_at_checked(16)?;
    let kind = u32::from(head[1]);
    let mut queue = None;
    let (mut ifindex, mut uid, mut memory) = (0, None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            1 => (ifindex, queue) = (u32_at(value, 0)?, u32_at(value, 4)),
            2 => uid = u32_at(value, 0),
            8 => memory = Some(value),
            _ => {}
        }
    }
    let mut socket = Socket::new(XDP, kind, State::Receiving, Detail::Xdp { queue });
    if let Some(memory) = memory {
        socket.set_memory(memory);
    }
    (socket.ifindex, socket.uid) = (ifindex, uid);
    socket.inode = u32_at(head, 4)?.into();
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::attributes::attribute;
    use proptest::prelude::*;

    fn words(all: &[u32]) -> Vec<u8> {
        all.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn tcp_listener() {
        let mut body = vec![INET, 10, 0, 0];
        body.extend_from_slice(&[0, 22, 0, 0, 10, 0, 0, 1]);
        body.resize(40, 0);
        body.extend(words(&[3, 0, 0, 0, 2, 128, 1000, 4711]));
        assert_eq!(body.len(), 72);
        body.extend(attribute(7, &words(&[0, 1, 2, 3, 4, 5, 6, 7, 9])));
        let request = DiagRequest {
            family: INET,
            protocol: 6,
        };
        let socket = request.decode(&body).unwrap();
        assert_eq!(socket.state, State::Listening);
        assert_eq!(
            socket.addresses().unwrap().0,
            "10.0.0.1:22".parse().unwrap()
        );
        assert_eq!(
            (socket.backlog, socket.drops, socket.ifindex),
            (Some((2, 128)), Some(9), 3)
        );
        assert_eq!((socket.uid, socket.inode), (Some(1000), 4711));
        assert_eq!(request.bytes().len(), 56);
        // MPTCP's number does not fit into a byte.
        let bytes = DiagRequest {
            family: INET,
            protocol: MPTCP,
        }
        .bytes();
        assert_eq!(bytes.len(), 64);
        assert_eq!(u32_at(&bytes, 60), Some(262));
    }

    #[test]
    fn abstract_unix_socket() {
        let mut body = vec![UNIX, 1, 1, 0];
        body.extend(words(&[11, 0, 0]));
        body.extend(attribute(0, b"\0bus"));
        body.extend(attribute(2, &words(&[12])));
        body.extend(attribute(4, &words(&[5, 6])));
        let request = DiagRequest {
            family: UNIX,
            protocol: 0,
        };
        let socket = request.decode(&body).unwrap();
        assert_eq!(
            socket.detail,
            Detail::Unix {
                name: b"bus".to_vec(),
                is_abstract: true,
                peer: 12
            }
        );
        assert_eq!(
            (socket.receive_queue, socket.send_queue),
            (Some(5), Some(6))
        );
    }

    #[test]
    fn promiscuous_packet_socket() {
        let mut body = vec![PACKET, 3];
        body.extend_from_slice(&3u16.to_ne_bytes());
        body.extend(words(&[77, 0, 0]));
        body.extend(attribute(0, &words(&[2, 2, 0, 0, 0, RUNNING])));
        let mut membership = words(&[2, 1]);
        membership.extend_from_slice(&1u16.to_ne_bytes());
        membership.resize(MEMBERSHIP, 0);
        body.extend(attribute(1, &membership));
        body.extend(attribute(7, &[0; 32]));
        let request = DiagRequest {
            family: PACKET,
            protocol: 0,
        };
        let socket = request.decode(&body).unwrap();
        let Detail::Packet(packet) = &socket.detail else {
            panic!()
        };
        assert_eq!(packet.promiscuous, [2]);
        assert_eq!(packet.filter, Filter::Classic(4));
        let filter = |body: &[u8]| match request.decode(body).unwrap().detail {
            Detail::Packet(packet) => packet.filter,
            _ => panic!(),
        };
        assert_eq!(filter(&body[..16]), Filter::NotClassic);
        // Reply to a caller without CAP_NET_ADMIN.
        let empty = [&body[..16], &attribute(7, &[])].concat();
        assert_eq!(filter(&empty), Filter::Unknown);
        assert_eq!(
            (socket.state, socket.ifindex, socket.inode),
            (State::Receiving, 2, 77)
        );
    }

    #[test]
    fn netlink_groups_are_numbered_from_one() {
        assert_eq!(set_bits(&words(&[0b101, 1])), [1, 3, 33]);
    }

    proptest! {
        /// The kernel is trusted, but later versions may send other messages.
        #[test]
        fn arbitrary_replies_do_not_panic(family in 0u8..64, protocol in 0u16..300, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let request = DiagRequest { family, protocol };
            let _ = request.bytes();
            let _ = request.decode(&body);
        }
    }
}
