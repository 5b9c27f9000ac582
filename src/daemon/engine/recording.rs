//! SHELL. From the rings to the recorder: the path of every packet.

use super::repeat::{Head, Place, Repeat};
use super::ring::{Packet, Ring, Walk};
use crate::daemon::channel::handover::{Counter, counter_at};
use crate::linux::mapping::{OwnMemory, ReadOnlyMapping};
use crate::linux::wall_ns;
use netsonde_core::multicast::{Trackers, is_tracked};
use netsonde_core::neighbors::{Neighbors, carries_no_claims};
use netsonde_core::probe::Sighting;
use netsonde_core::probe::identity::{HEADER, TOKEN};
use netsonde_core::probe::sight::{may_concern_probe, sight};
use netsonde_core::probe::transport::{PortSet, is_along};
use netsonde_core::recorder::interfaces::{State, link_type};
use netsonde_core::recorder::thin::{Candidate, Concern, Decision, HeldProbes, Thinner};
use netsonde_core::recorder::{Classifier, Cursor, From, GapKind, Meta, Recorder, Store};
use netsonde_core::talkers::{Flow, Talkers};
use netsonde_core::wire::glance::{Glance, glance, ip_protocol};
use netsonde_core::wire::{Direction, Frame};

/// Blocks processed before clients are served again: at most some milliseconds.
const MAX_BLOCKS_PER_POLL: usize = 8;
/// Packets whose headers are read before any of them is recorded.
const BATCH: usize = 16;
/// Number of engines in a row that died without progress before the waiting packets are skipped.
const STALLED_TO_QUARANTINE: u64 = 3;

/// The rings, the recorder, the trackers, and the keeper's counters.
pub struct Recording {
    /// The recorder, which also serves queries.
    pub recorder: Recorder<OwnMemory>,
    rings: [Ring; 2],
    counters: ReadOnlyMapping,
    classifier: Classifier,
    /// Packets of interfaces without a slot.
    pub packets_without_slot: u64,
    /// Whether a packet showed an interface that netlink has not reported yet.
    pub unknown_interface: bool,
    /// Queriers and memberships. All of these messages cross the control ring.
    pub multicast: Trackers,
    /// Top flows.
    pub talkers: Talkers,
    /// Hosts seen on each link.
    pub neighbors: Neighbors,
    /// Decides which packets are recorded if not all can be.
    pub thinner: Thinner,
    /// Own probes, which are recorded in part only.
    own_probes: OwnProbes,
    /// Whether the keeper must read the counters, to find out whether its count lacks packets.
    pub wants_count: bool,
    /// Progress of each ring at the last check.
    done: [RingProgress; 2],
    /// Sightings of probes, while there are any. Those of TCP and UDP cross the bulk ring, all others the control ring.
    pub sightings: Option<Vec<Sighting>>,
    /// Source ports of probes by TCP and UDP, while there are any: their packets are sighted.
    pub probe_ports: PortSet,
}

/// Echo messages of the prober, as far as the recorder distinguishes them.
#[derive(Default)]
struct OwnProbes {
    /// Tag of this service's probes, while it sends any.
    tag: Option<u32>,
    /// Identifiers of runs of which every packet is evidence.
    evidence_ids: Vec<u16>,
    /// Thinned packets of probes whose fate is not known yet.
    held: HeldProbes,
}

impl OwnProbes {
    /// Returns the token of an echo request or reply of this service, and how much it concerns this host.
    #[inline]
    fn token(&self, seen: &Glance, bytes: &[u8]) -> (Option<[u8; TOKEN]>, Concern) {
        let Some(tag) = self.tag else {
            return (None, Concern::None);
        };
        let is_echo = match seen.ip_protocol {
            ip_protocol::ICMP => matches!(seen.icmp_type, 0 | 8),
            ip_protocol::ICMPV6 => matches!(seen.icmp_type, 128 | 129),
            _ => false,
        };
        let message = bytes.get(seen.transport..seen.transport + HEADER + TOKEN);
        let Some(message) = message.filter(|_| is_echo && seen.transport != 0) else {
            return (None, Concern::None);
        };
        let (header, token) = message.split_at(HEADER);
        let id = u16::from_be_bytes([header[4], header[5]]);
        if !token.starts_with(&tag.to_be_bytes()) {
            return (None, Concern::None);
        }
        if self.evidence_ids.contains(&id) {
            return (None, Concern::Key);
        }
        (token.try_into().ok(), Concern::None)
    }
}

/// Progress of a ring.
#[derive(Clone, Copy, Debug, Default)]
struct RingProgress {
    processed: u64,
    /// Time of the last change of `processed`, in nanoseconds since 1970.
    since_ns: u64,
    /// Time of the keeper's next reading of the counters, whose call may have begun earlier.
    read_ns: u64,
}

/// Counters of a ring, as summed up by the keeper.
#[derive(Clone, Copy, Debug)]
pub struct RingTotals {
    /// Packets that passed the filter, including drops.
    pub packets: u64,
    /// Packets dropped because the ring was full.
    pub drops: u64,
    /// Number of times that the ring was full.
    pub freezes: u64,
}

impl Recording {
    /// Creates the intake from its components.
    pub fn new(
        recorder: Recorder<OwnMemory>,
        rings: [Ring; 2],
        counters: ReadOnlyMapping,
        classifier: Classifier,
    ) -> Recording {
        Recording {
            recorder,
            rings,
            counters,
            classifier,
            packets_without_slot: 0,
            unknown_interface: false,
            multicast: Trackers::default(),
            talkers: Talkers::default(),
            neighbors: Neighbors::default(),
            thinner: Thinner::default(),
            own_probes: OwnProbes::default(),
            wants_count: false,
            done: [RingProgress::default(); 2],
            sightings: None,
            probe_ports: PortSet::default(),
        }
    }

    /// Sets how far back each store reaches, in nanoseconds.
    pub fn set_targets(&mut self, targets_ns: [u64; 7]) {
        let (usable, largest) = (self.recorder.usable(), self.recorder.largest());
        self.thinner.set_targets(targets_ns, usable, largest);
    }

    /// Records the packets of probes, by their tokens, that were not simply answered in time, and of their neighbors
    /// in time.
    pub fn keep_probes(&mut self, tokens: &[[u8; TOKEN]]) {
        let Recording {
            recorder,
            thinner,
            own_probes,
            ..
        } = self;
        for token in tokens {
            own_probes.held.keep(token, |store, meta, bytes| {
                let cost = recorder.cost(store, bytes.len(), meta.tag.is_some());
                let is_kept = thinner.keep_probe(recorder.pace_mut(store), cost);
                if is_kept {
                    recorder.append_thinned(store, meta, bytes);
                }
                is_kept
            });
        }
    }

    /// Sets the tag of this service's probes while there are any, and the identifiers of runs of which every packet is
    /// evidence.
    pub fn set_own_probes(&mut self, tag: Option<u32>, evidence_ids: &[u16]) {
        self.own_probes.tag = tag;
        if self.own_probes.evidence_ids != evidence_ids {
            self.own_probes.evidence_ids = evidence_ids.to_vec();
        }
        if tag.is_none() {
            self.own_probes.held.clear();
        }
    }

    fn counter(&self, at: usize) -> u64 {
        self.counters.load64(at)
    }

    /// Returns one of the keeper's other counters.
    pub fn keeper_counter(&self, at: usize) -> u64 {
        self.counter(at)
    }

    /// Returns the size of a ring, in bytes.
    pub fn ring_capacity(&self, ring: usize) -> usize {
        self.rings[ring].capacity()
    }

    /// Returns the number of blocks with packets not yet processed, for each ring.
    pub fn filling(&self) -> [Option<usize>; 2] {
        [self.rings[0].filling(), self.rings[1].filling()]
    }

    /// Returns the keeper's sums for a ring.
    pub fn ring_sums(&self, ring: usize) -> RingTotals {
        RingTotals {
            packets: self.counter(counter_at(ring, Counter::Packets))
                + self.recorder.ring(ring).uncounted,
            drops: self.counter(counter_at(ring, Counter::Drops)),
            freezes: self.counter(counter_at(ring, Counter::Freezes)),
        }
    }

    /// Skips the packets on which engines crash repeatedly: the rest of the next block of each
    /// ring. They are declared and counted.
    pub fn quarantine(&mut self, stalled: u64, now_ns: u64) {
        if stalled < STALLED_TO_QUARANTINE {
            return;
        }
        for at in 0..self.rings.len() {
            let Some(block) = self.rings[at].block() else {
                continue;
            };
            let (index, sequence, packets) =
                (block.index, block.sequence, u64::from(block.packets));
            let mark = self.recorder.ring_mut(at);
            let done = if mark.sequence == sequence {
                mark.consumed
            } else {
                0
            };
            mark.block = index as u64;
            mark.sequence = sequence;
            mark.consumed = packets;
            let lost = packets.saturating_sub(done);
            mark.processed += lost;
            mark.quarantined += lost;
            let kind = GapKind::Quarantined;
            self.recorder
                .declare(kind, Some(at as u8), now_ns, now_ns, lost);
            self.recorder.commit();
            self.rings[at].release();
        }
    }

    /// Rebuilds the multicast and neighbor tables from the record after an engine restart. The bulk
    /// store is left out: it may be large, and adds little to the others.
    pub fn rebuild_trackers(&mut self) {
        let Recording {
            recorder,
            multicast,
            neighbors,
            ..
        } = self;
        let telling = &Store::ALL[..Store::Bulk as usize];
        let mut cursor = Cursor::new(recorder, telling, From::Oldest, u64::MAX, false);
        while let Some(record) = cursor.next(recorder, u64::MAX) {
            let (slot, generation) = record.interface;
            let slot = recorder.interfaces().get(slot, generation);
            if let Some(slot) = slot.filter(|slot| slot.state() != State::Gone) {
                let frame = record.frame();
                let seen = glance(frame.link, frame.bytes);
                let outbound = record.direction == Direction::Outbound;
                let (at, time) = (slot.ifindex, record.time_ns);
                if record.store == Store::Group {
                    multicast.observe_frame(&frame, &seen, at, time, outbound);
                }
                neighbors.observe(&frame, &seen, at, time, outbound);
            }
        }
    }

    /// Finds the rings' positions again if a former engine has damaged them. To be called about
    /// once per second.
    pub fn resync(&mut self) {
        for (ring, number) in self.rings.iter_mut().zip(0..) {
            if ring.resync() {
                tracing::warn!(
                    ring = number,
                    "the position in the ring was wrong: resynchronized"
                );
            }
        }
    }

    /// Processes packets of the rings for one poll iteration, the control ring first. Returns
    /// `true` if more are waiting.
    pub fn poll_once(&mut self, now_ns: u64) -> bool {
        let mut blocks = 0;
        for at in 0..self.rings.len() {
            while blocks < MAX_BLOCKS_PER_POLL && self.take_block(at, now_ns) {
                blocks += 1;
            }
        }
        let mut is_changed = false;
        for at in 0..self.rings.len() {
            let read_at_ns = self.counter(counter_at(at, Counter::ReadAt));
            let drops = self.counter(counter_at(at, Counter::Drops));
            is_changed |= drops != self.recorder.ring(at).declared_drops;
            self.recorder.ring_drops(at, drops, read_at_ns, now_ns);
            is_changed |= self.count_uncounted(at, read_at_ns);
        }
        if is_changed {
            self.recorder.commit();
        }
        blocks >= MAX_BLOCKS_PER_POLL
    }

    /// The kernel's counters are cleared on reading. A keeper that is killed within that call loses
    /// what it has read; the loss shows once the next keeper has read the counters after the last
    /// packet was processed. How many drops it had read is unknown.
    fn count_uncounted(&mut self, at: usize, read_at_ns: u64) -> bool {
        let processed = self.recorder.ring(at).processed;
        let done = &mut self.done[at];
        if done.processed != processed {
            // Not the time of this iteration: blocks have arrived since.
            *done = RingProgress {
                processed,
                since_ns: wall_ns(),
                read_ns: 0,
            };
        }
        let done = self.done[at];
        let sums = self.ring_sums(at);
        let missing = (processed + sums.drops).saturating_sub(sums.packets);
        if missing == 0 {
            return false;
        }
        // The first reading after that time may have begun before it.
        let is_later = read_at_ns > done.since_ns;
        let is_sure = is_later && ![0, read_at_ns].contains(&done.read_ns);
        if !is_sure {
            if is_later {
                self.done[at].read_ns = read_at_ns;
            }
            self.wants_count = true;
            return false;
        }
        self.recorder.ring_mut(at).uncounted += missing;
        tracing::warn!(
            ring = at,
            missing,
            "a keeper was killed while it read the kernel's counters; drops at that moment are \
                unknown"
        );
        true
    }

    fn take_block(&mut self, at: usize, now_ns: u64) -> bool {
        let ring = &self.rings[at];
        let Some(block) = ring.block() else {
            return false;
        };
        let packets = block.packets;
        let mark = self.recorder.ring_mut(at);
        if mark.sequence != block.sequence {
            mark.sequence = block.sequence;
            mark.consumed = 0;
        }
        mark.block = block.index as u64;
        let done = mark.consumed as usize;
        let mut walk = block.walk;
        if done > 0 {
            walk.nth(done - 1);
        }
        let mut path = Path {
            at,
            recorder: &mut self.recorder,
            thinner: &mut self.thinner,
            talkers: &mut self.talkers,
            own_probes: &mut self.own_probes,
            classifier: &self.classifier,
            multicast: &mut self.multicast,
            neighbors: &mut self.neighbors,
            sightings: &mut self.sightings,
            probe_ports: &self.probe_ports,
            unknown_interface: &mut self.unknown_interface,
            packets_without_slot: &mut self.packets_without_slot,
        };
        path.take_all(walk);
        let mark = self.recorder.ring_mut(at);
        let unread = u64::from(packets).saturating_sub(mark.consumed);
        if unread > 0 {
            // The kernel's offsets are inconsistent: the rest of the block is lost, and counted.
            mark.consumed += unread;
            mark.processed += unread;
            mark.quarantined += unread;
            self.recorder
                .declare(GapKind::Quarantined, Some(at as u8), now_ns, now_ns, unread);
        }
        self.recorder.commit();
        self.rings[at].release();
        true
    }
}

/// The parts that a packet of ring `at` passes.
struct Path<'a> {
    at: usize,
    recorder: &'a mut Recorder<OwnMemory>,
    thinner: &'a mut Thinner,
    talkers: &'a mut Talkers,
    own_probes: &'a mut OwnProbes,
    classifier: &'a Classifier,
    multicast: &'a mut Trackers,
    neighbors: &'a mut Neighbors,
    sightings: &'a mut Option<Vec<Sighting>>,
    probe_ports: &'a PortSet,
    unknown_interface: &'a mut bool,
    packets_without_slot: &'a mut u64,
}

impl Path<'_> {
    /// Processes the packets of a block.
    fn take_all(&mut self, mut walk: Walk<'_>) {
        let mut batch: Vec<(Packet<'_>, Head)> = Vec::with_capacity(BATCH);
        let (mut last, mut repeat) = (Head::NONE, None::<Repeat>);
        loop {
            // The bytes come from another core's cache. Read in a row, the misses overlap.
            batch.clear();
            while batch.len() < BATCH
                && let Some(packet) = walk.next()
            {
                batch.push((packet, Head::of(packet.bytes)));
            }
            if batch.is_empty() {
                break;
            }
            for (packet, head) in &batch {
                if let Some(repeat) = &mut repeat {
                    if repeat.is_next(packet, head) {
                        self.take_next(packet, repeat);
                        continue;
                    }
                    repeat.end(self.recorder, self.talkers, self.at);
                }
                repeat = None;
                let seen = glance(link_type(packet.hardware), packet.bytes);
                let place = self.take_one(packet, &seen);
                if last == *head {
                    repeat = place.and_then(|place| Repeat::new(place, head, &seen, packet));
                }
                last = *head;
            }
        }
        if let Some(repeat) = &mut repeat {
            repeat.end(self.recorder, self.talkers, self.at);
        }
    }

    /// Processes a packet of the same flow as the one before.
    #[inline]
    fn take_next(&mut self, packet: &Packet<'_>, repeat: &mut Repeat) {
        let is_news = repeat.take(self.recorder, self.thinner, self.talkers, self.at, packet);
        if is_news {
            let (at, time, outbound) = (packet.ifindex, packet.time_ns, repeat.is_outbound());
            self.neighbors
                .observe(&frame(packet), &repeat.seen, at, time, outbound);
        }
    }

    /// Processes a packet. Returns where it belongs, if its interface was up.
    #[inline]
    fn take_one(&mut self, packet: &Packet<'_>, seen: &Glance) -> Option<Place> {
        let mut is_probe = false;
        if let Some(sightings) = self.sightings
            && may_concern_probe(seen, self.probe_ports)
        {
            sightings.extend(sighting(packet, seen));
            is_probe = true;
        } else if self.probe_ports.living().contains(&seen.source_port) {
            // Of a connection along which probes go, only these are sighted, and none is passed over.
            is_probe = true;
            let header = packet.bytes.get(seen.transport..).unwrap_or_default();
            if let Some(sightings) = self.sightings
                && is_along(header)
            {
                sightings.extend(sighting(packet, seen));
            }
        }
        let outbound = packet.direction == Direction::Outbound;
        let (ifindex, time) = (packet.ifindex, packet.time_ns);
        if packet.tag.is_none() && is_tracked(seen, packet.bytes) {
            self.multicast
                .observe_frame(&frame(packet), seen, ifindex, time, outbound);
        }
        let taken = take_packet(
            self.recorder,
            self.thinner,
            self.talkers,
            self.own_probes,
            self.classifier.store(seen, packet.bytes),
            seen,
            packet,
        );
        match taken.interface {
            Interface::KernelLink => {}
            Interface::New => *self.unknown_interface = true,
            Interface::NoSlot => *self.packets_without_slot += 1,
        }
        // Nearly all packets repeat what others of their flow have shown within the second.
        if packet.tag.is_none() && (taken.is_news || !carries_no_claims(seen)) {
            self.neighbors
                .observe(&frame(packet), seen, ifindex, time, outbound);
        }
        // Done last, so that a commit within a block never counts a packet that is not recorded.
        let mark = self.recorder.ring_mut(self.at);
        mark.consumed += 1;
        mark.processed += 1;
        // The next packet of the flow of a probe is sighted, too.
        taken.place.filter(|_| !is_probe)
    }
}

fn frame<'a>(packet: &Packet<'a>) -> Frame<'a> {
    Frame {
        link: link_type(packet.hardware),
        bytes: packet.bytes,
        original_length: packet.original_length,
        checksum: packet.checksum,
    }
}

/// Returns a key of the sender on the link: source MAC address and the following two bytes. 0 for
/// VLAN-tagged frames, whose sender is not on this link.
#[inline]
fn station(packet: &Packet<'_>) -> u64 {
    match packet.bytes.get(6..14).map(<[u8; 8]>::try_from) {
        Some(Ok(bytes)) if packet.tag.is_none() => u64::from_ne_bytes(bytes),
        _ => 0,
    }
}

fn sighting(packet: &Packet<'_>, seen: &Glance) -> Option<Sighting> {
    let whole = packet.bytes.len() as u64 >= u64::from(packet.original_length);
    let is_ethernet = link_type(packet.hardware) == netsonde_core::wire::LinkType::Ethernet;
    Some(Sighting {
        time_ns: packet.time_ns,
        ifindex: packet.ifindex,
        direction: packet.direction,
        mac: packet
            .bytes
            .get(6..12)
            .filter(|_| is_ethernet)
            .and_then(|mac| mac.try_into().ok()),
        what: sight(packet.bytes, seen, whole, packet.checksum)?,
    })
}

enum Interface {
    KernelLink,
    New,
    NoSlot,
}

struct RecordedPacket {
    interface: Interface,
    /// Whether the sender was not seen with this flow within the last second, as far as known.
    is_news: bool,
    /// Where it belongs, if its interface was up.
    place: Option<Place>,
}

#[inline]
fn take_packet(
    recorder: &mut Recorder<OwnMemory>,
    thinner: &mut Thinner,
    talkers: &mut Talkers,
    own_probes: &mut OwnProbes,
    store: Store,
    seen: &Glance,
    packet: &Packet<'_>,
) -> RecordedPacket {
    let mut taken = RecordedPacket {
        interface: Interface::NoSlot,
        is_news: true,
        place: None,
    };
    let interfaces = recorder.interfaces_mut();
    let Some(slot) = interfaces.of_packet(packet.ifindex, packet.hardware, packet.time_ns) else {
        return taken;
    };
    let Some(interface) = interfaces.slot_mut(slot) else {
        return taken;
    };
    taken.interface = if interface.name[0] == 0 {
        Interface::New
    } else {
        Interface::KernelLink
    };
    let tag_bytes = if packet.tag.is_some() { 4 } else { 0 };
    let original_length = packet.original_length + tag_bytes;
    // Not usual: the link was down, or has come up after this packet crossed it.
    let is_outage = interface.state != State::Up as u8 || packet.time_ns < interface.changed_ns;
    if interface.recorded == 0 {
        interface.skipped += 1;
        return taken;
    }
    let outbound = packet.direction == Direction::Outbound;
    let flow = Flow::from_packet(seen, packet.bytes, packet.ifindex, outbound);
    let station = station(packet);
    taken.is_news = talkers.observe(&flow, station, original_length, packet.time_ns);
    let generation = interface.generation;
    if !is_outage {
        taken.place = Some(Place {
            store,
            interface: (slot, generation),
            since_ns: interface.changed_ns,
            flow,
            station,
        });
    }
    if is_outage {
        recorder.packet_during_outage(slot, packet.time_ns);
    }
    let (probe, least) = own_probes.token(seen, packet.bytes);
    let candidate = Candidate {
        store,
        time_ns: packet.time_ns,
        cost: recorder.cost(store, packet.bytes.len(), packet.tag.is_some()),
        flow: &flow,
        seen,
        station,
        probe,
        least,
        is_next: false,
    };
    let meta = || Meta {
        time_ns: packet.time_ns,
        original_length,
        interface: (slot, generation),
        link: link_type(packet.hardware),
        direction: packet.direction,
        checksum: packet.checksum,
        tag: packet.tag,
    };
    match thinner.decide(recorder.pace_mut(store), &candidate) {
        Decision::Keep(sample) => recorder.append_sample(store, &meta(), sample, packet.bytes),
        Decision::Thin => {
            recorder.thin(store, (slot, generation), packet.time_ns);
            if let Some(token) = probe {
                own_probes.held.hold(token, store, &meta(), packet.bytes);
            }
        }
    }
    // Only now: recording may commit, and the next engine would count the packet again.
    recorder.count_seen(store, (slot, generation), 1);
    if let Some(interface) = recorder.interfaces_mut().slot_mut(slot) {
        if packet.direction == Direction::Outbound {
            interface.packets_out += 1;
            interface.bytes_out += u64::from(original_length);
        } else {
            interface.packets_in += 1;
            interface.bytes_in += u64::from(original_length);
            if store != Store::Bulk && packet.direction != netsonde_core::wire::Direction::ToOther {
                count_listened(&mut interface.wire, seen.ip_protocol);
            }
        }
    }
    taken
}

/// Counts an ICMP, ICMPv6 or IGMP packet.
#[inline]
pub fn count_listened(counts: &mut [u64; 3], protocol: u8) {
    match protocol {
        ip_protocol::ICMP => counts[0] += 1,
        ip_protocol::ICMPV6 => counts[1] += 1,
        ip_protocol::IGMP => counts[2] += 1,
        _ => {}
    }
}
