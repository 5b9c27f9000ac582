//! PRIVILEGED. The command line of netsonded.

use std::path::PathBuf;

use clap::Parser;

/// The resident witness: records what crosses this host's interfaces and answers over a Unix socket.
#[derive(Clone, Debug, Parser)]
#[command(name = "netsonded", version, max_term_width = 100)]
pub struct Args {
    /// Configuration file. Without this option a missing file means the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Control socket.
    #[arg(long, value_name = "PATH", default_value = netsonde_core::config::SOCKET)]
    pub socket: PathBuf,
    /// State directory.
    #[arg(long, value_name = "DIR", default_value = netsonde_core::config::STATE)]
    pub state: PathBuf,
    /// Record only this interface; may be given several times, and may hold *.
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Check configuration and privileges, say what would run, and exit.
    #[arg(long)]
    pub check: bool,
    /// What the keeper starts; of no use to anyone else.
    #[arg(long, hide = true)]
    pub engine: bool,
}
