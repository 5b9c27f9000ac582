//! PURE. Protocol decoders: bytes to meaning, in two levels. The bytes are the evidence, and the
//! meaning is what follows from them. Nothing here panics on any input, and nothing reads past the
//! captured bytes.
//!
//! [`glance`] extracts the few header fields that the recorder needs of every packet, in some
//! nanoseconds. [`decode`] decodes one packet completely, for people and for the trackers.
//!
//! This file holds the decoded [`Packet`], which every decoder fills; a decoder is a file that reads
//! from a [`mod@cursor`] and adds its protocol, its summary and its [`Meaning`]. Layers call each other
//! through this file, since tunnels and ICMP errors carry packets within packets.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod applications;
pub mod arp;
pub mod cursor;
pub mod details;
mod dns_name;
mod ethertypes;
pub mod extensions;
mod frame;
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Bounds are checked by `get`.
pub mod glance;
pub mod icmp;
pub mod identity;
pub mod igmp;
mod ip;
mod link;
pub mod linktype;
pub mod mld;
mod mpls;
pub mod nd;
mod netlink;
pub mod pim;
mod ppp;
mod routing;
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Bounds are checked by `get`.
pub mod segment;
pub mod services;
mod tunnel;
mod upper;
mod wlan;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::text::push_decimal;

pub use applications::{dns_code_name, dns_type_name};
use cursor::{Cursor, Mac, UnexpectedEnd};
pub use dns_name::{DnsRecord, answers as dns_answers, question as dns_question};
pub use frame::{Checksum, Direction, Frame, LinkType};
pub use upper::name as protocol_name;

/// Maximum nesting of tunnels that is decoded.
const MAX_DEPTH: usize = 4;
/// Length of most summaries, in bytes: a string that grows is copied each time.
const SUMMARY: usize = 120;

/// Network headers of a packet whose place is kept: the outermost one, and one in each tunnel.
const MAX_NETWORK_HEADERS: usize = MAX_DEPTH + 1;

/// Decodes a whole packet. Never panics, never reads past the captured bytes, and terminates: every
/// loop consumes bytes or has a limit.
pub fn decode<'a>(frame: &Frame<'a>) -> Packet<'a> {
    let mut packet = Packet::new(*frame);
    link::read(&mut packet);
    if frame.checksum == Checksum::Bad && packet.bad_checksum.is_none() {
        // The innermost layer that has one; the bytes that would show it are not here.
        let checked = ["udp", "tcp", "icmp6", "icmp", "igmp", "pim"];
        let layer = packet
            .protocols
            .iter()
            .rev()
            .find(|name| checked.contains(name));
        packet.bad_checksum = Some(layer.copied().unwrap_or("ip"));
    }
    packet
}

/// Decodes the message that follows an IP header.
fn read_upper<'a>(packet: &mut Packet<'a>, payload: ip::Payload<'a>) {
    upper::read(packet, payload);
}

/// Decodes a frame of a link type.
fn read_link(packet: &mut Packet<'_>, of: LinkType, at: usize, end: usize) {
    link::of_type(packet, of, at, end);
}

/// Decodes an IP packet of either version.
fn read_raw(packet: &mut Packet<'_>, at: usize, end: usize) {
    link::raw(packet, at, end);
}

/// Decodes a packet by its EtherType.
fn read_ethertype(packet: &mut Packet<'_>, number: u16, at: usize, end: usize) {
    link::by_ethertype(packet, number, at, end);
}

/// Decodes an LLC header of IEEE 802.2.
fn read_llc(packet: &mut Packet<'_>, length: usize, at: usize, end: usize) {
    link::llc(packet, length, at, end);
}

/// Decodes an Ethernet frame within a tunnel.
fn read_bridged<'a>(packet: &mut Packet<'a>, from: Cursor<'a>) {
    if packet.enter() {
        let (at, end) = (from.offset(), from.offset().saturating_add(from.left()));
        packet.push_inner("", |packet| link::ethernet(packet, at, end));
    }
}

/// Why decoding stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The capture ended before the packet did.
    Truncated,
    /// The packet contradicts its protocol.
    Malformed,
    /// Unsupported protocol, version or type.
    Unknown,
}

/// Where and why decoding stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of problem.
    pub kind: ProblemKind,
    /// The protocol that was being decoded.
    pub layer: &'static str,
    /// Byte offset in the frame.
    pub offset: usize,
    /// What is wrong there, in words.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            ProblemKind::Truncated => "truncated",
            ProblemKind::Malformed => "malformed",
            ProblemKind::Unknown => "unknown",
        };
        write!(
            to,
            "{kind} {} at byte {}: {}",
            self.layer, self.offset, self.reason
        )
    }
}

/// Delivery scope of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryScope {
    /// To one host.
    Unicast,
    /// To all hosts of a link or network.
    Broadcast,
    /// To a multicast group.
    Multicast,
}

impl DeliveryScope {
    /// Returns the name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            DeliveryScope::Unicast => "unicast",
            DeliveryScope::Broadcast => "broadcast",
            DeliveryScope::Multicast => "multicast",
        }
    }
}

/// The decoded message of a layer, for trackers and diagnosis, which need more than a line of text.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Meaning {
    Arp(arp::Arp),
    Icmp(icmp::Icmp),
    Nd(nd::Nd),
    Igmp(igmp::Igmp),
    Mld(mld::Mld),
    Pim(pim::Pim),
    Identity(identity::Identity),
}

/// The fields of a network header that other layers and people need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP and ECN byte.
    pub traffic_class: u8,
    /// IPv4 identification, or that of an IPv6 fragment header.
    pub identification: u32,
    /// Upper-layer protocol, after extension headers.
    pub protocol: u8,
    /// Fragment offset in bytes.
    pub fragment_offset: u32,
    /// Whether more fragments follow.
    pub more_fragments: bool,
    /// Whether the DF flag is set (IPv4).
    pub dont_fragment: bool,
    /// Whether the router alert option is present (RFC 2113, RFC 2711).
    pub router_alert: bool,
    /// Payload length in bytes, as the header states it.
    pub payload_length: u32,
}

/// A network header within a tunnel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inner {
    /// The header.
    pub network: Network,
    /// Source and destination port of the transport header that follows.
    pub ports: Option<(u16, u16)>,
}

impl std::fmt::Display for Inner {
    /// Writes `source > destination `, with ports where there are any.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (source, destination) = (self.network.source, self.network.destination);
        match self.ports {
            Some((from, at)) => {
                let (source, destination) = (
                    SocketAddr::new(source, from),
                    SocketAddr::new(destination, at),
                );
                write!(to, "{source} > {destination} ")
            }
            None => write!(to, "{source} > {destination} "),
        }
    }
}

/// A decoded packet.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// The frame that was decoded.
    pub frame: Frame<'a>,
    /// Names of the protocols, outermost first.
    pub protocols: Vec<&'static str>,
    /// Link-layer source and destination.
    pub link: Option<(Mac, Mac)>,
    /// VLAN identifiers, outermost first.
    pub vlans: Vec<u16>,
    /// The outermost network header.
    pub network: Option<Network>,
    /// Source and destination port of the outermost transport header.
    pub ports: Option<(u16, u16)>,
    /// Network headers within tunnels, outermost first.
    pub inner: Vec<Inner>,
    /// MPLS labels (20 bits), outermost first.
    pub labels: Vec<u32>,
    /// EtherType and offset of each IP and ARP header that was decoded, outermost first; 0 after the last.
    pub(super) network_headers: [(u16, usize); MAX_NETWORK_HEADERS],
    /// Server name of a TLS or DTLS client hello (RFC 6066, section 3), printable.
    pub server_name: Option<String>,
    /// Summary for people, on one line.
    pub summary: String,
    /// Decoded messages of the layers, outermost first.
    pub meanings: Vec<Meaning>,
    /// Where and why decoding stopped; `None` if it was complete.
    pub problem: Option<Problem>,
    /// The layer whose checksum is wrong.
    pub bad_checksum: Option<&'static str>,
    /// The layer above IP whose checksum was verified.
    pub(super) good_checksum: Option<&'static str>,
    /// Final destination of a source-routed packet that has not reached it yet, for checksums.
    pub(super) final_destination: Option<IpAddr>,
    /// Whether a transport checksum field holds only the sum of the pseudo-header.
    pub(super) partial_checksum: bool,
    /// Nesting depth of tunnels.
    pub(super) depth: usize,
    /// Whether this is a packet quoted in an ICMP error, which may be cut.
    pub(super) quoted: bool,
}

impl<'a> Packet<'a> {
    pub(super) fn new(frame: Frame<'a>) -> Packet<'a> {
        Packet {
            frame,
            protocols: Vec::with_capacity(4),
            link: None,
            vlans: Vec::new(),
            network: None,
            ports: None,
            inner: Vec::new(),
            labels: Vec::new(),
            network_headers: [(0, 0); MAX_NETWORK_HEADERS],
            server_name: None,
            summary: String::with_capacity(SUMMARY),
            meanings: Vec::new(),
            problem: None,
            bad_checksum: None,
            good_checksum: None,
            final_destination: None,
            partial_checksum: false,
            depth: 0,
            quoted: false,
        }
    }

    /// Returns the innermost protocol that was recognized.
    pub fn protocol(&self) -> &'static str {
        self.protocols.last().copied().unwrap_or("unknown")
    }

    /// Returns the delivery scope, from the network header, or else from the link header.
    pub fn cast(&self) -> Option<DeliveryScope> {
        let link = self.link.map(|(_, to)| {
            if to.is_broadcast() {
                DeliveryScope::Broadcast
            } else if to.is_multicast() {
                DeliveryScope::Multicast
            } else {
                DeliveryScope::Unicast
            }
        });
        match self.network.map(|network| network.destination) {
            Some(to) if to.is_multicast() => Some(DeliveryScope::Multicast),
            Some(IpAddr::V4(to)) if to.is_broadcast() => Some(DeliveryScope::Broadcast),
            Some(_) if link == Some(DeliveryScope::Broadcast) => Some(DeliveryScope::Broadcast),
            Some(_) => Some(DeliveryScope::Unicast),
            None => link,
        }
    }

    /// Returns EtherType and byte offset of each IP and ARP header, outermost first, also behind PPPoE and MPLS and
    /// within tunnels. Packets quoted in ICMP errors and in PIM registers do not count.
    pub fn network_headers(&self) -> impl Iterator<Item = (u16, usize)> + '_ {
        let known = |(number, _): &&(u16, usize)| *number != 0;
        self.network_headers.iter().take_while(known).copied()
    }

    /// Keeps the place of a network header.
    pub(super) fn keep_network_header(&mut self, number: u16, at: usize) {
        let free = (self.network_headers.iter_mut()).find(|(number, _)| *number == 0);
        if let Some(place) = free.filter(|_| !self.quoted) {
            *place = (number, at);
        }
    }

    /// Counts a level of nesting. Returns `false`, with a problem, if there are too many.
    pub(super) fn enter(&mut self) -> bool {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            let why = format!("more than {MAX_DEPTH} tunnels within one another");
            self.problem(ProblemKind::Unknown, "tunnel", 0, why);
        }
        self.depth <= MAX_DEPTH
    }

    pub(super) fn push_summary(&mut self, text: impl AsRef<str>) {
        self.summary.push_str(text.as_ref());
    }

    /// Adds formatted text, without a string in between.
    pub(super) fn write_summary(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.summary.write_fmt(text);
    }

    /// Adds `words` and a number: half of what a TCP segment says, and so without the formatter.
    pub(super) fn push_number(&mut self, words: &str, number: impl Into<u64>) {
        self.summary.push_str(words);
        push_decimal(&mut self.summary, number.into());
    }

    /// Adds what an inner packet says, after `prefix` and a colon; the prefix alone if it says nothing.
    pub(super) fn push_inner(&mut self, prefix: &str, inner: impl FnOnce(&mut Packet<'a>)) {
        self.push_summary(prefix);
        let before = self.summary.len();
        self.push_summary(": ");
        let start = self.summary.len();
        inner(self);
        if self.summary.len() == start {
            self.summary.truncate(before);
        }
    }

    pub(super) fn problem(
        &mut self,
        kind: ProblemKind,
        layer: &'static str,
        offset: usize,
        reason: impl Into<String>,
    ) {
        // The first problem is the cause; later ones follow from it.
        if self.problem.is_none() && !self.quoted {
            self.problem = Some(Problem {
                kind,
                layer,
                offset,
                reason: reason.into(),
            });
        }
    }

    /// Reports a field that was cut off: by the capture if the captured bytes end there, else by the packet
    /// itself.
    pub(super) fn short(&mut self, layer: &'static str, short: UnexpectedEnd) {
        let cut = (self.frame.bytes.len() as u64) < u64::from(self.frame.original_length);
        // A decoder that is bounded by a length field and still reaches the end of the captured
        // bytes was cut off by the capture.
        let at_end = cut && short.offset.saturating_add(64) >= self.frame.bytes.len();
        if at_end {
            let end = self.frame.bytes.len();
            self.problem(
                ProblemKind::Truncated,
                layer,
                short.offset,
                format!("captured up to byte {end}"),
            );
        } else {
            self.problem(
                ProblemKind::Malformed,
                layer,
                short.offset,
                "ends before its header does",
            );
        }
    }

    /// Runs `reader` and reports a problem if it ran out of bytes.
    pub(super) fn read<T>(
        &mut self,
        layer: &'static str,
        reader: impl FnOnce(&mut Packet<'a>) -> Result<T, UnexpectedEnd>,
    ) -> Option<T> {
        match reader(self) {
            Ok(value) => Some(value),
            Err(short) => {
                self.short(layer, short);
                None
            }
        }
    }

    /// Records whether the checksum of a layer is right. The outermost layer counts.
    pub(super) fn judge(&mut self, layer: &'static str, is_right: bool) {
        if is_right {
            self.good_checksum.get_or_insert(layer);
        } else {
            self.bad_checksum.get_or_insert(layer);
        }
    }

    /// Returns whether a checksum can be verified: all bytes are there, and it was not left to hardware.
    pub(super) fn can_judge(&self, complete: bool) -> bool {
        complete && !self.quoted && self.frame.checksum != Checksum::NotReady
    }
}

/// Formats the items of a list that could be read, of which only some may be shown, with the number of
/// those that are missing; `[one, many]` is their noun. Returns `None` for an empty list.
fn partial_list(
    shown: &[String],
    declared: usize,
    [one, many]: [&str; 2],
    separator: &str,
) -> Option<String> {
    let missing = declared.saturating_sub(shown.len());
    let list = shown.join(separator);
    let before_and = separator.trim_end().trim_end_matches(',');
    match (shown.is_empty(), missing) {
        (true, 0) => None,
        (true, 1) => Some(format!("1 {one}, cut off")),
        (true, missing) => Some(format!("{missing} {many}, cut off")),
        (false, 0) => Some(list),
        (false, missing) => Some(format!("{list}{before_and} and {missing} more")),
    }
}

/// Returns a cursor over the frame from `at` to `end`.
pub(super) fn cursor<'a>(frame: &Frame<'a>, at: usize, end: usize) -> Cursor<'a> {
    let end = end.min(frame.bytes.len());
    Cursor::new(frame.bytes.get(at..end).unwrap_or_default(), at)
}
