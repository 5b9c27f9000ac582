//! SHELL. Which process holds which socket, and what that socket has joined: by /proc, and by a copy of
//! the descriptor (pidfd_getfd(2)), as far as the asker may (PTRACE_MODE_ATTACH). One of the files that
//! may use `unsafe`.
#![allow(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::diagnose::evidence::{Holder, Process};
use crate::host::membership::Membership;
use crate::host::socket::Socket;
use crate::kernel::option::get_option;
use crate::wire::cursor::text;

/// Processes that are looked at.
const MOST_PROCESSES: usize = 65_536;
/// TASK_COMM_LEN (linux/sched.h), and more for threads of the kernel.
const NAME_MAX: usize = 64;
/// Questions to the kernel about memberships: sockets times groups.
const MOST_QUESTIONS: usize = 200_000;
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
/// Sources that are read of one membership; Linux allows 10 or 64 by default.
const SOURCES: usize = 64;
/// IP_MULTICAST_ALL (linux/in.h), IPV6_MULTICAST_ALL (linux/in6.h).
const MULTICAST_ALL: (i32, i32) = (49, 29);

/// Which processes have which of these sockets open: by inode, the process and its descriptor.
pub fn owners(inodes: &HashSet<u64>) -> HashMap<u64, (Process, RawFd)> {
    let mut all = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return all;
    };
    for process in processes.flatten().take(MOST_PROCESSES) {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // Of other users only with privilege.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut command = None;
        for descriptor in descriptors.flatten() {
            let number = descriptor
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let inode = fs::read_link(descriptor.path()).ok().and_then(|link| {
                let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                text.parse::<u64>().ok()
            });
            let (Some(number), Some(inode)) = (number, inode) else {
                continue;
            };
            if inodes.contains(&inode) {
                let command = command.get_or_insert_with(|| {
                    // A process calls itself what it likes (PR_SET_NAME).
                    let name = fs::read(process.path().join("comm"));
                    name.map_or("?".into(), |name| text(name.trim_ascii(), NAME_MAX))
                });
                let process = Process {
                    pid,
                    command: command.clone(),
                };
                all.entry(inode).or_insert((process, number));
            }
        }
    }
    all
}

/// What the sockets hold of a group (`None`: of any), and of groups in all, as far as the asker may
/// know.
pub fn holders(
    sockets: &[Socket],
    memberships: &HashMap<u32, Vec<Membership>>,
    group: Option<IpAddr>,
) -> Vec<Holder> {
    let inodes: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut questions = 0;
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
                questions += 1;
                if questions > MOST_QUESTIONS {
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
        // SAFETY: a descriptor that the kernel has just made for this process; nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
    };
    // SAFETY: only numbers are passed.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) })
}

fn number(socket: &OwnedFd, level: i32, name: i32) -> Option<u32> {
    let mut room = [0; 4];
    get_option(socket, level, name, &mut room).ok()?;
    Some(u32::from_ne_bytes(room))
}

/// The interface that it is bound to (SO_BINDTODEVICE).
fn device(socket: &OwnedFd) -> Option<String> {
    let mut room = [0; libc::IFNAMSIZ];
    let length = get_option(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &mut room).ok()?;
    let name = room.get(..length)?.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Mode (include?) and sources of a socket's membership; an error if it has none there.
fn filter(socket: &OwnedFd, ifindex: u32, group: IpAddr) -> io::Result<(bool, Vec<IpAddr>)> {
    let mut room = vec![0u8; SOURCES_AT + SOURCES * STORAGE];
    room[..4].copy_from_slice(&ifindex.to_ne_bytes());
    let (level, family) = match group {
        IpAddr::V4(v4) => {
            room[GROUP_AT + 4..GROUP_AT + 8].copy_from_slice(&v4.octets());
            (libc::IPPROTO_IP, libc::AF_INET)
        }
        IpAddr::V6(v6) => {
            room[GROUP_AT + 8..GROUP_AT + 24].copy_from_slice(&v6.octets());
            (libc::IPPROTO_IPV6, libc::AF_INET6)
        }
    };
    room[GROUP_AT..GROUP_AT + 2].copy_from_slice(&(family as u16).to_ne_bytes());
    room[COUNT_AT..COUNT_AT + 4].copy_from_slice(&(SOURCES as u32).to_ne_bytes());
    get_option(socket, level, MSFILTER, &mut room)?;
    let word = |at: usize| u32::from_ne_bytes([room[at], room[at + 1], room[at + 2], room[at + 3]]);
    let count = (word(COUNT_AT) as usize).min(SOURCES);
    let sources = (0..count).map(|number| {
        let at = SOURCES_AT + number * STORAGE;
        if group.is_ipv4() {
            Ipv4Addr::new(room[at + 4], room[at + 5], room[at + 6], room[at + 7]).into()
        } else {
            let mut octets = [0; 16];
            octets.copy_from_slice(&room[at + 8..at + 24]);
            Ipv6Addr::from(octets).into()
        }
    });
    Ok((word(MODE_AT) == INCLUDE, sources.collect()))
}
