//! SHELL. Errors of the command line and of what it asks the service for, in the words of the command line.
//!
//! clap finds the errors; the words are this program's own, one line each, and name an option as it was
//! typed: `-c` if it was `-c`, `--count` if it was that.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind as Usage};
use clap::{Arg, Command};
use netsonde_core::protocol::service::Interfaces;
use netsonde_core::text::{listed, nearest, unknown};

use crate::client::failure::Failure;
use crate::varlink::client::{Error, ask};

/// Parameters of the protocol, and the option that each comes from: the end of the parameter's name, and the
/// identifier of the option.
const PARAMETERS: &[(&str, &str)] = &[
    ("options.count", "count"),
    ("options.interval_ns", "interval"),
    ("options.timeout_ns", "timeout"),
    ("options.deadline_ns", "deadline"),
    ("options.size", "size"),
    ("options.pattern", "pattern"),
    ("options.ttl", "ttl"),
    ("options.tos", "tos"),
    ("options.pmtu_discovery", "pmtu"),
    ("options.interface", "by"),
    ("options.source", "by"),
    ("options.rate", "rate"),
    ("options.flood", "flood"),
    ("options.broadcast", "broadcast"),
    ("targets", "targets"),
    ("target", "target"),
    ("selection.last_ns", "last"),
    ("selection.since_ns", "since"),
    ("selection.until_ns", "until"),
    ("selection.interfaces", "interfaces"),
    ("selection.direction", "direction"),
    ("selection.stores", "stores"),
    ("selection.programs", "filter"),
    ("selection.hosts", "hosts"),
    ("selection.ports", "ports"),
    ("selection.protocols", "protocols"),
    ("selection.groups", "groups"),
    ("selection.vlans", "vlans"),
    ("selection.limit", "count"),
    ("window_ns", "window"),
    ("by", "by"),
    ("limit", "number"),
    ("kinds", "kinds"),
    ("severity", "severity"),
    ("last_ns", "last"),
    ("since_ns", "since"),
    ("until_ns", "until"),
    ("interface", "interface"),
    ("step_ns", "step"),
    ("note", "note"),
];

/// What the service calls something that only root may do, and the option for it.
const PRIVILEGES: &[(&str, &str)] = &[
    ("shorter intervals", "interval"),
    ("more probes a second", "rate"),
    ("broadcast", "broadcast"),
];

/// A command line: its arguments, and the definition of the command that they name.
pub struct Typed {
    command: Command,
    /// The command with its parents, as `mcast groups`.
    path: String,
    arguments: Vec<String>,
}

impl Typed {
    /// Finds the command that the arguments name. The first one is the program.
    pub fn new(mut root: Command, arguments: &[OsString]) -> Typed {
        root.build();
        let arguments: Vec<String> = arguments
            .iter()
            .skip(1)
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let mut command = root;
        let mut path = Vec::new();
        let mut is_value = false;
        for argument in &arguments {
            let was_value = std::mem::replace(
                &mut is_value,
                matches!(&argument[..], "--socket" | "--history-socket" | "--color"),
            );
            if was_value || argument.starts_with('-') {
                continue;
            }
            match command.find_subcommand(argument).cloned() {
                Some(found) => command = found,
                None => break,
            }
            path.push(argument.clone());
        }
        Typed {
            command,
            path: path.join(" "),
            arguments,
        }
    }

    /// Returns an option as it was typed, by its identifier; an argument without letters by its value name.
    pub fn option(&self, id: &str) -> String {
        let found = self.command.get_arguments().find(|arg| arg.get_id() == id);
        found.map_or_else(|| id.replace('_', "-"), |arg| self.as_typed(arg))
    }

    fn as_typed(&self, arg: &Arg) -> String {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short();
        for typed in &self.arguments {
            let name = typed.split_once('=').map_or(&typed[..], |(name, _)| name);
            if long.as_deref() == Some(name) {
                return name.to_owned();
            }
            if let Some(letter) = short.filter(|letter| self.has_letter(typed, *letter)) {
                return format!("-{letter}");
            }
        }
        match (long, short) {
            (Some(long), _) => long,
            (None, Some(letter)) => format!("-{letter}"),
            (None, None) => value_name(arg),
        }
    }

    /// Returns whether an argument has the letter of an option: `-c`, `-c5`, `-fc`.
    fn has_letter(&self, typed: &str, wanted: char) -> bool {
        let Some(letters) = typed.strip_prefix('-') else {
            return false;
        };
        for letter in letters.chars() {
            if letter == wanted {
                return true;
            }
            let arg = self
                .command
                .get_arguments()
                .find(|arg| arg.get_short() == Some(letter));
            // The rest is its value.
            if arg.is_none_or(|arg| arg.get_action().takes_values()) {
                return false;
            }
        }
        false
    }

    /// Finds an option by the name that clap gives it in errors: `--count <COUNT>`, `<TARGET>...`.
    fn named(&self, shown: &str) -> String {
        // Of an option whose value may be missing: --udp[=<PORT>].
        let name = shown.split([' ', '=', '[']).next().unwrap_or(shown);
        let found = self.command.get_arguments().find(|arg| {
            let long = arg.get_long().map(|long| format!("--{long}"));
            let short = arg.get_short().map(|short| format!("-{short}"));
            long.as_deref() == Some(name) || short.as_deref() == Some(name)
        });
        match found {
            Some(arg) => self.as_typed(arg),
            None => shown
                .trim_end_matches("...")
                .trim_matches(['<', '>', '[', ']'])
                .to_owned(),
        }
    }

    fn help(&self) -> String {
        match self.path.is_empty() {
            true => "`netsonde --help`".into(),
            false => format!("`netsonde {} --help`", self.path),
        }
    }

    /// Words an error of the command line.
    pub fn usage(&self, error: &clap::Error) -> String {
        let text = |kind: ContextKind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            Some(ContextValue::Strings(texts)) => texts.join(", "),
            _ => String::new(),
        };
        let (shown, value) = (
            text(ContextKind::InvalidArg),
            text(ContextKind::InvalidValue),
        );
        match error.kind() {
            Usage::ValueValidation => {
                let why = error.source().map_or(String::new(), ToString::to_string);
                // The message of an argument without letters says what it is about.
                match shown.starts_with('-') {
                    true => format!("{}: {why}", self.named(&shown)),
                    false => why,
                }
            }
            Usage::InvalidValue if value.is_empty() => {
                format!("{}: a value is missing", self.named(&shown))
            }
            Usage::InvalidValue => {
                let known = text(ContextKind::ValidValue);
                let names: Vec<&str> = known.split(", ").collect();
                let why = unknown("value", &value, names);
                format!("{}: {why}", self.named(&shown))
            }
            Usage::UnknownArgument => self.unknown_argument(&shown),
            Usage::InvalidSubcommand => unknown(
                "command",
                &text(ContextKind::InvalidSubcommand),
                self.commands(),
            ),
            Usage::MissingSubcommand => {
                format!("a command is missing: one of {}", listed(self.commands()))
            }
            Usage::ArgumentConflict => {
                let other = text(ContextKind::PriorArg);
                match other.is_empty() || other == shown {
                    true => format!("{} is given twice", self.named(&shown)),
                    false => format!(
                        "{} cannot be used with {}",
                        self.named(&shown),
                        self.named(&other)
                    ),
                }
            }
            Usage::MissingRequiredArgument => {
                let first = shown.split(", ").next().unwrap_or(&shown);
                let name = self.named(first);
                format!("{name} is missing; see {}", self.help())
            }
            Usage::InvalidUtf8 => "an argument is not valid UTF-8".into(),
            Usage::TooManyValues => {
                format!("{} does not take the value {value:?}", self.named(&shown))
            }
            _ => format!("the arguments are not understood; see {}", self.help()),
        }
    }

    fn commands(&self) -> Vec<&str> {
        let commands = self.command.get_subcommands().map(Command::get_name);
        commands.filter(|name| *name != "help").collect()
    }

    /// Words a value such as -5m, of which clap sees the option -5.
    fn negative_value(&self, shown: &str) -> Option<String> {
        let is_number =
            shown.starts_with('-') && shown[1..].starts_with(|c: char| c.is_ascii_digit());
        let at = self
            .arguments
            .iter()
            .position(|typed| typed.starts_with(shown))?;
        let option = self.arguments.get(at.checked_sub(1)?)?;
        let value = &self.arguments[at];
        (is_number && option.starts_with('-'))
            .then(|| format!("{option}: must not be negative, not {value}"))
    }

    fn unknown_argument(&self, shown: &str) -> String {
        if !shown.starts_with('-') || shown == "-" {
            return format!("unexpected argument {shown:?}; see {}", self.help());
        }
        if let Some(words) = self.negative_value(shown) {
            return words;
        }
        let arguments = || self.command.get_arguments();
        let near = match shown.strip_prefix("--") {
            Some(name) => nearest(
                name.split('=').next().unwrap_or(name),
                arguments().filter_map(|arg| arg.get_long().map(str::to_owned)),
            )
            .map(|near| format!("--{near}")),
            // A letter has no typing errors, but its other case may be an option.
            None => shown.chars().nth(1).and_then(|letter| {
                let other = |c: char| c != letter && c.eq_ignore_ascii_case(&letter);
                arguments().find_map(|arg| {
                    let short = arg.get_short().filter(|short| other(*short))?;
                    let help = arg.get_help()?.to_string();
                    let help = help.split('.').next().unwrap_or_default().to_owned();
                    Some(format!("-{short} ({help})"))
                })
            }),
        };
        match near {
            Some(near) => format!("unknown option {shown}; did you mean {near}?"),
            None => format!("unknown option {shown}; see {}", self.help()),
        }
    }

    /// Words a failure. What the service refuses is said with the option that it came from, and a name that
    /// it does not know with those that it knows.
    pub fn failure(&self, failure: &Failure, socket: &Path) -> String {
        let (name, parameters) = match failure {
            Failure::Connection(Error::Remote {
                name, parameters, ..
            }) => (name, parameters),
            // Only writes fail so, and a command that writes to a file names it.
            Failure::System(error) if error.kind() == ErrorKind::StorageFull => {
                return format!("cannot write the output: {failure}");
            }
            _ => return failure.to_string(),
        };
        let field = |key: &str| parameters[key].as_str().unwrap_or_default();
        let by_option = |table: &[(&str, &str)], name: &str| {
            let found = table.iter().find(|(parameter, _)| *parameter == name);
            found.map(|(_, id)| self.option(id))
        };
        match name.rsplit('.').next() {
            Some("InvalidParameter") => {
                let text = field("parameter");
                let (parameter, why) = text.split_once(": ").unwrap_or((text, ""));
                if parameter == "options.interface" && why.starts_with("no such interface") {
                    let given = why.rsplit(": ").next().unwrap_or_default();
                    return no_such_interface(socket, given);
                }
                match by_option(PARAMETERS, parameter) {
                    Some(option) => format!("{option}: {why}"),
                    None => failure.to_string(),
                }
            }
            Some("BadTarget") => match field("reason").strip_prefix("no such interface: ") {
                Some(given) => {
                    let why = no_such_interface(socket, given);
                    format!("{}: {why}", field("target"))
                }
                None => failure.to_string(),
            },
            Some("NoSuchInterface") => no_such_interface(socket, field("interface")),
            Some("NotPermitted") => match by_option(PRIVILEGES, field("what")) {
                Some(option) => format!("{option}: {failure}"),
                None => failure.to_string(),
            },
            _ => failure.to_string(),
        }
    }
}

/// Words the name of an interface that the service does not know.
fn no_such_interface(socket: &Path, name: &str) -> String {
    let known: Option<Interfaces> = ask(socket, "io.netsonde.Service.Interfaces").ok();
    let known = known.map_or(vec![], |known| known.interfaces);
    unknown(
        "interface",
        name,
        known
            .iter()
            .map(|one| &one.interface[..])
            .collect::<Vec<_>>(),
    )
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names
        .first()
        .map_or_else(|| arg.get_id().to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cli::args::command;

    fn words(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = command().try_get_matches_from(&arguments).unwrap_err();
        Typed::new(command(), &arguments).usage(&error)
    }

    #[test]
    fn errors_name_options_as_typed() {
        for (line, expected) in [
            ("netsonde ping -W 0 x", "-W: must be more than 0"),
            (
                "netsonde ping --timeout=0 x",
                "--timeout: must be more than 0",
            ),
            ("netsonde ping -fc0 x", "-c: must be at least 1, not 0"),
            ("netsonde ping -c -1 x", "-c: must be at least 1, not -1"),
            (
                "netsonde ping -c x y",
                "-c: must be a whole number, at least 1, not \"x\"",
            ),
            ("netsonde ping -i", "-i: a value is missing"),
            (
                "netsonde ping",
                "TARGET is missing; see `netsonde ping --help`",
            ),
            (
                "netsonde ping -M x y",
                "-M: unknown value \"x\" (do, probe, want, dont)",
            ),
            (
                "netsonde watch --vlan 5000",
                "--vlan: must be at most 4095, not 5000",
            ),
            (
                "netsonde events -i e0",
                "unknown option -i; did you mean -I (Show only events of this interface)?",
            ),
            (
                "netsonde talkers --since 1",
                "unknown option --since; see `netsonde talkers --help`",
            ),
            (
                "netsonde events --snice 1",
                "unknown option --snice; did you mean --since?",
            ),
            (
                "netsonde watch --last 1m --since 10:00",
                "--last cannot be used with --since",
            ),
            (
                "netsonde trace --icmp --udp 10.0.0.2",
                "--icmp cannot be used with --udp",
            ),
            (
                "netsonde trace --mtu --tcp 80 10.0.0.2",
                "--mtu cannot be used with --tcp",
            ),
            (
                "netsonde status x",
                "unexpected argument \"x\"; see `netsonde status --help`",
            ),
            (
                "netsonde mcast groups 10.0.0.1",
                "10.0.0.1 is not a multicast address",
            ),
            (
                "netsonde mcast doctor 239.1.1.1:0",
                "239.1.1.1:0: the port must be 1 to 65535",
            ),
            (
                "netsonde capture",
                "--write is missing; see `netsonde capture --help`",
            ),
        ] {
            let words = words(line);
            assert!(words.starts_with(expected), "{line}: {words}");
        }
        let unknown = words("netsonde evnets");
        assert!(unknown.contains("did you mean events?"), "{unknown}");
    }

    /// A parameter that is mapped to an option that does not exist would be shown as the protocol names it.
    #[test]
    fn parameters_are_mapped_to_options_that_exist() {
        let mut root = command();
        root.build();
        let commands: Vec<&Command> = root.get_subcommands().collect();
        for (parameter, id) in PARAMETERS.iter().chain(PRIVILEGES) {
            let has = |command: &&Command| command.get_arguments().any(|arg| arg.get_id() == *id);
            assert!(commands.iter().any(has), "{parameter}: {id}");
        }
    }
}
