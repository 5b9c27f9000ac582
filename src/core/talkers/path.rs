//! PURE. Flows across the interfaces of a host: a packet that a host carries on crosses several interfaces, and
//! is one packet.
//!
//! A packet of a container is seen on its veth, on the bridge, and on the uplink. It enters the host on the
//! lowest of the interfaces that received it, or leaves its origin on the highest of those that sent it; the
//! other sightings are the same packet. Address translation changes the flow: its two sides are two flows.

use std::collections::{HashMap, HashSet};

use super::{Flow, Sum};

/// Interfaces of one device stack, by index.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// Pairs (upper, lower): frames of the lower device reach the upper one, and the reverse. A bridge and its
    /// port, a bond and its member, a VLAN and its parent.
    over: HashSet<(u32, u32)>,
    /// The same by device: those above and below it.
    above: HashMap<u32, Vec<u32>>,
    below: HashMap<u32, Vec<u32>>,
    /// Pairs of virtual interfaces in which one receives what the other sends, both ways round.
    peers: HashMap<u32, u32>,
    /// Number of devices below each.
    height: HashMap<u32, u32>,
}

/// Maximum height of a stack: the kernel's MAX_NEST_DEV (include/linux/netdevice.h).
const MAX_HEIGHT: u32 = 8;

impl Stack {
    /// Creates the relations of interfaces from (index, master, link): `master` is the bridge or bond that it
    /// is a port of, `link` the device that it is on, or the other end of a pair.
    pub fn new(links: impl IntoIterator<Item = (u32, Option<u32>, Option<u32>)>) -> Stack {
        let links: Vec<_> = links.into_iter().collect();
        let on: HashMap<u32, u32> = links
            .iter()
            .filter_map(|(index, _, link)| Some((*index, (*link)?)))
            .collect();
        let mut stack = Stack::default();
        for (index, master, link) in &links {
            if let Some(master) = master {
                stack.over.insert((*master, *index));
            }
            match link {
                Some(link) if on.get(link) == Some(index) => {
                    stack.peers.insert(*index, *link);
                }
                Some(link) if link != index => {
                    stack.over.insert((*index, *link));
                }
                _ => {}
            }
        }
        for (upper, lower) in &stack.over {
            stack.above.entry(*lower).or_default().push(*upper);
            stack.below.entry(*upper).or_default().push(*lower);
        }
        // Each round settles one more level.
        for _ in 0..MAX_HEIGHT {
            for (upper, lower) in &stack.over {
                let below = stack.height.get(lower).copied().unwrap_or(0) + 1;
                let height = stack.height.entry(*upper).or_default();
                *height = (*height).max(below.min(MAX_HEIGHT));
            }
        }
        stack
    }

    fn height(&self, index: u32) -> u32 {
        self.height.get(&index).copied().unwrap_or(0)
    }
}

/// Sightings of a flow on one interface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// The flow on this interface.
    pub flow: Flow,
    /// Its sum there.
    pub sum: Sum,
}

/// A flow of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Sum in which each packet counts once.
    pub sum: Sum,
    /// Sum of all sightings.
    pub seen: Sum,
    /// Interfaces that it crossed, in the order of its packets; never empty.
    pub ways: Vec<Way>,
}

impl Carried {
    fn new(mut ways: Vec<Way>, stack: &Stack) -> Carried {
        let crossed: HashSet<(u32, bool)> = ways
            .iter()
            .map(|way| (way.flow.ifindex, way.flow.is_outbound()))
            .collect();
        let has_any = |near: &HashMap<u32, Vec<u32>>, index: u32, outbound: bool| {
            let near = near.get(&index).into_iter().flatten();
            near.into_iter()
                .any(|other| crossed.contains(&(*other, outbound)))
        };
        let enters = |way: &&Way| {
            let index = way.flow.ifindex;
            let peer = stack.peers.get(&index);
            !way.flow.is_outbound()
                && !has_any(&stack.below, index, false)
                && peer.is_none_or(|peer| !crossed.contains(&(*peer, true)))
        };
        let starts =
            |way: &&Way| way.flow.is_outbound() && !has_any(&stack.above, way.flow.ifindex, true);
        let mut entered = Sum::default();
        ways.iter()
            .filter(enters)
            .for_each(|way| entered.add(&way.sum));
        let mut sent = Sum::default();
        ways.iter()
            .filter(starts)
            .for_each(|way| sent.add(&way.sum));
        let sum = if entered.packets == 0 {
            sent
        } else {
            // A bridge sends copies of a packet that it received, so the copies are no sum.
            let outbound = ways.iter().filter(|way| way.flow.is_outbound());
            let most = outbound.map(|way| way.sum).max_by_key(|sum| sum.packets);
            most.filter(|most| most.packets > entered.packets)
                .unwrap_or(entered)
        };
        let mut seen = Sum::default();
        ways.iter().for_each(|way| seen.add(&way.sum));
        ways.sort_by_key(|way| {
            let height = i64::from(stack.height(way.flow.ifindex));
            match way.flow.is_outbound() {
                false => (false, height, way.flow.ifindex),
                true => (true, -height, way.flow.ifindex),
            }
        });
        Carried { sum, seen, ways }
    }

    /// Returns whether the host received it on one interface and sent it on another.
    pub fn is_forwarded(&self) -> bool {
        let (Some(first), Some(last)) = (self.ways.first(), self.ways.last()) else {
            return false;
        };
        !first.flow.is_outbound()
            && last.flow.is_outbound()
            && first.flow.ifindex != last.flow.ifindex
    }
}

/// Joins the sightings of each flow. Their number is that of the sums at most.
pub fn carried<'s>(sums: impl Iterator<Item = (&'s Flow, &'s Sum)>, stack: &Stack) -> Vec<Carried> {
    let mut by_flow: HashMap<Flow, Vec<Way>> = HashMap::new();
    for (flow, sum) in sums {
        by_flow.entry(flow.anywhere()).or_default().push(Way {
            flow: *flow,
            sum: *sum,
        });
    }
    by_flow
        .into_values()
        .map(|ways| Carried::new(ways, stack))
        .collect()
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    const BRIDGE: u32 = 10;
    const UPLINK: u32 = 20;

    fn on(ifindex: u32, outbound: bool) -> Flow {
        let mut flow = Flow::zeroed();
        flow.ifindex = ifindex;
        flow.set_outbound(outbound);
        flow
    }

    /// Returns packets, and the interfaces in their order.
    fn joined(stack: &Stack, sightings: &[(u32, bool, u64)]) -> (u64, Vec<u32>, bool) {
        let sums: Vec<(Flow, Sum)> = sightings
            .iter()
            .map(|(index, outbound, packets)| {
                let sum = Sum {
                    packets: *packets,
                    ..Sum::default()
                };
                (on(*index, *outbound), sum)
            })
            .collect();
        let all = carried(sums.iter().map(|(flow, sum)| (flow, sum)), stack);
        assert_eq!(all.len(), 1);
        let indices = all[0].ways.iter().map(|way| way.flow.ifindex).collect();
        (all[0].sum.packets, indices, all[0].is_forwarded())
    }

    /// A bridge with ports 1 to 3, whose other ends are elsewhere, and an uplink with a VLAN 21.
    fn host() -> Stack {
        Stack::new([
            (1, Some(BRIDGE), None),
            (2, Some(BRIDGE), None),
            (3, Some(BRIDGE), None),
            (BRIDGE, None, None),
            (UPLINK, None, None),
            (21, None, Some(UPLINK)),
        ])
    }

    #[test]
    fn a_forwarded_packet_is_one() {
        let stack = host();
        let up = joined(
            &stack,
            &[(UPLINK, true, 7), (BRIDGE, false, 7), (1, false, 7)],
        );
        assert_eq!(up, (7, vec![1, BRIDGE, UPLINK], true));
        let down = joined(
            &stack,
            &[(1, true, 5), (UPLINK, false, 5), (BRIDGE, true, 5)],
        );
        assert_eq!(down, (5, vec![UPLINK, BRIDGE, 1], true));
        // On a VLAN of the uplink.
        let tagged = joined(&stack, &[(21, false, 4), (UPLINK, false, 4)]);
        assert_eq!(tagged, (4, vec![UPLINK, 21], false));
    }

    #[test]
    fn copies_of_a_bridge_are_one() {
        let stack = host();
        let flooded = [
            (1, false, 1),
            (BRIDGE, false, 1),
            (2, true, 1),
            (3, true, 1),
        ];
        assert_eq!(joined(&stack, &flooded), (1, vec![1, BRIDGE, 2, 3], true));
        let own = [(BRIDGE, true, 2), (1, true, 2), (2, true, 2), (3, true, 2)];
        assert_eq!(joined(&stack, &own).0, 2);
    }

    #[test]
    fn packets_on_two_ways_are_added() {
        // Two uplinks that are independent.
        let stack = Stack::new([(1, None, None), (2, None, None)]);
        assert_eq!(joined(&stack, &[(1, false, 3), (2, false, 4)]).0, 7);
        assert_eq!(joined(&stack, &[(1, true, 3), (2, true, 4)]).0, 7);
        // The members of a bond, which has the sum.
        let bond = Stack::new([(1, Some(9), None), (2, Some(9), None), (9, None, None)]);
        let both = [(1, false, 3), (2, false, 4), (9, false, 7)];
        assert_eq!(joined(&bond, &both).0, 7);
    }

    #[test]
    fn pairs_in_this_host_are_one_way() {
        let stack = Stack::new([(1, None, Some(2)), (2, None, Some(1)), (3, None, None)]);
        assert_eq!(joined(&stack, &[(1, true, 6), (2, false, 6)]).0, 6);
        let carried_on = [(3, false, 6), (1, true, 6), (2, false, 6)];
        assert_eq!(joined(&stack, &carried_on).0, 6);
    }
}
