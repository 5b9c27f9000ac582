//! SHELL. Arguments of `sockets`.

use clap::Args;

use super::values::{parse_family, parse_socket_type};

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
    /// Show only sockets of this process, given by number or name.
    #[arg(long, value_name = "PID|NAME")]
    pub process: Option<String>,
    /// Show only sockets with this local or remote port.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u32>,
}
