//! PURE. Failure modes of virtual routers (VRRP, HSRP, CARP): two masters.

use super::evidence::HostEvidence;
use super::links::MAX_FINDINGS;
use super::{CheckOutcome, HostMode};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::protocol::inventory::{Master, VirtualRouter};
use crate::text::counted;

/// Returns the virtual routers of the diagnosed interfaces that have a master.
fn routers(all: &HostEvidence) -> impl Iterator<Item = &VirtualRouter> {
    let replies = all.neighbors.iter();
    replies
        .flat_map(|reply| reply.virtual_routers.iter().flatten())
        .filter(|one| all.is_wanted(&one.interface) && !one.masters.is_empty())
}

/// Returns whether the address belongs to a virtual router that has two masters.
pub fn has_two_masters(all: &HostEvidence, interface: &str, address: &str) -> bool {
    routers(all).any(|one| {
        one.two_masters.is_some()
            && one.interface == interface
            && one.addresses.iter().any(|own| own == address)
    })
}

/// Formats protocol, number and family: "VRRP 51", "HSRP 4 for IPv6".
fn name(one: &VirtualRouter) -> String {
    let family = if one.ipv6 { " for IPv6" } else { "" };
    format!("{} {}{family}", one.protocol, one.number)
}

/// Name of the number that decides the election.
fn rank(one: &VirtualRouter) -> &'static str {
    match one.protocol.as_str() {
        "CARP" => "advskew",
        _ => "priority",
    }
}

pub fn check_masters(all: &HostEvidence) -> CheckOutcome {
    if let Err(why) = &all.neighbors {
        return CheckOutcome::Skipped(why.clone());
    }
    let seen: Vec<String> = routers(all)
        .map(|one| {
            let latest = one.masters.iter().max_by_key(|master| &master.last);
            let master = latest.map_or("?", |master| &master.address);
            format!("{} on {}: {master}", name(one), one.interface)
        })
        .collect();
    match seen.len() {
        0 => CheckOutcome::NotApplicable("no VRRP, HSRP or CARP was seen".into()),
        _ => CheckOutcome::Done(list(seen)),
    }
}

pub static TWO_MASTERS: HostMode = HostMode {
    text: Text {
        id: "two-masters",
        title: "two routers are the master of one virtual router",
        symptoms: "Connections through the gateway break and recover: its address and MAC address \
            jump between two ports of the switch.",
        cause: "The routers of a VRRP, HSRP or CARP group do not receive each other's \
            advertisements (a failed link between switches, a VLAN that is missing on a trunk, a \
            filter, IGMP snooping) or do not accept them (version, password, timers). Or two groups \
            use one number.",
        proof: "Both send advertisements as the master in turn, four times without a pause. A \
            take-over is none: the former master resigns or stops within an interval.",
        fix: "Restore the path between the routers, or give one of two groups another number.",
    },
    implies: &["gateway-moved", "gateway-loss"],
    rule: |all| {
        let split = routers(all).filter_map(|one| Some((one, one.two_masters.as_ref()?)));
        split
            .take(MAX_FINDINGS)
            .map(|(one, two)| {
                let named = |address: &String| {
                    let mut masters = one.masters.iter();
                    masters.find(|master| master.address == *address)
                };
                let masters: Vec<&Master> = two.iter().filter_map(named).collect();
                let ranked = masters.iter().map(|master| {
                    let own = if master.own { ", this host" } else { "" };
                    format!(
                        "{} ({} {}{own})",
                        master.address,
                        rank(one),
                        master.priority
                    )
                });
                let between: Vec<String> = ranked.collect();
                let addresses = match one.addresses.len() {
                    0 => String::new(),
                    _ => format!(" ({})", one.addresses.join(", ")),
                };
                let role = if one.gateway {
                    ", this host's gateway,"
                } else {
                    ""
                };
                let concerns_us = one.gateway || masters.iter().any(|master| master.own);
                let mut found = FindingDraft::fault_or_warning(
                    concerns_us,
                    Certainty::Proved,
                    format!(
                        "{}{addresses}{role} on {} has two masters: {}",
                        name(one),
                        one.interface,
                        between.join(" and ")
                    ),
                )
                .fix(
                    "let each receive the other's advertisements: check links, VLANs and filters \
                        between them, and that version, password and timers are the same",
                );
                for master in masters {
                    found = found.with_evidence(
                        "wire",
                        format!(
                            "{} ({}): {}, last {} ago",
                            master.address,
                            master.mac,
                            counted(master.advertisements, "advertisement"),
                            seconds(all.ago_ns(&master.last))
                        ),
                    );
                }
                found.on(&one.interface)
            })
            .collect()
    },
};
