//! PURE. Every key of the configuration, with its default and what it is for.

/// One key.
pub struct Key {
    /// Table it stands in.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// What it does, its unit and its range.
    pub purpose: &'static str,
}

const fn key(
    table: &'static str,
    name: &'static str,
    default: &'static str,
    purpose: &'static str,
) -> Key {
    Key {
        table,
        name,
        default,
        purpose,
    }
}

/// All keys but those of `[[recorder.rule]]`, which has no default.
pub const KEYS: &[Key] = &[
    key(
        "recorder.budget",
        "link",
        "\"4 MiB\"",
        "Memory for ARP, neighbour discovery, LLDP, STP and LACP. Sizes are bytes as a number, or a string with KiB, MiB or GiB; from 256 KiB to 64 GiB for each store.",
    ),
    key(
        "recorder.budget",
        "group",
        "\"4 MiB\"",
        "Memory for IGMP, MLD and PIM.",
    ),
    key(
        "recorder.budget",
        "icmp",
        "\"6 MiB\"",
        "Memory for ICMP and ICMPv6, except neighbour discovery and MLD.",
    ),
    key(
        "recorder.budget",
        "names",
        "\"8 MiB\"",
        "Memory for DHCP, DHCPv6, DNS, mDNS, LLMNR, SSDP and NetBIOS names.",
    ),
    key(
        "recorder.budget",
        "routing",
        "\"2 MiB\"",
        "Memory for VRRP, HSRP, OSPF, EIGRP, RIP and BFD.",
    ),
    key(
        "recorder.budget",
        "connections",
        "\"8 MiB\"",
        "Memory for TCP segments with SYN, FIN or RST.",
    ),
    key(
        "recorder.budget",
        "bulk",
        "\"30 MiB\"",
        "Memory for everything else.",
    ),
    key(
        "recorder.snap",
        "link",
        "2048",
        "Most bytes kept of a packet in this store, from 64 to 16384. The control ring takes at most 2048 bytes of what it carries.",
    ),
    key("recorder.snap", "group", "2048", "As above."),
    key("recorder.snap", "icmp", "2048", "As above."),
    key("recorder.snap", "names", "2048", "As above."),
    key("recorder.snap", "routing", "2048", "As above."),
    key("recorder.snap", "connections", "256", "As above."),
    key(
        "recorder.snap",
        "bulk",
        "128",
        "As above. Longer bulk costs the host throughput: 128 bytes cost nothing measurable, whole packets about a tenth.",
    ),
    key(
        "rings",
        "control",
        "\"8 MiB\"",
        "Kernel ring for what is rare and telling. Not swappable; from 1 MiB to 4 GiB. Halved until the kernel grants it.",
    ),
    key(
        "rings",
        "bulk",
        "\"32 MiB\"",
        "Kernel ring for the rest. Its blocks of 512 KiB are handed over when full or after 20 ms, so without loss the engine may be away for 1.3 s at ordinary rates with 32 MiB, and less where they fill faster.",
    ),
    key(
        "interfaces",
        "record",
        "[]",
        "Interfaces to record, by name; * stands for any characters. Empty: all that are there and all that come.",
    ),
    key(
        "interfaces",
        "exclude",
        "[]",
        "Interfaces to leave out, by name; * stands for any characters.",
    ),
    key(
        "interfaces",
        "promiscuous",
        "[]",
        "Interfaces to set promiscuous while the service runs, by name. Empty, since it changes what the host receives: a problem may hide as long as it is on.",
    ),
    key(
        "sandbox",
        "violation",
        "\"kill\"",
        "What a system call comes to that the engine is not meant to make: kill (the engine ends with SIGSYS, and the keeper starts the next one, which loses nothing) or refuse (the call fails with EPERM: for C libraries that do the same by other calls).",
    ),
    key(
        "events",
        "journal",
        "\"notice\"",
        "How bad an event has to be to be written into the service's own log, too: info, notice, warning, or none. The log of events itself (netsonde events) holds all of them.",
    ),
    key(
        "listeners",
        "join",
        "true",
        "Join 224.0.0.1, 224.0.0.2, ff02::1 and ff02::2 on each recorded interface, as the second vantage point. These are real memberships, which the host reports to its links.",
    ),
    key(
        "permission",
        "status",
        "[\"*\"]",
        "Who may ask for the service's health, links and addresses. Lists hold users by name or number, groups with @ before them, or * for whoever the control socket lets in; at most 64 entries. Root, and who started the service by hand, may do everything. Whoever a later key names may also do this.",
    ),
    key(
        "permission",
        "probe",
        "[\"@netsonde\"]",
        "Who may see packet headers, groups, queriers, streams and neighbours, ask the doctor, and probe.",
    ),
    key(
        "permission",
        "payload",
        "[\"root\"]",
        "Who may see what packets carry. Each time is logged.",
    ),
    key(
        "permission",
        "vsock",
        "\"read\"",
        "What clients of other machines may do that come by AF_VSOCK, where netsonded-vsock.socket is enabled: none, status, read (what probe may, as long as nothing is sent for it) or probe. Of them only a context number is known, which says what machine asks and not who, so nobody sees payload.",
    ),
    key(
        "control",
        "group",
        "\"netsonde\"",
        "Group, by name or number, that may use the control socket, when the service is started as root and the group exists.",
    ),
    key(
        "control",
        "clients",
        "256",
        "Most connections at a time, from 1 to 10000; never more than a quarter of the descriptors that the process may have.",
    ),
    key(
        "control",
        "clients_per_uid",
        "16",
        "Most connections of one user at a time; at most control.clients, to which the default gives way.",
    ),
    key(
        "ping",
        "rate",
        "100000",
        "Probes a second that all users together may send.",
    ),
    key(
        "ping",
        "rate_per_uid",
        "20000",
        "Probes a second that one user may send, other than root and the service's own user; at most ping.rate, to which the default gives way.",
    ),
    key(
        "ping",
        "interval_ms",
        "2",
        "Shortest interval between the probes of one target for users other than root, in milliseconds; a flood is held to it, too.",
    ),
    key(
        "ping",
        "targets",
        "131072",
        "Most targets of one run; each takes about 500 bytes while the run lasts.",
    ),
    key(
        "ping",
        "runs_per_uid",
        "32",
        "Most runs of one user at a time.",
    ),
    key(
        "ping",
        "in_flight",
        "262144",
        "Most probes of all users that wait for their reply; each takes about 150 bytes.",
    ),
];

/// A configuration file that holds every key as a comment.
pub fn default_file() -> String {
    let mut text = String::from(
        "# netsonde.toml - configuration of netsonded; see netsonde.toml(5).\n\
         # Every key is shown with its default.\n",
    );
    let mut table = "";
    for key in KEYS {
        if key.table != table {
            table = key.table;
            text.push_str(&format!("\n[{table}]\n"));
        }
        text.push_str(&format!("# {} = {}\n", key.name, key.default));
    }
    text.push_str(
        "\n# Own rules: what is named here goes into that store; later rules win.\n\
         # [[recorder.rule]]\n# store: \"names\"\n# udp_ports: [5000]\n\
         # tcp_ports: [], ip_protocols: [], ethertypes: []\n",
    );
    text
}
