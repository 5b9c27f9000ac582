//! SHELL. The guard of a private service: a process that starts netsonded and netsonde-historian, stops them when the
//! client has ended, in whatever way, and removes their directory.
//!
//! It is this program, called with [`ARGUMENT`]. Its standard input is a pipe whose other end only the client has, and
//! which tells that it has ended. Its standard error is that of netsonded, its standard output that of the historian.
//! It is in a process group of its own, so that a terminal does not interrupt it.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, dup2_stdout, geteuid, getuid};

use crate::client::screen;
use crate::linux::reason;

/// First argument of the guard; its directory and that of the history follow.
pub const ARGUMENT: &str = "--guard-of-a-private-service";
/// Name of the control socket in the directory.
pub const CONTROL: &str = "control.sock";
/// Name of the historian's socket there: where commands look for it.
pub const HISTORY: &str = "history.sock";

/// Time that a program has to end before it is killed.
const END_WAIT: Duration = Duration::from_secs(5);
/// Interval of looking for what has no descriptor to wait for: a socket that appears, a process that ends.
const LOOK: Duration = Duration::from_millis(5);

/// Runs the guard, if this is one. Returns its exit status.
pub fn run_if_called(arguments: &[OsString]) -> Option<u8> {
    let [_, called, directory, state] = arguments else {
        return None;
    };
    if called != ARGUMENT {
        return None;
    }
    let (directory, state) = (Path::new(directory), Path::new(state));
    // It is removed at the end, so it must be one that was made for this.
    let is_empty = std::fs::read_dir(directory).is_ok_and(|mut all| all.next().is_none());
    if !is_empty || getuid() != geteuid() {
        eprintln!("not called by netsonde --standalone");
        return Some(2);
    }
    let outcome = guard(directory, state);
    let _ = std::fs::remove_dir_all(directory);
    Some(match outcome {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("{why}");
            2
        }
    })
}

fn guard(directory: &Path, state: &Path) -> Result<(), String> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        set.add(signal);
    }
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&set, flags).map_err(|error| reason(&error.into()))?;
    let socket = directory.join(CONTROL);
    let mut command = Command::new(beside("netsonded"));
    command
        // Its only client is the user who starts it.
        .arg("--allow-root")
        .arg("--socket")
        .arg(&socket)
        .arg("--state")
        .arg(directory);
    let mut netsonded = start(command.stdout(Stdio::null()))?;
    set.thread_block().map_err(|error| reason(&error.into()))?;
    let mut historian: Option<Result<Child, String>> = None;
    loop {
        if historian.is_none() && socket.exists() {
            // Programs inherit what is blocked.
            let _ = set.thread_unblock();
            let started = start_historian(directory, state);
            let _ = set.thread_block();
            if let Err(why) = &started {
                let _ = writeln!(screen::stdout(), "{why}");
            }
            historian = Some(started);
            // Its end of that pipe is the only one now: the client notices if it ends.
            let null = File::options().write(true).open("/dev/null");
            let _ = null.map(|null| dup2_stdout(&null));
        }
        let ends = matches!(netsonded.try_wait(), Ok(Some(_)) | Err(_));
        if let Some(Ok(historian)) = &mut historian {
            let _ = historian.try_wait();
        }
        let timeout = match historian {
            Some(_) => PollTimeout::NONE,
            None => PollTimeout::from(LOOK.as_millis() as u16),
        };
        if ends || is_over(&signals, timeout) {
            break;
        }
    }
    if let Some(Ok(historian)) = historian {
        end(historian);
    }
    end(netsonded);
    Ok(())
}

/// Waits for the end of the client, of a child, or for a time. Returns whether the guard ends.
fn is_over(signals: &SignalFd, timeout: PollTimeout) -> bool {
    let input = io::stdin();
    let mut wanted = [
        PollFd::new(input.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut wanted, timeout) {
        Err(nix::errno::Errno::EINTR) => return false,
        Err(_) => return true,
        Ok(_) => {}
    }
    let mut is_over = wanted[0].any().unwrap_or(true);
    while let Ok(Some(signal)) = signals.read_signal() {
        is_over |= signal.ssi_signo != Signal::SIGCHLD as u32;
    }
    is_over
}

fn start(command: &mut Command) -> Result<Child, String> {
    let program = PathBuf::from(command.get_program());
    let child = command.stdin(Stdio::null()).spawn();
    child.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => ": install it beside netsonde",
            _ => "",
        };
        format!(
            "cannot start {}: {}{advice}",
            program.display(),
            reason(&error)
        )
    })
}

fn start_historian(directory: &Path, state: &Path) -> Result<Child, String> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(state);
    created.map_err(|error| format!("cannot create {}: {}", state.display(), reason(&error)))?;
    let output = io::stdout().as_fd().try_clone_to_owned();
    let output = output.map_err(|error| reason(&error))?;
    let mut command = Command::new(beside("netsonde-historian"));
    command
        .arg("--socket")
        .arg(directory.join(CONTROL))
        .arg("--listen")
        .arg(directory.join(HISTORY))
        .arg("--state")
        .arg(state)
        .arg("--monitors")
        .arg(state.join("monitors.toml"))
        .stdout(Stdio::null())
        .stderr(output);
    start(&mut command)
}

/// Ends a program, and returns when it has ended.
fn end(mut child: Child) {
    let start = Instant::now();
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
    while let Ok(None) = child.try_wait() {
        if start.elapsed() > END_WAIT {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(LOOK);
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
