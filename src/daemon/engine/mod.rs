//! SHELL. The engine: reads the rings through their mapping, records, listens, and answers clients.
//! It holds no capability and no packet socket. It has one thread, which works in iterations of a
//! few milliseconds, so that packets and clients never wait long for each other.
//!
//! | file | contents |
//! |---|---|
//! | `state` | the state of the engine, and the inputs that change it |
//! | `ring` | reading a TPACKET_V3 ring |
//! | `recording` | from the rings to the recorder and the trackers |
//! | `links` | links and addresses, from netlink |
//! | `listen` | raw sockets: packets delivered by the IP layer |
//! | `watch` | event detection, once per second |
//! | `prober` | probes: sockets, routes and counters around `probe` |
//! | `service` | the methods of the Varlink interfaces |
//! | `export` | packets from the record, as pcapng |
//! | `samples` | what an export says about packets that were not stored |
//! | `sandbox` | the allowed system calls and files |

mod export;
mod links;
mod listen;
mod prober;
pub mod recording;
mod repeat;
pub mod ring;
mod samples;
pub mod sandbox;
mod service;
mod state;
pub mod watch;

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, yield_now};

use crate::daemon::channel::handover::{
    Counter, DescriptorSlot, EngineRequest, HandoverHeader, KeeperMessage, MAX_DESCRIPTORS,
    counter_at, recv_handover, recv_message, send_request,
};
use crate::daemon::channel::settings::Settings;
use crate::linux::mapping::{Mapping, OwnMemory, ReadOnlyMapping};
use crate::linux::wall_ns;
use crate::varlink::server::{self as control, ready};
use links::Links;
use listen::Listener;
use netsonde_core::config::Config;
use netsonde_core::probe::transport::SourcePorts;
use netsonde_core::recorder::{Classifier, GapKind, Opened, Recorder};
use prober::{Prober, SegmentChannel};
use recording::Recording;
use state::EngineState;

/// The engine's state, shared by the tasks of its one thread. It is borrowed briefly, never across
/// an `await`.
pub(crate) type Shared = Rc<RefCell<EngineState>>;

/// Interval for polling state without notifications.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Runs as an engine, started by a keeper with the channel as standard input. Returns the exit
/// status.
pub fn run() -> u8 {
    match start() {
        Ok(()) => 0,
        Err(error) => {
            crate::log::refuse("netsonded: engine: ", &error.to_string());
            2
        }
    }
}

/// Name of an engine in ps(1) and top(1). It is started through /proc/self/exe, and would otherwise
/// be named `exe`. The kernel keeps 15 bytes.
const NAME: &CStr = c"netsonde-engine";

fn start() -> io::Result<()> {
    nix::sys::prctl::set_name(NAME)?;
    // Without a keeper an engine is of no use: its counters are not read, and it is not woken.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    nix::sys::prctl::set_dumpable(false)?;
    lower_descriptor_limit();
    // A task that panics must not leave the others running on inconsistent state. The keeper starts
    // the next engine, which takes over rings and record.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        std::process::abort();
    }));
    // The keeper waits for signals through a descriptor and has them blocked, which is inherited.
    nix::sys::signal::SigSet::all().thread_unblock()?;
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    let (handover_header, mut handed) = recv_handover(&channel).map_err(|error| {
        io::Error::other(format!(
            "no descriptors received (only netsonded itself starts an engine): {error}"
        ))
    })?;
    let own_sockets = watch::sockets(handed.iter().flatten());
    // The keeper's as well, whose sockets record.
    let network = crate::linux::network_namespace().ok();
    let settings = read_settings(
        take(&mut handed, DescriptorSlot::Settings)?,
        handover_header.settings_bytes as usize,
    )?;
    let config = settings.config.clone();
    let control = [DescriptorSlot::ControlSocket, DescriptorSlot::RemoteSocket]
        .into_iter()
        .filter_map(|which| handed[which as usize].take())
        .collect();
    let wake = take(&mut handed, DescriptorSlot::Wake)?;
    let listeners = take_listeners(&mut handed);
    let (recording, stalled) = take_intake(&handover_header, &mut handed, &config)?;
    let probers = [DescriptorSlot::ProbeIcmp, DescriptorSlot::ProbeIcmp6]
        .map(|which| handed[which as usize].take());
    let first = DescriptorSlot::FirstDatagrams as usize;
    let segments = SegmentChannel {
        channel: take(&mut handed, DescriptorSlot::Sending)?,
        ports: SourcePorts {
            tcp: handover_header.tcp_ports,
            udp: handover_header.udp_ports,
        },
        datagrams: handed[first..]
            .iter_mut()
            .filter_map(Option::take)
            .collect(),
    };
    let tag = handover_header.probe_tag;
    let prober = Prober::new(probers, segments, tag, config.ping.clone())?;
    // From here on this process has no packet socket open, only the mappings.
    drop(handed);
    let links = Links::open()?;
    let violation = config.sandbox.violation;
    let mut engine = EngineState::new(recording, links, prober, settings, handover_header, channel);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let terminate = {
        let _within = runtime.enter();
        signal(SignalKind::terminate())?
    };
    // From here on bytes from the wire are parsed, those of the record first.
    let sandbox = sandbox::enter(violation)?;
    tracing::info!(seccomp = %sandbox.seccomp, landlock = %sandbox.landlock, "sandboxed");
    engine.sandbox = Some(sandbox);
    engine.monitor.own_sockets = own_sockets;
    engine.monitor.network = network;
    // Rebuilding the neighbors depends on the networks of each link.
    engine.take_networks();
    engine.remember_addresses();
    // An engine that dies repeatedly may be dying of what it rebuilds from.
    if stalled < 2 {
        engine.recording.rebuild_trackers();
    }
    let local = LocalSet::new();
    local.block_on(
        &runtime,
        serve(
            Rc::new(RefCell::new(engine)),
            wake,
            listeners,
            control,
            terminate,
        ),
    )
}

/// Descriptors that an engine is allowed fewer than the keeper, at limits of at least four times
/// that: one message more than fits (SCM_MAX_FD, 253).
const KEEPERS_RESERVE: u64 = 512;

/// Lowers the limit of descriptors, and with it that of descriptors in messages which no one has
/// received yet. The kernel counts those per user and compares with the limit of the sender: a
/// taken-over engine cannot use up the keeper's, who passes descriptors to the next one.
fn lower_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft >= 4 * KEEPERS_RESERVE
    {
        let lower = soft - KEEPERS_RESERVE;
        let _ = setrlimit(Resource::RLIMIT_NOFILE, lower, lower);
    }
}

fn take(
    handed: &mut [Option<OwnedFd>; MAX_DESCRIPTORS],
    which: DescriptorSlot,
) -> io::Result<OwnedFd> {
    handed[which as usize]
        .take()
        .ok_or_else(|| io::Error::other(format!("the keeper passed no {which:?}")))
}

/// Reads settings and closes their memory.
fn read_settings(memory: OwnedFd, bytes: usize) -> io::Result<Settings> {
    let mut text = vec![0; bytes];
    let length = nix::sys::uio::pread(&memory, &mut text, 0)?;
    serde_json::from_slice(&text[..length]).map_err(io::Error::other)
}

fn take_listeners(handed: &mut [Option<OwnedFd>; MAX_DESCRIPTORS]) -> Vec<Listener> {
    let [icmp, icmp6, igmp] = listen::PROTOCOLS;
    [
        (DescriptorSlot::ListenIcmp, icmp),
        (DescriptorSlot::ListenIcmp6, icmp6),
        (DescriptorSlot::ListenIgmp, igmp),
    ]
    .into_iter()
    .filter_map(|(which, protocol)| Some(Listener::new(handed[which as usize].take()?, protocol)))
    .collect()
}

fn take_intake(
    handover_header: &HandoverHeader,
    handed: &mut [Option<OwnedFd>; MAX_DESCRIPTORS],
    config: &Config,
) -> io::Result<(Recording, u64)> {
    let memory = take(handed, DescriptorSlot::Recorder)?;
    let memory = OwnMemory::new(Mapping::new(
        &memory,
        handover_header.recorder_bytes as usize,
    )?);
    let (budgets, snaps) = (config.recorder.budget.bytes(), config.recorder.snap.bytes());
    let (mut recorder, opened) = Recorder::open(memory, budgets, snaps, wall_ns());
    let stalled = recorder.count_start();
    tracing::info!(
        ?opened,
        starts = recorder.engine_starts(),
        "recorder opened"
    );
    let counters = take(handed, DescriptorSlot::Counters)?;
    let counters =
        ReadOnlyMapping::new(&counters, crate::daemon::channel::handover::COUNTERS_BYTES)?;
    let now = wall_ns();
    match opened {
        Opened::Resumed => {
            recorder.declare(GapKind::EngineRestart, None, now, now, 0);
            // An engine that died at once may have begun the record and not have said so.
            if handover_header.history_lost != 0 && !recorder.has_told(GapKind::RecorderReset) {
                recorder.declare(GapKind::RecorderReset, None, 0, now, 0);
            }
        }
        Opened::Fresh if handover_header.history_lost != 0 => {
            recorder.declare(GapKind::RecorderReset, None, 0, now, 0);
        }
        Opened::Fresh | Opened::Reset => {}
    }
    // An engine that dies soon would take the declaration with it.
    recorder.commit();
    let counted = |at: usize, counter| counters.load64(counter_at(at, counter));
    let taken = [0, 1].map(|at| {
        let packets = counted(at, Counter::Packets) + recorder.ring(at).uncounted;
        packets.saturating_sub(counted(at, Counter::Drops))
    });
    recorder.set_rings(handover_header.rings_opened_ns, taken);
    let mut rings = Vec::with_capacity(2);
    for (at, which) in [DescriptorSlot::ControlRing, DescriptorSlot::BulkRing]
        .into_iter()
        .enumerate()
    {
        let socket = take(handed, which)?;
        let (block_bytes, blocks) = (handover_header.block_bytes[at], handover_header.blocks[at]);
        let mapping = Mapping::new(&socket, block_bytes as usize * blocks as usize)?;
        rings.push(ring::Ring::new(
            mapping,
            block_bytes,
            blocks,
            recorder.ring(at),
        ));
    }
    let rings = rings
        .try_into()
        .map_err(|_| io::Error::other("there are two rings"))?;
    let classifier = Classifier::new(&config.recorder.rule);
    let mut recording = Recording::new(recorder, rings, counters, classifier);
    recording.set_targets(config.recorder.retention.ns());
    recording.quarantine(stalled, wall_ns());
    Ok((recording, stalled))
}

async fn serve(
    engine: Shared,
    wake: OwnedFd,
    listeners: Vec<Listener>,
    control: Vec<OwnedFd>,
    mut terminate: Signal,
) -> io::Result<()> {
    engine.borrow_mut().remember_links();
    engine.borrow_mut().take_links();
    engine
        .borrow_mut()
        .monitor
        .detector
        .links
        .baseline_complete();
    // Packets that waited while there was no engine come first.
    while engine.borrow_mut().poll_once() {}
    tokio::task::spawn_local(report(read_rings(engine.clone(), wake)));
    tokio::task::spawn_local(report(read_links(engine.clone())));
    for listener in listeners {
        tokio::task::spawn_local(report(read_listener(engine.clone(), listener)));
    }
    tokio::task::spawn_local(report(probe(engine.clone())));
    let (clients, server) = service::start(engine.clone(), control);
    tokio::task::spawn_local(run_housekeeping(engine.clone(), clients.clone()));
    send_request(engine.borrow().channel(), EngineRequest::Ready, 0)?;
    let channel = ready::readable(engine.borrow().channel().try_clone_to_owned()?)?;
    let ended = async {
        loop {
            let mut ready = channel.readable().await?;
            match recv_message(channel.get_ref()) {
                KeeperMessage::Closed => return io::Result::Ok(()),
                KeeperMessage::Nothing => ready.clear_ready(),
                KeeperMessage::Settings(memory, bytes) => {
                    let settings = read_settings(memory, bytes)?;
                    clients.borrow_mut().limits = service::limits(&settings.config);
                    clients.borrow_mut().full = settings.permissions.full_limits.uids.clone();
                    engine.borrow_mut().apply_settings(settings);
                    send_request(engine.borrow().channel(), EngineRequest::Ready, 0)?;
                }
            }
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = ended => {}
        result = server => result?,
    }
    engine.borrow_mut().end();
    Ok(())
}

/// A task that serves the whole engine must not end silently.
async fn report(task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "the engine cannot continue");
        // The keeper starts the next engine, which takes everything over as it is.
        std::process::exit(1);
    }
}

async fn read_rings(engine: Shared, wake: OwnedFd) -> io::Result<()> {
    let wake = ready::readable(wake)?;
    loop {
        let mut ready = wake.readable().await?;
        // Each byte is one notification.
        let mut bytes = [0u8; 64];
        match nix::unistd::read(wake.get_ref(), &mut bytes) {
            // The keeper is gone, which the channel reports as well.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
        while engine.borrow_mut().poll_once() {
            yield_now().await;
        }
    }
}

async fn read_links(engine: Shared) -> io::Result<()> {
    let socket = ready::readable(engine.borrow().links_descriptor()?)?;
    loop {
        let mut ready = socket.readable().await?;
        engine.borrow_mut().read_links()?;
        ready.clear_ready();
    }
}

async fn read_listener(engine: Shared, mut listener: Listener) -> io::Result<()> {
    let socket = ready::readable(listener.descriptor()?)?;
    loop {
        let mut ready = socket.readable().await?;
        let more = engine.borrow_mut().listen(&mut listener)?;
        if more {
            yield_now().await;
        } else {
            ready.clear_ready();
        }
    }
}

/// Sends probes when they are due, and processes replies.
async fn probe(engine: Shared) -> io::Result<()> {
    let wake = engine.borrow().prober.wake.clone();
    let sockets = engine.borrow().prober.descriptors()?;
    for socket in sockets {
        let (engine, wake) = (engine.clone(), wake.clone());
        // The descriptor reports received packets, and send timestamps in the error queue, as
        // edges.
        tokio::task::spawn_local(report(async move {
            let socket = ready::readable_or_failed(socket)?;
            loop {
                let mut ready = socket.ready(ready::READABLE_OR_FAILED).await?;
                ready.clear_ready();
                let (is_active, is_paced) = {
                    let prober = &engine.borrow().prober;
                    (prober.is_active(), prober.is_paced())
                };
                match (is_active, is_paced) {
                    (false, _) => drop(engine.borrow_mut().probe()?),
                    (true, false) => wake.notify_one(),
                    // Another iteration is near.
                    (true, true) => {}
                }
            }
        }));
    }
    loop {
        let next = engine.borrow_mut().probe()?;
        let Some(next) = next else {
            wake.notified().await;
            continue;
        };
        let wait = Duration::from_nanos(next.saturating_sub(crate::linux::monotonic_ns()));
        if wait.is_zero() {
            yield_now().await;
        } else {
            // The earlier of the two.
            let _ = tokio::time::timeout(wait, wake.notified()).await;
        }
    }
}

async fn run_housekeeping(engine: Shared, clients: Rc<RefCell<control::Clients>>) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        crate::log::sum_up();
        engine.borrow_mut().run_housekeeping();
        let limits = clients.borrow().limits();
        engine.borrow_mut().poll_changes(&limits);
        // If the queue is full, the keeper has enough signs of life.
        let _ = send_request(engine.borrow().channel(), EngineRequest::Alive, 0);
    }
}
