//! SHELL. Arguments of the `mcast` commands.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use netsonde_core::multicast::GroupPort;

use super::packets::Past;
use super::values::{number, parse_one_address, parse_one_group, parse_some_time};

/// Maximum of SO_RCVBUF: the kernel doubles an int (net/core/sock.c).
const MAX_BUFFER: u64 = (i32::MAX / 2) as u64;

impl Mcast {
    /// Returns the time in the past that is asked for.
    pub(crate) fn past(&self) -> Option<&Past> {
        match self {
            Mcast::Groups { past, .. }
            | Mcast::Streams { past, .. }
            | Mcast::Queriers { past, .. }
            | Mcast::Doctor(McastDoctor { past, .. }) => Some(past),
            Mcast::Join(_) | Mcast::Send(_) => None,
        }
    }

    /// Has packets of the past come from the disk of netsonde-historian, too.
    pub(crate) fn read_disk(&mut self, history: PathBuf) {
        match self {
            Mcast::Groups { past, .. }
            | Mcast::Streams { past, .. }
            | Mcast::Queriers { past, .. }
            | Mcast::Doctor(McastDoctor { past, .. }) => past.history = Some(history),
            Mcast::Join(_) | Mcast::Send(_) => {}
        }
    }
}

/// The commands of `netsonde mcast`.
#[derive(Clone, Debug, Subcommand)]
pub enum Mcast {
    /// List group memberships, as reported on the wire and as held by this host's kernel.
    Groups {
        /// Show only this interface.
        #[arg(short = 'I', long = "interface", value_name = "IF")]
        interface: Option<String>,
        /// Show only these groups.
        #[arg(value_name = "GROUP", value_parser = parse_one_group)]
        groups: Vec<IpAddr>,
        /// Read a capture file instead of asking the service; - for standard input.
        #[arg(short = 'r', long, value_name = "FILE", conflicts_with_all = ["last", "since", "until"])]
        read: Option<PathBuf>,
        /// A time in the past.
        #[command(flatten)]
        past: Past,
    },
    /// List multicast streams with source, rate and packet loss (RTP and MPEG-TS).
    Streams {
        /// Show only this interface.
        #[arg(short = 'I', long = "interface", value_name = "IF")]
        interface: Option<String>,
        /// Show only streams to these groups.
        #[arg(value_name = "GROUP", value_parser = parse_one_group)]
        groups: Vec<IpAddr>,
        /// Read a capture file instead of asking the service; - for standard input.
        #[arg(short = 'r', long, value_name = "FILE", conflicts_with_all = ["last", "since", "until"])]
        read: Option<PathBuf>,
        /// A time in the past.
        #[command(flatten)]
        past: Past,
    },
    /// Find out why a group does or does not arrive: cause, evidence and fix.
    Doctor(McastDoctor),
    /// Run a test receiver: join a group; report what arrives, what is lost, and where.
    Join(McastJoin),
    /// Run a test source: send numbered packets to a group, for `mcast join` on another host.
    Send(McastSend),
    /// List IGMP and MLD queriers with version, timers and election state, and PIM routers.
    Queriers {
        /// Show only this interface.
        #[arg(short = 'I', long = "interface", value_name = "IF")]
        interface: Option<String>,
        /// Read a capture file instead of asking the service; - for standard input.
        #[arg(short = 'r', long, value_name = "FILE", conflicts_with_all = ["last", "since", "until"])]
        read: Option<PathBuf>,
        /// A time in the past.
        #[command(flatten)]
        past: Past,
    },
}

/// Options of `netsonde mcast doctor`.
#[derive(Clone, Debug, Args)]
pub struct McastDoctor {
    /// Multicast group, with a port to check only that one: 239.1.1.1:5000, [ff15::1]:5000.
    // This is help for people too, where brackets hold an address and no link.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(value_name = "GROUP[:PORT]")]
    pub channel: GroupPort,
    /// Check only this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Check only packets from this source.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_one_address)]
    pub source: Option<IpAddr>,
    /// How long to watch.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = parse_some_time)]
    pub duration: u64,
    /// Join the group while watching. Without this option the check is passive.
    #[arg(long, conflicts_with_all = ["read", "last", "since", "until"])]
    pub join: bool,
    /// Exit with status 1 also on warnings.
    #[arg(long)]
    pub strict: bool,
    /// Diagnose from a pcap or pcapng file alone; - for standard input. Needs no service.
    #[arg(short = 'r', long, value_name = "FILE", conflicts_with_all = ["last", "since", "until"])]
    pub read: Option<PathBuf>,
    /// A time in the past.
    #[command(flatten)]
    pub past: Past,
}

/// Options of `netsonde mcast join`.
#[derive(Clone, Debug, Args)]
pub struct McastJoin {
    /// Multicast group, with a port if it is not 9: 239.1.1.1:5000, [ff15::1]:5000.
    // This is help for people too, where brackets hold an address and no link.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(value_name = "GROUP[:PORT]")]
    pub channel: GroupPort,
    /// Join on this interface. Default: the interface of the route to the group.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Accept only packets from this source (source-specific multicast).
    #[arg(long, value_name = "ADDRESS", value_parser = parse_one_address)]
    pub source: Option<IpAddr>,
    /// Stop after N packets.
    #[arg(short = 'c', long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX))]
    pub count: Option<u64>,
    /// Stop after this time.
    #[arg(long, value_name = "DUR", value_parser = parse_some_time)]
    pub duration: Option<u64>,
    /// Set the socket's receive buffer, in bytes, at most net.core.rmem_max.
    #[arg(long, value_name = "BYTES", value_parser = number::<usize>(1..=MAX_BUFFER))]
    pub receive_buffer: Option<usize>,
}

/// Options of `netsonde mcast send`.
#[derive(Clone, Debug, Args)]
pub struct McastSend {
    /// Multicast group, with a port if it is not 9.
    #[arg(value_name = "GROUP[:PORT]")]
    pub channel: GroupPort,
    /// Send on this interface. Default: the interface of the route to the group.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Send from this address of this host.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_one_address)]
    pub source: Option<IpAddr>,
    /// Stop after N packets.
    #[arg(short = 'c', long, value_name = "N", value_parser = number::<u64>(1..=u64::MAX))]
    pub count: Option<u64>,
    /// Stop after this time.
    #[arg(long, value_name = "DUR", value_parser = parse_some_time)]
    pub duration: Option<u64>,
    /// Send N packets per second.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = number::<u64>(1..=1_000_000))]
    pub pps: u64,
    /// Send N bytes of payload, at least 32.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = number::<u16>(32..=65_507))]
    pub size: u16,
    /// Set the TTL or hop limit. With 1, routers do not forward the packets.
    #[arg(short = 't', long, value_name = "TTL", default_value_t = 1, value_parser = number::<u8>(0..=255))]
    pub ttl: u8,
}
