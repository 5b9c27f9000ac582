//! PURE. Table of conversations, bounded, in which a flood of new ones does not evict those that go on.

use super::SILENCE_S;

/// Packets of one conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conversation {
    /// Part of the hash, never 0 in an entry that is in use.
    tag: u32,
    /// Second of the last packet.
    second: u32,
    /// Packets in that second.
    pub count: u32,
    /// Packets in the second before it.
    before: u32,
    /// Packets that the sample was drawn from.
    pub passed: u32,
    /// Packets kept as the first ones.
    pub firsts: u16,
}

impl Conversation {
    /// Counts a packet. `second` never decreases.
    #[inline]
    pub fn touch(&mut self, second: u32) {
        let silent = second.wrapping_sub(self.second);
        if silent != 0 {
            if silent >= SILENCE_S {
                self.firsts = 0;
            }
            self.before = if silent == 1 { self.count } else { 0 };
            self.count = 0;
            self.second = second;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Returns the packets of a second, this one or the last.
    #[inline]
    pub fn busy(&self) -> u32 {
        self.count.max(self.before)
    }
}

/// Conversations that share a place: the first has been seen repeatedly, the second is the latest newcomer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Set([Conversation; 2]);

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
        let tag = hash as u32 | 1;
        let at = (hash >> 32) as usize & (self.sets.len() - 1);
        let [settled, latest] = &mut self.sets[at].0;
        if settled.tag == tag {
            settled.touch(second);
            return (settled, false);
        }
        let is_silent =
            |one: &Conversation| one.tag == 0 || second.wrapping_sub(one.second) >= SILENCE_S;
        if latest.tag != tag {
            if !is_silent(latest) {
                self.displaced += 1;
            }
            *latest = Conversation {
                tag,
                second,
                count: 1,
                ..Conversation::default()
            };
            return (latest, true);
        }
        latest.touch(second);
        if is_silent(settled) {
            std::mem::swap(settled, latest);
            latest.tag = 0;
            return (settled, false);
        }
        (latest, false)
    }
}
