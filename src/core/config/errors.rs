//! PURE. What is wrong with a configuration file: all of it at once, each with its place. A key is read by
//! itself, by the same types that read the whole, so that the first that is wrong hides no other.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::{Config, Error, KEYS};

/// Most bytes of a configuration file. Every key written out, with as many rules as there may be, takes less
/// than 20 KB: what is larger is another file that was named by mistake.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most problems that are told of: a file that is something else has one in every line.
const TOLD: usize = 20;
/// Most characters of a name that may be a slip of the hand: far more than any key has.
const LONGEST: usize = 64;
/// Most characters of a value that a message repeats.
const QUOTED: usize = 40;

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, from 1, the column in characters; `None`: in the whole file.
    pub place: Option<(usize, usize)>,
    /// What, and what it must be.
    pub what: String,
}

/// All that is wrong with a configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    told: Vec<Problem>,
    /// How many there are beside these.
    more: usize,
}

impl Problems {
    /// One for the file as a whole.
    pub fn for_file(what: impl Into<String>) -> Problems {
        let what = what.into();
        Problems::one(None, what)
    }

    fn one(place: Option<(usize, usize)>, what: String) -> Problems {
        Problems {
            told: vec![Problem { place, what }],
            more: 0,
        }
    }

    /// A line for each, with the file's name before it.
    pub fn lines(&self, file: &str) -> Vec<String> {
        let told = self.told.iter().map(|problem| match problem.place {
            Some((line, column)) => format!("{file}:{line}:{column}: {}", problem.what),
            None => format!("{file}: {}", problem.what),
        });
        let more = (self.more > 0).then(|| format!("{file}: and {} more like these", self.more));
        told.chain(more).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.lines("configuration").join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Reads the bytes of a file.
pub(super) fn read(bytes: &[u8]) -> Result<Config, Problems> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Problems::for_file(format!(
            "more than {MAX_FILE_BYTES} bytes, which no configuration needs: is it the right file?"
        )));
    }
    for (mark, name) in [
        (&b"\xef\xbb\xbf"[..], "UTF-8"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ] {
        if bytes.starts_with(mark) {
            let what =
                format!("begins with the byte-order mark of {name}: save it as UTF-8 without one");
            return Err(Problems::one(Some((1, 1)), what));
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(error) => {
            let (before, rest) = bytes.split_at(error.valid_up_to());
            // Valid up to there.
            let before = String::from_utf8_lossy(before);
            let byte = rest.first().copied().unwrap_or_default();
            let what = format!("the byte 0x{byte:02x} is not UTF-8: save the file as UTF-8");
            Err(Problems::one(Some(place(&before, before.len())), what))
        }
    }
}

/// Line and column of a byte.
fn place(text: &str, at: usize) -> (usize, usize) {
    let at = (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let before = &text[..at];
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[begin..].chars().count() + 1)
}

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Config, Problems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        found: Vec::new(),
        good: Vec::new(),
    };
    for error in &errors {
        reader.tell(error.span().unwrap_or_default(), error.message());
    }
    // What stands behind an error of syntax may be read as something that nobody wrote.
    if errors.is_empty() {
        reader.table(&mut Vec::new(), document.get_ref());
        reader.ranges();
    }
    if reader.found.is_empty() {
        // The last word has the type of the whole, which knows of everything.
        match toml::from_str::<Config>(text) {
            Ok(mut config) => {
                config.give_way(|key| reader.has(key));
                match config.check() {
                    Ok(()) => return Ok(config),
                    Err(error) => reader.tell(0..0, &error.to_string()),
                }
            }
            Err(error) => reader.tell(error.span().unwrap_or_default(), error.message()),
        }
    }
    reader.found.sort_by_key(|(at, _)| *at);
    let more = reader.found.len().saturating_sub(TOLD);
    // Finding a place, and what was meant, takes a look at much: so it is done for few.
    let told = reader.found.into_iter().take(TOLD);
    let told = told.map(|(at, what)| Problem {
        place: at.map(|at| place(text, at)),
        what: match what {
            What::Said(what) => what,
            What::Unknown(path) => unknown(&path),
        },
    });
    Err(Problems {
        told: told.collect(),
        more,
    })
}

/// A key with its value, whose type is right.
struct Read<'t> {
    path: Vec<String>,
    value: Spanned<DeValue<'t>>,
}

enum What {
    Said(String),
    /// A key that does not exist.
    Unknown(Vec<String>),
}

struct Reader<'t> {
    text: &'t str,
    /// With the byte where it is; without one: in the whole.
    found: Vec<(Option<usize>, What)>,
    good: Vec<Read<'t>>,
}

const RULE: &str = "recorder.rule";

impl<'t> Reader<'t> {
    fn tell(&mut self, at: Range<usize>, what: &str) {
        self.found
            .push((Some(at.start), What::Said(what.to_owned())));
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
                let what = What::Unknown(path.clone());
                self.found.push((Some(key.span().start), what));
            } else if let DeValue::Table(below) = value.get_ref() {
                self.table(path, below);
            } else {
                let given = quote(&self.text[value.span()]);
                let what = format!(
                    "{full} = {given}: is a table, with the keys {}",
                    keys_of(&full)
                );
                self.tell(key.span(), &what);
            }
            path.pop();
        }
    }

    /// Reads a key alone, everything else being the default.
    fn leaf(&mut self, path: &[String], value: &Spanned<DeValue<'t>>) {
        match alone(path, value.clone()) {
            Ok(_) => self.good.push(Read {
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
        // The default is an example of the whole value, not of an entry of it.
        let default = (KEYS.iter())
            .find(|known| at == value.span() && format!("{}.{}", known.table, known.name) == key)
            .map_or("[]", |known| known.default);
        let what = format!("{key} = {given}: {}", must_be(default, error.message()));
        self.tell(at, &what);
    }

    /// `[[recorder.rule]]`: each rule by itself, key by key.
    fn rules(&mut self, value: &Spanned<DeValue<'t>>) {
        let DeValue::Array(rules) = value.get_ref() else {
            let what =
                "recorder.rule: is a list of tables: write [[recorder.rule]] before each rule";
            return self.tell(value.span(), what);
        };
        let mut good = DeArray::new();
        for rule in rules.iter() {
            let before = self.found.len();
            self.rule(rule);
            if self.found.len() == before {
                good.push(rule.clone());
            }
        }
        self.good.push(Read {
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
                "{RULE} = {given}: is a table, with the keys {}",
                NAMES.join(", ")
            );
            return self.tell(rule.span(), &what);
        };
        if table.get("store").is_none() {
            self.tell(
                rule.span(),
                "recorder.rule: has no store: write which one, as in store = \"names\"",
            );
        }
        let one = |table: DeTable<'t>| {
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
                    || format!("it has {}", NAMES.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                self.tell(key.span(), &format!("{full}: there is no such key; {hint}"));
                continue;
            }
            let mut table = DeTable::new();
            let store = DeValue::String("bulk".into());
            table.insert(
                Spanned::new(0..0, "store".into()),
                Spanned::new(0..0, store),
            );
            table.insert(key.clone(), value.clone());
            match one(table).map(|config| config.check()) {
                Err(error) => self.wrong_kind(&full, value, &error),
                // Too many entries are told of all rules together.
                Ok(Err(error @ Error::Value { .. })) if error.key() == full => {
                    self.tell(value.span(), &error.to_string());
                }
                Ok(_) => {}
            }
        }
    }

    /// Values out of their range: what is wrong is told and taken away, until nothing is.
    fn ranges(&mut self) {
        while let Some(error) = self.out_of_range() {
            let key = error.key().to_owned();
            let at = self.good.iter().position(|read| read.path.join(".") == key);
            match at.map(|at| self.good.remove(at)) {
                Some(read) => self.tell(read.value.span(), &error.to_string()),
                None => {
                    // It is not in the file: another key makes its default wrong.
                    let what = format!(
                        "{error}; it is not in the file, and its default does not go with the rest"
                    );
                    self.found.push((None, What::Said(what)));
                    return;
                }
            }
        }
    }

    fn out_of_range(&self) -> Option<Error> {
        let mut root = DeTable::new();
        for read in &self.good {
            insert(&mut root, &read.path, read.value.clone());
        }
        let mut config = Config::deserialize(Deserializer::from(Spanned::new(0..0, root))).ok()?;
        config.give_way(|key| self.has(key));
        config.check().err()
    }

    /// Is a key in the file, and right so far?
    fn has(&self, key: &str) -> bool {
        self.good.iter().any(|read| read.path.join(".") == key)
    }
}

/// A configuration in which nothing else stands.
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

/// Every key with its table.
fn full_names() -> impl Iterator<Item = String> {
    KEYS.iter().map(|key| format!("{}.{}", key.table, key.name))
}

fn is_table(path: &str) -> bool {
    let below = format!("{path}.");
    (KEYS.iter()).any(|key| key.table == path || key.table.starts_with(&below))
}

/// What stands in a table, as a list.
fn keys_of(table: &str) -> String {
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

/// The word of a list that is as good as the given one but for a slip of the hand: a third of its letters,
/// and at least two.
fn nearest(given: &str, known: impl Iterator<Item = String>) -> Option<String> {
    // Measuring takes time for each letter.
    let letters = given.chars().count();
    if letters > LONGEST {
        return None;
    }
    let most = (letters / 3).max(2);
    let distance = |known: &String| strsim::damerau_levenshtein(given, known);
    known
        .map(|known| (distance(&known), known))
        .filter(|(distance, known)| *distance <= most && *distance < known.len())
        .min()
        .map(|(_, known)| known)
}

/// A key or table that does not exist, and what was meant.
fn unknown(path: &[String]) -> String {
    let full = path.join(".");
    let quoted = quote(&full);
    let name = path.last().map_or("", String::as_str);
    let table = path[..path.len().saturating_sub(1)].join(".");
    // The right name in the wrong place: the places, the nearest first.
    let mut elsewhere: Vec<String> = (KEYS.iter())
        .filter(|key| key.name == name)
        .map(|key| format!("{}.{}", key.table, key.name))
        .collect();
    elsewhere.sort_by_key(|known| strsim::damerau_levenshtein(known, &full));
    let tables = (KEYS.iter()).flat_map(|key| {
        let parent = key.table.split('.').next().unwrap_or(key.table);
        [parent.to_owned(), key.table.to_owned()]
    });
    let all = full_names().chain(tables).chain([RULE.to_owned()]);
    // A slip is in the name rather than in the table around it.
    let beside = full_names()
        .filter(|known| known.rsplit_once('.').is_some_and(|(of, _)| of == table))
        .filter_map(|known| Some(known.rsplit_once('.')?.1.to_owned()));
    let near = nearest(name, beside).map(|near| format!("{table}.{near}"));
    if let Some(near) = near {
        return format!("{quoted}: there is no such key; did you mean `{near}`?");
    }
    if !elsewhere.is_empty() {
        let named: Vec<String> = (elsewhere.iter().take(3))
            .map(|known| format!("`{known}`"))
            .collect();
        return format!(
            "{quoted}: there is no such key; did you mean {}?",
            named.join(" or ")
        );
    }
    match nearest(&full, all) {
        Some(near) => format!("{quoted}: there is no such key; did you mean `{near}`?"),
        None if table.is_empty() => {
            format!(
                "{quoted}: there is no such table; there are {}",
                keys_of("")
            )
        }
        None => format!(
            "{quoted}: there is no such key; [{table}] has {}",
            keys_of(&table)
        ),
    }
}

/// What a value must be, from what the type expected; the library's words are for programmers.
fn must_be(default: &str, message: &str) -> String {
    let like = if default == "[]" {
        String::new()
    } else {
        format!(", like {default}")
    };
    let number = |most: u64| format!("must be a whole number from 0 to {most}{like}");
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
            "must be a size: bytes as a number, or \"64 MiB\", \"512 KiB\", \"1 GiB\"{like}"
        );
    }
    message.to_owned()
}

/// A part of the file in one short line. What a terminal must not get is escaped by who prints it.
fn quote(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let problems = Config::parse(text).expect_err(text);
        problems.lines("f")
    }

    #[test]
    fn one_wrong_thing_is_told_with_its_place_and_what_it_must_be() {
        for (text, expected) in [
            // Keys that do not exist.
            (
                "[recorder.budget]\nblk = 1\n",
                "f:2:1: recorder.budget.blk: there is no such key; did you mean `recorder.budget.bulk`?",
            ),
            (
                "recorder.budget.blk = 1\n",
                "f:1:17: recorder.budget.blk: there is no such key; did you mean `recorder.budget.bulk`?",
            ),
            (
                "recorder = { budget = { blk = 1 } }",
                "f:1:25: recorder.budget.blk: there is no such key; did you mean `recorder.budget.bulk`?",
            ),
            (
                "[pnig]\nrate = 1\n",
                "f:1:2: pnig: there is no such key; did you mean `ping`?",
            ),
            (
                "[recorder]\nbulk = 1\n",
                "f:2:1: recorder.bulk: there is no such key; did you mean `recorder.snap.bulk` or `recorder.budget.bulk` or `rings.bulk`?",
            ),
            (
                "rate_per_uid = 7\n",
                "f:1:1: rate_per_uid: there is no such key; did you mean `ping.rate_per_uid`?",
            ),
            (
                "[control]\nnothing_like_it = 1\n",
                "f:2:1: control.nothing_like_it: there is no such key; [control] has group, clients, clients_per_uid",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\nudp_port = [1]\n",
                "f:3:1: recorder.rule.udp_port: there is no such key; did you mean `udp_ports`?",
            ),
            (
                "[[recorder.rules]]\nstore = \"bulk\"\n",
                "f:1:12: recorder.rules: there is no such key; did you mean `recorder.rule`?",
            ),
            // Wrong kinds.
            (
                "[ping]\nrate = \"fast\"\n",
                "f:2:8: ping.rate = \"fast\": must be a whole number, like 100000",
            ),
            (
                "[recorder.snap]\nlink = -1\n",
                "f:2:8: recorder.snap.link = -1: must be a whole number from 0 to 4294967295, like 2048",
            ),
            (
                "[ping]\nrate = 1.5\n",
                "f:2:8: ping.rate = 1.5: must be a whole number, like 100000",
            ),
            (
                "[listeners]\njoin = \"no\"\n",
                "f:2:8: listeners.join = \"no\": must be true or false",
            ),
            (
                "[control]\ngroup = 7\n",
                "f:2:9: control.group = 7: must be a string in quotes, like \"netsonde\"",
            ),
            (
                "[interfaces]\nrecord = \"eth0\"\n",
                "f:2:10: interfaces.record = \"eth0\": must be a list in brackets",
            ),
            (
                "[interfaces]\nrecord = [\"eth0\",\n  7]\n",
                "f:3:3: interfaces.record = 7: must be a string in quotes",
            ),
            (
                "[sandbox]\nviolation = \"shout\"\n",
                "f:2:13: sandbox.violation = \"shout\": must be `kill` or `refuse`",
            ),
            (
                "[rings]\nbulk = true\n",
                "f:2:8: rings.bulk = true: must be a size: bytes as a number, or \"64 MiB\", \"512 KiB\", \"1 GiB\", like \"32 MiB\"",
            ),
            (
                "ping = 5\n",
                "f:1:1: ping = 5: is a table, with the keys rate, rate_per_uid, interval_ms, targets, runs_per_uid, in_flight",
            ),
            (
                "[recorder]\nrule = 5\n",
                "f:2:8: recorder.rule: is a list of tables: write [[recorder.rule]] before each rule",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\nudp_ports = [1, 70000]\n",
                "f:3:17: recorder.rule.udp_ports = 70000: must be a whole number from 0 to 65535",
            ),
            // Out of range.
            (
                "[recorder.budget]\nbulk = \"1 KiB\"\n",
                "f:2:8: recorder.budget.bulk = 1024: must be from 256 KiB to 64 GiB",
            ),
            (
                "# \u{e4}\u{4e2d}\n[ping]\n  rate = 0 # \u{e4}\n",
                "f:3:10: ping.rate = 0: must be from 1 to 10000000",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\n[[recorder.rule]]\nstore = \"x\"\n",
                "f:4:9: recorder.rule.store = x: must be one of link, group, icmp, names, routing, connections, bulk",
            ),
            (
                "[[recorder.rule]]\nstore = \"bulk\"\nethertypes = [0x800, 5]\n",
                "f:3:14: recorder.rule.ethertypes = 5: must be 0x0600 or more",
            ),
            (
                "[ping]\nrate = 100\nrate_per_uid = 101\n",
                "f:3:16: ping.rate_per_uid = 101: must be from 1 to 100",
            ),
            (
                "[control]\nclients_per_uid = 257\n",
                "f:2:19: control.clients_per_uid = 257: must be from 1 to control.clients",
            ),
        ] {
            assert_eq!(wrong(text), [expected], "{text}");
        }
        let unit = wrong("[rings]\nbulk = \"1 furlong\"\n").join("\n");
        assert!(
            unit.starts_with("f:2:8: rings.bulk = \"1 furlong\"") && unit.contains("MiB"),
            "{unit}"
        );
        let store = wrong("[[recorder.rule]]\nudp_ports = [1]\n").join("\n");
        assert!(
            store.starts_with("f:1:") && store.contains("has no store"),
            "{store}"
        );
    }

    /// One key of two that belong together is enough: the default of the other gives way.
    #[test]
    fn defaults_give_way_to_what_is_given() {
        let read =
            |text: &str| Config::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        let slow = read("[ping]\nrate = 100\n").ping;
        assert_eq!((slow.rate, slow.rate_per_uid), (100, 100));
        let fast = read("[ping]\nrate = 1000000\n").ping;
        assert_eq!((fast.rate, fast.rate_per_uid), (1_000_000, 20_000));
        let given = read("[ping]\nrate = 100\nrate_per_uid = 7\n").ping;
        assert_eq!((given.rate, given.rate_per_uid), (100, 7));
        let few = read("[control]\nclients = 4\n").control;
        assert_eq!((few.clients, few.clients_per_uid), (4, 4));
        // What is wrong is what was written, and nothing beside it.
        assert_eq!(wrong("[ping]\nrate = 0\n[control]\nclients = 0\n").len(), 2);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
        let text = "[ping]\nrate = 0\ntarget = 5\nin_flight = \"x\"\n\n[rings]\nbulk = 7\n\n\
                    [recorder.budget]\nlink = 1\nbulk = 2\n\n[[recorder.rule]]\nstore = \"x\"\ntcp_ports = 5\n\n\
                    [nonsense]\n";
        let said = wrong(text);
        let places: Vec<&str> = said
            .iter()
            .map(|line| line.rsplit(": ").last().unwrap())
            .collect();
        let expected = [
            "f:2:8", "f:3:1", "f:4:13", "f:7:8", "f:10:8", "f:11:8", "f:14:9", "f:15:13", "f:17:2",
        ];
        assert_eq!(places, expected, "{said:#?}");
    }

    #[test]
    fn too_many_rules_are_told_of_where_they_stand() {
        let ports: Vec<String> = (1..=300).map(|port: u16| port.to_string()).collect();
        let text = format!(
            "[[recorder.rule]]\nstore = \"bulk\"\nudp_ports = [{}]\n",
            ports.join(",")
        );
        let said = wrong(&text).join("\n");
        assert!(
            said.starts_with("f:1:") && said.contains("recorder.rule = 300: at most 256"),
            "{said}"
        );
    }

    #[test]
    fn syntax_is_told_with_its_place() {
        for (text, start) in [
            ("[ping\nrate = 5\n", "f:1:6: "),
            ("[ping]\nrate = \n", "f:2:"),
            ("[ping]\nrate = 1\nrate = 2\n", "f:3:1: duplicate key"),
            ("x = \"\u{0}\"\n", "f:1:6: "),
        ] {
            let said = wrong(text);
            assert!(said[0].starts_with(start), "{text:?}: {said:#?}");
        }
        let many = wrong(&"nonsense\n".repeat(1000));
        assert_eq!(many.len(), TOLD + 1);
        assert!(many[TOLD].contains("more like these"), "{}", many[TOLD]);
    }

    #[test]
    fn bytes_that_are_no_text_are_told_of() {
        for (bytes, expected) in [
            (
                &b"\xef\xbb\xbf[ping]"[..],
                "f:1:1: begins with the byte-order mark of UTF-8",
            ),
            (
                b"\xff\xfe[\0p\0",
                "f:1:1: begins with the byte-order mark of UTF-16",
            ),
            (b"[ping]\nrate\xe9 = 5", "f:2:5: the byte 0xe9 is not UTF-8"),
            (b"# \xc3\xa4\xff", "f:1:4: the byte 0xff is not UTF-8"),
        ] {
            let said = Config::read(bytes).unwrap_err().lines("f");
            assert!(said.len() == 1 && said[0].starts_with(expected), "{said:?}");
        }
        let large = Config::read(&vec![b'#'; MAX_FILE_BYTES + 1])
            .unwrap_err()
            .lines("f");
        assert!(large[0].contains("more than 1048576 bytes"), "{large:?}");
        assert!(Config::read(&vec![b'#'; MAX_FILE_BYTES]).is_ok());
    }

    /// The largest files that are read: no answer takes the square of their size, which would be minutes.
    #[test]
    fn large_files_have_an_answer() {
        let times = |text: &str| text.repeat(MAX_FILE_BYTES / text.len());
        for text in [
            times("[[recorder.rule]]\nstore = \"x\"\n"),
            times("[[recorder.rule]]\nstore = \"bulk\"\nudp_ports = [1]\n"),
            times("nonsense\n"),
            times("["),
            times("a."),
            format!("{} = 1\n", times("a").split_at(MAX_FILE_BYTES - 10).0),
            (0..MAX_FILE_BYTES / 16)
                .map(|n| format!("rate{n} = 1\n"))
                .collect(),
            (0..MAX_FILE_BYTES / 24)
                .map(|n| format!("[ping.rate{n}]\n"))
                .collect(),
            format!(
                "interfaces.record = [{}]",
                times("7,").split_at(MAX_FILE_BYTES - 30).0
            ),
        ] {
            let said = Config::read(text.as_bytes()).unwrap_err().lines("f");
            assert!((1..=TOLD + 1).contains(&said.len()));
            assert!(said.iter().all(|line| line.len() < 1000), "{said:?}");
        }
    }

    proptest::proptest! {
        /// Whatever is in the file, there is an answer, and what is told is in the file.
        #[test]
        fn any_text_has_an_answer(text in "[a-z\\[\\]=.\"'{},0-9\n\u{e4} #-]{0,80}") {
            let mut text = text;
            for _ in 0..2 {
                if let Err(Problems { told, .. }) = Config::parse(&text) {
                    let lines = text.split('\n').count();
                    proptest::prop_assert!(!told.is_empty());
                    proptest::prop_assert!(told.iter().all(|one| one.place.is_none_or(|(line, _)| line <= lines)));
                }
                text = format!("[ping]\nrate = {text}");
            }
        }
    }
}
