//! Shared parts of the tests on live networks: the namespaces, a service in a host, and the client.
#![allow(dead_code, unsafe_code, clippy::unwrap_used, missing_docs)]

pub mod historian;
pub mod link;
pub mod mcast;
pub mod needs;
pub mod path;
pub mod ping;
pub mod scenarios;
pub mod taken;
pub mod terminal;
pub mod tools;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
#[allow(unused_imports)]
pub use needs::{
    find, firewall, has, has_libpcap, has_users, inside, load_rules, need, need_libpcap, printed,
    program, report, skip, skip_here,
};
use netsonde::client::files::capture_file::{CaptureFile, Item};
use netsonde::lab::wire::Wire;
use netsonde::lab::{self, Host, Running, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Longest wait for any condition. Generous, since a machine under load is slow but not faulty.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Sets the flag that ends a background thread when it goes out of scope. A scope waits for its threads, so a
/// flag that is only set at the end of the body would make a panic in between hang.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A capture of tests/field, and its frames.
pub fn field(name: &str) -> (PathBuf, Vec<Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field");
    let path = folder.join(format!("{name}.pcap"));
    let mut file = CaptureFile::new(std::fs::File::open(&path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(item) = file.next().unwrap() {
        if let Item::Packet(packet) = item {
            frames.push(packet.bytes);
        }
    }
    (path, frames)
}

pub type Test = fn() -> Result<(), Box<dyn std::error::Error>>;

/// Enters the namespaces and runs the tests, a few at a time: each has its own hosts.
pub fn main(tests: &[(&'static str, Test)]) -> ExitCode {
    main_with(tests, 2)
}

/// The same with `at_once` tests at a time, for tests that mostly wait.
pub fn main_with(tests: &[(&'static str, Test)], at_once: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        // Listing needs no network.
    } else if let Err(error) = lab::enter() {
        eprintln!("SKIPPED: {error}");
        // In CI a skipped suite must not look like success.
        return if std::env::var_os("CI").is_some() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    arguments.test_threads.get_or_insert(at_once);
    let trials = tests
        .iter()
        .map(|(name, test)| {
            let (name, test) = (*name, *test);
            Trial::ignorable_test(name, move || needs::run(name, test))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A new folder, removed with the value. In /tmp where TMPDIR is too long for a socket in it: the path of a Unix
/// socket has at most 107 bytes (unix(7)).
pub fn folder() -> std::io::Result<tempfile::TempDir> {
    let parent = std::env::temp_dir();
    match parent.as_os_str().len() {
        0..=60 => tempfile::tempdir_in(parent),
        _ => tempfile::tempdir_in("/tmp"),
    }
}

/// `netsonded` in a host, stopped when this value is dropped.
pub struct Service {
    pub directory: tempfile::TempDir,
    keeper: Running,
}

impl Service {
    pub fn start(host: &Host, arguments: &[&str]) -> Service {
        Service::with_config(host, "", arguments)
    }

    pub fn with_config(host: &Host, config: &str, arguments: &[&str]) -> Service {
        Service::prepared(host, config, arguments, |_, _| ())
    }

    /// Starts netsonded by a command that executes its last arguments.
    pub fn under(host: &Host, mut starter: Command, config: &str, arguments: &[&str]) -> Service {
        starter.arg(env!("CARGO_BIN_EXE_netsonded"));
        Service::by(host, starter, config, arguments, |_, _| ())
    }

    /// Starts netsonded after `prepare` changed the command, for example its standard error. `prepare` also
    /// gets the path of the file that is standard error otherwise.
    pub fn prepared(
        host: &Host,
        config: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command, &Path),
    ) -> Service {
        let own = Command::new(env!("CARGO_BIN_EXE_netsonded"));
        Service::by(host, own, config, arguments, prepare)
    }

    fn by(
        host: &Host,
        mut command: Command,
        config: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command, &Path),
    ) -> Service {
        let directory = folder().unwrap();
        let path = directory.path();
        std::fs::write(path.join("netsonde.toml"), config).unwrap();
        let log = std::fs::File::create(path.join("log")).unwrap();
        command
            .arg("--allow-root")
            .arg("--socket")
            .arg(path.join("control.sock"))
            .arg("--state")
            .arg(path)
            .arg("--config")
            .arg(path.join("netsonde.toml"))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(log);
        prepare(&mut command, &path.join("log"));
        let keeper = host.spawn(&mut command).unwrap();
        let service = Service { directory, keeper };
        let answers = || service.try_status().is_some();
        assert!(
            wait_until(PATIENCE, answers),
            "the service does not answer:\n{}",
            service.log()
        );
        service
    }

    /// Lets other users reach the socket, as far as its own mode and group do.
    pub fn open_directory(&self) {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.directory.path(), mode).unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub fn keeper(&mut self) -> Pid {
        Pid::from_raw(self.keeper.child().id() as i32)
    }

    pub fn engine(&self) -> Pid {
        Pid::from_raw(self.status()["engine"]["pid"].as_i64().unwrap() as i32)
    }

    /// Runs the client against this service.
    pub fn netsonde(&self, arguments: &[&str]) -> Output {
        client(&self.socket(), arguments)
    }

    /// Runs the client, which must succeed or find nothing that matches, and returns what it printed.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.netsonde(arguments);
        let printed = String::from_utf8_lossy(&output.stderr);
        let is_unmatched =
            output.status.code() == Some(1) && printed.contains(" without the filter");
        assert!(
            output.status.success() || is_unmatched,
            "netsonde {arguments:?}: {printed}\n{}",
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The lines of JSON that the client prints for packets.
    pub fn packets(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = vec!["watch", "--json", "--last", "all"];
        all.extend_from_slice(arguments);
        let text = self.ask(&all);
        let values = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        values.filter(|value| value["note"].is_null()).collect()
    }

    pub fn try_status(&self) -> Option<Value> {
        let output = self.netsonde(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    pub fn status(&self) -> Value {
        self.try_status()
            .unwrap_or_else(|| panic!("no status:\n{}", self.log()))
    }

    pub fn store(&self, name: &str) -> Value {
        entry(&self.status()["recorder"], "store", name)
    }

    /// Waits until a condition on the status holds.
    pub fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let met = wait_until(PATIENCE, || match self.try_status() {
            Some(status) => {
                last = status;
                condition(&last)
            }
            None => false,
        });
        assert!(met, "{what}: {last:#}\n{}", self.log());
        last
    }

    /// Ends the service and returns its exit status.
    pub fn stop(mut self) -> Option<i32> {
        kill(self.keeper(), Signal::SIGTERM).unwrap();
        self.keeper.child().wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let keeper = self.keeper();
        let _ = kill(keeper, Signal::SIGTERM);
        wait_until(Duration::from_secs(5), || {
            self.keeper
                .child()
                .try_wait()
                .is_ok_and(|ended| ended.is_some())
        });
        if std::thread::panicking() && !needs::is_skipping() {
            eprintln!("log of the service:\n{}", self.log());
        }
    }
}

pub fn client(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netsonde"))
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The entry of a list whose field has that value.
pub fn entry(list: &Value, field: &str, value: &str) -> Value {
    let found = list
        .as_array()
        .and_then(|all| all.iter().find(|entry| entry[field] == value));
    found.cloned().unwrap_or(Value::Null)
}

pub fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Numbers of a file's packets to port 5000, in the order of the file.
pub fn numbers(path: &Path) -> Vec<u64> {
    let mut file = CaptureFile::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut numbers = Vec::new();
    while let Some(item) = file.next().unwrap() {
        if let Item::Packet(packet) = item {
            // Ethernet, IPv4 and UDP without options.
            numbers.push(u64::from_be_bytes(packet.bytes[42..50].try_into().unwrap()));
        }
    }
    numbers
}

pub fn drops(status: &Value) -> u64 {
    status["rings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ring| number(&ring["drops"]))
        .sum()
}

/// Whether the engine has processed every packet that passed the rings.
pub fn settled(status: &Value) -> bool {
    status["rings"]
        .as_array()
        .unwrap()
        .iter()
        .all(|ring| number(&ring["packets"]) - number(&ring["drops"]) == number(&ring["processed"]))
}

/// Sends a Varlink call by hand.
pub fn send_call(stream: &mut UnixStream, call: &Value) -> std::io::Result<()> {
    let mut bytes = call.to_string().into_bytes();
    bytes.push(0);
    stream.write_all(&bytes)
}

/// Reads one reply, and no byte after it.
pub fn read_reply(stream: &mut UnixStream) -> std::io::Result<Value> {
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if byte[0] == 0 {
            return Ok(serde_json::from_slice(&text)?);
        }
        text.push(byte[0]);
    }
}

/// Sends a call and reads its reply.
pub fn raw_call(stream: &mut UnixStream, call: &Value) -> std::io::Result<Value> {
    send_call(stream, call)?;
    read_reply(stream)
}

/// Two hosts on a link:
/// ```text
///   a  e0 10.0.0.1 ---------- 10.0.0.2 e0  b
/// ```
pub fn pair() -> (Host, Host) {
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    lab::veth(&a, "e0", &b, "e0").unwrap();
    give_addresses(&a, &b);
    (a, b)
}

/// The same over a wire that can drop, delay and change frames:
/// ```text
///   a  e0 10.0.0.1 ====wire==== 10.0.0.2 e0  b
/// ```
pub fn wired() -> (Host, Host, Wire) {
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    let wire = Wire::new(&a, "e0", &b, "e0").unwrap();
    give_addresses(&a, &b);
    (a, b, wire)
}

fn give_addresses(a: &Host, b: &Host) {
    for (host, v4, v6) in [
        (a, "10.0.0.1/24", "fd00::1/64"),
        (b, "10.0.0.2/24", "fd00::2/64"),
    ] {
        host.address("e0", v4).unwrap();
        host.address("e0", v6).unwrap();
    }
}
