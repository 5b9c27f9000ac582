//! SHELL. `sockets`: the kernel's lists of sockets with their owners, and with data that only an owner's
//! descriptor reveals, as tables or JSON.
//!
//! | file | contents |
//! |---|---|
//! | `inventory` | sockets, their owners and memberships |
//! | `text` | tables |
//! | `json` | the JSON document |

mod inventory;
mod json;
mod text;

use std::io::{self, Write};
use std::path::Path;

use netsonde_core::sockets::select::SocketQuery;

use crate::client::cli::args::{Global, Sockets};
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output;
use crate::client::render::style::Style;
use crate::linux::processes::Held;

/// Runs `netsonde sockets`.
pub fn run(global: &Global, service: &Path, wanted: &Sockets) -> Result<u8, Failure> {
    namespace::note_if_other(service);
    let mut all = inventory::gather(service);
    let selection = SocketQuery {
        listening: wanted.listen,
        sniffing: wanted.sniff,
        family: wanted.family,
        kind: wanted.kind,
        port: wanted.port,
    };
    let is_selected = selection != SocketQuery::default() || wanted.process.is_some();
    for entry in &mut all.entries {
        let is_of = |name: &String| entry.holders.iter().any(|held| is_process(held, name));
        entry.is_wanted =
            selection.matches(&entry.socket) && wanted.process.as_ref().is_none_or(is_of);
    }
    let mut out = io::stdout().lock();
    if global.json {
        output::json(&mut out, &all)?;
    } else {
        let style = Style::new(global.color);
        let text = if wanted.sniff {
            text::sniffers(&all, style)
        } else if is_selected {
            text::selected(&all, style)
        } else {
            text::overview(&all, style, global.verbose)
        };
        write!(out, "{text}")?;
    }
    // A selection without a match is a failure.
    Ok(u8::from(is_selected && all.wanted().next().is_none()))
}

/// Returns whether the process has this number or name. The kernel keeps 15 bytes of a name.
fn is_process(held: &Held, wanted: &str) -> bool {
    let command = &held.process.command;
    wanted == held.process.pid.to_string()
        || wanted == command
        || (command.len() == 15 && wanted.starts_with(command.as_str()))
}
