//! SHELL. Text of netsonde(1).

use super::Section;

/// Sections of the overview before the list of commands.
pub const OVERVIEW: &[Section] = &[
    Section {
        title: "DESCRIPTION",
        text: "netsonde finds out where packets die on this host, and shows the evidence. It queries \
               netsonded(8), which records the traffic of every interface in memory of a fixed size, so that \
               packets from before the question are still available. Only access to the control socket is \
               needed, no privilege.\n\n\
               Each command has a manual page of its own, listed below.",
        items: &[],
        after: "",
    },
    Section {
        title: "CONCEPTS",
        text: "",
        items: &[
            (
                "record, store",
                "The recorder keeps packets in seven stores: link, group, icmp, names, routing, connections \
                 and bulk. Each has a memory budget of its own, so that a flood of one kind of traffic evicts \
                 no other kind.",
            ),
            (
                "gap",
                "Interval in which packets were not recorded, or may not have been: a ring overflow, an engine \
                 restart, an interface that was down. Recorded, evicted, thinned and dropped packets add up to those \
                 on the wire; `netsonde status' shows the sums, and captures carry the gaps as comments.",
            ),
            (
                "sample",
                "Where there are more packets than a store can keep for its target (see [recorder.retention] in \
                 netsonde.toml(5)), some are counted and not stored. Packets of a sample stand for N, and \
                 netsonde-watch(1) marks them [1 of N].",
            ),
            (
                "vantage point",
                "Place on this host where packets are observed: the wire (a packet socket), the host's IP \
                 layer (raw sockets), time stamps of the kernel, and its counters. Comparing them shows on \
                 which side of a vantage point a packet was lost.",
            ),
            (
                "fate",
                "Final classification of a probe of netsonde-ping(1), such as unresolved, unanswered or \
                 dropped_inbound, with its evidence.",
            ),
            (
                "monitor, outage",
                "Targets that netsonde-historian(8) has probed for ever, and a time in which they did not answer, \
                 with its cause: netsonde-monitor(1), netsonde-outages(1), netsonde-history(1).",
            ),
            (
                "private service",
                "With --standalone a command starts netsonded and netsonde-historian for itself, as the user who runs \
                 it, in a directory of its own in $TMPDIR or /tmp, and both end with it: what they recorded, monitors \
                 that were added, outages and what was kept are gone then, also if the command is killed. With \
                 --state DIR the history stays in DIR, and the next command with it has all of it: its monitors are \
                 probed while one runs, its packets on disk are those that --last and --since find, and \
                 DIR/monitors.toml is read, see monitors.toml(5). One command at a time has a DIR. If \
                 netsonde-historian is not installed, standard error says so, and all but the history works.",
            ),
            (
                "finding",
                "Reported instance of a failure mode by netsonde-doctor(1) or netsonde-mcast-doctor(1): cause, \
                 evidence and fix. netsonde-findings(7) describes each.",
            ),
            (
                "permission tier",
                "What a user may request: status, probe (packet headers, multicast, neighbors, ping, the \
                 doctors) or payload. See [permission] in netsonde.toml(5).",
            ),
        ],
        after: "",
    },
];

/// Environment variables: name, meaning.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "NETSONDE_SOCKET",
        "Control socket, unless --socket names one. Ignored when netsonde runs with the rights of another \
         user than the caller.",
    ),
    (
        "NETSONDE_HISTORY_SOCKET",
        "Socket of netsonde-historian(8), unless --history-socket names one, in the same way. Default: history.sock \
         beside the control socket.",
    ),
    ("NO_COLOR", "Turns color off, unless --color asks for it."),
];

/// Files: path, meaning.
pub const FILES: &[(&str, &str)] = &[
    (
        "/run/netsonde/control.sock",
        "Control socket of the service.",
    ),
    ("/run/netsonde/history.sock", "Socket of the historian."),
    (
        "/etc/netsonde/netsonde.toml",
        "Configuration of the service, see netsonde.toml(5).",
    ),
];
