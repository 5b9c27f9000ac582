//! SHELL. A line of the log: an event as text, and as fields for the journal. Text from the wire or
//! from a client is escaped here, in message and fields alike: control characters (including ESC
//! and C1), line and paragraph separators, and characters that are invisible or change the
//! direction of text. The backslash is escaped as well, so that the original is recoverable.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::limit::{Summary, WINDOW};

/// Maximum length of a line on standard error in bytes, including its newline. PIPE_BUF of Linux: a
/// pipe accepts it completely or not at all, so that lines of keeper and engine never mix.
pub const LINE_BYTES: usize = 4096;
/// Maximum length of a message with its fields, in bytes: leaves space for time, level, process and
/// the count of lost lines.
pub const MESSAGE_BYTES: usize = LINE_BYTES - 256;
/// Maximum length of a field's value, in bytes. Names and paths are shorter. With the maximum of 32
/// fields per event, a datagram stays far below the send limit of a socket (212,992 bytes by
/// default).
pub const VALUE_BYTES: usize = 1024;

/// Names of fields that the log itself sets.
const OWN: [&str; 4] = [
    "NETSONDE_AUDIT",
    "NETSONDE_HELD_BACK",
    "NETSONDE_LOST",
    "NETSONDE_PROCESS",
];

/// An escaped line.
#[derive(Clone, Debug)]
pub struct Line {
    /// How grave it is.
    pub level: Level,
    /// Part of the program.
    pub target: &'static str,
    /// Place in the source.
    pub place: Option<(&'static str, u32)>,
    /// The message with its fields, as text.
    pub message: String,
    /// Names and values for the journal.
    pub fields: Vec<(String, String)>,
}

impl Line {
    /// Creates the line of an event.
    pub fn of(event: &Event<'_>) -> Line {
        let mut parts = Parts {
            message: Escaped::new(MESSAGE_BYTES),
            fields: Vec::new(),
        };
        event.record(&mut parts);
        let mut message = parts.message.finish();
        for (name, value) in &parts.fields {
            append(&mut message, name, value);
        }
        let metadata = event.metadata();
        let fields = parts.fields.into_iter();
        Line {
            level: *metadata.level(),
            target: metadata.target(),
            place: metadata.file().zip(metadata.line()),
            message,
            fields: fields
                .map(|(name, value)| (journal_name(name), value))
                .collect(),
        }
    }

    /// Creates a line without fields.
    pub fn plain(level: Level, message: &str) -> Line {
        Line {
            level,
            target: module_path!(),
            place: None,
            message: escape(message, MESSAGE_BYTES),
            fields: Vec::new(),
        }
    }

    /// Creates the summary of suppressed lines.
    pub fn of_summary(summary: &Summary) -> Line {
        let (count, seconds) = (summary.count, WINDOW.as_secs());
        let place = summary.place;
        let last = &summary.last;
        // The last line is escaped already.
        let mut message =
            format!("{count} more of these in the last {seconds} s, the last: {last}");
        cut(&mut message, MESSAGE_BYTES);
        Line {
            level: *place.level(),
            target: place.target(),
            place: place.file().zip(place.line()),
            message,
            fields: vec![("NETSONDE_HELD_BACK".into(), count.to_string())],
        }
    }

    fn is_audit(&self) -> bool {
        self.target == super::AUDIT
    }

    /// Returns the message, with the number of lines lost before it.
    fn message(&self, lost: u64) -> String {
        if lost == 0 {
            self.message.clone()
        } else {
            format!("{} ({lost} log lines before this were lost)", self.message)
        }
    }

    /// Returns the datagram for the journal. Since nothing in it contains a newline, each field is
    /// `NAME=value` followed by a newline.
    pub fn datagram(&self, process: &str, lost: u64) -> Vec<u8> {
        let mut text = String::with_capacity(512);
        let mut put = |name: &str, value: &dyn fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}={value}");
        };
        put("MESSAGE", &self.message(lost));
        put("PRIORITY", &priority(self.level));
        // Keeper and engine are one service.
        let service = match process {
            "historian" => "netsonde-historian",
            _ => "netsonded",
        };
        put("SYSLOG_IDENTIFIER", &service);
        put("TARGET", &self.target);
        if let Some((file, line)) = self.place {
            put("CODE_FILE", &file);
            put("CODE_LINE", &line);
        }
        put("NETSONDE_PROCESS", &process);
        if self.is_audit() {
            put("NETSONDE_AUDIT", &1);
        }
        if lost > 0 {
            put("NETSONDE_LOST", &lost);
        }
        for (name, value) in &self.fields {
            put(name, value);
        }
        text.into_bytes()
    }

    /// Returns the line for standard error, with its newline.
    pub fn text(&self, process: &str, lost: u64) -> String {
        let time = jiff::Timestamp::now();
        let audit = if self.is_audit() { " audit" } else { "" };
        format!(
            "{time:.6} {:5} {process}{audit}: {}\n",
            self.level.as_str(),
            self.message(lost)
        )
    }
}

/// Returns the syslog(3) priority of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Converts a name for the journal: capital letters, digits and underscores, at most 64.
fn journal_name(name: &str) -> String {
    let mut all = String::from("NETSONDE_");
    all.extend(name.chars().take(54).map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    }));
    if OWN.contains(&all.as_str()) {
        all.push('_');
    }
    all
}

/// Appends ` name=value`, with the value in quotes if it could be mistaken for several.
fn append(message: &mut String, name: &str, value: &str) {
    message.push(' ');
    message.push_str(name);
    message.push('=');
    if value.is_empty() || value.contains([' ', '"', '=']) {
        message.push('"');
        message.push_str(&value.replace('"', "\\\""));
        message.push('"');
    } else {
        message.push_str(value);
    }
    cut(message, MESSAGE_BYTES);
}

const CUT: char = '…';

/// Truncates at a character boundary, and marks it.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max - CUT.len_utf8())
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push(CUT);
    }
}

struct Parts {
    message: Escaped,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // An error means that the limit is reached.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let mut text = Escaped::new(VALUE_BYTES);
            let _ = write!(text, "{value:?}");
            self.fields.push((field.name(), text.finish()));
        }
    }
}

/// Text that is escaped while it is written, up to a maximum length.
struct Escaped {
    text: String,
    max: usize,
}

impl Escaped {
    fn new(max: usize) -> Escaped {
        Escaped {
            text: String::new(),
            max,
        }
    }

    fn finish(mut self) -> String {
        cut(&mut self.text, self.max);
        self.text
    }
}

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if self.text.len() > self.max {
                return Err(fmt::Error);
            }
            match letter {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                hidden if is_hidden(hidden) => {
                    write!(self.text, "\\u{{{:x}}}", u32::from(hidden))?;
                }
                shown => self.text.push(shown),
            }
        }
        Ok(())
    }
}

/// Returns whether a character controls a terminal, ends a line, changes the direction of text, or
/// is invisible.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            // Soft hyphen, Arabic letter mark, zero width, direction, separators.
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates, byte-order mark, notes, tags.
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Escapes text, up to `most` bytes.
pub fn escape(text: &str, max: usize) -> String {
    let mut escaped = Escaped::new(max);
    // An error means that the limit is reached.
    let _ = escaped.write_str(text);
    escaped.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_is_escaped() {
        for (text, shown) in [
            ("plain \u{e4}\u{4e2d} text", "plain \u{e4}\u{4e2d} text"),
            ("e\u{1b}[31m0", "e\\u{1b}[31m0"),
            ("two\nlines\r\tand", "two\\nlines\\r\\tand"),
            ("\u{7f}\u{9b}31m\u{0}", "\\u{7f}\\u{9b}31m\\u{0}"),
            (
                "a\u{202e}b\u{2066}c\u{200f}",
                "a\\u{202e}b\\u{2066}c\\u{200f}",
            ),
            ("\u{2028}\u{feff}", "\\u{2028}\\u{feff}"),
            // Text that was escaped before can be distinguished from text escaped here.
            ("\\u{1b}", "\\\\u{1b}"),
        ] {
            assert_eq!(escape(text, 4096), shown);
        }
    }

    #[test]
    fn values_that_could_pass_for_more_are_quoted() {
        let mut message = String::from("said");
        append(&mut message, "name", "e0 uid=0");
        append(&mut message, "plain", "e0");
        append(&mut message, "quoted", "a\"b");
        append(&mut message, "empty", "");
        assert_eq!(
            message,
            "said name=\"e0 uid=0\" plain=e0 quoted=\"a\\\"b\" empty=\"\""
        );
    }

    #[test]
    fn names_are_the_journals() {
        assert_eq!(journal_name("wait_ms"), "NETSONDE_WAIT_MS");
        assert_eq!(journal_name("a.b-\u{e4}"), "NETSONDE_A_B__");
        assert_eq!(journal_name("audit"), "NETSONDE_AUDIT_");
        assert!(journal_name(&"x".repeat(100)).len() <= 64);
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let cut = escape(&"\u{e4}".repeat(1000), 100);
        assert!(cut.len() <= 100 && cut.ends_with(CUT), "{cut}");
        assert_eq!(escape("1234567890", 10), "1234567890");
    }
}
