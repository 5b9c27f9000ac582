//! PURE. Characters that would move a cursor, change a terminal, or show a text in another order than it has,
//! and their escapes, which are those of JSON (`\u001b`), so that a document stays one.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a character changes how others are shown: control characters (also of the second block,
/// U+0080 to U+009F), marks of the direction of writing, characters without width, and tags.
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Appends a character as JSON escapes it.
pub fn push_escaped(letter: char, to: &mut String) {
    let mut units = [0; 2];
    for unit in letter.encode_utf16(&mut units) {
        let _ = write!(to, "\\u{unit:04x}");
    }
}

/// Escapes all such characters, line feeds included, in a text that this program did not make.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match is_unsafe(letter) {
            true => push_escaped(letter, &mut shown),
            false => shown.push(letter),
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_others_are_one() {
        assert_eq!(one_line("e0"), "e0");
        assert_eq!(
            one_line("e0\nnetsonde: all is well"),
            "e0\\u000anetsonde: all is well"
        );
    }
}
