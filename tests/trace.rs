//! `netsonde trace` on routers of the kernel and of the laboratory, and beside mtr and traceroute.
//!
//! One program, since its tests mostly wait.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::ExitCode;

#[path = "trace/faults.rs"]
mod faults;
#[path = "trace/like.rs"]
mod like;
#[path = "trace/rounds.rs"]
mod rounds;
#[path = "trace/ways.rs"]
mod ways;

fn main() -> ExitCode {
    // The longest first.
    let tests = [faults::TESTS, like::TESTS, rounds::TESTS, ways::TESTS].concat();
    support::main_with(&tests, 6)
}
