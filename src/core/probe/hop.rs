//! PURE. Peculiarities of a next hop that can explain a missing reply: a neighbor entry that the wire
//! contradicts, an address conflict, an answer by proxy.

use std::net::IpAddr;

use crate::neighbors::mac::{is_station, shared};
use crate::neighbors::{Claimant, Conflict, Neighbors};
use crate::wire::cursor::Mac;

/// Age beyond which a claim does not contradict a neighbor entry: the device may have been replaced.
const CLAIM_VALID_NS: u64 = 3600 * 1_000_000_000;

/// Next hop of a probe on its link.
#[derive(Clone, Copy, Debug)]
pub struct NextHop<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Index of the interface.
    pub ifindex: u32,
    /// Name of the interface.
    pub interface: &'a str,
    /// MAC address and state of its neighbor entry in the kernel.
    pub entry: Option<(Mac, &'static str)>,
}

/// What is known of a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopRemark {
    /// In words.
    pub words: String,
    /// Whether it is a fault. An answer by proxy is usually intended.
    pub is_fault: bool,
}

/// Describes a conflict.
pub fn conflict_words(address: IpAddr, interface: &str, conflict: &Conflict) -> String {
    let (one, other) = conflict.between;
    let own = if conflict.own { " of this host" } else { "" };
    format!("address conflict: {one} and {other} both claim {address}{own} on {interface}")
}

/// Returns what is known of the next hop that can explain a missing reply.
pub fn remark(hop: &NextHop<'_>, neighbors: &Neighbors, now_ns: u64) -> Option<HopRemark> {
    let (address, conflict) = neighbors.known_address(hop.ifindex, hop.address, now_ns)?;
    let fault = |words| HopRemark {
        words,
        is_fault: true,
    };
    if let Some(conflict) = conflict.filter(|conflict| conflict.current) {
        return Some(fault(conflict_words(hop.address, hop.interface, &conflict)));
    }
    let claimed: Vec<&Claimant> = (address.claimants.iter())
        .filter(|one| one.claims > 0 && now_ns < one.claimed_ns.saturating_add(CLAIM_VALID_NS))
        .collect();
    let contradiction = hop
        .entry
        .and_then(|entry| contradiction(hop, entry, &claimed));
    let proxy = || {
        Some(HopRemark {
            words: proxy(hop, &claimed, neighbors, now_ns)?,
            is_fault: false,
        })
    };
    contradiction.map(fault).or_else(proxy)
}

/// The kernel's entry has a MAC address that does not claim the address, while another one does.
fn contradiction(
    hop: &NextHop<'_>,
    (known, state): (Mac, &str),
    claimed: &[&Claimant],
) -> Option<String> {
    let newest = claimed.iter().max_by_key(|one| one.claimed_ns)?;
    let is_confirmed = claimed.iter().any(|one| one.mac == known);
    // A virtual router also uses the MAC address of the router that holds it.
    let is_virtual = shared(known).is_some() != shared(newest.mac).is_some();
    if is_confirmed || is_virtual || !is_station(known) {
        return None;
    }
    let protocol = if hop.address.is_ipv4() {
        "ARP"
    } else {
        "neighbor discovery"
    };
    let verb = if newest.answers > 0 {
        format!("answers {protocol} as")
    } else {
        format!("claims its address by {protocol} as")
    };
    Some(format!(
        "neighbor entry of {} on {} is {known} ({state}), but {} {verb} {}",
        hop.address, hop.interface, hop.address, newest.mac
    ))
}

/// A station that only ever answered for this address, and uses other addresses itself (IPv4 only: an
/// IPv6 host has several addresses).
fn proxy(
    hop: &NextHop<'_>,
    claimed: &[&Claimant],
    neighbors: &Neighbors,
    now_ns: u64,
) -> Option<String> {
    let [only] = claimed else {
        return None;
    };
    if !hop.address.is_ipv4() || only.proxy().is_none() {
        return None;
    }
    let mut own = None;
    let mut others = 0;
    for (ip, address, _) in neighbors.addresses(hop.ifindex, now_ns) {
        let claimant = address.claimants.iter().find(|one| one.mac == only.mac);
        let Some(claimant) = claimant.filter(|_| ip.is_ipv4() && *ip != hop.address) else {
            continue;
        };
        if address.holder() != Some(only.mac) {
            continue;
        }
        if claimant.claims > claimant.answers || neighbors.is_gateway(hop.ifindex, *ip) {
            own = Some(own.map_or(*ip, |known: IpAddr| known.min(*ip)));
        }
        others += u32::from(claimant.answers > 0);
    }
    let also = match (own, others) {
        (Some(own), _) => format!("whose own address is {own}"),
        (None, 0) => return None,
        (None, 1) => "which answers for another address as well".into(),
        (None, others) => format!("which answers for {others} other addresses as well"),
    };
    Some(format!(
        "ARP for {} was answered by {}, {also}: consistent with proxy ARP, or with a host of several \
            addresses",
        hop.address, only.mac
    ))
}
