//! PRIVILEGED. Holding memberships of the groups that every host and every router is to hear, and
//! promiscuous mode, on interfaces that the engine names by index.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;

use nix::sys::resource::{Resource, getrlimit};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use crate::daemon::channel::{GROUPS_4, GROUPS_6};
use crate::linux::option::set_option;

/// Interfaces with memberships at a time: each costs two descriptors.
const MOST_INTERFACES: usize = 2048;
/// Descriptors that memberships leave free: what the keeper holds itself, and what it takes to start the next
/// engine. Without these, the first engine on a host with many interfaces would be the last.
const RESERVE: u64 = 48;

struct Joined {
    /// Held for what closing them would leave.
    _sockets: Vec<Socket>,
    /// Has the engine that runs now asked for it?
    asked: bool,
}

/// The memberships that are held, one pair of sockets for an interface: closing leaves.
pub struct Groups {
    joined: HashMap<u32, Joined>,
    /// Groups that could not be joined: the limit, no descriptors, or the kernel's refusal.
    pub failures: u64,
    most: usize,
}

impl Groups {
    /// None yet, and as many as this process may have descriptors for.
    pub fn within_the_limit() -> Groups {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let most = (descriptors.saturating_sub(RESERVE) / 2) as usize;
        Groups {
            joined: HashMap::new(),
            failures: 0,
            most: most.min(MOST_INTERFACES),
        }
    }

    /// Joins all groups on an interface; one that has no IPv6, say, costs nothing but that family.
    pub fn join(&mut self, ifindex: u32) {
        if let Some(joined) = self.joined.get_mut(&ifindex) {
            joined.asked = true;
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
        // An index that is no interface's is to take nobody's place.
        if sockets.is_empty() {
            return;
        }
        let joined = Joined {
            _sockets: sockets,
            asked: true,
        };
        self.joined.insert(ifindex, joined);
    }

    /// A new engine will ask for what it wants. Until then all memberships stay, so that its coming
    /// is not seen on the wire.
    pub fn ask_anew(&mut self) {
        for joined in self.joined.values_mut() {
            joined.asked = false;
        }
    }

    /// The new engine has asked for all it wants: what was of interfaces that went meanwhile goes.
    pub fn forget_unasked(&mut self) {
        self.joined.retain(|_, joined| joined.asked);
    }

    /// Leaves them.
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

/// Sets an interface promiscuous for as long as the packet socket lives (PACKET_ADD_MEMBERSHIP; the
/// kernel asks for no capability). Asking twice changes nothing.
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
