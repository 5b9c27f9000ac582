//! PURE. Table of conversations, bounded, in which a flood of new ones does not evict those that go on.

use super::SILENCE_S;

/// Packets of one conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conversation {
    /// Part of the hash, never 0 in an entry that is in use.
    tag: u32,
    /// Packets in the second of the last one.
    pub count: u32,
    /// Packets in the second before it.
    before: u32,
    /// Second of the last packet, modulo 2^16.
    second: u16,
    /// Packets kept as the first ones.
    pub firsts: u8,
    /// Whether it was found again after its first packet.
    is_settled: bool,
}

impl Conversation {
    /// Counts a packet. `second` never decreases.
    #[inline]
    pub fn touch(&mut self, second: u32) {
        let silent = self.silent_for(second);
        if silent != 0 {
            if silent >= SILENCE_S {
                self.firsts = 0;
            }
            self.before = if silent == 1 { self.count } else { 0 };
            self.count = 0;
            self.second = second as u16;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Returns the packets of a second, this one or the last.
    #[inline]
    pub fn busy(&self) -> u32 {
        self.count.max(self.before)
    }

    fn silent_for(&self, second: u32) -> u16 {
        (second as u16).wrapping_sub(self.second)
    }

    /// Returns whether its entry can be used for another one.
    fn is_free(&self, second: u32) -> bool {
        self.tag == 0 || self.silent_for(second) >= SILENCE_S
    }
}

/// Conversations per set.
pub(super) const WAYS: usize = 4;

/// Conversations that share a place, of the size of a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Set([Conversation; WAYS]);

/// The table.
pub(super) struct Conversations {
    sets: Box<[Set]>,
    /// Conversations evicted by newcomers before they were silent.
    pub displaced: u64,
}

impl Conversations {
    /// Creates a table of `sets`, a power of two.
    pub fn new(sets: usize) -> Conversations {
        Conversations {
            sets: vec![Set::default(); sets].into_boxed_slice(),
            displaced: 0,
        }
    }

    /// Counts a packet of the conversation with this hash. Returns it, and whether it was not in the table.
    ///
    /// A newcomer takes the place of one that is silent, or else of another newcomer, so that a flood of them evicts
    /// only itself; the last place is theirs if all others are of conversations that go on.
    #[inline]
    pub fn find(&mut self, hash: u64, second: u32) -> (&mut Conversation, bool) {
        let tag = hash as u32 | 1;
        let at = (hash >> 32) as usize & (self.sets.len() - 1);
        let set = &mut self.sets[at].0;
        if let Some(found) = set.iter().position(|one| one.tag == tag) {
            let found = &mut set[found];
            found.touch(second);
            found.is_settled = true;
            return (found, false);
        }
        let first = (hash >> 60) as usize % WAYS;
        let free = set.iter().position(|one| one.is_free(second));
        let place = free.unwrap_or_else(|| {
            let mut places = (0..WAYS).map(|offset| (first + offset) % WAYS);
            let newcomer = places.find(|place| !set[*place].is_settled);
            newcomer.unwrap_or_else(|| {
                self.displaced += 1;
                WAYS - 1
            })
        });
        set[place] = Conversation {
            tag,
            second: second as u16,
            count: 1,
            ..Conversation::default()
        };
        (&mut set[place], true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    /// A thousand conversations in turn, as many as a quarter of the table: none is new again.
    #[test]
    fn conversations_in_turn_do_not_evict_each_other() {
        let mut table = Conversations::new(2048);
        let mut new = 0;
        for n in 0..100_000u64 {
            new += u64::from(table.find(hash(n % 1_000), 1).1);
        }
        assert!(new < 1_500, "{new}");
    }

    #[test]
    fn a_flood_of_newcomers_evicts_itself_only() {
        let mut table = Conversations::new(128);
        for n in 0..200 {
            table.find(hash(n), 1);
            table.find(hash(n), 1);
        }
        let before = table.displaced;
        for n in 1_000..100_000 {
            table.find(hash(n), 2);
        }
        let lost = (0..200).filter(|n| table.find(hash(*n), 3).1).count();
        assert!(lost < 10, "{lost} of 200, {before} before");
    }
}
