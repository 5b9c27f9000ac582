//! PURE. Multicast routes in ip_mr_cache and ip_mr_vif: the forwarding cache, and the interfaces that a routing
//! daemon uses.

use std::net::IpAddr;

use super::{ipv4, ipv6};

/// Input interface of an unresolved entry, which waits for the routing daemon (MFC_UNRES; net/ipv4/ipmr.c prints
/// it as -1).
pub const UNRESOLVED: i32 = -1;

/// An entry of the forwarding cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Group address.
    pub group: IpAddr,
    /// Source address; unspecified for any.
    pub origin: IpAddr,
    /// Number of the routing interface on which packets must arrive, or [`UNRESOLVED`].
    pub input: i32,
    /// Packets that matched the entry.
    pub packets: u64,
    /// Packets that arrived on another interface.
    pub wrong: u64,
    /// Outputs: number of the routing interface, and minimum TTL.
    pub outputs: Vec<(u32, u8)>,
}

/// A multicast routing interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Vif {
    /// Number of the routing interface.
    pub number: u32,
    /// Name of the network interface; `none` or `pimreg` if there is none.
    pub interface: String,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

/// Parses ip_mr_cache or ip6_mr_cache.
pub fn routes(text: &str) -> Vec<Route> {
    let address = |word: &str| match word.len() {
        8 => ipv4(word),
        // ip6_mr_cache prints addresses with %pI6, that is with colons.
        _ => word.parse().ok().or_else(|| ipv6(word)),
    };
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (group, origin) = (address(words.next()?)?, address(words.next()?)?);
        let input = words.next()?.parse().ok()?;
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (packets, _bytes, wrong) = (number()?, number()?, number()?);
        let outputs = words.filter_map(|word| {
            let (vif, ttl) = word.split_once(':')?;
            Some((vif.parse().ok()?, ttl.parse().ok()?))
        });
        Some(Route {
            group,
            origin,
            input,
            packets,
            wrong,
            outputs: outputs.collect(),
        })
    };
    text.lines().skip(1).filter_map(entry).collect()
}

/// Parses ip_mr_vif or ip6_mr_vif.
pub fn vifs(text: &str) -> Vec<Vif> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(Vif {
            number: words.first()?.parse().ok()?,
            interface: (*words.get(1)?).to_owned(),
            packets_in: words.get(3)?.parse().ok()?,
            packets_out: words.get(5)?.parse().ok()?,
        })
    };
    text.lines().skip(1).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cache_and_interfaces() {
        let cache = "Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n\
                     010101EF 0100000A 0       5      640        2  1:1    2:8\n\
                     020101EF 0100000A -1      0        0        0\n";
        let all = routes(cache);
        assert_eq!((all[0].packets, all[0].wrong), (5, 2));
        assert_eq!(all[0].outputs, [(1, 1), (2, 8)]);
        assert_eq!(all[1].input, UNRESOLVED);
        let cache6 = "Group                            Origin                           Iif      Pkts  Bytes     Wrong  Oifs\n\
                      ff15:0000:0000:0000:0000:0000:0000:0001 fd00:0000:0000:0000:0000:0000:0000:0001 0   3   300   0  1:1\n";
        assert_eq!(routes(cache6)[0].packets, 3);
        let vif = "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote\n \
                   0 ms              640       5         0       0 00000 FE00000A 00000000\n";
        let all = vifs(vif);
        assert_eq!((all[0].interface.as_str(), all[0].packets_in), ("ms", 5));
    }
}
