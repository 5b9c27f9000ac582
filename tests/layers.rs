//! The direction of the arrows between modules, read from the `use` lines and paths of the source.
//!
//! ```text
//!   client ----+
//!   historian -+-> varlink, log -> linux ----> netsonde_core
//!   daemon ----+                                   ^
//!     keeper, engine -> channel                    |
//!   lab -------------------------> linux ----------+
//! ```
//! The core and the history are crates of their own, so the compiler keeps them from the others.
//! Within a crate, files form no circle except between a module and its own descendants.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{code, sources};

/// A module as the names on the way to it: `["client", "render", "style"]`.
type Module = Vec<String>;

/// The modules of a crate, each with the modules that it uses.
struct Graph {
    uses: BTreeMap<Module, BTreeSet<Module>>,
}

/// Splits a list at the commas outside of braces.
fn entries(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&list[start..]);
    found
}

/// Expands a tree of `use` into paths.
fn expand(prefix: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    for entry in entries(tree)
        .into_iter()
        .filter(|entry| !entry.trim().is_empty())
    {
        let (path, rest) = match entry.split_once('{') {
            Some((path, rest)) => (path, rest.rsplit_once('}').map(|(inner, _)| inner)),
            None => (entry.split(" as ").next().unwrap(), None),
        };
        let names = path
            .split("::")
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let full: Vec<String> = prefix
            .iter()
            .cloned()
            .chain(names.map(str::to_owned))
            .collect();
        match rest {
            Some(inner) => expand(&full, inner, paths),
            None => paths.push(full),
        }
    }
}

/// All paths in `use` items, and those elsewhere that begin with `crate` or `super`.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(at) = rest.find(is_name) {
        let preceded = rest[..at].chars().next_back();
        let word_end = rest[at..]
            .find(|c| !is_name(c))
            .map_or(rest.len(), |end| at + end);
        let word = &rest[at..word_end];
        let after = &rest[word_end..];
        let starts = preceded.is_none_or(|c| c != ':');
        if word == "use" && starts && after.starts_with(char::is_whitespace) {
            let end = after.find(';').unwrap_or(after.len());
            expand(&[], &after[..end], &mut found);
            rest = &after[end..];
        } else if matches!(word, "crate" | "super") && starts && after.starts_with("::") {
            let end = after
                .find(|c: char| !is_name(c) && c != ':')
                .unwrap_or(after.len());
            expand(&[word.to_owned()], &after[..end], &mut found);
            rest = &after[end..];
        } else {
            rest = after;
        }
    }
    found
}

impl Graph {
    /// Reads the crate whose root file lies in `folder`, without the folders in `except`.
    fn read(folder: &str, except: &[&str]) -> Graph {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut texts: BTreeMap<Module, String> = BTreeMap::new();
        for (path, text) in sources(folder) {
            let path = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module = path
                .iter()
                .map(|name| name.to_str().unwrap().to_owned())
                .collect();
            if except.contains(&module[0].as_str()) {
                continue;
            }
            if matches!(module.last().unwrap().as_str(), "mod" | "lib") {
                module.pop();
            }
            texts.insert(module, code(&text));
        }
        let known: BTreeSet<Module> = texts.keys().cloned().collect();
        let uses = texts
            .iter()
            .map(|(module, text)| {
                let used = paths(text)
                    .iter()
                    .filter_map(|path| resolve(module, path, &known))
                    .filter(|used| used != module)
                    .collect();
                (module.clone(), used)
            })
            .collect();
        Graph { uses }
    }

    /// A circle that is not between a module and its own descendants.
    fn circle(&self) -> Option<Vec<Module>> {
        fn visit<'g>(
            graph: &'g Graph,
            module: &'g Module,
            way: &mut Vec<&'g Module>,
            done: &mut BTreeSet<&'g Module>,
        ) -> Option<Vec<Module>> {
            if let Some(at) = way.iter().position(|known| *known == module) {
                return Some(way[at..].iter().map(|module| (*module).clone()).collect());
            }
            if !done.insert(module) {
                return None;
            }
            way.push(module);
            let used = graph.uses.get(module).into_iter().flatten();
            let found = used
                .filter(|used| !used.starts_with(module) && !module.starts_with(used))
                .find_map(|used| visit(graph, used, way, done));
            way.pop();
            found
        }
        let mut done = BTreeSet::new();
        self.uses
            .keys()
            .find_map(|module| visit(self, module, &mut vec![], &mut done))
    }
}

/// The module of this crate that a path in `module` leads to; `None` for other crates and names.
fn resolve(module: &Module, path: &[String], known: &BTreeSet<Module>) -> Option<Module> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let mut full: Module = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [&module[..], &path[1..]].concat(),
        "super" => [&module[..module.len() - supers], &path[supers..]].concat(),
        first => {
            let child = [&module[..], &[first.to_owned()]].concat();
            known
                .contains(&child)
                .then(|| [&module[..], path].concat())?
        }
    };
    while !known.contains(&full) {
        full.pop()?;
    }
    Some(full)
}

fn show(module: &Module) -> String {
    module.join("::")
}

#[test]
fn layers_use_only_what_is_below_them() {
    let graph = Graph::read("src", &["core", "history", "bin"]);
    // Where a module stands, and what of this crate it may use.
    let rules: &[(&[&str], &[&[&str]])] = &[
        (&["linux"], &[&["linux"]]),
        (&["lab"], &[&["lab"], &["linux"]]),
        (&["log"], &[&["log"], &["linux"]]),
        (
            &["varlink", "server"],
            &[&["varlink", "server"], &["linux"]],
        ),
        (&["varlink", "client"], &[&["linux"]]),
        (&["varlink", "trace"], &[&["varlink", "client"], &["linux"]]),
        (&["varlink"], &[&["varlink"]]),
        (
            &["client"],
            &[
                &["client"],
                &["lab"],
                &["varlink", "client"],
                &["varlink", "trace"],
                &["linux"],
            ],
        ),
        (
            &["historian"],
            &[&["historian"], &["varlink"], &["log"], &["linux"]],
        ),
        (
            &["daemon", "keeper"],
            &[
                &["daemon", "keeper"],
                &["daemon", "channel"],
                &["varlink", "server", "listen"],
                &["log"],
                &["linux"],
            ],
        ),
        (
            &["daemon", "engine"],
            &[
                &["daemon", "engine"],
                &["daemon", "channel"],
                &["varlink", "server"],
                &["log"],
                &["linux"],
            ],
        ),
        (
            &["daemon", "channel"],
            &[&["daemon", "channel"], &["linux"]],
        ),
    ];
    let is_in = |module: &Module, place: &[&str]| {
        module.len() >= place.len()
            && module
                .iter()
                .zip(place)
                .all(|(name, wanted)| name == wanted)
    };
    let mut checked = 0;
    for (module, used) in &graph.uses {
        let Some((_, allowed)) = rules.iter().find(|(place, _)| is_in(module, place)) else {
            assert!(module.len() <= 1, "no rule for {}", show(module));
            continue;
        };
        checked += 1;
        for used in used {
            let is_allowed = allowed.iter().any(|place| is_in(used, place));
            assert!(is_allowed, "{} uses {}", show(module), show(used));
        }
    }
    assert!(checked > 50, "only {checked} modules were found");
}

#[test]
fn files_form_no_circle() {
    let folders = [
        ("src/core", &[][..], 100),
        ("src/history", &["examples"], 30),
        ("src", &["core", "history", "bin"], 100),
    ];
    for (folder, except, least) in folders {
        let graph = Graph::read(folder, except);
        let arrows: usize = graph.uses.values().map(BTreeSet::len).sum();
        assert!(
            arrows > least,
            "only {arrows} arrows were found in {folder}"
        );
        if let Some(circle) = graph.circle() {
            let names: Vec<String> = circle.iter().map(show).collect();
            panic!(
                "a circle in {folder}: {} -> {}",
                names.join(" -> "),
                names[0]
            );
        }
    }
}

#[test]
fn paths_are_found_in_all_their_forms() {
    let text = "use crate::a::{b::C, d::{self, E as F}};\npub(crate) use super::g;\nfn h() { crate::i::j(); super::super::k(); }\nuse std::fmt;";
    let found: Vec<String> = paths(text).iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        [
            "crate::a::b::C",
            "crate::a::d::self",
            "crate::a::d::E",
            "super::g",
            "crate::i::j",
            "super::super::k",
            "std::fmt"
        ]
    );
}
