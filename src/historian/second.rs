//! SHELL. What netsonded says of its host at one time: counters, links, and the ways to targets.

use std::collections::BTreeMap;

use netsonde_core::host::drops::{Layer, find_counter, without_parts};
use netsonde_core::protocol::history::Counter;
use netsonde_core::protocol::inventory::{Counters, Paths, PathsCall};
use netsonde_history::counters::{Key, Minute, Reading};

use crate::linux::{monotonic_ns, wall_ns};
use crate::varlink::client::{Connection, Error};

/// Targets whose ways are asked for: their numbers, and the call, with the addresses in the same order.
pub type Looked = (Vec<u32>, PathsCall);

/// Counters of this host at one time, and the states of its links by name: `up`, or what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Counters.
    pub reading: Reading,
    /// States of links.
    pub links: BTreeMap<String, String>,
}

/// Asks for the counters.
///
/// # Errors
///
/// netsonded does not answer, or refuses.
pub fn count(connection: &mut Connection) -> Result<Second, Error> {
    let found = connection.call("io.netsonde.Inventory.Counters", &serde_json::json!({}))?;
    Ok(second(&found, wall_ns(), monotonic_ns()))
}

/// Asks for the ways to some targets.
///
/// # Errors
///
/// netsonded does not answer, or refuses.
pub fn look(connection: &mut Connection, call: &PathsCall) -> Result<Paths, Error> {
    connection.call("io.netsonde.Inventory.Paths", call)
}

fn second(found: &Counters, time_ns: u64, monotonic_ns: u64) -> Second {
    let mut second = Second {
        reading: Reading::new(time_ns, monotonic_ns),
        ..Second::default()
    };
    for interface in &found.interfaces {
        let name = &interface.interface;
        let state = interface.problem.as_deref().unwrap_or("up");
        second.links.insert(name.clone(), state.into());
        second.reading.add_interface(interface.identity, name);
    }
    // Those of drops first, as far as the limit of a reading goes.
    let is_drop = |name: &str| find_counter(Layer::Device, name).is_some();
    for of_drops in [true, false] {
        for interface in &found.interfaces {
            let name = &interface.interface;
            let mut add = |layer, subject: &str, counter: &str, value| {
                let key = Key {
                    layer,
                    subject: subject.into(),
                    name: counter.into(),
                };
                second.reading.add(interface.identity, &key, value);
            };
            let counters = interface.counters.iter();
            for (counter, value) in counters.filter(|(counter, _)| is_drop(counter) == of_drops) {
                add(Layer::Device, name, counter, *value);
            }
            for (queue, drops) in interface.queue_drops.iter().filter(|_| of_drops) {
                add(Layer::Queue, &format!("{name} {queue}"), "drops", *drops);
            }
        }
        let host = found.host.iter().filter(|_| of_drops);
        for counter in host {
            let Some(layer) = Layer::from_name(&counter.layer) else {
                continue;
            };
            let key = Key {
                layer,
                subject: counter.subject.clone(),
                name: counter.name.clone(),
            };
            second.reading.add(0, &key, counter.value);
        }
    }
    second.reading.leave_out(found.left_out);
    second
}

/// Returns what moved as the protocol has it, with its words: without what is part of another counter. The drops that
/// are not harmless come first, then the others, then traffic.
pub fn rows(minute: &Minute) -> Vec<Counter> {
    let row = |(key, by): (&Key, &u64)| {
        let part = |name: &'static str| {
            let key = Key {
                name: name.into(),
                ..key.clone()
            };
            minute.moved.get(&key).copied()
        };
        let by = without_parts(key.layer, &key.name, *by, part);
        let known = find_counter(key.layer, &key.name);
        let counter = Counter {
            layer: key.layer.name().into(),
            subject: key.subject.clone(),
            name: key.name.clone(),
            by,
            words: known.map_or("", |known| known.means).into(),
            harmless: known.is_none_or(|known| known.harmless),
        };
        (by > 0).then_some(counter)
    };
    let mut rows: Vec<Counter> = minute.moved.iter().filter_map(row).collect();
    rows.sort_by_key(|row| (row.harmless, row.words.is_empty()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsonde_core::protocol::inventory::{HostCounter, InterfaceCounters};

    fn found(crc: u64, errors: u64, packets: u64, queue: u64, paths: u64) -> Counters {
        let counters = [
            ("rx_crc_errors", crc),
            ("rx_errors", errors),
            ("rx_packets", packets),
        ];
        Counters {
            interfaces: vec![
                InterfaceCounters {
                    interface: "e0".into(),
                    identity: 7,
                    problem: None,
                    counters: counters.map(|(name, value)| (name.into(), value)).into(),
                    queue_drops: [("fq_codel 0:".into(), queue)].into(),
                },
                InterfaceCounters {
                    interface: "e1".into(),
                    identity: 8,
                    problem: Some("has no carrier".into()),
                    ..InterfaceCounters::default()
                },
            ],
            host: vec![HostCounter {
                layer: "ip".into(),
                subject: "this namespace".into(),
                name: "TcpExtIPReversePathFilter".into(),
                value: paths,
            }],
            ..Counters::default()
        }
    }

    #[test]
    fn counters_have_their_layers_and_words() {
        let before = second(&found(1, 1, 10, 2, 5), 1_000_000_000, 0);
        let after = second(&found(3, 4, 20, 3, 6), 2_000_000_000, 1_000_000_000);
        assert_eq!(after.links["e0"], "up");
        assert_eq!(after.links["e1"], "has no carrier");
        let mut minute = Minute::default();
        after.reading.add_since(&before.reading, &mut minute);
        let rows = rows(&minute);
        let found: Vec<(&str, &str, &str, u64)> = (rows.iter())
            .map(|row| (&row.layer[..], &row.subject[..], &row.name[..], row.by))
            .collect();
        let expected = [
            ("device", "e0", "rx_crc_errors", 2),
            // Two of the three are those with a wrong checksum.
            ("device", "e0", "rx_errors", 1),
            ("ip", "this namespace", "TcpExtIPReversePathFilter", 1),
            ("queue", "e0 fq_codel 0:", "drops", 1),
            ("device", "e0", "rx_packets", 10),
        ];
        assert_eq!(found, expected);
        assert!(
            rows[..4]
                .iter()
                .all(|row| !row.words.is_empty() && !row.harmless)
        );
        assert!(rows[4].words.is_empty());
    }
}
