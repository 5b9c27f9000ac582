//! SHELL. Arguments of `neighbors`.

use clap::Args;

/// Options of `netsonde neighbors`.
#[derive(Clone, Debug, Default, Args)]
pub struct NeighborsArgs {
    /// Show only this interface.
    #[arg(short = 'I', long = "interface", value_name = "IF")]
    pub interface: Option<String>,
    /// Show only hosts with this address, MAC address or name.
    #[arg(value_name = "ADDRESS|MAC|NAME")]
    pub who: Vec<String>,
}
