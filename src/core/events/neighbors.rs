//! PURE. Events for changes in the neighbor table: new hosts, moves, conflicts, duplicates.

use std::net::IpAddr;

use super::{Event, Kind, Severity};
use crate::neighbors::virtual_router::{Protocol, TwoMasters};
use crate::neighbors::{NeighborEvent, mac};
use crate::wire::cursor::Mac;

/// Time before an event within which the claims belong to it.
const BEFORE_NS: u64 = 60_000_000_000;
const AFTER_NS: u64 = 5_000_000_000;

fn protocol(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "arp" } else { "icmp6" }
}

/// Filter for the packets in which these stations claim an address.
fn claims(ip: IpAddr, stations: [Mac; 2]) -> String {
    format!(
        "{} and (ether src {} or ether src {})",
        protocol(ip),
        stations[0],
        stations[1]
    )
}

/// Filter for the advertisements of two masters.
fn advertisements(two: &TwoMasters) -> String {
    let [one, other] = &two.masters;
    let of_both = format!("(src host {} or src host {})", one.address, other.address);
    match two.id.protocol {
        Protocol::Hsrp => format!("udp and {of_both}"),
        _ if two.id.is_ipv6 => format!("ip6 proto 112 and {of_both}"),
        _ => format!("ip proto 112 and {of_both}"),
    }
}

/// The MAC address, with the protocol of a virtual one (VRRP and the like).
fn station(mac: Mac) -> String {
    match mac::shared(mac) {
        Some(protocol) => format!("{mac} ({protocol})"),
        None => mac.to_string(),
    }
}

/// Creates the event for a change.
pub fn event(interface: &str, time_ns: u64, news: &NeighborEvent) -> Event {
    let new = |kind, ip: &IpAddr| Event::new(kind, time_ns, interface, ip);
    let owner = |ip: &IpAddr, is_gateway: bool| match is_gateway {
        true => format!("{ip}, this host's gateway,"),
        false => ip.to_string(),
    };
    match news {
        NeighborEvent::Host(mac) => Event::new(Kind::NeighborNew, time_ns, interface, mac)
            .with_text(format!("new host: {} seen more than once", station(*mac)))
            .with_packet_filter(format!("ether src {mac}"), BEFORE_NS, AFTER_NS),
        NeighborEvent::Moved(ip, change, is_gateway) => {
            let how = match change.announced {
                true => "announced",
                false => "not announced",
            };
            let severity = match *is_gateway && mac::shared(change.to).is_none() {
                true => Severity::Warning,
                false => Severity::Notice,
            };
            new(Kind::NeighborMoved, ip)
                .with_severity(severity)
                .with_text(format!(
                    "{} moved from {} to {} ({how})",
                    owner(ip, *is_gateway),
                    station(change.from),
                    station(change.to)
                ))
                .with_packet_filter(claims(*ip, [change.from, change.to]), BEFORE_NS, AFTER_NS)
        }
        NeighborEvent::Conflict(ip, conflict, is_gateway) => {
            let (one, other) = conflict.between;
            let whose = match conflict.own {
                true => format!("{ip}, an address of this host,"),
                false => owner(ip, *is_gateway),
            };
            new(Kind::AddressConflict, ip)
                .with_text(format!(
                    "{whose} is claimed by {} and {}",
                    station(one),
                    station(other)
                ))
                .with_packet_filter(claims(*ip, [one, other]), BEFORE_NS, AFTER_NS)
        }
        NeighborEvent::ConflictOver(ip) => new(Kind::ConflictOver, ip)
            .with_text(format!("only one station has claimed {ip} for an hour")),
        NeighborEvent::TwoMasters(two) => {
            let [one, other] = &two.masters;
            let rank = two.id.protocol.rank_name();
            Event::new(Kind::TwoMasters, time_ns, interface, two.id)
                .with_text(format!(
                    "two masters of {}: {} ({rank} {}) and {} ({rank} {})",
                    two.id, one.address, one.rank, other.address, other.rank
                ))
                .with_packet_filter(advertisements(two), BEFORE_NS, AFTER_NS)
        }
        NeighborEvent::OneMaster(id) => Event::new(Kind::TwoMastersOver, time_ns, interface, id)
            .with_text(format!("{id} no longer has two masters")),
        NeighborEvent::Duplicate(ip, hit) => {
            let why = match (hit.both_probed, hit.answered) {
                (true, _) => "tried at the same time",
                (false, true) => "already has it and answered",
                (false, false) => "already has it",
            };
            new(Kind::AddressDuplicate, ip)
                .with_text(format!(
                    "duplicate address {ip}: {} tried to use it, {} {why}",
                    hit.prober, hit.by
                ))
                .with_packet_filter(claims(*ip, [hit.prober, hit.by]), BEFORE_NS, AFTER_NS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::slot::{decode, encode};
    use crate::neighbors::Conflict;

    #[test]
    fn longest_conflict_text_fits_the_slot() {
        let (one, other) = (Mac([0xaa; 6]), Mac([0xbb; 6]));
        let ip = "fd00:1234:5678:9abc:def0:1234:5678:9abc".parse().unwrap();
        let conflict = Conflict {
            since_ns: 1,
            last_ns: 1,
            between: (one, other),
            both_answered: 0,
            returned: 0,
            own: true,
            current: true,
        };
        let event = event(
            "enp129s0f1np1v9",
            BEFORE_NS * 2,
            &NeighborEvent::Conflict(ip, conflict, false),
        );
        assert_eq!(decode(&encode(&event)), Some(event));
    }
}
