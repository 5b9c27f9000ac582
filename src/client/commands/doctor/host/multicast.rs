//! SHELL. Evidence for the rules of multicast that need no packets of a group.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use netsonde_core::diagnose::evidence::{BeforeAfter, GroupEvidence, KernelState, Link, Subject};
use netsonde_core::diagnose::host::evidence::Multicast;
use netsonde_core::diagnose::wire::Wire;
use netsonde_core::host::membership::{Membership, SourceFilter, Versions};
use netsonde_core::multicast::names::is_pruned;
use netsonde_core::protocol::service::Status;

use crate::client::commands::doctor::record::{group_management, read_record};
use crate::client::commands::doctor::service::{listened, own_pids, record_begins};
use crate::client::failure::Failure;

/// Kernel state after the window, and the window itself.
pub struct State<'a> {
    /// The only interface to consider; `None` for all.
    pub interface: Option<&'a str>,
    /// The window, in nanoseconds since 1970.
    pub window: (u64, u64),
    /// Status of the service.
    pub status: BeforeAfter<&'a Status>,
    /// Interfaces.
    pub links: &'a [Link],
    /// Group memberships, by interface.
    pub memberships: &'a HashMap<u32, Vec<Membership>>,
    /// Sysctls, by their paths below /proc/sys.
    pub sysctls: &'a BTreeMap<String, i64>,
    /// IGMP version in use, by interface.
    pub igmp_versions: &'a Versions,
    /// Source filters of groups.
    pub filters: &'a [SourceFilter],
}

/// Reads all recorded group management messages and combines them with the kernel state.
pub fn multicast(socket: &Path, kernel: &State<'_>) -> Result<Multicast, Failure> {
    let links = kernel.links;
    let groups = groups(links, kernel.memberships);
    let mut wire = Wire::new(groups[0], None, None, kernel.window.0);
    let numbers: BTreeMap<String, u32> = links
        .iter()
        .map(|link| (link.name.clone(), link.ifindex))
        .collect();
    read_record(socket, &group_management(), &numbers, &mut wire)?;
    wire.sort();
    let since_ns = record_begins(kernel.status.after, "group");
    Ok(Multicast {
        evidence: GroupEvidence {
            subject: Subject {
                group: groups[0],
                port: None,
                source: None,
                interface: kernel.interface.map(str::to_owned),
                joined_here: false,
            },
            window: kernel.window,
            since_ns,
            data_since_ns: since_ns,
            wire,
            measured: vec![],
            is_sampled: false,
            host: Some(KernelState {
                links: links.to_vec(),
                memberships: kernel.memberships.clone(),
                igmp_versions: kernel.igmp_versions.clone(),
                filters: kernel.filters.to_vec(),
                sysctls: kernel.sysctls.clone(),
                listened: BeforeAfter {
                    before: listened(kernel.status.before),
                    after: listened(kernel.status.after),
                },
                own_pids: own_pids(kernel.status.after).to_vec(),
                ..KernelState::default()
            }),
        },
        groups,
    })
}

/// Returns a group per address family that this host has joined and that snooping switches prune, else
/// all-systems (224.0.0.1, ff02::1).
fn groups(links: &[Link], memberships: &HashMap<u32, Vec<Membership>>) -> Vec<IpAddr> {
    let is_link = |ifindex: &u32| {
        links
            .iter()
            .any(|link| link.ifindex == *ifindex && !link.is_loopback())
    };
    let mut all: Vec<IpAddr> = memberships
        .iter()
        .filter(|(ifindex, _)| is_link(ifindex))
        .flat_map(|(_, groups)| groups.iter().map(|one| one.group))
        .filter(|group| is_pruned(*group))
        .collect();
    all.sort();
    // Link-local groups last: few rules concern them.
    all.sort_by_key(|group| is_link_local(*group));
    let first = |is_ipv4: bool, fallback: IpAddr| {
        all.iter()
            .copied()
            .find(|group| group.is_ipv4() == is_ipv4)
            .unwrap_or(fallback)
    };
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    vec![
        first(true, [224, 0, 0, 1].into()),
        first(false, all_nodes.into()),
    ]
}

/// Returns whether an IPv6 group has at most link-local scope (RFC 4291, section 2.7).
fn is_link_local(group: IpAddr) -> bool {
    matches!(group, IpAddr::V6(v6) if v6.octets()[1] & 15 <= 2)
}
