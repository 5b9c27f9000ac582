//! SHELL. Arguments of `ping`; the letters are those of ping(8).

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{
    HOUR_NS, number, parse_not_empty, parse_pattern, parse_some_time, parse_tos, time_in,
};

/// Options of `netsonde ping`.
#[derive(Clone, Debug, Default, Args)]
pub struct Ping {
    /// Name, address, range such as 10.0.0.0/24, multicast group or broadcast address, or @FILE with
    /// one of these per line. Several targets are shown as a table.
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<String>,
    /// Use IPv4 only.
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Use IPv6 only.
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Stop after COUNT probes per target. Default: no limit for a single target, 3 for a group or
    /// broadcast address, 1 for several targets.
    #[arg(short = 'c', long, value_name = "COUNT", value_parser = number::<u32>(1..=u32::MAX.into()))]
    pub count: Option<u32>,
    /// Wait INTERVAL seconds between probes to one target.
    #[arg(short = 'i', long, value_name = "INTERVAL", value_parser = time_in(0..=HOUR_NS, "at most one hour"))]
    pub interval: Option<u64>,
    /// Ask for a TCP connection to this port instead of echo requests; it is never completed.
    #[arg(long, value_name = "PORT", value_parser = number::<u16>(1..=65_535), conflicts_with_all = ["udp", "size", "pmtu", "pattern", "broadcast", "evidence"])]
    pub tcp: Option<u16>,
    /// Send UDP datagrams to this port instead of echo requests.
    #[arg(long, value_name = "PORT", value_parser = number::<u16>(1..=65_535), conflicts_with_all = ["pmtu", "pattern", "broadcast", "flood", "evidence"])]
    pub udp: Option<u16>,
    /// Send SIZE bytes of payload; with --udp 14 to 8952.
    #[arg(short = 's', long, value_name = "SIZE", default_value_t = 56, value_parser = number::<u32>(0..=65_527))]
    pub size: u32,
    /// Set the TTL or hop limit.
    #[arg(short = 't', long, value_name = "TTL", value_parser = number::<u8>(1..=255))]
    pub ttl: Option<u8>,
    /// Wait TIMEOUT seconds for a reply; a later reply counts as late.
    #[arg(short = 'W', long, value_name = "TIMEOUT", default_value = "1", value_parser = time_in(1..=HOUR_NS, "at most one hour"))]
    pub timeout: u64,
    /// Stop sending after DEADLINE seconds; pending probes still get their timeout.
    #[arg(short = 'w', long, value_name = "DEADLINE", value_parser = parse_some_time)]
    pub deadline: Option<u64>,
    /// Send on this interface or from this address.
    #[arg(short = 'I', long = "interface", value_name = "IF|ADDRESS", value_parser = parse_not_empty)]
    pub by: Option<String>,
    /// Set the type of service or traffic class, decimal or 0x hexadecimal; the upper six bits are
    /// the DSCP.
    #[arg(short = 'Q', long, value_name = "TOS", value_parser = parse_tos)]
    pub tos: Option<u8>,
    /// Set path MTU discovery: do (never fragment), probe (never fragment, ignore the known path MTU),
    /// want (fragment locally if needed), dont (do not set the DF flag).
    #[arg(short = 'M', long, value_name = "do|probe|want|dont")]
    pub pmtu: Option<Pmtu>,
    /// Fill the payload with this pattern, up to 16 bytes in hexadecimal.
    #[arg(short = 'p', long, value_name = "PATTERN", value_parser = parse_pattern)]
    pub pattern: Option<String>,
    /// Print a Unix timestamp at the start of each line.
    #[arg(short = 'D', long)]
    pub timestamp: bool,
    /// Print addresses without names. Always the case; accepted for compatibility with ping.
    #[arg(short = 'n', long)]
    pub numeric: bool,
    /// Allow broadcast addresses.
    #[arg(short = 'b', long)]
    pub broadcast: bool,
    /// Flood: send on each reply, at least 100 times per second; print only lost probes.
    #[arg(short = 'f', long)]
    pub flood: bool,
    /// Send at most N probes per second to all targets together. Default for several targets: 10000.
    #[arg(long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX))]
    pub rate: Option<u64>,
    /// Write the packets of this run to FILE as pcapng, with the fate of each probe as a comment; an
    /// existing FILE is replaced when the new one is complete.
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,
}

/// Path MTU discovery, as for ping -M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pmtu {
    /// Set DF and fail for packets larger than the known path MTU (IP_PMTUDISC_DO).
    Do,
    /// Set DF and ignore the known path MTU (IP_PMTUDISC_PROBE).
    Probe,
    /// Fragment locally if the packet is larger than the known path MTU (IP_PMTUDISC_WANT).
    Want,
    /// Do not set DF (IP_PMTUDISC_DONT).
    Dont,
}
