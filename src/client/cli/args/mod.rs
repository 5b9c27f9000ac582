//! SHELL. The command line of netsonde: the one definition from which help, manual page and shell
//! completion follow.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::client::commands::mcast::join::Channel;
use netsonde_core::families;

/// Says where a packet died, with the evidence: asks netsonded, the resident witness of this host.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "netsonde",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
pub struct Cli {
    /// What is asked of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Control socket of the service [default: $NETSONDE_SOCKET, then /run/netsonde/control.sock].
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON: one document, or an object a line for what streams.
    #[arg(long, global = true)]
    pub json: bool,
    /// Colour on a terminal, always or never (NO_COLOR is heeded).
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say less.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Start a private netsonded for this one command, and stop it afterwards.
    #[arg(long, global = true)]
    pub standalone: bool,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// The service's health: what it records, and everything that it could not keep.
    Status,
    /// Links, addresses, flags and group memberships, and what is recorded.
    Interfaces {
        /// Only these interfaces.
        #[arg(value_name = "INTERFACE")]
        names: Vec<String>,
    },
    /// Packets, a line each: live, from the past, or from a file.
    Watch(Packets),
    /// The same packets as pcapng, for Wireshark.
    Capture {
        /// Where to write; - is standard output.
        #[arg(short = 'w', long = "write", value_name = "FILE")]
        write: PathBuf,
        /// Which packets.
        #[command(flatten)]
        packets: Packets,
    },
    /// Multicast on the links of this host: what is known of it, and tests.
    #[command(subcommand)]
    Mcast(Mcast),
    /// Where this host loses packets: its counters of it, layer by layer, and what each means; needs no
    /// service.
    Drops(Drops),
    /// Who sends most, by flow, and which process of this host it is.
    Talkers(Talkers),
    /// What happened: links, addresses, neighbours, queriers, streams, losses, gaps, sniffers, limits.
    Events(EventsArgs),
    /// Who is on each link: addresses, MACs, names, roles; which addresses two claim, or have moved.
    Neighbors(NeighborsArgs),
    /// Sends echo requests, and says of each that is not answered where it died.
    Ping(Ping),
    /// Every address family and socket type that Linux has: what it is for, and whether this kernel has it.
    /// Needs no service.
    Families(Families),
    /// Sockets in use by family, type and state, and who holds them; who listens, who sniffs. Needs no
    /// service.
    Sockets(Sockets),
    /// Is this host's network all right: every check that needs no subject, with cause, evidence and fix.
    Doctor(DoctorArgs),
    /// Builds a small private network, and shows each command at work in it; needs no root, and
    /// touches nothing of this host's.
    Demo,
    /// What a finding of the doctor means: how it comes about, how it is proved, how it is fixed.
    Explain {
        /// Which one, such as rp-filter-strict; without, all with a line each.
        #[arg(value_name = "FINDING-ID")]
        id: Option<String>,
    },
    /// Prints a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// Where packets are lost.
#[derive(Clone, Debug, Args)]
pub struct Drops {
    /// How long to watch.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = parse_duration)]
    pub duration: u64,
    /// What was dropped since the start of the machine or the interface, instead of watching.
    #[arg(long)]
    pub total: bool,
    /// The kernel's reason for each dropped packet meanwhile, too; takes root or CAP_PERFMON, and sees all
    /// namespaces.
    #[arg(long, conflicts_with = "total")]
    pub reasons: bool,
}

/// Which events.
#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Only these kinds, or all kinds of a room: link, neighbor, multicast, loss, recorder, sniffer,
    /// service. netsonde-events(7) explains each.
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Go on with what happens; of the past the last ten, if nothing else is asked for.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Of the last 90s, 5m, 2h or 1d.
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub last: Option<u64>,
    /// The newest N of the past.
    #[arg(short = 'n', long, value_name = "N")]
    pub number: Option<u64>,
    /// Only this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// At least this bad: info, notice or warning.
    #[arg(short = 's', long, value_name = "SEVERITY", default_value = "info")]
    pub severity: String,
}

/// Who sends most.
#[derive(Clone, Debug, Args)]
pub struct Talkers {
    /// Over the last 1s to 5m; it begins with a whole second, from 11s on with whole ten seconds, from
    /// 61s on with a whole minute, and so may be longer.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = parse_duration)]
    pub window: u64,
    /// Most of what.
    #[arg(long, value_name = "WHAT", default_value = "bytes")]
    pub by: Most,
    /// How many flows, from 1 to 1000.
    #[arg(short = 'n', long, value_name = "N", default_value = "20")]
    pub number: u64,
    /// Only this interface.
    #[arg(short = 'I', long, value_name = "IF")]
    pub interface: Option<String>,
}

/// Most of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Most {
    /// Bytes on the wire.
    Bytes,
    /// Packets.
    Packets,
}

/// Which packets.
#[derive(Clone, Debug, Default, Args)]
pub struct Packets {
    /// Filter in tcpdump's language (pcap-filter(7)); `mld` is a word of it too.
    #[arg(
        value_name = "FILTER",
        trailing_var_arg = true,
        allow_hyphen_values = false
    )]
    pub filter: Vec<String>,
    /// From the past: the last 90s, 5m, 2h or 1d; `all` is everything that is recorded.
    #[arg(long, value_name = "DUR", value_parser = parse_last)]
    pub last: Option<Last>,
    /// From this time on: 21:40:12.5 of today, 2026-11-21 21:40:12, or with a zone as in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "last")]
    pub since: Option<u64>,
    /// Until this time; without --since from the beginning of the record.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<u64>,
    /// Go on with what comes; with --last first the past, then on.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// From a pcap or pcapng file instead; no service is needed. - is standard input.
    #[arg(short = 'r', long, value_name = "FILE")]
    pub read: Option<PathBuf>,
    /// Stop after this many packets.
    #[arg(short = 'c', long, value_name = "N")]
    pub count: Option<u64>,
    /// Only this interface; may be given several times.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Only what came in, or only what went out.
    #[arg(long, value_name = "DIR")]
    pub direction: Option<Way>,
    /// Only from this store of the recorder: link, group, icmp, names, routing, connections or bulk.
    #[arg(long = "store", value_name = "STORE")]
    pub stores: Vec<String>,
    /// Only to or from this address or prefix.
    #[arg(long = "host", value_name = "ADDRESS")]
    pub hosts: Vec<String>,
    /// Only with this TCP, UDP or SCTP port.
    #[arg(long = "port", value_name = "PORT")]
    pub ports: Vec<u16>,
    /// Only this protocol: arp, ip, ip6, icmp, icmp6, nd, igmp, mld, pim, tcp, udp, dns, dhcp and more.
    #[arg(long = "proto", value_name = "NAME")]
    pub protocols: Vec<String>,
    /// Only to this multicast group, or IGMP and MLD that name it.
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Only with this VLAN identifier.
    #[arg(long = "vlan", value_name = "VID")]
    pub vlans: Vec<u16>,
    /// Headers only: without what users say, as for somebody who may not see it.
    #[arg(long, conflicts_with = "read")]
    pub headers: bool,
}

/// Which family, and how far to go.
#[derive(Clone, Debug, Default, Args)]
pub struct Families {
    /// Explain one: AF_VSOCK, vsock or 40; or a type such as SOCK_SEQPACKET.
    #[arg(value_name = "FAMILY|TYPE")]
    pub name: Option<String>,
    /// Also try what would load a kernel module. Whoever opens a socket of a family loads its module, also
    /// without privilege, and it stays loaded.
    #[arg(long)]
    pub load_modules: bool,
}

/// Which sockets.
#[derive(Clone, Debug, Default, Args)]
pub struct Sockets {
    /// Only those that wait for others to come: that listen, or are bound to a port and have no peer.
    #[arg(short, long)]
    pub listen: bool,
    /// Only those that see what is not meant for them alone: packet sockets, raw sockets, AF_XDP.
    #[arg(long)]
    pub sniff: bool,
    /// Only this address family: AF_INET6, unix, 17.
    #[arg(long, value_name = "FAMILY", value_parser = parse_family)]
    pub family: Option<u8>,
    /// Only this type: SOCK_STREAM, dgram, raw, seqpacket.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_kind)]
    pub kind: Option<u32>,
    /// Only those of this process, by number or name.
    #[arg(long, value_name = "PID|NAME")]
    pub process: Option<String>,
    /// Only with this port at either end.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u32>,
}

fn parse_family(text: &str) -> Result<u8, String> {
    let found = families::find(text).map(|family| family.number);
    found.ok_or_else(|| format!("{text:?} is no address family: `netsonde families` lists them"))
}

fn parse_kind(text: &str) -> Result<u32, String> {
    let found = families::find_kind(text)
        .map(|kind| kind.number)
        .filter(|number| *number < 16);
    found.ok_or_else(|| format!("{text:?} is no socket type: `netsonde families -v` lists them"))
}

/// Which neighbours.
#[derive(Clone, Debug, Default, Args)]
pub struct NeighborsArgs {
    /// Only on this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Only those with this address, MAC or name.
    #[arg(value_name = "ADDRESS|MAC|NAME")]
    pub who: Vec<String>,
}

/// Whom to ping and how: the letters are ping's.
#[derive(Clone, Debug, Default, Args)]
pub struct Ping {
    /// Name, address, range like 10.0.0.0/24, group or broadcast address, or @FILE with one of these
    /// a line. Several give a table.
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<String>,
    /// IPv4 only.
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only.
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Probes to each target. Without: a single target until interrupted, a group or broadcast address
    /// three times, several targets once.
    #[arg(short = 'c', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// From one probe of a target to its next, in seconds.
    #[arg(short = 'i', long, value_name = "INTERVAL", value_parser = parse_duration)]
    pub interval: Option<u64>,
    /// Bytes of payload.
    #[arg(short = 's', long, value_name = "SIZE", default_value_t = 56, value_parser = clap::value_parser!(u32).range(..=65_527))]
    pub size: u32,
    /// TTL or hop limit.
    #[arg(short = 't', long, value_name = "TTL", value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: Option<u8>,
    /// Time limit of a probe, in seconds; what comes after it is late.
    #[arg(short = 'W', long, value_name = "TIMEOUT", default_value = "1", value_parser = parse_duration)]
    pub timeout: u64,
    /// Send no more after this time, in seconds; what is under way gets its time limit.
    #[arg(short = 'w', long, value_name = "DEADLINE", value_parser = parse_duration)]
    pub deadline: Option<u64>,
    /// By this interface, or from this address.
    #[arg(short = 'I', long = "interface", value_name = "IF|ADDRESS")]
    pub by: Option<String>,
    /// Type of service or traffic class; its upper six bits are the DSCP. 0x for hexadecimal.
    #[arg(short = 'Q', long, value_name = "TOS", value_parser = parse_tos)]
    pub tos: Option<u8>,
    /// Path MTU discovery: never fragment (do), the same and ignore what is known of the path (probe),
    /// as the kernel sees fit (want), or never set don't-fragment (dont).
    #[arg(short = 'M', long, value_name = "do|probe|want|dont")]
    pub pmtu: Option<Pmtu>,
    /// Fill the payload with these bytes: up to 16, in hexadecimal.
    #[arg(short = 'p', long, value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Begin each line with the time, in seconds since 1970.
    #[arg(short = 'D', long)]
    pub timestamp: bool,
    /// Show addresses, no names. It never looks names of addresses up; accepted as ping's.
    #[arg(short = 'n', long)]
    pub numeric: bool,
    /// Allow broadcast addresses.
    #[arg(short = 'b', long)]
    pub broadcast: bool,
    /// Send the next as soon as the last is answered, or a hundred times a second; shows only what was
    /// not answered.
    #[arg(short = 'f', long)]
    pub flood: bool,
    /// Most probes a second to all targets together; 10000 for several targets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Write the packets that belong to this run as pcapng, each probe's fate as a comment.
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,
}

/// The commands of `mcast`.
#[derive(Clone, Debug, Subcommand)]
pub enum Mcast {
    /// Groups on each link: who reports them on the wire, and whether this host's kernel holds them.
    Groups {
        /// Only on this interface.
        #[arg(short = 'I', long = "interface", value_name = "IF")]
        interface: Option<String>,
        /// Only these groups.
        #[arg(value_name = "GROUP")]
        groups: Vec<std::net::IpAddr>,
    },
    /// What is sent to groups: by whom, how fast, and what RTP's numbers tell of loss.
    Streams {
        /// Only on this interface.
        #[arg(short = 'I', long = "interface", value_name = "IF")]
        interface: Option<String>,
        /// Only to these groups.
        #[arg(value_name = "GROUP")]
        groups: Vec<std::net::IpAddr>,
    },
    /// Why does a group (not) arrive, or not leave, or not get through? Cause, evidence, fix.
    Doctor(McastDoctor),
    /// A test receiver: joins a group and says what comes, what is lost, and where.
    Join(McastJoin),
    /// A test source: numbered packets, for `mcast join` elsewhere.
    Send(McastSend),
    /// Who asks for memberships: version, timers, who is elected, who is overdue or gone.
    Queriers {
        /// Only on this interface.
        #[arg(short = 'I', long = "interface", value_name = "IF")]
        interface: Option<String>,
    },
}

/// How this host is to be looked at.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Only this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// How long to watch the counters.
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = parse_duration)]
    pub duration: u64,
    /// Say what would be sent, to whom and by which interface, and send nothing; needs no service.
    #[arg(long)]
    pub dry_run: bool,
}

/// A question to the doctor.
#[derive(Clone, Debug, Args)]
pub struct McastDoctor {
    /// Group, with a port if only that matters: 239.1.1.1:5000, [ff15::1]:5000.
    // This is help for people too, where brackets hold an address and no link.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(value_name = "GROUP[:PORT]")]
    pub channel: Channel,
    /// Only on this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Only what this address sends.
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<std::net::IpAddr>,
    /// How long to watch.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = parse_duration)]
    pub duration: u64,
    /// Join the group for the time of watching. Without, nothing is sent and nothing is changed.
    #[arg(long, conflicts_with = "read")]
    pub join: bool,
    /// What can be said from a capture file alone; - is standard input. No service is needed.
    #[arg(short = 'r', long, value_name = "FILE")]
    pub read: Option<PathBuf>,
}

/// A test receiver.
#[derive(Clone, Debug, Args)]
pub struct McastJoin {
    /// Group, with a port if it is not 9: 239.1.1.1:5000, [ff15::1]:5000.
    // This is help for people too, where brackets hold an address and no link.
    #[allow(rustdoc::broken_intra_doc_links)]
    #[arg(value_name = "GROUP[:PORT]")]
    pub channel: Channel,
    /// On this interface; without, the route to the group chooses.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Only what this address sends (source-specific multicast).
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<std::net::IpAddr>,
    /// End after this many packets.
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time.
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub duration: Option<u64>,
    /// Receive buffer of the socket in bytes, within net.core.rmem_max.
    #[arg(long, value_name = "BYTES")]
    pub receive_buffer: Option<usize>,
}

/// A test source.
#[derive(Clone, Debug, Args)]
pub struct McastSend {
    /// Group, with a port if it is not 9.
    #[arg(value_name = "GROUP[:PORT]")]
    pub channel: Channel,
    /// By this interface; without, the route to the group chooses.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// From this address of this host.
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<std::net::IpAddr>,
    /// End after this many packets.
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time.
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    pub duration: Option<u64>,
    /// Packets a second.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub pps: u64,
    /// Bytes of payload, at least 32.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(32..=65_507))]
    pub size: u16,
    /// TTL or hop limit; with 1 no router forwards it.
    #[arg(short = 't', long, value_name = "TTL", default_value_t = 1)]
    pub ttl: u8,
}

/// What the manual page shows of `ping`: what it is good for, and the command. A test runs each of
/// them, on hosts that have these addresses.
pub const PING_EXAMPLES: &[(&str, &str)] = &[
    (
        "Do probes get through, and where do they die if not?",
        "netsonde ping -c 5 192.0.2.7",
    ),
    (
        "The same with every time that is known: in the local queue, and how long the reply waited \
         for the service to run.",
        "netsonde -v ping -c 3 -i 0.2 192.0.2.7",
    ),
    (
        "The packets of a run as a file for Wireshark, each probe's fate as a comment.",
        "netsonde ping -c 3 -i 0.2 --evidence lost.pcapng 192.0.2.7 192.0.2.9",
    ),
    (
        "IPv6; a link-local address needs its link.",
        "netsonde ping -c 3 -i 0.2 2001:db8::7 fe80::7%eth0",
    ),
    (
        "Does the path carry packets of 1500 bytes?",
        "netsonde ping -c 1 -M probe -s 1472 192.0.2.7",
    ),
    (
        "Like a call: 20 bytes of header and 160 of voice, fifty a second, expedited forwarding.",
        "netsonde -q ping -c 50 -i 0.02 -s 160 -Q 0xb8 192.0.2.7",
    ),
    (
        "As fast as it is answered, for two seconds.",
        "netsonde ping -f -w 2 192.0.2.7",
    ),
    ("Who is there?", "netsonde ping 192.0.2.0/28"),
    (
        "The same for a list, with a name or an address on each line.",
        "netsonde ping @hosts.txt",
    ),
    (
        "Which hosts are on this link? Many systems answer to the IPv6 group only.",
        "netsonde ping ff02::1%eth0",
    ),
    (
        "By IPv4, where they do: multicast, and broadcast.",
        "netsonde ping 224.0.0.1 -I eth0\nnetsonde ping -b 192.0.2.255",
    ),
    (
        "For a script: an object a line.",
        "netsonde --json ping -c 10 -i 0.1 192.0.2.7",
    ),
];

/// Path MTU discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Pmtu {
    Do,
    Probe,
    Want,
    Dont,
}

fn parse_tos(text: &str) -> Result<u8, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("{text:?} is not from 0 to 255, or 0x0 to 0xff"))
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Received.
    In,
    /// Sent by this host.
    Out,
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// As far as the record goes.
    All,
    /// This long, in nanoseconds.
    Ns(u64),
}

fn parse_last(text: &str) -> Result<Last, String> {
    if text == "all" {
        return Ok(Last::All);
    }
    parse_duration(text).map(Last::Ns)
}

/// Reads a time: RFC 3339, or a local one, of today where no day is given. Returns nanoseconds since 1970.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let zone = jiff::tz::TimeZone::system();
    let local = |at: jiff::civil::DateTime| Some(at.to_zoned(zone.clone()).ok()?.timestamp());
    let of_today = |at: jiff::civil::Time| local(jiff::Zoned::now().date().to_datetime(at));
    (text.parse().ok())
        .or_else(|| text.parse().ok().and_then(of_today))
        .or_else(|| text.parse().ok().and_then(local))
        .and_then(|at: jiff::Timestamp| u64::try_from(at.as_nanosecond()).ok())
        .ok_or_else(|| {
            format!(
                "{text:?} is no time since 1970: write 21:40:12, 2026-11-21 21:40:12, or \
                 2026-11-21T21:40:12Z"
            )
        })
}

/// Reads a duration like `90s`, `1.5m`, `2h`, `250ms` or `1h30m`; a bare number is seconds, as in
/// ping. Returns nanoseconds.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no duration: write 90s, 5m, 2h, 1d or 250ms");
    let mut total = 0.0f64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" => 1e3,
            "ms" => 1e6,
            "" | "s" | "sec" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    // Three hundred years; beyond that u64 nanoseconds end.
    if total > 9e18 {
        Err(wrong())
    } else {
        Ok(total as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ns) in [
            ("90s", Some(90_000_000_000)),
            ("5m", Some(300_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("250ms", Some(250_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("", None),
            ("x", None),
            ("5 minutes", None),
            ("9999999d", None),
        ] {
            assert_eq!(parse_duration(text).ok(), ns, "{text}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::parse_from([
            "netsonde", "capture", "--last", "2m", "-w", "x", "udp", "port", "5000",
        ]);
        let Command::Capture { packets, .. } = cli.command else {
            panic!()
        };
        assert_eq!(packets.filter.join(" "), "udp port 5000");
    }
}
