//! PURE. A trace that goes on: each round one probe to each hop, all of one flow, so that an equal way is no change of
//! the path. Time is always an argument; what is kept does not grow with the number of rounds.
//!
//! Loss is told by one rule: what is lost on the way to a hop is missing at all hops behind it, too. So of a hop's
//! unanswered probes no larger share was lost than of those of each hop behind it that answers.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use serde::Serialize;

use super::{Kind, Settings, kind};
use crate::protocol::time;
use crate::protocol::trace::{Answer, Step};
use crate::text::counted;

/// TTLs beyond the highest that answered.
const WINDOW: u8 = 3;
/// Least number of rounds without an answer after which a hop or the target is told to be silent.
const SILENT_ROUNDS: u32 = 3;
/// Probability below which so many losses in a row are no chance, by the share that was lost before.
const BY_CHANCE: f64 = 0.001;
/// Rounds between two probes up to the highest TTL while the target is not found.
const SWEEP_ROUNDS: u32 = 30;
/// Rounds for which a hop must have had an address, so that the return of a known one is told.
const STABLE_ROUNDS: u32 = 5;
/// Maximum number of addresses of a hop that are kept apart: as many as have a share worth a line.
const MAX_ADDRESSES: usize = 8;
/// Maximum number of changes that are kept: as many as fit a screen below the hops.
const MAX_CHANGES: usize = 16;
/// Maximum number of probes that wait for their outcome; those of earlier rounds are given up. The service keeps no more.
const MAX_PENDING: usize = 4096;

/// Round trips of a hop since the start, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Last one.
    pub last: u64,
    /// Mean.
    pub avg: u64,
    /// Shortest.
    pub min: u64,
    /// Longest.
    pub max: u64,
    /// Standard deviation.
    pub stddev: u64,
}

/// Sums from which [`Figures`] follow (Welford's algorithm).
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: u64,
    last: u64,
    min: u64,
    max: u64,
    mean: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, ns: u64) {
        self.min = if self.count == 0 {
            ns
        } else {
            self.min.min(ns)
        };
        self.max = self.max.max(ns);
        self.last = ns;
        self.count += 1;
        let delta = ns as f64 - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (ns as f64 - self.mean);
    }

    fn figures(&self) -> Option<Figures> {
        (self.count > 0).then(|| Figures {
            last: self.last,
            avg: self.mean as u64,
            min: self.min,
            max: self.max,
            stddev: (self.squares / self.count as f64).max(0.0).sqrt() as u64,
        })
    }
}

/// What the missing answers of a hop mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HopState {
    /// Every probe was answered.
    Answers,
    /// No probe was answered.
    Silent,
    /// The last rounds were not answered, others were.
    NowSilent,
    /// Answers are missing, more than packets are lost: a hop behind it misses fewer or none.
    MissesAnswers,
    /// Answers of the target alone are missing, and they are ICMP errors, whose rate hosts limit: lost, or limited.
    LostOrLimited,
    /// Packets are lost: all hops behind it miss answers, too.
    Lossy,
}

/// A hop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundHop {
    /// TTL.
    pub hop: u8,
    /// Address of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its name, if it was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number of addresses that answered, up to eight.
    pub addresses: usize,
    /// How often the address changed.
    pub changed: u32,
    /// Probes whose outcome is known.
    pub sent: u64,
    /// Answers.
    pub answered: u64,
    /// Probes without an answer, in percent.
    pub unanswered_percent: f64,
    /// Share of packets that can have been lost up to this hop, in percent.
    pub loss_percent: f64,
    /// What missing answers mean.
    pub state: HopState,
    /// Round trips as programs see them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<Figures>,
    /// Round trips on the wire of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire_rtt_ns: Option<Figures>,
}

/// A change of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Time of the probe that showed it.
    pub time: String,
    /// Name of its kind.
    pub id: &'static str,
    /// TTL; `None` if it is about the target or the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<u8>,
    /// Description.
    pub text: String,
    /// Round in which it was seen.
    #[serde(skip)]
    pub round: u32,
}

/// The trace so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundReport {
    /// Number of rounds.
    pub round: u32,
    /// Whether the target has answered.
    pub is_reached: bool,
    /// Hops, from the first TTL.
    pub hops: Vec<RoundHop>,
    /// Changes, the last ones, in the order of time.
    pub changes: Vec<Change>,
    /// Number of all changes.
    pub change_count: u64,
    /// Probes that did not leave this host.
    pub unsent: u64,
    /// Why the last of them did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent_reason: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct HopSums {
    address: Option<IpAddr>,
    /// Addresses that answered.
    known: Vec<IpAddr>,
    changed: u32,
    /// Rounds with the present address.
    rounds_of_address: u32,
    sent: u64,
    answered: u64,
    /// Rounds without an answer until now.
    missed: u32,
    /// Whether its silence has been told.
    is_told_silent: bool,
    /// Whether its last answer was the target's, or a refusal, as an ICMP error.
    is_error_of_target: bool,
    rtt: Sums,
    wire: Sums,
}

impl HopSums {
    /// Returns whether it has answered, and does no longer: what it missed before makes this no chance.
    fn is_now_silent(&self) -> bool {
        let before = self.sent - u64::from(self.missed);
        let lost = before - self.answered.min(before);
        let share = (lost + 1) as f64 / (before + 2) as f64;
        let is_long = self.answered > 0 && self.missed >= SILENT_ROUNDS;
        is_long && share.powi(self.missed.min(1_000_000) as i32) < BY_CHANCE
    }
}

/// A trace that goes on.
#[derive(Clone, Debug)]
pub struct Rounds {
    settings: Settings,
    hops: Vec<HopSums>,
    /// TTL and round of the probes without an outcome, by number.
    pending: BTreeMap<u32, (u8, u32)>,
    next_number: u32,
    round: u32,
    /// Highest TTL that was sent in this round.
    sent_to: u8,
    /// TTL at which the target or a refusal ends the path.
    end: Option<u8>,
    /// Highest TTL to send to while the end is not known.
    reach: u8,
    has_swept: bool,
    is_reached: bool,
    changes: VecDeque<Change>,
    change_count: u64,
    unsent: u64,
    unsent_reason: Option<String>,
    has_left: bool,
}

impl Rounds {
    /// Creates a trace of one flow; of the settings, target, first and last TTL count.
    pub fn new(settings: Settings) -> Rounds {
        let count = usize::from(settings.last - settings.first.min(settings.last)) + 1;
        Rounds {
            reach: settings.last.min(settings.first.saturating_add(WINDOW - 1)),
            hops: vec![HopSums::default(); count],
            settings,
            pending: BTreeMap::new(),
            next_number: 0,
            round: 0,
            sent_to: 0,
            end: None,
            has_swept: false,
            is_reached: false,
            changes: VecDeque::new(),
            change_count: 0,
            unsent: 0,
            unsent_reason: None,
            has_left: false,
        }
    }

    /// Begins a round, and returns its probes.
    pub fn begin(&mut self) -> Vec<Step> {
        self.round = self.round.saturating_add(1);
        if self.end.is_none() && self.round > 1 {
            let answered = self.highest_answered();
            let is_sweep = self.round.is_multiple_of(SWEEP_ROUNDS);
            self.reach = match self.has_swept && !is_sweep {
                true => answered.saturating_add(WINDOW),
                false if is_sweep => self.settings.last,
                false => self.reach.saturating_add(WINDOW),
            }
            .min(self.settings.last);
            self.has_swept |= self.reach == self.settings.last;
        }
        self.sent_to = self.settings.first - 1;
        let to = self.end.unwrap_or(self.reach);
        self.send_to(to)
    }

    /// Returns whether the outcomes of all probes of this round are known.
    pub fn is_complete(&self) -> bool {
        let round = self.round;
        !self.pending.values().any(|(_, of)| *of == round)
    }

    /// Returns the number of rounds that were begun.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Returns whether any probe has left this host.
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// Takes the outcome of a probe. Returns the probes that this round needs beyond.
    pub fn add(&mut self, answer: &Answer) -> Vec<Step> {
        let Some((hop, round)) = self.pending.get(&answer.number).copied() else {
            return Vec::new();
        };
        let kind = kind(answer, self.settings.target);
        let from = answer.from.as_deref().and_then(|from| from.parse().ok());
        let from = from.filter(|_| matches!(kind, Kind::Router | Kind::Target | Kind::Refuser));
        // A late answer replaces a loss that was counted.
        let is_first = answer.instead_of.is_none();
        if answer.is_final || from.is_some() {
            self.pending.remove(&answer.number);
        } else if let Some(entry) = self.pending.get_mut(&answer.number) {
            // It may still be answered, but no round waits for it.
            entry.1 = 0;
        }
        if kind == Kind::Unsent {
            self.unsent += u64::from(is_first);
            self.unsent_reason = answer.last_seen.clone().or(Some(answer.fate.clone()));
            return Vec::new();
        }
        self.has_left = true;
        // Sent before the end was known: the target answers these, too.
        if self.end.is_some_and(|end| hop > end) {
            return Vec::new();
        }
        let at = usize::from(hop - self.settings.first);
        let Some(sums) = self.hops.get_mut(at) else {
            return Vec::new();
        };
        sums.sent += u64::from(is_first);
        let Some(from) = from else {
            sums.missed += u32::from(is_first);
            self.on_miss(hop, answer);
            return Vec::new();
        };
        sums.answered += 1;
        sums.is_error_of_target = kind != Kind::Router && answer.error.is_some();
        let missed = std::mem::take(&mut sums.missed);
        let was_silent = std::mem::take(&mut sums.is_told_silent);
        if let Some(rtt) = answer.rtt_ns {
            sums.rtt.add(rtt);
        }
        if let Some(wire) = answer.wire_rtt_ns {
            sums.wire.add(wire);
        }
        self.on_address(hop, from, answer);
        if kind == Kind::Target {
            self.is_reached = true;
            if was_silent {
                let rounds = counted(missed, "round");
                let text = format!("{from} answers again, after {rounds} without an answer");
                self.change(answer, "target-answers", None, text);
            }
        }
        self.on_place(hop, round, kind)
    }

    /// Gives up what has no outcome: none will come.
    pub fn give_up(&mut self) {
        self.pending.clear();
    }

    /// Notes that probes could not be sent for a time: of those without an outcome none will come.
    pub fn pause(&mut self, time_ns: u64, why: &str) {
        self.give_up();
        let at = Answer {
            time: time(time_ns),
            ..Answer::default()
        };
        self.change(&at, "paused", None, format!("no probes: {why}"));
    }

    /// Notes that probes are sent again.
    pub fn resume(&mut self, time_ns: u64) {
        let at = Answer {
            time: time(time_ns),
            ..Answer::default()
        };
        self.change(&at, "resumed", None, "probes are sent again".into());
    }

    /// Returns what the trace shows so far.
    pub fn report(&self) -> RoundReport {
        let end = self.end.unwrap_or_else(|| self.highest_answered());
        let shown = usize::from((end + 1).saturating_sub(self.settings.first));
        let shown = &self.hops[..shown.min(self.hops.len())];
        let mut hops: Vec<RoundHop> = Vec::with_capacity(shown.len());
        // From the last one on, with the least share that was missed so far.
        let mut least: Option<f64> = None;
        for (at, sums) in shown.iter().enumerate().rev() {
            let missing = sums.sent - sums.answered;
            let share = missing as f64 / sums.sent.max(1) as f64;
            if sums.answered > 0 {
                least = Some(least.map_or(share, |least| least.min(share)));
            }
            let loss = match sums.answered {
                0 => 0.0,
                _ => least.unwrap_or(0.0),
            };
            let is_last = at + 1 == shown.len();
            hops.push(RoundHop {
                hop: self.settings.first + at as u8,
                address: sums.address,
                name: None,
                addresses: sums.known.len(),
                changed: sums.changed,
                sent: sums.sent,
                answered: sums.answered,
                unanswered_percent: percent(share),
                loss_percent: percent(loss),
                state: state(sums, share, loss, is_last),
                rtt_ns: sums.rtt.figures(),
                wire_rtt_ns: sums.wire.figures(),
            });
        }
        hops.reverse();
        judge_end(&mut hops);
        RoundReport {
            round: self.round,
            is_reached: self.is_reached,
            hops,
            changes: self.changes.iter().cloned().collect(),
            change_count: self.change_count,
            unsent: self.unsent,
            unsent_reason: self.unsent_reason.clone(),
        }
    }

    fn highest_answered(&self) -> u8 {
        let last = self.hops.iter().rposition(|sums| sums.answered > 0);
        last.map_or(self.settings.first - 1, |at| self.settings.first + at as u8)
    }

    /// Sends to all TTLs up to one that this round has not had.
    fn send_to(&mut self, to: u8) -> Vec<Step> {
        let to = to.min(self.settings.last);
        let mut steps = Vec::new();
        for hop_limit in self.sent_to + 1..=to {
            let number = self.next_number;
            self.next_number = number.wrapping_add(1);
            self.pending.insert(number, (hop_limit, self.round));
            steps.push(Step {
                number,
                hop_limit,
                flow: 0,
            });
        }
        self.sent_to = self.sent_to.max(to);
        while self.pending.len() > MAX_PENDING {
            self.pending.pop_first();
        }
        steps
    }

    /// Draws conclusions from who answered where: the path ends here, or goes on.
    fn on_place(&mut self, hop: u8, round: u32, kind: Kind) -> Vec<Step> {
        match kind {
            Kind::Router => {
                if self.end.is_some_and(|end| hop < end) {
                    return Vec::new();
                }
                if self.end.take().is_some() {
                    // It goes on where it ended before.
                    self.has_swept = false;
                    self.reach = 0;
                }
                self.reach = self.reach.max(hop.saturating_add(WINDOW));
                self.reach = self.reach.min(self.settings.last);
                match round == self.round {
                    true => self.send_to(hop.saturating_add(WINDOW)),
                    false => Vec::new(),
                }
            }
            _ => {
                self.end = Some(hop);
                let beyond = usize::from(hop - self.settings.first) + 1;
                self.hops[beyond..].fill(HopSums::default());
                // Of a path that is shorter now, the first hop that changed tells all.
                let round = self.round;
                let before = self.changes.len();
                self.changes.retain(|one| {
                    one.round != round || one.hop.is_none_or(|changed| changed <= hop)
                });
                self.change_count -= (before - self.changes.len()) as u64;
                Vec::new()
            }
        }
    }

    /// Takes the address of an answer, and tells if it is another one than before.
    fn on_address(&mut self, hop: u8, from: IpAddr, answer: &Answer) {
        let at = usize::from(hop - self.settings.first);
        let sums = &mut self.hops[at];
        sums.rounds_of_address += 1;
        if sums.address == Some(from) {
            return;
        }
        let is_new = !sums.known.contains(&from);
        let was_stable = sums.rounds_of_address > STABLE_ROUNDS;
        sums.rounds_of_address = 1;
        if is_new && sums.known.len() < MAX_ADDRESSES {
            sums.known.push(from);
        }
        let Some(before) = sums.address.replace(from) else {
            // In the first rounds every hop is new.
            if sums.sent > u64::from(SILENT_ROUNDS) {
                let text = format!("hop {hop} answers for the first time: {from}");
                self.change(answer, "hop-answers", Some(hop), text);
            }
            return;
        };
        sums.changed += 1;
        // Where addresses take turns, it is told once.
        if is_new || was_stable {
            let text = format!("hop {hop} changed from {before} to {from}");
            self.change(answer, "hop-changed", Some(hop), text);
        }
    }

    /// Tells if the target has been silent for long.
    fn on_miss(&mut self, hop: u8, answer: &Answer) {
        if self.end != Some(hop) || !self.is_reached {
            return;
        }
        let sums = &mut self.hops[usize::from(hop - self.settings.first)];
        let missed = sums.missed;
        if sums.is_now_silent() && !sums.is_told_silent {
            sums.is_told_silent = true;
            let text = format!(
                "{} has not answered for {}",
                self.settings.target,
                counted(missed, "round")
            );
            self.change(answer, "target-silent", None, text);
        }
    }

    fn change(&mut self, answer: &Answer, id: &'static str, hop: Option<u8>, text: String) {
        self.change_count += 1;
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(Change {
            time: answer.time.clone(),
            id,
            hop,
            text,
            round: self.round,
        });
    }
}

fn state(sums: &HopSums, share: f64, loss: f64, is_last: bool) -> HopState {
    if sums.answered == 0 {
        return HopState::Silent;
    }
    if sums.is_now_silent() {
        return HopState::NowSilent;
    }
    if sums.sent == sums.answered {
        return HopState::Answers;
    }
    match loss > 0.0 && share <= loss + chance(loss, sums.sent) {
        true if is_last && sums.is_error_of_target => HopState::LostOrLimited,
        true => HopState::Lossy,
        false => HopState::MissesAnswers,
    }
}

/// By how much a share of so many probes differs by chance: three standard deviations.
fn chance(share: f64, count: u64) -> f64 {
    3.0 * (share * (1.0 - share) / count.max(1) as f64).sqrt()
}

/// Decides about the last hop: if hops before it miss as many answers, it has no limit of its own.
fn judge_end(hops: &mut [RoundHop]) {
    let Some((last, before)) = hops.split_last_mut() else {
        return;
    };
    let before = before.iter().rev().find(|hop| hop.answered > 0);
    let (Some(before), HopState::LostOrLimited) = (before, last.state) else {
        return;
    };
    let (loss, share) = (before.loss_percent / 100.0, last.unanswered_percent / 100.0);
    if loss > 0.0 && share <= loss + chance(share, last.sent) {
        last.state = HopState::Lossy;
    }
}

/// A share in percent, to two digits behind the point.
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

#[cfg(test)]
mod tests;
