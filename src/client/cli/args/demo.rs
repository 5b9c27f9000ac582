//! SHELL. Arguments of `demo`.

use clap::{Args, ValueEnum};

/// Options of `netsonde demo`.
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// Show only these scenes, in this order.
    #[arg(value_name = "SCENE", hide_possible_values = true)]
    pub scenes: Vec<DemoScene>,
    /// List the scenes, and show none.
    #[arg(long)]
    pub list: bool,
}

/// A scene of the demonstration; its help is its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoScene {
    /// The service is up and records every interface
    Status,
    /// Packets from before anyone asked
    Past,
    /// A lost packet, and which host reported it
    Errors,
    /// Ping, with the time on the wire
    Ping,
    /// Diagnosing this host's network
    Doctor,
    /// Four lost probes, and where each one died
    Fates,
    /// A port that a firewall on the path filters, and the hop before it
    Path,
    /// A path that loses large packets without a word
    BlackHole,
    /// Hosts on the link, and an address conflict
    Neighbors,
    /// Multicast group memberships
    Groups,
    /// A group that does not arrive: the wrong interface
    Interface,
    /// A group that does not arrive: a firewall
    Firewall,
    /// A stream that stops after a while: the querier has disappeared
    Querier,
    /// Top flows, and where this host drops packets
    Drops,
    /// Killing the engine loses no packets
    Restart,
    /// The log of network events
    Events,
    /// An outage, and what is known of it afterwards
    Outage,
    /// The same packets for Wireshark
    Capture,
}
