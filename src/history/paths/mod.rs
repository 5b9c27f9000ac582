//! PURE. The paths to the networks of targets: when to look at which, when one has changed, and what it was before.
//!
//! Targets of a network (IPv4 /24, IPv6 /64) share a path, which is that of the first of them. It is traced once, and
//! then looked at once in an interval with a probe to each hop that answers, at most [`MAX_STEPS`]. An answer of another
//! address is a doubt: the path is traced again, and only what that shows can be a change. A hop that is silent is none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use netsonde_core::protocol::history::{TracedHop, TracedPath};
use netsonde_core::protocol::time;
use netsonde_core::trace::path::{Compared, HopAnswers, Relation, Remembered, compare, merge};
use serde::{Deserialize, Serialize};

/// Probes of a look: with an interval of a minute ten a minute to each network.
pub const MAX_STEPS: usize = 10;
/// Paths that are remembered: 4 MB with ten hops each, and as much on disk. Further networks are counted.
pub const MAX_PATHS: usize = 4096;
/// Former paths of a network that are remembered, and of all together. The oldest go first.
const MAX_FORMER: usize = 8;
const MAX_ALL_FORMER: usize = 4096;
/// Looks and traces that begin in a second. Routers answer one a second to each host by default (Linux: icmp_ratelimit), and
/// the first ones are those of all paths. More networks than this in an interval are looked at less often: 1,000 once in
/// 17 minutes.
pub const MAX_A_SECOND: usize = 1;
/// How often looks ask a router within a time in nanoseconds, so that it has answers left for others.
const MAX_ASKS: u32 = 4;
const ASKS_NS: u64 = 10_000_000_000;
/// Of so many looks at a network, one asks all its routers: one that only this network no longer passes is found then.
const TURNS: usize = 8;
/// Routers that were asked, from which those of before are forgotten: a look a second asks a hundred in ten seconds.
const MAX_ASKED: usize = 1024;
/// Jobs that were given out and are not done.
const MAX_PENDING: usize = 8;
/// Doubts that a trace did not confirm after which an address is taken for one of several ways.
const MAX_DOUBTS: usize = 3;
/// Changes of a path within an hour of which each is an event: of one that flaps, further ones are counted.
pub const MAX_CHANGES: usize = 6;
/// Traces that are added up where the answers of one are too few to tell a change from an equal way, and the time in
/// nanoseconds between them: a router that limits its answers has some again.
const MAX_GATHERED: usize = 4;
const GATHER_NS: u64 = 5_000_000_000;
/// Intervals after which a path whose target did not answer is traced again.
const RETRACE: u64 = 10;
const HOUR_NS: u64 = 3_600_000_000_000;
/// Time in nanoseconds after which the path to a network without targets is forgotten. A name that is not resolved yet has
/// none, either.
const KEPT_NS: u64 = 7 * 24 * HOUR_NS;

/// A path as it was. Times are in nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// Address that was traced.
    pub target: String,
    /// When it was first seen as it is.
    pub since_ns: u64,
    /// When it was last seen as it is.
    pub seen_ns: u64,
    /// Whether the target answered.
    pub is_reached: bool,
    /// Its hops.
    hops: Remembered,
}

impl Path {
    /// Returns the path as the protocol has it.
    pub fn traced(&self) -> TracedPath {
        TracedPath {
            target: self.target.clone(),
            since: time(self.since_ns),
            until: time(self.seen_ns),
            reached: self.is_reached,
            hops: traced(&self.hops.hops()),
        }
    }

    /// Returns its hops.
    pub fn hops(&self) -> Vec<HopAnswers> {
        self.hops.hops()
    }
}

/// Returns the TTLs of a look with a number: those that answer, and one of those that do not, which may only limit their
/// answers. Of a longer path another part each time.
fn to_look_at(path: &Remembered, number: usize) -> Vec<u8> {
    let answering = path.answering();
    let last = answering.last().copied().unwrap_or(0);
    let silent: Vec<u8> = (1..last).filter(|hop| !answering.contains(hop)).collect();
    let count = answering.len().min(MAX_STEPS - 1);
    let from = number.wrapping_mul(count);
    let hops = (0..count).map(|step| answering[from.wrapping_add(step) % answering.len()]);
    let mut hops: Vec<u8> = hops.collect();
    if !silent.is_empty() {
        hops.push(silent[number % silent.len()]);
    }
    hops
}

/// Leaves out routers that looks have asked often enough. `asked`: since when each was asked, and how often.
fn spare(
    asked: &mut HashMap<IpAddr, (u64, u32)>,
    (path, number): (&Remembered, usize),
    mut hops: Vec<u8>,
    now_ns: u64,
) -> Vec<u8> {
    let is_turn = number.is_multiple_of(TURNS);
    let known = path.hops();
    let last = known.last().map_or(0, |hop| hop.hop);
    let is_lately = |since_ns: u64| now_ns.abs_diff(since_ns) < ASKS_NS;
    if asked.len() > MAX_ASKED {
        asked.retain(|_, (since_ns, _)| is_lately(*since_ns));
    }
    hops.retain(|hop| {
        let known = known.iter().filter(|known| known.hop == *hop);
        let addresses: Vec<IpAddr> = known
            .flat_map(|hop| hop.addresses.keys().copied())
            .collect();
        let is_spared = |address: &IpAddr| {
            let found = asked.get(address);
            found.is_some_and(|(since_ns, count)| is_lately(*since_ns) && *count >= MAX_ASKS)
        };
        if !is_turn && *hop < last && !addresses.is_empty() && addresses.iter().all(is_spared) {
            return false;
        }
        for address in addresses {
            let entry = asked.entry(address).or_insert((now_ns, 0));
            if !is_lately(entry.0) {
                *entry = (now_ns, 0);
            }
            entry.1 += 1;
        }
        true
    });
    hops
}

/// Says in words what has changed: the first hop, and how many more.
fn words_of(changed: &[&Compared]) -> String {
    let Some(first) = changed.first() else {
        return String::new();
    };
    let join = |all: &[IpAddr]| {
        let all: Vec<String> = all.iter().map(IpAddr::to_string).collect();
        all.join(" or ")
    };
    let (before, now) = (join(&first.before), join(&first.now));
    match changed.len() - 1 {
        0 => format!("hop {} was {before}, is {now}", first.hop),
        more => format!("hop {} was {before}, is {now}, and {more} more", first.hop),
    }
}

fn traced(hops: &[HopAnswers]) -> Vec<TracedHop> {
    let hops = hops.iter().map(|hop| TracedHop {
        hop: hop.hop.into(),
        addresses: hop.addresses.keys().map(IpAddr::to_string).collect(),
        answers: (hop.addresses.values())
            .map(|count| u64::from(count.answers))
            .sum(),
        error: None,
    });
    hops.collect()
}

/// A target whose path stands for those of its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub series: u32,
    /// Its address.
    pub address: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Send a probe to each of these TTLs.
    Look(Vec<u8>),
    /// Trace the path.
    Trace,
}

/// A change of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path before.
    pub before: TracedPath,
    /// The path now.
    pub after: TracedPath,
    /// When the first answer of another address was sent for, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether it is one of too many, and no event.
    pub is_suppressed: bool,
    /// What has changed, in words.
    pub words: String,
}

/// What is known of a network while it has targets.
#[derive(Clone, Debug)]
struct Network {
    target: Target,
    /// When it is looked at next; `None` while it is.
    next_ns: Option<u64>,
    /// When the first answer that is in doubt was sent for; 0 if there is none.
    doubt_ns: u64,
    /// Answers that a trace did not confirm.
    doubts: Vec<(u8, IpAddr)>,
    /// Number of looks.
    at: usize,
    /// Answers of traces that were too few to decide, and the number of these traces.
    gathered: (Vec<HopAnswers>, usize),
    /// When it was traced last, in nanoseconds since 1970; 0 if it was not since the start.
    traced_ns: u64,
}

/// The paths.
#[derive(Debug, Default)]
pub struct Paths {
    networks: BTreeMap<String, Network>,
    /// When which network is looked at.
    order: BTreeSet<(u64, String)>,
    known: BTreeMap<String, Path>,
    /// Former paths, the latest last.
    former: BTreeMap<String, Vec<Path>>,
    changed: BTreeSet<String>,
    changed_former: BTreeSet<String>,
    /// Since when looks have asked a router, and how often.
    asked: HashMap<IpAddr, (u64, u32)>,
    interval_ns: u64,
    pending: usize,
    /// Networks that are not remembered, because there are too many.
    pub left_out: u64,
    /// Changes, and those of them that are no event.
    pub changes: (u64, u64),
}

/// Returns the network of an address: its /24, or its /64 with the scope if it has one. `None` if it is no address.
pub fn network(address: &str) -> Option<String> {
    let (text, scope) = match address.split_once('%') {
        Some((text, scope)) => (text, Some(scope)),
        None => (address, None),
    };
    Some(match text.parse().ok()? {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            let network = std::net::Ipv6Addr::from(bits);
            match scope {
                Some(scope) => format!("{network}%{scope}/64"),
                None => format!("{network}/64"),
            }
        }
    })
}

impl Paths {
    /// Opens the memory with what was kept. `interval_ns`: how often each path is looked at, in nanoseconds.
    pub fn restore(
        interval_ns: u64,
        known: impl Iterator<Item = (String, Path)>,
        former: impl Iterator<Item = (String, Vec<Path>)>,
    ) -> Paths {
        Paths {
            interval_ns,
            known: known.take(MAX_PATHS).collect(),
            former: former.take(MAX_ALL_FORMER).collect(),
            ..Paths::default()
        }
    }

    /// Takes the networks that have targets, each with one of them.
    pub fn set_networks(&mut self, mut all: BTreeMap<String, Target>, now_ns: u64) {
        self.left_out = all.len().saturating_sub(MAX_PATHS) as u64;
        while all.len() > MAX_PATHS {
            all.pop_last();
        }
        let former = std::mem::take(&mut self.networks);
        self.order.clear();
        for (key, target) in all {
            let before = former.get(&key);
            // As long as the target is there it stays the one that is traced.
            let known = before.filter(|known| known.target == target);
            let network = match known {
                Some(known) => known.clone(),
                None => Network {
                    target,
                    next_ns: match before.is_some_and(|before| before.next_ns.is_none()) {
                        true => None,
                        false => Some(now_ns),
                    },
                    doubt_ns: 0,
                    doubts: Vec::new(),
                    at: 0,
                    gathered: (Vec::new(), 0),
                    traced_ns: 0,
                },
            };
            if let Some(next_ns) = network.next_ns {
                self.order.insert((next_ns, key.clone()));
            }
            self.networks.insert(key, network);
        }
        self.forget(now_ns);
    }

    /// Begins again, with another interval in nanoseconds: jobs that were given out will not end.
    pub fn restart(&mut self, interval_ns: u64, now_ns: u64) {
        self.interval_ns = interval_ns;
        self.pending = 0;
        self.order.clear();
        for (key, network) in &mut self.networks {
            network.next_ns = Some(now_ns);
            self.order.insert((now_ns, key.clone()));
        }
    }

    /// Returns the networks whose path is known.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Returns whether the path of this target is one that is known.
    pub fn is_known(&self, key: &str, address: &str) -> bool {
        self.known
            .get(key)
            .is_some_and(|path| path.target == address)
    }

    fn forget(&mut self, now_ns: u64) {
        let is_old = |path: &Path| now_ns.saturating_sub(path.seen_ns) > KEPT_NS;
        let gone: Vec<String> = (self.known.iter())
            .filter(|(key, path)| !self.networks.contains_key(*key) && is_old(path))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.remove(&key);
        }
        while self.known.len() > MAX_PATHS {
            let unused = (self.known.iter())
                .filter(|(key, _)| !self.networks.contains_key(*key))
                .min_by_key(|(_, path)| path.seen_ns);
            let Some(key) = unused.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&key);
        }
        self.forget_former();
    }

    fn forget_former(&mut self) {
        while self.former.values().map(Vec::len).sum::<usize>() > MAX_ALL_FORMER {
            let oldest = self.former.iter().min_by_key(|(_, all)| all[0].seen_ns);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            if let Some(all) = self.former.get_mut(&key) {
                all.remove(0);
                if all.is_empty() {
                    self.former.remove(&key);
                }
            }
            self.changed_former.insert(key);
        }
    }

    fn remove(&mut self, key: &str) {
        self.known.remove(key);
        self.former.remove(key);
        self.changed.insert(key.to_owned());
        self.changed_former.insert(key.to_owned());
    }

    /// Returns the interval at which each path is looked at in fact, in nanoseconds.
    pub fn interval_ns(&self) -> u64 {
        let round = self.networks.len().div_ceil(MAX_A_SECOND) as u64;
        self.interval_ns.max(round * 1_000_000_000)
    }

    /// Returns the number of networks with targets, and of those whose path is known.
    pub fn counts(&self) -> (u64, u64) {
        let known = self.networks.keys();
        let known = known.filter(|key| self.known.contains_key(*key)).count();
        (self.networks.len() as u64, known as u64)
    }

    /// Returns what is to be done now: called once a second. Each job ends with [`Paths::looked`], [`Paths::traced`] or
    /// [`Paths::failed`].
    pub fn due(&mut self, now_ns: u64) -> Vec<(String, Target, Job)> {
        let mut jobs = Vec::new();
        while jobs.len() < MAX_A_SECOND && self.pending < MAX_PENDING {
            // A clock that was set back holds nothing up.
            let latest_ns = now_ns.saturating_add(2 * self.interval_ns());
            let first = self.order.first();
            let is_due = |next_ns: u64| next_ns <= now_ns || next_ns > latest_ns;
            if first.is_none_or(|(next_ns, _)| !is_due(*next_ns)) {
                break;
            }
            let Some((_, key)) = self.order.pop_first() else {
                break;
            };
            let Some(network) = self.networks.get_mut(&key) else {
                continue;
            };
            network.next_ns = None;
            let known = self.known.get(&key);
            let known = known.filter(|path| path.target == network.target.address);
            // What is beyond a target that did not answer is not known.
            let again_ns = network.traced_ns.saturating_add(RETRACE * self.interval_ns);
            let has_doubt = network.doubt_ns > 0 || network.gathered.1 > 0;
            let is_known = |path: &&Path| !has_doubt && (path.is_reached || now_ns < again_ns);
            let job = match known.filter(is_known) {
                Some(path) if !path.hops.is_empty() => {
                    let hops = to_look_at(&path.hops, network.at);
                    // Not all in the same minute.
                    let number = network.at.wrapping_add(network.target.series as usize);
                    let of = (&path.hops, number);
                    let hops = spare(&mut self.asked, of, hops, now_ns);
                    network.at = network.at.wrapping_add(1);
                    Job::Look(hops)
                }
                _ => {
                    network.traced_ns = now_ns;
                    Job::Trace
                }
            };
            self.pending += 1;
            jobs.push((key, network.target.clone(), job));
        }
        jobs
    }

    /// Ends a job. The next one begins after a time in nanoseconds.
    fn done(&mut self, key: &str, now_ns: u64, after_ns: u64) {
        self.pending = self.pending.saturating_sub(1);
        if let Some(network) = self.networks.get_mut(key) {
            let next_ns = now_ns + after_ns;
            if let Some(known_ns) = network.next_ns.replace(next_ns) {
                self.order.remove(&(known_ns, key.to_owned()));
            }
            self.order.insert((next_ns, key.to_owned()));
        }
    }

    /// Has a path looked at soon, because something has happened; traced, if the target had not answered.
    pub fn soon(&mut self, key: &str, now_ns: u64) {
        if let Some(network) = self.networks.get_mut(key) {
            network.traced_ns = 0;
        }
        if let Some(network) = self.networks.get_mut(key)
            && let Some(next_ns) = network.next_ns.as_mut()
        {
            self.order.remove(&(*next_ns, key.to_owned()));
            *next_ns = now_ns;
            self.order.insert((now_ns, key.to_owned()));
        }
    }

    /// A job could not be done.
    pub fn failed(&mut self, key: &str, now_ns: u64) {
        self.done(key, now_ns, self.interval_ns);
    }

    /// Takes the answers of a look: TTL, address, and time of sending in nanoseconds since 1970.
    pub fn looked(&mut self, key: &str, answers: &[(u8, IpAddr, u64)], now_ns: u64) {
        let (mut is_whole, mut doubt_ns) = (true, 0);
        if let Some(path) = self.known.get_mut(key) {
            for (hop, address, sent_ns) in answers {
                if !path.hops.see(*hop, *address) {
                    is_whole = false;
                    doubt_ns = if doubt_ns == 0 {
                        *sent_ns
                    } else {
                        doubt_ns.min(*sent_ns)
                    };
                }
            }
            if is_whole && !answers.is_empty() {
                // Written once an hour: a kill costs no more.
                if path.seen_ns / HOUR_NS != now_ns / HOUR_NS {
                    self.changed.insert(key.to_owned());
                }
                path.seen_ns = path.seen_ns.max(now_ns);
            }
        }
        let Some(network) = self.networks.get_mut(key) else {
            self.pending = self.pending.saturating_sub(1);
            return;
        };
        if is_whole {
            network.doubts.clear();
            self.done(key, now_ns, self.interval_ns);
            return;
        }
        network.doubt_ns = doubt_ns;
        if let Some(path) = self.known.get_mut(key) {
            let other = answers
                .iter()
                .filter(|(hop, address, _)| !path.hops.has(*hop, *address));
            network
                .doubts
                .extend(other.map(|(hop, address, _)| (*hop, *address)));
        }
        self.done(key, now_ns, 0);
    }

    /// Takes what a trace of a target showed. Returns the change, if it is one.
    pub fn traced(
        &mut self,
        key: &str,
        target: &str,
        hops: &[HopAnswers],
        is_reached: bool,
        now_ns: u64,
    ) -> Option<Change> {
        let Some(network) = self.networks.get_mut(key) else {
            self.pending = self.pending.saturating_sub(1);
            return None;
        };
        let doubt_ns = std::mem::take(&mut network.doubt_ns);
        let doubts = network.doubts.clone();
        let (before, count) = std::mem::take(&mut network.gathered);
        let hops = &merge(&before, hops)[..];
        self.done(key, now_ns, self.interval_ns);
        if hops.is_empty() {
            // Nothing answers: nothing is known of it.
            return None;
        }
        let new = Path {
            target: target.into(),
            since_ns: if doubt_ns > 0 { doubt_ns } else { now_ns },
            seen_ns: now_ns,
            is_reached,
            hops: Remembered::new(hops),
        };
        let known = self
            .known
            .get_mut(key)
            .filter(|known| known.target == target);
        let Some(known) = known else {
            self.replace(key, new);
            return None;
        };
        let compared = compare(&known.hops.hops(), hops);
        let changed: Vec<&Compared> = (compared.iter())
            .filter(|one| one.relation == Relation::Changed)
            .collect();
        let is_open = |one: &Compared| one.relation == Relation::Uncertain && one.is_disjoint();
        if changed.is_empty() && compared.iter().any(is_open) && count + 1 < MAX_GATHERED {
            if let Some(network) = self.networks.get_mut(key) {
                network.doubt_ns = doubt_ns;
                network.gathered = (hops.to_vec(), count + 1);
            }
            self.pending += 1;
            self.done(key, now_ns, GATHER_NS);
            return None;
        }
        if changed.is_empty() {
            known.hops.learn(hops);
            known.is_reached |= is_reached;
            known.seen_ns = now_ns;
            self.changed.insert(key.to_owned());
            self.settle_doubts(key, &doubts);
            return None;
        }
        let (before, words) = (known.traced(), words_of(&changed));
        Some(self.change(key, before, new, words))
    }

    /// Remembers another path, and returns what is told of the change.
    fn change(&mut self, key: &str, before: TracedPath, new: Path, words: String) -> Change {
        let (after, time_ns, now_ns) = (new.traced(), new.since_ns, new.seen_ns);
        if let Some(network) = self.networks.get_mut(key) {
            network.doubts.clear();
        }
        self.replace(key, new);
        let lately = self.former.get(key).into_iter().flatten();
        let lately = lately.filter(|path| now_ns.saturating_sub(path.seen_ns) < HOUR_NS);
        let is_suppressed = lately.count() > MAX_CHANGES;
        self.changes.0 += 1;
        self.changes.1 += u64::from(is_suppressed);
        Change {
            before,
            after,
            time_ns,
            is_suppressed,
            words,
        }
    }

    /// An address that answers again and again, and that no trace shows, is one of several ways.
    fn settle_doubts(&mut self, key: &str, doubts: &[(u8, IpAddr)]) {
        let Some(last) = doubts.last() else {
            return;
        };
        if doubts.iter().filter(|one| *one == last).count() >= MAX_DOUBTS
            && let Some(path) = self.known.get_mut(key)
        {
            path.hops.learn(&[HopAnswers {
                hop: last.0,
                addresses: [(last.1, Default::default())].into(),
            }]);
            if let Some(network) = self.networks.get_mut(key) {
                network.doubts.clear();
            }
        }
    }

    fn replace(&mut self, key: &str, path: Path) {
        self.changed.insert(key.to_owned());
        if let Some(former) = self.known.insert(key.to_owned(), path) {
            let all = self.former.entry(key.to_owned()).or_default();
            all.push(former);
            if all.len() > MAX_FORMER {
                all.remove(0);
            }
            self.changed_former.insert(key.to_owned());
            self.forget_former();
        }
    }

    /// Returns the path to a network as it was known at a time in nanoseconds since 1970: the last one before it in which
    /// the target answered, or the last one if it answered in none. With it, those that were known later.
    pub fn at(&self, key: &str, time_ns: u64) -> Option<(&Path, Vec<&Path>)> {
        let former = self.former.get(key).into_iter().flatten();
        let all: Vec<&Path> = former.chain(self.known.get(key)).collect();
        let count = all.iter().filter(|path| path.since_ns <= time_ns).count();
        let (before, later) = all.split_at(count);
        let reached = before.iter().rev().find(|path| path.is_reached);
        let found = reached.or(before.last())?;
        Some((found, later.to_vec()))
    }

    /// Returns when the first path to a network that is remembered was seen, in nanoseconds since 1970.
    pub fn first_ns(&self, key: &str) -> Option<u64> {
        let former = self.former.get(key).and_then(|all| all.first());
        former.or(self.known.get(key)).map(|path| path.since_ns)
    }

    /// Marks all paths as changed: before an orderly end, so that the times at which they were seen are kept.
    pub fn mark_all(&mut self) {
        self.changed.extend(self.known.keys().cloned());
    }

    /// Returns what has changed since the last call: paths, and former ones; `None` for those that were forgotten.
    #[expect(
        clippy::type_complexity,
        reason = "two lists of what to store under which key"
    )]
    pub fn take_changes(
        &mut self,
    ) -> (
        Vec<(String, Option<Path>)>,
        Vec<(String, Option<Vec<Path>>)>,
    ) {
        let known = std::mem::take(&mut self.changed).into_iter();
        let known = known.map(|key| {
            let path = self.known.get(&key).cloned();
            (key, path)
        });
        let former = std::mem::take(&mut self.changed_former).into_iter();
        let former = former.map(|key| {
            let all = self.former.get(&key).cloned();
            (key, all)
        });
        (known.collect(), former.collect())
    }
}

#[cfg(test)]
mod tests;
