//! PRIVILEGED (runs after all capabilities were dropped). The keeper's loop: runs an engine, reads
//! the rings' counters, serves the engine's few requests, and starts the next engine when one dies.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytemuck::Zeroable;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, pipe2};

use super::groups::{Groups, promiscuous};
use super::notify::Notifier;
use super::requests::Allowance;
use super::{Resources, sys};
use crate::daemon::channel::handover::{
    EngineMessage, EngineRequest, HandoverHeader, JOIN_FAILURES_AT, REFUSED_PROBES_AT, STARTS_AT,
    UNLOGGED_AT, recv_request, send_handover, send_settings,
};
use crate::daemon::channel::sending::{
    self, LIMITED, MAX_REQUESTS, Message, ProbeAnswer, ProbeRequest,
};
use crate::daemon::channel::settings::Settings;
use crate::linux::monotonic_ns;
use crate::log;
use netsonde_core::config::Config;

/// Crashes forgiven per second of uptime.
const FORGIVEN_A_SECOND: u32 = 1;
/// Unforgiven crashes after which the keeper delays the next start. Until then the rings bridge the
/// gap. An engine that crashes on one packet stops doing so by itself (quarantine in the recorder).
const FREE_DEATHS: u32 = 20;
/// An engine sends a sign of life every second, and never works longer than some milliseconds in a
/// row. One that is silent for this time hangs, or was stopped.
const STALLED: Duration = Duration::from_secs(10);
/// Initial delay, doubled with each further crash.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Maximum delay.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Maximum time for an engine to end in order.
const END_WAIT: Duration = Duration::from_secs(2);
/// Engines in a row that may die before they are ready. What they have in common is the record, which
/// the last working engine may have damaged: the next one gets an empty one. More than an engine that
/// crashes on a packet needs until it skips that packet.
const UNREADY_DEATHS: u32 = 8;
/// Maximum time for one iteration of the loop, after which the kernel ends the keeper (SIGALRM): no
/// call of the loop waits for anything, but if one did, systemd would start the next keeper.
const STUCK: Duration = Duration::from_secs(10);
/// The same for a reload, which may query a directory of users on another host.
const STUCK_IN_RELOAD: Duration = Duration::from_secs(60);
/// Interval for trying again to notify systemd.
const NOTIFY_AGAIN_MS: u16 = 100;
/// Delay after the last ring notification for one more reading of the counters, for drops without
/// further packets.
const LATE_COUNT_MS: u16 = 200;

const RING: [u64; 2] = [0, 1];
const SIGNALS: u64 = 2;
const ENGINE: u64 = 3;
const SENDING: u64 = 4;

struct Engine {
    child: Child,
    channel: OwnedFd,
    /// Requests for probes by TCP and UDP.
    sending: OwnedFd,
    /// Writable end of a pipe: each byte says that packets are waiting. The open file description
    /// is this process's alone, so that no engine can make it block.
    wake: OwnedFd,
    allowance: Allowance,
    /// Latest time at which it must confirm its start or a reload.
    ready_by: Option<Instant>,
    /// Whether it has ever been ready.
    was_ready: bool,
    started: Instant,
    /// Time of its last sign of life.
    alive: Instant,
}

struct Keeper {
    kept: Resources,
    epoll: Epoll,
    groups: Groups,
    engine: Option<Engine>,
    deaths: u32,
    /// Engines in a row that died before they were ready.
    unready_deaths: u32,
    notifier: Notifier,
    /// Whether a control socket is lost, so that the service must end.
    is_deaf: bool,
    next_start: Option<Instant>,
    end_by: Option<Instant>,
    count_late: bool,
}

/// How the keeper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By a signal.
    InOrder,
    /// Because a control socket accepts no connections: a new one is needed.
    Deaf,
}

/// Runs until told to end.
pub(super) fn run(kept: Resources) -> io::Result<Ended> {
    sys::restore_alarm();
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGCHLD,
        Signal::SIGHUP,
    ] {
        set.add(signal);
    }
    set.thread_block()?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
    for (ring, number) in kept.rings.iter().zip(RING) {
        // Edge-triggered: a ring stays readable for as long as the engine holds a block.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&ring.socket, EpollEvent::new(flags, number))?;
    }
    let mut keeper = Keeper {
        kept,
        epoll,
        groups: Groups::within_the_limit(),
        engine: None,
        deaths: 0,
        unready_deaths: 0,
        notifier: Notifier::new(),
        is_deaf: false,
        next_start: None,
        end_by: None,
        count_late: false,
    };
    keeper.start()?;
    let mut events = [EpollEvent::empty(); 8];
    loop {
        let timeout = keeper.timeout();
        sys::end_after(None)?;
        let count = match keeper.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        sys::end_after(Some(STUCK))?;
        if count == 0 && keeper.count_late {
            keeper.count_late = false;
            keeper.count();
            keeper.wake();
        }
        let mut rings = false;
        for event in &events[..count] {
            match event.data() {
                SIGNALS => keeper.signals(&signals),
                ENGINE => keeper.requests(),
                SENDING => keeper.send_probes(),
                _ => rings = true,
            }
        }
        if rings {
            // Counters first, then the notification: the reader of a block then has the drop count
            // that precedes it.
            keeper.count();
            keeper.wake();
            keeper.count_late = true;
        }
        if keeper.is_over()? {
            sys::end_after(None)?;
            return Ok(match keeper.is_deaf {
                true => Ended::Deaf,
                false => Ended::InOrder,
            });
        }
        keeper.account_for_the_log();
    }
}

impl Keeper {
    fn timeout(&mut self) -> EpollTimeout {
        let engine = self.engine.as_ref();
        let stalled = engine.map(|engine| engine.alive + STALLED);
        let ready_by = engine.and_then(|engine| engine.ready_by);
        let next = [self.next_start, self.end_by, stalled, ready_by]
            .into_iter()
            .flatten()
            .min();
        let wait = next.map(|at| {
            let left = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            u16::try_from(left).unwrap_or(u16::MAX)
        });
        let late = self.count_late.then_some(LATE_COUNT_MS);
        let notify = self.notifier.flush().then_some(NOTIFY_AGAIN_MS);
        match [wait, late, notify].into_iter().flatten().min() {
            Some(ms) => EpollTimeout::from(ms),
            None => EpollTimeout::NONE,
        }
    }

    /// Starts an engine and passes it all descriptors.
    fn start(&mut self) -> io::Result<()> {
        self.next_start = None;
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let (sending, requesting) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        // Nothing that an engine could change reaches the next one: all are new for each.
        let (woken, wake) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let (settings, settings_bytes) = self.kept.settings.memory()?;
        // The file that this process runs, even if an upgrade has replaced it, under its usual
        // name.
        let mut child = Command::new("/proc/self/exe")
            .arg0("netsonded")
            .arg("--engine")
            .stdin(Stdio::from(theirs))
            // Of the starter's descriptors an engine needs only standard error, for its log.
            .stdout(Stdio::null())
            .spawn()?;
        let mut handover_header = HandoverHeader::new();
        for (at, ring) in self.kept.rings.iter().enumerate() {
            handover_header.block_bytes[at] = ring.block_bytes;
            handover_header.blocks[at] = ring.blocks;
        }
        handover_header.recorder_bytes = self.kept.recorder_bytes as u64;
        handover_header.settings_bytes = settings_bytes as u64;
        handover_header.rings_opened_ns = self.kept.rings_opened_ns;
        handover_header.history_lost = self.kept.history_lost.into();
        handover_header.keeper_started_ns = self.kept.started_ns;
        handover_header.keeper_pid = std::process::id();
        handover_header.deaths = self.deaths;
        handover_header.probe_tag = self.kept.probe_tag;
        handover_header.tcp_ports = self.kept.sender.ports.tcp;
        handover_header.udp_ports = self.kept.sender.ports.udp;
        self.kept.counter(STARTS_AT).fetch_add(1, Ordering::Relaxed);
        self.groups.mark_unrequested();
        self.kept.restore_modes();
        let (settings, requesting) = (settings.as_fd(), requesting.as_fd());
        let descriptors = self.kept.descriptors(settings, woken.as_fd(), requesting);
        let handed = send_handover(&ours, handover_header, &descriptors).and_then(|()| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, ENGINE);
            self.epoll.add(&ours, event)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, SENDING);
            Ok(self.epoll.add(&sending, event)?)
        });
        if let Err(error) = handed {
            // It has nothing to work with, if it is still there.
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        tracing::info!(pid = child.id(), "engine started");
        let now = Instant::now();
        self.engine = Some(Engine {
            child,
            channel: ours,
            sending,
            wake,
            allowance: Allowance::new(monotonic_ns()),
            ready_by: Some(now + STALLED),
            was_ready: false,
            started: now,
            alive: now,
        });
        // Blocks may be waiting for which there will be no edge.
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(engine) = &self.engine {
            // If the pipe is full, the engine has enough to read.
            let _ = nix::unistd::write(&engine.wake, &[0]);
        }
    }

    /// The engine's sign of life wakes the keeper every second, if nothing else does.
    fn account_for_the_log(&self) {
        log::sum_up();
        let log::Counts { held_back, lost } = log::counts();
        self.kept
            .counter(UNLOGGED_AT)
            .store(held_back + lost, Ordering::Relaxed);
    }

    fn count(&self) {
        for (at, ring) in self.kept.rings.iter().enumerate() {
            self.kept.count(at, &ring.socket);
        }
    }

    fn signals(&mut self, signals: &SignalFd) {
        while let Ok(Some(signal)) = signals.read_signal() {
            match Signal::try_from(signal.ssi_signo as i32) {
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.end(),
                Ok(Signal::SIGHUP) => self.reload(),
                _ => {}
            }
        }
    }

    /// Reads the configuration again and applies it as a whole, or not at all.
    fn reload(&mut self) {
        // If systemd was told so, `systemctl reload` waits for READY=1.
        let now_us = monotonic_ns() / 1000;
        self.notifier
            .send(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
        let _ = sys::end_after(Some(STUCK_IN_RELOAD));
        match self.take_settings() {
            Ok(changed) if changed.is_empty() => {
                tracing::info!("SIGHUP: the configuration has not changed");
            }
            Ok(changed) => {
                tracing::info!(
                    changed = changed.join(", "),
                    "SIGHUP: configuration applied"
                );
            }
            Err(error) => {
                tracing::error!(
                    "SIGHUP: nothing was changed, the old configuration stays in force: {error}"
                );
            }
        }
        self.notifier.send("READY=1");
    }

    /// Returns the tables that changed.
    fn take_settings(&mut self) -> Result<Vec<&'static str>, String> {
        let config = super::read_config(&self.kept.args).map_err(|wrong| wrong.join("; "))?;
        let old = &self.kept.settings;
        let fixed = old
            .config
            .changed_fixed_keys(&config, self.kept.lock.is_some());
        if !fixed.is_empty() {
            let cost = if fixed.contains(&"recorder.budget") {
                ", which begins a new record"
            } else {
                ""
            };
            let keys = fixed.join(", ");
            return Err(format!(
                "{keys} cannot change while the service runs: systemctl restart netsonded{cost}"
            ));
        }
        let settings = Settings::new(config, old.permissions.owner);
        let mut changed = old.config.changed_tables(&settings.config);
        if changed.is_empty() && old.permissions != settings.permissions {
            // A group or user that did not exist before.
            changed.push("permission");
        }
        if changed.is_empty() {
            return Ok(changed);
        }
        let (memory, bytes) = settings.memory().map_err(|error| error.to_string())?;
        self.kept.settings = settings;
        self.kept.sender.set_limits(&self.kept.settings.config.ping);
        if let Some(engine) = &mut self.engine {
            self.groups.mark_unrequested();
            engine.allowance.settings_sent();
            engine.ready_by = Some(Instant::now() + STALLED);
            if let Err(error) = send_settings(&engine.channel, &memory, bytes) {
                // The next engine gets them at its start.
                self.replace_engine(&format!("it did not accept the settings: {error}"));
            }
        }
        Ok(changed)
    }

    /// Kills an engine that can no longer be trusted. The next one is started when it is dead.
    fn replace_engine(&self, why: &str) {
        if let Some(engine) = &self.engine {
            tracing::error!("{why}; killing the engine");
            let _ = kill(Pid::from_raw(engine.child.id() as i32), Signal::SIGKILL);
        }
    }

    fn end(&mut self) {
        if self.end_by.is_some() {
            return;
        }
        tracing::info!("ending");
        self.end_by = Some(Instant::now() + END_WAIT);
        self.next_start = None;
        if let Some(engine) = &self.engine {
            let _ = kill(Pid::from_raw(engine.child.id() as i32), Signal::SIGTERM);
        }
    }

    /// Requests per iteration: more than an engine has reason to send, and then the rings are read
    /// again.
    const MAX_REQUESTS_PER_POLL: usize = 1024;

    fn requests(&mut self) {
        for _ in 0..Self::MAX_REQUESTS_PER_POLL {
            let Some(engine) = &mut self.engine else {
                return;
            };
            match recv_request(&engine.channel) {
                EngineMessage::Asked(ask, argument) => {
                    if !engine.allowance.admits(ask, monotonic_ns()) {
                        // What else it has sent is not read.
                        let _ = self.epoll.delete(&engine.channel);
                        return self.replace_engine(&format!("too many requests ({ask:?})"));
                    }
                    self.meet(ask, argument);
                }
                EngineMessage::Nothing => return,
                EngineMessage::Closed => {
                    // It is dying; SIGCHLD arrives when it is dead.
                    let _ = self.epoll.delete(&engine.channel);
                    return;
                }
                EngineMessage::Nonsense => {
                    let _ = self.epoll.delete(&engine.channel);
                    return self.replace_engine("invalid request from the engine");
                }
            }
        }
    }

    /// Messages with probes per iteration: what an engine may send within some milliseconds.
    const MAX_SENDING_PER_POLL: usize = 16;

    /// Sends the probes by TCP and UDP that the engine requests, and answers what became of them.
    fn send_probes(&mut self) {
        for _ in 0..Self::MAX_SENDING_PER_POLL {
            let Some(engine) = &self.engine else {
                return;
            };
            match sending::receive::<ProbeRequest>(&engine.sending) {
                Message::Some(count, requests) => {
                    let mut answers = [ProbeAnswer::zeroed(); MAX_REQUESTS];
                    let mut refused = 0;
                    for (answer, request) in answers.iter_mut().zip(&requests[..count]) {
                        let (errno, sent_ns) = self.kept.sender.send(request);
                        refused += u64::from([libc::EINVAL, LIMITED].contains(&errno));
                        let number = request.number;
                        *answer = ProbeAnswer {
                            number,
                            errno,
                            sent_ns,
                        };
                    }
                    let counter = self.kept.counter(REFUSED_PROBES_AT);
                    counter.fetch_add(refused, Ordering::Relaxed);
                    // An engine that does not read its answers does without.
                    let _ = sending::send_all(&engine.sending, &answers[..count]);
                }
                Message::Nothing => return,
                Message::Closed => {
                    let _ = self.epoll.delete(&engine.sending);
                    return;
                }
                Message::Nonsense => {
                    let _ = self.epoll.delete(&engine.sending);
                    return self.replace_engine("invalid request for a probe");
                }
            }
        }
    }

    /// Returns the name of an interface, if this process may act on it as the configuration says.
    fn named(&self, ifindex: u32, may: impl FnOnce(&Config, &str) -> bool) -> Option<String> {
        let name = nix::net::if_::if_indextoname(ifindex).ok()?;
        let name = name.to_string_lossy().into_owned();
        may(&self.kept.settings.config, &name).then_some(name)
    }

    fn meet(&mut self, ask: EngineRequest, argument: u32) {
        match ask {
            EngineRequest::Ready => {
                self.groups.leave_unrequested();
                self.unready_deaths = 0;
                if let Some(engine) = &mut self.engine {
                    engine.was_ready = true;
                    if !engine.allowance.owes_ready() {
                        engine.ready_by = None;
                    }
                }
                tracing::info!("ready");
                self.notifier.send("READY=1");
            }
            EngineRequest::Join if self.kept.settings.config.listeners.join => {
                // An interface that is gone again is no reason to mistrust the engine.
                let recorded = |config: &Config, name: &str| config.interfaces.records(name).0;
                if self.named(argument, recorded).is_some() {
                    self.groups.join(argument);
                }
                let failures = self.kept.counter(JOIN_FAILURES_AT);
                failures.store(self.groups.failures, Ordering::Relaxed);
            }
            EngineRequest::Join => {}
            EngineRequest::Leave => self.groups.leave(argument),
            EngineRequest::Promiscuous => {
                let configured =
                    |config: &Config, name: &str| config.interfaces.is_promiscuous(name);
                if self.named(argument, configured).is_none() {
                    tracing::warn!(
                        ifindex = argument,
                        "the engine requested promiscuous mode on an interface for which it is \
                            not configured; ignored"
                    );
                } else if let Err(error) = promiscuous(&self.kept.rings[1].socket, argument) {
                    tracing::warn!(ifindex = argument, %error, "cannot set promiscuous mode");
                }
            }
            EngineRequest::Count => {
                self.count();
                self.wake();
            }
            EngineRequest::Alive => {
                if let Some(engine) = &mut self.engine {
                    engine.alive = Instant::now();
                }
                // Triggered by the engine's progress, not by the keeper's: both must work.
                self.notifier.send("WATCHDOG=1");
            }
            EngineRequest::ListenerFailed => self.check_listeners(),
        }
    }

    /// Ends the service if a control socket has been shut down, as any process that holds it can do:
    /// only another socket helps, and the next start brings one.
    fn check_listeners(&mut self) {
        let own = [Some(self.kept.control.as_fd()), self.kept.remote_fd()];
        let is_shut_down = |socket| {
            let hung_up = PollFlags::from_bits_retain(libc::POLLRDHUP);
            let mut asked = [PollFd::new(socket, hung_up)];
            poll(&mut asked, PollTimeout::ZERO).is_ok_and(|count| count > 0)
        };
        if self.end_by.is_none() && own.into_iter().flatten().any(is_shut_down) {
            tracing::error!(
                "a control socket was shut down by another process, and accepts no connections: \
                    ending, so that the next start opens a new one"
            );
            self.is_deaf = true;
            self.end();
        }
    }

    /// Supervises the engine. Returns `true` if the keeper may end.
    fn is_over(&mut self) -> io::Result<bool> {
        if let Some(engine) = &mut self.engine {
            match engine.child.try_wait()? {
                Some(status) => {
                    let (lived, was_ready) = (engine.started.elapsed(), engine.was_ready);
                    self.engine = None;
                    if self.end_by.is_some() {
                        return Ok(true);
                    }
                    if status.signal() == Some(libc::SIGSYS) {
                        tracing::error!(
                            "the engine made a system call that its sandbox forbids: it was taken \
                                over, or this C library needs that call (see [sandbox] violation in \
                                netsonde.toml(5))"
                        );
                    }
                    self.died(&status.to_string(), lived, was_ready);
                }
                None if self.end_by.is_none()
                    && engine.ready_by.is_some_and(|by| Instant::now() >= by) =>
                {
                    tracing::error!("the engine did not get ready in time; killing it");
                    engine.ready_by = None;
                    engine.child.kill()?;
                }
                None if self.end_by.is_none() && engine.alive.elapsed() > STALLED => {
                    let silent_ms = engine.alive.elapsed().as_millis() as u64;
                    tracing::error!(silent_ms, "the engine makes no progress; killing it");
                    engine.alive = Instant::now();
                    // SIGCHLD arrives when it is dead.
                    engine.child.kill()?;
                }
                None if self.end_by.is_some_and(|by| Instant::now() >= by) => {
                    tracing::warn!("the engine did not end in time; killing it");
                    engine.child.kill()?;
                    engine.child.wait()?;
                    return Ok(true);
                }
                None => {}
            }
        } else if self.end_by.is_some() {
            return Ok(true);
        }
        if self.next_start.is_some_and(|at| Instant::now() >= at)
            && let Err(error) = self.start()
        {
            tracing::error!(%error, "cannot start an engine");
            self.died("not started", Duration::ZERO, false);
        }
        Ok(false)
    }

    /// Begins an empty record: engines do not get ready with the one there is.
    fn give_up_record(&mut self) {
        match self.kept.empty_record() {
            Ok(record) => self.kept.recorder = record,
            Err(error) => {
                return tracing::error!(%error, "cannot set up memory for another record");
            }
        }
        self.kept.history_lost = true;
        let stored = self
            .notifier
            .replace(super::inherited::RECORDER, self.kept.recorder.as_fd());
        if let Err(error) = stored {
            tracing::warn!(%error, "systemd does not store the new record");
        }
        tracing::error!(
            engines = UNREADY_DEATHS,
            "engines died in a row before they were ready: the record is damaged, and a new one begins"
        );
    }

    /// Schedules the next start: at once, unless engines crash repeatedly.
    fn died(&mut self, how: &str, lived: Duration, was_ready: bool) {
        let forgiven = (lived.as_secs() as u32).saturating_mul(FORGIVEN_A_SECOND);
        self.deaths = self.deaths.saturating_sub(forgiven) + 1;
        let wait = match self.deaths.saturating_sub(FREE_DEATHS) {
            0 => Duration::ZERO,
            more => (FIRST_WAIT * 2u32.pow(more.min(10) - 1)).min(LONGEST_WAIT),
        };
        tracing::error!(
            how,
            lived_ms = lived.as_millis() as u64,
            wait_ms = wait.as_millis() as u64,
            "the engine died"
        );
        self.next_start = Some(Instant::now() + wait);
        self.unready_deaths += u32::from(!was_ready);
        if self.unready_deaths >= UNREADY_DEATHS {
            self.unready_deaths = 0;
            self.give_up_record();
        }
    }
}
