//! SHELL. Lengths of received ICMP messages, and the MTUs that ICMP errors report.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::Path;

use netsonde_core::diagnose::evidence::Link;
use netsonde_core::diagnose::host::evidence::{Length, Lengths};
use netsonde_core::protocol::capture::Content;
use netsonde_core::wire::{Direction, Meaning, decode};

use crate::client::cli::args::{Lookback, Packets};
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, Item};
use crate::client::packets::Stream;

/// How far back ICMP messages are read.
const LOOKBACK_NS: u64 = 300_000_000_000;
/// Maximum number of messages kept, the newest. Each kind is reported once, and a flood must not fill memory.
const MAX_LENGTHS: usize = 4096;

/// Reads the recorded ICMP messages of the last five minutes that were received. Keeps errors that report an
/// MTU, and messages longer than the smallest MTU of this host.
pub fn lengths(socket: &Path, links: &[Link]) -> Result<Lengths, Failure> {
    let mtus = links.iter().filter(|link| !link.is_loopback());
    let smallest_mtu = mtus.map(|link| link.mtu).min().unwrap_or(0);
    let selection = Packets {
        last: Some(Lookback::Ns(LOOKBACK_NS)),
        stores: vec!["icmp".into()],
        ..Packets::default()
    };
    let stream = Stream::open(socket, &selection, Content::Headers)?;
    let mut file = CaptureFile::new(stream.pipe)?;
    let mut kept = VecDeque::new();
    let mut examined = 0;
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else { continue };
        if packet.direction == Direction::Outbound {
            continue;
        }
        let frame = packet.frame();
        let decoded = decode(&frame);
        let (Some(network), Some(interface)) = (decoded.network, packet.interface.clone()) else {
            continue;
        };
        let header = if network.source.is_ipv4() { 20 } else { 40 };
        let too_big = decoded.meanings.iter().find_map(|meaning| match meaning {
            Meaning::Icmp(icmp) if is_too_big(icmp.v6, icmp.kind, icmp.code) => {
                let quoted = icmp
                    .quoted
                    .and_then(|(from, to)| packet.bytes.get(from..to));
                Some((icmp.mtu?, quoted.and_then(destination)))
            }
            _ => None,
        });
        examined += 1;
        let length = network.payload_length + header;
        if too_big.is_none() && length <= smallest_mtu {
            continue;
        }
        if kept.len() == MAX_LENGTHS {
            kept.pop_front();
        }
        kept.push_back(Length {
            interface,
            source: network.source,
            length,
            too_big,
        });
    }
    Ok(Lengths {
        examined,
        messages: kept.into(),
    })
}

/// Returns whether this is ICMP type 3 code 4 (fragmentation needed) or ICMPv6 type 2 (packet too big).
fn is_too_big(is_v6: bool, kind: u8, code: u8) -> bool {
    match is_v6 {
        true => kind == 2,
        false => (kind, code) == (3, 4),
    }
}

/// Returns the destination of a quoted packet.
fn destination(quoted: &[u8]) -> Option<IpAddr> {
    match quoted.first()? >> 4 {
        4 => {
            let octets: [u8; 4] = quoted.get(16..20)?.try_into().ok()?;
            Some(octets.into())
        }
        6 => {
            let octets: [u8; 16] = quoted.get(24..40)?.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}
