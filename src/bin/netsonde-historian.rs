//! The historian.

use std::process::ExitCode;

use clap::Parser;
use netsonde::historian::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    netsonde::log::start("historian");
    let status = netsonde::historian::run(&args);
    netsonde::log::end();
    ExitCode::from(status)
}
