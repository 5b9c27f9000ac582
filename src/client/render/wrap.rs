//! SHELL. Wraps text to the width of a manual page or of a terminal.

use super::style::Style;

/// Width in columns, as of manual pages.
const COLUMNS: usize = 80;

/// Returns `words` as a paragraph of at most 80 columns, with a newline at the end.
///
/// Lines are indented by `indent` columns, all but the first by `hanging` more. A longer word has a line
/// of its own.
pub fn wrap(words: &str, indent: usize, hanging: usize) -> String {
    let mut text = String::new();
    let mut line = " ".repeat(indent);
    for word in words.split_whitespace() {
        if line.trim().is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = format!("{}{word}", " ".repeat(indent + hanging));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    text.push_str(&line);
    text.push('\n');
    text
}

/// Indentation of the continuation of a broken line.
const HANGING: usize = 4;

/// Breaks lines that are wider than `style` allows between words, so that no terminal breaks one inside
/// a word. Escape sequences of colors have no width.
pub fn fit(text: &str, style: Style) -> String {
    let Some(width) = style.width() else {
        return text.to_owned();
    };
    let mut fitted = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        break_line(line, width, &mut fitted);
        fitted.push_str(end);
    }
    fitted
}

fn break_line(line: &str, width: usize, out: &mut String) {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let hanging = (indent + HANGING).min(width / 2);
    let (mut rest, mut room, mut leading) = (line, width, indent);
    while let Some(at) = break_point(rest, room, leading) {
        out.push_str(rest[..at].trim_end());
        rest = rest[at..].trim_start();
        if rest.is_empty() {
            return;
        }
        out.push('\n');
        out.push_str(&" ".repeat(hanging));
        (room, leading) = (width - hanging, 0);
    }
    out.push_str(rest);
}

/// Returns the position of the space at which a line of more than `room` columns is broken: the last
/// that fits, or else the first. `None` if it fits, or is a single word behind `leading` spaces.
fn break_point(line: &str, room: usize, leading: usize) -> Option<usize> {
    let mut columns = 0;
    let mut space = None;
    let mut is_escape = false;
    for (at, letter) in line.char_indices() {
        if is_escape || letter == '\u{1b}' {
            is_escape = letter != 'm';
            continue;
        }
        if letter == ' ' && columns >= leading {
            if columns > room {
                return space.or(Some(at));
            }
            space = Some(at);
        }
        columns += 1;
        if columns > room && space.is_some() {
            return space;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::style::Color;
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let fitted = |text: &str, width| {
            let style = Style::new(Color::Never).with_width(Some(width));
            fit(text, style)
        };
        assert_eq!(fitted("ab cd ef\n", 8), "ab cd ef\n");
        assert_eq!(fitted("ab cd efg\nx", 8), "ab cd\n    efg\nx");
        assert_eq!(fitted("  abcdefghij kl", 8), "  abcdefghij\n    kl");
        assert_eq!(fitted("  abcdefghij", 8), "  abcdefghij");
        let red = "\u{1b}[31mab cd\u{1b}[0m ef gh";
        assert_eq!(fitted(red, 11), red);
        assert_eq!(fitted(red, 8), "\u{1b}[31mab cd\u{1b}[0m ef\n    gh");
        let unlimited = Style::new(Color::Never);
        assert_eq!(fit("ab cd efg", unlimited), "ab cd efg");
    }

    #[test]
    fn lines_are_wrapped_and_indented() {
        let words = "word ".repeat(20);
        let text = wrap(&words, 2, 3);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  word") && lines[0].len() <= COLUMNS);
        assert!(lines[1].starts_with("     word"));
        assert_eq!(text.split_whitespace().count(), 20);
    }

    #[test]
    fn long_words_are_not_split() {
        let long = "x".repeat(100);
        assert_eq!(wrap(&long, 2, 0), format!("  {long}\n"));
    }
}
