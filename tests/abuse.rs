//! What the service must survive: each case of a list of abuses that a machine like this one can run, on the
//! control socket (L), on the wire (W), from a compromised process (C) and by the environment (E). Each prints
//! a line with its figures. The table of all, and why some are not here, is `tests/ABUSE.md`.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used)]

mod support;

use std::process::ExitCode;

use support::Test;

#[path = "abuse/attackers.rs"]
mod attackers;
#[path = "abuse/control.rs"]
mod control;
#[path = "abuse/environment.rs"]
mod environment;
#[path = "abuse/process.rs"]
mod process;
#[path = "abuse/table.rs"]
mod table;
#[path = "abuse/watch.rs"]
mod watch;
#[path = "abuse/wire.rs"]
mod wire;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if let Some(exit) = attackers::main() {
        return exit;
    }
    let families = [
        control::TESTS,
        wire::TESTS,
        process::TESTS,
        environment::TESTS,
    ];
    let mut tests: Vec<(&'static str, Test)> = families.concat();
    tests.push(("table_is_up_to_date", table::table_is_up_to_date));
    support::main_with(&tests, 4)
}
