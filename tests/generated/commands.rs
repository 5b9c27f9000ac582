//! netsonde(1), and a page per command.

use netsonde::client::cli::args;
use netsonde::client::cli::manual::{
    ENVIRONMENT, FILES, Json, OVERVIEW, Page as Manual, Run, Section, pages,
};
use netsonde_core::recorder::select::PROTOCOLS;

use crate::roff::{Page, escape, sentence};
use crate::varlink::objects;

/// The definition of a command.
fn definition(path: &str) -> clap::Command {
    let mut command = args::command();
    for word in path.split(' ') {
        command = command.find_subcommand(word).unwrap().clone();
    }
    command
}

fn about(command: &clap::Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    sentence(&about.unwrap_or_default())
}

/// First sentence of a command's help, as the NAME section has it.
fn purpose(command: &clap::Command) -> String {
    let about = about(command);
    let first = about.split(". ").next().unwrap_or_default();
    let first = first.trim_end_matches('.');
    let (initial, rest) = first.split_at(1);
    format!("{}{rest}", initial.to_lowercase())
}

fn section(page: &mut Page, section: &Section) {
    page.head(section.title);
    if !section.text.is_empty() {
        page.text(section.text);
    }
    for (term, text) in section.items {
        page.item(term, text);
    }
    page.text_after(section.after);
}

/// netsonde(1).
pub fn overview() -> String {
    let command = args::command();
    let mut page = Page::new("netsonde", 1, &purpose(&command));
    page.head("SYNOPSIS");
    page.raw("\\fBnetsonde\\fR [\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]");
    page.raw(".br");
    page.raw("\\fBnetsonde help\\fR [\\fIcommand\\fR]");
    for one in OVERVIEW {
        section(&mut page, one);
    }
    page.head("COMMANDS");
    for one in pages() {
        let about = about(&definition(one.command));
        page.item(&format!("{}(1)", one.name()), &about);
    }
    page.head("OPTIONS");
    page.text("These options are accepted by every command.");
    page.options(&command, true);
    page.item(
        "-h, --help",
        "Print help. `-h' after a command describes its options.",
    );
    page.item("-V, --version", "Print the version.");
    page.head("JSON");
    page.text(
        "With --json a command prints one document; netsonde-watch(1), netsonde-ping(1) and `netsonde events \
         --follow' print one object per line. Durations are integers in nanoseconds (_ns), sizes bytes \
         (_bytes), and times RFC 3339 in UTC with nanoseconds. Interfaces are named. Keys do not change their \
         meaning; new ones may be added. The page of each command lists its keys.",
    );
    page.head("TIMES AND DURATIONS");
    page.text(
        "DUR is a number with a unit (ns, us, ms, s, m, h, d), such as 250ms, 1.5m or 1h30m; without a unit it is \
         in seconds, as in ping(8). TIME is a duration before now (-2h), a local time of today (21:40:12.5) or of \
         yesterday (yesterday 03:00), a local date with or without a time (2026-11-21 21:40:12), now, or RFC 3339.",
    );
    page.head("EXIT STATUS");
    page.item(
        "0",
        "Yes: the command succeeded, a reply came, the subject is healthy.",
    );
    page.item(
        "1",
        "No: no reply came, a fault was found, or nothing matched. Of the last, one line on standard error says \
         what was looked for and how many there are without the filter; -q omits it. With --json the document is \
         complete and empty.",
    );
    page.item(
        "2",
        "Unknown: usage, no service, no permission, or an operational error. One line on standard error says \
         what to do.",
    );
    page.head("ENVIRONMENT");
    for (name, meaning) in ENVIRONMENT {
        page.item(name, meaning);
    }
    page.head("FILES");
    for (path, meaning) in FILES {
        page.item(path, meaning);
    }
    page.head("EXAMPLES");
    for one in pages() {
        let Some(example) = one.examples.first() else {
            continue;
        };
        page.paragraph();
        page.text(example.purpose);
        page.example(example.commands);
    }
    page.see_also(&[
        "netsonded(8), netsonde.toml(5), netsonde-events(7), netsonde-families(7), netsonde-findings(7), \
         netsonde-protocol(7), pcap-filter(7)",
    ]);
    page.0
}

/// The page of one command.
pub fn command(manual: &Manual) -> String {
    let command = definition(manual.command);
    let mut page = Page::new(&manual.name(), 1, &purpose(&command));
    page.head("SYNOPSIS");
    page.fill(&synopsis(manual, &command));
    page.head("DESCRIPTION");
    page.text(manual.description);
    page.head("OPTIONS");
    page.options(&command, false);
    page.item("-h, --help", "Print help.");
    page.text_after(
        "netsonde(1) describes the options of every command, such as --json, --socket, -q and -v.",
    );
    if ["watch", "capture"].contains(&manual.command) {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        page.text_after(&format!("--proto knows these names: {}.", names.join(", ")));
    }
    for one in manual.sections {
        section(&mut page, one);
    }
    output(&mut page, manual);
    json(&mut page, manual);
    exit_status(&mut page, manual);
    page.head("EXAMPLES");
    for example in manual.examples {
        page.paragraph();
        page.text(example.purpose);
        page.example(example.commands);
    }
    let parent = match manual.command.split_once(' ') {
        Some((parent, _)) => format!("netsonde-{parent}(1)"),
        None => String::new(),
    };
    page.see_also(&["netsonde(1)", &parent, manual.see_also]);
    page.0
}

fn synopsis(manual: &Manual, command: &clap::Command) -> String {
    let mut line = format!(
        "\\fBnetsonde {}\\fR [\\fIoptions\\fR]",
        escape(manual.command)
    );
    if command.get_subcommands().next().is_some() {
        line.push_str(" \\fIcommand\\fR [\\fIarguments\\fR]");
    }
    let (places, options): (Vec<&clap::Arg>, Vec<&clap::Arg>) = command
        .get_arguments()
        .filter(|argument| argument.is_required_set() || argument.is_positional())
        .partition(|argument| argument.is_positional());
    for argument in options.into_iter().chain(places) {
        let names = argument.get_value_names().unwrap_or_default().join(" ");
        let mut value = format!("\\fI{}\\fR", escape(&names));
        if let Some(short) = argument.get_short() {
            value = format!("\\fB\\-{short}\\fR {value}");
        }
        if argument
            .get_num_args()
            .is_some_and(|many| many.max_values() > 1)
        {
            value.push_str("...");
        }
        match argument.is_required_set() {
            true => line.push_str(&format!(" {value}")),
            false => line.push_str(&format!(" [{value}]")),
        }
    }
    line
}

fn output(page: &mut Page, manual: &Manual) {
    if manual.output.is_empty() && manual.columns.is_empty() {
        return;
    }
    page.head("OUTPUT");
    page.text(manual.output);
    if !manual.columns.is_empty() {
        page.text_after("The columns of the tables:");
    }
    for (name, meaning) in manual.columns {
        page.item(name, meaning);
    }
}

fn json(page: &mut Page, manual: &Manual) {
    let objects = objects(&manual.json);
    if objects.is_empty() {
        return;
    }
    page.head("JSON");
    match manual.json {
        Json::Reply { method, .. } => page.text(&format!(
            "With --json the output is the reply of the Varlink method {method}, see netsonde-protocol(7). Keys \
             in brackets may be absent."
        )),
        _ => page.text("Keys in brackets may be absent."),
    }
    for object in objects {
        page.keys(&object.label, &object.keys, &object.text);
    }
}

fn exit_status(page: &mut Page, manual: &Manual) {
    page.head("EXIT STATUS");
    let failed = "The command failed: usage, no service, no permission, or an operational error. One line on \
                  standard error says what to do.";
    for (status, default) in [("0", "The command succeeded."), ("1", ""), ("2", failed)] {
        let own = manual.exit.iter().find(|(of, _)| *of == status);
        let text = own.map_or(default, |(_, text)| text);
        if !text.is_empty() {
            page.item(status, text);
        }
    }
}

/// Paths of all commands of the command line.
pub fn paths() -> Vec<String> {
    let mut all = Vec::new();
    let command = args::command();
    for sub in command.get_subcommands() {
        all.push(sub.get_name().to_owned());
        let below = sub.get_subcommands();
        all.extend(below.map(|below| format!("{} {}", sub.get_name(), below.get_name())));
    }
    all
}

/// Commands that the manual shows and no test runs, with the reason.
pub fn not_run() -> Vec<(&'static str, &'static str)> {
    pages()
        .flat_map(|page| page.examples)
        .filter_map(|example| match example.run {
            Run::Not(reason) => Some((example.commands, reason)),
            _ => None,
        })
        .collect()
}
