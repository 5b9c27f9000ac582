//! SHELL. Laboratory: small networks of namespaces, for the demonstration and the tests. Works with and
//! without root, several at once, and leaves nothing behind: namespaces are held by descriptors only, so
//! they disappear with the process, however it ends.
//!
//! ```no_run
//! use netsonde::lab::{Host, enter, veth};
//!
//! enter()?; // before the first thread
//! //   a e0 10.0.0.1 ---------- 10.0.0.2 e0 b
//! let (a, b) = (Host::new("a")?, Host::new("b")?);
//! veth(&a, "e0", &b, "e0")?;
//! a.address("e0", "10.0.0.1/24")?;
//! b.address("e0", "10.0.0.2/24")?;
//! # Ok::<(), netsonde::lab::Error>(())
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `mod` | entry into the namespaces, hosts |
//! | `netlink` | links, addresses, routes |
//! | `wire` | a user-space wire that delays, drops, duplicates, reorders and corrupts |
//! | `router` | user-space routers, with the faults that routers of the kernel cannot have |
//! | `messages` | hand-made frames |
//! | `traffic` | numbered packets, and a few hand-made messages |
//! | `sys` | packet sockets |

pub mod messages;
mod netlink;
pub mod router;
mod sys;
pub mod traffic;
pub mod wire;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

pub use netlink::{BridgeOptions, bridge, bridge_port, veth};

/// Error while building a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The distribution does not allow user namespaces for unprivileged users.
    #[error(
        "this system does not allow user namespaces for unprivileged users ({0}): as root, check the settings \
         kernel.unprivileged_userns_clone, user.max_user_namespaces and \
         kernel.apparmor_restrict_unprivileged_userns"
    )]
    Forbidden(nix::errno::Errno),
    /// A step failed.
    #[error("{step}: {error}")]
    Step {
        /// The step, such as "creating a network namespace".
        step: String,
        /// The error of the kernel.
        error: io::Error,
    },
}

pub(crate) fn step<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Error {
    let step = step.into();
    move |error| Error::Step {
        step,
        error: error.into(),
    }
}

/// Moves this process into new user (unless it is root), network and mount namespaces, where it may
/// build networks. Must be called before the first thread is started.
pub fn enter() -> Result<(), Error> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|error| match error {
        nix::errno::Errno::EPERM | nix::errno::Errno::ENOSPC | nix::errno::Errno::EACCES => {
            Error::Forbidden(error)
        }
        other => step("creating namespaces")(other),
    })?;
    if !uid.is_root() {
        let write = |file: &str, text: String| {
            fs::write(format!("/proc/self/{file}"), text).map_err(step(format!("writing {file}")))
        };
        write("setgroups", "deny".into())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
    }
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(step("making mounts private"))?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)
        .map_err(step("mounting a private /run"))?;
    netlink::up("lo")
}

/// A host: a network namespace.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: OwnedFd,
}

impl Host {
    /// Creates a host with nothing but its loopback interface.
    pub fn new(name: &str) -> Result<Host, Error> {
        let opened = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(step("creating a network namespace"))?;
            netlink::up("lo")?;
            // The thread's namespace, since the process keeps its own.
            fs::File::open("/proc/thread-self/ns/net").map_err(step("opening the namespace"))
        });
        let namespace = opened
            .join()
            .map_err(|_| step("creating a host")(io::Error::other("its thread panicked")))??;
        Ok(Host {
            name: name.into(),
            namespace: namespace.into(),
        })
    }

    /// Returns the host of this thread.
    pub fn here(name: &str) -> Result<Host, Error> {
        let namespace = fs::File::open("/proc/thread-self/ns/net");
        Ok(Host {
            name: name.into(),
            namespace: namespace.map_err(step("opening the namespace"))?.into(),
        })
    }

    /// Returns the name of the host, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    /// Runs a closure on a thread inside the host. Sockets that it creates stay there.
    ///
    /// # Panics
    /// If the closure panics, or the namespace cannot be entered.
    pub fn run<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET)
                    .expect("this process made the namespace");
                closure()
            });
            match entered.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a program inside the host; it is killed when the returned guard is dropped.
    pub fn spawn(&self, command: &mut Command) -> Result<Running, Error> {
        // A child inherits the namespace of the thread that starts it.
        let child = self
            .run(|| command.spawn())
            .map_err(step(format!("starting {command:?}")))?;
        Ok(Running(child))
    }

    /// Sets a sysctl of the host, such as `net/ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), Error> {
        self.run(|| fs::write(format!("/proc/sys/{name}"), value))
            .map_err(step(format!("setting {name} = {value}")))
    }

    /// Reads a file of the host's /proc/net, such as `igmp`; empty if it does not exist.
    pub fn proc_net(&self, name: &str) -> String {
        self.run(|| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default())
    }

    /// Adds an address with a prefix length to an interface and brings it up. IPv6 addresses are
    /// usable at once, without duplicate address detection.
    pub fn address(&self, interface: &str, address: &str) -> Result<(), Error> {
        self.run(|| netlink::add_address(interface, address).and_then(|()| netlink::up(interface)))
    }

    /// Brings an interface up.
    pub fn up(&self, interface: &str) -> Result<(), Error> {
        self.run(|| netlink::up(interface))
    }

    /// Takes an interface down.
    pub fn down(&self, interface: &str) -> Result<(), Error> {
        self.run(|| netlink::down(interface))
    }

    /// Renames an interface.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.run(|| netlink::rename(from, to))
    }

    /// Deletes an interface, and its peer with it.
    pub fn delete(&self, interface: &str) -> Result<(), Error> {
        self.run(|| netlink::delete(interface))
    }

    /// Adds a route via a gateway; `0.0.0.0/0` and `::/0` are the default routes.
    pub fn route(&self, destination: &str, gateway: &str) -> Result<(), Error> {
        self.run(|| netlink::add_route(destination, gateway))
    }

    /// Opens a packet socket on an interface, read and written like a file, one frame at a time;
    /// reads do not block.
    pub fn port(&self, interface: &str) -> Result<fs::File, Error> {
        self.run(|| sys::open_port(nix::net::if_::if_nametoindex(interface)?))
            .map_err(step(format!(
                "opening a packet socket on {}:{interface}",
                self.name
            )))
    }

    /// Returns the MAC address of an interface.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6], Error> {
        self.run(|| netlink::mac(interface))
    }
}

/// A program running in a host, killed and reaped on drop.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Returns the process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls a condition every few milliseconds. Returns `false` if it does not become true in time.
pub fn wait_until(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
