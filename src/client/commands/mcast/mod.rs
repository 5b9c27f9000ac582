//! SHELL. `netsonde mcast`: what is known of multicast on the links of this host, and its tests.

mod groups;
mod join;
mod queriers;
mod send;
mod streams;
pub(crate) mod test_socket;

use crate::client::cli::args::{Global, Mcast};
use crate::client::commands::doctor;
use crate::client::connection::ask_with;
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output::show;
use groups::{groups_text, held};
use netsonde_core::protocol::multicast::{Groups, InterfaceCall, Queriers, Streams};
use queriers::queriers_text;
use std::net::IpAddr;
use std::path::Path;
use streams::streams_text;

/// Runs `netsonde mcast`.
pub fn run(global: &Global, socket: &Path, command: &Mcast) -> Result<u8, Failure> {
    match command {
        Mcast::Groups { interface, groups } => {
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let mut report: Groups = ask_with(socket, "io.netsonde.Multicast.Groups", &call)?;
            report
                .groups
                .retain(|group| is_wanted(&group.group, groups));
            let members = match namespace::may_name_processes(socket)? {
                true => doctor::group_members(),
                false => vec![],
            };
            let report = held(report, members);
            show(global, &report, groups_text)?;
            Ok(0)
        }
        Mcast::Streams { interface, groups } => {
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let mut report: Streams = ask_with(socket, "io.netsonde.Multicast.Streams", &call)?;
            report
                .streams
                .retain(|stream| is_wanted(&stream.group, groups));
            show(global, &report, streams_text)?;
            Ok(0)
        }
        Mcast::Queriers { interface } => {
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let report: Queriers = ask_with(socket, "io.netsonde.Multicast.Queriers", &call)?;
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
