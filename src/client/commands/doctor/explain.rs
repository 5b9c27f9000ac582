//! SHELL. `explain`: symptoms, cause, evidence and fix of a failure mode.

use std::io::Write;

use netsonde_core::diagnose::{Text, find, texts};
use netsonde_core::text::{counted, listed, nearest};

use crate::client::cli::args::Global;
use crate::client::failure::Failure;
use crate::client::output::json;
use crate::client::render::table::{Column, table};
use crate::client::render::wrap::wrap;
use crate::client::screen;

/// Columns of the list of all findings.
const COLUMNS: [Column; 2] = [Column::text("FINDING"), Column::text("MEANING").shrinks(20)];

/// Runs `explain`: prints one failure mode, or lists all. JSON always has the full texts.
pub fn explain(global: &Global, id: Option<&str>) -> Result<u8, Failure> {
    let style = global.style();
    let wanted: Vec<Text> = match id {
        Some(id) => vec![known(id)?],
        None => texts(),
    };
    let mut out = screen::stdout();
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

/// Returns the failure mode with this id, or the only one whose id begins with it.
fn known(id: &str) -> Result<Text, Failure> {
    let wanted = id.to_ascii_lowercase();
    if let Some(text) = find(&wanted) {
        return Ok(text);
    }
    let all = texts();
    let (mut begin, mut near): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
    let words: Vec<&str> = wanted.split('-').filter(|word| word.len() > 2).collect();
    for mode in &all {
        if mode.id.starts_with(&wanted) {
            begin.push(mode.id);
        } else if words.iter().any(|word| mode.id.contains(word)) {
            near.push(mode.id);
        }
    }
    if let ([only], false) = (&begin[..], wanted.is_empty()) {
        return find(only).ok_or_else(|| unknown_finding(id, &[], &all));
    }
    Err(match begin.is_empty() {
        true => unknown_finding(id, &near, &all),
        false => Failure::Other(format!(
            "{} begin with {id:?}: {}",
            counted(begin.len() as u64, "finding"),
            listed(begin)
        )),
    })
}

/// Returns the error for an unknown id, with similar ids: of the same words, or with a typing error.
fn unknown_finding(id: &str, near: &[&str], all: &[Text]) -> Failure {
    let ids = all.iter().map(|mode| mode.id.to_owned());
    let typed = nearest(&id.to_ascii_lowercase(), ids);
    // The most similar one may also share a word.
    let others = near.iter().filter(|id| typed.as_deref() != Some(**id));
    let similar: Vec<&str> = typed
        .iter()
        .map(String::as_str)
        .chain(others.copied())
        .collect();
    let hint = match similar.is_empty() {
        true => "`netsonde explain` lists all findings".into(),
        false => format!("did you mean {}?", listed(similar)),
    };
    Failure::Other(format!("unknown finding {id:?}: {hint}"))
}
