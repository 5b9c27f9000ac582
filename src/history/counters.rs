//! PURE. Counters of this host, minute by minute: what each has counted between two readings of it.
//!
//! Counters of the kernel only rise while what they belong to exists. One that went back belongs to something new: an
//! interface that was deleted and created again, a driver that was loaded again, a counter that wrapped. What it counted
//! since is not known, so nothing is, and its subject is named as started. An interface is what netsonded says that it is
//! (its identity), so a renamed one goes on, and another one of its name begins.
//!
//! A minute with its time was measured; what did not move in it is 0. A time without a minute was not measured.

use std::collections::{BTreeMap, BTreeSet};

use netsonde_core::host::drops::{Layer, find_counter};
use serde::{Deserialize, Serialize};

use crate::bytes::{Input, put_block, put_signed, put_varint};

/// Length of a minute in nanoseconds.
pub const MINUTE_NS: u64 = 60_000_000_000;
/// Counters of a reading: 2,048 interfaces with sixteen each, which take some 3 MB. Further ones are counted.
pub const MAX_READ: usize = 32_768;
/// Counters of a minute, those of drops first and then the fastest: a minute in the journal has up to 60 KB then, and
/// one of a host with 64 busy interfaces some 400 counters. Further ones are counted.
pub const MAX_MOVED: usize = 1024;
/// Difference in nanoseconds between the wall clock and the monotonic one above which the time between two readings is
/// not known: the clock was set, or the host was suspended.
const MAX_STEP_NS: u64 = 2_000_000_000;
/// Longest time in nanoseconds between two readings of one minute. After a longer one, in which netsonded did not answer,
/// what moved is a row of its own, as long as that was.
const MAX_PAUSE_NS: u64 = 5_000_000_000;
/// Version of a chunk.
const VERSION: u8 = 1;

/// A counter: its layer, what it belongs to, and its name, as in `netsonde drops`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Layer.
    pub layer: Layer,
    /// Name of the interface, its queue, or what else it belongs to.
    pub subject: String,
    /// Name.
    pub name: String,
}

/// Identity of a counter over renames: owner, layer, what its subject has behind the owner's name, and name.
type Id = (u64, Layer, String, String);

/// All counters at one time, without those that are 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Wall clock in nanoseconds since 1970.
    pub time_ns: u64,
    /// Monotonic clock in nanoseconds.
    pub monotonic_ns: u64,
    /// Name of each interface, by its identity.
    owners: BTreeMap<u64, String>,
    values: BTreeMap<Id, u64>,
    /// Counters beyond the limit.
    left_out: u64,
}

impl Reading {
    /// Returns an empty reading of a time.
    pub fn new(time_ns: u64, monotonic_ns: u64) -> Reading {
        Reading {
            time_ns,
            monotonic_ns,
            ..Reading::default()
        }
    }

    /// Adds an interface that exists, whether it has counted anything or not. 0 is the identity of the host.
    pub fn add_interface(&mut self, identity: u64, name: &str) {
        if self.owners.len() < MAX_READ {
            self.owners.insert(identity, name.to_owned());
        }
    }

    /// Adds a counter of the host, or of an interface that was added before.
    pub fn add(&mut self, identity: u64, key: &Key, value: u64) {
        if value == 0 {
            return;
        }
        if self.values.len() >= MAX_READ {
            self.left_out += 1;
            return;
        }
        let name = self.owners.get(&identity).map_or("", String::as_str);
        let rest = key.subject.strip_prefix(name).unwrap_or(&key.subject);
        let id = (identity, key.layer, rest.to_owned(), key.name.clone());
        self.values.insert(id, value);
    }

    /// Counts what was not read at all.
    pub fn leave_out(&mut self, count: u64) {
        self.left_out += count;
    }

    /// Returns the reading without counters of traffic, which are not those of drops.
    pub fn drops(&self) -> Reading {
        let is_drop = |(_, layer, _, name): &Id| find_counter(*layer, name).is_some();
        let values = self.values.iter().filter(|(id, _)| is_drop(id));
        Reading {
            values: values.map(|(id, value)| (id.clone(), *value)).collect(),
            ..self.clone()
        }
    }

    fn key(&self, id: &Id) -> Key {
        let (owner, layer, rest, name) = id;
        let owner = self.owners.get(owner).map_or("", String::as_str);
        Key {
            layer: *layer,
            subject: format!("{owner}{rest}"),
            name: name.clone(),
        }
    }

    /// Adds what has been counted since an earlier reading.
    pub fn add_since(&self, before: &Reading, to: &mut Minute) {
        let is_there =
            |reading: &Reading, owner: &u64| *owner == 0 || reading.owners.contains_key(owner);
        let went_back = before.values.iter().filter(|(id, value)| {
            let now = self.values.get(*id).copied().unwrap_or(0);
            // What is beyond the limit now was not read.
            is_there(self, &id.0) && now < **value && self.left_out == 0
        });
        // One counter of an interface that went back says that all of them began again.
        let mut restarted = BTreeSet::new();
        let mut single = BTreeSet::new();
        for (id, _) in went_back {
            if id.0 == 0 {
                single.insert(id);
                to.started.insert(self.key(id).subject);
            } else {
                restarted.insert(id.0);
            }
        }
        restarted.extend(self.owners.keys().filter(|owner| !is_there(before, owner)));
        let names = restarted.iter().filter_map(|owner| self.owners.get(owner));
        to.started.extend(names.cloned());
        for (id, value) in &self.values {
            if restarted.contains(&id.0) || single.contains(id) {
                continue;
            }
            let was = match before.values.get(id) {
                Some(was) => *was,
                None if before.left_out > 0 => continue,
                None => 0,
            };
            if *value > was {
                *to.moved.entry(self.key(id)).or_default() += value - was;
            }
        }
        to.left_out = to.left_out.max(self.left_out);
    }
}

/// What the counters of this host have counted in a time, usually a minute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minute {
    /// Begin in nanoseconds since 1970.
    pub from_ns: u64,
    /// End in nanoseconds since 1970.
    pub to_ns: u64,
    /// Counters that moved, and by how much.
    pub moved: BTreeMap<Key, u64>,
    /// Subjects whose counters began, or began again, within this time: what they counted is not all known.
    pub started: BTreeSet<String>,
    /// Counters that are not in `moved`, because there were too many.
    pub left_out: u64,
}

/// The same as JSON: counters by layer, subject and name.
#[derive(Serialize, Deserialize)]
struct MinuteText {
    from: u64,
    to: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    moved: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    started: BTreeSet<String>,
    #[serde(default)]
    left_out: u64,
}

impl Serialize for Minute {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = MinuteText {
            from: self.from_ns,
            to: self.to_ns,
            moved: BTreeMap::new(),
            started: self.started.clone(),
            left_out: self.left_out,
        };
        for (key, by) in &self.moved {
            let layer = text.moved.entry(key.layer.name().into()).or_default();
            let subject = layer.entry(key.subject.clone()).or_default();
            subject.insert(key.name.clone(), *by);
        }
        text.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Minute, D::Error> {
        let text = MinuteText::deserialize(from)?;
        let mut minute = Minute {
            from_ns: text.from,
            to_ns: text.to,
            started: text.started,
            left_out: text.left_out,
            ..Minute::default()
        };
        for (layer, subjects) in text.moved {
            // A later version may have further layers.
            let Some(layer) = Layer::from_name(&layer) else {
                continue;
            };
            for (subject, names) in subjects {
                for (name, by) in names {
                    let subject = subject.clone();
                    let key = Key {
                        layer,
                        subject,
                        name,
                    };
                    minute.moved.insert(key, by);
                }
            }
        }
        Ok(minute)
    }
}

impl Minute {
    /// Returns the measured time in nanoseconds.
    pub fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }

    /// Leaves out what exceeds the limit, and counts it.
    fn limit(&mut self) {
        if self.moved.len() <= MAX_MOVED {
            return;
        }
        let mut all: Vec<(Key, u64)> = std::mem::take(&mut self.moved).into_iter().collect();
        let is_traffic = |key: &Key| find_counter(key.layer, &key.name).is_none();
        all.sort_by_cached_key(|(key, by)| (is_traffic(key), u64::MAX - by));
        self.left_out += (all.len() - MAX_MOVED) as u64;
        all.truncate(MAX_MOVED);
        self.moved = all.into_iter().collect();
    }

    fn add(&mut self, other: &Minute) {
        for (key, by) in &other.moved {
            let sum = self.moved.entry(key.clone()).or_default();
            *sum = sum.saturating_add(*by);
        }
        self.started.extend(other.started.iter().cloned());
        self.left_out = self.left_out.max(other.left_out);
    }
}

/// Makes minutes of readings.
#[derive(Debug, Default)]
pub struct Minutes {
    last: Option<Reading>,
    current: Option<Minute>,
}

impl Minutes {
    /// Takes a reading. Returns the minutes that are complete: none, one, or after a pause two.
    pub fn add(&mut self, reading: Reading) -> Vec<Minute> {
        let mut complete = Vec::new();
        let Some(last) = self.last.take() else {
            self.last = Some(reading);
            return complete;
        };
        let passed_ns = reading.monotonic_ns.saturating_sub(last.monotonic_ns);
        let by_clock_ns = reading.time_ns.saturating_sub(last.time_ns);
        let is_known =
            reading.time_ns > last.time_ns && by_clock_ns.abs_diff(passed_ns) <= MAX_STEP_NS;
        if !is_known {
            complete.extend(self.end());
            self.last = Some(reading);
            return complete;
        }
        let is_apart = by_clock_ns > MAX_PAUSE_NS;
        if is_apart {
            complete.extend(self.end());
        }
        let minute = self.current.get_or_insert_with(|| Minute {
            from_ns: last.time_ns,
            ..Minute::default()
        });
        reading.add_since(&last, minute);
        minute.to_ns = reading.time_ns;
        let minute_of = |ns: u64| ns / MINUTE_NS;
        if is_apart || minute_of(reading.time_ns) != minute_of(minute.from_ns) {
            complete.extend(self.end());
        }
        self.last = Some(reading);
        complete
    }

    /// Returns what there is of the running minute, which is complete then.
    pub fn end(&mut self) -> Option<Minute> {
        let mut minute = self.current.take()?;
        minute.limit();
        Some(minute)
    }
}

/// Encodes minutes: a table of their counters, then for each minute its times and the numbers of the counters that moved.
pub fn encode(minutes: &[Minute]) -> Vec<u8> {
    let mut to = vec![VERSION];
    let keys: BTreeSet<&Key> = minutes.iter().flat_map(|one| one.moved.keys()).collect();
    put_varint(&mut to, keys.len() as u64);
    for key in &keys {
        put_block(&mut to, key.layer.name().as_bytes());
        put_block(&mut to, key.subject.as_bytes());
        put_block(&mut to, key.name.as_bytes());
    }
    let numbers: BTreeMap<&Key, u64> = keys.into_iter().zip(0..).collect();
    let mut before_ns = 0u64;
    put_varint(&mut to, minutes.len() as u64);
    for minute in minutes {
        put_signed(&mut to, minute.from_ns.wrapping_sub(before_ns) as i64);
        put_varint(&mut to, minute.length_ns());
        before_ns = minute.to_ns;
        put_varint(&mut to, minute.left_out);
        put_varint(&mut to, minute.started.len() as u64);
        for subject in &minute.started {
            put_block(&mut to, subject.as_bytes());
        }
        put_varint(&mut to, minute.moved.len() as u64);
        let mut next = 0;
        for (key, by) in &minute.moved {
            // Keys are in the order of their numbers.
            let number = numbers.get(key).copied().unwrap_or(next);
            put_varint(&mut to, number - next);
            put_varint(&mut to, *by);
            next = number + 1;
        }
    }
    to
}

/// Decodes minutes; `None` if they are damaged, or of another version.
pub fn decode(bytes: &[u8]) -> Option<Vec<Minute>> {
    let mut input = Input(bytes);
    if input.u8()? != VERSION {
        return None;
    }
    let mut keys = Vec::new();
    for _ in 0..input.varint()? {
        let layer = text(&mut input)?;
        let (subject, name) = (text(&mut input)?, text(&mut input)?);
        keys.push(Layer::from_name(&layer).map(|layer| Key {
            layer,
            subject,
            name,
        }));
    }
    let mut minutes = Vec::new();
    let mut before_ns = 0u64;
    for _ in 0..input.varint()? {
        let from_ns = before_ns.wrapping_add(input.signed()? as u64);
        let mut minute = Minute {
            from_ns,
            to_ns: from_ns.checked_add(input.varint()?)?,
            left_out: input.varint()?,
            ..Minute::default()
        };
        before_ns = minute.to_ns;
        for _ in 0..input.varint()? {
            minute.started.insert(text(&mut input)?);
        }
        let mut next = 0u64;
        for _ in 0..input.varint()? {
            let number = next.checked_add(input.varint()?)?;
            let by = input.varint()?;
            if let Some(key) = keys.get(usize::try_from(number).ok()?)? {
                minute.moved.insert(key.clone(), by);
            }
            next = number + 1;
        }
        minutes.push(minute);
    }
    input.is_empty().then_some(minutes)
}

fn text(input: &mut Input<'_>) -> Option<String> {
    let length = usize::try_from(input.varint()?).ok()?;
    let bytes = input.take(length)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// A step: minutes summed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Begin in nanoseconds since 1970.
    pub time_ns: u64,
    /// Length in nanoseconds.
    pub step_ns: u64,
    /// Time of it that was measured, in nanoseconds.
    pub measured_ns: u64,
    /// The sum.
    pub sum: Minute,
}

/// Sums minutes up in steps of at least a minute. Each belongs to the step that has its middle; one that is longer than a
/// step is a step of its own. Steps without one are left out.
#[derive(Debug)]
pub struct Steps {
    step_ns: u64,
    points: BTreeMap<(u64, bool), Point>,
}

impl Steps {
    /// Begins with nothing.
    pub fn new(step_ns: u64) -> Steps {
        Steps {
            step_ns: step_ns.max(MINUTE_NS),
            points: BTreeMap::new(),
        }
    }

    /// Adds a minute.
    pub fn add(&mut self, minute: &Minute) {
        let length_ns = minute.length_ns();
        // A minute ends with the first reading behind it, and so is a little longer.
        let is_apart = length_ns > self.step_ns.saturating_add(MAX_PAUSE_NS);
        let middle_ns = minute.from_ns.saturating_add(length_ns / 2);
        let (time_ns, step_ns) = match is_apart {
            true => (minute.from_ns, length_ns),
            false => (middle_ns - middle_ns % self.step_ns, self.step_ns),
        };
        let point = self.points.entry((time_ns, is_apart)).or_default();
        point.time_ns = time_ns;
        point.step_ns = step_ns;
        point.measured_ns = point.measured_ns.saturating_add(length_ns);
        point.sum.add(minute);
    }

    /// Returns the steps, oldest first.
    pub fn end(self) -> Vec<Point> {
        self.points.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    fn key(subject: &str, name: &str) -> Key {
        Key {
            layer: Layer::Device,
            subject: subject.into(),
            name: name.into(),
        }
    }

    /// A reading of a second, with packets and drops of one interface.
    fn reading(second: u64, owner: u64, name: &str, packets: u64, drops: u64) -> Reading {
        let mut reading = Reading::new(START + second * SECOND, second * SECOND);
        reading.add_interface(owner, name);
        reading.add(owner, &key(name, "rx_packets"), packets);
        reading.add(owner, &key(name, "rx_dropped"), drops);
        reading
    }

    fn points(minutes: &[Minute], step_ns: u64) -> Vec<Point> {
        let mut steps = Steps::new(step_ns);
        minutes.iter().for_each(|minute| steps.add(minute));
        steps.end()
    }

    fn all(minutes: &mut Minutes, readings: impl IntoIterator<Item = Reading>) -> Vec<Minute> {
        let mut complete = Vec::new();
        for reading in readings {
            complete.extend(minutes.add(reading));
        }
        complete.extend(minutes.end());
        complete
    }

    #[test]
    fn minutes_have_what_moved() {
        let readings = (0..=180).map(|at| reading(at, 1, "e0", 1000 + at * 10, 5 + at / 90));
        let found = all(&mut Minutes::default(), readings);
        assert_eq!(found.len(), 3);
        for minute in &found {
            assert_eq!(minute.length_ns(), MINUTE_NS);
            assert_eq!(minute.moved[&key("e0", "rx_packets")], 600);
            assert!(minute.started.is_empty());
        }
        let drops = |at: usize| found[at].moved.get(&key("e0", "rx_dropped")).copied();
        assert_eq!((drops(0), drops(1), drops(2)), (None, Some(1), Some(1)));
    }

    #[test]
    fn counters_that_go_back_begin_again() {
        // Deleted and created again: another identity under the same name, with more than before.
        let mut minutes = Minutes::default();
        let found = all(
            &mut minutes,
            [
                reading(0, 1, "e0", 1000, 0),
                reading(1, 1, "e0", 1010, 0),
                reading(2, 2, "e0", 9_000_000, 7),
                reading(3, 2, "e0", 9_000_001, 7),
            ],
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].moved, [(key("e0", "rx_packets"), 11)].into());
        assert_eq!(found[0].started, ["e0".to_owned()].into());
        // The same identity with less: all of its counters began again, also one that has more.
        let found = all(
            &mut Minutes::default(),
            [
                reading(0, 1, "e0", 1000, 1),
                reading(1, 1, "e0", 10, 500),
                reading(2, 1, "e0", 11, 502),
                // One that is 0 is not read.
                reading(3, 1, "e0", 0, 0),
                reading(4, 1, "e0", 3, 0),
            ],
        );
        let expected = [(key("e0", "rx_packets"), 4), (key("e0", "rx_dropped"), 2)];
        assert_eq!(found[0].moved, expected.into());
        assert_eq!(found[0].started.len(), 1);
        // A renamed interface goes on under its new name.
        let found = all(
            &mut Minutes::default(),
            [reading(0, 1, "e0", 10, 0), reading(1, 1, "wan", 15, 1)],
        );
        let expected = [(key("wan", "rx_packets"), 5), (key("wan", "rx_dropped"), 1)];
        assert_eq!(found[0].moved, expected.into());
        assert!(found[0].started.is_empty());
        // A counter of the host that went back costs itself.
        let host = |second: u64, drop: u64, early: u64| {
            let mut reading = Reading::new(START + second * SECOND, second * SECOND);
            for (name, value) in [("drop", drop), ("early_drop", early)] {
                let key = Key {
                    layer: Layer::Conntrack,
                    ..key("this namespace", name)
                };
                reading.add(0, &key, value);
            }
            reading
        };
        let found = all(&mut Minutes::default(), [host(0, 9, 1), host(1, 2, 3)]);
        assert_eq!(found[0].moved.values().sum::<u64>(), 2);
        assert_eq!(found[0].started, ["this namespace".to_owned()].into());
    }

    #[test]
    fn what_was_not_measured_is_a_gap() {
        // Suspended for an hour: the monotonic clock stood still.
        let mut later = reading(11, 1, "e0", 500, 0);
        later.time_ns += 3600 * SECOND;
        let mut last = reading(12, 1, "e0", 501, 0);
        last.time_ns += 3600 * SECOND;
        let readings = (0..=10).map(|at| reading(at, 1, "e0", at, 0));
        let found = all(&mut Minutes::default(), readings.chain([later, last]));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].to_ns, START + 10 * SECOND);
        assert_eq!(found[1].from_ns, START + 3611 * SECOND);
        assert_eq!(found[1].moved[&key("e0", "rx_packets")], 1);
        // A clock that was set back makes no time negative.
        let mut back = reading(2, 1, "e0", 9, 0);
        back.time_ns -= 86_400 * SECOND;
        let found = all(&mut Minutes::default(), [reading(1, 1, "e0", 3, 0), back]);
        assert_eq!(found, []);
        // No reading for ten minutes: what moved then is a row of that length.
        let found = all(
            &mut Minutes::default(),
            [
                reading(0, 1, "e0", 0, 0),
                reading(1, 1, "e0", 1, 0),
                reading(601, 1, "e0", 7, 2),
                reading(602, 1, "e0", 8, 2),
            ],
        );
        let lengths: Vec<u64> = found.iter().map(|one| one.length_ns() / SECOND).collect();
        assert_eq!(lengths, [1, 600, 1]);
        assert_eq!(found[1].moved[&key("e0", "rx_packets")], 6);
        let points = points(&found, MINUTE_NS);
        assert_eq!(points.len(), 3);
        assert_eq!(points[1].step_ns, 600 * SECOND);
        assert_eq!(points[1].time_ns, START + SECOND);
    }

    #[test]
    fn a_minute_is_limited_and_counts_what_it_leaves_out() {
        let of = |second: u64| {
            let mut reading = Reading::new(START + second * SECOND, second * SECOND);
            for owner in 1..=400u64 {
                let name = format!("veth{owner}");
                reading.add_interface(owner, &name);
                for counter in ["rx_packets", "tx_packets", "rx_bytes", "tx_bytes"] {
                    reading.add(owner, &key(&name, counter), 1 + second * owner);
                }
                reading.add(owner, &key(&name, "tx_dropped"), 1 + second);
            }
            reading
        };
        let found = all(&mut Minutes::default(), [of(0), of(1)]);
        assert_eq!(found[0].moved.len(), MAX_MOVED);
        assert_eq!(found[0].left_out, 5 * 400 - MAX_MOVED as u64);
        let kept = |name: &str| found[0].moved.keys().filter(|key| key.name == name).count();
        assert_eq!(kept("tx_dropped"), 400);
        assert!(found[0].moved.contains_key(&key("veth400", "rx_bytes")));
        assert!(!found[0].moved.contains_key(&key("veth1", "rx_bytes")));
        // More than are read at all: what was not read before did not move.
        let mut large = Reading::new(START, 0);
        let mut larger = Reading::new(START + SECOND, SECOND);
        large.add_interface(1, "e0");
        larger.add_interface(1, "e0");
        for number in 0..=MAX_READ {
            larger.add(1, &key("e0", &format!("{:06}", MAX_READ - number)), 5);
            large.add(1, &key("e0", &format!("{number:06}")), 4);
        }
        let found = all(&mut Minutes::default(), [large, larger]);
        assert_eq!(found[0].left_out as usize, 1 + MAX_READ - 1 - MAX_MOVED);
        assert!(found[0].moved.values().all(|by| *by == 1));
        assert!(found[0].started.is_empty());
    }

    fn hour(interfaces: u64) -> Vec<Minute> {
        let mut random = 1u64;
        let mut minutes: Vec<Minute> = Vec::new();
        for at in 0..60 {
            let mut minute = Minute {
                from_ns: START + at * MINUTE_NS + at % 7 * 1_000_003,
                to_ns: START + (at + 1) * MINUTE_NS + (at + 1) % 7 * 1_000_003,
                ..Minute::default()
            };
            for interface in 0..interfaces {
                for name in ["rx_packets", "tx_packets", "rx_bytes", "tx_bytes"] {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let by = 1_000 + (random >> 44);
                    minute
                        .moved
                        .insert(key(&format!("eth{interface}"), name), by);
                }
            }
            minutes.push(minute);
        }
        minutes[3].started.insert("eth0".into());
        minutes[4].left_out = 3;
        minutes[5].moved.insert(key("eth0", "rx_dropped"), u64::MAX);
        minutes
    }

    #[test]
    fn minutes_are_read_as_they_were_written() {
        let minutes = hour(3);
        let bytes = encode(&minutes);
        assert_eq!(decode(&bytes).unwrap(), minutes);
        assert_eq!(decode(&encode(&[])).unwrap(), []);
        let text = serde_json::to_string(&minutes).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Minute>>(&text).unwrap(), minutes);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None);
            let mut wrong = bytes.clone();
            wrong[end] ^= 0x55;
            let _ = decode(&wrong);
        }
    }

    #[test]
    fn an_hour_of_busy_interfaces_is_small() {
        // 64 MiB are enough for a year of six busy interfaces.
        let bytes = encode(&hour(6)).len() as u64;
        assert!(bytes * 24 * 365 < 64 << 20, "{bytes} bytes an hour");
    }

    #[test]
    fn steps_sum_minutes_up() {
        let minutes = hour(1);
        let sum: u64 = minutes
            .iter()
            .filter_map(|one| one.moved.get(&key("eth0", "rx_bytes")))
            .sum();
        for (step_ns, count) in [(MINUTE_NS, 60), (600 * SECOND, 6), (7200 * SECOND, 1)] {
            let points = points(&minutes, step_ns);
            assert_eq!(points.len(), count);
            let bytes = points
                .iter()
                .map(|one| one.sum.moved[&key("eth0", "rx_bytes")]);
            assert_eq!(bytes.sum::<u64>(), sum);
            assert!(points.iter().all(|one| one.time_ns % step_ns == 0));
        }
    }
}
