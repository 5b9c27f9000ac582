//! SHELL. `netsonde keep` and `netsonde kept`: packets of a moment that somebody noticed.

use std::path::Path;

use crate::client::cli::args::{Global, KeepArgs, KeptArgs};
use crate::client::failure::Failure;
use crate::client::historian;
use crate::client::output::{json, no_match, note, show};
use crate::client::render::style::{Style, bytes, local_second};
use crate::client::render::table::{Column, table};
use crate::client::screen;
use netsonde_core::protocol::capture::Content;
use netsonde_core::protocol::history::{
    DiscardCall, KeepCall, KeepReply, Kept, KeptReply, PacketsCall,
};

/// Maximum length of a note, in characters.
const NOTE_MAX: usize = 500;

/// Runs `netsonde keep`.
pub fn keep(global: &Global, socket: &Path, args: &KeepArgs) -> Result<u8, Failure> {
    let words = args.note.join(" ");
    let length = words.chars().count();
    if length > NOTE_MAX {
        return Err(Failure::Other(format!(
            "NOTE: must be at most {NOTE_MAX} characters, not {length}"
        )));
    }
    let call = KeepCall {
        last_ns: args.last,
        note: (!words.trim().is_empty()).then_some(words),
    };
    let reply: KeepReply = historian::ask(socket, "Keep", &call)?;
    show(global, &reply, |reply, _, _| {
        let (id, kept) = (reply.kept.id, &reply.kept.evidence);
        format!(
            "kept {id}: {}\nnetsonde kept {id} -w kept-{id}.pcapng writes them",
            historian::evidence(kept)
        )
    })?;
    Ok(0)
}

/// Runs `netsonde kept`.
pub fn kept(global: &Global, socket: &Path, args: &KeptArgs) -> Result<u8, Failure> {
    if let (Some(id), Some(write)) = (args.id, &args.write) {
        let call = PacketsCall {
            kept: Some(id),
            content: args.headers.then_some(Content::Headers),
            ..PacketsCall::default()
        };
        return historian::write_packets(global, socket, &call, write);
    }
    if let (Some(id), true) = (args.id, args.discard) {
        let reply: serde_json::Value = historian::ask(socket, "Discard", &DiscardCall { id })?;
        match global.json {
            true => json(&mut screen::stdout(), &reply)?,
            false => note(global, &format!("{id} deleted")),
        }
        return Ok(0);
    }
    let mut reply: KeptReply = historian::ask(socket, "Kept", &serde_json::json!({}))?;
    let total = reply.kept.len() as u64;
    if let Some(id) = args.id {
        reply.kept.retain(|kept| kept.id == id);
    }
    if global.json {
        json(&mut screen::stdout(), &reply)?;
    } else if !reply.kept.is_empty() {
        show(global, &reply, |reply, style, _| text(&reply.kept, style))?;
    }
    match args.id {
        _ if !reply.kept.is_empty() => Ok(0),
        Some(id) => Ok(no_match(global, "kept entry", &id.to_string(), total)),
        None => {
            note(
                global,
                "nothing was kept: `netsonde keep` keeps the last 5 minutes",
            );
            Ok(0)
        }
    }
}

fn text(kept: &[Kept], style: Style) -> String {
    let rows: Vec<Vec<String>> = kept
        .iter()
        .map(|one| {
            let evidence = &one.evidence;
            vec![
                one.id.to_string(),
                local_second(&one.time),
                one.user.clone(),
                evidence.packets.to_string(),
                bytes(evidence.bytes),
                local_second(&evidence.from),
                evidence.state.clone(),
                one.note.clone().unwrap_or("-".into()),
            ]
        })
        .collect();
    let columns = [
        Column::number("ID"),
        Column::text("KEPT AT"),
        Column::text("USER").shrinks(4).may_hide(2),
        Column::number("PACKETS"),
        Column::number("SIZE"),
        Column::text("FROM").may_hide(1),
        Column::text("STATE"),
        Column::text("NOTE").shrinks(12),
    ];
    table(style, &columns, &rows)
}
