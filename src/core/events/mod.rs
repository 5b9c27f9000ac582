//! PURE. What happened: a bounded log of events, each with a time, a severity, a subject, a sentence, and
//! where there are packets that show it, how to find them. Times are nanoseconds since 1970.
//!
//! | file | what it holds |
//! |---|---|
//! | `kind` | every kind of event |
//! | `slot` | an event as it is kept in the record |
//! | `limit` | how many of a kind are told one by one |
//! | `links` | what happened to links and their addresses |
//! | `neighbors` | what happened to hosts on the links |
//! | `multicast` | queriers that come, change and go; streams that lose and stop |
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

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number: one more than that of the event before. 0 until it is in the log.
    pub number: u64,
    /// When.
    pub time_ns: u64,
    /// What sort.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// On which interface, or empty.
    pub interface: String,
    /// To what or whom: an address, an interface, a limit.
    pub subject: String,
    /// The sentence.
    pub text: String,
    /// The packets that show it.
    pub packets: Option<PacketQuery>,
}

/// How to find packets in the record: on the event's interface, if it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketQuery {
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
    /// In the language of pcap-filter(7).
    pub filter: String,
}

impl Event {
    /// An event as bad as its kind is.
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

    /// What it says.
    pub fn with_text(mut self, text: impl Into<String>) -> Event {
        self.text = text.into();
        self
    }

    /// As bad as this.
    pub fn with_severity(mut self, severity: Severity) -> Event {
        self.severity = severity;
        self
    }

    /// Shown by packets from `before` nanoseconds before it to `after` nanoseconds after it.
    pub fn with_packet_filter(mut self, filter: String, before_ns: u64, after_ns: u64) -> Event {
        self.packets = Some(PacketQuery {
            from_ns: self.time_ns.saturating_sub(before_ns),
            to_ns: self.time_ns.saturating_add(after_ns),
            filter,
        });
        self
    }
}

/// A time in words, as short as is useful.
pub fn duration(ns: u64) -> String {
    match ns as f64 / 1e9 {
        s if s < 0.0995 => format!("{:.1} ms", s * 1e3),
        s if s < 99.5 => format!("{s:.1} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
