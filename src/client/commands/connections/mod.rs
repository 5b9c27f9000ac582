//! SHELL. `netsonde connections`: TCP connections and questions to name servers, from the packets of the record or of a
//! file. The packets are joined in `core/connections`; processes are those of the sockets that still exist.

mod gather;
mod json;
mod owners;
mod select;
mod text;

use std::path::Path;

use crate::client::cli::args::{ConnectionsArgs, Global};
use crate::client::failure::Failure;
use crate::client::output::{no_match, show};

/// Runs `netsonde connections`. Returns 1 if options select some and there is none.
pub fn run(global: &Global, socket: &Path, args: &ConnectionsArgs) -> Result<u8, Failure> {
    let found = gather::gather(global, socket, args)?;
    let connections = found.connections.len();
    let questions = found.asking.questions.iter();
    let questions = questions.filter(|one| !one.is_before).count();
    let chosen = select::select(&found, args)?;
    let is_none = match args.names {
        true => chosen.questions.is_empty(),
        false => chosen.connections.is_empty(),
    };
    let filter = select::shown(args);
    let report = json::report(&found, &chosen, args);
    if filter.is_none() || !is_none || global.json {
        show(global, &report, |report, style, verbose| {
            text::text(report, args, style, verbose)
        })?;
    }
    match filter {
        Some(filter) if is_none => Ok(match args.names {
            true => no_match(global, "question", &filter, questions as u64),
            false => no_match(global, "connection", &filter, connections as u64),
        }),
        _ => Ok(0),
    }
}
