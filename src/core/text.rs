//! PURE. Words that all messages share: counts with their noun, lists of limited length, the known
//! name that a mistyped one may stand for, and numbers and addresses of packets.

use std::fmt::Write;
use std::net::IpAddr;

/// Maximum characters of a name that may be a typing error: far more than any name has.
const MAX_NAME_CHARS: usize = 64;
/// Maximum number of names in a message: a line or two of a terminal.
const MAX_NAMES: usize = 24;

/// Formats a count with its noun: "1 packet", "2 packets", "0 queries". Of several words the last one is
/// the noun: "2 UDP packets".
pub fn counted(count: impl Count, noun: &str) -> String {
    match count.number() {
        1 => format!("1 {noun}"),
        count => format!("{count} {}", plural(noun)),
    }
}

/// A number of things.
pub trait Count {
    /// Returns it.
    fn number(&self) -> u64;
}

impl Count for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

impl Count for u32 {
    fn number(&self) -> u64 {
        (*self).into()
    }
}

impl Count for usize {
    fn number(&self) -> u64 {
        *self as u64
    }
}

impl<T: Count> Count for &T {
    fn number(&self) -> u64 {
        (*self).number()
    }
}

/// Returns the plural of a regular noun.
pub fn plural(noun: &str) -> String {
    let before_y = noun.strip_suffix('y');
    match before_y {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("ch") || noun.ends_with("sh") => {
            format!("{noun}es")
        }
        _ => format!("{noun}s"),
    }
}

/// Returns the third person of "be" for a count: "1 packet is", "2 packets are".
pub fn is_or_are(count: impl Count) -> &'static str {
    if count.number() == 1 { "is" } else { "are" }
}

/// Returns the past of "be" for a count: "1 packet was", "2 packets were".
pub fn was_or_were(count: impl Count) -> &'static str {
    if count.number() == 1 { "was" } else { "were" }
}

/// Lists names, separated by commas: at most 24, and how many more there are.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.len().min(MAX_NAMES);
    let mut text = names[..shown].join(", ");
    if names.len() > shown {
        text.push_str(&format!(" and {} more", names.len() - shown));
    }
    text
}

/// Returns the most similar known name, if it differs by a typing error only: in at most a third of the
/// letters, or two if that is more, but never in more than half of them.
pub fn nearest(given: &str, known: impl Iterator<Item = String>) -> Option<String> {
    // The distance takes time for each letter.
    let letters = given.chars().count();
    if letters > MAX_NAME_CHARS {
        return None;
    }
    let max = (letters / 3).max(2).min(letters / 2);
    let distance = |known: &String| strsim::damerau_levenshtein(given, known);
    known
        .map(|known| (distance(&known), known))
        .filter(|(distance, known)| *distance <= max && *distance < known.len())
        .min()
        .map(|(_, known)| known)
}

/// Returns the message for a name that does not exist: the most similar one that does, and a list of all.
/// `kind` is a noun, as in "unknown store". The case of letters makes no difference for the suggestion.
pub fn unknown<'a>(
    kind: &str,
    given: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let lower = given.to_ascii_lowercase();
    let all: Vec<&str> = known.into_iter().collect();
    let hint = nearest(&lower, all.iter().map(|name| name.to_ascii_lowercase()))
        .and_then(|near| all.iter().find(|name| name.eq_ignore_ascii_case(&near)))
        .map_or(String::new(), |near| format!("; did you mean {near}?"));
    match all.is_empty() {
        true => format!("unknown {kind} {given:?}: there is none"),
        false => format!("unknown {kind} {given:?}{hint} ({})", listed(all)),
    }
}

/// Adds a number in decimal. The formatter of the standard library takes several times as long, which
/// counts in lines of packets.
pub fn push_decimal(to: &mut String, mut number: u64) {
    // 2^64 has 20 digits.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to.push_str(std::str::from_utf8(&digits[first..]).unwrap_or_default());
}

/// Adds an IP address as its `Display` shows it.
pub fn push_address(to: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (at, byte) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    to.push('.');
                }
                push_decimal(to, byte.into());
            }
        }
        // Writing to a string cannot fail.
        IpAddr::V6(v6) => drop(write!(to, "{v6}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_noun() {
        for (count, noun, words) in [
            (1, "packet", "1 packet"),
            (0, "packet", "0 packets"),
            (1, "query", "1 query"),
            (2, "query", "2 queries"),
            (2, "reply", "2 replies"),
            (2, "key", "2 keys"),
            (2, "address", "2 addresses"),
            (2, "process", "2 processes"),
            (2, "switch", "2 switches"),
            (2, "UDP packet", "2 UDP packets"),
            (2, "neighbor", "2 neighbors"),
        ] {
            assert_eq!(counted(count as u64, noun), words);
        }
    }

    #[test]
    fn numbers_and_addresses_are_shown_as_by_the_formatter() {
        for number in [0, 9, 10, 99, 100, 65_535, u64::MAX] {
            let mut text = String::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string());
        }
        for address in [
            "0.0.0.0",
            "10.9.255.100",
            "::",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            let mut text = String::new();
            push_address(&mut text, address.parse().expect("an address"));
            assert_eq!(text, address);
        }
    }

    #[test]
    fn unknown_names_are_answered_with_known_ones() {
        let stores = ["link", "group", "icmp"];
        assert_eq!(
            unknown("store", "lnik", stores),
            "unknown store \"lnik\"; did you mean link? (link, group, icmp)"
        );
        assert_eq!(
            unknown("store", "zzzzzzz", stores),
            "unknown store \"zzzzzzz\" (link, group, icmp)"
        );
        let many: Vec<String> = (0..30).map(|n| format!("veth{n}")).collect();
        let words = unknown("interface", "e", many.iter().map(String::as_str));
        assert!(words.ends_with("veth23 and 6 more)"), "{words}");
        assert_eq!(
            unknown("interface", "e", []),
            "unknown interface \"e\": there is none"
        );
    }
}
