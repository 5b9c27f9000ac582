//! PURE. Modes of multicast that need no group: they are multicast's own, in its words and mostly by its
//! rules, asked about whatever group this host holds.

use std::net::IpAddr;

use super::evidence::{Evidence, Known, Multicast};
use super::{Look, Mode, Placed};
use crate::diagnose::case::{self, Case, list, seconds};
use crate::diagnose::{self, Certainty, Found, Severity, Text, protocol, snooping, socket};
use crate::protocol::multicast::LinkWithoutQuerier;

/// A group as multicast's rules see it. What depends on the group's packets is not asked, since they are not
/// looked at.
fn as_seen(all: &Multicast, group: IpAddr, is_starving: bool) -> Case<'_> {
    let mut case = Case::of(&all.evidence, group);
    case.has_packets = false;
    if !is_starving {
        case.starving.clear();
    }
    case
}

/// Asks a rule of multicast's about each group.
fn asked(known: &Known<Multicast>, mode: &diagnose::Mode, is_starving: bool) -> Vec<Placed> {
    let Ok(all) = known else {
        return vec![];
    };
    let found = (all.groups.iter()).filter_map(|group| {
        let mut found = (mode.rule)(&as_seen(all, *group, is_starving))?;
        // Whether packets of it come was not looked at, so it may do.
        if found.severity == Severity::Fault {
            found.severity = Severity::Warning;
        }
        Some(found.of_the_host())
    });
    let mut told: Vec<Placed> = Vec::new();
    for one in found {
        if !told.contains(&one) {
            told.push(one);
        }
    }
    told
}

/// A mode of multicast's, asked by its own rule.
macro_rules! own_rule {
    ($name:ident, $mode:path) => {
        own_rule!($name, $mode, false);
    };
    ($name:ident, $mode:path, $starving:literal) => {
        pub static $name: Mode = Mode {
            text: $mode.text(),
            covers: $mode.covers,
            rule: |all| asked(&all.multicast, &$mode, $starving),
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

pub fn look_queriers(all: &Evidence) -> Look {
    match (&all.queriers, &all.multicast) {
        (Err(why), _) | (_, Err(why)) => Look::NotMade(why.clone()),
        (Ok(told), Ok(_)) => {
            let there: Vec<String> = (told.queriers.iter())
                .filter(|one| all.is_wanted(&one.interface) && one.standing != "gone")
                .map(|one| {
                    format!(
                        "{} on {} ({} version {}, {})",
                        one.address, one.interface, one.protocol, one.version, one.standing
                    )
                })
                .collect();
            if there.is_empty() {
                return Look::Seen("nobody asks for memberships".into());
            }
            Look::Seen(list(there))
        }
    }
}

pub fn look_bridges(all: &Evidence) -> Look {
    if let Err(why) = &all.queriers {
        return Look::NotMade(why.clone());
    }
    let on = |is_on: bool| if is_on { "on" } else { "off" };
    let told: Vec<String> = (all.interfaces())
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
    match told.len() {
        0 => Look::Nothing("there is no bridge".into()),
        _ => Look::Seen(list(told)),
    }
}

pub static NO_QUERIER: Mode = Mode {
    text: snooping::NO_QUERIER.text(),
    covers: &[],
    rule: |all| {
        let unasked = all.queriers.iter().flat_map(|told| &told.unasked);
        unasked.filter_map(|one| unasked_bridge(all, one)).collect()
    },
};

/// Of a bridge of this host it is known that it snoops; of a switch it shows only when a group fails.
fn unasked_bridge(all: &Evidence, unasked: &LinkWithoutQuerier) -> Option<Placed> {
    let one = all.interface(&unasked.interface)?;
    let (name, bridge) = (one.name(), one.link.bridge.as_ref()?);
    let silent = all.ago_ns(&unasked.since);
    let host = all.multicast.as_ref().ok()?.evidence.host.as_ref()?;
    // A bridge itself is a member of groups of the link, such as all snoopers.
    let groups: Vec<IpAddr> = (host.memberships.get(&one.link.ifindex)?.iter())
        .map(|membership| membership.group)
        .filter(|group| case::protocol(*group) == unasked.protocol)
        .filter(|group| !case::is_link_local(*group))
        .collect();
    let is_asked = bridge.querier || silent < bridge.querier_ns;
    if !bridge.snooping || is_asked || groups.is_empty() || !all.is_wanted(name) {
        return None;
    }
    let (what, since) = (list(groups), seconds(silent));
    Some(
        Found::note(
            Certainty::Consistent,
            format!(
                "{name} snoops, {what} is held on it, and no {} querier was there for {since}: \
                    one that comes and goes would make it prune that",
                unasked.protocol
            ),
        )
        .fix(format!(
            "ip link set {name} type bridge mcast_querier 1 mcast_igmp_version 3 \
                mcast_mld_version 2, or mcast_snooping 0"
        ))
        .because(
            "bridge",
            format!("{name}: mcast_snooping 1, mcast_querier 0"),
        )
        .because("wire", format!("no query on {name} for {since}"))
        .on(name),
    )
}

pub fn look_memberships(all: &Evidence) -> Look {
    let most = all.sysctl("net/ipv4/igmp_max_memberships");
    let Some(most) = most else {
        return Look::NotMade("net.ipv4.igmp_max_memberships cannot be read".into());
    };
    let fullest = all
        .holders
        .iter()
        .map(|holder| holder.groups)
        .max()
        .unwrap_or(0);
    Look::Seen(format!(
        "at most {fullest} groups on a socket, {most} may be"
    ))
}

pub static MEMBERSHIP_LIMIT: Mode = Mode {
    text: socket::MEMBERSHIP_LIMIT.text(),
    covers: &[],
    rule: |all| {
        let Some(most) = all
            .sysctl("net/ipv4/igmp_max_memberships")
            .filter(|most| *most > 0)
        else {
            return vec![];
        };
        let full = all.holders.iter().filter(|holder| {
            let v4 = (holder.joined.iter())
                .filter(|(_, group, ..)| group.is_ipv4())
                .count();
            v4 as i64 >= most
        });
        full.map(|holder| {
            Found::warning(
                Certainty::Proved,
                format!(
                    "{} holds {} groups on one socket, which is the limit: it cannot join \
                        another",
                    holder.process, holder.groups
                ),
            )
            .fix(format!(
                "sysctl net.ipv4.igmp_max_memberships={}, and restart it; or spread groups over \
                    sockets",
                most * 10
            ))
            .because("socket", format!("{} memberships", holder.groups))
            .because("sysctl", format!("net.ipv4.igmp_max_memberships = {most}"))
            .of_the_host()
        })
        .collect()
    },
};

pub fn look_versions(all: &Evidence) -> Look {
    let told: Vec<String> = (all.interfaces())
        .filter_map(|one| {
            let version = all.igmp_versions.get(&one.link.ifindex)?;
            Some(format!("{} {version}", one.name()))
        })
        .collect();
    match told.len() {
        0 => Look::Nothing("IGMP is spoken on no interface".into()),
        _ => Look::Seen(list(told)),
    }
}

pub static IGMP_VERSION_FORCED: Mode = Mode {
    text: Text {
        id: "igmp-version-forced",
        title: "this host is told to speak an old version of IGMP",
        seen: "Source-specific joins don't work, although the querier speaks version 3.",
        cause: "force_igmp_version is set, as it has to be behind switches that know version 2 \
            only; it stays when the switch has long been replaced.",
        proof: "net.ipv4.conf.IF.force_igmp_version or that of all.",
        fix: "sysctl net.ipv4.conf.IF.force_igmp_version=0, unless the switch needs it.",
    },
    covers: &["igmpv2-querier-breaks-ssm"],
    rule: |all| {
        (all.interfaces())
            .filter_map(|one| {
                let name = one.name();
                // That of all goes before that of the interface, as in the kernel.
                let of =
                    |part: &str| all.sysctl(&format!("net/ipv4/conf/{part}/force_igmp_version"));
                let forced = of("all").filter(|version| *version != 0).or(of(name));
                let version = forced.filter(|version| (1..3).contains(version))?;
                let sourced = (all.filters.iter())
                    .filter(|filter| filter.ifindex == one.link.ifindex && filter.include > 0)
                    .count();
                let summary = format!("IGMP on {name} is forced to version {version}");
                let found = if sourced > 0 {
                    Found::warning(
                        Certainty::Proved,
                        format!(
                            "{summary}, which cannot ask for the {sourced} sources that are \
                                wanted"
                        ),
                    )
                } else {
                    Found::note(
                        Certainty::Proved,
                        format!("{summary}: source-specific joins don't work there"),
                    )
                };
                Some(
                    found
                        .fix(format!(
                            "sysctl net.ipv4.conf.{name}.force_igmp_version=0 (and that of \
                                all), unless a switch needs it"
                        ))
                        .because("sysctl", format!("force_igmp_version of {name}: {version}"))
                        .on(name),
                )
            })
            .collect()
    },
};
