//! PURE. Every kind of event: its name, how bad it is, and which room of the log it is kept in.

/// How bad, in syslog's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// The ordinary course of things.
    Info = 0,
    /// A change that somebody made or that mends itself.
    Notice = 1,
    /// Something is wrong, or soon will be.
    Warning = 2,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Notice, Severity::Warning];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Notice => "notice",
            Severity::Warning => "warning",
        }
    }

    /// The one of that word.
    pub fn from_name(name: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Where events are kept: each room for itself, so that much of one sort costs nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Category {
    /// Links, and this host's addresses.
    Link = 0,
    /// Hosts on them.
    Neighbor = 1,
    /// Queriers and streams.
    Multicast = 2,
    /// Probes that are lost.
    Loss = 3,
    /// What the record lacks.
    Recorder = 4,
    /// Who else listens.
    Sniffer = 5,
    /// This service and this machine.
    Service = 6,
}

impl Category {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// All of them.
    pub const ALL: [Category; Category::COUNT] = [
        Category::Link,
        Category::Neighbor,
        Category::Multicast,
        Category::Loss,
        Category::Recorder,
        Category::Sniffer,
        Category::Service,
    ];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Category::Link => "link",
            Category::Neighbor => "neighbor",
            Category::Multicast => "multicast",
            Category::Loss => "loss",
            Category::Recorder => "recorder",
            Category::Sniffer => "sniffer",
            Category::Service => "service",
        }
    }
}

macro_rules! kinds {
    ($($variant:ident = $number:literal, $name:literal, $category:ident, $severity:ident, $meaning:literal;)*) => {
        /// What sort of event. The numbers are kept in the record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Kind {
            $(#[doc = $meaning] $variant = $number,)*
        }

        impl Kind {
            /// All of them, room by room.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// Where it is kept.
            pub const fn category(self) -> Category {
                match self { $(Kind::$variant => Category::$category,)* }
            }

            /// How bad it is, if nothing makes it better or worse.
            pub const fn severity(self) -> Severity {
                match self { $(Kind::$variant => Severity::$severity,)* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Kind::$variant => $meaning,)* }
            }

            /// The one of that number.
            pub fn from_number(number: u16) -> Option<Kind> {
                match number { $($number => Some(Kind::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    LinkNew = 1, "link_new", Link, Info, "An interface appeared.";
    LinkGone = 2, "link_gone", Link, Notice, "An interface is gone.";
    LinkUp = 3, "link_up", Link, Notice, "An interface was set up, or its carrier came back.";
    LinkDown = 4, "link_down", Link, Warning, "An interface lost its carrier (a warning), or was set down (a notice).";
    LinkRenamed = 5, "link_renamed", Link, Notice, "An interface has another name.";
    LinkChanged = 6, "link_changed", Link, Notice, "An interface has another MTU, link-layer address, or bridge or bond that it is a port of.";
    PromiscuousOn = 7, "promiscuous_on", Link, Notice, "Somebody holds an interface promiscuous.";
    PromiscuousOff = 8, "promiscuous_off", Link, Info, "Nobody holds it promiscuous any more.";
    AddressAdded = 9, "address_added", Link, Notice, "This host has a new address.";
    AddressRemoved = 10, "address_removed", Link, Notice, "This host does not have an address any more.";
    NeighborNew = 20, "neighbor_new", Neighbor, Info, "A host was heard that was not known on this link, and more than once.";
    NeighborMoved = 21, "neighbor_moved", Neighbor, Notice, "An address went from one station to another; of a gateway a warning.";
    AddressConflict = 22, "address_conflict", Neighbor, Warning, "Two stations claim the same address.";
    ConflictOver = 23, "conflict_over", Neighbor, Notice, "One of the two has not claimed it for an hour.";
    AddressDuplicate = 24, "address_duplicate", Neighbor, Warning, "Duplicate address detection found an address taken.";
    QuerierElected = 30, "querier_elected", Multicast, Notice, "A link that had no querier has one.";
    QuerierChanged = 31, "querier_changed", Multicast, Notice, "Another querier counts, or the same asks in another version; in an older one a warning.";
    QuerierSilent = 32, "querier_silent", Multicast, Warning, "A link has no querier any more: switches will forget who wants which group.";
    StreamLoss = 33, "stream_loss", Multicast, Warning, "Packets of a stream are missing, by their numbers.";
    StreamLossOver = 34, "stream_loss_over", Multicast, Notice, "For ten seconds none was missing.";
    StreamStopped = 35, "stream_stopped", Multicast, Warning, "A stream that went on for ten seconds or more does not any more.";
    StreamResumed = 36, "stream_resumed", Multicast, Notice, "It goes on.";
    LossBegun = 40, "loss_begun", Loss, Warning, "Three probes in a row to a target that had answered were not answered.";
    LossEnded = 41, "loss_ended", Loss, Notice, "It answers again.";
    RecorderGap = 50, "recorder_gap", Recorder, Warning, "Packets are missing in the record, and this is known.";
    EngineRestart = 51, "engine_restart", Recorder, Notice, "Another engine took over; rings and record were kept.";
    RecordBegun = 52, "record_begun", Recorder, Info, "A new record begins; nothing is known of before.";
    SnifferAppeared = 60, "sniffer_appeared", Sniffer, Notice, "A packet socket was opened that is not of this service: its owner sees what crosses the interface.";
    SnifferGone = 61, "sniffer_gone", Sniffer, Info, "It was closed.";
    LimitHit = 70, "limit_hit", Service, Warning, "A limit of this service cost something; status has the sum.";
    ClockSet = 71, "clock_set", Service, Notice, "The wall clock was set by more than a tenth of a second.";
    Suspended = 72, "suspended", Service, Notice, "The machine was suspended: what is missing then was not lost.";
    SettingsReloaded = 73, "settings_reloaded", Service, Info, "A new configuration is in force.";
    More = 74, "more", Service, Notice, "More of one kind than are told one by one.";
}

impl Kind {
    /// The one of that name, or all of the room of that name; none, if there is neither.
    pub fn named(name: &str) -> Vec<Kind> {
        let is_meant = |kind: &&Kind| kind.name() == name || kind.category().name() == name;
        Kind::ALL.iter().filter(is_meant).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_of_one_kind_each() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(*kind as u16), Some(*kind));
            assert_eq!(Kind::named(kind.name()), [*kind]);
        }
        for (at, room) in Category::ALL.into_iter().enumerate() {
            assert_eq!(room as usize, at);
            assert!(Kind::ALL.iter().any(|kind| kind.category() == room));
        }
    }
}
