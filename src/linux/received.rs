//! SHELL. Descriptors that came with a message, or from the starter. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that the kernel has just made for this process (SCM_RIGHTS).
#[cfg(any(feature = "client", feature = "historian"))]
pub fn received(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just created it for this control message, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Takes ownership of a descriptor passed to this process by the starter (sd_listen_fds(3)).
#[cfg(any(feature = "daemon", feature = "historian"))]
pub fn passed(raw: RawFd) -> OwnedFd {
    // SAFETY: by the protocol it is this process's, and it is asked for once, before anything else opens
    // descriptors.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
