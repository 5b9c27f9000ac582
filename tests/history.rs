//! The historian on a real network: outages, paths and packets as they were, across kills and bad disks.
//!
//! One program, since its tests mostly wait. The long forms of trials.rs (NETSONDE_LONG) measure times, and run alone.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::ExitCode;

#[path = "history/monitors.rs"]
mod monitors;
#[path = "history/paths.rs"]
mod paths;
#[path = "history/record.rs"]
mod record;
#[path = "history/trials.rs"]
mod trials;

fn main() -> ExitCode {
    // The longest first.
    let tests = [trials::TESTS, paths::TESTS, monitors::TESTS, record::TESTS].concat();
    let at_once = match std::env::var_os("NETSONDE_LONG") {
        Some(_) => 1,
        None => 6,
    };
    support::main_with(&tests, at_once)
}
