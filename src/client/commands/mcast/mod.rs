//! SHELL. `netsonde mcast`: what is known of multicast on the links of this host, and its tests.

mod groups;
mod join;
mod queriers;
mod read;
mod send;
mod streams;
pub(crate) mod test_socket;

use crate::client::cli::args::{Global, Mcast, Past};
use crate::client::commands::doctor;
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output::{no_match, show};
use crate::client::packets::open_past;
use crate::client::render::style::Style;
use crate::varlink::client::ask_with;
use groups::{groups_text, held};
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::multicast::{Groups, InterfaceCall, Queriers, Streams};
use queriers::queriers_text;
use read::FileState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use streams::streams_text;

const GROUPS: &str = "io.netsonde.Multicast.Groups";
const STREAMS: &str = "io.netsonde.Multicast.Streams";
const QUERIERS: &str = "io.netsonde.Multicast.Queriers";

/// What a list was restricted to, as it was typed; empty for no restriction.
struct Filter(String);

impl Filter {
    fn new(interface: Option<&str>, groups: &[IpAddr]) -> Filter {
        let interface = interface.map(|name| format!("-I {name}"));
        let groups = groups.iter().map(IpAddr::to_string);
        Filter(
            interface
                .into_iter()
                .chain(groups)
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    /// Prints a list, as text only if it is not empty by the restriction.
    fn show<T: Serialize>(
        &self,
        global: &Global,
        is_empty: bool,
        report: &T,
        text: impl FnOnce(&T, Style, bool) -> String,
    ) -> Result<(), Failure> {
        match is_empty && !self.0.is_empty() && !global.json {
            true => Ok(()),
            false => show(global, report, text),
        }
    }

    /// Returns the exit status of a list; 1 with a message if the restriction left nothing of `total`.
    fn status(
        &self,
        global: &Global,
        noun: &str,
        is_empty: bool,
        total: impl FnOnce() -> usize,
    ) -> u8 {
        match is_empty && !self.0.is_empty() {
            true => no_match(global, noun, &self.0, total() as u64),
            false => 0,
        }
    }
}

/// Where a list comes from: a file, the record of a time in the past, or the service's present state.
struct Origin<'a> {
    socket: &'a Path,
    read: Option<&'a Path>,
    past: &'a Past,
    /// Stores of the record; all if there are none.
    stores: &'a [&'a str],
    content: Content,
}

impl Origin<'_> {
    /// Opens the packets; `None` for the present state.
    fn open(&self) -> Result<Option<Box<dyn Read + Send>>, Failure> {
        open_past(self.socket, self.read, self.past, self.stores, self.content)
    }
}

/// What there is without a filter, in the file or of the service; `None` if it cannot be read.
fn all<T: DeserializeOwned>(
    from: &Origin<'_>,
    method: &str,
    of_file: fn(&FileState) -> T,
) -> Option<T> {
    let socket = from.socket;
    match from.open().ok()? {
        Some(source) => FileState::read(source, None)
            .ok()
            .map(|state| of_file(&state)),
        None => ask_with(socket, method, &InterfaceCall::default()).ok(),
    }
}

/// Runs `netsonde mcast`.
pub fn run(global: &Global, socket: &Path, command: &Mcast) -> Result<u8, Failure> {
    match command {
        Mcast::Groups {
            interface,
            groups,
            read,
            past,
        } => {
            let from = Origin {
                socket,
                read: read.as_deref(),
                past,
                stores: &["group"],
                content: Content::Headers,
            };
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let mut report: Groups = match from.open()? {
                Some(source) => FileState::read(source, interface.as_deref())?.groups(),
                None => ask_with(socket, GROUPS, &call)?,
            };
            report
                .groups
                .retain(|group| is_wanted(&group.group, groups));
            let filter = Filter::new(interface.as_deref(), groups);
            let is_empty = report.groups.is_empty();
            // The processes of this host have nothing to do with a file, or with the past.
            let is_present = read.is_none() && past.packets().is_none();
            let members = match is_present && namespace::may_name_processes(socket)? {
                true => doctor::group_members(),
                false => vec![],
            };
            let report = held(report, members);
            filter.show(global, is_empty, &report, groups_text)?;
            Ok(filter.status(global, "group", is_empty, || {
                all(&from, GROUPS, FileState::groups).map_or(0, |all| all.groups.len())
            }))
        }
        Mcast::Streams {
            interface,
            groups,
            read,
            past,
        } => {
            let from = Origin {
                socket,
                read: read.as_deref(),
                past,
                stores: &[],
                content: Content::Permitted,
            };
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let mut report: Streams = match from.open()? {
                Some(source) => FileState::read(source, interface.as_deref())?.streams(),
                None => ask_with(socket, STREAMS, &call)?,
            };
            report
                .streams
                .retain(|stream| is_wanted(&stream.group, groups));
            let filter = Filter::new(interface.as_deref(), groups);
            let is_empty = report.streams.is_empty();
            filter.show(global, is_empty, &report, streams_text)?;
            Ok(filter.status(global, "stream", is_empty, || {
                all(&from, STREAMS, FileState::streams).map_or(0, |all| all.streams.len())
            }))
        }
        Mcast::Queriers {
            interface,
            read,
            past,
        } => {
            let from = Origin {
                socket,
                read: read.as_deref(),
                past,
                stores: &["group"],
                content: Content::Headers,
            };
            let call = InterfaceCall {
                interface: interface.clone(),
            };
            let report: Queriers = match from.open()? {
                Some(source) => FileState::read(source, interface.as_deref())?.queriers(),
                None => ask_with(socket, QUERIERS, &call)?,
            };
            let filter = Filter::new(interface.as_deref(), &[]);
            let count = |all: &Queriers| all.queriers.len() + all.routers.iter().flatten().count();
            let is_empty = count(&report) == 0;
            // Interfaces without a querier are named even then.
            filter.show(
                global,
                is_empty && report.unasked.is_empty(),
                &report,
                queriers_text,
            )?;
            Ok(filter.status(global, "querier", is_empty, || {
                all(&from, QUERIERS, FileState::queriers).map_or(0, |all| count(&all))
            }))
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
