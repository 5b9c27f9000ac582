//! SHELL. Manual page of `netsonde trace`.

use super::{Example, Json, Keys, Page, Run, Section, example};

/// trace.
pub(super) const PAGES: &[Page] = &[Page {
    command: "trace",
    description: "Shows the path to a host: the routers on it with their round trips, all equal ways, and where packets \
                  are lost, refused or changed. Needs no privilege; [ping] in netsonde.toml(5) has the limits.\n\n\
                  Probes are UDP datagrams to ports from 33434 on, or to one port; TCP segments that ask for a connection; \
                  or echo requests. Those of one flow differ in nothing that a router may use to choose among equal ways: \
                  addresses and ports are the same, and of echo requests identifier and ICMP checksum. Routers that hash \
                  addresses only for ICMP, as Linux does, send all echo requests the same way. A target that drops UDP \
                  may answer --tcp or --icmp.\n\n\
                  All TTLs of one flow are sent in a window, and further flows until a further way, as likely as those \
                  that are known, would have shown with a probability of 95 %. This takes 6 probes at a hop with one \
                  address, 11 with two, 16 with three, 21 with four and 44 with eight. An address is behind another one \
                  if the same flow passed both; nothing is concluded from different flows.\n\n\
                  A router that does not answer every probe is no router that loses packets. Loss is told where a hop and \
                  all hops behind it miss answers. A hop that misses answers is probed with twenty probes at once and \
                  with three at one a second, as are the hops behind it: a limit of answers passes a number a second, \
                  loss takes a share at any rate. The router itself is pinged, too. --fast leaves this out.\n\n\
                  --mtu sends echo requests of several lengths, unfragmented, to each hop that answers. A router that reports \
                  the MTU of its next link is checked with packets of that length and one byte longer. Where longer \
                  packets vanish without an error, the longest that pass are searched, to the byte.\n\n\
                  --compare shows beside it what has changed since a time: netsonde-historian(8) remembers the paths to \
                  the networks of its targets (IPv4 /24, IPv6 /64), for any host of which it can be asked. It compares with \
                  the last path before that time in which the target answered. Other addresses at a hop are a change if \
                  they cannot be equal ways that were not seen: the number of answers decides. The time is when the \
                  historian first saw the present ones.\n\n\
                  Routers may have said something about the target before anyone asked. Errors in the record that other \
                  traffic to it drew (time exceeded, fragmentation needed, unreachable) are listed below the summary, the \
                  newest first, with the time of the last one. Those that netsonde's own probes drew are left out, as are \
                  those of echo requests and of TCP segments without data and options, as --like sends them. The record in memory is read, not what netsonde-historian(8) keeps.\n\n\
                  --continuous sends a probe to each hop, round after round, and shows one line per hop: on a terminal in \
                  place, otherwise once at the end, as mtr --report does. All probes are of one flow, so another way of equal cost \
                  is no change; a hop whose address changes, one that begins to answer, and a target that becomes silent \
                  or answers again are listed with the time. If the service is restarted the trace goes on, and says for \
                  how long no probes were sent. What is kept does not grow with the time that it runs. Loss follows one \
                  rule: what is lost on the way to a hop is missing behind it, too, so LOSS % is the smallest share of \
                  unanswered probes of a hop and of those behind it that answer. A router that limits its answers has \
                  many in MISSED, and no loss.\n\n\
                  --like takes the way of a TCP connection that lives: of all equal ways the one that its packets take, \
                  since the probes have its addresses, ports, type of service and flow label, the last two from the \
                  record. They are empty segments that acknowledge nothing, with a wrong checksum and a sequence number \
                  far from the connection's. Routers look at neither and answer; the other end drops them without an \
                  answer (TcpInCsumErrors there), so its own row is missing, and the connection does not notice. The user of the \
                  connection and root may do this. Only TCP has this: `netsonde connections' knows no UDP flows.\n\n\
                  A firewall that tracks connections may take such a segment for invalid. On this host a rule that \
                  drops invalid packets on output then stops probes, which the trace says. A router that translates addresses \
                  does not translate them (Linux with net.netfilter.nf_conntrack_checksum=1, the default): it answers \
                  itself, and hops behind it are silent, as they are behind a firewall that drops them. Of an entry of a \
                  connection table at most the timeout is renewed. Among several next hops of this host itself, the one \
                  of the connection is not known for sure: -I names an interface.",
    sections: &[Section {
        title: "REMARKS",
        text: "What was noticed on the way; `remarks' in JSON.",
        items: &[
            (
                "not-sent",
                "Probes did not leave this host, with the reason that netsonde-ping(1) would give. The path is not traced \
                 then.",
            ),
            (
                "path-ends",
                "The target did not answer: the last hop that did.",
            ),
            (
                "target-drops",
                "With --like: the last hop that answered. The target cannot answer.",
            ),
            (
                "not-recorded",
                "With --like: the record has no packet of the connection, so its type of service and flow label are not known.",
            ),
            (
                "loop",
                "The same router answers at TTLs that are not consecutive. Nothing is said of hops from there on.",
            ),
            (
                "ttl-not-decremented",
                "The same router answers at two consecutive TTLs.",
            ),
            (
                "limits-answers",
                "A hop answers a number of probes a second: proved by the two rates. Echo requests to the router itself \
                 are answered or not.",
            ),
            (
                "misses-answers",
                "A hop did not answer some probes, and hops behind it answered all.",
            ),
            (
                "loss",
                "Packets are lost from a hop on: it and all hops behind it miss answers. Of several ways, that which alone \
                 loses is named.",
            ),
            (
                "refused",
                "A router or the target refused the probes, with the meaning of its error and the MTU that it has.",
            ),
            (
                "mpls",
                "A router attached the MPLS labels with which the probe arrived (RFC 4950).",
            ),
            ("interface", "A router named its interface (RFC 5837)."),
            (
                "tos-changed",
                "A router quotes another type of service than was sent, or than the hop before got.",
            ),
            (
                "source-translated, destination-translated",
                "A router quotes an address that was not sent.",
            ),
            (
                "checksum-changed",
                "A router quotes the addresses that were sent and another checksum: a translation changed both, and \
                 put the addresses back only.",
            ),
            (
                "ttl-changed",
                "A router on the way sets the TTL: one that the TTL ended at quotes more than 1; the target got more \
                 than was sent, or the same for different TTLs; or one router answers for three TTLs or more. Nothing is \
                 said of ways back from there on.",
            ),
            (
                "per-packet",
                "Packets of one flow are answered by several addresses of a hop. Nothing is said of which of them and of \
                 the next ones belong together.",
            ),
            (
                "asymmetric",
                "The TTL of an answer is that of a way back with at least two hops more or less.",
            ),
            (
                "different-address",
                "The target, or a router that was pinged, answered from another address; or a router answered that the \
                 TTL ended with the address of the target.",
            ),
            (
                "mtu-reported",
                "With --mtu: a router reports the MTU of its next link, and this is right.",
            ),
            (
                "mtu-misreported",
                "With --mtu: a router reports an MTU, but shorter packets vanish, or longer ones pass; or its error has \
                 none.",
            ),
            (
                "mtu-black-hole",
                "With --mtu: longer packets vanish behind a hop, shorter ones pass, and no router reports an MTU.",
            ),
        ],
        after: "",
    }],
    output: "One row for each address, then the remarks, and a summary. With --compare a second table has the hops that \
             differ: addresses before and now (* if none answers), what that means, and since when it is known.",
    columns: &[
        ("HOP", "TTL of the probes."),
        ("ADDRESS", "Who answered; * if nobody did."),
        ("NAME", "Its name; not with -n."),
        ("ANSWERED", "Probes that were answered, of all to this hop."),
        (
            "WIRE ms",
            "Round trip on the wire of this host: shortest, mean and longest.",
        ),
        (
            "BEHIND",
            "Addresses of the hop before that the same flows passed; only if there are several ways.",
        ),
        (
            "STATE",
            "What missing answers mean, or the error that refused the probes.",
        ),
        (
            "MTU",
            "With --mtu, in a table of its own: longest packet that reaches the hop, in bytes.",
        ),
        (
            "LOSS %",
            "Share of packets that can have been lost up to the hop (--continuous).",
        ),
        ("SENT", "Probes whose outcome is known (--continuous)."),
        ("MISSED", "Those that were not answered (--continuous)."),
        (
            "LAST ms",
            "Last round trip on the wire of this host (--continuous).",
        ),
        ("AVG", "Mean round trip (--continuous)."),
        ("BEST", "Shortest round trip (--continuous)."),
        ("WORST", "Longest round trip (--continuous)."),
        (
            "STDEV",
            "Standard deviation of the round trips (--continuous).",
        ),
        ("LAST", "Time of the last error that other traffic drew."),
        ("TIMES", "Number of these errors."),
        ("FROM", "Their sender."),
        ("ERROR", "Their meaning, with the MTU that they report."),
        ("DRAWN BY", "The packets that drew them."),
    ],
    json: Json::Own(&[
        Keys {
            at: "",
            keys: &[
                "target",
                "address",
                "transport",
                "port?",
                "is_interrupted",
                "is_reached",
                "probes",
                "duration_ns",
                "confidence",
                "hops",
                "links",
                "remarks",
                "compared?",
                "path_mtu?",
                "like?",
                "drawn?",
            ],
            text: "The trace: the target as it was given and its address, the protocol of the probes (`echo', `udp' or `tcp') and their destination port if all have the same, whether a \
                   signal ended it, whether the target answered, number of probes, time until the last answer, \
                   probability with which all equal ways of an explored hop are found.",
        },
        Keys {
            at: "hops[]",
            keys: &[
                "hop",
                "nodes",
                "sent",
                "answered",
                "unanswered_percent",
                "verdict",
                "rates?",
                "is_explored",
            ],
            text: "A hop. `verdict' is `answers', `silent', `limits_answers', `misses_answers' or `lossy'; `rates' has the \
                   probes at once and those at one a second; `is_explored' is whether enough flows were answered for the \
                   stated confidence.",
        },
        Keys {
            at: "hops[].rates[]",
            keys: &["sent", "answered"],
            text: "Probes and answers at one rate.",
        },
        Keys {
            at: "hops[].nodes[]",
            keys: &[
                "address",
                "name?",
                "flows",
                "answers",
                "rtt_ns?",
                "wire_rtt_ns?",
                "ttl?",
                "return_hops?",
                "error?",
                "mtu?",
                "labels?",
                "interfaces?",
                "quote?",
                "pinged?",
            ],
            text: "An address. `return_hops' is how many hops the answer took, if it was sent with a TTL of 64, 128 or 255. \
                   `labels', `interfaces' and `quote' are those of Label, Interface and Quote in io.netsonde.Trace.",
        },
        Keys {
            at: "hops[].nodes[].rtt_ns",
            keys: &["min", "avg", "max"],
            text: "Round trips as programs see them.",
        },
        Keys {
            at: "hops[].nodes[].wire_rtt_ns",
            keys: &["min", "avg", "max"],
            text: "Round trips on the wire of this host.",
        },
        Keys {
            at: "hops[].nodes[].quote",
            keys: &[
                "ttl",
                "tos",
                "length",
                "ip_id?",
                "source?",
                "destination?",
                "checksum?",
            ],
            text: "What the address quoted of the last probe.",
        },
        Keys {
            at: "hops[].nodes[].pinged",
            keys: &["sent", "answered", "from?"],
            text: "Echo requests to the address itself, their replies, and the address of these if it is another one.",
        },
        Keys {
            at: "hops[].nodes[].labels[]",
            keys: &["label", "class", "bottom", "ttl"],
            text: "An MPLS label.",
        },
        Keys {
            at: "hops[].nodes[].interfaces[]",
            keys: &["role", "index?", "address?", "name?", "mtu?"],
            text: "An interface.",
        },
        Keys {
            at: "links[]",
            keys: &["hop", "from", "to"],
            text: "Two addresses that the same flow passed, of the hop and the next one, where one of them has several.",
        },
        Keys {
            at: "compared",
            keys: &["target", "network", "since", "until", "reached", "hops"],
            text: "With --compare: the path that is remembered, with the target that was traced, the network for which it \
                   stands, and whether the target answered. It was seen as it is from `since' until `until'.",
        },
        Keys {
            at: "compared.hops[]",
            keys: &["hop", "relation", "before", "now", "since?"],
            text: "A hop of either path. `relation' is `same', `changed', `uncertain' (they may be equal ways), `silent_now' or \
                   `silent_before'; `since' is when the historian first saw the present addresses.",
        },
        Keys {
            at: "remarks[]",
            keys: &["id", "hop?", "text"],
            text: "A remark; hop 0 is this host.",
        },
        Keys {
            at: "path_mtu",
            keys: &["mtu?", "first", "probes", "hops", "narrow"],
            text: "With --mtu: longest packet that reaches the target, if it answers; MTU of the interface of this host; \
                   and number of probes.",
        },
        Keys {
            at: "path_mtu.hops[]",
            keys: &["hop", "address?", "mtu"],
            text: "A hop that answers all probes, and the longest packet that reaches it. Without an address it has several.",
        },
        Keys {
            at: "path_mtu.narrow[]",
            keys: &[
                "after",
                "before",
                "mtu",
                "tried",
                "how",
                "router?",
                "reported?",
            ],
            text: "A link between two hops that carries shorter packets: the longest that pass, and the length that did \
                   not. `how' is `reported' (by the router, with this MTU), `misreported' (with another one; 0 if its error \
                   has none) or `silent'.",
        },
        Keys {
            at: "like",
            keys: &[
                "source",
                "source_port",
                "destination",
                "destination_port",
                "state",
                "tos?",
                "flow_label?",
                "ttl?",
            ],
            text: "The connection of --like: its end here and the other one, state of the socket, type of service and flow \
                   label of its packets, and the TTL with which those of the other end arrive, as far as recorded.",
        },
        Keys {
            at: "",
            keys: &[
                "round",
                "time",
                "changes",
                "change_count",
                "unsent",
                "unsent_reason?",
            ],
            text: "With --continuous one object per round: number of the round, time of writing, the last 16 changes and \
                   the number of all, probes that did not leave this host and why. `target', `address', `transport', \
                   `port', `is_reached' and `hops' are there as well, `drawn' in the first object.",
        },
        Keys {
            at: "hops[]",
            keys: &[
                "address?",
                "name?",
                "addresses",
                "changed",
                "loss_percent",
                "state",
                "rtt_ns?",
                "wire_rtt_ns?",
            ],
            text: "With --continuous, besides `hop', `sent', `answered' and `unanswered_percent': address of the last \
                   answer, number of addresses (up to 8), how often it changed, share that can have been lost; `state' \
                   is `answers', `silent', `now_silent', `misses_answers', `lost_or_limited' or `lossy'.",
        },
        Keys {
            at: "hops[].rtt_ns",
            keys: &["last", "avg", "min", "max", "stddev"],
            text: "Round trips as programs see them, since the start.",
        },
        Keys {
            at: "hops[].wire_rtt_ns",
            keys: &["last", "avg", "min", "max", "stddev"],
            text: "Round trips on the wire of this host, since the start.",
        },
        Keys {
            at: "changes[]",
            keys: &["time", "id", "hop?", "text"],
            text: "A change: `hop-changed', `hop-answers', `target-silent', `target-answers', `paused' or `resumed'.",
        },
        Keys {
            at: "drawn[]",
            keys: &[
                "time",
                "first_time",
                "count",
                "from",
                "type",
                "code",
                "meaning",
                "mtu?",
                "protocol",
                "source",
                "source_port?",
                "destination_port?",
            ],
            text: "Errors that other traffic drew: time of the last and of the first one, number, sender, what they say; and \
                   the packets that drew them: `tcp', `udp' or another protocol's number, source of the last one, \
                   destination port. Missing if the record could not be read.",
        },
    ]),
    exit: &[
        ("0", "The target answered, or with --like a router."),
        ("1", "The target did not answer, or with --like no router."),
        ("2", "No probe left this host, or none could be sent."),
    ],
    examples: &[
        example("Show the path to a host.", "netsonde trace 192.0.2.7"),
        example(
            "The same, quickly: without names, and without the test at two rates.",
            "netsonde trace -n --fast 192.0.2.7",
        ),
        example(
            "See what a web server's clients see on their way.",
            "netsonde trace --tcp 443 192.0.2.7",
        ),
        example(
            "Follow one flow, three probes to each hop, as traceroute does.",
            "netsonde trace --flows 1 192.0.2.7",
        ),
        example(
            "See where expedited forwarding is taken away.",
            "netsonde trace -n -Q 0xb8 192.0.2.7",
        ),
        example(
            "See what is different from last night.",
            "netsonde trace --compare 'yesterday 23:00' 192.0.2.7",
        ),
        example(
            "Find the link that carries shorter packets, whether a router reports it or not.",
            "netsonde trace -n --mtu 192.0.2.7",
        ),
        example(
            "Watch the path: ten rounds, five a second.",
            "netsonde trace -n --continuous -c 10 -i 0.2 192.0.2.7",
        ),
        Example {
            purpose: "See the way that a connection takes, as `netsonde connections' lists it.",
            commands: "netsonde trace --like 192.0.2.1:40000-192.0.2.7:443",
            run: Run::Not("it needs a connection; tests/trace/like.rs has them"),
        },
        example("For a script.", "netsonde --json trace -n --fast 192.0.2.7"),
    ],
    see_also: "netsonde-ping(1), netsonde-doctor(1), netsonde-outages(1), netsonde.toml(5), netsonde-historian(8), traceroute(8), mtr(8)",
}];
