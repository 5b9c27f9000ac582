//! PURE. Failure modes of the carrier: administrative state, carrier and operational state, each with the
//! cause that the kind of link suggests.

use super::evidence::{HostEvidence, Interface, names};
use super::{CheckOutcome, HostMode};
use crate::diagnose::case::{list, seconds};
use crate::diagnose::{Certainty, FindingDraft, Text};

/// Window in which repeated link losses are not maintenance.
const FLAP_WINDOW_NS: u64 = 600_000_000_000;
/// Minimum number of link losses within that window.
const MIN_FLAPS: usize = 3;

pub fn check_carrier(all: &HostEvidence) -> CheckOutcome {
    let (up, down): (Vec<&Interface>, Vec<&Interface>) =
        all.interfaces().partition(|one| one.works());
    if up.is_empty() && down.is_empty() {
        return CheckOutcome::NotApplicable("there is no interface other than loopback".into());
    }
    let down = match down.len() {
        0 => String::new(),
        _ => format!("; without: {}", names(down.iter().map(|one| one.name()))),
    };
    let up = names(up.iter().map(|one| one.name()));
    CheckOutcome::Done(format!("up, with carrier: {up}{down}"))
}

/// Returns whether this is a bridge without containers or guests yet, which lacks nothing.
fn is_idle_bridge(all: &HostEvidence, one: &Interface) -> bool {
    one.link.kind == "bridge"
        && one.link.is_up()
        && !is_routed(all, one.name())
        && all
            .ports(&one.link)
            .all(|port| matches!(port.link.kind.as_str(), "dummy" | "tun"))
}

/// Returns what to check of a link that loses packets or state: the cable, or what is behind a virtual one.
pub fn medium(all: &HostEvidence, name: &str) -> String {
    match all.interface(name).map_or("", |one| &one.link.kind) {
        "" => format!("the cable, the switch port and the VLAN of {name}"),
        kind => format!(
            "what is at the other end of {name}, a link of kind {kind} (ip -d link show {name})"
        ),
    }
}

/// Returns whether a route with a gateway uses the interface.
fn is_routed(all: &HostEvidence, name: &str) -> bool {
    let mut routes = all.routes.iter();
    routes.any(|route| route.interface == name && route.gateway.is_some())
}

/// Returns whether this is a bridge that routes use, without any port. It may have a carrier all the same.
fn has_no_port(all: &HostEvidence, one: &Interface) -> bool {
    let is_used = one.link.kind == "bridge" && is_routed(all, one.name());
    is_used && one.link.is_up() && all.ports(&one.link).next().is_none()
}

/// Returns the state of a device that another one depends on, in words.
fn state_of(one: &Interface) -> &'static str {
    match (one.link.is_up(), one.has_carrier()) {
        (false, _) => "is set down",
        (true, false) => "has no carrier",
        (true, true) => "works",
    }
}

/// Returns what is wrong with the ports of a bridge or bond, and the fix.
fn ports_cause(all: &HostEvidence, one: &Interface, port: &str) -> (String, String) {
    let name = one.name();
    let ports: Vec<&Interface> = all.ports(&one.link).collect();
    if ports.is_empty() {
        let carrier = if one.has_carrier() {
            ""
        } else {
            "no carrier, because it has "
        };
        return (
            format!("{carrier}no {port}"),
            format!("ip link set IF master {name}"),
        );
    }
    let working = ports.iter().filter(|one| one.works()).count();
    let states = list(
        ports
            .iter()
            .map(|one| format!("{} {}", one.name(), state_of(one))),
    );
    if working == 0 {
        let down = ports.iter().find(|one| !one.link.is_up());
        return (
            format!("no carrier, because none of its {port}s works: {states}"),
            match down {
                Some(down) => format!("ip link set {} up", down.name()),
                None => format!(
                    "check the link of {}",
                    names(ports.iter().map(|one| one.name()))
                ),
            },
        );
    }
    (
        format!("no carrier, although a {port} works ({states}): it does not forward"),
        match port {
            "port" => "bridge link show: is the port blocked by spanning tree?".into(),
            _ => format!(
                "cat /proc/net/bonding/{name}: is there an active slave, or an LACP partner?"
            ),
        },
    )
}

/// Returns what is wrong with the device below, or with the peer of a veth, and the fix.
fn other_end_cause(all: &HostEvidence, one: &Interface, other: &str) -> (String, String) {
    let name = one.name();
    let mut links = all.links.iter();
    let below = links.find(|at| Some(at.link.ifindex) == one.link.parent);
    if let Some(below) = below {
        let its = below.name();
        let fix = match below.link.is_up() {
            false => format!("ip link set {its} up"),
            true => format!("mend {its} first (ip -d link show {its})"),
        };
        let state = state_of(below);
        return (format!("no carrier: its {other} {its} {state}"), fix);
    }
    // A veth has a carrier whenever its peer is up; other devices follow that of their parent.
    let state = match other {
        "peer" => "is set down",
        _ => "is down or has no carrier",
    };
    (
        format!("no carrier: its {other}, in another network namespace, {state}"),
        format!(
            "set the {other} up in its namespace (ip netns list, lsns -t net): `ip -d link show \
                {name}` shows its index and link-netnsid"
        ),
    )
}

/// Returns the state of an interface that is up without a carrier, and the fix, by its kind.
fn cause(all: &HostEvidence, one: &Interface) -> (String, String) {
    let name = one.name();
    match one.link.kind.as_str() {
        "" => (
            "no carrier".into(),
            "check the cable, the port at its other end, or the driver (ethtool, dmesg)".into(),
        ),
        "tun" => (
            "no carrier: probably no program has it open".into(),
            format!(
                "start the program that uses {name}: a VPN client or a virtual machine; `ip tuntap \
                    list` and `ip -d link show {name}` show mode and owner"
            ),
        ),
        "ppp" => (
            "no carrier: its program has not connected".into(),
            "check the log of pppd".into(),
        ),
        "bridge" => ports_cause(all, one, "port"),
        "bond" | "team" => ports_cause(all, one, "slave"),
        "veth" | "netkit" => other_end_cause(all, one, "peer"),
        "vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap" | "macsec" => {
            other_end_cause(all, one, "parent")
        }
        kind => (
            format!("no carrier; it is of kind {kind}"),
            format!(
                "check the device below {name} and the program that made it: ip -d link show {name}"
            ),
        ),
    }
}

/// Returns the state of an interface that is not administratively up, and the fix.
fn set_down(one: &Interface) -> (String, String) {
    let name = one.name();
    let up = match one.link.kind.as_str() {
        "wireguard" => format!("ip link set {name} up, or wg-quick up {name}"),
        "bond" | "bridge" | "team" => format!("ip link set {name} up, its ports too"),
        _ => format!("ip link set {name} up"),
    };
    (
        "is set down".into(),
        format!("{up}; or remove its addresses"),
    )
}

/// Formats the three states of an interface, which are independent.
fn states(one: &Interface) -> String {
    let administrative = if one.link.is_up() { "up" } else { "down" };
    let carrier = if one.has_carrier() { "on" } else { "off" };
    let operational = match one.link.operstate.as_str() {
        "" => String::new(),
        state => format!(", operational state {state}"),
    };
    format!(
        "{}: administratively {administrative}, carrier {carrier}{operational}",
        one.name()
    )
}

/// Returns whether it has a carrier, but waits for something else: authentication, or a test.
fn waits(one: &Interface) -> bool {
    one.works() && matches!(one.link.operstate.as_str(), "DORMANT" | "TESTING")
}

pub static LINK_DOWN: HostMode = HostMode {
    text: Text {
        id: "link-down",
        title: "an interface has an address but no link",
        symptoms: "It transmits nothing; traffic routed to it waits and fails.",
        cause: "Of a network card: the cable, the port at the other end or the driver. Of a virtual \
            link: its program has not opened it (tun), its peer is down (veth), its parent is \
            (macvlan, VLAN), it has no port that works (bridge, bond). Or the interface was set down \
            and kept its addresses; or it waits for authentication (802.1X: state DORMANT).",
        proof: "The kernel's administrative state, carrier and operational state of the interface, \
            and of its parent, peer or ports if they are in this namespace. The cause of a missing \
            carrier is only named where they show it.",
        fix: "By the kind of link: check cable and port; start the program; set the peer, the parent \
            or a port up; `ip link set IF up`.",
    },
    implies: &[
        "gateway-unresolved",
        "gateway-silent",
        "gateway-off-link",
        "gateway-loss",
        "gateway-not-sent",
        "firewall-drops-icmp",
        "address-tentative",
        "no-address",
        "no-default-route",
        "link-flapping",
        "link-drops",
    ],
    rule: |all| {
        let another_works = |not: &str| {
            all.interfaces().any(|one| {
                one.name() != not && one.works() && one.wide_addresses().next().is_some()
            })
        };
        all.interfaces()
            .filter(|one| {
                let is_down = !one.works() && !is_idle_bridge(all, one);
                (is_down || waits(one) || has_no_port(all, one))
                    && one.wide_addresses().next().is_some()
            })
            .map(|one| {
                let name = one.name();
                let addresses = list(one.wide_addresses().map(|own| own.address));
                let routed = is_routed(all, name);
                let (state, fix) = if waits(one) {
                    (
                        format!("has a carrier, but waits in state {}", one.link.operstate),
                        "check its authentication (802.1X: wpa_supplicant, hostapd at the switch); \
                            `ip -d link show` shows mode and state"
                            .into(),
                    )
                } else if one.link.is_up() {
                    cause(all, one)
                } else {
                    set_down(one)
                };
                let what = if routed { "; routes use it" } else { "" };
                let summary = format!("{name} has {addresses} and {state}{what}");
                let is_fault = routed || !another_works(name);
                let mut found =
                    FindingDraft::fault_or_warning(is_fault, Certainty::Proved, summary)
                        .fix(fix)
                        .with_evidence("kernel", states(one));
                let others = all.links.iter().filter(|other| {
                    Some(other.link.ifindex) == one.link.parent
                        || other.link.master == Some(one.link.ifindex)
                });
                for other in others {
                    found = found.with_evidence("kernel", states(other));
                }
                found.on(name)
            })
            .collect()
    },
};

pub static LINK_FLAPPING: HostMode = HostMode {
    text: Text {
        id: "link-flapping",
        title: "a link goes down and up repeatedly",
        symptoms: "Short outages; connections stall for seconds.",
        cause: "A bad cable or transceiver, a port with power saving, a driver that resets, \
            spanning tree changes.",
        proof: "netsonded recorded several link losses within ten minutes.",
        fix: "Replace cable and transceiver; check the switch's log and dmesg.",
    },
    implies: &[],
    rule: |all| {
        all.interfaces()
            .filter_map(|one| {
                let name = one.name();
                let gaps = all.status.after.gaps.iter().filter(|gap| {
                    gap.kind == "interface_down"
                        && gap.subject.as_deref() == Some(name)
                        && all.ago_ns(&gap.from) < FLAP_WINDOW_NS
                });
                let times: Vec<u64> = gaps.map(|gap| all.ago_ns(&gap.from)).collect();
                if times.len() < MIN_FLAPS {
                    return None;
                }
                let last = seconds(times.iter().copied().min().unwrap_or(0));
                Some(
                    FindingDraft::warning(
                        Certainty::Proved,
                        format!(
                            "{name} lost its link {} times within ten minutes, last {last} ago",
                            times.len()
                        ),
                    )
                    .fix(match one.link.kind.as_str() {
                        "" => "replace the cable or transceiver; check dmesg and the switch's log"
                            .into(),
                        _ => format!("check {}", medium(all, name)),
                    })
                    .with_evidence(
                        "service",
                        format!("netsonde status shows the gaps of {name}"),
                    )
                    .on(name),
                )
            })
            .collect()
    },
};
