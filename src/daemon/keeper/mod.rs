//! PRIVILEGED. The keeper: opens what needs privilege, gives up the privilege permanently, and
//! keeps what it opened across the death of any engine. It parses nothing that comes from the wire
//! or from a client. To be read in one sitting:
//!
//! | file | contents |
//! |---|---|
//! | `args` | the command line |
//! | `sockets` | rings, listeners, control socket |
//! | `filter` | the kernel filters that divide packets between the rings |
//! | `privilege` | giving up privilege, and verifying it |
//! | `confine` | the seccomp filter that the keeper enters after its start |
//! | `inherited` | descriptors preserved across keeper restarts |
//! | `groups` | group memberships and promiscuous mode |
//! | `sender` | packets of probes by TCP and UDP |
//! | `supervise` | the loop: starts engines, reads counters, serves requests |
//! | `requests` | rates of the engine's requests |
//! | `notify` | notifications to systemd that never wait |
//! | `sys` | socket options, and the alarm that ends a keeper that waits |

pub mod args;
pub mod confine;
pub mod filter;
pub mod groups;
mod inherited;
mod notify;
pub mod privilege;
mod requests;
pub mod sender;
mod sockets;
mod supervise;
mod sys;

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use socket2::Domain;

use crate::daemon::channel::handover::{COUNTERS_BYTES, Counter, MAX_DESCRIPTORS, counter_at};
use crate::daemon::channel::settings::Settings;
use crate::linux::configuration::{self, find_group};
use crate::linux::mapping::{Mapping, read_only, sealed_memory};
use crate::linux::reason;
use crate::linux::wall_ns;
use crate::log::line::escape;
use crate::varlink::server::listen::{Lock, open_control};
use args::Args;
use filter::Ring;
use inherited::Inherited;
use netsonde_core::config::Config;
use netsonde_core::recorder::memory_needed;
use sender::Sender;
use sockets::PacketRing;
use supervise::Ended;

/// All resources that outlive an engine.
pub(crate) struct Resources {
    args: Args,
    rings: [PacketRing; 2],
    rings_opened_ns: u64,
    listeners: [Option<OwnedFd>; 3],
    probers: [Option<OwnedFd>; 2],
    probe_tag: u32,
    sender: Sender,
    control: std::os::unix::net::UnixListener,
    /// For other machines, if the starter created one.
    remote: Option<OwnedFd>,
    recorder: OwnedFd,
    recorder_bytes: usize,
    /// Whether an existing record could not be reused.
    history_lost: bool,
    counters_memory: OwnedFd,
    /// The same memory, for engines.
    counters_read_only: OwnedFd,
    counters: Mapping,
    settings: Settings,
    started_ns: u64,
    /// Lock of the control socket's path; `None` if the starter created the socket.
    lock: Option<Lock>,
}

/// Exit status after a control socket was shut down, so that the next start must open a new one.
const DEAF: u8 = 3;

/// Runs netsonded as the keeper. Returns the exit status: 0 after an orderly end, 2 if it could not
/// start, 3 if a control socket was shut down by another process.
pub fn run(args: &Args) -> u8 {
    let config = match read_config(args) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                refuse(&problem);
            }
            return 2;
        }
    };
    if let Err(error) = privilege::check_user(args.allow_root) {
        return refuse(&error.to_string());
    }
    if args.check {
        return check(args, &config);
    }
    let kept = match open(args, config) {
        Ok(kept) => kept,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = privilege::give_up() {
        return refuse(&error.to_string());
    }
    match confine::enter(kept.settings.config.sandbox.violation) {
        Ok(seccomp) => tracing::info!(%seccomp, "confined"),
        Err(error) => return refuse(&format!("cannot restrict system calls: {error}")),
    }
    let is_ours = kept.lock.is_some();
    let status = match supervise::run(kept) {
        Ok(Ended::InOrder) => 0,
        Ok(Ended::Deaf) => DEAF,
        Err(error) => refuse(&format!("the keeper cannot continue: {error}")),
    };
    // Removed only now, so that no client is refused while the service runs.
    if is_ours {
        let _ = std::fs::remove_file(&args.socket);
    }
    status
}

fn refuse(why: &str) -> u8 {
    crate::log::refuse("netsonded: ", why);
    2
}

fn read_config(args: &Args) -> Result<Config, Vec<String>> {
    let mut config = configuration::read(args.config.as_deref())?;
    config
        .interfaces
        .record
        .extend(args.interfaces.iter().cloned());
    Ok(config)
}

/// Returns the group of the control socket: the configured one, if it exists and this is root.
fn control_group(config: &Config) -> Option<nix::unistd::Gid> {
    if config.control.group.is_empty() || !nix::unistd::geteuid().is_root() {
        return None;
    }
    find_group(&config.control.group).map(nix::unistd::Gid::from_raw)
}

/// Name of the record's memory, in /proc/PID/maps.
const RECORD: &str = "netsonde recorder";

fn open(args: &Args, config: Config) -> Result<Resources, String> {
    let text = |error: sockets::Error| error.to_string();
    // Kernels before 5.11 lack it; then the engine inherits what the starter left open.
    let _ = sys::close_all_on_exec();
    let mut inherited = Inherited::take().map_err(text)?;
    raise_descriptor_limit();
    let owner = inherited
        .control
        .is_none()
        .then(|| nix::unistd::getuid().as_raw());
    let remote = inherited.remote.take();
    let control = match inherited.control.take() {
        Some(control) => control,
        None => open_control(&args.socket, control_group(&config), "netsonded")
            .map_err(|why| format!("control socket {}: {why}", args.socket.display()))?,
    };
    let memory = |error: std::io::Error| format!("cannot set up shared memory: {}", reason(&error));
    let recorder_bytes = memory_needed(config.recorder.budget.bytes());
    let reusable = inherited.reuse(&config, recorder_bytes as u64);
    let (rings, rings_opened_ns) = match reusable.rings {
        Some(former) => (former.rings, former.opened_ns),
        None => (open_rings(&config).map_err(text)?, wall_ns()),
    };
    let (listeners, probers, probe_tag) = match reusable.raw {
        Some(former) => (former.listeners, former.probers, former.tag),
        None => {
            let tag = random();
            let listeners = open_listeners(tag).map_err(text)?;
            (listeners, open_probers(tag).map_err(text)?, tag)
        }
    };
    probers
        .iter()
        .flatten()
        .for_each(sockets::forbid_own_headers);
    let sender = Sender::open(&config.ping, random()).map_err(text)?;
    let is_resumed = reusable.history.is_some();
    let (recorder, counters_memory) = match reusable.history {
        Some(former) => (former.recorder, former.counters),
        None => (
            sealed_memory(RECORD, recorder_bytes).map_err(memory)?,
            sealed_memory("netsonde counters", COUNTERS_BYTES).map_err(memory)?,
        ),
    };
    let counters = Mapping::new(&counters_memory, COUNTERS_BYTES).map_err(memory)?;
    let settings = Settings::new(config, owner);
    if !listeners.iter().flatten().all(sockets::receive_only) {
        tracing::warn!("this kernel lets the listeners send as well; see SECURITY.md");
    }
    let kept = Resources {
        args: args.clone(),
        rings,
        rings_opened_ns,
        listeners,
        probers,
        probe_tag,
        sender,
        control: control.listener,
        remote,
        recorder,
        recorder_bytes,
        history_lost: reusable.history_lost,
        counters_read_only: read_only(&counters_memory).map_err(memory)?,
        counters_memory,
        counters,
        settings,
        started_ns: wall_ns(),
        lock: control.lock,
    };
    for (at, ring) in reusable.old_rings {
        // Counts since the last reading belong to the sums, otherwise the loss would not be
        // declared.
        kept.count(at, &ring);
    }
    if is_resumed {
        tracing::info!(
            rings = rings_opened_ns < kept.started_ns,
            "continuing the record of the last run"
        );
    }
    if let Err(error) = inherited.keep(&kept) {
        tracing::warn!(%error, "systemd does not store the descriptors: a restart would begin a \
            new record");
    }
    Ok(kept)
}

fn open_rings(config: &Config) -> Result<[PacketRing; 2], sockets::Error> {
    Ok([
        sockets::open_ring(Ring::Control, config.rings.control.0, config)?,
        sockets::open_ring(Ring::Bulk, config.rings.bulk.0, config)?,
    ])
}

fn open_listeners(tag: u32) -> Result<[Option<OwnedFd>; 3], sockets::Error> {
    let open = sockets::open_listener;
    Ok([
        open("the ICMP listener", Domain::IPV4, libc::IPPROTO_ICMP, tag)?,
        open("the IGMP listener", Domain::IPV4, libc::IPPROTO_IGMP, tag)?,
        open(
            "the ICMPv6 listener",
            Domain::IPV6,
            libc::IPPROTO_ICMPV6,
            tag,
        )?,
    ])
}

fn open_probers(tag: u32) -> Result<[Option<OwnedFd>; 2], sockets::Error> {
    Ok([
        sockets::open_prober("the ICMP prober", Domain::IPV4, tag)?,
        sockets::open_prober("the ICMPv6 prober", Domain::IPV6, tag)?,
    ])
}

/// Returns an unpredictable number: the standard library seeds its hash keys from the kernel.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(wall_ns()) as u32
}

/// Limit of descriptors of a keeper, unless its starter allows fewer: memberships on all interfaces,
/// and as many again.
const MAX_DESCRIPTORS_OPEN: u64 = 8192;

/// Raises the limit of descriptors: memberships cost two per interface, and hosts have hundreds of
/// interfaces.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(MAX_DESCRIPTORS_OPEN).max(soft);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}

/// Runs `--check`: opens everything as a start would, prints the result, and closes it again. The
/// configuration is printed first, since it can be checked without privilege.
fn check(args: &Args, config: &Config) -> u8 {
    let mut out = std::io::stdout().lock();
    let mut print = |line: String| {
        let _ = writeln!(out, "{}", escape(&line, usize::MAX));
    };
    print(match &args.config {
        Some(path) => format!("configuration  {}: valid", path.display()),
        None => format!(
            "configuration  {} or defaults: valid",
            netsonde_core::config::PATH
        ),
    });
    let opened = open_rings(config)
        .and_then(|rings| Ok((rings, open_listeners(random())?, open_probers(random())?)));
    let opened = opened.and_then(|opened| {
        Sender::open(&config.ping, random())?;
        Ok(opened)
    });
    let (rings, listeners, probers) = match opened {
        Ok(opened) => opened,
        Err(error) => return refuse(&error.to_string()),
    };
    print(format!("control socket {}", args.socket.display()));
    for (name, ring) in ["control", "bulk"].iter().zip(&rings) {
        print(format!(
            "ring {name:9} {} bytes in {} blocks",
            ring.bytes(),
            ring.blocks
        ));
    }
    for (name, listener) in ["ICMP", "IGMP", "ICMPv6"].iter().zip(&listeners) {
        let state = if listener.is_some() {
            "can be opened"
        } else {
            "not supported by this kernel"
        };
        print(format!("listener {name:6} {state}"));
    }
    for (name, prober) in ["ICMP", "ICMPv6"].iter().zip(&probers) {
        let state = if prober.is_some() {
            "can be opened"
        } else {
            "not supported by this kernel"
        };
        print(format!("prober {name:8} {state}"));
    }
    print(format!(
        "recorder       {} bytes",
        memory_needed(config.recorder.budget.bytes())
    ));
    if config.interfaces.record.is_empty() {
        print("interfaces     all".into());
    } else {
        print(format!(
            "interfaces     {}",
            config.interfaces.record.join(" ")
        ));
    }
    0
}

impl Resources {
    fn counter(&self, at: usize) -> &std::sync::atomic::AtomicU64 {
        self.counters
            .word64(at)
            .expect("counters are aligned and within their page")
    }

    /// Reads a ring's counters, which clears them in the kernel, and adds them up.
    fn count(&self, at: usize, ring: impl AsFd) {
        let Ok(counts) = sys::ring_counts(ring) else {
            return;
        };
        let sum = |counter, more: u32| {
            self.counter(counter_at(at, counter))
                .fetch_add(more.into(), Ordering::Release);
        };
        sum(Counter::Packets, counts.packets);
        sum(Counter::Freezes, counts.freezes);
        sum(Counter::Drops, counts.drops);
        let read_at = self.counter(counter_at(at, Counter::ReadAt));
        read_at.store(wall_ns(), Ordering::Release);
    }

    /// Makes all sockets of engines non-blocking again, and those that probe send again. No engine can
    /// change that, but others that hold one of them could, and then an engine would wait in a call for
    /// ever.
    fn restore_modes(&self) {
        let probers = self.probers.iter().flatten();
        probers.for_each(sockets::clear_own_headers);
        let datagrams = &self.sender.datagrams;
        let raw = (self.listeners.iter().chain(&self.probers).flatten()).chain(datagrams);
        let own = [Some(self.control.as_fd()), self.remote_fd()];
        for socket in raw.map(AsFd::as_fd).chain(own.into_iter().flatten()) {
            let _ = socket2::SockRef::from(&socket).set_nonblocking(true);
        }
    }

    /// Returns memory for a record, empty.
    fn empty_record(&self) -> std::io::Result<OwnedFd> {
        sealed_memory(RECORD, self.recorder_bytes)
    }

    fn remote_fd(&self) -> Option<BorrowedFd<'_>> {
        self.remote.as_ref().map(AsFd::as_fd)
    }

    /// Returns the descriptors for a new engine. Settings and notifications are its own.
    fn descriptors<'a>(
        &'a self,
        settings: BorrowedFd<'a>,
        wake: BorrowedFd<'a>,
        sending: BorrowedFd<'a>,
    ) -> [Option<BorrowedFd<'a>>; MAX_DESCRIPTORS] {
        let [icmp, igmp, icmp6] = &self.listeners;
        let [probe, probe6] = &self.probers;
        let first = [
            Some(self.rings[0].socket.as_fd()),
            Some(self.rings[1].socket.as_fd()),
            Some(self.recorder.as_fd()),
            Some(self.counters_read_only.as_fd()),
            Some(settings),
            Some(wake),
            Some(self.control.as_fd()),
            icmp.as_ref().map(AsFd::as_fd),
            igmp.as_ref().map(AsFd::as_fd),
            icmp6.as_ref().map(AsFd::as_fd),
            probe.as_ref().map(AsFd::as_fd),
            probe6.as_ref().map(AsFd::as_fd),
            self.remote_fd(),
            Some(sending),
        ];
        let mut all = [None; MAX_DESCRIPTORS];
        let datagrams = self.sender.datagrams.iter().map(|one| Some(one.as_fd()));
        for (place, descriptor) in all.iter_mut().zip(first.into_iter().chain(datagrams)) {
            *place = descriptor;
        }
        all
    }
}
