//! PURE. Fragments of echo replies on the wire: which parts of a datagram came in. The kernel hands
//! a reply to the socket only when it is complete, so lost fragments leave no other trace for the 30
//! seconds that it waits for them (net.ipv4.ipfrag_time).

use std::collections::VecDeque;
use std::net::IpAddr;

use super::sight::{Echo, Fragment};

/// Maximum number of datagrams tracked: the replies in flight of a run with one target. When the
/// table is full, complete datagrams are removed first.
pub const MAX_DATAGRAMS: usize = 512;
/// Maximum number of fragments tracked per datagram: the longest datagram has 55 over a link with
/// the smallest MTU of IPv6, and 119 over one of 576 bytes.
const MAX_PIECES: usize = 128;

/// Time after which another datagram may have the same identification, in nanoseconds: the kernel drops
/// an incomplete one then.
const REUSED_AFTER_NS: u64 = 30_000_000_000;

/// A datagram of which at least one fragment came in.
#[derive(Clone, Debug)]
struct Datagram {
    from: IpAddr,
    to: IpAddr,
    id: u32,
    ifindex: u32,
    /// Wall-clock time of the first sighting, in nanoseconds since 1970.
    time_ns: u64,
    /// Echo fields, once the first fragment came in.
    echo: Option<Echo>,
    /// Start and end of each fragment in bytes, in order.
    pieces: Vec<(u32, u32)>,
    /// Length of the datagram's payload, once the last fragment came in.
    length: Option<u32>,
    /// Run and serial number of the probe whose reply this is assumed to be, without a first
    /// fragment that would prove it.
    assumed: Option<(u64, u64)>,
}

/// Fragments of one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentedReply {
    /// Interface index on which they came in.
    pub ifindex: u32,
    /// Number of fragments that came in.
    pub came: usize,
    /// Number of fragments of the whole reply. Estimated from the longest one if some are missing.
    pub of: usize,
    /// Ranges of the ICMP message that came in: first and last byte.
    pub ranges: Vec<(u32, u32)>,
    /// Length of the whole ICMP message in bytes.
    pub length: u32,
    /// Whether the first fragment came in. It has the token, so the others are attributed without
    /// doubt.
    pub has_first: bool,
}

impl FragmentedReply {
    /// Returns whether all fragments came in.
    pub fn is_complete(&self) -> bool {
        self.ranges == [(0, self.length.saturating_sub(1))]
    }
}

/// The fragments of replies while probes are in flight.
#[derive(Debug, Default)]
pub struct FragmentTracker {
    datagrams: VecDeque<Datagram>,
    /// Datagrams removed because the table was full.
    pub evicted: u64,
}

impl Datagram {
    fn add(&mut self, fragment: &Fragment) {
        let end = fragment.offset + fragment.length;
        if fragment.is_last {
            self.length = Some(end);
        }
        let piece = (fragment.offset, end);
        if let Err(at) = self.pieces.binary_search(&piece)
            && self.pieces.len() < MAX_PIECES
        {
            self.pieces.insert(at, piece);
        }
    }

    /// Returns the ranges that came in, merged: first and last byte.
    fn ranges(&self) -> Vec<(u32, u32)> {
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (start, end) in self.pieces.iter().filter(|(start, end)| start < end) {
            match merged.last_mut() {
                Some(last) if *start <= last.1 + 1 => last.1 = last.1.max(end - 1),
                _ => merged.push((*start, end - 1)),
            }
        }
        merged
    }

    fn is_complete(&self) -> bool {
        let end = self.length.and_then(|length| length.checked_sub(1));
        end.is_some_and(|end| self.ranges() == [(0, end)])
    }

    fn reply(&self, expected: u32) -> FragmentedReply {
        let ranges = self.ranges();
        let length = self.length.unwrap_or(expected);
        // Every fragment but the last has the same length.
        let unit = (self.pieces.iter().map(|(start, end)| end - start).max()).unwrap_or(0);
        let mut missing = 0;
        let mut at = 0;
        for (first, last) in ranges.iter().copied().chain([(length, length)]) {
            missing += first.saturating_sub(at).div_ceil(unit.max(8)) as usize;
            at = at.max(last + 1);
        }
        FragmentedReply {
            ifindex: self.ifindex,
            came: self.pieces.len(),
            of: self.pieces.len() + missing,
            ranges,
            length,
            has_first: self.echo.is_some(),
        }
    }
}

impl FragmentTracker {
    /// Records a fragment that came in. `echo`: echo fields of a first fragment.
    pub fn on_fragment(
        &mut self,
        ifindex: u32,
        from: IpAddr,
        fragment: &Fragment,
        echo: Option<&Echo>,
        time_ns: u64,
    ) {
        let key = (from, fragment.to, fragment.id);
        let known = self.datagrams.iter_mut().rev().find(|one| {
            (one.from, one.to, one.id) == key && time_ns < one.time_ns + REUSED_AFTER_NS
        });
        let datagram = match known {
            Some(known) => known,
            None => {
                self.make_room();
                self.datagrams.push_back(Datagram {
                    from,
                    to: fragment.to,
                    id: fragment.id,
                    ifindex,
                    time_ns,
                    echo: None,
                    pieces: Vec::new(),
                    length: None,
                    assumed: None,
                });
                let at = self.datagrams.len() - 1;
                &mut self.datagrams[at]
            }
        };
        datagram.add(fragment);
        datagram.echo = datagram.echo.or(echo.copied());
    }

    fn make_room(&mut self) {
        if self.datagrams.len() < MAX_DATAGRAMS {
            return;
        }
        self.evicted += 1;
        let complete = self.datagrams.iter().position(Datagram::is_complete);
        self.datagrams.remove(complete.unwrap_or(0));
    }

    /// Returns the fragments of a probe's reply. `is_own` recognizes the reply by its first
    /// fragment. Without a first fragment, the oldest datagram from `target` that came in within
    /// `window_ns` (wall-clock time) and is assigned to no other probe is assumed to be it.
    /// `expected`: length of the ICMP message in bytes.
    pub fn of_reply(
        &mut self,
        (run, serial): (u64, u64),
        is_own: impl Fn(&Echo) -> bool,
        target: IpAddr,
        window_ns: (u64, u64),
        expected: u32,
    ) -> Option<FragmentedReply> {
        let is_first = |one: &&Datagram| one.echo.is_some_and(|echo| is_own(&echo));
        if let Some(found) = self.datagrams.iter().find(is_first) {
            return Some(found.reply(expected));
        }
        let found = self.datagrams.iter_mut().find(|one| {
            let is_free = one.assumed.is_none_or(|probe| probe == (run, serial));
            let in_time = (window_ns.0..=window_ns.1).contains(&one.time_ns);
            let fits = one.length.is_none_or(|length| length == expected);
            one.echo.is_none() && one.from == target && is_free && in_time && fits
        })?;
        found.assumed = Some((run, serial));
        Some(found.reply(expected))
    }

    /// Removes all datagrams.
    pub fn clear(&mut self) {
        self.datagrams.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const TO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const ECHO: Echo = Echo {
        id: 7,
        sequence: 1,
        token: ([0; 12], 12),
    };

    fn fragment(id: u32, offset: u32, length: u32, is_last: bool) -> Fragment {
        Fragment {
            to: TO,
            id,
            offset,
            length,
            is_last,
        }
    }

    fn reply(tracker: &mut FragmentTracker, serial: u64) -> Option<FragmentedReply> {
        let is_own = |echo: &Echo| u64::from(echo.sequence) == serial;
        tracker.of_reply((1, serial), is_own, FROM, (0, 100), 3008)
    }

    #[test]
    fn missing_fragments_are_counted() {
        let parts = [(0, 1480, false), (1480, 1480, false), (2960, 48, true)];
        for (lost, ranges) in [
            (None, vec![(0, 3007)]),
            (Some(0), vec![(1480, 3007)]),
            (Some(1), vec![(0, 1479), (2960, 3007)]),
            (Some(2), vec![(0, 2959)]),
        ] {
            let mut tracker = FragmentTracker::default();
            for (at, (offset, length, is_last)) in parts.iter().enumerate() {
                if Some(at) != lost {
                    let echo = (*offset == 0).then_some(&ECHO);
                    let one = fragment(5, *offset, *length, *is_last);
                    tracker.on_fragment(2, FROM, &one, echo, 10);
                    // The same on the bridge and on its port.
                    tracker.on_fragment(3, FROM, &one, echo, 10);
                }
            }
            let seen = reply(&mut tracker, 1).unwrap();
            let came = if lost.is_some() { 2 } else { 3 };
            assert_eq!((seen.came, seen.of, &seen.ranges), (came, 3, &ranges));
            assert_eq!(seen.is_complete(), lost.is_none());
            assert_eq!((seen.has_first, seen.ifindex), (lost != Some(0), 2));
        }
    }

    #[test]
    fn datagrams_without_first_fragment_are_assigned_once() {
        let mut tracker = FragmentTracker::default();
        for id in [5, 6] {
            tracker.on_fragment(2, FROM, &fragment(id, 1480, 1528, true), None, 10);
        }
        assert!(reply(&mut tracker, 2).is_some() && reply(&mut tracker, 3).is_some());
        assert!(reply(&mut tracker, 2).is_some(), "asked again");
        assert!(reply(&mut tracker, 4).is_none());
    }

    #[test]
    fn a_full_table_keeps_the_incomplete() {
        let mut tracker = FragmentTracker::default();
        tracker.on_fragment(2, FROM, &fragment(1, 0, 1480, false), Some(&ECHO), 10);
        for id in 2..5000 {
            tracker.on_fragment(2, FROM, &fragment(id, 0, 1480, false), None, 10);
            tracker.on_fragment(2, FROM, &fragment(id, 1480, 1528, true), None, 10);
        }
        assert_eq!(tracker.datagrams.len(), MAX_DATAGRAMS);
        assert_eq!(tracker.evicted, 4999 - MAX_DATAGRAMS as u64);
        assert_eq!(reply(&mut tracker, 1).unwrap().came, 1);
    }
}
