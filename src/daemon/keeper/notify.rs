//! PRIVILEGED. Notifications to systemd (sd_notify(3)) that never wait. An engine decides when most
//! of them are sent, and can fill the queue of the receiving socket through its own.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// Messages that wait for a free place in the queue. More means that systemd does not read at all;
/// then the oldest are dropped, which its watchdog notices.
const MAX_WAITING: usize = 16;

/// Sends notifications.
pub struct Notifier {
    /// `None` without systemd.
    to: Option<(UnixDatagram, UnixAddr)>,
    waiting: VecDeque<String>,
}

impl Notifier {
    /// Uses the socket named by the environment.
    pub fn new() -> Notifier {
        let named = std::env::var_os("NOTIFY_SOCKET");
        let address = named.and_then(|name| match name.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name).ok(),
            path => UnixAddr::new(path).ok(),
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        Notifier {
            to: socket,
            waiting: VecDeque::new(),
        }
    }

    /// Sends a message as soon as it can be sent without waiting.
    pub fn send(&mut self, message: &str) {
        if self.to.is_none() || self.waiting.iter().any(|waiting| waiting == message) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message.to_owned());
        self.flush();
    }

    /// Sends what could not be sent before. Returns whether something is still waiting.
    pub fn flush(&mut self) -> bool {
        while let Some(message) = self.waiting.front() {
            match self.try_send(message, &[]) {
                Err(Errno::EAGAIN | Errno::EINTR) => return true,
                // With any other error systemd cannot be reached: there is nothing to wait for.
                _ => self.waiting.pop_front(),
            };
        }
        false
    }

    /// Replaces a descriptor in systemd's store by another.
    pub fn replace(&mut self, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
        self.try_send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])?;
        let message = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        self.try_send(&message, &[descriptor.as_raw_fd()])
    }

    fn try_send(&self, message: &str, descriptors: &[i32]) -> Result<(), Errno> {
        let Some((socket, address)) = &self.to else {
            return Ok(());
        };
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() {
            &rights[..0]
        } else {
            &rights[..]
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let bytes = [IoSlice::new(message.as_bytes())];
        sendmsg(socket.as_raw_fd(), &bytes, control, flags, Some(address)).map(|_| ())
    }
}
