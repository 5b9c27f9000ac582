//! PURE. Shared causes: 500 targets behind a gateway that does not answer are one outage of that gateway.
//!
//! Outages are joined by a cause that was seen, never by time alone: two targets that fail at once have
//! nothing in common that anybody saw. The telling is joined, never the measuring, and a recovery is never
//! held back: each target has its own outage, and its end, in the list of the shared one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A cause that several targets can have. From the fate and words of the first lost probes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A next hop does not answer ARP or neighbor discovery.
    NextHopUnresolved {
        /// Interface.
        interface: String,
        /// Address of the next hop.
        next_hop: String,
    },
    /// A next hop whose address two stations claim, or that has another's neighbor entry.
    NextHopInDoubt {
        /// Interface.
        interface: String,
        /// Address of the next hop.
        next_hop: String,
    },
    /// An interface is down or has no carrier.
    InterfaceDown {
        /// Interface.
        interface: String,
    },
    /// There is no route, or one that refuses.
    NoRoute {
        /// Error of the kernel: unreachable, prohibited or blackhole.
        error: String,
    },
    /// The source address of the monitor is not there any more.
    SourceGone {
        /// Address.
        address: String,
    },
    /// A router or host reports an ICMP error.
    Refused {
        /// Sender of the error.
        from: String,
        /// Meaning of type and code.
        meaning: String,
    },
    /// A packet filter or full queue of this host drops probes or replies.
    DroppedHere {
        /// Interface.
        interface: String,
        /// Whether probes are dropped; replies otherwise.
        is_outbound: bool,
    },
    /// A cause of one target only, or none that was seen.
    Own {
        /// Number of the series.
        series: u32,
    },
}

/// Time between begins in nanoseconds within which outages with one cause belong together, if the first has
/// ended: more than the slowest detection (time limit and three probes at 10 s).
pub const WINDOW_NS: u64 = 40_000_000_000;
/// Shared outages that are open, or ended within the window. Further ones are told alone, and counted.
pub const MAX_SHARED: usize = 1024;
/// Targets in the list of a shared outage: all that the store can have.
pub const MAX_TARGETS: usize = crate::store::MAX_SERIES;

/// Outage of one target within a shared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Number of the outage of the target.
    pub number: u64,
    /// Begin in nanoseconds since 1970.
    pub begin_ns: u64,
    /// End in nanoseconds since 1970; `None` while it lasts.
    pub end_ns: Option<u64>,
}

/// One outage with everyone who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Number, from 1 on; never used again.
    pub id: u64,
    /// Cause.
    pub cause: Cause,
    /// Outages by series: the latest of each.
    pub targets: BTreeMap<u32, Member>,
    /// Targets that were not listed, because there were too many.
    pub unlisted: u32,
}

impl Shared {
    /// Returns the first begin in nanoseconds since 1970.
    pub fn begin_ns(&self) -> u64 {
        self.targets
            .values()
            .map(|member| member.begin_ns)
            .min()
            .unwrap_or(0)
    }

    /// Returns the last end in nanoseconds since 1970; `None` while one of the targets has it.
    pub fn end_ns(&self) -> Option<u64> {
        let ends: Option<Vec<u64>> = self.targets.values().map(|member| member.end_ns).collect();
        ends?.into_iter().max()
    }
}

/// What became of an outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is the first with its cause: a shared outage began, with this number.
    Began(u64),
    /// It belongs to the shared outage with this number.
    Added(u64),
    /// It was the last that lasted: the shared outage with this number has ended.
    Ended(u64),
}

impl Joined {
    /// Returns the number of the shared outage.
    pub fn id(&self) -> u64 {
        match self {
            Joined::Began(id) | Joined::Added(id) | Joined::Ended(id) => *id,
        }
    }
}

/// Joins outages of targets by cause.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Joiner {
    last_id: u64,
    shared: Vec<Shared>,
    /// Outages that could not be joined because of [`MAX_SHARED`].
    pub overflowed: u64,
}

impl Joiner {
    /// Creates a joiner that goes on behind the highest id that was ever used.
    pub fn new(last_id: u64) -> Joiner {
        Joiner {
            last_id,
            ..Joiner::default()
        }
    }

    /// Creates a joiner after a restart, from the outages that last or ended within the window.
    pub fn restore(last_id: u64, shared: Vec<Shared>) -> Joiner {
        let mut joiner = Joiner {
            last_id,
            shared,
            overflowed: 0,
        };
        joiner.shared.truncate(MAX_SHARED);
        joiner
    }

    /// Returns the number of an outage that is never joined with another.
    pub fn alone(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The cause of an outage that lasts was seen only now: it leaves the shared one that it was in, and joins
    /// that of its cause. Returns the number of the former, and whether nobody else is in it.
    pub fn moved(&mut self, series: u32, number: u64, cause: Cause) -> Option<(u64, bool, Joined)> {
        let is_it = |member: &Member| member.number == number && member.end_ns.is_none();
        let at = self.shared.iter().position(|shared| {
            shared.cause != cause && shared.targets.get(&series).is_some_and(is_it)
        })?;
        let former = &mut self.shared[at];
        let (id, member) = (former.id, former.targets.remove(&series)?);
        let is_empty = former.targets.is_empty() && former.unlisted == 0;
        if is_empty {
            self.shared.remove(at);
        }
        Some((
            id,
            is_empty,
            self.began(series, number, member.begin_ns, cause),
        ))
    }

    /// Returns the shared outages that last, or ended within the window.
    pub fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Returns a shared outage by its number.
    pub fn get(&self, id: u64) -> Option<&Shared> {
        self.shared.iter().find(|shared| shared.id == id)
    }

    /// An outage of a series began with a cause. It joins an outage with the same cause that lasts, or that
    /// another target got or lost within the window.
    pub fn began(&mut self, series: u32, number: u64, begin_ns: u64, cause: Cause) -> Joined {
        let member = Member {
            number,
            begin_ns,
            end_ns: None,
        };
        let found = self.shared.iter_mut().find(|shared| {
            let last_ns = shared.targets.values().map(|member| member.begin_ns).max();
            let ended_ns = shared.end_ns();
            let is_near = |time_ns: u64| time_ns.abs_diff(begin_ns) <= WINDOW_NS;
            // Its earlier outage is one of its own, with its own begin and end.
            let is_known = shared.targets.contains_key(&series);
            let is_same = shared.cause == cause && !is_known;
            is_same && (ended_ns.is_none_or(is_near) || last_ns.is_some_and(is_near))
        });
        if let Some(shared) = found {
            if shared.targets.len() < MAX_TARGETS || shared.targets.contains_key(&series) {
                shared.targets.insert(series, member);
            } else {
                shared.unlisted += 1;
            }
            return Joined::Added(shared.id);
        }
        let id = self.alone();
        self.forget(begin_ns);
        if self.shared.len() >= MAX_SHARED {
            self.overflowed += 1;
            return Joined::Began(id);
        }
        self.shared.push(Shared {
            id,
            cause,
            targets: [(series, member)].into(),
            unlisted: 0,
        });
        Joined::Began(id)
    }

    /// The outage of a series with a number ended. `None` if it is not known here.
    pub fn ended(&mut self, series: u32, number: u64, end_ns: u64) -> Option<Joined> {
        let is_it = |member: &&mut Member| member.number == number && member.end_ns.is_none();
        for shared in &mut self.shared {
            if let Some(member) = shared.targets.get_mut(&series).filter(is_it) {
                member.end_ns = Some(end_ns);
                let has_ended = shared.end_ns().is_some();
                let id = shared.id;
                return Some(if has_ended {
                    Joined::Ended(id)
                } else {
                    Joined::Added(id)
                });
            }
        }
        None
    }

    /// Drops shared outages that ended before the window; the caller has stored them.
    pub fn forget(&mut self, now_ns: u64) {
        self.shared.retain(|shared| {
            shared
                .end_ns()
                .is_none_or(|end_ns| end_ns.saturating_add(2 * WINDOW_NS) > now_ns)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    fn gateway(address: &str) -> Cause {
        Cause::NextHopUnresolved {
            interface: "eth0".to_owned(),
            next_hop: address.to_owned(),
        }
    }

    #[test]
    fn two_outages_of_a_target_are_two_also_soon_after_each_other() {
        let mut joiner = Joiner::new(0);
        for series in 0..2 {
            joiner.began(series, 1, START, gateway("10.0.0.1"));
            joiner.ended(series, 1, START + SECOND);
        }
        let begin_ns = START + 3 * SECOND;
        let again = joiner.began(0, 2, begin_ns, gateway("10.0.0.1"));
        assert_eq!(again, Joined::Began(2));
        assert_eq!(
            joiner.began(1, 2, begin_ns, gateway("10.0.0.1")),
            Joined::Added(2)
        );
        assert_eq!(joiner.get(1).unwrap().end_ns(), Some(START + SECOND));
    }

    #[test]
    fn a_cause_that_is_seen_later_joins_what_began_apart() {
        let mut joiner = Joiner::new(0);
        for series in 0..3 {
            let own = Cause::Own { series };
            joiner.began(series, 1, START + u64::from(series), own);
        }
        assert_eq!(
            joiner.moved(0, 1, gateway("10.0.0.1")),
            Some((1, true, Joined::Began(4)))
        );
        assert_eq!(
            joiner.moved(1, 1, gateway("10.0.0.1")),
            Some((2, true, Joined::Added(4)))
        );
        assert_eq!(
            joiner.moved(1, 1, gateway("10.0.0.1")),
            None,
            "it is there already"
        );
        assert_eq!(
            joiner.moved(2, 7, gateway("10.0.0.1")),
            None,
            "another outage"
        );
        assert_eq!(joiner.get(4).unwrap().begin_ns(), START);
        assert_eq!(joiner.shared().len(), 2);
    }

    #[test]
    fn five_hundred_targets_behind_a_gateway_are_one_outage() {
        let mut joiner = Joiner::new(6);
        for series in 0..500u32 {
            let begin_ns = START + u64::from(series) * SECOND / 500;
            let joined = joiner.began(series, 1, begin_ns, gateway("10.0.0.1"));
            assert_eq!(
                joined,
                if series == 0 {
                    Joined::Began(7)
                } else {
                    Joined::Added(7)
                }
            );
        }
        // One with an interval of a minute, much later; and one with another cause.
        assert_eq!(
            joiner.began(500, 1, START + 200 * SECOND, gateway("10.0.0.1")),
            Joined::Added(7)
        );
        assert_eq!(
            joiner.began(501, 1, START, gateway("10.0.0.2")),
            Joined::Began(8)
        );
        for series in 0..501u32 {
            let joined = joiner.ended(series, 1, START + 300 * SECOND);
            assert_eq!(
                joined,
                Some(if series == 500 {
                    Joined::Ended(7)
                } else {
                    Joined::Added(7)
                })
            );
        }
        let shared = joiner.get(7).unwrap();
        assert_eq!(
            (shared.targets.len(), shared.begin_ns(), shared.end_ns()),
            (501, START, Some(START + 300 * SECOND))
        );
        assert_eq!(joiner.ended(3, 1, START), None, "ended already");
    }

    #[test]
    fn outages_of_their_own_are_never_joined() {
        let mut joiner = Joiner::default();
        assert_eq!(
            joiner.began(1, 1, START, Cause::Own { series: 1 }),
            Joined::Began(1)
        );
        assert_eq!(
            joiner.began(2, 1, START, Cause::Own { series: 2 }),
            Joined::Began(2)
        );
    }

    #[test]
    fn a_cause_that_returns_later_is_another_outage() {
        let mut joiner = Joiner::default();
        let down = || Cause::InterfaceDown {
            interface: "eth0".to_owned(),
        };
        joiner.began(1, 1, START, down());
        joiner.ended(1, 1, START + 5 * SECOND);
        assert_eq!(
            joiner.began(2, 1, START + 10 * SECOND, down()),
            Joined::Added(1),
            "detected later"
        );
        assert_eq!(
            joiner.ended(2, 1, START + 15 * SECOND),
            Some(Joined::Ended(1))
        );
        assert_eq!(
            joiner.began(1, 2, START + 60 * SECOND, down()),
            Joined::Began(2)
        );
    }

    #[test]
    fn what_is_open_is_bounded_and_counted() {
        let mut joiner = Joiner::default();
        for series in 0..MAX_SHARED as u32 + 3 {
            joiner.began(series, 1, START, Cause::Own { series });
        }
        assert_eq!((joiner.shared().len(), joiner.overflowed), (MAX_SHARED, 3));
        for series in 0..MAX_SHARED as u32 {
            joiner.ended(series, 1, START + SECOND);
        }
        joiner.forget(START + 3600 * SECOND);
        assert_eq!(joiner.shared().len(), 0);
    }
}
