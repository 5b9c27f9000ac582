//! The table of a host's failure modes against scenarios, in `tests/SCENARIOS.md`.

use std::collections::BTreeMap;

use netsonde_core::diagnose::host::modes;

use super::*;

/// Modes without a scenario on a real kernel: which test has their rule, and why.
const MISSING: &[(&str, &str)] = &[
    (
        "backlog-drops",
        "`backlog_drops_are_reported`: the CPUs' queues are the machine's, not a namespace's",
    ),
    (
        "clock-stepped",
        "`clock_steps_are_reported`: the wall clock is the machine's",
    ),
    (
        "half-duplex",
        "`half_duplex_with_errors_is_a_fault`: virtual links know no duplex",
    ),
    (
        "history-short",
        "`problems_of_the_historian_are_reported`: the rate of writing takes an hour to measure",
    ),
    (
        "link-errors",
        "`link_errors_are_graded_by_rate`: virtual links make none",
    ),
    (
        "neighbour-table-full",
        "`full_neighbor_table_is_a_fault`: all namespaces share it, so that filling it harms others",
    ),
    (
        "service-drops",
        "`ring_drops_are_reported`: how fast an engine is depends on the machine",
    ),
];

/// What exactly proves each finding, read with these questions: what if the counters are shared with others,
/// what if the doctor itself caused it, what if the caller may not see everything.
const PROOFS: &[(&str, &str)] = &[
    (
        "address-conflict",
        "two MAC addresses answered one request, or claimed the address in turn; consistent if both have further IPv4 addresses in common (one host with two interfaces)",
    ),
    (
        "address-tentative",
        "the kernel's flag, for five seconds or more",
    ),
    (
        "arp-flux",
        "never: addresses and sysctls allow it, no answer is observed",
    ),
    (
        "backlog-drops",
        "the counter of this machine's CPUs, which all namespaces share; the text says so",
    ),
    ("bridge-querier-default", "the rule of `mcast doctor`"),
    (
        "broadcast-storm",
        "equal frames that carry one IP identification, so one packet circulates; consistent otherwise, since a host may repeat a request",
    ),
    (
        "clock-stepped",
        "both clocks, for a step back; consistent for a step forward, as a suspended machine shows",
    ),
    (
        "drops-grow",
        "the counter's increase, without netsonde's own sockets",
    ),
    (
        "duplicate-address",
        "the kernel's flag, and the answer of the other host on the wire; consistent without that answer (a loop)",
    ),
    (
        "firewall-drops-icmp",
        "never: the packet was seen on one side of the filters only, and the rules are not read",
    ),
    ("firewall-drops-igmp", "the rule of `mcast doctor`"),
    ("firewall-drops-mld", "the rule of `mcast doctor`"),
    (
        "forwarding-off",
        "the counter's increase, and the sysctl; the doctor sends nothing to other hosts' addresses",
    ),
    (
        "gateway-loss",
        "damaged answers; consistent otherwise, since a gateway that limits answers does the same",
    ),
    (
        "gateway-moved",
        "the claims of both MAC addresses, in this order",
    ),
    ("gateway-not-sent", "the error of the send call"),
    (
        "gateway-off-link",
        "never: the configured networks may be intended",
    ),
    (
        "gateway-silent",
        "never: a gateway may be configured not to answer",
    ),
    (
        "gateway-unresolved",
        "requests on the wire during the window without an answer, or with an answer during the window; consistent if no request was on the wire, or if the gateway was not probed",
    ),
    (
        "half-duplex",
        "the driver's report, and errors of the device during the window; consistent without errors",
    ),
    (
        "historian-silent",
        "its socket without an answer in 2 s, or systemd's link to its unit without a socket",
    ),
    ("historian-trouble", "the historian's own report"),
    (
        "history-short",
        "the historian's rate of writing and its budget",
    ),
    ("igmp-version-forced", "the sysctl"),
    ("igmpv2-querier-breaks-ssm", "the rule of `mcast doctor`"),
    ("illegal-mld-query", "the rule of `mcast doctor`"),
    (
        "link-down",
        "the kernel's three states of the interface, and those of its parent, peer or ports; `probably` marks a cause that they do not show (tun)",
    ),
    (
        "link-drops",
        "the device's counters; consistent if only counters moved that also count normal events",
    ),
    ("link-errors", "the device's counters"),
    ("link-flapping", "the link losses that the service recorded"),
    ("mdb-full", "the rule of `mcast doctor`"),
    (
        "membership-limit",
        "the memberships of the socket and the sysctl; sockets that the caller may not see are left out",
    ),
    (
        "mtu-mismatch",
        "the MTUs of a bridge's ports; consistent for a packet longer than the MTU, which may have been changed since",
    ),
    (
        "multicast-loop",
        "equal packets with a TTL that falls, or with one IP identification; consistent otherwise, since two senders may send the same",
    ),
    (
        "neighbour-entry-wrong",
        "the kernel's entry and a newer claim of another MAC address on the wire, and no answered probe; consistent if the entry's MAC address was seen since",
    ),
    (
        "neighbour-table-full",
        "the kernel's count and limit, which all namespaces share; the text names the table",
    ),
    (
        "neighbours-failed",
        "never: a scan by this host and absent hosts look the same",
    ),
    ("no-address", "routes and addresses of the kernel"),
    ("no-default-route", "the main routing table"),
    (
        "no-querier",
        "never: a querier may be silent for longer than the record",
    ),
    ("path-mtu", "the ICMP message, as the claim of its sender"),
    ("querier-changed", "the rule of `mcast doctor`"),
    ("querier-lost", "the rule of `mcast doctor`"),
    ("querier-version-flapping", "the rule of `mcast doctor`"),
    ("querier-without-address", "the rule of `mcast doctor`"),
    ("query-interval-too-long", "the rule of `mcast doctor`"),
    (
        "ra-ignored",
        "router advertisements on the wire, the sysctls, and no default route",
    ),
    (
        "receive-buffer-overrun",
        "the socket's drops while full buffers were the only reason for UDP drops of this namespace; consistent if others moved as well",
    ),
    ("recorder-gaps", "the service's own declaration"),
    ("report-suppression", "the rule of `mcast doctor`"),
    (
        "rp-filter-strict",
        "the answer on the wire, the filter's counter, the sysctl, and a route through another interface; consistent if one of these is missing, since other packets move the counter, too",
    ),
    ("sandbox-partly", "the service's own report"),
    ("service-drops", "the service's counters"),
    ("service-limits", "the service's counters"),
    ("suspicious-igmp-query", "the rule of `mcast doctor`"),
    ("ttl-low", "the sysctl"),
    (
        "two-masters",
        "advertisements of both as the master, in turn at least four times without a pause",
    ),
    ("two-queriers", "the rule of `mcast doctor`"),
];

fn table() -> String {
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let families = [
        links::SCENARIOS,
        addresses::SCENARIOS,
        gateways::SCENARIOS,
        loops::SCENARIOS,
        multicast::SCENARIOS,
        settings::SCENARIOS,
        virtual_routers::SCENARIOS,
    ];
    for (id, name, _) in families.into_iter().flatten() {
        of.entry(*id).or_default().push(*name);
    }
    let mut all: Vec<&str> = modes().map(|mode| mode.text.id).collect();
    all.sort_unstable();
    let with = all.iter().filter(|id| of.contains_key(*id)).count();
    let names = |all: &[&str]| {
        let quoted: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let healthy: Vec<&str> = healthy::SCENARIOS
        .iter()
        .chain(virtual_routers::HEALTHY)
        .map(|(_, name, _)| *name)
        .collect();
    let mut text = format!(
        "# Failure modes of a host and their scenarios\n\n\
         Generated from `tests/host_doctor`; `NETSONDE_BLESS=1 cargo test --test host_doctor table` writes it.\n\n\
         {with} of {} findings have a scenario on a real kernel that requires exactly that finding and no\n\
         other; the rest a test of their rule. Healthy hosts, which must have none: {}.\n\n\
         | finding | scenarios | what proves it |\n|---|---|---|\n",
        all.len(),
        names(&healthy)
    );
    for id in all {
        let cell = match of.remove(id) {
            Some(scenarios) => names(&scenarios),
            None => {
                let why = MISSING.iter().find(|(missing, _)| *missing == id);
                let why = why.unwrap_or_else(|| panic!("{id} has no scenario"));
                format!("rule only, {}", why.1)
            }
        };
        let proof = PROOFS.iter().find(|(of, _)| *of == id);
        let proof = proof.unwrap_or_else(|| panic!("{id}: what proves it?")).1;
        text.push_str(&format!("| `{id}` | {cell} | {proof} |\n"));
    }
    assert!(of.is_empty(), "scenarios of unknown findings: {of:?}");
    text
}

pub fn table_is_up_to_date() -> Outcome {
    support::scenarios::agree(support::scenarios::OF_HOST, &table())
}
