//! PURE. Questions to name servers and their answers, over UDP, and over TCP where a segment begins with a message.

use std::collections::HashMap;
use std::net::IpAddr;

use super::End;
use super::connection::OPENING_NS;
use super::room::{Key, Room};
use super::sightings::{Place, Transmissions};
use crate::wire::segment::{Segment, WireError};
use crate::wire::{dns_answers, dns_code_name, dns_question, dns_type_name};

/// Port of name servers.
pub const PORT: u16 = 53;
/// Questions with an answer, in at most 16 MB. The oldest make place for new ones.
const MAX_ANSWERED: usize = 32_768;
/// Questions without an answer: a flood of them evicts only the newest of these.
const MAX_OPEN: usize = 8_192;
const NEWEST: usize = 2_048;
/// Addresses and names that are kept of an answer: most have two, and a list of 16 is a whole datagram of 512 bytes.
const MAX_RECORDS: usize = 16;
/// Addresses for which a name is remembered, in all.
const MAX_NAMED: usize = 65_536;

const ANSWERED: usize = 0;
const OPEN: usize = 1;

/// Flags of a message (RFC 1035, section 4.1.1).
const ANSWER: u16 = 0x8000;
const CUT: u16 = 0x0200;

/// Key of a question: its sender, the server, the identifier, and whether it came over TCP.
type Asked = (End, End, u16, bool);

/// A question to a name server.
#[derive(Clone, Debug)]
pub struct Question {
    /// The end that asked.
    pub client: End,
    /// The server.
    pub server: End,
    /// Name that was asked for.
    pub name: String,
    /// Type that was asked for: 1 is A, 28 is AAAA.
    pub kind: u16,
    /// Whether it came over TCP.
    pub is_tcp: bool,
    /// Time of its first packet that is recorded, in nanoseconds since 1970.
    pub begin_ns: u64,
    /// Queries that were sent; 0 if only the answer is recorded.
    pub queries: u32,
    /// The answer.
    pub answer: Option<Answer>,
    /// An ICMP error about a query.
    pub error: Option<WireError>,
    /// Whether it was over before the time that is shown.
    pub is_before: bool,
    asked: Transmissions,
}

/// The answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// Response code.
    pub code: u8,
    /// Whether it was too long for a datagram.
    pub is_cut: bool,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Names: the canonical one, name servers, hosts.
    pub names: Vec<String>,
}

impl Question {
    /// Returns the name of the type.
    pub fn kind_name(&self) -> String {
        dns_type_name(self.kind)
    }

    /// Returns the time from the first query to the answer in nanoseconds, at this host.
    pub fn took_ns(&self) -> Option<u64> {
        let asked = self.asked.first()?;
        Some(self.answer.as_ref()?.time_ns.saturating_sub(asked.first_ns))
    }

    /// Returns why there is no answer, or what is wrong with it; `None` if all is well, or the answer may still come
    /// at `end_ns`.
    pub fn failure(&self, end_ns: u64) -> Option<String> {
        match (&self.answer, &self.error) {
            (Some(answer), _) if answer.code != 0 => Some(dns_code_name(answer.code)),
            (Some(_), _) => None,
            (None, Some(error)) => Some(format!("{} from {}", error.meaning, error.from)),
            (None, None) => {
                let is_due = end_ns.saturating_sub(self.begin_ns) >= OPENING_NS;
                is_due.then(|| "no answer".to_owned())
            }
        }
    }
}

/// Joins answers to questions.
pub struct Names {
    room: Room<Question>,
    asked: HashMap<Asked, Key>,
    last_ns: u64,
    /// Messages that are cut within their question: those of packets without payload, for example.
    unread: u64,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            room: Room::new(&[(MAX_ANSWERED, 0), (MAX_OPEN, NEWEST)]),
            asked: HashMap::new(),
            last_ns: 0,
            unread: 0,
        }
    }
}

impl Names {
    /// Takes a packet of TCP or UDP.
    pub fn see(&mut self, time_ns: u64, place: Place, segment: &Segment<'_>) {
        let is_answer = segment.source.1 == PORT;
        if !is_answer && segment.destination.1 != PORT {
            return;
        }
        let payload = segment.payload();
        let message = match segment.is_tcp {
            false => Some(payload),
            // Later segments of a long message have no length in front (RFC 1035, section 4.2.2).
            true => payload.split_at_checked(2).and_then(|(length, rest)| {
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let is_whole = length >= 12 && length + 2 == segment.payload_length();
                is_whole.then_some(rest)
            }),
        };
        let Some(message) = message else { return };
        if segment.is_tcp && message.is_empty() {
            return;
        }
        let word = |at: usize| {
            let bytes = message.get(at..at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        let (Some(id), Some(flags), Some((name, kind))) = (word(0), word(2), dns_question(message))
        else {
            self.unread += 1;
            return;
        };
        self.last_ns = self.last_ns.max(time_ns);
        if flags & ANSWER != 0 {
            let ends = (segment.destination, segment.source);
            let answer = read(time_ns, flags, message);
            self.answered((ends.0, ends.1, id, segment.is_tcp), &name, kind, answer);
        } else {
            let asked = (segment.source, segment.destination, id, segment.is_tcp);
            self.ask(asked, name, kind, time_ns, place);
        }
    }

    fn find(&mut self, asked: &Asked, name: &str, kind: u16) -> Option<(Key, &mut Question)> {
        let key = *self.asked.get(asked)?;
        let one = self.room.get_mut(key)?;
        // A host may ask in other capitals, and servers copy the question (RFC 1035, section 2.3.3).
        (one.kind == kind && one.name.eq_ignore_ascii_case(name)).then_some((key, one))
    }

    fn ask(&mut self, asked: Asked, name: String, kind: u16, time_ns: u64, place: Place) {
        if let Some((_, one)) = self.find(&asked, &name, kind)
            && one.answer.is_none()
        {
            one.asked.see(time_ns, place, None);
            one.queries = one.asked.count();
            return;
        }
        let mut one = Question::new(asked, name, kind, time_ns);
        one.asked.see(time_ns, place, None);
        one.queries = 1;
        self.add(OPEN, asked, one);
    }

    fn add(&mut self, room: usize, asked: Asked, one: Question) -> Key {
        let (key, gone) = self.room.add(room, one);
        if self.asked.len() > 2 * (MAX_ANSWERED + MAX_OPEN) {
            self.asked.retain(|_, key| self.room.get(*key).is_some());
        }
        drop(gone);
        self.asked.insert(asked, key);
        key
    }

    fn answered(&mut self, asked: Asked, name: &str, kind: u16, answer: Answer) {
        let known = self.find(&asked, name, kind).map(|(key, _)| key);
        let key = known.unwrap_or_else(|| {
            let one = Question::new(asked, name.to_owned(), kind, answer.time_ns);
            self.add(OPEN, asked, one)
        });
        if let Some(one) = self.room.get_mut(key) {
            one.answer.get_or_insert(answer);
        }
        self.room.move_to(key, ANSWERED);
        self.room.may_go(key);
    }

    /// Takes an ICMP error that quotes a query.
    pub fn see_error(&mut self, error: &WireError, quoted: &Segment<'_>) {
        let id = quoted.payload().get(..2);
        let of_id = |one: &Asked| id.is_none_or(|id| id == one.2.to_be_bytes());
        let ends = (quoted.source, quoted.destination, quoted.is_tcp);
        if quoted.is_tcp || quoted.destination.1 != PORT {
            return;
        }
        // An error quotes eight bytes behind the IP header at least: the ports only. Errors are rare.
        let keys: Vec<Key> = self
            .asked
            .iter()
            .filter(|(one, _)| (one.0, one.1, one.3) == ends && of_id(one))
            .map(|(_, key)| *key)
            .collect();
        for key in keys {
            if let Some(one) = self.room.get_mut(key) {
                one.error.get_or_insert_with(|| error.clone());
            }
        }
    }

    /// Returns all questions, the oldest first.
    pub fn done(self, end_ns: u64) -> Asking {
        let evicted = self.room.evicted().iter().sum();
        let mut questions: Vec<Question> = self.room.into_all().collect();
        questions.sort_by(|a, b| {
            let key = |one: &Question| (one.begin_ns, one.client, one.kind);
            key(a).cmp(&key(b))
        });
        let mut by_address: HashMap<IpAddr, Vec<usize>> = HashMap::new();
        let mut named = 0;
        let answered = questions.iter().enumerate();
        let mut answered: Vec<(usize, &Answer)> = answered
            .filter_map(|(at, one)| Some((at, one.answer.as_ref()?)))
            .collect();
        answered.sort_by_key(|(_, answer)| std::cmp::Reverse(answer.time_ns));
        for (at, answer) in answered {
            for address in &answer.addresses {
                if named < MAX_NAMED {
                    by_address.entry(*address).or_default().push(at);
                    named += 1;
                }
            }
        }
        Asking {
            questions,
            by_address,
            evicted,
            unread: self.unread,
            end_ns: end_ns.max(self.last_ns),
        }
    }
}

impl Question {
    fn new((client, server, _, is_tcp): Asked, name: String, kind: u16, time_ns: u64) -> Question {
        Question {
            client,
            server,
            name,
            kind,
            is_tcp,
            begin_ns: time_ns,
            queries: 0,
            answer: None,
            error: None,
            is_before: false,
            asked: Transmissions::default(),
        }
    }
}

fn read(time_ns: u64, flags: u16, message: &[u8]) -> Answer {
    let mut answer = Answer {
        time_ns,
        code: (flags & 0x0f) as u8,
        is_cut: flags & CUT != 0,
        addresses: Vec::new(),
        names: Vec::new(),
    };
    for record in dns_answers(message).into_iter().take(MAX_RECORDS) {
        answer.addresses.extend(record.address);
        answer.names.extend(record.name);
    }
    answer
}

/// All questions.
#[derive(Debug)]
pub struct Asking {
    /// The oldest first.
    pub questions: Vec<Question>,
    by_address: HashMap<IpAddr, Vec<usize>>,
    /// Questions that made place for others.
    pub evicted: u64,
    /// Messages that could not be read.
    pub unread: u64,
    /// Time of the end of the packets in nanoseconds since 1970.
    pub end_ns: u64,
}

impl Asking {
    /// Leaves out questions whose last packet was before a time. Their answers still name addresses.
    pub fn retain_since(&mut self, from_ns: u64) {
        for one in &mut self.questions {
            let answered_ns = one.answer.as_ref().map(|answer| answer.time_ns);
            let asked_ns = one.asked.last().map(|asked| asked.last_ns);
            one.is_before = answered_ns.max(asked_ns).is_some_and(|last| last < from_ns);
        }
    }

    /// Returns the question whose answer had this address, for a connection of `client` that began at `begin_ns`: the
    /// last one before it, of the client itself if there is one.
    pub fn name_of(&self, address: IpAddr, client: IpAddr, begin_ns: u64) -> Option<&Question> {
        let all = self.by_address.get(&address)?.iter();
        // The newest first.
        let mut before = all.filter_map(|at| self.questions.get(*at)).filter(|one| {
            one.answer
                .as_ref()
                .is_some_and(|answer| answer.time_ns <= begin_ns)
        });
        let first = before.next()?;
        if first.client.0 == client {
            return Some(first);
        }
        before.find(|one| one.client.0 == client).or(Some(first))
    }

    /// Returns all addresses that a name had in answers, and whether it was asked for.
    pub fn addresses_of(&self, name: &str) -> (Vec<IpAddr>, bool) {
        let name = name.trim_end_matches('.');
        let asked = self
            .questions
            .iter()
            .filter(|one| one.name.trim_end_matches('.').eq_ignore_ascii_case(name));
        let (mut addresses, mut is_asked) = (Vec::new(), false);
        for one in asked {
            is_asked = true;
            addresses.extend(one.answer.iter().flat_map(|answer| &answer.addresses));
        }
        (addresses, is_asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Direction;

    const PLACE: Place = Place {
        interface: 1,
        direction: Direction::Outbound,
    };
    const MS: u64 = 1_000_000;

    /// A message about www.example, with addresses.
    fn message(id: u16, flags: u16, kind: u16, addresses: &[IpAddr]) -> Vec<u8> {
        let mut all = id.to_be_bytes().to_vec();
        for word in [flags, 1, addresses.len() as u16, 0, 0] {
            all.extend_from_slice(&word.to_be_bytes());
        }
        all.extend_from_slice(b"\x03www\x07example\0");
        all.extend_from_slice(&kind.to_be_bytes());
        all.extend_from_slice(&[0, 1]);
        for address in addresses {
            // The name is that of the question.
            all.extend_from_slice(&[0xc0, 12, 0]);
            let (kind, bytes) = match address {
                IpAddr::V4(v4) => (1, v4.octets().to_vec()),
                IpAddr::V6(v6) => (28, v6.octets().to_vec()),
            };
            all.extend_from_slice(&[kind, 0, 1, 0, 0, 0, 60, 0, bytes.len() as u8]);
            all.extend_from_slice(&bytes);
        }
        all
    }

    fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.0, to.0) else {
            unreachable!()
        };
        let length = 28 + payload.len();
        let mut packet = vec![0x45, 0, (length >> 8) as u8, length as u8];
        packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&destination.octets());
        packet.extend_from_slice(&from.1.to_be_bytes());
        packet.extend_from_slice(&to.1.to_be_bytes());
        packet.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(payload);
        packet
    }

    fn host(number: u8, port: u16) -> End {
        ([10, 0, 0, number].into(), port)
    }

    #[test]
    fn questions_have_their_answers() {
        let mut names = Names::default();
        let (client, server) = (host(1, 4000), host(53, 53));
        let address: IpAddr = [192, 0, 2, 7].into();
        let see = |names: &mut Names, ms: u64, from: End, to: End, message: &[u8]| {
            let packet = udp(from, to, message);
            names.see(ms * MS, PLACE, &Segment::read(&packet).unwrap());
        };
        see(&mut names, 0, client, server, &message(7, 0x100, 1, &[]));
        see(&mut names, 0, client, server, &message(8, 0x100, 28, &[]));
        // Sent again after the time limit of the resolver.
        see(
            &mut names,
            5_000,
            client,
            server,
            &message(7, 0x100, 1, &[]),
        );
        let answer = message(7, 0x8180, 1, &[address]);
        // To another port, and with another identifier.
        see(&mut names, 5_001, server, host(1, 4001), &answer);
        see(
            &mut names,
            5_001,
            server,
            client,
            &message(9, 0x8183, 1, &[]),
        );
        see(&mut names, 5_020, server, client, &answer);
        see(
            &mut names,
            5_030,
            server,
            client,
            &message(7, 0x8183, 1, &[]),
        );
        let asking = names.done(0);
        let all = &asking.questions;
        assert_eq!(all.len(), 4);
        let first = all.iter().find(|one| one.queries == 2).unwrap();
        assert_eq!(first.took_ns(), Some(5_020 * MS));
        assert_eq!(first.failure(asking.end_ns), None);
        assert_eq!(first.answer.as_ref().unwrap().addresses, [address]);
        let silent = all.iter().find(|one| one.kind == 28).unwrap();
        assert_eq!(silent.failure(asking.end_ns).unwrap(), "no answer");
        assert_eq!(silent.failure(500 * MS), None);
        let without = all.iter().filter(|one| one.queries == 0).count();
        assert_eq!(without, 2);
        // What was answered before the connection began.
        let name = |ms: u64| {
            asking
                .name_of(address, client.0, ms * MS)
                .map(|one| one.queries)
        };
        assert_eq!(
            (name(4_000), name(5_020), name(6_000)),
            (None, Some(2), Some(2))
        );
        assert_eq!(
            asking.addresses_of("WWW.example."),
            (vec![address; 2], true)
        );
    }

    #[test]
    fn a_flood_of_questions_evicts_no_answer() {
        let mut names = Names::default();
        let server = host(53, 53);
        for id in 0..1_000 {
            for (flags, swap) in [(0x100, false), (0x8183, true)] {
                let (from, to) = (host(1, 4000), server);
                let (from, to) = if swap { (to, from) } else { (from, to) };
                let packet = udp(from, to, &message(id, flags, 1, &[]));
                names.see(MS, PLACE, &Segment::read(&packet).unwrap());
            }
        }
        for n in 0..200_000u32 {
            let from = (
                [10, 1, (n >> 8) as u8, n as u8].into(),
                1024 + (n >> 16) as u16,
            );
            let packet = udp(from, server, &message(n as u16, 0x100, 1, &[]));
            names.see(2 * MS, PLACE, &Segment::read(&packet).unwrap());
        }
        let asking = names.done(0);
        let answered = asking.questions.iter().filter(|one| one.answer.is_some());
        assert_eq!(answered.count(), 1_000);
        assert_eq!(asking.questions.len(), 1_000 + MAX_OPEN);
        assert_eq!(asking.evicted, 200_000 - MAX_OPEN as u64);
    }
}
