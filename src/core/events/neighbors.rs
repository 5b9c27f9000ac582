//! PURE. What happened to hosts on the links.

use std::net::IpAddr;

use super::{Event, Kind, Severity};
use crate::neighbors::{News, mac};
use crate::wire::cursor::Mac;

/// Claims that belong to a change or a conflict come within this.
const AROUND_NS: u64 = 60_000_000_000;
const AFTER_NS: u64 = 5_000_000_000;

fn protocol(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "arp" } else { "icmp6" }
}

/// The packets in which one of these says something of an address.
fn claims(ip: IpAddr, of: [Mac; 2]) -> String {
    format!(
        "{} and (ether src {} or ether src {})",
        protocol(ip),
        of[0],
        of[1]
    )
}

fn who(one: Mac) -> String {
    match mac::shared(one) {
        Some(protocol) => format!("{one} ({protocol})"),
        None => one.to_string(),
    }
}

/// The event.
pub fn event(interface: &str, time_ns: u64, news: &News) -> Event {
    let of = |kind, ip: &IpAddr| Event::new(kind, time_ns, interface, ip);
    let what = |ip: &IpAddr, is_gateway: bool| match is_gateway {
        true => format!("{ip}, this host's gateway,"),
        false => ip.to_string(),
    };
    match news {
        News::Host(one) => Event::new(Kind::NeighborNew, time_ns, interface, one)
            .with_text(format!("{} was heard, more than once", who(*one)))
            .with_packet_filter(format!("ether src {one}"), AROUND_NS, AFTER_NS),
        News::Moved(ip, change, is_gateway) => {
            let how = match change.announced {
                true => "which announced it",
                false => "which did not announce it",
            };
            let severity = match *is_gateway && mac::shared(change.to).is_none() {
                true => Severity::Warning,
                false => Severity::Notice,
            };
            of(Kind::NeighborMoved, ip)
                .with_severity(severity)
                .with_text(format!(
                    "{} went from {} to {}, {how}",
                    what(ip, *is_gateway),
                    who(change.from),
                    who(change.to)
                ))
                .with_packet_filter(claims(*ip, [change.from, change.to]), AROUND_NS, AFTER_NS)
        }
        News::Conflict(ip, conflict, is_gateway) => {
            let (one, other) = conflict.between;
            let whose = match conflict.own {
                true => format!("{ip}, an address of this host,"),
                false => what(ip, *is_gateway),
            };
            of(Kind::AddressConflict, ip)
                .with_text(format!(
                    "{whose} is claimed by {} and by {}",
                    who(one),
                    who(other)
                ))
                .with_packet_filter(claims(*ip, [one, other]), AROUND_NS, AFTER_NS)
        }
        News::Over(ip) => of(Kind::ConflictOver, ip)
            .with_text(format!("only one station has claimed {ip} for an hour")),
        News::Duplicate(ip, hit) => {
            let why = match hit.both_probed {
                true => "wants it at the same time",
                false => "has it and said so",
            };
            of(Kind::AddressDuplicate, ip)
                .with_text(format!(
                    "{} wanted {ip} and found it taken: {} {why}",
                    hit.prober, hit.by
                ))
                .with_packet_filter(claims(*ip, [hit.prober, hit.by]), AROUND_NS, AFTER_NS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::slot::{decode, encode};
    use crate::neighbors::Conflict;

    #[test]
    fn the_longest_fits() {
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
            AROUND_NS * 2,
            &News::Conflict(ip, conflict, false),
        );
        assert_eq!(decode(&encode(&event)), Some(event));
    }
}
