//! SHELL. Arguments of `doctor`.

use clap::Args;

use super::values::parse_some_time;

/// Options of `netsonde doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// What cannot be reached, or is slow: a name or an address, with :PORT and /udp if it is a port. An IPv6 address with
    /// a port is in brackets. Default: diagnose this host.
    #[arg(value_name = "TARGET[:PORT][/udp]")]
    pub target: Option<String>,
    /// Check only this interface; with a target, send on it.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// How long to watch the counters.
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = parse_some_time)]
    pub duration: u64,
    /// Send from this address to the target.
    #[arg(long, value_name = "ADDR", requires = "target")]
    pub source: Option<String>,
    /// Exit with status 1 also on warnings.
    #[arg(long)]
    pub strict: bool,
    /// Print which probes would be sent, to whom and on which interface; send nothing. Needs no
    /// service.
    #[arg(long)]
    pub dry_run: bool,
}
