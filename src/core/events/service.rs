//! PURE. Packet sockets of other programs, limits that were reached, clocks that were set. Updated once per second.

use std::collections::{HashMap, HashSet};

use foldhash::quality::RandomState;

use super::{Event, Kind, duration};

/// Maximum number of tracked sniffers; further ones raise no event.
const MAX_SNIFFERS: usize = 256;
/// Minimum interval between events of one limit; `status` has the count in between.
const LIMIT_INTERVAL_NS: u64 = 60_000_000_000;
/// Minimum step of the wall clock that raises an event. Less is clock discipline (adjtimex(2) slews by up to
/// half a millisecond per second), or the time between reading two clocks.
const MIN_STEP_NS: u64 = 100_000_000;
/// Minimum suspension that raises an event. CLOCK_MONOTONIC does not advance while the machine is suspended,
/// CLOCK_BOOTTIME does.
const MIN_SUSPENDED_NS: u64 = 1_000_000_000;

/// A packet socket of another program.
#[derive(Clone, Debug, PartialEq)]
pub struct Sniffer {
    /// Inode number of the socket.
    pub inode: u64,
    /// User ID of its owner; `None` if unknown.
    pub uid: Option<u32>,
    /// Name of the interface; empty for all.
    pub interface: String,
    /// Name of the protocol that it receives, for example `all` or `arp`.
    pub protocol: String,
}

/// Change detector for sniffers.
#[derive(Debug, Default)]
pub struct Sniffers {
    /// By inode number, with the time of the first update that had it.
    known: HashMap<u64, (Sniffer, u64), RandomState>,
    /// The first update has been made; sniffers that it did not have are new.
    baseline_known: bool,
}

impl Sniffers {
    /// Compares with the sniffers of now, and emits an event for each that appeared or is gone.
    pub fn update(&mut self, now: Vec<Sniffer>, now_ns: u64, out: &mut Vec<Event>) {
        let event = |kind, sniffer: &Sniffer, text: &dyn Fn(&str) -> String| {
            let owner = sniffer
                .uid
                .map_or_else(String::new, |uid| format!(" of uid {uid}"));
            let interface = if sniffer.interface.is_empty() {
                "all interfaces"
            } else {
                &sniffer.interface
            };
            let text = text(&format!("packet socket{owner} on {interface}"));
            let subject = format!("inode {}", sniffer.inode);
            Event::new(kind, now_ns, &sniffer.interface, subject).with_text(text)
        };
        let inodes: HashSet<u64> = now.iter().map(|sniffer| sniffer.inode).collect();
        self.known.retain(|inode, (sniffer, since_ns)| {
            let stays = inodes.contains(inode);
            if !stays {
                let lasted = duration(now_ns.saturating_sub(*since_ns));
                out.push(event(Kind::SnifferGone, sniffer, &|socket| {
                    format!("{socket} closed after {lasted}")
                }));
            }
            stays
        });
        for sniffer in now {
            if self.known.contains_key(&sniffer.inode) || self.known.len() >= MAX_SNIFFERS {
                continue;
            }
            if self.baseline_known {
                out.push(event(Kind::SnifferAppeared, &sniffer, &|socket| {
                    format!(
                        "{socket} opened, receives {}; `netsonde sockets --sniff` shows its process",
                        sniffer.protocol
                    )
                }));
            }
            self.known.insert(sniffer.inode, (sniffer, now_ns));
        }
        self.baseline_known = true;
    }
}

/// Change detector for the limits of the service.
#[derive(Debug, Default)]
pub struct Limits {
    /// By name: hits at the last event, and its time.
    known: HashMap<String, (u64, u64), RandomState>,
    /// The first update has been made; hits before it are not reported.
    baseline_known: bool,
}

impl Limits {
    /// Compares each limit, as name, value (0 if it has none) and hits, and emits an event if it was hit.
    pub fn update<'a>(
        &mut self,
        now: impl Iterator<Item = (&'a str, u64, u64)>,
        now_ns: u64,
        out: &mut Vec<Event>,
    ) {
        for (name, limit, hits) in now {
            let Some((before, reported_ns)) = self.known.get_mut(name) else {
                let before = if self.baseline_known { 0 } else { hits };
                self.known.insert(name.to_owned(), (before, 0));
                continue;
            };
            let more = hits.saturating_sub(*before);
            if more == 0 || now_ns.wrapping_sub(*reported_ns) < LIMIT_INTERVAL_NS {
                continue;
            }
            (*before, *reported_ns) = (hits, now_ns);
            let value = match limit {
                0 => String::new(),
                limit => format!(" ({limit})"),
            };
            out.push(
                Event::new(Kind::LimitHit, now_ns, "", name).with_text(format!(
                    "limit reached: {name}{value}: {more} more times, {hits} in total"
                )),
            );
        }
        self.baseline_known = true;
    }
}

/// Three clocks read at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clocks {
    /// CLOCK_REALTIME: time since 1970.
    pub wall_ns: u64,
    /// CLOCK_MONOTONIC: time since boot without suspension.
    pub monotonic_ns: u64,
    /// CLOCK_BOOTTIME: time since boot with suspension.
    pub boot_ns: u64,
}

/// Detector for steps of the wall clock and suspensions of the machine.
#[derive(Debug, Default)]
pub struct ClockMonitor {
    before: Option<Clocks>,
}

impl ClockMonitor {
    /// Compares with the previous reading, and emits an event for a step or a suspension.
    pub fn update(&mut self, now: Clocks, out: &mut Vec<Event>) {
        let Some(before) = self.before.replace(now) else {
            return;
        };
        let passed = |now: u64, before: u64| i128::from(now) - i128::from(before);
        let boot = passed(now.boot_ns, before.boot_ns);
        let suspended = boot - passed(now.monotonic_ns, before.monotonic_ns);
        let step = passed(now.wall_ns, before.wall_ns) - boot;
        let text = |ns: i128| duration(u64::try_from(ns.abs()).unwrap_or(u64::MAX));
        if suspended >= i128::from(MIN_SUSPENDED_NS) {
            out.push(
                Event::new(Kind::Suspended, now.wall_ns, "", "machine")
                    .with_text(format!("the machine was suspended for {}", text(suspended))),
            );
        }
        if step.abs() >= i128::from(MIN_STEP_NS) {
            out.push(
                Event::new(Kind::ClockSet, now.wall_ns, "", "clock").with_text(format!(
                    "the wall clock was set {} by {}; durations are not affected",
                    if step < 0 { "back" } else { "forward" },
                    text(step)
                )),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn sniffers_that_appear_and_close() {
        let sniffer = |inode| Sniffer {
            inode,
            uid: Some(0),
            interface: "e0".into(),
            protocol: "all".into(),
        };
        let mut sniffers = Sniffers::default();
        let mut at = |now, second: u64| {
            let mut out = Vec::new();
            sniffers.update(now, second * S, &mut out);
            out.into_iter()
                .map(|event| (event.kind, event.text))
                .collect::<Vec<_>>()
        };
        assert_eq!(at(vec![sniffer(1)], 1), []);
        let appeared = at(vec![sniffer(1), sniffer(2)], 2);
        assert_eq!(appeared[0].0, Kind::SnifferAppeared);
        assert!(
            appeared[0]
                .1
                .starts_with("packet socket of uid 0 on e0 opened, receives all")
        );
        let gone = at(vec![sniffer(1)], 5);
        assert_eq!(gone[0].1, "packet socket of uid 0 on e0 closed after 3.0 s");
        assert_eq!(
            at((0..1000).map(sniffer).collect(), 6).len(),
            MAX_SNIFFERS - 1
        );
    }

    #[test]
    fn a_limit_raises_one_event_per_minute() {
        let mut limits = Limits::default();
        let mut at = |hits, second: u64| {
            let mut out = Vec::new();
            limits.update(
                [("neighbors", 8192, hits)].into_iter(),
                second * S,
                &mut out,
            );
            out.pop().map(|event| event.text)
        };
        assert_eq!(at(5, 100), None);
        assert_eq!(at(5, 101), None);
        assert_eq!(
            at(7, 102).as_deref(),
            Some("limit reached: neighbors (8192): 2 more times, 7 in total")
        );
        assert_eq!(at(9, 103), None);
        assert!(at(9, 163).unwrap().contains("2 more times"));
    }

    #[test]
    fn clock_steps_and_suspensions_are_distinguished() {
        let mut monitor = ClockMonitor::default();
        let mut at = |wall_ns, monotonic_ns, boot_ns| {
            let mut out = Vec::new();
            let clocks = Clocks {
                wall_ns,
                monotonic_ns,
                boot_ns,
            };
            monitor.update(clocks, &mut out);
            out.into_iter().map(|event| event.text).collect::<Vec<_>>()
        };
        assert!(at(10_000 * S, S, S).is_empty());
        assert!(at(10_001 * S + 1_000_000, 2 * S, 2 * S).is_empty());
        assert_eq!(
            at(10_062 * S, 3 * S, 63 * S),
            ["the machine was suspended for 60.0 s"]
        );
        let set = at(10_063 * S - 3600 * S, 4 * S, 64 * S);
        assert!(
            set[0].starts_with("the wall clock was set back by 60 min"),
            "{set:?}"
        );
    }
}
