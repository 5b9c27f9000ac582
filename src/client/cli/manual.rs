//! SHELL. What the manual pages of the commands add to the command line's own definition: description,
//! output, JSON keys, exit status and examples. `tests/generated` writes `man/*.1` from this table and
//! from clap; `tests/manual.rs` runs every example and compares columns and keys with real output.

mod history;
mod host;
mod multicast;
mod overview;
mod packets;
mod ping;
mod service;
mod trace;

pub use overview::{ENVIRONMENT, FILES, OVERVIEW};

/// Manual page of one command.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Words after `netsonde`, such as "mcast groups".
    pub command: &'static str,
    /// Paragraphs, separated by an empty line.
    pub description: &'static str,
    /// Further sections, in the order of the page.
    pub sections: &'static [Section],
    /// Paragraphs about the text output.
    pub output: &'static str,
    /// Columns of the tables in the text output, as they are printed.
    pub columns: &'static [(&'static str, &'static str)],
    /// Keys of the output of `--json`.
    pub json: Json,
    /// Meaning of each exit status that differs from the overview's.
    pub exit: &'static [(&'static str, &'static str)],
    /// Examples, the most useful ones first.
    pub examples: &'static [Example],
    /// Related pages, besides netsonde(1).
    pub see_also: &'static str,
}

impl Page {
    /// A page without any text: the base of every entry.
    pub const EMPTY: Page = Page {
        command: "",
        description: "",
        sections: &[],
        output: "",
        columns: &[],
        json: Json::None,
        exit: &[],
        examples: &[],
        see_also: "",
    };

    /// Name of the manual page, such as "netsonde-mcast-groups".
    pub fn name(&self) -> String {
        format!("netsonde-{}", self.command.replace(' ', "-"))
    }
}

/// Section of a page.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Heading in capitals.
    pub title: &'static str,
    /// Paragraphs, separated by an empty line.
    pub text: &'static str,
    /// Terms and their meaning, after the text.
    pub items: &'static [(&'static str, &'static str)],
    /// Paragraphs after the items.
    pub after: &'static str,
}

/// Output of a command under `--json`.
#[derive(Clone, Copy, Debug)]
pub enum Json {
    /// `--json` changes nothing.
    None,
    /// The reply of a Varlink method, whose keys are taken from its interface, and further keys.
    Reply {
        /// Full name, such as "io.netsonde.Service.Status".
        method: &'static str,
        /// Keys that the client adds.
        further: &'static [Keys],
    },
    /// One object per line, each of a type of a Varlink interface.
    Lines {
        /// Condition for the type, its interface and its name.
        types: &'static [(&'static str, &'static str, &'static str)],
        /// Keys that the client adds.
        further: &'static [Keys],
    },
    /// Keys that only the client makes.
    Own(&'static [Keys]),
}

/// Keys of one kind of JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Path of the object, such as "recorder[]"; empty for the document itself. A path that ends in
    /// `{}` has keys that depend on the data.
    pub at: &'static str,
    /// Names; a question mark behind a name marks a key that may be absent.
    pub keys: &'static [&'static str],
    /// Meaning.
    pub text: &'static str,
}

/// Keys of a finding, as both doctors print it.
const FINDING_KEYS: &[&str] = &[
    "id",
    "severity",
    "certainty",
    "interface?",
    "summary",
    "fix",
    "evidence",
];
/// Keys of an observation that a finding rests on.
const EVIDENCE_KEYS: &[&str] = &["source", "text"];

/// Command line that the manual shows.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Purpose, as a sentence.
    pub purpose: &'static str,
    /// Commands, one per line, for a shell.
    pub commands: &'static str,
    /// Whether a test runs it.
    pub run: Run,
}

/// How `tests/manual.rs` treats an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It ends by itself.
    Ends,
    /// It runs until it is interrupted, as a user does with Ctrl-C.
    UntilInterrupted,
    /// It is not run, for this reason.
    Not(&'static str),
}

/// An example that ends by itself.
const fn example(purpose: &'static str, commands: &'static str) -> Example {
    Example {
        purpose,
        commands,
        run: Run::Ends,
    }
}

/// Pages of all commands, in the order of `netsonde help`.
pub fn pages() -> impl Iterator<Item = &'static Page> {
    [
        service::PAGES,
        packets::PAGES,
        history::PAGES,
        ping::PAGES,
        trace::PAGES,
        multicast::PAGES,
        host::PAGES,
        service::TOOLS,
    ]
    .into_iter()
    .flatten()
}

/// Examples of a command that its `--help` shows.
const EXAMPLES_IN_HELP: usize = 3;

/// Adds the first examples of each page to the help text of its command.
pub fn with_examples(mut command: clap::Command) -> clap::Command {
    for page in pages() {
        let text = examples_in_help(page);
        let words: Vec<&str> = page.command.split(' ').collect();
        command = add(command, &words, &text);
    }
    command
}

/// Appends `text` to the help of the command that `words` lead to.
fn add(command: clap::Command, words: &[&str], text: &str) -> clap::Command {
    match words {
        [] if text.is_empty() => command,
        [] => command.after_help(text.to_owned()),
        [name, rest @ ..] => {
            let name = (*name).to_owned();
            command.mut_subcommand(name, |below| add(below, rest, text))
        }
    }
}

fn examples_in_help(page: &Page) -> String {
    let mut text = String::new();
    let shown = page.examples.iter().take(EXAMPLES_IN_HELP);
    for line in shown.flat_map(|example| example.commands.lines()) {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    if text.is_empty() {
        return text;
    }
    format!("Examples:\n{text}\nSee {}(1).", page.name())
}
