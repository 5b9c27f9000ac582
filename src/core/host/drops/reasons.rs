//! PURE. Table of the kernel's drop reasons.

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
