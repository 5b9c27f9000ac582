//! SHELL. Manual pages of the commands that show recorded packets and what was derived from them.

use super::{Example, Json, Keys, Page, Run, Section, example};

/// The filter language, for watch and capture.
const FILTERS: Section = Section {
    title: "FILTERS",
    text: "FILTER is written in the language of pcap-filter(7). The client compiles it with libpcap, which is \
           loaded when it is needed; the service verifies the program and runs it. On a live interface three \
           words differ from libpcap's meaning for files:",
    items: &[
        (
            "vlan, vlan N",
            "Match either of the first two tags, without changing the offsets of the rest of the filter. \
             Filters without `vlan' match tagged frames as well.",
        ),
        (
            "icmp6",
            "Also matches MLD, which follows a hop-by-hop header.",
        ),
        ("mld", "Matches MLD. This word is netsonde's own."),
    ],
    after: "The options --host, --port, --proto, --group, --vlan, --store, --direction and -I do without libpcap.",
};

/// Selection of packets by time, for watch and capture.
const TIME: Section = Section {
    title: "TIME",
    text: "Without --last, --since and --until only new packets are taken. With one of them the command ends \
           with the newest recorded packet, or at --until; --follow continues with new packets.",
    items: &[],
    after: "",
};

/// watch, capture, events, neighbors, talkers.
pub(super) const PAGES: &[Page] = &[
    Page {
        command: "watch",
        description: "Prints packets, one per line: live, from the record, or from a capture file. Users without \
                      the tier payload see headers; standard error says so.",
        sections: &[TIME, FILTERS],
        output: "A line has the local time, the interface, the direction (in, out, or by for a frame to \
                 another host), source > destination with ports, the innermost known protocol, VLAN tags, and \
                 a summary of the message. In brackets follow what could not be decoded, with layer, offset and \
                 reason, and a wrong checksum. Lines that begin with # are comments of a packet and notes such \
                 as gaps; -q omits them. If packets were evicted before they could be read, standard error \
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
                    "source?",
                    "destination?",
                    "source_port?",
                    "destination_port?",
                    "ttl?",
                    "cast?",
                    "protocol",
                    "protocols",
                    "service?",
                    "summary",
                    "problem?",
                    "bad_checksum?",
                    "dropped_before?",
                    "comments?",
                    "note?",
                ],
                text: "One object per packet. direction is `in' or `out'; length_bytes is the length on the \
                       wire, captured_bytes what was recorded of it; cast is unicast, multicast or broadcast; \
                       protocols lists all layers from the outside, protocol the innermost; service is the \
                       name of a known port; bad_checksum names the layer whose checksum is wrong; \
                       dropped_before counts packets lost before this one. A gap or another note is an object \
                       with the key note only.",
            },
            Keys {
                at: "problem",
                keys: &["kind?", "layer?", "offset?", "reason?"],
                text: "What could not be decoded. kind is truncated, malformed or unknown; offset is in bytes \
                       from the start of the frame.",
            },
        ]),
        exit: &[("0", "The selection was printed, even if it was empty.")],
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
                      selected packets of another capture file.",
        sections: &[TIME, FILTERS],
        output: "On a terminal, standard error reports the number of packets written; it also reports packets \
                 that were evicted before they could be read.",
        exit: &[
            ("0", "The file was written."),
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
                      netsonde reconnects for up to ten seconds and continues after the last event shown.",
        output: "A line has the local time, severity, kind, interface and a sentence. With -v a second line has \
                 the netsonde-watch(1) command that shows the packets of the event, if there are any. If \
                 nothing matches, standard error says how many events the log holds.",
        json: Json::Reply {
            method: "io.netsonde.Inventory.Events",
            further: &[],
        },
        exit: &[("0", "The log was read, even if nothing matched.")],
        examples: &[
            example("Show the log.", "netsonde events"),
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
            after: "Behind a switch, replies to other hosts do not reach this host. A conflict between two \
                    other hosts therefore shows when this host asks for the address, which netsonde-ping(1) \
                    does, or when both ask for other addresses.",
        }],
        output: "After conflicts follow addresses for which this host's kernel found no neighbor, and the table.",
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
                "For example gateway, router, querier, DHCP server, bridge.",
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
            ("0", "No address conflict is current."),
            ("1", "An address conflict is current."),
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
];
