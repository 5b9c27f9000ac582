//! SHELL. Evidence for the whole host: kernel state before and after a short window, data of the service, and
//! probes. It is the same for every user who may probe, except for the owners of sockets.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use netsonde_core::config::HISTORY_SOCKET;
use netsonde_core::diagnose::evidence::{BeforeAfter, Link};
use netsonde_core::diagnose::host::evidence::{
    Drop, HostEvidence, Interface, KernelNeighbor, Known,
};
use netsonde_core::host::counters::Counters;
use netsonde_core::host::drops::parse_time_squeezes;
use netsonde_core::host::membership::{igmp_versions, source_filters};
use netsonde_core::host::socket;
use netsonde_core::protocol::history::StatusReply;
use netsonde_core::protocol::inventory;
use netsonde_core::protocol::multicast::InterfaceCall;
use netsonde_core::protocol::service::Status;

use crate::client::cli::args::DoctorArgs;
use crate::client::commands::doctor::gather;
use crate::client::commands::doctor::host::interfaces::{interfaces, packets};
use crate::client::commands::doctor::host::lengths::lengths;
use crate::client::commands::doctor::host::multicast::{State, multicast};
use crate::client::commands::doctor::host::probes;
use crate::client::commands::doctor::host::repeats::repeats;
use crate::client::commands::doctor::host::routes::routes;
use crate::client::commands::doctor::service::own_pids;
use crate::client::commands::doctor::{counters, links};
use crate::client::commands::drops;
use crate::client::failure::Failure;
use crate::client::historian;
use crate::client::interrupt::{Interrupt, wait_until};
use crate::linux::netlink::Netlink;
use crate::linux::{memberships, proc_net, processes, wall_ns};
use crate::varlink::client::{Error, ask, ask_with};

/// Maximum number of kernel neighbor entries, well above the default limit of a table (gc_thresh3: 1024).
const MAX_NEIGHBORS: usize = 8192;

/// What `systemctl enable` makes of the historian's unit.
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/netsonde-historian.service";

/// State that changes during the window.
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
            counters: counters(),
            drops: drops::Snapshot::take(netlink)?,
            squeezed: parse_time_squeezes(&proc_net("softnet_stat")),
            packets: packets(netlink)?,
            status: ask(socket, "io.netsonde.Service.Status")?,
            // The two clocks are read one after the other, so that their difference shows only a step.
            wall_ns: wall_ns(),
            time: Instant::now(),
        })
    }
}

/// Watches for `args.duration`, sends the probes and gathers the evidence. Returns it with the probes that
/// the service accepted.
pub fn gather(
    (socket, history): (&Path, &Path),
    args: &DoctorArgs,
    to_send: &[probes::ToSend],
) -> Result<(HostEvidence, Vec<probes::ToSend>), Failure> {
    let mut netlink = Netlink::open()?;
    let interrupt = Interrupt::catch()?;
    let before = Snapshot::take(socket, &mut netlink)?;
    let sent = thread::scope(|scope| -> Result<probes::Sent, Failure> {
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
    let names: HashMap<u32, String> = all_links
        .iter()
        .map(|link| (link.ifindex, link.name.clone()))
        .collect();
    let memberships = memberships();
    let call = inventory::InterfaceCall {
        interface: args.interface.clone(),
    };
    let neighbors = ask_with(socket, "io.netsonde.Inventory.Neighbors", &call);
    let queriers = ask_with(
        socket,
        "io.netsonde.Multicast.Queriers",
        &InterfaceCall::default(),
    );
    let mut interfaces = interfaces(&mut netlink, &all_links)?;
    count_packets(&mut interfaces, &before, &after);
    let mut udp = socket::parse_sockets(&proc_net("udp"));
    udp.extend(socket::parse_sockets(&proc_net("udp6")));
    let sysctls = sysctls(&all_links);
    let igmp_versions = igmp_versions(&proc_net("igmp"));
    let filters = source_filters(&proc_net("mcfilter"), &proc_net("mcfilter6"));
    let multicast = multicast(
        socket,
        &State {
            interface: args.interface.as_deref(),
            window: (before.wall_ns, after.wall_ns),
            status: BeforeAfter {
                before: &before.status,
                after: &after.status,
            },
            links: &all_links,
            memberships: &memberships,
            sysctls: &sysctls,
            igmp_versions: &igmp_versions,
            filters: &filters,
        },
    );
    // Groups joined by netsonde itself belong to no application.
    let mut holders = processes::holders(&udp, &memberships, None);
    holders.retain(|holder| !own_pids(&after.status).contains(&holder.process.pid));
    let evidence = HostEvidence {
        only: args.interface.clone(),
        now_ns: after.wall_ns,
        window_ns,
        clock_step_ns: wall_ns - window_ns as i64,
        links: interfaces,
        routes: routes(&mut netlink, &names)?,
        drops: drops_of_others(&before, &after),
        squeezed: after.squeezed.saturating_sub(before.squeezed),
        kernel_neighbors: kernel_neighbors(&mut netlink, &names)?,
        holders,
        igmp_versions,
        filters,
        sysctls,
        historian: historian(history),
        neighbors: neighbors.map_err(|error| error.to_string()),
        queriers: queriers.map_err(|error| error.to_string()),
        multicast: multicast.map_err(|error| error.to_string()),
        lengths: lengths(socket, &all_links).map_err(|error| error.to_string()),
        repeats: repeats(socket, (before.wall_ns, after.wall_ns))
            .map_err(|error| error.to_string()),
        probes: sent.probes,
        tables: after.drops.tables,
        counters: BeforeAfter {
            before: before.counters,
            after: after.counters,
        },
        status: BeforeAfter {
            before: before.status,
            after: after.status,
        },
    };
    Ok((evidence, sent.sent))
}

/// Returns the status of the historian; `None` if there is no socket, and systemd is not to start it.
fn historian(socket: &Path) -> Known<Option<StatusReply>> {
    let is_default = socket == Path::new(HISTORY_SOCKET);
    let is_enabled = is_default && Path::new(ENABLED).exists();
    match historian::status(socket) {
        Ok(status) => Ok(Some(status)),
        // Who may not ask it cannot tell.
        Err(Error::Denied { .. }) => Ok(None),
        Err(Error::NoService { .. }) if !socket.exists() && !is_enabled => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Sets the packets that each interface received and sent during the window.
fn count_packets(interfaces: &mut [Interface], before: &Snapshot, after: &Snapshot) {
    for interface in interfaces {
        let of = |snapshot: &Snapshot| {
            let packets = snapshot.packets.get(&interface.link.ifindex);
            packets.copied().unwrap_or((0, 0))
        };
        let ((rx_before, tx_before), (rx, tx)) = (of(before), of(after));
        interface.packets = (rx.saturating_sub(rx_before), tx.saturating_sub(tx_before));
    }
}

/// Returns the drop counters that increased during the window, without those of netsonde's own sockets,
/// whose losses its status has.
fn drops_of_others(before: &Snapshot, after: &Snapshot) -> Vec<Drop> {
    let own = own_pids(&after.status);
    drops::rows(Some(&before.drops), &after.drops)
        .into_iter()
        .map(|row| Drop {
            counter: row.counter,
            subject: row.subject,
            count: row.count,
            owner: row.owner,
        })
        .filter(|drop| {
            let owner = drop.owner.as_ref();
            !owner.is_some_and(|process| own.contains(&process.pid))
        })
        .collect()
}

/// Returns the kernel's neighbor tables, at most [`MAX_NEIGHBORS`] entries.
fn kernel_neighbors(
    netlink: &mut Netlink,
    names: &HashMap<u32, String>,
) -> Result<Vec<KernelNeighbor>, Failure> {
    Ok(netlink
        .neighbors(MAX_NEIGHBORS)?
        .into_iter()
        .filter_map(|one| {
            Some(KernelNeighbor {
                interface: names.get(&one.ifindex)?.clone(),
                address: one.address,
                state: one.state,
            })
        })
        .collect())
}

/// Returns the sysctls that the rules of multicast and of the host use, by their paths below /proc/sys.
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
    all.extend(gather::read_sysctls(names));
    all
}
