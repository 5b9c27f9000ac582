//! SHELL. A private netsonded for one command.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkdtemp};

use crate::client::failure::Failure;
use crate::linux::reason;
use crate::varlink::client::Connection;

/// Maximum time until a private service is ready.
const READY_WAIT: Duration = Duration::from_secs(10);

/// Name of its directory, in which mkdtemp(3) replaces the last six letters.
const TEMPLATE: &str = "netsonde-XXXXXX";

/// A private service, stopped and removed when this is dropped.
pub struct Standalone {
    child: Child,
    directory: PathBuf,
    socket: PathBuf,
}

impl Standalone {
    /// Starts the netsonded next to this program, or the one on the PATH.
    pub fn start() -> Result<Standalone, Failure> {
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
        let started = Standalone::start_in(&directory);
        if started.is_err() {
            let _ = std::fs::remove_dir_all(&directory);
        }
        started
    }

    fn start_in(directory: &Path) -> Result<Standalone, Failure> {
        let socket = directory.join("control.sock");
        let program = beside("netsonded");
        let child = Command::new(&program)
            // Its only client is the user who starts it.
            .arg("--allow-root")
            .arg("--socket")
            .arg(&socket)
            .arg("--state")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                let program = program.display();
                Failure::Other(format!("cannot start {program}: {}", reason(&error)))
            })?;
        let mut started = Standalone {
            child,
            directory: directory.into(),
            socket,
        };
        started.wait_until_ready()?;
        Ok(started)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(&self.socket)
                && connection
                    .call::<serde_json::Value>(
                        "org.varlink.service.GetInfo",
                        &serde_json::json!({}),
                    )
                    .is_ok()
            {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() {
                let mut messages = String::new();
                if let Some(stderr) = &mut self.child.stderr {
                    stderr.read_to_string(&mut messages)?;
                }
                let last = messages
                    .lines()
                    .last()
                    .unwrap_or("it printed nothing")
                    .to_owned();
                return Err(Failure::Other(format!(
                    "the private service did not start: {last}"
                )));
            }
            if start.elapsed() > READY_WAIT {
                return Err(Failure::Other(
                    "the private service was not ready within 10 s".into(),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Starts a historian beside it, where commands look for one.
    pub fn historian(&self) -> Result<Historian, Failure> {
        let (program, state) = (beside("netsonde-historian"), self.directory.join("history"));
        let socket = self.directory.join("history.sock");
        let mut command = Command::new(&program);
        command
            .arg("--socket")
            .arg(&self.socket)
            .arg("--listen")
            .arg(&socket)
            .arg("--state")
            .arg(&state)
            .arg("--monitors")
            .arg(self.directory.join("monitors.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().map_err(|error| {
            let program = program.display();
            Failure::Other(format!("cannot start {program}: {}", reason(&error)))
        })?;
        let historian = Historian { child };
        let start = Instant::now();
        while start.elapsed() < READY_WAIT {
            let none = serde_json::json!({});
            let answers = Connection::open(&socket).and_then(|mut connection| {
                connection.call::<serde_json::Value>("org.varlink.service.GetInfo", &none)
            });
            if answers.is_ok() {
                return Ok(historian);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Failure::Other(
            "the private historian was not ready within 10 s".into(),
        ))
    }
}

/// A private historian, stopped when this is dropped.
pub struct Historian {
    child: Child,
}

impl Drop for Historian {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns the program of this name next to this one, or the one on the PATH.
fn beside(name: &str) -> PathBuf {
    let me = std::env::current_exe().ok();
    let found = me.and_then(|me| Some(me.parent()?.join(name)));
    found
        .filter(|path| path.exists())
        .unwrap_or_else(|| name.into())
}
