//! SHELL. The one place that all output for people and programs passes, on its way to standard output and
//! standard error. Here characters that would move a cursor, change a terminal, or show a text in another
//! order than it has are escaped, wherever they came from: the service, the kernel, a file, the command line.
//!
//! The escapes are those of JSON (`\u001b`), so that a document stays one. Only packets and completion
//! scripts, which are for programs alone, are written past this. Line feeds are those of this program: within
//! texts that it did not make, [`netsonde_core::screen::one_line`] escapes them when they come in.

use std::io::{self, Stderr, Stdout, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use netsonde_core::screen::{is_unsafe, push_escaped};

/// Escape sequences of the styles in `render::style`: dim, bold, red, green, and the end of each.
const STYLES: [&str; 5] = [
    "\u{1b}[2m",
    "\u{1b}[1m",
    "\u{1b}[31m",
    "\u{1b}[32m",
    "\u{1b}[0m",
];

/// Whether this program uses styles. Without, none of their sequences is its own.
static HAS_STYLES: AtomicBool = AtomicBool::new(false);

/// Lets the sequences of styles pass.
pub fn allow_styles() {
    HAS_STYLES.store(true, Ordering::Relaxed);
}

/// Escapes a text that may have lines and styles of this program.
fn screened(text: &str, to: &mut String) {
    let has_styles = HAS_STYLES.load(Ordering::Relaxed);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let style = STYLES.iter().find(|style| rest.starts_with(**style));
        if let Some(style) = style.filter(|_| has_styles) {
            to.push_str(style);
            rest = &rest[style.len()..];
            continue;
        }
        match letter {
            '\n' | '\t' => to.push(letter),
            _ if is_unsafe(letter) => push_escaped(letter, to),
            _ => to.push(letter),
        }
        rest = &rest[letter.len_utf8()..];
    }
}

/// A stream that escapes what is written to it.
pub struct Screen<W: Write> {
    inner: W,
    /// Start of a character whose other bytes have not been written yet.
    partial: Vec<u8>,
}

impl<W: Write> Screen<W> {
    /// Escapes what is written to `inner`.
    pub fn new(inner: W) -> Screen<W> {
        Screen {
            inner,
            partial: Vec::new(),
        }
    }

    /// Writes an escape sequence of this program that moves the cursor or clears the screen.
    pub fn control(&mut self, sequence: &'static str) -> io::Result<()> {
        self.inner.write_all(sequence.as_bytes())
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_plain = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
        if self.partial.is_empty() && bytes.iter().all(is_plain) {
            self.inner.write_all(bytes)?;
            return Ok(bytes.len());
        }
        self.partial.extend_from_slice(bytes);
        let mut shown = String::with_capacity(self.partial.len() + 8);
        let mut rest = 0;
        for part in self.partial.utf8_chunks() {
            screened(part.valid(), &mut shown);
            rest += part.valid().len();
            let invalid = part.invalid();
            let is_last = rest + invalid.len() == self.partial.len();
            // Three bytes at most are missing at the end of what was written.
            let may_go_on =
                std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_last && may_go_on {
                break;
            }
            rest += invalid.len();
            if !invalid.is_empty() {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.partial.drain(..rest);
        self.inner.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns standard output, locked.
pub fn stdout() -> Screen<StdoutLock<'static>> {
    Screen::new(io::stdout().lock())
}

/// Returns standard output, locked for each write only.
pub fn shared_stdout() -> Screen<Stdout> {
    Screen::new(io::stdout())
}

/// Returns standard error.
pub fn stderr() -> Screen<Stderr> {
    Screen::new(io::stderr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> String {
        let mut out = Screen::new(Vec::new());
        for part in parts {
            out.write_all(part).unwrap();
        }
        String::from_utf8(out.inner).unwrap()
    }

    #[test]
    fn what_changes_a_terminal_is_escaped() {
        for (text, shown) in [
            ("a b\u{e4}/c\n\tx\u{2026}", "a b\u{e4}/c\n\tx\u{2026}"),
            ("\u{1b}[2Jx\r", "\\u001b[2Jx\\u000d"),
            ("\u{9b}2J\u{202e}\u{7f}", "\\u009b2J\\u202e\\u007f"),
            ("\u{e0041}", "\\udb40\\udc41"),
            ("\u{0}\u{200b}\u{feff}", "\\u0000\\u200b\\ufeff"),
        ] {
            assert_eq!(written(&[text.as_bytes()]), shown);
            // However it is divided.
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(written(&bytes), shown);
        }
        assert_eq!(written(&[b"\xffx\xc3"]), "\u{fffd}x");
    }

    #[test]
    fn json_stays_json() {
        let text = "a\u{9b}\u{202e}\u{1b}\n\u{e0041}\"\\";
        let json = serde_json::to_vec(&serde_json::json!({ text: [text] })).unwrap();
        let shown = written(&[&json]);
        assert!(!shown.contains(is_unsafe), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, serde_json::json!({ text: [text] }));
    }
}
