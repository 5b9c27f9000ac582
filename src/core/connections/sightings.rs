//! PURE. Places where packets are seen, and how sightings of one packet are told from another transmission of it.

use crate::wire::Direction;

/// Places of one connection and direction that are remembered: a bridge over a bond over its members, and as many on
/// the other side. What is seen elsewhere counts as another sighting.
pub const MAX_PLACES: usize = 8;
/// Transmissions of a packet whose times are remembered; Linux sends a SYN seven times. Later ones are counted.
pub const MAX_TRANSMISSIONS: usize = 8;
/// Most time in nanoseconds that a packet takes through this host. A SYN is sent again after a second (RFC 6298, section
/// 2.1).
const CROSSING_NS: u64 = 900_000_000;
/// Least time in nanoseconds between two transmissions at one place: a TCP waits for 200 ms at least.
const APART_NS: u64 = 10_000_000;

/// An interface and a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Number of the interface, which the caller chooses.
    pub interface: u16,
    /// Direction.
    pub direction: Direction,
}

impl Place {
    /// Returns whether this host sent it there.
    pub fn is_out(self) -> bool {
        self.direction == Direction::Outbound
    }
}

/// Sightings of one packet on its way through this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Time of the first sighting in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the last one.
    pub last_ns: u64,
    /// Time stamp that its sender put into it (RFC 7323), if it did.
    pub stamp: Option<u32>,
}

/// Last transmission that a place has shown.
#[derive(Clone, Copy, Debug)]
struct AtPlace {
    place: Place,
    number: u32,
    time_ns: u64,
}

/// Transmissions of a packet: a SYN, or the answer to it.
#[derive(Clone, Debug, Default)]
pub struct Transmissions {
    count: u32,
    crossings: Vec<Crossing>,
    places: Vec<AtPlace>,
}

impl Transmissions {
    /// Takes a sighting.
    pub fn see(&mut self, time_ns: u64, place: Place, stamp: Option<u32>) {
        let at = self.places.iter().position(|known| known.place == place);
        let known = at.map(|at| self.places[at]);
        let last = self.crossings.last().copied();
        let is_crossing = last.is_some_and(|last| {
            let is_near = time_ns.saturating_sub(last.first_ns) < CROSSING_NS;
            let is_other_stamp = last.stamp.is_some() && stamp.is_some() && last.stamp != stamp;
            let is_elsewhere = known.is_none_or(|known| known.number < self.count);
            let is_twice =
                known.is_some_and(|known| time_ns.saturating_sub(known.time_ns) < APART_NS);
            is_near && !is_other_stamp && (is_elsewhere || is_twice)
        });
        if is_crossing {
            if let Some(last) = self.crossings.last_mut() {
                last.last_ns = last.last_ns.max(time_ns);
            }
        } else {
            self.count = self.count.saturating_add(1);
            if self.crossings.len() >= MAX_TRANSMISSIONS {
                // The last one is that which is answered.
                self.crossings.pop();
            }
            self.crossings.push(Crossing {
                first_ns: time_ns,
                last_ns: time_ns,
                stamp,
            });
        }
        let here = AtPlace {
            place,
            number: self.count,
            time_ns,
        };
        match at {
            Some(at) => self.places[at] = here,
            None if self.places.len() < MAX_PLACES => self.places.push(here),
            None => {}
        }
    }

    /// Number of transmissions.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the transmissions whose times are known.
    pub fn crossings(&self) -> &[Crossing] {
        &self.crossings
    }

    /// Returns the first one.
    pub fn first(&self) -> Option<&Crossing> {
        self.crossings.first()
    }

    /// Returns the last one.
    pub fn last(&self) -> Option<&Crossing> {
        self.crossings.last()
    }

    /// Returns the places, in the order in which they showed it first.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.places.iter().map(|at| at.place)
    }

    /// Returns the transmission that an answer belongs to: the only one, or the one whose time stamp it echoes; `None`
    /// if that cannot be told (Karn's algorithm, RFC 6298, section 3).
    pub fn answered(&self, echoed: Option<u32>) -> Option<&Crossing> {
        if let [only] = &self.crossings[..] {
            return Some(only);
        }
        let echoed = echoed?;
        let mut of_stamp = self
            .crossings
            .iter()
            .filter(|one| one.stamp == Some(echoed));
        let found = of_stamp.next();
        found.filter(|_| of_stamp.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(interface: u16, direction: Direction) -> Place {
        Place {
            interface,
            direction,
        }
    }

    #[test]
    fn a_forwarded_packet_is_one_transmission() {
        let (entry, exit) = (at(1, Direction::ToUs), at(2, Direction::Outbound));
        let mut syns = Transmissions::default();
        for ms in [0, 1_000, 3_000] {
            syns.see(ms * MS, entry, None);
            syns.see(ms * MS + 5, exit, None);
        }
        assert_eq!(syns.count(), 3);
        assert_eq!(
            syns.first().map(|one| (one.first_ns, one.last_ns)),
            Some((0, 5))
        );
        assert_eq!(syns.answered(None), None);
        // One of them was not recorded at the exit.
        syns.see(7_000 * MS, entry, None);
        syns.see(15_000 * MS, entry, None);
        syns.see(15_000 * MS + 5, exit, None);
        assert_eq!(syns.count(), 5);
        assert_eq!(syns.last().unwrap().last_ns, 15_000 * MS + 5);
    }

    #[test]
    fn time_stamps_tell_transmissions_apart() {
        let place = at(1, Direction::Outbound);
        let mut syns = Transmissions::default();
        syns.see(0, place, Some(100));
        syns.see(200 * MS, place, Some(300));
        assert_eq!(syns.count(), 2);
        assert_eq!(syns.answered(Some(300)).unwrap().first_ns, 200 * MS);
        assert_eq!(syns.answered(Some(7)), None);
        for n in 0..100 {
            syns.see((n + 2) * 1_000 * MS, place, None);
        }
        assert_eq!(syns.count(), 102);
        assert_eq!(syns.crossings().len(), MAX_TRANSMISSIONS);
    }
}
