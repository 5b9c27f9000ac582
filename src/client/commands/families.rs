//! SHELL. `families`: tests support for every family, type and protocol by opening a socket and
//! closing it at once, and counts the sockets in use.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;

use nix::errno::Errno;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::cli::args::{Families, Global};
use crate::client::failure::Failure;
use crate::client::output::json;
use crate::client::render::style::Style;
use crate::client::render::table::{Column, table};
use crate::client::render::wrap::{fit, wrap};
use crate::client::screen;
use crate::linux::processes;
use crate::linux::{diag, proc_net};
use netsonde_core::families::modules::{Modules, SkipReason};
use netsonde_core::families::{
    self, FAMILIES, Family, PROBED_NUMBERS, SOCKET_TYPES, SocketType, Support, TYPE_FLAGS,
    explain_error, proves_family, type_name,
};
use netsonde_core::sockets::listed::protocols;

/// Result of opening one kind of socket.
#[derive(Clone, Debug, Serialize)]
struct Try {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    r#type: String,
    protocol: u16,
    /// `None` if unknown or not tested.
    supported: Option<bool>,
    error: Option<String>,
    meaning: String,
    #[serde(skip)]
    is_untried: bool,
}

/// Support for a family.
#[derive(Clone, Debug, Serialize)]
struct FamilyReport {
    number: u8,
    name: String,
    aliases: &'static [&'static str],
    title: &'static str,
    purpose: &'static str,
    legacy: bool,
    absent: Option<&'static str>,
    elsewhere: &'static str,
    /// `None` if it was not tested, since that would load a module, or if a sandbox hides it.
    supported: Option<bool>,
    /// Module to be loaded first.
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    types: Vec<Try>,
    protocols: Vec<Try>,
    /// `None` if the kernel has no list and the caller may not inspect all processes.
    sockets: Option<u64>,
    sockets_from: Option<String>,
}

/// Name, number and purpose of a type or flag.
#[derive(Serialize)]
struct Named {
    name: &'static str,
    number: u32,
    purpose: &'static str,
}

/// Runs `netsonde families`.
pub fn run(global: &Global, wanted: &Families) -> Result<u8, Failure> {
    let style = global.style();
    let chosen = match &wanted.name {
        None => None,
        Some(name) => match (families::find(name), families::find_type(name)) {
            (Some(family), _) => Some(family),
            (None, Some(kind)) => return explain_kind(global, style, kind),
            (None, None) => {
                return Err(Failure::Other(families::unknown_family_or_type(name)));
            }
        },
    };
    let tries = Tries::new(wanted.load_modules);
    let counts = Counts::new();
    let mut all: Vec<FamilyReport> = FAMILIES
        .iter()
        .filter(|family| chosen.is_none_or(|chosen| chosen.number == family.number))
        .map(|family| family_report(family, &tries, &counts))
        .collect();
    if chosen.is_none() {
        all.extend(newer(&tries));
    }
    let mut out = screen::stdout();
    if global.json {
        let named = |kinds: &'static [SocketType]| -> Vec<Named> {
            let one = |kind: &'static SocketType| Named {
                name: kind.name,
                number: kind.number,
                purpose: kind.purpose,
            };
            kinds.iter().map(one).collect()
        };
        let report = serde_json::json!({
            "families": all,
            "types": named(SOCKET_TYPES),
            "flags": named(TYPE_FLAGS),
        });
        json(&mut out, &report)?;
    } else if chosen.is_some() {
        for one in &all {
            write!(out, "{}", fit(&explained(one, style), style))?;
        }
    } else {
        write!(out, "{}", fit(&text(&all, style, global), style))?;
    }
    let status = match (chosen, all.first()) {
        (Some(_), Some(one)) => match one.supported {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        },
        _ => 0,
    };
    Ok(status)
}

/// Host state that decides which tests are made.
struct Tries {
    modules: Modules,
    /// Protocol names in /proc/net/protocols: registered with the kernel already.
    registered: HashSet<String>,
    /// Whether a seccomp filter may refuse in place of the kernel.
    is_sandboxed: bool,
}

impl Tries {
    fn new(load: bool) -> Tries {
        let modules = if load { Modules::None } else { modules() };
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let seccomp = status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp:"));
        Tries {
            modules,
            registered: protocols(&proc_net("protocols"))
                .into_iter()
                .map(|(name, _)| name)
                .collect(),
            is_sandboxed: seccomp.is_some_and(|mode| mode.trim() != "0"),
        }
    }

    fn try_one(
        &self,
        family: u8,
        is_registered: bool,
        name: Option<&'static str>,
        kind: u32,
        protocol: u16,
    ) -> (Try, Option<SkipReason>) {
        let mut one = Try {
            name,
            r#type: type_name(kind),
            protocol,
            supported: None,
            error: None,
            meaning: String::new(),
            is_untried: false,
        };
        if let Some(untried) = self
            .modules
            .would_load(family, kind, protocol, is_registered)
        {
            one.is_untried = true;
            one.meaning = match &untried {
                SkipReason::Loads(module) => {
                    format!("not tried: would load the module {module} (use --load-modules)")
                }
                SkipReason::MightLoad => {
                    "not tried: might load a module (use --load-modules)".to_owned()
                }
            };
            return (one, Some(untried));
        }
        one.error = open(family, kind, protocol);
        let (answer, words) = explain_error(one.error.as_deref());
        one.supported = match answer {
            Support::Yes => Some(true),
            Support::No => Some(false),
            Support::Unknown => None,
        };
        one.meaning = match one.error.as_deref() {
            Some("EAFNOSUPPORT") if is_registered => {
                "supported by the kernel, but not in this network namespace".into()
            }
            _ => words.into(),
        };
        (one, None)
    }

    /// Returns whether this result proves support for the family.
    fn proves(&self, one: &Try) -> bool {
        let is_refused = matches!(one.error.as_deref(), Some("EPERM" | "EACCES"));
        !one.is_untried && proves_family(one.error.as_deref()) && !(is_refused && self.is_sandboxed)
    }
}

/// Opens a socket and closes it. Returns the name of the error.
fn open(family: u8, kind: u32, protocol: u16) -> Option<String> {
    let (domain, kind) = (
        Domain::from(i32::from(family)),
        Type::from(kind as i32).cloexec(),
    );
    let protocol = Protocol::from(i32::from(protocol));
    let error = Socket::new_raw(domain, kind, Some(protocol)).err()?;
    let number = error.raw_os_error().unwrap_or(0);
    Some(format!("{:?}", Errno::from_raw(number)))
}

/// Returns the modules that could be loaded.
fn modules() -> Modules {
    let read = |path: &str| fs::read_to_string(path).ok();
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    // Two settings by which an administrator disables module loading.
    if is("/proc/sys/kernel/modules_disabled", "1") || is("/proc/sys/kernel/modprobe", "") {
        return Modules::None;
    }
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let alias = format!("/lib/modules/{}/modules.alias", release.trim());
    Modules::read(read(&alias).as_deref(), read("/proc/modules").as_deref())
}

/// Numbers of sockets by family.
struct Counts {
    listed: HashMap<u8, (u64, String)>,
    protocols: Vec<(String, u64)>,
    held: processes::Holdings,
}

impl Counts {
    fn new() -> Counts {
        let (sockets, sources) = diag::sockets();
        let mut listed: HashMap<u8, (u64, String)> = HashMap::new();
        for source in sources {
            if let Some(from) = source.from {
                listed.entry(source.family).or_insert((0, from));
            }
        }
        for socket in &sockets {
            listed
                .entry(socket.family)
                .and_modify(|(count, _)| *count += 1);
        }
        let inodes = sockets.iter().map(|socket| socket.inode).collect();
        Counts {
            listed,
            protocols: protocols(&proc_net("protocols")),
            held: processes::holdings(&inodes),
        }
    }

    /// Returns the count and its source. Families without a list are counted by their protocols, if
    /// these count sockets, otherwise by the processes that the caller may inspect.
    fn of(&self, family: &Family, supported: Option<bool>) -> (Option<u64>, Option<String>) {
        if let Some((count, from)) = self.listed.get(&family.number) {
            return (Some(*count), Some(from.clone()));
        }
        let is_its = |name: &str| family.registered.contains(&name);
        let of = self.protocols.iter().filter(|(name, _)| is_its(name));
        let counted: u64 = of.map(|(_, count)| count).sum();
        let of = self.held.unlisted.iter();
        let held = of.filter(|one| is_its(&one.protocol)).count() as u64;
        if counted > 0 && counted >= held {
            return (Some(counted), Some("/proc/net/protocols".into()));
        }
        let is_all = self.held.hidden == 0 && self.held.skipped == 0;
        if held > 0 || (is_all && supported != Some(false)) {
            return (Some(held), Some("processes".into()));
        }
        ((supported == Some(false)).then_some(0), None)
    }
}

/// Tests one family.
fn family_report(family: &'static Family, tries: &Tries, counts: &Counts) -> FamilyReport {
    let is_registered = family
        .registered
        .iter()
        .any(|name| tries.registered.contains(*name));
    let mut untried = None;
    let mut attempt = |name, kind: u32, protocol| {
        let (one, why) = tries.try_one(family.number, is_registered, name, kind, protocol);
        untried = untried.take().or(why);
        one
    };
    let types: Vec<Try> = SOCKET_TYPES
        .iter()
        .map(|kind| attempt(None, kind.number, family.protocol_of(kind.number as u8)))
        .collect();
    let protocols: Vec<Try> = family
        .protocols
        .iter()
        .map(|(name, kind, protocol)| attempt(Some(name), u32::from(*kind), *protocol))
        .collect();
    let mut all = types.iter().chain(&protocols);
    let supported = if all.clone().any(|one| tries.proves(one)) {
        Some(true)
    } else {
        // Only EAFNOSUPPORT in all tests means no.
        let is_no = all.all(|one| one.error.as_deref() == Some("EAFNOSUPPORT"));
        is_no.then_some(false)
    };
    let (sockets, sockets_from) = counts.of(family, supported);
    FamilyReport {
        number: family.number,
        name: family.name.into(),
        aliases: family.aliases,
        title: family.title,
        purpose: family.purpose,
        legacy: family.legacy,
        absent: family.absent,
        elsewhere: family.elsewhere,
        supported,
        module: match untried {
            Some(SkipReason::Loads(module)) if supported.is_none() => Some(module),
            _ => None,
        },
        types,
        protocols,
        sockets,
        sockets_from,
    }
}

/// Families of this kernel that the table does not have.
fn newer(tries: &Tries) -> Vec<FamilyReport> {
    let mut all = Vec::new();
    for number in FAMILIES.len() as u8..PROBED_NUMBERS {
        let types: Vec<Try> = SOCKET_TYPES
            .iter()
            .map(|kind| tries.try_one(number, false, None, kind.number, 0).0)
            .collect();
        if types.iter().any(|one| tries.proves(one)) {
            all.push(FamilyReport {
                number,
                name: families::family_name(number),
                aliases: &[],
                title: "unknown family, newer than this version of netsonde",
                purpose: "The kernel supports this family; this version of netsonde does not know it.",
                legacy: false,
                absent: None,
                elsewhere: "Unknown.",
                supported: Some(true),
                module: None,
                types,
                protocols: vec![],
                sockets: None,
                sockets_from: None,
            });
        }
    }
    all
}

fn short(kind: &str) -> &str {
    kind.trim_start_matches("SOCK_")
}

fn here(one: &FamilyReport) -> String {
    match (one.supported, &one.module) {
        (Some(true), _) => "yes".into(),
        (Some(false), _) => "no".into(),
        (None, Some(_)) => "not loaded".into(),
        (None, None) => "unknown".into(),
    }
}

fn text(all: &[FamilyReport], style: Style, global: &Global) -> String {
    let shown: Vec<&FamilyReport> = all
        .iter()
        .filter(|one| !global.quiet || one.supported == Some(true))
        .collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|one| {
            let types: Vec<&str> = one
                .types
                .iter()
                .filter(|one| one.supported == Some(true))
                .map(|one| short(&one.r#type))
                .collect();
            vec![
                one.number.to_string(),
                one.name.clone(),
                here(one),
                match types.is_empty() {
                    true if one.supported == Some(true) => "?".into(),
                    true => "-".into(),
                    false => types.join(" "),
                },
                match (one.supported, one.sockets) {
                    (Some(true), Some(count)) => count.to_string(),
                    (Some(true), None) => "?".into(),
                    _ => "-".into(),
                },
                if one.legacy {
                    format!("{} (legacy)", one.title)
                } else {
                    one.title.into()
                },
            ]
        })
        .collect();
    let columns = [
        Column::number("NUMBER"),
        Column::text("FAMILY"),
        Column::text("SUPPORTED"),
        Column::text("TYPES").shrinks(12),
        Column::number("SOCKETS"),
        Column::text("PURPOSE").shrinks(20),
    ];
    let mut text = table(style, &columns, &rows);
    text.push('\n');
    let untold = shown.iter().filter(|one| one.supported.is_none()).count();
    if untold > 0 {
        text.push_str(&format!(
            "\n{untold} not tested, because that would load kernel modules (use --load-modules)\n"
        ));
    }
    if shown.iter().any(|one| one.types.iter().any(is_denied)) {
        text.push_str(
            "\nsocket types that require privilege could not be tested; run as root for complete \
             results\n",
        );
    }
    if global.verbose {
        text.push('\n');
        for kind in SOCKET_TYPES.iter().chain(TYPE_FLAGS) {
            text.push_str(&wrap(&format!("{}: {}", kind.name, kind.purpose), 0, 4));
        }
    } else if !global.quiet {
        text.push_str("\nuse `netsonde families AF_VSOCK` for details of one family, -v for the socket types\n");
    }
    text
}

fn is_denied(one: &Try) -> bool {
    matches!(one.error.as_deref(), Some("EPERM" | "EACCES"))
}

fn explained(one: &FamilyReport, style: Style) -> String {
    let mut names = vec![one.number.to_string()];
    names.extend(one.aliases.iter().map(|alias| (*alias).to_owned()));
    let legacy = if one.legacy { ", legacy" } else { "" };
    let mut text = format!(
        "{} ({}{legacy}): {}\n",
        style.bold(&one.name),
        names.join(", "),
        one.title
    );
    text.push_str(&wrap(one.purpose, 2, 0));
    text.push_str(&wrap(&format!("other systems: {}", one.elsewhere), 2, 2));
    let here = match one.supported {
        Some(true) => style.good("yes"),
        Some(false) => match one.absent {
            Some(absent) => style.warn(&format!("no: {absent}")),
            None => style.warn("no: not built into the kernel, and no module available"),
        },
        None => match &one.module {
            Some(module) => style.warn(&format!(
                "not loaded: --load-modules tests it by loading the module {module}"
            )),
            None => style.warn("unknown: see below"),
        },
    };
    text.push_str(&format!("  supported: {here}\n"));
    if one.supported == Some(true) {
        let count = one
            .sockets
            .map_or("unknown".into(), |count| count.to_string());
        text.push_str(&format!("  open sockets: {count}\n"));
    }
    if one.supported != Some(false) {
        let row = |name: &str, of: &Try| {
            let state = match of.supported {
                Some(true) => style.good("yes"),
                Some(false) => "no".into(),
                None => "unknown".into(),
            };
            let why = match &of.error {
                Some(error) => format!("{error}: {}", of.meaning),
                None if of.is_untried => of.meaning.clone(),
                None => String::new(),
            };
            let line = format!("    {name:<18}{state}  {}", style.dim(&why));
            format!("{}\n", line.trim_end())
        };
        text.push_str("  types:\n");
        for of in &one.types {
            text.push_str(&row(&of.r#type, of));
        }
        if !one.protocols.is_empty() {
            text.push_str("  protocols:\n");
        }
        for of in &one.protocols {
            text.push_str(&row(of.name.unwrap_or_default(), of));
        }
    }
    text
}

/// Prints a type or flag.
fn explain_kind(global: &Global, style: Style, kind: &SocketType) -> Result<u8, Failure> {
    let mut out = screen::stdout();
    if global.json {
        let report = serde_json::json!({
            "name": kind.name, "number": kind.number, "purpose": kind.purpose,
        });
        json(&mut out, &report)?;
    } else {
        writeln!(out, "{} ({})", style.bold(kind.name), kind.number)?;
        write!(out, "{}", wrap(kind.purpose, 2, 0))?;
    }
    Ok(0)
}
