//! SHELL. Arguments of `sockets`.

use clap::Args;

use super::values::{number, parse_family, parse_not_empty, parse_socket_type};

/// Options of `netsonde sockets`.
#[derive(Clone, Debug, Default, Args)]
pub struct Sockets {
    /// Show only listening sockets, and bound sockets without a peer.
    #[arg(short, long)]
    pub listen: bool,
    /// Show tables in full width, also on a narrow terminal.
    // Takes the place of the global option, whose letter is that of --listen here.
    #[arg(long)]
    pub wide: bool,
    /// Show only sockets that can capture traffic: packet, raw and AF_XDP sockets.
    #[arg(long)]
    pub sniff: bool,
    /// Show only this address family: AF_INET6, unix, 17.
    #[arg(long, value_name = "FAMILY", value_parser = parse_family)]
    pub family: Option<u8>,
    /// Show only this type: SOCK_STREAM, dgram, raw, seqpacket.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_socket_type)]
    pub kind: Option<u32>,
    /// Show only TCP sockets. May be combined with -u, -w, -x and -0.
    #[arg(short = 't', long)]
    pub tcp: bool,
    /// Show only UDP sockets.
    #[arg(short = 'u', long)]
    pub udp: bool,
    /// Show only raw sockets.
    #[arg(short = 'w', long)]
    pub raw: bool,
    /// Show only Unix sockets.
    #[arg(short = 'x', long)]
    pub unix: bool,
    /// Show only packet sockets.
    #[arg(short = '0', long)]
    pub packet: bool,
    /// Show only IPv4 sockets.
    #[arg(short = '4', long, conflicts_with_all = ["ipv6", "family"])]
    pub ipv4: bool,
    /// Show only IPv6 sockets.
    #[arg(short = '6', long, conflicts_with = "family")]
    pub ipv6: bool,
    /// Show listening and other sockets. Always the case without -l; accepted for compatibility with ss.
    #[arg(short = 'a', long, conflicts_with = "listen")]
    pub all: bool,
    /// Show the processes. Always the case; accepted for compatibility with ss.
    #[arg(short = 'p', long)]
    pub processes: bool,
    /// Print ports as numbers. Always the case; accepted for compatibility with ss.
    #[arg(short = 'n', long)]
    pub numeric: bool,
    /// Show only sockets of this process, given by number or name.
    #[arg(long, value_name = "PID|NAME", value_parser = parse_not_empty)]
    pub process: Option<String>,
    /// Show only sockets with this local or remote port.
    #[arg(long, value_name = "PORT", value_parser = number::<u32>(1..=u32::MAX.into()))]
    pub port: Option<u32>,
}
