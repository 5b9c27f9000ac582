//! PURE. State of one connection: what each end has sent and acknowledged, and what became of it.

use super::report::{Conn, Fate, Reset, Role, SeenError, Who};
use super::room::Key;
use super::sightings::{Crossing, MAX_PLACES, Place, Transmissions};
use super::{End, Hosts, Sighting};
use crate::recorder::class::is_opening;
use crate::wire::Direction::{Outbound, ToOther, Unknown};
use crate::wire::segment::{Segment, WireError, tcp_flag};

/// Time in nanoseconds after which a SYN without an answer is unanswered: a TCP sends it again after a second (RFC 6298,
/// section 2.1). Before, it is merely under way.
pub const OPENING_NS: u64 = 1_000_000_000;
/// Errors of a connection that are kept.
const MAX_ERRORS: usize = 4;
/// Time in nanoseconds after which a sender that was reset, or has reset, still sends: its packets were under way.
const UNDER_WAY_NS: u64 = 10_000_000;
/// The same for the other end, whose packets take a round trip.
const ROUND_TRIP_NS: u64 = 1_000_000_000;
/// Time in nanoseconds within which two SYNs that cross are a simultaneous opening (RFC 9293, section 3.5).
const CROSSED_NS: u64 = 1_000_000_000;
/// Window in bytes that a host has at least while its own is not known.
const LEAST_WINDOW: u32 = 65_535;
/// Largest shift of a window (RFC 7323, section 2.3).
const MAX_SCALE: u8 = 14;

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// What one end has sent.
#[derive(Clone, Debug, Default)]
struct Half {
    /// Sequence number of its SYN.
    first: Option<u32>,
    /// Sequence number behind everything that it was seen to send.
    next: Option<u32>,
    /// Highest acknowledgment that it has sent.
    acked: Option<u32>,
    window: u32,
    scale: Option<u8>,
    fin_ns: Option<u64>,
    /// Number behind its FIN.
    fin_end: Option<u32>,
    /// Sightings of the first byte of its data.
    first_byte: Option<Crossing>,
    /// Whether it acknowledged the other end's SYN.
    has_acked: bool,
    /// Whether it sent a segment that is recorded in no store but `bulk`: then others are, too.
    has_plain: bool,
    /// Places that showed its packets.
    places: Vec<Place>,
}

/// Returns whether `a` is at or behind `b` (RFC 9293, section 3.4).
fn reaches(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) < 1 << 31
}

fn later(known: &mut Option<u32>, new: u32) {
    if known.is_none_or(|known| reaches(new, known)) {
        *known = Some(new);
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub client: End,
    pub server: End,
    /// The connection of the same ends before it.
    pub former: Option<Key>,
    begin_ns: u64,
    end_ns: u64,
    halves: [Half; 2],
    syns: Transmissions,
    answers: Transmissions,
    /// Time stamp that the last answer echoed.
    echoed: Option<u32>,
    /// Whether it is known which end began.
    is_directed: bool,
    is_simultaneous: bool,
    /// Sightings of the client's acknowledgment, if it carried no data.
    acknowledged: Option<Crossing>,
    /// An RST instead of an answer, or behind it.
    reset: Option<Reset>,
    /// Whether the RST has the number that its receiver expects; else it is dismissed if the connection goes on.
    is_reset_certain: bool,
    is_refused: bool,
    errors: Vec<SeenError>,
    more_errors: u32,
    ignored: u32,
    is_sample: bool,
    /// Whether its data may be recorded in part only.
    is_data_thinned: bool,
}

impl Connection {
    /// Begins with its first packet that is in the record. `is_data_thinned`: of those with data only some may be.
    pub fn begin(seen: &Sighting<'_>, is_data_thinned: bool) -> Connection {
        let segment = &seen.segment;
        let (flags, source, destination) = (segment.flags(), segment.source, segment.destination);
        let is_syn = flags & tcp_flag::SYN != 0;
        let is_from_client = match (is_syn, flags & tcp_flag::ACK != 0) {
            (true, is_answer) => !is_answer,
            // A service has the lower port, as a rule.
            (false, _) => source.1 >= destination.1,
        };
        let (client, server) = match is_from_client {
            true => (source, destination),
            false => (destination, source),
        };
        Connection {
            client,
            server,
            former: None,
            begin_ns: seen.time_ns,
            end_ns: seen.time_ns,
            halves: [Half::default(), Half::default()],
            syns: Transmissions::default(),
            answers: Transmissions::default(),
            echoed: None,
            is_directed: is_syn,
            is_simultaneous: false,
            acknowledged: None,
            reset: None,
            is_reset_certain: false,
            is_refused: false,
            errors: Vec::new(),
            more_errors: 0,
            ignored: 0,
            is_sample: false,
            is_data_thinned,
        }
    }

    pub fn is_between(&self, a: End, b: End) -> bool {
        (self.client, self.server) == (a, b) || (self.client, self.server) == (b, a)
    }

    /// Returns whether both ends have accepted packets of the other.
    pub fn is_known(&self) -> bool {
        self.halves[CLIENT].has_acked && self.halves[SERVER].has_acked
    }

    /// Returns whether its SYN has an answer, or it was begun before the record.
    pub fn is_answered(&self) -> bool {
        self.syns.count() == 0
            || self.answers.count() > 0
            || self.halves[CLIENT].has_acked
            || self.reset.is_some()
    }

    /// Returns whether nothing more is expected of it.
    pub fn is_over(&self) -> bool {
        self.is_reset() || self.halves.iter().all(|half| half.fin_ns.is_some())
    }

    fn is_reset(&self) -> bool {
        self.reset.is_some()
    }

    fn side(&self, segment: &Segment<'_>) -> usize {
        match segment.source == self.client {
            true => CLIENT,
            false => SERVER,
        }
    }

    /// Returns whether a packet between its ends begins another connection.
    pub fn is_begun_by(&self, seen: &Sighting<'_>) -> bool {
        let segment = &seen.segment;
        let flags = segment.flags();
        let (Some(sequence), true) = (segment.sequence(), flags & tcp_flag::SYN != 0) else {
            return false;
        };
        let side = self.side(segment);
        let half = &self.halves[side];
        if flags & tcp_flag::ACK != 0 {
            // An answer whose SYN is not recorded, behind the end of another connection.
            let acknowledged = segment
                .acknowledgment()
                .map(|number| number.wrapping_sub(1));
            let client = self.halves[1 - side].first;
            let is_other = client.is_some() && acknowledged.is_some() && client != acknowledged;
            return is_other && self.is_over() && half.first.is_some_and(|first| first != sequence);
        }
        match half.first {
            Some(first) => first != sequence,
            // The other end's SYN.
            None => {
                let is_crossed = self.answers.count() == 0
                    && self.syns.count() > 0
                    && !self.is_over()
                    && seen.time_ns.saturating_sub(self.begin_ns) < CROSSED_NS;
                !is_crossed
            }
        }
    }

    /// Returns whether a packet that is no SYN may be one of this connection, whose SYN has no answer.
    pub fn takes(&self, seen: &Sighting<'_>) -> bool {
        let segment = &seen.segment;
        let side = self.side(segment);
        let is_by_ack = |number: u32| {
            let first = self.halves[1 - side].first;
            first.is_some_and(|first| number == first.wrapping_add(1))
        };
        let has_ack = segment.flags() & tcp_flag::ACK != 0;
        let of_client = side == CLIENT
            && self.halves[CLIENT].first.is_some_and(|first| {
                segment
                    .sequence()
                    .is_some_and(|number| number.wrapping_sub(first) <= 1)
            });
        of_client || has_ack && segment.acknowledgment().is_some_and(is_by_ack)
    }

    /// Returns whether a packet goes on where this connection was.
    pub fn goes_on_with(&self, seen: &Sighting<'_>) -> bool {
        let side = self.side(&seen.segment);
        let sequence = seen.segment.sequence();
        sequence.is_some_and(|sequence| self.is_acceptable(side, sequence))
    }

    /// Takes a packet.
    pub fn see(&mut self, seen: &Sighting<'_>, hosts: &mut Hosts) {
        let segment = &seen.segment;
        let (side, flags) = (self.side(segment), segment.flags());
        let Some(sequence) = segment.sequence() else {
            return;
        };
        self.is_sample |= seen.stands_for > 1;
        let places = &mut self.halves[side].places;
        if !places.contains(&seen.place) && places.len() < MAX_PLACES {
            places.push(seen.place);
        }
        let is_taken = match flags & (tcp_flag::SYN | tcp_flag::RST) {
            tcp_flag::SYN if flags & tcp_flag::ACK == 0 => self.see_syn(seen, side, sequence),
            tcp_flag::SYN => self.see_answer(seen, side, sequence, hosts),
            0 => self.see_other(seen, side, sequence, hosts),
            _ => self.see_reset(seen, side, sequence, hosts),
        };
        if is_taken {
            self.end_ns = self.end_ns.max(seen.time_ns);
        } else {
            self.ignored = self.ignored.saturating_add(1);
        }
    }

    fn see_syn(&mut self, seen: &Sighting<'_>, side: usize, sequence: u32) -> bool {
        let (scale, stamp) = stamps(&seen.segment);
        let half = &mut self.halves[side];
        half.first = Some(sequence);
        half.scale = scale;
        later(&mut half.next, sequence.wrapping_add(1));
        if side == CLIENT {
            self.syns
                .see(seen.time_ns, seen.place, stamp.map(|of| of.0));
        } else {
            self.is_simultaneous = true;
        }
        true
    }

    fn see_answer(
        &mut self,
        seen: &Sighting<'_>,
        side: usize,
        sequence: u32,
        hosts: &mut Hosts,
    ) -> bool {
        let segment = &seen.segment;
        let Some(acknowledged) = segment.acknowledgment() else {
            return false;
        };
        let other = &mut self.halves[1 - side];
        match other.first {
            Some(first) if first.wrapping_add(1) != acknowledged => return false,
            Some(_) => {}
            None => {
                other.first = Some(acknowledged.wrapping_sub(1));
                later(&mut other.next, acknowledged);
            }
        }
        let is_established = self.is_known();
        let half = &mut self.halves[side];
        if is_established && half.first.is_some_and(|first| first != sequence) {
            return false;
        }
        let (scale, stamp) = stamps(segment);
        half.first = Some(sequence);
        half.scale = scale;
        half.has_acked = true;
        later(&mut half.next, sequence.wrapping_add(1));
        later(&mut half.acked, acknowledged);
        half.window = segment.window().unwrap_or(0).into();
        if side == SERVER || !self.is_simultaneous {
            self.answers
                .see(seen.time_ns, seen.place, stamp.map(|of| of.0));
            self.echoed = stamp.map(|of| of.1);
        }
        hosts.note(segment.source.0, seen.place, segment.ttl);
        true
    }

    /// Returns how far behind the last acknowledgment of its receiver a number may be.
    fn window(&self, receiver: usize) -> u32 {
        let half = &self.halves[receiver];
        let has_plain = self.halves.iter().any(|half| half.has_plain);
        let is_whole = has_plain && !self.is_sample && !self.is_data_thinned;
        if !is_whole {
            // Acknowledgments are not recorded, or only some.
            return (1 << 31) - 1;
        }
        let shift = match self.halves.iter().all(|half| half.scale.is_some()) {
            true => half.scale.unwrap_or(0).min(MAX_SCALE),
            // Both SYNs have to say it; if one is not recorded, it may be the largest.
            false if self.halves.iter().all(|half| half.first.is_some()) => 0,
            false => MAX_SCALE,
        };
        (half.window << shift).max(LEAST_WINDOW)
    }

    /// Returns whether the receiver of a segment with this number would look at it.
    fn is_acceptable(&self, side: usize, sequence: u32) -> bool {
        // Of a receiver whose packets take another way nothing is known.
        let Some(expected) = self.halves[1 - side].acked else {
            return true;
        };
        // One that was sent again is before it.
        let window = self.window(1 - side);
        sequence.wrapping_sub(expected) <= window || expected.wrapping_sub(sequence) <= window
    }

    fn see_other(
        &mut self,
        seen: &Sighting<'_>,
        side: usize,
        sequence: u32,
        hosts: &mut Hosts,
    ) -> bool {
        let segment = &seen.segment;
        let flags = segment.flags();
        if !self.is_acceptable(side, sequence) {
            return false;
        }
        let length = segment.payload_length() as u32;
        let has_fin = flags & tcp_flag::FIN != 0;
        self.go_on(seen, side, length > 0 || has_fin);
        let acknowledged = segment
            .acknowledgment()
            .filter(|_| flags & tcp_flag::ACK != 0);
        let has_syns = self.halves.iter().all(|half| half.first.is_some());
        if let Some(acknowledged) = acknowledged {
            let of_other = self.halves[1 - side].first;
            let is_first = of_other.is_some_and(|first| first.wrapping_add(1) == acknowledged);
            let is_possible =
                of_other.is_none_or(|first| reaches(acknowledged, first) && acknowledged != first);
            if !is_possible {
                return false;
            }
            let half = &mut self.halves[side];
            half.has_acked = true;
            later(&mut half.acked, acknowledged);
            half.window = segment.window().unwrap_or(0).into();
            let is_whole_ack = side == CLIENT && is_first && has_syns && length == 0 && !has_fin;
            let begin = half.first.map(|first| first.wrapping_add(1));
            if is_whole_ack && begin == Some(sequence) {
                cross(&mut self.acknowledged, seen.time_ns);
            }
        }
        let half = &mut self.halves[side];
        let payload = segment.payload();
        half.has_plain |= !has_fin && (length == 0 || payload.len() >= 4 && !is_opening(payload));
        let begin = half.first.map(|first| first.wrapping_add(1));
        if length > 0 && begin == Some(sequence) {
            cross(&mut half.first_byte, seen.time_ns);
        }
        let end = sequence.wrapping_add(length);
        if has_fin {
            half.fin_ns.get_or_insert(seen.time_ns);
            half.fin_end.get_or_insert(end.wrapping_add(1));
        }
        later(&mut half.next, end.wrapping_add(has_fin.into()));
        if has_syns {
            hosts.note(segment.source.0, seen.place, segment.ttl);
        }
        true
    }

    /// Dismisses an RST that its receiver did not accept: the connection goes on.
    fn go_on(&mut self, seen: &Sighting<'_>, side: usize, is_progress: bool) {
        let Some(reset) = &self.reset else { return };
        let after_ns = seen.time_ns.saturating_sub(reset.time_ns);
        let by = match reset.by {
            Who::Client => CLIENT,
            _ => SERVER,
        };
        let goes_on = match side == by {
            true => after_ns > UNDER_WAY_NS,
            false => is_progress && after_ns > ROUND_TRIP_NS,
        };
        if goes_on && !self.is_reset_certain && !self.is_refused {
            self.reset = None;
            self.ignored = self.ignored.saturating_add(1);
        }
    }

    fn see_reset(
        &mut self,
        seen: &Sighting<'_>,
        side: usize,
        sequence: u32,
        hosts: &Hosts,
    ) -> bool {
        let segment = &seen.segment;
        let has_ack = segment.flags() & tcp_flag::ACK != 0;
        let acknowledged = segment.acknowledgment().filter(|_| has_ack);
        let other = &self.halves[1 - side];
        let is_opening = side == SERVER && self.syns.count() > 0 && self.answers.count() == 0;
        let is_unanswered = is_opening && !other.has_acked && !self.is_simultaneous;
        let is_certain = if is_unanswered {
            // In the state SYN-SENT it has to acknowledge the SYN (RFC 9293, section 3.10.7.3).
            let expected = other.next;
            if acknowledged.is_none() || acknowledged != expected {
                return false;
            }
            true
        } else {
            if !self.is_acceptable(side, sequence) {
                return false;
            }
            let half = &self.halves[side];
            half.next == Some(sequence) || other.acked == Some(sequence)
        };
        if self.reset.is_some() {
            self.is_reset_certain |= is_certain;
            return true;
        }
        let is_over = self.is_over();
        if is_over && !is_unanswered {
            // Closed already: the answer to what came too late.
            return true;
        }
        let host = segment.source.0;
        let known = hosts.of(host, seen.place);
        let other_ttls = match known.contains(&segment.ttl) {
            true => Vec::new(),
            false => known.to_vec(),
        };
        self.is_refused = is_unanswered;
        self.is_reset_certain = is_certain;
        self.reset = Some(Reset {
            by: if side == CLIENT {
                Who::Client
            } else {
                Who::Server
            },
            time_ns: seen.time_ns,
            ttl: segment.ttl,
            other_ttls,
        });
        true
    }

    /// Takes an ICMP error about one of its packets.
    pub fn see_error(&mut self, time_ns: u64, error: &WireError, quoted: &Segment<'_>) {
        let side = self.side(quoted);
        let half = &self.halves[side];
        let is_its = match (quoted.sequence(), half.first, half.next) {
            (Some(sequence), Some(first), Some(next)) => {
                reaches(sequence, first) && reaches(next, sequence)
            }
            (Some(sequence), None, _) => self.is_acceptable(side, sequence),
            // RFC 792 promises this many bytes.
            (None, ..) | (Some(_), Some(_), None) => false,
        };
        if !is_its {
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        self.end_ns = self.end_ns.max(time_ns);
        let known = self.errors.iter().position(|known| known.error == *error);
        match known {
            Some(at) => {
                let known = &mut self.errors[at];
                // The same one at another place is not another.
                known.count += u32::from(time_ns.saturating_sub(known.last_ns) > UNDER_WAY_NS);
                known.last_ns = known.last_ns.max(time_ns);
            }
            None if self.errors.len() < MAX_ERRORS => self.errors.push(SeenError {
                error: error.clone(),
                first_ns: time_ns,
                last_ns: time_ns,
                count: 1,
                is_about_client: side == CLIENT,
            }),
            None => self.more_errors = self.more_errors.saturating_add(1),
        }
    }

    fn fate(&self, end_ns: u64) -> Fate {
        let [client, server] = &self.halves;
        // The answer itself may have taken another way.
        let is_answered = self.answers.count() > 0 || server.has_acked || client.has_acked;
        if let Some(reset) = &self.reset {
            return match self.is_refused {
                true => Fate::Refused,
                false => Fate::Reset(reset.by),
            };
        }
        match (client.fin_ns, server.fin_ns) {
            (Some(by_client), Some(by_server)) => {
                return Fate::Closed(match by_client <= by_server {
                    true => Who::Client,
                    false => Who::Server,
                });
            }
            (Some(_), None) => return Fate::HalfClosed(Who::Client),
            (None, Some(_)) => return Fate::HalfClosed(Who::Server),
            (None, None) => {}
        }
        if is_answered || self.syns.count() == 0 {
            let is_established = self.is_known() || self.syns.count() == 0 && client.has_acked;
            return match is_established || self.answers.count() == 0 {
                true => Fate::Established,
                false => Fate::Answered,
            };
        }
        if self.refusal().is_some() {
            return Fate::Refused;
        }
        match end_ns.saturating_sub(self.begin_ns) < OPENING_NS {
            true => Fate::Opening,
            false => Fate::Unanswered,
        }
    }

    /// Returns the error that refuses the SYN.
    fn refusal(&self) -> Option<&SeenError> {
        let mut errors = self.errors.iter();
        errors.find(|one| one.is_about_client && one.is_refusal())
    }

    fn role(&self) -> Option<Role> {
        let [client, server] = &self.halves;
        let (places, is_client) = match client.places.is_empty() {
            false => (&client.places, true),
            true => (&server.places, false),
        };
        let is_out = places.iter().any(|place| place.direction == Outbound);
        let is_in = places
            .iter()
            .any(|place| !matches!(place.direction, Outbound | Unknown));
        let is_of_others = places
            .iter()
            .filter(|place| place.direction != Outbound)
            .all(|place| place.direction == ToOther);
        let is_loop = places
            .iter()
            .all(|place| place.interface == places[0].interface);
        match (is_out, is_in) {
            (false, false) => None,
            (true, true) if is_loop => Some(Role::Local),
            (true, true) => Some(Role::Forwards),
            (false, true) if is_of_others => Some(Role::Observes),
            (true, _) if is_client => Some(Role::Client),
            (true, _) => Some(Role::Server),
            // A frame to this host may be for another, to which it carries nothing on.
            _ if is_client => {
                let is_answered = server.places.iter().any(|place| place.is_out());
                is_answered.then_some(Role::Server)
            }
            _ => None,
        }
    }

    /// Returns what is known of it at a time.
    pub fn done(self, end_ns: u64) -> Conn {
        let fate = self.fate(end_ns);
        let syn = self
            .syns
            .answered(self.echoed.filter(|_| self.answers.count() == 1));
        let answer = self.answers.first();
        let between = |from: Option<&Crossing>, to: Option<&Crossing>| {
            Some(to?.first_ns.saturating_sub(from?.last_ns))
        };
        let is_after = |from: Option<&Crossing>, to: Option<&Crossing>| match (from, to) {
            (Some(from), Some(to)) => to.first_ns >= from.first_ns,
            _ => false,
        };
        let server_ns = between(syn, answer).filter(|_| is_after(syn, answer));
        let only_answer = self.answers.first().filter(|_| self.answers.count() == 1);
        let client_ns = between(only_answer, self.acknowledged.as_ref());
        let [client, server] = &self.halves;
        let asked = match (&client.first_byte, &server.first_byte) {
            (Some(asked), Some(reply)) if asked.first_ns <= reply.first_ns => Some(*asked),
            // The server speaks first.
            _ => self.acknowledged.or(only_answer.copied()),
        };
        let first_byte_ns = between(asked.as_ref(), server.first_byte.as_ref());
        let carried = |half: &Half| {
            let behind = half.fin_end.map(|end| end.wrapping_sub(1)).or(half.next)?;
            Some(u64::from(behind.wrapping_sub(half.first?.wrapping_add(1))))
        };
        let mut places: Vec<Place> = client.places.clone();
        for place in &server.places {
            let is_new = places
                .iter()
                .all(|known| known.interface != place.interface);
            if is_new {
                places.push(*place);
            }
        }
        let mut interfaces: Vec<u16> = places.iter().map(|place| place.interface).collect();
        interfaces.dedup();
        let closed_ns = match fate {
            Fate::HalfClosed(Who::Client) => client.fin_ns,
            Fate::HalfClosed(_) => server.fin_ns,
            Fate::Closed(_) => client.fin_ns.min(server.fin_ns),
            _ => None,
        };
        Conn {
            source: self.client,
            destination: self.server,
            begin_ns: self.begin_ns,
            end_ns: self.end_ns,
            is_begin_recorded: self.syns.count() > 0,
            is_directed: self.is_directed,
            is_simultaneous: self.is_simultaneous,
            fate,
            role: self.role(),
            interfaces,
            syns: self.syns.count(),
            syn_times_ns: self
                .syns
                .crossings()
                .iter()
                .map(|one| one.first_ns)
                .collect(),
            answers: self.answers.count(),
            server_ns,
            client_ns,
            connect_ns: self
                .syns
                .first()
                .zip(self.answers.first())
                .map(|(syn, answer)| answer.last_ns.saturating_sub(syn.first_ns)),
            first_byte_ns,
            is_acknowledged: client.has_acked,
            sent_bytes: carried(client),
            received_bytes: carried(server),
            closed_ns,
            refusal: match (&fate, &self.reset) {
                (Fate::Refused, None) => self.refusal().cloned(),
                _ => None,
            },
            reset: self.reset,
            errors: self.errors,
            more_errors: self.more_errors,
            ignored: self.ignored,
            is_sample: self.is_sample,
        }
    }
}

/// Returns the shift of the window, and time stamp and echo.
fn stamps(segment: &Segment<'_>) -> (Option<u8>, Option<(u32, u32)>) {
    let (mut scale, mut stamp) = (None, None);
    for (kind, value) in segment.options() {
        match (kind, value) {
            (3, [shift]) => scale = Some(*shift),
            (8, [a, b, c, d, e, f, g, h]) => {
                stamp = Some((
                    u32::from_be_bytes([*a, *b, *c, *d]),
                    u32::from_be_bytes([*e, *f, *g, *h]),
                ));
            }
            _ => {}
        }
    }
    (scale, stamp)
}

/// Notes a sighting of a packet that is sent once, or again much later.
fn cross(known: &mut Option<Crossing>, time_ns: u64) {
    let first = known.get_or_insert(Crossing {
        first_ns: time_ns,
        last_ns: time_ns,
        stamp: None,
    });
    if time_ns.saturating_sub(first.first_ns) < UNDER_WAY_NS {
        first.last_ns = first.last_ns.max(time_ns);
    }
}
