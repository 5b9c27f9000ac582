//! SHELL. Packets of the record about the attempts of the doctor.

use std::path::Path;
use std::time::Duration;

use netsonde_core::protocol::capture::Content;
use netsonde_core::wire::decode;
use netsonde_core::wire::segment::{Segment, WireError};

use crate::client::cli::args::Packets;
use crate::client::failure::Failure;
use crate::client::files::capture_file::{CaptureFile, FilePacket, Item};
use crate::client::packets::Stream;
use crate::client::quoted::quoted_errors;

/// Time after which a packet is in the record: the kernel passes on a block after 20 ms at most, and the engine takes
/// it with its next turn.
pub const RECORDED_AFTER: Duration = Duration::from_millis(120);

/// A packet of TCP or UDP.
pub struct Seen<'a> {
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// Interface.
    pub interface: &'a str,
    /// The packet.
    pub segment: Segment<'a>,
}

fn open(
    socket: &Path,
    from_ns: u64,
    stores: &[&str],
    content: Content,
) -> Result<CaptureFile<'static>, Failure> {
    let selection = Packets {
        since: Some(from_ns),
        stores: stores.iter().map(|name| (*name).to_owned()).collect(),
        ..Packets::default()
    };
    let stream = Stream::open(socket, &selection, content)?;
    Ok(CaptureFile::new(stream.pipe)?)
}

/// Returns the bytes of a packet from its outermost IP header on.
fn from_ip(packet: &FilePacket) -> Option<&[u8]> {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    let frame = packet.frame();
    let decoded = decode(&frame);
    let mut headers = decoded.network_headers();
    let (_, at) = headers.find(|(number, _)| matches!(*number, IPV4 | IPV6))?;
    packet.bytes.get(at..)
}

/// Calls `each` with the packets of TCP and UDP since a time. With `payload` they are whole, for which the user needs
/// the permission.
pub fn read(
    socket: &Path,
    from_ns: u64,
    stores: &[&str],
    payload: bool,
    mut each: impl FnMut(&Seen<'_>),
) -> Result<(), Failure> {
    let content = if payload {
        Content::Whole
    } else {
        Content::Headers
    };
    let mut file = open(socket, from_ns, stores, content)?;
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else { continue };
        let time_ns = packet.time_ns.and_then(|ns| u64::try_from(ns).ok());
        let segment = from_ip(&packet).and_then(Segment::read);
        if let (Some(time_ns), Some(segment)) = (time_ns, segment) {
            each(&Seen {
                time_ns,
                interface: packet.interface.as_deref().unwrap_or_default(),
                segment,
            });
        }
    }
    Ok(())
}

/// Calls `each` with the ICMP errors since a time that quote a packet of TCP or UDP.
pub fn read_errors(
    socket: &Path,
    from_ns: u64,
    mut each: impl FnMut(WireError, &Segment<'_>),
) -> Result<(), Failure> {
    let mut file = open(socket, from_ns, &["icmp"], Content::Headers)?;
    while let Some(item) = file.next()? {
        let Item::Packet(packet) = item else { continue };
        quoted_errors(&packet, &mut each);
    }
    Ok(())
}
