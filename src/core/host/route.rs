//! PURE. Routes in route and ipv6_route: networks on a link, and gateways.

use std::net::IpAddr;

use super::{ipv4, ipv6};

/// RTF_UP, RTF_GATEWAY, RTF_REJECT, and RTF_LOCAL (linux/route.h, linux/ipv6_route.h).
const UP: u32 = 1;
const GATEWAY: u32 = 2;
const REJECT: u32 = 0x200;
const LOCAL: u32 = 0x8000_0000;

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Name of the output interface.
    pub interface: String,
    /// Destination network.
    pub network: IpAddr,
    /// Prefix length.
    pub bits: u8,
    /// Gateway; `None` if the network is on the link.
    pub gateway: Option<IpAddr>,
}

/// Parses route and ipv6_route. Returns routes that are up and neither reject packets nor lead to this host.
pub fn routes(route: &str, ipv6_route: &str) -> Vec<Route> {
    let mut all: Vec<Route> = route.lines().skip(1).filter_map(route_4).collect();
    all.extend(ipv6_route.lines().filter_map(route_6));
    all
}

fn route_4(line: &str) -> Option<Route> {
    let mut words = line.split_whitespace();
    let interface = words.next()?.to_owned();
    let network = ipv4(words.next()?)?;
    let gateway = ipv4(words.next()?)?;
    let flags = u32::from_str_radix(words.next()?, 16).ok()?;
    let IpAddr::V4(mask) = ipv4(words.nth(3)?)? else {
        return None;
    };
    let leads_out = flags & UP != 0 && flags & REJECT == 0;
    leads_out.then(|| Route {
        interface,
        network,
        bits: u32::from(mask).count_ones() as u8,
        gateway: (flags & GATEWAY != 0).then_some(gateway),
    })
}

fn route_6(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [network, bits, _, _, gateway, _, _, _, flags, interface] = words[..] else {
        return None;
    };
    let network = ipv6(network)?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let leads_out = flags & UP != 0 && flags & (REJECT | LOCAL) == 0 && !network.is_multicast();
    leads_out.then(|| {
        Some(Route {
            interface: interface.to_owned(),
            network,
            bits: u8::from_str_radix(bits, 16).ok()?,
            gateway: match flags & GATEWAY {
                0 => None,
                _ => Some(ipv6(gateway)?),
            },
        })
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
e0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
e0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0000070A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
    const ROUTE_6: &str = "\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001       e0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003       e0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
fd000000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001       e0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001       e0
";

    #[test]
    #[cfg(target_endian = "little")] // The text is that of such a machine.
    fn what_leads_out_and_by_whom() {
        let lines: Vec<String> = routes(ROUTE, ROUTE_6)
            .iter()
            .map(|one| format!("{}/{} {:?}", one.network, one.bits, one.gateway))
            .collect();
        assert_eq!(
            lines,
            [
                "0.0.0.0/0 Some(10.0.0.1)",
                "10.0.0.0/24 None",
                "fd00::/64 None",
                "::/0 Some(fd00::1)"
            ]
        );
        // Cut off anywhere: no panic, and nothing that is not there.
        for end in 0..ROUTE_6.len() {
            assert!(routes("", &ROUTE_6[..end]).len() <= 2);
        }
    }
}
