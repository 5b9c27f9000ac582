//! Descriptors of another process, as an attacker inside it would have them (pidfd_getfd(2)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::unistd::Pid;

/// A process whose descriptors can be taken.
pub struct Taken {
    pid: Pid,
    process: OwnedFd,
}

fn checked(result: libc::c_long) -> io::Result<OwnedFd> {
    match result {
        number if number < 0 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
        number => Ok(unsafe { OwnedFd::from_raw_fd(number as i32) }),
    }
}

impl Taken {
    /// Needs the right to trace the process.
    pub fn open(pid: Pid) -> io::Result<Taken> {
        // SAFETY: plain numbers.
        let process = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
        Ok(Taken { pid, process })
    }

    /// The same, or the test is skipped where the machine does not allow it.
    pub fn or_skip(pid: Pid) -> Taken {
        let taken = Taken::open(pid).and_then(|taken| taken.descriptor(0).map(|_| taken));
        match taken {
            Ok(taken) => taken,
            Err(error) => super::skip_here(&format!("pidfd_getfd: {error}")),
        }
    }

    /// A duplicate of its descriptor `number`: the same open file description.
    pub fn descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        let (process, number) = (self.process.as_raw_fd(), number);
        // SAFETY: plain numbers.
        checked(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, number, 0) })
    }

    /// All its descriptors, with what /proc shows of each, such as `socket:[4711]`.
    pub fn all(&self) -> Vec<(OwnedFd, String)> {
        let folder = format!("/proc/{}/fd", self.pid);
        let entries = std::fs::read_dir(folder).unwrap();
        let mut all: Vec<(i32, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.parse().ok()?;
                let shown = std::fs::read_link(entry.path()).ok()?;
                Some((number, shown.to_string_lossy().into_owned()))
            })
            .collect();
        all.sort();
        let take = |(number, shown)| Some((self.descriptor(number).ok()?, shown));
        all.into_iter().filter_map(take).collect()
    }

    /// Those of which /proc shows this.
    pub fn shown(&self, word: &str) -> Vec<OwnedFd> {
        let all = self.all().into_iter();
        all.filter(|(_, shown)| shown.contains(word))
            .map(|(descriptor, _)| descriptor)
            .collect()
    }
}
