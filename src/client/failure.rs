//! SHELL. Failure of a command: exit status 2, and one line with the cause and what to do.

use std::path::Path;

use netsonde_core::text::unknown;

use crate::client::files::capture_file;
use crate::client::filter;
use crate::linux::reason;
use crate::varlink::client as connection;

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
    #[error("{}", reason(.0))]
    System(#[from] std::io::Error),
    /// Any other reason, in words.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The command line names an interface that this host does not have.
    pub fn no_such_interface(name: &str) -> Failure {
        let known: Vec<String> = nix::net::if_::if_nameindex().map_or(vec![], |all| {
            let names = all.iter().map(|one| one.name().to_string_lossy().into());
            names.collect()
        });
        Failure::Other(unknown("interface", name, known.iter().map(String::as_str)))
    }

    /// A file cannot be read or written; `what` is the verb.
    pub fn of_file(what: &str, path: &Path, error: &std::io::Error) -> Failure {
        Failure::Other(format!(
            "cannot {what} {}: {}",
            path.display(),
            reason(error)
        ))
    }
}
