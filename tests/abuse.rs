//! A list of abuses that the service must survive, as far as they can be made on one machine: on the control
//! socket (L), on the wire (W), from a compromised process (C) and by the environment (E). Each prints a line
//! with its figures.
//!
//! ```text
//!   a  e0 10.0.0.1, netsonded ---------- 10.0.0.2 e0  b (attacker on the wire)
//!   attackers on the control socket: processes in a, of another user where there is one
//! ```
//!
//! `tests/abuse/watch.rs` judges: no process ends, others are answered, all packets are kept or declared. The
//! table of all cases, with the reason for those that are missing, is `tests/ABUSE.md`.
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
