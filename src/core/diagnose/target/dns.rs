//! PURE. Queries and answers of the resolver, as they were seen on the wire.

use std::net::IpAddr;

use crate::wire::{dns_question, dns_type_name};

/// Exchanges that are remembered: a lookup asks a few servers for a few names, and other programs ask, too.
const MAX_EXCHANGES: usize = 256;

/// A message of DNS (RFC 1035, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Identifier.
    pub id: u16,
    /// Whether it is an answer.
    pub is_answer: bool,
    /// Response code; 0 in queries.
    pub code: u8,
    /// Name that is asked for.
    pub question: String,
    /// Type that is asked for: 1 is A, 28 is AAAA.
    pub kind: u16,
    /// Records in the answer section.
    pub answers: u16,
}

impl Message {
    /// Reads a message; `None` if it has no question or is cut within it.
    pub fn read(payload: &[u8]) -> Option<Message> {
        let word = |at: usize| {
            Some(u16::from_be_bytes(
                payload.get(at..at + 2)?.try_into().ok()?,
            ))
        };
        let flags = word(2)?;
        let (question, kind) = dns_question(payload)?;
        Some(Message {
            id: word(0)?,
            is_answer: flags >> 15 == 1,
            code: (flags & 0x0f) as u8,
            question,
            kind,
            answers: word(6)?,
        })
    }
}

/// The answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Source address of the message.
    pub from: IpAddr,
    /// Response code.
    pub code: u8,
    /// Records in it.
    pub answers: u16,
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
}

/// A question to a server, and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The server.
    pub server: IpAddr,
    /// Name that was asked for.
    pub question: String,
    /// Type that was asked for.
    pub kind: u16,
    /// Time of the first query in nanoseconds since 1970.
    pub asked_ns: u64,
    /// Queries that were sent.
    pub queries: u32,
    /// Its answer.
    pub answer: Option<Answer>,
    /// An answer to the same port from another address.
    pub from_other: Option<Answer>,
    /// An ICMP error about a query: its sender, and its meaning.
    pub error: Option<(IpAddr, String)>,
    id: u16,
    port: u16,
}

impl Exchange {
    /// Returns the name of the type.
    pub fn kind_name(&self) -> String {
        dns_type_name(self.kind)
    }

    /// Returns the time to the answer in nanoseconds.
    pub fn took_ns(&self) -> Option<u64> {
        let answer = self.answer.as_ref()?;
        Some(answer.time_ns.saturating_sub(self.asked_ns))
    }
}

/// The exchanges about a name.
#[derive(Debug)]
pub struct Exchanges {
    name: String,
    all: Vec<Exchange>,
}

impl Exchanges {
    /// Begins without any. Questions about other names are not looked at, but for those with a search domain.
    pub fn about(name: &str) -> Exchanges {
        Exchanges {
            name: name.trim_end_matches('.').to_ascii_lowercase(),
            all: Vec::new(),
        }
    }

    fn is_about(&self, question: &str) -> bool {
        let question = question.trim_end_matches('.').to_ascii_lowercase();
        match question.strip_prefix(&self.name) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        }
    }

    /// Takes a message that was seen, with its addresses and ports.
    pub fn see(
        &mut self,
        time_ns: u64,
        (source, source_port): (IpAddr, u16),
        (destination, destination_port): (IpAddr, u16),
        message: Message,
    ) {
        if !self.is_about(&message.question) {
            return;
        }
        if !message.is_answer {
            let known = self.all.iter_mut().find(|known| {
                known.server == destination
                    && known.kind == message.kind
                    && known.question == message.question
                    && known.answer.is_none()
            });
            if let Some(known) = known {
                // The same packet on the way through two interfaces is one query.
                if (known.id, known.port) != (message.id, source_port)
                    || time_ns.saturating_sub(known.asked_ns)
                        > 100_000_000 * u64::from(known.queries)
                {
                    known.queries += 1;
                }
                (known.id, known.port) = (message.id, source_port);
            } else if self.all.len() < MAX_EXCHANGES {
                self.all.push(Exchange {
                    server: destination,
                    question: message.question,
                    kind: message.kind,
                    asked_ns: time_ns,
                    queries: 1,
                    answer: None,
                    from_other: None,
                    error: None,
                    id: message.id,
                    port: source_port,
                });
            }
            return;
        }
        let is_it = |known: &&mut Exchange| {
            known.port == destination_port
                && known.id == message.id
                && known.kind == message.kind
                && source_port == 53
        };
        let Some(known) = self.all.iter_mut().rev().find(is_it) else {
            return;
        };
        let answer = Answer {
            from: source,
            code: message.code,
            answers: message.answers,
            time_ns,
        };
        if source == known.server {
            known.answer.get_or_insert(answer);
        } else {
            known.from_other.get_or_insert(answer);
        }
    }

    /// Takes an ICMP error about a query to a server from a port. The resolver asks for both families from one port,
    /// and routers limit their errors: it is said of both.
    pub fn see_error(&mut self, server: IpAddr, port: u16, from: IpAddr, meaning: &str) {
        let known = self.all.iter_mut();
        for known in known.filter(|known| known.server == server && known.port == port) {
            known.error.get_or_insert((from, meaning.to_owned()));
        }
    }

    /// Returns all of them, in the order of asking.
    pub fn done(self) -> Vec<Exchange> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u16, is_answer: bool, code: u8, question: &str) -> Message {
        Message {
            id,
            is_answer,
            code,
            question: question.into(),
            kind: 1,
            answers: 0,
        }
    }

    #[test]
    fn answers_belong_to_their_queries() {
        let (host, server, other): (IpAddr, IpAddr, IpAddr) = (
            [10, 0, 0, 1].into(),
            [10, 0, 0, 53].into(),
            [10, 0, 0, 54].into(),
        );
        let mut seen = Exchanges::about("www.Example");
        let query = |seen: &mut Exchanges, at, id, name| {
            seen.see(at, (host, 4000), (server, 53), message(id, false, 0, name));
        };
        query(&mut seen, 1, 7, "www.example");
        query(&mut seen, 2, 8, "elsewhere.example");
        query(&mut seen, 3, 9, "www.example.lan");
        query(&mut seen, 5_000_000_001, 7, "www.example");
        seen.see(
            4,
            (other, 53),
            (host, 4000),
            message(9, true, 0, "www.example.lan"),
        );
        // Not to this port, and not with this identifier.
        seen.see(
            5,
            (server, 53),
            (host, 4001),
            message(7, true, 3, "www.example"),
        );
        seen.see(
            6,
            (server, 53),
            (host, 4000),
            message(6, true, 3, "www.example"),
        );
        let all = seen.done();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].queries, &all[0].answer), (2, &None));
        assert_eq!(all[1].from_other.as_ref().unwrap().from, other);
        assert_eq!(all[1].answer, None);
    }
}
