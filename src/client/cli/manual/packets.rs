//! SHELL. Manual pages of the commands that show recorded packets and what was derived from them.

use super::{Example, Json, Keys, Page, Run, Section, example};

/// Keys of a path and of its hops, as the historian remembers them.
const PATH_KEYS: &[&str] = &["target", "since", "until", "reached", "hops"];
const HOP_KEYS: &[&str] = &["hop", "addresses", "answers", "error?"];

/// The filter language, for watch and capture.
const FILTERS: Section = Section {
    title: "FILTERS",
    text: "FILTER is written in the language of pcap-filter(7). The client compiles it with libpcap, which is \
           loaded when it is needed; the service verifies the program and runs it. Live, from the record and for \
           files it selects what `tcpdump -r' selects, but for these words:",
    items: &[
        (
            "vlan, vlan N",
            "Match either of the first two tags, without changing the offsets of the rest of the filter. \
             Filters without `vlan' match tagged frames as well, and the rest of a filter looks behind all tags. \
             Two that are joined by `and' alone, as in `vlan 30 and vlan 100', match the first tag and the second.",
        ),
        (
            "inbound, outbound",
            "Match received and sent packets, in the record and in files that have the direction (pcapng, Linux \
             cooked); packets of unknown direction match neither.",
        ),
        (
            "ip broadcast",
            "Matches 255.255.255.255 and 0.0.0.0, since the netmasks are not known.",
        ),
        (
            "icmp6",
            "Also matches MLD, which follows a hop-by-hop header.",
        ),
        ("mld", "Matches MLD. This word is netsonde's own."),
    ],
    after: "The options --host, --port, --proto, --group, --vlan, --store, --direction and -I do without libpcap.\n\n\
            They match the outer packet. With --inner, --host, --port and --proto also match packets within GRE, \
            IP in IP, VXLAN, GENEVE, GTP-U, ERSPAN and other tunnels, and behind PPPoE and MPLS; together they \
            match one packet, not parts of several. Only what the caller may see is matched: users without the \
            tier payload see no headers within tunnels.",
};

/// Selection of packets by time, for watch and capture.
const TIME: Section = Section {
    title: "TIME",
    text: "Without --last, --since and --until only new packets are taken. With one of them the command ends \
           with the newest recorded packet, or at --until; --follow continues with new packets.",
    items: &[],
    after: "",
};

/// How a file is written, for capture and ping.
pub(super) const WRITING: Section = Section {
    title: "WRITING FILES",
    text: "A regular file is written next to its place, as FILE.netsonde-PID.partial, and renamed when it is \
           complete. If the command fails, an existing FILE keeps its content. A capture that was ended by \
           -c, --until, SIGINT, SIGTERM or SIGHUP is complete. If the service ends, the disk is full or an \
           input file is damaged, the packets until then stay in the partial file, which the message names; \
           a client that is killed leaves it as well. It can be read up to its last complete packet, and \
           removed.",
    items: &[],
    after: "A new file can be read by its owner only (mode 0600), since it holds packets. One that replaces another has \
            its permissions and, for root, its owner; other hard links \
            keep the old content. A symbolic link is followed. Devices, FIFOs, -, and names such as \
            /dev/stdout and /dev/fd/3 are written directly. The input of a command is refused as its output.",
};

/// Options of tcpdump, for watch and capture.
const TCPDUMP: Section = Section {
    title: "OPTIONS OF TCPDUMP",
    text: "The options -c, -e, -i, -n, -r, -v and -w, and the filter, are those of tcpdump(8). -I, -f and -q \
           are not: they select an interface, follow, and omit comments. For other letters of tcpdump the \
           error message says what to use instead. Options precede the filter.",
    items: &[],
    after: "",
};

/// watch, capture, events, neighbors, talkers, connections.
pub(super) const PAGES: &[Page] = &[
    Page {
        command: "watch",
        description: "Prints packets, one per line: live, from the record, or from a capture file. Users without \
                      the tier payload see headers; standard error says so.",
        sections: &[TIME, FILTERS, TCPDUMP],
        output: "A line has the local time, the interface, the direction (in, out, or by for a frame to \
                 another host), source > destination with ports, the innermost known protocol, VLAN tags, and \
                 a summary of the message. In brackets follow what could not be decoded, with layer, offset and \
                 reason, and a wrong checksum; and [1 of N] on a packet that stands for N, where there were more \
                 packets than the record can keep for as long as netsonde.toml(5) promises. Notes at the begin say \
                 of which times a store has such a sample. Lines that begin with # are comments of a packet and notes such \
                 as gaps, whose times are local too, with the date if it differs from that of the packets; \
                 -q omits them. With -e the addresses, tags, EtherType and length of the link-layer header \
                 precede the source. With -v a second line has what the first one omits: identifiers, flags, \
                 options, lengths, and checksums with their state (correct, wrong, left to hardware, not \
                 verified); the addresses of ARP; all records of IGMP and MLD reports; the options of \
                 neighbor discovery. If packets were evicted before they could be read, standard error \
                 says how many.",
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &[
                    "time",
                    "interface",
                    "direction?",
                    "length_bytes",
                    "captured_bytes",
                    "link_source?",
                    "link_destination?",
                    "vlan?",
                    "vlans?",
                    "mpls_labels?",
                    "source?",
                    "destination?",
                    "source_port?",
                    "destination_port?",
                    "ttl?",
                    "inner?",
                    "cast?",
                    "protocol",
                    "protocols",
                    "server_name?",
                    "service?",
                    "summary",
                    "problem?",
                    "bad_checksum?",
                    "dropped_before?",
                    "stands_for?",
                    "comments?",
                    "note?",
                ],
                text: "One object per packet. direction is `in' or `out'; length_bytes is the length on the \
                       wire, captured_bytes what was recorded of it; cast is unicast, multicast or broadcast; \
                       protocols lists all layers from the outside, protocol the innermost; service is the \
                       name of a known port; vlan is the outer tag and vlans has all; inner has the addresses \
                       within a tunnel, and within another one an inner of its own; server_name is that of a \
                       TLS or DTLS client hello; bad_checksum names the layer whose checksum is wrong; \
                       dropped_before counts packets lost before this one; stands_for is N if the packet is one of \
                       a sample, of 1 of N packets. A gap or another note is an object \
                       with the key note only.",
            },
            Keys {
                at: "inner",
                keys: &[
                    "source",
                    "destination",
                    "source_port?",
                    "destination_port?",
                    "ttl",
                    "inner?",
                ],
                text: "The packet within a tunnel.",
            },
            Keys {
                at: "problem",
                keys: &["kind?", "layer?", "offset?", "reason?"],
                text: "What could not be decoded. kind is truncated, malformed or unknown; offset is in bytes \
                       from the start of the frame.",
            },
        ]),
        exit: &[
            (
                "0",
                "Packets were printed, or there are none and no option selects any.",
            ),
            (
                "1",
                "No packet matched, or none had come when the selection ended.",
            ),
        ],
        examples: &[
            example(
                "Show what happened on the link in the last five minutes.",
                "netsonde watch --last 5m --store link",
            ),
            example(
                "Show the next ten ICMP or ARP packets.",
                "netsonde watch -c 10 'icmp or arp'",
            ),
            Example {
                purpose: "Show everything about one group, from the past and from now on.",
                commands: "netsonde watch --last 10m --follow --group 239.1.1.1",
                run: Run::UntilInterrupted,
            },
            example(
                "Show ICMP errors that this host received.",
                "netsonde watch --last all --proto icmp --direction in",
            ),
            example(
                "Show the packets of one host, also those within tunnels.",
                "netsonde watch --last all --inner --host 192.0.2.7",
            ),
            example(
                "Show the next two packets with link-layer header and further fields, as with tcpdump.",
                "netsonde watch -c 2 -env -i eth0 'icmp or arp'",
            ),
            example(
                "Decode a capture file, without the service.",
                "netsonde watch --read trace.pcap 'icmp6 or arp'",
            ),
            example(
                "Count packets per protocol in a script.",
                "netsonde --json watch --last 1m | grep -o '\"protocol\":\"[^\"]*\"' | sort | uniq -c",
            ),
        ],
        see_also: "netsonde-capture(1), netsonde-events(1), netsonde.toml(5), pcap-filter(7), tcpdump(8)",
        ..Page::EMPTY
    },
    Page {
        command: "capture",
        description: "Writes packets to a pcapng file for Wireshark. The selection is that of netsonde-watch(1). \
                      The file keeps interfaces, directions, drop counts and gaps. With -r it copies the \
                      selected packets of another capture file, with the link type of each interface.",
        sections: &[WRITING, TIME, FILTERS, TCPDUMP],
        output: "Standard error reports the number of packets written, and packets that were evicted before they \
                 could be read. A file without packets has one interface, so that tcpdump(8) reads it.",
        exit: &[
            ("0", "The file was written."),
            ("1", "The file was written, and no packet matched."),
            (
                "2",
                "It was not, for example because the caller lacks the tier payload; --headers writes headers.",
            ),
        ],
        examples: &[
            example(
                "Save the last two minutes of a stream for Wireshark.",
                "netsonde capture --last 2m -w stream.pcapng 'udp port 5000'",
            ),
            example(
                "Save everything that is recorded, without payload.",
                "netsonde capture --last all --headers -w headers.pcapng",
            ),
            example(
                "Pipe the next packets of an interface into another program.",
                "netsonde capture -c 5 -I eth0 -w - | wc -c",
            ),
        ],
        see_also: "netsonde-watch(1), netsonde.toml(5), pcap-filter(7), wireshark(1), dumpcap(1)",
        ..Page::EMPTY
    },
    Page {
        command: "events",
        description: "Shows the event log of netsonded(8): changes of links and addresses, address conflicts, \
                      queriers, streams and losses, gaps in the record, packet sockets of other programs, and \
                      limits that were reached. netsonde-events(7) describes each kind. The log survives \
                      restarts of the engine and, under systemd, of the service.\n\n\
                      With --follow new events are printed as they happen; if the service is restarted, \
                      netsonde reconnects for up to ten seconds and continues after the last event shown.\n\n\
                      With --since, --until or --last, events that netsonded has no more come from the log of \
                      netsonde-historian(8), which keeps them for a year; an event that both have is shown once. Only \
                      the historian logs the kinds of the category monitor: outage_began, outage_ended, path_changed and \
                      target_address_changed. If \
                      the historian does not answer, and the time begins before the log of netsonded, a line on \
                      standard error says so. --follow asks netsonded alone.",
        output: "A line has the local time, severity, kind, interface and a sentence. With -v a second line has \
                 the netsonde-watch(1) command that shows the packets of the event, if there are any, and of a path that \
                 changed there are lines with its hops before and after. If \
                 nothing matches, standard error says what was looked for and how many events the log holds.",
        json: Json::Reply {
            method: "io.netsonde.Inventory.Events",
            further: &[
                Keys {
                    at: "",
                    keys: &[],
                    text: "The number of events that come from netsonde-historian(8) is 0.",
                },
                Keys {
                    at: "events[]",
                    keys: &["before?", "after?"],
                    text: "Of path_changed: the path that was, and the one that is.",
                },
                Keys {
                    at: "events[].before",
                    keys: PATH_KEYS,
                    text: "Address that was traced, since when and until when the path was seen as it is, whether the target \
                       answered, and the hops that did: TTL, addresses, number of answers, and the error with which a \
                       hop refused the probes.",
                },
                Keys {
                    at: "events[].before.hops[]",
                    keys: HOP_KEYS,
                    text: "",
                },
                Keys {
                    at: "events[].after",
                    keys: PATH_KEYS,
                    text: "",
                },
                Keys {
                    at: "events[].after.hops[]",
                    keys: HOP_KEYS,
                    text: "",
                },
            ],
        },
        exit: &[
            (
                "0",
                "Events were printed, or the log is empty and no option selects any.",
            ),
            ("1", "No event matched the options."),
        ],
        examples: &[
            example("Show the log.", "netsonde events"),
            example(
                "Show the events of the last night.",
                "netsonde events --since 'yesterday 22:00' --until now",
            ),
            Example {
                purpose: "Print what happens from now on.",
                commands: "netsonde events --follow",
                run: Run::UntilInterrupted,
            },
            example(
                "Show the warnings of the last hour.",
                "netsonde events --last 1h -s warning",
            ),
            example(
                "Show events about hosts on one link, with the commands that show their packets.",
                "netsonde -v events neighbor -I eth0",
            ),
            example(
                "List address conflicts in a script.",
                "netsonde --json events address_conflict",
            ),
        ],
        see_also: "netsonde-watch(1), netsonde-neighbors(1), netsonded(8), netsonde-events(7), journalctl(1)",
        ..Page::EMPTY
    },
    Page {
        command: "neighbors",
        description: "Lists the hosts on each link as their packets show them: ARP, neighbor discovery, IGMP and \
                      MLD, DHCP, mDNS, LLMNR and NetBIOS names, LLDP and CDP, spanning tree, routing protocols, \
                      and any other packet. Nothing is sent. A router that forwards packets of other hosts is \
                      listed as one host.\n\n\
                      An address on its own is no proof of identity: names are claims that any host can make, \
                      so each is listed with the protocol that carried it.",
        sections: &[Section {
            title: "CONFLICTS",
            text: "Above the table, netsonde reports:",
            items: &[
                (
                    "conflict",
                    "Two hosts have the address: both answered the same question, or each claims it again \
                     after the other without an announcement, or another host claims an address of this host. A \
                     conflict is over when one of the two has not claimed the address for an hour.",
                ),
                (
                    "duplicate",
                    "A host wanted the address and found it in use, by ARP probes (RFC 5227) or duplicate \
                     address detection (RFC 4862). It did not take the address, so nothing is disturbed.",
                ),
                (
                    "moved",
                    "The address moved to another MAC address, and the first host stopped using it: a standby \
                     took over, a bond changed its port, a lease was given to another host. This is not a \
                     fault.",
                ),
            ],
            after: "A further line, `two masters', names two routers that both advertise themselves as master of one \
                    virtual router (VRRP, HSRP, CARP), and so do not receive each other's advertisements. A \
                    router that takes over from another one is not reported.\n\n\
                    Behind a switch, replies to other hosts do not reach this host. A conflict between two \
                    other hosts therefore shows when this host asks for the address, which netsonde-ping(1) \
                    does, or when both ask for other addresses.",
        }],
        output: "After conflicts follows a table for each interface, sorted by address, and then the addresses for \
                 which this host's kernel found no neighbor: one by one, or, if there are many and without -v, \
                 their number and range.",
        columns: &[
            ("ADDRESS", "One row per address of a host."),
            ("MAC", "Link-layer address."),
            (
                "VENDOR",
                "Assignee of the MAC address, from the first of these files that is installed: oui.txt of \
                 ieee-data, manuf of Wireshark, nmap-mac-prefixes of nmap, ieee-oui.txt of arp-scan, \
                 20-OUI.hwdb of systemd. `local' is a MAC address that no vendor assigned, as those of virtual \
                 machines and of phones that randomize it.",
            ),
            ("NAME", "Names, each with its protocol."),
            (
                "ROLE",
                "For example gateway, router, querier, DHCP server, bridge. `proxy ARP for ADDRESSES' and `ND proxy' \
                 answer for other hosts and forward their packets; with `(consistent)', a host answers for \
                 several addresses of which nothing else was seen.",
            ),
            ("HEARD BY", "Protocols that revealed the host."),
            (
                "FIRST",
                "Time since the host was first seen with this address. For plain traffic it is exact to one \
                 second.",
            ),
            ("LAST", "Time since it was last seen."),
            (
                "KERNEL",
                "With -v: the entry in this host's own neighbor table, and whether it has another MAC address.",
            ),
        ],
        json: Json::Reply {
            method: "io.netsonde.Inventory.Neighbors",
            further: &[
                Keys {
                    at: "",
                    keys: &["vendors"],
                    text: "",
                },
                Keys {
                    at: "vendors{}",
                    keys: &[],
                    text: "Vendor by MAC address, where a list is installed.",
                },
            ],
        },
        exit: &[
            ("0", "No conflict is current."),
            (
                "1",
                "A conflict of an address, or of two masters, is current, or no neighbor matched the arguments.",
            ),
        ],
        examples: &[
            example("List the hosts on all links.", "netsonde neighbors"),
            example(
                "Show one host, by address, MAC address or name.",
                "netsonde neighbors 192.0.2.7",
            ),
            example(
                "Compare one link with the kernel's neighbor table.",
                "netsonde -v neighbors -I eth0",
            ),
        ],
        see_also: "netsonde-ping(1), netsonde-events(1), ip-neighbour(8), arp(7)",
    },
    Page {
        command: "talkers",
        description: "Lists the flows with the most bytes or packets over a time window, with the process on \
                      this host at one end. The table of flows has a fixed size: if more flows compete, the \
                      largest stay, and the output states how large a missing flow can have been. Counting \
                      starts anew with each engine; the reported window says since when.\n\n\
                      A packet that this host carries on crosses several interfaces: a container's, the \
                      bridge, the uplink. It is one packet, and its flow one row with all these interfaces. \
                      What a bridge copies to its ports counts once. Address translation makes two flows of \
                      one. With --by-interface or -I, each interface has its own row and count.\n\n\
                      Processes are looked up by the client, within the caller's permissions.",
        output: "The first line has the sums over all flows. If flows were evicted, the second line states the \
                 upper bound for each of them.",
        columns: &[
            ("Mbit/s", "Rate over the window, by lengths on the wire."),
            ("%", "Share of all bytes."),
            ("PACKETS", "Packets."),
            (
                "INTERFACES",
                "Interfaces that the flow crossed, in the order of its packets; without -v the first four.",
            ),
            ("IF", "With --by-interface or -I: the interface."),
            (
                "DIR",
                "in or out; fwd if it came in on one interface and went out on another.",
            ),
            (
                "PROTO",
                "Transport protocol, or the EtherType of packets that are not IP.",
            ),
            (
                "SOURCE",
                "Address and port, with the name of a known port; the sender of ARP.",
            ),
            (
                "DESTINATION",
                "The same; of ARP, the address that is asked for or answered.",
            ),
            (
                "PROCESS",
                "Name and PID of the process at this host's end; - if unknown.",
            ),
            ("BYTES", "With -v: bytes counted."),
            (
                "AT MOST",
                "With -v: bytes that the flow may have had in addition.",
            ),
        ],
        json: Json::Reply {
            method: "io.netsonde.Inventory.Talkers",
            further: &[Keys {
                at: "talkers[]",
                keys: &["process?", "pid?"],
                text: "",
            }],
        },
        exit: &[
            ("0", "The flows were printed."),
            ("1", "With -I: no flow on that interface."),
        ],
        examples: &[
            example(
                "Show the top flows of the last ten seconds.",
                "netsonde talkers",
            ),
            example(
                "Show the five flows with the most packets of the last minute on one interface.",
                "netsonde talkers --window 1m --by packets -n 5 -I eth0",
            ),
            example(
                "Show them on each interface.",
                "netsonde talkers --window 1m --by-interface",
            ),
            example(
                "Print the same for a script.",
                "netsonde --json talkers --window 1m",
            ),
        ],
        see_also: "netsonde-sockets(1), netsonde-watch(1), ss(8)",
        ..Page::EMPTY
    },
    Page {
        command: "connections",
        description: "Lists the TCP connections of the last five minutes, or of the time that --last, --since and --until \
                      give, from the packets that netsonded and netsonde-historian(8) have recorded; with --read, \
                      those of a capture file. Nothing is sent. Each connection has its fate, the round trip of its \
                      handshake on each side of this host, and the process that has its socket. With --names the \
                      questions to name servers are listed instead.\n\n\
                      The oldest comes first, the newest last. A connection that lies partly in the time is shown, and \
                      packets of up to two minutes before it are read for its begin. A packet that this host carries \
                      from one interface to another is one packet. Address translation makes two connections of \
                      one.\n\n\
                      Processes are looked up by the client, within the caller's permissions, among the sockets that exist now. \
                      A connection that is gone has no socket, so its process is not known. Users without the tier payload get \
                      no questions to name servers, since these are payload.",
        sections: &[
            Section {
                title: "FATES",
                text: "The fate is that at the end of the packets:",
                items: &[
                    (
                        "opening",
                        "The first SYN was sent less than a second before, and has no answer.",
                    ),
                    ("unanswered", "No SYN has an answer."),
                    (
                        "refused",
                        "The answer is an RST that acknowledges the SYN, or an ICMP error that quotes it: then by the \
                         host that sent the error.",
                    ),
                    (
                        "answered",
                        "The SYN was answered, and no acknowledgment of that is recorded. If the answer was sent \
                         again, it did not arrive.",
                    ),
                    ("established", "Open."),
                    (
                        "half closed",
                        "One end has closed its side (FIN), the other one has not.",
                    ),
                    (
                        "closed",
                        "Both ends have closed; by the end that did so first.",
                    ),
                    (
                        "reset",
                        "By the end that the RST has as its source. If other packets of that host have other TTLs at \
                         the same place, another host may have sent it, and both are shown.",
                    ),
                ],
                after: "Only what an end would accept counts. An RST or FIN outside the window, an answer that \
                        acknowledges another SYN, and an error that quotes another sequence number change nothing and \
                        are counted as ignored. An RST within the window without the number that its receiver expects \
                        counts unless the connection goes on.",
            },
            Section {
                title: "WHAT IS NOT RECORDED",
                text: "SYN, FIN and RST, hellos of TLS and first lines of text protocols are in the store \
                       connections, which reaches back longer than bulk, where all other segments are. From bulk come the \
                       acknowledgment of the handshake, so CLIENT RTT, and the first byte of other protocols. What was \
                       evicted, or thinned in a flood, is missing: the command then shows a dash, or says that the \
                       begin is not recorded. The last lines say what each store does not hold, in packets. DNS over \
                       TCP is read where a segment begins with a whole message.",
                items: &[],
                after: "The command remembers 65,536 connections of which both ends have accepted packets, and 24,576 other attempts \
                        of this host and of others each. A flood of SYNs evicts only the newest of such attempts; they are \
                        counted.",
            },
        ],
        output: "Below the table a line counts the connections by fate, and the questions. Lines that begin with `not \
                 recorded' say what the packets lack.",
        columns: &[
            ("BEGIN", "Local time of the first packet."),
            ("SOURCE", "Address and port of the end that began."),
            (
                "DESTINATION",
                "Those of the other end, with the name of a known port; -n leaves it out.",
            ),
            (
                "NAME",
                "Name for which a name server had returned this address before; with --names, the name asked for.",
            ),
            (
                "PROCESS",
                "Name and PID of the process at this host's end; - if unknown.",
            ),
            (
                "CLIENT RTT",
                "Time from the answer to the SYN at this host to its acknowledgment: the side of the client.",
            ),
            (
                "SERVER RTT",
                "Time from the SYN at this host to its answer: the side of the server. If the SYN was sent again, \
                 from the one that the answer's time stamp echoes; - if there is none.",
            ),
            (
                "FIRST BYTE",
                "Time from the client's first byte to the server's; if the server speaks first, from the handshake.",
            ),
            (
                "INTERFACES",
                "With -v: interfaces that the connection crosses, in the order of the client's packets.",
            ),
            ("SENT", "With -v: bytes of the client, by sequence numbers."),
            ("RECEIVED", "With -v: bytes of the server."),
            (
                "FATE",
                "What became of it, after how long, and what is remarkable: SYNs sent again, errors, packets that \
                 were ignored.",
            ),
            ("ASKED", "With --names: local time of the first query."),
            ("CLIENT", "With --names: address that asked."),
            ("SERVER", "With --names: address of the name server."),
            ("TYPE", "With --names: type of the records asked for."),
            (
                "TOOK",
                "With --names: time from the first query to the answer.",
            ),
            (
                "ANSWER",
                "With --names: names and addresses, or what is wrong.",
            ),
        ],
        json: Json::Own(&[
            Keys {
                at: "",
                keys: &[
                    "from?",
                    "to",
                    "connections",
                    "fates",
                    "names",
                    "not_recorded",
                ],
                text: "fates counts the connections listed. not_recorded has sentences.",
            },
            Keys {
                at: "fates",
                keys: &[
                    "opening",
                    "unanswered",
                    "refused",
                    "answered",
                    "established",
                    "half_closed",
                    "closed",
                    "reset",
                ],
                text: "",
            },
            Keys {
                at: "connections[]",
                keys: &[
                    "time",
                    "end",
                    "source",
                    "source_port",
                    "destination",
                    "destination_port",
                    "name?",
                    "process?",
                    "pid?",
                    "fate",
                    "by?",
                    "after_ns?",
                    "words",
                    "role?",
                    "interfaces",
                    "begin_recorded",
                    "direction_known?",
                    "handshake_ns?",
                    "client_handshake_ns?",
                    "connect_ns?",
                    "first_byte_ns?",
                    "retransmits",
                    "retransmitted?",
                    "answer_retransmits?",
                    "sent_bytes?",
                    "received_bytes?",
                    "reset?",
                    "errors?",
                    "ignored?",
                    "simultaneous?",
                    "sampled?",
                ],
                text: "time and end are those of the first and the last recorded packet. by is client or server, the end that \
                       closed or reset, after_ns the time from the first packet to that or to the refusal. role is that of this host: client, \
                       server, local (both ends are here), forwards or observes. direction_known is false if the begin is not \
                       recorded, and the lower port was taken for the server. handshake_ns is SERVER RTT, \
                       client_handshake_ns CLIENT RTT, connect_ns the time from the first SYN to the answer. retransmits \
                       counts SYNs sent again, retransmitted has the times of the first seven. ignored counts packets and \
                       errors with numbers that no end accepts. sampled: some of its segments stand for others that were \
                       counted, not recorded.",
            },
            Keys {
                at: "connections[].reset",
                keys: &["time", "from", "ttl", "other_ttls?"],
                text: "The RST. other_ttls are those of other packets of that host, if none is the same.",
            },
            Keys {
                at: "connections[].errors[]",
                keys: &["time", "from", "type", "code", "meaning", "count"],
                text: "ICMP errors about its packets.",
            },
            Keys {
                at: "names[]",
                keys: &[
                    "time",
                    "client",
                    "client_port",
                    "server",
                    "server_port",
                    "protocol",
                    "name",
                    "type",
                    "queries",
                    "code?",
                    "answer",
                    "duration_ns?",
                    "error?",
                    "truncated?",
                ],
                text: "queries is 0 if only the answer is recorded. error is the response code, an ICMP error, or `no \
                       answer'; it is absent within a second of the first query.",
            },
        ]),
        exit: &[
            ("0", "The connections or questions were listed."),
            ("1", "Options select some, and there is none."),
        ],
        examples: &[
            example(
                "List the connections of the last five minutes.",
                "netsonde connections",
            ),
            example(
                "List those that failed in the last hour.",
                "netsonde connections --last 1h --failed",
            ),
            example(
                "Show which handshakes, first bytes and name servers took 200 ms or more.",
                "netsonde connections --slow 200ms",
            ),
            example(
                "List the questions to name servers that failed.",
                "netsonde connections --names --failed",
            ),
            example(
                "List the connections to a host, by address or by a name that was looked up.",
                "netsonde connections --host 192.0.2.8",
            ),
            example(
                "List those in a capture file, as JSON.",
                "netsonde --json connections --read trace.pcap",
            ),
        ],
        see_also: "netsonde-talkers(1), netsonde-watch(1), netsonde-doctor(1), ss(8)",
    },
];
