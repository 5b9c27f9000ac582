//! SHELL. `sockets`: the kernel's lists of sockets, with who holds each and what only its owner may know of
//! it, as tables or JSON.

mod text;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::net::if_::if_indextoname;
use nix::unistd::{Uid, User};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::client::cli::args::{Global, Sockets};
use crate::client::connection::ask;
use crate::client::failure::Failure;
use crate::client::render::style::Style;
use crate::linux::diag::{self, Source};
use crate::linux::processes::{self, Held, Joined, MOST_QUESTIONS, SocketCopy, Unlisted};
use crate::linux::{memberships, proc_net};
use netsonde_core::families::{DGRAM, RAW, family_name, type_name};
use netsonde_core::host::membership::{Membership, SourceFilter, source_filters};
use netsonde_core::protocol::service::Status;
use netsonde_core::sockets::select::{Count, SocketQuery, count};
use netsonde_core::sockets::{Detail, Filter, INET, INET6, MPTCP, Socket, TCP};
use netsonde_core::wire::services::{port_range, service_name};

/// CAP_SYS_PTRACE (linux/capability.h).
const SYS_PTRACE: u32 = 19;

/// A socket with all that is known of it.
pub struct Entry {
    /// What the kernel says to everybody.
    pub socket: Socket,
    /// Who holds it, as far as the asker may know.
    pub holders: Vec<Held>,
    /// Is it netsonded's?
    pub ours: bool,
    /// Its filter.
    pub filter: Filter,
    /// What it has joined.
    pub joined: Vec<Joined>,
    /// Was it asked for? The others are there to say who is at the other end.
    pub is_wanted: bool,
}

/// A socket that is in no list, with what is known of it.
pub struct Stray {
    /// The socket.
    pub socket: Unlisted,
    /// Is it netsonded's?
    pub ours: bool,
    /// What it has joined: a socket without a port may be a member.
    pub joined: Vec<Joined>,
}

/// A member of a group: its socket's number, who holds it, whether it is netsonded's, and how it joined.
pub struct Member<'a> {
    /// The number of the socket.
    pub inode: u64,
    /// Who holds it.
    pub holders: &'a [Held],
    /// Is it netsonded's?
    pub ours: bool,
    /// How it joined.
    pub joined: &'a Joined,
}

/// All of it.
pub struct Gathered {
    /// The sockets.
    pub entries: Vec<Entry>,
    /// Where they came from.
    pub sources: Vec<Source>,
    /// Sockets of this namespace's processes that no list has.
    pub unlisted: Vec<Stray>,
    /// Processes that the asker may not look into.
    pub hidden: usize,
    /// May the asker look into every process that the system lets anybody look into?
    pub may_look: bool,
    /// Processes that were too many.
    pub skipped: usize,
    /// Were there more memberships to ask for than are asked?
    pub is_cut: bool,
    /// Memberships by interface.
    pub memberships: HashMap<u32, Vec<Membership>>,
    /// Source filters by interface.
    pub source_filters: Vec<SourceFilter>,
    /// Ports that the kernel gives to sockets that ask for none (net.ipv4.ip_local_port_range).
    pub local_ports: Option<(u16, u16)>,
    /// Names of interfaces.
    interfaces: HashMap<u32, String>,
    /// Names of users.
    users: HashMap<u32, String>,
}

/// `netsonde sockets`.
pub fn run(global: &Global, service: &Path, wanted: &Sockets) -> Result<u8, Failure> {
    let mut all = gather(service);
    let selection = SocketQuery {
        listening: wanted.listen,
        sniffing: wanted.sniff,
        family: wanted.family,
        kind: wanted.kind,
        port: wanted.port,
    };
    let is_selected = selection != SocketQuery::default() || wanted.process.is_some();
    for entry in &mut all.entries {
        let is_of = |name: &String| entry.holders.iter().any(|held| is_process(held, name));
        entry.is_wanted =
            selection.matches(&entry.socket) && wanted.process.as_ref().is_none_or(is_of);
    }
    let mut out = io::stdout().lock();
    if global.json {
        let mut to = io::BufWriter::new(&mut out);
        serde_json::to_writer_pretty(&mut to, &all).map_err(io::Error::from)?;
        writeln!(to)?;
        to.flush()?;
    } else {
        let style = Style::new(global.color);
        let text = if wanted.sniff {
            text::sniffers(&all, style)
        } else if is_selected {
            text::selected(&all, style)
        } else {
            text::overview(&all, style, global.verbose)
        };
        write!(out, "{text}")?;
    }
    // Asked for something, and it is not there.
    Ok(u8::from(is_selected && all.wanted().next().is_none()))
}

/// A process by its number or its name, of which the kernel keeps 15 bytes.
fn is_process(held: &Held, wanted: &str) -> bool {
    let command = &held.process.command;
    wanted == held.process.pid.to_string()
        || wanted == command
        || (command.len() == 15 && wanted.starts_with(command.as_str()))
}

fn gather(service: &Path) -> Gathered {
    // Where no service answers, nothing is ours.
    let status: Option<Status> = ask(service, "io.netsonde.Service.Status").ok();
    let (own, own_sockets) = status.map_or((vec![], vec![]), |status| {
        (vec![status.keeper_pid, status.engine.pid], status.sockets)
    });
    // Its numbers may be of another namespace of processes than ours.
    let keeper = own.first().and_then(|pid| processes::command(*pid));
    let is_here = keeper.is_some_and(|name| name.starts_with("netsonde"));
    let ours = |held: &Held| is_here && own.contains(&held.process.pid);
    let (sockets, sources) = diag::sockets();
    let inodes: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut held = processes::holdings(&inodes);
    let memberships = memberships();
    let mut asked = 0;
    let mut entries: Vec<Entry> = (sockets.into_iter())
        .map(|socket| {
            let holders = held.by_inode.remove(&socket.inode).unwrap_or_default();
            let mut entry = Entry {
                // The service tells its sockets to whoever may not look into its processes.
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
            entry.look_inside(&memberships, &mut asked);
            entry
        })
        .collect();
    leave_out_gone(&mut entries);
    entries.sort_by_cached_key(|entry| {
        let socket = &entry.socket;
        let (local, remote) = socket.addresses().unzip();
        let sort = (socket.family, socket.kind, socket.protocol, socket.state);
        (sort, local, remote, socket.inode)
    });
    let unlisted: Vec<Stray> = (held.unlisted.into_iter())
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
    let mut gathered = Gathered {
        entries,
        sources,
        unlisted,
        hidden: held.hidden,
        may_look: may_look(),
        skipped: held.skipped,
        is_cut: asked > MOST_QUESTIONS,
        memberships,
        source_filters: source_filters(&proc_net("mcfilter"), &proc_net("mcfilter6")),
        local_ports: local_ports(),
        interfaces: HashMap::new(),
        users: HashMap::new(),
    };
    gathered.take_names();
    gathered
}

/// A socket that nobody is known to hold may have been closed between the kernel's lists and the look at
/// processes, such as the service's end of the question that was asked first. Those are not told of.
fn leave_out_gone(entries: &mut Vec<Entry>) {
    let is_unowned = |entry: &Entry| entry.is_ownable() && entry.holders.is_empty();
    if entries.iter().any(is_unowned) {
        let (still, _) = diag::sockets();
        let still: HashSet<u64> = still.iter().map(|socket| socket.inode).collect();
        entries.retain(|entry| !is_unowned(entry) || still.contains(&entry.socket.inode));
    }
}

/// May this process look into every other (CAP_SYS_PTRACE)?
fn may_look() -> bool {
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
    /// What only a copy of the descriptor tells: filters that the kernel keeps from those without CAP_NET_ADMIN
    /// (or has no list for: raw sockets), the interface of sockets from /proc/net, and memberships.
    fn look_inside(&mut self, held: &HashMap<u32, Vec<Membership>>, asked: &mut usize) {
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

    /// The user: whom the kernel names, else whom the first holder runs as.
    pub fn uid(&self) -> Option<u32> {
        let of = |held: &Held| (held.uid != u32::MAX).then_some(held.uid);
        (self.socket.uid).or_else(|| self.holders.first().and_then(of))
    }

    /// Could a process hold it? What outlives its owner or waits to be accepted has no number, and the
    /// kernel's own ends of netlink have no port.
    pub fn is_ownable(&self) -> bool {
        self.socket.inode != 0 && !self.is_kernels()
    }

    /// Is it the kernel's own end of netlink?
    pub fn is_kernels(&self) -> bool {
        matches!(self.socket.detail, Detail::Netlink { port: 0, .. })
    }
}

impl Gathered {
    fn take_names(&mut self) {
        let mut indices: HashSet<u32> = self.memberships.keys().copied().collect();
        for entry in &self.entries {
            indices.insert(entry.socket.ifindex);
            if let Detail::Packet(packet) = &entry.socket.detail {
                indices.extend(packet.promiscuous.iter().chain(&packet.all_multicast));
            }
        }
        let strays = self.unlisted.iter().map(|stray| stray.socket.held.uid);
        let uids: HashSet<u32> = (self.entries.iter().filter_map(Entry::uid))
            .chain(strays)
            .collect();
        for uid in uids {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            let name = user.map_or_else(|| uid.to_string(), |user| user.name);
            self.users.insert(uid, name);
        }
        indices.remove(&0);
        for index in indices {
            // One that has gone meanwhile keeps its number.
            let name = if_indextoname(index)
                .map_or_else(|_| index.to_string(), |name| name.to_string_lossy().into());
            self.interfaces.insert(index, name);
        }
    }

    /// The name of an interface.
    pub fn interface(&self, index: u32) -> Option<&str> {
        self.interfaces.get(&index).map(String::as_str)
    }

    /// The name of a user.
    pub fn user(&self, uid: Option<u32>) -> Option<&str> {
        self.users.get(&uid?).map(String::as_str)
    }

    /// What was asked for.
    pub fn wanted(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.entries.iter().filter(|entry| entry.is_wanted)
    }

    /// Sockets that a process must hold, and that nobody is known for.
    pub fn unowned(&self) -> usize {
        let is = |entry: &&Entry| entry.is_ownable() && entry.holders.is_empty();
        self.wanted().filter(is).count()
    }

    /// Processes that hold sockets.
    pub fn owners(&self) -> usize {
        let of = self.wanted().flat_map(|entry| &entry.holders);
        of.map(|held| held.process.pid)
            .collect::<HashSet<_>>()
            .len()
    }

    /// Sockets by their number.
    pub fn by_inode(&self) -> HashMap<u64, &Entry> {
        let of = self.entries.iter().filter(|entry| entry.is_ownable());
        of.map(|entry| (entry.socket.inode, entry)).collect()
    }

    /// Is a port one of those that the kernel gives away?
    pub fn is_local_port(&self, port: u16) -> bool {
        self.local_ports
            .is_some_and(|(first, last)| (first..=last).contains(&port))
    }

    /// Counts by family, type, protocol and state.
    fn summary(&self) -> Vec<Value> {
        let counts = count(self.wanted().map(|entry| &entry.socket));
        let one = |count: &Count| {
            let states: serde_json::Map<String, Value> = (count.states.iter())
                .map(|(state, number)| (state.name(), (*number).into()))
                .collect();
            json!({
                "family": family_name(count.family),
                "type": type_name(count.kind),
                "protocol": count.protocol,
                "sockets": count.sockets,
                "states": states,
            })
        };
        counts.iter().map(one).collect()
    }

    /// Each group of each interface, and who is known to have joined it.
    fn groups(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut indices: Vec<u32> = self.memberships.keys().copied().collect();
        indices.sort_unstable();
        for index in indices {
            for membership in &self.memberships[&index] {
                let sources: Vec<Value> = (self.source_filters.iter())
                    .filter(|one| one.ifindex == index && one.group == membership.group)
                    .map(|one| {
                        json!({
                            "source": one.source.to_string(),
                            "include": one.include,
                            "exclude": one.exclude,
                        })
                    })
                    .collect();
                let members = self.members(index, membership.group);
                let joined: Vec<Value> = (members.iter())
                    .map(|member| {
                        json!({
                            "inode": member.inode,
                            "processes": holders(member.holders),
                        })
                    })
                    .collect();
                all.push(json!({
                    "interface": self.interface(index),
                    "group": membership.group.to_string(),
                    "users": membership.users,
                    "sources": sources,
                    "sockets": joined,
                }));
            }
        }
        all
    }

    /// Sockets that are known to have joined a group.
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

    /// One socket. Keys that a family does not have are left out.
    fn one(&self, entry: &Entry, by_inode: &HashMap<u64, &Entry>) -> Value {
        let socket = &entry.socket;
        let mut told = json!({
            "family": family_name(socket.family),
            "type": type_name(socket.kind),
            "protocol": socket.protocol_name(),
            "state": socket.state.name(),
            "inode": socket.inode,
            "uid": entry.uid(),
            "user": self.user(entry.uid()),
            "processes": holders(&entry.holders),
            "ours": entry.ours,
            "kernel": entry.is_kernels(),
            "receive_queue_bytes": socket.receive_queue,
            "send_queue_bytes": socket.send_queue,
            "drops": socket.drops,
        });
        let mut put = |key: &str, value: Value| told[key] = value;
        if let Some(interface) = self.interface(socket.ifindex) {
            put("interface", interface.into());
        }
        if let Some((waiting, limit)) = socket.backlog {
            put("backlog", waiting.into());
            put("backlog_limit", limit.into());
        }
        if socket.can_capture() {
            let (kind, instructions) = match entry.filter {
                Filter::Unknown => ("unknown", None),
                Filter::NotClassic => ("none_or_ebpf", None),
                Filter::None => ("none", None),
                Filter::Classic(count) => ("classic", Some(count)),
                Filter::Extended => ("ebpf", None),
            };
            let bytes = instructions.map(|count| count * 8);
            put(
                "filter",
                json!({"kind": kind, "instructions": instructions, "length_bytes": bytes}),
            );
        }
        match &socket.detail {
            Detail::Inet { local, remote } if socket.has_ports() => {
                put("local", local.to_string().into());
                put("remote", remote.to_string().into());
                if let Some(port) = socket.local_port() {
                    put("port_range", port_range(port).into());
                    put("port_is_local", self.is_local_port(port).into());
                }
                if let Some(name) = service(socket) {
                    put("service", name.into());
                }
            }
            Detail::Inet { local, remote } => {
                put("local", local.ip().to_string().into());
                put("remote", remote.ip().to_string().into());
            }
            Detail::Unix {
                name,
                is_abstract,
                peer,
            } => {
                let key = if *is_abstract { "abstract" } else { "path" };
                if !name.is_empty() {
                    put(key, String::from_utf8_lossy(name).into());
                }
                if *peer != 0 {
                    let other = by_inode.get(peer);
                    let processes = other
                        .map(|other| holders(&other.holders))
                        .unwrap_or_default();
                    put("peer", json!({"inode": peer, "processes": processes}));
                }
            }
            Detail::Netlink { port, peer, groups } => {
                put("port", (*port).into());
                put("peer_port", (*peer).into());
                put("groups", groups.clone().into());
            }
            Detail::Packet(packet) => {
                let named = |indices: &[u32]| -> Value {
                    let names = indices.iter().map(|index| match index {
                        0 => "any",
                        index => self.interface(*index).unwrap_or("?"),
                    });
                    names.collect::<Vec<_>>().into()
                };
                put("promiscuous", named(&packet.promiscuous));
                put("all_multicast", named(&packet.all_multicast));
                put("ring_bytes", packet.ring.into());
                put("fanout", packet.fanout.into());
            }
            Detail::Vsock { local, remote } => {
                put("local", json!({"cid": local.0, "port": local.1}));
                put("remote", json!({"cid": remote.0, "port": remote.1}));
            }
            Detail::Xdp { queue } => put("queue", (*queue).into()),
        }
        if matches!(socket.family, INET | INET6) && matches!(socket.kind, DGRAM | RAW) {
            let joined = entry.joined.iter().map(|(index, group, include, sources)| {
                let sources: Vec<String> = sources.iter().map(IpAddr::to_string).collect();
                json!({
                    "interface": self.interface(*index),
                    "group": group.to_string(),
                    "mode": if *include { "include" } else { "exclude" },
                    "sources": sources,
                })
            });
            put("memberships", joined.collect::<Vec<_>>().into());
        }
        told
    }
}

/// The document is written as it is made: of tens of thousands of sockets none waits in memory as JSON.
impl Serialize for Gathered {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let by_inode = self.by_inode();
        let sockets = Written(|| self.wanted().map(|entry| self.one(entry, &by_inode)));
        let unlisted = self.unlisted.iter().map(|one| {
            json!({
                "inode": one.socket.inode,
                "protocol": one.socket.protocol,
                "pid": one.socket.held.process.pid,
                "command": one.socket.held.process.command,
                "ours": one.ours,
            })
        });
        let owners = json!({
            "processes": self.owners(),
            "sockets_without_known_owner": self.unowned(),
            "processes_hidden": self.hidden,
            "processes_skipped": self.skipped,
            "memberships_cut": self.is_cut,
        });
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("summary", &self.summary())?;
        map.serialize_entry("owners", &owners)?;
        map.serialize_entry("sockets", &sockets)?;
        map.serialize_entry("memberships", &self.groups())?;
        map.serialize_entry("unlisted", &unlisted.collect::<Vec<_>>())?;
        map.serialize_entry("local_ports", &self.local_ports)?;
        map.serialize_entry("sources", &self.sources)?;
        map.end()
    }
}

/// A list whose entries are made one by one.
struct Written<F>(F);

impl<I: Iterator<Item = Value>, F: Fn() -> I> Serialize for Written<F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0())
    }
}

fn holders(all: &[Held]) -> Vec<Value> {
    let one = |held: &Held| {
        json!({
            "pid": held.process.pid,
            "command": held.process.command,
            "uid": (held.uid != u32::MAX).then_some(held.uid),
        })
    };
    all.iter().map(one).collect()
}

/// The name of the service at its own port, or else at the other end's.
pub fn service(socket: &Socket) -> Option<&'static str> {
    let (local, remote): (SocketAddr, SocketAddr) = socket.addresses()?;
    let is_tcp = matches!(socket.protocol, TCP | MPTCP);
    let name = |port: u16| service_name(is_tcp, port).filter(|_| port != 0);
    socket
        .has_ports()
        .then(|| name(local.port()).or_else(|| name(remote.port())))?
}
