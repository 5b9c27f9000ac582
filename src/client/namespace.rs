//! SHELL. Whether the client is in the network namespace of the service. Commands that read the kernel's
//! state themselves compare first: the packets of one network say nothing about the sockets, routes and
//! counters of another.

use std::path::Path;
use std::time::Duration;

use netsonde_core::protocol::service::{Namespace, Status};

use crate::client::failure::Failure;
use crate::linux;
use crate::varlink::client::{Connection, Error, ask};

/// Maximum time for the service's reply to a command that does not need it.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// How the network namespaces of client and service compare.
#[derive(Debug, PartialEq)]
pub(crate) enum Network {
    /// Both are in the same one.
    Same,
    /// They are in different ones; in words.
    Other(String),
    /// One of them is not known; in words.
    Unknown(String),
}

/// Compares the namespace of this thread with that of the service.
fn compare(socket: &Path, status: &Status) -> Network {
    of(socket, status.network.as_ref(), linux::network_namespace())
}

fn of(socket: &Path, there: Option<&Namespace>, here: std::io::Result<Namespace>) -> Network {
    let socket = socket.display();
    match (there, here) {
        (Some(there), Ok(here)) if *there == here => Network::Same,
        (Some(there), Ok(here)) => Network::Other(format!(
            "netsonded at {socket} is in another network namespace than this command (net:[{}] there, \
                net:[{}] here)",
            there.inode, here.inode
        )),
        (None, _) => Network::Unknown(format!(
            "netsonded at {socket} is of a version that does not report its network namespace"
        )),
        (_, Err(error)) => Network::Unknown(format!(
            "this command cannot read its own network namespace (/proc/thread-self/ns/net: {})",
            error.kind()
        )),
    }
}

/// Queries the service and compares.
pub(crate) fn network(socket: &Path) -> Result<Network, Error> {
    Ok(compare(socket, &ask(socket, "io.netsonde.Service.Status")?))
}

/// Requires the namespace of the service. Returns false, after a line on standard error, if it is not known
/// whether this is it: nothing is proved then.
///
/// # Errors
/// The command runs in another namespace.
pub(crate) fn require(socket: &Path) -> Result<bool, Failure> {
    let status: Status = ask(socket, "io.netsonde.Service.Status")?;
    match compare(socket, &status) {
        Network::Same => Ok(true),
        Network::Other(words) => Err(Failure::Other(format!(
            "{words}: the packets there say nothing about the sockets, routes and counters here; run \
                the command there (as root: nsenter --target {} --net), or use --standalone to \
                examine the network here",
            status.keeper_pid
        ))),
        Network::Unknown(words) => {
            eprintln!(
                "netsonde: {words}: no finding is proved, and all are wrong if it is another one than \
                    this command's"
            );
            Ok(false)
        }
    }
}

/// Returns whether processes of this namespace may be named next to the service's data; if not, says on
/// standard error that they are left out.
pub(crate) fn may_name_processes(socket: &Path) -> Result<bool, Failure> {
    match network(socket)? {
        Network::Same => Ok(true),
        Network::Other(words) | Network::Unknown(words) => {
            eprintln!("netsonde: {words}: the processes are not known");
            Ok(false)
        }
    }
}

/// Says on standard error that this command's network is not the service's, if a service answers at once.
/// For commands that describe the namespace of the caller and need no service.
pub(crate) fn note_if_other(socket: &Path) {
    let status = Connection::open(socket).and_then(|mut connection| {
        connection.wait_at_most(SHORT_WAIT)?;
        connection.call::<Status>("io.netsonde.Service.Status", &serde_json::json!({}))
    });
    if let Ok(status) = status
        && let Network::Other(words) = compare(socket, &status)
    {
        eprintln!("netsonde: {words}: what follows is of this command's network");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_compared_by_device_and_inode() {
        let socket = Path::new("/run/s");
        let at = |device, inode| Namespace { device, inode };
        assert_eq!(of(socket, Some(&at(4, 7)), Ok(at(4, 7))), Network::Same);
        for there in [at(4, 8), at(5, 7)] {
            let found = of(socket, Some(&there), Ok(at(4, 7)));
            assert!(matches!(found, Network::Other(_)), "{found:?}");
        }
        let denied = || std::io::Error::from(std::io::ErrorKind::NotFound);
        for found in [
            of(socket, None, Ok(at(4, 7))),
            of(socket, Some(&at(4, 7)), Err(denied())),
        ] {
            assert!(matches!(found, Network::Unknown(_)), "{found:?}");
        }
    }
}
