//! PURE. Who was asked for a link-layer address, and who told it, as the wire shows.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Most neighbours that are being asked for: twice what a Linux host keeps without tuning
/// (gc_thresh3), for each of several hundred interfaces of a container host.
const MOST: usize = 65_536;
/// Answers that are remembered: who waits for one sends as soon as it is there.
const RECENT: usize = 1024;
/// A packet that waited for an answer leaves within this time after it.
const AFTER_NS: u64 = 2_000_000;

#[derive(Clone, Copy, Debug)]
struct Asked {
    times: u32,
    last_ns: u64,
}

/// What was asked and told while probes were under way. Times are of the wall clock, as stamped.
#[derive(Debug, Default)]
pub struct Neighbours {
    open: HashMap<(u32, IpAddr), Asked>,
    told: VecDeque<(u64, u32, IpAddr)>,
    /// Questions that there was no room for.
    pub overflows: u64,
}

impl Neighbours {
    /// Somebody here asked.
    pub fn asked(&mut self, ifindex: u32, who: IpAddr, at_ns: u64) {
        if self.open.len() >= MOST && !self.open.contains_key(&(ifindex, who)) {
            self.overflows += 1;
            return;
        }
        let asked = self.open.entry((ifindex, who)).or_insert(Asked {
            times: 0,
            last_ns: 0,
        });
        asked.times += 1;
        asked.last_ns = at_ns;
    }

    /// A neighbour told its address. Only who was asked counts.
    pub fn told(&mut self, ifindex: u32, who: IpAddr, at_ns: u64) {
        if self.open.remove(&(ifindex, who)).is_some() {
            if self.told.len() >= RECENT {
                self.told.pop_front();
            }
            self.told.push_back((at_ns, ifindex, who));
        }
    }

    /// How many neighbours were asked for lately and have not told. The kernel asks three times, a
    /// second each.
    pub fn being_asked(&self, now_ns: u64) -> usize {
        let lately = |asked: &&Asked| asked.last_ns + 1_100_000_000 > now_ns;
        // Beyond this there is room for more probes than a run has under way.
        self.open.values().filter(lately).take(4096).count()
    }

    /// How often a neighbour was asked for since it last told.
    pub fn times_asked(&self, ifindex: u32, who: IpAddr) -> u32 {
        self.open
            .get(&(ifindex, who))
            .map_or(0, |asked| asked.times)
    }

    /// When the answer came for which a packet waited that was given to the kernel at `sent_ns` and
    /// left by this interface at `left_ns`.
    pub fn waited_for(
        &self,
        ifindex: u32,
        target: IpAddr,
        sent_ns: u64,
        left_ns: u64,
    ) -> Option<u64> {
        (self.told.iter().rev())
            .find(|(at, on, who)| {
                *on == ifindex
                    && *at >= sent_ns
                    && *at <= left_ns
                    && (*who == target || left_ns - at <= AFTER_NS)
            })
            .map(|(at, ..)| *at)
    }

    /// Forgets everything: no probe is under way any longer.
    pub fn clear(&mut self) {
        self.open.clear();
        self.open.shrink_to(1024);
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn only_who_was_asked_tells() {
        let who = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        let other = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
        let mut neighbours = Neighbours::default();
        neighbours.told(2, who, 5);
        neighbours.asked(2, who, 10);
        neighbours.asked(2, who, 1_000_000_010);
        assert_eq!(neighbours.times_asked(2, who), 2);
        assert_eq!(neighbours.waited_for(2, who, 0, 2_000_000_000), None);
        neighbours.told(2, who, 1_500_000_000);
        assert_eq!(neighbours.times_asked(2, who), 0);
        assert_eq!(
            neighbours.waited_for(2, who, 9, 1_500_010_000),
            Some(1_500_000_000)
        );
        assert_eq!(
            neighbours.waited_for(2, other, 9, 1_500_010_000),
            Some(1_500_000_000),
            "behind it as a router"
        );
        assert_eq!(neighbours.waited_for(2, other, 9, 1_600_000_000), None);
        assert_eq!(
            neighbours.waited_for(2, who, 1_500_000_001, 1_600_000_000),
            None
        );
    }
}
