//! SHELL. Arguments of `drops` and `interfaces`.

use clap::Args;

use super::time::parse_time;
use super::values::parse_some_time;

/// Options that select a time of the past, from the historian.
#[derive(Clone, Debug, Args)]
pub struct Since {
    /// Show the past from this time on, minute by minute, from the historian: -2h, 21:40:12 (the last one),
    /// 'yesterday 03:00', '2026-11-21 21:40:12', or RFC 3339 with a zone.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub since: Option<u64>,
    /// Stop at this time. Default: now.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true,
        requires = "since")]
    pub until: Option<u64>,
    /// Sum up DUR in each line, at least 1m. Default: about sixty lines.
    #[arg(long, value_name = "DUR", value_parser = parse_some_time, requires = "since")]
    pub step: Option<u64>,
}

/// Options of `netsonde interfaces`.
#[derive(Clone, Debug, Args)]
pub struct InterfacesArgs {
    /// Show only these interfaces.
    #[arg(value_name = "INTERFACE")]
    pub names: Vec<String>,
    /// The past.
    #[command(flatten)]
    pub past: Since,
}

/// Options of `netsonde drops`.
#[derive(Clone, Debug, Args)]
pub struct Drops {
    /// How long to watch the counters.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = parse_some_time,
        conflicts_with = "since")]
    pub duration: u64,
    /// Show the totals since the machine or the interface started, instead of watching.
    #[arg(long, conflicts_with = "since")]
    pub total: bool,
    /// Also show the kernel's drop reasons. Requires root or CAP_PERFMON; covers all namespaces.
    #[arg(long, conflicts_with_all = ["total", "since"])]
    pub reasons: bool,
    /// The past.
    #[command(flatten)]
    pub past: Since,
}
