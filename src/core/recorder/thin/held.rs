//! PURE. Packets of probes that were thinned, until the fate of the probe is known: a probe that was answered in time
//! is a count, and of all others the packets go into the record after all.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use super::super::class::Store;
use super::super::store::Meta;

/// Bytes of packets held: those of 20,000 a second, for longer than the usual timeout of a second. What does not fit
/// stays thinned.
const MAX_BYTES: usize = 4 << 20;
/// Packets held, with about 100 bytes each beside their own.
const MAX_PACKETS: usize = 32_768;
/// Packets kept before and after those of a probe whose fate is another.
const NEIGHBORS: usize = 2;
/// Lists of packets, by the hash of their token: one for each probe, since it has a request and a reply.
const LISTS: usize = MAX_PACKETS / 2;

#[derive(Debug)]
struct Held {
    token: [u8; 12],
    /// Number of the packet before it in its list.
    earlier: u32,
    store: Store,
    meta: Meta,
    length: usize,
    /// Offset of its bytes, among all bytes ever held.
    offset: u64,
    is_kept: bool,
    /// Whether its probe has been passed to [`HeldProbes::keep`] since it was held.
    is_done: bool,
}

/// The packets held, oldest first. Nearly all are given up again, so to hold one must cost little: they are found by
/// lists that run through them, and a list simply ends at a packet that is no longer there.
#[derive(Debug, Default)]
pub struct HeldProbes {
    packets: VecDeque<Held>,
    bytes: VecDeque<u8>,
    /// Offset of the bytes of the first packet.
    offset: u64,
    /// Number of the next packet. Numbers start again at 0 after the last.
    next: u32,
    /// Number of the latest packet of each list; empty before the first packet.
    latest: Vec<u32>,
    hasher: RandomState,
}

impl HeldProbes {
    /// Holds a packet.
    pub fn hold(&mut self, token: [u8; 12], store: Store, meta: &Meta, bytes: &[u8]) {
        if bytes.len() > MAX_BYTES {
            return;
        }
        while self.bytes.len() + bytes.len() > MAX_BYTES || self.packets.len() >= MAX_PACKETS {
            self.release();
        }
        if self.latest.is_empty() {
            self.latest = vec![0; LISTS];
        }
        let list = self.list(&token);
        let earlier = std::mem::replace(&mut self.latest[list], self.next);
        self.packets.push_back(Held {
            token,
            earlier,
            store,
            meta: *meta,
            length: bytes.len(),
            offset: self.offset + self.bytes.len() as u64,
            is_kept: false,
            is_done: false,
        });
        self.next = self.next.wrapping_add(1);
        self.bytes.extend(bytes);
    }

    /// Returns the list of a token. Its hash is keyed, since other hosts choose tokens, too.
    fn list(&self, token: &[u8; 12]) -> usize {
        self.hasher.hash_one(token) as usize % LISTS
    }

    /// Gives up the oldest packet.
    fn release(&mut self) {
        let Some(oldest) = self.packets.pop_front() else {
            return;
        };
        self.bytes.drain(..oldest.length);
        self.offset += oldest.length as u64;
    }

    /// Gives up all packets.
    pub fn clear(&mut self) {
        if !self.packets.is_empty() {
            *self = HeldProbes::default();
        }
    }

    /// Passes on the packets of a probe, and those of other probes right before and after each of them, which were
    /// not passed on before. `keep` returns whether one was recorded.
    pub fn keep(&mut self, token: &[u8; 12], mut keep: impl FnMut(Store, &Meta, &[u8]) -> bool) {
        let mut bytes = Vec::new();
        let (count, list) = (self.packets.len(), self.list(token));
        let mut number = self.latest.get(list).copied().unwrap_or(self.next);
        let mut before = 0;
        loop {
            // How many packets ago it was held. A list leads back; where it does not, or too far, it has ended.
            let age = self.next.wrapping_sub(number) as usize;
            if age <= before || age > count {
                return;
            }
            before = age;
            let at = count - age;
            let found = &mut self.packets[at];
            number = found.earlier;
            if found.token != *token {
                continue;
            }
            // Those before it are done as well: a million copies of one reply cost no more than others.
            if std::mem::replace(&mut found.is_done, true) {
                return;
            }
            let from = at.saturating_sub(NEIGHBORS);
            let to = (at + NEIGHBORS + 1).min(self.packets.len());
            for held in self.packets.range_mut(from..to) {
                if held.is_kept {
                    continue;
                }
                let start = (held.offset - self.offset) as usize;
                bytes.clear();
                bytes.extend(self.bytes.range(start..start + held.length));
                held.is_kept = keep(held.store, &held.meta, &bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Checksum, Direction, LinkType};

    fn meta(time_ns: u64) -> Meta {
        Meta {
            time_ns,
            original_length: 60,
            interface: (0, 1),
            link: LinkType::Ethernet,
            direction: Direction::Outbound,
            checksum: Checksum::Unknown,
            tag: None,
        }
    }

    fn token(number: u64) -> [u8; 12] {
        let mut token = [0; 12];
        token[4..].copy_from_slice(&number.to_be_bytes());
        token
    }

    fn kept(held: &mut HeldProbes, number: u64) -> Vec<u64> {
        let mut times = Vec::new();
        held.keep(&token(number), |_, meta, bytes| {
            assert_eq!(bytes, meta.time_ns.to_be_bytes().repeat(8));
            times.push(meta.time_ns);
            true
        });
        times.sort();
        times
    }

    /// Packet n is the request of probe n, packet n + 10 its reply.
    #[test]
    fn packets_of_a_probe_and_their_neighbors_are_kept_once() {
        let mut held = HeldProbes::default();
        for n in 0..100u64 {
            let of = if n % 20 < 10 { n } else { n - 10 };
            held.hold(token(of), Store::Icmp, &meta(n), &n.to_be_bytes().repeat(8));
        }
        assert_eq!(
            kept(&mut held, 45),
            [43, 44, 45, 46, 47, 53, 54, 55, 56, 57]
        );
        assert_eq!(kept(&mut held, 45), [0; 0]);
        assert_eq!(kept(&mut held, 46), [48, 58]);
        assert_eq!(kept(&mut held, 0), [0, 1, 2, 8, 9, 10, 11, 12]);
        assert_eq!(kept(&mut held, 1_000), [0; 0]);
    }

    /// A hostile host repeats one reply: each copy is passed on once, in linear time.
    #[test]
    fn copies_of_one_reply_are_passed_on_once() {
        let mut held = HeldProbes::default();
        let mut passed = 0;
        for n in 0..200_000u64 {
            held.hold(token(1), Store::Icmp, &meta(n), &n.to_be_bytes().repeat(8));
            passed += kept(&mut held, 1).len();
        }
        assert_eq!(passed, 200_000);
    }

    /// Numbers start again at 0, and a list has packets of several tokens.
    #[test]
    fn packets_are_found_over_the_end_of_their_numbers() {
        let mut held = HeldProbes {
            next: u32::MAX - 40_000,
            ..HeldProbes::default()
        };
        for n in 0..80_000u64 {
            held.hold(token(n), Store::Icmp, &meta(n), &[]);
            held.hold(token(n), Store::Icmp, &meta(n), &[]);
        }
        let mut found = 0;
        for n in 0..80_000 {
            held.keep(&token(n), |_, _, _| {
                found += 1;
                true
            });
        }
        assert_eq!(found, MAX_PACKETS);
    }

    #[test]
    fn what_does_not_fit_is_given_up() {
        let mut held = HeldProbes::default();
        for n in 0..200_000u64 {
            held.hold(token(n), Store::Icmp, &meta(n), &n.to_be_bytes().repeat(8));
        }
        assert!(held.packets.len() <= MAX_PACKETS);
        assert!(held.bytes.len() <= MAX_BYTES);
        assert_eq!(kept(&mut held, 100), [0; 0]);
        assert_eq!(kept(&mut held, 199_999), [199_997, 199_998, 199_999]);
        held.clear();
        assert_eq!(kept(&mut held, 199_990), [0; 0]);
    }
}
