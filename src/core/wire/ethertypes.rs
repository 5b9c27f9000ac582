//! PURE. Protocols directly above Ethernet that have no file of their own: EAPOL (IEEE 802.1X), MACsec (IEEE
//! 802.1AE), CFM (IEEE 802.1ag), PROFINET, Wake-on-LAN, PTP over Ethernet, and the names of others.

use super::applications::{ptp_message, wake};
use super::cursor::{Cursor, UnexpectedEnd};
use super::glance::ethertype as kind;
use super::{Packet, ProblemKind, tunnel};

/// Decodes the payload of a frame by its EtherType.
pub(super) fn read<'a>(packet: &mut Packet<'a>, number: u16, from: Cursor<'a>) {
    let name = match number {
        kind::EAPOL => "eapol",
        0x88e5 => "macsec",
        0x88f7 => "ptp",
        0x8892 => "profinet",
        0x0842 => "wol",
        kind::CFM => "cfm",
        0x88f5 => "mvrp",
        0x88f6 => "mmrp",
        0x22f0 => "avtp",
        0x8906 => "fcoe",
        0x8914 => "fip",
        0x8808 => "pause",
        kind::LOOPBACK_TEST => "loop",
        0x893a => "ieee1905",
        0x88e1 => "homeplug",
        0x88a4 => "ethercat",
        0x8915 => "roce",
        0x88b8 => "goose",
        0x88ba => "sv",
        0x88fb => "prp",
        0x892f => "hsr",
        0x4305 => "batman",
        0x894f => return tunnel::nsh(packet, from),
        _ => {
            packet.write_summary(format_args!(
                "ethertype {number:#06x}, {} bytes",
                from.left()
            ));
            let why = format!("ethertype {number:#06x} is not decoded");
            return packet.problem(ProblemKind::Unknown, "eth", from.offset(), why);
        }
    };
    packet.protocols.push(name);
    match name {
        "eapol" => eapol(packet, from),
        "macsec" => macsec(packet, from),
        "ptp" => ptp_message(packet, from),
        "profinet" => profinet(packet, from),
        "wol" => wake(packet, from),
        "cfm" => cfm(packet, from),
        _ => packet.write_summary(format_args!("{} bytes", from.left())),
    }
}

fn eapol<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.read("eapol", |packet| {
        from.skip(1)?;
        let kind = from.u8()?;
        let length = from.u16()?;
        let name = match kind {
            0 => "EAP packet",
            1 => "start",
            2 => "logoff",
            3 => "key",
            5 => "MKA",
            _ => "message",
        };
        packet.write_summary(format_args!("EAPOL {name}"));
        if kind == 0 && length >= 4 {
            let (code, id) = (from.u8()?, from.u8()?);
            let code = match code {
                1 => "request",
                2 => "response",
                3 => "success",
                4 => "failure",
                _ => "code unknown",
            };
            packet.write_summary(format_args!(", {code}, id {id}"));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

fn macsec<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    let head = packet.read("macsec", |packet| {
        let control = from.u8()?;
        from.skip(1)?;
        let number = from.u32()?;
        packet.write_summary(format_args!(
            "MACsec association {}, number {number}",
            control & 3
        ));
        if control & 0x20 != 0 {
            let (system, port) = (from.mac()?, from.u16()?);
            packet.write_summary(format_args!(", channel {system}/{port}"));
        }
        Ok::<u8, UnexpectedEnd>(control)
    });
    let Some(control) = head else { return };
    // Neither encrypted nor changed: the frame goes on behind the tag, and an integrity check value of 16 bytes
    // ends it.
    if control & 0x0c != 0 {
        return packet.write_summary(format_args!(", encrypted, {} bytes", from.left()));
    }
    let inner = packet.read("macsec", |_| from.u16());
    let at = from.offset();
    let end = at.saturating_add(from.left());
    let cut = packet.frame.bytes.len() < packet.frame.original_length as usize;
    let end = if cut {
        end
    } else {
        end.saturating_sub(16).max(at)
    };
    if let Some(number) = inner
        && packet.enter()
    {
        packet.push_inner("", |packet| super::read_ethertype(packet, number, at, end));
    }
}

fn cfm<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.read("cfm", |packet| {
        let level = from.u8()? >> 5;
        let name = match from.u8()? {
            1 => "continuity check",
            2 => "loopback reply",
            3 => "loopback message",
            4 => "link trace reply",
            5 => "link trace message",
            33 => "alarm indication",
            46 => "delay measurement reply",
            47 => "delay measurement message",
            _ => "message",
        };
        packet.write_summary(format_args!("CFM {name}, level {level}"));
        Ok::<(), UnexpectedEnd>(())
    });
}

/// PROFINET's frames begin with an identifier that says what they are.
fn profinet<'a>(packet: &mut Packet<'a>, mut from: Cursor<'a>) {
    packet.read("profinet", |packet| {
        let id = from.u16()?;
        let name = match id {
            0xfefc => "DCP hello",
            0xfefd => "DCP get or set",
            0xfefe => "DCP identify request",
            0xfeff => "DCP identify response",
            0x0100..=0xfbff => "cyclic data",
            0xfc01 | 0xfe01 => "alarm",
            _ => "frame",
        };
        packet.write_summary(format_args!("PROFINET {name}, frame id {id:#06x}"));
        Ok::<(), UnexpectedEnd>(())
    });
}
