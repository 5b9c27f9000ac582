//! PURE. Socket lists of all families, in one type.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the type of a socket, states, names of protocols |
//! | `diag` | requests and replies of sock_diag(7) |
//! | `listed` | lists in /proc/net, for families without sock_diag in the kernel |
//! | `select` | queries; counts by family, type, protocol and state |

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

/// IPPROTO_TCP.
pub const TCP: u16 = 6;
/// IPPROTO_UDP.
pub const UDP: u16 = 17;
/// IPPROTO_UDPLITE.
pub const UDPLITE: u16 = 136;
/// IPPROTO_SCTP.
pub const SCTP: u16 = 132;
/// IPPROTO_MPTCP, which does not fit in the protocol field of IP.
pub const MPTCP: u16 = 262;

/// A socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// Address family (AF_).
    pub family: u8,
    /// Socket type (SOCK_).
    pub kind: u32,
    /// IP protocol, netlink protocol, or EtherType of a packet socket; 0 if the family has none.
    pub protocol: u16,
    /// Connection state.
    pub state: State,
    /// Inode number, as in the links of /proc/PID/fd; 0 without a process (TIME-WAIT) or for the kernel's own.
    pub inode: u64,
    /// User ID of its creator; `None` if the kernel does not report it.
    pub uid: Option<u32>,
    /// Index of the interface that it is bound to; 0 for any.
    pub ifindex: u32,
    /// Bytes to be read; `None` if unknown.
    pub receive_queue: Option<u64>,
    /// Bytes to be sent or acknowledged; `None` if unknown.
    pub send_queue: Option<u64>,
    /// Connections to be accepted and their maximum; `None` unless it listens.
    pub backlog: Option<(u64, u64)>,
    /// Packets dropped since it was opened because its buffer was full; `None` if unknown.
    pub drops: Option<u64>,
    /// Properties of its family.
    pub detail: Detail,
}

/// Properties of one family.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// IPv4 and IPv6. The port of a raw socket is its protocol number.
    Inet {
        /// Local address and port.
        local: SocketAddr,
        /// Peer address and port; unspecified if it is not connected.
        remote: SocketAddr,
    },
    /// AF_UNIX.
    Unix {
        /// Path, or abstract name without its leading zero byte; arbitrary bytes.
        name: Vec<u8>,
        /// Whether the name is abstract.
        is_abstract: bool,
        /// Inode number of the peer; 0 if there is none or it is unknown.
        peer: u64,
    },
    /// AF_NETLINK.
    Netlink {
        /// Port ID; 0 for the kernel.
        port: u32,
        /// Port ID of its peer.
        peer: u32,
        /// Multicast groups that it has joined, from 1.
        groups: Vec<u32>,
    },
    /// AF_PACKET.
    Packet(Packet),
    /// AF_VSOCK: context ID (CID) and port.
    Vsock {
        /// Local CID and port.
        local: (u32, u32),
        /// CID and port of the peer.
        remote: (u32, u32),
    },
    /// AF_XDP.
    Xdp {
        /// Device queue; `None` if it is not bound.
        queue: Option<u32>,
    },
}

/// Properties of a packet socket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packet {
    /// Whether the kernel delivers packets to it. With protocol 0 it receives none.
    pub is_running: bool,
    /// Indexes of interfaces that it holds in promiscuous mode; a single 0 if the kernel names none.
    pub promiscuous: Vec<u32>,
    /// Indexes of interfaces on which it receives all multicast.
    pub all_multicast: Vec<u32>,
    /// Size of its receive ring in bytes; 0 if it reads with recv(2).
    pub ring: u64,
    /// Fanout group (PACKET_FANOUT).
    pub fanout: Option<u16>,
    /// Socket filter, as far as the kernel reports it.
    pub filter: Filter,
}

/// A socket filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Not visible to the caller.
    #[default]
    Unknown,
    /// No classic filter: either none or eBPF, which sock_diag does not distinguish.
    NotClassic,
    /// No filter: it receives all packets of its protocol.
    None,
    /// Classic BPF program with this number of instructions of 8 bytes.
    Classic(u32),
    /// eBPF program, which cannot be read back.
    Extended,
}

/// Connection state of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Accepts connections.
    Listening,
    /// Connected.
    Established,
    /// Connecting (TCP: SYN sent).
    SynSent,
    /// TCP: SYN received.
    SynReceived,
    /// TCP: closed here, FIN not acknowledged.
    FinWait1,
    /// TCP: closed here, FIN acknowledged.
    FinWait2,
    /// TCP: closed by the peer only.
    CloseWait,
    /// TCP: closed by the peer and here, FIN not acknowledged.
    LastAck,
    /// Closing on both ends.
    Closing,
    /// TCP: closed, waits for late segments.
    TimeWait,
    /// TCP: bound to a port, neither listening nor connected.
    Bound,
    /// Not connected.
    Unconnected,
    /// Packet socket that receives.
    Receiving,
    /// Packet socket that does not receive.
    Idle,
    /// Unknown state number.
    Other(u8),
}

impl State {
    /// Converts a number of net/tcp_states.h, which sock_diag uses for all families except netlink and packet.
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

    /// Name as in ss(8), not abbreviated.
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
    /// Creates a socket about which nothing else is known.
    fn new(family: u8, kind: u32, state: State, detail: Detail) -> Socket {
        Socket {
            family,
            kind,
            protocol: 0,
            state,
            inode: 0,
            uid: None,
            ifindex: 0,
            receive_queue: None,
            send_queue: None,
            backlog: None,
            drops: None,
            detail,
        }
    }

    /// Local and remote address; `None` except for IPv4 and IPv6.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.detail {
            Detail::Inet { local, remote } => Some((local, remote)),
            _ => None,
        }
    }

    /// Returns whether its protocol has ports.
    pub fn has_ports(&self) -> bool {
        let is_inet = matches!(self.family, INET | INET6);
        is_inet
            && self.kind != families::RAW
            && matches!(self.protocol, TCP | UDP | UDPLITE | SCTP | MPTCP | 33)
    }

    /// Local port; `None` if it is not bound to one.
    pub fn local_port(&self) -> Option<u16> {
        let (local, _) = self.addresses()?;
        (self.has_ports() && local.port() != 0).then_some(local.port())
    }

    /// Returns whether it accepts traffic from any peer: it listens, or is a datagram socket with a port and without
    /// a peer.
    pub fn listens(&self) -> bool {
        match self.state {
            State::Listening => true,
            State::Unconnected => self.kind == families::DGRAM && self.local_port().is_some(),
            _ => false,
        }
    }

    /// Returns whether it can capture traffic of others: a packet socket, a raw IP socket, or AF_XDP.
    pub fn can_capture(&self) -> bool {
        matches!(self.family, PACKET | XDP)
            || (matches!(self.family, INET | INET6) && self.kind == families::RAW)
    }

    /// Name of its protocol; empty if the family has none.
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

    /// Short name of family and type, for example `tcp`, `tcp6`, `unix stream`, `nl route`.
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

/// Name of the protocol of a packet socket: an EtherType, or a number of the kernel's own (linux/if_ether.h).
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

/// Combines address and port. The scope of an address is the interface of the socket.
fn address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}
