//! The table of a host's failure modes against scenarios, in `tests/SCENARIOS.md`.

use std::collections::BTreeMap;

use netsonde_core::diagnose::host::modes;

use super::*;

/// Modes without a scenario on a real kernel: which test has their rule, and why.
const MISSING: &[(&str, &str)] = &[
    (
        "backlog-drops",
        "`backlog_drops_are_reported`: the CPUs' queues are the machine's, not a namespace's",
    ),
    (
        "clock-stepped",
        "`clock_steps_are_reported`: the wall clock is the machine's",
    ),
    (
        "half-duplex",
        "`half_duplex_with_errors_is_a_fault`: virtual links know no duplex",
    ),
    (
        "link-errors",
        "`link_errors_are_graded_by_rate`: virtual links make none",
    ),
    (
        "neighbour-table-full",
        "`full_neighbor_table_is_a_fault`: all namespaces share it, so that filling it harms others",
    ),
    (
        "service-drops",
        "`ring_drops_are_reported`: how fast an engine is depends on the machine",
    ),
];

fn table() -> String {
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let families = [
        links::SCENARIOS,
        addresses::SCENARIOS,
        gateways::SCENARIOS,
        loops::SCENARIOS,
        multicast::SCENARIOS,
        settings::SCENARIOS,
    ];
    for (id, name, _) in families.into_iter().flatten() {
        of.entry(*id).or_default().push(*name);
    }
    let mut all: Vec<&str> = modes().map(|mode| mode.text.id).collect();
    all.sort_unstable();
    let with = all.iter().filter(|id| of.contains_key(*id)).count();
    let names = |all: &[&str]| {
        let quoted: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let healthy: Vec<&str> = healthy::SCENARIOS
        .iter()
        .map(|(_, name, _)| *name)
        .collect();
    let mut text = format!(
        "# Failure modes of a host and their scenarios\n\n\
         Generated from `tests/host_doctor`; `NETSONDE_BLESS=1 cargo test --test host_doctor table` writes it.\n\n\
         {with} of {} findings have a scenario on a real kernel that requires exactly that finding and no\n\
         other; the rest a test of their rule. Healthy hosts, which must have none: {}.\n\n\
         | finding | scenarios |\n|---|---|\n",
        all.len(),
        names(&healthy)
    );
    for id in all {
        let cell = match of.remove(id) {
            Some(scenarios) => names(&scenarios),
            None => {
                let why = MISSING.iter().find(|(missing, _)| *missing == id);
                let why = why.unwrap_or_else(|| panic!("{id} has no scenario"));
                format!("rule only, {}", why.1)
            }
        };
        text.push_str(&format!("| `{id}` | {cell} |\n"));
    }
    assert!(of.is_empty(), "scenarios of unknown findings: {of:?}");
    text
}

pub fn table_is_up_to_date() -> Outcome {
    support::scenarios::agree(true, &table())
}
