//! SHELL. Manual pages of the commands that query this host's kernel, and of the doctor.

use super::history::{COUNTER_POINTS, COUNTERS, TIMES};
use super::{EVIDENCE_KEYS, Example, FINDING_KEYS, Json, Keys, Page, Run, Section, example};

/// Keys of what `doctor` sends.
const SENT_KEYS: &[&str] = &[
    "kind?",
    "how?",
    "target?",
    "interface?",
    "count?",
    "size_bytes?",
    "bytes?",
    "when?",
];

/// families, sockets, drops, doctor, explain.
pub(super) const PAGES: &[Page] = &[
    Page {
        command: "families",
        description: "Lists every address family and socket type of Linux, its purpose, and whether this kernel \
                      supports it. netsonde-families(7) describes the families. Needs no service and no \
                      privilege, although the kernel denies some types to users without privilege (EPERM).\n\n\
                      netsonde opens a socket of each family, type and protocol, closes it at once, and reports \
                      success, or the error and its meaning.",
        sections: &[Section {
            title: "KERNEL MODULES",
            text: "A family may be in a module that is not loaded. The kernel loads it when any user, privileged \
                   or not, opens a socket of that family, and it stays loaded: more code that untrusted users \
                   can reach. netsonde therefore looks up in /lib/modules what an attempt would load, and omits \
                   it unless --load-modules is given. If modules can be loaded and /lib/modules cannot be read, \
                   as in containers, only what is registered in /proc/net/protocols is tried.\n\n\
                   AF_INET with SOCK_PACKET makes the kernel log once that it is obsolete.",
            items: &[],
            after: "",
        }],
        output: "With a family, purpose, equivalents on other systems, result, and the error of each type and \
                 protocol are printed. -q lists supported families only, -v adds the types and flags.",
        columns: &[
            ("NUMBER", "Number of the family."),
            ("FAMILY", "Name."),
            (
                "SUPPORTED",
                "yes, no, not loaded (an attempt would load a module), or not told (unknown).",
            ),
            ("TYPES", "Supported socket types."),
            (
                "SOCKETS",
                "Open sockets, from sock_diag(7) or /proc/net; for families without either, from \
                 /proc/net/protocols or the processes that the caller may see; ? if unknown.",
            ),
            ("PURPOSE", "Purpose."),
        ],
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &[
                    "families?",
                    "types?",
                    "flags?",
                    "name?",
                    "number?",
                    "purpose?",
                ],
                text: "With a socket type as argument, only name, number and purpose.",
            },
            Keys {
                at: "families[]",
                keys: &[
                    "number",
                    "name",
                    "aliases",
                    "title",
                    "purpose",
                    "legacy",
                    "absent",
                    "elsewhere",
                    "supported",
                    "module?",
                    "types",
                    "protocols",
                    "sockets",
                    "sockets_from",
                ],
                text: "supported is null if it is not known; module is the one that an attempt would load; \
                       absent says why Linux has no such family; sockets is null if unknown.",
            },
            Keys {
                at: "families[].types[]",
                keys: &["type", "protocol", "supported", "error", "meaning"],
                text: "One attempt. error is the name of the errno.",
            },
            Keys {
                at: "families[].protocols[]",
                keys: &["name", "type", "protocol", "supported", "error", "meaning"],
                text: "The same for a named protocol.",
            },
            Keys {
                at: "types[]",
                keys: &["name", "number", "purpose"],
                text: "Socket types.",
            },
            Keys {
                at: "flags[]",
                keys: &["name", "number", "purpose"],
                text: "Flags that are combined with a type.",
            },
        ]),
        exit: &[
            (
                "0",
                "The list was printed; with a family, this kernel supports it.",
            ),
            ("1", "With a family: this kernel does not support it."),
            ("2", "With a family: unknown, because it was not tried."),
        ],
        examples: &[
            example("List all families.", "netsonde families"),
            example(
                "Explain one family, and check for it.",
                "netsonde families unix",
            ),
            example("Explain a socket type.", "netsonde families SOCK_SEQPACKET"),
            example("Print the same for a script.", "netsonde --json families"),
        ],
        see_also: "netsonde-sockets(1), netsonde-families(7), address_families(7), socket(2)",
    },
    Page {
        command: "sockets",
        description: "Lists the sockets of this network namespace with their processes, from sock_diag(7), and \
                      from /proc/net where the kernel has no sock_diag for a family. Needs no service.\n\n\
                      Without options it prints counts by family, type, protocol and state, and below them \
                      listening sockets, sockets that can capture traffic, sockets that drop packets or have \
                      full queues, and group memberships. With options it prints the sockets that match all of \
                      them. The letters -t -u -w -x -0 -4 -6 -l -a -n -p mean what they do for ss(8), except that \
                      listening sockets are shown without -l and -a, too.\n\n\
                      Processes are known within the caller's permissions (to root, all of them); the output \
                      says how many owners are unknown. The same applies to memberships, and without \
                      CAP_NET_ADMIN to filters of packet sockets: for these, the socket is duplicated for a \
                      moment with pidfd_getfd(2) and queried.\n\n\
                      Like ss(8), this may make the kernel load sock_diag modules such as udp_diag for \
                      families that are in use.\n\n\
                      A process can read packets without a packet socket: from the mapped ring of one that it \
                      has closed, or that another process holds.",
        output: "A listening socket is one in state listening, or a datagram socket with a port and no peer. \
                 +N after a process means that N further processes hold the same socket. The state bound is a \
                 TCP socket that has a port and is neither listening nor connected (Linux 6.8). `ours' marks \
                 sockets of the netsonded that answers. Sockets in no list are those that processes of this \
                 namespace hold and that the kernel does not list: TCP sockets without a port, and families \
                 without sock_diag.",
        columns: &[
            ("FAMILY", "Address family."),
            ("TYPE", "Socket type."),
            (
                "PROTOCOL",
                "Protocol; for a socket that can capture traffic, the protocol it captures.",
            ),
            ("SOCKETS", "Number of sockets."),
            ("STATES", "Number per state."),
            ("SOCKET", "Kind of socket, such as tcp, udp6 or packet."),
            ("LOCAL", "Own address and port."),
            ("REMOTE", "Address and port of the peer."),
            ("SERVICE", "Name of the service at a known port."),
            (
                "PORT RANGE",
                "system (0 to 1023), registered (to 49151) or dynamic; + marks ports within \
                 net.ipv4.ip_local_port_range, which outgoing connections can take first.",
            ),
            (
                "WAITING",
                "Connections not accepted yet and their limit, or bytes not read yet.",
            ),
            ("INTERFACE", "Interface to which it is bound."),
            ("PROMISC", "Interfaces that it holds in promiscuous mode."),
            (
                "FILTER",
                "cBPF with its number of instructions, eBPF, none, or ? if the caller may not know.",
            ),
            ("RING", "Size of its mapped ring."),
            ("STATE", "State of the socket."),
            ("RECVQ", "Bytes not read yet."),
            ("SENDQ", "Bytes not sent yet."),
            ("DROPS", "Packets that the socket dropped."),
            ("PROCESS", "Name and PID."),
            ("GROUP", "Multicast group."),
            ("USERS", "Memberships of the group in the kernel."),
        ],
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &[
                    "summary",
                    "owners",
                    "sockets",
                    "memberships",
                    "unlisted",
                    "local_ports",
                    "sources",
                ],
                text: "local_ports is net.ipv4.ip_local_port_range.",
            },
            Keys {
                at: "summary[]",
                keys: &["family", "type", "protocol", "sockets", "states"],
                text: "Number of sockets per kind.",
            },
            Keys {
                at: "summary[].states{}",
                keys: &[],
                text: "Number of sockets by state.",
            },
            Keys {
                at: "owners",
                keys: &[
                    "processes",
                    "sockets_without_known_owner",
                    "processes_hidden",
                    "processes_skipped",
                    "memberships_cut",
                ],
                text: "How far owners are known: processes_hidden are those that the caller may not see, \
                       processes_skipped those beyond the limit; memberships_cut is set if there were too many \
                       memberships to look all of them up.",
            },
            Keys {
                at: "sockets[]",
                keys: &[
                    "family",
                    "type",
                    "protocol",
                    "state",
                    "inode",
                    "uid",
                    "user",
                    "processes",
                    "ours",
                    "kernel",
                    "receive_queue_bytes",
                    "send_queue_bytes",
                    "drops",
                    "interface?",
                    "backlog?",
                    "backlog_limit?",
                    "filter?",
                    "local?",
                    "remote?",
                    "port_range?",
                    "port_is_local?",
                    "service?",
                    "path?",
                    "abstract?",
                    "peer?",
                    "port?",
                    "peer_port?",
                    "groups?",
                    "promiscuous?",
                    "all_multicast?",
                    "ring_bytes?",
                    "fanout?",
                    "queue?",
                    "memberships?",
                ],
                text: "Keys that a family does not have are absent. kernel marks the kernel's own sockets; port, \
                       peer_port and groups are those of netlink, queue that of AF_XDP. local and remote are \
                       objects with cid and port for AF_VSOCK.",
            },
            Keys {
                at: "sockets[].processes[]",
                keys: &["pid", "command", "uid"],
                text: "A process that holds the socket.",
            },
            Keys {
                at: "sockets[].filter",
                keys: &["kind?", "instructions?", "length_bytes?"],
                text: "kind is none, classic, ebpf, none_or_ebpf or unknown.",
            },
            Keys {
                at: "sockets[].local",
                keys: &["cid?", "port?"],
                text: "Of AF_VSOCK.",
            },
            Keys {
                at: "sockets[].remote",
                keys: &["cid?", "port?"],
                text: "Of AF_VSOCK.",
            },
            Keys {
                at: "sockets[].peer",
                keys: &["inode?", "processes?"],
                text: "Other end of a Unix socket.",
            },
            Keys {
                at: "sockets[].peer.processes[]",
                keys: &["pid?", "command?", "uid?"],
                text: "",
            },
            Keys {
                at: "sockets[].memberships[]",
                keys: &["interface", "group", "mode", "sources"],
                text: "Group that the socket joined.",
            },
            Keys {
                at: "memberships[]",
                keys: &["interface", "group", "users", "sources", "sockets"],
                text: "Group membership of the kernel.",
            },
            Keys {
                at: "memberships[].sources[]",
                keys: &["source?", "include?", "exclude?"],
                text: "Source filter with the number of sockets that include or exclude the source.",
            },
            Keys {
                at: "memberships[].sockets[]",
                keys: &["inode", "processes"],
                text: "Socket known to have joined.",
            },
            Keys {
                at: "memberships[].sockets[].processes[]",
                keys: &["pid?", "command?", "uid?"],
                text: "",
            },
            Keys {
                at: "unlisted[]",
                keys: &["inode?", "protocol?", "pid?", "command?", "ours?"],
                text: "Socket that a process holds and the kernel does not list.",
            },
            Keys {
                at: "sources[]",
                keys: &["family", "list", "from", "error", "incomplete"],
                text: "Where the sockets of each family were read: sock_diag or a file of /proc/net, with an \
                       error if one was refused; incomplete if the list changed while it was read.",
            },
        ]),
        exit: &[
            ("0", "The list was printed; with options, a socket matched."),
            ("1", "With options: no socket matched."),
        ],
        examples: &[
            example(
                "Show counts, listeners, capturing sockets and memberships.",
                "netsonde sockets",
            ),
            example(
                "Show UDP sockets with their processes, as `ss -uanp'.",
                "netsonde sockets -uanp",
            ),
            example(
                "Show who captures on this host.",
                "netsonde sockets --sniff",
            ),
            example(
                "Show who listens on a port.",
                "netsonde sockets --listen --port 53",
            ),
            example(
                "Show the sockets of a process.",
                "netsonde sockets --process netsonded",
            ),
            example("Print the same for a script.", "netsonde --json sockets"),
        ],
        see_also: "netsonde-families(1), netsonde-drops(1), ss(8), sock_diag(7), packet(7)",
        ..Page::EMPTY
    },
    Page {
        command: "drops",
        description: "Shows where this host drops packets: it reads the counters of every layer twice, and prints \
                      those that increased, with their meaning. Counters that increase on any healthy network \
                      are shown with -v only. Needs no service, and no privilege except for --reasons.\n\n\
                      --reasons counts the kernel's own reasons from the tracepoint skb:kfree_skb, in all \
                      network namespaces of this machine. Linux 6.18 counts drops in interrupts of an idle CPU \
                      without writing their reasons; these are reported as a number without a reason.\n\n\
                      With --since it shows the past instead, from netsonde-historian(8), which keeps for each minute of \
                      about a year the counters that moved.",
        sections: &[TIMES],
        output: "A line has the count, the layer (such as device, queue, backlog, ip, udp, tcp, socket), the \
                 counter as nstat(8) or ip(8) print it, and the subject: an interface, a socket with its \
                 process, or this namespace. The line below explains the counter. With --reasons, count, \
                 protocol, reason, and the kernel function follow.\n\n\
                 With --since a line has a minute or a longer step, with the sum of the drops that are unexpected, and the \
                 counters that moved. Below there are the sums over all of them. A time that was not measured, because \
                 a service did not run or the host was suspended, has a line that says so. Counters that \
                 began within a step, since their interface is new or its driver was loaded again, are named: what they \
                 counted before is not part of it.",
        columns: &[
            ("TIME", "With --since: begin of the step."),
            ("DROPS", "Drops that are unexpected."),
            ("COUNTERS", "Counters that moved, and by how much."),
        ],
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &[
                    "drops?",
                    "duration_ns?",
                    "reasons?",
                    "reasons_lost?",
                    "points?",
                    "left_out?",
                ],
                text: "reasons_lost counts drops whose reason is unknown. With --since there are points and left_out \
                       only, the number of older steps that are not listed.",
            },
            Keys {
                at: "drops[]",
                keys: &[
                    "layer", "subject", "counter", "count", "total", "harmless", "meaning",
                ],
                text: "count is the increase, total the counter; harmless marks counters that increase on any \
                       network.",
            },
            Keys {
                at: "reasons[]",
                keys: &[
                    "reason?",
                    "protocol?",
                    "place?",
                    "count?",
                    "harmless?",
                    "meaning?",
                ],
                text: "place is the kernel function that dropped the packets.",
            },
            COUNTER_POINTS,
            COUNTERS,
        ]),
        exit: &[
            (
                "0",
                "No counter of a real loss increased, or --total was given.",
            ),
            (
                "1",
                "Packets were dropped, or with --since nothing was measured.",
            ),
        ],
        examples: &[
            example("Watch for five seconds.", "netsonde drops"),
            example(
                "Show what was dropped since the start of the machine.",
                "netsonde drops --total",
            ),
            Example {
                purpose: "Show the kernel's reasons as well.",
                commands: "sudo netsonde drops --reasons",
                run: Run::Not(
                    "it needs root outside of a user namespace; tests/drops.rs covers it",
                ),
            },
            example(
                "Print the same for a script.",
                "netsonde --json drops --total",
            ),
            Example {
                purpose: "Show whether drops rose in the last night.",
                commands: "netsonde drops --since 'yesterday 22:00' --step 10m",
                run: Run::Not(
                    "whether something is dropped is up to the host; tests/manual.rs shows its table",
                ),
            },
        ],
        see_also: "netsonde-sockets(1), netsonde-doctor(1), netsonde-historian(8), nstat(8), ip-link(8), tc(8)",
    },
    Page {
        command: "doctor",
        description: "Checks this host's network: links (carrier, duplex, errors, drops, MTU, loops), addresses \
                      (duplicates, conflicts, two interfaces in one network), gateways (routes, resolution, \
                      reachability, changes, virtual routers), neighbor entries and tables, multicast (bridges, queriers, versions, limits \
                      of sockets), sysctls, increasing drop counters, and the service itself. It watches for \
                      two seconds; earlier observations of netsonded(8) count as well. In another network namespace \
                      than the service's it refuses.\n\n\
                      It sends four echo requests to each of at most eight routers of its routing tables, \
                      and nothing else; --dry-run lists them and sends nothing. Lost requests have a fate, as \
                      those of netsonde-ping(1).\n\n\
                      With a TARGET it finds out why a name, a host or a port cannot be reached, or is slow, and \
                      names the first cause. It resolves the name with this host's resolver and reads from the \
                      record what that asked on the wire. To each address, of up to eight, it sends five echo \
                      requests, and two as long as the MTU with DF. For a port it opens a connection, as any \
                      program would, and closes it without sending anything; for a port of UDP it sends an empty \
                      datagram, to 53 a question for the root's name servers, to 123 a request of NTP. Only if \
                      something fails, the routers on the way are asked: 20 echo requests with a TTL of 1 to 20, \
                      and as many as routers answered as long as the MTU if long ones vanish, or SYNs if only the port does not \
                      answer. It takes less than \
                      a second where all is well, and about five where nothing answers.",
        output: "The first line has the verdict and the number of checks, interfaces and findings. Each finding \
                 has its id, certainty, cause, fix and evidence, as in netsonde-mcast-doctor(1). Consequences \
                 of a reported fault are omitted: a gateway that does not answer because the link is down is \
                 one fault. What works is not listed, except with -v, which prints one line per check: `ok', \
                 `found', `not applicable' where there is nothing to check, or `skipped' with the reason.\n\n\
                 Warnings and notes do not make the verdict a fault; with warnings the first line begins with \
                 their number instead of healthy (`2 warnings, no fault'). A check that could not be made, for \
                 example for lack of permission, is listed, and makes the verdict undetermined unless a fault \
                 was found.\n\n\
                 With a TARGET the first line is `reached' or the verdict, and only the first cause is reported. A \
                 port that answers is reached, whatever becomes of the echo requests. If one family works and the \
                 other does not, or one address of several, that is a warning (ipv6-broken, ipv4-broken, \
                 address-broken) with the cause as evidence; a family \
                 for which this host has no route is none that is broken. -v prints each step.",
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &[
                    "subject?",
                    "verdict?",
                    "findings?",
                    "checks?",
                    "sent?",
                    "duration_ns?",
                    "would_send?",
                ],
                text: "verdict is healthy, fault or undetermined. With --dry-run there is only would_send. With \
                       a TARGET there is also subject.",
            },
            Keys {
                at: "subject",
                keys: &["target", "port", "protocol", "interface", "source"],
                text: "With a TARGET: what is to be reached, and from where.",
            },
            Keys {
                at: "findings[]",
                keys: FINDING_KEYS,
                text: "Faults first, each after its causes. severity is fault, warning or note, certainty is \
                       proved or consistent.",
            },
            Keys {
                at: "findings[].evidence[]",
                keys: EVIDENCE_KEYS,
                text: "An observation and its source.",
            },
            Keys {
                at: "checks[]",
                keys: &["check", "state", "text", "findings"],
                text: "state is made, nothing (there is nothing to check) or not_made; findings lists ids.",
            },
            Keys {
                at: "sent[]",
                keys: SENT_KEYS,
                text: "What was sent. To routers: interface and size_bytes, the payload. To a TARGET: how, what is \
                       special; bytes with the IP header; when, always or if something fails.",
            },
            Keys {
                at: "would_send[]",
                keys: SENT_KEYS,
                text: "What would be sent.",
            },
        ]),
        exit: &[
            ("0", "No fault: healthy, or warnings without --strict."),
            ("1", "A fault was found, or with --strict a warning."),
            (
                "2",
                "Undetermined: a check could not be made, or there is no interface to check.",
            ),
        ],
        examples: &[
            example("Check this host's network.", "netsonde doctor"),
            example(
                "Find out why a server cannot be reached.",
                "netsonde doctor 192.0.2.8:443",
            ),
            example("Show each step to a host.", "netsonde -v doctor 192.0.2.7"),
            example(
                "Print what would be sent to find out about a name.",
                "netsonde doctor --dry-run example.org:443",
            ),
            example(
                "List every check, for one interface.",
                "netsonde -v doctor -I eth0",
            ),
            example(
                "List the probes that it would send.",
                "netsonde doctor --dry-run",
            ),
            example(
                "Watch the counters for ten seconds.",
                "netsonde doctor --duration 10s",
            ),
            example(
                "Use the verdict in a script.",
                "netsonde -q --json doctor | grep '\"verdict\"'",
            ),
        ],
        see_also: "netsonde-explain(1), netsonde-mcast-doctor(1), netsonde-ping(1), netsonde-findings(7)",
        ..Page::EMPTY
    },
    Page {
        command: "explain",
        description: "Explains a finding of netsonde-doctor(1) or netsonde-mcast-doctor(1): symptoms, cause, \
                      evidence and fix. The beginning of an id is enough if no other id has it. Without an id \
                      it lists all findings. Needs no service. \
                      netsonde-findings(7) has the same text.",
        output: "With an id, its title and the four texts; without, one finding per row.",
        columns: &[("FINDING", "Id."), ("MEANING", "Title.")],
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &["findings"],
                text: "One element, or all of them.",
            },
            Keys {
                at: "findings[]",
                keys: &["id", "title", "seen", "cause", "proof", "fix"],
                text: "seen has the symptoms, proof the evidence.",
            },
        ]),
        exit: &[(
            "2",
            "There is no finding of that id, or several begin with it; the message names them.",
        )],
        examples: &[
            example("Explain a finding.", "netsonde explain rp-filter-strict"),
            example("List all findings.", "netsonde explain"),
            example("Print all texts for a script.", "netsonde --json explain"),
        ],
        see_also: "netsonde-doctor(1), netsonde-mcast-doctor(1), netsonde-findings(7)",
        ..Page::EMPTY
    },
];
