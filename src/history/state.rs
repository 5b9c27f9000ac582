//! PURE. The state of a monitored target, and when its outages begin and end.
//!
//! A target that was not measured is unknown, never down: a suspended host, a stopped service, a clock that
//! was set are gaps. An outage begins at the send time of its first lost probe, and ends at that of the
//! first answered one. The machine is fed in the order of sending; it can be serialized between any two
//! calls, so that a restart neither ends an outage nor begins one.

use netsonde_core::probe::Fate;
use serde::{Deserialize, Serialize};

use crate::chunk::fate_number;

/// State of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not measured now, or not long enough to tell.
    #[default]
    Unknown,
    /// Answers.
    Up,
    /// Answers, but worse than its own history, by the rule that the caller applied.
    Degraded,
    /// Does not answer.
    Down,
    /// Goes down and up again and again.
    Flapping,
    /// Not probed, on request.
    Paused,
    /// Probed, but its losses are expected and no outage.
    Maintenance,
}

impl State {
    /// Returns the name used in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Up => "up",
            State::Degraded => "degraded",
            State::Down => "down",
            State::Flapping => "flapping",
            State::Paused => "paused",
            State::Maintenance => "maintenance",
        }
    }
}

/// Maximum of `of`: the last probes of a target are remembered as bits.
pub const MAX_OF: u8 = 64;

/// Time in nanoseconds by which a result can be late: six times the longest time limit of a reply.
const MAX_LATE_NS: u64 = 60_000_000_000;

/// When a target counts as down, up or flapping. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Number of lost probes among the last `of` that make an outage; at least 1.
    pub lost: u8,
    /// Number of probes that are looked at: `lost` to 64.
    pub of: u8,
    /// Time in which these lost probes were sent: two losses hours apart are not "in a row".
    pub window_ns: u64,
    /// Number of answered probes in a row that end an outage; at least 1.
    pub answered: u8,
    /// Time without a result after which the state is unknown.
    pub stale_ns: u64,
    /// Number of outages within `flapping_ns` that make a target flapping; at least 2.
    pub flaps: u8,
    /// Time in which these outages begin, and time without a change that ends flapping.
    pub flapping_ns: u64,
}

impl Default for Rule {
    /// The default rule for probes at a second.
    fn default() -> Rule {
        Rule::new(1_000_000_000, 1_000_000_000)
    }
}

impl Rule {
    /// Returns the default rule for probes at an interval and with a time limit: down after 3 of 3 lost
    /// probes, up after 3 answered ones, unknown after 3 intervals and the time limit without a result,
    /// flapping from 3 outages in 10 minutes on (or 60 intervals).
    pub fn new(interval_ns: u64, timeout_ns: u64) -> Rule {
        let several = interval_ns.saturating_mul(3).saturating_add(timeout_ns);
        Rule {
            lost: 3,
            of: 3,
            window_ns: several,
            answered: 3,
            stale_ns: several.saturating_add(1_000_000_000),
            flaps: 3,
            flapping_ns: interval_ns.saturating_mul(60).max(600_000_000_000),
        }
    }
}

/// Why a target is not measured, or its losses do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The monitor is paused.
    Paused,
    /// The target is in maintenance.
    Maintenance,
}

/// An outage of one target. Times are send times of probes, in nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Number of the outage of this target, from 1 on.
    pub number: u64,
    /// First lost probe.
    pub begin_ns: u64,
    /// First answered probe behind the last lost one; `None` while it lasts. If measuring was interrupted, the
    /// time until which the outage is known to have lasted.
    pub end_ns: Option<u64>,
    /// Time by which it had ended: that of the first answered probe. After `end_ns` if measuring was
    /// interrupted.
    pub ended_by_ns: Option<u64>,
    /// Measured time of the outage in nanoseconds: without gaps, and right even if the clock was set.
    pub duration_ns: u64,
    /// Probes lost or answered badly, by fate in the order of [`Fate::ALL`]; the first field has answered ones.
    pub fates: [u32; 9],
    /// Fate of the first lost probe.
    pub first_fate: u8,
    /// Times that the target went down: 1, or more if it is flapping.
    pub times: u32,
    /// Interruptions of measuring within the outage.
    pub gaps: u32,
}

/// What changed. Several may follow from one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another state, since a time in nanoseconds since 1970.
    State(State, u64),
    /// An outage began.
    Began(Outage),
    /// An outage ended.
    Ended(Outage),
    /// Earlier outages are part of this one: the target is flapping. It has the number of the first; the
    /// others have those behind, up to that of the first field.
    Merged(u64, Outage),
}

/// Class of a result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Good,
    /// Answered late or damaged: not lost, and no sign of being well.
    Poor,
    Lost,
}

fn answer(fate: Fate) -> Answer {
    match fate {
        Fate::Replied => Answer::Good,
        Fate::Late | Fate::Corrupted => Answer::Poor,
        _ => Answer::Lost,
    }
}

/// Returns whether a probe with this fate counts as lost: neither answered late, nor damaged.
pub fn is_lost(fate: Fate) -> bool {
    answer(fate) == Answer::Lost
}

/// State machine of a target.
///
/// Serialized it is short, since ten thousand of them are kept in a table: without what has its first value, and
/// without the rule, which is the monitor's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    #[serde(skip)]
    rule: Rule,
    state: State,
    #[serde(skip_serializing_if = "is_default")]
    since_ns: u64,
    #[serde(skip_serializing_if = "is_default")]
    hold: Option<Hold>,
    #[serde(skip_serializing_if = "is_default")]
    is_degraded: bool,
    /// Send time of the last result; 0 if none was measured since the last gap.
    #[serde(skip_serializing_if = "is_default")]
    last_ns: u64,
    /// Send times and fates of the last lost probes, the oldest first: at most as many as the rule looks at.
    #[serde(skip_serializing_if = "is_default")]
    recent: Vec<(u64, Option<u8>)>,
    /// Answered probes in a row.
    #[serde(skip_serializing_if = "is_default")]
    answered: u8,
    /// First of them.
    #[serde(skip_serializing_if = "is_default")]
    first_answered_ns: u64,
    /// Time measured while answered, if an outage is open: it counts if the outage goes on.
    #[serde(skip_serializing_if = "is_default")]
    answered_ns: u64,
    /// First lost probe since the last answer.
    #[serde(skip_serializing_if = "is_default")]
    first_lost_ns: u64,
    /// Last lost probe of an open outage.
    #[serde(skip_serializing_if = "is_default")]
    last_lost_ns: u64,
    /// Whether measuring was interrupted since then.
    #[serde(skip_serializing_if = "is_default")]
    is_end_hidden: bool,
    #[serde(skip_serializing_if = "is_default")]
    number: u64,
    /// End of the last pause or maintenance: probes that were sent before it do not count, although some of
    /// their results come later.
    #[serde(skip_serializing_if = "is_default")]
    resumed_ns: u64,
    #[serde(skip_serializing_if = "is_default")]
    outage: Option<Box<Outage>>,
    /// Outages that ended within the time of the rule, the oldest first; at most as many as make flapping.
    #[serde(skip_serializing_if = "is_default")]
    ended: Vec<Outage>,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new(Rule::default())
    }
}

impl Machine {
    /// Creates a target that was never measured. Values of the rule that make no sense are raised to those
    /// that do.
    pub fn new(rule: Rule) -> Machine {
        Machine {
            rule: valid(rule),
            state: State::Unknown,
            since_ns: 0,
            hold: None,
            is_degraded: false,
            last_ns: 0,
            recent: Vec::new(),
            answered: 0,
            first_answered_ns: 0,
            answered_ns: 0,
            first_lost_ns: 0,
            last_lost_ns: 0,
            is_end_hidden: false,
            number: 0,
            resumed_ns: 0,
            outage: None,
            ended: Vec::new(),
        }
    }

    /// Applies another rule from the next result on.
    pub fn set_rule(&mut self, rule: Rule) {
        self.rule = valid(rule);
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns since when it has this state, in nanoseconds since 1970; 0 if it was never measured.
    pub fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// Returns the send time of the last result in nanoseconds since 1970; 0 if there is none since the last
    /// gap.
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Returns the outage that lasts.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_deref()
    }

    /// Processes the result of a probe.
    pub fn result(&mut self, sent_ns: u64, fate: Fate) -> Vec<Change> {
        let mut changes = Vec::new();
        // A clock that was set back is no reason to wait.
        let early_ns = self.resumed_ns.saturating_sub(sent_ns);
        if self.hold.is_none() && (1..MAX_LATE_NS).contains(&early_ns) {
            return changes;
        }
        let since_ns = sent_ns.checked_sub(self.last_ns);
        if self.last_ns > 0 && since_ns.is_none_or(|since| since > self.rule.stale_ns) {
            // Not measured in between, or the clock was set.
            self.interrupt(self.last_ns, &mut changes);
        }
        let measured_ns = match self.last_ns {
            0 => 0,
            last => sent_ns - last,
        };
        self.last_ns = sent_ns;
        match self.hold {
            Some(Hold::Paused) => return changes,
            Some(Hold::Maintenance) => {
                self.set(State::Maintenance, sent_ns, &mut changes);
                return changes;
            }
            None => {}
        }
        match answer(fate) {
            Answer::Lost => self.lost(sent_ns, fate, measured_ns, &mut changes),
            Answer::Good => self.answered(sent_ns, fate, measured_ns, true, &mut changes),
            Answer::Poor => self.answered(sent_ns, fate, measured_ns, false, &mut changes),
        }
        self.settle(sent_ns, &mut changes);
        changes
    }

    fn lost(&mut self, sent_ns: u64, fate: Fate, measured_ns: u64, changes: &mut Vec<Change>) {
        self.remember(sent_ns, Some(fate_number(fate)));
        if self.answered > 0 || self.first_lost_ns == 0 {
            self.first_lost_ns = sent_ns;
        }
        self.last_lost_ns = sent_ns;
        self.is_end_hidden = false;
        if let Some(outage) = &mut self.outage {
            // Answers before it were too few to end the outage: they are part of it.
            outage.duration_ns += std::mem::take(&mut self.answered_ns) + measured_ns;
            add(&mut outage.fates, fate);
        }
        self.answered = 0;
        if self.outage.is_some() {
            let is_flapping = self.state == State::Flapping;
            let state = if is_flapping {
                State::Flapping
            } else {
                State::Down
            };
            self.set(state, sent_ns, changes);
            return;
        }
        let window = self.rule.window_ns;
        let lost = self
            .recent
            .iter()
            .filter(|(at, fate)| fate.is_some() && sent_ns - at <= window);
        if lost.clone().count() < usize::from(self.rule.lost) {
            return;
        }
        let lost: Vec<(u64, u8)> = lost
            .filter_map(|(at, fate)| Some((*at, (*fate)?)))
            .collect();
        self.begin(&lost, sent_ns, changes);
    }

    fn begin(&mut self, lost: &[(u64, u8)], now_ns: u64, changes: &mut Vec<Change>) {
        let Some((begin_ns, first_fate)) = lost.first().copied() else {
            return;
        };
        self.number += 1;
        let mut outage = Outage {
            number: self.number,
            begin_ns,
            end_ns: None,
            ended_by_ns: None,
            duration_ns: now_ns - begin_ns,
            fates: [0; 9],
            first_fate,
            times: 1,
            gaps: 0,
        };
        for (_, fate) in lost {
            outage.fates[usize::from(*fate)] += 1;
        }
        self.answered_ns = 0;
        let since_ns = now_ns.saturating_sub(self.rule.flapping_ns);
        self.ended
            .retain(|ended| ended.begin_ns >= since_ns || ended.times > 1);
        let is_flapping = self.ended.len() + 1 >= usize::from(self.rule.flaps)
            || self.ended.iter().any(|ended| ended.times > 1);
        if is_flapping {
            let outage = self.merge(outage);
            self.set(State::Flapping, outage.begin_ns, changes);
            changes.push(Change::Merged(self.number, outage.clone()));
            self.outage = Some(Box::new(outage));
        } else {
            self.set(State::Down, begin_ns, changes);
            changes.push(Change::Began(outage.clone()));
            self.outage = Some(Box::new(outage));
        }
    }

    /// Makes one outage of those that ended within the time of the rule, and this one.
    fn merge(&mut self, mut outage: Outage) -> Outage {
        for ended in std::mem::take(&mut self.ended) {
            if ended.number < outage.number {
                outage.number = ended.number;
                outage.begin_ns = ended.begin_ns;
                outage.first_fate = ended.first_fate;
            }
            outage.duration_ns += ended.duration_ns;
            outage.times += ended.times;
            outage.gaps += ended.gaps;
            for (count, more) in outage.fates.iter_mut().zip(ended.fates) {
                *count = count.saturating_add(more);
            }
        }
        outage
    }

    fn answered(
        &mut self,
        sent_ns: u64,
        fate: Fate,
        measured_ns: u64,
        is_good: bool,
        changes: &mut Vec<Change>,
    ) {
        self.remember(sent_ns, None);
        if self.answered == 0 {
            self.first_answered_ns = sent_ns;
            if let Some(outage) = &mut self.outage {
                // The outage lasts until the first answer.
                outage.duration_ns += measured_ns;
            }
            self.answered_ns = 0;
        } else {
            self.answered_ns += measured_ns;
        }
        self.answered = self.answered.saturating_add(1);
        if let Some(outage) = &mut self.outage {
            add(&mut outage.fates, fate);
            if self.answered >= self.rule.answered {
                self.end(self.first_answered_ns, changes);
            }
        }
        if self.outage.is_none() && self.state != State::Flapping {
            let state = if self.is_degraded {
                State::Degraded
            } else {
                State::Up
            };
            let is_known = matches!(self.state, State::Up | State::Degraded);
            if is_good || is_known {
                self.set(state, self.first_answered_ns, changes);
            }
        }
    }

    fn end(&mut self, ended_by_ns: u64, changes: &mut Vec<Change>) {
        let Some(mut outage) = self.outage.take().map(|outage| *outage) else {
            return;
        };
        let is_seen = !self.is_end_hidden;
        outage.end_ns = Some(if is_seen {
            ended_by_ns
        } else {
            self.last_lost_ns
        });
        outage.ended_by_ns = Some(ended_by_ns);
        if self.state != State::Flapping {
            changes.push(Change::Ended(outage.clone()));
        }
        self.ended.push(outage);
        if self.ended.len() > usize::from(self.rule.flaps) {
            self.ended.remove(0);
        }
    }

    /// Ends flapping after a time without a change.
    fn settle(&mut self, now_ns: u64, changes: &mut Vec<Change>) {
        if self.state != State::Flapping {
            return;
        }
        let settled = |since_ns: u64| now_ns.saturating_sub(since_ns) >= self.rule.flapping_ns;
        if self.outage.is_some() {
            if self.answered == 0 && settled(self.first_lost_ns) {
                // Down for good: still the same outage.
                self.set(State::Down, self.first_lost_ns, changes);
            }
        } else if settled(self.first_answered_ns) {
            if let Some(outage) = self.ended.pop() {
                changes.push(Change::Ended(outage));
            }
            self.ended.clear();
            let state = if self.is_degraded {
                State::Degraded
            } else {
                State::Up
            };
            self.set(state, self.first_answered_ns, changes);
        }
    }

    fn remember(&mut self, sent_ns: u64, fate: Option<u8>) {
        while self.recent.len() >= usize::from(self.rule.of) {
            self.recent.remove(0);
        }
        self.recent.push((sent_ns, fate));
    }

    fn set(&mut self, state: State, since_ns: u64, changes: &mut Vec<Change>) {
        if self.state != state {
            self.state = state;
            self.since_ns = since_ns;
            changes.push(Change::State(state, since_ns));
        }
    }

    /// Measuring was interrupted after a time: what came before and what comes now are not in a row. An open
    /// outage stays open, since nothing is known of its end.
    fn interrupt(&mut self, after_ns: u64, changes: &mut Vec<Change>) {
        self.recent.clear();
        if self.outage.is_some() && self.answered > 0 {
            // Answered when last measured: it ended there.
            self.end(self.first_answered_ns, changes);
        }
        if self.state == State::Flapping
            && self.outage.is_none()
            && let Some(outage) = self.ended.pop()
        {
            changes.push(Change::Ended(outage));
        }
        // Not measured never flaps: outages on both sides of a gap are not close together.
        self.ended.clear();
        if let Some(outage) = &mut self.outage {
            outage.gaps = outage.gaps.saturating_add(1);
            self.is_end_hidden = true;
        }
        self.first_lost_ns = 0;
        self.answered = 0;
        self.answered_ns = 0;
        self.last_ns = 0;
        self.is_degraded = false;
        let state = match self.hold {
            Some(Hold::Paused) => State::Paused,
            _ => State::Unknown,
        };
        self.set(state, after_ns, changes);
    }

    /// Declares that the target was not measured from a time on, in nanoseconds since 1970: the service
    /// stopped, the host was suspended, results were dropped, or the clock was set.
    pub fn gap(&mut self, begin_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        self.interrupt(begin_ns, &mut changes);
        changes
    }

    /// Says that time has passed: to be called about every second. Without results for the time of the rule
    /// the state is unknown from the last result on.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.is_stale(now_ns) {
            self.interrupt(self.last_ns, &mut changes);
        }
        changes
    }

    /// Returns the time in nanoseconds since 1970 from which on it is stale without another result, or with a first one
    /// that comes now.
    pub(crate) fn stale_from_ns(&self, now_ns: u64) -> u64 {
        let last_ns = if self.last_ns > 0 {
            self.last_ns
        } else {
            now_ns
        };
        last_ns.saturating_add(self.rule.stale_ns)
    }

    /// Returns whether [`Machine::tick`] at this time finds that it was not measured.
    pub(crate) fn is_stale(&self, now_ns: u64) -> bool {
        self.last_ns > 0 && now_ns.saturating_sub(self.last_ns) > self.rule.stale_ns
    }

    /// Pauses or resumes the monitor, or begins or ends maintenance. An open outage ends: nothing is known
    /// of it behind.
    pub fn hold(&mut self, hold: Option<Hold>, now_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.hold == hold {
            return changes;
        }
        self.hold = hold;
        if hold.is_none() {
            self.resumed_ns = now_ns;
        }
        if hold.is_some() {
            self.is_end_hidden = true;
            self.end(now_ns, &mut changes);
        }
        self.interrupt(now_ns, &mut changes);
        if hold == Some(Hold::Maintenance) {
            self.set(State::Maintenance, now_ns, &mut changes);
        }
        changes
    }

    /// Says whether the target is worse than its own history (see [`crate::degraded`]), from a time on.
    pub fn degraded(&mut self, is_degraded: bool, since_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        self.is_degraded = is_degraded;
        match (self.state, is_degraded) {
            (State::Up, true) => self.set(State::Degraded, since_ns, &mut changes),
            (State::Degraded, false) => self.set(State::Up, since_ns, &mut changes),
            _ => {}
        }
        changes
    }
}

fn add(fates: &mut [u32; 9], fate: Fate) {
    let count = &mut fates[usize::from(fate_number(fate))];
    *count = count.saturating_add(1);
}

fn valid(rule: Rule) -> Rule {
    let lost = rule.lost.clamp(1, MAX_OF);
    Rule {
        lost,
        of: rule.of.clamp(lost, MAX_OF),
        answered: rule.answered.max(1),
        flaps: rule.flaps.max(2),
        ..rule
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// 23:59:00 of a day.
    const START: u64 = 1_800_057_540 * SECOND;

    fn machine() -> Machine {
        Machine::new(Rule::new(SECOND, SECOND))
    }

    /// Feeds a probe a second: `.` replied, `x` unanswered, `n` not sent, `l` late, a space is not measured.
    fn feed(machine: &mut Machine, from: u64, results: &str) -> Vec<Change> {
        let mut changes = Vec::new();
        for (second, result) in (from..).zip(results.chars()) {
            let fate = match result {
                '.' => Fate::Replied,
                'x' => Fate::Unanswered,
                'n' => Fate::NotSent,
                'l' => Fate::Late,
                _ => continue,
            };
            changes.extend(machine.result(at(second), fate));
            changes.extend(machine.tick(at(second)));
        }
        changes
    }

    fn at(second: u64) -> u64 {
        START + second * SECOND
    }

    fn ended(changes: &[Change]) -> Vec<(u64, u64, u64)> {
        let ended = |change: &Change| match change {
            Change::Ended(outage) => {
                let second = |time_ns: u64| (time_ns - START) / SECOND;
                Some((
                    second(outage.begin_ns),
                    second(outage.end_ns?),
                    outage.duration_ns / SECOND,
                ))
            }
            _ => None,
        };
        changes.iter().filter_map(ended).collect()
    }

    fn states(changes: &[Change]) -> Vec<(State, u64)> {
        let state = |change: &Change| match change {
            Change::State(state, since_ns) => Some((*state, (since_ns - START) / SECOND)),
            _ => None,
        };
        changes.iter().filter_map(state).collect()
    }

    #[test]
    fn outages_last_from_the_first_lost_probe_to_the_first_answered_one() {
        // Across midnight.
        let results = format!("{}{}{}", ".".repeat(50), "x".repeat(20), ".".repeat(10));
        let mut machine = machine();
        let changes = feed(&mut machine, 0, &results);
        assert_eq!(ended(&changes), [(50, 70, 20)]);
        assert_eq!(
            states(&changes),
            [(State::Up, 0), (State::Down, 50), (State::Up, 70)]
        );
        let Some(Change::Ended(outage)) = changes
            .iter()
            .find(|change| matches!(change, Change::Ended(_)))
        else {
            panic!()
        };
        assert_eq!(outage.fates, [3, 0, 0, 0, 0, 0, 0, 20, 0]);
        assert_eq!(
            (outage.times, outage.gaps, outage.ended_by_ns),
            (1, 0, outage.end_ns)
        );
    }

    #[test]
    fn down_is_known_with_the_third_lost_probe() {
        let mut machine = machine();
        feed(&mut machine, 0, "..nn");
        assert_eq!(machine.state(), State::Up);
        feed(&mut machine, 4, "n");
        assert_eq!((machine.state(), machine.since_ns()), (State::Down, at(2)));
    }

    #[test]
    fn single_losses_and_losses_hours_apart_are_no_outage() {
        assert_eq!(ended(&feed(&mut machine(), 0, "..xx..x.xx..xx...")), []);
        let mut rule = Rule::new(SECOND, SECOND);
        (rule.lost, rule.of) = (3, 10);
        let mut spread = Machine::new(rule);
        feed(&mut spread, 0, "..x....x....x....");
        assert_eq!(spread.state(), State::Up);
        feed(&mut spread, 20, ".x..x..x");
        assert_eq!(spread.state(), State::Up, "longer than the window");
        feed(&mut spread, 30, ".xx.x");
        assert_eq!(spread.state(), State::Down);
        assert_eq!(spread.since_ns(), at(31));
        let mut hourly = machine();
        for hour in 0..20 {
            hourly.result(at(hour * 4 * 3600), Fate::Unanswered);
        }
        assert_eq!(hourly.state(), State::Unknown);
    }

    #[test]
    fn late_answers_are_no_outage_and_not_measured_is_unknown() {
        assert_eq!(feed(&mut machine(), 0, "lllll"), []);
        let mut machine = machine();
        feed(&mut machine, 0, "...");
        let changes = machine.tick(at(60));
        assert_eq!(states(&changes), [(State::Unknown, 2)]);
        assert_eq!(states(&feed(&mut machine, 100, "...")), [(State::Up, 100)]);
    }

    #[test]
    fn gaps_end_no_outage_and_count_for_none() {
        // Suspended for 1,000 s in an outage, and still down behind it.
        let mut machine = machine();
        let mut changes = feed(&mut machine, 0, "..xxxxx");
        changes.extend(feed(&mut machine, 1000, "xxxx...."));
        assert_eq!(ended(&changes), [(2, 1004, 4 + 4)]);
        // Up again behind it: it ended at some time in between, and lasted for what was measured.
        let mut machine = self::machine();
        let mut changes = feed(&mut machine, 0, "..xxxxx");
        changes.extend(machine.tick(at(500)));
        assert_eq!(machine.state(), State::Unknown);
        changes.extend(feed(&mut machine, 1000, "...."));
        assert_eq!(ended(&changes), [(2, 6, 4)]);
        let by = changes.iter().find_map(|change| match change {
            Change::Ended(outage) => outage.ended_by_ns,
            _ => None,
        });
        assert_eq!(by, Some(at(1000)));
    }

    #[test]
    fn clock_steps_are_gaps() {
        for step in [86_400i64, -86_400, 365 * 86_400] {
            let from = 100_000u64;
            let mut machine = machine();
            let mut changes = feed(&mut machine, from, ".....");
            changes.extend(feed(
                &mut machine,
                from.saturating_add_signed(step),
                ".....",
            ));
            assert_eq!(ended(&changes), [], "{step}");
            // In an outage its duration stays right.
            let mut changes = feed(&mut machine, from.saturating_add_signed(step) + 5, "xxxxx");
            changes.extend(feed(&mut machine, from + 20, "xxxxx...."));
            let all = ended(&changes);
            assert_eq!(all.len(), 1, "{step}");
            assert_eq!(all[0].2, 9, "{step}");
        }
    }

    #[test]
    fn flapping_is_one_outage() {
        let mut machine = machine();
        let changes = feed(&mut machine, 0, &"....xxxx".repeat(14));
        let began = changes
            .iter()
            .filter(|change| matches!(change, Change::Began(_)))
            .count();
        assert_eq!(began, 2, "the first two are not known to be flapping");
        assert_eq!(machine.state(), State::Flapping);
        let changes = feed(&mut machine, 112, &".".repeat(700));
        let Some(Change::Ended(outage)) = changes
            .iter()
            .find(|change| matches!(change, Change::Ended(_)))
        else {
            panic!("{changes:?}")
        };
        assert_eq!(
            (outage.number, outage.times, outage.duration_ns),
            (1, 14, 14 * 4 * SECOND)
        );
        assert_eq!((outage.begin_ns, outage.end_ns), (at(4), Some(at(112))));
        assert_eq!(states(&changes), [(State::Up, 112)]);
        // Later outages are others.
        assert_eq!(ended(&feed(&mut machine, 812, "xxxx....")), [(812, 816, 4)]);
    }

    #[test]
    fn flapping_that_ends_down_stays_the_same_outage() {
        let mut machine = machine();
        feed(&mut machine, 0, &"....xxxx".repeat(5));
        let changes = feed(&mut machine, 40, &"x".repeat(700));
        assert_eq!(states(&changes), [(State::Down, 36)]);
        assert_eq!(
            machine.outage().map(|outage| (outage.number, outage.times)),
            Some((1, 5))
        );
    }

    #[test]
    fn staleness_does_not_flap() {
        let mut machine = machine();
        let mut changes = Vec::new();
        for round in 0..30 {
            changes.extend(feed(&mut machine, round * 20, "....xxxx"));
        }
        assert!(
            changes
                .iter()
                .all(|change| !matches!(change, Change::State(State::Flapping, _)))
        );
    }

    #[test]
    fn pauses_and_maintenance_make_no_outage() {
        let mut machine = machine();
        feed(&mut machine, 0, "....");
        machine.hold(Some(Hold::Maintenance), at(4));
        assert_eq!(feed(&mut machine, 4, "xxxxxxx"), []);
        assert_eq!(machine.state(), State::Maintenance);
        machine.hold(None, at(11));
        assert_eq!(machine.state(), State::Unknown);
        let changes = feed(&mut machine, 11, "xxxx");
        assert!(
            changes
                .iter()
                .any(|change| matches!(change, Change::Began(_)))
        );
        let changes = machine.hold(Some(Hold::Paused), at(15));
        assert_eq!(ended(&changes), [(11, 14, 3)]);
        assert_eq!(machine.tick(at(10_000)), []);
        assert_eq!(machine.state(), State::Paused);
    }

    #[test]
    fn degraded_is_the_callers_word() {
        let mut machine = machine();
        feed(&mut machine, 0, "....");
        assert_eq!(
            states(&machine.degraded(true, at(2))),
            [(State::Degraded, 2)]
        );
        assert_eq!(feed(&mut machine, 4, "...."), []);
        assert_eq!(states(&machine.degraded(false, at(8))), [(State::Up, 8)]);
    }

    proptest! {
        /// Serialized between any two results, the machine goes on as if nothing had been.
        #[test]
        fn restarts_change_nothing(results in "[.xnl ]{0,200}", cut in 0usize..200) {
            let mut whole = machine();
            let mut changes = feed(&mut whole, 0, &results);
            let (before, after) = results.split_at(cut.min(results.len()));
            let mut first = machine();
            let mut pieces = feed(&mut first, 0, before);
            let stored = serde_json::to_string(&first).unwrap();
            let mut second: Machine = serde_json::from_str(&stored).unwrap();
            pieces.extend(feed(&mut second, before.len() as u64, after));
            prop_assert_eq!(&pieces, &changes);
            // Outages are in order, and none is longer than it was measured.
            changes.retain(|change| matches!(change, Change::Ended(_)));
            for change in &changes {
                let Change::Ended(outage) = change else { continue };
                let end_ns = outage.end_ns.unwrap();
                prop_assert!(outage.begin_ns <= end_ns && Some(end_ns) <= outage.ended_by_ns);
                prop_assert!(outage.duration_ns <= outage.ended_by_ns.unwrap() - outage.begin_ns, "{:?}", outage);
                prop_assert!(outage.fates[1..].iter().sum::<u32>() >= 3);
            }
        }
    }
}
