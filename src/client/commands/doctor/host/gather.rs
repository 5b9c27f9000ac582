//! SHELL. The evidence of a whole host: kernel state before and after a short window, and data of
//! the service. Everything except the owners of sockets needs probe permission only.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags,
    RouteType, RouteVia,
};

use crate::client::cli::args::{DoctorArgs, Lookback, Packets};
use crate::client::commands::doctor::gather;
use crate::client::commands::doctor::gather::own_pids;
use crate::client::commands::doctor::host::probes;
use crate::client::commands::doctor::links;
use crate::client::commands::drops;
use crate::client::commands::watch::Stream;
use crate::client::connection::{ask, ask_with};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::interrupt::Interrupt;
use crate::client::interrupt::wait_until;
use crate::linux::netlink::Netlink;
use crate::linux::processes;
use crate::linux::{memberships, monotonic_ns, proc_net, sysctl, wall_ns};
use netsonde_core::diagnose::evidence::{BeforeAfter, Evidence as OfGroup, Host, Link, Subject};
use netsonde_core::diagnose::host::evidence::{
    Address, Drop, Evidence, Interface, KernelNeighbour, Length, Lengths, Multicast, Route,
};
use netsonde_core::diagnose::wire::Wire;
use netsonde_core::host::counters::Counters;
use netsonde_core::host::drops::parse_time_squeezes;
use netsonde_core::host::membership::{
    Membership, SourceFilter, Versions, igmp_versions, source_filters,
};
use netsonde_core::host::socket;
use netsonde_core::multicast::names::is_pruned;
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::inventory;
use netsonde_core::protocol::multicast;
use netsonde_core::protocol::service::Status;
use netsonde_core::wire::{Direction, Meaning, decode};

/// How far back ICMP messages are examined for packet lengths.
const LENGTHS_NS: u64 = 300_000_000_000;
/// Maximum number of such messages, the newest: each kind is reported once, and a flood must not
/// fill memory.
const MOST_LENGTHS: usize = 4096;
/// Maximum number of neighbor entries read: more than the default limit of a table.
const MOST_NEIGHBOURS: usize = 8192;
/// Maximum number of routes kept; the first routes of an Internet router suffice for its gateways.
const MOST_ROUTES: usize = 4096;
/// IFA_F_TENTATIVE and IFA_F_DADFAILED (linux/if_addr.h).
const TENTATIVE: u32 = 0x40;
const TAKEN: u32 = 0x08;

/// Values that change.
struct Snapshot {
    counters: Counters,
    drops: drops::Snapshot,
    squeezed: u64,
    packets: HashMap<u32, (u64, u64)>,
    status: Status,
    wall_ns: u64,
    time: Instant,
}

impl Snapshot {
    fn take(socket: &Path, netlink: &mut Netlink) -> Result<Snapshot, Failure> {
        Ok(Snapshot {
            counters: Counters::read(&proc_net("snmp"), &proc_net("netstat"), &proc_net("snmp6")),
            drops: drops::Snapshot::take(netlink)?,
            squeezed: parse_time_squeezes(&proc_net("softnet_stat")),
            packets: packets(netlink)?,
            status: ask(socket, "io.netsonde.Service.Status")?,
            // Read back to back, so that only a clock step can come between.
            wall_ns: wall_ns(),
            time: Instant::now(),
        })
    }
}

/// Packets received and sent, by interface.
fn packets(netlink: &mut Netlink) -> std::io::Result<HashMap<u32, (u64, u64)>> {
    let mut all = HashMap::new();
    let dump = RouteNetlinkMessage::GetLink(LinkMessage::default());
    netlink.ask(dump, NLM_F_DUMP, |answer| {
        if let RouteNetlinkMessage::NewLink(message) = answer {
            for attribute in &message.attributes {
                if let LinkAttribute::Stats64(stats) = attribute {
                    all.insert(message.header.index, (stats.rx_packets, stats.tx_packets));
                }
            }
        }
    })?;
    Ok(all)
}

/// Observes for the given time, sends the probes, and gathers the evidence. Returns the number of
/// probes sent.
pub fn gather(
    socket: &Path,
    args: &DoctorArgs,
    to_send: &[probes::ToSend],
) -> Result<(Evidence, Vec<probes::ToSend>), Failure> {
    let mut netlink = Netlink::open()?;
    let interrupt = Interrupt::catch()?;
    let before = Snapshot::take(socket, &mut netlink)?;
    let sent = std::thread::scope(|scope| -> Result<probes::Sent, Failure> {
        let sending = scope.spawn(|| probes::send(socket, to_send));
        wait_until(
            before.time + Duration::from_nanos(args.duration),
            &interrupt,
        )?;
        let sent = sending.join();
        sent.map_err(|_| Failure::Other("a thread of the client panicked".into()))
    })?;
    let after = Snapshot::take(socket, &mut netlink)?;
    let window_ns = (after.time - before.time).as_nanos() as u64;
    let wall_ns = after.wall_ns as i64 - before.wall_ns as i64;
    let (all_links, _) = links::links(&mut netlink)?;
    let names: HashMap<u32, String> = (all_links.iter())
        .map(|link| (link.ifindex, link.name.clone()))
        .collect();
    let held = memberships();
    let call = inventory::InterfaceCall {
        interface: args.interface.clone(),
    };
    let neighbors = ask_with(socket, "io.netsonde.Inventory.Neighbors", &call);
    let queriers = ask_with(
        socket,
        "io.netsonde.Multicast.Queriers",
        &multicast::InterfaceCall::default(),
    );
    let mut interfaces = interfaces(&mut netlink, &all_links)?;
    for one in &mut interfaces {
        let of = |all: &Snapshot| {
            all.packets
                .get(&one.link.ifindex)
                .copied()
                .unwrap_or((0, 0))
        };
        let ((rx, tx), (was_rx, was_tx)) = (of(&after), of(&before));
        one.packets = (rx.saturating_sub(was_rx), tx.saturating_sub(was_tx));
    }
    let mut udp = socket::parse_sockets(&proc_net("udp"));
    udp.extend(socket::parse_sockets(&proc_net("udp6")));
    let sysctls = sysctls(&all_links);
    let igmp_versions = igmp_versions(&proc_net("igmp"));
    let filters = source_filters(&proc_net("mcfilter"), &proc_net("mcfilter6"));
    let multicast = of_multicast(
        socket,
        args,
        (&before, &after),
        &KernelSays {
            links: &all_links,
            held: &held,
            sysctls: &sysctls,
            igmp_versions: &igmp_versions,
            filters: &filters,
        },
    );
    let holders = processes::holders(&udp, &held, None);
    let evidence = Evidence {
        only: args.interface.clone(),
        now_ns: after.wall_ns,
        window_ns,
        clock_step_ns: wall_ns - window_ns as i64,
        links: interfaces,
        routes: routes(&mut netlink, &names)?,
        counters: BeforeAfter {
            before: before.counters,
            after: after.counters,
        },
        drops: (drops::rows(Some(&before.drops), &after.drops).into_iter())
            .map(|row| Drop {
                counter: row.counter,
                subject: row.subject,
                count: row.count,
                owner: row.owner,
            })
            .filter(|drop| !is_own(drop, &after.status))
            .collect(),
        squeezed: after.squeezed.saturating_sub(before.squeezed),
        tables: after.drops.tables,
        kernel_neighbours: (netlink.neighbors(MOST_NEIGHBOURS)?.into_iter())
            .filter_map(|one| {
                Some(KernelNeighbour {
                    interface: names.get(&one.ifindex)?.clone(),
                    address: one.address,
                    state: one.state,
                })
            })
            .collect(),
        // Sockets of netsonde itself are not applications.
        holders: (holders.into_iter())
            .filter(|holder| !own_pids(&after.status).contains(&holder.process.pid))
            .collect(),
        igmp_versions,
        filters,
        sysctls,
        neighbors: neighbors.map_err(|error| error.to_string()),
        queriers: queriers.map_err(|error| error.to_string()),
        multicast: multicast.map_err(|error| error.to_string()),
        lengths: lengths(socket, &all_links).map_err(|error| error.to_string()),
        probes: sent.probes,
        status: BeforeAfter {
            before: before.status,
            after: after.status,
        },
    };
    Ok((evidence, sent.sent))
}

/// Returns whether the socket belongs to netsonde, which reports its own drops.
fn is_own(drop: &Drop, status: &Status) -> bool {
    (drop.owner.as_ref()).is_some_and(|process| own_pids(status).contains(&process.pid))
}

/// Sysctls for the failure modes of multicast and of the host.
fn sysctls(links: &[Link]) -> BTreeMap<String, i64> {
    let mut all = gather::sysctls(links.iter().map(|link| link.name.as_str()));
    let mut names = vec!["net/ipv4/ip_default_ttl".to_owned()];
    for link in links.iter().map(|link| link.name.as_str()).chain(["all"]) {
        for name in ["arp_ignore", "arp_filter"] {
            names.push(format!("net/ipv4/conf/{link}/{name}"));
        }
        for name in ["forwarding", "accept_ra", "hop_limit"] {
            names.push(format!("net/ipv6/conf/{link}/{name}"));
        }
    }
    names.push("net/ipv6/conf/default/hop_limit".into());
    all.extend((names.into_iter()).filter_map(|name| Some((name.clone(), sysctl(&name)?))));
    all
}

/// Interfaces with data of their drivers and their addresses.
fn interfaces(netlink: &mut Netlink, links: &[Link]) -> Result<Vec<Interface>, Failure> {
    let mut all: Vec<Interface> = (links.iter())
        .map(|link| Interface {
            link: link.clone(),
            ..Interface::default()
        })
        .collect();
    let up_ns = monotonic_ns();
    let dump = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    netlink.ask(dump, NLM_F_DUMP, |answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            return;
        };
        let index = message.header.index;
        let one = all.iter_mut().find(|one| one.link.ifindex == index);
        if let (Some(one), Some(address)) = (one, address(&message, up_ns)) {
            one.addresses.push(address);
        }
    })?;
    for one in &mut all {
        // /sys shows the namespace of the process that mounted it, which may be another one with
        // the same names.
        let folder = format!("/sys/class/net/{}", one.link.name);
        let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).ok();
        let is_same =
            read("ifindex").is_some_and(|text| text.trim().parse() == Ok(one.link.ifindex));
        let mac = read("address").map(|text| text.trim().to_owned());
        if is_same && mac == one.link.mac {
            one.duplex = read("duplex").map(|text| text.trim().to_owned());
            one.speed = read("speed").and_then(|text| text.trim().parse().ok());
        }
    }
    Ok(all)
}

fn address(message: &AddressMessage, up_ns: u64) -> Option<Address> {
    let (mut local, mut other, mut flags, mut since) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            AddressAttribute::Flags(all) => flags = Some(all.bits()),
            // Hundredths of a second since boot.
            AddressAttribute::CacheInfo(info) => since = Some(u64::from(info.tstamp) * 10_000_000),
            _ => {}
        }
    }
    let flags = flags.unwrap_or_else(|| message.header.flags.bits().into());
    Some(Address {
        address: local.or(other)?,
        prefix: message.header.prefix_len,
        is_taken: flags & TAKEN != 0,
        is_tentative: flags & TENTATIVE != 0,
        age_ns: up_ns.saturating_sub(since.unwrap_or(up_ns)),
    })
}

/// Routes of the main table with an outgoing interface.
pub fn routes(netlink: &mut Netlink, names: &HashMap<u32, String>) -> Result<Vec<Route>, Failure> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let dump = RouteNetlinkMessage::GetRoute(message);
        netlink.ask(dump, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewRoute(message) = answer
                && all.len() < MOST_ROUTES
            {
                route(&message, names, &mut all);
            }
        })?;
    }
    Ok(all)
}

/// A multipath route has several gateways.
fn route(message: &RouteMessage, names: &HashMap<u32, String>, all: &mut Vec<Route>) {
    let is_main = message.header.table == RouteHeader::RT_TABLE_MAIN;
    if !is_main || message.header.kind != RouteType::Unicast {
        return;
    }
    let mut network = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0u8; 4]),
        _ => IpAddr::from([0u8; 16]),
    };
    let mut metric = 0;
    // Interface, gateway, and whether it is declared to be on the link.
    let mut hops: Vec<(u32, Option<IpAddr>, bool)> = Vec::new();
    let mut single = (0, None, message.header.flags.contains(RouteFlags::Onlink));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => network = ip(to).unwrap_or(network),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => single.0 = *index,
            RouteAttribute::MultiPath(several) => {
                for hop in several {
                    let by = gateway(&hop.attributes);
                    let told = hop.flags.contains(RouteNextHopFlags::Onlink);
                    hops.push((hop.interface_index, by, told));
                }
            }
            _ => {}
        }
    }
    single.1 = gateway(&message.attributes);
    if hops.is_empty() {
        hops.push(single);
    }
    // Multicast and link-local networks are on every link.
    if network.is_multicast() {
        return;
    }
    for (index, gateway, is_onlink) in hops {
        let Some(interface) = names.get(&index) else {
            continue;
        };
        all.push(Route {
            interface: interface.clone(),
            network,
            bits: message.header.destination_prefix_length,
            gateway,
            metric,
            is_onlink,
        });
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(by) => ip(by),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// Kernel state after the window.
struct KernelSays<'a> {
    links: &'a [Link],
    held: &'a HashMap<u32, Vec<Membership>>,
    sysctls: &'a BTreeMap<String, i64>,
    igmp_versions: &'a Versions,
    filters: &'a [SourceFilter],
}

/// Evidence for the failure modes of multicast: group management of the whole record, and kernel
/// state.
fn of_multicast(
    socket: &Path,
    args: &DoctorArgs,
    (before, after): (&Snapshot, &Snapshot),
    kernel: &KernelSays<'_>,
) -> Result<Multicast, Failure> {
    let links = kernel.links;
    let groups = groups(links, kernel.held);
    let mut wire = Wire::new(groups[0], None, None, before.wall_ns);
    let numbers: BTreeMap<String, u32> = (links.iter())
        .map(|link| (link.name.clone(), link.ifindex))
        .collect();
    let management = Packets {
        last: Some(Lookback::All),
        stores: vec!["group".into()],
        ..Packets::default()
    };
    gather::read_record(socket, &management, &numbers, &mut wire)?;
    wire.sort();
    let status = &after.status;
    let since_ns = gather::record_begins(status, "group");
    Ok(Multicast {
        evidence: OfGroup {
            subject: Subject {
                group: groups[0],
                port: None,
                source: None,
                interface: args.interface.clone(),
                joined_here: false,
            },
            window: (before.wall_ns, after.wall_ns),
            since_ns,
            data_since_ns: since_ns,
            wire,
            measured: vec![],
            host: Some(Host {
                links: links.to_vec(),
                memberships: kernel.held.clone(),
                igmp_versions: kernel.igmp_versions.clone(),
                filters: kernel.filters.to_vec(),
                sysctls: kernel.sysctls.clone(),
                listened: BeforeAfter {
                    before: gather::listened(&before.status),
                    after: gather::listened(status),
                },
                own_pids: own_pids(status).to_vec(),
                ..Host::default()
            }),
        },
        groups,
    })
}

/// For each family a group that is joined here and that switches prune; otherwise all-systems.
fn groups(links: &[Link], held: &HashMap<u32, Vec<Membership>>) -> Vec<IpAddr> {
    let is_link =
        |ifindex: &u32| (links.iter()).any(|link| link.ifindex == *ifindex && !link.is_loopback());
    let mut all: Vec<IpAddr> = (held.iter())
        .filter(|(ifindex, _)| is_link(ifindex))
        .flat_map(|(_, groups)| groups.iter().map(|one| one.group))
        .filter(|group| is_pruned(*group))
        .collect();
    all.sort();
    // Link management groups last: few rules concern them.
    all.sort_by_key(|group| is_of_link(*group));
    let first = |is_ipv4: bool, else_: IpAddr| {
        (all.iter().copied())
            .find(|group| group.is_ipv4() == is_ipv4)
            .unwrap_or(else_)
    };
    let all_nodes = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    vec![
        first(true, [224, 0, 0, 1].into()),
        first(false, all_nodes.into()),
    ]
}

/// ff02::/16
fn is_of_link(group: IpAddr) -> bool {
    matches!(group, IpAddr::V6(v6) if v6.octets()[1] & 15 <= 2)
}

/// Received ICMP messages of the last minutes that concern packet lengths.
fn lengths(socket: &Path, links: &[Link]) -> Result<Lengths, Failure> {
    let mtus = links.iter().filter(|link| !link.is_loopback());
    let least = mtus.map(|link| link.mtu).min().unwrap_or(0);
    let wanted = Packets {
        last: Some(Lookback::Ns(LENGTHS_NS)),
        stores: vec!["icmp".into()],
        ..Packets::default()
    };
    let stream = Stream::open(socket, &wanted, Content::Headers)?;
    let mut file = CaptureFile::new(stream.pipe)?;
    let mut told = VecDeque::new();
    let mut messages = 0;
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else { continue };
        if packet.direction == Direction::Outbound {
            continue;
        }
        let frame = packet.frame();
        let read = decode(&frame);
        let (Some(network), Some(interface)) = (read.network, packet.interface.clone()) else {
            continue;
        };
        let header = if network.source.is_ipv4() { 20 } else { 40 };
        let too_big = read.meanings.iter().find_map(|meaning| match meaning {
            Meaning::Icmp(icmp) if is_too_big(icmp.v6, icmp.kind, icmp.code) => {
                let quoted = icmp
                    .quoted
                    .and_then(|(from, to)| packet.bytes.get(from..to));
                Some((icmp.mtu?, quoted.and_then(destination)))
            }
            _ => None,
        });
        messages += 1;
        let length = network.payload_length + header;
        if too_big.is_none() && length <= least {
            continue;
        }
        if told.len() == MOST_LENGTHS {
            told.pop_front();
        }
        told.push_back(Length {
            interface,
            source: network.source,
            length,
            too_big,
        });
    }
    Ok(Lengths {
        messages,
        told: told.into(),
    })
}

/// ICMP type 3 code 4, or ICMPv6 type 2.
fn is_too_big(is_v6: bool, kind: u8, code: u8) -> bool {
    match is_v6 {
        true => kind == 2,
        false => (kind, code) == (3, 4),
    }
}

/// Returns the destination of a quoted packet.
fn destination(quoted: &[u8]) -> Option<IpAddr> {
    match quoted.first()? >> 4 {
        4 => {
            let octets: [u8; 4] = quoted.get(16..20)?.try_into().ok()?;
            Some(octets.into())
        }
        6 => {
            let octets: [u8; 16] = quoted.get(24..40)?.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}
