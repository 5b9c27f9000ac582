//! PURE. Suggestions for messages about a configuration: similar names, expected values.

use super::KEYS;
use super::errors::quote;
use crate::text::nearest;

/// Path of the custom rules, which are not in [`KEYS`].
pub(super) const RULE: &str = "recorder.rule";

/// Names of all keys, with their tables.
pub(super) fn full_names() -> impl Iterator<Item = String> {
    KEYS.iter().map(|key| format!("{}.{}", key.table, key.name))
}

/// Returns whether `path` is a table of the configuration.
pub(super) fn is_table(path: &str) -> bool {
    let below = format!("{path}.");
    KEYS.iter()
        .any(|key| key.table == path || key.table.starts_with(&below))
}

/// Lists the keys and tables in a table, separated by commas.
pub(super) fn keys_of(table: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let start = if table.is_empty() {
        String::new()
    } else {
        format!("{table}.")
    };
    let all: Vec<String> = full_names().chain([RULE.to_owned()]).collect();
    for full in &all {
        if let Some(rest) = full.strip_prefix(&start) {
            let name = rest.split('.').next().unwrap_or(rest);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.join(", ")
}

/// Message for an unknown key or table, with a suggestion.
pub(super) fn unknown_key(path: &[String]) -> String {
    let full = path.join(".");
    let quoted = quote(&full);
    let name = path.last().map_or("", String::as_str);
    let table = path[..path.len().saturating_sub(1)].join(".");
    // The right name in another table, the most similar first.
    let mut elsewhere: Vec<String> = KEYS
        .iter()
        .filter(|key| key.name == name)
        .map(|key| format!("{}.{}", key.table, key.name))
        .collect();
    elsewhere.sort_by_key(|known| strsim::damerau_levenshtein(known, &full));
    let tables = KEYS.iter().flat_map(|key| {
        let parent = key.table.split('.').next().unwrap_or(key.table);
        [parent.to_owned(), key.table.to_owned()]
    });
    let all = full_names().chain(tables).chain([RULE.to_owned()]);
    // A typing error is more likely in the name than in its table.
    let siblings = full_names()
        .filter(|known| known.rsplit_once('.').is_some_and(|(of, _)| of == table))
        .filter_map(|known| Some(known.rsplit_once('.')?.1.to_owned()));
    let near = nearest(name, siblings).map(|near| format!("{table}.{near}"));
    if let Some(near) = near {
        return format!("{quoted}: unknown key; did you mean `{near}`?");
    }
    if !elsewhere.is_empty() {
        let named: Vec<String> = elsewhere
            .iter()
            .take(3)
            .map(|known| format!("`{known}`"))
            .collect();
        return format!(
            "{quoted}: unknown key; did you mean {}?",
            named.join(" or ")
        );
    }
    match nearest(&full, all) {
        Some(near) => format!("{quoted}: unknown key; did you mean `{near}`?"),
        None if table.is_empty() => {
            format!("{quoted}: unknown table; known tables: {}", keys_of(""))
        }
        None => format!("{quoted}: unknown key; [{table}] has {}", keys_of(&table)),
    }
}

/// Describes what a value must be, from the message of the deserializer, which is meant for programmers.
pub(super) fn must_be(default: &str, message: &str) -> String {
    let like = if default == "[]" {
        String::new()
    } else {
        format!(", like {default}")
    };
    let number = |max: u64| format!("must be a whole number from 0 to {max}{like}");
    if let Some((_, expected)) = message.rsplit_once(", expected ") {
        if message.starts_with("unknown variant") {
            return format!("must be {expected}");
        }
        return match expected {
            "u8" => number(u8::MAX.into()),
            "u16" => number(u16::MAX.into()),
            "u32" => number(u32::MAX.into()),
            "u64" => format!("must be a whole number{like}"),
            "a string" => format!("must be a string in quotes{like}"),
            "a boolean" => "must be true or false".into(),
            "a sequence" => format!("must be a list in brackets{like}"),
            other => format!("must be {other}{like}"),
        };
    }
    if message.starts_with("data did not match any variant") {
        return format!(
            "must be a size: a number of bytes, or \"64 MiB\", \"512 KiB\", \"1 GiB\"{like}"
        );
    }
    message.to_owned()
}
