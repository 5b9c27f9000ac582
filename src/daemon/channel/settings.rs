//! PRIVILEGED. What an engine is told to do: the configuration, with its names made numbers, since an
//! engine can open no file in which it could look them up.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::linux::mapping::sealed_memory;
use netsonde_core::config::permission::{AccessList, Entry, PermissionSettings, Tier};
use netsonde_core::config::{Config, Permissions};

/// What an engine is handed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// As written.
    pub config: Config,
    /// Who may do what.
    pub permissions: Permissions,
}

impl Settings {
    /// Looks up all names. `owner` is the user who started the service by hand, if somebody did.
    pub fn new(config: Config, owner: Option<u32>) -> Settings {
        let permission = &config.permission;
        let list = |tier| match tier {
            Tier::Status => &permission.status,
            Tier::Probe => &permission.probe,
            Tier::Payload => &permission.payload,
        };
        let permissions = Permissions {
            tiers: Tier::ALL.map(|tier| look_up(list(tier), tier.name())),
            vsock: Some(permission.vsock),
            owner,
            overflow_uid: overflow("overflowuid"),
            overflow_gid: overflow("overflowgid"),
        };
        Settings {
            config,
            permissions,
        }
    }

    /// Puts them into memory that can be handed over, and says how many bytes they are.
    pub fn memory(&self) -> io::Result<(OwnedFd, usize)> {
        let written = serde_json::to_vec(self).map_err(io::Error::other)?;
        let memory = sealed_memory("netsonde settings", written.len())?;
        nix::sys::uio::pwrite(&memory, &written, 0)?;
        Ok((memory, written.len()))
    }
}

/// Linux's default, where /proc does not say.
const OVERFLOW: u32 = 65534;

fn overflow(name: &str) -> u32 {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    (text.ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(OVERFLOW)
}

fn find_user(name: &str) -> Option<u32> {
    let number = name.parse().ok();
    number.or_else(|| {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(user.uid.as_raw())
    })
}

/// The number of a group, by its name or as it is.
pub fn find_group(name: &str) -> Option<u32> {
    let number = name.parse().ok();
    number.or_else(|| {
        let group = nix::unistd::Group::from_name(name).ok().flatten()?;
        Some(group.gid.as_raw())
    })
}

/// Makes a list's names numbers. A name that nobody has admits nobody, which is told and no reason not
/// to run: the user may come later.
fn look_up(list: &[String], key: &'static str) -> AccessList {
    let mut admitted = AccessList {
        written: list.to_vec(),
        ..AccessList::default()
    };
    let is_default = PermissionSettings::default().probe == list;
    for entry in list {
        let found = match Entry::read(entry) {
            Some(Entry::Everyone) => {
                admitted.everyone = true;
                continue;
            }
            Some(Entry::User(name)) => find_user(&name).map(|uid| admitted.uids.push(uid)),
            Some(Entry::Group(name)) => find_group(&name).map(|gid| admitted.gids.push(gid)),
            None => None,
        };
        // Most machines that try the service by hand have no group of its own, and need none.
        if found.is_none() && !is_default {
            tracing::warn!(
                key,
                ?entry,
                "[permission]: there is no such user or group, so nobody is admitted by it"
            );
        }
    }
    admitted
}
