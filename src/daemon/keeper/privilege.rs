//! PRIVILEGED. Giving privilege up for good, and proving it.

use caps::{CapSet, Capability};
use socket2::{Domain, Socket, Type};

/// Why privilege could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed.
    #[error("cannot give up privilege: {step}: {why}")]
    Step {
        /// Which one.
        step: &'static str,
        /// The kernel's word.
        why: String,
    },
    /// After becoming an ordinary user, root could be had again.
    #[error("the user was changed, and yet root could be had again: refusing to run")]
    StillRoot,
    /// After all that, a packet socket could still be opened.
    #[error("privilege was given up, and yet a packet socket could be opened: refusing to run")]
    StillThere,
}

fn step<E: ToString>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Step {
        step,
        why: error.to_string(),
    }
}

/// The user that the service runs as when root starts it by hand; systemd does it by itself.
const USER: &str = "netsonde";

/// Becomes the service's own user, where there is one and this is root.
fn become_user() -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    // In a user namespace root is nobody special, and other users mostly have no number there.
    let whole = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    if !whole {
        return Ok(());
    }
    let Some(user) = nix::unistd::User::from_name(USER).ok().flatten() else {
        tracing::warn!(
            "there is no user {USER}, so root runs on without capabilities: make it with systemd-sysusers, or adduser --system {USER}"
        );
        return Ok(());
    };
    nix::unistd::setgroups(&[user.gid]).map_err(step("groups"))?;
    nix::unistd::setgid(user.gid).map_err(step("group"))?;
    nix::unistd::setuid(user.uid).map_err(step("user"))?;
    if nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_ok() {
        return Err(Error::StillRoot);
    }
    Ok(())
}

/// Becomes the service's own user, empties every capability set of this process and of all that it will
/// start, and makes sure that no program it starts can gain any. Must be called before the first thread starts: capabilities
/// are the thread's.
pub fn give_up() -> Result<(), Error> {
    // With this set, not even a program that root executes gets capabilities.
    nix::sys::prctl::set_no_new_privs().map_err(step("no_new_privs"))?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::read(None, CapSet::Bounding).map_err(step("bounding set"))? {
            caps::drop(None, CapSet::Bounding, capability).map_err(step("bounding set"))?;
        }
    }
    become_user()?;
    // Ambient capabilities exist since Linux 4.3; where they do not, there are none to clear.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable).map_err(step("inheritable set"))?;
    caps::clear(None, CapSet::Effective).map_err(step("effective set"))?;
    caps::clear(None, CapSet::Permitted).map_err(step("permitted set"))?;
    // Another process of the same user must not be able to reach into this one (ptrace, pidfd_getfd).
    nix::sys::prctl::set_dumpable(false).map_err(step("PR_SET_DUMPABLE"))?;
    if Socket::new(Domain::PACKET, Type::RAW, None).is_ok() {
        return Err(Error::StillThere);
    }
    Ok(())
}
