//! PURE. Streams to groups: source, rate, and loss by the numbers they carry (RTP, RFC 3550;
//! MPEG-TS; the numbers of `mcast send`).

use std::collections::HashMap;
use std::net::IpAddr;

use super::mpeg_ts::{self, Ts};
use super::{Sequence, test_packet};

/// Maximum number of streams: at most 18 KiB each, and that only with both RTP and MPEG-TS.
const MOST: usize = 1024;
/// A stream that has been silent for this long makes room for another.
const SILENT_NS: u64 = 60_000_000_000;
/// Rates are per whole second.
const SECOND_NS: u64 = 1_000_000_000;
/// Consecutive packets that must look like RTP (RFC 3550, appendix A.1).
const PROBATION: u8 = 3;
/// An RTP number this far from the last one is a restart of the stream (RFC 3550, appendix A.1).
const MAX_DROPOUT: u64 = 3000;

/// Identity of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Interface index.
    pub ifindex: u32,
    /// Group address.
    pub group: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Source address.
    pub source: IpAddr,
    /// Source port.
    pub source_port: u16,
}

/// One packet of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamPacket<'a> {
    /// Time of observation, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether this host sent it.
    pub outbound: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether the destination MAC address is that of the group; `None` if the link has none.
    pub right_mac: Option<bool>,
    /// UDP payload size on the wire, in bytes.
    pub length: u32,
    /// Captured part of the payload.
    pub payload: &'a [u8],
}

/// RTP statistics of a stream.
#[derive(Clone, Debug)]
pub struct Rtp {
    /// Synchronization source.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Loss, duplicates and reordering.
    pub numbers: Sequence,
    /// Restarts of the numbers.
    pub restarts: u64,
    /// Packets lost before the latest restart.
    pub lost_before: u64,
    /// Highest number, extended beyond its 16 bits.
    last: u64,
    jitter: f64,
    transit: Option<f64>,
}

impl Rtp {
    /// Returns the number of missing packets.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.numbers.lost()
    }

    /// Returns the interarrival jitter in nanoseconds (RFC 3550, section 6.4.1); `None` if the
    /// clock rate is unknown.
    pub fn jitter_ns(&self) -> Option<u64> {
        self.transit.map(|_| self.jitter as u64)
    }
}

/// Returns the clock rate in Hz of the static payload types (RFC 3551, section 6) that are used in
/// groups.
fn clock_rate(payload_type: u8) -> Option<f64> {
    match payload_type {
        0 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 15 | 18 => Some(8000.0),
        10 | 11 => Some(44_100.0),
        14 | 25 | 26 | 28 | 31..=34 => Some(90_000.0),
        _ => None,
    }
}

/// Returns number, timestamp, source and payload type if the payload looks like RTP.
fn read_rtp(payload: &[u8]) -> Option<(u16, u32, u32, u8)> {
    let header: &[u8; 12] = payload.get(..12)?.try_into().ok()?;
    let payload_type = header[1] & 0x7f;
    // Version 2; types 72 to 76 would be RTCP (RFC 3550, section 12.1).
    if header[0] >> 6 != 2 || (72..=76).contains(&payload_type) {
        return None;
    }
    Some((
        u16::from_be_bytes([header[2], header[3]]),
        u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        payload_type,
    ))
}

/// State of one stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Number of packets.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Time of the first packet, in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the latest packet, in nanoseconds since 1970.
    pub last_ns: u64,
    /// Whether this host sends it.
    pub outbound: bool,
    /// TTL or hop limit of the latest packet.
    pub ttl: u8,
    /// Packets whose destination MAC address is not that of the group.
    pub wrong_mac: u64,
    /// Longest time without a packet, in nanoseconds.
    pub longest_gap_ns: u64,
    /// Packets and bytes of the last whole second.
    pub rate: (u64, u64),
    second: u64,
    this_second: (u64, u64),
    /// RTP statistics, once the stream is recognized as RTP.
    pub rtp: Option<Box<Rtp>>,
    /// MPEG transport stream statistics, with or without RTP, if whole packets are captured.
    pub ts: Option<Box<Ts>>,
    /// Statistics of the numbers of `mcast send`.
    pub test: Option<Box<Sequence>>,
    candidate: Option<(u32, u16, u8)>,
    ts_in_a_row: u8,
}

impl Stream {
    fn take(&mut self, packet: &StreamPacket<'_>) {
        if self.packets == 0 {
            self.first_ns = packet.time_ns;
            self.second = packet.time_ns / SECOND_NS;
        } else {
            let gap = packet.time_ns.saturating_sub(self.last_ns);
            self.longest_gap_ns = self.longest_gap_ns.max(gap);
        }
        let second = packet.time_ns / SECOND_NS;
        if second > self.second {
            self.rate = if second == self.second + 1 {
                self.this_second
            } else {
                (0, 0)
            };
            (self.second, self.this_second) = (second, (0, 0));
        }
        self.this_second.0 += 1;
        self.this_second.1 += u64::from(packet.length);
        self.packets += 1;
        self.bytes += u64::from(packet.length);
        self.last_ns = self.last_ns.max(packet.time_ns);
        self.outbound = packet.outbound;
        self.ttl = packet.ttl;
        self.wrong_mac += u64::from(packet.right_mac == Some(false));
        if let Some(test) = test_packet::read(packet.payload) {
            self.test.get_or_insert_default().add(test.number);
            return;
        }
        self.transport(packet);
        self.numbers(packet);
    }

    fn transport(&mut self, packet: &StreamPacket<'_>) {
        if packet.payload.len() < packet.length as usize {
            return;
        }
        let behind = match packet.payload {
            // Behind an RTP header with its contributing sources (RFC 2250, section 2; RFC 3551 gives it
            // the payload type 33).
            [first, kind, ..] if first & 0xf0 == 0x80 && kind & 0x7f == 33 => {
                12 + 4 * usize::from(first & 0x0f)
            }
            [mpeg_ts::SYNC, ..] => 0,
            _ => return,
        };
        let payload = packet.payload.get(behind..).unwrap_or_default();
        if !mpeg_ts::looks_like(payload) {
            self.ts_in_a_row = 0;
            return;
        }
        self.ts_in_a_row = self.ts_in_a_row.saturating_add(1);
        if self.ts.is_some() || mpeg_ts::is_certain(payload, self.ts_in_a_row) {
            self.ts.get_or_insert_default().take(payload);
        }
    }

    fn numbers(&mut self, packet: &StreamPacket<'_>) {
        let Some((number, timestamp, ssrc, payload_type)) = read_rtp(packet.payload) else {
            self.candidate = None;
            return;
        };
        if let Some(rtp) = &mut self.rtp
            && rtp.ssrc == ssrc
        {
            rtp.take(number, timestamp, payload_type, packet.time_ns);
            return;
        }
        // A few consecutive packets must match before the stream is recognized.
        let in_a_row = match self.candidate {
            Some((known, last, count)) if known == ssrc && number == last.wrapping_add(1) => {
                count + 1
            }
            _ => 1,
        };
        self.candidate = Some((ssrc, number, in_a_row));
        if in_a_row < PROBATION {
            return;
        }
        let mut rtp = Rtp {
            ssrc,
            payload_type,
            numbers: Sequence::default(),
            restarts: self.rtp.as_ref().map_or(0, |old| old.restarts + 1),
            lost_before: self.rtp.as_ref().map_or(0, |old| old.lost()),
            // Leaves room for late packets.
            last: 0x1_0000 | u64::from(number),
            jitter: 0.0,
            transit: None,
        };
        for back in (0..u64::from(PROBATION)).rev() {
            rtp.numbers.add(rtp.last - back);
        }
        self.rtp = Some(Box::new(rtp));
    }

    /// Returns packets and payload bytes in the last whole second.
    pub fn rate_at(&self, now_ns: u64) -> (u64, u64) {
        match (now_ns / SECOND_NS).saturating_sub(self.second) {
            0 => self.rate,
            1 => self.this_second,
            _ => (0, 0),
        }
    }
}

impl Rtp {
    fn take(&mut self, number: u16, timestamp: u32, payload_type: u8, time_ns: u64) {
        self.payload_type = payload_type;
        // Of all numbers with these low 16 bits, the nearest to the last one.
        let ahead = i64::from(number.wrapping_sub(self.last as u16) as i16);
        let full = self.last.saturating_add_signed(ahead);
        if full.abs_diff(self.last) > MAX_DROPOUT {
            self.restarts += 1;
            self.lost_before = self.lost();
            self.numbers = Sequence::default();
            self.last = 0x1_0000 | u64::from(number);
            self.transit = None;
            self.numbers.add(self.last);
            return;
        }
        self.last = self.last.max(full);
        if !self.numbers.add(full) {
            return;
        }
        if let Some(rate) = clock_rate(payload_type) {
            // In nanoseconds; wraparounds of the timestamp cancel out in the difference.
            let turn = f64::from(u32::MAX) + 1.0;
            let transit = (time_ns % (1 << 50)) as f64 - f64::from(timestamp) / rate * 1e9;
            if let Some(last) = self.transit {
                let mut difference = (transit - last).abs();
                let whole = turn / rate * 1e9;
                if difference > whole / 2.0 {
                    difference = (difference - whole).abs();
                }
                self.jitter += (difference - self.jitter) / 16.0;
            }
            self.transit = Some(transit);
        }
    }
}

/// All streams.
#[derive(Debug, Default)]
pub struct Streams {
    all: HashMap<Key, Stream, foldhash::quality::RandomState>,
    swept_ns: u64,
    /// Packets of streams that were not recorded because of the limit.
    pub overflows: u64,
}

impl Streams {
    /// Maximum number of streams.
    pub const MOST: usize = MOST;

    /// Records a packet.
    pub fn observe(&mut self, key: Key, packet: &StreamPacket<'_>) {
        if let Some(stream) = self.all.get_mut(&key) {
            stream.take(packet);
            return;
        }
        if self.all.len() >= MOST {
            if packet.time_ns > self.swept_ns.saturating_add(SECOND_NS) {
                self.swept_ns = packet.time_ns;
                self.all
                    .retain(|_, stream| stream.last_ns + SILENT_NS > packet.time_ns);
            }
            if self.all.len() >= MOST {
                self.overflows += 1;
                return;
            }
        }
        self.all.entry(key).or_default().take(packet);
    }

    /// Returns all streams, in order of their keys.
    pub fn sorted(&self) -> Vec<(&Key, &Stream)> {
        let mut all: Vec<(&Key, &Stream)> = self.all.iter().collect();
        all.sort_by_key(|(key, _)| **key);
        all
    }

    pub(super) fn forget(&mut self, ifindex: u32) {
        self.all.retain(|key, _| key.ifindex != ifindex);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn key(port: u16) -> Key {
        Key {
            ifindex: 2,
            group: "239.1.1.1".parse().unwrap(),
            port,
            source: "10.0.0.1".parse().unwrap(),
            source_port: 4000,
        }
    }

    fn rtp(number: u64, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 33];
        packet.extend_from_slice(&(number as u16).to_be_bytes());
        packet.extend_from_slice(&(number as u32).wrapping_mul(900).to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet
    }

    fn observe(streams: &mut Streams, key: Key, time_ns: u64, payload: &[u8]) {
        let packet = StreamPacket {
            time_ns,
            outbound: false,
            ttl: 1,
            right_mac: Some(true),
            length: 1328,
            payload,
        };
        streams.observe(key, &packet);
    }

    #[test]
    fn loss_is_exact_over_wraparounds_and_restarts() {
        let mut streams = Streams::default();
        let mut lost = 0;
        for number in 65_000..200_000u64 {
            if number % 1000 == 7 {
                lost += 1;
                continue;
            }
            observe(&mut streams, key(1), number * 10_000_000, &rtp(number, 7));
            if number % 5000 == 11 {
                observe(&mut streams, key(1), number * 10_000_000, &rtp(number, 7));
            }
        }
        let of = |streams: &Streams| streams.sorted()[0].1.rtp.clone().unwrap();
        let rtp_seen = of(&streams);
        assert_eq!((rtp_seen.lost(), rtp_seen.restarts), (lost, 0));
        assert_eq!(
            (rtp_seen.numbers.duplicates, rtp_seen.numbers.reordered),
            (27, 0)
        );
        assert!(rtp_seen.jitter_ns().unwrap() < 1000);
        // The source restarts.
        for number in 10..20 {
            observe(
                &mut streams,
                key(1),
                2_000_000_000_000 + number,
                &rtp(number, 7),
            );
        }
        let rtp_seen = of(&streams);
        assert_eq!((rtp_seen.lost(), rtp_seen.restarts), (lost, 1));
    }

    #[test]
    fn short_rtp_lookalikes_are_not_rtp() {
        let mut streams = Streams::default();
        for number in 0..100u64 {
            observe(&mut streams, key(1), number, &rtp(number * 7, 7));
            observe(&mut streams, key(2), number, b"hello, this is plain text");
        }
        assert!(
            streams
                .sorted()
                .iter()
                .all(|(_, stream)| stream.rtp.is_none())
        );
    }

    #[test]
    fn rates_cover_the_last_second_and_streams_are_bounded() {
        let mut streams = Streams::default();
        for number in 0..250u64 {
            observe(&mut streams, key(1), number * S / 100, b"");
        }
        let all = streams.sorted();
        assert_eq!(all[0].1.rate_at(2 * S + S / 2), (100, 132_800));
        assert_eq!(all[0].1.rate_at(3 * S), (50, 66_400));
        assert_eq!(all[0].1.rate_at(9 * S), (0, 0));
        for port in 1..2000 {
            observe(&mut streams, key(port), 3 * S, b"");
        }
        assert_eq!(
            (streams.sorted().len(), streams.overflows),
            (MOST, 1999 - MOST as u64)
        );
        observe(&mut streams, key(5000), 100 * S, b"");
        assert_eq!(streams.sorted().len(), 1);
    }
}
