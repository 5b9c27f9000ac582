//! SHELL. Inventory of the sockets of this network namespace: the kernel's lists, owners, memberships.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use netsonde_core::families::{DGRAM, RAW};
use netsonde_core::host::membership::{Membership, SourceFilter, source_filters};
use netsonde_core::protocol::service::Status;
use netsonde_core::sockets::{Detail, Filter, INET, INET6, MPTCP, Socket, TCP};
use netsonde_core::wire::services::service_name;
use nix::net::if_::if_indextoname;
use nix::unistd::{Uid, User};

use crate::linux::diag::{self, Source};
use crate::linux::processes::{self, Held, Joined, MAX_QUERIES, SocketCopy, Unlisted};
use crate::linux::{memberships, proc_net};
use crate::varlink::client::ask;

/// CAP_SYS_PTRACE (linux/capability.h).
const SYS_PTRACE: u32 = 19;

/// A socket, with its owners and memberships.
pub struct Entry {
    /// Data available to every user.
    pub socket: Socket,
    /// Processes that hold it, within the caller's permissions.
    pub holders: Vec<Held>,
    /// Whether it belongs to netsonded.
    pub ours: bool,
    /// Socket filter.
    pub filter: Filter,
    /// Multicast memberships.
    pub joined: Vec<Joined>,
    /// Whether it is selected. Others are kept to name the peers of selected ones.
    pub is_wanted: bool,
}

/// A socket that is not in any list of the kernel.
pub struct Stray {
    /// The socket.
    pub socket: Unlisted,
    /// Whether it belongs to netsonded.
    pub ours: bool,
    /// Multicast memberships: a socket without a port may be a member.
    pub joined: Vec<Joined>,
}

/// Membership of a socket in a group.
pub struct Member<'a> {
    /// Inode number of the socket.
    pub inode: u64,
    /// Processes that hold it.
    pub holders: &'a [Held],
    /// Whether it belongs to netsonded.
    pub ours: bool,
    /// The membership.
    pub joined: &'a Joined,
}

/// All sockets, with the state that explains them.
pub struct SocketInventory {
    /// Listed sockets.
    pub entries: Vec<Entry>,
    /// Lists that were read.
    pub sources: Vec<Source>,
    /// Sockets of processes in this namespace that are not in any list.
    pub unlisted: Vec<Stray>,
    /// Number of processes that the caller may not inspect.
    pub hidden: usize,
    /// Whether the caller has CAP_SYS_PTRACE.
    pub may_inspect_all: bool,
    /// Number of processes not inspected because of the limit.
    pub skipped: usize,
    /// Whether some memberships were not queried because of the limit.
    pub is_cut: bool,
    /// Memberships by interface index.
    pub memberships: HashMap<u32, Vec<Membership>>,
    /// Source filters of all interfaces.
    pub source_filters: Vec<SourceFilter>,
    /// Ports that the kernel assigns to sockets without one (net.ipv4.ip_local_port_range).
    pub local_ports: Option<(u16, u16)>,
    /// Names by interface index.
    interfaces: HashMap<u32, String>,
    /// User names by uid.
    users: HashMap<u32, String>,
}

/// Gathers all sockets, with the service's own marked if it answers.
pub fn gather(service: &Path) -> SocketInventory {
    // If no service answers, no socket is netsonded's.
    let status: Option<Status> = ask(service, "io.netsonde.Service.Status").ok();
    let (own, own_sockets) = status.map_or((vec![], vec![]), |status| {
        (vec![status.keeper_pid, status.engine.pid], status.sockets)
    });
    // The service may be in another PID namespace, where its numbers mean other processes.
    let keeper = own.first().and_then(|pid| processes::command(*pid));
    let is_here = keeper.is_some_and(|name| name.starts_with("netsonde"));
    let ours = |held: &Held| is_here && own.contains(&held.process.pid);
    let (sockets, sources) = diag::sockets();
    let inodes: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut held = processes::holdings(&inodes);
    let memberships = memberships();
    let mut asked = 0;
    let mut entries: Vec<Entry> = sockets
        .into_iter()
        .map(|socket| {
            let holders = held.by_inode.remove(&socket.inode).unwrap_or_default();
            let mut entry = Entry {
                // The service reports its sockets for callers that cannot inspect its processes.
                ours: holders.iter().any(ours) || own_sockets.contains(&socket.inode),
                filter: match &socket.detail {
                    Detail::Packet(packet) => packet.filter,
                    _ => Filter::Unknown,
                },
                joined: vec![],
                is_wanted: true,
                socket,
                holders,
            };
            entry.inspect_descriptors(&memberships, &mut asked);
            entry
        })
        .collect();
    remove_closed(&mut entries);
    entries.sort_by_cached_key(|entry| {
        let socket = &entry.socket;
        let (local, remote) = socket.addresses().unzip();
        let sort = (socket.family, socket.kind, socket.protocol, socket.state);
        (sort, local, remote, socket.inode)
    });
    let unlisted: Vec<Stray> = held
        .unlisted
        .into_iter()
        .map(|socket| {
            let joins = ["UDP", "RAW", "PING"]
                .iter()
                .any(|one| socket.protocol.starts_with(one));
            let copy = joins
                .then(|| SocketCopy::of(&socket.held, socket.inode))
                .flatten();
            Stray {
                ours: ours(&socket.held),
                joined: copy.map_or(vec![], |copy| copy.joined(&memberships, &mut asked)),
                socket,
            }
        })
        .collect();
    let mut gathered = SocketInventory {
        entries,
        sources,
        unlisted,
        hidden: held.hidden,
        may_inspect_all: may_inspect_all(),
        skipped: held.skipped,
        is_cut: asked > MAX_QUERIES,
        memberships,
        source_filters: source_filters(&proc_net("mcfilter"), &proc_net("mcfilter6")),
        local_ports: local_ports(),
        interfaces: HashMap::new(),
        users: HashMap::new(),
    };
    gathered.resolve_names();
    gathered
}

/// Removes sockets without a known owner that have been closed since the kernel's lists were read,
/// such as the service's end of the first query.
fn remove_closed(entries: &mut Vec<Entry>) {
    let is_unowned = |entry: &Entry| entry.is_ownable() && entry.holders.is_empty();
    if entries.iter().any(is_unowned) {
        let (still, _) = diag::sockets();
        let still: HashSet<u64> = still.iter().map(|socket| socket.inode).collect();
        entries.retain(|entry| !is_unowned(entry) || still.contains(&entry.socket.inode));
    }
}

/// Returns whether this process may inspect all others (CAP_SYS_PTRACE).
fn may_inspect_all() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    held.is_some_and(|set| set & 1 << SYS_PTRACE != 0)
}

fn local_ports() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

impl Entry {
    /// Adds data that requires a copy of the descriptor: filters, which the kernel hides from
    /// callers without CAP_NET_ADMIN (or does not list: raw sockets), the interface of sockets from
    /// /proc/net, and memberships.
    fn inspect_descriptors(&mut self, held: &HashMap<u32, Vec<Membership>>, asked: &mut usize) {
        let is_ip = matches!(self.socket.family, INET | INET6);
        let joins = is_ip && matches!(self.socket.kind, DGRAM | RAW);
        let is_open = matches!(self.filter, Filter::Unknown | Filter::NotClassic);
        let hides = self.socket.can_capture() && is_open;
        if !joins && !hides {
            return;
        }
        let inode = self.socket.inode;
        let copied = |holder| SocketCopy::of(holder, inode);
        let Some(copy) = self.holders.iter().find_map(copied) else {
            return;
        };
        if hides {
            self.filter = copy.filter();
        }
        if joins {
            self.joined = copy.joined(held, asked);
        }
        if self.socket.ifindex == 0
            && is_ip
            && let Some(device) = copy.device()
            && let Ok(index) = nix::net::if_::if_nametoindex(device.as_str())
        {
            self.socket.ifindex = index;
        }
    }

    /// Returns the user: the one listed by the kernel, otherwise the one of the first holder.
    pub fn uid(&self) -> Option<u32> {
        let of = |held: &Held| (held.uid != u32::MAX).then_some(held.uid);
        self.socket
            .uid
            .or_else(|| self.holders.first().and_then(of))
    }

    /// Returns whether a process may hold it. Sockets that outlive their owner or wait to be
    /// accepted have no inode number, and the kernel's ends of netlink have no port.
    pub fn is_ownable(&self) -> bool {
        self.socket.inode != 0 && !self.is_kernels()
    }

    /// Returns whether it is the kernel's end of netlink.
    pub fn is_kernels(&self) -> bool {
        matches!(self.socket.detail, Detail::Netlink { port: 0, .. })
    }
}

impl SocketInventory {
    fn resolve_names(&mut self) {
        let mut indices: HashSet<u32> = self.memberships.keys().copied().collect();
        for entry in &self.entries {
            indices.insert(entry.socket.ifindex);
            if let Detail::Packet(packet) = &entry.socket.detail {
                indices.extend(packet.promiscuous.iter().chain(&packet.all_multicast));
            }
        }
        let strays = self.unlisted.iter().map(|stray| stray.socket.held.uid);
        let uids: HashSet<u32> = self
            .entries
            .iter()
            .filter_map(Entry::uid)
            .chain(strays)
            .collect();
        for uid in uids {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            let name = user.map_or_else(|| uid.to_string(), |user| user.name);
            self.users.insert(uid, name);
        }
        indices.remove(&0);
        for index in indices {
            // A deleted interface keeps its number.
            let name = if_indextoname(index)
                .map_or_else(|_| index.to_string(), |name| name.to_string_lossy().into());
            self.interfaces.insert(index, name);
        }
    }

    /// Returns the name of an interface.
    pub fn interface(&self, index: u32) -> Option<&str> {
        self.interfaces.get(&index).map(String::as_str)
    }

    /// Returns the name of a user.
    pub fn user(&self, uid: Option<u32>) -> Option<&str> {
        self.users.get(&uid?).map(String::as_str)
    }

    /// Returns the selected sockets.
    pub fn wanted(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.entries.iter().filter(|entry| entry.is_wanted)
    }

    /// Returns the number of selected sockets that need an owner but have none known.
    pub fn unowned(&self) -> usize {
        let is = |entry: &&Entry| entry.is_ownable() && entry.holders.is_empty();
        self.wanted().filter(is).count()
    }

    /// Returns the number of processes that hold selected sockets.
    pub fn owners(&self) -> usize {
        let of = self.wanted().flat_map(|entry| &entry.holders);
        of.map(|held| held.process.pid)
            .collect::<HashSet<_>>()
            .len()
    }

    /// Returns the sockets by inode number.
    pub fn by_inode(&self) -> HashMap<u64, &Entry> {
        let of = self.entries.iter().filter(|entry| entry.is_ownable());
        of.map(|entry| (entry.socket.inode, entry)).collect()
    }

    /// Returns whether the kernel may assign this port to any socket.
    pub fn is_local_port(&self, port: u16) -> bool {
        self.local_ports
            .is_some_and(|(first, last)| (first..=last).contains(&port))
    }

    /// Returns the sockets that are known to have joined a group.
    pub fn members(&self, index: u32, group: IpAddr) -> Vec<Member<'_>> {
        let of = |joined: &'_ Joined| joined.0 == index && joined.1 == group;
        let listed = self.entries.iter().map(|entry| {
            let inode = entry.socket.inode;
            (inode, &entry.holders[..], entry.ours, &entry.joined)
        });
        let strays = self.unlisted.iter().map(|stray| {
            let held = std::slice::from_ref(&stray.socket.held);
            (stray.socket.inode, held, stray.ours, &stray.joined)
        });
        let all = listed.chain(strays);
        all.filter_map(|(inode, holders, ours, joined)| {
            Some(Member {
                inode,
                holders,
                ours,
                joined: joined.iter().find(|joined| of(joined))?,
            })
        })
        .collect()
    }
}

/// Returns the service name of the local port, or else of the remote one.
pub fn service(socket: &Socket) -> Option<&'static str> {
    let (local, remote): (SocketAddr, SocketAddr) = socket.addresses()?;
    let is_tcp = matches!(socket.protocol, TCP | MPTCP);
    let name = |port: u16| service_name(is_tcp, port).filter(|_| port != 0);
    socket
        .has_ports()
        .then(|| name(local.port()).or_else(|| name(remote.port())))?
}
