//! SHELL. Who is at the other end of a connection, by the kernel's word at connect: never by what is
//! said over it, and never by a process id, which may be another's by now.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::sys::socket::{VsockAddr, getpeername, getsockopt, sockopt::PeerCredentials};

use crate::linux::option::get_option;
use netsonde_core::config::permission::Caller;

/// Groups of a user that are looked at: some directories give a user hundreds, and Linux allows 65,536.
const MOST_GROUPS: usize = 1024;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Peer {
    /// User; the kernel's overflow number for another machine's.
    pub uid: u32,
    /// Process, for logs only: it may be gone, and its number reused.
    pub pid: Option<i32>,
    groups: Rc<[u32]>,
    /// Context number of the machine, where it is another.
    pub machine: Option<u32>,
}

/// Whom a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    /// A user of this host.
    Uid(u32),
    /// Another machine, by its context number.
    Machine(u32),
}

/// nobody, for those who have no number here.
const NOBODY: u32 = 65534;

impl Peer {
    /// Asks the kernel. The family of the listening socket says what there is to ask.
    pub fn of(stream: impl AsFd, is_unix: bool) -> io::Result<Peer> {
        if !is_unix {
            // Of other families only AF_VSOCK tells of its peer in a number.
            let machine = getpeername::<VsockAddr>(stream.as_fd().as_raw_fd());
            return Ok(Peer {
                uid: NOBODY,
                pid: None,
                groups: Rc::new([]),
                machine: Some(machine.map_or(u32::MAX, |address| address.cid())),
            });
        }
        let credentials = getsockopt(&stream, PeerCredentials)?;
        Ok(Peer {
            uid: credentials.uid(),
            pid: Some(credentials.pid()),
            groups: groups(&stream, credentials.gid()),
            machine: None,
        })
    }

    /// For permission.
    pub fn caller(&self) -> Caller<'_> {
        match self.machine {
            Some(_) => Caller::Remote,
            None => Caller::User {
                uid: self.uid,
                groups: &self.groups,
            },
        }
    }

    /// For limits.
    pub fn user(&self) -> User {
        self.machine.map_or(User::Uid(self.uid), User::Machine)
    }
}

/// The group at connect, and the further ones (SO_PEERGROUPS, Linux 4.13; before, only the one).
fn groups(stream: impl AsFd, first: u32) -> Rc<[u32]> {
    let mut all = vec![first];
    let mut room = vec![0u8; MOST_GROUPS * 4];
    if let Ok(length) = get_option(stream, libc::SOL_SOCKET, libc::SO_PEERGROUPS, &mut room) {
        let further = room[..length.min(room.len())].chunks_exact(4);
        all.extend(further.map(|gid| u32::from_ne_bytes([gid[0], gid[1], gid[2], gid[3]])));
    }
    all.into()
}
