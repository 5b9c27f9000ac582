//! SHELL. Hand-made frames: queriers, reports, and streams with defects.
//!
//! # Panics
//! Addresses are strings, as in a drawing of the network; invalid ones panic.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr};

use netsonde_core::multicast::names;
use netsonde_core::wire::cursor::sum;

/// Destination port of hand-made streams.
pub const PORT: u16 = 5000;

/// Returns the MAC address of a group.
pub fn mac_of(group: &str) -> [u8; 6] {
    names::mac(group.parse().unwrap())
}

/// Returns an Ethernet frame with the fixed source 02:00:00:00:00:55.
pub fn ethernet(to: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 0x55]);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Returns a broadcast ARP request with a spoofed sender address.
pub fn arp_request(sender: &str, target: &str) -> Vec<u8> {
    let [sender, target]: [Ipv4Addr; 2] = [sender, target].map(|text| text.parse().unwrap());
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
    body.extend_from_slice(&[2, 0, 0, 0, 0, 0x55]);
    body.extend_from_slice(&sender.octets());
    body.extend_from_slice(&[0; 6]);
    body.extend_from_slice(&target.octets());
    ethernet([0xff; 6], 0x0806, &body)
}

/// Returns an IPv4 packet with the given identification and fragment field; the length of `options`
/// is a multiple of four.
pub fn ipv4(
    (from, to): (Ipv4Addr, Ipv4Addr),
    (protocol, ttl): (u8, u8),
    (id, fragment): (u16, u16),
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let words = 5 + options.len() / 4;
    let mut packet = vec![0x40 | words as u8, 0xc0];
    packet.extend_from_slice(&((words * 4 + payload.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[ttl, protocol, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(options);
    let check = !(sum(&packet, 0) as u16);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// Returns a UDP datagram to [`PORT`]; its checksum is right, or wrong by one bit.
pub fn udp(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8], is_right: bool) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut datagram = 4000u16.to_be_bytes().to_vec();
    datagram.extend_from_slice(&PORT.to_be_bytes());
    datagram.extend_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    let pseudo = sum(&to.octets(), sum(&from.octets(), 17 + u32::from(length)));
    let check = !(sum(&datagram, pseudo) as u16);
    let check = if is_right { check } else { check ^ 0x0100 };
    datagram[6..8].copy_from_slice(&check.to_be_bytes());
    datagram
}

/// Returns a whole frame of a stream, to any MAC address.
pub fn stream_frame(mac: [u8; 6], from: &str, group: &str, number: u64, is_right: bool) -> Vec<u8> {
    let (from, to): (Ipv4Addr, Ipv4Addr) = (from.parse().unwrap(), group.parse().unwrap());
    let payload = format!("frame {number}");
    let datagram = udp(from, to, payload.as_bytes(), is_right);
    ethernet(
        mac,
        0x0800,
        &ipv4((from, to), (17, 1), (number as u16, 0), &[], &datagram),
    )
}

/// Returns an RTP packet with the payload type of MPEG transport streams.
pub fn rtp(number: u64) -> Vec<u8> {
    let mut packet = vec![0x80, 33];
    packet.extend_from_slice(&(number as u16).to_be_bytes());
    packet.extend_from_slice(&(number as u32 * 3000).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 7]);
    packet.resize(200, 0);
    packet
}

/// Returns an IGMP message in a frame, with the router alert option.
pub fn igmp(from: &str, to: &str, ttl: u8, mut message: Vec<u8>) -> Vec<u8> {
    let check = !(sum(&message, 0) as u16);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let addresses = (from.parse().unwrap(), to.parse().unwrap());
    let packet = ipv4(addresses, (2, ttl), (0, 0), &[0x94, 4, 0, 0], &message);
    ethernet(mac_of(to), 0x0800, &packet)
}

/// Parameters of a query.
#[derive(Clone, Copy, Debug)]
pub struct QueryParams {
    /// IGMP version, 2 or 3.
    pub version: u8,
    /// Maximum response time, in tenths of a second.
    pub max_response: u8,
    /// Interval in seconds below 128, otherwise in the floating-point form (RFC 3376, section
    /// 4.1.7).
    pub interval: u8,
}

/// IGMPv3 with a response time of half a second and an interval of one second.
pub const Q3: QueryParams = QueryParams {
    version: 3,
    max_response: 5,
    interval: 1,
};
/// The same for IGMPv2.
pub const Q2: QueryParams = QueryParams { version: 2, ..Q3 };

/// Returns a general query, or a group-specific one.
pub fn query(from: &str, group: Option<&str>, how: QueryParams, ttl: u8) -> Vec<u8> {
    let of: Ipv4Addr = group.unwrap_or("0.0.0.0").parse().unwrap();
    let mut message = vec![0x11, how.max_response, 0, 0];
    message.extend_from_slice(&of.octets());
    if how.version == 3 {
        // Robustness 2.
        message.extend_from_slice(&[2, how.interval, 0, 0]);
    }
    igmp(from, group.unwrap_or("224.0.0.1"), ttl, message)
}

/// Returns an IGMPv2 report.
pub fn report(from: &str, group: &str) -> Vec<u8> {
    let of: Ipv4Addr = group.parse().unwrap();
    let mut message = vec![0x16, 0, 0, 0];
    message.extend_from_slice(&of.octets());
    igmp(from, group, 1, message)
}

/// Returns an MLDv2 general query: response time half a second, interval one second, robustness 2.
pub fn mld_query(from: &str) -> Vec<u8> {
    let (from, to): (Ipv6Addr, Ipv6Addr) = (from.parse().unwrap(), "ff02::1".parse().unwrap());
    let mut message = vec![130, 0, 0, 0];
    message.extend_from_slice(&500u16.to_be_bytes());
    message.extend_from_slice(&[0; 18]);
    message.extend_from_slice(&[2, 1, 0, 0]);
    let pseudo = sum(&to.octets(), sum(&from.octets(), 58 + message.len() as u32));
    let check = !(sum(&message, pseudo) as u16);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(8 + message.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    // Hop-by-hop options: router alert for MLD, padding.
    packet.extend_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
    packet.extend_from_slice(&message);
    ethernet(mac_of("ff02::1"), 0x86dd, &packet)
}
