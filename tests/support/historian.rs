//! `netsonde-historian` beside a service, and calls of its methods.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use netsonde::lab::{Host, Running, wait_until};
use netsonde::varlink::client::Connection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{PATIENCE, Service};

/// Time of a reply in nanoseconds since 1970.
pub fn ns(value: &Value) -> i128 {
    let time: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
    time.as_nanosecond()
}

/// Nanoseconds since 1970.
pub fn now() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}

/// Number of targets of an outage in a list, which names the first of them.
pub fn target_count(outage: &Value) -> usize {
    let left_out = outage["targets_left_out"].as_u64().unwrap_or(0);
    outage["targets"].as_array().unwrap().len() + left_out as usize
}

/// Runs ip(8) inside a host.
pub fn ip(host: &Host, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    super::inside(host, "ip", &words);
}

/// A historian with its own directory, in that of its service. It is stopped when this is dropped.
pub struct Historian {
    directory: PathBuf,
    socket: PathBuf,
    running: Option<Running>,
}

impl Historian {
    /// Starts it with these monitors, and without traces: a router has a number of errors for each host, and those of the
    /// test are to be seen.
    pub fn start(host: &Host, service: &Service, monitors: &str) -> Historian {
        Historian::start_with(host, service, monitors, "[history]\npaths = false\n")
    }

    /// Starts it with these monitors and this configuration.
    pub fn start_with(host: &Host, service: &Service, monitors: &str, config: &str) -> Historian {
        let directory = service.directory.path().join("history");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("netsonde.toml"), config).unwrap();
        std::fs::write(directory.join("monitors.toml"), monitors).unwrap();
        let mut historian = Historian {
            socket: service.socket(),
            directory,
            running: None,
        };
        historian.begin(host);
        historian
    }

    /// Starts it again with what it has.
    pub fn begin(&mut self, host: &Host) {
        let path = |name: &str| self.directory.join(name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsonde-historian"));
        command
            .arg("--socket")
            .arg(&self.socket)
            .arg("--listen")
            .arg(path("history.sock"))
            .arg("--state")
            .arg(path("state"))
            .arg("--monitors")
            .arg(path("monitors.toml"))
            .arg("--config")
            .arg(path("netsonde.toml"))
            .stdin(Stdio::null())
            .stderr(log);
        self.running = Some(host.spawn(&mut command).unwrap());
        let answers = || self.try_call("Status", &json!({})).is_ok();
        assert!(wait_until(PATIENCE, answers), "no answer:\n{}", self.log());
    }

    /// Runs the client against the service and this historian.
    pub fn client(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_netsonde"))
            .env("NETSONDE_HISTORY_SOCKET", self.path("history.sock"))
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn try_call(&self, method: &str, parameters: &Value) -> Result<Value, String> {
        let opened = Connection::open(&self.path("history.sock"));
        let mut connection = opened.map_err(|error| error.to_string())?;
        let method = format!("io.netsonde.History.{method}");
        let answer = connection.call::<Value>(&method, parameters);
        answer.map_err(|error| error.to_string())
    }

    pub fn call(&self, method: &str, parameters: &Value) -> Value {
        let answer = self.try_call(method, parameters);
        answer.unwrap_or_else(|error| panic!("{method}: {error}\n{}", self.log()))
    }

    /// Waits until a reply fulfills a condition.
    pub fn until(&self, method: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let met = wait_until(PATIENCE, || match self.try_call(method, &json!({})) {
            Ok(answer) => {
                last = answer;
                condition(&last)
            }
            Err(_) => false,
        });
        assert!(met, "{what}: {last:#}\n{}", self.log());
        last
    }

    /// The target of the list with this address.
    pub fn target(&self, address: &str) -> Value {
        let all = self.call("Monitors", &json!({}));
        super::entry(&all["targets"], "target", address)
    }

    /// Waits until a target has a state.
    pub fn until_state(&self, address: &str, state: &str) -> Value {
        let what = format!("{address} is {state}");
        let all = self.until("Monitors", &what, |all| {
            super::entry(&all["targets"], "target", address)["state"] == state
        });
        super::entry(&all["targets"], "target", address)
    }

    pub fn pid(&mut self) -> Pid {
        let running = self.running.as_mut().unwrap();
        Pid::from_raw(running.child().id() as i32)
    }

    /// Ends it, and returns its exit status.
    pub fn end(&mut self, signal: Signal) -> Option<i32> {
        kill(self.pid(), signal).unwrap();
        let mut running = self.running.take().unwrap();
        running.child().wait().unwrap().code()
    }
}

impl Drop for Historian {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let pid = Pid::from_raw(running.child().id() as i32);
            let _ = kill(pid, Signal::SIGTERM);
            wait_until(Duration::from_secs(10), || {
                running
                    .child()
                    .try_wait()
                    .is_ok_and(|ended| ended.is_some())
            });
        }
        if std::thread::panicking() && !super::needs::is_skipping() {
            eprintln!("log of the historian:\n{}", self.log());
        }
    }
}
