//! SHELL. Descriptors that came with a message. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that the kernel has just made for this process (SCM_RIGHTS).
pub fn received(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just created it for this control message, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
