//! The table of failure modes against scenarios, `tests/SCENARIOS.md`.

use std::collections::BTreeMap;

use netsonde_core::diagnose::ALL;

use super::*;

/// Modes without a scenario, and why.
const MISSING: &[(&str, &str)] = &[(
    "vf-filter",
    "needs a network card with virtual functions, or a guest behind a macvtap",
)];

/// What exactly proves a finding that may say `proved`: each was read with the client elsewhere, without privileges,
/// with counters that others share, and with the doctor's own join in mind. All presuppose that client and service
/// are in one network namespace; a client that cannot compare them proves nothing.
const PROVED: &[(&str, &str)] = &[
    (
        "bad-udp-checksum",
        "the checksum of each captured packet, and the kernel's own count; without such a packet consistent",
    ),
    (
        "bridge-querier-default",
        "the bridge's settings; consistent if another querier is elected",
    ),
    (
        "dropped-before-ip",
        "the IP layer received fewer packets of any kind than frames of the group came in where it is joined: others can only add to that counter. XDP: consistent",
    ),
    (
        "duplicate-two-interfaces",
        "the same packets byte for byte on two interfaces that others than the doctor have joined",
    ),
    (
        "firewall-drops-data",
        "multicast packets minus deliveries equal the packets, and UDP got fewer; consistent if other traffic could hide them",
    ),
    (
        "first-packets-lost",
        "netsonde's numbers from 0, and a membership older than the source's first packet; never with --join",
    ),
    (
        "fragments-lost",
        "fragments of each datagram, without drops of the rings; a small MTU: consistent",
    ),
    (
        "igmpv2-querier-breaks-ssm",
        "the old query, and the kernel's or the report's version; without the query consistent",
    ),
    (
        "illegal-mld-query",
        "source, hop limit and options of the query",
    ),
    (
        "isolated-port",
        "both ports' settings, packets in on one and none out on the other, and a report there",
    ),
    (
        "joined-on-other-interface",
        "the kernel's memberships, and the interface of each packet",
    ),
    (
        "link-local-group-routed",
        "the group's address, packets on one link, none on the other, and a report there",
    ),
    (
        "loss-in-socket",
        "the socket's own counter, if it is bound to the group or has joined no other",
    ),
    (
        "loss-on-wire",
        "sequence numbers of recorded packets, without drops of the rings; consistent if the record evicted packets of the window",
    ),
    (
        "mac-alias",
        "the group's address, or packets of the other group",
    ),
    (
        "macvlan-parent-child",
        "packets sent on the parent, none received on the macvlan that has joined",
    ),
    (
        "mroute-socket-busy",
        "all 32 routing interfaces are in use; several daemons: consistent",
    ),
    (
        "multicast-all-crosstalk",
        "both sockets' options and memberships; the doctor's own join does not count",
    ),
    ("multicast-echo-ignored", "the requests and the sysctl"),
    (
        "no-matching-socket",
        "/proc/net/udp has no socket that accepts the packets, or options of all that might",
    ),
    (
        "not-joined",
        "/proc/net/igmp and igmp6; at a bridge, where members may not have reported yet, consistent",
    ),
    (
        "own-source-martian",
        "the source is an address of this host, and accept_local is 0",
    ),
    ("querier-changed", "the queries, in order"),
    ("querier-version-flapping", "the queries, in order"),
    ("querier-without-address", "the queries"),
    (
        "query-interval-too-long",
        "the announced or observed interval and this bridge's setting; other switches: consistent",
    ),
    (
        "receive-buffer-overrun",
        "the socket's own counter, if it is only for the group, and the host's count explains the drops of all sockets",
    ),
    (
        "rejoin-hack",
        "leaves and joins of another host; of this host, where the doctor's joins look the same, consistent",
    ),
    (
        "reports-lost",
        "own reports after the query, without drops of the rings",
    ),
    (
        "router-not-routing",
        "packets on one link, none on the other with a report there, and no route or none to that link; consistent with routes in another table",
    ),
    (
        "router-rp-filter",
        "as many reverse path drops as packets, setting and route; consistent if the host's counter moved more",
    ),
    (
        "rp-filter-no-route",
        "as many reverse path drops as packets, setting and route; consistent if the host's counter moved more",
    ),
    (
        "rp-filter-strict",
        "as many reverse path drops as packets, setting and route; consistent if the host's counter moved more",
    ),
    ("rpf-failure", "the Wrong column of the group's own entry"),
    (
        "sender-loopback-off",
        "packets sent, and fewer multicast packets received of any kind: others can only add to that counter",
    ),
    (
        "sent-on-other-interface",
        "packets sent on one interface, none in either direction on that of the members",
    ),
    (
        "source-filter-mismatch",
        "IPv4: the packets are not counted as multicast; else all sockets that hold the group are known. Consistent if one may accept all sources",
    ),
    (
        "ttl-threshold",
        "the entry's threshold, its count, and an output interface that sent nothing of any group",
    ),
    (
        "ttl-too-small",
        "the TTL of all packets, and members that get none of them",
    ),
    ("two-queriers", "queries of both long after the election"),
    (
        "two-senders",
        "numbered packets of both, from sources that the interface accepts",
    ),
    ("unicast-mac", "the frames' destination"),
    ("wrong-destination-mac", "the frames' destination"),
];

/// Returns the ids of failure modes whose source can say `proved`.
fn may_prove() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core/diagnose");
    let mut ids = vec![];
    for file in [
        "receiver", "socket", "protocol", "snooping", "routing", "stream",
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap();
        for part in text.split("pub static ").skip(1) {
            let id = part
                .split("id: \"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            if ["Certainty::Proved", "by_count("]
                .iter()
                .any(|word| part.contains(word))
            {
                ids.push(id.unwrap().to_owned());
            }
        }
    }
    ids.sort_unstable();
    ids
}

fn table() -> String {
    let proved: Vec<&str> = PROVED.iter().map(|(id, _)| *id).collect();
    assert_eq!(may_prove(), proved, "ids of PROVED, in order");
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let families = [
        receiver::SCENARIOS,
        protocol::SCENARIOS,
        link::SCENARIOS,
        routing::SCENARIOS,
    ];
    for (id, name, _) in families.into_iter().flatten() {
        of.entry(*id).or_default().push(*name);
    }
    let mut modes: Vec<_> = ALL.iter().collect();
    modes.sort_by_key(|mode| mode.id);
    let with = modes.iter().filter(|mode| of.contains_key(mode.id)).count();
    let mut text = format!(
        "# Failure modes of multicast and their scenarios\n\n\
         Generated from `tests/doctor`; `NETSONDE_BLESS=1 cargo test --test doctor table` writes it.\n\n\
         {with} of {} findings have a scenario on a real kernel that requires exactly that finding and no\n\
         other. Healthy networks, which must have none: {}.\n\n\
         | finding | scenarios | `proved` rests on |\n|---|---|---|\n",
        modes.len(),
        healthy::SCENARIOS
            .iter()
            .map(|(_, name, _)| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    for mode in &modes {
        let cell = match of.remove(mode.id) {
            Some(names) => names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", "),
            None => {
                let why = MISSING.iter().find(|(id, _)| *id == mode.id);
                format!(
                    "none: {}",
                    why.unwrap_or_else(|| panic!("{} has no scenario", mode.id))
                        .1
                )
            }
        };
        let exact = PROVED.iter().find(|(id, _)| *id == mode.id);
        let exact = exact.map_or("never proved", |(_, exact)| *exact);
        text.push_str(&format!("| `{}` | {cell} | {exact} |\n", mode.id));
    }
    assert!(of.is_empty(), "scenarios of unknown findings: {of:?}");
    text
}

pub fn table_is_up_to_date() -> Outcome {
    support::scenarios::agree(support::scenarios::OF_GROUP, &table())
}
