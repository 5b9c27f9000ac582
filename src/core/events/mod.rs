//! PURE. Event log: detection, rate limiting and storage. An event has a time, a severity, a subject, one
//! sentence, and where packets show it, a query for them. Times are nanoseconds since 1970 (UTC).
//!
//! | file | contents |
//! |---|---|
//! | `kind` | every kind of event |
//! | `slot` | an event as stored in the record |
//! | `limit` | rate limit for events of one kind |
//! | `links` | changes of links and their addresses |
//! | `neighbors` | texts for new hosts, moves and conflicts |
//! | `multicast` | changes of queriers; loss and silence of streams |
//! | `service` | sniffers, limits, clocks |
//! | `detector` | all of these together |

mod detector;
mod kind;
mod limit;
pub mod links;
pub mod multicast;
mod neighbors;
pub mod service;
mod slot;

pub use detector::{Detector, ProbeLoss, RecordGap};
pub use kind::{Category, Kind, Severity};
pub use limit::MAX_PER_MINUTE;
pub use slot::{SLOT_BYTES, decode, encode};

/// A logged state change.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Sequence number in the log, from 1 without holes; 0 until it is logged.
    pub number: u64,
    /// Time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Kind, which determines its category.
    pub kind: Kind,
    /// Severity, by default that of its kind.
    pub severity: Severity,
    /// Name of the interface; empty if it concerns no single one.
    pub interface: String,
    /// Address, interface or limit that it is about.
    pub subject: String,
    /// One sentence; the record keeps its first 152 bytes.
    pub text: String,
    /// Query for the packets that show it; `None` if none do.
    pub packets: Option<PacketQuery>,
}

/// Query for packets in the record: a time range and a filter, on the event's interface if it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketQuery {
    /// Start of the range, in nanoseconds since 1970.
    pub from_ns: u64,
    /// End of the range, in nanoseconds since 1970.
    pub to_ns: u64,
    /// Expression in the language of pcap-filter(7).
    pub filter: String,
}

impl Event {
    /// Creates an event with the severity of its kind and without a text.
    pub fn new(kind: Kind, time_ns: u64, interface: &str, subject: impl ToString) -> Event {
        Event {
            number: 0,
            time_ns,
            kind,
            severity: kind.severity(),
            interface: interface.to_owned(),
            subject: subject.to_string(),
            text: String::new(),
            packets: None,
        }
    }

    /// Sets the text.
    pub fn with_text(mut self, text: impl Into<String>) -> Event {
        self.text = text.into();
        self
    }

    /// Overrides the severity of the kind.
    pub fn with_severity(mut self, severity: Severity) -> Event {
        self.severity = severity;
        self
    }

    /// Sets the query for its packets, from `before_ns` before to `after_ns` after its time.
    pub fn with_packet_filter(mut self, filter: String, before_ns: u64, after_ns: u64) -> Event {
        self.packets = Some(PacketQuery {
            from_ns: self.time_ns.saturating_sub(before_ns),
            to_ns: self.time_ns.saturating_add(after_ns),
            filter,
        });
        self
    }
}

/// Formats a duration with one unit: milliseconds, seconds, minutes or hours.
pub fn duration(ns: u64) -> String {
    match ns as f64 / 1e9 {
        s if s < 0.0995 => format!("{:.1} ms", s * 1e3),
        s if s < 99.5 => format!("{s:.1} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
