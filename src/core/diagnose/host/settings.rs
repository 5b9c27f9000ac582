//! PURE. Failure modes of sysctls, as counters or the wire show them.

use super::evidence::HostEvidence;
use super::{CheckOutcome, HostMode};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::text::counted;

/// Paths on the Internet have up to about thirty hops.
const LONG_PATH: i64 = 32;

/// For each family: the forwarding sysctl, and the counter of packets for other hosts that were not
/// forwarded.
const FORWARDING: [(&str, &str); 2] = [
    ("net/ipv4/ip_forward", "IpInAddrErrors"),
    ("net/ipv6/conf/all/forwarding", "Ip6InAddrErrors"),
];

pub fn check_forwarding(all: &HostEvidence) -> CheckOutcome {
    let parts: Vec<String> = FORWARDING
        .iter()
        .filter_map(|(name, counter)| {
            let count = all.counters.after.moved(&all.counters.before, counter);
            Some(format!(
                "{} {}, {counter} +{count}",
                name.replace('/', "."),
                all.sysctl(name)?
            ))
        })
        .collect();
    match parts.len() {
        0 => CheckOutcome::Skipped("net.ipv4.ip_forward cannot be read".into()),
        _ => CheckOutcome::Done(list(parts)),
    }
}

pub static FORWARDING_OFF: HostMode = HostMode {
    text: Text {
        id: "forwarding-off",
        title: "other hosts send packets through this host, but it does not forward",
        symptoms: "Containers, guests or hosts that use this host as their router reach nothing.",
        cause: "net.ipv4.ip_forward is 0: it was never set, or a program or a restart reset it. Or \
            other hosts have the wrong router.",
        proof: "The counter IpInAddrErrors (Ip6InAddrErrors) increases while forwarding is 0.",
        fix: "sysctl net.ipv4.ip_forward=1 (net.ipv6.conf.all.forwarding=1) if this host is a \
            router; otherwise correct the other hosts.",
    },
    implies: &[],
    rule: |all| {
        let idle = FORWARDING.iter().filter_map(|(name, counter)| {
            let count = all.counters.after.moved(&all.counters.before, counter);
            let is_off = count > 0 && all.sysctl(name) == Some(0);
            is_off.then(|| (name.replace('/', "."), counter, count))
        });
        idle.map(|(name, counter, count)| {
            FindingDraft::warning(
                Certainty::Proved,
                format!(
                    "{} for other hosts came in within {}, but this host does not forward",
                    counted(count, "packet"),
                    seconds(all.window_ns)
                ),
            )
            .fix(format!(
                "sysctl {name}=1 if this host is a router; otherwise give those hosts the right \
                    router (netsonde talkers shows them)"
            ))
            .with_evidence("counters", format!("{counter} +{count}"))
            .with_evidence("sysctl", format!("{name} = 0"))
            .on_host()
        })
        .collect()
    },
};

pub fn check_ttl(all: &HostEvidence) -> CheckOutcome {
    let v4 = all.sysctl("net/ipv4/ip_default_ttl");
    let v6 = all.sysctl("net/ipv6/conf/default/hop_limit");
    match (v4, v6) {
        (None, None) => CheckOutcome::Skipped("net.ipv4.ip_default_ttl cannot be read".into()),
        (v4, v6) => {
            let text = |value: Option<i64>| value.map_or("-".into(), |value| value.to_string());
            CheckOutcome::Done(format!("{} (IPv4), {} (IPv6)", text(v4), text(v6)))
        }
    }
}

pub static TTL_LOW: HostMode = HostMode {
    text: Text {
        id: "ttl-low",
        title: "packets of this host expire on long paths",
        symptoms: "Nearby hosts can be reached, distant ones cannot: \"time to live exceeded\".",
        cause: "The default TTL or hop limit is low; paths on the Internet have up to about thirty \
            hops.",
        proof: "net.ipv4.ip_default_ttl or net.ipv6.conf.IF.hop_limit.",
        fix: "sysctl net.ipv4.ip_default_ttl=64, net.ipv6.conf.all.hop_limit=64.",
    },
    implies: &[],
    rule: |all| {
        let mut found = Vec::new();
        let ttl = all.sysctl("net/ipv4/ip_default_ttl");
        if let Some(ttl) = ttl.filter(|ttl| *ttl < LONG_PATH) {
            found.push(
                FindingDraft::warning(
                    Certainty::Proved,
                    format!(
                        "IPv4 packets are sent with a TTL of {ttl}: they do not reach hosts behind \
                            as many routers"
                    ),
                )
                .fix("sysctl net.ipv4.ip_default_ttl=64")
                .with_evidence("sysctl", format!("net.ipv4.ip_default_ttl = {ttl}"))
                .on_host(),
            );
        }
        for one in all.interfaces() {
            let name = format!("net/ipv6/conf/{}/hop_limit", one.name());
            let Some(limit) = all
                .sysctl(&name)
                .filter(|limit| (1..LONG_PATH).contains(limit))
            else {
                continue;
            };
            found.push(
                FindingDraft::warning(
                    Certainty::Proved,
                    format!(
                        "IPv6 packets on {} are sent with a hop limit of {limit}: they do not \
                            reach hosts behind as many routers",
                        one.name()
                    ),
                )
                .fix(format!(
                    "sysctl net.ipv6.conf.{}.hop_limit=64; if it changes back, a router advertises \
                        it",
                    one.name()
                ))
                .with_evidence(
                    "sysctl",
                    format!("net.ipv6.conf.{}.hop_limit = {limit}", one.name()),
                )
                .on(one.name()),
            );
        }
        found
    },
};

/// Returns the MAC address of a router that advertised itself on an interface.
fn advertised_router<'a>(all: &'a HostEvidence, name: &str) -> Option<&'a str> {
    let reply = all.neighbors.as_ref().ok()?;
    let mut routers = reply
        .neighbors
        .iter()
        .filter(|one| one.interface == name && one.roles.iter().any(|role| role == "router (RA)"));
    routers.next().map(|one| one.mac.as_str())
}

pub fn check_announcements(all: &HostEvidence) -> CheckOutcome {
    if let Err(why) = &all.neighbors {
        return CheckOutcome::Skipped(why.clone());
    }
    let advertised = all
        .interfaces()
        .filter(|one| advertised_router(all, one.name()).is_some());
    match advertised.count() {
        0 => CheckOutcome::NotApplicable("no router advertisements".into()),
        count => CheckOutcome::Done(format!(
            "router advertisements on {count}",
            count = counted(count, "interface")
        )),
    }
}

pub static RA_IGNORED: HostMode = HostMode {
    text: Text {
        id: "ra-ignored",
        title: "the kernel ignores router advertisements because it forwards",
        symptoms: "IPv6 works until the lifetime of its default route expires, and then stops.",
        cause: "With accept_ra=1 Linux accepts router advertisements only while it does not \
            forward. Programs that enable forwarding (containers, VPNs) end that.",
        proof: "A router advertises itself, forwarding is on, accept_ra is 1, and there is no \
            default route.",
        fix: "sysctl net.ipv6.conf.IF.accept_ra=2.",
    },
    implies: &[],
    rule: |all| {
        all.interfaces()
            .filter_map(|one| {
                let name = one.name();
                let of = |what: &str| all.sysctl(&format!("net/ipv6/conf/{name}/{what}"));
                let routed = all
                    .routes
                    .iter()
                    .any(|route| route.is_default() && route.network.is_ipv6());
                let router = advertised_router(all, name)?;
                if of("forwarding") != Some(1) || of("accept_ra") != Some(1) || routed {
                    return None;
                }
                Some(
                    FindingDraft::warning(
                        Certainty::Proved,
                        format!(
                            "the router {router} advertises itself on {name}, but the kernel \
                                ignores it because it forwards: there is no IPv6 default route"
                        ),
                    )
                    .fix(format!("sysctl net.ipv6.conf.{name}.accept_ra=2"))
                    .with_evidence("wire", format!("router advertisements of {router}"))
                    .with_evidence(
                        "sysctl",
                        format!("net.ipv6.conf.{name}: forwarding = 1, accept_ra = 1"),
                    )
                    .on(name),
                )
            })
            .collect()
    },
};
