//! PRIVILEGED. Socket options and an alarm that no crate wraps. One of the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Counters of a packet socket since the last reading (PACKET_STATISTICS clears them). `packets`
/// includes `drops`.
#[derive(Clone, Copy, Debug)]
pub struct RingCounts {
    /// Packets that passed the filter.
    pub packets: u32,
    /// Packets dropped because the ring was full.
    pub drops: u32,
    /// Number of times that the ring was full.
    pub freezes: u32,
}

/// Reads and clears the counters of a TPACKET_V3 socket.
pub fn ring_counts(socket: impl AsFd) -> io::Result<RingCounts> {
    let mut counts = MaybeUninit::<libc::tpacket_stats_v3>::zeroed();
    let mut length = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `counts`, which the kernel fills.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain integers, zeroed before and filled by the kernel.
    let counts = unsafe { counts.assume_init() };
    Ok(RingCounts {
        packets: counts.tp_packets,
        drops: counts.tp_drops,
        freezes: counts.tp_freeze_q_cnt,
    })
}

/// Binds a packet socket to all interfaces and all protocols, which starts the capture.
pub fn bind_packet_to_all(socket: impl AsFd) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer and the length describe `address`, which the kernel only reads.
    let result = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the kernel end this process with SIGALRM after this time, unless it is called again before.
/// `None` cancels it.
pub fn end_after(time: Option<Duration>) -> io::Result<()> {
    let mut timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
    };
    timer.it_value.tv_sec = time.map_or(0, |time| time.as_secs() as libc::time_t);
    // SAFETY: the pointer is to an `itimerval`, which the kernel only reads; the old value is not
    // requested.
    match unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Restores the default action of SIGALRM, which ends the process: a starter may have it ignored.
pub fn restore_alarm() {
    // SAFETY: no handler is installed, and none was.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) };
}

/// Sets close-on-exec on every descriptor from 3 on, so that descriptors left open by the starter
/// do not reach the engine.
pub fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: only sets a flag of descriptors.
    let result =
        unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
