//! SHELL. Identity of a client, as the kernel recorded it at connect: never from the data it sends,
//! and never from a process ID alone, which may be reused.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::sys::socket::{VsockAddr, getpeername, getsockopt, sockopt::PeerCredentials};

use crate::linux::option::get_option;
use crate::varlink::server::user::{NOBODY, User};
use netsonde_core::config::permission::Caller;

/// Maximum number of a user's groups: some directories assign hundreds, and Linux allows 65,536.
const MOST_GROUPS: usize = 1024;

/// Identity of a client.
#[derive(Clone, Debug)]
pub struct Peer {
    /// User ID; the kernel's overflow number for a client on another machine.
    pub uid: u32,
    /// Process ID, for logs only: it may have been reused.
    pub pid: Option<i32>,
    groups: Rc<[u32]>,
    /// Context ID of the machine, if it is another one.
    pub machine: Option<u32>,
    user: User,
}

impl Peer {
    /// Queries the kernel. The family of the listening socket determines what can be queried.
    pub fn of(stream: impl AsFd, is_unix: bool) -> io::Result<Peer> {
        if !is_unix {
            // Of other families, only AF_VSOCK identifies its peer by a number.
            let machine = getpeername::<VsockAddr>(stream.as_fd().as_raw_fd());
            let machine = machine.ok().map(|address| address.cid());
            return Ok(Peer {
                uid: NOBODY,
                pid: None,
                groups: Rc::new([]),
                machine: Some(machine.unwrap_or(u32::MAX)),
                user: machine.map_or_else(User::unknown, User::Machine),
            });
        }
        let credentials = getsockopt(&stream, PeerCredentials)?;
        Ok(Peer {
            uid: credentials.uid(),
            pid: Some(credentials.pid()),
            groups: groups(&stream, credentials.gid()),
            machine: None,
            user: User::local(credentials.uid(), credentials.pid()),
        })
    }

    /// Returns the caller, for permissions.
    pub fn caller(&self) -> Caller<'_> {
        match self.machine {
            Some(_) => Caller::Remote,
            None => Caller::User {
                uid: self.uid,
                groups: &self.groups,
            },
        }
    }

    /// Returns the owner, for limits.
    pub fn user(&self) -> User {
        self.user
    }
}

/// Returns the group at connect and the supplementary ones (SO_PEERGROUPS, Linux 4.13; only the
/// former before).
fn groups(stream: impl AsFd, first: u32) -> Rc<[u32]> {
    let mut all = vec![first];
    let mut room = vec![0u8; MOST_GROUPS * 4];
    if let Ok(length) = get_option(stream, libc::SOL_SOCKET, libc::SO_PEERGROUPS, &mut room) {
        let further = room[..length.min(room.len())].chunks_exact(4);
        all.extend(further.map(|gid| u32::from_ne_bytes([gid[0], gid[1], gid[2], gid[3]])));
    }
    all.into()
}
