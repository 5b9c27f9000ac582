//! SHELL. Ctrl-C ends what is being read, not the program: what there is to say at the end is said.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGINT and SIGTERM, as an end of what is being read instead of an end of the program.
#[derive(Clone)]
pub struct Interrupt {
    signals: Arc<SignalFd>,
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// From here on, the signals are waited for with [`Interrupt::descriptor`].
    pub fn catch() -> io::Result<Interrupt> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Interrupt {
            signals: Arc::new(SignalFd::with_flags(&set, flags)?),
            came: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Readable once a signal has come; it stays so.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Takes the signal that has come: the next wait is for another one.
    pub fn take(&self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
    }

    /// A signal has come.
    pub fn note(&self) {
        self.came.store(true, Ordering::Relaxed);
    }

    /// Has one?
    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}
