//! SHELL. The evidence of a live host: packets from the service, and kernel state before and after
//! the window. Everything except the owners of sockets needs no privilege.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::cli::args::{Lookback, McastDoctor, Packets};
use crate::client::commands::doctor::links;
use crate::client::commands::mcast::join::join_only;
use crate::client::commands::watch::{Stream, open};
use crate::client::connection::ask;
use crate::client::connection::ask_with;
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::interrupt::{Interrupt, wait_until};
use crate::linux::netlink::Netlink;
use crate::linux::processes;
use crate::linux::{memberships, proc_net, sysctl};
use netsonde_core::diagnose::evidence::{BeforeAfter, Evidence, Host, Listened, Measured, Subject};
use netsonde_core::diagnose::wire::Wire;
use netsonde_core::host::counters::Counters;
use netsonde_core::host::dev_mcast;
use netsonde_core::host::membership::{igmp_versions, source_filters};
use netsonde_core::host::mroute::{self, Route, Vif};
use netsonde_core::host::socket::{self, ProcSocket};
use netsonde_core::multicast::Key;
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::multicast::{self, InterfaceCall, Streams};
use netsonde_core::protocol::service::Status;

/// First number for interfaces that no longer exist.
const GONE: u32 = 1 << 30;
/// Maximum number of sources whose route back is looked up.
const MOST_SOURCES: usize = 64;
/// Stores with packets to groups, in addition to group management.
const DATA_STORES: [&str; 6] = ["link", "icmp", "names", "routing", "connections", "bulk"];

/// Values that change.
struct Snapshot {
    counters: Counters,
    udp: Vec<ProcSocket>,
    mroutes: Vec<Route>,
    vifs: Vec<Vif>,
    dropped: BTreeMap<u32, u64>,
    status: Status,
    streams: Streams,
}

impl Snapshot {
    fn take(socket: &Path, netlink: &mut Netlink, group: IpAddr) -> Result<Snapshot, Failure> {
        let (udp, cache, vif) = if group.is_ipv4() {
            (
                proc_net("udp") + &skip_head(&proc_net("udp6")),
                "ip_mr_cache",
                "ip_mr_vif",
            )
        } else {
            (proc_net("udp6"), "ip6_mr_cache", "ip6_mr_vif")
        };
        Ok(Snapshot {
            streams: ask_with(
                socket,
                "io.netsonde.Multicast.Streams",
                &InterfaceCall::default(),
            )?,
            status: ask(socket, "io.netsonde.Service.Status")?,
            counters: Counters::read(&proc_net("snmp"), &proc_net("netstat"), &proc_net("snmp6")),
            udp: socket::parse_sockets(&udp),
            mroutes: mroute::routes(&proc_net(cache)),
            vifs: mroute::vifs(&proc_net(vif)),
            dropped: links::links(netlink)?.1,
        })
    }
}

fn skip_head(text: &str) -> String {
    text.split_once('\n')
        .map_or(String::new(), |(_, rest)| rest.to_owned())
}

fn time_ns(text: &str) -> Option<u64> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// Observes for the given time, and gathers the evidence.
pub fn gather(socket: &Path, args: &McastDoctor) -> Result<Evidence, Failure> {
    let group = args.channel.group;
    let mut netlink = Netlink::open()?;
    let (first_links, _) = links::links(&mut netlink)?;
    if let Some(name) = &args.interface
        && !first_links.iter().any(|link| link.name == *name)
    {
        return Err(Failure::Other(format!(
            "no such interface: {name} (see `netsonde interfaces`)"
        )));
    }
    let joined = args
        .join
        .then(|| join_only(&args.channel, args.interface.as_deref(), args.source));
    let joined = joined.transpose()?;
    let interrupt = Interrupt::catch()?;
    let before = Snapshot::take(socket, &mut netlink, group)?;
    let from_ns = crate::linux::wall_ns();
    let start = Instant::now();
    wait_until(start + Duration::from_nanos(args.duration), &interrupt)?;
    let to_ns = crate::linux::wall_ns();
    let after = Snapshot::take(socket, &mut netlink, group)?;
    let (mut all_links, _) = links::links(&mut netlink)?;
    for link in &mut all_links {
        let drops = |of: &Snapshot| of.dropped.get(&link.ifindex).copied().unwrap_or(0);
        link.dropped = drops(&after).saturating_sub(drops(&before));
    }
    let numbers: BTreeMap<String, u32> = (all_links.iter())
        .map(|link| (link.name.clone(), link.ifindex))
        .collect();
    let mut wire = Wire::new(group, args.channel.port, args.source, from_ns);
    let management = Packets {
        last: Some(Lookback::All),
        stores: vec!["group".into()],
        ..Packets::default()
    };
    read_record(socket, &management, &numbers, &mut wire)?;
    let data = Packets {
        last: Some(Lookback::All),
        stores: DATA_STORES.map(str::to_owned).to_vec(),
        groups: vec![group.to_string()],
        ..Packets::default()
    };
    read_record(socket, &data, &numbers, &mut wire)?;
    wire.sort();
    let named = |name: &str| numbers.get(name).copied();
    others(&after.streams, &named, group, &mut wire);
    let measured = measured(&before.streams, &after.streams, &named, group);
    let sources: HashSet<IpAddr> = wire
        .group_packets
        .iter()
        .map(|packet| packet.source)
        .collect();
    let routes_back = (sources.into_iter().take(MOST_SOURCES))
        .map(|source| {
            (
                source,
                netlink
                    .route(source, 0, None)
                    .ok()
                    .map(|route| route.ifindex),
            )
        })
        .collect();
    let held = memberships();
    let own_pids = own_pids(&after.status).to_vec();
    let igmp = socket::parse_sockets(&proc_net("raw"));
    let igmp: Vec<ProcSocket> = igmp
        .into_iter()
        .filter(|one| one.local.port() == 2)
        .collect();
    let igmp_owners = processes::owners(&igmp.iter().map(|one| one.inode).collect());
    let went_down = (after.status.gaps.iter())
        .filter(|gap| gap.kind == "interface_down")
        .filter_map(|gap| Some((named(gap.subject.as_deref()?)?, time_ns(&gap.from)?)))
        .collect();
    let since = |store: &str| record_begins(&after.status, store);
    let host = Host {
        holders: Some(processes::holders(&after.udp, &held, Some(group))),
        igmp_sockets: (igmp.into_iter())
            .map(|one| {
                let owner = igmp_owners
                    .get(&one.inode)
                    .map(|(process, _)| process.clone());
                (one, owner)
            })
            .collect(),
        memberships: held,
        igmp_versions: igmp_versions(&proc_net("igmp")),
        filters: source_filters(&proc_net("mcfilter"), &proc_net("mcfilter6")),
        dev_mcast: dev_mcast(&proc_net("dev_mcast")),
        sysctls: sysctls(all_links.iter().map(|link| link.name.as_str())),
        route_to_group: (netlink.route(group, 0, None).ok()).map(|route| route.ifindex),
        routes_back,
        listened: BeforeAfter {
            before: listened(&before.status),
            after: listened(&after.status),
        },
        links: all_links,
        counters: BeforeAfter {
            before: before.counters,
            after: after.counters,
        },
        udp: BeforeAfter {
            before: before.udp,
            after: after.udp,
        },
        mroutes: BeforeAfter {
            before: before.mroutes,
            after: after.mroutes,
        },
        vifs: BeforeAfter {
            before: before.vifs,
            after: after.vifs,
        },
        went_down,
        ring_drops: ring_drops(&after.status).saturating_sub(ring_drops(&before.status)),
        own_pids,
    };
    drop(joined);
    Ok(Evidence {
        subject: subject(args),
        window: (from_ns, to_ns),
        since_ns: since("group"),
        data_since_ns: since("bulk"),
        wire,
        measured,
        host: Some(host),
    })
}

/// Returns the subject of the diagnosis.
fn subject(args: &McastDoctor) -> Subject {
    Subject {
        group: args.channel.group,
        port: args.channel.port,
        source: args.source,
        interface: args.interface.clone(),
        joined_here: args.join,
    }
}

/// Returns since when a store is complete.
pub(crate) fn record_begins(status: &Status, name: &str) -> u64 {
    let started = time_ns(&status.started).unwrap_or(0);
    let Some(store) = status.recorder.iter().find(|store| store.store == name) else {
        return started;
    };
    let oldest = store.oldest.as_deref().and_then(time_ns);
    match oldest {
        Some(oldest) if store.evicted > 0 => oldest,
        Some(oldest) => oldest.min(started),
        None => started,
    }
}

/// Feeds packets of the record to the evidence.
pub(crate) fn read_record(
    socket: &Path,
    wanted: &Packets,
    numbers: &BTreeMap<String, u32>,
    wire: &mut Wire,
) -> Result<(), Failure> {
    // It needs headers only, so payload permission is not required.
    let stream = Stream::open(socket, wanted, Content::Headers)?;
    read_packets(stream.pipe, numbers, wire)
}

/// Feeds all packets of a capture file to the evidence. Unknown interfaces get numbers.
pub fn read_packets(
    source: impl Read + Send,
    numbers: &BTreeMap<String, u32>,
    wire: &mut Wire,
) -> Result<(), Failure> {
    let mut file = CaptureFile::new(source)?;
    let mut unknown: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else {
            continue;
        };
        let Some(time_ns) = packet.time_ns.and_then(|ns| u64::try_from(ns).ok()) else {
            continue;
        };
        let name = packet.interface.as_deref().unwrap_or("file");
        let ifindex = numbers.get(name).copied().unwrap_or_else(|| {
            let next = GONE + unknown.len() as u32;
            *unknown.entry(name.to_owned()).or_insert(next)
        });
        wire.names.entry(ifindex).or_insert_with(|| name.to_owned());
        wire.see(&packet.frame(), ifindex, time_ns, packet.direction);
    }
    Ok(())
}

/// Streams of other groups, to find those with the same MAC address.
fn others(streams: &Streams, named: &impl Fn(&str) -> Option<u32>, group: IpAddr, wire: &mut Wire) {
    for stream in streams.streams.iter().filter(|stream| !stream.outbound) {
        let (Some(ifindex), Ok(other), Ok(source)) = (
            named(&stream.interface),
            stream.group.parse(),
            stream.source.parse(),
        ) else {
            continue;
        };
        if other != group {
            *wire.others.entry((ifindex, other, source)).or_default() += stream.packets;
        }
    }
}

/// Returns the same stream in an earlier reply.
fn earlier<'a>(before: &'a Streams, stream: &multicast::Stream) -> Option<&'a multicast::Stream> {
    before.streams.iter().find(|then| {
        then.interface == stream.interface
            && then.group == stream.group
            && (then.port, then.source_port) == (stream.port, stream.source_port)
            && then.source == stream.source
    })
}

/// Loss counts of MPEG transport streams during the window.
fn measured(
    before: &Streams,
    after: &Streams,
    named: &impl Fn(&str) -> Option<u32>,
    group: IpAddr,
) -> Vec<Measured> {
    let of_group = |stream: &&multicast::Stream| {
        !stream.outbound && stream.group.parse() == Ok(group) && stream.rtp.is_none()
    };
    (after.streams.iter().filter(of_group))
        .filter_map(|stream| {
            let now = stream.ts.as_ref()?;
            let then = earlier(before, stream).and_then(|then| then.ts.clone());
            let then = then.unwrap_or_default();
            Some(Measured {
                key: Key {
                    ifindex: named(&stream.interface)?,
                    group,
                    port: stream.port,
                    source: stream.source.parse().ok()?,
                    source_port: stream.source_port,
                },
                kind: "MPEG-TS",
                packets: now.packets.saturating_sub(then.packets),
                lost: now.lost.saturating_sub(then.lost),
            })
        })
        .collect()
}

/// Processes of netsonde itself, which are not applications.
pub(crate) fn own_pids(status: &Status) -> [u32; 3] {
    [status.keeper_pid, status.engine.pid, std::process::id()]
}

fn ring_drops(status: &Status) -> u64 {
    status.rings.iter().map(|ring| ring.drops).sum()
}

pub(crate) fn listened(status: &Status) -> BTreeMap<u32, Listened> {
    (status.interfaces.iter())
        .map(|one| {
            let counts = one.listened;
            let listened = Listened {
                igmp_wire: counts.igmp_wire,
                igmp_heard: counts.igmp_heard,
                icmp6_wire: counts.icmp6_wire,
                icmp6_heard: counts.icmp6_heard,
            };
            (one.ifindex, listened)
        })
        .collect()
}

pub(crate) fn sysctls<'a>(interfaces: impl Iterator<Item = &'a str>) -> BTreeMap<String, i64> {
    let mut names: Vec<String> = [
        "net/ipv4/ip_forward",
        "net/ipv4/icmp_echo_ignore_broadcasts",
        "net/ipv4/igmp_max_memberships",
        "net/ipv4/igmp_link_local_mcast_reports",
        "net/ipv6/conf/all/forwarding",
        "net/ipv6/icmp/echo_ignore_multicast",
        "net/bridge/bridge-nf-call-iptables",
        "net/bridge/bridge-nf-call-ip6tables",
    ]
    .map(str::to_owned)
    .to_vec();
    for interface in interfaces.chain(["all"]) {
        // A dot in the name of an interface (eth0.5) is kept.
        for name in [
            "rp_filter",
            "accept_local",
            "force_igmp_version",
            "mc_forwarding",
        ] {
            names.push(format!("net/ipv4/conf/{interface}/{name}"));
        }
    }
    (names.into_iter())
        .filter_map(|name| Some((name.clone(), sysctl(&name)?)))
        .collect()
}

/// Gathers the evidence of a capture file.
pub fn from_file(args: &McastDoctor, path: &Path) -> Result<Evidence, Failure> {
    let group = args.channel.group;
    let mut wire = Wire::new(group, args.channel.port, args.source, 0);
    read_packets(open(path)?, &BTreeMap::new(), &mut wire)?;
    wire.sort();
    let from_ns = wire.oldest_ns.unwrap_or(0);
    Ok(Evidence {
        subject: subject(args),
        window: (from_ns, wire.newest_ns),
        since_ns: from_ns,
        data_since_ns: from_ns,
        wire,
        measured: vec![],
        host: None,
    })
}
