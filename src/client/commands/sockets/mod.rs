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

use std::io::Write;
use std::path::Path;

use netsonde_core::families::{family_name, type_name};
use netsonde_core::sockets::select::{SocketClass, SocketQuery};
use netsonde_core::sockets::{INET, INET6};

use crate::client::cli::args::{Global, Sockets};
use crate::client::failure::Failure;
use crate::client::namespace;
use crate::client::output::{self, no_match};
use crate::client::render::wrap::fit;
use crate::client::screen;
use crate::linux::processes::Held;

/// Runs `netsonde sockets`.
pub fn run(global: &Global, service: &Path, wanted: &Sockets) -> Result<u8, Failure> {
    namespace::note_if_other(service);
    let mut all = inventory::gather(service);
    let selection = SocketQuery {
        listening: wanted.listen,
        sniffing: wanted.sniff,
        family: match (wanted.ipv4, wanted.ipv6) {
            (true, _) => Some(INET),
            (_, true) => Some(INET6),
            _ => wanted.family,
        },
        kind: wanted.kind,
        classes: classes(wanted),
        port: wanted.port,
    };
    let is_selected = selection != SocketQuery::default() || wanted.process.is_some();
    for entry in &mut all.entries {
        let is_of = |name: &String| entry.holders.iter().any(|held| is_process(held, name));
        entry.is_wanted =
            selection.matches(&entry.socket) && wanted.process.as_ref().is_none_or(is_of);
    }
    let is_unmatched = is_selected && all.wanted().next().is_none();
    let mut out = screen::stdout();
    if global.json {
        output::json(&mut out, &all)?;
    } else if !is_unmatched {
        let style = global.style();
        let text = if wanted.sniff {
            text::sniffers(&all, style)
        } else if is_selected {
            text::selected(&all, style)
        } else {
            text::overview(&all, style, global.verbose)
        };
        write!(out, "{}", fit(&text, style))?;
    }
    if is_unmatched {
        let filter = shown(wanted).join(" ");
        return Ok(no_match(
            global,
            "socket",
            &filter,
            all.entries.len() as u64,
        ));
    }
    Ok(0)
}

/// Options that name a class of sockets: letter, whether it is given, and the class.
fn by_letter(wanted: &Sockets) -> [(&'static str, bool, SocketClass); 5] {
    [
        ("-t", wanted.tcp, SocketClass::Tcp),
        ("-u", wanted.udp, SocketClass::Udp),
        ("-w", wanted.raw, SocketClass::Raw),
        ("-x", wanted.unix, SocketClass::Unix),
        ("-0", wanted.packet, SocketClass::Packet),
    ]
}

fn classes(wanted: &Sockets) -> Vec<SocketClass> {
    let given = by_letter(wanted).into_iter().filter(|(_, given, _)| *given);
    given.map(|(_, _, class)| class).collect()
}

/// Returns the options that select sockets, as they can be typed.
fn shown(wanted: &Sockets) -> Vec<String> {
    let given = by_letter(wanted).map(|(letter, given, _)| (letter, given));
    let switches = given.into_iter().chain([
        ("-4", wanted.ipv4),
        ("-6", wanted.ipv6),
        ("--listen", wanted.listen),
        ("--sniff", wanted.sniff),
    ]);
    let mut words: Vec<String> = switches
        .filter(|(_, given)| *given)
        .map(|(option, _)| option.to_owned())
        .collect();
    let values = [
        ("--family", wanted.family.map(family_name)),
        ("--type", wanted.kind.map(type_name)),
        ("--process", wanted.process.clone()),
        ("--port", wanted.port.map(|port| port.to_string())),
    ];
    let given = values
        .into_iter()
        .filter_map(|(option, value)| Some((option, value?)));
    words.extend(given.map(|(option, value)| format!("{option} {value}")));
    words
}

/// Returns whether the process has this number or name. The kernel keeps 15 bytes of a name.
fn is_process(held: &Held, wanted: &str) -> bool {
    let command = &held.process.command;
    wanted == held.process.pid.to_string()
        || wanted == command
        || (command.len() == 15 && wanted.starts_with(command.as_str()))
}
