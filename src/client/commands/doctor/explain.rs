//! SHELL. `explain`: symptoms, cause, evidence and fix of a failure mode.

use std::io::{self, Write};

use netsonde_core::diagnose::{Text, find, texts};

use crate::client::cli::args::Global;
use crate::client::failure::Failure;
use crate::client::output::json;
use crate::client::render::table::{Column, table};
use crate::client::render::wrap::wrap;

/// Columns of the list of all findings.
const COLUMNS: [Column; 2] = [Column::text("FINDING"), Column::text("MEANING").shrinks(20)];

/// Runs `explain`: prints one failure mode, or lists all. JSON always has the full texts.
pub fn explain(global: &Global, id: Option<&str>) -> Result<u8, Failure> {
    let style = global.style();
    let wanted: Vec<Text> = match id {
        Some(id) => vec![find(id).ok_or_else(|| unknown_finding(id))?],
        None => texts(),
    };
    let mut out = io::stdout().lock();
    if global.json {
        let all: Vec<_> = wanted
            .iter()
            .map(|mode| {
                serde_json::json!({
                    "id": mode.id, "title": mode.title, "seen": mode.symptoms, "cause": mode.cause,
                    "proof": mode.proof, "fix": mode.fix,
                })
            })
            .collect();
        let report = serde_json::json!({ "findings": all });
        json(&mut out, &report)?;
        return Ok(0);
    }
    if id.is_none() {
        let mut sorted = wanted;
        sorted.sort_by_key(|mode| mode.id);
        let rows: Vec<Vec<String>> = sorted
            .iter()
            .map(|mode| vec![mode.id.to_owned(), mode.title.to_owned()])
            .collect();
        writeln!(out, "{}", table(style, &COLUMNS, &rows))?;
        return Ok(0);
    }
    for mode in wanted {
        writeln!(out, "{}: {}", style.bold(mode.id), mode.title)?;
        for (heading, words) in [
            ("Symptoms", mode.symptoms),
            ("Cause", mode.cause),
            ("Evidence", mode.proof),
            ("Fix", mode.fix),
        ] {
            writeln!(out, "\n{}", style.bold(heading))?;
            write!(out, "{}", wrap(words, 2, 0))?;
        }
    }
    Ok(0)
}

/// Returns the error for an unknown id, with up to four similar ids.
fn unknown_finding(id: &str) -> Failure {
    let words: Vec<&str> = id.split('-').filter(|word| word.len() > 2).collect();
    let similar: Vec<&str> = texts()
        .iter()
        .map(|mode| mode.id)
        .filter(|known| words.iter().any(|word| known.contains(word)))
        .take(4)
        .collect();
    let hint = if similar.is_empty() {
        "`netsonde explain` lists all findings".into()
    } else {
        format!("did you mean {}?", similar.join(", "))
    };
    Failure::Other(format!("unknown finding {id}: {hint}"))
}
