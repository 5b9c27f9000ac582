//! PURE. TCP connections and questions to name servers, as the record shows them: packets in, one entry for each
//! connection and each question out. No packet is sent for it.
//!
//! A packet that a host carries on is seen on several interfaces. Its sightings are joined by time and place
//! ([`sightings`]), so that a retransmission counts once, and the round trip is known on each side of the host:
//! towards the server from the last sighting of the SYN to the first of its answer, towards the client from the last
//! sighting of that answer to the first of the acknowledgment.
//!
//! Only what a host would accept changes the fate of a connection (`connection`): an answer that acknowledges
//! another SYN, an RST out of the window, and an error that quotes another sequence number are counted, and no more.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the tracker: which packet is of which connection |
//! | [`sightings`] | places where packets are seen; transmissions of a packet |
//! | `connection` | state of one connection, and its fate |
//! | [`report`] | what is known of a connection in the end |
//! | [`names`] | questions to name servers |
//! | [`room`] | bounded tables, in which a flood evicts nothing but its own newest entries |

mod connection;
pub mod names;
pub mod report;
pub mod room;
pub mod sightings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::quality::RandomState;

use crate::wire::segment::{Segment, WireError};
use connection::{Connection, OPENING_NS};
use report::Report;
use room::{Key, Room};
use sightings::Place;

/// An end of a connection: an address and a port.
pub type End = (IpAddr, u16);

/// Connections of which both ends have accepted packets: those of a busy server in five minutes. Each takes less than a
/// kilobyte; with 60,000 of them, a full table of attempts and the report as JSON, the client took 146 MB. Those that have
/// ended make place, the oldest first.
pub const MAX_KNOWN: usize = 65_536;
/// Connections that are not, of this host and of others each: unanswered, refused, answered and not acknowledged. All
/// that a flood makes.
pub const MAX_UNPROVEN: usize = 24_576;
/// Of these, the places in which newcomers evict each other once the others are taken. A connection becomes known within
/// a round trip: at 20,000 SYNs a second a newcomer has 200 ms.
const NEWEST: usize = 4_096;
/// Hosts whose TTLs are remembered, to tell an RST of another sender. Later ones are not compared.
const MAX_HOSTS: usize = 8_192;
/// TTLs that are remembered of a host at a place: of each of several ways to it.
const MAX_TTLS: usize = 4;

/// Rooms of the table.
const KNOWN: usize = 0;
const OWN: usize = 1;
const OTHERS: usize = 2;

/// A packet of TCP, and where it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// Interface and direction.
    pub place: Place,
    /// Packets that it stands for: more than 1 if the store has a sample.
    pub stands_for: u64,
    /// The packet.
    pub segment: Segment<'a>,
}

/// TTLs that hosts were seen with in packets that they certainly sent.
#[derive(Debug, Default)]
struct Hosts {
    ttls: HashMap<(IpAddr, Place), Vec<u8>>,
}

impl Hosts {
    fn note(&mut self, host: IpAddr, place: Place, ttl: u8) {
        let is_new = !self.ttls.contains_key(&(host, place));
        if is_new && self.ttls.len() >= MAX_HOSTS {
            return;
        }
        let known = self.ttls.entry((host, place)).or_default();
        if !known.contains(&ttl) && known.len() < MAX_TTLS {
            known.push(ttl);
        }
    }

    /// Returns the TTLs of a host at a place; empty if none is known.
    fn of(&self, host: IpAddr, place: Place) -> &[u8] {
        self.ttls.get(&(host, place)).map_or(&[], Vec::as_slice)
    }
}

/// Joins packets to connections. Packets come in the order of time, or nearly.
pub struct Tracker {
    room: Room<Connection>,
    /// The newest connection of a pair of ends, by a keyed hash of both.
    by_ends: HashMap<u64, Key>,
    hasher: RandomState,
    hosts: Hosts,
    last_ns: u64,
    /// Packets of samples, which stand for others that were not recorded.
    of_samples: u64,
    is_data_thinned: bool,
}

impl Default for Tracker {
    fn default() -> Tracker {
        Tracker::with_limits(MAX_KNOWN, MAX_UNPROVEN)
    }
}

impl Tracker {
    /// Creates a tracker with other limits than [`MAX_KNOWN`] and [`MAX_UNPROVEN`].
    pub fn with_limits(known: usize, unproven: usize) -> Tracker {
        let newest = NEWEST.min(unproven / 2);
        Tracker {
            room: Room::new(&[(known, 0), (unproven, newest), (unproven, newest)]),
            by_ends: HashMap::new(),
            hasher: RandomState::default(),
            hosts: Hosts::default(),
            last_ns: 0,
            of_samples: 0,
            is_data_thinned: false,
        }
    }

    /// Says that the store of other segments has a sample only, so that the last number of a connection may not be known:
    /// an RST is then believed unless the connection goes on.
    pub fn data_is_thinned(&mut self) {
        self.is_data_thinned = true;
    }

    /// Connections that are remembered.
    pub fn len(&self) -> usize {
        self.room.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, a: End, b: End) -> u64 {
        self.hasher.hash_one((a.min(b), a.max(b)))
    }

    /// Returns the newest connection between two ends.
    fn newest(&self, a: End, b: End) -> Option<Key> {
        let key = *self.by_ends.get(&self.hash(a, b))?;
        let one = self.room.get(key)?;
        one.is_between(a, b).then_some(key)
    }

    /// Takes a packet.
    pub fn see(&mut self, seen: &Sighting<'_>) {
        let segment = &seen.segment;
        if !segment.is_tcp || segment.sequence().is_none() || segment.is_probe_along() {
            return;
        }
        self.last_ns = self.last_ns.max(seen.time_ns);
        self.of_samples += u64::from(seen.stands_for > 1);
        let (source, destination) = (segment.source, segment.destination);
        let key = self.newest(source, destination);
        let key = key.and_then(|key| self.fitting(key, seen));
        let key = key.unwrap_or_else(|| self.begin(seen));
        let Some(one) = self.room.get_mut(key) else {
            return;
        };
        let was_known = one.is_known();
        one.see(seen, &mut self.hosts);
        let (is_known, is_over) = (one.is_known(), one.is_over());
        if is_known && !was_known {
            self.room.move_to(key, KNOWN);
        }
        if is_known && is_over {
            self.room.may_go(key);
        }
    }

    /// Returns the connection that a packet between these ends is of: the newest one, or the one before it, if the SYN
    /// of the newest has no answer and the packet goes on with the former. `None` if a new one begins.
    fn fitting(&self, key: Key, seen: &Sighting<'_>) -> Option<Key> {
        let one = self.room.get(key)?;
        if one.is_begun_by(seen) {
            return None;
        }
        if one.is_answered() {
            return Some(key);
        }
        let former = one.former.filter(|former| {
            let former = self.room.get(*former);
            former.is_some_and(|former| !one.takes(seen) && former.goes_on_with(seen))
        });
        Some(former.unwrap_or(key))
    }

    fn begin(&mut self, seen: &Sighting<'_>) -> Key {
        let (source, destination) = (seen.segment.source, seen.segment.destination);
        let hash = self.hash(source, destination);
        let mut one = Connection::begin(seen, self.is_data_thinned);
        one.former = self.newest(source, destination);
        let is_own = seen.place.is_out() && one.client == source;
        let (key, evicted) = self.room.add(if is_own { OWN } else { OTHERS }, one);
        if let Some((evicted, gone)) = evicted {
            let of_gone = self.hash(gone.client, gone.server);
            if self.by_ends.get(&of_gone) == Some(&evicted) {
                self.by_ends.remove(&of_gone);
            }
        }
        self.by_ends.insert(hash, key);
        key
    }

    /// Takes an ICMP error, and the packet of TCP that it quotes.
    pub fn see_error(&mut self, time_ns: u64, error: &WireError, quoted: &Segment<'_>) {
        if !quoted.is_tcp {
            return;
        }
        self.last_ns = self.last_ns.max(time_ns);
        let key = self.newest(quoted.source, quoted.destination);
        if let Some(one) = key.and_then(|key| self.room.get_mut(key)) {
            one.see_error(time_ns, error, quoted);
        }
    }

    /// Returns what is known, the oldest connection first. `end_ns`: the time up to which packets were asked for; 0 for
    /// the time of the last one. A SYN less than a second before it may still be answered.
    pub fn done(self, end_ns: u64) -> Report {
        let end_ns = end_ns.max(self.last_ns);
        let evicted = self.room.evicted();
        let mut connections: Vec<_> = self.room.into_all().map(|one| one.done(end_ns)).collect();
        connections.sort_by_key(|one| (one.begin_ns, one.source, one.destination));
        Report {
            connections,
            evicted_known: evicted[KNOWN],
            evicted_unproven: evicted[OWN] + evicted[OTHERS],
            of_samples: self.of_samples,
            opening_ns: OPENING_NS,
        }
    }
}
