//! SHELL. Seccomp filters of keeper and engine: a list of allowed calls with the arguments that each
//! may have, and what any other call comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use netsonde_core::config::Violation;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, TargetArch,
};

/// Degree of enforcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Fully enforced.
    Enforced,
    /// Enforced as far as this kernel supports it.
    Partly,
    /// Not supported by this kernel or architecture.
    Absent,
}

impl fmt::Display for State {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            State::Enforced => "enforced",
            State::Partly => "enforced as far as this kernel goes",
            State::Absent => "not on this kernel",
        })
    }
}

/// Calls that keeper and engine may make with any arguments. An engine inherits the keeper's filter, so
/// that nothing is allowed there that is not allowed here.
pub const SHARED: &[libc::c_long] = &[
    // On open descriptors.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    // On sockets received from the keeper, and those of clients.
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Memory; executable mappings are handled below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Time and scheduling.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    // Signals and exit.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Information on the process itself.
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_sched_getaffinity,
    libc::SYS_uname,
    libc::SYS_getcwd,
    libc::SYS_readlinkat,
];

/// The same under names that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
pub const SHARED_OLD: &[libc::c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
pub const SHARED_OLD: &[libc::c_long] = &[];

/// The allowed calls. A call has a list of alternatives; an empty list allows any arguments.
#[derive(Default)]
pub struct Calls(BTreeMap<i64, Vec<Rule>>);

/// A condition on an argument, given by its number from 0.
pub enum Argument {
    /// The lower 32 bits are this number.
    Is(u8, u32),
    /// The lower 32 bits are another number.
    IsNot(u8, u32),
    /// None of these bits is set among the lower 32.
    Without(u8, u32),
    /// Of these bits among the lower 32, exactly those of the second number are set.
    Masked(u8, u32, u32),
    /// All 64 bits are this number.
    Whole(u8, u64),
}

impl Argument {
    fn condition(&self) -> Result<Condition, BackendError> {
        match *self {
            Argument::Is(at, value) => Condition::new(at, Length::Dword, Is::Eq, value.into()),
            Argument::IsNot(at, value) => Condition::new(at, Length::Dword, Is::Ne, value.into()),
            Argument::Without(at, bits) => {
                Condition::new(at, Length::Dword, Is::MaskedEq(bits.into()), 0)
            }
            Argument::Masked(at, mask, value) => {
                Condition::new(at, Length::Dword, Is::MaskedEq(mask.into()), value.into())
            }
            Argument::Whole(at, value) => Condition::new(at, Length::Qword, Is::Eq, value),
        }
    }
}

impl Calls {
    /// Allows these calls with any arguments.
    pub fn allow(&mut self, calls: &[libc::c_long]) {
        for call in calls {
            self.0.insert(*call, vec![]);
        }
    }

    /// Allows a call if all of these conditions hold, in addition to the alternatives added before.
    ///
    /// # Errors
    /// If a condition is invalid.
    pub fn allow_if(&mut self, call: libc::c_long, all: &[Argument]) -> io::Result<()> {
        let conditions: Result<Vec<Condition>, _> = all.iter().map(Argument::condition).collect();
        let rule = conditions.and_then(Rule::new).map_err(io::Error::other)?;
        self.0.entry(call).or_default().push(rule);
        Ok(())
    }

    /// Restricts this thread, and all threads and processes that it starts, to these calls.
    ///
    /// # Errors
    /// If the kernel does not accept the filter.
    pub fn enforce(self, violation: Violation) -> io::Result<State> {
        let otherwise = match violation {
            Violation::Kill => SeccompAction::KillProcess,
            Violation::Refuse => SeccompAction::Errno(libc::EPERM as u32),
        };
        install(self.0, otherwise, SeccompAction::Allow)
    }
}

/// Makes a call fail with ENOSYS, as on a kernel that does not have it: the C library then uses an
/// older one, whose arguments a filter can see.
///
/// # Errors
/// If the kernel does not accept the filter.
pub fn hide(call: libc::c_long) -> io::Result<State> {
    let rules = BTreeMap::from([(call, vec![])]);
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    install(rules, SeccompAction::Allow, absent)
}

fn install(
    rules: BTreeMap<i64, Vec<Rule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> io::Result<State> {
    let Ok(architecture) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(State::Absent);
    };
    let failed = |error: BackendError| io::Error::other(format!("seccomp filter: {error}"));
    let filter = SeccompFilter::new(rules, otherwise, matched, architecture).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    seccompiler::apply_filter(&program)
        .map_err(|error| io::Error::other(format!("seccomp: {error}")))?;
    Ok(State::Enforced)
}
