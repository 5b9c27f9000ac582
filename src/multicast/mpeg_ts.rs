//! PURE. MPEG transport streams in UDP (ISO/IEC 13818-1, section 2.4.3): what the continuity counters
//! tell of loss. They have four bits for each packet identifier, so a hole is known exactly while it is
//! shorter than 16 packets of one identifier: two datagrams of the usual seven.

use std::hash::BuildHasher;

/// Bytes of a packet.
pub const PACKET: usize = 188;
/// What each begins with.
pub const SYNC: u8 = 0x47;
/// Packet identifiers that are told apart; a multiplex has a few dozen.
const MOST_PIDS: usize = 64;
/// Stuffing, which is not counted (section 2.4.3.3).
const NULL_PID: u16 = 0x1fff;
/// Datagrams that are recognised when they come again, and holes that may still be filled by what comes
/// late.
const KEPT: usize = 16;
/// Datagrams of a single packet that must look like it before it is believed.
const PROBATION: u8 = 3;

/// What a transport stream tells.
#[derive(Clone, Debug, Default)]
pub struct Ts {
    /// Packets of 188 bytes, without stuffing and what came twice.
    pub packets: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Datagrams that came again.
    pub duplicates: u64,
    /// Datagrams that came after a later one.
    pub reordered: u64,
    /// Counters that began anew by the stream's own word.
    pub restarts: u64,
    /// Packets of identifiers that there was no room for.
    pub unknown: u64,
    pids: Vec<(u16, u8)>,
    datagrams: u64,
    newest: [u64; KEPT],
    holes: Vec<Hole>,
    hasher: foldhash::fast::FixedState,
}

/// Packets that have not come yet.
#[derive(Clone, Copy, Debug)]
struct Hole {
    pid: u16,
    next: u8,
    left: u8,
    at: u64,
}

/// Does a payload consist of whole packets?
pub fn looks_like(payload: &[u8]) -> bool {
    !payload.is_empty()
        && payload.len().is_multiple_of(PACKET)
        && payload.chunks_exact(PACKET).all(|packet| packet[0] == SYNC)
}

/// Is it worth believing at once? Otherwise after some.
pub fn is_certain(payload: &[u8], in_a_row: u8) -> bool {
    payload.len() > PACKET || in_a_row >= PROBATION
}

impl Ts {
    /// Takes a datagram's payload in, which must look like it.
    pub fn take(&mut self, payload: &[u8]) {
        let hash = self.hasher.hash_one(payload);
        if self.newest.contains(&hash) {
            self.duplicates += 1;
            return;
        }
        self.newest[(self.datagrams % KEPT as u64) as usize] = hash;
        self.datagrams += 1;
        let mut is_late = false;
        for packet in payload.chunks_exact(PACKET) {
            is_late |= self.packet(packet);
        }
        self.reordered += u64::from(is_late);
    }

    /// `true`: it fills a hole.
    fn packet(&mut self, packet: &[u8]) -> bool {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let (control, counter) = (packet[3] >> 4 & 3, packet[3] & 0x0f);
        if pid == NULL_PID {
            return false;
        }
        self.packets += 1;
        // Only packets with a payload are counted by the counter.
        if control & 1 == 0 {
            return false;
        }
        let announced = control & 2 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0;
        let Some(at) = self.pids.iter().position(|(known, _)| *known == pid) else {
            if self.pids.len() < MOST_PIDS {
                self.pids.push((pid, counter));
            } else {
                self.unknown += 1;
            }
            return false;
        };
        let last = self.pids[at].1;
        let expected = (last + 1) & 0x0f;
        if announced && counter != expected {
            self.restarts += 1;
            self.pids[at].1 = counter;
            return false;
        }
        if counter == expected {
            self.pids[at].1 = counter;
            return false;
        }
        let now = self.datagrams;
        self.holes
            .retain(|hole| hole.left > 0 && now - hole.at <= KEPT as u64);
        let filled = self
            .holes
            .iter_mut()
            .find(|hole| hole.pid == pid && hole.next == counter);
        if let Some(hole) = filled {
            hole.next = (hole.next + 1) & 0x0f;
            hole.left -= 1;
            self.lost -= 1;
            return true;
        }
        // A packet may be sent twice in a row (section 2.4.3.3).
        if counter == last {
            self.packets -= 1;
            return false;
        }
        let left = counter.wrapping_sub(expected) & 0x0f;
        self.lost += u64::from(left);
        if self.holes.len() < KEPT {
            self.holes.push(Hole {
                pid,
                next: expected,
                left,
                at: now,
            });
        }
        self.pids[at].1 = counter;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Datagram `number` of a stream of two identifiers: five packets of one, two of the other.
    fn datagram(number: u64) -> Vec<u8> {
        let mut all = Vec::new();
        for at in 0..7u64 {
            let (pid, counter) = if at < 5 {
                (0x100u16, number * 5 + at)
            } else {
                (0x101, number * 2 + at - 5)
            };
            let mut packet = vec![0xff; PACKET];
            packet[0] = SYNC;
            packet[1..3].copy_from_slice(&pid.to_be_bytes());
            packet[3] = 0x10 | (counter & 0x0f) as u8;
            packet[4..12].copy_from_slice(&number.to_be_bytes());
            all.extend_from_slice(&packet);
        }
        all
    }

    #[test]
    fn loss_duplicates_and_order_are_exact() {
        let mut ts = Ts::default();
        let lost = [10u64, 50, 51, 90, 200];
        let mut order: Vec<u64> = (0..300).filter(|number| !lost.contains(number)).collect();
        order.swap(100, 101);
        order.insert(150, order[149]);
        for number in &order {
            let payload = datagram(*number);
            assert!(looks_like(&payload) && is_certain(&payload, 1));
            ts.take(&payload);
        }
        assert_eq!(ts.lost, 5 * 7);
        assert_eq!((ts.duplicates, ts.reordered, ts.restarts), (1, 1, 0));
        assert_eq!(ts.packets, 295 * 7);
    }

    #[test]
    fn stuffing_and_announced_breaks_are_no_loss() {
        let mut ts = Ts::default();
        for number in 0..20u64 {
            let mut payload = datagram(number);
            // The last two become stuffing, whose counter means nothing.
            for at in [5, 6] {
                payload[at * PACKET + 1] = 0x1f;
                payload[at * PACKET + 2] = 0xff;
                payload[at * PACKET + 3] = 0x10;
            }
            ts.take(&payload);
        }
        let mut jump = datagram(77);
        jump[3] = 0x30 | (jump[3] & 0x0f);
        jump[4] = 1;
        jump[5] = 0x80;
        ts.take(&jump[..PACKET]);
        assert_eq!((ts.lost, ts.restarts), (0, 1));
        assert!(!looks_like(b"") && !looks_like(&[SYNC; 100]));
    }
}
