//! PURE. Sockets of every family that the kernel lists, as one kind of record.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the record, states, names of protocols |
//! | `diag` | sock_diag(7): its questions and answers, byte by byte |
//! | `listed` | the same from /proc/net, where a kernel has no sock_diag for it |
//! | `select` | which sockets are asked for; counts by family, type, protocol and state |

pub mod diag;
pub mod listed;
pub mod select;

use std::net::{IpAddr, SocketAddr};

use crate::families::{self, by_number};
use crate::wire::protocol_name;

/// AF_UNIX.
pub const UNIX: u8 = 1;
/// AF_INET.
pub const INET: u8 = 2;
/// AF_INET6.
pub const INET6: u8 = 10;
/// AF_NETLINK.
pub const NETLINK: u8 = 16;
/// AF_PACKET.
pub const PACKET: u8 = 17;
/// AF_VSOCK.
pub const VSOCK: u8 = 40;
/// AF_XDP.
pub const XDP: u8 = 44;

/// IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_MPTCP.
pub const TCP: u16 = 6;
#[allow(missing_docs)]
pub const UDP: u16 = 17;
#[allow(missing_docs)]
pub const UDPLITE: u16 = 136;
#[allow(missing_docs)]
pub const SCTP: u16 = 132;
#[allow(missing_docs)]
pub const MPTCP: u16 = 262;

/// A socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// Its address family.
    pub family: u8,
    /// Its type, SOCK_STREAM and so on.
    pub kind: u32,
    /// IP protocol, netlink protocol, or EtherType of a packet socket; 0 where the family has none.
    pub protocol: u16,
    /// What it is at.
    pub state: State,
    /// Its number, as in the links of /proc/PID/fd; 0: nobody's any more (TIME-WAIT), or the kernel's.
    pub inode: u64,
    /// Who made it, where the kernel says so.
    pub uid: Option<u32>,
    /// The interface that it is bound to; 0 is any.
    pub ifindex: u32,
    /// Bytes that wait to be read.
    pub receive_queue: Option<u64>,
    /// Bytes that wait to be sent or acknowledged.
    pub send_queue: Option<u64>,
    /// Connections that wait to be accepted, and how many may, if it listens.
    pub backlog: Option<(u64, u64)>,
    /// Packets that it had no room for, since it was opened.
    pub drops: Option<u64>,
    /// What its family alone has.
    pub detail: Detail,
}

/// What a family alone has.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// IPv4 and IPv6. For raw sockets the port is the protocol's number.
    Inet {
        /// What it is bound to.
        local: SocketAddr,
        /// What it is connected to.
        remote: SocketAddr,
    },
    /// AF_UNIX.
    Unix {
        /// Path, or abstract name without its leading zero byte; none of it need be text.
        name: Vec<u8>,
        /// Is the name abstract?
        is_abstract: bool,
        /// Inode of the socket at the other end; 0: none, or unknown.
        peer: u64,
    },
    /// AF_NETLINK.
    Netlink {
        /// Its address; 0 is the kernel.
        port: u32,
        /// What it is connected to.
        peer: u32,
        /// Multicast groups that it hears.
        groups: Vec<u32>,
    },
    /// AF_PACKET.
    Packet(Packet),
    /// AF_VSOCK: context and port.
    Vsock {
        /// Its own.
        local: (u32, u32),
        /// The other end's.
        remote: (u32, u32),
    },
    /// AF_XDP.
    Xdp {
        /// Queue of the device.
        queue: Option<u32>,
    },
}

/// What a packet socket alone has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packet {
    /// Does the kernel hand it packets? Protocol 0 receives nothing.
    pub is_running: bool,
    /// Interfaces that it set promiscuous; 0: none is named (it is told for all that it has joined).
    pub promiscuous: Vec<u32>,
    /// Interfaces on which it takes all multicast.
    pub all_multicast: Vec<u32>,
    /// Bytes of its receive ring; 0: it reads with recv(2).
    pub ring: u64,
    /// Its group of sockets that share packets (PACKET_FANOUT).
    pub fanout: Option<u16>,
    /// Its filter, if the kernel told.
    pub filter: Filter,
}

/// A socket filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// The asker may not know.
    #[default]
    Unknown,
    /// No classic one: none at all, or one of eBPF, which sock_diag does not tell apart.
    NotClassic,
    /// It takes everything of its protocol.
    None,
    /// A classic BPF program of so many instructions of 8 bytes.
    Classic(u32),
    /// A program of eBPF, which can't be read back.
    Extended,
}

/// What a socket is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum State {
    Listening,
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    CloseWait,
    LastAck,
    Closing,
    TimeWait,
    Bound,
    Unconnected,
    /// Of packet sockets: it receives.
    Receiving,
    /// Of packet sockets: it receives nothing.
    Idle,
    /// A number that this program does not know.
    Other(u8),
}

impl State {
    /// By the numbers of net/tcp_states.h, which sock_diag uses for all families but netlink and packet.
    pub fn from_tcp(number: u8) -> State {
        match number {
            1 => State::Established,
            2 => State::SynSent,
            3 | 12 => State::SynReceived,
            4 => State::FinWait1,
            5 => State::FinWait2,
            6 => State::TimeWait,
            7 => State::Unconnected,
            8 => State::CloseWait,
            9 => State::LastAck,
            10 => State::Listening,
            11 => State::Closing,
            13 => State::Bound,
            other => State::Other(other),
        }
    }

    /// In the words of ss(8), written out.
    pub fn name(self) -> String {
        let name = match self {
            State::Listening => "listening",
            State::Established => "established",
            State::SynSent => "syn-sent",
            State::SynReceived => "syn-received",
            State::FinWait1 => "fin-wait-1",
            State::FinWait2 => "fin-wait-2",
            State::CloseWait => "close-wait",
            State::LastAck => "last-ack",
            State::Closing => "closing",
            State::TimeWait => "time-wait",
            State::Bound => "bound",
            State::Unconnected => "unconnected",
            State::Receiving => "receiving",
            State::Idle => "idle",
            State::Other(number) => return format!("state {number}"),
        };
        name.into()
    }
}

impl Socket {
    /// Local address and remote address, of IPv4 and IPv6.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.detail {
            Detail::Inet { local, remote } => Some((local, remote)),
            _ => None,
        }
    }

    /// Does its protocol have ports?
    pub fn has_ports(&self) -> bool {
        let is_inet = matches!(self.family, INET | INET6);
        is_inet
            && self.kind != families::RAW
            && matches!(self.protocol, TCP | UDP | UDPLITE | SCTP | MPTCP | 33)
    }

    /// Its own port, if it is bound to one.
    pub fn local_port(&self) -> Option<u16> {
        let (local, _) = self.addresses()?;
        (self.has_ports() && local.port() != 0).then_some(local.port())
    }

    /// Does it wait for others to come: a listening one, or a datagram one with a port and no peer?
    pub fn listens(&self) -> bool {
        match self.state {
            State::Listening => true,
            State::Unconnected => self.kind == families::DGRAM && self.local_port().is_some(),
            _ => false,
        }
    }

    /// Does it see packets that are not meant for it alone: a packet socket, a raw one of IP, AF_XDP?
    pub fn can_capture(&self) -> bool {
        matches!(self.family, PACKET | XDP)
            || (matches!(self.family, INET | INET6) && self.kind == families::RAW)
    }

    /// The name of its protocol; empty where the family has none.
    pub fn protocol_name(&self) -> String {
        match self.family {
            INET | INET6 if self.kind == families::RAW && self.protocol == 255 => "any".into(),
            INET | INET6 => match self.protocol {
                MPTCP => "mptcp".into(),
                256 => "smc".into(),
                number => u8::try_from(number).map_or_else(|_| number.to_string(), protocol_name),
            },
            NETLINK => {
                let found = families::NETLINK.iter().find(|(n, _)| *n == self.protocol);
                found.map_or_else(|| self.protocol.to_string(), |(_, name)| (*name).into())
            }
            PACKET => ethertype_name(self.protocol),
            _ => String::new(),
        }
    }

    /// The family and type in a few letters, as `tcp`, `tcp6`, `unix stream`, `nl route`.
    pub fn short_name(&self) -> String {
        let kind = families::type_name(self.kind);
        let kind = kind.trim_start_matches("SOCK_").to_ascii_lowercase();
        let six = if self.family == INET6 { "6" } else { "" };
        match self.family {
            INET | INET6 if self.kind == families::RAW => format!("raw{six}"),
            INET | INET6 if self.protocol == 1 => "ping".into(),
            INET | INET6 if self.protocol == 58 => "ping6".into(),
            INET | INET6 => format!("{}{six}", self.protocol_name()),
            UNIX => format!("unix {kind}"),
            NETLINK => format!("nl {}", self.protocol_name()),
            PACKET => format!("packet {kind}"),
            other => {
                let name = by_number(other).map_or("?", |family| family.name);
                let name = name.trim_start_matches("AF_").to_ascii_lowercase();
                format!("{name} {kind}")
            }
        }
    }
}

/// What a packet socket asked for: an EtherType, or one of the kernel's own numbers (linux/if_ether.h).
fn ethertype_name(number: u16) -> String {
    let name = match number {
        0 => "nothing",
        0x0001 => "802.3",
        0x0003 => "all",
        0x0004 => "802.2",
        0x0800 => "ip",
        0x0806 => "arp",
        0x8100 => "vlan",
        0x86dd => "ip6",
        0x8809 => "lacp",
        0x8847 => "mpls",
        0x8863 => "pppoe discovery",
        0x8864 => "pppoe",
        0x888e => "eapol",
        0x8892 => "profinet",
        0x88a4 => "ethercat",
        0x88a8 => "qinq",
        0x88cc => "lldp",
        0x88e1 => "homeplug",
        0x88e5 => "macsec",
        0x88f7 => "ptp",
        0x8902 => "cfm",
        0x890d => "tdls",
        0x893a => "ieee 1905",
        other => return format!("{other:#06x}"),
    };
    name.into()
}

/// An address without a scope, which is told by the interface.
fn address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}
