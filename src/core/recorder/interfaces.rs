//! PURE. Identity of the interfaces in the record. The kernel identifies an interface by index, but an
//! index or a name can be reused for another interface. The recorder therefore gives every interface
//! a slot, and every reuse of a slot a generation, so that old packets keep their interface.

use std::collections::HashMap;

use bytemuck::Zeroable;

use super::class::Store;
use super::layout::INTERFACE_SLOTS;
pub use super::layout::{InterfaceSlot, StoreCounts};
use crate::wire::LinkType;

/// Entries of the look-up cache: more than the interfaces busy at the same time.
const CACHE: usize = 256;
/// No interface has index 0.
const NOT_CACHED: (u32, u16) = (0, u16::MAX);

/// State of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The slot has never been used.
    Free = 0,
    /// Present, up, and with a carrier; or packets show that.
    Up = 1,
    /// Present but down, or without a carrier, and without packets since.
    Down = 2,
    /// Deleted, or moved to another network namespace. The record may still hold its packets.
    Gone = 3,
}

impl InterfaceSlot {
    /// Returns the name, or `if7` for an interface that was deleted before its name could be read.
    pub fn name(&self) -> String {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(16);
        if end == 0 {
            return format!("if{}", self.ifindex);
        }
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }

    /// Returns the state of the interface.
    pub fn state(&self) -> State {
        match self.state {
            1 => State::Up,
            2 => State::Down,
            3 => State::Gone,
            _ => State::Free,
        }
    }

    fn set_name(&mut self, name: &str) {
        self.name = [0; 16];
        // IFNAMSIZ is 16 with the final zero, so 15 bytes always hold a kernel's name.
        for (to, from) in self.name.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
    }
}

/// A link as reported by netlink.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Index in this network namespace.
    pub ifindex: u32,
    /// Current name.
    pub name: String,
    /// ARPHRD_ number.
    pub hardware: u16,
    /// Whether it is up with a carrier, so that packets can cross.
    pub up: bool,
    /// Whether the configuration includes it.
    pub recorded: bool,
}

/// An interval in which an interface was down or deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    /// Slot of the interface.
    pub slot: u16,
    /// Generation of the slot.
    pub generation: u16,
    /// `true` if it was deleted, `false` if it was down.
    pub gone: bool,
    /// Start, in nanoseconds since 1970.
    pub from_ns: u64,
    /// End, in nanoseconds since 1970.
    pub to_ns: u64,
}

/// Returns the link type for an ARPHRD_ number. Loopback (772) is Ethernet with zero addresses. NONE,
/// PPP, IPIP, SIT, GRE and similar types have no link header in AF_PACKET.
#[inline]
pub fn link_type(hardware: u16) -> LinkType {
    match hardware {
        1 | 772 => LinkType::Ethernet,
        512 | 519 | 65534 | 768 | 769 | 776 | 778 | 823 => LinkType::RawIp,
        _ => LinkType::Other,
    }
}

/// All interfaces in the record.
pub struct Interfaces {
    pub(super) slots: Vec<InterfaceSlot>,
    /// Present interfaces by index.
    by_index: HashMap<u32, u16>,
    /// Recent look-ups by the low bits of the index. The hash map serves only the first packet.
    cache: Box<[(u32, u16); CACHE]>,
    /// Packets and links without a slot, because all 2,048 slots belong to present interfaces.
    pub overflows: u64,
    /// Counts of interfaces whose slots were reused, by store.
    pub(super) released: [StoreCounts; 7],
}

impl Interfaces {
    pub(super) fn new(slots: Vec<InterfaceSlot>, released: [StoreCounts; 7]) -> Interfaces {
        let by_index = slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| matches!(slot.state(), State::Up | State::Down))
            .map(|(at, slot)| (slot.ifindex, at as u16))
            .collect();
        Interfaces {
            slots,
            by_index,
            cache: Box::new([NOT_CACHED; CACHE]),
            overflows: 0,
            released,
        }
    }

    /// Returns the counts of an interface in a store; those of all whose slots were reused, if it is one of them.
    #[inline]
    pub(super) fn counts_mut(
        &mut self,
        (slot, generation): (u16, u16),
        store: Store,
    ) -> &mut StoreCounts {
        match self.slots.get_mut(usize::from(slot)) {
            Some(found) if found.generation == generation => &mut found.stores[store as usize],
            _ => &mut self.released[store as usize],
        }
    }

    /// Returns the sums of interfaces whose slots were reused, by store.
    pub fn released(&self) -> &[StoreCounts; 7] {
        &self.released
    }

    /// Iterates over all used slots, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &InterfaceSlot)> {
        self.slots
            .iter()
            .enumerate()
            .map(|(at, slot)| (at as u16, slot))
    }

    /// Returns the slot of this number.
    pub fn at(&self, slot: u16) -> Option<&InterfaceSlot> {
        self.slots.get(usize::from(slot))
    }

    /// Returns the slot if it still has this generation.
    pub fn get(&self, slot: u16, generation: u16) -> Option<&InterfaceSlot> {
        self.slots
            .get(usize::from(slot))
            .filter(|found| found.generation == generation)
    }

    /// Returns the slot for counting.
    pub fn slot_mut(&mut self, slot: u16) -> Option<&mut InterfaceSlot> {
        self.slots.get_mut(usize::from(slot))
    }

    /// Returns the slot of the present interface with this index.
    pub fn present(&self, ifindex: u32) -> Option<u16> {
        self.by_index.get(&ifindex).copied()
    }

    /// Returns the slot for a packet that crossed interface `ifindex` at `time_ns`. An index that netlink
    /// has not reported yet gets a slot without a name. Returns `None` if no slot is free.
    #[inline]
    pub fn of_packet(&mut self, ifindex: u32, hardware: u16, time_ns: u64) -> Option<u16> {
        let (cached, slot) = self.cache[ifindex as usize % CACHE];
        if cached == ifindex {
            return Some(slot);
        }
        self.look_up(ifindex, hardware, time_ns)
    }

    fn look_up(&mut self, ifindex: u32, hardware: u16, time_ns: u64) -> Option<u16> {
        if let Some(slot) = self.by_index.get(&ifindex).copied() {
            let created = self.slots[usize::from(slot)].created_ns;
            if time_ns < created
                && let Some(former) = self.former(ifindex, time_ns)
            {
                return Some(former);
            }
            self.cache[ifindex as usize % CACHE] = (ifindex, slot);
            return Some(slot);
        }
        // The ring can hold packets of an interface that netlink has already reported as deleted.
        if let Some(former) = self.former(ifindex, time_ns) {
            return Some(former);
        }
        let slot = self.take_slot(ifindex, hardware, time_ns)?;
        self.by_index.insert(ifindex, slot);
        Some(slot)
    }

    /// Returns the deleted interface that had this index at `time_ns`: of all deleted after that time, the
    /// one deleted first.
    fn former(&self, ifindex: u32, time_ns: u64) -> Option<u16> {
        self.iter()
            .filter(|(_, slot)| {
                slot.state() == State::Gone && slot.ifindex == ifindex && time_ns <= slot.changed_ns
            })
            .min_by_key(|(_, slot)| slot.changed_ns)
            .map(|(at, _)| at)
    }

    /// Allocates a free slot, or else reuses that of the interface deleted longest ago.
    fn take_slot(&mut self, ifindex: u32, hardware: u16, now_ns: u64) -> Option<u16> {
        let at = if self.slots.len() < INTERFACE_SLOTS {
            self.slots.push(InterfaceSlot::zeroed());
            self.slots.len() - 1
        } else {
            let oldest = self
                .slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.state() == State::Gone)
                .min_by_key(|(_, slot)| slot.changed_ns);
            let Some((at, _)) = oldest else {
                self.overflows += 1;
                return None;
            };
            at
        };
        for (released, counts) in self.released.iter_mut().zip(&self.slots[at].stores) {
            released.add(counts);
        }
        let generation = self.slots[at].generation.wrapping_add(1);
        self.slots[at] = InterfaceSlot {
            ifindex,
            generation,
            hardware,
            state: State::Up as u8,
            link: link_type(hardware) as u8,
            recorded: 1,
            created_ns: now_ns,
            changed_ns: now_ns,
            ..InterfaceSlot::zeroed()
        };
        Some(at as u16)
    }

    /// Updates a present link from netlink. Returns the outage that has just ended, if any.
    pub fn link_is(&mut self, link: &Link, now_ns: u64) -> Option<Outage> {
        self.cache.fill(NOT_CACHED);
        let known = self.by_index.get(&link.ifindex).copied();
        let mut outage = None;
        // A packet was faster than netlink: the interface begins with it, and its name is news.
        if let Some(at) = known
            && self.slots[usize::from(at)].name[0] == 0
            && let Some((from_ns, _)) = self.gone_of_name(&link.name)
        {
            let slot = &self.slots[usize::from(at)];
            outage = Some(Outage {
                slot: at,
                generation: slot.generation,
                gone: true,
                from_ns: from_ns.min(slot.created_ns),
                to_ns: slot.created_ns,
            });
        }
        let at = match known {
            Some(at) => at,
            None => {
                let former = self.gone_of_name(&link.name);
                let at = self.take_slot(link.ifindex, link.hardware, now_ns)?;
                self.by_index.insert(link.ifindex, at);
                if let Some((from_ns, _)) = former {
                    outage = Some(Outage {
                        slot: at,
                        generation: self.slots[usize::from(at)].generation,
                        gone: true,
                        from_ns,
                        to_ns: now_ns,
                    });
                }
                at
            }
        };
        let slot = &mut self.slots[usize::from(at)];
        slot.set_name(&link.name);
        slot.hardware = link.hardware;
        slot.link = link_type(link.hardware) as u8;
        slot.recorded = link.recorded.into();
        let now_state = if link.up { State::Up } else { State::Down };
        if slot.state() != now_state {
            if slot.state() == State::Down && outage.is_none() {
                outage = Some(Outage {
                    slot: at,
                    generation: slot.generation,
                    gone: false,
                    from_ns: slot.changed_ns,
                    to_ns: now_ns,
                });
            }
            slot.state = now_state as u8;
            slot.changed_ns = now_ns;
        }
        outage
    }

    /// Takes note of a packet at a time at which the interface should not have had any. If it was down,
    /// it is up from then on; returns the outage that the packet ends.
    pub(super) fn packet_during_outage(&mut self, at: u16, time_ns: u64) -> Option<Outage> {
        let slot = self.slots.get_mut(usize::from(at))?;
        if slot.state() != State::Down || time_ns < slot.changed_ns {
            return None;
        }
        let outage = Outage {
            slot: at,
            generation: slot.generation,
            gone: false,
            from_ns: slot.changed_ns,
            to_ns: time_ns,
        };
        slot.state = State::Up as u8;
        slot.changed_ns = time_ns;
        Some(outage)
    }

    /// Returns when the last interface of this name was deleted, unless one of this name is present.
    fn gone_of_name(&self, name: &str) -> Option<(u64, u16)> {
        let of_name = |slot: &&InterfaceSlot| slot.name() == name;
        if self
            .slots
            .iter()
            .filter(of_name)
            .any(|slot| slot.state() != State::Gone)
        {
            return None;
        }
        self.iter()
            .filter(|(_, slot)| of_name(slot) && slot.state() == State::Gone)
            .max_by_key(|(_, slot)| slot.changed_ns)
            .map(|(at, slot)| (slot.changed_ns, at))
    }

    /// Removes a deleted link. Returns the outage that it ends, if the link was down.
    pub fn link_gone(&mut self, ifindex: u32, now_ns: u64) -> Option<Outage> {
        self.cache.fill(NOT_CACHED);
        let at = self.by_index.remove(&ifindex)?;
        let slot = &mut self.slots[usize::from(at)];
        let outage = (slot.state() == State::Down).then_some(Outage {
            slot: at,
            generation: slot.generation,
            gone: false,
            from_ns: slot.changed_ns,
            to_ns: now_ns,
        });
        slot.state = State::Gone as u8;
        slot.changed_ns = now_ns;
        outage
    }

    /// Returns the indices of all present interfaces.
    pub fn present_indices(&self) -> Vec<u32> {
        self.by_index.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ifindex: u32, name: &str, up: bool) -> Link {
        Link {
            ifindex,
            name: name.into(),
            hardware: 1,
            up,
            recorded: true,
        }
    }

    #[test]
    fn same_name_new_index_keeps_both_histories() {
        let mut all = Interfaces::new(vec![], [StoreCounts::zeroed(); 7]);
        assert_eq!(all.link_is(&link(2, "e0", true), 100), None);
        let first = all.of_packet(2, 1, 150).unwrap();
        all.link_gone(2, 200);
        let outage = all.link_is(&link(3, "e0", true), 300).unwrap();
        assert!(outage.gone);
        assert_eq!((outage.from_ns, outage.to_ns), (200, 300));
        let second = all.of_packet(3, 1, 350).unwrap();
        assert_ne!(first, second);
        // A packet of the old one that was still in the ring.
        assert_eq!(all.of_packet(2, 1, 190), Some(first));
    }

    #[test]
    fn same_index_again_is_another_interface() {
        let mut all = Interfaces::new(vec![], [StoreCounts::zeroed(); 7]);
        all.link_is(&link(2, "e0", true), 100);
        let first = all.of_packet(2, 1, 150).unwrap();
        all.link_gone(2, 200);
        all.link_is(&link(2, "x9", true), 300);
        let second = all.of_packet(2, 1, 350).unwrap();
        assert_ne!(first, second);
        assert_eq!(all.of_packet(2, 1, 350), Some(second));
        all.link_is(&link(2, "x9", true), 400);
        assert_eq!(
            all.of_packet(2, 1, 150),
            Some(first),
            "late packet of the first"
        );
    }

    #[test]
    fn flap_is_an_outage() {
        let mut all = Interfaces::new(vec![], [StoreCounts::zeroed(); 7]);
        all.link_is(&link(2, "e0", true), 100);
        assert_eq!(all.link_is(&link(2, "e0", false), 200), None);
        let outage = all.link_is(&link(2, "e0", true), 300).unwrap();
        assert_eq!(
            (outage.gone, outage.from_ns, outage.to_ns),
            (false, 200, 300)
        );
    }

    #[test]
    fn packets_end_outages() {
        let mut all = Interfaces::new(vec![], [StoreCounts::zeroed(); 7]);
        all.link_is(&link(2, "e0", true), 100);
        let slot = all.of_packet(2, 1, 150).unwrap();
        all.link_is(&link(2, "e0", false), 200);
        // A packet from before, which was still in the ring.
        assert_eq!(all.packet_during_outage(slot, 190), None);
        let outage = all.packet_during_outage(slot, 300).unwrap();
        assert_eq!((outage.from_ns, outage.to_ns), (200, 300));
        // Netlink follows, and adds nothing.
        assert_eq!(all.link_is(&link(2, "e0", true), 900), None);
    }

    #[test]
    fn recreated_interfaces_begin_with_their_first_packet() {
        let mut all = Interfaces::new(vec![], [StoreCounts::zeroed(); 7]);
        all.link_is(&link(2, "e0", true), 100);
        all.link_gone(2, 200);
        all.of_packet(3, 1, 280);
        let outage = all.link_is(&link(3, "e0", true), 300).unwrap();
        assert!(outage.gone);
        assert_eq!((outage.from_ns, outage.to_ns), (200, 280));
        assert_eq!(all.link_is(&link(3, "e0", true), 400), None);
    }

    #[test]
    fn slots_of_the_longest_gone_are_reused() {
        let mut all = Interfaces::new(vec![], [StoreCounts::zeroed(); 7]);
        all.link_is(&link(1, "keep", true), 1);
        let kept = all.of_packet(1, 1, 2).unwrap();
        for round in 2..(INTERFACE_SLOTS as u32 + 100) {
            all.link_is(&link(round, "v", true), u64::from(round) * 10);
            all.link_gone(round, u64::from(round) * 10 + 5);
        }
        assert_eq!(all.slots.len(), INTERFACE_SLOTS);
        assert_eq!(all.present(1), Some(kept));
        assert_eq!(all.slots[usize::from(kept)].name(), "keep");
        assert_eq!(all.overflows, 0);
    }
}
