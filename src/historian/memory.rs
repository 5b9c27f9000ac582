//! SHELL. How this process takes memory from the C library. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

/// Makes the threads share one heap, and gives back what is at least 64 KiB as soon as it is free. The threads pass
/// blocks of probes to each other; with a heap for each, which is the default, and a threshold that grows up to 32 MiB,
/// a third of the memory was free and not given back.
///
/// To be called before any other thread exists.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    {
        const ONE_HEAP: i32 = 1;
        const LARGE: i32 = 64 << 10;
        // SAFETY: mallopt(3) takes two numbers; no other thread allocates meanwhile.
        unsafe {
            // An old C library that does not know them goes on as it did.
            libc::mallopt(libc::M_ARENA_MAX, ONE_HEAP);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}
