//! SHELL. `Interfaces`: links, addresses, flags and memberships, and whether they are recorded.

use std::net::IpAddr;

use super::status::listened;
use crate::daemon::channel::{GROUPS_4, GROUPS_6};
use crate::daemon::engine::state::EngineState;
use netsonde_core::protocol::service as reply;

/// IFF_ flags as `ip link` prints them.
const FLAGS: [(i32, &str); 10] = [
    (libc::IFF_LOOPBACK, "LOOPBACK"),
    (libc::IFF_BROADCAST, "BROADCAST"),
    (libc::IFF_POINTOPOINT, "POINTOPOINT"),
    (libc::IFF_MULTICAST, "MULTICAST"),
    (libc::IFF_NOARP, "NOARP"),
    (libc::IFF_ALLMULTI, "ALLMULTI"),
    (libc::IFF_PROMISC, "PROMISC"),
    (libc::IFF_MASTER, "MASTER"),
    (libc::IFF_SLAVE, "SLAVE"),
    (libc::IFF_UP, "UP"),
];

/// IFF_DORMANT (linux/if.h): there is a carrier, but the link waits for something, such as 802.1X.
const DORMANT: u32 = 1 << 17;

/// ARPHRD_ numbers as `ip link` prints them.
fn link_name(hardware: u16) -> String {
    match hardware {
        1 => "ether".into(),
        772 => "loopback".into(),
        512 => "ppp".into(),
        768 => "ipip".into(),
        769 => "tunnel6".into(),
        776 => "sit".into(),
        778 => "gre".into(),
        823 => "gre6".into(),
        65534 => "none".into(),
        other => format!("arphrd {other}"),
    }
}

/// Returns the reply.
pub fn interfaces(engine: &EngineState) -> reply::Interfaces {
    let mut memberships = crate::linux::memberships();
    let recorder = &engine.recording.recorder;
    let interfaces = engine
        .links
        .iter()
        .map(|link| {
            let slot = recorder
                .interfaces()
                .present(link.ifindex)
                .and_then(|at| recorder.interfaces().at(at));
            let (recording, why) = engine.config.interfaces.records(&link.name);
            let mut flags: Vec<String> = FLAGS
                .iter()
                .filter(|(bit, _)| link.flags & *bit as u32 != 0)
                .map(|(_, name)| (*name).to_owned())
                .collect();
            if link.flags & DORMANT != 0 {
                flags.push("DORMANT".into());
            }
            if link.has_carrier() {
                flags.push("LOWER_UP".into());
            } else if link.is_up() {
                flags.push("NO-CARRIER".into());
            }
            let groups = memberships.remove(&link.ifindex).unwrap_or_default();
            let joins = engine.joins(link);
            reply::Interface {
                interface: link.name.clone(),
                ifindex: link.ifindex,
                link: link_name(link.hardware),
                mac: link
                    .mac
                    .map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
                mtu: link.mtu,
                flags,
                up: link.is_up(),
                running: link.is_running(),
                promiscuity: link.promiscuity,
                allmulti: link.allmulti,
                master: link.master.map(|index| engine.links.name(index)),
                addresses: link
                    .addresses
                    .iter()
                    .map(|(ip, bits)| format!("{ip}/{bits}"))
                    .collect(),
                memberships: groups
                    .into_iter()
                    .map(|held| reply::Membership {
                        group: held.group.to_string(),
                        users: held.users,
                        ours: joins && is_ours(held.group),
                    })
                    .collect(),
                recording,
                why: why.into(),
                packets: slot.map_or(0, |slot| slot.packets_in + slot.packets_out),
                bytes: slot.map_or(0, |slot| slot.bytes_in + slot.bytes_out),
                listened: slot.map(listened).unwrap_or_default(),
            }
        })
        .collect();
    reply::Interfaces { interfaces }
}

/// Returns whether netsonde itself joins the group.
pub(super) fn is_ours(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => GROUPS_4.contains(&group),
        IpAddr::V6(group) => GROUPS_6.contains(&group),
    }
}
