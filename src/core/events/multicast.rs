//! PURE. Changes of queriers; loss, silence and return of streams. Updated once per second.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use foldhash::quality::RandomState;

use super::{Event, Kind, Severity, duration};
use crate::text::counted;

const SECOND: u64 = 1_000_000_000;
/// Time without further loss after which loss has ended.
const LOSS_OVER_NS: u64 = 10 * SECOND;
/// Minimum age of a stream whose end is reported.
const STEADY_NS: u64 = 10 * SECOND;
/// Minimum mean rate in packets per second of a stream whose end is reported: slower ones pause anyway.
const STEADY_PACKETS: u64 = 1;
/// Silence after which a stream has stopped; three times its longest earlier silence if that is more.
const STOPPED_NS: u64 = 3 * SECOND;
/// Bound on the earlier silence that counts: the trackers forget a silent stream after this.
const FORGOTTEN_NS: u64 = 3600 * SECOND;

/// The elected querier of a link, for one address family.
#[derive(Clone, Debug, PartialEq)]
pub struct Querier {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub interface: String,
    /// Address of the querier.
    pub address: IpAddr,
    /// IGMP or MLD version.
    pub version: u8,
    /// Time of its last query, in nanoseconds since 1970.
    pub last_ns: u64,
}

impl Querier {
    fn protocol(&self) -> String {
        if self.address.is_ipv4() {
            format!("IGMPv{}", self.version)
        } else {
            format!("MLDv{}", self.version)
        }
    }

    fn event(&self, kind: Kind, now_ns: u64, text: String) -> Event {
        let filter = if self.address.is_ipv4() {
            "igmp"
        } else {
            "icmp6"
        };
        let back_ns = now_ns.saturating_sub(self.last_ns) + SECOND;
        let packets = if self.address.is_unspecified() {
            filter.into()
        } else {
            format!("{filter} and host {}", self.address)
        };
        Event::new(kind, now_ns, &self.interface, self.address)
            .with_text(text)
            .with_packet_filter(packets, back_ns, SECOND)
    }

    fn elected(&self, now_ns: u64) -> Event {
        let text = format!(
            "{} is now the {} querier on {}",
            self.address,
            self.protocol(),
            self.interface
        );
        self.event(Kind::QuerierElected, now_ns, text)
    }

    /// The event for what differs from the querier before it on the same link, if anything.
    fn changed_from(&self, before: &Querier, now_ns: u64) -> Option<Event> {
        let (address, old) = (self.address, before.address);
        if old != address {
            let why = if (old.is_unspecified(), old) > (address.is_unspecified(), address) {
                format!("lower address than {old}")
            } else {
                let silent = duration(now_ns.saturating_sub(before.last_ns));
                format!("{old} has been silent for {silent}")
            };
            let text = format!(
                "{address} is now the {} querier on {}: {why}",
                self.protocol(),
                self.interface
            );
            return Some(self.event(Kind::QuerierChanged, now_ns, text));
        }
        if before.version == self.version {
            return None;
        }
        let text = format!(
            "querier {address} changed from {} to {}",
            before.protocol(),
            self.protocol()
        );
        if self.version > before.version {
            return Some(self.event(Kind::QuerierChanged, now_ns, text));
        }
        let text = format!("{text}: source-specific memberships no longer work");
        let event = self.event(Kind::QuerierChanged, now_ns, text);
        Some(event.with_severity(Severity::Warning))
    }

    fn silent(&self, now_ns: u64) -> Event {
        let text = format!(
            "no query from querier {} for {} and no replacement: snooping switches will drop memberships",
            self.address,
            duration(now_ns.saturating_sub(self.last_ns))
        );
        self.event(Kind::QuerierSilent, now_ns, text)
    }
}

/// Change detector for queriers.
#[derive(Debug, Default)]
pub struct Queriers {
    /// By interface index and whether IPv4.
    known: HashMap<(u32, bool), Querier, RandomState>,
    /// The first update has been made; queriers that it did not have are new.
    baseline_known: bool,
}

impl Queriers {
    /// Compares with the elected queriers of now, and emits an event for each change.
    pub fn update(&mut self, now: Vec<Querier>, now_ns: u64, out: &mut Vec<Event>) {
        let mut gone: HashSet<(u32, bool)> = self.known.keys().copied().collect();
        for querier in now {
            let key = (querier.ifindex, querier.address.is_ipv4());
            gone.remove(&key);
            let event = match self.known.get(&key) {
                None => Some(querier.elected(now_ns)),
                Some(before) => querier.changed_from(before, now_ns),
            };
            out.extend(event.filter(|_| self.baseline_known));
            self.known.insert(key, querier);
        }
        for key in gone {
            if let Some(querier) = self.known.remove(&key) {
                out.push(querier.silent(now_ns));
            }
        }
        self.baseline_known = true;
    }

    /// Forgets the queriers of an interface that was removed, without an event.
    pub fn remove_interface(&mut self, ifindex: u32) {
        self.known.retain(|(index, _), _| *index != ifindex);
    }
}

/// State of a stream at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Identity: interface index, source, group, source port, destination port.
    pub key: (u32, IpAddr, IpAddr, u16, u16),
    /// Interface name.
    pub interface: String,
    /// Packets received.
    pub packets: u64,
    /// Packets missing by their sequence numbers; `None` if it has none.
    pub lost: Option<u64>,
    /// Time of the first packet, in nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the latest packet, in nanoseconds since 1970.
    pub last_ns: u64,
    /// Longest time without a packet.
    pub longest_gap_ns: u64,
}

impl Stream {
    /// The text begins with the destination and the source of the stream.
    fn event(&self, kind: Kind, time_ns: u64, text: impl std::fmt::Display) -> Event {
        let (_, source, group, _, port) = self.key;
        let subject = match group {
            IpAddr::V4(group) => format!("{group}:{port}"),
            IpAddr::V6(group) => format!("[{group}]:{port}"),
        };
        let text = format!("{subject} from {source}{text}");
        Event::new(kind, time_ns, &self.interface, subject).with_text(text)
    }

    /// Adds the query for the packets of the stream, from `before_ns` before to a second after the event.
    fn with_own_packets(&self, event: Event, before_ns: u64) -> Event {
        let (_, source, group, _, port) = self.key;
        event.with_packet_filter(
            format!("src {source} and dst {group} and udp dst port {port}"),
            before_ns,
            SECOND,
        )
    }
}

/// Loss that has not ended yet.
#[derive(Debug)]
struct OngoingLoss {
    since_ns: u64,
    /// Time of the last increase.
    last_ns: u64,
    /// Packets received before it began.
    received_before: u64,
    /// Packets missing before it began.
    lost_before: u64,
}

#[derive(Debug)]
struct StreamState {
    packets: u64,
    /// Packets missing at the last update: late packets arrive within the second between two updates.
    lost: u64,
    /// Missing packets that have been reported, or that are not counted as loss.
    accounted: u64,
    loss: Option<OngoingLoss>,
    stopped: bool,
    /// Part of the current update.
    present: bool,
}

/// Change detector for streams.
#[derive(Debug, Default)]
pub struct Streams {
    known: HashMap<(u32, IpAddr, IpAddr, u16, u16), StreamState, RandomState>,
    /// The first update has been made: what was missing before is not reported.
    baseline_known: bool,
}

impl Streams {
    /// Compares with the streams of now, emits an event for each change, and forgets those that are gone.
    pub fn update(&mut self, now: Vec<Stream>, now_ns: u64, out: &mut Vec<Event>) {
        for stream in now {
            let lost = stream.lost.unwrap_or(0);
            let baseline_known = self.baseline_known;
            let state = self.known.entry(stream.key).or_insert(StreamState {
                packets: stream.packets,
                lost: if baseline_known { 0 } else { lost },
                accounted: if baseline_known { 0 } else { lost },
                loss: None,
                stopped: !baseline_known,
                present: true,
            });
            state.present = true;
            state.check_loss(&stream, lost, now_ns, out);
            state.check_silence(&stream, now_ns, out);
            state.packets = stream.packets;
            state.lost = lost;
        }
        self.baseline_known = true;
        self.known
            .retain(|_, state| std::mem::take(&mut state.present));
    }
}

impl StreamState {
    fn check_loss(&mut self, stream: &Stream, lost: u64, now_ns: u64, out: &mut Vec<Event>) {
        // Missing now and a second ago, so not merely late.
        let missing = lost.min(self.lost);
        if lost < self.accounted {
            // The numbers restarted, or the packets arrived late after all.
            self.accounted = lost;
        }
        let has_increased = missing > self.accounted;
        match &mut self.loss {
            None if has_increased => {
                let (lost_now, before) = (missing - self.accounted, self.accounted);
                let text = format!(
                    ": {lost_now} lost in the last seconds",
                    lost_now = counted(lost_now, "packet")
                );
                let event = stream.event(Kind::StreamLoss, now_ns, text);
                out.push(stream.with_own_packets(event, 3 * SECOND));
                self.loss = Some(OngoingLoss {
                    since_ns: now_ns,
                    last_ns: now_ns,
                    received_before: self.packets,
                    lost_before: before,
                });
                self.accounted = missing;
            }
            Some(loss) if has_increased => {
                loss.last_ns = now_ns;
                self.accounted = missing;
            }
            Some(loss) if now_ns.saturating_sub(loss.last_ns) >= LOSS_OVER_NS => {
                let lasted = duration(loss.last_ns - loss.since_ns + SECOND);
                let lost = self.accounted.saturating_sub(loss.lost_before);
                let packets = stream.packets.saturating_sub(loss.received_before) + lost;
                let text = format!(
                    ": loss ended after {lasted}: {lost} lost of {packets} sent since it began"
                );
                out.push(stream.event(Kind::StreamLossOver, now_ns, text));
                self.loss = None;
            }
            _ => {}
        }
    }

    fn check_silence(&mut self, stream: &Stream, now_ns: u64, out: &mut Vec<Event>) {
        let silent = now_ns.saturating_sub(stream.last_ns);
        if stream.packets > self.packets && silent < STOPPED_NS {
            if std::mem::take(&mut self.stopped) && self.packets > 0 && stream.longest_gap_ns > 0 {
                let gap = duration(stream.longest_gap_ns);
                let text = format!(" resumed; its longest silence was {gap}");
                out.push(stream.event(Kind::StreamResumed, now_ns, text));
            }
            return;
        }
        let lasted = stream.last_ns.saturating_sub(stream.first_ns);
        let is_steady =
            lasted >= STEADY_NS && stream.packets / (lasted / SECOND).max(1) >= STEADY_PACKETS;
        let usual = stream.longest_gap_ns.min(FORGOTTEN_NS).saturating_mul(3);
        if !self.stopped && is_steady && silent >= usual.max(STOPPED_NS) {
            self.stopped = true;
            let text = format!(
                " has been silent for {}, after {} in {}",
                duration(silent),
                counted(stream.packets, "packet"),
                duration(lasted)
            );
            let event = stream.event(Kind::StreamStopped, now_ns, text);
            out.push(stream.with_own_packets(event, silent + 3 * SECOND));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn querier(address: &str, version: u8, last: u64) -> Querier {
        Querier {
            ifindex: 2,
            interface: "e0".into(),
            address: address.parse().unwrap(),
            version,
            last_ns: last * SECOND,
        }
    }

    #[test]
    fn querier_election_change_and_silence() {
        let mut queriers = Queriers::default();
        let mut at = |now: Vec<Querier>, second: u64| {
            let mut out = Vec::new();
            queriers.update(now, second * SECOND, &mut out);
            out.into_iter()
                .map(|event| (event.kind, event.severity, event.text))
                .collect::<Vec<_>>()
        };
        assert_eq!(at(vec![], 1), []);
        assert_eq!(
            at(vec![querier("10.0.0.9", 3, 2)], 2)[0].0,
            Kind::QuerierElected
        );
        assert_eq!(at(vec![querier("10.0.0.9", 3, 3)], 3), []);
        let lower = &at(vec![querier("10.0.0.2", 3, 4)], 4)[0];
        assert_eq!(lower.0, Kind::QuerierChanged);
        assert!(
            lower
                .2
                .contains("10.0.0.2 is now the IGMPv3 querier on e0: lower address than 10.0.0.9"),
            "{}",
            lower.2
        );
        let older = &at(vec![querier("10.0.0.2", 2, 5)], 5)[0];
        assert_eq!(
            (older.0, older.1),
            (Kind::QuerierChanged, Severity::Warning)
        );
        let gone = &at(vec![], 260)[0];
        assert_eq!(gone.0, Kind::QuerierSilent);
        assert!(
            gone.2.contains("no query from querier 10.0.0.2 for 4 min"),
            "{}",
            gone.2
        );
        // A querier of the first update raises no event.
        let (mut queriers, mut out) = (Queriers::default(), Vec::new());
        queriers.update(vec![querier("10.0.0.9", 3, 2)], 3 * SECOND, &mut out);
        assert_eq!(out, []);
    }

    fn stream(packets: u64, lost: u64, last: u64) -> Stream {
        Stream {
            key: (
                2,
                "10.0.0.1".parse().unwrap(),
                "239.1.1.1".parse().unwrap(),
                9000,
                5000,
            ),
            interface: "e0".into(),
            packets,
            lost: Some(lost),
            first_ns: SECOND,
            last_ns: last * SECOND,
            longest_gap_ns: SECOND / 10,
        }
    }

    #[test]
    fn late_packets_are_not_loss_and_loss_ends_after_ten_seconds() {
        let mut streams = Streams::default();
        streams.update(vec![], SECOND, &mut vec![]);
        let mut kinds = Vec::new();
        // Two are late at second 5, and two are missing from second 8 on, three from second 9 on.
        for second in 2..40 {
            let lost = match second {
                5 => 2,
                ..8 => 0,
                8 => 2,
                _ => 3,
            };
            let mut out = Vec::new();
            streams.update(
                vec![stream(second * 10, lost, second)],
                second * SECOND,
                &mut out,
            );
            kinds.extend(
                out.into_iter()
                    .map(|event| (second, event.kind, event.text)),
            );
        }
        assert_eq!(kinds.len(), 2, "{kinds:?}");
        assert_eq!((kinds[0].0, kinds[0].1), (9, Kind::StreamLoss));
        assert_eq!((kinds[1].0, kinds[1].1), (20, Kind::StreamLossOver));
        assert!(kinds[1].2.contains("3 lost of"), "{kinds:?}");
    }

    #[test]
    fn a_stopped_stream_raises_one_event() {
        let mut streams = Streams::default();
        streams.update(vec![], SECOND, &mut vec![]);
        let mut kinds = Vec::new();
        for second in 2..60 {
            let last = if second < 40 { second.min(20) } else { second };
            let mut out = Vec::new();
            streams.update(vec![stream(last * 10, 0, last)], second * SECOND, &mut out);
            kinds.extend(out.into_iter().map(|event| (second, event.kind)));
        }
        assert_eq!(
            kinds,
            [(23, Kind::StreamStopped), (40, Kind::StreamResumed)]
        );
    }
}
