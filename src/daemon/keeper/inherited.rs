//! PRIVILEGED. Descriptors preserved across keeper restarts: those that systemd stores for the next
//! keeper (sd_notify(3), FDSTORE), and sockets that it creates for this one (sd_listen_fds(3)).
//! With the former, a restart or an upgrade loses no packet and no record: the rings keep filling
//! meanwhile.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockRef, Type};

use super::Resources;
use super::filter::{Code, IcmpSocketRole, Ring, icmp_filter, program};
use super::sockets::{Error, LISTENER_SNAP, PacketRing};
use crate::linux::mapping::constant_memory;
use crate::varlink::server::listen::Control;
use netsonde_core::config::Config;

/// Version, incremented with every change of the names below or of the manifest.
const VERSION: u32 = 1;
/// Maximum size of a manifest: mostly the programs, of which the kernel accepts 4,096 instructions
/// each.
const MANIFEST_MAX: usize = 1 << 20;

const MANIFEST: &str = "manifest";
const RINGS: [&str; 2] = ["ring-control", "ring-bulk"];
pub(super) const RECORDER: &str = "recorder";
const COUNTERS: &str = "counters";
const LISTENERS: [(&str, Domain); 3] = [
    ("listen-icmp", Domain::IPV4),
    ("listen-igmp", Domain::IPV4),
    ("listen-icmp6", Domain::IPV6),
];
const PROBERS: [(&str, Domain); 2] = [("probe-icmp", Domain::IPV4), ("probe-icmp6", Domain::IPV6)];

/// Names of the raw sockets.
fn raw() -> impl Iterator<Item = &'static str> {
    LISTENERS.iter().chain(&PROBERS).map(|(name, _)| *name)
}

fn names() -> impl Iterator<Item = &'static str> {
    [MANIFEST, RECORDER, COUNTERS]
        .into_iter()
        .chain(RINGS)
        .chain(raw())
}

/// Properties of the descriptors that follow from the configuration. A keeper continues with
/// inherited ones if they match its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RingConfig {
    ring_bytes: [u64; 2],
    /// Filters of the rings, which are locked.
    ring_programs: [Code; 2],
}

impl RingConfig {
    fn new(config: &Config) -> RingConfig {
        let snaps = config.recorder.snap.bytes();
        let code = |ring| program(ring, snaps, &config.recorder.rule);
        RingConfig {
            ring_bytes: [config.rings.control.0, config.rings.bulk.0],
            ring_programs: [code(Ring::Control), code(Ring::Bulk)],
        }
    }
}

/// Filters of the raw sockets, which are locked as well.
fn icmp_filters(tag: u32) -> Vec<Code> {
    let families = [true, false];
    let listener =
        families.map(|is_ipv4| icmp_filter(IcmpSocketRole::Listener, is_ipv4, tag, LISTENER_SNAP));
    let prober =
        families.map(|is_ipv4| icmp_filter(IcmpSocketRole::Prober, is_ipv4, tag, u32::MAX));
    listener.into_iter().chain(prober).collect()
}

/// Properties of the descriptors that cannot be queried.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    shape: RingConfig,
    icmp_filters: Vec<Code>,
    block_bytes: [u32; 2],
    blocks: [u32; 2],
    rings_opened_ns: u64,
    recorder_bytes: u64,
    probe_tag: u32,
}

/// All descriptors passed to this process.
pub(super) struct Inherited {
    /// The control socket, if systemd created it.
    pub control: Option<Control>,
    /// A socket of another family, for other machines.
    pub remote: Option<OwnedFd>,
    kept: HashMap<&'static str, OwnedFd>,
    /// Names of stored descriptors that this keeper does not use.
    outdated: Vec<&'static str>,
    /// The manifest of the former keeper, as written.
    manifest: Vec<u8>,
}

/// Rings of a former keeper.
pub(super) struct Rings {
    pub rings: [PacketRing; 2],
    pub opened_ns: u64,
}

/// Record of a former keeper.
pub(super) struct History {
    pub recorder: OwnedFd,
    pub counters: OwnedFd,
}

/// Raw sockets of a former keeper.
pub(super) struct Raw {
    pub listeners: [Option<OwnedFd>; 3],
    pub probers: [Option<OwnedFd>; 2],
    pub tag: u32,
}

/// Resources that can be reused.
#[derive(Default)]
pub(super) struct Reusable {
    pub rings: Option<Rings>,
    pub history: Option<History>,
    pub raw: Option<Raw>,
    /// Whether a record exists that cannot be reused.
    pub history_lost: bool,
    /// Rings that are given up; their last counts still belong to the sums.
    pub old_rings: Vec<(usize, OwnedFd)>,
}

fn wrong(why: impl Into<String>) -> Error {
    Error::Control {
        path: "passed by the starter".into(),
        why: why.into(),
    }
}

impl Inherited {
    /// Takes all descriptors passed by the starter. Must be called once, before any other
    /// descriptor is opened.
    ///
    /// # Errors
    /// If a descriptor is neither a socket to serve nor one of netsonde's.
    pub fn take() -> Result<Inherited, Error> {
        let mut inherited = Inherited {
            control: None,
            remote: None,
            kept: HashMap::new(),
            outdated: vec![],
            manifest: vec![],
        };
        let passed =
            sd_notify::listen_fds_with_names().map_err(|error| wrong(error.to_string()))?;
        for (raw, name) in passed {
            let descriptor = crate::linux::received::passed(raw);
            match names().find(|known| *known == name) {
                // Stored twice: the manifest refers to the first one.
                Some(known) => {
                    inherited.kept.entry(known).or_insert(descriptor);
                }
                None => inherited.serve(descriptor)?,
            }
        }
        Ok(inherited)
    }

    /// A listening socket. The starter is responsible for its path, mode, owner and removal.
    fn serve(&mut self, descriptor: OwnedFd) -> Result<(), Error> {
        let no_socket =
            || wrong("not a listening stream socket: see ListenStream= of netsonded.socket");
        let socket = SockRef::from(&descriptor);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        let Some(domain) = socket.domain().ok().filter(|_| is_stream) else {
            return Err(no_socket());
        };
        if !socket.is_listener().unwrap_or(false) {
            return Err(no_socket());
        }
        if domain == Domain::IPV4 || domain == Domain::IPV6 {
            return Err(wrong(
                "TCP is not supported, since it does not identify the caller: reach the Unix \
                    socket through ssh",
            ));
        }
        let is_taken = if domain == Domain::UNIX {
            self.control.is_some()
        } else {
            self.remote.is_some()
        };
        if is_taken {
            return Err(wrong(
                "several sockets of one family were passed; one Unix socket and one of another \
                    family are supported",
            ));
        }
        socket
            .set_nonblocking(true)
            .map_err(|error| wrong(error.to_string()))?;
        if domain == Domain::UNIX {
            self.control = Some(Control {
                listener: UnixListener::from(descriptor),
                lock: None,
            });
        } else {
            self.remote = Some(descriptor);
        }
        Ok(())
    }

    /// Returns the resources of a former keeper that this configuration can reuse.
    pub fn reuse(&mut self, config: &Config, recorder_bytes: u64) -> Reusable {
        let mut reusable = Reusable::default();
        let mut kept = std::mem::take(&mut self.kept);
        if kept.is_empty() {
            return reusable;
        }
        self.manifest = kept.remove(MANIFEST).map_or(vec![], |memory| read(&memory));
        let manifest = serde_json::from_slice::<Manifest>(&self.manifest);
        let Some(manifest) = manifest.ok().filter(|manifest| manifest.version == VERSION) else {
            tracing::warn!(
                "stored descriptors are from another version: starting a new record; packets \
                    during the restart are not recorded"
            );
            self.outdated = names().collect();
            reusable.history_lost = true;
            return reusable;
        };
        let history_fits = manifest.recorder_bytes == recorder_bytes;
        // Without the record, the progress of the rings is unknown.
        let rings_fit = history_fits && manifest.shape == RingConfig::new(config);
        let ears_fit = manifest.icmp_filters == icmp_filters(manifest.probe_tag);
        let is_memory = |memory: &OwnedFd, bytes: u64| {
            let sealed = fcntl(memory, FcntlArg::F_GET_SEALS).is_ok_and(|seals| {
                SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK)
            });
            sealed && nix::sys::stat::fstat(memory).is_ok_and(|stat| stat.st_size as u64 >= bytes)
        };
        let is_socket = |socket: &OwnedFd, domain: Domain| {
            let socket = SockRef::from(socket);
            socket.domain().is_ok_and(|is| is == domain)
                && socket.r#type().is_ok_and(|is| is == Type::RAW)
        };
        let history = kept.remove(RECORDER).zip(kept.remove(COUNTERS));
        let counters_bytes = crate::daemon::channel::handover::COUNTERS_BYTES as u64;
        reusable.history = history
            .filter(|(recorder, counters)| {
                history_fits
                    && is_memory(recorder, recorder_bytes)
                    && is_memory(counters, counters_bytes)
            })
            .map(|(recorder, counters)| History { recorder, counters });
        if reusable.history.is_none() {
            reusable.history_lost = true;
            self.outdated.extend([RECORDER, COUNTERS]);
        }
        let [control, bulk] = RINGS.map(|name| kept.remove(name));
        let is_packet = |socket: &OwnedFd| is_socket(socket, Domain::PACKET);
        match control.zip(bulk) {
            Some((control, bulk)) if is_packet(&control) && is_packet(&bulk) => {
                if rings_fit && reusable.history.is_some() {
                    let ring = |at: usize, socket| PacketRing {
                        socket,
                        block_bytes: manifest.block_bytes[at],
                        blocks: manifest.blocks[at],
                    };
                    reusable.rings = Some(Rings {
                        rings: [ring(0, control), ring(1, bulk)],
                        opened_ns: manifest.rings_opened_ns,
                    });
                } else {
                    reusable.old_rings = vec![(0, control), (1, bulk)];
                    self.outdated.extend(RINGS);
                }
            }
            _ => self.outdated.extend(RINGS),
        }
        if ears_fit {
            let mut take = |(name, domain): (&str, Domain)| {
                kept.remove(name).filter(|socket| is_socket(socket, domain))
            };
            let listeners = LISTENERS.map(&mut take);
            let probers = PROBERS.map(take);
            reusable.raw = Some(Raw {
                listeners,
                probers,
                tag: manifest.probe_tag,
            });
        } else {
            self.outdated.extend(raw());
        }
        reusable
    }

    /// Stores the resources for the next keeper in systemd. Without systemd, or with
    /// FileDescriptorStoreMax=0, nothing is stored, and a restart begins a new record.
    pub fn keep(self, kept: &Resources) -> Result<(), String> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(());
        }
        let failed = |error: std::io::Error| error.to_string();
        let manifest = Manifest {
            version: VERSION,
            shape: RingConfig::new(&kept.settings.config),
            icmp_filters: icmp_filters(kept.probe_tag),
            block_bytes: [kept.rings[0].block_bytes, kept.rings[1].block_bytes],
            blocks: [kept.rings[0].blocks, kept.rings[1].blocks],
            rings_opened_ns: kept.rings_opened_ns,
            recorder_bytes: kept.recorder_bytes as u64,
            probe_tag: kept.probe_tag,
        };
        let written = serde_json::to_vec(&manifest).map_err(|error| error.to_string())?;
        let remove = |name: &str| {
            let state = [NotifyState::FdStoreRemove, NotifyState::FdName(name)];
            sd_notify::notify(&state).map_err(failed)
        };
        // A keeper that finds no manifest starts from scratch: it is removed first and added last.
        let is_new = written != self.manifest;
        if is_new {
            remove(MANIFEST)?;
        }
        for name in self.outdated {
            remove(name)?;
        }
        let memory = constant_memory("netsonde manifest", &written).map_err(failed)?;
        let push = |name: &str, descriptor: BorrowedFd<'_>| {
            // Otherwise systemd would drop a socket that reports an error or a hang-up.
            let state = [
                NotifyState::FdStore,
                NotifyState::FdName(name),
                NotifyState::Custom("FDPOLL=0"),
            ];
            sd_notify::notify_with_fds(&state, &[descriptor]).map_err(failed)
        };
        for (name, ring) in RINGS.iter().zip(&kept.rings) {
            push(name, ring.socket.as_fd())?;
        }
        push(RECORDER, kept.recorder.as_fd())?;
        push(COUNTERS, kept.counters_memory.as_fd())?;
        for (name, socket) in raw().zip(kept.listeners.iter().chain(&kept.probers)) {
            if let Some(socket) = socket {
                push(name, socket.as_fd())?;
            }
        }
        if is_new {
            push(MANIFEST, memory.as_fd())?;
        }
        Ok(())
    }
}

fn read(memory: &OwnedFd) -> Vec<u8> {
    let mut text = vec![0; MANIFEST_MAX];
    let length = nix::sys::uio::pread(memory, &mut text, 0).unwrap_or(0);
    text.truncate(length);
    text
}
