//! SHELL. A thread for each run of probes: an ordinary client of netsonded, which begins again when the connection
//! ends.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netsonde_core::probe::packed::{Decoder, Entry};
use netsonde_core::protocol::history::TracedHop;
use netsonde_core::protocol::inventory::Path as Way;
use netsonde_core::protocol::ping::{
    Options, PingCall, PingReply, Probe, TargetsCall, TargetsReply,
};
use netsonde_core::trace::path::HopAnswers;
use tokio::sync::mpsc::Sender;

use super::second::Second;
use crate::linux::reason;
use crate::varlink::client::Connection;

/// Pauses before another connection: at once, and then longer and longer.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// Targets in one request: far below its limit in bytes.
const TARGETS_A_REQUEST: usize = 1000;
/// Targets of a call itself; more need a list.
const TARGETS_A_CALL: usize = 500;

/// What a run reports. `run` is its number in this process.
#[derive(Debug)]
pub enum Report {
    /// Probes are sent from now on; the first has sequence number 1 again.
    Began {
        /// Number of the run.
        run: u64,
        /// Addresses by slot.
        slots: Vec<String>,
        /// Time between two probes of a target in nanoseconds, if it is longer than was asked for.
        stretched_ns: Option<u64>,
    },
    /// Results, as they came: what was seen of lost probes, and the fates of all.
    Fates {
        /// Number of the run.
        run: u64,
        /// Lost probes, with words.
        rows: Vec<Probe>,
        /// Fates.
        entries: Vec<Entry>,
    },
    /// Bytes that each interface has carried until now.
    Load(Vec<(String, u64)>),
    /// What this host has counted until now.
    Counted(Second),
    /// Ways to targets, by their numbers, at a time in nanoseconds since 1970.
    Paths(u64, Vec<(u32, Way)>),
    /// What was found of a path.
    Path(Done),
    /// There is no service, or it refused.
    Away {
        /// Number of the run.
        run: u64,
        /// Why, in words.
        words: String,
    },
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// Answers of a look: TTL, address, and time of sending in nanoseconds since 1970.
    Looked(Vec<(u8, IpAddr, u64)>),
    /// A path.
    Traced {
        /// When it was begun, in nanoseconds since 1970.
        since_ns: u64,
        /// Answers of each hop.
        answers: Vec<HopAnswers>,
        /// The same with refusals, as it is kept.
        hops: Vec<TracedHop>,
        /// Whether the target answered.
        is_reached: bool,
        /// Whether a probe left this host.
        has_left: bool,
    },
    /// netsonded does not answer, or refuses: why, in words.
    Failed(String),
}

/// The result of an order.
#[derive(Debug)]
pub struct Done {
    /// Number of the order.
    pub number: u64,
    /// Number of probes.
    pub probes: u64,
    /// What was found.
    pub found: Found,
}

/// A run. It ends when this is dropped.
#[derive(Debug)]
pub struct Run {
    /// Its number.
    pub number: u64,
    _stop: UnixStream,
}

/// Starts a run.
///
/// # Errors
///
/// No thread or descriptor is left.
pub fn start(
    number: u64,
    socket: &Path,
    targets: Vec<String>,
    options: Options,
    reports: Sender<Report>,
) -> std::io::Result<Run> {
    let (stop, stopped) = UnixStream::pair()?;
    let socket = PathBuf::from(socket);
    std::thread::Builder::new()
        .name(format!("run {number}"))
        .stack_size(256 << 10)
        .spawn(move || {
            let runner = Runner {
                number,
                socket,
                targets,
                options,
                reports,
                stopped,
            };
            runner.work();
        })?;
    Ok(Run {
        number,
        _stop: stop,
    })
}

/// Waits. Returns whether the other end of `stopped` was closed meanwhile.
pub(super) fn pause(stopped: &UnixStream, pause: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut wanted = [PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    let pause = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
    poll(&mut wanted, pause).is_ok_and(|ready| ready > 0)
}

struct Runner {
    number: u64,
    socket: PathBuf,
    targets: Vec<String>,
    options: Options,
    reports: Sender<Report>,
    stopped: UnixStream,
}

/// Why a run ended.
enum End {
    Stopped,
    Away(String),
}

impl From<crate::varlink::client::Error> for End {
    fn from(error: crate::varlink::client::Error) -> End {
        End::Away(error.to_string())
    }
}

impl Runner {
    fn work(&self) {
        let mut failures = 0;
        loop {
            let mut has_begun = false;
            let Err(End::Away(words)) = self.run(&mut has_begun) else {
                return;
            };
            failures = if has_begun { 0 } else { failures + 1 };
            let away = Report::Away {
                run: self.number,
                words,
            };
            if self.reports.blocking_send(away).is_err()
                || pause(&self.stopped, PAUSES[failures.min(4)])
            {
                return;
            }
        }
    }

    fn run(&self, has_begun: &mut bool) -> Result<(), End> {
        let mut connection = Connection::open(&self.socket)?;
        let mut call = PingCall {
            options: Some(self.options.clone()),
            ..PingCall::default()
        };
        if self.targets.len() <= TARGETS_A_CALL {
            call.targets = Some(self.targets.clone());
        } else {
            for part in self.targets.chunks(TARGETS_A_REQUEST) {
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
        let (mut pipe, slots, stretched_ns) = self.begin(&mut connection)?;
        *has_begun = true;
        self.send(Report::Began {
            run: self.number,
            slots,
            stretched_ns,
        })?;
        let mut decoder = Decoder::default();
        let mut room = vec![0; 64 << 10];
        loop {
            let is_pipe_ready = self.wait(&mut connection, &pipe)?;
            // What was seen of a lost probe is sent before its fate.
            let mut rows = Vec::new();
            while connection.is_ready() {
                let (reply, continues) = self.reply(&mut connection)?;
                rows.extend(reply.probes.into_iter().flatten());
                if !continues {
                    return Err(End::Away("the run ended".into()));
                }
            }
            let mut entries = Vec::new();
            if is_pipe_ready {
                let length = pipe
                    .read(&mut room)
                    .map_err(|error| End::Away(reason(&error)))?;
                if length == 0 {
                    return Err(End::Away("netsonded ended, or its engine died".into()));
                }
                decoder.push(&room[..length]);
                let wrong = |error| End::Away(format!("packed fates: {error}"));
                while let Some(batch) = decoder.take().map_err(wrong)? {
                    entries.extend(batch.entries);
                }
            }
            if !rows.is_empty() || !entries.is_empty() {
                self.send(Report::Fates {
                    run: self.number,
                    rows,
                    entries,
                })?;
            }
        }
    }

    fn reply(&self, connection: &mut Connection) -> Result<(PingReply, bool), End> {
        let Some(reply) = connection.reply_until(Some(self.stopped.as_fd()))? else {
            return Err(End::Stopped);
        };
        let parsed = serde_json::from_value(reply.parameters);
        let parsed = parsed.map_err(|error| End::Away(format!("malformed reply: {error}")))?;
        Ok((parsed, reply.continues))
    }

    /// Reads the first replies. Returns the pipe of fates, the addresses by slot, and the interval, if it is longer
    /// than was asked for.
    fn begin(&self, connection: &mut Connection) -> Result<(File, Vec<String>, Option<u64>), End> {
        let malformed = |what: &str| End::Away(format!("malformed reply: {what}"));
        let Some(first) = connection.reply_until(Some(self.stopped.as_fd()))? else {
            return Err(End::Stopped);
        };
        let pipe = first.descriptors.into_iter().next();
        let pipe = pipe.ok_or_else(|| malformed("it has no pipe of fates"))?;
        let first: PingReply = serde_json::from_value(first.parameters)
            .map_err(|error| malformed(&error.to_string()))?;
        let count = first.targets.unwrap_or(0);
        // Duplicates and those of ranges aside, a run has the targets that were asked for.
        if count == 0 || count > self.targets.len() as u64 {
            return Err(malformed("another number of targets"));
        }
        let mut slots = Vec::new();
        while (slots.len() as u64) < count {
            let (reply, _) = self.reply(connection)?;
            let more = reply.slots.filter(|more| !more.is_empty());
            slots.extend(more.ok_or_else(|| malformed("it has no slots"))?);
        }
        Ok((File::from(pipe), slots, first.interval_ns))
    }

    /// Waits for the connection or the pipe. Returns whether the pipe has something, or its end.
    fn wait(&self, connection: &mut Connection, pipe: &File) -> Result<bool, End> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut wanted = [
            PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(connection.socket(), PollFlags::POLLIN),
            PollFd::new(pipe.as_fd(), PollFlags::POLLIN),
        ];
        while let Err(error) = poll(&mut wanted, PollTimeout::NONE) {
            if error != nix::errno::Errno::EINTR {
                return Err(End::Away(error.desc().into()));
            }
        }
        match wanted[0].any() {
            Some(true) => Err(End::Stopped),
            _ => Ok(wanted[2].any().unwrap_or(false)),
        }
    }

    fn send(&self, report: Report) -> Result<(), End> {
        self.reports.blocking_send(report).map_err(|_| End::Stopped)
    }
}
