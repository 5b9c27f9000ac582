//! PURE. Addresses that concern this host, as far as the engine knows them: its own, its gateways, its queriers and
//! its groups.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use foldhash::quality::RandomState;

use crate::talkers::Flow;

/// Maximum number of addresses: those of a host with some hundred containers. Addresses beyond it count as those of
/// others.
pub const MAX_CONCERNS: usize = 16_384;

/// How much a packet concerns this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Concern {
    /// Not more than others.
    #[default]
    None = 0,
    /// From or to this host, or one of its groups.
    Own = 1,
    /// From or to one of its gateways or queriers.
    Key = 2,
}

/// The addresses.
#[derive(Debug, Default)]
pub struct Concerns {
    by_address: HashMap<[u64; 2], Concern, RandomState>,
}

/// Group to which neighbor solicitations for an address are sent (RFC 4291, section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a & 0xff, b)
}

impl Concerns {
    /// Replaces all addresses.
    pub fn set(
        &mut self,
        own: impl IntoIterator<Item = IpAddr>,
        key: impl IntoIterator<Item = IpAddr>,
    ) {
        self.by_address.clear();
        for address in own {
            self.add(address, Concern::Own);
            if let IpAddr::V6(v6) = address
                && !v6.is_multicast()
            {
                self.add(solicited_node(v6).into(), Concern::Own);
            }
        }
        for address in key {
            // A querier of this host is this host.
            let words = Flow::words(address);
            if !self.by_address.contains_key(&words) {
                self.add(address, Concern::Key);
            }
        }
    }

    fn add(&mut self, address: IpAddr, concern: Concern) {
        if !address.is_unspecified() && self.by_address.len() < MAX_CONCERNS {
            self.by_address.insert(Flow::words(address), concern);
        }
    }

    /// Returns how much a packet of this flow concerns this host.
    #[inline]
    pub fn of(&self, flow: &Flow) -> Concern {
        let known = |words: &[u64; 2]| self.by_address.get(words).copied().unwrap_or_default();
        let [source, destination] = flow.ends();
        let least = if flow.is_outbound() {
            Concern::Own
        } else {
            Concern::None
        };
        known(&source).max(known(&destination)).max(least)
    }
}
