//! SHELL. Queries of kernel state that service and client share. None but `netfilter` needs privilege.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | files of /proc/net and sysctls of this thread's network namespace |
//! | `netlink` | netlink requests: routes, neighbors, and others |
//! | `counters` | counters of interfaces and of dropped packets |
//! | `netfilter` | rules of nf_tables that drop packets |
//! | `routing` | lists of rules, of routes that refuse packets, and of addresses |
//! | `configuration` | the configuration file, and the users and groups that it names |
//! | `diag` | all sockets, by sock_diag and /proc/net |
//! | `option` | socket options that no crate wraps |
//! | `seccomp` | filters of system calls, for keeper and engine |
//! | `mapping` | memory shared between keeper, engine and kernel |
//! | `names` | names of addresses, by the resolver |
//! | `processes` | which process holds a socket, and copies of sockets |
//! | `group_socket` | group memberships by interface index |
//! | `received` | descriptors that arrive with a message, or from the starter |

#[cfg(any(feature = "daemon", feature = "historian"))]
pub mod configuration;
#[cfg(any(feature = "daemon", feature = "client"))]
pub(crate) mod counters;
#[cfg(any(feature = "daemon", feature = "client"))]
pub mod diag;
#[cfg(feature = "client")]
pub(crate) mod group_socket;
#[cfg(feature = "daemon")]
pub mod mapping;
#[cfg(feature = "client")]
pub(crate) mod names;
#[cfg(feature = "client")]
pub(crate) mod netfilter;
#[cfg(any(feature = "daemon", feature = "client"))]
pub mod netlink;
pub mod option;
#[cfg(feature = "client")]
pub(crate) mod processes;
pub(crate) mod received;
#[cfg(feature = "daemon")]
pub(crate) mod routing;
#[cfg(feature = "daemon")]
pub mod seccomp;

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use netsonde_core::host::membership::Membership;
use netsonde_core::protocol::service::Namespace;

/// Describes an error of the system, as strerror(3) does, without its number.
pub fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().into(),
        None => error.to_string(),
    }
}

/// Reads a file of /proc/net; empty if it cannot be read. The file is that of the thread, because
/// network namespaces belong to threads.
pub fn proc_net(name: &str) -> String {
    read_proc_net(name, u64::MAX)
}

fn read_proc_net(name: &str, most_bytes: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(format!("/proc/thread-self/net/{name}")) {
        let _ = file.take(most_bytes).read_to_end(&mut bytes);
    }
    // A link whose name is not UTF-8 must not hide the others.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the first complete lines of such a file, at most this many bytes: some grow with the
/// routes of the Internet.
pub fn proc_net_start(name: &str, most_bytes: u64) -> String {
    let mut text = read_proc_net(name, most_bytes);
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    text.truncate(end);
    text
}

/// Returns the wall clock, in nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// Returns one of the kernel's clocks in nanoseconds; 0 if the kernel lacks it.
pub fn clock_ns(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |now| {
        now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
    })
}

/// Returns the monotonic clock, in nanoseconds since an unspecified time.
pub fn monotonic_ns() -> u64 {
    clock_ns(ClockId::CLOCK_MONOTONIC)
}

/// Returns the kernel's group memberships, by interface index.
pub fn memberships() -> HashMap<u32, Vec<Membership>> {
    netsonde_core::host::membership::memberships(&proc_net("igmp"), &proc_net("igmp6"))
}

/// Returns the network namespace of this thread, without opening it.
///
/// # Errors
/// /proc is not mounted, or shows the processes of another PID namespace.
pub fn network_namespace() -> std::io::Result<Namespace> {
    let found = std::fs::metadata("/proc/thread-self/ns/net")?;
    Ok(Namespace {
        device: found.dev(),
        inode: found.ino(),
    })
}

/// Reads a numeric sysctl of this network namespace, such as `net/ipv4/ip_forward`.
pub fn sysctl(name: &str) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.trim().parse().ok()
}
