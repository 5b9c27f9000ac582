//! PURE. Routing protocols, summarized in one line: VRRP (RFC 3768, RFC 9568), OSPF (RFC 2328,
//! RFC 5340), EIGRP (RFC 7868).

use super::cursor::UnexpectedEnd;
use super::ip::Payload;
use super::{Packet, ProblemKind, partial_list};

pub(super) fn vrrp(packet: &mut Packet<'_>, payload: &Payload<'_>) {
    packet.protocols.push("vrrp");
    let mut from = payload.bytes;
    let v6 = payload.network.source.is_ipv6();
    packet.read("vrrp", |packet| {
        let start = from.offset();
        let head = from.u8()?;
        let (version, kind) = (head >> 4, head & 0x0f);
        if !(2..=3).contains(&version) || kind != 1 {
            packet.write_summary(format_args!("VRRP version {version} type {kind}"));
            packet.problem(
                ProblemKind::Unknown,
                "vrrp",
                start,
                format!("version {version} type {kind}"),
            );
            return Ok(());
        }
        let (router, priority, count) = (from.u8()?, from.u8()?, from.u8()?);
        let interval = from.u16()?;
        from.skip(2)?;
        packet.write_summary(format_args!(
            "VRRPv{version} advertisement, router {router}, priority {priority}"
        ));
        match priority {
            0 => packet.push_summary(" (resigns)"),
            255 => packet.push_summary(" (owner)"),
            _ => {}
        }
        if version == 3 {
            packet.write_summary(format_args!(
                ", every {} ms",
                u32::from(interval & 0x0fff).saturating_mul(10)
            ));
        } else {
            packet.write_summary(format_args!(", every {} s", interval & 0xff));
        }
        let mut shown: Vec<String> = Vec::new();
        let outcome = (0..count).try_for_each(|_| {
            shown.push(match v6 {
                true => from.ipv6()?.to_string(),
                false => from.ipv4()?.to_string(),
            });
            Ok(())
        });
        if let Some(list) = partial_list(&shown, count.into(), ["address", "addresses"], ", ") {
            packet.write_summary(format_args!(", {list}"));
        }
        outcome
    });
}

pub(super) fn ospf(packet: &mut Packet<'_>, payload: &Payload<'_>) {
    packet.protocols.push("ospf");
    let mut from = payload.bytes;
    packet.read("ospf", |packet| {
        let start = from.offset();
        let (version, kind) = (from.u8()?, from.u8()?);
        let length = from.u16()?;
        let (router, area) = (from.ipv4()?, from.ipv4()?);
        let name = match kind {
            1 => "hello",
            2 => "database description",
            3 => "link state request",
            4 => "link state update",
            5 => "link state acknowledgment",
            other => {
                packet.write_summary(format_args!("OSPFv{version} type {other}"));
                packet.problem(ProblemKind::Unknown, "ospf", start, format!("type {other}"));
                return Ok(());
            }
        };
        packet.write_summary(format_args!(
            "OSPFv{version} {name}, router {router}, area {area}, {length} bytes"
        ));
        if version == 2 && kind == 1 {
            from.skip(12)?;
            let mask = from.ipv4()?;
            let interval = from.u16()?;
            from.skip(2)?;
            let dead = from.u32()?;
            let (dr, bdr) = (from.ipv4()?, from.ipv4()?);
            packet.write_summary(format_args!(
                ", mask {mask}, every {interval} s, dead after {dead} s, DR {dr}, BDR {bdr}"
            ));
        }
        Ok::<(), UnexpectedEnd>(())
    });
}

pub(super) fn eigrp(packet: &mut Packet<'_>, payload: &Payload<'_>) {
    packet.protocols.push("eigrp");
    let mut from = payload.bytes;
    packet.read("eigrp", |packet| {
        let (version, operation) = (from.u8()?, from.u8()?);
        from.skip(16)?;
        let system = from.u16()?;
        let name = match operation {
            1 => "update",
            3 => "query",
            4 => "reply",
            5 => "hello",
            10 => "SIA query",
            11 => "SIA reply",
            _ => "message",
        };
        packet.write_summary(format_args!("EIGRP version {version} {name}, AS {system}"));
        Ok::<(), UnexpectedEnd>(())
    });
}
