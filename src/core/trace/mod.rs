//! PURE. The trace of a path: which probes to send next, and what their answers show. Time is always an argument.
//!
//! First all TTLs of one flow are sent in a window, up to the target. Then further flows find the hops that have
//! several equal ways, in the manner of the multipath detection algorithm (Augustin et al. 2007; its light form:
//! Vermeulen et al., IMC 2018): a hop with k known addresses is probed until a further one, as likely as they, would
//! have shown with a probability of 95 %. The flows of neighboring hops differ where they can, so that a way that the
//! flows of one hop missed is found at another; a flow that shows a new address is then sent to the hops around, which
//! pairs the addresses. Where a hop has several, one flow is sent again: if its packets do not take one way, flows show no
//! pairs. Where answers are missing, the hop is probed at two rates.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | settings, probes and their outcomes |
//! | `stopping` | number of probes for a confidence |
//! | `plan` | which probes to send next |
//! | `report` | hops, links between them, verdicts |
//! | `remarks` | what was noticed on the way |
//! | `rounds` | a trace that goes on, round by round |
//! | `drawn` | errors that other traffic drew before |
//! | [`mtu`] | the path MTU, hop by hop |
//! | [`path`] | a path that is remembered, and what differs between two |

mod drawn;
pub mod mtu;
pub mod path;
mod plan;
mod remarks;
mod report;
mod rounds;
mod stopping;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::protocol::trace::{Answer, Step};

pub use drawn::{Drawn, DrawnErrors, SeenError};
pub use report::{
    Counted, Hop, Link, Node, Pinged, Remark, Report, RoundTrips, Times, Verdict, return_hops,
};
pub use rounds::{Change, Figures, HopState, RoundHop, RoundReport, Rounds};
pub use stopping::{CONFIDENCE, probes_needed};

/// Number of flows that there may be where the protocol has as many: more than a trace sends probes.
pub const MOST_FLOWS: u16 = 4096;

/// Settings of a trace.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Target.
    pub target: IpAddr,
    /// First TTL.
    pub first: u8,
    /// Highest TTL.
    pub last: u8,
    /// Least number of probes for each hop.
    pub queries: u32,
    /// Number of flows; `None` for as many as are needed to find all ways.
    pub flows: Option<u16>,
    /// Number of flows that there are at most.
    pub most_flows: u16,
    /// Type of service that is sent.
    pub tos: u8,
    /// Time limit of an answer, in nanoseconds.
    pub timeout_ns: u64,
    /// Whether hops that miss answers are probed at two rates, which takes some seconds.
    pub tests_rates: bool,
}

/// Why a probe was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To find the hops and ways.
    Path,
    /// Many in a short time.
    Fast,
    /// One a second.
    Slow,
    /// To see whether packets of one flow take the same way.
    Again,
}

/// Who answered a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A router, since the TTL ended there.
    Router,
    /// The target.
    Target,
    /// A router or the target, which did not let it pass.
    Refuser,
    /// Nobody.
    Lost,
    /// It did not leave this host.
    Unsent,
}

/// A probe with its outcome.
#[derive(Clone, Debug)]
struct Sent {
    step: Step,
    purpose: Purpose,
    /// Time at which it was passed on for sending.
    at_ns: u64,
    outcome: Option<(Kind, Option<IpAddr>, Answer)>,
}

impl Sent {
    fn kind(&self) -> Option<Kind> {
        self.outcome.as_ref().map(|(kind, ..)| *kind)
    }

    /// Returns who answered it.
    fn answerer(&self) -> Option<IpAddr> {
        match &self.outcome {
            Some((Kind::Router | Kind::Target | Kind::Refuser, from, _)) => *from,
            _ => None,
        }
    }
}

/// A trace.
#[derive(Clone, Debug)]
pub struct Trace {
    settings: Settings,
    /// Probes, by number.
    sent: Vec<Sent>,
    /// Probes by TTL and flow, of those for the path.
    by_place: BTreeMap<(u8, u16), Vec<u32>>,
    started_ns: u64,
    /// Highest TTL that was sent of the first flow.
    frontier: u8,
    /// Number of flows that were given out.
    flows: u16,
    rates: plan::RateTest,
    was_repeated: bool,
    /// Echo requests to the routers themselves, by address.
    pinged: BTreeMap<IpAddr, Pinged>,
    /// Time of the last outcome.
    ended_ns: u64,
    /// Highest TTL that belongs to the path, once it is known.
    end: Option<u8>,
}

impl Trace {
    /// Creates a trace that starts now.
    pub fn new(settings: Settings, now_ns: u64) -> Trace {
        Trace {
            frontier: settings.first.saturating_sub(1),
            settings,
            sent: Vec::new(),
            by_place: BTreeMap::new(),
            started_ns: now_ns,
            flows: 1,
            rates: plan::RateTest::default(),
            was_repeated: false,
            pinged: BTreeMap::new(),
            ended_ns: now_ns,
            end: None,
        }
    }

    /// Takes note of the outcome of a probe.
    pub fn add(&mut self, answer: Answer, now_ns: u64) {
        let target = self.settings.target;
        let kind = kind(&answer, target);
        let from = answer.from.as_deref().and_then(|from| from.parse().ok());
        let Some(sent) = self.sent.get_mut(answer.number as usize) else {
            return;
        };
        sent.outcome = Some((kind, from, answer));
        self.ended_ns = now_ns;
    }

    /// Returns what the trace shows so far.
    pub fn report(&self) -> Report {
        let mut report = self.hops_and_links();
        report.remarks = remarks::of(self, &report);
        report
    }

    /// Returns the addresses of routers that miss answers, if hops were tested at two rates: echo requests to the routers
    /// themselves tell whether they are reached.
    pub fn to_ping(&self) -> Vec<IpAddr> {
        if !self.has_rates() {
            return Vec::new();
        }
        let report = self.hops_and_links();
        let missing = |hop: &&Hop| !matches!(hop.verdict, Verdict::Answers | Verdict::Silent);
        let hops = report.hops.iter().filter(missing);
        let nodes = hops.flat_map(|hop| &hop.nodes);
        let mut all: Vec<IpAddr> = nodes
            .map(|node| node.address)
            .filter(|address| *address != self.settings.target)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Takes note of echo requests to a router itself.
    pub fn add_pinged(&mut self, address: IpAddr, pinged: Pinged) {
        self.pinged.insert(address, pinged);
    }

    /// Returns the number of probes that were sent.
    pub fn probe_count(&self) -> usize {
        self.sent.len()
    }

    fn step(&mut self, hop_limit: u8, flow: u16, purpose: Purpose, now_ns: u64) -> Step {
        let number = self.sent.len() as u32;
        let step = Step {
            number,
            hop_limit,
            flow,
        };
        self.sent.push(Sent {
            step,
            purpose,
            at_ns: now_ns,
            outcome: None,
        });
        if purpose == Purpose::Path {
            let place = self.by_place.entry((hop_limit, flow)).or_default();
            place.push(number);
        }
        step
    }

    /// Returns the probes for the path to a TTL.
    fn at(&self, hop: u8) -> impl Iterator<Item = &Sent> {
        let places = self.by_place.range((hop, 0)..=(hop, u16::MAX));
        places.flat_map(|(_, numbers)| numbers.iter().map(|number| &self.sent[*number as usize]))
    }

    /// Returns who answered a flow at a TTL.
    fn answerer(&self, hop: u8, flow: u16) -> Option<IpAddr> {
        let numbers = self.by_place.get(&(hop, flow))?;
        let mut all = numbers.iter().map(|number| &self.sent[*number as usize]);
        all.find_map(Sent::answerer)
    }
}

fn kind(answer: &Answer, target: IpAddr) -> Kind {
    match (answer.fate.as_str(), &answer.error) {
        ("replied" | "late" | "corrupted", _) => Kind::Target,
        ("refused", None) if answer.reset == Some(true) => Kind::Target,
        ("refused", Some(error)) => {
            let (exceeded, port) = match target {
                IpAddr::V4(_) => (11, (3, 3)),
                IpAddr::V6(_) => (3, (1, 4)),
            };
            if error.kind == exceeded && error.code == 0 {
                Kind::Router
            } else if (error.kind, error.code) == port && error.from.parse() == Ok(target) {
                Kind::Target
            } else {
                Kind::Refuser
            }
        }
        ("unresolved" | "not_sent" | "dropped_outbound", _) => Kind::Unsent,
        _ => Kind::Lost,
    }
}

#[cfg(test)]
mod tests;
