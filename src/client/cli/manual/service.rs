//! SHELL. Manual pages of the commands about the service itself and the command line.

use super::history::{COUNTER_POINTS, COUNTERS, TIMES};
use super::{Example, Json, Keys, Page, Run, example};

/// What the historian adds to the status.
const HISTORIAN_KEYS: &[Keys] = &[
    Keys {
        at: "",
        keys: &["historian?"],
        text: "",
    },
    Keys {
        at: "historian",
        keys: &[
            "version",
            "time",
            "started",
            "connected",
            "words?",
            "monitors",
            "targets",
            "probes",
            "outages",
            "lasting",
            "bytes",
            "budget",
            "written_bytes",
            "lasts_ns?",
            "paths?",
            "parts",
            "limits",
            "problems",
        ],
        text: "Reply of io.netsonde.History.Status, if netsonde-historian(8) answers: see netsonde-protocol(7).",
    },
    Keys {
        at: "historian.paths",
        keys: &[
            "networks",
            "known",
            "left_out",
            "interval_ns",
            "probes",
            "changes",
        ],
        text: "Paths to the networks of its targets, if they are traced.",
    },
    Keys {
        at: "historian.parts[]",
        keys: &["name", "bytes", "budget?", "files", "oldest?"],
        text: "A part of its store.",
    },
    Keys {
        at: "historian.limits[]",
        keys: &["name", "most", "reached", "words"],
        text: "A limit, its value, and how often it was reached.",
    },
];

/// status, interfaces.
pub(super) const PAGES: &[Page] = &[
    Page {
        command: "status",
        description: "Shows the state of netsonded(8): how long it has been running, what each store of the \
                      recorder holds and how far back it reaches, packets per interface, gaps in the record, \
                      and every limit that was reached. The counters cover the time since the record began, \
                      which survives restarts of the engine and, under systemd, of the service.",
        output: "The first lines show version, uptime, the processes with the number of engine starts, packets \
                 that passed the kernel rings and packets that the rings dropped, connected clients, and the \
                 size of the record. A line about the sandbox appears with -v, and always where this kernel \
                 cannot enforce all of it. With -v, `your permissions' lists the caller's tiers, and `control sockets' the sockets that the service listens on.\n\n\
                 GAPS lists intervals without a complete record, the newest eight unless -v is given: kind, \
                 subject, begin, end, and the number of packets where it is known. The kinds are: ring_drop (a \
                 kernel ring was full), interface_down, interface_gone, engine_restart (the ring kept packets \
                 meanwhile; the count is what was lost), recorder_reset (an older record could not be read and \
                 was discarded), quarantined (packets that repeatedly crashed the engine were skipped) and \
                 gaps_lost (older entries of this list). One that has not ended is shown as `since ... not over'.\n\n\
                 LIMITS REACHED lists every limit of the service that was reached, its value, and how \
                 often.\n\n\
                 The last lines are about netsonde-historian(8): monitors, targets and outages, disk space and budget, \
                 for how long every probe is kept, how many paths are known and how often each is looked at, and what is wrong; with -v each part of its store. If it does not \
                 answer, one line says so.",
        columns: &[
            ("STORE", "Store of the recorder."),
            ("SIZE", "Memory of the store."),
            ("USED", "Part of it that holds packets."),
            (
                "PACKETS",
                "Packets in the store, or recorded on the interface.",
            ),
            ("EVICTED", "Packets removed for newer ones."),
            (
                "THINNED",
                "Share of the packets that were counted and not stored, so that the store reaches back for its \
                 target: see [recorder.retention] in netsonde.toml(5).",
            ),
            (
                "TARGET",
                "How far back the store reaches, whatever comes, or to the begin of the record.",
            ),
            ("REACHES BACK", "Age of the oldest packet."),
            ("INTERFACE", "Name. Deleted interfaces are listed with -v."),
            ("STATE", "up, down or gone."),
            (
                "RECORDED",
                "yes, or no with the number of packets that were skipped; netsonde-interfaces(1) shows why.",
            ),
            ("BYTES", "Bytes on the wire."),
            (
                "ICMP/ICMP6/IGMP WIRE (IP LAYER)",
                "Messages that arrived on the interface and, in parentheses, those of them that the host's IP \
                 layer passed to the listeners. A difference is a loss inside this host.",
            ),
        ],
        json: Json::Reply {
            method: "io.netsonde.Service.Status",
            further: HISTORIAN_KEYS,
        },
        examples: &[
            example(
                "Check the service, and how far back each store reaches.",
                "netsonde status",
            ),
            example(
                "Show all gaps, deleted interfaces, sandbox and permissions as well.",
                "netsonde -v status",
            ),
            example("Print the same for a script.", "netsonde --json status"),
        ],
        see_also: "netsonde-interfaces(1), netsonded(8), netsonde.toml(5)",
        ..Page::EMPTY
    },
    Page {
        command: "interfaces",
        description: "Lists the interfaces that netsonded(8) sees: link, addresses, flags, MTU, multicast \
                      memberships, and whether the interface is recorded and why.\n\n\
                      With --since it shows what the interfaces counted in the past instead, from netsonde-historian(8), \
                      which keeps for each minute of about a year the counters that moved.",
        sections: &[TIMES],
        output: "Each interface begins with its index, name, state (up, up but not operational yet, no carrier, or down), MTU, master and \
                 flags. One line follows per fact: link type and MAC address; each address; each multicast \
                 group of which the kernel is a member, with the number of users, and whether netsonde is one \
                 of them; promiscuous and all-multicast counts if they are not zero; recorded or not, and the \
                 reason; packets and bytes recorded. The last line compares ICMP, ICMPv6 and IGMP messages on \
                 the wire with those that the host's IP layer passed to the listeners.\n\n\
                 With --since a line has an interface and a minute or a longer step in which something moved. A time that \
                 was not measured has a line that says so. An interface that is new, or whose driver was \
                 loaded again, is named as one whose counters began: what it had counted before is not part of the step.",
        columns: &[
            ("TIME", "With --since: begin of the step."),
            ("INTERFACE", "Name, as it was then."),
            ("RX PACKETS", "Packets received, as the kernel counts them."),
            ("RX BYTES", "Their bytes."),
            ("TX PACKETS", "Packets sent."),
            ("TX BYTES", "Their bytes."),
            (
                "DROPS",
                "Errors and drops of the interface and its queue that are unexpected.",
            ),
            (
                "COUNTERS",
                "Counters of errors and drops that moved, see netsonde-drops(1).",
            ),
        ],
        json: Json::Reply {
            method: "io.netsonde.Service.Interfaces",
            further: &[
                Keys {
                    at: "",
                    keys: &["points?", "left_out?"],
                    text: "With --since there are points and left_out only, the number of older steps that are not \
                           listed.",
                },
                COUNTER_POINTS,
                COUNTERS,
            ],
        },
        exit: &[
            ("1", "With --since: nothing was measured, or nothing moved."),
            (
                "2",
                "There is no interface of that name, or the service could not be queried.",
            ),
        ],
        examples: &[
            example("Show all interfaces.", "netsonde interfaces"),
            example("Show one interface.", "netsonde interfaces eth0"),
            example(
                "List the groups of an interface in a script.",
                "netsonde --json interfaces eth0 | grep '\"group\"'",
            ),
            example(
                "Show what an interface carried and dropped in the last two hours.",
                "netsonde interfaces eth0 --since -2h",
            ),
        ],
        see_also: "netsonde-status(1), netsonde-drops(1), netsonde-mcast-groups(1), ip-address(8), ip-maddress(8)",
    },
];

/// demo, completions.
pub(super) const TOOLS: &[Page] = &[
    Page {
        command: "demo",
        description: "Builds a private network of three hosts in user and network namespaces, starts netsonded \
                      and netsonde-historian in one of them, breaks the network in several ways, and shows each command on it. It \
                      needs no root, changes nothing on this host, and takes about half a minute. --list shows \
                      the scenes, which can be chosen.",
        output: "Each scene prints a title, an explanation, the commands with their real output, and `as \
                 expected' if the output was the expected one. The last line counts the scenes.",
        exit: &[
            ("0", "Every scene showed what it promised."),
            ("1", "A scene did not."),
            (
                "2",
                "The namespaces could not be created; the message names the setting that forbids them.",
            ),
        ],
        examples: &[
            Example {
                purpose: "Watch the commands at work.",
                commands: "netsonde demo",
                run: Run::Not("it builds a network of its own; .ci/run runs it"),
            },
            example("List the scenes.", "netsonde demo --list"),
        ],
        see_also: "user_namespaces(7), network_namespaces(7)",
        ..Page::EMPTY
    },
    Page {
        command: "completions",
        description: "Prints a completion script for a shell on standard output. Needs no service.",
        output: "The script, in the language of the shell.",
        examples: &[
            example(
                "Install completions for bash.",
                "mkdir -p ~/.local/share/bash-completion/completions\n\
                 netsonde completions bash > ~/.local/share/bash-completion/completions/netsonde",
            ),
            example(
                "For zsh, in a folder of its fpath.",
                "netsonde completions zsh > _netsonde",
            ),
        ],
        see_also: "bash(1), zsh(1), fish(1)",
        ..Page::EMPTY
    },
];
