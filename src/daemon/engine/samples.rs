//! SHELL. What an export says about thinned packets: of which times a store has a sample, and how many packets of
//! each interface were not stored.

use netsonde_core::protocol::time;
use netsonde_core::recorder::pcapng::SAMPLE_NOTE;
use netsonde_core::recorder::{SampleInterval, Store};
use netsonde_core::text::counted;

/// Intervals closer than this are one: the recorder divides them into ten seconds.
const JOIN_NS: u64 = 10_000_000_000;
/// Intervals listed per store at the beginning, and per interface at the end; earlier ones are joined.
const MAX_LISTED: usize = 8;

/// An interval of a store, on one interface or on all.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sampled {
    store: u8,
    from_ns: u64,
    to_ns: u64,
    thinned: u64,
    seen: u64,
}

impl Sampled {
    fn join(&mut self, other: &Sampled) {
        self.from_ns = self.from_ns.min(other.from_ns);
        self.to_ns = self.to_ns.max(other.to_ns);
        self.thinned = self.thinned.saturating_add(other.thinned);
        self.seen = self.seen.saturating_add(other.seen);
    }

    fn sentence(&self) -> String {
        let store = Store::ALL[usize::from(self.store)].name();
        let kept = self.seen.saturating_sub(self.thinned);
        format!(
            "netsonde: store {store}{SAMPLE_NOTE}{} to {}, {kept} of {} kept",
            time(self.from_ns),
            time(self.to_ns),
            counted(self.seen, "packet")
        )
    }
}

/// Returns the intervals of one store, in order: those that touch are joined if `is_joined`, and the earliest until
/// there are not too many.
fn of_store<'a>(
    intervals: impl Iterator<Item = &'a SampleInterval>,
    store: Store,
    is_joined: bool,
) -> Vec<Sampled> {
    let mut all: Vec<Sampled> = intervals
        .filter(|one| one.store == store as u8)
        .map(|one| Sampled {
            store: one.store,
            from_ns: one.from_ns,
            to_ns: one.to_ns,
            thinned: one.thinned,
            seen: one.seen,
        })
        .collect();
    all.sort_by_key(|one| one.from_ns);
    let mut joined: Vec<Sampled> = Vec::new();
    let too_many = all.len().saturating_sub(MAX_LISTED);
    for (at, one) in all.iter().enumerate() {
        match joined.last_mut() {
            Some(last)
                if is_joined && one.from_ns < last.to_ns.saturating_add(JOIN_NS)
                    || !is_joined && at <= too_many =>
            {
                last.join(one);
            }
            _ => joined.push(*one),
        }
    }
    let too_many = joined.len().saturating_sub(MAX_LISTED);
    if too_many > 0 {
        let rest = joined.split_off(too_many + 1);
        let (first, others) = joined.split_at_mut(1);
        others.iter().for_each(|one| first[0].join(one));
        joined.truncate(1);
        joined.extend(rest);
    }
    joined
}

/// Returns one sentence for each interval of which the stores have a sample.
pub fn of_stores(intervals: &[SampleInterval], stores: &[Store]) -> Vec<String> {
    let all = stores.iter();
    let all = all.flat_map(|store| of_store(intervals.iter(), *store, true));
    all.map(|one| one.sentence()).collect()
}

/// Returns the same for one interface, in steps of ten seconds.
pub fn of_interface(
    intervals: &[SampleInterval],
    interface: (u16, u16),
    stores: &[Store],
) -> Vec<String> {
    let own = || {
        intervals
            .iter()
            .filter(|one| (one.slot, one.generation) == interface)
    };
    let all = stores.iter();
    let all = all.flat_map(|store| of_store(own(), *store, false));
    all.map(|one| one.sentence()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn interval(slot: u16, second: u64) -> SampleInterval {
        SampleInterval {
            from_ns: second * SECOND,
            to_ns: (second + 9) * SECOND,
            thinned: 90,
            seen: 100,
            slot,
            store: Store::Bulk as u8,
            ..SampleInterval::default()
        }
    }

    #[test]
    fn intervals_that_touch_are_one() {
        let all = [interval(0, 100), interval(1, 110), interval(0, 200)];
        let joined = of_store(all.iter(), Store::Bulk, true);
        let found: Vec<(u64, u64, u64)> = joined
            .iter()
            .map(|one| (one.from_ns / SECOND, one.to_ns / SECOND, one.seen))
            .collect();
        assert_eq!(found, [(100, 119, 200), (200, 209, 100)]);
        assert_eq!(of_stores(&all, &[Store::Link]), Vec::<String>::new());
        assert_eq!(of_interface(&all, (0, 0), &[Store::Bulk]).len(), 2);
    }

    #[test]
    fn no_packet_is_left_out_of_long_lists() {
        let all: Vec<_> = (0..100).map(|at| interval(0, 1_000 + 40 * at)).collect();
        for is_joined in [false, true] {
            let listed = of_store(all.iter(), Store::Bulk, is_joined);
            assert!(listed.len() <= MAX_LISTED, "{}", listed.len());
            let seen: u64 = listed.iter().map(|one| one.seen).sum();
            assert_eq!(seen, 10_000);
        }
    }
}
