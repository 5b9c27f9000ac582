//! SHELL. Arguments of `talkers`.

use clap::{Args, ValueEnum};

use super::values::{number, time_in};

/// One second, in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// Options of `netsonde talkers`.
#[derive(Clone, Debug, Args)]
pub struct Talkers {
    /// Time window, 1s to 5m. It starts at a whole second (above 10s: ten seconds, above 1m: minute),
    /// so it may be longer than asked for.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = time_in(SECOND_NS..=300 * SECOND_NS, "1s to 5m"))]
    pub window: u64,
    /// Sort by bytes or by packets.
    #[arg(long, value_name = "WHAT", default_value = "bytes")]
    pub by: SortKey,
    /// Number of flows to show, 1 to 1000.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = number::<u64>(1..=1000))]
    pub number: u64,
    /// Show only this interface.
    #[arg(short = 'I', long, value_name = "IF")]
    pub interface: Option<String>,
    /// Show flows on each interface. Without it, a packet that this host carries from one interface to
    /// another counts once.
    #[arg(long)]
    pub by_interface: bool,
    /// Repeat every second until interrupted; on a terminal, in place.
    #[arg(long)]
    pub watch: bool,
}

/// The quantity that flows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// Bytes on the wire.
    Bytes,
    /// Packets.
    Packets,
}
