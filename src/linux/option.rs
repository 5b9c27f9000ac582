//! SHELL. Socket and terminal options that no crate wraps. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets a socket option whose value is the plain C type `T`.
pub fn set_option<T: Copy>(socket: impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reads a socket option into bytes, whose initial contents are part of the request for some
/// options. Returns the number of bytes written.
pub fn get_option(
    socket: impl AsFd,
    level: i32,
    name: i32,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `buffer`, which the kernel fills.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            buffer.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result == 0 {
        Ok(length as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Writes to a pipe without waiting, whatever mode it is in (RWF_NOWAIT). Returns how much was
/// written.
///
/// # Errors
/// EAGAIN if the pipe is full; EOPNOTSUPP for other files, and for pipes before Linux 6.4.
pub fn write_at_once(pipe: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let slice = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the slice describes `bytes`, which the kernel only reads.
    let written =
        unsafe { libc::pwritev2(pipe.as_fd().as_raw_fd(), &slice, 1, -1, libc::RWF_NOWAIT) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Returns the width of a terminal in columns; `None` if it is no terminal or has no known width.
pub fn terminal_columns(terminal: impl AsFd) -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request writes one `winsize`, and the pointer is to one.
    let result = unsafe {
        libc::ioctl(
            terminal.as_fd().as_raw_fd(),
            libc::TIOCGWINSZ,
            std::ptr::from_mut(&mut size),
        )
    };
    (result == 0 && size.ws_col > 0).then(|| usize::from(size.ws_col))
}
