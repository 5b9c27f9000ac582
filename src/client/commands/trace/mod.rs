//! SHELL. `netsonde trace`: the path to a host.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | options, names, output |
//! | `continuous` | round after round |
//! | `drawn` | errors of the record that other traffic drew |
//! | `like` | the connection whose way is taken |
//! | `session` | the run that the trace controls |
//! | `text` | the table |

mod continuous;
mod drawn;
mod like;
mod session;
mod text;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::cli::args::{Global, Ping, Trace as Args};
use crate::client::commands::ping::read_target;
use crate::client::failure::Failure;
use crate::client::interrupt::Interrupt;
use crate::client::output::{json, progress};
use crate::client::screen;
use crate::linux::monotonic_ns;
use crate::linux::names::name_of;
use like::Like;
use netsonde_core::probe::Transport;
use netsonde_core::protocol::trace::Options;
use netsonde_core::screen::one_line;
use netsonde_core::trace::{Drawn, Report, Settings, Trace};

/// Time for which names are waited for when the path is known.
const NAMES_WAIT: Duration = Duration::from_millis(500);
/// Maximum number of names that are looked up at once: a thread each.
const MAX_LOOKUPS: usize = 64;

/// Maximum number of addresses that are looked up in all: more than the paths of a day have.
const MAX_NAMES: usize = 4096;

/// Maximum number of flows: more than a trace sends probes.
const MAX_FLOWS: u16 = 4096;

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
    /// The connection whose way it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    like: Option<&'a Like>,
    /// Errors that other traffic drew before; none if the record could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    drawn: Option<&'a [Drawn]>,
}

/// Runs `netsonde trace`. Returns 0 if the target answered, 1 if not, and 2 if no probe left this host.
pub fn run(global: &Global, socket: &Path, args: &Args) -> Result<u8, Failure> {
    if args.first > args.max {
        let (first, max) = (args.first, args.max);
        return Err(Failure::Other(format!("-f {first} is more than -m {max}")));
    }
    let found = args.like.as_deref();
    let like = found.map(|text| Like::find(socket, text)).transpose()?;
    let of_connection = like.as_ref().map(|like| of_connection(args, like));
    let args = of_connection.as_ref().unwrap_or(args);
    let (wanted, address) = target(args, like.is_some())?;
    let interrupt = Interrupt::catch()?;
    if args.continuous {
        return continuous::run(global, socket, args, (&wanted, address), &interrupt);
    }
    progress(global, &format!("tracing the path to {}", wanted));
    let drawn = drawn::read(global, socket, address);
    let mut trace = Trace::new(settings(args, address), monotonic_ns());
    let mut names = Names::new(!args.numeric);
    let mut options = options(args);
    if let Some(like) = &like {
        options.source = Some(like.source.to_string());
        options.connection = Some(like.connection());
    }
    let is_whole = session::follow(
        socket,
        &wanted,
        &options,
        &mut trace,
        &interrupt,
        |answer| {
            let from = answer.from.as_deref().and_then(|from| from.parse().ok());
            if let Some(from) = from {
                names.look_up(from);
            }
        },
    )?;
    let mut report = trace.report();
    if let Some(like) = &like {
        like.explain(&mut report);
    }
    names.wait();
    for node in report.hops.iter_mut().flat_map(|hop| &mut hop.nodes) {
        node.name = names.known.get(&node.address).cloned();
    }
    let mut out = screen::stdout();
    if global.json {
        let document = Document {
            target: &args.target,
            address: wanted.clone(),
            transport: transport(args).name(),
            port: transport(args).port().filter(|port| *port != 0),
            is_interrupted: !is_whole,
            report: &report,
            like: like.as_ref(),
            drawn: drawn.as_deref(),
        };
        json(&mut out, &document)?;
    } else {
        let over = (&wanted[..], transport(args));
        let style = global.style();
        let along = like.as_ref().map(Like::name);
        let text = text::render(over, along.as_deref(), &report, !args.numeric, style);
        let drawn = drawn::render(&wanted, drawn.as_deref().unwrap_or_default(), style);
        write!(out, "{text}{drawn}")?;
    }
    let has_left = report.hops.iter().any(|hop| hop.counted.sent > 0);
    // The target of a connection cannot answer: its routers can.
    let has_answers = report.hops.iter().any(|hop| !hop.nodes.is_empty());
    let is_answered = report.is_reached || like.is_some() && has_answers;
    Ok(match (is_answered, has_left) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    })
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
    match (args.icmp, args.tcp, args.udp) {
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
            Transport::Udp { port: 0 } | Transport::Echo => MAX_FLOWS,
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
type Found = (IpAddr, Option<String>);

/// Names of addresses, looked up while the trace goes on.
struct Names {
    is_wanted: bool,
    asked: HashSet<IpAddr>,
    known: HashMap<IpAddr, String>,
    found: (Sender<Found>, Receiver<Found>),
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

    fn take(&mut self, (address, name): Found) {
        self.pending -= 1;
        if let Some(name) = name {
            self.known.insert(address, one_line(&name).into_owned());
        }
    }
}
