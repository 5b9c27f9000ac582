//! PURE. Drop counters of the kernel by layer, with their meaning, and the drop reasons of the tracepoint
//! `skb:kfree_skb`.

use std::collections::BTreeMap;

use super::attributes::{attributes, u32_at};

/// Layer of the host that drops packets, in the order that an incoming packet passes; the last is for outgoing
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The interface and its driver.
    Device,
    /// Queue between driver and protocols, one per CPU.
    Backlog,
    /// Connection tracking.
    Conntrack,
    /// IPv4 and IPv6.
    Ip,
    /// Resolution of IP addresses to MAC addresses.
    Neighbour,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP and ICMPv6.
    Icmp,
    /// One socket.
    Socket,
    /// Queueing discipline of an interface, for outgoing packets.
    Queue,
}

impl Layer {
    /// Name used in the output and in JSON.
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

/// A kernel counter of dropped packets.
#[derive(Debug)]
pub struct Counter {
    /// Layer that drops the packets.
    pub layer: Layer,
    /// Name as in ip(8), nstat(8) or the file in /proc.
    pub name: &'static str,
    /// Why packets were dropped, and what to inspect.
    pub means: &'static str,
    /// Drops are expected, and not a fault by themselves.
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

/// All counters that are evaluated.
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
        "frames that do not end at a byte boundary: as for rx_crc_errors",
    ),
    counter(
        Device,
        "rx_length_errors",
        false,
        "frames of a length that the device does not accept: MTU of the other end",
    ),
    counter(
        Device,
        "rx_over_errors",
        false,
        "the device had no buffer for a frame",
    ),
    counter(
        Device,
        "rx_fifo_errors",
        false,
        "the device's queue was full before the host read it: ethtool -g, -G, interrupts, CPU",
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
        "frames that the device found invalid",
    ),
    counter(
        Device,
        "rx_dropped",
        true,
        "frames without a receiver (protocol, VLAN, a blocked bridge port) or without memory",
    ),
    counter(
        Device,
        "rx_nohandler",
        true,
        "frames received on an inactive port of a bond or team",
    ),
    counter(
        Device,
        "rx_otherhost_dropped",
        true,
        "frames for another host's MAC address, received only with promiscuous mode, a hub or a flooding switch",
    ),
    counter(Device, "tx_errors", false, "frames that could not be sent"),
    counter(
        Device,
        "tx_carrier_errors",
        false,
        "the carrier was lost while a frame was sent: cable, port",
    ),
    counter(
        Device,
        "tx_aborted_errors",
        false,
        "frames aborted during transmission",
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
        "frames that the driver dropped: the device is down, its ring is full, or the peer does not accept them",
    ),
    counter(
        Device,
        "collisions",
        false,
        "collisions occur with half duplex only: today a duplex mismatch",
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
        "one flow exceeded its share of the CPU's queue (net.core.flow_limit_cpu_bitmap)",
    ),
    counter(
        Conntrack,
        "drop",
        false,
        "the connection tracking table was full, or there was no memory (net.netfilter.nf_conntrack_max)",
    ),
    counter(
        Conntrack,
        "early_drop",
        false,
        "older connections were evicted for new ones: the table is full (net.netfilter.nf_conntrack_max)",
    ),
    counter(
        Conntrack,
        "insert_failed",
        false,
        "a connection could not be tracked: two packets opened it at once, or NAT ran out of ports",
    ),
    counter(
        Ip,
        "IpInHdrErrors",
        false,
        "packets with an invalid IPv4 header, or whose TTL expired here",
    ),
    counter(
        Ip,
        "IpInAddrErrors",
        false,
        "packets to an IPv4 address of another host that this host does not forward (net.ipv4.ip_forward)",
    ),
    counter(
        Ip,
        "IpInUnknownProtos",
        false,
        "IPv4 packets of a protocol that this host does not support",
    ),
    counter(
        Ip,
        "IpInDiscards",
        false,
        "valid IPv4 packets that were dropped: no memory, a filter or policy",
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
        "outgoing IPv4 packets without a route",
    ),
    counter(
        Ip,
        "IpReasmFails",
        false,
        "IPv4 packets that could not be reassembled: fragments were lost, or net.ipv4.ipfrag_high_thresh is reached",
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
        "incoming IPv4 packets without a route to their destination",
    ),
    counter(
        Ip,
        "IpExtInTruncatedPkts",
        false,
        "IPv4 packets shorter than their header states",
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
        "the route to the source uses another interface, and rp_filter is strict (net.ipv4.conf.*.rp_filter)",
    ),
    counter(
        Ip,
        "Ip6InHdrErrors",
        false,
        "packets with an invalid IPv6 header, or whose hop limit expired here",
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
        "incoming IPv6 packets without a route to their destination",
    ),
    counter(
        Ip,
        "Ip6InAddrErrors",
        false,
        "packets to an IPv6 address of another host that this host does not forward",
    ),
    counter(
        Ip,
        "Ip6InUnknownProtos",
        false,
        "IPv6 packets of a protocol that this host does not support",
    ),
    counter(
        Ip,
        "Ip6InTruncatedPkts",
        false,
        "IPv6 packets shorter than their header states",
    ),
    counter(
        Ip,
        "Ip6InDiscards",
        false,
        "valid IPv6 packets that were dropped: no memory, a filter or policy",
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
        "outgoing IPv6 packets without a route",
    ),
    counter(
        Ip,
        "Ip6ReasmFails",
        false,
        "IPv6 packets that could not be reassembled",
    ),
    counter(
        Neighbour,
        "unresolved_discards",
        false,
        "packets that exceeded the queue for an ARP or ND answer (of all namespaces)",
    ),
    counter(
        Neighbour,
        "res_failed",
        false,
        "neighbors that did not answer ARP or ND; packets that waited for them were dropped (of all namespaces)",
    ),
    counter(
        Neighbour,
        "table_fulls",
        false,
        "the neighbor table was full (net.ipv4.neigh.default.gc_thresh3; of all namespaces)",
    ),
    counter(
        Udp,
        "UdpNoPorts",
        false,
        "datagrams to a port without a listener: ICMP informs the sender",
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
        "a program sent more than its socket's buffer holds",
    ),
    counter(
        Udp,
        "UdpMemErrors",
        false,
        "the memory of all UDP sockets was exhausted (net.ipv4.udp_mem)",
    ),
    counter(
        Udp,
        "UdpInErrors",
        false,
        "datagrams that could not be delivered; the lines above show why, else a socket's filter or policy",
    ),
    counter(
        Udp,
        "Udp6NoPorts",
        false,
        "IPv6 datagrams to a port without a listener",
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
        "the socket's buffer (IPv6) was full: its program reads too slowly, or its buffer is too small",
    ),
    counter(
        Udp,
        "Udp6InErrors",
        false,
        "IPv6 datagrams that could not be delivered",
    ),
    counter(Tcp, "TcpInErrs", false, "invalid segments"),
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
        "connections that arrived while the program did not accept: its backlog is full (listen(2), net.core.somaxconn)",
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
        "segments dropped because the socket was busy and its buffers were full",
    ),
    counter(
        Tcp,
        "TcpExtTCPRcvQDrop",
        false,
        "segments dropped because the receive buffer was full",
    ),
    counter(
        Tcp,
        "TcpExtTCPOFODrop",
        false,
        "out-of-order segments that did not fit the buffer",
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
        "connection requests that exceeded the queue (net.ipv4.tcp_max_syn_backlog)",
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
        "invalid ICMP messages, or about a connection that this host does not have",
    ),
    counter(
        Icmp,
        "IcmpInCsumErrors",
        false,
        "ICMP messages with a wrong checksum",
    ),
    counter(Icmp, "Icmp6InErrors", false, "invalid ICMPv6 messages"),
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
        "packets for this socket that did not fit its buffer, or that its filter or the kernel rejected",
    ),
    counter(
        Queue,
        "drops",
        false,
        "the interface's queue was full, or its rate limit reached (tc -s qdisc): this host sends more than the link carries",
    ),
];

/// Counters that include others: layer, total counter, counters that it includes. Only the rest of the total is
/// shown.
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

/// Finds a counter by layer and name.
pub fn find_counter(layer: Layer, name: &str) -> Option<&'static Counter> {
    COUNTERS
        .iter()
        .find(|known| known.layer == layer && known.name == name)
}

/// Drop reasons of the kernel: name, whether such drops are expected, meaning. Further reasons are shown by name.
pub const REASONS: &[(&str, bool, &str)] = &[
    (
        "NOT_SPECIFIED",
        false,
        "no reason given; see the place in the kernel",
    ),
    (
        "NO_SOCKET",
        false,
        "no listener on the port (TcpOutRsts, UdpNoPorts)",
    ),
    ("SOCKET_CLOSE", true, "the socket was closed"),
    ("SOCKET_FILTER", true, "rejected by the socket's own filter"),
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
        "the protocol's memory is exhausted (udp_mem, tcp_mem)",
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
        "another host's MAC address: received in promiscuous mode, or flooded by a switch",
    ),
    (
        "IP_INHDR",
        false,
        "invalid IP header, or its TTL expired here",
    ),
    (
        "IP_RPFILTER",
        false,
        "the route to the source uses another interface (rp_filter)",
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
        "an IP protocol that this host does not support",
    ),
    ("IP_OUTNOROUTES", false, "no route"),
    ("IP_INNOROUTES", false, "no route for an incoming packet"),
    (
        "IP_INADDRERRORS",
        false,
        "not an address of this host, which does not forward",
    ),
    ("IP_INVALID_SOURCE", false, "invalid source address"),
    ("IP_INVALID_DEST", false, "invalid destination address"),
    (
        "IP_LOCAL_SOURCE",
        false,
        "incoming packet with this host's own source address",
    ),
    ("IP_LOCALNET", false, "a loopback address on the wire"),
    (
        "NEIGH_CREATEFAIL",
        false,
        "the neighbor table is full (gc_thresh3)",
    ),
    (
        "NEIGH_FAILED",
        false,
        "the neighbor does not answer ARP or ND",
    ),
    (
        "NEIGH_QUEUEFULL",
        false,
        "the queue for an ARP or ND answer was full",
    ),
    (
        "NEIGH_DEAD",
        false,
        "the neighbor's entry was removed meanwhile",
    ),
    (
        "NEIGH_HH_FILLFAIL",
        false,
        "no link-layer header could be built",
    ),
    (
        "QDISC_DROP",
        false,
        "the interface's queue was full, or its rate limit reached (tc -s qdisc)",
    ),
    (
        "QDISC_OVERLIMIT",
        false,
        "the interface's queue was full (tc -s qdisc)",
    ),
    (
        "QDISC_CONGESTED",
        false,
        "the queueing discipline dropped to slow down a flow",
    ),
    ("TC_EGRESS", false, "a tc filter for outgoing packets"),
    ("TC_INGRESS", false, "a tc filter for incoming packets"),
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
        "a link-layer header that the device does not accept",
    ),
    (
        "UNHANDLED_PROTO",
        true,
        "a protocol without a receiver here",
    ),
    ("TTL", false, "its TTL or hop limit expired"),
    (
        "IPV6DISABLED",
        false,
        "IPv6 is disabled here (disable_ipv6)",
    ),
    ("IPV6_BAD_EXTHDR", false, "invalid extension header"),
    (
        "PKT_TOO_BIG",
        false,
        "exceeds the path MTU, and must not be fragmented",
    ),
    (
        "FRAG_REASM_TIMEOUT",
        false,
        "incomplete fragments timed out",
    ),
    ("DUP_FRAG", false, "duplicate fragment"),
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
    ("TCP_OLD_DATA", true, "data that was received before"),
    ("TCP_OFOMERGE", true, "data that was received before"),
    ("TCP_OLD_ACK", true, "an old acknowledgement"),
    ("TCP_OLD_SEQUENCE", true, "an old segment"),
    ("TCP_CLOSE", true, "the connection was closed"),
    ("TCP_RESET", true, "the connection was reset"),
    ("TCP_FLAGS", false, "invalid combination of flags"),
    (
        "QUEUE_PURGE",
        true,
        "a queue was emptied when its owner ended",
    ),
    (
        "IP_MULTICAST_NOT_JOINED",
        true,
        "a group without a member on this host",
    ),
    (
        "IP_TUNNEL_ECN",
        false,
        "inconsistent congestion marks of a tunnel",
    ),
    (
        "VXLAN_VNI_NOT_FOUND",
        false,
        "a VXLAN network that is not configured here",
    ),
];

/// Kernel functions that drop without a reason: name, whether such drops are expected, meaning.
const PLACES: &[(&str, bool, &str)] = &[
    (
        "ip6_mc_input",
        true,
        "a group without a member on this host",
    ),
    (
        "ip_mc_output",
        true,
        "a local copy for a group without a member on this host",
    ),
    (
        "ip6_finish_output2",
        true,
        "a local copy for a group without a member on this host",
    ),
    (
        "unix_dgram_sendmsg",
        true,
        "a message between local programs",
    ),
    (
        "skb_queue_purge_reason",
        true,
        "a queue was emptied when its owner ended",
    ),
];

/// Returns whether drops for this reason at this place are expected, and their meaning. `None` if unknown.
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

/// Sums of /proc/net/softnet_stat over all CPUs: packets dropped, and packets dropped by the flow limit.
pub fn parse_softnet(text: &str) -> (u64, u64) {
    let column = |line: &str, at: usize| {
        let word = line.split_whitespace().nth(at)?;
        u64::from_str_radix(word, 16).ok()
    };
    let sum = |at| text.lines().filter_map(|line| column(line, at)).sum();
    (sum(1), sum(10))
}

/// Sum of `time_squeeze` in /proc/net/softnet_stat over all CPUs: how often a CPU stopped receiving although more
/// packets were waiting (net.core.netdev_budget).
pub fn parse_time_squeezes(softnet_stat: &str) -> u64 {
    let third = |line: &str| u64::from_str_radix(line.split_whitespace().nth(2)?, 16).ok();
    softnet_stat.lines().filter_map(third).sum()
}

/// Sums of the columns of a file in /proc/net/stat, by name. It has a line of names, then one line per CPU.
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

/// A neighbor table of the kernel, which all namespaces share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NeighborTable {
    /// Name: `arp_cache` or `ndisc_cache`.
    pub name: String,
    /// Current number of entries.
    pub entries: u64,
    /// Maximum number of entries (gc_thresh3).
    pub max_entries: u64,
    /// Failed resolutions (res_failed).
    pub failed: u64,
    /// Number of times that it was full (table_fulls).
    pub table_fulls: u64,
}

/// Parses a reply to RTM_GETNEIGHTBL (struct ndtmsg, linux/neighbour.h). `None` if it has no name or statistics.
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

/// Layout of a record of `skb:kfree_skb` in the running kernel, and its names of drop reasons: both differ between
/// versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceFormat {
    /// Offset and size of each field, in bytes.
    location: (usize, usize),
    protocol: (usize, usize),
    reason: (usize, usize),
    names: BTreeMap<u64, String>,
}

/// One dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DropRecord {
    /// Name of the drop reason, or its number.
    pub reason: String,
    /// EtherType.
    pub protocol: u16,
    /// Address of the kernel code that dropped it.
    pub location: u64,
}

impl TraceFormat {
    /// Parses the `format` file of the tracepoint. `None` if this kernel has no drop reasons (before 5.17).
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

    /// Decodes a record. `None` if it is shorter than the format.
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
                // Subsystems have reasons of their own, without names in the format.
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
    fn records_follow_the_format_of_the_kernel() {
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
    fn counters_and_reasons_are_unique() {
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
