//! SHELL. The demonstration.

use super::args::Global;
use super::run::Failure;

/// `netsonde demo`.
pub fn run(_global: &Global) -> Result<u8, Failure> {
    Err(Failure::Other("not yet".into()))
}
