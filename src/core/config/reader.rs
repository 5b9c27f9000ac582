//! PURE. Reads a configuration key by key, by the same types that read the whole, so that the first error does
//! not hide the others.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::errors::{MAX_FILE_BYTES, MAX_PROBLEMS, place, quote};
use super::suggest::{RULE, full_names, is_table, keys_of, must_be, unknown_key};
use super::{Config, Error, KEYS, Problem, Problems};
use crate::text::nearest;

/// Reads a configuration from the bytes of a file.
pub(super) fn read(bytes: &[u8]) -> Result<Config, Problems> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Problems::for_file(format!(
            "more than {MAX_FILE_BYTES} bytes: is it the right file?"
        )));
    }
    for (mark, name) in [
        (&b"\xef\xbb\xbf"[..], "UTF-8"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ] {
        if bytes.starts_with(mark) {
            let what =
                format!("starts with a {name} byte-order mark: save the file as UTF-8 without one");
            return Err(Problems::single(Some((1, 1)), what));
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(error) => {
            let (before, rest) = bytes.split_at(error.valid_up_to());
            // Valid, so nothing is replaced.
            let before = String::from_utf8_lossy(before);
            let byte = rest.first().copied().unwrap_or_default();
            let what = format!("byte 0x{byte:02x} is not valid UTF-8: save the file as UTF-8");
            Err(Problems::single(Some(place(&before, before.len())), what))
        }
    }
}

/// Parses a configuration and collects all problems.
pub(super) fn parse(text: &str) -> Result<Config, Problems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        problems: Vec::new(),
        good: Vec::new(),
    };
    for error in &errors {
        reader.report(error.span().unwrap_or_default(), error.message());
    }
    // After a syntax error the rest may be read as something that was not written.
    if errors.is_empty() {
        reader.table(&mut Vec::new(), document.get_ref());
        reader.ranges();
    }
    if reader.problems.is_empty() {
        // The type of the whole configuration decides: it checks everything.
        match toml::from_str::<Config>(text) {
            Ok(mut config) => {
                config.lower_defaults(|key| reader.has(key));
                match config.check() {
                    Ok(()) => return Ok(config),
                    Err(error) => reader.report(0..0, &error.to_string()),
                }
            }
            Err(error) => reader.report(error.span().unwrap_or_default(), error.message()),
        }
    }
    reader.problems.sort_by_key(|(at, _)| *at);
    let more = reader.problems.len().saturating_sub(MAX_PROBLEMS);
    // Finding a place, and a suggestion, takes time: only for those that are reported.
    let reported = reader.problems.into_iter().take(MAX_PROBLEMS);
    let reported = reported.map(|(at, what)| Problem {
        place: at.map(|at| place(text, at)),
        what: match what {
            Message::Text(what) => what,
            Message::UnknownKey(path) => unknown_key(&path),
        },
    });
    Err(Problems {
        reported: reported.collect(),
        more,
    })
}

/// A key with a value of the right type.
struct ParsedKey<'t> {
    path: Vec<String>,
    value: Spanned<DeValue<'t>>,
}

/// Message of a problem; the text for an unknown key is made only if it is reported.
enum Message {
    Text(String),
    /// Path of a key that does not exist.
    UnknownKey(Vec<String>),
}

struct Reader<'t> {
    text: &'t str,
    /// With the byte offset; `None` for the file as a whole.
    problems: Vec<(Option<usize>, Message)>,
    /// Keys whose values are valid so far.
    good: Vec<ParsedKey<'t>>,
}

impl<'t> Reader<'t> {
    fn report(&mut self, at: Range<usize>, what: &str) {
        self.problems
            .push((Some(at.start), Message::Text(what.to_owned())));
    }

    fn table(&mut self, path: &mut Vec<String>, table: &DeTable<'t>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            let full = path.join(".");
            if full == RULE {
                self.rules(value);
            } else if full_names().any(|known| known == full) {
                self.leaf(path, value);
            } else if !is_table(&full) {
                let what = Message::UnknownKey(path.clone());
                self.problems.push((Some(key.span().start), what));
            } else if let DeValue::Table(below) = value.get_ref() {
                self.table(path, below);
            } else {
                let given = quote(&self.text[value.span()]);
                let what = format!(
                    "{full} = {given}: must be a table with the keys {}",
                    keys_of(&full)
                );
                self.report(key.span(), &what);
            }
            path.pop();
        }
    }

    /// Checks the type of one key, with defaults for all others.
    fn leaf(&mut self, path: &[String], value: &Spanned<DeValue<'t>>) {
        match alone(path, value.clone()) {
            Ok(_) => self.good.push(ParsedKey {
                path: path.to_vec(),
                value: value.clone(),
            }),
            Err(error) => self.wrong_kind(&path.join("."), value, &error),
        }
    }

    fn wrong_kind(&mut self, key: &str, value: &Spanned<DeValue<'t>>, error: &toml::de::Error) {
        let at = error.span().filter(|span| !span.is_empty());
        let at = at.unwrap_or_else(|| value.span());
        let given = quote(&self.text[at.clone()]);
        // The default is an example of the whole value, not of one entry.
        let default = KEYS
            .iter()
            .find(|known| at == value.span() && format!("{}.{}", known.table, known.name) == key)
            .map_or("[]", |known| known.default);
        let what = format!("{key} = {given}: {}", must_be(default, error.message()));
        self.report(at, &what);
    }

    /// Checks `[[recorder.rule]]`, each rule by itself, key by key.
    fn rules(&mut self, value: &Spanned<DeValue<'t>>) {
        let DeValue::Array(rules) = value.get_ref() else {
            let what = "recorder.rule: must be an array of tables: write [[recorder.rule]] before each rule";
            return self.report(value.span(), what);
        };
        let mut good = DeArray::new();
        for rule in rules.iter() {
            let before = self.problems.len();
            self.rule(rule);
            if self.problems.len() == before {
                good.push(rule.clone());
            }
        }
        self.good.push(ParsedKey {
            path: RULE.split('.').map(String::from).collect(),
            value: Spanned::new(value.span(), DeValue::Array(good)),
        });
    }

    fn rule(&mut self, rule: &Spanned<DeValue<'t>>) {
        const NAMES: [&str; 5] = [
            "store",
            "udp_ports",
            "tcp_ports",
            "ip_protocols",
            "ethertypes",
        ];
        let path: Vec<String> = RULE.split('.').map(String::from).collect();
        let DeValue::Table(table) = rule.get_ref() else {
            let given = quote(&self.text[rule.span()]);
            let what = format!(
                "{RULE} = {given}: must be a table with the keys {}",
                NAMES.join(", ")
            );
            return self.report(rule.span(), &what);
        };
        if table.get("store").is_none() {
            self.report(
                rule.span(),
                "recorder.rule: missing key `store`, for example store = \"names\"",
            );
        }
        let parse_alone = |table: DeTable<'t>| {
            let mut rules = DeArray::new();
            rules.push(Spanned::new(rule.span(), DeValue::Table(table)));
            alone(&path, Spanned::new(rule.span(), DeValue::Array(rules)))
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let full = format!("{RULE}.{name}");
            if !NAMES.contains(&name) {
                let near = nearest(name, NAMES.into_iter().map(String::from));
                let hint = near.map_or_else(
                    || format!("known keys: {}", NAMES.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.report(key.span(), &format!("{full}: unknown key; {hint}"));
                continue;
            }
            let mut table = DeTable::new();
            let store = DeValue::String("bulk".into());
            table.insert(
                Spanned::new(0..0, "store".into()),
                Spanned::new(0..0, store),
            );
            table.insert(key.clone(), value.clone());
            match parse_alone(table).map(|config| config.check()) {
                Err(error) => self.wrong_kind(&full, value, &error),
                // Too many entries are a problem of all rules together.
                Ok(Err(error @ Error::Value { .. })) if error.key() == full => {
                    self.report(value.span(), &error.to_string());
                }
                Ok(_) => {}
            }
        }
    }

    /// Reports values out of range: each is removed after its report, until the rest is valid.
    fn ranges(&mut self) {
        while let Some(error) = self.out_of_range() {
            let key = error.key().to_owned();
            let at = self
                .good
                .iter()
                .position(|parsed| parsed.path.join(".") == key);
            match at.map(|at| self.good.remove(at)) {
                Some(parsed) => self.report(parsed.value.span(), &error.to_string()),
                None => {
                    // Not in the file: another key makes its default invalid.
                    let what = format!(
                        "{error}; the key is not in the file, and its default does not fit the other keys"
                    );
                    self.problems.push((None, Message::Text(what)));
                    return;
                }
            }
        }
    }

    fn out_of_range(&self) -> Option<Error> {
        let mut root = DeTable::new();
        for parsed in &self.good {
            insert(&mut root, &parsed.path, parsed.value.clone());
        }
        let mut config = Config::deserialize(Deserializer::from(Spanned::new(0..0, root))).ok()?;
        config.lower_defaults(|key| self.has(key));
        config.check().err()
    }

    /// Returns whether a key is in the file with a value that is valid so far.
    fn has(&self, key: &str) -> bool {
        self.good.iter().any(|parsed| parsed.path.join(".") == key)
    }
}

/// Deserializes a configuration with a single key.
fn alone<'t>(path: &[String], value: Spanned<DeValue<'t>>) -> Result<Config, toml::de::Error> {
    let mut root = DeTable::new();
    insert(&mut root, path, value);
    Config::deserialize(Deserializer::from(Spanned::new(0..0, root)))
}

fn insert<'t>(root: &mut DeTable<'t>, path: &[String], value: Spanned<DeValue<'t>>) {
    let Some((name, below)) = path.split_first() else {
        return;
    };
    let name = Spanned::new(0..0, name.clone().into());
    if below.is_empty() {
        root.insert(name, value);
        return;
    }
    if root.get(name.get_ref().as_ref()).is_none() {
        let empty = DeValue::Table(DeTable::new());
        root.insert(name.clone(), Spanned::new(0..0, empty));
    }
    if let Some(table) = root.get_mut(name.get_ref().as_ref())
        && let DeValue::Table(table) = table.get_mut()
    {
        insert(table, below, value);
    }
}
