//! Writer for the man(7) macros.

use std::fmt::Write as _;

const DATE: &str = "2026-11-28";

/// Text of a manual page.
pub struct Page(pub String);

impl Page {
    pub fn new(name: &str, section: u8, purpose: &str) -> Page {
        let mut page = Page(String::new());
        writeln!(
            page.0,
            ".TH {} {section} {DATE} \"netsonde {}\" \"netsonde manual\"",
            name.to_uppercase(),
            env!("CARGO_PKG_VERSION")
        )
        .unwrap();
        page.head("NAME");
        page.fill(&format!("{} \\- {}", escape(name), escape(purpose)));
        page
    }

    pub fn raw(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub fn head(&mut self, title: &str) {
        self.raw(&format!(".SH {title}"));
    }

    /// Begins a paragraph; after a heading one has begun already.
    pub fn paragraph(&mut self) {
        let last = self.0.lines().next_back().unwrap_or_default();
        if !last.starts_with(".SH") && !last.starts_with(".SS") {
            self.raw(".PP");
        }
    }

    /// Paragraphs, separated by an empty line.
    pub fn text(&mut self, text: &str) {
        for (at, paragraph) in text.trim().split("\n\n").enumerate() {
            if at > 0 {
                self.paragraph();
            }
            self.fill(&escape(paragraph));
        }
    }

    /// Escaped text in lines of at most 78 bytes, a new one for each sentence.
    pub fn fill(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            let is_sentence = line.ends_with(['.', '?', ':']) && !line.ends_with("...");
            if !line.is_empty() && (is_sentence || line.len() + 1 + word.len() > 78) {
                self.line(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        match line.starts_with(['.', '\'']) {
            true => self.raw(&format!("\\&{line}")),
            false => self.raw(line),
        }
    }

    /// Paragraphs after an item.
    pub fn text_after(&mut self, text: &str) {
        if !text.is_empty() {
            self.paragraph();
            self.text(text);
        }
    }

    pub fn item(&mut self, term: &str, text: &str) {
        self.raw(".TP");
        self.raw(&format!("\\fB{}\\fR", escape(term)));
        self.text(text);
    }

    /// Keys of a JSON object, in brackets those that may be absent, and their meaning.
    pub fn keys(&mut self, term: &str, keys: &[(String, bool)], text: &str) {
        self.raw(".TP");
        self.raw(&format!("\\fB{}\\fR", escape(term)));
        let keys: Vec<String> = keys
            .iter()
            .map(|(name, may_be_absent)| match may_be_absent {
                true => format!("[\\fI{}\\fR]", escape(name)),
                false => format!("\\fI{}\\fR", escape(name)),
            })
            .collect();
        if !keys.is_empty() {
            self.fill(&keys.join(", "));
        }
        if !text.is_empty() {
            if !keys.is_empty() {
                self.raw(".br");
            }
            self.fill(&code(&escape(text)));
        }
    }

    /// Lines for a shell or a file, as they are typed.
    pub fn example(&mut self, text: &str) {
        self.paragraph();
        self.raw(".RS 4\n.nf");
        for line in text.lines() {
            let line = escape(line)
                .replace('\'', "\\(aq")
                .replace('`', "\\(ga")
                .replace('^', "\\(ha")
                .replace('~', "\\(ti");
            self.line(&line);
        }
        self.raw(".fi\n.RE");
    }

    /// A list of other pages.
    pub fn see_also(&mut self, names: &[&str]) {
        self.head("SEE ALSO");
        let bold: Vec<String> = names
            .iter()
            .filter(|name| !name.is_empty())
            .flat_map(|names| names.split(", "))
            .map(|name| {
                let (name, section) = name.split_once('(').unwrap();
                format!("\\fB{}\\fR({section}", escape(name))
            })
            .collect();
        self.raw(&bold.join(",\n"));
    }

    /// Options and arguments of a command.
    pub fn options(&mut self, command: &clap::Command, global: bool) {
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            if argument.is_hide_set()
                || argument.is_global_set() != global
                || id == "help"
                || id == "version"
            {
                continue;
            }
            let takes_values = argument.get_action().takes_values();
            let value = argument
                .get_value_names()
                .filter(|_| takes_values)
                .map(|names| names.join(" "))
                .unwrap_or_default();
            let mut term: Vec<String> = Vec::new();
            term.extend(argument.get_short().map(|short| format!("-{short}")));
            term.extend(argument.get_long().map(|long| format!("--{long}")));
            let term = match term.is_empty() {
                true => value,
                false => format!("{} {value}", term.join(", ")),
            };
            let help = argument.get_help().map(ToString::to_string);
            let mut help = sentence(&help.unwrap_or_default());
            let possible = argument.get_possible_values();
            if !possible.is_empty() && takes_values {
                let names: Vec<&str> = possible.iter().map(|one| one.get_name()).collect();
                write!(help, " One of: {}.", names.join(", ")).unwrap();
            }
            let defaults: Vec<String> = argument
                .get_default_values()
                .iter()
                .map(|one| one.to_string_lossy().into_owned())
                .collect();
            if !defaults.is_empty() && takes_values {
                write!(help, " Default: {}.", defaults.join(", ")).unwrap();
            }
            self.item(term.trim(), &help);
            let explained: Vec<(String, String)> = possible
                .iter()
                .filter(|_| takes_values)
                .filter_map(|one| Some((one.get_name().to_owned(), one.get_help()?.to_string())))
                .filter(|(_, help)| help.contains(' '))
                .collect();
            if !explained.is_empty() {
                self.raw(".RS");
                for (name, help) in explained {
                    self.item(&name, &sentence(&help));
                }
                self.raw(".RE");
            }
        }
    }
}

/// Ends a text with a period.
pub fn sentence(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text if text.ends_with(['.', '?', '!']) => text.into(),
        text => format!("{text}."),
    }
}

pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

/// Names in backquotes become italic.
fn code(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // An unpaired one is an opening quotation mark.
    if parts.len().is_multiple_of(2) {
        return text.into();
    }
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => write!(out, "\\fI{part}\\fR").unwrap(),
        }
    }
    out
}

/// For troff: a backslash, and a hyphen that stays one.
pub fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
