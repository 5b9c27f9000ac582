//! The client.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(netsonde::client::cli::run::run())
}
