//! PRIVILEGED. The command line of netsonded.

use std::path::PathBuf;

use clap::Parser;

/// Record packets on this host's interfaces, and answer clients over a Unix socket.
#[derive(Clone, Debug, Parser)]
#[command(name = "netsonded", version, max_term_width = 100)]
pub struct Args {
    /// Read this configuration file. Default: /etc/netsonde/netsonde.toml if it exists, else
    /// built-in defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve this control socket.
    #[arg(long, value_name = "PATH", default_value = netsonde_core::config::SOCKET)]
    pub socket: PathBuf,
    /// Use this state directory.
    #[arg(long, value_name = "DIR", default_value = netsonde_core::config::STATE)]
    pub state: PathBuf,
    /// Record only this interface. May be repeated, and may contain *.
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Check configuration and privileges, print what would run, and exit.
    #[arg(long)]
    pub check: bool,
    /// Run as root, without capabilities, if there is no user netsonde.
    #[arg(long)]
    pub allow_root: bool,
    /// Internal: run as the engine that a keeper starts.
    #[arg(long, hide = true)]
    pub engine: bool,
}
