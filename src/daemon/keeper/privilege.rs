//! PRIVILEGED. Giving up privilege permanently, and verifying it.

use caps::{CapSet, Capability};
use socket2::{Domain, Socket, Type};

/// Why privilege could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed.
    #[error("cannot give up privilege: {step}: {why}")]
    Step {
        /// The step.
        step: &'static str,
        /// The error of the kernel.
        why: String,
    },
    /// Started by root, and there is no other user to become.
    #[error(
        "there is no user {USER}, as which the service runs when root starts it: create it with \
         `systemd-sysusers` or `adduser --system --group {USER}`, or start it with --allow-root to \
         run as root without capabilities"
    )]
    NoUser,
    /// After becoming an ordinary user, the process could regain root.
    #[error("the process changed its user, but could regain root: refusing to run")]
    StillRoot,
    /// After all steps, the process could still open a packet socket.
    #[error("privilege was given up, but a packet socket could still be opened: refusing to run")]
    StillThere,
}

fn step<E: ToString>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Step {
        step,
        why: error.to_string(),
    }
}

/// The user of a service started by root by hand; under systemd the unit sets it.
const USER: &str = "netsonde";

/// Returns whether this process is root over all users. In a user namespace root has no special
/// rights, and other users mostly have no number.
fn is_real_root() -> bool {
    let is_whole = || {
        std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
    };
    nix::unistd::geteuid().is_root() && is_whole()
}

fn own_user() -> Option<nix::unistd::User> {
    nix::unistd::User::from_name(USER).ok().flatten()
}

/// Checks that there is a user to become, if this process is root.
///
/// # Errors
/// [`Error::NoUser`] if there is none, unless `allow_root` is set.
pub fn check_user(allow_root: bool) -> Result<(), Error> {
    // Without the capability the start fails anyway, and says so.
    let has_privilege =
        || caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap_or(false);
    if !allow_root && is_real_root() && own_user().is_none() && has_privilege() {
        return Err(Error::NoUser);
    }
    Ok(())
}

/// Switches to the service's own user, if it exists and this is root.
fn become_user() -> Result<(), Error> {
    if !is_real_root() {
        return Ok(());
    }
    let Some(user) = own_user() else {
        tracing::warn!(
            "there is no user {USER}, so the service runs as root without capabilities, as \
                --allow-root permits"
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

/// Switches to the service's own user, clears every capability set of this process and its
/// children, and ensures that no program it starts can gain any. Must be called before the first
/// thread starts: capabilities belong to threads.
pub fn give_up() -> Result<(), Error> {
    // With this set, not even a program executed by root gains capabilities.
    nix::sys::prctl::set_no_new_privs().map_err(step("no_new_privs"))?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::read(None, CapSet::Bounding).map_err(step("bounding set"))? {
            caps::drop(None, CapSet::Bounding, capability).map_err(step("bounding set"))?;
        }
    }
    become_user()?;
    // Ambient capabilities exist since Linux 4.3; older kernels have none to clear.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable).map_err(step("inheritable set"))?;
    caps::clear(None, CapSet::Effective).map_err(step("effective set"))?;
    caps::clear(None, CapSet::Permitted).map_err(step("permitted set"))?;
    // Another process of the same user must not be able to access this one (ptrace, pidfd_getfd).
    nix::sys::prctl::set_dumpable(false).map_err(step("PR_SET_DUMPABLE"))?;
    if Socket::new(Domain::PACKET, Type::RAW, None).is_ok() {
        return Err(Error::StillThere);
    }
    Ok(())
}
