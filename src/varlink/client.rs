//! SHELL. The client's end of the control socket: blocking, one call at a time.

use std::borrow::Cow;
use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::linux::reason;
use netsonde_core::screen::{is_unsafe, one_line};

/// Maximum length of a reply, in bytes: thousands of interfaces fit.
const REPLY_MAX: usize = 16 << 20;
/// Bytes received at a time.
const ROOM: usize = 64 * 1024;
/// Maximum time for a reply, if none is given.
const REPLY_WAIT: Duration = Duration::from_secs(30);
/// Maximum length of the path of a Unix socket, in bytes (unix(7)).
const MAX_PATH: usize = 107;
/// Time for which to retry when the service has too many connections.
const CROWDED_WAIT: Duration = Duration::from_secs(2);
/// Pause before each such try.
const CROWDED_PAUSE: Duration = Duration::from_millis(25);

/// A service that listens on a socket: what messages call it, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name of the program and of its unit.
    pub name: &'static str,
    /// What to do if it does not run, beside starting it.
    otherwise: &'static str,
}

/// The service that sees packets.
pub const NETSONDED: Server = Server {
    name: "netsonded",
    otherwise: ", give another socket with --socket, or use --standalone",
};

/// The service that keeps their history.
pub const HISTORIAN: Server = Server {
    name: "netsonde-historian",
    otherwise: ", or give another socket with --history-socket",
};

/// An error of the connection or of the service, in words for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No service listens on the socket.
    #[error("no {0} at {path} ({why}): start it with `systemctl start {0}`{1}", .server.name,
        .server.otherwise, why = why_not(.path, .error))]
    NoService {
        /// Which one.
        server: Server,
        /// The socket.
        path: PathBuf,
        /// The error of the kernel.
        error: io::Error,
    },
    /// This user may not connect.
    #[error("no permission to use {path}: {hint}")]
    Denied {
        /// The socket.
        path: PathBuf,
        /// What to do about it.
        hint: String,
    },
    /// The connection broke.
    #[error("lost the connection to {}: {}", .server.name, reason(.error))]
    Broken {
        /// Which service.
        server: Server,
        /// Why.
        error: io::Error,
    },
    /// The service does nothing, although its socket is there.
    #[error("{} did not {what} for {}: is it overloaded or stopped?", .server.name, in_seconds(*.limit))]
    Silent {
        /// Which service.
        server: Server,
        /// What it did not do, as an infinitive.
        what: &'static str,
        /// The time that was waited.
        limit: Duration,
    },
    /// The service returned an error.
    #[error("{}", in_words(.server.name, .name, .parameters))]
    Remote {
        /// Which service.
        server: Server,
        /// Varlink name of the error.
        name: String,
        /// Parameters of the error.
        parameters: Value,
    },
    /// The reply does not match the interface definition.
    #[error("unexpected reply from {}: {why} (do client and service versions match?)", .server.name)]
    Unexpected {
        /// Which service.
        server: Server,
        /// What is wrong with it.
        why: String,
    },
}

impl Server {
    pub(super) fn broken(self, error: impl Into<io::Error>) -> Error {
        Error::Broken {
            server: self,
            error: error.into(),
        }
    }

    fn silent(self, what: &'static str, limit: Option<Duration>) -> Error {
        Error::Silent {
            server: self,
            what,
            limit: limit.unwrap_or_default(),
        }
    }

    pub(super) fn unexpected(self, why: impl Into<String>) -> Error {
        Error::Unexpected {
            server: self,
            why: why.into(),
        }
    }
}

/// Formats a time limit: in seconds, or in milliseconds if it is shorter than a second.
fn in_seconds(limit: Duration) -> String {
    match limit.as_secs() {
        0 => format!("{} ms", limit.as_millis()),
        _ => format!("{} s", limit.as_secs_f64()),
    }
}

/// Describes why a socket could not be reached.
fn why_not(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        // The standard library checks the length.
        io::ErrorKind::InvalidInput if path.as_os_str().len() > MAX_PATH => {
            format!("the path is longer than {MAX_PATH} bytes")
        }
        _ => reason(error),
    }
}

fn in_words(server: &str, name: &str, parameters: &Value) -> String {
    let field = |key: &str| match &parameters[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match name {
        "org.varlink.service.MethodNotFound" => format!(
            "this {server} does not support {}: it is older than this client; update it",
            field("method")
        ),
        "org.varlink.service.InvalidParameter" => {
            format!("invalid parameter: {}", field("parameter"))
        }
        "io.netsonde.Capture.NoSuchInterface"
        | "io.netsonde.Inventory.NoSuchInterface"
        | "io.netsonde.Multicast.NoSuchInterface" => format!(
            "unknown interface {}: `netsonde interfaces` lists them",
            field("interface")
        ),
        "io.netsonde.Capture.BadFilter" => format!(
            "{server} rejected the filter at instruction {} ({}): {}",
            field("instruction"),
            field("link_type"),
            field("reason")
        ),
        "io.netsonde.Service.TooManyConnections" => format!(
            "{server} has too many connections (limit of {}: {}): try again, or close some",
            if field("scope") == "uid" {
                "one user"
            } else {
                "all users"
            },
            field("limit")
        ),
        "io.netsonde.Service.BadRequest" => {
            format!("{server} rejected the request: {}", field("reason"))
        }
        "io.netsonde.Service.PermissionDenied" => {
            let may: Vec<&str> = parameters["may"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let what = match parameters["tier"].as_str() {
                Some("payload") => "see packet payload (--headers shows the headers)",
                Some("probe") => "probe or see packet headers",
                _ => "make this request",
            };
            format!(
                "no permission to {what}: {} may, see [permission] in netsonde.toml(5)",
                may.join(", ")
            )
        }
        "io.netsonde.Service.Unavailable" => {
            format!("{server} cannot do this at the moment: {}", field("reason"))
        }
        "io.netsonde.Trace.NoSuchConnection" => format!(
            "this host has no TCP connection from {} to {}, or no longer",
            field("source"),
            field("destination")
        ),
        "io.netsonde.Ping.BadTarget" | "io.netsonde.Trace.BadTarget" => {
            format!("{}: {}", field("target"), field("reason"))
        }
        "io.netsonde.Ping.NotPermitted" | "io.netsonde.Trace.NotPermitted" => format!(
            "only root may use {} here; you may use {}",
            field("what"),
            field("limit")
        ),
        "io.netsonde.Ping.LimitReached"
        | "io.netsonde.Trace.LimitReached"
        | "io.netsonde.Service.LimitReached" => {
            let table = match field("limit").contains("memory") {
                true => "control",
                false => "ping",
            };
            format!(
                "{server}'s limit is reached ({}: {}); see [{table}] in netsonde.toml(5)",
                field("limit"),
                field("most")
            )
        }
        "io.netsonde.History.NoSuchMonitor" => format!(
            "no monitor {}: `netsonde monitor list` lists them",
            field("name")
        ),
        "io.netsonde.History.NoSuchTarget" => match parameters["matches"].as_u64() {
            Some(matches @ 2..) => format!(
                "{} stands for {matches} targets: give the address of one (`netsonde monitor list`)",
                field("target")
            ),
            _ => format!(
                "no monitor has the target {}: `netsonde monitor list` lists them",
                field("target")
            ),
        },
        "io.netsonde.History.NoSuchPath" => format!(
            "no path to {} is remembered: {}",
            field("target"),
            field("reason")
        ),
        "io.netsonde.History.NoSuchOutage" => {
            format!("no outage {}: `netsonde outages` lists them", field("id"))
        }
        "io.netsonde.History.NoSuchPackets" => field("reason"),
        "io.netsonde.History.BadMonitor" => {
            format!("monitor {}: {}", field("name"), field("reason"))
        }
        "io.netsonde.History.NotKept" => format!("not kept: {}", field("reason")),
        other => format!("{server} returned the error {other} {parameters}"),
    }
}

/// A reply to a call.
#[derive(Debug)]
pub struct Reply {
    /// Parameters of the reply.
    pub parameters: Value,
    /// Whether more replies follow.
    pub continues: bool,
    /// Descriptors that arrived with the reply.
    pub descriptors: Vec<OwnedFd>,
}

/// A connection to the service.
pub struct Connection {
    server: Server,
    stream: UnixStream,
    /// Time limits of a reply, or `None` for no limit, and of a request.
    limits: (Option<Duration>, Duration),
    inbox: Vec<u8>,
    /// Bytes of the inbox known to contain no end of a message.
    scanned: usize,
    room: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    /// The first request until its first reply is there.
    first: Option<First>,
}

/// The first request of a connection, which is made again if the service has too many connections: those of
/// commands that ended a moment ago may still be counted.
struct First {
    path: PathBuf,
    since: Instant,
    request: Vec<u8>,
}

impl Connection {
    /// Connects to the socket of netsonded.
    pub fn open(path: &Path) -> Result<Connection, Error> {
        Connection::open_to(NETSONDED, path)
    }

    /// Connects to the socket of a service.
    pub fn open_to(server: Server, path: &Path) -> Result<Connection, Error> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::Denied {
                path: path.into(),
                hint: denied_hint(server, path),
            },
            _ => Error::NoService {
                server,
                path: path.into(),
                error,
            },
        })?;
        stream
            .set_read_timeout(Some(REPLY_WAIT))
            .and_then(|()| stream.set_write_timeout(Some(REPLY_WAIT)))
            .map_err(|error| server.broken(error))?;
        Ok(Connection {
            server,
            stream,
            limits: (Some(REPLY_WAIT), REPLY_WAIT),
            inbox: Vec::new(),
            scanned: 0,
            room: vec![0; ROOM],
            descriptors: Vec::new(),
            first: Some(First {
                path: path.into(),
                since: Instant::now(),
                request: Vec::new(),
            }),
        })
    }

    /// Calls a method that has one reply.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
    ) -> Result<T, Error> {
        self.send(method, parameters, false)?;
        let reply = self.reply()?;
        serde_json::from_value(reply.parameters)
            .map_err(|error| self.server.unexpected(error.to_string()))
    }

    /// Calls a method with `more`; the replies are read with [`Connection::reply`].
    pub fn call_more(&mut self, method: &str, parameters: &impl Serialize) -> Result<(), Error> {
        self.send(method, parameters, true)
    }

    fn send(&mut self, method: &str, parameters: &impl Serialize, more: bool) -> Result<(), Error> {
        let mut call = json!({ "method": method, "parameters": parameters });
        if more {
            call["more"] = true.into();
        }
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        write(&self.stream, &bytes).map_err(|error| self.unsent(error))?;
        if let Some(first) = &mut self.first {
            first.request = bytes;
        }
        Ok(())
    }

    /// The error of a request that could not be sent.
    fn unsent(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                (self.server).silent("read the request", Some(self.limits.1))
            }
            _ => self.server.broken(error),
        }
    }

    /// Makes the first request again on a new connection, if the service refused this one and the time for it
    /// is not over.
    fn was_crowded<T>(&mut self, answer: &Result<T, Error>) -> Result<bool, Error> {
        let Some(first) = self.first.take() else {
            return Ok(false);
        };
        let is_crowded = matches!(answer, Err(Error::Remote { name, .. })
            if name == "io.netsonde.Service.TooManyConnections");
        if !is_crowded || first.since.elapsed() >= CROWDED_WAIT {
            return Ok(false);
        }
        std::thread::sleep(CROWDED_PAUSE);
        self.stream = again(&self.stream, &first).map_err(|error| self.unsent(error))?;
        self.inbox.clear();
        self.scanned = 0;
        self.first = Some(first);
        Ok(true)
    }

    /// Returns the socket, to wait for it together with others.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Limits the time for a request and for its reply, for commands that do not depend on it. Not zero.
    pub fn wait_at_most(&mut self, limit: Duration) -> Result<(), Error> {
        self.stream
            .set_read_timeout(Some(limit))
            .and_then(|()| self.stream.set_write_timeout(Some(limit)))
            .map_err(|error| self.server.broken(error))?;
        self.limits = (Some(limit), limit);
        Ok(())
    }

    /// Disables the reply timeout, for streams without an end.
    pub fn wait_without_limit(&mut self) -> Result<(), Error> {
        self.stream
            .set_read_timeout(None)
            .map_err(|error| self.server.broken(error))?;
        self.limits.0 = None;
        Ok(())
    }

    /// Reads the next reply.
    pub fn reply(&mut self) -> Result<Reply, Error> {
        let server = self.server;
        let unstopped = || server.unexpected("no reply");
        self.reply_until(None)?.ok_or_else(unstopped)
    }

    /// Reads the next reply, or returns `None` when `stop` becomes readable first.
    pub fn reply_until(&mut self, stop: Option<BorrowedFd<'_>>) -> Result<Option<Reply>, Error> {
        let (parameters, continues) = loop {
            if let Some(end) = self.end() {
                let answer = self.take(end);
                if self.was_crowded(&answer)? {
                    continue;
                }
                break answer?;
            }
            if self.inbox.len() > REPLY_MAX {
                let why = format!("a reply of more than {REPLY_MAX} bytes");
                return Err(self.server.unexpected(why));
            }
            if !self.wait(stop)? {
                return Ok(None);
            }
            self.receive()?;
        };
        Ok(Some(Reply {
            parameters: parameters.unwrap_or_else(|| json!({})),
            continues,
            descriptors: std::mem::take(&mut self.descriptors),
        }))
    }

    /// Returns whether a reply can be read without waiting, or the connection has ended.
    pub fn is_ready(&mut self) -> bool {
        let mut wanted = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        let is_readable = poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        is_readable || self.end().is_some()
    }

    /// Waits until there is something to read. Returns false when `stop` becomes readable first.
    fn wait(&self, stop: Option<BorrowedFd<'_>>) -> Result<bool, Error> {
        let Some(stop) = stop else {
            return Ok(true);
        };
        let mut wanted = [
            PollFd::new(self.stream.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop, PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut wanted, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(self.server.broken(error)),
                Ok(_) => return Ok(!wanted[1].any().unwrap_or(false)),
            }
        }
    }

    /// Removes the message that ends at `end`: its parameters, and whether others follow.
    fn take<T: DeserializeOwned>(&mut self, end: usize) -> Result<(Option<T>, bool), Error> {
        #[derive(Deserialize)]
        struct Message<T> {
            error: Option<String>,
            parameters: Option<T>,
            #[serde(default)]
            continues: bool,
        }
        let server = self.server;
        let bytes = &*clean(&self.inbox[..end]);
        let typed = match serde_json::from_slice::<Message<T>>(bytes) {
            Ok(Message {
                error: None,
                parameters,
                continues,
            }) => Ok((parameters, continues)),
            // The parameters of an error have another type.
            Ok(_) => Err(None),
            Err(error) => Err(Some(error)),
        };
        let outcome = typed.map_err(|unexpected| {
            let failed = serde_json::from_slice::<Message<Value>>(bytes).ok();
            match (failed, unexpected) {
                (
                    Some(Message {
                        error: Some(name),
                        parameters,
                        ..
                    }),
                    _,
                ) => Error::Remote {
                    server,
                    name,
                    parameters: parameters.unwrap_or_default(),
                },
                (_, unexpected) => server.unexpected(
                    unexpected.map_or("malformed reply".into(), |error| error.to_string()),
                ),
            }
        });
        self.inbox.drain(..=end);
        self.scanned = 0;
        outcome
    }

    /// Returns the end of the first message in the inbox, if it is complete.
    fn end(&mut self) -> Option<usize> {
        let found = self.inbox[self.scanned..]
            .iter()
            .position(|byte| *byte == 0);
        let end = found.map(|at| self.scanned + at);
        self.scanned = end.unwrap_or(self.inbox.len());
        end
    }

    /// Reads the next reply, or returns `None` when `stop` becomes readable first.
    pub fn reply_or<T: DeserializeOwned>(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Option<(T, bool)>, Error> {
        loop {
            if let Some(end) = self.end() {
                let answer = self.take(end);
                if self.was_crowded(&answer)? {
                    continue;
                }
                let (parameters, continues) = answer?;
                let parameters = parameters
                    .ok_or_else(|| self.server.unexpected("a reply without parameters"))?;
                return Ok(Some((parameters, continues)));
            }
            if self.inbox.len() > REPLY_MAX {
                let why = format!("a reply of more than {REPLY_MAX} bytes");
                return Err(self.server.unexpected(why));
            }
            if !self.wait(stop)? {
                return Ok(None);
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> Result<(), Error> {
        let mut control = nix::cmsg_space!([i32; 4]);
        let mut data = [IoSliceMut::new(&mut self.room)];
        let message = recvmsg::<()>(
            self.stream.as_raw_fd(),
            &mut data,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        let message = match message {
            Ok(message) => message,
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            Err(nix::errno::Errno::EAGAIN) => {
                return Err(self.server.silent("reply", self.limits.0));
            }
            Err(error) => return Err(self.server.broken(error)),
        };
        for item in message.cmsgs().map_err(|error| self.server.broken(error))? {
            if let ControlMessageOwned::ScmRights(raw) = item {
                self.descriptors
                    .extend(raw.into_iter().map(crate::linux::received::received));
            }
        }
        let length = message.bytes;
        if length == 0 {
            let name = self.server.name;
            let why =
                format!("it closed the connection before it replied; see `journalctl -u {name}`");
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, why);
            return Err(self.server.broken(error));
        }
        self.inbox.extend_from_slice(&self.room[..length]);
        Ok(())
    }
}

/// Makes the first request again on a new connection with the time limits of the former.
fn again(former: &UnixStream, first: &First) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(&first.path)?;
    stream.set_read_timeout(former.read_timeout()?)?;
    stream.set_write_timeout(former.write_timeout()?)?;
    write(&stream, &first.request)?;
    Ok(stream)
}

/// Writes a request.
fn write(mut stream: &UnixStream, request: &[u8]) -> io::Result<()> {
    match stream.write_all(request) {
        // It may have reported the reason before it closed the connection.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Calls a method on a new connection.
pub fn ask<T: DeserializeOwned>(path: &Path, method: &str) -> Result<T, Error> {
    ask_with(path, method, &json!({}))
}

/// The same, with parameters.
pub fn ask_with<T: DeserializeOwned>(
    path: &Path,
    method: &str,
    parameters: &impl Serialize,
) -> Result<T, Error> {
    Connection::open(path)?.call(method, parameters)
}

/// Escapes what would change a terminal in the strings of a reply, line feeds included: the service, or what
/// poses as it, has no lines of its own in the output. An honest reply has none of these, and is only scanned.
fn clean(reply: &[u8]) -> Cow<'_, [u8]> {
    let has_escape = || {
        let mut pairs = reply.windows(2).filter(|pair| pair[0] == b'\\');
        pairs.any(|pair| !matches!(pair[1], b'"' | b'\\' | b'/'))
    };
    let has_letter = || std::str::from_utf8(reply).is_ok_and(|text| text.contains(is_unsafe));
    if !has_escape() && (reply.is_ascii() || !has_letter()) {
        return reply.into();
    }
    match serde_json::from_slice::<Value>(reply) {
        Ok(value) => cleaned(value).to_string().into_bytes().into(),
        // Reported as such, without its text.
        Err(_) => reply.into(),
    }
}

fn cleaned(value: Value) -> Value {
    match value {
        Value::String(text) => one_line(&text).into(),
        Value::Array(all) => all.into_iter().map(cleaned).collect(),
        Value::Object(all) => {
            let entries = all.into_iter();
            let entries = entries.map(|(key, value)| (one_line(&key).into_owned(), cleaned(value)));
            Value::Object(entries.collect())
        }
        other => other,
    }
}

fn denied_hint(server: Server, path: &Path) -> String {
    let group = std::fs::metadata(path).ok().and_then(|metadata| {
        nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(metadata.gid()))
            .ok()
            .flatten()
    });
    match group {
        // No user should be added to root's group.
        Some(group) if group.gid.as_raw() == 0 => {
            format!(
                "only root may connect, because the group netsonde does not exist: use sudo, or \
                create it (`groupadd --system netsonde`), add yourself and restart {}",
                server.name
            )
        }
        Some(group) => format!(
            "only root and the group {0} may connect: use sudo, or add yourself with `usermod \
                -aG {0} USER` and log in again",
            group.name
        ),
        None => {
            "only root and the group netsonde may connect: use sudo, or ask an administrator to \
                add you to the group"
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Returns a connection to a service that accepts none, as if it was stopped.
    fn stopped() -> (tempfile::TempDir, UnixListener, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let connection = Connection::open_to(HISTORIAN, &path).unwrap();
        (folder, listener, connection)
    }

    #[test]
    fn words_have_the_time_that_was_waited() {
        for (ms, words) in [(40, "40 ms"), (1000, "1 s"), (1200, "1.2 s")] {
            let (_folder, _listener, mut connection) = stopped();
            connection.wait_at_most(Duration::from_millis(ms)).unwrap();
            let start = Instant::now();
            let error = connection.call::<Value>("a.b", &json!({})).unwrap_err();
            assert!(start.elapsed() >= Duration::from_millis(ms) / 2);
            assert_eq!(
                error.to_string(),
                format!(
                    "netsonde-historian did not reply for {words}: is it overloaded or stopped?"
                )
            );
        }
        // More than the buffer of the socket.
        let (_folder, _listener, mut connection) = stopped();
        connection.wait_at_most(Duration::from_millis(50)).unwrap();
        let error = connection
            .call_more("a.b", &json!({ "text": "a".repeat(8 << 20) }))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "netsonde-historian did not read the request for 50 ms: is it overloaded or stopped?"
        );
    }
}
