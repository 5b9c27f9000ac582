//! PURE. ARP and neighbor discovery seen on the wire during probing: unanswered requests and recent
//! answers.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Maximum number of neighbors with unanswered requests: twice the limit of a Linux host without
/// tuning (gc_thresh3), for each of several hundred interfaces of a container host.
const MAX_UNANSWERED: usize = 65_536;
/// Answers kept. A packet that waits for one is sent as soon as it arrives.
const MAX_RECENT_ANSWERS: usize = 1024;
/// Time after an answer within which a packet that waited for it is sent.
const SEND_DELAY_NS: u64 = 2_000_000;

#[derive(Clone, Copy, Debug)]
struct Solicitations {
    times: u32,
    last_ns: u64,
}

/// Requests and answers while probes are in flight. Times are wall-clock stamps, in nanoseconds
/// since 1970.
#[derive(Debug, Default)]
pub struct ResolutionTracker {
    unanswered: HashMap<(u32, IpAddr), Solicitations>,
    answered: VecDeque<(u64, u32, IpAddr)>,
    /// Requests that were not recorded because the table was full.
    pub overflows: u64,
}

impl ResolutionTracker {
    /// Records that this host asked for a neighbor's link-layer address.
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

    /// Records an answer. Answers without a request are ignored.
    pub fn on_answer(&mut self, ifindex: u32, address: IpAddr, at_ns: u64) {
        if self.unanswered.remove(&(ifindex, address)).is_some() {
            if self.answered.len() >= MAX_RECENT_ANSWERS {
                self.answered.pop_front();
            }
            self.answered.push_back((at_ns, ifindex, address));
        }
    }

    /// Returns the number of neighbors with a recent unanswered request, at most 4096. The kernel
    /// sends three requests, one second apart.
    pub fn unanswered_count(&self, now_ns: u64) -> usize {
        let lately = |asked: &&Solicitations| asked.last_ns + 1_100_000_000 > now_ns;
        // Beyond this, more probes are allowed than a run has in flight.
        self.unanswered.values().filter(lately).take(4096).count()
    }

    /// Returns the number of requests for a neighbor since its last answer.
    pub fn solicitations(&self, ifindex: u32, address: IpAddr) -> u32 {
        self.unanswered
            .get(&(ifindex, address))
            .map_or(0, |asked| asked.times)
    }

    /// Returns the time of the answer that a packet waited for: one given to the kernel at
    /// `sent_ns` that left on this interface at `left_ns`. `None` if it did not wait.
    pub fn waited_for(
        &self,
        ifindex: u32,
        target: IpAddr,
        sent_ns: u64,
        left_ns: u64,
    ) -> Option<u64> {
        self.answered
            .iter()
            .rev()
            .find(|(at, on, address)| {
                *on == ifindex
                    && *at >= sent_ns
                    && *at <= left_ns
                    && (*address == target || left_ns - at <= SEND_DELAY_NS)
            })
            .map(|(at, ..)| *at)
    }

    /// Clears the tracker when no probe is in flight.
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
    fn unsolicited_answers_are_ignored() {
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
