//! SHELL. Arguments of the commands that ask netsonde-historian: `monitor`, `outages`, `history`, `keep`, `kept`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use netsonde_core::monitor::{INTERVALS_NS, TIMEOUTS_NS};

use super::time::parse_time;
use super::values::{number, parse_not_empty, parse_some_time, time_in};

/// The commands of `netsonde monitor`.
#[derive(Clone, Debug, Subcommand)]
pub enum Monitor {
    /// Probe targets for ever, and keep their history.
    Add(MonitorAdd),
    /// List targets with state, loss and round trip; those in trouble first.
    List {
        /// Show only this monitor.
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Show only monitors with this tag.
        #[arg(long, value_name = "TAG", value_parser = parse_not_empty)]
        tag: Option<String>,
        /// Show only targets that are down or flapping.
        #[arg(long)]
        down: bool,
    },
    /// Remove a monitor. Its history stays until it expires.
    Remove {
        /// The monitor.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Stop probing, or with --maintenance, ignore losses.
    Pause {
        /// The monitor.
        #[arg(value_name = "NAME")]
        name: String,
        /// Resume by itself after DUR. Default: `netsonde monitor resume`.
        #[arg(long = "for", value_name = "DUR", value_parser = parse_some_time)]
        duration: Option<u64>,
        /// Go on probing, but let losses be no outage.
        #[arg(long)]
        maintenance: bool,
    },
    /// End a pause.
    Resume {
        /// The monitor.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Options of `netsonde monitor add`.
#[derive(Clone, Debug, Args)]
pub struct MonitorAdd {
    /// Name of the monitor: letters, digits, `-`, `_` and `.`.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Name, address, range such as 10.0.0.0/28, or @FILE with one of these per line.
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<String>,
    /// Wait INTERVAL seconds between probes to one target. Default: 1.
    #[arg(short = 'i', long, value_name = "INTERVAL",
        value_parser = time_in(INTERVALS_NS.0..=INTERVALS_NS.1, "100ms to 1h"))]
    pub interval: Option<u64>,
    /// Wait TIMEOUT seconds for a reply. Default: INTERVAL, but 1 to 10.
    #[arg(short = 'W', long, value_name = "TIMEOUT",
        value_parser = time_in(TIMEOUTS_NS.0..=TIMEOUTS_NS.1, "10ms to 10s"))]
    pub timeout: Option<u64>,
    /// Ask for a TCP connection to this port instead of echo requests; it is never completed.
    #[arg(long, value_name = "PORT", value_parser = number::<u16>(1..=65_535), conflicts_with_all = ["udp", "size", "pmtu"])]
    pub tcp: Option<u16>,
    /// Send UDP datagrams to this port instead of echo requests.
    #[arg(long, value_name = "PORT", value_parser = number::<u16>(1..=65_535), conflicts_with = "pmtu")]
    pub udp: Option<u16>,
    /// Send SIZE bytes of payload. Default: 56.
    #[arg(short = 's', long, value_name = "SIZE", value_parser = number::<u64>(12..=65_507))]
    pub size: Option<u64>,
    /// Set the differentiated services code point.
    #[arg(long, value_name = "N", value_parser = number::<u64>(0..=63))]
    pub dscp: Option<u64>,
    /// Set path MTU discovery: do (never fragment).
    #[arg(short = 'M', long, value_name = "do")]
    pub pmtu: Option<Fragments>,
    /// Send on this interface or from this address.
    #[arg(short = 'I', long = "interface", value_name = "IF|ADDRESS", value_parser = parse_not_empty)]
    pub by: Option<String>,
    /// Word to select monitors by. May be repeated.
    #[arg(long = "tag", value_name = "TAG", value_parser = parse_not_empty)]
    pub tags: Vec<String>,
    /// Replace a monitor of this name; its history goes on.
    #[arg(long)]
    pub replace: bool,
}

/// Fragmentation of probes, as for ping -M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fragments {
    /// Set DF.
    Do,
}

/// Options of `netsonde outages`.
#[derive(Clone, Debug, Args)]
pub struct Outages {
    /// Show only outages of this target, by its address, name or monitor; or all about the outage of this
    /// number.
    #[arg(value_name = "TARGET|ID", value_parser = parse_not_empty)]
    pub target: Option<String>,
    /// Show only outages that lasted after this time: -2h, 21:40:12 (the last one), 'yesterday 03:00',
    /// '2026-11-21 21:40:12', or RFC 3339 with a zone.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub since: Option<u64>,
    /// Show only outages that began before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub until: Option<u64>,
    /// Show at most the newest N outages. Default: 100.
    #[arg(short = 'n', long, value_name = "N", value_parser = number::<u64>(1..=1000))]
    pub number: Option<u64>,
    /// Write the packets of the outage ID to FILE as pcapng; - for standard output.
    #[arg(short = 'w', long = "write", value_name = "FILE",
        conflicts_with_all = ["since", "until", "number"])]
    pub write: Option<PathBuf>,
    /// Write headers only, without payload, as users without payload permission may.
    #[arg(long, requires = "write")]
    pub headers: bool,
}

impl Outages {
    /// Number of the outage, if one is named: no target is a number.
    pub fn id(&self) -> Option<u64> {
        self.target.as_ref()?.parse().ok()
    }
}

/// Options of `netsonde history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// The target: its address, its name, or a monitor that has one target.
    #[arg(value_name = "TARGET", value_parser = parse_not_empty)]
    pub target: String,
    /// Start at this time: -2h, 21:40:12 (the last one), 'yesterday 03:00', '2026-11-21 21:40:12', or RFC
    /// 3339 with a zone. Default: one hour before the end.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub since: Option<u64>,
    /// Stop at this time. Default: now.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub until: Option<u64>,
    /// Sum up DUR in each line. Default: about sixty lines.
    #[arg(long, value_name = "DUR", value_parser = parse_some_time)]
    pub step: Option<u64>,
    /// Show the probe that was sent at this time, or the last one before.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true,
        conflicts_with_all = ["since", "until", "step"])]
    pub at: Option<u64>,
}

/// Options of `netsonde keep`.
#[derive(Clone, Debug, Args)]
pub struct KeepArgs {
    /// Keep the last DUR: 90s, 5m or 2h. Default: 5m.
    #[arg(long, value_name = "DUR", value_parser = parse_some_time)]
    pub last: Option<u64>,
    /// What you saw.
    #[arg(value_name = "NOTE")]
    pub note: Vec<String>,
}

/// Parses the number of something that was kept.
fn parse_id(text: &str) -> Result<u64, String> {
    number(1..=u64::MAX)(text).map_err(|why| format!("ID: {why}"))
}

/// Options of `netsonde kept`.
#[derive(Clone, Debug, Args)]
pub struct KeptArgs {
    /// Show only this one.
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub id: Option<u64>,
    /// Write its packets to FILE as pcapng; - for standard output.
    #[arg(short = 'w', long = "write", value_name = "FILE", requires = "id")]
    pub write: Option<PathBuf>,
    /// Write headers only, without payload, as users without payload permission may.
    #[arg(long, requires = "write")]
    pub headers: bool,
    /// Delete it.
    #[arg(long, requires = "id", conflicts_with = "write")]
    pub discard: bool,
}
