//! SHELL. The arguments of netsonde: the one definition from which help, manual pages and shell
//! completion follow. Global options and the list of commands are here, the options of each command
//! in a file of its own.

mod connections;
mod demo;
mod doctor;
mod drops;
mod events;
mod families;
mod history;
mod mcast;
mod neighbors;
mod packets;
mod ping;
mod sockets;
mod talkers;
mod time;
mod trace;
mod values;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::client::cli::manual;
use crate::client::render::style::{Color, Style};
use crate::linux::option::terminal_columns;
pub use connections::ConnectionsArgs;
pub use demo::{DemoArgs, DemoScene};
pub use doctor::DoctorArgs;
pub use drops::{Drops, InterfacesArgs, Since};
pub use events::EventsArgs;
pub use families::Families;
pub use history::{Fragments, HistoryArgs, KeepArgs, KeptArgs, Monitor, MonitorAdd, Outages};
pub use mcast::{Mcast, McastDoctor, McastJoin, McastSend};
pub use neighbors::NeighborsArgs;
pub use packets::{DirectionArg, Packets, Past, Watch};
pub use ping::{Ping, Pmtu};
pub use sockets::Sockets;
pub use talkers::{SortKey, Talkers};
pub use time::parse_time;
pub use trace::Trace;
pub use values::{Lookback, parse_duration};

/// Find out where packets die on this host, with evidence.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "netsonde",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
pub struct Cli {
    /// Options accepted by every command.
    #[command(flatten)]
    pub global: Global,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Environment variable with the width for output that another program shows on a terminal, as
/// `netsonde demo` does.
pub const COLUMNS: &str = "NETSONDE_COLUMNS";

/// Options accepted by every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Control socket of the service [default: $NETSONDE_SOCKET, then /run/netsonde/control.sock].
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Socket of netsonde-historian [default: $NETSONDE_HISTORY_SOCKET, then history.sock beside the
    /// control socket].
    #[arg(long, global = true, value_name = "PATH")]
    pub history_socket: Option<PathBuf>,
    /// Print JSON: one document, or one object per line for streaming commands.
    #[arg(long, global = true)]
    pub json: bool,
    /// Use color on a terminal (auto), always or never. NO_COLOR is respected.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print less output.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more output.
    #[arg(short, long, global = true, overrides_with = "verbose")]
    pub verbose: bool,
    /// Show tables in full width, also on a narrow terminal.
    #[arg(short = 'l', long, global = true)]
    pub wide: bool,
    /// Start a private netsonded and netsonde-historian for this command, and stop them afterwards.
    #[arg(long, global = true)]
    pub standalone: bool,
    /// With --standalone, keep the history in DIR, where the next command finds it.
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

impl Global {
    /// Returns the style of a report: colored as the options say, and as wide as the terminal. A pipe, a
    /// file and `--wide` have no limit of width.
    pub fn style(&self) -> Style {
        let given = || std::env::var(COLUMNS).ok()?.parse().ok();
        let width = match self.wide {
            true => None,
            false => terminal_columns(std::io::stdout()).or_else(given),
        };
        Style::new(self.color).with_width(width)
    }
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show what the service records and everything it had to drop.
    Status,
    /// Show interfaces with addresses, memberships and recording state.
    Interfaces(InterfacesArgs),
    /// Print packets, live, from the past or from a file.
    Watch(Watch),
    /// Write packets to a pcapng file for Wireshark.
    Capture {
        /// Write to FILE; - for standard output. An existing FILE is replaced when the new one is
        /// complete.
        #[arg(short = 'w', long = "write", value_name = "FILE")]
        write: PathBuf,
        /// The packets to write.
        #[command(flatten)]
        packets: Packets,
    },
    /// Show multicast groups, queriers and streams; test and diagnose groups.
    #[command(subcommand)]
    Mcast(Mcast),
    /// Show packet drops by layer, with their meaning. Needs no service.
    Drops(Drops),
    /// Show the top flows and the processes behind them.
    Talkers(Talkers),
    /// Show TCP connections and DNS of the last minutes, with fate, round trip and process.
    Connections(ConnectionsArgs),
    /// Probe targets for ever; list their states.
    #[command(subcommand)]
    Monitor(Monitor),
    /// List outages with begin, duration, cause and evidence.
    Outages(Outages),
    /// Show loss and round trip of a target over time.
    History(HistoryArgs),
    /// Keep the packets of the last minutes on disk, with a note.
    Keep(KeepArgs),
    /// List what was kept; write or delete it.
    Kept(KeptArgs),
    /// Show the log of network events.
    Events(EventsArgs),
    /// List hosts on each link, address conflicts and moves.
    Neighbors(NeighborsArgs),
    /// Ping hosts, and report where each lost probe died.
    Ping(Ping),
    /// Show the path to a host: its hops, all equal ways, and where packets are lost or changed.
    Trace(Trace),
    /// List socket address families and types, and kernel support. Needs no service.
    Families(Families),
    /// List sockets and their owners; who listens, who captures. Needs no service.
    Sockets(Sockets),
    /// Diagnose this host's network: cause, evidence and fix of every problem found.
    Doctor(DoctorArgs),
    /// Demonstrate every command on a private virtual network. Needs no root; does not change this
    /// host.
    Demo(DemoArgs),
    /// Explain a finding: symptoms, cause, evidence and fix.
    Explain {
        /// ID of the finding, such as rp-filter-strict. Default: list all findings.
        #[arg(value_name = "FINDING-ID")]
        id: Option<String>,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: Shell,
    },
}

/// Returns the definition of the command line, as parsed, documented and completed.
pub fn command() -> clap::Command {
    negative_values(manual::with_examples(Cli::command()))
}

/// Lets each option have a negative value, so that its own message says what is wrong with -1.
fn negative_values(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let has_value = !arg.is_positional() && arg.get_action().takes_values();
            match has_value {
                true => arg.allow_negative_numbers(true),
                false => arg,
            }
        })
        .mut_subcommands(negative_values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
        let cli = Cli::parse_from([
            "netsonde", "capture", "--last", "2m", "-w", "x", "udp", "port", "5000",
        ]);
        let Command::Capture { packets, .. } = cli.command else {
            panic!()
        };
        assert_eq!(packets.filter.join(" "), "udp port 5000");
    }

    #[test]
    fn help_shows_examples() {
        let mut command = command();
        let mcast = command.find_subcommand_mut("mcast").unwrap();
        let join = mcast.find_subcommand_mut("join").unwrap();
        let help = join.render_help().to_string();
        assert!(help.contains("  netsonde mcast join "), "{help}");
        assert!(help.contains("netsonde-mcast-join(1)"), "{help}");
    }
}
