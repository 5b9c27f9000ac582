//! PURE. Failure modes of multicast that need no packets of a group. They have the texts and mostly the rules
//! of the modes of a group, applied to the groups that this host has joined.

use std::net::IpAddr;

use super::evidence::{HostEvidence, Known, Multicast};
use super::{CheckOutcome, HostMode, LocatedFinding};
use crate::diagnose::case::{self, Case, list, seconds};
use crate::diagnose::{self, Certainty, FindingDraft, Severity, Text, protocol, snooping, socket};
use crate::protocol::multicast::LinkWithoutQuerier;
use crate::text::counted;

/// A group as the rules of multicast need it. Packets of the group were not observed, so rules that
/// depend on them find nothing.
fn case_of(all: &Multicast, group: IpAddr, without_traffic: bool) -> Case<'_> {
    let mut case = Case::of(&all.evidence, group);
    case.has_packets = false;
    if !without_traffic {
        case.without_traffic.clear();
    }
    case
}

/// Applies a rule of multicast to each group.
fn apply_rule(
    known: &Known<Multicast>,
    mode: &diagnose::FailureMode,
    without_traffic: bool,
) -> Vec<LocatedFinding> {
    let Ok(all) = known else {
        return vec![];
    };
    let found = all.groups.iter().filter_map(|group| {
        let mut found = (mode.rule)(&case_of(all, *group, without_traffic))?;
        // Packets of the group were not observed, so it may arrive.
        if found.severity == Severity::Fault {
            found.severity = Severity::Warning;
        }
        Some(found.on_host())
    });
    let mut unique: Vec<LocatedFinding> = Vec::new();
    for one in found {
        if !unique.contains(&one) {
            unique.push(one);
        }
    }
    unique
}

/// A failure mode of multicast, with its own rule.
macro_rules! own_rule {
    ($name:ident, $mode:path) => {
        own_rule!($name, $mode, false);
    };
    ($name:ident, $mode:path, $without_traffic:literal) => {
        pub static $name: HostMode = HostMode {
            text: $mode.text(),
            implies: $mode.implies,
            rule: |all| apply_rule(&all.multicast, &$mode, $without_traffic),
        };
    };
}

own_rule!(FIREWALL_DROPS_IGMP, protocol::FIREWALL_DROPS_IGMP);
own_rule!(FIREWALL_DROPS_MLD, protocol::FIREWALL_DROPS_MLD);
own_rule!(REPORT_SUPPRESSION, protocol::REPORT_SUPPRESSION);
own_rule!(ILLEGAL_MLD_QUERY, protocol::ILLEGAL_MLD_QUERY);
own_rule!(SUSPICIOUS_IGMP_QUERY, protocol::SUSPICIOUS_IGMP_QUERY);
own_rule!(BRIDGE_QUERIER_DEFAULT, protocol::BRIDGE_QUERIER_DEFAULT);
own_rule!(QUERIER_VERSION_FLAPPING, protocol::QUERIER_VERSION_FLAPPING);
own_rule!(QUERIER_WITHOUT_ADDRESS, protocol::QUERIER_WITHOUT_ADDRESS);
own_rule!(
    IGMPV2_QUERIER_BREAKS_SSM,
    protocol::IGMPV2_QUERIER_BREAKS_SSM
);
own_rule!(TWO_QUERIERS, snooping::TWO_QUERIERS);
own_rule!(QUERIER_CHANGED, snooping::QUERIER_CHANGED);
own_rule!(QUERIER_LOST, snooping::QUERIER_LOST, true);
own_rule!(QUERY_INTERVAL_TOO_LONG, snooping::QUERY_INTERVAL_TOO_LONG);
own_rule!(MDB_FULL, snooping::MDB_FULL);

pub fn check_queriers(all: &HostEvidence) -> CheckOutcome {
    match (&all.queriers, &all.multicast) {
        (Err(why), _) | (_, Err(why)) => CheckOutcome::Skipped(why.clone()),
        (Ok(reply), Ok(_)) => {
            let there: Vec<String> = reply
                .queriers
                .iter()
                .filter(|one| all.is_wanted(&one.interface) && one.standing != "gone")
                .map(|one| {
                    format!(
                        "{} on {} ({} version {}, {})",
                        one.address, one.interface, one.protocol, one.version, one.standing
                    )
                })
                .collect();
            if there.is_empty() {
                return CheckOutcome::Done("no querier".into());
            }
            CheckOutcome::Done(list(there))
        }
    }
}

pub fn check_bridges(all: &HostEvidence) -> CheckOutcome {
    if let Err(why) = &all.queriers {
        return CheckOutcome::Skipped(why.clone());
    }
    let on = |is_on: bool| if is_on { "on" } else { "off" };
    let parts: Vec<String> = all
        .interfaces()
        .filter_map(|one| {
            let bridge = one.link.bridge.as_ref()?;
            Some(format!(
                "{}: snooping {}, querier {}",
                one.name(),
                on(bridge.snooping),
                on(bridge.querier)
            ))
        })
        .collect();
    match parts.len() {
        0 => CheckOutcome::NotApplicable("there is no bridge".into()),
        _ => CheckOutcome::Done(list(parts)),
    }
}

pub static NO_QUERIER: HostMode = HostMode {
    text: snooping::NO_QUERIER.text(),
    implies: &[],
    rule: |all| {
        let unasked = all.queriers.iter().flat_map(|reply| &reply.unasked);
        unasked
            .filter_map(|one| bridge_without_querier(all, one))
            .collect()
    },
};

/// Reports a snooping bridge of this host without a querier. Whether a switch snoops is unknown until a group
/// fails.
fn bridge_without_querier(
    all: &HostEvidence,
    unasked: &LinkWithoutQuerier,
) -> Option<LocatedFinding> {
    let one = all.interface(&unasked.interface)?;
    let (name, bridge) = (one.name(), one.link.bridge.as_ref()?);
    let silent = all.ago_ns(&unasked.since);
    let host = all.multicast.as_ref().ok()?.evidence.host.as_ref()?;
    // The bridge itself is a member of link-scope groups, such as all-snoopers.
    let groups: Vec<IpAddr> = host
        .memberships
        .get(&one.link.ifindex)?
        .iter()
        .map(|membership| membership.group)
        .filter(|group| case::protocol(*group) == unasked.protocol)
        .filter(|group| !case::is_link_local(*group))
        .collect();
    let has_querier = bridge.querier || silent < bridge.querier_ns;
    if !bridge.snooping || has_querier || groups.is_empty() || !all.is_wanted(name) {
        return None;
    }
    let (what, since) = (list(groups), seconds(silent));
    Some(
        FindingDraft::note(
            Certainty::Consistent,
            format!(
                "{what} is joined on {name}, which snoops, but no {} querier was seen there for \
                    {since}: a querier that appears only for a while would make {name} prune it",
                unasked.protocol
            ),
        )
        .fix(format!(
            "ip link set {name} type bridge mcast_querier 1 mcast_igmp_version 3 mcast_mld_version \
                2, or mcast_snooping 0"
        ))
        .with_evidence(
            "bridge",
            format!("{name}: mcast_snooping 1, mcast_querier 0"),
        )
        .with_evidence("wire", format!("no query on {name} for {since}"))
        .on(name),
    )
}

pub fn check_memberships(all: &HostEvidence) -> CheckOutcome {
    let limit = all.sysctl("net/ipv4/igmp_max_memberships");
    let Some(limit) = limit else {
        return CheckOutcome::Skipped("net.ipv4.igmp_max_memberships cannot be read".into());
    };
    let fullest = all
        .holders
        .iter()
        .map(|holder| holder.groups)
        .max()
        .unwrap_or(0);
    CheckOutcome::Done(format!(
        "at most {} on a socket, limit {limit}",
        counted(fullest, "group")
    ))
}

pub static MEMBERSHIP_LIMIT: HostMode = HostMode {
    text: socket::MEMBERSHIP_LIMIT.text(),
    implies: &[],
    rule: |all| {
        let Some(limit) = all
            .sysctl("net/ipv4/igmp_max_memberships")
            .filter(|limit| *limit > 0)
        else {
            return vec![];
        };
        let full = all.holders.iter().filter(|holder| {
            let v4 = holder
                .joined
                .iter()
                .filter(|(_, group, ..)| group.is_ipv4())
                .count();
            v4 as i64 >= limit
        });
        full.map(|holder| {
            let groups = counted(holder.groups, "group");
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "{} has joined {groups} on one socket, which is the limit: it cannot join \
                        another",
                    holder.process
                ),
            )
            .fix(format!(
                "sysctl net.ipv4.igmp_max_memberships={}, and restart it; or spread groups over \
                    sockets",
                limit * 10
            ))
            .with_evidence("socket", counted(holder.groups, "membership"))
            .with_evidence("sysctl", format!("net.ipv4.igmp_max_memberships = {limit}"))
            .on_host()
        })
        .collect()
    },
};

pub fn check_versions(all: &HostEvidence) -> CheckOutcome {
    let parts: Vec<String> = all
        .interfaces()
        .filter_map(|one| {
            let version = all.igmp_versions.get(&one.link.ifindex)?;
            Some(format!("{} {version}", one.name()))
        })
        .collect();
    match parts.len() {
        0 => CheckOutcome::NotApplicable("IGMP is not in use on any interface".into()),
        _ => CheckOutcome::Done(list(parts)),
    }
}

pub static IGMP_VERSION_FORCED: HostMode = HostMode {
    text: Text {
        id: "igmp-version-forced",
        title: "this host is forced to an old version of IGMP",
        symptoms: "Source-specific joins do not work, although the querier uses version 3.",
        cause: "force_igmp_version is set, as required behind switches that support only version \
            2; it was kept after the switch was replaced.",
        proof: "net.ipv4.conf.IF.force_igmp_version, or that of all.",
        fix: "sysctl net.ipv4.conf.IF.force_igmp_version=0, unless the switch needs it.",
    },
    implies: &["igmpv2-querier-breaks-ssm"],
    rule: |all| {
        all.interfaces()
            .filter_map(|one| {
                let name = one.name();
                // The setting of "all" takes precedence over that of the interface, as in the
                // kernel.
                let of =
                    |part: &str| all.sysctl(&format!("net/ipv4/conf/{part}/force_igmp_version"));
                let forced = of("all").filter(|version| *version != 0).or(of(name));
                let version = forced.filter(|version| (1..3).contains(version))?;
                let sourced = all
                    .filters
                    .iter()
                    .filter(|filter| filter.ifindex == one.link.ifindex && filter.include > 0)
                    .count();
                let summary = format!("IGMP on {name} is forced to version {version}");
                let found = if sourced > 0 {
                    FindingDraft::warning(
                        Certainty::Proved,
                        format!(
                            "{summary}, which cannot request the {} that were \
                                joined",
                            counted(sourced, "source")
                        ),
                    )
                } else {
                    FindingDraft::note(
                        Certainty::Proved,
                        format!("{summary}: source-specific joins do not work there"),
                    )
                };
                Some(
                    found
                        .fix(format!(
                            "sysctl net.ipv4.conf.{name}.force_igmp_version=0 (and that of all), \
                                unless a switch needs it"
                        ))
                        .with_evidence("sysctl", format!("force_igmp_version of {name}: {version}"))
                        .on(name),
                )
            })
            .collect()
    },
};
