//! SHELL. The processes that hold a socket, and the groups it has joined: from /proc, and from a
//! copy of the descriptor (pidfd_getfd(2)), as far as the caller may (PTRACE_MODE_ATTACH). One of
//! the files that may use `unsafe`.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::linux::option::get_option;
use netsonde_core::diagnose::evidence::{Holder, Process};
use netsonde_core::host::membership::Membership;
use netsonde_core::host::socket::ProcSocket;
use netsonde_core::sockets::Filter;
use netsonde_core::wire::cursor::text;

/// Maximum number of processes examined.
const MAX_PROCESSES: usize = 65_536;
/// TASK_COMM_LEN (linux/sched.h), and more for threads of the kernel.
const NAME_MAX: usize = 64;
/// Maximum number of membership queries: sockets times groups.
pub const MAX_QUERIES: usize = 200_000;
/// MCAST_MSFILTER (linux/in.h): the source filter that a socket has for a group.
const MSFILTER: i32 = 48;
/// MCAST_INCLUDE.
const INCLUDE: u32 = 1;
/// Layout of struct group_filter: interface, group (a sockaddr_storage), mode, count, sources.
const GROUP_AT: usize = 8;
const STORAGE: usize = 128;
const MODE_AT: usize = GROUP_AT + STORAGE;
const COUNT_AT: usize = MODE_AT + 4;
const SOURCES_AT: usize = COUNT_AT + 4;
/// Maximum number of sources read per membership; Linux allows 10 or 64 by default.
const SOURCES: usize = 64;
/// IP_MULTICAST_ALL (linux/in.h), IPV6_MULTICAST_ALL (linux/in6.h).
const MULTICAST_ALL: (i32, i32) = (49, 29);

/// A socket that a process holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The process.
    pub process: Process,
    /// User ID of the process.
    pub uid: u32,
    /// Its descriptor; a process that holds a socket several times is listed once.
    pub descriptor: RawFd,
}

/// A socket that processes of this network namespace hold, and that none of its lists contains.
#[derive(Clone, Debug, PartialEq)]
pub struct Unlisted {
    /// Inode number.
    pub inode: u64,
    /// The kernel's name for its protocol (system.sockprotoname), such as `AF_VSOCK` or `ALG`.
    pub protocol: String,
    /// Processes that hold it.
    pub held: Held,
}

/// Sockets by inode, with all processes that hold each.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// Holders by inode.
    pub by_inode: HashMap<u64, Vec<Held>>,
    /// Sockets in no list.
    pub unlisted: Vec<Unlisted>,
    /// Number of processes whose descriptors the caller may not see.
    pub hidden: usize,
    /// Number of processes not examined, because there are too many.
    pub skipped: usize,
}

/// Returns which process holds which socket, as far as the caller may know. `listed` are the
/// sockets in the kernel's lists.
pub fn holdings(listed: &HashSet<u64>) -> Holdings {
    let network = |of: &Path| fs::read_link(of.join("ns/net")).ok();
    let here = network(Path::new("/proc/thread-self"));
    let mut all = Holdings::default();
    let mut seen = HashSet::new();
    let (mut of, mut is_same_namespace) = (0, false);
    let walked = walk(|found| {
        if listed.contains(&found.inode) {
            let holders = all.by_inode.entry(found.inode).or_default();
            if !holders.iter().any(|one| one.process.pid == found.pid) {
                holders.push(found.held());
            }
            return;
        }
        if found.pid != of {
            of = found.pid;
            is_same_namespace = here.is_some() && network(found.folder) == here;
        }
        if is_same_namespace && seen.insert(found.inode) {
            let path = found.folder.join(format!("fd/{}", found.descriptor));
            if let Some(protocol) = protocol_of(&path) {
                all.unlisted.push(Unlisted {
                    inode: found.inode,
                    protocol,
                    held: found.held(),
                });
            }
        }
    });
    (all.hidden, all.skipped) = walked;
    all
}

/// Returns the processes that have these sockets open: by inode, the process and its descriptor.
pub fn owners(inodes: &HashSet<u64>) -> HashMap<u64, (Process, RawFd)> {
    let mut all = HashMap::new();
    walk(|found| {
        if inodes.contains(&found.inode) {
            all.entry(found.inode)
                .or_insert_with(|| (found.process(), found.descriptor));
        }
    });
    all
}

/// Returns the sanitized name of a process, which the process itself can set (PR_SET_NAME).
pub fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(text(name.trim_ascii(), NAME_MAX))
}

/// A descriptor of a process that is a socket.
struct Found<'a> {
    folder: &'a Path,
    pid: u32,
    descriptor: RawFd,
    inode: u64,
    command: &'a OnceCell<String>,
}

impl Found<'_> {
    fn process(&self) -> Process {
        let command = self
            .command
            .get_or_init(|| command(self.pid).unwrap_or("?".into()));
        Process {
            pid: self.pid,
            command: command.clone(),
        }
    }

    fn held(&self) -> Held {
        Held {
            process: self.process(),
            uid: fs::metadata(self.folder).map_or(u32::MAX, |of| of.uid()),
            descriptor: self.descriptor,
        }
    }
}

/// Calls `each` for every socket of every process. Returns the number of processes that the caller
/// may not examine, and of those beyond the limit.
fn walk(mut each: impl FnMut(&Found<'_>)) -> (usize, usize) {
    let (mut hidden, mut looked_at) = (0, 0);
    let Ok(processes) = fs::read_dir("/proc") else {
        return (0, 0);
    };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        looked_at += 1;
        if looked_at > MAX_PROCESSES {
            continue;
        }
        let folder = process.path();
        // Those of other users only with privilege.
        let descriptors = match fs::read_dir(folder.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                hidden += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
                continue;
            }
        };
        let command = OnceCell::new();
        let mut is_hidden = false;
        for descriptor in descriptors.flatten() {
            let number = descriptor
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let link = fs::read_link(descriptor.path());
            // For processes of the same user with more capabilities, only the numbers are visible.
            let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            is_hidden |= link.as_ref().is_err_and(is_denied);
            let inode = link.ok().and_then(|link| {
                let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                text.parse::<u64>().ok()
            });
            if let (Some(descriptor), Some(inode)) = (number, inode) {
                each(&Found {
                    folder: &folder,
                    pid,
                    descriptor,
                    inode,
                    command: &command,
                });
            }
        }
        hidden += usize::from(is_hidden);
    }
    (hidden, looked_at.saturating_sub(MAX_PROCESSES))
}

/// Returns the kernel's name for the protocol of a socket: the extended attribute that lsof(8) uses
/// as well.
fn protocol_of(path: &Path) -> Option<String> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut buffer = [0u8; 64];
    // SAFETY: both strings end with a zero byte, and pointer and length describe `buffer`.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"system.sockprotoname".as_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
    };
    let name = buffer.get(..usize::try_from(length).ok()?)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// A copy of another process's socket, for reading its options.
pub struct SocketCopy(OwnedFd);

impl SocketCopy {
    /// Copies the socket, if the caller may and the descriptor still is that socket.
    pub fn of(held: &Held, inode: u64) -> Option<SocketCopy> {
        let copy = copy(held.process.pid, held.descriptor).ok()?;
        let found = nix::sys::stat::fstat(&copy).ok()?;
        (found.st_ino == inode).then_some(SocketCopy(copy))
    }

    /// Returns its filter.
    pub fn filter(&self) -> Filter {
        // Without a buffer, the kernel returns the number of instructions.
        match get_option(&self.0, libc::SOL_SOCKET, libc::SO_GET_FILTER, &mut []) {
            Ok(0) => Filter::None,
            Ok(count) => Filter::Classic(count as u32),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => Filter::Extended,
            Err(_) => Filter::Unknown,
        }
    }

    /// Returns the interface that it is bound to.
    pub fn device(&self) -> Option<String> {
        device(&self.0)
    }

    /// Returns the groups that it has joined, of those of the host. `asked` counts the queries;
    /// beyond their limit, none are made.
    pub fn joined(&self, held: &HashMap<u32, Vec<Membership>>, asked: &mut usize) -> Vec<Joined> {
        let mut all = Vec::new();
        for (ifindex, groups) in held {
            for membership in groups {
                *asked += 1;
                if *asked > MAX_QUERIES {
                    return all;
                }
                if let Ok((include, sources)) = filter(&self.0, *ifindex, membership.group) {
                    all.push((*ifindex, membership.group, include, sources));
                }
            }
        }
        all.sort();
        all
    }
}

/// A membership of a socket: interface, group, whether the sources are included (otherwise
/// excluded), and the sources.
pub type Joined = (u32, IpAddr, bool, Vec<IpAddr>);

/// Returns the sockets that joined a group (`None` for any), and all memberships, as far as the
/// caller may know.
pub fn holders(
    sockets: &[ProcSocket],
    memberships: &HashMap<u32, Vec<Membership>>,
    group: Option<IpAddr>,
) -> Vec<Holder> {
    let inodes: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut queries = 0;
    let mut all = Vec::new();
    for (inode, (process, descriptor)) in owners(&inodes) {
        let Ok(copy) = copy(process.pid, descriptor) else {
            continue;
        };
        let mut holder = Holder {
            process,
            inode,
            joined: vec![],
            groups: 0,
            takes_all: number(&copy, libc::IPPROTO_IP, MULTICAST_ALL.0)
                .or_else(|| number(&copy, libc::IPPROTO_IPV6, MULTICAST_ALL.1))
                != Some(0),
            device: device(&copy),
            receive_buffer: number(&copy, libc::SOL_SOCKET, libc::SO_RCVBUF)
                .unwrap_or(0)
                .into(),
        };
        for (ifindex, groups) in memberships {
            for membership in groups {
                queries += 1;
                if queries > MAX_QUERIES {
                    break;
                }
                if let Ok((include, sources)) = filter(&copy, *ifindex, membership.group) {
                    holder.groups += 1;
                    if group.is_none_or(|group| membership.group == group) {
                        let entry = (*ifindex, membership.group, include, sources);
                        holder.joined.push(entry);
                    }
                }
            }
        }
        all.push(holder);
    }
    all.sort_by_key(|holder| holder.inode);
    all
}

/// A copy of another process's descriptor.
fn copy(pid: u32, descriptor: RawFd) -> io::Result<OwnedFd> {
    let owned = |result: libc::c_long| {
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel has just made for this process; nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
    };
    // SAFETY: only numbers are passed.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) })
}

fn number(socket: &OwnedFd, level: i32, name: i32) -> Option<u32> {
    let mut buffer = [0; 4];
    get_option(socket, level, name, &mut buffer).ok()?;
    Some(u32::from_ne_bytes(buffer))
}

/// Returns the interface that it is bound to (SO_BINDTODEVICE).
fn device(socket: &OwnedFd) -> Option<String> {
    let mut buffer = [0; libc::IFNAMSIZ];
    let length = get_option(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &mut buffer).ok()?;
    let name = buffer.get(..length)?.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Returns mode (include?) and sources of a socket's membership. Fails if it has none there.
fn filter(socket: &OwnedFd, ifindex: u32, group: IpAddr) -> io::Result<(bool, Vec<IpAddr>)> {
    let mut buffer = vec![0u8; SOURCES_AT + SOURCES * STORAGE];
    buffer[..4].copy_from_slice(&ifindex.to_ne_bytes());
    let (level, family) = match group {
        IpAddr::V4(v4) => {
            buffer[GROUP_AT + 4..GROUP_AT + 8].copy_from_slice(&v4.octets());
            (libc::IPPROTO_IP, libc::AF_INET)
        }
        IpAddr::V6(v6) => {
            buffer[GROUP_AT + 8..GROUP_AT + 24].copy_from_slice(&v6.octets());
            (libc::IPPROTO_IPV6, libc::AF_INET6)
        }
    };
    buffer[GROUP_AT..GROUP_AT + 2].copy_from_slice(&(family as u16).to_ne_bytes());
    buffer[COUNT_AT..COUNT_AT + 4].copy_from_slice(&(SOURCES as u32).to_ne_bytes());
    get_option(socket, level, MSFILTER, &mut buffer)?;
    let word = |at: usize| {
        u32::from_ne_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]])
    };
    let count = (word(COUNT_AT) as usize).min(SOURCES);
    let sources = (0..count).map(|number| {
        let at = SOURCES_AT + number * STORAGE;
        if group.is_ipv4() {
            Ipv4Addr::new(
                buffer[at + 4],
                buffer[at + 5],
                buffer[at + 6],
                buffer[at + 7],
            )
            .into()
        } else {
            let mut octets = [0; 16];
            octets.copy_from_slice(&buffer[at + 8..at + 24]);
            Ipv6Addr::from(octets).into()
        }
    });
    Ok((word(MODE_AT) == INCLUDE, sources.collect()))
}
