//! PURE. Table of the address families, by number. Numbers and names are those of linux/socket.h.

use super::{DGRAM, Family, RAW, SEQPACKET, STREAM};

/// Defaults of the fields that most families do not set.
const PLAIN: Family = Family {
    number: 0,
    name: "",
    aliases: &[],
    title: "",
    purpose: "",
    legacy: false,
    absent: None,
    elsewhere: "BSD, macOS and Windows have no equivalent.",
    registered: &[],
    protocol: &[],
    protocols: &[],
};

/// SOCK_STREAM, as the type of the fields below.
const S: u8 = STREAM as u8;
/// SOCK_DGRAM.
const D: u8 = DGRAM as u8;
/// SOCK_RAW.
const R: u8 = RAW as u8;
/// SOCK_SEQPACKET.
const Q: u8 = SEQPACKET as u8;

/// All families; the index is the number.
pub const FAMILIES: &[Family] = &[
    Family {
        number: 0,
        name: "AF_UNSPEC",
        title: "no family",
        purpose: "Stands for any family in name lookups, and removes a datagram socket's peer in connect(2); it has no \
                  sockets.",
        absent: Some("it is a value of other calls, not a kind of socket"),
        elsewhere: "BSD, macOS and Windows have it with the same meaning.",
        ..PLAIN
    },
    Family {
        number: 1,
        name: "AF_UNIX",
        aliases: &["AF_LOCAL", "AF_FILE"],
        title: "processes of one host",
        purpose: "Connects processes of one host by a path, an abstract name or as a pair, and passes open files and \
                  the identity of the peer: D-Bus, Docker's socket, systemd, the journal, X11 and \
                  Wayland, databases, this program's service.",
        elsewhere: "BSD and macOS have it, without abstract names, and macOS without SOCK_SEQPACKET; Windows \
                    has streams of it since 10 (1803), without descriptor passing, in addition to \
                    named pipes.",
        registered: &["UNIX", "UNIX-STREAM"],
        ..PLAIN
    },
    Family {
        number: 2,
        name: "AF_INET",
        title: "IPv4",
        purpose: "IPv4: TCP, UDP and the other protocols of the Internet.",
        elsewhere: "The same everywhere; Windows, except Windows Server, sends no TCP through raw sockets.",
        registered: &[
            "TCP", "UDP", "UDP-Lite", "RAW", "PING", "MPTCP", "SCTP", "DCCP", "L2TP/IP",
        ],
        protocol: &[(R, 1)],
        protocols: &[
            ("tcp", S, 6),
            ("mptcp", S, 262),
            ("smc", S, 256),
            ("udp", D, 17),
            ("udplite", D, 136),
            ("ping (icmp)", D, 1),
            ("l2tp", D, 115),
            ("icmp", R, 1),
            ("igmp", R, 2),
            ("any header (raw)", R, 255),
            ("sctp", Q, 132),
            ("dccp", 6, 33),
        ],
        ..PLAIN
    },
    Family {
        number: 3,
        name: "AF_AX25",
        title: "amateur radio: packet radio",
        purpose: "AX.25, the link layer of packet radio: digipeaters, APRS and mailboxes of radio amateurs; \
                  removed in Linux 7.1.",
        legacy: true,
        elsewhere: "BSD, macOS and Windows have none in the kernel; modem programs such as Dire Wolf offer it \
                    over TCP.",
        registered: &["AX25"],
        ..PLAIN
    },
    Family {
        number: 4,
        name: "AF_IPX",
        title: "Novell NetWare",
        purpose: "IPX, the network layer of Novell NetWare and of games of the 1990s.",
        legacy: true,
        absent: Some("removed in Linux 4.18"),
        elsewhere: "Windows had it up to XP and Server 2003, FreeBSD up to 10.",
        ..PLAIN
    },
    Family {
        number: 5,
        name: "AF_APPLETALK",
        title: "AppleTalk: old Macs and printers",
        purpose: "AppleTalk's datagrams (DDP), for file servers and printers of old Macs: netatalk 2 and 4; \
                  removed in Linux 7.2.",
        legacy: true,
        elsewhere: "NetBSD has it (16); macOS had it up to 10.5, Windows and FreeBSD had it once.",
        registered: &["DDP"],
        ..PLAIN
    },
    Family {
        number: 6,
        name: "AF_NETROM",
        title: "amateur radio: NET/ROM",
        purpose: "NET/ROM, routing between nodes of packet radio above AX.25; removed in Linux 7.1.",
        legacy: true,
        registered: &["NETROM"],
        ..PLAIN
    },
    Family {
        number: 7,
        name: "AF_BRIDGE",
        title: "bridges, in rtnetlink only",
        purpose: "Marks rtnetlink messages about bridges (ports, forwarding tables, group tables); it has no sockets.",
        absent: Some("it is a number in messages, not a kind of socket"),
        elsewhere: "BSD and macOS configure bridges by ioctl(2), Windows by its management interfaces.",
        ..PLAIN
    },
    Family {
        number: 8,
        name: "AF_ATMPVC",
        title: "ATM: permanent circuits",
        purpose: "Permanent virtual circuits of ATM, as of DSL modems and carriers' networks of the 1990s.",
        legacy: true,
        elsewhere: "Windows had ATM around 2000, FreeBSD up to 13, finally only in netgraph.",
        ..PLAIN
    },
    Family {
        number: 9,
        name: "AF_X25",
        title: "X.25 packet networks",
        purpose: "X.25, the packet networks of banks, airlines and air traffic control before the Internet.",
        legacy: true,
        elsewhere: "BSD had X.25 once (AF_CCITT); for Windows there are products with their own interfaces.",
        registered: &["X25"],
        ..PLAIN
    },
    Family {
        number: 10,
        name: "AF_INET6",
        title: "IPv6",
        purpose: "IPv6, and IPv4 as well on a socket without IPV6_V6ONLY.",
        elsewhere: "The same everywhere with other numbers: 28 on FreeBSD, 24 on NetBSD and \
                    OpenBSD, 30 on macOS, 23 on Windows; OpenBSD never accepts IPv4 on it, FreeBSD, NetBSD and \
                    Windows only if a program requests it.",
        registered: &[
            "TCPv6",
            "UDPv6",
            "UDPLITEv6",
            "RAWv6",
            "PINGv6",
            "MPTCPv6",
            "SCTPv6",
            "DCCPv6",
            "L2TP/IPv6",
        ],
        protocol: &[(R, 58)],
        protocols: &[
            ("tcp", S, 6),
            ("mptcp", S, 262),
            ("smc", S, 256),
            ("udp", D, 17),
            ("udplite", D, 136),
            ("ping (icmp6)", D, 58),
            ("l2tp", D, 115),
            ("icmp6", R, 58),
            ("any header (raw)", R, 255),
            ("sctp", Q, 132),
            ("dccp", 6, 33),
        ],
        ..PLAIN
    },
    Family {
        number: 11,
        name: "AF_ROSE",
        title: "amateur radio: X.25 over AX.25",
        purpose: "ROSE, the X.25 packet layer above AX.25, in networks of radio amateurs; removed in Linux 7.1.",
        legacy: true,
        registered: &["ROSE"],
        ..PLAIN
    },
    Family {
        number: 12,
        name: "AF_DECnet",
        title: "DECnet Phase IV",
        purpose: "DECnet Phase IV, between VMS systems.",
        legacy: true,
        absent: Some("removed in Linux 6.1"),
        elsewhere: "BSD names the number only; for Windows there were products (Pathworks).",
        ..PLAIN
    },
    Family {
        number: 13,
        name: "AF_NETBEUI",
        title: "NetBEUI, never made",
        purpose: "Was set aside for NetBEUI, the file sharing of Windows for Workgroups.",
        legacy: true,
        absent: Some("Linux never had it"),
        elsewhere: "Windows had it up to 2000.",
        ..PLAIN
    },
    Family {
        number: 14,
        name: "AF_SECURITY",
        title: "security callbacks, never made",
        purpose: "Was set aside for callbacks of security code.",
        legacy: true,
        absent: Some("Linux never had it"),
        ..PLAIN
    },
    Family {
        number: 15,
        name: "AF_KEY",
        title: "keys of IPsec (PF_KEY)",
        purpose: "Passes keys and policies of IPsec to the kernel (RFC 2367): setkey, racoon; strongSwan and \
                  Libreswan use AF_NETLINK for it.",
        legacy: true,
        elsewhere: "BSD and macOS have it as the standard interface; Windows has the Filtering Platform.",
        registered: &["KEY"],
        protocol: &[(R, 2)],
        ..PLAIN
    },
    Family {
        number: 16,
        name: "AF_NETLINK",
        aliases: &["AF_ROUTE"],
        title: "programs and the kernel",
        purpose: "Queries and configures networks and devices in the kernel, and receives notifications of changes: \
                  ip, ss, nft, wpa_supplicant, NetworkManager, udev, auditd.",
        elsewhere: "BSD and macOS have routing sockets (AF_ROUTE), sysctl(3) and ioctl(2), FreeBSD netlink as \
                    well since 13.2; Windows has the IP Helper functions.",
        registered: &["NETLINK"],
        protocols: &[
            ("route", R, 0),
            ("usersock", R, 2),
            ("sock_diag", R, 4),
            ("nflog", R, 5),
            ("xfrm", R, 6),
            ("selinux", R, 7),
            ("iscsi", R, 8),
            ("audit", R, 9),
            ("fib_lookup", R, 10),
            ("connector", R, 11),
            ("netfilter", R, 12),
            ("kobject_uevent", R, 15),
            ("generic", R, 16),
            ("scsitransport", R, 18),
            ("rdma", R, 20),
            ("crypto", R, 21),
            ("smc", R, 22),
        ],
        ..PLAIN
    },
    Family {
        number: 17,
        name: "AF_PACKET",
        title: "whole frames: capture",
        purpose: "Receives and sends whole frames of a link: tcpdump, Wireshark, dhclient, LLDP daemons, \
                  wpa_supplicant, virtual machines, netsonded.",
        elsewhere: "BSD and macOS have /dev/bpf; Windows has Npcap, an addition, and pktmon.",
        registered: &["PACKET"],
        ..PLAIN
    },
    Family {
        number: 18,
        name: "AF_ASH",
        title: "Ash, never made",
        purpose: "Was set aside for Ash, a network of 64 Mbit/s.",
        legacy: true,
        absent: Some("Linux never had it"),
        ..PLAIN
    },
    Family {
        number: 19,
        name: "AF_ECONET",
        title: "Acorn Econet",
        purpose: "Econet, the school network of Acorn's computers (BBC Micro).",
        legacy: true,
        absent: Some("removed in Linux 3.5"),
        elsewhere: "NetBSD had a driver once; macOS and Windows never had it.",
        ..PLAIN
    },
    Family {
        number: 20,
        name: "AF_ATMSVC",
        title: "ATM: switched circuits",
        purpose: "Virtual circuits of ATM that are set up by signalling, as telephone calls are; removed in \
                  Linux 7.2.",
        legacy: true,
        elsewhere: "Windows had ATM around 2000, FreeBSD up to 13, finally only in netgraph.",
        ..PLAIN
    },
    Family {
        number: 21,
        name: "AF_RDS",
        title: "database clusters (Oracle RAC)",
        purpose: "Reliable datagrams between many processes over few connections of InfiniBand or TCP: \
                  clusters of Oracle databases.",
        elsewhere: "Solaris has it; BSD, macOS and Windows don't.",
        registered: &["RDS"],
        ..PLAIN
    },
    Family {
        number: 22,
        name: "AF_SNA",
        title: "IBM SNA, never made",
        purpose: "Was set aside for IBM's Systems Network Architecture.",
        legacy: true,
        absent: Some("Linux never had it"),
        elsewhere: "Windows has Host Integration Server, a product; BSD names the number only.",
        ..PLAIN
    },
    Family {
        number: 23,
        name: "AF_IRDA",
        title: "infrared",
        purpose: "Infrared links of notebooks and telephones around 2000.",
        legacy: true,
        absent: Some("removed in Linux 4.17"),
        elsewhere: "Windows has the number 26 for it, NetBSD its frames as a device, irframe(4); macOS has none.",
        ..PLAIN
    },
    Family {
        number: 24,
        name: "AF_PPPOX",
        title: "PPP over Ethernet, L2TP, PPTP",
        purpose: "Carries PPP over other protocols: dial-in by DSL (PPPoE) and old tunnels (L2TP, PPTP), for \
                  pppd and accel-ppp.",
        elsewhere: "FreeBSD has netgraph, OpenBSD and NetBSD pppoe(4), macOS and Windows dialers of their own.",
        registered: &["PPPOE", "PPPOL2TP", "PPTP"],
        protocols: &[("pppoe", S, 0), ("l2tp", S, 1), ("pptp", S, 2)],
        ..PLAIN
    },
    Family {
        number: 25,
        name: "AF_WANPIPE",
        title: "Sangoma's WAN cards",
        purpose: "Interface to WAN cards of Sangoma (X.25, frame relay).",
        legacy: true,
        absent: Some("removed in Linux 2.6"),
        ..PLAIN
    },
    Family {
        number: 26,
        name: "AF_LLC",
        title: "IEEE 802.2 LLC",
        purpose: "IEEE 802.2 logical link control, for SNA over Ethernet and devices that communicate without IP.",
        legacy: true,
        elsewhere: "Windows had DLC up to 2000; on BSD and macOS such frames go through /dev/bpf.",
        registered: &["LLC"],
        ..PLAIN
    },
    Family {
        number: 27,
        name: "AF_IB",
        title: "InfiniBand addresses",
        purpose: "Addresses of InfiniBand for the RDMA connection manager (rdma_cm); it has no sockets.",
        absent: Some("it is an address of other calls, not a kind of socket"),
        elsewhere: "FreeBSD has the same library; Windows has Network Direct.",
        ..PLAIN
    },
    Family {
        number: 28,
        name: "AF_MPLS",
        title: "MPLS routes, in rtnetlink only",
        purpose: "Marks rtnetlink messages about MPLS labels; it has no sockets.",
        absent: Some("it is a number in messages, not a kind of socket"),
        elsewhere: "OpenBSD and NetBSD have it in their routing sockets (33); macOS and Windows have no MPLS.",
        ..PLAIN
    },
    Family {
        number: 29,
        name: "AF_CAN",
        title: "CAN bus: cars, machines",
        purpose: "The CAN bus in cars, machines, robots and lifts: raw frames, cyclic ones (BCM), ISO-TP for \
                  diagnosis, J1939 for trucks and tractors.",
        elsewhere: "NetBSD has raw frames of it since 8 (number 35); elsewhere each maker of adapters has a library.",
        registered: &["CAN_RAW", "CAN_BCM", "CAN_ISOTP", "CAN_J1939"],
        protocol: &[(R, 1), (D, 2)],
        protocols: &[
            ("raw", R, 1),
            ("bcm", D, 2),
            ("isotp", D, 6),
            ("j1939", D, 7),
        ],
        ..PLAIN
    },
    Family {
        number: 30,
        name: "AF_TIPC",
        title: "clusters in telecoms equipment",
        purpose: "Messages between services of a cluster by the service's name, wherever it runs: telecoms \
                  equipment.",
        registered: &["TIPC"],
        ..PLAIN
    },
    Family {
        number: 31,
        name: "AF_BLUETOOTH",
        title: "Bluetooth",
        purpose: "Bluetooth: bluetoothd and its tools, audio, serial links (RFCOMM), low energy devices.",
        elsewhere: "FreeBSD (36) and NetBSD (31) have it; macOS has IOBluetooth and Core Bluetooth, Windows \
                    AF_BTH (32).",
        registered: &["HCI", "L2CAP", "SCO", "RFCOMM", "BNEP", "HIDP", "ISO"],
        protocols: &[
            ("l2cap", Q, 0),
            ("hci", R, 1),
            ("sco", Q, 2),
            ("rfcomm", S, 3),
            ("iso", Q, 8),
        ],
        ..PLAIN
    },
    Family {
        number: 32,
        name: "AF_IUCV",
        title: "IBM mainframes: between guests",
        purpose: "Connects guests of z/VM, and partitions by HiperSockets, on IBM mainframes.",
        elsewhere: "Only z/VM's own systems have it.",
        registered: &["AF_IUCV"],
        ..PLAIN
    },
    Family {
        number: 33,
        name: "AF_RXRPC",
        title: "remote calls of AFS",
        purpose: "Remote procedure calls of the Andrew File System, for the kernel's AFS client and for programs.",
        elsewhere: "OpenAFS has the protocol in its own programs on BSD, macOS and Windows.",
        registered: &["RXRPC"],
        protocol: &[(D, 2)],
        ..PLAIN
    },
    Family {
        number: 34,
        name: "AF_ISDN",
        title: "ISDN",
        purpose: "ISDN cards (mISDN), for telephone systems such as Asterisk; removed in Linux 7.1.",
        legacy: true,
        elsewhere: "FreeBSD and NetBSD had drivers once; Windows has CAPI from the makers of cards.",
        registered: &["misdn"],
        ..PLAIN
    },
    Family {
        number: 35,
        name: "AF_PHONET",
        title: "Nokia's modems",
        purpose: "Messages to the modem inside Nokia telephones (N900) and to Nokia telephones by USB: ofono.",
        legacy: true,
        registered: &["PHONET", "PHONETPIPE"],
        ..PLAIN
    },
    Family {
        number: 36,
        name: "AF_IEEE802154",
        title: "low-power radio: sensors",
        purpose: "IEEE 802.15.4, the radio below Zigbee, Thread and 6LoWPAN: sensors, lamps, meters.",
        registered: &["IEEE-802.15.4-MAC", "IEEE-802.15.4-RAW"],
        ..PLAIN
    },
    Family {
        number: 37,
        name: "AF_CAIF",
        title: "ST-Ericsson's modems",
        purpose: "Channels to the modems of ST-Ericsson's telephones; removed in Linux 7.1.",
        legacy: true,
        registered: &["CAIF"],
        ..PLAIN
    },
    Family {
        number: 38,
        name: "AF_ALG",
        title: "the kernel's cryptography",
        purpose: "Lets programs use the kernel's ciphers and hashes: cryptsetup, iwd, bluetoothd, libkcapi.",
        elsewhere: "FreeBSD and NetBSD have /dev/crypto, macOS CommonCrypto, Windows CNG.",
        registered: &["ALG"],
        ..PLAIN
    },
    Family {
        number: 39,
        name: "AF_NFC",
        title: "near field: cards, tags",
        purpose: "Near field communication with cards, tags and telephones at touching distance: neard.",
        elsewhere: "Windows has functions for it; on BSD and macOS libnfc uses readers on USB.",
        registered: &["NFC_RAW", "NFC_LLCP"],
        protocols: &[("raw", Q, 0), ("llcp", D, 1)],
        ..PLAIN
    },
    Family {
        number: 40,
        name: "AF_VSOCK",
        title: "virtual machine and its host",
        purpose: "Connects a virtual machine with its host without any network: guest agents, Firecracker, \
                  WSL 2, VMware, Hyper-V, Kata Containers, ssh into guests of systemd.",
        elsewhere: "macOS has it for its virtual machines since 11 (number 40), Windows AF_HYPERV (34), FreeBSD \
                    AF_HYPERV (43) as a guest.",
        registered: &["AF_VSOCK"],
        ..PLAIN
    },
    Family {
        number: 41,
        name: "AF_KCM",
        title: "messages over TCP",
        purpose: "Lets several processes send and receive whole messages over TCP connections, which a BPF \
                  program splits into messages; rarely used.",
        registered: &["KCM"],
        ..PLAIN
    },
    Family {
        number: 42,
        name: "AF_QIPCRTR",
        title: "Qualcomm's chips",
        purpose: "Messages to the other processors of Qualcomm's chips: modems, Wi-Fi (ath11k, ath12k), \
                  sensors, in telephones and ARM laptops.",
        registered: &["QIPCRTR"],
        ..PLAIN
    },
    Family {
        number: 43,
        name: "AF_SMC",
        title: "TCP by shared memory",
        purpose: "Carries TCP streams over RDMA or the shared memory of IBM mainframes if both ends support it, else \
                  over TCP: databases, RPC in clouds.",
        elsewhere: "z/OS and AIX have the protocol (RFC 7609); BSD, macOS and Windows don't.",
        registered: &["SMC", "SMC6"],
        ..PLAIN
    },
    Family {
        number: 44,
        name: "AF_XDP",
        title: "frames past the network stack",
        purpose: "Passes frames between a device's queue and a program, mostly bypassing the kernel: \
                  DPDK, Open vSwitch, Suricata, Cilium.",
        elsewhere: "FreeBSD has netmap, Windows XDP for Windows, an addition; macOS has none.",
        registered: &["XDP"],
        ..PLAIN
    },
    Family {
        number: 45,
        name: "AF_MCTP",
        title: "management inside servers",
        purpose: "Messages between the management controller of a server and its devices (DMTF's MCTP): \
                  OpenBMC.",
        registered: &["MCTP"],
        ..PLAIN
    },
];
