//! SHELL. Descriptors that came with a message. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that the kernel has just made for this process (SCM_RIGHTS).
pub fn received(raw: RawFd) -> OwnedFd {
    // SAFETY: it came out of a control message a moment ago; nobody else in this process knows it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
