//! SHELL. The listening socket of a service.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::{Mode, umask};

use crate::linux::reason;

/// The lock of a running service, held for the lifetime of the process.
pub type Lock = nix::fcntl::Flock<fs::File>;

/// The control socket.
pub struct Control {
    /// The listening socket.
    pub listener: UnixListener,
    /// Lock of the path; `None` if the starter created the socket.
    pub lock: Option<Lock>,
}

/// Creates the control socket, with its mode from the beginning: at no moment can others connect. A
/// socket left by a dead service is replaced; any other file is kept.
///
/// # Errors
///
/// Why not, in words. `service` is the name of the program.
pub fn open_control(
    path: &Path,
    group: Option<nix::unistd::Gid>,
    service: &str,
) -> Result<Control, String> {
    let wrong = |why: String| why;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let old = umask(Mode::from_bits_truncate(0o027));
    if let Some(directory) = directory
        && !directory.exists()
    {
        fs::create_dir_all(directory)
            .map_err(|error| wrong(format!("cannot create its directory: {}", reason(&error))))?;
        if group.is_some() {
            nix::unistd::chown(directory, None, group).map_err(|error| {
                wrong(format!("cannot change the group of its directory: {error}"))
            })?;
        }
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        // Users with write permission there must not redirect the file elsewhere.
        .custom_flags(libc::O_NOFOLLOW)
        .open(&lock_path)
        .map_err(|error| wrong(format!("cannot create its lock file: {}", reason(&error))))?;
    let lock = nix::fcntl::Flock::lock(lock_file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| match error {
            nix::errno::Errno::EWOULDBLOCK => wrong(format!(
                "another {service} serves it: stop that one, or choose another path with --socket"
            )),
            other => wrong(format!("cannot lock it: {other}")),
        })?;
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(wrong(
                "a file that is not a socket is in its place: move it away".into(),
            ));
        }
        fs::remove_file(path)
            .map_err(|error| wrong(format!("cannot replace it: {}", reason(&error))))?;
    }
    umask(Mode::from_bits_truncate(0o117));
    let bound = UnixListener::bind(path);
    umask(old);
    let listener = bound.map_err(|error| wrong(format!("bind: {}", reason(&error))))?;
    if group.is_some() {
        nix::unistd::chown(path, None, group)
            .map_err(|error| wrong(format!("cannot change its group: {error}")))?;
    }
    listener
        .set_nonblocking(true)
        .map_err(|error| wrong(reason(&error)))?;
    // Backlog of connections waiting to be accepted: enough for a burst of scripts, not for a
    // flood.
    nix::sys::socket::listen(&listener.as_fd(), nix::sys::socket::Backlog::MAXCONN)
        .map_err(|error| wrong(format!("listen: {error}")))?;
    Ok(Control {
        listener,
        lock: Some(lock),
    })
}
