//! SHELL. Arguments of `drops`.

use clap::Args;

use super::values::parse_some_time;

/// Options of `netsonde drops`.
#[derive(Clone, Debug, Args)]
pub struct Drops {
    /// How long to watch the counters.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = parse_some_time)]
    pub duration: u64,
    /// Show the totals since the machine or the interface started, instead of watching.
    #[arg(long)]
    pub total: bool,
    /// Also show the kernel's drop reasons. Requires root or CAP_PERFMON; covers all namespaces.
    #[arg(long, conflicts_with = "total")]
    pub reasons: bool,
}
