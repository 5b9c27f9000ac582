//! SHELL. Arguments of `ping`; the letters are those of ping(8).

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{parse_duration, parse_tos};

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
    #[arg(short = 'c', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Wait INTERVAL seconds between probes to one target.
    #[arg(short = 'i', long, value_name = "INTERVAL", value_parser = parse_duration)]
    pub interval: Option<u64>,
    /// Send SIZE bytes of payload.
    #[arg(short = 's', long, value_name = "SIZE", default_value_t = 56, value_parser = clap::value_parser!(u32).range(..=65_527))]
    pub size: u32,
    /// Set the TTL or hop limit.
    #[arg(short = 't', long, value_name = "TTL", value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: Option<u8>,
    /// Wait TIMEOUT seconds for a reply; a later reply counts as late.
    #[arg(short = 'W', long, value_name = "TIMEOUT", default_value = "1", value_parser = parse_duration)]
    pub timeout: u64,
    /// Stop sending after DEADLINE seconds; pending probes still get their timeout.
    #[arg(short = 'w', long, value_name = "DEADLINE", value_parser = parse_duration)]
    pub deadline: Option<u64>,
    /// Send on this interface or from this address.
    #[arg(short = 'I', long = "interface", value_name = "IF|ADDRESS")]
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
    #[arg(short = 'p', long, value_name = "PATTERN")]
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Write the packets of this run as pcapng, with the fate of each probe as a comment.
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

/// Examples of netsonde-ping(1): purpose and command. A test runs each of them, on hosts that have
/// these addresses.
pub const PING_EXAMPLES: &[(&str, &str)] = &[
    (
        "Find out whether probes get through, and where they die if not.",
        "netsonde ping -c 5 192.0.2.7",
    ),
    (
        "Show every known time as well: in the local queue, and from the reply's arrival to its delivery.",
        "netsonde -v ping -c 3 -i 0.2 192.0.2.7",
    ),
    (
        "Save the packets of the run for Wireshark, with the fate of each probe as a comment.",
        "netsonde ping -c 3 -i 0.2 --evidence lost.pcapng 192.0.2.7 192.0.2.9",
    ),
    (
        "Ping IPv6 addresses. A link-local address needs its interface.",
        "netsonde ping -c 3 -i 0.2 2001:db8::7 fe80::7%eth0",
    ),
    (
        "Check that the path carries packets of 1500 bytes.",
        "netsonde ping -c 1 -M probe -s 1472 192.0.2.7",
    ),
    (
        "Imitate a voice call: 160 bytes of voice 50 times per second, with expedited forwarding.",
        "netsonde -q ping -c 50 -i 0.02 -s 160 -Q 0xb8 192.0.2.7",
    ),
    (
        "Ping as fast as replies arrive, for two seconds.",
        "netsonde ping -f -w 2 192.0.2.7",
    ),
    (
        "List the hosts of a network that answer.",
        "netsonde ping 192.0.2.0/28",
    ),
    (
        "Ping a list of hosts from a file, one name or address per line.",
        "netsonde ping @hosts.txt",
    ),
    (
        "List the hosts on a link. Many systems answer only to the IPv6 group.",
        "netsonde ping ff02::1%eth0",
    ),
    (
        "The same over IPv4, with multicast and broadcast.",
        "netsonde ping 224.0.0.1 -I eth0\nnetsonde ping -b 192.0.2.255",
    ),
    (
        "Print one JSON object per line, for scripts.",
        "netsonde --json ping -c 10 -i 0.1 192.0.2.7",
    ),
];
