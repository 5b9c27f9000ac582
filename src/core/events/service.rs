//! PURE. Who else listens, limits that were hit, clocks that were set. Looked at once a second.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::{Event, Kind, duration};

/// Sniffers that are kept in mind; of more no event is told.
const SNIFFERS: usize = 256;
/// A limit is told of once in so long: what it costs meanwhile is in status.
const LIMIT_NS: u64 = 60_000_000_000;
/// Less is the discipline of a clock (adjtimex(2) slews by up to half a millisecond a second), or the time that
/// reading two clocks took.
const STEP_NS: u64 = 100_000_000;
/// The monotonic clock stands still while the machine is suspended; less is not told.
const SUSPENDED_NS: u64 = 1_000_000_000;

/// A packet socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Sniffer {
    /// Inode number of the socket.
    pub inode: u64,
    /// User id of its owner, where it is known.
    pub uid: Option<u32>,
    /// Interface, or empty for all.
    pub interface: String,
    /// What it takes, in words.
    pub protocol: String,
}

/// Sniffers as they were.
#[derive(Debug, Default)]
pub struct Sniffers {
    known: HashMap<u64, (Sniffer, u64), RandomState>,
    baseline_known: bool,
}

impl Sniffers {
    /// These are there now.
    pub fn update(&mut self, now: Vec<Sniffer>, now_ns: u64, out: &mut Vec<Event>) {
        let event = |kind, one: &Sniffer, text: &dyn Fn(&str) -> String| {
            let whose = (one.uid).map_or_else(String::new, |uid| format!(" of uid {uid}"));
            let place = if one.interface.is_empty() {
                "every interface"
            } else {
                &one.interface
            };
            let words = text(&format!("packet socket{whose} on {place}"));
            Event::new(kind, now_ns, &one.interface, format!("inode {}", one.inode))
                .with_text(words)
        };
        let inodes: std::collections::HashSet<u64> = now.iter().map(|one| one.inode).collect();
        self.known.retain(|inode, (one, since_ns)| {
            let stays = inodes.contains(inode);
            if !stays {
                let lasted = duration(now_ns.saturating_sub(*since_ns));
                out.push(event(Kind::SnifferGone, one, &|what| {
                    format!("the {what} was closed, after {lasted}")
                }));
            }
            stays
        });
        for one in now {
            if self.known.contains_key(&one.inode) || self.known.len() >= SNIFFERS {
                continue;
            }
            if self.baseline_known {
                out.push(event(Kind::SnifferAppeared, &one, &|what| {
                    format!(
                        "a {what} takes {}; `netsonde sockets --sniff` shows who",
                        one.protocol
                    )
                }));
            }
            self.known.insert(one.inode, (one, now_ns));
        }
        self.baseline_known = true;
    }
}

/// Limits as they were.
#[derive(Debug, Default)]
pub struct Limits {
    known: HashMap<String, (u64, u64), RandomState>,
    baseline_known: bool,
}

impl Limits {
    /// Each limit's name, the limit, and how often it was hit.
    pub fn update<'a>(
        &mut self,
        now: impl Iterator<Item = (&'a str, u64, u64)>,
        now_ns: u64,
        out: &mut Vec<Event>,
    ) {
        for (name, limit, hits) in now {
            let Some((before, told_ns)) = self.known.get_mut(name) else {
                let before = if self.baseline_known { 0 } else { hits };
                self.known.insert(name.to_owned(), (before, 0));
                continue;
            };
            let more = hits.saturating_sub(*before);
            if more == 0 || now_ns.wrapping_sub(*told_ns) < LIMIT_NS {
                continue;
            }
            (*before, *told_ns) = (hits, now_ns);
            let most = match limit {
                0 => String::new(),
                limit => format!(" ({limit})"),
            };
            out.push(
                Event::new(Kind::LimitHit, now_ns, "", name).with_text(format!(
                    "limit: {name}{most}, {more} times more, {hits} in all"
                )),
            );
        }
        self.baseline_known = true;
    }
}

/// Three clocks at a moment, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clocks {
    /// CLOCK_REALTIME.
    pub wall_ns: u64,
    /// CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// CLOCK_BOOTTIME.
    pub boot_ns: u64,
}

/// Clocks as they were.
#[derive(Debug, Default)]
pub struct ClockMonitor {
    before: Option<Clocks>,
}

impl ClockMonitor {
    /// They show this now.
    pub fn update(&mut self, now: Clocks, out: &mut Vec<Event>) {
        let Some(before) = self.before.replace(now) else {
            return;
        };
        let passed = |now: u64, before: u64| i128::from(now) - i128::from(before);
        let boot = passed(now.boot_ns, before.boot_ns);
        let suspended = boot - passed(now.monotonic_ns, before.monotonic_ns);
        let step = passed(now.wall_ns, before.wall_ns) - boot;
        let words = |ns: i128| duration(u64::try_from(ns.abs()).unwrap_or(u64::MAX));
        if suspended >= i128::from(SUSPENDED_NS) {
            out.push(
                Event::new(Kind::Suspended, now.wall_ns, "", "machine").with_text(format!(
                    "the machine was suspended for {}",
                    words(suspended)
                )),
            );
        }
        if step.abs() >= i128::from(STEP_NS) {
            out.push(
                Event::new(Kind::ClockSet, now.wall_ns, "", "clock").with_text(format!(
                    "the wall clock was set {} by {}; durations are not touched by that",
                    if step < 0 { "back" } else { "ahead" },
                    words(step)
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
    fn sniffers_come_and_go() {
        let one = |inode| Sniffer {
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
        assert_eq!(at(vec![one(1)], 1), []);
        let appeared = at(vec![one(1), one(2)], 2);
        assert_eq!(appeared[0].0, Kind::SnifferAppeared);
        assert!(
            appeared[0]
                .1
                .starts_with("a packet socket of uid 0 on e0 takes all")
        );
        let gone = at(vec![one(1)], 5);
        assert_eq!(
            gone[0].1,
            "the packet socket of uid 0 on e0 was closed, after 3.0 s"
        );
        assert_eq!(at((0..1000).map(one).collect(), 6).len(), SNIFFERS - 1);
    }

    #[test]
    fn a_limit_is_told_once_a_minute() {
        let mut limits = Limits::default();
        let mut at = |hits, second: u64| {
            let mut out = Vec::new();
            limits.update(
                [("neighbours", 8192, hits)].into_iter(),
                second * S,
                &mut out,
            );
            out.pop().map(|event| event.text)
        };
        assert_eq!(at(5, 100), None);
        assert_eq!(at(5, 101), None);
        assert_eq!(
            at(7, 102).as_deref(),
            Some("limit: neighbours (8192), 2 times more, 7 in all")
        );
        assert_eq!(at(9, 103), None);
        assert!(at(9, 163).unwrap().contains("2 times more"));
    }

    #[test]
    fn steps_and_suspensions_are_told_apart() {
        let mut time = ClockMonitor::default();
        let mut at = |wall_ns, monotonic_ns, boot_ns| {
            let mut out = Vec::new();
            let clocks = Clocks {
                wall_ns,
                monotonic_ns,
                boot_ns,
            };
            time.update(clocks, &mut out);
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
