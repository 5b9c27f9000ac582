//! SHELL. Evidence for a group on a live host: recorded packets, and kernel state before and after the
//! window. It is the same for every user, except for the owners of sockets.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use netsonde_core::diagnose::evidence::{
    BeforeAfter, GroupEvidence, KernelState, Link, Measured, Process, Subject,
};
use netsonde_core::diagnose::wire::Wire;
use netsonde_core::host::counters::Counters;
use netsonde_core::host::dev_mcast;
use netsonde_core::host::membership::{igmp_versions, source_filters};
use netsonde_core::host::mroute::{self, Route, Vif};
use netsonde_core::host::socket::{self, ProcSocket};
use netsonde_core::multicast::Key;
use netsonde_core::protocol::multicast::{self, InterfaceCall, Streams};
use netsonde_core::protocol::service::Status;

use crate::client::cli::args::{Lookback, McastDoctor, Packets};
use crate::client::commands::doctor::record::{group_management, read_packets, read_record};
use crate::client::commands::doctor::service::{
    listened, own_pids, record_begins, ring_drops, thinned, time_ns,
};
use crate::client::commands::doctor::{counters, links};
use crate::client::commands::mcast::test_socket::join_only;
use crate::client::failure::Failure;
use crate::client::interrupt::{Interrupt, wait_until};
use crate::client::packets::open;
use crate::linux::netlink::{Netlink, RouteQuery};
use crate::linux::{memberships, proc_net, processes, sysctl, wall_ns};
use crate::varlink::client::{ask, ask_with};

/// Maximum number of sources whose return route is looked up.
const MAX_SOURCES: usize = 64;
/// Stores that hold packets to groups, in addition to group management.
const DATA_STORES: [&str; 6] = ["link", "icmp", "names", "routing", "connections", "bulk"];
/// Protocol number of IGMP, which /proc/net/raw shows as the port of a raw socket.
const IGMP: u16 = 2;

/// State that changes during the window.
struct Snapshot {
    counters: Counters,
    udp: Vec<ProcSocket>,
    mroutes: Vec<Route>,
    vifs: Vec<Vif>,
    links: Vec<Link>,
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
        let (links, dropped) = links::links(netlink)?;
        Ok(Snapshot {
            streams: ask_with(
                socket,
                "io.netsonde.Multicast.Streams",
                &InterfaceCall::default(),
            )?,
            status: ask(socket, "io.netsonde.Service.Status")?,
            counters: counters(),
            udp: socket::parse_sockets(&udp),
            mroutes: mroute::routes(&proc_net(cache)),
            vifs: mroute::vifs(&proc_net(vif)),
            links,
            dropped,
        })
    }
}

/// Returns a table of /proc without its header line.
fn skip_head(text: &str) -> String {
    text.split_once('\n')
        .map_or(String::new(), |(_, rest)| rest.to_owned())
}

/// Watches for `args.duration` and gathers the evidence.
pub fn gather(socket: &Path, args: &McastDoctor) -> Result<GroupEvidence, Failure> {
    let group = args.channel.group;
    let mut netlink = Netlink::open()?;
    check_interface(&mut netlink, args)?;
    let joined = args
        .join
        .then(|| join_only(&args.channel, args.interface.as_deref(), args.source));
    let joined = joined.transpose()?;
    let interrupt = Interrupt::catch()?;
    let before = Snapshot::take(socket, &mut netlink, group)?;
    let from_ns = wall_ns();
    let start = Instant::now();
    wait_until(start + Duration::from_nanos(args.duration), &interrupt)?;
    let to_ns = wall_ns();
    let mut after = Snapshot::take(socket, &mut netlink, group)?;
    for link in &mut after.links {
        let drops = |dropped: &BTreeMap<u32, u64>| dropped.get(&link.ifindex).copied().unwrap_or(0);
        link.dropped = drops(&after.dropped).saturating_sub(drops(&before.dropped));
    }
    let numbers: BTreeMap<String, u32> = after
        .links
        .iter()
        .map(|link| (link.name.clone(), link.ifindex))
        .collect();
    let mut wire = Wire::new(group, args.channel.port, args.source, from_ns);
    read_wire(socket, group, &numbers, &mut wire)?;
    add_other_groups(&after.streams, &numbers, group, &mut wire);
    let is_sampled = thinned(&after.status) > thinned(&before.status);
    let measured = measured(
        (&before.streams, &after.streams),
        &numbers,
        group,
        is_sampled,
    );
    let since_ns = record_begins(&after.status, "group");
    let data_since_ns = record_begins(&after.status, "bulk");
    let host = KernelState {
        route_to_group: netlink
            .route(group, &RouteQuery::default())
            .ok()
            .map(|route| route.ifindex),
        routes_back: routes_back(&mut netlink, &wire),
        went_down: went_down(&after.status, &numbers),
        ..kernel_state(before, after, group)
    };
    drop(joined);
    Ok(GroupEvidence {
        subject: subject(args),
        window: (from_ns, to_ns),
        since_ns,
        data_since_ns,
        wire,
        measured,
        is_sampled,
        host: Some(host),
    })
}

/// Returns an error if the interface of the subject does not exist.
fn check_interface(netlink: &mut Netlink, args: &McastDoctor) -> Result<(), Failure> {
    let (all, _) = links::links(netlink)?;
    match &args.interface {
        Some(name) if !all.iter().any(|link| link.name == *name) => {
            Err(Failure::no_such_interface(name))
        }
        _ => Ok(()),
    }
}

/// Adds the recorded group management messages and packets of the group to `wire`.
fn read_wire(
    socket: &Path,
    group: IpAddr,
    numbers: &BTreeMap<String, u32>,
    wire: &mut Wire,
) -> Result<(), Failure> {
    read_record(socket, &group_management(), numbers, wire)?;
    let data = Packets {
        last: Some(Lookback::All),
        stores: DATA_STORES.map(str::to_owned).to_vec(),
        groups: vec![group],
        ..Packets::default()
    };
    read_record(socket, &data, numbers, wire)?;
    wire.sort();
    Ok(())
}

/// Returns the interface of the route back to each observed source, for up to [`MAX_SOURCES`] sources.
fn routes_back(netlink: &mut Netlink, wire: &Wire) -> BTreeMap<IpAddr, Option<u32>> {
    let packets = wire.group_packets.iter();
    let sources: HashSet<IpAddr> = packets.map(|packet| packet.source).collect();
    sources
        .into_iter()
        .take(MAX_SOURCES)
        .map(|source| {
            let route = netlink.route(source, &RouteQuery::default());
            (source, route.ok().map(|route| route.ifindex))
        })
        .collect()
}

/// Returns the recorded losses of a link: interface, and time in nanoseconds since 1970.
fn went_down(status: &Status, numbers: &BTreeMap<String, u32>) -> Vec<(u32, u64)> {
    status
        .gaps
        .iter()
        .filter(|gap| gap.kind == "interface_down")
        .filter_map(|gap| {
            let ifindex = numbers.get(gap.subject.as_deref()?)?;
            Some((*ifindex, time_ns(&gap.from)?))
        })
        .collect()
}

/// Returns the raw IGMP sockets, with their process if the caller may know it.
fn igmp_sockets() -> Vec<(ProcSocket, Option<Process>)> {
    let mut all = socket::parse_sockets(&proc_net("raw"));
    all.retain(|socket| socket.local.port() == IGMP);
    let owners = processes::owners(&all.iter().map(|socket| socket.inode).collect());
    all.into_iter()
        .map(|socket| {
            let owner = owners.get(&socket.inode);
            let process = owner.map(|(process, _)| process.clone());
            (socket, process)
        })
        .collect()
}

/// Returns the kernel state, without routes and link losses.
fn kernel_state(before: Snapshot, after: Snapshot, group: IpAddr) -> KernelState {
    let memberships = memberships();
    KernelState {
        holders: Some(processes::holders(&after.udp, &memberships, Some(group))),
        igmp_sockets: igmp_sockets(),
        memberships,
        igmp_versions: igmp_versions(&proc_net("igmp")),
        filters: source_filters(&proc_net("mcfilter"), &proc_net("mcfilter6")),
        dev_mcast: dev_mcast(&proc_net("dev_mcast")),
        sysctls: sysctls(after.links.iter().map(|link| link.name.as_str())),
        listened: BeforeAfter {
            before: listened(&before.status),
            after: listened(&after.status),
        },
        links: after.links,
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
        ring_drops: ring_drops(&after.status).saturating_sub(ring_drops(&before.status)),
        own_pids: own_pids(&after.status).to_vec(),
        ..KernelState::default()
    }
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

/// Adds the received streams of other groups to `wire`: groups can share a MAC address.
fn add_other_groups(
    streams: &Streams,
    numbers: &BTreeMap<String, u32>,
    group: IpAddr,
    wire: &mut Wire,
) {
    for stream in streams.streams.iter().filter(|stream| !stream.outbound) {
        let (Some(ifindex), Ok(other), Ok(source)) = (
            numbers.get(&stream.interface).copied(),
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

/// Returns the packets and losses of MPEG transport streams during the window, and if the record has a sample only, of
/// all streams with RTP: the service counts every packet.
fn measured(
    (before, after): (&Streams, &Streams),
    numbers: &BTreeMap<String, u32>,
    group: IpAddr,
    is_sampled: bool,
) -> Vec<Measured> {
    let of_group =
        |stream: &&multicast::Stream| !stream.outbound && stream.group.parse() == Ok(group);
    let measured = |stream: &multicast::Stream| {
        let then = earlier(before, stream);
        let (kind, now, then) = match (&stream.rtp, &stream.ts) {
            (Some(rtp), _) if is_sampled => {
                let then = then.and_then(|then| then.rtp.as_ref());
                let then = then.map_or((0, 0), |then| (then.packets, then.lost));
                ("RTP", (rtp.packets, rtp.lost), then)
            }
            (None, Some(ts)) => {
                let then = then.and_then(|then| then.ts.as_ref());
                let then = then.map_or((0, 0), |then| (then.packets, then.lost));
                ("MPEG-TS", (ts.packets, ts.lost), then)
            }
            _ => return None,
        };
        Some(Measured {
            key: Key {
                ifindex: numbers.get(&stream.interface).copied()?,
                group,
                port: stream.port,
                source: stream.source.parse().ok()?,
                source_port: stream.source_port,
            },
            kind,
            packets: now.0.saturating_sub(then.0),
            lost: now.1.saturating_sub(then.1),
        })
    };
    let streams = after.streams.iter().filter(of_group);
    streams.filter_map(measured).collect()
}

/// Returns the sysctls that multicast rules use, by their paths below /proc/sys.
pub fn sysctls<'a>(interfaces: impl Iterator<Item = &'a str>) -> BTreeMap<String, i64> {
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
        // A dot in the name of an interface (eth0.5) stays a dot in the path.
        for name in [
            "rp_filter",
            "accept_local",
            "force_igmp_version",
            "mc_forwarding",
        ] {
            names.push(format!("net/ipv4/conf/{interface}/{name}"));
        }
    }
    read_sysctls(names)
}

/// Reads sysctls by their paths below /proc/sys. Those that this kernel does not have are left out.
pub fn read_sysctls(names: Vec<String>) -> BTreeMap<String, i64> {
    let read = |name: String| sysctl(&name).map(|value| (name, value));
    names.into_iter().filter_map(read).collect()
}

/// Returns the evidence in a capture file.
pub fn evidence_of_file(args: &McastDoctor, path: &Path) -> Result<GroupEvidence, Failure> {
    let group = args.channel.group;
    let mut wire = Wire::new(group, args.channel.port, args.source, 0);
    read_packets(open(path)?, &BTreeMap::new(), &mut wire)?;
    Ok(evidence_of_packets(args, wire))
}

/// Returns the evidence in the record of a time in the past, in memory and on disk.
pub fn evidence_of_record(
    socket: &Path,
    args: &McastDoctor,
    past: &Packets,
) -> Result<GroupEvidence, Failure> {
    let group = args.channel.group;
    let mut wire = Wire::new(group, args.channel.port, args.source, 0);
    let interfaces: Vec<String> = args.interface.iter().cloned().collect();
    let management = Packets {
        stores: vec!["group".into()],
        interfaces: interfaces.clone(),
        ..past.clone()
    };
    let data = Packets {
        stores: DATA_STORES.map(str::to_owned).to_vec(),
        groups: vec![group],
        interfaces,
        ..past.clone()
    };
    for selection in [management, data] {
        read_record(socket, &selection, &BTreeMap::new(), &mut wire)?;
    }
    Ok(evidence_of_packets(args, wire))
}

/// Returns the evidence in packets alone.
fn evidence_of_packets(args: &McastDoctor, mut wire: Wire) -> GroupEvidence {
    wire.sort();
    let from_ns = wire.oldest_ns.unwrap_or(0);
    GroupEvidence {
        subject: subject(args),
        window: (from_ns, wire.newest_ns),
        since_ns: from_ns,
        data_since_ns: from_ns,
        measured: vec![],
        is_sampled: wire.is_sampled,
        wire,
        host: None,
    }
}
