//! PURE. Queriers that come, change and go; streams that lose packets, stop and go on. Looked at once a second.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use foldhash::quality::RandomState;

use super::{Event, Kind, Severity, duration};

const SECOND: u64 = 1_000_000_000;
/// Loss is over when nothing more was missing for so long.
const OVER_NS: u64 = 10 * SECOND;
/// A stream that went on for so long is one whose end is told.
const STEADY_NS: u64 = 10 * SECOND;
/// And so many packets a second, in the mean: below, silence is its manner.
const STEADY_PACKETS: u64 = 1;
/// It has stopped when it was silent for so long, or for thrice the longest silence that it had before.
const STOPPED_NS: u64 = 3 * SECOND;
/// A silent stream is forgotten after this.
const FORGOTTEN_NS: u64 = 3600 * SECOND;

/// The querier that counts on a link, for one family.
#[derive(Clone, Debug, PartialEq)]
pub struct Querier {
    /// Index of the interface.
    pub ifindex: u32,
    /// Its name.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// IGMP or MLD version.
    pub version: u8,
    /// When it asked last.
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
}

/// Queriers as they were.
#[derive(Debug, Default)]
pub struct Queriers {
    known: HashMap<(u32, bool), Querier, RandomState>,
    /// Those that were heard before this engine began are no news.
    baseline_known: bool,
}

impl Queriers {
    /// These count now.
    pub fn update(&mut self, now: Vec<Querier>, now_ns: u64, out: &mut Vec<Event>) {
        let mut gone: HashSet<(u32, bool)> = self.known.keys().copied().collect();
        for querier in now {
            let key = (querier.ifindex, querier.address.is_ipv4());
            gone.remove(&key);
            let (who, what) = (querier.address, querier.protocol());
            let event = match self.known.get(&key) {
                None => Some(querier.event(
                    Kind::QuerierElected,
                    now_ns,
                    format!(
                        "{who} asks for memberships on {}, {what}",
                        querier.interface
                    ),
                )),
                Some(before) if before.address != who => {
                    let silent = now_ns.saturating_sub(before.last_ns);
                    let why = if (before.address.is_unspecified(), before.address)
                        > (who.is_unspecified(), who)
                    {
                        format!("its address is lower than that of {}", before.address)
                    } else {
                        format!("{} is silent for {}", before.address, duration(silent))
                    };
                    Some(querier.event(
                        Kind::QuerierChanged,
                        now_ns,
                        format!(
                            "{who} ({what}) is the querier of {}: {why}",
                            querier.interface
                        ),
                    ))
                }
                Some(before) if before.version != querier.version => {
                    let before_it = before.protocol();
                    let older = querier.version < before.version;
                    let text = format!(
                        "{who} asks in {what} now, before {before_it}{}",
                        if older {
                            ": memberships of one source are not kept"
                        } else {
                            ""
                        }
                    );
                    let event = querier.event(Kind::QuerierChanged, now_ns, text);
                    Some(if older {
                        event.with_severity(Severity::Warning)
                    } else {
                        event
                    })
                }
                Some(_) => None,
            };
            out.extend(event.filter(|_| self.baseline_known));
            self.known.insert(key, querier);
        }
        for key in gone {
            if let Some(querier) = self.known.remove(&key) {
                let silent = duration(now_ns.saturating_sub(querier.last_ns));
                let text = format!(
                    "{} has not asked for memberships for {silent}, and nobody else does: switches \
                     that snoop forget them",
                    querier.address
                );
                out.push(querier.event(Kind::QuerierSilent, now_ns, text));
            }
        }
        self.baseline_known = true;
    }

    /// An interface is gone, and its queriers with it.
    pub fn remove_interface(&mut self, ifindex: u32) {
        self.known.retain(|(index, _), _| *index != ifindex);
    }
}

/// A stream as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// What tells it apart: interface, source with port, destination with port.
    pub key: (u32, IpAddr, IpAddr, u16, u16),
    /// Name of the interface.
    pub interface: String,
    /// Packets that came.
    pub packets: u64,
    /// Packets that are missing by their numbers, where it has any.
    pub lost: Option<u64>,
    /// First packet.
    pub first_ns: u64,
    /// Newest packet.
    pub last_ns: u64,
    /// Longest time without one.
    pub longest_gap_ns: u64,
}

impl Stream {
    fn event(&self, kind: Kind, time_ns: u64, text: impl FnOnce(&str) -> String) -> Event {
        let (_, source, group, _, port) = self.key;
        let subject = match group {
            IpAddr::V4(group) => format!("{group}:{port}"),
            IpAddr::V6(group) => format!("[{group}]:{port}"),
        };
        let whose = format!("{subject} from {source}");
        Event::new(kind, time_ns, &self.interface, subject).with_text(text(&whose))
    }

    /// The packets that show it.
    fn shown(&self, event: Event, before_ns: u64) -> Event {
        let (_, source, group, _, port) = self.key;
        event.with_packet_filter(
            format!("src {source} and dst {group} and udp dst port {port}"),
            before_ns,
            SECOND,
        )
    }
}

/// Packets are missing.
#[derive(Debug)]
struct Losing {
    since_ns: u64,
    /// The last time that one more was.
    last_ns: u64,
    /// How many had come before, and how many were missing.
    came: u64,
    lost: u64,
}

#[derive(Debug)]
struct StreamState {
    packets: u64,
    /// What was missing a second ago: what is late comes within that.
    lost: u64,
    /// And up to where it has been told, or is no loss.
    accounted: u64,
    losing: Option<Losing>,
    stopped: bool,
    seen: bool,
}

/// Streams as they were.
#[derive(Debug, Default)]
pub struct Streams {
    known: HashMap<(u32, IpAddr, IpAddr, u16, u16), StreamState, RandomState>,
    baseline_known: bool,
}

impl Streams {
    /// These are there now.
    pub fn update(&mut self, now: Vec<Stream>, now_ns: u64, out: &mut Vec<Event>) {
        for stream in now {
            let lost = stream.lost.unwrap_or(0);
            let baseline_known = self.baseline_known;
            let state = self.known.entry(stream.key).or_insert(StreamState {
                packets: stream.packets,
                lost: if baseline_known { 0 } else { lost },
                accounted: if baseline_known { 0 } else { lost },
                losing: None,
                stopped: !baseline_known,
                seen: true,
            });
            state.seen = true;
            state.losses(&stream, lost, now_ns, out);
            state.silence(&stream, now_ns, out);
            state.packets = stream.packets;
            state.lost = lost;
        }
        self.baseline_known = true;
        (self.known).retain(|_, state| std::mem::take(&mut state.seen));
    }
}

impl StreamState {
    fn losses(&mut self, stream: &Stream, lost: u64, now_ns: u64, out: &mut Vec<Event>) {
        // Missing now and a second ago: not merely late.
        let missing = lost.min(self.lost);
        if lost < self.accounted {
            // Numbers that began anew, or came late after all.
            self.accounted = lost;
        }
        let more = missing > self.accounted;
        match &mut self.losing {
            None if more => {
                let (lost_now, before) = (missing - self.accounted, self.accounted);
                let event = stream.event(Kind::StreamLoss, now_ns, |whose| {
                    format!("{whose} has lost {lost_now} packets within the last seconds")
                });
                out.push(stream.shown(event, 3 * SECOND));
                self.losing = Some(Losing {
                    since_ns: now_ns,
                    last_ns: now_ns,
                    came: self.packets,
                    lost: before,
                });
                self.accounted = missing;
            }
            Some(losing) if more => {
                losing.last_ns = now_ns;
                self.accounted = missing;
            }
            Some(losing) if now_ns.saturating_sub(losing.last_ns) >= OVER_NS => {
                let lasted = losing.last_ns - losing.since_ns;
                let lost = self.accounted.saturating_sub(losing.lost);
                let packets = stream.packets.saturating_sub(losing.came) + lost;
                let event = stream.event(Kind::StreamLossOver, now_ns, |whose| {
                    format!(
                        "{whose} loses nothing any more: {lost} were missing within {}, {packets} sent since",
                        duration(lasted + SECOND)
                    )
                });
                out.push(event);
                self.losing = None;
            }
            _ => {}
        }
    }

    fn silence(&mut self, stream: &Stream, now_ns: u64, out: &mut Vec<Event>) {
        let silent = now_ns.saturating_sub(stream.last_ns);
        if stream.packets > self.packets && silent < STOPPED_NS {
            if std::mem::take(&mut self.stopped) && self.packets > 0 && stream.longest_gap_ns > 0 {
                let gap = duration(stream.longest_gap_ns);
                out.push(stream.event(Kind::StreamResumed, now_ns, |whose| {
                    format!("{whose} goes on; the longest silence was {gap}")
                }));
            }
            return;
        }
        let lasted = stream.last_ns.saturating_sub(stream.first_ns);
        let steady =
            lasted >= STEADY_NS && stream.packets / (lasted / SECOND).max(1) >= STEADY_PACKETS;
        let usual = stream.longest_gap_ns.min(FORGOTTEN_NS).saturating_mul(3);
        if !self.stopped && steady && silent >= usual.max(STOPPED_NS) {
            self.stopped = true;
            let (lasted, silent_for) = (duration(lasted), duration(silent));
            let event = stream.event(Kind::StreamStopped, now_ns, |whose| {
                format!(
                    "{whose} is silent for {silent_for}, after {} packets in {lasted}",
                    stream.packets
                )
            });
            out.push(stream.shown(event, silent + 3 * SECOND));
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
    fn a_querier_comes_changes_and_goes() {
        let mut queriers = Queriers::default();
        let mut at = |now: Vec<Querier>, second: u64| {
            let mut out = Vec::new();
            queriers.update(now, second * SECOND, &mut out);
            (out.into_iter())
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
            lower.2.contains("lower than that of 10.0.0.9"),
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
            gone.2
                .contains("10.0.0.2 has not asked for memberships for 4 min"),
            "{}",
            gone.2
        );
        // What was there when it began is no news.
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
    fn loss_begins_when_it_is_no_lateness_and_ends_after_ten_seconds() {
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
        assert!(kinds[1].2.contains("3 were missing"), "{kinds:?}");
    }

    #[test]
    fn a_steady_stream_that_stops_is_told_once() {
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
