//! PURE. Packets that come again and again: loops of multicast repeaters, and of the link layer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::evidence::HostEvidence;
use super::links::MAX_FINDINGS;
use super::sample::Repeat;
use super::{CheckOutcome, HostMode, LocatedFinding};
use crate::diagnose::case::list;
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::recorder::class::NAMES_UDP_PORTS;
use crate::text::counted;

/// Rate of equal packets that no protocol has, per second. PTP sends up to 128, lighting controllers (Art-Net)
/// 44 for each universe, and mDNS repeats an answer at most once (RFC 6762, section 6).
const LOOP_RATE: u64 = 200;
/// Minimum number of equal packets, so that a burst is no rate.
const MIN_COUNT: u64 = 100;

/// Returns whether equal packets at this rate are a loop. If only their length is known to be equal, they
/// are one in protocols of names, in which no host sends that often; a stream has packets of one length.
fn is_loop(repeat: &Repeat) -> bool {
    let is_name = NAMES_UDP_PORTS
        .iter()
        .any(|port| repeat.destination.ends_with(&format!(" port {port}")));
    let is_equal = repeat.is_exact || (is_name && !repeat.is_broadcast);
    is_equal && repeat.rate >= LOOP_RATE && repeat.count >= MIN_COUNT
}

/// Reports how many packets were compared.
pub fn check_repeats(all: &HostEvidence) -> CheckOutcome {
    let seen = match &all.repeats {
        Ok(seen) => seen,
        Err(why) => return CheckOutcome::Skipped(why.clone()),
    };
    let wanted = seen
        .repeats
        .iter()
        .filter(|one| all.is_wanted(&one.interface));
    let most = wanted.max_by_key(|one| one.rate);
    let examined = counted(seen.examined, "packet");
    CheckOutcome::Done(match most {
        Some(most) => format!(
            "{examined} to groups and to all hosts; at most {} equal ones a second on {}",
            most.rate, most.interface
        ),
        None => format!("{examined} to groups and to all hosts, no two equal"),
    })
}

/// Returns a finding per interface: that of the packet that comes most often, with all its sources.
fn loops(
    all: &HostEvidence,
    is_broadcast: bool,
    finding: fn(&[&Repeat]) -> FindingDraft,
) -> Vec<LocatedFinding> {
    let Ok(seen) = &all.repeats else {
        return vec![];
    };
    let mut by: BTreeMap<&str, Vec<&Repeat>> = BTreeMap::new();
    for one in &seen.repeats {
        let is_wanted = all.is_wanted(&one.interface);
        if is_wanted && one.is_broadcast == is_broadcast && is_loop(one) {
            by.entry(&one.interface).or_default().push(one);
        }
    }
    // What a port of a bridge receives is reported of the bridge, unless it does not pass it up.
    let with: BTreeSet<u32> = by
        .keys()
        .filter_map(|name| Some(all.interface(name)?.link.ifindex))
        .collect();
    by.retain(|name, repeats| {
        let master = all.interface(name).and_then(|known| known.link.master);
        master.is_none_or(|master| {
            repeats.retain(|one| !one.outbound);
            !with.contains(&master) && !repeats.is_empty()
        })
    });
    by.into_iter()
        .take(MAX_FINDINGS)
        .map(|(interface, mut all)| {
            all.sort_by_key(|one| (one.outbound, std::cmp::Reverse(one.rate)));
            finding(&all).on(interface)
        })
        .collect()
}

/// Adds the counts of each packet.
fn with_counts(mut found: FindingDraft, all: &[&Repeat]) -> FindingDraft {
    for one in all.iter().take(MAX_FINDINGS) {
        let equal = if one.is_exact {
            "the same content"
        } else {
            "the same length"
        };
        let way = if one.outbound { "sent" } else { "received" };
        let ttl = match one.ttl {
            Some((low, high)) if low == high => format!(", TTL {low}"),
            Some((low, high)) => format!(", TTL {low} to {high}"),
            None => String::new(),
        };
        found = found.with_evidence(
            "wire",
            format!(
                "{} of {} and {} bytes {way}, from {} to {}, with {equal}{ttl}",
                counted(one.count, "packet"),
                one.protocol,
                one.length,
                one.source,
                one.destination
            ),
        );
    }
    found
}

/// Joins the sources, each once.
fn sources(all: &[&Repeat]) -> String {
    let unique: BTreeSet<&str> = all.iter().map(|one| one.source.as_str()).collect();
    let mut addresses: Vec<&str> = unique.into_iter().collect();
    addresses.sort_by_key(|text| text.parse::<IpAddr>().ok());
    list(addresses.into_iter().take(MAX_FINDINGS))
}

/// One packet to a group that is sent again by those that receive it.
pub static MULTICAST_LOOP: HostMode = HostMode {
    text: Text {
        id: "multicast-loop",
        title: "the same multicast packet comes again and again",
        symptoms: "A constant load of mDNS, SSDP or another group on all hosts of a link; printers and \
            televisions appear and disappear; batteries of phones are empty early.",
        cause: "Two repeaters (mDNS reflectors, UDP relays, two routers with the same relay) connect the \
            same networks and repeat each other's packets; or routers forward a group in a circle, until \
            its TTL ends; or switches have a loop.",
        proof: "Packets with the same source, destination and content come in hundreds of times a second. \
            If their TTL differs or they have the same identification, it is one packet that \
            circulates.",
        fix: "Turn off one of the repeaters (avahi-daemon: enable-reflector=no), or let each repeat in \
            one direction only.",
    },
    implies: &[],
    rule: |all| {
        loops(all, false, |all| {
            let first = all[0];
            let falls = first.ttl.is_some_and(|(low, high)| low < high);
            let certainty = if falls || first.is_one_packet {
                Certainty::Proved
            } else {
                Certainty::Consistent
            };
            let what = if falls {
                "they circulate between routers or repeaters until their TTL ends"
            } else if first.is_one_packet {
                "one packet circulates on the link"
            } else {
                "repeaters send each other's packets again"
            };
            let subject = match first.is_exact {
                true => "the same packet is sent",
                false => "packets of one length are sent",
            };
            let found = FindingDraft::warning(
                certainty,
                format!(
                    "{subject} to {} {} times a second (from {}): {what}",
                    first.destination,
                    first.rate,
                    sources(all)
                ),
            )
            .fix(format!(
                "turn off one of the repeaters between these networks (mDNS reflector, UDP relay), first at \
                    {}; or look for a loop between switches (spanning tree)",
                sources(all)
            ));
            with_counts(found, all)
        })
    },
};

/// One frame to all hosts that no switch removes.
pub static BROADCAST_STORM: HostMode = HostMode {
    text: Text {
        id: "broadcast-storm",
        title: "the same broadcast frame comes again and again",
        symptoms: "All hosts of a link are slow, switches blink without a pause, addresses move between \
            ports.",
        cause: "A loop between switches (a cable that was plugged in twice, a bridge without spanning \
            tree): a frame to all hosts is never removed, since Ethernet has no TTL. Or a host sends the \
            same request without a pause.",
        proof: "Frames to all hosts that are equal byte for byte come in hundreds of times a second.",
        fix: "Remove the second connection between the switches, or turn on spanning tree (ip link set BR \
            type bridge stp_state 1).",
    },
    implies: &[],
    rule: |all| {
        loops(all, true, |all| {
            let first = all[0];
            let certainty = if first.is_one_packet {
                Certainty::Proved
            } else {
                Certainty::Consistent
            };
            let found = FindingDraft::warning(
                certainty,
                format!(
                    "the same {} frame to all hosts comes {} times a second (from {}): a loop between \
                        switches, or a host that repeats it",
                    first.protocol,
                    first.rate,
                    sources(all)
                ),
            )
            .fix(format!(
                "look for a loop between switches (a second cable, a bridge without spanning tree), and at \
                    {} for a program that sends it",
                sources(all)
            ));
            with_counts(found, all)
        })
    },
};
