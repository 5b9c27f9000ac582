//! SHELL. Arguments of `events`.

use clap::Args;

use super::time::parse_time;
use super::values::{number, parse_some_time};

/// Options of `netsonde events`.
#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Show only these kinds, or all kinds of a category: link, neighbor, multicast, loss, recorder,
    /// sniffer, service, monitor. See netsonde-events(7).
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Keep printing new events. Starts with the last ten unless --last or -n is given.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Show events of the last DUR: 90s, 5m, 2h or 1d.
    #[arg(long, value_name = "DUR", value_parser = parse_some_time)]
    pub last: Option<u64>,
    /// Start at this time: -2h, 21:40:12 (the last one), 'yesterday 03:00', '2026-11-21 21:40:12', or RFC 3339
    /// with a zone.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "last",
        allow_hyphen_values = true)]
    pub since: Option<u64>,
    /// Stop at this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub until: Option<u64>,
    /// Show at most the newest N events.
    #[arg(short = 'n', long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX))]
    pub number: Option<u64>,
    /// Show only events of this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Show only events of at least this severity: info, notice or warning.
    #[arg(short = 's', long, value_name = "SEVERITY", default_value = "info")]
    pub severity: String,
}
