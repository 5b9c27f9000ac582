//! SHELL. The command line of netsonde-historian.

use std::path::PathBuf;

use clap::Parser;

/// Keep the history of this host's network: monitors, outages, and the record on disk.
#[derive(Clone, Debug, Parser)]
#[command(name = "netsonde-historian", version, max_term_width = 100)]
pub struct Args {
    /// Read this configuration file. Default: /etc/netsonde/netsonde.toml if it exists, else
    /// built-in defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read monitors from this file, if it exists.
    #[arg(long, value_name = "FILE", default_value = netsonde_core::config::MONITORS)]
    pub monitors: PathBuf,
    /// Be a client of netsonded on this control socket.
    #[arg(long, value_name = "PATH", default_value = netsonde_core::config::SOCKET)]
    pub socket: PathBuf,
    /// Serve this socket.
    #[arg(long, value_name = "PATH", default_value = netsonde_core::config::HISTORY_SOCKET)]
    pub listen: PathBuf,
    /// Keep everything in this directory.
    #[arg(long, value_name = "DIR", default_value = netsonde_core::config::HISTORY)]
    pub state: PathBuf,
    /// Check the configuration and the monitors, and exit.
    #[arg(long)]
    pub check: bool,
}
