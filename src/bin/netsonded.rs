//! The service: a keeper, which starts an engine.

use std::process::ExitCode;

use clap::Parser;
use netsonde::daemon::keeper::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    netsonde::log::start(if args.engine { "engine" } else { "keeper" });
    let status = if args.engine {
        netsonde::daemon::engine::run()
    } else {
        netsonde::daemon::keeper::run(&args)
    };
    netsonde::log::end();
    ExitCode::from(status)
}
