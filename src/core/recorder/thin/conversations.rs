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

/// Conversations that share a place, of the size of a cache line: the last is the latest newcomer, the others have been
/// seen repeatedly.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Set([Conversation; WAYS]);

/// The table.
pub(super) struct Conversations {
    sets: Box<[Set]>,
    /// Conversations evicted by others before they were silent.
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
    #[inline]
    pub fn find(&mut self, hash: u64, second: u32) -> (&mut Conversation, bool) {
        const LATEST: usize = WAYS - 1;
        let tag = hash as u32 | 1;
        let at = (hash >> 32) as usize & (self.sets.len() - 1);
        let set = &mut self.sets[at].0;
        match set.iter().position(|one| one.tag == tag) {
            None => {
                if !set[LATEST].is_free(second) {
                    self.displaced += 1;
                }
                set[LATEST] = Conversation {
                    tag,
                    second: second as u16,
                    count: 1,
                    ..Conversation::default()
                };
                (&mut set[LATEST], true)
            }
            Some(LATEST) => {
                set[LATEST].touch(second);
                let free = set[..LATEST].iter().position(|one| one.is_free(second));
                if let Some(free) = free {
                    set[free] = set[LATEST];
                    set[LATEST].tag = 0;
                    return (&mut set[free], false);
                }
                (&mut set[LATEST], false)
            }
            Some(settled) => {
                set[settled].touch(second);
                (&mut set[settled], false)
            }
        }
    }
}
