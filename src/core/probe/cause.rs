//! PURE. Why the kernel refused to send a probe: the error number, explained by addresses, links, routes
//! and rules of this host at that time.

use std::net::IpAddr;

use super::fate::describe_errno;
use super::routing::{Prefix, Refuser, table_name};

const EPERM: i32 = 1;
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const EMSGSIZE: i32 = 90;
const EADDRNOTAVAIL: i32 = 99;
const ENETDOWN: i32 = 100;
const ENETUNREACH: i32 = 101;

/// State of an address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnAddressState {
    /// In use.
    Usable,
    /// Duplicate address detection is in progress (IFA_F_TENTATIVE, RFC 4862, section 5.4).
    Tentative,
    /// Duplicate address detection found the address in use (IFA_F_DADFAILED).
    DadFailed,
}

/// Address of this host.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnAddress {
    /// Interface name.
    pub interface: String,
    /// The address, with the length of its network.
    pub prefix: Prefix,
    /// Its state.
    pub state: OwnAddressState,
}

impl OwnAddress {
    /// Returns why the address cannot be a source; `None` if it can.
    fn problem(&self) -> Option<String> {
        let (address, interface) = (self.prefix.address, &self.interface);
        match self.state {
            OwnAddressState::Usable => None,
            OwnAddressState::Tentative => Some(format!(
                "{address} on {interface} is tentative: duplicate address detection is not over"
            )),
            OwnAddressState::DadFailed => Some(format!(
                "{address} on {interface} is dadfailed: duplicate address detection found another \
                    host with it"
            )),
        }
    }
}

/// Interface that a probe was to leave by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutgoingInterface {
    /// Name.
    pub name: String,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Why no packet can cross it, after its name: "has no carrier".
    pub problem: Option<&'static str>,
    /// MTU in bytes.
    pub mtu: u32,
}

/// Route of the target, if the kernel finds one.
#[derive(Clone, Debug, PartialEq)]
pub struct UsableRoute {
    /// Destinations of the route.
    pub destination: Option<Prefix>,
    /// Number of its table.
    pub table: u32,
    /// MTU of the route itself, in bytes.
    pub mtu: Option<u32>,
    /// MTU for the target, in bytes: of the route, or learned from an ICMP error.
    pub path_mtu: Option<u32>,
}

/// State of this host around a refused probe.
#[derive(Clone, Debug, Default)]
pub struct SendFacts {
    /// Source address that is demanded.
    pub source: Option<IpAddr>,
    /// Addresses of this host, of the target's family.
    pub own: Vec<OwnAddress>,
    /// Interface that is demanded, or that the route leads to.
    pub outgoing: Option<OutgoingInterface>,
    /// Interfaces that are down or without carrier and have the target in one of their networks.
    pub unusable: Vec<OutgoingInterface>,
    /// Entry that refuses the packet.
    pub refuser: Option<Refuser>,
    /// Number of a blackhole next hop (ip-nexthop(8)), if nothing else refuses the packet as one would.
    pub blackhole_hop: Option<u32>,
    /// The route, if the kernel finds one.
    pub route: Option<UsableRoute>,
    /// Size of the packet with its IP header, in bytes.
    pub packet_bytes: usize,
}

/// Explains an error of the send call. Returns the general meaning of the number if nothing of this
/// host's state is known to cause it.
pub fn explain(errno: i32, target: IpAddr, facts: &SendFacts) -> String {
    let found = match errno {
        EMSGSIZE => too_large(target, facts),
        EPERM => Some(format!(
            "rejected on this host on the way out{}: consistent with a firewall rule (netfilter OUTPUT \
                or POSTROUTING), an IPsec policy or a BPF program",
            outgoing(facts, " on ")
        )),
        EADDRNOTAVAIL => bad_source(facts).or_else(|| no_source(target, facts)),
        _ => bad_source(facts)
            .or_else(|| facts.refuser.as_ref().map(Refuser::to_string))
            .or_else(|| blackhole_hop(facts))
            .or_else(|| unusable_link(errno, target, facts)),
    };
    found.unwrap_or_else(|| describe_errno(errno).1.to_owned())
}

fn outgoing(facts: &SendFacts, before: &str) -> String {
    let name = facts.outgoing.as_ref();
    name.map_or_else(String::new, |outgoing| format!("{before}{}", outgoing.name))
}

/// A demanded source that this host does not have or must not use yet.
fn bad_source(facts: &SendFacts) -> Option<String> {
    let source = facts.source?;
    let is_broadcast = matches!(source, IpAddr::V4(v4) if v4.is_broadcast());
    if source.is_multicast() || source.is_unspecified() || is_broadcast {
        return Some(format!("{source} cannot be a source address"));
    }
    let own: Vec<&OwnAddress> = facts
        .own
        .iter()
        .filter(|own| own.prefix.address == source)
        .collect();
    let is_loopback = matches!(source, IpAddr::V4(v4) if v4.is_loopback());
    if own.is_empty() && !is_loopback {
        return Some(format!("{source} is not an address of this host"));
    }
    // A link-local address may be on several interfaces, and one of them is enough.
    if own.iter().any(|own| own.problem().is_none()) {
        return None;
    }
    own.iter().find_map(|own| own.problem())
}

/// No address of the interface can be the source.
fn no_source(target: IpAddr, facts: &SendFacts) -> Option<String> {
    let interface = &facts.outgoing.as_ref()?.name;
    let is_link_local = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let mut own: Vec<&OwnAddress> = facts
        .own
        .iter()
        .filter(|own| own.interface == *interface)
        .collect();
    // The one of the target's scope would be chosen.
    own.sort_by_key(|own| is_link_local(own.prefix.address) != is_link_local(target));
    if let Some(problem) = own.iter().find_map(|own| own.problem()) {
        return Some(problem);
    }
    let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
    own.is_empty()
        .then(|| format!("{interface} has no {family} address"))
}

/// A route to a blackhole next hop cannot be found without going through all routes.
fn blackhole_hop(facts: &SendFacts) -> Option<String> {
    facts.blackhole_hop.map(|number| {
        format!(
            "no blackhole route or rule covers it: consistent with a route to the blackhole next hop \
                {number} (ip nexthop)"
        )
    })
}

/// The interface cannot be used, or the target's network is on one that cannot.
fn unusable_link(errno: i32, target: IpAddr, facts: &SendFacts) -> Option<String> {
    if !matches!(errno, ENXIO | ENODEV | ENETDOWN | ENETUNREACH) {
        return None;
    }
    if let Some(outgoing) = &facts.outgoing {
        let name = &outgoing.name;
        // Without a carrier it would still be sent to, and one that is down has no IPv6 address.
        let has_source = facts.own.iter().any(|own| own.interface == *name);
        if outgoing.is_up && !has_source {
            return no_source(target, facts);
        }
        if let Some(problem) = outgoing.problem {
            return Some(format!("{name} {problem}"));
        }
    }
    if facts.outgoing.is_some() && errno == ENETUNREACH && facts.route.is_none() {
        return Some(format!("no route to the target{}", outgoing(facts, " by ")));
    }
    let unusable = facts.unusable.first()?;
    let name = &unusable.name;
    let network = facts
        .own
        .iter()
        .find(|own| own.interface == *name && own.prefix.contains(target))?;
    Some(format!(
        "no route to {target}: it is in the network of {} on {name}, which {}",
        network.prefix.address,
        unusable.problem.unwrap_or("is unusable")
    ))
}

fn too_large(target: IpAddr, facts: &SendFacts) -> Option<String> {
    let bytes = facts.packet_bytes;
    let route = facts.route.as_ref();
    let interface = facts.outgoing.as_ref();
    let at_most = |mtu: Option<u32>| mtu.filter(|mtu| bytes > *mtu as usize);
    let of_route = at_most(route.and_then(|route| route.mtu));
    let of_path = at_most(route.and_then(|route| route.path_mtu));
    let of_interface = at_most(interface.map(|interface| interface.mtu));
    let limit = if let (Some(mtu), Some(route)) = (of_route, route) {
        let destination = route.destination.map(|prefix| format!(" {prefix}"));
        format!(
            "the MTU {mtu} of the route{} (table {})",
            destination.unwrap_or_default(),
            table_name(route.table)
        )
    } else if let (Some(mtu), Some(interface)) = (of_interface, interface) {
        format!("the MTU {mtu} of {}", interface.name)
    } else if let Some(mtu) = of_path {
        format!("the path MTU {mtu} to {target}, learned from an ICMP error")
    } else {
        return None;
    };
    Some(format!(
        "its packet of {bytes} bytes is larger than {limit}, and must not be fragmented"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(interface: &str, address: &str, bits: u8, state: OwnAddressState) -> OwnAddress {
        OwnAddress {
            interface: interface.into(),
            prefix: Prefix {
                address: address.parse().unwrap(),
                bits,
            },
            state,
        }
    }

    fn words(errno: i32, target: &str, facts: &SendFacts) -> String {
        explain(errno, target.parse().unwrap(), facts)
    }

    #[test]
    fn sources_that_cannot_be_used() {
        use OwnAddressState::*;
        let mut facts = SendFacts {
            own: vec![
                own("e0", "10.0.0.1", 24, Usable),
                own("e0", "fe80::1", 64, Tentative),
                own("e1", "fe80::1", 64, Usable),
                own("e0", "fd00::1", 64, DadFailed),
            ],
            ..SendFacts::default()
        };
        for (source, expected) in [
            ("10.99.0.1", "10.99.0.1 is not an address of this host"),
            ("224.0.0.1", "224.0.0.1 cannot be a source address"),
            ("10.0.0.1", "no route to the target"),
            ("127.0.0.9", "no route to the target"),
            ("fe80::1", "no route to the target"),
            (
                "fd00::1",
                "fd00::1 on e0 is dadfailed: duplicate address detection found another host with it",
            ),
        ] {
            facts.source = Some(source.parse().unwrap());
            assert_eq!(words(ENETUNREACH, "10.9.0.1", &facts), expected);
        }
        facts.source = None;
        facts.outgoing = Some(OutgoingInterface {
            name: "e0".into(),
            is_up: true,
            problem: None,
            mtu: 1500,
        });
        let expected = "fe80::1 on e0 is tentative: duplicate address detection is not over";
        assert_eq!(words(EADDRNOTAVAIL, "fe80::2", &facts), expected);
        assert!(words(EADDRNOTAVAIL, "fd00::2", &facts).starts_with("fd00::1 on e0 is dadfailed"));
        facts.own.clear();
        assert_eq!(
            words(EADDRNOTAVAIL, "fe80::2", &facts),
            "e0 has no IPv6 address"
        );
    }

    #[test]
    fn limits_of_size_are_named() {
        let mut facts = SendFacts {
            packet_bytes: 1448,
            outgoing: Some(OutgoingInterface {
                name: "e0".into(),
                is_up: true,
                problem: None,
                mtu: 1500,
            }),
            ..SendFacts::default()
        };
        let limit = |facts: &SendFacts| words(EMSGSIZE, "10.9.0.1", facts);
        assert!(limit(&facts).starts_with("larger than the path MTU"));
        facts.route = Some(UsableRoute {
            destination: Some(Prefix {
                address: "10.9.0.0".parse().unwrap(),
                bits: 16,
            }),
            table: 254,
            mtu: None,
            path_mtu: Some(1400),
        });
        assert!(limit(&facts).contains("path MTU 1400 to 10.9.0.1, learned from an ICMP error"));
        facts.route.as_mut().unwrap().mtu = Some(1400);
        assert!(limit(&facts).contains("the MTU 1400 of the route 10.9.0.0/16 (table main)"));
        facts.packet_bytes = 1528;
        facts.route = None;
        assert!(limit(&facts).contains("packet of 1528 bytes is larger than the MTU 1500 of e0"));
    }
}
