//! PURE. Loss in MPEG transport streams over UDP, by their continuity counters (ISO/IEC 13818-1,
//! section 2.4.3). A counter has four bits per packet identifier, so a gap is exact up to 14
//! packets of one identifier, two datagrams of the usual seven packets; a gap of 15 looks like a
//! packet sent twice.

use std::hash::BuildHasher;

/// Size of a transport packet in bytes.
pub const PACKET: usize = 188;
/// Sync byte at the start of each packet.
pub const SYNC: u8 = 0x47;
/// Maximum number of packet identifiers tracked; a multiplex has a few dozen.
const MAX_PIDS: usize = 64;
/// Identifier of stuffing packets, which are not counted (section 2.4.3.3).
const NULL_PID: u16 = 0x1fff;
/// Number of datagrams kept to detect duplicates, and of open gaps kept.
const KEPT: usize = 16;
/// Maximum number of datagrams by which one may be late. With more, new gaps would look like old
/// ones being filled, since the counters have only four bits.
const LATE: u64 = 4;
/// Consecutive single-packet datagrams that must match before the stream is recognized.
const PROBATION: u8 = 3;

/// Counters of a transport stream.
#[derive(Clone, Debug, Default)]
pub struct Ts {
    /// Packets of 188 bytes, without stuffing and duplicates.
    pub packets: u64,
    /// Missing packets.
    pub lost: u64,
    /// Duplicate datagrams.
    pub duplicates: u64,
    /// Datagrams that arrived after a later one.
    pub reordered: u64,
    /// Counter restarts announced by the stream.
    pub restarts: u64,
    /// Packets of identifiers that are not tracked because of the limit.
    pub unknown: u64,
    pids: Vec<(u16, u8)>,
    datagrams: u64,
    newest: [u64; KEPT],
    holes: Vec<Hole>,
    hasher: foldhash::fast::FixedState,
}

/// Missing packets of one identifier that may still arrive.
#[derive(Clone, Copy, Debug)]
struct Hole {
    pid: u16,
    next: u8,
    left: u8,
    at: u64,
}

/// Returns whether a payload consists of whole transport packets.
pub fn looks_like(payload: &[u8]) -> bool {
    !payload.is_empty()
        && payload.len().is_multiple_of(PACKET)
        && payload.chunks_exact(PACKET).all(|packet| packet[0] == SYNC)
}

/// Returns whether the stream is recognized: at once if a datagram has several packets, otherwise
/// after `PROBATION` datagrams in a row.
pub fn is_certain(payload: &[u8], in_a_row: u8) -> bool {
    payload.len() > PACKET || in_a_row >= PROBATION
}

impl Ts {
    /// Processes the payload of a datagram, which must consist of whole packets.
    pub fn take(&mut self, payload: &[u8]) {
        let hash = self.hasher.hash_one(payload);
        if self.newest.contains(&hash) {
            self.duplicates += 1;
            return;
        }
        self.newest[(self.datagrams % KEPT as u64) as usize] = hash;
        self.datagrams += 1;
        let now = self.datagrams;
        self.holes
            .retain(|hole| hole.left > 0 && now - hole.at <= LATE);
        let packets: Vec<Packet> = payload.chunks_exact(PACKET).filter_map(read).collect();
        self.packets += packets.len() as u64;
        if let Some(holes) = self.filled(&packets) {
            self.holes = holes;
            self.lost -= packets.iter().filter(|packet| packet.counted).count() as u64;
            self.reordered += 1;
            return;
        }
        for packet in packets.iter().filter(|packet| packet.counted) {
            self.follow(packet);
        }
    }

    fn expected(&self, pid: u16) -> Option<u8> {
        let known = self.pids.iter().find(|(known, _)| *known == pid);
        known.map(|(_, last)| (last + 1) & 0x0f)
    }

    /// Returns the remaining gaps if the datagram is a late one: its first packet is not the
    /// expected next, and all its packets fit into gaps.
    fn filled(&self, packets: &[Packet]) -> Option<Vec<Hole>> {
        let first = packets.iter().find(|packet| packet.counted)?;
        if self.holes.is_empty() || self.expected(first.pid)? == first.counter {
            return None;
        }
        let mut holes = self.holes.clone();
        for packet in packets.iter().filter(|packet| packet.counted) {
            let inside = |hole: &Hole| {
                hole.pid == packet.pid && packet.counter.wrapping_sub(hole.next) & 0x0f < hole.left
            };
            let at = holes.iter().position(inside)?;
            let hole = holes[at];
            let before = packet.counter.wrapping_sub(hole.next) & 0x0f;
            holes[at].left = before;
            holes.push(Hole {
                next: (packet.counter + 1) & 0x0f,
                left: hole.left - before - 1,
                ..hole
            });
        }
        holes.retain(|hole| hole.left > 0);
        Some(holes)
    }

    /// Processes a packet that is not late.
    fn follow(&mut self, packet: &Packet) {
        let (pid, counter) = (packet.pid, packet.counter);
        let Some(at) = self.pids.iter().position(|(known, _)| *known == pid) else {
            if self.pids.len() < MAX_PIDS {
                self.pids.push((pid, counter));
            } else {
                self.unknown += 1;
            }
            return;
        };
        let last = self.pids[at].1;
        let expected = (last + 1) & 0x0f;
        self.pids[at].1 = counter;
        if counter == expected {
            return;
        }
        if packet.announced {
            self.restarts += 1;
        } else if counter == last {
            // A packet may be sent twice in a row (section 2.4.3.3).
            self.packets -= 1;
        } else {
            let left = counter.wrapping_sub(expected) & 0x0f;
            self.lost += u64::from(left);
            if self.holes.len() < KEPT {
                self.holes.push(Hole {
                    pid,
                    next: expected,
                    left,
                    at: self.datagrams,
                });
            }
        }
    }
}

/// Header fields of a packet other than stuffing.
struct Packet {
    pid: u16,
    counter: u8,
    /// Whether the packet has a payload; the counter does not count others (section 2.4.3.3).
    counted: bool,
    /// Whether the packet announces a counter restart.
    announced: bool,
}

fn read(packet: &[u8]) -> Option<Packet> {
    let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    let control = packet[3] >> 4 & 3;
    (pid != NULL_PID).then(|| Packet {
        pid,
        counter: packet[3] & 0x0f,
        counted: control & 1 != 0,
        announced: control & 2 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0,
    })
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
    fn loss_duplicates_and_reordering_are_exact() {
        let mut ts = Ts::default();
        let lost = [10u64, 50, 51, 90, 200];
        let mut order: Vec<u64> = (0..300).filter(|number| !lost.contains(number)).collect();
        order.swap(100, 101);
        // The datagram after a lost one is late.
        order.swap(9, 10);
        order.insert(150, order[149]);
        for number in &order {
            let payload = datagram(*number);
            assert!(looks_like(&payload) && is_certain(&payload, 1));
            ts.take(&payload);
        }
        assert_eq!(ts.lost, 5 * 7);
        assert_eq!((ts.duplicates, ts.reordered, ts.restarts), (1, 2, 0));
        assert_eq!(ts.packets, 295 * 7);
    }

    #[test]
    fn stuffing_and_announced_restarts_are_not_loss() {
        let mut ts = Ts::default();
        for number in 0..20u64 {
            let mut payload = datagram(number);
            // The last two become stuffing, whose counter has no meaning.
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
