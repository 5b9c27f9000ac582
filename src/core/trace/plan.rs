//! PURE. Which probes to send next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Kind, Purpose, Sent, Trace, probes_needed};
use crate::protocol::trace::Step;

/// TTLs beyond the highest that answered: enough to keep the path full, and few packets too many for the target.
const WINDOW: u8 = 3;
/// Flows that all hops share; they show the links between them. Further ones differ from hop to hop.
const SHARED: u16 = 3;
/// Flows for each address that are sent to the next hop, too.
const PAIRED: usize = 2;
/// Maximum number of flows at a hop: as many as 16 ways need.
const MAX_FLOWS: usize = 112;
/// Maximum number of probes of a trace.
const MAX_PROBES: usize = 3000;
/// Least time after which the next TTLs are sent although a hop is silent, in nanoseconds.
const PATIENCE_NS: u64 = 250_000_000;
/// Probes of a rate test.
const FAST: usize = 20;
const SLOW: usize = 3;
/// Time between two slow probes, in nanoseconds: more than the second in which usual limits let one answer pass.
const SLOW_NS: u64 = 1_100_000_000;
/// Maximum number of hops that are tested.
const MAX_TESTED: usize = 16;

/// The test at two rates.
#[derive(Clone, Debug, Default)]
pub(super) struct RateTest {
    /// Hops, each with the flow that is used.
    hops: Vec<(u8, u16)>,
    was_started: bool,
    slow_sent: usize,
    next_ns: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Probes to send now.
    pub steps: Vec<Step>,
    /// Time at which to ask again at the latest; `None` to wait for outcomes only.
    pub at_ns: Option<u64>,
    /// Whether the trace is complete.
    pub is_done: bool,
}

impl Trace {
    /// Returns what to do next.
    pub fn next(&mut self, now_ns: u64) -> Next {
        let mut next = Next {
            steps: Vec::new(),
            at_ns: None,
            is_done: false,
        };
        let is_unsent = |sent: &Sent| sent.kind() == Some(Kind::Unsent);
        let has_left = self.sent.iter().any(|sent| !is_unsent(sent));
        if !self.sent.is_empty() && !has_left {
            // Nothing leaves this host: more would not, either.
            next.is_done = true;
            return next;
        }
        self.extend_path(&mut next, now_ns);
        if let Some(end) = self.end {
            // The first flow may have lost its probe to the target, and reached it with the next TTL only.
            let all = self.settings.first..end;
            let end = all
                .into_iter()
                .find(|hop| self.is_target_only(*hop))
                .unwrap_or(end);
            self.end = Some(end);
            self.add_flows(end, &mut next.steps, now_ns);
        }
        let is_pending = self.sent.iter().any(|sent| sent.outcome.is_none());
        if next.steps.is_empty() && self.end.is_some() && !is_pending {
            if !self.was_repeated {
                self.repeat_flows(&mut next.steps, now_ns);
            }
            if next.steps.is_empty() && !self.rates.was_started {
                self.start_rate_test(&mut next.steps, now_ns);
            }
            self.go_on_with_rate_test(&mut next, now_ns);
        }
        if next.steps.is_empty() && next.at_ns.is_none() {
            let is_pending = self.sent.iter().any(|sent| sent.outcome.is_none());
            next.is_done = !is_pending && self.end.is_some();
        }
        next
    }

    /// Returns whether the target answers at a hop, and no router.
    fn is_target_only(&self, hop: u8) -> bool {
        let has = |kind: Kind| self.at(hop).any(|sent| sent.kind() == Some(kind));
        has(Kind::Target) && !has(Kind::Router)
    }

    /// Returns the TTL at which the target or a refusal ends the way of a flow.
    fn end_of(&self, flow: u16) -> Option<u8> {
        let all = self.by_place.iter();
        let of_flow = all.filter(|((_, other), _)| *other == flow);
        let is_end = |number: &u32| {
            matches!(
                self.sent[*number as usize].kind(),
                Some(Kind::Target | Kind::Refuser)
            )
        };
        of_flow
            .filter(|(_, numbers)| numbers.iter().any(is_end))
            .map(|((hop, _), _)| *hop)
            .min()
    }

    /// Sends the TTLs of the first flow, until its end is known.
    fn extend_path(&mut self, next: &mut Next, now_ns: u64) {
        if self.end.is_some() {
            return;
        }
        if let Some(end) = self.end_of(0) {
            // The TTLs before it decide whether an earlier one ends there, too.
            let is_known = (self.settings.first..end).all(|hop| {
                let mut at = self.at(hop);
                at.any(|sent| sent.outcome.is_some() || self.is_overdue(sent, now_ns))
            });
            if is_known {
                self.end = Some(end);
            } else {
                next.at_ns = self.overdue_at();
            }
            return;
        }
        let first = self.settings.first;
        let answered = (first..=self.frontier)
            .rev()
            .find(|hop| self.at(*hop).any(|sent| sent.answerer().is_some()));
        let from = answered.unwrap_or(first - 1);
        let behind = (from + 1)..=self.frontier;
        let is_stalled = self.frontier > from
            && behind.clone().all(|hop| {
                let mut at = self.at(hop);
                at.all(|sent| sent.outcome.is_some() || self.is_overdue(sent, now_ns))
            });
        let to = match is_stalled {
            // Whether anything answers beyond: all at once, since each would have to be waited for.
            true if self.frontier - from > WINDOW => self.settings.last,
            true => self.settings.last.min(self.frontier + 2 * WINDOW),
            false => self.settings.last.min(from.saturating_add(WINDOW)),
        };
        for hop in self.frontier + 1..=to {
            next.steps.push(self.step(hop, 0, Purpose::Path, now_ns));
        }
        let was_last = self.frontier == self.settings.last;
        self.frontier = self.frontier.max(to);
        if was_last && self.sent.iter().all(|sent| sent.outcome.is_some()) {
            self.end = Some(from.max(first));
        } else if !is_stalled {
            next.at_ns = self.overdue_at();
        }
    }

    /// Time after which an answer is no longer expected at once, in nanoseconds.
    fn patience_ns(&self) -> u64 {
        let rtts = self.sent.iter().filter_map(|sent| {
            let (.., answer) = sent.outcome.as_ref()?;
            answer.rtt_ns
        });
        let longest = rtts.max().unwrap_or(self.settings.timeout_ns);
        (longest * 3).clamp(PATIENCE_NS, self.settings.timeout_ns.max(PATIENCE_NS))
    }

    fn is_overdue(&self, sent: &Sent, now_ns: u64) -> bool {
        now_ns >= sent.at_ns + self.patience_ns()
    }

    /// Returns when the next probe without an outcome is overdue.
    fn overdue_at(&self) -> Option<u64> {
        let patience_ns = self.patience_ns();
        let pending = self.sent.iter().filter(|sent| sent.outcome.is_none());
        pending.map(|sent| sent.at_ns + patience_ns).max()
    }

    /// Addresses that answered at a hop, with the flows that they answered.
    pub(super) fn addresses(&self, hop: u8) -> BTreeMap<IpAddr, BTreeSet<u16>> {
        let mut all: BTreeMap<IpAddr, BTreeSet<u16>> = BTreeMap::new();
        for sent in self.at(hop) {
            if let Some(from) = sent.answerer() {
                all.entry(from).or_default().insert(sent.step.flow);
            }
        }
        all
    }

    fn was_sent(&self, hop: u8, flow: u16) -> bool {
        self.by_place.contains_key(&(hop, flow))
    }

    /// Sends further flows to all hops.
    fn add_flows(&mut self, end: u8, steps: &mut Vec<Step>, now_ns: u64) {
        let mut wanted: BTreeSet<(u8, u16)> = BTreeSet::new();
        let first = self.settings.first;
        if let Some(flows) = self.settings.flows {
            let each = self.settings.queries.div_ceil(flows.into()).max(1);
            for hop in first..=end {
                for flow in 0..flows {
                    let sent = self.by_place.get(&(hop, flow)).map_or(0, Vec::len);
                    for _ in sent..each as usize {
                        steps.push(self.step(hop, flow, Purpose::Path, now_ns));
                    }
                }
            }
            return;
        }
        let most = self.settings.most_flows;
        let queries = self.settings.queries as u16;
        self.flows = self.flows.max(SHARED.max(queries));
        let mut fresh: BTreeMap<u8, usize> = BTreeMap::new();
        for hop in first..=end {
            self.want_at(hop, end, &mut wanted, &mut fresh);
        }
        wanted.retain(|(hop, flow)| !self.was_sent(*hop, *flow));
        if wanted.iter().any(|(hop, _)| *hop > end) {
            self.end = Some(end + 1);
        }
        for (hop, flow) in wanted {
            if self.sent.len() < MAX_PROBES {
                steps.push(self.step(hop, flow, Purpose::Path, now_ns));
            }
        }
        for (hop, count) in fresh {
            for _ in 0..count {
                let flow = match self.flows < most {
                    true => Some(self.flows),
                    // All are given out: one that this hop has not seen.
                    false => (0..most).find(|flow| !self.was_sent(hop, *flow)),
                };
                self.flows = self.flows.saturating_add(1);
                if let Some(flow) = flow.filter(|_| self.sent.len() < MAX_PROBES) {
                    steps.push(self.step(hop, flow, Purpose::Path, now_ns));
                }
            }
        }
    }

    /// Returns the probes with a higher TTL than that of the target, which answered them all the same.
    pub(super) fn beyond(&self, hop: u8) -> impl Iterator<Item = &Sent> {
        let is_end = self.end == Some(hop);
        let beyond = self.by_place.iter();
        let beyond = beyond.filter(move |((other, _), _)| is_end && *other > hop);
        let numbers = beyond.flat_map(|(_, numbers)| numbers);
        let all = numbers.map(|number| &self.sent[*number as usize]);
        all.filter(|sent| matches!(sent.kind(), Some(Kind::Target | Kind::Refuser)))
    }

    /// Collects the flows that a hop still needs: known ones, and the number of new ones.
    fn want_at(
        &self,
        hop: u8,
        end: u8,
        wanted: &mut BTreeSet<(u8, u16)>,
        fresh: &mut BTreeMap<u8, usize>,
    ) {
        let all: Vec<&Sent> = self.at(hop).collect();
        let here = self.addresses(hop);
        let is_router = |sent: &&Sent| sent.kind() == Some(Kind::Router);
        let is_last = !all.iter().copied().any(|sent| is_router(&sent));
        let queries = self.settings.queries as u16;
        let shared = match hop == end && self.end_of(0).is_some() {
            // Probes of the first flow that went too far reached it, too.
            true => queries
                .saturating_sub(self.beyond(hop).count() as u16)
                .max(1),
            false => SHARED.max(queries),
        };
        wanted.extend((0..shared.min(self.settings.most_flows)).map(|flow| (hop, flow)));
        let lost = all.iter().filter(|sent| sent.kind() == Some(Kind::Lost));
        let lost = lost.count();
        let answered: BTreeSet<u16> = here.values().flatten().copied().collect();
        if answered.is_empty() {
            // By now a limit of one a second that earlier traces used up lets one answer pass.
            if lost == all.len() && lost == usize::from(SHARED.max(queries)) && hop < end {
                fresh.insert(hop, 1);
            }
            return;
        }
        // A way of another length goes on.
        if hop == end && hop < self.settings.last && self.end_of(0).is_some() {
            for sent in all.iter().copied().filter(is_router) {
                wanted.insert((hop + 1, sent.step.flow));
            }
        }
        // The hops around an address, by the flows that showed it.
        let is_alone = here.len() == 1;
        for flows in here.values() {
            for (other, is_inside) in [
                (hop.wrapping_sub(1), hop > self.settings.first),
                (hop + 1, hop < end),
            ] {
                let has_answers = is_inside && self.at(other).any(|sent| sent.answerer().is_some());
                let is_single = is_alone && self.addresses(other).len() <= 1;
                if !has_answers || is_single {
                    continue;
                }
                let ends: BTreeSet<IpAddr> = flows
                    .iter()
                    .filter_map(|flow| self.answerer(other, *flow))
                    .collect();
                // One more than a single end shows; as many as a branch takes, where it is none of this hop alone.
                let needed = match ends.len() {
                    0 | 1 if self.addresses(other).len() <= 1 => 1,
                    0 | 1 if self.addresses(other).len() == here.len() => 1,
                    0 | 1 => PAIRED,
                    count if is_alone => PAIRED.max(count),
                    count => probes_needed(count),
                };
                let sent = flows.iter().filter(|flow| self.was_sent(other, **flow));
                let missing = needed.saturating_sub(sent.count());
                let more = flows.iter().filter(|flow| !self.was_sent(other, **flow));
                wanted.extend(more.take(missing).map(|flow| (other, *flow)));
            }
        }
        if is_last {
            return;
        }
        let pending = all.iter().filter(|sent| sent.outcome.is_none()).count();
        let needed = probes_needed(here.len()).min(MAX_FLOWS);
        let own = wanted
            .iter()
            .filter(|(at, flow)| *at == hop && !self.was_sent(hop, *flow));
        let coming = pending + own.count();
        // The flows that show the ways beside a single address are soon sent to it, too, and count here.
        let is_unsettled = |other: u8| {
            let ways = self.addresses(other);
            let flows: BTreeSet<u16> = ways.values().flatten().copied().collect();
            let is_pending = self.at(other).any(|sent| sent.outcome.is_none());
            ways.len() > 1 && (is_pending || flows.len() < probes_needed(ways.len()))
        };
        let beside = [hop.wrapping_sub(1), hop + 1].into_iter();
        let is_limited = |other: u8| {
            let lost = self
                .at(other)
                .filter(|sent| sent.kind() == Some(Kind::Lost));
            lost.count() > 0
        };
        if is_alone
            && beside
                .clone()
                .any(|other| is_unsettled(other) && !is_limited(other))
        {
            return;
        }
        // A hop that misses more answers than it gives is not asked more.
        if answered.len() + coming < needed && lost <= answered.len() / 2 {
            fresh.insert(hop, needed - answered.len() - coming);
        }
    }

    /// Sends one flow again to the first of each row of hops that have several addresses, unless the number of flows is
    /// given.
    fn repeat_flows(&mut self, steps: &mut Vec<Step>, now_ns: u64) {
        self.was_repeated = true;
        let Some(end) = self.end.filter(|_| self.settings.flows.is_none()) else {
            return;
        };
        let mut was_wide = false;
        for hop in self.settings.first..=end {
            let addresses = self.addresses(hop);
            let is_wide = addresses.len() > 1;
            let flow = addresses.values().flatten().min().copied();
            if let Some(flow) = flow.filter(|_| is_wide && !was_wide) {
                for _ in 0..repeats(addresses.len()) {
                    steps.push(self.step(hop, flow, Purpose::Again, now_ns));
                }
            }
            was_wide = is_wide;
        }
    }

    /// Returns whether hops were tested at two rates.
    pub(super) fn has_rates(&self) -> bool {
        !self.rates.hops.is_empty()
    }

    /// Starts the test of hops that answered some probes and not others, if there are any.
    fn start_rate_test(&mut self, steps: &mut Vec<Step>, now_ns: u64) {
        self.rates.was_started = true;
        let Some(end) = self.end.filter(|_| self.settings.tests_rates) else {
            return;
        };
        let is_lost = |hop: u8| self.at(hop).any(|sent| sent.kind() == Some(Kind::Lost));
        let answers = |hop: u8| self.at(hop).any(|sent| sent.answerer().is_some());
        let all = self.settings.first..=end;
        if !all.clone().any(|hop| is_lost(hop) && answers(hop)) {
            return;
        }
        // What the other hops do decides what it means, and of their few probes all may have passed, or none.
        let mut hops: Vec<u8> = all.clone().filter(|hop| is_lost(*hop)).collect();
        hops.truncate(MAX_TESTED / 2);
        for hop in all.rev() {
            if !hops.contains(&hop) && hops.len() < MAX_TESTED {
                hops.push(hop);
            }
        }
        hops.sort_unstable();
        // Of several ways perhaps one loses: all hops are tested with the flow that lost most.
        let mut lost: BTreeMap<u16, usize> = BTreeMap::new();
        for sent in self
            .sent
            .iter()
            .filter(|sent| sent.kind() == Some(Kind::Lost))
        {
            if sent.step.hop_limit <= end
                && self
                    .at(sent.step.hop_limit)
                    .any(|one| one.answerer().is_some())
            {
                *lost.entry(sent.step.flow).or_default() += 1;
            }
        }
        let most = lost
            .iter()
            .max_by_key(|(flow, count)| (**count, std::cmp::Reverse(**flow)));
        let flow = most.map_or(0, |(flow, _)| *flow);
        self.rates.hops = hops.iter().map(|hop| (*hop, flow)).collect();
        for _ in 0..FAST {
            for (hop, flow) in self.rates.hops.clone() {
                steps.push(self.step(hop, flow, Purpose::Fast, now_ns));
            }
        }
        self.rates.next_ns = now_ns + SLOW_NS;
    }

    /// Sends the slow probes of the test.
    fn go_on_with_rate_test(&mut self, next: &mut Next, now_ns: u64) {
        if !next.steps.is_empty() || self.rates.hops.is_empty() || self.rates.slow_sent >= SLOW {
            return;
        }
        let fast = self
            .sent
            .iter()
            .filter(|sent| sent.purpose == Purpose::Fast);
        let fast_ns = fast.map(|sent| sent.at_ns).max().unwrap_or(0);
        // The limit must have recovered from the fast ones.
        let due = self.rates.next_ns.max(fast_ns + SLOW_NS);
        if now_ns < due {
            next.at_ns = Some(due);
            return;
        }
        self.rates.slow_sent += 1;
        self.rates.next_ns = now_ns + SLOW_NS;
        for (hop, flow) in self.rates.hops.clone() {
            next.steps.push(self.step(hop, flow, Purpose::Slow, now_ns));
        }
    }
}

/// Number of further probes of one flow that a router which spreads packets one by one over so many ways sends all by the
/// same as the first with a probability of at most 4 %: 5 for two, 3 for three and four, 2 for more.
fn repeats(ways: usize) -> usize {
    match ways {
        0..=2 => 5,
        3 | 4 => 3,
        _ => 2,
    }
}
