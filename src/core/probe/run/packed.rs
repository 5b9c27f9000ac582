//! PURE. Packed fates of a run: an entry a probe, when it has a fate, in the order of sending for each target;
//! another one if that fate is replaced by a late reply or error.

use std::collections::VecDeque;

use super::{Event, Run, Settings, State};
use crate::probe::packed::{Entry, saturated};

/// Time for which a reader may pause before entries are lost, in seconds.
const ROOM_SECONDS: u64 = 20;
/// Least and largest number of entries for which there is room.
const ROOM: (u64, u64) = (4_096, 262_144);

/// Entries of a run that wait for their reader.
#[derive(Debug)]
pub(super) struct PackedFates {
    /// By target: sequence number of its next entry.
    next: Vec<u32>,
    /// Entries of the probes that are kept, from `Run::base` on, as far as there are decided ones; `None` for
    /// the others.
    kept: VecDeque<Option<Entry>>,
    ready: VecDeque<Entry>,
    room: usize,
    lost: u64,
}

impl PackedFates {
    pub(super) fn new(targets: usize, room: usize) -> PackedFates {
        PackedFates {
            next: vec![1; targets],
            kept: VecDeque::new(),
            ready: VecDeque::new(),
            room,
            lost: 0,
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.ready.len() >= self.room {
            self.ready.pop_front();
            self.lost += 1;
        }
        self.ready.push_back(entry);
    }
}

impl Settings {
    /// Returns the number of entries of packed fates that may wait for their reader.
    pub(super) fn packed_room(&self, targets: u64) -> u64 {
        let rate = self.probes_per_second(targets);
        rate.saturating_mul(ROOM_SECONDS).clamp(ROOM.0, ROOM.1)
    }
}

impl Run {
    /// Makes an entry of a probe that has a fate, as soon as all earlier ones of its target have one.
    pub(super) fn pack(&mut self, serial: u64, event: &Event) {
        let (base, target) = (self.base, self.targets[event.target as usize].address);
        let (Some(packed), Some(at)) = (&mut self.packed, serial.checked_sub(base)) else {
            return;
        };
        let entry = Entry {
            slot: event.target,
            sequence: event.sequence,
            sent_ns: event.time_ns,
            rtt_ns: event.rtt_ns.map(saturated),
            wire_rtt_ns: event.wire_rtt_ns.map(saturated),
            fate: event.fate,
            is_revised: event.replaces_fate.is_some(),
            is_elsewhere: event.from.is_some_and(|from| from != target),
            is_fragmented: event.is_fragmented,
        };
        let next = packed.next[event.target as usize];
        if event.sequence < next {
            return packed.push(entry);
        }
        let at = at as usize;
        if packed.kept.len() <= at {
            packed.kept.resize(at + 1, None);
        }
        packed.kept[at] = Some(entry);
        if event.sequence == next {
            self.pack_following(event.target as usize);
        }
    }

    /// Makes entries of the probes of a target that are next, as long as they have fates.
    fn pack_following(&mut self, slot: usize) {
        let (base, width) = (self.base, self.targets.len() as u64);
        let Some(packed) = &mut self.packed else {
            return;
        };
        loop {
            let serial = u64::from(packed.next[slot] - 1) * width + slot as u64;
            let at = serial.checked_sub(base);
            let entry = at.and_then(|at| *packed.kept.get(at as usize)?);
            let Some(entry) = entry else {
                return;
            };
            packed.push(entry);
            packed.next[slot] += 1;
        }
    }

    /// Makes an entry of the first probe that is kept, which is about to be forgotten.
    pub(super) fn pack_first(&mut self) {
        let (slot, sequence) = self.target_and_sequence(self.base);
        let Some(packed) = &mut self.packed else {
            return;
        };
        let entry = packed.kept.pop_front().flatten();
        if packed.next[slot] > sequence {
            return;
        }
        if let Some(entry) = entry {
            packed.push(entry);
        }
        packed.next[slot] = sequence + 1;
    }

    /// Makes entries of what follows the probe that was just forgotten.
    pub(super) fn pack_after_first(&mut self) {
        if self.packed.is_some() {
            let (slot, _) = self.target_and_sequence(self.base - 1);
            self.pack_following(slot);
        }
    }

    /// Removes up to `most` entries that wait for the reader. Returns them, and how many were lost so far.
    pub fn take_packed(&mut self, most: usize) -> (Vec<Entry>, u64) {
        let Some(packed) = &mut self.packed else {
            return (vec![], 0);
        };
        let count = packed.ready.len().min(most);
        (packed.ready.drain(..count).collect(), packed.lost)
    }

    /// Returns how many entries were lost because the reader was too slow.
    pub fn packed_lost(&self) -> u64 {
        self.packed.as_ref().map_or(0, |packed| packed.lost)
    }

    /// Drops what is left of a run whose reader is gone. Returns the number of its entries.
    pub fn drop_packed(&mut self) -> u64 {
        let mut dropped = 0;
        loop {
            self.pack_rest();
            match self.take_packed(usize::MAX).0.len() {
                0 => return dropped,
                more => dropped += more as u64,
            }
        }
    }

    /// Makes entries of what is left of a run that is over, as far as there is room: all fates are final now.
    pub fn pack_rest(&mut self) {
        let has_room = |run: &Run| {
            let packed = run.packed.as_ref();
            packed.is_some_and(|packed| packed.ready.len() < packed.room)
        };
        while has_room(self)
            && let Some(probe) = self.probes.front()
        {
            if !matches!(probe.state, State::Decided(_)) {
                // Stopped before it had a fate: it is not counted.
                self.undecided = self.undecided.max(self.base + 1);
            }
            self.forget_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fate::Fate;
    use crate::probe::{Clock, Identity, Target};
    use std::net::Ipv4Addr;

    const SECOND: u64 = 1_000_000_000;

    fn run(targets: u8) -> Run {
        let targets = (1..=targets).map(|last| Target {
            address: Ipv4Addr::new(10, 0, 0, last).into(),
            scope: 0,
            is_group: false,
        });
        let settings = Settings {
            spread: true,
            quiet: true,
            packed: true,
            ..Settings::of_test()
        };
        Run::new(1, 7, settings, targets.collect(), 0)
    }

    fn send(run: &mut Run, count: u64, now_ns: u64) {
        for _ in 0..count {
            run.take_next(&Identity::new(1), now_ns);
        }
    }

    fn decide(run: &mut Run, serial: u64, fate: Fate) {
        let clock = Clock::new(1_000 * SECOND, 0);
        let event = run.event(serial, fate, &clock);
        run.decide(serial, event);
    }

    /// The entries that are ready: slot, sequence, fate.
    fn ready(run: &mut Run) -> Vec<(u32, u32, Fate)> {
        let (entries, _) = run.take_packed(usize::MAX);
        let parts = entries.into_iter();
        parts
            .map(|entry| (entry.slot, entry.sequence, entry.fate))
            .collect()
    }

    #[test]
    fn each_target_has_its_order() {
        use Fate::{NotSent, Replied};
        let mut run = run(2);
        send(&mut run, 6, 1);
        decide(&mut run, 1, NotSent);
        decide(&mut run, 5, Replied);
        decide(&mut run, 2, Replied);
        assert_eq!(ready(&mut run), [(1, 1, NotSent)]);
        decide(&mut run, 3, Replied);
        assert_eq!(ready(&mut run), [(1, 2, Replied), (1, 3, Replied)]);
        decide(&mut run, 0, Replied);
        assert_eq!(ready(&mut run), [(0, 1, Replied), (0, 2, Replied)]);
    }

    #[test]
    fn a_fate_that_is_replaced_has_another_entry() {
        use Fate::{Late, Replied, Unanswered};
        let mut run = run(2);
        send(&mut run, 6, 1);
        decide(&mut run, 0, Unanswered);
        decide(&mut run, 1, Unanswered);
        decide(&mut run, 2, Replied);
        decide(&mut run, 3, Replied);
        let first = ready(&mut run);
        assert_eq!(
            first,
            [
                (0, 1, Unanswered),
                (1, 1, Unanswered),
                (0, 2, Replied),
                (1, 2, Replied)
            ]
        );
        let mut late = run.event(0, Late, &Clock::new(1_000 * SECOND, 0));
        late.replaces_fate = Some(Unanswered);
        run.decide(0, late);
        let (entries, _) = run.take_packed(9);
        assert_eq!((entries[0].fate, entries[0].is_revised), (Late, true));
        assert_eq!((entries[0].sequence, entries.len()), (1, 1));
        // Nothing is said again of what is forgotten.
        run.undecided = 4;
        run.forget(20 * SECOND);
        assert_eq!(ready(&mut run), []);
        // A run that is stopped: one has no fate, the next has one.
        decide(&mut run, 5, Unanswered);
        run.pack_rest();
        assert_eq!(ready(&mut run), [(1, 3, Unanswered)]);
        assert_eq!(run.packed_lost(), 0);
    }

    #[test]
    fn what_is_not_read_is_counted() {
        let mut run = run(1);
        let room = ROOM.0;
        for serial in 0..room + 10 {
            send(&mut run, 1, 1);
            decide(&mut run, serial, Fate::Replied);
        }
        let (entries, lost) = run.take_packed(usize::MAX);
        assert_eq!((entries.len() as u64, lost), (room, 10));
        assert_eq!(entries[0].sequence, 11);
    }
}
