//! The client.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(netsonde::client::run::run())
}
