//! PURE. ARP (RFC 826), with the probes and announcements of address conflict detection (RFC 5227).

use std::net::Ipv4Addr;

use super::cursor::{Cursor, Mac, UnexpectedEnd};
use super::glance::ethertype;
use super::{Meaning, Packet, ProblemKind};

/// An ARP message for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Arp {
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

impl Arp {
    /// Parses a message. Returns `None` if it is truncated or not IPv4 over Ethernet. Unlike the
    /// decoder it reports no problem: the neighbor tables call it for every ARP packet.
    pub fn read(bytes: &[u8]) -> Option<Arp> {
        let mut from = Cursor::new(bytes, 0);
        if from.array().ok()? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        Some(Arp {
            operation: from.u16().ok()?,
            sender_mac: from.mac().ok()?,
            sender: from.ipv4().ok()?,
            target_mac: from.mac().ok()?,
            target: from.ipv4().ok()?,
        })
    }

    /// Returns whether this is a probe for an address that the sender wants to use (RFC 5227, section
    /// 1.1).
    pub fn is_probe(&self) -> bool {
        self.operation == 1 && self.sender.is_unspecified()
    }

    /// Returns whether this announces an address without having been asked (RFC 5227, section 1.1).
    pub fn is_gratuitous(&self) -> bool {
        self.sender == self.target && !self.sender.is_unspecified()
    }
}

impl std::fmt::Display for Arp {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Arp {
            sender,
            target,
            sender_mac,
            ..
        } = self;
        match self.operation {
            1 if self.is_probe() => {
                write!(to, "who has {target}? (probe from {sender_mac})")
            }
            1 | 2 if self.is_gratuitous() => {
                write!(to, "{sender} is at {sender_mac} (announcement)")
            }
            1 => write!(to, "who has {target}? tell {sender}"),
            2 => write!(to, "{sender} is at {sender_mac}"),
            other => write!(to, "operation {other}, {sender} ({sender_mac}) to {target}"),
        }
    }
}

pub(super) fn read(packet: &mut Packet<'_>, mut from: Cursor<'_>) {
    packet.protocols.push("arp");
    let start = from.offset();
    packet.keep_network_header(ethertype::ARP, start);
    let arp = packet.read("arp", |packet| {
        let (hardware, protocol) = (from.u16()?, from.u16()?);
        let (hardware_length, protocol_length) = (from.u8()?, from.u8()?);
        let operation = from.u16()?;
        if (protocol, hardware_length, protocol_length) != (0x0800, 6, 4) {
            let what = format!("hardware {hardware}, protocol {protocol:#06x}, lengths {hardware_length} and {protocol_length}");
            packet.push_summary(&what);
            packet.problem(ProblemKind::Unknown, "arp", start, what);
            return Ok::<_, UnexpectedEnd>(None);
        }
        Ok(Some(Arp {
            operation,
            sender_mac: from.mac()?,
            sender: from.ipv4()?,
            target_mac: from.mac()?,
            target: from.ipv4()?,
        }))
    });
    if let Some(Some(arp)) = arp {
        packet.push_summary(arp.to_string());
        packet.meanings.push(Meaning::Arp(arp));
    }
}
