//! PURE. A path as it is remembered, and what differs between two of them.
//!
//! Paths are compared by the addresses of each hop, not by their flows: an echo request of another run may take another
//! of several equal ways. An address that is new, or gone, is a change only if the answers of the hop are too many for
//! both to be ways that are used in turn.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Kind, Report, kind};
use crate::probe::Transport;
use crate::protocol::history::{TracedHop, TracedPath};
use crate::protocol::trace::Answer;

/// Chance below which other addresses are no equal ways that were missed so far, if a hop has none of its former ones:
/// six answers before and six now are enough.
const MAX_CHANCE: f64 = 1e-3;
/// The same if it still has some of them. It is tested with each answer, so that it must be rarer: twenty answers of a hop
/// with one way.
const MAX_CHANCE_OF_SOME: f64 = 1e-6;

/// What is known of an address at a hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Its answers.
    pub answers: u32,
    /// Answers of other addresses of the hop since its last one.
    pub missed: u32,
}

/// The answers of a hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HopAnswers {
    /// TTL.
    pub hop: u8,
    /// Addresses that answered.
    pub addresses: BTreeMap<IpAddr, Count>,
}

/// How a hop is related to what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same addresses answer.
    Same,
    /// Other addresses answer.
    Changed,
    /// Other addresses answer, which may be equal ways that are used in turn.
    Uncertain,
    /// It does not answer, and did before.
    SilentNow,
    /// It answers, and did not before.
    SilentBefore,
}

/// A hop of two paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// TTL.
    pub hop: u8,
    /// How they are related.
    pub relation: Relation,
    /// Addresses before.
    pub before: Vec<IpAddr>,
    /// Addresses now.
    pub now: Vec<IpAddr>,
}

impl HopAnswers {
    /// Returns the number of answers.
    fn answers(&self) -> u32 {
        self.addresses.values().map(|count| count.answers).sum()
    }
}

/// Returns the chance that one of `ways` equal ways is missed by a number of answers.
fn miss(ways: usize, answers: u32) -> f64 {
    let share = 1.0 - 1.0 / ways.max(1) as f64;
    share.powi(answers.min(10_000) as i32)
}

fn relation(before: &HopAnswers, now: &HopAnswers) -> Relation {
    match (before.addresses.is_empty(), now.addresses.is_empty()) {
        (true, true) => return Relation::Same,
        (false, true) => return Relation::SilentNow,
        (true, false) => return Relation::SilentBefore,
        (false, false) => {}
    }
    let added = (now.addresses.keys())
        .filter(|address| !before.addresses.contains_key(*address))
        .count();
    let gone: Vec<&Count> = (before.addresses.iter())
        .filter(|(address, _)| !now.addresses.contains_key(*address))
        .map(|(_, count)| count)
        .collect();
    if added == 0 && gone.is_empty() {
        return Relation::Same;
    }
    let ways = before.addresses.len() + added;
    let mut chance = 1.0;
    if added > 0 {
        chance *= miss(ways, before.answers());
    }
    if let Some(missed) = gone.iter().map(|count| count.missed).min() {
        chance *= miss(ways, now.answers().saturating_add(missed));
    }
    let most = match gone.len() < before.addresses.len() {
        true => MAX_CHANCE_OF_SOME,
        false => MAX_CHANCE,
    };
    match chance < most {
        true => Relation::Changed,
        false => Relation::Uncertain,
    }
}

/// Compares two paths hop by hop: all hops of either.
pub fn compare(before: &[HopAnswers], now: &[HopAnswers]) -> Vec<Compared> {
    let last = before.iter().chain(now).map(|one| one.hop).max();
    let at = |all: &[HopAnswers], hop| {
        let found = all.iter().find(|one| one.hop == hop);
        found.cloned().unwrap_or_default()
    };
    let compared = |hop| {
        let (before, now) = (at(before, hop), at(now, hop));
        Compared {
            hop,
            relation: relation(&before, &now),
            before: before.addresses.into_keys().collect(),
            now: now.addresses.into_keys().collect(),
        }
    };
    (1..=last.unwrap_or(0)).map(compared).collect()
}

impl Compared {
    /// Returns whether none of the former addresses answers, and others do.
    pub fn is_disjoint(&self) -> bool {
        let is_gone = |address: &IpAddr| !self.now.contains(address);
        !self.before.is_empty() && !self.now.is_empty() && self.before.iter().all(is_gone)
    }
}

/// Adds up the answers of two traces of a path.
pub fn merge(one: &[HopAnswers], other: &[HopAnswers]) -> Vec<HopAnswers> {
    let mut all: BTreeMap<u8, HopAnswers> = BTreeMap::new();
    for hop in one.iter().chain(other) {
        let sum = all.entry(hop.hop).or_default();
        sum.hop = hop.hop;
        for (address, count) in &hop.addresses {
            sum.addresses.entry(*address).or_default().answers += count.answers;
        }
    }
    all.into_values().collect()
}

/// Returns who answered a probe, unless it was refused on the way: who refuses it need not be a hop.
pub fn answerer(answer: &Answer, target: IpAddr) -> Option<IpAddr> {
    match kind(answer, target) {
        Kind::Router | Kind::Target => answer.from.as_deref()?.parse().ok(),
        _ => None,
    }
}

/// Returns whether a probe did not leave this host.
pub fn is_unsent(answer: &Answer, target: IpAddr) -> bool {
    kind(answer, target) == Kind::Unsent
}

impl Report {
    /// Returns the answers of each hop that answered, those of a flow once.
    pub fn answers(&self) -> Vec<HopAnswers> {
        let hops = self.hops.iter().map(|hop| HopAnswers {
            hop: hop.hop,
            addresses: (hop.nodes.iter())
                .filter(|node| node.error.is_none())
                .map(|node| {
                    let answers = node.flows.len() as u32;
                    (node.address, Count { answers, missed: 0 })
                })
                .collect(),
        });
        hops.filter(|hop| !hop.addresses.is_empty()).collect()
    }

    /// Returns the hops as the history keeps them.
    pub fn traced(&self) -> Vec<TracedHop> {
        let hops = self.hops.iter().map(|hop| TracedHop {
            hop: hop.hop.into(),
            addresses: (hop.nodes.iter())
                .map(|node| node.address.to_string())
                .collect(),
            answers: hop.nodes.iter().map(|node| node.flows.len() as u64).sum(),
            error: hop.nodes.iter().find_map(|node| node.error.clone()),
        });
        hops.filter(|hop| !hop.addresses.is_empty()).collect()
    }
}

/// Reads hops as the history keeps them; what refused probes is not one. An address that is `own` is replaced: the target
/// of one path stands for that of another.
pub fn from_traced(hops: &[TracedHop], own: Option<(IpAddr, IpAddr)>) -> Vec<HopAnswers> {
    let hops = hops.iter().filter(|hop| hop.error.is_none());
    let hops = hops.map(|hop| {
        let parsed = hop.addresses.iter().filter_map(|text| text.parse().ok());
        let addresses: Vec<IpAddr> = parsed.collect();
        // Which of them gave how many is of no importance: all together are compared.
        let share = (hop.answers as u32).div_ceil(addresses.len().max(1) as u32);
        let count = Count {
            answers: share,
            missed: 0,
        };
        let other = |address| match own {
            Some((from, to)) if address == from => to,
            _ => address,
        };
        HopAnswers {
            hop: u8::try_from(hop.hop).unwrap_or(u8::MAX),
            addresses: addresses
                .into_iter()
                .map(|address| (other(address), count))
                .collect(),
        }
    });
    hops.collect()
}

/// Says in words what the path of an outage shows, compared with the one before: where it ends, and what answered behind
/// that before. The path before is known from echo requests. Where routers have several equal ways, probes of another
/// `transport` may take another one without any change.
pub fn outage_words(
    before: Option<&TracedPath>,
    during: &TracedPath,
    transport: Transport,
) -> String {
    let is_echo = transport == Transport::Echo;
    if during.reached {
        return "the trace reached the target".into();
    }
    let joined = |all: &[String]| all.join(" or ");
    let mut words = Vec::new();
    if let Some(before) = before.filter(|_| is_echo) {
        let own = before.target.parse().ok().zip(during.target.parse().ok());
        let compared = compare(
            &from_traced(&before.hops, own),
            &from_traced(&during.hops, None),
        );
        let text = |all: &[IpAddr]| joined(&all.iter().map(IpAddr::to_string).collect::<Vec<_>>());
        let changed = compared
            .iter()
            .find(|one| one.relation == Relation::Changed);
        words.extend(changed.map(|one| {
            let (before, now) = (text(&one.before), text(&one.now));
            format!("hop {} was {before}, is {now}", one.hop)
        }));
    }
    let last = during.hops.last();
    words.push(match last {
        None => "no hop answers".into(),
        Some(hop) => match &hop.error {
            Some(error) => format!("{} (hop {}): {error}", joined(&hop.addresses), hop.hop),
            None => format!(
                "answers end at {} (hop {})",
                joined(&hop.addresses),
                hop.hop
            ),
        },
    });
    let silent = before.and_then(|before| {
        let last = last.map_or(0, |hop| hop.hop);
        let silent = before.hops.iter().find(|hop| hop.hop > last)?;
        // Another target of the network may well answer still.
        let is_other = before.target != during.target && silent.addresses == [&before.target[..]];
        (!is_other).then_some(silent)
    });
    words.extend(silent.map(|hop| {
        let addresses = joined(&hop.addresses);
        let what = if is_echo { "" } else { " echo requests" };
        format!("hop {}, {addresses}, answered{what} before", hop.hop)
    }));
    words.join("; ")
}

/// An address of a remembered path: TTL, address, answers, and answers of others at this TTL since its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Node(u8, IpAddr, u16, u16);

/// A remembered path: 24 bytes an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Remembered(Vec<Node>);

impl Remembered {
    /// Creates one of what a trace showed.
    pub fn new(hops: &[HopAnswers]) -> Remembered {
        let mut path = Remembered::default();
        path.learn(hops);
        path
    }

    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the hops that answered.
    pub fn hops(&self) -> Vec<HopAnswers> {
        let mut hops: Vec<HopAnswers> = Vec::new();
        for Node(hop, address, answers, missed) in &self.0 {
            if hops.last().is_none_or(|last| last.hop != *hop) {
                hops.push(HopAnswers {
                    hop: *hop,
                    ..HopAnswers::default()
                });
            }
            let count = Count {
                answers: (*answers).into(),
                missed: (*missed).into(),
            };
            if let Some(last) = hops.last_mut() {
                last.addresses.insert(*address, count);
            }
        }
        hops
    }

    /// Returns the TTLs that answered.
    pub fn answering(&self) -> Vec<u8> {
        let mut hops: Vec<u8> = self.0.iter().map(|node| node.0).collect();
        hops.dedup();
        hops
    }

    /// Returns whether an address is known at a hop.
    pub fn has(&self, hop: u8, address: IpAddr) -> bool {
        self.0.iter().any(|node| (node.0, node.1) == (hop, address))
    }

    /// Adds what a trace showed.
    pub fn learn(&mut self, hops: &[HopAnswers]) {
        for hop in hops {
            for (address, count) in &hop.addresses {
                let answers = u16::try_from(count.answers).unwrap_or(u16::MAX);
                let same = |node: &&mut Node| (node.0, node.1) == (hop.hop, *address);
                match self.0.iter_mut().find(same) {
                    Some(node) => (node.2, node.3) = (node.2.saturating_add(answers), 0),
                    None => self.0.push(Node(hop.hop, *address, answers, 0)),
                }
            }
        }
        self.0.sort_unstable();
        self.0.shrink_to_fit();
    }

    /// Takes note of an answer to a single probe. Returns false if it is in doubt whether the hop has changed: the address
    /// is another one, or one of the hop's has not answered for long.
    pub fn see(&mut self, hop: u8, address: IpAddr) -> bool {
        let here = self.0.iter().filter(|node| node.0 == hop);
        let ways = here.count();
        if ways == 0 {
            self.0.push(Node(hop, address, 1, 0));
            self.0.sort_unstable();
            return true;
        }
        if !self.has(hop, address) {
            return false;
        }
        let mut is_whole = true;
        for node in self.0.iter_mut().filter(|node| node.0 == hop) {
            if node.1 == address {
                (node.2, node.3) = (node.2.saturating_add(1), 0);
            } else {
                node.3 = node.3.saturating_add(1);
                is_whole &= miss(ways, node.3.into()) >= MAX_CHANCE;
            }
        }
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(hop: u8, addresses: &[(&str, u32)]) -> HopAnswers {
        let count = |answers: &u32| Count {
            answers: *answers,
            missed: 0,
        };
        HopAnswers {
            hop,
            addresses: (addresses.iter())
                .map(|(address, answers)| (address.parse().unwrap(), count(answers)))
                .collect(),
        }
    }

    fn relations(before: &[HopAnswers], now: &[HopAnswers]) -> Vec<Relation> {
        let all = compare(before, now).into_iter();
        all.map(|one| one.relation).collect()
    }

    #[test]
    fn another_address_is_a_change_and_a_silent_hop_is_none() {
        let before = [hop(1, &[("10.0.0.1", 6)]), hop(2, &[("10.1.0.2", 6)])];
        let now = [hop(1, &[("10.0.0.1", 6)]), hop(2, &[("10.2.0.2", 6)])];
        assert_eq!(
            relations(&before, &now),
            [Relation::Same, Relation::Changed]
        );
        assert_eq!(
            relations(&before, &now[..1]),
            [Relation::Same, Relation::SilentNow]
        );
        assert_eq!(
            relations(&before[..1], &now),
            [Relation::Same, Relation::SilentBefore]
        );
        assert_eq!(relations(&before, &[]), [Relation::SilentNow; 2]);
    }

    #[test]
    fn equal_ways_are_a_change_only_when_they_cannot_have_been_missed() {
        let one = |answers| [hop(1, &[("10.0.0.1", answers)])];
        let two = [hop(1, &[("10.0.0.1", 3), ("10.0.0.2", 3)])];
        // A second way that ten answers may have missed, and that twenty have not.
        assert_eq!(relations(&one(10), &two), [Relation::Uncertain]);
        assert_eq!(relations(&one(20), &two), [Relation::Changed]);
        // One of two that six flows may have missed.
        assert_eq!(relations(&two, &one(6)), [Relation::Uncertain]);
        let mut path = Remembered::new(&two);
        let first: IpAddr = "10.0.0.1".parse().unwrap();
        let seen: Vec<bool> = (0..14).map(|_| path.see(1, first)).collect();
        assert_eq!(seen.iter().position(|is_whole| !is_whole), Some(9));
        assert_eq!(relations(&path.hops(), &one(6)), [Relation::Changed]);
    }

    #[test]
    fn four_ways_in_turn_are_never_in_doubt() {
        let ways: Vec<IpAddr> = (1..=4).map(|way| IpAddr::from([10, 0, 0, way])).collect();
        let all = [hop(
            2,
            &[
                ("10.0.0.1", 5),
                ("10.0.0.2", 5),
                ("10.0.0.3", 5),
                ("10.0.0.4", 5),
            ],
        )];
        let mut path = Remembered::new(&all);
        // As random as a hash: a linear congruential sequence.
        let mut state = 1u32;
        for _ in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let is_whole = path.see(2, ways[(state >> 30) as usize]);
            // A doubt is settled by a trace, which finds all of them again.
            if !is_whole {
                assert_eq!(relations(&path.hops(), &all), [Relation::Same; 2]);
                path.learn(&all);
            }
        }
        assert_eq!(path.answering(), [2]);
        assert!(!path.see(2, "10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn words_of_an_outage_say_where_the_answers_end() {
        let path = |target: &str, hops: &[&str], reached| TracedPath {
            target: target.into(),
            reached,
            hops: (hops.iter().zip(1..))
                .filter(|(address, _)| !address.is_empty())
                .map(|(address, hop)| TracedHop {
                    hop,
                    addresses: vec![(*address).into()],
                    answers: 6,
                    error: None,
                })
                .collect(),
            ..TracedPath::default()
        };
        let before = path("10.9.0.1", &["10.0.0.1", "10.1.0.2", "10.9.0.1"], true);
        for (target, hops, reached, expected) in [
            (
                "10.9.0.1",
                &["10.0.0.1"][..],
                false,
                "answers end at 10.0.0.1 (hop 1); hop 2, 10.1.0.2, answered before",
            ),
            (
                "10.9.0.1",
                &["10.0.0.1", "10.2.0.2"],
                false,
                "hop 2 was 10.1.0.2, is 10.2.0.2; answers end at 10.2.0.2 (hop 2); hop 3, 10.9.0.1, answered \
                 before",
            ),
            // The other target was not asked.
            (
                "10.9.0.7",
                &["10.0.0.1", "10.1.0.2"],
                false,
                "answers end at 10.1.0.2 (hop 2)",
            ),
            (
                "10.9.0.1",
                &[],
                false,
                "no hop answers; hop 1, 10.0.0.1, answered before",
            ),
            (
                "10.9.0.1",
                &["10.0.0.1"],
                true,
                "the trace reached the target",
            ),
        ] {
            let during = path(target, hops, reached);
            assert_eq!(
                outage_words(Some(&before), &during, Transport::Echo),
                expected
            );
        }
        let mut refused = path("10.9.0.1", &["10.0.0.1"], false);
        refused.hops[0].error = Some("no route to the network".into());
        assert_eq!(
            outage_words(None, &refused, Transport::Echo),
            "10.0.0.1 (hop 1): no route to the network"
        );
        // Segments may take another of several equal ways than echo requests.
        let during = path("10.9.0.1", &["10.0.0.1", "10.2.0.2"], false);
        assert_eq!(
            outage_words(Some(&before), &during, Transport::Tcp { port: 443 }),
            "answers end at 10.2.0.2 (hop 2); hop 3, 10.9.0.1, answered echo requests before"
        );
    }

    #[test]
    fn another_target_of_the_network_stands_for_the_first() {
        let text = |hop, address: &str| TracedHop {
            hop,
            addresses: vec![address.into()],
            answers: 6,
            error: None,
        };
        let before = [text(1, "10.0.0.1"), text(2, "10.9.0.1")];
        let own = ("10.9.0.1".parse().unwrap(), "10.9.0.7".parse().unwrap());
        let before = from_traced(&before, Some(own));
        let now = [hop(1, &[("10.0.0.1", 6)]), hop(2, &[("10.9.0.7", 6)])];
        assert_eq!(relations(&before, &now), [Relation::Same; 2]);
        let json = serde_json::to_string(&Remembered::new(&now)).unwrap();
        assert_eq!(json, r#"[[1,"10.0.0.1",6,0],[2,"10.9.0.7",6,0]]"#);
        let read: Remembered = serde_json::from_str(&json).unwrap();
        assert_eq!(read.hops(), now);
    }
}
