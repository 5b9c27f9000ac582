//! PURE. Which interface a packet crossed. The kernel says so by index, and an index or a name can
//! come to mean another interface, so the recorder gives each interface that ever was a slot, and
//! each reuse of a slot a generation: old history keeps its identity.

use std::collections::HashMap;

use bytemuck::Zeroable;

use super::layout::INTERFACE_SLOTS;
pub use super::layout::InterfaceSlot;
use crate::wire::LinkType;

/// Entries of the look-up cache: more than the interfaces that are busy at a time.
const CACHE: usize = 256;
/// No interface has index 0.
const NOT_CACHED: (u32, u16) = (0, u16::MAX);

/// Where an interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The slot has never been used.
    Free = 0,
    /// There and up.
    Up = 1,
    /// There but down, or without a carrier.
    Down = 2,
    /// Deleted, or moved to another network namespace; its packets may still be in the history.
    Gone = 3,
}

impl InterfaceSlot {
    /// The name, as far as it is known: `if7` stands for an interface that came and went before
    /// its name could be asked for.
    pub fn name(&self) -> String {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(16);
        if end == 0 {
            return format!("if{}", self.ifindex);
        }
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }

    /// Whether the interface is there, is not, or is down.
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

/// What netlink says of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Index in this network namespace.
    pub ifindex: u32,
    /// Current name.
    pub name: String,
    /// ARPHRD_ number.
    pub hardware: u16,
    /// Up and with a carrier: packets can cross.
    pub up: bool,
    /// Does the configuration record it?
    pub recorded: bool,
}

/// Something about an interface that the record has to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    /// The slot.
    pub slot: u16,
    /// Its generation.
    pub generation: u16,
    /// `true` if it had been deleted, `false` if it was down.
    pub gone: bool,
    /// From when, nanoseconds since 1970.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
}

/// How packets of that hardware type begin. Loopback is Ethernet with zero addresses (ARPHRD 772);
/// NONE, PPP, IPIP, SIT, GRE and their like have no link header that AF_PACKET would show.
#[inline]
pub fn link_type(hardware: u16) -> LinkType {
    match hardware {
        1 | 772 => LinkType::Ethernet,
        512 | 519 | 65534 | 768 | 769 | 776 | 778 | 823 => LinkType::RawIp,
        _ => LinkType::Other,
    }
}

/// All interfaces that the record speaks of.
pub struct Interfaces {
    pub(super) slots: Vec<InterfaceSlot>,
    /// Present interfaces by index.
    by_index: HashMap<u32, u16>,
    /// Look-ups of late, by the low bits of the index: the hash map is for the first packet only.
    cache: Box<[(u32, u16); CACHE]>,
    /// Packets and links that found no slot, because all 2,048 were of present interfaces.
    pub overflows: u64,
}

impl Interfaces {
    pub(super) fn new(slots: Vec<InterfaceSlot>) -> Interfaces {
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
        }
    }

    /// All slots that were ever used, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &InterfaceSlot)> {
        self.slots
            .iter()
            .enumerate()
            .map(|(at, slot)| (at as u16, slot))
    }

    /// The slot, if it still is of that generation.
    pub fn get(&self, slot: u16, generation: u16) -> Option<&InterfaceSlot> {
        self.slots
            .get(usize::from(slot))
            .filter(|found| found.generation == generation)
    }

    /// The slot to count in.
    pub fn slot_mut(&mut self, slot: u16) -> Option<&mut InterfaceSlot> {
        self.slots.get_mut(usize::from(slot))
    }

    /// The present interface of that index.
    pub fn present(&self, ifindex: u32) -> Option<u16> {
        self.by_index.get(&ifindex).copied()
    }

    /// The slot of a packet that crossed interface `ifindex` at `time_ns`. An index that netlink
    /// has not told of yet gets a slot without a name. `None`: no slot is left.
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
        // The ring can hold packets of an interface that netlink has already buried.
        if let Some(former) = self.former(ifindex, time_ns) {
            return Some(former);
        }
        let slot = self.take_slot(ifindex, hardware, time_ns)?;
        self.by_index.insert(ifindex, slot);
        Some(slot)
    }

    /// The interface that had this index when the packet was taken and is gone since: of all that
    /// had it and went later, the one that went first.
    fn former(&self, ifindex: u32, time_ns: u64) -> Option<u16> {
        self.iter()
            .filter(|(_, slot)| {
                slot.state() == State::Gone && slot.ifindex == ifindex && time_ns <= slot.changed_ns
            })
            .min_by_key(|(_, slot)| slot.changed_ns)
            .map(|(at, _)| at)
    }

    /// A free slot, else that of the interface that has been gone longest.
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

    /// Takes in what netlink says of a link that is there. Returns the outage that has just ended,
    /// if one has.
    pub fn link_is(&mut self, link: &Link, now_ns: u64) -> Option<Outage> {
        self.cache.fill(NOT_CACHED);
        let known = self.by_index.get(&link.ifindex).copied();
        let mut outage = None;
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

    /// When the last interface of that name went, if none of that name is there.
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

    /// The link is no more. Returns the outage that its being down was, if it was.
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

    /// Indices of all present interfaces.
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
        let mut all = Interfaces::new(vec![]);
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
        let mut all = Interfaces::new(vec![]);
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
        let mut all = Interfaces::new(vec![]);
        all.link_is(&link(2, "e0", true), 100);
        assert_eq!(all.link_is(&link(2, "e0", false), 200), None);
        let outage = all.link_is(&link(2, "e0", true), 300).unwrap();
        assert_eq!(
            (outage.gone, outage.from_ns, outage.to_ns),
            (false, 200, 300)
        );
    }

    #[test]
    fn slots_of_the_longest_gone_are_reused() {
        let mut all = Interfaces::new(vec![]);
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
