//! PURE. Bounded table with several rooms. When a room is full, an entry that may go makes place; else, in a room with
//! places for the newest, the oldest of these; else the newcomer is not taken. So a flood of newcomers evicts
//! nothing that was there before it, and each newcomer has a while to prove itself and move to another room.

use std::collections::VecDeque;

/// Names an entry; an entry that was evicted has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    at: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    entry: Option<T>,
    generation: u32,
    room: usize,
    is_newest: bool,
    may_go: bool,
}

/// Limits and members of a room.
#[derive(Debug, Default)]
struct Side {
    /// Entries that stay, and places for the newest.
    limits: (usize, usize),
    count: usize,
    newest: VecDeque<Key>,
    /// Entries that make place, the oldest first.
    may_go: VecDeque<Key>,
    evicted: u64,
}

/// The table.
#[derive(Debug)]
pub struct Room<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    sides: Vec<Side>,
}

impl<T> Room<T> {
    /// Creates a table of rooms, each with its limit, and how many of these places are for the newest.
    pub fn new(limits: &[(usize, usize)]) -> Room<T> {
        let side = |(most, newest): &(usize, usize)| Side {
            limits: (most.saturating_sub(*newest), *newest),
            ..Side::default()
        };
        Room {
            slots: Vec::new(),
            free: Vec::new(),
            sides: limits.iter().map(side).collect(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns an entry; `None` if it was evicted.
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.at as usize)?;
        let is_it = slot.generation == key.generation;
        slot.entry.as_ref().filter(|_| is_it)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.at as usize)?;
        let is_it = slot.generation == key.generation;
        slot.entry.as_mut().filter(|_| is_it)
    }

    /// Adds an entry. In a room without places for the newest it takes the place of the last one if no other may go.
    /// Returns its name, and what it evicted.
    pub fn add(&mut self, room: usize, entry: T) -> (Key, Option<(Key, T)>) {
        let evicted = self.make_place(room);
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        let is_newest = self.sides[room].count >= self.sides[room].limits.0;
        match self.slots.get_mut(at as usize) {
            Some(slot) => {
                slot.entry = Some(entry);
                slot.room = room;
                slot.is_newest = is_newest;
                slot.may_go = false;
            }
            None => self.slots.push(Slot {
                entry: Some(entry),
                generation: 0,
                room,
                is_newest,
                may_go: false,
            }),
        }
        let key = Key {
            at,
            generation: self.slots[at as usize].generation,
        };
        self.enter(room, key, is_newest);
        (key, evicted)
    }

    fn enter(&mut self, room: usize, key: Key, is_newest: bool) {
        let side = &mut self.sides[room];
        match is_newest {
            true => side.newest.push_back(key),
            false => side.count += 1,
        }
    }

    /// Evicts an entry if the room is full.
    fn make_place(&mut self, room: usize) -> Option<(Key, T)> {
        let side = &self.sides[room];
        if side.count < side.limits.0 {
            return None;
        }
        let key = self.first_that_may_go(room).or_else(|| {
            // Names of entries that have moved or gone are left out.
            self.forget_gone(room);
            let side = &mut self.sides[room];
            let is_full = side.newest.len() >= side.limits.1.max(1);
            is_full.then(|| side.newest.pop_front()).flatten()
        })?;
        self.sides[room].evicted += 1;
        self.remove(key).map(|entry| (key, entry))
    }

    fn first_that_may_go(&mut self, room: usize) -> Option<Key> {
        while let Some(key) = self.sides[room].may_go.pop_front() {
            if self.is_in(key, room) {
                return Some(key);
            }
        }
        None
    }

    fn is_in(&self, key: Key, room: usize) -> bool {
        self.get(key).is_some() && self.slots[key.at as usize].room == room
    }

    fn forget_gone(&mut self, room: usize) {
        while let Some(first) = self.sides[room].newest.front().copied() {
            if self.is_in(first, room) {
                break;
            }
            self.sides[room].newest.pop_front();
        }
        let side = &self.sides[room];
        if side.newest.len() > side.limits.1.max(1) {
            let mut newest = std::mem::take(&mut self.sides[room].newest);
            newest.retain(|key| self.is_in(*key, room));
            self.sides[room].newest = newest;
        }
    }

    fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.at as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        if !slot.is_newest {
            self.sides[slot.room].count -= 1;
        }
        self.free.push(key.at);
        Some(entry)
    }

    /// Moves an entry to another room, where one that may go makes place. If none may, it stays where it is: newcomers
    /// cannot evict it there before those that came later.
    pub fn move_to(&mut self, key: Key, room: usize) {
        if self.get(key).is_none() || self.slots[key.at as usize].room == room {
            return;
        }
        let side = &self.sides[room];
        if side.count >= side.limits.0 {
            let Some(first) = self.first_that_may_go(room) else {
                return;
            };
            self.sides[room].evicted += 1;
            self.remove(first);
        }
        let slot = &mut self.slots[key.at as usize];
        if !slot.is_newest {
            self.sides[slot.room].count -= 1;
        }
        (slot.room, slot.is_newest) = (room, false);
        self.sides[room].count += 1;
    }

    /// Lets an entry make place for others once its room is full.
    pub fn may_go(&mut self, key: Key) {
        if self.get(key).is_none() {
            return;
        }
        let slot = &mut self.slots[key.at as usize];
        if !std::mem::replace(&mut slot.may_go, true) {
            self.sides[slot.room].may_go.push_back(key);
        }
    }

    /// Returns how many entries of each room were evicted.
    pub fn evicted(&self) -> Vec<u64> {
        self.sides.iter().map(|side| side.evicted).collect()
    }

    /// Returns all entries, in no order.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    /// Returns all entries, in no order.
    pub fn into_all(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| slot.entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flood_evicts_its_own_newest() {
        let mut room = Room::new(&[(10, 0), (10, 4)]);
        let first: Vec<Key> = (0..6).map(|n| room.add(1, n).0).collect();
        let proven = room.add(1, 100).0;
        room.move_to(proven, 0);
        for n in 1_000..100_000 {
            room.add(1, n);
            assert!(room.len() <= 20);
        }
        for (key, n) in first.iter().zip(0..) {
            assert_eq!(room.get(*key), Some(&n));
        }
        assert_eq!(room.get(proven), Some(&100));
        let mut all: Vec<i32> = room.all().copied().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 100, 99_996, 99_997, 99_998, 99_999]);
        assert_eq!(room.evicted(), [0, 99_000 - 4]);
    }

    #[test]
    fn a_newcomer_has_time_to_prove_itself() {
        let mut room = Room::new(&[(10, 0), (10, 4)]);
        for round in 0..100 {
            for n in 0..1_000 {
                room.add(1, n);
            }
            let key = room.add(1, -round).0;
            for n in 0..3 {
                room.add(1, n);
            }
            room.move_to(key, 0);
            if round >= 10 {
                // The room of those that are known is full, and none of them may go.
                assert_eq!(room.evicted()[0], 0);
            }
        }
        let kept = room.all().filter(|n| **n < 0).count();
        assert!((9..=11).contains(&kept), "{kept}");
    }

    proptest! {
        #[test]
        fn no_room_holds_more_than_its_limit(steps in prop::collection::vec((0u8..4, 0usize..40), 0..400)) {
            let mut room = Room::new(&[(7, 0), (9, 3)]);
            let mut keys = Vec::new();
            let mut added = 0u64;
            for (step, at) in steps {
                let key = keys.get(at).copied();
                match (step, key) {
                    (0 | 1, _) => {
                        keys.push(room.add(1, at).0);
                        added += 1;
                    }
                    (2, Some(key)) => room.move_to(key, 0),
                    (3, Some(key)) => room.may_go(key),
                    _ => {}
                }
                prop_assert!(room.len() <= 16);
                prop_assert_eq!(room.all().count(), room.len());
                let evicted: u64 = room.evicted().iter().sum();
                prop_assert_eq!(room.len() as u64 + evicted, added);
            }
        }
    }
}
