//! SHELL. `netsonde trace`: the path to a host.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | options, names, output |
//! | `text` | the table |
//! | `continuous` | round after round |
//! | `like` | the connection whose way is taken |
//! | `drawn` | errors of the record that other traffic drew |
//! | `compare` | the path that the historian remembers |
//! | `pinged` | echo requests to routers that miss answers |
//! | `mtu` | `--mtu`: the path MTU |

mod compare;
mod continuous;
mod drawn;
mod like;
mod mtu;
mod pinged;
mod text;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use compare::Comparison;

use crate::client::cli::args::{Global, Ping, Trace as Args};
use crate::client::commands::ping::read_target;
use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::client::output::{json, progress};
use crate::client::screen;
use crate::linux::monotonic_ns;
use crate::linux::names::name_of;
use crate::varlink::trace::follow;
use like::Like;
use netsonde_core::probe::Transport;
use netsonde_core::protocol::trace::Options;
use netsonde_core::screen::one_line;
use netsonde_core::trace::mtu::PathMtu;
use netsonde_core::trace::{Drawn, MOST_FLOWS, Report, Settings, Trace};

/// Time for which names are waited for when the path is known.
const NAMES_WAIT: Duration = Duration::from_millis(500);
/// Maximum number of names that are looked up at once: a thread each.
const MAX_LOOKUPS: usize = 64;

/// Maximum number of addresses that are looked up in all: more than the paths of a day have.
const MAX_NAMES: usize = 4096;

/// A trace as a document.
#[derive(Serialize)]
struct Document<'a> {
    /// Target, as it was given.
    target: &'a str,
    /// Its address.
    address: String,
    /// What the probes are.
    transport: &'static str,
    /// Destination port, unless each flow has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Whether a signal ended it.
    is_interrupted: bool,
    #[serde(flatten)]
    report: &'a Report,
    /// What differs from the path that is remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<&'a Comparison>,
    /// The path MTU.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_mtu: Option<&'a PathMtu>,
    /// The connection whose way it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    like: Option<&'a Like>,
    /// Errors that other traffic drew before; none if the record could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    drawn: Option<&'a [Drawn]>,
}

/// What a trace found.
struct Found<'a> {
    args: &'a Args,
    target: &'a str,
    is_interrupted: bool,
    report: Report,
    compared: Option<Comparison>,
    path_mtu: Option<PathMtu>,
    like: Option<&'a Like>,
    drawn: Option<Vec<Drawn>>,
}

/// Runs `netsonde trace`. Returns 0 if the target answered, 1 if not, and 2 if no probe left this host.
pub fn run(
    global: &Global,
    socket: &Path,
    history: Option<&Path>,
    args: &Args,
) -> Result<u8, Failure> {
    if args.first > args.max {
        let (first, max) = (args.first, args.max);
        return Err(Failure::Other(format!("-f {first} is more than -m {max}")));
    }
    let found = args.like.as_deref();
    let like = found.map(|text| Like::find(socket, text)).transpose()?;
    let of_connection = like.as_ref().map(|like| of_connection(args, like));
    let args = of_connection.as_ref().unwrap_or(args);
    let (target, address) = target(args, like.is_some())?;
    let known = match (history, args.compare) {
        (Some(history), Some(time_ns)) => Some(compare::ask(history, &target, time_ns)?),
        _ => None,
    };
    let interrupt = Interrupt::catch()?;
    if args.continuous {
        return continuous::run(global, socket, args, (&target, address), &interrupt);
    }
    progress(global, &format!("tracing the path to {target}"));
    let drawn = drawn::read(global, socket, address);
    let mut trace = Trace::new(settings(args, address), monotonic_ns());
    let mut names = Names::new(!args.numeric);
    let options = options(args);
    let mut along = options.clone();
    if let Some(like) = &like {
        along.source = Some(like.source.to_string());
        along.connection = Some(like.connection());
    }
    let stop = interrupt.descriptor();
    let mut is_whole = follow(socket, &target, &along, &mut trace, stop, |answer| {
        let from = answer.from.as_deref().and_then(|from| from.parse().ok());
        if let Some(from) = from {
            names.look_up(from);
        }
    })?;
    if is_whole {
        pinged::ping(socket, &mut trace, &options)?;
    } else {
        interrupt.take();
    }
    let mut report = trace.report();
    let mut path_mtu = None;
    if args.mtu && is_whole {
        progress(global, "searching the path MTU");
        path_mtu = mtu::find(socket, (&target, address), &report, &options, &interrupt)?;
        is_whole = path_mtu.is_some();
        let remarks = path_mtu.iter().flat_map(PathMtu::remarks);
        report.remarks.extend(remarks);
    }
    if let Some(like) = &like {
        like.explain(&mut report);
    }
    names.wait();
    for node in report.hops.iter_mut().flat_map(|hop| &mut hop.nodes) {
        node.name = names.known.get(&node.address).cloned();
    }
    let found = Found {
        args,
        target: &target,
        is_interrupted: !is_whole,
        compared: known.map(|known| Comparison::new(&known, address, &report)),
        report,
        path_mtu,
        like: like.as_ref(),
        drawn,
    };
    found.print(global)?;
    Ok(found.status())
}

impl Found<'_> {
    fn print(&self, global: &Global) -> Result<(), Failure> {
        let (args, report) = (self.args, &self.report);
        let mut out = screen::stdout();
        if global.json {
            let document = Document {
                target: &args.target,
                address: self.target.to_owned(),
                transport: transport(args).name(),
                port: transport(args).port().filter(|port| *port != 0),
                is_interrupted: self.is_interrupted,
                report,
                compared: self.compared.as_ref(),
                path_mtu: self.path_mtu.as_ref(),
                like: self.like,
                drawn: self.drawn.as_deref(),
            };
            return Ok(json(&mut out, &document)?);
        }
        let style = global.style();
        let over = (self.target, transport(args));
        let along = self.like.map(Like::name);
        let text = text::render(over, along.as_deref(), report, !args.numeric, style);
        write!(out, "{text}")?;
        if let Some(compared) = &self.compared {
            write!(out, "\n{}", compared.text(style))?;
        }
        if let Some(found) = &self.path_mtu {
            write!(out, "{}", mtu::render(self.target, found, style))?;
        }
        let drawn = self.drawn.as_deref().unwrap_or_default();
        write!(out, "{}", drawn::render(self.target, drawn, style))?;
        Ok(())
    }

    fn status(&self) -> u8 {
        let hops = &self.report.hops;
        let has_left = hops.iter().any(|hop| hop.counted.sent > 0);
        // The target of a connection cannot answer: its routers can.
        let has_answers = hops.iter().any(|hop| !hop.nodes.is_empty());
        let is_answered = self.report.is_reached || (self.like.is_some() && has_answers);
        match (is_answered, has_left) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }
}

/// Returns the target as the service gets it, and its address.
fn target(args: &Args, is_along: bool) -> Result<(String, IpAddr), Failure> {
    let how = Ping {
        ipv4: args.ipv4,
        ipv6: args.ipv6,
        by: args.by.clone(),
        ..Ping::default()
    };
    let is_address = args
        .by
        .as_ref()
        .is_some_and(|by| by.parse::<IpAddr>().is_ok());
    if is_along && is_address {
        let words = "--like has the address of its connection: -I takes an interface with it";
        return Err(Failure::Other(words.into()));
    }
    let wanted = read_target(&args.target, &how)?;
    if wanted.is_range || wanted.is_group {
        let target = &args.target;
        return Err(Failure::Other(format!("{target}: one host is expected")));
    }
    let address = wanted.target.split('%').next().unwrap_or_default();
    let address = address
        .parse()
        .map_err(|_| Failure::Other(format!("{} is no address", wanted.target)))?;
    Ok((wanted.target, address))
}

/// Returns the arguments of a trace along a connection: one flow of TCP to its other end.
fn of_connection(args: &Args, like: &Like) -> Args {
    Args {
        target: like.destination.to_string(),
        tcp: Some(like.destination_port),
        flows: Some(1),
        tos: args.tos.or(like.tos),
        ..args.clone()
    }
}

/// Protocol of the probes; port 0 of UDP stands for a port for each flow.
fn transport(args: &Args) -> Transport {
    // The paths that are remembered are those of echo requests, and these are of any length.
    let is_echo = args.icmp || args.compare.is_some() || (args.mtu && args.udp.is_none());
    match (is_echo, args.tcp, args.udp) {
        (true, ..) => Transport::Echo,
        (_, Some(port), _) => Transport::Tcp { port },
        (.., port) => Transport::Udp {
            port: port.unwrap_or(0),
        },
    }
}

fn settings(args: &Args, target: IpAddr) -> Settings {
    Settings {
        target,
        first: args.first,
        last: args.max,
        queries: args.queries,
        flows: args.flows,
        most_flows: match transport(args) {
            Transport::Udp { port: 0 } | Transport::Echo => MOST_FLOWS,
            other => other.flows() as u16,
        },
        tos: args.tos.unwrap_or(0),
        timeout_ns: args.timeout,
        tests_rates: !args.fast,
    }
}

fn options(args: &Args) -> Options {
    let is_address = |by: &&String| by.parse::<IpAddr>().is_ok();
    Options {
        timeout_ns: Some(args.timeout),
        tos: args.tos,
        transport: Some(transport(args).name().into()),
        port: transport(args).port().filter(|port| *port != 0),
        interface: args.by.clone().filter(|by| !is_address(&by)),
        source: args.by.clone().filter(|by| is_address(&by)),
        ..Options::default()
    }
}

/// An address with its name, if it has one.
type Named = (IpAddr, Option<String>);

/// Names of addresses, looked up while the trace goes on.
struct Names {
    is_wanted: bool,
    asked: HashSet<IpAddr>,
    known: HashMap<IpAddr, String>,
    found: (Sender<Named>, Receiver<Named>),
    pending: usize,
}

impl Names {
    fn new(is_wanted: bool) -> Names {
        Names {
            is_wanted,
            asked: HashSet::new(),
            known: HashMap::new(),
            found: channel(),
            pending: 0,
        }
    }

    fn look_up(&mut self, address: IpAddr) {
        let may = self.is_wanted && self.pending < MAX_LOOKUPS && self.asked.len() < MAX_NAMES;
        if !may || !self.asked.insert(address) {
            return;
        }
        self.pending += 1;
        let found = self.found.0.clone();
        // Nobody waits for those that take too long: they end with the program.
        std::thread::spawn(move || {
            let _ = found.send((address, name_of(address)));
        });
    }

    /// Takes the names that were found meanwhile.
    fn collect(&mut self) {
        while let Ok(found) = self.found.1.try_recv() {
            self.take(found);
        }
    }

    fn wait(&mut self) {
        let until = Instant::now() + NAMES_WAIT;
        while self.pending > 0 {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(found) = self.found.1.recv_timeout(left) else {
                return;
            };
            self.take(found);
        }
    }

    fn take(&mut self, (address, name): Named) {
        self.pending -= 1;
        if let Some(name) = name {
            self.known.insert(address, one_line(&name).into_owned());
        }
    }
}
