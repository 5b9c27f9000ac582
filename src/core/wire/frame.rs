//! PURE. One captured frame: its bytes, its link type, and what the kernel knows of it.

/// Link type of a frame, from its capture file or interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LinkType {
    /// IEEE 802.3 Ethernet (LINKTYPE_ETHERNET, 1).
    Ethernet = 1,
    /// No link layer: an IPv4 or IPv6 header comes first (LINKTYPE_RAW 101, also 12, 228 and 229).
    RawIp = 2,
    /// Linux cooked capture v1 (LINKTYPE_LINUX_SLL, 113).
    LinuxCooked = 3,
    /// Linux cooked capture v2 (LINKTYPE_LINUX_SLL2, 276).
    LinuxCooked2 = 4,
    /// BSD loopback, a 4-byte address family in the writer's byte order (LINKTYPE_NULL, 0).
    Null = 5,
    /// OpenBSD loopback, a 4-byte address family in network byte order (LINKTYPE_LOOP, 108).
    Loop = 6,
    /// Any other link type: recorded, but not decoded.
    Other = 7,
    /// PPP in HDLC-like framing (LINKTYPE_PPP 9, LINKTYPE_PPP_HDLC 50).
    Ppp = 8,
    /// PPPoE from its header on (LINKTYPE_PPP_ETHER, 51).
    PppEther = 9,
    /// Cisco HDLC (LINKTYPE_C_HDLC, 104).
    CiscoHdlc = 10,
    /// IEEE 802.11 (LINKTYPE_IEEE802_11, 105).
    Wlan = 11,
    /// IEEE 802.11 with a radiotap header (LINKTYPE_IEEE802_11_RADIOTAP, 127).
    Radiotap = 12,
    /// Per-packet information with a link type of its own (LINKTYPE_PPI, 192).
    Ppi = 13,
    /// Linux netfilter log (LINKTYPE_NFLOG, 239).
    Nflog = 14,
    /// Linux netlink (LINKTYPE_NETLINK, 253).
    Netlink = 15,
}

impl LinkType {
    /// Returns the LINKTYPE_ number for a pcapng interface block.
    pub fn to_linktype(self) -> u16 {
        match self {
            LinkType::Ethernet => 1,
            LinkType::RawIp => 101,
            LinkType::LinuxCooked => 113,
            LinkType::LinuxCooked2 => 276,
            LinkType::Null => 0,
            LinkType::Loop => 108,
            LinkType::Other => 147,
            LinkType::Ppp => 9,
            LinkType::PppEther => 51,
            LinkType::CiscoHdlc => 104,
            LinkType::Wlan => 105,
            LinkType::Radiotap => 127,
            LinkType::Ppi => 192,
            LinkType::Nflog => 239,
            LinkType::Netlink => 253,
        }
    }

    /// Converts a LINKTYPE_ (or DLT_) number of a capture file.
    pub fn from_linktype(number: u32) -> LinkType {
        match number {
            1 => LinkType::Ethernet,
            12 | 14 | 101 | 228 | 229 => LinkType::RawIp,
            113 => LinkType::LinuxCooked,
            276 => LinkType::LinuxCooked2,
            0 => LinkType::Null,
            108 => LinkType::Loop,
            9 | 50 => LinkType::Ppp,
            51 => LinkType::PppEther,
            104 => LinkType::CiscoHdlc,
            105 => LinkType::Wlan,
            127 => LinkType::Radiotap,
            192 => LinkType::Ppi,
            239 => LinkType::Nflog,
            253 => LinkType::Netlink,
            _ => LinkType::Other,
        }
    }

    /// Converts the number in a record; unknown numbers become [`LinkType::Other`].
    pub fn from_u8(number: u8) -> LinkType {
        match number {
            1 => LinkType::Ethernet,
            2 => LinkType::RawIp,
            3 => LinkType::LinuxCooked,
            4 => LinkType::LinuxCooked2,
            5 => LinkType::Null,
            6 => LinkType::Loop,
            8 => LinkType::Ppp,
            9 => LinkType::PppEther,
            10 => LinkType::CiscoHdlc,
            11 => LinkType::Wlan,
            12 => LinkType::Radiotap,
            13 => LinkType::Ppi,
            14 => LinkType::Nflog,
            15 => LinkType::Netlink,
            _ => LinkType::Other,
        }
    }
}

/// State of a packet's transport checksum, as far as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Checksum {
    /// Not known: a wrong checksum in the packet is an error.
    #[default]
    Unknown = 0,
    /// Left to hardware that has not run yet (TP_STATUS_CSUMNOTREADY): the field holds a partial
    /// sum and is not an error.
    NotReady = 1,
    /// Verified by the kernel or the device (TP_STATUS_CSUM_VALID).
    Valid = 2,
    /// Verified as wrong when all bytes of the packet were at hand.
    Bad = 3,
}

/// Direction of a packet on its interface, from `sll_pkttype` (packet(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Direction {
    /// Not known (capture files without it).
    #[default]
    Unknown = 0,
    /// Received, addressed to this host (PACKET_HOST).
    ToUs = 1,
    /// Received, addressed to the link's broadcast address (PACKET_BROADCAST).
    Broadcast = 2,
    /// Received, addressed to a link-layer group (PACKET_MULTICAST).
    Multicast = 3,
    /// Received, addressed to some other host (PACKET_OTHERHOST).
    ToOther = 4,
    /// Sent by this host (PACKET_OUTGOING).
    Outbound = 5,
}

impl Direction {
    /// Converts the number in a record; unknown numbers become [`Direction::Unknown`].
    pub fn from_u8(number: u8) -> Direction {
        match number {
            1 => Direction::ToUs,
            2 => Direction::Broadcast,
            3 => Direction::Multicast,
            4 => Direction::ToOther,
            5 => Direction::Outbound,
            _ => Direction::Unknown,
        }
    }

    /// Returns whether the packet was received.
    pub fn is_inbound(self) -> bool {
        matches!(
            self,
            Direction::ToUs | Direction::Broadcast | Direction::Multicast | Direction::ToOther
        )
    }
}

/// One captured frame: the evidence that everything else is derived from. VLAN tags are in `bytes`, as
/// on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The link-layer header that `bytes` begin with.
    pub link: LinkType,
    /// The captured bytes, possibly fewer than on the wire.
    pub bytes: &'a [u8],
    /// Length on the wire, in bytes.
    pub original_length: u32,
    /// State of the transport checksum.
    pub checksum: Checksum,
}
