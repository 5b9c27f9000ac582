//! PURE. Failure modes of addresses: duplicate, tentative, missing, or two in one network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::evidence::{HostEvidence, Route};
use super::links::MAX_FINDINGS;
use super::virtual_routers::has_two_masters;
use super::{CheckOutcome, HostMode};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::evidence::in_network;
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::protocol::inventory::{self, Neighbors};
use crate::text::counted;

/// Duplicate address detection takes two seconds by default; beyond this time something blocks it.
const TENTATIVE_NS: u64 = 5_000_000_000;

pub fn check_conflicts(all: &HostEvidence) -> CheckOutcome {
    match &all.neighbors {
        Ok(reply) => CheckOutcome::Done(format!(
            "hosts seen: {}, active conflicts: {}",
            reply
                .neighbors
                .iter()
                .filter(|one| all.is_wanted(&one.interface))
                .count(),
            reply
                .findings
                .iter()
                .filter(|one| one.kind == "conflict" && one.current)
                .count()
        )),
        Err(why) => CheckOutcome::Skipped(why.clone()),
    }
}

pub static ADDRESS_CONFLICT: HostMode = HostMode {
    text: Text {
        id: "address-conflict",
        title: "two hosts have the same address",
        symptoms: "Connections break and recover; it depends on which host connects, and when.",
        cause: "An address was configured by hand that a DHCP server also assigns, a virtual \
            machine was cloned, or two standby routers do not receive each other's messages.",
        proof: "Both answered the same question, or each claims the address again after the \
            other. Consistent only if both have further IPv4 addresses in common, as a host with two \
            interfaces on the link has.",
        fix: "Give one of them another address; a switch's MAC table shows the port of each.",
    },
    implies: &[
        "gateway-moved",
        "gateway-unresolved",
        "gateway-silent",
        "gateway-loss",
    ],
    rule: |all| {
        let Ok(reply) = &all.neighbors else {
            return vec![];
        };
        let conflicts = reply.findings.iter().filter(|one| {
            // One host with two interfaces on a link is not a conflict.
            let is_all_own = one.claimants.iter().all(|claimant| claimant.own);
            // Duplicate address detection found it, so this host does not use the address.
            let is_left = all
                .links
                .iter()
                .flat_map(|at| &at.addresses)
                .any(|own| own.is_taken && one.address.parse() == Ok(own.address));
            one.kind == "conflict"
                && one.current
                && all.is_wanted(&one.interface)
                && !is_all_own
                && !is_left
                && !has_two_masters(all, &one.interface, &one.address)
        });
        conflicts
            .take(MAX_FINDINGS)
            .map(|one| {
                let whose = match (one.own, one.gateway) {
                    (true, _) => ", an address of this host,",
                    (_, true) => ", this host's gateway,",
                    _ => "",
                };
                let between = one.between.clone().unwrap_or_default().join(" and by ");
                let summary = format!(
                    "{}{whose} is claimed on {} by {between}",
                    one.address, one.interface
                );
                let concerns_us = one.own || one.gateway;
                // A host with two interfaces on the link answers on each for the addresses of both.
                let certainty = match one.own || !share_addresses(reply, one) {
                    true => Certainty::Proved,
                    false => Certainty::Consistent,
                };
                let found = FindingDraft::fault_or_warning(concerns_us, certainty, summary);
                let mut found = found.fix(
                    "give one of them another address; `netsonde neighbors` shows the hosts, a \
                        switch's MAC table their ports",
                );
                for claimant in &one.claimants {
                    let own = if claimant.own { " (this host)" } else { "" };
                    found = found.with_evidence(
                        "wire",
                        format!(
                            "{}{own}: {}, {} of them answers",
                            claimant.mac,
                            counted(claimant.claims, "claim"),
                            claimant.answers
                        ),
                    );
                }
                let placed = found.on(&one.interface);
                // A conflict of others explains nothing of this host's gateways.
                if concerns_us { placed } else { placed.alone() }
            })
            .collect()
    },
};

/// Returns whether both stations of a conflict claim a further IPv4 address in common.
fn share_addresses(reply: &Neighbors, one: &inventory::Finding) -> bool {
    let Some([first, second]) = one.between.as_deref() else {
        return false;
    };
    let claimed = |mac: &String| -> BTreeSet<&str> {
        let stations = reply.neighbors.iter();
        stations
            .filter(|station| station.mac == *mac && station.interface == one.interface)
            .flat_map(|station| &station.addresses)
            .filter(|address| address.claims > 0 && address.address.contains('.'))
            .map(|address| address.address.as_str())
            .collect()
    };
    claimed(first).intersection(&claimed(second)).count() > 1
}

pub fn check_detection(all: &HostEvidence) -> CheckOutcome {
    let (mut count, mut waiting) = (0, 0);
    for own in all.interfaces().flat_map(|one| &one.addresses) {
        count += usize::from(own.address.is_ipv6());
        waiting += usize::from(own.is_tentative);
    }
    match count {
        0 => CheckOutcome::NotApplicable("there is no IPv6 address".into()),
        _ => CheckOutcome::Done(format!(
            "{count} IPv6 addresses, {waiting} of them not ready"
        )),
    }
}

pub static DUPLICATE_ADDRESS: HostMode = HostMode {
    text: Text {
        id: "duplicate-address",
        title: "an IPv6 address of this host is a duplicate",
        symptoms: "The address is listed but does not work: it is not used for sending and does \
            not answer.",
        cause: "Duplicate address detection (RFC 4862) found another host with it: a cloned \
            virtual machine, an address configured by hand, or a loop that returns this host's own \
            packets.",
        proof: "The kernel marks the address as failed (dadfailed), and the wire shows the host that \
            answered for it. Consistent without that answer, since a loop has the same effect.",
        fix: "Give one of the two another address, then delete this one and add it again: the \
            kernel does not retry by itself.",
    },
    implies: &["no-address"],
    rule: |all| {
        let mut found = Vec::new();
        for one in all.interfaces() {
            for own in one.addresses.iter().filter(|own| own.is_taken) {
                let address = own.address;
                let by = all
                    .neighbors
                    .iter()
                    .flat_map(|reply| &reply.findings)
                    .find(|finding| {
                        finding.kind == "duplicate" && finding.address.parse() == Ok(address)
                    });
                let by = by.and_then(|finding| finding.by.clone());
                let who = by
                    .as_ref()
                    .map_or("another host".into(), |mac| format!("the host {mac}"));
                // A loop that returns this host's own packets has the same effect.
                let certainty = match by {
                    Some(_) => Certainty::Proved,
                    None => Certainty::Consistent,
                };
                let mut one_found = FindingDraft::fault(
                    certainty,
                    format!(
                        "{address} on {} is not used, because {who} already has it",
                        one.name()
                    ),
                )
                .fix(format!(
                    "give one of them another address; then ip address del {address}/{} dev {} and \
                        add it again",
                    own.prefix,
                    one.name()
                ))
                .with_evidence("kernel", format!("{address}: dadfailed"));
                if let Some(mac) = by {
                    one_found = one_found.with_evidence("wire", format!("{mac} answered for it"));
                }
                found.push(one_found.on(one.name()));
            }
        }
        found
    },
};

pub static ADDRESS_TENTATIVE: HostMode = HostMode {
    text: Text {
        id: "address-tentative",
        title: "an IPv6 address stays tentative",
        symptoms: "The address is listed, but programs cannot bind to it or send from it.",
        cause: "Duplicate address detection waits for a carrier or a bridge port, or is configured \
            to take long (dad_transmits, retrans_time_ms).",
        proof: "The kernel has marked the address as tentative for seconds.",
        fix: "Check the link, and net.ipv6.conf.IF.dad_transmits.",
    },
    implies: &[],
    rule: |all| {
        let mut found = Vec::new();
        for one in all.interfaces() {
            let late = one
                .addresses
                .iter()
                .filter(|own| own.is_tentative && !own.is_taken && own.age_ns > TENTATIVE_NS);
            for own in late {
                found.push(
                    FindingDraft::warning(
                        Certainty::Proved,
                        format!(
                            "{} on {} is still tentative after {}: duplicate address detection is \
                                not finished",
                            own.address,
                            one.name(),
                            seconds(own.age_ns)
                        ),
                    )
                    .fix(format!(
                        "check whether {} has a working link, and sysctl \
                            net.ipv6.conf.{0}.dad_transmits",
                        one.name()
                    ))
                    .with_evidence("kernel", format!("{}: tentative", own.address))
                    .on(one.name()),
                );
            }
        }
        found
    },
};

pub fn check_addresses(all: &HostEvidence) -> CheckOutcome {
    let with: Vec<String> = all
        .interfaces()
        .flat_map(|one| {
            one.wide_addresses()
                .map(|own| format!("{} {}/{}", one.name(), own.address, own.prefix))
        })
        .take(MAX_FINDINGS)
        .collect();
    if with.is_empty() {
        return CheckOutcome::Done("none other than link-local".into());
    }
    CheckOutcome::Done(list(with))
}

pub static NO_ADDRESS: HostMode = HostMode {
    text: Text {
        id: "no-address",
        title: "there is a default route but no source address",
        symptoms: "Every connection fails at once, or IPv6 connections fail slowly.",
        cause: "DHCP has not answered, or an interface lost its address. With IPv6, a router \
            advertises itself without a prefix and no DHCPv6 client runs.",
        proof: "A default route of that family, and no address of more than link scope.",
        fix: "Check the DHCP client's log, or give the interface an address.",
    },
    implies: &[
        "gateway-off-link",
        "gateway-unresolved",
        "gateway-silent",
        "gateway-not-sent",
        "gateway-loss",
    ],
    rule: |all| {
        let mut found = Vec::new();
        for (is_ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
            let mut defaults = all.routes.iter().filter(|route| {
                route.is_default()
                    && route.network.is_ipv4() == is_ipv4
                    && all.is_wanted(&route.interface)
            });
            // On any interface, since a router may use the address of its loopback interface for
            // its links.
            let has = all
                .links
                .iter()
                .flat_map(|one| one.wide_addresses())
                .any(|own| own.address.is_ipv4() == is_ipv4 && !own.is_taken);
            let Some(route) = defaults.next().filter(|_| !has) else {
                continue;
            };
            let name = &route.interface;
            let summary = format!(
                "the {family} default route uses {name}, but there is no source address for it"
            );
            let one = if is_ipv4 {
                FindingDraft::fault(Certainty::Proved, summary)
            } else {
                FindingDraft::warning(Certainty::Proved, summary)
            };
            found.push(
                one.fix(format!(
                    "check the DHCP client's log, or ip address add ... dev {name}"
                ))
                .with_evidence("route", format!("default route on {name}"))
                .with_evidence(
                    "kernel",
                    format!("no {family} address of more than link scope"),
                )
                .on(name),
            );
        }
        found
    },
};

pub static ARP_FLUX: HostMode = HostMode {
    text: Text {
        id: "arp-flux",
        title: "two interfaces are in the same network, and each answers for the other",
        symptoms: "Traffic arrives on the wrong interface; unplugging one cable disables the \
            address of the other interface; the host appears to conflict with itself.",
        cause: "On Linux an IPv4 address belongs to the host, not to the interface: every \
            interface answers ARP for all of them, unless arp_ignore or arp_filter is set.",
        proof: "Two interfaces that are up have addresses in one network, and neither setting is \
            on.",
        fix: "Put both into a bond or bridge, or give them different networks; otherwise \
            net.ipv4.conf.all.arp_ignore=1 and arp_announce=2.",
    },
    implies: &[],
    rule: |all| {
        let mut networks: BTreeMap<(u32, u8), Vec<(&str, IpAddr)>> = BTreeMap::new();
        for one in all
            .links
            .iter()
            .filter(|one| !one.link.is_loopback() && one.works())
        {
            // Ports of bridges, bonds and VRFs answer through the device above them, or separately
            // from others.
            if one.link.master.is_some() || one.link.flags & 0x80 != 0 {
                continue;
            }
            for own in one.wide_addresses().filter(|own| own.prefix < 32) {
                if let IpAddr::V4(v4) = own.address {
                    let shift = 32 - u32::from(own.prefix);
                    let network = u32::from(v4).checked_shr(shift).unwrap_or(0);
                    let group = networks.entry((network, own.prefix)).or_default();
                    group.push((one.name(), own.address));
                }
            }
        }
        networks
            .into_values()
            .filter_map(|shared| {
                let (first, own) = shared[0];
                let (second, other) = *shared.iter().find(|(name, _)| *name != first)?;
                let is_restricted = |name: &str| {
                    all.sysctl_max(name, "arp_ignore") > 0 || all.sysctl_max(name, "arp_filter") > 0
                };
                if is_restricted(first) && is_restricted(second) {
                    return None;
                }
                if !all.is_wanted(first) && !all.is_wanted(second) {
                    return None;
                }
                Some(
                    FindingDraft::warning(
                        Certainty::Consistent,
                        format!(
                            "{first} ({own}) and {second} ({other}) are in the same network: each \
                                answers ARP for the other's address"
                        ),
                    )
                    .fix(
                        "put them into a bond, or give them different networks; otherwise sysctl \
                            net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
                    )
                    .with_evidence("kernel", format!("{own} on {first}, {other} on {second}"))
                    .with_evidence(
                        "sysctl",
                        format!(
                            "arp_ignore {} and {}, arp_filter {} and {}",
                            all.sysctl_max(first, "arp_ignore"),
                            all.sysctl_max(second, "arp_ignore"),
                            all.sysctl_max(first, "arp_filter"),
                            all.sysctl_max(second, "arp_filter")
                        ),
                    )
                    .on(first),
                )
            })
            .collect()
    },
};

/// Returns whether an address is in a network of the interface.
pub fn is_on_link(all: &HostEvidence, interface: &str, address: IpAddr) -> bool {
    let own = all
        .interface(interface)
        .into_iter()
        .flat_map(|one| &one.addresses);
    let mut own = own.filter(|own| in_network(own.address, own.prefix, address));
    let mut routes = all.routes.iter().filter(|route| {
        route.interface == interface
            && route.gateway.is_none()
            && route.table == Route::MAIN
            && in_network(route.network, route.bits, address)
    });
    own.next().is_some() || routes.next().is_some()
}
