//! PURE. Failure modes of links: errors, drops, duplex mode, MTU. Those of the carrier are in `carrier`.

use super::evidence::{Drop, HostEvidence, Interface};
use super::{CheckOutcome, HostMode, LocatedFinding};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::{Certainty, FindingDraft, Text};
use crate::host::drops::Layer;
use crate::text::counted;

/// Error rate to report: one in a hundred packets, which TCP no longer hides.
const ERRORS_PERCENT: u64 = 1;
/// Minimum number of errors; fewer are accidental.
const MIN_ERRORS: u64 = 10;
/// Maximum number of findings of one kind; more add nothing.
pub const MAX_FINDINGS: usize = 8;

/// Returns the increased counters of a device, of those in `wanted`.
fn moved<'a>(all: &'a HostEvidence, name: &str, wanted: fn(&str) -> bool) -> Vec<&'a Drop> {
    all.drops
        .iter()
        .filter(|one| {
            one.counter.layer == Layer::Device && one.subject == name && wanted(one.counter.name)
        })
        .collect()
}

fn is_error(counter: &str) -> bool {
    counter.ends_with("_errors") && !is_loss(counter) || counter == "collisions"
}

/// Drops of the device or the kernel, for lack of space or by rule.
fn is_loss(counter: &str) -> bool {
    matches!(
        counter,
        "rx_dropped"
            | "tx_dropped"
            | "rx_missed_errors"
            | "rx_fifo_errors"
            | "rx_over_errors"
            | "tx_fifo_errors"
    )
}

/// Summarizes counts over the window: "none in 2.0 s", or the counts.
fn check_moved(all: &HostEvidence, wanted: fn(&str) -> bool) -> CheckOutcome {
    if all.interfaces().next().is_none() {
        return CheckOutcome::NotApplicable("there is no interface other than loopback".into());
    }
    let counts: Vec<String> = all
        .interfaces()
        .flat_map(|one| {
            moved(all, one.name(), wanted)
                .into_iter()
                .map(|drop| format!("{} {} +{}", one.name(), drop.counter.name, drop.count))
        })
        .collect();
    let what = if counts.is_empty() {
        "none".into()
    } else {
        list(counts)
    };
    CheckOutcome::Done(format!("{what} in {}", seconds(all.window_ns)))
}

pub fn check_errors(all: &HostEvidence) -> CheckOutcome {
    check_moved(all, is_error)
}

pub fn check_drops(all: &HostEvidence) -> CheckOutcome {
    check_moved(all, is_loss)
}

pub static LINK_ERRORS: HostMode = HostMode {
    text: Text {
        id: "link-errors",
        title: "a device counts errors",
        symptoms: "Transfers are slow, and packets are lost intermittently.",
        cause: "On a cable: damage, a bad transceiver, a duplex mismatch. On a tunnel: no route to \
            its other end.",
        proof: "The device's error counters increase.",
        fix: "Replace cable, transceiver or port; for a tunnel, check the route to its other end.",
    },
    implies: &["link-drops"],
    rule: |all| {
        all.interfaces()
            .filter_map(|one| {
                let name = one.name();
                let errors = moved(all, name, is_error);
                let count: u64 = errors.iter().map(|drop| drop.count).sum();
                let (rx, tx) = one.packets;
                let packets = rx + tx + count;
                let many = count >= MIN_ERRORS && count * 100 >= packets * ERRORS_PERCENT;
                let first = errors.iter().max_by_key(|drop| drop.count)?;
                let summary = format!(
                    "{name} counted {} in {} and {} without errors: {}",
                    counted(count, "error"),
                    seconds(all.window_ns),
                    counted(rx + tx, "packet"),
                    first.counter.means
                );
                let found = if many {
                    FindingDraft::fault(Certainty::Proved, summary)
                } else {
                    FindingDraft::warning(Certainty::Proved, summary)
                };
                let mut found = found.fix(match one.link.kind.as_str() {
                    "" => format!("replace cable, transceiver or port; check `ethtool -S {name}`"),
                    kind => format!(
                        "{name} is of kind {kind}: check the device below it, and the route to its \
                            other end (ip -d link show {name})"
                    ),
                });
                for drop in errors {
                    found = found.with_evidence(
                        "counters",
                        format!("{} +{}", drop.counter.name, drop.count),
                    );
                }
                Some(found.on(name))
            })
            .collect()
    },
};

pub static LINK_DROPS: HostMode = HostMode {
    text: Text {
        id: "link-drops",
        title: "a device drops packets",
        symptoms: "Loss under load, or of long packets only.",
        cause: "The host does not fetch packets fast enough (interrupts, CPU, a short ring), or \
            the device rejects packets: longer than its MTU, or of a protocol without a handler.",
        proof: "The device's drop counters increase.",
        fix: "A longer ring (ethtool -G), interrupts spread over CPUs; the same MTU at both ends; \
            see `netsonde drops`.",
    },
    implies: &[],
    rule: |all| {
        all.interfaces()
            .filter_map(|one| {
                let name = one.name();
                let (rx, tx) = one.packets;
                let mut drops = moved(all, name, is_loss);
                // Packets without a handler are dropped here as well, and a tunnel drops packets
                // without a peer: a few of them are normal.
                drops.retain(|drop| {
                    let (seen, few) = match drop.counter.name {
                        "rx_dropped" => (rx, MIN_ERRORS),
                        "tx_dropped" => (tx, MIN_ERRORS),
                        _ => (0, 1),
                    };
                    let of_all = drop.count * 100 >= (seen + drop.count) * ERRORS_PERCENT;
                    drop.count >= few && of_all
                });
                let first = drops.iter().max_by_key(|drop| drop.count)?;
                let certainty = if drops.iter().all(|drop| drop.counter.harmless) {
                    Certainty::Consistent
                } else {
                    Certainty::Proved
                };
                let mut found = FindingDraft::warning(
                    certainty,
                    format!(
                        "{name} dropped {} in {}: {}",
                        counted(drops.iter().map(|drop| drop.count).sum::<u64>(), "packet"),
                        seconds(all.window_ns),
                        first.counter.means
                    ),
                )
                .fix(format!(
                    "compare the MTU with that of the other end; check `ethtool -S {name}`, and \
                        `netsonde drops --reasons` as root"
                ));
                for drop in &drops {
                    found = found.with_evidence(
                        "counters",
                        format!("{} +{}", drop.counter.name, drop.count),
                    );
                }
                found = found.with_evidence("kernel", format!("{name}: mtu {}", one.link.mtu));
                Some(found.on(name))
            })
            .collect()
    },
};

pub fn check_duplex(all: &HostEvidence) -> CheckOutcome {
    let parts: Vec<String> = all
        .interfaces()
        .filter_map(|one| {
            let duplex = one.duplex.as_ref().filter(|duplex| *duplex != "unknown")?;
            let speed = one
                .speed
                .filter(|speed| *speed > 0)
                .map_or(String::new(), |speed| format!(" {speed} Mbit/s"));
            Some(format!("{} {duplex}{speed}", one.name()))
        })
        .collect();
    if parts.is_empty() {
        return CheckOutcome::NotApplicable("no driver here reports its duplex mode".into());
    }
    CheckOutcome::Done(list(parts))
}

pub static HALF_DUPLEX: HostMode = HostMode {
    text: Text {
        id: "half-duplex",
        title: "a link runs at half duplex",
        symptoms: "Slow under load in both directions, late collisions, CRC errors at the other \
            end.",
        cause: "One end negotiates and the other is fixed to a speed and full duplex: the first \
            must then assume half duplex. Or a hub, or a bad cable.",
        proof: "The driver reports half duplex; increasing collisions or errors prove the harm.",
        fix: "Let both ends negotiate (ethtool -s IF autoneg on), or configure both the same.",
    },
    implies: &["link-errors"],
    rule: |all| {
        all.interfaces()
            .filter(|one| one.duplex.as_deref() == Some("half") && one.works())
            .map(|one| {
                let name = one.name();
                let harm = moved(all, name, is_error);
                let speed = one.speed.filter(|speed| *speed > 0);
                let speed = speed.map_or(String::new(), |speed| format!(" at {speed} Mbit/s"));
                let summary = format!(
                    "{name} runs at half duplex{speed}: the other end is probably fixed to full \
                        duplex and does not negotiate"
                );
                let found = if harm.is_empty() {
                    FindingDraft::warning(Certainty::Consistent, summary)
                } else {
                    FindingDraft::fault(Certainty::Proved, summary)
                };
                let mut found = found
                    .fix(format!(
                        "let both ends negotiate: ethtool -s {name} autoneg on, and the same on \
                            the switch"
                    ))
                    .with_evidence(
                        "kernel",
                        format!("the driver of {name} reports half duplex"),
                    );
                for drop in harm {
                    found = found.with_evidence(
                        "counters",
                        format!("{} +{}", drop.counter.name, drop.count),
                    );
                }
                found.on(name)
            })
            .collect()
    },
};

pub fn check_mtu(all: &HostEvidence) -> CheckOutcome {
    if all.interfaces().next().is_none() {
        return CheckOutcome::NotApplicable("there is no interface other than loopback".into());
    }
    let mtus: Vec<String> = all
        .interfaces()
        .map(|one| format!("{} {}", one.name(), one.link.mtu))
        .collect();
    match &all.lengths {
        Ok(seen) => CheckOutcome::Done(format!(
            "{}; ICMP messages of the last five minutes: {}",
            list(mtus),
            seen.examined
        )),
        Err(why) => CheckOutcome::Skipped(why.clone()),
    }
}

pub static MTU_MISMATCH: HostMode = HostMode {
    text: Text {
        id: "mtu-mismatch",
        title: "the ends of a link have different MTUs",
        symptoms: "Short packets pass, long ones disappear: ping works, a transfer hangs.",
        cause: "Each host limits packets to its own MTU and does not know that of the other. A \
            packet longer than the MTU of the receiver's device, or of a bridge's other port, is \
            dropped silently.",
        proof: "The ports of a bridge have different MTUs. A packet of the last five minutes that is \
            longer than the interface's MTU is consistent with it: the MTU may have been changed since.",
        fix: "The same MTU on all interfaces of a link (ip link set IF mtu N).",
    },
    implies: &["link-drops"],
    rule: |all| {
        let mut found: Vec<LocatedFinding> = Vec::new();
        for one in all.interfaces() {
            let name = one.name();
            let longest = all
                .lengths
                .iter()
                .flat_map(|all| &all.messages)
                .filter(|seen| seen.interface == name && seen.length > one.link.mtu)
                .max_by_key(|seen| seen.length);
            if let Some(seen) = longest {
                found.push(
                    // The MTU may have been changed since.
                    FindingDraft::warning(
                        Certainty::Consistent,
                        format!(
                            "{} sent a packet of {} bytes to {name}, whose MTU is {}",
                            seen.source, seen.length, one.link.mtu
                        ),
                    )
                    .fix(format!(
                        "give {name} and the other hosts of its link the same MTU: {} or more \
                            here, or {} there",
                        seen.length, one.link.mtu
                    ))
                    .with_evidence(
                        "wire",
                        format!("ICMP of {} bytes from {}", seen.length, seen.source),
                    )
                    .with_evidence("kernel", format!("{name}: mtu {}", one.link.mtu))
                    .on(name),
                );
            }
            if one.link.kind != "bridge" {
                continue;
            }
            let ports: Vec<&Interface> = all.ports(&one.link).collect();
            let smallest = ports.iter().map(|port| port.link.mtu).min();
            let greatest = ports.iter().map(|port| port.link.mtu).max();
            if smallest == greatest {
                continue;
            }
            let mtus = list(
                ports
                    .iter()
                    .map(|port| format!("{} {}", port.name(), port.link.mtu)),
            );
            found.push(
                FindingDraft::warning(
                    Certainty::Proved,
                    format!(
                        "the ports of {name} have different MTUs: packets longer than {} bytes do \
                            not pass to some",
                        smallest.unwrap_or(0)
                    ),
                )
                .fix(format!("ip link set PORT mtu {}", greatest.unwrap_or(0)))
                .with_evidence("bridge", mtus)
                .on(name),
            );
        }
        found
    },
};

pub static PATH_MTU: HostMode = HostMode {
    text: Text {
        id: "path-mtu",
        title: "a router on the path has a smaller MTU",
        symptoms: "Usually nothing: hosts learn it and send shorter packets. If a firewall drops \
            these messages, transfers hang.",
        cause: "A tunnel, PPPoE or VPN on the path has a smaller MTU. The router reports it by \
            ICMP \"fragmentation needed\" or ICMPv6 \"packet too big\".",
        proof: "The message itself, in the record of the last five minutes.",
        fix: "Nothing if it works. Accept ICMP type 3 (IPv4) and ICMPv6 type 2 on every firewall; \
            at the tunnel's router, clamp the TCP MSS.",
    },
    implies: &[],
    rule: |all| {
        let mut reported: Vec<(String, std::net::IpAddr, u32)> = Vec::new();
        let mut found = Vec::new();
        for seen in all.lengths.iter().flat_map(|all| &all.messages) {
            let Some((mtu, about)) = &seen.too_big else {
                continue;
            };
            let entry = (seen.interface.clone(), seen.source, *mtu);
            if !all.is_wanted(&seen.interface)
                || reported.contains(&entry)
                || reported.len() >= MAX_FINDINGS
            {
                continue;
            }
            reported.push(entry);
            let towards = about.map_or(String::new(), |to| format!(" on the way to {to}"));
            found.push(
                FindingDraft::note(
                    Certainty::Proved,
                    format!(
                        "{} reports a limit of {mtu} bytes for packets{towards}",
                        seen.source
                    ),
                )
                .fix(
                    "nothing, if transfers work; otherwise accept ICMP on firewalls, or clamp the \
                        MSS at the tunnel's router",
                )
                .with_evidence(
                    "wire",
                    format!("ICMP from {} on {}", seen.source, seen.interface),
                )
                .on(&seen.interface),
            );
        }
        found
    },
};
