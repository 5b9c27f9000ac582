//! SHELL. Manual page of `netsonde ping`.

use super::{Json, Keys, Page, Section, example};

/// ping.
pub(super) const PAGES: &[Page] = &[Page {
    command: "ping",
    description: "Sends echo requests, and reports where each lost one was lost. Option letters and lines are \
                  those of ping(8). Needs no privilege.\n\n\
                  With --tcp or --udp a port is probed instead: --tcp asks for a connection, which this host's \
                  kernel resets when it is accepted, so that no program at the target sees it; --udp sends a \
                  datagram, and any datagram from the port is its reply. A service that does not understand \
                  the bytes may not answer. The service sends them from 64 TCP and 16 UDP ports that it has reserved.\n\n\
                  All users share one prober in the service. Its sockets receive only replies to its own probes, \
                  each probe carries a secret cookie, and the rings that record this host see the same packets \
                  on the wire. Each probe therefore has a fate, with evidence.\n\n\
                  Several targets are probed in turn, by default once each at 10000 probes per second in total, \
                  which is what the kernel's queues hold. A group or broadcast address gets three probes and a \
                  table of the responders. For users without privilege, [ping] in netsonde.toml(5) limits \
                  rates and targets, and -b is not allowed; an error names the limit.\n\n\
                  With --evidence the packets of the run are written: its requests, replies and errors to them, \
                  and ARP and neighbor discovery for its targets. The fate of a probe is a comment of its \
                  request, or of the file if the request was never on the wire. The file is opened before the \
                  run and replaces an existing one when it is complete, as netsonde-capture(1) describes.",
    sections: &[
        Section {
            title: "FATES",
            text: "",
            items: &[
                (
                    "replied",
                    "A reply came in time. If it came from another address than the target's (several \
                     addresses, anycast, address translation), the line ends with DIFFERENT ADDRESS!; \
                     the cookie proves that it answers the probe. With less than 12 bytes of payload \
                     there is no complete cookie, and the address has to be the target's.",
                ),
                (
                    "late",
                    "A reply came after the time limit (-W). It replaces the fate reported before.",
                ),
                (
                    "refused",
                    "An ICMP error that quotes the probe came back; the line has its sender and meaning. \
                     One that comes late replaces the fate reported before. With --tcp a RST refuses the \
                     connection, too; it bears the target's address, even if a firewall on the way has sent \
                     it, and the line has its TTL.",
                ),
                (
                    "corrupted",
                    "A reply came with a wrong checksum or a payload that differs from the request's.",
                ),
                (
                    "unresolved",
                    "The request never left: the next hop did not answer ARP or neighbor discovery. An interface \
                     that is down, dormant or without carrier is named first. A monitor's probe is not even tried if its next \
                     hop has not answered, and hundreds before it did not leave.",
                ),
                (
                    "not_sent",
                    "The kernel refused to send. The errno is explained by the state of this host: the route \
                     (blackhole, prohibit, unreachable, throw) with its table, the rule, a source that is no \
                     address of this host or is in duplicate address detection, an interface that is down, \
                     the MTU that a packet exceeds; or it is consistent with a local firewall. A monitor's probe is not \
                     even tried if its interface cannot carry packets, and hundreds before it did not leave.",
                ),
                (
                    "dropped_outbound",
                    "The kernel accepted the request, and the wire never carried it: a full queue, or a filter \
                     after the IP layer. Counters that increased meanwhile are named.",
                ),
                (
                    "unanswered",
                    "The request left this host, and nothing came back, or only some fragments of the \
                     reply, which are named: it was lost elsewhere. The line names a neighbor entry that the \
                     wire contradicts, an address conflict of the next hop, and an answer by proxy ARP.",
                ),
                (
                    "dropped_inbound",
                    "The reply was on this host's wire and did not reach the socket: reverse path filter, wrong \
                     checksum, failed reassembly of its fragments, or, where no counter explains it, \
                     consistent with a firewall. With --tcp: a SYN-ACK came, and the kernel did not reset the \
                     connection, or a firewall dropped that RST.",
                ),
            ],
            after: "",
        },
        Section {
            title: "REMARKS",
            text: "The summary of a target ends with what its probes show together; `remarks' in JSON.",
            items: &[
                (
                    "different-address",
                    "Replies came from other addresses than the target's; they are listed with their number.",
                ),
                (
                    "limited-errors",
                    "A router or host refused the first probes and did not answer later ones. This is \
                     consistent with its limit of ICMP errors: it refuses all of them.",
                ),
                (
                    "path-mtu-black-hole",
                    "None of the large probes was answered, and a smaller one was. After two large probes \
                     (549 bytes of payload or more) without any answer, one of 56 bytes is sent, unless -M \
                     dont or -f is given. It is reported on lines of its own, and not counted.",
                ),
                (
                    "firewall-rules",
                    "Probes or replies were dropped in this host without a drop counter. The nftables rules \
                     whose counters increased during the run, or which drop without a counter; or why they \
                     could not be read. Reading them takes CAP_NET_ADMIN (root). Counters also count other \
                     traffic.",
                ),
                (
                    "echo-ignored",
                    "No host answered probes to an IPv4 group or broadcast address. By default Linux hosts do \
                     not (net.ipv4.icmp_echo_ignore_broadcasts).",
                ),
            ],
            after: "",
        },
        Section {
            title: "SIGNALS",
            text: "",
            items: &[
                ("SIGINT, SIGTERM", "Stop sending, and print the summary."),
                (
                    "SIGQUIT",
                    "Print one line per target to standard error (received/sent packets, loss, \
                     min/avg/ewma/max) and continue, as ping(8) does.",
                ),
            ],
            after: "",
        },
        Section {
            title: "TIMES",
            text: "",
            items: &[
                (
                    "time (rtt_ns)",
                    "The time that ping(8) prints: from before the send call until the kernel had the reply.",
                ),
                (
                    "wire (wire_rtt_ns)",
                    "From the request to the reply at this host's packet socket, without this host's own delays.",
                ),
                (
                    "resolve (resolve_ns)",
                    "Part of time: waiting for ARP or neighbor discovery.",
                ),
                (
                    "queue (queue_ns)",
                    "Part of time: in the local transmit queue. Measured for up to 2000 probes per second; -v \
                     shows it.",
                ),
                (
                    "wake (wake_ns)",
                    "Not part of time: how long the reply waited for the service to run; -v shows it.",
                ),
            ],
            after: "Durations are measured with the monotonic clock: setting the wall clock changes none. \
                    Percentiles are exact to one percent, and to seven in runs of more than 1,024 targets and \
                    of responders; jitter is that of RFC 3550, and a reply counts as \
                    reordered if it comes after the reply to a later probe (RFC 4737).",
        },
    ],
    output: "A single target prints one line per probe, as ping(8) does, with the wire time, or with the fate and \
             its evidence; then a summary with loss, fates, round-trip and wire times, jitter, and the loss of \
             the last ten seconds, of the last minute and of the worst ten seconds. Several targets print one \
             table row per target and a total. A group or broadcast address prints one row per responder. An \
             address conflict of a target is reported after its statistics (remarks in JSON). The \
             last lines report replies with a wrong cookie, replies that came too late to be matched, \
             and lines that were dropped because they were not read fast enough.",
    columns: &[
        ("TARGET", "Target, as given."),
        ("SENT", "Probes whose fate is known."),
        ("RECV", "Probes answered in time."),
        ("LOSS", "Share of probes not answered in time."),
        ("RTT ms", "Median of time."),
        ("WIRE ms", "Median of wire."),
        ("FATES", "Number of probes per fate."),
        ("ADDRESS", "Address of a responder."),
        ("MAC", "Its MAC address, if it is on the link."),
        ("REPLIES", "Probes that it answered."),
        ("DUPLICATES", "Further replies to the same probe."),
        (
            "RTT min/avg/max/mdev ms",
            "Round-trip times of the responder.",
        ),
    ],
    json: Json::Lines {
        types: &[
            (
                "\"event\": \"probe\" or \"duplicate\"",
                "io.netsonde.Ping",
                "Probe",
            ),
            ("\"event\": \"size_check\"", "io.netsonde.Ping", "Probe"),
            ("\"event\": \"summary\"", "io.netsonde.Ping", "Summary"),
            ("\"event\": \"total\"", "io.netsonde.Ping", "Total"),
        ],
        further: &[
            Keys {
                at: "",
                keys: &["event"],
                text: "Kind of the object. A line of an event `probe' or `duplicate' comes as soon as the fate \
                       is known; -q omits these. A summary per target and a total follow at the end. The \
                       last word about a probe, which `target' and `seq' identify, is its line with `final' \
                       true; one with `final' false is replaced by a later line if a late reply or error \
                       comes, and holds otherwise.",
            },
            Keys {
                at: "",
                keys: &["size?"],
                text: "Bytes of payload of the smaller probe (event `size_check').",
            },
        ],
    },
    exit: &[
        ("0", "Every target sent a reply."),
        ("1", "A target sent no reply in time."),
        (
            "2",
            "Nothing could be sent: usage, no service, no permission.",
        ),
    ],
    examples: &[
        example(
            "Check whether probes get through, and where they are lost.",
            "netsonde ping -c 5 192.0.2.7",
        ),
        example("Find the hosts of a range.", "netsonde ping 192.0.2.0/28"),
        example(
            "Is a port open, refused, and by whom, or silent? Also many at once.",
            "netsonde ping --tcp 443 -c 3 192.0.2.7\nnetsonde ping --tcp 22 192.0.2.0/28",
        ),
        example(
            "Save the packets of a run for Wireshark, each probe's fate as a comment.",
            "netsonde ping -c 3 -i 0.2 --evidence lost.pcapng 192.0.2.7 192.0.2.9",
        ),
        example(
            "Show all times, including the local queue and the wait for the service.",
            "netsonde -v ping -c 3 -i 0.2 192.0.2.7",
        ),
        example(
            "Probe IPv6 targets; a link-local address needs its interface.",
            "netsonde ping -c 3 -i 0.2 2001:db8::7 fe80::7%eth0",
        ),
        example(
            "Check whether the path carries packets of 1500 bytes.",
            "netsonde ping -c 1 -M probe -s 1472 192.0.2.7",
        ),
        example(
            "Imitate a voice call: 20 bytes of header and 160 of voice, fifty packets per second, expedited \
             forwarding.",
            "netsonde -q ping -c 50 -i 0.02 -s 160 -Q 0xb8 192.0.2.7",
        ),
        example(
            "Send as fast as replies arrive, for two seconds.",
            "netsonde ping -f -w 2 192.0.2.7",
        ),
        example(
            "Probe a list of targets, a name or an address per line.",
            "netsonde ping @hosts.txt",
        ),
        example(
            "Find the hosts on a link; many systems reply to the IPv6 group only.",
            "netsonde ping ff02::1%eth0",
        ),
        example(
            "The same over IPv4, for hosts that reply to multicast or broadcast.",
            "netsonde ping 224.0.0.1 -I eth0\nnetsonde ping -b 192.0.2.255",
        ),
        example(
            "Print one JSON object per line for a script.",
            "netsonde --json ping -c 10 -i 0.1 192.0.2.7",
        ),
    ],
    see_also: "netsonde-doctor(1), netsonde.toml(5), ping(8), fping(8)",
}];
