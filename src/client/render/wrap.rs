//! SHELL. Wraps text to the width of a manual page.

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

#[cfg(test)]
mod tests {
    use super::*;

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
