//! SHELL. Arguments of `families`.

use clap::Args;

/// Options of `netsonde families`.
#[derive(Clone, Debug, Default, Args)]
pub struct Families {
    /// Explain one family or type: AF_VSOCK, vsock, 40, SOCK_SEQPACKET.
    #[arg(value_name = "FAMILY|TYPE")]
    pub name: Option<String>,
    /// Also try families whose kernel module would have to be loaded. Opening such a socket loads the
    /// module, even without privilege, and the module stays loaded.
    #[arg(long)]
    pub load_modules: bool,
}
