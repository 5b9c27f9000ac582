//! PURE. MPLS label stacks (RFC 3032), and what is below them: IP, or a pseudowire (RFC 4385, RFC 4448).

use super::cursor::UnexpectedEnd;
use super::{Packet, cursor, read_bridged};

/// Maximum number of labels decoded. Networks use up to about ten (segment routing).
const MAX_LABELS: usize = 16;

/// Decodes a label stack and what follows it.
pub(super) fn read(packet: &mut Packet<'_>, at: usize, end: usize) {
    packet.protocols.push("mpls");
    labels(packet, at, end);
}

/// The same, where the protocol has been named.
pub(super) fn labels(packet: &mut Packet<'_>, at: usize, end: usize) {
    let mut from = cursor(&packet.frame, at, end);
    let read = packet.read("mpls", |packet| {
        packet.push_summary("MPLS");
        for _ in 0..MAX_LABELS {
            let entry = from.u32()?;
            let (label, ttl) = (entry >> 12, entry & 0xff);
            packet.labels.push(label);
            packet.write_summary(format_args!(" {label} ttl {ttl}"));
            if entry & 0x100 != 0 {
                return Ok(true);
            }
            packet.push_summary(",");
        }
        packet.push_summary(" more");
        Ok::<bool, UnexpectedEnd>(false)
    });
    if read != Some(true) {
        return;
    }
    let at = from.offset();
    let mut peek = from;
    // The label says what is below it, to those that gave it out; others look at the first four bits: 4 and 6 are
    // IP, 0 is the control word of a pseudowire and 1 an associated channel (RFC 4385, section 3; RFC 4928).
    match peek.u8().map(|byte| byte >> 4) {
        Ok(4 | 6) => {
            if packet.enter() {
                packet.push_inner("", |packet| super::read_raw(packet, at, end));
            }
        }
        Ok(0) if has_control_word(packet, at, end) => {
            packet.protocols.push("pw");
            if from.skip(4).is_ok() {
                read_bridged(packet, from);
            }
        }
        Ok(1) => {
            packet.protocols.push("ach");
            let channel = packet.read("ach", |_| {
                from.skip(2)?;
                from.u16()
            });
            if let Some(channel) = channel {
                packet.write_summary(format_args!(", associated channel {channel:#06x}"));
            }
        }
        Ok(_) => read_bridged(packet, from),
        Err(short) => packet.short("mpls", short),
    }
}

/// Returns whether four zero bits begin a control word, and not the MAC address of an Ethernet frame without one:
/// the type field behind the addresses is a known EtherType only with the right one.
fn has_control_word(packet: &Packet<'_>, at: usize, end: usize) -> bool {
    let known = |offset: usize| {
        let mut from = cursor(&packet.frame, at.saturating_add(offset), end);
        matches!(
            from.u16(),
            Ok(0x0800
                | 0x0806
                | 0x8100
                | 0x86dd
                | 0x88a8
                | 0x8847
                | 0x8848
                | 0x88cc
                | 0x8809
                | 0x88f7)
        )
    };
    known(16) || !known(12)
}
