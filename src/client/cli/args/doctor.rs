//! SHELL. Arguments of `doctor`.

use clap::Args;

use super::values::parse_some_time;

/// Options of `netsonde doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Check only this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// How long to watch the counters.
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = parse_some_time)]
    pub duration: u64,
    /// Exit with status 1 also on warnings.
    #[arg(long)]
    pub strict: bool,
    /// Print which probes would be sent, to whom and on which interface; send nothing. Needs no
    /// service.
    #[arg(long)]
    pub dry_run: bool,
}
