//! SHELL. Arguments of `trace`; the letters are those of traceroute(8) and mtr(8).

use clap::Args;
use clap::builder::ArgPredicate;

use super::time::parse_time;
use super::values::{HOUR_NS, number, parse_not_empty, parse_tos, time_in};

/// Options of `netsonde trace`.
#[derive(Clone, Debug, Default, Args)]
pub struct Trace {
    /// Name or address.
    #[arg(
        value_name = "TARGET",
        required = false,
        required_unless_present = "like",
        conflicts_with = "like",
        default_value_if("like", ArgPredicate::IsPresent, "")
    )]
    pub target: String,
    /// Take the way of a TCP connection of this host, which goes on meanwhile: both ends as `netsonde connections`
    /// prints them, or the other end alone if it has one.
    #[arg(long, value_name = "SOURCE-DESTINATION", value_parser = parse_not_empty, conflicts_with_all = ["ipv4", "ipv6", "udp", "tcp", "icmp", "flows", "continuous", "mtu", "compare"])]
    pub like: Option<String>,
    /// Use IPv4 only.
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Use IPv6 only.
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Send UDP datagrams to PORT, or, without one, to 33434 and the ports above. This is the default.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0", value_parser = number::<u16>(0..=65_535), conflicts_with_all = ["icmp", "tcp"])]
    pub udp: Option<u16>,
    /// Send TCP segments that ask for a connection to PORT. It is never opened.
    #[arg(long, value_name = "PORT", value_parser = number::<u16>(1..=65_535), conflicts_with = "icmp")]
    pub tcp: Option<u16>,
    /// Send echo requests, as ping does.
    #[arg(long)]
    pub icmp: bool,
    /// Start with a TTL of FIRST.
    #[arg(short = 'f', long, value_name = "FIRST", default_value_t = 1, value_parser = number::<u8>(1..=255))]
    pub first: u8,
    /// Go up to a TTL of MAX.
    #[arg(short = 'm', long, value_name = "MAX", default_value_t = 30, value_parser = number::<u8>(1..=64))]
    pub max: u8,
    /// Send at least N probes to each hop.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = number::<u32>(1..=100))]
    pub queries: u32,
    /// Use N flows. Default: as many as find all equal ways with a probability of 95 %.
    #[arg(long, value_name = "N", value_parser = number::<u16>(1..=128))]
    pub flows: Option<u16>,
    /// Print addresses without names.
    #[arg(short = 'n', long)]
    pub numeric: bool,
    /// Wait TIMEOUT seconds for an answer.
    #[arg(short = 'W', long, value_name = "TIMEOUT", default_value = "1", value_parser = time_in(1..=HOUR_NS, "at most one hour"))]
    pub timeout: u64,
    /// Send on this interface or from this address.
    #[arg(short = 'I', long = "interface", value_name = "IF|ADDRESS", value_parser = parse_not_empty)]
    pub by: Option<String>,
    /// Set the type of service or traffic class, decimal or 0x hexadecimal; the upper six bits are
    /// the DSCP.
    #[arg(short = 'Q', long, value_name = "TOS", value_parser = parse_tos)]
    pub tos: Option<u8>,
    /// Find the path MTU, hop by hop: where routers report it, and where longer packets vanish. Sends echo requests.
    #[arg(long, conflicts_with_all = ["tcp", "udp"])]
    pub mtu: bool,
    /// End when the path is known. Without it, hops that miss answers are probed at two rates, which takes some
    /// seconds and tells a limit of answers from loss.
    #[arg(long)]
    pub fast: bool,
    /// Compare the path with the one that netsonde-historian knew at TIME. Sends echo requests, as it does. The target, or
    /// another host of its network, must be one of a monitor.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true,
        conflicts_with_all = ["udp", "tcp"])]
    pub compare: Option<u64>,
    /// Send a probe to each hop, round after round, until interrupted, and show the figures since the start: on a
    /// terminal in place, else once at the end, or as one JSON object per round. All probes are of one flow.
    #[arg(long, conflicts_with_all = ["flows", "queries", "fast", "mtu", "compare"])]
    pub continuous: bool,
    /// With --continuous, end after N rounds.
    #[arg(short = 'c', long, value_name = "N", value_parser = number::<u32>(1..=0xffff_ffff), requires = "continuous")]
    pub count: Option<u32>,
    /// With --continuous, begin a round each INTERVAL seconds, at least 0.1. Default: 1.
    #[arg(short = 'i', long, value_name = "INTERVAL", value_parser = time_in(100_000_000..=HOUR_NS, "0.1 s to one hour"), requires = "continuous")]
    pub interval: Option<u64>,
}
