//! SHELL. Memory shared between keeper, engine and kernel. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a descriptor, unmapped on drop. It outlives the descriptor.
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

/// A shared mapping that this process can only read.
pub struct ReadOnlyMapping(Mapping);

impl ReadOnlyMapping {
    /// Maps the first `length` bytes (more than 0) of `descriptor` for reading.
    pub fn new(descriptor: impl AsFd, length: usize) -> io::Result<ReadOnlyMapping> {
        Mapping::with(descriptor, length, ProtFlags::PROT_READ).map(ReadOnlyMapping)
    }

    /// Returns the 64-bit word at byte `at`, which another process may change at any time; 0 if it
    /// is not aligned or not within the mapping. What that process wrote before the word is visible
    /// afterwards.
    pub fn load64(&self, at: usize) -> u64 {
        // Of all atomic operations, only relaxed loads are defined on memory that cannot be
        // written.
        let word = self
            .0
            .word64(at)
            .map_or(0, |word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        word
    }
}

// SAFETY: the mapping is memory like any other; it has no tie to the thread that made it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes (more than 0) of `descriptor` for reading and writing.
    pub fn new(descriptor: impl AsFd, length: usize) -> io::Result<Mapping> {
        Mapping::with(
            descriptor,
            length,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        )
    }

    fn with(descriptor: impl AsFd, length: usize, protection: ProtFlags) -> io::Result<Mapping> {
        let nonzero = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
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

    /// The 32-bit word at byte `at`, which another process or the kernel may change at any time.
    /// `None` if it is not aligned or not within the mapping.
    pub fn word32(&self, at: usize) -> Option<&AtomicU32> {
        let inside = at.checked_add(4)? <= self.length && at.is_multiple_of(4);
        // SAFETY: aligned (mappings begin at a page) and within a mapping that lives as long as
        // the reference; every bit pattern is a valid u32.
        inside.then(|| unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) })
    }

    /// The 64-bit word at byte `at`, likewise.
    pub fn word64(&self, at: usize) -> Option<&AtomicU64> {
        let inside = at.checked_add(8)? <= self.length && at.is_multiple_of(8);
        // SAFETY: as in `word32`.
        inside.then(|| unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) })
    }

    /// Bytes that nobody changes for as long as the slice is used: a block of the ring that the
    /// kernel has handed over, or memory of which this process is the only user.
    /// `None` if they are not within the mapping.
    pub fn bytes(&self, at: usize, length: usize) -> Option<&[u8]> {
        let inside = at.checked_add(length)? <= self.length;
        // SAFETY: within the mapping. The kernel does not write to a block between handing it over
        // (TP_STATUS_USER) and getting it back, and callers take no slice outside of that.
        inside.then(|| unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), length) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and no reference into it can outlive `self`.
        let _ = unsafe { munmap(self.start.cast(), self.length) };
    }
}

/// Memory that one process at a time uses as its own: the recorder's. The keeper holds only the
/// descriptor, and starts an engine only after the last one has ended.
pub struct OwnMemory(Mapping);

impl OwnMemory {
    /// Declares this process the only user of the mapping.
    pub fn new(mapping: Mapping) -> OwnMemory {
        OwnMemory(mapping)
    }
}

impl Deref for OwnMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the whole mapping, of which this process is the only user.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.length) }
    }
}

impl DerefMut for OwnMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.0.start.as_ptr(), self.0.length) }
    }
}

/// Makes memory of `length` bytes, all zero, behind a descriptor that can be passed on. Its size is
/// sealed, so that no holder can pull it away under another.
pub fn sealed_memory(name: &str, length: usize) -> io::Result<OwnedFd> {
    let descriptor = new_memory(name)?;
    nix::unistd::ftruncate(&descriptor, length.try_into().map_err(io::Error::other)?)?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&descriptor, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(descriptor)
}

/// Makes memory with these contents, which no holder of the descriptor can ever change.
pub fn constant_memory(name: &str, contents: &[u8]) -> io::Result<OwnedFd> {
    let descriptor = new_memory(name)?;
    let mut written = 0;
    while written < contents.len() {
        // Not through a mapping: the seal is refused for as long as a writable one exists.
        written += nix::unistd::write(&descriptor, &contents[written..])?;
    }
    let size = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    let seals = size | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&descriptor, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(descriptor)
}

fn new_memory(name: &str) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(memfd_create(name, flags)?)
}

/// Returns a descriptor of the same memory through which it can be read only, by read(2) and by
/// mappings: an open file description of its own.
pub fn read_only(memory: impl AsFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", memory.as_fd().as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(
        path.as_str(),
        flags,
        nix::sys::stat::Mode::empty(),
    )?)
}
