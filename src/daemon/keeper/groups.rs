//! PRIVILEGED. Memberships of the all-hosts and all-routers groups, and promiscuous mode, on
//! interfaces that the engine names by index.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;

use nix::sys::resource::{Resource, getrlimit};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use crate::daemon::channel::{GROUPS_4, GROUPS_6};
use crate::linux::option::set_option;

/// Maximum number of interfaces with memberships: each costs two descriptors.
const MOST_INTERFACES: usize = 2048;
/// Descriptors kept free of memberships: those of the keeper itself, 84 of which send probes by TCP and UDP and
/// reserve their ports, and those for starting the next engine. Without them, the first engine on a host with many interfaces would be the last.
const RESERVE: u64 = 136;

struct Joined {
    /// Kept open, because closing them leaves the groups.
    _sockets: Vec<Socket>,
    /// Whether the running engine has requested it.
    requested: bool,
}

/// The memberships, one pair of sockets per interface; closing a socket leaves.
pub struct Groups {
    joined: HashMap<u32, Joined>,
    /// Number of groups that could not be joined: limit, no descriptors, or an error of the kernel.
    pub failures: u64,
    most: usize,
}

impl Groups {
    /// Creates an empty set, limited by the descriptors of this process.
    pub fn within_the_limit() -> Groups {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let most = (descriptors.saturating_sub(RESERVE) / 2) as usize;
        Groups {
            joined: HashMap::new(),
            failures: 0,
            most: most.min(MOST_INTERFACES),
        }
    }

    /// Joins all groups on an interface. An interface without IPv6 lacks only that family.
    pub fn join(&mut self, ifindex: u32) {
        if let Some(joined) = self.joined.get_mut(&ifindex) {
            joined.requested = true;
            return;
        }
        if self.joined.len() >= self.most {
            self.failures += 1;
            return;
        }
        let mut sockets = Vec::with_capacity(2);
        for joined in [join_ipv4(ifindex), join_ipv6(ifindex)] {
            match joined {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    tracing::debug!(ifindex, %error, "cannot join the listeners' groups");
                    self.failures += 1;
                }
            }
        }
        // An index without an interface must not take a slot.
        if sockets.is_empty() {
            return;
        }
        let joined = Joined {
            _sockets: sockets,
            requested: true,
        };
        self.joined.insert(ifindex, joined);
    }

    /// Marks all memberships as not yet requested by a new engine. They are kept meanwhile, so that
    /// the change is not visible on the wire.
    pub fn mark_unrequested(&mut self) {
        for joined in self.joined.values_mut() {
            joined.requested = false;
        }
    }

    /// Leaves groups that the new engine has not requested: their interfaces are gone.
    pub fn leave_unrequested(&mut self) {
        self.joined.retain(|_, joined| joined.requested);
    }

    /// Leaves the groups on an interface.
    pub fn leave(&mut self, ifindex: u32) {
        self.joined.remove(&ifindex);
    }
}

fn join_ipv4(ifindex: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    for group in &GROUPS_4 {
        socket.join_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(ifindex))?;
    }
    Ok(socket)
}

fn join_ipv6(ifindex: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    for group in &GROUPS_6 {
        socket.join_multicast_v6(group, ifindex)?;
    }
    Ok(socket)
}

/// Sets an interface promiscuous for the lifetime of the packet socket (PACKET_ADD_MEMBERSHIP,
/// which needs no capability). Repeating it has no effect.
pub fn promiscuous(packet_socket: impl AsFd, ifindex: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: ifindex as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(
        packet_socket,
        libc::SOL_PACKET,
        libc::PACKET_ADD_MEMBERSHIP,
        &request,
    )
}
