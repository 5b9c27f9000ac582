//! SHELL. Packets that follow each other in one flow: a large flow is most of what a busy host receives, and all but
//! the first of its packets need no second look at their headers.
//!
//! Everything that depends on a packet's length, time or bytes happens for each of them: talkers, thinning, recording.
//! Thinned packets in a row are counted together, before anything else changes the ledger, and before each commit.

use super::ring::Packet;
use crate::linux::mapping::OwnMemory;
use netsonde_core::multicast::is_tracked;
use netsonde_core::neighbors::carries_no_claims;
use netsonde_core::recorder::interfaces::link_type;
use netsonde_core::recorder::thin::{Candidate, Concern, Decision, Thinner};
use netsonde_core::recorder::{Meta, Recorder, Store, period};
use netsonde_core::talkers::{Flow, Talkers};
use netsonde_core::wire::glance::{Glance, ethertype, ip_protocol};
use netsonde_core::wire::{Direction, LinkType};

/// Sender on the link and headers of a UDP datagram over IPv4 without options on untagged Ethernet, from byte 6 to byte
/// 38 of the frame, without what differs between packets of one flow: service class, length, identification, DF, MF,
/// TTL and checksum (RFC 791, section 3.1). Its ports end at byte 38.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head([u64; 4]);

const FROM: usize = 6;
const TO: usize = 38;
/// Version and header length; offset of a fragment.
const MASK_14: u64 = u64::from_ne_bytes([0xff, 0, 0, 0, 0, 0, 0x1f, 0xff]);
/// Protocol, source address.
const MASK_22: u64 = u64::from_ne_bytes([0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff]);

impl Head {
    /// The head of no packet.
    pub const NONE: Head = Head([0; 4]);

    /// Reads a frame; [`Head::NONE`] if it is too short.
    #[inline]
    pub fn of(bytes: &[u8]) -> Head {
        match bytes.get(FROM..TO).map(<[u8; TO - FROM]>::try_from) {
            Some(Ok(head)) => {
                let [a, b, c, d] = bytemuck::cast(head);
                Head([a, b & MASK_14, c & MASK_22, d])
            }
            _ => Head::NONE,
        }
    }

    /// Returns whether all that was left out has no influence on how the packet is classified.
    fn is_sufficient(&self, seen: &Glance) -> bool {
        seen.ethertype == ethertype::IPV4
            && seen.vlan.is_none()
            && seen.network == 14
            && seen.ip_protocol == ip_protocol::UDP
            && seen.transport == 34
            && *self != Head::NONE
    }
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its store.
    pub store: Store,
    /// Slot and generation of its interface.
    pub interface: (u16, u16),
    /// Time since which the interface is up, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Its flow.
    pub flow: Flow,
    /// Its sender on the link.
    pub station: u64,
}

/// The last packet, whose successors are of the same flow.
pub struct Repeat {
    place: Place,
    head: Head,
    /// Its header fields.
    pub seen: Glance,
    ifindex: u32,
    hardware: u16,
    direction: Direction,
    /// Whether one was processed.
    is_begun: bool,
    /// Packets that the talkers have not counted yet, with their bytes on the wire, and the interval of time in which
    /// these may be gathered, in nanoseconds since 1970.
    talked: (u64, u64),
    quiet_ns: (u64, u64),
    /// Thinned packets that are not in the ledger yet, with their bytes on the wire and their first and last time.
    thinned: u64,
    bytes: u64,
    times: (u64, u64),
    period: u64,
}

impl Repeat {
    /// Returns `None` if packets like this one may differ in more than what [`Repeat::take`] distinguishes.
    pub fn new(place: Place, head: &Head, seen: &Glance, packet: &Packet<'_>) -> Option<Repeat> {
        let is_alike = packet.tag.is_none()
            && link_type(packet.hardware) == LinkType::Ethernet
            && head.is_sufficient(seen)
            // Neither trackers nor neighbors need each of them.
            && carries_no_claims(seen)
            && !is_tracked(seen, packet.bytes);
        is_alike.then_some(Repeat {
            place,
            head: *head,
            seen: *seen,
            ifindex: packet.ifindex,
            hardware: packet.hardware,
            direction: packet.direction,
            is_begun: false,
            talked: (0, 0),
            quiet_ns: (0, 0),
            thinned: 0,
            bytes: 0,
            times: (0, 0),
            period: 0,
        })
    }

    /// Returns whether a packet is of the same flow, and as usual.
    #[inline]
    pub fn is_next(&self, packet: &Packet<'_>, head: &Head) -> bool {
        self.head == *head
            && self.ifindex == packet.ifindex
            && self.hardware == packet.hardware
            && self.direction == packet.direction
            && packet.tag.is_none()
            && packet.time_ns >= self.place.since_ns
    }

    /// Returns whether this host sent it.
    pub fn is_outbound(&self) -> bool {
        self.direction == Direction::Outbound
    }

    /// Processes the next packet, of ring `at`. Returns `true` if its sender was not seen within the last second.
    #[inline]
    pub fn take(
        &mut self,
        recorder: &mut Recorder<OwnMemory>,
        thinner: &mut Thinner,
        talkers: &mut Talkers,
        at: usize,
        packet: &Packet<'_>,
    ) -> bool {
        let place = &self.place;
        let (store, length, time_ns) = (place.store, packet.original_length, packet.time_ns);
        let is_quiet = time_ns >= self.quiet_ns.0 && time_ns < self.quiet_ns.1;
        let mut is_news = false;
        if is_quiet {
            self.talked.0 += 1;
            self.talked.1 += u64::from(length);
        } else {
            is_news = self.talk(talkers, length, time_ns);
        }
        let place = &self.place;
        let candidate = Candidate {
            store,
            time_ns,
            cost: recorder.cost(store, packet.bytes.len(), false),
            flow: &place.flow,
            seen: &self.seen,
            station: place.station,
            probe: None,
            least: Concern::None,
            is_next: self.is_begun,
        };
        self.is_begun = true;
        match thinner.decide(recorder.pace_mut(store), &candidate) {
            Decision::Thin => {
                if self.thinned > 0 && self.period != period(time_ns) {
                    self.count(recorder, at);
                }
                if self.thinned == 0 {
                    self.times = (time_ns, time_ns);
                    self.period = period(time_ns);
                }
                self.thinned += 1;
                self.bytes += u64::from(length);
                self.times = (self.times.0.min(time_ns), self.times.1.max(time_ns));
            }
            Decision::Keep(sample) => {
                // Recording may commit.
                self.count(recorder, at);
                self.keep(recorder, at, packet, sample);
            }
        }
        is_news
    }

    /// Counts a packet for the talkers at once, after those before it.
    #[cold]
    fn talk(&mut self, talkers: &mut Talkers, length: u32, time_ns: u64) -> bool {
        self.count_talked(talkers);
        let Place { flow, station, .. } = &self.place;
        let is_news = talkers.observe(flow, *station, length, time_ns);
        self.quiet_ns = (time_ns, talkers.same_until(flow));
        is_news
    }

    fn count_talked(&mut self, talkers: &mut Talkers) {
        let sum = std::mem::take(&mut self.talked);
        if sum.0 > 0 {
            let Place { flow, station, .. } = &self.place;
            talkers.observe_run(flow, *station, sum, self.quiet_ns.0);
        }
    }

    /// Counts what was gathered. To be called before another packet is processed, and after the last one of a block.
    pub fn end(&mut self, recorder: &mut Recorder<OwnMemory>, talkers: &mut Talkers, at: usize) {
        self.count_talked(talkers);
        self.count(recorder, at);
    }

    fn keep(&self, recorder: &mut Recorder<OwnMemory>, at: usize, packet: &Packet<'_>, sample: u8) {
        let Place {
            store, interface, ..
        } = self.place;
        let meta = Meta {
            time_ns: packet.time_ns,
            original_length: packet.original_length,
            interface,
            link: link_type(packet.hardware),
            direction: packet.direction,
            checksum: packet.checksum,
            tag: None,
        };
        recorder.append_sample(store, &meta, sample, packet.bytes);
        self.count_seen(recorder, at, 1, u64::from(packet.original_length));
    }

    /// Puts thinned packets into the ledger, before anything else changes it.
    #[inline]
    fn count(&mut self, recorder: &mut Recorder<OwnMemory>, at: usize) {
        let (packets, bytes) = (self.thinned, self.bytes);
        if packets > 0 {
            (self.thinned, self.bytes) = (0, 0);
            let Place {
                store, interface, ..
            } = self.place;
            recorder.thin_run(store, interface, packets, self.times);
            self.count_seen(recorder, at, packets, bytes);
        }
    }

    fn count_seen(&self, recorder: &mut Recorder<OwnMemory>, at: usize, packets: u64, bytes: u64) {
        let interface = self.place.interface;
        recorder.count_seen(self.place.store, interface, packets);
        if let Some(interface) = recorder.interfaces_mut().slot_mut(interface.0) {
            if self.is_outbound() {
                interface.packets_out += packets;
                interface.bytes_out += bytes;
            } else {
                interface.packets_in += packets;
                interface.bytes_in += bytes;
            }
        }
        let mark = recorder.ring_mut(at);
        mark.consumed += packets;
        mark.processed += packets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsonde_core::recorder::Classifier;
    use netsonde_core::wire::glance::glance;

    /// A UDP datagram over IPv4 on Ethernet.
    fn datagram() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend_from_slice(&[0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 17, 1, 2]);
        frame.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend_from_slice(&[0x9c, 0x40, 0x13, 0x88, 0, 26, 3, 4]);
        frame.resize(60, 7);
        frame
    }

    /// Everything that the path derives from the headers.
    fn derived(classifier: &Classifier, frame: &[u8]) -> String {
        let seen = glance(LinkType::Ethernet, frame);
        let flow = Flow::from_packet(&seen, frame, 2, false);
        let store = classifier.store(&seen, frame);
        let is_noticed = is_tracked(&seen, frame) || !carries_no_claims(&seen);
        format!(
            "{seen:?} {flow:?} {store:?} {is_noticed} {:?}",
            &frame[6..14]
        )
    }

    #[test]
    fn frames_of_one_head_are_processed_alike() {
        let (frame, classifier) = (datagram(), Classifier::new(&[]));
        let head = Head::of(&frame);
        let expected = derived(&classifier, &frame);
        assert!(head.is_sufficient(&glance(LinkType::Ethernet, &frame)));
        let mut equal = 0;
        for first in 0..60 * 8 {
            for second in first..60 * 8 {
                let mut changed = frame.clone();
                for bit in [first, second] {
                    changed[bit / 8] ^= 1 << (bit % 8);
                }
                if Head::of(&changed) == head {
                    equal += 1;
                    assert_eq!(derived(&classifier, &changed), expected, "{first} {second}");
                }
            }
        }
        // Of 22 bytes behind the ports and 6 before the sender, and of some in the IP header.
        assert!(equal > 28 * 8 * 28 * 8 / 2, "{equal}");
        assert_eq!(Head::of(&frame[..37]), Head::NONE);
        assert_ne!(Head::of(&frame[..38]), Head::NONE);
    }

    #[test]
    fn heads_that_leave_something_open_are_not_repeated() {
        for (at, value, what) in [
            (14, 0x46, "options"),
            (23, 6, "TCP"),
            (21, 1, "a later fragment"),
            (12, 0x81, "a tag"),
            (13, 0xdd, "another protocol"),
        ] {
            let mut frame = datagram();
            frame[at] = value;
            let seen = glance(LinkType::Ethernet, &frame);
            assert!(!Head::of(&frame).is_sufficient(&seen), "{what}");
        }
    }
}
