//! SHELL. Output of a command on standard output: a report as JSON, or as text.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use netsonde_core::text::counted;
use serde::Serialize;

use super::cli::args::Global;
use super::failure::Failure;
use super::render::style::Style;
use super::render::wrap::fit;
use super::screen;

/// Writes a report as an indented JSON document and a line feed.
///
/// # Errors
/// The error of `out`.
pub fn json(out: &mut impl Write, report: &impl Serialize) -> io::Result<()> {
    // Of a host with many sockets, the document is too large to be built in memory first.
    let mut out = BufWriter::new(out);
    serde_json::to_writer_pretty(&mut out, report)?;
    writeln!(out)?;
    out.flush()
}

/// Prints a line on standard error, with the name of this program. A closed or full standard error is no
/// reason to fail.
pub fn remark(line: impl Display) {
    let _ = writeln!(screen::stderr(), "netsonde: {line}");
}

/// Prints a line about what a command is doing, for the user who waits for it at a terminal. A file and a
/// pipe get results only.
pub fn progress(global: &Global, words: &str) {
    if !global.quiet && io::stderr().is_terminal() {
        let _ = writeln!(screen::stderr(), "{words}");
    }
}

/// Prints a report, as JSON if the options say so, else as `text` formats it.
pub fn show<T: Serialize>(
    global: &Global,
    report: &T,
    text: impl FnOnce(&T, Style, bool) -> String,
) -> Result<(), Failure> {
    let mut out = screen::stdout();
    if global.json {
        json(&mut out, report)?;
    } else {
        let style = global.style();
        let text = text(report, style, global.verbose);
        writeln!(out, "{}", fit(text.trim_end(), style))?;
    }
    Ok(())
}

/// Reports that a filter matched nothing, with the number of what there is without it: one line on standard
/// error, none with -q. Returns the exit status.
pub fn no_match(global: &Global, noun: &str, filter: &str, total: u64) -> u8 {
    note(
        global,
        &format!(
            "no {noun} matches {filter}; {} without the filter",
            counted(total, noun)
        ),
    );
    1
}

/// Prints a line for people on standard error, none with -q.
pub fn note(global: &Global, words: &str) {
    if !global.quiet {
        remark(words);
    }
}
