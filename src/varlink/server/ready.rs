//! SHELL. Waiting for a descriptor, and connections that arrive. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names one open descriptor for as long as it lives, and lives in the AsyncFd.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    watched.map_err(|error| error.into_parts().1)
}

/// Takes ownership of the descriptor that accept4(2) has just returned.
pub fn accepted(raw: RawFd) -> UnixStream {
    // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
    UnixStream::from(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Waits for a descriptor to be readable.
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch(descriptor, Interest::READABLE)
}

/// Readable, or with messages in the error queue, where send timestamps arrive.
pub const READABLE_OR_FAILED: Interest = Interest::READABLE.add(Interest::ERROR);

/// Waits for a descriptor to be readable, or to have messages in its error queue.
pub fn readable_or_failed(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch(descriptor, READABLE_OR_FAILED)
}

/// Waits for a descriptor to be writable.
pub fn writable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watch(descriptor, Interest::WRITABLE)
}
