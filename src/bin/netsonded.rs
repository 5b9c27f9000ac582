//! The service: a keeper, which starts an engine.

use std::process::ExitCode;

use clap::Parser;
use netsonde::keeper::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let status = if args.engine {
        netsonde::engine::run()
    } else {
        netsonde::keeper::run(&args)
    };
    ExitCode::from(status)
}
