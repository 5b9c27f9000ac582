//! PURE. What a trace shows: hops, the links between their addresses, and what missing answers mean.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::{CONFIDENCE, Kind, Purpose, Sent, Trace, probes_needed};
use crate::protocol::trace::{Interface, Label, Quote};

/// Round trips of one kind, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Shortest.
    pub min: u64,
    /// Mean.
    pub avg: u64,
    /// Longest.
    pub max: u64,
}

impl Times {
    fn of(all: &[u64]) -> Option<Times> {
        let (min, max) = (*all.iter().min()?, *all.iter().max()?);
        let avg = all.iter().sum::<u64>() / all.len() as u64;
        Some(Times { min, avg, max })
    }
}

/// Round trips of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoundTrips {
    /// As programs see them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<Times>,
    /// On the wire of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<Times>,
}

/// An address that answered at a hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Address.
    pub address: IpAddr,
    /// Its name, if it was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Flows that it answered.
    pub flows: Vec<u16>,
    /// Number of answers.
    pub answers: u32,
    /// Round trips.
    #[serde(flatten)]
    pub times: RoundTrips,
    /// TTL of its last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Number of hops that the answer took, if it was sent with the usual TTL of 64, 128 or 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_hops: Option<u8>,
    /// Meaning of the error with which it answered, unless it is that the TTL ended there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// MTU that it reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// MPLS labels of the probe when it arrived there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Interfaces that it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// What it quoted of the last probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// Echo requests to the address itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinged: Option<Pinged>,
}

/// What missing answers of a hop mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every probe was answered.
    Answers,
    /// No probe was answered.
    Silent,
    /// The hop limits its answers: proved by two rates.
    LimitsAnswers,
    /// Some answers are missing, but later hops lose nothing: no packet that goes on is lost there.
    MissesAnswers,
    /// Packets are lost there or before: later hops and the target lose them, too.
    Lossy,
}

/// Probes and answers at one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Probes.
    pub sent: u32,
    /// Answers.
    pub answered: u32,
}

/// Echo requests to a router itself, and their replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pinged {
    /// Their number.
    #[serde(flatten)]
    pub counted: Counted,
    /// Address that replied, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

impl Counted {
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a Sent>) -> Counted {
        let mut counted = Counted::default();
        for sent in all.filter(|sent| sent.outcome.is_some() && sent.kind() != Some(Kind::Unsent)) {
            counted.sent += 1;
            counted.answered += u32::from(sent.answerer().is_some());
        }
        counted
    }

    fn lost(self) -> u32 {
        self.sent - self.answered
    }
}

/// A hop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hop {
    /// TTL.
    pub hop: u8,
    /// Addresses that answered, in the order of their first flow.
    pub nodes: Vec<Node>,
    /// All probes.
    #[serde(flatten)]
    pub counted: Counted,
    /// Probes without an answer, in percent.
    pub unanswered_percent: f64,
    /// What missing answers mean.
    pub verdict: Verdict,
    /// The test at two rates: twenty probes at once, and one a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<[Counted; 2]>,
    /// Whether enough flows were answered to find all equal ways with the stated confidence.
    pub is_explored: bool,
}

/// Two addresses of consecutive hops that the same flow passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// TTL of the first.
    pub hop: u8,
    /// First address.
    pub from: IpAddr,
    /// Address at the next hop.
    pub to: IpAddr,
}

/// An observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// Name of its kind.
    pub id: &'static str,
    /// TTL that it is about; `None` if it is about the whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<u8>,
    /// Description.
    pub text: String,
}

/// The result of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Whether the target answered.
    pub is_reached: bool,
    /// Number of probes.
    pub probes: u32,
    /// Time from the start to the last answer, in nanoseconds.
    pub duration_ns: u64,
    /// Probability with which all equal ways of an explored hop are found.
    pub confidence: f64,
    /// Hops, from the first TTL.
    pub hops: Vec<Hop>,
    /// Links between hops of which at least one has several addresses.
    pub links: Vec<Link>,
    /// What was noticed on the way.
    pub remarks: Vec<Remark>,
}

impl Trace {
    /// Returns what the trace shows so far, without remarks.
    pub(super) fn hops_and_links(&self) -> Report {
        let first = self.settings.first;
        let answered = (first..=self.frontier)
            .rev()
            .find(|hop| self.at(*hop).any(|sent| sent.answerer().is_some()));
        let end = self.end.or(answered).unwrap_or(first);
        let mut hops: Vec<Hop> = (first..=end).map(|hop| self.hop(hop)).collect();
        self.judge(&mut hops);
        let links = self.links(&hops);
        let target = |sent: &&Sent| sent.kind() == Some(Kind::Target);
        Report {
            is_reached: self.sent.iter().any(|sent| target(&sent)),
            probes: self.sent.len() as u32,
            duration_ns: self.ended_ns.saturating_sub(self.started_ns),
            confidence: CONFIDENCE,
            hops,
            links,
            remarks: Vec::new(),
        }
    }

    /// All probes to a TTL, for whatever purpose.
    pub(super) fn all_at(&self, hop: u8) -> impl Iterator<Item = &Sent> {
        let here = self.sent.iter();
        let here = here.filter(move |sent| sent.step.hop_limit == hop);
        here.chain(self.beyond(hop))
    }

    fn hop(&self, hop: u8) -> Hop {
        let mut nodes: Vec<Node> = Vec::new();
        let mut rtts: BTreeMap<IpAddr, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
        for sent in self.all_at(hop) {
            let (Some(address), Some((kind, _, answer))) = (sent.answerer(), &sent.outcome) else {
                continue;
            };
            let at = nodes.iter().position(|node| node.address == address);
            let at = at.unwrap_or_else(|| {
                nodes.push(Node {
                    address,
                    name: None,
                    flows: Vec::new(),
                    answers: 0,
                    times: RoundTrips::default(),
                    ttl: None,
                    return_hops: None,
                    error: None,
                    mtu: None,
                    labels: Vec::new(),
                    interfaces: Vec::new(),
                    quote: None,
                    pinged: self.pinged.get(&address).copied(),
                });
                nodes.len() - 1
            });
            let node = &mut nodes[at];
            node.answers += 1;
            if let Err(place) = node.flows.binary_search(&sent.step.flow) {
                node.flows.insert(place, sent.step.flow);
            }
            node.ttl = answer.ttl.or(node.ttl);
            node.return_hops = node.ttl.and_then(return_hops);
            if let Some(error) = &answer.error {
                node.mtu = error.mtu.or(node.mtu);
                if *kind == Kind::Refuser {
                    node.error = Some(error.meaning.clone());
                }
            }
            if let Some(labels) = &answer.labels {
                node.labels.clone_from(labels);
            }
            if let Some(interfaces) = &answer.interfaces {
                node.interfaces.clone_from(interfaces);
            }
            if answer.quote.is_some() {
                node.quote.clone_from(&answer.quote);
            }
            let (rtt, wire) = rtts.entry(address).or_default();
            rtt.extend(answer.rtt_ns);
            wire.extend(answer.wire_rtt_ns);
        }
        for node in &mut nodes {
            let (rtt, wire) = rtts.remove(&node.address).unwrap_or_default();
            node.times = RoundTrips {
                rtt_ns: Times::of(&rtt),
                wire_rtt_ns: Times::of(&wire),
            };
        }
        let counted = Counted::of(self.all_at(hop));
        let at_rate = |purpose| {
            let all = self.all_at(hop);
            Counted::of(all.filter(|sent| sent.purpose == purpose))
        };
        let rates = [at_rate(Purpose::Fast), at_rate(Purpose::Slow)];
        let has_routers = self.at(hop).any(|sent| sent.kind() == Some(Kind::Router));
        let flows = self.addresses(hop);
        let answered: BTreeSet<u16> = flows.values().flatten().copied().collect();
        let is_explored =
            !flows.is_empty() && (!has_routers || answered.len() >= probes_needed(flows.len()));
        let percent = match counted.sent {
            0 => 0.0,
            sent => f64::from(counted.lost()) * 100.0 / f64::from(sent),
        };
        Hop {
            hop,
            nodes,
            counted,
            unanswered_percent: (percent * 100.0).round() / 100.0,
            verdict: Verdict::Answers,
            rates: (rates[0].sent > 0).then_some(rates),
            is_explored,
        }
    }

    /// Decides what missing answers mean. Loss of a hop is loss only if all later hops that answer lose, too.
    fn judge(&self, hops: &mut [Hop]) {
        let losses: Vec<Counted> = hops.iter().map(|hop| hop.counted).collect();
        for (at, hop) in hops.iter_mut().enumerate() {
            let (sent, answered) = (hop.counted.sent, hop.counted.answered);
            hop.verdict = if answered == 0 {
                Verdict::Silent
            } else if answered == sent {
                Verdict::Answers
            } else {
                let [_, slow] = hop.rates.unwrap_or_default();
                // A bucket of tokens passes what it has, and then a number a second; loss takes a share of any rate.
                let fast = self
                    .all_at(hop.hop)
                    .filter(|sent| sent.purpose == Purpose::Fast);
                let fast: Vec<&Sent> = fast.collect();
                let later = Counted::of(fast.iter().skip(fast.len() / 2).copied());
                let is_limited =
                    slow.sent > 0 && slow.lost() == 0 && later.answered * 10 <= later.sent;
                let mut later = losses[at + 1..].iter().filter(|later| later.answered > 0);
                // Of enough probes, so that the share would have shown.
                let share = f64::from(answered) / f64::from(sent);
                let shows = |later: &Counted| share.powi(later.sent as i32) < 0.05;
                let is_clean = later.any(|later| later.lost() == 0 && shows(later));
                match (is_limited, is_clean) {
                    (true, _) => Verdict::LimitsAnswers,
                    (_, true) => Verdict::MissesAnswers,
                    _ if at + 1 == losses.len() || later_lose(&losses[at + 1..]) => Verdict::Lossy,
                    _ => Verdict::MissesAnswers,
                }
            };
        }
    }

    /// Returns the addresses with which a hop answered one flow, if there are several.
    pub(super) fn spread(&self, hop: u8) -> BTreeSet<IpAddr> {
        let mut flows: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
        for sent in self.sent.iter().filter(|sent| sent.step.hop_limit == hop) {
            if sent.kind() == Some(Kind::Router) {
                let all = flows.entry(sent.step.flow).or_default();
                all.extend(sent.answerer());
            }
        }
        let widest = flows.into_values().max_by_key(BTreeSet::len);
        widest.filter(|all| all.len() > 1).unwrap_or_default()
    }

    fn links(&self, hops: &[Hop]) -> Vec<Link> {
        let mut links = Vec::new();
        // Behind a hop that spreads packets one by one, a flow shows no pairs.
        let mut is_spread = false;
        for pair in hops.windows(2) {
            is_spread |= !self.spread(pair[0].hop).is_empty();
            is_spread &= pair[0].nodes.len() > 1;
            if is_spread && pair[1].nodes.len() > 1 {
                continue;
            }
            if pair[0].nodes.len() < 2 && pair[1].nodes.len() < 2 {
                continue;
            }
            for node in &pair[0].nodes {
                let all = node.flows.iter();
                let ends: BTreeSet<IpAddr> = all
                    .filter(|flow| self.answerer(pair[0].hop, **flow) == Some(node.address))
                    .filter_map(|flow| self.answerer(pair[1].hop, *flow))
                    .collect();
                links.extend(ends.into_iter().map(|to| Link {
                    hop: pair[0].hop,
                    from: node.address,
                    to,
                }));
            }
        }
        links
    }
}

/// Returns whether all hops that answer lose something, and at least one of them answers.
fn later_lose(later: &[Counted]) -> bool {
    let mut answering = later.iter().filter(|one| one.answered > 0).peekable();
    answering.peek().is_some() && answering.all(|one| one.lost() > 0)
}

/// Returns how many hops an answer took, by the next usual initial TTL; `None` if it is more than 40 below that.
pub fn return_hops(ttl: u8) -> Option<u8> {
    let start = match ttl {
        0..=64 => 64,
        65..=128 => 128,
        _ => 255,
    };
    let hops = start - ttl;
    (hops < 40).then_some(hops + 1)
}
