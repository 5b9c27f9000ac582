//! SHELL. `netsonde ping`: targets and options become a call, and what comes back becomes lines.

mod evidence;
mod progress;
mod rules;
mod size_check;
mod text;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use serde_json::json;

use crate::client::cli::args::{Global, Ping, Pmtu};
use crate::client::commands::ping::progress::Progress;
use crate::client::commands::ping::rules::Rules;
use crate::client::commands::ping::size_check::SizeChecks;
use crate::client::commands::ping::text::Output;
use crate::client::failure::Failure;
use crate::client::files::output_file::{FileId, OutputFile};
use crate::client::files::target_file;
use crate::client::interrupt::Interrupt;
use crate::client::output::note;
use crate::linux::reason;
use crate::varlink::client::Connection;
use netsonde_core::address::{
    looks_like_ipv4, looks_like_ipv6, parse_address, parse_prefix, parse_short_ipv4,
};
use netsonde_core::probe::transport::{LEAST_PAYLOAD, MOST_PAYLOAD, UDP_FLOWS};
use netsonde_core::protocol::ping::{
    Options, PingCall, PingReply, Summary, TargetsCall, TargetsReply, Total,
};
use netsonde_core::text::counted;

/// Maximum number of targets per request: IPv6 addresses with a scope fit in its 64 KiB.
const TARGETS_A_REQUEST: usize = 700;
/// Maximum number of targets shown as lines; more are shown as a table.
const LINES: usize = 16;
/// Stands for all targets of a table, whose drops are remarked on together.
const ALL_TARGETS: &str = "";
/// Default number of probes to a group or broadcast address.
const GROUP_COUNT: u32 = 3;
/// Interval of the service, in nanoseconds, where none is given.
const INTERVAL_NS: u64 = 1_000_000_000;

/// A target of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// An address with its scope, or a range, as the service expects it.
    pub target: String,
    /// Whether it is IPv4.
    pub is_ipv4: bool,
    /// Whether it is a range.
    pub is_range: bool,
    /// Whether it is a multicast group or a broadcast address.
    pub is_group: bool,
    /// The name that it was resolved from, if any.
    pub name: Option<String>,
}

/// Runs `netsonde ping`.
pub fn ping(global: &Global, socket: &Path, args: &Ping) -> Result<u8, Failure> {
    let (wanted, from_file) = read_targets(args)?;
    let is_sweep = from_file || wanted.iter().any(|one| one.is_range) || wanted.len() > LINES;
    let families: Vec<Vec<Wanted>> = [true, false]
        .into_iter()
        .map(|is_ipv4| {
            wanted
                .iter()
                .filter(|one| one.is_ipv4 == is_ipv4)
                .cloned()
                .collect()
        })
        .filter(|family: &Vec<Wanted>| !family.is_empty())
        .collect();
    let is_group = wanted.iter().all(|one| one.is_group);
    let mut options = options(global, args, &wanted, is_sweep, is_group)?;
    check_transport(args, &wanted)?;
    let checks_size = !is_sweep && !is_group;
    let checks_size = checks_size && SizeChecks::apply(args, wanted[0].is_ipv4);
    if checks_size {
        // The smaller probe is sent when the probes are lost, so their fates must be reported.
        options.quiet = Some(false);
    }
    let interrupt = Interrupt::catch()?;
    // A file that cannot be written shows before the run, not after it.
    let evidence = match &args.evidence {
        Some(path) => Some(OutputFile::open(path, &lists(args), Some(&interrupt))?),
        None => None,
    };
    let progress = Progress::catch()?;
    let rules = Mutex::new(Rules::before(socket));
    let names: HashMap<String, String> = wanted
        .iter()
        .filter_map(|one| Some((one.target.clone(), one.name.clone()?)))
        .collect();
    let output = Mutex::new(Output::new(
        global,
        args,
        names.clone(),
        wanted.len() == 1 && !is_sweep,
        is_group,
    ));
    let with_header = !is_sweep && !is_group;
    // A run has one address family; two runs are started in parallel.
    let outcomes: Vec<Result<Total, Failure>> = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| progress.watch(socket, &names));
        let runs: Vec<_> = families
            .iter()
            .map(|family| {
                let context = RunContext {
                    global,
                    socket,
                    options: options.clone(),
                    with_header,
                    interrupt: interrupt.clone(),
                    progress: &progress,
                    output: &output,
                    rules: &rules,
                    sizes: checks_size.then(|| Mutex::new(SizeChecks::new(args.size))),
                };
                scope.spawn(move || run(family, &context))
            })
            .collect();
        let outcomes = runs
            .into_iter()
            .map(|run| {
                let ended = run.join();
                ended.unwrap_or_else(|_| {
                    Err(Failure::Other("a thread of the client panicked".into()))
                })
            })
            .collect();
        progress.end();
        let _ = watcher.join();
        outcomes
    });
    let mut totals = Vec::new();
    for outcome in outcomes {
        totals.push(outcome?);
    }
    interrupt.take();
    let mut output = output.into_inner().unwrap_or_else(PoisonError::into_inner);
    output.end(&totals)?;
    if let Some(evidence) = evidence {
        output.write_evidence(socket, evidence)?;
    }
    let all_answered = totals
        .iter()
        .all(|total| total.answered == total.targets && total.targets > 0);
    Ok(if all_answered { 0 } else { 1 })
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a run needs besides its targets.
struct RunContext<'a, 'o> {
    global: &'a Global,
    socket: &'a Path,
    options: Options,
    with_header: bool,
    interrupt: Interrupt,
    progress: &'a Progress,
    output: &'a Mutex<Output<'o>>,
    rules: &'a Mutex<Rules>,
    /// Checks of the path for packets of this size; `None` for small packets and many targets.
    sizes: Option<Mutex<SizeChecks>>,
}

/// Performs one run, from the call to its totals.
fn run(family: &[Wanted], context: &RunContext<'_, '_>) -> Result<Total, Failure> {
    let mut connection = Connection::open(context.socket)?;
    let mut call = PingCall {
        options: Some(context.options.clone()),
        ..PingCall::default()
    };
    let texts: Vec<String> = family.iter().map(|one| one.target.clone()).collect();
    if texts.len() <= TARGETS_A_REQUEST {
        call.targets = Some(texts);
    } else {
        for part in texts.chunks(TARGETS_A_REQUEST) {
            let add = TargetsCall {
                targets: part.to_vec(),
                list: call.list,
            };
            let listed: TargetsReply = connection.call("io.netsonde.Ping.Targets", &add)?;
            call.list = Some(listed.list);
        }
    }
    connection.call_more("io.netsonde.Ping.Ping", &call)?;
    connection.wait_without_limit()?;
    // The smaller probes of size checks are sent meanwhile.
    std::thread::scope(|scope| receive(family, context, &mut connection, scope))
}

/// Words for a rate that is too low for the interval that was asked for.
fn stretched(targets: u64, interval_ns: u64) -> String {
    format!(
        "{} are too many for this interval at the rate of the run (--rate): each is probed every {:.3} s",
        counted(targets, "target"),
        interval_ns as f64 / 1e9
    )
}

/// Prints the replies to a call, up to its totals.
fn receive<'scope, 'env>(
    family: &[Wanted],
    context: &'env RunContext<'_, '_>,
    connection: &mut Connection,
    scope: &'scope Scope<'scope, 'env>,
) -> Result<Total, Failure> {
    let mut number = None;
    let mut stopped = false;
    let mut total = None;
    let mut checks = Vec::new();
    loop {
        let stop = (!stopped).then(|| context.interrupt.descriptor());
        let Some((reply, continues)) = connection.reply_or::<PingReply>(stop)? else {
            stopped = true;
            let Some(run) = number else {
                return Err(Failure::Other("interrupted before the run started".into()));
            };
            // The call is still in progress on this connection, so the request to stop needs
            // another one.
            let stop: Result<serde_json::Value, _> = Connection::open(context.socket)?
                .call("io.netsonde.Ping.Stop", &json!({ "run": run }));
            stop?;
            continue;
        };
        if let (None, Some(run)) = (number, reply.run) {
            number = Some(run);
            context.progress.add(run);
        }
        if let (Some(targets), Some(interval_ns)) = (reply.targets, reply.interval_ns) {
            note(context.global, &stretched(targets, interval_ns));
        }
        let mut output = lock(context.output);
        if let Some(id) = reply.id {
            output.identifier(id);
            if context.with_header {
                output.begin(family)?;
            }
        }
        for probe in reply.probes.iter().flatten() {
            output.probe(probe)?;
            lock(context.rules).add(probe);
            let sizes = context.sizes.as_ref();
            if !stopped && sizes.is_some_and(|sizes| lock(sizes).add(probe)) {
                let target = probe.target.clone();
                output.size_check(&target, SizeChecks::small())?;
                checks.push(scope.spawn(move || check_size(context, &target)));
            }
        }
        if reply.summaries.is_some() {
            drop(output);
            for check in checks.drain(..) {
                let _ = check.join();
            }
            output = lock(context.output);
        }
        for mut summary in reply.summaries.into_iter().flatten() {
            add_remarks(context, &mut summary);
            output.summary(&summary)?;
        }
        for row in reply.rows.iter().flatten() {
            output.row(row)?;
            if let Some(fates) = &row.fates {
                lock(context.rules).add_quiet(ALL_TARGETS, fates);
            }
        }
        if reply.total.is_some()
            && let Some(remark) = lock(context.rules).remark(ALL_TARGETS)
        {
            output.remark(&remark)?;
        }
        total = total.or(reply.total);
        if !continues {
            break;
        }
        output.flush()?;
    }
    total.ok_or_else(|| Failure::Other("netsonded ended the run without its totals".into()))
}

/// Sends a smaller probe to a target, and prints what became of it.
fn check_size(context: &RunContext<'_, '_>, target: &str) {
    let checked = SizeChecks::send(context.socket, target, &context.options);
    let mut output = lock(context.output);
    match (checked, &context.sizes) {
        (Ok(check), Some(sizes)) => {
            lock(sizes).checked(&check);
            // A closed pipe ends the command at its next line.
            let _ = output.size_checked(&check);
        }
        (Err(error), _) => eprintln!("netsonde: no smaller probe was sent: {error}"),
        _ => {}
    }
}

/// Adds the remarks that only the client can make.
fn add_remarks(context: &RunContext<'_, '_>, summary: &mut Summary) {
    let mut rules = lock(context.rules);
    if context.options.quiet == Some(true) {
        rules.add_quiet(&summary.target, &summary.fates);
    }
    let by_size = context.sizes.as_ref();
    let by_size = by_size.and_then(|sizes| lock(sizes).remark(summary));
    let more = [by_size, rules.remark(&summary.target)]
        .into_iter()
        .flatten();
    let mut all = summary.remarks.take().unwrap_or_default();
    all.extend(more);
    summary.remarks = (!all.is_empty()).then_some(all);
}

/// Refuses what does not go with probes by TCP and UDP.
fn check_transport(args: &Ping, wanted: &[Wanted]) -> Result<(), Failure> {
    let option = match (args.tcp, args.udp) {
        (Some(_), _) => "--tcp",
        (_, Some(_)) => "--udp",
        _ => return Ok(()),
    };
    if let Some(group) = wanted.iter().find(|one| one.is_group) {
        return Err(Failure::Other(format!(
            "{}: {option} is for single hosts, not for groups and broadcast addresses",
            group.target
        )));
    }
    if args.udp.is_none() {
        return Ok(());
    }
    let sizes = LEAST_PAYLOAD as u32..=MOST_PAYLOAD as u32;
    if !sizes.contains(&args.size) {
        return Err(Failure::Other(format!(
            "--udp: -s {}: expected {} to {}",
            args.size,
            sizes.start(),
            sizes.end()
        )));
    }
    let most_ns = args.interval.unwrap_or(INTERVAL_NS) * UDP_FLOWS as u64;
    if args.timeout > most_ns {
        return Err(Failure::Other(format!(
            "--udp: use -W {} or less with this interval (-i), since later replies could not be told apart",
            most_ns as f64 / 1e9
        )));
    }
    Ok(())
}

fn options(
    global: &Global,
    args: &Ping,
    wanted: &[Wanted],
    is_sweep: bool,
    is_group: bool,
) -> Result<Options, Failure> {
    let (mut interface, mut source) = (None, None);
    if let Some(by) = &args.by {
        if by.parse::<IpAddr>().is_ok() {
            source = Some(by.clone());
        } else {
            interface = Some(by.clone());
        }
    }
    let default_count = if is_group {
        Some(GROUP_COUNT)
    } else if is_sweep || wanted.len() > 1 {
        Some(1)
    } else {
        None
    };
    // With a deadline and no count, the run continues until the deadline.
    let count = args.count.or(if args.deadline.is_some() {
        None
    } else {
        default_count
    });
    let only_sums = global.quiet || (is_sweep && !global.json);
    Ok(Options {
        count,
        interval_ns: args.interval,
        timeout_ns: Some(args.timeout),
        deadline_ns: args.deadline,
        transport: match (args.tcp, args.udp) {
            (Some(_), _) => Some("tcp".into()),
            (_, Some(_)) => Some("udp".into()),
            _ => None,
        },
        port: args.tcp.or(args.udp),
        size: args.tcp.is_none().then_some(args.size),
        pattern: args.pattern.clone(),
        ttl: args.ttl,
        tos: args.tos,
        pmtu_discovery: args.pmtu.map(|mode| {
            match mode {
                Pmtu::Do => "do",
                Pmtu::Probe => "probe",
                Pmtu::Want => "want",
                Pmtu::Dont => "dont",
            }
            .into()
        }),
        interface,
        source,
        rate: args.rate,
        flood: args.flood.then_some(true),
        broadcast: args.broadcast.then_some(true),
        quiet: Some(only_sums && args.evidence.is_none()),
        rows: (is_sweep && !global.json).then_some(true),
        evidence: args.evidence.is_some().then_some(true),
        ..Options::default()
    })
}

/// The regular files with targets, which --evidence must not replace.
fn lists(args: &Ping) -> Vec<FileId> {
    let paths = args
        .targets
        .iter()
        .filter_map(|text| text.strip_prefix('@'));
    paths
        .filter_map(|path| FileId::of(&std::fs::metadata(path).ok()?))
        .collect()
}

/// Resolves the targets of the command line; `true` if some come from a file.
fn read_targets(args: &Ping) -> Result<(Vec<Wanted>, bool), Failure> {
    let mut wanted = Vec::new();
    let mut from_file = false;
    for text in &args.targets {
        let Some(path) = text.strip_prefix('@') else {
            wanted.push(read_target(text, args)?);
            continue;
        };
        from_file = true;
        for (number, target) in target_file::read(path)? {
            wanted.push(
                read_target(&target, args)
                    .map_err(|error| Failure::Other(format!("{path}, line {number}: {error}")))?,
            );
        }
    }
    if wanted.is_empty() {
        return Err(Failure::Other("no targets given".into()));
    }
    Ok((wanted, from_file))
}

/// Parses or resolves a target, of the family and with the interface that the options demand.
pub(crate) fn read_target(text: &str, args: &Ping) -> Result<Wanted, Failure> {
    let (address, rest) = match text.find(['/', '%']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let wrong_family = |is_ipv4: bool| (args.ipv4 && !is_ipv4) || (args.ipv6 && is_ipv4);
    if let Ok(address) = address.parse::<IpAddr>() {
        if wrong_family(address.is_ipv4()) {
            return Err(Failure::Other(format!("{text} does not match -4 or -6")));
        }
        let is_range = rest.starts_with('/');
        if is_range {
            parse_prefix(text).map_err(Failure::Other)?;
        } else if rest == "%" {
            return Err(Failure::Other(format!(
                "{text}: the interface after % is missing"
            )));
        }
        // As for ping, 0 is this host.
        let address = match address {
            IpAddr::V4(v4) if v4.is_unspecified() && !is_range => {
                IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)
            }
            IpAddr::V6(v6) if v6.is_unspecified() && !is_range => {
                IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
            }
            other => other,
        };
        let mut target = format!("{address}{rest}");
        let is_group = !is_range && (address.is_multicast() || args.broadcast);
        // A link-local group needs an interface; -I names it as well.
        if let (IpAddr::V6(v6), Some(by), true) = (address, &args.by, rest.is_empty())
            && (v6.is_multicast() || v6.is_unicast_link_local())
            && by.parse::<IpAddr>().is_err()
        {
            target = format!("{address}%{by}");
        }
        return Ok(Wanted {
            target,
            is_ipv4: address.is_ipv4(),
            is_range,
            is_group,
            name: None,
        });
    }
    if let Some(address) = parse_short_ipv4(address).filter(|_| rest.is_empty()) {
        return read_target(&address.to_string(), args);
    }
    if address.is_empty() || looks_like_ipv4(address) || looks_like_ipv6(address) {
        let why = parse_address(address).err().unwrap_or_default();
        return Err(Failure::Other(why));
    }
    if !rest.is_empty() {
        return Err(Failure::Other(format!(
            "{text}: a range or scope needs an address, not a name"
        )));
    }
    let found = (text, 0)
        .to_socket_addrs()
        .map_err(|error| Failure::Other(format!("{text}: {}", cannot_resolve(&error))))?;
    let address = found
        .map(|found: SocketAddr| found.ip())
        .find(|address| !wrong_family(address.is_ipv4()))
        .ok_or_else(|| Failure::Other(format!("{text}: the name has no address of this family")))?;
    Ok(Wanted {
        target: address.to_string(),
        is_ipv4: address.is_ipv4(),
        is_range: false,
        is_group: address.is_multicast(),
        name: Some(text.into()),
    })
}

/// Describes an error of getaddrinfo(3), which the standard library wraps in words of its own.
pub(crate) fn cannot_resolve(error: &std::io::Error) -> String {
    let why = reason(error);
    let why = why.rsplit(": ").next().unwrap_or(&why);
    format!("cannot resolve the name: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_parse_as_in_ping() {
        let args = Ping::default();
        let read = |text: &str| read_target(text, &args);
        let one = read("10.0.0.2").unwrap();
        assert!(one.is_ipv4 && !one.is_range && !one.is_group && one.name.is_none());
        assert!(read("10.0.0.0/24").unwrap().is_range);
        assert!(read("224.0.0.1").unwrap().is_group);
        assert_eq!(read("fe80::1%e0").unwrap().target, "fe80::1%e0");
        assert_eq!(read("0.0.0.0").unwrap().target, "127.0.0.1");
        assert!(read("no such name/24").is_err());
        assert_eq!(read("127.1").unwrap().target, "127.0.0.1");
        for (text, words) in [
            (
                "10.999.1.1",
                "10.999.1.1 is not an IPv4 address: 999 is more than 255",
            ),
            ("10.999.1.0/24", "999 is more than 255"),
            ("10.0.0.0/33", "33 is more than 32"),
            ("300.1", "300 is more than 255"),
            ("1.2.3.4.5", "it has 5 numbers instead of 4"),
            ("fe80::12345%e0", "more than four digits"),
            ("fe80::/129", "129 is more than 128"),
            ("fe80::1%", "the interface after % is missing"),
            ("", "empty"),
        ] {
            let why = read(text).unwrap_err().to_string();
            assert!(why.contains(words), "{text}: {why}");
        }
        let by = Ping {
            by: Some("e0".into()),
            ..Ping::default()
        };
        assert_eq!(read_target("ff02::1", &by).unwrap().target, "ff02::1%e0");
        assert_eq!(
            read_target("2001:db8::1", &by).unwrap().target,
            "2001:db8::1"
        );
        let six = Ping {
            ipv6: true,
            ..Ping::default()
        };
        assert!(read_target("10.0.0.2", &six).is_err());
    }
}
