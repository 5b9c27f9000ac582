//! SHELL. Manual page of `netsonde trace`.

use super::{Json, Keys, Page, Section, example};

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
                  historian first saw the present ones.",
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
    ]),
    exit: &[
        ("0", "The target answered."),
        ("1", "The target did not answer."),
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
        example("For a script.", "netsonde --json trace -n --fast 192.0.2.7"),
    ],
    see_also: "netsonde-ping(1), netsonde-doctor(1), netsonde-outages(1), netsonde.toml(5), netsonde-historian(8), traceroute(8), mtr(8)",
}];
