//! SHELL. Processes at this host's end of connections, as far as the caller may know them. A connection that is gone has no
//! socket, and so no process.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use netsonde_core::connections::End;
use netsonde_core::connections::report::{Conn, Role};
use netsonde_core::host::socket::parse_sockets;

use crate::linux::{proc_net, processes};

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub pid: u32,
    pub command: String,
}

/// Returns this host's end of a connection and the other one; `None` if both are elsewhere.
fn ends(one: &Conn) -> Option<(End, End)> {
    match one.role? {
        Role::Client | Role::Local => Some((one.source, one.destination)),
        Role::Server => Some((one.destination, one.source)),
        Role::Forwards | Role::Observes => None,
    }
}

/// Returns the process of each connection.
pub(super) fn of(connections: &[Conn]) -> Vec<Option<Owner>> {
    let end = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    let mut inodes: HashMap<(End, End), u64> = HashMap::new();
    for table in ["tcp", "tcp6"] {
        let sockets = parse_sockets(&proc_net(table)).into_iter();
        // Without a process: waiting for packets that are late, or not yet accepted.
        let sockets = sockets.filter(|socket| socket.inode != 0);
        inodes
            .extend(sockets.map(|socket| ((end(socket.local), end(socket.remote)), socket.inode)));
    }
    let of_each: Vec<Option<u64>> = connections
        .iter()
        .map(|one| inodes.get(&ends(one)?).copied())
        .collect();
    let wanted: HashSet<u64> = of_each.iter().flatten().copied().collect();
    if wanted.is_empty() {
        return vec![None; connections.len()];
    }
    let owners = processes::owners(&wanted);
    of_each
        .into_iter()
        .map(|inode| {
            let (process, _) = owners.get(&inode?)?;
            Some(Owner {
                pid: process.pid,
                command: process.command.clone(),
            })
        })
        .collect()
}
