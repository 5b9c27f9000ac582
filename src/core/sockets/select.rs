//! PURE. Which sockets are asked for, and how many there are of each sort.

use std::collections::BTreeMap;

use super::{Detail, Socket, State};

/// What a socket must be; what is not named is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketQuery {
    /// It waits for others to come.
    pub listening: bool,
    /// It sees what is not meant for it alone.
    pub sniffing: bool,
    /// Address family.
    pub family: Option<u8>,
    /// Type.
    pub kind: Option<u32>,
    /// Port at either end.
    pub port: Option<u32>,
}

impl SocketQuery {
    /// Is it such a one?
    pub fn matches(&self, socket: &Socket) -> bool {
        (!self.listening || socket.listens())
            && (!self.sniffing || socket.can_capture())
            && self.family.is_none_or(|family| family == socket.family)
            && self.kind.is_none_or(|kind| kind == socket.kind)
            && self.port.is_none_or(|port| has_port(socket, port))
    }
}

fn has_port(socket: &Socket, port: u32) -> bool {
    match &socket.detail {
        Detail::Inet { local, remote } => {
            let is_port = |of: u16| u32::from(of) == port;
            socket.has_ports() && (is_port(local.port()) || is_port(remote.port()))
        }
        Detail::Vsock { local, remote } => local.1 == port || remote.1 == port,
        _ => false,
    }
}

/// How many sockets of a sort there are, by state.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Address family.
    pub family: u8,
    /// Type.
    pub kind: u32,
    /// The protocol's name; empty for families without, and for packet sockets, whose protocols are many.
    pub protocol: String,
    /// All of them.
    pub sockets: u64,
    /// By state, in the order of a connection's life.
    pub states: BTreeMap<State, u64>,
}

/// Counts by family, type and protocol.
pub fn count<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Vec<Count> {
    let mut all: BTreeMap<(u8, u32, String), Count> = BTreeMap::new();
    for socket in sockets {
        let protocol = match socket.family {
            super::PACKET => String::new(),
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
    fn what_is_asked_for_is_what_comes() {
        let all = some();
        let inodes = |wanted: SocketQuery| -> Vec<u64> {
            let of = all.iter().filter(|one| wanted.matches(one));
            of.map(|one| one.inode).collect()
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
        // The raw socket's protocol 22 is no port.
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
    fn counts_are_by_sort_and_state() {
        let counts = count(&some());
        let tcp = counts.iter().find(|count| count.protocol == "tcp").unwrap();
        assert_eq!(tcp.sockets, 2);
        assert_eq!(tcp.states[&State::Established], 1);
        assert_eq!(counts.len(), 3);
    }
}
