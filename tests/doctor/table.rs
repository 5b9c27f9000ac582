//! The table of failure modes against scenarios, `tests/SCENARIOS.md`.

use std::collections::BTreeMap;

use netsonde_core::diagnose::ALL;

use super::*;

/// Modes without a scenario, and why.
const MISSING: &[(&str, &str)] = &[(
    "vf-filter",
    "needs a network card with virtual functions, or a guest behind a macvtap",
)];

fn table() -> String {
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let families = [
        receiver::SCENARIOS,
        protocol::SCENARIOS,
        link::SCENARIOS,
        routing::SCENARIOS,
    ];
    for (id, name, _) in families.into_iter().flatten() {
        of.entry(*id).or_default().push(*name);
    }
    let mut modes: Vec<_> = ALL.iter().collect();
    modes.sort_by_key(|mode| mode.id);
    let with = modes.iter().filter(|mode| of.contains_key(mode.id)).count();
    let mut text = format!(
        "# Failure modes of multicast and their scenarios\n\n\
         Generated from `tests/doctor`; `NETSONDE_BLESS=1 cargo test --test doctor table` writes it.\n\n\
         {with} of {} findings have a scenario on a real kernel that requires exactly that finding and no\n\
         other. Healthy networks, which must have none: {}.\n\n\
         | finding | scenarios |\n|---|---|\n",
        modes.len(),
        healthy::SCENARIOS
            .iter()
            .map(|(_, name, _)| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    for mode in &modes {
        let cell = match of.remove(mode.id) {
            Some(names) => names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", "),
            None => {
                let why = MISSING.iter().find(|(id, _)| *id == mode.id);
                format!(
                    "none: {}",
                    why.unwrap_or_else(|| panic!("{} has no scenario", mode.id))
                        .1
                )
            }
        };
        text.push_str(&format!("| `{}` | {cell} |\n", mode.id));
    }
    assert!(of.is_empty(), "scenarios of unknown findings: {of:?}");
    text
}

pub fn table_is_up_to_date() -> Outcome {
    support::scenarios::agree(false, &table())
}
