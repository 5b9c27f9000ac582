//! PURE. Who was asked for a link-layer address, and who told it, as the wire shows.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Most neighbours that are being asked for: twice what a Linux host keeps without tuning
/// (gc_thresh3), for each of several hundred interfaces of a container host.
const MAX_UNANSWERED: usize = 65_536;
/// Answers that are remembered: who waits for one sends as soon as it is there.
const MAX_RECENT_ANSWERS: usize = 1024;
/// A packet that waited for an answer leaves within this time after it.
const SEND_DELAY_NS: u64 = 2_000_000;

#[derive(Clone, Copy, Debug)]
struct Solicitations {
    times: u32,
    last_ns: u64,
}

/// What was asked and told while probes were under way. Times are of the wall clock, as stamped.
#[derive(Debug, Default)]
pub struct ResolutionTracker {
    unanswered: HashMap<(u32, IpAddr), Solicitations>,
    answered: VecDeque<(u64, u32, IpAddr)>,
    /// Questions that there was no room for.
    pub overflows: u64,
}

impl ResolutionTracker {
    /// Somebody here asked.
    pub fn on_solicitation(&mut self, ifindex: u32, address: IpAddr, at_ns: u64) {
        if self.unanswered.len() >= MAX_UNANSWERED
            && !self.unanswered.contains_key(&(ifindex, address))
        {
            self.overflows += 1;
            return;
        }
        let asked = self
            .unanswered
            .entry((ifindex, address))
            .or_insert(Solicitations {
                times: 0,
                last_ns: 0,
            });
        asked.times += 1;
        asked.last_ns = at_ns;
    }

    /// A neighbour told its address. Only who was asked counts.
    pub fn on_answer(&mut self, ifindex: u32, address: IpAddr, at_ns: u64) {
        if self.unanswered.remove(&(ifindex, address)).is_some() {
            if self.answered.len() >= MAX_RECENT_ANSWERS {
                self.answered.pop_front();
            }
            self.answered.push_back((at_ns, ifindex, address));
        }
    }

    /// How many neighbours were asked for lately and have not told. The kernel asks three times, a
    /// second each.
    pub fn unanswered_count(&self, now_ns: u64) -> usize {
        let lately = |asked: &&Solicitations| asked.last_ns + 1_100_000_000 > now_ns;
        // Beyond this there is room for more probes than a run has under way.
        self.unanswered.values().filter(lately).take(4096).count()
    }

    /// How often a neighbour was asked for since it last told.
    pub fn solicitations(&self, ifindex: u32, address: IpAddr) -> u32 {
        self.unanswered
            .get(&(ifindex, address))
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
        (self.answered.iter().rev())
            .find(|(at, on, address)| {
                *on == ifindex
                    && *at >= sent_ns
                    && *at <= left_ns
                    && (*address == target || left_ns - at <= SEND_DELAY_NS)
            })
            .map(|(at, ..)| *at)
    }

    /// Forgets everything: no probe is under way any longer.
    pub fn clear(&mut self) {
        self.unanswered.clear();
        self.unanswered.shrink_to(1024);
        self.answered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn only_who_was_asked_tells() {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        let other = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
        let mut resolutions = ResolutionTracker::default();
        resolutions.on_answer(2, address, 5);
        resolutions.on_solicitation(2, address, 10);
        resolutions.on_solicitation(2, address, 1_000_000_010);
        assert_eq!(resolutions.solicitations(2, address), 2);
        assert_eq!(resolutions.waited_for(2, address, 0, 2_000_000_000), None);
        resolutions.on_answer(2, address, 1_500_000_000);
        assert_eq!(resolutions.solicitations(2, address), 0);
        assert_eq!(
            resolutions.waited_for(2, address, 9, 1_500_010_000),
            Some(1_500_000_000)
        );
        assert_eq!(
            resolutions.waited_for(2, other, 9, 1_500_010_000),
            Some(1_500_000_000),
            "behind it as a router"
        );
        assert_eq!(resolutions.waited_for(2, other, 9, 1_600_000_000), None);
        assert_eq!(
            resolutions.waited_for(2, address, 1_500_000_001, 1_600_000_000),
            None
        );
    }
}
