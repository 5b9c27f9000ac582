//! The table of a target's failure modes against scenarios, in `tests/SCENARIOS.md`.

use std::collections::BTreeMap;

use netsonde_core::diagnose::target::modes;

use super::*;

/// Modes without a scenario on a real kernel, and why.
const MISSING: &[(&str, &str)] = &[(
    "not-sent",
    "every error of the send call that a namespace can be made to give has a finding of its own",
)];

fn table() -> String {
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let families = [
        names::SCENARIOS,
        local::SCENARIOS,
        paths::SCENARIOS,
        ports::SCENARIOS,
        families::SCENARIOS,
    ];
    for (id, name, _) in families.into_iter().flatten() {
        of.entry(*id).or_default().push(*name);
    }
    let mut all: Vec<_> = modes().collect();
    all.sort_unstable_by_key(|text| text.id);
    let with = all.iter().filter(|text| of.contains_key(text.id)).count();
    let names = |all: &[&str]| {
        let quoted: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let healthy: Vec<&str> = healthy::SCENARIOS
        .iter()
        .map(|(_, name, _)| *name)
        .collect();
    let mut text = format!(
        "{}\n\
         Generated from `tests/target_doctor`; `NETSONDE_BLESS=1 cargo test --test target_doctor table` writes it.\n\n\
         {with} of {} findings have a scenario on a real kernel that requires exactly that finding and no\n\
         other. Healthy ways, which must have none: {}.\n\n\
         | finding | scenarios | what shows it |\n|---|---|---|\n",
        support::scenarios::OF_TARGET,
        all.len(),
        names(&healthy)
    );
    for mode in all {
        let cell = match of.remove(mode.id) {
            Some(scenarios) => names(&scenarios),
            None => {
                let why = MISSING.iter().find(|(missing, _)| *missing == mode.id);
                let why = why.unwrap_or_else(|| panic!("{} has no scenario", mode.id));
                format!("none: {}", why.1)
            }
        };
        text.push_str(&format!("| `{}` | {cell} | {} |\n", mode.id, mode.proof));
    }
    assert!(of.is_empty(), "scenarios of unknown findings: {of:?}");
    text
}

pub fn table_is_up_to_date() -> Outcome {
    support::scenarios::agree(support::scenarios::OF_TARGET, &table())
}
