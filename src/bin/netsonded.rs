//! The service: a keeper, which starts an engine.

use std::process::ExitCode;

use clap::Parser;
use netsonde::keeper::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    netsonde::log::start(if args.engine { "engine" } else { "keeper" });
    let status = if args.engine {
        netsonde::engine::run()
    } else {
        netsonde::keeper::run(&args)
    };
    netsonde::log::end();
    ExitCode::from(status)
}
