//! SHELL. SIGINT, SIGTERM and SIGHUP: they end what a command waits for, not the program, so that it can
//! still print its summary.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::failure::Failure;

/// SIGINT, SIGTERM and SIGHUP as a readable descriptor. A SIGHUP that is ignored (nohup(1)) stays so.
#[derive(Clone)]
pub struct Interrupt {
    signals: Arc<SignalFd>,
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// Blocks the signals for this thread; [`Interrupt::descriptor`] reports them from now on.
    pub fn catch() -> io::Result<Interrupt> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGHUP);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Interrupt {
            signals: Arc::new(SignalFd::with_flags(&set, flags)?),
            came: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Descriptor that becomes readable when a signal arrives, and stays readable until
    /// [`Interrupt::take`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Discards pending signals, so that the next wait is for a new one.
    pub fn take(&self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
    }

    /// Records that a signal arrived.
    pub fn note(&self) {
        self.came.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`Interrupt::note`] was called.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

/// Waits until `due`. Returns `true` if a signal arrived first.
pub(crate) fn wait_until(due: Instant, interrupt: &Interrupt) -> Result<bool, Failure> {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let ms = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
        let mut wanted = [PollFd::new(interrupt.descriptor(), PollFlags::POLLIN)];
        match poll(&mut wanted, PollTimeout::from(ms)) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(io::Error::from(error).into()),
            Ok(0) => {}
            Ok(_) => return Ok(true),
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        if left < Duration::from_millis(1) {
            std::thread::sleep(left);
            return Ok(false);
        }
    }
}
