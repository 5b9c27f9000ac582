//! PURE. The book of outages: the state machines of all targets, their outages joined by cause, and what is told of
//! them. Results come in the order of sending for each target; what was seen of a lost probe comes with it.
//!
//! An outage begins as its target's own, and joins others as soon as a shared cause was seen: while the kernel
//! still believes that a dead gateway is there, its targets are merely unanswered.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use netsonde_core::probe::Fate;
use serde::{Deserialize, Serialize};

use crate::chunk::fate_of;
use crate::shared::{self, Cause, Joined, Joiner, Shared};
use crate::state::{self, Change, Hold, Machine, Rule, State, is_default};

/// Outages that are remembered: with a few targets each about 10 MB. The oldest that have ended go first.
pub const MAX_OUTAGES: usize = 10_000;
/// Targets whose part in an outage is told one by one; further ones are counted.
pub const MAX_MEMBERS: usize = shared::MAX_TARGETS;
/// Earlier outages of a target that flapping may make one of.
const MAX_EARLIER: usize = 16;

/// What was seen of a lost probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The cause.
    pub cause: Cause,
    /// In words.
    pub words: String,
}

/// Kind of an outage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Probes were lost.
    #[default]
    Outage,
    /// Probes were answered worse than before.
    Degraded,
}

/// The part of one target in an outage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The outage of this target. Times are in nanoseconds since 1970.
    #[serde(flatten)]
    pub outage: state::Outage,
    /// What was seen of its first lost probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

/// An outage of one target or of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Number, from 1 on.
    pub id: u64,
    /// Its kind.
    #[serde(default)]
    pub kind: Kind,
    /// Its cause.
    pub cause: Cause,
    /// What was seen, of the first target.
    pub words: String,
    /// Targets, by series.
    pub members: BTreeMap<u32, Member>,
    /// Targets that are not among these, because there were too many.
    #[serde(default)]
    pub left_out: u32,
    /// Number of the packets that show its begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<u64>,
    /// What its losses have to do with the load of an interface, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// The outage that this one turned out to be a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<u64>,
}

impl Outage {
    /// Creates an outage without targets.
    fn new(id: u64, cause: Cause, words: String, evidence: Option<u64>) -> Outage {
        Outage {
            id,
            kind: Kind::Outage,
            cause,
            words,
            members: BTreeMap::new(),
            left_out: 0,
            evidence,
            load: None,
            part_of: None,
        }
    }

    /// Returns the first begin in nanoseconds since 1970.
    pub fn begin_ns(&self) -> u64 {
        let begins = self.members.values().map(|member| member.outage.begin_ns);
        begins.min().unwrap_or(0)
    }

    /// Returns the last end in nanoseconds since 1970; `None` while it lasts.
    pub fn end_ns(&self) -> Option<u64> {
        let ends: Option<Vec<u64>> = (self.members.values())
            .map(|member| member.outage.end_ns)
            .collect();
        ends?.into_iter().max()
    }

    /// Returns the probes of all targets by fate.
    pub fn fates(&self) -> [u64; 9] {
        let mut sum = [0; 9];
        for member in self.members.values() {
            for (sum, count) in sum.iter_mut().zip(member.outage.fates) {
                *sum += u64::from(count);
            }
        }
        sum
    }

    /// Returns the measured time in nanoseconds: of the target that had it longest.
    pub fn duration_ns(&self) -> u64 {
        let durations = self
            .members
            .values()
            .map(|member| member.outage.duration_ns);
        durations.max().unwrap_or(0)
    }

    /// Returns how often its most restless target went down.
    pub fn times(&self) -> u32 {
        let times = self.members.values().map(|member| member.outage.times);
        times.max().unwrap_or(0)
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A target has another state, since a time.
    State(u32, State, u64),
    /// A probe of a target that answered before is lost, sent at this time: an outage may follow.
    Suspect(u32, u64),
    /// It answers again, and no outage followed.
    Cleared(u32),
    /// An outage began.
    Began(u64),
    /// An outage has another target, or another cause.
    Changed(u64),
    /// An outage ended.
    Ended(u64),
    /// An outage turned out to be a part of another.
    PartOf(u64, u64),
}

/// What was seen of a target since the first probe that was lost.
#[derive(Clone, Debug)]
struct Doubt {
    /// Its send time in nanoseconds since 1970.
    since_ns: u64,
    /// What was seen of it.
    words: String,
    /// The last cause other than its own, with its words.
    cause: Option<(Cause, String)>,
}

/// What is kept of a target over a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tracked {
    machine: Machine,
    /// What was seen since the last answer, if a probe was lost.
    #[serde(skip)]
    doubt: Option<Box<Doubt>>,
    /// Packets that are collected since then, or since it is worse.
    #[serde(skip)]
    evidence: Option<u64>,
    /// Words of the last lost probe.
    #[serde(default, skip_serializing_if = "is_default")]
    words: Option<String>,
    /// Its outages by number, the latest last, and those that they are part of.
    #[serde(default, skip_serializing_if = "is_default")]
    outages: Vec<(u64, u64)>,
    /// The outage of kind [`Kind::Degraded`] that it has.
    #[serde(default, skip_serializing_if = "is_default")]
    degraded: Option<u64>,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    targets: HashMap<u32, Tracked>,
    outages: BTreeMap<u64, Outage>,
    joiner: Joiner,
    changed_outages: BTreeSet<u64>,
    /// Outages of which only numbers have changed.
    grown_outages: BTreeSet<u64>,
    changed_targets: BTreeSet<u32>,
    /// Time of the last tick, and the one from which on a target can be stale, in nanoseconds since 1970.
    ticked_ns: u64,
    stale_from_ns: u64,
    /// Outages that were dropped for [`MAX_OUTAGES`].
    pub dropped: u64,
}

impl Book {
    /// Opens a book with what was kept.
    pub fn restore(
        outages: impl Iterator<Item = Outage>,
        targets: impl Iterator<Item = (u32, Tracked)>,
    ) -> Book {
        let outages: BTreeMap<u64, Outage> = outages.map(|outage| (outage.id, outage)).collect();
        let last = outages.keys().next_back().copied().unwrap_or(0);
        let open = outages.values().filter(|outage| {
            outage.part_of.is_none() && outage.end_ns().is_none() && outage.kind == Kind::Outage
        });
        let shared = open.map(|outage| Shared {
            id: outage.id,
            cause: outage.cause.clone(),
            targets: (outage.members.iter())
                .map(|(series, member)| {
                    let member = shared::Member {
                        number: member.outage.number,
                        begin_ns: member.outage.begin_ns,
                        end_ns: member.outage.end_ns,
                    };
                    (*series, member)
                })
                .collect(),
            unlisted: outage.left_out,
        });
        Book {
            joiner: Joiner::restore(last, shared.collect()),
            targets: targets.collect(),
            outages,
            ..Book::default()
        }
    }

    /// Adds a target, or applies another rule to it.
    pub fn track(&mut self, series: u32, rule: Rule) {
        self.stale_from_ns = 0;
        match self.targets.get_mut(&series) {
            Some(tracked) => tracked.machine.set_rule(rule),
            None => {
                let tracked = Tracked {
                    machine: Machine::new(rule),
                    doubt: None,
                    evidence: None,
                    words: None,
                    outages: Vec::new(),
                    degraded: None,
                };
                self.targets.insert(series, tracked);
            }
        }
    }

    /// Returns the targets that are tracked.
    pub fn series(&self) -> impl Iterator<Item = u32> {
        self.targets.keys().copied()
    }

    /// Forgets a target; an outage of it that lasts ends.
    pub fn forget(&mut self, series: u32, now_ns: u64) -> Vec<News> {
        let news = self.hold(series, Some(Hold::Paused), now_ns);
        self.targets.remove(&series);
        self.changed_targets.insert(series);
        news
    }

    /// Returns the state of a target, since when, and the send time of its last probe whose fate is known; 0
    /// where there is none.
    pub fn state(&self, series: u32) -> Option<(State, u64, u64)> {
        let machine = &self.targets.get(&series)?.machine;
        Some((machine.state(), machine.since_ns(), machine.last_ns()))
    }

    /// Returns what was seen of the last lost probe of a target that is not up.
    pub fn words(&self, series: u32) -> Option<&str> {
        let tracked = self.targets.get(&series)?;
        let is_up = matches!(tracked.machine.state(), State::Up | State::Paused);
        tracked.words.as_deref().filter(|_| !is_up)
    }

    /// Returns the outage that a target has.
    pub fn outage_of(&self, series: u32) -> Option<u64> {
        let tracked = self.targets.get(&series)?;
        let number = tracked.machine.outage()?.number;
        let found = tracked
            .outages
            .iter()
            .rev()
            .find(|(known, _)| *known == number);
        Some(found?.1)
    }

    /// Returns the outages, the oldest first.
    pub fn outages(&self) -> impl DoubleEndedIterator<Item = &Outage> {
        self.outages
            .values()
            .filter(|outage| outage.part_of.is_none())
    }

    /// Returns an outage, or the one that it is a part of.
    pub fn outage(&self, id: u64) -> Option<&Outage> {
        let found = self.outages.get(&id)?;
        match found.part_of {
            Some(whole) => self.outages.get(&whole),
            None => Some(found),
        }
    }

    /// Returns the number of an outage, and of those that turned out to be a part of it.
    pub fn parts(&self, id: u64) -> impl Iterator<Item = u64> {
        let is_part = move |outage: &&Outage| outage.id == id || outage.part_of == Some(id);
        let all = self.outages.values().filter(is_part);
        all.map(|outage| outage.id)
    }

    /// Returns what has changed since the last call: outages, `None` for those that were dropped, and targets.
    #[expect(
        clippy::type_complexity,
        reason = "two lists of what to store under which number"
    )]
    pub fn take_changes(&mut self) -> (Vec<(u64, Option<Outage>)>, Vec<(u32, Option<Tracked>)>) {
        let outages = std::mem::take(&mut self.changed_outages).into_iter();
        let outages = outages.map(|id| (id, self.outages.get(&id).cloned()));
        let targets = std::mem::take(&mut self.changed_targets).into_iter();
        let targets = targets.map(|series| (series, self.targets.get(&series).cloned()));
        (outages.collect(), targets.collect())
    }

    /// Says what the losses of an outage have to do with the load of an interface.
    pub fn set_load(&mut self, id: u64, words: String) {
        if let Some(known) = self.outages.get_mut(&id)
            && known.load.as_ref() != Some(&words)
        {
            known.load = Some(words);
            self.changed_outages.insert(id);
        }
    }

    /// Marks outages as changed of which only numbers have changed.
    pub fn mark_grown(&mut self) {
        self.changed_outages.append(&mut self.grown_outages);
    }

    /// Marks all targets as changed: before an orderly end.
    pub fn mark_all(&mut self) {
        self.mark_grown();
        self.changed_targets.extend(self.targets.keys());
    }

    /// Notes that packets are collected of a target that is suspected.
    pub fn attach(&mut self, series: u32, evidence: u64) {
        if let Some(tracked) = self.targets.get_mut(&series) {
            tracked.evidence = Some(evidence);
        }
    }

    /// Processes the result of a probe.
    pub fn result(
        &mut self,
        series: u32,
        sent_ns: u64,
        fate: Fate,
        loss: Option<Loss>,
    ) -> Vec<News> {
        let Some(tracked) = self.targets.get_mut(&series) else {
            return Vec::new();
        };
        let mut news = Vec::new();
        let had_outage = tracked.machine.outage().is_some();
        let changes = tracked.machine.result(sent_ns, fate);
        if let Some(loss) = loss {
            if tracked.doubt.is_none() && !had_outage {
                news.push(News::Suspect(series, sent_ns));
            }
            tracked.words = Some(loss.words.clone());
            let doubt = tracked.doubt.get_or_insert_with(|| {
                Box::new(Doubt {
                    since_ns: sent_ns,
                    words: loss.words.clone(),
                    cause: None,
                })
            });
            if !matches!(loss.cause, Cause::Own { .. }) {
                doubt.cause = Some((loss.cause, loss.words));
            }
        }
        // Nearly all probes are of targets that are up and stay so.
        let is_quiet = tracked.machine.outage().is_none() && tracked.doubt.is_none();
        if !changes.is_empty() || !is_quiet {
            self.apply(series, changes, &mut news);
            self.follow(series, fate, &mut news);
        }
        news
    }

    /// Says what was seen of a lost probe only now, as an error that came late. It counts if the target has been
    /// lost since then.
    pub fn explain(&mut self, series: u32, sent_ns: u64, loss: Loss) -> Vec<News> {
        let mut news = Vec::new();
        let Some(tracked) = self.targets.get_mut(&series) else {
            return news;
        };
        let doubt = tracked.doubt.as_mut();
        let Some(doubt) = doubt.filter(|doubt| doubt.since_ns <= sent_ns) else {
            return news;
        };
        tracked.words = Some(loss.words.clone());
        if !matches!(loss.cause, Cause::Own { .. }) {
            doubt.cause = Some((loss.cause, loss.words));
        }
        if let Some(outage) = tracked.machine.outage() {
            let fate = fate_of(outage.first_fate).unwrap_or(Fate::Unanswered);
            self.follow(series, fate, &mut news);
        }
        news
    }

    /// Keeps the outage of a target up to date, and its cause.
    fn follow(&mut self, series: u32, fate: Fate, news: &mut Vec<News>) {
        let Some(tracked) = self.targets.get_mut(&series) else {
            return;
        };
        let Some(outage) = tracked.machine.outage().cloned() else {
            if fate == Fate::Replied && tracked.doubt.take().is_some() {
                tracked.evidence = None;
                news.push(News::Cleared(series));
            }
            return;
        };
        let number = outage.number;
        let cause = tracked.doubt.as_ref().and_then(|doubt| doubt.cause.clone());
        let Some(id) = self.outage_of(series) else {
            return;
        };
        if let Some(known) = self.outages.get_mut(&id)
            && let Some(member) = known.members.get_mut(&series)
        {
            member.outage = outage;
            let is_own = matches!(known.cause, Cause::Own { .. });
            self.grown_outages.insert(id);
            if let Some((cause, words)) = cause.filter(|(cause, _)| is_own && known.cause != *cause)
            {
                self.rejoin(series, number, (cause, words), news);
            }
        }
    }

    /// A shared cause of an outage was seen only now.
    fn rejoin(
        &mut self,
        series: u32,
        number: u64,
        (cause, words): (Cause, String),
        news: &mut Vec<News>,
    ) {
        let Some((former, is_empty, joined)) = self.joiner.moved(series, number, cause.clone())
        else {
            return;
        };
        let Some(member) = self
            .outages
            .get_mut(&former)
            .and_then(|known| known.members.remove(&series))
        else {
            return;
        };
        let id = joined.id();
        if let Joined::Began(_) = joined {
            let evidence = self.outages.get(&former).and_then(|known| known.evidence);
            self.insert(Outage::new(id, cause, words, evidence));
        }
        self.add(id, series, member);
        if is_empty {
            if let Some(known) = self.outages.get_mut(&former) {
                known.part_of = Some(id);
            }
            news.push(News::PartOf(former, id));
        }
        self.changed_outages.insert(former);
        news.push(match joined {
            Joined::Began(_) => News::Began(id),
            _ => News::Changed(id),
        });
    }

    fn insert(&mut self, outage: Outage) {
        self.changed_outages.insert(outage.id);
        self.outages.insert(outage.id, outage);
        while self.outages.len() > MAX_OUTAGES {
            let ended = self
                .outages
                .iter()
                .find(|(_, known)| known.end_ns().is_some());
            let Some(id) = ended.map(|(id, _)| *id) else {
                break;
            };
            self.outages.remove(&id);
            self.changed_outages.insert(id);
            self.dropped += 1;
        }
    }

    /// Notes that a target has an outage.
    fn add(&mut self, id: u64, series: u32, member: Member) {
        let number = member.outage.number;
        if let Some(outage) = self.outages.get_mut(&id) {
            if outage.members.len() < MAX_MEMBERS || outage.members.contains_key(&series) {
                outage.members.insert(series, member);
            } else {
                outage.left_out += 1;
            }
            self.changed_outages.insert(id);
        }
        if let Some(tracked) = self.targets.get_mut(&series) {
            tracked.outages.retain(|(known, _)| *known != number);
            tracked.outages.push((number, id));
            if tracked.outages.len() > MAX_EARLIER {
                tracked.outages.remove(0);
            }
            self.changed_targets.insert(series);
        }
    }

    fn apply(&mut self, series: u32, changes: Vec<Change>, news: &mut Vec<News>) {
        for change in changes {
            match change {
                Change::State(state, since_ns) => {
                    news.push(News::State(series, state, since_ns));
                    self.changed_targets.insert(series);
                    self.follow_degraded(series, state == State::Degraded, since_ns, news);
                }
                Change::Began(outage) => self.begin(series, outage, news),
                Change::Ended(outage) => self.end(series, outage, news),
                Change::Merged(last, outage) => self.merge(series, last, outage, news),
            }
        }
    }

    fn begin(&mut self, series: u32, outage: state::Outage, news: &mut Vec<News>) {
        let Some(tracked) = self.targets.get(&series) else {
            return;
        };
        let doubt = tracked.doubt.as_deref();
        let evidence = tracked.evidence;
        let first = doubt.map(|doubt| doubt.words.clone());
        let (cause, words) = match doubt.and_then(|doubt| doubt.cause.clone()) {
            Some(seen) => seen,
            None => (Cause::Own { series }, first.clone().unwrap_or_default()),
        };
        let joined = self
            .joiner
            .began(series, outage.number, outage.begin_ns, cause.clone());
        let id = joined.id();
        if !self.outages.contains_key(&id) {
            self.insert(Outage::new(id, cause, words, evidence));
        }
        self.add(id, series, Member { outage, first });
        news.push(match joined {
            Joined::Began(_) => News::Began(id),
            _ => News::Changed(id),
        });
    }

    fn end(&mut self, series: u32, outage: state::Outage, news: &mut Vec<News>) {
        let Some(tracked) = self.targets.get_mut(&series) else {
            return;
        };
        tracked.doubt = None;
        tracked.evidence = None;
        let number = outage.number;
        let known = tracked
            .outages
            .iter()
            .rev()
            .find(|(known, _)| *known == number);
        let Some((_, id)) = known.copied() else {
            return;
        };
        let end_ns = outage.end_ns.unwrap_or(outage.begin_ns);
        if let Some(member) = self
            .outages
            .get_mut(&id)
            .and_then(|known| known.members.get_mut(&series))
        {
            member.outage = outage;
        }
        self.changed_outages.insert(id);
        self.changed_targets.insert(series);
        self.joiner.ended(series, number, end_ns);
        self.joiner.forget(end_ns);
        let has_ended = self
            .outages
            .get(&id)
            .is_some_and(|known| known.end_ns().is_some());
        news.push(if has_ended {
            News::Ended(id)
        } else {
            News::Changed(id)
        });
    }

    /// Outages of a target up to the number `last` are one: it is flapping.
    fn merge(&mut self, series: u32, last: u64, outage: state::Outage, news: &mut Vec<News>) {
        let Some(tracked) = self.targets.get_mut(&series) else {
            return;
        };
        let numbers = outage.number..=last;
        let parts = tracked
            .outages
            .iter()
            .filter(|(number, _)| numbers.contains(number));
        let parts: Vec<(u64, u64)> = parts.copied().collect();
        tracked
            .outages
            .retain(|(number, _)| !numbers.contains(number));
        let first = parts.first().copied();
        let mut words = None;
        for (_, id) in &parts {
            let Some(known) = self.outages.get_mut(id) else {
                continue;
            };
            if let Some(member) = known.members.remove(&series) {
                words = words.or(member.first);
            }
            self.changed_outages.insert(*id);
            if known.members.is_empty()
                && let Some((_, whole)) = first.filter(|(_, whole)| whole != id)
            {
                known.part_of = Some(whole);
                news.push(News::PartOf(*id, whole));
            }
        }
        let Some((_, id)) = first else {
            return self.begin(series, outage, news);
        };
        self.add(
            id,
            series,
            Member {
                outage,
                first: words,
            },
        );
        news.push(News::Changed(id));
    }

    /// Declares that a target was not measured from a time on.
    pub fn gap(&mut self, series: u32, begin_ns: u64) -> Vec<News> {
        self.change(series, |machine| machine.gap(begin_ns))
    }

    /// Says that time has passed, to all targets.
    pub fn tick(&mut self, now_ns: u64) -> Vec<News> {
        // Until the first of them can be stale there is nothing to see; if the clock was set back that is not known.
        if (self.ticked_ns..self.stale_from_ns).contains(&now_ns) {
            self.ticked_ns = now_ns;
            return Vec::new();
        }
        let machines = self.targets.values().map(|tracked| &tracked.machine);
        let earliest = machines.map(|machine| machine.stale_from_ns(now_ns)).min();
        self.stale_from_ns = earliest.unwrap_or(0);
        self.ticked_ns = now_ns;
        let stale = (self.targets.iter()).filter(|(_, tracked)| tracked.machine.is_stale(now_ns));
        let stale: Vec<u32> = stale.map(|(series, _)| *series).collect();
        let each = stale
            .into_iter()
            .map(|series| self.change(series, |machine| machine.tick(now_ns)));
        each.flatten().collect()
    }

    /// Pauses a target, begins maintenance, or ends either.
    pub fn hold(&mut self, series: u32, hold: Option<Hold>, now_ns: u64) -> Vec<News> {
        self.change(series, |machine| machine.hold(hold, now_ns))
    }

    /// A target has an outage of kind [`Kind::Degraded`] as long as that is its state. It is never joined with
    /// others: nothing was seen that they have in common.
    fn follow_degraded(
        &mut self,
        series: u32,
        is_degraded: bool,
        at_ns: u64,
        news: &mut Vec<News>,
    ) {
        let Some(tracked) = self.targets.get_mut(&series) else {
            return;
        };
        match (tracked.degraded, is_degraded) {
            (None, true) => {
                let words = tracked.words.clone().unwrap_or_default();
                let id = self.joiner.alone();
                tracked.degraded = Some(id);
                let outage = state::Outage {
                    number: 0,
                    begin_ns: at_ns,
                    end_ns: None,
                    ended_by_ns: None,
                    duration_ns: 0,
                    fates: [0; 9],
                    first_fate: 0,
                    times: 1,
                    gaps: 0,
                };
                let first = Some(words.clone());
                let member = Member { outage, first };
                // Packets of its begin, if it begins now and not behind an outage.
                let evidence = tracked.evidence.take();
                self.insert(Outage {
                    kind: Kind::Degraded,
                    members: BTreeMap::from([(series, member)]),
                    ..Outage::new(id, Cause::Own { series }, words, evidence)
                });
                news.push(News::Began(id));
            }
            (Some(id), false) => {
                tracked.degraded = None;
                self.extend_degraded(id, at_ns, true);
                news.push(News::Ended(id));
            }
            _ => {}
        }
    }

    /// Says that an outage of kind [`Kind::Degraded`] lasted until a time, or ended then.
    fn extend_degraded(&mut self, id: u64, at_ns: u64, has_ended: bool) {
        let known = self.outages.get_mut(&id);
        for member in known
            .into_iter()
            .flat_map(|known| known.members.values_mut())
        {
            let outage = &mut member.outage;
            let end_ns = at_ns.max(outage.begin_ns);
            outage.duration_ns = end_ns - outage.begin_ns;
            if has_ended {
                (outage.end_ns, outage.ended_by_ns) = (Some(end_ns), Some(end_ns));
                self.changed_outages.insert(id);
            }
            self.grown_outages.insert(id);
        }
    }

    /// Says whether a target answers worse than its own history, and why.
    pub fn degraded(&mut self, series: u32, words: Option<String>, since_ns: u64) -> Vec<News> {
        let is_degraded = words.is_some();
        if let Some(id) = self.targets.get(&series).and_then(|known| known.degraded) {
            self.extend_degraded(id, since_ns, false);
        }
        if let (Some(words), Some(tracked)) = (words, self.targets.get_mut(&series)) {
            tracked.words = Some(words);
        }
        self.change(series, |machine| machine.degraded(is_degraded, since_ns))
    }

    fn change(
        &mut self,
        series: u32,
        change: impl FnOnce(&mut Machine) -> Vec<Change>,
    ) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(tracked) = self.targets.get_mut(&series) {
            let changes = change(&mut tracked.machine);
            if !changes.is_empty() {
                self.changed_targets.insert(series);
                self.apply(series, changes, &mut news);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    fn book(targets: u32) -> Book {
        let mut book = Book::default();
        for series in 0..targets {
            book.track(series, Rule::new(SECOND, SECOND));
        }
        book
    }

    fn gateway() -> Cause {
        Cause::NextHopUnresolved {
            interface: "e0".into(),
            next_hop: "10.0.0.1".into(),
        }
    }

    fn loss(cause: Cause, words: &str) -> Option<Loss> {
        Some(Loss {
            cause,
            words: words.into(),
        })
    }

    /// Sends at these seconds.
    fn send(
        book: &mut Book,
        series: u32,
        seconds: std::ops::Range<u64>,
        fate: Fate,
        cause: &Cause,
    ) -> Vec<News> {
        let mut news = Vec::new();
        for second in seconds {
            let lost = fate != Fate::Replied;
            let seen = lost.then(|| loss(cause.clone(), fate.name())).flatten();
            news.extend(book.result(series, START + second * SECOND, fate, seen));
        }
        news
    }

    #[test]
    fn targets_behind_a_dead_gateway_become_one_outage_when_it_is_seen() {
        let mut book = book(3);
        for series in 0..3 {
            let own = Cause::Own { series };
            send(&mut book, series, 0..5, Fate::Replied, &own);
            send(&mut book, series, 5..12, Fate::Unanswered, &own);
        }
        assert_eq!(book.outages().count(), 3);
        // An error that comes late says it, too.
        let late = loss(gateway(), "late").unwrap();
        book.explain(0, START + 6 * SECOND, late.clone());
        book.explain(1, START + 4 * SECOND, late);
        let causes = book.outages().filter(|outage| outage.cause == gateway());
        assert_eq!(causes.count(), 1, "that of the second was before the loss");
        for series in 0..3 {
            send(&mut book, series, 12..20, Fate::Unresolved, &gateway());
        }
        let all: Vec<&Outage> = book.outages().collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].cause.clone(), all[0].members.len()), (gateway(), 3));
        assert_eq!(all[0].begin_ns(), START + 5 * SECOND);
        assert_eq!(all[0].end_ns(), None);
        assert_eq!(
            book.outage(1).unwrap().id,
            all[0].id,
            "the former numbers lead to it"
        );
        assert_eq!(book.outage_of(2), Some(all[0].id));
        let first = all[0].members[&0].first.clone();
        assert_eq!(
            first.as_deref(),
            Some("unanswered"),
            "words of its first lost probe"
        );
        let mut news = Vec::new();
        for series in 0..3 {
            news.extend(send(&mut book, series, 20..24, Fate::Replied, &gateway()));
        }
        let ended: Vec<&News> = news
            .iter()
            .filter(|news| matches!(news, News::Ended(_)))
            .collect();
        assert_eq!(ended.len(), 1);
        let whole = book.outages().next().unwrap();
        assert_eq!(whole.end_ns(), Some(START + 20 * SECOND));
        assert_eq!(whole.fates().iter().sum::<u64>(), 3 * (15 + 3));
    }

    #[test]
    fn a_single_loss_is_suspected_and_cleared() {
        let mut book = book(1);
        let own = Cause::Own { series: 0 };
        send(&mut book, 0, 0..5, Fate::Replied, &own);
        let news = send(&mut book, 0, 5..6, Fate::Unanswered, &own);
        assert_eq!(news, [News::Suspect(0, START + 5 * SECOND)]);
        assert_eq!(
            send(&mut book, 0, 6..7, Fate::Replied, &own),
            [News::Cleared(0)]
        );
        assert_eq!(book.outages().count(), 0);
    }

    #[test]
    fn a_restart_between_any_two_results_changes_nothing() {
        let script: Vec<(Fate, Cause)> = [
            (4, Fate::Replied, None),
            (5, Fate::Unanswered, None),
            (6, Fate::Unresolved, Some(gateway())),
            (5, Fate::Replied, None),
            (4, Fate::Unanswered, None),
            (9, Fate::Replied, None),
            (4, Fate::Unanswered, None),
            (700, Fate::Replied, None),
        ]
        .into_iter()
        .flat_map(|(count, fate, cause)| {
            let cause = cause.unwrap_or(Cause::Own { series: 0 });
            std::iter::repeat_n((fate, cause), count)
        })
        .collect();
        let run = |restart: usize| {
            let mut kept: BTreeMap<u64, Outage> = BTreeMap::new();
            let mut book = book(1);
            for (at, (fate, cause)) in script.iter().enumerate() {
                let second = at as u64;
                send(&mut book, 0, second..second + 1, *fate, cause);
                let (outages, _) = book.take_changes();
                for (id, outage) in outages {
                    match outage {
                        Some(outage) => kept.insert(id, outage),
                        None => kept.remove(&id),
                    };
                }
                if at == restart {
                    book.mark_all();
                    let (_, targets) = book.take_changes();
                    let text = serde_json::to_string(&targets).unwrap();
                    let targets: Vec<(u32, Option<Tracked>)> = serde_json::from_str(&text).unwrap();
                    let targets = targets
                        .into_iter()
                        .filter_map(|(series, kept)| Some((series, kept?)));
                    let text = serde_json::to_string(&kept).unwrap();
                    let outages: BTreeMap<u64, Outage> = serde_json::from_str(&text).unwrap();
                    book = Book::restore(outages.into_values(), targets);
                }
            }
            let all = kept.into_values().filter(|outage| outage.part_of.is_none());
            let all = all.map(|outage| {
                (
                    outage.begin_ns(),
                    outage.end_ns(),
                    outage.times(),
                    outage.fates(),
                )
            });
            all.collect::<Vec<_>>()
        };
        let whole = run(usize::MAX);
        assert_eq!(
            whole.len(),
            1,
            "three within ten minutes are one: {whole:?}"
        );
        assert_eq!(whole[0].2, 3);
        for restart in 0..60 {
            assert_eq!(run(restart), whole, "after {restart}");
        }
    }

    #[test]
    fn a_degraded_target_has_an_outage_of_its_own() {
        let mut book = book(2);
        for second in 0..5 {
            book.result(0, START + second * SECOND, Fate::Replied, None);
        }
        let words = || Some("median 9 ms, 3 ms before".to_owned());
        book.attach(0, 77);
        let began = book.degraded(0, words(), START + 10 * SECOND);
        assert_eq!(
            began,
            [
                News::State(0, State::Degraded, START + 10 * SECOND),
                News::Began(1)
            ]
        );
        let found = book.outage(1).unwrap();
        assert_eq!((found.kind, found.end_ns()), (Kind::Degraded, None));
        assert_eq!(found.evidence, Some(77));
        assert_eq!(found.words, "median 9 ms, 3 ms before");
        assert_eq!(book.outage_of(0), None, "it is not down");

        // It lasts, over a restart, too.
        assert_eq!(book.degraded(0, words(), START + 70 * SECOND), []);
        assert_eq!(book.outage(1).unwrap().duration_ns(), 60 * SECOND);
        let (outages, targets) = book.take_changes();
        let outages = outages.into_iter().filter_map(|(_, outage)| outage);
        let targets = targets
            .into_iter()
            .filter_map(|(series, target)| Some((series, target?)));
        let mut book = Book::restore(outages, targets);
        book.track(1, Rule::new(SECOND, SECOND));

        // A real outage ends it, and is another one.
        let mut news = Vec::new();
        for second in 5..100 {
            news.extend(book.result(0, START + second * SECOND, Fate::Replied, None));
        }
        assert_eq!(news, []);
        for second in 100..104 {
            let at_ns = START + second * SECOND;
            news.extend(book.result(
                0,
                at_ns,
                Fate::Unanswered,
                loss(Cause::Own { series: 0 }, "no reply"),
            ));
        }
        assert!(news.contains(&News::Ended(1)), "{news:?}");
        assert!(news.contains(&News::Began(2)), "{news:?}");
        let begin_ns = book.outage(2).unwrap().begin_ns();
        assert_eq!(begin_ns, START + 100 * SECOND);
        assert_eq!(book.outage(1).unwrap().end_ns(), Some(begin_ns));
        assert_eq!(book.outage(2).unwrap().kind, Kind::Outage);
        assert_eq!(book.outages().count(), 2);
    }

    #[test]
    fn a_clock_set_a_day_ahead_and_back_is_unknown_and_no_outage() {
        const DAY: i64 = 86_400 * SECOND as i64;
        // A result of the time after the step may come before the step is noticed, or behind it.
        for is_noticed_first in [true, false] {
            let mut book = book(2);
            let mut news = Vec::new();
            let mut step_ns = 0;
            for second in 0..60u64 {
                let at_ns = |second: u64| (START + second * SECOND).saturating_add_signed(step_ns);
                // Answered, and one target is lost from the middle of the time with the wrong clock on.
                let measure = |book: &mut Book, at_ns: u64, news: &mut Vec<News>| {
                    news.extend(book.result(0, at_ns, Fate::Replied, None));
                    let own = Cause::Own { series: 1 };
                    match second {
                        35..45 => news.extend(book.result(
                            1,
                            at_ns,
                            Fate::Unanswered,
                            loss(own, "no reply"),
                        )),
                        _ => news.extend(book.result(1, at_ns, Fate::Replied, None)),
                    }
                };
                let step = match second {
                    20 => Some(DAY),
                    40 => Some(0),
                    _ => None,
                };
                let Some(after_ns) = step else {
                    measure(&mut book, at_ns(second), &mut news);
                    news.extend(book.tick(at_ns(second)));
                    continue;
                };
                let before_ns = at_ns(second - 1);
                step_ns = after_ns;
                let at_ns = (START + second * SECOND).saturating_add_signed(step_ns);
                if !is_noticed_first {
                    measure(&mut book, at_ns, &mut news);
                }
                for series in 0..2 {
                    news.extend(book.gap(series, before_ns));
                    assert_eq!(book.state(series).unwrap().0, State::Unknown);
                }
                news.extend(book.tick(at_ns));
                if is_noticed_first {
                    measure(&mut book, at_ns, &mut news);
                }
            }
            for series in 0..2 {
                assert_eq!(book.state(series).unwrap().0, State::Up);
            }
            // The only one is that of the target that was lost, before the clock was set back and behind that.
            let began = news.iter().filter(|one| matches!(one, News::Began(_)));
            assert_eq!(began.count(), 1, "{is_noticed_first}: {news:?}");
            let outage = book.outage(1).unwrap();
            assert_eq!(outage.members.keys().collect::<Vec<_>>(), [&1]);
            assert_eq!(outage.begin_ns(), (START + 35 * SECOND) + DAY as u64);
            assert_eq!(outage.end_ns(), Some(START + 45 * SECOND));
            let measured = outage.duration_ns() / SECOND;
            assert!((8..=10).contains(&measured), "{measured}");
        }
    }
}
