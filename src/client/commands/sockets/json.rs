//! SHELL. JSON document of `sockets`.

use std::collections::HashMap;
use std::net::IpAddr;

use netsonde_core::families::{DGRAM, RAW, family_name, type_name};
use netsonde_core::sockets::select::{Count, count};
use netsonde_core::sockets::{Detail, Filter, INET, INET6};
use netsonde_core::wire::services::port_range;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::inventory::{Entry, SocketInventory, service};
use crate::linux::processes::Held;

impl SocketInventory {
    /// Counts by family, type, protocol and state.
    fn summary(&self) -> Vec<Value> {
        let counts = count(self.wanted().map(|entry| &entry.socket));
        let one = |count: &Count| {
            let states: serde_json::Map<String, Value> = count
                .states
                .iter()
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

    /// Groups of each interface, with their known members.
    fn groups(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut indices: Vec<u32> = self.memberships.keys().copied().collect();
        indices.sort_unstable();
        for index in indices {
            for membership in &self.memberships[&index] {
                let sources: Vec<Value> = self
                    .source_filters
                    .iter()
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
                let joined: Vec<Value> = members
                    .iter()
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

    /// JSON of one socket. Keys that a family does not have are left out.
    fn socket_json(&self, entry: &Entry, by_inode: &HashMap<u64, &Entry>) -> Value {
        let socket = &entry.socket;
        let mut value = json!({
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
        let mut put = |key: &str, field: Value| value[key] = field;
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
        value
    }
}

/// SerializeIter entry by entry, so that tens of thousands of sockets never wait in memory as JSON.
impl Serialize for SocketInventory {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let by_inode = self.by_inode();
        let sockets = SerializeIter(|| {
            self.wanted()
                .map(|entry| self.socket_json(entry, &by_inode))
        });
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

/// A list whose entries are created while they are written.
struct SerializeIter<F>(F);

impl<I: Iterator<Item = Value>, F: Fn() -> I> Serialize for SerializeIter<F> {
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
