//! SHELL. Failure of a command: exit status 2, and one line with the cause and what to do.

use crate::client::connection;
use crate::client::files::capture_file;
use crate::client::filter;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection or the service.
    #[error(transparent)]
    Connection(#[from] connection::Error),
    /// The filter.
    #[error(transparent)]
    Filter(#[from] filter::Error),
    /// The capture file.
    #[error("reading packets: {0}")]
    File(#[from] capture_file::Error),
    /// The operating system.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// Any other reason, in words.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The command line names an interface that does not exist.
    pub fn no_such_interface(name: &str) -> Failure {
        Failure::Other(format!(
            "no such interface: {name} (see `netsonde interfaces`)"
        ))
    }
}
