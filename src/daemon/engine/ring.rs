//! SHELL. Reading a TPACKET_V3 ring through its mapping alone. The kernel fills a block, passes it
//! on by its status word, and gets it back. It never overwrites a block that it has passed on, and
//! drops new packets when all are taken. So blocks are copied and released at once.

use std::sync::atomic::Ordering;

use crate::linux::mapping::Mapping;
use netsonde_core::recorder::RingMark;
use netsonde_core::wire::{Checksum, Direction};

/// TP_STATUS_USER: the block belongs to user space.
const USER: u32 = libc::TP_STATUS_USER;
/// Offset of `block_status` in `tpacket_block_desc`.
const BLOCK_STATUS: usize = 8;
/// `tpacket3_hdr`, after which the kernel puts a `sockaddr_ll` (48, aligned by TPACKET_ALIGN).
const PACKET_HEADER: usize = 48;
const PACKET_WITH_ADDRESS: usize = PACKET_HEADER + 20;

/// A mapped ring.
pub struct Ring {
    mapping: Mapping,
    block_bytes: usize,
    blocks: usize,
    next: usize,
}

impl Ring {
    /// Uses a mapping of `blocks` blocks of `block_bytes` each, and continues where the last engine
    /// stopped, as `mark` says. Without a mark it starts with the oldest waiting block.
    pub fn new(mapping: Mapping, block_bytes: u32, blocks: u32, mark: &RingMark) -> Ring {
        let mut ring = Ring {
            mapping,
            block_bytes: block_bytes as usize,
            blocks: blocks as usize,
            next: 0,
        };
        ring.next = ring.resume_at(mark);
        ring
    }

    fn resume_at(&self, mark: &RingMark) -> usize {
        let at = mark.block as usize;
        if mark.sequence != 0 && at < self.blocks && self.sequence(at) >= mark.sequence {
            // Not yet returned, or returned and possibly refilled: it was read to its end then, and
            // the next block follows.
            return if self.sequence(at) == mark.sequence && self.is_ours(at) {
                at
            } else {
                (at + 1) % self.blocks
            };
        }
        let waiting = (0..self.blocks).filter(|at| self.is_ours(*at));
        if let Some(oldest) = waiting.min_by_key(|at| self.sequence(*at)) {
            return oldest;
        }
        // No block is waiting: the kernel is after the newest block that it has closed.
        (0..self.blocks)
            .filter(|at| self.sequence(*at) > 0)
            .max_by_key(|at| self.sequence(*at))
            .map_or(0, |newest| {
                if self.is_open(newest) {
                    newest
                } else {
                    (newest + 1) % self.blocks
                }
            })
    }

    /// Returns whether the kernel is filling this block. It writes the time of opening when it
    /// opens the block and the time of the last packet when it closes it.
    fn is_open(&self, at: usize) -> bool {
        let time = |offset: usize| {
            let word = |at: usize| {
                self.mapping
                    .word32(at)
                    .map_or(0, |word| word.load(Ordering::Relaxed))
            };
            let start = at * self.block_bytes + offset;
            (word(start), word(start + 4))
        };
        time(40) < time(32)
    }

    fn is_ours(&self, at: usize) -> bool {
        self.mapping
            .word32(at * self.block_bytes + BLOCK_STATUS)
            .is_some_and(|status| status.load(Ordering::Acquire) & USER != 0)
    }

    fn sequence(&self, at: usize) -> u64 {
        self.mapping
            .word64(at * self.block_bytes + 24)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Returns the index of the block that the kernel is filling, if it holds packets.
    pub fn filling(&self) -> Option<usize> {
        let packets = self.mapping.word32(self.next * self.block_bytes + 12)?;
        let waiting = packets.load(Ordering::Relaxed) > 0 && self.is_open(self.next);
        (waiting || self.is_ours(self.next)).then_some(self.next)
    }

    /// Returns the size of the ring, in bytes.
    pub fn capacity(&self) -> usize {
        self.block_bytes * self.blocks
    }

    /// Returns the next block, if the kernel has passed it on.
    pub fn block(&self) -> Option<Block<'_>> {
        if !self.is_ours(self.next) {
            return None;
        }
        let bytes = self
            .mapping
            .bytes(self.next * self.block_bytes, self.block_bytes)?;
        let word = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        // A former engine may have written anything into the block.
        let packets = word(12).min((self.block_bytes / PACKET_WITH_ADDRESS) as u32);
        Some(Block {
            index: self.next,
            sequence: self.sequence(self.next),
            packets,
            walk: Walk {
                bytes,
                at: word(16) as usize,
                left: packets,
            },
        })
    }

    /// Continues at the oldest waiting block if the next one is not waiting. The kernel passes
    /// blocks on in order, so this happens only after a former engine has written into the ring.
    /// Returns `true` if the position was wrong. To be called about once per second.
    pub fn resync(&mut self) -> bool {
        let waiting = (0..self.blocks).filter(|at| self.is_ours(*at));
        let oldest = waiting.min_by_key(|at| self.sequence(*at));
        // Read after the others: had the kernel passed them on in order, it would be waiting now.
        match oldest {
            Some(oldest) if !self.is_ours(self.next) => {
                self.next = oldest;
                true
            }
            _ => false,
        }
    }

    /// Returns the block to the kernel. Its bytes must not be read afterwards.
    pub fn release(&mut self) {
        if let Some(status) = self
            .mapping
            .word32(self.next * self.block_bytes + BLOCK_STATUS)
        {
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.next = (self.next + 1) % self.blocks;
    }
}

/// A block passed on by the kernel.
pub struct Block<'a> {
    /// Index in the ring.
    pub index: usize,
    /// Sequence number: one more than that of the block before.
    pub sequence: u64,
    /// Number of packets.
    pub packets: u32,
    /// The packets.
    pub walk: Walk<'a>,
}

/// A packet in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Kernel timestamp, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Captured bytes.
    pub bytes: &'a [u8],
    /// Length at the tap, in bytes.
    pub original_length: u32,
    /// Interface index.
    pub ifindex: u32,
    /// ARPHRD_ number.
    pub hardware: u16,
    /// Direction on the interface.
    pub direction: Direction,
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// VLAN tag (TPID, TCI) that the kernel removed from the frame.
    pub tag: Option<(u16, u16)>,
}

/// Iterates over the packets of a block. Every offset is checked, although it comes from the
/// kernel: the ring is writable, and the last engine may have been hostile.
pub struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Packet<'a>;

    #[inline]
    fn next(&mut self) -> Option<Packet<'a>> {
        if self.left == 0 {
            return None;
        }
        let header: &[u8; PACKET_WITH_ADDRESS] = self
            .bytes
            .get(self.at..self.at + PACKET_WITH_ADDRESS)?
            .try_into()
            .ok()?;
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let status = word(20);
        let start = self.at + usize::from(half(24));
        let bytes = self.bytes.get(start..start + word(12) as usize)?;
        let tag = (status & libc::TP_STATUS_VLAN_VALID != 0).then(|| {
            let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 {
                half(36)
            } else {
                0x8100
            };
            (tpid, word(32) as u16)
        });
        let packet = Packet {
            time_ns: u64::from(word(4)) * 1_000_000_000 + u64::from(word(8)),
            bytes,
            original_length: word(16),
            ifindex: word(PACKET_HEADER + 4),
            hardware: half(PACKET_HEADER + 8),
            direction: direction(header[PACKET_HEADER + 10]),
            checksum: if status & libc::TP_STATUS_CSUMNOTREADY != 0 {
                Checksum::NotReady
            } else if status & libc::TP_STATUS_CSUM_VALID != 0 {
                Checksum::Valid
            } else {
                Checksum::Unknown
            },
            tag,
        };
        self.left -= 1;
        // The kernel's offset of the last packet is 0 (prb_close_block). Any other that does not lead past this
        // packet would yield it again and again.
        match word(0) as usize {
            next if next >= PACKET_WITH_ADDRESS => self.at += next,
            _ => self.left = 0,
        }
        Some(packet)
    }
}

fn direction(packet_type: u8) -> Direction {
    match packet_type {
        libc::PACKET_HOST => Direction::ToUs,
        libc::PACKET_BROADCAST => Direction::Broadcast,
        libc::PACKET_MULTICAST => Direction::Multicast,
        libc::PACKET_OTHERHOST => Direction::ToOther,
        libc::PACKET_OUTGOING => Direction::Outbound,
        _ => Direction::Unknown,
    }
}
