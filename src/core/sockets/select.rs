//! PURE. Selection of sockets, and counts by family, type, protocol and state.

use std::collections::BTreeMap;

use super::{Detail, INET, INET6, MPTCP, PACKET, Socket, State, TCP, UDP, UDPLITE, UNIX};
use crate::families::RAW;

/// A class of sockets, as the options of ss(8) name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketClass {
    /// TCP and MPTCP, `-t`.
    Tcp,
    /// UDP and UDP-Lite, `-u`.
    Udp,
    /// Raw sockets of IPv4 and IPv6, `-w`.
    Raw,
    /// Unix sockets, `-x`.
    Unix,
    /// Packet sockets, `-0`.
    Packet,
}

impl SocketClass {
    fn holds(self, socket: &Socket) -> bool {
        let is_ip = matches!(socket.family, INET | INET6);
        match self {
            SocketClass::Tcp => {
                is_ip && matches!(socket.protocol, TCP | MPTCP) && socket.kind != RAW
            }
            SocketClass::Udp => {
                is_ip && matches!(socket.protocol, UDP | UDPLITE) && socket.kind != RAW
            }
            SocketClass::Raw => is_ip && socket.kind == RAW,
            SocketClass::Unix => socket.family == UNIX,
            SocketClass::Packet => socket.family == PACKET,
        }
    }
}

/// Conditions that a socket must meet. `false` and `None` mean no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketQuery {
    /// Only sockets that accept traffic from any peer.
    pub listening: bool,
    /// Only sockets that can capture traffic of others.
    pub sniffing: bool,
    /// Address family (AF_).
    pub family: Option<u8>,
    /// Socket type (SOCK_).
    pub kind: Option<u32>,
    /// Any of these classes; empty for all.
    pub classes: Vec<SocketClass>,
    /// Port of either end.
    pub port: Option<u32>,
}

impl SocketQuery {
    /// Returns whether a socket meets all conditions.
    pub fn matches(&self, socket: &Socket) -> bool {
        (!self.listening || socket.listens())
            && (!self.sniffing || socket.can_capture())
            && self.family.is_none_or(|family| family == socket.family)
            && self.kind.is_none_or(|kind| kind == socket.kind)
            && (self.classes.is_empty() || self.classes.iter().any(|class| class.holds(socket)))
            && self.port.is_none_or(|port| has_port(socket, port))
    }
}

fn has_port(socket: &Socket, port: u32) -> bool {
    match &socket.detail {
        Detail::Inet { local, remote } => {
            let matches = |number: u16| u32::from(number) == port;
            socket.has_ports() && (matches(local.port()) || matches(remote.port()))
        }
        Detail::Vsock { local, remote } => local.1 == port || remote.1 == port,
        _ => false,
    }
}

/// Number of sockets of one family, type and protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Address family (AF_).
    pub family: u8,
    /// Socket type (SOCK_).
    pub kind: u32,
    /// Name of the protocol; empty for families without one, and for packet sockets, which have many.
    pub protocol: String,
    /// Number of sockets.
    pub sockets: u64,
    /// Number of sockets by state, in the order of a connection's life.
    pub states: BTreeMap<State, u64>,
}

/// Counts sockets by family, type and protocol.
pub fn count<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Vec<Count> {
    let mut all: BTreeMap<(u8, u32, String), Count> = BTreeMap::new();
    for socket in sockets {
        let protocol = match socket.family {
            PACKET => String::new(),
            _ => socket.protocol_name(),
        };
        let key = (socket.family, socket.kind, protocol.clone());
        let count = all.entry(key).or_insert_with(|| Count {
            family: socket.family,
            kind: socket.kind,
            protocol,
            sockets: 0,
            states: BTreeMap::new(),
        });
        count.sockets += 1;
        *count.states.entry(socket.state).or_default() += 1;
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::listed;

    fn some() -> Vec<Socket> {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 5 1 0 1\n\
            \x20  1: 0100007F:0016 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 6 1 0 1\n";
        let mut all = listed::inet(text, 6);
        let text = "sl\n 12: 0101010A:0035 00000000:0000 07 00000000:00000900 00:00000000 00000000  1000        0 4711 2 0 29\n";
        all.extend(listed::inet(text, 17));
        let text = "sl\n 1: 00000000:0016 00000000:0000 07 00000000:00000000 00:00000000 00000000  0        0 9 2 0 0\n";
        all.extend(listed::inet(text, 255));
        all
    }

    #[test]
    fn queries_select_matching_sockets() {
        let all = some();
        let inodes = |query: SocketQuery| -> Vec<u64> {
            let found = all.iter().filter(|socket| query.matches(socket));
            found.map(|socket| socket.inode).collect()
        };
        let any = SocketQuery::default();
        assert_eq!(inodes(any.clone()), [5, 6, 4711, 9]);
        assert_eq!(
            inodes(SocketQuery {
                listening: true,
                ..any.clone()
            }),
            [5, 4711]
        );
        // Protocol 22 of the raw socket is not a port.
        assert_eq!(
            inodes(SocketQuery {
                port: Some(22),
                ..any.clone()
            }),
            [5, 6]
        );
        assert_eq!(
            inodes(SocketQuery {
                sniffing: true,
                ..any.clone()
            }),
            [9]
        );
        assert_eq!(
            inodes(SocketQuery {
                kind: Some(2),
                ..any
            }),
            [4711]
        );
    }

    #[test]
    fn sockets_are_counted_by_protocol_and_state() {
        let counts = count(&some());
        let tcp = counts.iter().find(|count| count.protocol == "tcp").unwrap();
        assert_eq!(tcp.sockets, 2);
        assert_eq!(tcp.states[&State::Established], 1);
        assert_eq!(counts.len(), 3);
    }
}
