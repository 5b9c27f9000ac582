//! PRIVILEGED. The keeper's own seccomp filter, for the time after its start: the calls that its
//! loop makes, and those by which an engine starts, since an engine inherits it and adds a narrower
//! one. It allows no packet socket, no raw socket, no socket filter, no namespace, no other user, no
//! tracing, and nothing of the kernel that a keeper has no use for.

use std::io;

use netsonde_core::config::Violation;

use crate::linux::seccomp::{Argument, Calls, SHARED, SHARED_OLD, State, hide};

/// Calls allowed with any arguments, besides those that an engine may make.
const FREE: &[libc::c_long] = &[
    // On open descriptors.
    libc::SYS_pwrite64,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close_range,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_signalfd4,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    // What libraries for users and groups wait with (nss-systemd(8)).
    libc::SYS_epoll_pwait2,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    // Files: the configuration, users and groups, libraries; its own socket is removed at the end.
    libc::SYS_openat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_flock,
    // Memory for the settings.
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    // Sockets; which kinds may be opened is handled below.
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    // Time and scheduling.
    libc::SYS_setitimer,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Starting an engine, and its end. clone3 is hidden below.
    libc::SYS_clone3,
    libc::SYS_execve,
    // An engine lowers its limits. No process raises them, without the capability.
    libc::SYS_prlimit64,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    // The sandbox of an engine.
    libc::SYS_prctl,
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    // Information on the process itself.
    libc::SYS_getppid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_sysinfo,
];

/// Calls that have other names on newer architectures.
#[cfg(target_arch = "x86_64")]
const OLD: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_unlink,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_select,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getrlimit,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[libc::c_long] = &[];

/// Requests on descriptors: non-blocking mode, which an engine sets at its start, whether it is a
/// terminal, and names of interfaces.
const REQUESTS: [libc::c_ulong; 3] = [libc::FIONBIO, libc::TCGETS, libc::SIOCGIFNAME];

/// All namespaces that clone(2) can create.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The bits of a socket's type that are not flags.
const KIND: u32 = 0xf;

/// Enters the filter permanently, and verifies it. Must be called before the first thread is started.
///
/// # Errors
/// If a step fails.
pub fn enter(violation: Violation) -> io::Result<State> {
    use Argument::{Is, IsNot, Masked, Without};
    let mut calls = Calls::default();
    calls.allow(SHARED);
    calls.allow(SHARED_OLD);
    calls.allow(FREE);
    calls.allow(OLD);
    for request in REQUESTS {
        calls.allow_if(libc::SYS_ioctl, &[Is(1, request as u32)])?;
    }
    calls.allow_if(libc::SYS_clone, &[Without(0, NAMESPACES as u32)])?;
    // Netlink has raw sockets only. Directories of users may be reached through any of the others.
    for family in [libc::AF_UNIX, libc::AF_NETLINK] {
        calls.allow_if(libc::SYS_socket, &[Is(0, family as u32)])?;
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_DGRAM, libc::SOCK_STREAM] {
            let socket = [Is(0, family as u32), Masked(1, KIND, kind as u32)];
            calls.allow_if(libc::SYS_socket, &socket)?;
        }
    }
    // No socket filter: neither a program of this process's in the kernel, nor the removal of one.
    calls.allow_if(libc::SYS_setsockopt, &[IsNot(1, libc::SOL_SOCKET as u32)])?;
    let no_filter = [
        libc::SO_ATTACH_FILTER,
        libc::SO_ATTACH_BPF,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        libc::SO_ATTACH_REUSEPORT_EBPF,
        libc::SO_DETACH_FILTER,
    ]
    .map(|name| IsNot(2, name as u32));
    calls.allow_if(libc::SYS_setsockopt, &no_filter)?;
    let state = calls.enforce(violation)?;
    hide(libc::SYS_clone3)?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let is_filtered = status.lines().any(|line| line == "Seccomp:\t2");
    if state != State::Absent && !is_filtered {
        return Err(io::Error::other("no seccomp filter is in force"));
    }
    Ok(state)
}
