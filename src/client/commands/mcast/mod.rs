//! SHELL. `netsonde mcast`: what is known of multicast on the links of this host, and its tests.

mod groups;
mod join;
mod queriers;
mod read;
mod send;
mod streams;
pub(crate) mod test_socket;

use crate::client::cli::args::{Global, Mcast};
use crate::client::commands::doctor;
use crate::client::connection::ask_with;
use crate::client::failure::Failure;
use crate::client::output::show;
use groups::{groups_text, held};
use netsonde_core::protocol::multicast::{Groups, InterfaceCall, Queriers, Streams};
use queriers::queriers_text;
use read::FileState;
use std::net::IpAddr;
use std::path::Path;
use streams::streams_text;

/// Runs `netsonde mcast`.
pub fn run(global: &Global, socket: &Path, command: &Mcast) -> Result<u8, Failure> {
    match command {
        Mcast::Groups {
            interface,
            groups,
            read,
        } => {
            let interface = interface.clone();
            let mut report: Groups = match read {
                Some(path) => FileState::read(path, interface.as_deref())?.groups(),
                None => ask_with(
                    socket,
                    "io.netsonde.Multicast.Groups",
                    &InterfaceCall { interface },
                )?,
            };
            report
                .groups
                .retain(|group| is_wanted(&group.group, groups));
            // The processes of this host have nothing to do with a file.
            let report = held(report, read.is_none());
            show(global, &report, groups_text)?;
            Ok(0)
        }
        Mcast::Streams {
            interface,
            groups,
            read,
        } => {
            let interface = interface.clone();
            let mut report: Streams = match read {
                Some(path) => FileState::read(path, interface.as_deref())?.streams(),
                None => ask_with(
                    socket,
                    "io.netsonde.Multicast.Streams",
                    &InterfaceCall { interface },
                )?,
            };
            report
                .streams
                .retain(|stream| is_wanted(&stream.group, groups));
            show(global, &report, streams_text)?;
            Ok(0)
        }
        Mcast::Queriers { interface, read } => {
            let interface = interface.clone();
            let report: Queriers = match read {
                Some(path) => FileState::read(path, interface.as_deref())?.queriers(),
                None => ask_with(
                    socket,
                    "io.netsonde.Multicast.Queriers",
                    &InterfaceCall { interface },
                )?,
            };
            show(global, &report, queriers_text)?;
            Ok(0)
        }
        Mcast::Join(args) => join::join(global, socket, args),
        Mcast::Doctor(args) => doctor::run(global, socket, args),
        Mcast::Send(args) => send::send(global, args),
    }
}

/// Returns whether a group is selected.
fn is_wanted(group: &str, wanted: &[IpAddr]) -> bool {
    wanted.is_empty()
        || group
            .parse::<IpAddr>()
            .is_ok_and(|group| wanted.contains(&group))
}
