//! SHELL. The historian: keeps the history of monitors, their outages, and what is on disk. It is an ordinary client of
//! netsonded, and holds no privilege.
//!
//! | file | contents |
//! |---|---|
//! | `args` | the command line |
//! | `state` | monitors, targets and runs, and the book of outages |
//! | `run` | a thread for each run of probes |
//! | `cause` | what was seen of a lost probe, as a cause |
//! | `clock` | whether the host was suspended or its clock set |
//! | `disk` | the thread that owns what is on disk |
//! | `events` | the thread that follows netsonded's event log |
//! | `memory` | settings of the C library's heap |
//! | `host` | the thread that asks for counters of this host, and for ways to targets |
//! | `second` | what netsonded says of its host at one time |
//! | `around` | this host, second by second |
//! | `paths` | paths through the network, and outages that wait for theirs |
//! | `traced` | the part of the state that is about them |
//! | `tracer` | the threads that trace them |
//! | `record` | the record on disk, what is kept, and the evidence of outages |
//! | `service` | the methods of `io.netsonde.History` |
//!
//! The state belongs to one thread, which never waits: not for the disk, not for netsonded, not for a client. If a disk does not
//! answer, probes wait in memory, up to a limit, and readers are told so.

pub mod args;
mod around;
mod cause;
mod clock;
mod disk;
mod events;
mod host;
mod memory;
mod paths;
pub mod record;
mod run;
mod second;
mod service;
mod state;
mod traced;
mod tracer;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use netsonde_core::config::{Config, MAX_FILE_BYTES};
use netsonde_core::monitor;
use netsonde_core::protocol::history::{Event, Monitor};
use netsonde_history::chunk::{Entry, Probe};
use netsonde_history::degraded;
use netsonde_history::histogram::Step;
use netsonde_history::store::Options;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::linux::configuration::{self, permissions};
use crate::linux::{reason, received, wall_ns};
use crate::varlink::server::listen::{Lock, open_control};
use crate::varlink::server::memory::{Memory, MemoryLimits};
use crate::varlink::server::{self, Clients, Limits};
use args::Args;
use clock::Clocks;
use record::Record;
use service::History;
use state::{Compared, Historian};

/// Reports of runs that may wait. A full queue holds up the runs, whose results netsonded then keeps or counts.
const REPORTS: usize = 256;
/// Time in nanoseconds of probes that are read again at the start: of a target without a state that was written, and
/// at most.
const REPLAY_NS: (u64, u64) = (60_000_000_000, 3_600_000_000_000);
/// Time that the start waits for them.
const REPLAY_WAIT: Duration = Duration::from_secs(60);
/// Interval of comparing targets with their own history, and how many are compared then: with 300 targets each of them
/// every minute, with 10,000 every half hour.
const COMPARE: Duration = Duration::from_secs(60);
const COMPARED: usize = 300;
/// Time that a comparison waits for the disk.
const COMPARE_WAIT: Duration = Duration::from_secs(10);
/// Length in nanoseconds of the present, which is compared with the same hour of the last seven days: two minutes,
/// and as many intervals as there must be probes, with some to spare.
const PRESENT_NS: u64 = 120_000_000_000;
const PRESENT_INTERVALS: u64 = 2 * degraded::MIN_PRESENT;
const HALF_HOUR_NS: u64 = 1_800_000_000_000;
const DAY_NS: u64 = 86_400_000_000_000;
/// Interval of resolving names again.
const RESOLVE: Duration = Duration::from_secs(60);

/// Runs the historian. Returns the exit status: 0 after an orderly end, 2 if it could not start.
pub fn run(args: &Args) -> u8 {
    memory::settle();
    match start(args) {
        Ok(()) => 0,
        Err(problems) => {
            for problem in problems {
                crate::log::refuse("netsonde-historian: ", &problem);
            }
            2
        }
    }
}

/// Reads the monitors; none if there is no file.
fn read_monitors(path: &Path) -> Result<Vec<Monitor>, Vec<String>> {
    let name = path.display().to_string();
    let unreadable = |error: io::Error| vec![format!("cannot read {name}: {}", reason(&error))];
    let file = match configuration::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    monitor::read(&bytes).map_err(|problems| problems.lines(&name))
}

fn start(args: &Args) -> Result<(), Vec<String>> {
    let config = configuration::read(args.config.as_deref())?;
    let monitors = read_monitors(&args.monitors);
    if args.check {
        let monitors = monitors?;
        println!("{} monitors in {}", monitors.len(), args.monitors.display());
        return Ok(());
    }
    let one = |problem: String| vec![problem];
    std::fs::create_dir_all(&args.state).map_err(|error| {
        one(format!(
            "cannot create {}: {}",
            args.state.display(),
            reason(&error)
        ))
    })?;
    let options = Options {
        budget_bytes: config.history.budget.0,
        boot_id: boot_id(),
        seed: wall_ns(),
        ..Options::default()
    };
    let (disk, table) =
        disk::start(&args.state, options).map_err(|error| one(error.to_string()))?;
    let (listener, owner, _lock) = listen(args, &config).map_err(one)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| one(format!("cannot start: {}", reason(&error))))?;
    let (reports, reported) = mpsc::channel(REPORTS);
    // One at a time: what it has no time for waits in the state.
    let (wanted, looked) = std::sync::mpsc::sync_channel(1);
    let asking = host::follow(&args.socket, looked, reports.clone());
    asking.map_err(|error| one(format!("cannot start: {}", reason(&error))))?;
    let (to, mut logged) = mpsc::channel(REPORTS);
    let last_ns = table.get::<u64>(state::LAST_EVENT).unwrap_or(0);
    let following = events::follow(&args.socket, last_ns, to);
    following.map_err(|error| one(format!("cannot start: {}", reason(&error))))?;
    let of_record = record::Options {
        budget_bytes: config.history.record.0,
        bulk: config.history.bulk,
        kept_bytes: config.history.kept.0,
        evidence_bytes: config.history.evidence.0,
    };
    let record = Record::start(&args.socket, &args.state, of_record);
    let record =
        Arc::new(record.map_err(|error| one(format!("cannot start: {}", reason(&error))))?);
    let tracer = match config.history.paths {
        true => Some(tracer::Tracer::start(&args.socket, &reports))
            .transpose()
            .map_err(|error| one(format!("cannot start: {}", reason(&error))))?,
        false => None,
    };
    let tracing = paths::Tracing::new(tracer, config.history.path_interval.0, &table);
    let mut historian = Historian::new(
        args.socket.clone(),
        disk.keeper(),
        record,
        &table,
        reports,
        wanted,
        tracing,
    );
    drop(table);
    match monitors {
        Ok(monitors) => historian.set_file(monitors, Vec::new()),
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            historian.problems.extend(problems);
        }
    }
    let historian = Rc::new(RefCell::new(historian));
    let ended = LocalSet::new().block_on(&runtime, async {
        replay(&historian).await;
        historian.borrow_mut().settle();
        serve(
            args,
            &config,
            historian.clone(),
            listener,
            owner,
            reported,
            &mut logged,
        )
        .await
    });
    {
        let mut historian = historian.borrow_mut();
        historian.release_all();
        historian.book.mark_all();
        historian.tracing.paths.mark_all();
        historian.write_changes();
    }
    disk.end();
    ended.map_err(|error| one(reason(&error)))
}

/// Returns the listening socket: of systemd, or its own with the user who started it.
fn listen(args: &Args, config: &Config) -> Result<(OwnedFd, Option<u32>, Option<Lock>), String> {
    let mut passed = sd_notify::listen_fds().map_err(|error| error.to_string())?;
    if let Some(descriptor) = passed.next() {
        let listener = UnixListener::from(received::passed(descriptor));
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.map_err(|error| format!("the socket of the starter: {}", reason(&error)))?;
        return Ok((listener.into(), None, None));
    }
    let group = (nix::unistd::geteuid().is_root())
        .then(|| configuration::find_group(&config.control.group))
        .flatten()
        .map(nix::unistd::Gid::from_raw);
    let control = open_control(&args.listen, group, "netsonde-historian")
        .map_err(|why| format!("socket {}: {why}", args.listen.display()))?;
    let owner = nix::unistd::getuid().as_raw();
    Ok((control.listener.into(), Some(owner), control.lock))
}

/// Where the comparison of targets with their own history is.
#[derive(Default)]
struct Comparison {
    /// Number of the next target.
    next: Cell<u32>,
    is_running: Cell<bool>,
}

/// Compares the next targets with their own history, in their order, and begins again at the end. Does nothing while
/// another one waits for the disk.
async fn compare(historian: Rc<RefCell<Historian>>, comparison: Rc<Comparison>) {
    if comparison.is_running.replace(true) {
        return;
    }
    compare_next(&historian, &comparison.next).await;
    comparison.is_running.set(false);
}

async fn compare_next(historian: &RefCell<Historian>, next: &Cell<u32>) {
    let (keeper, part) = {
        let historian = historian.borrow();
        (
            historian.keeper.clone(),
            historian.after(next.get(), COMPARED),
        )
    };
    next.set(match part.last() {
        Some((last, ..)) if part.len() == COMPARED => last + 1,
        _ => 0,
    });
    let now_ns = wall_ns();
    let read = move |all: &mut disk::Opened| {
        let each = part.into_iter().map(|(series, interval_ns, former)| {
            let present_ns = PRESENT_NS.max(interval_ns.saturating_mul(PRESENT_INTERVALS));
            let since_ns = now_ns.saturating_sub(present_ns);
            let present = all.store.span(series, since_ns, now_ns)?;
            let mut history = Step::default();
            let mut when = "at this hour of earlier days";
            for day in 1..=7u64 {
                let middle_ns = now_ns.saturating_sub(day * DAY_NS);
                let (from_ns, to_ns) = (
                    middle_ns.saturating_sub(HALF_HOUR_NS),
                    middle_ns + HALF_HOUR_NS,
                );
                history.merge(&all.store.span(series, from_ns, to_ns)?);
            }
            if history.sent() < degraded::MIN_RARE {
                when = "in the 24 hours before";
                let from_ns = since_ns.saturating_sub(DAY_NS);
                history = all.store.span(series, from_ns, since_ns)?;
            }
            let reason = degraded::compare(&present, &history);
            let turned_ns = match (former, reason) {
                (None, Some(reason)) => {
                    let probes = probes(all, series, since_ns.saturating_sub(present_ns))?;
                    reason.onset(&probes)
                }
                (Some(former), None) => {
                    let probes = probes(all, series, since_ns.saturating_sub(present_ns))?;
                    former.recovery(&probes)
                }
                _ => None,
            };
            Ok(Compared {
                series,
                since_ns,
                turned_ns: turned_ns.unwrap_or(since_ns),
                reason: reason.map(|reason| (reason, reason.words(when))),
            })
        });
        each.collect::<Result<Vec<_>, netsonde_history::store::Error>>()
    };
    // Without an answer of the disk nothing is known.
    if let Some(Ok(found)) = keeper.query(COMPARE_WAIT, read).await {
        for compared in found {
            historian.borrow_mut().compared(compared);
        }
    }
}

/// Reads the probes of a series from a time on.
fn probes(
    all: &mut disk::Opened,
    series: u32,
    from_ns: u64,
) -> Result<Vec<Probe>, netsonde_history::store::Error> {
    let mut probes = Vec::new();
    all.store.entries(series, from_ns, u64::MAX, |coded| {
        if let Entry::Probe(probe) = coded.entry() {
            probes.push(probe);
        }
        true
    })?;
    Ok(probes)
}

/// Brings states up to the last probe in the store: after a kill they are those of the last time that they were
/// written.
async fn replay(historian: &RefCell<Historian>) {
    let unread = historian.borrow().unread();
    let keeper = historian.borrow().keeper.clone();
    let now_ns = wall_ns();
    let read = move |all: &mut disk::Opened| {
        let each = unread.into_iter().map(|(series, last_ns)| {
            // A state that was never written was up: its last minute says so again. One that was written may know
            // results that were held, and are not in the store.
            let from_ns = match last_ns {
                0 => now_ns.saturating_sub(REPLAY_NS.0),
                last_ns => last_ns
                    .saturating_sub(REPLAY_NS.0)
                    .max(now_ns.saturating_sub(REPLAY_NS.1)),
            };
            let probes = probes(all, series, from_ns)?;
            let stored_ns = match probes.last() {
                Some(last) => Some(last.sent_ns),
                None => all.store.at(series, now_ns)?.map(|probe| probe.sent_ns),
            };
            let probes = probes.iter().filter(|probe| probe.sent_ns > last_ns);
            let probes: Vec<_> = probes.map(|probe| (probe.sent_ns, probe.fate)).collect();
            Ok((series, stored_ns, probes))
        });
        each.collect::<Result<Vec<_>, netsonde_history::store::Error>>()
    };
    match keeper.query(REPLAY_WAIT, read).await {
        Some(Ok(all)) => {
            for (series, stored_ns, probes) in all {
                historian.borrow_mut().replay(series, stored_ns, &probes);
            }
        }
        Some(Err(error)) => {
            tracing::warn!("states are those of the last time that they were written: {error}")
        }
        None => tracing::warn!(
            "states are those of the last time that they were written: the disk does not answer"
        ),
    }
}

fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

async fn serve(
    args: &Args,
    config: &Config,
    historian: Rc<RefCell<Historian>>,
    listener: OwnedFd,
    owner: Option<u32>,
    mut reported: mpsc::Receiver<run::Report>,
    logged: &mut mpsc::Receiver<(u64, Event)>,
) -> io::Result<()> {
    let memory = Memory::new(MemoryLimits::new(&config.control));
    let limits = Limits::new(config.control.clients, config.control.clients_per_uid);
    let clients = Rc::new(RefCell::new(Clients::new(limits, memory.clone())));
    let allowed = Rc::new(RefCell::new(permissions(config, owner)));
    let budget = Rc::new(RefCell::new(config.history.budget.0));
    let service = Rc::new(History {
        historian: historian.clone(),
        permissions: allowed.clone(),
        memory,
        clients: clients.clone(),
        started_ns: wall_ns(),
        budget,
    });
    let mut served = std::pin::pin!(server::serve(listener, service, clients));
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut hangup = signal(SignalKind::hangup())?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut clocks = Clocks::now();
    let mut is_stalled = false;
    let (resolve, mut resolved) = resolver();
    let mut resolve_due = tokio::time::interval(RESOLVE);
    let mut asked: HashSet<String> = HashSet::new();
    let mut compare_due = tokio::time::interval(COMPARE);
    compare_due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let comparison = Rc::new(Comparison::default());
    tracing::info!("ready");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            ended = &mut served => return ended,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(args, &historian, &allowed, owner),
            Some(report) = reported.recv() => historian.borrow_mut().report(report),
            Some((time_ns, event)) = logged.recv() => historian.borrow_mut().logged(time_ns, event),
            Some((name, found)) = resolved.recv() => historian.borrow_mut().resolved(&name, found),
            _ = resolve_due.tick() => asked.clear(),
            // By itself: the disk may not answer.
            _ = compare_due.tick() => {
                tokio::task::spawn_local(compare(historian.clone(), comparison.clone()));
            }
            _ = tick.tick() => {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                crate::log::sum_up();
                let now = Clocks::now();
                let happened = clocks.until(now);
                clocks = now;
                if let Some(happened) = happened {
                    tracing::warn!(reason = happened.name(), "not measured");
                    historian.borrow_mut().interrupted(happened);
                }
                historian.borrow_mut().tick();
                let stalled = historian.borrow().keeper.stalled();
                match &stalled {
                    Some(words) if !is_stalled => {
                        tracing::warn!("{words}: what is to be stored waits in memory");
                    }
                    None if is_stalled => tracing::info!("the disk answers again"),
                    _ => {}
                }
                is_stalled = stalled.is_some();
                for name in historian.borrow().names() {
                    if asked.insert(name.clone()) {
                        let _ = resolve.send(name);
                    }
                }
            }
        }
    }
    tracing::info!("ending");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    Ok(())
}

/// Reads configuration and monitors again. What is wrong is told, and changes nothing.
fn reload(
    args: &Args,
    historian: &RefCell<Historian>,
    allowed: &RefCell<netsonde_core::config::Permissions>,
    owner: Option<u32>,
) {
    let mut problems = Vec::new();
    match configuration::read(args.config.as_deref()) {
        Ok(config) => {
            *allowed.borrow_mut() = permissions(&config, owner);
            let (is_wanted, interval) = (config.history.paths, config.history.path_interval);
            (historian.borrow_mut()).set_tracing(is_wanted, interval.0);
        }
        Err(wrong) => problems.extend(wrong),
    }
    match read_monitors(&args.monitors) {
        Ok(monitors) => {
            let mut historian = historian.borrow_mut();
            historian.set_file(monitors, problems.clone());
            historian.settle();
            tracing::info!(monitors = historian.monitors.len(), "read again");
        }
        Err(wrong) => {
            problems.extend(wrong);
            historian.borrow_mut().problems.clone_from(&problems);
        }
    }
    for problem in &problems {
        tracing::error!("{problem}");
    }
}

/// Starts the thread that resolves names, by the host's own resolver. One name after the other: a server that does
/// not answer holds up names, and nothing else.
#[expect(clippy::type_complexity, reason = "the two ends of its channels")]
fn resolver() -> (
    std::sync::mpsc::Sender<String>,
    mpsc::UnboundedReceiver<(String, Result<String, String>)>,
) {
    let (ask, asked) = std::sync::mpsc::channel::<String>();
    let (answer, answers) = mpsc::unbounded_channel();
    // Without a thread no name is resolved, and each says so.
    let _ = std::thread::Builder::new()
        .name("resolver".into())
        .spawn(move || {
            for name in asked {
                let found = (name.as_str(), 0).to_socket_addrs();
                let found = match found.map(|mut all| all.next()) {
                    Ok(Some(address)) => Ok(address.ip().to_string()),
                    Ok(None) => Err(format!("{name} has no address")),
                    Err(error) => Err(format!("cannot resolve {name}: {error}")),
                };
                if answer.send((name, found)).is_err() {
                    return;
                }
            }
        });
    (ask, answers)
}
