//! SHELL. Arguments of `events`.

use clap::Args;

use super::values::parse_duration;

/// Options of `netsonde events`.
#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Show only these kinds, or all kinds of a category: link, neighbor, multicast, loss, recorder,
    /// sniffer, service. See netsonde-events(7).
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Keep printing new events. Starts with the last ten unless --last or -n is given.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Show events of the last DUR: 90s, 5m, 2h or 1d.
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub last: Option<u64>,
    /// Show at most the newest N events.
    #[arg(short = 'n', long, value_name = "N")]
    pub number: Option<u64>,
    /// Show only events of this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Show only events of at least this severity: info, notice or warning.
    #[arg(short = 's', long, value_name = "SEVERITY", default_value = "info")]
    pub severity: String,
}
