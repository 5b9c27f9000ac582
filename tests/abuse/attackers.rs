//! Attackers in processes of their own: of another user where this machine has one to give, and such that can
//! be killed.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use netsonde::lab::wait_until;
use serde_json::{Value, json};

use super::watch::{call, connect, read};
use crate::support::{PATIENCE, Service, has_users};

/// What a process started from this file is to do, and with which socket.
const ROLE: &str = "NETSONDE_TEST_ATTACKS";
const SOCKET: &str = "NETSONDE_TEST_SOCKET";
/// Nobody.
pub const OTHER: u32 = 65_534;

/// Lets other users connect, as the group would be.
pub fn let_in(service: &Service) {
    service.open_directory();
    std::fs::set_permissions(service.socket(), PermissionsExt::from_mode(0o666)).unwrap();
}

/// Makes a command run as another user, where there is one. `false`: it runs as this one.
pub fn as_other(command: &mut Command) -> bool {
    let there = has_users();
    if there {
        command.uid(OTHER).gid(OTHER);
    }
    there
}

/// An attacker, as another user where there is one; killed when this goes.
pub struct Attacker(Child);

impl Attacker {
    pub fn start(service: &Service, role: &str) -> Attacker {
        let_in(service);
        // /proc/self/exe can be executed by who could not walk to its directory.
        let own = || {
            let mut command = Command::new("/proc/self/exe");
            command
                .env(ROLE, role)
                .env(SOCKET, service.socket())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            command
        };
        let mut command = own();
        as_other(&mut command);
        Attacker(command.spawn().unwrap())
    }

    /// Its next line, of JSON.
    pub fn says(&mut self) -> Value {
        let mut line = Vec::new();
        let mut byte = [0];
        let out = self.0.stdout.as_mut().unwrap();
        while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        serde_json::from_slice(&line)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&line)))
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What this process is to do instead of testing; `None`: to test.
pub fn main() -> Option<ExitCode> {
    if std::env::var_os(super::environment::OLD_KERNEL).is_some() {
        return Some(super::environment::run_as_on_an_old_kernel());
    }
    let role = std::env::var(ROLE).ok()?;
    let socket = std::env::var(SOCKET).unwrap();
    let socket = Path::new(&socket);
    let printed = match role.as_str() {
        "connects" => connects(socket),
        "half open" => half_open(socket),
        "pipelines" => pipelines(socket),
        "forges" => forges(socket),
        "asks for a broadcast" => broadcast(&mut connect(socket)),
        "asks through what it was handed" => {
            // Standard input is a connection that another user has made.
            let handed = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned();
            broadcast(&mut UnixStream::from(handed.unwrap()))
        }
        other => panic!("no such role: {other}"),
    };
    println!("{printed}");
    // What is held is held until somebody ends this.
    let _ = std::io::stdin().read(&mut [0]);
    Some(ExitCode::SUCCESS)
}

/// Connections that say nothing, by the thousand: five hundred at a time, each held until it is told why it must
/// go, or is one of those that may stay.
fn connects(socket: &Path) -> Value {
    const MANY: usize = 10_000;
    const AT_ONCE: usize = 500;
    const STAY: usize = 16;
    let (mut report, mut closed, mut last) = (0, 0, Vec::new());
    for _ in 0..MANY / AT_ONCE {
        let mut held: Vec<UnixStream> = (0..AT_ONCE).map(|_| connect(socket)).collect();
        drop(last);
        for stream in &held {
            stream.set_nonblocking(true).unwrap();
        }
        wait_until(PATIENCE, || {
            held.retain_mut(|stream| match read(stream) {
                Ok(word) => {
                    report += u32::from(word["error"] == "io.netsonde.Service.TooManyConnections");
                    false
                }
                Err(error) => {
                    let is_open = error.kind() == std::io::ErrorKind::WouldBlock;
                    closed += u32::from(!is_open);
                    is_open
                }
            });
            held.len() <= STAY
        });
        last = held;
    }
    // These are held until this process ends.
    std::mem::forget(last);
    json!({ "connected": MANY, "told": report, "closed_without_a_word": closed })
}

fn half_open(socket: &Path) -> Value {
    let all: Vec<UnixStream> = (0..32)
        .map(|_| {
            let mut stream = connect(socket);
            let _ = stream.write_all(b"{");
            stream
        })
        .collect();
    let mut reasons = std::collections::BTreeMap::<String, u32>::new();
    for mut stream in all {
        let reason = match read(&mut stream) {
            Ok(word) => word["error"].as_str().unwrap_or_default().to_owned(),
            Err(error) => error.kind().to_string(),
        };
        *reasons.entry(reason).or_default() += 1;
    }
    json!(reasons)
}

/// Requests without an end, whose answers nobody wants, on several connections.
fn pipelines(socket: &Path) -> Value {
    let one = format!(
        "{}\0",
        json!({ "method": "io.netsonde.Service.Status", "oneway": true })
    );
    let many = one.repeat(1000);
    for _ in 0..8 {
        let mut stream = connect(socket);
        let many = many.clone();
        std::thread::spawn(move || while stream.write_all(many.as_bytes()).is_ok() {});
    }
    json!({})
}

fn broadcast(stream: &mut UnixStream) -> Value {
    let options = json!({ "count": 1, "broadcast": true });
    let parameters = json!({ "targets": ["10.0.0.255"], "options": options });
    let asked =
        json!({ "method": "io.netsonde.Ping.Ping", "more": true, "parameters": parameters });
    call(stream, &asked).unwrap_or_else(|error| json!({ "closed": error.to_string() }))
}

/// Says that it is root, and asks for what root may.
fn forges(socket: &Path) -> Value {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixCredentials, sendmsg};
    let mut stream = connect(socket);
    let asked = format!("{}\0", json!({ "method": "org.varlink.service.GetInfo" }));
    let claimed = UnixCredentials::from(libc::ucred {
        pid: 1,
        uid: 0,
        gid: 0,
    });
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &[std::io::IoSlice::new(asked.as_bytes())],
        &[ControlMessage::ScmCredentials(&claimed)],
        MsgFlags::empty(),
        None,
    );
    // The kernel refuses who is not root; whoever may claim it is answered all the same.
    let forged = match sent {
        Ok(_) => json!(read(&mut stream).is_ok()),
        Err(error) => json!(error.to_string()),
    };
    json!({ "forged": forged, "asked": broadcast(&mut stream) })
}
