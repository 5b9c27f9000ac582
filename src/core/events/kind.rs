//! PURE. Event kinds, with their severity and the category of the log that keeps them.

/// Severity of an event, named as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// Normal operation.
    Info = 0,
    /// A change that an administrator made, or that needs no action.
    Notice = 1,
    /// Something is wrong, or soon will be.
    Warning = 2,
}

impl Severity {
    /// All severities, the lowest first.
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Notice, Severity::Warning];

    /// Name used on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Notice => "notice",
            Severity::Warning => "warning",
        }
    }

    /// Finds a severity by its [`name`](Severity::name).
    pub fn from_name(name: &str) -> Option<Severity> {
        Severity::ALL
            .into_iter()
            .find(|severity| severity.name() == name)
    }
}

/// Part of the event log with slots of its own, so that many events of one category do not evict those of
/// another. The number is the index of its slots in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Category {
    /// Links, and this host's addresses.
    Link = 0,
    /// Other hosts on the links.
    Neighbor = 1,
    /// Queriers and streams.
    Multicast = 2,
    /// Lost probes.
    Loss = 3,
    /// Gaps and restarts of the record.
    Recorder = 4,
    /// Packet sockets of other programs.
    Sniffer = 5,
    /// This service and this machine.
    Service = 6,
}

impl Category {
    /// Number of categories.
    pub const COUNT: usize = 7;

    /// All categories, in the order of their numbers.
    pub const ALL: [Category; Category::COUNT] = [
        Category::Link,
        Category::Neighbor,
        Category::Multicast,
        Category::Loss,
        Category::Recorder,
        Category::Sniffer,
        Category::Service,
    ];

    /// Name used on the command line and in JSON.
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
        /// Kind of an event. The record stores the number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Kind {
            $(#[doc = $meaning] $variant = $number,)*
        }

        impl Kind {
            /// All kinds, grouped by category.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// Name used on the command line and in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// Category of the log that keeps it.
            pub const fn category(self) -> Category {
                match self { $(Kind::$variant => Category::$category,)* }
            }

            /// Default severity; some events of a kind are less or more severe.
            pub const fn severity(self) -> Severity {
                match self { $(Kind::$variant => Severity::$severity,)* }
            }

            /// One sentence for the manual page netsonde-events(7).
            pub const fn meaning(self) -> &'static str {
                match self { $(Kind::$variant => $meaning,)* }
            }

            /// Finds a kind by its number in the record.
            pub fn from_number(number: u16) -> Option<Kind> {
                match number { $($number => Some(Kind::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    LinkNew = 1, "link_new", Link, Info, "An interface appeared.";
    LinkGone = 2, "link_gone", Link, Notice, "An interface was removed.";
    LinkUp = 3, "link_up", Link, Notice, "An interface was set up, or its carrier returned.";
    LinkDown = 4, "link_down", Link, Warning, "An interface lost its carrier (a warning), or was set down (a notice).";
    LinkRenamed = 5, "link_renamed", Link, Notice, "An interface was renamed.";
    LinkChanged = 6, "link_changed", Link, Notice, "The MTU, the link-layer address, or the bridge or bond of an interface changed.";
    PromiscuousOn = 7, "promiscuous_on", Link, Notice, "An interface entered promiscuous mode.";
    PromiscuousOff = 8, "promiscuous_off", Link, Info, "An interface left promiscuous mode.";
    AddressAdded = 9, "address_added", Link, Notice, "An address was added to this host.";
    AddressRemoved = 10, "address_removed", Link, Notice, "An address was removed from this host.";
    NeighborNew = 20, "neighbor_new", Neighbor, Info, "A new host was seen on a link (at least two packets).";
    NeighborMoved = 21, "neighbor_moved", Neighbor, Notice, "An address moved from one station to another (a warning for a gateway).";
    AddressConflict = 22, "address_conflict", Neighbor, Warning, "Two stations claim the same address.";
    ConflictOver = 23, "conflict_over", Neighbor, Notice, "One of the two stations has not claimed the address for an hour.";
    AddressDuplicate = 24, "address_duplicate", Neighbor, Warning, "Duplicate address detection found an address in use.";
    TwoMasters = 25, "two_masters", Neighbor, Warning, "Two routers advertise themselves as master of one virtual router (VRRP, HSRP, CARP).";
    TwoMastersOver = 26, "two_masters_over", Neighbor, Notice, "Only one of two masters of a virtual router still advertises itself.";
    QuerierElected = 30, "querier_elected", Multicast, Notice, "A link that had no querier now has one.";
    QuerierChanged = 31, "querier_changed", Multicast, Notice, "Another querier was elected, or the querier changed its protocol version (a warning for an older one).";
    QuerierSilent = 32, "querier_silent", Multicast, Warning, "A link has lost its querier: snooping switches will drop memberships.";
    StreamLoss = 33, "stream_loss", Multicast, Warning, "Packets of a stream are missing, by their sequence numbers.";
    StreamLossOver = 34, "stream_loss_over", Multicast, Notice, "A stream with loss has lost no packet for ten seconds.";
    StreamStopped = 35, "stream_stopped", Multicast, Warning, "A stream that had run for at least ten seconds stopped.";
    StreamResumed = 36, "stream_resumed", Multicast, Notice, "A stopped stream resumed.";
    LossBegun = 40, "loss_begun", Loss, Warning, "Three consecutive probes to a target that had answered failed.";
    LossEnded = 41, "loss_ended", Loss, Notice, "The target answers again.";
    RecorderGap = 50, "recorder_gap", Recorder, Warning, "The record has a gap: packets were not recorded.";
    EngineRestart = 51, "engine_restart", Recorder, Notice, "A new engine took over; rings and record were kept.";
    RecordBegun = 52, "record_begun", Recorder, Info, "A new record began; nothing earlier is available.";
    SnifferAppeared = 60, "sniffer_appeared", Sniffer, Notice, "Another program opened a packet socket: it can see the traffic of the interface.";
    SnifferGone = 61, "sniffer_gone", Sniffer, Info, "A packet socket of another program was closed.";
    LimitHit = 70, "limit_hit", Service, Warning, "A limit of the service was reached; netsonde status shows the totals.";
    ClockSet = 71, "clock_set", Service, Notice, "The wall clock was set forward or back by at least a tenth of a second.";
    Suspended = 72, "suspended", Service, Notice, "The machine was suspended: packets of that time were not lost.";
    SettingsReloaded = 73, "settings_reloaded", Service, Info, "A new configuration took effect.";
    Suppressed = 74, "more", Service, Notice, "Further events of one kind were not logged individually.";
}

impl Kind {
    /// Returns the kind with this name, or all kinds of the category with this name. Empty if there is
    /// neither.
    pub fn named(name: &str) -> Vec<Kind> {
        let matches = |kind: &&Kind| kind.name() == name || kind.category().name() == name;
        Kind::ALL.iter().filter(matches).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(*kind as u16), Some(*kind));
            assert_eq!(Kind::named(kind.name()), [*kind]);
        }
        for (index, category) in Category::ALL.into_iter().enumerate() {
            assert_eq!(category as usize, index);
            assert!(Kind::ALL.iter().any(|kind| kind.category() == category));
        }
    }
}
