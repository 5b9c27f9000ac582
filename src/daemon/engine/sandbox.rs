//! SHELL. The engine's sandbox: the system calls it may make, and the files it may open. Neither
//! can be revoked, and both are verified before any byte from the wire is parsed.
//!
//! The seccomp filter allows the calls that an engine needs, with the arguments it uses. Any other
//! call ends the process (or fails, if the configuration says so, since another C library may need
//! other calls). Landlock allows reading below /proc, and nothing else.

use std::fmt;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};
use netsonde_core::config::Violation;

pub use crate::linux::seccomp::State;
use crate::linux::seccomp::{Argument, Calls, SHARED, SHARED_OLD};

/// The sandbox of this process.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox {
    /// Filter of system calls.
    pub seccomp: State,
    /// Restrictions on files, TCP ports, and signals to other processes.
    pub landlock: State,
}

fn failed<E: fmt::Display>(step: &'static str) -> impl FnOnce(E) -> io::Error {
    move |error| io::Error::other(format!("sandbox: {step}: {error}"))
}

/// Enters the sandbox permanently and verifies it. Must be called before the first thread is
/// started: both parts apply to the thread, and are inherited by threads that it starts.
///
/// # Errors
/// If a step fails, or if the verification shows that something forbidden is still possible.
pub fn enter(violation: Violation) -> io::Result<Sandbox> {
    let landlock = restrict_files().map_err(failed("landlock"))?;
    let seccomp = calls()?.enforce(violation).map_err(failed("seccomp"))?;
    let sandbox = Sandbox { seccomp, landlock };
    prove(sandbox)?;
    Ok(sandbox)
}

/// Allows reading below /proc, for counters and tables of the network; no writing, no execution, no
/// TCP port, no signal to others.
fn restrict_files() -> Result<State, landlock::RulesetError> {
    // Newer kernels support more; older ones enforce what they know.
    let abi = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(["/proc"], AccessFs::from_read(abi)))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => State::Enforced,
        RulesetStatus::PartiallyEnforced => State::Partly,
        RulesetStatus::NotEnforced => State::Absent,
    })
}

/// Socket options set while the engine runs.
const OPTIONS: [(i32, i32); 2] = [
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
];

/// Commands on descriptors. None of them changes an open file description, which the engine shares
/// with the keeper, with the next engine and, for its log, with unknown processes: a descriptor made
/// blocking there, or one that sends signals, would outlive this process.
const COMMANDS: [i32; 3] = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL];

/// Size of the pipe through which a client gets packets, at most fs.pipe-max-size. Pipes are set to
/// this size only: that of the log is not made smaller.
pub const PIPE_BYTES: i32 = 1 << 20;

/// Flags of a sent message. Above all not MSG_MORE: data held back would stay in a raw socket, and
/// precede the first packet of the next engine.
const SENDING: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

fn calls() -> io::Result<Calls> {
    use Argument::{Is, Whole, Without};
    let mut calls = Calls::default();
    calls.allow(SHARED);
    calls.allow(SHARED_OLD);
    // No executable memory.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        calls.allow_if(call, &[Without(2, libc::PROT_EXEC as u32)])?;
    }
    // Files for reading only; landlock restricts which ones.
    let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
    calls.allow_if(libc::SYS_openat, &[Without(2, writing as u32)])?;
    // The standard library queries the position of a file. Setting it would move that of the log.
    let here = Is(2, libc::SEEK_CUR as u32);
    calls.allow_if(libc::SYS_lseek, &[Whole(1, 0), here])?;
    // A line of the log, at the file's position and without waiting.
    let at_position = [Whole(3, u64::MAX), Is(5, libc::RWF_NOWAIT as u32)];
    calls.allow_if(libc::SYS_pwritev2, &at_position)?;
    for command in COMMANDS {
        calls.allow_if(libc::SYS_fcntl, &[Is(1, command as u32)])?;
    }
    let enlarge = [Is(1, libc::F_SETPIPE_SZ as u32), Is(2, PIPE_BYTES as u32)];
    calls.allow_if(libc::SYS_fcntl, &enlarge)?;
    for (call, flags) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        calls.allow_if(call, &[Without(flags, !SENDING as u32)])?;
    }
    // On its own sockets, only path MTU discovery.
    for (level, name) in OPTIONS {
        let option = [Is(1, level as u32), Is(2, name as u32)];
        calls.allow_if(libc::SYS_setsockopt, &option)?;
    }
    // Limits are read, not set.
    calls.allow_if(libc::SYS_prlimit64, &[Whole(2, 0)])?;
    // abort() sends a signal to the process itself.
    calls.allow_if(libc::SYS_tgkill, &[Is(0, std::process::id())])?;
    Ok(calls)
}

/// Queries the kernel, and attempts what must no longer be possible.
fn prove(sandbox: Sandbox) -> io::Result<()> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(failed("/proc/self/status"))?;
    let is = |name: &str, value: &str| {
        status
            .lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(known, said)| known == name && said.trim() == value)
    };
    let mut missing = vec![];
    if sandbox.seccomp != State::Absent && !is("Seccomp", "2") {
        missing.push("no seccomp filter is in force");
    }
    if !is("NoNewPrivs", "1") {
        missing.push("new privileges could be gained");
    }
    let none = "0000000000000000";
    if !(is("CapEff", none) && is("CapPrm", none)) {
        missing.push("capabilities remain");
    }
    let can_list = std::fs::File::open("/").is_ok();
    if sandbox.landlock != State::Absent && can_list {
        missing.push("files can still be opened");
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(failed(
            "the sandbox is not effective, so the engine does not run",
        )(missing.join(", ")))
    }
}
