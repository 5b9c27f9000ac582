//! SHELL. A report that is printed again and again: on a terminal in place of the one before.

use std::io::{self, Write};

use crate::client::screen::Screen;

/// Escape sequences of a terminal (ECMA-48): cursor to the first cell, clear everything, the rest of the line,
/// or everything below.
const HOME: &str = "\x1b[H";
const CLEAR: &str = "\x1b[2J";
const END_LINE: &str = "\x1b[K";
const END_SCREEN: &str = "\x1b[J";

/// Clears the terminal for the first report.
///
/// # Errors
/// The error of `out`.
pub fn clear(out: &mut Screen<impl Write>) -> io::Result<()> {
    out.control(CLEAR)
}

/// Prints a report over the one before.
///
/// # Errors
/// The error of `out`.
pub fn redraw(out: &mut Screen<impl Write>, text: &str) -> io::Result<()> {
    out.control(HOME)?;
    for line in text.lines() {
        write!(out, "{line}")?;
        out.control(END_LINE)?;
        writeln!(out)?;
    }
    out.control(END_SCREEN)
}
