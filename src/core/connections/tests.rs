//! PURE. Connections packet by packet.

use std::net::IpAddr;

use proptest::prelude::*;

use super::report::{Conn, Fate, Role, Who};
use super::*;
use crate::wire::Direction;
use crate::wire::segment::tcp_flag;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const FIN: u8 = tcp_flag::FIN | tcp_flag::ACK;
const SYN: u8 = tcp_flag::SYN;
const ANSWER: u8 = tcp_flag::SYN | tcp_flag::ACK;
const ACK: u8 = tcp_flag::ACK;
const RST: u8 = tcp_flag::RST;
const RST_ACK: u8 = tcp_flag::RST | tcp_flag::ACK;

fn end(v6: bool, number: u8, port: u16) -> End {
    let address: IpAddr = match v6 {
        false => [10, 0, 0, number].into(),
        true => [0xfd00, 0, 0, 0, 0, 0, 0, number.into()].into(),
    };
    (address, port)
}

/// A segment to be made.
#[derive(Clone)]
struct Made {
    from: End,
    to: End,
    flags: u8,
    sequence: u32,
    acknowledgment: u32,
    payload: Vec<u8>,
    ttl: u8,
    stamps: Option<(u32, u32)>,
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend_from_slice(&self.from.1.to_be_bytes());
        tcp.extend_from_slice(&self.to.1.to_be_bytes());
        tcp.extend_from_slice(&self.sequence.to_be_bytes());
        tcp.extend_from_slice(&self.acknowledgment.to_be_bytes());
        let offset = if self.stamps.is_some() { 0x80 } else { 0x50 };
        tcp.extend_from_slice(&[offset, self.flags, 0x10, 0, 0, 0, 0, 0]);
        if let Some((value, echo)) = self.stamps {
            tcp.extend_from_slice(&[1, 1, 8, 10]);
            tcp.extend_from_slice(&value.to_be_bytes());
            tcp.extend_from_slice(&echo.to_be_bytes());
        }
        tcp.extend_from_slice(&self.payload);
        let mut packet = match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = (20 + tcp.len()) as u16;
                let mut packet = vec![0x45, 0, (length >> 8) as u8, length as u8];
                packet.extend_from_slice(&[0, 0, 0x40, 0, self.ttl, 6, 0, 0]);
                packet.extend_from_slice(&from.octets());
                packet.extend_from_slice(&to.octets());
                packet
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut packet = vec![0x60, 0, 0, 0, 0, tcp.len() as u8, 6, self.ttl];
                packet.extend_from_slice(&from.octets());
                packet.extend_from_slice(&to.octets());
                packet
            }
            _ => unreachable!(),
        };
        packet.extend_from_slice(&tcp);
        packet
    }
}

/// A client and a server, and a tracker between them.
struct Scene {
    tracker: Tracker,
    client: End,
    server: End,
    at_ns: u64,
    directions: (Direction, Direction),
    flooded: u32,
}

/// Initial sequence numbers, near the end of the numbers.
const C: u32 = u32::MAX - 2;
const D: u32 = 7_000;

impl Scene {
    fn new() -> Scene {
        Scene {
            tracker: Tracker::default(),
            client: end(false, 1, 40_000),
            server: end(false, 2, 80),
            at_ns: 100 * S,
            directions: (Direction::Outbound, Direction::ToUs),
            flooded: 0,
        }
    }

    fn made(&self, is_client: bool, flags: u8, sequence: u32, acknowledgment: u32) -> Made {
        let (from, to) = match is_client {
            true => (self.client, self.server),
            false => (self.server, self.client),
        };
        Made {
            from,
            to,
            flags,
            sequence,
            acknowledgment,
            payload: Vec::new(),
            ttl: 64,
            stamps: None,
        }
    }

    fn see_at(&mut self, place: Place, made: &Made) {
        let bytes = made.bytes();
        self.tracker.see(&Sighting {
            time_ns: self.at_ns,
            place,
            stands_for: 1,
            segment: Segment::read(&bytes).unwrap(),
        });
    }

    fn see(&mut self, made: &Made) {
        let direction = match made.from == self.client {
            true => self.directions.0,
            false => self.directions.1,
        };
        let place = Place {
            interface: 1,
            direction,
        };
        self.see_at(place, made);
        self.at_ns += MS;
    }

    fn client(&mut self, flags: u8, sequence: u32, acknowledgment: u32, payload: &[u8]) {
        let mut made = self.made(true, flags, C.wrapping_add(sequence), D + acknowledgment);
        made.payload = payload.to_vec();
        self.see(&made);
    }

    fn server(&mut self, flags: u8, sequence: u32, acknowledgment: u32, payload: &[u8]) {
        let mut made = self.made(false, flags, D + sequence, C.wrapping_add(acknowledgment));
        made.payload = payload.to_vec();
        self.see(&made);
    }

    fn open(&mut self) {
        self.client(SYN, 0, 0, b"");
        self.at_ns += 9 * MS;
        self.server(ANSWER, 0, 1, b"");
        self.client(ACK, 1, 1, b"");
    }

    fn done(self) -> Vec<Conn> {
        self.tracker.done(self.at_ns).connections
    }

    fn only(self) -> Conn {
        let mut all = self.done();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }
}

fn fate_of(steps: impl FnOnce(&mut Scene)) -> Conn {
    let mut scene = Scene::new();
    steps(&mut scene);
    scene.only()
}

#[test]
fn each_fate_has_its_cause() {
    let open = fate_of(Scene::open);
    assert_eq!(
        (open.fate, open.role),
        (Fate::Established, Some(Role::Client))
    );
    assert_eq!((open.server_ns, open.client_ns), (Some(10 * MS), Some(MS)));
    assert_eq!((open.syns, open.connect_ns), (1, Some(10 * MS)));
    let closed = fate_of(|scene| {
        scene.open();
        scene.client(ACK, 1, 1, b"question");
        scene.at_ns += 4 * MS;
        scene.server(ACK, 1, 9, b"reply");
        scene.server(FIN, 6, 9, b"");
        scene.client(FIN, 9, 7, b"");
        scene.server(ACK, 7, 10, b"");
    });
    assert_eq!(closed.fate, Fate::Closed(Who::Server));
    assert_eq!(
        (closed.sent_bytes, closed.received_bytes),
        (Some(8), Some(5))
    );
    assert_eq!(closed.first_byte_ns, Some(5 * MS));
    let half = fate_of(|scene| {
        scene.open();
        scene.client(FIN, 1, 1, b"");
        scene.server(ACK, 1, 2, b"more");
    });
    assert_eq!(half.fate, Fate::HalfClosed(Who::Client));
    for is_client in [false, true] {
        let reset = fate_of(|scene| {
            scene.open();
            match is_client {
                true => scene.client(RST_ACK, 1, 1, b""),
                false => scene.server(RST, 1, 1, b""),
            }
        });
        let who = if is_client { Who::Client } else { Who::Server };
        assert_eq!(reset.fate, Fate::Reset(who));
        assert_eq!(reset.ignored, 0);
    }
    let refused = fate_of(|scene| {
        scene.client(SYN, 0, 0, b"");
        let made = Made {
            acknowledgment: C.wrapping_add(1),
            ..scene.made(false, RST_ACK, 0, 0)
        };
        scene.see(&made);
    });
    assert_eq!(refused.fate, Fate::Refused);
    assert!(refused.reset.unwrap().other_ttls.is_empty());
    let unanswered = fate_of(|scene| {
        for _ in 0..4 {
            scene.client(SYN, 0, 0, b"");
            scene.at_ns += S;
        }
    });
    assert_eq!((unanswered.fate, unanswered.syns), (Fate::Unanswered, 4));
    assert_eq!(unanswered.syn_times_ns.len(), 4);
    let opening = fate_of(|scene| scene.client(SYN, 0, 0, b""));
    assert_eq!(opening.fate, Fate::Opening);
    let answered = fate_of(|scene| {
        scene.client(SYN, 0, 0, b"");
        for _ in 0..3 {
            scene.server(ANSWER, 0, 1, b"");
            scene.at_ns += S;
        }
    });
    assert_eq!((answered.fate, answered.answers), (Fate::Answered, 3));
    assert!(answered.is_failed());
}

#[test]
fn errors_refuse_what_they_quote() {
    let mut scene = Scene::new();
    scene.client(SYN, 0, 0, b"");
    scene.client(SYN, 0, 0, b"");
    let router = WireError::new([10, 0, 0, 9].into(), 3, 13);
    let quote = |scene: &Scene, sequence: u32| scene.made(true, SYN, sequence, 0).bytes();
    for (sequence, times) in [(C.wrapping_add(5), 3), (C, 1)] {
        let quoted = quote(&scene, sequence);
        for _ in 0..times {
            let quoted = Segment::read(&quoted[..28]).unwrap();
            scene.tracker.see_error(scene.at_ns, &router, &quoted);
        }
    }
    // It is too big: no refusal.
    let quoted = quote(&scene, C);
    let big = WireError::new([10, 0, 0, 8].into(), 3, 4);
    let quoted = Segment::read(&quoted).unwrap();
    scene.tracker.see_error(scene.at_ns, &big, &quoted);
    let one = scene.only();
    assert_eq!((one.fate, one.ignored), (Fate::Refused, 3));
    assert_eq!(one.refusal.unwrap().error, router);
    assert_eq!(one.errors.len(), 2);
    let answered = fate_of(|scene| {
        scene.client(SYN, 0, 0, b"");
        let quoted = quote(scene, C);
        let quoted = Segment::read(&quoted).unwrap();
        scene.tracker.see_error(scene.at_ns, &router, &quoted);
        scene.server(ANSWER, 0, 1, b"");
        scene.client(ACK, 1, 1, b"");
    });
    assert_eq!(
        (answered.fate, answered.errors.len()),
        (Fate::Established, 1)
    );
}

#[test]
fn forged_packets_change_nothing() {
    // An RST that does not acknowledge the SYN.
    let syn = fate_of(|scene| {
        scene.client(SYN, 0, 0, b"");
        scene.server(RST_ACK, 0, 77, b"");
        scene.server(RST, 0, 1, b"");
        scene.server(ANSWER, 0, 9, b"");
        scene.at_ns += 2 * S;
    });
    assert_eq!((syn.fate, syn.ignored), (Fate::Unanswered, 3));
    let open = fate_of(|scene| {
        scene.open();
        for far in [70_000, 1 << 20, 1 << 30, 3 << 30] {
            scene.server(RST, far, 1, b"");
            scene.client(RST, far, 1, b"");
            scene.server(FIN, far, 1, b"");
        }
    });
    assert_eq!((open.fate, open.ignored), (Fate::Established, 12));
    // Within the window, but not exact: the receiver asks, and the connection goes on (RFC 5961, section 3.2).
    let challenged = fate_of(|scene| {
        scene.open();
        scene.server(RST, 900, 1, b"");
        scene.client(ACK, 1, 1, b"");
        scene.at_ns += 100 * MS;
        scene.server(ACK, 1, 1, b"more");
    });
    assert_eq!(
        (challenged.fate, challenged.ignored),
        (Fate::Established, 1)
    );
    // Nothing goes on behind it.
    let reset = fate_of(|scene| {
        scene.open();
        scene.server(RST, 900, 1, b"");
    });
    assert_eq!(reset.fate, Fate::Reset(Who::Server));
    // A SYN with another number is no new connection while the old one goes on.
    let mut scene = Scene::new();
    scene.open();
    let forged = scene.made(true, SYN, 12_345, 0);
    scene.see(&forged);
    scene.client(ACK, 1, 1, b"data");
    scene.server(ACK, 1, 5, b"data");
    scene.client(FIN, 5, 5, b"");
    scene.server(FIN, 5, 6, b"");
    scene.at_ns += 2 * S;
    let fates: Vec<Fate> = scene.done().iter().map(|one| one.fate).collect();
    assert_eq!(fates, [Fate::Closed(Who::Client), Fate::Unanswered]);
}

#[test]
fn an_rst_of_another_host_is_told_by_its_ttl() {
    for (ttl, expected) in [(64, vec![]), (61, vec![64])] {
        let mut scene = Scene::new();
        scene.open();
        scene.client(FIN, 1, 1, b"");
        scene.server(FIN, 1, 2, b"");
        scene.client.1 += 1;
        scene.client(SYN, 0, 0, b"");
        let made = Made {
            acknowledgment: C.wrapping_add(1),
            ttl,
            ..scene.made(false, RST_ACK, 0, 0)
        };
        scene.see(&made);
        let all = scene.done();
        assert_eq!(all[1].fate, Fate::Refused);
        let reset = all[1].reset.as_ref().unwrap();
        assert_eq!((reset.ttl, &reset.other_ttls), (ttl, &expected));
    }
}

#[test]
fn ports_are_used_again() {
    let mut scene = Scene::new();
    scene.open();
    scene.client(FIN, 1, 1, b"");
    scene.server(FIN, 1, 2, b"");
    let again = |scene: &mut Scene, sequence: u32, is_answered: bool| {
        let made = scene.made(true, SYN, sequence, 0);
        scene.see(&made);
        if is_answered {
            let made = scene.made(false, ANSWER, 90_000, sequence + 1);
            scene.see(&made);
            let made = scene.made(true, ACK, sequence + 1, 90_001);
            scene.see(&made);
        }
        scene.at_ns += 2 * S;
    };
    again(&mut scene, 500_000, true);
    again(&mut scene, 900_000, false);
    // Its last packets, late.
    scene.server(FIN, 1, 2, b"");
    let fates: Vec<Fate> = scene.done().iter().map(|one| one.fate).collect();
    assert_eq!(
        fates,
        [
            Fate::Closed(Who::Client),
            Fate::Established,
            Fate::Unanswered
        ]
    );
}

#[test]
fn both_may_begin_at_once() {
    let one = fate_of(|scene| {
        scene.client(SYN, 0, 0, b"");
        let made = scene.made(false, SYN, D, 0);
        scene.see(&made);
        scene.client(ANSWER, 0, 1, b"");
        scene.server(ANSWER, 0, 1, b"");
        scene.client(ACK, 1, 1, b"data");
    });
    assert_eq!(one.fate, Fate::Established);
    assert!(one.is_simultaneous);
}

#[test]
fn what_began_before_the_record_is_no_whole_connection() {
    let one = fate_of(|scene| {
        scene.client(ACK, 1_000, 500, b"data");
        scene.server(ACK, 500, 1_004, b"data");
        scene.server(FIN, 504, 1_004, b"");
    });
    assert_eq!(one.fate, Fate::HalfClosed(Who::Server));
    assert!(!one.is_begin_recorded && !one.is_directed);
    assert_eq!(
        (one.server_ns, one.sent_bytes, one.first_byte_ns),
        (None, None, None)
    );
    // The answer took another way.
    let one_way = fate_of(|scene| {
        scene.client(SYN, 0, 0, b"");
        scene.client(ACK, 1, 1, b"data");
        scene.at_ns += 5 * S;
    });
    assert_eq!((one_way.fate, one_way.answers), (Fate::Established, 0));
    // Only the answer to its SYN is recorded.
    let answer = fate_of(|scene| {
        scene.server(ANSWER, 0, 1, b"");
        scene.client(ACK, 1, 1, b"");
    });
    assert_eq!(answer.fate, Fate::Established);
    assert!(answer.is_directed && !answer.is_begin_recorded);
    assert_eq!(answer.source.1, 40_000);
    // Numbers whose data is not recorded are believed, unless the connection goes on.
    for goes_on in [false, true] {
        let one = fate_of(|scene| {
            scene.client(SYN, 0, 0, b"");
            scene.server(ANSWER, 0, 1, b"");
            scene.client(ACK, 1, 1, b"GET / HTTP/1.1");
            scene.at_ns += 60 * S;
            scene.server(RST, 5_000_000, 1, b"");
            if goes_on {
                scene.at_ns += S;
                scene.server(FIN, 4_000_000, 300, b"");
            }
        });
        assert_eq!(one.fate == Fate::Reset(Who::Server), !goes_on, "{one:#?}");
    }
}

#[test]
fn a_forwarded_connection_has_a_round_trip_on_each_side() {
    for v6 in [false, true] {
        let mut scene = Scene::new();
        (scene.client, scene.server) = (end(v6, 1, 40_000), end(v6, 2, 80));
        let place = |interface, direction| Place {
            interface,
            direction,
        };
        let (entry, exit) = (place(1, Direction::ToUs), place(2, Direction::Outbound));
        let (back, out) = (place(2, Direction::ToUs), place(1, Direction::Outbound));
        let cross = |scene: &mut Scene, made: Made, first: Place, second: Place, after: u64| {
            scene.at_ns += after;
            scene.see_at(first, &made);
            scene.at_ns += MS / 10;
            let made = Made {
                ttl: made.ttl - 1,
                ..made
            };
            scene.see_at(second, &made);
        };
        for stamp in [1, 1_001] {
            let syn = Made {
                stamps: Some((stamp, 0)),
                ..scene.made(true, SYN, C, 0)
            };
            cross(&mut scene, syn, entry, exit, S);
        }
        let answer = Made {
            stamps: Some((77, 1_001)),
            ..scene.made(false, ANSWER, D, C.wrapping_add(1))
        };
        cross(&mut scene, answer, back, out, 20 * MS);
        let ack = scene.made(true, ACK, C.wrapping_add(1), D + 1);
        cross(&mut scene, ack, entry, exit, 3 * MS);
        // An RST from before this host: its TTL is not that of the server.
        let forged = Made {
            ttl: 200,
            ..scene.made(false, RST, D + 1, 0)
        };
        cross(&mut scene, forged, back, out, 3 * MS);
        let one = scene.only();
        assert_eq!((one.role, one.syns), (Some(Role::Forwards), 2));
        assert_eq!(
            (one.server_ns, one.client_ns),
            (Some(20 * MS), Some(3 * MS))
        );
        assert_eq!(one.connect_ns, Some(S + 20 * MS + 3 * MS / 10));
        assert_eq!(one.interfaces, [1, 2]);
        assert_eq!(one.fate, Fate::Reset(Who::Server));
        assert_eq!(one.reset.unwrap().other_ttls, [64]);
    }
}

#[test]
fn a_flood_evicts_no_known_connection() {
    let mut scene = Scene::new();
    scene.tracker = Tracker::with_limits(2_000, 8_192);
    let known: Vec<u16> = (20_000..21_000).collect();
    for port in &known {
        scene.client.1 = *port;
        scene.open();
    }
    let flood = |scene: &mut Scene, count: u32, has_answer: bool| {
        let (client, server) = (scene.client, scene.server);
        for _ in 0..count {
            let [_, a, b, c] = scene.flooded.to_be_bytes();
            scene.flooded += 1;
            scene.client = ([198, a, b, c].into(), 1_024);
            scene.directions = (Direction::ToUs, Direction::Outbound);
            scene.client(SYN, 0, 0, b"");
            if has_answer {
                scene.server(ANSWER, 0, 1, b"");
            }
            assert!(scene.tracker.len() <= 2_000 + 2 * 8_192);
        }
        (scene.client, scene.server) = (client, server);
        scene.directions = (Direction::Outbound, Direction::ToUs);
    };
    flood(&mut scene, 200_000, false);
    flood(&mut scene, 100_000, true);
    // A connection within the flood, and an attempt of this host.
    scene.client.1 = 30_000;
    scene.client(SYN, 0, 0, b"");
    flood(&mut scene, 3_000, false);
    scene.server(ANSWER, 0, 1, b"");
    scene.client(ACK, 1, 1, b"");
    scene.client.1 = 30_001;
    scene.client(SYN, 0, 0, b"");
    flood(&mut scene, 50_000, false);
    // They are closed, and their numbers are still known.
    for port in &known {
        scene.client.1 = *port;
        scene.client(FIN, 1, 1, b"");
        scene.server(FIN, 1, 2, b"");
    }
    let report = scene.tracker.done(scene.at_ns);
    let own = |one: &&Conn| one.source.0 == end(false, 1, 0).0;
    let closed = report.connections.iter().filter(own);
    let closed =
        closed.filter(|one| one.fate == Fate::Closed(Who::Client) && one.server_ns.is_some());
    assert_eq!(closed.count(), 1_000);
    let later = |port: u16| {
        report
            .connections
            .iter()
            .find(|one| one.source == end(false, 1, port))
    };
    assert_eq!(later(30_000).unwrap().fate, Fate::Established);
    assert_eq!(later(30_001).unwrap().fate, Fate::Unanswered);
    assert_eq!(report.evicted_known, 0);
    let kept = report.connections.len() as u64;
    assert_eq!(kept + report.evicted_unproven, 1_002 + 353_000);
}

proptest! {
    /// Whatever comes in whatever order: nothing panics, the limits hold, and every connection is there or counted.
    #[test]
    fn any_packets_are_taken(
        packets in prop::collection::vec(
            (0u8..3, 0u8..4, any::<u8>(), 0u32..4, any::<bool>(), 0usize..6, 0u64..3_000, any::<u32>()),
            0..300,
        )
    ) {
        let mut scene = Scene::new();
        scene.tracker = Tracker::with_limits(3, 8);
        for (host, port, flags, number, is_client, length, ms, wild) in packets {
            scene.client = end(host == 2, host, 40_000 + u16::from(port));
            scene.server = end(host == 2, 9, 80);
            let base = if flags & 0x40 != 0 { wild } else { number };
            let mut made = scene.made(is_client, flags & 0x17, base, number);
            made.payload = vec![0; length];
            made.stamps = (flags & 0x80 != 0).then_some((wild, number));
            scene.see(&made);
            scene.at_ns += ms * MS;
            if flags & 0x20 != 0 {
                let bytes = made.bytes();
                let error = WireError::new([10, 0, 0, 9].into(), 3, (wild % 16) as u8);
                let quoted = Segment::read(&bytes).unwrap();
                scene.tracker.see_error(scene.at_ns, &error, &quoted);
            }
            prop_assert!(scene.tracker.len() <= 3 + 2 * 8);
        }
        let all = scene.done();
        prop_assert!(all.is_sorted_by_key(|one| one.begin_ns));
    }
}

/// The limits of the tables are a limit of memory.
#[test]
fn a_connection_takes_less_than_a_kilobyte() {
    assert!(
        size_of::<Connection>() <= 640,
        "{}",
        size_of::<Connection>()
    );
}
