//! SHELL. A private netsonded and netsonde-historian for one command.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::mkdtemp;

use crate::client::failure::Failure;
use crate::client::guard;
use crate::linux::reason;
use crate::varlink::client::{Connection, HISTORIAN, NETSONDED, Server};

/// Maximum time until a private service is ready.
const READY_WAIT: Duration = Duration::from_secs(10);
/// Interval of asking whether it is.
const READY_PAUSE: Duration = Duration::from_millis(5);

/// Name of its directory, in which mkdtemp(3) replaces the last six letters.
const TEMPLATE: &str = "netsonde-XXXXXX";

/// A private service, stopped and removed when this is dropped, or when this process has ended.
pub struct Standalone {
    guard: Child,
    socket: PathBuf,
    /// What the historian logs: its end says that it has ended.
    log: Mutex<(File, Vec<u8>)>,
}

impl Standalone {
    /// Starts the netsonded next to this program, or the one on the PATH, and likewise the historian, which keeps its
    /// history in `state`, or in the private directory.
    pub fn start(state: Option<&Path>) -> Result<Standalone, Failure> {
        let mut template = std::env::temp_dir().join(TEMPLATE);
        // The path of a Unix socket has at most 107 bytes (unix(7)).
        if template.as_os_str().len() + "/control.sock".len() > 107 {
            template = Path::new("/tmp").join(TEMPLATE);
        }
        // A name that nobody can guess, and mode 0700 from its creation on.
        let directory = mkdtemp(&template).map_err(|errno| {
            let parent = template.parent().unwrap_or(Path::new("/"));
            Failure::of_file("create a directory in", parent, &errno.into())
        })?;
        let own = directory.join("history");
        let guard = Command::new("/proc/self/exe")
            .arg0("netsonde")
            .arg(guard::ARGUMENT)
            .arg(&directory)
            .arg(state.unwrap_or(&own))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let cannot = |error: io::Error| Failure::Other(format!("cannot start: {}", reason(&error)));
        let mut guard = guard.map_err(|error| {
            let _ = std::fs::remove_dir_all(&directory);
            cannot(error)
        })?;
        let log = guard.stdout.take();
        let log = log.ok_or_else(|| cannot(io::ErrorKind::BrokenPipe.into()))?;
        fcntl(&log, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| cannot(error.into()))?;
        let mut started = Standalone {
            guard,
            socket: directory.join(guard::CONTROL),
            log: Mutex::new((File::from(OwnedFd::from(log)), Vec::new())),
        };
        started.wait_until_ready()?;
        Ok(started)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        while !answers(NETSONDED, &self.socket, start) {
            if self.guard.try_wait()?.is_some() {
                let mut messages = String::new();
                if let Some(stderr) = &mut self.guard.stderr {
                    stderr.read_to_string(&mut messages)?;
                }
                let last = messages.lines().last().unwrap_or("it printed nothing");
                return Err(Failure::Other(format!(
                    "the private service did not start: {last}"
                )));
            }
            if start.elapsed() > READY_WAIT {
                return Err(Failure::Other(not_ready("service")));
            }
            std::thread::sleep(READY_PAUSE);
        }
        Ok(())
    }

    /// Returns its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the socket of the historian when it answers.
    ///
    /// # Errors
    ///
    /// It is not installed, or did not start, in words.
    pub fn historian(&self) -> Result<PathBuf, String> {
        let socket = self.socket.with_file_name(guard::HISTORY);
        let start = Instant::now();
        while !answers(HISTORIAN, &socket, start) {
            if let Some(last) = self.last_words() {
                return Err(format!("no history: {last}"));
            }
            if start.elapsed() > READY_WAIT {
                return Err(format!("no history: {}", not_ready("historian")));
            }
            std::thread::sleep(READY_PAUSE);
        }
        Ok(socket)
    }

    /// Returns the last line of the historian if it has ended.
    fn last_words(&self) -> Option<String> {
        let (log, lines) = &mut *self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match log.read_to_end(lines) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            _ => {
                let text = String::from_utf8_lossy(lines);
                let last = text.lines().last();
                Some(last.unwrap_or("netsonde-historian ended").to_owned())
            }
        }
    }
}

fn not_ready(what: &str) -> String {
    let seconds = READY_WAIT.as_secs();
    format!("the private {what} was not ready within {seconds} s")
}

/// Returns whether a service answers, within the time that is left.
fn answers(server: Server, socket: &Path, start: Instant) -> bool {
    let left = READY_WAIT.saturating_sub(start.elapsed()).max(READY_PAUSE);
    let answer = Connection::open_to(server, socket).and_then(|mut connection| {
        connection.wait_at_most(left)?;
        let none = serde_json::json!({});
        connection.call::<serde_json::Value>("org.varlink.service.GetInfo", &none)
    });
    answer.is_ok()
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // It ends the others at the end of this pipe.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
