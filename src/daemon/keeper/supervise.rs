//! PRIVILEGED (runs after all capabilities were dropped). The keeper's loop: runs an engine, reads
//! the rings' counters, serves the engine's few requests, and starts the next engine when one dies.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use sd_notify::NotifyState;

use super::Resources;
use super::groups::{Groups, promiscuous};
use crate::daemon::channel::handover::{
    EngineMessage, EngineRequest, HandoverHeader, JOIN_FAILURES_AT, STARTS_AT, UNLOGGED_AT,
    recv_request, send_handover, send_settings,
};
use crate::daemon::channel::settings::Settings;
use crate::daemon::log;

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
/// Delay after the last ring notification for one more reading of the counters, for drops without
/// further packets.
const LATE_COUNT_MS: u16 = 200;

const RING: [u64; 2] = [0, 1];
const SIGNALS: u64 = 2;
const ENGINE: u64 = 3;

struct Engine {
    child: Child,
    channel: OwnedFd,
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
    next_start: Option<Instant>,
    end_by: Option<Instant>,
    count_late: bool,
}

/// Runs until told to end.
pub(super) fn run(kept: Resources) -> io::Result<()> {
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
        next_start: None,
        end_by: None,
        count_late: false,
    };
    keeper.start()?;
    let mut events = [EpollEvent::empty(); 8];
    loop {
        let count = match keeper.epoll.wait(&mut events, keeper.timeout()) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
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
            return Ok(());
        }
        keeper.account_for_the_log();
    }
}

impl Keeper {
    fn timeout(&self) -> EpollTimeout {
        let stalled = self.engine.as_ref().map(|engine| engine.alive + STALLED);
        let next = [self.next_start, self.end_by, stalled]
            .into_iter()
            .flatten()
            .min();
        let wait = next.map(|at| {
            let left = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            u16::try_from(left).unwrap_or(u16::MAX)
        });
        let late = self.count_late.then_some(LATE_COUNT_MS);
        match [wait, late].into_iter().flatten().min() {
            Some(ms) => EpollTimeout::from(ms),
            None => EpollTimeout::NONE,
        }
    }

    /// Starts an engine and passes it all descriptors.
    fn start(&mut self) -> io::Result<()> {
        self.next_start = None;
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        // The file that this process runs, even if an upgrade has replaced it, under its usual
        // name.
        let child = Command::new("/proc/self/exe")
            .arg0("netsonded")
            .arg("--engine")
            .stdin(Stdio::from(theirs))
            .spawn()?;
        let mut handover_header = HandoverHeader::new();
        for (at, ring) in self.kept.rings.iter().enumerate() {
            handover_header.block_bytes[at] = ring.block_bytes;
            handover_header.blocks[at] = ring.blocks;
        }
        handover_header.recorder_bytes = self.kept.recorder_bytes as u64;
        handover_header.settings_bytes = self.kept.settings_memory.1 as u64;
        handover_header.rings_opened_ns = self.kept.rings_opened_ns;
        handover_header.history_lost = self.kept.history_lost.into();
        handover_header.keeper_started_ns = self.kept.started_ns;
        handover_header.keeper_pid = std::process::id();
        handover_header.deaths = self.deaths;
        handover_header.probe_tag = self.kept.probe_tag;
        self.kept.counter(STARTS_AT).fetch_add(1, Ordering::Relaxed);
        self.groups.mark_unrequested();
        send_handover(&ours, handover_header, &self.kept.descriptors())?;
        self.epoll
            .add(&ours, EpollEvent::new(EpollFlags::EPOLLIN, ENGINE))?;
        // Blocks may be waiting for which there will be no edge.
        self.wake();
        tracing::info!(pid = child.id(), "engine started");
        self.engine = Some(Engine {
            child,
            channel: ours,
            started: Instant::now(),
            alive: Instant::now(),
        });
        Ok(())
    }

    fn wake(&self) {
        // Full only if it was not read for 2^64 writes.
        let _ = self.kept.wake.write(1);
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
        let mut state = vec![NotifyState::Reloading];
        state.extend(NotifyState::monotonic_usec_now());
        let _ = sd_notify::notify(&state);
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
        let _ = sd_notify::notify(&[NotifyState::Ready]);
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
        let memory = settings.memory().map_err(|error| error.to_string())?;
        if let Some(engine) = &self.engine {
            self.groups.mark_unrequested();
            send_settings(&engine.channel, &memory.0, memory.1)
                .map_err(|error| format!("the engine did not accept it: {error}"))?;
        }
        self.kept.settings = settings;
        self.kept.settings_memory = memory;
        Ok(changed)
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
            let Some(engine) = &self.engine else { return };
            match recv_request(&engine.channel) {
                EngineMessage::Asked(ask, argument) => self.meet(ask, argument),
                EngineMessage::Nothing => return,
                EngineMessage::Closed => {
                    // It is dying; SIGCHLD arrives when it is dead.
                    let _ = self.epoll.delete(&engine.channel);
                    return;
                }
                EngineMessage::Nonsense => {
                    tracing::error!("invalid request from the engine; killing it");
                    let _ = kill(Pid::from_raw(engine.child.id() as i32), Signal::SIGKILL);
                    return;
                }
            }
        }
    }

    fn meet(&mut self, ask: EngineRequest, argument: u32) {
        match ask {
            EngineRequest::Ready => {
                self.groups.leave_unrequested();
                tracing::info!("ready");
                // Without systemd there is no service manager to notify.
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            }
            EngineRequest::Join if self.kept.settings.config.listeners.join => {
                self.groups.join(argument);
                let failures = self.kept.counter(JOIN_FAILURES_AT);
                failures.store(self.groups.failures, Ordering::Relaxed);
            }
            EngineRequest::Join => {}
            EngineRequest::Leave => self.groups.leave(argument),
            EngineRequest::Promiscuous
                if !self.kept.settings.config.interfaces.promiscuous.is_empty() =>
            {
                if let Err(error) = promiscuous(&self.kept.rings[1].socket, argument) {
                    tracing::warn!(ifindex = argument, %error, "cannot set promiscuous mode");
                }
            }
            EngineRequest::Promiscuous => tracing::error!(
                "the engine requested promiscuous mode, which the configuration does not"
            ),
            EngineRequest::Count => {
                self.count();
                self.wake();
            }
            EngineRequest::Alive => {
                if let Some(engine) = &mut self.engine {
                    engine.alive = Instant::now();
                }
                // Triggered by the engine's progress, not by the keeper's: both must work.
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
        }
    }

    /// Supervises the engine. Returns `true` if the keeper may end.
    fn is_over(&mut self) -> io::Result<bool> {
        if let Some(engine) = &mut self.engine {
            match engine.child.try_wait()? {
                Some(status) => {
                    let lived = engine.started.elapsed();
                    self.engine = None;
                    if self.end_by.is_some() {
                        return Ok(true);
                    }
                    self.died(&status.to_string(), lived);
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
            self.died("not started", Duration::ZERO);
        }
        Ok(false)
    }

    /// Schedules the next start: at once, unless engines crash repeatedly.
    fn died(&mut self, how: &str, lived: Duration) {
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
    }
}
