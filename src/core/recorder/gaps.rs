//! PURE. Gaps in the record: intervals in which packets were not recorded, or may not have been. The newest
//! 4,096 are kept in a table of their own; of older ones the number and the packets.

use std::ops::DerefMut;

use bytemuck::{Zeroable, bytes_of};

use super::interfaces::Outage;
use super::layout::{GAP_SLOTS, Gap, GapKind, Plausible};
use super::store::{Recorder, read};

/// Longest pause between drops of one ring that still belong to one gap.
const DROPS_JOIN_NS: u64 = 1_000_000_000;

/// Gaps that a late packet may shorten: those of the last moments, even on a host whose links flap.
const LATE_GAPS: u64 = 64;

impl<M: DerefMut<Target = [u8]>> Recorder<M> {
    /// Declares a gap. `ring` is 0 or 1 if it concerns one ring.
    pub fn declare(
        &mut self,
        kind: GapKind,
        ring: Option<u8>,
        from_ns: u64,
        to_ns: u64,
        count: u64,
    ) {
        self.write_gap(Gap {
            kind: kind as u8,
            ring: ring.unwrap_or(0),
            slot: u16::MAX,
            from_ns,
            to_ns,
            count,
            ..Gap::zeroed()
        });
    }

    /// Declares that an interface was down or deleted.
    pub fn declare_outage(&mut self, outage: &Outage) {
        let kind = if outage.gone {
            GapKind::InterfaceGone
        } else {
            GapKind::InterfaceDown
        };
        self.write_gap(Gap {
            kind: kind as u8,
            slot: outage.slot,
            generation: outage.generation,
            from_ns: outage.from_ns,
            to_ns: outage.to_ns,
            ..Gap::zeroed()
        });
    }

    /// Takes note of a packet of an interface that was down at that time, or up only later: an outage ends
    /// with the first packet, since netlink reports it later than packets cross, and the rings pass packets
    /// on later than netlink reports.
    #[cold]
    pub fn packet_during_outage(&mut self, slot: u16, time_ns: u64) {
        if let Some(outage) = self.interfaces_mut().packet_during_outage(slot, time_ns) {
            self.declare_outage(&outage);
            return;
        }
        let written = self.ledger.gaps_written;
        let oldest = written.saturating_sub(LATE_GAPS);
        for number in (oldest..written).rev() {
            let at = self.gap_at(number);
            let mut gap: Gap = read(&self.memory, at);
            let is_outage = gap.kind == GapKind::InterfaceDown as u8
                || gap.kind == GapKind::InterfaceGone as u8;
            let is_its = is_outage
                && self
                    .interfaces()
                    .get(gap.slot, gap.generation)
                    .is_some_and(|_| gap.slot == slot);
            if is_its && (gap.from_ns..gap.to_ns).contains(&time_ns) {
                gap.to_ns = time_ns;
                self.memory[at..at + size_of::<Gap>()].copy_from_slice(bytes_of(&gap));
                return;
            }
        }
    }

    /// Updates the drop count of a ring, which was `total` at `read_at_ns`. `now_ns` is the current time.
    /// Successive drops form one gap, which begins at the last reading without new drops.
    pub fn ring_drops(&mut self, ring: usize, total: u64, read_at_ns: u64, now_ns: u64) {
        let mark = &mut self.ledger.rings[ring];
        let more = total.saturating_sub(mark.declared_drops);
        let clean_ns = mark.clean_ns;
        let open = &mut self.ledger.open_drops[ring];
        if more == 0 {
            mark.clean_ns = read_at_ns.max(clean_ns);
            if open.count > 0 && now_ns.saturating_sub(open.to_ns) > DROPS_JOIN_NS {
                let closed = std::mem::take(open);
                self.write_gap(closed);
            }
            return;
        }
        mark.declared_drops = total;
        if open.count == 0 {
            *open = Gap {
                kind: GapKind::RingDrop as u8,
                ring: ring as u8,
                slot: u16::MAX,
                from_ns: if clean_ns == 0 { now_ns } else { clean_ns },
                ..Gap::zeroed()
            };
        }
        open.to_ns = now_ns;
        open.count += more;
    }

    fn write_gap(&mut self, gap: Gap) {
        let at = self.gap_at(self.ledger.gaps_written);
        if self.ledger.gaps_written >= GAP_SLOTS as u64 {
            let lost: Gap = read(&self.memory, at);
            if lost.is_plausible() {
                self.ledger.gaps_lost_count += lost.count;
            }
        }
        self.memory[at..at + size_of::<Gap>()].copy_from_slice(bytes_of(&gap));
        self.ledger.gaps_written += 1;
    }

    fn gap_at(&self, number: u64) -> usize {
        self.layout.gaps + (number % GAP_SLOTS as u64) as usize * size_of::<Gap>()
    }

    /// Returns the declared gaps that end at or after `since_ns`, oldest first, open ones last.
    pub fn gaps(&self, since_ns: u64) -> Vec<Gap> {
        let mut all = self.closed_gaps(0);
        all.extend(self.open_gaps());
        all.retain(|gap| gap.to_ns >= since_ns);
        all
    }

    /// Returns the kept gaps that have ended, oldest first, without the first `skip` ever declared.
    pub fn closed_gaps(&self, skip: u64) -> Vec<Gap> {
        let written = self.ledger.gaps_written;
        let first = skip.max(written.saturating_sub(GAP_SLOTS as u64));
        (first..written)
            .map(|number| read::<Gap>(&self.memory, self.gap_at(number)))
            .filter(Plausible::is_plausible)
            .collect()
    }

    /// Returns the gaps of the rings that have not ended: there may be more drops.
    pub fn open_gaps(&self) -> impl Iterator<Item = Gap> {
        let open = self.ledger.open_drops.iter();
        open.filter(|gap| gap.count > 0).copied()
    }

    /// Returns the number of gaps ever declared that have ended.
    pub fn gaps_closed(&self) -> u64 {
        self.ledger.gaps_written
    }

    /// Returns whether a gap of this kind was declared. What was evicted since then counts as declared.
    pub fn has_told(&self, kind: GapKind) -> bool {
        let is_kept_whole = self.ledger.gaps_written <= GAP_SLOTS as u64;
        let is_it = |gap: &Gap| gap.kind == kind as u8;
        !is_kept_whole || self.closed_gaps(0).iter().any(is_it)
    }

    /// Returns the gaps declared since the last call, oldest first.
    pub fn new_gaps(&mut self) -> Vec<Gap> {
        let skip = std::mem::replace(&mut self.ledger.gaps_told, self.ledger.gaps_written);
        self.closed_gaps(skip)
    }

    /// Returns the number of gaps ever declared, the number of those evicted, and the sum of their counts.
    pub fn gap_totals(&self) -> (u64, u64, u64) {
        let written = self.ledger.gaps_written;
        let open = self.open_gaps().count() as u64;
        (
            written + open,
            written.saturating_sub(GAP_SLOTS as u64),
            self.ledger.gaps_lost_count,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::interfaces::Link;
    use super::*;

    const BUDGETS: [u64; 7] = [256 * 1024; 7];
    const SECOND: u64 = 1_000_000_000;

    fn recorder() -> Recorder<Box<[u8]>> {
        let memory = vec![0; crate::recorder::memory_needed(BUDGETS)];
        Recorder::open(memory.into_boxed_slice(), BUDGETS, [128; 7], 1).0
    }

    fn link(up: bool) -> Link {
        Link {
            ifindex: 2,
            name: "e0".into(),
            hardware: 1,
            up,
            recorded: true,
        }
    }

    fn spans(recorder: &Recorder<Box<[u8]>>) -> Vec<(u64, u64)> {
        let gaps = recorder.closed_gaps(0);
        gaps.iter().map(|gap| (gap.from_ns, gap.to_ns)).collect()
    }

    #[test]
    fn a_kind_was_told_once_it_was_declared_also_when_that_was_evicted() {
        let mut recorder = recorder();
        recorder.declare(GapKind::EngineRestart, None, 1, 1, 0);
        assert!(!recorder.has_told(GapKind::RecorderReset));
        recorder.declare(GapKind::RecorderReset, None, 0, 2, 0);
        assert!(recorder.has_told(GapKind::RecorderReset));
        for at in 0..2 * GAP_SLOTS as u64 {
            recorder.declare(GapKind::EngineRestart, None, at, at, 0);
        }
        assert!(recorder.has_told(GapKind::RecorderReset));
    }

    #[test]
    fn late_packets_shorten_the_gap_that_they_are_in() {
        let mut recorder = recorder();
        let mut is = |up: bool, at: u64| {
            if let Some(outage) = recorder.interfaces_mut().link_is(&link(up), at) {
                recorder.declare_outage(&outage);
            }
        };
        for (up, at) in [
            (true, 100),
            (false, 200),
            (true, 300),
            (false, 400),
            (true, 500),
        ] {
            is(up, at);
        }
        let slot = recorder.interfaces().present(2).unwrap();
        // Before, between and after them, nothing changes.
        for at in [150, 350, 500, 600] {
            recorder.packet_during_outage(slot, at);
        }
        assert_eq!(spans(&recorder), [(200, 300), (400, 500)]);
        recorder.packet_during_outage(slot, 460);
        recorder.packet_during_outage(slot, 250);
        recorder.packet_during_outage(slot, 270);
        assert_eq!(spans(&recorder), [(200, 250), (400, 460)]);
        // Another interface's packets are no concern of theirs.
        recorder.packet_during_outage(slot + 1, 410);
        assert_eq!(spans(&recorder), [(200, 250), (400, 460)]);
    }

    #[test]
    fn a_gap_of_a_ring_is_open_until_it_is_closed() {
        let mut recorder = recorder();
        recorder.ring_drops(1, 0, SECOND, SECOND);
        recorder.ring_drops(1, 5, 2 * SECOND, 2 * SECOND);
        recorder.declare(GapKind::Quarantined, Some(0), 1, 2, 3);
        // Another gap does not make the open one appear again.
        assert_eq!(
            (recorder.gaps_closed(), recorder.open_gaps().count()),
            (1, 1)
        );
        assert_eq!(recorder.closed_gaps(0).len(), 1);
        assert_eq!(recorder.closed_gaps(1), []);
        assert_eq!(recorder.gap_totals().0, 2);
        recorder.ring_drops(1, 5, 4 * SECOND, 4 * SECOND);
        assert_eq!(
            (recorder.gaps_closed(), recorder.open_gaps().count()),
            (2, 0)
        );
        let last = recorder.closed_gaps(1);
        assert_eq!(
            (last[0].from_ns, last[0].to_ns, last[0].count),
            (SECOND, 2 * SECOND, 5)
        );
        assert_eq!(recorder.gap_totals().0, 2);
    }
}
