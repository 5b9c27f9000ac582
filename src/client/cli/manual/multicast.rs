//! SHELL. Manual pages of `netsonde mcast` and its commands.

use super::{EVIDENCE_KEYS, Example, FINDING_KEYS, Json, Keys, Page, Run, Section, example};

const DOCTOR_KEYS: &[Keys] = &[
    Keys {
        at: "",
        keys: &["subject", "verdict", "findings", "duration_ns"],
        text: "verdict is healthy, fault or undetermined.",
    },
    Keys {
        at: "subject",
        keys: &["group", "port", "interface", "source"],
        text: "The question; null where an option was not given.",
    },
    Keys {
        at: "findings[]",
        keys: FINDING_KEYS,
        text: "The cause first. severity is fault, warning or note, certainty is proved or consistent.",
    },
    Keys {
        at: "findings[].evidence[]",
        keys: EVIDENCE_KEYS,
        text: "An observation and its source, such as wire or kernel.",
    },
];

/// mcast and its commands.
pub(super) const PAGES: &[Page] = &[
    Page {
        command: "mcast",
        description: "Shows the multicast state of the links of this host, tests multicast paths, and diagnoses \
                      why a group does not arrive. The commands are:",
        sections: &[Section {
            title: "COMMANDS",
            text: "",
            items: &[
                (
                    "netsonde-mcast-groups(1)",
                    "Group memberships on the wire and in the kernel.",
                ),
                (
                    "netsonde-mcast-queriers(1)",
                    "IGMP and MLD queriers, PIM and MRD routers.",
                ),
                ("netsonde-mcast-streams(1)", "Streams with rate and loss."),
                (
                    "netsonde-mcast-doctor(1)",
                    "Why a group does not arrive: cause, evidence, fix.",
                ),
                ("netsonde-mcast-join(1)", "Test receiver."),
                ("netsonde-mcast-send(1)", "Test source."),
            ],
            after: "IGMP and MLD messages with a VLAN tag are counted on the interface of the VLAN only, and \
                    messages with a wrong checksum not at all, as by any receiver.",
        }],
        examples: &[
            example(
                "Begin with the doctor if a group does not arrive.",
                "netsonde mcast doctor 239.1.1.1:5000",
            ),
            example(
                "Look at memberships, queriers and streams.",
                "netsonde mcast groups\nnetsonde mcast queriers\nnetsonde mcast streams",
            ),
        ],
        see_also: "netsonde-findings(7), igmp(4), ip-maddress(8), bridge(8)",
        ..Page::EMPTY
    },
    Page {
        command: "mcast groups",
        description: "Lists multicast groups on each link: which hosts report membership on the wire, and whether \
                      the kernel of this host is a member. Timers come from the querier's announcements, or \
                      else from observation or the standard.",
        output: "With -v each group is followed by its Ethernet address and the groups that share it, source \
                 filters of this host, the processes that joined (within the caller's permissions), and its \
                 members with protocol version, sources, number of reports and state: how long a switch will \
                 still forward the group, or when the member left or expired.",
        columns: &[
            ("IF", "Interface."),
            ("GROUP", "Group address."),
            (
                "HERE",
                "Number of users of the group in this host's kernel; with netsonde's own membership marked.",
            ),
            ("HOSTS", "Members on the wire whose membership is current."),
            ("LAST REPORT", "Time since the latest report."),
            ("NAME", "Name of a well-known group."),
        ],
        json: Json::Reply {
            method: "io.netsonde.Multicast.Groups",
            further: &[
                Keys {
                    at: "groups[]",
                    keys: &["processes?"],
                    text: "",
                },
                Keys {
                    at: "groups[].processes[]",
                    keys: &["pid", "command", "mode", "sources"],
                    text: "Process of this host that joined the group, with its source filter: mode is include \
                           or exclude.",
                },
            ],
        },
        exit: &[
            ("0", "The list was printed."),
            ("1", "No group matched the arguments."),
        ],
        examples: &[
            example("List all groups.", "netsonde mcast groups"),
            example(
                "Show members and timers of one group.",
                "netsonde -v mcast groups 239.1.1.1",
            ),
            example(
                "List the groups of one interface in a script.",
                "netsonde --json mcast groups -I eth0",
            ),
        ],
        see_also: "netsonde-mcast-queriers(1), netsonde-interfaces(1), ip-maddress(8)",
        ..Page::EMPTY
    },
    Page {
        command: "mcast queriers",
        description: "Lists IGMP and MLD queriers with version, timers and election state, and multicast routers \
                      that announce themselves by PIM or multicast router discovery. Without a querier, \
                      switches that snoop stop forwarding groups after some minutes.",
        output: "If no querier is present on a link where this host holds groups that switches prune, a warning \
                 follows the table.",
        columns: &[
            ("IF", "Interface."),
            ("QUERIER", "Address; (this host) marks its own."),
            ("VERSION", "Protocol and version, such as IGMPv3."),
            (
                "STANDING",
                "elected (the active one), other, overdue (elected, and its query is late) or gone. For \
                 routers: designated, or -.",
            ),
            (
                "INTERVAL",
                "Query interval, and whether it was announced, observed, or is the default of the standard.",
            ),
            ("LAST QUERY", "Time since the latest general query."),
            (
                "MEMBERSHIP",
                "How long a membership lasts without a report.",
            ),
            ("QUERIES", "General queries seen."),
            ("ROBUSTNESS", "With -v: robustness variable."),
            ("RESPONSE", "With -v: maximum response time."),
            ("GROUP QUERIES", "With -v: group-specific queries seen."),
            ("ROUTER", "Address of a multicast router."),
            ("PROTOCOL", "PIM or MRD."),
            (
                "PRIORITY",
                "Priority for the election of the designated router.",
            ),
            ("LAST HEARD", "Time since its latest message."),
            ("RESTARTS", "Restarts seen, by its generation ID."),
        ],
        json: Json::Reply {
            method: "io.netsonde.Multicast.Queriers",
            further: &[],
        },
        exit: &[
            ("0", "The list was printed."),
            ("1", "No querier matched the arguments."),
        ],
        examples: &[
            example("List queriers and routers.", "netsonde mcast queriers"),
            example(
                "Show all timers of one link.",
                "netsonde -v mcast queriers -I eth0",
            ),
            example(
                "Print the same for a script.",
                "netsonde --json mcast queriers",
            ),
        ],
        see_also: "netsonde-mcast-groups(1), netsonde-mcast-doctor(1), bridge(8)",
        ..Page::EMPTY
    },
    Page {
        command: "mcast streams",
        description: "Lists multicast streams, one per source, group and port, with rate, TTL, and the loss that \
                      RTP sequence numbers (RFC 3550) and the continuity counters of MPEG transport streams \
                      show. Packets are counted since the engine of the service started.",
        output: "A stream counts as RTP after three consecutive sequence numbers.",
        columns: &[
            ("IF", "Interface."),
            ("GROUP", "Group and port."),
            (
                "SOURCE",
                "Source address; (this host) marks streams that it sends.",
            ),
            ("PACKETS", "Packets."),
            ("PER S", "Packets in the last whole second."),
            ("Mbit/s", "Payload rate in the last whole second."),
            ("TTL", "TTL or hop limit of the latest packet."),
            ("LAST", "Time since the latest packet."),
            (
                "NUMBERS",
                "RTP, TS, both, or - if the packets carry no known numbers.",
            ),
            (
                "LOST",
                "Missing packets by these numbers; for TS, packets of 188 bytes, exact up to 14 in a row per \
                 identifier.",
            ),
            (
                "JITTER ms",
                "Interarrival jitter of RFC 3550, where the payload type fixes the clock rate.",
            ),
            ("LONGEST GAP", "With -v: longest time without a packet."),
            (
                "WRONG MAC",
                "With -v: packets whose destination MAC address is not that of the group.",
            ),
            ("DUPLICATES", "With -v: packets received twice."),
            ("REORDERED", "With -v: packets received after a later one."),
            ("RESTARTS", "With -v: how often the numbers restarted."),
        ],
        json: Json::Reply {
            method: "io.netsonde.Multicast.Streams",
            further: &[],
        },
        exit: &[
            ("0", "The list was printed."),
            ("1", "No stream matched the arguments."),
        ],
        examples: &[
            example("List all streams.", "netsonde mcast streams"),
            example(
                "Show one group with gaps and reordering.",
                "netsonde -v mcast streams 239.1.1.1",
            ),
            example(
                "Print loss for a script.",
                "netsonde --json mcast streams | grep -w lost",
            ),
        ],
        see_also: "netsonde-mcast-doctor(1), netsonde-watch(1), netsonde-talkers(1)",
        ..Page::EMPTY
    },
    Page {
        command: "mcast doctor",
        description: "Diagnoses why a group does not arrive at this host, does not leave it, or is not forwarded. \
                      It can be run at the receiver, at the sender, and at routers and bridges between them; \
                      from a capture file it reports what packets alone can show.\n\n\
                      It watches for some seconds and compares packets on the wire, including recorded ones from \
                      before, with the state of the kernel: counters of the IP layer and of sockets, \
                      memberships and source filters, routes, multicast routes, bridges and their ports, \
                      sysctls. Both must be of one network: in another network namespace than the service's, \
                      for example in a container with the control socket mounted, the command refuses. If it \
                      cannot compare the namespaces it says so, and no finding is proved. Nothing is sent or changed unless --join is given. Every user with the tier probe \
                      can run it; only the owner of a socket is limited to what the caller may see of \
                      processes.\n\n\
                      Timers (when a membership expires, when a querier is missing) are those that the querier \
                      announces, or that were observed.",
        output: "The first line has the verdict: healthy, fault, or undetermined if no traffic and no membership \
                 allows a conclusion. With warnings it has their number instead of healthy (`1 warning, no \
                 fault'). Without a fault, the packets per interface follow. Each finding has its id, \
                 its certainty, a sentence with the cause, the fix, and the evidence with the source of each \
                 observation. `proved' means that packets and counters show it one by one; `consistent' means \
                 that everything observed fits, and another cause could look the same from this host. Only the \
                 root cause is reported as a fault. netsonde-explain(1) and netsonde-findings(7) describe the \
                 findings.\n\n\
                 Promiscuous interfaces are named in the evidence where they change the answer.",
        json: Json::Own(DOCTOR_KEYS),
        exit: &[
            ("0", "No fault: healthy, or warnings without --strict."),
            ("1", "A fault was found, or with --strict a warning."),
            (
                "2",
                "Undetermined, or the diagnosis could not be made; also if the service is in another network \
                 namespace than the command.",
            ),
        ],
        examples: &[
            example(
                "Find out why a stream does not arrive.",
                "netsonde mcast doctor 239.1.1.1:5000",
            ),
            example(
                "Join the group on one interface, and watch for ten seconds.",
                "netsonde mcast doctor 239.1.1.1:5000 -I eth0 --join --duration 10s",
            ),
            example(
                "Diagnose from a capture file, without the service.",
                "netsonde mcast doctor --read trace.pcap 239.1.1.1",
            ),
            example(
                "Use the verdict in a script.",
                "netsonde -q --json mcast doctor 239.1.1.1 | grep '\"verdict\"'",
            ),
        ],
        see_also: "netsonde-explain(1), netsonde-mcast-join(1), netsonde-doctor(1), netsonde-findings(7)",
        ..Page::EMPTY
    },
    Page {
        command: "mcast join",
        description: "Joins a group as a test receiver, counts what arrives at its socket, and compares it with \
                      the packets of the group on this host's wire. Together with netsonde-mcast-send(1) on \
                      another host, loss on the way is told apart from loss in this host, packet by packet. \
                      Runs until -c, --duration or an interrupt.\n\n\
                      Without the service the wire columns are empty, and the last line gives the reason.",
        output: "One row per source. A line below reports packets that the socket had no room for.",
        columns: &[
            ("SOURCE", "Address and port."),
            ("PACKETS", "Packets at the socket."),
            ("ON WIRE", "Packets of this source on the wire."),
            (
                "LOST",
                "Packets missing at the socket, by the numbers of netsonde-mcast-send(1).",
            ),
            (
                "ON THE WAY",
                "Lost packets that were not on the wire of this host.",
            ),
            ("IN THIS HOST", "Lost packets that were on the wire."),
            ("DUPLICATES", "Packets received twice."),
            ("REORDERED", "Packets received after a later one."),
            ("JITTER ms", "Interarrival jitter of RFC 3550."),
        ],
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &[
                    "channel",
                    "interface?",
                    "duration_ns",
                    "socket_drops",
                    "sources",
                    "no_wire?",
                ],
                text: "socket_drops counts packets that the socket had no room for; no_wire is the reason why \
                       there are no counts of the wire.",
            },
            Keys {
                at: "sources[]",
                keys: &[
                    "source",
                    "run?",
                    "packets",
                    "bytes",
                    "lost?",
                    "duplicates?",
                    "reordered?",
                    "jitter_ns?",
                    "wire_packets?",
                    "lost_on_wire?",
                    "lost_in_host?",
                ],
                text: "run identifies the invocation of netsonde-mcast-send(1); packets of other programs have \
                       no numbers, and so no loss.",
            },
        ]),
        exit: &[("0", "A packet arrived."), ("1", "No packet arrived.")],
        examples: &[
            example(
                "Receive for ten seconds.",
                "netsonde mcast join 239.1.1.1:5000 -I eth0 --duration 10s",
            ),
            Example {
                purpose: "Receive until Ctrl-C.",
                commands: "netsonde mcast join 239.1.1.1:5000 -I eth0",
                run: Run::UntilInterrupted,
            },
            example(
                "Receive twenty packets from one source (source-specific multicast).",
                "netsonde mcast join 232.2.2.2:5000 -I eth0 --source 192.0.2.7 -c 20",
            ),
            example(
                "Print loss for a script.",
                "netsonde --json mcast join 239.1.1.1:5000 -I eth0 -c 20",
            ),
        ],
        see_also: "netsonde-mcast-send(1), netsonde-mcast-doctor(1), ip(7)",
        ..Page::EMPTY
    },
    Page {
        command: "mcast send",
        description: "Sends numbered UDP packets to a group as a test source, for netsonde-mcast-join(1) on another \
                      host. Needs no service. Runs until -c, --duration or an interrupt. With a TTL of 1, the \
                      default, no router forwards the packets.",
        output: "A line with packets, size, destination and time; a second one with the error if the kernel \
                 refused packets.",
        json: Json::Own(&[Keys {
            at: "",
            keys: &["channel", "run", "sent", "refused", "duration_ns"],
            text: "run identifies this invocation in the packets; refused counts packets that the kernel did \
                   not accept.",
        }]),
        exit: &[("0", "A packet was sent."), ("1", "No packet was sent.")],
        examples: &[
            example(
                "Send a hundred packets, fifty per second.",
                "netsonde mcast send 239.1.1.1:5000 -I eth0 -c 100 --pps 50",
            ),
            example(
                "Send packets that up to fifteen routers forward.",
                "netsonde mcast send 239.1.1.1:5000 -I eth0 -c 10 -t 16",
            ),
            example(
                "Send full-size packets for one second.",
                "netsonde mcast send [ff15::1]:5000 -I eth0 --size 1400 --duration 1s",
            ),
        ],
        see_also: "netsonde-mcast-join(1), netsonde-mcast-streams(1)",
        ..Page::EMPTY
    },
];
