//! PURE. What is known of connections in the end.

use super::End;
use crate::wire::segment::WireError;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The end that began it.
    Client,
    /// The other one.
    Server,
}

impl Who {
    /// Returns the name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Who::Client => "client",
            Who::Server => "server",
        }
    }
}

/// What became of a connection, as far as the record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer, and the first SYN was sent less than a second before the end of the packets.
    Opening,
    /// No answer to any SYN.
    Unanswered,
    /// An RST or an ICMP error instead of an answer.
    Refused,
    /// The SYN was answered; no acknowledgment of that is recorded.
    Answered,
    /// Open at the end of the packets.
    Established,
    /// This end has closed its side, the other one has not.
    HalfClosed(Who),
    /// Both ends have closed; this one first.
    Closed(Who),
    /// An RST of this end, as its source address says.
    Reset(Who),
}

impl Fate {
    /// Names of all fates, as in JSON.
    pub const NAMES: [&'static str; 8] = [
        "opening",
        "unanswered",
        "refused",
        "answered",
        "established",
        "half_closed",
        "closed",
        "reset",
    ];

    /// Returns the name, as in JSON.
    pub fn name(self) -> &'static str {
        let at = match self {
            Fate::Opening => 0,
            Fate::Unanswered => 1,
            Fate::Refused => 2,
            Fate::Answered => 3,
            Fate::Established => 4,
            Fate::HalfClosed(_) => 5,
            Fate::Closed(_) => 6,
            Fate::Reset(_) => 7,
        };
        Fate::NAMES[at]
    }

    /// Returns the end that it is about, if it is about one.
    pub fn by(self) -> Option<Who> {
        match self {
            Fate::HalfClosed(who) | Fate::Closed(who) | Fate::Reset(who) => Some(who),
            _ => None,
        }
    }
}

/// Place of this host on the way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This host began it.
    Client,
    /// This host is the other end.
    Server,
    /// Both ends are here, on one interface.
    Local,
    /// This host carries it from one interface to another.
    Forwards,
    /// Frames that are addressed to another host.
    Observes,
}

impl Role {
    /// Returns the name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
            Role::Local => "local",
            Role::Forwards => "forwards",
            Role::Observes => "observes",
        }
    }
}

/// An RST that its receiver accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Its source address.
    pub by: Who,
    /// Time in nanoseconds since 1970.
    pub time_ns: u64,
    /// TTL or hop limit where it was seen first.
    pub ttl: u8,
    /// TTLs of other packets of this host at that place, if there are any and none is the same: another host may have
    /// sent it.
    pub other_ttls: Vec<u8>,
}

/// An ICMP error about packets of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenError {
    /// Sender, type and code.
    pub error: WireError,
    /// Time of the first in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the last.
    pub last_ns: u64,
    /// How often it came.
    pub count: u32,
    /// Whether it quotes a packet of the client.
    pub is_about_client: bool,
}

impl SeenError {
    /// Returns whether it says that packets do not arrive, whatever their size (RFC 1122, section 4.2.3.9; RFC 4443,
    /// section 3.1).
    pub fn is_refusal(&self) -> bool {
        match (self.error.from.is_ipv4(), self.error.kind) {
            (true, 3) => self.error.code != 4,
            (false, 1) => true,
            _ => false,
        }
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// The end that began it, or may have: see `is_directed`.
    pub source: End,
    /// The other end.
    pub destination: End,
    /// Time of its first recorded packet in nanoseconds since 1970.
    pub begin_ns: u64,
    /// Time of its last one.
    pub end_ns: u64,
    /// Whether its first packet, the SYN, is recorded.
    pub is_begin_recorded: bool,
    /// Whether it is known which end began it; else the one with the lower port is taken for the server.
    pub is_directed: bool,
    /// Whether both ends have sent a SYN.
    pub is_simultaneous: bool,
    /// What became of it.
    pub fate: Fate,
    /// Place of this host, if the packets have directions.
    pub role: Option<Role>,
    /// Interfaces in the order of the client's packets.
    pub interfaces: Vec<u16>,
    /// SYNs of the client.
    pub syns: u32,
    /// Times of the first ones in nanoseconds since 1970.
    pub syn_times_ns: Vec<u64>,
    /// Answers of the server to them.
    pub answers: u32,
    /// Time in nanoseconds from a SYN at this host to its answer here. `None` also if it is not known which SYN was
    /// answered.
    pub server_ns: Option<u64>,
    /// Time in nanoseconds from the answer at this host to its acknowledgment here.
    pub client_ns: Option<u64>,
    /// Time in nanoseconds from the first SYN to the answer, with all that was lost in between.
    pub connect_ns: Option<u64>,
    /// Time in nanoseconds from the client's first byte, or from the handshake if the server speaks first, to the
    /// server's first byte.
    pub first_byte_ns: Option<u64>,
    /// Whether a packet of the client is recorded that acknowledges the answer.
    pub is_acknowledged: bool,
    /// Bytes of data of the client, by its sequence numbers.
    pub sent_bytes: Option<u64>,
    /// The same of the server.
    pub received_bytes: Option<u64>,
    /// Time of the first FIN in nanoseconds since 1970, if it is closed or half closed.
    pub closed_ns: Option<u64>,
    /// The error that refused it, unless an RST did.
    pub refusal: Option<SeenError>,
    /// The RST that refused or reset it.
    pub reset: Option<Reset>,
    /// Errors about its packets.
    pub errors: Vec<SeenError>,
    /// Further errors.
    pub more_errors: u32,
    /// Packets with numbers that no end accepts, and errors that quote such numbers.
    pub ignored: u32,
    /// Whether packets of it stand for others that are not recorded.
    pub is_sample: bool,
}

impl Conn {
    /// Returns whether it failed: refused, unanswered, reset, or answered again and again without an acknowledgment.
    pub fn is_failed(&self) -> bool {
        match self.fate {
            Fate::Unanswered | Fate::Refused | Fate::Reset(_) => true,
            Fate::Answered => self.answers > 1,
            _ => false,
        }
    }

    /// Returns the longest of the times that its users wait for, in nanoseconds.
    pub fn slowest_ns(&self) -> Option<u64> {
        [
            self.connect_ns,
            self.server_ns,
            self.client_ns,
            self.first_byte_ns,
        ]
        .into_iter()
        .flatten()
        .max()
    }
}

/// All connections.
#[derive(Clone, Debug)]
pub struct Report {
    /// The oldest first.
    pub connections: Vec<Conn>,
    /// Ended connections that made place for others.
    pub evicted_known: u64,
    /// Attempts that made place for newer ones.
    pub evicted_unproven: u64,
    /// Packets that stand for others.
    pub of_samples: u64,
    /// Time in nanoseconds within which an attempt is under way.
    pub opening_ns: u64,
}
