//! PURE. The path MTU, hop by hop: which lengths to send next, and what their answers show.
//!
//! Packets as long as the first link carries are sent to each hop that answers, unfragmented. Where they end, either a
//! router reports the MTU of its next link, which is checked with a packet of this length and one a byte longer; or
//! nothing does, and the longest that passes is searched. It goes on from there with that length, up to the target.
//! Hops that limit their answers are asked slowly, and only for which of them longer packets still reach: an answer proves
//! it, and silence nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::report::Remark;
use super::{Kind, Report, Verdict, kind};
use crate::protocol::trace::Answer;

/// Lengths that are tried at once: a run of the service each, of which a user has 32.
const AT_ONCE: u32 = 6;
/// Probes of a length to a hop: with 10 % of loss, one of a thousand lengths that pass seems not to.
const TRIES: usize = 3;
/// Further probes of the least length that seems not to pass.
const AGAIN: usize = 5;
/// Searches that start again, since that length passed after all: more means that packets of any length are lost.
const MAX_AGAIN: u32 = 3;
/// Slow probes to a hop that limits its answers, and the time before each in nanoseconds: more than the second in which
/// usual limits let one answer pass.
const SLOW_TRIES: u32 = 4;
const SLOW_NS: u64 = 1_100_000_000;
/// Rounds of probes: a search takes 5, a path has few narrow links.
const MAX_ROUNDS: u32 = 60;

/// Probes of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Length with the IP header, in bytes.
    pub bytes: u32,
    /// TTL of each.
    pub ttls: Vec<u8>,
}

/// MTU of the path up to a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HopMtu {
    /// TTL.
    pub hop: u8,
    /// Address that answered; `None` if several did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Longest packet that reaches it, in bytes.
    pub mtu: u32,
}

/// How a link that carries shorter packets shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Narrows {
    /// The router before it reports its MTU.
    Reported,
    /// The router before it reports another MTU than that of the packets that pass.
    Misreported,
    /// Longer packets vanish.
    Silent,
}

/// A link that carries shorter packets than those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Narrow {
    /// Last hop that longer packets reach; 0 is this host.
    pub after: u8,
    /// First hop that they do not reach, of those that answer.
    pub before: u8,
    /// Longest packet that passes, in bytes.
    pub mtu: u32,
    /// Length that did not pass.
    pub tried: u32,
    /// How it shows itself.
    pub how: Narrows,
    /// Router that reports an MTU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<IpAddr>,
    /// MTU that it reports; 0 if its error has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<u32>,
}

/// The path MTU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathMtu {
    /// Longest packet that reaches the target, in bytes; `None` if the target does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// MTU of the route on this host.
    pub first: u32,
    /// Number of probes.
    pub probes: u32,
    /// Hops that answer every probe.
    pub hops: Vec<HopMtu>,
    /// Links that carry shorter packets, from this host on.
    pub narrow: Vec<Narrow>,
}

/// An error of a router about the length of a packet.
#[derive(Clone, Copy, Debug)]
struct Claim {
    router: IpAddr,
    hop: u8,
    /// 0 if the error has none.
    mtu: u32,
}

/// A search for the longest packet that reaches a hop.
#[derive(Clone, Copy, Debug)]
struct Search {
    after: u8,
    to: u8,
    /// Passes.
    low: u32,
    /// Does not pass.
    high: u32,
    /// The first length that did not pass.
    tried: u32,
    claim: Option<Claim>,
    restarts: u32,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Of this length to all hops that are left.
    Sweep(u32),
    /// Whether a claim is right.
    Check(Search, Claim),
    Search(Search),
    /// Which of the hops that limit their answers the last narrow link is behind: rounds that are left.
    Locate(u32),
    Done,
}

/// A search for the path MTU.
#[derive(Clone, Debug)]
pub struct MtuSearch {
    target: IpAddr,
    first: u32,
    least: u32,
    /// Hops that answer, up to the target if it does.
    hops: Vec<(u8, Option<IpAddr>)>,
    /// Those that answer not every probe, and lose nothing.
    limited: Vec<(u8, Option<IpAddr>)>,
    /// Addresses of all hops.
    places: BTreeMap<IpAddr, u8>,
    is_reached: bool,
    /// MTU of hops, as far as it is known.
    known: BTreeMap<u8, u32>,
    narrow: Vec<Narrow>,
    stage: Stage,
    pending: Vec<Test>,
    /// TTLs that were reached, by length, in this round.
    reached: BTreeMap<u32, BTreeSet<u8>>,
    claim: Option<Claim>,
    probes: u32,
    rounds: u32,
}

impl MtuSearch {
    /// Prepares a search along the path of a trace. `first`: MTU of the route on this host; `least`: length of the
    /// trace's probes, which is known to pass.
    pub fn new(report: &Report, target: IpAddr, (first, least): (u32, u32)) -> MtuSearch {
        let mut hops = Vec::new();
        let mut limited = Vec::new();
        let mut places = BTreeMap::new();
        for hop in &report.hops {
            for node in &hop.nodes {
                places.entry(node.address).or_insert(hop.hop);
            }
            let is_end = hop.nodes.iter().any(|node| node.address == target);
            let is_refused = hop.nodes.iter().any(|node| node.error.is_some()) && !is_end;
            let address = match &hop.nodes[..] {
                [node] => Some(node.address),
                _ => None,
            };
            // One that limits its answers may be silent for other reasons.
            if (hop.verdict == Verdict::Answers && !is_refused) || (is_end && report.is_reached) {
                hops.push((hop.hop, address));
            } else if !hop.nodes.is_empty() && !is_refused && hop.verdict != Verdict::Lossy {
                limited.push((hop.hop, address));
            }
        }
        MtuSearch {
            target,
            first,
            least,
            is_reached: report.is_reached,
            stage: match hops.is_empty() || first <= least {
                true => Stage::Done,
                false => Stage::Sweep(first),
            },
            hops,
            limited,
            places,
            known: BTreeMap::new(),
            narrow: Vec::new(),
            pending: Vec::new(),
            reached: BTreeMap::new(),
            claim: None,
            probes: 0,
            rounds: 0,
        }
    }

    /// Returns the time for which to wait before the next probes, in nanoseconds.
    pub fn pause_ns(&self) -> u64 {
        match self.stage {
            Stage::Locate(_) => SLOW_NS,
            _ => 0,
        }
    }

    /// Returns the probes to send next, each length in a run of its own; none if the search is over.
    pub fn tests(&mut self) -> Vec<Test> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            self.stage = Stage::Done;
        }
        self.reached.clear();
        self.claim = None;
        let to = |bytes, ttl, count| Test {
            bytes,
            ttls: vec![ttl; count],
        };
        let tests = match self.stage {
            Stage::Done => vec![],
            Stage::Sweep(bytes) => vec![self.sweep(bytes)],
            Stage::Locate(_) => self.locate().into_iter().collect(),
            Stage::Check(search, claim) => vec![
                to(claim.mtu, search.to, TRIES),
                to(claim.mtu + 1, search.to, TRIES),
            ],
            Stage::Search(search) if search.high - search.low == 1 => {
                vec![to(search.high, search.to, AGAIN)]
            }
            Stage::Search(Search {
                low, high, to: ttl, ..
            }) => {
                let count = AT_ONCE.min(high - low - 1);
                let length = |at: u32| low + (high - low) * at / (count + 1);
                let lengths: BTreeSet<u32> = (1..=count).map(length).collect();
                lengths
                    .into_iter()
                    .map(|bytes| to(bytes, ttl, TRIES))
                    .collect()
            }
        };
        self.probes += tests.iter().map(|test| test.ttls.len() as u32).sum::<u32>();
        self.pending.clone_from(&tests);
        tests
    }

    /// One probe to each hop behind which the last narrow link may be.
    fn locate(&self) -> Option<Test> {
        let narrow = self.narrow.last()?;
        let ttls: Vec<u8> = self.between(narrow).map(|(hop, _)| hop).collect();
        let bytes = narrow.tried;
        (!ttls.is_empty()).then_some(Test { bytes, ttls })
    }

    /// Hops that limit their answers, between the ends of a narrow link.
    fn between(&self, narrow: &Narrow) -> impl Iterator<Item = (u8, Option<IpAddr>)> {
        let (after, before) = (narrow.after, narrow.before);
        let all = self.limited.iter().copied();
        all.filter(move |(hop, _)| (after + 1..before).contains(hop))
    }

    fn sweep(&self, bytes: u32) -> Test {
        let left = self
            .hops
            .iter()
            .filter(|(hop, _)| !self.known.contains_key(hop));
        let ttls = left.flat_map(|(hop, _)| [*hop; TRIES]).collect();
        Test { bytes, ttls }
    }

    /// Takes note of the answers to all probes of a length. After those of the last length of a round the next one can
    /// be asked for.
    pub fn add(&mut self, bytes: u32, answers: &[Answer]) {
        let reached = self.reached.entry(bytes).or_default();
        for answer in answers {
            let from = answer.from.as_deref().and_then(|from| from.parse().ok());
            match kind(answer, self.target) {
                Kind::Router | Kind::Target => {
                    reached.insert(answer.hop_limit);
                }
                Kind::Refuser => {
                    let too_big = if self.target.is_ipv4() {
                        (3, 4)
                    } else {
                        (2, 0)
                    };
                    let error = answer.error.as_ref();
                    let error = error.filter(|error| (error.kind, error.code) == too_big);
                    if let (Some(error), Some(router)) = (error, from) {
                        // A packet whose TTL ends there is not too long for it.
                        let hop = self.places.get(&router).copied();
                        let claim = Claim {
                            router,
                            hop: hop.unwrap_or(answer.hop_limit.saturating_sub(1)),
                            mtu: error.mtu.unwrap_or(0),
                        };
                        let is_nearer = self.claim.is_none_or(|other| claim.hop < other.hop);
                        if is_nearer {
                            self.claim = Some(claim);
                        }
                    }
                }
                Kind::Lost | Kind::Unsent => {}
            }
        }
        self.pending.retain(|test| test.bytes != bytes);
        if self.pending.is_empty() {
            self.advance();
        }
    }

    fn passed(&self, bytes: u32, ttl: u8) -> bool {
        self.reached
            .get(&bytes)
            .is_some_and(|all| all.contains(&ttl))
    }

    fn advance(&mut self) {
        self.stage = match self.stage {
            Stage::Done => Stage::Done,
            Stage::Sweep(bytes) => self.after_sweep(bytes),
            Stage::Check(search, claim) => {
                let (right, longer) = (
                    self.passed(claim.mtu, search.to),
                    self.passed(claim.mtu + 1, search.to),
                );
                match (right, longer) {
                    (_, true) => Stage::Search(Search {
                        low: claim.mtu + 1,
                        ..search
                    }),
                    (true, false) => self.found(Search {
                        low: claim.mtu,
                        ..search
                    }),
                    (false, false) => Stage::Search(Search {
                        high: claim.mtu,
                        ..search
                    }),
                }
            }
            Stage::Search(search) => self.after_round(search),
            Stage::Locate(left) => self.after_slow(left),
        };
    }

    fn after_sweep(&mut self, bytes: u32) -> Stage {
        let all = self.reached.get(&bytes).cloned().unwrap_or_default();
        let farthest = all.last().copied();
        for (hop, _) in &self.hops {
            if farthest.is_some_and(|farthest| *hop <= farthest) {
                self.known.entry(*hop).or_insert(bytes);
            }
        }
        let to = self
            .hops
            .iter()
            .find(|(hop, _)| !self.known.contains_key(hop));
        let Some((to, _)) = to.copied() else {
            return Stage::Done;
        };
        let before = self.known.keys().last().copied().unwrap_or(0);
        // An error of a router beyond is of a link beyond.
        let claim = self.claim.filter(|claim| claim.hop < to);
        let search = Search {
            after: claim.map_or(before, |claim| claim.hop.max(before)),
            to,
            low: self.least,
            high: bytes,
            tried: bytes,
            claim,
            restarts: 0,
        };
        match claim {
            Some(claim) if (self.least..bytes).contains(&claim.mtu) && claim.mtu + 1 < bytes => {
                Stage::Check(search, claim)
            }
            Some(claim) if claim.mtu + 1 == bytes => Stage::Search(Search {
                low: claim.mtu,
                ..search
            }),
            _ => Stage::Search(search),
        }
    }

    fn after_round(&mut self, mut search: Search) -> Stage {
        if search.high - search.low == 1 {
            let passes = self.passed(search.high, search.to);
            if !passes {
                return self.found(search);
            }
            // It was lost by chance.
            search.restarts += 1;
            search.low = search.high;
            search.high = search.tried;
            if search.restarts > MAX_AGAIN {
                return Stage::Done;
            }
            if search.low >= search.high {
                return Stage::Sweep(search.tried);
            }
            return Stage::Search(search);
        }
        let tried: Vec<u32> = self.reached.keys().copied().collect();
        let low = tried
            .iter()
            .filter(|bytes| self.passed(**bytes, search.to))
            .max();
        search.low = low.copied().unwrap_or(search.low).max(search.low);
        let above = tried.iter().filter(|bytes| **bytes > search.low);
        search.high = above.min().copied().unwrap_or(search.high).min(search.high);
        Stage::Search(search)
    }

    /// Takes note of a narrow link, and goes on with the longest packet that passes it.
    fn found(&mut self, search: Search) -> Stage {
        let reported = search.claim.map(|claim| claim.mtu);
        self.narrow.push(Narrow {
            after: search.after,
            before: search.to,
            mtu: search.low,
            tried: search.tried,
            how: match reported {
                None => Narrows::Silent,
                Some(mtu) if mtu == search.low => Narrows::Reported,
                Some(_) => Narrows::Misreported,
            },
            router: search.claim.map(|claim| claim.router),
            reported,
        });
        match reported {
            None if self.locate().is_some() => Stage::Locate(SLOW_TRIES),
            _ => Stage::Sweep(search.low),
        }
    }

    /// Takes note of which hops that limit their answers longer packets still reach.
    fn after_slow(&mut self, left: u32) -> Stage {
        let Some(narrow) = self.narrow.last().copied() else {
            return Stage::Done;
        };
        let all: Vec<_> = self.between(&narrow).collect();
        let reached = all
            .iter()
            .rev()
            .find(|(hop, _)| self.passed(narrow.tried, *hop));
        if let (Some((hop, address)), Some(last)) = (reached, self.narrow.last_mut()) {
            last.after = *hop;
            self.known.insert(*hop, narrow.tried);
            self.hops.push((*hop, *address));
            self.hops.sort_unstable();
        }
        match left > 1 && self.locate().is_some() {
            true => Stage::Locate(left - 1),
            false => Stage::Sweep(narrow.mtu),
        }
    }

    /// Returns what was found.
    pub fn report(&self) -> PathMtu {
        let hops = self.hops.iter().filter_map(|(hop, address)| {
            Some(HopMtu {
                hop: *hop,
                address: *address,
                mtu: *self.known.get(hop)?,
            })
        });
        let last = self.hops.last().filter(|_| self.is_reached);
        PathMtu {
            mtu: last.and_then(|(hop, _)| self.known.get(hop)).copied(),
            first: self.first,
            probes: self.probes,
            hops: hops.collect(),
            narrow: self.narrow.clone(),
        }
    }
}

impl PathMtu {
    /// Returns what was found in words.
    pub fn remarks(&self) -> Vec<Remark> {
        self.narrow
            .iter()
            .map(|narrow| self.remark(narrow))
            .collect()
    }

    fn remark(&self, narrow: &Narrow) -> Remark {
        let Narrow {
            after,
            before,
            mtu,
            tried,
            ..
        } = *narrow;
        let reported = match narrow.reported {
            None | Some(0) => "no MTU".to_owned(),
            Some(mtu) => format!("an MTU of {mtu}"),
        };
        let router = narrow
            .router
            .map_or_else(String::new, |router| router.to_string());
        let (id, text) = match narrow.how {
            Narrows::Reported => (
                "mtu-reported",
                format!(
                    "{router} (hop {after}) reports {reported} for packets of {tried} bytes, and {mtu} bytes pass"
                ),
            ),
            Narrows::Misreported => (
                "mtu-misreported",
                format!(
                    "{router} (hop {after}) reports {reported} for packets of {tried} bytes, but those of up to {mtu} \
                     bytes pass, and longer ones do not"
                ),
            ),
            Narrows::Silent => {
                let known = self.hops.iter().find(|hop| hop.hop == after);
                let place = match known.and_then(|hop| hop.address) {
                    Some(address) => format!("behind {address} (hop {after}), before hop {before}"),
                    None if after == 0 => format!("between this host and hop {before}"),
                    None => format!("behind hop {after}, before hop {before}"),
                };
                (
                    "mtu-black-hole",
                    format!(
                        "packets of more than {mtu} bytes vanish {place}, and no router reports an MTU: a black hole"
                    ),
                )
            }
        };
        Remark {
            id,
            hop: Some(after),
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::trace::IcmpError;
    use crate::trace::tests::Net;

    /// What the router before a link does with packets that are too long.
    #[derive(Clone, Copy)]
    enum Does {
        Says(u32),
        Nothing,
    }

    /// A path of five hops, the last of which is the target. The link to hop n has a MTU at n - 1.
    struct Path {
        links: [(u32, Does); 5],
        /// Every how many-th answer is lost; 0 for none.
        loses: u32,
        count: u32,
    }

    impl Path {
        fn answer(&mut self, bytes: u32, ttl: u8) -> Answer {
            let mut answer = Answer {
                hop_limit: ttl,
                fate: "unanswered".into(),
                ..Answer::default()
            };
            self.count += 1;
            if self.loses > 0 && self.count.is_multiple_of(self.loses) {
                return answer;
            }
            let error = |kind, code, hop: u8, mtu| IcmpError {
                kind,
                code,
                from: format!("10.{hop}.0.1"),
                meaning: String::new(),
                mtu,
            };
            for (hop, (mtu, does)) in (1..=5u8).zip(self.links) {
                if bytes > mtu {
                    if let Does::Says(mtu) = does {
                        let mtu = (mtu > 0).then_some(mtu);
                        answer.error = Some(error(3, 4, hop - 1, mtu));
                    }
                    break;
                }
                if hop == ttl && hop < 5 {
                    answer.error = Some(error(11, 0, hop, None));
                    break;
                }
                if hop == 5 {
                    answer.fate = "replied".into();
                    answer.from = Some("10.255.0.1".into());
                    return answer;
                }
            }
            if let Some(error) = &answer.error {
                answer.fate = "refused".into();
                answer.from = Some(error.from.clone());
            }
            answer
        }

        fn search(&mut self) -> PathMtu {
            let mut net = Net::new(&[1; 5], true, 1);
            // It answers from 10.HOP.0.1.
            let (report, _) = net.trace(|_| ());
            let target = "10.255.0.1".parse().expect("address");
            let mut search = MtuSearch::new(&report, target, (1500, 60));
            loop {
                let tests = search.tests();
                if tests.is_empty() {
                    return search.report();
                }
                for test in tests {
                    let ttls = test.ttls.iter();
                    let answers: Vec<Answer> =
                        ttls.map(|ttl| self.answer(test.bytes, *ttl)).collect();
                    search.add(test.bytes, &answers);
                }
            }
        }
    }

    fn path(links: [(u32, Does); 5]) -> Path {
        Path {
            links,
            loses: 0,
            count: 0,
        }
    }

    const WIDE: (u32, Does) = (1500, Does::Nothing);

    fn narrow(found: &PathMtu) -> Vec<(u8, u8, u32, Narrows)> {
        let all = found.narrow.iter();
        all.map(|one| (one.after, one.before, one.mtu, one.how))
            .collect()
    }

    #[test]
    fn a_wide_path_has_no_narrow_link() {
        let found = path([WIDE; 5]).search();
        assert_eq!((found.mtu, found.narrow.len()), (Some(1500), 0));
        assert!(found.hops.iter().all(|hop| hop.mtu == 1500));
        assert_eq!(found.hops.len(), 5);
    }

    #[test]
    fn every_silent_mtu_is_found_to_the_byte() {
        for mtu in (61..1500).step_by(13).chain([61, 1279, 1280, 1498, 1499]) {
            let found = path([WIDE, WIDE, (mtu, Does::Nothing), WIDE, WIDE]).search();
            assert_eq!(found.mtu, Some(mtu));
            assert_eq!(narrow(&found), [(2, 3, mtu, Narrows::Silent)], "{mtu}");
            assert!(found.probes < 200, "{}", found.probes);
        }
    }

    #[test]
    fn reports_are_checked() {
        for (says, how) in [
            (1400, Narrows::Reported),
            (0, Narrows::Misreported),
            (1500, Narrows::Misreported),
            (9000, Narrows::Misreported),
            (1450, Narrows::Misreported),
            (1300, Narrows::Misreported),
            (40, Narrows::Misreported),
        ] {
            let found = path([WIDE, WIDE, (1400, Does::Says(says)), WIDE, WIDE]).search();
            assert_eq!(found.mtu, Some(1400), "{says}");
            assert_eq!(narrow(&found), [(2, 3, 1400, how)], "{says}");
            assert_eq!(found.narrow[0].reported, Some(says));
            let hops: Vec<u32> = found.hops.iter().map(|hop| hop.mtu).collect();
            assert_eq!(hops, [1500, 1500, 1400, 1400, 1400]);
        }
    }

    #[test]
    fn several_narrow_links_are_told_apart() {
        let links = [
            WIDE,
            (1480, Does::Says(1480)),
            (1400, Does::Nothing),
            WIDE,
            (1280, Does::Says(0)),
        ];
        let found = path(links).search();
        let expected = [
            (1, 2, 1480, Narrows::Reported),
            (2, 3, 1400, Narrows::Silent),
            (4, 5, 1280, Narrows::Misreported),
        ];
        assert_eq!(narrow(&found), expected);
        assert_eq!(found.mtu, Some(1280));
        let remarks = found.remarks();
        assert_eq!(remarks.len(), 3);
        assert!(
            remarks[1].text.contains("vanish behind 10.2.0.1 (hop 2)"),
            "{remarks:?}"
        );
    }

    #[test]
    fn hops_that_limit_their_answers_are_asked_slowly() {
        let mut path = path([WIDE, WIDE, WIDE, (1400, Does::Nothing), WIDE]);
        // Hop 2 answers one of five probes, and hop 3 one of three.
        let mut net = Net::new(&[1; 5], true, 1);
        let (mut report, _) = net.trace(|_| ());
        for hop in &mut report.hops[1..3] {
            hop.verdict = Verdict::LimitsAnswers;
        }
        let target = "10.255.0.1".parse().expect("address");
        let mut search = MtuSearch::new(&report, target, (1500, 60));
        let mut slow = [0; 2];
        loop {
            let is_slow = search.pause_ns() > 0;
            let tests = search.tests();
            if tests.is_empty() {
                break;
            }
            for test in tests {
                let mut answers = Vec::new();
                for ttl in &test.ttls {
                    let limit = [5, 3][usize::from(*ttl == 3)];
                    let is_limited = matches!(ttl, 2 | 3);
                    assert_eq!(is_limited, is_slow, "{test:?}");
                    if is_limited {
                        slow[usize::from(*ttl == 3)] += 1;
                    }
                    let is_answered = !is_limited || slow[usize::from(*ttl == 3)] % limit == 0;
                    answers.extend(is_answered.then(|| path.answer(test.bytes, *ttl)));
                }
                search.add(test.bytes, &answers);
            }
        }
        let found = search.report();
        assert_eq!(narrow(&found), [(3, 4, 1400, Narrows::Silent)]);
        assert_eq!(slow, [3, 3]);
        let hops: Vec<u8> = found.hops.iter().map(|hop| hop.hop).collect();
        assert_eq!(hops, [1, 3, 4, 5]);
    }

    #[test]
    fn lost_answers_do_not_change_the_result() {
        for loses in 4..12 {
            let mut path = path([WIDE, WIDE, (1400, Does::Nothing), WIDE, WIDE]);
            path.loses = loses;
            let found = path.search();
            assert_eq!(narrow(&found), [(2, 3, 1400, Narrows::Silent)], "{loses}");
        }
    }
}
