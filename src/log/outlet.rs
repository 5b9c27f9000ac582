//! SHELL. Destinations of lines: the journal's socket or standard error. Neither ever blocks the
//! caller.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, UnixAddr, send, sendto};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::line::Line;
use crate::linux::option::write_at_once;

/// Destination of lines.
#[derive(Debug)]
pub enum Outlet {
    /// Datagrams of fields.
    Journal {
        /// Not connected: each datagram finds the journal by its path, even if the journal was
        /// restarted while this process can no longer open anything.
        socket: UnixDatagram,
        /// Path of the journal's socket.
        address: UnixAddr,
    },
    /// Lines.
    Stream {
        /// Standard error, or another open file description of the same file.
        to: OwnedFd,
        /// Sockets are written with send, which has a flag for not blocking.
        is_socket: bool,
        /// The last line ended in the middle: the next one must not continue it.
        torn: bool,
    },
    /// Nothing can be opened: every line is lost, and counted.
    Nowhere,
}

impl Outlet {
    /// Uses the journal at this path if standard error is the journal's; else standard error.
    pub fn find(journal: &Path) -> Outlet {
        let stderr = std::io::stderr();
        if is_the_journals(&stderr)
            && let Some(outlet) = Outlet::journal(journal)
        {
            return outlet;
        }
        Outlet::stream(stderr)
    }

    /// Uses the journal that listens at this path. Returns `None` if there is none.
    pub fn journal(path: &Path) -> Option<Outlet> {
        if !path.exists() {
            return None;
        }
        Some(Outlet::Journal {
            socket: UnixDatagram::unbound().ok()?,
            address: UnixAddr::new(path).ok()?,
        })
    }

    /// Writes lines to a file, pipe, terminal or socket.
    pub fn stream(to: impl AsFd) -> Outlet {
        let kind = fstat(&to).map(|stat: FileStat| SFlag::from_bits_truncate(stat.st_mode));
        let kind = kind.map_or(SFlag::empty(), |kind| kind & SFlag::S_IFMT);
        let reopened = (kind == SFlag::S_IFIFO || kind == SFlag::S_IFCHR)
            .then(|| reopen(&to))
            .flatten();
        match reopened.or_else(|| to.as_fd().try_clone_to_owned().ok()) {
            Some(to) => Outlet::Stream {
                to,
                is_socket: kind == SFlag::S_IFSOCK,
                torn: false,
            },
            None => Outlet::Nowhere,
        }
    }

    /// Sends a line. Returns `false` if it could not be sent at once, and is lost.
    pub fn send(&mut self, line: &Line, process: &str, lost: u64) -> bool {
        match self {
            Outlet::Journal { socket, address } => {
                to_journal(socket, address, &line.datagram(process, lost))
            }
            Outlet::Stream { .. } => self.write(line.text(process, lost)),
            Outlet::Nowhere => false,
        }
    }

    /// Sends the line with which the process ends, as a command does if a person is reading.
    pub fn refuse(&mut self, line: &Line, process: &str, prefix: &str) -> bool {
        match self {
            Outlet::Stream { .. } => self.write(format!("{prefix}{}\n", line.message)),
            _ => self.send(line, process, 0),
        }
    }

    fn write(&mut self, mut text: String) -> bool {
        let Outlet::Stream {
            to,
            is_socket,
            torn,
        } = self
        else {
            return false;
        };
        if *torn {
            text.insert(0, '\n');
        }
        let written = write_now(to, *is_socket, text.as_bytes());
        if let Some(bytes) = written {
            *torn = bytes < text.len();
        }
        written == Some(text.len())
    }
}

/// Returns whether a descriptor is the stream named by `$JOURNAL_STREAM` (systemd.exec(5)). That
/// variable applies to the process that received it, not to one whose standard error was redirected
/// since.
fn is_the_journals(stderr: &impl AsFd) -> bool {
    let journal = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let journal = journal
        .split_once(':')
        .and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    fstat(stderr).is_ok_and(|stat| journal == Some((stat.st_dev, stat.st_ino)))
}

/// Opens the same pipe or terminal again, so that not blocking concerns this process alone:
/// O_NONBLOCK belongs to the open file description, which standard error shares with unknown
/// processes.
fn reopen(to: &impl AsFd) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", to.as_fd().as_raw_fd());
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path.as_str(), flags, Mode::empty()).ok()
}

fn to_journal(socket: &UnixDatagram, address: &UnixAddr, datagram: &[u8]) -> bool {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendto(socket.as_raw_fd(), datagram, address, flags).is_ok()
}

/// Returns how much was written at once; `None` if nothing. A pipe that could not be reopened is
/// polled first: with a free page it accepts a line.
fn write_now(to: &OwnedFd, is_socket: bool, bytes: &[u8]) -> Option<usize> {
    if is_socket {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        return send(to.as_raw_fd(), bytes, flags).ok();
    }
    let mut ready = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO) != Ok(1) {
        return None;
    }
    // A reader that is gone shows as an error, and writing would fail as well.
    let there = ready[0]
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLOUT));
    if !there {
        return None;
    }
    loop {
        // Another process that holds the pipe may have filled it since, and would make this one wait.
        let written = match write_at_once(to, bytes) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                nix::unistd::write(to, bytes)
            }
            written => written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))),
        };
        match written {
            Err(Errno::EINTR) => {}
            written => return written.ok(),
        }
    }
}
