//! SHELL. The threads that trace paths and look at them: ordinary clients of netsonded, which send probes as the monitors
//! do.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use netsonde_core::protocol::history::TracedHop;
use netsonde_core::protocol::trace::{Options, ProbeCall, ProbeReply, Step};
use netsonde_core::trace::path::{answerer, is_unsent};
use netsonde_core::trace::{MOST_FLOWS, Settings, Trace};
use netsonde_history::paths::Job;
use tokio::sync::mpsc::Sender;

use super::run::{Done, Found, Report, pause};
use crate::linux::{monotonic_ns, wall_ns};
use crate::varlink::client::{Connection, Error};
use crate::varlink::trace::follow;

/// Threads, each with up to two connections to netsonded: where one waits for a silent hop, an outage is traced by the
/// other.
const WORKERS: usize = 2;
/// Time limit of an answer in nanoseconds.
const TIMEOUT_NS: u64 = 1_000_000_000;
/// Highest TTL of a trace, as of traceroute(8).
const MAX_HOPS: u8 = 30;

/// Hops behind the last that answered to which probes are sent once more, how often, and after which pause: with the time
/// limit of the probes before it more than a second, so that a router that limits its answers to one a second, which is
/// usual, has one.
const BEYOND: u64 = 3;
const BEYOND_ROUNDS: usize = 2;
const BEYOND_PAUSE: Duration = Duration::from_millis(200);

/// What a thread is to do.
#[derive(Debug)]
pub struct Order {
    /// Number that identifies it in its result.
    pub number: u64,
    /// Target, with %INTERFACE if it has a scope.
    pub target: String,
    /// Protocol, port, interface, source and type of service of the probes.
    pub options: Options,
    /// What to do.
    pub job: Job,
    /// Whether it is for an outage, and comes before others.
    pub is_urgent: bool,
}

#[derive(Default)]
struct Queue {
    orders: VecDeque<Order>,
    is_ending: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    socket: PathBuf,
}

/// The threads. They end when this is dropped.
pub struct Tracer {
    shared: Arc<Shared>,
    _stop: UnixStream,
}

impl Tracer {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// No thread or descriptor is left.
    pub fn start(socket: &Path, reports: &Sender<Report>) -> std::io::Result<Tracer> {
        let (stop, stopped) = UnixStream::pair()?;
        let stopped = Arc::new(stopped);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            socket: socket.into(),
        });
        for number in 1..=WORKERS {
            let worker = Worker {
                shared: shared.clone(),
                stopped: stopped.clone(),
                reports: reports.clone(),
                connection: None,
            };
            std::thread::Builder::new()
                .name(format!("paths {number}"))
                .stack_size(256 << 10)
                .spawn(move || worker.work())?;
        }
        Ok(Tracer {
            shared,
            _stop: stop,
        })
    }

    /// Has an order done. The caller limits how many wait.
    pub fn order(&self, order: Order) {
        let mut queue = lock(&self.shared.queue);
        match order.is_urgent {
            true => queue.orders.push_front(order),
            false => queue.orders.push_back(order),
        }
        drop(queue);
        self.shared.wake.notify_one();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        lock(&self.shared.queue).is_ending = true;
        self.shared.wake.notify_all();
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    shared: Arc<Shared>,
    stopped: Arc<UnixStream>,
    reports: Sender<Report>,
    /// For looks, one after the other.
    connection: Option<Connection>,
}

impl Worker {
    fn work(mut self) {
        while let Some(order) = self.next() {
            let number = order.number;
            let found = self.carry_out(&order);
            let (found, probes) = found.unwrap_or_else(|error| {
                self.connection = None;
                (Found::Failed(error.to_string()), 0)
            });
            let done = Done {
                number,
                probes,
                found,
            };
            if self.reports.blocking_send(Report::Path(done)).is_err() {
                return;
            }
        }
    }

    fn next(&self) -> Option<Order> {
        let mut queue = lock(&self.shared.queue);
        loop {
            if queue.is_ending {
                return None;
            }
            if let Some(order) = queue.orders.pop_front() {
                return Some(order);
            }
            let waited = self.shared.wake.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn carry_out(&mut self, order: &Order) -> Result<(Found, u64), Error> {
        let address = order.target.split('%').next().unwrap_or_default();
        let Ok(address) = address.parse::<IpAddr>() else {
            return Ok((Found::Failed(format!("{address} is no address")), 0));
        };
        match &order.job {
            Job::Look(hops) => {
                let answers = self.look(order, address, hops)?;
                Ok((Found::Looked(answers), hops.len() as u64))
            }
            Job::Trace => self.trace(order, address),
        }
    }

    /// Sends a probe to each of some TTLs, all of one flow. Another run has other flows.
    fn look(
        &mut self,
        order: &Order,
        target: IpAddr,
        hops: &[u8],
    ) -> Result<Vec<(u8, IpAddr, u64)>, Error> {
        let steps = hops.iter().zip(0..).map(|(hop, number)| Step {
            number,
            hop_limit: *hop,
            flow: 0,
        });
        let call = ProbeCall {
            target: order.target.clone(),
            probes: steps.collect(),
            options: Some(order.options.clone()),
            open: None,
        };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.shared.socket)?,
        };
        connection.call_more("io.netsonde.Trace.Probe", &call)?;
        let mut found = Vec::new();
        loop {
            let reply = connection.reply_or::<ProbeReply>(Some(self.stopped.as_fd()))?;
            let Some((reply, continues)) = reply else {
                return Ok(Vec::new());
            };
            for answer in reply.answers.into_iter().flatten() {
                let sent = answer.time.parse::<jiff::Timestamp>().ok();
                let sent_ns = sent.and_then(|sent| u64::try_from(sent.as_nanosecond()).ok());
                if let (Some(from), Some(sent_ns)) = (answerer(&answer, target), sent_ns) {
                    found.push((answer.hop_limit, from, sent_ns));
                }
            }
            if !continues {
                break;
            }
        }
        self.connection = Some(connection);
        Ok(found)
    }

    /// Probes the hops behind the last that answered again. Adds those that answer, and returns the number of probes.
    fn look_beyond(
        &mut self,
        order: &Order,
        target: IpAddr,
        hops: &mut Vec<TracedHop>,
    ) -> Result<u64, Error> {
        let mut probes = 0;
        for _ in 0..BEYOND_ROUNDS {
            if hops
                .last()
                .is_some_and(|hop| hop.error.is_some() || is_at(hop, target))
                || pause(&self.stopped, BEYOND_PAUSE)
            {
                break;
            }
            let last = hops.last().map_or(0, |hop| hop.hop);
            let beyond: Vec<u8> = (last + 1..=last + BEYOND)
                .filter_map(|hop| u8::try_from(hop).ok())
                .collect();
            probes += beyond.len() as u64;
            let mut found = self.look(order, target, &beyond)?;
            found.sort_unstable();
            for (hop, address, _) in found {
                hops.push(TracedHop {
                    hop: hop.into(),
                    addresses: vec![address.to_string()],
                    answers: 1,
                    error: None,
                });
                if address == target {
                    break;
                }
            }
        }
        Ok(probes)
    }

    fn trace(&mut self, order: &Order, target: IpAddr) -> Result<(Found, u64), Error> {
        let settings = Settings {
            target,
            first: 1,
            last: MAX_HOPS,
            // Where the path ends is found with two probes to each hop: routers that limit their answers answer these.
            queries: if order.is_urgent { 2 } else { 1 },
            flows: order.is_urgent.then_some(1),
            most_flows: MOST_FLOWS,
            tos: order.options.tos.unwrap_or(0),
            timeout_ns: TIMEOUT_NS,
            tests_rates: false,
        };
        let since_ns = wall_ns();
        let mut trace = Trace::new(settings, monotonic_ns());
        let mut has_left = false;
        let (socket, options) = (&self.shared.socket, &order.options);
        let stopped = self.stopped.clone();
        let stop = stopped.as_fd();
        let is_whole = follow(socket, &order.target, options, &mut trace, stop, |answer| {
            has_left |= !is_unsent(answer, target);
        })?;
        let report = trace.report();
        let mut probes = u64::from(report.probes);
        let mut hops = report.traced();
        if order.is_urgent && is_whole && has_left && !report.is_reached {
            probes += self.look_beyond(order, target, &mut hops)?;
        }
        let found = match is_whole {
            true => Found::Traced {
                since_ns,
                answers: report.answers(),
                is_reached: report.is_reached || hops.iter().any(|hop| is_at(hop, target)),
                hops,
                has_left,
            },
            false => Found::Failed("the historian ends".into()),
        };
        Ok((found, probes))
    }
}

/// Returns whether an address answered at a hop.
fn is_at(hop: &TracedHop, address: IpAddr) -> bool {
    let address = address.to_string();
    hop.addresses.contains(&address)
}

/// Returns the options of probes that are sent as those of a monitor.
pub fn options(interface: Option<String>, source: Option<String>, tos: Option<u8>) -> Options {
    Options {
        timeout_ns: Some(TIMEOUT_NS),
        tos,
        interface,
        source,
        ..Options::default()
    }
}
