//! PURE. Where a host loses packets: the kernel's counters of it, layer by layer, and what each means; and
//! the reasons that its tracepoint `skb:kfree_skb` gives.

use std::collections::BTreeMap;

use super::attributes::{attributes, u32_at};

/// Where in the host, in the order in which a packet that comes in meets them; the queues for what goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The interface and its driver.
    Device,
    /// From the driver to the protocols, one queue for each CPU.
    Backlog,
    /// Connection tracking.
    Conntrack,
    /// IPv4 and IPv6.
    Ip,
    /// From addresses to MAC addresses.
    Neighbour,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP and ICMPv6.
    Icmp,
    /// A socket.
    Socket,
    /// The queueing discipline of an interface, on the way out.
    Queue,
}

impl Layer {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Device => "device",
            Layer::Backlog => "backlog",
            Layer::Conntrack => "conntrack",
            Layer::Ip => "ip",
            Layer::Neighbour => "neighbour",
            Layer::Udp => "udp",
            Layer::Tcp => "tcp",
            Layer::Icmp => "icmp",
            Layer::Socket => "socket",
            Layer::Queue => "queue",
        }
    }
}

/// A counter of the kernel that says that packets were dropped.
#[derive(Debug)]
pub struct Counter {
    /// Where.
    pub layer: Layer,
    /// As ip(8), nstat(8) or the file of /proc name it.
    pub name: &'static str,
    /// What happened to the packets, and where to look.
    pub means: &'static str,
    /// Part of any network's life: no fault by itself.
    pub harmless: bool,
}

const fn counter(layer: Layer, name: &'static str, harmless: bool, means: &'static str) -> Counter {
    Counter {
        layer,
        name,
        means,
        harmless,
    }
}

use Layer::{Backlog, Conntrack, Device, Icmp, Ip, Neighbour, Queue, Socket, Tcp, Udp};

/// All that are looked at.
pub static COUNTERS: &[Counter] = &[
    counter(
        Device,
        "rx_crc_errors",
        false,
        "frames with a wrong checksum: cable, transceiver, duplex mismatch or the other end's port",
    ),
    counter(
        Device,
        "rx_frame_errors",
        false,
        "frames that were no whole bytes: as for rx_crc_errors",
    ),
    counter(
        Device,
        "rx_length_errors",
        false,
        "frames of a length that the device does not take: MTU of the other end",
    ),
    counter(
        Device,
        "rx_over_errors",
        false,
        "the device had no room for a frame",
    ),
    counter(
        Device,
        "rx_fifo_errors",
        false,
        "the device's queue was full before the host took frames out: ethtool -g, -G, interrupts, CPU",
    ),
    counter(
        Device,
        "rx_missed_errors",
        false,
        "the device's ring was full: ethtool -g, -G, interrupts, CPU",
    ),
    counter(
        Device,
        "rx_errors",
        false,
        "frames that the device found broken",
    ),
    counter(
        Device,
        "rx_dropped",
        true,
        "frames that nobody wanted (protocol, VLAN, a bridge's port that is blocked) or for which there was no memory",
    ),
    counter(
        Device,
        "rx_nohandler",
        true,
        "frames that came to an inactive port of a bond or team",
    ),
    counter(
        Device,
        "rx_otherhost_dropped",
        true,
        "frames with another host's MAC address, which only promiscuous mode, a hub or a switch that floods brings here",
    ),
    counter(Device, "tx_errors", false, "frames that could not be sent"),
    counter(
        Device,
        "tx_carrier_errors",
        false,
        "the carrier went while a frame was sent: cable, port",
    ),
    counter(
        Device,
        "tx_aborted_errors",
        false,
        "frames given up while they were sent",
    ),
    counter(
        Device,
        "tx_fifo_errors",
        false,
        "the device's send queue failed",
    ),
    counter(
        Device,
        "tx_dropped",
        false,
        "frames that the driver dropped: it is down, its ring is full, or the peer does not take them",
    ),
    counter(
        Device,
        "collisions",
        false,
        "half duplex: a duplex mismatch today",
    ),
    counter(
        Backlog,
        "dropped",
        false,
        "the CPU's queue of packets was full (net.core.netdev_max_backlog), on the way from device to protocols",
    ),
    counter(
        Backlog,
        "flow_limit",
        false,
        "one flow had more than its part of the CPU's queue (net.core.flow_limit_cpu_bitmap)",
    ),
    counter(
        Conntrack,
        "drop",
        false,
        "connection tracking had no room, or no memory (net.netfilter.nf_conntrack_max)",
    ),
    counter(
        Conntrack,
        "early_drop",
        false,
        "older connections were forgotten for new ones: the table is full (net.netfilter.nf_conntrack_max)",
    ),
    counter(
        Conntrack,
        "insert_failed",
        false,
        "a connection could not be tracked: two packets began it at once, or ports for NAT ran out",
    ),
    counter(
        Ip,
        "IpInHdrErrors",
        false,
        "IPv4 headers that were wrong, or whose TTL ended here",
    ),
    counter(
        Ip,
        "IpInAddrErrors",
        false,
        "packets to an IPv4 address that is not this host's, and that it does not forward (net.ipv4.ip_forward)",
    ),
    counter(
        Ip,
        "IpInUnknownProtos",
        false,
        "IPv4 packets of a protocol that this host does not speak",
    ),
    counter(
        Ip,
        "IpInDiscards",
        false,
        "sound IPv4 packets that were dropped: no memory, a filter or policy",
    ),
    counter(
        Ip,
        "IpOutDiscards",
        false,
        "own or forwarded IPv4 packets that were dropped: a full queue, a filter, no memory",
    ),
    counter(
        Ip,
        "IpOutNoRoutes",
        false,
        "IPv4 packets for which there is no route",
    ),
    counter(
        Ip,
        "IpReasmFails",
        false,
        "IPv4 fragments that never became a packet: some were lost, or net.ipv4.ipfrag_high_thresh is reached",
    ),
    counter(
        Ip,
        "IpFragFails",
        false,
        "IPv4 packets that were too long and must not be fragmented: path MTU",
    ),
    counter(
        Ip,
        "IpExtInNoRoutes",
        false,
        "IPv4 packets that came in and for whose destination there is no route",
    ),
    counter(
        Ip,
        "IpExtInTruncatedPkts",
        false,
        "IPv4 packets that were shorter than their header says",
    ),
    counter(
        Ip,
        "IpExtInCsumErrors",
        false,
        "IPv4 headers with a wrong checksum",
    ),
    counter(
        Ip,
        "TcpExtIPReversePathFilter",
        false,
        "the route to the source goes out of another interface, and rp_filter is strict (net.ipv4.conf.*.rp_filter)",
    ),
    counter(
        Ip,
        "Ip6InHdrErrors",
        false,
        "IPv6 headers that were wrong, or whose hop limit ended here",
    ),
    counter(
        Ip,
        "Ip6InTooBigErrors",
        false,
        "IPv6 packets too long for the next link: path MTU",
    ),
    counter(
        Ip,
        "Ip6InNoRoutes",
        false,
        "IPv6 packets that came in and for whose destination there is no route",
    ),
    counter(
        Ip,
        "Ip6InAddrErrors",
        false,
        "packets to an IPv6 address that is not this host's, and that it does not forward",
    ),
    counter(
        Ip,
        "Ip6InUnknownProtos",
        false,
        "IPv6 packets of a protocol that this host does not speak",
    ),
    counter(
        Ip,
        "Ip6InTruncatedPkts",
        false,
        "IPv6 packets that were shorter than their header says",
    ),
    counter(
        Ip,
        "Ip6InDiscards",
        false,
        "sound IPv6 packets that were dropped: no memory, a filter or policy",
    ),
    counter(
        Ip,
        "Ip6OutDiscards",
        false,
        "own or forwarded IPv6 packets that were dropped: a full queue, a filter, no memory",
    ),
    counter(
        Ip,
        "Ip6OutNoRoutes",
        false,
        "IPv6 packets for which there is no route",
    ),
    counter(
        Ip,
        "Ip6ReasmFails",
        false,
        "IPv6 fragments that never became a packet",
    ),
    counter(
        Neighbour,
        "unresolved_discards",
        false,
        "packets that waited for an ARP or ND answer and were more than its queue keeps (of all namespaces)",
    ),
    counter(
        Neighbour,
        "res_failed",
        false,
        "neighbours that did not answer ARP or ND; what waited for them is gone (of all namespaces)",
    ),
    counter(
        Neighbour,
        "table_fulls",
        false,
        "no room for another neighbour (net.ipv4.neigh.default.gc_thresh3; of all namespaces)",
    ),
    counter(
        Udp,
        "UdpNoPorts",
        false,
        "datagrams to a port that nobody listens on: the sender is told by ICMP",
    ),
    counter(
        Udp,
        "UdpInCsumErrors",
        false,
        "datagrams with a wrong checksum",
    ),
    counter(
        Udp,
        "UdpRcvbufErrors",
        false,
        "the socket's buffer was full: its program reads too slowly, or its buffer is too small (SO_RCVBUF, net.core.rmem_max)",
    ),
    counter(
        Udp,
        "UdpSndbufErrors",
        false,
        "a program sent more than its socket's buffer takes",
    ),
    counter(
        Udp,
        "UdpMemErrors",
        false,
        "all UDP sockets together had no more memory (net.ipv4.udp_mem)",
    ),
    counter(
        Udp,
        "UdpInErrors",
        false,
        "datagrams that could not be delivered; the lines above say why, else a socket's filter or policy",
    ),
    counter(
        Udp,
        "Udp6NoPorts",
        false,
        "IPv6 datagrams to a port that nobody listens on",
    ),
    counter(
        Udp,
        "Udp6InCsumErrors",
        false,
        "IPv6 datagrams with a wrong checksum",
    ),
    counter(
        Udp,
        "Udp6RcvbufErrors",
        false,
        "the buffer of a socket (IPv6) was full: its program reads too slowly, or its buffer is too small",
    ),
    counter(
        Udp,
        "Udp6InErrors",
        false,
        "IPv6 datagrams that could not be delivered",
    ),
    counter(Tcp, "TcpInErrs", false, "segments that were broken"),
    counter(
        Tcp,
        "TcpInCsumErrors",
        false,
        "segments with a wrong checksum",
    ),
    counter(
        Tcp,
        "TcpExtListenOverflows",
        false,
        "connections that came while the program did not accept: its backlog is full (listen(2), net.core.somaxconn)",
    ),
    counter(
        Tcp,
        "TcpExtListenDrops",
        false,
        "connections that were dropped before they were accepted",
    ),
    counter(
        Tcp,
        "TcpExtTCPBacklogDrop",
        false,
        "segments dropped since the socket was busy and its buffers full",
    ),
    counter(
        Tcp,
        "TcpExtTCPRcvQDrop",
        false,
        "segments dropped since the receive buffer was full",
    ),
    counter(
        Tcp,
        "TcpExtTCPOFODrop",
        false,
        "segments out of order for which there was no room",
    ),
    counter(
        Tcp,
        "TcpExtTCPZeroWindowDrop",
        false,
        "segments sent although the window was closed: the program reads too slowly",
    ),
    counter(
        Tcp,
        "TcpExtTCPReqQFullDrop",
        false,
        "connection requests beyond the queue (net.ipv4.tcp_max_syn_backlog)",
    ),
    counter(
        Tcp,
        "TcpExtTCPMinTTLDrop",
        false,
        "segments whose TTL was below IP_MINTTL (GTSM)",
    ),
    counter(
        Tcp,
        "TcpExtPAWSEstab",
        true,
        "segments with a time stamp older than the last (PAWS): old duplicates",
    ),
    counter(
        Icmp,
        "IcmpInErrors",
        false,
        "ICMP messages that were wrong, or about a connection that is none of this host's",
    ),
    counter(
        Icmp,
        "IcmpInCsumErrors",
        false,
        "ICMP messages with a wrong checksum",
    ),
    counter(
        Icmp,
        "Icmp6InErrors",
        false,
        "ICMPv6 messages that were wrong",
    ),
    counter(
        Icmp,
        "Icmp6InCsumErrors",
        false,
        "ICMPv6 messages with a wrong checksum",
    ),
    counter(
        Socket,
        "drops",
        false,
        "packets for this socket that it had no room for, or that its filter or the kernel refused",
    ),
    counter(
        Queue,
        "drops",
        false,
        "the interface's queue was full, or its rate used up (tc -s qdisc): this host sends more than the link takes",
    ),
];

/// Counters that count what others count as well: what is left of the first is what the others do not say.
pub const OVERLAPS: &[(Layer, &str, &[&str])] = &[
    (
        Udp,
        "UdpInErrors",
        &["UdpRcvbufErrors", "UdpInCsumErrors", "UdpMemErrors"],
    ),
    (
        Udp,
        "Udp6InErrors",
        &["Udp6RcvbufErrors", "Udp6InCsumErrors"],
    ),
    (Tcp, "TcpInErrs", &["TcpInCsumErrors"]),
    (Tcp, "TcpExtListenDrops", &["TcpExtListenOverflows"]),
    (Icmp, "IcmpInErrors", &["IcmpInCsumErrors"]),
    (Icmp, "Icmp6InErrors", &["Icmp6InCsumErrors"]),
    (
        Device,
        "rx_errors",
        &[
            "rx_crc_errors",
            "rx_frame_errors",
            "rx_length_errors",
            "rx_over_errors",
        ],
    ),
];

/// The counter of that name in a layer.
pub fn find_counter(layer: Layer, name: &str) -> Option<&'static Counter> {
    COUNTERS
        .iter()
        .find(|known| known.layer == layer && known.name == name)
}

/// What of a reason of the kernel is worth a word; the rest goes by its name. `true`: no fault by itself.
pub const REASONS: &[(&str, bool, &str)] = &[
    (
        "NOT_SPECIFIED",
        false,
        "the kernel does not say; the place does",
    ),
    (
        "NO_SOCKET",
        false,
        "nobody listens there (TcpOutRsts, UdpNoPorts)",
    ),
    ("SOCKET_CLOSE", true, "the socket was closed"),
    (
        "SOCKET_FILTER",
        true,
        "the socket's own filter did not want it",
    ),
    (
        "SOCKET_RCVBUFF",
        false,
        "the socket's receive buffer was full: its program reads too slowly",
    ),
    (
        "SOCKET_BACKLOG",
        false,
        "the socket was busy, and its backlog full",
    ),
    (
        "PROTO_MEM",
        false,
        "the protocol's memory is used up (udp_mem, tcp_mem)",
    ),
    ("UNIX_DISCONNECT", true, "a Unix socket was disconnected"),
    ("PKT_TOO_SMALL", false, "shorter than its headers"),
    ("TCP_CSUM", false, "wrong TCP checksum"),
    ("UDP_CSUM", false, "wrong UDP checksum"),
    ("IP_CSUM", false, "wrong IP header checksum"),
    ("ICMP_CSUM", false, "wrong ICMP checksum"),
    (
        "NETFILTER_DROP",
        false,
        "a firewall rule (nft list ruleset, iptables -nvL)",
    ),
    (
        "OTHERHOST",
        true,
        "another host's MAC address: seen in promiscuous mode, or flooded by a switch",
    ),
    (
        "IP_INHDR",
        false,
        "a wrong IP header, or its TTL ended here",
    ),
    (
        "IP_RPFILTER",
        false,
        "the route to the source goes out of another interface (rp_filter)",
    ),
    (
        "UNICAST_IN_L2_MULTICAST",
        false,
        "a unicast address in a frame to a group",
    ),
    ("XFRM_POLICY", false, "an IPsec policy"),
    (
        "IP_NOPROTO",
        false,
        "an IP protocol that this host does not speak",
    ),
    ("IP_OUTNOROUTES", false, "no route"),
    ("IP_INNOROUTES", false, "no route for what came in"),
    (
        "IP_INADDRERRORS",
        false,
        "no address of this host, and it does not forward",
    ),
    (
        "IP_INVALID_SOURCE",
        false,
        "a source address that cannot be one",
    ),
    ("IP_INVALID_DEST", false, "a destination that cannot be one"),
    (
        "IP_LOCAL_SOURCE",
        false,
        "this host's own address as the source of what came in",
    ),
    ("IP_LOCALNET", false, "a loopback address on the wire"),
    (
        "NEIGH_CREATEFAIL",
        false,
        "no room for a neighbour (gc_thresh3)",
    ),
    (
        "NEIGH_FAILED",
        false,
        "the neighbour does not answer ARP or ND",
    ),
    (
        "NEIGH_QUEUEFULL",
        false,
        "more waited for an ARP or ND answer than its queue keeps",
    ),
    (
        "NEIGH_DEAD",
        false,
        "the neighbour's entry was removed meanwhile",
    ),
    (
        "NEIGH_HH_FILLFAIL",
        false,
        "no link-layer header could be made",
    ),
    (
        "QDISC_DROP",
        false,
        "the interface's queue was full, or its rate used up (tc -s qdisc)",
    ),
    (
        "QDISC_OVERLIMIT",
        false,
        "the interface's queue was full (tc -s qdisc)",
    ),
    (
        "QDISC_CONGESTED",
        false,
        "the queueing discipline drops to hold back a flow",
    ),
    ("TC_EGRESS", false, "a tc filter on the way out"),
    ("TC_INGRESS", false, "a tc filter on the way in"),
    ("XDP", false, "an XDP program"),
    (
        "CPU_BACKLOG",
        false,
        "the CPU's queue was full (net.core.netdev_max_backlog)",
    ),
    ("FULL_RING", false, "the device's ring was full"),
    ("NOMEM", false, "no memory"),
    ("DEV_READY", false, "the interface is down"),
    (
        "DEV_HDR",
        false,
        "a link-layer header that the device does not take",
    ),
    ("UNHANDLED_PROTO", true, "a protocol that nobody here takes"),
    ("TTL", false, "its TTL or hop limit ended"),
    (
        "IPV6DISABLED",
        false,
        "IPv6 is switched off here (disable_ipv6)",
    ),
    (
        "IPV6_BAD_EXTHDR",
        false,
        "an extension header that is wrong",
    ),
    (
        "PKT_TOO_BIG",
        false,
        "longer than the path takes, and must not be fragmented",
    ),
    (
        "FRAG_REASM_TIMEOUT",
        false,
        "fragments whose rest never came",
    ),
    ("DUP_FRAG", false, "a fragment that came twice"),
    (
        "TCP_LISTEN_OVERFLOW",
        false,
        "the program does not accept: its backlog is full",
    ),
    (
        "TCP_ZEROWINDOW",
        false,
        "sent although the window was closed",
    ),
    ("TCP_OLD_DATA", true, "data that had been there before"),
    ("TCP_OFOMERGE", true, "data that had been there before"),
    ("TCP_OLD_ACK", true, "an old acknowledgement"),
    ("TCP_OLD_SEQUENCE", true, "an old segment"),
    ("TCP_CLOSE", true, "the connection was closed"),
    ("TCP_RESET", true, "the connection was reset"),
    ("TCP_FLAGS", false, "flags that make no sense"),
    (
        "QUEUE_PURGE",
        true,
        "a queue was emptied as its owner ended",
    ),
    (
        "IP_MULTICAST_NOT_JOINED",
        true,
        "a group that nobody here has joined",
    ),
    (
        "IP_TUNNEL_ECN",
        false,
        "the congestion marks of a tunnel contradict each other",
    ),
    (
        "VXLAN_VNI_NOT_FOUND",
        false,
        "a VXLAN network that is not set up here",
    ),
];

/// Places of the kernel that give no reason of their own, and what it is.
const PLACES: &[(&str, bool, &str)] = &[
    ("ip6_mc_input", true, "a group that nobody here has joined"),
    (
        "ip_mc_output",
        true,
        "a copy for this host that nobody here has joined the group of",
    ),
    (
        "ip6_finish_output2",
        true,
        "a copy for this host that nobody here has joined the group of",
    ),
    (
        "unix_dgram_sendmsg",
        true,
        "a message between local programs",
    ),
    (
        "skb_queue_purge_reason",
        true,
        "a queue was emptied as its owner ended",
    ),
];

/// What a reason means at that place, and whether it is no fault by itself.
pub fn explain_reason(name: &str, place: Option<&str>) -> Option<(bool, &'static str)> {
    if name == "NOT_SPECIFIED"
        && let Some(place) = place
        && let Some((_, harmless, means)) = PLACES.iter().find(|(known, _, _)| *known == place)
    {
        return Some((*harmless, *means));
    }
    let found = REASONS.iter().find(|(known, _, _)| *known == name);
    found.map(|(_, harmless, means)| (*harmless, *means))
}

/// Sums over the lines of /proc/net/softnet_stat, one a CPU: dropped, and held back by the flow limit.
pub fn parse_softnet(text: &str) -> (u64, u64) {
    let column = |line: &str, at: usize| {
        let word = line.split_whitespace().nth(at)?;
        u64::from_str_radix(word, 16).ok()
    };
    let sum = |at| text.lines().filter_map(|line| column(line, at)).sum();
    (sum(1), sum(10))
}

/// The sum of another column of it: how often a CPU stopped taking packets in although there were more
/// (net.core.netdev_budget).
pub fn parse_time_squeezes(softnet_stat: &str) -> u64 {
    let third = |line: &str| u64::from_str_radix(line.split_whitespace().nth(2)?, 16).ok();
    softnet_stat.lines().filter_map(third).sum()
}

/// Sums over the lines of a file of /proc/net/stat, one a CPU, under a line of names.
pub fn sum_cpu_columns(text: &str) -> BTreeMap<String, u64> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut all = BTreeMap::new();
    for line in lines {
        for (name, word) in names.iter().zip(line.split_whitespace()) {
            if let Ok(value) = u64::from_str_radix(word, 16) {
                *all.entry((*name).to_owned()).or_insert(0) += value;
            }
        }
    }
    all
}

/// A table of neighbours, which all namespaces share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NeighborTable {
    /// "arp_cache" or "ndisc_cache".
    pub name: String,
    /// Entries that are in it.
    pub entries: u64,
    /// Entries that there may be (gc_thresh3).
    pub max_entries: u64,
    /// How many did not answer.
    pub failed: u64,
    /// How often it was full.
    pub table_fulls: u64,
}

/// A table of neighbours, as RTM_GETNEIGHTBL tells it (struct ndtmsg, linux/neighbour.h).
pub fn parse_neighbor_table(message: &[u8]) -> Option<NeighborTable> {
    /// NDTA_NAME, NDTA_THRESH3, NDTA_CONFIG and NDTA_STATS.
    const NAME: u16 = 1;
    const MAX_ENTRIES: u16 = 4;
    const CONFIG: u16 = 5;
    const STATS: u16 = 7;
    let (mut name, mut stats, mut max_entries, mut entries) = (None, None, None, None);
    for (kind, value) in attributes(message.get(4..)?) {
        match kind {
            NAME => {
                name = Some(
                    String::from_utf8_lossy(value)
                        .trim_end_matches('\0')
                        .to_owned(),
                )
            }
            STATS => stats = Some(value),
            MAX_ENTRIES => max_entries = u32_at(value, 0),
            // struct ndt_config: two 16-bit words, then the count.
            CONFIG => entries = u32_at(value, 4),
            _ => {}
        }
    }
    // struct ndt_stats: 64-bit words, res_failed the fourth, table_fulls the eleventh.
    let word = |at: usize| {
        let bytes = stats?.get(at * 8..at * 8 + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some(NeighborTable {
        name: name?,
        entries: entries.unwrap_or(0).into(),
        max_entries: max_entries.unwrap_or(0).into(),
        failed: word(3)?,
        table_fulls: word(10).unwrap_or(0),
    })
}

/// Where a running kernel puts what in a record of `skb:kfree_skb`, and how it calls its reasons: both change
/// between versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceFormat {
    location: (usize, usize),
    protocol: (usize, usize),
    reason: (usize, usize),
    names: BTreeMap<u64, String>,
}

/// One drop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropRecord {
    /// The kernel's reason, by name, or its number.
    pub reason: String,
    /// EtherType.
    pub protocol: u16,
    /// Address of the code that dropped it.
    pub location: u64,
}

impl TraceFormat {
    /// Reads the `format` file of the tracepoint. `None`: this kernel gives no reasons (before 5.17).
    pub fn parse(text: &str) -> Option<TraceFormat> {
        let field = |name: &str| {
            let line = text.lines().find(|line| {
                let declared = line.split(';').next().unwrap_or_default();
                line.trim_start().starts_with("field:")
                    && declared.rsplit([' ', '*']).next() == Some(name)
            })?;
            let number = |key: &str| {
                let rest = line.split_once(key)?.1;
                rest.split(';').next()?.trim().parse::<usize>().ok()
            };
            Some((number("offset:")?, number("size:")?))
        };
        let mut format = TraceFormat {
            location: field("location")?,
            protocol: field("protocol")?,
            reason: field("reason")?,
            names: BTreeMap::new(),
        };
        let names = text.split_once("__print_symbolic(REC->reason,")?.1;
        for pair in names.split('{').skip(1) {
            let pair = pair.split('}').next()?;
            let Some((number, name)) = pair.split_once(',') else {
                continue;
            };
            let number = number.trim();
            let number = match number.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => number.parse(),
            };
            if let Ok(number) = number {
                let name = name.trim().trim_matches('"').to_owned();
                format.names.insert(number, name);
            }
        }
        Some(format)
    }

    /// Reads a record. `None`: it is shorter than the format says.
    pub fn record(&self, bytes: &[u8]) -> Option<DropRecord> {
        let number = |(at, size): (usize, usize)| {
            let bytes = bytes.get(at..at.checked_add(size)?)?;
            let mut word = [0; 8];
            word.get_mut(..size)?.copy_from_slice(bytes);
            Some(u64::from_le_bytes(word))
        };
        let reason = number(self.reason)?;
        Some(DropRecord {
            reason: match self.names.get(&reason) {
                Some(name) => name.clone(),
                // Subsystems have reasons of their own, which the format does not name.
                None => format!("reason {reason:#x}"),
            },
            protocol: number(self.protocol)? as u16,
            location: number(self.location)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "name: kfree_skb\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:void * location;\toffset:16;\tsize:8;\tsigned:0;\n\
        \tfield:unsigned short protocol;\toffset:32;\tsize:2;\tsigned:0;\n\
        \tfield:enum skb_drop_reason reason;\toffset:36;\tsize:4;\tsigned:0;\n\n\
        print fmt: \"%s\", __print_symbolic(REC->reason, { 2, \"NOT_SPECIFIED\" }, { 3, \"NO_SOCKET\" })\n";

    #[test]
    fn records_are_read_by_the_format_of_the_kernel() {
        let format = TraceFormat::parse(FORMAT).unwrap();
        let mut bytes = vec![0; 40];
        bytes[16] = 7;
        bytes[32..34].copy_from_slice(&0x0800u16.to_le_bytes());
        bytes[36] = 3;
        let drop = format.record(&bytes).unwrap();
        assert_eq!(
            (drop.reason.as_str(), drop.protocol, drop.location),
            ("NO_SOCKET", 0x0800, 7)
        );
        bytes[38] = 1;
        assert_eq!(format.record(&bytes).unwrap().reason, "reason 0x10003");
        assert_eq!(format.record(&bytes[..39]), None);
        assert_eq!(TraceFormat::parse("field:int x; offset:0; size:4;"), None);
    }

    #[test]
    fn sums_are_over_all_cpus() {
        assert_eq!(
            parse_softnet("1 2 0 0 0 0 0 0 0 0 a 0\n1 10 0 0 0 0 0 0 0 0 1 0\n"),
            (18, 11)
        );
        assert_eq!(parse_time_squeezes("1 2 a 0\n1 10 1 0\n"), 11);
        let all = sum_cpu_columns("entries drop\n00000001 0000000a\n00000001 00000001\n");
        assert_eq!(all["drop"], 11);
    }

    #[test]
    fn each_counter_and_reason_is_told_once() {
        for (at, one) in COUNTERS.iter().enumerate() {
            assert!(
                std::ptr::eq(find_counter(one.layer, one.name).unwrap(), one),
                "{at}: {}",
                one.name
            );
        }
        for (name, harmless, _) in REASONS {
            assert_eq!(explain_reason(name, None).unwrap().0, *harmless, "{name}");
        }
    }
}
