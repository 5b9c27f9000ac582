//! SHELL. Arguments of `watch` and `capture`: which packets.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use netsonde_core::recorder::select::MAX_VLAN;

use super::time::parse_time;
use super::values::{
    Lookback, number, parse_host, parse_lookback, parse_one_group, parse_protocol, parse_store,
};

/// Options of `watch`.
#[derive(Clone, Debug, Default, Args)]
pub struct Watch {
    /// Show the link-layer header as well: addresses, EtherType and length.
    #[arg(short = 'e', long)]
    pub link_header: bool,
    /// Print addresses and ports without names. Always the case; accepted for compatibility with
    /// tcpdump.
    #[arg(short = 'n', long, overrides_with = "numeric")]
    pub numeric: bool,
    /// Write the packets to FILE instead, as `netsonde capture` does; - for standard output.
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// The packets to show.
    #[command(flatten)]
    pub packets: Packets,
}

/// A time in the past.
#[derive(Clone, Debug, Default, Args)]
pub struct Past {
    /// Use recorded packets of the last DUR instead of the present state: 90s, 5m, 2h or 1d; `all` for the
    /// whole record.
    #[arg(long, value_name = "DUR", value_parser = parse_lookback)]
    pub last: Option<Lookback>,
    /// Use recorded packets from this time on: -2h, 21:40 (today), 'yesterday 03:00', or RFC 3339 with a zone.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "last",
        allow_hyphen_values = true)]
    pub since: Option<u64>,
    /// Use recorded packets up to this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time,
        allow_hyphen_values = true)]
    pub until: Option<u64>,
    /// Socket of netsonde-historian, which has packets on disk.
    #[arg(skip)]
    pub history: Option<PathBuf>,
}

impl Past {
    /// Returns a selection of packets of this time; `None` if none is given.
    pub(crate) fn packets(&self) -> Option<Packets> {
        let packets = Packets {
            last: self.last,
            since: self.since,
            until: self.until,
            history: self.history.clone(),
            ..Packets::default()
        };
        let is_given = self.last.is_some() || self.since.is_some() || self.until.is_some();
        is_given.then_some(packets)
    }
}

/// A selection of packets: live, recorded, or from a file.
#[derive(Clone, Debug, Default, Args)]
pub struct Packets {
    /// Socket of netsonde-historian, if packets on its disk are wanted, too.
    #[arg(skip)]
    pub history: Option<std::path::PathBuf>,
    /// Filter expression as for tcpdump, see pcap-filter(7). `mld` is accepted as well.
    #[arg(
        value_name = "FILTER",
        trailing_var_arg = true,
        allow_hyphen_values = false
    )]
    pub filter: Vec<String>,
    /// Show recorded packets of the last DUR: 90s, 5m, 2h or 1d; `all` for the whole record.
    #[arg(long, value_name = "DUR", value_parser = parse_lookback)]
    pub last: Option<Lookback>,
    /// Start at this time: -2h, 21:40:12.5 (the last one), 'yesterday 03:00', '2026-11-21 21:40:12', or RFC 3339
    /// with a zone.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "last",
        allow_hyphen_values = true)]
    pub since: Option<u64>,
    /// Stop at this time. Without --since, start at the beginning of the record.
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub until: Option<u64>,
    /// Keep printing new packets; with --last, after the recorded ones.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Read a pcap or pcapng file instead; - for standard input. Needs no service.
    #[arg(short = 'r', long, value_name = "FILE")]
    pub read: Option<PathBuf>,
    /// Stop after N packets.
    #[arg(short = 'c', long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX))]
    pub count: Option<u64>,
    /// Select only this interface; -i is the same. May be repeated. Default: any.
    #[arg(short = 'I', short_alias = 'i', long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Select only received (in) or only sent (out) packets.
    #[arg(long, value_name = "DIR")]
    pub direction: Option<DirectionArg>,
    /// Select only this store of the recorder: link, group, icmp, names, routing, connections or bulk.
    #[arg(long = "store", value_name = "STORE", value_parser = parse_store)]
    pub stores: Vec<String>,
    /// Select only packets to or from this address or prefix.
    #[arg(long = "host", value_name = "ADDRESS", value_parser = parse_host)]
    pub hosts: Vec<String>,
    /// Select only packets with this TCP, UDP or SCTP port.
    #[arg(long = "port", value_name = "PORT", value_parser = number::<u16>(0..=65_535))]
    pub ports: Vec<u16>,
    /// Select only this protocol: arp, ip, ip6, icmp, icmp6, nd, igmp, mld, pim, tcp, udp, dns, dhcp
    /// and others.
    #[arg(long = "proto", value_name = "NAME", value_parser = parse_protocol)]
    pub protocols: Vec<String>,
    /// Let --host, --port and --proto match packets within tunnels, PPPoE and MPLS as well.
    #[arg(long)]
    pub inner: bool,
    /// Select only packets to this multicast group, and IGMP and MLD messages about it.
    #[arg(long = "group", value_name = "GROUP", value_parser = parse_one_group)]
    pub groups: Vec<IpAddr>,
    /// Select only packets with this VLAN ID.
    #[arg(long = "vlan", value_name = "VID", value_parser = number::<u16>(0..=MAX_VLAN.into()))]
    pub vlans: Vec<u16>,
    /// Show headers only, without payload, as users without payload permission see it.
    #[arg(long, conflicts_with = "read")]
    pub headers: bool,
}

/// Direction of a packet, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DirectionArg {
    /// Received.
    In,
    /// Sent by this host.
    Out,
}
