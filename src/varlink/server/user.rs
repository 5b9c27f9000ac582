//! SHELL. The owner of connections, runs, lists and memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The owner that connections, runs, lists and memory count for. A number that may stand for several users
/// identifies none of them, so that these do not share limits and cannot stop each other's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    /// A user of this host.
    Uid(u32),
    /// Another machine, by its context ID.
    Machine(u32),
    /// A process whose user has no number here, by its ID: one in a user namespace without a mapping, or
    /// nobody. What it owns ends with its connections, or a minute later.
    Process(i32),
    /// A peer without any of these, by the number of its connection.
    Connection(u64),
}

/// User ID of nobody, for clients without a number on this host.
pub const NOBODY: u32 = 65534;

impl User {
    /// Returns the user of a process of this host.
    pub fn local(uid: u32, pid: i32) -> User {
        match pid {
            _ if uid != NOBODY && uid != overflow_uid() => User::Uid(uid),
            // A process of a PID namespace that is not visible here.
            ..=0 => User::unknown(),
            pid => User::Process(pid),
        }
    }

    /// Returns a user without identity, different from all others.
    pub fn unknown() -> User {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        User::Connection(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns whether one person may be any number of these.
    pub fn is_anonymous(self) -> bool {
        matches!(self, User::Process(_) | User::Connection(_))
    }
}

/// Returns the number that the kernel reports for users without one here (kernel.overflowuid).
fn overflow_uid() -> u32 {
    static NUMBER: OnceLock<u32> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
        text.trim().parse().unwrap_or(NOBODY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_many_identify_nobody() {
        assert_eq!(User::local(1000, 7), User::local(1000, 8));
        assert_ne!(User::local(NOBODY, 7), User::local(NOBODY, 8));
        assert_eq!(User::local(NOBODY, 7), User::local(NOBODY, 7));
        assert_ne!(User::local(NOBODY, 0), User::local(NOBODY, 0));
        assert_ne!(User::unknown(), User::unknown());
    }
}
