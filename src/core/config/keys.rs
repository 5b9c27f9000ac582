//! PURE. Table of all configuration keys with defaults and descriptions.

/// Description of one key.
pub struct Key {
    /// Table that contains it, for example `recorder.budget`.
    pub table: &'static str,
    /// Name without its table.
    pub name: &'static str,
    /// Default, in TOML syntax.
    pub default: &'static str,
    /// Text for netsonde.toml(5): effect, unit and range.
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

/// All keys except those of `[[recorder.rule]]`, which has no default.
pub const KEYS: &[Key] = &[
    key(
        "recorder.budget",
        "link",
        "\"4 MiB\"",
        "Memory for ARP, neighbor discovery, LLDP, STP and LACP. A size is a number of bytes, or a string with KiB, MiB or GiB; from 256 KiB to 64 GiB for each store.",
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
        "Memory for ICMP and ICMPv6, except neighbor discovery and MLD.",
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
        "Memory for TCP segments with SYN, FIN or RST, for hellos of TLS, and for first lines of text protocols.",
    ),
    key(
        "recorder.budget",
        "bulk",
        "\"29 MiB\"",
        "Memory for everything else.",
    ),
    key(
        "recorder.retention",
        "link",
        "\"10 min\"",
        "How far back this store reaches, whatever comes: above the rate that its memory has room for, packets are thinned, that is, counted and not stored. Kept are, in this order, packets that concern this host's gateways, queriers, addresses and groups; the first 24 of each conversation, and again after 30 s of silence; and of the rest a sample, 1 of N, larger conversations with a larger N. Packets of a sample say what they stand for, and `netsonde status' shows the share that was thinned. A number of seconds, or a string with s, min or h; from 10 s to 24 h, or 0 to store every packet and reach back as far as that allows. The tables that select packets take 648 KiB, whatever is on the wire.",
    ),
    key("recorder.retention", "group", "\"10 min\"", "As above."),
    key(
        "recorder.retention",
        "icmp",
        "\"2 min\"",
        "As above. Above 100 echo requests of `netsonde ping' a second, 1 of 64 of those that are answered in time is stored with its reply, or fewer; their packets take up to 9 MiB until that is known.",
    ),
    key("recorder.retention", "names", "\"2 min\"", "As above."),
    key("recorder.retention", "routing", "\"2 min\"", "As above."),
    key(
        "recorder.retention",
        "connections",
        "\"2 min\"",
        "As above.",
    ),
    key("recorder.retention", "bulk", "\"2 min\"", "As above."),
    key(
        "recorder.snap",
        "link",
        "2048",
        "Maximum bytes stored per packet in this store, from 64 to 16384. The control ring delivers at most 2048 bytes of a packet.",
    ),
    key("recorder.snap", "group", "2048", "As above."),
    key("recorder.snap", "icmp", "2048", "As above."),
    key("recorder.snap", "names", "2048", "As above."),
    key("recorder.snap", "routing", "2048", "As above."),
    key(
        "recorder.snap",
        "connections",
        "1536",
        "As above, for hellos of TLS, which name the server. Other segments of this store are cut to 256 bytes.",
    ),
    key(
        "recorder.snap",
        "bulk",
        "128",
        "As above. A higher value costs the host throughput: 128 bytes cost nothing measurable, whole packets about a tenth.",
    ),
    key(
        "rings",
        "control",
        "\"8 MiB\"",
        "Size of the kernel ring for control traffic (ARP, ICMP, IGMP, MLD, PIM, routing protocols and the like), from 1 MiB to 4 GiB. Not swappable. Halved until the kernel grants it.",
    ),
    key(
        "rings",
        "bulk",
        "\"32 MiB\"",
        "Size of the kernel ring for all other traffic. The kernel hands over its blocks of 512 KiB when full or after 20 ms, so with 32 MiB the engine may be absent without loss for 1.3 s at ordinary rates, and for less where blocks fill faster.",
    ),
    key(
        "interfaces",
        "record",
        "[]",
        "Names of the interfaces to record; * matches any characters. Empty: all interfaces, including those added later.",
    ),
    key(
        "interfaces",
        "exclude",
        "[]",
        "Names of interfaces not to record; * matches any characters. Takes precedence over record.",
    ),
    key(
        "interfaces",
        "promiscuous",
        "[]",
        "Names of interfaces to hold in promiscuous mode while the service runs; * matches any characters. Empty by default, since it changes what the host receives: a problem may not show while the mode is on.",
    ),
    key(
        "sandbox",
        "violation",
        "\"kill\"",
        "Action on a system call that the sandbox does not allow: kill (the engine is killed by SIGSYS, and the keeper starts a new one without loss; the keeper's own filter, set at its start, ends the service) or refuse (the call fails with EPERM; for C libraries that use other calls for the same purpose).",
    ),
    key(
        "events",
        "journal",
        "\"notice\"",
        "Minimum severity of the events that are also written to the service's log: info, notice, warning, or none. The event log itself (netsonde events) holds all of them.",
    ),
    key(
        "listeners",
        "join",
        "true",
        "Join 224.0.0.1, 224.0.0.2, ff02::1 and ff02::2 on each recorded interface, as the second vantage point. These are real memberships, which the host reports on its links.",
    ),
    key(
        "history",
        "budget",
        "\"1 GiB\"",
        "Most bytes of probes on disk, by netsonde-historian: every probe for 7 days, then histograms of a minute for 14 days, of five minutes for 90 days, of an hour for 2 years. If that is more than this, the oldest goes first. From 16 MiB to 1 TiB.",
    ),
    key(
        "history",
        "record",
        "\"256 MiB\"",
        "Most bytes of the record on disk: packets of the stores link, group, icmp, names, routing and connections. From 8 MiB to 1 TiB.",
    ),
    key(
        "history",
        "bulk",
        "false",
        "Whether the record on disk has packets of the store bulk, too.",
    ),
    key(
        "history",
        "evidence",
        "\"256 MiB\"",
        "Most bytes of packets from around the begin of outages. From 8 MiB to 1 TiB.",
    ),
    key(
        "history",
        "kept",
        "\"256 MiB\"",
        "Most bytes of packets that somebody kept with `netsonde keep`. From 8 MiB to 1 TiB.",
    ),
    key(
        "history",
        "paths",
        "true",
        "Whether netsonde-historian traces the paths to the networks of its targets, and again when a target goes down. It sends echo requests with a small TTL to targets, and nothing else.",
    ),
    key(
        "history",
        "path_interval",
        "\"1 min\"",
        "Interval at which each path is looked at, with at most ten probes. From 5 s to an hour.",
    ),
    key(
        "permission",
        "status",
        "[\"*\"]",
        "Users who may query the service's health, links and addresses. A list has at most 64 entries: user names or numbers, groups prefixed with @, or * for every user that the control socket admits. Root, and the user who started the service by hand, may do everything. Users named by a later key may also do this.",
    ),
    key(
        "permission",
        "probe",
        "[\"@netsonde\"]",
        "Users who may see packet headers, groups, queriers, streams and neighbors, run the doctor, and send probes.",
    ),
    key(
        "permission",
        "payload",
        "[\"root\"]",
        "Users who may see packet payload. Every access is logged.",
    ),
    key(
        "permission",
        "vsock",
        "\"read\"",
        "Permission of clients on other machines, which connect by AF_VSOCK if netsonded-vsock.socket is enabled: none, status, read (the tier probe, except requests that send packets) or probe. Only their context ID (CID) is known, which identifies a machine and not a user, so they never see payload.",
    ),
    key(
        "permission",
        "full_limits",
        "[\"netsonde-historian\"]",
        "Users, by name or number, at most 64, to whom the limits of all users together apply where others have those of one: control.clients and control.memory instead of clients_per_uid and memory_per_uid, ping.rate and ping.byte_rate instead of rate_per_uid and byte_rate_per_uid, and 1024 runs instead of ping.runs_per_uid. For programs that probe on behalf of everybody. It permits nothing else: name the user in permission.probe as well, or make it a member of the group netsonde.",
    ),
    key(
        "control",
        "group",
        "\"netsonde\"",
        "Group, by name or number, that may use the control socket. Applies if the service is started as root and the group exists.",
    ),
    key(
        "control",
        "clients",
        "256",
        "Maximum number of connections, from 1 to 10000; never more than a quarter of the file descriptors that the process may open.",
    ),
    key(
        "control",
        "clients_per_uid",
        "16",
        "Maximum number of connections per user, at most control.clients; the default is lowered to it if necessary.",
    ),
    key(
        "control",
        "memory",
        "\"384 MiB\"",
        "Maximum memory for the requests of all users together: runs of ping with their targets, statistics and events, lists of targets, exports of packets, and replies that wait to be read. It is computed and reserved before it is allocated, and what would exceed it is refused. From 16 MiB; must stay well below MemoryMax of netsonded.service. A user with less than 1 MiB is not refused for what others take.",
    ),
    key(
        "control",
        "memory_per_uid",
        "\"192 MiB\"",
        "The same for one user, at most control.memory; the default is lowered to it if necessary.",
    ),
    key(
        "ping",
        "rate",
        "100000",
        "Maximum probes per second of all users together, from 1 to 10000000.",
    ),
    key(
        "ping",
        "rate_per_uid",
        "20000",
        "Maximum probes per second of one user other than root and the service's own user, at most ping.rate; the default is lowered to it if necessary.",
    ),
    key(
        "ping",
        "byte_rate",
        "\"32 MiB\"",
        "Maximum bytes per second that all probes together send, with their IP headers; from 64 KiB. Probes that exceed it are delayed.",
    ),
    key(
        "ping",
        "byte_rate_per_uid",
        "\"12 MiB\"",
        "The same for one user other than root and the service's own user, at most ping.byte_rate; the default is lowered to it if necessary.",
    ),
    key(
        "ping",
        "interval_ms",
        "2",
        "Minimum interval between the probes of one target for users other than root, in milliseconds; also applies to floods.",
    ),
    key(
        "ping",
        "targets",
        "131072",
        "Maximum targets of one run, from 1 to 1048576; each takes about 1 KiB while the run lasts, and 6 KiB if it is probed more than 64 times. See control.memory.",
    ),
    key(
        "ping",
        "runs_per_uid",
        "32",
        "Maximum number of concurrent runs per user, from 1 to 1024.",
    ),
    key(
        "ping",
        "in_flight",
        "262144",
        "Maximum number of probes of all users that await a reply, from 1 to 4194304; each takes about 150 bytes.",
    ),
];

/// Creates a configuration file with every key commented out.
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
        "\n# Custom rules: packets that match go into that store; later rules win.\n\
         # [[recorder.rule]]\n# store: \"names\"\n# udp_ports: [5000]\n\
         # tcp_ports: [], ip_protocols: [], ethertypes: []\n",
    );
    text
}
