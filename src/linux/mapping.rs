//! SHELL. Memory shared between keeper, engine and kernel. One of the files that may use `unsafe`.
//!
//! Words that others change at any time are read as atomics, which is safe. Slices are not: who may
//! write to the memory is agreed between processes, which no type shows, so the functions that
//! return or promise slices are `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a descriptor, unmapped on drop. It outlives the descriptor.
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is ordinary memory, not tied to the thread that created it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of `descriptor` for reading and writing.
    ///
    /// # Errors
    /// `InvalidInput` if `length` is 0, or the error of mmap(2).
    pub fn new(descriptor: impl AsFd, length: usize) -> io::Result<Mapping> {
        let nonzero = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address chosen by the kernel overlaps no other memory.
        let start = unsafe {
            mmap(
                None,
                nonzero,
                protection,
                MapFlags::MAP_SHARED,
                descriptor,
                0,
            )
        }?;
        Ok(Mapping {
            start: start.cast(),
            length,
        })
    }

    /// Returns the 32-bit word at byte `at`, which another process or the kernel may change at any
    /// time. `None` if it is not aligned or not within the mapping.
    pub fn word32(&self, at: usize) -> Option<&AtomicU32> {
        let inside = at.checked_add(4)? <= self.length && at.is_multiple_of(4);
        // SAFETY: aligned (mappings begin at a page) and within a mapping that lives as long as
        // the reference; every bit pattern is a valid u32.
        inside.then(|| unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) })
    }

    /// Returns the 64-bit word at byte `at`, under the same conditions as [`word32`](Self::word32).
    pub fn word64(&self, at: usize) -> Option<&AtomicU64> {
        let inside = at.checked_add(8)? <= self.length && at.is_multiple_of(8);
        // SAFETY: as in `word32`.
        inside.then(|| unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) })
    }

    /// Returns `length` bytes from byte `at` on, or `None` if they are not within the mapping.
    ///
    /// # Safety
    /// Nothing may write to these bytes while the slice exists: neither the kernel, nor another
    /// process, nor [`word32`](Self::word32) and [`word64`](Self::word64) of this one.
    pub unsafe fn bytes(&self, at: usize, length: usize) -> Option<&[u8]> {
        let inside = at.checked_add(length)? <= self.length;
        // SAFETY: within the mapping, and not written to, as the caller promises.
        inside.then(|| unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), length) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.length) };
    }
}

/// A mapping that only this process uses: the recorder's memory in the engine.
pub struct OwnMemory(Mapping);

impl OwnMemory {
    /// Takes a mapping of which this process is the only user.
    ///
    /// # Safety
    /// Until the returned value is dropped, no other mapping of the same memory may be written to,
    /// in this process or in another, and no `write` to its descriptor may take place.
    pub unsafe fn new(mapping: Mapping) -> OwnMemory {
        OwnMemory(mapping)
    }
}

impl Deref for OwnMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the whole mapping, which nothing else writes to (`new`).
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.length) }
    }
}

impl DerefMut for OwnMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.start.as_ptr(), self.0.length) }
    }
}

/// Creates memory of `length` bytes, all zero, behind a descriptor that can be passed on. Its size is
/// sealed, so that no process that holds the descriptor can truncate it under another one.
///
/// # Errors
/// The error of memfd_create(2), ftruncate(2) or fcntl(2).
pub fn sealed_memory(name: &str, length: usize) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let descriptor = memfd_create(name, flags)?;
    nix::unistd::ftruncate(&descriptor, length.try_into().map_err(io::Error::other)?)?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&descriptor, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(descriptor)
}
