//! SHELL. Arguments of `connections`.

use std::path::PathBuf;

use clap::Args;
use netsonde_core::address::{looks_like_ipv4, looks_like_ipv6, parse_prefix};

use super::packets::Past;
use super::values::{number, parse_not_empty, parse_some_time};

/// Options of `netsonde connections`.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectionsArgs {
    /// The time that is shown. Default: the last 5 minutes.
    #[command(flatten)]
    pub past: Past,
    /// Read a pcap or pcapng file instead; - for standard input. Needs no service.
    #[arg(short = 'r', long, value_name = "FILE", conflicts_with = "last")]
    pub read: Option<PathBuf>,
    /// Show only what failed: connections that were refused, unanswered or reset, and questions without an answer or
    /// with an error.
    #[arg(long)]
    pub failed: bool,
    /// Show only what took DUR or longer: a handshake on either side of this host, the first byte of the server, the
    /// answer of a name server.
    #[arg(long, value_name = "DUR", value_parser = parse_some_time)]
    pub slow: Option<u64>,
    /// Show only connections of this process, by name or number. Those that are gone have none.
    #[arg(long, value_name = "NAME|PID", value_parser = parse_not_empty)]
    pub process: Option<String>,
    /// Show only connections of this address, prefix or name at either end. May be repeated.
    #[arg(long = "host", value_name = "ADDRESS|NAME", value_parser = parse_end)]
    pub hosts: Vec<String>,
    /// Show only connections with this port at either end. May be repeated.
    #[arg(long = "port", value_name = "PORT", value_parser = number::<u16>(0..=65_535))]
    pub ports: Vec<u16>,
    /// List the questions to name servers instead of the connections.
    #[arg(long)]
    pub names: bool,
    /// Print addresses and ports without names.
    #[arg(short = 'n', long)]
    pub numeric: bool,
}

/// Parses an address, a prefix or the name of a host. Returns it as written.
fn parse_end(text: &str) -> Result<String, String> {
    if looks_like_ipv4(text) || looks_like_ipv6(text) || text.contains('/') {
        parse_prefix(text)?;
    }
    parse_not_empty(text)
}
