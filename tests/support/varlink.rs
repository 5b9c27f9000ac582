//! Keys of the client's JSON output as the manual documents them: from the `.varlink` files, and from
//! the table of manual pages for keys that only the client makes.
#![allow(dead_code)]

use std::collections::BTreeMap;

use netsonde::client::cli::manual::{Json, Keys};
use netsonde_core::protocol::{CAPTURE, HISTORY, INVENTORY, MULTICAST, PING, SERVICE};

/// One kind of JSON object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Heading in the manual.
    pub label: String,
    /// Path such as `recorder[]`; empty for the document.
    pub path: String,
    /// Names, and whether a key may be absent.
    pub keys: Vec<(String, bool)>,
    /// Explanation; names of keys stand in backquotes.
    pub text: String,
}

/// Objects of a command's JSON output, in the order of the document.
pub fn objects(json: &Json) -> Vec<Object> {
    let mut all = Vec::new();
    match json {
        Json::None => {}
        Json::Own(keys) => add(&mut all, keys),
        Json::Reply { method, further } => {
            let (interface, name) = method.rsplit_once('.').unwrap();
            let interface = Interface::read(interface);
            let reply = &interface.methods[name];
            interface.add(&mut all, "the document", "", reply);
            add(&mut all, further);
        }
        Json::Lines { types, further } => {
            for (condition, interface, name) in *types {
                let interface = Interface::read(interface);
                interface.add(&mut all, condition, "", &interface.types[*name]);
            }
            add(&mut all, further);
        }
    }
    all
}

/// Adds keys of the client's own.
fn add(all: &mut Vec<Object>, keys: &[Keys]) {
    for one in keys {
        let names = one.keys.iter().map(|key| match key.strip_suffix('?') {
            Some(key) => (key.to_owned(), true),
            None => ((*key).to_owned(), false),
        });
        match all.iter_mut().find(|object| object.path == one.at) {
            // The same objects have the keys of the reply already.
            Some(object) if one.text.is_empty() => object.keys.extend(names),
            _ => all.push(Object {
                label: match one.at {
                    "" if all.is_empty() => "the document".into(),
                    "" => "every object".into(),
                    at => at.into(),
                },
                path: one.at.into(),
                keys: names.collect(),
                text: one.text.into(),
            }),
        }
    }
}

/// Fields of a type or of a reply, with the comment above it.
#[derive(Default)]
struct Fields {
    comment: String,
    fields: Vec<(String, String)>,
}

/// Types and replies of an interface.
struct Interface {
    types: BTreeMap<String, Fields>,
    methods: BTreeMap<String, Fields>,
}

impl Interface {
    fn read(name: &str) -> Interface {
        let text = [SERVICE, CAPTURE, PING, MULTICAST, INVENTORY, HISTORY]
            .into_iter()
            .find(|text| text.contains(&format!("interface {name}\n")))
            .unwrap_or_else(|| panic!("no interface {name}"));
        let mut interface = Interface {
            types: BTreeMap::new(),
            methods: BTreeMap::new(),
        };
        let mut comment = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(words) = line.strip_prefix('#') {
                comment.push_str(words);
                continue;
            }
            let is_type = line.starts_with("type ");
            if is_type || line.starts_with("method ") {
                let mut whole = line.to_owned();
                while whole.matches('(').count() > whole.matches(')').count()
                    || (!is_type && !whole.contains("->"))
                {
                    whole.push_str(lines.next().unwrap());
                }
                let (head, rest) = whole.split_once('(').unwrap();
                let name = head.split_whitespace().nth(1).unwrap().to_owned();
                let body = match whole.split_once("->") {
                    Some((_, reply)) => reply.trim().trim_start_matches('('),
                    None => rest,
                };
                let fields = body.trim_end_matches(')').split(',').filter_map(|field| {
                    let (name, of) = field.split_once(':')?;
                    Some((name.trim().to_owned(), of.trim().to_owned()))
                });
                let fields = Fields {
                    comment: comment.trim().to_owned(),
                    fields: fields.collect(),
                };
                if is_type {
                    interface.types.insert(name, fields);
                } else {
                    interface.methods.insert(name, fields);
                }
            }
            comment.clear();
        }
        interface
    }

    /// Adds an object and those inside it.
    fn add(&self, all: &mut Vec<Object>, label: &str, path: &str, of: &Fields) {
        if !path.is_empty() && all.iter().any(|object| object.path == path) {
            return;
        }
        all.push(Object {
            label: label.into(),
            path: path.into(),
            keys: of
                .fields
                .iter()
                .map(|(name, of)| (name.clone(), of.starts_with('?')))
                .collect(),
            text: of.comment.clone(),
        });
        for (name, of) in &of.fields {
            let of = of.trim_start_matches('?');
            let below = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            if of.starts_with("[string]") {
                let path = format!("{below}{{}}");
                if !all.iter().any(|object| object.path == path) {
                    all.push(Object {
                        label: path.clone(),
                        path,
                        keys: vec![],
                        text: "Number by name.".into(),
                    });
                }
                continue;
            }
            let (path, of) = match of.strip_prefix("[]") {
                Some(of) => (format!("{below}[]"), of),
                None => (below, of),
            };
            if let Some(fields) = self.types.get(of) {
                self.add(all, &path, &path, fields);
            }
        }
    }
}
